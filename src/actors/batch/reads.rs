//! Records by id, and rows that cannot be looked at yet.

use std::collections::HashMap;

use futures_util::{StreamExt, stream};

use crate::actors::core::Core;
use crate::actors::queue::PendingRow;
use crate::connectors::Read;
use crate::model::ids::{RecordId, SyncNo};
use crate::model::record::{DeletionCause, Entry};
use crate::model::side::Side;
use crate::model::work::{Lane, PendingReason};
use crate::model::write::{ConnectorError, NextStep};
use crate::planted::{self, Bug};
use crate::reconcile::sync::BoundSync;
use crate::store::{Snapshot, StoreError};

use super::entry_id;
use super::fetched::lease_of;

/// Among how many waiting records one that nobody has looked at is searched for; where more
/// wait it is taken to be there.
const MOST_LOOKED_AT: usize = 100;

/// How soon a record is looked at again that another unit of work has, at least and at
/// most, in milliseconds.
pub(super) const LEAST_BUSY_MS: u64 = 50;
/// See [`LEAST_BUSY_MS`].
pub(super) const MOST_BUSY_MS: u64 = 5_000;

/// How long a record waits, in milliseconds, before it is seen again whether those are still
/// to be looked at which may be its partner: somebody may ask for them before they are due.
pub(super) const LEAST_UNREAD_MS: u64 = 1_000;
/// See [`LEAST_UNREAD_MS`].
pub(super) const MOST_UNREAD_MS: u64 = 60_000;

/// Why a pending record need not be read yet.
#[derive(Debug, Clone, Copy)]
pub enum NotYet {
    /// Another unit has it.
    Leased,
    /// On the other side wait records that may be its partner; the last is put off for so
    /// many milliseconds.
    OthersUnread(u64),
}

/// Pending rows that need not be read yet.
pub type NotYets = Vec<(PendingRow, NotYet)>;

/// Parts pending rows of one side into those whose records would be read for nothing, and
/// the others: a record in a higher lane could take the calls which those need that it
/// waits for.
///
/// # Errors
/// When the store cannot be read.
pub fn not_yet(core: &Core, sync: &BoundSync, rows: Vec<PendingRow>) -> Result<(NotYets, Vec<PendingRow>), StoreError> {
    let (mut later, mut ready) = (Vec::new(), Vec::new());
    let snapshot = core.snapshot()?;
    let may_be_leased = core.has_leases() && !planted::is(Bug::LeaseNotTaken);
    for row in rows {
        let (side, id) = (row.pending.side, &row.pending.id);
        if may_be_leased {
            let pair = snapshot.pair_by_id(core.conn, sync.no, side, id)?;
            if core.is_leased(&lease_of(sync, side, id, pair)) {
                later.push((row, NotYet::Leased));
                continue;
            }
        }
        let unread = match row.pending.reason {
            PendingReason::PartnerUnread => unread_for_ms(core, sync.no, &snapshot, side.other())?,
            _ => None,
        };
        match unread {
            Some(for_ms) => later.push((row, NotYet::OthersUnread(for_ms))),
            None => ready.push(row),
        }
    }
    Ok((later, ready))
}

/// Whether records of a side wait of which nothing is known: they were listed, and the
/// cursor has passed them, but no unit has come to look at them. And for how long the
/// last of them is put off, in milliseconds.
pub(super) fn unread_for_ms(
    core: &Core,
    sync: SyncNo,
    snapshot: &Snapshot,
    side: Side,
) -> Result<Option<u64>, StoreError> {
    let waiting = snapshot.pending_ids(core.conn, sync, side, MOST_LOOKED_AT)?;
    if waiting.len() == MOST_LOOKED_AT {
        return Ok(Some(0));
    }
    let now_ms = core.env.now_ms();
    let mut longest = None;
    for id in waiting {
        if snapshot.pair_by_id(core.conn, sync, side, &id)?.is_none() {
            let due_ms = core.pending_row(sync, side, &id).map_or(now_ms, |row| row.due_ms);
            longest = longest.max(Some(u64::try_from(due_ms.saturating_sub(now_ms)).unwrap_or(0)));
        }
    }
    Ok(longest)
}

/// Reads records by id, in as few calls as the side takes them in, several at once.
pub async fn fetch_ids(
    core: &Core,
    sync: &BoundSync,
    side: Side,
    ids: Vec<RecordId>,
    lane: Lane,
) -> HashMap<RecordId, Result<Entry, ConnectorError>> {
    let most = sync.capabilities[side].read_ids;
    let mut found = HashMap::with_capacity(ids.len());
    if most == 0 {
        let error = ConnectorError::new(NextStep::Fail, format!("records of the {side} side cannot be read by id"));
        return ids.into_iter().map(|id| (id, Err(error.clone()))).collect();
    }
    let chunks: Vec<Vec<RecordId>> = ids.chunks(most).map(<[RecordId]>::to_vec).collect();
    let at_once = core.calls[side].concurrency().max(1);
    let pages = stream::iter(chunks)
        .map(|chunk| async move {
            let page = core.fetch(sync, side, Read::Ids(chunk.clone()), lane).await;
            (chunk, page)
        })
        .buffer_unordered(at_once)
        .collect::<Vec<_>>()
        .await;
    for (chunk, page) in pages {
        match page {
            Ok(page) => {
                for entry in page.entries {
                    if let Some(id) = entry_id(&entry) {
                        found.insert(id, Ok(entry));
                    }
                }
            }
            Err(error) if error.next == NextStep::TreatAsDeleted && chunk.len() == 1 => {
                let id = chunk[0].clone();
                found.insert(id.clone(), Ok(Entry::Deleted { id, version: None, cause: DeletionCause::NotFound }));
            }
            Err(error) => found.extend(chunk.into_iter().map(|id| (id, Err(error.clone())))),
        }
    }
    for (id, entry) in &found {
        if let Ok(Entry::Deleted { .. }) = entry {
            core.note_gone(sync.no, side, id);
        }
    }
    found
}
