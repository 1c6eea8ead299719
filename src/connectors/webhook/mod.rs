//! What a connected app tells by itself: webhooks, as a connector declares them.
//!
//! Nothing here listens. These are the pure parts of a receiver: whether a delivery came
//! from who it says ([`signature`]), and what it is about ([`payload`]). A webhook is a
//! hint, never an authority: what it says is read again from the app.

pub(in crate::connectors) mod declared;
pub mod payload;
pub mod signature;
