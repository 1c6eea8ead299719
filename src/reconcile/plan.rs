//! From a case to a plan: classify each side, decide, merge, and say what to write.
//!
//! Pure: whatever is missing (a read of the other side, the index, a search) is asked
//! for with a [`Step`], and the case is brought back.

use crate::model::hash::{Digest, RawHash};
use crate::model::ids::{FieldNo, PairNo, RecordId, Version};
use crate::model::marker::{BaseValue, LinkState, Marker, Previous, SideState};
use crate::model::record::{DeletionCause, Entry, Record};
use crate::model::side::{PerSide, Side};
use crate::model::value::Value;
use crate::model::work::{PendingReason, QuarantineKind, Totals};
use crate::model::write::{Change, UpdateStyle};
use crate::planted::{self, Bug};
use crate::reconcile::case::{Case, Due, Hold, Observation, Stage, Step};
use crate::reconcile::compose::{self, Composed, Lost};
use crate::reconcile::contact;
use crate::reconcile::decide::{Decision, Link, Seen, decide, live};
use crate::reconcile::mapping::{FieldRead, Fields};
use crate::reconcile::now::Now;
use crate::reconcile::reference::Awaited;
use crate::reconcile::sync::BoundSync;

/// What to do with one record.
#[derive(Debug)]
pub struct Plan {
    /// The side whose news started it.
    pub origin: Side,
    /// The record's id there.
    pub id: RecordId,
    /// Hash of its text as seen.
    pub raw_hash: Option<RawHash>,
    /// Its pair, where it has one already.
    pub pair: Option<PairNo>,
    /// The marker it had.
    pub old: Option<Marker>,
    /// A half marker that is given up because its record joins this pair.
    pub absorbed: Option<(PairNo, Marker)>,
    /// What to do.
    pub effect: Effect,
    /// Values that lose.
    pub lost: Vec<Lost>,
    /// What to count.
    pub tally: Totals,
    /// How often it was tried before.
    pub attempts: u32,
    /// The record as a half marker, to be kept when it had none and is not linked after
    /// all: what was seen must not be taken for absent.
    pub half: Option<Box<Marker>>,
    /// Other records to be looked at too, and before this one is looked at again: those
    /// that may not be what the index says of them, and the partner of one that is not
    /// held back any more.
    pub nudged: Vec<(Side, RecordId)>,
    /// A record of it names others that are not linked yet; it is looked at again when they are.
    pub awaited: Option<Awaited>,
    /// It was read before in the same run, so it is not counted again.
    pub again: bool,
    /// It was held back before.
    pub was_held_back: bool,
    /// It was held back before and no longer is.
    pub released: bool,
}

impl Plan {
    /// A plan that takes nothing from the case but its names.
    #[must_use]
    pub fn bare(case: &Case, effect: Effect) -> Self {
        let raw_hash = match seen_entry(case, case.origin) {
            Some(Entry::Live(record)) => Some(record.body.raw_hash()),
            Some(Entry::Bad(bad)) => Some(bad.raw_hash),
            Some(Entry::Deleted { .. }) | None => None,
        };
        let was_held_back = case.held_back.is_some();
        let goes_on = !matches!(effect, Effect::Quarantine(..) | Effect::Hold(..));
        let released = was_held_back && goes_on;
        Self {
            origin: case.origin,
            id: case.id.clone(),
            raw_hash,
            pair: case.pair,
            old: case.stored().cloned(),
            absorbed: None,
            was_held_back,
            released,
            effect,
            lost: Vec::new(),
            tally: Totals { read: 1, ..Totals::default() },
            attempts: case.attempts,
            half: None,
            awaited: None,
            nudged: if goes_on { maybe_released(case).into_iter().collect() } else { Vec::new() },
            again: case.stage == Stage::Again,
        }
    }
}

/// The effect of a plan.
#[derive(Debug)]
pub enum Effect {
    /// Nothing is written; the books are kept where a marker is given.
    Keep(Option<Box<Marker>>),
    /// A new half marker was taken and its creation is awaited by the run.
    Half(Box<Marker>),
    /// Fields are written on one or both sides.
    Update(Box<Updates>),
    /// A record is created.
    Create(Box<Creation>),
    /// A record is deleted.
    Delete(Box<Deletion>),
    /// The marker is given up.
    Forget,
    /// It is looked at again later. The marker, when given, is kept meanwhile.
    Hold(Hold, Option<Box<Marker>>),
    /// It is held back. A half marker, when given, keeps it visible to its partner:
    /// what is held back must not be taken for absent.
    Quarantine(Fault, Option<Box<Marker>>),
    /// It is outside the filter. A linked pair's marker says so.
    OutOfScope(Option<Box<Marker>>),
}

