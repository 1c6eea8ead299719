//! Expressions: a field's value respelled by a small formula, `value | upper` or
//! `(value * 100) | round | int`. The language is that of Jinja's expressions, without loops,
//! functions and anything that reaches beyond the value.
//!
//! What comes from outside cannot make one run long or grow large: fuel bounds its steps, texts
//! that grow are bounded, and whatever could repeat a text is refused when it is compiled.

use std::sync::{Arc, LazyLock};

use minijinja::value::{Value as Operand, ValueKind};
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, context, filters};

use crate::model::side::{PerSide, Side};
use crate::model::value::{Number, Value};

/// The longest expression, in bytes.
pub(super) const MAX_EXPRESSION_BYTES: usize = 1_000;

/// How many steps an evaluation may take. One of the longest takes a few hundred.
const FUEL: u64 = 10_000;

/// The longest text that an expression may make, in bytes, and the longest it is given.
const MAX_TEXT_BYTES: usize = 1024 * 1024;

/// The most entries of a list or object that an expression may make.
const MAX_ENTRIES: usize = 10_000;

/// How a value is respelled on the way to each side; a way that is not declared is not gone.
#[derive(Debug, Clone)]
pub(super) struct ExpressionLens {
    pub(super) to: PerSide<Option<Expression>>,
}

/// One compiled expression.
#[derive(Clone)]
pub(super) struct Expression {
    text: String,
    compiled: Arc<minijinja::Expression<'static, 'static>>,
}

impl std::fmt::Debug for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Expression").field(&self.text).finish()
    }
}

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut env = Environment::empty();
    env.set_fuel(Some(FUEL));
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.add_filter("abs", filters::abs);
    env.add_filter("capitalize", filters::capitalize);
    env.add_filter("default", filters::default);
    env.add_filter("first", filters::first);
    env.add_filter("float", filters::float);
    env.add_filter("int", filters::int);
    env.add_filter("join", join);
    env.add_filter("last", filters::last);
    env.add_filter("length", filters::length);
    env.add_filter("lower", filters::lower);
    env.add_filter("replace", replace);
    env.add_filter("reverse", filters::reverse);
    env.add_filter("round", filters::round);
    env.add_filter("split", filters::split);
    env.add_filter("string", filters::string);
    env.add_filter("title", filters::title);
    env.add_filter("trim", filters::trim);
    env.add_filter("upper", filters::upper);
    env
});

/// The filters there are, for messages.
pub(super) const FILTERS: &str = "abs, capitalize, default, first, float, int, join, last, length, lower, replace, \
                                  reverse, round, split, string, title, trim, upper";

fn too_long() -> Error {
    Error::new(ErrorKind::InvalidOperation, "the text grows too long")
}

fn replace(text: &str, from: &str, to: &str) -> Result<String, Error> {
    if from.is_empty() {
        return Err(Error::new(ErrorKind::InvalidOperation, "replace needs a text to look for"));
    }
    let grown = text.matches(from).count().saturating_mul(to.len());
    if grown.saturating_add(text.len()) > MAX_TEXT_BYTES { Err(too_long()) } else { Ok(text.replace(from, to)) }
}

fn join(list: &Operand, between: Option<&str>) -> Result<String, Error> {
    let (mut joined, between) = (String::new(), between.unwrap_or_default());
    for (n, item) in list.try_iter()?.enumerate() {
        if n > 0 {
            joined.push_str(between);
        }
        joined.push_str(&item.to_string());
        if joined.len() > MAX_TEXT_BYTES {
            return Err(too_long());
        }
    }
    Ok(joined)
}

