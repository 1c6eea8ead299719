//! The inbox as its connection sees it: which hints become pending rows, which become a
//! read of a whole object, and which are covered by what is waiting already.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::actors::queue::PendingQueue;
use crate::actors::share::HintShare;
use crate::actors::told::ToldRecords;
use crate::model::budget::Window;
use crate::model::hint::Hint;
use crate::model::ids::{ConnNo, RecordId, SyncNo};
use crate::model::side::{PerSide, Side};
use crate::model::work::{Lane, PendingReason};
use crate::planted::{self, Bug};
use crate::reconcile::sync::BoundSync;
use crate::store::{Snapshot, StoreError};

/// How many hints are taken out of the inbox in one go.
const HINTS_AT_ONCE: usize = 500;

/// How many hinted records of one side of a sync may wait to be read one by one. Beyond
/// it one read of the side's changes costs fewer calls, and what was never a record of
/// that side costs none.
const MOST_HINTED: usize = 200;

/// How long until hints are looked at again that found no room, in milliseconds.
const ROOM_MS: i64 = 100;

/// How long a record is put off at most while hints for it keep coming, as a multiple of
/// its delay.
const MOST_DELAYS: i64 = 10;

/// Hints that ask for a read of a side's changes. They stay in the store until a run
/// that has started after them has ended.
#[derive(Debug, Default)]
pub struct Inbox {
    objects: BTreeMap<u64, Waiting>,
    /// Hints that stay where they are for now, as too many records wait and a list would not
    /// show what these are about.
    later: BTreeSet<u64>,
    /// When to look at them again, in milliseconds since 1970.
    again_ms: Option<i64>,
    /// Some hints are being taken out; `true` where more have come since.
    pub emptying: Option<bool>,
    /// The last look did not reach the end.
    pub has_more: bool,
    /// Texts of records that wait for their turn.
    pub told: ToldRecords,
    /// How many records webhooks may still have read one by one, for each side of a sync.
    shares: BTreeMap<(SyncNo, Side), HintShare>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Waiting {
    hint: Hint,
    /// The syncs that are still to read it, and whether a run of them has begun since.
    syncs: BTreeMap<SyncNo, bool>,
}

/// What is made of one record's hint under one sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The sync.
    pub sync: SyncNo,
    /// The record's side.
    pub side: Side,
    /// The record.
    pub id: RecordId,
    /// The lane.
    pub lane: Lane,
    /// When it is due, in milliseconds since 1970.
    pub due_ms: i64,
    /// Since when it waits, in milliseconds since 1970.
    pub since_ms: i64,
    /// How long it is put off after each hint, in milliseconds.
    delay_ms: i64,
    /// The record as its only hint told it.
    pub told: Option<String>,
}

/// What is made of some hints.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sorted {
    /// Records to be looked at; at most one mark for each record of a sync.
    pub marks: Vec<Mark>,
    /// Syncs to be run, each in a lane.
    pub runs: BTreeMap<SyncNo, Lane>,
    /// Hints that need not be kept.
    pub done: Vec<u64>,
    /// Hints that are to be kept as hints for their whole object: others are covered by them
    /// now, and must be after a restart, too, when one of a record might be read by itself.
    pub widened: Vec<(u64, Hint)>,
    /// Hints that name an object which no sync has, and were let go.
    pub unknown: Vec<Hint>,
}

impl Inbox {
    /// An inbox in which webhooks may use half of these limits.
    #[must_use]
    pub fn new(syncs: &[Arc<BoundSync>], windows: PerSide<&[Window]>) -> Self {
        let of = |sync: &Arc<BoundSync>, side: Side| {
            let share = HintShare::new(windows[side], sync.capabilities[side].read_ids);
            ((sync.no, side), share)
        };
        let shares = syncs.iter().flat_map(|sync| Side::BOTH.map(|side| of(sync, side))).collect();
        Self { shares, ..Self::default() }
    }

