//! Field rules: what a field's value, in the app's form, must be before it is written
//! to either side.

use std::cmp::Ordering;

use regex::Regex;

use super::lens::Shape;
use super::{dates, decimal, shown_value};
use crate::model::value::{Number, Value};

/// The longest list of allowed values shown in a message.
const MAX_LISTED: usize = 10;

/// The declared type of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    Integer,
    Boolean,
    Date,
    DateTime,
    List,
    Object,
}

/// The rules of one field.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules {
    pub(super) required: bool,
    pub(super) kind: Option<Kind>,
    /// In characters of a text, entries of a list.
    pub(super) min_length: Option<usize>,
    pub(super) max_length: Option<usize>,
    pub(super) min: Option<Number>,
    pub(super) max: Option<Number>,
    /// Searched in the text; anchors are the pattern's own.
    pub(super) pattern: Option<Regex>,
    pub(super) one_of: Vec<Value>,
}

impl Kind {
    /// All types, in the order in which they are listed to a user.
    pub(super) const ALL: [Kind; 8] =
        [Kind::Text, Kind::Number, Kind::Integer, Kind::Boolean, Kind::Date, Kind::DateTime, Kind::List, Kind::Object];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Kind::Text => "text",
            Kind::Number => "number",
            Kind::Integer => "integer",
            Kind::Boolean => "boolean",
            Kind::Date => "date",
            Kind::DateTime => "datetime",
            Kind::List => "list",
            Kind::Object => "object",
        }
    }

    /// The kind of value a lens would have to take.
    pub(super) fn shape(self) -> Shape {
        match self {
            Kind::Text | Kind::Date | Kind::DateTime => Shape::Text,
            Kind::Number | Kind::Integer => Shape::Number,
            Kind::Boolean => Shape::Boolean,
            Kind::List => Shape::List,
            Kind::Object => Shape::Object,
        }
    }

    pub(super) fn is_number(self) -> bool {
        self.shape() == Shape::Number
    }

    /// Whether a value other than null is of the type.
    pub(super) fn holds(self, value: &Value) -> bool {
        match (self, value) {
            (Kind::Text, Value::String(_))
            | (Kind::Number, Value::Number(_))
            | (Kind::Boolean, Value::Bool(_))
            | (Kind::List, Value::Array(_))
            | (Kind::Object, Value::Object(_)) => true,
            (Kind::Integer, Value::Number(number)) => decimal::is_whole(number),
            (Kind::Date, Value::String(text)) => dates::read_date(text).is_some(),
            (Kind::DateTime, Value::String(text)) => dates::is_datetime(text),
            (
                Kind::Text
                | Kind::Number
                | Kind::Integer
                | Kind::Boolean
                | Kind::Date
                | Kind::DateTime
                | Kind::List
                | Kind::Object,
                _,
            ) => false,
        }
    }
}

impl Rules {
    /// Checks a value.
    ///
    /// # Errors
    /// With the first rule it breaks. A value is not shown unless it had to be one of a
    /// few: it may be anything, and the message is kept.
    pub(super) fn check(&self, value: Option<&Value>) -> Result<(), String> {
        let value = match value {
            None if self.required => return Err("it is required, but absent".to_owned()),
            Some(Value::Null) if self.required => return Err("it is required, but null".to_owned()),
            Some(Value::String(text)) if self.required && text.is_empty() => {
                return Err("it is required, but empty".to_owned());
            }
            None | Some(Value::Null) => return Ok(()),
            Some(value) => value,
        };
        self.check_kind(value)?;
        self.check_length(value)?;
        self.check_range(value)?;
        self.check_pattern(value)?;
        self.check_one_of(value)
    }

