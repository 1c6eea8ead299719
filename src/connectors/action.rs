//! One call to a side, asked for by a person, a script or a host program: to look something
//! up, to mend something by hand, to try a connector file. It goes through the connector like
//! any other and says what came of it. What an action writes is not marked as ours: to a sync
//! it is an edit like anybody's.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Calls, Connector, Read};
use crate::model::ids::{MAX_RECORD_ID_BYTES, ObjectName, RecordId, Version};
use crate::model::path::Path;
use crate::model::record::{Entry, Page, Record};
use crate::model::value::Value;
use crate::model::write::{
    Capabilities, Change, ConnectorError, Create, CreateRecovery, Delete, NextStep, Outcome, Stored, Update,
    UpdateStyle, Write,
};

/// What to do.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Action {
    /// The first page of the list.
    List,
    /// One record by its id.
    Read(RecordId),
    /// Records where all these paths have these values.
    Find(Vec<(Path, Value)>),
    /// Make a record of these fields, in that side's form.
    Create(Value),
    /// Change these fields of a record; null takes one away.
    Update(RecordId, Value),
    /// Delete a record.
    Delete(RecordId),
}

impl Action {
    /// Whether it changes anything.
    #[must_use]
    pub fn writes(&self) -> bool {
        match self {
            Action::List | Action::Read(_) | Action::Find(_) => false,
            Action::Create(_) | Action::Update(..) | Action::Delete(_) => true,
        }
    }

    /// The action that a verb means: with an `id` to `read`, `update` and `delete`; with a
    /// `record` as JSON to `create` and `update`, and to `find`, where its keys are paths.
    ///
    /// # Errors
    /// What is missing, too much or wrong.
    pub fn asked(verb: Verb, id: Option<RecordId>, record: Option<&RawValue>) -> Result<Action, String> {
        if let Some(id) = &id
            && (id.as_str().is_empty() || id.as_str().len() > MAX_RECORD_ID_BYTES)
        {
            return Err(format!("'id' is a text of 1 to {MAX_RECORD_ID_BYTES} bytes"));
        }
        match (verb, id, record) {
            (Verb::List, None, None) => Ok(Action::List),
            (Verb::Read, Some(id), None) => Ok(Action::Read(id)),
            (Verb::Delete, Some(id), None) => Ok(Action::Delete(id)),
            (Verb::Find, None, record) => {
                let path = |(path, value): (String, Value)| {
                    Ok((path.parse::<Path>().map_err(|error| error.to_string())?, value))
                };
                fields(record)?.into_iter().map(path).collect::<Result<_, String>>().map(Action::Find)
            }
            (Verb::Create, None, record) => Ok(Action::Create(Value::Object(fields(record)?))),
            (Verb::Update, Some(id), record) => Ok(Action::Update(id, Value::Object(fields(record)?))),
            (Verb::Read | Verb::Delete | Verb::Update, None, _) => Err("'id' is missing: which record?".to_owned()),
            (Verb::List | Verb::Find | Verb::Create, Some(_), _) => Err("'id' is too much here".to_owned()),
            (Verb::List | Verb::Read | Verb::Delete, _, Some(_)) => Err("'record' is too much here".to_owned()),
        }
    }
}

/// The fields of a record as it is asked for.
fn fields(record: Option<&RawValue>) -> Result<Vec<(String, Value)>, String> {
    let record = record.ok_or("'record' is missing: an object of fields")?;
    match Value::from_json(record.get()).map_err(|error| format!("'record' cannot be read: {error}"))? {
        Value::Object(entries) if !entries.is_empty() => Ok(entries),
        other => Err(format!("'record' must be an object with some field, not {}", other.kind())),
    }
}

/// The word for an action in a command, a route or a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// [`Action::List`]
    List,
    /// [`Action::Read`]
    Read,
    /// [`Action::Find`]
    Find,
    /// [`Action::Create`]
    Create,
    /// [`Action::Update`]
    Update,
    /// [`Action::Delete`]
    Delete,
}

/// What came of an action.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ActionAnswer {
    /// In a word.
    pub outcome: ActionOutcome,
    /// The record it was about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<RecordId>,
    /// What was read, or stands there after a write where the side told it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<ActionRecord>,
    /// The side has more than these.
    #[serde(default)]
    pub more: bool,
    /// What the side said, or what is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The field that the side named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// What came of an action, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ActionOutcome {
    /// Something was read.
    Found,
    /// It was made or changed.
    Written,
    /// It was deleted, or was gone already.
    Deleted,
    /// There is no such record.
    Missing,
    /// It was changed by somebody else meanwhile, or a record like it is there already.
    Conflict,
    /// The side does not take it, or cannot do it.
    Refused,
    /// Certainly nothing was done; it may go better later.
    NotSent,
    /// Nobody knows whether it was carried out: look before doing it again.
    Unknown,
}