/// Fields to write.
#[derive(Debug)]
pub struct Updates {
    /// The marker to keep once both are written; its bases hold what is expected to
    /// be stored.
    pub marker: Marker,
    /// What to write on each side.
    pub writes: PerSide<Option<SideUpdate>>,
}

/// Fields to write on one side.
#[derive(Debug, Clone)]
pub struct SideUpdate {
    /// The record.
    pub id: RecordId,
    /// The revision this was decided on.
    pub expected: Option<Version>,
    /// The whole record, where the side replaces whole records.
    pub current: Option<crate::model::record::Body>,
    /// What changes.
    pub changes: Vec<Change>,
    /// Which fields these are, by index.
    pub fields: Vec<usize>,
    /// Their values in the app's form; only where somebody is to be asked about them.
    pub values: Vec<(usize, Option<Value>)>,
    /// Digest of all mapped fields before this write.
    pub before: Previous,
}

/// A record to create.
#[derive(Debug)]
pub struct Creation {
    /// On this side.
    pub target: Side,
    /// All its mapped fields.
    pub record: Value,
    /// Their values in the app's form; only where somebody is to be asked about them.
    pub values: Vec<(usize, Option<Value>)>,
    /// Half marker of the source, to be kept with the intent.
    pub marker: Marker,
    /// The bases once it is created.
    pub bases: PerSide<Vec<(FieldNo, BaseValue)>>,
    /// The source's match key.
    pub match_key: Option<Digest>,
    /// The source holds values of fields which the target owns; they are put back.
    pub disputed: bool,
}

/// A record to delete.
#[derive(Debug)]
pub struct Deletion {
    /// On this side.
    pub target: Side,
    /// The record.
    pub id: RecordId,
    /// The revision this was decided on.
    pub expected: Option<Version>,
    /// The tomb to keep once it is deleted.
    pub tomb: Marker,
    /// The marker until then.
    pub marker: Marker,
}

/// Why a record is held back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The class.
    pub kind: QuarantineKind,
    /// For a person.
    pub reason: String,
    /// The field or place.
    pub path: Option<String>,
}

/// The other record of a pair, where what it was held back for may be gone: it was held
/// back for what stood in this one, or was read and decided about with it. Its own text
/// need not change again.
fn maybe_released(case: &Case) -> Option<(Side, RecordId)> {
    let other = case.origin.other();
    let is_linked = case.marker.as_ref().is_some_and(|marker| matches!(marker.state, LinkState::Linked));
    let is_read = case.seen[other].is_some();
    let looks = if is_read { case.partner_held_back } else { case.held_back.is_some() };
    let id = case.id_on(other).filter(|_| is_linked && looks)?;
    Some((other, id.clone()))
}

/// Takes a case one step on.
#[must_use]
pub fn plan(sync: &BoundSync, case: &mut Case, now: Now) -> Step {
    if case.parked {
        return left_held_back(case);
    }
    if case.open_write && !planted::is(Bug::OpenWriteIgnored) {
        return quick(case, Effect::Hold(Hold { reason: PendingReason::OpenCreate, due: Due::WithOpenCreate }, None));
    }
    if let Some(step) = skip_unchanged(sync, case) {
        return step;
    }
    if let Some(fault) = read_fields(sync, case) {
        return held_back(sync, case, fault);
    }
    if let Some(step) = suspicious(sync, case, now) {
        return step;
    }
    let seen = PerSide::from_fn(|side| classify(sync, case, side));
    if let Some(step) = scope(sync, case) {
        return step;
    }
    let link = link(case.marker.as_ref());
    let decision = decide(link, seen.app, seen.remote, sync.direction, trusted(sync, case, seen));
    carry_out(sync, case, seen, decision, now.ms)
}

