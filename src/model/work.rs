//! Durable work: what is to be looked at, what was promised, what is held back.

use serde::{Deserialize, Serialize};

use super::ids::{Epoch, RecordId};
use super::side::{PerSide, Side};
use super::write::Create;

/// The order in which work gets the budget; a smaller one goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Your backend said that a record changed.
    Event,
    /// The connected app said so.
    Webhook,
    /// A person or a program asked.
    Manual,
    /// A schedule came round.
    Schedule,
    /// The first complete read, or a later one.
    Backfill,
    /// Checks in the background.
    Audit,
}

impl Lane {
    /// All lanes, first to last.
    pub const ALL: [Lane; 6] = [Lane::Event, Lane::Webhook, Lane::Manual, Lane::Schedule, Lane::Backfill, Lane::Audit];

    /// The word used in logs and tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Lane::Event => "event",
            Lane::Webhook => "webhook",
            Lane::Manual => "manual",
            Lane::Schedule => "schedule",
            Lane::Backfill => "backfill",
            Lane::Audit => "audit",
        }
    }

    /// The byte used in keys; keeps the order.
    #[must_use]
    pub fn byte(self) -> u8 {
        match self {
            Lane::Event => 0,
            Lane::Webhook => 1,
            Lane::Manual => 2,
            Lane::Schedule => 3,
            Lane::Backfill => 4,
            Lane::Audit => 5,
        }
    }
}

/// Why a record is pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PendingReason {
    /// Somebody asked for this record.
    Requested,
    /// Its last attempt failed in a way that may pass.
    Retry,
    /// A write to it was refused because it had changed since it was read, or something
    /// else about its pair has: both sides are looked at.
    Changed,
    /// It could be the record of an open create, whose outcome is awaited.
    OpenCreate,
    /// What was read looked like the state before our own last write; it is read
    /// again once that must have passed.
    StaleRead,
    /// It is new here and the other side is being read for its partner.
    AwaitPartner,
    /// It is new here, and records of the other side wait at which nobody has looked: one of
    /// them may be its partner.
    PartnerUnread,
    /// It names a record that is not linked yet.
    Unlinked,
}

impl PendingReason {
    /// The reason of a row that takes the place of one with an older reason. What is known
    /// about the record's pair outlives whatever it is put off or asked for next.
    #[must_use]
    pub fn in_place_of(self, old: Option<PendingReason>) -> PendingReason {
        match old {
            Some(PendingReason::Changed) if !self.is_open() => PendingReason::Changed,
            Some(old) if old.is_open() && !self.is_open() => PendingReason::Changed,
            Some(_) | None => self,
        }
    }

    /// Whether something is open about the record's pair, so that both sides are to be looked at.
    #[must_use]
    pub fn is_open(self) -> bool {
        self.is_alone() || self == PendingReason::Unlinked
    }

    /// Whether the record waits because it has no partner.
    #[must_use]
    pub fn is_alone(self) -> bool {
        matches!(self, PendingReason::AwaitPartner | PendingReason::PartnerUnread)
    }
}

/// One durable row: this record, on this side, is to be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The side whose record it is.
    pub side: Side,
    /// The record.
    pub id: RecordId,
    /// Why.
    pub reason: PendingReason,
    /// Not before this time, in milliseconds since 1970.
    pub due_ms: i64,
    /// When it was first marked, in milliseconds since 1970; lag is measured from it.
    pub since_ms: i64,
    /// How often it has been tried.
    pub attempts: u32,
}

/// A write recorded before any byte of it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Counts the attempts at this pair; part of the idempotency key.
    pub number: u32,
    /// The side that is written.
    pub target: Side,
    /// What is written.
    pub operation: IntentOperation,
    /// The epoch that opened it.
    pub epoch: Epoch,
    /// When it was opened, in milliseconds since 1970: no byte left before this.
    pub opened_ms: i64,
    /// Whether its outcome is known to be unknown. An open one found at start is
    /// unknown too.
    pub state: IntentState,
}

