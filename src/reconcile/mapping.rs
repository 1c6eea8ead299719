//! A checked mapping and what it does to one record: read it into the app's form, check
//! a value, respell it for a side, tell whether two values mean the same.
//!
//! All values between reading and writing are in the *app's form*, whichever side they
//! came from.

use super::compile;
use super::extract::{Found, Trie};
use super::filter::Condition;
use super::lens::Lens;
use super::place::Place;
use super::reference::{self, Reference};
use super::rules::Rules;
use super::shown_value;
use super::spec::{ConflictPolicy, MappingSpec, Owner};
use crate::model::direction::Direction;
use crate::model::document::Problems;
use crate::model::hash::Digest;
use crate::model::ids::FieldNo;
use crate::model::marker::BaseValue;
use crate::model::path::Path;
use crate::model::record::Body;
use crate::model::side::{PerSide, Side};
use crate::model::value::Value;
use crate::planted::{self, Bug};

/// One mapped field.
#[derive(Debug, Clone)]
pub struct Field {
    /// Its number in the state file; the position until [`Mapping::number_fields`].
    pub no: FieldNo,
    /// Its name in the sync.
    pub name: String,
    /// Where it stands on each side; a name for it where that is more than one path, or an
    /// entry of a list. A constant is not read from the side it comes from; its path there
    /// is its name.
    pub paths: PerSide<Path>,
    pub(super) places: PerSide<Place>,
    /// Which side decides it. In a one-way sync, the side the changes come from.
    pub owner: Owner,
    /// Who wins a true conflict; matters for shared fields only.
    pub conflict: ConflictPolicy,
    /// Whether a record without it must not be written.
    pub required: bool,
    /// Written to a side that lacks it when the other side has nothing either; in the
    /// app's form. Never read: a default is not a change.
    pub default: Option<Value>,
    /// It names records of another sync. Then it is in each side's own form everywhere.
    pub reference: Option<Reference>,
    /// A fixed value, and the side it is taken to come from.
    pub(super) constant: Option<(Side, Value)>,
    pub(super) lens: Lens,
    pub(super) rules: Rules,
}

/// A checked mapping.
#[derive(Debug, Clone)]
pub struct Mapping {
    /// The fields, in the order of the document.
    pub fields: Vec<Field>,
    /// Positions of the fields by which records are paired at first contact.
    pub match_fields: Vec<usize>,
    /// Digest over what fields mean: names, paths, lenses, owners, match. Rules, defaults
    /// and the filter are not in it, because they change no base.
    pub hash: Digest,
    /// Digest over the filter.
    pub filter_hash: Digest,
    pub(super) direction: Direction,
    pub(super) filter: Vec<Condition>,
    pub(super) tries: PerSide<Trie>,
    /// How many paths they have.
    pub(super) num_slots: PerSide<usize>,
}

/// A record's fields in the app's form, in the order of [`Mapping::fields`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields(Vec<FieldRead>);

/// One field of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldRead {
    /// Its value; `None` where the key is absent, which is not null.
    Value(Option<Value>),
    /// It could not be read. The record's other fields are not harmed.
    Fault(FieldFault),
}

