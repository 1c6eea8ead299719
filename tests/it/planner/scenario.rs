//! One case: a sync, two sides, a few things, and what people did to them.

use std::fmt::Write as _;

use fastrand::Rng;
use syncline::model::direction::Direction;
use syncline::model::side::{PerSide, Side};
use syncline::model::value::{Number, Value};
use syncline::reconcile::merge::Initial;
use syncline::reconcile::spec::{ConflictPolicy, Owner};

/// The values of one record, one for each field of the sync, as its side spells them.
pub type Row = Vec<Option<Value>>;

/// Everything that decides how a case ends, as plain data, so that a failing one can be
/// made smaller by leaving parts of it out.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub direction: Direction,
    /// Records are paired by their first field.
    pub matched: bool,
    pub tie: Side,
    pub initial: Option<Initial>,
    pub fields: Vec<FieldRule>,
    pub sides: PerSide<SideRule>,
    pub things: Vec<Thing>,
    pub num_rounds: usize,
    /// Shuffles the records where their order is to be random.
    pub shuffle: u64,
}

/// How one field is mapped, and what each side makes of what it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldRule {
    pub name: &'static str,
    pub owner: Owner,
    pub conflict: ConflictPolicy,
    pub form: Form,
    pub default: bool,
    pub required: bool,
    pub stores: PerSide<Stores>,
}

/// The lens of a field, with a few values that it can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Plain,
    Lowercase,
    Trim,
    Values,
    Boolean,
    NumberToText,
}

/// What a side makes of a value before it stores it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stores {
    AsSent,
    Trimmed,
    LowerCase,
    /// Numbers lose their fraction.
    Rounded,
    /// What is not the first letter of the alphabet becomes null.
    KnownOnly,
    /// What is absent or null becomes the first letter of the alphabet.
    WithDefault,
}

/// What a side can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SideRule {
    pub conditional: bool,
    pub versions: bool,
    pub modified: bool,
    pub whole: bool,
    pub local: bool,
    pub find: bool,
    pub lag_ms: u64,
}

/// What both sides, or one, have a record of.
#[derive(Debug, Clone)]
pub struct Thing {
    /// The records as they stood when the pair last agreed; `None` for a thing that was
    /// not known then.
    pub agreed: Option<PerSide<Row>>,
    pub rounds: Vec<PerSide<Turn>>,
}

/// What people did to one record of one side between two syncs.
#[derive(Debug, Clone, Default)]
pub struct Turn {
    pub edits: Vec<Edit>,
    /// What the side says about when that was.
    pub modified: i64,
}

/// One thing that somebody did. Without effect where it makes no sense, so that any of
/// them can be left out.
#[derive(Debug, Clone)]
pub enum Edit {
    Create(Row),
    Set(usize, Option<Value>),
    /// A key that is not mapped.
    Touch,
    Delete,
    /// Out of the bin: the same record, with the same id.
    Restore,
}

const NAMES: [&str; 5] = ["key", "f1", "f2", "f3", "f4"];

/// How many mappings there are. A mapping is compiled from a text, which takes longer
/// than a case, so cases share them.
const NUM_MAPPINGS: u64 = 600;

impl Scenario {
    /// The case of a seed.
    pub fn draw(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let rng = &mut rng;
        let mut shared = Rng::with_seed(rng.u64(0..NUM_MAPPINGS));
        let direction = pick(&mut shared, &[Direction::TwoWay, Direction::TwoWay, Direction::Out, Direction::In]);
        let matched = shared.u8(0..3) > 0;
        let mut fields = draw_fields(&mut shared, direction, matched);
        if rng.bool() {
            draw_stores(rng, &mut fields, matched);
        }
        let initials = [
            None,
            Some(Initial::Side(Side::App)),
            Some(Initial::Side(Side::Remote)),
            Some(Initial::Newest),
            Some(Initial::Ask),
        ];
        let num_rounds = rng.usize(1..=3);
        let broken = rng.u8(0..8) == 0;
        let mut scenario = Self {
            direction,
            matched,
            tie: pick(rng, &Side::BOTH),
            initial: pick(rng, &initials),
            fields,
            sides: PerSide::from_fn(|side| draw_side(rng, side)),
            things: Vec::new(),
            num_rounds,
            shuffle: rng.u64(..),
        };
        for number in 0..[1, 1, 2, 2, 3, 6][rng.usize(0..6)] {
            let thing = scenario.draw_thing(rng, number, broken);
            scenario.things.push(thing);
        }
        scenario
    }

