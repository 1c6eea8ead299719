//! The commit: plain data that says what a connection wants written, and the rules by
//! which it is taken or refused as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::codec::{decode, encode};
use super::committer::{Done, Work};
use super::connections::ConnectionRow;
use super::error::StoreError;
use super::keys::{self, Key, Parts};
use super::tables::{Table, WriteTables};
use super::{Inner, submit};
use crate::model::cursor::{Cursor, CursorDelta};
use crate::model::hash::Digest;
use crate::model::hint::Hint;
use crate::model::ids::{ConnNo, Epoch, PairNo, RecordId, SyncNo};
use crate::model::marker::Marker;
use crate::model::side::Side;
use crate::model::work::{Conflict, Intent, Lane, Pending, Quarantined, Totals};
use crate::planted::{self, Bug};

/// The right of one connection's actor, in one epoch, to write that connection's rows.
/// Starting the next epoch makes every older right worthless.
#[derive(Debug)]
pub struct CommitRight {
    inner: Arc<Inner>,
    conn: ConnNo,
    epoch: Epoch,
}

/// Resolves once a commit is durable, or refused. The commit is queued already:
/// dropping this does not take it back.
pub type CommitDone = Done<()>;

impl CommitRight {
    pub(super) fn new(inner: Arc<Inner>, conn: ConnNo, epoch: Epoch) -> Self {
        Self { inner, conn, epoch }
    }

    /// The connection it belongs to.
    #[must_use]
    pub fn conn(&self) -> ConnNo {
        self.conn
    }

    /// The epoch it was given in.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// An empty commit in this right's name.
    #[must_use]
    pub fn new_commit(&self) -> Commit {
        Commit { conn: self.conn, epoch: self.epoch, changes: Vec::new(), cursor_deltas: Vec::new(), num_bytes: 0 }
    }

    /// Queues a commit. Commits of one right are carried out in the order of the calls,
    /// each whole or not at all.
    ///
    /// The future fails with [`StoreError::StaleEpoch`], [`StoreError::CursorMoved`],
    /// [`StoreError::Misuse`], or what the disk said.
    pub fn commit(&self, commit: Commit) -> CommitDone {
        if commit.conn != self.conn {
            let reason = format!("it is connection {}'s, brought by connection {}", commit.conn, self.conn);
            return Done::ready(Err(StoreError::Misuse(reason)));
        }
        submit(&self.inner, commit)
    }
}

/// What a connection wants written, all or nothing. Where two calls name the same row
/// the later one counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    conn: ConnNo,
    epoch: Epoch,
    changes: Vec<RowChange>,
    cursor_deltas: Vec<CursorDelta>,
    num_bytes: usize,
}

/// One change of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
enum RowChange {
    Put {
        table: Table,
        key: Key,
        value: Vec<u8>,
    },
    Delete {
        table: Table,
        key: Key,
    },
    /// A marker or an intent: its pair number must not be given out again.
    DeletePair {
        table: Table,
        key: Key,
        pair: PairNo,
    },
    PutPending {
        place: Place,
        sync: SyncNo,
        row: Pending,
    },
    DeletePending {
        place: Place,
        sync: SyncNo,
        side: Side,
        id: RecordId,
    },
}

/// Where a pending row stands.
type Place = (Lane, u64);

/// What a `pending` row holds.
pub(super) type PendingRow = (SyncNo, Pending);

impl Commit {
    /// The connection.
    #[must_use]
    pub fn conn(&self) -> ConnNo {
        self.conn
    }

