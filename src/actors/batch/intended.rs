//! Plans whose creates and deletes are promised durably, and their writes.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::{StreamExt, stream};

use crate::actors::core::{Core, LeaseKey, Leases};
use crate::model::hash::Digest;
use crate::model::ids::{PairNo, RecordId, SyncNo};
use crate::model::marker::{Marker, SideState};
use crate::model::record::Entry;
use crate::model::side::{PerSide, Side};
use crate::model::value::Value;
use crate::model::work::{Conflict, Intent, IntentOperation, IntentState, Lane};
use crate::model::write::{Create, Delete, Outcome, Stored, Update, Write};
use crate::planted::{self, Bug};
use crate::reconcile::plan::{Effect, Plan};
use crate::reconcile::sync::BoundSync;
use crate::store::Commit;

use super::markers::{half_of, put_marker};
use super::reads::fetch_ids;
use super::{Intended, Planned, Stop, Written};

impl Planned {
    /// Makes the promises of creates and deletes durable. Before this returns no byte
    /// of them has left.
    ///
    /// # Errors
    /// When the store cannot write; then nothing may be sent.
    pub async fn intend(mut self) -> Result<Intended, Stop> {
        let mut intents = HashMap::new();
        let mut commit = self.core.right.new_commit();
        for index in 0..self.plans.len() {
            if matches!(self.plans[index].effect, Effect::Create(_) | Effect::Delete(_)) {
                let intent = self.promise(index, &mut commit);
                intents.insert(index, intent);
            }
        }
        for plan in &mut self.plans {
            // Before the value is overwritten, so that a crash cannot lose it.
            record_lost(&self.core, self.sync.no, plan, &mut self.leases, &mut commit);
        }
        for row in self.rows.values().filter(|_| planted::is(Bug::PendingRemovedEarly)) {
            commit.delete_pending(row.sync, row.lane, row.seq, row.pending.side, &row.pending.id);
        }
        if !commit.is_empty() {
            self.core.commit(commit).await?;
            for (index, intent) in &intents {
                if let Some(pair) = self.plans[*index].pair {
                    let key = (self.sync.no, pair);
                    self.core.intents.borrow_mut().insert(key, intent.clone());
                    self.core.note_sent(key);
                }
            }
        }
        Ok(Intended { planned: self, intents })
    }

    fn promise(&mut self, index: usize, commit: &mut Commit) -> Intent {
        let core = Rc::clone(&self.core);
        let sync = Arc::clone(&self.sync);
        let plan = &mut self.plans[index];
        let pair = *plan.pair.get_or_insert_with(|| core.take_pair());
        let number = core.take_intent();
        let (target, operation) = match &plan.effect {
            Effect::Create(creation) => {
                put_marker(commit, sync.no, pair, plan.old.as_ref(), &creation.marker);
                plan.old = Some(creation.marker.clone());
                let create = Create {
                    record: creation.record.clone(),
                    idempotency_key: idempotency_key(&core, sync.no, pair, number),
                    external_id: external_id(&core, sync.no, pair),
                };
                let source = plan_source(plan, creation.target);
                (creation.target, IntentOperation::Create { create, source, match_key: creation.match_key })
            }
            Effect::Delete(deletion) => (deletion.target, IntentOperation::Delete { id: deletion.id.clone() }),
            Effect::Keep(_)
            | Effect::Half(_)
            | Effect::Update(_)
            | Effect::Forget
            | Effect::Hold(..)
            | Effect::Quarantine(..)
            | Effect::OutOfScope(_) => unreachable!("only creates and deletes are promised"),
        };
        let opened_ms = core.now().ms;
        let intent =
            Intent { number, target, operation, epoch: core.right.epoch(), opened_ms, state: IntentState::Open };
        if !planted::is(Bug::IntentNotDurable) {
            commit.put_intent(sync.no, pair, &intent);
        }
        intent
    }
}

/// Keeps the values that lose, each where the record that held it leads to. One that no
/// marker knows yet gets its half marker now: whatever comes of the write, and of the
/// record it is to be linked with, its loss can be found.
fn record_lost(core: &Core, sync: SyncNo, plan: &mut Plan, leases: &mut Leases, commit: &mut Commit) {
    if plan.lost.is_empty() || planted::is(Bug::LoserNotRecorded) {
        return;
    }
    let mut file = |half: &Marker| {
        let pair = core.take_pair();
        leases.take(LeaseKey::Pair(sync, pair));
        put_marker(commit, sync, pair, None, half);
        pair
    };
    if let Some(half) = plan.half.take() {
        let own = file(&half);
        if plan.pair.is_none() {
            (plan.pair, plan.old) = (Some(own), Some(*half));
        } else {
            plan.absorbed = Some((own, *half));
        }
    }
    if plan.absorbed.is_none()
        && let Some(half) = new_partner(plan)
    {
        plan.absorbed = Some((file(&half), half));
    }
    let pair = *plan.pair.get_or_insert_with(|| core.take_pair());
    for lost in &plan.lost {
        let holder = match &plan.absorbed {
            Some((own, given_up)) if leads_best(given_up, plan.old.as_ref(), lost.winner.other()) => *own,
            Some(_) | None => pair,
        };
        let holder = if planted::is(Bug::HistoryOfNoPair) { core.take_pair() } else { holder };
        let conflict = Conflict {
            at_ms: core.env.now_ms(),
            field: lost.field.clone(),
            winner: lost.winner,
            lost: lost.lost.as_ref().map(Value::to_json),
            kept: lost.kept.as_ref().map(Value::to_json),
        };
        commit.put_history(sync, holder, core.take_seq(), &conflict);
    }
}

