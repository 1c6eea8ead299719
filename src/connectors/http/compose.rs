//! What is sent for a write: record, body, headers, address.

use url::Url;

use crate::model::budget::Charge;
use crate::model::ids::{RecordId, Version};
use crate::model::path::Path;
use crate::model::value::Value;
use crate::model::write::{Change, Create, CreateRecovery, NextStep, Outcome, Update, Write};

use super::HttpConnector;
use super::call::{PathIds, not_sent};
use super::fields::{id_part, record_path};
use super::forms::Nulls;
use super::id::IdSpec;
use super::spec::{Absent, CreateSpec, Endpoint, ObjectSpec, UpdateSpec};
use super::template::{Values, fill_query};
use super::transport::Method;

/// A write as it will be sent, alone or as part of a batch.
#[derive(Debug, Clone)]
pub(super) struct Composed {
    pub method: Method,
    pub url: Url,
    pub headers: Vec<(String, String)>,
    pub charge: Charge,
    pub body: Option<Value>,
    /// What of the record is sent, to tell whether an answer holds all of it.
    pub sent: Value,
}

/// The name of a mark by which a result of a batch tells which entry it belongs to.
pub(super) const TRACE: &str = "{trace}";

/// What the names in a body template stand for.
pub(super) struct Names<'a> {
    pub record: &'a Value,
    pub id: Option<(&'a IdSpec, &'a RecordId)>,
    pub version: Option<&'a Version>,
    pub create: Option<&'a Create>,
    pub trace: Option<&'a str>,
}

impl HttpConnector {
    /// Composes a write for its own endpoint.
    ///
    /// # Errors
    /// With the outcome, where it cannot be sent at all.
    pub(super) fn compose(&self, object: &ObjectSpec, write: &Write) -> Result<Composed, Outcome> {
        let undeclared = |what: &str| {
            let message = format!("the connector file declares no {what} for '{}'", object.name);
            not_sent(NextStep::Fail, message)
        };
        match write {
            Write::Create(create) => {
                let spec = object.create.as_ref().ok_or_else(|| undeclared("create"))?;
                let sent = create_record(object, spec, create);
                let names = Names { record: &sent, id: None, version: None, create: Some(create), trace: None };
                let body = fill(&spec.body, &names);
                let ids = PathIds { external_id: Some(&create.external_id), ..PathIds::default() };
                let mut composed = self.composed(&spec.endpoint, ids, Some(body), sent)?;
                let key = spec.idempotency_header.as_ref();
                composed.headers.extend(key.map(|name| (name.clone(), create.idempotency_key.clone())));
                Ok(composed)
            }
            Write::Update(update) => {
                let spec = object.update.as_ref().ok_or_else(|| undeclared("update"))?;
                let sent = update_record(object, spec, update)?;
                let names = Names {
                    record: &sent,
                    id: Some((&object.id, &update.id)),
                    version: update.expected.as_ref(),
                    create: None,
                    trace: None,
                };
                let body = fill(&spec.body, &names);
                let mut composed = self.composed(&spec.endpoint, path_id(object, &update.id), Some(body), sent)?;
                composed.headers.extend(if_match(spec.if_match.as_ref(), update.expected.as_ref()));
                if spec.makes_missing && update.expected.is_none() {
                    // Any version will do, but there must be one: a deleted record stays deleted.
                    composed.headers.push(("If-Match".to_owned(), "*".to_owned()));
                }
                Ok(composed)
            }
            Write::Delete(delete) => {
                let spec = object.delete.as_ref().ok_or_else(|| undeclared("delete"))?;
                let id = Some((&object.id, &delete.id));
                let version = delete.expected.as_ref();
                let names = Names { record: &Value::Null, id, version, create: None, trace: None };
                let body = spec.body.as_ref().map(|body| fill(body, &names));
                let mut composed = self.composed(&spec.endpoint, path_id(object, &delete.id), body, Value::Null)?;
                composed.headers.extend(if_match(spec.if_match.as_ref(), delete.expected.as_ref()));
                Ok(composed)
            }
        }
    }

    fn composed(
        &self,
        endpoint: &Endpoint,
        ids: PathIds<'_>,
        body: Option<Value>,
        sent: Value,
    ) -> Result<Composed, Outcome> {
        // Such an id can never be written, so the record is held back.
        let url = self.write_url(endpoint, ids).map_err(|reason| Outcome::Rejected { reason, path: None })?;
        let (headers, charge) = (endpoint.headers.clone(), endpoint.charge.clone());
        Ok(Composed { method: endpoint.method, url, headers, charge, body, sent })
    }

    fn write_url(&self, endpoint: &Endpoint, ids: PathIds<'_>) -> Result<Url, String> {
        let Some((spec, id)) = ids.spec.zip(ids.id) else {
            return self.caller.url(&endpoint.path, ids, &endpoint.query);
        };
        spec.check(id)?;
        let whole = spec.value(id);
        let values = Values { ids: std::slice::from_ref(&whole), id_spec: Some(spec), ..Values::default() };
        self.caller.url(&endpoint.path, ids, &fill_query(&endpoint.query, &values))
    }
}

fn path_id<'a>(object: &'a ObjectSpec, id: &'a RecordId) -> PathIds<'a> {
    PathIds { id: Some(id.as_str()), spec: Some(&object.id), ..PathIds::default() }
}

