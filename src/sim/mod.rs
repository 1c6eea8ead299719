//! The simulator: whole kernels in simulated time, between apps that misbehave, on a
//! disk that fails, in a process that is killed.

mod edge;
mod ledger;
mod many;
mod oracle;
mod owed;
mod run;
mod script;
mod settle;
mod shrink;
mod state;
mod swarm;
mod tellers;
mod telling;
mod trace;
mod world;

pub use many::{EVENTS, Plan, Summary, explain, run_many};
pub use oracle::{Oracle, Verdict, Violation};
pub use run::{Case, Outcome};
pub use script::{Event, Style};
pub use shrink::shrink;
pub use swarm::{Rules, SideSwarm, Swarm};
pub use telling::{Signed, Telling, TriggerSwarm};
