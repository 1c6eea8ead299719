//! From outcomes to what is kept: the bases move only for what was really stored.

use crate::model::ids::{FieldNo, RecordId};
use crate::model::marker::{BaseValue, LinkState, MOST_PREVIOUS, Marker};
use crate::model::side::{PerSide, Side};
use crate::model::work::{PendingReason, QuarantineKind, Totals};
use crate::model::write::{ConnectorError, CreateRecovery, NextStep, Outcome, Stored};
use crate::planted::{self, Bug};
use crate::reconcile::mapping::{FieldRead, Fields};
use crate::reconcile::plan::{Creation, Deletion, Fault, SideUpdate, Updates};
use crate::reconcile::sync::BoundSync;

/// What is kept after a record's writes.
#[derive(Debug, Default)]
pub struct Finished {
    /// The marker to keep; `None` leaves the old one as it is.
    pub marker: Option<Marker>,
    /// Records to look at again.
    pub again: Vec<Again>,
    /// Why the record is held back, if it is.
    pub fault: Option<Fault>,
    /// What becomes of its intent.
    pub intent: IntentFate,
    /// What to count.
    pub tally: Totals,
    /// A failure that concerns the whole connection.
    pub trouble: Option<ConnectorError>,
}

/// A record to look at again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Again {
    /// On this side.
    pub side: Side,
    /// This record.
    pub id: RecordId,
    /// Why.
    pub reason: PendingReason,
    /// It counts as one more failed attempt.
    pub failed: bool,
}

/// What becomes of an intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IntentFate {
    /// There is none, or it is done with.
    #[default]
    Close,
    /// Its outcome is unknown; it is kept for recovery.
    Unknown,
}

/// Folds the outcomes of an update. `origin` is the record whose news started it.
#[must_use]
pub fn updated(
    sync: &BoundSync,
    origin: (Side, &RecordId),
    old: Option<&Marker>,
    updates: &Updates,
    outcomes: PerSide<Option<Outcome>>,
    now_ms: i64,
) -> Finished {
    let mut finished = Finished::default();
    let mut marker = updates.marker.clone();
    let mut bases = both_bases(sync, &updates.marker);
    let mut failed = PerSide { app: false, remote: false };
    for side in Side::BOTH {
        let (Some(update), Some(outcome)) = (&updates.writes[side], &outcomes[side]) else { continue };
        match outcome {
            Outcome::Written(stored) => {
                finished.tally.updated[side] += 1;
                let disturbed = settle(sync, &mut marker, &mut bases, side, update, stored, now_ms);
                if disturbed {
                    finished.again.push(again(side, &stored.id, PendingReason::Changed, false));
                }
            }
            Outcome::Changed | Outcome::Missing | Outcome::Deleted => {
                failed[side] = true;
                finished.again.push(again(side, &update.id, PendingReason::Changed, true));
                // What changed there may concern no mapped field; then only the other
                // side's record still shows that there is something to carry over.
                if let Some(id) = &updates.marker.sides[side.other()].id {
                    finished.again.push(again(side.other(), id, PendingReason::Changed, true));
                }
            }
            Outcome::Rejected { reason, path } => {
                failed[side] = true;
                finished.fault = Some(rejected(side, reason, path.as_deref()));
            }
            Outcome::Duplicate(_) => {
                failed[side] = true;
                finished.fault = Some(rejected(side, "its new values belong to another record there", None));
            }
            Outcome::NotSent(error) => {
                failed[side] = true;
                finished.again.push(again(origin.0, origin.1, PendingReason::Retry, true));
                finished.trouble = Some(error.clone());
            }
            Outcome::Unknown(reason) => {
                failed[side] = true;
                note_before(sync, &mut marker, side, update, now_ms);
                // It may have been carried out: also where its cause is taken back
                // meanwhile, so that nothing is left to write, that side is looked at.
                finished.again.push(again(origin.0, origin.1, PendingReason::Changed, true));
                finished.trouble = Some(ConnectorError::new(NextStep::Retry, reason.clone()));
            }
        }
    }
    if !failed.app && !failed.remote {
        marker.set_bases(bases);
        finished.marker = Some(marker);
        return finished;
    }
    finished.marker = old
        .filter(|old| matches!(old.state, LinkState::Linked))
        .map(|old| partly(sync, old, marker, bases, updates, failed));
    finished
}

