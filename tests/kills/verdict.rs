//! What must hold in the end, worked out from both sides and the ledger alone.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::ledger::{Edit, Ledger};
use crate::sides::{FIELDS, Record};

type ByEmail<'a> = BTreeMap<&'a str, Vec<&'a Record>>;

fn by_email(records: &[Record]) -> ByEmail<'_> {
    let mut all = ByEmail::new();
    for record in records {
        all.entry(record.email()).or_default().push(record);
    }
    all
}

/// Where the sides do not agree, or a record stands twice; empty when all is well.
pub fn differences(app: &[Record], remote: &[Record]) -> Vec<String> {
    let (apps, remotes) = (by_email(app), by_email(remote));
    let mut found = Vec::new();
    for (side, all) in [("app", &apps), ("remote", &remotes)] {
        for (email, records) in all.iter().filter(|(_, records)| records.len() > 1) {
            found.push(format!("{side} has {email} {} times: {records:?}", records.len()));
        }
    }
    let emails: BTreeSet<&str> = apps.keys().chain(remotes.keys()).copied().collect();
    for email in emails {
        match (apps.get(email), remotes.get(email)) {
            (Some(app), Some(remote)) => {
                let differs = |field: &str| app[0].fields.get(field) != remote[0].fields.get(field);
                if FIELDS.iter().any(|(field, _)| differs(field)) {
                    found.push(format!("{email} differs: app {:?}, remote {:?}", app[0], remote[0]));
                }
            }
            (app, remote) => found.push(format!("{email} is on one side only: app {app:?}, remote {remote:?}")),
        }
    }
    found
}

/// The edits that are gone without a trace.
pub fn lost_edits<'l>(ledger: &'l Ledger, app: &[Record], dump: &str) -> Vec<&'l Edit> {
    let (apps, recorded) = (by_email(app), losers(dump));
    let stands = |edit: &Edit| {
        let records = apps.get(edit.email.as_str());
        let value = records.and_then(|records| records[0].fields.get(&edit.field)).and_then(Value::as_str);
        value == Some(&edit.value)
    };
    let replaced = |edit: &Edit| {
        let later = |other: &Edit| other.order > edit.order && other.email == edit.email && other.field == edit.field;
        ledger.edits.iter().any(later)
    };
    // A deletion takes with it what stood before it; an edit that came after it, on the
    // side that did not know of it yet, beats it.
    let deleted = |edit: &Edit| ledger.deleted.get(&edit.email).is_some_and(|order| *order > edit.order);
    let lost = |edit: &&Edit| {
        edit.sure && !stands(edit) && !replaced(edit) && !deleted(edit) && !recorded.contains(edit.value.as_str())
    };
    ledger.edits.iter().filter(lost).collect()
}

/// The values that the history holds as losers of a conflict.
fn losers(dump: &str) -> BTreeSet<&str> {
    let lost = |line: &'_ str| -> Option<(usize, usize)> {
        let start = line.find(" lost=\"")? + " lost=\"".len();
        let len = line[start..].find('"')?;
        Some((start, start + len))
    };
    let history = dump.lines().filter(|line| line.starts_with("history "));
    history.filter_map(|line| lost(line).map(|(start, end)| &line[start..end])).collect()
}
