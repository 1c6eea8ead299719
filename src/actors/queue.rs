//! Pending records in memory: a mirror of the connection's rows in the store, ordered
//! by when and in which lane they are due. Loaded at start, changed only after a commit.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::model::ids::{RecordId, SyncNo};
use crate::model::side::Side;
use crate::model::work::{Lane, Pending, PendingReason};
use crate::planted::{self, Bug};
use crate::reconcile::reference::LinkKey;

/// A pending row with its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingRow {
    /// Its lane.
    pub lane: Lane,
    /// Its number.
    pub seq: u64,
    /// The sync it belongs to.
    pub sync: SyncNo,
    /// The row.
    pub pending: Pending,
    /// For a record that awaits its partner, also where it was only put off or asked for since:
    /// the last run that had started when it began to, which cannot have shown it. Not stored;
    /// after a restart any run will do.
    pub awaits: Option<u64>,
    /// The partner that it was known to have lost when it began to await one; `None` for one
    /// that had none, and after a restart.
    pub lost: Option<RecordId>,
    /// Nothing was decided about the record: it awaits what the row does whose place this takes.
    pub is_undecided: bool,
    /// A run that started after it began to await its partner is over.
    pub has_waited: bool,
    /// The records that it names and that were not linked: with any of them it is looked at again.
    /// Not stored; after a restart it is looked at when it is due.
    pub names: Vec<LinkKey>,
}

impl PendingRow {
    /// A row that awaits no run.
    #[must_use]
    pub fn new(lane: Lane, seq: u64, sync: SyncNo, pending: Pending) -> Self {
        Self {
            lane,
            seq,
            sync,
            pending,
            awaits: None,
            lost: None,
            is_undecided: false,
            has_waited: false,
            names: Vec::new(),
        }
    }

    /// Whether the record has waited for a run that would have shown its partner, and has none
    /// since: where it has got one, which is gone now, no run has shown what took its place.
    #[must_use]
    pub fn is_still_alone(&self, partner: Option<&RecordId>) -> bool {
        self.has_waited && self.lost.as_ref() == partner
    }

    /// What a row that takes this one's place awaits: the same run, or, where that is over and
    /// the record awaits its partner anew, another.
    #[must_use]
    pub fn awaits_then(&self, reason: PendingReason) -> Option<u64> {
        self.awaits.filter(|_| reason != PendingReason::AwaitPartner || !self.has_waited)
    }
}

/// All pending rows of a connection.
#[derive(Debug, Default)]
pub struct PendingQueue {
    rows: BTreeMap<(Lane, u64), PendingRow>,
    due: BTreeMap<(i64, Lane, u64), ()>,
    by_id: HashMap<(SyncNo, Side, RecordId), (Lane, u64)>,
    taken: BTreeMap<(Lane, u64), ()>,
    /// Thousands may name one record.
    by_name: HashMap<LinkKey, BTreeSet<(Lane, u64)>>,
}

impl PendingQueue {
    /// Adds a stored row. It replaces a row for the same record, as it does in the
    /// store.
    pub fn add(&mut self, row: PendingRow) {
        let key = (row.lane, row.seq);
        let replaced = self.by_id.insert((row.sync, row.pending.side, row.pending.id.clone()), key);
        if let Some((lane, seq)) = replaced.filter(|old| *old != key) {
            self.remove(lane, seq);
        }
        self.due.insert((due_ms(&row), row.lane, row.seq), ());
        for name in &row.names {
            self.by_name.entry(name.clone()).or_default().insert(key);
        }
        self.rows.insert(key, row);
    }

    /// Takes a deleted row out.
    pub fn remove(&mut self, lane: Lane, seq: u64) {
        let key = (lane, seq);
        self.taken.remove(&key);
        let Some(row) = self.rows.remove(&key) else { return };
        self.due.remove(&(due_ms(&row), lane, seq));
        for name in &row.names {
            if let Some(waiting) = self.by_name.get_mut(name) {
                waiting.remove(&key);
                if waiting.is_empty() {
                    self.by_name.remove(name);
                }
            }
        }
        let id = (row.sync, row.pending.side, row.pending.id);
        if self.by_id.get(&id) == Some(&key) {
            self.by_id.remove(&id);
        }
    }

    /// A row of this record that nobody is working on.
    #[must_use]
    pub fn waiting(&self, sync: SyncNo, side: Side, id: &RecordId) -> Option<&PendingRow> {
        let key = self.by_id.get(&(sync, side, id.clone()))?;
        self.rows.get(key).filter(|_| !self.taken.contains_key(key) || planted::is(Bug::MarkSwallowed))
    }

    /// Whether a row of this record is being worked on.
    #[must_use]
    pub fn is_taken(&self, sync: SyncNo, side: Side, id: &RecordId) -> bool {
        self.by_id.get(&(sync, side, id.clone())).is_some_and(|key| self.taken.contains_key(key))
    }

    /// The records of a sync that units of work have now: what they read of them may be older
    /// than what has been read since.
    #[must_use]
    pub fn in_work(&self, sync: SyncNo) -> HashSet<(Side, RecordId)> {
        let taken = self.taken.keys().filter_map(|key| self.rows.get(key)).filter(|row| row.sync == sync);
        taken.map(|row| (row.pending.side, row.pending.id.clone())).collect()
    }

