//! The budget of one connection's side, lent to its connector call by call.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

use crate::model::budget::{Budget, Grant, Limits, Window};
use crate::model::work::Lane;
use crate::planted::{self, Bug};

/// Permission to call, in one lane. Cheap to clone.
///
/// When several wait, the smaller lane goes first: a pending record overtakes a running
/// backfill within one request. After 16 calls in a row that overtook
/// somebody, who waits longest goes first: a side so slow that small lanes alone keep it
/// busy would hold up a unit of work for ever, and with it the records that it leases.
/// One budget may be shared by many connections on several arbiters.
#[derive(Debug, Clone)]
pub struct Calls {
    shared: Arc<Shared>,
    lane: Lane,
    /// How many permits this handle and its clones have lent.
    lent: Arc<watch::Sender<usize>>,
}

#[derive(Debug)]
struct Shared {
    // A std lock: held for a few instructions, never over an await.
    state: Mutex<State>,
    made: AtomicU64,
    /// How often the side has asked for a pause.
    pauses: AtomicU64,
    /// Told each time. Wakes in the order in which they came, which a watch channel does
    /// not: a simulated world must go the same way again.
    paused: Notify,
    origin: Instant,
    windows: Vec<Window>,
}

/// Tells of the pauses that a side asks for.
#[derive(Debug)]
pub struct Pauses {
    shared: Arc<Shared>,
    heard: u64,
}

impl Pauses {
    /// Waits until the side has asked for a pause since this was last called, or made.
    pub async fn next(&mut self) {
        loop {
            // Made before looking, so that what comes in between is not missed.
            let told = self.shared.paused.notified();
            let asked = self.shared.pauses.load(Ordering::Acquire);
            if asked != self.heard {
                self.heard = asked;
                return;
            }
            told.await;
        }
    }
}

/// Calls in a row that may overtake one of a greater lane which waits.
const MOST_OVERTAKES: u32 = 16;

#[derive(Debug)]
struct State {
    budget: Budget,
    waiting: BTreeMap<(Lane, u64), oneshot::Sender<()>>,
    next_ticket: u64,
    /// Calls in a row that have overtaken somebody.
    overtakes: u32,
}

/// One call in flight; dropping it ends the call.
#[derive(Debug)]
#[must_use = "the call lasts as long as its permit"]
pub struct Permit {
    shared: Arc<Shared>,
    lent: Arc<watch::Sender<usize>>,
}

