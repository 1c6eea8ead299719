//! How soon a change that somebody tells of arrives, and what a flood for one connection
//! costs another.
//!
//! `cargo bench --bench triggers`. A kernel with its state on disk keeps two accounts of
//! the sandbox CRM, which runs in another process, in agreement with an app in this one;
//! events and signed webhooks come in over HTTP on loopback. Measured is the time from
//! the answer that accepts one to the return of the write it causes, one after the other.
//! Beside it stands what that cannot go below: the commits in between, each the time of
//! one disk flush, and one request to the CRM; both are measured between the rounds.
//!
//! Then another process sends 2,000 signed webhooks a second for the first connection, and
//! the second one's webhooks are measured again. What counts is the ratio.

#[path = "common/mod.rs"]
mod common;

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::{App, HttpServer};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use syncline::connectors::http::{Credentials, HttpConnectorFile, HttpFactory, HttpSettings};
use syncline::connectors::memory::MemoryApp;
use syncline::connectors::{Calls, Connector, ConnectorFactory, ConnectorScope, Read};
use syncline::model::direction::Direction;
use syncline::model::ids::ObjectName;
use syncline::model::path::Path;
use syncline::model::record::{Entry, Page};
use syncline::model::value::Value as Stored;
use syncline::model::write::{Capabilities, Change, ConnectorError, Outcome, Write};
use syncline::store::{Store, StoreOptions};
use syncline::{ConnectionSpec, Kernel, SyncSpec, Webhook};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use common::{SandboxProcess, memory_mb, peak_memory_mb};

const CRM: &str = include_str!("../fixtures/connectors/sandbox.toml");
const RULES: &str = "match = [\"email\"]\n[fields]\nemail = \"properties.email\"\nname = \"properties.full_name\"\n";

const CONTACTS: usize = 1_000;
const ROUNDS: usize = 500;
const FLOOD_PER_SECOND: u64 = 2_000;
const FLOOD_SECONDS: u64 = 20;
/// Webhooks of the flood under way at once; a sender that waits for each answer.
const FLOOD_AT_ONCE: usize = 32;

/// The first is flooded, the second is looked at.
const ACCOUNTS: [&str; 2] = ["busy", "calm"];
const SECRET: &[u8] = b"a-secret-of-thirty-two-bytes-000";
const TOKEN: &str = "token-of-the-backend";

fn main() {
    let args: Vec<String> = std::env::args().collect();
    match args.iter().position(|arg| arg == "flood").map(|at| &args[at + 1..]) {
        Some([url, ..]) => actix::System::new().block_on(flood(url)),
        _ => actix::System::new().block_on(measure()),
    }
}

async fn measure() {
    let world = World::start().await;
    let flushes = Flushes::new(&world);

    println!("{ROUNDS} changes one after the other, {CONTACTS} contacts, state on disk; milliseconds");
    println!("| from … to … | p50 | p99 | commits between | one flush | one request | their sum | p50 beyond it |");
    println!("|---|---|---|---|---|---|---|---|");
    let mut events = Series::default();
    let mut webhooks = Series::default();
    for n in 0..ROUNDS {
        events.push(&flushes, world.update_of_crm(n).await, world.event(n).await);
        webhooks.push(&flushes, world.read_of_crm(n).await, world.webhook(n).await);
    }
    events.print("an accepted event to the write at the CRM");
    webhooks.print("an accepted webhook to the write at the app");

    println!();
    println!(
        "{FLOOD_PER_SECOND} webhooks a second for one connection, {FLOOD_SECONDS} s; another's webhooks meanwhile"
    );
    let before_mb = memory_mb();
    let mut flooded = Series::default();
    let exe = std::env::current_exe().expect("a running program has a path");
    let mut flood =
        Command::new(exe).args(["flood", &world.hooks(0)]).stdout(Stdio::piped()).spawn().expect("another process");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut n = ROUNDS;
    while flood.try_wait().expect("a child").is_none() {
        flooded.push(&flushes, world.read_of_crm(n).await, world.webhook(n).await);
        n += 1;
    }
    let output = flood.wait_with_output().expect("it has ended");
    std::io::stdout().write_all(&output.stdout).expect("a terminal");
    let ended = Instant::now();
    let report = world.kernel.sync_now(&ACCOUNTS[0].into(), None).await.expect("a run");
    assert_eq!(report.error, None);
    println!("| | p50 | p99 |");
    println!("|---|---|---|");
    let quiet = [webhooks.at(50), webhooks.at(99)];
    let loud = [flooded.at(50), flooded.at(99)];
    println!("| before, {} webhooks | {:.2} | {:.2} |", webhooks.took.len(), quiet[0], quiet[1]);
    println!("| during it, {} webhooks | {:.2} | {:.2} |", flooded.took.len(), loud[0], loud[1]);
    println!("| ratio | {:.2} | {:.2} |", loud[0] / quiet[0], loud[1] / quiet[1]);
    println!(
        "memory {before_mb} MB before, {} MB at most, {} MB after; at rest {:.1} s after the last one",
        peak_memory_mb(),
        memory_mb(),
        ended.elapsed().as_secs_f64()
    );
    world.kernel.shutdown().await;
}

