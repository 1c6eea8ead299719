//! HTTP: one handler that finds the account, counts the request against its limit,
//! routes it to the state and writes the answer down. Every request passes this one
//! place, so this is where it is logged.

use std::borrow::Cow;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, UNIX_EPOCH};

use actix_web::body::{BodySize, MessageBody};
use actix_web::http::{Method, StatusCode, header};
use actix_web::web::{self, Bytes};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use xxhash_rust::xxh3::xxh3_128;

use super::Shared;
use super::collection::{Collection, Edit, ListPage, Listing, Shift, Start};
use super::hostile::{Hostile, Kind, Mishap};
use super::limits::{Admitted, Kept};
use super::properties::write_json_text;
use super::query::Params;
use super::refusal::Refusal;
use super::settings::{RetryAfter, Settings};
use super::state::{Account, Done, LateWrite, State};
use super::stats::Written;
use super::webhooks;

/// Largest body accepted: a batch of 100 records with a text of 100 KB each fits.
const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;

/// Mounts the API on an application.
pub(super) fn configure(shared: web::Data<Shared>) -> impl FnOnce(&mut web::ServiceConfig) {
    move |config| {
        config
            .app_data(shared)
            .app_data(web::PayloadConfig::new(MAX_BODY_BYTES))
            .default_service(web::route().to(serve));
    }
}

/// What is answered, before it is HTTP.
#[derive(Debug, Default)]
struct Answer {
    status: u16,
    etag: Option<String>,
    location: Option<String>,
    link: Option<String>,
    retry_after: Option<String>,
    admitted: Option<Admitted>,
    replayed: bool,
    body: Bytes,
    delivery: Delivery,
    /// It was put off by so many milliseconds.
    late_ms: Option<u64>,
}

/// How an answer reaches the client.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Delivery {
    #[default]
    Whole,
    /// After so many milliseconds.
    Slow(u64),
    /// The connection is dropped behind so many bytes of the body.
    Cut(usize),
    /// The connection is dropped without a byte.
    None,
}

/// One request of an account, taken apart.
struct Asked<'a> {
    settings: &'a Settings,
    account_no: usize,
    method: &'static str,
    path: &'a str,
    query: &'a str,
    if_match: Option<&'a str>,
    key: Option<&'a str>,
    body: &'a [u8],
    now_ms: i64,
    /// Nothing goes wrong with it on purpose.
    calm: bool,
    shift: Shift,
}

/// What a batch does with each of its inputs.
#[derive(Clone, Copy)]
enum Verb {
    Create,
    Update,
    Delete,
}

async fn serve(shared: web::Data<Shared>, request: HttpRequest, body: Result<Bytes, actix_web::Error>) -> HttpResponse {
    let (answer, early) = answer(&shared, &request, body);
    if let Some(late_ms) = answer.late_ms {
        // Somebody looks when its time has come, so that its webhook does not wait.
        actix_web::rt::spawn(async move {
            actix_web::rt::time::sleep(Duration::from_millis(late_ms.saturating_add(1))).await;
            drop(shared.lock());
        });
    }
    for webhook in early {
        // It was tried, or will never be.
        drop(webhook.await);
    }
    if let Delivery::Slow(by_ms) = answer.delivery {
        actix_web::rt::time::sleep(Duration::from_millis(by_ms)).await;
    }
    respond(answer)
}

/// What to answer, and the webhooks that the answer waits for.
fn answer(
    shared: &Shared,
    request: &HttpRequest,
    body: Result<Bytes, actix_web::Error>,
) -> (Answer, Vec<oneshot::Receiver<()>>) {
    let settings = &shared.settings;
    let (mut state, now_ms) = shared.lock();
    let method = method_name(request.method());
    let refused = |refusal| Answer::refused(&refusal, settings, now_ms);
    if let Some(rest) = request.path().strip_prefix("/_sandbox/") {
        let body = body.unwrap_or_default();
        let answer = inspect(&mut state, settings, request, (method, rest), &body, now_ms);
        return (answer.unwrap_or_else(refused), Vec::new());
    }
    let account_no = account_of(&state, request);
    let answer = account_no.as_ref().map_err(Clone::clone).and_then(|account_no| {
        let admitted = admit(state.account(*account_no), settings, now_ms)?;
        let answer = answer_account(&mut state, settings, request, method, body, *account_no, now_ms);
        Ok(Answer { admitted, ..answer.unwrap_or_else(refused) })
    });
    let answer = answer.unwrap_or_else(refused);
    let path = request.uri().path_and_query().map_or("", |path| path.as_str());
    let account_no = account_no.ok();
    state.tally.request(now_ms, account_no, method, path, answer.status);
    let early = account_no.map(|account_no| shared.send_webhooks(&mut state, account_no));
    (answer, early.unwrap_or_default())
}

