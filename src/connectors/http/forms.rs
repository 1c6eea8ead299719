//! How an object's values stand in its records where that is not as JSON says them: a text that
//! holds JSON, an empty text for nothing, a key that is left out for null. Records are read into
//! plain values by these forms and written back into them; without any, a record is taken as it
//! is and not looked into.

use serde_json::value::RawValue;

use crate::model::path::Path;
use crate::model::value::{Value, ValueError, raw_entries};
use crate::model::write::Change;

use super::raw::kind;

/// The forms of one object's values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Forms {
    root: Node,
    /// An empty text is read as null wherever it stands, lists aside.
    empty_anywhere: bool,
    /// The paths whose texts are JSON, the innermost first.
    json: Vec<Path>,
}

/// What is known of one key of a record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Node {
    is_json: bool,
    empty_is_null: bool,
    absent_is_null: bool,
    inner: Vec<(String, Node)>,
}

/// Where an empty text is read as null.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EmptyIsNull {
    Anywhere,
    At(Vec<Path>),
}

impl Forms {
    /// The forms that a file declares; `None` where it declares none.
    pub fn new(mut json: Vec<Path>, empty: EmptyIsNull, absent: &[Path]) -> Option<Self> {
        let (empty_anywhere, empty) = match empty {
            EmptyIsNull::Anywhere => (true, Vec::new()),
            EmptyIsNull::At(paths) => (false, paths),
        };
        let mut root = Node::default();
        json.iter().for_each(|path| root.at(path).is_json = true);
        empty.iter().for_each(|path| root.at(path).empty_is_null = true);
        absent.iter().for_each(|path| root.at(path).absent_is_null = true);
        json.sort_by_key(|path| std::cmp::Reverse(path.segments().len()));
        let declares = empty_anywhere || root != Node::default();
        declares.then_some(Self { root, empty_anywhere, json })
    }

    /// Whether a path leads into a text that is JSON.
    pub fn is_within_json(&self, path: &Path) -> bool {
        self.json_above(path).is_some()
    }

    /// Whether some text is JSON. It is written as a whole, so the rest of it must be known.
    pub fn has_json(&self) -> bool {
        !self.json.is_empty()
    }

    /// The text that is JSON and holds the value at a path; the outermost one.
    fn json_above(&self, path: &Path) -> Option<&Path> {
        let is_above = |json: &&Path| json.segments().len() < path.segments().len() && json.overlaps(path);
        self.json.iter().rev().find(is_above)
    }

    /// A record as plain values say it, as JSON text.
    ///
    /// # Errors
    /// Where a text that should be JSON is none, or a key stands twice on the way there.
    pub fn told(&self, raw: &RawValue) -> Result<String, ValueError> {
        let mut out = String::with_capacity(raw.get().len() + 64);
        self.write(&self.root, raw, &mut Vec::new(), &mut out)?;
        Ok(out)
    }

    fn write(&self, node: &Node, raw: &RawValue, place: &mut Vec<String>, out: &mut String) -> Result<(), ValueError> {
        let fault = |place: &[String], reason: String| ValueError { place: place.join("."), reason };
        let owned = if node.is_json { from_text(raw).map_err(|reason| fault(place, reason))? } else { None };
        let raw = owned.as_deref().unwrap_or(raw);
        let is_empty = raw.get() == "\"\"" && (node.empty_is_null || self.empty_anywhere);
        match raw.get().as_bytes().first() {
            _ if is_empty => out.push_str("null"),
            Some(b'{') if self.empty_anywhere || !node.inner.is_empty() => {
                let entries = raw_entries(raw).map_err(|reason| fault(place, reason))?;
                let mut object = Object::new(out);
                for (key, value) in &entries {
                    let out = object.key(key);
                    place.push(key.to_string());
                    self.write(node.child(key).unwrap_or(&NOTHING), value, place, out)?;
                    place.pop();
                }
                node.write_absent(&mut object, |key| entries.iter().any(|(other, _)| other == key));
                object.close();
            }
            Some(b'n') if node.has_absent() => node.write_nulls(out),
            _ => out.push_str(raw.get()),
        }
        Ok(())
    }

