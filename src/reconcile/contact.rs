//! First contact: a live record without a partner is paired, created on the other
//! side, or held. Never a duplicate: where it is not clear, it is refused with the
//! rows named.

use crate::model::ids::{PairNo, RecordId};
use crate::model::marker::{BaseValue, LinkState, Marker, SideState};
use crate::model::record::Entry;
use crate::model::side::Side;
use crate::model::work::{PendingReason, QuarantineKind};
use crate::model::write::UpdateStyle;
use crate::planted::{self, Bug};
use crate::reconcile::case::{Candidate, Case, Due, Hold, Partner, Stage, Step};
use crate::reconcile::compose::{self, Composed, NoBase};
use crate::reconcile::mapping::{FieldRead, Fields};
use crate::reconcile::merge::Initial;
use crate::reconcile::plan::{Effect, Fault, account, fields_of, held_back, keep_visible, quick, recreate, tally};
use crate::reconcile::sync::BoundSync;

/// Plans a live record of one side that has no partner.
pub(super) fn contact(sync: &BoundSync, case: &mut Case, side: Side) -> Step {
    let Some(fields) = case.seen[side].as_ref().and_then(fields_of) else {
        return quick(case, Effect::Keep(None));
    };
    let target = side.other();
    let Some(key) = sync.mapping.match_key(fields) else {
        return without_key(sync, case, side);
    };
    let Partner::Known { others, siblings, searched } = &case.partner else { return Step::Partner(key) };
    if others.iter().any(|other| other.open_write) && !planted::is(Bug::NewsNotHeld) {
        return hold(sync, case, side, PendingReason::OpenCreate, Due::WithOpenCreate);
    }
    let taken = |other: &&Candidate| other.marker.as_ref().is_some_and(|m| m.known_half().is_none());
    if let Some(linked) = others.iter().find(taken) {
        // The one it is linked with may have been deleted, and this one have taken its place.
        let rival = linked.marker.as_ref().and_then(|marker| marker.sides[side].id.clone());
        let named = format!("{target} record {}, which is linked with another", linked.id);
        return ambiguous(sync, case, side, &named, rival.map(|rival| (side, rival)).into_iter().collect());
    }
    if !siblings.is_empty() && (case.stage != Stage::Hold || !others.is_empty()) {
        let rivals = siblings.iter().map(|id| (side, id.clone())).collect();
        return ambiguous(sync, case, side, &names(side, siblings.iter()), rivals);
    }
    match others.len() {
        0 if !sync.direction.writes(target) => half(sync, case, side),
        0 if case.stage == Stage::Hold && !planted::is(Bug::FirstSideCreates) => half(sync, case, side),
        0 if (case.stage == Stage::Prove || case.unread_for_ms.is_some())
            && !searched
            && !planted::is(Bug::PartnerNotSearched) =>
        {
            prove(sync, case, side)
        }
        0 => create(sync, case, side),
        1 => pair(sync, case, side),
        _ => {
            let rivals = others.iter().map(|other| (target, other.id.clone())).collect();
            ambiguous(sync, case, side, &names(target, others.iter().map(|other| &other.id)), rivals)
        }
    }
}

