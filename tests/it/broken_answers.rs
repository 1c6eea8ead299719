//! Danger: an answer that is cut, is another page than the one that was asked for, or
//! never comes, after which your app and one behind a REST API do not agree.
//!
//! Each seed draws the shape of the API, what goes wrong with the app and on the way to
//! it, and the edits of both sides. At the end both sides agree, no record stands twice,
//! and every value that somebody wrote stands on both sides, was replaced by a later one,
//! or is in the history as the loser of a conflict.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use syncline::connectors::memory::rest::{RestApp, RestFaults};
use syncline::connectors::memory::{Behaviour, Faults, HistoryEntry};
use syncline::model::side::Side;
use syncline::model::value::Value;

use crate::harness::{OBJECT, Setup, World, edit, flat, record, seeds, story};

/// How many worlds belong to the test.
const SEEDS: u64 = 150;

/// Fields anybody may edit on a side.
fn editable(side: Side) -> [&'static str; 3] {
    match side {
        Side::App => ["name", "note", "plan"],
        Side::Remote => ["name", "note", "phone"],
    }
}

struct Editor {
    rng: fastrand::Rng,
    written: u32,
    /// A first run has ended well. What is deleted before that, no list of changes tells.
    has_synced: bool,
}

impl Editor {
    /// A value that nobody wrote before.
    fn value(&mut self, side: Side) -> String {
        self.written += 1;
        format!("v{}-{side}", self.written)
    }

    fn side(&mut self) -> Side {
        if self.rng.bool() { Side::App } else { Side::Remote }
    }

    fn any(&mut self, world: &World, side: Side) -> Option<String> {
        let all: Vec<String> = world.apps[side].all(OBJECT).into_keys().map(|id| id.to_string()).collect();
        (!all.is_empty()).then(|| all[self.rng.usize(0..all.len())].clone())
    }

    fn create(&mut self, world: &World, side: Side) {
        let email = format!("u{}@x.io", self.rng.u8(0..30));
        // Used once in a world, so that a record can be followed by it.
        if Side::BOTH.into_iter().any(|side| world.apps[side].edits().iter().any(|edit| email_of(side, edit) == email))
        {
            return;
        }
        let mut fields = vec![("email", email)];
        fields.extend(editable(side).map(|field| (field, self.value(side))));
        let fields: Vec<(&str, &str)> = fields.iter().map(|(key, value)| (*key, value.as_str())).collect();
        world.apps[side].create(OBJECT, record(side, &fields));
    }

    async fn step(&mut self, world: &mut World) {
        let side = self.side();
        match self.rng.u8(0..20) {
            0..4 => self.create(world, side),
            4..11 => {
                if let Some(id) = self.any(world, side) {
                    let field = editable(side)[self.rng.usize(0..3)];
                    let value = self.value(side);
                    edit(&world.apps, side, &id, field, Some(&value));
                }
            }
            11 => {
                if let Some(id) = self.any(world, side).filter(|_| self.has_synced) {
                    world.apps[side].delete(OBJECT, id);
                }
            }
            12..16 => {
                let patience = Duration::from_millis(self.rng.u64(1..2_000));
                let report = tokio::time::timeout(patience, world.sync()).await;
                self.has_synced |= report.is_ok_and(|report| report.error.is_none());
            }
            16 => world.kill().await,
            _ => tokio::time::sleep(Duration::from_millis(self.rng.u64(1..30_000))).await,
        }
    }
}

fn email_of(side: Side, entry: &HistoryEntry) -> String {
    let fields = entry.value.as_ref().map(|value| flat(side, value)).unwrap_or_default();
    fields.get("email").and_then(Value::as_str).unwrap_or_default().to_owned()
}

async fn run(seed: u64) {
    let mut editor = Editor { rng: fastrand::Rng::with_seed(seed), written: 0, has_synced: false };
    let tie = editor.side();
    let mut world = World::new(Setup { seed, tie, rest: Some(seed), ..Setup::default() }).await;
    let rest = world.rest.clone().unwrap();
    configure(&world, &rest, &mut editor.rng, seed);
    for _ in 0..editor.rng.usize(10..40) {
        editor.step(&mut world).await;
    }
    settle(&mut world, &rest).await;
    check(&world, &rest, seed).await;
}

fn configure(world: &World, rest: &RestApp, rng: &mut fastrand::Rng, seed: u64) {
    for side in Side::BOTH {
        let app = &world.apps[side];
        let behaviour = Behaviour { latency_ms: [(0, 0), (1, 30)][rng.usize(0..2)], page_size: 4, ..app.behaviour() };
        app.set_behaviour(behaviour);
    }
    let bears_short_lists = rest.dialect().bears_short_lists();
    let drawn = Faults::swarm(seed);
    let truncated = if bears_short_lists { drawn.truncated } else { 0 };
    let cursor_expired = if rest.dialect().tells_deletions_in_full_lists() { drawn.cursor_expired } else { 0 };
    rest.app().set_faults(Faults { truncated, cursor_expired, ..drawn });
    let next_missing = if bears_short_lists && rng.bool() { 50 } else { 0 };
    rest.set_faults(RestFaults { next_missing, ..RestFaults::swarm(seed) });
}