fn account_of(state: &State, request: &HttpRequest) -> Result<usize, Refusal> {
    if !request.path().starts_with("/v1/") {
        return Err(Refusal::UnknownRoute { path: request.path().to_owned() });
    }
    let token = header_text(request, header::AUTHORIZATION)?.and_then(bearer);
    token.and_then(|token| state.account_of_token(token)).ok_or(Refusal::Unauthorised)
}

/// Counts the request against the limit, where there is one.
fn admit(account: &mut Account, settings: &Settings, now_ms: i64) -> Result<Option<Admitted>, Refusal> {
    settings.rate_limit.map(|limit| account.window.admit(limit, now_ms)).transpose()
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn answer_account(
    state: &mut State,
    settings: &Settings,
    request: &HttpRequest,
    method: &'static str,
    body: Result<Bytes, actix_web::Error>,
    account_no: usize,
    now_ms: i64,
) -> Result<Answer, Refusal> {
    let body = body.map_err(|error| match error.as_response_error().status_code() {
        StatusCode::PAYLOAD_TOO_LARGE => Refusal::TooLarge { limit: MAX_BODY_BYTES },
        _ => Refusal::bad_request("the body cannot be read"),
    })?;
    let asked = Asked {
        settings,
        account_no,
        method,
        path: request.path(),
        query: request.query_string(),
        if_match: header_text(request, header::IF_MATCH)?,
        key: header_text(request, header::HeaderName::from_static("idempotency-key"))?,
        body: &body,
        now_ms,
        calm: header_text(request, header::HeaderName::from_static("sandbox-calm"))? == Some("true"),
        shift: Shift::None,
    };
    match state.mishap(kind_of(method, asked.path), asked.calm) {
        None => route(state, &asked),
        Some(mishap) => Ok(befall(state, &asked, mishap)),
    }
}

fn kind_of(method: &str, path: &str) -> Kind {
    match (method, path.split('/').count()) {
        ("GET", 3) if path != "/v1/account" => Kind::List,
        ("GET", _) => Kind::Read,
        _ => Kind::Write,
    }
}

/// Carries a request out as far as the mishap lets it, and answers so.
fn befall(state: &mut State, asked: &Asked<'_>, mishap: Mishap) -> Answer {
    let mut done = |asked: &Asked<'_>| {
        let refused = |refusal| Answer::refused(&refusal, asked.settings, asked.now_ms);
        route(state, asked).unwrap_or_else(refused)
    };
    match mishap {
        Mishap::Dropped => Answer::none(),
        Mishap::AnswerLost => {
            done(asked);
            Answer::none()
        }
        Mishap::Late { after_ms } => {
            state.put_off(LateWrite::of(asked, after_ms));
            Answer { late_ms: Some(after_ms), ..Answer::none() }
        }
        Mishap::ErrorBefore { status } => Answer::failed(status),
        Mishap::ErrorAfter { status } => {
            done(asked);
            Answer::failed(status)
        }
        Mishap::Cut { kept } => {
            let answer = done(asked);
            Answer { delivery: Delivery::Cut(kept.of(answer.body.len())), ..answer }
        }
        Mishap::Truncated { kept } => {
            let answer = done(asked);
            Answer { body: answer.body.slice(..kept.of(answer.body.len())), ..answer }
        }
        Mishap::Limited { for_ms, told } => Answer::limited(later(asked.now_ms, for_ms), told, asked.now_ms),
        Mishap::Slow { by_ms } => Answer { delivery: Delivery::Slow(by_ms), ..done(asked) },
        Mishap::Stale { for_ms } => {
            state.account(asked.account_no).hide_writes(asked.now_ms, later(asked.now_ms, for_ms));
            let answer = route(state, asked);
            state.account(asked.account_no).show_writes();
            answer.unwrap_or_else(|refusal| Answer::refused(&refusal, asked.settings, asked.now_ms))
        }
        Mishap::Repeated => done(&Asked { shift: Shift::Back, ..*asked }),
        Mishap::Skipped => done(&Asked { shift: Shift::Forward, ..*asked }),
    }
}