/// What an intent will do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum IntentOperation {
    /// Create a record on the target side.
    Create {
        /// Frozen, so that a repeat sends the same bytes, and what is found to have been
        /// made is compared with what was sent.
        create: Create,
        /// The source side's id, to take the decision again when the create turns out
        /// not to have happened.
        source: RecordId,
        /// Hash of the match key, to hold back news of an unknown record that could
        /// be this one.
        match_key: Option<super::hash::Digest>,
    },
    /// Delete a record on the target side.
    Delete {
        /// The record.
        id: RecordId,
    },
}

/// Whether an open intent's outcome is awaited or known to be unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntentState {
    /// Its answer is awaited.
    Open,
    /// No answer came, or one that says nothing; to be recovered.
    Unknown,
    /// A create that has made nothing so far and whose source is gone. It stays open
    /// until it can no longer be carried out late, so that what it makes then is not
    /// taken for somebody's.
    GivenUp,
    /// It cannot be recovered without a person.
    Parked,
}

/// A record held back, with its reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// Why.
    pub kind: QuarantineKind,
    /// What is wrong, for a person.
    pub reason: String,
    /// The field or place it is about.
    pub path: Option<String>,
    /// Hash of the record's text: the row stays until the text changes.
    pub raw_hash: Option<super::hash::RawHash>,
    /// When it was first held back, in milliseconds since 1970.
    pub since_ms: i64,
}

/// Why a record is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum QuarantineKind {
    /// Its text could not be understood.
    Unreadable,
    /// A field breaks a rule of the mapping.
    Invalid,
    /// Its match key belongs to more than one record.
    Ambiguous,
    /// The other side refused it.
    Rejected,
    /// It used up its retries.
    DeadLetter,
    /// The outcome of a create is unknown and cannot be looked up.
    UnknownCreate,
    /// Mapping it crashed.
    Crashed,
    /// Both sides differ at first contact and the policy is to ask.
    Undecided,
    /// The host program did not let it be written.
    Refused,
}

impl QuarantineKind {
    /// The word used in logs and tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            QuarantineKind::Unreadable => "unreadable",
            QuarantineKind::Invalid => "invalid",
            QuarantineKind::Ambiguous => "ambiguous",
            QuarantineKind::Rejected => "rejected",
            QuarantineKind::DeadLetter => "dead_letter",
            QuarantineKind::UnknownCreate => "unknown_create",
            QuarantineKind::Crashed => "crashed",
            QuarantineKind::Undecided => "undecided",
            QuarantineKind::Refused => "refused",
        }
    }
}

/// One value that lost a conflict, kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// The field's name.
    pub field: String,
    /// The side whose value won.
    pub winner: Side,
    /// The losing value in the app's form as JSON text; `None` when it was absent.
    pub lost: Option<String>,
    /// The winning value, likewise.
    pub kept: Option<String>,
}

/// What a sync has done on one connection, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Records created on each side.
    pub created: PerSide<u64>,
    /// Records updated on each side.
    pub updated: PerSide<u64>,
    /// Records deleted on each side.
    pub deleted: PerSide<u64>,
    /// Records read that turned out to be our own writes coming back.
    pub echoes: u64,
    /// Records read.
    pub read: u64,
    /// Records read that had not changed.
    pub unchanged: u64,
    /// Pairs linked by match key.
    pub matched: u64,
    /// Fields in true conflict.
    pub conflicts: u64,
    /// Records held back.
    pub quarantined: u64,
    /// Records outside the sync's filter.
    pub filtered: u64,
    /// Edits of a field on the side that does not own it, put back.
    pub put_back: u64,
}

impl Totals {
    /// Adds another count.
    pub fn add(&mut self, other: &Totals) {
        let Totals {
            created,
            updated,
            deleted,
            echoes,
            read,
            unchanged,
            matched,
            conflicts,
            quarantined,
            filtered,
            put_back,
        } = other;
        for side in Side::BOTH {
            self.created[side] += created[side];
            self.updated[side] += updated[side];
            self.deleted[side] += deleted[side];
        }
        self.echoes += echoes;
        self.read += read;
        self.unchanged += unchanged;
        self.matched += matched;
        self.conflicts += conflicts;
        self.quarantined += quarantined;
        self.filtered += filtered;
        self.put_back += put_back;
    }

    /// All writes to both sides.
    #[must_use]
    pub fn writes(&self) -> u64 {
        Side::BOTH.iter().map(|&side| self.created[side] + self.updated[side] + self.deleted[side]).sum()
    }
}
