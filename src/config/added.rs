//! Connections that are added to a configuration while it is in use: each is a document with
//! the keys of a `[[connection]]`, checked against what the file says about syncs, connectors
//! and your app's side.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::check::Declared;
use super::files::{Connectors, Outside};
use super::fill::Env;
use super::http::HttpSide;
use super::{Config, ConfigError, ConfiguredConnection, Receive, declared};
use crate::model::budget::Limits;
use crate::model::document::{DocumentError, Problems, Table, parse};

/// What a configuration says that holds for connections to come.
pub(super) struct Ground {
    base_dir: PathBuf,
    app: Option<HttpSide>,
    receive: Option<Receive>,
    syncs: Vec<declared::Sync>,
    /// Of each sync.
    connector_names: Vec<Option<String>>,
    connectors: Connectors,
}

impl fmt::Debug for Ground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It holds credentials.
        f.debug_struct("Ground").field("base_dir", &self.base_dir).finish_non_exhaustive()
    }
}

impl Ground {
    pub fn new(
        base_dir: &Path,
        declared: Declared<'_>,
        connector_names: Vec<Option<String>>,
        connectors: Connectors,
    ) -> Self {
        let Declared { app, receive, syncs, .. } = declared;
        Self { base_dir: base_dir.to_owned(), app, receive, syncs, connector_names, connectors }
    }

    /// In the order of the file.
    pub fn sync_names(&self) -> impl Iterator<Item = &str> {
        self.syncs.iter().filter_map(|sync| sync.name.as_ref()).map(|name| name.value.as_str())
    }

    /// Goes on with the budgets that the connections of a connector share, of an earlier reading.
    pub fn go_on_with(&self, earlier: &Self) {
        for connector in self.connectors.values().flatten() {
            let same = |other: &&super::files::Connector| other.file.name() == connector.file.name();
            if let Some(before) = earlier.connectors.values().flatten().find(same) {
                connector.file.go_on_with(&before.file);
            }
        }
    }

    /// How much your app's side may be called.
    pub fn app_limits(&self) -> Limits {
        self.app.as_ref().map_or_else(Limits::default, |app| app.limits.clone())
    }
}

/// Connections that were read from a document, and what is not well about it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Added {
    /// The connections, in the order of the document.
    pub connections: Vec<ConfiguredConnection>,
    /// What is not wrong, and not well either: each as `name:line:column: message (help)`.
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads and checks connections that are to be added to this configuration: the keys of
    /// one `[[connection]]` at the top of the document, or any number of `[[connection]]`.
    /// `name` stands for the document in messages. Connectors are named by their file, as in
    /// the configuration, or by the name in it.
    ///
    /// Whether they fit those that run already is for the kernel to say.
    ///
    /// # Errors
    /// With all problems at once. Holds no secret.
    pub fn added(&self, name: &str, text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Added, ConfigError> {
        self.read_added(name, text, env, &|path| std::fs::read_to_string(path))
    }

    /// As [`Config::added`], with the files it names read by `read_file`.
    pub(super) fn read_added(
        &self,
        name: &str,
        text: &str,
        env: &Env<'_>,
        read_file: &dyn Fn(&Path) -> io::Result<String>,
    ) -> Result<Added, ConfigError> {
        let ground = &self.ground;
        let problems = Problems::new();
        let outside = Outside::new(&ground.base_dir, env, read_file).with_only(&ground.connectors);
        let document = parse(text, &problems);
        let top = Table::top(&document, &problems);
        let tables = if top.item("connection").is_some() {
            let tables = top.tables("connection");
            top.finish();
            tables
        } else {
            vec![top]
        };
        let connections = tables.into_iter().map(|table| declared::connection(table, &outside)).collect();
        let declared = Declared {
            text,
            app: ground.app.clone(),
            receive: ground.receive.clone(),
            has_receive: ground.receive.is_some(),
            connectors: Vec::new(),
            connections,
            syncs: ground.syncs.clone(),
        };
        let checked = declared.check_added(&ground.connector_names, &problems, &outside);
        let (_, connector_lines, warnings) = outside.finish();
        debug_assert!(connector_lines.is_empty(), "no connector file is read here");
        match checked {
            Some(connections) if problems.is_empty() => {
                Ok(Added { connections, warnings: DocumentError::new(name, text, warnings.into_sorted()).lines })
            }
            Some(_) | None => {
                let lines = DocumentError::new(name, text, problems.into_sorted()).lines;
                debug_assert!(!lines.is_empty(), "what could not be read was noted");
                Err(ConfigError { lines })
            }
        }
    }
}
