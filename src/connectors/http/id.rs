//! What names a record: one value of it, or several that are joined to one id and taken apart
//! again where a request wants them one by one.

use serde_json::value::RawValue;

use crate::model::ids::{MAX_RECORD_ID_BYTES, RecordId};
use crate::model::path::Path;
use crate::model::value::{Number, Value};

use super::raw::{Fields, kind, text_of};
use super::text::clip;

/// The id of an object's records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IdSpec {
    /// One or more.
    parts: Vec<IdPart>,
    /// What stands between two parts; empty where there is one.
    separator: String,
    /// The value is an address, in which the id stands.
    within: Option<Within>,
}

/// The end of an address: what stands before the id, and what comes after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Within {
    before: String,
    after: String,
}

impl Within {
    /// From a text around `{id}`; `None` unless it stands there once.
    pub fn parse(text: &str) -> Option<Self> {
        let (before, after) = text.split_once("{id}")?;
        (!after.contains("{id}")).then(|| Self { before: before.to_owned(), after: after.to_owned() })
    }

    /// The id in an address, without its encoding.
    fn find(&self, address: &str) -> Result<String, String> {
        let Self { before, after } = self;
        let end = address.strip_suffix(after.as_str());
        let id = if before.is_empty() { end } else { end.and_then(|end| Some(end.rsplit_once(before.as_str())?.1)) };
        let id = id.ok_or_else(|| format!("'{}' does not end in '{before}{{id}}{after}'", clip(address)))?;
        let decoded = percent_encoding::percent_decode_str(id).decode_utf8();
        decoded.map(String::from).map_err(|_| format!("the id in '{}' is not UTF-8", clip(address)))
    }
}

/// One value of an id.
#[derive(Debug, Clone, PartialEq, Eq)]
struct IdPart {
    path: Path,
    /// It is written as a JSON number where it stands in a body.
    is_number: bool,
}

/// Why a record has no id, and where.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoId {
    pub path: String,
    pub reason: String,
}

impl IdSpec {
    /// An id that is one value.
    pub fn single(path: Path, is_number: bool) -> Self {
        Self { parts: vec![IdPart { path, is_number }], separator: String::new(), within: None }
    }

    /// An id of several values.
    pub fn composed(parts: Vec<(Path, bool)>, separator: String) -> Self {
        let parts = parts.into_iter().map(|(path, is_number)| IdPart { path, is_number });
        Self { parts: parts.collect(), separator, within: None }
    }

    /// The same, of which the value is an address with the id in it.
    pub fn within(self, within: Option<Within>) -> Self {
        Self { within, ..self }
    }

    /// An id as a text of the side tells it.
    ///
    /// # Errors
    /// With the reason, where the text is not such an address.
    pub fn told(&self, text: String) -> Result<String, String> {
        match &self.within {
            None => Ok(text),
            Some(within) => within.find(&text),
        }
    }

    /// Whether it is made of several values.
    pub fn is_composed(&self) -> bool {
        self.parts.len() > 1
    }

