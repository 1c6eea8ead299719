//! The app as a connector shows it: calls arrive, take their time, and are answered or
//! not.

use async_trait::async_trait;

use super::MemoryApp;
use super::call::{Arrival, SILENT_PAUSE_MS};
use super::faults::{CallKind, CallShape, Fault, On, Part};
use super::list;
use super::log::{Cause, LogEntry, Operation};
use super::world::{Applied, By, World};
use crate::connectors::{Calls, Connector, Read};
use crate::model::ids::{ObjectName, RecordId};
use crate::model::path::Path;
use crate::model::record::{Body, DeletionCause, Entry, Page, Record};
use crate::model::value::Value;
use crate::model::write::{Capabilities, ConnectorError, CreateRecovery, NextStep, Outcome, Write};

pub(super) struct MemoryConnector {
    pub app: MemoryApp,
    /// Set before every object name; keeps scopes apart.
    pub prefix: String,
}

#[async_trait(?Send)]
impl Connector for MemoryConnector {
    fn capabilities(&self, object: &ObjectName) -> Result<Capabilities, ConnectorError> {
        Ok(self.app.capabilities(self.full_name(object)))
    }

    /// `{"id":"7","version":"3","record":{…}}`.
    fn told(&self, _: &ObjectName, text: &str) -> Option<Entry> {
        let told = Value::from_json(text).ok()?;
        let part = |name: &str| told.get(&Path::key(name));
        let text = |name: &str| part(name)?.as_str();
        let (id, version, body) =
            (text("id")?.into(), Some(text("version")?.into()), Body::from_value(part("record")?));
        Some(Entry::Live(Record { id, version, modified: None, body }))
    }

    async fn read(&self, calls: &Calls, object: &ObjectName, read: Read) -> Result<Page, ConnectorError> {
        let name = self.full_name(object);
        let permit = calls.permit().await;
        let arrival = self.app.arrive(read_shape(&name, &read)).await;
        self.app.until_effect(&arrival).await;
        let answer = {
            let mut world = self.app.lock();
            world.settle();
            world.log.push(arrival.log_entry(&name, read_operation(&read)));
            answer_read(&mut world, &name, &read, arrival.fault.as_ref())
        };
        arrival.obey(calls);
        self.app.until_answer(&arrival).await;
        drop(permit);
        answer
    }

    async fn write(&self, calls: &Calls, object: &ObjectName, writes: Vec<Write>) -> Vec<Outcome> {
        if writes.is_empty() {
            return Vec::new();
        }
        let name = self.full_name(object);
        let most = self.app.capabilities(name.clone()).batch;
        if writes.len() > most {
            let message = format!("{} writes in one call, {name} takes {most}", writes.len());
            return refuse_all(&writes, &Outcome::NotSent(ConnectorError::new(NextStep::Fail, message)));
        }
        let permit = calls.permit().await;
        let parts = writes.iter().map(Part::of).collect();
        let arrival = self.app.arrive(CallShape { kind: CallKind::Write, object: &name, parts }).await;
        self.app.until_effect(&arrival).await;
        let outcomes = {
            let mut world = self.app.lock();
            world.settle();
            answer_write(&mut world, &name, writes, &arrival)
        };
        arrival.obey(calls);
        self.app.until_answer(&arrival).await;
        drop(permit);
        outcomes
    }
}

impl MemoryConnector {
    fn full_name(&self, object: &ObjectName) -> ObjectName {
        if self.prefix.is_empty() { object.clone() } else { ObjectName::from(format!("{}{object}", self.prefix)) }
    }
}

// ---- reads ----

fn read_shape<'a>(name: &'a ObjectName, read: &Read) -> CallShape<'a> {
    let list = |token: Option<&_>, changes| CallKind::List {
        page: list::page_number(token),
        changes,
        continued: token.is_some(),
    };
    let (kind, ids) = match read {
        Read::All { page } => (list(page.as_ref(), false), Vec::new()),
        Read::Changes { since: _, page } => (list(page.as_ref(), true), Vec::new()),
        Read::Ids(ids) => (CallKind::Ids, ids.clone()),
        Read::Find(_) | Read::ExternalId(_) => (CallKind::Find, Vec::new()),
    };
    let parts = ids.into_iter().map(|id| Part { on: On::Ids, id: Some(id) }).collect();
    CallShape { kind, object: name, parts }
}

