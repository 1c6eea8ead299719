//! The connection: one customer's account, the actor that owns its cursors, markers
//! and pending work.
//!
//! It keeps no work in its mailbox. Two slots run units of work: the *live* one for
//! what somebody waits for (event, webhook, manual), the *bulk* one for schedules,
//! backfills and audits. Each is serial; between them the budget decides, call by call,
//! in the order of lanes. So live work overtakes a backfill within one request, and
//! status or drain are always answered.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::oneshot;
use tracing::Instrument;

use crate::actors::batch::{self, Fetched, Report, Stop};
use crate::actors::core::Core;
use crate::actors::inbox::{Inbox, Mark, Sorted};
use crate::actors::message::{
    Abort, ConnectionStatus, Drain, GetStatus, InboxFilled, MarkError, MarkRecord, NamedRecord, QuarantineRow, Ran,
    RunReport, RunSync, SetPaused, SyncStatus, Tick, UnlinkedRow, Wake,
};
use crate::actors::queue::{PendingQueue, PendingRow};
use crate::actors::recovery;
use crate::actors::told;
use crate::connectors::Read;
use crate::model::cursor::{Cursor, CursorDelta, StreamNo};
use crate::model::ids::{PairNo, RecordId, RunId, SyncName, SyncNo};
use crate::model::record::{DeletionCause, Entry};
use crate::model::side::{PerSide, Side};
use crate::model::work::{Intent, IntentState, Lane, Pending, PendingReason, Totals};
use crate::model::write::{ConnectorError, NextStep};
use crate::planted::{self, Bug};
use crate::reconcile::case::{Observation, Stage};
use crate::reconcile::lifecycle::{Event, Lifecycle};
use crate::reconcile::reference::LinkKey;
use crate::reconcile::run::{PageDone, PairSet, Run, RunStep};
use crate::reconcile::sync::BoundSync;
use crate::store::{Commit, StoreError};

/// How many pending records one unit of work takes. As many as a typical batch read;
/// small enough that a mark never waits long behind others of its lane.
const PENDING_AT_ONCE: usize = 50;

/// How long a run's caller is kept waiting for what the run left pending, in
/// milliseconds; what is due later than that is reported as pending.
const SETTLE_MS: i64 = 5_000;

/// How many pages one unit of work takes at most, and how many entries it stops at:
/// enough that two flushes a unit weigh little, few enough to bound memory.
const MOST_PAGES_AT_ONCE: u32 = 8;
const MOST_ENTRIES_AT_ONCE: usize = 500;

/// How many markers are looked through, or rows written, in one go.
const MARKERS_AT_ONCE: usize = 1_000;

/// How many records a status names of those that are held back or wait for others.
const ROWS_SHOWN: usize = 20;

mod telling;

/// The stream whose cursor row says that the first complete read has ended.
const BACKFILL_DONE: StreamNo = StreamNo(255);

/// The connection's actor. Its fields are a cache of the store, except for what is in
/// flight.
pub struct Connection {
    core: Rc<Core>,
    syncs: Vec<SyncState>,
    queue: PendingQueue,
    inbox: Inbox,
    lifecycle: Lifecycle,
    error: Option<String>,
    busy: [bool; 2],
    runs: u64,
    ran: Option<Recipient<Ran>>,
    drained: Vec<oneshot::Sender<()>>,
    timer: Option<SpawnHandle>,
    late_timer: Option<SpawnHandle>,
    told_late: bool,
    backoff: Option<SpawnHandle>,
    /// Open writes that were asked about, and are not asked about again before this.
    recover_after: HashMap<(SyncNo, PairNo), i64>,
    rng: fastrand::Rng,
    // Dropped with the actor, however it ends: that is how its supervisor learns of it.
    _gone: oneshot::Sender<()>,
}

struct SyncState {
    sync: Arc<BoundSync>,
    backfilled: bool,
    run: Option<Run>,
    stored: PerSide<Option<Cursor>>,
    wanted: Option<Wanted>,
    waiting: Vec<oneshot::Sender<RunReport>>,
    running: Vec<oneshot::Sender<RunReport>>,
    settling: Vec<oneshot::Sender<RunReport>>,
    totals_before: Totals,
    last_started_ms: Option<i64>,
    last_run_ms: Option<i64>,
    /// The row in which it is remembered when the last run began, where that is of use: a
    /// sync that follows the clock has to know what it missed.
    last_run: Option<Option<Cursor>>,
    /// Number of the last run that has ended well.
    last_ended: u64,
    not_before_ms: i64,
    failures: u32,
    error: Option<String>,
    paging: bool,
    /// The host will be told once it has caught up.
    behind: bool,
    /// What a read of everything has shown so far, by the pairs it belongs to.
    listed: PerSide<PairSet>,
    /// How many pages one unit of work takes.
    pages_at_once: u32,
}

#[derive(Debug, Clone, Copy)]
struct Wanted {
    lane: Lane,
    full: bool,
    since_ms: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Live,
    Bulk,
}

impl Slot {
    const BOTH: [Slot; 2] = [Slot::Live, Slot::Bulk];

    fn takes(self, lane: Lane) -> bool {
        match lane {
            Lane::Event | Lane::Webhook | Lane::Manual => self == Slot::Live,
            Lane::Schedule | Lane::Backfill | Lane::Audit => self == Slot::Bulk,
        }
    }

    fn index(self) -> usize {
        match self {
            Slot::Live => 0,
            Slot::Bulk => 1,
        }
    }
}

enum Job {
    Recover(usize, PairNo, Intent),
    Records(usize, Vec<PendingRow>),
    Page(usize, RunStep, Lane),
    EndRun(usize),
}

/// What some pages of a run came to.
struct PagesDone {
    report: Report,
    page: PageDone,
    /// Of a read of everything: the pairs of what it showed.
    listed: Vec<PairNo>,
}

enum Done {
    Recovered(Result<Report, Stop>),
    Records(Vec<PendingRow>, Result<Report, Stop>),
    Page(usize, Duration, Result<PagesDone, Stop>),
    EndRun(usize, Result<Vec<PendingRow>, Stop>),
}

impl Connection {
    /// What its units of work share.
    pub(super) fn core(&self) -> Rc<Core> {
        Rc::clone(&self.core)
    }

