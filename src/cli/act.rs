//! `list`, `read`, `find`, `create`, `update`, `delete`: one call to a side, by the running
//! kernel within its budget, or by the command itself where none runs.

use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::exit::{Exit, Failure};
use super::output::{Output, clip, counted};
use super::sync::SideWord;
use super::target;
use crate::actors::act::{By, carry_out_mapped};
use crate::config::{AppSide, ConfiguredConnection};
use crate::connectors::action::{ActionAnswer, ActionOutcome, ActionRecord, Direct, Verb, carry_out};
use crate::connectors::embedded::EmbeddedFactory;
use crate::connectors::{Calls, ConnectorFactory, ConnectorScope};
use crate::control::unknown;
use crate::model::ids::{ConnectionId, ObjectName, RecordId, SyncName, SyncNo};
use crate::model::side::Side;
use crate::reconcile::reference::{LinkKey, LinksByHand, bind};
use crate::web::actions::ActionRequest;

/// What all of these commands are about.
#[derive(Debug, clap::Args)]
pub(super) struct At {
    /// The configuration file.
    file: PathBuf,
    /// The connection.
    connection: String,
    /// The object, as the side calls it.
    object: String,
    /// The side.
    #[arg(long, default_value = "remote")]
    side: SideWord,
    /// Records are in your app's form, by the mapping of this sync.
    #[arg(long)]
    sync: Option<String>,
}

/// Arguments of `list`.
#[derive(Debug, clap::Args)]
pub(super) struct List {
    #[command(flatten)]
    at: At,
}

/// Arguments of `read` and `delete`.
#[derive(Debug, clap::Args)]
pub(super) struct One {
    #[command(flatten)]
    at: At,
    /// The record's id.
    id: String,
}

/// Arguments of `find`.
#[derive(Debug, clap::Args)]
pub(super) struct Find {
    #[command(flatten)]
    at: At,
    /// What it must hold: `email=a@example.com` for a text, `age:=7` for any JSON.
    #[arg(required = true)]
    fields: Vec<String>,
}

/// Arguments of `create`.
#[derive(Debug, clap::Args)]
pub(super) struct Create {
    #[command(flatten)]
    at: At,
    /// Its fields as JSON, in that side's form; `-` reads them from the standard input.
    record: String,
}

/// Arguments of `update`.
#[derive(Debug, clap::Args)]
pub(super) struct Update {
    #[command(flatten)]
    at: At,
    /// The record's id.
    id: String,
    /// What changes, as JSON; null takes a field away, what is not named stays. `-` reads it from
    /// the standard input.
    record: String,
}

/// Lists the first page.
pub(super) async fn list(args: List, out: &Output) -> Result<Exit, Failure> {
    execute(args.at, Verb::List, None, None, out).await
}

/// Reads one record.
pub(super) async fn read(args: One, out: &Output) -> Result<Exit, Failure> {
    execute(args.at, Verb::Read, Some(args.id), None, out).await
}

/// Finds records.
pub(super) async fn find(args: Find, out: &Output) -> Result<Exit, Failure> {
    let fields = fields(&args.fields).map_err(Failure::usage)?;
    execute(args.at, Verb::Find, None, Some(fields), out).await
}

/// Makes a record.
pub(super) async fn create(args: Create, out: &Output) -> Result<Exit, Failure> {
    let record = record(&args.record)?;
    execute(args.at, Verb::Create, None, Some(record), out).await
}

/// Changes a record.
pub(super) async fn update(args: Update, out: &Output) -> Result<Exit, Failure> {
    let record = record(&args.record)?;
    execute(args.at, Verb::Update, Some(args.id), Some(record), out).await
}

/// Deletes a record.
pub(super) async fn delete(args: One, out: &Output) -> Result<Exit, Failure> {
    execute(args.at, Verb::Delete, Some(args.id), None, out).await
}

/// A record as JSON, or from the standard input.
pub(super) fn record(text: &str) -> Result<Box<RawValue>, Failure> {
    let mut read = String::new();
    let text = if text == "-" {
        std::io::stdin()
            .read_to_string(&mut read)
            .map_err(|error| Failure::usage(format!("failed to read the standard input: {error}")))?;
        read.as_str()
    } else {
        text
    };
    serde_json::from_str(text).map_err(|error| {
        Failure::usage(format!("the record is not JSON: {error}; for example '{{\"email\":\"a@example.com\"}}'"))
    })
}

/// `path=text` and `path:=json` as one object.
fn fields(words: &[String]) -> Result<Box<RawValue>, String> {
    let mut object = Vec::new();
    for word in words {
        let help = || format!("'{word}' is no field to find: write path=text, or path:=7 for anything but a text");
        let (path, value) = match word.split_once('=').ok_or_else(help)? {
            (path, json) if path.ends_with(':') => {
                let value: &RawValue = serde_json::from_str(json).map_err(|error| format!("{}: {error}", help()))?;
                (path.trim_end_matches(':'), value.get().to_owned())
            }
            (path, text) => (path, serde_json::Value::from(text).to_string()),
        };
        object.push(format!("{}:{value}", serde_json::Value::from(path)));
    }
    RawValue::from_string(format!("{{{}}}", object.join(","))).map_err(|error| error.to_string())
}