/// A record whose partner was deleted and which goes on: it is made again on that side,
/// unless another one with its match key has taken the place there, as when somebody
/// deletes a record and enters it anew. Then the two are one.
pub(super) fn orphan(sync: &BoundSync, case: &mut Case, target: Side) -> Step {
    let source = target.other();
    if case.origin == target {
        // Decided as news of the record that goes on: what may have taken the place
        // could be in the same unit of work as the deletion, and if it is not made, its
        // pair knows the deleted one no more.
        let Some(id) = case.id_on(source).cloned() else { return recreate(sync, case, target) };
        return look_at(quick(case, Effect::Keep(None)), source, id);
    }
    let key = case.seen[source].as_ref().and_then(fields_of).and_then(|fields| sync.mapping.match_key(fields));
    let Some(key) = key else { return recreate(sync, case, target) };
    let Partner::Known { others, siblings: _, searched } = &case.partner else { return Step::Partner(key) };
    let waits = |reason, due| quick(case, Effect::Hold(Hold { reason, due }, None));
    if others.iter().any(|other| other.open_write) {
        return waits(PendingReason::OpenCreate, Due::WithOpenCreate);
    }
    // One that has a partner of its own only happens to be called the same.
    let free = |other: &&Candidate| other.marker.as_ref().is_none_or(|marker| marker.known_half().is_some());
    match others.iter().filter(free).count() {
        0 if !searched => match prove(sync, case, source) {
            find @ Step::Find(..) => find,
            Step::Plan(_) | Step::Read(..) | Step::Partner(_) | Step::Links(_) => match case.stage {
                // It has waited for a run, which has read the other side since the deletion.
                Stage::Create if case.waited && case.unread_for_ms.is_none() => recreate(sync, case, target),
                // The run reads this side again, once it has read the other.
                Stage::Hold => match case.marker.clone() {
                    Some(marker) => quick(case, Effect::Half(Box::new(marker))),
                    None => recreate(sync, case, target),
                },
                Stage::Create | Stage::Again | Stage::Prove => {
                    let (reason, due) = until_shown(case);
                    waits(reason, due)
                }
            },
        },
        0 => recreate(sync, case, target),
        _ => join(sync, case, source),
    }
}

/// The pair is given up, and its record that goes on is paired anew.
fn join(sync: &BoundSync, case: &mut Case, source: Side) -> Step {
    let target = source.other();
    case.seen[target] = None;
    let Some(marker) = &mut case.marker else { return quick(case, Effect::Keep(None)) };
    case.orphan_of = Some(marker.clone());
    marker.state = LinkState::Half;
    marker.sides[target] = SideState::default();
    contact(sync, case, source)
}

/// Nothing to match by: nobody can be its partner.
fn without_key(sync: &BoundSync, case: &mut Case, side: Side) -> Step {
    if case.unkeyed_create_open {
        return hold(sync, case, side, PendingReason::OpenCreate, Due::WithOpenCreate);
    }
    if sync.direction.writes(side.other()) { create(sync, case, side) } else { half(sync, case, side) }
}

/// Until what a record waits whose partner cannot be searched for: until the next read of
/// the other side. Before that, until what earlier ones have brought is looked at: a read
/// for it now would only be followed by another.
fn until_shown(case: &Case) -> (PendingReason, Due) {
    match case.unread_for_ms {
        Some(for_ms) => (PendingReason::PartnerUnread, Due::AfterMs(for_ms)),
        None => (PendingReason::AwaitPartner, Due::AfterRun),
    }
}

/// Nobody has shown that the other side has no partner: search it, or wait for its
/// next read.
fn prove(sync: &BoundSync, case: &Case, side: Side) -> Step {
    let target = side.other();
    let searchable = &sync.capabilities[target].find;
    let await_partner = || {
        let (reason, due) = until_shown(case);
        hold(sync, case, side, reason, due)
    };
    let Some(fields) = case.seen[side].as_ref().and_then(fields_of) else {
        return quick(case, Effect::Keep(None));
    };
    let mut wanted = Vec::new();
    for &index in &sync.mapping.match_fields {
        let path = &sync.mapping.fields[index].paths[target];
        let FieldRead::Value(value) = fields.get(index) else {
            return await_partner();
        };
        match sync.mapping.to_side(target, index, value.as_ref()) {
            Ok(Some(value)) if searchable.contains(path) => wanted.push((path.clone(), value)),
            Ok(_) | Err(_) => return await_partner(),
        }
    }
    Step::Find(target, wanted)
}

fn create(sync: &BoundSync, case: &Case, side: Side) -> Step {
    let mut marker = case.marker.clone().unwrap_or_else(|| Marker::new(sync.mapping.hash));
    marker.state = LinkState::Half;
    compose::create(sync, case, marker, side.other(), compose::Birth::New)
}

/// Keeps a record as a half marker, so that its partner can find it.
fn half(sync: &BoundSync, case: &Case, side: Side) -> Step {
    let marker = half_marker(sync, case, side);
    quick(case, Effect::Half(Box::new(marker)))
}

