//! Good documents made from the declared examples: one for each key and word.

use std::io;
use std::path::Path;

use toml::{Table, Value};

use crate::config::Config;
use crate::connectors::http::HttpConnectorFile;
use crate::reference::key::{Group, Holds, Key, Need, When};
use crate::reference::{FileKind, toml_value};

/// A declared key, with the way from the top to it.
#[derive(Clone)]
pub(super) struct Place {
    /// The keys above it, each with the table that it is a key of.
    pub above: Vec<(&'static Group, &'static Key)>,
    pub group: &'static Group,
    pub key: &'static Key,
}

impl Place {
    /// As a message names it.
    pub fn name(&self) -> String {
        let above = self.above.iter().map(|(_, key)| key.name);
        above.chain([self.key.name]).collect::<Vec<_>>().join(".")
    }
}

/// Every key of a file kind, at each place where it may stand.
pub(super) fn places(kind: FileKind) -> Vec<Place> {
    let mut found = Vec::new();
    places_in(kind.top(), &[], &mut found);
    found
}

fn places_in(group: &'static Group, above: &[(&'static Group, &'static Key)], found: &mut Vec<Place>) {
    for key in group.keys() {
        found.push(Place { above: above.to_vec(), group, key });
        if let Some((below, _)) = table_of(&key.holds) {
            let way: Vec<_> = above.iter().copied().chain([(group, key)]).collect();
            places_in(below, &way, found);
        }
    }
}

/// The table that a key may hold, and the steps from the key's value to it.
pub(super) fn table_of(holds: &Holds) -> Option<(&'static Group, Vec<String>)> {
    let below = |of: &Holds, step: String| {
        let (group, mut steps) = table_of(of)?;
        steps.insert(0, step);
        Some((group, steps))
    };
    match holds {
        Holds::Table(group) => Some((group, Vec::new())),
        Holds::List(of) => below(of, "0".to_owned()),
        Holds::Named(name, of) => below(of, (*name).to_owned()),
        Holds::Either(kinds) => kinds.iter().find_map(table_of),
        Holds::Text
        | Holds::Path
        | Holds::Endpoint
        | Holds::Header
        | Holds::Character
        | Holds::Duration
        | Holds::Whole(..)
        | Holds::Number
        | Holds::Boolean
        | Holds::Words(_)
        | Holds::Any => None,
    }
}

/// A document and the way to one of its keys.
#[derive(Clone)]
pub(super) struct Document {
    pub value: Table,
    /// The tables and list entries down to the table that holds the key.
    pub table: Vec<String>,
}

impl Document {
    /// The table that holds the key.
    pub fn table_mut(&mut self) -> &mut Table {
        at_mut(&mut self.value, &self.table)
    }

    pub fn text(&self) -> String {
        toml::to_string(&self.value).unwrap()
    }
}

fn at_mut<'t>(top: &'t mut Table, steps: &[String]) -> &'t mut Table {
    let Some((first, rest)) = steps.split_first() else { return top };
    let value = top.get_mut(first).unwrap_or_else(|| panic!("{first} of {steps:?} is there"));
    let (value, rest) = match value {
        Value::Array(items) => (&mut items[0], &rest[1..]),
        other => (other, rest),
    };
    at_mut(value.as_table_mut().unwrap_or_else(|| panic!("{first} of {steps:?} is a table")), rest)
}

/// A good document that holds the key's example.
pub(super) fn document(kind: FileKind, place: &Place) -> Document {
    holding(kind, place, value(place.key.example))
}

/// A good document in which the key holds a value.
pub(super) fn holding(kind: FileKind, place: &Place, held: Value) -> Document {
    let mut document = Document { value: table(kind.top().example), table: Vec::new() };
    for (group, key) in &place.above {
        let (below, steps) = table_of(&key.holds).unwrap();
        let mut inner = Value::Table(table(below.example));
        for step in steps.iter().rev() {
            inner = match step.as_str() {
                "0" => Value::Array(vec![inner]),
                name => Value::Table(Table::from_iter([(name.to_owned(), inner)])),
            };
        }
        put(&mut document, group, key, inner, true);
        document.table.push(key.name.to_owned());
        document.table.extend(steps);
    }
    put(&mut document, place.group, place.key, held, false);
    document
}

