//! Bodies as they are sent: JSON, the form of a web page, XML, or one text of the record.

use percent_encoding::utf8_percent_encode;

use crate::model::value::Value;

use super::call::UNRESERVED;
use super::template::to_text;
use super::transport::find_header;
use super::xml::{is_xml, to_xml};

/// The content type of a form.
const FORM: &str = "application/x-www-form-urlencoded";

/// A body in the form that its content type says.
///
/// # Errors
/// When that form cannot say it, which only XML knows.
pub(super) fn encode(headers: &[(String, String)], body: &Value) -> Result<String, String> {
    let kind = find_header(headers, "content-type").unwrap_or_default();
    if is_xml(kind) {
        return to_xml(body);
    }
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if let (Value::String(text), true) = (body, kind.starts_with("text/")) {
        return Ok(text.clone());
    }
    Ok(if kind.eq_ignore_ascii_case(FORM) { form(body) } else { body.to_json() })
}

/// A tree as the fields of a form: `a[b]=c` for a key within an object, `a[0]=c` for an entry
/// of a list. Null becomes the empty text, which is how such apps are told to take a value
/// away; so does an empty list or object.
fn form(body: &Value) -> String {
    let mut pairs = Vec::new();
    fields("", body, &mut pairs);
    let encode = |text: &str| utf8_percent_encode(text, UNRESERVED).to_string();
    let pairs = pairs.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value)));
    pairs.collect::<Vec<_>>().join("&")
}

fn fields(name: &str, value: &Value, pairs: &mut Vec<(String, String)>) {
    let within = |key: &str| if name.is_empty() { key.to_owned() } else { format!("{name}[{key}]") };
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            entries.iter().for_each(|(key, value)| fields(&within(key), value, pairs));
        }
        Value::Array(items) if !items.is_empty() => {
            items.iter().enumerate().for_each(|(i, item)| fields(&within(&i.to_string()), item, pairs));
        }
        Value::Null | Value::Object(_) | Value::Array(_) => {
            if !name.is_empty() {
                pairs.push((name.to_owned(), String::new()));
            }
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) => pairs.push((name.to_owned(), to_text(value))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_holds_what_the_tree_holds() {
        let headers = |kind: &str| vec![("Content-Type".to_owned(), kind.to_owned())];
        let tree =
            r#"{"name":"A & B","address":{"line1":"x=1","city":null},"tags":["a","b"],"empty":{},"n":10.50,"ok":true}"#;
        let tree = Value::from_json(tree).unwrap();
        let want = "name=A%20%26%20B&address%5Bline1%5D=x%3D1&address%5Bcity%5D=&tags%5B0%5D=a&tags%5B1%5D=b\
                    &empty=&n=10.50&ok=true";
        assert_eq!(encode(&headers("application/x-www-form-urlencoded; charset=utf-8"), &tree).as_deref(), Ok(want));
        assert_eq!(encode(&headers("application/json"), &tree), Ok(tree.to_json()));
        assert_eq!(encode(&headers(FORM), &Value::Object(Vec::new())).as_deref(), Ok(""));
        assert_eq!(
            encode(&headers("text/xml"), &Value::from_json(r#"{"a":{"b":[1,null]}}"#).unwrap()).as_deref(),
            Ok("<?xml version=\"1.0\" encoding=\"UTF-8\"?><a><b>1</b><b/></a>")
        );
    }
}
