//! An app in memory: the public test double for either side of a sync.
//!
//! [`MemoryApp`] is the app: a test edits its records as a person would, says how it
//! behaves ([`Behaviour`], [`Capabilities`]) and what goes wrong ([`Faults`],
//! [`Scripted`]), and asks afterwards what was done to it. [`MemoryApp::factory`] makes
//! the connectors through which a kernel sees it.
//!
//! Everything is drawn from one seed and timed by tokio's clock, so that a test on
//! paused time runs the same way each time. Make the app within the runtime whose clock
//! it is to follow.

mod behaviour;
mod connector;
mod faults;
mod list;
mod log;
#[cfg(test)]
mod tests;
mod world;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use behaviour::{Behaviour, Cursors, IdStyle, Normalise, Order, Paging};
pub use faults::{Fault, Faults, On, Scripted};
pub use log::{LogEntry, Operation};
pub use world::{Rejection, Validation};

use crate::connectors::{Connector, ConnectorFactory, ConnectorScope};
use crate::model::ids::{ObjectName, RecordId};
use crate::model::path::Path;
use crate::model::record::Body;
use crate::model::value::Value;
use crate::model::write::{Capabilities, Change, ConnectorError, NextStep};

use connector::MemoryConnector;
use world::{Live, World};

/// An app whose records live in memory. A clone is the same app.
#[derive(Clone)]
pub struct MemoryApp {
    // A std lock: never held over an await.
    world: Arc<Mutex<World>>,
}

impl std::fmt::Debug for MemoryApp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let world = self.lock();
        f.debug_struct("MemoryApp").field("changes", &world.changes()).field("log", &world.log.len()).finish()
    }
}

