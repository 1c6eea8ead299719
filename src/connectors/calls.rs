//! The budget of one connection's side, lent to its connector call by call.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

use crate::model::budget::{Budget, Charge, Counts, Grant, Limits, Pass, Tell, Window};
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
    /// The wall clock, where a window ends by the calendar.
    wall: Option<WallClock>,
    /// How long a list of a class lasts that does not go on, for classes that allow one only.
    exclusive: Vec<(Arc<str>, u64)>,
}

/// A wall clock.
type WallClock = fn() -> DateTime<Utc>;

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
    waiting: BTreeMap<(Lane, u64), Waiting>,
    next_ticket: u64,
    /// Calls in a row that have overtaken somebody.
    overtakes: u32,
}

/// One who waits for a call.
#[derive(Debug)]
struct Waiting {
    wake: oneshot::Sender<()>,
    class: Option<Arc<str>>,
    /// It waits for the limits of its class, so that it holds up nobody of another one.
    for_class: bool,
}

impl Waiting {
    /// Whether a call of a class has to let it go first.
    fn precedes(&self, class: Option<&Arc<str>>) -> bool {
        !self.for_class || self.class.as_ref() == class
    }
}

/// One call in flight; dropping it ends the call.
#[derive(Debug)]
#[must_use = "the call lasts as long as its permit"]
pub struct Permit {
    shared: Arc<Shared>,
    lent: Arc<watch::Sender<usize>>,
    pass: Pass,
    class: Option<Arc<str>>,
}

