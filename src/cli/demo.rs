//! `demo`: the main job with nothing else installed. A sandbox CRM and a small app with
//! different, overlapping contacts are kept in agreement by the same kernel, the same
//! configuration and the same connector file that a user would write.

mod compare;
mod edits;
mod report;
mod world;

use std::path::PathBuf;

use super::exit::{Exit, Failure};
use super::output::Output;
use super::progress;
use super::run::told_to_end;

use world::World;

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// End after the closing table, with exit code 0 only if both sides agree record by
    /// record.
    #[arg(long)]
    once: bool,
    /// Port of the sandbox CRM; 0 for a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Keep the state in this file, which must not be there yet, instead of one that is
    /// removed at the end.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
}

pub(super) async fn execute(args: Args, out: &Output) -> Result<Exit, Failure> {
    let mut world = World::start(&args).await?;
    let done = tokio::select! {
        done = steps(&mut world, &args, out) => done,
        _ = told_to_end() => Ok(Exit::Done),
    };
    world.end().await;
    done
}

async fn steps(world: &mut World, args: &Args, out: &Output) -> Result<Exit, Failure> {
    report::started(world, out);
    let planned = world.plan().await?;
    report::plan(&planned, out);
    let kernel = world.run().await?;
    report::heading(3, "Backfill, both ways", out);
    let (run, took) = edits::timed(progress::shown(&kernel, out.json, kernel.sync_now(&world.connection, None))).await;
    let run = run.map_err(|error| Failure::refused(error.to_string()))?;
    report::backfill(&run, took, out);
    world.follow_schedule().await?;
    report::heading(4, "Live edits, each seen crossing", out);
    let crossed = edits::run(world, out).await?;
    let settled = world.settle().await?;
    let differences = compare::differences(world)?;
    report::closing(world, &differences, out).await;
    if args.once {
        return Ok(if differences.is_empty() && crossed && settled { Exit::Done } else { Exit::Differs });
    }
    report::running(world, out);
    // Only a signal ends it from here.
    std::future::pending().await
}
