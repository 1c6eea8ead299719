//! Throughput of one connection, beside a bare HTTP loop in the same run.
//!
//! `cargo bench --bench throughput`. Two accounts of the sandbox CRM run in another
//! process; 10,000 records of 1 KB go from one to the other, page size 100, first as
//! single writes, then as batches of 100. The bare loop makes the same requests with
//! the same concurrency, parses pages and answers, and keeps no state. The kernel does
//! the same with its state durable and intents on. What counts is the ratio. Then a
//! state of a million markers is loaded in a process of its own and its peak memory is
//! printed.

#[path = "common/mod.rs"]
mod common;

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use syncline::connectors::http::{Credentials, HttpConnectorFile, HttpFactory, HttpSettings};
use syncline::model::direction::Direction;
use syncline::model::hash::Digest;
use syncline::model::ids::PairNo;
use syncline::model::marker::{BaseValue, LinkState, Marker};
use syncline::model::side::{PerSide, Side};
use syncline::store::{Store, StoreOptions};
use syncline::{ConnectionSpec, Kernel, SyncSpec};

use common::{SandboxProcess, peak_memory_mb};

const RECORDS: usize = 10_000;
const PAGE: usize = 100;
const AT_ONCE: usize = 4;
const MARKERS: u64 = 1_000_000;

fn main() {
    if std::env::args().any(|arg| arg == "markers") {
        return markers();
    }
    println!("{RECORDS} records of 1 KB, one-way, page size {PAGE}, {AT_ONCE} calls at once");
    println!("| writes | bare loop, records/s | kernel, records/s | ratio | flushes | kernel's peak memory |");
    println!("|---|---|---|---|---|---|");
    actix::System::new().block_on(async {
        for batched in [false, true] {
            measure(batched).await;
        }
    });
    let exe = std::env::current_exe().expect("a running program has a path");
    let started = Instant::now();
    let output = Command::new(exe).arg("markers").output().expect("the bench can start itself");
    print!("{}", String::from_utf8_lossy(&output.stdout));
    println!("(loading and starting took {:.0} s)", started.elapsed().as_secs_f64());
}

async fn measure(batched: bool) {
    let sandbox = SandboxProcess::start("source,target");
    seed(&sandbox).await;
    let bare = bare_loop(&sandbox, batched).await;
    drop(sandbox);
    let sandbox = SandboxProcess::start("source,target");
    seed(&sandbox).await;
    let (kernel, flushes) = kernel(&sandbox, batched).await;
    let rate = |time: Duration| RECORDS as f64 / time.as_secs_f64();
    let kind = if batched { "batches of 100" } else { "single" };
    println!(
        "| {kind} | {:.0} | {:.0} | {:.2} | {flushes} | {} MB |",
        rate(bare),
        rate(kernel),
        bare.as_secs_f64() / kernel.as_secs_f64(),
        peak_memory_mb()
    );
}

async fn seed(sandbox: &SandboxProcess) {
    for first in (0..RECORDS).step_by(100) {
        let inputs: Vec<Value> = (first..first + 100).map(|n| json!({ "properties": properties(n) })).collect();
        let request =
            sandbox.http.post(format!("{}/contacts/batch/create", sandbox.base)).bearer_auth("sandbox-token-source");
        let answer = request.body(json!({ "inputs": inputs }).to_string()).header("content-type", "application/json");
        let status = answer.send().await.expect("the sandbox answers").status();
        assert!(status.is_success(), "{status}");
    }
}

fn properties(n: usize) -> Value {
    let mut record = json!({
        "email": format!("user{n:06}@example.com"), "full_name": format!("User Number {n}"), "phone": format!("+1 555 {n:07}"),
        "job_title": "Head of Things", "plan": "P", "city": "Zürich", "company": "Acme & Sons", "street": format!("{n} Main St."),
        "zip": "8001", "bio": "",
    });
    let missing = 1_024_usize.saturating_sub(record.to_string().len());
    record["bio"] = Value::String("met at the fair, asked for a quote, ".chars().cycle().take(missing).collect());
    record
}

