//! Operations of which a side allows one at a time, such as a scroll through all records.

use std::collections::BTreeMap;

/// Who holds what. One that has not gone on for long enough has ended: the side forgets it.
#[derive(Debug, Clone, Default)]
pub(super) struct Exclusives(BTreeMap<String, Held>);

#[derive(Debug, Clone, Copy)]
struct Held {
    by: u64,
    until_ms: u64,
}

impl Exclusives {
    /// Takes an operation, or goes on with it.
    ///
    /// # Errors
    /// When another one is under way, with the time when it ends at the latest unless it goes on.
    pub fn hold(&mut self, what: &str, by: u64, now_ms: u64, idle_ms: u64) -> Result<(), u64> {
        match self.0.get(what) {
            Some(held) if held.by != by && now_ms < held.until_ms => Err(held.until_ms),
            Some(_) | None => {
                self.0.insert(what.to_owned(), Held { by, until_ms: now_ms.saturating_add(idle_ms) });
                Ok(())
            }
        }
    }

    /// The operation has ended.
    pub fn release(&mut self, what: &str, by: u64) {
        if self.0.get(what).is_some_and(|held| held.by == by) {
            self.0.remove(what);
        }
    }
}