    fn draw_thing(&self, rng: &mut Rng, number: usize, broken: bool) -> Thing {
        let agreed = (rng.u8(0..4) > 0).then(|| self.draw_agreed(rng, number));
        let rounds = (0..self.num_rounds)
            .map(|round| {
                let born = agreed.is_none() && (round == 0 || rng.bool());
                let twins = self.matched && rng.bool();
                let first = pick(rng, &Side::BOTH);
                PerSide::from_fn(|side| {
                    let mut edits = Vec::new();
                    if born && (side == first || twins) {
                        edits.push(Edit::Create(self.draw_row(rng, side, number, broken)));
                    }
                    for _ in 0..[0, 0, 1, 1, 2, 3][rng.usize(0..6)] {
                        edits.push(self.draw_edit(rng, side, number, agreed.is_some(), broken));
                    }
                    Turn { edits, modified: rng.i64(0..3) }
                })
            })
            .collect();
        Thing { agreed, rounds }
    }

    fn draw_edit(&self, rng: &mut Rng, side: Side, number: usize, agreed: bool, broken: bool) -> Edit {
        match rng.u8(0..20) {
            0..3 => Edit::Delete,
            3..5 => Edit::Restore,
            5 => Edit::Touch,
            _ => {
                let field = rng.usize(0..self.fields.len());
                if self.matched && field == 0 {
                    // A thing that is not linked is known by its key, so that stays.
                    let suffix = if agreed { pick(rng, &["", "x", "y"]) } else { "" };
                    return Edit::Set(0, Some(key(number, suffix)));
                }
                Edit::Set(field, draw_value(rng, self.fields[field].form, side, broken))
            }
        }
    }

    fn draw_row(&self, rng: &mut Rng, side: Side, number: usize, broken: bool) -> Row {
        let fields = self.fields.iter().enumerate();
        fields
            .map(|(index, field)| match self.matched && index == 0 {
                true => Some(key(number, "")),
                false => draw_value(rng, field.form, side, broken),
            })
            .collect()
    }

    /// Two records that agree, most of them in the same values. Where a side normalises,
    /// or a mapping was changed, a pair may have agreed on two different ones.
    fn draw_agreed(&self, rng: &mut Rng, number: usize) -> PerSide<Row> {
        let app = self.draw_row(rng, Side::App, number, false);
        let own = self.draw_row(rng, Side::Remote, number, false);
        let fields = self.fields.iter().zip(app.iter().zip(own));
        let remote = fields
            .map(|(field, (app, own))| if rng.u8(0..8) == 0 { own } else { field.form.to_remote(app.as_ref()) })
            .collect();
        PerSide { app, remote }
    }

    /// The sync as a document.
    pub fn document(&self) -> String {
        let mut text = String::new();
        if self.matched {
            text.push_str("match = [\"key\"]\n");
        }
        text.push_str("[fields]\n");
        for field in &self.fields {
            field.write_document(self.direction, &mut text);
        }
        text
    }

    /// A field less. Edits of it go with it.
    pub fn without_field(&self, index: usize) -> Self {
        let mut smaller = self.clone();
        smaller.fields.remove(index);
        for thing in &mut smaller.things {
            if let Some(agreed) = &mut thing.agreed {
                Side::BOTH.iter().for_each(|&side| drop(agreed[side].remove(index)));
            }
            for turn in thing.rounds.iter_mut().flat_map(|round| [&mut round.app, &mut round.remote]) {
                turn.edits = turn.edits.drain(..).filter_map(|edit| edit.without_field(index)).collect();
            }
        }
        smaller
    }
}

impl Edit {
    fn without_field(self, index: usize) -> Option<Self> {
        match self {
            Edit::Create(mut row) => {
                row.remove(index);
                Some(Edit::Create(row))
            }
            Edit::Set(field, _) if field == index => None,
            Edit::Set(field, value) => Some(Edit::Set(if field > index { field - 1 } else { field }, value)),
            Edit::Touch | Edit::Delete | Edit::Restore => Some(self),
        }
    }
}

