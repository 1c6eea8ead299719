//! One unit of work: some records from being read to being committed.
//!
//! It changes type as it moves, and each type can only be made from the one before:
//! [`Fetched`] → [`Planned`] → [`Intended`] → [`Written`] → a commit. So what was not
//! written cannot be committed, and no create or delete is sent whose intent is not
//! durable.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use futures_util::{StreamExt, stream};

use crate::actors::core::{Core, LeaseKey, Leases};
use crate::actors::message::Mapped;
use crate::actors::queue::PendingRow;
use crate::actors::recovery;
use crate::connectors::Read;
use crate::model::hash::Digest;
use crate::model::ids::{PairNo, RecordId, SyncNo};
use crate::model::marker::{LinkState, Marker, SideState};
use crate::model::path::Path;
use crate::model::record::{DeletionCause, Entry};
use crate::model::side::{PerSide, Side};
use crate::model::value::Value;
use crate::model::work::{
    Conflict, Intent, IntentOperation, IntentState, Lane, Pending, PendingReason, QuarantineKind, Quarantined, Totals,
};
use crate::model::write::{ConnectorError, Create, Delete, NextStep, Outcome, Stored, Update, Write};
use crate::planted::{self, Bug};
use crate::reconcile::case::{Candidate, Case, Due, Hold, Observation, Partner, Stage, Step};
use crate::reconcile::finish::{self, Finished, IntentFate};
use crate::reconcile::plan::{Effect, Fault, Plan, keep_visible};
use crate::reconcile::sync::BoundSync;
use crate::store::{Commit, Snapshot, StoreError};

/// How often a case may ask for something before it is put off: a read of each side,
/// the index, a search, the partner, and some slack for a record that changes meanwhile.
const MAX_ROUNDS: usize = 8;

/// Among how many waiting records one that nobody has looked at is searched for; where more
/// wait it is taken to be there.
const MOST_LOOKED_AT: usize = 100;

/// How many times a record is tried before it is held back as a dead letter.
pub const MAX_ATTEMPTS: u32 = 10;

/// How soon a record is looked at again that another unit of work has, at least and at
/// most, in milliseconds.
const LEAST_BUSY_MS: u64 = 50;
const MOST_BUSY_MS: u64 = 5_000;

/// How long a record waits, in milliseconds, before it is seen again whether those are still
/// to be looked at which may be its partner: somebody may ask for them before they are due.
const LEAST_UNREAD_MS: u64 = 1_000;
const MOST_UNREAD_MS: u64 = 60_000;

/// Records with the same match key that are looked up; more need not be told apart.
pub const MAX_CANDIDATES: usize = 4;

/// Why a unit of work stopped.
#[derive(Debug)]
pub enum Stop {
    /// A side could not be read.
    Connector(ConnectorError),
    /// The state file could not be read or written; nothing was acknowledged.
    Store(StoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Stop::Store(error)
    }
}

/// What a unit of work came to, once it is durable.
#[derive(Debug, Default)]
pub struct Report {
    /// What it did.
    pub tally: Totals,
    /// Rows it added.
    pub added: Vec<PendingRow>,
    /// Rows it finished.
    pub removed: Vec<(Lane, u64)>,
    /// How many more records are held back than before.
    pub held_back: i64,
    /// New records that wait for the run to read the other side.
    pub held: u64,
    /// A failure that concerns the connection.
    pub trouble: Option<ConnectorError>,
}

/// Records as read, with what the store knows of them.
pub struct Fetched {
    core: Rc<Core>,
    sync: Arc<BoundSync>,
    lane: Lane,
    cases: Vec<Case>,
    rows: HashMap<(Side, RecordId), PendingRow>,
    leases: Leases,
    report: Report,
    commit: Commit,
}

/// Records with a plan each.
pub struct Planned {
    core: Rc<Core>,
    sync: Arc<BoundSync>,
    lane: Lane,
    plans: Vec<Plan>,
    rows: HashMap<(Side, RecordId), PendingRow>,
    leases: Leases,
    report: Report,
    commit: Commit,
}

/// Plans whose creates and deletes are promised durably.
pub struct Intended {
    planned: Planned,
    intents: HashMap<usize, Intent>,
}

/// Plans whose writes have an outcome.
pub struct Written {
    intended: Intended,
    outcomes: Vec<PerSide<Option<Outcome>>>,
}

