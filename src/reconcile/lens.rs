//! Lenses: how one field's value is respelled between the app's form and the remote's.
//!
//! A lens is a chain of steps, first to last on the way to the remote and last to first
//! on the way back. Absent, null and the empty text are three different things, and each
//! passes through every lens unchanged. A step that normalises (case, trim) does so on
//! the way to either side, so that both come to hold the normal form.

use std::collections::HashMap;

use super::dates::DateLens;
use super::expression::ExpressionLens;
use super::pieces::Pieces;
use super::{decimal, shown_value};
use crate::model::direction::Direction;
use crate::model::side::{PerSide, Side};
use crate::model::value::{Number, Value};

/// The longest list of known values shown in a message.
const MAX_LISTED: usize = 10;

/// A chain of steps.
#[derive(Debug, Clone, Default)]
pub(super) struct Lens {
    steps: Vec<Step>,
    /// Of how many values a side's form is a list, where it stands at as many paths there.
    lists: PerSide<Option<usize>>,
}

/// One step of a lens.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// A transform without settings.
    Transform(Transform),
    /// `true` and `false` as the remote spells them.
    Boolean { yes: Value, no: Value },
    /// A date or time in two forms.
    Date(DateLens),
    /// Named values, each with its name on the other side.
    Values(Values),
    /// A formula for each way.
    Expression(ExpressionLens),
    /// A text on one side, the list of its pieces on the other.
    Pieces {
        /// How it is cut.
        by: Pieces,
        /// The side of the text.
        text_on: Side,
    },
}

/// A transform without settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transform {
    /// Lower case on both sides.
    Lowercase,
    /// Upper case on both sides.
    Uppercase,
    /// No white space around it, on both sides.
    Trim,
    /// A number in the app, its text in the remote.
    NumberToText,
    /// A text in the app, the number it says in the remote.
    TextToNumber,
}

/// What kind of value a step takes or yields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A text.
    Text,
    /// A number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A list.
    List,
    /// An object.
    Object,
    /// It depends.
    Any,
}

/// Named values, each with its name on the other side.
#[derive(Debug, Clone)]
pub(super) struct Values {
    pairs: Vec<PerSide<Value>>,
    /// What stands on a side for a value that is not among the pairs.
    default: PerSide<Option<Value>>,
    /// From the canonical bytes of a side's value to the pair that respells it.
    index: PerSide<HashMap<Vec<u8>, usize>>,
}

impl Lens {
    pub(super) fn new(steps: Vec<Step>) -> Self {
        Self { steps, lists: PerSide::default() }
    }

    /// The same where a side's form is a list of so many values.
    pub(super) fn with_lists(self, lists: PerSide<Option<usize>>) -> Self {
        Self { lists, ..self }
    }

    /// Whether it changes nothing.
    pub(super) fn is_plain(&self) -> bool {
        self.steps.is_empty() && self.lists.app.is_none() && self.lists.remote.is_none()
    }

    /// Respells a value for a side: from the app's form to the remote's, or back.
    ///
    /// # Errors
    /// With what is wrong with the value.
    pub(super) fn apply(&self, to: Side, mut value: Value) -> Result<Value, String> {
        match to {
            Side::Remote => {
                for step in &self.steps {
                    value = step.apply(to, value)?;
                }
            }
            Side::App => {
                for step in self.steps.iter().rev() {
                    value = step.apply(to, value)?;
                }
            }
        }
        match (self.lists[to], &value) {
            (None, _) | (Some(_), Value::Null) => Ok(value),
            (Some(number), Value::Array(items)) if items.len() == number => Ok(value),
            (Some(number), _) => Err(format!("it becomes {}, not a list of {number}", shown_value(&value))),
        }
    }

    /// What kind of value the app's form is.
    pub(super) fn app_shape(&self) -> Shape {
        self.steps.first().map_or(Shape::Any, |step| step.shapes().app)
    }

    /// A text that names the lens: the same for the same meaning, in every release.
    pub(super) fn identity(&self) -> String {
        self.steps.iter().map(Step::identity).collect::<Vec<_>>().join(",")
    }

    /// The first two neighbouring steps of which one cannot take what the other yields.
    pub(super) fn misfit(&self) -> Option<String> {
        self.steps.windows(2).find_map(|steps| {
            let (yields, takes) = (steps[0].shapes().remote, steps[1].shapes().app);
            (!yields.fits(takes)).then(|| {
                let (first, second) = (steps[0].name(), steps[1].name());
                format!("'{first}' yields {}, but '{second}' takes {}", yields.as_str(), takes.as_str())
            })
        })
    }

