//! Danger: somebody was told that a webhook or an event is taken, the process dies, and
//! nothing ever comes of it.
//!
//! The sync has no schedule, so that after a kill nothing but what was accepted leads to
//! the record.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::processes::{PATIENCE, Running, program, said};
use crate::sides::{Fields, Sent, Side, Sides};

pub const HOOK: &str = "hook-0123456789abcdef";

/// The most connections where webhooks and events come in.
pub const CONNECTIONS: usize = 8;

/// How the fixture's webhooks are signed, and how somebody else would show that they are
/// genuine.
const SIGNATURES: [&str; 2] = [r#"signature = "standard-webhooks""#, r#"signature = { token = "X-Hook-Token" }"#];
/// What only a signed delivery is believed of.
const RECORD: &str = "record = \"data.record\"\n";

pub struct Desk {
    folder: TempDir,
    _sandbox: Running,
    kernel: Option<Running>,
    receive: String,
    sides: Sides,
    seed: u64,
}

impl Desk {
    /// A linked pair of records, and nothing that looks at them by itself.
    pub async fn open(seed: u64) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut command = program(folder.path());
        command.args(["sandbox", "--port", "0", "--empty", "--json"]);
        let mut sandbox = Running::start(command, &folder.path().join("sandbox.log"));
        let told = sandbox.ready().await.expect("the sandbox starts");
        let url = told["url"].as_str().expect("a URL").trim_end_matches("/v1").to_owned();
        let fixture = include_str!("../../fixtures/connectors/sandbox.toml");
        let config = format!(
            r#"state = "acme.redb"

[embedded]
listen = "127.0.0.1:0"

[receive]
listen = "127.0.0.1:0"
connections = {CONNECTIONS}

[[connection]]
id = "acme"
connector = "crm.toml"
base_url = "{url}/v1"
auth = {{ bearer = "${{CRM_TOKEN}}" }}
allow_private = true
webhook = {{ path = "{HOOK}", secret = "t0ken-of-the-hook" }}

[[sync]]
name = "contacts"
connector = "crm"
app = "contacts"
remote = "contacts"
direction = "two_way"
match = ["email"]

[sync.fields]
email = {{ remote = "properties.email", transform = "lowercase" }}
name = "properties.full_name"
title = {{ remote = "properties.job_title", owner = "remote" }}
"#
        );
        let connector = fixture.replace(SIGNATURES[0], SIGNATURES[1]).replace(RECORD, "");
        std::fs::write(folder.path().join("crm.toml"), connector).expect("it can be written");
        std::fs::write(folder.path().join("acme.toml"), config).expect("it can be written");
        let sides = Sides::new(url);
        let mut desk = Self { folder, _sandbox: sandbox, kernel: None, receive: String::new(), sides, seed };
        desk.start().await;
        let fields = of("email", "a@x.io");
        assert_eq!(desk.sides.create(Side::Remote, &fields).await, Sent::Done);
        let mut sync = program(desk.folder.path());
        sync.args(["sync", "acme.toml"]);
        assert_eq!(said(sync).await.code, Some(0));
        assert_eq!(desk.sides.records(Side::App).await.len(), 1);
        desk
    }

    async fn start(&mut self) {
        let mut command = program(self.folder.path());
        command.args(["run", "acme.toml", "--json"]);
        let mut kernel = Running::start(command, &self.folder.path().join("run.log"));
        let Some(ready) = kernel.ready().await else { panic!("it does not start: {:?}", kernel.ended()) };
        let listens =
            |key: &str| ready[key].as_str().unwrap_or_else(|| panic!("it does not listen: {ready}")).to_owned();
        self.sides.app = listens("embedded");
        self.receive = listens("receive");
        self.kernel = Some(kernel);
    }

    /// An edit on one side, the word of it, and a kill right after that was taken.
    pub async fn tell_and_kill(&mut self, n: u64) {
        let (side, field) = if n.is_multiple_of(2) { (Side::Remote, "title") } else { (Side::App, "name") };
        let value = format!("value {n}");
        let record = self.sides.records(side).await.remove(0);
        assert_eq!(self.sides.edit(side, &record.id, &of(field, &value)).await, Sent::Done);
        let (url, header, body) = match side {
            Side::Remote => (
                format!("{}/webhooks/{HOOK}", self.receive),
                ("X-Hook-Token", "t0ken-of-the-hook"),
                json!({ "type": "contacts.updated", "data": { "id": record.id } }),
            ),
            Side::App => (
                format!("{}/events", self.receive),
                ("Idempotency-Key", value.as_str()),
                json!({ "connection": "acme", "object": "contacts", "id": record.id }),
            ),
        };
        assert!(self.sides.tell(&url, header, &body).await.is_success());
        self.kernel.take().expect("it was started").kill();
        self.start().await;
        let other = if side == Side::App { Side::Remote } else { Side::App };
        let deadline = Instant::now() + PATIENCE;
        while self.sides.records(other).await[0].fields.get(field) != Some(&Value::from(value.as_str())) {
            assert!(Instant::now() < deadline, "seed {}: '{value}' never came; {}", self.seed, self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Where webhooks and events come in: host and port.
    pub fn address(&self) -> &str {
        self.receive.trim_start_matches("http://")
    }

    /// What the running kernel says of itself over its control socket.
    pub async fn status(&self) -> Value {
        let mut status = program(self.folder.path());
        status.args(["status", "acme.toml", "--json"]);
        said(status).await.json()
    }

    /// The number of the running kernel's process.
    pub fn pid(&self) -> u32 {
        self.kernel.as_ref().expect("it was started").pid()
    }

    fn log(&self) -> String {
        let path: PathBuf = self.folder.path().join("run.log");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

fn of(field: &str, value: &str) -> Fields {
    Fields::from([(field.to_owned(), Value::from(value))])
}
