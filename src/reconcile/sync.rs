//! A sync as the reconciling code sees it: what is mapped, which way, and who wins.

use std::sync::Arc;

use crate::model::direction::Direction;
use crate::model::ids::{ObjectName, SyncName, SyncNo};
use crate::model::side::{PerSide, Side};
use crate::model::write::Capabilities;
use crate::reconcile::before_write::Hook;
use crate::reconcile::mapping::Mapping;
use crate::reconcile::merge::Initial;
use crate::reconcile::reference::Referred;
use crate::reconcile::schema::Schemas;

/// One object pair with everything that decides about it.
#[derive(Debug, Clone)]
pub struct BoundSync {
    /// Its number in the state file.
    pub no: SyncNo,
    /// Its name.
    pub name: SyncName,
    /// The object on each side.
    pub objects: PerSide<ObjectName>,
    /// Which way changes go.
    pub direction: Direction,
    /// The field rules.
    pub mapping: Arc<Mapping>,
    /// Who wins where a paired record differs and never agreed; `None` for the
    /// default: the owner's value, `tie` where shared.
    pub initial: Option<Initial>,
    /// Who wins where nothing else decides.
    pub tie: Side,
    /// Its fields that name records of other syncs; mostly none.
    pub references: Vec<Referred>,
    /// What each side can do.
    pub capabilities: PerSide<Capabilities>,
    /// The host program's last word on its writes.
    pub before_write: Option<Hook>,
    /// What its records must be before they are written.
    pub schemas: Schemas,
}

impl BoundSync {
    /// Whether a write to a side is refused there when the record has changed since.
    #[must_use]
    pub fn guarded(&self, side: Side) -> bool {
        self.capabilities[side].conditional
    }

    /// Whether somebody is to see the values of a side's writes before they are sent.
    #[must_use]
    pub fn shows_values(&self, side: Side) -> bool {
        self.before_write.is_some() || self.schemas.has(side)
    }

    /// Where a field leads that names records of another sync.
    #[must_use]
    pub fn referred(&self, field: usize) -> Option<Referred> {
        self.references.iter().find(|referred| referred.field == field).copied()
    }

    /// Which side a run reads first. The side read first has its new records read
    /// twice, so in a two-way sync it is your app, which is near; in a one-way sync it
    /// is the target, whose new records are not carried over.
    #[must_use]
    pub fn first_side(&self) -> Side {
        match self.direction {
            Direction::TwoWay | Direction::In => Side::App,
            Direction::Out => Side::Remote,
        }
    }
}
