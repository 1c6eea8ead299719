//! The app behind a REST API, without a network: what the HTTP connector does with an
//! app's faults, its own included.
//!
//! [`MemoryApp::rest`] puts one object of an app behind an API whose shape is drawn from
//! a seed ([`Dialect`]), and writes the connector file that fits it. [`RestApp::factory`]
//! makes the connectors: the HTTP connector by that file, over a [`RestTransport`] that
//! hands each request to the app. What goes wrong with the app is answered as a server
//! would; what goes wrong between the two is said by [`RestFaults`].

mod ask;
mod dialect;
mod serve;
#[cfg(test)]
mod tests;

use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use secrecy::ExposeSecret;

pub use dialect::{
    ApiAuth, ApiBatch, ApiChanges, ApiDeletions, ApiEnd, ApiOrder, ApiPages, ApiTime, ApiUpdates, Dialect,
};

use super::MemoryApp;
use super::call::Arrival;
use super::faults::{Fault, happens};
use crate::connectors::http::{
    Credentials, HttpConnectorFile, HttpFactory, HttpRequest, HttpResponse, HttpSettings, Transport, TransportError,
};
use crate::model::ids::ObjectName;
use ask::{Asked, Incoming};
use serve::{Answer, Served, Server};

/// Where the API says it is.
const BASE: &str = "https://app.example.com";

/// What it takes for credentials.
const TOKEN: &str = "k-0123456789";

/// A request that takes longer is given up by the client.
const CLIENT_PATIENCE_MS: u64 = 30_000;

/// How often what goes wrong between the connector and the app, per mille of the calls
/// that go well otherwise. Drawn from the dialect's seed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RestFaults {
    /// The connection breaks within the body of the answer.
    pub cut_body: u16,
    /// The answer is a success whose JSON ends in the middle.
    pub truncated_json: u16,
    /// A proxy answers with success and a page of its own; in half of the cases the app
    /// never got the request.
    pub html_page: u16,
    /// The answer is a success that says it is an error; in half of the cases the app did
    /// nothing.
    pub error_in_success: u16,
    /// The answer has another content type than it should.
    pub wrong_content_type: u16,
    /// A page does not say how its list goes on, as if it were the last. Only a dialect
    /// that [bears short lists](Dialect::bears_short_lists) loses nothing by it.
    pub next_missing: u16,
    /// A 5xx answer to a call that was carried out.
    pub server_error_after: u16,
    /// A 429 that asks for a pause of years; of those that there are.
    pub absurd_retry_after: u16,
}

impl RestFaults {
    /// Some faults at some rates, drawn from a seed: each is off, rare or frequent. Only
    /// what any sound dialect must survive without a person.
    #[must_use]
    pub fn swarm(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed ^ 0x7265_7374_0000_0000);
        let mut rate = || [0, 0, 10, 100][rng.usize(0..4)];
        Self {
            cut_body: rate(),
            truncated_json: rate(),
            html_page: rate(),
            error_in_success: rate(),
            wrong_content_type: rate(),
            next_missing: 0,
            server_error_after: rate(),
            absurd_retry_after: 0,
        }
    }
}

/// What goes wrong with one call between the connector and the app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mishap {
    CutBody,
    TruncatedJson,
    HtmlPage { carried_out: bool },
    ErrorInSuccess { carried_out: bool },
    WrongContentType,
    NextMissing,
    ServerErrorAfter,
}

/// One object of an app behind a REST API. A clone is the same API.
#[derive(Clone)]
pub struct RestApp {
    app: MemoryApp,
    object: ObjectName,
    dialect: Arc<Dialect>,
    text: Arc<str>,
    file: Arc<HttpConnectorFile>,
    // A std lock: never held over an await.
    faults: Arc<Mutex<(RestFaults, fastrand::Rng)>>,
}

impl std::fmt::Debug for RestApp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RestApp").field("object", &self.object).field("dialect", &self.dialect).finish_non_exhaustive()
    }
}

impl MemoryApp {
    /// Puts an object behind a REST API of a sound shape that is drawn from a seed.
    ///
    /// The app then stamps its records and takes writes as that API needs it: what its
    /// behaviour says of cursors and its capabilities of changes, updates, batches and
    /// creates is replaced. What can be searched, and how far reads lag behind writes, is
    /// taken from the capabilities, so set those before.
    #[must_use]
    pub fn rest(&self, object: impl Into<ObjectName>, dialect_seed: u64) -> RestApp {
        self.rest_as(object, Dialect::draw(dialect_seed), dialect_seed)
    }

