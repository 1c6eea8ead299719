//! Shell: the configuration file, read and checked as a whole before anything runs.
//!
//! One TOML file names the state file, your app's side, the connections and the syncs;
//! each connected app is described by a connector file beside it. *All* problems of all
//! these files are told at once, each with its file, line and what to do about it. What
//! comes out needs no further checking: a [`ConnectionSpec`] for each connection.
//!
//! Each table is read by itself first (`declared`, `http`), then all of them are checked
//! against each other and against the connector files (`check`). Secrets stand in the
//! environment or in files and are named as `${NAME}` and `${file:PATH}` (`fill`).
//!
//! Further connections can be added while the kernel runs, each a document of its own that
//! is checked against the file (`added`).

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use self::added::Ground;
use self::said::Said;
use crate::actors::spec::{ConnectionSpec, SyncSpec, Webhook};
use crate::connectors::http::{HttpConnectorFile, HttpFactory};
use crate::connectors::{Calls, ConnectorFactory};
use crate::model::budget::Limits;
use crate::model::document::{DocumentError, Located, Problems, Table, parse};
use crate::model::ids::{ConnectionId, Scope};
use crate::model::side::PerSide;

mod added;
mod check;
mod declared;
mod files;
mod fill;
mod http;
mod keys;
mod said;
#[cfg(test)]
mod tests;
mod variants;

pub use added::Added;

/// The state file where none is named.
const DEFAULT_STATE: &str = "syncline.redb";

/// A configuration file that was read and checked.
#[derive(Debug)]
#[non_exhaustive]
pub struct Config {
    /// The file.
    pub path: PathBuf,
    /// The state file.
    pub state: PathBuf,
    /// After how long work that waits is late; `None` for the kernel's default.
    pub late_after: Option<Duration>,
    /// The REST API of the embedded store; `None` where it is not served.
    pub embedded: Option<EmbeddedApi>,
    /// Where webhooks and events come in; `None` where they do not.
    pub receive: Option<Receive>,
    /// The connections, in the order of the file.
    pub connections: Vec<ConfiguredConnection>,
    ground: Ground,
    warnings: Vec<String>,
}

/// Where the embedded store's REST API is served.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EmbeddedApi {
    /// The address to listen on. Never one that other machines reach, unless there is a
    /// token.
    pub listen: SocketAddr,
    /// Asked for as a bearer token; `None` where nothing is asked for.
    pub token: Option<SecretString>,
}

/// Where webhooks and events come in.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Receive {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// Where others reach it, without a slash at the end: `https://sync.example.com`.
    pub url: String,
    /// Asked for as a bearer token by `/events`; without it events are taken where
    /// `listen` is reached from this machine only.
    pub token: Option<SecretString>,
    /// The most connections at a time. Those beyond it are not accepted before others have
    /// ended.
    pub connections: usize,
}

/// The most connections to `[receive]` at a time where the file does not say.
pub const DEFAULT_RECEIVED_AT_ONCE: usize = 2_000;

/// A connection as configured.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConfiguredConnection {
    /// Its name, unique in the file.
    pub id: ConnectionId,
    /// This customer's records on your side. Always there where your side is the
    /// embedded store: `default` where the only connection names none.
    pub scope: Option<Scope>,
    /// What talks to your side.
    pub app: AppSide,
    /// What talks to the connected app.
    pub remote: HttpSideFactory,
    /// How much each side may be called; the app's budget is shared by all connections.
    pub limits: PerSide<Limits>,
    /// Where the connected app's webhooks come in.
    pub webhook: Option<Webhook>,
    /// It is added paused.
    pub paused: bool,
    /// What is kept in agreement.
    pub syncs: Vec<Arc<SyncSpec>>,
    /// What was declared for it, key by key.
    said: Said,
    /// The same as text. It may hold a secret that stands in the file itself.
    document: SecretString,
}

impl ConfiguredConnection {
    /// What was declared for it, as a document that [`Config::added`] reads: variables are not
    /// filled in. Not for logs: a secret may stand in it.
    #[must_use]
    pub fn document(&self) -> &str {
        self.document.expose_secret()
    }

    /// The name of the connected app's connector.
    #[must_use]
    pub fn connector(&self) -> &str {
        self.remote.file().name()
    }

    /// The keys and tables at which another reading of the configuration says something else
    /// about it, `paused` aside.
    #[must_use]
    pub fn changes_to(&self, later: &Self) -> Vec<String> {
        self.said.differing(&later.said)
    }

