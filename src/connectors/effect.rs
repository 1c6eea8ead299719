//! Help for host programs whose storage reads and writes a record in one step.

use crate::model::ids::{RecordId, Version};
use crate::model::record::Record;
use crate::model::value::Value;
use crate::model::write::{Outcome, Update, Write};

/// What a write does to the storage of a host.
///
/// For storage that takes the ids that the kernel chooses
/// ([`CreateRecovery::ClientId`](crate::model::write::CreateRecovery::ClientId)), and that
/// looks at a record and changes it in one transaction or under one lock. Read the record
/// that [`Effect::target`] names, ask [`Effect::of`], and do as it says. Where records have
/// versions, writes are [`conditional`](crate::model::write::Capabilities::conditional)
/// thereby.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Store this record, new or in place of what is there.
    Put(Value),
    /// Delete the record.
    Delete,
    /// Leave the storage as it is; this is the answer.
    Nothing(Outcome),
}

impl Effect {
    /// The record that a write is about; for a create the id that it will have.
    #[must_use]
    pub fn target(write: &Write) -> RecordId {
        match write {
            Write::Create(create) => RecordId::from(create.external_id.as_str()),
            Write::Update(update) => update.id.clone(),
            Write::Delete(delete) => delete.id.clone(),
        }
    }

    /// What a write does where `now` is what is there; `None` for no such record.
    #[must_use]
    pub fn of(write: Write, now: Option<&Record>) -> Self {
        match (write, now) {
            (Write::Create(create), None) => Self::Put(create.record),
            (Write::Create(_), Some(now)) => Self::Nothing(Outcome::Duplicate(Some(now.id.clone()))),
            (Write::Update(_), None) => Self::Nothing(Outcome::Missing),
            (Write::Update(update), Some(now)) if is_stale(update.expected.as_ref(), now) => {
                Self::Nothing(Outcome::Changed)
            }
            (Write::Update(update), Some(now)) => match now.body.decode() {
                Ok(record) => Self::Put(changed(record, update)),
                Err(error) => Self::Nothing(Outcome::Rejected {
                    reason: format!("what is stored cannot be changed: {error}"),
                    path: None,
                }),
            },
            // It was gone already, which is what was wanted.
            (Write::Delete(_), None) => Self::Nothing(Outcome::Deleted),
            (Write::Delete(delete), Some(now)) if is_stale(delete.expected.as_ref(), now) => {
                Self::Nothing(Outcome::Changed)
            }
            (Write::Delete(_), Some(_)) => Self::Delete,
        }
    }
}

/// Storage without versions can refuse nothing.
fn is_stale(expected: Option<&Version>, now: &Record) -> bool {
    match (expected, &now.version) {
        (Some(expected), Some(version)) => expected != version,
        (None, _) | (_, None) => false,
    }
}

fn changed(mut record: Value, update: Update) -> Value {
    for change in update.changes {
        match change.value {
            Some(value) => record.set(&change.path, value),
            None => record.remove(&change.path),
        }
    }
    record
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::record::Body;
    use crate::model::write::{Change, Create, Delete};

    fn stored(version: Option<&str>, body: &str) -> Record {
        Record { id: "7".into(), version: version.map(Version::from), modified: None, body: Body::from_json(body) }
    }

    fn create() -> Write {
        let record = Value::from_json(r#"{"name":"Ada"}"#).unwrap();
        Write::Create(Create { record, idempotency_key: "k".to_owned(), external_id: "7".to_owned() })
    }

    fn update(expected: Option<&str>) -> Write {
        let change = |path: &str, value: Option<Value>| Change { path: path.parse().unwrap(), value };
        let changes = vec![
            change("name", Some(Value::string("Ada"))),
            change("at.city", Some(Value::Null)),
            change("at.zip", None),
            change("gone", None),
        ];
        Write::Update(Update { id: "7".into(), expected: expected.map(Version::from), current: None, changes })
    }

    fn delete(expected: Option<&str>) -> Write {
        Write::Delete(Delete { id: "7".into(), expected: expected.map(Version::from) })
    }

    #[test]
    fn every_write_is_about_its_record() {
        for write in [create(), update(None), delete(None)] {
            assert_eq!(Effect::target(&write), "7".into());
        }
    }

    #[test]
    fn an_update_changes_what_it_names_and_nothing_else() {
        let now = stored(None, r#"{"big":1.50,"name":"","at":{"zip":"1","no":2}}"#);
        let Effect::Put(record) = Effect::of(update(None), Some(&now)) else { panic!("it is there") };
        assert_eq!(record.to_json(), r#"{"big":1.50,"name":"Ada","at":{"no":2,"city":null}}"#);
    }

    #[test]
    fn writes_that_do_not_fit_what_is_there_change_nothing() {
        let nothing = |write: Write, now: Option<&Record>| match Effect::of(write, now) {
            Effect::Nothing(outcome) => outcome,
            effect => panic!("{effect:?}"),
        };
        let (old, new) = (stored(Some("1"), "{}"), stored(Some("2"), "{}"));
        assert_eq!(nothing(create(), Some(&new)), Outcome::Duplicate(Some("7".into())));
        assert_eq!(nothing(update(None), None), Outcome::Missing);
        assert_eq!(nothing(update(Some("1")), None), Outcome::Missing);
        assert_eq!(nothing(delete(Some("1")), None), Outcome::Deleted);
        assert_eq!(nothing(update(Some("1")), Some(&new)), Outcome::Changed);
        assert_eq!(nothing(delete(Some("1")), Some(&new)), Outcome::Changed);
        assert!(matches!(nothing(update(None), Some(&stored(None, "{"))), Outcome::Rejected { .. }));
        // With the version that it was decided on, without one, and where there are none.
        for (expected, now) in [(Some("1"), &old), (None, &new), (Some("1"), &stored(None, "{}"))] {
            assert!(matches!(Effect::of(update(expected), Some(now)), Effect::Put(_)));
            assert_eq!(Effect::of(delete(expected), Some(now)), Effect::Delete);
        }
        assert!(matches!(Effect::of(create(), None), Effect::Put(_)));
    }
}
