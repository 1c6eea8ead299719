//! Configurations read as a whole: what comes out of good ones, and the exact text about
//! bad ones.

use super::*;
use crate::connectors::Connector;
use crate::model::budget::Window;
use crate::model::direction::Direction;
use crate::model::schedule::Schedule;
use crate::model::side::Side;
use crate::model::write::{ConnectorError, NextStep};
use crate::reconcile::merge::Initial;

const SECRET: &str = "s3cret-Value";

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/config")
}

fn env(name: &str) -> Option<String> {
    match name {
        "UNSET" => None,
        "EMPTY" => Some(String::new()),
        "GLOBEX_HOST" => Some("globex.example.com".to_owned()),
        "BAD_HOST" => Some(format!("user:{SECRET}@example.com")),
        "HOOK" => Some(format!("{SECRET}-0123456789")),
        "HOOK_SECRET" => Some("whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=".to_owned()),
        "LINES" => Some(format!("{SECRET}\nx")),
        _ => Some(SECRET.to_owned()),
    }
}

/// Parses a text as `s.toml` beside the fixtures, with paths shown relative to it.
fn parse_text(text: &str) -> Result<Config, Vec<String>> {
    let read_file = |path: &Path| match path.to_str() {
        Some("connectors/broken.toml") => Ok("name = 5\n[object.contacts]\nid = \"id\"\n".to_owned()),
        Some("connectors/hooked.toml") => {
            let crm = std::fs::read_to_string(fixtures().join("connectors/crm.toml"))?;
            let webhook = "\n[webhook]\nsignature = 'standard-webhooks'\nobject = 'contacts'\nid = 'id'\n";
            Ok(format!("{crm}{webhook}"))
        }
        Some("connectors/twin.toml") => std::fs::read_to_string(fixtures().join("connectors/crm.toml")),
        _ => std::fs::read_to_string(fixtures().join(path)),
    };
    Config::parse("s.toml", text, Path::new(""), &env, &read_file).map_err(|error| {
        assert!(!error.to_string().contains(SECRET), "{error}");
        assert!(!error.to_string().contains(&SECRET.to_lowercase()), "{error}");
        assert!(!format!("{error:?}").contains(SECRET), "{error:?}");
        error.lines
    })
}

/// A small good configuration, a line an entry.
const GOOD: &str = "\
state = 'x.redb'
[[connection]]
id = 'acme'
connector = 'connectors/crm.toml'
base_url = 'https://api.example.com'
auth = { bearer = '${CRM_TOKEN}' }
[[sync]]
name = 'contacts'
app = 'contacts'
remote = 'contacts'
direction = 'two_way'
match = ['email']
[sync.fields]
email = 'properties.email'
";

/// A second connection and what makes it a good one.
const SECOND: &str = "
[[connection]]
id = 'globex'
connector = 'connectors/crm.toml'
base_url = 'https://api.example.com'
auth = { bearer = '${CRM_TOKEN}' }
scope = 'b'
";

const APP: &str = "
[app]
connector = 'connectors/myapp.toml'
base_url = 'https://app.example.com'
auth = { key = '${APP_KEY}' }
";

/// A text with one piece replaced, which must be there.
fn with(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from} is not in the text");
    text.replacen(from, to, 1)
}

#[test]
fn every_key_is_read() {
    let config = Config::load(&fixtures().join("full.toml"), &env).unwrap();
    assert_eq!(config.path, fixtures().join("full.toml"));
    assert_eq!(config.state, fixtures().join("acme.redb"));
    assert_eq!(config.late_after, Some(Duration::from_secs(600)));
    let api = config.embedded.as_ref().unwrap();
    assert_eq!(api.listen.to_string(), "127.0.0.1:8080");
    assert!(api.token.is_some());
    let [acme, globex, desk] = &config.connections[..] else { panic!("{config:?}") };
    assert_eq!((acme.id.as_str(), acme.scope.as_ref().unwrap().as_str(), acme.paused), ("acme", "acct_42", false));
    let windows = vec![Window::new(100, 10_000), Window::new(250_000, 86_400_000)];
    assert_eq!(acme.limits.remote, Limits { windows, concurrency: 8, ..Limits::default() });
    let names = |connection: &ConfiguredConnection| -> Vec<String> {
        connection.syncs.iter().map(|sync| sync.name.to_string()).collect()
    };
    assert_eq!(names(acme), ["contacts", "companies"]);
    assert_eq!((names(globex), globex.paused), (vec!["contacts".to_owned()], true));
    let of_file = Limits { windows: vec![Window::new(300, 60_000)], concurrency: 6, ..Limits::default() };
    assert_eq!(globex.limits.remote, of_file, "limits that are not declared are the connector file's");
    assert_eq!(names(desk), ["tickets"]);
    assert!(Arc::ptr_eq(&acme.syncs[0], &globex.syncs[0]), "a sync is one for all its connections");
    let contacts = &acme.syncs[0];
    assert_eq!((contacts.objects.app.as_str(), contacts.objects.remote.as_str()), ("contacts", "contacts"));
    assert_eq!((contacts.direction, contacts.initial), (Direction::TwoWay, Some(Initial::Newest)));
    assert_eq!((contacts.tie, contacts.schedule.clone()), (Side::Remote, Some(Schedule::every_ms(300_000))));
    assert_eq!(contacts.mapping.fields.len(), 4);
    assert_eq!((desk.syncs[0].tie, desk.syncs[0].schedule.clone(), desk.syncs[0].initial), (Side::App, None, None));
    let warnings = config.warnings().join("\n");
    assert!(warnings.contains("full.toml:58:10: direction = \"out\" writes to 'companies'"), "{warnings}");
    assert_eq!(config.warnings().len(), 1, "{warnings}");
    assert!(!format!("{config:?}").contains(SECRET));
}

fn no_store(_: &crate::connectors::ConnectorScope) -> Result<Box<dyn Connector>, ConnectorError> {
    Err(ConnectorError::new(NextStep::Fail, "the embedded store"))
}

#[test]
fn connections_to_one_api_share_one_budget() {
    let config = Config::load(&fixtures().join("app.toml"), &env).unwrap();
    let specs = config.specs(Arc::new(no_store));
    let shared: Vec<&Calls> = specs.iter().filter_map(|spec| spec.shared_app_calls.as_ref()).collect();
    let [first, second] = shared[..] else { panic!("{specs:?}") };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    drop(runtime.block_on(first.permit()));
    assert_eq!((first.made(), second.made()), (1, 1));
    assert_eq!(config.connections[0].limits.app.windows, [Window::new(50, 1_000)]);
    assert!(!format!("{config:?}{specs:?}").contains(SECRET));
}

#[test]
fn the_embedded_store_serves_connections_without_shared_budget() {
    let config = parse_text(GOOD).unwrap();
    assert_eq!(config.state, Path::new("x.redb"));
    assert_eq!(config.connections[0].scope, Some(Scope::from("default")), "the only connection needs no scope");
    let specs = config.specs(Arc::new(no_store));
    assert!(specs[0].shared_app_calls.is_none());
    let scope = crate::connectors::ConnectorScope { scope: specs[0].scope.clone() };
    let made = specs[0].connectors.app.make(&scope).err().unwrap();
    assert_eq!(made.message, "the embedded store");
    assert_eq!(parse_text(&with(GOOD, "state = 'x.redb'\n", "")).unwrap().state, Path::new("syncline.redb"));
}

#[test]
fn a_missing_file_is_a_sentence() {
    let error = Config::load(Path::new("no/such.toml"), &env).unwrap_err();
    let [line] = &error.lines[..] else { panic!("{error}") };
    assert!(line.starts_with("failed to read the configuration no/such.toml: "), "{line}");
}