impl Fetched {
    /// Records read by a run or by id. `rows` are the pending rows they came from;
    /// `read_at` is the write clock from before they were read.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn new(
        core: &Rc<Core>,
        sync: &Arc<BoundSync>,
        side: Side,
        lane: Lane,
        entries: Vec<(Observation, Stage)>,
        rows: Vec<PendingRow>,
        read_at: u64,
    ) -> Result<Self, StoreError> {
        let snapshot = core.snapshot()?;
        let mut fetched = Self {
            core: Rc::clone(core),
            sync: Arc::clone(sync),
            lane,
            cases: Vec::with_capacity(entries.len()),
            rows: rows.into_iter().map(|row| ((row.pending.side, row.pending.id.clone()), row)).collect(),
            leases: core.leases(),
            report: Report::default(),
            commit: core.right.new_commit(),
        };
        let mut seen = HashSet::new();
        let mut entries = entries;
        if planted::is(Bug::OlderEntryWins) {
            entries.reverse();
        }
        // The last of two entries for one record is the newer one.
        for (observation, stage) in entries.into_iter().rev() {
            match entry_id(&observation.entry) {
                Some(id) if !seen.insert(id.clone()) => {}
                Some(id) => fetched.add(&snapshot, side, id, observation, stage, read_at)?,
                None => fetched.hold_back_nameless(&snapshot, side, &observation.entry)?,
            }
        }
        fetched.cases.reverse();
        Ok(fetched)
    }

    fn add(
        &mut self,
        snapshot: &Snapshot,
        side: Side,
        id: RecordId,
        observation: Observation,
        stage: Stage,
        read_at: u64,
    ) -> Result<(), StoreError> {
        let (core, sync) = (Rc::clone(&self.core), Arc::clone(&self.sync));
        let mut case = Case::new(side, id, Some(observation), stage);
        if let Some(row) = self.rows.get(&(side, case.id.clone())) {
            case.attempts = row.pending.attempts;
            case.waited = true;
            case.both = row.pending.reason == PendingReason::Changed || row.pending.reason.is_alone();
            case.force = match row.pending.reason {
                PendingReason::Changed
                | PendingReason::Retry
                | PendingReason::OpenCreate
                | PendingReason::Requested => true,
                PendingReason::StaleRead | PendingReason::AwaitPartner | PendingReason::PartnerUnread => false,
            };
        }
        if let Some(pair) = snapshot.pair_by_id(core.conn, sync.no, side, &case.id)? {
            case.marker = snapshot.marker(core.conn, sync.no, pair)?;
            case.pair = Some(pair);
            let open = core.intents.borrow().get(&(sync.no, pair)).map(|intent| intent.state);
            case.open_write = open.is_some();
            case.parked = open == Some(IntentState::Parked);
        }
        if core.held_back.get() > 0 {
            let held = snapshot.quarantined(core.conn, sync.no, side, case.id.as_str())?;
            case.held_back = held.map(|held| (held.raw_hash, held.kind));
            if let Some(partner) = case.id_on(side.other()) {
                case.partner_held_back =
                    snapshot.quarantined(core.conn, sync.no, side.other(), partner.as_str())?.is_some();
            }
        }
        case.unkeyed_create_open = core.intents.borrow().iter().any(|((no, _), intent)| {
            *no == sync.no
                && intent.target == side
                && matches!(intent.operation, IntentOperation::Create { match_key: None, .. })
        });
        let lease = lease_of(&sync, side, &case.id, case.pair);
        // What was read before our own last write would look like an edit that takes it
        // back.
        let is_live = !matches!(case.seen[side].as_ref().map(|seen| &seen.entry), Some(Entry::Deleted { .. }));
        if !is_live && case.pair.is_none() {
            // It may be one that another unit has just made.
            core.note_gone(sync.no, side, &case.id);
        }
        let stale = case.pair.is_some_and(|pair| core.decided_since(sync.no, pair, read_at))
            || is_live && core.gone_since(sync.no, side, &case.id, read_at);
        let stale = stale && !planted::is(Bug::OwnWriteNotNoticed);
        if !stale && self.leases.take(lease) {
            self.cases.push(case);
        } else {
            self.look_later(side, &case.id, case.pair.is_some(), case.attempts);
        }
        Ok(())
    }

    /// Another unit has a record, or had it; looked at again when that one must be through.
    fn look_later(&mut self, side: Side, id: &RecordId, has_pair: bool, attempts: u32) {
        if !has_pair {
            self.core.note_unlisted(self.sync.no, side, id.clone());
        }
        let after_ms = self.busy_for_ms(side, id);
        let row = self.pending(side, id, PendingReason::Requested, after_ms, attempts);
        self.keep_pending(row);
    }

    /// A record whose id could not be read is held back under the hash of its text.
    fn hold_back_nameless(&mut self, snapshot: &Snapshot, side: Side, entry: &Entry) -> Result<(), StoreError> {
        let Entry::Bad(bad) = entry else { return Ok(()) };
        let name = format!("#{:032x}", bad.raw_hash.0);
        self.report.tally.read += 1;
        if snapshot.quarantined(self.core.conn, self.sync.no, side, &name)?.is_some() {
            return Ok(());
        }
        self.report.tally.quarantined += 1;
        self.report.held_back += 1;
        let held = Quarantined {
            kind: QuarantineKind::Unreadable,
            reason: bad.reason.clone(),
            path: Some(bad.place.clone()),
            raw_hash: Some(bad.raw_hash),
            since_ms: self.core.env.now_ms(),
        };
        self.commit.put_quarantine(self.sync.no, side, &name, &held);
        Ok(())
    }

    /// A pending record that would be read for nothing.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn leave_for_later(&mut self, row: PendingRow, why: NotYet) -> Result<(), StoreError> {
        let (side, id, attempts) = (row.pending.side, row.pending.id.clone(), row.pending.attempts);
        self.rows.insert((side, id.clone()), row);
        match why {
            NotYet::Leased => {
                let pair = self.core.snapshot()?.pair_by_id(self.core.conn, self.sync.no, side, &id)?;
                self.look_later(side, &id, pair.is_some(), attempts);
            }
            NotYet::OthersUnread(for_ms) => {
                let after_ms = for_ms.max(self.waited_ms(side, &id) / 2).clamp(LEAST_UNREAD_MS, MOST_UNREAD_MS);
                let row = self.pending(side, &id, PendingReason::PartnerUnread, after_ms, attempts);
                self.keep_pending(row);
            }
        }
        Ok(())
    }

    /// A pending record could not be read: it is tried again later, or held back when
    /// it was tried too often.
    pub fn put_off_row(&mut self, row: PendingRow, error: ConnectorError) {
        let PendingRow { lane, seq, sync, mut pending, .. } = row;
        self.commit.delete_pending(sync, lane, seq, pending.side, &pending.id);
        self.report.removed.push((lane, seq));
        pending.attempts += 1;
        if pending.attempts >= MAX_ATTEMPTS {
            let held = Quarantined {
                kind: QuarantineKind::DeadLetter,
                reason: format!("it could not be read, tried {} times: {error}", pending.attempts),
                path: None,
                raw_hash: None,
                since_ms: self.core.env.now_ms(),
            };
            self.commit.put_quarantine(sync, pending.side, pending.id.as_str(), &held);
            self.report.tally.quarantined += 1;
            self.report.held_back += 1;
        } else {
            let after_ms = i64::try_from(backoff_ms(pending.attempts)).unwrap_or(i64::MAX);
            pending.due_ms = self.core.env.now_ms().saturating_add(after_ms);
            self.report.added.push(PendingRow { lane, seq: self.core.take_seq(), sync, pending, after_run: 0 });
        }
        self.report.trouble = Some(error);
    }

    fn pending(&self, side: Side, id: &RecordId, reason: PendingReason, after_ms: u64, attempts: u32) -> Pending {
        let now_ms = self.core.env.now_ms();
        let since_ms = self.rows.get(&(side, id.clone())).map_or(now_ms, |row| row.pending.since_ms);
        let due_ms = now_ms.saturating_add(i64::try_from(after_ms).unwrap_or(i64::MAX));
        let reason = reason.in_place_of(self.core.pending_row(self.sync.no, side, id).map(|row| row.reason));
        Pending { side, id: id.clone(), reason, due_ms, since_ms, attempts }
    }

    /// How long to wait for a record that another unit has: half as long again as it has
    /// waited for it, so that looking does not take the calls which that unit needs.
    fn busy_for_ms(&self, side: Side, id: &RecordId) -> u64 {
        (self.waited_ms(side, id) / 2).clamp(LEAST_BUSY_MS, MOST_BUSY_MS)
    }

    fn waited_ms(&self, side: Side, id: &RecordId) -> u64 {
        let since_ms = self.rows.get(&(side, id.clone())).map(|row| row.pending.since_ms);
        let waited_ms = since_ms.map_or(0, |since_ms| self.core.env.now_ms().saturating_sub(since_ms));
        u64::try_from(waited_ms).unwrap_or(0)
    }

    /// Looking again when the other unit must be through.
    fn when_free(&self, side: Side, id: &RecordId) -> Hold {
        Hold { reason: PendingReason::Requested, due: Due::AfterMs(self.busy_for_ms(side, id)) }
    }

    /// Another unit has a record, or another one with its match key.
    fn busy(&self, side: Side, id: &RecordId) -> Effect {
        self.core.note_unlisted(self.sync.no, side, id.clone());
        Effect::Hold(self.when_free(side, id), None)
    }

    fn keep_pending(&mut self, pending: Pending) {
        let row = PendingRow { lane: self.lane, seq: self.core.take_seq(), sync: self.sync.no, pending, after_run: 0 };
        self.report.added.push(row);
    }

    /// Decides about every record, reading what is missing.
    ///
    /// # Errors
    /// When the store cannot be read, or the mapper died.
    pub async fn plan(mut self) -> Result<Planned, Stop> {
        let mut plans = Vec::with_capacity(self.cases.len());
        let mut open = std::mem::take(&mut self.cases);
        for _ in 0..MAX_ROUNDS {
            if open.is_empty() {
                break;
            }
            let mapped = self.core.map(&self.sync, open).await.map_err(Stop::Connector)?;
            let mut asking = Vec::new();
            for mapped in mapped {
                match mapped {
                    Mapped::Stepped(_, Step::Plan(plan)) => plans.push(*plan),
                    Mapped::Stepped(case, step) => asking.push((*case, step)),
                    Mapped::Crashed { case, .. } => plans.push(crashed(&case)),
                }
            }
            open = self.answer(asking, &mut plans).await?;
        }
        for case in open {
            let hold = Hold { reason: PendingReason::Retry, due: Due::AfterMs(1_000) };
            plans.push(Plan::bare(&case, Effect::Hold(hold, keep_visible(&self.sync, &case))));
        }
        self.separate(&mut plans)?;
        self.withdraw_outdated(&mut plans)?;
        self.let_go(&plans);
        let Fetched { core, sync, lane, rows, leases, report, commit, .. } = self;
        Ok(Planned { core, sync, lane, plans, rows, leases, report, commit })
    }

    /// Fetches what each case asked for. A case whose read fails is put off.
    async fn answer(&mut self, asking: Vec<(Case, Step)>, plans: &mut Vec<Plan>) -> Result<Vec<Case>, Stop> {
        let mut open = Vec::with_capacity(asking.len());
        let mut reads: PerSide<Vec<(Case, RecordId)>> = PerSide::default();
        let mut searches = Vec::new();
        {
            let snapshot = self.core.snapshot()?;
            for (mut case, step) in asking {
                match step {
                    Step::Read(side, id) => reads[side].push((case, id)),
                    // One unit at a time decides about a match key: another would not see
                    // yet what this one comes to.
                    Step::Partner(key) if !self.leases.take(LeaseKey::Match(self.sync.no, key)) => {
                        let effect = self.busy(case.origin, &case.id);
                        plans.push(Plan::bare(&case, effect));
                    }
                    Step::Partner(key) => {
                        self.look_up(&snapshot, &mut case, key)?;
                        open.push(case);
                    }
                    Step::Find(side, wanted) => searches.push((case, side, wanted)),
                    Step::Plan(plan) => plans.push(*plan),
                }
            }
        }
        for side in Side::BOTH {
            let reads = std::mem::take(&mut reads[side]);
            self.read_by_id(side, reads, &mut open, plans).await;
        }
        for (case, side, wanted) in searches {
            self.search(case, side, wanted, &mut open, plans).await?;
        }
        Ok(open)
    }

    fn look_up(&self, snapshot: &Snapshot, case: &mut Case, key: Digest) -> Result<(), StoreError> {
        let (conn, no) = (self.core.conn, self.sync.no);
        let target = case.origin.other();
        let mut others = Vec::new();
        for pair in snapshot.pairs_by_match(conn, no, key, target, MAX_CANDIDATES)? {
            if Some(pair) != case.pair {
                others.extend(self.candidate(snapshot, pair, target)?);
            }
        }
        let mut siblings = Vec::new();
        for pair in snapshot.pairs_by_match(conn, no, key, case.origin, MAX_CANDIDATES)? {
            let known = others.iter().any(|other| other.pair == Some(pair));
            if Some(pair) == case.pair || known {
                continue;
            }
            match self.candidate(snapshot, pair, case.origin)? {
                // A create of this key is open: the record may be the one it made.
                Some(sibling) if sibling.open_write => others.push(sibling),
                Some(sibling) => siblings.push(sibling.id),
                None => {}
            }
        }
        // An open create to this side whose source carries the key.
        for ((sync, pair), intent) in self.core.intents.borrow().iter() {
            let same =
                matches!(&intent.operation, IntentOperation::Create { match_key, .. } if *match_key == Some(key));
            let about_us = *sync == no && intent.target == case.origin && Some(*pair) != case.pair;
            if same && about_us && !others.iter().any(|other| other.open_write) {
                let id = case.id.clone();
                others.push(Candidate { id, pair: Some(*pair), marker: None, open_write: true, observation: None });
            }
        }
        case.unread_for_ms = if others.is_empty() { unread_for_ms(&self.core, no, snapshot, target)? } else { None };
        case.partner = Partner::Known { others, siblings, searched: false };
        Ok(())
    }

    fn candidate(&self, snapshot: &Snapshot, pair: PairNo, side: Side) -> Result<Option<Candidate>, StoreError> {
        let Some(marker) = snapshot.marker(self.core.conn, self.sync.no, pair)? else { return Ok(None) };
        let Some(id) = marker.sides[side].id.clone() else { return Ok(None) };
        // A record belongs to the pair its id leads to, and to no other.
        if snapshot.pair_by_id(self.core.conn, self.sync.no, side, &id)? != Some(pair) {
            return Ok(None);
        }
        let open_write = self.core.intents.borrow().contains_key(&(self.sync.no, pair));
        Ok(Some(Candidate { id, pair: Some(pair), marker: Some(marker), open_write, observation: None }))
    }

    async fn read_by_id(
        &mut self,
        side: Side,
        cases: Vec<(Case, RecordId)>,
        open: &mut Vec<Case>,
        plans: &mut Vec<Plan>,
    ) {
        if cases.is_empty() {
            return;
        }
        let ids: Vec<RecordId> = cases.iter().map(|(_, id)| id.clone()).collect();
        let mut found = fetch_ids(&self.core, &self.sync, side, ids, self.lane).await;
        for (mut case, id) in cases {
            match found.remove(&id) {
                Some(Ok(entry)) => {
                    case.seen[side] = Some(Observation::by_id(entry));
                    open.push(case);
                }
                Some(Err(error)) => {
                    plans.push(put_off(&self.sync, &case));
                    self.report.trouble = Some(error);
                }
                None => plans.push(put_off(&self.sync, &case)),
            }
        }
    }

    async fn search(
        &mut self,
        mut case: Case,
        side: Side,
        wanted: Vec<(Path, Value)>,
        open: &mut Vec<Case>,
        plans: &mut Vec<Plan>,
    ) -> Result<(), StoreError> {
        match self.core.fetch(&self.sync, side, Read::Find(wanted), self.lane).await {
            Ok(page) => {
                let snapshot = self.core.snapshot()?;
                let mut others = Vec::new();
                for entry in page.entries {
                    let Entry::Live(record) = &entry else { continue };
                    let id = record.id.clone();
                    let pair = snapshot.pair_by_id(self.core.conn, self.sync.no, side, &id)?;
                    let known = pair.map(|pair| self.candidate(&snapshot, pair, side)).transpose()?.flatten();
                    let observation = Some(Observation::by_id(entry));
                    others.push(match known {
                        Some(known) => Candidate { observation, ..known },
                        None => Candidate { id, pair: None, marker: None, open_write: false, observation },
                    });
                }
                let siblings = match std::mem::replace(&mut case.partner, Partner::NotAsked) {
                    Partner::Known { siblings, .. } => siblings,
                    Partner::NotAsked => Vec::new(),
                };
                case.partner = Partner::Known { others, siblings, searched: true };
                open.push(case);
            }
            Err(error) => {
                plans.push(put_off(&self.sync, &case));
                self.report.trouble = Some(error);
            }
        }
        Ok(())
    }

    /// Two records of one unit that would be created with the same match key, or linked
    /// with the same partner, do not see each other in the index: both are kept as half
    /// markers and looked at again, when they do.
    fn separate(&mut self, plans: &mut [Plan]) -> Result<(), Stop> {
        // As good as one for each lease: no unit gives one up while this does not wait.
        let snapshot = self.core.snapshot()?;
        let mut keys: HashMap<Digest, usize> = HashMap::new();
        let mut pairs: HashMap<PairNo, usize> = HashMap::new();
        for plan in plans.iter() {
            if let Effect::Create(creation) = &plan.effect
                && let Some(key) = creation.match_key
            {
                *keys.entry(key).or_default() += 1;
            }
            for pair in plan.pair.iter().chain(plan.absorbed.iter().map(|(pair, _)| pair)) {
                *pairs.entry(*pair).or_default() += 1;
            }
        }
        for plan in plans {
            let twice = plan.pair.is_some_and(|pair| pairs.get(&pair).is_some_and(|count| *count > 1));
            let hold = Hold { reason: PendingReason::Retry, due: Due::Now };
            if let Effect::Create(creation) = &plan.effect {
                let shared = !planted::is(Bug::SameKeyCreatedTwice)
                    && creation.match_key.is_some_and(|key| keys.get(&key).is_some_and(|count| *count > 1));
                let leased = creation.match_key.is_none_or(|key| self.leases.take(LeaseKey::Match(self.sync.no, key)));
                let is_free = leased && !self.core.has_unlisted(self.sync.no, creation.target);
                let marker = Some(Box::new(creation.marker.clone()));
                if !is_free {
                    plan.effect = Effect::Hold(self.when_free(plan.origin, &plan.id), marker);
                } else if shared || twice {
                    plan.effect = Effect::Hold(hold, marker);
                }
            } else if twice || !self.has_pair_as_read(&snapshot, plan)? || !self.may_name_partner(&snapshot, plan)? {
                plan.effect = Effect::Hold(hold, plan.half.take());
                plan.absorbed = None;
                plan.old = None;
                plan.pair = None;
            }
        }
        Ok(())
    }
}

