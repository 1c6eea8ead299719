//! Positions: the durable cursor of a side, and the token that continues one read.

use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use serde::{Deserialize, Serialize};

use super::ids::SyncNo;
use super::side::Side;
use crate::planted::{self, Bug};

/// How far a side's change list is durably accounted for. Its text belongs to the
/// connector; the kernel only keeps it and hands it back.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor(Arc<str>);

impl Cursor {
    /// Wraps the connector's text.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }
    /// The connector's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How one read goes on after a page. Opaque, and never durable: tokens expire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageToken(Arc<str>);

impl PageToken {
    /// Wraps the connector's text.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }
    /// The connector's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which of a side's cursors is meant; a sync may read one object through several
/// streams one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StreamNo(pub u8);

impl StreamNo {
    /// The stream of ordinary changes.
    pub const CHANGES: StreamNo = StreamNo(0);
    /// No stream: the row in which a pause that the side asked for outlives a restart.
    pub const PAUSE: StreamNo = StreamNo(254);
    /// No stream: the row that says when the last run of a sync began, for those that follow
    /// the clock.
    pub const LAST_RUN: StreamNo = StreamNo(253);
}

/// A cursor's move, with both ends. The store refuses a delta whose `from` is not the
/// stored cursor, and then changes nothing (the idea is Quickwit's checkpoint delta).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CursorDelta {
    /// The sync it belongs to.
    pub sync: SyncNo,
    /// The side it reads.
    pub side: Side,
    /// The stream.
    pub stream: StreamNo,
    /// Where it must stand now; `None` before the first read.
    pub from: Option<Cursor>,
    /// Where it will stand; `None` forgets it, so that the next read starts over.
    pub to: Option<Cursor>,
}

/// Where a time cursor may move to after a read: to the newest change seen, but never
/// nearer to the server's own clock (as of the read's first answer) than `settle`,
/// because a long transaction may still appear with an older time; and never back.
#[must_use]
pub fn advance_time(
    stored: Option<DateTime<Utc>>,
    newest_seen: Option<DateTime<Utc>>,
    server_now: DateTime<Utc>,
    settle: Duration,
) -> Option<DateTime<Utc>> {
    let ceiling = server_now - settle;
    let reached = newest_seen.map(|seen| if planted::is(Bug::NoHighWater) { seen } else { seen.min(ceiling) });
    match (stored, reached) {
        (Some(_), Some(reached)) if planted::is(Bug::CursorGoesBack) => Some(reached),
        (Some(stored), Some(reached)) => Some(stored.max(reached)),
        (stored, reached) => stored.or(reached),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + second, 0).unwrap()
    }

    #[test]
    fn a_time_cursor_never_passes_the_settle_line_and_never_goes_back() {
        let settle = Duration::seconds(10);
        for (stored, seen, now, want) in [
            (None, None, 100, None),
            (None, Some(50), 100, Some(50)),
            (None, Some(95), 100, Some(90)),
            (Some(60), Some(50), 100, Some(60)),
            (Some(60), None, 100, Some(60)),
            (Some(95), Some(99), 100, Some(95)),
        ] {
            assert_eq!(advance_time(stored.map(at), seen.map(at), at(now), settle), want.map(at));
        }
    }
}
