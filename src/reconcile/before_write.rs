//! `before_write`: a host program's last word on a write, before it is promised and sent.
//!
//! It stands where a write has been decided and nothing of it is durable yet. So what it changes
//! is what is promised, sent, and kept as the base of the side that is written; what it holds
//! back or puts off has never happened.

use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::case::{Case, Due, Hold, Step};
use super::finish::both_bases;
use super::mapping::{FieldFault, Fields, Mapping};
use super::place::Put;
use super::plan::{Creation, Effect, Fault, Plan, Updates, fields_of, keep_visible, quick};
use super::shown;
use super::sync::BoundSync;
use crate::model::ids::{ConnectionId, FieldNo, RecordId, SyncName};
use crate::model::marker::BaseValue;
use crate::model::side::Side;
use crate::model::value::Value;
use crate::model::work::{PendingReason, QuarantineKind};

/// The shortest time after which a record that is put off is looked at again, in milliseconds:
/// a hook that always says "later" must not keep a thread busy.
pub const LEAST_LATER_MS: u64 = 1_000;

/// What a host program is asked before each write of a sync.
///
/// A closure will do. It is called on the connection's thread and must answer at once: whatever
/// takes time belongs before or after. It may be called again for the same write, when the unit
/// of work it was part of is put off or the program is killed, so its answer should follow from
/// what it is given. A panic or an error holds the record back.
pub trait BeforeWrite: Send + Sync {
    /// Says what becomes of the write.
    ///
    /// # Errors
    /// Whatever went wrong: the record is held back with it as the reason.
    fn before_write(&self, write: &mut Proposed<'_>) -> Result<Verdict, Box<dyn Error + Send + Sync>>;
}

impl<F> BeforeWrite for F
where
    F: Fn(&mut Proposed<'_>) -> Result<Verdict, Box<dyn Error + Send + Sync>> + Send + Sync,
{
    fn before_write(&self, write: &mut Proposed<'_>) -> Result<Verdict, Box<dyn Error + Send + Sync>> {
        self(write)
    }
}

/// What becomes of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is written, as changed.
    Write,
    /// The record is held back with this reason, until it changes.
    HoldBack(String),
    /// The record is looked at again after so many milliseconds, at least [`LEAST_LATER_MS`]. It
    /// waits, and is told of as late like other waiting work.
    Later(u64),
}

/// What kind of write it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteKind {
    /// A record is made.
    Create,
    /// Fields of a record change.
    Update,
    /// A record is deleted.
    Delete,
}

/// A write that has been decided.
#[derive(Debug)]
pub struct Proposed<'p> {
    connection: &'p ConnectionId,
    sync: &'p BoundSync,
    side: Side,
    kind: WriteKind,
    id: Option<&'p RecordId>,
    source: Option<&'p RecordId>,
    /// What the other side holds.
    known: Option<&'p Fields>,
    /// What is to be written, in the app's form.
    values: Vec<Put>,
    changed: Vec<usize>,
}

