//! `sync`: run syncs, or look at one record, once: by the running kernel if there is
//! one, else by a kernel of its own that ends with it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

use super::exit::{Exit, Failure};
use super::output::{Output, clip, counted, row};
use super::{progress, target};
use crate::control::{RecordRequest, SyncAnswer, SyncRequest, sync_now};
use crate::kernel::Kernel;
use crate::model::ids::{ConnectionId, RecordId, SyncName};
use crate::model::side::Side;
use crate::model::work::Lane;

/// Arguments of `sync`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration file.
    file: PathBuf,
    /// Only this connection.
    #[arg(long, value_name = "ID")]
    connection: Option<String>,
    /// Only this sync.
    #[arg(long, value_name = "NAME")]
    sync: Option<String>,
    /// Run once and end. The default; for scripts that want to say so.
    #[arg(long)]
    once: bool,
    /// Read everything again, keeping links.
    #[arg(long, conflicts_with = "record")]
    full: bool,
    /// Look at this one record only.
    #[arg(long, value_name = "ID", requires_all = ["connection", "sync", "side"])]
    record: Option<String>,
    /// The side whose record it is.
    #[arg(long, requires = "record")]
    side: Option<SideWord>,
}

/// A side, as written on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum SideWord {
    /// Your app.
    App,
    /// The connected app.
    Remote,
}

impl From<SideWord> for Side {
    fn from(word: SideWord) -> Self {
        match word {
            SideWord::App => Side::App,
            SideWord::Remote => Side::Remote,
        }
    }
}

pub(super) async fn execute(args: Args, out: &Output) -> Result<Exit, Failure> {
    // Running once is all this command does; the flag only says so.
    let Args { file, connection, sync, once: _, full, record, side } = args;
    let (connection, sync) = (connection.map(ConnectionId::from), sync.map(SyncName::from));
    let state = target::state_file(&file)?;
    let client = target::running(&state);
    if let (Some(connection), Some(sync), Some(record), Some(side)) = (&connection, &sync, record, side) {
        let request = RecordRequest {
            connection: connection.clone(),
            sync: sync.clone(),
            side: side.into(),
            record: RecordId::from(record),
        };
        return match client {
            Some(client) => {
                client.record(&request).await?;
                Ok(record_done(&request, out))
            }
            None => one_record(&file, request, out).await,
        };
    }
    let request = SyncRequest { connection, sync, full };
    let answer = match client {
        Some(client) => client.sync(&request).await?,
        None => {
            let kernel = start(&file).await?;
            let answer = progress::shown(&kernel, out.json, sync_now(&kernel, &request)).await;
            kernel.shutdown().await;
            answer.map_err(Failure::usage)?
        }
    };
    Ok(report(&answer, out))
}

/// A kernel that does only what it is asked.
async fn start(file: &std::path::Path) -> Result<Kernel, Failure> {
    let config = Arc::new(target::load(file)?);
    let store = target::open(&config.state)?;
    let mut builder = Kernel::builder().store(store.clone()).schedules(false);
    for spec in target::specs_of(target::registry(config, &store)?)(&store) {
        builder = builder.connection(spec);
    }
    Ok(builder.start().await?)
}

async fn one_record(file: &std::path::Path, request: RecordRequest, out: &Output) -> Result<Exit, Failure> {
    let kernel = start(file).await?;
    let asked =
        kernel.sync_record(&request.connection, request.sync.clone(), request.side, request.record.clone()).await;
    if asked.is_ok() {
        // What takes longer stays pending in the state file.
        drop(tokio::time::timeout(Duration::from_secs(60), live_work_done(&kernel, &request.connection)).await);
    }
    kernel.shutdown().await;
    asked.map_err(|error| Failure::usage(error.to_string()))?;
    Ok(record_done(&request, out))
}

async fn live_work_done(kernel: &Kernel, connection: &ConnectionId) {
    loop {
        let statuses = kernel.status().await;
        let mine = statuses.iter().find(|status| status.id == *connection);
        let waiting = |(lane, count): &(Lane, u64)| *lane == Lane::Manual && *count > 0;
        if mine.is_none_or(|status| !status.pending.iter().any(waiting)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn record_done(request: &RecordRequest, out: &Output) -> Exit {
    out.value(&serde_json::json!({ "asked": request }));
    out.say(format!(
        "asked for the {} record '{}' under sync '{}' on connection '{}'",
        request.side, request.record, request.sync, request.connection
    ));
    Exit::Done
}

#[derive(Serialize)]
struct Told<'a> {
    agrees: bool,
    #[serde(flatten)]
    answer: &'a SyncAnswer,
}

fn report(answer: &SyncAnswer, out: &Output) -> Exit {
    let mut table =
        out.table(["connection", "read", "matched", "created", "updated", "deleted", "conflicts", "pending", "held"]);
    let mut exit = Exit::Done;
    for synced in &answer.connections {
        let (report, totals) = (&synced.report, &synced.report.totals);
        exit = exit.max(match (&report.error, report.quarantined) {
            (Some(_), _) => Exit::Refused,
            (None, 0) => Exit::Done,
            (None, _) => Exit::Differs,
        });
        let sides = |per: &crate::model::side::PerSide<u64>| format!("{} app, {} remote", per.app, per.remote);
        table.add_row(row([
            synced.connection.to_string(),
            totals.read.to_string(),
            totals.matched.to_string(),
            sides(&totals.created),
            sides(&totals.updated),
            sides(&totals.deleted),
            totals.conflicts.to_string(),
            report.pending.to_string(),
            report.quarantined.to_string(),
        ]));
    }
    out.value(&Told { agrees: exit == Exit::Done, answer });
    out.print_table(&table);
    for synced in &answer.connections {
        if let Some(error) = &synced.report.error {
            out.say(format!("{} {}: {}", out.red("failed"), synced.connection, clip(error, 300)));
        }
        if synced.report.quarantined > 0 {
            let held = counted(synced.report.quarantined, "record");
            out.say(format!(
                "{} {held} of {} held back; 'syncline status' tells why",
                out.red("note"),
                synced.connection
            ));
        }
    }
    exit
}
