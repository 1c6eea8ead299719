//! The embedded store: records of teams whose app has no API yet, kept in the state
//! file, with an order of changes.
//!
//! Each object of each scope has one sequence. A write that changes a record takes its
//! next number, which is the record's version and the place of its one row in the
//! change table; a deletion takes one, too, and its row stays.

use std::fmt::Write as _;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::codec::{bad_row, decode, encode};
use super::commit::Effects;
use super::committer::{Done, Work};
use super::error::StoreError;
use super::keys::{self, Key, Parts};
use super::tables::{ReadTables, Table, WriteTables};
use super::{Inner, submit};
use crate::model::ids::{MAX_RECORD_ID_BYTES, ObjectName, RecordId, Scope};
use crate::model::record::Body;
use crate::model::value::Value;
use crate::model::write::Change;

/// A record as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// Its id.
    pub id: RecordId,
    /// The number of its latest change in the object's sequence.
    pub version: u64,
    /// When it was last changed, in milliseconds since 1970.
    pub modified_ms: i64,
    /// Its fields.
    pub body: Body,
}

/// One write to one record. `expected` is the version it was decided on; with another
/// one there the write is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordOp {
    /// Makes a record; refused when there is one.
    Create {
        /// Its id, chosen by the caller.
        id: RecordId,
        /// Its fields, a JSON object.
        body: Body,
    },
    /// Replaces a record, or makes it when there is none and none was expected.
    Put {
        /// The record.
        id: RecordId,
        /// The version it must have.
        expected: Option<u64>,
        /// Its fields, a JSON object.
        body: Body,
    },
    /// Changes some fields of a record.
    Patch {
        /// The record.
        id: RecordId,
        /// The version it must have.
        expected: Option<u64>,
        /// The fields, set or taken away in this order.
        changes: Vec<Change>,
    },
    /// Deletes a record.
    Delete {
        /// The record.
        id: RecordId,
        /// The version it must have.
        expected: Option<u64>,
    },
}

/// What came of one write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordResult {
    /// The record as it is now; the same version as before when nothing differed.
    Stored(StoredRecord),
    /// It is gone since this change.
    Deleted {
        /// The deletion's number in the sequence.
        version: u64,
    },
    /// Refused: it has another version than expected.
    Changed {
        /// The one it has.
        version: u64,
    },
    /// There is no such record.
    Missing,
    /// Refused: there is such a record.
    Exists(StoredRecord),
    /// Refused: the id or the fields are not acceptable, and why.
    Invalid(String),
}

/// The latest change of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordChange {
    /// Its number in the object's sequence.
    pub seq: u64,
    /// The record.
    pub id: RecordId,
    /// What the change left.
    pub state: RecordState,
}

/// What a change left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordState {
    /// The record as it is now.
    Live(StoredRecord),
    /// Nothing.
    Deleted,
}

/// The right to write the embedded store. It reaches no connection's rows.
#[derive(Debug, Clone)]
pub struct RecordsRight {
    inner: Arc<Inner>,
}

/// Resolves once writes to records are durable.
pub type RecordsDone = Done<Vec<RecordResult>>;

impl RecordsRight {
    pub(super) fn new(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    /// Queues writes to one object's records: all in one transaction, in this order,
    /// each with its own result. `now_ms` is the time of the change, in milliseconds
    /// since 1970.
    ///
    /// The future fails when the disk does; a refused write is a result, not an error.
    pub fn write(&self, scope: &Scope, object: &ObjectName, ops: Vec<RecordOp>, now_ms: i64) -> RecordsDone {
        submit(&self.inner, RecordWrites { scope: scope.clone(), object: object.clone(), ops, now_ms })
    }
}

/// What a `record` row holds.
#[derive(Debug, Serialize, Deserialize)]
struct RecordRow {
    version: u64,
    modified_ms: i64,
    body: String,
}

/// What a `change` row holds.
#[derive(Debug, Serialize, Deserialize)]
struct ChangeRow {
    id: RecordId,
    deleted: bool,
}

/// Writes on their way to the file.
#[derive(Debug)]
struct RecordWrites {
    scope: Scope,
    object: ObjectName,
    ops: Vec<RecordOp>,
    now_ms: i64,
}

impl Work for RecordWrites {
    type Answer = Vec<RecordResult>;