impl Proposed<'_> {
    /// The connection.
    #[must_use]
    pub fn connection(&self) -> &ConnectionId {
        self.connection
    }

    /// The sync.
    #[must_use]
    pub fn sync(&self) -> &SyncName {
        &self.sync.name
    }

    /// The side that is written.
    #[must_use]
    pub fn side(&self) -> Side {
        self.side
    }

    /// What kind of write it is.
    #[must_use]
    pub fn kind(&self) -> WriteKind {
        self.kind
    }

    /// The record that is written; `None` where it is made.
    #[must_use]
    pub fn id(&self) -> Option<&RecordId> {
        self.id
    }

    /// The record of the other side, where it is known.
    #[must_use]
    pub fn source(&self) -> Option<&RecordId> {
        self.source
    }

    /// The fields that are written, with their values in the app's form; `None` takes one away.
    pub fn written(&self) -> impl Iterator<Item = (&str, Option<&Value>)> {
        self.values.iter().map(|(index, value)| (self.sync.mapping.fields[*index].name.as_str(), value.as_ref()))
    }

    /// A field's value as the record is to have it, in the app's form: what is written, else what
    /// the other side holds.
    #[must_use]
    pub fn get(&self, field: &str) -> Option<&Value> {
        let index = self.position(field)?;
        match self.values.iter().find(|(written, _)| *written == index) {
            Some((_, value)) => value.as_ref(),
            None => self.known?.value(index).ok().flatten(),
        }
    }

    fn position(&self, field: &str) -> Option<usize> {
        self.sync.mapping.fields.iter().position(|known| known.name == field)
    }

    /// Writes another value, in the app's form; `None` takes the field away. Only this side gets
    /// it: the other keeps what it has, and the difference is not taken for an edit.
    ///
    /// # Errors
    /// When the sync has no such field or may not write it to this side, the value breaks a rule
    /// of the field or cannot be spelled there, or the record is deleted. Nothing is changed then.
    pub fn set(&mut self, field: &str, value: Option<Value>) -> Result<(), String> {
        if self.kind == WriteKind::Delete {
            return Err("a record that is deleted has no fields to set".to_owned());
        }
        let mapping = &self.sync.mapping;
        let index = self.position(field).ok_or_else(|| format!("the sync has no field '{}'", shown(field)))?;
        if !mapping.can_write(index, self.side) {
            return Err(format!("the field '{field}' is not written to the {}", self.side));
        }
        if mapping.match_fields.contains(&index) {
            return Err(format!("records are matched by '{field}', which both sides must hold alike"));
        }
        let text = |fault: FieldFault| fault.to_string();
        mapping.check(index, value.as_ref()).map_err(text)?;
        mapping.to_side(self.side, index, value.as_ref()).map_err(text)?;
        match self.values.iter_mut().find(|(written, _)| *written == index) {
            Some((_, written)) => *written = value,
            None => self.values.push((index, value)),
        }
        if !self.changed.contains(&index) {
            self.changed.push(index);
        }
        Ok(())
    }
}

/// A host program's hook, with the connection it is asked for.
#[derive(Clone)]
pub struct Hook {
    /// The connection.
    pub connection: ConnectionId,
    /// What is asked.
    pub call: Arc<dyn BeforeWrite>,
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook").field("connection", &self.connection).finish_non_exhaustive()
    }
}

impl Hook {
    fn ask(&self, proposed: &mut Proposed<'_>) -> Verdict {
        let answer = catch_unwind(AssertUnwindSafe(|| self.call.before_write(proposed)));
        match answer {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(error)) => Verdict::HoldBack(format!("it failed: {error}")),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a word");
                Verdict::HoldBack(format!("it panicked: {text}"))
            }
        }
    }
}

/// Why a plan is not carried out.
enum Stop {
    Verdict(Verdict),
    /// This side has to be read first: the hook changes what can only be changed where it is known.
    Read(Side, RecordId),
}

/// Asks the sync's hook about a plan's writes, where it has one, and changes the plan accordingly.
#[must_use]
pub fn asked(sync: &BoundSync, case: &Case, step: Step) -> Step {
    let Some(hook) = &sync.before_write else { return step };
    let Step::Plan(mut plan) = step else { return step };
    match ask_about(hook, sync, case, &mut plan) {
        Ok(()) | Err(Stop::Verdict(Verdict::Write)) => Step::Plan(plan),
        Err(Stop::Read(side, id)) => Step::Read(side, id),
        Err(Stop::Verdict(Verdict::HoldBack(reason))) => {
            let reason = format!("before_write: {}", shown(&reason));
            quick(
                case,
                Effect::Quarantine(
                    Fault { kind: QuarantineKind::Refused, reason, path: None },
                    keep_visible(sync, case),
                ),
            )
        }
        Err(Stop::Verdict(Verdict::Later(after_ms))) => {
            // Not a failed attempt, of which there are only so many.
            let due = Due::AfterMs(after_ms.max(LEAST_LATER_MS));
            quick(case, Effect::Hold(Hold { reason: PendingReason::Changed, due }, keep_visible(sync, case)))
        }
    }
}

