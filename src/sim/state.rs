//! What the state file must hold whenever a process starts over it: its rows agree with
//! each other, and whatever a cursor has passed is accounted for.

use std::collections::{BTreeMap, BTreeSet};

use super::edge::{Account, SYNC};
use super::oracle::{Oracle, Verdict, Violation, holds};
use super::swarm::Swarm;
use super::world::{connection, sync_spec};
use crate::connectors::memory::{Cursors, Position};
use crate::model::cursor::StreamNo;
use crate::model::direction::Direction;
use crate::model::ids::{ConnNo, PairNo, RecordId, SyncNo};
use crate::model::marker::{LinkState, Marker};
use crate::model::record::Body;
use crate::model::side::Side;
use crate::model::work::IntentOperation;
use crate::reconcile::mapping::{FieldRead, Mapping};
use crate::store::{Snapshot, Store, StoreError};

/// All that the state holds about one account's sync.
pub(super) struct State {
    pub markers: BTreeMap<PairNo, Marker>,
    pub by_id: BTreeMap<(Side, RecordId), PairNo>,
    pub pending: BTreeSet<(Side, RecordId)>,
    pub intents: BTreeSet<PairNo>,
    /// Why each is held back.
    pub held_back: BTreeMap<(Side, String), String>,
    pub mapping: Mapping,
    conn: ConnNo,
    sync: SyncNo,
}

/// Looks at a state file that a process is about to start over.
pub(super) fn look_at_state(store: &Store, swarm: &Swarm, accounts: &[Account]) -> Verdict {
    for account in accounts {
        let state = State::load(store, swarm, account)
            .map_err(|error| Violation::new(Oracle::AtomicState, format!("account {}: {error}", account.no)))?;
        let Some(state) = state else { continue };
        let snapshot = store.snapshot().map_err(|error| Violation::new(Oracle::AtomicState, error.to_string()))?;
        state.rows_agree(&snapshot, account)?;
        state.cursors_are_behind(&snapshot, swarm, account)?;
    }
    Ok(())
}

impl State {
    /// `None` before the connection's first start.
    pub fn load(store: &Store, swarm: &Swarm, account: &Account) -> Result<Option<Self>, StoreError> {
        let snapshot = store.snapshot()?;
        let Some(conn) = snapshot.find_connection(&connection(account.no))? else { return Ok(None) };
        let Some(sync) = snapshot.find_sync(&SYNC.into())? else { return Ok(None) };
        let markers: BTreeMap<PairNo, Marker> =
            snapshot.markers(conn, sync, PairNo(0), usize::MAX)?.into_iter().collect();
        let mut by_id = BTreeMap::new();
        for (pair, marker) in &markers {
            for side in Side::BOTH {
                if let Some(id) = &marker.sides[side].id {
                    by_id.insert((side, id.clone()), *pair);
                }
            }
        }
        let rows = snapshot.pending_all(conn)?;
        let pending = rows.into_iter().map(|row| (row.pending.side, row.pending.id)).collect();
        let intents = snapshot.intents(conn)?.into_iter().map(|(_, pair, _)| pair).collect();
        let quarantine = snapshot.quarantine(conn, usize::MAX)?;
        let held_back = quarantine.into_iter().map(|(_, side, id, held)| ((side, id), held.reason)).collect();
        let Ok(spec) = sync_spec(swarm, false) else { return Ok(None) };
        let mut mapping = spec.mapping;
        drop(snapshot);
        let numbers = store.intern_fields(sync, &mapping.field_identities())?;
        mapping.number_fields(&numbers);
        Ok(Some(Self { markers, by_id, pending, intents, held_back, mapping, conn, sync }))
    }

    fn rows_agree(&self, snapshot: &Snapshot, account: &Account) -> Verdict {
        let broken = |seen: String| Violation::new(Oracle::AtomicState, format!("account {}: {seen}", account.no));
        for ((side, id), pair) in &self.by_id {
            let found =
                snapshot.pair_by_id(self.conn, self.sync, *side, id).map_err(|error| broken(error.to_string()))?;
            if found != Some(*pair) {
                return Err(broken(format!("{side} {id} of {pair} is filed under {found:?}")));
            }
        }
        let indexed = snapshot.count_ids(self.conn, self.sync).map_err(|error| broken(error.to_string()))?;
        if indexed != self.markers.values().map(num_ids).sum::<u64>() {
            return Err(broken(format!("{indexed} ids are filed for {} markers", self.markers.len())));
        }
        for (_, pair, intent) in snapshot.intents(self.conn).map_err(|error| broken(error.to_string()))? {
            let known = match &intent.operation {
                // The source's half marker goes in with the intent.
                IntentOperation::Create { source, .. } => {
                    self.by_id.get(&(intent.target.other(), source.clone())) == Some(&pair)
                }
                IntentOperation::Delete { id } => self.by_id.get(&(intent.target, id.clone())) == Some(&pair),
            };
            if !known {
                return Err(broken(format!("{pair} has an intent and no marker that goes with it: {intent:?}")));
            }
        }
        Ok(())
    }

