//! An app in memory: the public test double for either side of a sync.
//!
//! [`MemoryApp`] is the app: a test edits its records as a person would, says how it
//! behaves ([`Behaviour`], [`Capabilities`]) and what goes wrong ([`Faults`],
//! [`Scripted`]), and asks afterwards what was done to it. [`MemoryApp::factory`] makes
//! the connectors through which a kernel sees it; [`MemoryApp::rest`] puts it behind a
//! REST API for the HTTP connector.
//!
//! Everything is drawn from one seed and timed by tokio's clock, so that a test on
//! paused time runs the same way each time. Make the app within the runtime whose clock
//! it is to follow.

mod behaviour;
mod call;
mod connector;
mod edit;
mod faults;
mod list;
mod log;
pub mod rest;
#[cfg(test)]
mod tests;
mod world;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};

pub use behaviour::{Behaviour, Computed, Cursors, IdStyle, Normalise, Order, Paging};
pub use faults::{Fault, Faults, On, Scripted};
pub use log::{Cause, HistoryEntry, LogEntry, Moment, Operation};
pub use world::{Rejection, Validation};

use crate::connectors::{Connector, ConnectorFactory, ConnectorScope};
use crate::model::ids::{ObjectName, RecordId};
use crate::model::path::Path;
use crate::model::record::Body;
use crate::model::value::Value;
use crate::model::write::{Capabilities, Change, ConnectorError, NextStep};

