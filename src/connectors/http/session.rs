//! Tokens that are fetched with the credentials of a connection: by OAuth 2.0 with the grants
//! `client_credentials` (RFC 6749, section 4.4) and `jwt-bearer` (RFC 7523), or by logging in. One is fetched when there is
//! none, when it is about to end, and when the side refuses it; one at a time for a connection.
//! It is kept in memory only: whoever starts anew fetches anew.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use percent_encoding::utf8_percent_encode;
use secrecy::{ExposeSecret, SecretString};
use serde_json::value::RawValue;
use tokio::time::Instant;
use url::Url;

use crate::connectors::Calls;
use crate::model::path::Path;
use crate::model::value::Value;
use crate::model::write::{ConnectorError, NextStep};

use super::body::encode;
use super::call::{Caller, Exchange, PathIds, Prepared, UNRESERVED, retry_after_ms};
use super::jwt::{self, Algorithm, Claims, assertion};
use super::raw::{at, text_of};
use super::settings::{Auth, Credentials};
use super::spec::{AuthKind, Endpoint};
use super::transport::{Method, TransportError};

/// How a token is fetched, and how it is sent.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SessionSpec {
    pub login: Login,
    pub token: TokenPlace,
    pub sent: Sent,
    /// How long a token lives where the answer does not say, in milliseconds.
    pub life_ms: Option<u64>,
}

/// How a token is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Login {
    /// OAuth 2.0, with id and secret of a client.
    Client {
        /// A path of the API, or a whole URL; a connection may name another one.
        url: String,
        scope: Option<String>,
        /// Id and secret stand in the body and not in a header.
        in_body: bool,
        params: Vec<(String, String)>,
    },
    /// OAuth 2.0, with an assertion that a private key has signed.
    Assertion {
        /// A path of the API, or a whole URL; a connection may name another one.
        url: String,
        /// For whom the assertion is; the address of tokens where none is named.
        audience: Option<String>,
        scope: Option<String>,
        algorithm: Algorithm,
        /// Further claims of the assertion.
        claims: Vec<(String, String)>,
        params: Vec<(String, String)>,
    },
    /// A request with user and password.
    Password {
        endpoint: Endpoint,
        /// `"{user}"` and `"{password}"` stand for these.
        body: Value,
    },
}

/// Where an answer holds the token.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum TokenPlace {
    Path(Path),
    Header(String),
}

/// How a token is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sent {
    Bearer,
    Header { name: String, prefix: String },
    Cookie { name: String },
}

/// How long before its end a token is not used any more.
const MARGIN_MS: u64 = 60_000;

/// The longest life of a token that is believed, in milliseconds.
const MAX_LIFE_MS: u64 = 30 * 24 * 60 * 60 * 1_000;

/// How long to pause after a refusal for too many calls that does not say.
const PAUSE_MS: u64 = 5_000;

/// The token of a connection, shared by all its connectors.
pub(super) struct Sessions {
    spec: SessionSpec,
    // A std lock: held for a few instructions, never over an await.
    state: Mutex<State>,
    /// Held by whoever fetches.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    session: Option<Held>,
    /// How many tokens were fetched.
    number: u64,
    /// How often fetching one was tried.
    tries: u64,
    /// Why the last try failed, if it did.
    failed: Option<ConnectorError>,
}

#[derive(Clone)]
struct Held {
    session: Session,
    token: SecretString,
    until: Option<Instant>,
}

/// What asks for a token, the credentials in its headers, and the assertion in its body.
struct Asked {
    request: Prepared,
    auth: Auth,
    assertion: Option<SecretString>,
}

/// A token, ready to be sent.
#[derive(Clone)]
pub(super) struct Session {
    pub auth: Auth,
    /// Which of the tokens it is.
    pub number: u64,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").field("spec", &self.spec).finish_non_exhaustive()
    }
}

impl Sessions {
    /// The sessions that a connector file declares, if it does.
    pub fn of(auth: Option<&AuthKind>) -> Option<Arc<Self>> {
        let Some(AuthKind::Fetched(spec)) = auth else { return None };
        let (state, fetching) = (Mutex::default(), tokio::sync::Mutex::default());
        Some(Arc::new(Self { spec: (**spec).clone(), state, fetching }))
    }

    /// The token that is used now, to keep it out of messages.
    pub fn token(&self) -> Option<SecretString> {
        self.lock().session.as_ref().map(|held| held.token.clone())
    }

    /// A token that is not about to end; fetched where there is none.
    ///
    /// # Errors
    /// When none could be fetched.
    pub async fn get(&self, caller: &Caller, calls: &Calls) -> Result<Session, ConnectorError> {
        let (usable, number) = {
            let state = self.lock();
            (state.usable(), state.number)
        };
        match usable {
            Some(session) => Ok(session),
            None => self.fetched_after(caller, calls, number).await,
        }
    }

    /// Another token than the one of this number, which the side has refused.
    ///
    /// # Errors
    /// When none could be fetched.
    pub async fn renewed(&self, caller: &Caller, calls: &Calls, refused: u64) -> Result<Session, ConnectorError> {
        {
            let mut state = self.lock();
            if state.number == refused {
                state.session = None;
            }
        }
        self.fetched_after(caller, calls, refused).await
    }

