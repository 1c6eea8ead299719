//! A disk that treats its owner badly, for crash tests and the simulator: it loses or
//! tears what was not flushed, fills up, fails, and dies with its process at a chosen
//! operation.
//!
//! [`Life`] is one life of a process: whatever the process does to the world outside
//! costs it one operation, so that it can be ended between any two of them. A
//! [`FaultyDisk`] outlives it; each life gets a backend of its own, which fails for ever
//! once that life is over.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;
use tokio::sync::Notify;

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// In which steps it is noted what was written since the last flush: a page of redb.
const BLOCK: usize = 4096;

/// One life of a process, counted in operations on the world outside.
#[derive(Debug)]
pub struct Life {
    left: AtomicU64,
    over: AtomicBool,
    ended: Notify,
}

impl Life {
    /// A life without an end.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self { left: AtomicU64::new(u64::MAX), over: AtomicBool::new(false), ended: Notify::new() })
    }

    /// It ends with the operation after so many more.
    pub fn ends_after(&self, operations: u64) {
        self.left.store(operations, Ordering::Relaxed);
    }

    /// It is over at once.
    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
        self.ended.notify_waiters();
    }

    /// Counts one operation; whether the life is over. The operation with which it ends
    /// may still reach the world.
    pub fn spend(&self) -> bool {
        if self.is_over() {
            return true;
        }
        match self.left.load(Ordering::Relaxed) {
            u64::MAX => {}
            0 => self.end(),
            left => self.left.store(left - 1, Ordering::Relaxed),
        }
        self.is_over()
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Waits for its end.
    pub async fn ended(&self) {
        let mut ended = std::pin::pin!(self.ended.notified());
        ended.as_mut().enable();
        if !self.is_over() {
            ended.await;
        }
    }
}

/// Whether a disk's word can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Honesty {
    /// What it has flushed stays.
    Honest,
    /// Says that it flushed, and did not: a control, which must be seen to lose.
    #[cfg(test)]
    Lying,
}

#[derive(Debug)]
struct Platter {
    honesty: Honesty,
    /// What a read sees.
    cached: Vec<u8>,
    /// What survives for certain.
    durable: Vec<u8>,
    /// Blocks that were written since the last flush.
    dirty: BTreeSet<usize>,
    capacity: u64,
    failing: bool,
    rng: fastrand::Rng,
}

/// A disk with a volatile cache. A clone is the same disk.
#[derive(Debug, Clone)]
pub struct FaultyDisk(Arc<Mutex<Platter>>);

impl FaultyDisk {
    /// An empty disk.
    #[must_use]
    pub fn new(honesty: Honesty, seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Platter {
            honesty,
            cached: Vec::new(),
            durable: Vec::new(),
            dirty: BTreeSet::new(),
            capacity: u64::MAX,
            failing: false,
            rng: fastrand::Rng::with_seed(seed),
        })))
    }

    /// The disk as one life of a process sees it.
    #[must_use]
    pub fn backend(&self, life: &Arc<Life>) -> FaultyBackend {
        FaultyBackend { disk: self.clone(), life: Arc::clone(life) }
    }

    /// There is room for so many bytes more than there are; `None` for all there could
    /// ever be.
    pub fn set_room(&self, room: Option<u64>) {
        let mut platter = self.lock();
        let len = platter.cached.len() as u64;
        platter.capacity = room.map_or(u64::MAX, |room| len.saturating_add(room));
    }

    /// Every operation fails, or none does.
    pub fn set_failing(&self, failing: bool) {
        self.lock().failing = failing;
    }

    /// The power is back: each sector that was not flushed has survived or not, and so
    /// has the length.
    pub fn revive(&self) {
        self.lock().revive();
    }

    /// What was written is safe, as after a clean end.
    pub fn settle(&self) {
        self.lock().flush();
    }

    fn lock(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Platter {
    fn flush(&mut self) {
        self.durable.resize(self.cached.len(), 0);
        for block in std::mem::take(&mut self.dirty) {
            copy(&self.cached, &mut self.durable, block * BLOCK, BLOCK);
        }
    }

    fn revive(&mut self) {
        if self.rng.bool() {
            self.durable.resize(self.cached.len(), 0);
        }
        for block in std::mem::take(&mut self.dirty) {
            for sector in 0..BLOCK / SECTOR {
                if self.rng.bool() {
                    copy(&self.cached, &mut self.durable, block * BLOCK + sector * SECTOR, SECTOR);
                }
            }
        }
        self.cached.clone_from(&self.durable);
        self.failing = false;
        self.capacity = u64::MAX;
    }
}

/// Copies a stretch, as far as both reach.
fn copy(from: &[u8], to: &mut [u8], start: usize, len: usize) {
    let end = (start + len).min(from.len()).min(to.len());
    if start < end {
        to[start..end].copy_from_slice(&from[start..end]);
    }
}

/// The disk as one life of a process sees it.
#[derive(Debug, Clone)]
pub struct FaultyBackend {
    disk: FaultyDisk,
    life: Arc<Life>,
}

fn over() -> io::Error {
    io::Error::other("the power is gone")
}

impl FaultyBackend {
    /// The platter, unless the life is over or the disk fails.
    fn platter(&self) -> io::Result<MutexGuard<'_, Platter>> {
        if self.life.is_over() {
            return Err(over());
        }
        let platter = self.disk.lock();
        if platter.failing { Err(io::Error::other("the disk does not answer")) } else { Ok(platter) }
    }

    /// Whether the operation was survived.
    fn survived(died: bool) -> io::Result<()> {
        if died { Err(over()) } else { Ok(()) }
    }
}

impl StorageBackend for FaultyBackend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.lock().cached.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let platter = self.platter()?;
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let bytes = platter.cached.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut platter = self.platter()?;
        if len > platter.capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let died = self.life.spend();
        platter.cached.resize(usize::try_from(len).map_err(io::Error::other)?, 0);
        Self::survived(died)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platter = self.platter()?;
        Self::survived(self.life.spend())?;
        match platter.honesty {
            Honesty::Honest => platter.flush(),
            #[cfg(test)]
            Honesty::Lying => {}
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut platter = self.platter()?;
        let died = self.life.spend();
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let place = platter.cached.get_mut(start..start + data.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        place.copy_from_slice(data);
        platter.dirty.extend(start / BLOCK..(start + data.len()).div_ceil(BLOCK));
        Self::survived(died)
    }
}
