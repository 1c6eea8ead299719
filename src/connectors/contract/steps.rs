//! What the checks are made of: calls that wait as they are told, reads to their end,
//! samples, and comparisons.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::connectors::{Calls, Connector, Read};
use crate::model::cursor::{Cursor, PageToken};
use crate::model::ids::{ObjectName, RecordId, Version};
use crate::model::path::Path;
use crate::model::record::{Body, Entry, Page, Record};
use crate::model::value::Value;
use crate::model::write::{
    Capabilities, Change, ConnectorError, Create, Delete, NextStep, Outcome, Stored, Update, UpdateStyle, Write,
};

/// The most pages one read may have before it is taken to go round for ever.
const MOST_PAGES: usize = 100_000;

/// How often a call is repeated that says it may be.
const MOST_ATTEMPTS: u32 = 5;

pub(super) type Kept = Result<(), Broken>;

/// Why a check did not pass.
pub(super) enum Broken {
    Skip(String),
    Fail(String),
}

pub(super) fn fail<T>(reason: impl Into<String>) -> Result<T, Broken> {
    Err(Broken::Fail(reason.into()))
}

pub(super) fn skip<T>(reason: impl Into<String>) -> Result<T, Broken> {
    Err(Broken::Skip(reason.into()))
}

pub(super) fn must(holds: bool, reason: impl FnOnce() -> String) -> Kept {
    if holds { Ok(()) } else { Err(Broken::Fail(reason())) }
}

pub(super) struct Suite<'a> {
    pub connector: &'a dyn Connector,
    pub calls: &'a Calls,
    pub object: &'a ObjectName,
    pub capabilities: Capabilities,
    sample: &'a dyn Fn(u32) -> Value,
    /// Keeps the keys of this run apart from those of an earlier one.
    run: u64,
    samples_taken: Cell<u32>,
    made: RefCell<BTreeSet<RecordId>>,
}

/// A read to its end.
#[derive(Default)]
pub(super) struct Listing {
    pages: Vec<Page>,
}

impl<'a> Suite<'a> {
    pub fn new(
        connector: &'a dyn Connector,
        calls: &'a Calls,
        object: &'a ObjectName,
        sample: &'a dyn Fn(u32) -> Value,
    ) -> Result<Self, String> {
        let capabilities = connector.capabilities(object).map_err(|error| format!("no capabilities: {error}"))?;
        Ok(Self {
            connector,
            calls,
            object,
            capabilities,
            sample,
            run: fastrand::u64(..),
            samples_taken: Cell::new(0),
            made: RefCell::default(),
        })
    }

    pub async fn clean_up(&self) {
        let made: Vec<RecordId> = self.made.borrow().iter().cloned().collect();
        for id in made {
            // Best effort: what cannot be deleted was reported by a check.
            let _ = self.delete(&id, None).await;
        }
    }

    // ---- what the checks need to be able to ----

    pub fn must_read_ids(&self) -> Kept {
        if self.capabilities.read_ids == 0 { skip("records cannot be read by id") } else { Ok(()) }
    }

    pub fn must_list_changes(&self) -> Kept {
        if self.capabilities.changes { Ok(()) } else { skip("changes cannot be listed") }
    }

    pub fn must_write(&self) -> Kept {
        if self.capabilities.writable { Ok(()) } else { skip("records cannot be written") }
    }

    // ---- steps ----

    pub fn next_sample(&self) -> Value {
        let n = self.samples_taken.get();
        self.samples_taken.set(n + 1);
        (self.sample)(n)
    }

    pub fn next_create(&self) -> Create {
        let record = self.next_sample();
        let key = format!("contract-{:x}-{}", self.run, self.samples_taken.get());
        Create { record, idempotency_key: format!("key-{key}"), external_id: key }
    }

    pub async fn create_ok(&self, create: &Create) -> Result<Stored, Broken> {
        match self.write_one(Write::Create(create.clone())).await? {
            Outcome::Written(stored) => Ok(stored),
            other => fail(format!("a create answered {}", outcome_text(&other))),
        }
    }

    pub async fn create_one(&self) -> Result<(RecordId, Value), Broken> {
        let create = self.next_create();
        let stored = self.create_ok(&create).await?;
        Ok((stored.id, create.record))
    }

    pub async fn create_several(&self, count: usize) -> Result<Vec<(RecordId, Value)>, Broken> {
        let mut made = Vec::with_capacity(count);
        for _ in 0..count {
            made.push(self.create_one().await?);
        }
        Ok(made)
    }

