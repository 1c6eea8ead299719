//! The steps of a run: which side is read when, and what new records wait for.

use std::collections::VecDeque;

use crate::model::cursor::{Cursor, PageToken};
use crate::model::direction::Direction;
use crate::model::ids::{PairNo, RunId};
use crate::model::side::{PerSide, Side};
use crate::model::work::Lane;
use crate::planted::{self, Bug};
use crate::reconcile::case::Stage;

/// One enumeration of a sync's sides, page by page.
///
/// The side read first holds its new records back, because their partners may stand on
/// the other; the other side then knows both, and links or creates at once; last, the
/// held records are read again and created. So neither order nor size needs memory.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its name in logs.
    pub id: RunId,
    /// The lane it was asked for in.
    pub lane: Lane,
    /// It reads everything, for the first time.
    pub backfill: bool,
    /// When it started, in milliseconds since 1970.
    pub started_ms: i64,
    /// What is left; the first is in progress.
    pub steps: VecDeque<RunStep>,
    /// The cursors it will leave behind.
    pub reached: PerSide<Option<Cursor>>,
    /// Sides whose pages shifted while they were read: their cursors must not move.
    pub drifted: PerSide<bool>,
    /// Sides of which everything was read, to the end. What a marker knows and such a
    /// read did not show may be gone.
    pub complete: PerSide<bool>,
    /// How many records the first side holds back.
    pub held: u64,
    /// Where the app side's read started, for reading its held records again.
    pub app_since: Option<Cursor>,
    /// Records seen so far, and how many there will be, where told; for progress.
    pub progress: Progress,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Progress {
    /// Records read.
    pub done: u64,
    /// Records expected, where told.
    pub total: u64,
}

/// One read of one side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunStep {
    /// The side.
    pub side: Side,
    /// What becomes of its new records.
    pub stage: Stage,
    /// From here; `None` reads everything.
    pub since: Option<Cursor>,
    /// Where it goes on.
    pub page: Option<PageToken>,
    /// How often it was started over because its pages shifted.
    pub restarts: u32,
    /// Its first page has been accounted for, with this many expected.
    pub expected: Option<u64>,
}

/// How often a read is started over because its pages shifted, before it is left to
/// the next run (its cursor stays, so nothing is lost).
pub const MAX_DRIFT_RESTARTS: u32 = 3;

impl RunStep {
    fn new(side: Side, stage: Stage, since: Option<Cursor>) -> Self {
        Self { side, stage, since, page: None, restarts: 0, expected: None }
    }
}

impl Run {
    /// Plans a run from the stored cursors. `matches` says that records are paired by a
    /// match key, so that the target of a one-way sync must be known too.
    #[must_use]
    pub fn new(
        id: RunId,
        lane: Lane,
        started_ms: i64,
        direction: Direction,
        matches: bool,
        since: PerSide<Option<Cursor>>,
        backfill: bool,
    ) -> Self {
        let step = |side: Side, stage: Stage| RunStep::new(side, stage, since[side].clone());
        let steps = match (direction, matches) {
            (Direction::TwoWay, true) => vec![step(Side::App, Stage::Hold), step(Side::Remote, Stage::Create)],
            (Direction::TwoWay, false) => vec![step(Side::App, Stage::Create), step(Side::Remote, Stage::Create)],
            (Direction::Out, true) => vec![step(Side::Remote, Stage::Hold), step(Side::App, Stage::Create)],
            (Direction::In, true) => vec![step(Side::App, Stage::Hold), step(Side::Remote, Stage::Create)],
            (Direction::Out, false) => vec![step(Side::App, Stage::Create)],
            (Direction::In, false) => vec![step(Side::Remote, Stage::Create)],
        };
        Self {
            id,
            lane,
            backfill,
            started_ms,
            steps: steps.into(),
            reached: PerSide { app: None, remote: None },
            drifted: PerSide { app: false, remote: false },
            complete: PerSide { app: false, remote: false },
            held: 0,
            app_since: since.app.clone(),
            progress: Progress::default(),
        }
    }

    /// The read in progress.
    #[must_use]
    pub fn current(&self) -> Option<&RunStep> {
        self.steps.front()
    }

    /// Takes one page into account. Returns whether the run is over.
    pub fn page_done(&mut self, direction: Direction, page: PageDone) -> bool {
        let Some(step) = self.steps.front_mut() else { return true };
        let side = step.side;
        if step.expected.is_none() {
            step.expected = Some(page.total.unwrap_or(page.entries));
            self.progress.total += page.total.unwrap_or(0);
        }
        self.progress.done += page.entries;
        self.progress.total = self.progress.total.max(self.progress.done);
        self.held += page.held;
        if page.drifted && !planted::is(Bug::CursorPastDrift) {
            if step.restarts < MAX_DRIFT_RESTARTS {
                step.restarts += 1;
                step.page = None;
                return false;
            }
            // What was missed is not known, so no later step may take it for absent.
            self.drifted[side] = true;
            self.steps.clear();
            if self.held > 0 && direction == Direction::TwoWay {
                // What the first side held waits for its second reading, which is not coming.
                self.reached.app = None;
            }
            return true;
        }
        if page.next.is_some() {
            step.page = page.next;
            return false;
        }
        if page.cursor.is_some() {
            self.reached[side] = page.cursor;
        }
        let finished = self.steps.pop_front();
        self.complete[side] |= finished.as_ref().is_some_and(|step| step.since.is_none());
        let was_hold = finished.as_ref().is_some_and(|step| step.stage == Stage::Hold);
        if self.steps.is_empty() && self.held > 0 && !was_hold && direction == Direction::TwoWay {
            self.held = 0;
            self.steps.push_back(RunStep::new(Side::App, Stage::Again, self.app_since.clone()));
        }
        self.steps.is_empty()
    }
}