/// Why one field of one record cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("field '{field}' ({path}): {reason}")]
pub struct FieldFault {
    /// The field's name.
    pub field: String,
    /// Where it stands on the side it was read from or was to be written to.
    pub path: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Why a whole record cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at {place}")]
pub struct RecordFault {
    /// Where in the record: a path, or `the top`.
    pub place: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Mapping {
    /// Checks a declared mapping for a direction, notes everything that is wrong with
    /// it, and makes it ready to run; `None` when anything is wrong, here or in what
    /// [`MappingSpec::parse`] noted.
    #[must_use]
    pub fn compile(spec: &MappingSpec, problems: &Problems, direction: Direction) -> Option<Mapping> {
        compile::compile(spec, problems, direction)
    }

    /// Which way the sync goes.
    #[must_use]
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// One text a field, naming the field, its paths and its lens: the same text in
    /// every release for the same meaning, so a changed meaning gets a new number.
    #[must_use]
    pub fn field_identities(&self) -> Vec<String> {
        self.fields.iter().map(Field::identity).collect()
    }

    /// Gives the fields their numbers, in the order of [`Mapping::field_identities`].
    pub fn number_fields(&mut self, numbers: &[FieldNo]) {
        debug_assert_eq!(numbers.len(), self.fields.len());
        for (field, no) in self.fields.iter_mut().zip(numbers) {
            field.no = *no;
        }
    }

    /// Whether the sync may write a field to a side: the direction leads there, and the
    /// side does not own the field.
    #[must_use]
    pub fn can_write(&self, field: usize, side: Side) -> bool {
        let owned_there = match self.fields[field].owner {
            Owner::App => side == Side::App,
            Owner::Remote => side == Side::Remote,
            Owner::Shared => false,
        };
        self.direction.writes(side) && !owned_there
    }

    /// The fields that name records of other syncs, by index.
    pub fn references(&self) -> impl Iterator<Item = (usize, &Reference)> {
        self.fields.iter().enumerate().filter_map(|(index, field)| Some((index, field.reference.as_ref()?)))
    }

    /// The value to write to a side when both sides have nothing: the field's default, if
    /// it has one and may be written there. In the app's form.
    #[must_use]
    pub fn default_for(&self, side: Side, field: usize) -> Option<&Value> {
        self.fields[field].default.as_ref().filter(|_| self.can_write(field, side))
    }

    /// Reads a record of a side: decodes it along the mapped paths only, and respells
    /// each value in the app's form.
    ///
    /// # Errors
    /// When the body is not one JSON object, or a key stands twice on a level that a
    /// path passes. A fault of one field is in the answer instead.
    pub fn read(&self, side: Side, body: &Body) -> Result<Fields, RecordFault> {
        let found = self.tries[side]
            .find(body.as_str(), self.num_slots[side])
            .map_err(|bad| RecordFault { place: bad.place, reason: bad.reason })?;
        let (first, mut further) = found.split_at(self.fields.len());
        let reads = self.fields.iter().zip(first).map(|(field, found)| {
            let (own, rest) = further.split_at(field.num_further(side));
            further = rest;
            field.read(side, found, own)
        });
        Ok(Fields(reads.collect()))
    }

    /// Respells a value in a side's form. Absent stays absent, null stays null, except in an
    /// entry of a list and where the field stands at several paths: there it is taken away.
    ///
    /// # Errors
    /// When the lens cannot carry the value.
    pub fn to_side(&self, side: Side, field: usize, value: Option<&Value>) -> Result<Option<Value>, FieldFault> {
        let field = &self.fields[field];
        // Where more than one path or an entry is cleared, nothing is left to be null.
        let goes = |value: &Value| field.comes_from(side) || field.needs_current(side) && *value == Value::Null;
        let Some(value) = value.filter(|value| !goes(value)) else { return Ok(None) };
        match side {
            Side::App => Ok(Some(value.clone())),
            Side::Remote => field.lens.apply(side, value.clone()).map(Some).map_err(|reason| field.fault(side, reason)),
        }
    }

    /// Checks a value, in the app's form, against the field's rules. To be asked before
    /// it is written to either side.
    ///
    /// # Errors
    /// With the first rule it breaks.
    pub fn check(&self, field: usize, value: Option<&Value>) -> Result<(), FieldFault> {
        let field = &self.fields[field];
        field.rules.check(value).map_err(|reason| field.fault(Side::App, reason))
    }

    /// Whether two values in the app's form mean the same: they are equal, or the remote
    /// would store the same for both. Absent, null and empty are three different things.
    #[must_use]
    pub fn same(&self, field: usize, app: Option<&Value>, remote: Option<&Value>) -> bool {
        let (Some(app), Some(remote)) = (app, remote) else { return app.is_none() && remote.is_none() };
        if app.same(remote) {
            return true;
        }
        let lens = &self.fields[field].lens;
        if lens.is_plain() {
            return false;
        }
        match (lens.apply(Side::Remote, app.clone()), lens.apply(Side::Remote, remote.clone())) {
            (Ok(app), Ok(remote)) => app.same(&remote),
            (Err(_), _) | (_, Err(_)) => false,
        }
    }

    /// Digest of the match fields' values, equal for two records that are to be paired;
    /// `None` when there is no match field, or one is absent, null, empty or faulty.
    /// Values are compared as the remote would store them, so that case or white space
    /// which a lens removes does not matter.
    #[must_use]
    pub fn match_key(&self, fields: &Fields) -> Option<Digest> {
        if self.match_fields.is_empty() {
            return None;
        }
        let mut bytes = Vec::with_capacity(64);
        for field in &self.match_fields {
            let value = fields.value(*field).ok()?.filter(|value| !value.is_blank())?;
            let value = self.fields[*field].lens.apply(Side::Remote, value.clone()).ok()?;
            if value.is_blank() {
                return None;
            }
            value.write_canonical(&mut bytes);
        }
        Some(Digest::of(&bytes))
    }

    /// The match fields' values for a message: `email='a@b.c', name='Ann'`.
    #[must_use]
    pub fn match_text(&self, fields: &Fields) -> String {
        let parts = self.match_fields.iter().map(|i| {
            let value = match fields.value(*i) {
                Ok(Some(value)) => shown_value(value),
                Ok(None) => "absent".to_owned(),
                Err(_) => "unreadable".to_owned(),
            };
            format!("{}={value}", self.fields[*i].name)
        });
        parts.collect::<Vec<_>>().join(", ")
    }

    /// Whether a record meets the sync's filter. One whose filtered field could not be
    /// read does not: what cannot be shown to be in scope is left alone.
    #[must_use]
    pub fn in_scope(&self, fields: &Fields) -> bool {
        self.filter.iter().all(|condition| condition.holds(self, fields))
    }
}

impl Field {
    /// Whether it is a fixed value, not read from one of the sides.
    #[must_use]
    pub fn is_constant(&self) -> bool {
        self.constant.is_some()
    }

