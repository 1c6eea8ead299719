//! What the demo tells, step by step.

use std::time::Duration;

use serde_json::json;

use super::compare::{app_records, remote_records};
use super::world::{ACCOUNT, World};
use crate::RunReport;
use crate::cli::output::{Output, clip, counted, duration, row};
use crate::cli::plan::{not_shown, show};
use crate::model::side::PerSide;
use crate::plan::PlanReport;
use crate::sandbox::token;

/// How many differences are told one by one.
const MAX_DIFFERENCES: usize = 20;

pub(super) fn heading(number: u8, text: &str, out: &Output) {
    out.say("");
    out.say(out.bold(&format!("{number}  {text}")));
}

pub(super) fn started(world: &World, out: &Output) {
    let records = |records: Result<Vec<_>, _>| records.map_or(0, |records| records.len() as u64);
    let (app, remote) = (records(app_records(world)), records(remote_records(world)));
    let (url, state) = (world.sandbox.api_url(), world.state.display().to_string());
    heading(1, "Started on this machine", out);
    out.say(format!("  the connected app   sandbox CRM at {url}  ({})", counted(remote, "contact")));
    out.say(format!("  your app            records kept in the state file  ({})", counted(app, "contact")));
    out.say(format!("  the state           {state}"));
    out.say(format!("  the configuration   {}", world.config.path.display()));
    out.value(
        &json!({ "step": "started", "sandbox": url, "state": state, "records": { "app": app, "remote": remote } }),
    );
}

pub(super) fn plan(report: &PlanReport, out: &Output) {
    heading(2, "Plan: what a sync would do; nothing is written yet", out);
    for sync in &report.syncs {
        show(sync, out);
        out.say(format!("  and {} more", not_shown(sync)));
    }
    out.value(&json!({ "step": "plan", "plan": report }));
}

pub(super) fn backfill(run: &RunReport, took: Duration, out: &Output) {
    let totals = &run.totals;
    let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    out.say(format!(
        "  {} in {}: {} read, {} matched, {} created, {} updated",
        out.green("done"),
        duration(took_ms),
        totals.read,
        totals.matched,
        sides(&totals.created),
        sides(&totals.updated)
    ));
    if let Some(error) = &run.error {
        out.say(format!("  {} {}", out.red("failed:"), clip(error, 300)));
    }
    out.value(&json!({ "step": "backfill", "took_ms": took_ms, "report": run }));
}

pub(super) async fn closing(world: &World, differences: &[String], out: &Output) {
    heading(5, "In the end", out);
    let statuses = match world.kernel() {
        Ok(kernel) => kernel.status().await,
        Err(_) => Vec::new(),
    };
    let calls = world.sandbox.stats();
    for status in &statuses {
        for sync in &status.syncs {
            let totals = &sync.totals;
            let mut table = out.table(["", "app", "remote"]);
            for (what, counts) in
                [("created", &totals.created), ("updated", &totals.updated), ("deleted", &totals.deleted)]
            {
                table.add_row(row([what.to_owned(), counts.app.to_string(), counts.remote.to_string()]));
            }
            out.print_table(&table);
            out.say(format!(
                "  {} echoes dropped, {} edits put back, {} conflicts decided, {} records held back",
                totals.echoes, totals.put_back, totals.conflicts, status.quarantined
            ));
            let lag = sync.lag_ms.map_or_else(|| "unknown".to_owned(), duration);
            out.say(format!("  {} calls to the CRM, the plan's reads included; lag {lag}", calls.requests));
        }
    }
    told_differences(world, differences, out);
    out.value(&json!({
        "step": "closing",
        "agree": differences.is_empty(),
        "differences": differences,
        "api_calls": calls.requests,
        "connections": statuses,
    }));
}

fn told_differences(world: &World, differences: &[String], out: &Output) {
    let num_records = remote_records(world).map_or(0, |records| records.len() as u64);
    if differences.is_empty() {
        let records = counted(num_records, "record");
        out.say(format!("  {} {records} compared field by field, without the kernel", out.green("both sides agree:")));
        return;
    }
    out.say(format!("  {} {}", out.red("the sides differ:"), counted(differences.len() as u64, "difference")));
    for difference in differences.iter().take(MAX_DIFFERENCES) {
        out.say(format!("    {}", clip(difference, 200)));
    }
}

pub(super) fn running(world: &World, out: &Output) {
    let api = world.api_url().unwrap_or_default();
    heading(6, "It keeps running; try it, and end it with Ctrl-C", out);
    out.say(format!("  your app:   curl '{api}?limit=2'"));
    let content_type = "content-type: application/json";
    out.say(format!("              curl -X PATCH -H '{content_type}' -d '{{\"city\":\"Nice\"}}' {api}/c-001"));
    let header = format!("Authorization: Bearer {}", token(ACCOUNT));
    out.say(format!("  the CRM:    curl -H '{header}' '{}/contacts?limit=2'", world.sandbox.api_url()));
    out.say(format!("  the kernel: syncline status --state {}", world.state.display()));
    out.value(&json!({ "step": "running", "app": api, "sandbox": world.sandbox.api_url() }));
}

fn sides(counts: &PerSide<u64>) -> String {
    format!("{} app + {} remote", counts.app, counts.remote)
}
