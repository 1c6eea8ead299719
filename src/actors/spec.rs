//! What a connection is made of, as given by the configuration or a host program.

use std::fmt;
use std::sync::Arc;

use crate::connectors::{Calls, ConnectorFactory};
use crate::model::budget::Limits;
use crate::model::direction::Direction;
use crate::model::ids::{ConnectionId, ObjectName, Scope, SyncName};
use crate::model::side::{PerSide, Side};
use crate::reconcile::mapping::Mapping;
use crate::reconcile::merge::Initial;

/// One sync as declared; the same for all connections it applies to.
#[derive(Debug, Clone)]
pub struct SyncSpec {
    /// Its name, unique in the kernel.
    pub name: SyncName,
    /// The object on each side.
    pub objects: PerSide<ObjectName>,
    /// Which way changes go.
    pub direction: Direction,
    /// The field rules.
    pub mapping: Mapping,
    /// Who wins where a paired record differs and never agreed; `None` for the owner's
    /// value, `tie` where shared.
    pub initial: Option<Initial>,
    /// Who wins where nothing else decides.
    pub tie: Side,
    /// When it runs by itself; `None` for only when asked.
    pub schedule: Option<Schedule>,
}

/// Runs by the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// From the end of one run to the start of the next, in milliseconds.
    pub every_ms: u64,
    /// Up to this much is added at random each time, in milliseconds, so that many
    /// connections do not call at once.
    pub jitter_ms: u64,
}

impl Schedule {
    /// Every so often, with a tenth of it as jitter.
    #[must_use]
    pub fn every_ms(every_ms: u64) -> Self {
        Self { every_ms, jitter_ms: every_ms / 10 }
    }

    /// Parses `every 5m`.
    ///
    /// # Errors
    /// With what a schedule looks like.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const WANTED: &str = "a schedule looks like 'every 5m' (ms, s, m, h or d), at least 10ms";
        let every = text.trim().strip_prefix("every ").ok_or(WANTED)?;
        match crate::model::document::parse_duration_ms(every.trim()) {
            Some(ms) if ms >= 10 => Ok(Self::every_ms(ms)),
            Some(_) | None => Err(WANTED),
        }
    }
}

/// One customer's authorised account at a connected app.
#[derive(Clone)]
pub struct ConnectionSpec {
    /// Its name, unique in the kernel.
    pub id: ConnectionId,
    /// This customer's records on your side.
    pub scope: Option<Scope>,
    /// What talks to each side.
    pub connectors: PerSide<Arc<dyn ConnectorFactory>>,
    /// How much each side may be called.
    pub limits: PerSide<Limits>,
    /// A budget for your app's API that is shared by several connections, instead of
    /// the app limits above.
    pub shared_app_calls: Option<Calls>,
    /// What is kept in agreement.
    pub syncs: Vec<Arc<SyncSpec>>,
    /// It is added paused.
    pub paused: bool,
}

impl fmt::Debug for ConnectionSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionSpec")
            .field("id", &self.id)
            .field("scope", &self.scope)
            .field("syncs", &self.syncs.iter().map(|sync| &sync.name).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_parse() {
        assert_eq!(Schedule::parse("every 5m"), Ok(Schedule { every_ms: 300_000, jitter_ms: 30_000 }));
        for text in ["5m", "every", "every 5", "every 0s", "each 5m", "every -5m"] {
            assert!(Schedule::parse(text).is_err(), "{text}");
        }
    }
}
