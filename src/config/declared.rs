//! The tables of the configuration file, each read by itself: what cannot be read is
//! noted and left out, so that the rest can be checked too.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use secrecy::SecretString;

use super::files::Outside;
use super::http::{HttpSide, http_side, secret, secrets};
use super::keys::{bounded, name, non_empty, shown, unknown, word};
use super::said::Said;
use super::variants::Variants;
use super::{DEFAULT_RECEIVED_AT_ONCE, EmbeddedApi, Receive};
use crate::actors::spec::SyncSpec;
use crate::model::direction::Direction;
use crate::model::document::{Located, Table, write_key};
use crate::model::hash::Digest;
use crate::model::ids::{ObjectName, Scope, SyncName};
use crate::model::schedule::Schedule;
use crate::model::side::{PerSide, Side};
use crate::reconcile::mapping::Mapping;
use crate::reconcile::merge::Initial;
use crate::reconcile::overrides::{Overridable, Overrides};
use crate::reconcile::schema::{RecordSchema, Schemas};
use crate::reconcile::spec::{DeclaredReference, MappingSpec};

const INITIALS: [(&str, Initial); 4] = [
    ("app", Initial::Side(Side::App)),
    ("remote", Initial::Side(Side::Remote)),
    ("newest", Initial::Newest),
    ("ask", Initial::Ask),
];

/// A `[[connection]]`.
pub(super) struct Connection {
    pub span: Range<usize>,
    pub id: Option<Located<String>>,
    pub scope: Option<Located<Scope>>,
    pub remote: HttpSide,
    pub webhook: Option<DeclaredWebhook>,
    pub paused: bool,
    /// Only these of the syncs that apply to it.
    pub syncs: Option<Located<Vec<Located<String>>>>,
    /// What it says otherwise than a sync about its fields.
    pub fields: Vec<FieldsOf>,
    /// What it says, key by key.
    pub said: Said,
    /// The same as TOML of its own.
    pub document: String,
}

/// What a connection says about the fields of one sync.
pub(super) struct FieldsOf {
    pub sync: Located<String>,
    pub overrides: Overrides,
    /// Of what it says: the same for all connections that say the same.
    pub said: Digest,
}

/// A connection's `webhook`.
pub(super) struct DeclaredWebhook {
    pub span: Range<usize>,
    pub path: Option<SecretString>,
    pub secrets: Option<Vec<SecretString>>,
    pub account: Option<String>,
}

/// A `[[sync]]`.
#[derive(Clone)]
pub(super) struct Sync {
    pub span: Range<usize>,
    pub name: Option<Located<String>>,
    /// Name of the connector it is for.
    pub connector: Option<Located<String>>,
    /// Only these connections.
    pub connections: Option<Located<Vec<Located<String>>>>,
    pub objects: PerSide<Option<Located<ObjectName>>>,
    pub direction: Option<Direction>,
    pub is_filtered: bool,
    /// The field rules as declared, for connections that say something else about them.
    pub rules: Option<Arc<MappingSpec>>,
    /// Which of them a connection may say otherwise.
    pub overrides: Option<Overridable>,
    /// What it is for connections that do.
    pub variants: Arc<Variants>,
    /// Its fields that name records of other syncs, and where they say so.
    pub references: Vec<DeclaredReference>,
    /// `None` when anything is wrong with it.
    pub spec: Option<Arc<SyncSpec>>,
    /// Of what it says.
    pub said: Digest,
}

pub(super) fn connection(table: Table<'_>, outside: &Outside<'_>) -> Connection {
    let id = name(&table, "id");
    let scope = table.item("scope").and_then(|_| scope(&table));
    let remote = http_side(&table, false, outside);
    let paused = table.boolean("paused").is_some_and(|paused| paused.value);
    let webhook = table.table("webhook").map(|table| webhook(table, outside));
    let syncs = names(&table, "syncs");
    let fields = table.table("fields").map(fields_of).unwrap_or_default();
    let span = table.span();
    let mut said = remote.said.clone().without("paused");
    said.add("what is filled in", outside.take_filled());
    let lines = table.canonical().into_iter();
    let document = lines.map(|(key, value)| format!("{} = {value}\n", write_key(&key))).collect();
    table.finish();
    Connection { span, id, scope, remote, webhook, paused, syncs, fields, said, document }
}