/// Whether it is the marker to be given up that leads to the record of a side, and not the
/// one that goes on: where the link fails, the first is what that record has. It is whole
/// when a record whose partner was deleted is paired anew.
fn leads_best(given_up: &Marker, goes_on: Option<&Marker>, side: Side) -> bool {
    let leads = |marker: &Marker| marker.sides[side].id.is_some();
    given_up.known_half() == Some(side) || leads(given_up) && !goes_on.is_some_and(leads)
}

/// The half marker of a record that a plan links with its own and that no marker knows
/// yet, as one found by a search.
fn new_partner(plan: &Plan) -> Option<Marker> {
    let Effect::Update(updates) = &plan.effect else { return None };
    let side = plan.origin.other();
    let known = plan.old.as_ref().is_some_and(|old| old.sides[side].id.is_some());
    let linked = &updates.marker.sides[side];
    let id = linked.id.clone().filter(|_| !known)?;
    let mut half = Marker::new(updates.marker.mapping_hash);
    half.sides[side] = SideState { id: Some(id), match_key: linked.match_key, ..SideState::default() };
    Some(half)
}

/// The source record's id of a create.
fn plan_source(plan: &Plan, target: Side) -> RecordId {
    let marker = plan.old.as_ref().and_then(|marker| marker.sides[target.other()].id.clone());
    marker.unwrap_or_else(|| plan.id.clone())
}

/// The same for every attempt at one create: which kernel, which pair, which promise.
fn idempotency_key(core: &Core, sync: SyncNo, pair: PairNo, number: u32) -> String {
    let text = format!("{}|{}|{sync}|{pair}|{}|{number}", core.store.kernel_id(), core.conn, core.right.epoch());
    Digest::of(text.as_bytes()).to_hex()
}

/// Names the pair outside: fit for a record id, a URL and a text field.
fn external_id(core: &Core, sync: SyncNo, pair: PairNo) -> String {
    let kernel = core.store.kernel_id();
    let short: String = kernel.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
    if planted::is(Bug::ExternalIdOfAnyConnection) {
        return format!("sl-{short}-{sync}-{pair}");
    }
    if planted::is(Bug::ExternalIdOfOneEpoch) {
        return format!("sl-{short}-{}-{sync}-{pair}-{}", core.conn, core.right.epoch());
    }
    format!("sl-{short}-{}-{sync}-{pair}", core.conn)
}

impl Intended {
    /// Sends the writes, several at once, each record's in order.
    pub async fn write(mut self) -> Written {
        let Planned { core, sync, lane, plans, .. } = &self.planned;
        let mut outcomes: Vec<PerSide<Option<Outcome>>> = (0..plans.len()).map(|_| PerSide::default()).collect();
        let calls = self.calls();
        let at_once = Side::BOTH.map(|side| core.calls[side].concurrency()).into_iter().max().unwrap_or(1);
        let answers = stream::iter(calls)
            .map(|call| async move {
                let answers = core.carry(sync, call.side, call.writes, *lane).await;
                (call.side, call.indices, answers)
            })
            .buffer_unordered(at_once)
            .collect::<Vec<_>>()
            .await;
        for (side, indices, answers) in answers {
            for (index, answer) in indices.into_iter().zip(answers) {
                outcomes[index][side] = Some(answer);
            }
        }
        read_back(core, sync, *lane, &mut outcomes).await;
        self.lease_what_was_made(&outcomes).await;
        Written { intended: self, outcomes }
    }

    /// A record that was just made belongs to this unit until it is committed: others
    /// that see it already must not take it for one without a pair.
    async fn lease_what_was_made(&mut self, outcomes: &[PerSide<Option<Outcome>>]) {
        let Planned { core, sync, plans, leases, .. } = &mut self.planned;
        for (plan, outcomes) in plans.iter().zip(outcomes) {
            let Effect::Create(creation) = &plan.effect else { continue };
            let Some(Outcome::Written(stored)) = &outcomes[creation.target] else { continue };
            leases.take_when_free(LeaseKey::Record(sync.no, creation.target, stored.id.clone())).await;
            if let Some(half) = half_of(core, sync.no, creation.target, &stored.id, plan.pair) {
                leases.take_when_free(LeaseKey::Pair(sync.no, half)).await;
            }
        }
    }

