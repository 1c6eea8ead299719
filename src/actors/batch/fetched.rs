//! What was read becomes cases, and each case a plan: what the mapper asks for is fetched
//! until it has decided.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use crate::actors::core::{Core, LeaseKey};
use crate::actors::message::Mapped;
use crate::actors::queue::PendingRow;
use crate::connectors::Read;
use crate::model::hash::Digest;
use crate::model::ids::{PairNo, RecordId};
use crate::model::path::Path;
use crate::model::record::Entry;
use crate::model::side::{PerSide, Side};
use crate::model::value::Value;
use crate::model::work::{IntentOperation, IntentState, Lane, Pending, PendingReason, QuarantineKind, Quarantined};
use crate::model::write::ConnectorError;
use crate::planted::{self, Bug};
use crate::reconcile::case::{Candidate, Case, Due, Hold, Observation, Partner, Stage, Step};
use crate::reconcile::plan::{Effect, Fault, Plan, keep_visible};
use crate::reconcile::sync::BoundSync;
use crate::store::{Snapshot, StoreError};

use super::reads::{LEAST_BUSY_MS, LEAST_UNREAD_MS, MOST_BUSY_MS, MOST_UNREAD_MS, NotYet, fetch_ids, unread_for_ms};
use super::settled::backoff_ms;
use super::{Fetched, MAX_ATTEMPTS, MAX_CANDIDATES, Planned, Report, Stop, entry_id, waited_ms};

/// How often a case may ask for something before it is put off: a read of each side,
/// the index, a search, the partner, the links of what it names, and some slack for a record
/// that changes meanwhile.
const MAX_ROUNDS: usize = 10;

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
            case.both = row.pending.reason == PendingReason::Changed || row.pending.reason.is_open();
            case.force = match row.pending.reason {
                PendingReason::Changed
                | PendingReason::Retry
                | PendingReason::OpenCreate
                | PendingReason::Unlinked
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
        let alone = self.rows.get(&(side, case.id.clone())).map(|row| row.is_still_alone(case.id_on(side.other())));
        if alone == Some(false) && case.stage == Stage::Create && !planted::is(Bug::PartnerNotAwaited) {
            case.stage = Stage::Prove;
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
        let PendingRow { lane, seq, sync, mut pending, awaits, lost, .. } = row;
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
            self.report.added.push(PendingRow {
                awaits,
                lost,
                ..PendingRow::new(lane, self.core.take_seq(), sync, pending)
            });
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
        waited_ms(&self.rows, side, id, self.core.env.now_ms())
    }

    /// Looking again when the other unit must be through.
    fn when_free(&self, side: Side, id: &RecordId) -> Hold {
        Hold { reason: PendingReason::Requested, due: Due::AfterMs(self.busy_for_ms(side, id)) }
    }

    /// Another unit has a record, or another one with its match key.
    pub(super) fn busy(&self, side: Side, id: &RecordId) -> Effect {
        self.core.note_unlisted(self.sync.no, side, id.clone());
        Effect::Hold(self.when_free(side, id), None)
    }

    fn keep_pending(&mut self, pending: Pending) {
        let own = self.rows.get(&(pending.side, pending.id.clone()));
        let awaits = own.and_then(|row| row.awaits_then(pending.reason));
        let lost = own.and_then(|row| row.lost.clone());
        let row = PendingRow::new(self.lane, self.core.take_seq(), self.sync.no, pending);
        let row = PendingRow { awaits, lost, is_undecided: true, ..row };
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
                    Step::Links(keys) => {
                        for key in keys {
                            let linked = self.core.linked(&snapshot, &key)?;
                            case.links.note(key, linked);
                        }
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
                let sought = case.seen[side.other()].as_ref().and_then(|seen| seen.fields.as_ref()?.as_ref().ok());
                for entry in page.entries {
                    let Entry::Live(record) = &entry else { continue };
                    if sought.is_some_and(|sought| self.sync.mapping.is_found_besides(side, sought, &record.body)) {
                        continue;
                    }
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

/// The lease of a record: its pair's, where it has one.
pub(super) fn lease_of(sync: &BoundSync, side: Side, id: &RecordId, pair: Option<PairNo>) -> LeaseKey {
    pair.map_or_else(|| LeaseKey::Record(sync.no, side, id.clone()), |pair| LeaseKey::Pair(sync.no, pair))
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
