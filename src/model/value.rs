//! A JSON value that loses nothing: numbers keep their text, keys their order, and a
//! key that stands twice is an error instead of a silent choice.
//!
//! Decoding goes level by level through raw JSON, so a caller may stop at the paths
//! it needs. The verbatim value is written to the other side; the canonical one is
//! compared. No `serde_json` feature that changes other people's hashes is used.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::hash::Digest;
use super::path::Path;

/// How deep a value may nest; the limit `serde_json` itself sets.
pub const MAX_DEPTH: usize = 128;

/// One JSON value.
///
/// `PartialEq` compares verbatim; use [`Value::same`] to compare what is meant
/// (`10` and `10.0` are the same number, key order does not matter).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Value {
    /// `null`, which is not the same as an absent key.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, with its text.
    Number(Number),
    /// A text.
    String(String),
    /// A list.
    Array(Vec<Value>),
    /// An object, keys in the order in which they stood; no key stands twice.
    Object(Vec<(String, Value)>),
}

/// A JSON number as its text, so that `12345678901234567890123` and `10.00` survive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Number(String);

/// Why a text is not a value we accept, with the place inside the record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at {place}")]
pub struct ValueError {
    /// Path of the offending value, `the top` for the whole text.
    pub place: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Number {
    /// Takes a JSON number's text.
    ///
    /// # Errors
    /// When the text is not a number in JSON's grammar.
    pub fn parse(text: &str) -> Result<Self, ValueError> {
        match serde_json::from_str::<&RawValue>(text) {
            Ok(raw) if raw.get() == text && text.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(ValueError { place: "the top".into(), reason: format!("'{text}' is not a number") }),
        }
    }

    /// The text, verbatim.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// One text for all spellings of a number: sign, significant digits, `e`, power
    /// of ten. `-0` is `0`, `1.50` and `15e-1` are both `15e-1`. An exponent beyond
    /// `i64` leaves the text as it is.
    #[must_use]
    pub fn canonical(&self) -> Cow<'_, str> {
        canonical_number(&self.0).map_or(Cow::Borrowed(self.0.as_str()), Cow::Owned)
    }
}

impl From<i64> for Number {
    fn from(number: i64) -> Self {
        Self(number.to_string())
    }
}

fn canonical_number(text: &str) -> Option<String> {
    let (sign, rest) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.strip_prefix('+').unwrap_or(exponent).parse::<i64>().ok()?),
        None => (rest, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0');
    let trimmed = significant.trim_end_matches('0');
    if trimmed.is_empty() {
        return Some("0".to_owned());
    }
    let dropped = i64::try_from(significant.len() - trimmed.len()).ok()?;
    let power = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?.checked_add(dropped)?;
    Some(if power == 0 { format!("{sign}{trimmed}") } else { format!("{sign}{trimmed}e{power}") })
}

impl Value {
    /// A text value.
    pub fn string(text: impl Into<String>) -> Self {
        Value::String(text.into())
    }

    /// Decodes a whole JSON text.
    ///
    /// # Errors
    /// When it is not JSON, a key stands twice, or it nests deeper than [`MAX_DEPTH`].
    pub fn from_json(text: &str) -> Result<Self, ValueError> {
        let raw: &RawValue = serde_json::from_str(text)
            .map_err(|error| ValueError { place: "the top".into(), reason: format!("not valid JSON: {error}") })?;
        decode(raw, &mut Vec::new())
    }

    /// Decodes one value of an already split JSON text.
    ///
    /// # Errors
    /// As [`Value::from_json`].
    pub fn from_raw(raw: &RawValue) -> Result<Self, ValueError> {
        decode(raw, &mut Vec::new())
    }