    fn num_bytes(&self) -> usize {
        self.ops.iter().map(op_bytes).sum()
    }

    fn resolve(&self, tables: &mut WriteTables<'_>) -> Result<(Effects, Vec<RecordResult>), StoreError> {
        let next_seq = 1 + self.last_seq(tables)?;
        let mut step = Step { writes: self, tables, effects: Effects::default(), next_seq };
        let results = self.ops.iter().map(|op| step.take(op)).collect::<Result<_, _>>()?;
        Ok((step.effects, results))
    }
}

impl RecordWrites {
    fn last_seq(&self, tables: &mut WriteTables<'_>) -> Result<u64, StoreError> {
        let prefix = keys::object(&self.scope, &self.object);
        match tables.last(Table::Change, &prefix.prefixed())? {
            Some((key, _)) => seq_of(&key, &prefix),
            None => Ok(0),
        }
    }
}

fn op_bytes(op: &RecordOp) -> usize {
    match op {
        RecordOp::Create { id, body } | RecordOp::Put { id, expected: _, body } => {
            id.as_str().len() + body.as_str().len()
        }
        RecordOp::Patch { id, expected: _, changes } => id.as_str().len() + 64 * changes.len(),
        RecordOp::Delete { id, expected: _ } => id.as_str().len(),
    }
}

/// One write after the other, each seeing what the ones before it leave.
struct Step<'a, 'txn> {
    writes: &'a RecordWrites,
    tables: &'a mut WriteTables<'txn>,
    effects: Effects,
    next_seq: u64,
}

impl Step<'_, '_> {
    fn take(&mut self, op: &RecordOp) -> Result<RecordResult, StoreError> {
        match op {
            RecordOp::Create { id, body } => match self.load(id)? {
                Some(record) => Ok(RecordResult::Exists(record)),
                None => self.store(id, None, body),
            },
            RecordOp::Put { id, expected, body } => match (self.load(id)?, expected) {
                (None, Some(_)) => Ok(RecordResult::Missing),
                (Some(record), Some(expected)) if record.version != *expected => {
                    Ok(RecordResult::Changed { version: record.version })
                }
                (record, _) => self.store(id, record, body),
            },
            RecordOp::Patch { id, expected, changes } => match (self.load(id)?, expected) {
                (None, _) => Ok(RecordResult::Missing),
                (Some(record), Some(expected)) if record.version != *expected => {
                    Ok(RecordResult::Changed { version: record.version })
                }
                (Some(record), _) => self.patch(record, changes),
            },
            RecordOp::Delete { id, expected } => match (self.load(id)?, expected) {
                (None, _) => Ok(RecordResult::Missing),
                (Some(record), Some(expected)) if record.version != *expected => {
                    Ok(RecordResult::Changed { version: record.version })
                }
                (Some(record), _) => Ok(self.delete(&record)),
            },
        }
    }

    fn record_key(&self, id: &RecordId) -> Key {
        keys::record(&self.writes.scope, &self.writes.object, id)
    }

    fn change_key(&self, seq: u64) -> Key {
        keys::change(&self.writes.scope, &self.writes.object, seq)
    }

    fn load(&mut self, id: &RecordId) -> Result<Option<StoredRecord>, StoreError> {
        let key = self.record_key(id);
        let bytes = self.effects.get(self.tables, Table::Record, &key)?;
        bytes.map(|bytes| stored(&key, id.clone(), &bytes)).transpose()
    }

