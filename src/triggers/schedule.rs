//! The schedule: an actor beside each connection that says when a sync is due.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;

use crate::actors::connection::Connection;
use crate::actors::message::{Ran, Tick};
use crate::actors::spec::{ConnectionSpec, Schedule};
use crate::actors::supervisor::StartTriggers;
use crate::model::ids::SyncName;

/// Sends a [`Tick`] for each sync when it is due: shortly after the start, then so long
/// after the end of each run. Keeps nothing: after a restart every sync is simply due.
pub struct ScheduleTrigger {
    schedules: HashMap<SyncName, Schedule>,
    connection: actix::WeakAddr<Connection>,
    timers: HashMap<SyncName, SpawnHandle>,
    rng: fastrand::Rng,
}

/// The first run after a start comes within this time, in milliseconds, so that many
/// connections do not all call at once, and nobody waits long.
const FIRST_WITHIN_MS: u64 = 1_000;

/// Starts a schedule beside each connection that has one.
#[must_use]
pub fn starter() -> StartTriggers {
    Arc::new(|spec: &ConnectionSpec, connection, rng| {
        let scheduled = spec.syncs.iter().filter_map(|sync| Some((sync.name.clone(), sync.schedule?)));
        let schedules: HashMap<SyncName, Schedule> = scheduled.collect();
        if schedules.is_empty() {
            return None;
        }
        Some(Recipient::from(ScheduleTrigger::new(schedules, connection, rng).start()))
    })
}

impl ScheduleTrigger {
    /// A schedule for one connection.
    #[must_use]
    pub fn new(
        schedules: HashMap<SyncName, Schedule>,
        connection: actix::WeakAddr<Connection>,
        rng: fastrand::Rng,
    ) -> Self {
        Self { schedules, connection, timers: HashMap::new(), rng }
    }

    fn arm(&mut self, sync: SyncName, wait_ms: u64, ctx: &mut Context<Self>) {
        let name = sync.clone();
        let timer = ctx.run_later(Duration::from_millis(wait_ms), move |act, ctx| {
            match act.connection.upgrade() {
                Some(connection) => connection.do_send(Tick { sync: name.clone() }),
                // The connection is gone; its next life brings a schedule of its own.
                None => ctx.stop(),
            }
        });
        if let Some(old) = self.timers.insert(sync, timer) {
            ctx.cancel_future(old);
        }
    }

    fn next_ms(&mut self, schedule: Schedule) -> u64 {
        schedule.every_ms.saturating_add(self.rng.u64(0..=schedule.jitter_ms))
    }
}

impl Actor for ScheduleTrigger {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let mut schedules: Vec<(SyncName, Schedule)> =
            self.schedules.iter().map(|(name, schedule)| (name.clone(), *schedule)).collect();
        schedules.sort_by(|a, b| a.0.cmp(&b.0));
        for (sync, schedule) in schedules {
            let wait_ms = self.rng.u64(0..=FIRST_WITHIN_MS.min(schedule.jitter_ms));
            self.arm(sync, wait_ms, ctx);
        }
    }
}

impl Handler<Ran> for ScheduleTrigger {
    type Result = ();

    fn handle(&mut self, Ran { sync }: Ran, ctx: &mut Context<Self>) {
        if let Some(schedule) = self.schedules.get(&sync).copied() {
            let wait_ms = self.next_ms(schedule);
            self.arm(sync, wait_ms, ctx);
        }
    }
}
