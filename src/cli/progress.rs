//! How far backfills are: a bar for each on a terminal, plain lines otherwise.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::output::note;
use crate::actors::message::{ConnectionStatus, SyncStatus};
use crate::kernel::Kernel;

/// How often bars are drawn anew.
const DRAW_EVERY: Duration = Duration::from_millis(25);

/// How often lines are written.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// How far one read of everything is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    /// `acme/contacts`
    pub name: String,
    /// Records read.
    pub done: u64,
    /// Records expected, where told.
    pub total: u64,
}

impl Reading {
    fn line(&self) -> String {
        let Self { name, done, total } = self;
        if total > done {
            format!("backfill {name}: {done} of {total} records read")
        } else {
            format!("backfill {name}: {done} records read")
        }
    }
}

/// Which reads of everything are in progress.
pub(super) fn readings(statuses: &[ConnectionStatus]) -> Vec<Reading> {
    let reading = |connection: &ConnectionStatus, sync: &SyncStatus| {
        let progress = sync.progress.filter(|_| sync.state == "backfill")?;
        Some(Reading { name: format!("{}/{}", connection.id, sync.name), done: progress.done, total: progress.total })
    };
    let all = statuses.iter().flat_map(|connection| connection.syncs.iter().map(move |sync| (connection, sync)));
    all.filter_map(|(connection, sync)| reading(connection, sync)).collect()
}

/// Waits for some work on a kernel and shows how far its backfills are, on stderr.
pub(super) async fn shown<T>(kernel: &Kernel, quiet: bool, work: impl Future<Output = T>) -> T {
    tokio::select! {
        done = work => done,
        never = show(kernel, quiet) => match never {},
    }
}

async fn show(kernel: &Kernel, quiet: bool) -> std::convert::Infallible {
    let mut bars = (!quiet && std::io::stderr().is_terminal()).then(Bars::default);
    loop {
        tokio::time::sleep(if bars.is_some() { DRAW_EVERY } else { TELL_EVERY }).await;
        let readings = readings(&kernel.status().await);
        match &mut bars {
            Some(bars) => bars.draw(&readings),
            None if quiet => {}
            None => readings.iter().for_each(|reading| note(&reading.line())),
        }
    }
}

/// Writes lines about backfills into the log until the process ends.
pub(super) async fn log(kernel: Kernel) {
    loop {
        tokio::time::sleep(TELL_EVERY).await;
        for reading in readings(&kernel.status().await) {
            tracing::info!("{}", reading.line());
        }
    }
}

/// A bar for each backfill; full, and left standing, when dropped.
#[derive(Default)]
struct Bars {
    all: MultiProgress,
    bars: BTreeMap<String, ProgressBar>,
}

impl Bars {
    fn draw(&mut self, readings: &[Reading]) {
        for reading in readings {
            let bar = self.bars.entry(reading.name.clone()).or_insert_with(|| self.all.add(bar(&reading.name)));
            bar.set_length(reading.total.max(reading.done));
            bar.set_position(reading.done);
        }
        for (name, bar) in &self.bars {
            if !readings.iter().any(|reading| reading.name == *name) {
                bar.set_position(bar.length().unwrap_or_default());
            }
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        for bar in self.bars.values() {
            bar.finish();
        }
    }
}

/// A bar with a name in front.
fn bar(name: &str) -> ProgressBar {
    let bar = ProgressBar::new(0).with_message(name.to_owned());
    match ProgressStyle::with_template("  {msg} {bar:32} {pos}/{len} records  {elapsed}") {
        Ok(style) => bar.with_style(style.progress_chars("━╸─")),
        Err(_) => bar,
    }
}
