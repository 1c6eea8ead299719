//! What came of a write, decided from one answer: alone, or one of a batch.

use serde_json::value::RawValue;

use crate::model::ids::{RecordId, Version};
use crate::model::record::Entry;
use crate::model::value::Value;
use crate::model::write::{Create, CreateRecovery, NextStep, Outcome, Stored, Write};

use super::call::{Judged, Meaning, not_sent};
use super::entry::{entry_id, parse};
use super::id::check_id;
use super::raw::{Fields, at, tells_error, text_of};
use super::read::single;
use super::refused::is_refusal;
use super::send::SendError;
use super::spec::ObjectSpec;
use super::transport::TransportError;

/// One answer to one write.
pub(super) struct Answer<'a> {
    pub status: u16,
    pub judged: Judged<'a>,
    /// Where the record is looked for; `None` when there is no body.
    pub body: Option<&'a RawValue>,
    /// There was a body, but it was not JSON.
    pub garbled: bool,
    /// The body was not valid UTF-8.
    pub lossy: bool,
    pub version_header: Option<&'a str>,
    /// What to say about it, made when it is needed.
    pub sentence: &'a dyn Fn() -> String,
}

/// Decides what came of a write.
pub(super) fn outcome(object: &ObjectSpec, write: &Write, sent: &Value, answer: &Answer<'_>) -> Outcome {
    let Judged { meaning, rule } = answer.judged;
    // A rule looks closer than a status.
    if rule.is_none()
        && let Some(outcome) = declared(object, write, answer)
    {
        return outcome;
    }
    let sentence = answer.sentence;
    match (meaning, write) {
        (Meaning::Success, _) if answer.garbled || is_denied(object, write, answer) => Outcome::Unknown(sentence()),
        (Meaning::Success, Write::Delete(_)) => Outcome::Deleted,
        (Meaning::Success, Write::Create(create)) => created(object, create, sent, answer),
        (Meaning::Success, Write::Update(update)) => Outcome::Written(updated(object, &update.id, sent, answer)),
        (Meaning::Limited { millis }, _) => not_sent(NextStep::Wait { millis }, sentence()),
        (Meaning::Unauthorised, _) => not_sent(NextStep::Reauthorise, sentence()),
        (Meaning::NotNow | Meaning::Expired | Meaning::BeginAnew, _) => not_sent(NextStep::Retry, sentence()),
        (Meaning::Missing, Write::Update(_)) => Outcome::Missing,
        (Meaning::Missing, Write::Delete(_)) => Outcome::Deleted,
        (Meaning::Changed, Write::Update(_) | Write::Delete(_)) => Outcome::Changed,
        (Meaning::Changed | Meaning::Duplicate, Write::Create(_)) => Outcome::Duplicate(existing(object, answer)),
        (Meaning::Duplicate, Write::Update(_) | Write::Delete(_)) | (Meaning::Invalid, _) => {
            let path = rule.and_then(|rule| rule.field(answer.body));
            Outcome::Rejected { reason: sentence(), path }
        }
        (Meaning::Broken, _) => Outcome::Unknown(sentence()),
        (Meaning::Missing, Write::Create(_)) | (Meaning::Wrong, _) => not_sent(NextStep::Fail, sentence()),
    }
}

/// What a write that got no answer came to.
pub(super) fn unanswered(error: SendError) -> Outcome {
    match error {
        SendError::Transport(TransportError::NotSent(message)) => not_sent(NextStep::Retry, message),
        SendError::Transport(TransportError::Refused(message)) => not_sent(NextStep::Fail, message),
        SendError::Transport(TransportError::Unknown(message)) => Outcome::Unknown(message),
        SendError::NoSession(error) => Outcome::NotSent(error),
    }
}

/// Whether an answer with a success status says that it is an error. One that holds the
/// record is none, whatever fields that has. Most likely nothing was carried out, but
/// that is not certain, and a create without a record is unknown in any case.
fn is_denied(object: &ObjectSpec, write: &Write, answer: &Answer<'_>) -> bool {
    let id = match write {
        Write::Create(_) => return false,
        Write::Update(update) => &update.id,
        Write::Delete(delete) => &delete.id,
    };
    let Some(body) = answer.body.filter(|body| tells_error(body)) else { return false };
    let record = single(object, body).ok().map(|raw| parse(object, raw, "the answer", answer.lossy).entry);
    record.as_ref().and_then(entry_id) != Some(id)
}

