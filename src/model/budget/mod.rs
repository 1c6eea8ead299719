//! How many calls a connection may make: pure state, told the time.

mod exclusive;
mod left;
#[cfg(test)]
mod tests;
mod window;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

pub use left::Tell;

use crate::planted::{self, Bug};
use exclusive::Exclusives;
use left::{Left, hear};
use window::Bucket;

/// So many requests in so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Requests allowed, or points; at least 1.
    pub requests: u32,
    /// Length of the window in milliseconds; at least 1.
    pub per_ms: u64,
    /// What is counted.
    pub counts: Counts,
    /// The side counts days, from one midnight of this zone to the next.
    pub resets: Option<Tz>,
}

/// What a window counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Counts {
    /// Each call as one.
    #[default]
    Requests,
    /// Each call as what it costs.
    Points,
}

impl Window {
    /// So many requests in so many milliseconds, wherever these start.
    #[must_use]
    pub const fn new(requests: u32, per_ms: u64) -> Self {
        Self { requests, per_ms, counts: Counts::Requests, resets: None }
    }
}

/// The limits of one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// All must hold at once.
    pub windows: Vec<Window>,
    /// Calls in flight at once; at least 1.
    pub concurrency: usize,
    /// Limits of their own for some calls.
    pub classes: Vec<ClassLimits>,
    /// What the dearest call costs that is declared; at least 1.
    pub dearest: u32,
}

/// The limits of one class of calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassLimits {
    /// Its name.
    pub name: Arc<str>,
    /// All must hold at once.
    pub windows: Vec<Window>,
    /// Calls of the class in flight at once, where there are to be fewer than of all.
    pub concurrency: Option<usize>,
    /// The side counts these calls apart: they do not count in the windows of the whole.
    pub apart: bool,
    /// One list of this class at a time; one that has not gone on for so many milliseconds has
    /// ended.
    pub exclusive_ms: Option<u64>,
}

impl Default for Limits {
    /// No window, four calls at once: enough to hide latency, gentle to an API whose
    /// limits nobody declared.
    fn default() -> Self {
        Self { windows: Vec::new(), concurrency: 4, classes: Vec::new(), dearest: 1 }
    }
}

/// What a call counts as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// The class that it belongs to.
    pub class: Option<Arc<str>>,
    /// What it costs where points are counted.
    pub points: u32,
}

impl Default for Charge {
    /// Of no class, one point.
    fn default() -> Self {
        Self { class: None, points: 1 }
    }
}

/// The state of a budget. Time is in milliseconds on one monotonic clock.
///
/// Each window is a token bucket. It starts empty but for one request, and after a
/// restart quite empty, because the calls made before are not known.
#[derive(Debug, Clone)]
pub struct Budget {
    whole: Pool,
    classes: Vec<Class>,
    /// The number of the last call granted.
    granted: u64,
    /// The latest time that was told: a clock that is put back stands still here.
    latest_ms: u64,
    exclusives: Exclusives,
}

#[derive(Debug, Clone)]
struct Class {
    name: Arc<str>,
    apart: bool,
    pool: Pool,
}

/// What limits some calls together.
#[derive(Debug, Clone)]
struct Pool {
    buckets: Vec<Bucket>,
    concurrency: usize,
    in_flight: usize,
    points_in_flight: u64,
    blocked_until_ms: u64,
    /// What the side says is left, in requests and in points.
    requests_left: Option<Left>,
    points_left: Option<Left>,
}

/// What a budget says to one more call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// Go; give it back with [`Budget::finish`].
    Go(Pass),
    /// Not before this time.
    At(u64),
    /// When a call in flight ends.
    WhenOneEnds,
    /// Not before this time, because of the limits of its class: others may go.
    ClassAt(u64),
    /// When a call of its class ends: others may go.
    WhenOneOfClassEnds,
}

/// A call that was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass {
    /// The place of its class.
    class: Option<usize>,
    points: u32,
    number: u64,
}

