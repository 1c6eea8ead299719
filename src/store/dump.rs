//! The whole state as text: one row a line, sorted by key, decoded, with names instead
//! of numbers. Times are milliseconds since 1970, texts are quoted, digests hexadecimal.

use std::collections::HashMap;
use std::fmt::{self, Write};

use super::codec::{bad_row, decode};
use super::commit;
use super::connections::{self, ConnectionRow};
use super::error::{StoreError, clip};
use super::keys::{NameKind, Parts, Range, field_no};
use super::records;
use super::snapshot::Snapshot;
use super::tables::Table;
use crate::model::cursor::Cursor;
use crate::model::hint::Hint;
use crate::model::ids::{ConnNo, FieldNo, PairNo, RecordId, SyncNo};
use crate::model::marker::{BaseValue, LinkState, Marker, Previous, SideState};
use crate::model::side::Side;
use crate::model::value::Value;
use crate::model::work::{Conflict, Intent, IntentOperation, Lane, Pending, Quarantined, Totals};

/// Names of numbers, loaded once.
struct Names {
    connections: HashMap<ConnNo, String>,
    syncs: HashMap<SyncNo, String>,
    fields: HashMap<(SyncNo, FieldNo), String>,
}

impl Names {
    fn load(snapshot: &Snapshot) -> Result<Self, StoreError> {
        let mut names = Self { connections: HashMap::new(), syncs: HashMap::new(), fields: HashMap::new() };
        for (conn, row) in connections::all(&snapshot.tables)? {
            let name = if row.purged { format!("{}(purged)", row.id) } else { row.id.to_string() };
            names.connections.insert(conn, name);
        }
        snapshot.tables.scan(Table::NameOf, &Range::ALL, |key, value| {
            let (kind, number) = name_of_key(key).ok_or_else(|| bad_row(Table::NameOf, key, "it names nothing"))?;
            let text: String = decode(Table::NameOf, key, value)?;
            match kind {
                NameKind::Connection => {}
                NameKind::Sync => {
                    names.syncs.extend(u16::try_from(number).ok().map(|number| (SyncNo(number), text)));
                }
                NameKind::Field(sync) => {
                    names.fields.extend(field_no(number).map(|field| ((sync, field), text)));
                }
            }
            Ok(true)
        })?;
        Ok(names)
    }

    fn conn(&self, conn: ConnNo) -> String {
        self.connections.get(&conn).map_or_else(|| format!("#{conn}"), |name| word(name))
    }

    fn sync(&self, sync: SyncNo) -> String {
        self.syncs.get(&sync).map_or_else(|| format!("#{sync}"), |name| word(name))
    }

    fn field(&self, sync: SyncNo, field: FieldNo) -> String {
        self.fields.get(&(sync, field)).map_or_else(|| format!("#{field}"), |name| word(name))
    }
}

fn name_of_key(key: &[u8]) -> Option<(NameKind, u32)> {
    let mut parts = Parts::new(key);
    let kind = match parts.byte()? {
        0 => NameKind::Connection,
        1 => NameKind::Sync,
        2 => NameKind::Field(parts.sync()?),
        _ => return None,
    };
    Some((kind, parts.u32()?))
}

/// A name as it is where it is plain, quoted where it is not.
fn word(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_.@()|:".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text.to_owned() } else { format!("{text:?}") }
}

/// Writes the whole state.
pub(super) fn dump(snapshot: &Snapshot, out: &mut dyn Write) -> Result<(), StoreError> {
    let names = Names::load(snapshot)?;
    for &table in Table::ALL {
        snapshot.tables.scan(table, &Range::ALL, |key, value| {
            let mut line = String::new();
            let place =
                place(table, key, &names).ok_or_else(|| bad_row(table, key, "its key cannot be taken apart"))?;
            // Writing to a String cannot fail.
            let _ = write!(line, "{} {}", table.name(), place.text);
            if place.text.is_empty() {
                line.pop();
            }
            let at = line.len();
            line.push(' ');
            describe(table, place.sync, key, value, &names, &mut line)?;
            if line.len() == at + 1 {
                line.pop();
            }
            line.push('\n');
            out.write_str(&line)
                .map_err(|fmt::Error| StoreError::Misuse("the dump could not be written out".into()))?;
            Ok(true)
        })?;
    }
    Ok(())
}