/// The same requests without a kernel.
async fn bare_loop(sandbox: &SandboxProcess, batched: bool) -> Duration {
    let started = Instant::now();
    let mut after = String::new();
    loop {
        let url = format!("{}/contacts?sort=updated_at&limit={PAGE}{after}", sandbox.base);
        let request = sandbox.http.get(url).bearer_auth("sandbox-token-source");
        let text = request.send().await.expect("a page").text().await.expect("a body");
        let page: Value = serde_json::from_str(&text).expect("JSON");
        let records = page["results"].as_array().expect("a list");
        let bodies: Vec<String> = if batched {
            let inputs: Vec<Value> =
                records.iter().map(|record| json!({ "properties": record["properties"] })).collect();
            vec![json!({ "inputs": inputs }).to_string()]
        } else {
            records.iter().map(|record| json!({ "properties": record["properties"] }).to_string()).collect()
        };
        let path = if batched { "contacts/batch/create" } else { "contacts" };
        stream::iter(bodies)
            .map(|body| async move {
                let request = sandbox.http.post(format!("{}/{path}", sandbox.base)).bearer_auth("sandbox-token-target");
                let answer =
                    request.header("content-type", "application/json").body(body).send().await.expect("an answer");
                let text = answer.text().await.expect("a body");
                std::hint::black_box(serde_json::from_str::<Value>(&text).expect("JSON"));
            })
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<()>>()
            .await;
        match page["paging"]["next"]["after"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return started.elapsed(),
        }
    }
}

/// The kernel, with its state on disk.
async fn kernel(sandbox: &SandboxProcess, batched: bool) -> (Duration, u64) {
    let text = include_str!("../fixtures/connectors/sandbox.toml");
    let single = text.find("[object.contacts.batch]").map_or(text, |at| &text[..at]);
    let file =
        HttpConnectorFile::parse("sandbox.toml", if batched { text } else { single }).expect("a good connector file");
    let file = Arc::new(file);
    let side = |account: &str| {
        let mut settings = HttpSettings::new(sandbox.base.as_str());
        settings.credentials = Credentials::Token(format!("sandbox-token-{account}").into());
        settings.allow_private = true;
        HttpFactory::new(Arc::clone(&file), settings)
    };
    let fields: String =
        ["email", "full_name", "phone", "job_title", "plan", "city", "company", "street", "zip", "bio"]
            .iter()
            .map(|name| format!("{name} = {{ app = \"properties.{name}\", remote = \"properties.{name}\" }}\n"))
            .collect();
    let rules = format!("match = []\n[fields]\n{fields}");
    let sync = SyncSpec::parse("contacts", "contacts", "contacts", Direction::Out, &rules).expect("good rules");
    let spec = ConnectionSpec::new("bench", side("source"), side("target")).sync(sync);
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(&folder.path().join("bench.redb"), StoreOptions::default()).expect("a state file");
    let kernel =
        Kernel::builder().store(store.clone()).schedules(false).connection(spec).start().await.expect("a kernel");
    let before = store.flushes();
    let started = Instant::now();
    let report = kernel.sync_now(&"bench".into(), None).await.expect("a run");
    let time = started.elapsed();
    assert_eq!((report.totals.created.remote, report.error), (RECORDS as u64, None));
    let flushes = store.flushes() - before;
    kernel.shutdown().await;
    (time, flushes)
}

/// A million markers with their index rows, then a kernel over them.
fn markers() {
    actix::System::new().block_on(async {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("markers.redb"), StoreOptions::default()).expect("a state file");
        let conn = store.intern_connection(&"bench".into()).expect("a number");
        let sync = store.intern_sync(&"contacts".into()).expect("a number");
        let fields = store.intern_fields(sync, &["email".to_owned(), "name".to_owned()]).expect("numbers");
        let right = store.start_epoch(conn).expect("a right");
        for first in (0..MARKERS).step_by(1_000) {
            let mut commit = right.new_commit();
            for n in first..first + 1_000 {
                let mut marker = Marker::new(Digest::of(b"mapping"));
                marker.state = LinkState::Linked;
                for side in Side::BOTH {
                    let id = format!("{side}-{n:08}").into();
                    commit.put_id(sync, side, &id, PairNo(n));
                    marker.sides[side].id = Some(id);
                    marker.sides[side].version = Some("17000000000".into());
                }
                let values = [format!("user{n}@example.com"), format!("User Number {n}")];
                let base = fields
                    .iter()
                    .zip(values)
                    .map(|(no, text)| (*no, BaseValue::of(Some(&syncline::model::value::Value::string(text)))));
                let base: Vec<_> = base.collect();
                marker.set_bases(PerSide { app: base.clone(), remote: base });
                commit.put_marker(sync, PairNo(n), &marker);
            }
            right.commit(commit).await.expect("a commit");
        }
        let app = syncline::connectors::memory::MemoryApp::new(1);
        let spec = ConnectionSpec::new("bench", app.factory(), app.factory());
        let kernel = Kernel::builder().store(store.clone()).connection(spec).start().await.expect("a kernel");
        kernel.status().await;
        let count = store.snapshot().and_then(|snapshot| snapshot.count_markers(conn, sync)).expect("a count");
        println!("{count} markers: peak memory {} MB", peak_memory_mb());
        kernel.shutdown().await;
    });
}
