//! Coordinators: who exists, who owns what, who sends what.
//!
//! One actor a file. Deciding is in `reconcile`; an actor turns a message into a call
//! and a result into a message, and its fields are a cache of the store: restarting
//! means forgetting and loading again. `actors.md` draws the picture.

pub mod act;
pub mod batch;
pub mod connection;
pub mod core;
pub mod env;
pub mod inbox;
pub mod mapper;
pub mod message;
pub mod notifier;
pub mod queue;
pub mod reader;
pub mod recovery;
pub mod share;
pub mod spec;
pub mod supervisor;
pub mod told;
pub mod writer;
