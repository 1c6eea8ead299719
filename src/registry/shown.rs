//! A connection's document as it may be shown.

use toml::{Table, Value};

/// Stands for a secret that stands in the document itself.
const HIDDEN: &str = "(a secret that stands in the document)";

/// The document with whatever may be a secret taken out: what stands in `auth` and `webhook`
/// and is neither a variable nor a file.
pub(super) fn without_secrets(document: &str) -> String {
    // What is kept was read before; whatever is no document shows nothing.
    let Ok(table) = document.parse::<Table>() else { return HIDDEN.to_owned() };
    let lines = table.into_iter().map(|(key, mut value)| {
        if matches!(key.as_str(), "auth" | "webhook") {
            hide(&key, &mut value);
        }
        let key = crate::model::document::write_key(&key);
        format!("{key} = {value}\n")
    });
    lines.collect()
}

fn hide(key: &str, value: &mut Value) {
    match value {
        // What tells accounts apart is no secret.
        Value::String(text) if !text.contains("${") && !matches!(key, "user" | "account") => HIDDEN.clone_into(text),
        Value::Table(table) => table.iter_mut().for_each(|(key, value)| hide(key, value)),
        Value::Array(items) => items.iter_mut().for_each(|value| hide(key, value)),
        Value::String(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_shown() {
        let document = "id = 'a b'\nauth = { basic = { user = 'u', password = 's3cret' } }\n\
                        webhook = { path = 's3cret', secrets = ['s3cret', '${W}'], account = 'x' }\n\"a b\" = 1\n";
        let shown = without_secrets(document);
        assert!(!shown.contains("s3cret"), "{shown}");
        for part in ["id = \"a b\"", "user = \"u\"", "\"${W}\"", "account = \"x\"", "\"a b\" = 1"] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
        assert!(shown.parse::<Table>().is_ok());
        assert!(!without_secrets("auth = 's3cret").contains("s3cret"));
    }
}
