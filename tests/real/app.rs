//! The embedded store's records as a program in the same process sees them.

use std::cell::Cell;

use async_trait::async_trait;
use serde_json::Value;
use syncline::connectors::embedded::{Embedded, RecordWrite};
use syncline::model::ids::{ObjectName, RecordId, Scope};
use syncline::model::record::{Body, Record};
use syncline::model::write::Outcome;
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

    fn write(&self, edit: Edit) -> RecordWrite {
        match edit {
            Edit::Create(object) => {
                self.made.set(self.made.get() + 1);
                let id = RecordId::from(format!("app {}/ü", self.made.get()));
                RecordWrite::Create { id, record: body(object) }
            }
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
        let writes = edits.into_iter().map(|edit| self.write(edit)).collect();
        let outcomes = self.records.write(&self.object, writes).await.expect("the store can be written");
        for outcome in outcomes {
            assert!(matches!(outcome, Outcome::Written(_) | Outcome::Deleted), "the store refused: {outcome:?}");
        }
    }

    async fn position(&self) -> String {
        self.changes(0).cursor.to_string()
    }

    async fn written_since(&self, position: &str) -> usize {
        self.changes(position.parse().expect("a position of this side")).entries.len()
    }
}

impl App {
    fn changes(&self, since: u64) -> syncline::connectors::embedded::Changes {
        let changes = self.records.changes(&self.object, since, usize::MAX).expect("the store can be read");
        changes.expect("no position lies ahead")
    }
}
