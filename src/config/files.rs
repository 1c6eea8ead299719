//! What the configuration file refers to: connector files and certificates, each read
//! once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::fill::Env;
use crate::connectors::http::HttpConnectorFile;
use crate::model::document::{Located, Problems};

/// Everything outside the configuration's own text.
pub(super) struct Outside<'o> {
    base_dir: &'o Path,
    pub env: &'o Env<'o>,
    read_file: &'o dyn Fn(&Path) -> io::Result<String>,
    /// `None` for one that is wrong: its problems are told once.
    connectors: RefCell<BTreeMap<PathBuf, Option<Arc<HttpConnectorFile>>>>,
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
            connector_problems: RefCell::default(),
            warnings: Problems::new(),
        }
    }

    /// A path as the configuration means it: relative to the configuration's folder.
    pub fn path(&self, written: &str) -> PathBuf {
        self.base_dir.join(written)
    }

    /// Reads a file named at `key`.
    pub fn text(&self, key: &str, written: &Located<String>, problems: &Problems) -> Option<String> {
        let path = self.path(&written.value);
        match (self.read_file)(&path) {
            Ok(text) => Some(text),
            Err(error) => {
                let message = format!("'{key}': failed to read {}: {error}", path.display());
                let help = "a path is relative to the folder of this file";
                problems.add_with_help(written.span.clone(), message, help);
                None
            }
        }
    }

    /// The connector file named at `connector`.
    pub fn connector(&self, written: &Located<String>, problems: &Problems) -> Option<Arc<HttpConnectorFile>> {
        let path = self.path(&written.value);
        if let Some(known) = self.connectors.borrow().get(&path) {
            return known.clone();
        }
        let text = self.text("connector", written, problems);
        let parsed = text.map(|text| HttpConnectorFile::parse(&path.display().to_string(), &text));
        let connector = match parsed {
            Some(Ok(file)) => Some(Arc::new(file)),
            Some(Err(error)) => {
                self.connector_problems.borrow_mut().extend(error.lines);
                None
            }
            None => None,
        };
        self.connectors.borrow_mut().insert(path, connector.clone());
        connector
    }

    /// The problems of connector files, and the warnings.
    pub fn finish(self) -> (Vec<String>, Problems) {
        (self.connector_problems.into_inner(), self.warnings)
    }
}
