//! How many calls a connection may make: pure state, told the time.

use serde::{Deserialize, Serialize};

use crate::planted::{self, Bug};

/// So many requests in so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Requests allowed; at least 1.
    pub requests: u32,
    /// Length of the window in milliseconds; at least 1.
    pub per_ms: u64,
}

/// The limits of one connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// All must hold at once.
    pub windows: Vec<Window>,
    /// Calls in flight at once; at least 1.
    pub concurrency: usize,
}

impl Default for Limits {
    /// No window, four calls at once: enough to hide latency, gentle to an API whose
    /// limits nobody declared.
    fn default() -> Self {
        Self { windows: Vec::new(), concurrency: 4 }
    }
}

/// The state of a budget. Time is in milliseconds on one monotonic clock.
///
/// Each window is a token bucket of a tenth of its requests that refills so slowly
/// that burst and refill together never pass the limit in *any* window of that
/// length, wherever it starts. A bucket starts empty but for one request, and after a
/// restart quite empty, because the calls made before are not known.
#[derive(Debug, Clone)]
pub struct Budget {
    buckets: Vec<Bucket>,
    concurrency: usize,
    in_flight: usize,
    blocked_until_ms: u64,
}

#[derive(Debug, Clone)]
struct Bucket {
    burst: f64,
    per_ms: f64,
    tokens: f64,
    at_ms: u64,
}

/// What a budget says to one more call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// Go; give it back with [`Budget::finish`].
    Go,
    /// Not before this time.
    At(u64),
    /// When a call in flight ends.
    WhenOneEnds,
}

impl Budget {
    /// A budget at a time.
    #[must_use]
    pub fn new(limits: &Limits, now_ms: u64) -> Self {
        let buckets = limits.windows.iter().map(|window| Bucket::new(*window, now_ms)).collect();
        Self { buckets, concurrency: limits.concurrency.max(1), in_flight: 0, blocked_until_ms: 0 }
    }

    /// Asks for one call.
    pub fn ask(&mut self, now_ms: u64) -> Grant {
        if self.in_flight >= self.concurrency && !planted::is(Bug::ConcurrencyIgnored) {
            return Grant::WhenOneEnds;
        }
        if now_ms < self.blocked_until_ms {
            return Grant::At(self.blocked_until_ms);
        }
        let ready_ms = self.buckets.iter_mut().map(|bucket| bucket.ready_at(now_ms)).max().unwrap_or(now_ms);
        if ready_ms > now_ms {
            return Grant::At(ready_ms);
        }
        for bucket in &mut self.buckets {
            bucket.tokens -= 1.0;
        }
        self.in_flight += 1;
        Grant::Go
    }

    /// Whatever may be called now was called before, by a process that is gone.
    pub fn assume_spent(&mut self) {
        if !planted::is(Bug::BudgetStartsFull) {
            self.buckets.iter_mut().for_each(|bucket| bucket.tokens = 0.0);
        }
    }

    /// A call has ended.
    pub fn finish(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// The side asked for a pause: no call before this time.
    pub fn block_until(&mut self, until_ms: u64) {
        self.blocked_until_ms = self.blocked_until_ms.max(until_ms);
    }

    /// When the pause that the side asked for ends; 0 without one.
    #[must_use]
    pub fn blocked_until_ms(&self) -> u64 {
        self.blocked_until_ms
    }

    /// Calls in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Calls allowed in flight.
    #[must_use]
    pub fn concurrency(&self) -> usize {
        self.concurrency
    }
}

impl Bucket {
    fn new(window: Window, now_ms: u64) -> Self {
        let requests = f64::from(window.requests.max(1));
        let burst = (requests / 10.0).floor().max(1.0);
        // burst - 1 at once, then refill: together at most `requests` in any window.
        let per_ms = (requests - burst + 1.0) / window.per_ms.max(1) as f64;
        let tokens = if planted::is(Bug::BudgetStartsFull) { burst } else { 1.0 };
        Self { burst, per_ms, tokens, at_ms: now_ms }
    }

    fn ready_at(&mut self, now_ms: u64) -> u64 {
        let elapsed = now_ms.saturating_sub(self.at_ms) as f64;
        self.tokens = (self.tokens + elapsed * self.per_ms).min(self.burst);
        self.at_ms = self.at_ms.max(now_ms);
        // A hair of slack, so that rounding never asks for a wait of zero.
        if self.tokens >= 1.0 - 1e-9 {
            return now_ms;
        }
        now_ms + (((1.0 - self.tokens) / self.per_ms).ceil() as u64).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(requests: u32, per_ms: u64, concurrency: usize) -> Limits {
        Limits { windows: vec![Window { requests, per_ms }], concurrency }
    }

    #[test]
    fn no_window_of_any_start_holds_more_than_the_limit() {
        for (requests, per_ms) in [(1, 1_000), (3, 1_000), (10, 1_000), (100, 10_000), (7, 100)] {
            let mut budget = Budget::new(&limits(requests, per_ms, 1), 0);
            let mut calls: Vec<u64> = Vec::new();
            let mut now = 0;
            let mut random = fastrand::Rng::with_seed(u64::from(requests));
            while calls.len() < 500 {
                match budget.ask(now) {
                    Grant::Go => {
                        calls.push(now);
                        budget.finish();
                    }
                    Grant::At(at) => now = at,
                    Grant::WhenOneEnds => unreachable!("each call ends at once"),
                }
                if random.u8(..) == 0 {
                    now += random.u64(..per_ms * 2);
                }
            }
            for (i, start) in calls.iter().enumerate() {
                let inside = calls[i..].iter().take_while(|at| **at < start + per_ms).count();
                assert!(inside <= requests as usize, "{inside} calls in a window of {requests} per {per_ms} ms");
            }
            let rate = calls.len() as f64 / calls[calls.len() - 1] as f64 * per_ms as f64;
            assert!(rate > f64::from(requests) * 0.2, "the budget is used: {rate} of {requests}");
        }
    }

    #[test]
    fn concurrency_and_pauses_hold() {
        let mut budget = Budget::new(&Limits { windows: vec![], concurrency: 2 }, 0);
        assert_eq!(budget.ask(0), Grant::Go);
        assert_eq!(budget.ask(0), Grant::Go);
        assert_eq!(budget.ask(0), Grant::WhenOneEnds);
        budget.finish();
        budget.block_until(500);
        assert_eq!(budget.ask(100), Grant::At(500));
        assert_eq!(budget.ask(500), Grant::Go);
    }
}
