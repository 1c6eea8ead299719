//! Names in the query and the body of a reading request: `{cursor}`, `{page}`, `{size}`,
//! `{param}` and `{value}`, `{id}` and `{ids}`, `{parent}`. What has no value at the moment (a page token
//! before the first page, a position when everything is read) leaves its parameter or key out,
//! so that one declaration serves for all requests. An entry of a list that holds `{value}` or
//! `{id}` stands once for each field that is searched for, or record that is read. A part of a
//! composed id is `{id.account}`.

use crate::model::value::{Number, Value};

use super::id::IdSpec;

/// The names that a reading request may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    /// The position that changes are asked for since.
    Cursor,
    /// What continues the list: a token, a page number, an offset, the last record's key.
    Page,
    /// How many records a page shall have.
    Size,
    /// The side's name of a field that is searched.
    Param,
    /// What is searched for.
    Value,
    /// The id of one record that is read.
    Id,
    /// The ids of all records that are read: a list, or joined within a text.
    Ids,
    /// The id of the record for which a list is.
    Parent,
}

impl Name {
    pub const ALL: [Name; 8] =
        [Name::Cursor, Name::Page, Name::Size, Name::Param, Name::Value, Name::Id, Name::Ids, Name::Parent];

    /// As it stands in a file.
    pub fn as_str(self) -> &'static str {
        match self {
            Name::Cursor => "{cursor}",
            Name::Page => "{page}",
            Name::Size => "{size}",
            Name::Param => "{param}",
            Name::Value => "{value}",
            Name::Id => "{id}",
            Name::Ids => "{ids}",
            Name::Parent => "{parent}",
        }
    }
}

/// What the names stand for in one request.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Values<'a> {
    pub cursor: Option<&'a Value>,
    pub page: Option<&'a Value>,
    pub size: Option<u64>,
    /// The side's name and the value of each field that is searched for.
    pub fields: &'a [(String, Value)],
    /// The records that are read.
    pub ids: &'a [Value],
    /// What stands between ids within a text.
    pub join: &'a str,
    /// The record for which the list is.
    pub parent: Option<&'a Value>,
    /// What takes an id apart: `{id.account}`.
    pub id_spec: Option<&'a IdSpec>,
}

/// How the name of a part of an id begins.
const ID_PART: &str = "{id.";

/// The name of a part at the beginning of a text, with its braces, and the part that it names.
fn id_part(text: &str) -> Option<(&str, &str)> {
    let (part, _) = text.strip_prefix(ID_PART)?.split_once('}')?;
    Some((&text[..ID_PART.len() + part.len() + 1], part))
}

impl Values<'_> {
    fn of(&self, name: Name) -> Option<Value> {
        match name {
            Name::Cursor => self.cursor.cloned(),
            Name::Page => self.page.cloned(),
            Name::Size => self.size.map(number),
            Name::Param => self.fields.first().map(|(param, _)| Value::string(param.as_str())),
            Name::Value => self.fields.first().map(|(_, value)| value.clone()),
            Name::Id => self.ids.first().cloned(),
            Name::Parent => self.parent.cloned(),
            Name::Ids => (!self.ids.is_empty()).then(|| Value::Array(self.ids.to_vec())),
        }
    }

    fn part(&self, part: &str) -> Option<Value> {
        self.id_spec?.part(&to_text(self.ids.first()?), part)
    }

    fn text_of(&self, name: Name) -> Option<String> {
        if name == Name::Ids {
            let ids: Vec<String> = self.ids.iter().map(to_text).collect();
            return (!ids.is_empty()).then(|| ids.join(self.join));
        }
        self.of(name).map(|value| to_text(&value))
    }
}

/// A whole number as a value.
pub(super) fn number(number: u64) -> Value {
    // Digits alone are always a number.
    Number::parse(&number.to_string()).map_or(Value::Null, Value::Number)
}

/// Whether a text holds a name.
pub(super) fn text_holds(text: &str, name: Name) -> bool {
    text.contains(name.as_str()) || name == Name::Id && text.contains(ID_PART)
}

/// Whether a tree holds a name.
pub(super) fn tree_holds(tree: &Value, name: Name) -> bool {
    holds(tree, name, true)
}

