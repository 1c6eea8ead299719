//! Danger: a file that fits the app of our own, and no app of another style. A two-way sync of
//! contacts with each dialect of the sandbox, over its requests, limits, lags, faults and
//! webhooks, with time that only moves when nothing else can. Both sides end equal, nothing
//! stands twice, and at rest nothing is written.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::Method;
use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::{App, body};
use async_trait::async_trait;
use chrono::DateTime;
use secrecy::ExposeSecret;
use syncline::actors::spec::Webhook;
use syncline::connectors::http::{
    Credentials, HttpConnectorFile, HttpFactory, HttpRequest, HttpResponse, HttpSettings, Transport, TransportError,
};
use syncline::connectors::memory::MemoryApp;
use syncline::model::direction::Direction;
use syncline::model::path::Path;
use syncline::model::value::Value;
use syncline::model::write::Change;
use syncline::sandbox::{Dialect, Hostile, Sandbox, SandboxHandle, Webhook as Sent, token, webhook_secret};
use syncline::store::{Store, StoreOptions};
use syncline::{ConnectionSpec, Env, Kernel, RunReport, Schedule, SyncSpec};

use crate::harness::story;

const HOOK: &str = "hook-0123456789abcdef";
const OUTSIDE: &str = "https://sync.example.com";
/// Contacts that the sides have of their own at first, and in common.
const OWN: usize = 12;
const COMMON: usize = 8;

/// What a dialect calls things: the three fields that are synced are its key, by which
/// contacts are matched, and two more.
#[derive(Clone, Copy)]
struct Shape {
    dialect: Dialect,
    file: &'static str,
    object: &'static str,
    /// What stands before a field's name in a record.
    prefix: &'static str,
    fields: [&'static str; 3],
    /// The key of the n-th contact.
    key: fn(usize) -> String,
}

fn address(n: usize) -> String {
    format!("p{n}@x.io")
}

const STRIPE: Shape = Shape {
    dialect: Dialect::Stripe,
    file: include_str!("../../fixtures/connectors/stripe.toml"),
    object: "customers",
    prefix: "",
    fields: ["email", "name", "phone"],
    key: address,
};

const HUBSPOT: Shape = Shape {
    dialect: Dialect::Hubspot,
    file: include_str!("../../fixtures/connectors/hubspot.toml"),
    object: "contacts",
    prefix: "properties.",
    fields: ["email", "firstname", "phone"],
    key: address,
};

/// A mail address stands within a list there.
const GRAPH: Shape = Shape {
    dialect: Dialect::Graph,
    file: include_str!("../../fixtures/connectors/graph.toml"),
    object: "contacts",
    prefix: "",
    fields: ["emailAddresses[first].address", "displayName", "mobilePhone"],
    key: |n| format!("o'{n}@x.io"),
};

/// The sandbox as the connector reaches it: no socket, so that paused time stays so.
struct InProcess(Arc<SandboxHandle>);

#[async_trait(?Send)]
impl Transport for InProcess {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let path = request.url.strip_prefix("http://127.0.0.1").expect("the sandbox's own origin").to_owned();
        let method = Method::from_bytes(request.method.as_str().as_bytes()).expect("a method");
        let mut sent = TestRequest::default().method(method).uri(&path).insert_header(("Host", "127.0.0.1"));
        for (name, value) in &request.headers {
            sent = sent.insert_header((name.as_str(), value.as_str()));
        }
        for (name, value) in &request.secret_headers {
            sent = sent.insert_header((name.as_str(), value.expose_secret()));
        }
        if let Some(body) = request.body {
            sent = sent.set_payload(body);
        }
        let app = init_service(App::new().configure(self.0.configure())).await;
        let answer = call_service(&app, sent.to_request()).await;
        let status = answer.status().as_u16();
        let headers = answer.headers().iter();
        let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()));
        let headers = headers.collect();
        let lost = |_| TransportError::Unknown("the connection broke".to_owned());
        let body = body::to_bytes(answer.into_body()).await.map_err(lost)?.to_vec();
        Ok(HttpResponse { status, headers, body })
    }
}

struct World {
    shape: Shape,
    sandbox: Arc<SandboxHandle>,
    app: MemoryApp,
    kernel: Kernel,
    random: fastrand::Rng,
    next: usize,
}