fn carry_out(sync: &BoundSync, case: &mut Case, seen: PerSide<Seen>, decision: Decision, now_ms: i64) -> Step {
    match decision {
        Decision::Nothing => match unread_partner(case, seen) {
            Some(other) => read_first(case, other),
            None => nothing(sync, case, seen),
        },
        Decision::ReadFirst(side) => read_first(case, side),
        // Once a candidate was read both sides are there: it is still the origin's record
        // that looks for a partner, and the index was asked for it.
        Decision::Contact(side) => {
            contact::contact(sync, case, if live(seen[case.origin]) { case.origin } else { side })
        }
        Decision::Merge => merge_linked(sync, case, seen),
        Decision::Delete(target) => delete(sync, case, target, now_ms),
        Decision::Recreate(target) => match need_read(case, target.other()) {
            Some(step) => step,
            None => contact::orphan(sync, case, target),
        },
        Decision::Bury { side, both } => {
            let tomb = case.marker.as_ref().map(|marker| Box::new(bury(marker, side, both, cause(case, side), now_ms)));
            quick(case, Effect::Keep(tomb))
        }
        Decision::Relink => match Side::BOTH.into_iter().find_map(|side| need_read(case, side)) {
            Some(step) => step,
            None => contact::link(sync, case, sync.initial),
        },
        Decision::Forget => quick(case, Effect::Forget),
    }
}

/// The side of a linked pair that nobody has looked at though something about the pair
/// has changed: perhaps its record is gone.
fn unread_partner(case: &Case, seen: PerSide<Seen>) -> Option<Side> {
    let other = case.origin.other();
    let is_linked = case.marker.as_ref().is_some_and(|marker| matches!(marker.state, LinkState::Linked));
    (case.both && is_linked && seen[other] == Seen::NotRead).then_some(other)
}

/// Asks for a read by id, when the side has not been read that way.
pub(super) fn need_read(case: &Case, side: Side) -> Option<Step> {
    match &case.seen[side] {
        Some(observation) if observation.by_id || side == case.origin && !is_tomb(case) => None,
        Some(_) | None => Some(read_first(case, side)),
    }
}

fn is_tomb(case: &Case) -> bool {
    case.marker.as_ref().is_some_and(|marker| matches!(marker.state, LinkState::Tomb { .. }))
}

fn read_first(case: &Case, side: Side) -> Step {
    match case.id_on(side) {
        Some(id) => Step::Read(side, id.clone()),
        // Only linked or buried pairs ask for this, and both ids of such a pair are known.
        None => quick(case, Effect::Hold(Hold { reason: PendingReason::Retry, due: Due::AfterMs(1_000) }, None)),
    }
}

fn link(marker: Option<&Marker>) -> Link {
    match marker {
        None => Link::Unknown,
        Some(marker) => match &marker.state {
            LinkState::Half => Link::Half,
            LinkState::Linked => Link::Linked,
            LinkState::Tomb { side, both, .. } => Link::Tomb { side: *side, both: *both },
        },
    }
}

/// A record whose text is the one accounted for needs no look, unless something about
/// its pair is open.
fn skip_unchanged(sync: &BoundSync, case: &mut Case) -> Option<Step> {
    let again = (case.force || case.waited || case.attempts > 0) && !planted::is(Bug::SkippedAlthoughPending);
    if again || case.seen[case.origin.other()].is_some() {
        return None;
    }
    let Some(Observation { entry: Entry::Live(record), .. }) = &case.seen[case.origin] else { return None };
    let hash = record.body.raw_hash();
    if accounted_for(sync, case, hash) {
        // If it was held back, its pair was put right from the other side.
        let mut step = quick(case, Effect::Keep(None));
        tally(&mut step, |totals| totals.unchanged += 1);
        return Some(step);
    }
    let (held, kind) = case.held_back?;
    if held != Some(hash)
        || matches!(kind, QuarantineKind::Ambiguous | QuarantineKind::Undecided | QuarantineKind::DeadLetter)
    {
        return None;
    }
    Some(left_held_back(case))
}

/// Nothing is done about a record that stays held back.
fn left_held_back(case: &Case) -> Step {
    let mut step = quick(case, Effect::Keep(None));
    if let Step::Plan(plan) = &mut step {
        plan.released = planted::is(Bug::ReleasedUnchanged);
        plan.nudged.clear();
    }
    step
}

fn accounted_for(sync: &BoundSync, case: &Case, hash: RawHash) -> bool {
    case.marker.as_ref().is_some_and(|marker| {
        matches!(marker.state, LinkState::Linked)
            && marker.out_of_scope.is_none()
            && (marker.mapping_hash == sync.mapping.hash || planted::is(Bug::MappingHashIgnored))
            && marker.sides[case.origin].raw_hash == Some(hash)
    })
}

