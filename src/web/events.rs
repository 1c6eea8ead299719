//! Where your backend says that records of your app have changed: `POST /events`.
//!
//! ```json
//! { "connection": "acme", "object": "contacts", "id": "7" }
//! ```
//!
//! Instead of `connection` an event may name a `scope`, for all connections of that
//! customer; instead of `id` several `ids`, or none, which has your app's list of changes
//! read. `record` beside an `id` is the record as your app's list shows it; it stands for a
//! read where it is certainly newer than what is known, and is else ignored. `{ "events": [ … ] }` holds up to 1,000 records of several objects, accepted for
//! each connection as one. `"settle": "2s"` lets the records rest first. What a record holds is not sent: it
//! is read from your app when its turn comes.
//!
//! | Answer | Means |
//! |---|---|
//! | 202 | it is durable: `{"accepted":true}`, or `{"accepted":true,"repeated":true}` where the same `Idempotency-Key` was accepted before |
//! | 400, 401, 404, 413, 422 | told as `{"error":{"code":…,"message":…}}`; nothing was accepted |
//! | 503 with `Retry-After` | not now; nothing was lost that had been accepted |

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};

use crate::connectors::webhook::payload::MOST_RECORD_BYTES;
use crate::model::document::parse_duration_ms;
use crate::model::ids::{MAX_RECORD_ID_BYTES, RecordId};
use crate::model::value::Value;
use crate::triggers::event::{Accepted, Event, EventError, EventTrigger, Fire, Whose};
use crate::triggers::intake::COME_BACK_S;
use crate::triggers::kept::Kept;
use crate::web::ApiError;
use crate::web::bearer::Bearer;

/// The longest idempotency key, in bytes.
const MOST_KEY_BYTES: usize = 255;

/// The longest that records may be asked to rest, in milliseconds.
const MOST_SETTLE_MS: u64 = 3_600_000;

/// The route. Clone it into each worker: `App::new().configure(events.configure())`.
#[derive(Debug, Clone)]
pub struct Events {
    trigger: Arc<Kept<EventTrigger>>,
    bearer: Bearer,
}

impl Events {
    pub(crate) fn new(trigger: Arc<Kept<EventTrigger>>) -> Self {
        Self { trigger, bearer: Bearer::nobody() }
    }

    /// Asks every request for `Authorization: Bearer …`. Only a hash of the token is
    /// kept. Without one, whoever reaches the route may use it.
    #[must_use]
    pub fn with_token(self, token: &str) -> Self {
        Self { bearer: Bearer::of(token), ..self }
    }

    /// Adds `/events` to an actix-web app or scope.
    pub fn configure(&self) -> impl FnOnce(&mut web::ServiceConfig) + use<> {
        let state = web::Data::new(self.clone());
        move |config| {
            let events = web::resource("/events").app_data(state);
            config.service(events.route(web::post().to(fire)));
        }
    }
}

async fn fire(
    request: HttpRequest,
    payload: web::Payload,
    events: web::Data<Events>,
) -> Result<HttpResponse, ApiError> {
    events.bearer.check(request.headers())?;
    let key = match request.headers().get("Idempotency-Key").map(|key| key.to_str()) {
        None => None,
        Some(Ok(key)) if !key.is_empty() && key.len() <= MOST_KEY_BYTES => Some(key.to_owned()),
        Some(_) => {
            let message = format!("an 'Idempotency-Key' is a text of 1 to {MOST_KEY_BYTES} bytes");
            return Err(ApiError::bad_request("bad_key", message));
        }
    };
    let body = super::webhooks::body(payload).await?;
    let fire = Fire { key, ..read(&body)? };
    match events.trigger.send(fire).await.unwrap_or(Err(EventError::Stopped)) {
        Ok(Accepted::Now) => Ok(HttpResponse::Accepted().json(serde_json::json!({ "accepted": true }))),
        Ok(Accepted::Before) => {
            Ok(HttpResponse::Accepted().json(serde_json::json!({ "accepted": true, "repeated": true })))
        }
        Err(error) => Err(refused(&error)),
    }
}

