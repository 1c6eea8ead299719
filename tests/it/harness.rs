//! One connection between two in-memory apps, with time that only moves when nothing
//! else can.

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use syncline::actors::spec::Webhook;
use syncline::connectors::ConnectorFactory;
use syncline::connectors::memory::MemoryApp;
use syncline::connectors::memory::rest::RestApp;
use syncline::model::budget::Limits;
use syncline::model::direction::Direction;
use syncline::model::document::{DocumentError, Problems, Table, parse};
use syncline::model::ids::RecordId;
use syncline::model::side::{PerSide, Side};
use syncline::model::value::Value;
use syncline::model::work::{Conflict, Quarantined};
use syncline::reconcile::mapping::Mapping;
use syncline::reconcile::merge::Initial;
use syncline::reconcile::schema::Schemas;
use syncline::reconcile::spec::MappingSpec;
use syncline::store::{Store, StoreOptions};
use syncline::{ConnectionSpec, Env, Kernel, RunReport, Schedule, SyncSpec};

/// The seeds of a randomised test: so many from `SYNCLINE_SEED` on, which is one where nothing
/// says how many, or `SYNCLINE_SEEDS` of them, or a [share](share) of all that belong to it.
pub fn seeds(all: u64) -> Range<u64> {
    let first = number("SYNCLINE_SEED");
    let most = number("SYNCLINE_SEEDS").unwrap_or_else(|| if first.is_some() { 1 } else { share(all) });
    let first = first.unwrap_or(0);
    first..first + most
}

/// A fiftieth, which the tests take while code is written; all with `SYNCLINE_THOROUGH`, as `.ci/run`
/// has it, which builds them optimised for that.
pub fn share(all: u64) -> u64 {
    if std::env::var_os("SYNCLINE_THOROUGH").is_some() { all } else { all / 50 }
}

/// A number that the environment tells.
pub fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number, not '{text}'")))
}

/// Runs a story on one thread with paused time.
pub fn story<F: Future<Output = ()>>(tell: impl FnOnce() -> F) {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    actix::System::with_tokio_rt(runtime).block_on(async { tell().await });
}

/// The mapping most stories use.
pub const CONTACTS: &str = r#"
match = ["email"]
[fields]
email = { remote = "properties.email", transform = "lowercase" }
name  = "properties.name"
plan  = { remote = "properties.plan", owner = "app" }
phone = { remote = "properties.phone", owner = "remote" }
note  = "properties.note"
"#;

/// How a story's sync is set up.
#[derive(Clone)]
pub struct Setup {
    pub mapping: &'static str,
    pub direction: Direction,
    pub initial: Option<Initial>,
    pub tie: Side,
    pub schedule: Option<Schedule>,
    pub seed: u64,
    /// The connected app stands behind a REST API of the shape that this seed draws.
    pub rest: Option<u64>,
    /// The connected app's webhooks come in here.
    pub webhook: Option<Webhook>,
    /// How much the connected app may be called.
    pub limits: Limits,
    /// What records must be before they are written.
    pub schemas: Schemas,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            mapping: CONTACTS,
            direction: Direction::TwoWay,
            initial: None,
            tie: Side::App,
            schedule: None,
            seed: 1,
            rest: None,
            webhook: None,
            limits: Limits::default(),
            schemas: Schemas::default(),
        }
    }
}

/// Compiles a mapping, or panics with its problems.
pub fn mapping(text: &str, direction: Direction) -> Mapping {
    let problems = Problems::new();
    let table = parse(text, &problems);
    let top = Table::top(&table, &problems);
    let spec = MappingSpec::parse(&top);
    top.finish();
    match spec.and_then(|spec| Mapping::compile(&spec, &problems, direction)) {
        Some(mapping) => mapping,
        None => panic!("{}", DocumentError::new("mapping", text, problems.into_sorted())),
    }
}

/// Two apps and a kernel between them.
pub struct World {
    pub apps: PerSide<MemoryApp>,
    /// The API in front of the connected app, where there is one.
    pub rest: Option<RestApp>,
    pub store: Store,
    pub env: Env,
    pub setup: Setup,
    kernel: Option<Kernel>,
}

fn behind_rest(app: &MemoryApp, seed: u64) -> RestApp {
    let mut capabilities = app.capabilities(OBJECT);
    capabilities.find = vec!["properties.email".parse().unwrap()];
    capabilities.read_after_write_lag_ms = 20_000;
    app.set_capabilities(OBJECT, capabilities);
    app.rest(OBJECT, seed)
}

/// A side's records by e-mail, flat.
pub type Records = BTreeMap<String, Vec<(RecordId, BTreeMap<String, Value>)>>;

pub const OBJECT: &str = "contacts";

impl World {
    /// A world whose kernel has started.
    pub async fn new(setup: Setup) -> Self {
        let apps = PerSide { app: MemoryApp::new(setup.seed), remote: MemoryApp::new(setup.seed + 1) };
        let store = Store::in_memory(StoreOptions::inline().with_kernel_id("0123456789abcdef")).unwrap();
        let env = Env::simulated(DateTime::from_timestamp(1_700_000_000, 0).unwrap(), setup.seed);
        let rest = setup.rest.map(|seed| behind_rest(&apps.remote, seed));
        let mut world = Self { apps, rest, store, env, setup, kernel: None };
        world.start().await;
        world
    }

