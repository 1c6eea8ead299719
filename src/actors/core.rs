//! What a connection's units of work share: the store, the budgets, the children, the
//! leases. Lives on one arbiter; no lock, and no borrow over an await.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::actors::env::Env;
use crate::actors::mapper::Mapper;
use crate::actors::message::{Carry, Fetch, Map, Mapped};
use crate::actors::notifier::Notifier;
use crate::actors::reader::{Parent, ReadSide, Reader};
use crate::actors::writer::Writer;
use crate::connectors::{Calls, Connector, Read};
use crate::model::cursor::{Cursor, CursorDelta, StreamNo};
use crate::model::hash::Digest;
use crate::model::ids::{ConnNo, ConnectionId, Epoch, ObjectName, PairNo, RecordId, SyncNo};
use crate::model::notice::Notice;
use crate::model::record::Page;
use crate::model::side::{PerSide, Side};
use crate::model::work::{Conflict, Intent, Lane, Pending, Totals};
use crate::model::write::{ConnectorError, NextStep, Outcome, Write};
use crate::planted::{self, Bug};
use crate::reconcile::case::Case;
use crate::reconcile::now::Now;
use crate::reconcile::reference::{LinkKey, Linked};
use crate::reconcile::sync::BoundSync;
use crate::store::{Commit, CommitRight, Snapshot, Store, StoreError};

/// What a connection's units of work share.
pub struct Core {
    /// The connection's name.
    pub id: ConnectionId,
    /// Its number.
    pub conn: ConnNo,
    /// Its syncs, by their order in the specification.
    pub syncs: Vec<Arc<BoundSync>>,
    /// The state file.
    pub store: Store,
    /// The right to change this connection's part of it.
    pub right: CommitRight,
    /// Time and chance.
    pub env: Env,
    /// Tells the host.
    pub notifier: Notifier,
    /// The budgets.
    pub calls: PerSide<Calls>,
    /// Writes whose outcome is awaited or unknown.
    pub intents: RefCell<BTreeMap<(SyncNo, PairNo), Intent>>,
    /// When those that this process opened were opened or last sent.
    sent: RefCell<HashMap<(SyncNo, PairNo), Instant>>,
    started: Instant,
    started_ms: i64,
    /// What each sync has done.
    pub totals: RefCell<HashMap<SyncNo, Totals>>,
    /// How many records are held back; while there are none, none is looked for.
    pub held_back: Cell<u64>,
    sides: PerSide<ReadSide>,
    children: RefCell<Children>,
    parent: Parent,
    /// Dropped with this: what calls are still under way end.
    _alive: watch::Sender<()>,
    /// Records without a pair that a list showed while another unit had them: nobody can
    /// find them by match key yet, so nothing is created beside them meanwhile.
    unlisted: RefCell<HashSet<(SyncNo, Side, RecordId)>>,
    leases: RefCell<HashSet<LeaseKey>>,
    /// Told whenever a lease is given back.
    lease_free: Notify,
    next_pair: Cell<u64>,
    next_seq: Cell<u64>,
    next_intent: Cell<u32>,
    echoes: RefCell<HashSet<(SyncNo, PairNo, Side)>>,
    pauses: PerSide<RefCell<Option<KeptPause>>>,
    writes: Cell<u64>,
    decided: RefCell<HashMap<(SyncNo, PairNo), u64>>,
    gone: RefCell<HashMap<(SyncNo, Side, RecordId), u64>>,
}

/// A pause that a side asked for, as the store keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct KeptPause {
    until_ms: i64,
    /// How long it was to last, so that a clock that is set back does not prolong it.
    millis: u64,
}

struct Children {
    reader: Addr<Reader>,
    mapper: Addr<Mapper>,
    writer: Addr<Writer>,
}

/// What one worker has for itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LeaseKey {
    /// A pair.
    Pair(SyncNo, PairNo),
    /// A record without a pair.
    Record(SyncNo, Side, RecordId),
    /// A match key that is being decided about.
    Match(SyncNo, Digest),
}