fn read_operation(read: &Read) -> Operation {
    match read {
        Read::All { page } => Operation::ReadAll { page: list::page_number(page.as_ref()) },
        Read::Changes { since, page } => {
            Operation::ReadChanges { since: since.clone(), page: list::page_number(page.as_ref()) }
        }
        Read::Ids(ids) => Operation::ReadIds(ids.clone()),
        Read::Find(wanted) => Operation::Find(wanted.clone()),
        Read::ExternalId(external_id) => Operation::FindExternalId(external_id.clone()),
    }
}

fn answer_read(
    world: &mut World,
    name: &ObjectName,
    read: &Read,
    fault: Option<&Fault>,
) -> Result<Page, ConnectorError> {
    if let Some(error) = fault.and_then(|fault| read_error(world, read, fault)) {
        return Err(error);
    }
    match read {
        Read::All { page } => list::read_page(world, name, None, page.as_ref(), fault),
        Read::Changes { since, page } => {
            if !world.object(name).capabilities.changes {
                return Err(unable(name, "cannot list changes"));
            }
            list::read_page(world, name, Some(since), page.as_ref(), fault)
        }
        Read::Ids(ids) => read_ids(world, name, ids),
        Read::Find(wanted) => find(world, name, wanted),
        Read::ExternalId(external_id) => find_external_id(world, name, external_id),
    }
}

/// How a read fails as a whole, if it does.
fn read_error(world: &mut World, read: &Read, fault: &Fault) -> Option<ConnectorError> {
    let error = |next, message: &str| Some(ConnectorError::new(next, message));
    match fault {
        Fault::NotSent => error(NextStep::Retry, "no connection"),
        Fault::TimeoutBefore | Fault::TimeoutAfter => error(NextStep::Retry, "no answer in time"),
        Fault::ServerError => error(NextStep::Retry, "answered 503"),
        Fault::RateLimited { retry_after_ms } => error(NextStep::Wait { millis: *retry_after_ms }, "answered 429"),
        Fault::RateLimitedSilently => error(NextStep::Wait { millis: SILENT_PAUSE_MS }, "answered 429"),
        Fault::Unauthorised => error(NextStep::Reauthorise, "answered 401"),
        Fault::CursorExpired => error(NextStep::Resync, "answered 410: the cursor is no longer valid"),
        Fault::TokenExpired => {
            let (Read::All { page: Some(token) } | Read::Changes { page: Some(token), .. }) = read else { return None };
            world.expired_tokens.insert(token.as_str().to_owned());
            Some(list::expired())
        }
        Fault::Truncated { .. } | Fault::Drift | Fault::EmptyPage | Fault::BadRecord | Fault::Slow { .. } => None,
        // These befall writes only, and a panic has happened before.
        Fault::LateCommit { .. }
        | Fault::PartialCommit
        | Fault::Rejected { .. }
        | Fault::Stale { .. }
        | Fault::Panic => None,
    }
}

fn unable(name: &ObjectName, what: &str) -> ConnectorError {
    ConnectorError::new(NextStep::Fail, format!("{name} {what}"))
}

fn read_ids(world: &mut World, name: &ObjectName, ids: &[RecordId]) -> Result<Page, ConnectorError> {
    let most = world.object(name).capabilities.read_ids;
    if ids.len() > most {
        return Err(unable(name, &format!("reads at most {most} ids at once, not {}", ids.len())));
    }
    let entries = ids.iter().map(|id| read_one(world, name, id)).collect();
    Ok(Page::last(entries))
}

