//! Between the kernel and everything outside: every call passes here, is noted, costs
//! the process an operation of its life, and is looked at by the oracles that judge
//! single calls.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::time::Instant;

use super::oracle::{Oracle, Verdict, Violation, holds};
use super::owed::{Owed, Started};
use super::swarm::{Rules, TEXTS};
use super::tellers::Tellers;
use super::trace::Trace;
use crate::connectors::memory::MemoryApp;
use crate::connectors::memory::rest::RestApp;
use crate::connectors::{Calls, Connector, ConnectorFactory, ConnectorScope, Read};
use crate::model::direction::Direction;
use crate::model::ids::{ConnNo, ObjectName, RecordId, SyncNo};
use crate::model::path::Path;
use crate::model::record::{Entry, Page};
use crate::model::side::{PerSide, Side};
use crate::model::value::Value;
use crate::model::work::IntentOperation;
use crate::model::write::{Capabilities, Change, ConnectorError, Create, Delete, Outcome, Write};
use crate::store::faulty::Life;
use crate::store::{Snapshot, Store, StoreError};

/// The most calls of one side of a connection that may be under way, those that wait
/// for the budget included: two units of work, each with as many as the larger
/// concurrency of the two sides, and one for status.
const MOST_CALLS: usize = 2 * 4 + 1;

/// The most calls and answers in one world; some thousands are usual.
const MOST_EVENTS: u64 = 100_000;

/// One account as the oracles know it.
#[derive(Debug, Clone)]
pub(super) struct Account {
    /// Its place among all.
    pub no: usize,
    /// The two apps it connects.
    pub apps: PerSide<MemoryApp>,
    /// The API in front of the connected app, where there is one.
    pub api: Option<RestApp>,
    /// What the apps call its object.
    pub objects: PerSide<ObjectName>,
    pub direction: Direction,
    pub rules: Rules,
}

/// What passes between the kernel and the world.
#[derive(Debug)]
pub(super) struct Edge {
    origin: Instant,
    accounts: Vec<Account>,
    state: Mutex<EdgeState>,
}

#[derive(Debug)]
struct EdgeState {
    trace: Trace,
    violation: Option<Violation>,
    store: Option<Store>,
    /// What is under way, by account and side. Forgotten with the life it belongs to.
    in_flight: BTreeMap<(usize, Side), Vec<Flight>>,
    next_flight: u64,
    /// Records that somebody was promised would be read.
    marked: BTreeMap<(usize, Side, RecordId), u64>,
    /// Reads that were promised for what was told.
    owed: Owed,
    /// How often each side was read from its beginning, by account and side.
    full_reads: BTreeMap<(usize, Side), u64>,
}

#[derive(Debug)]
struct Flight {
    no: u64,
    /// What is being written.
    keys: Vec<WriteKey>,
}

impl Edge {
    pub fn new(accounts: Vec<Account>, for_a_person: bool) -> Arc<Self> {
        let state = EdgeState {
            trace: Trace::new(for_a_person),
            violation: None,
            store: None,
            in_flight: BTreeMap::new(),
            next_flight: 0,
            marked: BTreeMap::new(),
            owed: Owed::default(),
            full_reads: BTreeMap::new(),
        };
        Arc::new(Self { origin: Instant::now(), accounts, state: Mutex::new(state) })
    }

    fn lock(&self) -> MutexGuard<'_, EdgeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Notes something in the trace.
    pub fn note(&self, what: std::fmt::Arguments<'_>) {
        let now_ms = self.now_ms();
        self.lock().trace.note(now_ms, what);
    }

    /// A read showed nothing: it is not worth a person's time.
    fn nothing_new(&self) {
        let mut state = self.lock();
        state.trace.forget_last(": read");
    }

    /// What came of it all: the trace's hash, its number of events and its last lines.
    pub fn trace(&self) -> (u64, u64, Vec<String>) {
        let state = self.lock();
        (state.trace.hash(), state.trace.events(), state.trace.lines())
    }

    /// Keeps the first thing that an oracle has said.
    pub fn judge(&self, verdict: Verdict) {
        if let Err(violation) = verdict {
            self.lock().violation.get_or_insert(violation);
        }
    }

    /// The first thing an oracle has said, if one has.
    pub fn verdict(&self) -> Verdict {
        self.lock().violation.clone().map_or(Ok(()), Err)
    }

