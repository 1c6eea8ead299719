//! Positions: what is asked for since one, and where it may move to after a read.
//!
//! A cursor's text is `t:` and a time, `i:` and a number, or `o:` and whatever the side
//! gave.

use chrono::{DateTime, Duration, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::model::cursor::{Cursor, advance_time};
use crate::model::write::{ConnectorError, NextStep};
use crate::planted::{self, Bug};

use super::raw::text_of;
use super::spec::{CursorKind, CursorSpec, OrderedSpec, Unit};
use super::text::clip;
use super::time;

/// How changes are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    /// By a position, in the side's unit.
    Position(String),
    /// By a URL of its own.
    Url(String),
}

/// What one read has seen of positions so far. Travels in the page token.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Track {
    newest: Option<i64>,
    /// The newest of the first page: what changed later than it, changed after the read
    /// began.
    first_newest: Option<i64>,
    /// The server's clock at the first page, in microseconds.
    server: Option<i64>,
    /// The position of the whole list as the first page's header told it.
    header: Option<i64>,
    /// The list turned out not to be in the declared order.
    unsorted: bool,
    opaque: Option<String>,
}

/// Where in a read a page stands, for deciding on its cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// It is the last page.
    pub last: bool,
    /// Pages once read do not shift.
    pub stable: bool,
}

/// The unit a cursor counts time in, if it does.
pub(super) fn unit_of(spec: &CursorSpec) -> Option<Unit> {
    match &spec.kind {
        CursorKind::Ordered(ordered) if ordered.unit != Unit::Iso => Some(ordered.unit),
        CursorKind::Ordered(_) | CursorKind::Opaque { .. } => None,
    }
}

/// The position a JSON value says.
pub(super) fn position(spec: &OrderedSpec, raw: &RawValue) -> Option<i64> {
    position_of_text(spec, &text_of(raw)?)
}

fn position_of_text(spec: &OrderedSpec, text: &str) -> Option<i64> {
    if spec.is_time {
        time::parse_text(text, spec.unit, &spec.spelling).map(|time| time.timestamp_micros())
    } else {
        time::unquoted(text).parse().ok()
    }
}

/// How to ask for what changed since a cursor: inclusive, whatever the side's operator, and
/// further back by the lookback where `look_back` says so.
///
/// # Errors
/// When the cursor is of another kind than declared, or older than the side remembers, so that
/// everything must be read.
pub(super) fn asked(
    spec: &CursorSpec,
    since: &Cursor,
    look_back: bool,
    now: DateTime<Utc>,
) -> Result<Asked, ConnectorError> {
    let stale = || {
        let message = format!("the stored cursor '{}' is not of the declared kind", clip(since.as_str()));
        ConnectorError::new(NextStep::Resync, message)
    };
    let text = match &spec.kind {
        CursorKind::Opaque { .. } => since.as_str().strip_prefix("o:").ok_or_else(stale)?.to_owned(),
        CursorKind::Ordered(ordered) => {
            let from = parse_position(ordered, since).ok_or_else(stale)?;
            check_retention(spec, from, now)?;
            let lookback = if look_back { ordered.lookback } else { 0 };
            query_text(ordered, from, lookback).ok_or_else(stale)?
        }
    };
    Ok(match &spec.kind {
        CursorKind::Opaque { .. } if spec.is_url => Asked::Url(text),
        CursorKind::Opaque { .. } | CursorKind::Ordered(_) => Asked::Position(text),
    })
}

/// A position from before the time that the side remembers changes of is of no use.
fn check_retention(spec: &CursorSpec, from: i64, now: DateTime<Utc>) -> Result<(), ConnectorError> {
    let Some(retention_ms) = spec.retention_ms else { return Ok(()) };
    let retention = i64::try_from(retention_ms).unwrap_or(i64::MAX).saturating_mul(1_000);
    if now.timestamp_micros().saturating_sub(from) < retention {
        return Ok(());
    }
    let since = DateTime::from_timestamp_micros(from).map_or_else(String::new, |time| time.to_rfc3339());
    let message = format!("changes since {since} are older than the side remembers them (retention)");
    Err(ConnectorError::new(NextStep::Resync, message))
}

/// The time from which changes since a position are asked for; `None` where positions are no
/// times.
pub(super) fn asked_from(spec: &CursorSpec, since: &Cursor) -> Option<DateTime<Utc>> {
    let CursorKind::Ordered(ordered) = &spec.kind else { return None };
    let from = parse_position(ordered, since).filter(|_| ordered.is_time)?;
    DateTime::from_timestamp_micros(from.saturating_sub(ordered.lookback))
}

/// The position before everything; `None` where positions are the side's own.
pub(super) fn beginning(spec: &CursorSpec) -> Option<Cursor> {
    match &spec.kind {
        CursorKind::Ordered(ordered) => to_cursor(ordered, 0),
        CursorKind::Opaque { .. } => None,
    }
}

fn query_text(spec: &OrderedSpec, from: i64, lookback: i64) -> Option<String> {
    let step = if spec.exclusive && !planted::is(Bug::ExclusiveCursor) { spec.granularity } else { 0 };
    let from = from.checked_sub(if planted::is(Bug::NoLookback) { 0 } else { lookback })?;
    if spec.is_time {
        // Rounded down first: a step below a rounded stamp is still below it.
        return time::format((floor(from, spec.granularity) - step).max(0), spec.unit, &spec.spelling);
    }
    Some((from - step).max(0).to_string())
}