    fn cursors_are_behind(&self, snapshot: &Snapshot, swarm: &Swarm, account: &Account) -> Verdict {
        for side in Side::BOTH {
            let is_source = match account.direction {
                Direction::TwoWay => true,
                Direction::Out => side == Side::App,
                Direction::In => side == Side::Remote,
            };
            let cursor = snapshot.cursor(self.conn, self.sync, side, StreamNo::CHANGES).ok().flatten();
            // What a cursor of an API stands for is the API's own affair.
            let is_known = swarm.sides[side].api.is_none();
            let Some(cursor) = cursor.filter(|_| is_source && is_known) else { continue };
            let at = cursor.as_str().rsplit(':').next().and_then(|digits| digits.parse::<i64>().ok()).unwrap_or(0);
            for position in account.apps[side].positions(account.objects[side].clone()) {
                let passed = match swarm.sides[side].behaviour.cursors {
                    Cursors::Sequence => i64::try_from(position.change).is_ok_and(|change| change <= at),
                    // Its lookback reads the last stretch again.
                    Cursors::Time { lookback_ms, .. } => position.modified_ms.saturating_add_unsigned(lookback_ms) < at,
                };
                holds(Oracle::CursorBehindWork, !passed || self.accounts_for(side, &position), || {
                    let Position { id, change, value, .. } = &position;
                    let value = value.as_ref().map_or_else(|| "gone".to_owned(), |value| value.to_json());
                    let marker = self.by_id.get(&(side, id.clone())).map(|pair| &self.markers[pair]);
                    format!(
                        "account {}: {side} {id} (change {change}) is behind cursor {} and holds {value}; its marker is {marker:?}",
                        account.no,
                        cursor.as_str()
                    )
                })?;
            }
        }
        Ok(())
    }

    /// Whether the last change of a record is carried over, or waits, or is held back.
    fn accounts_for(&self, side: Side, position: &Position) -> bool {
        let id = &position.id;
        let held = self.held_back.contains_key(&(side, id.to_string())) || self.pending.contains(&(side, id.clone()));
        let Some(pair) = self.by_id.get(&(side, id.clone())) else { return held || position.value.is_none() };
        let marker = &self.markers[pair];
        let partner = marker.sides[side.other()].id.clone();
        let awaited = partner.is_some_and(|partner| self.pending.contains(&(side.other(), partner)));
        held || awaited || self.intents.contains(pair) || self.agrees(side, marker, position)
    }

    fn agrees(&self, side: Side, marker: &Marker, position: &Position) -> bool {
        match (&marker.state, &position.value) {
            // A half marker promises nothing: its record is read before it is paired.
            (LinkState::Half | LinkState::Tomb { .. }, None) => true,
            (LinkState::Linked, None) => false,
            (LinkState::Linked, Some(value)) => self.base_holds(side, marker, &Body::from_value(value)).is_none(),
            // What became of a record that is deleted on the other side, or has no
            // partner yet, the end of the world shows.
            (LinkState::Half | LinkState::Tomb { .. }, Some(_)) => true,
        }
    }

    /// The first field whose base on a side is not what a record holds.
    pub fn base_holds(&self, side: Side, marker: &Marker, body: &Body) -> Option<String> {
        let Ok(fields) = self.mapping.read(side, body) else { return Some("a field that cannot be read".to_owned()) };
        for (field, read) in self.mapping.fields.iter().zip(fields.iter()) {
            let value = match read {
                FieldRead::Value(value) => value.as_ref(),
                FieldRead::Fault(_) => None,
            };
            if let Some(base) = marker.base(side, field.no)
                && !base.same(value)
            {
                return Some(format!("{}, which holds {value:?} and has the base {base:?}", field.name));
            }
        }
        None
    }
}

fn num_ids(marker: &Marker) -> u64 {
    Side::BOTH.into_iter().filter(|side| marker.sides[*side].id.is_some()).count() as u64
}
