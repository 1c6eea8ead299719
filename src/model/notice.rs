//! What a host is told while the kernel runs, so that it need not ask.

use serde::{Deserialize, Serialize};

use super::ids::{ConnectionId, RecordId, SyncName};
use super::side::{PerSide, Side};
use super::work::QuarantineKind;

/// Something that a host may want to act on, or to show to a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// The connection it is about.
    pub connection: ConnectionId,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// What.
    #[serde(flatten)]
    pub notice: Notice,
}

/// What has happened. What is said to be so is durable already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "notice", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Notice {
    /// A side no longer accepts the credentials; nothing is done until they are renewed and
    /// the connection is resumed, or asked to sync.
    NeedsAuthorisation {
        /// What the side said.
        reason: String,
    },
    /// A side refuses us for good; nothing is done until a person has acted.
    Suspended {
        /// What the side said.
        reason: String,
    },
    /// The connection's actor died and will be started again from the store.
    Restarting {
        /// How often in a row.
        deaths: u32,
    },
    /// A record is held back: for the first time, after a change, or for another reason.
    Quarantined {
        /// Under this sync.
        sync: SyncName,
        /// On this side.
        side: Side,
        /// The record; a text that begins with `#` where its id cannot be read.
        id: String,
        /// Why.
        kind: QuarantineKind,
        /// Why, for a person.
        reason: String,
    },
    /// Both sides had changed a field; the value that lost is in the history.
    Conflict {
        /// Under this sync.
        sync: SyncName,
        /// The records.
        ids: PerSide<Option<RecordId>>,
        /// The field.
        field: String,
        /// The side whose value stands.
        winner: Side,
    },
    /// Work has been waiting for longer than it should.
    Late {
        /// How long, in milliseconds.
        waiting_ms: u64,
    },
    /// A sync that had not read everything yet, or had been late or suspended, has nothing
    /// left to do.
    CaughtUp {
        /// Which.
        sync: SyncName,
    },
}

impl Notice {
    /// The word used in logs.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Notice::NeedsAuthorisation { .. } => "needs authorisation",
            Notice::Suspended { .. } => "suspended",
            Notice::Restarting { .. } => "restarting",
            Notice::Quarantined { .. } => "quarantined",
            Notice::Conflict { .. } => "conflict",
            Notice::Late { .. } => "late",
            Notice::CaughtUp { .. } => "caught up",
        }
    }
}
