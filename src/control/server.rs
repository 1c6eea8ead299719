//! The kernel's end of the control socket.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::{App, HttpResponse, HttpServer, ResponseError, web};

use super::{
    ConnectionRequest, DocumentRequest, Received, RecordRequest, RefusalBody, RemoveRequest, ShownConnection,
    StatusAnswer, SyncAnswer, SyncRequest, SyncedConnection, socket_path,
};
use crate::actors::message::{ConnectionStatus, MarkError};
use crate::actors::spec::ConnectionSpec;
use crate::connectors::action::ActionAnswer;
use crate::kernel::Kernel;
use crate::model::document::nearest;
use crate::model::ids::{ConnectionId, SyncName};
use crate::plan::{PlanError, PlanRequest, plan};
use crate::registry::{Connections, Listed, Put, RegistryError, Reload};
use crate::store::{Store, StoreError};
use crate::web::actions::ActionRequest;

/// Makes the configured connections over a store: the kernel's own, or a copy of it
/// for a plan.
pub type MakeSpecs = Arc<dyn Fn(&Store) -> Vec<ConnectionSpec> + Send + Sync>;

/// A listening control socket.
#[derive(Debug)]
pub struct Control {
    server: ServerHandle,
    path: PathBuf,
}

#[derive(Clone)]
struct Shared {
    kernel: Kernel,
    state: PathBuf,
    specs: MakeSpecs,
    connections: Option<Connections>,
}

impl Control {
    /// Listens beside the state file that the kernel runs over; `connections` are those that
    /// may be added, changed and removed, where there are such. Needs a running actix system.
    ///
    /// # Errors
    /// When another kernel answers there, the path is too long, or the folder may not
    /// be written.
    pub fn start(kernel: Kernel, state: &Path, specs: MakeSpecs, connections: Option<Connections>) -> io::Result<Self> {
        let path = socket_path(state);
        let shared = web::Data::new(Shared { kernel, state: state.to_owned(), specs, connections });
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("failed to listen on the control socket {}: {error}", path.display()))
        };
        let server = serve(&path, shared).map_err(named)?;
        let handle = server.handle();
        actix_web::rt::spawn(server);
        Ok(Self { server: handle, path })
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Stops listening and takes the socket away.
    pub async fn stop(self) {
        // Taken away first, so that nobody finds a socket at which nobody answers.
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!("failed to remove the control socket {}: {error}", self.path.display());
        }
        self.server.stop(false).await;
    }
}

#[cfg(unix)]
fn serve(path: &Path, shared: web::Data<Shared>) -> io::Result<actix_web::dev::Server> {
    let listener = super::socket::listen(path)?;
    let app = move || App::new().app_data(shared.clone()).configure(routes);
    Ok(HttpServer::new(app).workers(1).disable_signals().shutdown_timeout(1).listen_uds(listener)?.run())
}

#[cfg(not(unix))]
fn serve(_: &Path, _: web::Data<Shared>) -> io::Result<actix_web::dev::Server> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no unix sockets"))
}

/// The longest request, in bytes: room for the documents of 100,000 connections.
const MOST_BYTES: usize = 128 * 1024 * 1024;

fn routes(config: &mut web::ServiceConfig) {
    config
        .app_data(web::JsonConfig::default().limit(MOST_BYTES))
        .route("/connections", web::get().to(connections))
        .route("/connections/show", web::post().to(show_connection))
        .route("/connections/add", web::post().to(add_connections))
        .route("/connections/change", web::post().to(change_connections))
        .route("/connections/remove", web::post().to(remove_connection))
        .route("/reload", web::post().to(reload))
        .route("/status", web::get().to(status))
        .route("/sync", web::post().to(sync))
        .route("/plan", web::post().to(make_plan))
        .route("/record", web::post().to(record))
        .route("/act", web::post().to(act))
        .route("/pause", web::post().to(pause))
        .route("/resume", web::post().to(resume))
        .route("/dump", web::get().to(dump));
}

/// A request that is refused.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct Refused {
    status: StatusCode,
    message: String,
}

impl Refused {
    fn unknown(message: String) -> Self {
        Self { status: StatusCode::NOT_FOUND, message }
    }

    fn internal(error: &dyn std::error::Error) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, message: error.to_string() }
    }
}

impl ResponseError for Refused {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        HttpResponse::build(self.status).json(RefusalBody { error: self.message.clone() })
    }
}

