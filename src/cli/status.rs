//! `status`: how each connection is, by the running kernel or from the file alone.

use std::path::{Path, PathBuf};

use super::exit::{Exit, Failure};
use super::output::{Output, clip, counted, duration, row};
use super::target;
use crate::actors::message::{ConnectionStatus, SyncStatus};
use crate::control::{Received, StatusAnswer};
use crate::model::cursor::{Cursor, StreamNo};
use crate::model::ids::{ConnNo, ConnectionId, SyncName, SyncNo};
use crate::model::side::{PerSide, Side};
use crate::model::work::PendingReason;
use crate::store::{Snapshot, StoreError};
use crate::triggers::counts::Counts;
use crate::{NamedRecord, QuarantineRow, UnlinkedRow};

/// How many records are told of those that are held back or wait for others.
const ROWS_SHOWN: usize = 20;

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration file (`*.toml`) or the state file.
    #[arg(required_unless_present = "state")]
    file: Option<PathBuf>,
    /// The state file.
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    state: Option<PathBuf>,
}

pub(super) async fn execute(args: Args, out: &Output) -> Result<Exit, Failure> {
    let state = match (args.state, args.file) {
        (Some(state), _) => state,
        (None, Some(file)) => target::state_file(&file)?,
        (None, None) => return Err(Failure::usage("name the configuration file or --state FILE")),
    };
    let answer = match target::running(&state) {
        Some(client) => client.status().await?,
        None => from_file(&state).await?,
    };
    out.value(&answer);
    show(&answer, out);
    Ok(if answer.connections.iter().any(|connection| connection.quarantined > 0) { Exit::Differs } else { Exit::Done })
}

async fn from_file(state: &Path) -> Result<StatusAnswer, Failure> {
    let store = target::open_existing(state)?;
    let snapshot = store.snapshot()?;
    let mut connections = Vec::new();
    for (conn, id) in snapshot.connections()? {
        connections.push(connection(&snapshot, conn, id)?);
    }
    drop(snapshot);
    store.close().await;
    connections.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(StatusAnswer { state: state.display().to_string(), running: false, connections, received: Received::default() })
}

fn connection(snapshot: &Snapshot, conn: ConnNo, id: ConnectionId) -> Result<ConnectionStatus, StoreError> {
    let mut syncs = Vec::new();
    let mut quarantine = Vec::new();
    let name_of = |no: SyncNo| -> Result<SyncName, StoreError> {
        Ok(snapshot.sync_name(no)?.unwrap_or_else(|| SyncName::new(format!("#{no}"))))
    };
    // Numbers of syncs are given out from 1 on, without gaps.
    for no in (1..=u16::MAX).map(SyncNo) {
        let Some(name) = snapshot.sync_name(no)? else { break };
        syncs.extend(sync(snapshot, conn, no, name)?);
    }
    for (no, side, record, held) in snapshot.quarantine(conn, ROWS_SHOWN)? {
        quarantine.push(QuarantineRow { sync: name_of(no)?, side, id: record, held });
    }
    let now_ms = chrono::Utc::now().timestamp_millis();
    let mut unlinked = 0;
    let mut unlinked_rows = Vec::new();
    for row in snapshot.pending_all(conn)?.into_iter().filter(|row| row.pending.reason == PendingReason::Unlinked) {
        unlinked += 1;
        if unlinked_rows.len() < ROWS_SHOWN {
            unlinked_rows.push(UnlinkedRow {
                sync: name_of(row.sync)?,
                side: row.pending.side,
                id: row.pending.id.to_string(),
                names: Vec::new(),
                waited_ms: u64::try_from(now_ms.saturating_sub(row.pending.since_ms)).unwrap_or(0),
            });
        }
    }
    let state = if snapshot.paused(conn)? { "paused" } else { "not running" };
    Ok(ConnectionStatus {
        id,
        state: state.to_owned(),
        error: None,
        epoch: snapshot.epoch(conn)?.0,
        syncs,
        pending: snapshot.pending_counts(conn)?.into_iter().filter(|(_, count)| *count > 0).collect(),
        open_writes: snapshot.intents(conn)?.len() as u64,
        quarantined: snapshot.quarantine_count(conn)?,
        quarantine,
        unlinked,
        unlinked_rows,
        calls: PerSide::default(),
        oldest_pending_ms: None,
        late_ms: None,
    })
}

