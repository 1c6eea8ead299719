//! Stripe's customers and events, as <https://docs.stripe.com/api/customers> and
//! <https://docs.stripe.com/api/events> describe them: lists newest first that filter by the
//! time of creation only, bodies that are forms, keys that make a POST safe to repeat, and a
//! feed of events that goes back 30 days.

mod events;
mod form;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value as Json, json};
use xxhash_rust::xxh3::xxh3_128;

use self::form::Form;
use super::super::answer::Answer;
use super::super::asked::Asked;
use super::super::collection::{Edit, Record};
use super::super::hostile::Kind;
use super::super::limits::{Admitted, Kept};
use super::super::query::Params;
use super::super::refusal::Refusal;
use super::super::settings::{RetryAfter, Settings};
use super::super::state::{Account, Done, State, raw_json};
use super::super::webhooks::outbox::{Change, Post, Told};
use super::super::webhooks::{Webhook, WebhookSecret};
use super::{FeedEntry, Speech, counted, decoded, fields_of, part, refused, seed_text};
use crate::model::value::Value;

/// The one object that is imitated.
const CUSTOMERS: &str = "customers";

/// Records on a page where the request does not say, and at most
/// (<https://docs.stripe.com/api/pagination>).
const PAGE: (usize, usize) = (10, 100);

/// What may be set of a customer, beside `metadata`. Texts with their greatest length, where
/// the documents name one; the others are tables or lists.
const TEXTS: [(&str, usize); 6] =
    [("description", 5_000), ("email", 512), ("invoice_prefix", 12), ("name", 256), ("phone", 20), ("tax_exempt", 7)];
const TABLES: [&str; 3] = ["address", "shipping", "preferred_locales"];

/// Keys of `metadata`, characters of one, and of a value
/// (<https://docs.stripe.com/api/metadata>).
const METADATA: (usize, usize, usize) = (50, 40, 500);

/// Stripe.
#[derive(Debug)]
pub(super) struct Stripe;

