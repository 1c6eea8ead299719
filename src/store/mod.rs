//! Edge: our disk. One shared file holds all durable state of all connections.
//!
//! The store knows keys, rows and commits: it keeps a commit whole, refuses it when its
//! connection has started anew or a cursor has moved, and makes it durable before it
//! says so. What the rows mean is for the layers above. Four rights write: a
//! [`CommitRight`] (one connection's rows, in one epoch), an [`InboxRight`] (appends what
//! triggers accept), a [`RecordsRight`] (the embedded store), and the handle itself
//! (names, epochs, purges). A [`Snapshot`] reads.
//!
//! The disk must honour a flush. On one that does not, a power cut can leave a file
//! that does not open; it is refused then, never taken for an empty one.

mod codec;
mod commit;
mod committer;
mod connections;
mod copy;
mod dump;
mod error;
#[cfg(any(test, feature = "simulate"))]
pub(crate) mod faulty;
mod inbox;
mod keys;
mod records;
mod snapshot;
mod tables;
mod upgrade;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::backends::{FileBackend, InMemoryBackend};
use redb::{Database, DatabaseError, StorageBackend};

pub use commit::{Commit, CommitDone, CommitRight};
pub use committer::{CommitterKind, Done};
pub use error::{Cause, StoreError};
pub use inbox::{Appended, InboxRight, Once};
pub use records::{RecordChange, RecordOp, RecordResult, RecordState, RecordsDone, RecordsRight, StoredRecord};
pub use snapshot::{PendingRow, Snapshot, StoredConnection};

use crate::model::ids::{ConnNo, ConnectionId, Epoch, FieldNo, SyncName, SyncNo};
use committer::{Committer, Engine, Work};
use connections::{BeginPurge, ConnectionRow, PurgeStep};
use error::{caught, corrupt};
use keys::NameKind;
use tables::{Table, WriteTables};

/// How a store is opened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StoreOptions {
    /// How much of the file is kept in memory, in bytes.
    pub cache_bytes: usize,
    /// Where commits are carried out.
    pub committer: CommitterKind,
    /// The kernel id that a new file gets; random when `None`. For tests that compare
    /// runs: the id is part of what other systems are sent.
    pub kernel_id: Option<String>,
    /// Each commit says which pages are free, so that a file is open at once after a
    /// crash instead of being walked as a whole. Not worth it for files of a few pages.
    pub quick_repair: bool,
}

impl Default for StoreOptions {
    /// 64 MiB, on a thread, with a random id.
    fn default() -> Self {
        Self { cache_bytes: 64 * 1024 * 1024, committer: CommitterKind::Thread, kernel_id: None, quick_repair: true }
    }
}

impl StoreOptions {
    /// For tests under paused time: commits at the call, a small cache.
    #[must_use]
    pub fn inline() -> Self {
        Self { cache_bytes: 4 * 1024 * 1024, committer: CommitterKind::Inline, ..Self::default() }
    }

    /// The same with another cache size, in bytes.
    #[must_use]
    pub fn with_cache_bytes(self, cache_bytes: usize) -> Self {
        Self { cache_bytes, ..self }
    }

    /// The same with the kernel id for a new file.
    #[must_use]
    pub fn with_kernel_id(self, kernel_id: impl Into<String>) -> Self {
        Self { kernel_id: Some(kernel_id.into()), ..self }
    }

    fn builder(&self) -> redb::Builder {
        let mut builder = Database::builder();
        builder.set_cache_size(self.cache_bytes);
        builder
    }
}

/// A handle on the state file. Clones share it; the file is free for others once the
/// store is closed, or the last handle and right are dropped. Dropping the last one
/// waits for queued commits on the spot, so an async program closes the store first.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

/// What all handles and rights share.
#[derive(Debug)]
struct Inner {
    /// Dropped before the engine, so that what is queued still finds it.
    committer: Committer,
    engine: Arc<Engine>,
    path: Option<PathBuf>,
    kernel_id: String,
}

/// Queues work with the store's committer.
fn submit<W: Work>(inner: &Inner, work: W) -> Done<W::Answer> {
    inner.committer.submit(&inner.engine, work)
}

impl Store {
    /// Opens the state file, making it when there is none. On Unix a new file is
    /// readable by its owner alone.
    ///
    /// # Errors
    /// [`StoreError::InUse`], [`StoreError::Newer`], [`StoreError::Corrupt`], or what
    /// the disk says.
    pub fn open(path: &Path, options: StoreOptions) -> Result<Store, StoreError> {
        let name = path.display().to_string();
        let (file, is_new) = open_file(path, &name)?;
        let backend = FileBackend::new(file).map_err(|error| open_error(&name, error))?;
        let store = Self::start(backend, Some(path.to_path_buf()), &name, &options)?;
        if is_new {
            sync_folder(path)?;
        }
        Ok(store)
    }