fn holds(tree: &Value, name: Name, in_lists: bool) -> bool {
    match tree {
        Value::String(text) => text_holds(text, name),
        Value::Array(items) => in_lists && items.iter().any(|item| holds(item, name, true)),
        Value::Object(entries) => entries.iter().any(|(_, value)| holds(value, name, in_lists)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Whether a list of a tree stands once for each field: several fields need one.
pub(super) fn has_list_of_fields(tree: &Value) -> bool {
    match tree {
        Value::Array(items) => items.iter().any(|item| holds(item, Name::Value, false) || has_list_of_fields(item)),
        Value::Object(entries) => entries.iter().any(|(_, value)| has_list_of_fields(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// A text with its names filled in; `None` when one of them has no value.
fn fill_text(text: &str, values: &Values<'_>) -> Option<String> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        let (before, after) = rest.split_at(at);
        filled.push_str(before);
        // What a value holds is never looked at again: it is foreign text.
        match Name::ALL.into_iter().find(|name| after.starts_with(name.as_str())) {
            Some(name) => {
                filled.push_str(&values.text_of(name)?);
                rest = &after[name.as_str().len()..];
            }
            None => match id_part(after) {
                Some((name, part)) => {
                    filled.push_str(&to_text(&values.part(part)?));
                    rest = &after[name.len()..];
                }
                None => {
                    filled.push('{');
                    rest = &after[1..];
                }
            },
        }
    }
    filled.push_str(rest);
    Some(filled)
}

/// A value as it stands within a text: texts bare, all else as JSON.
pub(super) fn to_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_json(),
    }
}

/// Parameters with their names filled in, without those that have no value.
pub(super) fn fill_query(query: &[(String, String)], values: &Values<'_>) -> Vec<(String, String)> {
    query.iter().filter_map(|(name, text)| Some((name.clone(), fill_text(text, values)?))).collect()
}

/// A tree with its names filled in: a text that is just one name becomes its value, with its
/// type; a key or an entry without a value is left out. `None` when nothing is left of a text.
pub(super) fn fill_tree(tree: &Value, values: &Values<'_>) -> Option<Value> {
    Some(match tree {
        Value::String(text) => match Name::ALL.into_iter().find(|name| name.as_str() == text) {
            Some(name) => values.of(name)?,
            None => match id_part(text).filter(|(name, _)| name == text) {
                Some((_, part)) => values.part(part)?,
                None => Value::String(fill_text(text, values)?),
            },
        },
        Value::Array(items) => Value::Array(items.iter().flat_map(|item| fill_entry(item, values)).collect()),
        Value::Object(entries) => Value::Object(
            entries.iter().filter_map(|(key, value)| Some((key.clone(), fill_tree(value, values)?))).collect(),
        ),
        Value::Null | Value::Bool(_) | Value::Number(_) => tree.clone(),
    })
}

/// One entry of a list: once, or once for each field or record that it names.
fn fill_entry(item: &Value, values: &Values<'_>) -> Vec<Value> {
    if holds(item, Name::Value, false) {
        let each = |field| fill_tree(item, &Values { fields: std::slice::from_ref(field), ..*values });
        values.fields.iter().filter_map(each).collect()
    } else if holds(item, Name::Id, false) {
        let each = |id| fill_tree(item, &Values { ids: std::slice::from_ref(id), ..*values });
        values.ids.iter().filter_map(each).collect()
    } else {
        fill_tree(item, values).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Value {
        Value::from_json(text).unwrap()
    }

    #[test]
    fn a_tree_keeps_types_and_loses_what_has_no_value() {
        let cursor = json("1795424389");
        let values = Values { cursor: Some(&cursor), size: Some(100), ..Values::default() };
        let tree = r#"{"after":"{page}","limit":"{size}","since":"{cursor}","text":"updated>={cursor}","x":"y {z}",
            "list":["{page}","{size}"],"deep":{"after":"from {page}"},"n":1}"#;
        let want = r#"{"limit":100,"since":1795424389,"text":"updated>=1795424389","x":"y {z}",
            "list":[100],"deep":{},"n":1}"#;
        assert_eq!(fill_tree(&json(tree), &values), Some(json(want)));
        assert!(tree_holds(&json(tree), Name::Page) && !tree_holds(&json(tree), Name::Value));
    }

    #[test]
    fn an_entry_stands_once_for_each_field_or_record() {
        let fields = [("email".to_owned(), json(r#""a{size}b""#)), ("age".to_owned(), json("7"))];
        let ids = [json(r#""1""#), json("2")];
        let values = Values { fields: &fields, ids: &ids, join: ",", ..Values::default() };
        let tree = r#"{"groups":[{"filters":[{"name":"{param}","is":"{value}"},{"name":"type","is":"person"}]}],
            "inputs":[{"id":"{id}"}],"ids":"{ids}","text":"in ({ids})"}"#;
        let want = r#"{"groups":[{"filters":[{"name":"email","is":"a{size}b"},{"name":"age","is":7},
            {"name":"type","is":"person"}]}],"inputs":[{"id":"1"},{"id":2}],"ids":["1",2],"text":"in (1,2)"}"#;
        assert_eq!(fill_tree(&json(tree), &values), Some(json(want)));
        assert!(has_list_of_fields(&json(tree)));
        assert!(!has_list_of_fields(&json(r#"{"name":"{param}","is":"{value}"}"#)));
    }

    #[test]
    fn parameters_without_a_value_are_left_out() {
        let fields = [("email".to_owned(), json(r#""a{size}b""#))];
        let values = Values { fields: &fields, ..Values::default() };
        let query = [("after", "{page}"), ("filter", r#"{"a":"{value}"}"#), ("open", "a{"), ("by", "{param}")];
        let query = query.map(|(name, text)| (name.to_owned(), text.to_owned()));
        let filled = fill_query(&query, &values);
        let filled: Vec<(&str, &str)> = filled.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        assert_eq!(filled, [("filter", r#"{"a":"a{size}b"}"#), ("open", "a{"), ("by", "email")]);
    }
}