/// Times of one kind, in milliseconds.
#[derive(Default)]
struct Series {
    took: Vec<f64>,
    commits: Vec<f64>,
    flush: Vec<f64>,
    request: Vec<f64>,
}

impl Series {
    fn push(&mut self, flushes: &Flushes, request: Duration, arrived: Arrived) {
        self.took.push(millis(arrived.after));
        self.commits.push(arrived.commits as f64);
        self.flush.push(millis(flushes.one()));
        self.request.push(millis(request));
    }

    fn at(&self, percent: usize) -> f64 {
        percentile(&self.took, percent)
    }

    fn print(&self, name: &str) {
        let [commits, flush, request] = [&self.commits, &self.flush, &self.request].map(|all| percentile(all, 50));
        let floor = commits.mul_add(flush, request);
        println!(
            "| {name} | {:.2} | {:.2} | {commits} | {flush:.2} | {request:.2} | {floor:.2} | {:.2} |",
            self.at(50),
            self.at(99),
            self.at(50) - floor
        );
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

fn percentile(times: &[f64], percent: usize) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

/// How long the disk takes to keep a page, beside the state file.
struct Flushes(std::fs::File);

impl Flushes {
    fn new(world: &World) -> Self {
        let mut file = std::fs::File::create(world.folder.path().join("flush")).expect("a file");
        file.write_all(&[0; 4_096]).and_then(|()| file.sync_all()).expect("a disk");
        Self(file)
    }

    /// As a commit does it: pages are written where they belong, and the disk has them.
    fn one(&self) -> Duration {
        use std::io::{Seek, SeekFrom};
        let started = Instant::now();
        let mut file = &self.0;
        file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(&[1; 4_096])).expect("a disk");
        file.sync_data().expect("a disk");
        started.elapsed()
    }
}

/// A write came back.
struct Wrote {
    at: Instant,
    flushes: u64,
}

/// How a change arrived.
struct Arrived {
    after: Duration,
    commits: u64,
}

struct World {
    sandbox: SandboxProcess,
    kernel: Kernel,
    store: Store,
    app: MemoryApp,
    wrote: tokio::sync::Mutex<UnboundedReceiver<Wrote>>,
    url: String,
    /// The calm account's contacts, as the app and the CRM call them.
    ids: Vec<[String; 2]>,
    folder: tempfile::TempDir,
}

impl World {
    async fn start() -> Self {
        let sandbox = SandboxProcess::start(&ACCOUNTS.join(","));
        for account in ACCOUNTS {
            seed(&sandbox, account).await;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("bench.redb"), StoreOptions::default()).expect("a state file");
        let file = Arc::new(HttpConnectorFile::parse("sandbox.toml", CRM).expect("a good connector file"));
        let (tell, wrote) = unbounded_channel();
        let mut builder = Kernel::builder().store(store.clone()).schedules(false).arbiters(1);
        let mut apps = Vec::new();
        for account in ACCOUNTS {
            let mut settings = HttpSettings::new(sandbox.base.as_str());
            settings.credentials = Credentials::Token(format!("sandbox-token-{account}").into());
            settings.allow_private = true;
            let app = MemoryApp::new(1);
            let watched = Watched { store: store.clone(), tell: (account == ACCOUNTS[1]).then(|| tell.clone()) };
            let remote = HttpFactory::new(Arc::clone(&file), settings);
            let sync = SyncSpec::parse(account, "contacts", "contacts", Direction::TwoWay, RULES).expect("good rules");
            let webhook = Webhook {
                path: hook(account).into(),
                base_url: "http://127.0.0.1".to_owned(),
                secrets: vec![format!("whsec_{}", STANDARD.encode(SECRET)).into()],
                account: None,
                spec: Arc::clone(file.webhook().expect("it declares them")),
            };
            let spec = ConnectionSpec::new(account, watched.around(app.factory()), watched.around(remote));
            builder = builder.connection(spec.scope(account).sync(sync).webhook(webhook));
            apps.push(app);
        }
        let kernel = builder.start().await.expect("a kernel");
        let (webhooks, events) = (kernel.webhooks(), kernel.events().with_token(TOKEN));
        let server = HttpServer::new(move || App::new().configure(webhooks.configure()).configure(events.configure()));
        let server = server.workers(1).disable_signals().bind(("127.0.0.1", 0)).expect("a free port");
        let url = format!("http://{}", server.addrs()[0]);
        actix_web::rt::spawn(server.run());
        for account in ACCOUNTS {
            let report = kernel.sync_now(&account.into(), None).await.expect("a run");
            assert_eq!((report.totals.created.app, report.error), (CONTACTS as u64, None));
        }
        let app = apps.pop().expect("two");
        let mut world = Self { sandbox, kernel, store, app, wrote: wrote.into(), url, ids: Vec::new(), folder };
        world.ids = world.pairs().await;
        while world.wrote.get_mut().try_recv().is_ok() {}
        world
    }

