//! What is answered, before it is HTTP, and how it becomes that.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, UNIX_EPOCH};

use actix_web::HttpResponse;
use actix_web::body::{BodySize, MessageBody};
use actix_web::http::{StatusCode, header};
use actix_web::web::Bytes;

use serde_json::json;

use super::limits::Admitted;
use super::refusal::Refusal;
use super::settings::{RetryAfter, Settings};
use super::state::Done;

/// What is answered, before it is HTTP.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) etag: Option<String>,
    pub(super) location: Option<String>,
    pub(super) link: Option<String>,
    pub(super) retry_after: Option<String>,
    pub(super) admitted: Option<Admitted>,
    /// Further ones.
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) replayed: bool,
    pub(super) body: Bytes,
    pub(super) delivery: Delivery,
    /// It was put off by so many milliseconds.
    pub(super) late_ms: Option<u64>,
    /// It counts among the requests of this account that are in flight.
    pub(super) in_flight: Option<usize>,
}

/// How an answer reaches the client.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    #[default]
    Whole,
    /// After so many milliseconds.
    Slow(u64),
    /// The connection is dropped behind so many bytes of the body.
    Cut(usize),
    /// The connection is dropped without a byte.
    None,
}

impl Answer {
    pub(super) fn json(value: &serde_json::Value) -> Self {
        Self { status: 200, body: value.to_string().into(), ..Self::default() }
    }

    /// An answer of another status.
    pub(super) fn json_with(status: u16, value: &serde_json::Value) -> Self {
        Self { status, ..Self::json(value) }
    }

    pub(super) fn refused(refusal: &Refusal, settings: &Settings, now_ms: i64) -> Self {
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
    pub(super) fn none() -> Self {
        Self { delivery: Delivery::None, ..Self::default() }
    }

    pub(super) fn failed(status: u16) -> Self {
        let error = json!({ "code": "unavailable", "message": "something went wrong on purpose" });
        Self { status, body: json!({ "error": error }).to_string().into(), ..Self::default() }
    }

    pub(super) fn limited(retry_at_ms: i64, told: RetryAfter, now_ms: i64) -> Self {
        let refusal = Refusal::RateLimited { retry_at_ms };
        let body = json!({ "error": refusal.error_json() }).to_string().into();
        let retry_after = retry_after_text(told, retry_at_ms, now_ms);
        Self { status: refusal.status(), retry_after, body, ..Self::default() }
    }

    pub(super) fn done(status: u16, done: Done) -> Self {
        let replayed = done.written.is_none();
        let (etag, body) = done.record.unzip();
        Self { status, etag, replayed, body: body.unwrap_or_default(), ..Self::default() }
    }
}

pub(super) fn respond(answer: Answer) -> HttpResponse {
    let Answer {
        status,
        etag,
        location,
        link,
        retry_after,
        admitted,
        headers,
        replayed,
        body,
        delivery,
        late_ms: _,
        in_flight: _,
    } = answer;
    let broken = match delivery {
        Delivery::None => return HttpResponse::Ok().body(Broken::at_once()),
        Delivery::Cut(kept) if !body.is_empty() => Some(kept),
        Delivery::Cut(_) | Delivery::Whole | Delivery::Slow(_) => None,
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    for (name, value) in admitted.iter().flat_map(Admitted::headers).chain(headers) {
        response.insert_header((name, value));
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

impl Admitted {
    /// As many APIs tell it.
    pub(super) fn headers(&self) -> Vec<(&'static str, String)> {
        vec![
            ("X-RateLimit-Limit", self.limit.to_string()),
            ("X-RateLimit-Remaining", self.remaining.to_string()),
            ("X-RateLimit-Reset", ceil_seconds(self.reset_ms).to_string()),
        ]
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

pub(super) fn retry_after_text(style: RetryAfter, retry_at_ms: i64, now_ms: i64) -> Option<String> {
    match style {
        RetryAfter::Seconds => Some(ceil_seconds(retry_at_ms.saturating_sub(now_ms)).max(1).to_string()),
        RetryAfter::HttpDate => {
            let seconds = u64::try_from(ceil_seconds(retry_at_ms)).unwrap_or(0);
            Some(httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds)))
        }
        RetryAfter::Absent => None,
    }
}

pub(super) fn ceil_seconds(ms: i64) -> i64 {
    ms.saturating_add(999).div_euclid(1_000)
}
