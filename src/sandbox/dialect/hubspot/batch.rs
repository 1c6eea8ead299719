//! Batches of a hundred, as <https://developers.hubspot.com/docs/api/crm/understanding-the-crm>
//! describes them. One input that is refused refuses all of them, unless each input has an
//! `objectWriteTraceId`: then the answer is a 207 with the failures in a list of their own. An
//! address that is there already refuses the whole batch in any case
//! (<https://github.com/HubSpot/hubspot-api-python/issues/51>).

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json, json};

use super::super::super::answer::Answer;
use super::super::super::collection::iso;
use super::super::super::state::State;
use super::super::{counted, refused};
use super::{At, Hubspot, Speech, changed, checked, conflict, error, holder, json_of, made, show};

/// Inputs of one batch.
const MOST: usize = 100;

fn inputs(at: &At<'_>) -> Result<(Json, Vec<Json>), Answer> {
    let body = json_of(at)?;
    let wrong = |message: &str| error(400, "VALIDATION_ERROR", message, at.now_ms());
    let inputs = body.get("inputs").and_then(Json::as_array).cloned();
    let inputs = inputs.ok_or_else(|| wrong("Invalid input JSON: 'inputs' must be a list"))?;
    if inputs.len() > MOST {
        return Err(wrong("The maximum number of inputs supported in a batch request is 100"));
    }
    Ok((body, inputs))
}

fn id_of(input: &Json) -> &str {
    input.get("id").and_then(Json::as_str).unwrap_or_default()
}

fn trace_of(input: &Json) -> Option<&str> {
    input.get("objectWriteTraceId").and_then(Json::as_str)
}

/// The answer to a batch: 207 where anything failed.
fn answer(at: &At<'_>, status: u16, results: Vec<Json>, errors: Vec<Json>) -> Answer {
    let (now, failed) = (iso(at.now_ms()), errors.len());
    let mut body = json!({ "status": "COMPLETE", "results": results, "startedAt": now, "completedAt": now });
    if failed == 0 {
        return Answer::json_with(status, &body);
    }
    body["numErrors"] = json!(failed);
    body["errors"] = json!(errors);
    Answer::json_with(207, &body)
}

/// A failure of one input, with what names that input.
fn failure(answer: &Answer, context: Json) -> Json {
    let told: Json = serde_json::from_slice(&answer.body).unwrap_or_default();
    json!({ "status": "error", "category": told["category"], "message": told["message"], "context": context })
}

/// Records by their ids; those that are missing are told apart.
pub(super) fn read(state: &mut State, at: &At<'_>) -> Answer {
    let (body, inputs) = match inputs(at) {
        Ok(inputs) => inputs,
        Err(answer) => return answer,
    };
    let names = body.get("properties").and_then(Json::as_array);
    let names = names.map(|names| names.iter().filter_map(Json::as_str).map(str::to_owned).collect());
    let wanted = at.wanted(names);
    let Ok(collection) = state.account(at.asked.account_no).collection(at.object) else {
        return super::missing(at.now_ms());
    };
    let collection = at.asked.seen(collection);
    let (mut results, mut absent) = (Vec::new(), Vec::new());
    for id in inputs.iter().map(id_of) {
        match collection.find(Hubspot.id_of(id), id) {
            Ok(record) => results.push(show(record, None, &wanted)),
            Err(_) => absent.push(id),
        }
    }
    let message = "Could not get some objects, they may be deleted or not exist. Check that ids are valid.";
    let errors = match absent.is_empty() {
        true => Vec::new(),
        false => vec![json!({
            "status": "error", "category": "OBJECT_NOT_FOUND", "message": message, "context": { "ids": absent },
        })],
    };
    answer(at, 200, results, errors)
}

/// A write of one input of a batch.
type Write<'a> = &'a dyn Fn(&mut State, &Json, &Map<String, Json>) -> Result<Answer, Answer>;

pub(super) fn create(state: &mut State, at: &At<'_>) -> Answer {
    let inputs = match inputs(at) {
        Ok((_, inputs)) => inputs,
        Err(answer) => return refused(state, at.asked.account_no, answer),
    };
    let holders = state.account(at.asked.account_no).collection(at.object).ok().map(|collection| {
        let mut seen = BTreeSet::new();
        inputs.iter().filter_map(|input| checked(at, input).ok()).find_map(|stored| {
            let email = stored.get("email").and_then(Json::as_str).map(str::to_lowercase);
            let twice = email.is_some_and(|email| !seen.insert(email));
            // Of two new ones with one address none has an id to tell yet.
            holder(collection, &stored, None).or(twice.then_some(0))
        })
    });
    if let Some(Some(existing)) = holders {
        return refused(state, at.asked.account_no, conflict(existing, at.now_ms()));
    }
    each(state, at, 201, &inputs, &|state, _, stored| made(state, at, stored))
}

pub(super) fn update(state: &mut State, at: &At<'_>) -> Answer {
    let inputs = match inputs(at) {
        Ok((_, inputs)) => inputs,
        Err(answer) => return refused(state, at.asked.account_no, answer),
    };
    each(state, at, 200, &inputs, &|state, input, stored| changed(state, at, id_of(input), stored))
}

/// Writes the inputs one by one, or none where one is wrong and they have no marks.
fn each(state: &mut State, at: &At<'_>, status: u16, inputs: &[Json], write: Write<'_>) -> Answer {
    let marked = inputs.iter().all(|input| trace_of(input).is_some());
    if let Some(answer) = inputs.iter().find_map(|input| checked(at, input).err()).filter(|_| !marked) {
        return refused(state, at.asked.account_no, answer);
    }
    let (mut results, mut errors) = (Vec::new(), Vec::new());
    for input in inputs {
        let written = match checked(at, input) {
            Ok(stored) => write(state, input, &stored),
            Err(answer) => Err(refused(state, at.asked.account_no, answer)),
        };
        match written {
            Ok(answer) => {
                let mut shown: Json = serde_json::from_slice(&answer.body).unwrap_or_default();
                if let Some(trace) = trace_of(input) {
                    shown["objectWriteTraceId"] = json!(trace);
                }
                results.push(shown);
            }
            Err(answer) => {
                let mut context = Map::new();
                if let Some(trace) = trace_of(input) {
                    context.insert("objectWriteTraceId".to_owned(), json!([trace]));
                }
                if !id_of(input).is_empty() {
                    context.insert("ids".to_owned(), json!([id_of(input)]));
                }
                errors.push(failure(&answer, Json::Object(context)));
            }
        }
    }
    answer(at, status, results, errors)
}

/// Archives all of them; those that are gone are no failure.
pub(super) fn archive(state: &mut State, at: &At<'_>) -> Answer {
    let inputs = match inputs(at) {
        Ok((_, inputs)) => inputs,
        Err(answer) => return refused(state, at.asked.account_no, answer),
    };
    for id in inputs.iter().map(id_of) {
        if state.account(at.asked.account_no).get(at.object, id).is_ok() {
            let delete =
                counted(state, at.asked.account_no, |account| account.delete(at.object, id, None, at.now_ms()));
            if let Err(refusal) = delete {
                return Hubspot.refused(&refusal, at.asked.settings, at.now_ms());
            }
        }
    }
    Answer { status: 204, ..Answer::default() }
}
