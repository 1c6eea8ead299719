//! `connector`: what helps whoever writes a connector file.

use std::path::PathBuf;

use super::exit::{Exit, Failure};
use super::output::Output;
use crate::connectors::http::{HttpConnectorFile, ObjectSummary};

/// Arguments of `connector`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Read a connector file and tell all that is wrong with it, or what it comes to.
    Check {
        /// The connector file.
        file: PathBuf,
    },
}

pub(super) fn execute(args: Args, out: &Output) -> Result<Exit, Failure> {
    let Command::Check { file } = args.command;
    let name = file.display().to_string();
    let text = std::fs::read_to_string(&file)
        .map_err(|error| Failure::usage(format!("failed to read the connector file {name}: {error}")))?;
    let connector = HttpConnectorFile::parse(&name, &text).map_err(|error| Failure::usage(error.to_string()))?;
    let objects = connector.summary();
    out.value(&serde_json::json!({
        "name": connector.name(),
        "objects": objects.iter().map(to_json).collect::<Vec<_>>(),
        "webhook": connector.webhook().is_some(),
    }));
    out.say(format!("{name} is well-formed: the connector '{}'", connector.name()));
    for ObjectSummary { object, can, lacks, .. } in &objects {
        out.say(format!("\n{}", out.bold(object.as_str())));
        for (key, text) in can {
            out.say(format!("  {key:<10} {text}"));
        }
        for lack in lacks {
            out.say(format!("  {} {lack}", out.red("-")));
        }
    }
    let told = if connector.webhook().is_some() { "declared" } else { "none: changes are found by reading" };
    out.say(format!("\nwebhooks: {told}"));
    Ok(Exit::Done)
}

fn to_json(summary: &ObjectSummary) -> serde_json::Value {
    let can: serde_json::Map<String, serde_json::Value> =
        summary.can.iter().map(|(key, text)| ((*key).to_owned(), text.as_str().into())).collect();
    serde_json::json!({ "object": summary.object, "can": can, "lacks": summary.lacks })
}
