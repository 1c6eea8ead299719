//! Whole-kernel stories: real actors, the real store in memory, two in-memory apps,
//! paused time. Each file is named for the danger it guards.

mod convergence;
mod documents;
mod first_contact;
mod harness;
mod layering;
mod lifecycle;
mod merging;
#[cfg(feature = "planted")]
mod planted;
mod unknown_outcomes;