/// A record as an action tells it, in that side's form.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ActionRecord {
    /// Its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<RecordId>,
    /// Its revision, where the side tells one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// When the side says it was last modified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<DateTime<Utc>>,
    /// It is deleted.
    #[serde(default)]
    pub deleted: bool,
    /// The whole record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<Box<RawValue>>,
    /// Why it cannot be understood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What an action goes through to one object of a side.
#[async_trait(?Send)]
pub trait Through {
    /// What can be done with the object.
    ///
    /// # Errors
    /// When there is no such object.
    fn capabilities(&self) -> Result<Capabilities, ConnectorError>;

    /// Reads, within the budget.
    ///
    /// # Errors
    /// As [`Connector::read`].
    async fn read(&self, read: Read) -> Result<Page, ConnectorError>;

    /// Writes once, within the budget.
    async fn write(&self, write: Write) -> Outcome;
}

/// A connector and a budget.
pub struct Direct<'a> {
    /// The connector.
    pub connector: &'a dyn Connector,
    /// The budget.
    pub calls: &'a Calls,
    /// The object.
    pub object: &'a ObjectName,
}

#[async_trait(?Send)]
impl Through for Direct<'_> {
    fn capabilities(&self) -> Result<Capabilities, ConnectorError> {
        self.connector.capabilities(self.object)
    }

    async fn read(&self, read: Read) -> Result<Page, ConnectorError> {
        self.connector.read(self.calls, self.object, read).await
    }

    async fn write(&self, write: Write) -> Outcome {
        let lost = || Outcome::Unknown("the connector gave no outcome".to_owned());
        self.connector.write(self.calls, self.object, vec![write]).await.pop().unwrap_or_else(lost)
    }
}

/// Carries an action out. `key` names this one create: an idempotency key, or an id of ours
/// where the side takes one.
pub async fn carry_out(through: &dyn Through, action: Action, key: &str) -> ActionAnswer {
    match through.capabilities() {
        Ok(can) => match carry(through, &can, action, key).await {
            Ok(answer) => answer,
            Err(error) => failed(&error),
        },
        Err(error) => failed(&error),
    }
}

async fn carry(
    through: &dyn Through,
    can: &Capabilities,
    action: Action,
    key: &str,
) -> Result<ActionAnswer, ConnectorError> {
    Ok(match action {
        Action::List => found(through.read(Read::All { page: None }).await?),
        Action::Read(id) => found_one(through.read(Read::Ids(vec![id.clone()])).await?, id),
        Action::Find(fields) => found(through.read(Read::Find(fields)).await?),
        Action::Create(record) => {
            let create = Create { record, idempotency_key: key.to_owned(), external_id: key.to_owned() };
            let mut answer = written(None, through.write(Write::Create(create)).await);
            if answer.outcome == ActionOutcome::Unknown {
                answer.reason = answer.reason.map(|reason| format!("{reason} ({})", look_for(can, key)));
            }
            answer
        }
        Action::Update(id, record) => {
            let mut changes = Vec::new();
            leaves(&mut Vec::new(), record, &mut changes);
            let mut update = Update { id: id.clone(), expected: None, current: None, changes };
            if can.update == UpdateStyle::Whole {
                // Only whole records can be written, so the rest of it has to be known.
                match through.read(Read::Ids(vec![id.clone()])).await?.entries.pop() {
                    Some(Entry::Live(record)) => {
                        update.expected = record.version.filter(|_| can.conditional);
                        update.current = Some(record.body);
                    }
                    Some(entry @ (Entry::Deleted { .. } | Entry::Bad(_))) => {
                        return Ok(found_one(Page::last(vec![entry]), id));
                    }
                    None => return Ok(ActionAnswer { id: Some(id), ..answer(ActionOutcome::Missing) }),
                }
            }
            written(Some(id), through.write(Write::Update(update)).await)
        }
        Action::Delete(id) => {
            written(Some(id.clone()), through.write(Write::Delete(Delete { id, expected: None })).await)
        }
    })
}

