//! What an object has by being a resource: its `path` stands for the requests that most
//! APIs answer there, each of which the file may say otherwise or leave out.

use std::sync::LazyLock;

use toml::Spanned;
use toml::de::DeTable;

use crate::model::document::{Part, Table};
use crate::model::value::Value;

use super::fields::path_template;
use super::spec::Piece;

/// The requests of a resource. `find` is one only where it is declared what can be searched.
const REQUESTS: &str = r#"
list = { get = "{path}" }
find = { get = "{path}" }
read = { get = "{path}/{id}" }
create = { post = "{path}" }
update = { patch = "{path}/{id}" }
delete = { delete = "{path}/{id}" }
"#;

/// The sections that a `path` alone brings.
const STANDING: [&str; 5] = ["list", "read", "create", "update", "delete"];

static RESOURCE: LazyLock<Spanned<DeTable<'static>>> =
    LazyLock::new(|| DeTable::parse(REQUESTS).expect("it is TOML, as every connector file in the tests shows"));

/// An object's table, in whose paths `{object}` and `{path}` stand for what they name.
pub(super) fn with_names<'d>(table: Table<'d>, object: &str) -> Table<'d> {
    let mut given = vec![("{object}", Value::string(object))];
    let table = table.giving(given.clone());
    if let Some(path) = resource_path(&table, object) {
        given.push(("{path}", Value::String(path)));
    }
    table.giving(given)
}

fn resource_path(table: &Table<'_>, object: &str) -> Option<String> {
    let text = table.text("path")?;
    // Something goes on to the other checks where this one fails.
    let Some(template) = path_template(table, "path") else { return Some("/path".to_owned()) };
    if template.0.iter().any(|piece| !matches!(piece, Piece::Text(_))) {
        let message = format!("'{}' names a record: 'path' is that of all records", text.value);
        table.problems().add_with_help(text.span, message, "leave {id} out: it is added where a record is meant");
        return Some("/path".to_owned());
    }
    Some(text.value.replace("{object}", object))
}

/// A section of an object: as it is declared, with what its `path` brings for what is left
/// out; `None` where there is none.
pub(super) fn section<'d>(object: &Table<'d>, key: &str, name: &str) -> Option<Table<'d>> {
    let span = object.item(key).or_else(|| object.item("path")).map_or(object.span(), |item| item.span());
    let full_name = format!("object.{name}.{key}");
    let brought = object.given("{path}").and_then(|_| {
        let resource: Table<'d> = Table::top(&RESOURCE, object.problems());
        match resource.part(key, &full_name) {
            Part::There(table) => Some(table.given_as(object)),
            Part::Unsaid | Part::Off => None,
        }
    });
    match (object.part(key, &full_name), brought) {
        (Part::There(table), Some(brought)) => Some(table.before(&brought)),
        (Part::There(table), None) => Some(table),
        (Part::Unsaid, Some(brought)) if STANDING.contains(&key) => {
            Some(brought.told_as(format!("[{full_name}]"), span))
        }
        (Part::Unsaid | Part::Off, _) => None,
    }
}
