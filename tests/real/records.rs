//! One side's records as this suite sees and changes them, past the kernel.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::{Map, Value};

/// One record's content, without its id and what the side adds to it.
pub type Object = Map<String, Value>;

/// All records of a side by id.
pub type Records = BTreeMap<String, Object>;

/// One change made by a user of that side.
#[derive(Debug, Clone)]
pub enum Edit {
    /// A new record; the side chooses its id.
    Create(Object),
    /// The whole record becomes this: keys that it lacks disappear.
    Replace(String, Object),
    /// The record goes.
    Delete(String),
}

/// One side, seen by its own means.
#[async_trait(?Send)]
pub trait Side {
    /// Every record, read in full.
    async fn all(&self) -> Records;

    /// Makes some changes; panics when one is refused.
    async fn make(&self, edits: Vec<Edit>);

    /// Where the side's own list of changes stands: it moves with every write.
    async fn position(&self) -> String;

    /// How many records were written, or deleted, after a position.
    async fn written_since(&self, position: &str) -> usize;
}