/// The marker of a linked pair one of whose writes failed: the fields that were to be
/// written there keep their old bases, so that they are decided again.
fn partly(
    sync: &BoundSync,
    old: &Marker,
    mut marker: Marker,
    mut bases: PerSide<Vec<(FieldNo, BaseValue)>>,
    updates: &Updates,
    failed: PerSide<bool>,
) -> Marker {
    for side in Side::BOTH {
        let Some(update) = updates.writes[side].as_ref().filter(|_| failed[side]) else { continue };
        for &index in &update.fields {
            let no = sync.mapping.fields[index].no;
            for base_side in Side::BOTH {
                bases[base_side].retain(|(other, _)| *other != no);
                if let Some(base) = old.base(base_side, no) {
                    bases[base_side].push((no, base.clone()));
                }
            }
        }
    }
    marker.set_bases(bases);
    for side in Side::BOTH {
        // What stands there is not what the bases say: neither its text nor its version
        // may be taken for accounted for.
        if !planted::is(Bug::SkippedAlthoughPending) {
            marker.sides[side].raw_hash = None;
        }
        if !planted::is(Bug::VersionKeptAfterFailure) {
            marker.sides[side].version = None;
        }
    }
    marker
}

/// All bases of a pair.
pub(super) fn both_bases(sync: &BoundSync, marker: &Marker) -> PerSide<Vec<(FieldNo, BaseValue)>> {
    PerSide::from_fn(|side| {
        let fields = sync.mapping.fields.iter();
        fields.filter_map(|field| marker.base(side, field.no).map(|base| (field.no, base.clone()))).collect()
    })
}

/// Takes over what a side stored. Fields we wrote take the stored value as base. A
/// field we did not write and that came back different was edited by somebody between
/// our read and our write: its base stays, and the record is looked at again.
fn settle(
    sync: &BoundSync,
    marker: &mut Marker,
    bases: &mut PerSide<Vec<(FieldNo, BaseValue)>>,
    side: Side,
    update: &SideUpdate,
    stored: &Stored,
    now_ms: i64,
) -> bool {
    let mut disturbed = false;
    let fields = stored.body.as_ref().and_then(|body| sync.mapping.read(side, body).ok());
    if let Some(fields) = &fields {
        for (index, field) in sync.mapping.fields.iter().enumerate() {
            let FieldRead::Value(value) = fields.get(index) else { continue };
            let written = update.fields.contains(&index) || planted::is(Bug::AnswerTakenForBase);
            if let Some((_, base)) = bases[side].iter_mut().find(|(no, _)| *no == field.no) {
                if written && planted::is(Bug::SentTakenForStored) {
                    continue;
                }
                if written {
                    *base = BaseValue::of(value.as_ref());
                } else {
                    disturbed |= !base.same(value.as_ref());
                }
            }
        }
    }
    note_before(sync, marker, side, update, now_ms);
    book(sync, marker, side, stored, fields.as_ref(), now_ms);
    if disturbed {
        marker.sides[side].raw_hash = None;
    }
    disturbed
}

/// What a replica may still show for a while after a write, also after one that was
/// perhaps carried out.
fn note_before(sync: &BoundSync, marker: &mut Marker, side: Side, update: &SideUpdate, now_ms: i64) {
    let state = &mut marker.sides[side];
    let lag_ms = sync.capabilities[side].read_after_write_lag_ms;
    let all_show_the_last = state.written_at_ms.is_none_or(|at_ms| now_ms.saturating_sub_unsigned(lag_ms) > at_ms);
    if all_show_the_last || planted::is(Bug::OneStateBefore) {
        state.previous.clear();
    }
    state.previous.insert(0, update.before.clone());
    state.previous.truncate(MOST_PREVIOUS);
    state.written_at_ms = Some(now_ms);
}

fn book(sync: &BoundSync, marker: &mut Marker, side: Side, stored: &Stored, fields: Option<&Fields>, now_ms: i64) {
    let state = &mut marker.sides[side];
    state.id = Some(stored.id.clone());
    state.version.clone_from(&stored.version);
    state.raw_hash = stored.body.as_ref().map(crate::model::record::Body::raw_hash);
    state.written_at_ms = Some(now_ms);
    if let Some(fields) = fields {
        state.match_key = sync.mapping.match_key(fields);
    }
}

