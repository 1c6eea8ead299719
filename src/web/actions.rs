//! Where a script carries out actions over HTTP: `POST /actions`, one call to a side of a
//! connection, within its budget.
//!
//! ```json
//! {"connection":"acme","side":"remote","object":"contacts","verb":"find","record":{"email":"a@example.com"}}
//! ```
//!
//! `verb` is `list`, `read` or `delete` with `id`, `find` or `create` with `record`, `update` with both; `side` is
//! `remote` unless given. With `"sync":"contacts"` records are in your app's form, by the mapping of that sync. The answer is 200 with what came of it ([`ActionAnswer`]), whatever that is: also a refusal
//! of the side. Refusals of the request are `{"error":{"code":…,"message":…}}`.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::manual::refused;
use crate::actors::connection::Connection;
use crate::actors::message::{Act, MarkError};
use crate::actors::supervisor::Routes;
use crate::connectors::action::{Action, ActionAnswer, Verb, lost};
use crate::model::ids::{ConnectionId, ObjectName, RecordId, SyncName};
use crate::model::side::Side;
use crate::triggers::intake::route;
use crate::triggers::known::KnownConnections;
use crate::web::ApiError;
use crate::web::bearer::Bearer;

/// The route. Clone it into each worker: `App::new().configure(actions.configure())`.
#[derive(Debug, Clone)]
pub struct Actions {
    routes: Routes,
    known: KnownConnections,
    bearer: Bearer,
}

impl Actions {
    pub(crate) fn new(routes: Routes, known: KnownConnections) -> Self {
        Self { routes, known, bearer: Bearer::nobody() }
    }

    /// Asks every request for `Authorization: Bearer …`. Only a hash of the token is
    /// kept. Without one, whoever reaches the route may read and change every record.
    #[must_use]
    pub fn with_token(self, token: &str) -> Self {
        Self { bearer: Bearer::of(token), ..self }
    }

    /// Adds `/actions` to an actix-web app or scope.
    pub fn configure(&self) -> impl FnOnce(&mut web::ServiceConfig) + use<> {
        let state = web::Data::new(self.clone());
        move |config| {
            let actions = web::resource("/actions").app_data(state);
            config.service(actions.route(web::post().to(answer)));
        }
    }
}

/// An action on a connection, as it is asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionRequest {
    /// The connection.
    pub connection: ConnectionId,
    /// The side; the connected app's unless given.
    #[serde(default = "remote")]
    pub side: Side,
    /// The object.
    pub object: ObjectName,
    /// Records are in the app's form, by the mapping of this sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync: Option<SyncName>,
    /// What to do.
    pub verb: Verb,
    /// The record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<RecordId>,
    /// Fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<Box<serde_json::value::RawValue>>,
}

fn remote() -> Side {
    Side::Remote
}

impl ActionRequest {
    /// The action that is meant.
    ///
    /// # Errors
    /// What is missing or too much.
    pub fn action(&self) -> Result<Action, String> {
        Action::asked(self.verb, self.id.clone(), self.record.as_deref())
    }
}

/// Has a connection carry an action out.
///
/// # Errors
/// When it is being restarted and nothing was done.
pub(crate) async fn act(
    connection: &actix::Addr<Connection>,
    side: Side,
    object: ObjectName,
    action: Action,
    mapped: Option<SyncName>,
) -> Result<ActionAnswer, MarkError> {
    let writes = action.writes();
    let key = format!("action-{:032x}", fastrand::u128(..));
    match connection.send(Act { side, object, action, mapped, key }).await {
        Ok(answer) => Ok(answer),
        // It may have died on the way back.
        Err(_) if writes => Ok(lost("the connection was restarted meanwhile")),
        Err(_) => Err(MarkError::Restarting),
    }
}

async fn answer(
    request: HttpRequest,
    payload: web::Payload,
    actions: web::Data<Actions>,
) -> Result<HttpResponse, ApiError> {
    actions.bearer.check(request.headers())?;
    let body = super::webhooks::body(payload).await?;
    let bad = |reason: String| ApiError::bad_request("bad_request", reason);
    let asked: ActionRequest = serde_json::from_slice(&body).map_err(|error| bad(error.to_string()))?;
    let action = asked.action().map_err(bad)?;
    let connection = route(&actions.routes, &actions.known, &asked.connection).map_err(|error| refused(&error))?;
    let told = act(&connection, asked.side, asked.object, action, asked.sync).await.map_err(|error| refused(&error))?;
    Ok(HttpResponse::Ok().json(told))
}