    /// Loads a connection's state. Of the syncs that are `clocked` it is remembered when they
    /// ran last; `gone` is dropped when the actor ends.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn load(
        core: Core,
        paused: bool,
        clocked: BTreeSet<SyncName>,
        gone: oneshot::Sender<()>,
    ) -> Result<Self, StoreError> {
        let core = Rc::new(core);
        let snapshot = core.snapshot()?;
        let mut queue = PendingQueue::default();
        for crate::store::PendingRow { lane, seq, sync, pending } in snapshot.pending_all(core.conn)? {
            if planted::is(Bug::PendingLostAtRestart) {
                continue;
            }
            let awaits = (pending.reason == PendingReason::AwaitPartner).then_some(0);
            queue.add(PendingRow { awaits, ..PendingRow::new(lane, seq, sync, pending) });
        }
        let mut syncs = Vec::with_capacity(core.syncs.len());
        for sync in &core.syncs {
            let cursor = |side: Side, stream| snapshot.cursor(core.conn, sync.no, side, stream);
            let stored = PerSide {
                app: cursor(Side::App, StreamNo::CHANGES)?,
                remote: cursor(Side::Remote, StreamNo::CHANGES)?,
            };
            let backfilled = cursor(Side::App, BACKFILL_DONE)?.is_some();
            let mut state = SyncState::new(Arc::clone(sync), backfilled, stored);
            if clocked.contains(&sync.name) {
                state.remember(cursor(Side::App, StreamNo::LAST_RUN)?);
            }
            syncs.push(state);
        }
        drop(snapshot);
        let rng = core.env.rng(u64::from(core.conn.0) << 32);
        let inbox = Inbox::new(&core.syncs, PerSide::from_fn(|side| core.calls[side].windows()));
        Ok(Self {
            core,
            syncs,
            queue,
            inbox,
            lifecycle: if paused { Lifecycle::Paused } else { Lifecycle::Ready },
            error: None,
            busy: [false; 2],
            runs: 0,
            ran: None,
            drained: Vec::new(),
            timer: None,
            late_timer: None,
            told_late: false,
            backoff: None,
            recover_after: HashMap::new(),
            rng,
            _gone: gone,
        })
    }

    /// When the last runs of syncs began, in milliseconds since 1970.
    #[must_use]
    pub fn last_runs(&self) -> BTreeMap<SyncName, i64> {
        let began = self.syncs.iter().filter_map(|state| Some((state.sync.name.clone(), state.last_started_ms?)));
        began.collect()
    }

    /// Tells somebody (the schedule) whenever a run is over.
    #[must_use]
    pub fn telling(mut self, ran: Recipient<Ran>) -> Self {
        self.ran = Some(ran);
        self
    }

    /// Starts whatever can start, then arms the timer for what is due later.
    fn pump(&mut self, ctx: &mut Context<Self>) {
        if self.lifecycle.may_work() {
            for slot in Slot::BOTH {
                if !self.busy[slot.index()]
                    && let Some(job) = self.next_job(slot)
                {
                    self.start(slot, job, ctx);
                }
            }
        }
        self.settle();
        self.tell_progress(ctx);
        self.arm(ctx);
        if self.lifecycle == Lifecycle::Draining && self.busy == [false, false] {
            for waiter in self.drained.drain(..) {
                let _ = waiter.send(());
            }
            ctx.stop();
        }
    }

    fn next_job(&mut self, slot: Slot) -> Option<Job> {
        let now_ms = self.core.env.now_ms();
        if slot == Slot::Live
            && let Some(job) = self.next_recovery(now_ms)
        {
            return Some(job);
        }
        let run = self.next_run(slot, now_ms);
        // A run that has not begun waits for what earlier ones left: where one follows the
        // other without a pause, it would never get its turn.
        let run_lane = run.filter(|(_, index)| self.syncs[*index].run.is_some()).map(|(lane, _)| lane);
        let syncs = &self.syncs;
        let last_run = |no: SyncNo| syncs.iter().find(|state| state.sync.no == no).map_or(0, |state| state.last_ended);
        let lanes = |lane: Lane| slot.takes(lane) && run_lane.is_none_or(|run| lane <= run);
        let rows = self.queue.take(lanes, now_ms, PENDING_AT_ONCE, last_run);
        if let Some(row) = rows.first() {
            if let Some(index) = self.index_of(row.sync) {
                return Some(Job::Records(index, rows));
            }
            // A sync that is no longer configured: its rows wait for it.
            return run.map(|(lane, index)| self.page_job(index, lane, now_ms));
        }
        run.map(|(lane, index)| self.page_job(index, lane, now_ms))
    }

    fn next_recovery(&self, now_ms: i64) -> Option<Job> {
        let intents = self.core.intents.borrow();
        let mut due: Vec<(usize, PairNo, &Intent)> = intents
            .iter()
            .filter_map(|((sync, pair), intent)| Some((self.index_of(*sync)?, *pair, intent)))
            .filter(|(index, pair, intent)| {
                self.recoverable_ms(*index, *pair, intent).is_some_and(|due_ms| due_ms <= now_ms)
            })
            .collect();
        if !planted::is(Bug::RecoveriesUnsorted) {
            due.sort_by_key(|(index, pair, _)| (*index, *pair));
        }
        due.first().map(|(index, pair, intent)| Job::Recover(*index, *pair, (*intent).clone()))
    }

    /// When an open write may be recovered; `None` while its answer is awaited, or
    /// when only a person can.
    fn recoverable_ms(&self, index: usize, pair: PairNo, intent: &Intent) -> Option<i64> {
        match intent.state {
            IntentState::Open if intent.epoch == self.core.right.epoch() => None,
            IntentState::Open | IntentState::Unknown | IntentState::GivenUp => {
                let left_ms = recovery::left_ms(&self.core, &self.syncs[index].sync, pair, intent);
                let due_ms = self.core.env.now_ms().saturating_add_unsigned(left_ms);
                let key = (self.syncs[index].sync.no, pair);
                Some(due_ms.max(self.recover_after.get(&key).copied().unwrap_or(0)))
            }
            IntentState::Parked => None,
        }
    }

    /// The best run of a slot: one in progress, or one that is wanted.
    fn next_run(&self, slot: Slot, now_ms: i64) -> Option<(Lane, usize)> {
        let lane_of = |state: &SyncState| match (&state.run, state.wanted) {
            (Some(run), _) => Some(run.lane),
            (None, Some(wanted)) => Some(state.lane_for(wanted)),
            (None, None) => None,
        };
        self.syncs
            .iter()
            .enumerate()
            .filter(|(index, state)| !state.paging && state.not_before_ms <= now_ms && !self.goes_after(*index))
            .filter_map(|(index, state)| Some((lane_of(state)?, index)))
            .filter(|(lane, _)| slot.takes(*lane))
            .min()
    }

    /// Whether a first read waits for that of a sync whose records its own may name: they would
    /// only wait for those, one by one.
    fn goes_after(&self, index: usize) -> bool {
        let state = &self.syncs[index];
        if state.backfilled || state.run.is_some() {
            return false;
        }
        let awaited = state.sync.references.iter().filter(|referred| !referred.leave_out);
        let mut awaited = awaited.filter_map(|referred| Some(&self.syncs[self.index_of(referred.no)?]));
        awaited.any(|other| !other.backfilled && other.has_run() && other.failures == 0)
    }

    fn page_job(&mut self, index: usize, lane: Lane, now_ms: i64) -> Job {
        if self.syncs[index].run.is_none() {
            self.begin_run(index, lane, now_ms);
        }
        let state = &mut self.syncs[index];
        state.paging = true;
        match state.run.as_ref().and_then(Run::current) {
            Some(step) => Job::Page(index, step.clone(), lane),
            None => Job::EndRun(index),
        }
    }

    fn begin_run(&mut self, index: usize, lane: Lane, now_ms: i64) {
        self.runs += 1;
        self.inbox.run_begins(self.syncs[index].sync.no);
        let id = RunId { epoch: self.core.right.epoch(), n: self.runs };
        let state = &mut self.syncs[index];
        let full = state.wanted.is_some_and(|wanted| wanted.full);
        state.wanted = None;
        state.running.append(&mut state.waiting);
        state.totals_before = self.core.totals.borrow().get(&state.sync.no).copied().unwrap_or_default();
        let sync = Arc::clone(&state.sync);
        let backfill = !state.backfilled || full;
        let since = PerSide::from_fn(|side| {
            state.stored[side].clone().filter(|_| !backfill && sync.capabilities[side].changes)
        });
        let matches = !sync.mapping.match_fields.is_empty();
        tracing::info!(connection.id = %self.core.id, sync = %sync.name, run.id = %id, lane = lane.as_str(), backfill, "run starts");
        state.run = Some(Run::new(id, lane, now_ms, sync.direction, matches, since, backfill));
    }

    fn start(&mut self, slot: Slot, job: Job, ctx: &mut Context<Self>) {
        self.busy[slot.index()] = true;
        let core = Rc::clone(&self.core);
        let span = self.span_of(&job);
        let work = match job {
            Job::Recover(index, pair, intent) => {
                // Whatever comes of it, not at once again: it may be leased, or its
                // side unreachable.
                let again_ms = self.core.env.now_ms() + 1_000;
                self.recover_after.insert((self.syncs[index].sync.no, pair), again_ms);
                let sync = Arc::clone(&self.syncs[index].sync);
                Box::pin(async move { Done::Recovered(recovery::recover(&core, &sync, pair, intent).await) })
                    as std::pin::Pin<Box<dyn Future<Output = Done>>>
            }
            Job::Records(index, rows) => {
                let sync = Arc::clone(&self.syncs[index].sync);
                let told = self.inbox.told.take(&rows);
                Box::pin(async move {
                    let result = records(&core, &sync, rows.clone(), told).await;
                    Done::Records(rows, result)
                })
            }
            Job::Page(index, step, lane) => {
                let sync = Arc::clone(&self.syncs[index].sync);
                let most = self.syncs[index].pages_at_once;
                Box::pin(async move {
                    let started = tokio::time::Instant::now();
                    let result = pages(&core, &sync, step, lane, most).await;
                    Done::Page(index, started.elapsed(), result)
                })
            }
            Job::EndRun(index) => {
                let commit = self.run_commit(index);
                let state = &mut self.syncs[index];
                let complete = state.run.as_ref().map_or(PerSide::default(), |run| run.complete);
                let (sync, listed) = (Arc::clone(&state.sync), std::mem::take(&mut state.listed));
                let seen = Seen { complete, listed, in_work: self.queue.in_work(sync.no) };
                Box::pin(async move { Done::EndRun(index, end_of_run(&core, &sync, &seen, commit).await) })
            }
        };
        ctx.spawn(work.instrument(span).into_actor(self).map(move |done, act, ctx| {
            act.busy[slot.index()] = false;
            if act.busy == [false, false] {
                act.core.forget_decided();
            }
            act.finished(done, ctx);
            act.pump(ctx);
        }));
    }

    /// What a piece of work is about and what asked for it, for the log.
    fn span_of(&self, job: &Job) -> tracing::Span {
        let (index, cause) = match job {
            Job::Recover(index, _, _) => (*index, "open write"),
            Job::Records(index, rows) => (*index, rows.first().map_or("", |row| row.lane.as_str())),
            Job::Page(index, _, lane) => (*index, lane.as_str()),
            Job::EndRun(index) => (*index, self.syncs[*index].run.as_ref().map_or("", |run| run.lane.as_str())),
        };
        tracing::info_span!("work", connection.id = %self.core.id, sync = %self.syncs[index].sync.name, cause)
    }

    fn finished(&mut self, done: Done, ctx: &mut Context<Self>) {
        match done {
            Done::Recovered(Ok(report)) => {
                let core = Rc::clone(&self.core);
                self.recover_after.retain(|key, _| core.intents.borrow().contains_key(key));
                self.take_report(report, ctx);
            }
            Done::Recovered(Err(stop)) => self.stopped(None, stop, ctx),
            Done::Records(_, Ok(report)) => self.take_report(report, ctx),
            Done::Records(rows, Err(stop)) => {
                self.queue.give_back(&rows);
                let index = rows.first().and_then(|row| self.index_of(row.sync));
                self.stopped(index, stop, ctx);
            }
            Done::Page(index, took, Ok(PagesDone { mut report, page, listed })) => {
                let state = &mut self.syncs[index];
                if let Some(step) = state.run.as_ref().and_then(Run::current) {
                    let set = &mut state.listed[step.side];
                    if step.page.is_none() {
                        set.clear();
                    }
                    listed.into_iter().for_each(|pair| set.insert(pair));
                }
                state.pages_at_once = next_pages_at_once(state.pages_at_once, took);
                state.paging = false;
                report.held = page.held;
                if let Some(again_ms) = page.again_after_ms {
                    let again_ms = i64::try_from(again_ms).unwrap_or(i64::MAX);
                    state.not_before_ms = self.core.env.now_ms().saturating_add(again_ms);
                }
                let direction = state.sync.direction;
                if let Some(run) = &mut state.run {
                    run.page_done(direction, page);
                }
                self.take_report(report, ctx);
            }
            Done::Page(index, _, Err(stop)) => {
                self.syncs[index].paging = false;
                self.syncs[index].pages_at_once = 1;
                self.stopped(Some(index), stop, ctx);
            }
            Done::EndRun(index, Ok(missing)) => {
                self.syncs[index].paging = false;
                missing.into_iter().for_each(|row| self.queue.add(row));
                if self.end_run(index) && self.inbox.run_ended(self.syncs[index].sync.no) {
                    self.empty_inbox(ctx);
                }
            }
            Done::EndRun(index, Err(stop)) => {
                self.syncs[index].paging = false;
                self.stopped(Some(index), stop, ctx);
            }
        }
    }

    /// Takes a durable unit of work into memory.
    fn take_report(&mut self, report: Report, ctx: &mut Context<Self>) {
        for (lane, seq) in report.removed {
            self.queue.remove(lane, seq);
        }
        let links = report.added.iter().any(|row| !row.names.is_empty()).then(|| self.core.snapshot().ok()).flatten();
        for mut row in report.added {
            // What it awaited already: else each look at it by a run, which lists it again before
            // it ends, would make it wait for the next one.
            let is_alone = row.pending.reason == PendingReason::AwaitPartner;
            if row.is_undecided
                && row.awaits.is_none()
                && let Some(old) = self.queue.waiting(row.sync, row.pending.side, &row.pending.id)
                && (!is_alone || old.lost == row.lost)
            {
                row.awaits = old.awaits;
                row.lost.clone_from(&old.lost);
            }
            if is_alone && row.awaits.is_none() {
                // Only a run that starts from now on shows whether it has a partner.
                row.awaits = Some(self.runs);
                if let Some(index) = self.index_of(row.sync) {
                    self.want(index, row.lane, false);
                }
            }
            // What it names may have been linked while the unit went on that found it was not.
            if let Some(links) = &links
                && row.names.iter().any(|name| self.core.stands(links, name))
            {
                row.pending.due_ms = self.core.env.now_ms();
            }
            self.queue.add(row);
        }
        drop(links);
        let now_ms = self.core.env.now_ms();
        report.linked.iter().for_each(|key| self.queue.linked(key, now_ms));
        match report.trouble {
            Some(error) => self.trouble(error, ctx),
            None => {
                if self.lifecycle == Lifecycle::Ready {
                    self.error = None;
                }
                self.lifecycle = self.lifecycle.after(Event::Succeeded);
            }
        }
    }

    /// A unit of work could not be done.
    fn stopped(&mut self, index: Option<usize>, stop: Stop, ctx: &mut Context<Self>) {
        match stop {
            Stop::Store(error) => {
                // Memory may be ahead of the store: forget everything and load again.
                tracing::error!(connection.id = %self.core.id, "state could not be used, starting over: {error}");
                ctx.stop();
            }
            Stop::Connector(error) => {
                if let Some(index) = index {
                    self.sync_failed(index, &error);
                }
                self.trouble(error, ctx);
            }
        }
    }

    fn sync_failed(&mut self, index: usize, error: &ConnectorError) {
        let now_ms = self.core.env.now_ms();
        let state = &mut self.syncs[index];
        state.error = Some(error.message.clone());
        state.failures = state.failures.saturating_add(1);
        let backoff_ms = i64::try_from(batch::backoff_ms(state.failures)).unwrap_or(300_000);
        match error.next {
            NextStep::Resync => {
                tracing::warn!(connection.id = %self.core.id, sync = %state.sync.name, "cursor no longer valid, reading everything: {error}");
                state.waiting.append(&mut state.running);
                state.run = None;
                state.wanted = Some(Wanted { lane: Lane::Backfill, full: true, since_ms: now_ms });
                state.not_before_ms = if state.failures > 1 { now_ms + backoff_ms } else { now_ms };
            }
            NextStep::Retry | NextStep::Wait { .. } => {
                // The connection backs off; the run goes on where it stood.
                if state.failures > 1
                    && !planted::is(Bug::ExpiredTokenKept)
                    && let Some(step) = state.run.as_mut().and_then(|run| run.steps.front_mut())
                {
                    // Perhaps the page token has expired: from the step's start.
                    step.page = None;
                }
                if state.failures >= 3 {
                    self.fail_waiters(index, &error.message);
                }
            }
            NextStep::Fail | NextStep::Quarantine | NextStep::TreatAsDeleted | NextStep::Reauthorise => {
                let lane = state.run.take().map_or(Lane::Schedule, |run| run.lane);
                state.wanted.get_or_insert(Wanted { lane: lane.max(Lane::Schedule), full: false, since_ms: now_ms });
                state.not_before_ms = now_ms + backoff_ms.max(30_000);
                self.fail_waiters(index, &error.message);
            }
        }
    }

    fn fail_waiters(&mut self, index: usize, error: &str) {
        let report = self.run_report(index, Some(error.to_owned()));
        let state = &mut self.syncs[index];
        for done in state.running.drain(..).chain(state.waiting.drain(..)) {
            let _ = done.send(report.clone());
        }
    }

    fn trouble(&mut self, error: ConnectorError, ctx: &mut Context<Self>) {
        let before = self.lifecycle;
        self.lifecycle = self.lifecycle.after(Event::Failed(error.next));
        if self.lifecycle == before && before == Lifecycle::Ready {
            tracing::warn!(connection.id = %self.core.id, "a sync cannot go on: {error}");
            return;
        }
        self.error = Some(error.message.clone());
        match self.lifecycle {
            Lifecycle::BackingOff { failures } => {
                let wait_ms = match error.next {
                    NextStep::Wait { millis } => millis,
                    NextStep::Retry
                    | NextStep::Reauthorise
                    | NextStep::Quarantine
                    | NextStep::Fail
                    | NextStep::Resync
                    | NextStep::TreatAsDeleted => batch::backoff_ms(failures),
                };
                let jitter_ms = self.rng.u64(0..=wait_ms / 4);
                tracing::warn!(connection.id = %self.core.id, failures, wait_ms, "backing off: {error}");
                if let Some(old) = self.backoff.take() {
                    ctx.cancel_future(old);
                }
                self.backoff = Some(ctx.run_later(Duration::from_millis(wait_ms + jitter_ms), |act, ctx| {
                    act.backoff = None;
                    // Ready to try; the count of failures is kept by the next failure or
                    // forgotten by the next success.
                    act.lifecycle = match act.lifecycle {
                        Lifecycle::BackingOff { .. } => Lifecycle::Ready,
                        other => other.after(Event::BackoffOver),
                    };
                    act.pump(ctx);
                }));
            }
            Lifecycle::Suspended => {
                tracing::error!(connection.id = %self.core.id, "suspended until a person acts: {error}");
                if before != Lifecycle::Suspended {
                    self.tell_suspended(&error);
                    self.syncs.iter_mut().for_each(|state| state.behind = true);
                }
                for index in 0..self.syncs.len() {
                    self.fail_waiters(index, &error.message);
                }
            }
            Lifecycle::Ready | Lifecycle::Paused | Lifecycle::Draining => {}
        }
    }

    /// The cursors a finished run leaves behind.
    fn run_commit(&self, index: usize) -> Commit {
        let mut commit = self.core.right.new_commit();
        let state = &self.syncs[index];
        let Some(run) = &state.run else { return commit };
        for side in Side::BOTH {
            let moved = planted::is(Bug::CursorBeforeRecords);
            if moved || run.drifted[side] || run.reached[side].is_none() || run.reached[side] == state.stored[side] {
                continue;
            }
            commit.move_cursor(CursorDelta {
                sync: state.sync.no,
                side,
                stream: StreamNo::CHANGES,
                from: state.stored[side].clone(),
                to: run.reached[side].clone(),
            });
        }
        let drifted = run.drifted.app || run.drifted.remote;
        if !drifted {
            self.inbox.done_with(state.sync.no).for_each(|seq| commit.delete_inbox(seq));
        }
        if !state.backfilled && !drifted {
            commit.move_cursor(CursorDelta {
                sync: state.sync.no,
                side: Side::App,
                stream: BACKFILL_DONE,
                from: None,
                to: Some(Cursor::new(run.id.to_string())),
            });
        }
        if !drifted && let Some(last) = &state.last_run {
            commit.move_cursor(CursorDelta {
                sync: state.sync.no,
                side: Side::App,
                stream: StreamNo::LAST_RUN,
                from: last.clone(),
                to: Some(Cursor::new(run.started_ms.to_string())),
            });
        }
        commit
    }

    /// Takes a finished run into memory; `false` where it has to be done again.
    fn end_run(&mut self, index: usize) -> bool {
        let report = self.run_report(index, None);
        let now_ms = self.core.env.now_ms();
        let state = &mut self.syncs[index];
        let Some(run) = state.run.take() else { return false };
        for side in Side::BOTH {
            if !run.drifted[side]
                && let Some(reached) = &run.reached[side]
            {
                state.stored[side] = Some(reached.clone());
            }
        }
        if run.drifted.app || run.drifted.remote {
            tracing::warn!(connection.id = %self.core.id, sync = %state.sync.name, run.id = %run.id, "pages shifted while they were read; the cursor stays and the next run reads them again");
            let backoff_ms = i64::try_from(batch::backoff_ms(state.failures.saturating_add(1))).unwrap_or(300_000);
            state.failures = state.failures.saturating_add(1);
            state.not_before_ms = now_ms + backoff_ms;
            let full = run.backfill && state.backfilled;
            state.wanted.get_or_insert(Wanted { lane: run.lane, full, since_ms: run.started_ms });
            state.waiting.append(&mut state.running);
            return false;
        }
        state.backfilled = true;
        // Only a run that has seen both sides whole shows that a record has no partner.
        state.last_ended = run.id.n;
        state.last_started_ms = Some(run.started_ms);
        state.last_run_ms = Some(now_ms);
        if let Some(last) = &mut state.last_run {
            *last = Some(Cursor::new(run.started_ms.to_string()));
        }
        state.failures = 0;
        state.error = None;
        let totals = report.totals;
        state.settling.append(&mut state.running);
        tracing::info!(
            connection.id = %self.core.id,
            sync = %state.sync.name,
            run.id = %run.id,
            read = totals.read,
            writes = totals.writes(),
            echoes = totals.echoes,
            "run is over"
        );
        if let Some(ran) = &self.ran {
            ran.do_send(Ran { connection: self.core.id.clone(), sync: state.sync.name.clone() });
        }
        true
    }

    fn run_report(&self, index: usize, error: Option<String>) -> RunReport {
        let state = &self.syncs[index];
        let now = self.core.totals.borrow().get(&state.sync.no).copied().unwrap_or_default();
        RunReport {
            totals: difference(&now, &state.totals_before),
            pending: self.queue.len() as u64,
            quarantined: self.core.held_back.get(),
            error,
        }
    }

    /// Answers those who wait for a run once what it left pending is done too.
    fn settle(&mut self) {
        let now_ms = self.core.env.now_ms();
        for index in 0..self.syncs.len() {
            let no = self.syncs[index].sync.no;
            let has_due = self.queue.has_due(no, now_ms + SETTLE_MS, 3) || self.open_soon(index, now_ms + SETTLE_MS);
            // A run that is under way for another reason is not waited for: where the
            // schedule is tight there always is one.
            let awaits_run = self.queue.awaits_run(no).is_some() && self.syncs[index].has_run();
            let settled = !(has_due || awaits_run);
            let over =
                settled || !self.lifecycle.may_work() && self.lifecycle != (Lifecycle::BackingOff { failures: 1 });
            if over && !self.syncs[index].settling.is_empty() {
                let report = self.run_report(index, self.error.clone().filter(|_| !settled));
                for done in self.syncs[index].settling.drain(..) {
                    let _ = done.send(report.clone());
                }
            }
        }
    }

    fn open_soon(&self, index: usize, until_ms: i64) -> bool {
        let no = self.syncs[index].sync.no;
        let intents = self.core.intents.borrow();
        let mut mine = intents.iter().filter(|((sync, _), _)| *sync == no);
        mine.any(|((_, pair), intent)| {
            self.recoverable_ms(index, *pair, intent).is_some_and(|due_ms| due_ms <= until_ms)
        })
    }

    /// Wakes up when the next thing is due.
    fn arm(&mut self, ctx: &mut Context<Self>) {
        if let Some(old) = self.timer.take() {
            ctx.cancel_future(old);
        }
        if !self.lifecycle.may_work() {
            return;
        }
        let now_ms = self.core.env.now_ms();
        let recoveries = self.core.intents.borrow();
        let recovery = recoveries
            .iter()
            .filter_map(|((sync, pair), intent)| self.recoverable_ms(self.index_of(*sync)?, *pair, intent))
            .min();
        let runs = self.syncs.iter().filter(|state| !state.paging && (state.run.is_some() || state.wanted.is_some()));
        let run = runs.map(|state| state.not_before_ms).filter(|due_ms| *due_ms > now_ms).min();
        let next = [self.queue.next_due_ms(), recovery, run, self.inbox.again_ms()].into_iter().flatten().min();
        drop(recoveries);
        // What is due now and was not started waits for a slot, and the slot pumps.
        let Some(next) = next.filter(|_| self.busy != [true, true]) else { return };
        let wait_ms = u64::try_from(next.saturating_sub(now_ms)).unwrap_or(0).max(1);
        if wait_ms == 1 && self.busy != [false, false] && next <= now_ms {
            return;
        }
        self.timer = Some(ctx.run_later(Duration::from_millis(wait_ms), |act, ctx| {
            act.timer = None;
            if act.inbox.takes_up_later(act.core.env.now_ms()) {
                act.empty_inbox(ctx);
            }
            act.pump(ctx);
        }));
    }

    fn index_of(&self, no: SyncNo) -> Option<usize> {
        self.syncs.iter().position(|state| state.sync.no == no)
    }

    fn want(&mut self, index: usize, lane: Lane, full: bool) {
        let state = &mut self.syncs[index];
        if state.run.is_some() && planted::is(Bug::WakeSwallowed) {
            return;
        }
        let wanted = state.wanted.get_or_insert(Wanted { lane, full, since_ms: self.core.env.now_ms() });
        wanted.lane = wanted.lane.min(lane);
        wanted.full |= full;
        if lane <= Lane::Manual {
            state.not_before_ms = 0;
        }
    }

    fn status(&self) -> Result<ConnectionStatus, StoreError> {
        let snapshot = self.core.snapshot()?;
        let now_ms = self.core.env.now_ms();
        let age_ms = |since: i64| u64::try_from(now_ms.saturating_sub(since)).unwrap_or(0);
        let name_of = |no| self.core.sync(no).map(|sync| sync.name.clone());
        let quarantine = snapshot
            .quarantine(self.core.conn, ROWS_SHOWN)?
            .into_iter()
            .filter_map(|(sync, side, id, held)| Some(QuarantineRow { sync: name_of(sync)?, side, id, held }))
            .collect();
        let unlinked = |row: &PendingRow| {
            let named = |name: &LinkKey| Some(NamedRecord { sync: name_of(name.sync)?, id: name.id.to_string() });
            Some(UnlinkedRow {
                sync: name_of(row.sync)?,
                side: row.pending.side,
                id: row.pending.id.to_string(),
                names: row.names.iter().filter_map(named).collect(),
                waited_ms: age_ms(row.pending.since_ms),
            })
        };
        Ok(ConnectionStatus {
            id: self.core.id.clone(),
            state: self.lifecycle.as_str().to_owned(),
            error: self.error.clone(),
            epoch: self.core.right.epoch().0,
            syncs: self.syncs.iter().map(|state| self.sync_status(state, &age_ms)).collect(),
            pending: self.queue.counts(),
            open_writes: self.core.intents.borrow().len() as u64,
            quarantined: self.core.held_back.get(),
            quarantine,
            unlinked: self.queue.unlinked().count() as u64,
            unlinked_rows: self.queue.unlinked().take(ROWS_SHOWN).filter_map(unlinked).collect(),
            calls: PerSide::from_fn(|side| self.core.calls[side].made()),
            oldest_pending_ms: self.queue.oldest_ms().map(age_ms),
            late_ms: self.late_ms(),
        })
    }

    fn sync_status(&self, state: &SyncState, age_ms: &dyn Fn(i64) -> u64) -> SyncStatus {
        let word = match &state.run {
            Some(run) if run.backfill => "backfill",
            Some(_) => "running",
            None if state.backfilled => "idle",
            None => "waiting for its first read",
        };
        SyncStatus {
            name: state.sync.name.clone(),
            state: word.to_owned(),
            cause: state.run.as_ref().map(|run| run.lane).or(state.wanted.map(|wanted| wanted.lane)),
            progress: state.run.as_ref().map(|run| run.progress),
            cursors: PerSide::from_fn(|side| state.stored[side].as_ref().map(|cursor| cursor.as_str().to_owned())),
            last_run_ms: state.last_run_ms,
            lag_ms: state.last_started_ms.map(age_ms),
            totals: self.core.totals.borrow().get(&state.sync.no).copied().unwrap_or_default(),
            error: state.error.clone(),
        }
    }
}

