//! Which records a sync is about: conditions on fields, all of which must hold.

use std::cmp::Ordering;

use super::decimal;
use super::mapping::{Fields, Mapping};
use crate::model::value::{Number, Value};

/// What one field must be for a record to be in scope.
#[derive(Debug, Clone)]
pub(super) struct Condition {
    pub(super) field: usize,
    pub(super) test: Test,
}

/// One test of a value in the app's form.
#[derive(Debug, Clone)]
pub(super) enum Test {
    /// It means the same as one of these.
    In(Vec<Value>),
    /// It means the same as none of these; an absent value does not.
    Not(Vec<Value>),
    /// It is a number, and not less.
    Min(Number),
    /// It is a number, and not more.
    Max(Number),
    /// It is neither absent nor null nor empty, or (false) it is.
    Present(bool),
}

impl Condition {
    /// Whether it holds. A field that could not be read meets no condition: a record
    /// that cannot be shown to be in scope is left alone.
    pub(super) fn holds(&self, mapping: &Mapping, fields: &Fields) -> bool {
        let Ok(value) = fields.value(self.field) else { return false };
        let same = |wanted: &Value| mapping.same(self.field, Some(wanted), value);
        let compared = |bound: &Number, not: Ordering| match value {
            Some(Value::Number(number)) => decimal::compare(number, bound) != not,
            Some(Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_)) | None => false,
        };
        match &self.test {
            Test::In(wanted) => wanted.iter().any(same),
            Test::Not(unwanted) => !unwanted.iter().any(same),
            Test::Min(min) => compared(min, Ordering::Less),
            Test::Max(max) => compared(max, Ordering::Greater),
            Test::Present(present) => value.is_some_and(|value| !value.is_blank()) == *present,
        }
    }

    /// A text that names the condition.
    pub(super) fn identity(&self) -> String {
        let list = |values: &[Value]| values.iter().map(Value::to_json).collect::<Vec<_>>().join(",");
        match &self.test {
            Test::In(values) => format!("in:{}", list(values)),
            Test::Not(values) => format!("not:{}", list(values)),
            Test::Min(min) => format!("min:{}", min.canonical()),
            Test::Max(max) => format!("max:{}", max.canonical()),
            Test::Present(present) => format!("present:{present}"),
        }
    }
}