    async fn pairs(&self) -> Vec<[String; 2]> {
        let mut pairs = Vec::new();
        for (id, record) in self.app.all("contacts") {
            let email = record.get(&Path::key("email")).and_then(Stored::as_str).expect("an address").to_owned();
            let n = email.trim_start_matches("user").split('@').next().expect("a name").parse::<usize>();
            // The sandbox counts from 101 in each account, in the order of creation.
            pairs.push([id.to_string(), (n.expect("a number") + 101).to_string()]);
        }
        let answer = self.crm(reqwest::Method::GET, &pairs[0][1], None).await;
        let email = Stored::string(answer["properties"]["email"].as_str().expect("an address"));
        let ours = self.app.get("contacts", pairs[0][0].as_str()).expect("a contact");
        assert!(ours.get(&Path::key("email")).is_some_and(|ours| ours.same(&email)), "the ids do not go together");
        pairs
    }

    async fn crm(&self, method: reqwest::Method, id: &str, name: Option<&str>) -> Value {
        let url = format!("{}/contacts/{id}", self.sandbox.base);
        let request = self.sandbox.http.request(method, url).bearer_auth(format!("sandbox-token-{}", ACCOUNTS[1]));
        let request = match name {
            Some(name) => request
                .header("content-type", "application/json")
                .body(json!({ "properties": { "full_name": name } }).to_string()),
            None => request,
        };
        let text = request.send().await.expect("the sandbox answers").text().await.expect("a body");
        serde_json::from_str(&text).expect("JSON")
    }

    /// How long a read by id takes that nobody needs.
    async fn read_of_crm(&self, n: usize) -> Duration {
        let started = Instant::now();
        self.crm(reqwest::Method::GET, &self.ids[(n * 7) % CONTACTS][1], None).await;
        started.elapsed()
    }

    /// How long an update takes that changes nothing.
    async fn update_of_crm(&self, n: usize) -> Duration {
        let id = &self.ids[(n * 7) % CONTACTS][1];
        let name = self.crm(reqwest::Method::GET, id, None).await;
        let started = Instant::now();
        self.crm(reqwest::Method::PATCH, id, name["properties"]["full_name"].as_str()).await;
        started.elapsed()
    }

    /// A contact changes at the app, which fires an event.
    async fn event(&self, n: usize) -> Arrived {
        let id = &self.ids[n % CONTACTS][0];
        let change = Change { path: Path::key("name"), value: Some(Stored::string(format!("E{n}"))) };
        assert!(self.app.patch("contacts", id.as_str(), vec![change]));
        let body = json!({ "connection": ACCOUNTS[1], "object": "contacts", "id": id }).to_string();
        let request = self.sandbox.http.post(format!("{}/events", self.url)).bearer_auth(TOKEN);
        self.arrives(request.header("content-type", "application/json").body(body)).await
    }

    /// A contact changes at the CRM, and somebody sends a webhook.
    async fn webhook(&self, n: usize) -> Arrived {
        let id = &self.ids[(n + CONTACTS / 2) % CONTACTS][1];
        self.crm(reqwest::Method::PATCH, id, Some(&format!("W{n}"))).await;
        let body = json!({ "type": "contacts.updated", "data": { "id": id } }).to_string();
        self.arrives(signed(self.sandbox.http.post(self.hooks(1)), &format!("w{n}"), body)).await
    }

    async fn arrives(&self, request: reqwest::RequestBuilder) -> Arrived {
        let before = self.store.flushes();
        let status = request.send().await.expect("the kernel answers").status();
        let accepted = Instant::now();
        assert!(status.is_success(), "{status}");
        let wrote = tokio::time::timeout(Duration::from_secs(30), self.wrote.lock().await.recv()).await;
        let wrote = wrote.expect("a write follows").expect("the kernel runs");
        // One commit accepted it; where others work at the same time, theirs count as well.
        let commits = (wrote.flushes - before).saturating_sub(1);
        let arrived = Arrived { after: wrote.at.saturating_duration_since(accepted), commits };
        // What comes after the write is not to meet the next one.
        tokio::time::sleep(Duration::from_millis(15)).await;
        arrived
    }

