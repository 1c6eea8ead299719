//! The connections of a running kernel.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::Mutex;

use super::{Environment, Listed, Put, Registry, RegistryError, Reload};
use crate::actors::spec::ConnectionSpec;
use crate::config::{Config, ConfiguredConnection};
use crate::connectors::{Calls, ConnectorFactory};
use crate::kernel::{Kernel, KernelError};
use crate::model::ids::ConnectionId;

/// Adds, changes and removes the connections of a running kernel, and reads the configuration
/// again. Whatever is answered is durable and in effect. Cheap to clone.
#[derive(Clone)]
pub struct Connections {
    inner: Arc<Inner>,
}

struct Inner {
    kernel: Kernel,
    env: Environment,
    embedded: Arc<dyn ConnectorFactory>,
    held: RwLock<Held>,
    /// One change at a time.
    changing: Mutex<()>,
}

struct Held {
    registry: Registry,
    /// The budget of all connections for your app's API.
    app_calls: Calls,
    /// Those that could not be started, with the reason.
    failed: BTreeMap<ConnectionId, String>,
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connections").field("kernel", &self.inner.kernel).finish_non_exhaustive()
    }
}

impl Connections {
    /// Starts the connections of a registry in a kernel without connections. One that was added
    /// earlier and does not fit any more is told of in the log and by [`Connections::list`].
    ///
    /// # Errors
    /// When a connection of the file cannot be started.
    pub async fn start(
        kernel: Kernel,
        registry: Registry,
        embedded: Arc<dyn ConnectorFactory>,
        env: Environment,
    ) -> Result<Self, KernelError> {
        let app_calls = registry.config().app_calls();
        let mut failed = BTreeMap::new();
        let started = kernel.add_all(registry.specs(&embedded, &app_calls)).await;
        for (connection, started) in registry.connections().zip(started) {
            match started {
                Ok(()) => {}
                Err(error) if registry.of_file.contains_key(&connection.id) => return Err(error),
                Err(error) => drop(failed.insert(connection.id.clone(), error.to_string())),
            }
        }
        for (id, problem) in registry.broken().chain(failed.iter().map(|(id, problem)| (id, problem.as_str()))) {
            tracing::error!(connection.id = %id, "it was added and does not run: {problem}");
        }
        let held = RwLock::new(Held { registry, app_calls, failed });
        Ok(Self { inner: Arc::new(Inner { kernel, env, embedded, held, changing: Mutex::default() }) })
    }

