//! One entry of a list of objects, chosen by what stands in it: `phones[type=work].number`.

use std::fmt;

use super::shown_value;
use crate::model::path::Path;
use crate::model::value::{Number, Value};

/// A value in one entry of a list.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    /// Where the list stands in the record.
    pub(super) list: Path,
    /// Which entry of it.
    pub(super) which: Which,
    /// Where the value stands in the entry; `None` where the entry itself is the value.
    pub(super) inner: Option<Path>,
}

/// Which entry of a list: the first in which these keys have these values.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Which {
    conditions: Vec<(String, Value)>,
    /// A second one like it is a fault.
    only: bool,
}

impl Which {
    /// Reads what stands between the brackets.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut which = Self { conditions: Vec::new(), only: false };
        let parts: Vec<&str> = unquoted(text, ',').collect();
        for (n, part) in parts.iter().map(|part| part.trim()).enumerate() {
            match (part, unquoted_at(part, '=')) {
                ("first", None) if parts.len() == 1 => {}
                ("only", None) if n + 1 == parts.len() => which.only = true,
                (_, Some(at)) => which.add(part[..at].trim(), part[at + 1..].trim())?,
                _ => return Err(format!("'{part}' does not say which entry: write first, only, or key=value")),
            }
        }
        Ok(which)
    }

    fn add(&mut self, key: &str, value: &str) -> Result<(), String> {
        let key = unquote(key).unwrap_or_else(|| key.to_owned());
        if key.is_empty() || value.is_empty() {
            return Err("a key and its value are needed: [type=work]".to_owned());
        }
        if self.conditions.iter().any(|(other, _)| *other == key) {
            return Err(format!("'{key}' stands twice between the brackets"));
        }
        let value = match (unquote(value), value) {
            (Some(text), _) => Value::String(text),
            (None, "true") => Value::Bool(true),
            (None, "false") => Value::Bool(false),
            (None, word) => Number::parse(word).map_or_else(|_| Value::string(word), Value::Number),
        };
        self.conditions.push((key, value));
        Ok(())
    }

    fn fits(&self, entry: &Value) -> bool {
        let Value::Object(entries) = entry else { return self.conditions.is_empty() };
        let holds = |(key, wanted): &(String, Value)| entries.iter().any(|(k, v)| k == key && v.same(wanted));
        self.conditions.iter().all(holds)
    }

    /// Whether no entry can be meant by both.
    fn excludes(&self, other: &Self) -> bool {
        let differ = |(key, value): &(String, Value)| {
            other.conditions.iter().any(|(other, wanted)| other == key && !wanted.same(value))
        };
        self.conditions.iter().any(differ)
    }

    fn is_same(&self, other: &Self) -> bool {
        let has = |(key, value): &(String, Value)| other.conditions.iter().any(|(k, v)| k == key && v.same(value));
        self.conditions.len() == other.conditions.len() && self.conditions.iter().all(has)
    }

    /// A new entry of this kind.
    fn new_entry(&self) -> Value {
        Value::Object(self.conditions.clone())
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words: Vec<String> =
            self.conditions.iter().map(|(key, value)| format!("{key}={}", bare(value))).collect();
        if self.only {
            words.push("only".to_owned());
        }
        if words.is_empty() {
            words.push("first".to_owned());
        }
        f.write_str(&words.join(","))
    }
}

/// A value as it stands between the brackets.
fn bare(value: &Value) -> String {
    let Value::String(text) = value else { return value.to_json() };
    let means_more = matches!(text.as_str(), "true" | "false") || Number::parse(text).is_ok();
    if means_more || text.trim() != text || text.contains(['"', ',', '=', ']', '\\']) {
        return format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    }
    text.clone()
}

