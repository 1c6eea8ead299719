//! `pause` and `resume`: durable, by the running kernel or in the state file.

use std::path::PathBuf;

use super::exit::{Exit, Failure};
use super::output::Output;
use super::target;
use crate::control::unknown;
use crate::model::ids::ConnectionId;

/// Arguments of `pause` and `resume`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration file (`*.toml`) or the state file.
    file: PathBuf,
    /// The connection.
    connection: String,
}

pub(super) async fn execute(args: Args, paused: bool, out: &Output) -> Result<Exit, Failure> {
    let state = target::state_file(&args.file)?;
    let connection = ConnectionId::from(args.connection);
    match target::running(&state) {
        Some(client) => client.set_paused(connection.clone(), paused).await?,
        None => {
            let store = target::open_existing(&state)?;
            let snapshot = store.snapshot()?;
            let Some(conn) = snapshot.find_connection(&connection)? else {
                let known = snapshot.connections()?;
                let names = known.iter().map(|(_, id)| id.as_str());
                return Err(Failure::usage(unknown("connection", connection.as_str(), names)));
            };
            drop(snapshot);
            store.set_paused(conn, paused)?;
            store.close().await;
        }
    }
    let word = if paused { "paused" } else { "resumed" };
    out.value(&serde_json::json!({ "connection": connection, "paused": paused }));
    out.say(format!("connection '{connection}' is {word}"));
    Ok(Exit::Done)
}
