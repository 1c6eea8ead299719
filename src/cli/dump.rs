//! `dump`: the whole state as stable text.

use std::path::PathBuf;

use super::exit::{Exit, Failure};
use super::output::Output;
use super::target;

/// Arguments of `dump`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration file (`*.toml`) or the state file.
    file: PathBuf,
}

pub(super) async fn execute(args: Args, out: &Output) -> Result<Exit, Failure> {
    let state = target::state_file(&args.file)?;
    let text = match target::running(&state) {
        Some(client) => client.dump().await?,
        None => {
            let store = target::open_existing(&state)?;
            let mut text = String::new();
            store.dump(&mut text)?;
            store.close().await;
            text
        }
    };
    if out.json {
        out.value(&text.lines().collect::<Vec<_>>());
    } else {
        out.raw(&text);
    }
    Ok(Exit::Done)
}
