//! Reading: one moment of the whole file.

use super::codec::{bad_row, decode};
use super::connections::{self, ConnectionRow};
use super::error::StoreError;
use super::keys::{self, Key, NameKind, Parts, Range};
use super::records::{self, RecordChange, StoredRecord};
use super::tables::{ReadTables, Table};
use crate::model::cursor::{Cursor, StreamNo};
use crate::model::hash::Digest;
use crate::model::hint::Hint;
use crate::model::ids::{ConnNo, ConnectionId, Epoch, FieldNo, ObjectName, PairNo, RecordId, Scope, SyncName, SyncNo};
use crate::model::marker::Marker;
use crate::model::side::Side;
use crate::model::work::{Conflict, Intent, Lane, Pending, Quarantined, Totals};

/// One moment of the whole file. Short-lived: the file keeps what it shows for as long
/// as it lives, so it is never held across an await.
///
/// Every method fails with [`StoreError::Corrupt`] where a row cannot be understood,
/// [`StoreError::Closed`] after the store was closed, and what the disk says.
pub struct Snapshot {
    pub(super) tables: ReadTables,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Snapshot")
    }
}

/// A record to be looked at, with the place of its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingRow {
    /// The lane it waits in.
    pub lane: Lane,
    /// Its place in the lane.
    pub seq: u64,
    /// The sync it belongs to.
    pub sync: SyncNo,
    /// The record, and why.
    pub pending: Pending,
}

/// What is durable about a connection itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredConnection {
    /// What the user calls it.
    pub id: ConnectionId,
    /// How many times its actor has started.
    pub epoch: Epoch,
    /// Whether it was told to rest.
    pub paused: bool,
    /// The configuration text kept with it, if any.
    pub config: Option<String>,
}

impl Snapshot {
    pub(super) fn new(tables: ReadTables) -> Self {
        Self { tables }
    }

    fn row<T: serde::de::DeserializeOwned>(&self, table: Table, key: &Key) -> Result<Option<T>, StoreError> {
        self.tables.get(table, key)?.map(|bytes| decode(table, key.as_bytes(), &bytes)).transpose()
    }