/// Folds the outcome of a create.
#[must_use]
pub fn created(
    sync: &BoundSync,
    origin: (Side, &RecordId),
    creation: &Creation,
    outcome: &Outcome,
    now_ms: i64,
) -> Finished {
    let mut finished = Finished::default();
    let target = creation.target;
    match outcome {
        Outcome::Written(stored) => {
            finished.tally.created[target] += 1;
            let (mut marker, filled) = linked(sync, creation, stored, now_ms);
            if filled {
                marker.sides[target].version = None;
                marker.sides[target].raw_hash = None;
                finished.again.push(again(target, &stored.id, PendingReason::Changed, false));
            }
            if creation.disputed {
                // Not the origin: its news may have been the deletion on the target.
                let source = &mut marker.sides[target.other()];
                source.version = None;
                source.raw_hash = None;
                let id = source.id.as_ref().unwrap_or(origin.1);
                finished.again.push(again(target.other(), id, PendingReason::Changed, false));
            }
            finished.marker = Some(marker);
        }
        Outcome::Duplicate(existing) => {
            finished.again.push(again(origin.0, origin.1, PendingReason::Retry, true));
            match sync.capabilities[target].create {
                // An earlier attempt may have made it after all: it carries our id.
                CreateRecovery::ClientId | CreateRecovery::ExternalId => finished.intent = IntentFate::Unknown,
                CreateRecovery::IdempotencyKey { .. } | CreateRecovery::Find { .. } | CreateRecovery::Park => {}
            }
            if let Some(existing) = existing {
                finished.again.push(again(target, existing, PendingReason::Retry, false));
            }
        }
        Outcome::Changed => finished.again.push(again(origin.0, origin.1, PendingReason::Retry, true)),
        Outcome::Rejected { reason, path } => finished.fault = Some(rejected(target, reason, path.as_deref())),
        Outcome::NotSent(error) => {
            finished.again.push(again(origin.0, origin.1, PendingReason::Retry, true));
            finished.trouble = Some(error.clone());
        }
        Outcome::Missing | Outcome::Deleted => {
            let error = "creating a record was answered as if the place to create it in did not exist";
            finished.again.push(again(origin.0, origin.1, PendingReason::Retry, true));
            finished.trouble = Some(ConnectorError::new(NextStep::Fail, error));
        }
        Outcome::Unknown(reason) => {
            finished.intent = if planted::is(Bug::UnknownClosed) { IntentFate::Close } else { IntentFate::Unknown };
            finished.trouble = Some(ConnectorError::new(NextStep::Retry, reason.clone()));
        }
    }
    finished
}

/// The marker of a pair just made, and whether the new record holds values of its side's
/// own that the source does not know yet. These are no part of what was agreed.
fn linked(sync: &BoundSync, creation: &Creation, stored: &Stored, now_ms: i64) -> (Marker, bool) {
    let target = creation.target;
    let mut marker = creation.marker.clone();
    let mut bases = creation.bases.clone();
    let mut filled = false;
    let fields = stored.body.as_ref().and_then(|body| sync.mapping.read(target, body).ok());
    if let Some(fields) = &fields {
        for (index, field) in sync.mapping.fields.iter().enumerate() {
            let (FieldRead::Value(value), Some((_, base))) =
                (fields.get(index), bases[target].iter_mut().find(|(no, _)| *no == field.no))
            else {
                continue;
            };
            let left_to_target = !sync.mapping.can_write(index, target) && !field.stands_in(target, &creation.record);
            if left_to_target {
                filled |= !base.same(value.as_ref());
            } else if !planted::is(Bug::SentTakenForStored) {
                *base = BaseValue::of(value.as_ref());
            }
        }
    }
    marker.state = LinkState::Linked;
    marker.set_bases(bases);
    book(sync, &mut marker, target, stored, fields.as_ref(), now_ms);
    if fields.is_none() {
        marker.sides[target].match_key = creation.match_key;
    }
    (marker, filled)
}

/// Folds the outcome of a delete.
#[must_use]
pub fn deleted(origin: (Side, &RecordId), deletion: &Deletion, outcome: &Outcome) -> Finished {
    let mut finished = Finished::default();
    match outcome {
        Outcome::Deleted | Outcome::Missing => {
            finished.tally.deleted[deletion.target] += u64::from(matches!(outcome, Outcome::Deleted));
            finished.marker = Some(deletion.tomb.clone());
        }
        Outcome::Changed | Outcome::Written(_) | Outcome::Duplicate(_) => {
            // From the record that was deleted: an edit of something that is not mapped
            // does not show on the one that is left.
            let gone = deletion.target.other();
            let id = deletion.tomb.sides[gone].id.as_ref();
            finished.again.push(again(deletion.target, &deletion.id, PendingReason::Changed, true));
            finished.again.extend(id.map(|id| again(gone, id, PendingReason::Changed, true)));
        }
        Outcome::Rejected { reason, path } => finished.fault = Some(rejected(deletion.target, reason, path.as_deref())),
        Outcome::NotSent(error) => {
            finished.again.push(again(origin.0, origin.1, PendingReason::Retry, true));
            finished.trouble = Some(error.clone());
        }
        Outcome::Unknown(reason) => {
            finished.intent = if planted::is(Bug::UnknownClosed) { IntentFate::Close } else { IntentFate::Unknown };
            finished.trouble = Some(ConnectorError::new(NextStep::Retry, reason.clone()));
        }
    }
    finished
}

fn again(side: Side, id: &RecordId, reason: PendingReason, failed: bool) -> Again {
    Again { side, id: id.clone(), reason, failed }
}

fn rejected(side: Side, reason: &str, path: Option<&str>) -> Fault {
    Fault {
        kind: QuarantineKind::Rejected,
        reason: format!("the {side} side refused it: {reason}"),
        path: path.map(str::to_owned),
    }
}
