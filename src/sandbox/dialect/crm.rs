//! The CRM of our own: what a typical connected app is like.

use actix_web::web::Bytes;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use xxhash_rust::xxh3::xxh3_128;

use super::super::answer::Answer;
use super::super::asked::Asked;
use super::super::collection::{Edit, ListPage, Listing, Start, iso};
use super::super::hostile::Kind;
use super::super::limits::{Admitted, Kept};
use super::super::properties::write_json_text;
use super::super::refusal::Refusal;
use super::super::settings::{RetryAfter, Settings};
use super::super::state::{Account, Done, State};
use super::super::webhooks::outbox::{Change, Post, Snapshot, Told, Verb as Wrote};
use super::super::webhooks::{Webhook, WebhookSecret};
use super::{Speech, counted};

/// What a batch does with each of its inputs.
#[derive(Clone, Copy)]
enum Verb {
    Create,
    Update,
    Delete,
}

fn kind_of(method: &str, path: &str) -> Kind {
    match (method, path.split('/').count()) {
        ("GET", 3) if path != "/v1/account" => Kind::List,
        ("GET", _) => Kind::Read,
        _ => Kind::Write,
    }
}

/// The CRM itself.
#[derive(Debug)]
pub(super) struct Crm;

impl Speech for Crm {
    fn root(&self) -> &'static str {
        "/v1/"
    }

    fn kind(&self, method: &str, path: &str) -> Kind {
        kind_of(method, path)
    }

    fn route(&self, state: &mut State, asked: &Asked<'_>) -> Result<Answer, Refusal> {
        route(state, asked)
    }

    fn refused(&self, refusal: &Refusal, settings: &Settings, now_ms: i64) -> Answer {
        Answer::refused(refusal, settings, now_ms)
    }

    fn failed(&self, status: u16) -> Answer {
        Answer::failed(status)
    }

    fn limited(&self, _: Kind, retry_at_ms: i64, told: RetryAfter, now_ms: i64) -> Answer {
        Answer::limited(retry_at_ms, told, now_ms)
    }

    fn limit_headers(&self, admitted: &Admitted) -> Vec<(&'static str, String)> {
        admitted.headers()
    }

    fn tells_fields(&self) -> bool {
        false
    }

    fn body(&self, told: &Told<'_>) -> Vec<u8> {
        body(told.account, told.change, told.shown, told.thin)
    }

    /// As Standard Webhooks say
    /// (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).
    fn signed(&self, _: &Webhook, secret: &WebhookSecret, post: &Post, now_ms: i64) -> Vec<(&'static str, String)> {
        let at_s = now_ms.div_euclid(1_000);
        vec![
            ("webhook-id", post.id.clone()),
            ("webhook-timestamp", at_s.to_string()),
            ("webhook-signature", secret.standard(&post.id, at_s, &post.body).unwrap_or_default()),
        ]
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
    let record = collection.find(Crm.id_of(id), id)?;
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
    let done = counted(state, asked.account_no, |account| {
        asked.params().only(&[])?;
        let input = Input::parse(asked.body)?;
        let key = asked.key.or(input.idempotency_key.as_deref());
        account.create(object, input.properties()?, key, asked.now_ms)
    })?;
    let location = format!("{}/{}", asked.path, done.id);
    Ok(Answer { location: Some(location), ..Answer::done(201, done) })
}

fn edit(state: &mut State, asked: &Asked<'_>, object: &str, id: &str, edit: Edit) -> Result<Answer, Refusal> {
    let done = counted(state, asked.account_no, |account| {
        asked.params().only(&[])?;
        let input = Input::parse(asked.body)?;
        let expected = asked.if_match.or(input.etag.as_deref());
        account.edit(object, id, expected, (edit, input.properties()?), asked.now_ms)
    })?;
    Ok(Answer::done(200, done))
}

fn delete(state: &mut State, asked: &Asked<'_>, object: &str, id: &str) -> Result<Answer, Refusal> {
    let done = counted(state, asked.account_no, |account| {
        asked.params().only(&[])?;
        account.delete(object, id, asked.if_match, asked.now_ms)
    })?;
    Ok(Answer::done(204, done))
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
        let result = counted(state, asked.account_no, |account| {
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

/// The payload.
fn body(account: &str, change: &Change<'_>, shown: &Snapshot, thin: bool) -> Vec<u8> {
    let verb = match change.verb {
        Wrote::Created => "created",
        Wrote::Updated => "updated",
        Wrote::Deleted => "deleted",
    };
    let mut body = Vec::with_capacity(shown.json.len() + 256);
    // The names of accounts and objects need no escapes; `Settings::check` sees to it.
    let (object, id, at) = (change.object, change.id, iso(change.now.updated_ms));
    let head = format!(
        "{{\"type\":\"{object}.{verb}\",\"timestamp\":\"{at}\",\"data\":{{\"account\":\"{account}\",\
         \"object\":\"{object}\",\"id\":\"{id}\",\"version\":"
    );
    body.extend_from_slice(head.as_bytes());
    match &shown.etag {
        Some(etag) => write_json_text(etag, &mut body),
        None => body.extend_from_slice(b"null"),
    }
    body.extend_from_slice(format!(",\"updated_at\":\"{}\"", iso(shown.updated_ms)).as_bytes());
    if !thin {
        body.extend_from_slice(b",\"record\":");
        body.extend_from_slice(&shown.json);
    }
    body.extend_from_slice(b"}}");
    body
}