/// No more edits, no more faults, and time for everything that was under way.
async fn settle(world: &mut World, rest: &RestApp) {
    rest.app().faults_off();
    rest.set_faults(RestFaults::default());
    for _ in 0..16 {
        world.sync().await;
        tokio::time::sleep(Duration::from_secs(100)).await;
    }
}

async fn check(world: &World, rest: &RestApp, seed: u64) {
    if std::env::var("SYNCLINE_SEED").is_ok() {
        print_everything(world, rest);
    }
    let held = world.quarantine();
    assert!(held.is_empty(), "seed {seed}: nothing in this world deserves quarantine: {held:?}");
    let (apps, remotes) = (world.by_email(Side::App), world.by_email(Side::Remote));
    let emails = |all: &BTreeMap<String, _>| all.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(emails(&apps), emails(&remotes), "seed {seed}: both sides have the same records");
    for (email, records) in &apps {
        assert_eq!((records.len(), remotes[email].len()), (1, 1), "seed {seed}: {email} stands more than once");
        let (app, remote) = (&records[0].1, &remotes[email][0].1);
        for field in ["email", "name", "note", "plan", "phone"] {
            assert_eq!(app.get(field), remote.get(field), "seed {seed}: {field} of {email}");
        }
    }
    account_for_edits(world, seed);
    for side in Side::BOTH {
        assert!(world.apps[side].duplicates().is_empty(), "seed {seed}");
        assert_eq!(world.apps[side].blind_overwrites(), 0, "seed {seed}: {side} was overwritten unseen");
    }
    world.clear_logs();
    for _ in 0..3 {
        world.sync().await;
    }
    let writes = world.writes();
    assert_eq!((writes.app, writes.remote), (0, 0), "seed {seed}: a settled world is left alone");
}

fn print_everything(world: &World, rest: &RestApp) {
    println!("{:#?}\n{}", rest.dialect(), rest.file_text());
    for side in Side::BOTH {
        for entry in world.apps[side].log() {
            println!("{side} {entry:?}");
        }
        for HistoryEntry { at_ms, id, version, cause, value, .. } in world.apps[side].history_from(0) {
            let value = value.map(|value| value.to_json());
            println!("{side} at {at_ms}: {id} {version} {cause:?} {value:?}");
        }
    }
}

/// A value that somebody wrote, and when.
#[derive(Debug)]
struct Written {
    at_ms: u64,
    email: String,
    field: &'static str,
    value: String,
}

fn account_for_edits(world: &World, seed: u64) {
    let apps = world.by_email(Side::App);
    let lost: BTreeSet<String> = world.history().into_iter().filter_map(|conflict| conflict.lost).collect();
    let written: Vec<Written> = Side::BOTH.into_iter().flat_map(|side| written_on(world, side)).collect();
    let deleted = deleted_from_outside(world);
    for edit in &written {
        // A deletion may take edits with it that it had not seen, on its own side.
        let Some(records) = apps.get(&edit.email).filter(|_| !deleted.contains(&edit.email)) else { continue };
        let stands = records[0].1.get(edit.field).and_then(Value::as_str) == Some(edit.value.as_str());
        let replaced = written.iter().any(|later| {
            later.at_ms >= edit.at_ms
                && (&later.email, later.field) == (&edit.email, edit.field)
                && later.value != edit.value
        });
        let recorded = lost.contains(&format!("\"{}\"", edit.value));
        assert!(stands || replaced || recorded, "seed {seed}: {edit:?} is gone without a trace");
    }
}

/// The e-mails of records that somebody deleted, also where they came back for an edit
/// of the other side.
fn deleted_from_outside(world: &World) -> BTreeSet<String> {
    let mut deleted = BTreeSet::new();
    for side in Side::BOTH {
        for entry in world.apps[side].edits().into_iter().filter(|entry| entry.value.is_none()) {
            let history = world.apps[side].history(OBJECT, entry.id);
            deleted.extend(history.iter().map(|state| email_of(side, state)));
        }
    }
    deleted
}

fn written_on(world: &World, side: Side) -> Vec<Written> {
    let mut seen = BTreeSet::new();
    let mut written = Vec::new();
    for entry in world.apps[side].edits() {
        let email = email_of(side, &entry);
        let fields = entry.value.as_ref().map(|value| flat(side, value)).unwrap_or_default();
        for field in editable(side) {
            let Some(value) = fields.get(field).and_then(Value::as_str) else { continue };
            // An edit leaves the other fields as they were, also those of the other side.
            if value.ends_with(side.as_str()) && seen.insert(value.to_owned()) {
                written.push(Written { at_ms: entry.at_ms, email: email.clone(), field, value: value.to_owned() });
            }
        }
    }
    written
}

#[test]
fn an_app_behind_rest_converges_whatever_its_answers_are() {
    for seed in seeds(SEEDS) {
        // Said before, because a panic elsewhere would not name it.
        println!("seed {seed}");
        story(|| run(seed));
    }
}
