//! HubSpot's objects of the CRM, version 3, as
//! <https://developers.hubspot.com/docs/api/crm/contacts> and
//! <https://developers.hubspot.com/docs/api/crm/understanding-the-crm> describe them: every
//! property is a text, an address belongs to one contact only, a list shows the properties that
//! are asked for, and a search has an index of its own, which is behind.

mod batch;
mod search;
#[cfg(test)]
mod tests;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value as Json, json};

use super::super::answer::{Answer, retry_after_text};
use super::super::asked::Asked;
use super::super::collection::{Collection, Edit, Record, iso};
use super::super::hostile::Kind;
use super::super::limits::Admitted;
use super::super::query::Params;
use super::super::refusal::Refusal;
use super::super::settings::{RetryAfter, Settings};
use super::super::state::{Account, Done, State, raw_json};
use super::super::webhooks::outbox::{Post, Told, Verb};
use super::super::webhooks::{Webhook, WebhookSecret};
use super::{Speech, counted, decoded, fields_of, part, refused, request_id, seed_text};
use crate::model::value::Value;

/// Where the objects are.
const OBJECTS: &str = "/crm/v3/objects/";

/// Records on a page where the request does not say, and at most.
const PAGE: (usize, usize) = (10, 100);

/// The properties that a contact or company has, beside those that HubSpot sets itself. A
/// customer's own ones are not imitated; `plan` stands for them.
const PROPERTIES: [(&str, &[&str]); 2] = [
    (
        "contacts",
        &[
            "email",
            "firstname",
            "lastname",
            "phone",
            "mobilephone",
            "company",
            "website",
            "jobtitle",
            "address",
            "city",
            "state",
            "zip",
            "country",
            "lifecyclestage",
            "hs_lead_status",
            "plan",
        ],
    ),
    ("companies", &["name", "domain", "phone", "industry", "description", "city", "state", "zip", "country", "plan"]),
];

/// What HubSpot sets itself.
const READ_ONLY: [&str; 3] = ["hs_object_id", "createdate", "lastmodifieddate"];

/// What is shown where no properties are asked for.
const SHOWN: [(&str, &[&str]); 2] =
    [("contacts", &["email", "firstname", "lastname"]), ("companies", &["name", "domain"])];

/// HubSpot.
#[derive(Debug)]
pub(super) struct Hubspot;

