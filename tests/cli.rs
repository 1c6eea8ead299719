//! The program as its users meet it: what it prints, how it ends, and that a running
//! kernel is reached, refused a rival and drained. Nothing here needs an outside
//! service.
#![cfg(all(feature = "cli", unix))]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

#[path = "cli/connections.rs"]
mod connections;
#[path = "cli/trying.rs"]
mod trying;
#[path = "cli/tutorial.rs"]
mod tutorial;

/// How long to wait for a process to be ready or to end. Never reached when all is well.
const PATIENCE: Duration = Duration::from_secs(120);

struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    #[track_caller]
    fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        assert!(!self.err.contains("panicked"), "{}", self.err);
        self
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(self.out.trim()).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_syncline"));
    command.env_remove("RUST_LOG").env_remove("NO_COLOR").stdin(Stdio::null());
    command
}

fn syncline(folder: &Path, args: &[&str]) -> Said {
    said(program().current_dir(folder).args(args))
}

/// The same with the secret that the configuration asks for.
fn syncline_with_token(folder: &Path, args: &[&str]) -> Said {
    said(with_token(&mut program()).current_dir(folder).args(args))
}

fn with_token(command: &mut Command) -> &mut Command {
    command.env("CRM_TOKEN", "sandbox-token-acme")
}