impl Fetched {
    /// Whether the pair that a plan goes on with is this unit's. One that was found by its
    /// match key was not leased then, and another unit may have had it since: it is this
    /// unit's only as it was found.
    fn has_pair_as_read(&mut self, snapshot: &Snapshot, plan: &Plan) -> Result<bool, StoreError> {
        let Some(pair) = plan.pair else { return Ok(true) };
        let key = LeaseKey::Pair(self.sync.no, pair);
        if self.leases.has(&key) {
            return Ok(true);
        }
        Ok(self.leases.take(key) && snapshot.marker(self.core.conn, self.sync.no, pair)? == plan.old)
    }

    /// Whether a record that a plan links with its own is nobody else's: no other unit
    /// is working on it, and none has given it a pair since it was found.
    fn may_name_partner(&mut self, snapshot: &Snapshot, plan: &Plan) -> Result<bool, StoreError> {
        let marker = match &plan.effect {
            Effect::Keep(Some(marker)) => marker.as_ref(),
            Effect::Update(updates) => &updates.marker,
            Effect::Keep(None)
            | Effect::Half(_)
            | Effect::Create(_)
            | Effect::Delete(_)
            | Effect::Forget
            | Effect::Hold(..)
            | Effect::Quarantine(..)
            | Effect::OutOfScope(_) => return Ok(true),
        };
        let partner = plan.origin.other();
        let known = plan.old.as_ref().and_then(|old| old.sides[partner].id.as_ref());
        let Some(id) = marker.sides[partner].id.as_ref().filter(|id| known != Some(*id)) else { return Ok(true) };
        if !self.leases.take(LeaseKey::Record(self.sync.no, partner, id.clone())) {
            return Ok(false);
        }
        let filed = snapshot.pair_by_id(self.core.conn, self.sync.no, partner, id)?;
        let ours =
            |pair: PairNo| plan.pair == Some(pair) || plan.absorbed.as_ref().is_some_and(|(other, _)| *other == pair);
        Ok(filed.is_none_or(ours))
    }