impl Budget {
    /// A budget at a time.
    #[must_use]
    pub fn new(limits: &Limits, now_ms: u64) -> Self {
        let pool = |windows: &[Window], concurrency: usize| Pool::new(windows, concurrency, limits.dearest, now_ms);
        let class = |class: &ClassLimits| Class {
            name: Arc::clone(&class.name),
            apart: class.apart,
            pool: pool(&class.windows, class.concurrency.unwrap_or(usize::MAX)),
        };
        Self {
            whole: pool(&limits.windows, limits.concurrency),
            classes: limits.classes.iter().map(class).collect(),
            granted: 0,
            latest_ms: now_ms,
            exclusives: Exclusives::default(),
        }
    }

    /// Asks for one call. A class that is not declared has no limits of its own.
    pub fn ask(&mut self, now_ms: u64, charge: &Charge) -> Grant {
        self.latest_ms = self.latest_ms.max(now_ms);
        let now_ms = self.latest_ms;
        let class = charge.class.as_ref().and_then(|name| self.class(name));
        let points = charge.points;
        let Self { whole, classes, granted, .. } = self;
        let mut class_pool = class.map(|place| &mut classes[place]);
        let apart = class_pool.as_ref().is_some_and(|class| class.apart);
        let full = |pool: &Pool| pool.in_flight >= pool.concurrency && !planted::is(Bug::ConcurrencyIgnored);
        if full(whole) {
            return Grant::WhenOneEnds;
        }
        let counted_ms = if apart { now_ms } else { whole.ready_at(now_ms, points) };
        let ready_ms = whole.blocked_until_ms.max(counted_ms);
        if ready_ms > now_ms {
            return Grant::At(ready_ms);
        }
        if let Some(class) = &mut class_pool {
            if full(&class.pool) {
                return Grant::WhenOneOfClassEnds;
            }
            let ready_ms = class.pool.blocked_until_ms.max(class.pool.ready_at(now_ms, points));
            if ready_ms > now_ms {
                return Grant::ClassAt(ready_ms);
            }
        }
        whole.begin(points, !apart);
        if let Some(class) = class_pool {
            class.pool.begin(points, true);
        }
        *granted += 1;
        Grant::Go(Pass { class, points, number: *granted })
    }

    fn class(&self, name: &str) -> Option<usize> {
        self.classes.iter().position(|class| &*class.name == name)
    }

    /// Whatever may be called now was called before, by a process that is gone.
    pub fn assume_spent(&mut self) {
        if !planted::is(Bug::BudgetStartsFull) {
            self.pools().flat_map(|pool| &mut pool.buckets).for_each(Bucket::empty);
        }
    }

    fn pools(&mut self) -> impl Iterator<Item = &mut Pool> {
        std::iter::once(&mut self.whole).chain(self.classes.iter_mut().map(|class| &mut class.pool))
    }

    /// A call has ended.
    pub fn finish(&mut self, pass: Pass) {
        self.whole.end(pass.points);
        if let Some(place) = pass.class {
            self.classes[place].pool.end(pass.points);
        }
    }

    /// The answer to a call that has not ended yet tells what is left of a limit: that of the
    /// call's class where the side counts it apart, else that of the whole.
    pub fn tell(&mut self, now_ms: u64, pass: Pass, counts: Counts, tell: Tell) {
        let last = self.granted;
        let apart = pass.class.filter(|place| self.classes[*place].apart);
        let pool = apart.map_or(&mut self.whole, |place| &mut self.classes[place].pool);
        match counts {
            Counts::Requests => {
                let others = (pool.in_flight as u64).saturating_sub(1);
                hear(&mut pool.requests_left, now_ms, tell, pass.number, last, others);
            }
            Counts::Points => {
                let others = pool.points_in_flight.saturating_sub(u64::from(pass.points));
                hear(&mut pool.points_left, now_ms, tell, pass.number, last, others);
            }
        }
    }

    /// The answer to a call that has not ended yet tells what it has cost.
    pub fn correct(&mut self, pass: Pass, actual: u32) {
        let apart = pass.class.is_some_and(|place| self.classes[place].apart);
        let of_class = pass.class.map(|place| &mut self.classes[place].pool);
        let of_whole = (!apart).then_some(&mut self.whole);
        let buckets = of_class.into_iter().chain(of_whole).flat_map(|pool| &mut pool.buckets);
        buckets.for_each(|bucket| bucket.correct(pass.points, actual));
    }

