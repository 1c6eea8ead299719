//! `connector`: what helps whoever writes a connector file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::FutureExt;
use serde_json::value::RawValue;

use super::exit::{Exit, Failure};
use super::output::{Output, clip};
use super::target;
use crate::connectors::action::Direct;
use crate::connectors::http::{HttpConnectorFile, ObjectSummary};
use crate::connectors::trial::{Finding, Verdict, try_out};
use crate::connectors::{Calls, ConnectorScope};
use crate::control::unknown;
use crate::model::ids::{ConnectionId, ObjectName};
use crate::model::value::Value;
use crate::registry::Registry;

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
    /// Try an object of a connection out on the app itself: compare what its connector file
    /// declares with what the app does, and propose lines. Writes nothing without --record.
    Try {
        /// The configuration file.
        file: PathBuf,
        /// The connection.
        connection: String,
        /// The object of the connected app.
        object: String,
        /// A record to be made, changed and deleted again, as JSON in the app's form. `-` reads it
        /// from the standard input.
        #[arg(long, value_name = "JSON")]
        record: Option<String>,
    },
}

pub(super) async fn execute(args: Args, out: &Output) -> Result<Exit, Failure> {
    match args.command {
        Command::Check { file } => check(&file, out),
        Command::Try { file, connection, object, record } => {
            let record = record.map(|record| super::act::record(&record)).transpose()?;
            try_object(&file, &ConnectionId::from(connection), &ObjectName::from(object), record, out).await
        }
    }
}

async fn try_object(
    file: &Path,
    id: &ConnectionId,
    object: &ObjectName,
    record: Option<Box<RawValue>>,
    out: &Output,
) -> Result<Exit, Failure> {
    let record = record.map(|json| Value::from_json(json.get())).transpose();
    let record = record.map_err(|error| Failure::usage(format!("the record cannot be read: {error}")))?;
    let state = target::state_file(file)?;
    let registry = match target::running(&state) {
        // The state file is the kernel's; those of the file are known without it.
        Some(_) => Registry::load(Arc::new(target::load(file)?), None, &target::environment())?,
        None => target::registry_of(file).await?,
    };
    let connection = registry.find(id)?;
    let declared = connection.remote.file();
    if !declared.objects().any(|known| known == object) {
        let names = declared.objects().map(ObjectName::as_str);
        return Err(Failure::usage(unknown("object", object.as_str(), names)));
    }
    let scope = ConnectorScope { scope: connection.scope.clone() };
    let made = connection.remote.factory().make(&scope).map_err(|error| Failure::refused(error.to_string()))?;
    let calls = Calls::new(&connection.limits.remote);
    let through = Direct { connector: &*made, calls: &calls, object };
    let wait = |length| tokio::time::sleep(length).boxed_local();
    let key = format!("try-{:032x}", fastrand::u128(..));
    let consent = record.is_some();
    let findings = try_out(&through, declared.declared_times(object), record, &key, &wait).await;
    out.value(&findings);
    for Finding { tried, verdict, said, propose, .. } in &findings {
        let said = clip(said, 500);
        out.say(match verdict {
            Verdict::Fine => format!("  {tried:<8} {said}"),
            Verdict::Learned => format!("  {tried:<8} {said}"),
            Verdict::Wrong => out.red(&format!("! {tried:<8} {said}")),
        });
        if let Some(line) = propose {
            out.say(format!("           in the connector file: {}", out.bold(line)));
        }
    }
    if !consent {
        out.say("nothing was written; --record JSON makes such a record, changes it and deletes it again");
    }
    let is_wrong = findings.iter().any(|finding| finding.verdict == Verdict::Wrong);
    Ok(if is_wrong { Exit::Differs } else { Exit::Done })
}

fn check(file: &Path, out: &Output) -> Result<Exit, Failure> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file)
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