    /// Puts an object behind a REST API of this shape; the seed is that of its faults.
    ///
    /// # Panics
    /// When the shape is one that no connector file can describe (an offset with pages of
    /// one record).
    #[must_use]
    pub fn rest_as(&self, object: impl Into<ObjectName>, dialect: Dialect, seed: u64) -> RestApp {
        let object = object.into();
        let of_app = self.capabilities(object.clone());
        let text = dialect.file(&object, &of_app.find, of_app.read_after_write_lag_ms);
        let file = HttpConnectorFile::parse("rest.toml", &text)
            .unwrap_or_else(|error| panic!("the connector file of {dialect:?} does not hold: {error}\n{text}"));
        self.set_capabilities(object.clone(), dialect.capabilities(of_app));
        let mut behaviour = self.behaviour();
        behaviour.cursors = dialect.cursors();
        self.set_behaviour(behaviour);
        RestApp {
            app: self.clone(),
            object,
            dialect: Arc::new(dialect),
            text: text.into(),
            file: Arc::new(file),
            faults: Arc::new(Mutex::new((RestFaults::default(), fastrand::Rng::with_seed(seed)))),
        }
    }
}

impl RestApp {
    /// The app behind it.
    #[must_use]
    pub fn app(&self) -> &MemoryApp {
        &self.app
    }

    /// Its shape.
    #[must_use]
    pub fn dialect(&self) -> &Dialect {
        &self.dialect
    }

    /// The connector file that fits it.
    #[must_use]
    pub fn file_text(&self) -> &str {
        &self.text
    }

    /// Says how often what goes wrong on the way.
    pub fn set_faults(&self, faults: RestFaults) {
        self.lock().0 = faults;
    }

    /// The way to the app.
    #[must_use]
    pub fn transport(&self) -> RestTransport {
        RestTransport { rest: self.clone() }
    }

    /// Makes HTTP connectors to it. Their clock is the test's, from which the app's may
    /// be skewed.
    #[must_use]
    pub fn factory(&self) -> HttpFactory {
        let mut settings = HttpSettings::new(format!("{BASE}{}", dialect::API));
        settings.credentials = Credentials::Token(TOKEN.into());
        let (transport, app) = (self.transport(), self.app.clone());
        HttpFactory::new(Arc::clone(&self.file), settings)
            .with_transport(move || Rc::new(transport.clone()))
            .with_clock(move || app.true_time())
    }

    fn lock(&self) -> MutexGuard<'_, (RestFaults, fastrand::Rng)> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Draws what goes wrong on the way of a call that otherwise goes well.
    fn draw(&self, arrival: &Arrival) -> Option<Mishap> {
        let (faults, rng) = &mut *self.lock();
        if arrival.fault.is_some() {
            return None;
        }
        let RestFaults {
            cut_body,
            truncated_json,
            html_page,
            error_in_success,
            wrong_content_type,
            next_missing,
            server_error_after,
            // Of the answers that ask for a pause.
            absurd_retry_after: _,
        } = *faults;
        let carried_out = arrival.call.is_multiple_of(2);
        let rates = [
            (cut_body, Mishap::CutBody),
            (truncated_json, Mishap::TruncatedJson),
            (html_page, Mishap::HtmlPage { carried_out }),
            (error_in_success, Mishap::ErrorInSuccess { carried_out }),
            (wrong_content_type, Mishap::WrongContentType),
            (next_missing, Mishap::NextMissing),
            (server_error_after, Mishap::ServerErrorAfter),
        ];
        rates.into_iter().find(|(rate, _)| happens(*rate, rng)).map(|(_, mishap)| mishap)
    }

    fn draws_absurd_pause(&self, arrival: &Arrival) -> bool {
        let (faults, rng) = &mut *self.lock();
        let limited = matches!(arrival.fault, Some(Fault::RateLimited { .. } | Fault::RateLimitedSilently));
        limited && happens(faults.absurd_retry_after, rng)
    }

    fn serve(&self, asked: &Asked, authorised: bool, arrival: &Arrival, mishap: Option<Mishap>) -> Served {
        let mut world = self.app.lock();
        world.settle();
        if !authorised {
            return Ok(Answer::error(401, "these are not the credentials"));
        }
        let done = match mishap {
            Some(Mishap::HtmlPage { carried_out } | Mishap::ErrorInSuccess { carried_out }) => carried_out,
            Some(
                Mishap::CutBody
                | Mishap::TruncatedJson
                | Mishap::WrongContentType
                | Mishap::NextMissing
                | Mishap::ServerErrorAfter,
            )
            | None => true,
        };
        let unix_ms = world.unix_ms();
        let mut server = Server { world: &mut world, name: &self.object, dialect: &self.dialect, arrival };
        let served = if done { server.serve(asked) } else { Ok(server.not_reached(asked)) };
        let mut answer = served.and_then(|answer| befall(answer, mishap))?;
        if self.dialect.dated && !answer.headers.iter().any(|(name, _)| name == "Date") {
            answer.headers.push(("Date".to_owned(), serve::http_date(unix_ms)));
        }
        Ok(answer)
    }
}

