//! Everything known about one record while it is being decided.

use std::cmp::Ordering;

use crate::model::hash::Digest;
use crate::model::ids::{PairNo, RecordId};
use crate::model::marker::Marker;
use crate::model::path::Path;
use crate::model::record::Entry;
use crate::model::side::{PerSide, Side};
use crate::model::value::Value;
use crate::model::work::{PendingReason, QuarantineKind};
use crate::reconcile::mapping::{Fields, RecordFault};
use crate::reconcile::reference::{LinkKey, Links};

/// One record under decision. It goes back and forth: the planner asks for what it
/// lacks, the unit of work that holds it fetches that, until there is a plan.
#[derive(Debug)]
pub struct Case {
    /// The side whose news started it.
    pub origin: Side,
    /// The record's id there.
    pub id: RecordId,
    /// Its pair, where there is one.
    pub pair: Option<PairNo>,
    /// Its pair's marker.
    pub marker: Option<Marker>,
    /// What has been read of each side.
    pub seen: PerSide<Option<Observation>>,
    /// What is known of the records that its references name.
    pub links: Links,
    /// What the index says about records with the same match key.
    pub partner: Partner,
    /// Whether records without a partner may be created by now.
    pub stage: Stage,
    /// The marker as the store has it, when the record is paired anew because its
    /// partner was deleted; `marker` then is what is left of it.
    pub orphan_of: Option<Marker>,
    /// Neither side may be taken on trust: an earlier attempt found it changed.
    pub force: bool,
    /// Something about its pair has changed: both sides are looked at, also where this
    /// one is as it was.
    pub both: bool,
    /// It was put off before, so that something about its pair is open.
    pub waited: bool,
    /// How often it has been tried before.
    pub attempts: u32,
    /// A write of this pair is open, so no other may start.
    pub open_write: bool,
    /// Whether its create has happened is for a person to find out.
    pub parked: bool,
    /// The outcome of some create to the origin is unknown and it had no match key,
    /// so an unknown record could be that one.
    pub unkeyed_create_open: bool,
    /// The record is held back already; with which text and why.
    pub held_back: Option<(Option<crate::model::hash::RawHash>, QuarantineKind)>,
    /// Its partner is held back, and so holds something else than its base says.
    pub partner_held_back: bool,
    /// On the other side wait records that a cursor has passed and nobody has looked at: one
    /// of them may be its partner. For how long the last of them is put off, in milliseconds.
    pub unread_for_ms: Option<u64>,
}

impl Case {
    /// A case that starts with one observation.
    #[must_use]
    pub fn new(origin: Side, id: RecordId, observation: Option<Observation>, stage: Stage) -> Self {
        let mut seen = PerSide { app: None, remote: None };
        seen[origin] = observation;
        Self {
            origin,
            id,
            pair: None,
            marker: None,
            seen,
            links: Links::default(),
            partner: Partner::NotAsked,
            stage,
            orphan_of: None,
            force: false,
            both: false,
            waited: false,
            attempts: 0,
            open_write: false,
            parked: false,
            unkeyed_create_open: false,
            held_back: None,
            partner_held_back: false,
            unread_for_ms: None,
        }
    }

    /// The marker as the store has it.
    #[must_use]
    pub fn stored(&self) -> Option<&Marker> {
        self.orphan_of.as_ref().or(self.marker.as_ref())
    }

    /// The id of one side, from the marker or because the case is about it.
    #[must_use]
    pub fn id_on(&self, side: Side) -> Option<&RecordId> {
        if side == self.origin {
            return Some(&self.id);
        }
        self.marker.as_ref().and_then(|marker| marker.sides[side].id.as_ref())
    }

    /// Which side was modified last, where both tell.
    #[must_use]
    pub fn newer(&self) -> Option<Ordering> {
        let modified = |side: Side| match &self.seen[side].as_ref()?.entry {
            Entry::Live(record) => record.modified,
            Entry::Deleted { .. } | Entry::Bad(_) => None,
        };
        Some(modified(Side::App)?.cmp(&modified(Side::Remote)?))
    }
}

/// What was read of one record.
#[derive(Debug)]
pub struct Observation {
    /// As the connector gave it.
    pub entry: Entry,
    /// It was read by its id just now, not from a list that may be stale.
    pub by_id: bool,
    /// Its mapped fields, once they were needed.
    pub fields: Option<Result<Fields, RecordFault>>,
}

impl Observation {
    /// An entry of a list.
    #[must_use]
    pub fn listed(entry: Entry) -> Self {
        Self { entry, by_id: false, fields: None }
    }

    /// An entry read by id.
    #[must_use]
    pub fn by_id(entry: Entry) -> Self {
        Self { entry, by_id: true, fields: None }
    }
}

/// Whether records without a partner may be created by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The other side has not been enumerated: remember the record and wait.
    Hold,
    /// The other side has been enumerated, so no partner means that there is none.
    Create,
    /// The same, for records that the run has read before.
    Again,
    /// The record came alone: no partner must be proven by a search, or awaited.
    Prove,
}

/// Records with the same match key.
#[derive(Debug)]
pub enum Partner {
    /// Nobody has looked.
    NotAsked,
    /// What was found.
    Known {
        /// On the other side.
        others: Vec<Candidate>,
        /// On the origin's own side, other than the record itself.
        siblings: Vec<RecordId>,
        /// The other side itself was searched.
        searched: bool,
    },
}

/// A record on the other side with the same match key.
#[derive(Debug)]
pub struct Candidate {
    /// Its id there.
    pub id: RecordId,
    /// Its pair, where it has one.
    pub pair: Option<PairNo>,
    /// Its pair's marker.
    pub marker: Option<Marker>,
    /// A write of its pair is open.
    pub open_write: bool,
    /// The record, when the search returned it.
    pub observation: Option<Observation>,
}

/// What the planner answers.
#[derive(Debug)]
pub enum Step {
    /// Read this record of this side by id, and ask again.
    Read(Side, RecordId),
    /// Look up who else has this match key, and ask again.
    Partner(Digest),
    /// Look up what these records are linked with, and ask again.
    Links(Vec<LinkKey>),
    /// Search the other side for these values, and ask again.
    Find(Side, Vec<(Path, Value)>),
    /// It is decided.
    Plan(Box<super::plan::Plan>),
}

/// When a held record is to be looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// As soon as possible.
    Now,
    /// After so many milliseconds.
    AfterMs(u64),
    /// When the open create it may belong to is closed, or after its recovery time.
    WithOpenCreate,
    /// When the run in progress, or the next one, is over.
    AfterRun,
    /// When one of the records that it names is linked.
    WhenLinked,
}

/// A record to be looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// Why.
    pub reason: PendingReason,
    /// When.
    pub due: Due,
}
