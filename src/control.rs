//! Shell: how an operator reaches a running kernel. The state file is locked by the
//! kernel that runs over it, so every command asks that kernel through a socket beside
//! the file (`acme.redb.sock`, HTTP, its owner only) and opens the file itself only
//! when no kernel runs.
//!
//! | Request | Answer |
//! |---|---|
//! | `GET /status` | [`StatusAnswer`] |
//! | `POST /sync` [`SyncRequest`] | [`SyncAnswer`], once all of them are over |
//! | `POST /plan` [`PlanRequest`](crate::plan::PlanRequest) | [`PlanReport`](crate::plan::PlanReport) |
//! | `POST /record` [`RecordRequest`] | `{}` once the request is durable |
//! | `POST /act` [`ActionRequest`](crate::web::actions::ActionRequest) | [`ActionAnswer`](crate::connectors::action::ActionAnswer) |
//! | `GET /connections` | [`Listed`](crate::registry::Listed), one for each |
//! | `POST /connections/show` [`ConnectionRequest`] | [`ShownConnection`] |
//! | `POST /connections/add`, `POST /connections/change` [`DocumentRequest`] | [`Put`](crate::registry::Put) |
//! | `POST /connections/remove` [`RemoveRequest`] | `{}` |
//! | `POST /reload` | [`Reload`](crate::registry::Reload) |
//! | `POST /pause`, `POST /resume` [`ConnectionRequest`] | `{}` |
//! | `GET /dump` | the whole state as text |
//!
//! A refusal is `{"error":"…"}` with status 404 for what does not exist, 409 for what
//! cannot be done now, 422 for a document or a configuration that is wrong, 500 for the rest.

mod client;
mod server;
mod socket;

use serde::{Deserialize, Serialize};

use crate::actors::message::{ConnectionStatus, RunReport};
use crate::model::ids::{ConnectionId, RecordId, SyncName};
use crate::model::side::Side;
use crate::triggers::counts::Counts;

pub use client::{ControlClient, ControlError};
pub use server::{Control, MakeSpecs};
#[cfg(feature = "cli")]
pub(crate) use server::{sync_now, unknown};
pub use socket::socket_path;

/// How everything is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusAnswer {
    /// The state file.
    pub state: String,
    /// Whether a kernel runs over it, or the file alone was read.
    pub running: bool,
    /// Each connection.
    pub connections: Vec<ConnectionStatus>,
    /// What came in by webhooks and by events since the kernel started.
    #[serde(default)]
    pub received: Received,
}

/// What came in from outside since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    /// By webhooks.
    pub webhooks: Counts,
    /// By events.
    pub events: Counts,
}

/// Run syncs now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncRequest {
    /// Only this connection; `None` for all.
    pub connection: Option<ConnectionId>,
    /// Only this sync; `None` for all.
    pub sync: Option<SyncName>,
    /// Read everything again, keeping links.
    #[serde(default)]
    pub full: bool,
}

/// What came of running syncs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncAnswer {
    /// One for each connection that was run.
    pub connections: Vec<SyncedConnection>,
}

/// What came of running the syncs of one connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncedConnection {
    /// The connection.
    pub connection: ConnectionId,
    /// How it ended.
    pub report: RunReport,
}

/// Look at one record now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordRequest {
    /// On this connection.
    pub connection: ConnectionId,
    /// Under this sync.
    pub sync: SyncName,
    /// On this side.
    pub side: Side,
    /// This record.
    pub record: RecordId,
}

/// Do something with a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionRequest {
    /// Which.
    pub connection: ConnectionId,
}

/// Add connections, or change them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentRequest {
    /// What the document is called in messages.
    pub name: String,
    /// The keys of one `[[connection]]`, or any number of `[[connection]]`.
    pub document: String,
}

/// What was declared for a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownConnection {
    /// Which.
    pub connection: ConnectionId,
    /// Its document, without secrets that stand in it.
    pub document: String,
}

/// Remove a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveRequest {
    /// Which.
    pub connection: ConnectionId,
    /// Forget all its state, too.
    #[serde(default)]
    pub purge: bool,
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct RefusalBody {
    error: String,
}

#[cfg(all(test, unix))]
mod tests;
