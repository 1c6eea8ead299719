//! Reading the recurring kinds of keys of a connector file.

use crate::model::budget::Charge;
use crate::model::document::{Item, Located, Problems, Table, nearest};
use crate::model::path::Path;
use crate::model::value::Value;

use super::compose::TRACE;
use super::id::IdSpec;
use super::spec::{Endpoint, PathTemplate, Piece};
use super::transport::Method;

/// A table under its full name, so that a message tells which of many it means.
pub(in crate::connectors) fn sub<'d>(table: &Table<'d>, key: &str, name: &str) -> Option<Table<'d>> {
    let item = table.item(key)?;
    match item.table(name) {
        Ok(within) => Some(within.given_as(table)),
        Err(wanted) => {
            table.problems().add(item.span(), format!("[{name}] must be {wanted}, not {}", item.kind()));
            None
        }
    }
}

/// A path within a record or an answer.
pub(in crate::connectors) fn path(table: &Table<'_>, key: &str) -> Option<Path> {
    to_path(table, &table.text(key)?)
}

fn to_path(table: &Table<'_>, text: &Located<String>) -> Option<Path> {
    text.value.parse().map_err(|error| table.problems().add(text.span.clone(), format!("{error}"))).ok()
}

/// Like [`path`], and a problem when the key is absent.
pub(super) fn required_path(table: &Table<'_>, key: &str) -> Option<Path> {
    to_path(table, &table.required_text(key)?)
}

/// One path or a list of them.
pub(in crate::connectors) fn paths(table: &Table<'_>, key: &str) -> Vec<Path> {
    let is_list = table.item(key).is_some_and(|item| item.list().is_ok());
    let texts = if is_list { table.texts(key).unwrap_or_default() } else { table.text(key).into_iter().collect() };
    texts.iter().filter_map(|text| to_path(table, text)).collect()
}

/// A list of HTTP statuses.
pub(super) fn statuses(table: &Table<'_>, key: &str) -> Option<Vec<u16>> {
    let item = table.item(key)?;
    let statuses = item.list().ok().and_then(|items| {
        let status = |number: i64| u16::try_from(number).ok().filter(|status| (200..600).contains(status));
        items.into_iter().map(|item| status(item.integer().ok()?.value)).collect()
    });
    if statuses.is_none() {
        let help = format!("for example {key} = [404, 410]");
        table.problems().add_with_help(item.span(), format!("'{key}' must be a list of HTTP statuses"), help);
    }
    statuses
}

/// A table of texts (numbers and booleans are taken as their text), as pairs in the
/// order of the file.
pub(super) fn pairs(table: &Table<'_>, key: &str) -> Vec<(String, String)> {
    let Some(entries) = table.table(key) else { return Vec::new() };
    let to_text = |value: Value| match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.as_str().to_owned()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    let mut pairs = Vec::new();
    for (name, item) in entries.all() {
        match item.value().ok().and_then(to_text) {
            Some(text) => pairs.push((name.value, text)),
            None => {
                let message = format!("'{}' must be a text, a number or a boolean", name.value);
                table.problems().add(item.span(), message);
            }
        }
    }
    pairs
}

/// Headers: names and values must be what a header may hold.
pub(super) fn headers(table: &Table<'_>, key: &str) -> Vec<(String, String)> {
    let headers = pairs(table, key);
    if let Some((name, _)) = headers.iter().find(|(name, value)| !is_token(name) || value.chars().any(char::is_control))
    {
        let span = table.item(key).map_or(table.span(), |item| item.span());
        table.problems().add(span, format!("'{name}' is not a header that can be sent"));
    }
    headers
}

/// The name of a header.
pub(in crate::connectors) fn header_name(table: &Table<'_>, key: &str) -> Option<String> {
    let text = table.text(key)?;
    if is_token(&text.value) {
        return Some(text.value);
    }
    table.problems().add(text.span, format!("'{}' is not the name of a header", text.value));
    None
}

fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// One of a few words.
pub(in crate::connectors) fn word<T: Clone>(table: &Table<'_>, key: &str, words: &[(&str, T)]) -> Option<T> {
    word_of(table, key, &table.text(key)?, words)
}

/// Which of a few words a text is.
pub(super) fn word_of<T: Clone>(
    table: &Table<'_>,
    key: &str,
    text: &Located<String>,
    words: &[(&str, T)],
) -> Option<T> {
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text.value) {
        return Some(value.clone());
    }
    let list: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let help = match nearest(&text.value, list.iter().copied()) {
        Some(near) => format!("did you mean '{near}'?"),
        None => format!("one of: {}", list.join(", ")),
    };
    table.problems().add_with_help(text.span.clone(), format!("'{}' is no {key}", text.value), help);
    None
}