    /// A token that was fetched after the one of that number, by us or by somebody who was
    /// quicker. Whoever has waited for a try that failed does not try again at once.
    async fn fetched_after(&self, caller: &Caller, calls: &Calls, number: u64) -> Result<Session, ConnectorError> {
        let tries = self.lock().tries;
        let _fetching = self.fetching.lock().await;
        {
            let state = self.lock();
            if let Some(session) = state.usable().filter(|session| session.number > number) {
                return Ok(session);
            }
            if let Some(error) = state.failed.as_ref().filter(|_| state.tries > tries) {
                return Err(error.clone());
            }
        }
        let fetched = self.fetch(caller, calls).await;
        let mut state = self.lock();
        state.tries += 1;
        match fetched {
            Ok((auth, token, until)) => {
                state.number += 1;
                let session = Session { auth, number: state.number };
                state.session = Some(Held { session: session.clone(), token, until });
                state.failed = None;
                Ok(session)
            }
            Err(error) => {
                state.failed = Some(error.clone());
                Err(error)
            }
        }
    }

    async fn fetch(
        &self,
        caller: &Caller,
        calls: &Calls,
    ) -> Result<(Auth, SecretString, Option<Instant>), ConnectorError> {
        let asked = Instant::now();
        let Asked { request, auth, assertion } = self.request(caller)?;
        let exchange = caller.exchange(calls, request, &auth).await.map_err(|error| {
            let next = if matches!(error, TransportError::Refused(_)) { NextStep::Fail } else { NextStep::Retry };
            ConnectorError::new(next, format!("no token could be fetched: {error}"))
        })?;
        if !(200..300).contains(&exchange.answer.status) {
            return Err(refusal(caller, exchange, assertion.as_ref()));
        }
        let place = &exchange.place;
        let json = serde_json::from_slice::<&RawValue>(&exchange.answer.body).ok();
        let token = self.token_of(&exchange, json).ok_or_else(|| {
            // Its body may hold a token all the same, and is not repeated.
            let next = if json.is_some() { NextStep::Reauthorise } else { NextStep::Retry };
            ConnectorError::new(next, format!("{place} answered {}, but without a token", exchange.answer.status))
        })?;
        if token.is_empty() || token.chars().any(char::is_control) {
            return Err(ConnectorError::new(NextStep::Fail, format!("{place}: the token is none that can be sent")));
        }
        let told = json.and_then(|json| text_of(at(json, Some(&Path::key("expires_in"))).ok()??)?.parse::<f64>().ok());
        let told_ms = told.filter(|seconds| *seconds > 0.0).map(|seconds| (seconds * 1_000.0) as u64);
        let life_ms = told_ms.or(self.spec.life_ms).map(|life| life.clamp(1_000, MAX_LIFE_MS));
        let until = life_ms.map(|life| asked + Duration::from_millis(life - MARGIN_MS.min(life / 4)));
        let auth = match &self.spec.sent {
            Sent::Bearer => Auth::Header { name: "authorization".into(), value: format!("Bearer {token}").into() },
            Sent::Header { name, prefix } => {
                Auth::Header { name: name.clone(), value: format!("{prefix}{token}").into() }
            }
            Sent::Cookie { name } => Auth::Header { name: "cookie".into(), value: format!("{name}={token}").into() },
        };
        Ok((auth, token.into(), until))
    }

    /// What asks for a token.
    fn request(&self, caller: &Caller) -> Result<Asked, ConnectorError> {
        let fail = |message: String| ConnectorError::new(NextStep::Fail, message);
        match (&self.spec.login, &caller.credentials) {
            (Login::Client { url, scope, in_body, params }, Credentials::Client { id, secret, url: own }) => {
                let url = token_url(&caller.base, own.as_deref().unwrap_or(url)).map_err(fail)?;
                let own: &[(&str, &str)] =
                    if *in_body { &[("client_id", id), ("client_secret", secret.expose_secret())] } else { &[] };
                let request = grant(url, "client_credentials", scope.as_deref(), params, own);
                // As section 2.3.1 has it: each is encoded before they are put together.
                let basic = Credentials::Basic { user: escaped(id), password: escaped(secret.expose_secret()).into() };
                let auth = if *in_body { Ok(Auth::None) } else { Auth::new(Some(&AuthKind::Basic), &basic) };
                let auth = auth.map_err(|problem| fail(problem.to_string()))?;
                Ok(Asked { request, auth, assertion: None })
            }
            (
                Login::Assertion { url, audience, scope, algorithm, claims, params },
                Credentials::Jwt { issuer, subject, key, key_id, url: own },
            ) => {
                let url = token_url(&caller.base, own.as_deref().unwrap_or(url)).map_err(fail)?;
                let claims = Claims {
                    issuer,
                    subject: subject.as_deref(),
                    audience: audience.as_deref().unwrap_or(url.as_str()),
                    others: claims,
                    now_s: (caller.now)().timestamp(),
                };
                let assertion = assertion(*algorithm, key.expose_secret(), key_id.as_deref(), &claims);
                let assertion = assertion.map_err(|problem| fail(format!("the key of the credentials: {problem}")))?;
                let grant_type = "urn:ietf:params:oauth:grant-type:jwt-bearer";
                let own = [("assertion", assertion.as_str())];
                let request = grant(url, grant_type, scope.as_deref(), params, &own);
                Ok(Asked { request, auth: Auth::None, assertion: Some(assertion.into()) })
            }
            (Login::Password { endpoint, body }, Credentials::Basic { user, password }) => {
                let url = caller.url(&endpoint.path, PathIds::default(), &endpoint.query).map_err(fail)?;
                let mut request = Prepared::to(endpoint, url, &[]);
                let body = filled(body, user, password.expose_secret());
                request.secret_body = Some(encode(&request.headers, &body).map_err(fail)?.into());
                Ok(Asked { request, auth: Auth::None, assertion: None })
            }
            _ => Err(fail("the credentials do not fit what the connector file declares".to_owned())),
        }
    }

