//! What a configuration says about a connection, key by key, so that a later reading of it
//! can be told from an earlier one without keeping any value.

use std::collections::BTreeMap;
use std::fmt;

use crate::model::document::Table;
use crate::model::hash::Digest;

/// A digest of what each key of some tables says. Comments, spaces and the order of keys make
/// no difference; what a variable or a secret file holds does.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Said(BTreeMap<String, Digest>);

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No digest: a short secret could be found by trying.
        f.debug_struct("Said").finish_non_exhaustive()
    }
}

impl Said {
    /// What a table says.
    pub fn of(table: &Table<'_>) -> Self {
        let lines = table.canonical().into_iter();
        Self(lines.map(|(key, text)| (key, Digest::of(text.as_bytes()))).collect())
    }

    /// More of what stands at a key.
    pub fn add(&mut self, key: impl Into<String>, more: Digest) {
        self.0
            .entry(key.into())
            .and_modify(|digest| *digest = Digest::of(&[digest.0, more.0].concat()))
            .or_insert(more);
    }

    /// A key that is told of otherwise.
    pub fn without(mut self, key: &str) -> Self {
        self.0.remove(key);
        self
    }

    /// All of it as one.
    pub fn digest(&self) -> Digest {
        let mut text = Vec::new();
        for (key, digest) in &self.0 {
            text.extend_from_slice(key.as_bytes());
            text.push(0);
            text.extend_from_slice(&digest.0);
        }
        Digest::of(&text)
    }

    /// The keys at which two differ.
    pub fn differing(&self, other: &Self) -> Vec<String> {
        let mut keys: Vec<&String> = self.0.keys().chain(other.0.keys()).collect();
        keys.sort_unstable();
        keys.dedup();
        keys.into_iter().filter(|key| self.0.get(*key) != other.0.get(*key)).cloned().collect()
    }
}