    /// A new half marker is kept only while nobody else is making or has made a pair of
    /// its record: a create whose answer is being read back names it already.
    fn withdraw_outdated(&mut self, plans: &mut [Plan]) -> Result<(), Stop> {
        let snapshot = self.core.snapshot()?;
        for plan in plans.iter_mut().filter(|plan| plan.pair.is_none()) {
            let half = match &plan.effect {
                Effect::Half(marker) => Some(marker),
                Effect::Hold(_, marker) | Effect::Quarantine(_, marker) => marker.as_ref(),
                Effect::Keep(_)
                | Effect::Update(_)
                | Effect::Create(_)
                | Effect::Delete(_)
                | Effect::Forget
                | Effect::OutOfScope(_) => None,
            };
            let Some(half) = half else { continue };
            let key = half.sides[plan.origin].match_key;
            let is_free = key.is_none_or(|key| self.leases.take(LeaseKey::Match(self.sync.no, key)));
            let paired = snapshot.pair_by_id(self.core.conn, self.sync.no, plan.origin, &plan.id)?.is_some();
            if !is_free || paired {
                plan.effect = self.busy(plan.origin, &plan.id);
                plan.half = None;
            }
        }
        Ok(())
    }
}

impl Fetched {
    /// Records about which nothing will be written or kept are free for others at
    /// once: live work must not wait for the rest of the page.
    fn let_go(&mut self, plans: &[Plan]) {
        for plan in plans {
            if matches!(plan.effect, Effect::Keep(None)) && !plan.released {
                let key = match plan.pair {
                    Some(pair) => LeaseKey::Pair(self.sync.no, pair),
                    None => LeaseKey::Record(self.sync.no, plan.origin, plan.id.clone()),
                };
                self.leases.give_back(&key);
            }
        }
    }
}

impl Planned {
    /// Makes the promises of creates and deletes durable. Before this returns no byte
    /// of them has left.
    ///
    /// # Errors
    /// When the store cannot write; then nothing may be sent.
    pub async fn intend(mut self) -> Result<Intended, Stop> {
        let mut intents = HashMap::new();
        let mut commit = self.core.right.new_commit();
        for index in 0..self.plans.len() {
            if matches!(self.plans[index].effect, Effect::Create(_) | Effect::Delete(_)) {
                let intent = self.promise(index, &mut commit);
                intents.insert(index, intent);
            }
        }
        for plan in &mut self.plans {
            // Before the value is overwritten, so that a crash cannot lose it.
            record_lost(&self.core, self.sync.no, plan, &mut self.leases, &mut commit);
        }
        for row in self.rows.values().filter(|_| planted::is(Bug::PendingRemovedEarly)) {
            commit.delete_pending(row.sync, row.lane, row.seq, row.pending.side, &row.pending.id);
        }
        if !commit.is_empty() {
            self.core.commit(commit).await?;
            for (index, intent) in &intents {
                if let Some(pair) = self.plans[*index].pair {
                    let key = (self.sync.no, pair);
                    self.core.intents.borrow_mut().insert(key, intent.clone());
                    self.core.note_sent(key);
                }
            }
        }
        Ok(Intended { planned: self, intents })
    }

    fn promise(&mut self, index: usize, commit: &mut Commit) -> Intent {
        let core = Rc::clone(&self.core);
        let sync = Arc::clone(&self.sync);
        let plan = &mut self.plans[index];
        let pair = *plan.pair.get_or_insert_with(|| core.take_pair());
        let number = core.take_intent();
        let (target, operation) = match &plan.effect {
            Effect::Create(creation) => {
                put_marker(commit, sync.no, pair, plan.old.as_ref(), &creation.marker);
                plan.old = Some(creation.marker.clone());
                let create = Create {
                    record: creation.record.clone(),
                    idempotency_key: idempotency_key(&core, sync.no, pair, number),
                    external_id: external_id(&core, sync.no, pair),
                };
                let source = plan_source(plan, creation.target);
                (creation.target, IntentOperation::Create { create, source, match_key: creation.match_key })
            }
            Effect::Delete(deletion) => (deletion.target, IntentOperation::Delete { id: deletion.id.clone() }),
            Effect::Keep(_)
            | Effect::Half(_)
            | Effect::Update(_)
            | Effect::Forget
            | Effect::Hold(..)
            | Effect::Quarantine(..)
            | Effect::OutOfScope(_) => unreachable!("only creates and deletes are promised"),
        };
        let opened_ms = core.now().ms;
        let intent =
            Intent { number, target, operation, epoch: core.right.epoch(), opened_ms, state: IntentState::Open };
        if !planted::is(Bug::IntentNotDurable) {
            commit.put_intent(sync.no, pair, &intent);
        }
        intent
    }
}

/// Keeps the values that lose, each where the record that held it leads to. One that no
/// marker knows yet gets its half marker now: whatever comes of the write, and of the
/// record it is to be linked with, its loss can be found.
fn record_lost(core: &Core, sync: SyncNo, plan: &mut Plan, leases: &mut Leases, commit: &mut Commit) {
    if plan.lost.is_empty() || planted::is(Bug::LoserNotRecorded) {
        return;
    }
    let mut file = |half: &Marker| {
        let pair = core.take_pair();
        leases.take(LeaseKey::Pair(sync, pair));
        put_marker(commit, sync, pair, None, half);
        pair
    };
    if let Some(half) = plan.half.take() {
        let own = file(&half);
        if plan.pair.is_none() {
            (plan.pair, plan.old) = (Some(own), Some(*half));
        } else {
            plan.absorbed = Some((own, *half));
        }
    }
    if plan.absorbed.is_none()
        && let Some(half) = new_partner(plan)
    {
        plan.absorbed = Some((file(&half), half));
    }
    let pair = *plan.pair.get_or_insert_with(|| core.take_pair());
    for lost in &plan.lost {
        let holder = match &plan.absorbed {
            Some((own, given_up)) if leads_best(given_up, plan.old.as_ref(), lost.winner.other()) => *own,
            Some(_) | None => pair,
        };
        let holder = if planted::is(Bug::HistoryOfNoPair) { core.take_pair() } else { holder };
        let conflict = Conflict {
            at_ms: core.env.now_ms(),
            field: lost.field.clone(),
            winner: lost.winner,
            lost: lost.lost.as_ref().map(Value::to_json),
            kept: lost.kept.as_ref().map(Value::to_json),
        };
        commit.put_history(sync, holder, core.take_seq(), &conflict);
    }
}

/// Whether it is the marker to be given up that leads to the record of a side, and not the
/// one that goes on: where the link fails, the first is what that record has. It is whole
/// when a record whose partner was deleted is paired anew.
fn leads_best(given_up: &Marker, goes_on: Option<&Marker>, side: Side) -> bool {
    let leads = |marker: &Marker| marker.sides[side].id.is_some();
    given_up.known_half() == Some(side) || leads(given_up) && !goes_on.is_some_and(leads)
}

/// The lease of a record: its pair's, where it has one.
fn lease_of(sync: &BoundSync, side: Side, id: &RecordId, pair: Option<PairNo>) -> LeaseKey {
    pair.map_or_else(|| LeaseKey::Record(sync.no, side, id.clone()), |pair| LeaseKey::Pair(sync.no, pair))
}

/// Why a pending record need not be read yet.
#[derive(Debug, Clone, Copy)]
pub enum NotYet {
    /// Another unit has it.
    Leased,
    /// On the other side wait records that may be its partner; the last is put off for so
    /// many milliseconds.
    OthersUnread(u64),
}

/// Pending rows that need not be read yet.
pub type NotYets = Vec<(PendingRow, NotYet)>;