    /// A new life begins, over this store; what the one before had under way is gone.
    pub fn reborn(&self, store: Option<Store>) {
        let mut state = self.lock();
        state.store = store;
        state.in_flight.clear();
    }

    /// How often a side was read from its beginning. Such a read may leave a cursor
    /// further back, because a list of all does not show what is gone.
    pub fn full_reads(&self, account: usize, side: Side) -> u64 {
        self.lock().full_reads.get(&(account, side)).copied().unwrap_or(0)
    }

    /// A mark of a record was accepted: a read of it must follow.
    pub fn marked(&self, account: usize, side: Side, id: &RecordId) {
        let now_ms = self.now_ms();
        self.lock().marked.insert((account, side, id.clone()), now_ms);
    }

    /// The kernel may have looked at a record without a call of its own.
    pub fn unserved(&self) -> Vec<String> {
        let state = self.lock();
        state
            .marked
            .iter()
            .map(|((no, side, id), at)| format!("account {no}, {side} {id}, marked at {at} ms"))
            .collect()
    }

    /// How many calls have begun so far.
    pub fn calls_begun(&self) -> u64 {
        self.lock().next_flight
    }

    /// The present moment, told apart from all others.
    pub fn moment(&self) -> u64 {
        self.lock().owed.moment()
    }

    /// Reads that are owed to those whose hints were accepted.
    pub fn with_owed<T>(&self, what: impl FnOnce(&mut Owed) -> T) -> T {
        what(&mut self.lock().owed)
    }

    /// What was promised to be read, and is not yet.
    pub fn owed(&self) -> Vec<(usize, Side, Option<RecordId>)> {
        self.lock().owed.left().map(|(account, side, id)| (account, side, id.cloned())).collect()
    }

    // ---- calls ----

    fn reading(&self, account: &Account, side: Side, read: &Read) -> (u64, Started) {
        self.note(format_args!("a{} {side}: {}", account.no, ReadLine(read)));
        let mut state = self.lock();
        let started = state.owed.starts(read);
        match read {
            Read::Ids(ids) => ids.iter().for_each(|id| {
                state.marked.remove(&(account.no, side, id.clone()));
            }),
            Read::All { page: None } => *state.full_reads.entry((account.no, side)).or_default() += 1,
            Read::All { .. } | Read::Changes { .. } | Read::Find(_) | Read::ExternalId(_) => {}
        }
        drop(state);
        (self.takes_off(account, side, Vec::new()), started)
    }

    fn writing(&self, account: &Account, side: Side, writes: &[Write]) -> u64 {
        for write in writes {
            self.note(format_args!("a{} {side}: {}", account.no, WriteLine(write)));
        }
        self.judge(self.look_at_writes(account, side, writes));
        self.takes_off(account, side, writes.iter().map(WriteKey::of).collect())
    }

    fn takes_off(&self, account: &Account, side: Side, keys: Vec<WriteKey>) -> u64 {
        let mut state = self.lock();
        state.next_flight += 1;
        let no = state.next_flight;
        let flights = state.in_flight.entry((account.no, side)).or_default();
        let twice = keys
            .iter()
            .find(|key| flights.iter().any(|flight| flight.keys.iter().any(|other| key.collides(other))))
            .map(|key| key.name.clone());
        flights.push(Flight { no, keys });
        let under_way = flights.len();
        drop(state);
        self.judge(holds(Oracle::SerialWrites, twice.is_none(), || {
            format!("two writes to {side} {} at once", twice.unwrap_or_default())
        }));
        self.judge(holds(Oracle::BoundedResources, under_way <= MOST_CALLS, || {
            format!("{under_way} calls to {side} under way at once")
        }));
        no
    }

    fn lands(&self, account: &Account, side: Side, no: u64) {
        if let Some(flights) = self.lock().in_flight.get_mut(&(account.no, side)) {
            flights.retain(|flight| flight.no != no);
        }
    }