    /// The fixed value that is written to this side.
    pub(super) fn constant_for(&self, side: Side) -> Option<&Value> {
        self.constant.as_ref().filter(|(from, _)| *from != side).map(|(_, value)| value)
    }

    /// Whether it is a constant that comes from this side, so that nothing is read or
    /// written there.
    pub(super) fn comes_from(&self, side: Side) -> bool {
        self.constant.as_ref().is_some_and(|(from, _)| *from == side)
    }

    /// A text that names the field, its paths and its lens.
    pub(super) fn identity(&self) -> String {
        if planted::is(Bug::FieldKnownByName) {
            return self.name.to_string();
        }
        let lens = match &self.constant {
            Some((from, value)) => format!("constant:{from}:{value}"),
            None => self.reference.as_ref().map_or_else(|| self.lens.identity(), Reference::identity),
        };
        let [app, remote] = Side::BOTH.map(|side| self.places[side].identity(&self.paths[side]));
        format!("{} app={app} remote={remote} {lens}", Value::string(&*self.name))
    }

    /// How many paths it has on a side beyond the first.
    pub(super) fn num_further(&self, side: Side) -> usize {
        match &self.places[side] {
            Place::Path | Place::Entry(_) => 0,
            Place::Parts(parts) => parts.paths.len() - 1,
        }
    }

    fn read(&self, side: Side, found: &Found<'_>, further: &[Found<'_>]) -> FieldRead {
        if let Some((from, value)) = &self.constant
            && *from == side
        {
            return FieldRead::Value(Some(value.clone()));
        }
        let value = match &self.places[side] {
            Place::Path => decoded(found),
            Place::Entry(entry) => decoded(found).and_then(|list| entry.read(list.as_ref())),
            Place::Parts(parts) => {
                let values = std::iter::once(found).chain(further).map(decoded).collect::<Result<_, _>>();
                values.and_then(|values| parts.read(values))
            }
        };
        if self.reference.is_some() {
            return match value.and_then(|value| value.as_ref().map_or(Ok(()), reference::check).map(|()| value)) {
                Ok(value) => FieldRead::Value(value),
                Err(reason) => FieldRead::Fault(self.fault(side, reason)),
            };
        }
        let value = value.and_then(|value| match (side, value) {
            (_, None) => Ok(None),
            (Side::App, value) => Ok(value),
            (Side::Remote, Some(value)) => self.lens.apply(Side::App, value).map(Some),
        });
        match value {
            Ok(value) => FieldRead::Value(value),
            Err(reason) => FieldRead::Fault(self.fault(side, reason)),
        }
    }

    pub(super) fn fault(&self, side: Side, reason: String) -> FieldFault {
        FieldFault { field: self.name.clone(), path: self.place_text(side), reason }
    }

    /// Where it stands on a side, for messages.
    pub(super) fn place_text(&self, side: Side) -> String {
        match &self.places[side] {
            Place::Path | Place::Entry(_) => self.paths[side].to_string(),
            Place::Parts(parts) => parts.paths.iter().map(Path::to_string).collect::<Vec<_>>().join(" + "),
        }
    }
}

fn decoded(found: &Found<'_>) -> Result<Option<Value>, String> {
    match found {
        Found::Absent => Ok(None),
        Found::Blocked(reason) => Err(reason.clone()),
        Found::Raw(raw) => Value::from_raw(raw).map(Some).map_err(|error| super::shown(&error.to_string())),
    }
}

impl Fields {
    /// Fields made by hand, in the order of [`Mapping::fields`].
    #[must_use]
    pub fn new(reads: Vec<FieldRead>) -> Self {
        Self(reads)
    }

    /// One field.
    #[must_use]
    pub fn get(&self, field: usize) -> &FieldRead {
        &self.0[field]
    }

    /// One field's value; `None` where absent.
    ///
    /// # Errors
    /// With its fault.
    pub fn value(&self, field: usize) -> Result<Option<&Value>, &FieldFault> {
        match &self.0[field] {
            FieldRead::Value(value) => Ok(value.as_ref()),
            FieldRead::Fault(fault) => Err(fault),
        }
    }

    /// All fields, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &FieldRead> {
        self.0.iter()
    }

    /// The faults among them.
    pub fn faults(&self) -> impl Iterator<Item = &FieldFault> {
        self.0.iter().filter_map(|read| match read {
            FieldRead::Value(_) => None,
            FieldRead::Fault(fault) => Some(fault),
        })
    }

    /// Digest over all fields: equal when all of them mean the same and are faulty in
    /// the same places.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut bytes = Vec::with_capacity(256);
        for read in &self.0 {
            match read {
                FieldRead::Value(value) => BaseValue::of(value.as_ref()).write(&mut bytes),
                FieldRead::Fault(_) => bytes.push(b'!'),
            }
        }
        Digest::of(&bytes)
    }
}
