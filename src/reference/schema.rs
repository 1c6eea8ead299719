//! The JSON Schema of a file kind.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::FileKind;
use super::key::{Default, FIRST_VERSION, Group, Holds, Key, Need, When};
use super::toml_value;

pub(super) fn of(kind: FileKind) -> Value {
    let mut schema = table(kind.top(), "");
    schema.insert("$schema".to_owned(), json!("http://json-schema.org/draft-07/schema#"));
    schema.insert("title".to_owned(), json!(kind.title()));
    Value::Object(schema)
}

fn table(group: &Group, path: &str) -> Map<String, Value> {
    let properties: Map<String, Value> =
        group.keys().map(|key| (key.name.to_owned(), Value::Object(property(key, path)))).collect();
    let required: Vec<&str> = group.keys().filter(|key| matches!(key.need, Need::Always)).map(|key| key.name).collect();
    let mut schema = Map::new();
    schema.insert("type".to_owned(), json!("object"));
    schema.insert("description".to_owned(), json!(group.about));
    schema.insert("properties".to_owned(), Value::Object(properties));
    schema.insert("additionalProperties".to_owned(), json!(false));
    if !required.is_empty() {
        schema.insert("required".to_owned(), json!(required));
    }
    if !group.one_of.is_empty() {
        let mut each: Vec<Value> = group.one_of.iter().map(|name| json!({ "required": [name] })).collect();
        if group.brought {
            each.push(json!({ "not": { "anyOf": each } }));
        }
        schema.insert("oneOf".to_owned(), json!(each));
    }
    let dependencies = dependencies(group);
    if !dependencies.is_empty() {
        schema.insert("dependencies".to_owned(), json!(dependencies));
    }
    schema.extend(needed_by_word(group));
    schema
}

/// What has to hold where a key is there.
fn dependencies(group: &Group) -> BTreeMap<&'static str, Value> {
    let mut all: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for key in group.keys() {
        let own = match key.only {
            Some(When::Is(other, words)) => Some(json!({ "properties": { other: { "enum": words } } })),
            Some(When::Beside(other)) => Some(json!({ "required": [other] })),
            None => None,
        };
        let apart = key.without.iter().map(|other| json!({ "not": { "required": [other] } }));
        let conditions: Vec<Value> = own.into_iter().chain(apart).collect();
        if !conditions.is_empty() {
            all.entry(key.name).or_default().extend(conditions);
        }
        if let Need::When(When::Beside(other)) = key.need {
            all.entry(other).or_default().push(json!({ "required": [key.name] }));
        }
    }
    let one = |mut conditions: Vec<Value>| match conditions.len() {
        1 => conditions.remove(0),
        _ => json!({ "allOf": conditions }),
    };
    all.into_iter().map(|(name, conditions)| (name, one(conditions))).collect()
}

/// What must be there for a word of another key, as one `if` after the other: a key holds
/// one word only.
fn needed_by_word(group: &Group) -> Map<String, Value> {
    let mut by_word: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for key in group.keys() {
        if let Need::When(When::Is(other, words)) = key.need {
            for word in words {
                by_word.entry((other, word)).or_default().push(key.name);
            }
        }
    }
    let mut chain = Map::new();
    for ((other, word), names) in by_word.into_iter().rev() {
        let mut outer = Map::new();
        outer.insert("if".to_owned(), json!({ "properties": { other: { "const": word } }, "required": [other] }));
        outer.insert("then".to_owned(), json!({ "required": names }));
        if !chain.is_empty() {
            outer.insert("else".to_owned(), Value::Object(chain));
        }
        chain = outer;
    }
    chain
}

fn property(key: &Key, parent: &str) -> Map<String, Value> {
    let path = if parent.is_empty() { key.name.to_owned() } else { format!("{parent}.{}", key.name) };
    let mut schema = holds(&key.holds, &path);
    schema.insert("title".to_owned(), json!(path));
    schema.insert("description".to_owned(), json!(description(key)));
    if let Default::Value(value) = key.default {
        schema.extend(toml_value(value).map(|value| ("default".to_owned(), json!(value))));
    }
    schema.extend(toml_value(key.example).map(|value| ("examples".to_owned(), json!([value]))));
    schema
}

fn description(key: &Key) -> String {
    let mut text = key.about.to_owned();
    if let Default::Said(said) = key.default {
        text.push_str(&format!(". Default: {said}"));
    }
    if key.since != FIRST_VERSION {
        text.push_str(&format!(". Since {}", key.since));
    }
    text
}

fn holds(holds: &Holds, path: &str) -> Map<String, Value> {
    let schema = match holds {
        Holds::Text => json!({ "type": "string" }),
        Holds::Path => json!({ "type": "string" }),
        Holds::Endpoint => json!({ "type": "string", "pattern": "^(/|\\{path\\})" }),
        Holds::Header => json!({ "type": "string", "pattern": "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$" }),
        Holds::Character => json!({ "type": "string", "minLength": 1, "maxLength": 1 }),
        Holds::Duration => json!({ "type": "string", "pattern": "^[0-9]+ *(ms|s|m|h|d) *$" }),
        Holds::Whole(least, i64::MAX) => json!({ "type": "integer", "minimum": least }),
        Holds::Whole(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Holds::Number => json!({ "type": "number" }),
        Holds::Boolean => json!({ "type": "boolean" }),
        Holds::Words(words) => json!({ "type": "string", "enum": words }),
        Holds::Any => json!({}),
        Holds::List(of) => json!({ "type": "array", "items": self::holds(of, path) }),
        Holds::Table(group) => Value::Object(table(group, path)),
        Holds::Named(_, of) => {
            json!({ "type": "object", "additionalProperties": self::holds(of, &format!("{path}.*")) })
        }
        Holds::Either(kinds) => {
            let kinds: Vec<Map<String, Value>> = kinds.iter().map(|kind| self::holds(kind, path)).collect();
            json!({ "anyOf": kinds })
        }
    };
    match schema {
        Value::Object(schema) => schema,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}