impl MemoryApp {
    /// An app without records that behaves well. Its clock starts now.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { world: Arc::new(Mutex::new(World::new(seed))) }
    }

    /// Makes connectors to this app; all scopes see the same records.
    #[must_use]
    pub fn factory(&self) -> MemoryFactory {
        MemoryFactory { app: self.clone(), by_scope: false }
    }

    /// Makes connectors that each see the records of their scope only. Here, the
    /// object `contacts` of the scope `acct_42` is called `acct_42/contacts`.
    #[must_use]
    pub fn factory_by_scope(&self) -> MemoryFactory {
        MemoryFactory { app: self.clone(), by_scope: true }
    }

    // ---- how it behaves ----

    /// Says how it behaves from now on. Set before there are records where it changes
    /// what cursors are made of.
    pub fn set_behaviour(&self, behaviour: Behaviour) {
        self.lock().behaviour = behaviour;
    }

    /// How it behaves, to change a part of it.
    #[must_use]
    pub fn behaviour(&self) -> Behaviour {
        self.lock().behaviour.clone()
    }

    /// Says what can be done with an object; it then truly works so.
    pub fn set_capabilities(&self, object: impl Into<ObjectName>, capabilities: Capabilities) {
        self.lock().object(&object.into()).capabilities = capabilities;
    }

    /// What can be done with an object: by default changes, 100 ids a read, conditional
    /// writes, single writes, creates found again by their external id.
    #[must_use]
    pub fn capabilities(&self, object: impl Into<ObjectName>) -> Capabilities {
        self.lock().object(&object.into()).capabilities.clone()
    }

    /// Says that no two records of an object may hold the same value here.
    pub fn set_unique(&self, object: impl Into<ObjectName>, path: Option<Path>) {
        self.lock().object(&object.into()).unique = path;
    }

    /// Says which records of an object are refused, and why.
    pub fn set_validation<F>(&self, object: impl Into<ObjectName>, validation: F)
    where
        F: Fn(&Value) -> Option<Rejection> + Send + Sync + 'static,
    {
        self.lock().object(&object.into()).validation = Some(Arc::new(validation));
    }

    // ---- what goes wrong ----

    /// Says how often what goes wrong.
    pub fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// Adds a fault written down in advance. Of several for one call the first added
    /// befalls it; rates are drawn only for calls without one.
    pub fn script(&self, scripted: Scripted) {
        self.lock().scripts.push(scripted);
    }

    /// Scripted faults that have not (yet) befallen as many calls as they should.
    #[must_use]
    pub fn scripts_left(&self) -> usize {
        self.lock().scripts.len()
    }

    /// Nothing goes wrong any more. Late commits under way still come.
    pub fn faults_off(&self) {
        let mut world = self.lock();
        world.faults = Faults::default();
        world.scripts.clear();
    }

    /// Makes a record unreadable in every answer, or readable again.
    pub fn set_unreadable(&self, object: impl Into<ObjectName>, id: impl Into<RecordId>, unreadable: bool) {
        let (mut world, id) = (self.lock(), id.into());
        let poisoned = &mut world.object(&object.into()).poisoned;
        if unreadable {
            poisoned.insert(id)
        } else {
            poisoned.remove(&id)
        };
    }

    // ---- edits from outside ----

    /// Makes or replaces the record with this id, as a person would.
    pub fn put(&self, object: impl Into<ObjectName>, id: impl Into<RecordId>, value: Value) {
        self.edit(&object.into(), &id.into(), |_| Some(value));
    }

    /// Makes a record with an id of the app's choice.
    pub fn create(&self, object: impl Into<ObjectName>, value: Value) -> RecordId {
        let object = object.into();
        let id = self.lock().free_id(&object);
        self.edit(&object, &id, |_| Some(value));
        id
    }

    /// Changes some fields of a record: each path set, or taken away where the value is
    /// `None`. Whether there was such a record; without one nothing happens.
    pub fn patch(&self, object: impl Into<ObjectName>, id: impl Into<RecordId>, changes: Vec<Change>) -> bool {
        self.edit(&object.into(), &id.into(), |value| {
            let mut value = value?;
            for Change { path, value: new } in changes {
                match new {
                    Some(new) => value.set(&path, new),
                    None => value.remove(&path),
                }
            }
            Some(value)
        })
    }

    /// Deletes a record. Whether there was one.
    pub fn delete(&self, object: impl Into<ObjectName>, id: impl Into<RecordId>) -> bool {
        self.edit(&object.into(), &id.into(), |_| None)
    }

    /// Makes a record be answered with this text, valid JSON or not. The next write to
    /// it ends that.
    pub fn put_raw(&self, object: impl Into<ObjectName>, id: impl Into<RecordId>, text: &str) {
        let (object, id) = (object.into(), id.into());
        let mut world = self.lock();
        world.settle();
        let old = world.real(&object, &id).and_then(|state| state.live.clone());
        let created_for = old.and_then(|live| live.created_for);
        let value = Value::from_json(text).unwrap_or(Value::Object(Vec::new()));
        let live = Live { value, raw: Some(Body::from_json(text)), created_for };
        world.store(&object, &id, Some(live), 0);
    }

    /// Applies an edit to what is there. Whether something was there.
    fn edit(&self, object: &ObjectName, id: &RecordId, edit: impl FnOnce(Option<Value>) -> Option<Value>) -> bool {
        let mut world = self.lock();
        world.settle();
        let old = world.real(object, id).and_then(|state| state.live.clone());
        let existed = old.is_some();
        let created_for = old.as_ref().and_then(|live| live.created_for.clone());
        let new = edit(old.map(|live| live.value)).map(|value| world.behaviour.normalise.apply(value));
        if existed || new.is_some() {
            let live = new.map(|value| Live { value, raw: None, created_for });
            world.store(object, id, live, 0);
        }
        existed
    }

    // ---- what is there, and what was done ----

    /// A record as it truly is, whatever stale reads show.
    #[must_use]
    pub fn get(&self, object: impl Into<ObjectName>, id: impl Into<RecordId>) -> Option<Value> {
        let mut world = self.lock();
        world.settle();
        world.real(&object.into(), &id.into())?.live.as_ref().map(|live| live.value.clone())
    }

    /// All records of an object as they truly are.
    #[must_use]
    pub fn all(&self, object: impl Into<ObjectName>) -> BTreeMap<RecordId, Value> {
        let mut world = self.lock();
        world.settle();
        world.real_all(&object.into()).into_iter().map(|(id, live)| (id, live.value)).collect()
    }

    /// How often what goes wrong, at present.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.lock().faults.clone()
    }

    /// Every record of an object that ever was, with the number and the stamp of its
    /// last change; `None` for one that is gone.
    #[must_use]
    pub fn positions(&self, object: impl Into<ObjectName>) -> Vec<Position> {
        let mut world = self.lock();
        world.settle();
        world.positions(&object.into())
    }

    /// Everything that was asked of the app through connectors, in order of arrival.
    #[must_use]
    pub fn log(&self) -> Vec<LogEntry> {
        let mut world = self.lock();
        world.settle();
        world.log.clone()
    }

    /// Forgets the log and the counts; not the records.
    pub fn clear_log(&self) {
        let mut world = self.lock();
        world.settle();
        world.clear_log();
    }

    /// Writes through connectors that changed something.
    #[must_use]
    pub fn writes(&self) -> usize {
        self.log().iter().filter(|entry| entry.operation.is_write() && entry.applied).count()
    }

    /// Calls through connectors; a batch is one.
    #[must_use]
    pub fn calls(&self) -> usize {
        let mut calls: Vec<u64> = self.log().iter().map(|entry| entry.call).collect();
        calls.dedup();
        calls.len()
    }

    /// Writes that met a record which had changed since the writer last saw it: they
    /// came with an old version that the app does not check, or with none. What the
    /// writer saw is what this app last told any of its connectors.
    #[must_use]
    pub fn blind_overwrites(&self) -> u64 {
        self.lock().blind_overwrites
    }

    /// Calls that came before the end of a pause which the app had asked for.
    #[must_use]
    pub fn impatient_calls(&self) -> u64 {
        self.lock().impatient_calls
    }

    /// The most calls that arrived within any span of so many milliseconds.
    #[must_use]
    pub fn busiest(&self, span_ms: u64) -> usize {
        log::busiest(&self.lock().log, span_ms)
    }

    /// External ids for which a create made more than one record that still exists.
    #[must_use]
    pub fn duplicates(&self) -> Vec<String> {
        let mut world = self.lock();
        world.settle();
        world.objects().flat_map(world::Object::created_more_than_once).collect()
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        // A connector that was told to panic does so without the lock.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a record stands in its app's order of changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Position {
    /// The record.
    pub id: RecordId,
    /// The number of its last change.
    pub change: u64,
    /// The stamp of its last change, in milliseconds of the app's clock.
    pub modified_ms: u64,
    /// What it is; `None` when it is gone.
    pub value: Option<Value>,
}

/// Makes connectors to a [`MemoryApp`].
#[derive(Debug, Clone)]
pub struct MemoryFactory {
    app: MemoryApp,
    by_scope: bool,
}

impl ConnectorFactory for MemoryFactory {
    fn make(&self, connection: &ConnectorScope) -> Result<Box<dyn Connector>, ConnectorError> {
        let prefix = match (self.by_scope, &connection.scope) {
            (false, _) => String::new(),
            (true, Some(scope)) => format!("{scope}/"),
            (true, None) => {
                return Err(ConnectorError::new(NextStep::Fail, "this app keeps records by scope: give a scope"));
            }
        };
        Ok(Box::new(MemoryConnector { app: self.app.clone(), prefix }))
    }
}
