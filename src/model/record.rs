//! Records as a connector yields them, and the pages they come in.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::cursor::{Cursor, PageToken};
use super::hash::RawHash;
use super::ids::{RecordId, Version};
use super::value::{Value, ValueError};

/// One record's JSON text, verbatim. Decoded only along mapped paths, so that one bad
/// value harms one record and an unchanged record costs a hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body(Arc<str>);

impl Body {
    /// Takes the text of one JSON object. Not checked here: a text that turns out not
    /// to be one is quarantined when it is mapped.
    pub fn from_json(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// Writes a value as the body.
    #[must_use]
    pub fn from_value(value: &Value) -> Self {
        Self(value.to_json().into())
    }

    /// The JSON text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The whole body decoded.
    ///
    /// # Errors
    /// When it is not valid JSON, a key stands twice, or it nests too deep.
    pub fn decode(&self) -> Result<Value, ValueError> {
        Value::from_json(&self.0)
    }

    /// Hash of the text as it is.
    #[must_use]
    pub fn raw_hash(&self) -> RawHash {
        RawHash::of(self.0.as_bytes())
    }
}

/// One record as it was seen on one side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its id on that side.
    pub id: RecordId,
    /// Its revision, where the side tells one.
    pub version: Option<Version>,
    /// When that side says it was last modified.
    pub modified: Option<DateTime<Utc>>,
    /// All its fields.
    pub body: Body,
}

/// Why a record is known to be gone. Absence from a list is not among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DeletionCause {
    /// The list held a tombstone entry for it.
    Tombstone,
    /// A declared field says that it is deleted or archived.
    Flag,
    /// Reading or writing it by id answered with a declared status (404, 410, …).
    NotFound,
    /// The kernel deleted it.
    Kernel,
}

/// What a page holds for one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// It is there.
    Live(Record),
    /// It is gone, on positive evidence.
    Deleted {
        /// Its id on that side.
        id: RecordId,
        /// The revision of the deletion, where told.
        version: Option<Version>,
        /// The evidence.
        cause: DeletionCause,
    },
    /// It could not be understood. The rest of the page is not harmed.
    Bad(BadRecord),
}

impl Entry {
    /// There is no record with this id, as a read by id has shown.
    #[must_use]
    pub fn not_found(id: RecordId) -> Self {
        Self::Deleted { id, version: None, cause: DeletionCause::NotFound }
    }
}

/// A record that could not be understood, kept as a quarantine row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRecord {
    /// Its id, where that much could be read.
    pub id: Option<RecordId>,
    /// Where in the answer it stands: `results[3].id`.
    pub place: String,
    /// What is wrong with it.
    pub reason: String,
    /// Hash of its text, so that the same bad record is counted once.
    pub raw_hash: RawHash,
}

/// One page of a read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// What it holds. An empty page is not the end; `next` decides that.
    pub entries: Vec<Entry>,
    /// How to go on; `None` on the last page.
    pub next: Option<PageToken>,
    /// The cursor that is safe to keep once this and all earlier pages of the read
    /// are accounted for. A side that lists in change order with stable pages may give
    /// one on each page, others on the last page only.
    pub cursor: Option<Cursor>,
    /// The pages shifted while they were read (a record came twice, the overlap did
    /// not match), so a record may have been missed and the read must be repeated.
    pub drifted: bool,
    /// How many records the whole read will hold, where told; for progress only.
    pub total: Option<u64>,
    /// The side is still making the next page, which is to be asked for no sooner than this
    /// many milliseconds from now. Meanwhile the connection does other work.
    pub again_after_ms: Option<u64>,
}

impl Page {
    /// A page of these entries that is also the last.
    #[must_use]
    pub fn last(entries: Vec<Entry>) -> Self {
        Self { entries, ..Self::default() }
    }
}