pub(super) fn half_marker(sync: &BoundSync, case: &Case, side: Side) -> Marker {
    let mut marker = case.marker.clone().unwrap_or_else(|| Marker::new(sync.mapping.hash));
    marker.mapping_hash = sync.mapping.hash;
    account(sync, &mut marker.sides[side], case, side);
    if let Some(fields) = case.seen[side].as_ref().and_then(fields_of) {
        marker.sides[side].base = base_of(sync, fields);
    }
    marker
}

/// The values of a record as a base. One that could not be read is left out: it is not
/// known, which is not the same as absent.
fn base_of(sync: &BoundSync, fields: &Fields) -> Vec<(crate::model::ids::FieldNo, BaseValue)> {
    let values = sync.mapping.fields.iter().zip(fields.iter());
    values
        .filter_map(|(field, read)| match read {
            FieldRead::Value(value) => Some((field.no, BaseValue::of(value.as_ref()))),
            FieldRead::Fault(_) => None,
        })
        .collect()
}

fn hold(sync: &BoundSync, case: &Case, side: Side, reason: PendingReason, due: Due) -> Step {
    let marker = half_marker(sync, case, side);
    quick(case, Effect::Hold(Hold { reason, due }, Some(Box::new(marker))))
}

/// Refuses an unclear match. The first time it is only held, and its rivals are looked
/// at: what makes it unclear may be a deletion or another record of the same page, not
/// yet accounted for.
fn ambiguous(sync: &BoundSync, case: &Case, side: Side, others: &str, rivals: Vec<(Side, RecordId)>) -> Step {
    if case.attempts == 0 {
        let step = hold(sync, case, side, PendingReason::Retry, Due::Now);
        return rivals.into_iter().fold(step, |step, (side, id)| look_at(step, side, id));
    }
    let text =
        case.seen[side].as_ref().and_then(fields_of).map(|fields| sync.mapping.match_text(fields)).unwrap_or_default();
    let fault = Fault {
        kind: QuarantineKind::Ambiguous,
        reason: format!("{side} record {} ({text}) has the same match key as {others}", case.id),
        path: sync.mapping.match_fields.first().map(|&index| sync.mapping.fields[index].paths[side].to_string()),
    };
    held_back(sync, case, fault)
}

fn names<'a>(side: Side, ids: impl Iterator<Item = &'a RecordId>) -> String {
    let ids: Vec<&str> = ids.map(RecordId::as_str).collect();
    format!("{side} record{} {}", if ids.len() == 1 { "" } else { "s" }, ids.join(", "))
}

/// Links the record with the one candidate.
fn pair(sync: &BoundSync, case: &mut Case, side: Side) -> Step {
    let target = side.other();
    let Partner::Known { others, siblings, searched } = std::mem::replace(&mut case.partner, Partner::NotAsked) else {
        return quick(case, Effect::Keep(None));
    };
    let Some(candidate) = others.into_iter().next() else { return quick(case, Effect::Keep(None)) };
    let step = pair_with(sync, case, side, &candidate);
    if matches!(step, Step::Read(..) | Step::Links(_)) {
        // Brought back with what was asked for: the same candidate again.
        case.partner = Partner::Known { others: vec![candidate], siblings, searched };
    } else if let Some(observation) = candidate.observation {
        case.seen[target].get_or_insert(observation);
    }
    step
}