    /// As the kernel takes it. `embedded` makes connectors to the embedded store, where your
    /// side is that; `app_calls` is the budget that all connections share for your app's API.
    #[must_use]
    pub fn spec(&self, embedded: &Arc<dyn ConnectorFactory>, app_calls: &Calls) -> ConnectionSpec {
        let (app, shared_app_calls) = match &self.app {
            AppSide::Embedded => (Arc::clone(embedded), None),
            AppSide::Http(factory) => (factory.factory(), Some(app_calls.clone())),
        };
        ConnectionSpec {
            id: self.id.clone(),
            scope: self.scope.clone(),
            connectors: PerSide { app, remote: self.remote.factory() },
            limits: self.limits.clone(),
            shared_app_calls,
            syncs: self.syncs.clone(),
            webhook: self.webhook.clone(),
            paused: self.paused,
        }
    }
}

/// Your side of a connection.
#[derive(Debug, Clone)]
pub enum AppSide {
    /// Records kept in the state file.
    Embedded,
    /// Your own API.
    Http(HttpSideFactory),
}

/// Makes HTTP connectors with settings that hold credentials, so it prints nothing of
/// them.
#[derive(Clone)]
pub struct HttpSideFactory(Arc<HttpFactory>);

impl HttpSideFactory {
    /// The connector file.
    #[must_use]
    pub fn file(&self) -> &HttpConnectorFile {
        self.0.file()
    }

    /// As a connection takes it.
    #[must_use]
    pub fn factory(&self) -> Arc<dyn ConnectorFactory> {
        Arc::clone(&self.0) as Arc<dyn ConnectorFactory>
    }
}

impl fmt::Debug for HttpSideFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpSideFactory").finish_non_exhaustive()
    }
}

