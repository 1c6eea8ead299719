//! One record of an answer: its id, version and time, or why it cannot be understood.
//! The record keeps its text; nothing else of it is decoded here.

use serde_json::value::RawValue;

use crate::model::hash::RawHash;
use crate::model::ids::{RecordId, Version};
use crate::model::path::Path;
use crate::model::record::{BadRecord, Body, DeletionCause, Entry, Record};
use crate::model::value::Value;

use super::forms::Forms;
use super::id::NoId;
use super::raw::{Fields, at, is_null, is_truthy, text_of};
use super::spec::{DeletedSpec, EntryDeleted, ListSpec, ObjectSpec};
use super::text::clip;
use super::time;

/// An entry, with its raw text for what else is to be read from it.
pub(super) struct Parsed<'r> {
    pub entry: Entry,
    pub raw: &'r RawValue,
}

/// Reads one record. `place` names it within the answer; `lossy` says that the answer
/// was not valid UTF-8.
pub(super) fn parse<'r>(object: &ObjectSpec, raw: &'r RawValue, place: &str, lossy: bool) -> Parsed<'r> {
    let entry = if lossy && raw.get().contains('\u{fffd}') {
        bad(None, raw, place, "the text is not valid UTF-8".to_owned())
    } else {
        match &object.forms {
            None => read(object, raw, place),
            Some(forms) => read_by_forms(object, forms, raw, place),
        }
    };
    Parsed { entry, raw }
}

fn read(object: &ObjectSpec, raw: &RawValue, place: &str) -> Entry {
    match Fields::of(raw) {
        Ok(fields) => read_fields(object, &fields, raw, place),
        Err(reason) => bad(None, raw, place, reason),
    }
}

/// Reads a record whose values stand in it in another form than their own.
fn read_by_forms(object: &ObjectSpec, forms: &Forms, raw: &RawValue, place: &str) -> Entry {
    let told = forms.told(raw).map_err(|fault| {
        let id = Fields::of(raw).ok().and_then(|fields| object.id.of(&fields).ok());
        let place = if fault.place.is_empty() { place.to_owned() } else { format!("{place}.{}", fault.place) };
        bad(id, raw, &place, fault.reason)
    });
    match told.map(RawValue::from_string) {
        Ok(Ok(told)) => read(object, &told, place),
        Ok(Err(error)) => bad(None, raw, place, error.to_string()),
        Err(entry) => entry,
    }
}

/// Reads one entry of a list, in which the record may stand deeper, and which may say by
/// itself that the record is deleted.
pub(super) fn parse_in<'r>(
    object: &ObjectSpec,
    list: &ListSpec,
    raw: &'r RawValue,
    place: &str,
    lossy: bool,
) -> Parsed<'r> {
    if list.item.is_none() && list.deleted.is_none() {
        return parse(object, raw, place, lossy);
    }
    let record = match at(raw, list.item.as_ref()) {
        Ok(Some(record)) => record,
        Ok(None) => {
            let path = list.item.as_ref().map(Path::to_string).unwrap_or_default();
            let reason = format!("the entry has no record at '{path}'");
            return Parsed { entry: bad(None, raw, place, reason), raw };
        }
        Err(reason) => return Parsed { entry: bad(None, raw, place, reason), raw },
    };
    let mut entry = parse(object, record, place, lossy).entry;
    if let Entry::Live(live) = &entry {
        let cause = match &list.deleted {
            Some(EntryDeleted::Field(spec)) => Fields::of(raw).and_then(|fields| says_deleted(spec, &fields)),
            Some(EntryDeleted::Always) => Ok(Some(DeletionCause::Tombstone)),
            None => Ok(None),
        };
        entry = match cause {
            Ok(None) => entry,
            Ok(Some(cause)) => Entry::Deleted { id: live.id.clone(), version: live.version.clone(), cause },
            Err(reason) => bad(Some(live.id.clone()), raw, place, reason),
        };
    }
    Parsed { entry, raw }
}

/// A text that stands where a record should, and is none.
pub(super) fn broken(text: &str, place: &str, reason: &str) -> Entry {
    let raw_hash = RawHash::of(text.as_bytes());
    Entry::Bad(BadRecord { id: None, place: place.to_owned(), reason: reason.to_owned(), raw_hash })
}

fn bad(id: Option<RecordId>, raw: &RawValue, place: &str, reason: String) -> Entry {
    let raw_hash = RawHash::of(raw.get().as_bytes());
    Entry::Bad(BadRecord { id, place: place.to_owned(), reason: clip(&reason), raw_hash })
}

fn read_fields(object: &ObjectSpec, fields: &Fields<'_>, raw: &RawValue, place: &str) -> Entry {
    let id = match object.id.of(fields) {
        Ok(id) => id,
        Err(NoId { path, reason }) => return bad(None, raw, &format!("{place}.{path}"), reason),
    };
    match deleted(object, fields) {
        Ok(None) => {}
        Ok(Some(cause)) => return Entry::Deleted { id, version: version(object, fields), cause },
        Err(reason) => return bad(Some(id), raw, place, reason),
    }
    let modified = object.modified.iter().find_map(|path| {
        let raw = fields.get(path).ok().flatten().filter(|raw| !is_null(raw))?;
        time::parse_raw(raw, object.modified_unit, &object.spelling)
    });
    Entry::Live(Record { id, version: version(object, fields), modified, body: Body::from_json(raw.get()) })
}

fn version(object: &ObjectSpec, fields: &Fields<'_>) -> Option<Version> {
    let raw = fields.get(object.version.as_ref()?).ok().flatten()?;
    text_of(raw).map(Version::new)
}

fn deleted(object: &ObjectSpec, fields: &Fields<'_>) -> Result<Option<DeletionCause>, String> {
    object.deleted.as_ref().map_or(Ok(None), |spec| says_deleted(spec, fields))
}

fn says_deleted(spec: &DeletedSpec, fields: &Fields<'_>) -> Result<Option<DeletionCause>, String> {
    let DeletedSpec { path, value, tombstone } = spec;
    let Some(raw) = fields.get(path)? else { return Ok(None) };
    let is_deleted = match value {
        Some(value) => Value::from_raw(raw).is_ok_and(|found| found.same(value)),
        None => is_truthy(raw),
    };
    let cause = if *tombstone { DeletionCause::Tombstone } else { DeletionCause::Flag };
    Ok(is_deleted.then_some(cause))
}

/// The id of an entry, where it has one.
pub(super) fn entry_id(entry: &Entry) -> Option<&RecordId> {
    match entry {
        Entry::Live(record) => Some(&record.id),
        Entry::Deleted { id, .. } => Some(id),
        Entry::Bad(bad) => bad.id.as_ref(),
    }
}
