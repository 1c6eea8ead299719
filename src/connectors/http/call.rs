//! One request after another: addresses, credentials, permits, and what an answer's
//! status says about the call.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::SecretString;
use serde_json::value::RawValue;
use url::Url;

use crate::connectors::Calls;
use crate::model::budget::Charge;
use crate::model::write::{ConnectorError, NextStep};

use super::Clock;
use super::file::HttpConnectorFile;
use super::id::IdSpec;
use super::rules::{Rule, Told};
use super::send::SendError;
use super::session::Sessions;
use super::settings::{Auth, Credentials};
use super::spec::{Endpoint, PathTemplate, Piece, Statuses};
use super::telling::Telling;
use super::template::to_text;
use super::text::clip;
use super::time;
use super::together::Together;
use super::transport::{HttpRequest, HttpResponse, Method, Part, Transport, TransportError, find_header};
use super::xml::{self, XmlSpec};

/// What stays as it is within one path segment or query value.
pub(super) const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The longest pause taken from an answer.
pub(super) const MAX_PAUSE_MS: u64 = 24 * 60 * 60 * 1_000;

/// Calls one connection's app.
pub(super) struct Caller {
    pub transport: Rc<dyn Transport>,
    pub base: Url,
    pub auth: Auth,
    pub credentials: Credentials,
    /// The wall clock.
    pub now: Arc<Clock>,
    /// Tokens that are fetched, where the file says that they are.
    pub sessions: Option<Arc<Sessions>>,
    /// The budget of all connections of the connector.
    pub together: Option<Together>,
    /// How answers in XML are read.
    pub xml: Option<Arc<XmlSpec>>,
    /// What answers tell of limits, where the file says that they do.
    pub telling: Option<Arc<Telling>>,
}

/// The ids that may stand in a path.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PathIds<'a> {
    pub id: Option<&'a str>,
    /// What takes the id apart, where a path names its parts.
    pub spec: Option<&'a IdSpec>,
    pub external_id: Option<&'a str>,
    /// The record for which a list is.
    pub parent: Option<&'a str>,
}

impl PathIds<'_> {
    /// One part of the id.
    fn part(&self, name: &str) -> Option<String> {
        self.spec?.part(self.id?, name).map(|part| to_text(&part))
    }
}

/// A request, ready but for credentials.
#[derive(Debug, Clone)]
pub(super) struct Prepared {
    pub method: Method,
    pub url: Url,
    pub headers: Vec<(String, String)>,
    pub body: Option<String>,
    pub charge: Charge,
    /// A body that carries credentials.
    pub secret_body: Option<SecretString>,
    /// Only a part of the answer is wanted.
    pub part: Option<Part>,
    /// It goes to somebody else than the app, without credentials.
    pub is_foreign: bool,
}

/// An answer as it came.
#[derive(Debug, Clone)]
pub(super) struct Exchange {
    pub place: String,
    /// The class of the call.
    pub class: Option<Arc<str>>,
    pub answer: HttpResponse,
}

/// An answer as text, and where it came from.
#[derive(Debug)]
pub(super) struct Reply {
    /// The class of the call.
    pub class: Option<Arc<str>>,
    /// `GET /v1/contacts`, without the query.
    pub place: String,
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
    /// What a body of XML says, as JSON, or why it is not taken; `None` for any other body.
    pub xml: Option<Result<String, String>>,
    /// The body was not valid UTF-8; what was not is replaced by U+FFFD.
    pub lossy: bool,
}

/// What an answer's status means, before it is known what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    Success,
    /// Too many calls; pause this long.
    Limited {
        millis: u64,
    },
    Unauthorised,
    Missing,
    Changed,
    Duplicate,
    Invalid,
    /// Certainly not carried out, and it may go better soon.
    NotNow,
    /// Some failure of the server; nobody knows what it did.
    Broken,
    /// The position that changes were asked for since is no longer known.
    Expired,
    /// What continues the list is no longer known: the list is begun anew.
    BeginAnew,
    /// A redirect, a wrong address or method: a person must mend something.
    Wrong,
}

impl Caller {
    /// The absolute URL of an endpoint.
    ///
    /// # Errors
    /// When an id cannot stand in a path.
    pub fn url(&self, path: &PathTemplate, ids: PathIds<'_>, query: &[(String, String)]) -> Result<Url, String> {
        let mut wanted = self.base.path().trim_end_matches('/').to_owned();
        for piece in &path.0 {
            match piece {
                Piece::Text(text) => wanted.push_str(text),
                Piece::Id => wanted.push_str(&segment(ids.id)?),
                Piece::Parent => wanted.push_str(&segment(ids.parent)?),
                Piece::IdPart(name) => wanted.push_str(&segment(ids.part(name).as_deref())?),
                Piece::ExternalId => wanted.push_str(&segment(ids.external_id)?),
            }
        }
        let mut url = self.base.clone();
        url.set_path(&wanted);
        // The last guard: whatever a URL parser makes of dots and the like, the record
        // must not have led to another path.
        if url.path() != wanted {
            return Err(format!("the path '{}' cannot be sent as it stands", clip(&wanted)));
        }
        add_query(&mut url, query);
        Ok(url)
    }