impl SyncState {
    fn new(sync: Arc<BoundSync>, backfilled: bool, stored: PerSide<Option<Cursor>>) -> Self {
        Self {
            sync,
            backfilled,
            run: None,
            stored,
            wanted: None,
            waiting: Vec::new(),
            running: Vec::new(),
            settling: Vec::new(),
            totals_before: Totals::default(),
            last_started_ms: None,
            last_run_ms: None,
            last_run: None,
            last_ended: 0,
            not_before_ms: 0,
            failures: 0,
            error: None,
            paging: false,
            behind: !backfilled,
            listed: PerSide::default(),
            pages_at_once: 1,
        }
    }

    /// Remembers from now on when the last run began.
    fn remember(&mut self, stored: Option<Cursor>) {
        self.last_started_ms = stored.as_ref().and_then(|stored| stored.as_str().parse().ok());
        self.last_run = Some(stored);
    }

    /// Whether a run is under way or wanted.
    fn has_run(&self) -> bool {
        self.run.is_some() || self.wanted.is_some()
    }

    /// A complete read is never live work, whoever asks for it: it would hold up what
    /// somebody waits for.
    fn lane_for(&self, wanted: Wanted) -> Lane {
        if self.backfilled && !wanted.full { wanted.lane } else { wanted.lane.max(Lane::Backfill) }
    }
}