    /// Tries the laws on samples: what is written must read back as something that
    /// would be written the same again. Says how a sample breaks them. Samples that do not obey
    /// the field's rules in the app's form are left out: such a value is never written.
    pub(super) fn broken_law(&self, direction: Direction, obeys: &dyn Fn(&Value) -> bool) -> Option<String> {
        let samples = self.samples();
        let remote = || samples.app.iter().find_map(|value| self.breaks_law(Side::Remote, value, direction, obeys));
        let app = || samples.remote.iter().find_map(|value| self.breaks_law(Side::App, value, direction, obeys));
        match direction {
            Direction::Out => remote(),
            Direction::In => app(),
            Direction::TwoWay => remote().or_else(app),
        }
    }

    fn breaks_law(
        &self,
        to: Side,
        value: &Value,
        direction: Direction,
        obeys: &dyn Fn(&Value) -> bool,
    ) -> Option<String> {
        let show = |value: &Value| if matches!(value, Value::String(_)) { shown_value(value) } else { value.to_json() };
        // A value which the lens refuses is a fault of the record, not of the lens.
        let written = self.apply(to, value.clone()).ok()?;
        let in_app_form = if to == Side::Remote { value } else { &written };
        if !obeys(in_app_form) {
            return None;
        }
        let becomes = format!("{} becomes {} in the {to}", show(value), show(&written));
        let back = match self.apply(to.other(), written.clone()) {
            Ok(back) => back,
            // Into the app only: nothing is ever written back.
            Err(_) if direction == Direction::In => return None,
            Err(reason) => return Some(format!("{becomes}, which cannot be read back: {reason}")),
        };
        // Values of several paths are each somebody's: none may change because another does.
        if self.lists[to.other()].is_some() && direction.writes(to.other()) && !back.same(value) {
            return Some(format!("{becomes}, and would be written back as {}", show(&back)));
        }
        match self.apply(to, back.clone()) {
            Ok(again) if again.same(&written) => None,
            Ok(again) => Some(format!("{becomes}, reads back as {} and then becomes {}", show(&back), show(&again))),
            Err(reason) => Some(format!("{becomes}, reads back as {}, and then {reason}", show(&back))),
        }
    }

    fn samples(&self) -> PerSide<Vec<Value>> {
        let mut samples = PerSide::from_fn(|side| self.lists[side].map_or_else(general_samples, list_samples));
        for step in &self.steps {
            let own = step.samples();
            samples.app.extend(own.app);
            samples.remote.extend(own.remote);
        }
        samples
    }

    /// A named value that can never be met because the steps before change it.
    pub(super) fn unreachable_value(&self) -> Option<&Value> {
        let values = self.steps.iter().find_map(|step| match step {
            Step::Values(values) => Some(values),
            Step::Transform(_) | Step::Boolean { .. } | Step::Date(_) | Step::Expression(_) | Step::Pieces { .. } => {
                None
            }
        })?;
        let wanted = |pair: &PerSide<Value>| self.apply(Side::Remote, pair.app.clone());
        let pair = values.pairs.iter().find(|pair| !wanted(pair).is_ok_and(|value| value.same(&pair.remote)));
        pair.map(|pair| &pair.app)
    }
}

impl Step {
    fn apply(&self, to: Side, value: Value) -> Result<Value, String> {
        // The empty text is the list without entries, and back.
        let passes = value.as_str() == Some("") && !matches!(self, Step::Pieces { .. });
        if passes || matches!(&value, Value::Null) {
            return Ok(value);
        }
        match self {
            Step::Transform(transform) => transform.apply(to, value),
            Step::Boolean { yes, no } => apply_boolean(yes, no, to, &value),
            Step::Date(dates) => dates.apply(to, &value),
            Step::Values(values) => values.apply(to, &value),
            Step::Expression(expression) => expression.apply(to, &value),
            Step::Pieces { by, text_on } if *text_on == to => by.join_list(&value),
            Step::Pieces { by, .. } => by.split_list(&value),
        }
    }

