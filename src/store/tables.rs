//! Tables, and the two ways to reach their rows: inside a write transaction and
//! inside a read transaction. The rest of the store never touches the database.

use std::cell::OnceCell;

use redb::{ReadableTable as _, ReadableTableMetadata as _, TableDefinition};

use super::error::{StoreError, caught, corrupt};
use super::keys::{Key, Range};

type Bytes = &'static [u8];

macro_rules! tables {
    ($($(#[$doc:meta])* $variant:ident => $name:literal,)*) => {
        /// Every table of the file.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) enum Table {
            $($(#[$doc])* $variant,)*
        }

        impl Table {
            /// All tables, in the order in which they are dumped.
            pub(crate) const ALL: &'static [Table] = &[$(Table::$variant,)*];

            /// The table's name in the file.
            pub(crate) const fn name(self) -> &'static str {
                match self {
                    $(Table::$variant => $name,)*
                }
            }
        }
    };
}

tables! {
    /// What the file says of itself.
    Meta => "meta",
    /// kind|text → number.
    Name => "name",
    /// kind|number → text.
    NameOf => "name_of",
    /// conn → id, epoch, whether paused.
    Connection => "connection",
    /// conn → the greatest pair number whose rows are gone.
    PairFloor => "pair_floor",
    /// conn|sync|pair → marker.
    Marker => "marker",
    /// conn|sync|side|id → pair.
    ById => "by_id",
    /// conn|sync|hash|side|pair.
    ByMatch => "by_match",
    /// conn|sync|pair → intent.
    OpenWrite => "open_write",
    /// conn|lane|seq → sync, pending.
    Pending => "pending",
    /// conn|sync|side|id → lane, seq.
    PendingById => "pending_by_id",
    /// conn|sync|side|stream → cursor.
    Cursor => "cursor",
    /// conn|sync|side|epoch|id; kept for proofs of absence, not written yet.
    Scan => "scan",
    /// conn|seq → hint.
    Inbox => "inbox",
    /// conn|key of a delivery → until when it is remembered.
    Dedup => "dedup",
    /// conn|sync|pair|seq → conflict.
    History => "history",
    /// conn|sync|side|id → quarantined.
    Quarantine => "quarantine",
    /// conn|sync → totals.
    Totals => "totals",
    /// scope|object|id → record.
    Record => "record",
    /// scope|object|id → the change that deleted it.
    RecordGone => "record_gone",
    /// scope|object|seq → id, whether deleted.
    Change => "change",
}

impl Table {
    const COUNT: usize = Table::ALL.len();

    /// The tables whose keys begin with a connection, except the connection's own row:
    /// what a purge empties.
    pub(crate) const OF_CONNECTION: &'static [Table] = &[
        Table::PairFloor,
        Table::Marker,
        Table::ById,
        Table::ByMatch,
        Table::OpenWrite,
        Table::Pending,
        Table::PendingById,
        Table::Cursor,
        Table::Scan,
        Table::Inbox,
        Table::Dedup,
        Table::History,
        Table::Quarantine,
        Table::Totals,
    ];

    fn definition(self) -> TableDefinition<'static, Bytes, Bytes> {
        TableDefinition::new(self.name())
    }
}

/// A row as it stands in the file.
pub(crate) type Row = (Key, Vec<u8>);

/// The tables inside a write transaction. A table is opened once, however many
/// commits of a group touch it.
pub(crate) struct WriteTables<'txn> {
    txn: &'txn redb::WriteTransaction,
    open: [Option<redb::Table<'txn, Bytes, Bytes>>; Table::COUNT],
    changed: bool,
}

impl<'txn> WriteTables<'txn> {
    pub(crate) fn new(txn: &'txn redb::WriteTransaction) -> Self {
        Self { txn, open: std::array::from_fn(|_| None), changed: false }
    }

    /// Whether anything was written, so that a group of nothing but refusals costs no
    /// flush.
    pub(crate) fn changed(&self) -> bool {
        self.changed
    }