fn later(now_ms: i64, by_ms: u64) -> i64 {
    now_ms.saturating_add(i64::try_from(by_ms).unwrap_or(i64::MAX))
}

/// Carries out the late writes whose time has come, and tells whose they were. Nobody can
/// tell that from their being carried out at that time, because everybody who looks comes
/// through here.
pub(super) fn carry_out_due(state: &mut State, settings: &Settings, now_ms: i64) -> Vec<usize> {
    let due = state.take_due(now_ms);
    for write in &due {
        // Nobody is left to be answered, be it done or refused.
        drop(route(state, &write.asked(settings)));
    }
    due.iter().map(|write| write.account_no).collect()
}

impl LateWrite {
    fn of(asked: &Asked<'_>, after_ms: u64) -> Self {
        Self {
            due_ms: later(asked.now_ms, after_ms),
            account_no: asked.account_no,
            method: asked.method,
            path: asked.path.to_owned(),
            query: asked.query.to_owned(),
            if_match: asked.if_match.map(str::to_owned),
            key: asked.key.map(str::to_owned),
            body: Bytes::copy_from_slice(asked.body),
        }
    }

    fn asked<'a>(&'a self, settings: &'a Settings) -> Asked<'a> {
        let Self { due_ms, account_no, method, path, query, if_match, key, body } = self;
        Asked {
            settings,
            account_no: *account_no,
            method,
            path,
            query,
            if_match: if_match.as_deref(),
            key: key.as_deref(),
            body,
            now_ms: *due_ms,
            calm: false,
            shift: Shift::None,
        }
    }
}

fn route(state: &mut State, asked: &Asked<'_>) -> Result<Answer, Refusal> {
    let mut segments = asked.path.split('/').skip(2);
    let parts = (segments.next().unwrap_or_default(), segments.next(), segments.next(), segments.next());
    match (parts, asked.method) {
        (("account", None, None, None), "GET") => who(asked),
        (("account", None, None, None), _) => Err(Refusal::MethodNotAllowed { allowed: "GET" }),
        ((object, None, None, None), "GET") => list(state, asked, object),
        ((object, None, None, None), "POST") => create(state, asked, object),
        ((_, None, None, None), _) => Err(Refusal::MethodNotAllowed { allowed: "GET, POST" }),
        ((object, Some("search"), None, None), "GET") => search(state, asked, object),
        ((_, Some("search"), None, None), _) => Err(Refusal::MethodNotAllowed { allowed: "GET" }),
        ((object, Some("batch"), Some("create"), None), "POST") => batch(state, asked, object, Verb::Create),
        ((object, Some("batch"), Some("update"), None), "POST") => batch(state, asked, object, Verb::Update),
        ((object, Some("batch"), Some("delete"), None), "POST") => batch(state, asked, object, Verb::Delete),
        ((_, Some("batch"), Some("create" | "update" | "delete"), None), _) => {
            Err(Refusal::MethodNotAllowed { allowed: "POST" })
        }
        ((object, Some(id), None, None), "GET") => get(state, asked, object, id),
        ((object, Some(id), None, None), "PATCH") => edit(state, asked, object, id, Edit::Merge),
        ((object, Some(id), None, None), "PUT") => edit(state, asked, object, id, Edit::Replace),
        ((object, Some(id), None, None), "DELETE") => delete(state, asked, object, id),
        ((_, Some(_), None, None), _) => Err(Refusal::MethodNotAllowed { allowed: "GET, PATCH, PUT, DELETE" }),
        _ => Err(Refusal::UnknownRoute { path: asked.path.to_owned() }),
    }
}

