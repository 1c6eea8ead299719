//! Lists, page by page: order, page tokens, cursors, and what goes wrong with pages.

use super::behaviour::{Cursors, Order, Paging};
use super::faults::Fault;
use super::world::{State, World};
use crate::model::cursor::{Cursor, PageToken};
use crate::model::hash::RawHash;
use crate::model::ids::{ObjectName, RecordId};
use crate::model::record::{BadRecord, DeletionCause, Entry, Page};
use crate::model::write::{ConnectorError, NextStep};
use crate::planted::{self, Bug};

/// A place in the order of changes: modified time, then number of the change. With
/// exact cursors the time is left at 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Position {
    modified_ms: i64,
    change: u64,
}

impl Position {
    /// Before everything; an app whose clock is behind has stamps below 0.
    const START: Position = Position { modified_ms: i64::MIN, change: 0 };
}

/// How a list goes on, as kept in its page token.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    /// Numbers the read; another order for each where it is shuffled.
    read: u64,
    page: u32,
    drifted: bool,
    /// Where the order of changes ended when the read began.
    begin: Position,
    /// The last change before the first one that some page of this read could not see.
    horizon: u64,
    /// The last place accounted for.
    after: Position,
    skip: usize,
    /// Hash of the ids that were skipped, to notice that they shifted.
    skipped_hash: u64,
    after_id: String,
}

/// The page of a read that a token stands for, for scripts; 1 without one.
pub(super) fn page_number(token: Option<&PageToken>) -> u32 {
    token.and_then(Place::read_token).map_or(1, |place| place.page)
}

/// One page of all records, or of what changed since a cursor.
pub(super) fn read_page(
    world: &mut World,
    name: &ObjectName,
    since: Option<&Cursor>,
    token: Option<&PageToken>,
    fault: Option<&Fault>,
) -> Result<Page, ConnectorError> {
    let start = match since {
        Some(cursor) => start_of(world, cursor)?,
        None => Position::START,
    };
    let mut place = match token {
        Some(token) if world.expired_tokens.contains(token.as_str()) => return Err(expired()),
        Some(token) => Place::read_token(token)
            .ok_or_else(|| ConnectorError::new(NextStep::Fail, "the page token is not one of ours"))?,
        None => Place::first(world, name, start),
    };
    let rows = ordered_rows(world, name, since.is_some(), start, place.read);
    let total = u64::try_from(rows.len()).ok();
    let (mut rows, mut is_last) = cut_page(world, &mut place, rows);
    place.horizon = place.horizon.min(world.last_shown_change(name));
    match fault {
        Some(Fault::Truncated { keep }) => {
            rows.truncate(*keep);
            is_last = true;
        }
        Some(Fault::EmptyPage) if !is_last || !rows.is_empty() => {
            let next = Place { page: place.page + 1, ..place.clone() };
            return Ok(Page { next: Some(next.to_token()), total, drifted: place.drifted, ..Page::default() });
        }
        Some(Fault::Drift) => {
            place.drifted = true;
            place.step_over(world, &rows);
            rows.truncate(rows.len().saturating_sub(1));
        }
        // The others befall the call as a whole, or one record of it, see below.
        Some(_) | None => {}
    }
    if !matches!(fault, Some(Fault::Drift)) {
        place.step_over(world, &rows);
    }
    let cursor = cursor_of(world, &place, since, is_last);
    let mut entries: Vec<Entry> = rows.iter().map(|(id, state)| entry(world, name, id, state)).collect();
    if matches!(fault, Some(Fault::BadRecord)) {
        spoil_one(world, &mut entries);
    }
    let next = (!is_last).then(|| Place { page: place.page + 1, ..place.clone() }.to_token());
    let drifted = place.drifted;
    Ok(Page { entries, next, cursor, drifted, total, again_after_ms: None })
}

pub(super) fn expired() -> ConnectorError {
    ConnectorError::new(NextStep::Retry, "the page token has expired, the read must begin again")
}