    /// Up to `limit` rows of a range, each made from its key's parts and its value.
    fn rows<T>(
        &self,
        table: Table,
        range: &Range,
        limit: usize,
        mut make: impl FnMut(&mut Parts<'_>, &[u8], &[u8]) -> Result<Option<T>, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut rows = Vec::new();
        if limit == 0 {
            return Ok(rows);
        }
        self.tables.scan(table, range, |key, value| {
            let row = make(&mut Parts::new(key), key, value)?;
            rows.push(row.ok_or_else(|| bad_row(table, key, "its key cannot be taken apart"))?);
            Ok(rows.len() < limit)
        })?;
        Ok(rows)
    }

    fn count(&self, table: Table, range: &Range) -> Result<u64, StoreError> {
        let mut count = 0;
        self.tables.scan(table, range, |_, _| {
            count += 1;
            Ok(true)
        })?;
        Ok(count)
    }

    /// A number at the end of the greatest key of a prefix.
    fn last_number(&self, table: Table, prefix: &Key) -> Result<Option<u64>, StoreError> {
        let Some((key, _)) = self.tables.last(table, &prefix.prefixed())? else { return Ok(None) };
        let rest = key.as_bytes().get(prefix.as_bytes().len()..);
        let number = rest.and_then(|rest| Parts::new(rest).u64());
        number.map(Some).ok_or_else(|| bad_row(table, key.as_bytes(), "it holds no number"))
    }

    /// A pair's marker.
    pub fn marker(&self, conn: ConnNo, sync: SyncNo, pair: PairNo) -> Result<Option<Marker>, StoreError> {
        self.row(Table::Marker, &keys::pair(conn, sync, pair))
    }

    /// Up to `limit` markers of a sync in pair order, beginning at `from`.
    pub fn markers(
        &self,
        conn: ConnNo,
        sync: SyncNo,
        from: PairNo,
        limit: usize,
    ) -> Result<Vec<(PairNo, Marker)>, StoreError> {
        let range = keys::conn_sync(conn, sync).prefixed().starting_at(keys::pair(conn, sync, from));
        self.rows(Table::Marker, &range, limit, |parts, key, value| {
            let pair = parts.conn().and(parts.sync()).and(parts.pair());
            let marker = decode(Table::Marker, key, value)?;
            Ok(pair.map(|pair| (pair, marker)))
        })
    }

    /// How many markers a sync has. Walks their keys, so it is for a person who asks,
    /// not for each commit.
    pub fn count_markers(&self, conn: ConnNo, sync: SyncNo) -> Result<u64, StoreError> {
        self.count(Table::Marker, &keys::conn_sync(conn, sync).prefixed())
    }

    /// How many markers the whole file has; costs nothing.
    pub fn count_all_markers(&self) -> Result<u64, StoreError> {
        self.tables.len(Table::Marker)
    }

    /// The pair a record belongs to.
    pub fn pair_by_id(
        &self,
        conn: ConnNo,
        sync: SyncNo,
        side: Side,
        id: &RecordId,
    ) -> Result<Option<PairNo>, StoreError> {
        self.row(Table::ById, &keys::side_id(conn, sync, side, id.as_str()))
    }

    /// How many records are filed under a pair. Walks their keys, as
    /// [`count_markers`](Self::count_markers) does.
    pub fn count_ids(&self, conn: ConnNo, sync: SyncNo) -> Result<u64, StoreError> {
        self.count(Table::ById, &keys::conn_sync(conn, sync).prefixed())
    }

    /// Up to `limit` pairs whose record on a side has a match key.
    pub fn pairs_by_match(
        &self,
        conn: ConnNo,
        sync: SyncNo,
        match_key: Digest,
        side: Side,
        limit: usize,
    ) -> Result<Vec<PairNo>, StoreError> {
        let range = keys::matches(conn, sync, match_key, side).prefixed();
        self.rows(Table::ByMatch, &range, limit, |parts, _, _| {
            Ok(parts.conn().and(parts.sync()).and(parts.digest()).and(parts.side()).and(parts.pair()))
        })
    }

    /// One more than the greatest pair number the connection ever used.
    pub fn next_pair(&self, conn: ConnNo) -> Result<PairNo, StoreError> {
        let floor: Option<PairNo> = self.row(Table::PairFloor, &keys::conn(conn))?;
        let mut greatest = floor.map_or(0, |pair| pair.0);
        for table in [Table::Marker, Table::OpenWrite] {
            greatest = greatest.max(self.greatest_pair(table, conn)?);
        }
        greatest.checked_add(1).map(PairNo).ok_or(StoreError::Full { what: "pairs of one connection" })
    }

    /// One seek for each sync: the last row of the last sync, then of the one before.
    fn greatest_pair(&self, table: Table, conn: ConnNo) -> Result<u64, StoreError> {
        let mut greatest = 0;
        let mut range = keys::conn(conn).prefixed();
        while let Some((key, _)) = self.tables.last(table, &range)? {
            let mut parts = Parts::new(key.as_bytes());
            let found = parts.conn().and(parts.sync()).zip(parts.pair());
            let (sync, pair) = found.ok_or_else(|| bad_row(table, key.as_bytes(), "its key cannot be taken apart"))?;
            greatest = greatest.max(pair.0);
            range = range.ending_before(keys::conn_sync(conn, sync));
        }
        Ok(greatest)
    }

    /// A pair's open intent.
    pub fn intent(&self, conn: ConnNo, sync: SyncNo, pair: PairNo) -> Result<Option<Intent>, StoreError> {
        self.row(Table::OpenWrite, &keys::pair(conn, sync, pair))
    }

    /// All open intents of a connection.
    pub fn intents(&self, conn: ConnNo) -> Result<Vec<(SyncNo, PairNo, Intent)>, StoreError> {
        self.rows(Table::OpenWrite, &keys::conn(conn).prefixed(), usize::MAX, |parts, key, value| {
            let intent = decode(Table::OpenWrite, key, value)?;
            Ok(parts.conn().and(parts.sync()).zip(parts.pair()).map(|(sync, pair)| (sync, pair, intent)))
        })
    }

    /// All pending rows of a connection, by lane and place.
    pub fn pending_all(&self, conn: ConnNo) -> Result<Vec<PendingRow>, StoreError> {
        self.pending_rows(&keys::conn(conn).prefixed(), usize::MAX)
    }

    /// Up to `limit` hints of a connection's inbox, oldest first, with their numbers.
    pub fn inbox(&self, conn: ConnNo, limit: usize) -> Result<Vec<(u64, Hint)>, StoreError> {
        self.rows(Table::Inbox, &keys::conn(conn).prefixed(), limit, |parts, key, value| {
            let hint = decode(Table::Inbox, key, value)?;
            Ok(parts.conn().and_then(|_| parts.u64()).map(|seq| (seq, hint)))
        })
    }

    /// Up to `limit` pending rows of a lane, beginning at place `from_seq`.
    pub fn pending_from(
        &self,
        conn: ConnNo,
        lane: Lane,
        from_seq: u64,
        limit: usize,
    ) -> Result<Vec<PendingRow>, StoreError> {
        let range = keys::lane(conn, lane).prefixed().starting_at(keys::pending(conn, lane, from_seq));
        self.pending_rows(&range, limit)
    }

    fn pending_rows(&self, range: &Range, limit: usize) -> Result<Vec<PendingRow>, StoreError> {
        self.rows(Table::Pending, range, limit, |parts, key, value| {
            let (sync, pending) = decode(Table::Pending, key, value)?;
            Ok(parts.conn().and(parts.lane()).zip(parts.u64()).map(|(lane, seq)| PendingRow {
                lane,
                seq,
                sync,
                pending,
            }))
        })
    }

    /// How many pending rows each lane has. Walks their keys.
    pub fn pending_counts(&self, conn: ConnNo) -> Result<[(Lane, u64); Lane::ALL.len()], StoreError> {
        let mut counts = Lane::ALL.map(|lane| (lane, 0));
        for (lane, count) in &mut counts {
            *count = self.count(Table::Pending, &keys::lane(conn, *lane).prefixed())?;
        }
        Ok(counts)
    }

    /// Where a record's pending row stands.
    pub fn pending_by_id(
        &self,
        conn: ConnNo,
        sync: SyncNo,
        side: Side,
        id: &RecordId,
    ) -> Result<Option<(Lane, u64)>, StoreError> {
        self.row(Table::PendingById, &keys::side_id(conn, sync, side, id.as_str()))
    }

    /// Up to `limit` records of a side that have a pending row.
    pub fn pending_ids(
        &self,
        conn: ConnNo,
        sync: SyncNo,
        side: Side,
        limit: usize,
    ) -> Result<Vec<RecordId>, StoreError> {
        self.rows(Table::PendingById, &keys::side_id(conn, sync, side, "").prefixed(), limit, |parts, _, _| {
            let place = parts.conn().and(parts.sync()).and(parts.side());
            Ok(place.and(parts.text()).map(RecordId::new))
        })
    }

    /// One pending row by its place.
    pub fn pending(&self, conn: ConnNo, lane: Lane, seq: u64) -> Result<Option<(SyncNo, Pending)>, StoreError> {
        self.row(Table::Pending, &keys::pending(conn, lane, seq))
    }

    /// One more than the greatest place in any of the connection's lanes. Read once at
    /// start and counted on in memory: places are free again once their rows are gone.
    pub fn next_pending_seq(&self, conn: ConnNo) -> Result<u64, StoreError> {
        let mut greatest = 0;
        for lane in Lane::ALL {
            greatest = greatest.max(self.last_number(Table::Pending, &keys::lane(conn, lane))?.unwrap_or(0));
        }
        Ok(greatest.saturating_add(1))
    }

    /// Where a cursor stands; `None` before the first read.
    pub fn cursor(
        &self,
        conn: ConnNo,
        sync: SyncNo,
        side: Side,
        stream: StreamNo,
    ) -> Result<Option<Cursor>, StoreError> {
        self.row(Table::Cursor, &keys::cursor(conn, sync, side, stream))
    }

    /// Up to `limit` records that are held back, by sync, side and id.
    pub fn quarantine(
        &self,
        conn: ConnNo,
        limit: usize,
    ) -> Result<Vec<(SyncNo, Side, String, Quarantined)>, StoreError> {
        self.rows(Table::Quarantine, &keys::conn(conn).prefixed(), limit, |parts, key, value| {
            let row: Quarantined = decode(Table::Quarantine, key, value)?;
            let place = parts.conn().and(parts.sync()).zip(parts.side()).zip(parts.text());
            Ok(place.map(|((sync, side), id)| (sync, side, id.to_owned(), row)))
        })
    }

    /// Why a record is held back, if it is.
    pub fn quarantined(
        &self,
        conn: ConnNo,
        sync: SyncNo,
        side: Side,
        id: &str,
    ) -> Result<Option<Quarantined>, StoreError> {
        self.row(Table::Quarantine, &keys::side_id(conn, sync, side, id))
    }

    /// How many records are held back. Walks their keys.
    pub fn quarantine_count(&self, conn: ConnNo) -> Result<u64, StoreError> {
        self.count(Table::Quarantine, &keys::conn(conn).prefixed())
    }

    /// The losers of a pair's conflicts, oldest first, with their numbers.
    pub fn history(&self, conn: ConnNo, sync: SyncNo, pair: PairNo) -> Result<Vec<(u64, Conflict)>, StoreError> {
        let range = keys::pair(conn, sync, pair).prefixed();
        self.rows(Table::History, &range, usize::MAX, |parts, key, value| {
            let conflict = decode(Table::History, key, value)?;
            let seq = parts.conn().and(parts.sync()).and(parts.pair()).and(parts.u64());
            Ok(seq.map(|seq| (seq, conflict)))
        })
    }

    /// What a sync has done; all zero before anything.
    pub fn totals(&self, conn: ConnNo, sync: SyncNo) -> Result<Totals, StoreError> {
        Ok(self.row(Table::Totals, &keys::conn_sync(conn, sync))?.unwrap_or_default())
    }

    /// How many times a connection's actor has started; 0 for a connection the file
    /// does not know.
    pub fn epoch(&self, conn: ConnNo) -> Result<Epoch, StoreError> {
        Ok(ConnectionRow::read(&self.tables, conn)?.map_or(Epoch(0), |row| row.epoch))
    }

    /// Whether a connection was told to rest.
    pub fn paused(&self, conn: ConnNo) -> Result<bool, StoreError> {
        Ok(ConnectionRow::read(&self.tables, conn)?.is_some_and(|row| row.paused))
    }

    /// What is durable about a connection itself; `None` once it was purged.
    pub fn connection(&self, conn: ConnNo) -> Result<Option<StoredConnection>, StoreError> {
        let row = ConnectionRow::read(&self.tables, conn)?.filter(|row| !row.purged);
        Ok(row.map(|ConnectionRow { id, epoch, paused, purged: _, config }| StoredConnection {
            id,
            epoch,
            paused,
            config,
        }))
    }

    /// All connections that were not purged, by number.
    pub fn connections(&self) -> Result<Vec<(ConnNo, ConnectionId)>, StoreError> {
        let rows = connections::all(&self.tables)?;
        Ok(rows.into_iter().filter(|(_, row)| !row.purged).map(|(conn, row)| (conn, row.id)).collect())
    }

    /// The documents that are kept with connections, by the connections' numbers.
    pub fn kept_documents(&self) -> Result<Vec<(ConnectionId, String)>, StoreError> {
        let rows = connections::all(&self.tables)?.into_iter().filter(|(_, row)| !row.purged);
        Ok(rows.filter_map(|(_, row)| Some((row.id, row.config?))).collect())
    }

    /// A connection's number, if it has one.
    pub fn find_connection(&self, id: &ConnectionId) -> Result<Option<ConnNo>, StoreError> {
        Ok(connections::find(&self.tables, NameKind::Connection, id.as_str())?.map(ConnNo))
    }

    /// A sync's number, if it has one.
    pub fn find_sync(&self, name: &SyncName) -> Result<Option<SyncNo>, StoreError> {
        let number = connections::find(&self.tables, NameKind::Sync, name.as_str())?;
        Ok(number.and_then(|number| u16::try_from(number).ok()).map(SyncNo))
    }

    /// A sync's name.
    pub fn sync_name(&self, sync: SyncNo) -> Result<Option<SyncName>, StoreError> {
        Ok(connections::name(&self.tables, NameKind::Sync, sync.0.into())?.map(SyncName::new))
    }

    /// A field's name, as it was interned.
    pub fn field_name(&self, sync: SyncNo, field: FieldNo) -> Result<Option<String>, StoreError> {
        connections::name(&self.tables, NameKind::Field(sync), field.0.into())
    }

    /// One record of the embedded store.
    pub fn record(
        &self,
        scope: &Scope,
        object: &ObjectName,
        id: &RecordId,
    ) -> Result<Option<StoredRecord>, StoreError> {
        records::get(&self.tables, scope, object, id)
    }

    /// Up to `limit` records of an object in id order, beginning after one.
    pub fn records(
        &self,
        scope: &Scope,
        object: &ObjectName,
        after: Option<&RecordId>,
        limit: usize,
    ) -> Result<Vec<StoredRecord>, StoreError> {
        records::list(&self.tables, scope, object, after, limit)
    }

    /// Up to `limit` records whose latest change is after `since_seq`, in the order of
    /// these changes, each with the state it has now.
    pub fn record_changes(
        &self,
        scope: &Scope,
        object: &ObjectName,
        since_seq: u64,
        limit: usize,
    ) -> Result<Vec<RecordChange>, StoreError> {
        records::changes(&self.tables, scope, object, since_seq, limit)
    }

    /// The number of an object's latest change; 0 before the first.
    pub fn last_record_seq(&self, scope: &Scope, object: &ObjectName) -> Result<u64, StoreError> {
        records::last_seq(&self.tables, scope, object)
    }
}