fn who(asked: &Asked<'_>) -> Result<Answer, Refusal> {
    asked.params().only(&[])?;
    let objects: Vec<&str> = asked.settings.objects.iter().map(|object| object.name.as_str()).collect();
    Ok(Answer::json(&json!({ "account": asked.settings.accounts[asked.account_no], "objects": objects })))
}

fn list(state: &mut State, asked: &Asked<'_>, object: &str) -> Result<Answer, Refusal> {
    let params = asked.params();
    let listing = Listing { shift: asked.shift, ..params.listing(asked.settings.page_size)? };
    let page = asked.seen(state.account(asked.account_no).collection(object)?).list(&listing);
    let place = page.next.map(|position| match listing.start {
        Start::Page(number) => ("page", number.saturating_add(1).to_string()),
        Start::Beginning | Start::After(_) => ("after", position.to_token()),
    });
    let next = place.map(|(name, value)| {
        let link = params.link(asked.path, (name, &value));
        (name, value, link)
    });
    let body = list_body(&listing, page, next.as_ref());
    let link = next.map(|(_, _, link)| format!("<{link}>; rel=\"next\""));
    Ok(Answer { status: 200, link, body: body.into(), ..Answer::default() })
}

fn list_body(listing: &Listing, page: ListPage, next: Option<&(&str, String, String)>) -> Vec<u8> {
    let mut body = Vec::with_capacity(page.entries.len() + 256);
    body.extend_from_slice(b"{\"results\":[");
    body.extend_from_slice(&page.entries);
    body.push(b']');
    if let Some(total) = page.total {
        body.extend_from_slice(format!(",\"total\":{total}").as_bytes());
    }
    let mut paging = serde_json::Map::new();
    if let Start::Page(number) = listing.start {
        paging.insert("page".to_owned(), number.into());
        paging.insert("pages".to_owned(), page.total.map(|total| total.div_ceil(listing.limit)).into());
    }
    if let Some((name, value, link)) = next {
        let place = match listing.start {
            Start::Page(number) => json!({ *name: number.saturating_add(1), "link": link }),
            Start::Beginning | Start::After(_) => json!({ *name: value, "link": link }),
        };
        paging.insert("next".to_owned(), place);
    }
    if !paging.is_empty() {
        body.extend_from_slice(format!(",\"paging\":{}", serde_json::Value::Object(paging)).as_bytes());
    }
    body.push(b'}');
    body
}

fn search(state: &mut State, asked: &Asked<'_>, object: &str) -> Result<Answer, Refusal> {
    let search = asked.params().search(asked.settings.page_size)?;
    let collection = asked.seen(state.account(asked.account_no).collection(object)?);
    let found = collection
        .live()
        .filter(|record| search.wanted.iter().all(|(property, value)| record.properties.is(property, value)));
    let mut entries = Vec::new();
    let mut total = 0;
    for record in found {
        if total < search.limit {
            if total > 0 {
                entries.push(b',');
            }
            entries.extend_from_slice(&record.json);
        }
        total += 1;
    }
    let mut body = b"{\"results\":[".to_vec();
    body.append(&mut entries);
    body.extend_from_slice(format!("],\"total\":{total}}}").as_bytes());
    Ok(Answer { status: 200, body: body.into(), ..Answer::default() })
}

fn get(state: &mut State, asked: &Asked<'_>, object: &str, id: &str) -> Result<Answer, Refusal> {
    asked.params().only(&[])?;
    let collection = asked.seen(state.account(asked.account_no).collection(object)?);
    let record = collection.find(id)?;
    Ok(Answer { status: 200, etag: Some(record.etag()), body: record.json.clone(), ..Answer::default() })
}

/// The body of a write, and one input of a batch.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input<'a> {
    id: Option<String>,
    etag: Option<String>,
    idempotency_key: Option<String>,
    #[serde(borrow)]
    properties: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch<'a> {
    #[serde(borrow)]
    inputs: Vec<&'a RawValue>,
}

impl<'a> Input<'a> {
    fn parse(text: &'a [u8]) -> Result<Self, Refusal> {
        serde_json::from_slice(text).map_err(|error| {
            Refusal::bad_request(format!("expected a JSON object like {{\"properties\":{{…}}}}: {error}"))
        })
    }