/// A key as text, and the sync that its row's numbers belong to.
struct Place {
    text: String,
    sync: SyncNo,
}

/// `None` when the key cannot be taken apart.
fn place(table: Table, key: &[u8], names: &Names) -> Option<Place> {
    let mut parts = Parts::new(key);
    let parts = &mut parts;
    let mut sync = SyncNo(0);
    let mut in_sync = |parts: &mut Parts<'_>| {
        let conn = parts.conn()?;
        sync = parts.sync()?;
        Some(format!("{} {}", names.conn(conn), names.sync(sync)))
    };
    let text = match table {
        Table::Meta => clip(parts.text()?),
        Table::Name => match parts.byte()? {
            0 => format!("connection {:?}", parts.text()?),
            1 => format!("sync {:?}", parts.text()?),
            2 => format!("field {} {:?}", names.sync(parts.sync()?), parts.text()?),
            _ => return None,
        },
        Table::NameOf => {
            parts.text();
            match name_of_key(key)? {
                (NameKind::Connection, number) => format!("connection {number}"),
                (NameKind::Sync, number) => format!("sync {number}"),
                (NameKind::Field(sync), number) => format!("field {} {number}", names.sync(sync)),
            }
        }
        Table::Connection | Table::PairFloor => names.conn(parts.conn()?),
        Table::Marker | Table::OpenWrite => format!("{} {}", in_sync(parts)?, parts.pair()?),
        Table::ById | Table::PendingById | Table::Quarantine => {
            format!("{} {} {:?}", in_sync(parts)?, parts.side()?, parts.text()?)
        }
        Table::ByMatch => format!("{} {} {} {}", in_sync(parts)?, parts.digest()?, parts.side()?, parts.pair()?),
        Table::Pending => {
            format!("{} {} {}", names.conn(parts.conn()?), parts.lane()?.as_str(), parts.u64()?)
        }
        Table::Cursor => format!("{} {} {}", in_sync(parts)?, parts.side()?, parts.stream()?.0),
        Table::Scan => format!("{} {} {} {:?}", in_sync(parts)?, parts.side()?, parts.u64()?, parts.text()?),
        Table::Inbox => format!("{} {}", names.conn(parts.conn()?), parts.u64()?),
        Table::Dedup => format!("{} {}", names.conn(parts.conn()?), parts.digest()?),
        Table::History => format!("{} {} {}", in_sync(parts)?, parts.pair()?, parts.u64()?),
        Table::Totals => in_sync(parts)?,
        Table::Record | Table::RecordGone => format!("{} {:?}", object(parts)?, parts.text()?),
        Table::Change => format!("{} {}", object(parts)?, parts.u64()?),
    };
    parts.end()?;
    Some(Place { text, sync })
}

/// Scope and object at the beginning of a key.
fn object(parts: &mut Parts<'_>) -> Option<String> {
    let (scope, object) = (parts.closed_text()?, parts.closed_text()?);
    Some(format!("{} {}", word(&scope), word(&object)))
}

fn hint(hint: &Hint, out: &mut String) {
    let Hint { lane, side, object, id, told, at_ms, due_ms } = hint;
    put(out, format_args!("{} {side} {}", lane.as_str(), word(object.as_str())));
    if let Some(id) = id {
        put(out, format_args!(" {:?}", id.as_str()));
    }
    put(out, format_args!(" at {at_ms} due {due_ms}"));
    if let Some(told) = told {
        put(out, format_args!(" told {told}"));
    }
}