impl Speech for Stripe {
    fn root(&self) -> &'static str {
        "/v1/"
    }

    fn kind(&self, method: &str, path: &str) -> Kind {
        match (method, path) {
            ("GET", "/v1/customers" | "/v1/events") => Kind::List,
            ("GET", _) => Kind::Read,
            _ => Kind::Write,
        }
    }

    fn route(&self, state: &mut State, asked: &Asked<'_>) -> Result<Answer, Refusal> {
        let mut segments = asked.path.split('/').skip(2);
        let parts = (segments.next().unwrap_or_default(), segments.next().map(decoded), segments.next());
        Ok(match (parts, asked.method) {
            ((CUSTOMERS, None, None), "GET") => list(state, asked).unwrap_or_else(|answer| answer),
            ((CUSTOMERS, Some(id), None), "GET") => read(state, asked, &id),
            ((CUSTOMERS, Some(id), None), "DELETE") => delete(state, asked, &id),
            ((CUSTOMERS, id, None), "POST") => post(state, asked, id.as_deref()),
            (("events", None, None), "GET") => events::list(state, asked).unwrap_or_else(|answer| answer),
            (("events", Some(id), None), "GET") => events::read(state, asked, &id),
            _ => {
                let message = format!("Unrecognized request URL ({}: {}).", asked.method, asked.path);
                error(404, "invalid_request_error", None, None, &message)
            }
        })
    }

    fn refused(&self, refusal: &Refusal, _: &Settings, _: i64) -> Answer {
        let message = refusal.message();
        match refusal {
            Refusal::Unauthorised => error(401, "invalid_request_error", None, None, "Invalid API Key provided"),
            Refusal::RateLimited { .. } | Refusal::TooManyAtOnce => too_many(),
            Refusal::KeyReused => idempotency_error(),
            Refusal::NotFound { id, .. } => missing(id),
            Refusal::UnknownRoute { .. } | Refusal::UnknownObject { .. } => {
                error(404, "invalid_request_error", None, None, &message)
            }
            Refusal::BadRequest { .. }
            | Refusal::BadParameter { .. }
            | Refusal::NotLoopback
            | Refusal::MethodNotAllowed { .. }
            | Refusal::EtagMismatch { .. }
            | Refusal::TooLarge { .. }
            | Refusal::InvalidProperty { .. } => error(refusal.status(), "invalid_request_error", None, None, &message),
        }
    }

    fn failed(&self, status: u16) -> Answer {
        error(status, "api_error", None, None, "An unknown error occurred")
    }

    /// A write meets a lock instead of a limit; none says how long to wait
    /// (<https://docs.stripe.com/rate-limits>).
    fn limited(&self, kind: Kind, _: i64, _: RetryAfter, _: i64) -> Answer {
        if kind != Kind::Write {
            return too_many();
        }
        let message = "This object cannot be accessed right now because another API request or Stripe process is \
                       currently accessing it.";
        error(429, "invalid_request_error", Some("lock_timeout"), None, message)
    }

    fn limit_headers(&self, _: &Admitted) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn id_text(&self, id: u64) -> String {
        format!("cus_{id:014}")
    }

    fn id_of(&self, text: &str) -> Option<u64> {
        let id = text.strip_prefix("cus_")?.parse().ok()?;
        (self.id_text(id) == text).then_some(id)
    }

    fn seeded(&self, record: Value) -> Value {
        let name = seed_text(&record, "full_name").or_else(|| seed_text(&record, "name"));
        let phone = seed_text(&record, "phone").map(|phone| phone.chars().take(20).collect());
        let entries = [("email", seed_text(&record, "email")), ("name", name), ("phone", phone)];
        let some = entries.into_iter().filter_map(|(key, text)| Some((key.to_owned(), Value::String(text?))));
        let metadata = [("plan", "plan"), ("city", "city")]
            .into_iter()
            .filter_map(|(key, from)| Some((key.to_owned(), Value::String(seed_text(&record, from)?))));
        let metadata: Vec<(String, Value)> = metadata.collect();
        let metadata = (!metadata.is_empty()).then(|| ("metadata".to_owned(), Value::Object(metadata)));
        Value::Object(some.chain(metadata).collect())
    }

    fn feed_entry(&self, change: &Change<'_>) -> Option<FeedEntry> {
        events::of(change)
    }

    /// The event itself; what an event shows is what was then, so it is never an older state.
    fn body(&self, told: &Told<'_>) -> Vec<u8> {
        events::of(told.change).map(|event| event.json.to_string().into_bytes()).unwrap_or_default()
    }

    /// As <https://docs.stripe.com/webhooks#verify-manually> tells it.
    fn signed(&self, _: &Webhook, secret: &WebhookSecret, post: &Post, now_ms: i64) -> Vec<(&'static str, String)> {
        let at_s = now_ms.div_euclid(1_000);
        let hash = secret.hash(&[format!("{at_s}.").as_bytes(), &post.body]);
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        vec![("Stripe-Signature", format!("t={at_s},v1={hex}"))]
    }
}

/// An error as all of them are shaped (<https://docs.stripe.com/api/errors>).
fn error(status: u16, kind: &str, code: Option<&str>, param: Option<&str>, message: &str) -> Answer {
    let mut error = json!({ "type": kind, "message": message });
    if let Some(code) = code {
        error["code"] = json!(code);
        error["doc_url"] = json!(format!("https://stripe.com/docs/error-codes/{}", code.replace('_', "-")));
    }
    if let Some(param) = param {
        error["param"] = json!(param);
    }
    Answer::json_with(status, &json!({ "error": error }))
}

fn missing(id: &str) -> Answer {
    let message = format!("No such customer: '{id}'");
    error(404, "invalid_request_error", Some("resource_missing"), Some("id"), &message)
}

fn too_many() -> Answer {
    let message = "Too many requests in a short period. Please make use of exponential backoff.";
    let answer = error(429, "invalid_request_error", Some("rate_limit"), None, message);
    Answer { headers: vec![("Stripe-Rate-Limited-Reason", "global-rate".to_owned())], ..answer }
}

fn idempotency_error() -> Answer {
    let message = "Keys for idempotent requests can only be used with the same parameters they were first used with.";
    error(400, "idempotency_error", None, None, message)
}

fn invalid(param: &str, message: &str) -> Answer {
    error(400, "invalid_request_error", None, Some(param), message)
}