fn said(command: &mut Command) -> Said {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

/// A process that ends with the test.
struct Running(Child);

impl Running {
    fn start(command: &mut Command, log: &Path) -> Self {
        let log = std::fs::File::create(log).unwrap();
        Self(command.stdout(Stdio::piped()).stderr(log).spawn().unwrap())
    }

    /// The first line it prints.
    fn first_line(&mut self) -> String {
        let mut line = String::new();
        BufReader::new(self.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        line
    }

    /// Asks it to end, and tells how it did.
    fn terminate(mut self) -> i32 {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code().expect("it ended by itself, not by the signal");
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

const CONNECTOR: &str = include_str!("../fixtures/connectors/sandbox.toml");

fn config(url: &str) -> String {
    format!(
        r#"state = "acme.redb"

[embedded]
listen = "127.0.0.1:0"

[[connection]]
id = "acme"
connector = "sandbox.toml"
base_url = "{url}"
auth = {{ bearer = "${{CRM_TOKEN}}" }}
allow_private = true

[[sync]]
name = "contacts"
connector = "crm"
app = "contacts"
remote = "contacts"
direction = "two_way"
match = ["email"]
schedule = "every 1h"

[sync.fields]
email = {{ remote = "properties.email", transform = "lowercase" }}
name = "properties.full_name"
"#
    )
}

/// A folder with a configuration for an app at this address.
fn folder_for(url: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("sandbox.toml"), CONNECTOR).unwrap();
    std::fs::write(folder.path().join("acme.toml"), config(url)).unwrap();
    folder
}

fn sandbox(folder: &Path) -> (Running, String) {
    let mut sandbox = Running::start(program().args(["sandbox", "--port", "0", "--json"]), &folder.join("sandbox.log"));
    let told: Value = serde_json::from_str(&sandbox.first_line()).unwrap();
    (sandbox, told["url"].as_str().unwrap().to_owned())
}

#[test]
fn the_demo_ends_well_only_because_both_sides_agree() {
    let folder = tempfile::tempdir().unwrap();
    let said = syncline(folder.path(), &["demo", "--once", "--json"]).expect(0);
    let steps: Vec<Value> = said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |step: &str| steps.iter().filter(|value| value["step"] == step).collect::<Vec<_>>();
    let [plan] = of("plan")[..] else { panic!("{}", said.out) };
    let [backfill] = of("backfill")[..] else { panic!("{}", said.out) };
    let (planned, done) = (&plan["plan"]["syncs"][0], &backfill["report"]["totals"]);
    assert_eq!(planned["totals"]["matched"], 25);
    for side in ["app", "remote"] {
        assert_eq!(planned["create"][side]["count"], done["created"][side], "the plan told what the backfill did");
        assert_eq!(planned["update"][side]["count"], done["updated"][side], "the plan told what the backfill did");
    }
    assert_eq!(of("edit").len(), 9);
    assert!(of("edit").iter().all(|step| step["edit"]["crossed"] == true), "{}", said.out);
    let [closing] = of("closing")[..] else { panic!("{}", said.out) };
    assert_eq!(closing["agree"], true);
    assert_eq!(closing["connections"][0]["syncs"][0]["totals"]["conflicts"], 1);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn the_demo_tells_people_what_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let said = syncline(folder.path(), &["demo", "--once", "--state", "kept.redb"]).expect(0);
    for told in ["1  Started", "2  Plan", "3  Backfill", "4  Live edits", "5  In the end", "both sides agree"] {
        assert!(said.out.contains(told), "{told} is not in:\n{}", said.out);
    }
    assert!(!said.out.contains('\u{1b}'), "no colours where there is no terminal");
    assert!(folder.path().join("kept.redb").exists());
    let again = syncline(folder.path(), &["demo", "--once", "--state", "kept.redb"]).expect(4);
    assert!(again.err.contains("kept.redb"), "{}", again.err);
    let status = syncline(folder.path(), &["status", "kept.redb"]).expect(0);
    assert!(status.out.contains("no kernel is running") && status.out.contains("acme"), "{}", status.out);
}

#[test]
fn a_mistake_in_the_configuration_is_told_with_its_line_and_what_is_meant() {
    let folder = folder_for("http://127.0.0.1:9/v1");
    let text = config("http://127.0.0.1:9/v1").replace("connector = \"sandbox.toml\"", "conector = \"sandbox.toml\"");
    std::fs::write(folder.path().join("acme.toml"), text.replace("two_way", "both_ways")).unwrap();
    for command in [["check", "acme.toml"], ["run", "acme.toml"], ["sync", "acme.toml"], ["plan", "acme.toml"]] {
        let said = syncline(folder.path(), &command).expect(2);
        for told in ["acme.toml:8:", "did you mean 'connector'", "acme.toml:18:", "two_way", "CRM_TOKEN"] {
            assert!(said.err.contains(told), "{told} is not in:\n{}", said.err);
        }
        let json = syncline(folder.path(), &[command[0], command[1], "--json"]).expect(2).json();
        assert!(json["problems"].as_array().unwrap().len() >= 3, "{json}");
    }
    assert!(!folder.path().join("acme.redb").exists());
}

#[test]
fn what_is_not_there_is_told_by_name() {
    let folder = tempfile::tempdir().unwrap();
    for (args, code, told) in [
        (&["run", "no.toml"][..], 2, "no.toml"),
        (&["check", "no.toml"], 2, "no.toml"),
        (&["status", "no.toml"], 2, "no.toml"),
        (&["status", "no.redb"], 4, "no.redb"),
        (&["dump", "no.redb"], 4, "no.redb"),
        (&["pause", "no.redb", "acme"], 4, "no.redb"),
        (&["demo", "--once", "--state", "no/where.redb"], 4, "no/where.redb"),
        (&["frobnicate"], 2, "frobnicate"),
    ] {
        let said = syncline(folder.path(), args).expect(code);
        assert!(said.err.contains(told), "{args:?}: {}", said.err);
    }
    std::fs::write(folder.path().join("odd.redb"), "not a state file at all").unwrap();
    let said = syncline(folder.path(), &["status", "odd.redb"]).expect(4);
    assert!(said.err.contains("odd.redb"), "{}", said.err);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no file was made by asking");
}

#[test]
fn a_side_that_does_not_answer_is_told() {
    // A port of this machine at which nobody listens any more.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let folder = folder_for(&format!("http://127.0.0.1:{port}/v1"));
    syncline_with_token(folder.path(), &["check", "acme.toml", "--offline"]).expect(0);
    let said = syncline_with_token(folder.path(), &["check", "acme.toml", "--json"]).expect(3);
    let sides = said.json();
    assert_eq!(sides["sides"][0]["side"], "remote");
    assert!(sides["sides"][0]["problem"].is_string(), "{sides}");
    assert!(!folder.path().join("acme.redb").exists());
}

#[test]
fn a_plan_leaves_nothing_behind_and_a_sync_then_does_it() {
    let scratch = tempfile::tempdir().unwrap();
    let (_sandbox, url) = sandbox(scratch.path());
    let folder = folder_for(&url);
    let planned = syncline_with_token(folder.path(), &["plan", "acme.toml", "--json"]).expect(0).json();
    assert_eq!(planned["syncs"][0]["create"]["app"]["count"], 40);
    let mut left: Vec<PathBuf> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    left.sort();
    assert_eq!(left, [folder.path().join("acme.toml"), folder.path().join("sandbox.toml")]);
    let synced = syncline_with_token(folder.path(), &["sync", "acme.toml", "--once", "--json"]).expect(0).json();
    assert_eq!(synced["connections"][0]["report"]["totals"]["created"]["app"], 40);
    let quiet = syncline_with_token(folder.path(), &["plan", "acme.toml", "--json"]).expect(0).json();
    assert_eq!(quiet["syncs"][0]["create"]["app"]["count"], 0);
    let record = ["--connection", "acme", "--sync", "contacts", "--record", "101", "--side", "remote"];
    let asked = [&["sync", "acme.toml"][..], &record].concat();
    let said = syncline_with_token(folder.path(), &asked).expect(0);
    assert!(said.out.contains("'101'"), "{}", said.out);
    let dump = |_| syncline(folder.path(), &["dump", "acme.redb"]).expect(0).out;
    let [first, second] = [(), ()].map(dump);
    assert_eq!(first, second, "a dump of the same state is the same text");
    assert!(first.contains("acme"), "{first}");
}

#[test]
fn a_running_kernel_is_reached_refuses_a_rival_and_drains() {
    let scratch = tempfile::tempdir().unwrap();
    let (_sandbox, url) = sandbox(scratch.path());
    let folder = folder_for(&url);
    let here = folder.path();
    let mut command = program();
    with_token(&mut command).current_dir(here).args(["run", "acme.toml", "--json"]);
    let mut run = Running::start(&mut command, &scratch.path().join("run.log"));
    let ready: Value = serde_json::from_str(&run.first_line()).unwrap();
    assert!(ready["control"].as_str().unwrap().ends_with("acme.redb.sock"), "{ready}");

    // None of these needs the secret: the kernel has it.
    let status = syncline(here, &["status", "acme.toml", "--json"]).expect(0).json();
    assert_eq!((&status["running"], &status["connections"][0]["id"]), (&true.into(), &"acme".into()));
    let synced = syncline(here, &["sync", "acme.toml", "--json"]).expect(0).json();
    assert_eq!(synced["agrees"], true);
    let status = syncline(here, &["status", "acme.toml", "--json"]).expect(0).json();
    assert_eq!(status["connections"][0]["syncs"][0]["totals"]["created"]["app"], 40);
    let planned = syncline(here, &["plan", "acme.toml", "--json"]).expect(0).json();
    assert_eq!(planned["syncs"][0]["create"]["app"]["count"], 0);
    let said = syncline(here, &["sync", "acme.toml", "--sync", "contact"]).expect(2);
    assert!(said.err.contains("did you mean 'contacts'"), "{}", said.err);

    let rival = syncline_with_token(here, &["run", "acme.toml"]).expect(4);
    assert!(rival.err.contains("another kernel has acme.redb open"), "{}", rival.err);
    syncline_with_token(here, &["check", "acme.toml"]).expect(0);

    syncline(here, &["pause", "acme.toml", "acme"]).expect(0);
    let said = syncline(here, &["sync", "acme.toml"]).expect(3);
    assert!(said.out.contains("paused"), "{}", said.out);
    let dump = |_| syncline(here, &["dump", "acme.toml"]).expect(0).out;
    let [first, second] = [(), ()].map(dump);
    assert_eq!(first, second);
    syncline(here, &["resume", "acme.redb", "acme"]).expect(0);
    syncline(here, &["sync", "acme.toml"]).expect(0);

    assert_eq!(run.terminate(), 0);
    assert!(!here.join("acme.redb.sock").exists(), "the socket is gone");
    let status = syncline(here, &["status", "acme.toml"]).expect(0);
    assert!(status.out.contains("no kernel is running"), "{}", status.out);
    assert!(!status.out.contains("sandbox-token"), "no secret is told");
}

/// Each command of one record, by itself and through a running kernel.
#[test]
fn a_record_is_looked_at_made_changed_and_deleted_by_hand() {
    let scratch = tempfile::tempdir().unwrap();
    let (_sandbox, url) = sandbox(scratch.path());
    let folder = folder_for(&url);
    let here = folder.path();
    let act = |args: &[&str]| {
        let at = [&[args[0], "acme.toml", "acme", "contacts"][..], &args[1..]].concat();
        syncline_with_token(here, &at)
    };
    let through = |email: &str| {
        let record = format!(r#"{{"properties":{{"email":"{email}","full_name":"A"}}}}"#);
        let made = act(&["create", &record, "--json"]).expect(0).json();
        assert_eq!(made["outcome"], "written", "{made}");
        let id = made["id"].as_str().unwrap().to_owned();
        let found = act(&["find", &format!("properties.email={email}"), "--json"]).expect(0).json();
        assert_eq!((found["records"].as_array().unwrap().len(), &found["records"][0]["id"]), (1, &made["id"]));
        act(&["update", &id, r#"{"properties":{"full_name":"B"}}"#]).expect(0);
        let read = act(&["read", &id]).expect(0);
        assert!(read.out.contains(r#""full_name":"B""#) && read.out.contains(email), "{}", read.out);
        let said = act(&["delete", &id]).expect(0);
        assert!(said.out.contains(&format!("record '{id}' is deleted in the remote side")), "{}", said.out);
        let said = act(&["read", &id]).expect(3);
        assert!(said.out.contains("there is no record"), "{}", said.out);
    };
    // The same in the app's form, by the mapping of a sync.
    let mapped = |email: &str| {
        let act = |args: &[&str]| act(&[args, &["--sync", "contacts", "--json"]].concat());
        let record = format!(r#"{{"email":"{}","name":"A"}}"#, email.to_uppercase());
        let made = act(&["create", &record]).expect(0).json();
        let id = made["id"].as_str().unwrap().to_owned();
        act(&["update", &id, r#"{"name":"B"}"#]).expect(0);
        let read = act(&["read", &id]).expect(0).json();
        assert_eq!(read["records"][0]["record"], serde_json::json!({ "email": email, "name": "B" }));
        let found = act(&["find", &format!("email={email}")]).expect(0).json();
        assert_eq!(found["records"].as_array().unwrap().len(), 1);
        let refused = act(&["update", &id, r#"{"nmae":"B"}"#]).expect(3).json();
        assert_eq!(refused["reason"], "'nmae' is no field of the sync; it has: email, name");
        act(&["delete", &id]).expect(0);
    };
    through("by@hand.example");
    mapped("mapped@hand.example");
    let listed = act(&["list", "--json"]).expect(0).json();
    assert_eq!(listed["records"].as_array().unwrap().len(), 40);

    for (args, code, told) in [
        (&["read"][..], 2, "ID"),
        (&["find", "email"], 2, "'email' is no field to find"),
        (&["find", "color=red"], 3, "declares no search by 'color'"),
        (&["create", "{"], 2, "the record is not JSON"),
        (&["create", "[]"], 2, "must be an object"),
        (&["create", r#"{"properties":7}"#], 3, "refused"),
        (&["update", "nobody", r#"{"properties":{"full_name":"B"}}"#], 3, "there is no record 'nobody'"),
    ] {
        let said = act(args).expect(code);
        assert!(format!("{}{}", said.out, said.err).contains(told), "{args:?}: {}{}", said.out, said.err);
        assert!(!format!("{}{}", said.out, said.err).contains("sandbox-token"), "no secret is told");
    }
    let said = syncline_with_token(here, &["read", "acme.toml", "acne", "contacts", "1"]).expect(2);
    assert!(said.err.contains("did you mean 'acme'"), "{}", said.err);
    let said = syncline_with_token(here, &["read", "acme.toml", "acme", "contact", "1"]).expect(3);
    assert!(said.out.contains("declares no object 'contact'"), "{}", said.out);

    let mut command = program();
    with_token(&mut command).current_dir(here).args(["run", "acme.toml", "--json"]);
    let mut run = Running::start(&mut command, &scratch.path().join("run.log"));
    run.first_line();
    through("by@kernel.example");
    mapped("mapped@kernel.example");
    syncline(here, &["sync", "acme.toml", "--json"]).expect(0);
    let app = syncline(here, &["list", "acme.toml", "acme", "contacts", "--side", "app", "--json"]).expect(0).json();
    assert_eq!(app["records"].as_array().unwrap().len(), 40);
    assert_eq!(run.terminate(), 0);
}

#[test]
fn a_connector_file_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let check = |text: &str, json: &[&str]| {
        std::fs::write(folder.path().join("crm.toml"), text).unwrap();
        syncline(folder.path(), &[&["connector", "check", "crm.toml"][..], json].concat())
    };
    let said = check(CONNECTOR, &[]).expect(0);
    for told in ["crm.toml is well-formed: the connector 'crm'", "GET /contacts, pages of 100", "webhooks: declared"] {
        assert!(said.out.contains(told), "{told}: {}", said.out);
    }
    let told = check("name = \"x\"\n[object.x]\nid = \"id\"\nlist = { get = \"/x\" }\n", &["--json"]).expect(0).json();
    assert!(told["objects"][0]["lacks"].as_array().unwrap().len() >= 5, "{told}");
    let said = check(&CONNECTOR.replace("records = ", "recrods = "), &[]).expect(2);
    assert!(said.err.contains("crm.toml:") && said.err.contains("did you mean 'records'"), "{}", said.err);
    let said = syncline(folder.path(), &["connector", "check", "no.toml"]).expect(2);
    assert!(said.err.contains("no.toml"), "{}", said.err);
}