    /// New records where the side can be written; else what is there has to do.
    pub async fn some_records(&self, count: usize) -> Result<Vec<(RecordId, Value)>, Broken> {
        if self.capabilities.writable { self.create_several(count).await } else { Ok(Vec::new()) }
    }

    pub async fn create_and_read(&self) -> Result<Record, Broken> {
        let (id, _) = self.create_one().await?;
        self.read_one(&id).await
    }

    /// The id of a record that was there and is deleted.
    pub async fn make_gone(&self) -> Result<RecordId, Broken> {
        let (id, _) = self.create_one().await?;
        self.delete_ok(&id).await?;
        Ok(id)
    }

    /// A record before and after an update, for what must be refused.
    pub async fn two_versions(&self) -> Result<(Record, Record), Broken> {
        if !self.capabilities.conditional {
            return skip("the connector says that it does not check versions");
        }
        let old = self.create_and_read().await?;
        must(old.version.is_some(), || "it says that it checks versions, but records have none".into())?;
        let (path, value) = self.one_change(&old)?;
        self.update_ok(&old, vec![Change { path, value: Some(value) }]).await?;
        let now = self.read_one(&old.id).await?;
        Ok((old, now))
    }

    /// A top-level text that differs between this record and the next sample, with the
    /// value to set.
    pub fn one_change(&self, record: &Record) -> Result<(Path, Value), Broken> {
        let current = self.decode(record)?;
        let other = self.next_sample();
        let Value::Object(entries) = other else { return fail("a sample is not an object") };
        let differs = |(key, value): &(String, Value)| {
            current.get(&Path::key(key.as_str())).is_some_and(|current| !current.same(value) && !value.is_blank())
        };
        match entries.into_iter().find(differs) {
            Some((key, value)) => Ok((Path::key(key), value)),
            None => skip("two samples differ in no top-level key that the record holds"),
        }
    }

    pub fn update_of(&self, record: &Record, changes: Vec<Change>) -> Update {
        let current = match self.capabilities.update {
            UpdateStyle::Fields => None,
            UpdateStyle::Whole => Some(record.body.clone()),
        };
        Update { id: record.id.clone(), expected: record.version.clone(), current, changes }
    }

    pub async fn update_ok(&self, record: &Record, changes: Vec<Change>) -> Result<Stored, Broken> {
        match self.write_one(Write::Update(self.update_of(record, changes))).await? {
            Outcome::Written(stored) => Ok(stored),
            other => fail(format!("an update with the current version answered {}", outcome_text(&other))),
        }
    }

    pub async fn delete(&self, id: &RecordId, expected: Option<Version>) -> Result<Outcome, Broken> {
        self.write_one(Write::Delete(Delete { id: id.clone(), expected })).await
    }

    pub async fn delete_ok(&self, id: &RecordId) -> Kept {
        let outcome = self.delete(id, None).await?;
        must(outcome == Outcome::Deleted, || format!("a delete answered {}", outcome_text(&outcome)))
    }

    pub async fn write_one(&self, write: Write) -> Result<Outcome, Broken> {
        match self.write(vec![write]).await?.pop() {
            Some(outcome) => Ok(outcome),
            None => fail("one write has no outcome"),
        }
    }

    /// Writes, waits as the side asks, and checks that there is an outcome for each.
    pub async fn write(&self, writes: Vec<Write>) -> Result<Vec<Outcome>, Broken> {
        self.must_write()?;
        let mut attempt = 0;
        let outcomes = loop {
            attempt += 1;
            let outcomes = self.connector.write(self.calls, self.object, writes.clone()).await;
            must(outcomes.len() == writes.len(), || {
                format!("{} outcomes for {} writes", outcomes.len(), writes.len())
            })?;
            let not_sent = outcomes.iter().map(|outcome| match outcome {
                Outcome::NotSent(error) => pause_before_repeat(error),
                _ => None,
            });
            match not_sent.collect::<Option<Vec<Duration>>>().and_then(|pauses| pauses.into_iter().max()) {
                Some(pause) if attempt < MOST_ATTEMPTS => tokio::time::sleep(pause).await,
                Some(_) | None => break outcomes,
            }
        };
        for (write, outcome) in writes.iter().zip(&outcomes) {
            self.note_made(write, outcome);
        }
        let lag = Duration::from_millis(self.capabilities.read_after_write_lag_ms);
        if !lag.is_zero() {
            tokio::time::sleep(lag).await;
        }
        Ok(outcomes)
    }

