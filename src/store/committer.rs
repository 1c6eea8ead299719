//! The one place where the file is written: groups of commits, one durable flush each.
//!
//! In production a thread takes whatever is queued, so the flush itself is the time in
//! which the next group gathers, and no arbiter waits for a disk. Under paused time the
//! same work is done at the call, because simulated time would run on while a thread is
//! waited for.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::thread::JoinHandle;

use redb::{Database, Durability, ReadableDatabase as _};
use tokio::sync::oneshot;

use super::commit::Effects;
use super::error::{StoreError, caught};
use super::tables::{ReadTables, WriteTables};

/// Where commits are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CommitterKind {
    /// On a thread of their own. For production.
    #[default]
    Thread,
    /// At the call, so that the future is ready at once. For paused time.
    Inline,
}

/// The most bytes gathered into one group, so that a flush stays short.
const MAX_GROUP_BYTES: usize = 8 * 1024 * 1024;

/// Something to be written: it looks, then says what to write and what to answer.
pub(super) trait Work: Send + 'static {
    /// What the caller is told once it is durable.
    type Answer: Send + 'static;

    /// About how many bytes it will write.
    fn num_bytes(&self) -> usize;

    /// Works out what to write; an error refuses this work alone.
    fn resolve(&self, tables: &mut WriteTables<'_>) -> Result<(Effects, Self::Answer), StoreError>;
}

/// The database, and what is known of its health.
#[derive(Debug)]
pub(super) struct Engine {
    /// `None` once closed.
    db: RwLock<Option<Database>>,
    flushes: AtomicU64,
    poisoned: OnceLock<String>,
    quick_repair: bool,
}

impl Engine {
    pub(super) fn new(db: Database, quick_repair: bool) -> Self {
        Self { db: RwLock::new(Some(db)), flushes: AtomicU64::new(0), poisoned: OnceLock::new(), quick_repair }
    }