    fn shapes(&self) -> PerSide<Shape> {
        match self {
            Step::Transform(transform) => transform.shapes(),
            Step::Boolean { yes, no } => PerSide { app: Shape::Boolean, remote: Shape::of_all([yes, no].into_iter()) },
            Step::Date(dates) => PerSide::from_fn(|side| dates.forms[side].shape()),
            Step::Values(values) => PerSide::from_fn(|side| Shape::of_all(values.pairs.iter().map(|pair| &pair[side]))),
            Step::Expression(_) => PerSide::from_fn(|_| Shape::Any),
            Step::Pieces { text_on, .. } => {
                PerSide::from_fn(|side| if side == *text_on { Shape::Text } else { Shape::List })
            }
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Step::Transform(transform) => transform.as_str(),
            Step::Boolean { .. } => "boolean",
            Step::Date(_) => "date",
            Step::Values(_) => "values",
            Step::Expression(_) => "expression",
            Step::Pieces { text_on: Side::App, .. } => "split",
            Step::Pieces { text_on: Side::Remote, .. } => "join",
        }
    }

    fn identity(&self) -> String {
        match self {
            Step::Transform(transform) => transform.as_str().to_owned(),
            Step::Boolean { yes, no } => format!("boolean:{yes}{no}"),
            Step::Date(dates) => dates.identity(),
            Step::Values(values) => values.identity(),
            Step::Expression(expression) => expression.identity(),
            Step::Pieces { by, .. } => format!("{}:{}", self.name(), by.identity()),
        }
    }

    fn samples(&self) -> PerSide<Vec<Value>> {
        match self {
            Step::Transform(_) | Step::Expression(_) => PerSide::default(),
            Step::Boolean { yes, no } => PerSide { app: Vec::new(), remote: vec![yes.clone(), no.clone()] },
            Step::Date(dates) => dates.samples(),
            Step::Values(values) => PerSide::from_fn(|side| {
                values.pairs.iter().map(|pair| pair[side].clone()).chain(values.default[side].clone()).collect()
            }),
            Step::Pieces { by, text_on } => {
                let s = &by.separator;
                let texts =
                    ["aSb", "SaSSbS", "S", "a Sb", "SS"].map(|text| Value::string(text.replace('S', s))).to_vec();
                let list = |texts: &[&str]| Value::Array(texts.iter().map(|text| Value::string(*text)).collect());
                let lists = vec![list(&[]), list(&["a"]), list(&["a", "b"]), list(&[" a ", "b"]), list(&[s, "a"])];
                PerSide::from_fn(|side| if side == *text_on { texts.clone() } else { lists.clone() })
            }
        }
    }
}

impl Transform {
    /// The words of the mapping language.
    pub(super) const ALL: [Transform; 5] =
        [Transform::Lowercase, Transform::Uppercase, Transform::Trim, Transform::NumberToText, Transform::TextToNumber];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Transform::Lowercase => "lowercase",
            Transform::Uppercase => "uppercase",
            Transform::Trim => "trim",
            Transform::NumberToText => "number_to_text",
            Transform::TextToNumber => "text_to_number",
        }
    }

    fn shapes(self) -> PerSide<Shape> {
        match self {
            Transform::Lowercase | Transform::Uppercase | Transform::Trim => PerSide::from_fn(|_| Shape::Text),
            Transform::NumberToText => PerSide { app: Shape::Number, remote: Shape::Text },
            Transform::TextToNumber => PerSide { app: Shape::Text, remote: Shape::Number },
        }
    }

    fn apply(self, to: Side, value: Value) -> Result<Value, String> {
        match (self, to) {
            (Transform::Lowercase, _) => text(value).map(|text| Value::String(text.to_lowercase())),
            (Transform::Uppercase, _) => text(value).map(|text| Value::String(text.to_uppercase())),
            (Transform::Trim, _) => text(value).map(trimmed),
            (Transform::NumberToText, Side::Remote) | (Transform::TextToNumber, Side::App) => number_to_text(&value),
            (Transform::NumberToText, Side::App) | (Transform::TextToNumber, Side::Remote) => text_to_number(&value),
        }
    }
}

