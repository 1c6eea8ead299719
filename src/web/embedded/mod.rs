//! A small REST API over the records kept in the state file, for a team whose app has
//! no API of its own yet.
//!
//! | Request | Does |
//! |---|---|
//! | `GET /{scope}/{object}?limit=&cursor=` | lists by id |
//! | `GET /{scope}/{object}/changes?since=&limit=` | lists in the order of changes, deletions too |
//! | `POST /{scope}/{object}` | makes a record with an id of the server's choice |
//! | `GET /{scope}/{object}/{id}` | reads one |
//! | `PUT /{scope}/{object}/{id}` | makes or replaces one |
//! | `PATCH /{scope}/{object}/{id}` | merges into one (RFC 7396: a null takes its key away) |
//! | `DELETE /{scope}/{object}/{id}` | deletes one |
//!
//! A request's body is the record itself, one JSON object. An answer wraps it:
//! `{"id":"7","version":"12","modified":"2026-01-01T00:00:00.000Z","record":{…}}`, with
//! the record's text exactly as it is stored. The version is also the `ETag`; a write
//! with `If-Match` is refused with 412 once the record has another one,
//! `If-None-Match: *` makes a `PUT` refuse to replace. A list ends with
//! `"next": null`, else `next` is the following `cursor`. `changes` answers with a
//! `cursor` for the next `since`, and `more` while there is more to read now; it answers
//! 410 when `since` lies ahead of all changes, as after a restored backup: list
//! everything then.
//!
//! An id is one percent-encoded segment of the path and may hold any character. The
//! record with the id `changes` is reached as `%63hanges`.
//!
//! Every write is durable before it is answered, and is a change to be synced: the
//! kernel is told through the function given to [`EmbeddedApi::new`].
//!
//! There is no transport security and, without a token, no protection but the address
//! it is bound to: bind it to loopback, or mount it behind what guards the rest of your
//! program.

mod merge;
mod request;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use actix_web::http::header;
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, web};

use crate::connectors::embedded::{Clock, Embedded, RecordWrite, system_clock};
use crate::model::ids::{ObjectName, RecordId, Scope, Version};
use crate::model::record::{Body, Entry, Record};
use crate::model::value::Value;
use crate::model::write::{ConnectorError, NextStep, Outcome, Stored};
use crate::store::Store;
use crate::web::ApiError;
use crate::web::bearer::Bearer;

use merge::merge_patch;
use request::{Condition, MAX_BODY_BYTES, Query, Tail, Target};

/// Told after each durable write which object of which scope has changed. Must return
/// at once; losing the call costs a delay until the next scheduled sync, no change.
pub type OnChange = Arc<dyn Fn(&Scope, &ObjectName) + Send + Sync>;

/// How often a write that depends on what is stored is tried again when another write
/// came between.
const MOST_ATTEMPTS: usize = 16;

/// The API over one store. Clone it into each worker and mount it there:
/// `App::new().service(web::scope("/records").configure(api.configure()))`.
#[derive(Clone)]
pub struct EmbeddedApi {
    store: Store,
    on_change: OnChange,
    bearer: Bearer,
    clock: Clock,
}

impl fmt::Debug for EmbeddedApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedApi").field("bearer", &self.bearer).finish_non_exhaustive()
    }
}

impl EmbeddedApi {
    /// An API over a store that takes requests without a token.
    #[must_use]
    pub fn new(store: Store, on_change: OnChange) -> Self {
        Self { store, on_change, bearer: Bearer::nobody(), clock: system_clock() }
    }

    /// Asks every request for `Authorization: Bearer …`. Only a hash of the token is
    /// kept.
    #[must_use]
    pub fn with_token(self, token: &str) -> Self {
        Self { bearer: Bearer::of(token), ..self }
    }

    /// Takes the time from another clock.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Adds the routes to an actix-web app or scope.
    pub fn configure(&self) -> impl FnOnce(&mut web::ServiceConfig) + use<> {
        let api = web::Data::new(self.clone());
        move |config| {
            let objects = web::resource("/{scope}/{object}")
                .app_data(api.clone())
                .route(web::get().to(list))
                .route(web::post().to(create))
                .default_service(web::to(wrong_method));
            let records = web::resource("/{scope}/{object}/{id}")
                .app_data(api)
                .route(web::get().to(read))
                .route(web::put().to(write))
                .route(web::patch().to(write))
                .route(web::delete().to(write))
                .default_service(web::to(wrong_method));
            config.service(objects).service(records);
        }
    }

