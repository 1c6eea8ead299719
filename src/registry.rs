//! Shell: connections as data. Those of the configuration file, and those that are added,
//! changed and removed while the kernel runs: their documents are kept in the state file, so
//! that they are there at the next start.
//!
//! A [`Registry`] knows them and decides what may become of them; it runs nothing. The
//! [`Connections`] of a running kernel carry it out.

mod live;
mod shown;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::actors::spec::ConnectionSpec;
use crate::config::{Added, Config, ConfigError, ConfiguredConnection};
use crate::connectors::{Calls, ConnectorFactory};
use crate::model::document::nearest;
use crate::model::ids::{ConnectionId, Scope};
use crate::store::{Store, StoreError};
use crate::triggers::known::KnownConnections;

pub use live::Connections;

/// Where variables in documents are looked up.
pub type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Where a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// It stands in the configuration file.
    File,
    /// It was added, and is kept in the state file.
    Added,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "file",
            Self::Added => "added",
        })
    }
}

/// A connection as the registry knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its name.
    pub id: ConnectionId,
    /// Where it comes from.
    pub origin: Origin,
    /// The name of its connector; `None` for one whose document no longer fits.
    pub connector: Option<String>,
    /// This customer's records on your side.
    pub scope: Option<Scope>,
    /// Why it does not run.
    pub problem: Option<String>,
}

/// What came of adding or changing connections.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Put {
    /// Those that were added, or changed.
    pub connections: Vec<ConnectionId>,
    /// Those of them that were as the document says already.
    pub unchanged: Vec<ConnectionId>,
    /// What is not wrong, and not well either.
    pub warnings: Vec<String>,
}

/// What is another after a configuration was read again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reload {
    /// Connections that are new in the file.
    pub added: Vec<ConnectionId>,
    /// Connections that are no longer in the file. Their state is kept.
    pub removed: Vec<ConnectionId>,
    /// Connections that were started anew, with the keys and tables that say something else.
    pub changed: Vec<(ConnectionId, Vec<String>)>,
    /// Connections that rest from now on, or go on, as the file says.
    pub paused: Vec<(ConnectionId, bool)>,
    /// How many were left alone.
    pub unchanged: usize,
    /// Tables and keys that take effect at the next start only.
    pub after_restart: Vec<String>,
    /// Connections that could not be started, with the reason.
    pub failed: Vec<(ConnectionId, String)>,
    /// What is not wrong with the configuration, and not well either.
    pub warnings: Vec<String>,
}