impl Speech for Hubspot {
    fn root(&self) -> &'static str {
        OBJECTS
    }

    fn kind(&self, method: &str, path: &str) -> Kind {
        let rest = path.strip_prefix(OBJECTS).unwrap_or_default();
        match (method, rest.split_once('/').map(|(_, rest)| rest)) {
            ("GET", None) | ("POST", Some("search")) => Kind::List,
            ("GET", Some(_)) | ("POST", Some("batch/read")) => Kind::Read,
            _ => Kind::Write,
        }
    }

    fn route(&self, state: &mut State, asked: &Asked<'_>) -> Result<Answer, Refusal> {
        let rest = asked.path.strip_prefix(OBJECTS).unwrap_or_default();
        let (object, rest) = rest.split_once('/').map_or((rest, None), |(object, rest)| (object, Some(rest)));
        state.account(asked.account_no).collection(object)?;
        let at = At { asked, object };
        match (asked.method, rest) {
            ("GET", None) => list(state, &at),
            ("POST", None) => Ok(create(state, &at)),
            ("POST", Some("search")) => Ok(search::search(state, &at)),
            ("POST", Some("batch/read")) => Ok(batch::read(state, &at)),
            ("POST", Some("batch/create")) => Ok(batch::create(state, &at)),
            ("POST", Some("batch/update")) => Ok(batch::update(state, &at)),
            ("POST", Some("batch/archive")) => Ok(batch::archive(state, &at)),
            ("GET", Some(id)) => read(state, &at, &decoded(id)),
            ("PATCH", Some(id)) => Ok(update(state, &at, &decoded(id))),
            ("DELETE", Some(id)) => Ok(archive(state, &at, &decoded(id))),
            _ => Err(Refusal::MethodNotAllowed { allowed: "GET, POST, PATCH, DELETE" }),
        }
    }

    fn refused(&self, refusal: &Refusal, settings: &Settings, now_ms: i64) -> Answer {
        let told = |category: &str| error(refusal.status(), category, &refusal.message(), now_ms);
        match refusal {
            Refusal::Unauthorised => told("INVALID_AUTHENTICATION"),
            Refusal::NotFound { .. } | Refusal::UnknownObject { .. } | Refusal::UnknownRoute { .. } => missing(now_ms),
            Refusal::RateLimited { retry_at_ms } => {
                let retry_after = retry_after_text(settings.retry_after, *retry_at_ms, now_ms);
                Answer { retry_after, ..limited("TEN_SECONDLY_ROLLING", now_ms) }
            }
            Refusal::TooManyAtOnce => limited("CONCURRENT", now_ms),
            Refusal::BadRequest { .. }
            | Refusal::BadParameter { .. }
            | Refusal::NotLoopback
            | Refusal::MethodNotAllowed { .. }
            | Refusal::KeyReused
            | Refusal::EtagMismatch { .. }
            | Refusal::TooLarge { .. }
            | Refusal::InvalidProperty { .. } => told("VALIDATION_ERROR"),
        }
    }

    fn failed(&self, status: u16) -> Answer {
        error(status, "INTERNAL_ERROR", "internal error", 0)
    }

    /// `Retry-After` comes with some of these and not with others.
    fn limited(&self, _: Kind, retry_at_ms: i64, told: RetryAfter, now_ms: i64) -> Answer {
        Answer { retry_after: retry_after_text(told, retry_at_ms, now_ms), ..limited("SECONDLY", now_ms) }
    }

    /// As <https://developers.hubspot.com/docs/api/usage-details> lists them.
    fn limit_headers(&self, admitted: &Admitted) -> Vec<(&'static str, String)> {
        vec![
            ("X-HubSpot-RateLimit-Max", admitted.limit.to_string()),
            ("X-HubSpot-RateLimit-Remaining", admitted.remaining.to_string()),
            ("X-HubSpot-RateLimit-Interval-Milliseconds", "10000".to_owned()),
            ("X-HubSpot-RateLimit-Daily", "650000".to_owned()),
        ]
    }

    /// Contacts of the demo and of the generator have one name, as our own CRM has it.
    fn seeded(&self, record: Value) -> Value {
        let (first, last) = match seed_text(&record, "full_name") {
            Some(name) => name
                .rsplit_once(' ')
                .map_or((Some(name.clone()), None), |(first, last)| (Some(first.to_owned()), Some(last.to_owned()))),
            None => (None, None),
        };
        let email = seed_text(&record, "email").map(|email| email.to_lowercase());
        let company = seed_text(&record, "company").or_else(|| seed_text(&record, "name"));
        let entries = [
            ("email", email),
            ("firstname", first),
            ("lastname", last),
            ("phone", seed_text(&record, "phone")),
            ("company", company),
            ("jobtitle", seed_text(&record, "job_title")),
            ("city", seed_text(&record, "city")),
            ("plan", seed_text(&record, "plan")),
        ];
        let some = entries.into_iter().filter_map(|(key, text)| Some((key.to_owned(), Value::String(text?))));
        Value::Object(some.collect())
    }

    /// Thin events, one property each, as
    /// <https://developers.hubspot.com/docs/api/webhooks> shows them.
    fn body(&self, told: &Told<'_>) -> Vec<u8> {
        let change = told.change;
        let noun = change
            .object
            .strip_suffix("ies")
            .map_or_else(|| change.object.trim_end_matches('s').to_owned(), |stem| format!("{stem}y"));
        let event = |kind: &str, number: usize| {
            let mut event = Map::new();
            event.insert("eventId".to_owned(), json!(told.number * 100 + number as u64));
            event.insert("subscriptionId".to_owned(), json!(101));
            event.insert("portalId".to_owned(), json!(1_001));
            event.insert("appId".to_owned(), json!(2_002));
            event.insert("occurredAt".to_owned(), json!(change.now.updated_ms));
            event.insert("subscriptionType".to_owned(), json!(format!("{noun}.{kind}")));
            event.insert("attemptNumber".to_owned(), json!(0));
            event.insert("objectId".to_owned(), json!(change.id));
            event.insert("changeSource".to_owned(), json!("INTEGRATION"));
            event
        };
        let mut events = Vec::new();
        match change.verb {
            Verb::Created => events.push(event("creation", 0)),
            Verb::Deleted => events.push(event("deletion", 0)),
            Verb::Updated => {}
        }
        if let Some(fields) = change.now.fields.as_ref().map(fields_of) {
            let before = change.before.as_ref().and_then(|before| before.fields.as_ref()).map(fields_of);
            let before = before.unwrap_or_default();
            let gone = before.keys().filter(|key| !fields.contains_key(*key)).map(|key| (key.clone(), json!("")));
            let set = fields.iter().filter(|(key, value)| before.get(*key) != Some(*value));
            let changed: Vec<(String, Json)> =
                set.map(|(key, value)| (key.clone(), value.clone())).chain(gone).collect();
            for (number, (key, value)) in changed.into_iter().enumerate() {
                let mut event = event("propertyChange", number + 1);
                event.insert("propertyName".to_owned(), json!(key));
                event.insert("propertyValue".to_owned(), value);
                events.push(event);
            }
        }
        json!(events).to_string().into_bytes()
    }

    /// Signature v3
    /// (<https://developers.hubspot.com/docs/api/webhooks/validating-requests>).
    fn signed(
        &self,
        webhook: &Webhook,
        secret: &WebhookSecret,
        post: &Post,
        now_ms: i64,
    ) -> Vec<(&'static str, String)> {
        let at = now_ms.to_string();
        let hash = secret.hash(&[b"POST", webhook.url.as_bytes(), &post.body, at.as_bytes()]);
        vec![("X-HubSpot-Signature-v3", STANDARD.encode(hash)), ("X-HubSpot-Request-Timestamp", at)]
    }
}