    /// The value as JSON text, numbers verbatim.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        self.write_json(&mut out);
        out
    }

    fn write_json(&self, out: &mut String) {
        match self {
            Value::Null => out.push_str("null"),
            Value::Bool(true) => out.push_str("true"),
            Value::Bool(false) => out.push_str("false"),
            Value::Number(number) => out.push_str(&number.0),
            Value::String(text) => write_json_string(text, out),
            Value::Array(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    item.write_json(out);
                }
                out.push(']');
            }
            Value::Object(entries) => {
                out.push('{');
                for (i, (key, value)) in entries.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    write_json_string(key, out);
                    out.push(':');
                    value.write_json(out);
                }
                out.push('}');
            }
        }
    }

    /// Whether both mean the same: numbers by value, objects whatever their key order.
    #[must_use]
    pub fn same(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Number(a), Value::Number(b)) => a.0 == b.0 || a.canonical() == b.canonical(),
            (Value::String(a), Value::String(b)) => a == b,
            (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b)),
            (Value::Object(a), Value::Object(b)) => {
                a.len() == b.len()
                    && a.iter().all(|(key, value)| {
                        b.iter().find(|(other, _)| other == key).is_some_and(|(_, other)| value.same(other))
                    })
            }
            (
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_),
                _,
            ) => false,
        }
    }

    /// Appends the canonical bytes: equal for two values exactly when
    /// [`Value::same`] holds. Sorted keys, canonical numbers, a tag and a length
    /// before each text so that no two values share their bytes.
    pub fn write_canonical(&self, out: &mut Vec<u8>) {
        match self {
            Value::Null => out.push(b'n'),
            Value::Bool(value) => out.push(if *value { b't' } else { b'f' }),
            Value::Number(number) => write_tagged(b'd', number.canonical().as_bytes(), out),
            Value::String(text) => write_tagged(b's', text.as_bytes(), out),
            Value::Array(items) => {
                out.push(b'[');
                for item in items {
                    item.write_canonical(out);
                }
                out.push(b']');
            }
            Value::Object(entries) => {
                let mut sorted: Vec<&(String, Value)> = entries.iter().collect();
                sorted.sort_by(|a, b| a.0.cmp(&b.0));
                out.push(b'{');
                for (key, value) in sorted {
                    write_tagged(b'k', key.as_bytes(), out);
                    value.write_canonical(out);
                }
                out.push(b'}');
            }
        }
    }

    /// Digest of the canonical bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut bytes = Vec::with_capacity(64);
        self.write_canonical(&mut bytes);
        Digest::of(&bytes)
    }

    /// The value at a path, `None` when a key on the way is absent or not an object.
    #[must_use]
    pub fn get(&self, path: &Path) -> Option<&Value> {
        path.segments().iter().try_fold(self, |value, key| match value {
            Value::Object(entries) => entries.iter().find(|(other, _)| other == key).map(|(_, value)| value),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
        })
    }

    /// Sets the value at a path, making objects on the way (a value of another kind
    /// that stands in the way is replaced by an object).
    pub fn set(&mut self, path: &Path, value: Value) {
        let mut place = self;
        for key in path.segments() {
            if !matches!(place, Value::Object(_)) {
                *place = Value::Object(Vec::new());
            }
            let Value::Object(entries) = place else { unreachable!("made an object just above") };
            let at = entries.iter().position(|(other, _)| other == key).unwrap_or_else(|| {
                entries.push((key.clone(), Value::Null));
                entries.len() - 1
            });
            place = &mut entries[at].1;
        }
        *place = value;
    }

    /// Takes the key at a path away; nothing happens when it is absent.
    pub fn remove(&mut self, path: &Path) {
        let Some((last, parents)) = path.segments().split_last() else { return };
        let mut place = self;
        for key in parents {
            let Value::Object(entries) = place else { return };
            let Some((_, value)) = entries.iter_mut().find(|(other, _)| other == key) else { return };
            place = value;
        }
        if let Value::Object(entries) = place {
            entries.retain(|(key, _)| key != last);
        }
    }

    /// The text of a string value.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// What kind of value it is, for messages: `text`, `number`, …
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "number",
            Value::String(_) => "text",
            Value::Array(_) => "list",
            Value::Object(_) => "object",
        }
    }

    /// Whether it says nothing: null, an empty text, list or object.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        match self {
            Value::Null => true,
            Value::Bool(_) | Value::Number(_) => false,
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(entries) => entries.is_empty(),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_json())
    }
}

