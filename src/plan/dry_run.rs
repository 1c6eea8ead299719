//! A connector that reads the real side and only writes down what it is told to write.
//!
//! It answers as if each write had succeeded, and what it pretends to have written is
//! what a later read of that record shows, so that the kernel above it goes on as it
//! would after the real write.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::{FieldDifference, PlannedCreate, PlannedSync, PlannedUpdate};
use crate::connectors::{Calls, Connector, ConnectorFactory, ConnectorScope, Read};
use crate::model::ids::{ObjectName, RecordId, Version};
use crate::model::path::Path;
use crate::model::record::{Body, DeletionCause, Entry, Page, Record};
use crate::model::side::Side;
use crate::model::value::Value;
use crate::model::write::{Capabilities, Change, ConnectorError, Create, Outcome, Stored, Update, Write};

/// How many records as last read are kept to tell what an update would change. A page
/// and what is pending beside it fit; one that is gone by then is read again.
const MOST_SEEN: usize = 5_000;

/// What would have been written to both sides of one connection.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    // A std lock: held for a push, never over an await.
    writes: Mutex<Vec<Recorded>>,
}

/// One write that was not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recorded {
    pub side: Side,
    pub object: ObjectName,
    pub effect: Effect,
}

/// What it would have done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    Create(PlannedCreate),
    Update(PlannedUpdate),
    Delete(RecordId),
}

impl Recorder {
    fn add(&self, write: Recorded) -> usize {
        let mut writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        writes.push(write);
        writes.len()
    }

