//! The recorded edit history, and what became of the list after each revision.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::fields::Field;
use crate::records::Object;

/// What `companies.toml` maps. The match key comes first.
pub const FIELDS: [Field; 11] = [
    Field { app: "symbol", remote: "symbol" },
    Field { app: "name", remote: "name" },
    Field { app: "sector", remote: "sector" },
    Field { app: "security", remote: "security" },
    Field { app: "company", remote: "company" },
    Field { app: "gics_sector", remote: "gics_sector" },
    Field { app: "gics_sub_industry", remote: "gics_sub_industry" },
    Field { app: "headquarters_location", remote: "headquarters_location" },
    Field { app: "date_added", remote: "date_added" },
    Field { app: "cik", remote: "cik" },
    Field { app: "founded", remote: "founded" },
];

/// What happened to one company.
#[derive(Debug, Clone)]
pub enum Event {
    /// Its whole record is this from now on.
    Upsert(Object),
    /// It left the list.
    Delete,
}

/// What happened in one revision, in order; no company twice.
#[derive(Debug)]
pub struct Revision {
    pub number: u64,
    pub events: Vec<(String, Event)>,
}

/// All revisions, oldest first.
pub fn revisions() -> Vec<Revision> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/real/sp500-history.jsonl");
    let text = std::fs::read_to_string(path).expect("the history is there");
    let mut revisions: Vec<Revision> = Vec::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).expect("each line is JSON");
        let number = line["rev"].as_u64().expect("a line has its revision");
        if revisions.last().is_none_or(|last| last.number != number) {
            revisions.push(Revision { number, events: Vec::new() });
        }
        let symbol = line["id"].as_str().expect("a line names its company").to_owned();
        let event = match line["op"].as_str() {
            Some("upsert") => Event::Upsert(line["record"].as_object().expect("an upsert has its record").clone()),
            Some("delete") => Event::Delete,
            Some(_) | None => panic!("revision {number} has an event of an unknown kind"),
        };
        revisions.last_mut().expect("one was pushed").events.push((symbol, event));
    }
    revisions
}

/// The list by symbol.
pub type List = BTreeMap<String, Object>;

/// Applies an event; whether it changed anything.
pub fn apply(list: &mut List, symbol: &str, event: &Event) -> bool {
    match event {
        Event::Upsert(record) => list.insert(symbol.to_owned(), record.clone()).as_ref() != Some(record),
        Event::Delete => list.remove(symbol).is_some(),
    }
}
