//! `plan`: the dry run, as tables.

use std::path::PathBuf;
use std::sync::Arc;

use super::exit::{Exit, Failure};
use super::output::{Output, clip, row};
use super::target;
use crate::QuarantineRow;
use crate::model::ids::{ConnectionId, SyncName};
use crate::model::side::Side;
use crate::model::value::Value;
use crate::plan::{Effects, PlanReport, PlanRequest, PlannedSync, plan};
use crate::temporary::TemporaryFolder;

/// How much of a value is shown in a table, in characters.
const MAX_VALUE_CHARS: usize = 48;

/// Arguments of `plan`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration file.
    file: PathBuf,
    /// Only this connection.
    #[arg(long, value_name = "ID")]
    connection: Option<String>,
    /// Only this sync.
    #[arg(long, value_name = "NAME")]
    sync: Option<String>,
    /// How many records of each kind are told one by one; all are counted.
    #[arg(long, default_value_t = 20, value_name = "NUM")]
    limit: usize,
}

pub(super) async fn execute(args: Args, out: &Output) -> Result<Exit, Failure> {
    let request = PlanRequest {
        connection: args.connection.map(ConnectionId::from),
        sync: args.sync.map(SyncName::from),
        shown: args.limit,
    };
    let state = target::state_file(&args.file)?;
    let report = match target::running(&state) {
        Some(client) => client.plan(&request).await?,
        None => by_ourselves(&args.file, &request).await?,
    };
    out.value(&report);
    if report.syncs.is_empty() {
        out.say("there is nothing to plan");
    }
    for sync in &report.syncs {
        show(sync, out);
        let left = not_shown(sync);
        if left > 0 {
            out.say(format!("  and {left} more; --limit {} shows all", most(sync)));
        }
    }
    Ok(exit_of(&report))
}

async fn by_ourselves(file: &std::path::Path, request: &PlanRequest) -> Result<PlanReport, Failure> {
    let config = Arc::new(target::load(file)?);
    let folder = target::folder_of(&config.state).to_owned();
    // A first plan must not leave a state file behind either.
    let no_state = (!config.state.exists()).then(|| TemporaryFolder::create_in(&folder, "empty")).transpose();
    let no_state = no_state.map_err(|error| Failure::state(format!("{}: {error}", folder.display())))?;
    let state = no_state.as_ref().map_or_else(|| config.state.clone(), |folder| folder.path().join("empty.redb"));
    let store = target::open(&state)?;
    let specs = target::specs_of(target::registry(config, &store)?);
    let report = plan(&store, &folder, |copy| specs(copy), request).await;
    store.close().await;
    Ok(report?)
}

/// A plan that could not be completed is a failure, one that holds records back a
/// difference.
fn exit_of(report: &PlanReport) -> Exit {
    let of = |sync: &PlannedSync| match (&sync.error, sync.needs_a_person()) {
        (Some(_), _) => Exit::Refused,
        (None, true) => Exit::Differs,
        (None, false) => Exit::Done,
    };
    report.syncs.iter().map(of).max().unwrap_or(Exit::Done)
}

/// Prints the plan of one sync.
pub(super) fn show(sync: &PlannedSync, out: &Output) {
    let name = format!("{} / {}", sync.connection, sync.sync);
    out.say(format!("{}  (app {}, remote {})", out.bold(&name), sync.objects.app, sync.objects.remote));
    let mut table = out.table(["", "app", "remote"]);
    for (what, app, remote) in [
        ("to create", sync.create.app.count, sync.create.remote.count),
        ("to update", sync.update.app.count, sync.update.remote.count),
        ("to delete", sync.delete.app.count, sync.delete.remote.count),
    ] {
        table.add_row(row([what.to_owned(), app.to_string(), remote.to_string()]));
    }
    out.print_table(&table);
    let totals = &sync.totals;
    out.say(format!(
        "  {} matched, {} in conflict, {} ambiguous, {} quarantined",
        totals.matched, totals.conflicts, sync.ambiguous.count, sync.quarantined.count
    ));
    if let Some(error) = &sync.error {
        out.say(format!("  {} {}", out.red("not complete:"), clip(error, 300)));
    }
    show_writes(sync, out);
    show_held(sync, out);
}