/// How to find out what became of a create whose answer was lost.
fn look_for(can: &Capabilities, key: &str) -> String {
    match can.create {
        CreateRecovery::ClientId | CreateRecovery::ExternalId => format!("look for '{key}', which it carries"),
        CreateRecovery::IdempotencyKey { .. } | CreateRecovery::Find { .. } | CreateRecovery::Park => {
            "look for it by its fields before making it again".to_owned()
        }
    }
}

/// The fields of a record that hold no further ones, each as a change; null takes it away.
fn leaves(keys: &mut Vec<String>, value: Value, changes: &mut Vec<Change>) {
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            for (key, value) in entries {
                keys.push(key);
                leaves(keys, value, changes);
                keys.pop();
            }
        }
        value => {
            let value = (value != Value::Null).then_some(value);
            changes.extend(Path::of_keys(keys.clone()).map(|path| Change { path, value }));
        }
    }
}

fn answer(outcome: ActionOutcome) -> ActionAnswer {
    ActionAnswer { outcome, id: None, records: Vec::new(), more: false, reason: None, field: None }
}

/// An action that does not fit, so that nothing was done.
#[must_use]
pub fn refused(reason: String) -> ActionAnswer {
    ActionAnswer { reason: Some(reason), ..answer(ActionOutcome::Refused) }
}

/// An action whose outcome nobody knows, because whoever carried it out is gone.
#[must_use]
pub fn lost(reason: &str) -> ActionAnswer {
    ActionAnswer { reason: Some(reason.to_owned()), ..answer(ActionOutcome::Unknown) }
}

fn failed(error: &ConnectorError) -> ActionAnswer {
    let outcome = match error.next {
        NextStep::Retry | NextStep::Wait { .. } | NextStep::Reauthorise => ActionOutcome::NotSent,
        NextStep::Quarantine | NextStep::Fail | NextStep::Resync | NextStep::TreatAsDeleted => ActionOutcome::Refused,
    };
    ActionAnswer { reason: Some(error.to_string()), ..answer(outcome) }
}

fn found(page: Page) -> ActionAnswer {
    let more = page.next.is_some();
    ActionAnswer { records: page.entries.into_iter().map(told).collect(), more, ..answer(ActionOutcome::Found) }
}

fn found_one(page: Page, id: RecordId) -> ActionAnswer {
    let is_gone = page.entries.iter().all(|entry| matches!(entry, Entry::Deleted { .. }));
    let outcome = if is_gone { ActionOutcome::Missing } else { ActionOutcome::Found };
    ActionAnswer { id: Some(id), outcome, ..found(page) }
}

fn told(entry: Entry) -> ActionRecord {
    let none = ActionRecord { id: None, version: None, modified: None, deleted: false, record: None, problem: None };
    match entry {
        Entry::Live(record) => of_record(record),
        Entry::Deleted { id, version, .. } => ActionRecord { id: Some(id), version, deleted: true, ..none },
        Entry::Bad(bad) => ActionRecord { id: bad.id, problem: Some(format!("{}: {}", bad.place, bad.reason)), ..none },
    }
}

fn of_record(record: Record) -> ActionRecord {
    let Record { id, version, modified, body } = record;
    let json = RawValue::from_string(body.as_str().to_owned());
    let problem = json.as_ref().err().map(ToString::to_string);
    ActionRecord { id: Some(id), version, modified, deleted: false, record: json.ok(), problem }
}

