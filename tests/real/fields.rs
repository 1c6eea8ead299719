//! The naive view of a mapping: what is called what, and whether two sides agree.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::records::{Object, Records};

/// One mapped field; keys on a path are joined with dots.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    pub app: &'static str,
    pub remote: &'static str,
}

/// A record's mapped fields in the order of the mapping; `None` where the key is absent,
/// which is not null.
pub type View = Vec<Option<Value>>;

/// All records of a side by what identifies them on both.
pub type Views = BTreeMap<String, View>;

/// The value at a path.
pub fn at<'r>(object: &'r Object, path: &str) -> Option<&'r Value> {
    match path.split_once('.') {
        None => object.get(path),
        Some((key, rest)) => at(object.get(key)?.as_object()?, rest),
    }
}

/// Sets the value at a path, or takes the key away.
pub fn put(object: &mut Object, path: &str, value: Option<Value>) {
    match (path.split_once('.'), value) {
        (None, Some(value)) => drop(object.insert(path.to_owned(), value)),
        (None, None) => drop(object.remove(path)),
        (Some((key, rest)), value) => {
            let below = object.entry(key).or_insert_with(|| Value::Object(Object::new()));
            put(below.as_object_mut().expect("paths do not lead through values"), rest, value);
        }
    }
}

pub fn app_view(fields: &[Field], object: &Object) -> View {
    fields.iter().map(|field| at(object, field.app).cloned()).collect()
}

pub fn remote_view(fields: &[Field], object: &Object) -> View {
    fields.iter().map(|field| at(object, field.remote).cloned()).collect()
}

/// The records of a side by the text in one of their fields; panics where two have the
/// same, for then there is a duplicate.
pub fn by_key(records: &Records, view: impl Fn(&Object) -> View, key: usize) -> Views {
    let mut views = Views::new();
    for (id, object) in records {
        let view = view(object);
        let name = view[key].as_ref().and_then(Value::as_str).unwrap_or_else(|| panic!("{id} has no key")).to_owned();
        assert!(views.insert(name.clone(), view).is_none(), "two records have the key {name}");
    }
    views
}

/// Panics with the first few differences unless both are the same.
pub fn assert_same(what: &str, left: &Views, right: &Views) {
    let keys: std::collections::BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    let differ: Vec<String> = keys
        .into_iter()
        .filter(|key| left.get(*key) != right.get(*key))
        .map(|key| format!("{key}:\n    {:?}\n    {:?}", left.get(key), right.get(key)))
        .collect();
    let shown = differ.iter().take(5).cloned().collect::<Vec<_>>().join("\n  ");
    assert!(differ.is_empty(), "{what}: {} of {} records differ\n  {shown}", differ.len(), left.len().max(right.len()));
}
