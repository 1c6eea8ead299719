//! Markers and their index rows, kept true to each other.

use crate::actors::core::Core;
use crate::model::ids::{PairNo, RecordId, SyncNo};
use crate::model::marker::{LinkState, Marker};
use crate::model::side::Side;
use crate::planted::{self, Bug};
use crate::store::{Commit, StoreError};

use super::settled::move_history;

/// Stores a marker and keeps its index rows true.
pub fn put_marker(commit: &mut Commit, sync: SyncNo, pair: PairNo, old: Option<&Marker>, new: &Marker) {
    if planted::is(Bug::TombDropped)
        && let (LinkState::Tomb { .. }, Some(old)) = (&new.state, old)
    {
        return drop_marker(commit, sync, pair, old);
    }
    for side in Side::BOTH {
        let before = old.map(|old| &old.sides[side]);
        let after = &new.sides[side];
        let (old_id, new_id) = (before.and_then(|state| state.id.as_ref()), after.id.as_ref());
        if old_id != new_id {
            if let Some(id) = old_id {
                commit.delete_id(sync, side, id);
            }
            if let Some(id) = new_id {
                commit.put_id(sync, side, id, pair);
            }
        }
        let (old_key, new_key) = (before.and_then(|state| state.match_key), after.match_key);
        if old_key != new_key {
            if let Some(key) = old_key {
                commit.delete_match(sync, key, side, pair);
            }
            if let Some(key) = new_key {
                commit.put_match(sync, key, side, pair);
            }
        }
    }
    if old != Some(new) {
        commit.put_marker(sync, pair, new);
    }
}

/// The pair that a record was given as one that nobody knew, other than its own.
#[must_use]
pub fn half_of(core: &Core, sync: SyncNo, side: Side, id: &RecordId, own: Option<PairNo>) -> Option<PairNo> {
    let filed = core.snapshot().and_then(|snapshot| snapshot.pair_by_id(core.conn, sync, side, id));
    filed.ok().flatten().filter(|filed| Some(*filed) != own)
}

/// Gives up the half marker of a record that belongs to another pair.
///
/// # Errors
/// When the store cannot be read.
pub fn give_up_half(
    core: &Core,
    sync: SyncNo,
    side: Side,
    id: &RecordId,
    pair: PairNo,
    commit: &mut Commit,
) -> Result<(), StoreError> {
    let snapshot = core.snapshot()?;
    if let Some(other) = snapshot.pair_by_id(core.conn, sync, side, id)?
        && other != pair
        && let Some(half) = snapshot.marker(core.conn, sync, other)?
        && half.known_half() == Some(side)
    {
        drop_marker(commit, sync, other, &half);
        move_history(core, sync, other, pair, commit);
    }
    Ok(())
}

/// Gives a marker up with its index rows.
pub fn drop_marker(commit: &mut Commit, sync: SyncNo, pair: PairNo, old: &Marker) {
    for side in Side::BOTH {
        if let Some(id) = &old.sides[side].id {
            commit.delete_id(sync, side, id);
        }
        if let Some(key) = old.sides[side].match_key {
            commit.delete_match(sync, key, side, pair);
        }
    }
    commit.delete_marker(sync, pair);
}