    /// The next hints that are not waited for already.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn next(&mut self, snapshot: &Snapshot, conn: ConnNo) -> Result<Vec<(u64, Hint)>, StoreError> {
        let mut rows = snapshot.inbox(conn, self.objects.len() + self.later.len() + HINTS_AT_ONCE)?;
        rows.retain(|(seq, _)| !self.objects.contains_key(seq) && !self.later.contains(seq));
        self.has_more = rows.len() >= HINTS_AT_ONCE;
        Ok(rows)
    }

    /// Sorts what stands in the inbox. Pure but for remembering the objects that are
    /// waited for: the caller commits the marks and takes out what is done.
    pub fn sort(&mut self, rows: Vec<(u64, Hint)>, queue: &PendingQueue, syncs: &[&BoundSync], now_ms: i64) -> Sorted {
        let mut sorted = Sorted::default();
        let mut marks: BTreeMap<(SyncNo, Side, RecordId), Mark> = BTreeMap::new();
        let mut hinted: BTreeMap<(Lane, SyncNo, Side), usize> = BTreeMap::new();
        for (seq, mut hint) in rows {
            let concerned: Vec<&&BoundSync> =
                syncs.iter().filter(|sync| sync.objects[hint.side] == hint.object).collect();
            if concerned.is_empty() {
                sorted.done.push(seq);
                sorted.unknown.push(hint);
                continue;
            }
            let mut to_run: BTreeMap<SyncNo, bool> = BTreeMap::new();
            let mut has_room = true;
            for sync in concerned {
                let place = (hint.lane, sync.no, hint.side);
                let hinted = hinted.entry(place).or_insert_with(|| queue.waiting_in(hint.lane, sync.no, hint.side));
                let key = hint.id.as_ref().map(|id| (sync.no, hint.side, id.clone()));
                let by_id = key.filter(|_| can_be_read_by_id(sync, hint.side, *hinted));
                if by_id.is_none() && hint.id.is_some() && must_be_read_by_id(sync, hint.side) {
                    has_room = false;
                    continue;
                }
                let Some(key) = by_id else {
                    to_run.insert(sync.no, false);
                    continue;
                };
                let mark = Mark::new(sync.no, &hint, &key.2, queue);
                if let Some(earlier) = marks.remove(&key) {
                    marks.insert(key, earlier.and(mark));
                } else if covers(queue, &mark) {
                    self.told.put(key.0, key.1, &key.2, None);
                } else if self.may_be_read(sync, &hint, now_ms) {
                    marks.insert(key, mark);
                    *hinted += 1;
                } else if must_be_read_by_id(sync, hint.side) {
                    has_room = false;
                } else {
                    to_run.insert(sync.no, false);
                }
            }
            if !has_room {
                // As a whole: what was marked of it is covered when it is looked at again.
                self.later.insert(seq);
                self.again_ms = Some(now_ms.saturating_add(ROOM_MS));
                continue;
            }
            for no in to_run.keys() {
                let lane = sorted.runs.entry(*no).or_insert(hint.lane);
                *lane = hint.lane.min(*lane);
            }
            let forgotten = planted::is(Bug::ObjectHintForgotten);
            if to_run.is_empty() || self.is_covered(&hint, &to_run) || forgotten {
                sorted.done.push(seq);
            } else {
                if hint.id.take().is_some() {
                    sorted.widened.push((seq, hint.clone()));
                }
                self.objects.insert(seq, Waiting { hint, syncs: to_run });
            }
        }
        sorted.marks = marks.into_values().collect();
        for mark in &mut sorted.marks {
            self.told.put(mark.sync, mark.side, &mark.id, mark.told.take());
        }
        sorted
    }

    /// When hints that found no room are to be looked at again.
    pub fn again_ms(&self) -> Option<i64> {
        self.again_ms
    }

    /// Whether it is time for those; if so they are among the next.
    pub fn takes_up_later(&mut self, now_ms: i64) -> bool {
        let is_due = self.again_ms.is_some_and(|again_ms| again_ms <= now_ms);
        if is_due {
            self.again_ms = None;
            self.later.clear();
        }
        is_due
    }

    /// Whether a record may be read by itself without taking more than its share of the
    /// budget. A side without a list of changes leaves no choice.
    fn may_be_read(&mut self, sync: &BoundSync, hint: &Hint, now_ms: i64) -> bool {
        if hint.lane != Lane::Webhook || !sync.capabilities[hint.side].changes {
            return true;
        }
        self.shares.get_mut(&(sync.no, hint.side)).is_none_or(|share| share.take(now_ms))
    }

    /// Whether a hint that waits already leads to the same runs.
    fn is_covered(&self, hint: &Hint, syncs: &BTreeMap<SyncNo, bool>) -> bool {
        self.objects.values().any(|waiting| {
            let is_to_come = |begun: &bool| !begun || planted::is(Bug::ObjectHintSwallowed);
            waiting.hint.lane <= hint.lane && syncs.keys().all(|sync| waiting.syncs.get(sync).is_some_and(is_to_come))
        })
    }

    /// A run of a sync begins: what waits for it will have been read when it ends.
    pub fn run_begins(&mut self, sync: SyncNo) {
        for waiting in self.objects.values_mut() {
            if let Some(begun) = waiting.syncs.get_mut(&sync) {
                *begun = true;
            }
        }
    }

    /// The hints for which nothing is left to do once the present run of a sync has
    /// ended.
    pub fn done_with(&self, sync: SyncNo) -> impl Iterator<Item = u64> {
        let done = self
            .objects
            .iter()
            .filter(move |(_, waiting)| waiting.syncs.len() == 1 && waiting.syncs.get(&sync) == Some(&true));
        done.map(|(seq, _)| *seq)
    }

    /// A run of a sync has ended, and that is durable. Answers whether any hint waited
    /// for it: then the inbox is to be looked at again, as their numbers may be another's
    /// by now.
    pub fn run_ended(&mut self, sync: SyncNo) -> bool {
        let before = self.objects.len();
        for waiting in self.objects.values_mut() {
            if waiting.syncs.get(&sync) == Some(&true) {
                waiting.syncs.remove(&sync);
            }
        }
        self.objects.retain(|_, waiting| !waiting.syncs.is_empty());
        self.objects.len() != before
    }
}

