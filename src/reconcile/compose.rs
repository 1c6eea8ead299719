//! Turns field verdicts into writes and the bases they will leave behind.

use crate::model::ids::FieldNo;
use crate::model::marker::{BaseValue, LinkState, Marker, Previous};
use crate::model::record::{Body, Entry, Record};
use crate::model::side::{PerSide, Side};
use crate::model::value::Value;
use crate::model::work::{PendingReason, QuarantineKind};
use crate::model::write::UpdateStyle;
use crate::planted::{self, Bug};
use crate::reconcile::case::{Case, Due, Hold, Step};
use crate::reconcile::mapping::{Field, FieldFault, FieldRead, Fields};
use crate::reconcile::merge::{Cause, Held, Initial, Rule, Verdict, Winner, merge};
use crate::reconcile::place::Put;
use crate::reconcile::plan::{
    Creation, Effect, Fault, SideUpdate, Updates, account, fields_of, held_back, keep_visible, quick, tally,
};
use crate::reconcile::reference::{self, Awaited, IdSpelling, LinkKey, Links, NotCarried, Referred};
use crate::reconcile::spec::{ConflictPolicy, Owner};
use crate::reconcile::sync::BoundSync;

/// A value that loses, to be kept in the history.
#[derive(Debug, Clone, PartialEq)]
pub struct Lost {
    /// The field.
    pub field: String,
    /// The side whose value wins.
    pub winner: Side,
    /// The losing value; `None` when it was absent.
    pub lost: Option<Value>,
    /// The winning value.
    pub kept: Option<Value>,
}

/// What to do with fields that have no base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoBase {
    /// Leave both as they are: a changed mapping added them to an old pair.
    Leave,
    /// The pair is new: the initial policy decides.
    Decide(Option<Initial>),
}

/// All fields of a pair, merged.
#[derive(Debug, Default)]
pub(super) struct Merged {
    pub changes: PerSide<Vec<Put>>,
    /// The same in the app's form; only where somebody is to be asked about them.
    pub values: PerSide<Vec<Put>>,
    pub bases: PerSide<Vec<(FieldNo, BaseValue)>>,
    pub lost: Vec<Lost>,
    pub conflicts: u64,
    pub put_back: u64,
    /// Somebody's edit on a side that does not decide is left as it is.
    pub left_edits: bool,
    /// Records that fields name and that are not linked yet: what these fields say is left as it is.
    pub unlinked: Vec<LinkKey>,
}

/// What came of composing.
pub(super) enum Composed {
    Merged(Merged),
    Read(Side),
    Links(Vec<LinkKey>),
    Fault(Fault),
}

/// Merges all fields of a pair. `marker` supplies the bases.
pub(super) fn compose(sync: &BoundSync, case: &Case, marker: &Marker, no_base: NoBase) -> Composed {
    let fields = PerSide::from_fn(|side| case.seen[side].as_ref().and_then(fields_of));
    if let Some(keys) = links_to_look_up(sync, case, marker, fields) {
        return Composed::Links(keys);
    }
    let mut merged = Merged::default();
    let first = planted::is(Bug::ConflictByArrival).then(|| Side::Remote.cmp(&case.origin));
    for index in 0..sync.mapping.fields.len() {
        let field =
            FieldCase { sync, marker, links: &case.links, fields, index, no_base, newer: first.or(case.newer()) };
        match field.merge_into(&mut merged) {
            Ok(()) => {}
            Err(Stop::Read(side)) => return Composed::Read(side),
            Err(Stop::Fault(fault)) => return field.read_before_fault(fault),
        }
    }
    Composed::Merged(merged)
}

/// The records that a pair's references name and that nobody has looked up; `None` where there
/// are none.
fn links_to_look_up(
    sync: &BoundSync,
    case: &Case,
    marker: &Marker,
    fields: PerSide<Option<&Fields>>,
) -> Option<Vec<LinkKey>> {
    let mut keys = Vec::new();
    for referred in &sync.references {
        for side in Side::BOTH {
            match fields[side].map(|fields| fields.value(referred.field)) {
                Some(Ok(Some(value))) => case.links.unknown(*referred, side, value, &mut keys),
                Some(Ok(None) | Err(_)) => {}
                None => {
                    let base = marker.base(side, sync.mapping.fields[referred.field].no);
                    base.into_iter().for_each(|base| case.links.unknown_in_base(*referred, side, base, &mut keys));
                }
            }
        }
    }
    (!keys.is_empty()).then_some(keys)
}