fn names(table: &Table<'_>, key: &str) -> Option<Located<Vec<Located<String>>>> {
    let item = table.item(key)?;
    let value = table.texts(key)?;
    Some(Located { value, span: item.span() })
}

/// Reads `[connection.fields]`: a table for each sync.
fn fields_of(table: Table<'_>) -> Vec<FieldsOf> {
    let problems = table.problems();
    let mut all = Vec::new();
    for (sync, item) in table.all() {
        let name = format!("connection.fields.{}", sync.value);
        let Ok(fields) = item.table(&name) else {
            let message = format!("'{}' must be a table of fields, not {}", shown(&sync.value), item.kind());
            problems.add_with_help(
                item.span(),
                message,
                "write [connection.fields.SYNC] with name = \"path\" for each",
            );
            continue;
        };
        let (overrides, said) = (Overrides::parse(&fields, &sync.value), Said::of(&fields).digest());
        all.push(FieldsOf { sync, overrides, said });
    }
    all
}

/// Reads `schema`: one file for your app's form, or one for each side's. With digests of what
/// the files hold.
fn schemas(table: &Table<'_>, outside: &Outside<'_>) -> (Schemas, Vec<Digest>) {
    let (mut schemas, mut texts) = (Schemas::default(), Vec::new());
    let Some(item) = table.item("schema") else { return (schemas, texts) };
    let problems = table.problems();
    let mut read = |written: Option<Located<String>>| {
        let written = written?;
        let text = outside.text("schema", &written, problems)?;
        texts.push(Digest::of(text.as_bytes()));
        let refuse = |reason: String| {
            let message = format!("'schema' cannot be {}", shown(&written.value));
            problems.add_with_help(written.span.clone(), message, reason);
        };
        RecordSchema::compile(&text).map_err(refuse).ok()
    };
    if let Ok(text) = item.text() {
        schemas.both = read(Some(text));
    } else if let Ok(sides) = item.table("schema") {
        schemas.sides = PerSide { app: read(sides.text("app")), remote: read(sides.text("remote")) };
        sides.finish();
    } else {
        let message = format!("'schema' must be a text or a table, not {}", item.kind());
        problems.add_with_help(item.span(), message, "write a file, or { app = \"file\", remote = \"file\" }");
    }
    (schemas, texts)
}

/// Which fields of a sync a connection may declare.
fn overridable(table: &Table<'_>) -> Option<Overridable> {
    let item = table.item("overrides")?;
    if item.list().is_ok() {
        let names = table.texts("overrides")?;
        if names.is_empty() {
            let help = "name the fields, or take 'overrides' away";
            table.problems().add_with_help(
                item.span(),
                "'overrides' is empty: it lets connections declare nothing",
                help,
            );
        }
        return Some(Overridable::Named(names.into_iter().map(|name| name.value).collect()));
    }
    let words = [("add", Overridable::Added), ("replace", Overridable::All)];
    let Ok(text) = item.text() else {
        let message = format!("'overrides' must be a text or a list, not {}", item.kind());
        table.problems().add_with_help(item.span(), message, "write \"add\", \"replace\", or a list of fields");
        return Some(Overridable::All);
    };
    let known = words.iter().find(|(word, _)| *word == text.value).map(|(_, what)| what.clone());
    if known.is_none() {
        let message =
            format!("'overrides' must be a list of fields, or one of add, replace, not '{}'", shown(&text.value));
        unknown(&text, message, words.iter().map(|(word, _)| *word), table.problems());
    }
    // One that is wrong is told of here, and not again with each field.
    Some(known.unwrap_or(Overridable::All))
}