/// Reads some pages of a run and carries them through together.
///
/// Each unit of work costs two flushes, so quick pages are taken several at a time;
/// how many is for the caller to say, from how long the last ones took.
async fn pages(
    core: &Rc<Core>,
    sync: &Arc<BoundSync>,
    step: RunStep,
    lane: Lane,
    most: u32,
) -> Result<PagesDone, Stop> {
    let read_at = core.write_clock();
    let mut done = PageDone { next: step.page.clone(), ..PageDone::default() };
    let mut entries = Vec::new();
    let mut trouble = None;
    for n in 0..most.max(1) {
        let token = done.next.clone();
        let read = match &step.since {
            Some(since) => Read::Changes { since: since.clone(), page: token },
            None => Read::All { page: token },
        };
        let page = match core.fetch(sync, step.side, read, lane).await {
            Ok(page) => page,
            Err(error) if n == 0 => return Err(Stop::Connector(error)),
            // What was read so far goes on; the failed page is asked for again.
            Err(error) => {
                trouble = Some(error);
                break;
            }
        };
        done.entries += page.entries.len() as u64;
        done.total = done.total.or(page.total);
        done.cursor = page.cursor;
        done.drifted |= page.drifted;
        done.next = page.next;
        done.again_after_ms = page.again_after_ms;
        entries.extend(page.entries.into_iter().map(|entry| (Observation::listed(entry), step.stage)));
        if done.next.is_none()
            || done.drifted
            || done.again_after_ms.is_some()
            || entries.len() >= MOST_ENTRIES_AT_ONCE && !planted::is(Bug::EndlessUnit)
        {
            break;
        }
    }
    let ids: Vec<RecordId> = match step.since {
        Some(_) => Vec::new(),
        None => entries.iter().filter_map(|(observation, _)| batch::entry_id(&observation.entry)).collect(),
    };
    if planted::is(Bug::CursorBeforeRecords) && done.next.is_none() && done.cursor.is_some() {
        let from = core.snapshot()?.cursor(core.conn, sync.no, step.side, StreamNo::CHANGES)?;
        let (side, stream, to) = (step.side, StreamNo::CHANGES, done.cursor.clone());
        let mut early = core.right.new_commit();
        early.move_cursor(CursorDelta { sync: sync.no, side, stream, from, to });
        core.commit(early).await?;
    }
    if planted::is(Bug::AbsentIsDeleted) && step.since.is_none() && step.page.is_none() && done.next.is_none() {
        entries.extend(absent(core, sync, step.side, step.stage, &entries)?);
    }
    let fetched = Fetched::new(core, sync, step.side, lane, entries, Vec::new(), read_at)?;
    let mut report = carry_through(fetched).await?;
    report.trouble = report.trouble.or(trouble);
    let held = report.held;
    let snapshot = core.snapshot()?;
    let mut listed = Vec::with_capacity(ids.len());
    for id in ids {
        listed.extend(snapshot.pair_by_id(core.conn, sync.no, step.side, &id)?);
    }
    Ok(PagesDone { report, page: PageDone { held, ..done }, listed })
}

