//! Danger: webhooks of a real sender are taken wrongly: not known, doubled, believed out of
//! order, or relied upon. The sandbox CRM sends them over real HTTP; waits for what must
//! come, never for a while.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix_web::{App, HttpServer};
use serde_json::json;
use syncline::connectors::http::{Credentials, HttpConnectorFile, HttpFactory, HttpSettings};
use syncline::connectors::memory::MemoryApp;
use syncline::model::direction::Direction;
use syncline::model::path::Path;
use syncline::model::value::Value;
use syncline::model::write::Change;
use syncline::sandbox::{Sandbox, SandboxHandle, Webhook as Sent, token, webhook_secret};
use syncline::store::{Store, StoreOptions};
use syncline::{ConnectionSpec, Kernel, SyncSpec, Webhook};

const CRM: &str = include_str!("../../fixtures/connectors/sandbox.toml");
const RULES: &str = "match = [\"email\"]\n[fields]\nemail = \"properties.email\"\nname = \"properties.full_name\"\n";
const HOOK: &str = "hook-of-the-account-acme";
/// For a machine on which everything takes long; nothing waits as long where all is well.
const PATIENCE: Duration = Duration::from_secs(60);

fn text(record: &Value, key: &str) -> String {
    record.get(&Path::key(key)).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn properties(json: &serde_json::Value) -> Value {
    Value::from_json(&json.to_string()).unwrap()
}

struct World {
    sandbox: SandboxHandle,
    app: MemoryApp,
    kernel: Kernel,
    url: String,
    server: actix_web::dev::ServerHandle,
    _folder: tempfile::TempDir,
}

impl World {
    /// Nothing runs by the clock.
    async fn start() -> Self {
        let sandbox = Sandbox::builder().accounts(["acme"]).spawn_thread().unwrap();
        let file = Arc::new(HttpConnectorFile::parse("sandbox.toml", CRM).unwrap());
        let mut settings = HttpSettings::new(sandbox.api_url());
        settings.credentials = Credentials::Token(token("acme").into());
        settings.allow_private = true;
        let webhook = Webhook {
            path: HOOK.into(),
            base_url: "http://127.0.0.1".to_owned(),
            secrets: vec![webhook_secret("acme").into()],
            account: None,
            spec: Arc::clone(file.webhook().unwrap()),
        };
        let app = MemoryApp::new(1);
        let sync = SyncSpec::parse("contacts", "contacts", "contacts", Direction::TwoWay, RULES).unwrap();
        let spec = ConnectionSpec::new("acme", app.factory(), HttpFactory::new(file, settings));
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("acme.redb"), StoreOptions::default()).unwrap();
        let builder = Kernel::builder().store(store).schedules(false).connection(spec.sync(sync).webhook(webhook));
        let kernel = builder.start().await.unwrap();
        let webhooks = kernel.webhooks();
        let server = HttpServer::new(move || App::new().configure(webhooks.configure()));
        let server = server.workers(1).disable_signals().bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://{}/webhooks/{HOOK}", server.addrs()[0]);
        let server = server.run();
        let handle = server.handle();
        actix_web::rt::spawn(server);
        let world = Self { sandbox, app, kernel, url, server: handle, _folder: folder };
        world.sync().await;
        world
    }

    /// A sync that a person asks for; its writes.
    async fn sync(&self) -> u64 {
        let report = self.kernel.sync_now(&"acme".into(), None).await.unwrap();
        assert_eq!(report.error, None);
        report.totals.writes()
    }

    fn hooked(&self, how: Sent) {
        self.sandbox.set_webhook("acme", Some(&Sent { url: self.url.clone(), ..how })).unwrap();
    }

    /// Names by address, on both sides; no address stands twice.
    fn sides(&self) -> [BTreeMap<String, String>; 2] {
        let mut sides = [BTreeMap::new(), BTreeMap::new()];
        for record in self.app.all("contacts").values() {
            assert_eq!(sides[0].insert(text(record, "email"), text(record, "name")), None, "twice at the app");
        }
        for record in self.sandbox.records("acme", "contacts").unwrap() {
            let [email, name] = ["email", "full_name"].map(|key| text(&record.properties, key));
            assert_eq!(sides[1].insert(email, name), None, "twice at the CRM");
        }
        sides
    }

    async fn wait(&self, what: &str, is_there: impl Fn(&Self) -> bool) {
        let looking = async {
            while !is_there(self) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let looked = tokio::time::timeout(PATIENCE, looking).await;
        assert!(looked.is_ok(), "{what}: {:?} {:?}", self.sides(), self.sandbox.webhook_counts("acme"));
    }

    async fn stop(self) {
        self.server.stop(true).await;
        self.kernel.shutdown().await;
        self.sandbox.stop().await;
    }

    /// Contacts come, change, change again and go, at the CRM.
    fn edits(&self, round: usize) {
        let address = |n: usize| format!("p{round}-{n}@x.io");
        let mut ids = Vec::new();
        for n in 0..12 {
            let made = properties(&json!({ "email": address(n), "full_name": format!("first {n}") }));
            ids.push(self.sandbox.create("acme", "contacts", &made).unwrap().id);
        }
        for (n, id) in ids.iter().enumerate() {
            for name in ["second", "third"] {
                let name = properties(&json!({ "full_name": format!("{name} {n}") }));
                self.sandbox.patch("acme", "contacts", id, &name).unwrap();
            }
        }
        for id in ids.iter().step_by(4) {
            self.sandbox.delete("acme", "contacts", id).unwrap();
        }
    }
}

#[actix_web::test]
async fn webhooks_alone_bring_every_change_whatever_order_they_come_in() {
    for thin in [true, false] {
        let world = World::start().await;
        let rates = Sent { duplication: 300, reordering: 300, delay: 300, delay_ms: 50, early: 200, ..Sent::default() };
        world.hooked(Sent { thin, old: 300, seed: 7, ..rates });
        world.edits(1);
        world.wait("what webhooks tell arrives", |world| world.sides()[0] == world.sides()[1]).await;
        // An edit of the app's own goes out, and its echo comes back as a webhook.
        let (id, _) = world.app.nth("contacts", 0).unwrap();
        let change = Change { path: Path::key("name"), value: Some(Value::string("ours")) };
        assert!(world.app.patch("contacts", id, vec![change]));
        // Written by this run, or by what a late webhook of the same record has started.
        world.sync().await;
        let out = |world: &World| world.sides()[1].values().any(|name| name == "ours");
        world.wait("an edit of the app's own goes out", out).await;
        let told = |world: &World| world.sandbox.webhook_counts("acme").unwrap().open == 0;
        world.wait("all webhooks are through", told).await;
        assert_eq!(world.sync().await, 0, "thin: {thin}");
        let [app, crm] = world.sides();
        assert_eq!((&app, app.len()), (&crm, 9), "thin: {thin}");
        let counts = world.sandbox.webhook_counts("acme").unwrap();
        assert!(counts.failed == 0 && counts.duplicated > 0 && counts.reordered > 0, "{counts:?}");
        world.stop().await;
    }
}

#[actix_web::test]
async fn what_lost_webhooks_did_not_tell_the_next_read_brings_once() {
    let world = World::start().await;
    world.hooked(Sent { loss: 500, duplication: 300, seed: 7, ..Sent::default() });
    world.edits(2);
    let told = |world: &World| world.sandbox.webhook_counts("acme").unwrap().open == 0;
    world.wait("all webhooks are through", told).await;
    let counts = world.sandbox.webhook_counts("acme").unwrap();
    assert!(counts.lost > 10 && counts.acknowledged > 10, "{counts:?}");
    world.sync().await;
    world.wait("both sides agree", |world| world.sides()[0] == world.sides()[1]).await;
    assert_eq!((world.sides()[1].len(), world.sync().await), (9, 0));
    world.stop().await;
}