impl Entry {
    /// A path of keys that names it, for messages and searches: `phones[type=work].number`.
    pub(super) fn named(&self) -> Path {
        let mut keys = self.list.segments().to_vec();
        if let Some(last) = keys.last_mut() {
            *last = format!("{last}[{}]", self.which);
        }
        keys.extend(self.inner.iter().flat_map(|inner| inner.segments().iter().cloned()));
        Path::of_keys(keys).unwrap_or_else(|| self.list.clone())
    }

    /// Why it cannot stand in a mapping.
    pub(super) fn problem(&self) -> Option<&'static str> {
        match &self.inner {
            None if !self.which.conditions.is_empty() => Some("a key of the entry must follow the brackets"),
            Some(inner) if self.which.conditions.iter().any(|(key, _)| *key == inner.segments()[0]) => {
                Some("the key by which the entry is chosen cannot be the value")
            }
            Some(_) | None => None,
        }
    }

    /// Whether both could be one value, or lie one in the other; for entries of one list.
    pub(super) fn meets(&self, other: &Self) -> bool {
        if self.which.is_same(&other.which) {
            return match (&self.inner, &other.inner) {
                (Some(own), Some(other)) => own.overlaps(other),
                (None, _) | (_, None) => true,
            };
        }
        !self.which.excludes(&other.which)
    }

    /// Its value in the list, as it stands in a record.
    ///
    /// # Errors
    /// When it is no list, or the entry is not what it must be.
    pub(super) fn read(&self, list: Option<&Value>) -> Result<Option<Value>, String> {
        let items = match list {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Array(items)) => items,
            Some(other) => return Err(format!("{} is a {}, not a list", self.list, other.kind())),
        };
        let Some(at) = self.position(items)? else { return Ok(None) };
        let mut value = &items[at];
        for key in self.inner.iter().flat_map(|inner| inner.segments()) {
            match value {
                Value::Object(entries) => match entries.iter().find(|(other, _)| other == key) {
                    Some((_, inner)) => value = inner,
                    None => return Ok(None),
                },
                Value::Null => return Ok(None),
                other => {
                    let place = format!("the entry {} of {} holds a {}", at + 1, self.list, other.kind());
                    return Err(format!("{place} where '{key}' is looked for"));
                }
            }
        }
        Ok(Some(value.clone()))
    }

    fn position(&self, items: &[Value]) -> Result<Option<usize>, String> {
        let mut fitting = items.iter().enumerate().filter(|(_, item)| self.which.fits(item)).map(|(at, _)| at);
        let first = fitting.next();
        let more = if self.which.only { fitting.count() } else { 0 };
        if more > 0 {
            return Err(format!("{} entries of {} are [{}]", more + 1, self.list, self.which));
        }
        Ok(first)
    }

    /// Sets the value, in its entry or in a new one at the end; the other entries and keys stay.
    ///
    /// # Errors
    /// When it cannot be told which entry is meant, or it is none.
    pub(super) fn set(&self, list: &mut Value, value: Value) -> Result<(), String> {
        if matches!(list, Value::Null) {
            *list = Value::Array(Vec::new());
        }
        let Value::Array(items) = list else { return Err(format!("{} is a {}, not a list", self.list, list.kind())) };
        let at = match self.position(items)? {
            Some(at) => at,
            None => {
                items.push(self.which.new_entry());
                items.len() - 1
            }
        };
        match (&self.inner, &mut items[at]) {
            (None, item) => *item = value,
            (Some(inner), item @ (Value::Object(_) | Value::Null)) => item.set(inner, value),
            (Some(_), other) => {
                return Err(format!("the entry {} of {} is {}, not an object", at + 1, self.list, shown_value(other)));
            }
        }
        Ok(())
    }

    /// Takes the value away; with it the entry, unless one of the `others` mapped into it still
    /// has a value there.
    ///
    /// # Errors
    /// As [`Entry::set`].
    pub(super) fn clear(&self, list: &mut Value, others: &[&Entry]) -> Result<(), String> {
        let Value::Array(items) = list else { return Ok(()) };
        let Some(at) = self.position(items)? else { return Ok(()) };
        if let Some(inner) = &self.inner {
            items[at].remove(inner);
        }
        let left =
            others.iter().filter(|other| other.which.is_same(&self.which)).filter_map(|other| other.inner.as_ref());
        let holds_more = left.into_iter().any(|inner| items[at].get(inner).is_some_and(|value| !value.is_blank()));
        if !holds_more {
            items.remove(at);
        }
        if self.read(Some(list)).is_ok_and(|value| value.is_none_or(|value| value.is_blank())) {
            return Ok(());
        }
        let (list, which) = (&self.list, &self.which);
        Err(format!("{list} has more than one entry [{which}]: without this one another would take its place"))
    }

    /// A text that names it: the same for the same meaning.
    pub(super) fn identity(&self) -> String {
        let inner = self.inner.as_ref().map(Path::to_string).unwrap_or_default();
        format!("{} entry [{}] {inner}", self.list, self.which)
    }
}

