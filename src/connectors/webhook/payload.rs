//! What a webhook tells: which records of which objects may have changed, read from the
//! places that the connector file declares.
//!
//! Only names are taken from it. What a delivery says of a record's content is not
//! believed, so a body can neither bring a value into anybody's data nor choose whose.

use crate::model::ids::{MAX_RECORD_ID_BYTES, ObjectName, RecordId};
use crate::model::path::Path;
use crate::model::value::Value;

use super::signature::Scheme;

/// The most records of one delivery that are taken one by one; of one with more only the
/// objects are, whose lists of changes are then read.
pub const MOST_EVENTS: usize = 1_000;

/// The longest text of a record that is kept beside its hint, in bytes; one with a longer one
/// is read.
pub const MOST_RECORD_BYTES: usize = 65_536;

/// How an app's webhooks are known and read: the `[webhook]` table of a connector file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookSpec {
    /// How a delivery is shown to come from the app.
    pub scheme: Scheme,
    /// Where the list of events stands; `None` where the body is one event, or a list.
    pub events: Option<Path>,
    /// Which object an event is about.
    pub object: ObjectPlace,
    /// Where an event names its record, or a list of records; the first of these places
    /// that holds anything counts. Empty where it does not.
    pub ids: Vec<Path>,
    /// Where an event names the account it is about: for apps that tell all accounts'
    /// events to one URL.
    pub account: Option<Path>,
    /// Where an event holds the whole record, as a list of the object shows it.
    pub record: Option<Path>,
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
    /// The record's text, where the app sends the whole record and that is declared.
    pub record: Option<String>,
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
            let all = Told { account: None, object: None, id: None, record: None };
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
        for event in self.events_of(&value)? {
            match self.told(event) {
                Some(told) => payload.told.extend(told),
                None => payload.others += 1,
            }
        }
        if payload.told.len() > MOST_EVENTS {
            payload.told.iter_mut().for_each(|told| (told.id, told.record) = (None, None));
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

    /// What an event is about, its records one by one; `None` where it is about nothing
    /// that is declared.
    fn told(&self, event: &Value) -> Option<Vec<Told>> {
        let object = match &self.object {
            ObjectPlace::Any => None,
            ObjectPlace::Always(object) => Some(object.clone()),
            ObjectPlace::By { path, names } => {
                let word = plain_text(event.get(path)?)?;
                Some(names.iter().find(|(pattern, _)| fits(pattern, &word))?.1.clone())
            }
        };
        let account = self.account.as_ref().and_then(|path| plain_text(event.get(path)?));
        let found = self.ids.iter().filter_map(|path| event.get(path)).find(|value| **value != Value::Null);
        // An id that cannot be used leaves the object: nothing is lost, only slower.
        let ids = match found {
            Some(Value::Array(ids)) if !ids.is_empty() => ids.iter().map(record_id).collect(),
            found => vec![found.and_then(record_id)],
        };
        let record = self.record.as_ref().filter(|_| ids.len() == 1).and_then(|path| event.get(path));
        let record = record.map(Value::to_json).filter(|text| text.len() <= MOST_RECORD_BYTES);
        let told = |id: Option<RecordId>| Told {
            account: account.clone(),
            id: id.filter(|_| object.is_some()),
            object: object.clone(),
            record: record.clone(),
        };
        Some(ids.into_iter().map(told).collect())
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
            ids: vec!["data.id".parse().unwrap()],
            account: Some("portal".parse().unwrap()),
            record: None,
            handshake: None,
        }
    }

    fn told(object: &str, id: Option<&str>, account: Option<&str>) -> Told {
        let (account, id) = (account.map(str::to_owned), id.map(RecordId::from));
        Told { account, object: Some(object.into()), id, record: None }
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
    fn a_record_is_told_with_its_text_where_it_is_the_only_one_and_not_too_long() {
        let spec = WebhookSpec { record: Some("data".parse().unwrap()), ..spec() };
        let record = |body: &str| spec.read(body.as_bytes()).unwrap().told[0].record.clone();
        let whole = record(r#"{"type":"contact.x","data":{"id":7,"price":1.50}}"#);
        assert_eq!(whole.as_deref(), Some(r#"{"id":7,"price":1.50}"#));
        assert_eq!(record(r#"{"type":"contact.x"}"#), None);
        assert_eq!(record(r#"{"type":"contact.x","data":{"id":[7,8]}}"#), None, "which of them?");
        let long = format!(r#"{{"type":"contact.x","data":{{"id":7,"x":"{}"}}}}"#, "x".repeat(MOST_RECORD_BYTES));
        assert_eq!(record(&long), None);
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
            ("[]", None),
            ("[7]", Some("7")),
            ("[[7]]", None),
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
    fn an_event_may_name_several_records_or_one_in_either_of_two_places() {
        let spec = WebhookSpec { ids: vec!["key".parse().unwrap(), "keys".parse().unwrap()], ..spec() };
        let of = |ids: &[Option<&str>]| ids.iter().map(|id| told("contacts", *id, None)).collect::<Vec<_>>();
        for (event, want) in [
            (r#""key":"a""#, of(&[Some("a")])),
            (r#""keys":["c","b","c"]"#, of(&[Some("b"), Some("c")])),
            (r#""key":null,"keys":["b"]"#, of(&[Some("b")])),
            (r#""key":"a","keys":["b"]"#, of(&[Some("a")])),
            // What cannot be used leaves the object beside what can.
            (r#""keys":["b",{},null]"#, of(&[None, Some("b")])),
            (r#""other":1"#, of(&[None])),
        ] {
            let body = format!(r#"{{"type":"contact.x",{event}}}"#);
            assert_eq!(spec.read(body.as_bytes()).unwrap().told, want, "{event}");
        }
        let keys: Vec<String> = (0..=MOST_EVENTS).map(|number| number.to_string()).collect();
        let body = format!(r#"{{"type":"contact.x","keys":[{}]}}"#, keys.join(","));
        assert_eq!(spec.read(body.as_bytes()).unwrap().told, of(&[None]));
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
            assert_eq!(ping.read(body).unwrap().told, [Told { account: None, object: None, id: None, record: None }]);
        }
        let asks = Handshake::Body { path: Path::key("challenge") };
        let slack = WebhookSpec { handshake: Some(asks), ..spec() };
        let payload = slack.read(br#"{"type":"url_verification","challenge":"3eZb"}"#).unwrap();
        assert_eq!((payload.challenge.as_deref(), payload.told.len()), (Some("3eZb"), 0));
    }
}
