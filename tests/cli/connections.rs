//! Connections as data: added, changed and removed with and without a kernel, and what a
//! reload makes of another file.

use super::*;

/// A second account of the sandbox, with its own scope.
fn globex(url: &str) -> String {
    format!(
        "id = 'globex'\nscope = 'acct_7'\nconnector = 'crm'\nbase_url = '{url}'\nallow_private = true\n\
         auth = {{ bearer = '${{file:globex.token}}' }}\n"
    )
}

fn prepared(folder: &Path, url: &str) {
    std::fs::write(folder.join("globex.toml"), globex(url)).unwrap();
    std::fs::write(folder.join("globex.token"), "sandbox-token-globex\n").unwrap();
    // In the file the only connection needs no scope; beside others it has one.
    edit(folder, "acme.toml", "id = \"acme\"", "id = \"acme\"\nscope = \"acct_1\"");
    // A first run by the clock would take what a sync asked for here is to report.
    edit(folder, "acme.toml", "schedule = \"every 1h\"\n", "");
}

fn edit(folder: &Path, file: &str, find: &str, replace: &str) {
    let text = std::fs::read_to_string(folder.join(file)).unwrap();
    assert!(text.contains(find), "{find} is not in {file}");
    std::fs::write(folder.join(file), text.replace(find, replace)).unwrap();
}

fn two_accounts(folder: &Path) -> (Running, String) {
    let args = ["sandbox", "--port", "0", "--accounts", "acme,globex", "--seed", "7", "--records", "12", "--json"];
    let mut sandbox = Running::start(program().args(args), &folder.join("sandbox.log"));
    let told: Value = serde_json::from_str(&sandbox.first_line()).unwrap();
    (sandbox, told["url"].as_str().unwrap().to_owned())
}

fn run(folder: &Path) -> Running {
    let args = ["run", "acme.toml", "--json"];
    let mut kernel = Running::start(with_token(&mut program()).current_dir(folder).args(args), &folder.join("log"));
    kernel.first_line();
    kernel
}

#[test]
fn connections_come_and_go_without_a_restart() {
    let sandboxes = tempfile::tempdir().unwrap();
    let (_sandbox, url) = two_accounts(sandboxes.path());
    let folder = folder_for(&url);
    let folder = folder.path();
    prepared(folder, &url);
    let kernel = run(folder);
    let connection = |args: &[&str]| syncline(folder, &[&["connection"], args].concat());

    let added = connection(&["add", "acme.toml", "globex.toml", "--json"]).expect(0).json();
    assert_eq!(added["connections"], serde_json::json!(["globex"]));
    let told = connection(&["list", "acme.toml"]).expect(0).out;
    for word in ["acme", "file", "globex", "added", "crm", "acct_7", "2 connections"] {
        assert!(told.contains(word), "{word} is not in:\n{told}");
    }
    let report = syncline(folder, &["sync", "acme.toml", "--connection", "globex", "--json"]).expect(0).json();
    assert_eq!(report["connections"][0]["report"]["totals"]["created"]["app"], 12, "{report}");
    let shown = connection(&["show", "acme.toml", "globex"]).expect(0).out;
    assert!(shown.contains("${file:globex.token}") && !shown.contains("sandbox-token"), "{shown}");

    // What does not fit changes nothing and is told with what to do.
    for (text, code, told) in [
        (globex(&url), 3, "connection 'globex' was added already; change it instead"),
        (globex(&url).replace("'globex'", "'acme'"), 3, "stands in acme.toml already"),
        (globex(&url).replace("'globex'", "'hooli'"), 3, "its scope 'acct_7' is also that of connection 'globex'"),
        (
            globex(&url).replace("'crm'", "'crn'"),
            2,
            "more.toml:3:13: the configuration has no connector 'crn' (did you",
        ),
        (globex(&url).replace("scope", "scop"), 2, "more.toml:2:1: unknown key 'scop'"),
    ] {
        std::fs::write(folder.join("more.toml"), text).unwrap();
        let said = connection(&["add", "acme.toml", "more.toml"]).expect(code);
        assert!(said.err.contains(told), "{told} is not in:\n{}", said.err);
    }

    // A change keeps the links; another account is refused.
    edit(folder, "globex.toml", "allow_private", "concurrency = 2\nallow_private");
    assert!(connection(&["change", "acme.toml", "globex.toml"]).expect(0).out.contains("'globex' is changed"));
    assert!(connection(&["change", "acme.toml", "globex.toml"]).expect(0).out.contains("1 connection as before"));
    edit(folder, "globex.toml", "acct_7", "acct_8");
    let said = connection(&["change", "acme.toml", "globex.toml"]).expect(3);
    assert!(said.err.contains("has the scope 'acct_7' and would have 'acct_8'"), "{}", said.err);
    let report = syncline(folder, &["sync", "acme.toml", "--connection", "globex", "--json"]).expect(0).json();
    assert_eq!(report["connections"][0]["report"]["totals"]["created"]["app"], 0, "{report}");
    let said = connection(&["remove", "acme.toml", "acme"]).expect(3);
    assert!(said.err.contains("take it out there and reload"), "{}", said.err);

    // It is there after a restart, and without a kernel.
    assert_eq!(kernel.terminate(), 0);
    assert!(with_list(folder).iter().any(|(id, problem)| id == "globex" && problem.is_none()));
    let kernel = run(folder);
    assert!(status_of(folder).contains(&"globex".to_owned()));

    // Gone with its state: all is made anew when it comes back.
    connection(&["remove", "acme.toml", "globex", "--purge"]).expect(0);
    assert_eq!(status_of(folder), ["acme"]);
    edit(folder, "globex.toml", "acct_8", "acct_9");
    connection(&["add", "acme.toml", "globex.toml"]).expect(0);
    let report = syncline(folder, &["sync", "acme.toml", "--connection", "globex", "--json"]).expect(0).json();
    assert_eq!(report["connections"][0]["report"]["totals"]["created"]["app"], 12, "{report}");
    assert_eq!(kernel.terminate(), 0);
    assert!(!std::fs::read_to_string(folder.join("log")).unwrap().contains("sandbox-token"));
}