fn show_writes(sync: &PlannedSync, out: &Output) {
    let mut table = out.table(["side", "to do", "record", "field", "old", "new"]);
    for side in Side::BOTH {
        for create in &sync.create[side].shown {
            let cells = [
                word(side),
                "create".into(),
                id(create.id.as_str()),
                String::new(),
                String::new(),
                summary(&create.record),
            ];
            table.add_row(row(cells));
        }
        for update in &sync.update[side].shown {
            for (at, field) in update.fields.iter().enumerate() {
                let first = |text: String| if at == 0 { text } else { String::new() };
                table.add_row(row([
                    first(word(side)),
                    first("update".into()),
                    first(id(update.id.as_str())),
                    clip(&field.path, MAX_VALUE_CHARS),
                    value(field.old.as_deref()),
                    value(field.new.as_deref()),
                ]));
            }
        }
        for gone in &sync.delete[side].shown {
            table.add_row(row([
                word(side),
                "delete".into(),
                id(gone.as_str()),
                String::new(),
                String::new(),
                String::new(),
            ]));
        }
    }
    out.print_apart(&table);
}

fn show_held(sync: &PlannedSync, out: &Output) {
    let mut table = out.table(["side", "held back", "record", "why"]);
    for QuarantineRow { sync: _, side, id: held_id, held } in sync.ambiguous.shown.iter().chain(&sync.quarantined.shown)
    {
        table.add_row(row([word(*side), held.kind.as_str().to_owned(), id(held_id), clip(&held.reason, 200)]));
    }
    out.print_apart(&table);
}

/// How many records are counted and not told one by one.
pub(super) fn not_shown(sync: &PlannedSync) -> u64 {
    kinds(sync).into_iter().map(|(count, shown)| count.saturating_sub(shown)).sum()
}

/// The limit at which everything is told.
fn most(sync: &PlannedSync) -> u64 {
    kinds(sync).into_iter().map(|(count, _)| count).max().unwrap_or_default()
}

/// How many there are of each kind on each side, and how many of them are told.
fn kinds(sync: &PlannedSync) -> [(u64, u64); 8] {
    fn of<T>(effects: &Effects<T>) -> (u64, u64) {
        (effects.count, effects.shown.len() as u64)
    }
    let PlannedSync { create, update, delete, ambiguous, quarantined, .. } = sync;
    let [app, remote] = Side::BOTH.map(|side| [of(&create[side]), of(&update[side]), of(&delete[side])]);
    [app[0], app[1], app[2], remote[0], remote[1], remote[2], of(ambiguous), of(quarantined)]
}

fn word(side: Side) -> String {
    side.as_str().to_owned()
}

fn id(id: &str) -> String {
    clip(id, MAX_VALUE_CHARS)
}

fn value(json: Option<&str>) -> String {
    json.map_or_else(|| "(absent)".to_owned(), |json| clip(json, MAX_VALUE_CHARS))
}

/// The first few plain values of a new record, which tell a person who it is.
fn summary(json: &str) -> String {
    let Ok(record) = Value::from_json(json) else { return clip(json, MAX_VALUE_CHARS) };
    let mut texts = Vec::new();
    plain_texts(&record, &mut texts);
    clip(&texts.join(", "), MAX_VALUE_CHARS)
}

fn plain_texts(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::Object(entries) => entries.iter().for_each(|(_, value)| plain_texts(value, texts)),
        Value::String(text) if !text.is_empty() => texts.push(text.clone()),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_record_is_told_by_its_texts() {
        for (json, want) in [
            (r#"{"properties":{"email":"a@b.c","n":1,"name":"Ada","note":""}}"#, "a@b.c, Ada"),
            (r#"{"name":"a\nb"}"#, "a\\nb"),
            ("no json", "no json"),
        ] {
            assert_eq!(summary(json), want);
        }
    }

    #[test]
    fn how_a_plan_ends() {
        assert_eq!(exit_of(&PlanReport { syncs: Vec::new() }), Exit::Done);
    }
}