    /// A next link, resolved against the page it stood on.
    ///
    /// # Errors
    /// When it leaves the origin, naming both.
    pub fn next_url(&self, page: &Url, link: &str) -> Result<Url, String> {
        let mut url = page.join(link).map_err(|error| format!("the next link '{}' is no URL: {error}", clip(link)))?;
        if url.origin() != self.base.origin() {
            let (to, from) = (clip(&url.origin().ascii_serialization()), self.base.origin().ascii_serialization());
            return Err(format!("the next link leads to {to}, but the connection is with {from}: not followed"));
        }
        url.set_fragment(None);
        if let Some(secret) = self.auth.secret_query_name() {
            remove_query(&mut url, secret);
        }
        Ok(url)
    }

    /// Sends a request within the budget, with these credentials.
    ///
    /// # Errors
    /// When there is no answer; the message names the place.
    pub async fn exchange(&self, calls: &Calls, request: Prepared, auth: &Auth) -> Result<Exchange, TransportError> {
        let place = format!("{} {}", request.method.as_str(), clip(request.url.path()));
        let (charge, is_foreign) = (request.charge, request.is_foreign);
        let mut request = HttpRequest {
            method: request.method,
            url: request.url.into(),
            headers: request.headers,
            secret_headers: Vec::new(),
            secret_query: Vec::new(),
            body: request.body,
            secret_body: request.secret_body,
            part: request.part,
        };
        auth.apply(&mut request);
        let permit = calls.permit_for(&charge).await;
        // Always after the connection's own, so that nobody holds this one while he waits.
        let of_all = match &self.together {
            Some(together) if !is_foreign => Some(together.calls().in_lane(calls.lane()).permit_for(&charge).await),
            Some(_) | None => None,
        };
        let answer = self.transport.send(request).await;
        if let (Some(telling), Ok(answer)) = (&self.telling, &answer) {
            telling.hear(&permit, of_all.as_ref(), calls, &charge, answer, (self.now)());
        }
        drop((permit, of_all));
        let answer = answer.map_err(|error| {
            let message = |text: String| format!("{place}: {}", self.redact(&text));
            match error {
                TransportError::NotSent(text) => TransportError::NotSent(message(text)),
                TransportError::Refused(text) => TransportError::Refused(message(text)),
                TransportError::Unknown(text) => TransportError::Unknown(message(text)),
            }
        })?;
        Ok(Exchange { class: charge.class, place, answer })
    }

    /// An answer as text, and what it says where it is XML.
    pub fn reply(&self, exchange: Exchange) -> Reply {
        let mut reply = exchange.into_reply();
        if let Some(spec) = &self.xml
            && reply.body.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']).starts_with('<')
        {
            reply.xml = Some(xml::to_json(spec, &reply.body));
        }
        reply
    }

    /// A foreign text for a message: short, harmless, without our secrets.
    pub fn redact(&self, text: &str) -> String {
        let text = self.credentials.redact(text);
        let token = self.sessions.as_ref().and_then(|sessions| sessions.token());
        clip(&token.map_or_else(|| text.clone(), |token| Credentials::Token(token).redact(&text)))
    }

    /// A sentence about an answer: place, status and what it said.
    pub fn sentence(&self, reply: &Reply) -> String {
        let Reply { place, status, body, .. } = reply;
        let location = reply.header("location").filter(|_| (300..400).contains(status));
        match location {
            Some(location) => {
                let to = self.redact(location.split(['?', '#']).next().unwrap_or_default());
                format!("{place} answered {status}, a redirect to {to}: redirects are not followed")
            }
            None if body.trim().is_empty() => format!("{place} answered {status}"),
            None => format!("{place} answered {status}: {}", self.redact(body)),
        }
    }

    /// What a reading call that was not answered with success should do next.
    pub fn read_error(&self, meaning: Meaning, reply: &Reply) -> ConnectorError {
        let next = match meaning {
            Meaning::Limited { millis } => NextStep::Wait { millis },
            Meaning::Unauthorised => NextStep::Reauthorise,
            Meaning::NotNow | Meaning::Broken | Meaning::Success | Meaning::Expired | Meaning::BeginAnew => {
                NextStep::Retry
            }
            Meaning::Missing | Meaning::Changed | Meaning::Duplicate | Meaning::Invalid | Meaning::Wrong => {
                NextStep::Fail
            }
        };
        ConnectorError::new(next, self.sentence(reply))
    }
}