/// Reads the mapped fields of every observation that has none yet.
fn read_fields(sync: &BoundSync, case: &mut Case) -> Option<Fault> {
    for side in Side::BOTH {
        let Some(observation) = &mut case.seen[side] else { continue };
        match &observation.entry {
            Entry::Live(record) => {
                let fields = observation.fields.get_or_insert_with(|| sync.mapping.read(side, &record.body));
                if let Err(fault) = fields {
                    let fault = fault.clone();
                    return Some(Fault {
                        kind: QuarantineKind::Unreadable,
                        reason: format!("{side} record {}: {}", record.id, fault.reason),
                        path: Some(fault.place),
                    });
                }
            }
            Entry::Bad(bad) => {
                return Some(Fault {
                    kind: QuarantineKind::Unreadable,
                    reason: format!("{side} record: {}", bad.reason),
                    path: Some(bad.place.clone()),
                });
            }
            Entry::Deleted { .. } => {}
        }
    }
    None
}

/// Holds back from believing what may be stale: a buried record in a list, and a
/// record that looks exactly as it did before our own last write.
fn suspicious(sync: &BoundSync, case: &Case, now: Now) -> Option<Step> {
    let marker = case.marker.as_ref()?;
    for side in Side::BOTH {
        let Some(observation) = &case.seen[side] else { continue };
        let record = match &observation.entry {
            Entry::Live(record) => record,
            Entry::Deleted { .. } => {
                // A replica that has not heard of our create yet says the same, and one
                // made again under its old id looks as deleted as it was.
                match lag_left_ms(sync, marker, side, now) {
                    Some(_) if planted::is(Bug::NotYetVisibleIsDeleted) => continue,
                    Some(left_ms) => {
                        let hold = Hold { reason: PendingReason::StaleRead, due: Due::AfterMs(left_ms) };
                        return Some(quick(case, Effect::Hold(hold, None)));
                    }
                    None => continue,
                }
            }
            Entry::Bad(_) => continue,
        };
        if is_buried(marker, side) && !observation.by_id && !planted::is(Bug::BuriedBelievedFromList) {
            return Some(Step::Read(side, record.id.clone()));
        }
        if let Some(due) = looks_like_before(sync, marker, side, observation, record, now) {
            return Some(quick(case, Effect::Hold(Hold { reason: PendingReason::StaleRead, due }, None)));
        }
    }
    None
}

fn is_buried(marker: &Marker, side: Side) -> bool {
    match &marker.state {
        LinkState::Tomb { side: gone, both, .. } => *both || *gone == side,
        LinkState::Half | LinkState::Linked => false,
    }
}

/// How long a side's reads may still show the state before our last write, in
/// milliseconds; `None` once that must have passed.
fn lag_left_ms(sync: &BoundSync, marker: &Marker, side: Side, now: Now) -> Option<u64> {
    let passed_ms = now.since(marker.sides[side].written_at_ms?);
    sync.capabilities[side].read_after_write_lag_ms.checked_sub(passed_ms).filter(|left_ms| *left_ms > 0)
}

fn looks_like_before(
    sync: &BoundSync,
    marker: &Marker,
    side: Side,
    observation: &Observation,
    record: &Record,
    now: Now,
) -> Option<Due> {
    let state = &marker.sides[side];
    let left_ms = lag_left_ms(sync, marker, side, now)?;
    if record.version.is_some() && record.version == state.version || planted::is(Bug::StaleReadApplied) {
        return None;
    }
    if state.previous.is_empty() {
        return None;
    }
    let digest = fields_of(observation)?.digest();
    let is_before = |previous: &Previous| {
        previous.digest == digest || previous.version.is_some() && previous.version == record.version
    };
    state.previous.iter().any(is_before).then_some(Due::AfterMs(left_ms))
}

pub(super) fn fields_of(observation: &Observation) -> Option<&Fields> {
    observation.fields.as_ref()?.as_ref().ok()
}

fn classify(sync: &BoundSync, case: &Case, side: Side) -> Seen {
    let Some(observation) = &case.seen[side] else { return Seen::NotRead };
    match &observation.entry {
        Entry::Deleted { .. } => Seen::Absent,
        Entry::Bad(_) => Seen::NotRead,
        Entry::Live(_) => match (fields_of(observation), &case.marker) {
            (Some(fields), Some(marker)) if as_base(sync, marker, side, fields) => Seen::Same,
            (_, _) => Seen::Changed,
        },
    }
}