/// Pairs by their numbers, a bit each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PairSet(Vec<u64>);

impl PairSet {
    /// Puts a pair in.
    pub fn insert(&mut self, pair: PairNo) {
        let (word, bit) = Self::place(pair);
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= bit;
    }

    /// Whether a pair is in it.
    #[must_use]
    pub fn contains(&self, pair: PairNo) -> bool {
        let (word, bit) = Self::place(pair);
        self.0.get(word).is_some_and(|bits| bits & bit != 0)
    }

    /// Takes all out.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    fn place(pair: PairNo) -> (usize, u64) {
        (usize::try_from(pair.0 / 64).unwrap_or(usize::MAX), 1 << (pair.0 % 64))
    }
}

/// What one page came to.
#[derive(Debug, Clone, Default)]
pub struct PageDone {
    /// Entries on it.
    pub entries: u64,
    /// Entries the whole read will have, where told.
    pub total: Option<u64>,
    /// How the read goes on.
    pub next: Option<PageToken>,
    /// The cursor that is safe once this page is accounted for.
    pub cursor: Option<Cursor>,
    /// The pages shifted.
    pub drifted: bool,
    /// The next page is to be asked for no sooner than this many milliseconds from now.
    pub again_after_ms: Option<u64>,
    /// New records that wait for the other side.
    pub held: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::Epoch;

    fn run(direction: Direction, matches: bool) -> Run {
        let since = PerSide { app: Some(Cursor::new("a")), remote: Some(Cursor::new("r")) };
        Run::new(RunId { epoch: Epoch(1), n: 1 }, Lane::Schedule, 0, direction, matches, since, false)
    }

    fn last(held: u64) -> PageDone {
        PageDone { held, cursor: Some(Cursor::new("new")), ..PageDone::default() }
    }

    #[test]
    fn a_two_way_run_reads_the_first_side_again_only_for_what_it_held() {
        let mut quiet = run(Direction::TwoWay, true);
        assert!(!quiet.page_done(Direction::TwoWay, last(0)));
        assert!(quiet.page_done(Direction::TwoWay, last(0)));
        let mut busy = run(Direction::TwoWay, true);
        assert!(!busy.page_done(Direction::TwoWay, last(2)));
        assert!(!busy.page_done(Direction::TwoWay, last(0)));
        let third = busy.current().unwrap();
        assert_eq!(
            (third.side, third.stage, third.since.as_ref().map(Cursor::as_str)),
            (Side::App, Stage::Again, Some("a"))
        );
        assert!(busy.page_done(Direction::TwoWay, last(0)));
    }

    #[test]
    fn only_what_is_read_from_its_beginning_to_its_end_is_complete() {
        let mut changes = run(Direction::TwoWay, true);
        changes.page_done(Direction::TwoWay, last(0));
        assert_eq!(changes.complete, PerSide { app: false, remote: false });
        let none = PerSide { app: None, remote: None };
        let mut all = Run::new(RunId { epoch: Epoch(1), n: 1 }, Lane::Backfill, 0, Direction::TwoWay, true, none, true);
        all.page_done(Direction::TwoWay, PageDone { next: Some(PageToken::new("2")), ..last(0) });
        assert!(!all.complete.app);
        all.page_done(Direction::TwoWay, last(0));
        assert_eq!(all.complete, PerSide { app: true, remote: false });
    }

    #[test]
    fn a_set_of_pairs_holds_what_was_put_in() {
        let mut set = PairSet::default();
        for pair in [0, 63, 64, 1_000] {
            assert!(!set.contains(PairNo(pair)));
            set.insert(PairNo(pair));
            assert!(set.contains(PairNo(pair)));
        }
        assert!(!set.contains(PairNo(65)) && !set.contains(PairNo(1_000_000)));
        set.clear();
        assert_eq!(set, PairSet::default());
    }

    #[test]
    fn one_way_runs_know_the_target_before_they_create_there() {
        let sides = |run: Run| run.steps.iter().map(|step| (step.side, step.stage)).collect::<Vec<_>>();
        assert_eq!(sides(run(Direction::Out, true)), [(Side::Remote, Stage::Hold), (Side::App, Stage::Create)]);
        assert_eq!(sides(run(Direction::In, true)), [(Side::App, Stage::Hold), (Side::Remote, Stage::Create)]);
        assert_eq!(sides(run(Direction::Out, false)), [(Side::App, Stage::Create)]);
    }

    #[test]
    fn a_run_that_ends_early_reads_what_it_held_once_more() {
        let mut run = run(Direction::TwoWay, true);
        assert!(!run.page_done(Direction::TwoWay, last(1)), "the app's new record is held");
        let shifted = || PageDone { drifted: true, ..last(0) };
        while !run.page_done(Direction::TwoWay, shifted()) {}
        assert!(run.drifted.remote);
        assert_eq!(run.reached.app, None, "the next run must see that record again");
    }

    #[test]
    fn shifted_pages_start_the_read_over_and_then_leave_the_cursor() {
        let mut run = run(Direction::In, false);
        for _ in 0..MAX_DRIFT_RESTARTS {
            assert!(!run.page_done(Direction::In, PageDone { drifted: true, ..last(0) }));
        }
        assert!(run.page_done(Direction::In, PageDone { drifted: true, ..last(0) }));
        assert!(run.drifted.remote);
    }
}
