//! Danger: a list that a side takes minutes to make holds up everything else of its connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use syncline::connectors::memory::MemoryApp;
use syncline::connectors::{Calls, Connector, ConnectorFactory, ConnectorScope, Read};
use syncline::model::budget::Limits;
use syncline::model::cursor::PageToken;
use syncline::model::direction::Direction;
use syncline::model::ids::{ObjectName, RecordId};
use syncline::model::record::Page;
use syncline::model::side::{PerSide, Side};
use syncline::model::value::Value;
use syncline::model::write::{Capabilities, ConnectorError, Outcome, Write};
use syncline::reconcile::schema::Schemas;
use syncline::store::{Store, StoreOptions};
use syncline::{ConnectionSpec, Env, Kernel, SyncSpec};
use tokio::time::Instant;

use crate::harness::{mapping, story};

const TAKES: Duration = Duration::from_secs(600);

/// Makes the list of its `orders` in ten minutes.
struct Slow {
    inner: Box<dyn Connector>,
    asked: Arc<AtomicU32>,
}

#[async_trait(?Send)]
impl Connector for Slow {
    fn capabilities(&self, object: &ObjectName) -> Result<Capabilities, ConnectorError> {
        self.inner.capabilities(object)
    }

    async fn read(&self, calls: &Calls, object: &ObjectName, read: Read) -> Result<Page, ConnectorError> {
        let made = PageToken::new("made");
        let read = match read {
            Read::All { page } if object.as_str() == "orders" => {
                self.asked.fetch_add(1, Ordering::Relaxed);
                if page.is_none() {
                    let mut page = Page::last(Vec::new());
                    page.next = Some(made);
                    page.again_after_ms = Some(TAKES.as_millis().try_into().unwrap());
                    return Ok(page);
                }
                Read::All { page: page.filter(|token| *token != made) }
            }
            read => read,
        };
        self.inner.read(calls, object, read).await
    }

    async fn write(&self, calls: &Calls, object: &ObjectName, writes: Vec<Write>) -> Vec<Outcome> {
        self.inner.write(calls, object, writes).await
    }
}

/// Makes a [`Slow`] for each arbiter.
struct SlowFactory {
    app: MemoryApp,
    asked: Arc<AtomicU32>,
}

impl ConnectorFactory for SlowFactory {
    fn make(&self, scope: &ConnectorScope) -> Result<Box<dyn Connector>, ConnectorError> {
        Ok(Box::new(Slow { inner: self.app.factory().make(scope)?, asked: Arc::clone(&self.asked) }))
    }
}

fn sync(object: &str) -> Arc<SyncSpec> {
    Arc::new(SyncSpec {
        name: object.into(),
        objects: PerSide { app: object.into(), remote: object.into() },
        direction: Direction::In,
        mapping: mapping("[fields]\nname = 'name'\n", Direction::In),
        initial: None,
        tie: Side::App,
        schedule: None,
        schemas: Schemas::default(),
    })
}

#[test]
fn other_syncs_go_on_while_a_list_is_made_which_is_asked_for_in_its_time() {
    story(|| async {
        let apps = PerSide { app: MemoryApp::new(1), remote: MemoryApp::new(2) };
        let asked = Arc::new(AtomicU32::new(0));
        let make = |object| -> RecordId {
            let record = Value::Object(vec![("name".to_owned(), Value::string("one"))]);
            apps.remote.create(object, record)
        };
        make("orders");
        make("contacts");
        let spec = ConnectionSpec {
            id: "acme".into(),
            scope: None,
            connectors: PerSide {
                app: Arc::new(apps.app.factory()),
                remote: Arc::new(SlowFactory { app: apps.remote.clone(), asked: Arc::clone(&asked) }),
            },
            limits: PerSide { app: Limits::default(), remote: Limits::default() },
            shared_app_calls: None,
            syncs: vec![sync("orders"), sync("contacts")],
            webhook: None,
            paused: false,
        };
        let store = Store::in_memory(StoreOptions::inline()).unwrap();
        let env = Env::simulated(chrono::DateTime::from_timestamp(1_700_000_000, 0).unwrap(), 1);
        let kernel = Kernel::builder().store(store).env(env).connection(spec).start().await.unwrap();
        let started = Instant::now();
        let run = async |object: &str| {
            let report = kernel.sync_now(&"acme".into(), Some(object.into())).await.unwrap();
            assert_eq!((report.error, report.totals.created.app), (None, 1));
            started.elapsed()
        };
        let (orders, contacts) = tokio::join!(run("orders"), run("contacts"));
        assert!(contacts < Duration::from_secs(60), "{contacts:?}");
        assert!(orders >= TAKES, "{orders:?}");
        assert_eq!(asked.load(Ordering::Relaxed), 2, "once to begin it, once when it is there");
        kernel.shutdown().await;
    });
}