/// Statuses that the operation itself declares come before everything else.
fn declared(object: &ObjectSpec, write: &Write, answer: &Answer<'_>) -> Option<Outcome> {
    let holds = |statuses: &[u16]| statuses.contains(&answer.status);
    match write {
        Write::Create(_) => {
            let spec = object.create.as_ref()?;
            let body = answer.body.map_or("", RawValue::get);
            let says = spec.duplicate_text.as_ref().is_none_or(|text| body.contains(text.as_str()));
            (holds(&spec.duplicate) && says).then(|| Outcome::Duplicate(existing(object, answer)))
        }
        Write::Update(update) => {
            let spec = object.update.as_ref()?;
            // `If-Match: *` was sent: it is refused only where there is no record.
            let refused_as_missing = spec.makes_missing && update.expected.is_none() && holds(&spec.changed);
            match (holds(&spec.missing) || refused_as_missing, holds(&spec.changed)) {
                (true, _) => Some(Outcome::Missing),
                (false, true) => Some(Outcome::Changed),
                (false, false) => None,
            }
        }
        Write::Delete(_) => {
            let spec = object.delete.as_ref()?;
            match (holds(&spec.missing), holds(&spec.changed)) {
                // Not to be believed yet: `HttpConnector::confirm_missing`.
                (true, _) if is_refusal(answer.status) => Some(Outcome::Missing),
                (true, _) => Some(Outcome::Deleted),
                (false, true) => Some(Outcome::Changed),
                (false, false) => None,
            }
        }
    }
}

/// The record that was there already, where the answer names it.
fn existing(object: &ObjectSpec, answer: &Answer<'_>) -> Option<RecordId> {
    let body = answer.body?;
    match object.create.as_ref().and_then(|create| create.duplicate_id.as_ref()) {
        Some(path) => {
            let id = object.id.told(text_of(at(body, Some(path)).ok()??)?).ok()?;
            (check_id(&id).is_ok() && object.id.check(&id).is_ok()).then(|| RecordId::new(id))
        }
        None => object.id.of(&Fields::of(single(object, body).ok()?).ok()?).ok(),
    }
}

fn created(object: &ObjectSpec, create: &Create, sent: &Value, answer: &Answer<'_>) -> Outcome {
    let chosen_by_us = object.create.as_ref().is_some_and(|spec| spec.recovery == CreateRecovery::ClientId);
    let keep_body = object.create.as_ref().is_some_and(|create| create.answers_record);
    match stored(object, sent, keep_body, answer) {
        Some(stored) => Outcome::Written(stored),
        // The id is known without it.
        None if chosen_by_us && answer.body.is_none() => Outcome::Written(Stored {
            id: RecordId::new(create.external_id.as_str()),
            version: answer.version_header.map(Version::from),
            modified: None,
            body: None,
        }),
        // Something was made, but nobody knows what: it has to be looked up.
        None => Outcome::Unknown(format!("the answer to a create names no record: {}", (answer.sentence)())),
    }
}

fn updated(object: &ObjectSpec, id: &RecordId, sent: &Value, answer: &Answer<'_>) -> Stored {
    let keep_body = object.update.as_ref().is_some_and(|update| update.answers_record);
    let found = stored(object, sent, keep_body, answer).filter(|stored| stored.id == *id);
    found.unwrap_or_else(|| Stored {
        id: id.clone(),
        version: answer.version_header.map(Version::from),
        modified: None,
        body: None,
    })
}

/// The record as the answer tells it.
fn stored(object: &ObjectSpec, sent: &Value, keep_body: bool, answer: &Answer<'_>) -> Option<Stored> {
    let raw = single(object, answer.body?).ok()?;
    let header_version = || answer.version_header.map(Version::from);
    match parse(object, raw, "the answer", answer.lossy).entry {
        Entry::Live(record) => {
            // An answer that leaves out what was sent is not the whole record.
            let whole = keep_body && Value::from_raw(raw).is_ok_and(|got| covers(&got, sent));
            Some(Stored {
                id: record.id,
                version: record.version.or_else(header_version),
                modified: record.modified,
                body: whole.then_some(record.body),
            })
        }
        Entry::Deleted { id, version, .. } => {
            Some(Stored { id, version: version.or_else(header_version), modified: None, body: None })
        }
        Entry::Bad(_) => None,
    }
}

/// Whether a value has every key that another one has, nulls aside.
fn covers(got: &Value, sent: &Value) -> bool {
    match (got, sent) {
        (Value::Object(got), Value::Object(sent)) => sent
            .iter()
            .filter(|(_, value)| *value != Value::Null)
            .all(|(key, sent)| got.iter().find(|(other, _)| other == key).is_some_and(|(_, got)| covers(got, sent))),
        (_, Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => true,
        (_, Value::Object(sent)) => sent.is_empty(),
    }
}
