//! A connection's lifecycle: a table of state × event → state.

use crate::model::write::NextStep;

/// Whether a connection works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Lifecycle {
    /// It works, or waits for work.
    Ready,
    /// Something failed that may pass; it waits.
    BackingOff {
        /// How many times in a row.
        failures: u32,
    },
    /// A person must act: the credentials are refused.
    Suspended,
    /// A person stopped it.
    Paused,
    /// It finishes what is in flight and takes nothing new.
    Draining,
}

/// What happens to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A unit of work ended well.
    Succeeded,
    /// A unit of work failed, and this is what to do about it.
    Failed(NextStep),
    /// The backoff is over.
    BackoffOver,
    /// A person, or a manual sync, wants it to work.
    Resume,
    /// A person wants it to stop.
    Pause,
    /// The kernel shuts down.
    Drain,
}

impl Lifecycle {
    /// Whether new work may start.
    #[must_use]
    pub fn may_work(self) -> bool {
        match self {
            Lifecycle::Ready => true,
            Lifecycle::BackingOff { .. } | Lifecycle::Suspended | Lifecycle::Paused | Lifecycle::Draining => false,
        }
    }

    /// The word for logs and tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Lifecycle::Ready => "ready",
            Lifecycle::BackingOff { .. } => "backing off",
            Lifecycle::Suspended => "suspended",
            Lifecycle::Paused => "paused",
            Lifecycle::Draining => "draining",
        }
    }

    /// The state after an event.
    #[must_use]
    pub fn after(self, event: Event) -> Lifecycle {
        match (self, event) {
            // Draining and pausing are decisions; what work in flight comes to does not undo them.
            (Lifecycle::Draining, _) | (_, Event::Drain) => Lifecycle::Draining,
            (_, Event::Pause) => Lifecycle::Paused,
            (_, Event::Resume) => Lifecycle::Ready,
            (Lifecycle::Paused, Event::Succeeded | Event::Failed(_) | Event::BackoffOver) => Lifecycle::Paused,
            (Lifecycle::Suspended, Event::Succeeded | Event::Failed(_) | Event::BackoffOver) => Lifecycle::Suspended,
            (_, Event::Failed(NextStep::Reauthorise)) => Lifecycle::Suspended,
            (Lifecycle::Ready, Event::Failed(next)) if concerns_connection(next) => {
                Lifecycle::BackingOff { failures: 1 }
            }
            (Lifecycle::BackingOff { failures }, Event::Failed(next)) if concerns_connection(next) => {
                Lifecycle::BackingOff { failures: failures.saturating_add(1) }
            }
            (Lifecycle::Ready, Event::Failed(_) | Event::Succeeded | Event::BackoffOver) => Lifecycle::Ready,
            (Lifecycle::BackingOff { failures }, Event::Failed(_)) => Lifecycle::BackingOff { failures },
            (Lifecycle::BackingOff { .. }, Event::Succeeded | Event::BackoffOver) => Lifecycle::Ready,
        }
    }
}

/// Whether a failure says something about the whole connection, not only about one
/// record or one sync.
fn concerns_connection(next: NextStep) -> bool {
    match next {
        NextStep::Retry | NextStep::Wait { .. } | NextStep::Reauthorise => true,
        NextStep::Quarantine | NextStep::Fail | NextStep::Resync | NextStep::TreatAsDeleted => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_transition() {
        use Lifecycle::{BackingOff, Draining, Paused, Ready, Suspended};
        let one = BackingOff { failures: 1 };
        let two = BackingOff { failures: 2 };
        let retry = Event::Failed(NextStep::Retry);
        let fail = Event::Failed(NextStep::Fail);
        let refused = Event::Failed(NextStep::Reauthorise);
        // state, then after: succeeded, retry, fail, refused, backoff over, resume, pause, drain
        for (state, want) in [
            (Ready, [Ready, one, Ready, Suspended, Ready, Ready, Paused, Draining]),
            (one, [Ready, two, one, Suspended, Ready, Ready, Paused, Draining]),
            (Suspended, [Suspended, Suspended, Suspended, Suspended, Suspended, Ready, Paused, Draining]),
            (Paused, [Paused, Paused, Paused, Paused, Paused, Ready, Paused, Draining]),
            (Draining, [Draining; 8]),
        ] {
            let events =
                [Event::Succeeded, retry, fail, refused, Event::BackoffOver, Event::Resume, Event::Pause, Event::Drain];
            for (event, want) in events.into_iter().zip(want) {
                assert_eq!(state.after(event), want, "{state:?} {event:?}");
            }
        }
    }
}
