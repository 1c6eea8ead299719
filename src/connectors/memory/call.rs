//! One call as the app meets it: it arrives, takes effect and is answered, or hangs for
//! ever somewhere between.

use std::time::Duration;

use super::MemoryApp;
use super::faults::{CallShape, Fault};
use super::log::{LogEntry, Moment, Operation};
use crate::connectors::Calls;
use crate::model::ids::ObjectName;

/// For how long a connector pauses after a 429 that names no time; as the HTTP
/// connector does where its file says nothing.
pub(super) const SILENT_PAUSE_MS: u64 = 5_000;

/// A call that has reached the app.
pub(super) struct Arrival {
    pub call: u64,
    pub fault: Option<Fault>,
    /// The part of the call that the fault is about.
    pub part: Option<usize>,
    at_ms: u64,
    latency_ms: u64,
    /// How often the app had been frozen.
    freezes: u64,
}

impl MemoryApp {
    /// A call reaches the app; while that is frozen, it never does.
    ///
    /// # Panics
    /// When a fault says so, without holding the lock.
    pub(super) async fn arrive(&self, shape: CallShape<'_>) -> Arrival {
        let freezes = self.lock().freezes;
        self.hang_if_frozen_since(freezes).await;
        let arrival = {
            let mut world = self.lock();
            let (call, fault) = world.arrive(&shape);
            let (least, most) = world.behaviour.latency_ms;
            let late_ms = match &fault {
                Some((Fault::Slow { by_ms }, _)) => *by_ms,
                Some(_) | None => 0,
            };
            let latency_ms = world.rng.u64(least..=most.max(least)) + late_ms;
            let (fault, part) = fault.map_or((None, None), |(fault, part)| (Some(fault), part));
            Arrival { call, fault, part, at_ms: world.now_ms(), latency_ms, freezes }
        };
        if matches!(arrival.fault, Some(Fault::Panic)) {
            panic!("the memory connector was told to panic");
        }
        arrival
    }

    /// Half of the time a call takes, until right before it takes effect.
    pub(super) async fn until_effect(&self, arrival: &Arrival) {
        sleep(arrival.latency_ms / 2).await;
        self.tell(arrival, Moment::BeforeEffect).await;
    }

    /// The other half, until its answer has arrived.
    pub(super) async fn until_answer(&self, arrival: &Arrival) {
        self.tell(arrival, Moment::BeforeAnswer).await;
        sleep(arrival.latency_ms.div_ceil(2)).await;
        self.hang_if_frozen_since(arrival.freezes).await;
    }

    async fn tell(&self, arrival: &Arrival, moment: Moment) {
        self.hang_if_frozen_since(arrival.freezes).await;
        let hook = self.lock().hook.clone();
        if let Some(hook) = hook {
            // Without the lock: it may look at the app and freeze it.
            hook(arrival.call, moment);
        }
        self.hang_if_frozen_since(arrival.freezes).await;
    }

    async fn hang_if_frozen_since(&self, freezes: u64) {
        let hangs = {
            let world = self.lock();
            world.frozen || world.freezes != freezes
        };
        if hangs {
            std::future::pending::<()>().await;
        }
    }
}

impl Arrival {
    pub(super) fn log_entry(&self, name: &ObjectName, operation: Operation) -> LogEntry {
        let Self { call, at_ms, fault, part: _, latency_ms: _, freezes: _ } = self;
        LogEntry { call: *call, at_ms: *at_ms, object: name.clone(), operation, fault: fault.clone(), applied: false }
    }

    /// Does what a connector must when it is told to come back later.
    pub(super) fn obey(&self, calls: &Calls) {
        match self.fault {
            Some(Fault::RateLimited { retry_after_ms }) => calls.pause(Duration::from_millis(retry_after_ms)),
            Some(Fault::RateLimitedSilently) => calls.pause(Duration::from_millis(SILENT_PAUSE_MS)),
            Some(_) | None => {}
        }
    }
}

async fn sleep(millis: u64) {
    if millis > 0 {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }
}
