//! Whether both sides agree, told without the kernel: a plain comparison, field by
//! field, that knows nothing of markers, lenses or mappings.

use std::collections::BTreeMap;

use super::world::{ACCOUNT, OBJECT, World, key};
use crate::cli::exit::Failure;
use crate::model::ids::{ObjectName, RecordId};
use crate::model::record::Record;
use crate::model::value::Value;

/// What each field is called in your app and in the sandbox.
const FIELDS: [(&str, &str); 7] = [
    ("name", "full_name"),
    ("phone", "phone"),
    ("title", "job_title"),
    ("tier", "plan"),
    ("notes", "notes"),
    ("city", "city"),
    ("tags", "tags"),
];

/// Stands for an absent value and for null.
const NOTHING: &str = "nothing";

/// What the tiers are called on each side.
const TIERS: [(&str, &str); 3] = [("free", "F"), ("pro", "P"), ("enterprise", "E")];

/// The records of both sides by e-mail address, and how they differ. Empty when they
/// agree.
pub(super) fn differences(world: &World) -> Result<Vec<String>, Failure> {
    let app = by_email(app_records(world)?.into_iter().map(|(_, value)| value));
    let remote = by_email(remote_records(world)?.into_iter().map(|(_, value)| value));
    let mut differences = Vec::new();
    for (email, records) in &app {
        let others = remote.get(email).map_or(0, Vec::len);
        if records.len() != 1 || others != 1 {
            differences.push(format!("{email}: {} in the app, {others} in the sandbox", records.len()));
        }
    }
    for email in remote.keys().filter(|email| !app.contains_key(*email)) {
        differences.push(format!("{email}: only in the sandbox"));
    }
    for (email, records) in &app {
        if let ([record], Some([other])) = (records.as_slice(), remote.get(email).map(Vec::as_slice)) {
            differences.extend(unequal_fields(record, other).into_iter().map(|field| format!("{email}: {field}")));
        }
    }
    Ok(differences)
}

/// Your app's records with their ids.
pub(super) fn app_records(world: &World) -> Result<Vec<(RecordId, Value)>, Failure> {
    let object = ObjectName::from(OBJECT);
    let (mut records, mut after): (Vec<Record>, Option<RecordId>) = (Vec::new(), None);
    loop {
        let page = world.app().list(&object, after.as_ref(), 500);
        let (page, next) = page.map_err(|error| Failure::state(error.to_string()))?;
        records.extend(page);
        match next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    let decode = |record: Record| record.body.decode().map(|value| (record.id, value));
    records.into_iter().map(decode).collect::<Result<_, _>>().map_err(|error| Failure::state(error.to_string()))
}

/// The sandbox's records with their ids.
pub(super) fn remote_records(world: &World) -> Result<Vec<(RecordId, Value)>, Failure> {
    let records = world.sandbox.records(ACCOUNT, OBJECT)?;
    Ok(records.into_iter().map(|record| (RecordId::from(record.id), record.properties)).collect())
}

fn by_email(records: impl Iterator<Item = Value>) -> BTreeMap<String, Vec<Value>> {
    let mut found: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for record in records {
        found.entry(email(&record)).or_default().push(record);
    }
    found
}

/// A record's e-mail address in lower case.
pub(super) fn email(record: &Value) -> String {
    record.get(&key("email")).and_then(Value::as_str).unwrap_or_default().trim().to_lowercase()
}

fn unequal_fields(app: &Value, remote: &Value) -> Vec<String> {
    let mut unequal = Vec::new();
    for (own, other) in FIELDS {
        let (own_text, other_text) = (plain(app.get(&key(own))), plain(remote.get(&key(other))));
        let wanted = if own == "tier" { plan_of(&own_text) } else { own_text.clone() };
        if wanted != other_text {
            unequal.push(format!("{own} is {own_text} in the app, {other} is {other_text} in the sandbox"));
        }
    }
    unequal
}

/// A value as text; absent and null count as the same, blanks around a text do not
/// count: the sandbox takes both away when it stores.
fn plain(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => NOTHING.to_owned(),
        Some(Value::String(text)) => Value::string(text.trim()).to_json(),
        Some(other) => other.to_json(),
    }
}

fn plan_of(tier: &str) -> String {
    let known = TIERS.iter().find(|(own, _)| Value::string(*own).to_json() == tier);
    known.map_or_else(|| tier.to_owned(), |(_, plan)| Value::string(*plan).to_json())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_compared_by_what_they_say() {
        for (app, remote, unequal) in [
            (r#"{"name":" A ","tier":"pro"}"#, r#"{"full_name":"A","plan":"P"}"#, 0),
            (r#"{"notes":null}"#, "{}", 0),
            (r#"{"notes":""}"#, "{}", 1),
            (r#"{"tier":"free"}"#, r#"{"plan":"P"}"#, 1),
            ("{}", r#"{"plan":"P"}"#, 1),
            (r#"{"tags":["a"]}"#, r#"{"tags":["a","b"]}"#, 1),
        ] {
            let (app, remote) = (Value::from_json(app).unwrap(), Value::from_json(remote).unwrap());
            assert_eq!(unequal_fields(&app, &remote).len(), unequal, "{app:?} {remote:?}");
        }
    }
}