fn as_base(sync: &BoundSync, marker: &Marker, side: Side, fields: &Fields) -> bool {
    sync.mapping.fields.iter().zip(fields.iter()).all(|(field, read)| match (marker.base(side, field.no), read) {
        (Some(base), FieldRead::Value(value)) => base.same(value.as_ref()),
        (None, _) | (_, FieldRead::Fault(_)) => false,
    })
}

/// Records outside the filter are left alone. A pair that left it stays out until both
/// sides are seen to be inside.
fn scope(sync: &BoundSync, case: &mut Case) -> Option<Step> {
    let outside = Side::BOTH.into_iter().find(|&side| {
        let counts = sync.direction.target() != Some(side);
        counts && case.seen[side].as_ref().and_then(fields_of).is_some_and(|fields| !sync.mapping.in_scope(fields))
    });
    let was_outside = case.marker.as_ref().and_then(|marker| marker.out_of_scope);
    let linked = case.marker.as_ref().is_some_and(|marker| matches!(marker.state, LinkState::Linked));
    match (outside, was_outside) {
        (None, None) => None,
        (Some(side), _) => {
            let marker = case.marker.clone().filter(|_| linked).map(|mut marker| {
                marker.out_of_scope = Some(side);
                Box::new(marker)
            });
            let mut step = quick(case, Effect::OutOfScope(marker));
            tally(&mut step, |totals| totals.filtered += 1);
            Some(step)
        }
        (None, Some(side)) => {
            let gone = |side| matches!(seen_entry(case, side), Some(Entry::Deleted { .. }));
            if Side::BOTH.into_iter().any(gone) && !planted::is(Bug::OutOfScopeDeleted) {
                // Deleted while outside the filter: not ours to carry over.
                return Some(quick(case, Effect::Keep(None)));
            }
            let source = sync.direction.target().map_or(side, Side::other);
            let missing = [source, side].into_iter().find(|&side| case.seen[side].is_none());
            if let Some(side) = missing.filter(|&side| sync.direction.target() != Some(side)) {
                return Some(read_first(case, side));
            }
            if let Some(marker) = &mut case.marker {
                marker.out_of_scope = None;
            }
            None
        }
    }
}

fn seen_entry(case: &Case, side: Side) -> Option<&Entry> {
    case.seen[side].as_ref().map(|observation| &observation.entry)
}

/// Whether the side nobody read may be taken to be as its base says, because a write
/// to it is refused when it is not.
fn trusted(sync: &BoundSync, case: &Case, seen: PerSide<Seen>) -> bool {
    let Some(unread) = Side::BOTH.into_iter().find(|&side| seen[side] == Seen::NotRead) else { return false };
    let Some(marker) = &case.marker else { return false };
    let capabilities = &sync.capabilities[unread];
    !case.force
        && !case.partner_held_back
        && !capabilities.local
        && (capabilities.conditional || planted::is(Bug::TrustedUnguarded))
        && capabilities.update == UpdateStyle::Fields
        && marker.sides[unread].version.is_some()
        && sync.mapping.fields.iter().all(|field| marker.base(unread, field.no).is_some())
}

/// Nothing to write. The marker is refreshed where its book-keeping moved.
fn nothing(sync: &BoundSync, case: &Case, seen: PerSide<Seen>) -> Step {
    let echo = seen[case.origin] == Seen::Same;
    let refreshed = case.marker.as_ref().and_then(|old| {
        let mut marker = old.clone();
        for side in Side::BOTH {
            // A buried record that a stale read still shows is not there, and has no match key.
            if seen[side] == Seen::Same && !is_buried(old, side) {
                account(sync, &mut marker.sides[side], case, side);
            }
        }
        (marker != *old).then(|| Box::new(marker))
    });
    let mut step = quick(case, Effect::Keep(refreshed));
    if echo {
        tally(&mut step, |totals| totals.unchanged += 1);
    }
    step
}

/// Takes over what a read says about a side besides its fields.
pub(super) fn account(sync: &BoundSync, state: &mut SideState, case: &Case, side: Side) {
    let Some(Observation { entry: Entry::Live(record), fields, .. }) = &case.seen[side] else { return };
    state.id = Some(record.id.clone());
    state.version.clone_from(&record.version);
    state.raw_hash = Some(record.body.raw_hash());
    if let Some(Ok(fields)) = fields {
        state.match_key = sync.mapping.match_key(fields);
    }
}

