//! Syncs as they are for connections that say something else about their fields. What is said
//! alike is compiled once, and kept as long as a connection uses it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::actors::spec::SyncSpec;
use crate::model::hash::Digest;

/// What a sync is for connections that declare fields, by what they say.
#[derive(Debug, Default)]
pub(super) struct Variants(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    specs: HashMap<Digest, Weak<SyncSpec>>,
    /// Those that nobody uses any more are looked for when there are so many.
    swept_at: usize,
}

/// So many are kept before the unused ones are looked for.
const FIRST_SWEEP: usize = 64;

impl Variants {
    /// The sync for what a connection says, made by `make` where nobody has said the same.
    pub fn get(&self, said: Digest, make: impl FnOnce() -> Option<SyncSpec>) -> Option<Arc<SyncSpec>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(spec) = known.specs.get(&said).and_then(Weak::upgrade) {
            return Some(spec);
        }
        let spec = Arc::new(make()?);
        if known.specs.len() >= known.swept_at.max(FIRST_SWEEP) {
            known.specs.retain(|_, spec| spec.strong_count() > 0);
            known.swept_at = known.specs.len() * 2;
        }
        known.specs.insert(said, Arc::downgrade(&spec));
        Some(spec)
    }
}
