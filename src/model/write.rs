//! What is asked of a connector when it writes, and what came of it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::ids::{RecordId, Version};
use super::path::Path;
use super::record::{Body, Record};
use super::value::Value;

/// One value to set, or one key to take away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Where it stands in the record of the side that is written.
    pub path: Path,
    /// The value in that side's form; `None` takes the key away.
    pub value: Option<Value>,
}

/// One write to one record.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// Make a record.
    Create(Create),
    /// Change some fields of a record.
    Update(Update),
    /// Delete a record.
    Delete(Delete),
}

/// Make a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Create {
    /// All its mapped fields, as a tree in that side's form.
    pub record: Value,
    /// The same for every attempt at this one create and for no other: sent where the
    /// side honours an idempotency key.
    pub idempotency_key: String,
    /// Names the pair on every attempt: used as the record id where the side lets the
    /// client choose it, or stored where it has a field for foreign ids.
    pub external_id: String,
}

/// Change some fields of a record.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    /// The record.
    pub id: RecordId,
    /// The revision the change was decided on; a side that can, refuses the write
    /// when it has another one by now.
    pub expected: Option<Version>,
    /// The whole record as last read, for sides that only replace whole records
    /// ([`UpdateStyle::Whole`]); what is not mapped is kept from it.
    pub current: Option<Body>,
    /// What changes.
    pub changes: Vec<Change>,
}

/// Delete a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delete {
    /// The record.
    pub id: RecordId,
    /// The revision the deletion was decided on, checked where the side can.
    pub expected: Option<Version>,
}

/// A record as the side stored it after a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its id.
    pub id: RecordId,
    /// Its revision, where told.
    pub version: Option<Version>,
    /// When that side says it was modified.
    pub modified: Option<DateTime<Utc>>,
    /// The whole record as stored, where the answer holds it. Where it does not, the
    /// kernel reads the record back.
    pub body: Option<Body>,
}

/// What came of one write. A refusal or a conflict is an expected value, not an error.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    /// Created or updated.
    Written(Stored),
    /// Deleted, or was gone already.
    Deleted,
    /// Refused because the record has changed since it was read: read it and decide
    /// again.
    Changed,
    /// The record to update does not exist (404, 410 or a declared status).
    Missing,
    /// A create was refused because the record exists already; its id where told.
    Duplicate(Option<RecordId>),
    /// Refused for good: the record is quarantined with this reason.
    Rejected {
        /// What the side said, shortened and without secrets.
        reason: String,
        /// The field it named, in that side's form.
        path: Option<String>,
    },
    /// Certainly not carried out (no connection, 429, refused before it was read);
    /// may be repeated.
    NotSent(ConnectorError),
    /// Nobody knows whether it was carried out (timeout, broken connection, 5xx).
    Unknown(String),
}

impl Outcome {
    /// Created or updated, and this is the whole record as it is stored now.
    #[must_use]
    pub fn written(record: Record) -> Self {
        let Record { id, version, modified, body } = record;
        Self::Written(Stored { id, version, modified, body: Some(body) })
    }
}

/// What the caller should do next about a failed call; the cause rides along.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConnectorError {
    /// What to do next.
    pub next: NextStep,
    /// What happened, naming the place; without secrets, at most a few hundred bytes.
    pub message: String,
}

/// What to do next after a failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NextStep {
    /// Try again after a backoff.
    Retry,
    /// The side asked for a pause: no call before this many milliseconds.
    Wait {
        /// Milliseconds from now.
        millis: u64,
    },
    /// The credentials are refused; a person must renew them.
    Reauthorise,
    /// This one record cannot be handled; hold it back and go on.
    Quarantine,
    /// The sync cannot go on until a person mends something.
    Fail,
    /// The cursor is no longer valid; read everything again, keeping links.
    Resync,
    /// The record is gone.
    TreatAsDeleted,
}

impl ConnectorError {
    /// An error with its next step.
    pub fn new(next: NextStep, message: impl Into<String>) -> Self {
        Self { next, message: message.into() }
    }
}

/// How a side takes updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum UpdateStyle {
    /// It takes the changed fields and keeps the rest.
    Fields,
    /// It replaces the whole record, so the current one must be read first.
    Whole,
}

/// How an unknown create is recovered on a side; the windows each leaves are in
/// `actors.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CreateRecovery {
    /// The client chooses the record id ([`Create::external_id`]); a second create
    /// with the same id never makes a second record. Recovered by reading that id.
    ClientId,
    /// The side honours an idempotency key for this long; recovered by sending the
    /// same bytes with the same key.
    IdempotencyKey {
        /// How long a key is remembered, in milliseconds.
        life_ms: u64,
    },
    /// The side stores [`Create::external_id`] in a findable, unique field; recovered
    /// by finding it.
    ExternalId,
    /// Recovered by waiting until a late commit and a slow index must have shown the
    /// record, then finding it by the sync's match key.
    Find {
        /// How long to wait, in milliseconds.
        settle_ms: u64,
    },
    /// Nothing can be looked up: the unknown create is held for a person, because a
    /// second try could make a duplicate.
    Park,
}

/// How long an unknown create waits before it is looked up where the connector file
/// does not say: 300 s for a commit after the client gave up plus 90 s of index lag,
/// rounded up. In a simulation of 100,000 creates with these lags, 300 s left no
/// duplicate and 120 s left 19.
pub const DEFAULT_CREATE_SETTLE_MS: u64 = 400_000;

/// What a connector can do with one object. The kernel plans by it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Reads cost no call on somebody's API, so the kernel always reads before it
    /// decides.
    pub local: bool,
    /// Changes since a cursor can be read; without it every run reads everything.
    pub changes: bool,
    /// What is deleted shows among the changes; without it a hint that names a deleted
    /// record can only be followed by reading that record.
    pub deletions: bool,
    /// How many records one `Ids` read takes; 1 where only reading one by one works;
    /// 0 where records cannot be read by id at all.
    pub read_ids: usize,
    /// Paths a `Find` can search by equality.
    pub find: Vec<Path>,
    /// Writes honour [`Update::expected`].
    pub conditional: bool,
    /// How updates are taken.
    pub update: UpdateStyle,
    /// How many writes one call takes; 1 without a batch endpoint.
    pub batch: usize,
    /// Records can be created, updated and deleted.
    pub writable: bool,
    /// How an unknown create is recovered.
    pub create: CreateRecovery,
    /// How long after a write a read may still show the state before it, in
    /// milliseconds; 0 where reads are consistent.
    pub read_after_write_lag_ms: u64,
}

impl Default for Capabilities {
    /// The least: everything read in full, one by one, nothing assumed.
    fn default() -> Self {
        Self {
            local: false,
            changes: false,
            deletions: false,
            read_ids: 1,
            find: Vec::new(),
            conditional: false,
            update: UpdateStyle::Fields,
            batch: 1,
            writable: true,
            create: CreateRecovery::Park,
            read_after_write_lag_ms: 0,
        }
    }
}