    /// Where its values stand in a record.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.parts.iter().map(|part| &part.path)
    }

    /// A record's id as the side spells it.
    ///
    /// # Errors
    /// With the place, where a value is missing or cannot be part of an id, or where the parts
    /// could not be told apart again.
    pub fn of(&self, fields: &Fields<'_>) -> Result<RecordId, NoId> {
        let mut id = String::new();
        for (i, part) in self.parts.iter().enumerate() {
            let no_id = |reason: String| NoId { path: part.path.to_string(), reason };
            let raw = fields.get(&part.path).map_err(no_id)?;
            let text = self.part_text(part, raw).map_err(no_id)?;
            if i > 0 {
                id.push_str(&self.separator);
            }
            id.push_str(&text);
            let many = i + 1;
            // Also where a part ends like the separator begins.
            if self.is_composed() && !self.separates(&id, many, &text) {
                return Err(no_id(format!(
                    "the part '{}' of its id cannot be told apart from the separator '{}'",
                    clip(&text),
                    self.separator
                )));
            }
        }
        let whole = |reason: String| NoId { path: self.name(), reason };
        check_id(&id).map_err(whole)?;
        Ok(RecordId::new(id))
    }

    fn part_text(&self, part: &IdPart, raw: Option<&RawValue>) -> Result<String, String> {
        let raw = raw.ok_or_else(|| format!("it has no id at '{}'", part.path))?;
        let text = self.told(text_of(raw).ok_or_else(|| format!("its id is {}", kind(raw)))?)?;
        if self.is_composed() && text.is_empty() {
            return Err(format!("the part '{}' of its id is empty", part.path));
        }
        Ok(text)
    }

    fn separates(&self, joined: &str, count: usize, last: &str) -> bool {
        let parts: Vec<&str> = joined.split(self.separator.as_str()).collect();
        parts.len() == count && parts.last() == Some(&last)
    }

    /// The paths, for messages.
    pub fn name(&self) -> String {
        let paths: Vec<String> = self.paths().map(Path::to_string).collect();
        paths.join("+")
    }

    /// Whether an id can be taken apart.
    ///
    /// # Errors
    /// With the reason.
    pub fn check(&self, id: &str) -> Result<(), String> {
        if !self.is_composed() {
            return Ok(());
        }
        let parts: Vec<&str> = id.split(self.separator.as_str()).collect();
        if parts.len() != self.parts.len() || parts.contains(&"") {
            let (id, many) = (clip(id), self.parts.len());
            return Err(format!("the id '{id}' is not {many} parts ({}) around '{}'", self.name(), self.separator));
        }
        Ok(())
    }

    /// An id as it stands in a body.
    pub fn value(&self, id: &str) -> Value {
        match &self.parts[..] {
            [only] => only.value(id),
            _ => Value::string(id),
        }
    }

    /// The part of an id that stands at the path of this name.
    pub fn part(&self, id: &str, name: &str) -> Option<Value> {
        self.split(id).find(|(part, _)| part.path.to_string() == name).map(|(part, text)| part.value(text))
    }

    /// Whether there is a part of this name.
    pub fn has_part(&self, name: &str) -> bool {
        self.is_composed() && self.paths().any(|path| path.to_string() == name)
    }

    fn split<'a>(&'a self, id: &'a str) -> impl Iterator<Item = (&'a IdPart, &'a str)> {
        let texts: Vec<&str> = if self.is_composed() { id.split(self.separator.as_str()).collect() } else { vec![id] };
        self.parts.iter().zip(texts)
    }

    /// Writes an id into the record that it names.
    pub fn write(&self, record: &mut Value, id: &str) {
        self.split(id).for_each(|(part, text)| record.set(&part.path, part.value(text)));
    }
}

impl IdPart {
    fn value(&self, text: &str) -> Value {
        match Number::parse(text) {
            Ok(number) if self.is_number => Value::Number(number),
            Ok(_) | Err(_) => Value::string(text),
        }
    }
}

