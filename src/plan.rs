//! Shell: the dry run. What a sync would do now, found out by doing it: the state file
//! is copied, a kernel runs over the copy, and every connector is wrapped so that it
//! reads the real side but only writes down what it would have written. So a plan takes
//! the same path through the code as the real run does.
//!
//! Nothing is written to either side or to the real state file. It reads as much as a
//! real run, with call budgets of its own.

mod dry_run;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::actors::message::QuarantineRow;
use crate::actors::spec::{ConnectionSpec, SyncSpec};
use crate::kernel::{Kernel, KernelError};
use crate::model::ids::{ConnNo, ConnectionId, ObjectName, RecordId, SyncName};
use crate::model::side::{PerSide, Side};
use crate::model::work::Totals;
use crate::store::{Store, StoreError, StoreOptions};
use crate::temporary::TemporaryFolder;

use dry_run::{DryFactory, Recorder};

/// What to plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanRequest {
    /// Only this connection; `None` for all.
    pub connection: Option<ConnectionId>,
    /// Only this sync; `None` for all.
    pub sync: Option<SyncName>,
    /// How many creates, updates, deletes and quarantined records are told one by one,
    /// of each kind on each side. All are counted.
    pub shown: usize,
}

impl Default for PlanRequest {
    fn default() -> Self {
        Self { connection: None, sync: None, shown: 20 }
    }
}

/// What a sync would do now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanReport {
    /// One for each sync of each connection, in their order.
    pub syncs: Vec<PlannedSync>,
}

/// What one sync on one connection would do now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedSync {
    /// The connection.
    pub connection: ConnectionId,
    /// The sync.
    pub sync: SyncName,
    /// The object on each side.
    pub objects: PerSide<ObjectName>,
    /// What reading and deciding came to; `matched` counts pairs found by match key.
    pub totals: Totals,
    /// Records to create on each side.
    pub create: PerSide<Effects<PlannedCreate>>,
    /// Records to update on each side.
    pub update: PerSide<Effects<PlannedUpdate>>,
    /// Records to delete on each side.
    pub delete: PerSide<Effects<RecordId>>,
    /// Records whose match key belongs to more than one record.
    pub ambiguous: Effects<QuarantineRow>,
    /// Other records that would be held back, with their reasons.
    pub quarantined: Effects<QuarantineRow>,
    /// Why the plan is not complete.
    pub error: Option<String>,
}

/// How many of a kind, and the first of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effects<T> {
    /// All of them.
    pub count: u64,
    /// The first.
    pub shown: Vec<T>,
}

/// A record to be created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedCreate {
    /// Stands for the id it will get: `(new 1)`.
    pub id: RecordId,
    /// The record as JSON text in the form of the side that is written.
    pub record: String,
}

/// A record to be updated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedUpdate {
    /// Its id.
    pub id: RecordId,
    /// What changes.
    pub fields: Vec<FieldDifference>,
}

/// One field that will change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldDifference {
    /// Where it stands in the record of the side that is written.
    pub path: String,
    /// Its value now as JSON text; `None` where it is absent.
    pub old: Option<String>,
    /// The value it would get; `None` where it would be taken away.
    pub new: Option<String>,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The state file could not be copied or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no room for the copy.
    #[error("failed to make a folder for a copy of the state file: {0}")]
    Folder(#[from] std::io::Error),
    /// The kernel over the copy did not start.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// What was asked for does not exist.
    #[error("{0}")]
    Unknown(String),
}

impl<T> Default for Effects<T> {
    fn default() -> Self {
        Self { count: 0, shown: Vec::new() }
    }
}

impl<T> Effects<T> {
    /// Counts one more and keeps it among the first `limit`.
    fn add(&mut self, limit: usize, make: impl FnOnce() -> T) {
        self.count += 1;
        if self.shown.len() < limit {
            self.shown.push(make());
        }
    }
}

impl PlannedSync {
    fn new(connection: &ConnectionId, sync: &SyncSpec) -> Self {
        Self {
            connection: connection.clone(),
            sync: sync.name.clone(),
            objects: sync.objects.clone(),
            totals: Totals::default(),
            create: PerSide::default(),
            update: PerSide::default(),
            delete: PerSide::default(),
            ambiguous: Effects::default(),
            quarantined: Effects::default(),
            error: None,
        }
    }

    /// How many writes it would make.
    #[must_use]
    pub fn writes(&self) -> u64 {
        Side::BOTH.iter().map(|&side| self.create[side].count + self.update[side].count + self.delete[side].count).sum()
    }
}

impl PlanReport {
    /// Whether nothing would be written or held back, and nothing went wrong.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let quiet = |sync: &PlannedSync| sync.writes() == 0 && !sync.needs_a_person();
        self.syncs.iter().all(quiet)
    }
}

impl PlannedSync {
    /// Whether a record would be held back, or the plan is not complete.
    #[must_use]
    pub fn needs_a_person(&self) -> bool {
        self.ambiguous.count + self.quarantined.count > 0 || self.error.is_some()
    }
}