fn if_match(template: Option<&String>, expected: Option<&Version>) -> Option<(String, String)> {
    let text = template?.replace("{version}", expected?.as_str());
    Some(("If-Match".to_owned(), text))
}

/// The record of a create, without what the side decides itself.
pub(super) fn create_record(object: &ObjectSpec, spec: &CreateSpec, create: &Create) -> Value {
    let mut record = create.record.clone();
    // The parts of a composed id are often what a record is made by.
    strip(object, &mut record, object.id.is_composed());
    if let (Some(field), CreateRecovery::ClientId | CreateRecovery::ExternalId) =
        (&spec.external_id_field, spec.recovery)
    {
        record.set(field, Value::string(create.external_id.as_str()));
    }
    in_form(object, spec.nulls, &mut record);
    record
}

/// The record of an update: the whole one as it should be, or what changes of it.
pub(super) fn update_record(object: &ObjectSpec, spec: &UpdateSpec, update: &Update) -> Result<Value, Outcome> {
    let within = |change: &Change| object.forms.as_ref().is_some_and(|forms| forms.is_within_json(&change.path));
    let mut record = match &object.forms {
        _ if spec.whole => current(update)?,
        Some(forms) if update.changes.iter().any(within) => forms.around(&update.changes, &current(update)?),
        Some(_) | None => Value::Object(Vec::new()),
    };
    for change in &update.changes {
        match (&change.value, spec.absent) {
            // The text around it is written as a whole, and says it by leaving it out.
            (None, _) if within(change) => record.remove(&change.path),
            (Some(value), Absent::Null | Absent::Omit | Absent::Empty) => record.set(&change.path, value.clone()),
            (None, Absent::Null) => record.set(&change.path, Value::Null),
            (None, Absent::Omit) => record.remove(&change.path),
            (None, Absent::Empty) => record.set(&change.path, Value::string("")),
        }
    }
    strip(object, &mut record, spec.keep_id && spec.whole);
    if spec.keep_id && !spec.whole {
        object.id.write(&mut record, update.id.as_str());
    }
    in_form(object, spec.nulls, &mut record);
    Ok(record)
}

fn current(update: &Update) -> Result<Value, Outcome> {
    let hold_back = |message: String| not_sent(NextStep::Quarantine, message);
    let body = update
        .current
        .as_ref()
        .ok_or_else(|| hold_back("the side takes whole records only, and the current one was not given".to_owned()))?;
    body.decode().map_err(|error| hold_back(format!("the current record cannot be read: {error}")))
}

/// Gives a record the form in which the side takes it.
fn in_form(object: &ObjectSpec, nulls: Nulls, record: &mut Value) {
    if let Some(forms) = &object.forms {
        forms.send(record);
    }
    nulls.write(record);
}

/// Takes away what is never written: what the side decides itself.
fn strip(object: &ObjectSpec, record: &mut Value, keep_id: bool) {
    let never = object.version.iter().chain(&object.modified).chain(&object.read_only);
    let id = object.id.paths().filter(|_| !keep_id);
    let paths: Vec<&Path> = never.chain(id).collect();
    for path in paths {
        record.remove(path);
    }
}

/// A body template with its names filled in. A key whose name stands for nothing in this write
/// is left out, so that one template serves for several operations.
pub(super) fn fill(template: &Value, names: &Names<'_>) -> Value {
    filled(template, names).unwrap_or(Value::Null)
}

fn filled(template: &Value, names: &Names<'_>) -> Option<Value> {
    let text = |text: Option<&str>| text.map(Value::string);
    match template {
        Value::String(name) => match name.as_str() {
            "{record}" => Some(names.record.clone()),
            "{id}" => names.id.map(|(spec, id)| spec.value(id.as_str())),
            "{version}" => text(names.version.map(Version::as_str)),
            "{external_id}" => text(names.create.map(|create| create.external_id.as_str())),
            "{idempotency_key}" => text(names.create.map(|create| create.idempotency_key.as_str())),
            TRACE => text(names.trace),
            _ => match (record_path(name), id_part(name)) {
                (Some(path), _) => names.record.get(&path).cloned(),
                (None, Some(part)) => names.id.and_then(|(spec, id)| spec.part(id.as_str(), part)),
                (None, None) => Some(template.clone()),
            },
        },
        Value::Array(items) => Some(Value::Array(items.iter().map(|item| fill(item, names)).collect())),
        Value::Object(entries) => {
            let filled = entries.iter().filter_map(|(key, value)| Some((key.clone(), filled(value, names)?)));
            Some(Value::Object(filled.collect()))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => Some(template.clone()),
    }
}

/// Whether a template holds a name.
pub(super) fn holds(template: &Value, name: &str) -> bool {
    match template {
        Value::String(text) => text == name,
        Value::Array(items) => items.iter().any(|item| holds(item, name)),
        Value::Object(entries) => entries.iter().any(|(_, value)| holds(value, name)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Whether a template names a record by its id: the whole one, or all parts of it.
pub(super) fn holds_id(template: &Value, id: &IdSpec) -> bool {
    holds(template, "{id}") || id.is_composed() && id.paths().all(|path| holds(template, &format!("{{id.{path}}}")))
}