/// A side's contacts: its other fields by the key, each key once.
type Side = BTreeMap<String, [String; 2]>;

impl World {
    /// A world with contacts on both sides that nobody has read yet.
    async fn new(shape: Shape, seed: u64, hostile: Option<Hostile>) -> Self {
        let env = Env::simulated(DateTime::from_timestamp(1_700_000_000, 0).unwrap(), seed);
        let (clock, ours) = (env.clone(), env.clone());
        let builder = Sandbox::builder().dialect(shape.dialect).clock(Arc::new(move || clock.now_ms()));
        let sandbox = Arc::new(builder.unbound().unwrap());
        let app = MemoryApp::new(seed);
        let [key, first, second] = shape.fields.map(|field| format!("{}{field}", shape.prefix));
        let rules = format!("match = ['key']\n[fields]\nkey = '{key}'\nfirst = '{first}'\nsecond = '{second}'\n");
        let sync = SyncSpec::parse("contacts", "contacts", shape.object, Direction::TwoWay, &rules).unwrap();
        let sync = sync.scheduled(Schedule::parse("every 5m").unwrap());
        let file = Arc::new(HttpConnectorFile::parse("file.toml", shape.file).unwrap());
        let mut settings = HttpSettings::new(sandbox.api_url());
        settings.credentials = Credentials::Token(token("acme").into());
        settings.allow_private = true;
        let webhook = Webhook {
            path: HOOK.into(),
            base_url: OUTSIDE.to_owned(),
            secrets: vec![webhook_secret("acme").into()],
            account: None,
            spec: Arc::clone(file.webhook().unwrap()),
        };
        let (limits, served) = (file.limits().clone(), Arc::clone(&sandbox));
        let remote = HttpFactory::new(file, settings)
            .with_transport(move || Rc::new(InProcess(Arc::clone(&served))))
            .with_clock(move || DateTime::from_timestamp_millis(ours.now_ms()).unwrap());
        let mut spec = ConnectionSpec::new("acme", app.factory(), remote).sync(sync).webhook(webhook);
        spec.limits.remote = limits;
        let store = Store::in_memory(StoreOptions::inline().with_kernel_id("0123456789abcdef")).unwrap();
        let mut world = Self {
            shape,
            sandbox,
            app,
            kernel: Kernel::builder().store(store).env(env).connection(spec).start().await.unwrap(),
            random: fastrand::Rng::with_seed(seed),
            next: 0,
        };
        for n in 0..COMMON + OWN {
            world.make_app(n);
        }
        for n in (0..COMMON).chain(COMMON + OWN..COMMON + 2 * OWN) {
            world.make_remote(n);
        }
        world.next = COMMON + 2 * OWN;
        let _ = world.sandbox.take_kept();
        world.sandbox.set_webhook("acme", Some(&Sent::to(format!("{OUTSIDE}/webhooks/{HOOK}")))).unwrap();
        world.sandbox.set_hostile(hostile);
        world
    }

    fn make_app(&self, n: usize) {
        let text = |text: String| Value::String(text);
        let entries = [("key", (self.shape.key)(n)), ("first", format!("F{n}")), ("second", format!("+{n}"))];
        let record = entries.into_iter().map(|(key, value)| (key.to_owned(), text(value))).collect();
        self.app.create("contacts", Value::Object(record));
    }

    fn make_remote(&self, n: usize) {
        let values = [(self.shape.key)(n), format!("F{n}"), format!("+{n}")];
        let entries = self.shape.fields.into_iter().zip(values);
        let record = entries.map(|(field, value)| standing(field, Value::String(value))).collect();
        self.sandbox.create("acme", self.shape.object, &Value::Object(record)).unwrap();
    }

    fn remote(&self) -> Vec<(String, Value)> {
        let records = self.sandbox.records("acme", self.shape.object).unwrap();
        records.into_iter().map(|record| (record.id, record.properties)).collect()
    }

