//! Requests taken apart: names, ids, limits, preconditions, bodies.

use std::borrow::Cow;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap};
use percent_encoding::percent_decode_str;

use crate::model::ids::{MAX_RECORD_ID_BYTES, ObjectName, RecordId, Scope, Version};
use crate::model::value::Value;
use crate::web::ApiError;

/// The largest body taken, in bytes.
pub(super) const MAX_BODY_BYTES: usize = 1024 * 1024;

/// The longest scope or object name, in bytes.
const MAX_NAME_BYTES: usize = 256;

/// Entries in an answer unless the request says otherwise.
const DEFAULT_LIMIT: usize = 100;

/// The most entries in an answer.
const MAX_LIMIT: usize = 1_000;

/// The segment after an object that asks for its changes. A record with this id is
/// reached by escaping a letter of it: `%63hanges`.
const CHANGES: &str = "changes";

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub scope: Scope,
    pub object: ObjectName,
}

/// What follows an object in a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tail {
    Changes,
    Record(RecordId),
}

/// Takes `…/{scope}/{object}` apart. Given the raw path, because each segment is
/// decoded by itself: an id may hold a slash.
pub(super) fn object_target(raw_path: &str) -> Result<Target, ApiError> {
    let mut segments = raw_path.rsplit('/');
    let object = name(segments.next(), "object")?;
    let scope = name(segments.next(), "scope")?;
    Ok(Target { scope: Scope::from(scope), object: ObjectName::from(object) })
}

/// Takes `…/{scope}/{object}/{id}` apart.
pub(super) fn record_target(raw_path: &str) -> Result<(Target, Tail), ApiError> {
    let Some((object_path, segment)) = raw_path.rsplit_once('/') else {
        return Err(ApiError::not_found("there is nothing here"));
    };
    let tail = if segment == CHANGES { Tail::Changes } else { Tail::Record(record_id(segment)?) };
    Ok((object_target(object_path)?, tail))
}

fn record_id(segment: &str) -> Result<RecordId, ApiError> {
    let id = decode(segment)?;
    if id.is_empty() || id.len() > MAX_RECORD_ID_BYTES {
        let message = format!("a record id has 1 to {MAX_RECORD_ID_BYTES} bytes");
        return Err(ApiError::bad_request("bad_id", message));
    }
    Ok(RecordId::from(id.into_owned()))
}

fn name(segment: Option<&str>, what: &str) -> Result<String, ApiError> {
    let name = decode(segment.unwrap_or_default())?;
    let fits = !name.is_empty() && name.len() <= MAX_NAME_BYTES && !name.chars().any(char::is_control);
    if fits {
        Ok(name.into_owned())
    } else {
        let message = format!("the {what} must have 1 to {MAX_NAME_BYTES} bytes and no control characters");
        Err(ApiError::bad_request("bad_name", message))
    }
}

fn decode(segment: &str) -> Result<Cow<'_, str>, ApiError> {
    let decoded = percent_decode_str(segment).decode_utf8();
    decoded.map_err(|_| ApiError::bad_request("bad_path", "the path is not UTF-8 once it is percent-decoded"))
}

/// The query of a list.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Query {
    pub limit: usize,
    pub cursor: Option<RecordId>,
    pub since: u64,
}

impl Query {
    /// Reads a raw query; `allowed` are the keys that make sense here.
    pub fn read(raw: &str, allowed: &[&str]) -> Result<Self, ApiError> {
        let mut query = Query { limit: DEFAULT_LIMIT, ..Query::default() };
        for (key, value) in url::form_urlencoded::parse(raw.as_bytes()) {
            if !allowed.contains(&&*key) {
                let message = format!("unknown query key '{}', use {}", clip(&key), allowed.join(", "));
                return Err(ApiError::bad_request("bad_query", message));
            }
            match &*key {
                "limit" => query.limit = number(&key, &value).map(|n: usize| n.clamp(1, MAX_LIMIT))?,
                "since" => query.since = number(&key, &value)?,
                _ => query.cursor = Some(RecordId::from(value.into_owned())),
            }
        }
        Ok(query)
    }
}

fn number<T: std::str::FromStr>(key: &str, value: &str) -> Result<T, ApiError> {
    let message = || format!("'{key}' must be a whole number, not '{}'", clip(value));
    value.parse().map_err(|_| ApiError::bad_request("bad_query", message()))
}

/// What must hold of a record for a write to be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    /// Nothing.
    None,
    /// It exists (`If-Match: *`).
    Exists,
    /// It has this version (`If-Match: "…"`).
    Version(Version),
    /// It does not exist (`If-None-Match: *`).
    Absent,
}

impl Condition {
    pub fn read(headers: &HeaderMap) -> Result<Self, ApiError> {
        let text = |name| match headers.get(name).map(|value| value.to_str()) {
            None => Ok(None),
            Some(Ok(text)) => Ok(Some(text.trim())),
            Some(Err(_)) => Err(bad_condition()),
        };
        match (text(header::IF_MATCH)?, text(header::IF_NONE_MATCH)?) {
            (None, None) => Ok(Condition::None),
            (Some("*"), None) => Ok(Condition::Exists),
            (Some(tag), None) => match tag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
                Some(version) if !version.contains('"') => Ok(Condition::Version(Version::from(version))),
                Some(_) | None => Err(bad_condition()),
            },
            (None, Some("*")) => Ok(Condition::Absent),
            (_, Some(_)) => Err(bad_condition()),
        }
    }
}