/// Leases held by one unit of work; given back when it is dropped.
pub struct Leases {
    core: Rc<Core>,
    held: Vec<LeaseKey>,
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The epoch of a connection that nobody has run before.
const FIRST_EPOCH: Epoch = Epoch(1);

/// How many of our own writes are remembered to count their echoes; only a count
/// depends on it.
const MAX_ECHOES_REMEMBERED: usize = 100_000;

impl Core {
    /// Loads what a connection needs to start.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn load(
        id: ConnectionId,
        syncs: Vec<Arc<BoundSync>>,
        store: Store,
        right: CommitRight,
        env: Env,
        notifier: Notifier,
        sides: PerSide<ReadSide>,
    ) -> Result<Self, StoreError> {
        let conn = right.conn();
        let snapshot = store.snapshot()?;
        let intents = snapshot.intents(conn)?.into_iter().map(|(sync, pair, intent)| ((sync, pair), intent)).collect();
        let mut totals = HashMap::new();
        for sync in &syncs {
            totals.insert(sync.no, snapshot.totals(conn, sync.no)?);
        }
        let next_pair = snapshot.next_pair(conn)?.0;
        // Numbers of rows that are gone are not used again: a history row would replace
        // one of an earlier epoch.
        let next_seq = snapshot.next_pending_seq(conn)?.max(right.epoch().0 << 32);
        let held_back = snapshot.quarantine_count(conn)?;
        let mut pauses = PerSide::default();
        if let Some(sync) = syncs.first() {
            for side in Side::BOTH {
                let kept = snapshot.cursor(conn, sync.no, side, StreamNo::PAUSE)?;
                pauses[side] = kept.as_ref().and_then(KeptPause::read);
            }
        }
        drop(snapshot);
        let calls = PerSide { app: sides.app.calls.clone(), remote: sides.remote.calls.clone() };
        for side in Side::BOTH {
            if right.epoch() > FIRST_EPOCH {
                calls[side].assume_spent();
            }
            if let Some(pause) = pauses[side] {
                calls[side].pause(pause.left(env.now_ms()));
            }
        }
        let started_ms = env.now_ms();
        let (alive, parent) = Parent::new();
        let children = Children::start(&sides, &parent, env.rng(u64::from(conn.0)));
        Ok(Self {
            id,
            conn,
            syncs,
            store,
            right,
            env,
            notifier,
            calls,
            intents: RefCell::new(intents),
            sent: RefCell::default(),
            started: Instant::now(),
            started_ms,
            totals: RefCell::new(totals),
            held_back: Cell::new(held_back),
            sides,
            children: RefCell::new(children),
            parent,
            _alive: alive,
            leases: RefCell::default(),
            unlisted: RefCell::default(),
            lease_free: Notify::new(),
            next_pair: Cell::new(next_pair),
            next_seq: Cell::new(next_seq),
            next_intent: Cell::new(0),
            echoes: RefCell::default(),
            pauses: PerSide::from_fn(|side| RefCell::new(pauses[side])),
            writes: Cell::new(0),
            decided: RefCell::default(),
            gone: RefCell::default(),
        })
    }

    /// The time, for decisions and for what is stamped to be compared with it later.
    #[must_use]
    pub fn now(&self) -> Now {
        let up_ms = millis(self.started.elapsed());
        Now { ms: self.started_ms.saturating_add_unsigned(up_ms), up_ms }
    }

