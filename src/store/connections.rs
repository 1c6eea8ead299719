//! Names and numbers, and the one row each connection has for itself.

use serde::{Deserialize, Serialize};

use super::codec::{bad_row, decode, encode};
use super::commit::Effects;
use super::committer::Work;
use super::error::StoreError;
use super::keys::{self, NameKind, Parts};
use super::tables::{ReadTables, Table, WriteTables};
use crate::model::ids::{ConnNo, ConnectionId, Epoch};

/// What is durable about a connection itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ConnectionRow {
    pub(super) id: ConnectionId,
    pub(super) epoch: Epoch,
    pub(super) paused: bool,
    /// Its rows are gone or going, its name is free again, its number stays taken.
    pub(super) purged: bool,
    /// The connection's document, where it is kept here and not in a file; opaque here.
    pub(super) config: Option<String>,
}

impl ConnectionRow {
    pub(super) fn load(tables: &mut WriteTables<'_>, conn: ConnNo) -> Result<Option<Self>, StoreError> {
        let key = keys::conn(conn);
        let bytes = tables.get(Table::Connection, &key)?;
        bytes.map(|bytes| decode(Table::Connection, key.as_bytes(), &bytes)).transpose()
    }

    pub(super) fn read(tables: &ReadTables, conn: ConnNo) -> Result<Option<Self>, StoreError> {
        let key = keys::conn(conn);
        let bytes = tables.get(Table::Connection, &key)?;
        bytes.map(|bytes| decode(Table::Connection, key.as_bytes(), &bytes)).transpose()
    }

    /// The row of a connection that is in use.
    pub(super) fn load_live(tables: &mut WriteTables<'_>, conn: ConnNo) -> Result<Self, StoreError> {
        let row = Self::load(tables, conn)?.filter(|row| !row.purged);
        row.ok_or(StoreError::NoConnection(conn))
    }

    pub(super) fn store(&self, tables: &mut WriteTables<'_>, conn: ConnNo) -> Result<(), StoreError> {
        tables.put(Table::Connection, &keys::conn(conn), &encode(self))
    }
}

/// A name's number, if it has one.
pub(super) fn find(tables: &ReadTables, kind: NameKind, text: &str) -> Result<Option<u32>, StoreError> {
    let key = keys::name(kind, text);
    let bytes = tables.get(Table::Name, &key)?;
    bytes.map(|bytes| decode(Table::Name, key.as_bytes(), &bytes)).transpose()
}

/// A number's name, if it was ever given out.
pub(super) fn name(tables: &ReadTables, kind: NameKind, number: u32) -> Result<Option<String>, StoreError> {
    let key = keys::name_of(kind, number);
    let bytes = tables.get(Table::NameOf, &key)?;
    bytes.map(|bytes| decode(Table::NameOf, key.as_bytes(), &bytes)).transpose()
}

/// Gives a name its number, the same for ever; tells whether it is new.
pub(super) fn intern(tables: &mut WriteTables<'_>, kind: NameKind, text: &str) -> Result<(u32, bool), StoreError> {
    let key = keys::name(kind, text);
    if let Some(bytes) = tables.get(Table::Name, &key)? {
        return Ok((decode(Table::Name, key.as_bytes(), &bytes)?, false));
    }
    let number = next_number(tables, kind)?;
    tables.put(Table::Name, &key, &encode(&number))?;
    tables.put(Table::NameOf, &keys::name_of(kind, number), &encode(&text))?;
    Ok((number, true))
}

/// Counted from 1. The rows of numbers are never deleted, so the last one tells.
fn next_number(tables: &mut WriteTables<'_>, kind: NameKind) -> Result<u32, StoreError> {
    let prefix = keys::names_of(kind);
    let greatest = match tables.last(Table::NameOf, &prefix.prefixed())? {
        None => 0,
        Some((key, _)) => {
            let number = key.as_bytes().get(prefix.as_bytes().len()..).and_then(|rest| Parts::new(rest).u32());
            number.ok_or_else(|| bad_row(Table::NameOf, key.as_bytes(), "it holds no number"))?
        }
    };
    let (limit, what) = match kind {
        NameKind::Connection => (u32::MAX, "connections"),
        NameKind::Sync => (u32::from(u16::MAX), "syncs"),
        NameKind::Field(_) => (u32::from(u16::MAX), "fields of one sync"),
    };
    if greatest < limit { Ok(greatest + 1) } else { Err(StoreError::Full { what }) }
}

/// Gives a connection its number, and its row when it is new.
pub(super) fn intern_connection(tables: &mut WriteTables<'_>, id: &ConnectionId) -> Result<ConnNo, StoreError> {
    let (number, new) = intern(tables, NameKind::Connection, id.as_str())?;
    let conn = ConnNo(number);
    if new {
        let row = ConnectionRow { id: id.clone(), epoch: Epoch(0), paused: false, purged: false, config: None };
        row.store(tables, conn)?;
    }
    Ok(conn)
}

/// How many rows a purge takes away in one transaction, so that others get their turn.
const PURGE_STEP_ROWS: usize = 10_000;

/// Fences the connection off and frees its name; its rows go afterwards, in steps.
#[derive(Debug)]
pub(super) struct BeginPurge(pub(super) ConnNo);

impl Work for BeginPurge {
    type Answer = ();

    fn num_bytes(&self) -> usize {
        0
    }

    fn resolve(&self, tables: &mut WriteTables<'_>) -> Result<(Effects, ()), StoreError> {
        let conn = self.0;
        let mut row = ConnectionRow::load(tables, conn)?.ok_or(StoreError::NoConnection(conn))?;
        let mut effects = Effects::default();
        if !row.purged {
            effects.remove(Table::Name, keys::name(NameKind::Connection, row.id.as_str()));
            row.epoch = Epoch(row.epoch.0 + 1);
            row.purged = true;
            row.config = None;
            effects.put(Table::Connection, keys::conn(conn), encode(&row));
        }
        Ok((effects, ()))
    }
}

/// Takes some of a purged connection's rows away; answers whether more are left.
#[derive(Debug)]
pub(super) struct PurgeStep(pub(super) ConnNo);

impl Work for PurgeStep {
    type Answer = bool;

    fn num_bytes(&self) -> usize {
        0
    }

    fn resolve(&self, tables: &mut WriteTables<'_>) -> Result<(Effects, bool), StoreError> {
        let range = keys::conn(self.0).prefixed();
        let mut effects = Effects::default();
        let mut room = PURGE_STEP_ROWS;
        for &table in Table::OF_CONNECTION {
            let found = tables.keys(table, &range, room)?;
            room -= found.len();
            for key in found {
                effects.remove(table, key);
            }
            if room == 0 {
                return Ok((effects, true));
            }
        }
        Ok((effects, false))
    }
}

/// Every connection row, purged ones too.
pub(super) fn all(tables: &ReadTables) -> Result<Vec<(ConnNo, ConnectionRow)>, StoreError> {
    let mut rows = Vec::new();
    tables.scan(Table::Connection, &keys::Range::ALL, |key, value| {
        let conn = Parts::new(key).conn().ok_or_else(|| bad_row(Table::Connection, key, "it holds no number"))?;
        rows.push((conn, decode(Table::Connection, key, value)?));
        Ok(true)
    })?;
    Ok(rows)
}
