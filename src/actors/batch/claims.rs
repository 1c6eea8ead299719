//! Whose a pair or a record is while several units of work go on: what a plan may link, and
//! what became outdated while it was made.

use crate::actors::core::LeaseKey;
use crate::model::ids::PairNo;
use crate::reconcile::plan::{Effect, Plan};
use crate::store::{Snapshot, StoreError};

use super::{Fetched, Stop};

impl Fetched {
    /// Whether the pair that a plan goes on with is this unit's. One that was found by its
    /// match key was not leased then, and another unit may have had it since: it is this
    /// unit's only as it was found.
    pub(super) fn has_pair_as_read(&mut self, snapshot: &Snapshot, plan: &Plan) -> Result<bool, StoreError> {
        let Some(pair) = plan.pair else { return Ok(true) };
        let key = LeaseKey::Pair(self.sync.no, pair);
        if self.leases.has(&key) {
            return Ok(true);
        }
        Ok(self.leases.take(key) && snapshot.marker(self.core.conn, self.sync.no, pair)? == plan.old)
    }

    /// Whether a record that a plan links with its own is nobody else's: no other unit
    /// is working on it, and none has given it a pair since it was found.
    pub(super) fn may_name_partner(&mut self, snapshot: &Snapshot, plan: &Plan) -> Result<bool, StoreError> {
        let marker = match &plan.effect {
            Effect::Keep(Some(marker)) => marker.as_ref(),
            Effect::Update(updates) => &updates.marker,
            Effect::Keep(None)
            | Effect::Half(_)
            | Effect::Create(_)
            | Effect::Delete(_)
            | Effect::Forget
            | Effect::Hold(..)
            | Effect::Quarantine(..)
            | Effect::OutOfScope(_) => return Ok(true),
        };
        let partner = plan.origin.other();
        let known = plan.old.as_ref().and_then(|old| old.sides[partner].id.as_ref());
        let Some(id) = marker.sides[partner].id.as_ref().filter(|id| known != Some(*id)) else { return Ok(true) };
        if !self.leases.take(LeaseKey::Record(self.sync.no, partner, id.clone())) {
            return Ok(false);
        }
        let filed = snapshot.pair_by_id(self.core.conn, self.sync.no, partner, id)?;
        let ours =
            |pair: PairNo| plan.pair == Some(pair) || plan.absorbed.as_ref().is_some_and(|(other, _)| *other == pair);
        Ok(filed.is_none_or(ours))
    }

    /// A new half marker is kept only while nobody else is making or has made a pair of
    /// its record: a create whose answer is being read back names it already.
    pub(super) fn withdraw_outdated(&mut self, plans: &mut [Plan]) -> Result<(), Stop> {
        let snapshot = self.core.snapshot()?;
        for plan in plans.iter_mut().filter(|plan| plan.pair.is_none()) {
            let half = match &plan.effect {
                Effect::Half(marker) => Some(marker),
                Effect::Hold(_, marker) | Effect::Quarantine(_, marker) => marker.as_ref(),
                Effect::Keep(_)
                | Effect::Update(_)
                | Effect::Create(_)
                | Effect::Delete(_)
                | Effect::Forget
                | Effect::OutOfScope(_) => None,
            };
            let Some(half) = half else { continue };
            let key = half.sides[plan.origin].match_key;
            let is_free = key.is_none_or(|key| self.leases.take(LeaseKey::Match(self.sync.no, key)));
            let paired = snapshot.pair_by_id(self.core.conn, self.sync.no, plan.origin, &plan.id)?.is_some();
            if !is_free || paired {
                plan.effect = self.busy(plan.origin, &plan.id);
                plan.half = None;
            }
        }
        Ok(())
    }
}

impl Fetched {
    /// Records about which nothing will be written or kept are free for others at
    /// once: live work must not wait for the rest of the page.
    pub(super) fn let_go(&mut self, plans: &[Plan]) {
        for plan in plans {
            if matches!(plan.effect, Effect::Keep(None)) && !plan.released {
                let key = match plan.pair {
                    Some(pair) => LeaseKey::Pair(self.sync.no, pair),
                    None => LeaseKey::Record(self.sync.no, plan.origin, plan.id.clone()),
                };
                self.leases.give_back(&key);
            }
        }
    }
}