/// Parts pending rows of one side into those whose records would be read for nothing, and
/// the others: a record in a higher lane could take the calls which those need that it
/// waits for.
///
/// # Errors
/// When the store cannot be read.
pub fn not_yet(core: &Core, sync: &BoundSync, rows: Vec<PendingRow>) -> Result<(NotYets, Vec<PendingRow>), StoreError> {
    let (mut later, mut ready) = (Vec::new(), Vec::new());
    let snapshot = core.snapshot()?;
    let may_be_leased = core.has_leases() && !planted::is(Bug::LeaseNotTaken);
    for row in rows {
        let (side, id) = (row.pending.side, &row.pending.id);
        if may_be_leased {
            let pair = snapshot.pair_by_id(core.conn, sync.no, side, id)?;
            if core.is_leased(&lease_of(sync, side, id, pair)) {
                later.push((row, NotYet::Leased));
                continue;
            }
        }
        let unread = match row.pending.reason {
            PendingReason::PartnerUnread => unread_for_ms(core, sync.no, &snapshot, side.other())?,
            _ => None,
        };
        match unread {
            Some(for_ms) => later.push((row, NotYet::OthersUnread(for_ms))),
            None => ready.push(row),
        }
    }
    Ok((later, ready))
}

/// Whether records of a side wait of which nothing is known: they were listed, and the
/// cursor has passed them, but no unit has come to look at them. And for how long the
/// last of them is put off, in milliseconds.
fn unread_for_ms(core: &Core, sync: SyncNo, snapshot: &Snapshot, side: Side) -> Result<Option<u64>, StoreError> {
    let waiting = snapshot.pending_ids(core.conn, sync, side, MOST_LOOKED_AT)?;
    if waiting.len() == MOST_LOOKED_AT {
        return Ok(Some(0));
    }
    let now_ms = core.env.now_ms();
    let mut longest = None;
    for id in waiting {
        if snapshot.pair_by_id(core.conn, sync, side, &id)?.is_none() {
            let due_ms = core.pending_row(sync, side, &id).map_or(now_ms, |row| row.due_ms);
            longest = longest.max(Some(u64::try_from(due_ms.saturating_sub(now_ms)).unwrap_or(0)));
        }
    }
    Ok(longest)
}

/// The half marker of a record that a plan links with its own and that no marker knows
/// yet, as one found by a search.
fn new_partner(plan: &Plan) -> Option<Marker> {
    let Effect::Update(updates) = &plan.effect else { return None };
    let side = plan.origin.other();
    let known = plan.old.as_ref().is_some_and(|old| old.sides[side].id.is_some());
    let linked = &updates.marker.sides[side];
    let id = linked.id.clone().filter(|_| !known)?;
    let mut half = Marker::new(updates.marker.mapping_hash);
    half.sides[side] = SideState { id: Some(id), match_key: linked.match_key, ..SideState::default() };
    Some(half)
}

/// The source record's id of a create.
fn plan_source(plan: &Plan, target: Side) -> RecordId {
    let marker = plan.old.as_ref().and_then(|marker| marker.sides[target.other()].id.clone());
    marker.unwrap_or_else(|| plan.id.clone())
}

/// The same for every attempt at one create: which kernel, which pair, which promise.
fn idempotency_key(core: &Core, sync: SyncNo, pair: PairNo, number: u32) -> String {
    let text = format!("{}|{}|{sync}|{pair}|{}|{number}", core.store.kernel_id(), core.conn, core.right.epoch());
    Digest::of(text.as_bytes()).to_hex()
}

/// Names the pair outside: fit for a record id, a URL and a text field.
fn external_id(core: &Core, sync: SyncNo, pair: PairNo) -> String {
    let kernel = core.store.kernel_id();
    let short: String = kernel.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
    if planted::is(Bug::ExternalIdOfAnyConnection) {
        return format!("sl-{short}-{sync}-{pair}");
    }
    if planted::is(Bug::ExternalIdOfOneEpoch) {
        return format!("sl-{short}-{}-{sync}-{pair}-{}", core.conn, core.right.epoch());
    }
    format!("sl-{short}-{}-{sync}-{pair}", core.conn)
}

impl Intended {
    /// Sends the writes, several at once, each record's in order.
    pub async fn write(mut self) -> Written {
        let Planned { core, sync, lane, plans, .. } = &self.planned;
        let mut outcomes: Vec<PerSide<Option<Outcome>>> = (0..plans.len()).map(|_| PerSide::default()).collect();
        let calls = self.calls();
        let at_once = Side::BOTH.map(|side| core.calls[side].concurrency()).into_iter().max().unwrap_or(1);
        let answers = stream::iter(calls)
            .map(|call| async move {
                let answers = core.carry(sync, call.side, call.writes, *lane).await;
                (call.side, call.indices, answers)
            })
            .buffer_unordered(at_once)
            .collect::<Vec<_>>()
            .await;
        for (side, indices, answers) in answers {
            for (index, answer) in indices.into_iter().zip(answers) {
                outcomes[index][side] = Some(answer);
            }
        }
        read_back(core, sync, *lane, &mut outcomes).await;
        self.lease_what_was_made(&outcomes).await;
        Written { intended: self, outcomes }
    }

    /// A record that was just made belongs to this unit until it is committed: others
    /// that see it already must not take it for one without a pair.
    async fn lease_what_was_made(&mut self, outcomes: &[PerSide<Option<Outcome>>]) {
        let Planned { core, sync, plans, leases, .. } = &mut self.planned;
        for (plan, outcomes) in plans.iter().zip(outcomes) {
            let Effect::Create(creation) = &plan.effect else { continue };
            let Some(Outcome::Written(stored)) = &outcomes[creation.target] else { continue };
            leases.take_when_free(LeaseKey::Record(sync.no, creation.target, stored.id.clone())).await;
            if let Some(half) = half_of(core, sync.no, creation.target, &stored.id, plan.pair) {
                leases.take_when_free(LeaseKey::Pair(sync.no, half)).await;
            }
        }
    }

    /// The writes, gathered into as few calls as each side takes them in.
    fn calls(&self) -> Vec<WriteCall> {
        let mut groups: HashMap<(Side, u8), Vec<(usize, Write)>> = HashMap::new();
        let mut order = Vec::new();
        for (index, side, write) in self.writes() {
            let kind = match &write {
                Write::Create(_) => 0,
                Write::Update(_) => 1,
                Write::Delete(_) => 2,
            };
            let group = groups.entry((side, kind)).or_insert_with(|| {
                order.push((side, kind));
                Vec::new()
            });
            group.push((index, write));
        }
        let mut calls = Vec::new();
        for key in order {
            let mut group = groups.remove(&key).unwrap_or_default().into_iter().peekable();
            let batch = self.planned.sync.capabilities[key.0].batch.max(1);
            while group.peek().is_some() {
                let (indices, writes) = group.by_ref().take(batch).unzip();
                calls.push(WriteCall { side: key.0, indices, writes });
            }
        }
        calls
    }

    fn writes(&self) -> Vec<(usize, Side, Write)> {
        let mut writes = Vec::new();
        for (index, plan) in self.planned.plans.iter().enumerate() {
            match &plan.effect {
                Effect::Update(updates) => {
                    for side in Side::BOTH {
                        let Some(update) = &updates.writes[side] else { continue };
                        let crate::reconcile::plan::SideUpdate { id, expected, current, changes, .. } = update.clone();
                        writes.push((index, side, Write::Update(Update { id, expected, current, changes })));
                    }
                }
                Effect::Create(creation) => {
                    if let Some(Intent { operation: IntentOperation::Create { create, .. }, .. }) =
                        self.intents.get(&index)
                    {
                        writes.push((index, creation.target, Write::Create(create.clone())));
                    }
                }
                Effect::Delete(deletion) => {
                    let delete = Delete { id: deletion.id.clone(), expected: deletion.expected.clone() };
                    writes.push((index, deletion.target, Write::Delete(delete)));
                }
                Effect::Keep(_)
                | Effect::Half(_)
                | Effect::Forget
                | Effect::Hold(..)
                | Effect::Quarantine(..)
                | Effect::OutOfScope(_) => {}
            }
        }
        writes
    }
}

struct WriteCall {
    side: Side,
    indices: Vec<usize>,
    writes: Vec<Write>,
}

