//! What triggers have taken and refused, by reason, so that nothing is refused unseen.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Counts since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Deliveries or calls whose hints are durable.
    pub accepted: u64,
    /// Those that had been accepted before.
    pub repeated: u64,
    /// Events that are about nothing that is synced.
    pub others: u64,
    /// Those that were refused, by reason.
    pub refused: BTreeMap<String, u64>,
}

impl Counts {
    /// One more that was refused.
    pub fn refuse(&mut self, reason: &str) {
        *self.refused.entry(reason.to_owned()).or_default() += 1;
    }
}