/// What a reading call that got no answer should do next.
pub(super) fn unanswered_read(error: SendError) -> ConnectorError {
    match error {
        SendError::Transport(TransportError::NotSent(message) | TransportError::Unknown(message)) => {
            ConnectorError::new(NextStep::Retry, message)
        }
        SendError::Transport(TransportError::Refused(message)) => ConnectorError::new(NextStep::Fail, message),
        SendError::NoSession(error) => error,
    }
}

/// What a write that certainly was not sent should do next.
pub(super) fn not_sent(next: NextStep, message: impl Into<String>) -> crate::model::write::Outcome {
    crate::model::write::Outcome::NotSent(ConnectorError::new(next, message))
}

impl Exchange {
    /// The answer as text.
    fn into_reply(self) -> Reply {
        let Self { place, class, answer: HttpResponse { status, headers, body } } = self;
        let (body, lossy) = match String::from_utf8(body) {
            Ok(body) => (body, false),
            Err(error) => (String::from_utf8_lossy(error.as_bytes()).into_owned(), true),
        };
        Reply { class, place, status, headers, body, xml: None, lossy }
    }

    /// The answer without its body.
    pub fn head(&self) -> Reply {
        let Self { place, class, answer: HttpResponse { status, headers, body: _ } } = self;
        let (place, class, headers) = (place.clone(), class.clone(), headers.clone());
        Reply { class, place, status: *status, headers, body: String::new(), xml: None, lossy: false }
    }
}

impl Reply {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        find_header(&self.headers, name)
    }

    /// The body as JSON, not yet looked into.
    ///
    /// # Errors
    /// When it is none, with a sentence.
    pub fn json(&self) -> Result<&RawValue, String> {
        let Self { place, status, body, xml, .. } = self;
        let json = match xml {
            Some(Ok(json)) => json,
            Some(Err(reason)) => {
                return Err(format!("{place} answered {status}, but no XML ({reason}): {}", clip(body)));
            }
            None => body,
        };
        serde_json::from_str(json)
            .map_err(|error| format!("{place} answered {status}, but not JSON ({error}): {}", clip(body)))
    }

    /// The server's clock, if it told one that can be believed; ours otherwise.
    pub fn clock(&self, ours: DateTime<Utc>) -> DateTime<Utc> {
        time::server_clock(self.header("date"), ours)
    }

    /// What it means.
    pub fn judge<'f>(&self, file: &'f HttpConnectorFile, ours: DateTime<Utc>) -> Judged<'f> {
        let header = |name: &str| self.header(name).map(str::to_owned);
        // Looked into only where a rule may ask for it.
        let body = if file.looks_into_bodies() { self.json().ok() } else { None };
        let server_now = self.clock(ours);
        judge(file, &Told { status: self.status, header: &header, body, text: &self.body, server_now })
    }
}

/// A `Retry-After` header in milliseconds, from nothing to a day; `None` when it says
/// neither seconds nor a date.
pub(super) fn retry_after_ms(text: &str, server_now: DateTime<Utc>) -> Option<u64> {
    let text = text.trim();
    let millis = match text.parse::<f64>() {
        // A negative or infinite number of seconds saturates.
        Ok(seconds) if !seconds.is_nan() => (seconds * 1_000.0).ceil() as u64,
        Ok(_) => return None,
        Err(_) => {
            let until = time::parse_date_header(text)?;
            u64::try_from(until.signed_duration_since(server_now).num_milliseconds()).unwrap_or(0)
        }
    };
    Some(millis.min(MAX_PAUSE_MS))
}

/// What an answer means, and the rule that says so, if one does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judged<'f> {
    pub meaning: Meaning,
    pub rule: Option<&'f Rule>,
}

/// What an answer means: by the first rule of the file that fits, else by its status.
pub(super) fn judge<'f>(file: &'f HttpConnectorFile, told: &Told<'_>) -> Judged<'f> {
    let rule = file.rules.iter().find(|rule| rule.fits(told));
    let meaning = match rule {
        Some(rule) => rule.meaning(told, file.limited_pause_ms),
        None => meaning(file, told),
    };
    let meaning = match meaning {
        // Whoever comes back before that is locked out anew, whatever the answer says.
        Meaning::Limited { millis } => Meaning::Limited { millis: millis.max(file.lockout_ms) },
        other => other,
    };
    Judged { meaning, rule }
}

