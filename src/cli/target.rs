//! Where a command finds what it works on: the configuration, the state file, and the
//! kernel that may be running over it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::exit::Failure;
use super::output::note;
use crate::config::Config;
use crate::connectors::ConnectorFactory;
use crate::connectors::embedded::EmbeddedFactory;
use crate::control::{ControlClient, MakeSpecs};
use crate::registry::{Environment, Registry};
use crate::store::{Store, StoreOptions};

/// Reads and checks a configuration; its warnings are told on stderr.
pub(super) fn load(file: &Path) -> Result<Config, Failure> {
    let config = Config::load(file, &|name| std::env::var(name).ok())?;
    for warning in config.warnings() {
        note(&format!("warning: {warning}"));
    }
    Ok(config)
}

/// The state file meant by an argument that is either a configuration (`*.toml`) or the
/// state file itself. The rest of the configuration is not looked at, so that no secret
/// has to be set to ask how things are.
pub(super) fn state_file(file: &Path) -> Result<PathBuf, Failure> {
    if file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml")) {
        Ok(Config::state_path(file)?)
    } else {
        Ok(file.to_owned())
    }
}

/// The kernel that runs over a state file, if one does.
pub(super) fn running(state: &Path) -> Option<ControlClient> {
    ControlClient::find(state)
}

/// Opens a state file that must be there.
pub(super) fn open_existing(state: &Path) -> Result<Store, Failure> {
    if !state.exists() {
        let place = state.display();
        return Err(Failure::state(format!("there is no state file {place}; nothing has run over it yet")));
    }
    open(state)
}

/// Opens a state file, making it where there is none.
pub(super) fn open(state: &Path) -> Result<Store, Failure> {
    Store::open(state, StoreOptions::default()).map_err(|error| {
        let (message, place) = (error.to_string(), state.display().to_string());
        Failure::state(if message.contains(&place) { message } else { format!("{place}: {message}") })
    })
}

/// The folder a file is in.
pub(super) fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Where variables are looked up.
pub(super) fn environment() -> Environment {
    Arc::new(|name| std::env::var(name).ok())
}

/// The connections of a configuration and those that were added to it, read from the state file
/// where there is one. Those that do not fit any more are told on stderr.
pub(super) async fn registry_of(file: &Path) -> Result<Registry, Failure> {
    let config = Arc::new(load(file)?);
    let store = config.state.exists().then(|| open(&config.state)).transpose()?;
    let registry = Registry::load(config, store.as_ref(), &environment());
    if let Some(store) = store {
        store.close().await;
    }
    Ok(registry?)
}

/// The same over a store that is open.
pub(super) fn registry(config: Arc<Config>, store: &Store) -> Result<Registry, Failure> {
    let registry = Registry::load(config, Some(store), &environment())?;
    for (id, problem) in registry.broken() {
        note(&format!("connection '{id}', which was added, does not run: {problem}"));
    }
    Ok(registry)
}

/// How connections are made over a store.
pub(super) fn specs_of(registry: Registry) -> MakeSpecs {
    Arc::new(move |store| {
        let embedded: Arc<dyn ConnectorFactory> = Arc::new(EmbeddedFactory::new(store.clone()));
        registry.specs(&embedded, &registry.config().app_calls())
    })
}