/// Everything that is wrong with a configuration and its connector files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Each as `file:line:column: message (help)`; a file that cannot be read is told
    /// without line.
    pub lines: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads and checks a configuration file and the files it names; `env` looks up an
    /// environment variable.
    ///
    /// # Errors
    /// With all problems of all files at once. Holds no secret.
    pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let read_file = |path: &Path| std::fs::read_to_string(path);
        let text = read(path)?;
        let base_dir = path.parent().unwrap_or(Path::new(""));
        Self::parse(&path.display().to_string(), &text, base_dir, env, &read_file)
    }

    /// The state file that a configuration names, whatever else is in it: for commands
    /// that need nothing else, and no secret.
    ///
    /// # Errors
    /// When the file cannot be read or is no TOML, or `state` is no text.
    pub fn state_path(path: &Path) -> Result<PathBuf, ConfigError> {
        let text = read(path)?;
        let problems = Problems::new();
        let document = parse(&text, &problems);
        let top = Table::top(&document, &problems);
        let state = state(&top);
        match state {
            Some(state) if problems.is_empty() => Ok(path.parent().unwrap_or(Path::new("")).join(state)),
            Some(_) | None => {
                let lines = DocumentError::new(&path.display().to_string(), &text, problems.into_sorted()).lines;
                Err(ConfigError { lines })
            }
        }
    }

    /// Checks the text of a configuration file. Files it names are relative to
    /// `base_dir` and read by `read_file`.
    ///
    /// # Errors
    /// With all problems of all files at once. Holds no secret.
    pub fn parse(
        file_name: &str,
        text: &str,
        base_dir: &Path,
        env: &dyn Fn(&str) -> Option<String>,
        read_file: &dyn Fn(&Path) -> io::Result<String>,
    ) -> Result<Self, ConfigError> {
        let (problems, outside) = (Problems::new(), files::Outside::new(base_dir, env, read_file));
        let document = parse(text, &problems);
        let top = Table::top(&document, &problems);
        let state = state(&top);
        let late_after = top.duration_ms("late_after").map(|duration| Duration::from_millis(duration.value));
        let embedded_table = top.table("embedded");
        let app = top.table("app").map(|table| declared::app(table, &outside));
        if let (Some(table), Some(_)) = (&embedded_table, &app) {
            let help = "[app] says where your app's records are: keep one of the two";
            problems.add_with_help(table.span(), "[embedded] stands beside [app]", help);
        }
        let embedded = embedded_table.and_then(|table| declared::embedded(table, &outside));
        let receive_table = top.table("receive");
        let has_receive = receive_table.is_some();
        let receive = receive_table.and_then(|table| declared::receive(table, &outside));
        let connections: Vec<_> =
            top.tables("connection").into_iter().map(|table| declared::connection(table, &outside)).collect();
        let syncs: Vec<_> = top.tables("sync").into_iter().map(|table| declared::sync(table, &outside)).collect();
        let others_may_come = top.item("connectors").is_some();
        let connectors = top.texts("connectors").unwrap_or_default().into_iter().filter_map(|written| {
            let value = outside.connector(&written, &problems)?.file;
            Some(Located { value, span: written.span })
        });
        let connectors = connectors.collect();
        for key in ["connection", "sync"] {
            if top.item(key).is_none() && (key == "sync" || !others_may_come) {
                problems.add_with_help(0..0, format!("there is no [[{key}]]"), "without one nothing is synced");
            }
        }
        top.finish();
        let declared = check::Declared { text, app, receive, has_receive, connectors, connections, syncs };
        let checked = declared.check(&problems, &outside);
        let (connectors, mut connector_lines, warnings) = outside.finish();
        match (checked, state) {
            (Some((connections, connector_names)), Some(state))
                if problems.is_empty() && connector_lines.is_empty() =>
            {
                Ok(Self {
                    path: PathBuf::from(file_name),
                    state: base_dir.join(state),
                    late_after,
                    embedded,
                    receive: declared.receive.clone(),
                    connections,
                    ground: Ground::new(base_dir, declared, connector_names, connectors),
                    warnings: DocumentError::new(file_name, text, warnings.into_sorted()).lines,
                })
            }
            (Some(_) | None, Some(_) | None) => {
                let mut lines = DocumentError::new(file_name, text, problems.into_sorted()).lines;
                lines.append(&mut connector_lines);
                debug_assert!(!lines.is_empty(), "what could not be read was noted");
                Err(ConfigError { lines })
            }
        }
    }

    /// The names of the syncs, in the order of the file.
    pub fn sync_names(&self) -> impl Iterator<Item = &str> {
        self.ground.sync_names()
    }

    /// What is not wrong, and not well either: each as `file:line:column: message (help)`.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// What a running kernel takes over from another reading of the configuration only when it
    /// is started anew.
    #[must_use]
    pub fn after_restart(&self, later: &Self) -> Vec<String> {
        let token = |token: &Option<SecretString>| token.as_ref().map(|token| token.expose_secret().to_owned());
        let embedded = |config: &Self| config.embedded.as_ref().map(|api| (api.listen, token(&api.token)));
        let receive = |config: &Self| {
            config.receive.as_ref().map(|receive| (receive.listen, token(&receive.token), receive.connections))
        };
        let differ = [
            ("state", self.state != later.state),
            ("late_after", self.late_after != later.late_after),
            ("[embedded]", embedded(self) != embedded(later)),
            ("[receive]", receive(self) != receive(later)),
        ];
        differ.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key.to_owned()).collect()
    }

    /// Whether another reading limits calls to your app's API in the same way.
    #[must_use]
    pub fn has_app_limits_of(&self, earlier: &Self) -> bool {
        self.ground.app_limits() == earlier.ground.app_limits()
    }

    /// Goes on with the budgets that the connections of a connector share, of an earlier reading,
    /// so that nobody has the same calls twice.
    pub fn go_on_with(&self, earlier: &Self) {
        self.ground.go_on_with(&earlier.ground);
    }

    /// The budget that all connections share for your app's API, to be made once for all that
    /// run at a time.
    #[must_use]
    pub fn app_calls(&self) -> Calls {
        Calls::new(&self.ground.app_limits())
    }

    /// The connections of the file as the kernel takes them. `embedded` makes connectors to the
    /// embedded store, where your side is that.
    #[must_use]
    pub fn specs(&self, embedded: Arc<dyn ConnectorFactory>) -> Vec<ConnectionSpec> {
        let app_calls = self.app_calls();
        self.connections.iter().map(|connection| connection.spec(&embedded, &app_calls)).collect()
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|error| ConfigError {
        lines: vec![format!("failed to read the configuration {}: {error}", path.display())],
    })
}

fn state(top: &Table<'_>) -> Option<String> {
    match top.item("state") {
        Some(_) => keys::non_empty(top, "state").map(|state| state.value),
        None => Some(DEFAULT_STATE.to_owned()),
    }
}