    /// Checks the declared type alone.
    pub(super) fn check_kind(&self, value: &Value) -> Result<(), String> {
        match self.kind {
            Some(kind) if !kind.holds(value) => {
                let what = match value {
                    Value::Number(_) if kind == Kind::Integer => "a number with a fraction",
                    Value::String(_) if kind == Kind::Date => "a text that is no date (YYYY-MM-DD)",
                    Value::String(_) if kind == Kind::DateTime => "a text that is no RFC 3339 date and time",
                    value => return Err(format!("it is a {}, not of type {}", value.kind(), kind.as_str())),
                };
                Err(format!("it is {what}, not of type {}", kind.as_str()))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn check_length(&self, value: &Value) -> Result<(), String> {
        if self.min_length.is_none() && self.max_length.is_none() {
            return Ok(());
        }
        let (length, unit) = match value {
            Value::String(text) => (text.chars().count(), "characters"),
            Value::Array(items) => (items.len(), "entries"),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
                return Err(format!("it is a {}, and only a text or a list has a length", value.kind()));
            }
        };
        match (self.min_length, self.max_length) {
            (Some(min), _) if length < min => Err(format!("it has {length} {unit}, fewer than {min}")),
            (_, Some(max)) if length > max => Err(format!("it has {length} {unit}, more than {max}")),
            _ => Ok(()),
        }
    }

    fn check_range(&self, value: &Value) -> Result<(), String> {
        if self.min.is_none() && self.max.is_none() {
            return Ok(());
        }
        let Value::Number(number) = value else {
            return Err(format!("it is a {}, and only a number has a range", value.kind()));
        };
        match (&self.min, &self.max) {
            (Some(min), _) if decimal::compare(number, min) == Ordering::Less => {
                Err(format!("it is less than {}", min.as_str()))
            }
            (_, Some(max)) if decimal::compare(number, max) == Ordering::Greater => {
                Err(format!("it is more than {}", max.as_str()))
            }
            _ => Ok(()),
        }
    }

    fn check_pattern(&self, value: &Value) -> Result<(), String> {
        match (&self.pattern, value) {
            (None, _) => Ok(()),
            (Some(pattern), Value::String(text)) if pattern.is_match(text) => Ok(()),
            (Some(pattern), Value::String(_)) => Err(format!("it does not match the pattern '{}'", pattern.as_str())),
            (Some(_), value) => Err(format!("it is a {}, and only a text can match a pattern", value.kind())),
        }
    }

    fn check_one_of(&self, value: &Value) -> Result<(), String> {
        if self.one_of.is_empty() || self.one_of.iter().any(|allowed| allowed.same(value)) {
            return Ok(());
        }
        let mut allowed: Vec<String> = self.one_of.iter().take(MAX_LISTED).map(shown_value).collect();
        if self.one_of.len() > MAX_LISTED {
            allowed.push("…".to_owned());
        }
        Err(format!("{} is not one of {}", shown_value(value), allowed.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Value {
        Value::from_json(text).unwrap()
    }

    fn number(text: &str) -> Option<Number> {
        Some(Number::parse(text).unwrap())
    }

    #[test]
    fn each_rule_takes_and_refuses() {
        let required = || Rules { required: true, ..Rules::default() };
        let lengths = || Rules { min_length: Some(2), max_length: Some(3), ..Rules::default() };
        let range = || Rules { min: number("-1.5"), max: number("9007199254740993"), ..Rules::default() };
        let pattern = || Rules { pattern: Some(Regex::new("^[a-z]+$").unwrap()), ..Rules::default() };
        let one_of = || Rules { one_of: vec![json("\"a\""), json("2")], ..Rules::default() };
        for (rules, value, want) in [
            (required(), Some("0"), Ok(())),
            (required(), Some("\" \""), Ok(())),
            (required(), None, Err("it is required, but absent")),
            (required(), Some("null"), Err("it is required, but null")),
            (required(), Some("\"\""), Err("it is required, but empty")),
            (lengths(), Some("\"éü日\""), Ok(())),
            (lengths(), Some("[1,2]"), Ok(())),
            (lengths(), None, Ok(())),
            (lengths(), Some("null"), Ok(())),
            (lengths(), Some("\"\""), Err("it has 0 characters, fewer than 2")),
            (lengths(), Some("[1,2,3,4]"), Err("it has 4 entries, more than 3")),
            (lengths(), Some("22"), Err("it is a number, and only a text or a list has a length")),
            (range(), Some("-1.50"), Ok(())),
            (range(), Some("9007199254740993"), Ok(())),
            (range(), Some("-1.51"), Err("it is less than -1.5")),
            (range(), Some("9007199254740994"), Err("it is more than 9007199254740993")),
            (range(), Some("\"5\""), Err("it is a text, and only a number has a range")),
            (pattern(), Some("\"abc\""), Ok(())),
            (pattern(), Some("\"a1\""), Err("it does not match the pattern '^[a-z]+$'")),
            (pattern(), Some("5"), Err("it is a number, and only a text can match a pattern")),
            (one_of(), Some("2.0"), Ok(())),
            (one_of(), Some("\"b\""), Err("'b' is not one of 'a', 2")),
            (Rules::default(), Some("{}"), Ok(())),
        ] {
            let value = value.map(json);
            assert_eq!(rules.check(value.as_ref()), want.map_err(str::to_owned), "{rules:?} {value:?}");
        }
    }

    #[test]
    fn each_type_takes_its_own_values_only() {
        let values = [
            "\"x\"",
            "\"2024-02-29\"",
            "\"2024-02-29T01:02:03.5+01:00\"",
            "\"2024-02-30\"",
            "1",
            "1e2",
            "1.5",
            "true",
            "[]",
            "{}",
        ];
        for (kind, taken) in [
            (Kind::Text, "++++------"),
            (Kind::Number, "----+++---"),
            (Kind::Integer, "----++----"),
            (Kind::Boolean, "-------+--"),
            (Kind::Date, "-+--------"),
            (Kind::DateTime, "--+-------"),
            (Kind::List, "--------+-"),
            (Kind::Object, "---------+"),
        ] {
            let rules = Rules { kind: Some(kind), ..Rules::default() };
            let found: String =
                values.iter().map(|value| if rules.check(Some(&json(value))).is_ok() { '+' } else { '-' }).collect();
            assert_eq!(found, taken, "{kind:?}");
            assert_eq!(rules.check(Some(&Value::Null)), Ok(()));
            assert_eq!(rules.check(None), Ok(()));
        }
    }

    #[test]
    fn long_texts_and_hostile_patterns_take_linear_time() {
        let long = Value::string("a".repeat(1_000_000));
        let rules = Rules { pattern: Some(Regex::new("(a+)+$").unwrap()), ..Rules::default() };
        assert_eq!(rules.check(Some(&long)), Ok(()));
        let rules = Rules { max_length: Some(1_000_000), ..Rules::default() };
        assert_eq!(rules.check(Some(&long)), Ok(()));
        let rules = Rules { max_length: Some(999_999), ..Rules::default() };
        assert_eq!(rules.check(Some(&long)).unwrap_err(), "it has 1000000 characters, more than 999999");
    }
}