    /// A store that lives in memory and ends with its last handle.
    ///
    /// # Errors
    /// When the committer's thread cannot be started.
    pub fn in_memory(options: StoreOptions) -> Result<Store, StoreError> {
        Self::on_backend(InMemoryBackend::new(), options)
    }

    /// A store on a storage that is handed in, for crash tests.
    pub(crate) fn on_backend(backend: impl StorageBackend, options: StoreOptions) -> Result<Store, StoreError> {
        Self::start(backend, None, "the state file", &options)
    }

    fn start(
        backend: impl StorageBackend,
        path: Option<PathBuf>,
        name: &str,
        options: &StoreOptions,
    ) -> Result<Store, StoreError> {
        // A damaged file can make the database panic; that must not take the host down.
        let opened = caught(|| options.builder().create_with_backend(backend));
        let db = opened.map_err(|reason| corrupt(name, reason))?.map_err(|error| open_error(name, error))?;
        let engine = Arc::new(Engine::new(db, options.quick_repair));
        let kernel_id =
            if engine.with(|db| is_fresh(db, name))? { create(&engine, options)? } else { bring_up(&engine, name)? };
        finish_purges(&engine)?;
        let committer = Committer::start(options.committer, &engine)?;
        Ok(Store { inner: Arc::new(Inner { committer, engine, path, kernel_id }) })
    }

