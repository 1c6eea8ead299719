//! Keeps a store of this program and a connected app in agreement, without HTTP and
//! without a configuration file: `cargo run --example in_process`.
//!
//! Your storage takes the place of `People`; a real connected app, such as one described
//! by a connector file, that of `MemoryApp`.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use syncline::connectors::memory::MemoryApp;
use syncline::connectors::{Calls, Connector, ConnectorScope, Effect, Read};
use syncline::model::direction::Direction;
use syncline::model::ids::{ObjectName, RecordId};
use syncline::model::record::{Body, Entry, Page, Record};
use syncline::model::side::Side;
use syncline::model::value::Value;
use syncline::model::write::{Capabilities, ConnectorError, CreateRecovery, Outcome, Write};
use syncline::{ConnectionSpec, Kernel, SyncSpec};

// ---- your side: a store of people, and what the kernel asks of it ----

#[derive(Clone, Default)]
struct People(Arc<Mutex<BTreeMap<RecordId, Value>>>);

#[async_trait(?Send)]
impl Connector for People {
    fn capabilities(&self, _: &ObjectName) -> Result<Capabilities, ConnectorError> {
        let mut can = Capabilities::default();
        // Reads are free; many ids at once; we take the id that the kernel chooses.
        (can.local, can.read_ids, can.create) = (true, 100, CreateRecovery::ClientId);
        Ok(can)
    }

    async fn read(&self, _: &Calls, _: &ObjectName, read: Read) -> Result<Page, ConnectorError> {
        let people = self.0.lock().unwrap();
        let entry = |id: &RecordId| match people.get(id) {
            Some(person) => Entry::Live(record(id, person)),
            None => Entry::not_found(id.clone()),
        };
        Ok(Page::last(match read {
            Read::Ids(ids) => ids.iter().map(entry).collect(),
            // `capabilities` promises neither a change list nor a search, so this is `All`.
            _ => people.keys().map(entry).collect(),
        }))
    }

    async fn write(&self, _: &Calls, _: &ObjectName, writes: Vec<Write>) -> Vec<Outcome> {
        let mut people = self.0.lock().unwrap();
        let mut carry_out = |write: Write| {
            let id = Effect::target(&write);
            let now = people.get(&id).map(|person| record(&id, person));
            match Effect::of(write, now.as_ref()) {
                Effect::Put(person) => {
                    let stored = record(&id, &person);
                    people.insert(id, person);
                    Outcome::written(stored)
                }
                Effect::Delete => {
                    people.remove(&id);
                    Outcome::Deleted
                }
                Effect::Nothing(outcome) => outcome,
            }
        };
        writes.into_iter().map(&mut carry_out).collect()
    }
}

fn record(id: &RecordId, person: &Value) -> Record {
    Record { id: id.clone(), version: None, modified: None, body: Body::from_value(person) }
}

// ---- the sync ----

const RULES: &str = r#"
match = ["email"]                       # pairs the people whom both sides know already
[fields]
email = { remote = "properties.email", transform = "lowercase" }
name  = "properties.name"
plan  = { remote = "properties.plan", owner = "app" }
"#;

#[actix::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (people, crm) = (People::default(), MemoryApp::new(1));
    let ada = RecordId::new("p-1");
    people.0.lock().unwrap().insert(ada.clone(), Value::from_json(r#"{"email":"ada@x.io","name":"","plan":"pro"}"#)?);
    crm.create("contacts", Value::from_json(r#"{"properties":{"email":"Ada@x.io","name":"Ada L."}}"#)?);
    crm.create("contacts", Value::from_json(r#"{"properties":{"email":"bo@x.io","name":"Bo"}}"#)?);

    let host = people.clone();
    let app = move |_: &ConnectorScope| Ok(Box::new(host.clone()) as Box<dyn Connector>);
    let sync = SyncSpec::parse("people", "people", "contacts", Direction::TwoWay, RULES)?;
    let folder = tempfile::tempdir()?;
    let kernel = Kernel::builder()
        .state(folder.path().join("state.redb"))
        .connection(ConnectionSpec::new("acme", app, crm.factory()).sync(sync))
        .start()
        .await?;

    let first = kernel.sync_now(&"acme".into(), None).await?;
    println!(
        "first: {} paired, {} created here, {} writes",
        first.totals.matched,
        first.totals.created.app,
        first.totals.writes()
    );
    assert_eq!((first.totals.matched, first.totals.created.app, first.error), (1, 1, None));

    // An edit of this side crosses; one record is named, so nothing else is read.
    people.0.lock().unwrap().get_mut(&ada).unwrap().set(&"name".parse()?, Value::string("Ada Lovelace"));
    kernel.sync_record(&"acme".into(), "people".into(), Side::App, ada).await?;
    let second = kernel.sync_now(&"acme".into(), None).await?;
    let third = kernel.sync_now(&"acme".into(), None).await?;
    kernel.shutdown().await;

    for (id, contact) in crm.all("contacts") {
        println!("crm {id}: {}", contact.to_json());
    }
    for (id, person) in people.0.lock().unwrap().iter() {
        println!("app {id}: {}", person.to_json());
    }
    let ours = people.0.lock().unwrap().len();
    let crosses = crm.all("contacts").values().any(|contact| contact.to_json().contains("Ada Lovelace"));
    assert_eq!((ours, crm.all("contacts").len(), crosses), (2, 2, true));
    assert_eq!((second.error, third.totals.writes()), (None, 0), "both agree, so nothing is written");
    Ok(())
}
