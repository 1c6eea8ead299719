//! What came of the writes becomes one commit.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use crate::actors::core::{Core, Leases};
use crate::actors::queue::PendingRow;
use crate::actors::recovery;
use crate::model::hash::Digest;
use crate::model::ids::{PairNo, RecordId, SyncNo};
use crate::model::marker::{LinkState, Marker};
use crate::model::side::{PerSide, Side};
use crate::model::work::{Intent, IntentState, Lane, Pending, PendingReason, QuarantineKind, Quarantined, Totals};
use crate::model::write::Outcome;
use crate::planted::{self, Bug};
use crate::reconcile::case::{Due, Hold};
use crate::reconcile::finish;
use crate::reconcile::finish::{Finished, IntentFate};
use crate::reconcile::plan::{Effect, Fault, Plan};
use crate::reconcile::reference::{Awaited, LinkKey, Linked};
use crate::reconcile::sync::BoundSync;
use crate::store::{Commit, StoreError};

use super::markers::{drop_marker, give_up_half, put_marker};
use super::{Intended, MAX_ATTEMPTS, MAX_CANDIDATES, Planned, Report, Stop, Written, waited_ms};

/// How long a record waits, in milliseconds, before it is seen again whether those that it names
/// are linked, at least and at most.
const LEAST_UNLINKED_MS: u64 = 300_000;
/// See [`LEAST_UNLINKED_MS`].
const MOST_UNLINKED_MS: u64 = 21_600_000;

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
        let mut finished = match &plan.effect {
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
        if let (Some(_), Some(marker)) = (&plan.awaited, &mut finished.marker) {
            marker.vouch_for_neither_side();
        }
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
        let marked = marker.is_some() || matches!(plan.effect, Effect::Keep(None));
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
            self.note_linked(plan.old.as_ref(), &marker);
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
        // Where it is not written, it is looked at again anyhow, and finds out anew what it awaits.
        if let Some(awaited) = plan.awaited.take().filter(|_| marked || matches!(plan.effect, Effect::Hold(..))) {
            self.await_links(awaited, plan);
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

    /// Others may name the records of a pair that has just been linked.
    fn note_linked(&mut self, old: Option<&Marker>, new: &Marker) {
        if !self.core.is_referred_to(self.sync.no) || !matches!(new.state, LinkState::Linked) {
            return;
        }
        for side in Side::BOTH {
            let Some(id) = &new.sides[side].id else { continue };
            let partner = |marker: &Marker| Linked::of(marker, side).filter(|linked| linked.stands);
            let was = old.filter(|old| old.sides[side].id.as_ref() == Some(id)).and_then(partner);
            if was != partner(new) {
                self.report.linked.push(LinkKey { sync: self.sync.no, side, id: id.clone() });
            }
        }
    }

    /// A record that names others waits until one of them is linked. As what could link them may
    /// go unnoticed, it is looked at now and then in any case: less often the longer it waits.
    fn await_links(&mut self, awaited: Awaited, plan: &Plan) {
        let Awaited { side, id, keys } = awaited;
        let waited_ms = waited_ms(&self.rows, side, &id, self.core.env.now_ms());
        let after_ms = (waited_ms / 2).clamp(LEAST_UNLINKED_MS, MOST_UNLINKED_MS);
        self.look_again(side, &id, PendingReason::Unlinked, plan.attempts, Some(after_ms), plan);
        if let Some(row) = self.report.added.last_mut().filter(|row| row.pending.id == id) {
            row.names = keys;
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
            // With what it awaits, below.
            Due::WhenLinked => return,
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
        // One that has no partner yet awaits what it did before.
        let is_undecided = reason == PendingReason::AwaitPartner;
        let lost = plan.old.as_ref().and_then(|old| old.sides[plan.origin.other()].id.clone());
        let own = self.rows.get(&(side, id.clone())).filter(|row| is_undecided && row.lost == lost);
        let awaits = own.and_then(|row| row.awaits_then(reason));
        let row = PendingRow::new(self.lane, self.core.take_seq(), self.sync.no, pending);
        let row = PendingRow { awaits, lost, is_undecided, ..row };
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

/// What was lost under a pair that is given up is kept under the one that goes on.
pub(super) fn move_history(core: &Core, sync: SyncNo, from: PairNo, to: PairNo, commit: &mut Commit) {
    match core.snapshot().and_then(|snapshot| snapshot.history(core.conn, sync, from)) {
        Ok(history) => {
            for (seq, conflict) in history {
                commit.put_history(sync, to, seq, &conflict);
            }
        }
        Err(error) => tracing::warn!(connection.id = %core.id, "history of a joined pair stays behind: {error}"),
    }
}