fn floor(position: i64, granularity: i64) -> i64 {
    position - position.rem_euclid(granularity.max(1))
}

fn parse_position(spec: &OrderedSpec, cursor: &Cursor) -> Option<i64> {
    if spec.is_time {
        let text = cursor.as_str().strip_prefix("t:")?;
        Some(DateTime::parse_from_rfc3339(text).ok()?.timestamp_micros())
    } else {
        cursor.as_str().strip_prefix("i:")?.parse().ok()
    }
}

fn to_cursor(spec: &OrderedSpec, position: i64) -> Option<Cursor> {
    if !spec.is_time {
        return Some(Cursor::new(format!("i:{position}")));
    }
    let time = DateTime::from_timestamp_micros(floor(position, spec.granularity))?;
    Some(Cursor::new(format!("t:{}", time.to_rfc3339_opts(SecondsFormat::Micros, true))))
}

impl Track {
    /// The newest position seen in a list that is in order; `None` where there is none, or where
    /// the list turned out not to be in order.
    pub fn reached_in_order(&self, spec: &OrderedSpec) -> Option<Cursor> {
        self.newest.filter(|_| spec.ascending && !self.unsorted).and_then(|newest| to_cursor(spec, newest))
    }

    /// Notes the first page's clock, if it can be believed, and its position header.
    pub fn begin(&mut self, spec: &CursorSpec, date: Option<&str>, header: Option<&str>, ours: DateTime<Utc>) {
        if let Some(server) = date.and_then(time::parse_date_header) {
            if time::believable(server, ours) {
                self.server = Some(server.timestamp_micros());
            } else {
                tracing::warn!(%server, "the server's clock is more than a day off and is not used for the cursor");
            }
        }
        match &spec.kind {
            CursorKind::Ordered(ordered) if ordered.from_clock => {
                // Without the side's clock ours may be ahead of it, and what changed in between
                // would never be asked for.
                let behind = ours - Duration::hours(time::MAX_CLOCK_DIFFERENCE_HOURS);
                self.header = Some(self.server.unwrap_or_else(|| behind.timestamp_micros()));
            }
            CursorKind::Ordered(ordered) => self.header = header.and_then(|text| position_of_text(ordered, text)),
            CursorKind::Opaque { .. } => self.opaque = header.map(str::to_owned),
        }
    }

    /// Notes the positions of one page's records, in their order.
    pub fn observe(&mut self, spec: &OrderedSpec, first: bool, positions: impl Iterator<Item = i64>) {
        let mut previous = if spec.ascending { self.newest } else { None };
        for position in positions {
            if spec.ascending && previous.is_some_and(|previous| position < previous) && !self.unsorted {
                tracing::warn!("the list is declared ascending but is not; its cursor moves at the end only");
                self.unsorted = true;
            }
            previous = Some(position);
            self.newest = self.newest.max(Some(position));
        }
        if first {
            self.first_newest = self.newest;
        }
    }

    /// Notes what an opaque cursor's page said.
    pub fn observe_opaque(&mut self, next: Option<String>) {
        if next.is_some() {
            self.opaque = next;
        }
    }

    /// The cursor that is safe to keep after a page.
    pub fn cursor(&self, spec: &CursorSpec, stored: Option<&Cursor>, place: Place) -> Option<Cursor> {
        match &spec.kind {
            CursorKind::Opaque { .. } => {
                let fresh = self.opaque.as_ref().filter(|_| place.last);
                fresh.map(|text| Cursor::new(format!("o:{text}")))
            }
            CursorKind::Ordered(ordered) => {
                let sorted = ordered.ascending && !self.unsorted;
                let may_move = place.last || (sorted && place.stable);
                if !may_move {
                    return None;
                }
                let stored = stored.and_then(|cursor| parse_position(ordered, cursor));
                let reached = self.reached(ordered, sorted, place.last);
                let position =
                    if ordered.is_time { self.settled(ordered, stored, reached) } else { stored.max(reached) };
                // A list that shows nothing may be a broken one, so it passes nothing: the
                // next read begins at 1970, or at 0.
                to_cursor(ordered, position.or(place.last.then_some(0))?)
            }
        }
    }

    /// Up to where everything has certainly been listed, not counting late commits.
    fn reached(&self, spec: &OrderedSpec, sorted: bool, last: bool) -> Option<i64> {
        match (sorted, self.header) {
            (true, header) if last => self.newest.max(header),
            (true, _) => self.newest,
            (false, Some(header)) => Some(header),
            // Without an order a record may change after its page was read while a newer
            // one is still seen. The clock of the first page bounds that for times;
            // else only what the first page showed is safe.
            (false, None) if spec.is_time && self.server.is_some() => self.newest,
            (false, None) => self.first_newest,
        }
    }

    fn settled(&self, spec: &OrderedSpec, stored: Option<i64>, reached: Option<i64>) -> Option<i64> {
        let time = |micros: Option<i64>| micros.and_then(DateTime::from_timestamp_micros);
        let (stored, reached) = (time(stored), time(reached));
        // Without the server's clock the newest change seen stands for it.
        let server_now = time(self.server).or(reached).or(stored)?;
        let settle = Duration::microseconds(spec.settle);
        advance_time(stored, reached, server_now, settle).map(|time| time.timestamp_micros())
    }
}