impl From<MarkError> for Refused {
    fn from(error: MarkError) -> Self {
        let status = match &error {
            MarkError::NoConnection(_) | MarkError::NoSync(_) => StatusCode::NOT_FOUND,
            MarkError::Restarting => StatusCode::CONFLICT,
            MarkError::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, message: error.to_string() }
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::internal(&error)
    }
}

impl From<RegistryError> for Refused {
    fn from(error: RegistryError) -> Self {
        let status = match &error {
            RegistryError::Unknown(_) => StatusCode::NOT_FOUND,
            RegistryError::Wrong(_) => StatusCode::UNPROCESSABLE_ENTITY,
            RegistryError::Refused(_) => StatusCode::CONFLICT,
            RegistryError::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, message: error.to_string() }
    }
}

impl From<PlanError> for Refused {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Unknown(message) => Self::unknown(message),
            error @ (PlanError::Store(_) | PlanError::Folder(_) | PlanError::Kernel(_)) => Self::internal(&error),
        }
    }
}

type Answer<T> = Result<web::Json<T>, Refused>;

async fn status(shared: web::Data<Shared>) -> web::Json<StatusAnswer> {
    let connections = shared.kernel.status().await;
    let (webhooks, events) = shared.kernel.received().await;
    let (state, received) = (shared.state.display().to_string(), Received { webhooks, events });
    web::Json(StatusAnswer { state, running: true, connections, received })
}

async fn sync(shared: web::Data<Shared>, request: web::Json<SyncRequest>) -> Answer<SyncAnswer> {
    let answer = sync_now(&shared.kernel, &request).await.map_err(Refused::unknown)?;
    Ok(web::Json(answer))
}

/// Runs the syncs asked for, connections beside one another.
///
/// # Errors
/// When there is no such connection or sync, with the nearest name.
pub(crate) async fn sync_now(kernel: &Kernel, request: &SyncRequest) -> Result<SyncAnswer, String> {
    let chosen = choose(kernel, request.connection.as_ref(), request.sync.as_ref()).await?;
    let runs = chosen.into_iter().map(|connection| async {
        let run = if request.full {
            kernel.resync(&connection, request.sync.clone()).await
        } else {
            kernel.sync_now(&connection, request.sync.clone()).await
        };
        let report =
            run.unwrap_or_else(|error| crate::RunReport { error: Some(error.to_string()), ..Default::default() });
        SyncedConnection { connection, report }
    });
    Ok(SyncAnswer { connections: futures_util::future::join_all(runs).await })
}

/// The connections that have the sync.
async fn choose(
    kernel: &Kernel,
    connection: Option<&ConnectionId>,
    sync: Option<&SyncName>,
) -> Result<Vec<ConnectionId>, String> {
    let all = kernel.connections();
    if let Some(id) = connection
        && !all.contains(id)
    {
        return Err(unknown("connection", id.as_str(), all.iter().map(ConnectionId::as_str)));
    }
    let chosen: Vec<ConnectionId> = all.into_iter().filter(|id| connection.is_none_or(|only| only == id)).collect();
    let Some(sync) = sync else { return Ok(chosen) };
    let statuses = kernel.status().await;
    let chosen: Vec<_> = statuses.into_iter().filter(|status| chosen.contains(&status.id)).collect();
    let has = |status: &ConnectionStatus| status.syncs.iter().any(|known| known.name == *sync);
    if !chosen.iter().any(has) {
        let names = chosen.iter().flat_map(|status| &status.syncs).map(|sync| sync.name.as_str());
        return Err(unknown("sync", sync.as_str(), names));
    }
    Ok(chosen.into_iter().filter(has).map(|status| status.id).collect())
}

/// Where there are more names than this they are not all told.
const MOST_NAMED: usize = 20;

/// The sentence about a name that does not exist.
pub(crate) fn unknown<'n>(what: &str, name: &str, known: impl Iterator<Item = &'n str>) -> String {
    let mut known: Vec<&str> = known.collect();
    known.sort_unstable();
    known.dedup();
    let help = match nearest(name, known.iter().copied()) {
        Some(near) => format!("; did you mean '{near}'?"),
        None if known.is_empty() => String::new(),
        None if known.len() > MOST_NAMED => format!("; there are {}, {}, …", known.len(), known[..3].join(", ")),
        None => format!("; there is: {}", known.join(", ")),
    };
    format!("there is no {what} '{name}'{help}")
}