    fn properties(&self) -> Result<&'a RawValue, Refusal> {
        self.properties.ok_or_else(|| Refusal::bad_request("the key 'properties' is missing"))
    }

    fn id(&self) -> Result<&str, Refusal> {
        self.id.as_deref().ok_or_else(|| Refusal::bad_request("the key 'id' is missing"))
    }
}

fn create(state: &mut State, asked: &Asked<'_>, object: &str) -> Result<Answer, Refusal> {
    let done = counted(state, asked, |account| {
        asked.params().only(&[])?;
        let input = Input::parse(asked.body)?;
        let key = asked.key.or(input.idempotency_key.as_deref());
        account.create(object, input.properties()?, key, asked.now_ms)
    })?;
    let location = format!("{}/{}", asked.path, done.id);
    Ok(Answer { location: Some(location), ..Answer::done(201, done) })
}

fn edit(state: &mut State, asked: &Asked<'_>, object: &str, id: &str, edit: Edit) -> Result<Answer, Refusal> {
    let done = counted(state, asked, |account| {
        asked.params().only(&[])?;
        let input = Input::parse(asked.body)?;
        let expected = asked.if_match.or(input.etag.as_deref());
        account.edit(object, id, expected, (edit, input.properties()?), asked.now_ms)
    })?;
    Ok(Answer::done(200, done))
}

fn delete(state: &mut State, asked: &Asked<'_>, object: &str, id: &str) -> Result<Answer, Refusal> {
    let done = counted(state, asked, |account| {
        asked.params().only(&[])?;
        account.delete(object, id, asked.if_match, asked.now_ms)
    })?;
    Ok(Answer::done(204, done))
}

/// Runs one write and counts what came of it.
fn counted(
    state: &mut State,
    asked: &Asked<'_>,
    write: impl FnOnce(&mut Account) -> Result<Done, Refusal>,
) -> Result<Done, Refusal> {
    let result = write(state.account(asked.account_no));
    match result.as_ref().map(|done| done.written) {
        Ok(Some(written)) => state.tally.write(asked.account_no, written),
        Ok(None) => state.tally.replay(),
        Err(_) => state.tally.write(asked.account_no, Written::Refused),
    }
    result
}

fn batch(state: &mut State, asked: &Asked<'_>, object: &str, verb: Verb) -> Result<Answer, Refusal> {
    asked.params().only(&[])?;
    state.account(asked.account_no).collection(object)?;
    let batch: Batch<'_> = serde_json::from_slice(asked.body)
        .map_err(|error| Refusal::bad_request(format!("expected a JSON object like {{\"inputs\":[…]}}: {error}")))?;
    let limit = asked.settings.batch_size;
    if batch.inputs.is_empty() || batch.inputs.len() > limit {
        return Err(Refusal::bad_request(format!("'inputs' must hold 1 to {limit} records")));
    }
    let keyed = asked.key.map(|key| (key, xxh3_128(&[asked.path.as_bytes(), b"\0", asked.body].concat())));
    if let Some((key, fingerprint)) = keyed
        && let Some(kept) = state.account(asked.account_no).keys.find(key, fingerprint, asked.now_ms)?
    {
        let answer = Answer { status: kept.status, replayed: true, body: kept.body.clone(), ..Answer::default() };
        state.tally.replay();
        return Ok(answer);
    }
    let (status, body) = batch_results(state, asked, object, verb, &batch);
    if let Some((key, fingerprint)) = keyed {
        let kept = Kept { fingerprint, status, record: None, body: body.clone() };
        state.account(asked.account_no).keys.keep(key, kept, asked.now_ms);
    }
    Ok(Answer { status, body, ..Answer::default() })
}