    /// What of a record has to be sent with changes that lie within a text, which is written as a
    /// whole: the values that those texts hold now.
    pub fn around(&self, changes: &[Change], current: &Value) -> Value {
        let mut record = Value::Object(Vec::new());
        for json in changes.iter().filter_map(|change| self.json_above(&change.path)) {
            record.set(json, current.get(json).cloned().unwrap_or(Value::Null));
        }
        record
    }

    /// A record in the app's own form.
    pub fn send(&self, record: &mut Value) {
        for path in &self.json {
            if let Some(value) = record.get(path).filter(|value| **value != Value::Null) {
                let text = Value::String(value.to_json());
                record.set(path, text);
            }
        }
    }
}

/// A key of which nothing is known.
static NOTHING: Node = Node { is_json: false, empty_is_null: false, absent_is_null: false, inner: Vec::new() };

impl Node {
    fn at(&mut self, path: &Path) -> &mut Node {
        path.segments().iter().fold(self, |node, key| {
            let at = node.inner.iter().position(|(other, _)| other == key).unwrap_or_else(|| {
                node.inner.push((key.clone(), Node::default()));
                node.inner.len() - 1
            });
            &mut node.inner[at].1
        })
    }

    fn child(&self, key: &str) -> Option<&Node> {
        self.inner.iter().find(|(other, _)| other == key).map(|(_, node)| node)
    }

    /// Whether a key within it is null where it is absent. What a text holds does not count: where
    /// there is no text, it holds nothing.
    fn has_absent(&self) -> bool {
        !self.is_json && self.inner.iter().any(|(_, node)| node.absent_is_null || node.has_absent())
    }

    fn write_absent(&self, object: &mut Object<'_>, has: impl Fn(&str) -> bool) {
        for (key, node) in self.inner.iter().filter(|(key, _)| !has(key)) {
            if node.has_absent() {
                node.write_nulls(object.key(key));
            } else if node.absent_is_null {
                object.key(key).push_str("null");
            }
        }
    }

    /// An object that holds nothing but its nulls.
    fn write_nulls(&self, out: &mut String) {
        let mut object = Object::new(out);
        self.write_absent(&mut object, |_| false);
        object.close();
    }
}

/// An object being written as JSON text.
struct Object<'o> {
    out: &'o mut String,
    is_first: bool,
}

impl<'o> Object<'o> {
    fn new(out: &'o mut String) -> Self {
        out.push('{');
        Self { out, is_first: true }
    }

    /// Begins an entry, whose value is to be written next.
    fn key(&mut self, key: &str) -> &mut String {
        if !std::mem::take(&mut self.is_first) {
            self.out.push(',');
        }
        self.out.push_str(&Value::string(key).to_json());
        self.out.push(':');
        self.out
    }

    fn close(self) {
        self.out.push('}');
    }
}

/// The value that a text holds; `None` for null. A text of spaces holds nothing, which is null.
fn from_text(raw: &RawValue) -> Result<Option<Box<RawValue>>, String> {
    let text: String = match raw.get().as_bytes().first() {
        Some(b'"') => serde_json::from_str(raw.get()).map_err(|error| error.to_string())?,
        Some(b'n') => return Ok(None),
        _ => return Err(format!("{} where a text with JSON in it is declared", kind(raw))),
    };
    if text.trim().is_empty() {
        return Ok(Some(RawValue::NULL.to_owned()));
    }
    // Decoded as a whole: nothing else looks into it before it is written back.
    let value = Value::from_json(&text).map_err(|error| format!("the text is no good JSON: {error}"))?;
    RawValue::from_string(value.to_json()).map(Some).map_err(|error| error.to_string())
}

/// How a null is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nulls {
    /// As null.
    Null,
    /// Its key is left out.
    Omit,
    /// As the empty text.
    Empty,
}

impl Nulls {
    /// A record with its nulls as they are written; those in lists stay.
    pub fn write(self, record: &mut Value) {
        let Value::Object(entries) = record else { return };
        match self {
            Nulls::Null => return,
            Nulls::Omit => entries.retain(|(_, value)| *value != Value::Null),
            Nulls::Empty => {
                entries.iter_mut().filter(|(_, value)| *value == Value::Null).for_each(|(_, value)| {
                    *value = Value::string("");
                });
            }
        }
        entries.iter_mut().for_each(|(_, value)| self.write(value));
    }
}
