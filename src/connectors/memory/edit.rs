//! Edits from outside, as data: a transaction may commit them later.

use crate::model::value::Value;
use crate::model::write::Change;

/// What a person does to a record.
#[derive(Debug, Clone)]
pub(super) enum Edit {
    /// Makes or replaces it.
    Put(Value),
    /// Changes some fields of it, if it is there.
    Patch(Vec<Change>),
    /// Deletes it, if it is there.
    Delete,
}

impl Edit {
    /// What becomes of what was there.
    pub fn apply(self, old: Option<Value>) -> Option<Value> {
        match self {
            Edit::Put(value) => Some(value),
            Edit::Patch(changes) => old.map(|value| patched(value, changes)),
            Edit::Delete => None,
        }
    }
}

fn patched(mut value: Value, changes: Vec<Change>) -> Value {
    for Change { path, value: new } in changes {
        match new {
            Some(new) => value.set(&path, new),
            None => value.remove(&path),
        }
    }
    value
}

/// Takes from another value what this one lacks, object by object.
pub(super) fn fill(value: &mut Value, other: Value) {
    let (Value::Object(entries), Value::Object(others)) = (value, other) else { return };
    for (key, other) in others {
        match entries.iter_mut().find(|(own, _)| *own == key) {
            Some((_, own)) => fill(own, other),
            None => entries.push((key, other)),
        }
    }
}
