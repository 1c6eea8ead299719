//! Microsoft Graph's Outlook contacts of one mailbox, as
//! <https://learn.microsoft.com/en-us/graph/api/resources/contact> and
//! <https://learn.microsoft.com/en-us/graph/api/contact-delta> describe them: changes by rounds
//! of links, entity tags, batches of whole requests, four requests at a time, and change
//! notifications known by a secret in them.

mod batch;
mod delta;
mod filter;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value as Json, json};

use super::super::answer::{Answer, ceil_seconds, retry_after_text};
use super::super::asked::Asked;
use super::super::collection::{Edit, Record};
use super::super::hostile::Kind;
use super::super::limits::Admitted;
use super::super::refusal::Refusal;
use super::super::settings::{RetryAfter, Settings};
use super::super::state::{Account, Done, State, raw_json};
use super::super::webhooks::outbox::{Post, Told, Verb};
use super::super::webhooks::{Webhook, WebhookSecret};
use super::{Speech, counted, decoded, fields_of, part, refused, request_id, seed_text};
use crate::model::value::Value;

const ROOT: &str = "/v1.0/";
const CONTACTS: &str = "contacts";

/// Contacts on a page where the request does not say, and at most
/// (<https://learn.microsoft.com/en-us/graph/paging>).
const PAGE: (usize, usize) = (10, 999);

/// What a contact has: texts, which are null where they are not set, and lists and tables,
/// which are empty.
const TEXTS: [&str; 18] = [
    "assistantName",
    "birthday",
    "businessHomePage",
    "companyName",
    "department",
    "displayName",
    "fileAs",
    "generation",
    "givenName",
    "initials",
    "jobTitle",
    "manager",
    "middleName",
    "mobilePhone",
    "nickName",
    "officeLocation",
    "personalNotes",
    "surname",
];
const LISTS: [&str; 6] = ["businessPhones", "categories", "children", "emailAddresses", "homePhones", "imAddresses"];
const TABLES: [&str; 3] = ["businessAddress", "homeAddress", "otherAddress"];

/// Mail addresses of one contact.
const MOST_ADDRESSES: usize = 3;

/// Microsoft Graph.
#[derive(Debug)]
pub(super) struct Graph;

