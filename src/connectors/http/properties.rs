//! A list of properties that requests ask for by name: declared once, put where `{properties}`
//! stands, and divided over several requests where one URL cannot hold it.
//!
//! Everything here happens when the file is read. A request that holds the list in its query is
//! made once for each part of it; one that holds it in its body has all of it.

use percent_encoding::utf8_percent_encode;

use crate::model::document::{Item, Table};
use crate::model::value::Value;

use super::call::UNRESERVED;
use super::fields::{number, sub};
use super::spec::{CursorKind, Endpoint, ListSpec, ObjectSpec, ReadManySpec, ReadSpec, Unit};

/// As it stands in a file.
const NAME: &str = "{properties}";

/// Most parts of a list: each is a request for every page, or for every record.
const MAX_PARTS: usize = 20;

/// The longest list in a URL where the file does not say, as it is sent. Servers usually take
/// request lines of 8,000 bytes, as <https://www.rfc-editor.org/rfc/rfc9110#section-4.1> has it.
const DEFAULT_MAX_LENGTH: u64 = 6_000;

/// A declared list, divided into parts that a URL can hold.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Properties {
    parts: Vec<Vec<String>>,
    join: String,
}

/// How records are read whose properties do not fit into one request.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Parts {
    /// How each part is read of one record; two or more, or the only one that has it all.
    pub reads: Vec<ReadSpec>,
    /// How each part is read of several records, where that is declared; like `reads`.
    pub read_manys: Vec<ReadManySpec>,
    /// Two parts with one time of change are of one state: times are told finely enough.
    pub times_are_exact: bool,
}

impl Properties {
    /// `[object.x.properties]`, or the list alone.
    fn parse(object: &Table<'_>) -> Option<Self> {
        let item = object.item("properties")?;
        let (values, join, max_length) = if item.list().is_ok() {
            (object.texts("properties")?, None, None)
        } else {
            let table = sub(object, "properties", &format!("{}.properties", object.name().trim_matches(['[', ']'])))?;
            if table.item("values").is_none() {
                table.problems().add(table.span(), format!("'values' is missing in {}", table.name()));
            }
            let values = table.texts("values").unwrap_or_default();
            let join = table.text("join").map(|join| join.value);
            let max_length = number(&table, "max_length", 100, 100_000);
            table.finish();
            (values, join, max_length)
        };
        let (join, max_length) = (join.unwrap_or_else(|| ",".to_owned()), max_length.unwrap_or(DEFAULT_MAX_LENGTH));
        for (i, value) in values.iter().enumerate() {
            let name = &value.value;
            let problem = if name.is_empty() || name.contains(['{', '}']) || name.chars().any(char::is_control) {
                format!("'{}' is no name of a property", name.escape_default())
            } else if values[..i].iter().any(|other| other.value == *name) {
                format!("the property '{name}' stands twice")
            } else if !join.is_empty() && name.contains(&join) {
                format!("the property '{name}' holds '{join}', which stands between two of them")
            } else if sent_length(name) > max_length {
                format!("the property '{name}' alone is longer than max_length")
            } else {
                continue;
            };
            object.problems().add(value.span.clone(), problem);
        }
        let parts = divide(values.into_iter().map(|value| value.value), &join, max_length);
        if parts.len() > MAX_PARTS {
            let message =
                format!("{} requests would be needed for these properties, more than {MAX_PARTS}", parts.len());
            object.problems().add_with_help(item.span(), message, "name fewer, or a greater max_length");
        }
        Some(Self { parts, join })
    }

    fn is_split(&self) -> bool {
        self.parts.len() > 1
    }

    fn all(&self) -> Vec<String> {
        self.parts.concat()
    }
}

/// How long a text is in a URL.
fn sent_length(text: &str) -> u64 {
    utf8_percent_encode(text, UNRESERVED).map(|piece| piece.len() as u64).sum()
}

/// Lists that are no longer than that, in the order of the names; one that is empty, of none.
fn divide(names: impl Iterator<Item = String>, join: &str, max_length: u64) -> Vec<Vec<String>> {
    let (mut parts, mut length) = (vec![Vec::new()], 0);
    for name in names {
        let more = sent_length(&name) + sent_length(join);
        if length + more > max_length + sent_length(join) {
            parts.push(Vec::new());
            length = 0;
        }
        length += more;
        parts.last_mut().into_iter().for_each(|part: &mut Vec<String>| part.push(name.clone()));
    }
    parts.retain(|part| !part.is_empty());
    if parts.is_empty() { vec![Vec::new()] } else { parts }
}