/// Reads back what was written where the answer did not hold the record, because a
/// side may store something else than it was sent.
async fn read_back(core: &Core, sync: &BoundSync, lane: Lane, outcomes: &mut [PerSide<Option<Outcome>>]) {
    for side in Side::BOTH {
        let bare = |outcome: &PerSide<Option<Outcome>>| match &outcome[side] {
            Some(Outcome::Written(Stored { id, body: None, .. })) => Some(id.clone()),
            Some(_) | None => None,
        };
        let ids: Vec<RecordId> = outcomes.iter().filter_map(bare).collect();
        if ids.is_empty() {
            continue;
        }
        let mut found = fetch_ids(core, sync, side, ids, lane).await;
        for outcome in outcomes.iter_mut() {
            let Some(Outcome::Written(stored)) = &mut outcome[side] else { continue };
            // Another version than the write's answer told holds somebody's edit since:
            // taking it for what was stored would swallow that edit.
            if stored.body.is_none()
                && let Some(Ok(Entry::Live(record))) = found.remove(&stored.id)
                && (stored.version.is_none()
                    || stored.version == record.version
                    || planted::is(Bug::ReadBackOfAnyVersion))
            {
                stored.version = record.version;
                stored.modified = record.modified;
                stored.body = Some(record.body);
            }
        }
    }
}

/// Reads records by id, in as few calls as the side takes them in, several at once.
pub async fn fetch_ids(
    core: &Core,
    sync: &BoundSync,
    side: Side,
    ids: Vec<RecordId>,
    lane: Lane,
) -> HashMap<RecordId, Result<Entry, ConnectorError>> {
    let most = sync.capabilities[side].read_ids;
    let mut found = HashMap::with_capacity(ids.len());
    if most == 0 {
        let error = ConnectorError::new(NextStep::Fail, format!("records of the {side} side cannot be read by id"));
        return ids.into_iter().map(|id| (id, Err(error.clone()))).collect();
    }
    let chunks: Vec<Vec<RecordId>> = ids.chunks(most).map(<[RecordId]>::to_vec).collect();
    let at_once = core.calls[side].concurrency().max(1);
    let pages = stream::iter(chunks)
        .map(|chunk| async move {
            let page = core.fetch(sync, side, Read::Ids(chunk.clone()), lane).await;
            (chunk, page)
        })
        .buffer_unordered(at_once)
        .collect::<Vec<_>>()
        .await;
    for (chunk, page) in pages {
        match page {
            Ok(page) => {
                for entry in page.entries {
                    if let Some(id) = entry_id(&entry) {
                        found.insert(id, Ok(entry));
                    }
                }
            }
            Err(error) if error.next == NextStep::TreatAsDeleted && chunk.len() == 1 => {
                let id = chunk[0].clone();
                found.insert(id.clone(), Ok(Entry::Deleted { id, version: None, cause: DeletionCause::NotFound }));
            }
            Err(error) => found.extend(chunk.into_iter().map(|id| (id, Err(error.clone())))),
        }
    }
    for (id, entry) in &found {
        if let Ok(Entry::Deleted { .. }) = entry {
            core.note_gone(sync.no, side, id);
        }
    }
    found
}

impl Written {
    /// Folds the outcomes into one commit and what to remember once it is durable.
    /// Returns them with the leases, which last until then.
    #[must_use]
    pub fn into_commit(self) -> Settled {
        let Written { intended: Intended { planned, .. }, outcomes } = self;
        let Planned { core, sync, lane, plans, rows, leases, report, commit } = planned;
        let mut settling = Settling {
            core,
            sync,
            lane,
            rows,
            report,
            commit,
            closed: Vec::new(),
            unknown: Vec::new(),
            echoes: Vec::new(),
            decided: Vec::new(),
            listed: Vec::new(),
        };
        for (plan, outcome) in plans.into_iter().zip(outcomes) {
            settling.settle(plan, outcome);
        }
        settling.finish(leases)
    }
}

/// A unit of work ready to commit.
pub struct Settled {
    core: Rc<Core>,
    commit: Commit,
    report: Report,
    sync: SyncNo,
    closed: Vec<PairNo>,
    unknown: Vec<(PairNo, Intent)>,
    echoes: Vec<(PairNo, Side)>,
    /// Pairs that were decided, or perhaps written.
    decided: Vec<PairNo>,
    /// Records whose news is accounted for.
    listed: Vec<(Side, RecordId)>,
    _leases: Leases,
}

impl Settled {
    /// The commit, for adding a cursor's move to it.
    pub fn commit_mut(&mut self) -> &mut Commit {
        &mut self.commit
    }

    /// Commits it.
    ///
    /// # Errors
    /// When the store refuses or cannot write; then the connection must be loaded anew,
    /// because its memory is ahead of its state.
    pub async fn commit(self) -> Result<Report, Stop> {
        let Settled { core, commit, report, sync, closed, unknown, echoes, decided, listed, _leases } = self;
        core.commit(commit).await?;
        {
            let mut intents = core.intents.borrow_mut();
            for pair in closed {
                intents.remove(&(sync, pair));
            }
            for (pair, intent) in unknown {
                intents.insert((sync, pair), intent);
            }
        }
        for pair in decided {
            core.note_decided(sync, pair);
        }
        for (pair, side) in echoes {
            core.expect_echo(sync, pair, side);
        }
        for (side, id) in listed {
            core.note_listed(sync, side, &id);
        }
        core.held_back.set(core.held_back.get().saturating_add_signed(report.held_back));
        Ok(report)
    }
}

struct Settling {
    core: Rc<Core>,
    sync: Arc<BoundSync>,
    lane: Lane,
    rows: HashMap<(Side, RecordId), PendingRow>,
    report: Report,
    commit: Commit,
    closed: Vec<PairNo>,
    unknown: Vec<(PairNo, Intent)>,
    echoes: Vec<(PairNo, Side)>,
    decided: Vec<PairNo>,
    listed: Vec<(Side, RecordId)>,
}

impl Settling {
    fn settle(&mut self, mut plan: Plan, outcomes: PerSide<Option<Outcome>>) {
        let now_ms = self.core.env.now_ms();
        let mut tally = plan.tally;
        if tally.unchanged > 0
            && let Some(pair) = plan.pair
            && self.core.is_echo(self.sync.no, pair, plan.origin)
        {
            tally.unchanged -= 1;
            tally.echoes += 1;
        }
        if plan.again {
            tally = Totals { read: 0, unchanged: 0, filtered: 0, ..tally };
        }
        self.report.tally.add(&tally);
        // Before the plan's own row, so that they are looked at first.
        for (side, id) in std::mem::take(&mut plan.nudged) {
            let waiting = self.pending_row(side, &id);
            // One without a partner has no pair in which something could have changed.
            let enough = |row: &Pending| row.reason == PendingReason::Changed || row.reason.is_alone();
            if waiting.as_ref().is_some_and(enough) {
                continue;
            }
            // Its count goes on, so that two which accuse each other do not do so for ever.
            let attempts = waiting.map_or(1, |row| row.attempts.max(1));
            self.look_again(side, &id, PendingReason::Changed, attempts, Some(0), &plan);
        }
        let finished = match &plan.effect {
            Effect::Keep(marker) | Effect::OutOfScope(marker) => {
                Finished { marker: marker.as_deref().cloned(), ..Finished::default() }
            }
            Effect::Half(marker) => {
                self.report.held += 1;
                Finished { marker: Some((**marker).clone()), ..Finished::default() }
            }
            Effect::Forget => {
                self.forget(&plan);
                Finished::default()
            }
            Effect::Hold(hold, marker) => {
                self.hold(&plan, *hold);
                Finished { marker: marker.as_deref().cloned(), ..Finished::default() }
            }
            Effect::Quarantine(fault, marker) => {
                let marker = marker.as_deref().cloned();
                Finished { fault: Some(fault.clone()), marker, ..Finished::default() }
            }
            Effect::Update(updates) => finish::updated(
                &self.sync,
                (plan.origin, &plan.id),
                plan.old.as_ref(),
                updates,
                outcomes,
                self.core.now().ms,
            ),
            Effect::Create(creation) => {
                let outcome = take_outcome(outcomes, creation.target);
                finish::created(&self.sync, (plan.origin, &plan.id), creation, &outcome, self.core.now().ms)
            }
            Effect::Delete(deletion) => {
                let outcome = take_outcome(outcomes, deletion.target);
                finish::deleted((plan.origin, &plan.id), deletion, &outcome)
            }
        };
        if !matches!(plan.effect, Effect::Hold(_, None)) {
            self.listed.push((plan.origin, plan.id.clone()));
        }
        self.keep(&mut plan, finished, now_ms);
        self.finish_row(&plan);
    }