    fn store(&mut self, id: &RecordId, before: Option<StoredRecord>, body: &Body) -> Result<RecordResult, StoreError> {
        if let Err(reason) = check_id(id) {
            return Ok(RecordResult::Invalid(reason));
        }
        let value = match decode_object(body) {
            Ok(value) => value,
            Err(reason) => return Ok(RecordResult::Invalid(reason)),
        };
        match before {
            Some(before) if means(&before.body, &value) => Ok(RecordResult::Stored(before)),
            before => self.write(id, before.map(|before| before.version), body.clone()),
        }
    }

    fn patch(&mut self, before: StoredRecord, changes: &[Change]) -> Result<RecordResult, StoreError> {
        let mut value = match before.body.decode() {
            Ok(value) => value,
            Err(error) => return Ok(RecordResult::Invalid(format!("the stored record cannot be read: {error}"))),
        };
        let original = value.clone();
        for Change { path, value: new } in changes {
            match new {
                Some(new) => value.set(path, new.clone()),
                None => value.remove(path),
            }
        }
        if value.same(&original) {
            return Ok(RecordResult::Stored(before));
        }
        let body = Body::from_value(&value);
        // A value may nest too deep only now that it stands in its place.
        if let Err(reason) = decode_object(&body) {
            return Ok(RecordResult::Invalid(reason));
        }
        self.write(&before.id.clone(), Some(before.version), body)
    }

    fn write(&mut self, id: &RecordId, before: Option<u64>, body: Body) -> Result<RecordResult, StoreError> {
        let key = self.record_key(id);
        let earlier = match before {
            Some(version) => Some(version),
            None => self.deleted_at(&key)?,
        };
        let seq = self.step(earlier, id, false);
        let row = RecordRow { version: seq, modified_ms: self.writes.now_ms, body: body.as_str().to_owned() };
        self.effects.remove(Table::RecordGone, key.clone());
        self.effects.put(Table::Record, key, encode(&row));
        let (version, modified_ms) = (seq, self.writes.now_ms);
        Ok(RecordResult::Stored(StoredRecord { id: id.clone(), version, modified_ms, body }))
    }

    fn delete(&mut self, record: &StoredRecord) -> RecordResult {
        let seq = self.step(Some(record.version), &record.id, true);
        let key = self.record_key(&record.id);
        self.effects.remove(Table::Record, key.clone());
        self.effects.put(Table::RecordGone, key, encode(&seq));
        RecordResult::Deleted { version: seq }
    }

    fn deleted_at(&mut self, key: &Key) -> Result<Option<u64>, StoreError> {
        let bytes = self.effects.get(self.tables, Table::RecordGone, key)?;
        bytes.map(|bytes| decode(Table::RecordGone, key.as_bytes(), &bytes)).transpose()
    }

    /// Moves a record's change row to the end of the sequence.
    fn step(&mut self, earlier: Option<u64>, id: &RecordId, deleted: bool) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        if let Some(earlier) = earlier {
            self.effects.remove(Table::Change, self.change_key(earlier));
        }
        self.effects.put(Table::Change, self.change_key(seq), encode(&ChangeRow { id: id.clone(), deleted }));
        seq
    }
}

fn check_id(id: &RecordId) -> Result<(), String> {
    match id.as_str().len() {
        0 => Err("a record id must not be empty".to_owned()),
        1..=MAX_RECORD_ID_BYTES => Ok(()),
        len => Err(format!("a record id has at most {MAX_RECORD_ID_BYTES} bytes, this one {len}")),
    }
}

fn decode_object(body: &Body) -> Result<Value, String> {
    let value = body.decode().map_err(|error| error.to_string())?;
    match &value {
        Value::Object(_) => Ok(value),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(format!("a record must be a JSON object, this is a {}", value.kind()))
        }
    }
}

fn means(body: &Body, value: &Value) -> bool {
    body.decode().is_ok_and(|stored| stored.same(value))
}

fn stored(key: &Key, id: RecordId, bytes: &[u8]) -> Result<StoredRecord, StoreError> {
    let RecordRow { version, modified_ms, body } = decode(Table::Record, key.as_bytes(), bytes)?;
    Ok(StoredRecord { id, version, modified_ms, body: Body::from_json(body) })
}