    fn side<'r>(records: impl Iterator<Item = &'r Value>, fields: [&str; 3], whose: &str) -> Side {
        let mut side = Side::new();
        for record in records {
            let [key, first, second] = fields.map(|field| key_of(record, field));
            assert_eq!(side.insert(key.clone(), [first, second]), None, "{key} stands twice {whose}");
        }
        side
    }

    fn sides(&self) -> [Side; 2] {
        let (app, remote) = (self.app.all("contacts"), self.remote());
        [
            Self::side(app.values(), ["key", "first", "second"], "in the app"),
            Self::side(remote.iter().map(|(_, record)| record), self.shape.fields, "in the connected app"),
        ]
    }

    async fn sync(&self) -> RunReport {
        let id = "acme".into();
        let run = self.kernel.sync_now(&id, None);
        let Ok(run) = tokio::time::timeout(Duration::from_secs(7_200), run).await else {
            panic!("a run did not end: {:#?}", self.kernel.status().await);
        };
        run.unwrap()
    }

    /// Some contacts come, change and go, each on one side; the keys of those that came to the
    /// connected app.
    fn edit(&mut self) -> Vec<String> {
        for n in self.next..self.next + 3 {
            self.make_app(n);
            self.make_remote(n + 3);
        }
        let made: Vec<String> = (self.next + 3..self.next + 6).map(self.shape.key).collect();
        self.next += 6;
        let (app, mut remote) = (self.app.all("contacts"), self.remote());
        let mut app: Vec<(_, String)> = app.into_iter().map(|(id, record)| (id, key_of(&record, "key"))).collect();
        self.random.shuffle(&mut app);
        for (n, (id, _)) in app.iter().take(6).enumerate() {
            let value = (n != 5).then(|| Value::String(format!("app {}", self.random.u32(..1_000))));
            let change = Change { path: Path::key(if n % 2 == 0 { "first" } else { "second" }), value };
            assert!(self.app.patch("contacts", id.clone(), vec![change]));
        }
        assert!(self.app.delete("contacts", app[6].0.clone()));
        // Others than those that the app has just changed: who wins is not what is asked here.
        let taken: Vec<&String> = app.iter().take(7).map(|(_, key)| key).collect();
        remote.retain(|(_, record)| !taken.contains(&&key_of(record, self.shape.fields[0])));
        self.random.shuffle(&mut remote);
        for (n, (id, _)) in remote.iter().take(6).enumerate() {
            let field = self.shape.fields[1 + n % 2];
            let value =
                if n == 5 { Value::Null } else { Value::String(format!("remote {}", self.random.u32(..1_000))) };
            let changes = Value::Object(vec![(field.to_owned(), value)]);
            self.sandbox.patch("acme", self.shape.object, id, &changes).unwrap();
        }
        // Not one that has just come.
        let old = remote.iter().skip(6).find(|(_, record)| !made.contains(&key_of(record, self.shape.fields[0])));
        self.sandbox.delete("acme", self.shape.object, &old.unwrap().0).unwrap();
        made
    }

    /// Sends the webhooks there are, in any order, some twice; of a thousand so many are lost.
    async fn deliver(&mut self, lost: u16) -> usize {
        let mut kept = self.sandbox.take_kept();
        kept.retain(|_| self.random.u16(..1_000) >= lost);
        let twice = kept.iter().filter(|_| self.random.u8(..5) == 0).cloned().collect::<Vec<_>>();
        kept.extend(twice);
        self.random.shuffle(&mut kept);
        let receiver = init_service(App::new().configure(self.kernel.webhooks().configure())).await;
        for one in &kept {
            let mut request = TestRequest::post().uri(&format!("/webhooks/{HOOK}")).set_payload(one.body.clone());
            for (name, value) in &one.headers {
                request = request.insert_header((*name, value.as_str()));
            }
            assert_eq!(call_service(&receiver, request.to_request()).await.status().as_u16(), 200);
        }
        kept.len()
    }

    /// Lets the schedule do what it can, until both sides are equal.
    async fn settle(&mut self) {
        for _ in 0..24 {
            tokio::time::sleep(Duration::from_secs(310)).await;
            self.deliver(0).await;
            let [app, remote] = self.sides();
            if app == remote {
                return;
            }
        }
        let [app, remote] = self.sides();
        let differ = |one: &Side, other: &Side| {
            let some = one.iter().filter(|(key, value)| other.get(*key) != Some(value));
            some.map(|(key, value)| format!("{key} {value:?}")).collect::<Vec<_>>()
        };
        panic!(
            "after two hours the sides differ: app {:?}, remote {:?}\n{:#?}",
            differ(&app, &remote),
            differ(&remote, &app),
            self.kernel.status().await
        );
    }

    /// At rest nothing is written, whatever is read.
    async fn rests(&mut self) {
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        self.deliver(0).await;
        tokio::time::sleep(Duration::from_secs(600)).await;
        let before = (self.sandbox.stats().writes.total, self.app.writes());
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        let report = self.sync().await;
        assert_eq!((report.error, report.totals.writes()), (None, 0));
        assert_eq!((self.sandbox.stats().writes.total, self.app.writes()), before, "at rest");
    }
}