/// The parts of a text between unquoted signs.
fn unquoted(text: &str, sign: char) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let all = rest?;
        let at = unquoted_at(all, sign);
        rest = at.map(|at| &all[at + sign.len_utf8()..]);
        Some(at.map_or(all, |at| &all[..at]))
    })
}

/// Where a sign stands outside of quotes.
pub(super) fn unquoted_at(text: &str, sign: char) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    text.char_indices().find_map(|(at, c)| {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            c if c == sign && !quoted => return Some(at),
            _ => {}
        }
        None
    })
}

/// What a quoted text says; `None` where it is not quoted.
fn unquote(text: &str) -> Option<String> {
    let inner = text.strip_prefix('"')?.strip_suffix('"').filter(|_| text.len() > 1)?;
    let mut chars = inner.chars();
    let mut said = String::new();
    while let Some(c) = chars.next() {
        said.push(if c == '\\' { chars.next()? } else { c });
    }
    Some(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(which: &str, inner: &str) -> Entry {
        let inner = (!inner.is_empty()).then(|| inner.parse().unwrap());
        Entry { list: "p.phones".parse().unwrap(), which: Which::parse(which).unwrap(), inner }
    }

    fn json(text: &str) -> Value {
        Value::from_json(text).unwrap()
    }

    #[test]
    fn which_entry_is_meant() {
        for (text, shown) in [
            ("first", "first"),
            ("only", "only"),
            (" type = work ", "type=work"),
            ("type=work,primary=true", "type=work,primary=true"),
            ("type=work,only", "type=work,only"),
            ("n=1", "n=1"),
            (r#"n="1""#, r#"n="1""#),
            (r#"type="a, \"b\"=c""#, r#"type="a, \"b\"=c""#),
        ] {
            let which = Which::parse(text).unwrap();
            assert_eq!(which.to_string(), shown);
            assert_eq!(Which::parse(shown), Ok(which));
        }
        for text in ["", "last", "0", "first,only", "only,type=work", "type=", "=work", "type=a,type=b", "type"] {
            assert!(Which::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn reads_the_first_entry_that_fits() {
        let list = json(r#"[{"type":"home","n":"1"},{"n":{"x":2},"type":"work"},{"type":"work","n":"3"},null]"#);
        for (which, inner, want) in [
            ("first", "n", Ok(Some("\"1\""))),
            ("type=home", "n", Ok(Some("\"1\""))),
            ("type=work", "n.x", Ok(Some("2"))),
            ("type=work", "m", Ok(None)),
            ("type=fax", "n", Ok(None)),
            ("type=home,only", "n", Ok(Some("\"1\""))),
            ("type=work,only", "n", Err("2 entries of p.phones are [type=work,only]")),
            ("only", "n", Err("4 entries of p.phones are [only]")),
            ("type=home", "n.x", Err("the entry 1 of p.phones holds a text where 'x' is looked for")),
        ] {
            let read = entry(which, inner).read(Some(&list));
            assert_eq!(read, want.map(|value| value.map(json)).map_err(str::to_owned), "{which} {inner}");
        }
        assert_eq!(entry("first", "").read(Some(&json(r#"["a","b"]"#))), Ok(Some(json("\"a\""))));
        assert_eq!(entry("first", "n").read(None), Ok(None));
        assert_eq!(entry("first", "n").read(Some(&json("[]"))), Ok(None));
        assert!(entry("first", "n").read(Some(&json("{}"))).unwrap_err().contains("is a object, not a list"));
    }

    #[test]
    fn what_is_written_disturbs_nothing_else() {
        let list = r#"[{"type":"home","n":"1","x":[1]},{"type":"work","n":"2","ext":"7","x":1.50}]"#;
        for (which, inner, value, want) in [
            (
                "type=work",
                "n",
                "\"9\"",
                r#"[{"type":"home","n":"1","x":[1]},{"type":"work","n":"9","ext":"7","x":1.50}]"#,
            ),
            (
                "type=fax",
                "n",
                "\"9\"",
                r#"[{"type":"home","n":"1","x":[1]},{"type":"work","n":"2","ext":"7","x":1.50},{"type":"fax","n":"9"}]"#,
            ),
            (
                "first",
                "m.z",
                "true",
                r#"[{"type":"home","n":"1","x":[1],"m":{"z":true}},{"type":"work","n":"2","ext":"7","x":1.50}]"#,
            ),
        ] {
            let mut list = json(list);
            entry(which, inner).set(&mut list, json(value)).unwrap();
            assert_eq!(list.to_json(), want, "{which} {inner}");
        }
        let mut none = Value::Null;
        entry("type=work,n=1", "v").set(&mut none, json("1")).unwrap();
        assert_eq!(none.to_json(), r#"[{"type":"work","n":1,"v":1}]"#);
        assert!(
            entry("first", "n").set(&mut json(r#"["a"]"#), json("1")).unwrap_err().contains("is 'a', not an object")
        );
    }

    #[test]
    fn an_entry_goes_with_the_last_value_that_is_mapped_into_it() {
        let number = entry("type=work", "n");
        let extension = entry("type=work", "ext");
        let mut list = json(r#"[{"type":"home","n":"1"},{"type":"work","n":"2","ext":"7","seen":true}]"#);
        number.clear(&mut list, &[&extension]).unwrap();
        assert_eq!(list.to_json(), r#"[{"type":"home","n":"1"},{"type":"work","ext":"7","seen":true}]"#);
        extension.clear(&mut list, &[&number]).unwrap();
        assert_eq!(list.to_json(), r#"[{"type":"home","n":"1"}]"#);
        number.clear(&mut list, &[]).unwrap();
        assert_eq!(list.to_json(), r#"[{"type":"home","n":"1"}]"#);
        let mut two = json(r#"[{"n":"1"},{"n":"2"}]"#);
        assert!(entry("first", "n").clear(&mut two, &[]).unwrap_err().contains("another would take its place"));
    }

    #[test]
    fn two_that_could_be_one_value_are_told() {
        for (a, b, meet) in [
            (("type=work", "n"), ("type=home", "n"), false),
            (("type=work", "n"), ("type=work", "ext"), false),
            (("type=work", "n"), ("type=work", "n.x"), true),
            (("type=work", "n"), ("primary=true", "ext"), true),
            (("type=work,primary=true", "n"), ("type=home", "n"), false),
            (("first", "n"), ("type=home", "ext"), true),
            (("first", "n"), ("only", "m"), false),
            (("first", ""), ("first", "m"), true),
        ] {
            assert_eq!(entry(a.0, a.1).meets(&entry(b.0, b.1)), meet, "{a:?} {b:?}");
            assert_eq!(entry(b.0, b.1).meets(&entry(a.0, a.1)), meet, "{b:?} {a:?}");
        }
    }
}
