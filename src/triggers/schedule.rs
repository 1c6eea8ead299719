//! The schedule: an actor on each arbiter that says when syncs are due.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::WeakAddr;
use actix::prelude::*;

use crate::actors::connection::Connection;
use crate::actors::env::Env;
use crate::actors::message::{Ran, Tick};
use crate::actors::supervisor::{StartTriggers, Started};
use crate::model::ids::ConnectionId;

use super::timetable::{Moment, Scheduled, Timetable};

/// The most syncs that are started at a time, before others get their turn on the arbiter.
const MOST_AT_ONCE: usize = 1_000;

/// Sends a [`Tick`] for each sync when it is due. All schedules of an arbiter share one
/// table and one timer.
pub struct ScheduleTrigger {
    table: Timetable<WeakAddr<Connection>>,
    env: Env,
    origin: tokio::time::Instant,
    /// The timer, and when it goes off.
    timer: Option<(SpawnHandle, u64)>,
}

/// Starts schedules beside the connections of one arbiter.
#[must_use]
pub fn starter(env: &Env) -> StartTriggers {
    let (env, kept) = (env.clone(), Mutex::<Option<Addr<ScheduleTrigger>>>::default());
    Arc::new(move |started: Started<'_>| {
        let scheduled = started.spec.syncs.iter().filter_map(|sync| {
            let last_run_ms = started.last_runs.get(&sync.name).copied();
            Some(Scheduled { sync: sync.name.clone(), schedule: sync.schedule.clone()?, last_run_ms })
        });
        let syncs: Vec<Scheduled> = scheduled.collect();
        if syncs.is_empty() {
            return None;
        }
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let alive = kept.take().filter(Addr::connected);
        let schedule = kept.insert(alive.unwrap_or_else(|| ScheduleTrigger::new(env.clone()).start()));
        schedule.do_send(Watch {
            id: started.spec.id.clone(),
            connection: started.connection,
            rng: started.rng,
            syncs,
        });
        Some(Recipient::from(schedule.clone()))
    })
}

impl ScheduleTrigger {
    /// A schedule without connections.
    #[must_use]
    pub fn new(env: Env) -> Self {
        Self { table: Timetable::new(), env, origin: tokio::time::Instant::now(), timer: None }
    }

    fn now(&self) -> Moment {
        let steady_ms = u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        Moment { steady_ms, wall_ms: self.env.now_ms() }
    }

    /// Starts what is due, and sets the timer for what is next.
    fn pump(&mut self, ctx: &mut Context<Self>) {
        for (id, connection, sync) in self.table.take_due(self.now(), MOST_AT_ONCE) {
            match connection.upgrade() {
                Some(connection) => connection.do_send(Tick { sync }),
                // The connection is gone; its next life watches anew.
                None => self.table.forget(&id),
            }
        }
        let now = self.now();
        let Some(wait_ms) = self.table.wait_ms(now) else { return };
        let at_ms = now.steady_ms.saturating_add(wait_ms);
        match self.timer {
            Some((_, earlier_ms)) if earlier_ms <= at_ms => return,
            Some((later, _)) => {
                ctx.cancel_future(later);
            }
            None => {}
        }
        let timer = ctx.run_later(Duration::from_millis(wait_ms), |act, ctx| {
            act.timer = None;
            act.pump(ctx);
        });
        self.timer = Some((timer, at_ms));
    }
}

impl Actor for ScheduleTrigger {
    type Context = Context<Self>;
}

/// The starter to the schedule: look after this connection, which has just started.
#[derive(Message)]
#[rtype(result = "()")]
struct Watch {
    id: ConnectionId,
    connection: WeakAddr<Connection>,
    rng: fastrand::Rng,
    syncs: Vec<Scheduled>,
}

impl Handler<Watch> for ScheduleTrigger {
    type Result = ();

    fn handle(&mut self, Watch { id, connection, rng, syncs }: Watch, ctx: &mut Context<Self>) {
        let now = self.now();
        self.table.watch(&id, connection, rng, syncs, now);
        self.pump(ctx);
    }
}

impl Handler<Ran> for ScheduleTrigger {
    type Result = ();

    fn handle(&mut self, Ran { connection, sync }: Ran, ctx: &mut Context<Self>) {
        let now = self.now();
        self.table.ran(&connection, &sync, now);
        self.pump(ctx);
    }
}