fn webhook(table: Table<'_>, outside: &Outside<'_>) -> DeclaredWebhook {
    let path = secret(&table, "path", outside);
    let account = table.item("account").and_then(|_| name(&table, "account")).map(|account| account.value);
    let secrets = match (table.item("secret"), table.item("secrets")) {
        (None, None) => Some(Vec::new()),
        (Some(_), None) => secret(&table, "secret", outside).map(|secret| vec![secret]),
        (None, Some(_)) => secrets(&table, "secrets", outside),
        (Some(item), Some(_)) => {
            table.problems().add(item.span(), "'secret' stands beside 'secrets': keep one of the two");
            let _ = (table.text("secret"), table.texts("secrets"));
            None
        }
    };
    let span = table.span();
    table.finish();
    DeclaredWebhook { span, path, secrets, account }
}

/// Reads `[receive]`.
pub(super) fn receive(table: Table<'_>, outside: &Outside<'_>) -> Option<Receive> {
    let listen = listen(&table, "127.0.0.1:8100");
    let url = table.item("url").and_then(|_| non_empty(&table, "url"));
    let token = table.item("token").and_then(|_| secret(&table, "token", outside));
    let connections = table
        .integer("connections")
        .map_or(Some(DEFAULT_RECEIVED_AT_ONCE), |number| bounded(&number, "connections", 1, 100_000, table.problems()));
    if let Some(url) = &url {
        let parsed = url::Url::parse(&url.value).ok();
        let fits = parsed.is_some_and(|url| {
            matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.fragment().is_none()
        });
        if !fits {
            let message = format!("'url' is not where others reach this kernel: '{}'", shown(&url.value));
            table.problems().add_with_help(url.span.clone(), message, "for example https://sync.example.com");
        }
    }
    table.finish();
    let ((_, listen), connections) = (listen?, connections?);
    let url = url.map_or_else(|| format!("http://{listen}"), |url| url.value.trim_end_matches('/').to_owned());
    Some(Receive { listen, url, token, connections })
}

fn listen(table: &Table<'_>, example: &str) -> Option<(Located<String>, SocketAddr)> {
    let text = non_empty(table, "listen")?;
    match text.value.parse::<SocketAddr>() {
        Ok(address) => Some((text, address)),
        Err(_) => {
            let message = format!("'listen' is not an address with a port: '{}'", shown(&text.value));
            table.problems().add_with_help(text.span, message, format!("for example {example}"));
            None
        }
    }
}

fn scope(table: &Table<'_>) -> Option<Located<Scope>> {
    let text = name(table, "scope")?;
    // As segments of a path these two would mean the folder itself and the one above.
    if text.value == "." || text.value == ".." {
        table.problems().add(text.span, format!("'scope' must not be '{}'", text.value));
        return None;
    }
    Some(Located { value: Scope::new(text.value), span: text.span })
}

/// Reads `[app]`.
pub(super) fn app(table: Table<'_>, outside: &Outside<'_>) -> HttpSide {
    let mut side = http_side(&table, true, outside);
    side.said.add("what is filled in", outside.take_filled());
    table.finish();
    side
}

/// Reads `[embedded]`.
pub(super) fn embedded(table: Table<'_>, outside: &Outside<'_>) -> Option<EmbeddedApi> {
    let problems = table.problems();
    let before = problems.len();
    let listen = listen(&table, "127.0.0.1:8080");
    let token = table.item("token").and_then(|_| secret(&table, "token", outside));
    if let (Some((listen, address)), true) = (&listen, problems.len() == before)
        && token.is_none()
        && !address.ip().is_loopback()
    {
        let help = "add token = \"${APP_TOKEN}\", or listen on 127.0.0.1";
        problems.add_with_help(
            listen.span.clone(),
            "'listen' is open to other machines, and no 'token' is asked for",
            help,
        );
    }
    table.finish();
    Some(EmbeddedApi { listen: listen?.1, token })
}