/// What a run that ends has read of both sides.
struct Seen {
    complete: PerSide<bool>,
    listed: PerSide<PairSet>,
    /// The records that units of work have meanwhile.
    in_work: HashSet<(Side, RecordId)>,
}

/// Ends a run. What a side did not show though all of it was read is looked at by id:
/// it may have been deleted at a time of which the side's list of changes tells nothing
/// any more, and that a list leaves something out is no proof.
async fn end_of_run(
    core: &Rc<Core>,
    sync: &BoundSync,
    seen: &Seen,
    run_commit: Commit,
) -> Result<Vec<PendingRow>, Stop> {
    let mut rows = Vec::new();
    for side in Side::BOTH {
        if seen.complete[side] && sync.capabilities[side].read_ids > 0 {
            look_for_missing(core, sync, side, seen, &mut rows).await?;
        }
    }
    // Durable before the cursor that will not show them again.
    for some in rows.chunks(MARKERS_AT_ONCE) {
        let mut commit = core.right.new_commit();
        for row in some {
            commit.put_pending(row.sync, row.lane, row.seq, &row.pending);
        }
        core.commit(commit).await?;
    }
    core.commit(run_commit).await?;
    Ok(rows)
}

async fn look_for_missing(
    core: &Core,
    sync: &BoundSync,
    side: Side,
    seen: &Seen,
    rows: &mut Vec<PendingRow>,
) -> Result<(), Stop> {
    let now_ms = core.env.now_ms();
    let mut look_at = |id: &RecordId| {
        let pending = Pending {
            side,
            id: id.clone(),
            reason: PendingReason::Requested,
            due_ms: now_ms,
            since_ms: now_ms,
            attempts: 0,
        };
        rows.push(PendingRow::new(Lane::Backfill, core.take_seq(), sync.no, pending));
    };
    // What a unit of work is about to link, may have been read before it was deleted, and has no
    // marker yet.
    let snapshot = core.snapshot()?;
    let mut in_work: Vec<_> = seen.in_work.iter().filter(|(of, _)| *of == side).map(|(_, id)| id).collect();
    in_work.sort_unstable();
    for id in in_work {
        if snapshot.pair_by_id(core.conn, sync.no, side, id)?.is_none() {
            look_at(id);
        }
    }
    drop(snapshot);
    let mut from = PairNo(0);
    loop {
        let snapshot = core.snapshot()?;
        let markers = snapshot.markers(core.conn, sync.no, from, MARKERS_AT_ONCE)?;
        let Some((last, _)) = markers.last() else { return Ok(()) };
        from = PairNo(last.0 + 1);
        for (pair, marker) in markers {
            let Some(id) = marker.standing(side).filter(|_| !seen.listed[side].contains(pair)) else { continue };
            // One that waits will be read, but not if a unit of work has it already.
            let waits = snapshot.pending_by_id(core.conn, sync.no, side, id)?.is_some();
            if !waits || seen.in_work.contains(&(side, id.clone())) {
                look_at(id);
            }
        }
        drop(snapshot);
        // Others have their turn between two stretches.
        tokio::task::yield_now().await;
    }
}

