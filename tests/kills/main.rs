//! Danger: the process is killed at the worst moment, on a real disk, while the other
//! side loses answers, and something is lost, doubled or never finished.
//!
//! The real binary runs over a real state file, with the embedded store as the app side
//! and the sandbox CRM in hostile mode, a process of its own, as the remote. Both sides
//! are edited through their HTTP APIs while `syncline run` is killed with SIGKILL again
//! and again, also while it starts. In the end nothing goes wrong any more, and what
//! must hold is read from both sides directly.
//!
//! And the receiver of webhooks faces those who do not keep to the rules of HTTP.
//!
//! Not part of `cargo test`: `cargo test --test kills` kills 30 times, `SYNCLINE_KILLS`
//! says otherwise. `SYNCLINE_SEED` repeats the edits and the planned moments of a run,
//! `SYNCLINE_BIN` takes another binary than the one of this build. The moments are real
//! ones, so that a seed narrows a failure down and does not always bring it back.
#![cfg(unix)]

mod accepted;
mod hostile;
mod ledger;
mod processes;
mod sides;
mod verdict;
mod world;

use accepted::Desk;
use world::World;

/// How often the process is killed where nobody says.
const KILLS: u64 = 30;

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn no_kill_loses_doubles_or_stops_anything() {
    let seed = number("SYNCLINE_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000));
    let num_kills = number("SYNCLINE_KILLS").unwrap_or(KILLS);
    println!("seed {seed}, {num_kills} kills");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut world = World::start(seed).await;
        world.meet().await;
        for _ in 0..num_kills {
            world.live_and_die().await;
        }
        world.settle().await;
        world.check().await;
    });
}

#[test]
fn what_was_answered_with_2xx_has_its_effect_after_a_kill() {
    let seed = number("SYNCLINE_SEED").unwrap_or_default();
    let num_kills = number("SYNCLINE_KILLS").unwrap_or(KILLS);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut desk = Desk::open(seed).await;
        for n in 0..num_kills {
            desk.tell_and_kill(n).await;
        }
    });
    println!("{num_kills} kills right after a webhook or an event was taken");
}
