//! What was asked of the app, call by call, and what became of its records, change by
//! change.

use super::faults::Fault;
use crate::model::cursor::Cursor;
use crate::model::ids::{ObjectName, RecordId, Version};
use crate::model::path::Path;
use crate::model::value::Value;
use crate::model::write::Change;

/// One read, or one write of a call.
#[derive(Debug, Clone, PartialEq)]
pub struct LogEntry {
    /// The call it belongs to, counted from 1; the writes of a batch share it.
    pub call: u64,
    /// When the call arrived, in milliseconds since the app was made.
    pub at_ms: u64,
    /// The object.
    pub object: ObjectName,
    /// What was asked.
    pub operation: Operation,
    /// What went wrong, if anything did. The writes of a batch share it.
    pub fault: Option<Fault>,
    /// Whether something was created, changed or deleted by it; of a late commit, once
    /// it has come.
    pub applied: bool,
}

/// What was asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// A page of all records.
    ReadAll {
        /// Counted from 1.
        page: u32,
    },
    /// A page of changes.
    ReadChanges {
        /// From where.
        since: Cursor,
        /// Counted from 1.
        page: u32,
    },
    /// Records by id.
    ReadIds(Vec<RecordId>),
    /// Records by field.
    Find(Vec<(Path, Value)>),
    /// The record with an external id.
    FindExternalId(String),
    /// A create.
    Create {
        /// The record made, or the one that an earlier attempt had made.
        id: Option<RecordId>,
        /// What names the pair.
        external_id: String,
        /// The key of this create.
        idempotency_key: String,
        /// What was sent.
        record: Value,
    },
    /// An update.
    Update {
        /// The record.
        id: RecordId,
        /// The version it was decided on.
        expected: Option<Version>,
        /// The version it met.
        found: Option<Version>,
        /// What was sent.
        changes: Vec<Change>,
    },
    /// A delete.
    Delete {
        /// The record.
        id: RecordId,
        /// The version it was decided on.
        expected: Option<Version>,
        /// The version it met.
        found: Option<Version>,
    },
}

impl Operation {
    /// Whether it is a create, an update or a delete.
    #[must_use]
    pub fn is_write(&self) -> bool {
        match self {
            Operation::Create { .. } | Operation::Update { .. } | Operation::Delete { .. } => true,
            Operation::ReadAll { .. }
            | Operation::ReadChanges { .. }
            | Operation::ReadIds(_)
            | Operation::Find(_)
            | Operation::FindExternalId(_) => false,
        }
    }
}

/// One state that a record ever had.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryEntry {
    /// The number of the change that left it behind; no two have the same. They grow
    /// but for transactions that took theirs early
    /// ([`late_beyond_lookback`](super::Faults::late_beyond_lookback)).
    pub change: u64,
    /// When it was carried out, in milliseconds since the app was made.
    pub at_ms: u64,
    /// The object.
    pub object: ObjectName,
    /// The record.
    pub id: RecordId,
    /// Its version, as connectors are told it where the app has versions.
    pub version: Version,
    /// All its fields; `None` when it was deleted.
    pub value: Option<Value>,
    /// Who did it.
    pub cause: Cause,
}

/// Who changed a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// A person, or the app itself.
    Edit,
    /// A person merged it with this other record: one of the two is deleted by it.
    Merge {
        /// The other record.
        other: RecordId,
    },
    /// This call of a connector.
    Call(u64),
    /// This call of a connector, after it had been given up.
    LateCall(u64),
}

impl Cause {
    /// Whether it came from outside, not through a connector.
    #[must_use]
    pub fn is_outside(&self) -> bool {
        match self {
            Cause::Edit | Cause::Merge { .. } => true,
            Cause::Call(_) | Cause::LateCall(_) => false,
        }
    }
}

/// Where a call stands when it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// It has arrived, and nothing was done.
    BeforeEffect,
    /// It was carried out, and its answer is not on its way yet.
    BeforeAnswer,
}

/// The most calls that arrived in any span of so many milliseconds.
pub(super) fn busiest(log: &[LogEntry], span_ms: u64) -> usize {
    let mut arrivals: Vec<(u64, u64)> = log.iter().map(|entry| (entry.at_ms, entry.call)).collect();
    arrivals.sort_unstable();
    arrivals.dedup();
    let mut first = 0;
    let mut most = 0;
    for (last, (at_ms, _)) in arrivals.iter().enumerate() {
        while arrivals[first].0 + span_ms <= *at_ms {
            first += 1;
        }
        most = most.max(last - first + 1);
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_span_counts_calls_and_not_the_writes_of_a_batch() {
        let entry = |call, at_ms| LogEntry {
            call,
            at_ms,
            object: "o".into(),
            operation: Operation::ReadAll { page: 1 },
            fault: None,
            applied: false,
        };
        let log = [entry(1, 0), entry(1, 0), entry(2, 5), entry(3, 9), entry(4, 10), entry(5, 30)];
        assert_eq!(busiest(&log, 10), 3);
        assert_eq!(busiest(&log, 1), 1);
        assert_eq!(busiest(&[], 10), 0);
    }
}