/// Each input on its own, in order: 200 when all went well, else 207.
fn batch_results(state: &mut State, asked: &Asked<'_>, object: &str, verb: Verb, batch: &Batch<'_>) -> (u16, Bytes) {
    let mut status = 200;
    let mut body = b"{\"results\":[".to_vec();
    for (i, raw) in batch.inputs.iter().enumerate() {
        if i > 0 {
            body.push(b',');
        }
        let mut input_id = None;
        let result = counted(state, asked, |account| {
            let input = Input::parse(raw.get().as_bytes())?;
            input_id.clone_from(&input.id);
            batch_write(account, asked, object, verb, &input)
        });
        match result {
            Ok(done) => write_done(verb, &done, &mut body),
            Err(refusal) => {
                status = 207;
                write_refusal(input_id.as_deref(), &refusal, &mut body);
            }
        }
    }
    body.extend_from_slice(b"]}");
    (status, body.into())
}

fn batch_write(
    account: &mut Account,
    asked: &Asked<'_>,
    object: &str,
    verb: Verb,
    input: &Input<'_>,
) -> Result<Done, Refusal> {
    let (expected, now_ms) = (input.etag.as_deref(), asked.now_ms);
    match verb {
        Verb::Create => account.create(object, input.properties()?, input.idempotency_key.as_deref(), now_ms),
        Verb::Update => account.edit(object, input.id()?, expected, (Edit::Merge, input.properties()?), now_ms),
        Verb::Delete => account.delete(object, input.id()?, expected, now_ms),
    }
}

fn write_done(verb: Verb, done: &Done, body: &mut Vec<u8>) {
    let status = match verb {
        Verb::Create => 201,
        Verb::Update => 200,
        Verb::Delete => 204,
    };
    match &done.record {
        Some((_, json)) => {
            body.extend_from_slice(format!("{{\"status\":{status},\"record\":").as_bytes());
            body.extend_from_slice(json);
            body.push(b'}');
        }
        None => body.extend_from_slice(format!("{{\"status\":{status},\"id\":\"{}\"}}", done.id).as_bytes()),
    }
}

fn write_refusal(id: Option<&str>, refusal: &Refusal, body: &mut Vec<u8>) {
    body.extend_from_slice(format!("{{\"status\":{},", refusal.status()).as_bytes());
    if let Some(id) = id {
        body.extend_from_slice(b"\"id\":");
        write_json_text(id, body);
        body.push(b',');
    }
    body.extend_from_slice(format!("\"error\":{}}}", refusal.error_json()).as_bytes());
}