enum Stop {
    Read(Side),
    Fault(Fault),
}

struct FieldCase<'a> {
    sync: &'a BoundSync,
    marker: &'a Marker,
    links: &'a Links,
    fields: PerSide<Option<&'a Fields>>,
    index: usize,
    no_base: NoBase,
    newer: Option<std::cmp::Ordering>,
}

/// A side's value of one field as far as it is known.
#[derive(Clone, Copy)]
enum Known<'a> {
    Value(Option<&'a Value>),
    /// Only its digest is known.
    Digest,
    /// It could not be read under the field's lens, and its side does not decide it.
    Broken,
}

impl<'a> FieldCase<'a> {
    fn field(&self) -> &'a Field {
        &self.sync.mapping.fields[self.index]
    }

    fn merge_into(&self, merged: &mut Merged) -> Result<(), Stop> {
        let field = self.field();
        let known = PerSide { app: self.known(Side::App)?, remote: self.known(Side::Remote)? };
        let bases = PerSide::from_fn(|side| match self.no_base {
            NoBase::Leave => self.marker.base(side, field.no),
            NoBase::Decide(_) => None,
        });
        let same = match (known.app, known.remote) {
            (Known::Value(app), Known::Value(remote)) => self.same(app, remote),
            (Known::Digest, _) | (_, Known::Digest) | (Known::Broken, _) | (_, Known::Broken) => false,
        };
        let held = PerSide::from_fn(|side| self.held(side, known[side]));
        match merge(self.rule(), bases, held, same, self.newer) {
            verdict @ (Verdict::Keep | Verdict::LeaveEdit) => {
                merged.left_edits |= verdict == Verdict::LeaveEdit;
                for side in Side::BOTH {
                    let base = bases[side].cloned().unwrap_or(BaseValue::Absent);
                    merged.bases[side].push((field.no, base));
                }
                Ok(())
            }
            Verdict::Adopt => {
                for side in Side::BOTH {
                    self.must_be_read(side)?;
                    merged.bases[side].push((field.no, self.present_base(side, known[side])?));
                }
                Ok(())
            }
            Verdict::Copy { winner, cause } => self.copy(merged, known, bases, winner, cause),
            Verdict::Undecided => Err(Stop::Fault(Fault {
                kind: QuarantineKind::Undecided,
                reason: format!("both sides hold different values of '{}' and the policy is to ask", field.name),
                path: Some(field.paths.app.to_string()),
            })),
        }
    }

    fn same(&self, app: Option<&Value>, remote: Option<&Value>) -> bool {
        match self.sync.referred(self.index) {
            Some(referred) => self.links.same(referred, app, remote),
            None => self.sync.mapping.same(self.index, app, remote),
        }
    }

    fn known(&self, side: Side) -> Result<Known<'a>, Stop> {
        let field = self.field();
        if let Some(fields) = self.fields[side] {
            return match fields.get(self.index) {
                FieldRead::Value(value) => Ok(Known::Value(value.as_ref())),
                FieldRead::Fault(_) if owner_side(field.owner) == Some(side.other()) => Ok(Known::Broken),
                FieldRead::Fault(fault) => Err(Stop::Fault(invalid(side, fault))),
            };
        }
        match self.marker.base(side, field.no) {
            Some(BaseValue::Absent) => Ok(Known::Value(None)),
            Some(BaseValue::Inline(value)) => Ok(Known::Value(Some(value))),
            Some(BaseValue::Digest(_)) => Ok(Known::Digest),
            None => Err(Stop::Read(side)),
        }
    }

    fn held(&self, side: Side, known: Known<'a>) -> Held<'a> {
        match known {
            // At first contact the half's base stands in for a read of that side.
            Known::Value(value) if self.fields[side].is_some() || self.no_base != NoBase::Leave => Held::Read(value),
            Known::Value(_) | Known::Digest => Held::AsBase,
            Known::Broken => Held::Read(Some(&BROKEN)),
        }
    }

    fn present_base(&self, side: Side, known: Known<'a>) -> Result<BaseValue, Stop> {
        match known {
            Known::Value(value) => Ok(BaseValue::of(value)),
            Known::Digest | Known::Broken => match self.marker.base(side, self.field().no) {
                Some(base) => Ok(base.clone()),
                None => Err(Stop::Read(side)),
            },
        }
    }

    /// A linked side is taken on trust only for a write to it, which is refused if it has
    /// changed since. Where its value decides and nothing is written there, it is read.
    fn must_be_read(&self, side: Side) -> Result<(), Stop> {
        let linked = self.no_base == NoBase::Leave;
        if linked && self.fields[side].is_none() { Err(Stop::Read(side)) } else { Ok(()) }
    }

    /// A record is held back for what its sides hold, not for what one was taken to hold.
    fn read_before_fault(&self, fault: Fault) -> Composed {
        match Side::BOTH.into_iter().find(|&side| self.must_be_read(side).is_err()) {
            Some(side) => Composed::Read(side),
            None => Composed::Fault(fault),
        }
    }

    fn copy(
        &self,
        merged: &mut Merged,
        known: PerSide<Known<'a>>,
        bases: PerSide<Option<&BaseValue>>,
        winner: Side,
        cause: Cause,
    ) -> Result<(), Stop> {
        let field = self.field();
        let loser = winner.other();
        self.must_be_read(winner)?;
        let Known::Value(kept) = known[winner] else { return Err(Stop::Read(winner)) };
        let lost = match (known[loser], cause) {
            (_, Cause::Change) | (Known::Broken, _) => None,
            (Known::Digest, _) => return Err(Stop::Read(loser)),
            (Known::Value(value), Cause::Initial) if value.is_none_or(Value::is_blank) => None,
            (Known::Value(value), Cause::Initial | Cause::Conflict | Cause::PutBack) => Some(value),
        };
        let written = with_default(field, kept);
        let mapping = &self.sync.mapping;
        if !mapping.can_write(self.index, loser) {
            // A constant comes from that side: there is nothing to write there.
            for side in Side::BOTH {
                merged.bases[side].push((field.no, self.present_base(side, known[side])?));
            }
            return Ok(());
        }
        mapping.check(self.index, written).map_err(|fault| Stop::Fault(invalid(winner, &fault)))?;
        let referred = self.sync.referred(self.index);
        let value = match referred.map(|referred| carried(self.sync, self.links, referred, winner, written)) {
            None => {
                mapping.to_side(loser, self.index, written).map_err(|fault| Stop::Fault(invalid(winner, &fault)))?
            }
            Some(Ok(value)) => value,
            Some(Err(NotCarried::Misspelled(reason))) => return Err(Stop::Fault(misspelled(field, winner, reason))),
            Some(Err(NotCarried::Unlinked { keys, .. })) => return self.leave(merged, known, bases, winner, keys),
        };
        let present = match known[loser] {
            Known::Value(present) if referred.is_some() => Some(present.cloned()),
            Known::Value(present) => mapping.to_side(loser, self.index, present).ok(),
            Known::Digest | Known::Broken => None,
        };
        merged.bases[winner].push((field.no, BaseValue::of(kept)));
        if present.is_some_and(|present| same_option(present.as_ref(), value.as_ref())) {
            self.must_be_read(loser)?;
            merged.bases[loser].push((field.no, self.present_base(loser, known[loser])?));
            return Ok(());
        }
        let base = BaseValue::of(if referred.is_some() { value.as_ref() } else { written });
        merged.bases[loser].push((field.no, base));
        merged.changes[loser].push((self.index, value));
        if self.sync.shows_values(loser) {
            // A reference has no form of your app's: it is shown as it is written.
            let shown = if referred.is_some() {
                merged.changes[loser].last().and_then(|(_, value)| value.clone())
            } else {
                written.cloned()
            };
            merged.values[loser].push((self.index, shown));
        }
        if let Some(lost) = lost {
            merged.lost.push(Lost { field: field.name.clone(), winner, lost: lost.cloned(), kept: kept.cloned() });
        }
        merged.conflicts += u64::from(cause == Cause::Conflict);
        merged.put_back += u64::from(cause == Cause::PutBack);
        Ok(())
    }

    /// Leaves a reference as it stands until what it names is linked: the winner's value counts as
    /// an edit that has not been carried over.
    fn leave(
        &self,
        merged: &mut Merged,
        known: PerSide<Known<'a>>,
        bases: PerSide<Option<&BaseValue>>,
        winner: Side,
        keys: Vec<LinkKey>,
    ) -> Result<(), Stop> {
        let no = self.field().no;
        for side in Side::BOTH {
            let base = match bases[side] {
                Some(base) => base.clone(),
                None if side == winner => BaseValue::Absent,
                None => self.present_base(side, known[side])?,
            };
            merged.bases[side].push((no, base));
        }
        merged.unlinked.extend(keys);
        Ok(())
    }

    fn rule(&self) -> Rule {
        let field = self.field();
        let sync = self.sync;
        let owner = owner_side(field.owner);
        let conflict = match field.conflict {
            ConflictPolicy::MergeThenTie if planted::is(Bug::ConflictByArrival) => Winner::Newest,
            ConflictPolicy::MergeThenTie => Winner::Side(sync.tie),
            ConflictPolicy::AppWins => Winner::Side(Side::App),
            ConflictPolicy::RemoteWins => Winner::Side(Side::Remote),
            ConflictPolicy::NewestWins => Winner::Newest,
        };
        let initial = match self.no_base {
            NoBase::Leave => Initial::Leave,
            NoBase::Decide(Some(initial)) => initial,
            NoBase::Decide(None) => Initial::Side(sync.tie),
        };
        Rule { direction: sync.direction, owner, conflict, initial, tie: sync.tie }
    }
}

