//! Two sides, a kernel between them that is killed, and people who edit.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::ledger::Ledger;
use crate::processes::{Running, Said, program, said};
use crate::sides::{Fields, Record, Sent, Side, Sides};
use crate::verdict;

/// The fixture, with the lag that the hostile sandbox may have.
const CONNECTOR: &str = include_str!("../../fixtures/connectors/sandbox.toml");

/// Records that both sides have before they meet.
const TWINS: usize = 15;

/// With more records than this nobody makes new ones.
const MOST_RECORDS: usize = 60;

/// Kills after which other things begin to go wrong.
const SWARM_EVERY: u64 = 20;

/// How long after the last fault everything may take to agree.
const SETTLE: Duration = Duration::from_secs(180);

/// Lines of the log that a failure shows.
const LOG_LINES: usize = 60;

pub struct World {
    folder: TempDir,
    _sandbox: Running,
    kernel: Option<Running>,
    sides: Sides,
    ledger: Ledger,
    rng: fastrand::Rng,
    seed: u64,
    num_kills: u64,
    started: Instant,
    mishaps: BTreeMap<String, u64>,
    /// The first complete read has ended. Before that nobody deletes: a read that is
    /// begun again does not show what was deleted since it first began.
    backfilled: bool,
}

/// When a process is killed.
enum Moment {
    /// So long after it was started, whatever it does then.
    Starting(Duration),
    /// So long after it was ready, while both sides are edited.
    Running(Duration),
}

impl World {
    pub async fn start(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut command = program(folder.path());
        let (page_size, hostile_seed) = (rng.usize(2..20).to_string(), rng.u64(..1_000_000).to_string());
        command.args(["sandbox", "--port", "0", "--empty", "--json", "--page-size", &page_size]);
        command.args(["--hostile", "--hostile-seed", &hostile_seed]);
        let mut sandbox = Running::start(command, &folder.path().join("sandbox.log"));
        let told = sandbox.ready().await.expect("the sandbox starts");
        let url = told["url"].as_str().expect("a URL").to_owned();
        let sides = Sides::new(url.trim_end_matches("/v1").to_owned());
        let world = Self {
            folder,
            _sandbox: sandbox,
            kernel: None,
            sides,
            ledger: Ledger::default(),
            rng,
            seed,
            num_kills: 0,
            started: Instant::now(),
            mishaps: BTreeMap::new(),
            backfilled: false,
        };
        std::fs::write(world.path("crm.toml"), connector(seed)).expect("it can be written");
        world
    }

    /// Records that are on both sides before the first run, which pairs them. Nothing
    /// goes wrong yet: where lists leave out what is there, a record made on both sides
    /// at once cannot be told from one made on one side.
    pub async fn meet(&mut self) {
        self.sides.sandbox("DELETE", "hostile").await;
        self.configure("paused = true");
        self.start_kernel().await;
        for _ in 0..TWINS {
            let email = self.ledger.new_email();
            for (side, fields) in [(Side::App, ["name", "tier"]), (Side::Remote, ["note", "title"])] {
                self.create(side, &email, &fields).await;
            }
        }
        assert_eq!(self.command(&["resume", "acme.toml", "acme"]).await.code, Some(0));
        self.configure("");
        self.kernel.take().expect("it was started").kill();
    }