impl Speech for Graph {
    fn root(&self) -> &'static str {
        ROOT
    }

    fn kind(&self, method: &str, path: &str) -> Kind {
        match (method, path) {
            ("GET", "/v1.0/me/contacts" | "/v1.0/me/contacts/delta") => Kind::List,
            ("GET", _) => Kind::Read,
            _ => Kind::Write,
        }
    }

    fn route(&self, state: &mut State, asked: &Asked<'_>) -> Result<Answer, Refusal> {
        let rest = asked.path.strip_prefix(ROOT).unwrap_or_default();
        Ok(match (asked.method, rest) {
            ("POST", "$batch") => batch::batch(state, asked),
            _ => one(state, asked, rest).unwrap_or_else(|answer| answer),
        })
    }

    fn refused(&self, refusal: &Refusal, settings: &Settings, now_ms: i64) -> Answer {
        let told = |code: &str| error(refusal.status(), code, &refusal.message(), now_ms);
        match refusal {
            Refusal::Unauthorised => told("InvalidAuthenticationToken"),
            Refusal::NotFound { .. } => missing(now_ms),
            Refusal::UnknownObject { .. } | Refusal::UnknownRoute { .. } => told("ResourceNotFound"),
            Refusal::EtagMismatch { .. } => {
                let message = "The send or update operation could not be performed because the change key passed in the \
                               request does not match the current change key for the item.";
                error(412, "ErrorIrresolvableConflict", message, now_ms)
            }
            Refusal::RateLimited { retry_at_ms } => {
                let retry_after = retry_after_text(settings.retry_after, *retry_at_ms, now_ms);
                Answer { retry_after, ..error(429, "ApplicationThrottled", "Application is over its limit.", now_ms) }
            }
            Refusal::TooManyAtOnce => {
                let answer =
                    error(429, "ApplicationThrottled", "Application is over its MailboxConcurrency limit.", now_ms);
                Answer { retry_after: Some("1".to_owned()), ..answer }
            }
            Refusal::BadRequest { .. }
            | Refusal::BadParameter { .. }
            | Refusal::NotLoopback
            | Refusal::MethodNotAllowed { .. }
            | Refusal::KeyReused
            | Refusal::TooLarge { .. }
            | Refusal::InvalidProperty { .. } => told("RequestBodyRead"),
        }
    }

    fn failed(&self, status: u16) -> Answer {
        error(status, "generalException", "An unspecified error has occurred.", 0)
    }

    /// It always says how long to wait
    /// (<https://learn.microsoft.com/en-us/graph/throttling>).
    fn limited(&self, _: Kind, retry_at_ms: i64, _: RetryAfter, now_ms: i64) -> Answer {
        let retry_after = retry_after_text(RetryAfter::Seconds, retry_at_ms, now_ms);
        Answer { retry_after, ..error(429, "ApplicationThrottled", "Application is over its limit.", now_ms) }
    }

    fn limit_headers(&self, _: &Admitted) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn id_text(&self, id: u64) -> String {
        format!("AAMkADsandboxEAAA{id:010}=")
    }

    fn id_of(&self, text: &str) -> Option<u64> {
        let id = text.strip_prefix("AAMkADsandboxEAAA")?.strip_suffix('=')?.parse().ok()?;
        (self.id_text(id) == text).then_some(id)
    }

    fn seeded(&self, record: Value) -> Value {
        let text = |key: &str| seed_text(&record, key).map(Value::String);
        let name = seed_text(&record, "full_name").or_else(|| seed_text(&record, "name"));
        let address = seed_text(&record, "email").map(|address| {
            let entries = [("name", name.clone().unwrap_or_default()), ("address", address)];
            let entries = entries.map(|(key, text)| (key.to_owned(), Value::String(text)));
            Value::Array(vec![Value::Object(entries.into())])
        });
        let entries = [
            ("displayName", name.clone().map(Value::String)),
            ("emailAddresses", address),
            ("mobilePhone", text("phone")),
            ("companyName", text("company")),
            ("jobTitle", text("job_title")),
            ("personalNotes", text("notes")),
        ];
        Value::Object(entries.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect())
    }

    /// As <https://learn.microsoft.com/en-us/graph/change-notifications-delivery-webhooks>
    /// shows it: the contact is named, and the subscription's secret stands beside it.
    fn body(&self, told: &Told<'_>) -> Vec<u8> {
        let verb = match told.change.verb {
            Verb::Created => "created",
            Verb::Updated => "updated",
            Verb::Deleted => "deleted",
        };
        let id = self.id_text(told.change.id);
        let resource = format!("Users/{}/Contacts/{id}", told.account);
        let mut data = json!({ "@odata.type": "#Microsoft.Graph.Contact", "@odata.id": resource, "id": id });
        if let Some(etag) = &told.change.now.etag {
            data["@odata.etag"] = json!(format!("W/{etag}"));
        }
        let secret = told.webhook.secret.as_ref().map_or("", |secret| secret.text());
        let notification = json!({
            "subscriptionId": request_id(0, told.account), "subscriptionExpirationDateTime": "2099-01-01T00:00:00Z",
            "changeType": verb, "resource": resource, "resourceData": data, "clientState": secret,
            "tenantId": request_id(1, told.account),
        });
        json!({ "value": [notification] }).to_string().into_bytes()
    }

    fn signed(&self, _: &Webhook, _: &WebhookSecret, _: &Post, _: i64) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Nothing is sent to a URL that has not given its token back.
    fn handshake(&self) -> Option<&'static str> {
        Some("validationToken")
    }
}

/// An error as all of them are shaped (<https://learn.microsoft.com/en-us/graph/errors>).
fn error(status: u16, code: &str, message: &str, now_ms: i64) -> Answer {
    let id = request_id(now_ms, message);
    let inner = json!({ "date": when(now_ms), "request-id": id, "client-request-id": id });
    Answer::json_with(status, &json!({ "error": { "code": code, "message": message, "innerError": inner } }))
}

fn missing(now_ms: i64) -> Answer {
    error(404, "ErrorItemNotFound", "The specified object was not found in the store.", now_ms)
}

