//! The properties of one record: keys with raw JSON values, so that what was sent is
//! what is stored and served, byte for byte.

use serde_json::value::{RawValue, to_raw_value};

use super::refusal::Refusal;
use super::settings::{Check, ObjectSettings};
use crate::model::value::{Value, raw_entries};

/// More keys than any record has; a guard against absurd input.
const MAX_PROPERTIES: usize = 1_000;

/// Keys in the order in which they came; no key stands twice, each value decodes.
#[derive(Debug, Clone)]
pub(super) struct Properties(Vec<(String, Box<RawValue>)>);

impl Properties {
    /// Reads them from a JSON object, normalised and checked as the object demands.
    pub(super) fn parse(raw: &RawValue, settings: &ObjectSettings) -> Result<Self, Refusal> {
        let entries =
            raw_entries(raw).map_err(|error| Refusal::bad_request(format!("'properties' are refused: {error}")))?;
        if entries.len() > MAX_PROPERTIES {
            return Err(Refusal::bad_request(format!("a record may have {MAX_PROPERTIES} properties at most")));
        }
        let mut properties = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            check_decodes(&key, value)?;
            let value = match settings.stored_text(&key, value) {
                Some(text) => to_raw_value(&text)
                    .map_err(|error| Refusal::bad_request(format!("property '{key}' cannot be stored: {error}")))?,
                None => value.to_owned(),
            };
            settings.admit(&key, &value)?;
            properties.push((key.into_owned(), value));
        }
        Ok(Self(properties))
    }

    pub(super) fn get(&self, key: &str) -> Option<&RawValue> {
        self.0.iter().find(|(other, _)| other == key).map(|(_, value)| &**value)
    }

    /// Whether merging the changes would change anything.
    pub(super) fn changed_by(&self, changes: &Properties) -> bool {
        changes.0.iter().any(|(key, value)| match self.get(key) {
            Some(_) if is_null(value) => true,
            Some(old) => !same(old, value),
            None => !is_null(value),
        })
    }

    /// Sets what the changes hold; null takes the key away.
    pub(super) fn merge(&mut self, changes: Properties) {
        for (key, value) in changes.0 {
            let place = self.0.iter().position(|(other, _)| *other == key);
            match (place, is_null(&value)) {
                (Some(i), true) => drop(self.0.remove(i)),
                (Some(i), false) => self.0[i].1 = value,
                (None, true) => {}
                (None, false) => self.0.push((key, value)),
            }
        }
    }

    /// The same keys with the same values, whatever their order.
    pub(super) fn same(&self, other: &Properties) -> bool {
        self.0.len() == other.0.len()
            && self.0.iter().all(|(key, value)| other.get(key).is_some_and(|other| same(value, other)))
    }

    /// Whether the property is this text, or the number or boolean spelled so.
    pub(super) fn is(&self, key: &str, wanted: &str) -> bool {
        let Some(raw) = self.get(key).map(RawValue::get) else { return false };
        match raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(inner) if inner.contains('\\') => serde_json::from_str::<String>(raw).is_ok_and(|text| text == wanted),
            Some(inner) => inner == wanted,
            None => raw == wanted && raw != "null",
        }
    }

    /// Whether the property has this value.
    pub(super) fn has(&self, key: &str, value: &RawValue) -> bool {
        self.get(key).is_some_and(|own| same(own, value))
    }

    /// Appends them as a JSON object.
    pub(super) fn write_json(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        for (i, (key, value)) in self.0.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            write_json_text(key, out);
            out.push(b':');
            out.extend_from_slice(value.get().as_bytes());
        }
        out.push(b'}');
    }

    /// As a value, for those in the same process.
    pub(super) fn to_value(&self) -> Value {
        let decoded = |raw| Value::from_raw(raw).expect("each value was decoded when it came in");
        Value::Object(self.0.iter().map(|(key, raw)| (key.clone(), decoded(raw))).collect())
    }
}

pub(super) fn write_json_text(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a str always serialises into memory");
}

fn is_null(raw: &RawValue) -> bool {
    raw.get() == "null"
}