/// Stands in for a value that could not be read on a side that does not decide it, so
/// that it differs from everything and is put right by the owner.
static BROKEN: Value = Value::Array(Vec::new());

fn owner_side(owner: Owner) -> Option<Side> {
    match owner {
        Owner::App => Some(Side::App),
        Owner::Remote => Some(Side::Remote),
        Owner::Shared => None,
    }
}

fn same_option(a: Option<&Value>, b: Option<&Value>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => a.same(b),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

fn with_default<'a>(field: &'a Field, value: Option<&'a Value>) -> Option<&'a Value> {
    match value {
        None | Some(Value::Null) => field.default.as_ref().or(value),
        Some(_) => value,
    }
}

/// A reference as the other side names the same records; what is absent stays absent.
fn carried(
    sync: &BoundSync,
    links: &Links,
    referred: Referred,
    from: Side,
    value: Option<&Value>,
) -> Result<Option<Value>, NotCarried> {
    let declared = sync.mapping.fields[referred.field].reference.as_ref();
    let spelling = declared.map_or(IdSpelling::Text, |reference| reference.spelling[from.other()]);
    value.map(|value| links.carried(referred, from, spelling, value)).transpose()
}

fn misspelled(field: &Field, side: Side, reason: String) -> Fault {
    invalid(side, &FieldFault { field: field.name.clone(), path: field.paths[side].to_string(), reason })
}

fn invalid(side: Side, fault: &FieldFault) -> Fault {
    Fault {
        kind: QuarantineKind::Invalid,
        reason: format!("field '{}' of the {side} record: {}", fault.field, fault.reason),
        path: Some(fault.path.clone()),
    }
}

/// Makes the plan for a merged pair. `marker` becomes the pair's marker.
pub(super) fn into_step(sync: &BoundSync, case: &Case, marker: Marker, merged: Merged, old: Option<&Marker>) -> Step {
    let before = marker.clone();
    let mut marker = marker;
    marker.state = LinkState::Linked;
    marker.mapping_hash = sync.mapping.hash;
    marker.set_bases(merged.bases);
    for side in Side::BOTH {
        account(sync, &mut marker.sides[side], case, side);
    }
    if merged.left_edits {
        // What was read there is not what the bases say, so its version proves nothing.
        for side in Side::BOTH {
            marker.sides[side].version = None;
        }
    }
    if !merged.unlinked.is_empty() {
        marker.vouch_for_neither_side();
    }
    let (mut puts, mut values) = (merged.changes, merged.values);
    let unknown = |side: Side| {
        case.seen[side].is_none() && sync.mapping.needs_current(side, puts[side].iter().map(|(index, _)| *index))
    };
    if let Some(side) = Side::BOTH.into_iter().find(|&side| unknown(side))
        && let Some(id) = &marker.sides[side].id
    {
        return Step::Read(side, id.clone());
    }
    let mut writes = PerSide { app: None, remote: None };
    for side in Side::BOTH {
        match side_update(sync, case, &before, side, std::mem::take(&mut puts[side])) {
            Ok(update) => {
                let values = std::mem::take(&mut values[side]);
                writes[side] = update.map(|update| SideUpdate { values, ..update });
            }
            Err(fault) => return held_back(sync, case, invalid(side, &fault)),
        }
    }
    let needs_current = Side::BOTH.into_iter().find(|&side| {
        writes[side].is_some() && sync.capabilities[side].update == UpdateStyle::Whole && case.seen[side].is_none()
    });
    if let Some(side) = needs_current
        && let Some(id) = &marker.sides[side].id
    {
        return Step::Read(side, id.clone());
    }
    let effect = if writes.app.is_none() && writes.remote.is_none() {
        Effect::Keep((old != Some(&marker)).then(|| Box::new(marker)))
    } else {
        Effect::Update(Box::new(Updates { marker, writes }))
    };
    let mut step = quick(case, effect);
    tally(&mut step, |totals| {
        totals.conflicts += merged.conflicts;
        totals.put_back += merged.put_back;
    });
    if let Step::Plan(plan) = &mut step {
        plan.lost = merged.lost;
        if !merged.unlinked.is_empty() {
            plan.awaited = Some(Awaited::new(case.origin, case.id.clone(), merged.unlinked));
        }
    }
    step
}

fn side_update(
    sync: &BoundSync,
    case: &Case,
    marker: &Marker,
    side: Side,
    puts: Vec<Put>,
) -> Result<Option<SideUpdate>, FieldFault> {
    if puts.is_empty() && !planted::is(Bug::EmptyWrite) {
        return Ok(None);
    }
    let state = &marker.sides[side];
    let (id, version, current, digest) = match &case.seen[side] {
        Some(observation) => match &observation.entry {
            Entry::Live(record) => {
                let Some(digest) = fields_of(observation).map(Fields::digest) else { return Ok(None) };
                let current = if planted::is(Bug::UnmappedDropped) {
                    mapped_only(sync, side, record)
                } else {
                    record.body.clone()
                };
                (record.id.clone(), record.version.clone(), Some(current), digest)
            }
            Entry::Deleted { .. } | Entry::Bad(_) => return Ok(None),
        },
        None => {
            let Some(id) = state.id.clone() else { return Ok(None) };
            let version = if planted::is(Bug::VersionOfOtherSide) {
                marker.sides[side.other()].version.clone()
            } else {
                state.version.clone()
            };
            (id, version, None, digest_base(sync, marker, side))
        }
    };
    let fields: Vec<usize> = puts.iter().map(|(index, _)| *index).collect();
    let changes = sync.mapping.changes(side, current.as_ref(), puts)?;
    if changes.is_empty() && !planted::is(Bug::EmptyWrite) {
        return Ok(None);
    }
    let expected = version.clone().filter(|_| sync.guarded(side) && !planted::is(Bug::UpdateUnconditional));
    let before = Previous { digest, version };
    Ok(Some(SideUpdate { id, expected, current, changes, fields, values: Vec::new(), before }))
}

/// The record as a careless rewrite of it would look.
fn mapped_only(sync: &BoundSync, side: Side, record: &Record) -> Body {
    let (mut kept, all) = (Value::Object(Vec::new()), record.body.decode().unwrap_or(Value::Null));
    for path in sync.mapping.fields.iter().map(|field| &field.paths[side]) {
        all.get(path).into_iter().for_each(|value| kept.set(path, value.clone()));
    }
    Body::from_value(&kept)
}

/// Digest of all mapped fields of a side that was not read, from its base. Long values
/// are kept as digests there, so such a side cannot be told apart this way; the digest
/// then matches nothing, and a stale read is merely looked at as an edit.
fn digest_base(sync: &BoundSync, marker: &Marker, side: Side) -> crate::model::hash::Digest {
    let mut bytes = Vec::with_capacity(256);
    for field in &sync.mapping.fields {
        marker.base(side, field.no).unwrap_or(&BaseValue::Absent).write(&mut bytes);
    }
    crate::model::hash::Digest::of(&bytes)
}

/// Why a record is created.
#[derive(Debug, Clone, Copy)]
pub(super) enum Birth<'a> {
    /// It has never been there.
    New,
    /// It was deleted there, and an edit on the other side brings it back, with the
    /// values it owned. The pair's marker from before tells these.
    Restored(&'a Marker),
}

/// Plans a record's creation on a side. `marker` is the source's half marker.
pub(super) fn create(sync: &BoundSync, case: &Case, mut marker: Marker, target: Side, kind: Birth<'_>) -> Step {
    let source = target.other();
    let Some(fields) = case.seen[source].as_ref().and_then(fields_of) else {
        return match case.id_on(source) {
            Some(id) => Step::Read(source, id.clone()),
            None => quick(case, Effect::Forget),
        };
    };
    let of_source = PerSide::from_fn(|side| (side == source).then_some(fields));
    if let Some(keys) = links_to_look_up(sync, case, &marker, of_source) {
        return Step::Links(keys);
    }
    let mut puts: Vec<Put> = Vec::with_capacity(sync.mapping.fields.len());
    let mut values: Vec<Put> = Vec::new();
    let mut bases: PerSide<Vec<(FieldNo, BaseValue)>> = PerSide::default();
    let mut disputed = false;
    let (mut unlinked, mut waits) = (Vec::new(), false);
    for (index, field) in sync.mapping.fields.iter().enumerate() {
        let value = match fields.get(index) {
            FieldRead::Value(value) => value.as_ref(),
            FieldRead::Fault(_) if owner_side(field.owner) == Some(target) => None,
            FieldRead::Fault(fault) => return held_back(sync, case, invalid(source, fault)),
        };
        let owned_there = !sync.mapping.can_write(index, target) && !planted::is(Bug::OwnerIgnoredOnCreate);
        let broken = matches!(fields.get(index), FieldRead::Fault(_));
        let value = match kind {
            Birth::New if owned_there => {
                // The target owns it, so it is the target's to fill. What the source holds
                // counts as an edit there, which is put back once both are linked.
                let stays = field.is_constant() || !broken && value.is_none_or(Value::is_blank);
                disputed |= !stays;
                bases[source].push((field.no, if stays { BaseValue::of(value) } else { BaseValue::Absent }));
                bases[target].push((field.no, BaseValue::Absent));
                continue;
            }
            Birth::Restored(_) if owned_there && field.is_constant() => {
                bases[source].push((field.no, BaseValue::of(value)));
                bases[target].push((field.no, BaseValue::Absent));
                continue;
            }
            Birth::Restored(old) if owned_there => {
                // An edit of it on the source does not count; it is put back once both are
                // linked.
                let base = old.base(source, field.no).cloned().unwrap_or_else(|| BaseValue::of(value));
                disputed |= broken || !base.same(value);
                bases[source].push((field.no, base));
                // What it names on the source says nothing about ids of the target.
                last_known(old, target, field.no, value.filter(|_| field.reference.is_none()))
            }
            Birth::New | Birth::Restored(_) => {
                bases[source].push((field.no, BaseValue::of(value)));
                value
            }
        };
        let written = with_default(field, value);
        let checked = sync.mapping.check(index, written).map_err(|fault| invalid(source, &fault));
        let put = checked.and_then(|()| match sync.referred(index) {
            None => match sync.mapping.to_side(target, index, written) {
                Ok(value) => Ok(Some((value, BaseValue::of(written)))),
                Err(fault) => Err(invalid(source, &fault)),
            },
            // As the target last held it.
            Some(_) if owned_there => Ok(Some((written.cloned(), BaseValue::of(written)))),
            Some(referred) => match carried_to_new(sync, case, referred, source, written) {
                Ok(value) => Ok(Some((value.clone(), BaseValue::of(value.as_ref())))),
                Err(NotCarried::Misspelled(reason)) => Err(misspelled(field, source, reason)),
                Err(NotCarried::Unlinked { keys, all_deleted }) => {
                    waits |= !referred.leave_out && (!all_deleted || field.required);
                    unlinked.extend(keys);
                    Ok(None)
                }
            },
        });
        let (value, base) = match put {
            Ok(Some(put)) => put,
            Ok(None) => {
                // It counts as an edit, which is carried over once what it names is linked.
                bases[source].retain(|(no, _)| *no != field.no);
                bases[source].push((field.no, BaseValue::Absent));
                (None, BaseValue::Absent)
            }
            Err(fault) => return held_back(sync, case, fault),
        };
        if let Some(value) = value {
            if sync.shows_values(target) {
                // A reference has no form of your app's: it is shown as it is written.
                let shown = if sync.referred(index).is_some() { Some(value.clone()) } else { written.cloned() };
                values.push((index, shown));
            }
            puts.push((index, Some(value)));
        }
        bases[target].push((field.no, base));
    }
    let awaited = (!unlinked.is_empty()).then(|| {
        let id = marker.sides[source].id.as_ref().or_else(|| case.id_on(source)).unwrap_or(&case.id);
        Awaited::new(source, id.clone(), unlinked)
    });
    if waits {
        let hold = Hold { reason: PendingReason::Unlinked, due: Due::WhenLinked };
        return awaiting(quick(case, Effect::Hold(hold, keep_visible(sync, case))), awaited);
    }
    let record = match sync.mapping.new_record(target, puts) {
        Ok(record) => record,
        Err(fault) => return held_back(sync, case, invalid(target, &fault)),
    };
    account(sync, &mut marker.sides[source], case, source);
    marker.mapping_hash = sync.mapping.hash;
    marker.sides[source].base.clone_from(&bases[source]);
    let match_key = sync.mapping.match_key(fields);
    let creation = Creation { target, record, values, marker, bases, match_key, disputed };
    awaiting(quick(case, Effect::Create(Box::new(creation))), awaited)
}

/// A reference of a record that is made. One that names itself has no id there yet, whatever was
/// known of one that was deleted.
fn carried_to_new(
    sync: &BoundSync,
    case: &Case,
    referred: Referred,
    source: Side,
    value: Option<&Value>,
) -> Result<Option<Value>, NotCarried> {
    let own = case.id_on(source).filter(|_| referred.no == sync.no);
    if let Some(id) = own.filter(|id| value.is_some_and(|value| reference::names(value, id))) {
        let keys = vec![LinkKey { sync: sync.no, side: source, id: id.clone() }];
        return Err(NotCarried::Unlinked { keys, all_deleted: false });
    }
    carried(sync, &case.links, referred, source, value)
}

/// A plan whose record names others that are not linked yet.
fn awaiting(mut step: Step, awaited: Option<Awaited>) -> Step {
    if let Step::Plan(plan) = &mut step {
        plan.awaited = awaited;
    }
    step
}

/// The value that a side last held of a field. One too long to be kept is taken from the
/// other side.
fn last_known<'a>(old: &'a Marker, side: Side, field: FieldNo, present: Option<&'a Value>) -> Option<&'a Value> {
    match old.base(side, field) {
        Some(BaseValue::Inline(value)) => Some(value),
        Some(BaseValue::Absent) => None,
        Some(BaseValue::Digest(_)) | None => present,
    }
}