fn bad_condition() -> ApiError {
    let message = "give one If-Match with a quoted version or *, or If-None-Match: *";
    ApiError::bad_request("bad_condition", message)
}

/// Refuses a body that does not say it is JSON. A page of another origin may send only
/// other types without asking first, so this also keeps web pages out.
pub(super) fn must_be_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == "application/json" || essence == "application/merge-patch+json" {
        return Ok(());
    }
    let message = "send the record as content-type application/json";
    Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", message))
}

/// Reads a body as one JSON object.
pub(super) fn json_object(body: &[u8]) -> Result<Value, ApiError> {
    let bad = |message: String| ApiError::bad_request("bad_json", message);
    let text = std::str::from_utf8(body).map_err(|_| bad("the body is not UTF-8".into()))?;
    let value = Value::from_json(text).map_err(|error| bad(clip(&error.to_string())))?;
    match value {
        Value::Object(_) => Ok(value),
        other => Err(bad(format!("a record is an object, not a {}", other.kind()))),
    }
}

/// Foreign text, made safe to print.
fn clip(text: &str) -> String {
    text.escape_debug().take(300).collect()
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn ids_are_decoded_as_one_segment() {
        for (path, want) in [
            ("/a/o/1", Ok(("a", "o", Some("1")))),
            ("/mounted/here/a/o/x%2Fy%20z", Ok(("a", "o", Some("x/y z")))),
            ("/a%2Fb/o/%2e%2E", Ok(("a/b", "o", Some("..")))),
            ("/a/o/100%25", Ok(("a", "o", Some("100%")))),
            ("/a/o/%2525", Ok(("a", "o", Some("%25")))),
            ("/a/o/a+b", Ok(("a", "o", Some("a+b")))),
            ("/a/o/changes", Ok(("a", "o", None))),
            ("/a/o/%63hanges", Ok(("a", "o", Some("changes")))),
            ("/a/o/", Err("bad_id")),
            ("/a/o/%ff", Err("bad_path")),
            ("//o/1", Err("bad_name")),
            ("/a//1", Err("bad_name")),
            ("/a/o%0a/1", Err("bad_name")),
        ] {
            let got = record_target(path).map(|(target, tail)| match tail {
                Tail::Changes => (target, None),
                Tail::Record(id) => (target, Some(id)),
            });
            let want = want.map(|(scope, object, id)| {
                (Target { scope: scope.into(), object: object.into() }, id.map(RecordId::from))
            });
            assert_eq!(got.map_err(|error| error.code()), want, "{path}");
        }
        assert!(record_target(&format!("/a/o/{}", "x".repeat(1_024))).is_ok());
        assert!(record_target(&format!("/a/o/{}", "x".repeat(1_025))).is_err());
    }

    #[test]
    fn conditions() {
        let (if_match, if_none) = (header::IF_MATCH, header::IF_NONE_MATCH);
        for (pairs, want) in [
            (vec![], Some(Condition::None)),
            (vec![(if_match.clone(), "*")], Some(Condition::Exists)),
            (vec![(if_match.clone(), " \"7\" ")], Some(Condition::Version("7".into()))),
            (vec![(if_none.clone(), "*")], Some(Condition::Absent)),
            (vec![(if_match.clone(), "7")], None),
            (vec![(if_match.clone(), "W/\"7\"")], None),
            (vec![(if_match.clone(), "\"7\", \"8\"")], None),
            (vec![(if_match.clone(), "\"")], None),
            (vec![(if_none.clone(), "\"7\"")], None),
            (vec![(if_match, "*"), (if_none, "*")], None),
        ] {
            assert_eq!(Condition::read(&headers(&pairs)).ok(), want, "{pairs:?}");
        }
    }

    #[test]
    fn queries() {
        let allowed = ["limit", "cursor"];
        let ok = |raw| Query::read(raw, &allowed).unwrap();
        assert_eq!(ok(""), Query { limit: 100, cursor: None, since: 0 });
        assert_eq!(ok("limit=0&cursor=a%2Fb+c"), Query { limit: 1, cursor: Some("a/b c".into()), since: 0 });
        assert_eq!(ok("limit=999999").limit, 1_000);
        for bad in ["limit=x", "limit=-1", "since=1", "page=2", "limit=99999999999999999999999"] {
            assert!(Query::read(bad, &allowed).is_err(), "{bad}");
        }
    }

    #[test]
    fn bodies() {
        assert!(json_object(br#"{"a":{"b":1}}"#).is_ok());
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        for bad in
            ["", "[]", "1", "null", r#"{"a":1,"a":2}"#, r#"{"o":{"b":1,"b":2}}"#, r#"{"a":1} x"#, "\u{feff}{}", &deep]
        {
            assert_eq!(json_object(bad.as_bytes()).map_err(|error| error.code()), Err("bad_json"), "{bad:.40}");
        }
        assert!(json_object(b"{\"a\":\"\xff\"}").is_err());
        for (content_type, taken) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/merge-patch+json", true),
            ("text/plain", false),
            ("application/x-www-form-urlencoded", false),
        ] {
            assert_eq!(must_be_json(&headers(&[(header::CONTENT_TYPE, content_type)])).is_ok(), taken);
        }
        assert!(must_be_json(&HeaderMap::new()).is_err());
    }
}
