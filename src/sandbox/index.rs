//! The search index of an account: it knows of a write some time after it.

use std::collections::VecDeque;

use super::collection::{Collection, Slot};

/// The records as a search finds them.
#[derive(Debug)]
pub(super) struct Index {
    lag_ms: i64,
    collections: Vec<Collection>,
    waiting: VecDeque<Waiting>,
}

/// A write that the index does not know of yet.
#[derive(Debug)]
struct Waiting {
    due_ms: i64,
    collection: usize,
    id: u64,
    slot: Option<Slot>,
}

impl Index {
    pub(super) fn new(lag_ms: i64, collections: Vec<Collection>) -> Self {
        Self { lag_ms, collections, waiting: VecDeque::new() }
    }

    /// Takes a write in; it is found when the index has caught up.
    pub(super) fn note(&mut self, collection: usize, id: u64, slot: Option<Slot>, now_ms: i64) {
        let due_ms = now_ms.saturating_add(self.lag_ms);
        self.waiting.push_back(Waiting { due_ms, collection, id, slot });
    }

    /// The records of a collection as they are found now.
    pub(super) fn seen(&mut self, collection: usize, now_ms: i64) -> &Collection {
        while let Some(first) = self.waiting.front()
            && first.due_ms <= now_ms
            && let Some(Waiting { collection, id, slot, .. }) = self.waiting.pop_front()
        {
            self.collections[collection].place(id, slot);
        }
        &self.collections[collection]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::properties::Properties;
    use crate::sandbox::settings::ObjectSettings;

    #[test]
    fn a_write_is_found_when_its_time_has_come() {
        let settings = ObjectSettings::new("contacts");
        let properties =
            || Properties::parse(serde_json::from_str("{}").expect("JSON"), &ObjectSettings::new("contacts"));
        let mut live = Collection::new(settings.clone());
        let mut index = Index::new(100, vec![Collection::new(settings)]);
        live.create(1, properties().expect("valid"), 5);
        index.note(0, 1, live.slot(1), 1_000);
        live.delete(1, None, || 6).expect("exists");
        index.note(0, 1, live.slot(1), 1_050);
        for (now_ms, found) in [(1_000, 0), (1_099, 0), (1_100, 1), (1_149, 1), (1_150, 0)] {
            assert_eq!(index.seen(0, now_ms).live().count(), found, "at {now_ms}");
        }
    }
}
