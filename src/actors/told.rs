//! Records that came with a webhook or an event, and when they may stand for a read.
//!
//! Such a text is a page that somebody pushed: it may be old, late or out of order. It is
//! used in place of a read only where it is certainly newer than what the pair was last known
//! to hold, and where acting on it cannot overwrite anything unseen. It is kept in memory
//! alone: the hint that it came with is durable, and without the text the record is read.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use chrono::DateTime;

use crate::actors::core::Core;
use crate::actors::queue::PendingRow;
use crate::model::ids::{RecordId, SyncNo, Version};
use crate::model::marker::LinkState;
use crate::model::record::Entry;
use crate::model::side::Side;
use crate::reconcile::sync::BoundSync;
use crate::store::StoreError;

/// The most texts that are kept for one connection; for the others the record is read.
const MOST_KEPT: usize = 1_000;

/// Texts of records that wait for their turn.
#[derive(Debug, Default)]
pub struct ToldRecords(HashMap<(SyncNo, Side, RecordId), String>);

impl ToldRecords {
    /// A record's only hint brought this text, or none: what came before is no longer the
    /// last word.
    pub fn put(&mut self, sync: SyncNo, side: Side, id: &RecordId, text: Option<String>) {
        let key = (sync, side, id.clone());
        self.0.remove(&key);
        if let Some(text) = text
            && self.0.len() < MOST_KEPT
        {
            self.0.insert(key, text);
        }
    }

    /// The texts of the records whose turn has come.
    pub fn take(&mut self, rows: &[PendingRow]) -> HashMap<RecordId, String> {
        let key = |row: &PendingRow| (row.sync, row.pending.side, row.pending.id.clone());
        // Only what a hint asks for and nobody has tried yet: else something about the record
        // is open, and it has to be read.
        let fresh = rows.iter().filter(|row| row.pending.attempts == 0);
        fresh.filter_map(|row| Some((row.pending.id.clone(), self.0.remove(&key(row))?))).collect()
    }
}

/// A told record, where it may stand for a read.
///
/// # Errors
/// When the store cannot be read.
pub fn usable(
    core: &Core,
    sync: &BoundSync,
    side: Side,
    id: &RecordId,
    text: &str,
) -> Result<Option<Entry>, StoreError> {
    // Where a write to that side is not conditional, the read right before it is all that
    // keeps an edit from being overwritten.
    if sync.direction.writes(side) && !sync.capabilities[side].conditional {
        return Ok(None);
    }
    let snapshot = core.snapshot()?;
    let Some(pair) = snapshot.pair_by_id(core.conn, sync.no, side, id)? else { return Ok(None) };
    let marker = snapshot.marker(core.conn, sync.no, pair)?;
    let Some(marker) = marker.filter(|marker| marker.state == LinkState::Linked) else { return Ok(None) };
    let connector = core.connector(side);
    let told = catch_unwind(AssertUnwindSafe(|| connector.told(&sync.objects[side], text)));
    let Some(Entry::Live(record)) = told.ok().flatten() else { return Ok(None) };
    let is_newer = match (&record.version, &marker.sides[side].version) {
        (Some(told), Some(known)) => order(told, known) == Some(Ordering::Greater),
        (Some(_) | None, Some(_) | None) => false,
    };
    Ok((record.id == *id && is_newer).then_some(Entry::Live(record)))
}

/// Which of two versions is the later one, where they tell: whole numbers (also after a `v`),
/// or times with their zone. Tags tell only whether they are equal.
fn order(a: &Version, b: &Version) -> Option<Ordering> {
    let number = |version: &Version| {
        let text = version.as_str();
        text.strip_prefix('v').unwrap_or(text).parse::<u64>().ok()
    };
    if let (Some(a), Some(b)) = (number(a), number(b)) {
        return Some(a.cmp(&b));
    }
    let time = |version: &Version| DateTime::parse_from_rfc3339(version.as_str()).ok();
    Some(time(a)?.cmp(&time(b)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_put_in_order_only_where_they_tell() {
        for (a, b, want) in [
            ("10", "9", Some(Ordering::Greater)),
            ("v9", "v10", Some(Ordering::Less)),
            ("2026-01-02T00:00:00Z", "2026-01-01T23:30:00-01:00", Some(Ordering::Less)),
            ("2026-01-02T00:00:00.001Z", "2026-01-02T00:00:00Z", Some(Ordering::Greater)),
            ("\"b\"", "\"a\"", None),
            ("10", "2026-01-02T00:00:00Z", None),
            ("-1", "0", None),
            ("99999999999999999999999", "1", None),
        ] {
            assert_eq!(order(&a.into(), &b.into()), want, "{a} {b}");
        }
    }
}