fn refused(error: &EventError) -> ApiError {
    let (status, code) = match error {
        EventError::NoConnection(_) => (StatusCode::NOT_FOUND, "no_connection"),
        EventError::NoScope(_) => (StatusCode::NOT_FOUND, "no_scope"),
        EventError::NoObject { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "no_object"),
        EventError::TooMany => (StatusCode::UNPROCESSABLE_ENTITY, "too_many"),
        EventError::Full(_) => (StatusCode::SERVICE_UNAVAILABLE, "full"),
        EventError::Store(_) => (StatusCode::SERVICE_UNAVAILABLE, "not_stored"),
        EventError::Stopped => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
    };
    let refused = ApiError::new(status, code, error.to_string());
    if status == StatusCode::SERVICE_UNAVAILABLE { refused.retry_after(COME_BACK_S) } else { refused }
}

/// Reads a body. Numbers keep their text, so that an id is named as it is spelled.
fn read(body: &[u8]) -> Result<Fire, ApiError> {
    let bad = |message: String| ApiError::bad_request("bad_event", message);
    let text = std::str::from_utf8(body).map_err(|_| bad("the body is not UTF-8".to_owned()))?;
    let value = Value::from_json(text).map_err(|error| bad(error.to_string()))?;
    let Value::Object(entries) = value else { return Err(bad("the body must be an object".to_owned())) };
    let mut settle_ms = 0;
    let mut list = None;
    let mut event = Vec::new();
    for (key, value) in entries {
        match key.as_str() {
            "settle" => {
                let duration = value.as_str().and_then(parse_duration_ms).filter(|ms| *ms <= MOST_SETTLE_MS);
                settle_ms =
                    duration.ok_or_else(|| bad("'settle' is a duration up to 1h, such as \"2s\"".to_owned()))?;
            }
            "events" => list = Some(value),
            _ => event.push((key, value)),
        }
    }
    let events = match (list, event.first()) {
        (None, _) => vec![one(event).map_err(bad)?],
        (Some(_), Some((key, _))) => return Err(bad(format!("'{key}' stands beside 'events'"))),
        (Some(Value::Array(events)), None) => {
            let read = |(n, event): (usize, Value)| match event {
                Value::Object(entries) => one(entries).map_err(|reason| bad(format!("events[{n}]: {reason}"))),
                other => Err(bad(format!("events[{n}] is no object, it is: {}", other.kind()))),
            };
            events.into_iter().enumerate().map(read).collect::<Result<_, _>>()?
        }
        (Some(other), None) => return Err(bad(format!("'events' is no list, it is: {}", other.kind()))),
    };
    Ok(Fire { events, key: None, settle_ms })
}

fn one(entries: Vec<(String, Value)>) -> Result<Event, String> {
    let (mut whose, mut object, mut ids, mut record) = (None, None, None, None);
    for (key, value) in entries {
        let text = || match value.as_str() {
            Some(text) if !text.is_empty() => Ok(text.to_owned()),
            Some(_) | None => Err(format!("'{key}' must be a text")),
        };
        let twice = |taken: bool, other: &str| match taken {
            true => Err(format!("'{key}' stands beside {other}")),
            false => Ok(()),
        };
        match key.as_str() {
            "connection" => {
                twice(whose.is_some(), "'scope'")?;
                whose = Some(Whose::Connection(text()?.as_str().into()));
            }
            "scope" => {
                twice(whose.is_some(), "'connection'")?;
                whose = Some(Whose::Scope(text()?.as_str().into()));
            }
            "object" => object = Some(text()?.as_str().into()),
            "id" => {
                twice(ids.is_some(), "'ids'")?;
                ids = Some(vec![id(&value)?]);
            }
            "ids" => {
                twice(ids.is_some(), "'id'")?;
                let Value::Array(list) = &value else { return Err("'ids' must be a list".to_owned()) };
                ids = Some(list.iter().map(id).collect::<Result<_, _>>()?);
            }
            "record" => {
                let Value::Object(_) = &value else { return Err("'record' must be an object".to_owned()) };
                record = Some(value.to_json());
            }
            other => {
                return Err(format!(
                    "unknown key '{other}'; an event has connection or scope, object, id or ids, and record"
                ));
            }
        }
    }
    if record.is_some() && ids.as_ref().is_none_or(|ids| ids.len() != 1) {
        return Err("'record' stands beside 'id', whose record it is".to_owned());
    }
    Ok(Event {
        whose: whose.ok_or("it names neither 'connection' nor 'scope'")?,
        object: object.ok_or("it names no 'object'")?,
        ids: ids.unwrap_or_default(),
        record: record.filter(|text| text.len() <= MOST_RECORD_BYTES),
    })
}