    /// Whether it would change nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.cursor_deltas.is_empty()
    }

    /// How many changes and cursor moves it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.changes.len() + self.cursor_deltas.len()
    }

    /// The records that it holds back.
    pub fn held_back(&self) -> impl Iterator<Item = (SyncNo, Side, String, Quarantined)> {
        self.puts(Table::Quarantine).filter_map(|(key, value)| {
            let mut parts = Parts::new(key.as_bytes());
            let (sync, side) = parts.conn().and(parts.sync()).zip(parts.side())?;
            Some((sync, side, parts.text()?.to_owned(), decode(Table::Quarantine, key.as_bytes(), value).ok()?))
        })
    }

    /// The conflicts whose losers it keeps.
    pub fn conflicts(&self) -> impl Iterator<Item = (SyncNo, PairNo, Conflict)> {
        self.puts(Table::History).filter_map(|(key, value)| {
            let mut parts = Parts::new(key.as_bytes());
            let (sync, pair) = parts.conn().and(parts.sync()).zip(parts.pair())?;
            Some((sync, pair, decode(Table::History, key.as_bytes(), value).ok()?))
        })
    }

    fn puts(&self, of: Table) -> impl Iterator<Item = (&Key, &[u8])> {
        self.changes.iter().filter_map(move |change| match change {
            RowChange::Put { table, key, value } if *table == of => Some((key, value.as_slice())),
            RowChange::Put { .. }
            | RowChange::Delete { .. }
            | RowChange::DeletePair { .. }
            | RowChange::PutPending { .. }
            | RowChange::DeletePending { .. } => None,
        })
    }

    fn put<T: serde::Serialize>(&mut self, table: Table, key: Key, row: &T) {
        let value = encode(row);
        self.num_bytes += key.as_bytes().len() + value.len();
        self.changes.push(RowChange::Put { table, key, value });
    }

    fn delete(&mut self, table: Table, key: Key) {
        self.num_bytes += key.as_bytes().len();
        self.changes.push(RowChange::Delete { table, key });
    }

    /// Writes a pair's marker.
    pub fn put_marker(&mut self, sync: SyncNo, pair: PairNo, marker: &Marker) {
        self.put(Table::Marker, keys::pair(self.conn, sync, pair), marker);
    }

    /// Forgets a pair's marker. Its number is never given out again. The pair's id and
    /// match rows are the caller's to delete with it.
    pub fn delete_marker(&mut self, sync: SyncNo, pair: PairNo) {
        let key = keys::pair(self.conn, sync, pair);
        self.changes.push(RowChange::DeletePair { table: Table::Marker, key, pair });
    }

    /// Lets a record id lead to its pair.
    pub fn put_id(&mut self, sync: SyncNo, side: Side, id: &RecordId, pair: PairNo) {
        self.put(Table::ById, keys::side_id(self.conn, sync, side, id.as_str()), &pair);
    }

    /// Takes that back.
    pub fn delete_id(&mut self, sync: SyncNo, side: Side, id: &RecordId) {
        self.delete(Table::ById, keys::side_id(self.conn, sync, side, id.as_str()));
    }

    /// Lets a match key on one side lead to a pair. Several pairs may share a key.
    pub fn put_match(&mut self, sync: SyncNo, match_key: Digest, side: Side, pair: PairNo) {
        self.put(Table::ByMatch, keys::match_row(self.conn, sync, match_key, side, pair), &());
    }

    /// Takes that back.
    pub fn delete_match(&mut self, sync: SyncNo, match_key: Digest, side: Side, pair: PairNo) {
        self.delete(Table::ByMatch, keys::match_row(self.conn, sync, match_key, side, pair));
    }

    /// Opens or changes the intent of a pair.
    pub fn put_intent(&mut self, sync: SyncNo, pair: PairNo, intent: &Intent) {
        self.put(Table::OpenWrite, keys::pair(self.conn, sync, pair), intent);
    }

    /// Closes the intent of a pair.
    pub fn delete_intent(&mut self, sync: SyncNo, pair: PairNo) {
        let key = keys::pair(self.conn, sync, pair);
        self.changes.push(RowChange::DeletePair { table: Table::OpenWrite, key, pair });
    }

    /// Marks a record to be looked at. A record has one pending row: one that stands
    /// elsewhere for the same record is taken away. A place that holds another record
    /// is refused.
    pub fn put_pending(&mut self, sync: SyncNo, lane: Lane, seq: u64, pending: &Pending) {
        self.num_bytes += 2 * pending.id.as_str().len() + 64;
        self.changes.push(RowChange::PutPending { place: (lane, seq), sync, row: pending.clone() });
    }

    /// Takes a record's pending row away, if it still stands there; a newer mark of the
    /// same record, at another place, stays.
    pub fn delete_pending(&mut self, sync: SyncNo, lane: Lane, seq: u64, side: Side, id: &RecordId) {
        self.num_bytes += id.as_str().len();
        self.changes.push(RowChange::DeletePending { place: (lane, seq), sync, side, id: id.clone() });
    }

    /// Writes a hint of the inbox anew, where it stands.
    pub fn put_inbox(&mut self, seq: u64, hint: &Hint) {
        self.put(Table::Inbox, keys::inbox(self.conn, seq), hint);
    }

    /// Takes a hint out of the inbox.
    pub fn delete_inbox(&mut self, seq: u64) {
        self.delete(Table::Inbox, keys::inbox(self.conn, seq));
    }

    /// Holds a record back; `id` may be synthetic where the record's own is unknown.
    pub fn put_quarantine(&mut self, sync: SyncNo, side: Side, id: &str, quarantined: &Quarantined) {
        self.put(Table::Quarantine, keys::side_id(self.conn, sync, side, id), quarantined);
    }

    /// Lets a record go again.
    pub fn delete_quarantine(&mut self, sync: SyncNo, side: Side, id: &str) {
        self.delete(Table::Quarantine, keys::side_id(self.conn, sync, side, id));
    }

    /// Keeps the loser of a conflict.
    pub fn put_history(&mut self, sync: SyncNo, pair: PairNo, seq: u64, conflict: &Conflict) {
        self.put(Table::History, keys::history(self.conn, sync, pair, seq), conflict);
    }

    /// Writes a sync's totals.
    pub fn put_totals(&mut self, sync: SyncNo, totals: &Totals) {
        self.put(Table::Totals, keys::conn_sync(self.conn, sync), totals);
    }

    /// Moves a cursor. The whole commit is refused unless the cursor stands at the
    /// delta's `from`.
    pub fn move_cursor(&mut self, delta: CursorDelta) {
        self.num_bytes += delta.to.as_ref().map_or(0, |cursor| cursor.as_str().len());
        self.cursor_deltas.push(delta);
    }
}

