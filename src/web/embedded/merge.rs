//! JSON merge patch (RFC 7396).

use crate::model::value::Value;

/// Applies a patch: an object is merged key by key, null takes a key away, anything
/// else replaces what was there. So a patch cannot store a null: put the record for
/// that.
pub(super) fn merge_patch(target: Value, patch: Value) -> Value {
    let patch = match patch {
        Value::Object(patch) => patch,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => return patch,
    };
    let mut entries = match target {
        Value::Object(entries) => entries,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Vec::new(),
    };
    for (key, new) in patch {
        let place = entries.iter().position(|(other, _)| *other == key);
        match (place, new) {
            (Some(place), Value::Null) => drop(entries.remove(place)),
            (None, Value::Null) => {}
            (Some(place), new) => {
                let old = std::mem::replace(&mut entries[place].1, Value::Null);
                entries[place].1 = merge_patch(old, new);
            }
            (None, new) => entries.push((key, merge_patch(Value::Null, new))),
        }
    }
    Value::Object(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 7396, appendix A.
    #[test]
    fn the_examples_of_the_rfc() {
        for (target, patch, want) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, "{}"),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#),
            (r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#),
            (r#"{"a":"foo"}"#, "null", "null"),
            (r#"{"a":"foo"}"#, r#""bar""#, r#""bar""#),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
            ("[1,2]", r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
            ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
        ] {
            let merged = merge_patch(Value::from_json(target).unwrap(), Value::from_json(patch).unwrap());
            assert_eq!(merged.to_json(), want, "{target} + {patch}");
        }
    }
}
