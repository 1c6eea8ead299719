//! Looking into JSON text without decoding what nobody asked for.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::model::path::Path;
use crate::model::value::{Value, raw_entries};

/// The entries of one object.
pub(super) struct Fields<'r>(Vec<(Cow<'r, str>, &'r RawValue)>);

impl<'r> Fields<'r> {
    /// Splits an object.
    ///
    /// # Errors
    /// When it is none, or a key stands twice.
    pub fn of(raw: &'r RawValue) -> Result<Self, String> {
        if !raw.get().starts_with('{') {
            return Err(format!("not an object but {}", kind(raw)));
        }
        raw_entries(raw).map(Self)
    }

    /// The value at a path; `None` when a key on the way is absent or no object.
    ///
    /// # Errors
    /// When a key stands twice on the way.
    pub fn get(&self, path: &Path) -> Result<Option<&'r RawValue>, String> {
        let Some((first, rest)) = path.segments().split_first() else { return Ok(None) };
        let mut found = self.0.iter().find(|(key, _)| key == first).map(|(_, raw)| *raw);
        for key in rest {
            let Some(raw) = found.filter(|raw| raw.get().starts_with('{')) else { return Ok(None) };
            found = raw_entries(raw)?.into_iter().find(|(other, _)| other == key).map(|(_, raw)| raw);
        }
        Ok(found)
    }
}

/// The value at a path of a text that may be no object at all; `None` as the path means
/// the text itself.
pub(super) fn at<'r>(raw: &'r RawValue, path: Option<&Path>) -> Result<Option<&'r RawValue>, String> {
    match path {
        None => Ok(Some(raw)),
        Some(_) if !raw.get().starts_with('{') => Ok(None),
        Some(path) => Fields::of(raw)?.get(path),
    }
}

/// The text of a string, or the digits of a number exactly as they stand.
pub(super) fn text_of(raw: &RawValue) -> Option<String> {
    match raw.get().as_bytes().first()? {
        b'"' => serde_json::from_str(raw.get()).ok(),
        b'-' | b'0'..=b'9' => Some(raw.get().to_owned()),
        _ => None,
    }
}

/// Whether it is `null`.
pub(super) fn is_null(raw: &RawValue) -> bool {
    raw.get() == "null"
}

/// Whether it says anything: not null, false, zero or empty.
pub(super) fn is_truthy(raw: &RawValue) -> bool {
    match Value::from_raw(raw) {
        Ok(Value::Bool(value)) => value,
        Ok(Value::Number(number)) => number.canonical() != "0",
        Ok(value @ (Value::Null | Value::String(_) | Value::Array(_) | Value::Object(_))) => !value.is_blank(),
        Err(_) => true,
    }
}

/// Whether an answer says that it is an error, whatever its status is.
pub(super) fn tells_error(raw: &RawValue) -> bool {
    let holds = |key: &str| matches!(at(raw, Some(&Path::key(key))), Ok(Some(error)) if is_truthy(error));
    holds("error") || holds("errors")
}

/// What kind of JSON it is, for messages.
pub(super) fn kind(raw: &RawValue) -> &'static str {
    match raw.get().as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "a list",
        Some(b'"') => "a text",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}
