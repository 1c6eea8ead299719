//! A kernel between a Kinto and an embedded store, both empty at first.

use std::path::{Path, PathBuf};

use syncline::Kernel;
use syncline::config::Config;
use syncline::connectors::embedded::EmbeddedFactory;
use syncline::model::ids::ConnectionId;
use syncline::model::side::PerSide;
use syncline::model::work::Totals;
use syncline::store::{Store, StoreOptions};
use tempfile::TempDir;

use crate::app::App;
use crate::kinto::{Collection, Kinto, PASSWORD};

/// One sync between two sides.
pub struct Pair {
    pub app: App,
    pub remote: Collection,
    kernel: Kernel,
    connection: ConnectionId,
    _kinto: Kinto,
    _state: TempDir,
}

impl Pair {
    /// Starts both sides and a kernel that syncs an object of one name on both, as its
    /// configuration file says, when asked.
    pub async fn start(object: &str) -> Self {
        let kinto = Kinto::start();
        let remote = kinto.collection(object).await;
        let state = tempfile::tempdir().expect("a temporary folder");
        let store = Store::open(&state.path().join("state.redb"), StoreOptions::default()).expect("a new state file");
        let config = config(&format!("{object}.toml"), &kinto);
        let mut builder = Kernel::builder().store(store.clone()).schedules(false);
        for spec in config.specs(std::sync::Arc::new(EmbeddedFactory::new(store.clone()))) {
            builder = builder.connection(spec);
        }
        let kernel = builder.start().await.expect("the kernel starts");
        let connection = config.connections.first().expect("the file has one connection").id.clone();
        Self { app: App::new(store, object), remote, kernel, connection, _kinto: kinto, _state: state }
    }

    /// Syncs once, to the end; what it did. Nothing may be left over or held back.
    pub async fn sync(&self) -> Totals {
        let report = self.kernel.sync_now(&self.connection, None).await.expect("the connection is there");
        let left = (&report.error, report.pending, report.quarantined);
        assert_eq!(left, (&None, 0, 0), "{:#?}", self.kernel.status().await);
        report.totals
    }

    /// How many calls were made to each side so far, retries included.
    pub async fn calls(&self) -> PerSide<u64> {
        self.kernel.status().await.first().expect("there is one connection").calls
    }

    pub async fn stop(self) {
        self.kernel.shutdown().await;
    }
}

/// A configuration file of this folder, for a Kinto.
pub fn config(file: &str, kinto: &Kinto) -> Config {
    let url = kinto.base_url();
    let env = |name: &str| match name {
        "KINTO_URL" => Some(url.clone()),
        "KINTO_PASSWORD" => Some(PASSWORD.to_owned()),
        _ => None,
    };
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real").join(file);
    Config::load(&path, &env).unwrap_or_else(|error| panic!("{error}"))
}
