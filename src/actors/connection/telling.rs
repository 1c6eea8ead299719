//! What a connection tells the host by itself: that work is late, and that it is done.

use std::time::Duration;

use actix::prelude::*;

use super::{Connection, SETTLE_MS};
use crate::model::notice::Notice;
use crate::model::write::{ConnectorError, NextStep};
use crate::reconcile::lifecycle::Lifecycle;

impl Connection {
    /// Tells that nothing is done any more until somebody acts.
    pub(super) fn tell_suspended(&self, error: &ConnectorError) {
        let reason = error.message.clone();
        self.tell(match error.next {
            NextStep::Reauthorise => Notice::NeedsAuthorisation { reason },
            NextStep::Retry
            | NextStep::Wait { .. }
            | NextStep::Quarantine
            | NextStep::Fail
            | NextStep::Resync
            | NextStep::TreatAsDeleted => Notice::Suspended { reason },
        });
    }

    /// Tells which syncs have caught up, and looks now and then whether work is late while
    /// there is any.
    pub(super) fn tell_progress(&mut self, ctx: &mut Context<Self>) {
        self.tell_caught_up();
        if self.late_timer.is_none() && self.waiting_since_ms().is_some() {
            let again = Duration::from_millis((self.core.notifier.late_after_ms() / 4).max(1));
            self.late_timer = Some(ctx.run_later(again, |act, ctx| {
                act.late_timer = None;
                act.tell_late();
                act.tell_progress(ctx);
            }));
        }
    }

    fn tell_late(&mut self) {
        let Some(waiting_ms) = self.late_ms() else { return };
        if !self.told_late && self.lifecycle != Lifecycle::Paused {
            self.told_late = true;
            self.syncs.iter_mut().for_each(|state| state.behind = true);
            tracing::warn!(connection.id = %self.core.id, waiting_ms, "work has been waiting for too long");
            self.tell(Notice::Late { waiting_ms });
        }
    }

    fn tell_caught_up(&mut self) {
        if !self.lifecycle.may_work() || !self.syncs.iter().any(|state| state.behind) {
            return;
        }
        let soon_ms = self.core.env.now_ms() + SETTLE_MS;
        for index in 0..self.syncs.len() {
            let state = &self.syncs[index];
            let no = state.sync.no;
            let has_left = !state.backfilled
                || state.has_run()
                || self.queue.has_due(no, soon_ms, u32::MAX)
                || self.open_soon(index, soon_ms);
            if state.behind && !has_left {
                let sync = state.sync.name.clone();
                self.syncs[index].behind = false;
                tracing::info!(connection.id = %self.core.id, %sync, "caught up");
                self.tell(Notice::CaughtUp { sync });
            }
        }
        self.told_late &= self.syncs.iter().any(|state| state.behind);
    }

    /// For how long work has been waiting, in milliseconds, where that is too long.
    pub(super) fn late_ms(&self) -> Option<u64> {
        let waiting_ms = self.core.env.now_ms().saturating_sub(self.waiting_since_ms()?);
        u64::try_from(waiting_ms).ok().filter(|waiting_ms| *waiting_ms >= self.core.notifier.late_after_ms())
    }

    /// Since when the oldest work has been waiting. A first or complete read takes as long as
    /// it takes, and is no delay.
    fn waiting_since_ms(&self) -> Option<i64> {
        let runs = self.syncs.iter().filter_map(|state| match (&state.run, state.wanted) {
            (Some(run), _) => (!run.backfill).then_some(run.started_ms),
            (None, Some(wanted)) => (state.backfilled && !wanted.full).then_some(wanted.since_ms),
            (None, None) => None,
        });
        runs.chain(self.queue.oldest_ms()).min()
    }

    fn tell(&self, notice: Notice) {
        self.core.notifier.tell(&self.core.id, self.core.env.now_ms(), notice);
    }
}
