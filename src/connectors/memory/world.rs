//! The app's own state: records, what reads show of them, and what was asked.
//!
//! Everything here is synchronous and told the time; the connector around it waits,
//! and speaks of pages and outcomes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use fastrand::Rng;
use tokio::time::Instant;

use super::Position;
use super::behaviour::{Behaviour, Cursors, new_id};
use super::edit::Edit;
use super::faults::{CallShape, Fault, Faults, LateVisible, Scripted};
use super::log::{Cause, HistoryEntry, LogEntry, Moment};
use crate::model::ids::{ObjectName, RecordId, Version};
use crate::model::path::Path;
use crate::model::record::{Body, Record};
use crate::model::value::Value;
use crate::model::write::{
    Capabilities, ConnectorError, Create, CreateRecovery, Delete, NextStep, Outcome, Stored, Update, UpdateStyle, Write,
};

/// The app's clock starts here, so that modified times do not depend on the day.
pub(super) const FIRST_MOMENT_MS: i64 = 1_704_067_200_000;

/// What an object's validation says to a record: `None` to take it, else why not.
pub type Validation = Arc<dyn Fn(&Value) -> Option<Rejection> + Send + Sync>;

/// Why the app refuses a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// What it says.
    pub reason: String,
    /// The field it names.
    pub path: Option<String>,
}

/// Told of every call, at each of its moments.
pub(super) type Hook = Arc<dyn Fn(u64, Moment) + Send + Sync>;

pub(super) struct World {
    origin: Instant,
    pub rng: Rng,
    pub behaviour: Behaviour,
    pub faults: Faults,
    pub scripts: Vec<Scripted>,
    pub log: Vec<LogEntry>,
    pub history: Vec<HistoryEntry>,
    pub hook: Option<Hook>,
    pub frozen: bool,
    /// How often it was frozen: a call that was under way then is never answered.
    pub freezes: u64,
    /// From when on, by the test's clock, credentials are refused.
    pub credentials_until_ms: Option<u64>,
    pub blind_overwrites: u64,
    pub impatient_calls: u64,
    /// The time, while something is carried out that came late.
    as_of_ms: Option<u64>,
    pub expired_tokens: BTreeSet<String>,
    pub reads_begun: u64,
    objects: BTreeMap<ObjectName, Object>,
    late: Vec<Late>,
    changes: u64,
    ids_given: u64,
    calls: u64,
    arrivals: VecDeque<u64>,
    /// A pause it asked for: from when the other end must know of it, and until when.
    pause_ms: (u64, u64),
}

/// One object: its records and what the app knows of them.
pub(super) struct Object {
    pub capabilities: Capabilities,
    pub unique: Option<Path>,
    pub validation: Option<Validation>,
    pub poisoned: BTreeSet<RecordId>,
    slots: BTreeMap<RecordId, Slot>,
    keys: BTreeMap<String, Remembered>,
    /// Every external id that a create has stored a record under.
    taken: BTreeSet<String>,
    /// The change which the other end last saw of each record, by reading or writing.
    seen: BTreeMap<RecordId, u64>,
}

/// A record id with its state, and what a stale replica still shows.
struct Slot {
    now: State,
    before: Option<State>,
    shown_at_ms: u64,
    /// The first change that stays unseen until then.
    hidden_from: u64,
    indexed_at_ms: u64,
}

/// What one change left behind.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub change: u64,
    /// By the app's clock, rounded as its cursors are.
    pub modified_ms: i64,
    /// `None` once deleted.
    pub live: Option<Live>,
}

/// A record that exists.
#[derive(Debug, Clone)]
pub(super) struct Live {
    pub value: Value,
    /// A text to answer with instead of the value: broken JSON, say.
    pub raw: Option<Body>,
    /// The external id that its create carried, findable or not.
    pub created_for: Option<String>,
}

/// What the app remembers of an idempotency key.
struct Remembered {
    until_ms: u64,
    record: Value,
    id: RecordId,
}

/// What the app carries out later.
struct Late {
    due_ms: u64,
    object: ObjectName,
    what: Put,
}