fn merge_linked(sync: &BoundSync, case: &mut Case, seen: PerSide<Seen>) -> Step {
    let Some(marker) = case.marker.clone() else { return quick(case, Effect::Keep(None)) };
    let same_mapping = marker.mapping_hash == sync.mapping.hash || planted::is(Bug::MappingHashIgnored);
    if !same_mapping && let Some(side) = Side::BOTH.into_iter().find(|&side| seen[side] == Seen::NotRead) {
        return read_first(case, side);
    }
    match compose::compose(sync, case, &marker, compose::NoBase::Leave) {
        Composed::Read(side) => read_first(case, side),
        Composed::Links(keys) => Step::Links(keys),
        Composed::Fault(fault) => held_back(sync, case, fault),
        Composed::Merged(merged) => compose::into_step(sync, case, marker.clone(), merged, Some(&marker)),
    }
}

fn delete(sync: &BoundSync, case: &mut Case, target: Side, now_ms: i64) -> Step {
    let Some(marker) = case.marker.clone() else { return quick(case, Effect::Keep(None)) };
    let Some(id) = marker.sides[target].id.clone() else { return quick(case, Effect::Forget) };
    let gone = target.other();
    let tomb = bury(&marker, gone, true, cause(case, gone), now_ms);
    // In a one-way sync the target's edits do not count, so its revision does not either.
    let two_way = sync.direction.target().is_none();
    let version = match seen_entry(case, target) {
        Some(Entry::Live(record)) => record.version.clone(),
        Some(Entry::Deleted { .. } | Entry::Bad(_)) | None => marker.sides[target].version.clone(),
    };
    let expected = version.filter(|_| two_way && sync.guarded(target) && !planted::is(Bug::DeleteUnconditional));
    quick(case, Effect::Delete(Box::new(Deletion { target, id, expected, tomb, marker })))
}

/// The marker of a pair one side of which is gone.
#[must_use]
pub fn bury(marker: &Marker, side: Side, both: bool, cause: DeletionCause, now_ms: i64) -> Marker {
    let mut tomb = marker.clone();
    tomb.state = LinkState::Tomb { side, both, at_ms: now_ms, cause };
    for buried in Side::BOTH {
        if both || buried == side {
            tomb.sides[buried].match_key = None;
            tomb.sides[buried].raw_hash = None;
        }
    }
    tomb
}

fn cause(case: &Case, side: Side) -> DeletionCause {
    match seen_entry(case, side) {
        Some(Entry::Deleted { cause, .. }) => *cause,
        Some(Entry::Live(_) | Entry::Bad(_)) | None => DeletionCause::NotFound,
    }
}

/// Makes the record again on a side where it was deleted before the other was edited.
/// Until that is promised the case keeps its marker: if it cannot be made, the pair is
/// what it was.
pub(super) fn recreate(sync: &BoundSync, case: &Case, target: Side) -> Step {
    let Some(old) = &case.marker else { return quick(case, Effect::Keep(None)) };
    let mut marker = old.clone();
    marker.state = LinkState::Half;
    marker.sides[target] = SideState::default();
    compose::create(sync, case, marker, target, compose::Birth::Restored(old))
}

/// Holds a record back.
pub(super) fn held_back(sync: &BoundSync, case: &Case, fault: Fault) -> Step {
    quick(case, Effect::Quarantine(fault, keep_visible(sync, case)))
}

/// The half marker of a live record that is not linked, so that its partner finds it
/// even while it is put off or held back. `None` where a marker needs no change.
#[must_use]
pub fn keep_visible(sync: &BoundSync, case: &Case) -> Option<Box<Marker>> {
    let linked = case.marker.as_ref().is_some_and(|marker| !matches!(marker.state, LinkState::Half));
    let readable = case.seen[case.origin].as_ref().and_then(fields_of).is_some();
    (!linked && readable && !planted::is(Bug::HalfNotKept))
        .then(|| Box::new(contact::half_marker(sync, case, case.origin)))
}

/// A plan that takes nothing from the case but its names.
pub(super) fn quick(case: &Case, effect: Effect) -> Step {
    Step::Plan(Box::new(Plan::bare(case, effect)))
}

pub(super) fn tally(step: &mut Step, count: impl FnOnce(&mut Totals)) {
    if let Step::Plan(plan) = step {
        count(&mut plan.tally);
    }
}