/// Whether a text can be a record id.
pub(super) fn check_id(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("its id is empty".to_owned());
    }
    if text.len() > MAX_RECORD_ID_BYTES {
        return Err(format!("its id is longer than {MAX_RECORD_ID_BYTES} bytes"));
    }
    if text.chars().any(char::is_control) {
        return Err(format!("its id '{}' holds a control character", clip(text)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(separator: &str) -> IdSpec {
        IdSpec::composed(
            vec![("account".parse().unwrap(), false), ("meta.no".parse().unwrap(), true)],
            separator.into(),
        )
    }

    fn id_of(spec: &IdSpec, json: &str) -> Result<String, (String, String)> {
        let raw: &RawValue = serde_json::from_str(json).unwrap();
        let id = spec.of(&Fields::of(raw).unwrap());
        id.map(|id| id.to_string()).map_err(|no_id| (no_id.path, no_id.reason))
    }

    #[test]
    fn parts_are_joined_and_taken_apart() {
        let spec = spec("/");
        let id = id_of(&spec, r#"{"account":"a-b","meta":{"no":17}}"#).unwrap();
        assert_eq!(id, "a-b/17");
        assert_eq!((spec.check(&id), spec.part(&id, "account")), (Ok(()), Some(Value::string("a-b"))));
        assert_eq!(spec.part(&id, "meta.no").unwrap().to_json(), "17");
        assert_eq!((spec.part(&id, "no"), spec.value(&id)), (None, Value::string("a-b/17")));
        let mut record = Value::from_json(r#"{"x":1}"#).unwrap();
        spec.write(&mut record, &id);
        assert_eq!(record.to_json(), r#"{"x":1,"account":"a-b","meta":{"no":17}}"#);
        for bad in ["", "a", "a/", "/17", "a/b/17", "//"] {
            let reason = spec.check(bad).unwrap_err();
            assert!(reason.contains("is not 2 parts (account+meta.no) around '/'"), "{bad}: {reason}");
        }
    }

    #[test]
    fn an_id_stands_in_an_address() {
        for (within, address, want) in [
            ("/{id}.vcf", "/books/me/a%20b.vcf", Ok("a b")),
            ("/{id}.vcf", "https://x/books/a@b.vcf", Ok("a@b")),
            ("/{id}", "https://x/users/7", Ok("7")),
            ("urn:{id}", "urn:x:urn:5", Ok("5")),
            ("{id}/", "a/b/", Ok("a/b")),
            ("/{id}.vcf", "/books/me/", Err("'/books/me/' does not end in '/{id}.vcf'")),
            ("/{id}.vcf", "a.vcf", Err("'a.vcf' does not end in '/{id}.vcf'")),
            ("/{id}", "/%ff", Err("the id in '/%ff' is not UTF-8")),
        ] {
            let found = Within::parse(within).unwrap().find(address);
            assert_eq!(found.as_deref().map_err(String::as_str), want, "{within} {address}");
        }
        assert!(["", "/", "{id}{id}"].iter().all(|text| Within::parse(text).is_none()));
    }

    #[test]
    fn what_could_not_be_taken_apart_is_no_id() {
        for (separator, json, path, reason) in [
            ("/", r#"{"account":"a/b","meta":{"no":1}}"#, "account", "the part 'a/b' of its id cannot be told apart"),
            ("/", r#"{"account":"a","meta":{"no":"1/2"}}"#, "meta.no", "the part '1/2' of its id cannot be told apart"),
            ("--", r#"{"account":"a-","meta":{"no":"1"}}"#, "meta.no", "the part '1' of its id cannot be told apart"),
            ("/", r#"{"account":"","meta":{"no":1}}"#, "account", "the part 'account' of its id is empty"),
            ("/", r#"{"account":"a"}"#, "meta.no", "it has no id at 'meta.no'"),
            ("/", r#"{"account":"a","meta":{"no":null}}"#, "meta.no", "its id is null"),
            ("/", r#"{"account":"a\u0001","meta":{"no":1}}"#, "account+meta.no", "its id 'a\\u{1}/1' holds a control"),
        ] {
            let (at, why) = id_of(&spec(separator), json).unwrap_err();
            assert!(at == path && why.starts_with(reason), "{json}: {at}: {why}");
        }
        assert_eq!(id_of(&spec("--"), r#"{"account":"-a","meta":{"no":"1-"}}"#).unwrap(), "-a--1-");
        let long = format!(r#"{{"account":"{}","meta":{{"no":1}}}}"#, "x".repeat(MAX_RECORD_ID_BYTES));
        assert_eq!(id_of(&spec("/"), &long).unwrap_err().0, "account+meta.no");
    }
}