impl Expression {
    /// Compiles an expression about `value`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn compile(text: &str) -> Result<Self, String> {
        if text.len() > MAX_EXPRESSION_BYTES {
            return Err(format!("it is longer than {MAX_EXPRESSION_BYTES} bytes"));
        }
        if text.contains('*') && text.contains(['"', '\'', '[', '{']) {
            return Err("'*' stands beside a text or a list, which it could repeat without end".to_owned());
        }
        let compiled = ENVIRONMENT.compile_expression_owned(text.to_owned()).map_err(|error| said(&error))?;
        let names = compiled.undeclared_variables(false);
        if let Some(name) = names.iter().find(|name| *name != "value") {
            return Err(format!("there is no '{name}': an expression is about 'value'"));
        }
        if names.is_empty() && !text.contains("value") {
            return Err("it does not depend on 'value': a field that is always the same is a 'constant'".to_owned());
        }
        let expression = Self { text: text.to_owned(), compiled: Arc::new(compiled) };
        // What is unknown shows only when it runs.
        match expression.run(Operand::from("text")) {
            Err(error) if matches!(error.kind(), ErrorKind::UnknownFilter | ErrorKind::UnknownTest) => {
                Err(format!("{}; there are the filters {FILTERS}", said(&error)))
            }
            Err(error) if matches!(error.kind(), ErrorKind::UnknownFunction | ErrorKind::UnknownMethod) => {
                Err(said(&error))
            }
            Ok(_) | Err(_) => Ok(expression),
        }
    }

    /// As it is declared.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    fn run(&self, value: Operand) -> Result<Operand, Error> {
        self.compiled.eval(context! { value })
    }

    /// What the expression makes of a value.
    ///
    /// # Errors
    /// When it cannot be made of this value.
    pub(super) fn apply(&self, value: &Value) -> Result<Value, String> {
        let repeats = self.text.contains('*');
        if repeats && !matches!(value, Value::Number(_)) {
            return Err(format!("'{}' is for numbers, not {}", self.text, value.kind()));
        }
        let made = self.run(operand(value)?).map_err(|error| format!("'{}': {}", self.text, said(&error)))?;
        result(&made, 0).map_err(|reason| format!("'{}' {reason}", self.text))
    }
}

/// What is wrong, on one line, without the engine's name for where.
fn said(error: &Error) -> String {
    let kind = error.kind().to_string();
    error.detail().map_or(kind.clone(), |detail| format!("{kind}: {detail}"))
}

fn operand(value: &Value) -> Result<Operand, String> {
    Ok(match value {
        Value::Null => Operand::from(()),
        Value::Bool(value) => Operand::from(*value),
        Value::Number(number) => of_number(number)?,
        Value::String(text) if text.len() > MAX_TEXT_BYTES => return Err("the text is too long".to_owned()),
        Value::String(text) => Operand::from(text.as_str()),
        Value::Array(items) => Operand::from(items.iter().map(operand).collect::<Result<Vec<_>, _>>()?),
        Value::Object(entries) => {
            let entries = entries.iter().map(|(key, value)| Ok((key.clone(), operand(value)?)));
            Operand::from(entries.collect::<Result<std::collections::BTreeMap<_, _>, String>>()?)
        }
    })
}

/// A number as the engine counts, where that is the same number.
fn of_number(number: &Number) -> Result<Operand, String> {
    let text = number.as_str();
    if let Ok(integer) = text.parse::<i64>() {
        return Ok(Operand::from(integer));
    }
    let float: f64 = text.parse().map_err(|_| format!("the number {text} is beyond what an expression can count"))?;
    let same = Number::parse(&format!("{float}")).is_ok_and(|same| same.canonical() == number.canonical());
    if same {
        Ok(Operand::from(float))
    } else {
        Err(format!("the number {text} is beyond what an expression can count"))
    }
}

fn result(made: &Operand, depth: usize) -> Result<Value, String> {
    if depth > crate::model::value::MAX_DEPTH {
        return Err("gives something that is nested too deep".to_owned());
    }
    Ok(match made.kind() {
        ValueKind::None => Value::Null,
        ValueKind::Bool => Value::Bool(made.is_true()),
        ValueKind::String => {
            let text = made.as_str().unwrap_or_default();
            if text.len() > MAX_TEXT_BYTES {
                return Err("gives a text that is too long".to_owned());
            }
            Value::string(text)
        }
        ValueKind::Number => {
            let number = Number::parse(&made.to_string());
            Value::Number(number.map_err(|_| format!("gives {made}, which no record can hold"))?)
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let items = made.try_iter().map_err(|error| said(&error))?;
            let items =
                items.take(MAX_ENTRIES + 1).map(|item| result(&item, depth + 1)).collect::<Result<Vec<_>, _>>()?;
            if items.len() > MAX_ENTRIES {
                return Err("gives a list that is too long".to_owned());
            }
            Value::Array(items)
        }
        ValueKind::Map => {
            let keys = made.try_iter().map_err(|error| said(&error))?;
            let entry = |key: Operand| {
                let value = made.get_item(&key).map_err(|error| said(&error))?;
                Ok::<_, String>((key.to_string(), result(&value, depth + 1)?))
            };
            Value::Object(keys.take(MAX_ENTRIES).map(entry).collect::<Result<_, _>>()?)
        }
        _ => return Err("gives nothing".to_owned()),
    })
}

impl ExpressionLens {
    pub(super) fn apply(&self, to: Side, value: &Value) -> Result<Value, String> {
        match &self.to[to] {
            Some(expression) => expression.apply(value),
            None => Err(format!("there is no 'to_{to}' by which it is written to the {to}")),
        }
    }