/// A sync as far as the file knows it; `None` when it has never run on the connection.
fn sync(snapshot: &Snapshot, conn: ConnNo, no: SyncNo, name: SyncName) -> Result<Option<SyncStatus>, StoreError> {
    let cursor = |side| snapshot.cursor(conn, no, side, StreamNo::CHANGES);
    let cursors = PerSide { app: cursor(Side::App)?, remote: cursor(Side::Remote)? };
    let totals = snapshot.totals(conn, no)?;
    let has_run = cursors.app.is_some() || cursors.remote.is_some();
    if !has_run && totals.read == 0 {
        return Ok(None);
    }
    let text = |cursor: Option<Cursor>| cursor.map(|cursor| cursor.as_str().to_owned());
    Ok(Some(SyncStatus {
        name,
        state: if has_run { "idle" } else { "waiting for its first read" }.to_owned(),
        cause: None,
        progress: None,
        cursors: PerSide { app: text(cursors.app), remote: text(cursors.remote) },
        last_run_ms: None,
        lag_ms: None,
        totals,
        error: None,
    }))
}

fn show(answer: &StatusAnswer, out: &Output) {
    let running = if answer.running { "a kernel is running" } else { "no kernel is running" };
    out.say(format!("{}: {running}", answer.state));
    if answer.connections.is_empty() {
        out.say("there are no connections yet");
    }
    show_states(answer, out);
    show_totals(answer, out);
    show_received(&answer.received, out);
    show_unlinked(answer, out);
    show_quarantine(answer, out);
    for connection in &answer.connections {
        if let Some(late_ms) = connection.late_ms {
            out.say(format!("{} {}: work has been waiting for {}", out.red("late"), connection.id, duration(late_ms)));
        }
    }
    for connection in &answer.connections {
        let errors = connection.syncs.iter().filter_map(|sync| Some((Some(&sync.name), sync.error.as_ref()?)));
        for (sync, error) in connection.error.iter().map(|error| (None, error)).chain(errors) {
            let name = sync.map_or_else(String::new, |sync| format!(" / {sync}"));
            out.say(format!("{} {}{name}: {}", out.red("error"), connection.id, clip(error, 300)));
        }
    }
}

fn show_states(answer: &StatusAnswer, out: &Output) {
    let header = ["connection", "state", "sync", "is", "lag", "cursor app", "cursor remote", "pending", "open", "held"];
    let mut table = out.table(header);
    for connection in &answer.connections {
        let pending: Vec<String> =
            connection.pending.iter().map(|(lane, count)| format!("{} {count}", lane.as_str())).collect();
        let of_connection = |at: usize, text: String| if at == 0 { text } else { String::new() };
        for at in 0..connection.syncs.len().max(1) {
            let sync = connection.syncs.get(at);
            let cursor = |side: Side| {
                sync.and_then(|sync| sync.cursors[side].as_deref()).map_or_else(|| "-".into(), |text| clip(text, 32))
            };
            table.add_row(row([
                of_connection(at, connection.id.to_string()),
                of_connection(at, connection.state.clone()),
                sync.map_or_else(String::new, |sync| sync.name.to_string()),
                sync.map_or_else(String::new, is),
                sync.and_then(|sync| sync.lag_ms).map_or_else(|| "-".to_owned(), duration),
                cursor(Side::App),
                cursor(Side::Remote),
                of_connection(at, if pending.is_empty() { "0".to_owned() } else { pending.join(", ") }),
                of_connection(at, connection.open_writes.to_string()),
                of_connection(at, connection.quarantined.to_string()),
            ]));
        }
    }
    out.print_table(&table);
}