/// A request with a list put where its name stands.
fn put(endpoint: &mut Endpoint, body: &mut Option<Value>, list: &[String], join: &str) {
    for (_, text) in &mut endpoint.query {
        *text = text.replace(NAME, &list.join(join));
    }
    if let Some(body) = body {
        put_in_tree(body, list, join);
    }
}

fn put_in_tree(tree: &mut Value, list: &[String], join: &str) {
    match tree {
        Value::String(text) if text == NAME => {
            *tree = Value::Array(list.iter().map(|name| Value::string(name.as_str())).collect());
        }
        Value::String(text) => *text = text.replace(NAME, &list.join(join)),
        Value::Array(items) => items.iter_mut().for_each(|item| put_in_tree(item, list, join)),
        Value::Object(entries) => entries.iter_mut().for_each(|(_, value)| put_in_tree(value, list, join)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Where a request holds the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    Nowhere,
    InQuery,
    InBody,
}

fn held(endpoint: &Endpoint, body: Option<&Value>) -> Held {
    let in_body = |body: &Value| body.to_json().contains(NAME);
    if endpoint.query.iter().any(|(_, text)| text.contains(NAME)) {
        Held::InQuery
    } else if body.is_some_and(in_body) {
        Held::InBody
    } else {
        Held::Nowhere
    }
}

impl Properties {
    /// A request for each part, or one for all of them.
    fn requests(&self, endpoint: &Endpoint, body: Option<&Value>) -> Vec<(Endpoint, Option<Value>)> {
        let made = |list: &[String]| {
            let (mut endpoint, mut body) = (endpoint.clone(), body.cloned());
            put(&mut endpoint, &mut body, list, &self.join);
            (endpoint, body)
        };
        match held(endpoint, body) {
            Held::InQuery => self.parts.iter().map(|part| made(part)).collect(),
            Held::InBody | Held::Nowhere => vec![made(&self.all())],
        }
    }
}

/// Puts the object's list of properties where its requests ask for it.
pub(super) fn apply(table: &Table<'_>, spec: &mut ObjectSpec, tables: &[&str]) {
    let Some(properties) = Properties::parse(table) else {
        let used = tables.iter().filter_map(|key| table.item(key)).filter(|item| mentions(*item));
        used.for_each(|item| {
            let help = "properties = [\"email\", \"name\"] of the object";
            table.problems().add_with_help(item.span(), "'{properties}' stands for nothing", help);
        });
        return;
    };
    let span = table.item("properties").map_or(table.span(), |item| item.span());
    let problem = |message: &str, help: &str| table.problems().add_with_help(span.clone(), message, help);
    if !tables.iter().filter_map(|key| table.item(key)).any(mentions) {
        problem(
            "these properties are asked for nowhere",
            "put \"{properties}\" into a query or body, of list and of read",
        );
    }
    let mut is_partial = false;
    let found = spec.find.as_mut().map(|find| &mut find.list);
    let also = spec.also.iter_mut().flat_map(|also| std::iter::once(&mut also.list).chain(also.changes.as_mut()));
    for list in [&mut spec.list, &mut spec.changes].into_iter().flatten().chain(found).chain(also) {
        // What it shows is not all of a record, so it only names it.
        let is_split = put_in_list(&properties, list);
        list.thin |= is_split;
        is_partial |= is_split;
    }
    let deletions = spec.also.iter_mut().filter_map(|also| also.deletions.as_mut());
    for list in spec.deletions.iter_mut().chain(deletions) {
        put_in_list(&properties, list);
    }
    for endpoint in writes(spec) {
        if properties.is_split() && held(endpoint, None) == Held::InQuery {
            problem(
                "these properties do not fit into the request of a write",
                "leave them out there: the record is read back",
            );
        }
        put(endpoint, &mut None, &properties.all(), &properties.join);
    }
    let reads = spec.read.as_ref().map(|read| {
        let made = properties.requests(&read.endpoint, read.body.as_ref()).into_iter();
        made.map(|(endpoint, body)| ReadSpec { endpoint, body, ..read.clone() }).collect::<Vec<_>>()
    });
    let read_manys = spec.read_many.as_ref().map(|many| {
        let made = properties.requests(&many.endpoint, many.body.as_ref()).into_iter();
        made.map(|(endpoint, body)| ReadManySpec { endpoint, body, ..many.clone() }).collect::<Vec<_>>()
    });
    is_partial |= [reads.as_ref().map(Vec::len), read_manys.as_ref().map(Vec::len)].iter().flatten().any(|n| *n > 1);
    if is_partial {
        let all = spec.read.as_ref().is_some_and(|read| held(&read.endpoint, read.body.as_ref()) != Held::Nowhere);
        let many = spec.read_many.as_ref().is_none_or(|many| held(&many.endpoint, many.body.as_ref()) != Held::Nowhere);
        if !all || !many {
            let help = "put \"{properties}\" into [read], and into [read_many] where there is one";
            problem("the properties do not fit into one request, and are not read by id", help);
        }
        if spec.version.is_none() && spec.modified.is_empty() {
            let help = "declare version or modified of the object";
            problem("nothing tells whether a record changed between the requests for its properties", help);
        }
        // No answer to a write holds them all.
        spec.create.iter_mut().for_each(|create| create.answers_record = false);
        spec.update.iter_mut().for_each(|update| update.answers_record = false);
    }
    spec.read = reads.as_ref().and_then(|reads| reads.first().cloned()).or(spec.read.take());
    spec.read_many = read_manys.as_ref().and_then(|manys| manys.first().cloned()).or(spec.read_many.take());
    spec.parts = is_partial.then(|| Parts {
        reads: reads.unwrap_or_default(),
        read_manys: read_manys.unwrap_or_default(),
        times_are_exact: times_are_exact(spec),
    });
}

/// Puts the first part into the request of a list; whether there are others.
fn put_in_list(properties: &Properties, list: &mut ListSpec) -> bool {
    let requests = properties.requests(&list.endpoint, list.body.as_ref());
    let is_split = requests.len() > 1;
    if let Some((endpoint, body)) = requests.into_iter().next() {
        (list.endpoint, list.body) = (endpoint, body);
    }
    is_split
}

fn writes(spec: &mut ObjectSpec) -> impl Iterator<Item = &mut Endpoint> {
    let create = spec.create.as_mut().map(|create| &mut create.endpoint);
    create.into_iter().chain(spec.update.as_mut().map(|update| &mut update.endpoint))
}

/// Whether some text of a table holds the list's name.
fn mentions(item: Item<'_>) -> bool {
    if let Ok(text) = item.text() {
        return text.value.contains(NAME);
    }
    if let Ok(items) = item.list() {
        return items.into_iter().any(mentions);
    }
    item.table("a table").is_ok_and(|table| table.all().into_iter().any(|(_, item)| mentions(item)))
}

/// Whether two changes of a record hardly ever share a time.
fn times_are_exact(spec: &ObjectSpec) -> bool {
    let ordered = spec.changes.as_ref().or(spec.list.as_ref()).and_then(|list| match &list.cursor.as_ref()?.kind {
        CursorKind::Ordered(ordered) if ordered.is_time && ordered.field.is_none() => Some(ordered.granularity),
        CursorKind::Ordered(_) | CursorKind::Opaque { .. } => None,
    });
    let finest = spec.spelling.pattern.as_deref().and_then(super::time::Spelling::granularity).unwrap_or(1);
    let unit = if spec.modified_unit == Unit::Seconds { Unit::Seconds.micros() } else { 1 };
    ordered.unwrap_or(1).max(finest).max(unit) <= Unit::Millis.micros()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_divided_where_it_is_too_long() {
        let divided =
            |names: &[&str], join: &str, max: u64| divide(names.iter().map(|name| (*name).to_owned()), join, max);
        let names = ["aaaa", "bbbb", "cccc", "dd"];
        assert_eq!(divided(&names, ";", 100), [names.to_vec()]);
        // A comma is three bytes in a URL.
        assert_eq!(divided(&names, ",", 11), [vec!["aaaa", "bbbb"], vec!["cccc", "dd"]]);
        assert_eq!(divided(&names, ",", 10), [vec!["aaaa"], vec!["bbbb"], vec!["cccc", "dd"]]);
        assert_eq!(divided(&["ää", "b"], "-", 12), [vec!["ää"], vec!["b"]]);
        assert_eq!(divided(&[], ",", 10), [Vec::<String>::new()]);
    }
}
