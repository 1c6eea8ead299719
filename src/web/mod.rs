//! Edge in: actix-web scopes that a host program may mount, or the kernel serves.
//!
//! A scope takes a request apart, refuses what is not well-formed, makes one durable
//! change through the store, or has a trigger make it, and only then tells the kernel. It
//! decides nothing about syncing.

pub mod actions;
mod bearer;
pub mod embedded;
mod error;
pub mod events;
pub mod manual;
pub mod webhooks;

pub use error::ApiError;