/// Whole seconds, as contacts tell their times.
fn when(ms: i64) -> String {
    chrono::DateTime::from_timestamp_millis(ms).unwrap_or_default().format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Where this sandbox is, as links begin.
fn origin(asked: &Asked<'_>) -> String {
    asked.host.map_or_else(String::new, |host| format!("http://{host}"))
}

/// A contact as it is shown; what is not set is null or empty.
fn show(record: &Record) -> Json {
    let fields = fields_of(&record.properties);
    let etag = record.etag();
    let key = etag.trim_matches('"');
    let mut shown = json!({
        "@odata.etag": format!("W/{etag}"), "id": Graph.id_text(record.id), "changeKey": key,
        "createdDateTime": when(record.created_ms), "lastModifiedDateTime": when(record.updated_ms),
        "parentFolderId": "AAMkADsandboxContacts=",
    });
    let empty = |list: &[&'static str], empty: &Json| -> Vec<(&'static str, Json)> {
        list.iter().map(|name| (*name, fields.get(*name).cloned().unwrap_or_else(|| empty.clone()))).collect()
    };
    let all = [empty(&TEXTS, &Json::Null), empty(&LISTS, &json!([])), empty(&TABLES, &json!({}))];
    for (name, value) in all.into_iter().flatten() {
        shown[name] = value;
    }
    shown
}

/// One request that is no batch; `rest` is its path behind the root.
fn one(state: &mut State, asked: &Asked<'_>, rest: &str) -> Result<Answer, Answer> {
    let now_ms = asked.now_ms;
    let path = rest.strip_prefix("me/contacts").filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let Some(path) = path else {
        let message =
            format!("Resource not found for the segment '{}'.", rest.split('/').next_back().unwrap_or_default());
        return Err(error(404, "ResourceNotFound", &message, now_ms));
    };
    match (asked.method, path.trim_start_matches('/')) {
        ("GET", "") => list(state, asked),
        ("POST", "") => create(state, asked),
        ("GET", "delta" | "microsoft.graph.delta" | "delta()") => delta::round(state, asked),
        ("GET", id) => {
            let id = decoded(id);
            let collection = state.account(asked.account_no).collection(CONTACTS).map_err(|_| missing(now_ms))?;
            let collection = asked.seen(collection);
            let record = collection.find(Graph.id_of(&id), &id).map_err(|_| missing(now_ms))?;
            Ok(with_context(show(record)))
        }
        ("PATCH", id) => update(state, asked, &decoded(id)),
        ("DELETE", id) => delete(state, asked, &decoded(id)),
        _ => Err(error(405, "MethodNotAllowed", "The method is not allowed for this resource.", now_ms)),
    }
}

fn with_context(mut shown: Json) -> Answer {
    shown["@odata.context"] = json!("https://graph.microsoft.com/v1.0/$metadata#users('me')/contacts/$entity");
    Answer::json(&shown)
}

/// A number in the query.
fn number(asked: &Asked<'_>, name: &str) -> Result<Option<usize>, Answer> {
    let params = asked.params();
    let text = params.one(name).map_err(|refusal| error(400, "BadRequest", &refusal.message(), asked.now_ms))?;
    let parse = |text: &str| {
        let message = format!("Invalid value '{text}' for {name} query option found.");
        text.parse().map_err(|_| error(400, "BadRequest", &message, asked.now_ms))
    };
    text.map(parse).transpose()
}

fn list(state: &mut State, asked: &Asked<'_>) -> Result<Answer, Answer> {
    let params = asked.params();
    let known = |name: &&str| !["$top", "$skip", "$filter", "$select", "$count", "$orderby"].contains(name);
    if let Some(name) = params.names().find(known) {
        let message = format!("The query parameter '{name}' is not supported.");
        return Err(error(400, "BadRequest", &message, asked.now_ms));
    }
    let (limit, start) = (number(asked, "$top")?.unwrap_or(PAGE.0), number(asked, "$skip")?.unwrap_or(0));
    if !(1..=PAGE.1).contains(&limit) {
        return Err(error(400, "BadRequest", "$top must be from 1 to 999.", asked.now_ms));
    }
    let wanted = params.all("$filter").next().map(filter::parse).transpose();
    let wanted = wanted.map_err(|message| error(400, "ErrorInvalidUrlQueryFilter", &message, asked.now_ms))?;
    let collection = state.account(asked.account_no).collection(CONTACTS).map_err(|_| missing(asked.now_ms))?;
    let collection = asked.seen(collection);
    let fits = |record: &&Record| wanted.as_ref().is_none_or(|wanted| wanted.holds(&fields_of(&record.properties)));
    let all: Vec<&Record> = collection.live().filter(fits).collect();
    let page = part(&all, start, asked.shift, limit);
    let value: Vec<Json> = page.iter().map(|record| show(record)).collect();
    let mut body =
        json!({ "@odata.context": "https://graph.microsoft.com/v1.0/$metadata#users('me')/contacts", "value": value });
    if start + limit < all.len() {
        let next = (start + limit).to_string();
        let others = params.names().filter(|name| *name != "$skip");
        let query: Vec<(&str, &str)> = others.filter_map(|name| Some((name, params.all(name).next()?))).collect();
        let mut text = url::form_urlencoded::Serializer::new(String::new());
        let text = text.extend_pairs(query).append_pair("$skip", &next).finish();
        body["@odata.nextLink"] = json!(format!("{}{}?{text}", origin(asked), asked.path));
    }
    Ok(Answer::json(&body))
}

/// What a body sets: null takes a text away, and so does an empty list or table.
fn checked(asked: &Asked<'_>) -> Result<Map<String, Json>, Answer> {
    let wrong = |message: &str| error(400, "RequestBodyRead", message, asked.now_ms);
    let body: Json = serde_json::from_slice(asked.body).map_err(|failed| wrong(&failed.to_string()))?;
    let Json::Object(fields) = body else { return Err(wrong("The body must be an object.")) };
    let mut stored = Map::new();
    for (name, value) in fields {
        let is_text = TEXTS.contains(&name.as_str());
        let (is_list, is_table) = (LISTS.contains(&name.as_str()), TABLES.contains(&name.as_str()));
        if !is_text && !is_list && !is_table {
            if name.starts_with('@') || ["id", "changeKey", "parentFolderId"].contains(&name.as_str()) {
                continue;
            }
            let message = format!(
                "The property '{name}' does not exist on type 'microsoft.graph.contact'. Make sure to only use property \
                 names that are defined by the type."
            );
            return Err(wrong(&message));
        }
        let value = match value {
            Json::Null => Json::Null,
            Json::String(text) if is_text => {
                if text.is_empty() {
                    Json::Null
                } else {
                    Json::String(text)
                }
            }
            Json::Array(items) if is_list => {
                if items.is_empty() {
                    Json::Null
                } else {
                    Json::Array(items)
                }
            }
            Json::Object(entries) if is_table => {
                if entries.is_empty() {
                    Json::Null
                } else {
                    Json::Object(entries)
                }
            }
            _ => return Err(wrong(&format!("Cannot convert the value of '{name}' to its type."))),
        };
        if name == "emailAddresses" && value.as_array().is_some_and(|list| list.len() > MOST_ADDRESSES) {
            return Err(error(400, "ErrorInvalidRequest", "A contact has at most three mail addresses.", asked.now_ms));
        }
        stored.insert(name, value);
    }
    Ok(stored)
}

fn create(state: &mut State, asked: &Asked<'_>) -> Result<Answer, Answer> {
    let mut stored = checked(asked).map_err(|answer| refused(state, asked.account_no, answer))?;
    stored.retain(|_, value| !value.is_null());
    let names: Vec<&str> =
        ["givenName", "surname"].into_iter().filter_map(|name| stored.get(name).and_then(Json::as_str)).collect();
    if !stored.contains_key("displayName") && !names.is_empty() {
        stored.insert("displayName".to_owned(), json!(names.join(" ")));
    }
    written(state, asked, 201, |account| account.create(CONTACTS, &raw_json(&stored)?, None, asked.now_ms))
}

/// The entity tag of `If-Match`, as records have it; `*` fits any.
fn expected<'a>(asked: &Asked<'a>) -> Option<&'a str> {
    asked.if_match.map(|tag| tag.trim().trim_start_matches("W/")).filter(|tag| *tag != "*")
}