/// A value where it stands in a record: at a key, or in the only entry of a list.
fn standing(field: &str, value: Value) -> (String, Value) {
    match field.split_once("[first].") {
        Some((list, key)) => (list.to_owned(), Value::Array(vec![Value::Object(vec![(key.to_owned(), value)])])),
        None => (field.to_owned(), value),
    }
}

fn key_of(record: &Value, field: &str) -> String {
    let value = match field.split_once("[first].") {
        Some((list, key)) => match record.get(&Path::key(list)) {
            Some(Value::Array(entries)) => entries.first().and_then(|entry| entry.get(&Path::key(key))),
            _ => None,
        },
        None => record.get(&Path::key(field)),
    };
    value.and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// First contact pairs what both sides have; then edits go both ways, told by webhooks.
async fn two_ways(shape: Shape, seed: u64) {
    let mut world = World::new(shape, seed, None).await;
    let report = world.sync().await;
    assert_eq!((report.error, report.totals.matched as usize), (None, COMMON));
    tokio::time::sleep(Duration::from_secs(120)).await;
    let [app, remote] = world.sides();
    assert_eq!((&app, app.len()), (&remote, COMMON + 2 * OWN));
    for _ in 0..4 {
        let made = world.edit();
        assert!(world.deliver(0).await >= 10);
        // Less than until the next scheduled read: what the connected app tells comes by itself.
        tokio::time::sleep(Duration::from_secs(60)).await;
        let [app, _] = world.sides();
        assert!(made.iter().all(|key| app.contains_key(key)), "{made:?} are not all in {app:?}");
    }
    world.settle().await;
    world.rests().await;
    let [app, remote] = world.sides();
    assert_eq!((&app, app.len()), (&remote, COMMON + 2 * OWN + 4 * (6 - 2)));
    assert_eq!(world.sync().await.quarantined, 0, "{:#?}", world.kernel.status().await);
}

/// Webhooks are lost, answers too, writes come late, requests are refused as too many.
async fn through_faults(shape: Shape, seeds: std::ops::Range<u64>) {
    for seed in seeds {
        println!("{} with seed {seed}", shape.dialect.name());
        let mut world = World::new(shape, seed, Some(Hostile::swarm(seed))).await;
        // The first read is through when the sides agree for the first time.
        world.settle().await;
        for _ in 0..3 {
            world.edit();
            world.deliver(500).await;
            tokio::time::sleep(Duration::from_secs(90)).await;
        }
        world.sandbox.set_hostile(None);
        world.settle().await;
        world.rests().await;
        let [app, remote] = world.sides();
        assert_eq!(app, remote, "seed {seed}");
        assert!(world.sandbox.stats().mishaps.len() > 2, "{:?}", world.sandbox.stats().mishaps);
    }
}

#[test]
fn contacts_are_synced_two_ways_with_hubspot() {
    story(|| two_ways(HUBSPOT, 7));
}

#[test]
fn contacts_are_synced_two_ways_with_stripe() {
    story(|| two_ways(STRIPE, 7));
}

#[test]
fn contacts_are_synced_two_ways_with_graph() {
    story(|| two_ways(GRAPH, 7));
}

#[test]
fn hubspot_through_faults() {
    story(|| through_faults(HUBSPOT, 1..3));
}

#[test]
fn stripe_through_faults() {
    story(|| through_faults(STRIPE, 1..3));
}

#[test]
fn graph_through_faults() {
    story(|| through_faults(GRAPH, 1..3));
}
