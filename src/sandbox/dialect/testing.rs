//! For the tests of the dialects: an app as a client sees it, without a socket, and a clock set
//! by hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use actix_web::App;
use actix_web::http::Method;
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use serde_json::Value as Json;

use super::Dialect;
use crate::sandbox::{Sandbox, SandboxBuilder, SandboxHandle, token};

/// 2026-03-01T12:00:00Z
pub(super) const START_MS: i64 = 1_772_366_400_000;

pub(super) struct Face {
    pub sandbox: SandboxHandle,
    now_ms: Arc<AtomicI64>,
}

pub(super) struct Got {
    pub status: u16,
    pub json: Json,
    pub headers: BTreeMap<String, String>,
}

impl Face {
    pub fn new(dialect: Dialect) -> Self {
        Self::with(dialect, |builder| builder)
    }

    pub fn with(dialect: Dialect, set: impl FnOnce(SandboxBuilder) -> SandboxBuilder) -> Self {
        let now_ms = Arc::new(AtomicI64::new(START_MS));
        let reader = Arc::clone(&now_ms);
        let builder = set(Sandbox::builder().dialect(dialect));
        let sandbox = builder.clock(Arc::new(move || reader.load(Ordering::Relaxed))).unbound().unwrap();
        Self { sandbox, now_ms }
    }

    pub fn pass_ms(&self, ms: i64) {
        self.now_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// A request with the account's token, and whatever headers.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Got {
        let app = init_service(App::new().configure(self.sandbox.configure())).await;
        let mut request = TestRequest::default()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(path)
            .insert_header(("Authorization", format!("Bearer {}", token("acme"))))
            .set_payload(body.to_owned());
        for (name, value) in headers {
            request = request.insert_header((*name, *value));
        }
        let answer = call_service(&app, request.to_request()).await;
        let status = answer.status().as_u16();
        let header = |(name, value): (&actix_web::http::header::HeaderName, &actix_web::http::header::HeaderValue)| {
            (name.as_str().to_owned(), value.to_str().unwrap_or_default().to_owned())
        };
        let headers = answer.headers().iter().map(header).collect();
        let body = read_body(answer).await;
        let json = serde_json::from_slice(&body).unwrap_or(Json::Null);
        Got { status, json, headers }
    }

    pub async fn get(&self, path: &str) -> Got {
        self.send("GET", path, &[], "").await
    }

    pub async fn json(&self, method: &str, path: &str, body: &Json) -> Got {
        self.send(method, path, &[("Content-Type", "application/json")], &body.to_string()).await
    }
}
