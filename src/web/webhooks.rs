//! Where connected apps deliver their webhooks: `/webhooks/{path}`, any method.
//!
//! A delivery is bounded in size and time before anything looks at it, and its body is
//! handed on byte by byte, as that is what was signed. Answers tell a stranger nothing:
//! an unknown path and a wrong signature are one 401.
//!
//! | Answer | Means |
//! |---|---|
//! | 200 | it is durable: what it is about will be read |
//! | 400 | it is genuine, and cannot be read |
//! | 401 | it is not known here, or not genuine |
//! | 408, 413, 415 | too slow, larger than 1 MiB, compressed |
//! | 503 with `Retry-After` | not now |

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};

use crate::triggers::kept::Kept;
use crate::triggers::webhook::{Answer, Deliver, WebhookTrigger};
use crate::web::ApiError;

/// The largest body that is taken, in bytes.
pub const MOST_BODY_BYTES: usize = 1024 * 1024;

/// How long a body may take to come in.
pub const BODY_WITHIN: Duration = Duration::from_secs(10);

/// The routes. Clone it into each worker: `App::new().configure(webhooks.configure())`.
#[derive(Debug, Clone)]
pub struct Webhooks {
    trigger: Arc<Kept<WebhookTrigger>>,
}

impl Webhooks {
    pub(crate) fn new(trigger: Arc<Kept<WebhookTrigger>>) -> Self {
        Self { trigger }
    }

    /// Adds `/webhooks/{path}` to an actix-web app or scope.
    pub fn configure(&self) -> impl FnOnce(&mut web::ServiceConfig) + use<> {
        let state = web::Data::new(self.clone());
        move |config| {
            config.service(web::resource("/webhooks/{path}").app_data(state).default_service(web::to(deliver)));
        }
    }
}

async fn deliver(
    request: HttpRequest,
    path: web::Path<String>,
    payload: web::Payload,
    webhooks: web::Data<Webhooks>,
) -> Result<HttpResponse, ApiError> {
    let encoding = request.headers().get(header::CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        // What is signed is what came; unpacking it first is a way to be flooded.
        let message = "a webhook is taken as it is, without 'Content-Encoding'";
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "compressed", message));
    }
    let body = body(payload).await?;
    let headers = request.headers().iter();
    let headers = headers.filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())));
    let delivery = Deliver {
        method: request.method().as_str().to_owned(),
        path: path.into_inner(),
        query: request.query_string().to_owned(),
        headers: headers.collect(),
        body: body.to_vec().into(),
    };
    Ok(answer(webhooks.trigger.send(delivery).await.unwrap_or(Answer::ComeBack(1))))
}

/// A body within the bounds of size and time.
pub(super) async fn body(payload: web::Payload) -> Result<web::Bytes, ApiError> {
    match tokio::time::timeout(BODY_WITHIN, payload.to_bytes_limited(MOST_BODY_BYTES)).await {
        Ok(Ok(Ok(bytes))) => Ok(bytes),
        Ok(Ok(Err(_))) => Err(ApiError::bad_request("bad_body", "the body broke off")),
        Ok(Err(_)) => {
            let message = format!("a body has at most {MOST_BODY_BYTES} bytes");
            Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message).closing())
        }
        Err(_) => {
            let message = format!("the body did not come within {} s", BODY_WITHIN.as_secs());
            Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "too_slow", message).closing())
        }
    }
}

fn answer(answer: Answer) -> HttpResponse {
    match answer {
        Answer::Taken => HttpResponse::Ok().finish(),
        Answer::Challenge(text) => HttpResponse::Ok()
            .content_type("text/plain; charset=utf-8")
            .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
            .body(text),
        Answer::Unauthorised => HttpResponse::Unauthorized().finish(),
        Answer::Bad => HttpResponse::BadRequest().finish(),
        Answer::ComeBack(seconds) => {
            HttpResponse::ServiceUnavailable().insert_header((header::RETRY_AFTER, seconds.to_string())).finish()
        }
    }
}