/// A request about one kind of object.
struct At<'a> {
    asked: &'a Asked<'a>,
    object: &'a str,
}

impl At<'_> {
    fn now_ms(&self) -> i64 {
        self.asked.now_ms
    }

    /// The properties that a list of names stands for, or those that are always shown.
    fn wanted(&self, names: Option<Vec<String>>) -> Vec<String> {
        let always = READ_ONLY.iter().map(|name| (*name).to_owned());
        let shown = SHOWN.iter().find(|(object, _)| *object == self.object).map_or(&[][..], |(_, shown)| shown);
        let names = names.filter(|names| !names.is_empty());
        always.chain(names.unwrap_or_else(|| shown.iter().map(|name| (*name).to_owned()).collect())).collect()
    }

    /// Those of the query: repeated, or with commas between.
    fn asked_properties(&self) -> Vec<String> {
        let params = self.asked.params();
        let names = params.all("properties").flat_map(|text| text.split(','));
        self.wanted(Some(names.filter(|name| !name.is_empty()).map(str::to_owned).collect()))
    }
}

/// An error as all of them are shaped
/// (<https://developers.hubspot.com/docs/api/error-handling>).
fn error(status: u16, category: &str, message: &str, now_ms: i64) -> Answer {
    let id = request_id(now_ms, message);
    let body = json!({ "status": "error", "message": message, "correlationId": id, "category": category });
    Answer::json_with(status, &body)
}

fn missing(now_ms: i64) -> Answer {
    error(404, "OBJECT_NOT_FOUND", "resource not found", now_ms)
}

/// One request too many
/// (<https://developers.hubspot.com/docs/api/usage-details>).
fn limited(policy: &str, now_ms: i64) -> Answer {
    let message = match policy {
        "SECONDLY" => "You have reached your secondly limit.",
        "TEN_SECONDLY_ROLLING" => "You have reached your ten_secondly_rolling limit.",
        _ => "You have reached your limit.",
    };
    let id = request_id(now_ms, policy);
    let body = json!({
        "status": "error", "message": message, "errorType": "RATE_LIMIT", "correlationId": id, "policyName": policy,
    });
    Answer::json_with(429, &body)
}

/// A record as it is shown.
fn show(record: &Record, gone_ms: Option<i64>, wanted: &[String]) -> Json {
    let fields = fields_of(&record.properties);
    let updated_ms = gone_ms.unwrap_or(record.updated_ms);
    let mut properties = Map::new();
    for name in wanted {
        let value = match name.as_str() {
            "hs_object_id" => json!(record.id.to_string()),
            "createdate" => json!(iso(record.created_ms)),
            "lastmodifieddate" => json!(iso(updated_ms)),
            name => fields.get(name).cloned().unwrap_or(Json::Null),
        };
        properties.insert(name.clone(), value);
    }
    let mut shown = json!({
        "id": record.id.to_string(), "properties": properties, "createdAt": iso(record.created_ms),
        "updatedAt": iso(updated_ms), "archived": gone_ms.is_some(),
    });
    if let Some(at) = gone_ms {
        shown["archivedAt"] = json!(iso(at));
    }
    shown
}