    fn keep(&mut self, plan: &mut Plan, finished: Finished, now_ms: i64) {
        let Finished { marker, again, fault, intent, tally, trouble } = finished;
        self.report.tally.add(&tally);
        if let Some(trouble) = trouble {
            self.report.trouble = Some(trouble);
        }
        self.keep_intent(plan, intent);
        let done = again.is_empty() && intent == IntentFate::Close;
        if marker.is_none()
            && let Some(half) = plan.half.take()
        {
            put_marker(&mut self.commit, self.sync.no, self.core.take_pair(), None, &half);
        }
        // A write whose answer was lost may have been carried out, whatever is known of the pair.
        let writes = matches!(plan.effect, Effect::Update(_) | Effect::Create(_) | Effect::Delete(_));
        self.decided.extend(plan.pair.filter(|_| writes && marker.is_none()));
        if let Some(marker) = marker {
            let pair = *plan.pair.get_or_insert_with(|| self.core.take_pair());
            if let Some((absorbed, old)) = plan.absorbed.take() {
                drop_marker(&mut self.commit, self.sync.no, absorbed, &old);
                move_history(&self.core, self.sync.no, absorbed, pair, &mut self.commit);
            }
            if let Effect::Create(creation) = &plan.effect {
                self.give_up_half_of(creation.target, &marker, pair);
                self.look_at_what_is_gone(creation.target, &marker, plan);
            }
            put_marker(&mut self.commit, self.sync.no, pair, plan.old.as_ref(), &marker);
            // A half marker decides nothing between two sides, and is renewed with each look: two
            // lanes would keep putting each other off.
            if !matches!(marker.state, LinkState::Half) && plan.old.as_ref() != Some(&marker) {
                self.decided.push(pair);
            }
            self.look_at_rivals(pair, Some(&marker), plan);
            for side in Side::BOTH {
                if tally.created[side] + tally.updated[side] + tally.deleted[side] > 0 {
                    self.echoes.push((pair, side));
                }
            }
        }
        for again in again {
            let attempts = plan.attempts + u32::from(again.failed);
            self.look_again(again.side, &again.id, again.reason, attempts, None, plan);
        }
        match fault {
            Some(fault) => self.hold_back(plan, &fault, now_ms),
            None if plan.released && done => {
                self.commit.delete_quarantine(self.sync.no, plan.origin, plan.id.as_str());
                self.report.held_back -= 1;
            }
            None => {}
        }
    }

    /// Another unit may have seen the record that was just made, and kept it as a half
    /// marker.
    fn give_up_half_of(&mut self, side: Side, marker: &Marker, pair: PairNo) {
        let Some(id) = &marker.sides[side].id else { return };
        if let Err(error) = give_up_half(&self.core, self.sync.no, side, id, pair, &mut self.commit) {
            tracing::warn!(connection.id = %self.core.id, record.id = %id, "whether it has a half marker is unknown: {error}");
        }
    }

    /// A record that was just made may be gone again already, and whoever saw that knew of
    /// no pair.
    fn look_at_what_is_gone(&mut self, side: Side, marker: &Marker, plan: &Plan) {
        let Some(id) = &marker.sides[side].id else { return };
        if self.core.gone_since(self.sync.no, side, id, 0) {
            self.look_again(side, id, PendingReason::Requested, 0, Some(0), plan);
        }
    }

    fn keep_intent(&mut self, plan: &Plan, fate: IntentFate) {
        let promised = matches!(plan.effect, Effect::Create(_) | Effect::Delete(_));
        let Some(pair) = plan.pair.filter(|_| promised) else { return };
        match fate {
            IntentFate::Close => {
                self.commit.delete_intent(self.sync.no, pair);
                self.closed.push(pair);
            }
            IntentFate::Unknown => {
                let open = self.core.intents.borrow().get(&(self.sync.no, pair)).cloned();
                if let Some(mut intent) = open {
                    intent.state = IntentState::Unknown;
                    self.commit.put_intent(self.sync.no, pair, &intent);
                    self.unknown.push((pair, intent));
                }
            }
        }
    }

    fn forget(&mut self, plan: &Plan) {
        if let (Some(pair), Some(old)) = (plan.pair, &plan.old) {
            drop_marker(&mut self.commit, self.sync.no, pair, old);
            self.look_at_rivals(pair, None, plan);
        }
    }

    /// A pair gives up its match key: a record that was held back because of it may have
    /// its place now.
    fn look_at_rivals(&mut self, pair: PairNo, new: Option<&Marker>, plan: &Plan) {
        let Some(old) = plan.old.as_ref().filter(|_| self.core.held_back.get() > 0) else { return };
        let left: BTreeSet<Digest> = Side::BOTH
            .into_iter()
            .filter(|side| new.and_then(|new| new.sides[*side].match_key) != old.sides[*side].match_key)
            .filter_map(|side| old.sides[side].match_key)
            .collect();
        for key in left {
            match self.rivals(pair, key) {
                Ok(rivals) => {
                    for (side, id) in rivals {
                        self.look_again(side, &id, PendingReason::Requested, 1, Some(0), plan);
                    }
                }
                Err(error) => {
                    tracing::warn!(connection.id = %self.core.id, "who waits for a match key is unknown: {error}");
                }
            }
        }
    }

    /// Records held back that have no partner and carry a match key.
    fn rivals(&self, pair: PairNo, key: Digest) -> Result<Vec<(Side, RecordId)>, StoreError> {
        let (conn, no) = (self.core.conn, self.sync.no);
        let snapshot = self.core.snapshot()?;
        let mut rivals = Vec::new();
        for side in Side::BOTH {
            for other in snapshot.pairs_by_match(conn, no, key, side, MAX_CANDIDATES)? {
                let marker = snapshot.marker(conn, no, other)?.filter(|marker| marker.known_half() == Some(side));
                let Some(id) = marker.and_then(|marker| marker.sides[side].id.clone()) else { continue };
                if other != pair && snapshot.quarantined(conn, no, side, id.as_str())?.is_some() {
                    rivals.push((side, id));
                }
            }
        }
        Ok(rivals)
    }

    fn hold(&mut self, plan: &Plan, hold: Hold) {
        let failed = u32::from(hold.reason == PendingReason::Retry);
        let attempts = plan.attempts + failed;
        let after_ms = match hold.due {
            Due::Now => Some(0),
            Due::AfterMs(after_ms) => Some(after_ms),
            Due::AfterRun => Some(0),
            Due::WithOpenCreate => Some(self.recovery_delay_ms(plan)),
        };
        self.look_again(plan.origin, &plan.id, hold.reason, attempts, after_ms, plan);
    }

    /// How long until the open write a record waits for must be closed: its recovery
    /// time, looked at again a little after.
    fn recovery_delay_ms(&self, plan: &Plan) -> u64 {
        let intents = self.core.intents.borrow();
        let left = |pair: PairNo, intent: &Intent| recovery::left_ms(&self.core, &self.sync, pair, intent);
        let mine = plan.pair.and_then(|pair| Some(left(pair, intents.get(&(self.sync.no, pair))?)));
        // A record without a pair waits for any create that may have made it.
        let any = || {
            let here = intents.iter().filter(|((sync, _), intent)| {
                *sync == self.sync.no && intent.target == plan.origin && intent.state != IntentState::Parked
            });
            here.map(|((_, pair), intent)| left(*pair, intent)).min()
        };
        mine.or_else(any).map_or(1_000, |left_ms| left_ms.saturating_add(250)).clamp(250, 60_000)
    }

    /// The row by which a record is to be looked at already, whatever comes of this unit.
    fn pending_row(&self, side: Side, id: &RecordId) -> Option<Pending> {
        let is_ours = self.rows.contains_key(&(side, id.clone()));
        if is_ours { None } else { self.core.pending_row(self.sync.no, side, id) }
    }

    fn look_again(
        &mut self,
        side: Side,
        id: &RecordId,
        reason: PendingReason,
        attempts: u32,
        after_ms: Option<u64>,
        plan: &Plan,
    ) {
        let now_ms = self.core.env.now_ms();
        if attempts >= MAX_ATTEMPTS && !planted::is(Bug::EndlessRetries) {
            let fault = Fault {
                kind: QuarantineKind::DeadLetter,
                reason: format!("{side} record {id} was tried {attempts} times without success"),
                path: None,
            };
            self.hold_back(plan, &fault, now_ms);
            return;
        }
        let after_ms = after_ms.unwrap_or_else(|| backoff_ms(attempts));
        let since_ms = self.rows.get(&(side, id.clone())).map_or(now_ms, |row| row.pending.since_ms);
        let due_ms = now_ms.saturating_add(i64::try_from(after_ms).unwrap_or(i64::MAX));
        let reason = reason.in_place_of(self.core.pending_row(self.sync.no, side, id).map(|row| row.reason));
        let pending = Pending { side, id: id.clone(), reason, due_ms, since_ms, attempts };
        let row = PendingRow { lane: self.lane, seq: self.core.take_seq(), sync: self.sync.no, pending, after_run: 0 };
        self.report.added.push(row);
    }

