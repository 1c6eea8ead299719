//! Syncline: a sync kernel.
#![forbid(unsafe_code)]

pub mod connectors;
pub mod model;
pub mod reconcile;
pub mod sandbox;