    fn look_at_writes(&self, account: &Account, side: Side, writes: &[Write]) -> Verdict {
        let store = self.lock().store.clone();
        let Some(known) = store.and_then(|store| Known::of(&store, account).ok().flatten()) else { return Ok(()) };
        for write in writes {
            match write {
                Write::Create(create) => {
                    owned(account, side, foreign_texts(side, &create.record).into_iter())?;
                    isolated(account, &create.record)?;
                    known.has_intent_for(create)?;
                }
                Write::Update(update) => {
                    owned(account, side, update.changes.iter().map(changed))?;
                    for value in update.changes.iter().filter_map(|change| change.value.as_ref()) {
                        isolated(account, value)?;
                    }
                }
                Write::Delete(delete) => {
                    owned(account, side, std::iter::empty())?;
                    known.has_intent_to_delete(delete)?;
                    known.partner_is_gone(account, side, delete)?;
                }
            }
        }
        Ok(())
    }
}

/// What a write is about, so that two of them can be told to be about one record.
/// What a write is about.
#[derive(Debug, Clone)]
struct WriteKey {
    name: String,
    /// What a create sends.
    created: Option<(String, Value)>,
}

impl WriteKey {
    fn of(write: &Write) -> Self {
        match write {
            Write::Create(create) => Self {
                name: format!("create {}", create.external_id),
                created: Some((create.idempotency_key.clone(), create.record.clone())),
            },
            Write::Update(update) => Self { name: format!("record {}", update.id), created: None },
            Write::Delete(delete) => Self { name: format!("record {}", delete.id), created: None },
        }
    }

    /// Whether both are about one record. A create that is sent again, byte by byte, while
    /// the first is on its way for an actor that has died, is the same write.
    fn collides(&self, other: &Self) -> bool {
        self.name == other.name && (self.created.is_none() || self.created != other.created)
    }
}

fn changed(change: &Change) -> String {
    change.path.segments().last().cloned().unwrap_or_default()
}

/// The text fields of a created record that hold what was not written on its side
/// before. A record that is made again gets back what its own side had decided.
fn foreign_texts(side: Side, record: &Value) -> Vec<String> {
    let inner = record.get(&Path::key("properties")).unwrap_or(record);
    let own = format!("-{side}");
    let foreign = |field: &str| {
        inner.get(&Path::key(field)).and_then(Value::as_str).is_some_and(|text| !text.to_lowercase().contains(&own))
    };
    TEXTS.into_iter().filter(|field| foreign(field)).map(str::to_owned).collect()
}

/// The fields that are written belong to the other side or to both, and the side is one
/// that the sync writes.
fn owned(account: &Account, side: Side, mut fields: impl Iterator<Item = String>) -> Verdict {
    let written = match account.direction {
        Direction::TwoWay => true,
        Direction::Out => side == Side::Remote,
        Direction::In => side == Side::App,
    };
    holds(Oracle::FieldOwnership, written, || format!("the {side} side of a one-way sync was written"))?;
    let both_ways = account.direction == Direction::TwoWay;
    let own = fields.find(|field| both_ways && account.rules.owner(field) == Some(side));
    holds(Oracle::FieldOwnership, own.is_none(), || format!("{side} owns {}", own.unwrap_or_default()))
}

/// What one account's people write ends in `#` and its number.
fn isolated(account: &Account, value: &Value) -> Verdict {
    let text = value.to_json();
    let foreign = text.split('#').skip(1).find(|rest| {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        !digits.is_empty() && digits != account.no.to_string()
    });
    holds(Oracle::Isolation, foreign.is_none(), || format!("account {} was sent {text}", account.no))
}

/// What the store knows of an account right now.
struct Known {
    snapshot: Snapshot,
    conn: ConnNo,
    sync: SyncNo,
}

impl Known {
    fn of(store: &Store, account: &Account) -> Result<Option<Self>, StoreError> {
        let snapshot = store.snapshot()?;
        let conn = snapshot.find_connection(&account_name(account.no).as_str().into())?;
        let sync = snapshot.find_sync(&SYNC.into())?;
        Ok(conn.zip(sync).map(|(conn, sync)| Self { snapshot, conn, sync }))
    }

    fn has_intent_for(&self, create: &Create) -> Verdict {
        let Ok(intents) = self.snapshot.intents(self.conn) else { return Ok(()) };
        let promised = intents.iter().any(|(_, _, intent)| match &intent.operation {
            IntentOperation::Create { create: promised, .. } => promised.idempotency_key == create.idempotency_key,
            IntentOperation::Delete { .. } => false,
        });
        holds(Oracle::FailClosed, promised, || format!("create {} without a durable intent", create.external_id))
    }

