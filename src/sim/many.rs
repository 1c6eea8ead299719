//! Many seeds on several threads, and what they came to.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::oracle::{Oracle, Violation};
use super::run::{Case, Outcome};
use super::shrink::shrink;

/// How many outside events a world has, unless told otherwise.
pub const EVENTS: usize = 300;

/// One seed in so many is run twice, and must do the same both times.
const TWICE_IN: u64 = 20;

/// After so many failures it is pointless to go on.
const MOST_FAILURES: usize = 10;

/// How often a failing case is run again to make it smaller.
const SHRINKING_RUNS: usize = 600;

/// Which seeds to run, and how.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The first seed.
    pub first: u64,
    /// How many.
    pub seeds: u64,
    /// How many outside events each world has.
    pub events: usize,
    /// On how many threads.
    pub threads: usize,
}

/// What many seeds came to.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// Seeds that were run.
    pub seeds: u64,
    /// Events between the kernels and their worlds.
    pub events: u64,
    /// Starts of a process, the first of each world included.
    pub starts: u64,
    /// Seeds that were run twice.
    pub twice: u64,
    /// How long it took.
    pub took: Duration,
    /// On how many threads.
    pub threads: usize,
    /// Seeds that an oracle spoke about, by seed.
    pub failures: Vec<(u64, Violation)>,
}

impl Summary {
    /// Seeds a second on each thread.
    #[must_use]
    pub fn seeds_per_second(&self) -> f64 {
        self.seeds as f64 / self.thread_seconds()
    }

    /// Events a second on each thread.
    #[must_use]
    pub fn events_per_second(&self) -> f64 {
        self.events as f64 / self.thread_seconds()
    }

    fn thread_seconds(&self) -> f64 {
        (self.took.as_secs_f64() * self.threads as f64).max(f64::MIN_POSITIVE)
    }
}

/// Runs many seeds. `stop` ends it early; `progress` is told how many are done.
pub fn run_many(plan: &Plan, stop: &AtomicBool, progress: impl Fn(u64) + Sync) -> Summary {
    let started = Instant::now();
    let (next, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let summary = Mutex::new(Summary { threads: plan.threads.max(1), ..Summary::default() });
    std::thread::scope(|scope| {
        for _ in 0..plan.threads.max(1) {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= plan.seeds || stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let seed = plan.first.wrapping_add(n);
                    let (outcome, twice) = run_one(seed, plan.events);
                    let mut summary = summary.lock().unwrap_or_else(PoisonError::into_inner);
                    summary.seeds += 1;
                    summary.events += outcome.events;
                    summary.starts += outcome.starts;
                    summary.twice += u64::from(twice);
                    if let Err(violation) = outcome.verdict {
                        summary.failures.push((seed, violation));
                        if summary.failures.len() >= MOST_FAILURES {
                            stop.store(true, Ordering::Relaxed);
                        }
                    }
                    drop(summary);
                    progress(done.fetch_add(1, Ordering::Relaxed) + 1);
                }
            });
        }
    });
    let mut summary = summary.into_inner().unwrap_or_else(PoisonError::into_inner);
    summary.failures.sort_by_key(|(seed, _)| *seed);
    summary.took = started.elapsed();
    summary
}

/// Runs a seed, some of them twice.
fn run_one(seed: u64, events: usize) -> (Outcome, bool) {
    let case = Case::draw(seed, events);
    let outcome = case.run(false);
    let twice = seed.is_multiple_of(TWICE_IN);
    if twice && outcome.verdict.is_ok() {
        let again = case.run(false);
        if again.trace != outcome.trace {
            let seen = format!("the trace is {:016x}, then {:016x}", outcome.trace, again.trace);
            return (Outcome { verdict: Err(Violation::new(Oracle::Determinism, seen)), ..outcome }, true);
        }
    }
    (outcome, twice)
}

/// Tells a person about a failing seed: the case made as small as possible, and the
/// last things that happened in it.
#[must_use]
pub fn explain(seed: u64, events: usize) -> String {
    let case = Case::draw(seed, events);
    let Err(violation) = case.run(false).verdict else { return format!("seed {seed} does not fail") };
    let small = shrink(&case, violation.oracle, SHRINKING_RUNS);
    let outcome = small.run(true);
    let seen = match &outcome.verdict {
        Err(violation) => violation.to_string(),
        Ok(()) => format!("{violation} (not when it is run once more)"),
    };
    let mut text = format!("seed {seed}, revision {}: {seen}\n\nthe world:\n{:#?}\n\n", revision(), small.swarm);
    text.push_str(&format!("{} of {} events are needed:\n", small.script.len(), case.script.len()));
    small.script.iter().for_each(|event| text.push_str(&format!("  {event:?}\n")));
    text.push_str("\nwhat happened last:\n");
    outcome.lines.iter().for_each(|line| text.push_str(&format!("  {line}\n")));
    text.push_str("\nthe state:\n");
    outcome.state.lines().for_each(|line| text.push_str(&format!("  {line}\n")));
    text
}

/// The revision of the source this runs in, where git can tell.
fn revision() -> String {
    let output = std::process::Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    let known = output.ok().filter(|output| output.status.success());
    let text = known.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_else(|| format!("of version {}", env!("CARGO_PKG_VERSION")))
}
