//! Edge in: what starts work. A trigger makes what it has accepted durable, then sends the
//! connection a message that is only a wake-up; losing it loses nothing, because the work
//! itself is in the inbox or in the change list of a side.
//!
//! `webhook` and `event` are told from outside, by the scopes in `web` or by the host
//! program; `schedule` goes by the clock; manual requests come through the kernel and the
//! control socket.

pub mod counts;
pub mod event;
pub mod intake;
pub mod kept;
pub mod known;
pub mod schedule;
pub mod timetable;
pub mod webhook;