fn list(state: &mut State, at: &At<'_>) -> Result<Answer, Refusal> {
    let params = at.asked.params();
    params.only(&["limit", "after", "properties", "archived", "associations", "propertiesWithHistory"])?;
    let limit = limit_of(&params, PAGE)?;
    let after = params
        .one("after")?
        .map(|text| Hubspot.id_of(text).ok_or_else(|| Refusal::bad_parameter("after", "is no place in this list")));
    let after = after.transpose()?;
    let archived = params.one("archived")? == Some("true");
    let wanted = at.asked_properties();
    let collection = at.asked.seen(state.account(at.asked.account_no).collection(at.object)?);
    let all: Vec<_> = collection.all().filter(|(_, gone)| gone.is_some() == archived).collect();
    let start = after.map_or(0, |after| all.partition_point(|(record, _)| record.id <= after));
    let page = part(&all, start, at.asked.shift, limit);
    let results: Vec<Json> = page.iter().map(|(record, gone)| show(record, *gone, &wanted)).collect();
    let mut body = json!({ "results": results });
    let last = page.last().map(|(record, _)| record.id);
    if let Some(last) = last.filter(|last| all.last().is_some_and(|(record, _)| record.id > *last)) {
        let link = params.link(at.asked.path, ("after", &last.to_string()));
        body["paging"] = json!({ "next": { "after": last.to_string(), "link": link } });
    }
    Ok(Answer::json(&body))
}

fn limit_of(params: &Params<'_>, (usual, most): (usize, usize)) -> Result<usize, Refusal> {
    match params.count("limit")?.unwrap_or(usual) {
        limit if limit <= most => Ok(limit),
        _ => Err(Refusal::bad_parameter("limit", format!("is {most} at most"))),
    }
}

fn read(state: &mut State, at: &At<'_>, id: &str) -> Result<Answer, Refusal> {
    let params = at.asked.params();
    params.only(&["properties", "archived", "associations", "idProperty", "propertiesWithHistory"])?;
    let archived = params.one("archived")? == Some("true");
    let by_email = params.one("idProperty")? == Some("email");
    let collection = at.asked.seen(state.account(at.asked.account_no).collection(at.object)?);
    let found = collection.all().find(|(record, gone)| {
        let is_it = if by_email { is_address(record, id) } else { Hubspot.id_of(id) == Some(record.id) };
        is_it && gone.is_some() == archived
    });
    let Some((record, gone)) = found else { return Ok(missing(at.now_ms())) };
    Ok(Answer::json(&show(record, gone, &at.asked_properties())))
}

/// The properties of a write, as they are stored: texts, an empty one taking the value away.
///
/// What is wrong with them is told in the words of the API, all at once.
fn checked(at: &At<'_>, input: &Json) -> Result<Map<String, Json>, Answer> {
    let Some(Json::Object(properties)) = input.get("properties") else {
        return Err(error(400, "VALIDATION_ERROR", "Invalid input JSON: 'properties' must be an object", at.now_ms()));
    };
    let known = PROPERTIES.iter().find(|(object, _)| *object == at.object).map_or(&[][..], |(_, known)| known);
    let (mut stored, mut wrong) = (Map::new(), Vec::new());
    let mut fail = |name: &str, code: &str, message: String| {
        wrong.push(json!({ "isValid": false, "message": message, "error": code, "name": name, "localizedErrorMessage": message }));
    };
    for (name, value) in properties {
        let text = match value {
            Json::String(text) => text.trim().to_owned(),
            Json::Null => String::new(),
            Json::Bool(_) | Json::Number(_) => value.to_string(),
            Json::Array(_) | Json::Object(_) => {
                fail(name, "INVALID_STRING", format!("{name} must be a text"));
                continue;
            }
        };
        if READ_ONLY.contains(&name.as_str()) {
            fail(name, "READ_ONLY_VALUE", format!("\"{name}\" is a read only property; its value cannot be set"));
        } else if !known.contains(&name.as_str()) {
            fail(name, "PROPERTY_DOESNT_EXIST", format!("Property \"{name}\" does not exist"));
        } else if name == "email" && !text.is_empty() && !looks_like_email(&text) {
            fail(name, "INVALID_EMAIL", format!("Email address {text} is invalid"));
        } else {
            stored.insert(name.clone(), if text.is_empty() { Json::Null } else { Json::String(text) });
        }
    }
    if wrong.is_empty() {
        return Ok(stored);
    }
    Err(error(400, "VALIDATION_ERROR", &format!("Property values were not valid: {}", Json::Array(wrong)), at.now_ms()))
}

fn looks_like_email(text: &str) -> bool {
    let Some((name, host)) = text.split_once('@') else { return false };
    !name.is_empty() && host.contains('.') && !host.contains('@') && !text.contains(char::is_whitespace)
}

