//! Syncline: a sync kernel.
#![forbid(unsafe_code)]

pub mod actors;
pub mod connectors;
mod kernel;
pub mod model;
pub mod reconcile;
pub mod sandbox;
pub mod store;
pub mod triggers;
pub mod web;

pub use actors::env::Env;
pub use actors::message::{ConnectionStatus, MarkError, QuarantineRow, RunReport, SyncStatus};
pub use actors::spec::{ConnectionSpec, Schedule, SyncSpec};
pub use kernel::{Kernel, KernelBuilder, KernelError};