fn written(id: Option<RecordId>, outcome: Outcome) -> ActionAnswer {
    match outcome {
        Outcome::Written(Stored { id, version, modified, body }) => {
            let whole = body.map(|body| of_record(Record { id: id.clone(), version, modified, body }));
            ActionAnswer { id: Some(id), records: whole.into_iter().collect(), ..answer(ActionOutcome::Written) }
        }
        Outcome::Deleted => ActionAnswer { id, ..answer(ActionOutcome::Deleted) },
        Outcome::Missing => ActionAnswer { id, ..answer(ActionOutcome::Missing) },
        Outcome::Changed => {
            let reason = Some("it was changed by somebody else in between".to_owned());
            ActionAnswer { id, reason, ..answer(ActionOutcome::Conflict) }
        }
        Outcome::Duplicate(existing) => {
            let reason = Some("a record like it is there already".to_owned());
            ActionAnswer { id: existing.or(id), reason, ..answer(ActionOutcome::Conflict) }
        }
        Outcome::Rejected { reason, path } => {
            ActionAnswer { id, reason: Some(reason), field: path, ..answer(ActionOutcome::Refused) }
        }
        Outcome::NotSent(error) => ActionAnswer { id, ..failed(&error) },
        Outcome::Unknown(reason) => ActionAnswer { id, ..lost(&reason) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::memory::MemoryApp;
    use crate::connectors::{ConnectorFactory, ConnectorScope};
    use crate::model::budget::Limits;

    fn asked(verb: Verb, id: Option<&str>, record: Option<&str>) -> Result<Action, String> {
        let record = record.map(|json| RawValue::from_string(json.to_owned()).unwrap());
        Action::asked(verb, id.map(RecordId::from), record.as_deref())
    }

    #[test]
    fn what_is_asked_for_is_checked() {
        let number = r#"{"n":12345678901234567890.10}"#;
        for (verb, id, record, want) in [
            (Verb::List, None, None, Action::List),
            (Verb::Read, Some("7"), None, Action::Read("7".into())),
            (Verb::Delete, Some("7"), None, Action::Delete("7".into())),
            (
                Verb::Find,
                None,
                Some(r#"{"properties.email":"a@x"}"#),
                Action::Find(vec![("properties.email".parse().unwrap(), Value::string("a@x"))]),
            ),
            (Verb::Update, Some("7"), Some(number), Action::Update("7".into(), Value::from_json(number).unwrap())),
        ] {
            assert_eq!(asked(verb, id, record), Ok(want));
        }
        let long = "7".repeat(MAX_RECORD_ID_BYTES + 1);
        for (verb, id, record, want) in [
            (Verb::Read, None, None, "'id' is missing"),
            (Verb::Read, Some(""), None, "'id' is a text of 1 to"),
            (Verb::Read, Some(long.as_str()), None, "'id' is a text of 1 to"),
            (Verb::List, Some("7"), None, "'id' is too much"),
            (Verb::Read, Some("7"), Some("{}"), "'record' is too much"),
            (Verb::Create, None, None, "'record' is missing"),
            (Verb::Create, None, Some("[1]"), "must be an object with some field, not list"),
            (Verb::Create, None, Some("{}"), "must be an object with some field"),
            (Verb::Find, None, Some(r#"{"a..b":1}"#), "is not a path"),
        ] {
            let error = asked(verb, id, record).unwrap_err();
            assert!(error.contains(want), "{verb:?}: {error}");
        }
    }

    #[actix_web::test]
    async fn a_record_is_made_changed_and_deleted_again() {
        let app = MemoryApp::new(1);
        let connector = app.factory().make(&ConnectorScope { scope: None }).unwrap();
        let calls = Calls::new(&Limits::default());
        let object = ObjectName::from("contacts");
        let through = Direct { connector: &*connector, calls: &calls, object: &object };
        let act = |action| carry_out(&through, action, "key-1");

        let record = Value::from_json(r#"{"email":"a@x.org","name":"A","address":{"city":"B","zip":"1"}}"#).unwrap();
        let made = act(Action::Create(record)).await;
        assert_eq!(made.outcome, ActionOutcome::Written, "{made:?}");
        let id = made.id.unwrap();
        let changes = Value::from_json(r#"{"name":null,"address":{"city":"C"}}"#).unwrap();
        let changed = act(Action::Update(id.clone(), changes)).await;
        assert_eq!((changed.outcome, changed.id.as_ref()), (ActionOutcome::Written, Some(&id)), "{changed:?}");
        let read = act(Action::Read(id.clone())).await;
        let stored = read.records[0].record.as_ref().unwrap();
        let stored = Value::from_json(stored.get()).unwrap();
        assert_eq!(stored.get(&"address.city".parse().unwrap()), Some(&Value::string("C")));
        assert_eq!(stored.get(&"address.zip".parse().unwrap()), Some(&Value::string("1")), "what is not named stays");
        assert!(stored.get(&Path::key("name")).is_none_or(|name| *name == Value::Null));
        assert_eq!(act(Action::List).await.records.len(), 1);
        assert_eq!(act(Action::Delete(id.clone())).await.outcome, ActionOutcome::Deleted);
        let gone = act(Action::Read(id.clone())).await;
        assert_eq!(gone.outcome, ActionOutcome::Missing, "{gone:?}");
        let changes = Value::from_json(r#"{"name":"B"}"#).unwrap();
        assert_eq!(act(Action::Update(id, changes)).await.outcome, ActionOutcome::Missing);
    }
}