/// What a complete list leaves out, as if that showed that it is gone.
fn absent(
    core: &Core,
    sync: &BoundSync,
    side: Side,
    stage: Stage,
    listed: &[(Observation, Stage)],
) -> Result<Vec<(Observation, Stage)>, StoreError> {
    let listed: Vec<_> = listed.iter().filter_map(|(observation, _)| batch::entry_id(&observation.entry)).collect();
    let known = core.snapshot()?.markers(core.conn, sync.no, PairNo(0), usize::MAX)?;
    let ids = known.into_iter().filter_map(|(_, marker)| marker.sides[side].id.clone());
    let gone = ids.filter(|id| !listed.contains(id));
    let gone = gone.map(|id| Entry::Deleted { id, version: None, cause: DeletionCause::Tombstone });
    Ok(gone.map(|entry| (Observation::listed(entry), stage)).collect())
}

/// How many pages to take next time: more while they are quick, fewer when they hold
/// their records for long, so that live work on the same records never waits much.
fn next_pages_at_once(now: u32, took: Duration) -> u32 {
    if took < Duration::from_millis(60) {
        if planted::is(Bug::EndlessUnit) { u32::MAX } else { (now * 2).min(MOST_PAGES_AT_ONCE) }
    } else if took > Duration::from_millis(250) {
        (now / 2).max(1)
    } else {
        now
    }
}