    fn configure(&self, paused: &str) {
        let url = &self.sides.sandbox;
        let text = format!(
            r#"state = "acme.redb"

[embedded]
listen = "127.0.0.1:0"

[[connection]]
id = "acme"
connector = "crm.toml"
base_url = "{url}/v1"
auth = {{ bearer = "${{CRM_TOKEN}}" }}
allow_private = true
{paused}

[[sync]]
name = "contacts"
connector = "crm"
app = "contacts"
remote = "contacts"
direction = "two_way"
match = ["email"]
schedule = "every 100ms"

[sync.fields]
email = {{ remote = "properties.email", transform = "lowercase" }}
name = "properties.full_name"
note = "properties.notes"
phone = {{ remote = "properties.phone", conflict = "newest_wins" }}
tier = {{ remote = "properties.plan", owner = "app" }}
title = {{ remote = "properties.job_title", owner = "remote" }}
"#
        );
        std::fs::write(self.path("acme.toml"), text).expect("it can be written");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn spawn_kernel(&self) -> Running {
        let mut command = program(self.folder.path());
        command.args(["run", "acme.toml", "--json"]);
        Running::start(command, &self.path("run.log"))
    }

    async fn start_kernel(&mut self) {
        let mut kernel = self.spawn_kernel();
        let ready = kernel.ready().await;
        let Some(ready) = ready else { panic!("it does not start: {:?}", kernel.ended()) };
        self.sides.app = ready["embedded"].as_str().expect("the embedded store listens").to_owned();
        self.kernel = Some(kernel);
    }

    async fn command(&self, args: &[&str]) -> Said {
        let mut command = program(self.folder.path());
        command.args(args);
        said(command).await
    }

    /// One life of the process.
    pub async fn live_and_die(&mut self) {
        if self.num_kills.is_multiple_of(SWARM_EVERY) {
            let seed = self.rng.u64(..1_000_000);
            self.note_mishaps().await;
            self.sides.sandbox("POST", &format!("hostile?seed={seed}")).await;
        }
        let mut kernel = match self.moment() {
            Moment::Starting(after) => {
                let kernel = self.spawn_kernel();
                tokio::time::sleep(after).await;
                kernel
            }
            Moment::Running(after) => {
                self.start_kernel().await;
                self.edit_until(Instant::now() + after).await;
                self.kernel.take().expect("it was started")
            }
        };
        assert_eq!(kernel.ended(), None, "it ended by itself");
        kernel.kill();
        self.num_kills += 1;
        if !self.backfilled {
            let dump = self.command(&["dump", "acme.redb"]).await;
            self.backfilled = dump.out.lines().any(|line| line.starts_with("cursor acme contacts app 255 "));
        }
    }

    fn moment(&mut self) -> Moment {
        let mut up_to = |ms: u64| Duration::from_millis(self.rng.u64(0..ms));
        match [up_to(30), up_to(120), up_to(40), up_to(400), up_to(1_500)] {
            [short, long, quick, usual, patient] => match self.rng.u8(0..8) {
                0 => Moment::Starting(short),
                1 => Moment::Starting(long),
                2 => Moment::Running(quick),
                3..=5 => Moment::Running(usual),
                _ => Moment::Running(patient),
            },
        }
    }

    async fn edit_until(&mut self, deadline: Instant) {
        let deadline = tokio::time::Instant::from_std(deadline);
        for _ in 0..self.rng.usize(0..6) {
            let side = Side::BOTH[self.rng.usize(0..2)];
            match side {
                // The process may die in the middle of it, and then nothing more comes of it.
                Side::App => drop(tokio::time::timeout_at(deadline, self.edit(side)).await),
                // Finished in any case, because the sandbox lives on.
                Side::Remote => self.edit(side).await,
            }
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            let pause = left.mul_f64(self.rng.f64() / 2.0);
            tokio::time::sleep(pause).await;
        }
        tokio::time::sleep_until(deadline).await;
    }

    async fn edit(&mut self, side: Side) {
        let records = self.sides.records(side).await;
        match self.rng.u8(0..10) {
            0..3 if records.len() < MOST_RECORDS => {
                let email = self.ledger.new_email();
                self.create(side, &email, &side.editable()).await;
            }
            3 if self.backfilled => self.delete(side, &records).await,
            _ => self.update(side, &records).await,
        }
    }

    async fn create(&mut self, side: Side, email: &str, fields: &[&str]) {
        let mut fields = self.ledger.values(side, fields);
        self.ledger.sending(email, &fields);
        let num = fields.len();
        fields.insert("email".to_owned(), Value::from(email));
        let sent = self.sides.create(side, &fields).await;
        self.ledger.sent(num, sent);
    }

    async fn update(&mut self, side: Side, records: &[Record]) {
        let Some(record) = self.pick(records) else { return };
        let field = side.editable()[self.rng.usize(0..4)];
        let fields: Fields = self.ledger.values(side, &[field]);
        self.ledger.sending(record.email(), &fields);
        let sent = self.sides.edit(side, &record.id, &fields).await;
        self.ledger.sent(1, sent);
    }

    async fn delete(&mut self, side: Side, records: &[Record]) {
        let Some(record) = self.pick(records) else { return };
        self.ledger.deleting(record.email());
        match self.sides.delete(side, &record.id).await {
            Sent::Done | Sent::Missing | Sent::Unknown => {}
        }
    }

    fn pick<'r>(&mut self, records: &'r [Record]) -> Option<&'r Record> {
        (!records.is_empty()).then(|| &records[self.rng.usize(0..records.len())])
    }

    /// Nothing goes wrong any more, and time for what was under way.
    pub async fn settle(&mut self) {
        self.note_mishaps().await;
        let deadline = Instant::now() + SETTLE;
        self.sides.sandbox("DELETE", "hostile").await;
        loop {
            let left = self.sides.sandbox("GET", "hostile").await;
            if left["late"] == 0 && left["hidden"] == 0 {
                break;
            }
            assert!(Instant::now() < deadline, "what has gone wrong does not end: {left}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.start_kernel().await;
        loop {
            let before = self.fingerprint().await;
            let synced = self.command(&["sync", "acme.toml", "--json"]).await;
            let status = self.command(&["status", "acme.toml", "--json"]).await.json();
            if synced.code == Some(0) && idle(&status["connections"][0]) && self.fingerprint().await == before {
                return;
            }
            assert!(Instant::now() < deadline, "it does not settle: {synced:?}\n{status:#}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Changes with every write to either side.
    async fn fingerprint(&self) -> (Value, Vec<(String, String)>) {
        let stats = self.sides.sandbox("GET", "stats").await;
        let records = self.sides.records(Side::App).await;
        (stats["writes"].clone(), records.into_iter().map(|record| (record.id, record.version)).collect())
    }

    pub async fn check(&mut self) {
        let (app, remote) = (self.sides.records(Side::App).await, self.sides.records(Side::Remote).await);
        let differences = verdict::differences(&app, &remote);
        assert!(differences.is_empty(), "the sides do not agree:\n{}", differences.join("\n"));
        let dump = self.command(&["dump", "acme.toml"]).await.out;
        let lost = verdict::lost_edits(&self.ledger, &app, &dump);
        assert!(lost.is_empty(), "edits are gone without a trace: {lost:#?}");
        let before = self.fingerprint().await;
        for again in [&["sync", "acme.toml"][..], &["sync", "acme.toml", "--full"]] {
            let synced = self.command(again).await;
            assert_eq!(synced.code, Some(0), "{synced:?}");
            assert_eq!(self.fingerprint().await, before, "{again:?} writes though everything agrees");
        }
        let status = self.command(&["status", "acme.toml", "--json"]).await.json();
        assert_eq!(self.kernel.take().expect("it runs").terminate().await, Some(0));
        let log = std::fs::read_to_string(self.path("run.log")).expect("there is a log");
        assert!(!log.contains("panicked"), "something panicked");
        println!(
            "{} kills in {} s: {} edits, {} deletions, {} records in the end\nmishaps {:?}\ntotals {}",
            self.num_kills,
            self.started.elapsed().as_secs(),
            self.ledger.edits.len(),
            self.ledger.deleted.len(),
            app.len(),
            self.mishaps,
            status["connections"][0]["syncs"][0]["totals"],
        );
    }

    async fn note_mishaps(&mut self) {
        let stats = self.sides.sandbox("GET", "stats").await;
        for (name, count) in stats["mishaps"].as_object().expect("counts") {
            self.mishaps.insert(name.clone(), count.as_u64().unwrap_or(0));
        }
    }
}

/// The sandbox's connector file: every other world writes in batches.
fn connector(seed: u64) -> String {
    let lagging = CONNECTOR.replace("version = \"etag\"", "version = \"etag\"\nread_lag = \"5s\"");
    match lagging.split_once("[object.contacts.batch]") {
        Some((single, _)) if seed.is_multiple_of(2) => single.to_owned(),
        Some(_) | None => lagging,
    }
}

fn idle(connection: &Value) -> bool {
    let waiting = |count: &Value| count[1].as_u64() != Some(0);
    connection["state"] == "ready"
        && connection["open_writes"] == 0
        && connection["quarantined"] == 0
        && !connection["pending"].as_array().expect("a list").iter().any(waiting)
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.report();
        }
    }
}

impl World {
    /// Everything that helps to find out why; the folder is kept.
    fn report(&mut self) {
        self.folder.disable_cleanup(true);
        if let Some(kernel) = self.kernel.take() {
            kernel.kill();
        }
        let log = std::fs::read_to_string(self.path("run.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        println!("SYNCLINE_SEED={} SYNCLINE_KILLS={}, at kill {}", self.seed, self.num_kills, self.num_kills);
        println!("---- the last lines of the log ----");
        println!("{}", lines[lines.len().saturating_sub(LOG_LINES)..].join("\n"));
        println!("---- the state ----");
        let dump = program(self.folder.path()).args(["dump", "acme.redb"]).output();
        println!(
            "{}",
            dump.map_or_else(|error| error.to_string(), |said| String::from_utf8_lossy(&said.stdout).into_owned())
        );
        println!("---- both sides, logs and state: {} ----", self.folder.path().display());
    }
}
