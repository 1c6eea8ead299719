//! Syncline: a sync kernel.
#![forbid(unsafe_code)]

pub mod actors;
#[cfg(feature = "cli")]
pub mod cli;
pub mod config;
pub mod connectors;
pub mod control;
mod kernel;
pub mod model;
pub mod plan;
pub mod reconcile;
pub mod sandbox;
pub mod store;
#[cfg(feature = "cli")]
pub mod telemetry;
mod temporary;
pub mod triggers;
pub mod web;

pub use actors::env::Env;
pub use actors::message::{ConnectionStatus, MarkError, QuarantineRow, RunReport, SyncStatus};
pub use actors::spec::{ConnectionSpec, Schedule, SyncSpec};
pub use kernel::{Kernel, KernelBuilder, KernelError};