async fn make_plan(shared: web::Data<Shared>, request: web::Json<PlanRequest>) -> Answer<crate::plan::PlanReport> {
    let folder = shared.state.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (store, specs) = (shared.kernel.store().clone(), Arc::clone(&shared.specs));
    let (done, report) = tokio::sync::oneshot::channel();
    let (folder, request) = (folder.to_owned(), request.into_inner());
    // On a thread of its own, so that it neither slows the kernel down nor writes its
    // dry runs into the log as if they were real.
    let run = move || {
        let planning = async { plan(&store, &folder, |copy| specs(copy), &request).await };
        let planned = tracing::subscriber::with_default(tracing::subscriber::NoSubscriber::default(), || {
            actix::System::new().block_on(planning)
        });
        // Nobody may be left to tell.
        drop(done.send(planned));
    };
    std::thread::Builder::new().name("plan".to_owned()).spawn(run).map_err(|error| Refused::internal(&error))?;
    let report = report.await.map_err(|_| Refused::internal(&std::io::Error::other("planning crashed")))?;
    Ok(web::Json(report?))
}

async fn record(shared: web::Data<Shared>, request: web::Json<RecordRequest>) -> Answer<serde_json::Value> {
    let RecordRequest { connection, sync, side, record } = request.into_inner();
    choose(&shared.kernel, Some(&connection), Some(&sync)).await.map_err(Refused::unknown)?;
    shared.kernel.sync_record(&connection, sync, side, record).await?;
    Ok(done())
}

async fn act(shared: web::Data<Shared>, request: web::Json<ActionRequest>) -> Answer<ActionAnswer> {
    let request = request.into_inner();
    choose(&shared.kernel, Some(&request.connection), None).await.map_err(Refused::unknown)?;
    let action = request.action().map_err(|message| Refused { status: StatusCode::CONFLICT, message })?;
    let ActionRequest { connection, side, object, sync, .. } = request;
    let answer = match sync {
        Some(sync) => shared.kernel.act_mapped(&connection, side, object, action, sync).await?,
        None => shared.kernel.act(&connection, side, object, action).await?,
    };
    Ok(web::Json(answer))
}

fn registry(shared: &Shared) -> Result<&Connections, Refused> {
    let none = "the connections of this kernel are given by its host program";
    shared.connections.as_ref().ok_or_else(|| Refused { status: StatusCode::CONFLICT, message: none.to_owned() })
}

async fn connections(shared: web::Data<Shared>) -> Answer<Vec<Listed>> {
    Ok(web::Json(registry(&shared)?.list()))
}

async fn show_connection(shared: web::Data<Shared>, request: web::Json<ConnectionRequest>) -> Answer<ShownConnection> {
    let document = registry(&shared)?.document(&request.connection)?;
    Ok(web::Json(ShownConnection { connection: request.into_inner().connection, document }))
}

async fn add_connections(shared: web::Data<Shared>, request: web::Json<DocumentRequest>) -> Answer<Put> {
    Ok(web::Json(registry(&shared)?.add(&request.name, &request.document).await?))
}

async fn change_connections(shared: web::Data<Shared>, request: web::Json<DocumentRequest>) -> Answer<Put> {
    Ok(web::Json(registry(&shared)?.change(&request.name, &request.document).await?))
}

async fn remove_connection(shared: web::Data<Shared>, request: web::Json<RemoveRequest>) -> Answer<serde_json::Value> {
    registry(&shared)?.remove(&request.connection, request.purge).await?;
    Ok(done())
}

async fn reload(shared: web::Data<Shared>) -> Answer<Reload> {
    Ok(web::Json(registry(&shared)?.reload().await?))
}

async fn pause(shared: web::Data<Shared>, request: web::Json<ConnectionRequest>) -> Answer<serde_json::Value> {
    choose(&shared.kernel, Some(&request.connection), None).await.map_err(Refused::unknown)?;
    shared.kernel.pause(&request.connection).await?;
    Ok(done())
}

async fn resume(shared: web::Data<Shared>, request: web::Json<ConnectionRequest>) -> Answer<serde_json::Value> {
    choose(&shared.kernel, Some(&request.connection), None).await.map_err(Refused::unknown)?;
    shared.kernel.resume(&request.connection).await?;
    Ok(done())
}

fn done() -> web::Json<serde_json::Value> {
    web::Json(serde_json::json!({}))
}

async fn dump(shared: web::Data<Shared>) -> Result<String, Refused> {
    let store = shared.kernel.store().clone();
    let write = move || {
        let mut text = String::new();
        store.dump(&mut text).map(|()| text)
    };
    let written = web::block(write).await.map_err(|error| Refused::internal(&error))?;
    Ok(written?)
}