impl FieldRule {
    fn write_document(&self, direction: Direction, text: &mut String) {
        let name = self.name;
        let _ = write!(text, "{name} = {{ remote = \"p.{name}\"");
        if direction == Direction::TwoWay {
            match self.owner {
                Owner::App => text.push_str(", owner = \"app\""),
                Owner::Remote => text.push_str(", owner = \"remote\""),
                Owner::Shared => match self.conflict {
                    ConflictPolicy::MergeThenTie => {}
                    ConflictPolicy::AppWins => text.push_str(", conflict = \"app_wins\""),
                    ConflictPolicy::RemoteWins => text.push_str(", conflict = \"remote_wins\""),
                    ConflictPolicy::NewestWins => text.push_str(", conflict = \"newest_wins\""),
                },
            }
        }
        text.push_str(match self.form {
            Form::Plain => "",
            Form::Lowercase => ", transform = \"lowercase\"",
            Form::Trim => ", transform = \"trim\"",
            Form::Values => ", values = { one = \"1\", two = \"2\" }",
            Form::Boolean => ", boolean = { true = \"yes\", false = \"no\" }",
            Form::NumberToText => ", transform = \"number_to_text\"",
        });
        if let Some(default) = self.default_value() {
            let _ = write!(text, ", default = {default}");
        }
        if self.required {
            text.push_str(", required = true");
        }
        text.push_str(" }\n");
    }

    /// What stands in for nothing, in the app's form.
    pub fn default_value(&self) -> Option<Value> {
        self.default.then(|| self.form.letter(Side::App, 3)).flatten()
    }

    /// What a side stores when it is sent a value.
    pub fn stored(&self, side: Side, value: Option<Value>) -> Option<Value> {
        match (self.stores[side], value) {
            (Stores::Trimmed, Some(Value::String(text))) => Some(Value::string(text.trim())),
            (Stores::LowerCase, Some(Value::String(text))) => Some(Value::string(text.to_lowercase())),
            (Stores::Rounded, Some(Value::Number(number))) => {
                let whole = number.as_str().split('.').next().unwrap_or_default();
                Number::parse(whole).ok().map(Value::Number)
            }
            (Stores::Rounded, Some(Value::String(text))) if text.starts_with(|c: char| c.is_ascii_digit()) => {
                Some(Value::string(text.split('.').next().unwrap_or_default()))
            }
            (Stores::KnownOnly, Some(value)) if !value.is_blank() => {
                let known = self.form.letter(side, 3).is_some_and(|known| known.same(&value));
                Some(if known { value } else { Value::Null })
            }
            (Stores::WithDefault, None | Some(Value::Null)) => self.form.letter(side, 3),
            (
                Stores::AsSent
                | Stores::Trimmed
                | Stores::LowerCase
                | Stores::Rounded
                | Stores::KnownOnly
                | Stores::WithDefault,
                value,
            ) => value,
        }
    }
}

impl Form {
    /// A letter of a field's alphabet, as a side spells it. Small, so that edits of both
    /// sides often meet. The fifth of some is one that the lens cannot carry.
    pub fn letter(self, side: Side, letter: u8) -> Option<Value> {
        if let 0..=2 = letter {
            return [None, Some(Value::Null), Some(Value::string(""))][usize::from(letter)].clone();
        }
        let texts = match (self, side) {
            (Form::Plain | Form::Lowercase | Form::Trim, _) => ["a", "b", "A", " a"],
            (Form::Values, Side::App) => ["one", "two", "z", "one"],
            (Form::Values, Side::Remote) => ["1", "2", "z", "1"],
            (Form::Boolean, Side::App) => {
                return [Value::Bool(true), Value::Bool(false), Value::string("z"), Value::Bool(true)]
                    .get(usize::from(letter - 3))
                    .cloned();
            }
            (Form::Boolean, Side::Remote) => ["yes", "no", "z", "yes"],
            (Form::NumberToText, Side::App) => {
                let text = ["1", "2", "1.5", "1.0"][usize::from(letter - 3)];
                return Number::parse(text).ok().map(Value::Number);
            }
            (Form::NumberToText, Side::Remote) => ["1", "2", "1.5", "1.0"],
        };
        texts.get(usize::from(letter - 3)).map(|text| Value::string(*text))
    }

    fn is_breakable(self) -> bool {
        match self {
            Form::Values | Form::Boolean => true,
            Form::Plain | Form::Lowercase | Form::Trim | Form::NumberToText => false,
        }
    }