/// Reads some pending records by id and carries them through.
async fn records(
    core: &Rc<Core>,
    sync: &Arc<BoundSync>,
    rows: Vec<PendingRow>,
    told: HashMap<RecordId, String>,
) -> Result<Report, Stop> {
    let Some(first) = rows.first() else { return Ok(Report::default()) };
    let (side, lane) = (first.pending.side, first.lane);
    // As when the webhooks of our own writes come while the unit that writes goes on.
    let (later, rows) = batch::not_yet(core, sync, rows)?;
    let mut told_entries = HashMap::new();
    for (id, text) in &told {
        if let Some(entry) = told::usable(core, sync, side, id, text)? {
            told_entries.insert(id.clone(), entry);
        }
    }
    let ids = rows.iter().map(|row| row.pending.id.clone());
    let ids = ids.filter(|id| !told_entries.contains_key(id)).collect();
    let read_at = core.write_clock();
    let mut found = batch::fetch_ids(core, sync, side, ids, lane).await;
    let mut entries = Vec::with_capacity(rows.len());
    let mut answered = Vec::with_capacity(rows.len());
    let mut failed = Vec::new();
    for row in rows {
        if let Some(entry) = told_entries.remove(&row.pending.id) {
            // As good as a list: it may be old, though not older than what we know.
            entries.push((Observation::listed(entry), Stage::Prove));
            answered.push(row);
            continue;
        }
        match found.remove(&row.pending.id) {
            Some(Ok(entry)) => {
                let stage = match row.pending.reason {
                    PendingReason::AwaitPartner => Stage::Create,
                    _ if row.has_waited => Stage::Create,
                    PendingReason::Requested
                    | PendingReason::Retry
                    | PendingReason::Changed
                    | PendingReason::OpenCreate
                    | PendingReason::StaleRead
                    | PendingReason::PartnerUnread
                    | PendingReason::Unlinked => Stage::Prove,
                };
                entries.push((Observation::by_id(entry), stage));
                answered.push(row);
            }
            Some(Err(error)) => failed.push((row, error)),
            None if planted::is(Bug::LeftOutIsDeleted) => {
                let (id, cause) = (row.pending.id.clone(), DeletionCause::Tombstone);
                entries.push((Observation::by_id(Entry::Deleted { id, version: None, cause }), Stage::Prove));
                answered.push(row);
            }
            None => {
                let error = ConnectorError::new(NextStep::Quarantine, "the answer to reading it by id left it out");
                failed.push((row, error));
            }
        }
    }
    let mut fetched = Fetched::new(core, sync, side, lane, entries, answered, read_at)?;
    for (row, error) in failed {
        fetched.put_off_row(row, error);
    }
    for (row, why) in later {
        fetched.leave_for_later(row, why)?;
    }
    carry_through(fetched).await
}

async fn carry_through(fetched: Fetched) -> Result<Report, Stop> {
    let written = fetched.plan().await?.intend().await?.write().await;
    written.into_commit().commit().await
}

fn difference(now: &Totals, before: &Totals) -> Totals {
    let side =
        |now: PerSide<u64>, before: PerSide<u64>| PerSide::from_fn(|side| now[side].saturating_sub(before[side]));
    Totals {
        created: side(now.created, before.created),
        updated: side(now.updated, before.updated),
        deleted: side(now.deleted, before.deleted),
        echoes: now.echoes.saturating_sub(before.echoes),
        read: now.read.saturating_sub(before.read),
        unchanged: now.unchanged.saturating_sub(before.unchanged),
        matched: now.matched.saturating_sub(before.matched),
        conflicts: now.conflicts.saturating_sub(before.conflicts),
        quarantined: now.quarantined.saturating_sub(before.quarantined),
        filtered: now.filtered.saturating_sub(before.filtered),
        put_back: now.put_back.saturating_sub(before.put_back),
    }
}

impl Actor for Connection {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        for side in Side::BOTH {
            let core = Rc::clone(&self.core);
            ctx.spawn(async move { core.keep_pauses(side).await }.into_actor(self));
        }
        for index in 0..self.syncs.len() {
            // The run that a record waits for was asked for in memory only.
            if let Some(lane) = self.queue.awaits_run(self.syncs[index].sync.no) {
                self.want(index, lane, false);
            }
        }
        if !planted::is(Bug::InboxNotReadAtStart) {
            self.empty_inbox(ctx);
        }
        self.pump(ctx);
    }
}

impl Handler<RunSync> for Connection {
    type Result = ();

    fn handle(&mut self, message: RunSync, ctx: &mut Context<Self>) {
        let RunSync { sync, lane, full, done } = message;
        if self.lifecycle == Lifecycle::Suspended && lane == Lane::Manual {
            // A person asks: perhaps the credentials were renewed.
            self.lifecycle = self.lifecycle.after(Event::Resume);
        }
        let chosen: Vec<usize> = (0..self.syncs.len())
            .filter(|index| sync.as_ref().is_none_or(|name| *name == self.syncs[*index].sync.name))
            .collect();
        let refused = match (&sync, chosen.is_empty(), self.lifecycle) {
            (Some(name), true, _) => Some(format!("the connection has no sync '{name}'")),
            (None, true, _) => Some("the connection has no sync".to_owned()),
            (_, false, Lifecycle::Paused) => Some("the connection is paused".to_owned()),
            (_, false, Lifecycle::Draining) => Some("the kernel is shutting down".to_owned()),
            (_, false, Lifecycle::Ready | Lifecycle::BackingOff { .. } | Lifecycle::Suspended) => None,
        };
        if let Some(error) = refused {
            if let Some(done) = done {
                let _ = done.send(RunReport { error: Some(error), ..RunReport::default() });
            }
            return;
        }
        for index in &chosen {
            self.want(*index, lane, full);
        }
        if let Some(done) = done {
            let waiting = chosen.iter().map(|index| {
                let (sender, receiver) = oneshot::channel();
                self.syncs[*index].waiting.push(sender);
                receiver
            });
            let waiting: Vec<_> = waiting.collect();
            actix::spawn(async move {
                let mut all = RunReport::default();
                for report in waiting {
                    let report = report.await.unwrap_or_else(|_| RunReport {
                        error: Some("the connection was restarted".to_owned()),
                        ..RunReport::default()
                    });
                    all.totals.add(&report.totals);
                    all.pending = report.pending;
                    all.quarantined = report.quarantined;
                    all.error = all.error.or(report.error);
                }
                let _ = done.send(all);
            });
        }
        self.pump(ctx);
    }
}

impl Handler<Tick> for Connection {
    type Result = ();

    fn handle(&mut self, message: Tick, ctx: &mut Context<Self>) {
        if let Some(index) = self.syncs.iter().position(|state| state.sync.name == message.sync) {
            self.want(index, Lane::Schedule, false);
            self.pump(ctx);
        }
    }
}

impl Handler<Wake> for Connection {
    type Result = ();

    fn handle(&mut self, message: Wake, ctx: &mut Context<Self>) {
        for index in 0..self.syncs.len() {
            let sync = &self.syncs[index].sync;
            if sync.objects[message.side] == message.object {
                self.want(index, Lane::Event, false);
            }
        }
        self.pump(ctx);
    }
}

impl Handler<InboxFilled> for Connection {
    type Result = ();

    fn handle(&mut self, _: InboxFilled, ctx: &mut Context<Self>) {
        self.empty_inbox(ctx);
    }
}

