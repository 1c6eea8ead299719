//! Records whose properties do not fit into one request: each part is read by itself, and what
//! the parts show is put together where they show one state of the record. A record that was
//! changed, deleted or moved in between is read again, and held back when that goes on.

use std::collections::HashMap;

use crate::connectors::Calls;
use crate::model::hash::RawHash;
use crate::model::ids::RecordId;
use crate::model::record::{BadRecord, Body, Entry, Page, Record};
use crate::model::value::Value;
use crate::model::write::ConnectorError;

use super::HttpConnector;
use super::entry::entry_id;
use super::properties::Parts;
use super::spec::ObjectSpec;

/// How often a record is read whose parts do not fit together. Two readings that agree are needed
/// where the time of change is too coarse, and one may be disturbed.
const ATTEMPTS: usize = 4;

/// What one reading of all parts of a record shows.
#[derive(Debug, PartialEq)]
enum Shown {
    /// One state of it.
    Whole(Entry),
    /// What may be two states of one moment: believed when the next reading shows the same.
    Doubtful(Record, Value),
    /// Parts of different states.
    Torn,
}

impl HttpConnector {
    /// Records by id, in the order of the ids, each put together from its parts.
    pub(super) async fn read_by_parts(
        &self,
        calls: &Calls,
        object: &ObjectSpec,
        parts: &Parts,
        ids: &[RecordId],
    ) -> Result<Page, ConnectorError> {
        let mut whole: HashMap<&RecordId, Entry> = HashMap::new();
        let mut before: HashMap<&RecordId, Value> = HashMap::new();
        for _ in 0..ATTEMPTS {
            let mut open: Vec<RecordId> = ids.iter().filter(|id| !whole.contains_key(id)).cloned().collect();
            open.dedup();
            if open.is_empty() {
                break;
            }
            let mut rows = self.read_rows(calls, object, parts, &open).await?;
            for id in ids.iter().filter(|id| !whole.contains_key(id)).collect::<Vec<_>>() {
                let Some(row) = rows.remove(id) else { continue };
                match put_together(object, parts, row) {
                    Shown::Whole(entry) => {
                        whole.insert(id, entry);
                    }
                    Shown::Doubtful(record, value) => {
                        if before.get(id) == Some(&value) {
                            whole.insert(id, Entry::Live(record));
                        } else {
                            before.insert(id, value);
                        }
                    }
                    Shown::Torn => {
                        before.remove(id);
                    }
                }
            }
        }
        let entries = ids.iter().map(|id| whole.get(id).cloned().unwrap_or_else(|| torn(id)));
        Ok(Page::last(entries.collect()))
    }

    /// What each part shows of each record.
    async fn read_rows(
        &self,
        calls: &Calls,
        object: &ObjectSpec,
        parts: &Parts,
        ids: &[RecordId],
    ) -> Result<HashMap<RecordId, Vec<Entry>>, ConnectorError> {
        let mut rows: HashMap<RecordId, Vec<Entry>> = HashMap::new();
        if ids.len() > 1 {
            for (i, many) in parts.read_manys.iter().enumerate() {
                for entry in self.read_many(calls, object, many, ids).await? {
                    let Some(id) = entry_id(&entry).cloned() else { continue };
                    let row = rows.entry(id).or_default();
                    if row.len() == i {
                        row.push(entry);
                    }
                }
            }
            rows.retain(|_, row| row.len() == parts.read_manys.len());
        }
        // What an answer leaves out is looked at by its id: absence proves nothing.
        let mut open: Vec<RecordId> = ids.iter().filter(|id| !rows.contains_key(id)).cloned().collect();
        for read in &parts.reads {
            let entries = self.read_singly(calls, object, read, &open).await?;
            let mut live = Vec::new();
            for (id, entry) in open.into_iter().zip(entries) {
                if matches!(entry, Entry::Live(_)) {
                    live.push(id.clone());
                }
                rows.entry(id).or_default().push(entry);
            }
            // What is gone or bad in one part needs no other.
            open = live;
        }
        Ok(rows)
    }
}

/// One state of a record, where its parts show one.
fn put_together(object: &ObjectSpec, parts: &Parts, row: Vec<Entry>) -> Shown {
    if let Some(bad) = row.iter().find(|entry| matches!(entry, Entry::Bad(_))) {
        return Shown::Whole(bad.clone());
    }
    if row.iter().all(|entry| matches!(entry, Entry::Deleted { .. })) {
        return row.into_iter().next().map_or(Shown::Torn, Shown::Whole);
    }
    let live = row.into_iter().map(|entry| match entry {
        Entry::Live(record) => Some(record),
        Entry::Deleted { .. } | Entry::Bad(_) => None,
    });
    let Some(records) = live.collect::<Option<Vec<Record>>>() else { return Shown::Torn };
    let Some((first, others)) = records.split_first() else { return Shown::Torn };
    if others.is_empty() {
        return Shown::Whole(Entry::Live(first.clone()));
    }
    let has_version = object.version.is_some() && first.version.is_some();
    let same_version = others.iter().all(|other| object.version.is_none() || other.version == first.version);
    if !same_version || others.iter().any(|other| other.modified != first.modified) {
        return Shown::Torn;
    }
    let mut merged = Value::Null;
    for record in &records {
        match record.body.decode() {
            Ok(value) => merge(&mut merged, value),
            Err(error) => return Shown::Whole(bad(&first.id, &error.place, error.reason)),
        }
    }
    let record = Record { body: Body::from_value(&merged), ..first.clone() };
    if has_version || (parts.times_are_exact && first.modified.is_some()) {
        Shown::Whole(Entry::Live(record))
    } else {
        Shown::Doubtful(record, merged)
    }
}

/// Puts what another part shows into a record. A null gives way: some apps show those properties
/// as null that were not asked for.
fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(entries), Value::Object(more)) => {
            for (key, value) in more {
                match entries.iter_mut().find(|(other, _)| *other == key) {
                    Some((_, known)) => merge(known, value),
                    None => entries.push((key, value)),
                }
            }
        }
        (into @ Value::Null, more) => *into = more,
        (
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_),
        ) => {}
    }
}

fn torn(id: &RecordId) -> Entry {
    let reason = format!("it changed each of the {ATTEMPTS} times while its properties were read in several requests");
    bad(id, "the properties", reason)
}

fn bad(id: &RecordId, place: &str, reason: String) -> Entry {
    let raw_hash = RawHash::of(reason.as_bytes());
    Entry::Bad(BadRecord { id: Some(id.clone()), place: place.to_owned(), reason, raw_hash })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_asked_for_gives_way() {
        for (parts, want) in [
            (vec![r#"{"id":1,"p":{"a":1.50}}"#, r#"{"id":1,"p":{"b":"x"}}"#], r#"{"id":1,"p":{"a":1.50,"b":"x"}}"#),
            (
                vec![r#"{"a":1,"b":null}"#, r#"{"a":null,"b":2}"#, r#"{"a":null,"b":null,"c":null}"#],
                r#"{"a":1,"b":2,"c":null}"#,
            ),
            // What both show is of one state, and the first is as good as the other.
            (vec![r#"{"seen":1,"l":[1]}"#, r#"{"seen":2,"l":[2,3]}"#], r#"{"seen":1,"l":[1]}"#),
            (vec![r#"{"p":null}"#, r#"{"p":{"a":1}}"#], r#"{"p":{"a":1}}"#),
        ] {
            let mut merged = Value::Null;
            parts.iter().for_each(|part| merge(&mut merged, Value::from_json(part).unwrap()));
            assert_eq!(merged.to_json(), want, "{parts:?}");
        }
    }
}