    pub fn note_made(&self, write: &Write, outcome: &Outcome) {
        if let (Write::Create(_), Outcome::Written(stored)) = (write, outcome) {
            self.made.borrow_mut().insert(stored.id.clone());
        }
        if let (Write::Delete(delete), Outcome::Deleted) = (write, outcome) {
            self.made.borrow_mut().remove(&delete.id);
        }
    }

    pub async fn read(&self, read: Read) -> Result<Page, Broken> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.connector.read(self.calls, self.object, read.clone()).await {
                Ok(page) => return Ok(page),
                Err(error) => match pause_before_repeat(&error) {
                    Some(pause) if attempt < MOST_ATTEMPTS => tokio::time::sleep(pause).await,
                    Some(_) | None => return fail(format!("a read failed: {}", error.message)),
                },
            }
        }
    }

    pub async fn read_ids(&self, ids: &[RecordId]) -> Result<Vec<Entry>, Broken> {
        Ok(self.read(Read::Ids(ids.to_vec())).await?.entries)
    }

    /// One record, by id where that is possible, else from the list.
    pub async fn read_one(&self, id: &RecordId) -> Result<Record, Broken> {
        if self.capabilities.read_ids == 0 {
            return match self.list(None).await?.live().remove(id) {
                Some(record) => Ok(record),
                None => fail(format!("{} is not in the list", shown(id))),
            };
        }
        match self.read_ids(std::slice::from_ref(id)).await?.as_slice() {
            [Entry::Live(record)] if record.id == *id => Ok(record.clone()),
            [Entry::Bad(bad)] => fail(format!("{} cannot be understood: {}", shown(id), bad.reason)),
            _ => fail(format!("{} exists and is not what reading it by id yields", shown(id))),
        }
    }

    pub async fn must_be_gone(&self, id: &RecordId) -> Kept {
        match self.read_ids(std::slice::from_ref(id)).await?.as_slice() {
            [Entry::Deleted { id: deleted, .. }] if deleted == id => Ok(()),
            other => fail(format!("{} does not exist and yields {} other entries", shown(id), other.len())),
        }
    }

    pub async fn must_be_unlisted(&self, id: &RecordId) -> Kept {
        let listed = self.list(None).await?.live().contains_key(id);
        must(!listed, || format!("{} is gone and still listed", shown(id)))
    }

    /// A whole read, of everything or of changes.
    pub async fn list(&self, since: Option<&Cursor>) -> Result<Listing, Broken> {
        let mut listing = Listing::default();
        let mut token: Option<PageToken> = None;
        let mut tokens = BTreeSet::new();
        for _ in 0..MOST_PAGES {
            let page = token.take();
            let read = match since {
                None => Read::All { page },
                Some(since) => Read::Changes { since: since.clone(), page },
            };
            let page = self.read(read).await?;
            let (next, again_after_ms) = (page.next.clone(), page.again_after_ms);
            listing.pages.push(page);
            tokio::time::sleep(Duration::from_millis(again_after_ms.unwrap_or(0))).await;
            match next {
                None => return Ok(listing),
                Some(next) => {
                    must(tokens.insert(next.as_str().to_owned()), || {
                        "a list goes round: a page token came twice".into()
                    })?;
                    token = Some(next);
                }
            }
        }
        fail(format!("a list has more than {MOST_PAGES} pages"))
    }

    pub fn decode(&self, record: &Record) -> Result<Value, Broken> {
        record.body.decode().map_err(|error| Broken::Fail(format!("{} cannot be read: {error}", shown(&record.id))))
    }

    /// Whether a record holds all that a sample says.
    pub fn holds(&self, record: &Record, sample: &Value) -> Kept {
        let stored = self.decode(record)?;
        match first_difference(sample, &stored, "") {
            None => Ok(()),
            Some(place) => {
                fail(format!("{} was sent as {sample} and reads {}: {place}", shown(&record.id), text(record)))
            }
        }
    }
}

