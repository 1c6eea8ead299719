//! Which sync is due when: all schedules of one arbiter in one structure, however many.
//!
//! Plain data without a timer of its own. Intervals are counted by a clock that nobody
//! sets, cron patterns by the wall clock; whoever keeps the table asks it how long nothing
//! is due, and then what is.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use crate::model::ids::{ConnectionId, SyncName};
use crate::model::schedule::{Schedule, When};

/// The first run after a start comes within this time, in milliseconds, so that many
/// connections do not all call at once, and nobody waits long.
const FIRST_WITHIN_MS: u64 = 1_000;

/// How long the wall clock is trusted to go on as it goes, in milliseconds: somebody may
/// set it, or the machine may sleep.
const LOOK_AT_CLOCK_MS: u64 = 60_000;

/// What time it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds by a clock that only goes forward, since any start.
    pub steady_ms: u64,
    /// Milliseconds since 1970.
    pub wall_ms: i64,
}

/// A sync of a connection that runs by the clock.
#[derive(Debug, Clone)]
pub struct Scheduled {
    /// The sync.
    pub sync: SyncName,
    /// When it runs.
    pub schedule: Schedule,
    /// When the last run that is remembered began, in milliseconds since 1970.
    pub last_run_ms: Option<i64>,
}

/// All schedules. `T` is whatever the keeper wants to reach a connection by.
#[derive(Debug)]
pub struct Timetable<T> {
    connections: HashMap<ConnectionId, Watched<T>>,
    waiting: HashMap<u64, (ConnectionId, usize)>,
    by_steady: BinaryHeap<Reverse<(u64, u64)>>,
    by_wall: BinaryHeap<Reverse<(i64, u64)>>,
    num_armed: u64,
}

#[derive(Debug)]
struct Watched<T> {
    to: T,
    rng: fastrand::Rng,
    syncs: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    sync: SyncName,
    schedule: Schedule,
    /// Its ticket in `waiting`, while it is not under way.
    ticket: Option<u64>,
}

enum Due {
    Steady(u64),
    Wall(i64),
}

