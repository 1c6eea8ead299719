//! Where a person or a script asks for a sync over HTTP: `POST /sync`.
//!
//! | Body | Does | Answer |
//! |---|---|---|
//! | `{"connection":"acme"}` | reads what has changed, under all syncs; `"sync":"contacts"` for one | 200 with what it did, once it and what it left pending is over |
//! | `{"connection":"acme","full":true}` | reads everything again, keeping links; the first time it is the backfill | likewise |
//! | `{"connection":"acme","sync":"contacts","side":"remote","id":"7"}` | looks at one record | 202, once that is durable |
//!
//! A run that is asked for is no promise over a restart: whoever waits for it is told 503, and
//! asks again. Refusals are `{"error":{"code":…,"message":…}}`.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use tokio::sync::oneshot;

use crate::actors::message::{MarkError, MarkRecord, RunReport, RunSync};
use crate::actors::supervisor::Routes;
use crate::model::ids::{ConnectionId, MAX_RECORD_ID_BYTES, RecordId, SyncName};
use crate::model::side::Side;
use crate::model::work::Lane;
use crate::triggers::intake::{COME_BACK_S, route};
use crate::triggers::known::KnownConnections;
use crate::web::ApiError;
use crate::web::bearer::Bearer;

/// The route. Clone it into each worker: `App::new().configure(manual.configure())`.
#[derive(Debug, Clone)]
pub struct Manual {
    routes: Routes,
    known: KnownConnections,
    bearer: Bearer,
}

impl Manual {
    pub(crate) fn new(routes: Routes, known: KnownConnections) -> Self {
        Self { routes, known, bearer: Bearer::nobody() }
    }

    /// Asks every request for `Authorization: Bearer …`. Only a hash of the token is
    /// kept. Without one, whoever reaches the route may use it.
    #[must_use]
    pub fn with_token(self, token: &str) -> Self {
        Self { bearer: Bearer::of(token), ..self }
    }

    /// Adds `/sync` to an actix-web app or scope.
    pub fn configure(&self) -> impl FnOnce(&mut web::ServiceConfig) + use<> {
        let state = web::Data::new(self.clone());
        move |config| {
            let sync = web::resource("/sync").app_data(state);
            config.service(sync.route(web::post().to(sync_now)));
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    connection: ConnectionId,
    sync: Option<SyncName>,
    #[serde(default)]
    full: bool,
    side: Option<Side>,
    id: Option<RecordId>,
}

async fn sync_now(
    request: HttpRequest,
    payload: web::Payload,
    manual: web::Data<Manual>,
) -> Result<HttpResponse, ApiError> {
    manual.bearer.check(request.headers())?;
    let body = super::webhooks::body(payload).await?;
    let bad = |reason: String| ApiError::bad_request("bad_request", reason);
    let asked: Asked = serde_json::from_slice(&body).map_err(|error| bad(error.to_string()))?;
    let connection = route(&manual.routes, &manual.known, &asked.connection).map_err(|error| refused(&error))?;
    match asked {
        Asked { sync, full, side: None, id: None, .. } => {
            let (done, report) = oneshot::channel();
            let run = RunSync { sync, lane: Lane::Manual, full, done: Some(done) };
            connection.send(run).await.map_err(|_| refused(&MarkError::Restarting))?;
            let report = report.await.map_err(|_| refused(&MarkError::Restarting))?;
            Ok(answer(&report))
        }
        Asked { sync: Some(sync), full: false, side: Some(side), id: Some(id), .. } => {
            if id.as_str().is_empty() || id.as_str().len() > MAX_RECORD_ID_BYTES {
                return Err(bad(format!("'id' is a text of 1 to {MAX_RECORD_ID_BYTES} bytes")));
            }
            let mark = MarkRecord { sync, side, id, lane: Lane::Manual };
            let marked = connection.send(mark).await.unwrap_or(Err(MarkError::Restarting));
            marked.map_err(|error| refused(&error))?;
            Ok(HttpResponse::Accepted().json(serde_json::json!({ "accepted": true })))
        }
        Asked { .. } => Err(bad("one record is named by 'sync', 'side' and 'id', without 'full'".to_owned())),
    }
}

/// A run that did not end well is told as a conflict with how things are; what it did is told
/// all the same.
fn answer(report: &RunReport) -> HttpResponse {
    match report.error {
        None => HttpResponse::Ok().json(report),
        Some(_) => HttpResponse::Conflict().json(report),
    }
}

pub(super) fn refused(error: &MarkError) -> ApiError {
    let (status, code) = match error {
        MarkError::NoConnection(_) => (StatusCode::NOT_FOUND, "no_connection"),
        MarkError::NoSync(_) => (StatusCode::NOT_FOUND, "no_sync"),
        MarkError::Restarting => (StatusCode::SERVICE_UNAVAILABLE, "restarting"),
        MarkError::Store(_) => (StatusCode::SERVICE_UNAVAILABLE, "not_stored"),
    };
    let refused = ApiError::new(status, code, error.to_string());
    if status == StatusCode::SERVICE_UNAVAILABLE { refused.retry_after(COME_BACK_S) } else { refused }
}
