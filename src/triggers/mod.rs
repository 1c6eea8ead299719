//! Edge in: what starts work. Triggers send a connection messages that are only
//! wake-ups; losing one loses nothing, because the work itself is durable or in the
//! change list of a side.
//!
//! `schedule` is here; manual requests come through the kernel and the control socket.
//! Webhook and event triggers have their place beside it.

pub mod schedule;