/// Plans over a copy of the state file, made in `folder`. `specs` makes the connections
/// over the copy, so that embedded records are read from it too. Needs a running actix
/// system.
///
/// # Errors
/// When the state cannot be copied, a connection is not accepted, or nothing is chosen.
/// A side that cannot be read is no error: the plan of that sync says so.
pub async fn plan(
    store: &Store,
    folder: &Path,
    specs: impl FnOnce(&Store) -> Vec<ConnectionSpec>,
    request: &PlanRequest,
) -> Result<PlanReport, PlanError> {
    let folder = TemporaryFolder::create_in(folder, "plan")?;
    let path = folder.path().join("copy.redb");
    let copy = copy_of(store.clone(), path).await?;
    let chosen = choose(specs(&copy), request)?;
    let recorders: Vec<Arc<Recorder>> = chosen.iter().map(|_| Arc::default()).collect();
    let mut builder = Kernel::builder().store(copy.clone()).schedules(false);
    for (spec, recorder) in chosen.iter().zip(&recorders) {
        // A plan answers what would happen if it ran, so a pause does not hold it.
        copy.set_paused(copy.intern_connection(&spec.id)?, false)?;
        builder = builder.connection(dry(spec, recorder));
    }
    let kernel = builder.start().await?;
    let planning = chosen.iter().zip(&recorders).map(|(spec, recorder)| plan_one(&kernel, spec, recorder, request));
    let planned = futures_util::future::join_all(planning).await;
    kernel.shutdown().await;
    let syncs = planned.into_iter().collect::<Result<Vec<_>, StoreError>>()?;
    Ok(PlanReport { syncs: syncs.into_iter().flatten().collect() })
}

/// A copy on disk, made off the arbiter: the state may be large.
async fn copy_of(store: Store, path: PathBuf) -> Result<Store, PlanError> {
    let copy = move || {
        store.copy_to(&path)?;
        Store::open(&path, StoreOptions::default())
    };
    let copied = tokio::task::spawn_blocking(copy).await;
    Ok(copied.map_err(|_| std::io::Error::other("copying it crashed"))??)
}

/// The connections and syncs asked for.
fn choose(specs: Vec<ConnectionSpec>, request: &PlanRequest) -> Result<Vec<ConnectionSpec>, PlanError> {
    let wanted = |name: &SyncName| request.sync.as_ref().is_none_or(|sync| sync == name);
    let mut chosen = specs;
    chosen.retain(|spec| request.connection.as_ref().is_none_or(|id| *id == spec.id));
    if let (Some(id), true) = (&request.connection, chosen.is_empty()) {
        return Err(PlanError::Unknown(format!("there is no connection '{id}'")));
    }
    for spec in &mut chosen {
        spec.syncs.retain(|sync| wanted(&sync.name));
        spec.paused = false;
    }
    chosen.retain(|spec| !spec.syncs.is_empty());
    match &request.sync {
        Some(name) if chosen.is_empty() => Err(PlanError::Unknown(format!("there is no sync '{name}' to plan"))),
        Some(_) | None => Ok(chosen),
    }
}

/// The same connection, with both sides wrapped.
fn dry(spec: &ConnectionSpec, recorder: &Arc<Recorder>) -> ConnectionSpec {
    let mut dry = spec.clone();
    dry.connectors = PerSide::from_fn(|side| {
        let factory = DryFactory::new(Arc::clone(&spec.connectors[side]), side, Arc::clone(recorder));
        Arc::new(factory) as Arc<dyn crate::connectors::ConnectorFactory>
    });
    dry
}

/// Runs the syncs of one connection one after the other.
async fn plan_one(
    kernel: &Kernel,
    spec: &ConnectionSpec,
    recorder: &Recorder,
    request: &PlanRequest,
) -> Result<Vec<PlannedSync>, StoreError> {
    let mut planned: Vec<PlannedSync> = spec.syncs.iter().map(|sync| PlannedSync::new(&spec.id, sync)).collect();
    for sync in &mut planned {
        match kernel.sync_now(&spec.id, Some(sync.sync.clone())).await {
            Ok(report) => {
                sync.totals = report.totals;
                sync.error = report.error;
            }
            Err(error) => sync.error = Some(error.to_string()),
        }
    }
    for write in recorder.take() {
        let at = planned.iter().position(|sync| sync.objects[write.side] == write.object);
        if let Some(sync) = at.and_then(|at| planned.get_mut(at)) {
            write.count_in(sync, request.shown);
        }
    }
    let conn = kernel.store().intern_connection(&spec.id)?;
    for sync in &mut planned {
        add_held(kernel.store(), conn, sync, request.shown)?;
    }
    Ok(planned)
}

/// How many held back records are looked at.
const MOST_HELD: usize = 100_000;

fn add_held(store: &Store, conn: ConnNo, sync: &mut PlannedSync, shown: usize) -> Result<(), StoreError> {
    use crate::model::work::QuarantineKind;
    let no = store.intern_sync(&sync.sync)?;
    for (of, side, id, held) in store.snapshot()?.quarantine(conn, MOST_HELD)? {
        if of != no {
            continue;
        }
        let effects = match held.kind {
            QuarantineKind::Ambiguous => &mut sync.ambiguous,
            QuarantineKind::Unreadable
            | QuarantineKind::Invalid
            | QuarantineKind::Rejected
            | QuarantineKind::DeadLetter
            | QuarantineKind::UnknownCreate
            | QuarantineKind::Crashed
            | QuarantineKind::Undecided
            | QuarantineKind::Refused => &mut sync.quarantined,
        };
        let name = sync.sync.clone();
        effects.add(shown, || QuarantineRow { sync: name, side, id, held });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
