//! All messages between actors. `actors.md` has the table of who sends them.

use std::sync::Arc;

use actix::prelude::*;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::connectors::Read;
use crate::connectors::action::{Action, ActionAnswer};
use crate::model::ids::{ConnectionId, ObjectName, RecordId, SyncName};
use crate::model::record::Page;
use crate::model::side::{PerSide, Side};
use crate::model::work::{Lane, Quarantined, Totals};
use crate::model::write::{ConnectorError, Outcome, Write};
use crate::reconcile::case::{Case, Step};
use crate::reconcile::now::Now;
use crate::reconcile::run::Progress;
use crate::reconcile::sync::BoundSync;

/// Connection to reader: read one page or some records.
#[derive(Debug, Message)]
#[rtype(result = "Result<Page, ConnectorError>")]
pub struct Fetch {
    /// On this side.
    pub side: Side,
    /// Of this object.
    pub object: ObjectName,
    /// What.
    pub read: Read,
    /// With this place in the queue for the budget.
    pub lane: Lane,
}

/// Connection to mapper: take these cases one step on.
#[derive(Debug, Message)]
#[rtype(result = "Vec<Mapped>")]
pub struct Map {
    /// Under this sync's rules.
    pub sync: Arc<BoundSync>,
    /// The cases.
    pub cases: Vec<Case>,
    /// The time.
    pub now: Now,
}

/// What the mapper made of one case.
#[derive(Debug)]
pub enum Mapped {
    /// It took a step.
    Stepped(Box<Case>, Step),
    /// Mapping it panicked; the case is given back as its origin and id.
    Crashed {
        /// The record's side.
        side: Side,
        /// The record.
        id: RecordId,
        /// Its pair's state, to be left as it is.
        case: Box<Case>,
    },
}

/// Connection to writer: carry out these writes in one call.
#[derive(Debug, Message)]
#[rtype(result = "Vec<Outcome>")]
pub struct Carry {
    /// On this side.
    pub side: Side,
    /// Of this object.
    pub object: ObjectName,
    /// The writes, at most as many as the side takes in one call.
    pub writes: Vec<Write>,
    /// With this place in the queue for the budget.
    pub lane: Lane,
}

/// Anybody to connection: one call to a side, within the budget.
#[derive(Debug, Message)]
#[rtype(result = "ActionAnswer")]
pub struct Act {
    /// To this side.
    pub side: Side,
    /// To this object.
    pub object: ObjectName,
    /// What to do.
    pub action: Action,
    /// Records are in the app's form, by the mapping of this sync.
    pub mapped: Option<SyncName>,
    /// Names this one create.
    pub key: String,
}

/// Anybody to connection: run a sync now, and tell when it is over.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct RunSync {
    /// Which; `None` for all.
    pub sync: Option<SyncName>,
    /// In this lane.
    pub lane: Lane,
    /// Read everything again, keeping links.
    pub full: bool,
    /// Told when the run, and what it left pending, is over.
    pub done: Option<oneshot::Sender<RunReport>>,
}

/// How a run ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunReport {
    /// What it did.
    pub totals: Totals,
    /// Records still pending on the connection.
    pub pending: u64,
    /// Records held back on the connection.
    pub quarantined: u64,
    /// What went wrong, if it did not end well.
    pub error: Option<String>,
}

/// Anybody to connection: look at one record. Accepted means durable.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), MarkError>")]
pub struct MarkRecord {
    /// Under which sync.
    pub sync: SyncName,
    /// On which side.
    pub side: Side,
    /// Which.
    pub id: RecordId,
    /// In which lane.
    pub lane: Lane,
}

/// Why a mark was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MarkError {
    /// There is no such connection.
    #[error("there is no connection '{0}'")]
    NoConnection(ConnectionId),
    /// The connection has no such sync.
    #[error("the connection has no sync '{0}'")]
    NoSync(SyncName),
    /// The connection is being restarted or shut down; try again.
    #[error("the connection is restarting or stopping; try again")]
    Restarting,
    /// The state file could not be written.
    #[error("it could not be stored: {0}")]
    Store(String),
}

