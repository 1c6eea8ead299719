//! Whole-kernel stories: real actors, the real store in memory, two in-memory apps,
//! paused time. Each file is named for the danger it guards.

mod broken_answers;
mod convergence;
mod deletions;
mod documents;
mod first_contact;
mod harness;
mod layering;
mod lifecycle;
mod merging;
mod planner;
#[cfg(feature = "planted")]
mod planted;
mod unknown_outcomes;