/// What a status means. Declared statuses come before the usual ones.
fn meaning(file: &HttpConnectorFile, told: &Told<'_>) -> Meaning {
    let status = told.status;
    let retry_after_ms = (told.header)("retry-after").and_then(|text| retry_after_ms(&text, told.server_now));
    // How long only: many apps tell with every answer when their window ends.
    let wait = || file.wait.as_ref().and_then(|wait| wait.millis(told));
    let limited = || Meaning::Limited { millis: retry_after_ms.or_else(wait).unwrap_or(file.limited_pause_ms) };
    let Statuses { limited: limits, unauthorised, missing, changed, duplicate, invalid, retry } = &file.statuses;
    for (statuses, meaning) in [
        (limits, limited()),
        (unauthorised, Meaning::Unauthorised),
        (missing, Meaning::Missing),
        (changed, Meaning::Changed),
        (duplicate, Meaning::Duplicate),
        (invalid, Meaning::Invalid),
        (retry, Meaning::NotNow),
    ] {
        if statuses.contains(&status) {
            return meaning;
        }
    }
    match status {
        200..=299 => Meaning::Success,
        429 => limited(),
        // Refused before it was carried out: the side names a time to come back. A
        // conflict that passes (a database that lost a race) comes in the same form.
        409 | 503 if retry_after_ms.is_some() => limited(),
        401 | 403 => Meaning::Unauthorised,
        404 | 410 => Meaning::Missing,
        412 => Meaning::Changed,
        400 | 409 | 413 | 422 => Meaning::Invalid,
        408 | 423 | 425 => Meaning::NotNow,
        500..=599 => Meaning::Broken,
        _ => Meaning::Wrong,
    }
}

/// An id as one path segment.
fn segment(id: Option<&str>) -> Result<String, String> {
    let id = id.filter(|id| !id.is_empty()).ok_or("the record has no id to stand in the path")?;
    if matches!(id, "." | "..") {
        // URL parsers take even their encoded forms for a step in the path.
        return Err(format!("the id '{id}' cannot stand in a path"));
    }
    if id.chars().any(char::is_control) {
        return Err(format!("the id '{}' holds a control character", clip(id)));
    }
    Ok(encode(id).to_string())
}

fn encode(text: &str) -> impl fmt::Display + '_ {
    utf8_percent_encode(text, UNRESERVED)
}

fn add_query(url: &mut Url, query: &[(String, String)]) {
    if query.is_empty() {
        return;
    }
    let mut text = url.query().map(|query| format!("{query}&")).unwrap_or_default();
    for (i, (name, value)) in query.iter().enumerate() {
        if i > 0 {
            text.push('&');
        }
        text.push_str(&format!("{}={}", encode(name), encode(value)));
    }
    url.set_query(Some(&text));
}

fn remove_query(url: &mut Url, name: &str) {
    let Some(query) = url.query() else { return };
    let is_secret = |pair: &str| {
        let key = pair.split('=').next().unwrap_or_default();
        percent_encoding::percent_decode_str(key).decode_utf8_lossy() == name
    };
    let kept: Vec<&str> = query.split('&').filter(|pair| !is_secret(pair)).collect();
    let kept = kept.join("&");
    url.set_query((!kept.is_empty()).then_some(kept.as_str()));
}

impl Prepared {
    /// A request to an endpoint, without a body.
    pub fn to(endpoint: &Endpoint, url: Url, common: &[(String, String)]) -> Self {
        Self { charge: endpoint.charge.clone(), ..Self::new(endpoint.method, url, common, &endpoint.headers) }
    }

    /// A request whose own headers replace the common ones.
    pub fn new(method: Method, url: Url, common: &[(String, String)], headers: &[(String, String)]) -> Self {
        let mut all = vec![("Accept".to_owned(), "application/json".to_owned())];
        for (name, value) in common.iter().chain(headers) {
            all.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
            all.push((name.clone(), value.clone()));
        }
        let charge = Charge::default();
        Self { method, url, headers: all, body: None, charge, secret_body: None, part: None, is_foreign: false }
    }

    /// Sends a header in place of one of that name.
    pub fn set_header(&mut self, name: &str, value: &str) {
        self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_clamped() {
        let now = DateTime::parse_from_rfc3339("2026-11-23T08:59:49Z").unwrap().to_utc();
        for (text, want) in [
            ("3", Some(3_000)),
            ("0", Some(0)),
            ("0.5", Some(500)),
            ("-5", Some(0)),
            ("999999999", Some(MAX_PAUSE_MS)),
            ("1e300", Some(MAX_PAUSE_MS)),
            ("Mon, 23 Nov 2026 08:59:59 GMT", Some(10_000)),
            ("Mon, 23 Nov 2020 08:59:59 GMT", Some(0)),
            ("Mon, 23 Nov 2099 08:59:59 GMT", Some(MAX_PAUSE_MS)),
            ("soon", None),
            ("NaN", None),
            ("", None),
        ] {
            assert_eq!(retry_after_ms(text, now), want, "{text}");
        }
    }
}
