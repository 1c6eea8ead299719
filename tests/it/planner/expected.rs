//! What a case must come to, worked out once more and in another way: from the rules of
//! the sync as a person would tell them, with no planner, marker, version or order.

use std::collections::BTreeSet;

use syncline::model::direction::Direction;
use syncline::model::side::{PerSide, Side};
use syncline::model::value::Value;
use syncline::reconcile::mapping::{FieldRead, Mapping};
use syncline::reconcile::merge::Initial;
use syncline::reconcile::spec::{ConflictPolicy, Owner};

use super::bench::{Bench, LostValue};
use super::scenario::{FieldRule, Row, Scenario};

/// A record's values in the app's form; an error is a value that the lens cannot carry.
type Told = Vec<Result<Option<Value>, ()>>;
/// The values each side held when the pair last agreed, in the app's form.
type Bases = PerSide<Vec<Option<Value>>>;

/// How the two records of a thing hang together.
#[derive(Debug, Clone)]
pub enum Bond {
    /// Not at all, so far.
    None,
    /// They are a pair.
    Pair(Bases),
    /// They were a pair.
    Gone {
        /// Where the deletion came from.
        side: Side,
        /// Whether the other record went with it.
        both: bool,
        bases: Bases,
    },
}

/// What a thing comes to.
#[derive(Debug, Clone)]
pub struct Expected {
    pub bond: Bond,
    pub rows: PerSide<Option<Row>>,
    /// A person must look at it; nothing of it is written.
    pub held: bool,
    pub lost: BTreeSet<LostValue>,
}

/// What one thing comes to, from how it stands before anything is synced.
pub struct Expecting<'a> {
    scenario: &'a Scenario,
    mapping: &'a Mapping,
    thing: usize,
    rows: PerSide<Option<Row>>,
    told: PerSide<Option<Told>>,
    /// Which side was modified last, where both tell.
    newer: Option<Side>,
}

/// A person must look at it.
struct Held;

/// What becomes of one field.
enum Fate {
    /// Both sides and what is remembered of them stay as they are.
    Stays,
    /// Both sides stay, and are remembered as they are.
    Agreed,
    /// One side takes the other's value.
    Taken { from: Side, lost: bool },
}

impl Bond {
    /// How things hang together before anybody did anything.
    pub fn of(bench: &Bench<'_>, mapping: &Mapping, thing: usize, agreed: bool) -> Self {
        if !agreed {
            return Bond::None;
        }
        let sound = |told: Told| told.into_iter().map(|value| value.expect("agreed records are sound")).collect();
        Bond::Pair(PerSide::from_fn(|side| tell(bench, mapping, side, thing).map(sound).unwrap_or_default()))
    }
}

fn tell(bench: &Bench<'_>, mapping: &Mapping, side: Side, thing: usize) -> Option<Told> {
    let read = mapping.read(side, bench.sides[side].live(thing)?.body()).expect("a record of this world is one object");
    let told = read.iter().map(|read| match read {
        FieldRead::Value(value) => Ok(value.clone()),
        FieldRead::Fault(_) => Err(()),
    });
    Some(told.collect())
}