/// The same by meaning; `10` and `10.0` are, and so are two spellings of one text.
fn same(a: &RawValue, b: &RawValue) -> bool {
    let plain_text = |raw: &RawValue| raw.get().starts_with('"') && !raw.get().contains('\\');
    if a.get() == b.get() || (plain_text(a) && plain_text(b)) {
        return a.get() == b.get();
    }
    match (Value::from_raw(a), Value::from_raw(b)) {
        (Ok(a), Ok(b)) => a.same(&b),
        (Err(_), _) | (_, Err(_)) => false,
    }
}

/// A value that no reader could decode (a half surrogate, a key twice, too deep) must
/// not get in. Plain values are well formed already, so most are not decoded at all.
fn check_decodes(key: &str, raw: &RawValue) -> Result<(), Refusal> {
    let text = raw.get();
    if text.starts_with(['{', '[']) || text.contains("\\u") {
        Value::from_raw(raw).map_err(|error| Refusal::bad_request(format!("property '{key}' is refused: {error}")))?;
    }
    Ok(())
}

impl ObjectSettings {
    /// The text to store instead, where normalising changes it.
    fn stored_text(&self, key: &str, raw: &RawValue) -> Option<String> {
        let lower = self.lowercase.iter().any(|property| property == key);
        if !(self.trim || lower) || !raw.get().starts_with('"') {
            return None;
        }
        let text: String = serde_json::from_str(raw.get()).ok()?;
        let trimmed = if self.trim { text.trim() } else { text.as_str() };
        let stored = if lower { trimmed.to_lowercase() } else { trimmed.to_owned() };
        (stored != text).then_some(stored)
    }

    fn admit(&self, key: &str, raw: &RawValue) -> Result<(), Refusal> {
        if self.checks.is_empty() || is_null(raw) {
            return Ok(());
        }
        let failed = self.checks.iter().find(|(property, check)| property == key && !check.passes(raw.get()));
        failed.map_or(Ok(()), |(_, check)| Err(Refusal::invalid_property(key, check)))
    }
}

impl Check {
    fn passes(&self, raw: &str) -> bool {
        let text = || serde_json::from_str::<String>(raw).ok();
        match self {
            Check::Text => raw.starts_with('"'),
            Check::Number => raw.starts_with(|c: char| c == '-' || c.is_ascii_digit()),
            Check::Boolean => matches!(raw, "true" | "false"),
            Check::List => raw.starts_with('['),
            Check::Email => text().is_some_and(|text| looks_like_email(&text)),
            Check::OneOf(texts) => text().is_some_and(|text| texts.contains(&text)),
            Check::MaxLength(length) => text().is_some_and(|text| text.chars().count() <= *length),
        }
    }
}