/// What is left of an answer.
fn befall(answer: Answer, mishap: Option<Mishap>) -> Served {
    let is_success = answer.is_success();
    let Some(mishap) = mishap.filter(|_| is_success) else { return Ok(answer) };
    let Answer { status, headers, body } = answer;
    let with_type = |content_type: &str| {
        let mut headers = headers.clone();
        headers.retain(|(name, _)| name != "Content-Type");
        headers.push(("Content-Type".to_owned(), content_type.to_owned()));
        headers
    };
    let half = body.char_indices().map(|(at, _)| at).nth(body.chars().count() / 2).unwrap_or(0);
    match mishap {
        Mishap::CutBody => Err(TransportError::Unknown("the connection broke within the answer".to_owned())),
        Mishap::TruncatedJson => Ok(Answer { status, headers, body: body[..half].to_owned() }),
        Mishap::HtmlPage { carried_out: _ } => {
            let body = "<html><body>Please log in</body></html>".to_owned();
            Ok(Answer { status: 200, headers: with_type("text/html"), body })
        }
        Mishap::ErrorInSuccess { carried_out: _ } => {
            let body = r#"{"error":"something went wrong"}"#.to_owned();
            Ok(Answer { status: 200, headers: with_type("application/json"), body })
        }
        Mishap::WrongContentType => Ok(Answer { status, headers: with_type("text/plain"), body }),
        Mishap::NextMissing => Ok(without_next(Answer { status, headers, body })),
        Mishap::ServerErrorAfter => Ok(Answer::error(502, "bad gateway")),
    }
}

fn without_next(answer: Answer) -> Answer {
    let Answer { status, mut headers, mut body } = answer;
    headers.retain(|(name, _)| name != "Link");
    // A token holds no comma, and what is longer than it stands after.
    if let Some(rest) = body.strip_prefix("{\"next\":")
        && let Some((_, rest)) = rest.split_once("\",")
    {
        body = format!("{{{rest}");
    }
    Answer { status, headers, body }
}

/// Hands requests to the app.
#[derive(Debug, Clone)]
pub struct RestTransport {
    rest: RestApp,
}

#[async_trait(?Send)]
impl Transport for RestTransport {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let Self { rest } = self;
        let asked = match Incoming::of(&request) {
            Some(incoming) => incoming.asked(&rest.dialect),
            None => Asked::Nonsense("the request cannot be understood".to_owned()),
        };
        let authorised = is_authorised(rest.dialect.auth, &request);
        let arrival = rest.app.arrive(asked.shape(&rest.object)).await;
        let mishap = rest.draw(&arrival);
        rest.app.until_effect(&arrival).await;
        let mut served = rest.serve(&asked, authorised, &arrival, mishap);
        if let Ok(answer) = &mut served
            && rest.draws_absurd_pause(&arrival)
        {
            answer.headers.retain(|(name, _)| name != "Retry-After");
            answer.headers.push(("Retry-After".to_owned(), "999999999".to_owned()));
        }
        rest.app.until_answer(&arrival).await;
        if arrival.took_longer_than(CLIENT_PATIENCE_MS) {
            return Err(TransportError::Unknown("no answer in time".to_owned()));
        }
        let Answer { status, headers, body } = served?;
        Ok(HttpResponse { status, headers, body: body.into_bytes() })
    }
}

fn is_authorised(auth: ApiAuth, request: &HttpRequest) -> bool {
    let header = |name: &str, value: String| {
        request
            .secret_headers
            .iter()
            .any(|(other, secret)| other.eq_ignore_ascii_case(name) && secret.expose_secret() == value)
    };
    match auth {
        ApiAuth::Bearer => header("authorization", format!("Bearer {TOKEN}")),
        ApiAuth::Header => header("x-api-key", format!("Key {TOKEN}")),
        ApiAuth::Query => {
            request.secret_query.iter().any(|(name, secret)| name == "api_key" && secret.expose_secret() == TOKEN)
        }
    }
}