    fn look<T>(&self, look: impl FnOnce(&Held) -> T) -> T {
        look(&self.inner.held.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, note: impl FnOnce(&mut Held)) {
        note(&mut self.inner.held.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// All of them, by name.
    #[must_use]
    pub fn list(&self) -> Vec<Listed> {
        self.look(|held| {
            let mut all = held.registry.list();
            for one in all.iter_mut().filter(|one| one.problem.is_none()) {
                one.problem = held.failed.get(&one.id).cloned();
            }
            all
        })
    }

    /// What was declared for a connection, as a document that can be added again. Secrets that
    /// stand in it are not shown.
    ///
    /// # Errors
    /// When there is no such connection.
    pub fn document(&self, id: &ConnectionId) -> Result<String, RegistryError> {
        self.look(|held| held.registry.document(id))
    }

    /// As a kernel over a copy of the state takes them, with the embedded store of that copy.
    #[must_use]
    pub fn specs(&self, embedded: &Arc<dyn ConnectorFactory>) -> Vec<ConnectionSpec> {
        self.look(|held| held.registry.specs(embedded, &held.registry.config().app_calls()))
    }

    /// Adds connections: a document with the keys of one `[[connection]]`, or with any number
    /// of `[[connection]]`. All of them or none. `name` stands for the document in messages.
    ///
    /// # Errors
    /// When the document is wrong, one of them does not fit those there are, or it cannot be
    /// stored.
    pub async fn add(&self, name: &str, document: &str) -> Result<Put, RegistryError> {
        let _one_at_a_time = self.inner.changing.lock().await;
        let added = self.look(|held| held.registry.adding(name, document, &self.inner.env))?;
        let ids = ids(&added.connections);
        let specs = added.connections.iter().map(|connection| self.spec(connection)).collect();
        let answers = self.inner.kernel.add_all(specs).await;
        let (started, refused): (Vec<_>, Vec<_>) = ids.iter().zip(answers).partition(|(_, answer)| answer.is_ok());
        let started: Vec<ConnectionId> = started.into_iter().map(|(id, _)| id.clone()).collect();
        let refused: Vec<String> =
            refused.into_iter().filter_map(|(_, answer)| Some(answer.err()?.to_string())).collect();
        let kept = match refused.is_empty() {
            true => self.keep(&added.connections),
            false => Err(RegistryError::Refused(refused.join("\n"))),
        };
        if let Err(error) = kept {
            self.let_go(&started).await;
            return Err(error);
        }
        self.note(|held| held.registry.put(added.connections));
        Ok(Put { connections: ids, unchanged: Vec::new(), warnings: added.warnings })
    }

    /// Changes connections that were added, each once its work in flight has ended. Their state
    /// is kept.
    ///
    /// # Errors
    /// When the document is wrong, a connection was not added, does not fit the others or is for
    /// another account, or it cannot be stored.
    pub async fn change(&self, name: &str, document: &str) -> Result<Put, RegistryError> {
        let _one_at_a_time = self.inner.changing.lock().await;
        let changed = self.look(|held| held.registry.changing(name, document, &self.inner.env))?;
        let (same, other): (Vec<_>, Vec<_>) =
            self.look(|held| changed.connections.into_iter().partition(|connection| held.registry.says(connection)));
        // What is stored holds at the next start, whatever comes of it now.
        self.keep(&other)?;
        let (connections, unchanged) = (ids(&other), ids(&same));
        let mut failed = BTreeMap::new();
        for connection in &other {
            if let Err(error) = self.run(self.spec(connection)).await {
                failed.insert(connection.id.clone(), error.to_string());
            }
        }
        let resumed: Vec<ConnectionId> = self.look(|held| held.registry.resumed(&other).cloned().collect());
        for id in resumed.iter().filter(|id| !failed.contains_key(*id)).cloned().collect::<Vec<_>>() {
            if let Err(error) = self.inner.kernel.resume(&id).await {
                failed.insert(id, error.to_string());
            }
        }
        let problems: Vec<String> = failed.values().cloned().collect();
        self.note(|held| {
            held.failed.retain(|id, _| !connections.contains(id));
            held.failed.append(&mut failed);
            held.registry.put(other);
        });
        match problems.is_empty() {
            true => Ok(Put { connections, unchanged, warnings: changed.warnings }),
            false => Err(RegistryError::Refused(problems.join("\n"))),
        }
    }

    /// Removes a connection that was added, once its work in flight has ended. `purge` also
    /// forgets all its state: what is linked, where it had read to, what waits.
    ///
    /// # Errors
    /// When there is none, it stands in the file, or that cannot be stored.
    pub async fn remove(&self, id: &ConnectionId, purge: bool) -> Result<(), RegistryError> {
        let _one_at_a_time = self.inner.changing.lock().await;
        self.look(|held| held.registry.removing(id))?;
        self.inner.kernel.store().keep_documents(&[(id.clone(), None)])?;
        self.let_go(std::slice::from_ref(id)).await;
        self.note(|held| {
            held.failed.remove(id);
            held.registry.take(id);
        });
        if purge {
            self.inner.kernel.store().purge_named(id).await?;
        }
        Ok(())
    }

    /// Reads the configuration again and brings the connections in line with it. What is wrong
    /// with it is told, and then nothing is changed.
    ///
    /// # Errors
    /// When the configuration is wrong, or connections that run do not fit it.
    pub async fn reload(&self) -> Result<Reload, RegistryError> {
        let _one_at_a_time = self.inner.changing.lock().await;
        let path = self.look(|held| held.registry.config().path.clone());
        let config = Arc::new(Config::load(&path, &*self.inner.env)?);
        let (registry, mut reload) = self.look(|held| held.registry.reloading(Arc::clone(&config), &self.inner.env))?;
        let failed_before = self.look(|held| held.failed.clone());
        self.let_go(&reload.removed).await;
        self.note(|held| {
            if !config.has_app_limits_of(held.registry.config()) {
                held.app_calls = config.app_calls();
            }
            held.registry = registry;
            held.failed.clear();
        });
        let mut failed = BTreeMap::new();
        let to_start = reload.changed.iter().map(|(id, _)| id).chain(&reload.added).chain(failed_before.keys());
        for id in to_start {
            let Ok(connection) = self.look(|held| held.registry.find(id).cloned()) else { continue };
            if let Err(error) = self.run(self.spec(&connection)).await {
                failed.insert(id.clone(), error.to_string());
            }
        }
        for (id, paused) in &reload.paused {
            let done = if *paused { self.inner.kernel.pause(id).await } else { self.inner.kernel.resume(id).await };
            if let Err(error) = done {
                failed.entry(id.clone()).or_insert_with(|| error.to_string());
            }
        }
        reload.failed = failed.clone().into_iter().collect();
        self.note(|held| held.failed = failed);
        Ok(reload)
    }

    fn spec(&self, connection: &ConfiguredConnection) -> ConnectionSpec {
        self.look(|held| connection.spec(&self.inner.embedded, &held.app_calls))
    }

    /// Starts a connection, in the place of one that runs.
    async fn run(&self, spec: ConnectionSpec) -> Result<(), KernelError> {
        if self.inner.kernel.has(&spec.id) {
            self.inner.kernel.replace(spec).await
        } else {
            self.inner.kernel.add(spec).await
        }
    }

    /// Lets go of connections, whatever their state.
    async fn let_go(&self, ids: &[ConnectionId]) {
        for id in ids {
            // One that did not run is gone already.
            if let Err(error) = self.inner.kernel.remove(id, false).await {
                tracing::debug!(connection.id = %id, "nothing to let go of: {error}");
            }
        }
    }

    fn keep(&self, connections: &[ConfiguredConnection]) -> Result<(), RegistryError> {
        let documents = connections.iter().map(|one| (one.id.clone(), Some(one.document().to_owned())));
        Ok(self.inner.kernel.store().keep_documents(&documents.collect::<Vec<_>>())?)
    }
}

fn ids(connections: &[ConfiguredConnection]) -> Vec<ConnectionId> {
    connections.iter().map(|connection| connection.id.clone()).collect()
}