/// Whether a record is read by itself: the side can do that, and not too many wait for
/// it already.
fn can_be_read_by_id(sync: &BoundSync, side: Side, num_waiting: usize) -> bool {
    let can = &sync.capabilities[side];
    can.read_ids > 0 && (num_waiting < MOST_HINTED || !can.changes)
}

/// Whether a hint that names a record must not become a read of the list of changes, as
/// that does not show what is deleted.
fn must_be_read_by_id(sync: &BoundSync, side: Side) -> bool {
    let can = &sync.capabilities[side];
    can.read_ids > 0 && can.changes && !can.deletions
}

impl Mark {
    fn new(sync: SyncNo, hint: &Hint, id: &RecordId, queue: &PendingQueue) -> Self {
        let waiting = queue.waiting(sync, hint.side, id);
        let since_ms = waiting.map_or(hint.at_ms, |row| row.pending.since_ms.min(hint.at_ms));
        let delay_ms = hint.due_ms.saturating_sub(hint.at_ms).max(0);
        // While hints keep coming a record is not put off for ever.
        let latest_ms = since_ms.saturating_add(delay_ms.saturating_mul(MOST_DELAYS)).max(hint.at_ms);
        let due_ms = hint.due_ms.min(latest_ms);
        // Of several hints none is known to be the last word.
        let told = hint.told.clone().filter(|_| waiting.is_none());
        Self { sync, side: hint.side, id: id.clone(), lane: hint.lane, due_ms, since_ms, delay_ms, told }
    }

    /// Two hints for one record.
    fn and(self, later: Mark) -> Mark {
        let delay_ms = self.delay_ms.min(later.delay_ms);
        // One that may not wait is not made to by another that may.
        let due_ms = if delay_ms == 0 { self.due_ms.min(later.due_ms) } else { self.due_ms.max(later.due_ms) };
        let (lane, since_ms) = (self.lane.min(later.lane), self.since_ms.min(later.since_ms));
        Mark { lane, since_ms, due_ms, delay_ms, told: None, ..later }
    }
}

/// Whether a row that nobody has started on does what a mark asks for.
fn covers(queue: &PendingQueue, mark: &Mark) -> bool {
    if planted::is(Bug::HintSwallowed) && queue.is_taken(mark.sync, mark.side, &mark.id) {
        return true;
    }
    queue.waiting(mark.sync, mark.side, &mark.id).is_some_and(|row| {
        let is_asked_for = row.lane <= mark.lane && row.pending.reason == PendingReason::Requested;
        // One that is to rest once more after this hint is not due too early.
        is_asked_for && (mark.delay_ms == 0 || row.pending.due_ms >= mark.due_ms)
    })
}