    /// A short look at the store.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn snapshot(&self) -> Result<Snapshot, StoreError> {
        self.store.snapshot()
    }

    /// The durable row by which a record is to be looked at, if there is one.
    #[must_use]
    pub fn pending_row(&self, sync: SyncNo, side: Side, id: &RecordId) -> Option<Pending> {
        let snapshot = self.snapshot().ok()?;
        let (lane, seq) = snapshot.pending_by_id(self.conn, sync, side, id).ok()??;
        snapshot.pending(self.conn, lane, seq).ok()?.map(|(_, pending)| pending)
    }

    /// Whether fields of this connection's syncs name records of this one.
    #[must_use]
    pub fn is_referred_to(&self, no: SyncNo) -> bool {
        self.syncs.iter().any(|sync| sync.references.iter().any(|referred| referred.no == no))
    }

    /// What a record that a field names is linked with.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn linked(&self, snapshot: &Snapshot, key: &LinkKey) -> Result<Option<Linked>, StoreError> {
        let Some(pair) = snapshot.pair_by_id(self.conn, key.sync, key.side, &key.id)? else { return Ok(None) };
        let marker = snapshot.marker(self.conn, key.sync, pair)?;
        Ok(marker.and_then(|marker| Linked::of(&marker, key.side)))
    }

    /// Whether a record that a field names is linked with one that stands.
    #[must_use]
    pub fn stands(&self, snapshot: &Snapshot, key: &LinkKey) -> bool {
        self.linked(snapshot, key).is_ok_and(|linked| linked.is_some_and(|linked| linked.stands))
    }

    /// Commits, and waits until it is durable.
    ///
    /// # Errors
    /// When the store refuses it or cannot write; then nothing of it was kept.
    pub async fn commit(&self, commit: Commit) -> Result<(), StoreError> {
        if commit.is_empty() {
            return Ok(());
        }
        let (held_back, conflicts) = if self.notifier.has_listeners() {
            (self.newly_held_back(&commit)?, commit.conflicts().collect())
        } else {
            (Vec::new(), Vec::new())
        };
        let stored = self.right.commit(commit).await;
        if stored.is_ok() {
            held_back.into_iter().for_each(|notice| self.tell(notice));
            conflicts.into_iter().for_each(|(sync, pair, conflict)| self.tell_conflict(sync, pair, conflict));
        }
        if planted::is(Bug::CommitErrorSwallowed) { Ok(()) } else { stored }
    }

    fn tell(&self, notice: Notice) {
        self.notifier.tell(&self.id, self.env.now_ms(), notice);
    }

    /// Those of a commit's records that were not held back for the same reason before.
    fn newly_held_back(&self, commit: &Commit) -> Result<Vec<Notice>, StoreError> {
        let snapshot = self.snapshot()?;
        let mut new = Vec::new();
        for (no, side, id, held) in commit.held_back() {
            let before = snapshot.quarantined(self.conn, no, side, &id)?;
            let same = before.is_some_and(|old| (old.kind, &old.reason) == (held.kind, &held.reason));
            if let (false, Some(sync)) = (same, self.sync(no)) {
                let (sync, kind, reason) = (sync.name.clone(), held.kind, held.reason);
                new.push(Notice::Quarantined { sync, side, id, kind, reason });
            }
        }
        Ok(new)
    }

    fn tell_conflict(&self, no: SyncNo, pair: PairNo, conflict: Conflict) {
        let Some(sync) = self.sync(no) else { return };
        let marker = self.snapshot().and_then(|snapshot| snapshot.marker(self.conn, no, pair)).ok().flatten();
        let ids = PerSide::from_fn(|side| marker.as_ref().and_then(|marker| marker.sides[side].id.clone()));
        let Conflict { field, winner, .. } = conflict;
        self.tell(Notice::Conflict { sync: sync.name.clone(), ids, field, winner });
    }

    /// The sync of a number.
    #[must_use]
    pub fn sync(&self, no: SyncNo) -> Option<&Arc<BoundSync>> {
        self.syncs.iter().find(|sync| sync.no == no)
    }

    /// A pair number nobody has.
    pub fn take_pair(&self) -> PairNo {
        let pair = self.next_pair.get();
        self.next_pair.set(pair + 1);
        PairNo(pair)
    }

    /// A number for a pending or history row.
    pub fn take_seq(&self) -> u64 {
        let seq = self.next_seq.get();
        self.next_seq.set(seq + 1);
        seq
    }

    /// A number for an intent, unique within this epoch.
    pub fn take_intent(&self) -> u32 {
        let number = self.next_intent.get();
        self.next_intent.set(number.wrapping_add(1));
        number
    }

    /// A list showed a record without a pair which another unit has.
    pub fn note_unlisted(&self, sync: SyncNo, side: Side, id: RecordId) {
        self.unlisted.borrow_mut().insert((sync, side, id));
    }

    /// What became of a record is durable.
    pub fn note_listed(&self, sync: SyncNo, side: Side, id: &RecordId) {
        let mut unlisted = self.unlisted.borrow_mut();
        if !unlisted.is_empty() {
            unlisted.remove(&(sync, side, id.clone()));
        }
    }

    /// Whether a side may have records of which nobody can find the match key yet.
    #[must_use]
    pub fn has_unlisted(&self, sync: SyncNo, side: Side) -> bool {
        self.unlisted.borrow().iter().any(|(of, on, _)| *of == sync && *on == side)
    }

    /// An open write is sent now, for the first time or again.
    pub fn note_sent(&self, key: (SyncNo, PairNo)) {
        let intents = self.intents.borrow();
        let mut sent = self.sent.borrow_mut();
        if sent.len() > 2 * intents.len() + 16 {
            sent.retain(|key, _| intents.contains_key(key));
        }
        sent.insert(key, Instant::now());
    }

    /// How long ago an open write was opened or last sent, in milliseconds; by the wall
    /// clock, if that was in another life of the process.
    #[must_use]
    pub fn age_ms(&self, sync: SyncNo, pair: PairNo, intent: &Intent) -> u64 {
        let since = self.sent.borrow().get(&(sync, pair)).map(|at| at.elapsed());
        since.map_or_else(|| self.now().since_by_clock(intent.opened_ms), millis)
    }

    /// How long an open write has been waited for beyond doubt, in milliseconds.
    #[must_use]
    pub fn waited_ms(&self, sync: SyncNo, pair: PairNo, intent: &Intent) -> u64 {
        let since = self.sent.borrow().get(&(sync, pair)).map(|at| at.elapsed());
        since.map_or_else(|| self.now().since(intent.opened_ms), millis)
    }

    /// Whether any unit of work has leases.
    #[must_use]
    pub fn has_leases(&self) -> bool {
        !self.leases.borrow().is_empty()
    }

    /// Whether a unit of work has this lease.
    #[must_use]
    pub fn is_leased(&self, key: &LeaseKey) -> bool {
        self.leases.borrow().contains(key)
    }

    /// Leases for a unit of work, none yet.
    #[must_use]
    pub fn leases(self: &Rc<Self>) -> Leases {
        Leases { core: Rc::clone(self), held: Vec::new() }
    }

    /// How many pairs were decided and how many records seen to be gone so far: noted
    /// before something is read, so that what was read before such a thing can be told
    /// from what was read after it.
    #[must_use]
    pub fn write_clock(&self) -> u64 {
        self.writes.get()
    }

    /// Notes that a pair was decided: written, or taken over as both sides had it. What was
    /// read of it before is older than what is known of it now, and would look like an edit
    /// that takes back what it came to.
    pub fn note_decided(&self, sync: SyncNo, pair: PairNo) {
        self.writes.set(self.writes.get() + 1);
        self.decided.borrow_mut().insert((sync, pair), self.writes.get());
    }

    /// Whether a pair was decided after a time of the write clock.
    #[must_use]
    pub fn decided_since(&self, sync: SyncNo, pair: PairNo, clock: u64) -> bool {
        self.decided.borrow().get(&(sync, pair)).is_some_and(|decided| *decided > clock)
    }

    /// Notes that a record was seen to be gone: by its id, or by a list that knew of no
    /// pair of it.
    pub fn note_gone(&self, sync: SyncNo, side: Side, id: &RecordId) {
        self.writes.set(self.writes.get() + 1);
        self.gone.borrow_mut().insert((sync, side, id.clone()), self.writes.get());
    }

    /// Whether a record was seen to be gone after a time of the write clock. Its pair may
    /// have got another record in its place since, so that nothing else tells.
    #[must_use]
    pub fn gone_since(&self, sync: SyncNo, side: Side, id: &RecordId, clock: u64) -> bool {
        let gone = self.gone.borrow();
        !gone.is_empty() && gone.get(&(sync, side, id.clone())).is_some_and(|seen| *seen > clock)
    }

    /// Nothing is being read, so nothing that was decided earlier matters any more.
    pub fn forget_decided(&self) {
        self.decided.borrow_mut().clear();
        self.gone.borrow_mut().clear();
    }

    /// Remembers a write, so that its echo can be counted.
    pub fn expect_echo(&self, sync: SyncNo, pair: PairNo, side: Side) {
        let mut echoes = self.echoes.borrow_mut();
        if echoes.len() < MAX_ECHOES_REMEMBERED {
            echoes.insert((sync, pair, side));
        }
    }

    /// Whether an unchanged record is the first news of our own write.
    pub fn is_echo(&self, sync: SyncNo, pair: PairNo, side: Side) -> bool {
        self.echoes.borrow_mut().remove(&(sync, pair, side))
    }

    /// Reads through the reader.
    ///
    /// # Errors
    /// As the connector says; a reader that dies is started again and the read is to
    /// be retried.
    pub async fn fetch(&self, sync: &BoundSync, side: Side, read: Read, lane: Lane) -> Result<Page, ConnectorError> {
        self.fetch_of(side, sync.objects[side].clone(), read, lane).await
    }

    /// Reads through the reader, whatever the object is synced as.
    ///
    /// # Errors
    /// As the connector says, or when the reader died.
    pub async fn fetch_of(
        &self,
        side: Side,
        object: ObjectName,
        read: Read,
        lane: Lane,
    ) -> Result<Page, ConnectorError> {
        let reader = self.children.borrow().reader.clone();
        let answer = reader.send(Fetch { side, object, read, lane }).await;
        answer.unwrap_or_else(|_| {
            self.restart_dead_children();
            Err(ConnectorError::new(NextStep::Retry, format!("reading the {side} side crashed")))
        })
    }

    /// What talks to a side. Calls go through the children; this is for what needs none.
    #[must_use]
    pub fn connector(&self, side: Side) -> Rc<dyn Connector> {
        Rc::clone(&self.sides[side].connector)
    }

    /// Makes each pause that a side asks for outlive a restart. Never ends.
    pub async fn keep_pauses(&self, side: Side) {
        let mut pauses = self.calls[side].pauses();
        // One that was asked for before may not be kept yet: of an actor that has died.
        loop {
            if let Some(pause) = self.calls[side].paused_for() {
                self.keep_pause(side, millis(pause)).await;
            }
            pauses.next().await;
        }
    }

    /// Where it cannot be stored it still holds in this process.
    async fn keep_pause(&self, side: Side, millis: u64) {
        let Some(sync) = self.syncs.first() else { return };
        let until_ms = self.env.now_ms().saturating_add_unsigned(millis);
        let before = *self.pauses[side].borrow();
        let pause = KeptPause { until_ms, millis };
        if before == Some(pause) {
            return;
        }
        self.pauses[side].replace(Some(pause));
        let mut commit = self.right.new_commit();
        let (from, to) = (before.map(KeptPause::write), Some(pause.write()));
        commit.move_cursor(CursorDelta { sync: sync.no, side, stream: StreamNo::PAUSE, from, to });
        if let Err(error) = self.commit(commit).await {
            tracing::warn!(connection.id = %self.id, side = %side, "the pause that was asked for will not outlive a restart: {error}");
        }
    }

    /// Decides through the mapper. A mapper that dies is started again; its cases are
    /// lost with it, which the caller treats as a failed unit.
    ///
    /// # Errors
    /// When the mapper died.
    pub async fn map(&self, sync: &Arc<BoundSync>, cases: Vec<Case>) -> Result<Vec<Mapped>, ConnectorError> {
        let mapper = self.children.borrow().mapper.clone();
        mapper.send(Map { sync: Arc::clone(sync), cases, now: self.now() }).await.map_err(|_| {
            self.restart_dead_children();
            ConnectorError::new(NextStep::Retry, "the mapper crashed")
        })
    }

    /// Writes through the writer, in one call.
    pub async fn carry(&self, sync: &BoundSync, side: Side, writes: Vec<Write>, lane: Lane) -> Vec<Outcome> {
        self.carry_of(side, sync.objects[side].clone(), writes, lane).await
    }

    /// Writes through the writer, whatever the object is synced as.
    pub async fn carry_of(&self, side: Side, object: ObjectName, writes: Vec<Write>, lane: Lane) -> Vec<Outcome> {
        let writer = self.children.borrow().writer.clone();
        let wanted = writes.len();
        let answer = writer.send(Carry { side, object, writes, lane }).await;
        answer.unwrap_or_else(|_| {
            self.restart_dead_children();
            vec![Outcome::Unknown(format!("writing to the {side} side crashed")); wanted]
        })
    }

    fn restart_dead_children(&self) {
        let mut children = self.children.borrow_mut();
        if !(children.reader.connected() && children.mapper.connected() && children.writer.connected()) {
            tracing::error!(connection.id = %self.id, "a child actor died and was started again");
            *children = Children::start(&self.sides, &self.parent, self.env.rng(u64::from(self.conn.0)));
        }
    }
}