/// What a commit comes down to: rows to write and rows to take away, in key order.
/// Worked out in full before the first row is written, so that a refused commit leaves
/// nothing behind in a transaction it shares with others.
#[derive(Debug, Default)]
pub(super) struct Effects {
    rows: BTreeMap<(Table, Key), Option<Vec<u8>>>,
}

impl Effects {
    /// A row as it will be.
    pub(super) fn get(
        &self,
        tables: &mut WriteTables<'_>,
        table: Table,
        key: &Key,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        match self.rows.get(&(table, key.clone())) {
            Some(row) => Ok(row.clone()),
            None => tables.get(table, key),
        }
    }

    pub(super) fn put(&mut self, table: Table, key: Key, value: Vec<u8>) {
        self.rows.insert((table, key), Some(value));
    }

    pub(super) fn remove(&mut self, table: Table, key: Key) {
        self.rows.insert((table, key), None);
    }

    pub(super) fn apply(self, tables: &mut WriteTables<'_>) -> Result<(), StoreError> {
        for ((table, key), value) in self.rows {
            match value {
                Some(value) => tables.put(table, &key, &value)?,
                None => tables.remove(table, &key)?,
            }
        }
        Ok(())
    }
}

impl Work for Commit {
    type Answer = ();

    fn num_bytes(&self) -> usize {
        self.num_bytes
    }

    fn resolve(&self, tables: &mut WriteTables<'_>) -> Result<(Effects, ()), StoreError> {
        self.check_epoch(tables)?;
        let mut effects = Effects::default();
        for delta in &self.cursor_deltas {
            self.move_one(delta, tables, &mut effects)?;
        }
        for change in &self.changes {
            self.change(change, tables, &mut effects)?;
        }
        self.raise_pair_floor(tables, &mut effects)?;
        Ok((effects, ()))
    }
}

impl Commit {
    fn check_epoch(&self, tables: &mut WriteTables<'_>) -> Result<(), StoreError> {
        let stored = ConnectionRow::load(tables, self.conn)?.ok_or(StoreError::NoConnection(self.conn))?.epoch;
        if stored == self.epoch || planted::is(Bug::StaleEpochAccepted) {
            Ok(())
        } else {
            Err(StoreError::StaleEpoch { conn: self.conn, epoch: self.epoch, stored })
        }
    }

    fn move_one(
        &self,
        delta: &CursorDelta,
        tables: &mut WriteTables<'_>,
        effects: &mut Effects,
    ) -> Result<(), StoreError> {
        let CursorDelta { sync, side, stream, from, to } = delta;
        let key = keys::cursor(self.conn, *sync, *side, *stream);
        let stored: Option<Cursor> = effects
            .get(tables, Table::Cursor, &key)?
            .map(|bytes| decode(Table::Cursor, key.as_bytes(), &bytes))
            .transpose()?;
        if stored != *from {
            return Err(StoreError::CursorMoved { conn: self.conn, sync: *sync, side: *side });
        }
        match to {
            Some(cursor) => effects.put(Table::Cursor, key, encode(cursor)),
            None => effects.remove(Table::Cursor, key),
        }
        Ok(())
    }