impl Listing {
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.pages.iter().flat_map(|page| &page.entries)
    }

    /// The live records; where one came twice, as it came last.
    pub fn live(&self) -> BTreeMap<RecordId, Record> {
        let mut live = BTreeMap::new();
        for entry in self.entries() {
            match entry {
                Entry::Live(record) => {
                    live.insert(record.id.clone(), record.clone());
                }
                Entry::Deleted { id, .. } => {
                    live.remove(id);
                }
                Entry::Bad(_) => {}
            }
        }
        live
    }

    /// The live records that only pages after this one hold.
    pub fn live_after(&self, page: usize) -> Vec<RecordId> {
        let ids = |pages: &[Page]| -> BTreeSet<RecordId> {
            pages.iter().flat_map(|page| &page.entries).filter_map(live_id).cloned().collect()
        };
        ids(&self.pages[page + 1..]).difference(&ids(&self.pages[..=page])).cloned().collect()
    }

    pub fn first_repeated(&self) -> Option<RecordId> {
        let mut seen = BTreeSet::new();
        self.entries().filter_map(entry_id).find(|id| !seen.insert((*id).clone())).cloned()
    }

    pub fn cursors(&self) -> impl Iterator<Item = (usize, &Cursor)> {
        self.pages.iter().enumerate().filter_map(|(at, page)| Some((at, page.cursor.as_ref()?)))
    }

    /// The last cursor given.
    pub fn cursor(&self) -> Option<Cursor> {
        self.pages.iter().rev().find_map(|page| page.cursor.clone())
    }

    pub fn drifted(&self) -> bool {
        self.pages.iter().any(|page| page.drifted)
    }
}

/// How long to wait before a call may be repeated, `None` where it may not.
pub(super) fn pause_before_repeat(error: &ConnectorError) -> Option<Duration> {
    match error.next {
        NextStep::Retry => Some(Duration::from_millis(200)),
        NextStep::Wait { millis } => Some(Duration::from_millis(millis)),
        NextStep::Reauthorise | NextStep::Quarantine | NextStep::Fail | NextStep::Resync | NextStep::TreatAsDeleted => {
            None
        }
    }
}

pub(super) fn entry_id(entry: &Entry) -> Option<&RecordId> {
    match entry {
        Entry::Live(record) => Some(&record.id),
        Entry::Deleted { id, .. } => Some(id),
        Entry::Bad(bad) => bad.id.as_ref(),
    }
}

pub(super) fn live_id(entry: &Entry) -> Option<&RecordId> {
    match entry {
        Entry::Live(record) => Some(&record.id),
        Entry::Deleted { .. } | Entry::Bad(_) => None,
    }
}

pub(super) fn value_at(record: &Record, path: &Path) -> Option<Value> {
    record.body.decode().ok()?.get(path).cloned()
}

pub(super) fn body_same(a: &Body, b: &Body) -> bool {
    matches!((a.decode(), b.decode()), (Ok(a), Ok(b)) if a.same(&b))
}

pub(super) fn same_content(a: &Record, b: &Record) -> bool {
    a.id == b.id && body_same(&a.body, &b.body)
}

/// The first place where what is stored does not say what was sent. Keys that the side
/// adds are no difference; a null may also be absent.
pub(super) fn first_difference(sent: &Value, stored: &Value, place: &str) -> Option<String> {
    let (Value::Object(sent_entries), Value::Object(_)) = (sent, stored) else {
        return (!sent.same(stored)).then(|| format!("{place} is {}", clip(&stored.to_json())));
    };
    sent_entries.iter().find_map(|(key, sent)| {
        let place = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
        match stored.get(&Path::key(key.as_str())) {
            Some(stored) => first_difference(sent, stored, &place),
            None => (*sent != Value::Null).then(|| format!("{place} is absent")),
        }
    })
}

pub(super) fn outcome_text(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Written(stored) => format!("written as {}", shown(&stored.id)),
        Outcome::Deleted => "deleted".to_owned(),
        Outcome::Changed => "changed meanwhile".to_owned(),
        Outcome::Missing => "missing".to_owned(),
        Outcome::Duplicate(Some(id)) => format!("duplicate of {}", shown(id)),
        Outcome::Duplicate(None) => "duplicate".to_owned(),
        Outcome::Rejected { reason, path: _ } => format!("rejected: {}", clip(reason)),
        Outcome::NotSent(error) => format!("not sent: {}", clip(&error.message)),
        Outcome::Unknown(reason) => format!("unknown: {}", clip(reason)),
    }
}

pub(super) fn shown(id: &RecordId) -> String {
    format!("record '{}'", clip(id.as_str()))
}

pub(super) fn shown_value(value: Option<Value>) -> String {
    value.map_or_else(|| "absent".to_owned(), |value| clip(&value.to_json()))
}

pub(super) fn text(record: &Record) -> String {
    clip(record.body.as_str())
}

/// Foreign text, made safe to print.
pub(super) fn clip(text: &str) -> String {
    let mut clipped: String = text.escape_debug().take(300).collect();
    if clipped.len() < text.len() {
        clipped.push('…');
    }
    clipped
}