fn seq_of(key: &Key, prefix: &Key) -> Result<u64, StoreError> {
    let rest = key.as_bytes().get(prefix.as_bytes().len()..);
    let seq = rest.and_then(|rest| Parts::new(rest).u64());
    seq.ok_or_else(|| bad_row(Table::Change, key.as_bytes(), "it holds no number"))
}

/// One record by id.
pub(super) fn get(
    tables: &ReadTables,
    scope: &Scope,
    object: &ObjectName,
    id: &RecordId,
) -> Result<Option<StoredRecord>, StoreError> {
    let key = keys::record(scope, object, id);
    tables.get(Table::Record, &key)?.map(|bytes| stored(&key, id.clone(), &bytes)).transpose()
}

/// Records in id order.
pub(super) fn list(
    tables: &ReadTables,
    scope: &Scope,
    object: &ObjectName,
    after: Option<&RecordId>,
    limit: usize,
) -> Result<Vec<StoredRecord>, StoreError> {
    let prefix = keys::object(scope, object);
    let mut range = prefix.prefixed();
    if let Some(after) = after {
        range = range.starting_after(keys::record(scope, object, after));
    }
    let mut records = Vec::new();
    if limit == 0 {
        return Ok(records);
    }
    tables.scan(Table::Record, &range, |key, value| {
        let id = std::str::from_utf8(&key[prefix.as_bytes().len()..])
            .map_err(|_| bad_row(Table::Record, key, "its id is no text"))?;
        records.push(stored(&Key::from_bytes(key), RecordId::new(id), value)?);
        Ok(records.len() < limit)
    })?;
    Ok(records)
}

/// Latest changes after a number, in order.
pub(super) fn changes(
    tables: &ReadTables,
    scope: &Scope,
    object: &ObjectName,
    since_seq: u64,
    limit: usize,
) -> Result<Vec<RecordChange>, StoreError> {
    let prefix = keys::object(scope, object);
    let range = prefix.prefixed().starting_after(keys::change(scope, object, since_seq));
    let mut rows: Vec<(u64, ChangeRow)> = Vec::new();
    if limit > 0 {
        tables.scan(Table::Change, &range, |key, value| {
            rows.push((seq_of(&Key::from_bytes(key), &prefix)?, decode(Table::Change, key, value)?));
            Ok(rows.len() < limit)
        })?;
    }
    let mut changes = Vec::with_capacity(rows.len());
    for (seq, ChangeRow { id, deleted }) in rows {
        let state = if deleted {
            RecordState::Deleted
        } else {
            let record = get(tables, scope, object, &id)?;
            let key = keys::change(scope, object, seq);
            RecordState::Live(record.ok_or_else(|| bad_row(Table::Change, key.as_bytes(), "its record is missing"))?)
        };
        changes.push(RecordChange { seq, id, state });
    }
    Ok(changes)
}

/// The greatest number of the sequence, 0 before the first change.
pub(super) fn last_seq(tables: &ReadTables, scope: &Scope, object: &ObjectName) -> Result<u64, StoreError> {
    let prefix = keys::object(scope, object);
    match tables.last(Table::Change, &prefix.prefixed())? {
        Some((key, _)) => seq_of(&key, &prefix),
        None => Ok(0),
    }
}

/// A `record` row as text.
pub(super) fn describe_record(key: &[u8], value: &[u8], out: &mut String) -> Result<(), StoreError> {
    let RecordRow { version, modified_ms, body } = decode(Table::Record, key, value)?;
    // Writing to a String cannot fail.
    let _ = write!(out, "v{version} modified={modified_ms} {}", super::dump::one_line(&body));
    Ok(())
}

/// A `change` row as text.
pub(super) fn describe_change(key: &[u8], value: &[u8], out: &mut String) -> Result<(), StoreError> {
    let ChangeRow { id, deleted } = decode(Table::Change, key, value)?;
    let _ = write!(out, "{} {:?}", if deleted { "deleted" } else { "live" }, id.as_str());
    Ok(())
}
