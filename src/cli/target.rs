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

/// How the connections of a configuration are made over a store.
pub(super) fn specs_of(config: Arc<Config>) -> MakeSpecs {
    Arc::new(move |store| {
        let embedded: Arc<dyn ConnectorFactory> = Arc::new(EmbeddedFactory::new(store.clone()));
        config.specs(embedded)
    })
}