/// A whole number within bounds.
pub(super) fn number(table: &Table<'_>, key: &str, least: u64, most: u64) -> Option<u64> {
    let found = table.integer(key)?;
    let value = u64::try_from(found.value).ok().filter(|value| (least..=most).contains(value));
    if value.is_none() {
        table.problems().add(found.span, format!("'{key}' must be from {least} to {most}"));
    }
    value
}

/// The endpoint of a table: exactly one of the methods allowed there, with its path.
/// Where that is not so, a problem is noted and a stand-in goes on to the other checks.
pub(super) fn endpoint(table: &Table<'_>, allowed: &[&str]) -> Endpoint {
    let methods: Vec<_> = Method::ALL.into_iter().filter(|(key, _)| allowed.contains(key)).collect();
    let keys: Vec<&'static str> = methods.iter().map(|(key, _)| *key).collect();
    // A method that is said here stands for one that is said behind.
    let said = table.nearest_of(&keys);
    let found: Vec<_> = methods.into_iter().filter(|(key, _)| said.contains(key)).collect();
    match found[..] {
        [_] => {}
        [] => {
            let wanted = allowed.join(", ");
            table.problems().add(table.span(), format!("{} needs a path under one of: {wanted}", table.name()));
        }
        [_, (second, _), ..] => {
            let span = table.item(second).map_or(table.span(), |item| item.span());
            let keys: Vec<&str> = found.iter().map(|(key, _)| *key).collect();
            let help = format!("keep one of: {}", keys.join(", "));
            table.problems().add_with_help(span, format!("{} can have one method only", table.name()), help);
        }
    }
    let (method, path) = match found.first() {
        Some((key, method)) => (*method, path_template(table, key)),
        None => (Method::Get, None),
    };
    // The stand-in holds all names, so that nothing is said to be missing in it.
    let path = path.unwrap_or_else(|| PathTemplate(vec![Piece::Id, Piece::ExternalId]));
    let (query, headers, charge) = (pairs(table, "query"), headers(table, "headers"), charge(table));
    Endpoint { method, path, query, headers, charge }
}

/// An endpoint under a key of its own, with nothing else to it.
pub(super) fn endpoint_at(table: &Table<'_>, key: &str, method: Method) -> Endpoint {
    let path = path_template(table, key).unwrap_or_else(|| PathTemplate(vec![Piece::Id]));
    Endpoint { method, path, query: Vec::new(), headers: Vec::new(), charge: Charge::default() }
}

/// What a call of an endpoint counts as. Whether there is such a class is checked once all of
/// the file is read.
fn charge(table: &Table<'_>) -> Charge {
    let class = table.text("class").map(|class| class.value.into());
    let points = number(table, "cost", 1, MAX_POINTS).and_then(|points| u32::try_from(points).ok());
    Charge { class, points: points.unwrap_or(1) }
}

/// The most points that one call may be declared to cost.
pub(super) const MAX_POINTS: u64 = 1_000_000;

/// The content type of a body: as the table names it, JSON by default.
pub(super) fn set_content_type(table: &Table<'_>, endpoint: &mut Endpoint) {
    let content_type = table.text("content_type").map_or("application/json".to_owned(), |text| text.value);
    if !endpoint.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
        endpoint.headers.push(("Content-Type".to_owned(), content_type));
    }
}

pub(super) fn path_template(table: &Table<'_>, key: &str) -> Option<PathTemplate> {
    let text = table.text(key)?;
    let mut filled = text.value.clone();
    for name in ["{path}", "{object}"] {
        if let Some(Value::String(given)) = table.given(name) {
            filled = filled.replace(name, given);
        }
    }
    match parse_path_template(&filled) {
        Ok(template) => Some(template),
        Err((message, help)) => {
            table.problems().add_with_help(text.span, format!("'{}' {message}", text.value), help);
            None
        }
    }
}

fn parse_path_template(text: &str) -> Result<PathTemplate, (&'static str, &'static str)> {
    if text.starts_with("{path}") {
        return Err(("holds {path}, which the object does not declare", "add path = \"/contacts\" to the object"));
    }
    if !text.starts_with('/') {
        return Err(("is no path", "a path begins with '/' and is appended to the connection's base_url"));
    }
    if text.contains(['?', '#', '\\', '"', '<', '>', '^', '`', '|']) || !text.chars().all(|c| c.is_ascii_graphic()) {
        let help = "write parameters as query = { name = \"value\" }, and other characters as %20";
        return Err(("holds what no path may hold", help));
    }
    if text.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(("holds '.' or '..'", "write the path that is meant"));
    }
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or(("has a '{' without '}'", "write {id} or {external_id}"))?;
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        pieces.push(match name {
            "id" => Piece::Id,
            "parent" => Piece::Parent,
            "external_id" => Piece::ExternalId,
            _ => match name.strip_prefix("id.") {
                Some(part) => Piece::IdPart(part.to_owned()),
                None => {
                    return Err((
                        "holds an unknown name in braces",
                        "known: {id}, {external_id}, {parent}, {path}, {object}",
                    ));
                }
            },
        });
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Ok(PathTemplate(pieces))
}