/// What web forms check: something, one `@`, a host with a dot, no blanks.
fn looks_like_email(text: &str) -> bool {
    let text = text.trim();
    let Some((name, host)) = text.split_once('@') else { return false };
    let host_is_dotted = host.split_once('.').is_some_and(|(first, rest)| !first.is_empty() && !rest.is_empty());
    !name.is_empty() && host_is_dotted && !host.contains('@') && !text.contains(char::is_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(json: &str, settings: &ObjectSettings) -> Result<Properties, Refusal> {
        Properties::parse(serde_json::from_str(json).expect("test JSON"), settings)
    }

    fn plain(json: &str) -> Properties {
        properties(json, &ObjectSettings::new("contacts")).expect("test properties")
    }

    fn text(properties: &Properties) -> String {
        let mut out = Vec::new();
        properties.write_json(&mut out);
        String::from_utf8(out).expect("JSON is UTF-8")
    }

    #[test]
    fn what_is_stored_is_what_was_sent() {
        for json in [r#"{}"#, r#"{"n":10.00,"big":12345678901234567890123,"a b":"\u00e9","x":[1, {"y":null}]}"#] {
            assert_eq!(text(&plain(json)), json);
        }
    }

    #[test]
    fn merging() {
        for (old, changes, changed, new) in [
            (r#"{"a":1}"#, r#"{"a":1}"#, false, r#"{"a":1}"#),
            (r#"{"a":1}"#, r#"{"a":1.0}"#, false, r#"{"a":1.0}"#),
            (r#"{"a":"é"}"#, r#"{"a":"\u00e9"}"#, false, r#"{"a":"\u00e9"}"#),
            (r#"{"a":"é"}"#, r#"{"a":"e\u0301"}"#, true, r#"{"a":"e\u0301"}"#),
            (r#"{"a":1,"b":2}"#, r#"{"a":null}"#, true, r#"{"b":2}"#),
            (r#"{"a":null}"#, r#"{"a":null}"#, true, r#"{}"#),
            (r#"{"b":2}"#, r#"{"a":null}"#, false, r#"{"b":2}"#),
            (r#"{"b":2}"#, r#"{"a":"","b":3}"#, true, r#"{"b":3,"a":""}"#),
        ] {
            let mut record = plain(old);
            assert_eq!(record.changed_by(&plain(changes)), changed, "{old} with {changes}");
            record.merge(plain(changes));
            assert_eq!(text(&record), new, "{old} with {changes}");
        }
    }

    #[test]
    fn replacing_compares_whole_records() {
        assert!(plain(r#"{"a":1,"b":[2]}"#).same(&plain(r#"{"b":[2.0],"a":1}"#)));
        assert!(!plain(r#"{"a":1,"b":2}"#).same(&plain(r#"{"a":1}"#)));
        assert!(!plain(r#"{"a":null}"#).same(&plain(r#"{}"#)));
    }

    #[test]
    fn searching() {
        let record = plain(r#"{"t":"a","q":"say \"x\"","n":12,"b":true,"z":null,"s":"null"}"#);
        for (key, wanted, found) in [
            ("t", "a", true),
            ("t", "A", false),
            ("q", "say \"x\"", true),
            ("n", "12", true),
            ("b", "true", true),
            ("z", "null", false),
            ("s", "null", true),
            ("none", "", false),
        ] {
            assert_eq!(record.is(key, wanted), found, "{key}={wanted}");
        }
    }

    #[test]
    fn undecodable_values_are_refused() {
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(500), "]".repeat(500));
        for json in [r#"{"a":"\ud800"}"#, r#"{"a":1,"a":2}"#, r#"{"a":{"b":1,"b":2}}"#, r#"[1]"#, r#"7"#, &deep] {
            let refusal = properties(json, &ObjectSettings::new("contacts")).expect_err(json);
            assert_eq!(refusal.status(), 400, "{json}");
        }
    }

    #[test]
    fn normalising() {
        let settings = ObjectSettings::new("contacts").normalise(true);
        let stored = properties(r#"{"email":" Ana@X.DE ","name":"  Ana ","tags":[" a "],"n":1}"#, &settings);
        let expected = r#"{"email":"ana@x.de","name":"Ana","tags":[" a "],"n":1}"#;
        assert_eq!(text(&stored.expect("valid")), expected);
    }

    #[test]
    fn checks_name_the_property() {
        let one_of = Check::OneOf(vec!["F".into(), "P".into()]);
        for (check, good, bad) in [
            (Check::Text, r#""""#, "1"),
            (Check::Number, "-1.5e3", r#""1""#),
            (Check::Boolean, "false", "0"),
            (Check::List, "[]", "{}"),
            (Check::Email, r#""a@b.c""#, r#""a@b""#),
            (Check::Email, r#""é+x@sub.example.com""#, r#""a b@c.d""#),
            (Check::Email, "null", r#""a@b@c.d""#),
            (one_of, r#""P""#, r#""X""#),
            (Check::MaxLength(2), r#""é日""#, r#""abc""#),
        ] {
            let settings = ObjectSettings::new("contacts").check("p", check.clone());
            assert!(properties(&format!(r#"{{"p":{good},"q":{{}}}}"#), &settings).is_ok(), "{check:?} {good}");
            let refusal = properties(&format!(r#"{{"p":{bad}}}"#), &settings).expect_err(bad);
            assert_eq!(refusal.error_json()["property"], "p", "{check:?} {bad}");
            assert_eq!(refusal.status(), 422);
        }
    }
}