    /// A stored value of the remote in the app's form; `None` too where it has none.
    pub fn to_app(self, remote: Option<&Value>) -> Option<Value> {
        let remote = remote?;
        match (self, remote) {
            (_, Value::Null) => Some(Value::Null),
            (Form::Plain, _) => Some(remote.clone()),
            (Form::Lowercase, Value::String(text)) => Some(Value::string(text.to_lowercase())),
            (Form::Trim, Value::String(text)) => Some(Value::string(text.trim())),
            (Form::NumberToText, Value::String(text)) if !text.is_empty() => {
                Number::parse(text).ok().map(Value::Number)
            }
            (Form::Values | Form::Boolean, Value::String(text)) if !text.is_empty() => (3..5)
                .find(|at| self.letter(Side::Remote, *at).as_ref() == Some(remote))
                .and_then(|at| self.letter(Side::App, at)),
            (Form::NumberToText | Form::Values | Form::Boolean, Value::String(_)) => Some(remote.clone()),
            (Form::Lowercase | Form::Trim | Form::Values | Form::Boolean | Form::NumberToText, _) => None,
        }
    }

    /// The remote's spelling of an app's value, where an agreed pair is drawn.
    fn to_remote(self, app: Option<&Value>) -> Option<Value> {
        let app = app?;
        let letter = (0..7).find(|letter| self.letter(Side::App, *letter).is_some_and(|value| value == *app));
        match letter {
            Some(letter) => self.letter(Side::Remote, letter),
            None => Some(app.clone()),
        }
    }
}

fn key(number: usize, suffix: &str) -> Value {
    Value::string(format!("k{number}{suffix}"))
}

fn pick<T: Clone>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.usize(0..from.len())].clone()
}

fn draw_fields(rng: &mut Rng, direction: Direction, matched: bool) -> Vec<FieldRule> {
    let number = rng.usize(1..=NAMES.len());
    let fields = NAMES.iter().take(number).enumerate();
    fields
        .map(|(index, name)| {
            let is_key = matched && index == 0;
            let owner = match direction {
                Direction::TwoWay => pick(rng, &[Owner::Shared, Owner::Shared, Owner::App, Owner::Remote]),
                Direction::Out => Owner::App,
                Direction::In => Owner::Remote,
            };
            let policies = [
                ConflictPolicy::MergeThenTie,
                ConflictPolicy::AppWins,
                ConflictPolicy::RemoteWins,
                ConflictPolicy::NewestWins,
            ];
            let forms = [
                Form::Plain,
                Form::Plain,
                Form::Lowercase,
                Form::Trim,
                Form::Values,
                Form::Boolean,
                Form::NumberToText,
            ];
            FieldRule {
                name,
                owner: if is_key { shared(direction) } else { owner },
                conflict: pick(rng, &policies),
                form: if is_key { Form::Plain } else { pick(rng, &forms) },
                default: !is_key && rng.u8(0..6) == 0,
                required: !is_key && rng.u8(0..8) == 0,
                stores: PerSide { app: Stores::AsSent, remote: Stores::AsSent },
            }
        })
        .collect()
}

/// The key is shared, because an owner's key is not written to the owner, and a new
/// record without a key is nobody's partner.
fn shared(direction: Direction) -> Owner {
    match direction {
        Direction::TwoWay => Owner::Shared,
        Direction::Out => Owner::App,
        Direction::In => Owner::Remote,
    }
}

fn draw_stores(rng: &mut Rng, fields: &mut [FieldRule], matched: bool) {
    let all = [
        Stores::AsSent,
        Stores::AsSent,
        Stores::Trimmed,
        Stores::LowerCase,
        Stores::Rounded,
        Stores::KnownOnly,
        Stores::WithDefault,
    ];
    for (index, field) in fields.iter_mut().enumerate() {
        if !(matched && index == 0) {
            field.stores = PerSide::from_fn(|_| pick(rng, &all));
        }
    }
}

fn draw_side(rng: &mut Rng, side: Side) -> SideRule {
    SideRule {
        conditional: rng.bool(),
        versions: rng.u8(0..4) > 0,
        modified: rng.u8(0..4) > 0,
        whole: rng.u8(0..3) == 0,
        local: side == Side::App && rng.u8(0..3) == 0,
        find: rng.bool(),
        lag_ms: pick(rng, &[0, 20_000]),
    }
}

fn draw_value(rng: &mut Rng, form: Form, side: Side, broken: bool) -> Option<Value> {
    let letter = [0, 1, 2, 3, 3, 3, 4, 4, 5, 6][rng.usize(0..10)];
    let letter = if letter == 5 && form.is_breakable() && !broken { 4 } else { letter };
    let letter = if letter == 2 && form == Form::NumberToText { 1 } else { letter };
    form.letter(side, letter)
}