pub(super) fn sync(table: Table<'_>, outside: &Outside<'_>) -> Sync {
    let problems = table.problems();
    let before = problems.len();
    let name = name(&table, "name");
    let connector = table.item("connector").and_then(|_| non_empty(&table, "connector"));
    let connections = names(&table, "connections");
    let object = |side: Side| {
        let text = non_empty(&table, side.as_str())?;
        Some(Located { value: ObjectName::new(text.value), span: text.span })
    };
    let objects = PerSide { app: object(Side::App), remote: object(Side::Remote) };
    let direction = direction(&table);
    check_match(&table, direction, outside);
    let is_filtered = table.item("filter").is_some();
    let rules = MappingSpec::parse(&table).map(Arc::new);
    let mapping =
        rules.as_ref().zip(direction).and_then(|(rules, direction)| Mapping::compile(rules, problems, direction));
    let overrides = overridable(&table);
    let (schemas, texts) = schemas(&table, outside);
    let references = rules.as_ref().map(|rules| rules.references()).unwrap_or_default();
    let initial = word(&table, "initial", &INITIALS);
    let tie = word(&table, "tie", &Side::BOTH.map(|side| (side.as_str(), side)));
    let schedule = schedule(&table);
    let span = table.span();
    let mut said = Said::of(&table);
    texts.into_iter().for_each(|text| said.add("schema", text));
    let said = said.digest();
    let spec = match (&name, &objects.app, &objects.remote, direction, mapping) {
        (Some(name), Some(app), Some(remote), Some(direction), Some(mapping)) if problems.len() == before => {
            Some(Arc::new(SyncSpec {
                name: SyncName::new(name.value.as_str()),
                objects: PerSide { app: app.value.clone(), remote: remote.value.clone() },
                direction,
                mapping,
                initial: initial.map(|initial| initial.value),
                tie: tie.map_or(Side::App, |tie| tie.value),
                schedule,
                schemas,
            }))
        }
        (Some(_) | None, Some(_) | None, Some(_) | None, Some(_) | None, Some(_) | None) => None,
    };
    table.finish();
    let variants = Arc::default();
    Sync {
        span,
        name,
        connector,
        connections,
        objects,
        direction,
        is_filtered,
        rules,
        overrides,
        variants,
        references,
        spec,
        said,
    }
}

fn direction(table: &Table<'_>) -> Option<Direction> {
    if table.item("direction").is_none() {
        let help = "out: your app to the connected app; in: back; two_way: both";
        let message = format!("'direction' is missing in {}", table.name());
        table.problems().add_with_help(table.span(), message, help);
    }
    let words = Direction::ALL.map(|direction| (direction.as_str(), direction));
    word(table, "direction", &words).map(|direction| direction.value)
}

/// Without a match key, records that exist on both sides already would be taken for
/// different ones, and each be created on the other side.
fn check_match(table: &Table<'_>, direction: Option<Direction>, outside: &Outside<'_>) {
    if table.item("match").is_some() {
        return;
    }
    let message = "'match' is missing in [sync]: a record that both sides have already would be doubled";
    let help = "write match = [\"email\"], a field that tells records apart, or match = [] if they have none in common";
    match direction {
        Some(Direction::TwoWay) => table.problems().add_with_help(table.span(), message, help),
        Some(Direction::Out | Direction::In) => outside.warnings.add_with_help(table.span(), message, help),
        None => {}
    }
}

fn schedule(table: &Table<'_>) -> Option<Schedule> {
    let jitter = table.duration_ms("jitter");
    let Some(text) = table.text("schedule") else {
        if let Some(jitter) = jitter {
            let help = "write schedule = \"every 5m\", or take 'jitter' away";
            table.problems().add_with_help(jitter.span, "'jitter' is without a 'schedule'", help);
        }
        return None;
    };
    match (Schedule::parse(&text.value), jitter) {
        (Ok(schedule), None) => Some(schedule),
        (Ok(schedule), Some(jitter)) => Some(schedule.with_jitter_ms(jitter.value)),
        (Err(wanted), _) => {
            let message = format!("'schedule' cannot be '{}'", shown(&text.value));
            table.problems().add_with_help(text.span, message, wanted);
            None
        }
    }
}