impl<T: Clone> Timetable<T> {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self {
            connections: HashMap::new(),
            waiting: HashMap::new(),
            by_steady: BinaryHeap::new(),
            by_wall: BinaryHeap::new(),
            num_armed: 0,
        }
    }

    /// Takes a connection that has just started, in place of any earlier life of it.
    ///
    /// Intervals are due at once, in whatever was not told while it was down. A pattern is
    /// due at once where it matched while nobody was there to run it, once however often
    /// that was, or where the sync has never run.
    pub fn watch(&mut self, id: &ConnectionId, to: T, mut rng: fastrand::Rng, mut syncs: Vec<Scheduled>, now: Moment) {
        self.forget(id);
        syncs.sort_by(|a, b| a.sync.cmp(&b.sync));
        let mut rows = Vec::with_capacity(syncs.len());
        for (at, Scheduled { sync, schedule, last_run_ms }) in syncs.into_iter().enumerate() {
            let soon = |rng: &mut fastrand::Rng| {
                Due::Steady(now.steady_ms + rng.u64(0..=FIRST_WITHIN_MS.min(schedule.jitter_ms)))
            };
            let due = match &schedule.when {
                When::Every(_) => Some(soon(&mut rng)),
                When::Cron(cron) => {
                    let offset_ms = offset_ms(id, &schedule);
                    let last_due = cron.last_ms(now.wall_ms.saturating_sub(offset_ms));
                    let last_due = last_due.map(|last_ms| last_ms.saturating_add(offset_ms));
                    match (last_run_ms, last_due) {
                        (None, _) => Some(soon(&mut rng)),
                        (Some(ran_ms), Some(due_ms)) if ran_ms < due_ms => Some(soon(&mut rng)),
                        (Some(_), _) => next_due(id, &schedule, &mut rng, now),
                    }
                }
            };
            let ticket = due.map(|due| self.arm(id, at, due));
            rows.push(Row { sync, schedule, ticket });
        }
        self.connections.insert(id.clone(), Watched { to, rng, syncs: rows });
    }

    /// A run is over: counts anew for its sync. A pattern's matches that passed meanwhile
    /// are passed over, as the run has read what they would have.
    pub fn ran(&mut self, id: &ConnectionId, sync: &SyncName, now: Moment) {
        let Some(watched) = self.connections.get_mut(id) else { return };
        let Some(at) = watched.syncs.iter().position(|row| row.sync == *sync) else { return };
        let row = &mut watched.syncs[at];
        if let Some(ticket) = row.ticket.take() {
            self.waiting.remove(&ticket);
        }
        let Some(due) = next_due(id, &row.schedule, &mut watched.rng, now) else { return };
        let ticket = self.arm(id, at, due);
        if let Some(watched) = self.connections.get_mut(id) {
            watched.syncs[at].ticket = Some(ticket);
        }
    }

    /// Lets go of a connection.
    pub fn forget(&mut self, id: &ConnectionId) {
        let Some(watched) = self.connections.remove(id) else { return };
        for ticket in watched.syncs.into_iter().filter_map(|row| row.ticket) {
            self.waiting.remove(&ticket);
        }
    }

    /// What is due now, at most `most`. Each is under way from now on, until [`Self::ran`].
    pub fn take_due(&mut self, now: Moment, most: usize) -> Vec<(ConnectionId, T, SyncName)> {
        let mut due = Vec::new();
        while due.len() < most {
            let steady = self.by_steady.peek().filter(|Reverse((at_ms, _))| *at_ms <= now.steady_ms);
            let ticket = match steady {
                Some(Reverse((_, ticket))) => {
                    let ticket = *ticket;
                    self.by_steady.pop();
                    ticket
                }
                None => match self.by_wall.peek().filter(|Reverse((at_ms, _))| *at_ms <= now.wall_ms) {
                    Some(Reverse((_, ticket))) => {
                        let ticket = *ticket;
                        self.by_wall.pop();
                        ticket
                    }
                    None => break,
                },
            };
            // A ticket that is no longer waiting was counted anew, or its connection is gone.
            let Some((id, at)) = self.waiting.remove(&ticket) else { continue };
            if let Some(watched) = self.connections.get_mut(&id) {
                watched.syncs[at].ticket = None;
                due.push((id, watched.to.clone(), watched.syncs[at].sync.clone()));
            }
        }
        due
    }

    /// How long nothing is due, in milliseconds; `None` where nothing waits. No longer than
    /// the wall clock may be trusted.
    #[must_use]
    pub fn wait_ms(&self, now: Moment) -> Option<u64> {
        let steady = self.by_steady.peek().map(|Reverse((at_ms, _))| at_ms.saturating_sub(now.steady_ms));
        let wall = self.by_wall.peek().map(|Reverse((at_ms, _))| {
            u64::try_from(at_ms.saturating_sub(now.wall_ms)).unwrap_or(0).min(LOOK_AT_CLOCK_MS)
        });
        steady.into_iter().chain(wall).min()
    }

    fn arm(&mut self, id: &ConnectionId, at: usize, due: Due) -> u64 {
        self.num_armed += 1;
        let ticket = self.num_armed;
        self.waiting.insert(ticket, (id.clone(), at));
        match due {
            Due::Steady(at_ms) => self.by_steady.push(Reverse((at_ms, ticket))),
            Due::Wall(at_ms) => self.by_wall.push(Reverse((at_ms, ticket))),
        }
        self.sweep();
        ticket
    }

    /// Tickets that nobody waits for any more are dropped once they are the most.
    fn sweep(&mut self) {
        let num = self.by_steady.len() + self.by_wall.len();
        if num > 64 && num > 2 * self.waiting.len() {
            self.by_steady.retain(|Reverse((_, ticket))| self.waiting.contains_key(ticket));
            self.by_wall.retain(|Reverse((_, ticket))| self.waiting.contains_key(ticket));
        }
    }
}

impl<T: Clone> Default for Timetable<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// When a schedule is due after now; `None` where its pattern never matches again.
fn next_due(id: &ConnectionId, schedule: &Schedule, rng: &mut fastrand::Rng, now: Moment) -> Option<Due> {
    match &schedule.when {
        When::Every(every_ms) => {
            let wait_ms = every_ms.saturating_add(rng.u64(0..=schedule.jitter_ms));
            Some(Due::Steady(now.steady_ms.saturating_add(wait_ms)))
        }
        When::Cron(cron) => {
            let offset_ms = offset_ms(id, schedule);
            let next_ms = cron.next_ms(now.wall_ms.saturating_sub(offset_ms))?;
            Some(Due::Wall(next_ms.saturating_add(offset_ms)))
        }
    }
}