fn is_address(record: &Record, email: &str) -> bool {
    record.properties.is("email", &email.to_lowercase())
}

/// The contact that has this address already, other than this one.
fn holder(collection: &Collection, stored: &Map<String, Json>, but: Option<u64>) -> Option<u64> {
    let email = stored.get("email")?.as_str()?;
    collection.live().find(|record| is_address(record, email) && Some(record.id) != but).map(|record| record.id)
}

/// The answer to a second contact with an address; the id that is there stands in the message
/// only.
fn conflict(existing: u64, now_ms: i64) -> Answer {
    error(409, "CONFLICT", &format!("Contact already exists. Existing ID: {existing}"), now_ms)
}

/// The body of a write as JSON.
fn json_of(at: &At<'_>) -> Result<Json, Answer> {
    serde_json::from_slice(at.asked.body)
        .map_err(|failed| error(400, "VALIDATION_ERROR", &format!("Invalid input JSON: {failed}"), at.now_ms()))
}

fn create(state: &mut State, at: &At<'_>) -> Answer {
    let stored = match json_of(at).and_then(|input| checked(at, &input)) {
        Ok(stored) => stored,
        Err(answer) => return refused(state, at.asked.account_no, answer),
    };
    made(state, at, &stored).unwrap_or_else(|answer| answer)
}

/// Makes a record, unless another has its address.
fn made(state: &mut State, at: &At<'_>, stored: &Map<String, Json>) -> Result<Answer, Answer> {
    let account = state.account(at.asked.account_no);
    let holder = account.collection(at.object).ok().and_then(|collection| holder(collection, stored, None));
    if let Some(existing) = holder {
        return Err(refused(state, at.asked.account_no, conflict(existing, at.now_ms())));
    }
    let mut set = stored.clone();
    set.retain(|_, value| !value.is_null());
    let write = |account: &mut Account| account.create(at.object, &raw_json(&set)?, None, at.now_ms());
    written(state, at, (201, &at.wanted(Some(stored.keys().cloned().collect()))), write)
}

fn update(state: &mut State, at: &At<'_>, id: &str) -> Answer {
    let stored = match json_of(at).and_then(|input| checked(at, &input)) {
        Ok(stored) => stored,
        Err(answer) => return refused(state, at.asked.account_no, answer),
    };
    changed(state, at, id, &stored).unwrap_or_else(|answer| answer)
}

fn changed(state: &mut State, at: &At<'_>, id: &str, stored: &Map<String, Json>) -> Result<Answer, Answer> {
    let account = state.account(at.asked.account_no);
    let own = Hubspot.id_of(id);
    let holder = account.collection(at.object).ok().and_then(|collection| holder(collection, stored, own));
    if let Some(existing) = holder.filter(|_| account.get(at.object, id).is_ok()) {
        return Err(refused(state, at.asked.account_no, conflict(existing, at.now_ms())));
    }
    let write =
        |account: &mut Account| account.edit(at.object, id, None, (Edit::Merge, &raw_json(stored)?), at.now_ms());
    written(state, at, (200, &at.wanted(Some(stored.keys().cloned().collect()))), write)
}

/// Carries a write out, and shows the record that came of it.
fn written(
    state: &mut State,
    at: &At<'_>,
    (status, wanted): (u16, &[String]),
    write: impl FnOnce(&mut Account) -> Result<Done, Refusal>,
) -> Result<Answer, Answer> {
    let refused = |refusal: Refusal| Hubspot.refused(&refusal, at.asked.settings, at.now_ms());
    let done = counted(state, at.asked.account_no, write).map_err(refused)?;
    let collection = state.account(at.asked.account_no).collection(at.object).map_err(refused)?;
    let record = collection.find(Some(done.id), "").map_err(refused)?;
    Ok(Answer::json_with(status, &show(record, None, wanted)))
}

/// Archives a record; one that is archived already stays so.
fn archive(state: &mut State, at: &At<'_>, id: &str) -> Answer {
    let account = state.account(at.asked.account_no);
    let is_gone = account.collection(at.object).is_ok_and(|collection| {
        collection.all().any(|(record, gone)| Hubspot.id_of(id) == Some(record.id) && gone.is_some())
    });
    let done = Answer { status: 204, ..Answer::default() };
    if is_gone {
        return done;
    }
    match counted(state, at.asked.account_no, |account| account.delete(at.object, id, None, at.now_ms())) {
        Ok(_) => done,
        Err(refusal) => Hubspot.refused(&refusal, at.asked.settings, at.now_ms()),
    }
}