    /// The writes, gathered into as few calls as each side takes them in.
    fn calls(&self) -> Vec<WriteCall> {
        let mut groups: HashMap<(Side, u8), Vec<(usize, Write)>> = HashMap::new();
        let mut order = Vec::new();
        for (index, side, write) in self.writes() {
            let kind = match &write {
                Write::Create(_) => 0,
                Write::Update(_) => 1,
                Write::Delete(_) => 2,
            };
            let group = groups.entry((side, kind)).or_insert_with(|| {
                order.push((side, kind));
                Vec::new()
            });
            group.push((index, write));
        }
        let mut calls = Vec::new();
        for key in order {
            let mut group = groups.remove(&key).unwrap_or_default().into_iter().peekable();
            let batch = self.planned.sync.capabilities[key.0].batch.max(1);
            while group.peek().is_some() {
                let (indices, writes) = group.by_ref().take(batch).unzip();
                calls.push(WriteCall { side: key.0, indices, writes });
            }
        }
        calls
    }

    fn writes(&self) -> Vec<(usize, Side, Write)> {
        let mut writes = Vec::new();
        for (index, plan) in self.planned.plans.iter().enumerate() {
            match &plan.effect {
                Effect::Update(updates) => {
                    for side in Side::BOTH {
                        let Some(update) = &updates.writes[side] else { continue };
                        let crate::reconcile::plan::SideUpdate { id, expected, current, changes, .. } = update.clone();
                        writes.push((index, side, Write::Update(Update { id, expected, current, changes })));
                    }
                }
                Effect::Create(creation) => {
                    if let Some(Intent { operation: IntentOperation::Create { create, .. }, .. }) =
                        self.intents.get(&index)
                    {
                        writes.push((index, creation.target, Write::Create(create.clone())));
                    }
                }
                Effect::Delete(deletion) => {
                    let delete = Delete { id: deletion.id.clone(), expected: deletion.expected.clone() };
                    writes.push((index, deletion.target, Write::Delete(delete)));
                }
                Effect::Keep(_)
                | Effect::Half(_)
                | Effect::Forget
                | Effect::Hold(..)
                | Effect::Quarantine(..)
                | Effect::OutOfScope(_) => {}
            }
        }
        writes
    }
}

struct WriteCall {
    side: Side,
    indices: Vec<usize>,
    writes: Vec<Write>,
}

/// Reads back what was written where the answer did not hold the record, because a
/// side may store something else than it was sent.
async fn read_back(core: &Core, sync: &BoundSync, lane: Lane, outcomes: &mut [PerSide<Option<Outcome>>]) {
    for side in Side::BOTH {
        let bare = |outcome: &PerSide<Option<Outcome>>| match &outcome[side] {
            Some(Outcome::Written(Stored { id, body: None, .. })) => Some(id.clone()),
            Some(_) | None => None,
        };
        let ids: Vec<RecordId> = outcomes.iter().filter_map(bare).collect();
        if ids.is_empty() {
            continue;
        }
        let mut found = fetch_ids(core, sync, side, ids, lane).await;
        for outcome in outcomes.iter_mut() {
            let Some(Outcome::Written(stored)) = &mut outcome[side] else { continue };
            // Another version than the write's answer told holds somebody's edit since:
            // taking it for what was stored would swallow that edit.
            if stored.body.is_none()
                && let Some(Ok(Entry::Live(record))) = found.remove(&stored.id)
                && (stored.version.is_none()
                    || stored.version == record.version
                    || planted::is(Bug::ReadBackOfAnyVersion))
            {
                stored.version = record.version;
                stored.modified = record.modified;
                stored.body = Some(record.body);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::marker::LinkState;

    fn marker(state: LinkState, app: Option<&str>, remote: Option<&str>) -> Marker {
        let mut marker = Marker::new(Digest::of(b"mapping"));
        marker.state = state;
        marker.sides.app.id = app.map(Into::into);
        marker.sides.remote.id = remote.map(Into::into);
        marker
    }

    #[test]
    fn a_loss_is_kept_where_its_record_leads_to_if_the_link_fails() {
        let orphan = marker(LinkState::Linked, Some("a"), Some("gone"));
        let taker = marker(LinkState::Half, None, Some("new"));
        assert!(leads_best(&orphan, Some(&taker), Side::App), "the taker's pair knows no app record yet");
        assert!(!leads_best(&orphan, Some(&taker), Side::Remote), "the orphan's pair knows another");
        assert!(leads_best(&taker, Some(&orphan), Side::Remote), "its own half, though the other has an id");
        assert!(!leads_best(&taker, Some(&orphan), Side::App));
        let half = marker(LinkState::Half, Some("a"), None);
        assert!(leads_best(&half, Some(&taker), Side::App));
    }
}