/// A customer as it is shown; what is not set is null.
fn show(id: u64, created_ms: i64, fields: &Map<String, Json>) -> Json {
    let get = |key: &str| fields.get(key).cloned().unwrap_or(Json::Null);
    json!({
        "id": Stripe.id_text(id), "object": "customer", "address": get("address"), "balance": 0,
        "created": created_ms.div_euclid(1_000), "currency": null, "default_source": null, "delinquent": false,
        "description": get("description"), "discount": null, "email": get("email"),
        "invoice_prefix": fields.get("invoice_prefix").cloned().unwrap_or_else(|| json!(format!("{id:08X}"))),
        "invoice_settings": { "custom_fields": null, "default_payment_method": null, "footer": null },
        "livemode": false, "metadata": fields.get("metadata").cloned().unwrap_or_else(|| json!({})),
        "name": get("name"), "next_invoice_sequence": 1, "phone": get("phone"),
        "preferred_locales": fields.get("preferred_locales").cloned().unwrap_or_else(|| json!([])),
        "shipping": get("shipping"), "tax_exempt": fields.get("tax_exempt").cloned().unwrap_or_else(|| json!("none")),
        "test_clock": null,
    })
}

fn shown(record: &Record) -> Json {
    show(record.id, record.created_ms, &fields_of(&record.properties))
}

/// The parameters that every list has.
struct Paging {
    limit: usize,
    /// The last one of the page before.
    after: Option<String>,
    /// The first one of the page behind.
    before: Option<String>,
    /// Bounds of `created`, both inclusive, in seconds.
    created: (i64, i64),
}

/// What parameter of a list nobody knows.
fn paging(params: &Params<'_>, others: &[&str]) -> Result<Paging, Answer> {
    const KNOWN: [&str; 8] = [
        "limit",
        "starting_after",
        "ending_before",
        "created",
        "created[gt]",
        "created[gte]",
        "created[lt]",
        "created[lte]",
    ];
    let is_known = |name: &str| {
        KNOWN.contains(&name) || others.iter().any(|other| *other == name || name.starts_with(&format!("{other}[")))
    };
    if let Some(name) = params.names().find(|name| !is_known(name)) {
        let message = format!("Received unknown parameter: {name}");
        return Err(error(400, "invalid_request_error", Some("parameter_unknown"), Some(name), &message));
    }
    let one = |name: &str| params.one(name).map_err(|refusal| invalid(name, &refusal.message()));
    let number = |name: &str| match one(name)?.map(str::parse::<i64>) {
        None => Ok(None),
        Some(Ok(number)) => Ok(Some(number)),
        Some(Err(_)) => Err(invalid(name, &format!("Invalid integer: {name}"))),
    };
    let limit = number("limit")?.map_or(Some(PAGE.0), |limit| usize::try_from(limit).ok());
    let limit = limit.filter(|limit| (1..=PAGE.1).contains(limit));
    let limit = limit.ok_or_else(|| invalid("limit", "This value must be from 1 to 100."))?;
    let (after, before) = (one("starting_after")?, one("ending_before")?);
    if after.is_some() && before.is_some() {
        let message = "Received both ending_before and starting_after parameters. Please pass in only one.";
        return Err(error(400, "invalid_request_error", None, None, message));
    }
    let exactly = number("created")?;
    let least = exactly.or(number("created[gte]")?).or(number("created[gt]")?.map(|at| at.saturating_add(1)));
    let most = exactly.or(number("created[lte]")?).or(number("created[lt]")?.map(|at| at.saturating_sub(1)));
    let created = (least.unwrap_or(i64::MIN), most.unwrap_or(i64::MAX));
    Ok(Paging { limit, after: after.map(str::to_owned), before: before.map(str::to_owned), created })
}

/// One page of what is newest first; `place` tells where an id stands, or would stand.
fn page<'a, T>(
    all: &'a [T],
    paging: &Paging,
    asked: &Asked<'_>,
    place: impl Fn(&str) -> Option<usize>,
) -> Result<(&'a [T], bool), Answer> {
    let find = |id: &str, param: &str| {
        let message = format!("No such object: '{id}'");
        place(id).ok_or_else(|| error(400, "invalid_request_error", Some("resource_missing"), Some(param), &message))
    };
    if let Some(id) = &paging.before {
        let end = find(id, "ending_before")?.min(all.len());
        let start = end.saturating_sub(paging.limit);
        return Ok((&all[start..end], start > 0));
    }
    let start = match &paging.after {
        Some(id) => find(id, "starting_after")?,
        None => 0,
    };
    let page = part(all, start, asked.shift, paging.limit);
    Ok((page, start.saturating_add(paging.limit) < all.len()))
}