    fn records(&self, target: &Target) -> Embedded {
        Embedded::new(self.store.clone(), target.scope.clone()).with_clock(Arc::clone(&self.clock))
    }
}

type Answer = Result<HttpResponse, ApiError>;

async fn wrong_method(request: HttpRequest) -> Answer {
    let message = format!("{} is not for this path", request.method());
    Err(ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", message))
}

// ---- reading ----

async fn list(request: HttpRequest, api: web::Data<EmbeddedApi>) -> Answer {
    api.bearer.check(request.headers())?;
    let target = request::object_target(request.uri().path())?;
    let query = Query::read(request.query_string(), &["limit", "cursor"])?;
    let (records, next) =
        api.records(&target).list(&target.object, query.cursor.as_ref(), query.limit).map_err(unavailable)?;
    let items: Vec<String> = records.iter().map(record_json).collect();
    let next = next.map_or(Value::Null, |id| Value::string(id.as_str()));
    Ok(json(StatusCode::OK, format!(r#"{{"records":[{}],"next":{next}}}"#, items.join(","))))
}

async fn read(request: HttpRequest, api: web::Data<EmbeddedApi>) -> Answer {
    api.bearer.check(request.headers())?;
    match request::record_target(request.uri().path())? {
        (target, Tail::Changes) => changes(&request, &api, &target),
        (target, Tail::Record(id)) => {
            Query::read(request.query_string(), &[])?;
            match api.records(&target).get(&target.object, &id).map_err(unavailable)? {
                Some(record) => Ok(record_answer(StatusCode::OK, &record)),
                None => Err(no_such_record()),
            }
        }
    }
}

fn changes(request: &HttpRequest, api: &EmbeddedApi, target: &Target) -> Answer {
    let query = Query::read(request.query_string(), &["limit", "since"])?;
    let changes = api.records(target).changes(&target.object, query.since, query.limit).map_err(unavailable)?;
    let Some(changes) = changes else {
        let message = "'since' lies ahead of all changes, list everything again";
        return Err(ApiError::new(StatusCode::GONE, "unknown_cursor", message));
    };
    let items: Vec<String> = changes.entries.iter().filter_map(entry_json).collect();
    let body = format!(r#"{{"changes":[{}],"cursor":"{}","more":{}}}"#, items.join(","), changes.cursor, changes.more);
    Ok(json(StatusCode::OK, body))
}

// ---- writing ----

async fn create(request: HttpRequest, payload: web::Payload, api: web::Data<EmbeddedApi>) -> Answer {
    api.bearer.check(request.headers())?;
    let target = request::object_target(request.uri().path())?;
    request::must_be_json(request.headers())?;
    let record = request::json_object(&body(payload).await?)?;
    let api = api.get_ref().clone();
    let here = request.uri().path().to_owned();
    to_the_end(async move {
        let id = RecordId::from(server_id((api.clock)(), fastrand::u128(..)));
        let outcome = api.write(&target, RecordWrite::Create { id, record: Body::from_value(&record) }).await?;
        let mut response = written(StatusCode::CREATED, &outcome)?;
        if let Outcome::Written(stored) = &outcome
            && let Ok(location) = header::HeaderValue::from_str(&format!("{here}/{}", stored.id))
        {
            response.headers_mut().insert(header::LOCATION, location);
        }
        Ok(response)
    })
    .await
}

async fn write(request: HttpRequest, payload: web::Payload, api: web::Data<EmbeddedApi>) -> Answer {
    api.bearer.check(request.headers())?;
    let (target, Tail::Record(id)) = request::record_target(request.uri().path())? else {
        return wrong_method(request).await;
    };
    let condition = Condition::read(request.headers())?;
    let api = api.get_ref().clone();
    match *request.method() {
        Method::DELETE => to_the_end(async move { api.delete(&target, &id, &condition).await }).await,
        Method::PUT => {
            request::must_be_json(request.headers())?;
            let record = request::json_object(&body(payload).await?)?;
            to_the_end(async move { api.put(&target, &id, &condition, &record).await }).await
        }
        _ => {
            request::must_be_json(request.headers())?;
            let patch = request::json_object(&body(payload).await?)?;
            to_the_end(async move { api.patch(&target, &id, &condition, &patch).await }).await
        }
    }
}

/// Runs a write to its end even when its caller has gone: the kernel must be told of
/// what became durable.
async fn to_the_end(write: impl Future<Output = Answer> + 'static) -> Answer {
    match actix_web::rt::spawn(write).await {
        Ok(answer) => answer,
        Err(_) => Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "crashed", "the write crashed")),
    }
}

async fn body(payload: web::Payload) -> Result<web::Bytes, ApiError> {
    match payload.to_bytes_limited(MAX_BODY_BYTES).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => Err(ApiError::bad_request("bad_body", "the body broke off")),
        Err(_) => {
            let message = format!("a record has at most {MAX_BODY_BYTES} bytes");
            Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message))
        }
    }
}