    /// How many records of one side of a sync wait in a lane.
    #[must_use]
    pub fn waiting_in(&self, lane: Lane, sync: SyncNo, side: Side) -> usize {
        let rows = self.rows.range((lane, 0)..=(lane, u64::MAX));
        rows.filter(|(_, row)| row.sync == sync && row.pending.side == side).count()
    }

    /// Takes due rows to work on: of the first lane that has any within `lanes`, of
    /// one sync and side, at most `most`. Rows that wait for a run are taken once a
    /// run of their sync that started after them has ended.
    pub fn take(
        &mut self,
        lanes: impl Fn(Lane) -> bool,
        now_ms: i64,
        most: usize,
        last_run: impl Fn(SyncNo) -> u64,
    ) -> Vec<PendingRow> {
        let has_waited = |row: &PendingRow| row.awaits.is_some_and(|begun| last_run(row.sync) > begun);
        let ready = |row: &PendingRow| match row.pending.reason {
            PendingReason::AwaitPartner => has_waited(row) || planted::is(Bug::PartnerNotAwaited),
            PendingReason::Requested
            | PendingReason::Retry
            | PendingReason::Changed
            | PendingReason::OpenCreate
            | PendingReason::StaleRead
            | PendingReason::PartnerUnread
            | PendingReason::Unlinked => true,
        };
        let mut due: Vec<&PendingRow> = self
            .due
            .range(..=(now_ms, Lane::Audit, u64::MAX))
            .filter_map(|((_, lane, seq), ())| self.rows.get(&(*lane, *seq)))
            .filter(|row| lanes(row.lane) && !self.taken.contains_key(&(row.lane, row.seq)) && ready(row))
            .take(most.saturating_mul(20))
            .collect();
        due.sort_by_key(|row| (row.lane, row.seq));
        let Some(first) = due.first() else { return Vec::new() };
        let (sync, side, lane) = (first.sync, first.pending.side, first.lane);
        let alike = |row: &&&PendingRow| row.sync == sync && row.pending.side == side && row.lane == lane;
        // A record that failed before goes alone, so that it cannot spoil its neighbours.
        let together = planted::is(Bug::PoisonGoesAlong);
        let most = if first.pending.attempts > 0 && !together { 1 } else { most };
        let fresh = |row: &&&PendingRow| row.pending.attempts == 0 || most == 1 || together;
        let taken: Vec<PendingRow> = due
            .iter()
            .filter(alike)
            .filter(fresh)
            .take(most)
            .map(|row| PendingRow { has_waited: has_waited(row), ..(*row).clone() })
            .collect();
        for row in &taken {
            self.taken.insert((row.lane, row.seq), ());
        }
        taken
    }

    /// Gives rows back that were taken and not finished.
    pub fn give_back(&mut self, rows: &[PendingRow]) {
        for row in rows {
            self.taken.remove(&(row.lane, row.seq));
        }
    }

    /// Whether a sync has rows in work, or due by a time after fewer than so many
    /// failed attempts.
    #[must_use]
    pub fn has_due(&self, sync: SyncNo, until_ms: i64, attempts: u32) -> bool {
        let in_work = self.taken.keys().filter_map(|key| self.rows.get(key)).any(|row| row.sync == sync);
        let due = self.due.range(..=(until_ms, Lane::Audit, u64::MAX));
        let mut due = due.filter_map(|((_, lane, seq), ())| self.rows.get(&(*lane, *seq)));
        in_work || due.any(|row| row.sync == sync && row.pending.attempts < attempts && !awaits_run(row))
    }

    /// A record is linked now: those that name it are due.
    pub fn linked(&mut self, name: &LinkKey, now_ms: i64) {
        for key in self.by_name.get(name).into_iter().flatten() {
            let Some(row) = self.rows.get_mut(key).filter(|row| row.pending.due_ms > now_ms) else { continue };
            self.due.remove(&(due_ms(row), key.0, key.1));
            row.pending.due_ms = now_ms;
            self.due.insert((due_ms(row), key.0, key.1), ());
        }
    }

    /// Whether a record of a sync waits for a run to show its partner: the first lane in
    /// which one does.
    #[must_use]
    pub fn awaits_run(&self, sync: SyncNo) -> Option<Lane> {
        self.rows.values().filter(|row| row.sync == sync && awaits_run(row)).map(|row| row.lane).min()
    }

    /// When the next row is due that nobody works on; rows that wait for a run do not
    /// count, as the run's end looks at them.
    #[must_use]
    pub fn next_due_ms(&self) -> Option<i64> {
        let waiting = self.due.iter().find(|((_, lane, seq), ())| {
            let key = (*lane, *seq);
            !self.rows.get(&key).is_some_and(awaits_run) && !self.taken.contains_key(&key)
        });
        waiting.map(|((due_ms, _, _), ())| *due_ms)
    }