#[test]
fn two_connections_are_good_with_their_own_scopes() {
    let text = with(GOOD, "id = 'acme'", "id = 'acme'\nscope = 'a'") + SECOND;
    assert_eq!(parse_text(&text).unwrap().connections.len(), 2);
    // One scope for both, but each has its own object of the app.
    let other = "[[sync]]\nname = 'o'\napp = 'others'\nremote = 'contacts'\ndirection = 'in'\nmatch = []\n\
                 connections = ['globex']\n[sync.fields]\nemail = 'e'\n";
    let text = with(&text, "name = 'contacts'", "name = 'contacts'\nconnections = ['acme']") + other;
    let text = with(&text, "scope = 'b'", "scope = 'a'");
    assert_eq!(parse_text(&text).unwrap().connections.len(), 2);
}

/// What stands behind the good text, what is replaced in all of it by what, and the
/// problems.
type Case = (&'static str, &'static str, &'static str, &'static [&'static str]);

const ID: &str = "id = 'acme'";
const FILE: &str = "connector = 'connectors/crm.toml'";
const URL: &str = "base_url = 'https://api.example.com'";
const AUTH: &str = "auth = { bearer = '${CRM_TOKEN}' }";

const CONNECTION_PROBLEMS: &[Case] = &[
    ("", ID, "", &["s.toml:2:1: 'id' is missing in [connection]"]),
    ("", ID, "id = 5", &["s.toml:3:6: 'id' must be a text, not integer"]),
    ("", ID, "id = ' '", &["s.toml:3:6: 'id' is empty"]),
    (
        "",
        ID,
        "id = \"a\\u0007\"",
        &["s.toml:3:6: 'id' is not a name (at most 100 bytes, no control characters, no space at either end)"],
    ),
    ("", ID, "idd = 'acme'\nid = 'acme'", &["s.toml:3:1: unknown key 'idd' in [connection] (did you mean 'id'?)"]),
    ("", FILE, "", &["s.toml:2:1: 'connector' is missing in [connection]"]),
    ("", FILE, "connector = 5", &["s.toml:4:13: 'connector' must be a text, not integer"]),
    (
        "",
        FILE,
        "connector = 'crm'",
        &[
            "s.toml:4:13: 'connector': failed to read crm: No such file or directory (os error 2) (a path is relative to the folder of this file)",
        ],
    ),
    (
        "",
        FILE,
        "connector = 'connectors/broken.toml'",
        &[
            "connectors/broken.toml:1:8: 'name' must be a text, not integer",
            "connectors/broken.toml:2:1: [object.contacts.list] is missing: how are all records listed? (add path = \"/contacts\", or list = { get = \"/contacts\" })",
        ],
    ),
    ("", URL, "", &["s.toml:2:1: 'base_url' is missing in [connection]"]),
    ("", URL, "base_url = 5", &["s.toml:5:12: 'base_url' must be a text, not integer"]),
    (
        "",
        URL,
        "base_url = 'api.example.com'",
        &["s.toml:5:12: 'base_url' cannot be used: 'api.example.com' is not a URL: relative URL without a base"],
    ),
    (
        "",
        URL,
        "base_url = 'http://api.example.com'",
        &["s.toml:5:12: 'base_url' cannot be used: http without TLS is only allowed with allow_private = true"],
    ),
    (
        "",
        URL,
        "base_url = 'https://127.0.0.1/'",
        &[
            "s.toml:5:12: 'base_url' cannot be used: '127.0.0.1' is a loopback address; set allow_private = true if this is meant",
        ],
    ),
    (
        "",
        URL,
        "base_url = 'https://${UNSET}/'",
        &["s.toml:5:12: environment variable 'UNSET', used in 'base_url', is not set (set it before starting)"],
    ),
    (
        "",
        URL,
        "base_url = 'https://${EMPTY}/'",
        &["s.toml:5:12: environment variable 'EMPTY', used in 'base_url', is empty (set it before starting)"],
    ),
    (
        "",
        URL,
        "base_url = 'https://${BAD_HOST}/'",
        &["s.toml:5:12: 'base_url' cannot be used: a user or password must not stand in the URL"],
    ),
    (
        "",
        URL,
        "base_url = '${CRM_TOKEN}'",
        &[
            "s.toml:5:12: 'base_url' cannot be used as it is filled in (check the variables in it; it must be an https URL without user, '?' and '#')",
        ],
    ),
    (
        "",
        URL,
        "baseurl = 'https://api.example.com'\nbase_url = 'https://api.example.com'",
        &["s.toml:5:1: unknown key 'baseurl' in [connection] (did you mean 'base_url'?)"],
    ),
    (
        "",
        AUTH,
        "",
        &[
            "s.toml:2:1: 'auth' does not fit connector 'crm': the connector file wants a key or token: give one (write auth = { bearer = \"${TOKEN}\" })",
        ],
    ),
    ("", AUTH, "auth = 'token'", &["s.toml:6:8: 'auth' must be a table, not string"]),
    (
        "",
        AUTH,
        "auth = {}",
        &[
            "s.toml:6:8: 'auth' is empty (write { bearer = \"${TOKEN}\" }, { key = \"${KEY}\" }, { basic = { user = \"...\", password = \"${PASSWORD}\" } }, { client = { id = \"...\", secret = \"${SECRET}\" } } or { jwt = { issuer = \"...\", key = \"${file:key.pem}\" } })",
        ],
    ),
    ("", AUTH, "auth = { barer = 'x' }", &["s.toml:6:10: unknown key 'barer' in [auth] (did you mean 'bearer'?)"]),
    ("", AUTH, "auth = { bearer = 5 }", &["s.toml:6:19: 'bearer' must be a text, not integer"]),
    ("", AUTH, "auth = { bearer = '' }", &["s.toml:6:19: 'bearer' is empty"]),
    (
        "",
        AUTH,
        "auth = { bearer = '${UNSET}' }",
        &["s.toml:6:19: environment variable 'UNSET', used in 'bearer', is not set (set it before starting)"],
    ),
    (
        "",
        AUTH,
        "auth = { bearer = '${LINES}' }",
        &[
            "s.toml:6:8: 'auth' does not fit connector 'crm': the credentials hold a line break or another control character (write auth = { bearer = \"${TOKEN}\" })",
        ],
    ),
    (
        "",
        AUTH,
        "auth = { bearer = 'open${' }",
        &[
            "s.toml:6:19: '${' is not closed in 'bearer' (write ${NAME} or ${file:PATH}, or $${ for the two characters themselves)",
        ],
    ),
    (
        "",
        AUTH,
        "auth = { key = '${CRM_TOKEN}' }",
        &[
            "s.toml:6:8: 'key' does not fit connector 'crm', which declares auth kind 'bearer' (write auth = { bearer = \"${TOKEN}\" })",
        ],
    ),
    (
        "",
        AUTH,
        "auth = { bearer = '${CRM_TOKEN}', key = '${CRM_TOKEN}' }",
        &["s.toml:6:8: 'auth' holds bearer and key, but a connection has one kind of credentials (keep one of them)"],
    ),
    (
        "",
        AUTH,
        "auth = { basic = { user = 'u', password = '${CRM_TOKEN}' } }",
        &[
            "s.toml:6:8: 'basic' does not fit connector 'crm', which declares auth kind 'bearer' (write auth = { bearer = \"${TOKEN}\" })",
        ],
    ),
    ("", AUTH, "auth = { basic = { user = 'u' } }", &["s.toml:6:18: 'password' is missing in [basic]"]),
    ("", ID, "id = 'acme'\nscope = ''", &["s.toml:4:9: 'scope' is empty"]),
    ("", ID, "id = 'acme'\nscope = '..'", &["s.toml:4:9: 'scope' must not be '..'"]),
    (
        "",
        ID,
        "id = 'acme'\nscope = '${SCOPE}'",
        &[
            "s.toml:4:9: no variable is filled in in 'scope' (variables stand for secrets: in base_url, auth, token and webhook)",
        ],
    ),
    ("", ID, "id = 'acme'\nallow_private = 'yes'", &["s.toml:4:17: 'allow_private' must be true or false, not string"]),
    ("", ID, "id = 'acme'\npaused = 1", &["s.toml:4:10: 'paused' must be true or false, not integer"]),
    (
        "",
        ID,
        "id = 'acme'\nca = 'no.pem'",
        &[
            "s.toml:4:6: 'ca': failed to read no.pem: No such file or directory (os error 2) (a path is relative to the folder of this file)",
        ],
    ),
    ("", ID, "id = 'acme'\nconcurrency = 0", &["s.toml:4:15: 'concurrency' must be from 1 to 1000, not 0"]),
    (
        "",
        ID,
        "id = 'acme'\nlimits = { requests = 1, per = '1s' }",
        &["s.toml:4:10: 'limits' must be a list, not table"],
    ),
    (
        "",
        ID,
        "id = 'acme'\nlimits = [{ requests = 0, per = '1s' }]",
        &["s.toml:4:24: 'requests' must be from 1 to 4294967295"],
    ),
    (
        "",
        ID,
        "id = 'acme'\nlimits = [{ requests = 1 }]",
        &["s.toml:4:11: 'per' is missing in [limits] (for example { requests = 100, per = \"10s\" })"],
    ),
    (
        "",
        ID,
        "id = 'acme'\nlimits = [{ requests = 1, per = '1 fortnight' }]",
        &[
            "s.toml:4:33: 'per' is not a duration: '1 fortnight' (write a whole number and a unit: 500ms, 5s, 2m, 1h, 1d)",
        ],
    ),
];

const SYNC_PROBLEMS: &[Case] = &[
    ("", "name = 'contacts'", "", &["s.toml:7:1: 'name' is missing in [sync]"]),
    ("", "name = 'contacts'", "name = ['contacts']", &["s.toml:8:8: 'name' must be a text, not array"]),
    ("", "app = 'contacts'", "", &["s.toml:7:1: 'app' is missing in [sync]"]),
    (
        "",
        "app = 'contacts'",
        "ap = 'contacts'\napp = 'contacts'",
        &["s.toml:9:1: unknown key 'ap' in [sync] (did you mean 'app'?)"],
    ),
    ("", "remote = 'contacts'", "", &["s.toml:7:1: 'remote' is missing in [sync]"]),
    (
        "",
        "remote = 'contacts'",
        "remote = 'contact'",
        &[
            "s.toml:10:10: connector 'crm' has no object 'contact'; it has: companies, contacts, invoices (did you mean 'contacts'?)",
        ],
    ),
    (
        "",
        "remote = 'contacts'",
        "remote = 'leads'",
        &["s.toml:10:10: connector 'crm' has no object 'leads'; it has: companies, contacts, invoices"],
    ),
    ("", "remote = 'contacts'", "remote = 5", &["s.toml:10:10: 'remote' must be a text, not integer"]),
    (
        "",
        "direction = 'two_way'",
        "",
        &["s.toml:7:1: 'direction' is missing in [sync] (out: your app to the connected app; in: back; two_way: both)"],
    ),
    (
        "",
        "direction = 'two_way'",
        "direction = 'twoway'",
        &["s.toml:11:13: 'direction' must be one of out, in, two_way, not 'twoway' (did you mean 'two_way'?)"],
    ),
    ("", "direction = 'two_way'", "direction = 2", &["s.toml:11:13: 'direction' must be a text, not integer"]),
    (
        "",
        "match = ['email']",
        "",
        &[
            "s.toml:7:1: 'match' is missing in [sync]: a record that both sides have already would be doubled (write match = [\"email\"], a field that tells records apart, or match = [] if they have none in common)",
        ],
    ),
    ("", "match = ['email']", "match = 'email'", &["s.toml:12:9: 'match' must be a list, not string"]),
    (
        "",
        "match = ['email']",
        "match = ['emial']",
        &["s.toml:12:10: 'match' names 'emial', which is not among the fields (did you mean 'email'?)"],
    ),
    (
        "",
        "match = ['email']",
        "match = ['email']\nschedule = '5m'",
        &[
            "s.toml:13:12: 'schedule' cannot be '5m' (a schedule looks like 'every 5m' (ms, s, m, h or d; at least 10ms), or 'cron 30 6 * * MON-FRI in Europe/Zurich' (minute, hour, day, month, weekday; UTC where no zone is named))",
        ],
    ),
    (
        "",
        "match = ['email']",
        "match = ['email']\nschedule = 'cron 0 6 * * * in Europe/Zurch'",
        &[
            "s.toml:13:12: 'schedule' cannot be 'cron 0 6 * * * in Europe/Zurch' (there is no time zone 'Europe/Zurch'; did you mean 'Europe/Zurich'?)",
        ],
    ),
    (
        "",
        "match = ['email']",
        "match = ['email']\njitter = '5s'",
        &["s.toml:13:10: 'jitter' is without a 'schedule' (write schedule = \"every 5m\", or take 'jitter' away)"],
    ),
    (
        "",
        "match = ['email']",
        "match = ['email']\nschedule = 5",
        &["s.toml:13:12: 'schedule' must be a text, not integer"],
    ),
    (
        "",
        "match = ['email']",
        "match = ['email']\ninitial = 'newst'",
        &["s.toml:13:11: 'initial' must be one of app, remote, newest, ask, not 'newst' (did you mean 'newest'?)"],
    ),
    (
        "",
        "match = ['email']",
        "match = ['email']\ntie = 'newest'",
        &["s.toml:13:7: 'tie' must be one of app, remote, not 'newest'"],
    ),
    (
        "",
        "match = ['email']",
        "match = ['email']\nconnector = 'crn'",
        &["s.toml:13:13: there is no connector 'crn'; there is: crm (did you mean 'crm'?)"],
    ),
    (
        "",
        "match = ['email']",
        "match = ['email']\nconnector = 'desk'",
        &["s.toml:13:13: there is no connector 'desk'; there is: crm"],
    ),
    (
        "",
        "match = ['email']",
        "match = ['email']\nconnections = []",
        &[
            "s.toml:13:15: 'connections' is empty: the sync applies to none (name at least one, or take 'connections' away for all of the connector)",
        ],
    ),
    (
        "",
        "match = ['email']",
        "match = ['email']\nconnections = 'acme'",
        &["s.toml:13:15: 'connections' must be a list, not string"],
    ),
    (
        "",
        "match = ['email']",
        "match = ['email']\nconnections = ['acm']",
        &["s.toml:13:16: there is no connection 'acm' (did you mean 'acme'?)"],
    ),
    (
        "",
        "match = ['email']",
        "match = ['email']\nfilter = { emial = 'x' }",
        &["s.toml:13:12: 'filter' names 'emial', which is not among the fields (did you mean 'email'?)"],
    ),
    (
        "",
        "match = ['email']",
        "match = ['email']\nsheduel = 'every 5m'",
        &["s.toml:13:1: unknown key 'sheduel' in [sync] (did you mean 'schedule'?)"],
    ),
    ("", "[sync.fields]\nemail = 'properties.email'\n", "", &["s.toml:7:1: 'fields' is missing in [sync]"]),
    (
        "",
        "email = 'properties.email'",
        "email = { remot = 'properties.email' }",
        &["s.toml:14:11: unknown key 'remot' in [sync.fields.email] (did you mean 'remote'?)"],
    ),
    (
        "",
        "email = 'properties.email'",
        "email = 5",
        &["s.toml:14:9: 'email' must be a path or a table, not integer (write email = \"path.in.the.remote\")"],
    ),
];

/// What is wrong between tables.
const TOGETHER_PROBLEMS: &[Case] = &[
    (
        SECOND,
        "",
        "",
        &[
            "s.toml:2:1: connection 'acme' needs a 'scope': which of your app's records are its own (for example scope = \"acct_42\")",
        ],
    ),
    (
        SECOND,
        ID,
        "id = 'acme'\nscope = 'b'",
        &[
            "s.toml:22:9: connections 'acme' and 'globex' both sync 'contacts' in scope 'b' (give each connection its own 'scope')",
        ],
    ),
    (
        SECOND,
        "id = 'globex'",
        "id = 'acme'",
        &[
            "s.toml:2:1: connection 'acme' needs a 'scope': which of your app's records are its own (for example scope = \"acct_42\")",
            "s.toml:17:6: connection 'acme' stands in line 3 already (give each its own name)",
        ],
    ),
    (SECOND, ID, "id = 'acme'\nscope = 'a'\nscope = 'a'", &["s.toml:5:1: duplicate key"]),
    (
        "[[sync]]\nname = 'contacts'\napp = 'a'\nremote = 'contacts'\ndirection = 'in'\nmatch = []\nfields = { a = 'a' }",
        "",
        "",
        &["s.toml:16:8: sync 'contacts' stands in line 8 already (give each its own name)"],
    ),
    (
        "[[sync]]\nname = 'two'\napp = 'contacts'\nremote = 'contacts'\ndirection = 'in'\nmatch = []\nfields = { a = 'a' }",
        "",
        "",
        &[
            "s.toml:16:8: syncs 'contacts' and 'two' are for the same objects of connection 'acme' (make them one sync, or give both a 'filter' so that no record is in both)",
        ],
    ),
    (
        "[[connection]]\nid = 'd'\nscope = 'x'\nconnector = 'connectors/desk.toml'\nbase_url = 'https://d.example.com'\nauth = { basic = { user = 'u', password = '${P}' } }\n",
        ID,
        "id = 'acme'\nscope = 'a'",
        &[
            "s.toml:8:1: 'connector' is missing in [sync], and there are several (write connector = \"crm\", the name in one of the connector files)",
        ],
    ),
    (
        "[[connection]]\nid = 'd'\nscope = 'x'\nconnector = 'connectors/twin.toml'\nbase_url = 'https://d.example.com'\nauth = { bearer = '${P}' }\n",
        ID,
        "id = 'acme'\nscope = 'a'",
        &[
            "s.toml:19:13: this connector file is named 'crm', as another one is, in line 5 (give each connector file its own name)",
        ],
    ),
    (
        "[[connection]]\nid = 'd'\nscope = 'x'\nconnector = 'connectors/broken.toml'\nbase_url = 'https://d.example.com'\nauth = { bearer = '${P}' }\n",
        ID,
        "id = 'acme'\nscope = 'a'",
        &[
            "connectors/broken.toml:1:8: 'name' must be a text, not integer",
            "connectors/broken.toml:2:1: [object.contacts.list] is missing: how are all records listed? (add path = \"/contacts\", or list = { get = \"/contacts\" })",
        ],
    ),
    (
        "",
        "remote = 'contacts'",
        "remote = 'invoices'",
        &[
            "s.toml:10:10: direction = \"two_way\" writes to 'invoices', but connector 'crm' has no [object.invoices.create] (declare it in the connector file, or choose another direction)",
            "s.toml:10:10: direction = \"two_way\" writes to 'invoices', but connector 'crm' has no [object.invoices.update] (declare it in the connector file, or choose another direction)",
        ],
    ),
    ("[embedded]", "", "", &["s.toml:15:1: 'listen' is missing in [embedded]"]),
    ("[embedded]\nlisten = 8080", "", "", &["s.toml:16:10: 'listen' must be a text, not integer"]),
    (
        "[embedded]\nlisten = 'localhost'",
        "",
        "",
        &["s.toml:16:10: 'listen' is not an address with a port: 'localhost' (for example 127.0.0.1:8080)"],
    ),
    (
        "[embedded]\nlisten = '0.0.0.0:80'",
        "",
        "",
        &[
            "s.toml:16:10: 'listen' is open to other machines, and no 'token' is asked for (add token = \"${APP_TOKEN}\", or listen on 127.0.0.1)",
        ],
    ),
    ("[embedded]\nlisten = '0.0.0.0:80'\ntoken = ''", "", "", &["s.toml:17:9: 'token' is empty"]),
    (
        "[embedded]\nlisten = '127.0.0.1:80'\ntokn = 'x'",
        "",
        "",
        &["s.toml:17:1: unknown key 'tokn' in [embedded] (did you mean 'token'?)"],
    ),
    (
        "[embedded]\nlisten = '127.0.0.1:80'\n[app]\nconnector = 'connectors/myapp.toml'\nbase_url = 'https://a.example.com'\nauth = { key = '${K}' }",
        "app = 'contacts'",
        "app = 'people'",
        &["s.toml:15:1: [embedded] stands beside [app] ([app] says where your app's records are: keep one of the two)"],
    ),
    (APP, "", "", &["s.toml:9:7: connector 'myapp' has no object 'contacts'; it has: people"]),
    (
        APP,
        "app = 'contacts'",
        "app = 'people'\nx = 1",
        &[
            "s.toml:10:1: unknown key 'x' in [sync] (known keys: app, connections, connector, direction, fields, filter, initial, jitter, match, name, overrides, remote, schedule, schema, tie)",
        ],
    ),
    (
        APP,
        ID,
        "id = 'acme'\nscope = 'a'",
        &[
            "s.toml:4:9: the scope of connection 'acme' has no effect: all records of [app] are synced (put {scope} into the base_url of [app], or take 'scope' away)",
            "s.toml:10:7: connector 'myapp' has no object 'contacts'; it has: people",
        ],
    ),
    (
        "[app]\nconnector = 'connectors/myapp.toml'\nbase_url = 'https://a.example.com/{scope}'\nauth = { key = '${K}' }",
        "app = 'contacts'",
        "app = 'people'",
        &[
            "s.toml:2:1: connection 'acme' needs a 'scope': [app] has {scope} in its base_url (for example scope = \"acct_42\")",
        ],
    ),
    (
        "[app]\nconnector = 'connectors/myapp.toml'\nbase_url = 'https://{scope}.example.com/'\nauth = { key = '${K}' }",
        "app = 'contacts'",
        "app = 'people'",
        &[
            "s.toml:2:1: connection 'acme' needs a 'scope': [app] has {scope} in its base_url (for example scope = \"acct_42\")",
            "s.toml:17:12: '{scope}' must be a whole segment of the path (write it as a part of the path: https://api.example.com/accounts/{scope})",
        ],
    ),
    (
        "[app]\nconnector = 'connectors/myapp.toml'\nbase_url = 'https://a.example.com/'\nauth = { bearer = '${K}' }\nscope = 'x'",
        "app = 'contacts'",
        "app = 'people'",
        &[
            "s.toml:18:8: 'bearer' does not fit connector 'myapp', which declares auth kind 'header' (write auth = { key = \"${KEY}\" })",
            "s.toml:19:1: unknown key 'scope' in [app] (known keys: allow_private, auth, base_url, ca, concurrency, connector, limits)",
        ],
    ),
    (
        "[app]\nconnector = 'connectors/myapp.toml'\nbase_url = 'https://a.example.com/'\nauth = { key = '${K}' }\n[[connection]]\nid = 'b'\nconnector = 'connectors/crm.toml'\nbase_url = 'https://b.example.com'\nauth = { bearer = '${T}' }",
        "app = 'contacts'",
        "app = 'people'",
        &[
            "s.toml:19:1: connections 'acme' and 'b' both sync 'people' of [app], which has one set of records for all (put {scope} into the base_url of [app] and give each connection its own 'scope')",
        ],
    ),
    (
        "[app]\nconnector = 'connectors/desk.toml'\nbase_url = 'https://a.example.com/'\nauth = { basic = { user = 'u', password = '${P}' } }",
        "app = 'contacts'",
        "app = 'tickets'",
        &[
            "s.toml:9:7: direction = \"two_way\" writes to 'tickets', but connector 'desk' has no [object.tickets.create] (declare it in the connector file, or choose another direction)",
            "s.toml:9:7: direction = \"two_way\" writes to 'tickets', but connector 'desk' has no [object.tickets.update] (declare it in the connector file, or choose another direction)",
        ],
    ),
    (
        "",
        "state =",
        "app = 'x'\nembedded = 1\nsync = 1\nstate =",
        &[
            "s.toml:1:7: 'app' must be a table, not string",
            "s.toml:2:12: 'embedded' must be a table, not integer",
            "s.toml:3:8: 'sync' must be a list, not integer",
            "s.toml:10:3: duplicate key",
            "s.toml:16:2: cannot extend value of type integer with a dotted key",
        ],
    ),
    (
        "x = [",
        "",
        "",
        &[
            "s.toml:15:5: 'x' must be a path or a table, not array (write x = \"path.in.the.remote\")",
            "s.toml:15:6: unclosed array, expected `]`",
        ],
    ),
    (
        "",
        GOOD,
        "state = 'a'",
        &[
            "s.toml:1:1: there is no [[connection]] (without one nothing is synced)",
            "s.toml:1:1: there is no [[sync]] (without one nothing is synced)",
        ],
    ),
    (
        "",
        GOOD,
        "",
        &[
            "s.toml:1:1: there is no [[connection]] (without one nothing is synced)",
            "s.toml:1:1: there is no [[sync]] (without one nothing is synced)",
        ],
    ),
];

#[test]
fn each_mistake_is_told_with_its_place() {
    for (more, from, to, want) in CONNECTION_PROBLEMS.iter().chain(SYNC_PROBLEMS).chain(TOGETHER_PROBLEMS) {
        let text = with(&(GOOD.to_owned() + more), from, to);
        match parse_text(&text) {
            Ok(_) => panic!("nothing is wrong with\n{text}"),
            Err(lines) => assert_eq!(lines, *want, "\n{text}"),
        }
    }
}

#[test]
fn mistakes_of_all_files_are_told_together() {
    let text = with(GOOD, "state = 'x.redb'", "stat = 'x.redb'") + SECOND;
    let text = with(&with(&text, "match =", "macth ="), URL, "base_url = 'x'");
    let text = with(&text, "crm.toml'\nbase_url = 'https", "broken.toml'\nbase_url = 'https");
    let lines = parse_text(&text).unwrap_err();
    let places: Vec<&str> = lines.iter().map(|line| line.split(": ").next().unwrap()).collect();
    let want = [
        "s.toml:1:1",
        "s.toml:2:1",
        "s.toml:5:12",
        "s.toml:7:1",
        "s.toml:12:1",
        "connectors/broken.toml:1:8",
        "connectors/broken.toml:2:1",
    ];
    assert_eq!(places, want, "{lines:#?}");
}

#[test]
fn doubtful_things_are_warned_of() {
    let text = with(GOOD, "${CRM_TOKEN}", SECRET).replace("match = ['email']\n", "");
    let text = with(&text, "'two_way'", "'out'").replace("'contacts'\ndirection", "'companies'\ndirection");
    let text = with(&text, "[[sync]]\n", &format!("scope = 'a'\n{SECOND}[[sync]]\nconnections = ['globex']\n"));
    let config = parse_text(&text).unwrap();
    assert_eq!(
        config.warnings(),
        [
            "s.toml:3:6: no sync applies to connection 'acme'",
            "s.toml:6:19: 'bearer' is a secret that stands in this file (write \"${NAME}\" and set that environment variable, or \"${file:PATH}\")",
            "s.toml:10:6: connections 'acme' and 'globex' have the same address and credentials (each is meant to be another customer's account)",
            "s.toml:15:1: 'match' is missing in [sync]: a record that both sides have already would be doubled \
             (write match = [\"email\"], a field that tells records apart, or match = [] if they have none in common)",
            "s.toml:19:10: direction = \"out\" writes to 'companies', but connector 'crm' has no \
             [object.companies.delete] (deletions are not carried there)",
        ]
    );
}

#[test]
fn no_text_makes_it_panic() {
    let whole = std::fs::read_to_string(fixtures().join("full.toml")).unwrap() + APP;
    let letters: Vec<char> = whole.chars().collect();
    for seed in 0..1_000 {
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let mut text = letters.clone();
        for _ in 0..random.usize(1..4) {
            let from = random.usize(..text.len());
            let to = (from + random.usize(..40)).min(text.len());
            let piece: Vec<char> = text[from..to].to_vec();
            match random.u8(..3) {
                0 => drop(text.drain(from..to)),
                1 => drop(text.splice(from..from, piece)),
                _ => text.insert(from, *random.choice(&['"', '{', '}', '$', '[', ']', '=', '\n', 'é', '\0']).unwrap()),
            }
        }
        let text: String = text.into_iter().collect();
        if let Err(lines) = parse_text(&text) {
            assert!(!lines.is_empty() && lines.iter().all(|line| line.contains(':')), "{lines:?}");
        }
    }
}

/// A configuration that takes webhooks.
fn hooked(webhook: &str, receive: &str) -> String {
    let text = with(GOOD, "connectors/crm.toml", "connectors/hooked.toml");
    let text = with(&text, "[[sync]]", &format!("webhook = {{ {webhook} }}\n[[sync]]"));
    format!("{text}\n{receive}")
}

#[test]
fn webhooks_come_in_where_it_is_said_and_their_paths_are_secrets() {
    let receive = "[receive]\nlisten = '127.0.0.1:8100'\nurl = 'https://sync.example.com/'\ntoken = '${EVENTS}'\n";
    let config =
        parse_text(&hooked("path = '${HOOK}', secrets = ['${HOOK_SECRET}'], account = '62'", receive)).unwrap();
    let webhook = config.connections[0].webhook.as_ref().unwrap();
    assert_eq!(webhook.url(), format!("https://sync.example.com/webhooks/{SECRET}-0123456789"));
    assert_eq!((webhook.secrets.len(), webhook.account.as_deref()), (1, Some("62")));
    assert!(config.receive.as_ref().unwrap().token.is_some());
    assert!(!format!("{config:?}").contains(SECRET));
    assert_eq!(config.warnings(), [""; 0]);
}

#[test]
fn wrong_webhooks_are_told_with_what_to_do() {
    const RECEIVE: &str = "[receive]\nlisten = '127.0.0.1:8100'\n";
    const HOOK: &str = "path = '${HOOK}', secret = '${HOOK_SECRET}'";
    for (text, said) in [
        (hooked(HOOK, ""), "there is no [receive] for webhooks to come in"),
        (
            hooked(HOOK, "[receive]\nlisten = '127.0.0.1:8100'\nconnections = 0\n"),
            "'connections' must be from 1 to 100000, not 0",
        ),
        (hooked("secret = '${HOOK_SECRET}'", RECEIVE), "'path' is missing"),
        (hooked("path = '${HOOK}'", RECEIVE), "it has no secret"),
        (hooked("path = 'short', secret = '${HOOK_SECRET}'", RECEIVE), "fewer than 16 characters"),
        (hooked("path = 'a/b/c/d/e/f/g/h/i', secret = '${HOOK_SECRET}'", RECEIVE), "letters, digits"),
        (hooked("path = '${HOOK}', secret = 'plain text'", RECEIVE), "is not base64 after 'whsec_'"),
        (hooked("path = '${HOOK}', secret = '${UNSET}'", RECEIVE), "'UNSET'"),
        (hooked("path = '${HOOK}', secret = 'a', secrets = ['b']", RECEIVE), "'secret' stands beside 'secrets'"),
        (hooked("path = '${HOOK}', secrets = 'a'", RECEIVE), "'secrets' must be"),
        (hooked("path = '${HOOK}', secrets = ['a', 'b', 'c', 'd']", RECEIVE), "more than 3 secrets"),
        (hooked("path = '${HOOK}', secret = '${HOOK_SECRET}', acount = '1'", RECEIVE), "did you mean 'account'?"),
        (hooked(HOOK, "[receive]\n"), "'listen' is missing"),
        (hooked(HOOK, "[receive]\nlisten = 'here'\n"), "'listen' is not an address with a port"),
        (hooked(HOOK, "[receive]\nlisten = '127.0.0.1:1'\nurl = 'sync.example.com'\n"), "'url' is not where others"),
        (hooked(HOOK, "[receive]\nlisten = '127.0.0.1:1'\nurl = 'https://x/?y'\n"), "'url' is not where others"),
        (hooked(HOOK, "[receive]\nlistn = '127.0.0.1:1'\n"), "did you mean 'listen'?"),
        (with(&hooked(HOOK, RECEIVE), "hooked.toml", "crm.toml"), "declares no [webhook]"),
    ] {
        let lines = parse_text(&text).map(|_| ()).unwrap_err();
        assert!(lines.iter().any(|line| line.contains(said)), "{said}: {lines:#?}");
    }
}

/// As the file of [`GOOD`] takes it, in a scope of its own.
const MORE: &str = "\
id = 'initech'
scope = 'acct 3'
connector = 'connectors/crm.toml'
base_url = 'https://api.example.com'
auth = { bearer = '${CRM_TOKEN}' }
";

fn add(config: &Config, text: &str) -> Result<Added, Vec<String>> {
    let read_file = |path: &Path| match path.to_str() {
        Some("token") => Ok(format!("{SECRET}-of-a-file\n")),
        _ => Err(io::Error::from(io::ErrorKind::NotFound)),
    };
    config.read_added("more.toml", text, &env, &read_file).map_err(|error| {
        assert!(!error.to_string().contains(SECRET), "{error}");
        error.lines
    })
}

fn good() -> Config {
    parse_text(GOOD).unwrap()
}

#[test]
fn connections_are_added_to_what_the_file_says() {
    let config = good();
    let added = add(&config, MORE).unwrap();
    assert_eq!(added.warnings, [""; 0]);
    let [one] = &added.connections[..] else { panic!("{added:?}") };
    assert_eq!((one.id.as_str(), one.connector(), one.syncs.len()), ("initech", "crm", 1));
    assert_eq!(one.scope, Some("acct 3".into()));
    // What is kept says the same when it is read again.
    let again = add(&config, one.document()).unwrap();
    assert_eq!(one.changes_to(&again.connections[0]), [""; 0]);
    assert_eq!(again.connections[0].document(), one.document());
    // Several at once, by the connector's name, with a secret of a file.
    let many = format!(
        "[[connection]]\n{}\n[[connection]]\n{}",
        MORE.replace("connectors/crm.toml", "crm"),
        MORE.replace("initech", "hooli").replace("acct 3", "acct 4").replace("${CRM_TOKEN}", "${file:token}"),
    );
    let many = add(&config, &many).unwrap();
    assert_eq!(many.connections.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["initech", "hooli"]);
    assert!(!format!("{many:?}{:?}", many.connections[1].document()).contains(SECRET));
    let literal = add(&config, &MORE.replace("${CRM_TOKEN}", SECRET)).unwrap();
    assert_eq!(literal.warnings.len(), 1);
    assert!(literal.warnings[0].starts_with("more.toml:5:19: 'bearer' is a secret that stands in this file"));
    assert!(!format!("{literal:?}").contains(SECRET));
}

#[test]
fn what_is_wrong_with_an_added_connection_is_told_with_its_place() {
    let config = good();
    for (find, replace, told) in [
        (
            "'connectors/crm.toml'",
            "'crn'",
            "more.toml:3:13: the configuration has no connector 'crn' (did you mean 'crm'?)",
        ),
        (
            "'connectors/crm.toml'",
            "'/etc/passwd'",
            "more.toml:3:13: the configuration has no connector '/etc/passwd' (it has: crm; or name its file in \
             'connectors' there, and reload)",
        ),
        (
            "scope = 'acct 3'\n",
            "",
            "more.toml:1:1: connection 'initech' needs a 'scope': which of your app's records are its own (for example \
             scope = \"acct_42\")",
        ),
        ("scope =", "scop =", "unknown key 'scop' in the top (did you mean 'scope'?)"),
        ("id = 'initech'", "id = ''", "more.toml:1:6: 'id' is empty"),
        ("${CRM_TOKEN}", "${UNSET}", "environment variable 'UNSET', used in 'bearer', is not set"),
        ("${CRM_TOKEN}", "${file:nowhere}", "nowhere, used in 'bearer', cannot be read"),
        (
            "auth =",
            "syncs = ['contact']\nauth =",
            "no sync 'contact' applies to this connection (did you mean 'contacts'?)",
        ),
        ("auth =", "syncs = []\nauth =", "'syncs' is empty: nothing is synced"),
        ("auth =", "webhook = { path = '${HOOK}' }\nauth =", "there is no [receive] for webhooks to come in"),
        ("id =", "id = = ", "more.toml:1:"),
        ("id =", "[sync]\nid =", "'id' is missing in the top"),
    ] {
        let lines = add(&config, &MORE.replacen(find, replace, 1)).unwrap_err();
        assert!(lines.iter().any(|line| line.contains(told)), "{told}\n{lines:#?}");
    }
    let twice = format!("[[connection]]\n{MORE}[[connection]]\n{MORE}");
    let lines = add(&config, &twice).unwrap_err();
    assert!(lines.iter().any(|line| line.contains("connection 'initech' stands in line 2 already")), "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("both sync 'contacts' in scope 'acct 3'")), "{lines:#?}");
}

#[test]
fn a_file_may_leave_all_connections_to_come() {
    let text = GOOD.replace("[[connection]]\n", "").replace("id = 'acme'\n", "");
    let text = text.replace("connector = 'connectors/crm.toml'\n", "connectors = ['connectors/crm.toml']\n");
    let text =
        text.replace("base_url = 'https://api.example.com'\n", "").replace("auth = { bearer = '${CRM_TOKEN}' }\n", "");
    let config = parse_text(&text).unwrap();
    assert!(config.connections.is_empty());
    assert_eq!(add(&config, MORE).unwrap().connections[0].syncs.len(), 1);
    for (find, replace, told) in [
        ("contacts'\ndirection", "contact'\ndirection", "connector 'crm' has no object 'contact'; it has: "),
        (
            "name = 'contacts'",
            "name = 'contacts'\nconnector = 'crn'",
            "there is no connector 'crn'; there is: crm (did you mean 'crm'?)",
        ),
        ("['connectors/crm.toml']", "['connectors/crn.toml']", "'connector': failed to read connectors/crn.toml"),
        ("connectors = ['connectors/crm.toml']\n", "", "there is no [[connection]] (without one nothing is synced)"),
    ] {
        let lines = parse_text(&text.replacen(find, replace, 1)).unwrap_err();
        assert!(lines.iter().any(|line| line.contains(told)), "{told}\n{lines:#?}");
    }
    let twice =
        format!("{text}\n{}", text[text.find("[[sync]]").unwrap()..].replace("'contacts'\napp", "'again'\napp"));
    let lines = parse_text(&twice).unwrap_err();
    let told = "syncs 'contacts' and 'again' are for the same objects of connector 'crm'";
    assert!(lines.iter().any(|line| line.contains(told)), "{lines:#?}");
}

#[test]
fn another_reading_tells_what_it_says_otherwise() {
    let text = format!("connectors = ['connectors/crm.toml']\n{GOOD}");
    let before = parse_text(&text).unwrap();
    let changes = |find: &str, replace: &str| {
        assert!(text.contains(find), "{find}");
        let later = parse_text(&text.replacen(find, replace, 1)).unwrap();
        let mut told = before.connections[0].changes_to(&later.connections[0]);
        told.extend(before.after_restart(&later));
        told
    };
    for (find, replace, told) in [
        ("id = 'acme'", "# a remark\nid   = \"acme\"", &[][..]),
        ("auth = { bearer = '${CRM_TOKEN}' }", "auth.bearer = '${CRM_TOKEN}'", &[]),
        ("https://api.example.com", "https://api2.example.com", &["base_url"]),
        ("${CRM_TOKEN}", "${GLOBEX_HOST}", &["auth", "what is filled in"]),
        ("id = 'acme'", "id = 'acme'\npaused = true", &[]),
        ("id = 'acme'", "id = 'acme'\nconcurrency = 2", &["concurrency"]),
        ("email = 'properties.email'", "email = 'properties.mail'", &["sync 'contacts'"]),
        ("x.redb", "y.redb", &["state"]),
        ("state =", "late_after = '1h'\nstate =", &["late_after"]),
    ] {
        assert_eq!(changes(find, replace), told, "{replace}");
    }
}

#[test]
fn expressions_of_a_field_are_checked_when_the_file_is_loaded() {
    let with = |field: &str| {
        parse_text(&GOOD.replace(
            "email = 'properties.email'",
            &format!("email = 'properties.email'\nx = {{ remote = 'x', {field} }}"),
        ))
    };
    with("to_remote = 'value | join(\";\")', to_app = 'value | split(\";\")'").unwrap();
    // Beyond what a float counts exactly a cent is lost; a rule keeps such values away.
    let cents = "to_remote = '(value * 100) | round | int', to_app = '(value | round) / 100'";
    assert!(with(cents).unwrap_err()[0].contains("cannot be undone: 9007199254740993 becomes"));
    with(&format!("{cents}, min = -1000000000, max = 1000000000")).unwrap();
    with("transform = 'trim', to_remote = 'value ~ \"!\"', to_app = 'value[:-1]'").unwrap();
    for (field, told) in [
        (
            "to_remote = 'value | upper'",
            "'to_app' is missing in the field 'x' (write both ways: what is written has to be read back)",
        ),
        ("to_app = 'value | upper'", "'to_remote' is missing in the field 'x'"),
        ("to_remote = 'value | uper', to_app = 'value'", "'to_remote' cannot be 'value | uper' (unknown filter: "),
        ("to_remote = 'value |', to_app = 'value'", "'to_remote' cannot be 'value |' (syntax error: "),
        ("to_remote = 'value ~ \"x\"', to_app = 'value'", "the transform of 'x' cannot be undone"),
        // Case is not undone in every language: both sides hold one form, as with `transform`.
        ("to_remote = 'value | upper', to_app = 'value | lower'", "the transform of 'x' cannot be undone"),
        (
            "to_remote = 'value', to_app = 'value', boolean = { true = 1, false = 0 }",
            "'boolean' and 'to_remote' both say what the remote's form is",
        ),
        ("to_remote = 5, to_app = 'value'", "'to_remote' must be a text, not integer"),
    ] {
        let lines = with(field).unwrap_err();
        assert!(lines.iter().any(|line| line.contains(told)), "{told}\n{lines:#?}");
    }
    // Where nothing is written back one way is enough.
    let one_way = GOOD.replace("two_way", "in").replace(
        "email = 'properties.email'",
        "email = 'properties.email'\nx = { remote = 'x', to_app = 'value | first' }",
    );
    parse_text(&one_way).unwrap();
}

/// A configuration with a sync that lets connections declare fields, and two connections of it.
fn with_fields(overrides: &str, acme: &str, globex: &str) -> String {
    let sync = "[[sync]]\nname = 'contacts'\napp = 'contacts'\nremote = 'contacts'\ndirection = 'two_way'\n\
                match = ['email']\nfields.email = 'properties.email'\n\
                fields.phone = { remote = 'properties.phone', transform = 'trim', max_length = 20 }\n\
                fields.tier = { remote = 'properties.tier', values = { free = 'F', pro = 'P' } }\n";
    let connection = |id: &str, fields: &str| {
        format!(
            "[[connection]]\nid = '{id}'\nscope = '{id}'\nconnector = 'connectors/crm.toml'\n\
             base_url = 'https://{id}.example.com'\nauth = {{ bearer = '${{CRM_TOKEN}}' }}\n{fields}\n"
        )
    };
    format!("{}{}{sync}{overrides}\n", connection("acme", acme), connection("globex", globex))
}

#[test]
fn a_connection_declares_fields_of_its_own() {
    let acme = "fields.contacts.phone = 'properties.custom_17'\nfields.contacts.vip = 'properties.vip'";
    let config = parse_text(&with_fields("overrides = 'replace'", acme, "")).unwrap();
    let [own, plain] = [0, 1].map(|at| &config.connections[at].syncs[0].mapping);
    assert_eq!(plain.field_identities().len(), 3);
    assert_eq!(own.field_identities().len(), 4);
    assert_eq!(own.fields[1].paths.remote.to_string(), "properties.custom_17");
    assert!(own.field_identities()[1].ends_with(" trim"), "what is not said stays: {:?}", own.field_identities());
    assert!(own.check(1, Some(&crate::model::value::Value::string("1".repeat(21)))).is_err());
    assert_ne!(own.hash, plain.hash, "it takes effect as a changed mapping does");
    // Other values take the place of those of the sync, and of no other key.
    let tier = "fields.contacts.tier.values = { free = '0', pro = '1', gold = '2' }";
    let config = parse_text(&with_fields("overrides = ['tier']", tier, tier)).unwrap();
    let own = &config.connections[0].syncs[0];
    assert_eq!(own.mapping.fields[2].paths.remote.to_string(), "properties.tier");
    let gold = crate::model::value::Value::string("gold");
    let spelled = own.mapping.to_side(Side::Remote, 2, Some(&gold)).unwrap();
    assert_eq!(spelled, Some(crate::model::value::Value::string("2")));
    assert!(Arc::ptr_eq(own, &config.connections[1].syncs[0]), "those that say the same share it");
}

#[test]
fn connections_share_what_they_say_alike() {
    let text = with_fields("overrides = 'add'", "", "fields.contacts.vip = 'properties.vip'");
    let config = parse_text(&text).unwrap();
    let more = |id: &str, fields: &str| {
        let text = MORE.replace("initech", id).replace("acct 3", id).replace("auth =", &format!("{fields}\nauth ="));
        add(&config, &text).map(|added| added.connections[0].clone())
    };
    let of = |connection: &ConfiguredConnection| Arc::clone(&connection.syncs[0]);
    let plain: Vec<_> = (0..3).map(|n| of(&more(&format!("p{n}"), "").unwrap())).collect();
    assert!(plain.iter().all(|spec| Arc::ptr_eq(spec, &config.connections[0].syncs[0])));
    let vip: Vec<_> =
        (0..3).map(|n| of(&more(&format!("v{n}"), "fields.contacts.vip = 'properties.vip'").unwrap())).collect();
    assert!(vip.iter().all(|spec| Arc::ptr_eq(spec, &config.connections[1].syncs[0])));
    let other = of(&more("o", "fields.contacts.vip = 'properties.important'").unwrap());
    assert!(!Arc::ptr_eq(&other, &vip[0]));
    // What a connection says about fields stands in its document, and a change of it is told.
    let (before, after) = (more("x", "").unwrap(), more("x", "fields.contacts.vip = 'properties.vip'").unwrap());
    assert_eq!(before.changes_to(&after), ["fields"]);
    let again = add(&config, after.document()).unwrap();
    assert!(Arc::ptr_eq(&again.connections[0].syncs[0], &vip[0]), "{}", after.document());
}

#[test]
fn what_a_connection_may_not_say_about_fields_is_told_at_its_place() {
    for (overrides, fields, told) in [
        (
            "",
            "vip = 'p.vip'",
            "sync 'contacts' does not let a connection add 'vip' (write overrides = [\"vip\"] in the sync",
        ),
        ("", "phone = 'p.x'", "sync 'contacts' does not let a connection say otherwise what is 'phone'"),
        (
            "overrides = 'add'",
            "phone = 'p.x'",
            "(its overrides are \"add\": write \"replace\", or a list with \"phone\")",
        ),
        ("overrides = ['phone']", "vip = 'p.vip'", "(its overrides are phone: add \"vip\")"),
        ("overrides = 'ad'", "vip = 'p.vip'", "'overrides' must be a list of fields, or one of add, replace, not 'ad'"),
        ("overrides = []", "vip = 'p.vip'", "'overrides' is empty"),
        ("overrides = 'add'", "vip = 'properties.email'", "'vip' and 'email' overlap in the remote"),
        ("overrides = 'add'", "vip = { app = 'phone', remote = 'p.x' }", "'vip' and 'phone' overlap in the app"),
        ("overrides = 'add'", "vip = { remote = 'p.x', owner = 'ap' }", "'owner' must be one of app, remote, shared"),
        (
            "overrides = 'add'",
            "vip = { remote = 'p.x', onwer = 'app' }",
            "unknown key 'onwer' in [connection.fields.contacts.vip]",
        ),
        ("overrides = 'replace'", "phone = { to_remote = 'value ~ \"x\"', to_app = 'value' }", "cannot be undone"),
        ("overrides = 'replace'", "phone = { min_length = 30 }", "'max_length' (20) is less than 'min_length' (30)"),
        (
            "overrides = 'replace'",
            "email = { constant = 'x', owner = 'app' }",
            "'email' is a constant, by which no two records",
        ),
        (
            "overrides = 'replace'",
            "tier = { date = { remote = 'ms' }, values = { a = 'A' } }",
            "both say what the remote's form is",
        ),
    ] {
        let acme = format!("[connection.fields.contacts]\n{fields}");
        let text = with_fields(overrides, &acme, "");
        let lines = match parse_text(&text) {
            Err(lines) => lines,

            Ok(_) => panic!("{fields} is taken"),
        };
        let line = lines.iter().find(|line| line.contains(told)).unwrap_or_else(|| panic!("{told}\n{lines:#?}"));
        let at: usize = line.split(':').nth(1).unwrap().parse().unwrap();
        let stands = text.lines().nth(at - 1).unwrap();
        let own = stands.starts_with("overrides") || stands == fields || stands == "[connection.fields.contacts]";
        assert!(own, "{line} is told at {stands}");
    }
    for (fields, told) in [
        ("fields.contact.vip = 'p'", "no sync 'contact' applies to this connection (did you mean 'contacts'?)"),
        ("fields.contacts = 5", "'contacts' must be a table of fields, not"),
        ("fields = 5", "'fields' must be a table"),
    ] {
        let lines = parse_text(&with_fields("overrides = 'add'", fields, "")).unwrap_err();
        assert!(lines.iter().any(|line| line.contains(told)), "{told}\n{lines:#?}");
    }
    // In a document of its own the places are those of the document.
    let config = parse_text(&with_fields("overrides = 'add'", "", "")).unwrap();
    let text = MORE.replace("auth =", "fields.contacts.vip = 'properties.email'\nauth =");
    let lines = add(&config, &text).unwrap_err();
    let at = text.lines().position(|line| line.starts_with("fields")).unwrap() + 1;
    assert!(lines[0].starts_with(&format!("more.toml:{at}:")), "{lines:#?}");
    assert!(lines[0].contains("'vip' and 'email' overlap in the remote"), "{lines:#?}");
}

#[test]
#[cfg(feature = "json-schema")]
fn a_schema_is_read_from_its_file() {
    let with = |schema: &str, text: &'static str| {
        let read_file = move |path: &Path| match path.to_str() {
            Some("contact.json") => Ok(text.to_owned()),
            _ => std::fs::read_to_string(fixtures().join(path)),
        };
        let file = with_fields(&format!("schema = {schema}"), "", "");
        Config::parse("s.toml", &file, Path::new(""), &env, &read_file).map_err(|error| error.lines)
    };
    let good = "{ \"required\": [\"email\"] }";
    let config = with("'contact.json'", good).unwrap();
    let spec = &config.connections[0].syncs[0];
    assert!(spec.schemas.has(Side::App) && spec.schemas.has(Side::Remote));
    let remote = with("{ remote = 'contact.json' }", good).unwrap();
    assert!(!remote.connections[0].syncs[0].schemas.has(Side::App));
    // Another text in the same file is another sync.
    let later = with("'contact.json'", "{}").unwrap();
    assert_eq!(config.connections[0].changes_to(&later.connections[0]), ["sync 'contacts'"]);
    for (schema, text, told) in [
        ("'contact.json'", "{", "'schema' cannot be contact.json (it is not JSON: "),
        ("'contact.json'", "{ \"$ref\": \"https://x.io/y\" }", "must stand by itself"),
        ("'none.json'", good, "'schema': failed to read none.json"),
        ("5", good, "'schema' must be a text or a table, not integer"),
        ("{ remot = 'contact.json' }", good, "unknown key 'remot' in [schema] (did you mean 'remote'?)"),
    ] {
        let lines = with(schema, text).unwrap_err();
        assert!(lines.iter().any(|line| line.contains(told)), "{told}\n{lines:#?}");
    }
}

#[test]
fn wrong_references_are_told_with_what_to_do() {
    let text = |field: &str| format!("{GOOD}{field}\n");
    for (field, said) in [
        ("boss = { remote = 'b', references = 'contact' }", "'contact', which is no sync of this connection"),
        ("boss = { remote = 'b', references = 'contact' }", "it has: contacts"),
        ("boss = { remote = 'b', references = 7 }", "'references' must be the name of a sync or a table"),
        ("boss = { remote = 'b', references = { snyc = 'contacts' } }", "did you mean 'sync'?"),
        (
            "boss = { remote = 'b', references = { sync = 'contacts', app = 'digits' } }",
            "'app' must be one of text, number",
        ),
        ("boss = { remote = 'b', references = 'contacts', transform = 'trim' }", "'transform' means nothing"),
        ("boss = { remote = 'b', references = 'contacts', type = 'text' }", "'type' means nothing"),
        ("boss = { remote = ['b', 'c'], references = 'contacts' }", "no parts of one value"),
        (
            "boss = { remote = 'b', references = 'contacts', required = true }",
            "a new record would be written without it",
        ),
    ] {
        let lines = parse_text(&text(field)).map(|_| ()).unwrap_err();
        assert!(lines.iter().any(|line| line.contains(said)), "{said}: {lines:#?}");
    }
    let matched =
        with(&text("boss = { remote = 'b', references = 'contacts' }"), "match = ['email']", "match = ['boss']");
    let lines = parse_text(&matched).map(|_| ()).unwrap_err();
    assert!(lines.iter().any(|line| line.contains("not the same on the two sides")), "{lines:#?}");
    let filtered = "filter = { boss = 'a' }\n[sync.fields]";
    let filtered = with(&text("boss = { remote = 'b', references = 'contacts' }"), "[sync.fields]", filtered);
    assert!(parse_text(&filtered).is_err());
    assert!(parse_text(&text("boss = { remote = 'b', references = 'contacts' }")).is_ok());
}