    /// A text that names it: the same for the same meaning.
    pub(super) fn identity(&self) -> String {
        let text = |side: Side| self.to[side].as_ref().map_or("", Expression::text);
        format!("expression:{:?}{:?}", text(Side::Remote), text(Side::App))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(text: &str, json: &str) -> Result<String, String> {
        let expression = Expression::compile(text)?;
        expression.apply(&Value::from_json(json).unwrap()).map(|value| value.to_json())
    }

    #[test]
    fn values_are_made_of_values() {
        for (text, json, want) in [
            ("value | upper", r#""straße""#, r#""STRASSE""#),
            ("value | trim | lower", r#""  A b ""#, r#""a b""#),
            ("value * 100", "12.5", "1250.0"),
            ("(value * 100) | round | int", "12.5", "1250"),
            ("value / 100", "1250", "12.5"),
            ("value - 1", "-9223372036854775808", "-9223372036854775809"),
            ("value ~ ' EUR'", "3", r#""3 EUR""#),
            ("value | replace(' EUR', '') | float", r#""3.5 EUR""#, "3.5"),
            ("value | split(';') | list", r#""a;b""#, ""),
            ("value | split(';')", r#""a;b""#, r#"["a","b"]"#),
            ("value | join(', ')", r#"["a","b"]"#, r#""a, b""#),
            ("value | first", r#"["a","b"]"#, r#""a""#),
            ("value[0:3]", r#""abcdef""#, r#""abc""#),
            ("'yes' if value else 'no'", "true", r#""yes""#),
            ("'vip' if value > 10 else none", "3", "null"),
            ("value.city", r#"{"city":"Bern"}"#, r#""Bern""#),
            ("{'city': value}", r#""Bern""#, r#"{"city":"Bern"}"#),
            ("value in ['a', 'b']", r#""a""#, "true"),
        ] {
            match made(text, json) {
                Ok(value) => assert_eq!(value, want, "{text} of {json}"),
                Err(_) if want.is_empty() => {}
                Err(error) => panic!("{text} of {json}: {error}"),
            }
        }
    }

    #[test]
    fn what_cannot_be_made_is_told() {
        for (text, json, told) in [
            ("value | upper", "{}", ""),
            ("value.city", r#"{"town":"Bern"}"#, "'value.city' gives nothing"),
            ("value / 0", "1", "'value / 0'"),
            ("value + 1", r#""a""#, "'value + 1': invalid operation"),
            ("value * 2", r#""a""#, "'value * 2' is for numbers, not text"),
            ("value + 1", "123456789012345678901234567890.5", "beyond what an expression can count"),
            ("value + 1", "0.1234567890123456789", "beyond what an expression can count"),
            ("value | replace('', 'x')", r#""a""#, "replace needs a text to look for"),
        ] {
            match made(text, json) {
                Err(error) => assert!(error.contains(told), "{text} of {json}: {error}"),
                Ok(value) => assert!(told.is_empty(), "{text} of {json} is {value}"),
            }
        }
    }

    #[test]
    fn a_mistake_is_told_when_it_is_compiled() {
        for (text, told) in [
            ("value |", "syntax error"),
            ("value | uper", "unknown filter: filter uper is unknown; there are the filters abs, capitalize"),
            ("valu | upper", "there is no 'valu': an expression is about 'value'"),
            ("'x'", "it does not depend on 'value'"),
            ("value * 'x'", "'*' stands beside a text or a list"),
            ("range(value)", "there is no 'range'"),
            ("value | map('upper')", "unknown filter"),
            ("value.x()", ""),
        ] {
            match Expression::compile(text) {
                Err(error) => assert!(error.contains(told), "{text}: {error}"),
                Ok(_) => assert!(told.is_empty(), "{text} is taken"),
            }
        }
        assert!(Expression::compile(&format!("value{}", " ~ value".repeat(200))).unwrap_err().contains("longer than"));
    }

    #[test]
    fn none_runs_long_or_grows_large() {
        let long = Value::string("a".repeat(MAX_TEXT_BYTES / 2));
        for text in [
            "value | replace('a', 'aaaaaaaaaa')",
            "value | replace('a', value)",
            "value ~ value ~ value",
            "value | split('') | join(value)",
            "value | split('a')",
        ] {
            let error = Expression::compile(text).unwrap().apply(&long).unwrap_err();
            assert!(error.contains("too long") || error.contains("fuel"), "{text}: {error}");
        }
        let too_long = Value::string("a".repeat(MAX_TEXT_BYTES + 1));
        assert!(Expression::compile("value | upper").unwrap().apply(&too_long).is_err());
    }
}