impl Connection {
    /// Makes what stands in the inbox this connection's own work, some hints at a time:
    /// records become pending rows in the commit that takes their hints out, objects are
    /// read by a run at whose end theirs are taken out.
    fn empty_inbox(&mut self, ctx: &mut Context<Self>) {
        if let Some(again) = &mut self.inbox.emptying {
            *again = true;
            return;
        }
        let rows = match self.core.snapshot().and_then(|snapshot| self.inbox.next(&snapshot, self.core.conn)) {
            Ok(rows) if rows.is_empty() => return,
            Ok(rows) => rows,
            Err(error) => return self.stopped(None, Stop::Store(error), ctx),
        };
        let bound: Vec<&BoundSync> = self.syncs.iter().map(|state| &*state.sync).collect();
        let now_ms = self.core.env.now_ms();
        let Sorted { marks, runs, done, widened, unknown } = self.inbox.sort(rows, &self.queue, &bound, now_ms);
        for hint in unknown {
            tracing::warn!(connection.id = %self.core.id, side = %hint.side, object = %hint.object, "a hint names an object that no sync has, and is let go");
        }
        for (no, lane) in runs {
            if let Some(index) = self.index_of(no) {
                self.want(index, lane, false);
            }
        }
        let (mut commit, mut early) = (self.core.right.new_commit(), self.core.right.new_commit());
        let takes_out = if planted::is(Bug::InboxRemovedEarly) { &mut early } else { &mut commit };
        done.into_iter().for_each(|seq| takes_out.delete_inbox(seq));
        widened.iter().for_each(|(seq, hint)| commit.put_inbox(*seq, hint));
        let rows: Vec<PendingRow> = marks
            .into_iter()
            .map(|Mark { sync, side, id, lane, due_ms, since_ms, .. }| {
                self.requested(sync, side, id, lane, due_ms, since_ms)
            })
            .collect();
        for row in &rows {
            commit.put_pending(row.sync, row.lane, row.seq, &row.pending);
        }
        if commit.is_empty() && early.is_empty() {
            if self.inbox.has_more {
                self.empty_inbox(ctx);
            }
            return self.pump(ctx);
        }
        self.inbox.emptying = Some(false);
        let core = Rc::clone(&self.core);
        let stored = async move {
            if !early.is_empty() {
                core.commit(early).await?;
            }
            core.commit(commit).await
        };
        ctx.spawn(stored.into_actor(self).map(move |result, act, ctx| {
            let again = act.inbox.emptying.take().unwrap_or_default();
            if let Err(error) = result {
                return act.stopped(None, Stop::Store(error), ctx);
            }
            rows.into_iter().for_each(|row| act.queue.add(row));
            if again || act.inbox.has_more {
                act.empty_inbox(ctx);
            }
            act.pump(ctx);
        }));
    }

    /// A new row for a record that somebody asks for.
    fn requested(&self, sync: SyncNo, side: Side, id: RecordId, lane: Lane, due_ms: i64, since_ms: i64) -> PendingRow {
        let reason = PendingReason::Requested.in_place_of(self.core.pending_row(sync, side, &id).map(|row| row.reason));
        let pending = Pending { side, id, reason, due_ms, since_ms, attempts: 0 };
        PendingRow::new(lane, self.core.take_seq(), sync, pending)
    }
}

impl Handler<MarkRecord> for Connection {
    type Result = ResponseActFuture<Self, Result<(), MarkError>>;

    fn handle(&mut self, message: MarkRecord, _: &mut Context<Self>) -> Self::Result {
        let MarkRecord { sync, side, id, lane } = message;
        let Some(index) = self.syncs.iter().position(|state| state.sync.name == sync) else {
            return Box::pin(fut::ready(Err(MarkError::NoSync(sync))));
        };
        let no = self.syncs[index].sync.no;
        let waiting = self.queue.waiting(no, side, &id);
        let covered = waiting.is_some_and(|row| row.lane <= lane && row.pending.reason == PendingReason::Requested);
        if covered {
            // A mark that nobody has started on covers this one.
            return Box::pin(fut::ready(Ok(())));
        }
        let replaced = waiting.cloned();
        let now_ms = self.core.env.now_ms();
        let row = self.requested(no, side, id, lane, now_ms, now_ms);
        let mut commit = self.core.right.new_commit();
        if let Some(old) = &replaced {
            commit.delete_pending(old.sync, old.lane, old.seq, old.pending.side, &old.pending.id);
        }
        commit.put_pending(row.sync, row.lane, row.seq, &row.pending);
        self.release_parked(index, &row, &mut commit);
        let core = Rc::clone(&self.core);
        let stored = async move { core.commit(commit).await };
        Box::pin(stored.into_actor(self).map(move |result, act, ctx| {
            result.map_err(|error| MarkError::Store(error.to_string()))?;
            if let Some(old) = replaced {
                act.queue.remove(old.lane, old.seq);
            }
            act.queue.add(row);
            act.pump(ctx);
            Ok(())
        }))
    }
}

impl Connection {
    /// A person who asks for a record whose create could not be looked up has looked
    /// himself: the open write is given up and the record decided anew.
    fn release_parked(&self, index: usize, row: &PendingRow, commit: &mut Commit) {
        let no = self.syncs[index].sync.no;
        let Ok(snapshot) = self.core.snapshot() else { return };
        let Ok(Some(pair)) = snapshot.pair_by_id(self.core.conn, no, row.pending.side, &row.pending.id) else { return };
        let mut intents = self.core.intents.borrow_mut();
        if intents.get(&(no, pair)).is_some_and(|intent| intent.state == IntentState::Parked) {
            intents.remove(&(no, pair));
            commit.delete_intent(no, pair);
        }
    }
}

impl Handler<SetPaused> for Connection {
    type Result = ResponseActFuture<Self, Result<(), MarkError>>;

    fn handle(&mut self, SetPaused(paused): SetPaused, _: &mut Context<Self>) -> Self::Result {
        let result =
            self.core.store.set_paused(self.core.conn, paused).map_err(|error| MarkError::Store(error.to_string()));
        Box::pin(fut::ready(()).into_actor(self).map(move |(), act: &mut Self, ctx| {
            result?;
            act.lifecycle = act.lifecycle.after(if paused { Event::Pause } else { Event::Resume });
            if !paused {
                for state in &mut act.syncs {
                    state.not_before_ms = 0;
                }
            }
            act.pump(ctx);
            Ok(())
        }))
    }
}

impl Handler<Drain> for Connection {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Drain, ctx: &mut Context<Self>) -> Self::Result {
        self.lifecycle = self.lifecycle.after(Event::Drain);
        let (sender, receiver) = oneshot::channel();
        self.drained.push(sender);
        self.pump(ctx);
        Box::pin(async move {
            // An actor that dies while draining is drained too: its work is in the store.
            let _ = receiver.await;
        })
    }
}

impl Handler<Abort> for Connection {
    type Result = ();

    fn handle(&mut self, _: Abort, ctx: &mut Context<Self>) {
        // Not `terminate`: where a timer was cancelled in the same poll, actix 0.13 would
        // look for it for ever.
        ctx.stop();
    }
}

impl Handler<GetStatus> for Connection {
    type Result = MessageResult<GetStatus>;

    fn handle(&mut self, _: GetStatus, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.status().unwrap_or_else(|error| ConnectionStatus {
            id: self.core.id.clone(),
            state: self.lifecycle.as_str().to_owned(),
            error: Some(error.to_string()),
            epoch: self.core.right.epoch().0,
            syncs: Vec::new(),
            pending: self.queue.counts(),
            open_writes: 0,
            quarantined: 0,
            quarantine: Vec::new(),
            unlinked: 0,
            unlinked_rows: Vec::new(),
            calls: PerSide::default(),
            oldest_pending_ms: None,
            late_ms: None,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_takes_more_pages_while_they_are_quick_and_never_more_than_a_few() {
        let after = |now, millis| next_pages_at_once(now, Duration::from_millis(millis));
        assert_eq!([after(1, 1), after(4, 1), after(MOST_PAGES_AT_ONCE, 1)], [2, 8, MOST_PAGES_AT_ONCE]);
        assert_eq!([after(4, 100), after(4, 300), after(1, 300)], [4, 2, 1]);
    }
}