enum Put {
    /// A write whose caller has given up.
    Write {
        call: u64,
        write: Write,
        /// Its line in the log, while that is kept.
        entry: Option<usize>,
    },
    /// An edit from outside, in a transaction that takes its time.
    Edit {
        id: RecordId,
        edit: Edit,
        begun_ms: i64,
        /// The number it took when it began; else it takes one when it commits.
        change: Option<u64>,
    },
}

/// When a change was made, as the app tells it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stamp {
    change: u64,
    modified_ms: i64,
}

/// Who writes, and for how long reads do not show it.
#[derive(Debug, Clone)]
pub(super) struct By {
    pub cause: Cause,
    pub stale_ms: u64,
}

/// What came of one write inside the app.
pub(super) struct Applied {
    pub outcome: Outcome,
    pub changed: bool,
    /// The record it was about, where there is one.
    pub id: Option<RecordId>,
    /// The version it met.
    pub found: Option<Version>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self {
            origin: Instant::now(),
            rng: Rng::with_seed(seed),
            behaviour: Behaviour::default(),
            faults: Faults::default(),
            scripts: Vec::new(),
            log: Vec::new(),
            history: Vec::new(),
            hook: None,
            frozen: false,
            freezes: 0,
            credentials_until_ms: None,
            blind_overwrites: 0,
            impatient_calls: 0,
            as_of_ms: None,
            expired_tokens: BTreeSet::new(),
            reads_begun: 0,
            objects: BTreeMap::new(),
            late: Vec::new(),
            changes: 0,
            ids_given: 0,
            calls: 0,
            arrivals: VecDeque::new(),
            pause_ms: (0, 0),
        }
    }

    pub fn now_ms(&self) -> u64 {
        self.as_of_ms.unwrap_or_else(|| u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// The app's own clock.
    fn clock_ms(&self) -> i64 {
        i64::try_from(self.now_ms()).unwrap_or(i64::MAX).saturating_add(self.behaviour.clock_skew_ms)
    }

    /// The time by the test's clock.
    pub fn true_time(&self) -> DateTime<Utc> {
        let unix_ms = FIRST_MOMENT_MS.saturating_add_unsigned(self.now_ms());
        DateTime::from_timestamp_millis(unix_ms).unwrap_or_default()
    }

    /// The app's own clock, in milliseconds since 1970.
    pub fn unix_ms(&self) -> i64 {
        FIRST_MOMENT_MS.saturating_add(self.clock_ms())
    }

    /// The app's own clock as its records are stamped with it.
    pub fn stamp_ms(&self) -> i64 {
        let clock_ms = self.clock_ms();
        match self.behaviour.cursors {
            Cursors::Sequence => clock_ms,
            Cursors::Time { granularity_ms, inclusive: _, lookback_ms: _ } => {
                clock_ms - clock_ms.rem_euclid(i64::try_from(granularity_ms).unwrap_or(i64::MAX).max(1))
            }
        }
    }

    /// The number of the last change.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    pub fn object(&mut self, name: &ObjectName) -> &mut Object {
        self.objects.entry(name.clone()).or_insert_with(Object::new)
    }

    pub fn objects(&self) -> impl Iterator<Item = &Object> {
        self.objects.values()
    }

    /// Forgets what was asked. Late writes under way have no line to mark any more.
    pub fn clear_log(&mut self) {
        self.log.clear();
        for late in &mut self.late {
            match &mut late.what {
                Put::Write { call: _, write: _, entry } => *entry = None,
                Put::Edit { .. } => {}
            }
        }
        self.blind_overwrites = 0;
        self.impatient_calls = 0;
    }

    // ---- time and calls ----

    /// Carries out what was put off and is due. Called before anything looks.
    pub fn settle(&mut self) {
        let now_ms = self.now_ms();
        while let Some(at) = self.late.iter().position(|late| late.due_ms <= now_ms) {
            let Late { object, what, due_ms } = self.late.remove(at);
            // It happened then, though nobody has looked since.
            self.as_of_ms = Some(due_ms);
            match what {
                Put::Write { call: _, write: Write::Create(create), entry: _ }
                    if self.came_too_late(&object, &create, due_ms) => {}
                Put::Write { call, write, entry } => {
                    let applied = self.apply(&object, &write, &By { cause: Cause::LateCall(call), stale_ms: 0 });
                    if let Some(entry) = entry {
                        self.log[entry].applied = applied.changed;
                    }
                }
                Put::Edit { id, edit, begun_ms, change } => {
                    self.edit_as(&object, &id, edit, begun_ms, change);
                }
            }
            self.as_of_ms = None;
        }
    }

    /// A create whose unique id another one has taken while it was under way fails, also
    /// where that record is gone by now; and one whose key was used is that one.
    fn came_too_late(&mut self, name: &ObjectName, create: &Create, due_ms: u64) -> bool {
        let object = self.object(name);
        match object.capabilities.create {
            CreateRecovery::ClientId | CreateRecovery::ExternalId => object.taken.contains(&create.external_id),
            CreateRecovery::IdempotencyKey { .. } => {
                object.keys.get(&create.idempotency_key).is_some_and(|remembered| remembered.until_ms > due_ms)
            }
            CreateRecovery::Find { .. } | CreateRecovery::Park => false,
        }
    }

    /// The records of creates that will be carried out later.
    pub fn creates_under_way(&self, name: &ObjectName) -> Vec<Value> {
        let put_off = self.late.iter().filter(|late| late.object == *name);
        put_off
            .filter_map(|late| match &late.what {
                Put::Write { write: Write::Create(create), .. } => Some(create.record.clone()),
                Put::Write { .. } | Put::Edit { .. } => None,
            })
            .collect()
    }

    /// Notes a write that will be carried out later.
    pub fn put_off(&mut self, after_ms: u64, object: &ObjectName, call: u64, write: Write, entry: usize) {
        self.put_later(after_ms, object, Put::Write { call, write, entry: Some(entry) });
    }

    /// Notes an edit whose transaction has begun and commits later.
    pub fn begin_edit(&mut self, object: &ObjectName, id: &RecordId, edit: Edit, late: LateVisible) {
        let change = late.numbered_now.then(|| self.next_change());
        let begun_ms = self.stamp_ms();
        self.put_later(late.after_ms, object, Put::Edit { id: id.clone(), edit, begun_ms, change });
    }

    fn put_later(&mut self, after_ms: u64, object: &ObjectName, what: Put) {
        let due_ms = self.now_ms() + after_ms;
        self.late.push(Late { due_ms, object: object.clone(), what });
        // Carried out in the order of their times; a stable sort keeps the order of arrival.
        self.late.sort_by_key(|late| late.due_ms);
    }

    /// Draws whether an edit from outside commits late, within what cursors can bear.
    pub fn draw_late_visible(&mut self) -> Option<LateVisible> {
        let bearable_ms = match self.behaviour.cursors {
            // Its numbers are taken when a change commits.
            Cursors::Sequence => u64::MAX,
            // Stamps are rounded down, so only whole steps of the lookback count.
            Cursors::Time { granularity_ms, inclusive: _, lookback_ms } => {
                lookback_ms - lookback_ms % granularity_ms.max(1)
            }
        };
        self.faults.draw_late_visible(bearable_ms, &mut self.rng)
    }

    /// A call arrives: its number, and what goes wrong with it. With a script's fault
    /// comes the part of the call that it is about.
    pub fn arrive(&mut self, call: &CallShape<'_>) -> (u64, Option<(Fault, Option<usize>)>) {
        let now_ms = self.now_ms();
        self.calls += 1;
        if (self.pause_ms.0..self.pause_ms.1).contains(&now_ms) {
            self.impatient_calls += 1;
        }
        let refused = self.refused_credentials(now_ms).or_else(|| self.over_the_limit(now_ms));
        let fault = refused.map(|fault| (fault, None)).or_else(|| self.misfortune(call));
        if let Some((Fault::RateLimited { retry_after_ms }, _)) = &fault {
            self.ask_for_pause(now_ms, *retry_after_ms);
        }
        (self.calls, fault)
    }

    /// Calls that are under way when the pause begins come in vain, but in good faith.
    fn ask_for_pause(&mut self, now_ms: u64, millis: u64) {
        let (from, until) = self.pause_ms;
        let known_ms = now_ms + self.behaviour.latency_ms.1 + 1;
        let from = if now_ms < until { from } else { known_ms };
        self.pause_ms = (from, until.max(now_ms + millis));
    }

    /// Takes back a pause that it asked for only so long ago.
    pub fn forgive_pause(&mut self, within_ms: u64) {
        if self.now_ms() < self.pause_ms.0.saturating_add(within_ms) {
            self.pause_ms = (0, 0);
        }
    }

    /// How many calls have arrived in all.
    pub fn calls_seen(&self) -> u64 {
        self.calls
    }

    fn refused_credentials(&self, now_ms: u64) -> Option<Fault> {
        self.credentials_until_ms.is_some_and(|until_ms| until_ms <= now_ms).then_some(Fault::Unauthorised)
    }

    fn over_the_limit(&mut self, now_ms: u64) -> Option<Fault> {
        let window = self.behaviour.rate_limit?;
        while self.arrivals.front().is_some_and(|at| at + window.per_ms <= now_ms) {
            self.arrivals.pop_front();
        }
        if self.arrivals.len() < usize::try_from(window.requests).unwrap_or(usize::MAX) {
            self.arrivals.push_back(now_ms);
            return None;
        }
        if !self.behaviour.limit_says_when {
            return Some(Fault::RateLimitedSilently);
        }
        let oldest = self.arrivals.front().copied().unwrap_or(now_ms);
        Some(Fault::RateLimited { retry_after_ms: (oldest + window.per_ms - now_ms).max(1) })
    }

    fn misfortune(&mut self, call: &CallShape<'_>) -> Option<(Fault, Option<usize>)> {
        for script in &mut self.scripts {
            if let Some(fault) = script.meets(call) {
                let part = call.parts.iter().position(|part| script.is_about(part));
                self.scripts.retain(|script| !script.spent());
                return Some((fault, part));
            }
        }
        self.faults.draw(call, &mut self.rng)
    }

    // ---- what reads show ----

    /// The version of a state, as told to the other end.
    pub fn version(&self, state: &State) -> Option<Version> {
        self.behaviour.versions.then(|| version_of(state))
    }

    pub fn modified(&self, state: &State) -> Option<DateTime<Utc>> {
        if !self.behaviour.modified {
            return None;
        }
        DateTime::from_timestamp_millis(FIRST_MOMENT_MS.saturating_add(state.modified_ms))
    }

    pub fn record(&self, id: &RecordId, state: &State, live: &Live) -> Record {
        Record {
            id: id.clone(),
            version: self.version(state),
            modified: self.modified(state),
            body: live.raw.clone().unwrap_or_else(|| Body::from_value(&live.value)),
        }
    }

    /// What reads show of each record now, by id.
    pub fn shown(&mut self, name: &ObjectName) -> Vec<(RecordId, State)> {
        let now_ms = self.now_ms();
        let slots = &self.object(name).slots;
        slots.iter().filter_map(|(id, slot)| Some((id.clone(), slot.shown(now_ms)?.clone()))).collect()
    }

    /// What a read by id shows.
    pub fn shown_one(&mut self, name: &ObjectName, id: &RecordId) -> Option<State> {
        let now_ms = self.now_ms();
        self.object(name).slots.get(id)?.shown(now_ms).cloned()
    }

    /// Whether a record's last change has reached the search index.
    pub fn is_indexed(&mut self, name: &ObjectName, id: &RecordId) -> bool {
        let now_ms = self.now_ms();
        self.object(name).slots.get(id).is_some_and(|slot| slot.indexed_at_ms <= now_ms)
    }

    /// The last change up to which every change of an object is shown.
    pub fn last_shown_change(&mut self, name: &ObjectName) -> u64 {
        let now_ms = self.now_ms();
        let slots = self.object(name).slots.values();
        let first_hidden = slots.filter(|slot| now_ms < slot.shown_at_ms).map(|slot| slot.hidden_from).min();
        first_hidden.map_or(self.changes, |change| change - 1)
    }

    /// The other end has seen this state of a record.
    pub fn note_seen(&mut self, name: &ObjectName, id: &RecordId, change: u64) {
        self.object(name).seen.insert(id.clone(), change);
    }

    /// The real state of a record, whatever reads show.
    pub fn real(&mut self, name: &ObjectName, id: &RecordId) -> Option<&State> {
        self.object(name).slots.get(id).map(|slot| &slot.now)
    }

    /// The real records of an object.
    pub fn real_all(&mut self, name: &ObjectName) -> Vec<(RecordId, Live)> {
        let slots = &self.object(name).slots;
        slots.iter().filter_map(|(id, slot)| Some((id.clone(), slot.now.live.clone()?))).collect()
    }

    /// The nth real record of an object, counted round and round.
    pub fn nth(&mut self, name: &ObjectName, n: usize) -> Option<(RecordId, Value)> {
        let slots = &self.object(name).slots;
        let live = || slots.iter().filter_map(|(id, slot)| Some((id, slot.now.live.as_ref()?)));
        let (id, live) = live().nth(n.checked_rem(live().count())?)?;
        Some((id.clone(), live.value.clone()))
    }

    /// Every record there ever was, with its last change.
    pub fn positions(&mut self, name: &ObjectName) -> Vec<Position> {
        let at = |(id, slot): (&RecordId, &Slot)| Position {
            id: id.clone(),
            change: slot.now.change,
            modified_ms: slot.now.modified_ms,
            value: slot.now.live.as_ref().map(|live| live.value.clone()),
        };
        self.object(name).slots.iter().map(at).collect()
    }

    // ---- changing records ----

    /// Applies an edit from outside to what is there. Whether something was there.
    pub fn edit(&mut self, name: &ObjectName, id: &RecordId, edit: Edit) -> bool {
        self.edit_as(name, id, edit, self.stamp_ms(), None)
    }

    /// The same with a modified time of the caller's, and a number taken before or now.
    pub fn edit_as(
        &mut self,
        name: &ObjectName,
        id: &RecordId,
        edit: Edit,
        modified_ms: i64,
        change: Option<u64>,
    ) -> bool {
        let old = self.live(name, id).map(|(_, live)| live);
        let existed = old.is_some();
        let created_for = old.as_ref().and_then(|live| live.created_for.clone());
        let new = edit.apply(old.map(|live| live.value)).map(|value| self.behaviour.normalise.apply(value));
        if existed || new.is_some() {
            let live = new.map(|value| Live { value, raw: None, created_for });
            let stamp = Stamp { change: change.unwrap_or_else(|| self.next_change()), modified_ms };
            self.store_as(stamp, name, id, live, &By { cause: Cause::Edit, stale_ms: 0 });
        }
        existed
    }

    /// Whether a record is there.
    pub fn exists(&mut self, name: &ObjectName, id: &RecordId) -> bool {
        self.live(name, id).is_some()
    }

    /// Merges one record into another, as a person would: what the one that stays lacks
    /// it takes from the other, which is gone. Whether both were there.
    pub fn merge(&mut self, name: &ObjectName, from: &RecordId, into: &RecordId) -> bool {
        let (Some((_, gone)), Some((_, kept))) = (self.live(name, from), self.live(name, into)) else { return false };
        if from == into {
            return false;
        }
        let by = |other: &RecordId| By { cause: Cause::Merge { other: other.clone() }, stale_ms: 0 };
        self.store(name, from, None, &by(into));
        let mut value = kept.value;
        super::edit::fill(&mut value, gone.value);
        let live = Live { value: self.behaviour.normalise.apply(value), raw: None, created_for: kept.created_for };
        self.store(name, into, Some(live), &by(from));
        true
    }

    /// What a record last held, deleted or not.
    pub fn last_value(&self, name: &ObjectName, id: &RecordId) -> Option<Value> {
        let mut states = self.history.iter().rev().filter(|entry| entry.object == *name && entry.id == *id);
        states.find_map(|entry| entry.value.clone())
    }

    fn next_change(&mut self) -> u64 {
        self.changes += 1;
        self.changes
    }

    /// Stores a record, or its deletion, as the next change.
    pub fn store(&mut self, name: &ObjectName, id: &RecordId, live: Option<Live>, by: &By) -> State {
        let stamp = Stamp { change: self.next_change(), modified_ms: self.stamp_ms() };
        self.store_as(stamp, name, id, live, by)
    }

    fn store_as(&mut self, stamp: Stamp, name: &ObjectName, id: &RecordId, live: Option<Live>, by: &By) -> State {
        let Stamp { change, modified_ms } = stamp;
        let live = live.map(|live| Live { value: self.behaviour.normalise.compute(live.value, change), ..live });
        let now_ms = self.now_ms();
        let stale_ms = by.stale_ms.max(self.faults.draw_stale_ms(&mut self.rng));
        let lag_ms = self.behaviour.index_lag_ms + self.faults.draw_slow_index_ms(&mut self.rng);
        let indexed_at_ms = now_ms + lag_ms;
        let state = State { change, modified_ms, live };
        self.remember(name, id, &state, by);
        let slots = &mut self.object(name).slots;
        let (before, shown_at_ms, hidden_from) = match slots.remove(id) {
            None => (None, now_ms + stale_ms, state.change),
            // A replica catches up in order: what hides an earlier change hides this one.
            Some(old) if now_ms < old.shown_at_ms => {
                (old.before, old.shown_at_ms.max(now_ms + stale_ms), old.hidden_from.min(state.change))
            }
            Some(old) => (Some(old.now), now_ms + stale_ms, state.change),
        };
        let slot = Slot { now: state.clone(), before, shown_at_ms, hidden_from, indexed_at_ms };
        slots.insert(id.clone(), slot);
        state
    }

    fn remember(&mut self, name: &ObjectName, id: &RecordId, state: &State, by: &By) {
        self.history.push(HistoryEntry {
            change: state.change,
            at_ms: self.now_ms(),
            object: name.clone(),
            id: id.clone(),
            version: version_of(state),
            value: state.live.as_ref().map(|live| live.value.clone()),
            cause: by.cause.clone(),
        });
    }

    /// An id that no record of this object ever had.
    pub fn free_id(&mut self, name: &ObjectName) -> RecordId {
        loop {
            self.ids_given += 1;
            let id = RecordId::from(new_id(self.behaviour.ids, self.ids_given));
            if self.real(name, &id).is_none() {
                return id;
            }
        }
    }

    /// Carries out one write of the other end.
    pub fn apply(&mut self, name: &ObjectName, write: &Write, by: &By) -> Applied {
        if !self.object(name).capabilities.writable {
            return Applied::refused(Outcome::Rejected { reason: format!("{name} is read-only"), path: None });
        }
        match write {
            Write::Create(create) => self.apply_create(name, create, by),
            Write::Update(update) => self.apply_update(name, update, by),
            Write::Delete(delete) => self.apply_delete(name, delete, by),
        }
    }

    fn apply_create(&mut self, name: &ObjectName, create: &Create, by: &By) -> Applied {
        let recovery = self.object(name).capabilities.create;
        if let Some(applied) = self.earlier_attempt(name, recovery, create) {
            return applied;
        }
        let normalise = &self.behaviour.normalise;
        let value = normalise.apply(normalise.keep_read_only(create.record.clone(), None));
        if let Some(outcome) = self.refuse(name, &value, None) {
            return Applied::refused(outcome);
        }
        let id = match recovery {
            CreateRecovery::ClientId => RecordId::from(create.external_id.as_str()),
            CreateRecovery::IdempotencyKey { .. }
            | CreateRecovery::ExternalId
            | CreateRecovery::Find { .. }
            | CreateRecovery::Park => self.free_id(name),
        };
        self.object(name).taken.insert(create.external_id.clone());
        let live = Live { value, raw: None, created_for: Some(create.external_id.clone()) };
        let state = self.store(name, &id, Some(live), by);
        if let CreateRecovery::IdempotencyKey { life_ms } = recovery {
            let until_ms = self.now_ms().saturating_add(life_ms);
            let remembered = Remembered { until_ms, record: create.record.clone(), id: id.clone() };
            self.object(name).keys.insert(create.idempotency_key.clone(), remembered);
        }
        self.written(name, id, &state, None)
    }

    /// What an app says to a create that it has carried out before.
    fn earlier_attempt(&mut self, name: &ObjectName, recovery: CreateRecovery, create: &Create) -> Option<Applied> {
        let now_ms = self.now_ms();
        match recovery {
            CreateRecovery::ClientId => {
                let id = RecordId::from(create.external_id.as_str());
                self.real(name, &id)?.live.as_ref()?;
                Some(self.duplicate(id))
            }
            CreateRecovery::IdempotencyKey { .. } => {
                let remembered = self.object(name).keys.get(&create.idempotency_key)?;
                if remembered.until_ms <= now_ms {
                    return None;
                }
                if remembered.record != create.record {
                    let reason = "the idempotency key was used with another record".to_owned();
                    return Some(Applied::refused(Outcome::Rejected { reason, path: None }));
                }
                let id = remembered.id.clone();
                // The answer of the first attempt again; of the record only the id, since
                // it may have changed or gone meanwhile.
                let stored = Stored { id: id.clone(), version: None, modified: None, body: None };
                Some(Applied { outcome: Outcome::Written(stored), changed: false, id: Some(id), found: None })
            }
            CreateRecovery::ExternalId => {
                let id = self.with_external_id(name, &create.external_id)?;
                Some(self.duplicate(id))
            }
            CreateRecovery::Find { .. } | CreateRecovery::Park => None,
        }
    }

    /// The real record whose create carried an external id.
    pub fn with_external_id(&mut self, name: &ObjectName, external_id: &str) -> Option<RecordId> {
        let slots = &self.object(name).slots;
        let carries =
            |slot: &Slot| slot.now.live.as_ref().is_some_and(|l| l.created_for.as_deref() == Some(external_id));
        slots.iter().find(|(_, slot)| carries(slot)).map(|(id, _)| id.clone())
    }

    fn duplicate(&self, id: RecordId) -> Applied {
        let named = self.behaviour.duplicate_names_id.then(|| id.clone());
        Applied { outcome: Outcome::Duplicate(named), changed: false, id: Some(id), found: None }
    }

    fn apply_update(&mut self, name: &ObjectName, update: &Update, by: &By) -> Applied {
        let Some((state, live)) = self.live(name, &update.id) else {
            return Applied::refused(Outcome::Missing);
        };
        let found = self.version(&state);
        let refused = |outcome| Applied { found: found.clone(), ..Applied::refused(outcome) };
        if self.has_changed(name, update.expected.as_ref(), &found) {
            return refused(Outcome::Changed);
        }
        let mut value = match self.object(name).capabilities.update {
            UpdateStyle::Fields => live.value.clone(),
            UpdateStyle::Whole => match update.current.as_ref().map(Body::decode) {
                Some(Ok(current)) => current,
                Some(Err(_)) | None => {
                    let message = format!("{name} replaces whole records: an update must bring the current one");
                    return refused(Outcome::NotSent(ConnectorError::new(NextStep::Fail, message)));
                }
            },
        };
        for change in &update.changes {
            match &change.value {
                Some(new) => value.set(&change.path, new.clone()),
                None => value.remove(&change.path),
            }
        }
        let normalise = &self.behaviour.normalise;
        let value = normalise.apply(normalise.keep_read_only(value, Some(&live.value)));
        if let Some(outcome) = self.refuse(name, &value, Some(&update.id)) {
            return refused(outcome);
        }
        self.count_if_blind(name, &update.id, update.expected.as_ref(), &found, state.change);
        let live = Live { value, raw: None, created_for: live.created_for };
        let state = self.store(name, &update.id, Some(live), by);
        self.written(name, update.id.clone(), &state, found)
    }

    fn apply_delete(&mut self, name: &ObjectName, delete: &Delete, by: &By) -> Applied {
        let id = Some(delete.id.clone());
        let Some((state, _)) = self.live(name, &delete.id) else {
            return Applied { outcome: Outcome::Deleted, changed: false, id, found: None };
        };
        let found = self.version(&state);
        if self.has_changed(name, delete.expected.as_ref(), &found) {
            return Applied { outcome: Outcome::Changed, changed: false, id, found };
        }
        self.count_if_blind(name, &delete.id, delete.expected.as_ref(), &found, state.change);
        let state = self.store(name, &delete.id, None, by);
        self.note_seen(name, &delete.id, state.change);
        Applied { outcome: Outcome::Deleted, changed: true, id, found }
    }

    fn live(&mut self, name: &ObjectName, id: &RecordId) -> Option<(State, Live)> {
        let state = self.real(name, id)?.clone();
        let live = state.live.clone()?;
        Some((state, live))
    }

    /// Whether a conditional write must be refused.
    fn has_changed(&mut self, name: &ObjectName, expected: Option<&Version>, found: &Option<Version>) -> bool {
        self.object(name).capabilities.conditional && expected.is_some() && expected != found.as_ref()
    }

    /// Counts a write to a record that had changed since the writer last saw it.
    fn count_if_blind(
        &mut self,
        name: &ObjectName,
        id: &RecordId,
        expected: Option<&Version>,
        found: &Option<Version>,
        change: u64,
    ) {
        let saw_it = match expected {
            Some(expected) => Some(expected) == found.as_ref(),
            None => self.object(name).seen.get(id) == Some(&change),
        };
        if !saw_it {
            self.blind_overwrites += 1;
        }
    }

    /// What the app has against a record, if anything.
    fn refuse(&mut self, name: &ObjectName, value: &Value, own_id: Option<&RecordId>) -> Option<Outcome> {
        if !matches!(value, Value::Object(_)) {
            let reason = format!("a record is an object, not a {}", value.kind());
            return Some(Outcome::Rejected { reason, path: None });
        }
        let object = self.object(name);
        if let Some(Rejection { reason, path }) = object.validation.as_ref().and_then(|validation| validation(value)) {
            return Some(Outcome::Rejected { reason, path });
        }
        let path = object.unique.clone()?;
        let other = object.holder_of(&path, value.get(&path)?, own_id)?;
        Some(match own_id {
            None => Outcome::Duplicate(self.behaviour.duplicate_names_id.then_some(other)),
            Some(_) => {
                Outcome::Rejected { reason: format!("{path} is taken by another record"), path: Some(path.to_string()) }
            }
        })
    }

    fn written(&mut self, name: &ObjectName, id: RecordId, state: &State, found: Option<Version>) -> Applied {
        self.note_seen(name, &id, state.change);
        let body = match (&state.live, self.behaviour.returns_body) {
            (Some(live), true) => Some(Body::from_value(&live.value)),
            (Some(_) | None, _) => None,
        };
        let stored = Stored { id: id.clone(), version: self.version(state), modified: self.modified(state), body };
        Applied { outcome: Outcome::Written(stored), changed: true, id: Some(id), found }
    }
}