impl Calls {
    /// A budget of its own. The clock starts now.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let budget = Budget::new(limits, 0);
        let state = State { budget, waiting: BTreeMap::new(), next_ticket: 0, overtakes: 0 };
        let shared = Shared {
            state: Mutex::new(state),
            made: AtomicU64::new(0),
            pauses: AtomicU64::new(0),
            paused: Notify::new(),
            origin: Instant::now(),
            windows: limits.windows.clone(),
        };
        Self { shared: Arc::new(shared), lane: Lane::Manual, lent: Arc::default() }
    }

    /// The same budget, asked from another lane.
    #[must_use]
    pub fn in_lane(&self, lane: Lane) -> Self {
        Self { shared: Arc::clone(&self.shared), lane, lent: Arc::default() }
    }

    /// Waits until no call made through this handle or its clones is in flight.
    pub async fn idle(&self) {
        // Its sender is here, so that it does not end.
        let _ = self.lent.subscribe().wait_for(|lent| *lent == 0).await;
    }

    /// Waits until one more call may be made. Call it right before each request,
    /// retries included, and keep the permit until the answer is read.
    pub async fn permit(&self) -> Permit {
        let ticket = self.shared.lock().take_ticket();
        let mut place = Place { shared: &self.shared, key: (self.lane, ticket), queued: false };
        loop {
            let (sleep, ended) = {
                let mut state = self.shared.lock();
                match state.ask(place.key, self.shared.now_ms()) {
                    Grant::Go => {
                        place.queued = false;
                        state.granted(place.key);
                        drop(state);
                        self.shared.made.fetch_add(1, Ordering::Relaxed);
                        self.lent.send_modify(|lent| *lent += 1);
                        return Permit { shared: Arc::clone(&self.shared), lent: Arc::clone(&self.lent) };
                    }
                    grant @ (Grant::At(_) | Grant::WhenOneEnds) => {
                        let (sender, receiver) = oneshot::channel();
                        state.waiting.insert(place.key, sender);
                        place.queued = true;
                        let sleep = match grant {
                            Grant::At(at_ms) => Some(at_ms.saturating_sub(self.shared.now_ms())),
                            Grant::Go | Grant::WhenOneEnds => None,
                        };
                        (sleep, receiver)
                    }
                }
            };
            match sleep {
                // A wake-up that gets lost (its sender replaced) only costs the sleep.
                Some(millis) => drop(tokio::time::timeout(Duration::from_millis(millis.max(1)), ended).await),
                None => drop(ended.await),
            }
        }
    }

    /// The side asked for a pause: no call of this budget starts before it is over.
    pub fn pause(&self, pause: Duration) {
        let until = self.shared.now_ms().saturating_add(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
        if !planted::is(Bug::RetryAfterIgnored) {
            self.shared.lock().budget.block_until(until);
        }
        self.shared.pauses.fetch_add(1, Ordering::Release);
        self.shared.paused.notify_waiters();
    }

    /// The process before has made calls that are not known here. Without effect once
    /// this budget was used.
    pub fn assume_spent(&self) {
        if self.made() == 0 {
            self.shared.lock().budget.assume_spent();
        }
    }

    /// Tells of each pause that the side asks for from now on.
    #[must_use]
    pub fn pauses(&self) -> Pauses {
        Pauses { shared: Arc::clone(&self.shared), heard: self.shared.pauses.load(Ordering::Acquire) }
    }

    /// How long the pause that the side asked for still lasts.
    #[must_use]
    pub fn paused_for(&self) -> Option<Duration> {
        let until = self.shared.lock().budget.blocked_until_ms();
        until.checked_sub(self.shared.now_ms()).filter(|left| *left > 0).map(Duration::from_millis)
    }

    /// Calls made so far, retries included.
    #[must_use]
    pub fn made(&self) -> u64 {
        self.shared.made.load(Ordering::Relaxed)
    }

    /// The limits that hold in each window of a length.
    #[must_use]
    pub fn windows(&self) -> &[Window] {
        &self.shared.windows
    }

    /// Calls allowed in flight at once.
    #[must_use]
    pub fn concurrency(&self) -> usize {
        self.shared.lock().budget.concurrency()
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // The state is whole after each method, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl State {
    fn take_ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket
    }

    /// Asks the budget, unless it is the turn of somebody else who waits already.
    fn ask(&mut self, key: (Lane, u64), now_ms: u64) -> Grant {
        match self.first() {
            Some(first) if first != key && (first < key || self.is_unfair()) => Grant::WhenOneEnds,
            Some(_) | None => self.budget.ask(now_ms),
        }
    }

    /// Whose turn it is among those who wait.
    fn first(&self) -> Option<(Lane, u64)> {
        if self.is_unfair() {
            self.waiting.keys().min_by_key(|(_, ticket)| *ticket).copied()
        } else {
            self.waiting.keys().next().copied()
        }
    }

    fn is_unfair(&self) -> bool {
        self.overtakes >= MOST_OVERTAKES
    }

    /// A call was granted; the next one is woken.
    fn granted(&mut self, key: (Lane, u64)) {
        self.waiting.remove(&key);
        let overtook = !self.is_unfair() && self.waiting.keys().any(|(lane, _)| *lane > key.0);
        self.overtakes = if overtook { self.overtakes + 1 } else { 0 };
        self.wake_first();
    }

    /// Wakes the first in the queue; it leaves the queue itself once it is granted.
    fn wake_first(&mut self) {
        if let Some(sender) = self.first().and_then(|first| self.waiting.get_mut(&first)) {
            let (fresh, _) = oneshot::channel();
            // An ended waiter has left the queue in its Drop, so a failed send is no loss.
            let _ = std::mem::replace(sender, fresh).send(());
        }
    }
}

/// A place in the queue, given up when the waiting future is dropped.
struct Place<'a> {
    shared: &'a Shared,
    key: (Lane, u64),
    queued: bool,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.queued {
            let mut state = self.shared.lock();
            state.waiting.remove(&self.key);
            // It may have been woken in vain; pass that on.
            state.wake_first();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.budget.finish();
        state.wake_first();
        drop(state);
        self.lent.send_modify(|lent| *lent -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::budget::Window;

    #[tokio::test(start_paused = true)]
    async fn small_lanes_overtake_and_yet_nobody_waits_for_ever() {
        let calls = Calls::new(&Limits { windows: vec![Window { requests: 1, per_ms: 600 }], ..Limits::default() });
        drop(calls.permit().await);
        let bulk = calls.in_lane(Lane::Backfill);
        let mut bulk = std::pin::pin!(bulk.permit());
        let mut overtaken = 0;
        loop {
            // Asks again at once, so that there always is a smaller lane that waits.
            tokio::select! {
                biased;
                permit = &mut bulk => break drop(permit),
                permit = calls.permit() => drop(permit),
            }
            overtaken += 1;
            assert!(overtaken <= MOST_OVERTAKES + 1, "the bulk call waits for ever");
        }
        assert!(overtaken >= MOST_OVERTAKES, "overtaken only {overtaken} times");
    }
}