/// Puts a key into the document's table, with what it needs and without what it excludes.
fn put(document: &mut Document, group: &'static Group, key: &Key, held: Value, is_on_the_way: bool) {
    around(document, key);
    let table = document.table_mut();
    if group.one_of.contains(&key.name) {
        for other in group.one_of {
            table.remove(*other);
        }
    }
    merge(table, lines(key.with));
    for other in key.without {
        table.remove(*other);
    }
    match key.only {
        Some(When::Is(other, words))
            if !table.get(other).is_some_and(|word| words.contains(&word.as_str().unwrap_or(""))) =>
        {
            table.insert(other.to_owned(), Value::String(words[0].to_owned()));
        }
        Some(When::Beside(other)) if !table.contains_key(other) => {
            for instead in group.one_of.iter().filter(|_| group.one_of.contains(&other)) {
                table.remove(*instead);
            }
            table.insert(other.to_owned(), value(group.key(other).unwrap().example));
        }
        Some(_) | None => {}
    }
    match (table.get_mut(key.name), held) {
        // What is on the way to a key is added to what stands there.
        (Some(Value::Table(known)), Value::Table(new)) if is_on_the_way => merge(known, new),
        (_, held) => {
            table.insert(key.name.to_owned(), held);
        }
    }
    // Other keys that this word needs, or does not go with.
    for other in group.keys().filter(|other| other.name != key.name) {
        let is = |when: &When, table: &Table| match when {
            When::Is(name, words) => table.get(*name).and_then(Value::as_str).is_some_and(|word| words.contains(&word)),
            When::Beside(name) => table.contains_key(*name),
        };
        if other.only.is_some_and(|when| !is(&when, table)) {
            table.remove(other.name);
        }
        if let Need::When(when) = other.need
            && is(&when, table)
            && !table.contains_key(other.name)
        {
            table.insert(other.name.to_owned(), value(other.example));
        }
    }
}

fn around(document: &mut Document, key: &Key) {
    if key.around.is_empty() {
        return;
    }
    let steps = document.table.clone();
    // Without the table itself, and where it is one of a list, without its number.
    let is_listed = steps.last().is_some_and(|step| step == "0");
    let above = &steps[..steps.len() - 1 - usize::from(is_listed)];
    merge(at_mut(&mut document.value, above), lines(key.around));
}

fn merge(table: &mut Table, lines: Table) {
    for (name, value) in lines {
        table.insert(name, value);
    }
}

pub(super) fn value(text: &str) -> Value {
    // Inline tables of several lines: allowed by TOML 1.1 and by this reader.
    toml_value(text).unwrap_or_else(|| panic!("the example is no TOML: {text}"))
}

fn table(text: &str) -> Table {
    match value(text) {
        Value::Table(table) => table,
        other => panic!("the example is no table: {other}"),
    }
}

fn lines(text: &str) -> Table {
    toml::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Reads a document as the program does, and shows what came of it.
pub(super) fn read(kind: FileKind, text: &str) -> Result<String, Vec<String>> {
    match kind {
        FileKind::Connector => {
            let read = HttpConnectorFile::parse("f.toml", text);
            read.map(|file| format!("{file:#?}")).map_err(|error| error.lines)
        }
        FileKind::Config => {
            let read = Config::parse("f.toml", text, Path::new(""), &env, &file);
            read.map(|config| format!("{config:#?}")).map_err(|error| error.lines)
        }
    }
}

/// A connector with everything that a configuration may ask for.
const CRM: &str = "\
name = 'crm'
[object.contacts]
id = 'id'
[object.contacts.list]
get = '/contacts'
[object.contacts.read]
get = '/contacts/{id}'
[object.contacts.create]
post = '/contacts'
[object.contacts.update]
patch = '/contacts/{id}'
[object.contacts.delete]
delete = '/contacts/{id}'
[webhook]
signature = 'standard-webhooks'
object = 'contacts'
";

fn file(path: &Path) -> io::Result<String> {
    match path.to_str() {
        Some("connectors/crm.toml") => Ok(CRM.to_owned()),
        Some("connectors/key.toml") => Ok(format!("auth = {{ kind = 'header', name = 'X-Key' }}\n{CRM}")),
        Some("connectors/client.toml") => {
            Ok(format!("auth = {{ kind = 'client_credentials', url = '/oauth/token' }}\n{CRM}"))
        }
        Some("connectors/jwt.toml") => Ok(format!("auth = {{ kind = 'jwt_bearer', url = '/oauth/token' }}\n{CRM}")),
        // A key that everybody knows, of a standard's example.
        Some("key.pem") => Ok(include_str!("../../connectors/http/tests/tls/rfc7515.pem").to_owned()),
        Some("connectors/accounts.toml") => Ok(format!("{CRM}account = 'account_id'\n")),
        Some("contact.schema.json") => Ok("{ \"type\": \"object\" }".to_owned()),
        Some("ca.pem") => std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/config/ca.pem")),
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "as an environment is asked")]
fn env(name: &str) -> Option<String> {
    Some(match name {
        "HOOK_SECRET" | "NEW_SECRET" => "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=".to_owned(),
        "OLD_SECRET" => "whsec_YWJjZGVmMDEyMzQ1Njc4OTAxMjM0NTY3ODlhYmNkZWY=".to_owned(),
        _ => "0123456789abcdef".to_owned(),
    })
}