use connector::MemoryConnector;
use edit::Edit;
use faults::LateVisible;
use world::{By, Live, World};

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

    /// Moves the app's clock: so far ahead of the test's, or behind where it is
    /// negative. Moved back while the app runs, it stamps new changes with times that
    /// were given before.
    pub fn set_clock_skew_ms(&self, skew_ms: i64) {
        self.lock().behaviour.clock_skew_ms = skew_ms;
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

    /// Refuses the credentials of every call from so many milliseconds on, until they
    /// are renewed.
    pub fn expire_credentials_in(&self, millis: u64) {
        let mut world = self.lock();
        world.credentials_until_ms = Some(world.now_ms().saturating_add(millis));
    }

    /// Takes the credentials again.
    pub fn renew_credentials(&self) {
        self.lock().credentials_until_ms = None;
    }

    /// While frozen, no call is answered or takes effect, neither a new one nor one that
    /// is under way: its future pends for ever, also once the app is thawed. What is
    /// left of a killed process is just that. Writes that the app had put off, and
    /// transactions of others, still commit.
    pub fn freeze(&self, frozen: bool) {
        let mut world = self.lock();
        if frozen && !world.frozen {
            world.freezes += 1;
        }
        world.frozen = frozen;
    }

    /// Tells this of every call, by its number, right before it takes effect and again
    /// before its answer leaves. It may look at the app, and [`freeze`](Self::freeze)
    /// it: then this call goes no further.
    pub fn on_call<F>(&self, hook: F)
    where
        F: Fn(u64, Moment) + Send + Sync + 'static,
    {
        self.lock().hook = Some(Arc::new(hook));
    }

    /// Tells nobody any more.
    pub fn no_hook(&self) {
        self.lock().hook = None;
    }

    /// Nothing goes wrong any more. Late commits under way still come; expired
    /// credentials and a frozen app stay as they are.
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
    //
    // With faults on, an edit may commit later: then nothing shows it until it does, and
    // the history holds it from then on only.

    /// Makes or replaces the record with this id, as a person would.
    pub fn put(&self, object: impl Into<ObjectName>, id: impl Into<RecordId>, value: Value) {
        self.edit(&object.into(), &id.into(), Edit::Put(value));
    }

    /// Makes a record with an id of the app's choice.
    pub fn create(&self, object: impl Into<ObjectName>, value: Value) -> RecordId {
        let object = object.into();
        let id = self.lock().free_id(&object);
        self.edit(&object, &id, Edit::Put(value));
        id
    }

    /// Changes some fields of a record: each path set, or taken away where the value is
    /// `None`. Whether there was such a record; without one nothing happens.
    pub fn patch(&self, object: impl Into<ObjectName>, id: impl Into<RecordId>, changes: Vec<Change>) -> bool {
        self.edit(&object.into(), &id.into(), Edit::Patch(changes))
    }

    /// Changes several records in one go, all with the same modified time, and never
    /// late. How many of them there were.
    pub fn patch_many(&self, object: impl Into<ObjectName>, patches: Vec<(RecordId, Vec<Change>)>) -> usize {
        let object = object.into();
        let mut world = self.lock();
        world.settle();
        let patched = patches.into_iter().filter(|(id, _)| world.exists(&object, id)).collect::<Vec<_>>();
        let count = patched.len();
        let modified_ms = world.stamp_ms();
        for (id, changes) in patched {
            world.edit_as(&object, &id, Edit::Patch(changes), modified_ms, None);
        }
        count
    }

    /// Changes some fields of a record in a transaction that begins now and commits so
    /// many milliseconds later, with the modified time of its beginning.
    pub fn patch_late(
        &self,
        object: impl Into<ObjectName>,
        id: impl Into<RecordId>,
        changes: Vec<Change>,
        after_ms: u64,
    ) {
        let mut world = self.lock();
        world.settle();
        let late = LateVisible { after_ms, numbered_now: false };
        world.begin_edit(&object.into(), &id.into(), Edit::Patch(changes), late);
    }

    /// Deletes a record. Whether there was one.
    pub fn delete(&self, object: impl Into<ObjectName>, id: impl Into<RecordId>) -> bool {
        self.edit(&object.into(), &id.into(), Edit::Delete)
    }

    /// Merges one record into another: the one that stays takes from the other what it
    /// lacks, and the other is gone for every reader. Whether both were there.
    pub fn merge(&self, object: impl Into<ObjectName>, from: impl Into<RecordId>, into: impl Into<RecordId>) -> bool {
        let mut world = self.lock();
        world.settle();
        world.merge(&object.into(), &from.into(), &into.into())
    }

    /// Makes a new record that holds what this one last held, and deletes this one if it
    /// is still there: the same person entered again. `None` if it never was.
    pub fn recreate(&self, object: impl Into<ObjectName>, id: impl Into<RecordId>) -> Option<RecordId> {
        let (object, id) = (object.into(), id.into());
        let mut world = self.lock();
        world.settle();
        let value = world.last_value(&object, &id)?;
        world.edit(&object, &id, Edit::Delete);
        let new = world.free_id(&object);
        world.edit(&object, &new, Edit::Put(value));
        Some(new)
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
        world.store(&object, &id, Some(live), &By { cause: Cause::Edit, stale_ms: 0 });
    }

    /// Carries out an edit, or begins it where it is drawn to commit late. Whether there
    /// was a record.
    fn edit(&self, object: &ObjectName, id: &RecordId, edit: Edit) -> bool {
        let mut world = self.lock();
        world.settle();
        match world.draw_late_visible() {
            None => world.edit(object, id, edit),
            Some(late) => {
                let existed = world.exists(object, id);
                world.begin_edit(object, id, edit, late);
                existed
            }
        }
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

    /// The nth record of an object as it truly is, counted round and round; `None` where
    /// there is none.
    #[must_use]
    pub fn nth(&self, object: impl Into<ObjectName>, n: usize) -> Option<(RecordId, Value)> {
        let mut world = self.lock();
        world.settle();
        world.nth(&object.into(), n)
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

    /// The log from its nth entry on, counted from 0: what came since it was looked at.
    /// An entry of a late commit is marked as applied only once it has come.
    #[must_use]
    pub fn log_from(&self, index: usize) -> Vec<LogEntry> {
        let mut world = self.lock();
        world.settle();
        world.log.get(index..).unwrap_or_default().to_vec()
    }

    /// How many entries the log has.
    #[must_use]
    pub fn log_len(&self) -> usize {
        self.lock().log.len()
    }

    /// Every state that any record ever had, from the nth on, counted from 0, in the
    /// order in which they came. Never forgotten.
    #[must_use]
    pub fn history_from(&self, index: usize) -> Vec<HistoryEntry> {
        let mut world = self.lock();
        world.settle();
        world.history.get(index..).unwrap_or_default().to_vec()
    }

    /// Every state that a record ever had, the first first.
    #[must_use]
    pub fn history(&self, object: impl Into<ObjectName>, id: impl Into<RecordId>) -> Vec<HistoryEntry> {
        let (object, id) = (object.into(), id.into());
        let mut world = self.lock();
        world.settle();
        world.history.iter().filter(|entry| entry.object == object && entry.id == id).cloned().collect()
    }

    /// Every change that came from outside, not through a connector.
    #[must_use]
    pub fn edits(&self) -> Vec<HistoryEntry> {
        let mut world = self.lock();
        world.settle();
        world.history.iter().filter(|entry| entry.cause.is_outside()).cloned().collect()
    }

    /// Calls that ever arrived through connectors; no [`clear_log`](Self::clear_log)
    /// resets it. The number of a call is this count when it arrived.
    #[must_use]
    pub fn calls_seen(&self) -> u64 {
        self.lock().calls_seen()
    }

    /// Forgets the log and the counts; not the records and their history.
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

    /// Takes back a pause that it asked for less than so many milliseconds ago: a
    /// process that dies in that moment cannot know of it.
    pub fn forgive_pause(&self, within_ms: u64) {
        self.lock().forgive_pause(within_ms);
    }

    /// The records that creates from the other end would store which have been put off.
    #[must_use]
    pub fn creates_under_way(&self, object: impl Into<ObjectName>) -> Vec<Value> {
        self.lock().creates_under_way(&object.into())
    }

    /// Calls that came before the end of a pause which the app had asked for, and after
    /// its answer must have arrived.
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

    /// The time by the test's clock, from which the app's may be skewed.
    fn true_time(&self) -> DateTime<Utc> {
        self.lock().true_time()
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
    pub modified_ms: i64,
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
