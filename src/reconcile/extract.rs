//! Takes the mapped values out of a record's JSON text, level by level along the mapped
//! paths, without decoding what is not mapped.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::shown;
use crate::model::path::Path;

/// The paths of one side's fields, by key. No field lies on or under another. Each path has a
/// slot in what is found: the field's number, and a number of its own for each further path.
#[derive(Debug, Clone, Default)]
pub(super) struct Trie(Vec<(String, Node)>);

#[derive(Debug, Clone)]
enum Node {
    Slot(usize),
    /// A list of which several fields each take an entry.
    List(Vec<usize>),
    Inner(Trie),
}

/// What stands at a field's path.
#[derive(Debug, Clone)]
pub(super) enum Found<'b> {
    /// Nothing: the key, or an object on the way to it, is absent or null.
    Absent,
    /// A value.
    Raw(&'b RawValue),
    /// Something that is not an object stands on the way.
    Blocked(String),
}

/// Where a record's text is not what a record must be, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BadText {
    pub(super) place: String,
    pub(super) reason: String,
}

impl Trie {
    /// Adds a path.
    ///
    /// # Errors
    /// With a slot that lies on or under the path already.
    pub(super) fn insert(&mut self, path: &Path, slot: usize) -> Result<(), usize> {
        self.insert_keys(path.segments(), Node::Slot(slot)).map(|_| ())
    }

    /// Adds a list that is shared by those who take an entry of it; the others so far.
    ///
    /// # Errors
    /// As [`Trie::insert`].
    pub(super) fn insert_list(&mut self, path: &Path, slot: usize) -> Result<Vec<usize>, usize> {
        self.insert_keys(path.segments(), Node::List(vec![slot]))
    }

    fn insert_keys(&mut self, keys: &[String], node: Node) -> Result<Vec<usize>, usize> {
        let Some((key, rest)) = keys.split_first() else { return Ok(Vec::new()) };
        match self.0.binary_search_by(|(other, _)| other.cmp(key)) {
            Ok(at) => match (&mut self.0[at].1, node) {
                (Node::List(slots), Node::List(new)) if rest.is_empty() => {
                    let others = slots.clone();
                    slots.extend(new);
                    Ok(others)
                }
                (Node::Inner(inner), node) if !rest.is_empty() => inner.insert_keys(rest, node),
                (met, _) => Err(met.any_slot().unwrap_or_default()),
            },
            Err(at) => {
                let node = if rest.is_empty() {
                    node
                } else {
                    let mut inner = Trie::default();
                    inner.insert_keys(rest, node)?;
                    Node::Inner(inner)
                };
                self.0.insert(at, (key.clone(), node));
                Ok(Vec::new())
            }
        }
    }

    fn child(&self, key: &str) -> Option<&Node> {
        let at = self.0.binary_search_by(|(other, _)| other.as_str().cmp(key)).ok()?;
        Some(&self.0[at].1)
    }

    fn block(&self, found: &mut [Found<'_>], reason: &str) {
        for (_, node) in &self.0 {
            match node {
                Node::Slot(slot) => found[*slot] = Found::Blocked(reason.to_owned()),
                Node::List(slots) => slots.iter().for_each(|slot| found[*slot] = Found::Blocked(reason.to_owned())),
                Node::Inner(inner) => inner.block(found, reason),
            }
        }
    }

    /// Finds what stands at every path in one pass over each visited level.
    ///
    /// # Errors
    /// When the text is not one JSON object, or a key stands twice on a visited level
    /// (which of the two would be meant?).
    pub(super) fn find<'b>(&self, text: &'b str, num_slots: usize) -> Result<Vec<Found<'b>>, BadText> {
        if !text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{') {
            let reason = match serde_json::from_str::<IgnoredAny>(text) {
                Ok(IgnoredAny) => "the record is not a JSON object".to_owned(),
                Err(error) => format!("the record is not JSON: {error}"),
            };
            return Err(BadText { place: "the top".to_owned(), reason });
        }
        let mut found = vec![Found::Absent; num_slots];
        self.walk(text, &mut Vec::new(), &mut found)?;
        Ok(found)
    }

    fn walk<'b>(&self, text: &'b str, place: &mut Vec<String>, found: &mut [Found<'b>]) -> Result<(), BadText> {
        for (key, node, raw) in self.level(text).map_err(|reason| bad_text(place, reason))? {
            match node {
                Node::Slot(slot) => found[*slot] = Found::Raw(raw),
                Node::List(slots) => slots.iter().for_each(|slot| found[*slot] = Found::Raw(raw)),
                Node::Inner(inner) => {
                    place.push(key.into_owned());
                    match raw.get().as_bytes().first() {
                        Some(b'{') => inner.walk(raw.get(), place, found)?,
                        Some(b'n') => {}
                        first => {
                            inner.block(found, &format!("{} is {}, not an object", place.join("."), kind(first)));
                        }
                    }
                    place.pop();
                }
            }
        }
        Ok(())
    }

    /// The mapped entries of one object.
    fn level<'t, 'b>(&'t self, text: &'b str) -> Result<Vec<Hit<'t, 'b>>, String> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let (keys, hits) = deserializer
            .deserialize_map(Level(self))
            .and_then(|level| deserializer.end().map(|()| level))
            .map_err(|error| format!("the record is not JSON: {}", shown(&error.to_string())))?;
        match first_duplicate(&keys) {
            Some(key) => Err(format!("the key '{}' stands twice", shown(key))),
            None => Ok(hits),
        }
    }
}

impl Node {
    fn any_slot(&self) -> Option<usize> {
        match self {
            Node::Slot(slot) => Some(*slot),
            Node::List(slots) => slots.first().copied(),
            Node::Inner(inner) => inner.0.iter().find_map(|(_, node)| node.any_slot()),
        }
    }
}

