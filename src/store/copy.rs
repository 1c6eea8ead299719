//! Copies of one moment of the whole file.

use std::io;
use std::path::Path;
use std::sync::Arc;

use redb::StorageBackend;
use redb::backends::{FileBackend, InMemoryBackend};

use super::committer::Engine;
use super::error::StoreError;
use super::keys::{Key, Range};
use super::snapshot::Snapshot;
use super::tables::{Row, Table};
use super::{StoreOptions, open_error, open_file, sync_folder};

/// How many rows are copied in one transaction.
const STEP_ROWS: usize = 10_000;

/// Copies into a new file.
pub(super) fn to_file(snapshot: &Snapshot, path: &Path) -> Result<(), StoreError> {
    const DOING: &str = "create the copy";
    if path.symlink_metadata().is_ok() {
        return Err(StoreError::io(DOING, io::ErrorKind::AlreadyExists.into()));
    }
    let name = path.display().to_string();
    let (file, _) = open_file(path, &name)?;
    let backend = FileBackend::new(file).map_err(|error| open_error(&name, error))?;
    let copied = into_backend(snapshot, backend, &StoreOptions::default()).and_then(|()| sync_folder(path));
    if copied.is_err() {
        // Half a copy must not be taken for a whole one; the first error is told.
        let _ = std::fs::remove_file(path);
    }
    copied
}

/// Copies onto an empty storage.
pub(super) fn into_backend(
    snapshot: &Snapshot,
    backend: impl StorageBackend,
    options: &StoreOptions,
) -> Result<(), StoreError> {
    let db = options.builder().create_with_backend(backend);
    let engine = Engine::new(db.map_err(|error| open_error("the copy", error))?, true);
    engine.write(|tables| tables.create_all())?;
    // The table that makes it a state file comes last.
    let last = [Table::Meta];
    for &table in Table::ALL.iter().filter(|table| **table != Table::Meta).chain(&last) {
        copy_table(snapshot, &engine, table)?;
    }
    engine.close();
    Ok(())
}

fn copy_table(snapshot: &Snapshot, engine: &Engine, table: Table) -> Result<(), StoreError> {
    let mut range = Range::ALL;
    loop {
        let mut rows: Vec<Row> = Vec::new();
        snapshot.tables.scan(table, &range, |key, value| {
            rows.push((Key::from_bytes(key), value.to_vec()));
            Ok(rows.len() < STEP_ROWS)
        })?;
        let Some((last, _)) = rows.last() else { return Ok(()) };
        range = Range::ALL.starting_after(last.clone());
        engine.write(|tables| rows.iter().try_for_each(|(key, value)| tables.put(table, key, value)))?;
    }
}

/// A storage in memory that outlives the database on it.
#[derive(Debug, Clone, Default)]
pub(super) struct Shared(Arc<InMemoryBackend>);

impl StorageBackend for Shared {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}
