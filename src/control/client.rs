//! The operator's end of the control socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{
    ConnectionRequest, DocumentRequest, RecordRequest, RefusalBody, RemoveRequest, ShownConnection, StatusAnswer,
    SyncAnswer, SyncRequest, socket_path,
};
use crate::connectors::action::ActionAnswer;
use crate::model::ids::ConnectionId;
use crate::plan::{PlanReport, PlanRequest};
use crate::registry::{Listed, Put, Reload};
use crate::web::actions::ActionRequest;

/// Speaks to the kernel that runs over a state file.
#[derive(Debug, Clone)]
pub struct ControlClient {
    http: reqwest::Client,
    path: PathBuf,
}

/// Why a running kernel did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// What was asked for does not exist.
    #[error("{0}")]
    Unknown(String),
    /// A document or the configuration is wrong; one problem a line.
    #[error("{0}")]
    Wrong(String),
    /// The kernel refused or failed.
    #[error("{0}")]
    Refused(String),
    /// It did not answer, or not as a kernel does.
    #[error("the kernel at {path} did not answer: {reason}")]
    Broken {
        /// The socket.
        path: String,
        /// What went wrong.
        reason: String,
    },
}

impl ControlClient {
    /// The kernel that runs over a state file, if one answers.
    #[must_use]
    pub fn find(state: &Path) -> Option<Self> {
        let path = socket_path(state);
        answers(&path).then(|| Self::at(path)).flatten()
    }

    #[cfg(unix)]
    fn at(path: PathBuf) -> Option<Self> {
        install_crypto();
        // The only address is the socket's; a sync may take hours, so only connecting is
        // limited in time. No certificates are loaded: nothing here uses them.
        let http = reqwest::Client::builder()
            .unix_socket(path.as_path())
            .no_proxy()
            .tls_certs_only([])
            .connect_timeout(CONNECT_TIMEOUT);
        http.build().ok().map(|http| Self { http, path })
    }

    #[cfg(not(unix))]
    fn at(_: PathBuf) -> Option<Self> {
        None
    }

    /// How everything is.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub async fn status(&self) -> Result<StatusAnswer, ControlError> {
        self.json(self.http.get(url("status"))).await
    }

    /// Runs syncs and waits until they are over.
    ///
    /// # Errors
    /// When there is no such connection or sync, or the kernel does not answer.
    pub async fn sync(&self, request: &SyncRequest) -> Result<SyncAnswer, ControlError> {
        self.json(self.post("sync", request)?).await
    }

    /// Plans.
    ///
    /// # Errors
    /// As [`ControlClient::sync`], and when the state cannot be copied.
    pub async fn plan(&self, request: &PlanRequest) -> Result<PlanReport, ControlError> {
        self.json(self.post("plan", request)?).await
    }

    /// Asks for one record; returns when that is durable.
    ///
    /// # Errors
    /// As [`ControlClient::sync`].
    pub async fn record(&self, request: &RecordRequest) -> Result<(), ControlError> {
        self.json::<serde_json::Value>(self.post("record", request)?).await.map(drop)
    }

    /// Carries an action out.
    ///
    /// # Errors
    /// As [`ControlClient::sync`].
    pub async fn act(&self, request: &ActionRequest) -> Result<ActionAnswer, ControlError> {
        self.json(self.post("act", request)?).await
    }

    /// Pauses a connection or lets it go on.
    ///
    /// # Errors
    /// As [`ControlClient::sync`].
    pub async fn set_paused(&self, connection: ConnectionId, paused: bool) -> Result<(), ControlError> {
        let request = self.post(if paused { "pause" } else { "resume" }, &ConnectionRequest { connection })?;
        self.json::<serde_json::Value>(request).await.map(drop)
    }

    /// All connections.
    ///
    /// # Errors
    /// When the kernel's connections are not to be changed, or it does not answer.
    pub async fn connections(&self) -> Result<Vec<Listed>, ControlError> {
        self.json(self.http.get(url("connections"))).await
    }

    /// What was declared for a connection.
    ///
    /// # Errors
    /// When there is none, or the kernel does not answer.
    pub async fn connection_document(&self, connection: ConnectionId) -> Result<String, ControlError> {
        let request = self.post("connections/show", &ConnectionRequest { connection })?;
        self.json::<ShownConnection>(request).await.map(|shown| shown.document)
    }

    /// Adds connections, or changes them.
    ///
    /// # Errors
    /// When the document is wrong or does not fit, or the kernel does not answer.
    pub async fn put_connections(&self, change: bool, name: String, document: String) -> Result<Put, ControlError> {
        let place = if change { "connections/change" } else { "connections/add" };
        self.json(self.post(place, &DocumentRequest { name, document })?).await
    }

    /// Removes a connection.
    ///
    /// # Errors
    /// When there is none that was added, or the kernel does not answer.
    pub async fn remove_connection(&self, connection: ConnectionId, purge: bool) -> Result<(), ControlError> {
        let request = self.post("connections/remove", &RemoveRequest { connection, purge })?;
        self.json::<serde_json::Value>(request).await.map(drop)
    }

    /// Has the configuration read again.
    ///
    /// # Errors
    /// When it is wrong, or the kernel does not answer.
    pub async fn reload(&self) -> Result<Reload, ControlError> {
        self.json(self.post("reload", &())?).await
    }

    /// The whole state as text.
    ///
    /// # Errors
    /// When it cannot be read, or the kernel does not answer.
    pub async fn dump(&self) -> Result<String, ControlError> {
        self.text(self.http.get(url("dump"))).await
    }

    fn post(&self, path: &str, body: &impl Serialize) -> Result<reqwest::RequestBuilder, ControlError> {
        let body = serde_json::to_string(body).map_err(|error| self.broken(&error))?;
        Ok(self.http.post(url(path)).header("content-type", "application/json").body(body))
    }

    async fn json<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T, ControlError> {
        let text = self.text(request).await?;
        serde_json::from_str(&text).map_err(|error| self.broken(&error))
    }

    async fn text(&self, request: reqwest::RequestBuilder) -> Result<String, ControlError> {
        let response = request.send().await.map_err(|error| self.broken(&error))?;
        let status = response.status();
        let text = response.text().await.map_err(|error| self.broken(&error))?;
        if status.is_success() {
            return Ok(text);
        }
        let message = match serde_json::from_str::<RefusalBody>(&text) {
            Ok(refusal) => refusal.error,
            Err(_) => return Err(self.broken(&format!("it answered with status {status}"))),
        };
        Err(match status {
            reqwest::StatusCode::NOT_FOUND => ControlError::Unknown(message),
            reqwest::StatusCode::UNPROCESSABLE_ENTITY => ControlError::Wrong(message),
            _ => ControlError::Refused(message),
        })
    }

    fn broken(&self, reason: &dyn std::fmt::Display) -> ControlError {
        ControlError::Broken { path: self.path.display().to_string(), reason: reason.to_string() }
    }
}

/// The HTTP client asks for a crypto provider even where nothing is encrypted.
fn install_crypto() {
    #[cfg(feature = "tls-ring")]
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Another thread may have been quicker; then its provider serves as well.
        drop(rustls::crypto::ring::default_provider().install_default());
    }
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

fn url(path: &str) -> String {
    // The host is only for the header; the connection is the socket's.
    format!("http://localhost/{path}")
}

#[cfg(unix)]
fn answers(path: &Path) -> bool {
    std::os::unix::net::UnixStream::connect(path).is_ok()
}

#[cfg(not(unix))]
fn answers(_: &Path) -> bool {
    false
}