impl Shape {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Shape::Text => "a text",
            Shape::Number => "a number",
            Shape::Boolean => "a boolean",
            Shape::List => "a list",
            Shape::Object => "an object",
            Shape::Any => "any value",
        }
    }

    pub(super) fn fits(self, other: Shape) -> bool {
        self == other || self == Shape::Any || other == Shape::Any
    }

    fn of(value: &Value) -> Self {
        match value {
            Value::String(_) => Shape::Text,
            Value::Number(_) => Shape::Number,
            Value::Bool(_) => Shape::Boolean,
            Value::Null | Value::Array(_) | Value::Object(_) => Shape::Any,
        }
    }

    /// The one shape that all values have.
    fn of_all<'v>(mut values: impl Iterator<Item = &'v Value>) -> Self {
        let first = values.next().map_or(Shape::Any, Shape::of);
        if values.all(|value| Shape::of(value) == first) { first } else { Shape::Any }
    }
}

impl Values {
    /// Builds both ways of looking up. Where several app values share a remote one, the
    /// default names the one to read back, else the first does.
    pub(super) fn new(pairs: Vec<PerSide<Value>>, default: PerSide<Option<Value>>) -> Self {
        let mut index = PerSide::<HashMap<Vec<u8>, usize>>::default();
        for (i, pair) in pairs.iter().enumerate() {
            index.app.entry(canonical(&pair.app)).or_insert(i);
            let preferred = default.app.as_ref().is_some_and(|app| app.same(&pair.app));
            if preferred {
                index.remote.insert(canonical(&pair.remote), i);
            } else {
                index.remote.entry(canonical(&pair.remote)).or_insert(i);
            }
        }
        Self { pairs, default, index }
    }

    /// The first remote value shared by app values of which the default names none.
    pub(super) fn ambiguous(&self) -> Option<(&Value, &Value, &Value)> {
        self.pairs.iter().enumerate().find_map(|(i, pair)| {
            let kept = &self.pairs[*self.index.remote.get(&canonical(&pair.remote))?];
            let named = self.default.app.as_ref().is_some_and(|app| app.same(&kept.app));
            let first = self.pairs[..i].iter().find(|other| other.remote.same(&pair.remote))?;
            (!named).then_some((&first.app, &pair.app, &pair.remote))
        })
    }

    fn apply(&self, to: Side, value: &Value) -> Result<Value, String> {
        let from = to.other();
        if let Some(pair) = self.index[from].get(&canonical(value)) {
            return Ok(self.pairs[*pair][to].clone());
        }
        match (&self.default[to], Shape::of(value)) {
            (Some(default), Shape::Text | Shape::Number | Shape::Boolean) => Ok(default.clone()),
            (None, _) | (Some(_), Shape::List | Shape::Object | Shape::Any) => {
                let mut known: Vec<String> =
                    self.pairs.iter().take(MAX_LISTED).map(|pair| shown_value(&pair[from])).collect();
                if self.pairs.len() > MAX_LISTED {
                    known.push("…".to_owned());
                }
                Err(format!("{} is not among the declared values {}", shown_value(value), known.join(", ")))
            }
        }
    }

    fn identity(&self) -> String {
        let mut pairs: Vec<String> = self.pairs.iter().map(|pair| format!("{}={}", pair.app, pair.remote)).collect();
        pairs.sort();
        let default = |side: Side| self.default[side].as_ref().map(Value::to_json).unwrap_or_default();
        format!("values:{};{}={}", pairs.join(","), default(Side::App), default(Side::Remote))
    }
}

fn canonical(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(32);
    value.write_canonical(&mut bytes);
    bytes
}

fn apply_boolean(yes: &Value, no: &Value, to: Side, value: &Value) -> Result<Value, String> {
    match (to, value) {
        (Side::Remote, Value::Bool(true)) => Ok(yes.clone()),
        (Side::Remote, Value::Bool(false)) => Ok(no.clone()),
        (Side::Remote, _) => Err(format!("{} is not true or false", shown_value(value))),
        (Side::App, value) if value.same(yes) => Ok(Value::Bool(true)),
        (Side::App, value) if value.same(no) => Ok(Value::Bool(false)),
        (Side::App, _) => {
            Err(format!("{} is neither {} nor {}", shown_value(value), shown_value(yes), shown_value(no)))
        }
    }
}

fn text(value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Err(format!("it is a {}, not a text", value.kind()))
        }
    }
}

fn trimmed(text: String) -> Value {
    let trimmed = text.trim();
    Value::String(if trimmed.len() == text.len() { text } else { trimmed.to_owned() })
}

fn number_to_text(value: &Value) -> Result<Value, String> {
    match value {
        Value::Number(number) => Ok(Value::String(decimal::plain_text(number))),
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            Err(format!("it is a {}, not a number", value.kind()))
        }
    }
}