fn read_one(world: &mut World, name: &ObjectName, id: &RecordId) -> Entry {
    let gone = || Entry::Deleted { id: id.clone(), version: None, cause: DeletionCause::NotFound };
    let Some(state) = world.shown_one(name, id) else { return gone() };
    world.note_seen(name, id, state.change);
    match &state.live {
        Some(_) if world.object(name).poisoned.contains(id) => list::bad(id),
        Some(live) => Entry::Live(world.record(id, &state, live)),
        None => gone(),
    }
}

fn find(world: &mut World, name: &ObjectName, wanted: &[(Path, Value)]) -> Result<Page, ConnectorError> {
    let searchable = &world.object(name).capabilities.find;
    if let Some((path, _)) = wanted.iter().find(|(path, _)| !searchable.contains(path)) {
        return Err(unable(name, &format!("cannot be searched by {path}")));
    }
    let matches = |value: &Value| wanted.iter().all(|(path, want)| value.get(path).is_some_and(|v| v.same(want)));
    let mut rows = world.shown(name);
    rows.retain(|(_, state)| state.live.as_ref().is_some_and(|live| matches(&live.value)));
    rows.retain(|(id, _)| world.is_indexed(name, id));
    Ok(Page::last(rows.iter().map(|(id, _)| read_one(world, name, id)).collect()))
}

fn find_external_id(world: &mut World, name: &ObjectName, external_id: &str) -> Result<Page, ConnectorError> {
    let recovery = world.object(name).capabilities.create;
    let id = match recovery {
        CreateRecovery::ClientId => Some(RecordId::from(external_id)),
        CreateRecovery::ExternalId => world.with_external_id(name, external_id),
        CreateRecovery::IdempotencyKey { .. } | CreateRecovery::Find { .. } | CreateRecovery::Park => {
            return Err(unable(name, "keeps no external ids"));
        }
    };
    // Answered by the primary: an external id is not searched in a replica or an index.
    let record: Option<Record> = id.and_then(|id| {
        let state = world.real(name, &id)?.clone();
        world.note_seen(name, &id, state.change);
        Some(world.record(&id, &state, state.live.as_ref()?))
    });
    Ok(Page::last(record.map(Entry::Live).into_iter().collect()))
}

// ---- writes ----

fn refuse_all(writes: &[Write], outcome: &Outcome) -> Vec<Outcome> {
    writes.iter().map(|_| outcome.clone()).collect()
}

/// What happens to the writes of a call, and what its answer says.
pub(super) enum Fate {
    /// All are carried out; the answer says how.
    Normal,
    /// The one at this place is refused, the others are carried out.
    Refuse { at: usize, reason: String },
    /// The first so many are carried out; the answer is this for all.
    Lost { done: usize, answer: Outcome },
    /// All are carried out so much later; the answer is this for all.
    Late { after_ms: u64, answer: Outcome },
    /// All are carried out, and not shown by reads for so long.
    Stale { for_ms: u64 },
}

pub(super) fn fate(arrival: &Arrival, count: usize) -> Fate {
    let unknown = |message: &str| Outcome::Unknown(message.to_owned());
    let not_sent = |next, message: &str| Outcome::NotSent(ConnectorError::new(next, message));
    let Some(fault) = &arrival.fault else { return Fate::Normal };
    match fault {
        Fault::NotSent => Fate::Lost { done: 0, answer: not_sent(NextStep::Retry, "no connection") },
        Fault::TimeoutBefore => Fate::Lost { done: 0, answer: unknown("no answer in time") },
        Fault::TimeoutAfter => Fate::Lost { done: count, answer: unknown("no answer in time") },
        Fault::PartialCommit => Fate::Lost { done: count / 2, answer: unknown("the connection broke") },
        Fault::ServerError => Fate::Lost { done: 0, answer: unknown("answered 503") },
        Fault::LateCommit { after_ms } => Fate::Late { after_ms: *after_ms, answer: unknown("no answer in time") },
        Fault::RateLimited { retry_after_ms } => {
            Fate::Lost { done: 0, answer: not_sent(NextStep::Wait { millis: *retry_after_ms }, "answered 429") }
        }
        Fault::RateLimitedSilently => {
            Fate::Lost { done: 0, answer: not_sent(NextStep::Wait { millis: SILENT_PAUSE_MS }, "answered 429") }
        }
        Fault::Unauthorised => Fate::Lost { done: 0, answer: not_sent(NextStep::Reauthorise, "answered 401") },
        Fault::Rejected { reason } => Fate::Refuse { at: arrival.part.unwrap_or(0), reason: reason.clone() },
        Fault::Stale { for_ms } => Fate::Stale { for_ms: *for_ms },
        Fault::Slow { .. } => Fate::Normal,
        // These befall reads only, and a panic has happened before.
        Fault::Truncated { .. }
        | Fault::Drift
        | Fault::EmptyPage
        | Fault::TokenExpired
        | Fault::CursorExpired
        | Fault::BadRecord
        | Fault::Panic => Fate::Normal,
    }
}