    fn token_of(&self, exchange: &Exchange, json: Option<&RawValue>) -> Option<String> {
        let answer = &exchange.answer;
        match (&self.spec.token, &self.spec.sent) {
            (TokenPlace::Path(path), _) => text_of(at(json?, Some(path)).ok()??),
            (TokenPlace::Header(header), Sent::Cookie { name }) if header.eq_ignore_ascii_case("set-cookie") => {
                let cookies = answer.headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case("set-cookie"));
                let mut cookies = cookies.filter_map(|(_, cookie)| cookie.split(';').next()?.split_once('='));
                cookies.find(|(other, _)| other.trim() == name).map(|(_, value)| value.trim().to_owned())
            }
            (TokenPlace::Header(header), _) => answer.header(header).map(|token| token.trim().to_owned()),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn usable(&self) -> Option<Session> {
        let held = self.session.as_ref()?;
        held.until.is_none_or(|until| Instant::now() < until).then(|| held.session.clone())
    }
}

/// Why no token came of an answer, and what to do next. Nothing was sent with it yet.
fn refusal(caller: &Caller, exchange: Exchange, assertion: Option<&SecretString>) -> ConnectorError {
    let reply = caller.reply(exchange);
    let mut said = caller.sentence(&reply);
    if let Some(assertion) = assertion {
        said = jwt::without(assertion.expose_secret(), &said);
    }
    let code = reply.json().ok().and_then(|json| text_of(at(json, Some(&Path::key("error"))).ok()??));
    let passes = matches!(code.as_deref(), Some("temporarily_unavailable" | "server_error" | "slow_down"));
    let now = reply.clock((caller.now)());
    let retry_after = || reply.header("retry-after").and_then(|text| retry_after_ms(text, now));
    let next = match reply.status {
        429 => NextStep::Wait { millis: retry_after().unwrap_or(PAUSE_MS) },
        503 if retry_after().is_some() => NextStep::Wait { millis: retry_after().unwrap_or(PAUSE_MS) },
        408 | 425 | 500..=599 => NextStep::Retry,
        400 | 401 | 403 | 422 if passes => NextStep::Retry,
        400 | 401 | 403 | 422 => NextStep::Reauthorise,
        _ => NextStep::Fail,
    };
    let what = match next {
        NextStep::Reauthorise => "the credentials are refused where a token is fetched: they are wrong or were revoked",
        _ => "no token could be fetched",
    };
    ConnectorError::new(next, format!("{what}: {said}"))
}

/// What asks for a token by OAuth 2.0: a form.
fn grant(
    url: Url,
    grant_type: &str,
    scope: Option<&str>,
    params: &[(String, String)],
    own: &[(&str, &str)],
) -> Prepared {
    let mut request = Prepared::new(Method::Post, url, &[], &[]);
    request.set_header("Content-Type", "application/x-www-form-urlencoded");
    let mut pairs = vec![("grant_type", grant_type)];
    pairs.extend(scope.map(|scope| ("scope", scope)));
    pairs.extend(params.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    pairs.extend(own);
    let pairs = pairs.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value)));
    request.secret_body = Some(pairs.collect::<Vec<_>>().join("&").into());
    request
}

/// Where a token is fetched: a path of the API, or elsewhere.
fn token_url(base: &Url, written: &str) -> Result<Url, String> {
    if written.starts_with('/') {
        let mut url = base.clone();
        url.set_path(&format!("{}{written}", base.path().trim_end_matches('/')));
        return Ok(url);
    }
    Url::parse(written).map_err(|error| format!("the address of tokens is no URL: {error}"))
}

fn escaped(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

/// The body of a login.
fn filled(body: &Value, user: &str, password: &str) -> Value {
    match body {
        Value::String(text) if text == "{user}" => Value::string(user),
        Value::String(text) if text == "{password}" => Value::string(password),
        Value::Array(items) => Value::Array(items.iter().map(|item| filled(item, user, password)).collect()),
        Value::Object(entries) => {
            Value::Object(entries.iter().map(|(key, value)| (key.clone(), filled(value, user, password))).collect())
        }
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => body.clone(),
    }
}