/// Trigger to connection: something stands in your inbox. Only a wake-up: the actor looks
/// there at its start, too.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct InboxFilled;

/// Anybody to connection: an object of one side has changed. Only a wake-up: the
/// change itself is in that side's change list.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct Wake {
    /// The side.
    pub side: Side,
    /// The object.
    pub object: ObjectName,
}

/// Schedule to connection: it is time.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct Tick {
    /// For this sync.
    pub sync: SyncName,
}

/// Connection to schedule: the run is over, count anew.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct Ran {
    /// Of this connection.
    pub connection: ConnectionId,
    /// Of this sync.
    pub sync: SyncName,
}

/// Anybody to connection: pause or resume. Durable.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<(), MarkError>")]
pub struct SetPaused(pub bool);

/// Supervisor to connection: finish what is in flight, take nothing new, then stop.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Drain;

/// Supervisor to connection: end at once, finish nothing.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Abort;

/// Anybody to connection: how are you.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "ConnectionStatus")]
pub struct GetStatus;

/// How a connection is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionStatus {
    /// Its name.
    pub id: ConnectionId,
    /// `ready`, `backing off`, `suspended`, `paused`, `draining`, `restarting`.
    pub state: String,
    /// What went wrong last, if it is not over.
    pub error: Option<String>,
    /// How often its actor has started.
    pub epoch: u64,
    /// Each sync.
    pub syncs: Vec<SyncStatus>,
    /// Records to be looked at, by lane.
    pub pending: Vec<(Lane, u64)>,
    /// Writes whose outcome is awaited or unknown.
    pub open_writes: u64,
    /// Records held back.
    pub quarantined: u64,
    /// The first of them.
    pub quarantine: Vec<QuarantineRow>,
    /// Records that wait, among the pending ones, until what they name is linked.
    #[serde(default)]
    pub unlinked: u64,
    /// The first of them.
    #[serde(default)]
    pub unlinked_rows: Vec<UnlinkedRow>,
    /// Calls made to each side since the actor started, retries included.
    pub calls: PerSide<u64>,
    /// How old the oldest pending record is, in milliseconds.
    pub oldest_pending_ms: Option<u64>,
    /// How long work has been waiting, in milliseconds, where that is too long.
    #[serde(default)]
    pub late_ms: Option<u64>,
}

/// A record that waits until what it names is linked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnlinkedRow {
    /// Under this sync.
    pub sync: SyncName,
    /// On this side.
    pub side: Side,
    /// The record.
    pub id: String,
    /// What it names and what is not linked. Empty where that is not known: without a running
    /// kernel, and after a start until the record has been looked at again.
    pub names: Vec<NamedRecord>,
    /// How long it has been waiting, in milliseconds.
    pub waited_ms: u64,
}

/// A record that another names, on the side of that one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedRecord {
    /// Of this sync.
    pub sync: SyncName,
    /// Its id.
    pub id: String,
}

/// A record held back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineRow {
    /// Under this sync.
    pub sync: SyncName,
    /// On this side.
    pub side: Side,
    /// The record.
    pub id: String,
    /// Why.
    pub held: Quarantined,
}

/// How a sync is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncStatus {
    /// Its name.
    pub name: SyncName,
    /// `waiting for its first read`, `backfill`, `running`, `idle`.
    pub state: String,
    /// What asked for the run that is under way or wanted.
    #[serde(default)]
    pub cause: Option<Lane>,
    /// How far a run in progress is.
    pub progress: Option<Progress>,
    /// The stored cursors.
    pub cursors: PerSide<Option<String>>,
    /// When a run last ended well, in milliseconds since 1970.
    pub last_run_ms: Option<i64>,
    /// How long ago both sides were last known to agree, in milliseconds.
    pub lag_ms: Option<u64>,
    /// What it has done since the state file was made.
    pub totals: Totals,
    /// What went wrong last, if it is not over.
    pub error: Option<String>,
}