    fn hold_back(&mut self, plan: &Plan, fault: &Fault, now_ms: i64) {
        let held = Quarantined {
            kind: fault.kind,
            reason: fault.reason.clone(),
            path: fault.path.clone(),
            raw_hash: plan.raw_hash,
            since_ms: now_ms,
        };
        self.commit.put_quarantine(self.sync.no, plan.origin, plan.id.as_str(), &held);
        self.listed.push((plan.origin, plan.id.clone()));
        if !plan.was_held_back {
            self.report.tally.quarantined += 1;
            self.report.held_back += 1;
        }
        tracing::warn!(
            connection.id = %self.core.id,
            sync = %self.sync.name,
            side = %plan.origin,
            record.id = %plan.id,
            kind = fault.kind.as_str(),
            "record held back: {}",
            fault.reason
        );
    }

    /// The pending row this record came from is done with; what is still to do has got
    /// a row of its own.
    fn finish_row(&mut self, plan: &Plan) {
        if let Some(row) = self.rows.remove(&(plan.origin, plan.id.clone())) {
            self.commit.delete_pending(row.sync, row.lane, row.seq, row.pending.side, &row.pending.id);
            self.report.removed.push((row.lane, row.seq));
        }
    }

    fn finish(mut self, leases: Leases) -> Settled {
        for row in self.rows.into_values() {
            // Named by the row, but nothing was read for it: the row stays.
            tracing::debug!(connection.id = %self.core.id, record.id = %row.pending.id, "pending record was not answered");
        }
        for row in &self.report.added {
            self.commit.put_pending(row.sync, row.lane, row.seq, &row.pending);
        }
        let totals = {
            let mut totals = self.core.totals.borrow_mut();
            let entry = totals.entry(self.sync.no).or_default();
            entry.add(&self.report.tally);
            *entry
        };
        if !self.commit.is_empty() || self.report.tally.writes() > 0 {
            self.commit.put_totals(self.sync.no, &totals);
        }
        Settled {
            core: self.core,
            commit: self.commit,
            report: self.report,
            sync: self.sync.no,
            closed: self.closed,
            unknown: self.unknown,
            echoes: self.echoes,
            decided: self.decided,
            listed: self.listed,
            _leases: leases,
        }
    }
}

/// The pause before another try of one record: 1 s doubled for each failure, at most
/// five minutes.
#[must_use]
pub fn backoff_ms(attempts: u32) -> u64 {
    if attempts == 0 { 0 } else { 1_000_u64.saturating_mul(1 << (attempts - 1).min(20)).min(300_000) }
}

fn take_outcome(mut outcomes: PerSide<Option<Outcome>>, side: Side) -> Outcome {
    outcomes[side].take().unwrap_or_else(|| Outcome::Unknown("no outcome was reported".to_owned()))
}

/// Stores a marker and keeps its index rows true.
pub fn put_marker(commit: &mut Commit, sync: SyncNo, pair: PairNo, old: Option<&Marker>, new: &Marker) {
    if planted::is(Bug::TombDropped)
        && let (LinkState::Tomb { .. }, Some(old)) = (&new.state, old)
    {
        return drop_marker(commit, sync, pair, old);
    }
    for side in Side::BOTH {
        let before = old.map(|old| &old.sides[side]);
        let after = &new.sides[side];
        let (old_id, new_id) = (before.and_then(|state| state.id.as_ref()), after.id.as_ref());
        if old_id != new_id {
            if let Some(id) = old_id {
                commit.delete_id(sync, side, id);
            }
            if let Some(id) = new_id {
                commit.put_id(sync, side, id, pair);
            }
        }
        let (old_key, new_key) = (before.and_then(|state| state.match_key), after.match_key);
        if old_key != new_key {
            if let Some(key) = old_key {
                commit.delete_match(sync, key, side, pair);
            }
            if let Some(key) = new_key {
                commit.put_match(sync, key, side, pair);
            }
        }
    }
    if old != Some(new) {
        commit.put_marker(sync, pair, new);
    }
}

/// The pair that a record was given as one that nobody knew, other than its own.
#[must_use]
pub fn half_of(core: &Core, sync: SyncNo, side: Side, id: &RecordId, own: Option<PairNo>) -> Option<PairNo> {
    let filed = core.snapshot().and_then(|snapshot| snapshot.pair_by_id(core.conn, sync, side, id));
    filed.ok().flatten().filter(|filed| Some(*filed) != own)
}

/// Gives up the half marker of a record that belongs to another pair.
///
/// # Errors
/// When the store cannot be read.
pub fn give_up_half(
    core: &Core,
    sync: SyncNo,
    side: Side,
    id: &RecordId,
    pair: PairNo,
    commit: &mut Commit,
) -> Result<(), StoreError> {
    let snapshot = core.snapshot()?;
    if let Some(other) = snapshot.pair_by_id(core.conn, sync, side, id)?
        && other != pair
        && let Some(half) = snapshot.marker(core.conn, sync, other)?
        && half.known_half() == Some(side)
    {
        drop_marker(commit, sync, other, &half);
        move_history(core, sync, other, pair, commit);
    }
    Ok(())
}

/// What was lost under a pair that is given up is kept under the one that goes on.
fn move_history(core: &Core, sync: SyncNo, from: PairNo, to: PairNo, commit: &mut Commit) {
    match core.snapshot().and_then(|snapshot| snapshot.history(core.conn, sync, from)) {
        Ok(history) => {
            for (seq, conflict) in history {
                commit.put_history(sync, to, seq, &conflict);
            }
        }
        Err(error) => tracing::warn!(connection.id = %core.id, "history of a joined pair stays behind: {error}"),
    }
}

/// Gives a marker up with its index rows.
pub fn drop_marker(commit: &mut Commit, sync: SyncNo, pair: PairNo, old: &Marker) {
    for side in Side::BOTH {
        if let Some(id) = &old.sides[side].id {
            commit.delete_id(sync, side, id);
        }
        if let Some(key) = old.sides[side].match_key {
            commit.delete_match(sync, key, side, pair);
        }
    }
    commit.delete_marker(sync, pair);
}

/// The id of an entry, where it could be read.
#[must_use]
pub fn entry_id(entry: &Entry) -> Option<RecordId> {
    match entry {
        Entry::Live(record) => Some(record.id.clone()),
        Entry::Deleted { id, .. } => Some(id.clone()),
        Entry::Bad(bad) => bad.id.clone(),
    }
}

fn put_off(sync: &BoundSync, case: &Case) -> Plan {
    let hold = Hold { reason: PendingReason::Retry, due: Due::AfterMs(backoff_ms(case.attempts + 1)) };
    Plan::bare(case, Effect::Hold(hold, keep_visible(sync, case)))
}

fn crashed(case: &Case) -> Plan {
    let fault = Fault {
        kind: QuarantineKind::Crashed,
        reason: format!("mapping {} record {} crashed; this is a bug in syncline", case.origin, case.id),
        path: None,
    };
    Plan::bare(case, Effect::Quarantine(fault, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker(state: LinkState, app: Option<&str>, remote: Option<&str>) -> Marker {
        let mut marker = Marker::new(Digest::of(b"mapping"));
        marker.state = state;
        marker.sides.app.id = app.map(Into::into);
        marker.sides.remote.id = remote.map(Into::into);
        marker
    }

    #[test]
    fn a_loss_is_kept_where_its_record_leads_to_if_the_link_fails() {
        let orphan = marker(LinkState::Linked, Some("a"), Some("gone"));
        let taker = marker(LinkState::Half, None, Some("new"));
        assert!(leads_best(&orphan, Some(&taker), Side::App), "the taker's pair knows no app record yet");
        assert!(!leads_best(&orphan, Some(&taker), Side::Remote), "the orphan's pair knows another");
        assert!(leads_best(&taker, Some(&orphan), Side::Remote), "its own half, though the other has an id");
        assert!(!leads_best(&taker, Some(&orphan), Side::App));
        let half = marker(LinkState::Half, Some("a"), None);
        assert!(leads_best(&half, Some(&taker), Side::App));
    }
}