    /// The file, unless the store lives in memory.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.inner.path.as_deref()
    }

    /// What names this state among all kernels, as other systems are told it; random,
    /// made with the file.
    #[must_use]
    pub fn kernel_id(&self) -> String {
        self.inner.kernel_id.clone()
    }

    /// How many durable flushes there were since the store was opened.
    #[must_use]
    pub fn flushes(&self) -> u64 {
        self.inner.engine.flushes()
    }

    /// One moment of the file. Cheap; not to be held across an await.
    ///
    /// # Errors
    /// [`StoreError::Closed`], or what the disk says.
    pub fn snapshot(&self) -> Result<Snapshot, StoreError> {
        self.inner.engine.read().map(Snapshot::new)
    }

    /// A connection's number, given out when the name is new and durable at once. A
    /// purged connection's name gets a new number, because other systems may hold names
    /// built on the old one.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Closed`], or what the disk says.
    pub fn intern_connection(&self, id: &ConnectionId) -> Result<ConnNo, StoreError> {
        if let Some(number) = self.known(NameKind::Connection, id.as_str())? {
            return Ok(ConnNo(number));
        }
        self.inner.engine.write(|tables| connections::intern_connection(tables, id))
    }

    /// A sync's number, given out when the name is new and durable at once.
    ///
    /// # Errors
    /// As [`Store::intern_connection`].
    pub fn intern_sync(&self, name: &SyncName) -> Result<SyncNo, StoreError> {
        let number = match self.known(NameKind::Sync, name.as_str())? {
            Some(number) => number,
            None => self.write_name(NameKind::Sync, name.as_str())?,
        };
        u16::try_from(number).map(SyncNo).map_err(|_| StoreError::Full { what: "syncs" })
    }

    /// The numbers of a sync's fields in the order asked, given out where a name is new
    /// and durable at once. A name should hold whatever makes an old base unreadable
    /// when it changes (the paths, the transform).
    ///
    /// # Errors
    /// As [`Store::intern_connection`].
    pub fn intern_fields(&self, sync: SyncNo, names: &[String]) -> Result<Vec<FieldNo>, StoreError> {
        let kind = NameKind::Field(sync);
        let snapshot = self.snapshot()?;
        let known: Result<Option<Vec<u32>>, StoreError> =
            names.iter().map(|name| connections::find(&snapshot.tables, kind, name)).collect();
        drop(snapshot);
        let numbers = match known? {
            Some(numbers) => numbers,
            None => self.inner.engine.write(|tables| {
                names.iter().map(|name| Ok(connections::intern(tables, kind, name)?.0)).collect::<Result<Vec<u32>, _>>()
            })?,
        };
        let numbers = numbers.into_iter().map(keys::field_no);
        numbers.collect::<Option<Vec<_>>>().ok_or(StoreError::Full { what: "fields of one sync" })
    }

    fn known(&self, kind: NameKind, text: &str) -> Result<Option<u32>, StoreError> {
        connections::find(&self.snapshot()?.tables, kind, text)
    }

    fn write_name(&self, kind: NameKind, text: &str) -> Result<u32, StoreError> {
        self.inner.engine.write(|tables| Ok(connections::intern(tables, kind, text)?.0))
    }

    /// Begins a connection's next epoch, durable at once, and hands out the right to
    /// write in it. Commits of every earlier right are refused from here on, those still
    /// queued included.
    ///
    /// # Errors
    /// [`StoreError::NoConnection`], [`StoreError::Closed`], or what the disk says.
    pub fn start_epoch(&self, conn: ConnNo) -> Result<CommitRight, StoreError> {
        let epoch = self.change_connection(conn, |row| {
            row.epoch = Epoch(row.epoch.0 + 1);
            row.epoch
        })?;
        Ok(CommitRight::new(self.inner.clone(), conn, epoch))
    }

    /// The same for several connections, known or not, all durable at once: each start would
    /// wait for the disk else. Those with `true` are told to rest, too.
    ///
    /// # Errors
    /// As [`Store::intern_connection`]; then none has begun.
    pub fn start_epochs(&self, connections: &[(ConnectionId, bool)]) -> Result<Vec<CommitRight>, StoreError> {
        let begun = self.inner.engine.write(|tables| {
            let begin = |(id, paused): &(ConnectionId, bool)| {
                let conn = connections::intern_connection(tables, id)?;
                let mut row = ConnectionRow::load_live(tables, conn)?;
                row.epoch = Epoch(row.epoch.0 + 1);
                row.paused |= *paused;
                row.store(tables, conn)?;
                Ok((conn, row.epoch))
            };
            connections.iter().map(begin).collect::<Result<Vec<_>, StoreError>>()
        })?;
        let right = |(conn, epoch)| CommitRight::new(self.inner.clone(), conn, epoch);
        Ok(begun.into_iter().map(right).collect())
    }

    /// Tells a connection to rest, or to go on; durable at once.
    ///
    /// # Errors
    /// As [`Store::start_epoch`].
    pub fn set_paused(&self, conn: ConnNo, paused: bool) -> Result<(), StoreError> {
        self.change_connection(conn, |row| row.paused = paused)
    }

    /// Keeps the document of each of these connections, to be read back at the next start, or
    /// forgets it; all of them durable at once. Secrets should only be named in it.
    ///
    /// # Errors
    /// [`StoreError::Closed`], [`StoreError::Full`], or what the disk says; then none was kept.
    pub fn keep_documents(&self, documents: &[(ConnectionId, Option<String>)]) -> Result<(), StoreError> {
        self.inner.engine.write(|tables| {
            for (id, document) in documents {
                let conn = connections::intern_connection(tables, id)?;
                let mut row = ConnectionRow::load_live(tables, conn)?;
                if row.config != *document {
                    row.config.clone_from(document);
                    row.store(tables, conn)?;
                }
            }
            Ok(())
        })
    }

    fn change_connection<T>(
        &self,
        conn: ConnNo,
        change: impl FnOnce(&mut ConnectionRow) -> T,
    ) -> Result<T, StoreError> {
        self.inner.engine.write(|tables| {
            let mut row = ConnectionRow::load_live(tables, conn)?;
            let before = row.clone();
            let answer = change(&mut row);
            if row != before {
                row.store(tables, conn)?;
            }
            Ok(answer)
        })
    }

    /// The right to write the embedded store.
    #[must_use]
    pub fn records_right(&self) -> RecordsRight {
        RecordsRight::new(self.inner.clone())
    }

    /// The right to append to inboxes.
    #[must_use]
    pub fn inbox_right(&self) -> InboxRight {
        InboxRight::new(self.inner.clone())
    }

    /// Forgets a connection: fences it off and frees its name at once, then takes away
    /// all its rows in steps. A purge that is cut off is finished when the file is next
    /// opened. Records of the embedded store stay.
    ///
    /// # Errors
    /// [`StoreError::NoConnection`], [`StoreError::Closed`], or what the disk says.
    pub async fn purge(&self, conn: ConnNo) -> Result<(), StoreError> {
        submit(&self.inner, BeginPurge(conn)).await?;
        while submit(&self.inner, PurgeStep(conn)).await? {}
        Ok(())
    }

    /// Forgets a connection by its name, as [`Store::purge`] does, if there is one.
    ///
    /// # Errors
    /// As [`Store::purge`].
    pub async fn purge_named(&self, id: &ConnectionId) -> Result<(), StoreError> {
        let conn = self.snapshot()?.find_connection(id)?;
        match conn {
            Some(conn) => self.purge(conn).await,
            None => Ok(()),
        }
    }

    /// Writes the whole state as text: one row a line, sorted by key, decoded, with
    /// names instead of numbers.
    ///
    /// # Errors
    /// What reading fails with; [`StoreError::Misuse`] when `out` does.
    pub fn dump(&self, out: &mut dyn std::fmt::Write) -> Result<(), StoreError> {
        dump::dump(&self.snapshot()?, out)
    }

    /// Copies one moment of all tables into a new file.
    ///
    /// # Errors
    /// When there is something at `path` already, or the disk says so. A copy that
    /// failed half-way is taken away again.
    pub fn copy_to(&self, path: &Path) -> Result<(), StoreError> {
        copy::to_file(&self.snapshot()?, path)
    }

    /// Copies one moment of all tables into a store in memory, for dry runs.
    ///
    /// # Errors
    /// As [`Store::in_memory`], and what reading fails with.
    pub fn copy_in_memory(&self, options: StoreOptions) -> Result<Store, StoreError> {
        let backend = copy::Shared::default();
        copy::into_backend(&self.snapshot()?, backend.clone(), &options)?;
        Self::on_backend(backend, options)
    }

    /// Finishes the commits that are queued, stops the thread and frees the file.
    /// Whatever is asked of the store later fails with [`StoreError::Closed`].
    pub async fn close(&self) {
        self.inner.committer.close().await;
        self.inner.engine.close();
    }
}