fn listed(url: &str, data: Vec<Json>, has_more: bool) -> Answer {
    Answer::json(&json!({ "object": "list", "url": url, "has_more": has_more, "data": data }))
}

fn list(state: &mut State, asked: &Asked<'_>) -> Result<Answer, Answer> {
    let params = asked.params();
    let paging = paging(&params, &["email"])?;
    let email = params.one("email").map_err(|refusal| invalid("email", &refusal.message()))?;
    let collection =
        state.account(asked.account_no).collection(CUSTOMERS).map_err(|refusal| missing(&refusal.message()))?;
    let collection = asked.seen(collection);
    let created = |record: &Record| record.created_ms.div_euclid(1_000);
    let mut all: Vec<&Record> = collection
        .live()
        .filter(|record| (paging.created.0..=paging.created.1).contains(&created(record)))
        // To the letter, upper and lower case told apart.
        .filter(|record| email.is_none_or(|email| record.properties.is("email", email)))
        .collect();
    all.reverse();
    // A customer that was deleted meanwhile keeps its place.
    let place = |id: &str| Stripe.id_of(id).map(|id| all.partition_point(|record| record.id >= id));
    let place_before = |id: &str| Stripe.id_of(id).map(|id| all.partition_point(|record| record.id > id));
    let (data, has_more) = match paging.before {
        Some(_) => page(&all, &paging, asked, place_before)?,
        None => page(&all, &paging, asked, place)?,
    };
    Ok(listed("/v1/customers", data.iter().map(|record| shown(record)).collect(), has_more))
}

fn gone(id: &str) -> Json {
    json!({ "id": id, "object": "customer", "deleted": true })
}

/// One that was deleted is still there, as a stub.
fn read(state: &mut State, asked: &Asked<'_>, id: &str) -> Answer {
    let Ok(collection) = state.account(asked.account_no).collection(CUSTOMERS) else { return missing(id) };
    let collection = asked.seen(collection);
    let wanted = Stripe.id_of(id);
    let found = collection.all().find(|(record, _)| Some(record.id) == wanted);
    match found {
        Some((record, None)) => Answer::json(&shown(record)),
        Some((_, Some(_))) => Answer::json(&gone(id)),
        None => missing(id),
    }
}

fn delete(state: &mut State, asked: &Asked<'_>, id: &str) -> Answer {
    match counted(state, asked.account_no, |account| account.delete(CUSTOMERS, id, None, asked.now_ms)) {
        Ok(_) => Answer::json(&gone(id)),
        Err(refusal) => Stripe.refused(&refusal, asked.settings, asked.now_ms),
    }
}

/// A POST, which a key makes safe to repeat: the same answer again, for a day
/// (<https://docs.stripe.com/api/idempotent_requests>).
fn post(state: &mut State, asked: &Asked<'_>, id: Option<&str>) -> Answer {
    let fingerprint = xxh3_128(&[asked.path.as_bytes(), b"\0", asked.body].concat());
    if let Some(key) = asked.key {
        match state.account(asked.account_no).keys.find(key, fingerprint, asked.now_ms) {
            Ok(Some(kept)) => {
                let answer =
                    Answer { status: kept.status, replayed: true, body: kept.body.clone(), ..Answer::default() };
                state.tally.replay();
                return answer;
            }
            Ok(None) => {}
            Err(refusal) => return Stripe.refused(&refusal, asked.settings, asked.now_ms),
        }
    }
    let answer = write(state, asked, id).unwrap_or_else(|answer| answer);
    // What did not come to be carried out is not remembered.
    if let Some(key) = asked.key.filter(|_| answer.status < 400) {
        let kept = Kept { fingerprint, status: answer.status, record: None, body: answer.body.clone() };
        state.account(asked.account_no).keys.keep(key, kept, asked.now_ms);
    }
    answer
}