async fn execute(
    at: At,
    verb: Verb,
    id: Option<String>,
    record: Option<Box<RawValue>>,
    out: &Output,
) -> Result<Exit, Failure> {
    let request = ActionRequest {
        connection: ConnectionId::from(at.connection),
        side: at.side.into(),
        object: ObjectName::from(at.object),
        sync: at.sync.map(SyncName::from),
        verb,
        id: id.map(RecordId::from),
        record,
    };
    let action = request.action().map_err(Failure::usage)?;
    let answer = match target::running(&target::state_file(&at.file)?) {
        Some(client) => client.act(&request).await?,
        None => {
            let registry = target::registry_of(&at.file).await?;
            let connection = registry.find(&request.connection)?;
            let factory = factory(&registry.config().state, connection, request.side)?;
            let scope = ConnectorScope { scope: connection.scope.clone() };
            let connector = factory.make(&scope).map_err(|error| Failure::refused(error.to_string()))?;
            let calls = Calls::new(&connection.limits[request.side]);
            let through = Direct { connector: &*connector, calls: &calls, object: &request.object };
            let key = format!("action-{:032x}", fastrand::u128(..));
            match &request.sync {
                None => carry_out(&through, action, &key).await,
                Some(name) => {
                    let Some(sync) = connection.syncs.iter().find(|sync| sync.name == *name) else {
                        let names = connection.syncs.iter().map(|sync| sync.name.as_str());
                        return Err(Failure::usage(unknown("sync", name.as_str(), names)));
                    };
                    let look_up = |_: &LinkKey| {
                        Err("the field names records by their links, which a running kernel knows: start it".to_owned())
                    };
                    let named: Vec<_> =
                        connection.syncs.iter().map(|sync| (&sync.name, SyncNo(0), &sync.mapping)).collect();
                    let at = connection.syncs.iter().position(|sync| sync.name == *name).unwrap_or(0);
                    let references = bind(&named).unwrap_or_default();
                    let references = references.get(at).map(Vec::as_slice).unwrap_or_default();
                    let links = LinksByHand { references, look_up: &look_up };
                    let by = By { mapping: &sync.mapping, objects: &sync.objects, side: request.side, links };
                    carry_out_mapped(&through, action, &key, &by, &request.object).await
                }
            }
        }
    };
    Ok(tell(&answer, &request, out))
}

fn factory(
    state: &std::path::Path,
    connection: &ConfiguredConnection,
    side: Side,
) -> Result<Arc<dyn ConnectorFactory>, Failure> {
    Ok(match (side, &connection.app) {
        (Side::Remote, _) => connection.remote.factory(),
        (Side::App, AppSide::Http(app)) => app.factory(),
        (Side::App, AppSide::Embedded) => Arc::new(EmbeddedFactory::new(target::open_existing(state)?)),
    })
}

fn tell(answer: &ActionAnswer, request: &ActionRequest, out: &Output) -> Exit {
    out.value(answer);
    for record in &answer.records {
        out.say(line(record));
    }
    let id = answer.id.as_ref().or(request.id.as_ref()).map_or(String::new(), |id| format!(" '{id}'"));
    let reason = answer.reason.as_ref().map_or(String::new(), |reason| format!(": {}", clip(reason, 500)));
    let field = answer.field.as_ref().map_or(String::new(), |field| format!(" (the field '{}')", clip(field, 100)));
    let more = if answer.more { ", and there are more" } else { "" };
    let side = request.side;
    let (exit, said) = match answer.outcome {
        ActionOutcome::Found => (Exit::Done, format!("{}{more}", counted(answer.records.len() as u64, "record"))),
        ActionOutcome::Written => (Exit::Done, format!("record{id} is written in the {side} side")),
        ActionOutcome::Deleted => (Exit::Done, format!("record{id} is deleted in the {side} side")),
        ActionOutcome::Missing => (Exit::Refused, format!("there is no record{id} in the {side} side{reason}")),
        ActionOutcome::Conflict => (Exit::Refused, format!("nothing was written to{id}{reason}")),
        ActionOutcome::Refused => (Exit::Refused, format!("refused{field}{reason}")),
        ActionOutcome::NotSent => (Exit::Refused, format!("nothing was done{reason}")),
        ActionOutcome::Unknown => (Exit::Refused, format!("nobody knows whether it was done{reason}")),
    };
    out.say(if exit == Exit::Done { said } else { out.red(&said) });
    exit
}

/// A record on one line.
fn line(record: &ActionRecord) -> String {
    match (&record.record, &record.problem, &record.id) {
        (_, Some(problem), id) => {
            format!("{} cannot be understood: {}", id.as_ref().map_or("?", RecordId::as_str), clip(problem, 300))
        }
        (Some(json), None, _) => json.get().to_owned(),
        (None, None, Some(id)) => format!("{id} is deleted"),
        (None, None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_to_find() {
        let words = |words: &[&str]| fields(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        let json = words(&["properties.email=a=\"b\"", "age:=7", "tags:=[1]"]).unwrap();
        assert_eq!(json.get(), r#"{"properties.email":"a=\"b\"","age":7,"tags":[1]}"#);
        for (word, want) in [("email", "'email' is no field to find"), ("age:=x", "'age:=x' is no field to find")] {
            assert!(words(&[word]).unwrap_err().contains(want));
        }
    }
}