fn same(a: Option<&Value>, b: Option<&Value>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => a.same(b),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

fn owner(field: &FieldRule) -> Option<Side> {
    match field.owner {
        Owner::App => Some(Side::App),
        Owner::Remote => Some(Side::Remote),
        Owner::Shared => None,
    }
}

impl<'a> Expecting<'a> {
    /// How a thing stands.
    pub fn new(bench: &Bench<'_>, scenario: &'a Scenario, mapping: &'a Mapping, thing: usize) -> Self {
        let rows = PerSide::from_fn(|side| bench.sides[side].live(thing).map(|record| record.row.clone()));
        let told = PerSide::from_fn(|side| tell(bench, mapping, side, thing));
        let times = PerSide::from_fn(|side| bench.sides[side].modified_of(thing));
        let order = times.app.zip(times.remote).map(|(app, remote)| app.cmp(&remote));
        let newer = match order {
            Some(std::cmp::Ordering::Greater) => Some(Side::App),
            Some(std::cmp::Ordering::Less) => Some(Side::Remote),
            Some(std::cmp::Ordering::Equal) | None => None,
        };
        Self { scenario, mapping, thing, rows, told, newer }
    }

    /// What it comes to.
    pub fn outcome(&self, bond: &Bond) -> Expected {
        let outcome = match bond {
            Bond::None => self.unpaired(),
            Bond::Pair(bases) => self.paired(bases),
            Bond::Gone { side, both, bases } => self.gone(bond, *side, *both, bases),
        };
        outcome.unwrap_or_else(|Held| Expected { held: true, ..self.untouched(bond.clone()) })
    }

    fn untouched(&self, bond: Bond) -> Expected {
        Expected { bond, rows: self.rows.clone(), held: false, lost: BTreeSet::new() }
    }

    fn writes(&self, side: Side) -> bool {
        self.scenario.direction.writes(side)
    }

    fn changed(&self, side: Side, bases: &Bases) -> bool {
        let told = self.told[side].iter().flatten().zip(&bases[side]);
        told.into_iter().any(|(value, base)| match value {
            Ok(value) => !same(value.as_ref(), base.as_ref()),
            Err(()) => true,
        })
    }

    fn unpaired(&self) -> Result<Expected, Held> {
        match (&self.told.app, &self.told.remote) {
            (None, None) => Ok(self.untouched(Bond::None)),
            (Some(_), None) if self.writes(Side::Remote) => self.born(Side::Remote),
            (None, Some(_)) if self.writes(Side::App) => self.born(Side::App),
            (Some(_), None) | (None, Some(_)) => Ok(self.untouched(Bond::None)),
            (Some(_), Some(_)) => self.merged(None),
        }
    }

    fn paired(&self, bases: &Bases) -> Result<Expected, Held> {
        let bond = |side: Side, both: bool| Bond::Gone { side, both, bases: bases.clone() };
        let (gone, lives) = match (&self.told.app, &self.told.remote) {
            (Some(_), Some(_)) if self.changed(Side::App, bases) || self.changed(Side::Remote, bases) => {
                return self.merged(Some(bases));
            }
            (Some(_), Some(_)) => return Ok(self.untouched(Bond::Pair(bases.clone()))),
            (None, None) => return Ok(self.untouched(bond(Side::App, true))),
            (None, Some(_)) => (Side::App, Side::Remote),
            (Some(_), None) => (Side::Remote, Side::App),
        };
        let counts = self.writes(gone);
        if counts && self.changed(lives, bases) {
            return self.reborn(gone, bases);
        }
        let mut expected = self.untouched(bond(gone, self.writes(lives)));
        if self.writes(lives) {
            expected.rows[lives] = None;
        }
        Ok(expected)
    }

    fn gone(&self, bond: &Bond, side: Side, both: bool, bases: &Bases) -> Result<Expected, Held> {
        let other = side.other();
        match (self.told[side].is_some(), self.told[other].is_some()) {
            (true, true) => self.merged(None),
            (true, false) if self.writes(other) => self.reborn(other, bases),
            (false, true) if self.writes(side) && (both || self.changed(other, bases)) => self.reborn(side, bases),
            (false, false) => Ok(self.untouched(Bond::Gone { side, both: true, bases: bases.clone() })),
            (true, false) | (false, true) => Ok(self.untouched(bond.clone())),
        }
    }

    /// A record is made for the first time. What its new side owns is that side's to fill.
    fn born(&self, target: Side) -> Result<Expected, Held> {
        self.made(target, None)
    }

    /// A record is made again. What its side owned comes back as it was last known there.
    fn reborn(&self, target: Side, bases: &Bases) -> Result<Expected, Held> {
        self.made(target, Some(bases))
    }

    fn made(&self, target: Side, bases: Option<&Bases>) -> Result<Expected, Held> {
        let told = self.told[target.other()].as_ref().ok_or(Held)?;
        let mut new = Row::new();
        for (index, field) in self.scenario.fields.iter().enumerate() {
            let owned = self.owned(index, target);
            let value = match (bases, owned, &told[index]) {
                (None, true, _) => {
                    new.push(field.stored(target, None));
                    continue;
                }
                (Some(bases), true, _) => bases[target][index].clone(),
                (_, false, Ok(value)) => value.clone(),
                (_, false, Err(())) => return Err(Held),
            };
            new.push(field.stored(target, self.fit(target, index, value.as_ref())?));
        }
        let mut expected = self.untouched(Bond::None);
        expected.rows[target] = Some(new);
        let mut now = self.bases_of(&expected.rows);
        match self.put_back(&expected, target, bases) {
            Ok(put_back) => {
                now = self.bases_of(&put_back.rows);
                expected = put_back;
            }
            // It is made, and what should be put back waits for a person.
            Err(Held) => {
                expected.held = true;
                let source = target.other();
                for index in (0..self.scenario.fields.len()).filter(|index| self.owned(*index, target)) {
                    now[source][index] = match bases {
                        Some(bases) => bases[source][index].clone(),
                        None => now[source][index].take().filter(Value::is_blank),
                    };
                    let sent = bases.and_then(|bases| self.fit(target, index, bases[target][index].as_ref()).ok()?);
                    if sent.is_none() {
                        now[target][index] = None;
                    }
                }
            }
        }
        expected.bond = Bond::Pair(now);
        Ok(expected)
    }

    /// Where a record was made on the side that owns a field, the other side takes what
    /// stands there, unless it has nothing either.
    fn put_back(&self, made: &Expected, target: Side, bases: Option<&Bases>) -> Result<Expected, Held> {
        let source = target.other();
        let mut expected = made.clone();
        for (index, field) in self.scenario.fields.iter().enumerate() {
            if !self.owned(index, target) {
                continue;
            }
            let told = &self.told[source].as_ref().expect("it was made from this")[index];
            let owners =
                self.tell_value(target, index, expected.rows[target].as_ref().and_then(|row| row[index].as_ref()));
            let edited = match (bases, told) {
                (_, Err(())) => true,
                (Some(bases), Ok(value)) => !same(value.as_ref(), bases[source][index].as_ref()),
                (None, Ok(value)) => value.as_ref().is_some_and(|value| !value.is_blank()) || owners.is_some(),
            };
            let lost = match told {
                Ok(value) if bases.is_some() || value.as_ref().is_some_and(|value| !value.is_blank()) => Some(value),
                Ok(_) | Err(()) => None,
            };
            if !edited || told.as_ref().is_ok_and(|value| self.alike(index, source, value, &owners)) {
                continue;
            }
            let sent = self.fit(source, index, owners.as_ref())?;
            if told.as_ref().is_ok_and(|value| self.stands(source, index, value.as_ref(), sent.as_ref())) {
                continue;
            }
            if let Some(row) = &mut expected.rows[source] {
                row[index] = field.stored(source, sent);
            }
            if let Some(lost) = lost {
                expected.lost.insert(self.lost(index, target, lost.as_ref()));
            }
        }
        Ok(expected)
    }

    /// Both are there: field by field. Without bases they meet for the first time.
    fn merged(&self, bases: Option<&Bases>) -> Result<Expected, Held> {
        let mut expected = self.untouched(Bond::None);
        let mut left = Vec::new();
        for (index, field) in self.scenario.fields.iter().enumerate() {
            let told = PerSide::from_fn(|side| &self.told[side].as_ref().expect("both are there")[index]);
            if Side::BOTH.into_iter().any(|side| told[side].is_err() && !self.decided_by(index, side.other())) {
                return Err(Held);
            }
            let (from, lost) = match self.fate(index, told, bases)? {
                Fate::Stays => {
                    left.push(index);
                    continue;
                }
                Fate::Agreed => continue,
                Fate::Taken { from, lost } => (from, lost),
            };
            let to = from.other();
            let value = told[from].as_ref().map_err(|()| Held)?;
            let sent = self.fit(to, index, value.as_ref())?;
            if told[to].as_ref().is_ok_and(|present| self.stands(to, index, present.as_ref(), sent.as_ref())) {
                continue;
            }
            if let Some(row) = &mut expected.rows[to] {
                row[index] = field.stored(to, sent);
            }
            if let (true, Ok(value)) = (lost, told[to]) {
                expected.lost.insert(self.lost(index, from, value.as_ref()));
            }
        }
        let mut now = self.bases_of(&expected.rows);
        if let Some(bases) = bases {
            for index in left {
                Side::BOTH.iter().for_each(|&side| now[side][index].clone_from(&bases[side][index]));
            }
        }
        expected.bond = Bond::Pair(now);
        Ok(expected)
    }

    fn fate(
        &self,
        index: usize,
        told: PerSide<&Result<Option<Value>, ()>>,
        bases: Option<&Bases>,
    ) -> Result<Fate, Held> {
        let equal = match (told.app, told.remote) {
            (Ok(app), Ok(remote)) => self.mapping.same(index, app.as_ref(), remote.as_ref()),
            (Err(()), _) | (_, Err(())) => false,
        };
        let Some(bases) = bases else {
            return if equal { Ok(Fate::Agreed) } else { self.first_meeting(index, told) };
        };
        let edited = PerSide::from_fn(|side| match told[side] {
            Ok(value) => !same(value.as_ref(), bases[side][index].as_ref()),
            Err(()) => true,
        });
        let from = match (edited.app, edited.remote) {
            (false, false) => return Ok(Fate::Stays),
            (true, true | false) | (false, true) if equal => return Ok(Fate::Agreed),
            (true, true) => return Ok(Fate::Taken { from: self.winner(index), lost: true }),
            (true, false) => Side::App,
            (false, true) => Side::Remote,
        };
        Ok(match self.scenario.direction {
            Direction::TwoWay if self.decided_by(index, from.other()) => Fate::Taken { from: from.other(), lost: true },
            Direction::Out | Direction::In if !self.writes(from.other()) => Fate::Stays,
            Direction::TwoWay | Direction::Out | Direction::In => Fate::Taken { from, lost: false },
        })
    }

    fn first_meeting(&self, index: usize, told: PerSide<&Result<Option<Value>, ()>>) -> Result<Fate, Held> {
        let blank = PerSide::from_fn(|side| match told[side] {
            Ok(value) => value.as_ref().is_none_or(Value::is_blank),
            Err(()) => false,
        });
        let decider = Side::BOTH.into_iter().find(|&side| self.decided_by(index, side));
        let from = match (decider, blank.app, blank.remote, self.scenario.initial) {
            (Some(side), ..) => side,
            (None, true, false, _) => Side::Remote,
            (None, false, true, _) => Side::App,
            (None, _, _, Some(Initial::Side(side))) => side,
            (None, _, _, Some(Initial::Newest)) => self.newest(),
            (None, _, _, None) => self.scenario.tie,
            (None, _, _, Some(Initial::Ask | Initial::Leave)) => return Err(Held),
        };
        Ok(Fate::Taken { from, lost: !blank[from.other()] })
    }

    fn winner(&self, index: usize) -> Side {
        if let Some(side) = Side::BOTH.into_iter().find(|&side| self.decided_by(index, side)) {
            return side;
        }
        match self.scenario.fields[index].conflict {
            ConflictPolicy::MergeThenTie => self.scenario.tie,
            ConflictPolicy::AppWins => Side::App,
            ConflictPolicy::RemoteWins => Side::Remote,
            ConflictPolicy::NewestWins => self.newest(),
        }
    }

    fn newest(&self) -> Side {
        self.newer.unwrap_or(self.scenario.tie)
    }

    /// Whether a side alone decides a field: it owns it, or changes come from it only.
    fn decided_by(&self, index: usize, side: Side) -> bool {
        match self.scenario.direction.target() {
            Some(target) => target != side,
            None => owner(&self.scenario.fields[index]) == Some(side),
        }
    }

    /// Whether a side owns a field of a two-way sync.
    fn owned(&self, index: usize, side: Side) -> bool {
        self.scenario.direction == Direction::TwoWay && self.decided_by(index, side)
    }

    /// A value as it is sent to a side, with the default in place of nothing.
    fn fit(&self, side: Side, index: usize, value: Option<&Value>) -> Result<Option<Value>, Held> {
        let field = &self.scenario.fields[index];
        let default = field.default_value();
        let value = match value {
            None | Some(Value::Null) => default.as_ref().or(value),
            Some(_) => value,
        };
        if field.required && value.is_none_or(Value::is_blank) {
            return Err(Held);
        }
        self.mapping.to_side(side, index, value).map_err(|_| Held)
    }

    /// Whether a side's value is spelled there as what it would be sent.
    fn stands(&self, side: Side, index: usize, present: Option<&Value>, sent: Option<&Value>) -> bool {
        self.mapping.to_side(side, index, present).is_ok_and(|present| same(present.as_ref(), sent))
    }

    fn alike(&self, index: usize, side: Side, value: &Option<Value>, other: &Option<Value>) -> bool {
        let pair = match side {
            Side::App => (value, other),
            Side::Remote => (other, value),
        };
        self.mapping.same(index, pair.0.as_ref(), pair.1.as_ref())
    }

    fn lost(&self, index: usize, winner: Side, value: Option<&Value>) -> LostValue {
        let field = self.scenario.fields[index].name.to_owned();
        LostValue { thing: self.thing, field, winner, value: value.map(Value::to_json) }
    }

    /// One stored value in the app's form. What is broken stands for nothing.
    fn tell_value(&self, side: Side, index: usize, value: Option<&Value>) -> Option<Value> {
        let form = self.scenario.fields[index].form;
        match side {
            Side::App => value.cloned(),
            Side::Remote => form.to_app(value),
        }
    }

    fn bases_of(&self, rows: &PerSide<Option<Row>>) -> Bases {
        PerSide::from_fn(|side| {
            let values = rows[side].iter().flatten().enumerate();
            values.map(|(index, value)| self.tell_value(side, index, value.as_ref())).collect()
        })
    }
}