    fn hooks(&self, account: usize) -> String {
        format!("{}/webhooks/{}", self.url, hook(ACCOUNTS[account]))
    }
}

fn hook(account: &str) -> String {
    format!("hook-of-the-account-{account}")
}

fn signed(request: reqwest::RequestBuilder, id: &str, body: String) -> reqwest::RequestBuilder {
    let at = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let mac = Hmac::<Sha256>::new_from_slice(SECRET).expect("any length will do");
    let mac = mac.chain_update(format!("{id}.{at}.{body}")).finalize().into_bytes();
    request
        .header("webhook-id", id)
        .header("webhook-timestamp", at.to_string())
        .header("webhook-signature", format!("v1,{}", STANDARD.encode(mac)))
        .body(body)
}

async fn seed(sandbox: &SandboxProcess, account: &str) {
    for first in (0..CONTACTS).step_by(100) {
        let contact = |n| json!({ "properties": { "email": format!("user{n}@example.com"), "full_name": "N" } });
        let inputs: Vec<Value> = (first..first + 100).map(contact).collect();
        let request = sandbox.http.post(format!("{}/contacts/batch/create", sandbox.base));
        let request =
            request.bearer_auth(format!("sandbox-token-{account}")).header("content-type", "application/json");
        let answer = request.body(json!({ "inputs": inputs }).to_string()).send().await.expect("the sandbox answers");
        assert!(answer.status().is_success(), "{}", answer.status());
    }
}

/// Sends webhooks at an even rate, each about one of the contacts; a process of its own.
async fn flood(url: &str) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().expect("a client without TLS");
    let all = FLOOD_PER_SECOND * FLOOD_SECONDS;
    let started = tokio::time::Instant::now();
    let next = std::cell::Cell::new(0_u64);
    let (taken, refused) = (std::cell::Cell::new(0_u64), std::cell::Cell::new(0_u64));
    let sender = || async {
        loop {
            let n = next.replace(next.get() + 1);
            if n >= all {
                return;
            }
            tokio::time::sleep_until(started + Duration::from_micros(n * 1_000_000 / FLOOD_PER_SECOND)).await;
            let id = 101 + n as usize % CONTACTS;
            let body = json!({ "type": "contacts.updated", "data": { "id": id.to_string() } }).to_string();
            let answer = signed(http.post(url), &format!("f{n}"), body).send().await.expect("an answer");
            let count = if answer.status().is_success() { &taken } else { &refused };
            count.set(count.get() + 1);
        }
    };
    futures_util::future::join_all((0..FLOOD_AT_ONCE).map(|_| sender())).await;
    let seconds = started.elapsed().as_secs_f64();
    println!("{} accepted and {} refused, {:.0} a second", taken.get(), refused.get(), all as f64 / seconds);
}

/// Wraps a connector to note when its writes come back.
#[derive(Clone)]
struct Watched {
    store: Store,
    tell: Option<UnboundedSender<Wrote>>,
}

impl Watched {
    fn around<F: ConnectorFactory>(&self, factory: F) -> impl ConnectorFactory + use<F> {
        let watched = self.clone();
        move |scope: &ConnectorScope| {
            let inner = factory.make(scope)?;
            Ok(Box::new(Watch { inner, watched: watched.clone() }) as Box<dyn Connector>)
        }
    }
}

struct Watch {
    inner: Box<dyn Connector>,
    watched: Watched,
}

#[async_trait(?Send)]
impl Connector for Watch {
    fn capabilities(&self, object: &ObjectName) -> Result<Capabilities, ConnectorError> {
        self.inner.capabilities(object)
    }

    async fn read(&self, calls: &Calls, object: &ObjectName, read: Read) -> Result<Page, ConnectorError> {
        self.inner.read(calls, object, read).await
    }

    async fn write(&self, calls: &Calls, object: &ObjectName, writes: Vec<Write>) -> Vec<Outcome> {
        let outcomes = self.inner.write(calls, object, writes).await;
        if let Some(tell) = &self.watched.tell {
            let _ = tell.send(Wrote { at: Instant::now(), flushes: self.watched.store.flushes() });
        }
        outcomes
    }

    fn told(&self, object: &ObjectName, text: &str) -> Option<Entry> {
        self.inner.told(object, text)
    }
}