impl Calls {
    /// A budget of its own. The clock starts now.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let mut budget = Budget::new(limits, 0);
        let wall: Option<WallClock> = budget.has_calendar().then_some(Utc::now);
        if let Some(wall) = wall {
            budget.tell_wall(0, wall());
        }
        let exclusive = limits.classes.iter().filter_map(|class| Some((Arc::clone(&class.name), class.exclusive_ms?)));
        let state = State { budget, waiting: BTreeMap::new(), next_ticket: 0, overtakes: 0 };
        let shared = Shared {
            state: Mutex::new(state),
            made: AtomicU64::new(0),
            pauses: AtomicU64::new(0),
            paused: Notify::new(),
            origin: Instant::now(),
            windows: limits.windows.iter().map(|window| in_calls(*window, limits.dearest)).collect(),
            wall,
            exclusive: exclusive.collect(),
        };
        Self { shared: Arc::new(shared), lane: Lane::Manual, lent: Arc::default() }
    }

    /// The same budget, asked from another lane.
    #[must_use]
    pub fn in_lane(&self, lane: Lane) -> Self {
        Self { shared: Arc::clone(&self.shared), lane, lent: Arc::default() }
    }

    /// The lane that it asks from.
    #[must_use]
    pub fn lane(&self) -> Lane {
        self.lane
    }

    /// Waits until no call made through this handle or its clones is in flight.
    pub async fn idle(&self) {
        // Its sender is here, so that it does not end.
        let _ = self.lent.subscribe().wait_for(|lent| *lent == 0).await;
    }

    /// Waits until one more call may be made. Call it right before each request,
    /// retries included, and keep the permit until the answer is read.
    pub async fn permit(&self) -> Permit {
        self.permit_for(&Charge::default()).await
    }

    /// Like [`Calls::permit`], for a call of a class, or one that counts as more than one.
    pub async fn permit_for(&self, charge: &Charge) -> Permit {
        let ticket = self.shared.lock().take_ticket();
        let class = charge.class.as_ref();
        let mut place = Place { shared: &self.shared, key: (self.lane, ticket), class, queued: false };
        loop {
            let (at_ms, ended) = {
                let mut state = self.shared.lock();
                let now_ms = self.shared.now_ms();
                if let Some(wall) = self.shared.wall {
                    state.budget.tell_wall(now_ms, wall());
                }
                let (at_ms, for_class) = match state.ask(place.key, now_ms, charge) {
                    Grant::Go(pass) => {
                        place.queued = false;
                        state.granted(place.key, class);
                        drop(state);
                        self.shared.made.fetch_add(1, Ordering::Relaxed);
                        self.lent.send_modify(|lent| *lent += 1);
                        let (shared, lent) = (Arc::clone(&self.shared), Arc::clone(&self.lent));
                        return Permit { shared, lent, pass, class: class.cloned() };
                    }
                    Grant::At(at_ms) => (Some(at_ms), false),
                    Grant::WhenOneEnds => (None, false),
                    Grant::ClassAt(at_ms) => (Some(at_ms), true),
                    Grant::WhenOneOfClassEnds => (None, true),
                };
                let (wake, ended) = oneshot::channel();
                state.waiting.insert(place.key, Waiting { wake, class: class.cloned(), for_class });
                place.queued = true;
                (at_ms, ended)
            };
            match at_ms {
                // A wake-up that gets lost (its sender replaced) only costs the sleep.
                Some(at_ms) => {
                    let millis = at_ms.saturating_sub(self.shared.now_ms()).max(1);
                    drop(tokio::time::timeout(Duration::from_millis(millis), ended).await);
                }
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

    /// The side asked for a pause in answer to a call of a class. Where it counts that class
    /// apart, the others go on.
    pub fn pause_class(&self, class: Option<&str>, pause: Duration) {
        let apart = class.filter(|class| self.shared.lock().budget.is_apart(class));
        let Some(class) = apart else { return self.pause(pause) };
        let until = self.shared.now_ms().saturating_add(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
        self.shared.lock().budget.block_class_until(class, until);
    }

    /// Begins a list, or goes on with it, of a class of which the side allows one at a time;
    /// without effect for other classes.
    ///
    /// # Errors
    /// When another one is under way: how long it lasts at most unless it goes on.
    pub fn hold(&self, class: Option<&str>, by: u64) -> Result<(), Duration> {
        let Some((class, idle_ms)) = self.exclusive(class) else { return Ok(()) };
        let now_ms = self.shared.now_ms();
        let held = self.shared.lock().budget.hold(class, by, now_ms, idle_ms);
        held.map_err(|until_ms| Duration::from_millis(until_ms.saturating_sub(now_ms)))
    }

    /// Such a list has ended.
    pub fn release(&self, class: Option<&str>, by: u64) {
        if let Some((class, _)) = self.exclusive(class) {
            self.shared.lock().budget.release(class, by);
        }
    }

    /// Whether a class allows one list at a time, and after how long one has ended that does
    /// not go on.
    #[must_use]
    pub fn is_exclusive(&self, class: Option<&str>) -> bool {
        self.exclusive(class).is_some()
    }

    fn exclusive(&self, class: Option<&str>) -> Option<(&str, u64)> {
        let (name, idle_ms) = self.shared.exclusive.iter().find(|(name, _)| Some(&**name) == class)?;
        Some((name, *idle_ms))
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
    fn ask(&mut self, key: (Lane, u64), now_ms: u64, charge: &Charge) -> Grant {
        match self.first(charge.class.as_ref()) {
            Some((first, waiting)) if first != key && (first < key || self.is_unfair()) => {
                if waiting.for_class {
                    Grant::WhenOneOfClassEnds
                } else {
                    Grant::WhenOneEnds
                }
            }
            Some(_) | None => self.budget.ask(now_ms, charge),
        }
    }

    /// Whose turn it is among those who wait and go before a call of a class.
    fn first(&self, class: Option<&Arc<str>>) -> Option<((Lane, u64), &Waiting)> {
        let mut waiting = self.waiting.iter().filter(|(_, waiting)| waiting.precedes(class));
        let first = if self.is_unfair() { waiting.min_by_key(|((_, ticket), _)| *ticket) } else { waiting.next() };
        first.map(|(key, waiting)| (*key, waiting))
    }

    fn is_unfair(&self) -> bool {
        self.overtakes >= MOST_OVERTAKES
    }

    /// A call was granted; the next one is woken.
    fn granted(&mut self, key: (Lane, u64), class: Option<&Arc<str>>) {
        self.waiting.remove(&key);
        let mut others = self.waiting.iter().filter(|(_, waiting)| waiting.precedes(class));
        let overtook = !self.is_unfair() && others.any(|((lane, _), _)| *lane > key.0);
        self.overtakes = if overtook { self.overtakes + 1 } else { 0 };
        self.wake_first(class);
    }

    /// Wakes the first in the queue, and the first of a class that waits for its limits; they
    /// leave the queue themselves once they are granted.
    fn wake_first(&mut self, class: Option<&Arc<str>>) {
        let of_all = self.first(None).map(|(key, _)| key);
        let waits = |waiting: &Waiting| waiting.for_class && waiting.class.as_ref() == class;
        let of_class = self.waiting.iter().find(|(_, waiting)| waits(waiting)).map(|(key, _)| *key);
        for key in of_all.into_iter().chain(of_class) {
            if let Some(waiting) = self.waiting.get_mut(&key) {
                let (fresh, _) = oneshot::channel();
                // An ended waiter has left the queue in its Drop, so a failed send is no loss.
                let _ = std::mem::replace(&mut waiting.wake, fresh).send(());
            }
        }
    }
}

/// A place in the queue, given up when the waiting future is dropped.
struct Place<'a> {
    shared: &'a Shared,
    key: (Lane, u64),
    class: Option<&'a Arc<str>>,
    queued: bool,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.queued {
            let mut state = self.shared.lock();
            state.waiting.remove(&self.key);
            // It may have been woken in vain; pass that on.
            state.wake_first(self.class);
        }
    }
}

/// A limit as so many calls, of which the dearest may be all.
fn in_calls(window: Window, dearest: u32) -> Window {
    match window.counts {
        Counts::Requests => window,
        Counts::Points => Window { requests: (window.requests / dearest.max(1)).max(1), ..window },
    }
}

impl Permit {
    /// The answer tells what is left of a limit.
    pub fn tell(&self, counts: Counts, tell: Tell) {
        let now_ms = self.shared.now_ms();
        self.shared.lock().budget.tell(now_ms, self.pass, counts, tell);
    }

    /// The answer tells what the call has cost.
    pub fn correct(&self, points: u32) {
        self.shared.lock().budget.correct(self.pass, points);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.budget.finish(self.pass);
        state.wake_first(self.class.as_ref());
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
        let calls = Calls::new(&Limits { windows: vec![Window::new(1, 600)], ..Limits::default() });
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
