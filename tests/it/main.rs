//! Whole-kernel stories: real actors, the real store in memory, two in-memory apps,
//! paused time. Each file is named for the danger it guards.

mod before_write;
mod broken_answers;
mod convergence;
mod deletions;
mod dialects;
mod documents;
#[cfg(feature = "tls-ring")]
mod example_app;
mod first_contact;
mod harness;
mod layering;
mod lifecycle;
mod merging;
mod not_yet;
mod notices;
mod planner;
#[cfg(feature = "planted")]
mod planted;
mod references;
#[cfg(feature = "tls-ring")]
mod sandbox_webhooks;
mod schedules;
mod schemas;
mod shapes;
#[cfg(feature = "simulate")]
mod simulation;
mod slow_lists;
mod triggers;
mod unknown_outcomes;

/// As the program has it: the worlds allocate a lot.
#[cfg(feature = "cli")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