fn is(sync: &SyncStatus) -> String {
    let cause = sync.cause.map_or_else(String::new, |lane| format!(" by {}", lane.as_str()));
    match sync.progress {
        Some(progress) if progress.total > progress.done => {
            format!("{}{cause} ({} of {} read)", sync.state, progress.done, progress.total)
        }
        Some(progress) => format!("{}{cause} ({} read)", sync.state, progress.done),
        None => format!("{}{cause}", sync.state),
    }
}

fn show_totals(answer: &StatusAnswer, out: &Output) {
    let header = ["so far", "matched", "created", "updated", "deleted", "echoes", "conflicts", "put back", "calls"];
    let mut table = out.table(header);
    for connection in &answer.connections {
        for (at, sync) in connection.syncs.iter().enumerate() {
            let totals = &sync.totals;
            // Calls are counted since the kernel started.
            let calls = if at == 0 && answer.running { sides(&connection.calls) } else { "-".to_owned() };
            table.add_row(row([
                format!("{} / {}", connection.id, sync.name),
                totals.matched.to_string(),
                sides(&totals.created),
                sides(&totals.updated),
                sides(&totals.deleted),
                totals.echoes.to_string(),
                totals.conflicts.to_string(),
                totals.put_back.to_string(),
                calls,
            ]));
        }
    }
    out.print_apart(&table);
}

fn sides(per_side: &PerSide<u64>) -> String {
    format!("{} app, {} remote", per_side.app, per_side.remote)
}

/// Nothing where nothing came in.
fn show_received(received: &Received, out: &Output) {
    let both = [("webhooks", &received.webhooks), ("events", &received.events)];
    let mut table = out.table(["received", "accepted", "repeated", "of others", "refused"]);
    for (name, counts) in both.into_iter().filter(|(_, counts)| **counts != Counts::default()) {
        let refused: Vec<String> = counts.refused.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        table.add_row(row([
            name.to_owned(),
            counts.accepted.to_string(),
            counts.repeated.to_string(),
            counts.others.to_string(),
            if refused.is_empty() { "0".to_owned() } else { refused.join(", ") },
        ]));
    }
    if table.row_count() > 0 {
        out.print_apart(&table);
    }
}

/// What waits for other records, and for which.
fn show_unlinked(answer: &StatusAnswer, out: &Output) {
    let mut table = out.table(["connection", "sync", "side", "record", "waits until these are linked", "for"]);
    let mut left = 0;
    for connection in &answer.connections {
        for UnlinkedRow { sync, side, id, names, waited_ms } in &connection.unlinked_rows {
            let names: Vec<String> =
                names.iter().map(|NamedRecord { sync, id }| format!("{sync} {}", clip(id, 48))).collect();
            table.add_row(row([
                connection.id.to_string(),
                sync.to_string(),
                side.to_string(),
                clip(id, 48),
                if names.is_empty() { "what it names".to_owned() } else { clip(&names.join(", "), 200) },
                duration(*waited_ms),
            ]));
        }
        left += connection.unlinked.saturating_sub(connection.unlinked_rows.len() as u64);
    }
    out.print_apart(&table);
    if left > 0 {
        out.say(format!("and {} more that wait for others", counted(left, "record")));
    }
}

fn show_quarantine(answer: &StatusAnswer, out: &Output) {
    let mut table = out.table(["connection", "sync", "side", "record", "held back", "why"]);
    let mut left = 0;
    for connection in &answer.connections {
        for QuarantineRow { sync, side, id, held } in &connection.quarantine {
            table.add_row(row([
                connection.id.to_string(),
                sync.to_string(),
                side.to_string(),
                clip(id, 48),
                held.kind.as_str().to_owned(),
                clip(&held.reason, 200),
            ]));
        }
        left += connection.quarantined.saturating_sub(connection.quarantine.len() as u64);
    }
    out.print_apart(&table);
    if left > 0 {
        out.say(format!("and {} more held back", counted(left, "record")));
    }
}