/// `/_sandbox/…`: for tests and for looking inside; neither counted nor limited.
fn inspect(
    state: &mut State,
    settings: &Settings,
    request: &HttpRequest,
    (method, rest): (&'static str, &str),
    body: &[u8],
    now_ms: i64,
) -> Result<Answer, Refusal> {
    // Behind a real socket the peer is always known; without one it is this process.
    if request.peer_addr().is_some_and(|peer| !peer.ip().is_loopback()) {
        return Err(Refusal::NotLoopback);
    }
    let params = Params::parse(request.query_string());
    match (rest, method) {
        ("stats", "GET") => {
            params.only(&["log"])?;
            let num = params.one("log")?.map_or(Ok(0), str::parse);
            let num = num.map_err(|_| Refusal::bad_parameter("log", "must be a number of requests"))?;
            let mut body = json!(state.stats());
            body["log"] = json!(state.tally.log(&settings.accounts, num));
            Ok(Answer::json(&body))
        }
        ("reset", "POST") => {
            params.only(&["what"])?;
            match params.one("what")? {
                None | Some("all") => state.reset(now_ms)?,
                Some("stats") => state.clear_stats(),
                Some(_) => return Err(Refusal::bad_parameter("what", "must be all or stats")),
            }
            Ok(Answer::json(&json!({ "reset": true })))
        }
        ("dump", "GET") => {
            params.only(&["account"])?;
            let name = params.one("account")?.ok_or_else(|| Refusal::bad_parameter("account", "is missing"))?;
            let number = state.account_named(name);
            let number = number.ok_or_else(|| Refusal::bad_parameter("account", "is not an account"))?;
            Ok(Answer { status: 200, body: dump_body(name, state.account(number)).into(), ..Answer::default() })
        }
        ("hostile", _) => hostility(state, method, &params, body, now_ms),
        ("webhooks", _) => Ok(Answer::json(&webhooks::route::answer(state, method, &params, body)?)),
        ("stats" | "dump", _) => Err(Refusal::MethodNotAllowed { allowed: "GET" }),
        ("reset", _) => Err(Refusal::MethodNotAllowed { allowed: "POST" }),
        _ => Err(Refusal::UnknownRoute { path: request.path().to_owned() }),
    }
}

/// `/_sandbox/hostile`: tells, sets or ends what goes wrong on purpose.
fn hostility(
    state: &mut State,
    method: &str,
    params: &Params<'_>,
    body: &[u8],
    now_ms: i64,
) -> Result<Answer, Refusal> {
    match method {
        "GET" => params.only(&[])?,
        "POST" => state.set_hostile(Some(wanted_hostility(params, body)?)),
        "DELETE" => {
            params.only(&[])?;
            state.set_hostile(None);
        }
        _ => return Err(Refusal::MethodNotAllowed { allowed: "GET, POST, DELETE" }),
    }
    let (late, hidden) = (state.num_late(), state.num_hidden(now_ms));
    Ok(Answer::json(&json!({ "hostile": state.hostile(), "late": late, "hidden": hidden })))
}

/// Drawn from `seed`, or the rates of the body.
fn wanted_hostility(params: &Params<'_>, body: &[u8]) -> Result<Hostile, Refusal> {
    params.only(&["seed"])?;
    match params.one("seed")? {
        Some(seed) => {
            let seed = seed.parse().map_err(|_| Refusal::bad_parameter("seed", "must be a whole number"))?;
            Ok(Hostile::swarm(seed))
        }
        None => serde_json::from_slice(body)
            .map_err(|error| Refusal::bad_request(format!("expected rates like {{\"answer_lost\":50}}: {error}"))),
    }
}

fn dump_body(name: &str, account: &Account) -> Vec<u8> {
    let mut body = b"{\"account\":".to_vec();
    write_json_text(name, &mut body);
    body.extend_from_slice(b",\"objects\":{");
    for (i, collection) in account.collections().iter().enumerate() {
        if i > 0 {
            body.push(b',');
        }
        write_json_text(&collection.settings().name, &mut body);
        body.extend_from_slice(b":[");
        for (i, record) in collection.live().enumerate() {
            if i > 0 {
                body.push(b',');
            }
            body.extend_from_slice(&record.json);
        }
        body.push(b']');
    }
    body.extend_from_slice(b"}}");
    body
}

impl Asked<'_> {
    fn params(&self) -> Params<'_> {
        Params::parse(self.query)
    }

    /// The records as this client sees them.
    fn seen<'c>(&self, collection: &'c Collection) -> Cow<'c, Collection> {
        if self.calm { Cow::Borrowed(collection) } else { collection.seen(self.now_ms) }
    }
}

impl Answer {
    fn json(value: &serde_json::Value) -> Self {
        Self { status: 200, body: value.to_string().into(), ..Self::default() }
    }

    fn refused(refusal: &Refusal, settings: &Settings, now_ms: i64) -> Self {
        let body = json!({ "error": refusal.error_json() }).to_string().into();
        let answer = Self { status: refusal.status(), body, ..Self::default() };
        let (Refusal::RateLimited { retry_at_ms: reset_ms }, Some(limit)) = (refusal, settings.rate_limit) else {
            return answer;
        };
        let admitted = Some(Admitted { limit: limit.requests.max(1), remaining: 0, reset_ms: *reset_ms });
        let retry_after = retry_after_text(settings.retry_after, *reset_ms, now_ms);
        Self { admitted, retry_after, ..answer }
    }

    /// No answer at all.
    fn none() -> Self {
        Self { delivery: Delivery::None, ..Self::default() }
    }

    fn failed(status: u16) -> Self {
        let error = json!({ "code": "unavailable", "message": "something went wrong on purpose" });
        Self { status, body: json!({ "error": error }).to_string().into(), ..Self::default() }
    }

    fn limited(retry_at_ms: i64, told: RetryAfter, now_ms: i64) -> Self {
        let refusal = Refusal::RateLimited { retry_at_ms };
        let body = json!({ "error": refusal.error_json() }).to_string().into();
        let retry_after = retry_after_text(told, retry_at_ms, now_ms);
        Self { status: refusal.status(), retry_after, body, ..Self::default() }
    }

