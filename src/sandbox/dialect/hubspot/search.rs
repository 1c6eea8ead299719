//! Searching, as <https://developers.hubspot.com/docs/api/crm/search> describes it: over an
//! index that knows of a write some time later, at most five times a second, 200 results on a
//! page and 10,000 in one search.

use serde_json::{Value as Json, json};

use super::super::super::answer::Answer;
use super::super::super::collection::Record;
use super::super::super::settings::RateLimit;
use super::super::super::state::State;
use super::super::{fields_of, part};
use super::{At, error, json_of, limited, missing, show};

/// Searches of an account in a second.
const RATE: RateLimit = RateLimit { requests: 5, per_ms: 1_000 };

/// Results on a page where the request does not say, and at most.
const PAGE: (usize, usize) = (10, 200);

/// Results of one search, whatever there are.
const MOST: usize = 10_000;

/// Groups of filters, filters in one, and filters in all.
const FILTERS: (usize, usize, usize) = (5, 6, 18);

/// One condition.
struct Filter {
    property: String,
    operator: String,
    value: Option<String>,
    high: Option<String>,
    values: Vec<String>,
}

pub(super) fn search(state: &mut State, at: &At<'_>) -> Answer {
    let account = state.account(at.asked.account_no);
    if account.search_window.admit(RATE, at.now_ms()).is_err() {
        return limited("SECONDLY", at.now_ms());
    }
    match json_of(at).and_then(|body| found(state, at, &body)) {
        Ok(answer) | Err(answer) => answer,
    }
}

fn found(state: &mut State, at: &At<'_>, body: &Json) -> Result<Answer, Answer> {
    let wrong = |message: &str| error(400, "VALIDATION_ERROR", message, at.now_ms());
    let groups = groups(body).map_err(|message| wrong(&message))?;
    let (sort, descending) = sort(body).map_err(|message| wrong(&message))?;
    let limit = body.get("limit").map_or(Some(PAGE.0 as u64), Json::as_u64);
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| (1..=PAGE.1).contains(limit));
    let limit = limit.ok_or_else(|| wrong("limit must be from 1 to 200"))?;
    let after = match body.get("after") {
        None | Some(Json::Null) => Some(0),
        Some(Json::String(text)) => text.parse().ok(),
        Some(other) => other.as_u64().and_then(|number| usize::try_from(number).ok()),
    };
    let after = after.ok_or_else(|| wrong("after must be a number of results"))?;
    if after >= MOST || after.saturating_add(limit) > MOST {
        return Err(wrong("Paging through results is limited to 10,000 total."));
    }
    let names = body.get("properties").and_then(Json::as_array);
    let names = names.map(|names| names.iter().filter_map(Json::as_str).map(str::to_owned).collect());
    let wanted = at.wanted(names);
    let now_ms = at.now_ms();
    let collection = state.account(at.asked.account_no).indexed(at.object, now_ms).map_err(|_| missing(now_ms))?;
    let mut all: Vec<&Record> = collection.live().filter(|record| fits(record, &groups)).collect();
    all.sort_by_cached_key(|record| (key(record, &sort), record.id));
    if descending {
        all.reverse();
    }
    let page = part(&all, after, at.asked.shift, limit);
    let results: Vec<Json> = page.iter().map(|record| show(record, None, &wanted)).collect();
    let mut answer = json!({ "total": all.len(), "results": results });
    let next = after + limit;
    if next < all.len() {
        answer["paging"] = json!({ "next": { "after": next.to_string() } });
    }
    Ok(Answer::json(&answer))
}

fn groups(body: &Json) -> Result<Vec<Vec<Filter>>, String> {
    let Some(groups) = body.get("filterGroups") else { return Ok(Vec::new()) };
    let list = |value: &Json| value.as_array().cloned().ok_or("filterGroups and filters must be lists".to_owned());
    let mut all = Vec::new();
    for group in list(groups)? {
        let filters: Result<Vec<Filter>, String> =
            list(group.get("filters").unwrap_or(&Json::Null))?.iter().map(filter).collect();
        all.push(filters?);
    }
    let num: usize = all.iter().map(Vec::len).sum();
    if all.len() > FILTERS.0 || all.iter().any(|filters| filters.len() > FILTERS.1) || num > FILTERS.2 {
        return Err("There are too many filters in this search".to_owned());
    }
    Ok(all)
}