    /// The connection between the apps.
    pub fn spec(&self) -> ConnectionSpec {
        let sync = SyncSpec {
            name: "contacts".into(),
            objects: PerSide { app: OBJECT.into(), remote: OBJECT.into() },
            direction: self.setup.direction,
            mapping: mapping(self.setup.mapping, self.setup.direction),
            initial: self.setup.initial,
            tie: self.setup.tie,
            schedule: self.setup.schedule.clone(),
            schemas: self.setup.schemas.clone(),
        };
        ConnectionSpec {
            id: "acme".into(),
            scope: None,
            connectors: PerSide::from_fn(|side| self.factory(side)),
            limits: PerSide { app: Limits::default(), remote: self.setup.limits.clone() },
            shared_app_calls: None,
            syncs: vec![Arc::new(sync)],
            webhook: self.setup.webhook.clone(),
            paused: false,
        }
    }

    /// Starts the kernel over the state there is.
    pub async fn start(&mut self) {
        let builder = Kernel::builder().store(self.store.clone()).env(self.env.clone());
        let kernel = builder.connection(self.spec()).start().await;
        self.kernel = Some(kernel.unwrap());
    }

    /// Goes on with another kernel over the same state.
    pub fn run_on(&mut self, kernel: Kernel) {
        self.kernel = Some(kernel);
    }

    fn factory(&self, side: Side) -> Arc<dyn ConnectorFactory> {
        match (side, &self.rest) {
            (Side::Remote, Some(rest)) => Arc::new(rest.factory()),
            (Side::App | Side::Remote, _) => Arc::new(self.apps[side].factory()),
        }
    }

    /// Kills the kernel where it stands and starts it again over what was durable.
    pub async fn kill(&mut self) {
        self.abort().await;
        self.start().await;
    }

    /// Kills the kernel where it stands.
    pub async fn abort(&mut self) {
        self.kernel().abort().await;
        self.kernel = None;
    }

    pub fn kernel(&self) -> &Kernel {
        self.kernel.as_ref().unwrap()
    }

    /// One run, to its end.
    pub async fn sync(&self) -> RunReport {
        loop {
            let id = "acme".into();
            let run = self.kernel().sync_now(&id, None);
            let Ok(run) = tokio::time::timeout(Duration::from_secs(7_200), run).await else {
                panic!("a run did not end within two hours: {:#?}", self.kernel().status().await);
            };
            match run {
                Ok(report) => return report,
                // It died and comes back after a backoff.
                Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
            }
        }
    }

    /// One run that must do without trouble.
    pub async fn sync_well(&self) -> RunReport {
        let report = self.sync().await;
        assert_eq!(report.error, None);
        report
    }

    /// A record's fields on one side, by their names in the app.
    pub fn fields(&self, side: Side, id: &str) -> BTreeMap<String, Value> {
        flat(side, &self.apps[side].get(OBJECT, id).unwrap())
    }

    /// All records of a side by e-mail.
    pub fn by_email(&self, side: Side) -> Records {
        let mut all = Records::new();
        for (id, value) in self.apps[side].all(OBJECT) {
            let fields = flat(side, &value);
            let email = fields.get("email").and_then(Value::as_str).unwrap_or_default().to_lowercase();
            all.entry(email).or_default().push((id, fields));
        }
        all
    }

    /// Everything recorded as lost in a conflict.
    pub fn history(&self) -> Vec<Conflict> {
        let snapshot = self.store.snapshot().unwrap();
        let mut all = Vec::new();
        for (conn, _) in snapshot.connections().unwrap() {
            let sync = self.store.intern_sync(&"contacts".into()).unwrap();
            let mut from = syncline::model::ids::PairNo(0);
            loop {
                let markers = snapshot.markers(conn, sync, from, 1_000).unwrap();
                let Some((last, _)) = markers.last() else { break };
                from = syncline::model::ids::PairNo(last.0 + 1);
                for (pair, _) in &markers {
                    all.extend(snapshot.history(conn, sync, *pair).unwrap().into_iter().map(|(_, conflict)| conflict));
                }
            }
        }
        all
    }

    /// Everything held back.
    pub fn quarantine(&self) -> Vec<(Side, String, Quarantined)> {
        let snapshot = self.store.snapshot().unwrap();
        let connections = snapshot.connections().unwrap();
        let rows = connections.into_iter().flat_map(|(conn, _)| snapshot.quarantine(conn, 10_000).unwrap());
        rows.map(|(_, side, id, held)| (side, id, held)).collect()
    }

    /// Writes the kernel made on each side.
    pub fn writes(&self) -> PerSide<usize> {
        PerSide::from_fn(|side| self.apps[side].writes())
    }

    pub fn clear_logs(&self) {
        for side in Side::BOTH {
            self.apps[side].clear_log();
        }
    }
}

/// A record in the app's flat form, whichever side it comes from.
pub fn flat(side: Side, value: &Value) -> BTreeMap<String, Value> {
    let inner = match side {
        Side::App => Some(value),
        Side::Remote => value.get(&"properties".parse().unwrap()),
    };
    match inner {
        Some(Value::Object(entries)) => entries.iter().cloned().collect(),
        _ => BTreeMap::new(),
    }
}

/// A record in one side's form.
pub fn record(side: Side, fields: &[(&str, &str)]) -> Value {
    let entries = fields.iter().map(|(key, text)| ((*key).to_owned(), Value::string(*text))).collect();
    match side {
        Side::App => Value::Object(entries),
        Side::Remote => Value::Object(vec![("properties".to_owned(), Value::Object(entries))]),
    }
}

/// Sets one field of a record from outside.
pub fn edit(apps: &PerSide<MemoryApp>, side: Side, id: &str, field: &str, value: Option<&str>) -> bool {
    let path = match side {
        Side::App => field.parse().unwrap(),
        Side::Remote => format!("properties.{field}").parse().unwrap(),
    };
    let change = syncline::model::write::Change { path, value: value.map(Value::string) };
    apps[side].patch(OBJECT, id, vec![change])
}
