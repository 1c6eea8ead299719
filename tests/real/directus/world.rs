//! A kernel between a Directus and an embedded store, reached by webhooks and events.

use std::path::Path;
use std::time::{Duration, Instant};

use actix_web::dev::ServerHandle;
use actix_web::{App as WebApp, HttpServer};
use futures_util::{StreamExt, stream};
use syncline::Kernel;
use syncline::config::Config;
use syncline::connectors::embedded::EmbeddedFactory;
use syncline::model::ids::ConnectionId;
use syncline::model::side::PerSide;
use syncline::model::work::Totals;
use syncline::store::{Store, StoreOptions};
use syncline::triggers::counts::Counts;
use syncline::triggers::event::{Event, Fire, Whose};
use tempfile::TempDir;

use super::model::{AppEdit, Model, RemoteEdit, Round};
use super::peer::{Contacts, Directus, Flow, Policy, USER};
use crate::app::App;
use crate::records::{Records, Side as _};

/// Where Directus delivers, and what it shows.
const PATH: &str = "directus-0123456789abcdef";
pub const SECRET: &str = "5c0e1d7f8a9b";

/// Requests of users of Directus at a time.
const USERS: usize = 8;

/// How long both sides may take to come to agree. Not a measure of anything: a slow
/// machine with Directus' limiter on takes a minute or two.
const PATIENCE: Duration = Duration::from_secs(600);

/// After how long without a webhook Directus is taken to have told all.
const SILENCE: Duration = Duration::from_secs(2);

/// Both sides and the kernel between them.
pub struct World {
    pub app: App,
    pub contacts: Contacts,
    pub policy: Policy,
    pub kernel: Kernel,
    connection: ConnectionId,
    receiver: ServerHandle,
    url: String,
    directus: Directus,
    _state: TempDir,
}

impl World {
    /// Starts all; nothing is synced but when asked, and by webhooks and events.
    pub async fn start(rate: Option<u32>) -> Self {
        let directus = Directus::start(rate);
        let contacts = directus.contacts().await;
        let policy = directus.user().await;
        let state = tempfile::tempdir().expect("a temporary folder");
        let store = Store::open(&state.path().join("state.redb"), StoreOptions::default()).expect("a new state file");
        let config = config(&directus, USER);
        let mut builder = Kernel::builder().store(store.clone()).schedules(false);
        for spec in config.specs(std::sync::Arc::new(EmbeddedFactory::new(store.clone()))) {
            builder = builder.connection(spec);
        }
        let kernel = builder.start().await.expect("the kernel starts");
        let connection = config.connections.first().expect("the file has one connection").id.clone();
        let webhooks = kernel.webhooks();
        let server =
            HttpServer::new(move || WebApp::new().configure(webhooks.configure())).workers(1).disable_signals();
        let server = server.bind(("127.0.0.1", 0)).expect("loopback has a free port");
        let url = format!("http://{}/webhooks/{PATH}", server.addrs()[0]);
        let server = server.run();
        let receiver = server.handle();
        actix::spawn(server);
        let app = App::new(store, "contacts");
        Self { app, contacts, policy, kernel, connection, receiver, url, directus, _state: state }
    }

    /// Has Directus tell the kernel of every change from now on.
    pub async fn listen(&self) -> Flow {
        self.directus.flow(&self.url, SECRET).await
    }

