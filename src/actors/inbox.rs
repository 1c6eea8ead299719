//! The inbox as its connection sees it: which hints become pending rows, which become a
//! read of a whole object, and which are covered by what is waiting already.

use std::collections::BTreeMap;

use crate::actors::queue::PendingQueue;
use crate::model::hint::Hint;
use crate::model::ids::{ConnNo, RecordId, SyncNo};
use crate::model::side::Side;
use crate::model::work::{Lane, PendingReason};
use crate::reconcile::sync::BoundSync;
use crate::store::{Snapshot, StoreError};

/// How many hints are taken out of the inbox in one go.
const HINTS_AT_ONCE: usize = 500;

/// How many hinted records of one side of a sync may wait to be read one by one. Beyond
/// it one read of the side's changes costs fewer calls, and what was never a record of
/// that side costs none.
const MOST_HINTED: usize = 200;

/// How long a record is put off at most while hints for it keep coming, as a multiple of
/// its delay.
const MOST_DELAYS: i64 = 10;

/// Hints that ask for a read of a side's changes. They stay in the store until a run
/// that has started after them has ended.
#[derive(Debug, Default)]
pub struct Inbox {
    objects: BTreeMap<u64, Waiting>,
    /// Some hints are being taken out; `true` where more have come since.
    pub emptying: Option<bool>,
    /// The last look did not reach the end.
    pub has_more: bool,
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
    /// Hints that name an object which no sync has, and were let go.
    pub unknown: Vec<Hint>,
}

impl Inbox {
    /// The next hints that are not waited for already.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn next(&mut self, snapshot: &Snapshot, conn: ConnNo) -> Result<Vec<(u64, Hint)>, StoreError> {
        let mut rows = snapshot.inbox(conn, self.objects.len() + HINTS_AT_ONCE)?;
        rows.retain(|(seq, _)| !self.objects.contains_key(seq));
        self.has_more = rows.len() >= HINTS_AT_ONCE;
        Ok(rows)
    }

    /// Sorts what stands in the inbox. Pure but for remembering the objects that are
    /// waited for: the caller commits the marks and takes out what is done.
    pub fn sort(&mut self, rows: Vec<(u64, Hint)>, queue: &PendingQueue, syncs: &[&BoundSync]) -> Sorted {
        let mut sorted = Sorted::default();
        let mut marks: BTreeMap<(SyncNo, Side, RecordId), Mark> = BTreeMap::new();
        let mut hinted: BTreeMap<(Lane, SyncNo, Side), usize> = BTreeMap::new();
        for (seq, hint) in rows {
            let concerned: Vec<&&BoundSync> =
                syncs.iter().filter(|sync| sync.objects[hint.side] == hint.object).collect();
            if concerned.is_empty() {
                sorted.done.push(seq);
                sorted.unknown.push(hint);
                continue;
            }
            let mut to_run: BTreeMap<SyncNo, bool> = BTreeMap::new();
            for sync in concerned {
                let place = (hint.lane, sync.no, hint.side);
                let hinted = hinted.entry(place).or_insert_with(|| queue.waiting_in(hint.lane, sync.no, hint.side));
                match &hint.id {
                    Some(id) if can_be_read_by_id(sync, hint.side, *hinted) => {
                        let mark = Mark::new(sync.no, &hint, id, queue);
                        let key = (sync.no, hint.side, id.clone());
                        let merged = match marks.remove(&key) {
                            Some(earlier) => earlier.and(mark),
                            None if covers(queue, &mark) => continue,
                            None => mark,
                        };
                        marks.insert(key, merged);
                        *hinted += 1;
                    }
                    Some(_) | None => {
                        let lane = sorted.runs.entry(sync.no).or_insert(hint.lane);
                        *lane = hint.lane.min(*lane);
                        to_run.insert(sync.no, false);
                    }
                }
            }
            if to_run.is_empty() || self.is_covered(&hint, &to_run) {
                sorted.done.push(seq);
            } else {
                self.objects.insert(seq, Waiting { hint, syncs: to_run });
            }
        }
        sorted.marks = marks.into_values().collect();
        sorted
    }

    /// Whether a hint that waits already leads to the same runs.
    fn is_covered(&self, hint: &Hint, syncs: &BTreeMap<SyncNo, bool>) -> bool {
        self.objects.values().any(|waiting| {
            waiting.hint.lane <= hint.lane && syncs.keys().all(|sync| waiting.syncs.get(sync) == Some(&false))
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

impl Mark {
    fn new(sync: SyncNo, hint: &Hint, id: &RecordId, queue: &PendingQueue) -> Self {
        let waiting = queue.waiting(sync, hint.side, id);
        let since_ms = waiting.map_or(hint.at_ms, |row| row.pending.since_ms.min(hint.at_ms));
        let delay_ms = hint.due_ms.saturating_sub(hint.at_ms).max(0);
        // While hints keep coming a record is not put off for ever.
        let latest_ms = since_ms.saturating_add(delay_ms.saturating_mul(MOST_DELAYS)).max(hint.at_ms);
        let due_ms = hint.due_ms.min(latest_ms);
        Self { sync, side: hint.side, id: id.clone(), lane: hint.lane, due_ms, since_ms, delay_ms }
    }

    /// Two hints for one record.
    fn and(self, later: Mark) -> Mark {
        let delay_ms = self.delay_ms.min(later.delay_ms);
        // One that may not wait is not made to by another that may.
        let due_ms = if delay_ms == 0 { self.due_ms.min(later.due_ms) } else { self.due_ms.max(later.due_ms) };
        Mark { lane: self.lane.min(later.lane), since_ms: self.since_ms.min(later.since_ms), due_ms, delay_ms, ..later }
    }
}

/// Whether a row that nobody has started on does what a mark asks for.
fn covers(queue: &PendingQueue, mark: &Mark) -> bool {
    queue.waiting(mark.sync, mark.side, &mark.id).is_some_and(|row| {
        let is_asked_for = row.lane <= mark.lane && row.pending.reason == PendingReason::Requested;
        // One that is to rest once more after this hint is not due too early.
        is_asked_for && (mark.delay_ms == 0 || row.pending.due_ms >= mark.due_ms)
    })
}