fn version_of(state: &State) -> Version {
    Version::new(format!("v{}", state.change))
}

impl Applied {
    pub fn refused(outcome: Outcome) -> Self {
        Self { outcome, changed: false, id: None, found: None }
    }
}

impl Object {
    fn new() -> Self {
        Self {
            capabilities: Capabilities {
                changes: true,
                deletions: true,
                read_ids: 100,
                conditional: true,
                create: CreateRecovery::ExternalId,
                ..Capabilities::default()
            },
            unique: None,
            validation: None,
            poisoned: BTreeSet::new(),
            slots: BTreeMap::new(),
            keys: BTreeMap::new(),
            taken: BTreeSet::new(),
            seen: BTreeMap::new(),
        }
    }

    /// The live record, other than one's own, that holds a value at a path.
    fn holder_of(&self, path: &Path, value: &Value, own_id: Option<&RecordId>) -> Option<RecordId> {
        let holds = |slot: &Slot| {
            slot.now.live.as_ref().is_some_and(|live| live.value.get(path).is_some_and(|other| other.same(value)))
        };
        self.slots.iter().find(|(id, slot)| Some(*id) != own_id && holds(slot)).map(|(id, _)| id.clone())
    }

    /// External ids that more than one live record was created for.
    pub fn created_more_than_once(&self) -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        let live = self.slots.values().filter_map(|slot| slot.now.live.as_ref());
        let names = live.filter_map(|live| live.created_for.as_ref());
        names.filter(|name| !seen.insert((*name).clone())).cloned().collect()
    }
}

impl Slot {
    fn shown(&self, now_ms: u64) -> Option<&State> {
        if now_ms < self.shown_at_ms { self.before.as_ref() } else { Some(&self.now) }
    }
}