fn with_list(folder: &Path) -> Vec<(String, Option<String>)> {
    let said = said(with_token(&mut program()).current_dir(folder).args(["connection", "list", "acme.toml", "--json"]));
    let all: Vec<Value> = serde_json::from_str(said.out.trim()).unwrap();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    all.iter().map(|one| (text(&one["id"]).unwrap(), text(&one["problem"]))).collect()
}

fn status_of(folder: &Path) -> Vec<String> {
    let status = syncline(folder, &["status", "acme.toml", "--json"]).expect(0).json();
    let all = status["connections"].as_array().unwrap();
    all.iter().map(|connection| connection["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn without_a_kernel_the_state_file_takes_them_with_the_same_checks() {
    let folder = folder_for("http://127.0.0.1:9/v1");
    let folder = folder.path();
    prepared(folder, "http://127.0.0.1:9/v1");
    let connection = |args: &[&str]| syncline_with_token(folder, &[&["connection"], args].concat());
    connection(&["add", "acme.toml", "globex.toml"]).expect(0);
    std::fs::write(folder.join("more.toml"), globex("http://127.0.0.1:9/v1").replace("'globex'", "'hooli'")).unwrap();
    let said = connection(&["add", "acme.toml", "more.toml"]).expect(3);
    assert!(said.err.contains("connections 'globex' and 'hooli': both have the scope 'acct_7'"), "{}", said.err);
    // A secret that is gone is told, and the others run.
    std::fs::remove_file(folder.join("globex.token")).unwrap();
    let said = connection(&["list", "acme.toml"]).expect(1);
    assert!(said.out.contains("globex.token") && said.out.contains("1 of which cannot run"), "{}", said.out);
    let kernel = run(folder);
    assert_eq!(status_of(folder), ["acme"]);
    assert!(with_list(folder).iter().any(|(id, problem)| id == "globex" && problem.is_some()));
    let log = std::fs::read_to_string(folder.join("log")).unwrap();
    assert!(log.contains("it was added and does not run"), "{log}");
    // It comes back with a reload.
    std::fs::write(folder.join("globex.token"), "sandbox-token-globex").unwrap();
    let said = syncline(folder, &["reload", "acme.toml"]).expect(0);
    assert!(said.out.contains("+ globex"), "{}", said.out);
    assert_eq!(status_of(folder), ["acme", "globex"]);
    assert_eq!(kernel.terminate(), 0);
    connection(&["remove", "acme.toml", "globex"]).expect(0);
    let said = connection(&["remove", "acme.toml", "globex"]).expect(2);
    assert!(said.err.contains("there is no connection 'globex'"), "{}", said.err);
}

#[test]
fn a_reload_tells_what_it_changed_and_changes_nothing_when_anything_is_wrong() {
    let folder = folder_for("http://127.0.0.1:9/v1");
    let folder = folder.path();
    prepared(folder, "http://127.0.0.1:9/v1");
    let said = syncline(folder, &["reload", "acme.toml"]).expect(3);
    assert!(said.err.contains("no kernel runs over this state file"), "{}", said.err);
    let kernel = run(folder);
    syncline(folder, &["connection", "add", "acme.toml", "globex.toml"]).expect(0);
    let reload = || syncline(folder, &["reload", "acme.toml"]);
    assert_eq!(reload().expect(0).out, "2 connections unchanged\n");
    edit(folder, "acme.toml", "[[connection]]", "# a remark\n[[connection]]\nconcurrency = 3");
    edit(folder, "acme.toml", "127.0.0.1:0", "127.0.0.1:8");
    let told = reload().expect(0).out;
    assert_eq!(told, "~ acme  concurrency\n1 connection unchanged\ntakes effect after a restart: [embedded]\n");
    edit(folder, "acme.toml", "properties.full_name", "properties.name");
    let told = reload().expect(0).out;
    assert!(told.contains("~ acme  sync 'contacts'\n~ globex  sync 'contacts'\n"), "{told}");
    edit(folder, "acme.toml", "concurrency = 3", "concurrency = 3\npaused = true");
    assert!(reload().expect(0).out.contains("~ acme  paused"));
    // Wrong in itself, and wrong for what was added.
    edit(folder, "acme.toml", "two_way", "too_way");
    assert!(reload().expect(2).err.contains("acme.toml:22:13: 'direction' must be one of"));
    edit(folder, "acme.toml", "too_way", "two_way");
    std::fs::remove_file(folder.join("globex.token")).unwrap();
    let said = reload().expect(2);
    assert!(said.err.contains("connection 'globex', which was added: ") && said.err.contains("globex.token"));
    assert_eq!(status_of(folder), ["acme", "globex"]);
    std::fs::write(folder.join("globex.token"), "sandbox-token-other").unwrap();
    assert!(reload().expect(0).out.contains("~ globex  what is filled in"));
    // By signal, with what came of it in the log.
    edit(folder, "acme.toml", "concurrency = 3", "concurrency = 4");
    let pid = kernel.0.id().to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    let deadline = Instant::now() + PATIENCE;
    while !std::fs::read_to_string(folder.join("log")).unwrap().contains("reloaded: ~ acme") {
        assert!(Instant::now() < deadline, "the signal did nothing");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(kernel.terminate(), 0);
}