/// Opens the file, or makes it; tells whether it is new.
fn open_file(path: &Path, name: &str) -> Result<(std::fs::File, bool), StoreError> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true);
    match options.open(path) {
        Ok(file) => {
            let metadata = file.metadata().map_err(|error| StoreError::io("open the state file", error))?;
            if metadata.len() == 0 {
                // Never taken for a new one: something has emptied it.
                return Err(corrupt(name, "it is empty"));
            }
            Ok((file, false))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            options.create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let file = options.open(path).map_err(|error| StoreError::io("create the state file", error))?;
            Ok((file, true))
        }
        Err(error) => Err(StoreError::io("open the state file", error)),
    }
}

/// A new file's name is durable only once its folder is flushed.
fn sync_folder(path: &Path) -> Result<(), StoreError> {
    if cfg!(unix) {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let flushed = std::fs::File::open(folder).and_then(|folder| folder.sync_all());
        flushed.map_err(|error| StoreError::io("flush the state file's folder", error))?;
    }
    Ok(())
}

fn open_error(name: &str, error: DatabaseError) -> StoreError {
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            StoreError::InUse { path: name.to_owned() }
        }
        DatabaseError::UpgradeRequired(version) => corrupt(name, format!("its database version {version} is unknown")),
        DatabaseError::RepairAborted => corrupt(name, "it cannot be repaired"),
        DatabaseError::Storage(redb::StorageError::Io(error)) if error.kind() == std::io::ErrorKind::InvalidData => {
            corrupt(name, error::clip(&error.to_string()))
        }
        DatabaseError::Storage(redb::StorageError::Io(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            corrupt(name, "it is shorter than it says")
        }
        DatabaseError::Storage(redb::StorageError::Corrupted(reason)) => corrupt(name, error::clip(&reason)),
        other => StoreError::database("open the state file", other),
    }
}

/// Whether the file holds no table at all: it was just made, or the kernel that made
/// it was cut off before its first row.
fn is_fresh(db: &Database, name: &str) -> Result<bool, StoreError> {
    use redb::{ReadableDatabase as _, TableHandle as _};
    let read = || -> Result<(bool, bool), redb::Error> {
        let txn = db.begin_read()?;
        let names: Vec<String> = txn.list_tables()?.map(|table| table.name().to_owned()).collect();
        Ok((names.is_empty(), names.iter().any(|table| table == Table::Meta.name())))
    };
    let looked = caught(read).map_err(|reason| corrupt(name, reason))?;
    match looked.map_err(|error| StoreError::database("open the state file", error))? {
        (true, _) => Ok(true),
        (false, true) => Ok(false),
        (false, false) => Err(corrupt(name, "it is another program's database")),
    }
}

fn create(engine: &Engine, options: &StoreOptions) -> Result<String, StoreError> {
    let kernel_id = options.kernel_id.clone().unwrap_or_else(|| format!("{:016x}", fastrand::u64(..)));
    engine.write(|tables| upgrade::create(tables, &kernel_id))?;
    Ok(kernel_id)
}

/// Reads the file's format and brings it up. A file so damaged that looking at it
/// crashes is a damaged file to the caller.
fn bring_up(engine: &Engine, name: &str) -> Result<String, StoreError> {
    engine.write(|tables| upgrade::bring_up(tables, name)).map_err(|error| match error {
        StoreError::Poisoned { reason } => corrupt(name, reason),
        other => other,
    })
}

/// Finishes purges that were cut off.
fn finish_purges(engine: &Engine) -> Result<(), StoreError> {
    let rows = connections::all(&engine.read()?)?;
    for (conn, _) in rows.into_iter().filter(|(_, row)| row.purged) {
        let step = |tables: &mut WriteTables<'_>| {
            let (effects, more) = PurgeStep(conn).resolve(tables)?;
            effects.apply(tables)?;
            Ok(more)
        };
        while engine.write(step)? {}
    }
    Ok(())
}
