//! A sync kernel: keeps records in agreement between your app and a customer's connected
//! app, one-way or two-way, without loops, duplicates or lost changes.
//!
//! This is the library. The program `syncline` is a shell around it; the README tells
//! how to use that, `actors.md` how the whole works.
//!
//! # Words
//!
//! The two sides are the *app* (yours) and the *remote* (the connected app). A
//! *connector* talks to one kind of system; a *connection* is one customer's account
//! there; a *sync* keeps one object pair of a connection in agreement. A *marker* is
//! everything durable about one pair of records; a side's *base* in it is what that side
//! was known to store when the two last agreed. A *run* reads what changed; a *pending*
//! row says that one record is to be looked at.
//!
//! # Layers
//!
//! Imports point inwards only.
//!
//! * [`model`]: nouns. Plain data, no I/O, no clock, no actor.
//! * [`reconcile`]: verbs. Pure functions that map, decide and merge.
//! * [`connectors`]: edge to other people's systems, behind the trait
//!   [`Connector`](connectors::Connector). [`contract`](connectors::contract) is the
//!   suite that every connector passes, [`memory`](connectors::memory) a test double
//!   with faults.
//! * [`store`]: edge to our disk, one redb file.
//! * [`actors`]: coordinators. A connection's actor reads, has decided, writes and
//!   commits; a supervisor starts it again from the store when it dies.
//! * [`triggers`]: what starts work. [`web`]: actix-web scopes that a host may mount.
//! * [`reference`](mod@reference): the keys of both kinds of files as data, for editors and documents.
//! * [`Kernel`]: what a host program holds. [`sandbox`] is a CRM to try things on.
//!
//! # Flow
//!
//! A trigger wakes a connection. Its actor takes the next page or the next pending
//! records ([`actors::batch`]): read them, plan each with its marker
//! ([`reconcile::plan`]), make the promises of creates and deletes durable, write, and
//! commit what came of it in one transaction. Only then does it ask for more. A cursor
//! moves when everything before it is committed; what is unfinished has a pending row.
//!
//! # Use
//!
//! Within a running actix system:
//!
//! ```no_run
//! use syncline::connectors::memory::MemoryApp;
//! use syncline::model::direction::Direction;
//! use syncline::{ConnectionSpec, Kernel, SyncSpec};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let (app, crm) = (MemoryApp::new(1), MemoryApp::new(2));
//! let rules = r#"
//!     match = ["email"]
//!     [fields]
//!     email = { remote = "properties.email", transform = "lowercase" }
//!     name  = "properties.name"
//! "#;
//! let sync = SyncSpec::parse("people", "people", "contacts", Direction::TwoWay, rules)?;
//! let connection = ConnectionSpec::new("acme", app.factory(), crm.factory()).sync(sync);
//! let kernel = Kernel::builder().state("acme.redb").connection(connection).start().await?;
//! let report = kernel.sync_now(&"acme".into(), None).await?;
//! println!("{} writes", report.totals.writes());
//! kernel.shutdown().await;
//! # Ok(()) }
//! ```
//!
//! A host implements [`Connector`](connectors::Connector) for its own storage:
//! `examples/in_process.rs`. It calls [`Kernel::shutdown`] before it ends, because actix
//! ends its actors without letting them finish; one that forgets loses time, not data.
//! Panics must unwind, which is the default.
//!
//! # Names at the top
//!
//! [`Kernel`], [`KernelBuilder`] and [`KernelError`]; what a connection is made of:
//! [`ConnectionSpec`], [`SyncSpec`], [`Schedule`]; what it answers: [`RunReport`],
//! [`ConnectionStatus`] with [`SyncStatus`] and [`QuarantineRow`] and [`UnlinkedRow`], [`MarkError`]; and
//! [`Env`], where time and chance come from.
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
#[doc(hidden)]
pub mod planted;
pub mod reconcile;
pub mod reference;
pub mod registry;
pub mod sandbox;
#[cfg(feature = "simulate")]
pub mod sim;
pub mod store;
#[cfg(feature = "cli")]
pub mod telemetry;
mod temporary;
pub mod triggers;
pub mod web;

pub use actors::env::Env;
pub use actors::message::{
    ConnectionStatus, MarkError, NamedRecord, QuarantineRow, RunReport, SyncStatus, UnlinkedRow,
};
pub use actors::notifier::{Missed, Subscription};
pub use actors::spec::{ConnectionSpec, SyncSpec, Webhook};
pub use connectors::action::{Action, ActionAnswer, ActionOutcome, ActionRecord};
pub use kernel::{Kernel, KernelBuilder, KernelError};
pub use model::notice::{Notice, Notification};
pub use model::schedule::Schedule;
pub use reconcile::before_write;