/// Where a read from a cursor starts.
fn start_of(world: &World, cursor: &Cursor) -> Result<Position, ConnectorError> {
    let start = match world.behaviour.cursors {
        Cursors::Sequence => number_in(cursor, "change:").map(|change| Position { modified_ms: 0, change }),
        Cursors::Time { granularity_ms: _, inclusive, lookback_ms } => {
            let lookback_ms = if planted::is(Bug::NoLookback) { 0 } else { lookback_ms };
            number_in::<i64>(cursor, "ms:").map(|ms| Position {
                modified_ms: ms.saturating_sub_unsigned(lookback_ms),
                change: if inclusive && !planted::is(Bug::ExclusiveCursor) { 0 } else { u64::MAX },
            })
        }
    };
    start.ok_or_else(|| ConnectorError::new(NextStep::Resync, "the cursor is not one of ours"))
}

fn number_in<N: std::str::FromStr>(cursor: &Cursor, prefix: &str) -> Option<N> {
    cursor.as_str().strip_prefix(prefix)?.parse().ok()
}

/// The cursor to give with a page, if its read has one to give yet.
fn cursor_of(world: &World, place: &Place, since: Option<&Cursor>, is_last: bool) -> Option<Cursor> {
    if place.drifted && !planted::is(Bug::CursorPastDrift) {
        return None;
    }
    let reached = match (world.behaviour.order, world.behaviour.paging) {
        (Order::Changed, Paging::Keyset) => place.after,
        (Order::Changed, Paging::Offset) | (Order::Id | Order::Shuffled, _) if is_last => place.begin,
        (Order::Changed | Order::Id | Order::Shuffled, _) => return None,
    };
    let since = since.filter(|_| !planted::is(Bug::CursorGoesBack));
    Some(match world.behaviour.cursors {
        Cursors::Sequence if planted::is(Bug::NoHighWater) => furthest(since, "change:", reached.change),
        Cursors::Sequence => furthest(since, "change:", reached.change.min(place.horizon)),
        Cursors::Time { granularity_ms: _, inclusive: _, lookback_ms: _ } => {
            // What a page did not show yet may have changed since the read began.
            furthest(since, "ms:", reached.modified_ms.min(place.begin.modified_ms))
        }
    })
}

/// A lookback reads what lies behind the cursor; the cursor itself never goes back.
fn furthest<N: std::str::FromStr + Ord + std::fmt::Display>(
    since: Option<&Cursor>,
    prefix: &str,
    reached: N,
) -> Cursor {
    let stored = since.and_then(|cursor| number_in::<N>(cursor, prefix));
    let furthest = match stored {
        Some(stored) => stored.max(reached),
        None => reached,
    };
    Cursor::new(format!("{prefix}{furthest}"))
}

fn position(world: &World, state: &State) -> Position {
    match world.behaviour.cursors {
        Cursors::Sequence => Position { modified_ms: 0, change: state.change },
        Cursors::Time { granularity_ms: _, inclusive: _, lookback_ms: _ } => {
            Position { modified_ms: state.modified_ms, change: state.change }
        }
    }
}

/// All that a list holds, in its order.
fn ordered_rows(
    world: &mut World,
    name: &ObjectName,
    changes: bool,
    start: Position,
    read: u64,
) -> Vec<(RecordId, State)> {
    let with_deleted = changes && world.behaviour.tombstones;
    let mut rows = world.shown(name);
    rows.retain(|(_, state)| (state.live.is_some() || with_deleted) && position(world, state) > start);
    match world.behaviour.order {
        Order::Changed => rows.sort_by_key(|(_, state)| position(world, state)),
        Order::Id => {}
        Order::Shuffled => fastrand::Rng::with_seed(read).shuffle(&mut rows),
    }
    rows
}

/// The rows of this page, and whether it is the last.
fn cut_page(world: &World, place: &mut Place, mut rows: Vec<(RecordId, State)>) -> (Vec<(RecordId, State)>, bool) {
    match (world.behaviour.order, world.behaviour.paging) {
        (Order::Changed, Paging::Keyset) => rows.retain(|(_, state)| position(world, state) > place.after),
        (Order::Id, Paging::Keyset) => {
            rows.retain(|(id, _)| place.page == 1 || id.as_str() > place.after_id.as_str());
        }
        (Order::Shuffled, _) | (Order::Changed | Order::Id, Paging::Offset) => {
            let skip = place.skip.min(rows.len());
            let shifted = ids_hash(0, &rows[..skip]) != place.skipped_hash;
            place.drifted |= shifted && world.behaviour.notices_drift;
            rows.drain(..skip);
        }
    }
    let size = world.behaviour.page_size.max(1);
    let is_last = rows.len() <= size;
    rows.truncate(size);
    (rows, is_last)
}

