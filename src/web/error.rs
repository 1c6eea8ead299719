//! A refusal as JSON: `{"error":{"code":"not_found","message":"…"}}`.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody};
use actix_web::http::{StatusCode, header};
use actix_web::rt::time::{Sleep, sleep};
use actix_web::web::Bytes;
use actix_web::{HttpResponse, ResponseError};

use crate::model::value::Value;

/// Why a request is refused. The code is for programs and does not change; the message
/// is for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    status: u16,
    code: &'static str,
    message: String,
    retry_after_s: Option<u32>,
    closes: bool,
}

impl ApiError {
    /// A refusal with an HTTP status.
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status: status.as_u16(), code, message: message.into(), retry_after_s: None, closes: false }
    }

    /// Asks to come back after so many seconds.
    pub(crate) fn retry_after(self, seconds: u32) -> Self {
        Self { retry_after_s: Some(seconds), ..self }
    }

    /// Closes the connection: the rest of the request is not wanted.
    pub(crate) fn closing(self) -> Self {
        Self { closes: true, ..self }
    }

    pub(crate) fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// What programs tell refusals apart by.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.code
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ApiError {}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let error = vec![
            ("code".to_owned(), Value::string(self.code)),
            ("message".to_owned(), Value::string(self.message.as_str())),
        ];
        let body = Value::Object(vec![("error".to_owned(), Value::Object(error))]);
        let mut response = HttpResponse::build(self.status_code());
        if self.status_code() == StatusCode::UNAUTHORIZED {
            response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
        }
        if let Some(seconds) = self.retry_after_s {
            response.insert_header((header::RETRY_AFTER, seconds.to_string()));
        }
        response.content_type("application/json");
        if self.closes {
            return response.force_close().body(LastWords::new(body.to_json()));
        }
        response.body(body.to_json())
    }
}

/// How long the other side has to read an answer before the connection is gone: what it
/// still sends would take the answer away with it.
const READ_WITHIN: Duration = Duration::from_secs(1);

/// A body with whose end the connection ends, too. A server that only says so goes on to
/// read the request, for as long as the other side likes.
struct LastWords {
    size: u64,
    text: Option<Bytes>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl LastWords {
    fn new(text: String) -> Self {
        Self { size: text.len() as u64, text: Some(text.into()), pause: None }
    }
}

impl MessageBody for LastWords {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.size)
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if let Some(text) = self.text.take() {
            return Poll::Ready(Some(Ok(text)));
        }
        let pause = self.pause.get_or_insert_with(|| Box::pin(sleep(READ_WITHIN)));
        ready!(pause.as_mut().poll(cx));
        Poll::Ready(Some(Err(io::Error::new(
            io::ErrorKind::ConnectionAborted,
            "the rest of the request is not wanted",
        ))))
    }
}