impl KeptPause {
    fn left(self, now_ms: i64) -> Duration {
        let left_ms = u64::try_from(self.until_ms.saturating_sub(now_ms)).unwrap_or(0);
        Duration::from_millis(left_ms.min(self.millis))
    }

    fn write(self) -> Cursor {
        Cursor::new(format!("{} {}", self.until_ms, self.millis))
    }

    fn read(kept: &Cursor) -> Option<Self> {
        let (until_ms, millis) = kept.as_str().split_once(' ')?;
        Some(Self { until_ms: until_ms.parse().ok()?, millis: millis.parse().ok()? })
    }
}

impl Children {
    fn start(sides: &PerSide<ReadSide>, parent: &Parent, rng: fastrand::Rng) -> Self {
        Self {
            reader: Reader::new(sides.clone(), parent.clone(), rng).start(),
            mapper: Mapper.start(),
            writer: Writer::new(sides.clone(), parent.clone()).start(),
        }
    }
}

impl Leases {
    /// Takes a lease, unless another unit of work has it.
    pub fn take(&mut self, key: LeaseKey) -> bool {
        if self.core.leases.borrow_mut().insert(key.clone()) || planted::is(Bug::LeaseNotTaken) {
            self.held.push(key);
            return true;
        }
        self.has(&key)
    }

    /// Whether this unit has a lease.
    #[must_use]
    pub fn has(&self, key: &LeaseKey) -> bool {
        self.held.contains(key)
    }

    /// Takes a lease, and waits for another unit of work to be through with it. Only for
    /// a record that a create of this unit has made, and for its half marker: no unit waits
    /// for anything of this one while it has those.
    pub async fn take_when_free(&mut self, key: LeaseKey) {
        while !self.take(key.clone()) {
            self.core.lease_free.notified().await;
        }
    }

    /// Gives one lease back before the others.
    pub fn give_back(&mut self, key: &LeaseKey) {
        if let Some(at) = self.held.iter().position(|held| held == key) {
            self.held.swap_remove(at);
            self.core.leases.borrow_mut().remove(key);
            self.core.lease_free.notify_waiters();
        }
    }
}

impl Drop for Leases {
    fn drop(&mut self) {
        let mut leases = self.core.leases.borrow_mut();
        for key in self.held.drain(..) {
            leases.remove(&key);
        }
        drop(leases);
        self.core.lease_free.notify_waiters();
    }
}
