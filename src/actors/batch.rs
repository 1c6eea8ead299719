//! One unit of work: some records from being read to being committed.
//!
//! It changes type as it moves, and each type can only be made from the one before:
//! [`Fetched`] → [`Planned`] → [`Intended`] → [`Written`] → a commit. So what was not
//! written cannot be committed, and no create or delete is sent whose intent is not
//! durable.

mod claims;
mod fetched;
mod intended;
mod markers;
mod reads;
mod settled;

pub use markers::{drop_marker, give_up_half, half_of, put_marker};
pub use reads::{NotYet, fetch_ids, not_yet};
pub use settled::{Settled, backoff_ms};

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::actors::core::{Core, Leases};
use crate::actors::queue::PendingRow;
use crate::model::ids::RecordId;
use crate::model::record::Entry;
use crate::model::side::{PerSide, Side};
use crate::model::work::{Intent, Lane, Totals};
use crate::model::write::{ConnectorError, Outcome};
use crate::reconcile::case::Case;
use crate::reconcile::plan::Plan;
use crate::reconcile::reference::LinkKey;
use crate::reconcile::sync::BoundSync;
use crate::store::{Commit, StoreError};

/// How many times a record is tried before it is held back as a dead letter.
pub const MAX_ATTEMPTS: u32 = 10;

/// Records with the same match key that are looked up; more need not be told apart.
pub const MAX_CANDIDATES: usize = 4;

/// Why a unit of work stopped.
#[derive(Debug)]
pub enum Stop {
    /// A side could not be read.
    Connector(ConnectorError),
    /// The state file could not be read or written; nothing was acknowledged.
    Store(StoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Stop::Store(error)
    }
}

/// What a unit of work came to, once it is durable.
#[derive(Debug, Default)]
pub struct Report {
    /// What it did.
    pub tally: Totals,
    /// Rows it added.
    pub added: Vec<PendingRow>,
    /// Rows it finished.
    pub removed: Vec<(Lane, u64)>,
    /// How many more records are held back than before.
    pub held_back: i64,
    /// New records that wait for the run to read the other side.
    pub held: u64,
    /// Records that are linked since, where others may name them.
    pub linked: Vec<LinkKey>,
    /// A failure that concerns the connection.
    pub trouble: Option<ConnectorError>,
}

/// Records as read, with what the store knows of them.
pub struct Fetched {
    core: Rc<Core>,
    sync: Arc<BoundSync>,
    lane: Lane,
    cases: Vec<Case>,
    rows: HashMap<(Side, RecordId), PendingRow>,
    leases: Leases,
    report: Report,
    commit: Commit,
}

/// Records with a plan each.
pub struct Planned {
    core: Rc<Core>,
    sync: Arc<BoundSync>,
    lane: Lane,
    plans: Vec<Plan>,
    rows: HashMap<(Side, RecordId), PendingRow>,
    leases: Leases,
    report: Report,
    commit: Commit,
}

/// Plans whose creates and deletes are promised durably.
pub struct Intended {
    planned: Planned,
    intents: HashMap<usize, Intent>,
}

/// Plans whose writes have an outcome.
pub struct Written {
    intended: Intended,
    outcomes: Vec<PerSide<Option<Outcome>>>,
}

/// For how long a record has waited whose row a unit of work took, in milliseconds.
fn waited_ms(rows: &HashMap<(Side, RecordId), PendingRow>, side: Side, id: &RecordId, now_ms: i64) -> u64 {
    let since_ms = rows.get(&(side, id.clone())).map_or(now_ms, |row| row.pending.since_ms);
    u64::try_from(now_ms.saturating_sub(since_ms)).unwrap_or(0)
}

/// The id of an entry, where it could be read.
#[must_use]
pub fn entry_id(entry: &Entry) -> Option<RecordId> {
    match entry {
        Entry::Live(record) => Some(record.id.clone()),
        Entry::Deleted { id, .. } => Some(id.clone()),
        Entry::Bad(bad) => bad.id.clone(),
    }
}
