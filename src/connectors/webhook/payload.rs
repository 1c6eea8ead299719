//! What a webhook tells: which records of which objects may have changed, read from the
//! places that the connector file declares.
//!
//! Only names are taken from it. What a delivery says of a record's content is not
//! believed, so a body can neither bring a value into anybody's data nor choose whose.

use crate::model::ids::{MAX_RECORD_ID_BYTES, ObjectName, RecordId};
use crate::model::path::Path;
use crate::model::value::Value;

use super::signature::Scheme;

/// The most events of one delivery that are taken one by one; of one with more only the
/// objects are, whose lists of changes are then read.
pub const MOST_EVENTS: usize = 1_000;

/// How an app's webhooks are known and read: the `[webhook]` table of a connector file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookSpec {
    /// How a delivery is shown to come from the app.
    pub scheme: Scheme,
    /// Where the list of events stands; `None` where the body is one event, or a list.
    pub events: Option<Path>,
    /// Which object an event is about.
    pub object: ObjectPlace,
    /// Where an event names its record; `None` where it does not.
    pub id: Option<Path>,
    /// Where an event names the account it is about: for apps that tell all accounts'
    /// events to one URL.
    pub account: Option<Path>,
    /// How the app asks whether anybody is there.
    pub handshake: Option<Handshake>,
}

/// Which object an event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectPlace {
    /// It does not say: all that are synced.
    Any,
    /// Always this one.
    Always(ObjectName),
    /// What stands at a path decides.
    By {
        /// The path.
        path: Path,
        /// Patterns with the object each stands for; `*` at an end stands for anything.
        /// The first that fits counts.
        names: Vec<(String, ObjectName)>,
    },
}

/// How an app asks whether anybody is there, before it sends anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handshake {
    /// A parameter of the query is answered with its value, as plain text.
    Query {
        /// The parameter.
        param: String,
    },
    /// What stands in the body is answered, after the signature was checked.
    Body {
        /// Where it stands.
        path: Path,
    },
}

/// What one event tells.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Told {
    /// The account, where the app names it.
    pub account: Option<String>,
    /// The object; `None` for all.
    pub object: Option<ObjectName>,
    /// The record; `None` where the event does not name it in a way that can be used.
    pub id: Option<RecordId>,
}

/// What a delivery tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Payload {
    /// Each thing once, in no particular order.
    pub told: Vec<Told>,
    /// How many events were about nothing that is declared.
    pub others: usize,
    /// The text to answer to a handshake.
    pub challenge: Option<String>,
}

/// A body that cannot be read. Not shown to the sender.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the body cannot be read: {0}")]
pub struct BadBody(pub String);

impl WebhookSpec {
    /// Reads a body whose signature was checked.
    ///
    /// # Errors
    /// When it is no JSON, says a thing twice, nests too deep, or does not hold a list of
    /// events where one is declared.
    pub fn read(&self, body: &[u8]) -> Result<Payload, BadBody> {
        if body.iter().all(u8::is_ascii_whitespace) && self.object == ObjectPlace::Any {
            let all = Told { account: None, object: None, id: None };
            return Ok(Payload { told: vec![all], ..Payload::default() });
        }
        let text = std::str::from_utf8(body).map_err(|_| BadBody("it is not UTF-8".to_owned()))?;
        let value = Value::from_json(text).map_err(|error| BadBody(error.to_string()))?;
        if let Some(Handshake::Body { path }) = &self.handshake
            && let Some(challenge) = value.get(path).and_then(Value::as_str)
        {
            return Ok(Payload { challenge: Some(challenge.to_owned()), ..Payload::default() });
        }
        let mut payload = Payload::default();
        let events = self.events_of(&value)?;
        let by_id = events.len() <= MOST_EVENTS;
        for event in events {
            match self.told(event) {
                Some(told) if by_id => payload.told.push(told),
                Some(told) => payload.told.push(Told { id: None, ..told }),
                None => payload.others += 1,
            }
        }
        payload.told.sort_unstable();
        payload.told.dedup();
        Ok(payload)
    }

    fn events_of<'v>(&self, value: &'v Value) -> Result<Vec<&'v Value>, BadBody> {
        match (&self.events, value) {
            (Some(path), value) => match value.get(path) {
                Some(Value::Array(events)) => Ok(events.iter().collect()),
                Some(other) => Err(BadBody(format!("'{path}' is no list of events, it is: {}", other.kind()))),
                None => Err(BadBody(format!("there is no list of events at '{path}'"))),
            },
            (None, Value::Array(events)) => Ok(events.iter().collect()),
            (None, event) => Ok(vec![event]),
        }
    }

    fn told(&self, event: &Value) -> Option<Told> {
        let object = match &self.object {
            ObjectPlace::Any => None,
            ObjectPlace::Always(object) => Some(object.clone()),
            ObjectPlace::By { path, names } => {
                let word = plain_text(event.get(path)?)?;
                Some(names.iter().find(|(pattern, _)| fits(pattern, &word))?.1.clone())
            }
        };
        // An id that cannot be used leaves the object: nothing is lost, only slower.
        let id = self.id.as_ref().and_then(|path| record_id(event.get(path)?));
        let account = self.account.as_ref().and_then(|path| plain_text(event.get(path)?));
        Some(Told { account, id: id.filter(|_| object.is_some()), object })
    }
}

/// A pattern with `*` at its beginning or end; anything else stands for itself.
fn fits(pattern: &str, word: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(end), _) => word.ends_with(end),
        (None, Some(beginning)) => word.starts_with(beginning),
        (None, None) => word == pattern,
    }
}

