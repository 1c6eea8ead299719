//! Writing a tree as XML: the inverse of how it is read.

use std::fmt::Write as _;

use crate::connectors::http::template::to_text;
use crate::connectors::http::text::clip;
use crate::model::value::Value;

/// Whether a content type is XML.
pub(in crate::connectors::http) fn is_xml(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    matches!(kind.as_str(), "application/xml" | "text/xml") || kind.ends_with("+xml")
}

/// A tree as a document. Its one key is the root element; `@name` is an attribute, `#text` the
/// text beside attributes, a list an element that stands several times, and null an empty one.
///
/// # Errors
/// When the tree has not one root, or holds what XML cannot say.
pub(in crate::connectors::http) fn to_xml(tree: &Value) -> Result<String, String> {
    let root = match tree {
        Value::Object(entries) => match &entries[..] {
            [(name, value)] if !matches!(value, Value::Array(_)) && !name.starts_with(['@', '#']) => {
                Some((name, value))
            }
            _ => None,
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
    };
    let (name, value) = root.ok_or("a body of XML needs one key at its top, the name of the root element")?;
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>");
    element(name, value, &mut out)?;
    Ok(out)
}

fn element(name: &str, value: &Value, out: &mut String) -> Result<(), String> {
    if !is_name(name) {
        return Err(format!("'{}' is no name of an element", clip(name)));
    }
    match value {
        Value::Null => write!(out, "<{name}/>").map_err(|error| error.to_string())?,
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            out.push_str(&format!("<{name}>"));
            text(&to_text(value), false, out)?;
            out.push_str(&format!("</{name}>"));
        }
        Value::Array(items) => {
            for item in items {
                match item {
                    Value::Array(_) => return Err(format!("'{name}' is a list of lists, which XML cannot say")),
                    item => element(name, item, out)?,
                }
            }
        }
        Value::Object(entries) => {
            out.push_str(&format!("<{name}"));
            for (key, value) in entries {
                if let Some(attribute) = key.strip_prefix('@') {
                    self::attribute(attribute, value, out)?;
                }
            }
            out.push('>');
            for (key, value) in entries.iter().filter(|(key, _)| !key.starts_with('@')) {
                match (key.as_str(), value) {
                    ("#text", Value::Null) => {}
                    ("#text", Value::Array(_) | Value::Object(_)) => {
                        return Err(format!("the text of '{name}' is {}", value.kind()));
                    }
                    ("#text", value) => text(&to_text(value), false, out)?,
                    (child, value) => element(child, value, out)?,
                }
            }
            out.push_str(&format!("</{name}>"));
        }
    }
    Ok(())
}

fn attribute(name: &str, value: &Value, out: &mut String) -> Result<(), String> {
    if !is_name(name) {
        return Err(format!("'{}' is no name of an attribute", clip(name)));
    }
    match value {
        Value::Null => return Ok(()),
        Value::Array(_) | Value::Object(_) => return Err(format!("the attribute '{name}' is {}", value.kind())),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    out.push_str(&format!(" {name}=\""));
    text(&to_text(value), true, out)?;
    out.push('"');
    Ok(())
}

fn text(text: &str, in_attribute: bool, out: &mut String) -> Result<(), String> {
    for char in text.chars() {
        match char {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            // A reader makes a plain line end of it, and in an attribute a space of all three.
            '\r' => out.push_str("&#13;"),
            '\n' if in_attribute => out.push_str("&#10;"),
            '\t' if in_attribute => out.push_str("&#9;"),
            '\t' | '\n' => out.push(char),
            // https://www.w3.org/TR/xml/#charsets
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => {
                return Err(format!("the character {} cannot stand in XML", char.escape_default()));
            }
            char => out.push(char),
        }
    }
    Ok(())
}

/// Whether a text can be a name, with a prefix or without.
fn is_name(name: &str) -> bool {
    let is_part = |part: &str| {
        part.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
    };
    let mut parts = name.split(':');
    parts.clone().count() <= 2 && parts.all(is_part)
}
