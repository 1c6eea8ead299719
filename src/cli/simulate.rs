//! `simulate`: whole kernels in simulated time, with everything going wrong.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::sync::oneshot;

use super::exit::{Exit, Failure};
use super::output::Output;
use super::run::told_to_end;
use crate::sim::{EVENTS, Plan, Summary, explain, run_many};

/// Arguments of `simulate`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How many seeds to run; Ctrl-C ends it earlier, with a summary.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first seed. With --seeds 1, one that failed is told in full.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many edits, kills, faults and so on each world has.
    #[arg(long, default_value_t = EVENTS)]
    events: usize,
    /// On how many threads; one for each processor unless told.
    #[arg(long)]
    threads: Option<usize>,
    /// Only count what fails; do not make it smaller, which takes a minute or so.
    #[arg(long)]
    brief: bool,
}

pub(super) async fn execute(args: Args, out: &Output) -> Result<Exit, Failure> {
    let threads =
        args.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
    let plan = Plan { first: args.seed, seeds: args.seeds, events: args.events, threads };
    let summary = run(plan, out).await?;
    report(&summary, args.seed, out);
    for (seed, violation) in &summary.failures {
        out.say(format!("{} seed {seed}: {violation}", out.red("failed")));
    }
    if let Some((seed, _)) = summary.failures.first().filter(|_| !args.brief) {
        out.say("");
        let (seed, events) = (*seed, args.events);
        let told = in_a_thread(move || explain(seed, events)).await?;
        out.say(told);
    }
    Ok(if summary.failures.is_empty() { Exit::Done } else { Exit::Differs })
}

/// Runs the seeds beside the system of this process; each has one of its own.
async fn run(plan: Plan, out: &Output) -> Result<Summary, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let bar = if out.json || !std::io::stderr().is_terminal() { ProgressBar::hidden() } else { bar(plan.seeds) };
    let (told, shown) = (Arc::clone(&stop), bar.clone());
    let work = in_a_thread(move || run_many(&plan, &told, |done| shown.set_position(done)));
    let mut work = std::pin::pin!(work);
    let summary = tokio::select! {
        summary = &mut work => summary?,
        _ = told_to_end() => {
            stop.store(true, Ordering::Relaxed);
            work.await?
        }
    };
    bar.finish_and_clear();
    Ok(summary)
}

async fn in_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    let (done, answer) = oneshot::channel();
    let spawned = std::thread::Builder::new().name("simulate".to_owned()).spawn(move || drop(done.send(work())));
    spawned.map_err(|error| Failure::refused(format!("failed to start a thread: {error}")))?;
    answer.await.map_err(|_| Failure::refused("the simulator itself crashed"))
}

fn bar(seeds: u64) -> ProgressBar {
    let bar = ProgressBar::new(seeds);
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} seeds, {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn report(summary: &Summary, first: u64, out: &Output) {
    out.value(&json!({
        "first_seed": first,
        "seeds": summary.seeds,
        "failed": summary.failures.iter().map(|(seed, violation)| json!({
            "seed": seed,
            "oracle": violation.oracle.name(),
            "invariant": violation.oracle.invariant(),
            "seen": violation.seen,
        })).collect::<Vec<_>>(),
        "events": summary.events,
        "starts": summary.starts,
        "run_twice": summary.twice,
        "seconds": summary.took.as_secs_f64(),
        "threads": summary.threads,
        "seeds_per_second_and_thread": summary.seeds_per_second(),
        "events_per_second_and_thread": summary.events_per_second(),
    }));
    let failed = summary.failures.len();
    let verdict = if failed == 0 { out.green("all hold") } else { out.red(&format!("{failed} failed")) };
    out.say(format!(
        "{} seeds from {first}: {verdict}. {} events, {} starts, {} seeds run twice, {:.1} s on {} threads \
         ({:.1} seeds and {:.0} events a second on each)",
        summary.seeds,
        summary.events,
        summary.starts,
        summary.twice,
        summary.took.as_secs_f64(),
        summary.threads,
        summary.seeds_per_second(),
        summary.events_per_second(),
    ));
}