    /// Syncs once, to the end; what it did. Nothing may be left over or held back. Where
    /// Directus refuses too many calls in a row, the sync says so and is asked for again.
    pub async fn sync(&self) -> Totals {
        let start = Instant::now();
        let mut totals = Totals::default();
        loop {
            let report = self.kernel.sync_now(&self.connection, None).await.expect("the connection is there");
            totals.add(&report.totals);
            let is_limited = report.error.as_ref().is_some_and(|error| error.contains("429"));
            if is_limited && start.elapsed() < PATIENCE {
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
            let left = (&report.error, report.pending, report.quarantined);
            assert_eq!(left, (&None, 0, 0), "{:#?}", self.kernel.status().await);
            return totals;
        }
    }

    pub async fn now(&self) -> PerSide<Records> {
        PerSide { app: self.app.all().await, remote: self.contacts.all().await }
    }

    /// The users of both sides at once.
    pub async fn edit(&self, round: Round) {
        futures_util::future::join(self.edit_app(round.app), self.edit_remote(round.remote)).await;
    }

    /// What users of Directus do, several at a time.
    pub async fn edit_remote(&self, edits: Vec<RemoteEdit>) {
        let edits = edits.into_iter().map(|edit| async {
            match edit {
                RemoteEdit::Create(contacts) => drop(self.contacts.create(contacts).await),
                RemoteEdit::Update(id, fields) => self.contacts.update(&id, fields).await,
                RemoteEdit::Updates(id, all) => {
                    for fields in all {
                        self.contacts.update(&id, fields).await;
                    }
                }
                RemoteEdit::UpdateAll(ids, fields) => self.contacts.update_all(&ids, fields).await,
                RemoteEdit::Delete(ids) => self.contacts.delete(&ids).await,
            }
        });
        stream::iter(edits).buffer_unordered(USERS).collect::<()>().await;
    }

    /// What users of your app do, each told by an event.
    pub async fn edit_app(&self, edits: Vec<AppEdit>) {
        for edit in edits {
            let id = match edit {
                AppEdit::Create(contact) => self.app.create(contact).await,
                AppEdit::Update(id, fields) => self.app.update(id, fields).await,
                AppEdit::Delete(id) => self.app.delete(id).await,
            };
            let whose = Whose::Connection(self.connection.clone());
            let event = Event::new(whose, "contacts", vec![id]);
            let fired = self.kernel.fire(Fire { events: vec![event], key: None, settle_ms: 0 }).await;
            fired.expect("an event is taken");
        }
    }

    /// Waits until both sides hold what they must, by what reaches the kernel alone.
    pub async fn wait(&self, model: &Model) {
        let start = Instant::now();
        loop {
            self.wait_for_rest(start).await;
            let now = self.now().await;
            if model.is_held(&now) {
                return;
            }
            if start.elapsed() > PATIENCE {
                println!("{:#?}", self.kernel.status().await);
                model.assert_held(&now);
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Waits until the kernel has nothing to do.
    async fn wait_for_rest(&self, start: Instant) {
        loop {
            let status = self.kernel.status().await;
            let status = status.first().expect("there is one connection");
            let waits = status.pending.iter().map(|(_, num)| num).sum::<u64>() + status.open_writes;
            assert_eq!(status.quarantined, 0, "{status:#?}");
            if (waits == 0 && status.syncs.iter().all(|sync| sync.state == "idle")) || start.elapsed() > PATIENCE {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until Directus has told all it has to tell, also of the kernel's own writes, and nothing is left to do.
    pub async fn wait_for_silence(&self) {
        let start = Instant::now();
        loop {
            let before = self.webhooks().await;
            tokio::time::sleep(SILENCE).await;
            self.wait_for_rest(start).await;
            if self.webhooks().await == before {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{before:?}");
        }
    }

    /// Waits until so many deliveries were refused.
    pub async fn wait_for_refused(&self, num: u64) {
        let start = Instant::now();
        while self.webhooks().await.refused.values().sum::<u64>() < num {
            assert!(start.elapsed() < PATIENCE, "{:?}", self.webhooks().await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until the kernel has given up on its credentials.
    pub async fn wait_for_suspension(&self) {
        let start = Instant::now();
        while self.kernel.status().await.first().expect("there is one connection").state != "suspended" {
            assert!(start.elapsed() < PATIENCE, "{:#?}", self.kernel.status().await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Says that they are good again.
    pub async fn resume(&self) {
        self.kernel.resume(&self.connection).await.expect("the connection is there");
    }

    /// What came in by webhooks.
    pub async fn webhooks(&self) -> Counts {
        self.kernel.received().await.0
    }

    /// How many calls were made to each side so far, and what all syncs did.
    pub async fn tally(&self) -> (PerSide<u64>, Totals) {
        let status = self.kernel.status().await;
        let status = status.first().expect("there is one connection");
        (status.calls, status.syncs.first().expect("there is one sync").totals.clone())
    }

    pub async fn stop(self) {
        self.receiver.stop(false).await;
        self.kernel.shutdown().await;
    }
}

/// The configuration file, for a user of a Directus.
pub fn config(directus: &Directus, token: &str) -> Config {
    let url = directus.base_url();
    let env = |name: &str| match name {
        "DIRECTUS_URL" => Some(url.clone()),
        "DIRECTUS_TOKEN" => Some(token.to_owned()),
        "DIRECTUS_PATH" => Some(PATH.to_owned()),
        "DIRECTUS_SECRET" => Some(SECRET.to_owned()),
        _ => None,
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real/directus.toml");
    Config::load(&path, &env).unwrap_or_else(|error| panic!("{error}"))
}