type Hit<'t, 'b> = (Cow<'b, str>, &'t Node, &'b RawValue);

struct Level<'t>(&'t Trie);

impl<'t, 'b> Visitor<'b> for Level<'t> {
    type Value = (Vec<Cow<'b, str>>, Vec<Hit<'t, 'b>>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'b>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut keys, mut hits) = (Vec::with_capacity(16), Vec::with_capacity(self.0.0.len()));
        while let Some(Key(key)) = map.next_key::<Key<'b>>()? {
            match self.0.child(&key) {
                Some(node) => hits.push((key.clone(), node, map.next_value::<&'b RawValue>()?)),
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            keys.push(key);
        }
        Ok((keys, hits))
    }
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

fn first_duplicate<'a>(keys: &'a [Cow<'_, str>]) -> Option<&'a str> {
    // A pairwise look is quickest for the few keys a record has; a set guards the rest.
    if keys.len() <= 16 {
        let twice = keys.iter().enumerate().find(|(i, key)| keys[..*i].contains(key));
        return twice.map(|(_, key)| &**key);
    }
    let mut seen = HashSet::with_capacity(keys.len());
    keys.iter().find(|key| !seen.insert(&***key)).map(|key| &**key)
}

fn bad_text(place: &[String], reason: String) -> BadText {
    let place = if place.is_empty() { "the top".to_owned() } else { place.join(".") };
    BadText { place, reason }
}

fn kind(first: Option<&u8>) -> &'static str {
    match first {
        Some(b'"') => "a text",
        Some(b'[') => "a list",
        Some(b't' | b'f') => "a boolean",
        _ => "a number",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trie(paths: &[&str]) -> Trie {
        let mut trie = Trie::default();
        for (i, path) in paths.iter().enumerate() {
            trie.insert(&path.parse().unwrap(), i).unwrap();
        }
        trie
    }

    fn texts(trie: &Trie, body: &str) -> Result<Vec<String>, BadText> {
        let found = trie.find(body, 3)?;
        Ok(found
            .iter()
            .map(|found| match found {
                Found::Absent => "-".to_owned(),
                Found::Raw(raw) => raw.get().to_owned(),
                Found::Blocked(reason) => format!("!{reason}"),
            })
            .collect())
    }

    #[test]
    fn finds_values_along_the_paths() {
        let trie = trie(&["id", "p.email", "p.address.city"]);
        for (body, want) in [
            (
                r#" {"p":{"address":{"city":"Bonn","x":[{}]},"email":"a"},"id":12345678901234567890123} "#,
                ["12345678901234567890123", "\"a\"", "\"Bonn\""],
            ),
            (r#"{"id":null,"p":{"\u0065mail":""}}"#, ["null", "\"\"", "-"]),
            (r#"{"id":1,"p":null}"#, ["1", "-", "-"]),
            (r#"{"id":{},"p":{"address":[1]}}"#, ["{}", "-", "!p.address is a list, not an object"]),
            (r#"{"p":5}"#, ["-", "!p is a number, not an object", "!p is a number, not an object"]),
            ("{}", ["-", "-", "-"]),
        ] {
            assert_eq!(texts(&trie, body).unwrap(), want, "{body}");
        }
    }

    #[test]
    fn refuses_what_is_no_record() {
        let trie = trie(&["id", "p.email"]);
        let many: String = (0..40).map(|i| format!("\"k{i}\":1,")).collect();
        for (body, want) in [
            ("", "the top: the record is not JSON: EOF while parsing"),
            ("<html>", "the top: the record is not JSON: expected value"),
            ("[]", "the top: the record is not a JSON object"),
            ("\"x\"", "the top: the record is not a JSON object"),
            ("{\"id\":1", "the top: the record is not JSON: EOF"),
            ("{\"id\":1} x", "the top: the record is not JSON: trailing characters"),
            (r#"{"id":1,"id":2}"#, "the top: the key 'id' stands twice"),
            (r#"{"id":1,"\u0069d":2}"#, "the top: the key 'id' stands twice"),
            (r#"{"x":1,"x":2}"#, "the top: the key 'x' stands twice"),
            (r#"{"p":{"a":1,"a":1}}"#, "p: the key 'a' stands twice"),
            (&format!("{{{many}\"k7\":2}}"), "the top: the key 'k7' stands twice"),
        ] {
            let bad = texts(&trie, body).unwrap_err();
            assert!(format!("{}: {}", bad.place, bad.reason).starts_with(want), "{body}: {bad:?}");
        }
        // Not visited: nothing mapped lies there.
        assert!(texts(&trie, r#"{"q":{"a":1,"a":2}}"#).is_ok());
    }

    #[test]
    fn paths_that_meet_are_refused() {
        for (first, second) in [("a", "a"), ("a.b", "a"), ("a", "a.b.c"), ("a.b.c", "a.b")] {
            assert_eq!(trie(&[first]).insert(&second.parse().unwrap(), 1), Err(0), "{first} {second}");
        }
        assert_eq!(trie(&["a.b"]).insert(&"a.c".parse().unwrap(), 1), Ok(()));
        assert_eq!(trie(&["a"]).insert(&"ab".parse().unwrap(), 1), Ok(()));
    }

    #[test]
    fn depth_outside_the_mapped_paths_costs_no_stack() {
        let deep = "[".repeat(200_000);
        let body = format!("{{\"x\":{deep}{},\"id\":1}}", "]".repeat(200_000));
        let found = trie(&["id"]).find(&body, 1).unwrap();
        assert!(matches!(found[0], Found::Raw(raw) if raw.get() == "1"));
    }
}