fn update(state: &mut State, asked: &Asked<'_>, id: &str) -> Result<Answer, Answer> {
    let stored = checked(asked).map_err(|answer| refused(state, asked.account_no, answer))?;
    written(state, asked, 200, |account| {
        account.edit(CONTACTS, id, expected(asked), (Edit::Merge, &raw_json(&stored)?), asked.now_ms)
    })
}

fn written(
    state: &mut State,
    asked: &Asked<'_>,
    status: u16,
    write: impl FnOnce(&mut Account) -> Result<Done, Refusal>,
) -> Result<Answer, Answer> {
    let told = |refusal: Refusal| Graph.refused(&refusal, asked.settings, asked.now_ms);
    let id = counted(state, asked.account_no, write).map_err(told)?.id;
    let record =
        state.account(asked.account_no).collection(CONTACTS).and_then(|all| all.find(Some(id), "")).map_err(told)?;
    Ok(Answer { status, ..with_context(show(record)) })
}

fn delete(state: &mut State, asked: &Asked<'_>, id: &str) -> Result<Answer, Answer> {
    let done = counted(state, asked.account_no, |account| account.delete(CONTACTS, id, expected(asked), asked.now_ms));
    done.map_err(|refusal| Graph.refused(&refusal, asked.settings, asked.now_ms))?;
    Ok(Answer { status: 204, ..Answer::default() })
}

/// Seconds until a time, at least one.
fn seconds_until(at_ms: i64, now_ms: i64) -> i64 {
    ceil_seconds(at_ms.saturating_sub(now_ms)).max(1)
}