/// How much later than its pattern a connection runs, in milliseconds: always the same.
fn offset_ms(id: &ConnectionId, schedule: &Schedule) -> i64 {
    let hash = xxhash_rust::xxh3::xxh3_64(id.as_str().as_bytes());
    i64::try_from(hash % schedule.jitter_ms.saturating_add(1)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;
    /// 2026-01-01 00:00 UTC.
    const NEW_YEAR_MS: i64 = 1_767_225_600_000;

    fn moment(wall_ms: i64) -> Moment {
        Moment { steady_ms: u64::try_from(wall_ms - NEW_YEAR_MS + 10 * HOUR_MS).unwrap(), wall_ms }
    }

    fn table(schedule: &str, jitter_ms: u64, last_run_ms: Option<i64>, wall_ms: i64) -> Timetable<()> {
        let mut table = Timetable::new();
        watch(&mut table, schedule, jitter_ms, last_run_ms, moment(wall_ms));
        table
    }

    fn watch(table: &mut Timetable<()>, schedule: &str, jitter_ms: u64, last_run_ms: Option<i64>, now: Moment) {
        let schedule = Schedule::parse(schedule).unwrap().with_jitter_ms(jitter_ms);
        let scheduled = Scheduled { sync: "contacts".into(), schedule, last_run_ms };
        table.watch(&"acme".into(), (), fastrand::Rng::with_seed(7), vec![scheduled], now);
    }

    #[test]
    fn an_interval_is_due_at_a_start_and_counts_from_the_end_of_a_run() {
        let mut table = table("every 1h", 0, Some(NEW_YEAR_MS), NEW_YEAR_MS);
        let start = moment(NEW_YEAR_MS);
        assert_eq!(table.take_due(start, 9).len(), 1);
        assert_eq!(table.wait_ms(start), None, "under way");
        let over = moment(NEW_YEAR_MS + 5_000);
        table.ran(&"acme".into(), &"contacts".into(), over);
        assert_eq!(table.wait_ms(over), Some(3_600_000));
        assert!(table.take_due(moment(NEW_YEAR_MS + HOUR_MS), 9).is_empty());
        assert_eq!(table.take_due(moment(NEW_YEAR_MS + HOUR_MS + 5_000), 9).len(), 1);
    }

    #[test]
    fn an_interval_does_not_follow_a_clock_that_is_set_back() {
        let mut table = table("every 1h", 0, None, NEW_YEAR_MS);
        table.take_due(moment(NEW_YEAR_MS), 9);
        table.ran(&"acme".into(), &"contacts".into(), moment(NEW_YEAR_MS));
        let steady_ms = moment(NEW_YEAR_MS + HOUR_MS).steady_ms;
        assert_eq!(table.take_due(Moment { steady_ms, wall_ms: NEW_YEAR_MS - 100 * HOUR_MS }, 9).len(), 1);
    }

    #[test]
    fn a_pattern_is_caught_up_with_once_after_downtime() {
        let fifty_hours_later = NEW_YEAR_MS + 50 * HOUR_MS;
        let mut table = table("cron 0 * * * *", 0, Some(NEW_YEAR_MS + 1), fifty_hours_later + 60_000);
        let start = moment(fifty_hours_later + 60_000);
        assert_eq!(table.take_due(start, 99).len(), 1, "once, not fifty times");
        table.ran(&"acme".into(), &"contacts".into(), start);
        assert!(table.take_due(start, 99).is_empty());
        assert_eq!(table.take_due(moment(fifty_hours_later + HOUR_MS), 99).len(), 1);
    }

    #[test]
    fn a_pattern_that_was_not_missed_is_not_due_at_a_start() {
        let later = moment(NEW_YEAR_MS + 60_000);
        let mut table = table("cron 0 * * * *", 0, Some(NEW_YEAR_MS), later.wall_ms);
        assert!(table.take_due(later, 9).is_empty());
        assert_eq!(table.wait_ms(later), Some(LOOK_AT_CLOCK_MS), "the clock may be set");
        assert_eq!(table.take_due(moment(NEW_YEAR_MS + HOUR_MS), 9).len(), 1);
    }

    #[test]
    fn a_sync_that_never_ran_does_not_wait_for_its_pattern() {
        let mut table = table("cron 0 0 1 1 *", 0, None, NEW_YEAR_MS + HOUR_MS);
        assert_eq!(table.take_due(moment(NEW_YEAR_MS + HOUR_MS), 9).len(), 1);
    }

    #[test]
    fn matches_that_pass_during_a_run_are_passed_over() {
        let mut table = table("cron 0 * * * *", 0, None, NEW_YEAR_MS + 1);
        table.take_due(moment(NEW_YEAR_MS + 1), 9);
        let over = moment(NEW_YEAR_MS + 3 * HOUR_MS + 1);
        table.ran(&"acme".into(), &"contacts".into(), over);
        assert!(table.take_due(over, 9).is_empty());
        assert_eq!(table.take_due(moment(NEW_YEAR_MS + 4 * HOUR_MS), 9).len(), 1);
    }

    #[test]
    fn patterns_are_spread_by_the_name_of_the_connection() {
        let schedule = Schedule::parse("cron 0 6 * * *").unwrap();
        let offsets: Vec<i64> =
            (0..200).map(|i| offset_ms(&format!("customer-{i}").as_str().into(), &schedule)).collect();
        assert!(offsets.iter().all(|offset| (0..=30_000).contains(offset)), "{offsets:?}");
        assert!(offsets.iter().filter(|offset| **offset < 15_000).count() > 60, "{offsets:?}");
        assert!(offsets.iter().filter(|offset| **offset > 15_000).count() > 60, "{offsets:?}");
        // At the same distance from its pattern each time, so never twice for one match.
        let mut table = table("cron 0 * * * *", 1_800_000, Some(NEW_YEAR_MS), NEW_YEAR_MS);
        let mut wall_ms = NEW_YEAR_MS;
        let mut due_at = Vec::new();
        while due_at.len() < 3 {
            wall_ms += 10_000;
            if !table.take_due(moment(wall_ms), 9).is_empty() {
                due_at.push(wall_ms);
                table.ran(&"acme".into(), &"contacts".into(), moment(wall_ms));
            }
        }
        assert_eq!((due_at[1] - due_at[0], due_at[2] - due_at[1]), (HOUR_MS, HOUR_MS));
    }

    #[test]
    fn a_new_life_of_a_connection_takes_the_place_of_the_old() {
        let mut table = table("every 1h", 0, None, NEW_YEAR_MS);
        for _ in 0..1_000 {
            watch(&mut table, "every 1h", 0, None, moment(NEW_YEAR_MS));
        }
        assert_eq!(table.take_due(moment(NEW_YEAR_MS), 9_999).len(), 1);
        assert!(table.by_steady.len() < 200, "dead tickets are swept: {}", table.by_steady.len());
        table.ran(&"acme".into(), &"contacts".into(), moment(NEW_YEAR_MS));
        table.forget(&"acme".into());
        assert!(table.take_due(moment(NEW_YEAR_MS + 9 * HOUR_MS), 9).is_empty());
    }

    #[test]
    fn a_hundred_thousand_schedules_share_the_structure() {
        let (now, mut table) = (moment(NEW_YEAR_MS), Timetable::new());
        let schedule = Schedule::every_ms(300_000);
        for i in 0..100_000 {
            let scheduled = Scheduled { sync: "contacts".into(), schedule: schedule.clone(), last_run_ms: None };
            let id = ConnectionId::from(format!("customer-{i}"));
            table.watch(&id, (), fastrand::Rng::with_seed(i), vec![scheduled], now);
        }
        let mut taken = 0;
        let soon = moment(NEW_YEAR_MS + 1_000);
        loop {
            let due = table.take_due(soon, 1_000);
            if due.is_empty() {
                break;
            }
            taken += due.len();
            due.into_iter().for_each(|(id, (), sync)| table.ran(&id, &sync, soon));
        }
        assert_eq!(taken, 100_000);
        assert_eq!(table.waiting.len(), 100_000);
        assert!(table.wait_ms(soon).is_some_and(|wait_ms| (300_000..301_000).contains(&wait_ms)));
    }
}