    fn change(
        &self,
        change: &RowChange,
        tables: &mut WriteTables<'_>,
        effects: &mut Effects,
    ) -> Result<(), StoreError> {
        match change {
            RowChange::Put { table, key, value } => effects.put(*table, key.clone(), value.clone()),
            RowChange::Delete { table, key } | RowChange::DeletePair { table, key, pair: _ } => {
                effects.remove(*table, key.clone());
            }
            RowChange::PutPending { place, sync, row } => self.put_one_pending(*place, *sync, row, tables, effects)?,
            RowChange::DeletePending { place, sync, side, id } => {
                let index = keys::side_id(self.conn, *sync, *side, id.as_str());
                if self.pending_is_at(*place, *sync, *side, id, tables, effects)? {
                    effects.remove(Table::Pending, keys::pending(self.conn, place.0, place.1));
                }
                if place_of(&index, tables, effects)? == Some(*place) {
                    effects.remove(Table::PendingById, index);
                }
            }
        }
        Ok(())
    }

    fn put_one_pending(
        &self,
        place: Place,
        sync: SyncNo,
        row: &Pending,
        tables: &mut WriteTables<'_>,
        effects: &mut Effects,
    ) -> Result<(), StoreError> {
        self.pending_is_at(place, sync, row.side, &row.id, tables, effects)?;
        let index = keys::side_id(self.conn, sync, row.side, row.id.as_str());
        if let Some(elsewhere) = place_of(&index, tables, effects)?.filter(|&stands| stands != place) {
            effects.remove(Table::Pending, keys::pending(self.conn, elsewhere.0, elsewhere.1));
        }
        effects.put(Table::Pending, keys::pending(self.conn, place.0, place.1), encode(&(sync, row)));
        effects.put(Table::PendingById, index, encode(&place));
        Ok(())
    }

    /// Whether this record's pending row is at a place. Another record's there is
    /// refused, because going on would lose a mark.
    fn pending_is_at(
        &self,
        place: Place,
        sync: SyncNo,
        side: Side,
        id: &RecordId,
        tables: &mut WriteTables<'_>,
        effects: &Effects,
    ) -> Result<bool, StoreError> {
        let key = keys::pending(self.conn, place.0, place.1);
        let Some(bytes) = effects.get(tables, Table::Pending, &key)? else { return Ok(false) };
        let (other_sync, other): PendingRow = decode(Table::Pending, key.as_bytes(), &bytes)?;
        if other_sync == sync && other.side == side && other.id == *id {
            return Ok(true);
        }
        let (lane, seq) = (place.0.as_str(), place.1);
        Err(StoreError::Misuse(format!("pending row {lane} {seq} of connection {} is another record's", self.conn)))
    }

    /// A pair number whose marker and intent are both gone is remembered as used, for it
    /// is part of names that other systems keep.
    fn raise_pair_floor(&self, tables: &mut WriteTables<'_>, effects: &mut Effects) -> Result<(), StoreError> {
        let mut highest_gone: Option<PairNo> = None;
        for change in &self.changes {
            let RowChange::DeletePair { key, pair, .. } = change else { continue };
            if highest_gone >= Some(*pair) {
                continue;
            }
            let marker = effects.get(tables, Table::Marker, key)?;
            let intent = effects.get(tables, Table::OpenWrite, key)?;
            if marker.is_none() && intent.is_none() {
                highest_gone = Some(*pair);
            }
        }
        let Some(gone) = highest_gone else { return Ok(()) };
        let key = keys::conn(self.conn);
        let floor: Option<PairNo> = tables
            .get(Table::PairFloor, &key)?
            .map(|bytes| decode(Table::PairFloor, key.as_bytes(), &bytes))
            .transpose()?;
        if floor < Some(gone) {
            effects.put(Table::PairFloor, key, encode(&gone));
        }
        Ok(())
    }
}

/// Where the index says a record's pending row stands.
fn place_of(index: &Key, tables: &mut WriteTables<'_>, effects: &Effects) -> Result<Option<Place>, StoreError> {
    effects
        .get(tables, Table::PendingById, index)?
        .map(|bytes| decode(Table::PendingById, index.as_bytes(), &bytes))
        .transpose()
}