/// Why connections stay as they were.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The document or the configuration is wrong.
    #[error(transparent)]
    Wrong(#[from] ConfigError),
    /// It does not fit the connections there are.
    #[error("{0}")]
    Refused(String),
    /// There is no such connection.
    #[error("{0}")]
    Unknown(String),
    /// The state file could not be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The connections of a configuration, and those that were added to it.
#[derive(Debug, Clone)]
pub struct Registry {
    config: Arc<Config>,
    of_file: BTreeMap<ConnectionId, Arc<ConfiguredConnection>>,
    added: BTreeMap<ConnectionId, AddedConnection>,
}

#[derive(Debug, Clone)]
struct AddedConnection {
    document: SecretString,
    /// Or why it does not fit: the configuration or what it names may have changed.
    connection: Result<Arc<ConfiguredConnection>, String>,
}

impl Registry {
    /// The connections of the file, and those kept in the state file, where there is one. One
    /// that no longer fits is kept with the reason.
    ///
    /// # Errors
    /// When the state file cannot be read.
    pub fn load(config: Arc<Config>, store: Option<&Store>, env: &Environment) -> Result<Self, StoreError> {
        let of_file = by_id(&config.connections);
        let documents = match store {
            Some(store) => store.snapshot()?.kept_documents()?,
            None => Vec::new(),
        };
        let mut registry = Self { config, of_file, added: BTreeMap::new() };
        for (id, document) in documents {
            let connection = registry.read_kept(&id, &document, env);
            registry.added.insert(id, AddedConnection { document: document.into(), connection });
        }
        Ok(registry)
    }

    fn read_kept(
        &self,
        id: &ConnectionId,
        document: &str,
        env: &Environment,
    ) -> Result<Arc<ConfiguredConnection>, String> {
        if self.of_file.contains_key(id) {
            return Err(format!("it is also in {}: take it out there, or remove it here", self.file()));
        }
        let added = self.config.added(id.as_str(), document, &**env).map_err(|error| error.to_string())?;
        let mut connections = added.connections.into_iter();
        match (connections.next(), connections.next()) {
            (Some(connection), None) if connection.id == *id => Ok(Arc::new(connection)),
            (_, _) => Err("its document is not its own".to_owned()),
        }
    }

    fn file(&self) -> String {
        self.config.path.display().to_string()
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Those that can run, by name.
    pub fn connections(&self) -> impl Iterator<Item = &Arc<ConfiguredConnection>> {
        self.of_file.values().chain(self.added.values().filter_map(|added| added.connection.as_ref().ok()))
    }

    /// Those that cannot run, with the reason.
    pub fn broken(&self) -> impl Iterator<Item = (&ConnectionId, &str)> {
        self.added.iter().filter_map(|(id, added)| Some((id, added.connection.as_ref().err()?.as_str())))
    }

    /// One that can run.
    ///
    /// # Errors
    /// When there is none of that name, or why it cannot run.
    pub fn find(&self, id: &ConnectionId) -> Result<&Arc<ConfiguredConnection>, RegistryError> {
        match (self.of_file.get(id), self.added.get(id)) {
            (Some(connection), _) => Ok(connection),
            (None, Some(added)) => {
                let refused = |problem: &String| RegistryError::Refused(format!("connection '{id}': {problem}"));
                added.connection.as_ref().map_err(refused)
            }
            (None, None) => Err(self.unknown(id)),
        }
    }

    fn unknown(&self, id: &ConnectionId) -> RegistryError {
        let known = self.of_file.keys().chain(self.added.keys()).map(ConnectionId::as_str);
        let near = nearest(id.as_str(), known).map_or_else(String::new, |near| format!("; did you mean '{near}'?"));
        RegistryError::Unknown(format!("there is no connection '{id}'{near}"))
    }

    /// As the kernel takes them.
    #[must_use]
    pub fn specs(&self, embedded: &Arc<dyn ConnectorFactory>, app_calls: &Calls) -> Vec<ConnectionSpec> {
        self.connections().map(|connection| connection.spec(embedded, app_calls)).collect()
    }

    /// All of them, by name.
    #[must_use]
    pub fn list(&self) -> Vec<Listed> {
        let of_file = self.of_file.iter().map(|(id, connection)| (id, Origin::File, Ok(connection)));
        let added = self.added.iter().map(|(id, added)| (id, Origin::Added, added.connection.as_ref()));
        let mut all: Vec<Listed> = of_file
            .chain(added)
            .map(|(id, origin, connection)| Listed {
                id: id.clone(),
                origin,
                connector: connection.ok().map(|connection| connection.connector().to_owned()),
                scope: connection.ok().and_then(|connection| connection.scope.clone()),
                problem: connection.err().cloned(),
            })
            .collect();
        all.sort_by(|one, two| one.id.cmp(&two.id));
        all
    }

    /// What was declared for a connection, as a document that can be added again. Secrets that
    /// stand in it are not shown.
    ///
    /// # Errors
    /// When there is no such connection.
    pub fn document(&self, id: &ConnectionId) -> Result<String, RegistryError> {
        match (self.of_file.get(id), self.added.get(id)) {
            (Some(connection), _) => Ok(shown::without_secrets(connection.document())),
            (None, Some(added)) => Ok(shown::without_secrets(added.document.expose_secret())),
            (None, None) => Err(self.unknown(id)),
        }
    }

    /// Reads connections that are to be added. Whether they keep records of your app that
    /// another keeps already is for [`Registry::check_claims`] or a kernel to say.
    ///
    /// # Errors
    /// When the document is wrong, or one of that name is there.
    pub fn adding(&self, name: &str, text: &str, env: &Environment) -> Result<Added, RegistryError> {
        let added = self.config.added(name, text, &**env)?;
        for connection in &added.connections {
            let id = &connection.id;
            if self.of_file.contains_key(id) {
                return Err(RegistryError::Refused(format!("connection '{id}' stands in {} already", self.file())));
            }
            if self.added.contains_key(id) {
                return Err(RegistryError::Refused(format!("connection '{id}' was added already; change it instead")));
            }
        }
        Ok(added)
    }

    /// Reads connections that are to be changed.
    ///
    /// # Errors
    /// When the document is wrong, does not fit the connections there are, or is for another
    /// account.
    pub fn changing(&self, name: &str, text: &str, env: &Environment) -> Result<Added, RegistryError> {
        let changed = self.config.added(name, text, &**env)?;
        for connection in &changed.connections {
            let id = &connection.id;
            self.of_state(id, "change it there and reload")?;
            if let Some(Ok(old)) = self.added.get(id).map(|added| &added.connection) {
                is_same_account(old, connection).map_err(RegistryError::Refused)?;
            }
        }
        self.check_claims(&changed.connections)?;
        Ok(changed)
    }

    /// Whether a connection may be removed.
    ///
    /// # Errors
    /// When there is none, or it stands in the file.
    pub fn removing(&self, id: &ConnectionId) -> Result<(), RegistryError> {
        self.of_state(id, "take it out there and reload")
    }

    /// Only what was added can be changed and removed without the file.
    fn of_state(&self, id: &ConnectionId, help: &str) -> Result<(), RegistryError> {
        if self.added.contains_key(id) {
            return Ok(());
        }
        match self.of_file.get(id) {
            Some(_) => Err(RegistryError::Refused(format!("connection '{id}' stands in {}: {help}", self.file()))),
            None => Err(self.unknown(id)),
        }
    }

    /// Those of changed connections that were declared to rest and are not any more.
    pub fn resumed<'c>(&self, changed: &'c [ConfiguredConnection]) -> impl Iterator<Item = &'c ConnectionId> {
        let rested = |id: &ConnectionId| {
            let old = self.added.get(id).and_then(|added| added.connection.as_ref().ok());
            old.is_some_and(|old| old.paused)
        };
        changed.iter().filter(move |one| !one.paused && rested(&one.id)).map(|one| &one.id)
    }

    /// Whether an added connection is declared in just this way already.
    #[must_use]
    pub fn says(&self, connection: &ConfiguredConnection) -> bool {
        let kept = self.added.get(&connection.id);
        kept.is_some_and(|kept| {
            let is_same = |old: &Arc<ConfiguredConnection>| old.changes_to(connection).is_empty();
            kept.document.expose_secret() == connection.document() && kept.connection.as_ref().is_ok_and(is_same)
        })
    }

    /// No two connections may keep the same records of your app.
    ///
    /// # Errors
    /// With the first two that would, with these taken in.
    pub fn check_claims(&self, coming: &[ConfiguredConnection]) -> Result<(), RegistryError> {
        let known = KnownConnections::default();
        let going: BTreeSet<&ConnectionId> = coming.iter().map(|connection| &connection.id).collect();
        let staying = self.connections().map(|connection| &**connection).filter(|one| !going.contains(&one.id));
        for connection in staying.chain(coming) {
            let objects = connection.syncs.iter().map(|sync| sync.objects.app.clone()).collect();
            known.claim(&connection.id, connection.scope.as_ref(), &objects).map_err(|other| {
                let scope = connection.scope.as_ref().map_or_else(
                    || "neither has a 'scope'".to_owned(),
                    |scope| format!("both have the scope '{scope}'"),
                );
                RegistryError::Refused(format!("connections '{other}' and '{}': {scope}", connection.id))
            })?;
        }
        Ok(())
    }

    /// Takes connections in that were read by [`Registry::adding`] or [`Registry::changing`].
    pub fn put(&mut self, connections: Vec<ConfiguredConnection>) {
        for connection in connections {
            let document = connection.document().to_owned().into();
            let id = connection.id.clone();
            self.added.insert(id, AddedConnection { document, connection: Ok(Arc::new(connection)) });
        }
    }

    /// Forgets one that was added.
    pub fn take(&mut self, id: &ConnectionId) {
        self.added.remove(id);
    }

    /// What another reading of the configuration makes of all this, and what is another then.
    ///
    /// # Errors
    /// When an added connection that fits does not fit any more, or a connection would become
    /// one of another account. Then nothing is to be changed.
    pub fn reloading(&self, config: Arc<Config>, env: &Environment) -> Result<(Self, Reload), RegistryError> {
        config.go_on_with(&self.config);
        let mut later = Self { of_file: by_id(&config.connections), config, added: BTreeMap::new() };
        let mut lines = Vec::new();
        for (id, kept) in &self.added {
            let connection = later.read_kept(id, kept.document.expose_secret(), env);
            match (&kept.connection, &connection) {
                (Ok(_), Err(problem)) => lines.push(format!("connection '{id}', which was added: {problem}")),
                (Ok(_), Ok(_)) | (Err(_), Ok(_) | Err(_)) => {}
            }
            later.added.insert(id.clone(), AddedConnection { document: kept.document.clone(), connection });
        }
        let mut reload = Reload { warnings: later.config.warnings().to_vec(), ..Reload::default() };
        let before: BTreeMap<&ConnectionId, &Arc<ConfiguredConnection>> =
            self.connections().map(|connection| (&connection.id, connection)).collect();
        for connection in later.connections() {
            let id = &connection.id;
            let Some(old) = before.get(id) else {
                reload.added.push(id.clone());
                continue;
            };
            if let Err(reason) = is_same_account(old, connection) {
                lines.push(reason);
            }
            let changes = old.changes_to(connection);
            if !changes.is_empty() {
                reload.changed.push((id.clone(), changes));
            } else if old.paused == connection.paused {
                reload.unchanged += 1;
            }
            if old.paused != connection.paused {
                reload.paused.push((id.clone(), connection.paused));
            }
        }
        let staying: BTreeSet<&ConnectionId> = later.connections().map(|connection| &connection.id).collect();
        reload.removed = before.keys().filter(|id| !staying.contains(**id)).map(|id| (*id).clone()).collect();
        reload.after_restart = self.config.after_restart(&later.config);
        if lines.is_empty() {
            later.check_claims(&[])?;
            Ok((later, reload))
        } else {
            Err(RegistryError::Wrong(ConfigError { lines }))
        }
    }
}

fn by_id(connections: &[ConfiguredConnection]) -> BTreeMap<ConnectionId, Arc<ConfiguredConnection>> {
    connections.iter().map(|connection| (connection.id.clone(), Arc::new(connection.clone()))).collect()
}

/// What is linked under one connector and scope means nothing under another.
fn is_same_account(old: &ConfiguredConnection, new: &ConfiguredConnection) -> Result<(), String> {
    let id = &old.id;
    let help = "its links would be those of other records; remove it with its state (--purge) and add it anew";
    if old.connector() != new.connector() {
        let (old, new) = (old.connector(), new.connector());
        return Err(format!("connection '{id}' is of connector '{old}' and would be of '{new}': {help}"));
    }
    if old.scope != new.scope {
        let named = |scope: &Option<Scope>| scope.as_ref().map_or("none".to_owned(), |scope| format!("'{scope}'"));
        let (old, new) = (named(&old.scope), named(&new.scope));
        return Err(format!("connection '{id}' has the scope {old} and would have {new}: {help}"));
    }
    Ok(())
}