    fn table(&mut self, table: Table) -> Result<&mut redb::Table<'txn, Bytes, Bytes>, StoreError> {
        let slot = &mut self.open[table as usize];
        if slot.is_none() {
            let opened = self.txn.open_table(table.definition());
            *slot = Some(opened.map_err(|error| StoreError::database("open a table of the state file", error))?);
        }
        slot.as_mut().ok_or(StoreError::Closed)
    }

    /// Lets go of the tables, one at a time, because letting go of one of a damaged file
    /// can crash. Answers with the first crash.
    pub(crate) fn close(self) -> Result<(), String> {
        self.open.into_iter().flatten().map(|table| caught(|| drop(table))).fold(Ok(()), Result::and)
    }

    /// Makes every table, so that readers find them.
    pub(crate) fn create_all(&mut self) -> Result<(), StoreError> {
        for &table in Table::ALL {
            self.table(table)?;
        }
        self.changed = true;
        Ok(())
    }

    pub(crate) fn get(&mut self, table: Table, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        let found = self.table(table)?.get(key.as_bytes()).map_err(read_error)?;
        Ok(found.map(|guard| guard.value().to_vec()))
    }

    /// The row with the greatest key in a range.
    pub(crate) fn last(&mut self, table: Table, range: &Range) -> Result<Option<Row>, StoreError> {
        let mut rows = self.table(table)?.range::<&[u8]>(range.bounds()).map_err(read_error)?;
        match rows.next_back() {
            Some(row) => row.map(|(key, value)| Some(own(&key, &value))).map_err(read_error),
            None => Ok(None),
        }
    }

    pub(crate) fn put(&mut self, table: Table, key: &Key, value: &[u8]) -> Result<(), StoreError> {
        self.changed = true;
        let replaced = self.table(table)?.insert(key.as_bytes(), value).map_err(write_error)?;
        drop(replaced);
        Ok(())
    }

    pub(crate) fn remove(&mut self, table: Table, key: &Key) -> Result<(), StoreError> {
        let removed = self.table(table)?.remove(key.as_bytes()).map_err(write_error)?.is_some();
        self.changed |= removed;
        Ok(())
    }

    /// The first keys of a range.
    pub(crate) fn keys(&mut self, table: Table, range: &Range, limit: usize) -> Result<Vec<Key>, StoreError> {
        let rows = self.table(table)?.range::<&[u8]>(range.bounds()).map_err(read_error)?;
        let keys = rows.take(limit).map(|row| row.map(|(key, _)| Key::from_bytes(key.value())));
        keys.collect::<Result<_, _>>().map_err(read_error)
    }
}

/// The tables inside a read transaction.
pub(crate) struct ReadTables {
    txn: redb::ReadTransaction,
    open: [OnceCell<redb::ReadOnlyTable<Bytes, Bytes>>; Table::COUNT],
}

impl ReadTables {
    pub(crate) fn new(txn: redb::ReadTransaction) -> Self {
        Self { txn, open: std::array::from_fn(|_| OnceCell::new()) }
    }

    fn table(&self, table: Table) -> Result<&redb::ReadOnlyTable<Bytes, Bytes>, StoreError> {
        let cell = &self.open[table as usize];
        if let Some(opened) = cell.get() {
            return Ok(opened);
        }
        let opened = self.txn.open_table(table.definition()).map_err(|error| match error {
            redb::TableError::Storage(error) => read_error(error),
            other => corrupt(format!("table {}", table.name()), other.to_string()),
        })?;
        Ok(cell.get_or_init(|| opened))
    }

    pub(crate) fn get(&self, table: Table, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        guarded(table, || {
            let found = self.table(table)?.get(key.as_bytes()).map_err(read_error)?;
            Ok(found.map(|guard| guard.value().to_vec()))
        })
    }

    /// The row with the greatest key in a range.
    pub(crate) fn last(&self, table: Table, range: &Range) -> Result<Option<Row>, StoreError> {
        guarded(table, || {
            let mut rows = self.table(table)?.range::<&[u8]>(range.bounds()).map_err(read_error)?;
            match rows.next_back() {
                Some(row) => row.map(|(key, value)| Some(own(&key, &value))).map_err(read_error),
                None => Ok(None),
            }
        })
    }

    /// Shows the rows of a range in order, until `visit` says `false`.
    pub(crate) fn scan(
        &self,
        table: Table,
        range: &Range,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        guarded(table, || {
            for row in self.table(table)?.range::<&[u8]>(range.bounds()).map_err(read_error)? {
                let (key, value) = row.map_err(read_error)?;
                if !visit(key.value(), value.value())? {
                    break;
                }
            }
            Ok(())
        })
    }

    /// How many rows a table has; costs nothing.
    pub(crate) fn len(&self, table: Table) -> Result<u64, StoreError> {
        guarded(table, || self.table(table)?.len().map_err(read_error))
    }
}

/// The database checks a page when it opens the file, not each time it reads one, so a
/// damaged page can make it panic. To the reader that is a damaged file.
fn guarded<T>(table: Table, read: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    caught(read).unwrap_or_else(|reason| Err(corrupt(format!("table {}", table.name()), reason)))
}

fn own(key: &redb::AccessGuard<'_, Bytes>, value: &redb::AccessGuard<'_, Bytes>) -> Row {
    (Key::from_bytes(key.value()), value.value().to_vec())
}

fn read_error(error: redb::StorageError) -> StoreError {
    StoreError::database("read the state file", error)
}

fn write_error(error: redb::StorageError) -> StoreError {
    StoreError::database("write the state file", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_has_its_own_name_and_place() {
        let names: std::collections::BTreeSet<&str> = Table::ALL.iter().map(|table| table.name()).collect();
        assert_eq!(names.len(), Table::COUNT);
        for (i, &table) in Table::ALL.iter().enumerate() {
            assert_eq!(table as usize, i);
        }
    }

    #[test]
    fn a_panic_while_reading_is_a_damaged_table() {
        let error = guarded::<()>(Table::Marker, || panic!("bad page")).unwrap_err();
        assert!(error.to_string().contains("table marker is damaged or no state file: bad page"), "{error}");
    }
}