fn pair_with(sync: &BoundSync, case: &Case, side: Side, candidate: &Candidate) -> Step {
    let target = side.other();
    let half = candidate.marker.as_ref().map(|marker| &marker.sides[target]);
    let from_base = !case.force && candidate.marker.is_some() && readable_from_base(sync, half, target);
    if case.seen[target].is_none() && !from_base {
        return Step::Read(target, candidate.id.clone());
    }
    match case.seen[target].as_ref().map(|observation| &observation.entry) {
        Some(Entry::Deleted { .. } | Entry::Bad(_)) => {
            return nudge(hold(sync, case, side, PendingReason::Retry, Due::AfterMs(1_000)), target, candidate);
        }
        Some(Entry::Live(_)) => {
            let key = |side: Side| {
                case.seen[side].as_ref().and_then(fields_of).and_then(|fields| sync.mapping.match_key(fields))
            };
            if key(side) != key(target) {
                return nudge(hold(sync, case, side, PendingReason::Retry, Due::AfterMs(1_000)), target, candidate);
            }
        }
        None => {}
    }
    let own = case.stored().cloned().zip(case.pair);
    let mut joined = candidate.marker.clone().unwrap_or_else(|| Marker::new(sync.mapping.hash));
    joined.sides[target].id = Some(candidate.id.clone());
    joined.sides[side] = SideState::default();
    let (pair, absorbed) = match (candidate.pair, own) {
        (Some(pair), own) => (Some(pair), own.map(|(marker, pair)| (pair, marker))),
        (None, Some((_, pair))) => (Some(pair), None),
        (None, None) => (None, None),
    };
    // The old marker of the pair that goes on: the candidate's, else the record's own.
    let old = if candidate.pair.is_some() { candidate.marker.clone() } else { case.stored().cloned() };
    let step = finish_link(sync, case, joined, pair, old, absorbed, sync.initial);
    // What has taken a place was held back while that was not known to be free.
    if case.orphan_of.is_some() { nudge(step, target, candidate) } else { step }
}

/// The candidate is not what the index says: it is to be looked at for itself.
fn nudge(step: Step, target: Side, candidate: &Candidate) -> Step {
    look_at(step, target, candidate.id.clone())
}

/// Another record is to be looked at too.
fn look_at(mut step: Step, side: Side, id: RecordId) -> Step {
    if let Step::Plan(plan) = &mut step {
        plan.nudged.push((side, id));
    }
    step
}

/// Whether a half's base can stand in for reading it: every value is there whole, and
/// a write on its known version is refused when it has changed since.
fn readable_from_base(sync: &BoundSync, half: Option<&SideState>, side: Side) -> bool {
    let capabilities = &sync.capabilities[side];
    // A half does not tell when its record was modified.
    let by_time = sync.initial == Some(Initial::Newest);
    half.is_some_and(|half| {
        !by_time
            && !capabilities.local
            && capabilities.conditional
            && capabilities.update == UpdateStyle::Fields
            && half.version.is_some()
            && sync.mapping.fields.iter().all(|field| {
                half.base.iter().any(|(no, value)| *no == field.no && !matches!(value, BaseValue::Digest(_)))
            })
    })
}

/// Links a buried pair anew; both records were just read by id.
pub(super) fn link(sync: &BoundSync, case: &Case, initial: Option<Initial>) -> Step {
    let Some(marker) = case.marker.clone() else { return quick(case, Effect::Keep(None)) };
    let pair = case.pair;
    finish_link(sync, case, marker.clone(), pair, Some(marker), None, initial)
}

fn finish_link(
    sync: &BoundSync,
    case: &Case,
    joined: Marker,
    pair: Option<PairNo>,
    old: Option<Marker>,
    absorbed: Option<(PairNo, Marker)>,
    initial: Option<Initial>,
) -> Step {
    let mut step = match compose::compose(sync, case, &joined, NoBase::Decide(initial)) {
        Composed::Read(side) => match joined.sides[side].id.clone() {
            Some(id) => return Step::Read(side, id),
            None => quick(case, Effect::Keep(None)),
        },
        Composed::Links(keys) => return Step::Links(keys),
        Composed::Fault(fault) => held_back(sync, case, fault),
        Composed::Merged(merged) => compose::into_step(sync, case, joined, merged, old.as_ref()),
    };
    match &mut step {
        Step::Plan(plan) if !matches!(plan.effect, Effect::Quarantine(..)) => {
            plan.pair = pair;
            plan.old = old;
            plan.absorbed = absorbed;
            plan.half = if case.marker.is_none() { keep_visible(sync, case) } else { None };
        }
        Step::Plan(_) => {}
        Step::Read(..) | Step::Partner(_) | Step::Links(_) | Step::Find(..) => return step,
    }
    if !matches!(&step, Step::Plan(plan) if matches!(plan.effect, Effect::Quarantine(..))) {
        tally(&mut step, |totals| totals.matched += 1);
    }
    step
}