fn ids_hash(seed: u64, rows: &[(RecordId, State)]) -> u64 {
    let mix = |hash: u64, id: &RecordId| xxhash_rust::xxh3::xxh3_64_with_seed(id.as_str().as_bytes(), hash);
    rows.iter().fold(seed, |hash, (id, _)| mix(hash, id))
}

fn entry(world: &mut World, name: &ObjectName, id: &RecordId, state: &State) -> Entry {
    world.note_seen(name, id, state.change);
    match &state.live {
        Some(_) if world.object(name).poisoned.contains(id) => bad(id),
        Some(live) => Entry::Live(world.record(id, state, live)),
        None => Entry::Deleted { id: id.clone(), version: world.version(state), cause: DeletionCause::Tombstone },
    }
}

/// What a record that cannot be understood looks like.
pub(super) fn bad(id: &RecordId) -> Entry {
    Entry::Bad(BadRecord {
        id: Some(id.clone()),
        place: format!("record {}", id.as_str().escape_debug()),
        reason: "it was made unreadable".to_owned(),
        raw_hash: RawHash::of(id.as_str().as_bytes()),
    })
}

fn spoil_one(world: &mut World, entries: &mut [Entry]) {
    if entries.is_empty() {
        return;
    }
    let at = world.rng.usize(0..entries.len());
    match &entries[at] {
        Entry::Live(record) => entries[at] = bad(&record.id),
        Entry::Deleted { .. } | Entry::Bad(_) => {}
    }
}

impl Place {
    fn first(world: &mut World, name: &ObjectName, start: Position) -> Self {
        world.reads_begun += 1;
        let begin = match world.behaviour.cursors {
            Cursors::Sequence => Position { modified_ms: 0, change: world.last_shown_change(name) },
            Cursors::Time { granularity_ms: _, inclusive: _, lookback_ms: _ } => {
                Position { modified_ms: world.stamp_ms(), change: 0 }
            }
        };
        Self {
            read: world.reads_begun,
            page: 1,
            drifted: false,
            begin,
            horizon: u64::MAX,
            after: start,
            skip: 0,
            skipped_hash: 0,
            after_id: String::new(),
        }
    }

    /// Moves past the rows of a page.
    fn step_over(&mut self, world: &World, rows: &[(RecordId, State)]) {
        if let Some((id, state)) = rows.last() {
            self.after = position(world, state);
            self.after_id = id.as_str().to_owned();
            self.skip += rows.len();
            self.skipped_hash = ids_hash(self.skipped_hash, rows);
        }
    }

    fn to_token(&self) -> PageToken {
        let Self { read, page, drifted, begin, horizon, after, skip, skipped_hash, after_id } = self;
        PageToken::new(format!(
            "{read}.{page}.{drifted}.{}.{}.{horizon}.{}.{}.{skip}.{skipped_hash}.{after_id}",
            begin.modified_ms, begin.change, after.modified_ms, after.change
        ))
    }

    fn read_token(token: &PageToken) -> Option<Self> {
        let mut parts = token.as_str().splitn(11, '.');
        let place = Self {
            read: parts.next()?.parse().ok()?,
            page: parts.next()?.parse().ok()?,
            drifted: parts.next()?.parse().ok()?,
            begin: Position { modified_ms: parts.next()?.parse().ok()?, change: parts.next()?.parse().ok()? },
            horizon: parts.next()?.parse().ok()?,
            after: Position { modified_ms: parts.next()?.parse().ok()?, change: parts.next()?.parse().ok()? },
            skip: parts.next()?.parse().ok()?,
            skipped_hash: parts.next()?.parse().ok()?,
            after_id: parts.next()?.to_owned(),
        };
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_brings_back_its_place() {
        let place = Place {
            read: 3,
            page: 2,
            drifted: true,
            begin: Position { modified_ms: 5, change: 6 },
            horizon: u64::MAX,
            after: Position { modified_ms: -7, change: 8 },
            skip: 9,
            skipped_hash: 10,
            after_id: "a/b ..c".into(),
        };
        assert_eq!(Place::read_token(&place.to_token()), Some(place));
        assert_eq!(Place::read_token(&PageToken::new("nonsense")), None);
    }
}
