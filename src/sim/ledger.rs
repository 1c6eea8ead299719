//! What people have done, so that it can be accounted for at the end.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::ids::RecordId;
use crate::model::side::Side;

/// One edit of a mapped text field.
#[derive(Debug, Clone)]
pub(super) struct Edit {
    pub order: u64,
    pub email: String,
    pub field: &'static str,
    /// Told apart from every other value; `None` where the value was taken away.
    pub value: Option<String>,
}

/// What the people of one account have done, in order.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub edits: Vec<Edit>,
    /// Every deletion, by e-mail.
    pub deletions: BTreeMap<String, Vec<u64>>,
    /// What unmapped fields were last set to, by record.
    pub unmapped: BTreeMap<(Side, RecordId), String>,
    /// Names seen to be gone on both sides, and not made again since.
    pub gone: BTreeSet<String>,
    /// Every name there ever was.
    pub names: BTreeSet<String>,
    order: u64,
}

impl Ledger {
    /// A number for the next thing that is done.
    pub fn next(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    pub fn created(&mut self, email: &str) {
        self.gone.remove(email);
        self.names.insert(email.to_owned());
    }

    pub fn edited(&mut self, edit: Edit) {
        self.edits.push(edit);
    }

    pub fn deleted(&mut self, email: &str) {
        let order = self.next();
        self.deletions.entry(email.to_owned()).or_default().push(order);
    }

    /// Whether a later edit of the same field, or a later deletion, explains why an
    /// edit does not stand.
    pub fn overtaken(&self, edit: &Edit) -> bool {
        let deleted = self.deletions.get(&edit.email).is_some_and(|all| all.iter().any(|order| *order > edit.order));
        let same = |later: &Edit| later.email == edit.email && later.field == edit.field;
        deleted || self.edits.iter().any(|later| later.order > edit.order && same(later))
    }
}