/// A problem unless a request names a record: by the whole id, or by all parts of a composed
/// one, in path, query or body.
pub(super) fn needs_id(table: &Table<'_>, endpoint: &Endpoint, body: Option<&Value>, id: &IdSpec) {
    let in_rest = |name: &str| {
        endpoint.query.iter().any(|(_, text)| text.contains(name)) || body.is_some_and(|body| tree_has(body, name))
    };
    let has_part = |part: &Path| {
        let name = part.to_string();
        endpoint.path.holds_part(&name) || in_rest(&format!("{{id.{name}}}"))
    };
    let named = endpoint.path.holds_id() || in_rest("{id}") || id.is_composed() && id.paths().all(has_part);
    if !named {
        let parts: Vec<String> = id.paths().map(|path| format!("{{id.{path}}}")).collect();
        let or = if id.is_composed() { format!(", or {}", parts.join(" and ")) } else { String::new() };
        let help = format!("put {{id}} where the record's id belongs{or}");
        table.problems().add_with_help(table.span(), format!("the path of {} names no record", table.name()), help);
    }
}

/// Whether some text of a tree holds a name.
fn tree_has(tree: &Value, name: &str) -> bool {
    match tree {
        Value::String(text) => text.contains(name),
        Value::Array(items) => items.iter().any(|item| tree_has(item, name)),
        Value::Object(entries) => entries.iter().any(|(_, value)| tree_has(value, name)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// A problem for each `{id.part}` of some value that is no part of the id.
pub(super) fn check_id_parts(problems: &Problems, item: Item<'_>, id: &IdSpec) {
    if let Ok(text) = item.text() {
        let parts = text.value.split("{id.").skip(1).filter_map(|rest| rest.split_once('}'));
        for (part, _) in parts.filter(|(part, _)| !id.has_part(part)) {
            let names: Vec<String> = id.paths().map(|path| format!("{{id.{path}}}")).collect();
            let help = if id.is_composed() {
                format!("known: {}", names.join(", "))
            } else {
                "the id is one value: {id}".to_owned()
            };
            problems.add_with_help(text.span.clone(), format!("'{{id.{part}}}' is no part of the id"), help);
        }
    } else if let Ok(items) = item.list() {
        items.into_iter().for_each(|item| check_id_parts(problems, item, id));
    } else if let Ok(table) = item.table("a table") {
        table.all().into_iter().for_each(|(_, item)| check_id_parts(problems, item, id));
    }
}

/// The names a body template may hold besides `{record.path}`; a text that is exactly one
/// of them becomes that value, with its type.
const BODY_NAMES: [&str; 6] = ["{record}", "{id}", "{version}", "{external_id}", "{idempotency_key}", TRACE];

/// The path of a `{record.path}` in a body template.
pub(super) fn record_path(name: &str) -> Option<Path> {
    name.strip_prefix("{record.")?.strip_suffix('}')?.parse().ok()
}

/// The part of an id that a `{id.part}` of a body template stands for.
pub(super) fn id_part(name: &str) -> Option<&str> {
    name.strip_prefix("{id.")?.strip_suffix('}')
}

/// A body: a path (an envelope around the record), or a tree in which `"{record}"`
/// stands for the record; without it, the record itself.
pub(super) fn body(table: &Table<'_>, key: &str) -> Value {
    let record = Value::string("{record}");
    let Some(item) = table.item(key) else { return record };
    if item.text().is_ok_and(|text| text.value != "{record}" && record_path(&text.value).is_none()) {
        let mut envelope = Value::Object(Vec::new());
        if let Some(path) = path(table, key) {
            envelope.set(&path, record);
        }
        return envelope;
    }
    match item.value() {
        Ok(tree) => {
            for name in unknown_names(&tree) {
                let help = format!("known: {}, {{record.path}}", BODY_NAMES.join(", "));
                table.problems().add_with_help(item.span(), format!("'{name}' is no name for '{key}'"), help);
            }
            tree
        }
        Err(wanted) => {
            table.problems().add(item.span(), format!("'{key}' must be {wanted}"));
            record
        }
    }
}

/// Texts that look like a name in braces and are none.
fn unknown_names(tree: &Value) -> Vec<&str> {
    match tree {
        Value::String(text) if text.starts_with('{') && text.ends_with('}') => {
            let known = BODY_NAMES.contains(&text.as_str()) || record_path(text).is_some() || id_part(text).is_some();
            if known { Vec::new() } else { vec![text] }
        }
        Value::Array(items) => items.iter().flat_map(unknown_names).collect(),
        Value::Object(entries) => entries.iter().flat_map(|(_, value)| unknown_names(value)).collect(),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}