fn write_tagged(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    out.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn write_json_string(text: &str, out: &mut String) {
    out.push_str(&serde_json::to_string(text).expect("a str always serialises"));
}

/// The entries of a raw object in order, not decoded further.
///
/// # Errors
/// When the text is not an object, or a key stands twice.
pub fn raw_entries(raw: &RawValue) -> Result<Vec<(Cow<'_, str>, &RawValue)>, String> {
    struct Entries;
    impl<'de> Visitor<'de> for Entries {
        type Value = Vec<(Cow<'de, str>, &'de RawValue)>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut entries: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::new();
            while let Some((Key(key), value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
                entries.push((key, value));
            }
            Ok(entries)
        }
    }
    let mut deserializer = serde_json::Deserializer::from_str(raw.get());
    let entries = deserializer.deserialize_map(Entries).map_err(|error| error.to_string())?;
    match first_duplicate(&entries) {
        Some(key) => Err(format!("the key '{}' stands twice", key.escape_debug())),
        None => Ok(entries),
    }
}

fn first_duplicate<'a>(entries: &'a [(Cow<'_, str>, &RawValue)]) -> Option<&'a str> {
    // A pairwise look is quickest for the few keys a record has; a set guards the rest.
    if entries.len() <= 16 {
        return entries
            .iter()
            .enumerate()
            .find(|(i, (key, _))| entries[..*i].iter().any(|(k, _)| k == key))
            .map(|(_, (key, _))| &**key);
    }
    let mut seen = std::collections::HashSet::with_capacity(entries.len());
    entries.iter().find(|(key, _)| !seen.insert(&**key)).map(|(key, _)| &**key)
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

fn decode(raw: &RawValue, place: &mut Vec<String>) -> Result<Value, ValueError> {
    if place.len() > MAX_DEPTH {
        return Err(fault(place, format!("nested deeper than {MAX_DEPTH} levels")));
    }
    let text = raw.get();
    match text.as_bytes().first() {
        Some(b'{') => {
            let entries = raw_entries(raw).map_err(|reason| fault(place, reason))?;
            let mut object = Vec::with_capacity(entries.len());
            for (key, raw) in entries {
                place.push(key.clone().into_owned());
                object.push((key.into_owned(), decode(raw, place)?));
                place.pop();
            }
            Ok(Value::Object(object))
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| fault(place, error.to_string()))?;
            let mut array = Vec::with_capacity(items.len());
            for (i, raw) in items.into_iter().enumerate() {
                place.push(format!("[{i}]"));
                array.push(decode(raw, place)?);
                place.pop();
            }
            Ok(Value::Array(array))
        }
        Some(b'"') => serde_json::from_str(text).map(Value::String).map_err(|error| fault(place, error.to_string())),
        Some(b't') => Ok(Value::Bool(true)),
        Some(b'f') => Ok(Value::Bool(false)),
        Some(b'n') => Ok(Value::Null),
        _ => Ok(Value::Number(Number(text.to_owned()))),
    }
}

fn fault(place: &[String], reason: String) -> ValueError {
    let place = if place.is_empty() { "the top".to_owned() } else { place.join(".") };
    ValueError { place, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number {
        Number::parse(text).unwrap()
    }

    #[test]
    fn numbers_keep_their_text_and_compare_by_value() {
        for (a, b) in
            [("10", "10.0"), ("1e2", "100"), ("-0", "0"), ("1.50", "15e-1"), ("0.001", "1E-3"), ("100", "1.00e+2")]
        {
            assert_eq!(number(a).canonical(), number(b).canonical(), "{a} {b}");
            assert!(Value::Number(number(a)).same(&Value::Number(number(b))));
            assert_eq!(number(a).as_str(), a);
        }
        for (a, b) in [("9007199254740993", "9007199254740992"), ("1e400", "1e401"), ("-1", "1")] {
            assert_ne!(number(a).canonical(), number(b).canonical(), "{a} {b}");
        }
        for text in ["", "01", "1.", "+1", "NaN", " 1", "\"1\"", "true"] {
            assert!(Number::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_value_survives_the_round_trip_verbatim() {
        let text = r#"{"z":1.0,"a":[null,true,"é\n\"x\""],"n":12345678901234567890123}"#;
        assert_eq!(Value::from_json(text).unwrap().to_json(), text);
    }

    #[test]
    fn a_key_that_stands_twice_is_refused_with_its_place() {
        let error = Value::from_json(r#"{"a":{"b":1,"b":2}}"#).unwrap_err();
        assert_eq!(error.to_string(), "the key 'b' stands twice at a");
    }

    #[test]
    fn depth_is_limited_and_never_overflows_the_stack() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(Value::from_json(&deep).is_err());
        let fine = format!("{}{}", "[".repeat(100), "]".repeat(100));
        assert!(Value::from_json(&fine).is_ok());
    }

    #[test]
    fn same_means_same_canonical_bytes() {
        let values = [
            r#"{"a":1,"b":[2]}"#,
            r#"{"b":[2.0],"a":1e0}"#,
            r#"{"a":1,"b":[2,3]}"#,
            r#"{"a":"1"}"#,
            "null",
            "\"\"",
            "[]",
            "{}",
        ];
        let values: Vec<Value> = values.iter().map(|text| Value::from_json(text).unwrap()).collect();
        for a in &values {
            for b in &values {
                assert_eq!(a.same(b), a.digest() == b.digest(), "{a} {b}");
            }
        }
    }

    #[test]
    fn paths_get_set_and_remove() {
        let mut value = Value::Object(Vec::new());
        let path: Path = "a.b".parse().unwrap();
        assert_eq!(value.get(&path), None);
        value.set(&path, Value::string("x"));
        assert_eq!(value.get(&path), Some(&Value::string("x")));
        value.remove(&path);
        assert_eq!(value.to_json(), r#"{"a":{}}"#);
    }
}