    /// How many rows there are in each lane.
    #[must_use]
    pub fn counts(&self) -> Vec<(Lane, u64)> {
        let count = |lane: Lane| self.rows.range((lane, 0)..=(lane, u64::MAX)).count() as u64;
        Lane::ALL.into_iter().map(|lane| (lane, count(lane))).filter(|(_, count)| *count > 0).collect()
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows of records that wait until what they name is linked.
    pub fn unlinked(&self) -> impl Iterator<Item = &PendingRow> {
        self.rows.values().filter(|row| row.pending.reason == PendingReason::Unlinked)
    }

    /// Since when the oldest is waiting, in milliseconds since 1970.
    #[must_use]
    pub fn oldest_ms(&self) -> Option<i64> {
        self.rows.values().map(|row| row.pending.since_ms).min()
    }
}

/// When a row is due. What waits for a run does not wait for a time as well: after a clock
/// was set back, the run could be long over when that comes.
fn due_ms(row: &PendingRow) -> i64 {
    if awaits_run(row) { i64::MIN } else { row.pending.due_ms }
}

fn awaits_run(row: &PendingRow) -> bool {
    row.pending.reason == PendingReason::AwaitPartner
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(lane: Lane, seq: u64, id: &str, due_ms: i64, reason: PendingReason) -> PendingRow {
        let pending = Pending { side: Side::App, id: id.into(), reason, due_ms, since_ms: 10, attempts: 0 };
        PendingRow { awaits: Some(3), ..PendingRow::new(lane, seq, SyncNo(1), pending) }
    }

    #[test]
    fn the_first_lane_goes_first_and_rows_in_work_are_not_taken_twice() {
        let mut queue = PendingQueue::default();
        queue.add(row(Lane::Schedule, 1, "a", 0, PendingReason::Retry));
        queue.add(row(Lane::Manual, 2, "b", 5, PendingReason::Requested));
        queue.add(row(Lane::Manual, 3, "c", 99, PendingReason::Requested));
        let ids = |rows: &[PendingRow]| rows.iter().map(|row| row.pending.id.to_string()).collect::<Vec<_>>();
        let taken = queue.take(|_| true, 10, 10, |_| 0);
        assert_eq!(ids(&taken), ["b"]);
        assert_eq!(ids(&queue.take(|_| true, 10, 10, |_| 0)), ["a"]);
        assert!(queue.take(|_| true, 10, 10, |_| 0).is_empty());
        assert_eq!(queue.next_due_ms(), Some(99));
        queue.give_back(&taken);
        assert_eq!(ids(&queue.take(|_| true, 10, 10, |_| 0)), ["b"]);
        queue.remove(Lane::Manual, 2);
        assert_eq!(queue.counts(), [(Lane::Manual, 1), (Lane::Schedule, 1)]);
    }

    #[test]
    fn a_row_that_awaits_a_partner_waits_for_a_run_that_started_after_it() {
        let mut queue = PendingQueue::default();
        queue.add(row(Lane::Manual, 1, "a", 0, PendingReason::AwaitPartner));
        assert!(queue.take(|_| true, 100, 10, |_| 0).is_empty());
        assert!(queue.take(|_| true, 100, 10, |_| 3).is_empty());
        assert_eq!(queue.next_due_ms(), None);
        assert_eq!(queue.take(|_| true, 100, 10, |_| 4).len(), 1);
    }

    #[test]
    fn a_row_that_names_a_record_is_due_when_that_is_linked() {
        let mut queue = PendingQueue::default();
        let key = |id: &str| LinkKey { sync: SyncNo(2), side: Side::App, id: id.into() };
        for (seq, names) in [(1, vec![key("a"), key("b")]), (2, vec![key("b")]), (3, vec![])] {
            let row = row(Lane::Schedule, seq, &seq.to_string(), 600_000, PendingReason::Unlinked);
            queue.add(PendingRow { names, ..row });
        }
        queue.linked(&key("c"), 50);
        assert!(queue.take(|_| true, 100, 10, |_| 0).is_empty());
        queue.linked(&key("a"), 50);
        assert_eq!(queue.next_due_ms(), Some(50));
        assert_eq!(queue.take(|_| true, 100, 10, |_| 0).len(), 1);
        // A row that is gone is named no more, and the other still is.
        queue.remove(Lane::Schedule, 1);
        queue.linked(&key("b"), 60);
        let taken = queue.take(|_| true, 100, 10, |_| 0);
        assert_eq!(taken.iter().map(|row| row.seq).collect::<Vec<_>>(), [2]);
        queue.remove(Lane::Schedule, 2);
        assert!(queue.by_name.is_empty());
    }

    #[test]
    fn no_clock_that_was_set_back_keeps_it_waiting_after_that_run() {
        let mut queue = PendingQueue::default();
        queue.add(row(Lane::Manual, 1, "a", 600_000, PendingReason::AwaitPartner));
        assert_eq!(queue.take(|_| true, 100, 10, |_| 4).len(), 1);
        queue.remove(Lane::Manual, 1);
        assert!(queue.take(|_| true, 600_000, 10, |_| 4).is_empty());
        assert!(queue.due.is_empty());
    }
}
