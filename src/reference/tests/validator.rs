//! A validator for as much of JSON Schema, draft 7, as our schemas are made of. What it
//! does not know is an error, so that nothing is passed over.

use regex::Regex;
use serde_json::{Map, Value};

/// What is wrong with a value, each with its place; empty where nothing is.
pub(super) fn validate(schema: &Value, value: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    check(schema, value, "", &mut wrong);
    wrong
}

fn is_valid(schema: &Value, value: &Value) -> bool {
    validate(schema, value).is_empty()
}

fn check(schema: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
    let schema = match schema {
        Value::Bool(true) => return,
        Value::Bool(false) => return wrong.push(format!("{at}: nothing may stand here")),
        Value::Object(schema) => schema,
        other => panic!("no schema: {other}"),
    };
    for (keyword, wanted) in schema {
        let fits = match keyword.as_str() {
            "$schema" | "title" | "description" | "default" | "examples" | "then" | "else" => true,
            "type" => is_of(value, wanted.as_str().unwrap()),
            "enum" => wanted.as_array().unwrap().contains(value),
            "const" => wanted == value,
            "pattern" => value.as_str().is_none_or(|text| Regex::new(wanted.as_str().unwrap()).unwrap().is_match(text)),
            "minLength" => value.as_str().is_none_or(|text| text.chars().count() as u64 >= wanted.as_u64().unwrap()),
            "maxLength" => value.as_str().is_none_or(|text| text.chars().count() as u64 <= wanted.as_u64().unwrap()),
            "minimum" => value.as_f64().is_none_or(|number| number >= wanted.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|number| number <= wanted.as_f64().unwrap()),
            "required" => value.as_object().is_none_or(|object| {
                wanted.as_array().unwrap().iter().all(|name| object.contains_key(name.as_str().unwrap()))
            }),
            "oneOf" => wanted.as_array().unwrap().iter().filter(|one| is_valid(one, value)).count() == 1,
            "anyOf" => wanted.as_array().unwrap().iter().any(|one| is_valid(one, value)),
            "allOf" => wanted.as_array().unwrap().iter().all(|one| is_valid(one, value)),
            "not" => !is_valid(wanted, value),
            "if" => {
                let branch = if is_valid(wanted, value) { "then" } else { "else" };
                schema.get(branch).is_none_or(|branch| is_valid(branch, value))
            }
            "dependencies" => value.as_object().is_none_or(|object| {
                let mut all = wanted.as_object().unwrap().iter();
                all.all(|(name, schema)| !object.contains_key(name) || is_valid(schema, value))
            }),
            "items" => {
                for (position, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(wanted, item, &format!("{at}/{position}"), wrong);
                }
                true
            }
            "properties" => {
                for (name, schema) in wanted.as_object().unwrap() {
                    if let Some(value) = value.get(name) {
                        check(schema, value, &format!("{at}/{name}"), wrong);
                    }
                }
                true
            }
            "additionalProperties" => {
                for (name, value) in additional(schema, value) {
                    check(wanted, value, &format!("{at}/{name}"), wrong);
                }
                true
            }
            other => panic!("the validator does not know '{other}'"),
        };
        if !fits {
            wrong.push(format!("{at}: {value} breaks {keyword} {wanted}"));
        }
    }
}

fn additional<'v>(schema: &Map<String, Value>, value: &'v Value) -> Vec<(&'v String, &'v Value)> {
    let known = schema.get("properties").and_then(Value::as_object);
    let entries = value.as_object().into_iter().flatten();
    entries.filter(|(name, _)| !known.is_some_and(|known| known.contains_key(*name))).collect()
}

fn is_of(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        other => panic!("no type: {other}"),
    }
}

#[test]
fn each_keyword_takes_and_refuses() {
    use serde_json::json;
    for (schema, good, bad) in [
        (json!({ "type": "integer" }), json!(5), json!("5")),
        (json!({ "enum": ["a", "b"] }), json!("a"), json!("c")),
        (json!({ "pattern": "^/" }), json!("/x"), json!("x")),
        (json!({ "minLength": 1, "maxLength": 1 }), json!("é"), json!("ab")),
        (json!({ "minimum": 1, "maximum": 3 }), json!(3), json!(4)),
        (json!({ "required": ["a"] }), json!({ "a": 1 }), json!({})),
        (
            json!({ "oneOf": [{ "required": ["a"] }, { "required": ["b"] }] }),
            json!({ "a": 1 }),
            json!({ "a": 1, "b": 1 }),
        ),
        (json!({ "anyOf": [{ "type": "string" }, { "type": "number" }] }), json!(1), json!(true)),
        (json!({ "allOf": [{ "minimum": 1 }, { "maximum": 2 }] }), json!(1), json!(3)),
        (json!({ "not": { "required": ["a"] } }), json!({}), json!({ "a": 1 })),
        (json!({ "dependencies": { "a": { "required": ["b"] } } }), json!({ "b": 1 }), json!({ "a": 1 })),
        (json!({ "if": { "const": 1 }, "then": false }), json!(2), json!(1)),
        (json!({ "if": { "const": 1 }, "else": { "const": 2 } }), json!(2), json!(3)),
        (json!({ "items": { "type": "string" } }), json!(["a"]), json!(["a", 1])),
        (json!({ "properties": { "a": { "const": 1 } } }), json!({ "a": 1, "b": 2 }), json!({ "a": 2 })),
        (json!({ "properties": { "a": {} }, "additionalProperties": false }), json!({ "a": 1 }), json!({ "b": 1 })),
        (json!({ "additionalProperties": { "type": "string" } }), json!({ "a": "x" }), json!({ "a": 1 })),
    ] {
        assert_eq!(validate(&schema, &good), Vec::<String>::new(), "{schema}");
        assert!(!is_valid(&schema, &bad), "{schema} takes {bad}");
    }
}