fn filter(value: &Json) -> Result<Filter, String> {
    let text = |key: &str| match value.get(key) {
        Some(Json::String(text)) => Some(text.clone()),
        Some(other @ (Json::Number(_) | Json::Bool(_))) => Some(other.to_string()),
        _ => None,
    };
    let (Some(property), Some(operator)) = (text("propertyName"), text("operator")) else {
        return Err("a filter needs propertyName and operator".to_owned());
    };
    let values = value.get("values").and_then(Json::as_array).cloned().unwrap_or_default();
    let values: Vec<String> = values.iter().filter_map(Json::as_str).map(str::to_lowercase).collect();
    let filter = Filter { property, operator, value: text("value"), high: text("highValue"), values };
    let complete = match filter.operator.as_str() {
        "EQ" | "NEQ" | "LT" | "LTE" | "GT" | "GTE" | "CONTAINS_TOKEN" => filter.value.is_some(),
        "BETWEEN" => filter.value.is_some() && filter.high.is_some(),
        "IN" | "NOT_IN" => !filter.values.is_empty(),
        "HAS_PROPERTY" | "NOT_HAS_PROPERTY" => true,
        other => return Err(format!("Invalid operator: {other}")),
    };
    if complete { Ok(filter) } else { Err(format!("operator {} needs a value", filter.operator)) }
}

/// One property to sort by; more are refused.
fn sort(body: &Json) -> Result<(String, bool), String> {
    let sorts = body.get("sorts").and_then(Json::as_array).cloned().unwrap_or_default();
    match sorts.as_slice() {
        [] => Ok(("createdate".to_owned(), false)),
        [Json::String(name)] => {
            let plain = name.trim_start_matches('-');
            Ok((plain.to_owned(), name.starts_with('-')))
        }
        [one] => {
            let name = one.get("propertyName").and_then(Json::as_str).ok_or("a sort needs propertyName")?;
            Ok((name.to_owned(), one.get("direction").and_then(Json::as_str) == Some("DESCENDING")))
        }
        _ => Err("a search has one sort only".to_owned()),
    }
}

/// What a property is compared by: times and ids as numbers, all else as a text in lower case.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Absent,
    Number(i64),
    Text(String),
}

fn key(record: &Record, property: &str) -> Key {
    match property {
        "hs_object_id" => Key::Number(i64::try_from(record.id).unwrap_or(i64::MAX)),
        "createdate" => Key::Number(record.created_ms),
        "lastmodifieddate" => Key::Number(record.updated_ms),
        name => match fields_of(&record.properties).get(name).and_then(Json::as_str) {
            Some(text) => Key::Text(text.to_lowercase()),
            None => Key::Absent,
        },
    }
}

/// A value of a filter in the form of the property: milliseconds since 1970 or ISO 8601 of a
/// time.
fn like(own: &Key, text: &str) -> Option<Key> {
    match own {
        Key::Number(_) => {
            let time = || chrono::DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_millis());
            text.parse().ok().or_else(time).map(Key::Number)
        }
        Key::Text(_) | Key::Absent => Some(Key::Text(text.to_lowercase())),
    }
}

/// Whether one of the groups holds in full; without groups everything fits.
fn fits(record: &Record, groups: &[Vec<Filter>]) -> bool {
    groups.is_empty() || groups.iter().any(|filters| filters.iter().all(|filter| holds(record, filter)))
}

fn holds(record: &Record, filter: &Filter) -> bool {
    let own = key(record, &filter.property);
    let value = filter.value.as_deref().and_then(|text| like(&own, text));
    let is = |test: fn(&Key, &Key) -> bool| own != Key::Absent && value.as_ref().is_some_and(|value| test(&own, value));
    match filter.operator.as_str() {
        "EQ" => is(|own, value| own == value),
        "NEQ" => !is(|own, value| own == value),
        "LT" => is(|own, value| own < value),
        "LTE" => is(|own, value| own <= value),
        "GT" => is(|own, value| own > value),
        "GTE" => is(|own, value| own >= value),
        "BETWEEN" => {
            let high = filter.high.as_deref().and_then(|text| like(&own, text));
            is(|own, value| own >= value) && high.is_some_and(|high| own <= high)
        }
        "IN" | "NOT_IN" => {
            let among = filter.values.iter().filter_map(|text| like(&own, text)).any(|value| value == own);
            among == (filter.operator == "IN")
        }
        "HAS_PROPERTY" => own != Key::Absent,
        "NOT_HAS_PROPERTY" => own == Key::Absent,
        "CONTAINS_TOKEN" => {
            let wanted = filter.value.as_deref().unwrap_or_default().to_lowercase();
            let wanted = wanted.trim_matches('*');
            matches!(&own, Key::Text(text) if text.split_whitespace().any(|token| token.contains(wanted)))
        }
        _ => false,
    }
}