    pub(super) fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::Relaxed)
    }

    /// Uses the database, unless it is closed.
    pub(super) fn with<T>(&self, act: impl FnOnce(&Database) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        act(db.as_ref().ok_or(StoreError::Closed)?)
    }

    pub(super) fn read(&self) -> Result<ReadTables, StoreError> {
        self.with(|db| {
            let txn = db.begin_read().map_err(|error| StoreError::database("read the state file", error))?;
            Ok(ReadTables::new(txn))
        })
    }

    /// One durable transaction. Nothing is written when `work` fails or crashes.
    pub(super) fn write<T>(
        &self,
        work: impl FnOnce(&mut WriteTables<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if let Some(reason) = self.poisoned.get() {
            return Err(StoreError::Poisoned { reason: reason.clone() });
        }
        self.with(|db| caught(|| self.write_in(db, work)).unwrap_or_else(|reason| Err(self.poison(reason))))
    }

    /// What the database holds in memory can no longer be trusted, so nothing is
    /// acknowledged any more. The file is as the last flush left it.
    fn poison(&self, reason: String) -> StoreError {
        let reason = self.poisoned.get_or_init(|| reason).clone();
        tracing::error!(reason, "the store crashed and stops writing until the kernel is restarted");
        StoreError::Poisoned { reason }
    }

    fn write_in<T>(
        &self,
        db: &Database,
        work: impl FnOnce(&mut WriteTables<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut txn = db.begin_write().map_err(|error| StoreError::database("begin a commit", error))?;
        txn.set_durability(Durability::Immediate).map_err(|error| StoreError::database("begin a commit", error))?;
        // Opening a large file after a crash takes milliseconds instead of a full check.
        txn.set_quick_repair(self.quick_repair);
        let mut tables = WriteTables::new(&txn);
        // Caught here and not further out: a table that is dropped while a panic is on
        // its way may panic, too, and a second panic ends the process.
        let result = caught(|| work(&mut tables));
        let changed = tables.changed();
        let closed = tables.close();
        match (result, closed) {
            (Ok(Ok(answer)), Ok(())) if changed => {
                txn.commit().map_err(|error| StoreError::database("flush a commit", error))?;
                self.flushes.fetch_add(1, Ordering::Relaxed);
                Ok(answer)
            }
            (Ok(result), Ok(())) => {
                txn.abort().map_err(|error| StoreError::database("take a commit back", error))?;
                result
            }
            (Err(reason), _) | (Ok(_), Err(reason)) => Err(self.poison(reason)),
        }
    }

    pub(super) fn close(&self) {
        let db = self.db.write().unwrap_or_else(PoisonError::into_inner).take();
        // Closing writes, so on a damaged file it can crash as a commit can.
        if let Err(reason) = caught(|| drop(db)) {
            tracing::error!(reason, "the store crashed while it was closed");
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
    }
}

/// Resolves once queued work is durable, or refused. The work is queued already:
/// dropping this does not take it back.
#[derive(Debug)]
#[must_use = "a commit is not known to be durable until its future says so"]
pub struct Done<T> {
    state: State<T>,
}

#[derive(Debug)]
enum State<T> {
    Ready(Option<Result<T, StoreError>>),
    Waiting(oneshot::Receiver<Result<T, StoreError>>),
}

impl<T> Done<T> {
    pub(super) fn ready(result: Result<T, StoreError>) -> Self {
        Self { state: State::Ready(Some(result)) }
    }
}

// Nothing in it is ever pinned in place.
impl<T> Unpin for Done<T> {}

impl<T> Future for Done<T> {
    type Output = Result<T, StoreError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.get_mut().state {
            // Polled again after it was ready: the answer is spent.
            State::Ready(result) => Poll::Ready(result.take().unwrap_or(Err(StoreError::Closed))),
            State::Waiting(receiver) => {
                Pin::new(receiver).poll(cx).map(|answer| answer.unwrap_or(Err(StoreError::Closed)))
            }
        }
    }
}

/// Work on its way through a group.
pub(super) trait Job: Send {
    fn num_bytes(&self) -> usize;

    /// Writes into the group's transaction. An error ends the whole group; a refusal is
    /// kept for the answer.
    fn run(&mut self, tables: &mut WriteTables<'_>) -> Result<(), StoreError>;

    /// Answers, once it is known what became of the group.
    fn finish(self: Box<Self>, group: &Result<(), StoreError>);
}

pub(super) struct Task<W: Work> {
    work: W,
    answer: Option<Result<W::Answer, StoreError>>,
    done: oneshot::Sender<Result<W::Answer, StoreError>>,
}

impl<W: Work> Task<W> {
    pub(super) fn new(work: W) -> (Self, oneshot::Receiver<Result<W::Answer, StoreError>>) {
        let (done, receiver) = oneshot::channel();
        (Self { work, answer: None, done }, receiver)
    }
}

impl<W: Work> Job for Task<W> {
    fn num_bytes(&self) -> usize {
        self.work.num_bytes()
    }

    fn run(&mut self, tables: &mut WriteTables<'_>) -> Result<(), StoreError> {
        match self.work.resolve(tables) {
            Ok((effects, answer)) => {
                effects.apply(tables)?;
                self.answer = Some(Ok(answer));
            }
            Err(refusal) => self.answer = Some(Err(refusal)),
        }
        Ok(())
    }

    fn finish(self: Box<Self>, group: &Result<(), StoreError>) {
        let answer = match (group, self.answer) {
            (Ok(()), Some(answer)) => answer,
            (Ok(()), None) => Err(StoreError::Closed),
            // A refusal holds whatever became of the others.
            (Err(_), Some(Err(refusal))) => Err(refusal),
            (Err(error), Some(Ok(_)) | None) => Err(error.clone()),
        };
        // Nobody may be waiting any more.
        let _ = self.done.send(answer);
    }
}

/// Carries out a group in one transaction and answers each of it.
pub(super) fn run_group(engine: &Engine, mut jobs: Vec<Box<dyn Job>>) {
    let group = engine.write(|tables| jobs.iter_mut().try_for_each(|job| job.run(tables)));
    for job in jobs {
        job.finish(&group);
    }
}

/// Takes work to the engine.
#[derive(Debug)]
pub(super) enum Committer {
    Inline,
    Thread(WriterThread),
}

/// The thread and the way to it.
#[derive(Debug)]
pub(super) struct WriterThread {
    /// `None` once closing. Unbounded, because what bounds it is upstream: a connection
    /// has one commit on its way.
    queue: Mutex<Option<Sender<Box<dyn Job>>>>,
    ended: Mutex<Option<oneshot::Receiver<()>>>,
    handle: Mutex<Option<JoinHandle<()>>>,
}

impl Committer {
    pub(super) fn start(kind: CommitterKind, engine: &Arc<Engine>) -> Result<Self, StoreError> {
        match kind {
            CommitterKind::Inline => Ok(Committer::Inline),
            CommitterKind::Thread => WriterThread::spawn(engine.clone()).map(Committer::Thread),
        }
    }

    pub(super) fn submit<W: Work>(&self, engine: &Engine, work: W) -> Done<W::Answer> {
        let (task, mut receiver) = Task::new(work);
        match self {
            Committer::Inline => {
                run_group(engine, vec![Box::new(task)]);
                Done::ready(receiver.try_recv().unwrap_or(Err(StoreError::Closed)))
            }
            Committer::Thread(thread) => {
                if let Some(queue) = &*lock(&thread.queue) {
                    // Without its thread the task is dropped, which the receiver notices.
                    let _ = queue.send(Box::new(task));
                }
                Done { state: State::Waiting(receiver) }
            }
        }
    }

    /// Takes no more work, and waits until what is queued is done.
    pub(super) async fn close(&self) {
        match self {
            Committer::Inline => {}
            Committer::Thread(thread) => {
                drop(lock(&thread.queue).take());
                let ended = lock(&thread.ended).take();
                if let Some(ended) = ended {
                    // An error means that the thread is gone, too.
                    let _ = ended.await;
                }
                thread.join();
            }
        }
    }
}

impl WriterThread {
    fn spawn(engine: Arc<Engine>) -> Result<Self, StoreError> {
        let (queue, jobs) = channel();
        let (has_ended, ended) = oneshot::channel();
        let body = move || {
            write_groups(&engine, &jobs);
            let _ = has_ended.send(());
        };
        let handle = std::thread::Builder::new()
            .name("syncline-store".into())
            .spawn(body)
            .map_err(|error| StoreError::io("start the store's thread", error))?;
        Ok(Self { queue: Mutex::new(Some(queue)), ended: Mutex::new(Some(ended)), handle: Mutex::new(Some(handle)) })
    }

    fn join(&self) {
        let handle = lock(&self.handle).take();
        if let Some(handle) = handle {
            // The thread catches panics itself.
            let _ = handle.join();
        }
    }
}

impl Drop for WriterThread {
    /// Finishes what is queued, so that the file is free when the last handle is gone.
    fn drop(&mut self) {
        drop(lock(&self.queue).take());
        self.join();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write_groups(engine: &Engine, jobs: &Receiver<Box<dyn Job>>) {
    while let Ok(first) = jobs.recv() {
        run_group(engine, gather(first, jobs));
    }
}

/// Takes what is queued, without waiting for more: the flush is the waiting.
fn gather(first: Box<dyn Job>, jobs: &Receiver<Box<dyn Job>>) -> Vec<Box<dyn Job>> {
    let mut num_bytes = first.num_bytes();
    let mut group = vec![first];
    while num_bytes < MAX_GROUP_BYTES {
        let Ok(job) = jobs.try_recv() else { break };
        num_bytes += job.num_bytes();
        group.push(job);
    }
    group
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Sized(usize);

    impl Job for Sized {
        fn num_bytes(&self) -> usize {
            self.0
        }
        fn run(&mut self, _: &mut WriteTables<'_>) -> Result<(), StoreError> {
            Ok(())
        }
        fn finish(self: Box<Self>, _: &Result<(), StoreError>) {}
    }

    #[test]
    fn a_group_takes_what_is_queued_up_to_a_limit_and_waits_for_nothing() {
        let (queue, jobs) = channel::<Box<dyn Job>>();
        for num_bytes in [1, 1, MAX_GROUP_BYTES, 1, 2 * MAX_GROUP_BYTES, 1] {
            queue.send(Box::new(Sized(num_bytes))).unwrap();
        }
        let mut groups = Vec::new();
        while let Ok(first) = jobs.try_recv() {
            groups.push(gather(first, &jobs).len());
        }
        assert_eq!(groups, [3, 2, 1]);
    }
}