/// A value as text.
fn describe(
    table: Table,
    sync: SyncNo,
    key: &[u8],
    value: &[u8],
    names: &Names,
    out: &mut String,
) -> Result<(), StoreError> {
    match table {
        Table::Meta if key == b"format" => {
            let mut parts = Parts::new(value);
            let (format, oldest) = parts.u32().zip(parts.u32()).unwrap_or_default();
            put(out, format_args!("{format} readable-from {oldest}"));
        }
        Table::Meta => put(out, format_args!("{}", clip(&value.escape_ascii().to_string()))),
        Table::Name => put(out, format_args!("{}", decode::<u32>(table, key, value)?)),
        Table::NameOf => put(out, format_args!("{:?}", decode::<String>(table, key, value)?)),
        Table::Connection => connection(&decode(table, key, value)?, out),
        Table::PairFloor | Table::ById => put(out, format_args!("{}", decode::<PairNo>(table, key, value)?)),
        Table::Marker => marker(sync, &decode(table, key, value)?, names, out),
        Table::ByMatch => decode::<()>(table, key, value)?,
        Table::OpenWrite => intent(&decode(table, key, value)?, out),
        Table::Pending => pending(&decode(table, key, value)?, names, out),
        Table::PendingById => {
            let (lane, seq): (Lane, u64) = decode(table, key, value)?;
            put(out, format_args!("{} {seq}", lane.as_str()));
        }
        Table::Cursor => put(out, format_args!("{:?}", decode::<Cursor>(table, key, value)?.as_str())),
        Table::Scan => put(out, format_args!("{} bytes", value.len())),
        Table::Inbox => hint(&decode(table, key, value)?, out),
        Table::Dedup => put(out, format_args!("until {}", decode::<i64>(table, key, value)?)),
        Table::History => conflict(&decode(table, key, value)?, out),
        Table::Quarantine => quarantined(&decode(table, key, value)?, out),
        Table::Totals => totals(&decode(table, key, value)?, out),
        Table::Record => records::describe_record(key, value, out)?,
        Table::RecordGone => put(out, format_args!("v{}", decode::<u64>(table, key, value)?)),
        Table::Change => records::describe_change(key, value, out)?,
    }
    Ok(())
}

fn put(out: &mut String, text: fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = out.write_fmt(text);
}

fn connection(row: &ConnectionRow, out: &mut String) {
    let ConnectionRow { id, epoch, paused, purged, config } = row;
    put(out, format_args!("{:?} epoch={epoch}", id.as_str()));
    out.push_str(if *paused { " paused" } else { "" });
    out.push_str(if *purged { " purged" } else { "" });
    if let Some(config) = config {
        // Only its size: it is the kernel's text, and longer than a line.
        put(out, format_args!(" config={}B", config.len()));
    }
}

fn marker(sync: SyncNo, row: &Marker, names: &Names, out: &mut String) {
    let Marker { state, sides, mapping_hash, out_of_scope } = row;
    match state {
        LinkState::Half => out.push_str("half"),
        LinkState::Linked => out.push_str("linked"),
        LinkState::Tomb { side, both, at_ms, cause } => {
            let whose = if *both { "both" } else { side.as_str() };
            put(out, format_args!("tomb({side} gone={whose} at={at_ms} {cause:?})"))
        }
    }
    if let Some(side) = out_of_scope {
        put(out, format_args!(" out_of_scope={side}"));
    }
    put(out, format_args!(" mapping={mapping_hash}"));
    for side in Side::BOTH {
        put(out, format_args!(" {side}("));
        side_state(sync, &sides[side], names, out);
        out.push(')');
    }
}

