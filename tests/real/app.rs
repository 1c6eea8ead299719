//! The embedded store's records as a program in the same process sees them.

use std::cell::Cell;

use async_trait::async_trait;
use serde_json::Value;
use syncline::connectors::embedded::{Embedded, RecordWrite};
use syncline::model::ids::{ObjectName, RecordId, Scope};
use syncline::model::path::Path;
use syncline::model::record::{Body, Record};
use syncline::model::value;
use syncline::model::write::{Change, Outcome};
use syncline::store::Store;

use crate::records::{Edit, Object, Records, Side};

/// The customer whose records are synced, as the configuration files say.
const SCOPE: &str = "team-7";

/// One object of the embedded store.
pub struct App {
    records: Embedded,
    object: ObjectName,
    made: Cell<u32>,
}

impl App {
    pub fn new(store: Store, object: &str) -> Self {
        Self { records: Embedded::new(store, Scope::from(SCOPE)), object: object.into(), made: Cell::new(0) }
    }

    /// Makes a record; its id.
    pub async fn create(&self, object: Object) -> RecordId {
        let id = self.new_id();
        self.done(vec![RecordWrite::Create { id: id.clone(), record: body(object) }]).await;
        id
    }

    /// Changes some fields of a record, whatever else it holds by now.
    pub async fn update(&self, id: String, fields: Object) -> RecordId {
        let id = RecordId::from(id);
        let value = |value: Value| value::Value::from_json(&value.to_string()).expect("it is JSON");
        let change = |(key, to): (String, Value)| Change { path: Path::key(key), value: Some(value(to)) };
        let changes = fields.into_iter().map(change).collect();
        self.done(vec![RecordWrite::Patch { id: id.clone(), expected: None, changes }]).await;
        id
    }

    /// Deletes a record.
    pub async fn delete(&self, id: String) -> RecordId {
        let id = RecordId::from(id);
        self.done(vec![RecordWrite::Delete { id: id.clone(), expected: None }]).await;
        id
    }

    fn new_id(&self) -> RecordId {
        self.made.set(self.made.get() + 1);
        RecordId::from(format!("app {}/ü", self.made.get()))
    }

    fn write(&self, edit: Edit) -> RecordWrite {
        match edit {
            Edit::Create(object) => RecordWrite::Create { id: self.new_id(), record: body(object) },
            Edit::Replace(id, object) => {
                RecordWrite::Put { id: RecordId::from(id), expected: None, record: body(object) }
            }
            Edit::Delete(id) => RecordWrite::Delete { id: RecordId::from(id), expected: None },
        }
    }
}

fn body(object: Object) -> Body {
    Body::from_json(Value::Object(object).to_string())
}

fn decoded(record: &Record) -> Object {
    serde_json::from_str(record.body.as_str()).expect("records are objects")
}

#[async_trait(?Send)]
impl Side for App {
    async fn all(&self) -> Records {
        let (records, more) = self.records.list(&self.object, None, usize::MAX).expect("the store can be read");
        assert!(more.is_none(), "all were asked for");
        records.iter().map(|record| (record.id.to_string(), decoded(record))).collect()
    }

    async fn make(&self, edits: Vec<Edit>) {
        self.done(edits.into_iter().map(|edit| self.write(edit)).collect()).await;
    }

    async fn position(&self) -> String {
        self.changes(0).cursor.to_string()
    }

    async fn written_since(&self, position: &str) -> usize {
        self.changes(position.parse().expect("a position of this side")).entries.len()
    }
}

impl App {
    async fn done(&self, writes: Vec<RecordWrite>) {
        let outcomes = self.records.write(&self.object, writes).await.expect("the store can be written");
        for outcome in outcomes {
            assert!(matches!(outcome, Outcome::Written(_) | Outcome::Deleted), "the store refused: {outcome:?}");
        }
    }

    fn changes(&self, since: u64) -> syncline::connectors::embedded::Changes {
        let changes = self.records.changes(&self.object, since, usize::MAX).expect("the store can be read");
        changes.expect("no position lies ahead")
    }
}
