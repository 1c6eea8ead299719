//! A kernel between a Kinto and an embedded store, both empty at first.

use std::path::Path;
use std::sync::Arc;

use syncline::connectors::ConnectorFactory;
use syncline::connectors::embedded::EmbeddedFactory;
use syncline::connectors::http::{Credentials, HttpConnectorFile, HttpFactory, HttpSettings};
use syncline::model::budget::Limits;
use syncline::model::direction::Direction;
use syncline::model::document::{self, Problems, Table};
use syncline::model::ids::{ConnectionId, Scope};
use syncline::model::side::{self, PerSide};
use syncline::model::work::Totals;
use syncline::reconcile::mapping::Mapping;
use syncline::reconcile::merge::Initial;
use syncline::reconcile::spec::MappingSpec;
use syncline::store::{Store, StoreOptions};
use syncline::{ConnectionSpec, Kernel, SyncSpec};
use tempfile::TempDir;

use crate::app::{App, SCOPE};
use crate::kinto::{self, Collection, Kinto};

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
    /// Starts both sides and a kernel that syncs an object of the same name on both, two
    /// ways, when asked.
    pub async fn start(object: &str, mapping: &str, initial: Initial) -> Self {
        let kinto = Kinto::start();
        let state = tempfile::tempdir().expect("a temporary folder");
        let store = Store::open(&state.path().join("state.redb"), StoreOptions::default()).expect("a new state file");
        let connection = ConnectionId::from("kinto");
        let spec = ConnectionSpec {
            id: connection.clone(),
            scope: Some(Scope::from(SCOPE)),
            connectors: PerSide { app: Arc::new(EmbeddedFactory::new(store.clone())), remote: connector(&kinto) },
            limits: PerSide { app: Limits::default(), remote: connector_file().limits().clone() },
            shared_app_calls: None,
            syncs: vec![Arc::new(sync(object, mapping, initial))],
            paused: false,
        };
        let builder = Kernel::builder().store(store.clone()).connection(spec).schedules(false);
        let kernel = builder.start().await.expect("the kernel starts");
        let remote = kinto.collection(object).await;
        Self { app: App::new(store, object), remote, kernel, connection, _kinto: kinto, _state: state }
    }

    /// Syncs once, to the end; what it did. Nothing may be left over or held back.
    pub async fn sync(&self) -> Totals {
        let report = self.kernel.sync_now(&self.connection, None).await.expect("the connection is there");
        assert_eq!(
            (&report.error, report.pending, report.quarantined),
            (&None, 0, 0),
            "{:#?}",
            self.kernel.status().await
        );
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

fn sync(object: &str, mapping: &str, initial: Initial) -> SyncSpec {
    SyncSpec {
        name: object.into(),
        objects: PerSide { app: object.into(), remote: object.into() },
        direction: Direction::TwoWay,
        mapping: compiled(mapping),
        initial: Some(initial),
        tie: side::Side::App,
        schedule: None,
    }
}

fn compiled(text: &str) -> Mapping {
    let problems = Problems::new();
    let parsed = document::parse(text, &problems);
    let spec = MappingSpec::parse(&Table::top(&parsed, &problems));
    let mapping = spec.and_then(|spec| Mapping::compile(&spec, &problems, Direction::TwoWay));
    mapping.unwrap_or_else(|| panic!("{:?}", problems.into_sorted()))
}

/// Makes connectors to a Kinto by its connector file.
pub fn connector(kinto: &Kinto) -> Arc<dyn ConnectorFactory> {
    let mut settings = HttpSettings::new(kinto.base_url());
    settings.credentials = Credentials::Basic { user: kinto::USER.into(), password: kinto::PASSWORD.into() };
    settings.allow_private = true;
    Arc::new(HttpFactory::new(Arc::new(connector_file()), settings))
}

/// The connector file of Kinto.
pub fn connector_file() -> HttpConnectorFile {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/connectors/kinto.toml");
    let text = std::fs::read_to_string(&path).expect("the connector file is there");
    HttpConnectorFile::parse("kinto.toml", &text).unwrap_or_else(|error| panic!("{error}"))
}