fn id(value: &Value) -> Result<RecordId, String> {
    let text = match value {
        Value::String(text) => text.as_str(),
        Value::Number(number) if number.as_str().bytes().all(|byte| byte.is_ascii_digit()) => number.as_str(),
        other => return Err(format!("an id is a text or a whole number, this is: {}", other.kind())),
    };
    if text.is_empty() || text.len() > MAX_RECORD_ID_BYTES || text.chars().any(char::is_control) {
        return Err(format!("an id has 1 to {MAX_RECORD_ID_BYTES} bytes and no control characters"));
    }
    Ok(RecordId::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_or_many_are_read_and_ids_keep_their_text() {
        let fire = read(br#"{"connection":"acme","object":"contacts","id":9007199254740993,"settle":"2s"}"#).unwrap();
        let id = RecordId::from("9007199254740993");
        let whose = Whose::Connection("acme".into());
        assert_eq!(fire.events, [Event { whose, object: "contacts".into(), ids: vec![id], record: None }]);
        assert_eq!(fire.settle_ms, 2_000);
        let fire =
            read(br#"{"events":[{"scope":"a","object":"x","ids":["1","2"]},{"scope":"a","object":"y"}]}"#).unwrap();
        assert_eq!(fire.events.iter().map(|event| event.ids.len()).collect::<Vec<_>>(), [2, 0]);
    }

    #[test]
    fn a_body_that_is_no_event_is_told_what_is_wrong() {
        for (body, said) in [
            ("", "not valid JSON"),
            ("[]", "must be an object"),
            ("{}", "neither 'connection' nor 'scope'"),
            (r#"{"connection":"a"}"#, "no 'object'"),
            (r#"{"connection":"a","scope":"b","object":"c"}"#, "'scope' stands beside 'connection'"),
            (r#"{"connection":"a","object":"c","id":"1","ids":[]}"#, "'ids' stands beside 'id'"),
            (r#"{"connection":"a","object":"c","id":1.0}"#, "a whole number"),
            (r#"{"connection":"a","object":"c","id":""}"#, "1 to 1024 bytes"),
            (r#"{"connection":"a","object":"c","id":"1","id":"2"}"#, "twice"),
            (r#"{"connection":"a","objects":"c"}"#, "unknown key 'objects'"),
            (r#"{"connection":"a","object":"c","record":{}}"#, "'record' stands beside 'id'"),
            (r#"{"connection":"a","object":"c","id":"1","record":7}"#, "'record' must be an object"),
            (r#"{"connection":7,"object":"c"}"#, "'connection' must be a text"),
            (r#"{"events":{}}"#, "is no list"),
            (r#"{"events":[{"connection":"a","object":"c"},7]}"#, "events[1] is no object, it is: number"),
            (r#"{"events":[{"connection":"a"}]}"#, "events[0]: it names no 'object'"),
            (r#"{"events":[],"object":"c"}"#, "'object' stands beside 'events'"),
            (r#"{"connection":"a","object":"c","settle":"2 days"}"#, "'settle' is a duration"),
        ] {
            let error = read(body.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(said), "{body}: {error}");
        }
    }
}
