//! What the configuration file refers to: connector files, certificates and secrets, each
//! connector file read once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::fill::Env;
use super::keys::shown;
use crate::connectors::http::HttpConnectorFile;
use crate::model::document::{Located, Problems, nearest};
use crate::model::hash::Digest;

/// A connector file that was read and is sound.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    pub file: Arc<HttpConnectorFile>,
    /// Of its text.
    pub digest: Digest,
}

/// The connector files of a configuration, by path; `None` for one that is wrong.
pub(super) type Connectors = BTreeMap<PathBuf, Option<Connector>>;

/// Everything outside the configuration's own text.
pub(super) struct Outside<'o> {
    base_dir: &'o Path,
    pub env: &'o Env<'o>,
    read_file: &'o dyn Fn(&Path) -> io::Result<String>,
    /// The problems of one that is wrong are told once.
    connectors: RefCell<Connectors>,
    /// Connectors are known by name too, and there are no others.
    only_known: bool,
    /// What was filled in since it was last asked.
    filled: RefCell<Vec<Digest>>,
    /// Problems of connector files, as lines ready to print.
    connector_problems: RefCell<Vec<String>>,
    /// What is not wrong, and not well either.
    pub warnings: Problems,
}

impl<'o> Outside<'o> {
    pub fn new(base_dir: &'o Path, env: &'o Env<'o>, read_file: &'o dyn Fn(&Path) -> io::Result<String>) -> Self {
        Self {
            base_dir,
            env,
            read_file,
            connectors: RefCell::default(),
            only_known: false,
            filled: RefCell::default(),
            connector_problems: RefCell::default(),
            warnings: Problems::new(),
        }
    }

    /// With the connector files of a configuration, and no others: for what is added to it.
    pub fn with_only(mut self, connectors: &Connectors) -> Self {
        self.connectors = RefCell::new(connectors.clone());
        self.only_known = true;
        self
    }

    /// A path as the configuration means it: relative to the configuration's folder.
    pub fn path(&self, written: &str) -> PathBuf {
        self.base_dir.join(written)
    }

    /// Reads a file.
    pub fn read(&self, written: &str) -> io::Result<String> {
        (self.read_file)(&self.path(written))
    }

    /// A value was filled in.
    pub fn note_filled(&self, value: &str) {
        self.filled.borrow_mut().push(Digest::of(value.as_bytes()));
    }

    /// All that was filled in since this was last asked.
    pub fn take_filled(&self) -> Digest {
        let all = self.filled.take();
        Digest::of(&all.iter().flat_map(|digest| digest.0).collect::<Vec<u8>>())
    }

    /// Reads a file named at `key`.
    pub fn text(&self, key: &str, written: &Located<String>, problems: &Problems) -> Option<String> {
        match self.read(&written.value) {
            Ok(text) => Some(text),
            Err(error) => {
                let message = format!("'{key}': failed to read {}: {error}", self.path(&written.value).display());
                let help = "a path is relative to the folder of this file";
                problems.add_with_help(written.span.clone(), message, help);
                None
            }
        }
    }

    /// The connector file named at `connector`.
    pub fn connector(&self, written: &Located<String>, problems: &Problems) -> Option<Connector> {
        let path = self.path(&written.value);
        if let Some(known) = self.connectors.borrow().get(&path) {
            return known.clone();
        }
        if self.only_known {
            return self.connector_named(written, problems);
        }
        let text = self.text("connector", written, problems);
        let parsed = text.map(|text| {
            let digest = Digest::of(text.as_bytes());
            HttpConnectorFile::parse(&path.display().to_string(), &text)
                .map(|file| Connector { file: Arc::new(file), digest })
        });
        let connector = match parsed {
            Some(Ok(connector)) => Some(connector),
            Some(Err(error)) => {
                self.connector_problems.borrow_mut().extend(error.lines);
                None
            }
            None => None,
        };
        self.connectors.borrow_mut().insert(path, connector.clone());
        connector
    }

    fn connector_named(&self, written: &Located<String>, problems: &Problems) -> Option<Connector> {
        let connectors = self.connectors.borrow();
        let known = || connectors.values().flatten();
        let found = known().find(|connector| connector.file.name() == written.value).cloned();
        if found.is_none() {
            let names: Vec<&str> = known().map(|connector| connector.file.name()).collect();
            let message = format!("the configuration has no connector '{}'", shown(&written.value));
            let help = match nearest(&written.value, names.iter().copied()) {
                Some(near) => format!("did you mean '{near}'?"),
                None if names.is_empty() => "name its file in 'connectors' there, and reload".to_owned(),
                None => format!("it has: {}; or name its file in 'connectors' there, and reload", names.join(", ")),
            };
            problems.add_with_help(written.span.clone(), message, help);
        }
        found
    }

    /// The connector files, their problems, and the warnings.
    pub fn finish(self) -> (Connectors, Vec<String>, Problems) {
        (self.connectors.into_inner(), self.connector_problems.into_inner(), self.warnings)
    }
}