/// A text, or a number as it is spelled.
fn plain_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.as_str().to_owned()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// An id as the app spells it in a list, too: a number only where it is a whole one, as
/// another spelling would name another record.
fn record_id(value: &Value) -> Option<RecordId> {
    let text = match value {
        Value::String(text) => text.as_str(),
        Value::Number(number) => number.as_str(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    let is_number = matches!(value, Value::Number(_));
    let is_whole = text.strip_prefix('-').unwrap_or(text).bytes().all(|byte| byte.is_ascii_digit()) && text != "-0";
    let is_usable = !text.is_empty() && text.len() <= MAX_RECORD_ID_BYTES && !text.chars().any(char::is_control);
    (is_usable && (is_whole || !is_number)).then(|| RecordId::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> WebhookSpec {
        WebhookSpec {
            scheme: Scheme::Unsigned,
            events: None,
            object: ObjectPlace::By {
                path: "type".parse().unwrap(),
                names: vec![("contact.*".to_owned(), "contacts".into()), ("*.company".to_owned(), "companies".into())],
            },
            id: Some("data.id".parse().unwrap()),
            account: Some("portal".parse().unwrap()),
            handshake: None,
        }
    }

    fn told(object: &str, id: Option<&str>, account: Option<&str>) -> Told {
        Told { account: account.map(str::to_owned), object: Some(object.into()), id: id.map(RecordId::from) }
    }

    #[test]
    fn events_are_read_from_where_they_are_declared_each_thing_once() {
        let body = br#"{"type":"contact.updated","portal":62,"data":{"id":"7","name":"not looked at"}}"#;
        assert_eq!(spec().read(body).unwrap().told, [told("contacts", Some("7"), Some("62"))]);
        let list = br#"[{"type":"contact.a","data":{"id":7}},{"type":"new.company","data":{"id":"7"}},
                        {"type":"contact.b","data":{"id":"7"}},{"type":"deal.x","data":{"id":"1"}},{"no":"type"}]"#;
        let payload = spec().read(list).unwrap();
        assert_eq!(payload.told, [told("companies", Some("7"), None), told("contacts", Some("7"), None)]);
        assert_eq!(payload.others, 2);
        let nested = WebhookSpec { events: Some("batch.events".parse().unwrap()), ..spec() };
        let body = br#"{"batch":{"events":[{"type":"contact.x","data":{}}]}}"#;
        assert_eq!(nested.read(body).unwrap().told, [told("contacts", None, None)]);
        let long = format!("[{}]", vec![r#"{"type":"contact.a","data":{"id":7}}"#; MOST_EVENTS + 1].join(","));
        assert_eq!(spec().read(long.as_bytes()).unwrap().told, [told("contacts", None, None)]);
    }

    #[test]
    fn ids_keep_their_text_or_leave_the_object() {
        for (id, want) in [
            ("9223372036854775809", Some("9223372036854775809")),
            ("123456789012345678901234567890", Some("123456789012345678901234567890")),
            (r#""007""#, Some("007")),
            ("-5", Some("-5")),
            ("-0", None),
            ("1.0", None),
            ("1e400", None),
            ("null", None),
            ("true", None),
            ("[1]", None),
            (r#""""#, None),
            (r#""a\u0000b""#, None),
            (r#""../../x?admin=1""#, Some("../../x?admin=1")),
        ] {
            let body = format!(r#"{{"type":"contact.x","data":{{"id":{id}}}}}"#);
            assert_eq!(spec().read(body.as_bytes()).unwrap().told, [told("contacts", want, None)], "{id}");
        }
        let body = format!(r#"{{"type":"contact.x","data":{{"id":"{}"}}}}"#, "x".repeat(MAX_RECORD_ID_BYTES + 1));
        assert_eq!(spec().read(body.as_bytes()).unwrap().told, [told("contacts", None, None)]);
    }

    #[test]
    fn bodies_that_say_two_things_or_nothing_are_refused() {
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        for body in [
            &br#"{"type":"contact.x","data":{"id":1,"id":2}}"#[..],
            br#"{"type":"contact.x","type":"deal.x"}"#,
            b"{",
            b"",
            b"<xml/>",
            b"\xff\xfe",
            br#"{"type":"\ud800"}"#,
            deep.as_bytes(),
        ] {
            assert!(spec().read(body).is_err(), "{}", String::from_utf8_lossy(&body[..body.len().min(60)]));
        }
        let nested = WebhookSpec { events: Some("events".parse().unwrap()), ..spec() };
        let problem = nested.read(br#"{"events":{"type":"contact.x"}}"#).unwrap_err().to_string();
        assert!(problem.contains("'events' is no list of events, it is: object"), "{problem}");
    }

    #[test]
    fn a_ping_is_about_everything_and_a_challenge_about_nothing() {
        let ping = WebhookSpec { object: ObjectPlace::Any, ..spec() };
        for body in [&b""[..], b" \n", br#"{"anything":1}"#] {
            assert_eq!(ping.read(body).unwrap().told, [Told { account: None, object: None, id: None }]);
        }
        let asks = Handshake::Body { path: Path::key("challenge") };
        let slack = WebhookSpec { handshake: Some(asks), ..spec() };
        let payload = slack.read(br#"{"type":"url_verification","challenge":"3eZb"}"#).unwrap();
        assert_eq!((payload.challenge.as_deref(), payload.told.len()), (Some("3eZb"), 0));
    }
}
