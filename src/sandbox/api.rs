//! HTTP: one handler that finds the account, counts the request against its limit,
//! routes it to the state and writes the answer down. Every request passes this one
//! place, so this is where it is logged.

use std::time::Duration;

use actix_web::http::{Method, StatusCode, header};
use actix_web::web::{self, Bytes};
use actix_web::{HttpRequest, HttpResponse};
use tokio::sync::oneshot;

use super::Shared;
use super::answer::{Answer, Delivery, respond};
use super::asked::{Asked, later};
use super::collection::Shift;
use super::dialect::Speech;
use super::hostile::{Kind, Mishap};
use super::inspect::inspect;
use super::limits::Admitted;
use super::refusal::Refusal;
use super::settings::Settings;
use super::state::{Account, LateWrite, State};

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

async fn serve(shared: web::Data<Shared>, request: HttpRequest, body: Result<Bytes, actix_web::Error>) -> HttpResponse {
    let (answer, early) = answer(&shared, &request, body);
    let in_flight = answer.in_flight;
    if let Some(late_ms) = answer.late_ms {
        // Somebody looks when its time has come, so that its webhook does not wait.
        let shared = shared.clone();
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
    if let Some(account_no) = in_flight {
        shared.lock().0.account(account_no).in_flight -= 1;
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
    let speech = settings.dialect.speech();
    let refused = |refusal: Refusal| speech.refused(&refusal, settings, now_ms);
    if let Some(rest) = request.path().strip_prefix("/_sandbox/") {
        let body = body.unwrap_or_default();
        let answer = inspect(&mut state, settings, request, (method, rest), &body, now_ms);
        let own = |refusal: Refusal| Answer::refused(&refusal, settings, now_ms);
        return (answer.unwrap_or_else(own), Vec::new());
    }
    let account_no = account_of(&state, request, speech.root());
    let answer = account_no.as_ref().map_err(Clone::clone).and_then(|account_no| {
        let admitted = admit(state.account(*account_no), settings, now_ms)?;
        let answer = answer_account(&mut state, settings, request, method, body, *account_no, now_ms);
        let mut answer = answer.unwrap_or_else(refused);
        answer.headers.extend(admitted.iter().flat_map(|admitted| speech.limit_headers(admitted)));
        if matches!(answer.delivery, Delivery::Slow(_)) {
            state.account(*account_no).in_flight += 1;
            answer.in_flight = Some(*account_no);
        }
        Ok(answer)
    });
    let answer = answer.unwrap_or_else(refused);
    let path = request.uri().path_and_query().map_or("", |path| path.as_str());
    let account_no = account_no.ok();
    state.tally.request(now_ms, account_no, method, path, answer.status);
    let early = account_no.map(|account_no| shared.send_webhooks(&mut state, account_no));
    (answer, early.unwrap_or_default())
}

fn account_of(state: &State, request: &HttpRequest, root: &str) -> Result<usize, Refusal> {
    if !request.path().starts_with(root) {
        return Err(Refusal::UnknownRoute { path: request.path().to_owned() });
    }
    let token = header_text(request, header::AUTHORIZATION)?.and_then(bearer);
    token.and_then(|token| state.account_of_token(token)).ok_or(Refusal::Unauthorised)
}

/// Counts the request against the limits, where there are any.
fn admit(account: &mut Account, settings: &Settings, now_ms: i64) -> Result<Option<Admitted>, Refusal> {
    if settings.most_at_once.is_some_and(|most| account.in_flight >= most) {
        return Err(Refusal::TooManyAtOnce);
    }
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
        content_type: header_text(request, header::CONTENT_TYPE)?,
        prefer: header_text(request, header::HeaderName::from_static("prefer"))?,
        host: header_text(request, header::HOST)?,
        body: &body,
        now_ms,
        calm: header_text(request, header::HeaderName::from_static("sandbox-calm"))? == Some("true"),
        shift: Shift::None,
    };
    let speech = settings.dialect.speech();
    let kind = speech.kind(method, asked.path);
    match state.mishap(kind, asked.calm) {
        None => speech.route(state, &asked),
        Some(mishap) => Ok(befall(state, speech, &asked, (kind, mishap))),
    }
}

/// Carries a request out as far as the mishap lets it, and answers so.
fn befall(state: &mut State, speech: &dyn Speech, asked: &Asked<'_>, (kind, mishap): (Kind, Mishap)) -> Answer {
    let mut done = |asked: &Asked<'_>| {
        let answer = speech.route(state, asked);
        answer.unwrap_or_else(|refusal| speech.refused(&refusal, asked.settings, asked.now_ms))
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
        Mishap::ErrorBefore { status } => speech.failed(status),
        Mishap::ErrorAfter { status } => {
            done(asked);
            speech.failed(status)
        }
        Mishap::Cut { kept } => {
            let answer = done(asked);
            Answer { delivery: Delivery::Cut(kept.of(answer.body.len())), ..answer }
        }
        Mishap::Truncated { kept } => {
            let answer = done(asked);
            Answer { body: answer.body.slice(..kept.of(answer.body.len())), ..answer }
        }
        Mishap::Limited { for_ms, told } => speech.limited(kind, later(asked.now_ms, for_ms), told, asked.now_ms),
        Mishap::Slow { by_ms } => Answer { delivery: Delivery::Slow(by_ms), ..done(asked) },
        Mishap::Stale { for_ms } => {
            state.account(asked.account_no).hide_writes(asked.now_ms, later(asked.now_ms, for_ms));
            let answer = speech.route(state, asked);
            state.account(asked.account_no).show_writes();
            answer.unwrap_or_else(|refusal| speech.refused(&refusal, asked.settings, asked.now_ms))
        }
        Mishap::Repeated => done(&Asked { shift: Shift::Back, ..*asked }),
        Mishap::Skipped => done(&Asked { shift: Shift::Forward, ..*asked }),
    }
}

/// Carries out the late writes whose time has come, and tells whose they were. Nobody can
/// tell that from their being carried out at that time, because everybody who looks comes
/// through here.
pub(super) fn carry_out_due(state: &mut State, settings: &Settings, now_ms: i64) -> Vec<usize> {
    let due = state.take_due(now_ms);
    for write in &due {
        // Nobody is left to be answered, be it done or refused.
        drop(settings.dialect.speech().route(state, &write.asked(settings)));
    }
    due.iter().map(|write| write.account_no).collect()
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
