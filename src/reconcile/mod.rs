//! Verbs: the pure functions that decide what two records should become.
//!
//! Nothing here does I/O, reads a clock, awaits, or knows an actor. The mapping language
//! lives here: it is read from a document with the place of everything in it
//! ([`spec`]), checked and compiled once (`compile`), and then run on each record
//! ([`mapping`]). A mapping exists only if its rules check out: every field has one
//! owner, no two fields meet on one side, and each lens that writes to a side reads its
//! own writes back. A record that does not fit yields a fault that names the field, the
//! path and the reason, and harms nothing else.

pub mod before_write;
pub mod by_hand;
pub mod case;
mod compile;
mod compose;
mod contact;
mod dates;
pub mod decide;
mod decimal;
mod entry;
mod expression;
mod extract;
mod filter;
pub mod finish;
mod lens;
pub mod lifecycle;
pub mod mapping;
pub mod merge;
pub mod now;
pub mod overrides;
mod pieces;
mod place;
pub mod plan;
pub mod reference;
mod rules;
pub mod run;
pub mod schema;
pub mod spec;
pub mod sync;

/// The longest piece of a record shown in a message, in characters.
const MAX_SHOWN_CHARS: usize = 80;

/// Foreign text made fit for a message: cut, control characters escaped.
fn shown(text: &str) -> String {
    let mut out = String::new();
    for (i, c) in text.chars().enumerate() {
        if i == MAX_SHOWN_CHARS {
            out.push('…');
            break;
        }
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// A value made fit for a message.
fn shown_value(value: &crate::model::value::Value) -> String {
    use crate::model::value::Value;
    match value {
        Value::Null | Value::Bool(_) => value.to_json(),
        Value::Number(number) => shown(number.as_str()),
        Value::String(text) => format!("'{}'", shown(text)),
        // Written out they could be megabytes; the kind is what the reader needs.
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(_) => "an object".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::value::Value;

    #[test]
    fn foreign_text_is_cut_and_escaped() {
        assert_eq!(shown("a\n\u{1b}[2J"), "a\\n\\u{1b}[2J");
        assert_eq!(shown(&"é".repeat(500)).chars().count(), MAX_SHOWN_CHARS + 1);
        assert_eq!(shown_value(&Value::Array(vec![Value::Null; 3])), "a list of 3");
        assert_eq!(shown_value(&Value::string("a\0")), "'a\\u{0}'");
    }
}