    fn has_intent_to_delete(&self, delete: &Delete) -> Verdict {
        let Ok(intents) = self.snapshot.intents(self.conn) else { return Ok(()) };
        let promised = intents.iter().any(|(_, _, intent)| match &intent.operation {
            IntentOperation::Create { .. } => false,
            IntentOperation::Delete { id } => *id == delete.id,
        });
        holds(Oracle::FailClosed, promised, || format!("delete of {} without a durable intent", delete.id))
    }

    /// A record is deleted only because its partner truly is.
    fn partner_is_gone(&self, account: &Account, side: Side, delete: &Delete) -> Verdict {
        let pair = self.snapshot.pair_by_id(self.conn, self.sync, side, &delete.id).ok().flatten();
        let marker = pair.and_then(|pair| self.snapshot.marker(self.conn, self.sync, pair).ok().flatten());
        let other = side.other();
        let Some(partner) = marker.and_then(|marker| marker.sides[other].id.clone()) else {
            let seen = format!("{side} {} is deleted and had no partner", delete.id);
            return Err(Violation::new(Oracle::AbsenceIsNoDelete, seen));
        };
        let stands = account.apps[other].get(account.objects[other].clone(), partner.clone()).is_some();
        holds(Oracle::AbsenceIsNoDelete, !stands, || {
            format!("{side} {} is deleted though its partner {partner} stands", delete.id)
        })
    }
}

/// The name of the only sync.
pub(super) const SYNC: &str = "contacts";

/// The name of an account's connection.
pub(super) fn account_name(no: usize) -> String {
    format!("account{no}")
}

/// Makes the connectors of one side of an account for one life.
pub(super) struct Gate {
    pub edge: Arc<Edge>,
    pub life: Arc<Life>,
    pub account: usize,
    pub side: Side,
    pub inner: Arc<dyn ConnectorFactory>,
    /// Who tells of what is written.
    pub tellers: Option<Arc<Tellers>>,
}

impl ConnectorFactory for Gate {
    fn make(&self, connection: &ConnectorScope) -> Result<Box<dyn Connector>, ConnectorError> {
        Ok(Box::new(GatedConnector {
            edge: Arc::clone(&self.edge),
            life: Arc::clone(&self.life),
            account: self.account,
            side: self.side,
            inner: self.inner.make(connection)?,
            tellers: self.tellers.clone(),
        }))
    }
}

struct GatedConnector {
    edge: Arc<Edge>,
    life: Arc<Life>,
    account: usize,
    side: Side,
    inner: Box<dyn Connector>,
    tellers: Option<Arc<Tellers>>,
}

/// A call under way; it lands however it ends.
struct Landing<'a> {
    gate: &'a GatedConnector,
    flight: u64,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.gate.edge.lands(self.gate.account(), self.gate.side, self.flight);
    }
}

impl GatedConnector {
    fn account(&self) -> &Account {
        &self.edge.accounts[self.account]
    }

    /// Costs an operation. A process that is dead waits for ever, and one that calls
    /// without end is ended.
    async fn spend(&self) {
        if self.edge.lock().trace.events() > MOST_EVENTS {
            let seen = format!("more than {MOST_EVENTS} calls and answers");
            self.edge.judge(Err(Violation::new(Oracle::Liveness, seen)));
            self.life.end();
        }
        if self.life.spend() {
            pending::<()>().await;
        }
    }

    /// What a call answers, unless the process dies meanwhile; a request that has not
    /// left by then never will.
    async fn outlive<T>(&self, call: impl Future<Output = T>) -> T {
        tokio::select! {
            biased;
            () = self.life.ended() => pending().await,
            answer = call => answer,
        }
    }
}

#[async_trait(?Send)]
impl Connector for GatedConnector {
    fn capabilities(&self, object: &ObjectName) -> Result<Capabilities, ConnectorError> {
        self.inner.capabilities(object)
    }