fn ask_about(hook: &Hook, sync: &BoundSync, case: &Case, plan: &mut Plan) -> Result<(), Stop> {
    match &mut plan.effect {
        Effect::Update(updates) => {
            for side in Side::BOTH {
                ask_about_update(hook, sync, case, updates, side)?;
            }
            Ok(())
        }
        Effect::Create(creation) => ask_about_create(hook, sync, case, creation),
        Effect::Delete(deletion) => {
            let source = plan.old.as_ref().and_then(|old| old.sides[deletion.target.other()].id.as_ref());
            let mut proposed = Proposed {
                connection: &hook.connection,
                sync,
                side: deletion.target,
                kind: WriteKind::Delete,
                id: Some(&deletion.id),
                source,
                known: case.seen[deletion.target].as_ref().and_then(fields_of),
                values: Vec::new(),
                changed: Vec::new(),
            };
            go_on(hook.ask(&mut proposed))
        }
        Effect::Keep(_)
        | Effect::Half(_)
        | Effect::Forget
        | Effect::Hold(..)
        | Effect::Quarantine(..)
        | Effect::OutOfScope(_) => Ok(()),
    }
}

fn go_on(verdict: Verdict) -> Result<(), Stop> {
    if verdict == Verdict::Write { Ok(()) } else { Err(Stop::Verdict(verdict)) }
}

fn ask_about_update(hook: &Hook, sync: &BoundSync, case: &Case, updates: &mut Updates, side: Side) -> Result<(), Stop> {
    let Some(update) = &mut updates.writes[side] else { return Ok(()) };
    let mut proposed = Proposed {
        connection: &hook.connection,
        sync,
        side,
        kind: WriteKind::Update,
        id: Some(&update.id),
        source: updates.marker.sides[side.other()].id.as_ref(),
        known: case.seen[side.other()].as_ref().and_then(fields_of),
        values: std::mem::take(&mut update.values),
        changed: Vec::new(),
    };
    go_on(hook.ask(&mut proposed))?;
    let Proposed { values, changed, .. } = proposed;
    if changed.is_empty() {
        update.values = values;
        return Ok(());
    }
    let fields: Vec<usize> = values.iter().map(|(index, _)| *index).collect();
    if update.current.is_none() && sync.mapping.needs_current(side, fields.iter().copied()) {
        return Err(Stop::Read(side, update.id.clone()));
    }
    update.changes = spelled(&sync.mapping, side, &values)
        .and_then(|puts| sync.mapping.changes(side, update.current.as_ref(), puts))
        .map_err(|fault| Stop::Verdict(Verdict::HoldBack(fault.to_string())))?;
    update.fields = fields;
    let mut bases = both_bases(sync, &updates.marker);
    keep_bases(sync, &mut bases[side], &values, &changed);
    update.values = values;
    updates.marker.set_bases(bases);
    Ok(())
}

fn ask_about_create(hook: &Hook, sync: &BoundSync, case: &Case, creation: &mut Creation) -> Result<(), Stop> {
    let side = creation.target;
    let mut proposed = Proposed {
        connection: &hook.connection,
        sync,
        side,
        kind: WriteKind::Create,
        id: None,
        source: creation.marker.sides[side.other()].id.as_ref(),
        known: case.seen[side.other()].as_ref().and_then(fields_of),
        values: std::mem::take(&mut creation.values),
        changed: Vec::new(),
    };
    go_on(hook.ask(&mut proposed))?;
    let Proposed { values, changed, .. } = proposed;
    if !changed.is_empty() {
        creation.record = spelled(&sync.mapping, side, &values)
            .and_then(|puts| sync.mapping.new_record(side, puts))
            .map_err(|fault| Stop::Verdict(Verdict::HoldBack(fault.to_string())))?;
        keep_bases(sync, &mut creation.bases[side], &values, &changed);
    }
    creation.values = values;
    Ok(())
}

/// Values in the app's form as a side spells them.
pub(super) fn spelled(mapping: &Mapping, side: Side, values: &[Put]) -> Result<Vec<Put>, FieldFault> {
    values.iter().map(|(index, value)| Ok((*index, mapping.to_side(side, *index, value.as_ref())?))).collect()
}

/// What is written instead is what that side will be known to hold.
fn keep_bases(sync: &BoundSync, bases: &mut Vec<(FieldNo, BaseValue)>, values: &[Put], changed: &[usize]) {
    for (index, value) in values.iter().filter(|(index, _)| changed.contains(index)) {
        let (no, base) = (sync.mapping.fields[*index].no, BaseValue::of(value.as_ref()));
        match bases.iter_mut().find(|(other, _)| *other == no) {
            Some((_, known)) => *known = base,
            None => bases.push((no, base)),
        }
    }
}