    /// All so far, in their order.
    pub(super) fn take(&self) -> Vec<Recorded> {
        std::mem::take(&mut self.writes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Recorded {
    /// Counts it in the plan of its sync.
    pub(super) fn count_in(self, sync: &mut PlannedSync, shown: usize) {
        match self.effect {
            Effect::Create(create) => sync.create[self.side].add(shown, || create),
            Effect::Update(update) => sync.update[self.side].add(shown, || update),
            Effect::Delete(id) => sync.delete[self.side].add(shown, || id),
        }
    }
}

/// Makes dry connectors around those of another factory.
pub(super) struct DryFactory {
    inner: Arc<dyn ConnectorFactory>,
    side: Side,
    recorder: Arc<Recorder>,
}

impl DryFactory {
    pub(super) fn new(inner: Arc<dyn ConnectorFactory>, side: Side, recorder: Arc<Recorder>) -> Self {
        Self { inner, side, recorder }
    }
}

impl ConnectorFactory for DryFactory {
    fn make(&self, connection: &ConnectorScope) -> Result<Box<dyn Connector>, ConnectorError> {
        let inner = self.inner.make(connection)?;
        let recorder = Arc::clone(&self.recorder);
        Ok(Box::new(DryConnector { inner, side: self.side, recorder, memory: Mutex::default() }))
    }
}

struct DryConnector {
    inner: Box<dyn Connector>,
    side: Side,
    recorder: Arc<Recorder>,
    // A std lock although one thread uses it: the guard cannot be held over an await
    // unnoticed, and the connector need not be pinned to a thread.
    memory: Mutex<Memory>,
}

type Key = (ObjectName, RecordId);

#[derive(Default)]
struct Memory {
    /// What is pretended to be stored; `None` for what is pretended to be deleted.
    pretended: HashMap<Key, Option<Record>>,
    /// External ids of what is pretended to be created.
    external: HashMap<(ObjectName, String), RecordId>,
    /// Records as last read.
    seen: HashMap<Key, Record>,
    num_created: u64,
}

impl Memory {
    /// An entry as it would be after the pretended writes; what is not pretended is
    /// remembered.
    fn after_writes(&mut self, object: &ObjectName, entry: Entry) -> Entry {
        let id = match &entry {
            Entry::Live(record) => record.id.clone(),
            Entry::Deleted { id, .. } => id.clone(),
            Entry::Bad(_) => return entry,
        };
        match (self.pretended.get(&(object.clone(), id.clone())), entry) {
            (Some(Some(record)), _) => Entry::Live(record.clone()),
            (Some(None), _) => gone(id),
            (None, Entry::Live(record)) => {
                self.remember(object, &record);
                Entry::Live(record)
            }
            (None, entry @ (Entry::Deleted { .. } | Entry::Bad(_))) => entry,
        }
    }

    fn remember(&mut self, object: &ObjectName, record: &Record) {
        if self.seen.len() >= MOST_SEEN {
            self.seen.clear();
        }
        self.seen.insert((object.clone(), record.id.clone()), record.clone());
    }

    fn pretended_entry(&self, object: &ObjectName, id: &RecordId) -> Option<Entry> {
        let found = self.pretended.get(&(object.clone(), id.clone()))?;
        Some(found.clone().map_or_else(|| gone(id.clone()), Entry::Live))
    }

    /// Records pretended to be created or updated that have these values, except those
    /// that the real side has found already.
    fn find(&self, object: &ObjectName, wanted: &[(Path, Value)], found: &[Entry]) -> Vec<Entry> {
        let is_found =
            |id: &RecordId| found.iter().any(|entry| matches!(entry, Entry::Live(record) if record.id == *id));
        let fits = |record: &Record| {
            record
                .body
                .decode()
                .is_ok_and(|value| wanted.iter().all(|(path, want)| value.get(path).is_some_and(|own| own.same(want))))
        };
        let pretended = self.pretended.iter().filter(|((of, id), _)| of == object && !is_found(id));
        pretended.filter_map(|(_, record)| record.clone()).filter(|record| fits(record)).map(Entry::Live).collect()
    }
}

fn gone(id: RecordId) -> Entry {
    Entry::Deleted { id, version: None, cause: DeletionCause::NotFound }
}

/// What pretended records have as their version: it differs from every real one.
fn pretended_version(number: usize) -> Version {
    Version::new(format!("dry-run-{number}"))
}

impl DryConnector {
    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read_ids(&self, calls: &Calls, object: &ObjectName, ids: Vec<RecordId>) -> Result<Page, ConnectorError> {
        let mut entries = Vec::with_capacity(ids.len());
        let mut real = Vec::new();
        for id in ids {
            match self.memory().pretended_entry(object, &id) {
                Some(entry) => entries.push(entry),
                None => real.push(id),
            }
        }
        if real.is_empty() {
            return Ok(Page::last(entries));
        }
        let mut page = self.inner.read(calls, object, Read::Ids(real)).await?;
        self.rewrite(object, &mut page);
        page.entries.extend(entries);
        Ok(page)
    }

    fn rewrite(&self, object: &ObjectName, page: &mut Page) {
        let mut memory = self.memory();
        page.entries =
            std::mem::take(&mut page.entries).into_iter().map(|entry| memory.after_writes(object, entry)).collect();
    }

    fn create(&self, object: &ObjectName, create: Create) -> Outcome {
        let mut memory = self.memory();
        memory.num_created += 1;
        let id = RecordId::new(format!("(new {})", memory.num_created));
        let planned = PlannedCreate { id: id.clone(), record: create.record.to_json() };
        let number = self.record(object, Effect::Create(planned));
        memory.external.insert((object.clone(), create.external_id), id.clone());
        let version = Some(pretended_version(number));
        pretend(&mut memory, object, Record { id, version, modified: None, body: Body::from_value(&create.record) })
    }

    async fn update(&self, calls: &Calls, object: &ObjectName, update: Update) -> Outcome {
        let current = match self.current(calls, object, &update).await {
            Ok(Some(current)) => current,
            Ok(None) => return Outcome::Missing,
            Err(error) => return Outcome::NotSent(error),
        };
        let mut record = match current.body.decode() {
            Ok(record) => record,
            Err(error) => return Outcome::Rejected { reason: error.to_string(), path: None },
        };
        let fields = update.changes.into_iter().map(|change| apply(&mut record, change)).collect();
        let number = self.record(object, Effect::Update(PlannedUpdate { id: update.id.clone(), fields }));
        let version = Some(pretended_version(number));
        let stored = Record { id: update.id, version, modified: None, body: Body::from_value(&record) };
        pretend(&mut self.memory(), object, stored)
    }

    /// The record that an update is about, as it is now.
    async fn current(
        &self,
        calls: &Calls,
        object: &ObjectName,
        update: &Update,
    ) -> Result<Option<Record>, ConnectorError> {
        let key = (object.clone(), update.id.clone());
        let known = {
            let memory = self.memory();
            memory.pretended.get(&key).cloned().or_else(|| memory.seen.get(&key).cloned().map(Some))
        };
        if let Some(known) = known {
            return Ok(known);
        }
        if let Some(body) = &update.current {
            return Ok(Some(Record {
                id: update.id.clone(),
                version: update.expected.clone(),
                modified: None,
                body: body.clone(),
            }));
        }
        let page = self.inner.read(calls, object, Read::Ids(vec![update.id.clone()])).await?;
        Ok(page.entries.into_iter().find_map(|entry| match entry {
            Entry::Live(record) if record.id == update.id => Some(record),
            Entry::Live(_) | Entry::Deleted { .. } | Entry::Bad(_) => None,
        }))
    }

    fn delete(&self, object: &ObjectName, id: RecordId) -> Outcome {
        self.record(object, Effect::Delete(id.clone()));
        self.memory().pretended.insert((object.clone(), id), None);
        Outcome::Deleted
    }

    fn record(&self, object: &ObjectName, effect: Effect) -> usize {
        self.recorder.add(Recorded { side: self.side, object: object.clone(), effect })
    }
}

fn pretend(memory: &mut Memory, object: &ObjectName, record: Record) -> Outcome {
    memory.pretended.insert((object.clone(), record.id.clone()), Some(record.clone()));
    let Record { id, version, modified, body } = record;
    Outcome::Written(Stored { id, version, modified, body: Some(body) })
}

/// Applies one change and tells the difference.
fn apply(record: &mut Value, change: Change) -> FieldDifference {
    let Change { path, value } = change;
    let text = |value: Option<&Value>| value.map(Value::to_json);
    let difference =
        FieldDifference { path: path.to_string(), old: text(record.get(&path)), new: text(value.as_ref()) };
    match value {
        Some(value) => record.set(&path, value),
        None => record.remove(&path),
    }
    difference
}

#[async_trait(?Send)]
impl Connector for DryConnector {
    fn capabilities(&self, object: &ObjectName) -> Result<Capabilities, ConnectorError> {
        let mut capabilities = self.inner.capabilities(object)?;
        // What is pretended shows at once.
        capabilities.read_after_write_lag_ms = 0;
        Ok(capabilities)
    }

    async fn read(&self, calls: &Calls, object: &ObjectName, read: Read) -> Result<Page, ConnectorError> {
        match read {
            Read::Ids(ids) => self.read_ids(calls, object, ids).await,
            Read::ExternalId(external_id) => {
                let known = self.memory().external.get(&(object.clone(), external_id.clone())).cloned();
                match known {
                    Some(id) => self.read_ids(calls, object, vec![id]).await,
                    None => self.inner.read(calls, object, Read::ExternalId(external_id)).await,
                }
            }
            Read::Find(wanted) => {
                let mut page = self.inner.read(calls, object, Read::Find(wanted.clone())).await?;
                self.rewrite(object, &mut page);
                let more = self.memory().find(object, &wanted, &page.entries);
                page.entries.extend(more);
                Ok(page)
            }
            read @ (Read::All { .. } | Read::Changes { .. }) => {
                let mut page = self.inner.read(calls, object, read).await?;
                self.rewrite(object, &mut page);
                Ok(page)
            }
        }
    }

    async fn write(&self, calls: &Calls, object: &ObjectName, writes: Vec<Write>) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(writes.len());
        for write in writes {
            outcomes.push(match write {
                Write::Create(create) => self.create(object, create),
                Write::Update(update) => self.update(calls, object, update).await,
                Write::Delete(delete) => self.delete(object, delete.id),
            });
        }
        outcomes
    }

    async fn ping(&self, calls: &Calls, object: &ObjectName) -> Result<(), ConnectorError> {
        self.inner.ping(calls, object).await
    }
}

#[cfg(test)]
mod tests;