fn write(state: &mut State, asked: &Asked<'_>, id: Option<&str>) -> Result<Answer, Answer> {
    let before = match id {
        Some(id) => match state.account(asked.account_no).get(CUSTOMERS, id) {
            Ok(record) => fields_of(&record.properties),
            Err(_) => return Err(refused(state, asked.account_no, missing(id))),
        },
        None => Map::new(),
    };
    let stored = Form::parse(asked).and_then(|form| checked(&form, &before));
    let stored = stored.map_err(|answer| refused(state, asked.account_no, answer))?;
    let done = |refusal: Refusal| Stripe.refused(&refusal, asked.settings, asked.now_ms);
    let write = |account: &mut Account| -> Result<Done, Refusal> {
        match id {
            Some(id) => account.edit(CUSTOMERS, id, None, (Edit::Merge, &raw_json(&stored)?), asked.now_ms),
            None => {
                let mut set = stored.clone();
                set.retain(|_, value| !value.is_null());
                account.create(CUSTOMERS, &raw_json(&set)?, None, asked.now_ms)
            }
        }
    };
    let id = counted(state, asked.account_no, write).map_err(done)?.id;
    let record =
        state.account(asked.account_no).collection(CUSTOMERS).and_then(|all| all.find(Some(id), "")).map_err(done)?;
    Ok(Answer::json(&shown(record)))
}

/// What a form sets: an empty text takes a value away, and within a table a key.
fn checked(form: &Form, before: &Map<String, Json>) -> Result<Map<String, Json>, Answer> {
    let mut stored = Map::new();
    for (name, value) in form.entries() {
        let (is_text, is_table) = (TEXTS.iter().find(|(text, _)| text == name), TABLES.contains(&name.as_str()));
        let value = match (value, is_text) {
            (Json::String(text), _) if text.is_empty() => Json::Null,
            (Json::String(text), Some((_, most))) => {
                if text.chars().count() > *most {
                    return Err(invalid(name, &format!("Invalid string: must be at most {most} characters")));
                }
                if name == "email" && !text.contains('@') {
                    let message = format!("Invalid email address: {text}");
                    return Err(error(400, "invalid_request_error", Some("email_invalid"), Some(name), &message));
                }
                Json::String(text.clone())
            }
            (Json::Object(entries), None) if name == "metadata" => metadata(entries, before.get(name))?,
            (Json::Object(entries), None) if is_table => merged(entries, before.get(name)),
            (Json::Array(items), None) if is_table => Json::Array(items.clone()),
            (_, Some(_)) => return Err(invalid(name, "Invalid string")),
            (_, None) if is_table || name == "metadata" => return Err(invalid(name, "Invalid object")),
            (_, None) => {
                let message = format!("Received unknown parameter: {name}");
                return Err(error(400, "invalid_request_error", Some("parameter_unknown"), Some(name), &message));
            }
        };
        stored.insert(name.clone(), value);
    }
    Ok(stored)
}

/// A table with the given keys set, those with an empty text taken away; null when none is left.
fn merged(entries: &Map<String, Json>, before: Option<&Json>) -> Json {
    let mut table = before.and_then(Json::as_object).cloned().unwrap_or_default();
    for (key, value) in entries {
        match value {
            Json::String(text) if text.is_empty() => drop(table.remove(key)),
            value => drop(table.insert(key.clone(), value.clone())),
        }
    }
    if table.is_empty() { Json::Null } else { Json::Object(table) }
}

fn metadata(entries: &Map<String, Json>, before: Option<&Json>) -> Result<Json, Answer> {
    let (most, key_length, length) = METADATA;
    for (key, value) in entries {
        let param = format!("metadata[{key}]");
        let Json::String(text) = value else { return Err(invalid(&param, "Invalid string")) };
        if key.chars().count() > key_length || text.chars().count() > length {
            let message = format!("Metadata keys can have up to {key_length} characters and values up to {length}");
            return Err(invalid(&param, &message));
        }
    }
    let merged = merged(entries, before);
    match &merged {
        Json::Object(table) if table.len() > most => {
            Err(invalid("metadata", &format!("Metadata can have at most {most} keys")))
        }
        _ => Ok(merged),
    }
}