fn side_state(sync: SyncNo, state: &SideState, names: &Names, out: &mut String) {
    let SideState { id, version, raw_hash, previous, written_at_ms, match_key, base } = state;
    match id {
        Some(id) => put(out, format_args!("{:?}", id.as_str())),
        None => out.push('-'),
    }
    if let Some(version) = version {
        put(out, format_args!(" version={:?}", version.as_str()));
    }
    if let Some(hash) = raw_hash {
        put(out, format_args!(" raw={:032x}", hash.0));
    }
    for Previous { digest, version } in previous {
        put(out, format_args!(" previous={digest}"));
        if let Some(version) = version {
            put(out, format_args!("@{:?}", version.as_str()));
        }
    }
    if let Some(at) = written_at_ms {
        put(out, format_args!(" written={at}"));
    }
    if let Some(key) = match_key {
        put(out, format_args!(" match={key}"));
    }
    for (field, value) in base {
        put(out, format_args!(" {}=", names.field(sync, *field)));
        match value {
            BaseValue::Absent => out.push('-'),
            BaseValue::Inline(value) => out.push_str(&value.to_json()),
            BaseValue::Digest(digest) => put(out, format_args!("digest:{digest}")),
        }
    }
}

fn intent(row: &Intent, out: &mut String) {
    let Intent { number, target, operation, epoch, opened_ms, state } = row;
    put(out, format_args!("{state:?} number={number} target={target} epoch={epoch} opened={opened_ms} "));
    match operation {
        IntentOperation::Create { create, source, match_key } => {
            put(out, format_args!("create source={:?}", source.as_str()));
            put(out, format_args!(" key={:?} external={:?}", create.idempotency_key, create.external_id));
            if let Some(key) = match_key {
                put(out, format_args!(" match={key}"));
            }
            match &create.record {
                Value::Null => {}
                record => put(out, format_args!(" {}", record.to_json())),
            }
        }
        IntentOperation::Delete { id } => put(out, format_args!("delete {:?}", id.as_str())),
    }
}

fn pending((sync, row): &commit::PendingRow, names: &Names, out: &mut String) {
    let Pending { side, id, reason, due_ms, since_ms, attempts } = row;
    let id: &RecordId = id;
    put(out, format_args!("{} {side} {:?} {reason:?}", names.sync(*sync), id.as_str()));
    put(out, format_args!(" due={due_ms} since={since_ms} attempts={attempts}"));
}

fn conflict(row: &Conflict, out: &mut String) {
    let Conflict { at_ms, field, winner, lost, kept } = row;
    let text = |value: &Option<String>| value.as_deref().map_or_else(|| "-".to_owned(), one_line);
    put(out, format_args!("{} winner={winner} at={at_ms} lost={} kept={}", word(field), text(lost), text(kept)));
}

fn quarantined(row: &Quarantined, out: &mut String) {
    let Quarantined { kind, reason, path, raw_hash, since_ms } = row;
    put(out, format_args!("{} {reason:?} since={since_ms}", kind.as_str()));
    if let Some(path) = path {
        put(out, format_args!(" path={path:?}"));
    }
    if let Some(hash) = raw_hash {
        put(out, format_args!(" raw={:032x}", hash.0));
    }
}

fn totals(row: &Totals, out: &mut String) {
    let Totals {
        created,
        updated,
        deleted,
        echoes,
        read,
        unchanged,
        matched,
        conflicts,
        quarantined,
        filtered,
        put_back,
    } = row;
    for (name, count) in [("created", created), ("updated", updated), ("deleted", deleted)] {
        put(out, format_args!("{name}={}/{} ", count.app, count.remote));
    }
    put(out, format_args!("echoes={echoes} read={read} unchanged={unchanged} matched={matched}"));
    put(out, format_args!(" conflicts={conflicts} quarantined={quarantined} filtered={filtered} put_back={put_back}"));
}

/// JSON text with its control characters escaped, so that a row stays one line.
pub(super) fn one_line(text: &str) -> String {
    if !text.contains(char::is_control) {
        return text.to_owned();
    }
    text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
}