    /// Whether a window ends by the calendar, so that the wall clock has to be told.
    #[must_use]
    pub fn has_calendar(&self) -> bool {
        let classes = self.classes.iter().map(|class| &class.pool);
        std::iter::once(&self.whole).chain(classes).flat_map(|pool| &pool.buckets).any(Bucket::has_calendar)
    }

    /// Tells the wall clock.
    pub fn tell_wall(&mut self, now_ms: u64, wall: DateTime<Utc>) {
        self.pools().flat_map(|pool| &mut pool.buckets).for_each(|bucket| bucket.tell_wall(now_ms, wall));
    }

    /// The side asked for a pause: no call before this time.
    pub fn block_until(&mut self, until_ms: u64) {
        self.whole.block_until(until_ms);
    }

    /// The side asked for a pause of one class of calls; of all of them unless it counts the
    /// class apart.
    pub fn block_class_until(&mut self, class: &str, until_ms: u64) {
        match self.class(class).filter(|place| self.classes[*place].apart) {
            Some(place) => self.classes[place].pool.block_until(until_ms),
            None => self.whole.block_until(until_ms),
        }
    }

    /// Whether the side counts a class of calls apart.
    #[must_use]
    pub fn is_apart(&self, class: &str) -> bool {
        self.class(class).is_some_and(|place| self.classes[place].apart)
    }

    /// Takes an operation of which the side allows one at a time, or goes on with it.
    ///
    /// # Errors
    /// When another one is under way: when it ends at the latest unless it goes on.
    pub fn hold(&mut self, what: &str, by: u64, now_ms: u64, idle_ms: u64) -> Result<(), u64> {
        self.exclusives.hold(what, by, now_ms, idle_ms)
    }

    /// Such an operation has ended.
    pub fn release(&mut self, what: &str, by: u64) {
        self.exclusives.release(what, by);
    }

    /// When the pause that the side asked for ends; 0 without one.
    #[must_use]
    pub fn blocked_until_ms(&self) -> u64 {
        self.whole.blocked_until_ms
    }

    /// Calls in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.whole.in_flight
    }

    /// Calls allowed in flight.
    #[must_use]
    pub fn concurrency(&self) -> usize {
        self.whole.concurrency
    }
}

impl Pool {
    fn new(windows: &[Window], concurrency: usize, dearest: u32, now_ms: u64) -> Self {
        Self {
            buckets: windows.iter().map(|window| Bucket::new(*window, dearest.max(1), now_ms)).collect(),
            concurrency: concurrency.max(1),
            in_flight: 0,
            points_in_flight: 0,
            blocked_until_ms: 0,
            requests_left: None,
            points_left: None,
        }
    }

    fn ready_at(&mut self, now_ms: u64, points: u32) -> u64 {
        let buckets = self.buckets.iter_mut().map(|bucket| bucket.ready_at(now_ms, points)).max();
        let requests = self.requests_left.as_mut().map(|left| left.ready_at(now_ms, 1));
        let points = self.points_left.as_mut().map(|left| left.ready_at(now_ms, points));
        [buckets, requests, points].into_iter().flatten().max().unwrap_or(now_ms)
    }

    /// A call begins; `counts` says that its windows count it.
    fn begin(&mut self, points: u32, counts: bool) {
        self.in_flight += 1;
        self.points_in_flight += u64::from(points);
        if counts {
            self.buckets.iter_mut().for_each(|bucket| bucket.take(points));
            self.requests_left.iter_mut().for_each(|left| left.take(1));
            self.points_left.iter_mut().for_each(|left| left.take(points));
        }
    }

    fn end(&mut self, points: u32) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.points_in_flight = self.points_in_flight.saturating_sub(u64::from(points));
    }

    fn block_until(&mut self, until_ms: u64) {
        self.blocked_until_ms = self.blocked_until_ms.max(until_ms);
    }
}