fn text_to_number(value: &Value) -> Result<Value, String> {
    match value {
        Value::String(text) => {
            Number::parse(text).map(Value::Number).map_err(|_| format!("{} is not a number", shown_value(value)))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Err(format!("it is a {}, not a text", value.kind()))
        }
    }
}

/// Lists of so many values, as several paths hold them.
fn list_samples(number: usize) -> Vec<Value> {
    let all = ["\"a\"", "null", "\"B c\"", "\"\"", "1", "\"d;e, f\"", "true", "\" g \"", "0.50"];
    let all: Vec<Value> = all.iter().filter_map(|json| Value::from_json(json).ok()).collect();
    let list = |first: usize, step: usize| (0..number).map(|n| all[(first + n * step) % all.len()].clone()).collect();
    let starts = (0..all.len()).flat_map(|first| (0..4).map(move |step| (first, step)));
    starts.map(|(first, step)| Value::Array(list(first, step))).collect()
}

/// Values that are hard to carry, of every kind.
fn general_samples() -> Vec<Value> {
    let texts = [
        "",
        " ",
        "a",
        " Mixed Case ",
        "ÄÖÜ ß ẞ ǅ İ ı ΣΑΣ ﬁ ŉ",
        "e\u{301} é",
        "日本語",
        "👩‍👩‍👧",
        "\u{0}\n\t\u{a0}\u{feff}",
        "null",
        "true",
        "007",
        "+1",
    ];
    let numbers = [
        "0",
        "-0",
        "1",
        "-1",
        "0.1",
        "1.50",
        "1e2",
        "1E-7",
        "1e400",
        "9007199254740993",
        "-9223372036854775809",
        "12345678901234567890123",
        "0.1234567890123456789",
    ];
    let numbers = || numbers.iter().filter_map(|text| Number::parse(text).ok());
    let mut samples: Vec<Value> = texts.iter().map(|text| Value::string(*text)).collect();
    samples.extend(numbers().map(|number| Value::string(number.as_str())));
    samples.extend(numbers().map(Value::Number));
    samples.extend([Value::Null, Value::Bool(true), Value::Bool(false)]);
    samples.extend([Value::Array(vec![Value::string("A")]), Value::Object(Vec::new())]);
    samples
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn json(text: &str) -> Value {
        Value::from_json(text).unwrap()
    }

    fn values(pairs: &[(&str, &str)], app: Option<&str>, remote: Option<&str>) -> Step {
        let pairs = pairs.iter().map(|(app, remote)| PerSide { app: json(app), remote: json(remote) }).collect();
        Step::Values(Values::new(pairs, PerSide { app: app.map(json), remote: remote.map(json) }))
    }

    fn transforms(names: &[Transform]) -> Lens {
        Lens::new(names.iter().map(|transform| Step::Transform(*transform)).collect())
    }

    fn boolean() -> Step {
        Step::Boolean { yes: json("\"yes\""), no: json("0") }
    }

    #[test]
    fn each_step_in_both_directions() {
        use Transform::{Lowercase, NumberToText, TextToNumber, Trim, Uppercase};
        let tier = || Lens::new(vec![values(&[("\"free\"", "\"F\""), ("\"pro\"", "2")], None, None)]);
        let open = || Lens::new(vec![values(&[("\"free\"", "\"F\"")], Some("\"other\""), Some("\"X\""))]);
        let yes_no = || Lens::new(vec![boolean()]);
        for (lens, to, value, want) in [
            (transforms(&[Lowercase]), Side::Remote, r#""ÄB""#, r#""äb""#),
            (transforms(&[Lowercase]), Side::App, r#""ÄB""#, r#""äb""#),
            (transforms(&[Uppercase]), Side::Remote, r#""straße""#, r#""STRASSE""#),
            (transforms(&[Trim, Lowercase]), Side::Remote, r#"" A b\n""#, r#""a b""#),
            (transforms(&[Trim]), Side::App, r#"" a ""#, r#""a""#),
            (transforms(&[NumberToText]), Side::Remote, "12345678901234567890123", r#""12345678901234567890123""#),
            (transforms(&[NumberToText]), Side::Remote, "10.00", r#""10.00""#),
            (transforms(&[NumberToText]), Side::Remote, "1e2", r#""100""#),
            (transforms(&[NumberToText]), Side::App, r#""1.50""#, "1.50"),
            (transforms(&[TextToNumber]), Side::Remote, r#""9007199254740993""#, "9007199254740993"),
            (transforms(&[TextToNumber]), Side::App, "-1.5", r#""-1.5""#),
            (transforms(&[Trim, TextToNumber]), Side::Remote, r#"" 7 ""#, "7"),
            (yes_no(), Side::Remote, "true", r#""yes""#),
            (yes_no(), Side::Remote, "false", "0"),
            (yes_no(), Side::App, "0.0", "false"),
            (tier(), Side::Remote, r#""pro""#, "2"),
            (tier(), Side::App, "2.0", r#""pro""#),
            (open(), Side::Remote, r#""gold""#, r#""X""#),
            (open(), Side::App, "17", r#""other""#),
        ] {
            assert_eq!(lens.apply(to, json(value)).unwrap().to_json(), want, "{lens:?} {value}");
        }
    }

    #[test]
    fn a_value_that_does_not_fit_says_why() {
        use Transform::{Lowercase, NumberToText, TextToNumber, Trim};
        let tier = || Lens::new(vec![values(&[("\"free\"", "\"F\""), ("\"pro\"", "\"P\"")], None, None)]);
        let open = Lens::new(vec![values(&[("\"free\"", "\"F\"")], Some("\"other\""), Some("\"X\""))]);
        for (lens, to, value, want) in [
            (transforms(&[Lowercase]), Side::Remote, "5", "it is a number, not a text"),
            (transforms(&[Trim]), Side::App, "[]", "it is a list, not a text"),
            (transforms(&[NumberToText]), Side::Remote, "\"5\"", "it is a text, not a number"),
            (transforms(&[NumberToText]), Side::App, "\"five\\n\"", "'five\\n' is not a number"),
            (transforms(&[TextToNumber]), Side::Remote, "\"007\"", "'007' is not a number"),
            (transforms(&[TextToNumber]), Side::App, "true", "it is a boolean, not a number"),
            (Lens::new(vec![boolean()]), Side::Remote, "\"yes\"", "'yes' is not true or false"),
            (Lens::new(vec![boolean()]), Side::App, "\"maybe\"", "'maybe' is neither 'yes' nor 0"),
            (tier(), Side::Remote, "\"gold\"", "'gold' is not among the declared values 'free', 'pro'"),
            (tier(), Side::App, "\"f\"", "'f' is not among the declared values 'F', 'P'"),
            (open, Side::Remote, "[1]", "a list of 1 is not among the declared values 'free'"),
        ] {
            assert_eq!(lens.apply(to, json(value)).unwrap_err(), want, "{lens:?} {value}");
        }
    }

    #[test]
    fn null_and_empty_pass_through_every_lens() {
        let date = DateLens { forms: PerSide::from_fn(|_| super::super::dates::Form::Iso), zone: chrono_tz::Tz::UTC };
        let mut lenses: Vec<Lens> = Transform::ALL.iter().map(|transform| transforms(&[*transform])).collect();
        lenses.push(Lens::new(vec![boolean()]));
        lenses.push(Lens::new(vec![Step::Date(date)]));
        lenses.push(Lens::new(vec![values(&[("\"a\"", "\"b\"")], Some("\"c\""), Some("\"d\""))]));
        for lens in lenses {
            for value in [Value::Null, Value::string("")] {
                for side in Side::BOTH {
                    assert_eq!(lens.apply(side, value.clone()), Ok(value.clone()), "{lens:?}");
                }
            }
        }
    }

    #[test]
    fn chains_that_do_not_fit_together() {
        use Transform::{Lowercase, NumberToText, TextToNumber};
        let error = transforms(&[NumberToText, NumberToText]).misfit().unwrap();
        assert_eq!(error, "'number_to_text' yields a text, but 'number_to_text' takes a number");
        assert_eq!(transforms(&[NumberToText, Lowercase, TextToNumber]).misfit(), None);
        let dead = Lens::new(vec![Step::Transform(Lowercase), values(&[("\"Free\"", "\"F\"")], None, None)]);
        assert_eq!(dead.unreachable_value(), Some(&json("\"Free\"")));
    }

    #[test]
    fn laws_hold_for_what_is_built_in_and_catch_what_is_not() {
        for transform in Transform::ALL {
            for direction in Direction::ALL {
                assert_eq!(transforms(&[transform]).broken_law(direction, &|_| true), None);
            }
        }
        // Unknown app values become X, which reads back as free, which becomes F.
        let flips = Lens::new(vec![values(&[("\"free\"", "\"F\"")], Some("\"free\""), Some("\"X\""))]);
        let told = flips.broken_law(Direction::TwoWay, &|_| true).unwrap();
        assert!(told.ends_with("becomes 'X' in the remote, reads back as 'free' and then becomes 'F'"), "{told}");
        let blind = Lens::new(vec![values(&[("\"free\"", "\"F\"")], None, Some("\"X\""))]);
        assert!(blind.broken_law(Direction::Out, &|_| true).unwrap().contains("cannot be read back"));
        let into = Lens::new(vec![values(&[("\"free\"", "\"F\"")], Some("\"other\""), None)]);
        assert_eq!(into.broken_law(Direction::In, &|_| true), None);
        assert!(into.broken_law(Direction::TwoWay, &|_| true).unwrap().contains("cannot be read back"));
    }

    #[test]
    fn shared_remote_values_read_back_as_the_default_says() {
        let pairs = [("\"free\"", "\"F\""), ("\"gratis\"", "\"F\"")];
        let Step::Values(plain) = values(&pairs, None, None) else { unreachable!() };
        assert!(plain.ambiguous().is_some());
        let Step::Values(told) = values(&pairs, Some("\"gratis\""), None) else { unreachable!() };
        assert!(told.ambiguous().is_none());
        assert_eq!(told.apply(Side::App, &json("\"F\"")).unwrap(), json("\"gratis\""));
        assert_eq!(told.apply(Side::Remote, &json("\"free\"")).unwrap(), json("\"F\""));
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<String>().prop_map(Value::String),
            " ?[A-Za-z]{0,4} ?".prop_map(Value::String),
            "-?[0-9]{1,25}".prop_map(Value::String),
            "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,25})?"
                .prop_map(|text| Value::Number(Number::parse(&text).unwrap())),
            any::<i64>().prop_map(|number| Value::Number(Number::from(number))),
            "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-][0-9]{2}:[0-9]{2})?".prop_map(Value::String),
            "[0-9]{2}/[0-9]{2}/[0-9]{4} [0-9]{2}:[0-9]{2}".prop_map(Value::String),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                proptest::collection::btree_map("[a-c]", inner, 0..3)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn date(app: &str, remote: &str, zone: &str) -> Lens {
        let form = |text| super::super::dates::Form::parse(text).unwrap();
        let forms = PerSide { app: form(app), remote: form(remote) };
        Lens::new(vec![Step::Date(DateLens { forms, zone: zone.parse().unwrap() })])
    }

    fn reversible_lenses() -> Vec<Lens> {
        use Transform::{Lowercase, NumberToText, TextToNumber, Trim, Uppercase};
        let mut lenses: Vec<Lens> = Transform::ALL.iter().map(|transform| transforms(&[*transform])).collect();
        lenses.push(transforms(&[Trim, Lowercase]));
        lenses.push(transforms(&[Trim, Uppercase]));
        lenses.push(transforms(&[Lowercase, TextToNumber, NumberToText]));
        lenses.push(Lens::new(vec![boolean()]));
        lenses.push(Lens::new(vec![values(&[("\"a\"", "\"b\"")], Some("\"c\""), Some("\"d\""))]));
        lenses.push(date("iso", "ms", "UTC"));
        lenses.push(date("iso", "date", "Pacific/Apia"));
        lenses.push(date("iso", "%d/%m/%Y %H:%M", "Europe/Berlin"));
        lenses.push(date("date", "s", "America/Sao_Paulo"));
        lenses
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_value_breaks_a_law_or_panics(value in any_value()) {
            for lens in reversible_lenses() {
                for side in Side::BOTH {
                    prop_assert_eq!(lens.breaks_law(side, &value, Direction::TwoWay, &|_| true), None, "{:?}", lens);
                }
            }
        }

        #[test]
        fn an_instant_survives_every_exact_pair_of_forms(ms in -62_000_000_000_000_i64..250_000_000_000_000) {
            let value = Value::Number(Number::from(ms));
            for lens in [date("ms", "iso", "Asia/Kolkata"), date("ms", "%Y-%m-%dT%H:%M:%S%.3f%:z", "UTC")] {
                let there = lens.apply(Side::Remote, value.clone()).unwrap();
                prop_assert_eq!(lens.apply(Side::App, there).unwrap(), value.clone());
            }
        }
    }
}