fn answer_write(world: &mut World, name: &ObjectName, writes: Vec<Write>, arrival: &Arrival) -> Vec<Outcome> {
    match fate(arrival, writes.len()) {
        Fate::Normal => outcomes(carry_out(world, name, &writes, arrival, 0, None)),
        Fate::Stale { for_ms } => outcomes(carry_out(world, name, &writes, arrival, for_ms, None)),
        Fate::Refuse { at, reason } => outcomes(carry_out(world, name, &writes, arrival, 0, Some((at, reason)))),
        Fate::Lost { done, answer } => {
            let answers = refuse_all(&writes, &answer);
            carry_out(world, name, &writes[..done], arrival, 0, None);
            for write in &writes[done..] {
                world.log.push(arrival.log_entry(name, write_operation(write, None)));
            }
            answers
        }
        Fate::Late { after_ms, answer } => {
            let answers = refuse_all(&writes, &answer);
            for write in writes {
                let entry = world.log.len();
                world.log.push(arrival.log_entry(name, write_operation(&write, None)));
                world.put_off(after_ms, name, arrival.call, write, entry);
            }
            answers
        }
    }
}

fn outcomes(applied: Vec<Applied>) -> Vec<Outcome> {
    applied.into_iter().map(|applied| applied.outcome).collect()
}

/// Carries out the writes of a call, but for the one that a fault refuses.
pub(super) fn carry_out(
    world: &mut World,
    name: &ObjectName,
    writes: &[Write],
    arrival: &Arrival,
    stale_ms: u64,
    refused: Option<(usize, String)>,
) -> Vec<Applied> {
    let by = By { cause: Cause::Call(arrival.call), stale_ms };
    let mut all = Vec::with_capacity(writes.len());
    for (at, write) in writes.iter().enumerate() {
        let applied = match &refused {
            Some((refused_at, reason)) if *refused_at == at => {
                world.log.push(arrival.log_entry(name, write_operation(write, None)));
                Applied::refused(Outcome::Rejected { reason: reason.clone(), path: None })
            }
            Some(_) | None => {
                let applied = world.apply(name, write, &by);
                let entry = arrival.log_entry(name, write_operation(write, Some(&applied)));
                world.log.push(LogEntry { applied: applied.changed, ..entry });
                applied
            }
        };
        all.push(applied);
    }
    all
}

pub(super) fn write_operation(write: &Write, applied: Option<&Applied>) -> Operation {
    let found = applied.and_then(|applied| applied.found.clone());
    match write {
        Write::Create(create) => Operation::Create {
            id: applied.and_then(|applied| applied.id.clone()),
            external_id: create.external_id.clone(),
            idempotency_key: create.idempotency_key.clone(),
            record: create.record.clone(),
        },
        Write::Update(update) => Operation::Update {
            id: update.id.clone(),
            expected: update.expected.clone(),
            found,
            changes: update.changes.clone(),
        },
        Write::Delete(delete) => Operation::Delete { id: delete.id.clone(), expected: delete.expected.clone(), found },
    }
}