impl EmbeddedApi {
    /// Carries out one write and tells the kernel when it changed something.
    async fn write(&self, target: &Target, write: RecordWrite) -> Result<Outcome, ApiError> {
        let outcome = self.records(target).write_one(&target.object, write).await.map_err(unavailable)?;
        if matches!(outcome, Outcome::Written(_) | Outcome::Deleted) {
            (self.on_change)(&target.scope, &target.object);
        }
        Ok(outcome)
    }

    fn current(&self, target: &Target, id: &RecordId) -> Result<Option<Record>, ApiError> {
        self.records(target).get(&target.object, id).map_err(unavailable)
    }

    /// Does a write that depends on what is stored, again when another came between.
    async fn with_current(
        &self,
        target: &Target,
        id: &RecordId,
        condition: &Condition,
        write: impl Fn(&Record, Option<Version>) -> Result<RecordWrite, ApiError>,
    ) -> Result<Outcome, ApiError> {
        for _ in 0..MOST_ATTEMPTS {
            let Some(current) = self.current(target, id)? else {
                return match condition {
                    Condition::None | Condition::Absent => Err(no_such_record()),
                    Condition::Exists | Condition::Version(_) => Err(other_version()),
                };
            };
            if let Condition::Version(expected) = condition
                && current.version.as_ref() != Some(expected)
            {
                return Err(other_version());
            }
            let outcome = self.write(target, write(&current, current.version.clone())?).await?;
            if outcome != Outcome::Changed && outcome != Outcome::Missing {
                return Ok(outcome);
            }
        }
        let message = "the record is being written by others all the time, try again";
        Err(ApiError::new(StatusCode::CONFLICT, "busy", message))
    }

    async fn put(&self, target: &Target, id: &RecordId, condition: &Condition, record: &Value) -> Answer {
        let body = Body::from_value(record);
        let (id, expected) = (
            id.clone(),
            match condition {
                Condition::None => None,
                Condition::Version(version) => Some(version.clone()),
                Condition::Absent => {
                    let outcome = self.write(target, RecordWrite::Create { id: id.clone(), record: body }).await?;
                    return written(StatusCode::CREATED, &outcome);
                }
                Condition::Exists => {
                    let put =
                        |_: &Record, expected| Ok(RecordWrite::Put { id: id.clone(), expected, record: body.clone() });
                    return written(StatusCode::OK, &self.with_current(target, id, condition, put).await?);
                }
            },
        );
        let is_new = self.current(target, &id)?.is_none();
        let outcome = self.write(target, RecordWrite::Put { id, expected, record: body }).await?;
        written(if is_new { StatusCode::CREATED } else { StatusCode::OK }, &outcome)
    }