    fn done(status: u16, done: Done) -> Self {
        let replayed = done.written.is_none();
        let (etag, body) = done.record.unzip();
        Self { status, etag, replayed, body: body.unwrap_or_default(), ..Self::default() }
    }
}

fn respond(answer: Answer) -> HttpResponse {
    let Answer { status, etag, location, link, retry_after, admitted, replayed, body, delivery, late_ms: _ } = answer;
    let broken = match delivery {
        Delivery::None => return HttpResponse::Ok().body(Broken::at_once()),
        Delivery::Cut(kept) if !body.is_empty() => Some(kept),
        Delivery::Cut(_) | Delivery::Whole | Delivery::Slow(_) => None,
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    if let Some(Admitted { limit, remaining, reset_ms }) = admitted {
        response.insert_header(("X-RateLimit-Limit", limit));
        response.insert_header(("X-RateLimit-Remaining", remaining));
        response.insert_header(("X-RateLimit-Reset", ceil_seconds(reset_ms)));
    }
    let challenge = (status == StatusCode::UNAUTHORIZED).then(|| "Bearer".to_owned());
    for (name, value) in [
        (header::ETAG, etag),
        (header::LOCATION, location),
        (header::LINK, link),
        (header::RETRY_AFTER, retry_after),
        (header::WWW_AUTHENTICATE, challenge),
    ] {
        if let Some(value) = value {
            response.insert_header((name, value));
        }
    }
    if replayed {
        response.insert_header(("Idempotent-Replayed", "true"));
    }
    if status == StatusCode::NO_CONTENT {
        return response.finish();
    }
    response.content_type("application/json");
    match broken {
        Some(kept) => response.body(Broken::behind(kept, body)),
        None => response.body(body),
    }
}

/// A body that ends in an error, at which the server drops the connection. What was not
/// yet sent by then, the head included, is never sent.
struct Broken {
    announced: usize,
    left: Vec<Sent>,
}

/// One step of a body that breaks, the last first.
enum Sent {
    Bytes(Bytes),
    /// A pause in which the server sends what it has.
    Pause,
}

impl Broken {
    /// Breaks before anything is sent.
    fn at_once() -> Self {
        Self { announced: 1, left: Vec::new() }
    }

    /// Breaks when so many bytes of a body are sent.
    fn behind(kept: usize, body: Bytes) -> Self {
        Self { announced: body.len(), left: vec![Sent::Pause, Sent::Bytes(body.slice(..kept))] }
    }
}

impl MessageBody for Broken {
    type Error = std::io::Error;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.announced as u64)
    }

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        match self.get_mut().left.pop() {
            Some(Sent::Bytes(bytes)) => Poll::Ready(Some(Ok(bytes))),
            Some(Sent::Pause) => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
            None => Poll::Ready(Some(Err(std::io::Error::other("dropped on purpose")))),
        }
    }
}

fn retry_after_text(style: RetryAfter, retry_at_ms: i64, now_ms: i64) -> Option<String> {
    match style {
        RetryAfter::Seconds => Some(ceil_seconds(retry_at_ms.saturating_sub(now_ms)).max(1).to_string()),
        RetryAfter::HttpDate => {
            let seconds = u64::try_from(ceil_seconds(retry_at_ms)).unwrap_or(0);
            Some(httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds)))
        }
        RetryAfter::Absent => None,
    }
}

fn ceil_seconds(ms: i64) -> i64 {
    ms.saturating_add(999).div_euclid(1_000)
}

fn header_text(request: &HttpRequest, name: header::HeaderName) -> Result<Option<&str>, Refusal> {
    let text = request.headers().get(&name).map(header::HeaderValue::to_str).transpose();
    text.map_err(|_| Refusal::bad_request(format!("the header {name} is not plain text")))
}

fn method_name(method: &Method) -> &'static str {
    [Method::GET, Method::POST, Method::PATCH, Method::PUT, Method::DELETE]
        .iter()
        .position(|known| known == method)
        .map_or("other", |i| ["GET", "POST", "PATCH", "PUT", "DELETE"][i])
}