    async fn read(&self, calls: &Calls, object: &ObjectName, read: Read) -> Result<Page, ConnectorError> {
        self.spend().await;
        let (flight, started) = self.edge.reading(self.account(), self.side, &read);
        let landing = Landing { gate: self, flight };
        let answer = self.outlive(self.inner.read(calls, object, read)).await;
        drop(landing);
        if let Ok(page) = &answer {
            self.edge.lock().owed.answered(self.account, self.side, started, page);
        }
        match &answer {
            Ok(page) if page.entries.is_empty() => self.edge.nothing_new(),
            Ok(page) => self.edge.note(format_args!("a{} {}: {}", self.account, self.side, PageLine(page))),
            Err(error) => {
                self.edge.note(format_args!("a{} {}: {error} ({:?})", self.account, self.side, error.next));
            }
        }
        self.spend().await;
        answer
    }

    async fn write(&self, calls: &Calls, object: &ObjectName, writes: Vec<Write>) -> Vec<Outcome> {
        self.spend().await;
        let flight = self.edge.writing(self.account(), self.side, &writes);
        let landing = Landing { gate: self, flight };
        let outcomes = self.outlive(self.inner.write(calls, object, writes)).await;
        drop(landing);
        for outcome in &outcomes {
            self.edge.note(format_args!("a{} {}: {}", self.account, self.side, OutcomeLine(outcome)));
        }
        if let Some(tellers) = &self.tellers {
            tellers.look();
            if let Some(held) = tellers.before_answer(self.side) {
                self.outlive(tokio::time::sleep(held)).await;
            }
        }
        self.spend().await;
        outcomes
    }
}

// ---- lines for a person ----

struct ReadLine<'a>(&'a Read);
struct WriteLine<'a>(&'a Write);
struct PageLine<'a>(&'a Page);
struct OutcomeLine<'a>(&'a Outcome);

impl std::fmt::Display for ReadLine<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Read::All { page } => write!(f, "read all{}", if page.is_some() { ", next page" } else { "" }),
            Read::Changes { since, page } => {
                write!(f, "read changes since {}{}", since.as_str(), if page.is_some() { ", next page" } else { "" })
            }
            Read::Ids(ids) => {
                f.write_str("read")?;
                ids.iter().try_for_each(|id| write!(f, " {id}"))
            }
            Read::Find(wanted) => {
                f.write_str("find")?;
                wanted.iter().try_for_each(|(path, value)| write!(f, " {path}={}", value.to_json()))
            }
            Read::ExternalId(id) => write!(f, "find external id {id}"),
        }
    }
}

impl std::fmt::Display for WriteLine<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Write::Create(create) => write!(f, "create {} {}", create.external_id, create.record.to_json()),
            Write::Update(update) => {
                write!(f, "update {} at {:?}", update.id, update.expected.as_ref().map(|version| version.as_str()))?;
                update.changes.iter().try_for_each(|change| {
                    write!(f, " {}={}", change.path, change.value.as_ref().map_or("absent".into(), Value::to_json))
                })
            }
            Write::Delete(delete) => {
                write!(f, "delete {} at {:?}", delete.id, delete.expected.as_ref().map(|version| version.as_str()))
            }
        }
    }
}

impl std::fmt::Display for PageLine<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Page { entries, next, cursor, drifted, total: _, again_after_ms: _ } = self.0;
        f.write_str("  got")?;
        for entry in entries {
            match entry {
                Entry::Live(record) => {
                    write!(f, " {}@{}", record.id, record.version.as_ref().map_or("-", |version| version.as_str()))?
                }
                Entry::Deleted { id, .. } => write!(f, " {id}:gone")?,
                Entry::Bad(_) => f.write_str(" bad")?,
            }
        }
        if let Some(cursor) = cursor {
            write!(f, ", cursor {}", cursor.as_str())?;
        }
        f.write_str(if *drifted { ", drifted" } else { "" })?;
        f.write_str(if next.is_some() { ", more" } else { "" })
    }
}

impl std::fmt::Display for OutcomeLine<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Outcome::Written(stored) => {
                write!(f, "  written {}@{}", stored.id, stored.version.as_ref().map_or("-", |version| version.as_str()))
            }
            Outcome::Deleted => f.write_str("  deleted"),
            Outcome::Changed => f.write_str("  has changed"),
            Outcome::Missing => f.write_str("  is missing"),
            Outcome::Duplicate(id) => write!(f, "  duplicate of {id:?}"),
            Outcome::Rejected { reason, .. } => write!(f, "  rejected: {reason}"),
            Outcome::NotSent(error) => write!(f, "  not sent: {error}"),
            Outcome::Unknown(reason) => write!(f, "  unknown: {reason}"),
        }
    }
}