    async fn patch(&self, target: &Target, id: &RecordId, condition: &Condition, patch: &Value) -> Answer {
        if *condition == Condition::Absent {
            return Err(ApiError::bad_request("bad_condition", "a patch needs a record to merge into"));
        }
        let merge = |current: &Record, expected| {
            let old = current.body.decode().map_err(|error| {
                ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "unreadable", format!("what is stored is {error}"))
            })?;
            let record = Body::from_value(&merge_patch(old, patch.clone()));
            if record.as_str().len() > MAX_BODY_BYTES {
                let message = format!("the merged record has more than {MAX_BODY_BYTES} bytes");
                return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message));
            }
            Ok(RecordWrite::Put { id: id.clone(), expected, record })
        };
        written(StatusCode::OK, &self.with_current(target, id, condition, merge).await?)
    }

    async fn delete(&self, target: &Target, id: &RecordId, condition: &Condition) -> Answer {
        if *condition == Condition::Absent {
            return Err(ApiError::bad_request("bad_condition", "a delete needs a record to delete"));
        }
        let delete = |_: &Record, expected| Ok(RecordWrite::Delete { id: id.clone(), expected });
        match self.with_current(target, id, condition, delete).await? {
            Outcome::Deleted => Ok(HttpResponse::NoContent().finish()),
            other => written(StatusCode::OK, &other),
        }
    }
}

// ---- answers ----

fn written(status: StatusCode, outcome: &Outcome) -> Answer {
    match outcome {
        Outcome::Written(Stored { id, version, modified, body }) => {
            let body = body.clone().unwrap_or_else(|| Body::from_json("{}"));
            let record = Record { id: id.clone(), version: version.clone(), modified: *modified, body };
            Ok(record_answer(status, &record))
        }
        Outcome::Changed => Err(other_version()),
        Outcome::Missing | Outcome::Deleted => Err(no_such_record()),
        Outcome::Duplicate(_) => {
            Err(ApiError::new(StatusCode::PRECONDITION_FAILED, "exists", "there is a record with this id"))
        }
        Outcome::Rejected { reason, path: _ } => Err(ApiError::bad_request("rejected", reason.clone())),
        Outcome::NotSent(error) => Err(unavailable(error.clone())),
        Outcome::Unknown(reason) => Err(unavailable(ConnectorError::new(NextStep::Retry, reason.clone()))),
    }
}

fn no_such_record() -> ApiError {
    ApiError::not_found("there is no such record")
}

fn other_version() -> ApiError {
    let message = "the record has another version by now, read it and decide again";
    ApiError::new(StatusCode::PRECONDITION_FAILED, "other_version", message)
}

/// The store cannot do it now (disk full, shutting down).
fn unavailable(error: ConnectorError) -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", error.message)
}

fn json(status: StatusCode, body: String) -> HttpResponse {
    HttpResponse::build(status).content_type("application/json").body(body)
}

fn record_answer(status: StatusCode, record: &Record) -> HttpResponse {
    let mut response = json(status, record_json(record));
    let tag = record.version.as_ref().and_then(|version| header::HeaderValue::from_str(&format!("\"{version}\"")).ok());
    if let Some(tag) = tag {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// A record in its wrapping. Its own text is put in as it is.
fn record_json(record: &Record) -> String {
    let Record { id, version, modified, body } = record;
    let modified = modified.map(|time| time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true));
    format!(
        r#"{{"id":{},"version":{},"modified":{},"record":{}}}"#,
        Value::string(id.as_str()),
        text_or_null(version.as_ref().map(Version::as_str)),
        text_or_null(modified.as_deref()),
        body.as_str()
    )
}

fn entry_json(entry: &Entry) -> Option<String> {
    match entry {
        Entry::Live(record) => Some(record_json(record)),
        Entry::Deleted { id, version, cause: _ } => Some(format!(
            r#"{{"id":{},"version":{},"deleted":true}}"#,
            Value::string(id.as_str()),
            text_or_null(version.as_ref().map(Version::as_str))
        )),
        // The store holds whole records only.
        Entry::Bad(_) => None,
    }
}

fn text_or_null(text: Option<&str>) -> Value {
    text.map_or(Value::Null, Value::string)
}

/// An id for a new record: 10 characters of time, then 16 of chance, so that records
/// made later sort later.
fn server_id(now_ms: i64, chance: u128) -> String {
    const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let time = u128::from(u64::try_from(now_ms).unwrap_or(0)) & ((1 << 48) - 1);
    let bits = (time << 80) | (chance & ((1 << 80) - 1));
    (0..26).rev().map(|place| char::from(DIGITS[usize::from((bits >> (place * 5)) as u8 & 31)])).collect()
}
