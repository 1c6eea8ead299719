//! Whole requests in one (<https://learn.microsoft.com/en-us/graph/json-batching>): twenty at
//! most, answered one by one and in any order. One of them may be too many while the others
//! are carried out.

use serde_json::{Map, Value as Json, json};

use super::super::super::answer::Answer;
use super::super::super::asked::Asked;
use super::super::super::refusal::Refusal;
use super::super::super::state::State;
use super::{Graph, Speech, error, one, seconds_until};

/// Requests of one batch.
const MOST: usize = 20;

pub(super) fn batch(state: &mut State, asked: &Asked<'_>) -> Answer {
    match answers(state, asked) {
        Ok(mut responses) => {
            // In no order to rely on.
            responses.reverse();
            Answer::json(&json!({ "responses": responses }))
        }
        Err(answer) => answer,
    }
}

fn answers(state: &mut State, asked: &Asked<'_>) -> Result<Vec<Json>, Answer> {
    let bad = |message: &str| error(400, "BadRequest", message, asked.now_ms);
    let body: Json = serde_json::from_slice(asked.body).map_err(|failed| bad(&failed.to_string()))?;
    let requests = body.get("requests").and_then(Json::as_array).ok_or_else(|| bad("Invalid batch payload format."))?;
    if requests.is_empty() || requests.len() > MOST {
        return Err(bad("Number of batch request steps exceeds the maximum value of 20."));
    }
    let mut ids: Vec<&str> = requests.iter().filter_map(|one| one.get("id").and_then(Json::as_str)).collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.len() != requests.len() {
        return Err(bad("Each request of a batch needs an id of its own."));
    }
    Ok(requests.iter().map(|request| answered(state, asked, request)).collect())
}

fn answered(state: &mut State, asked: &Asked<'_>, request: &Json) -> Json {
    let text = |key: &str| request.get(key).and_then(Json::as_str).unwrap_or_default();
    let method =
        ["GET", "POST", "PATCH", "DELETE"].into_iter().find(|known| known.eq_ignore_ascii_case(text("method")));
    let header = |name: &str| {
        let headers = request.get("headers").and_then(Json::as_object)?;
        headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).and_then(|(_, value)| value.as_str())
    };
    let (path, query) = text("url").split_once('?').unwrap_or((text("url"), ""));
    let body = request.get("body").map(Json::to_string).unwrap_or_default();
    let inner = Asked {
        method: method.unwrap_or("other"),
        path,
        query,
        if_match: header("If-Match"),
        key: None,
        content_type: header("Content-Type"),
        prefer: header("Prefer"),
        body: body.as_bytes(),
        ..*asked
    };
    let limited = |retry_at_ms: i64| {
        let refusal = Refusal::RateLimited { retry_at_ms };
        let answer = Graph.refused(&refusal, asked.settings, asked.now_ms);
        Answer { retry_after: Some(seconds_until(retry_at_ms, asked.now_ms).to_string()), ..answer }
    };
    let answer = match (state.is_item_limited(asked.now_ms), asked.settings.rate_limit) {
        (Some(retry_at_ms), _) => limited(retry_at_ms),
        (None, Some(limit)) => match state.account(asked.account_no).window.admit(limit, asked.now_ms) {
            Ok(_) => one(state, &inner, path.trim_start_matches('/')).unwrap_or_else(|answer| answer),
            Err(Refusal::RateLimited { retry_at_ms }) => limited(retry_at_ms),
            Err(refusal) => Graph.refused(&refusal, asked.settings, asked.now_ms),
        },
        (None, None) => one(state, &inner, path.trim_start_matches('/')).unwrap_or_else(|answer| answer),
    };
    let mut headers = Map::new();
    if let Some(seconds) = &answer.retry_after {
        headers.insert("Retry-After".to_owned(), json!(seconds));
    }
    let mut response = json!({ "id": text("id"), "status": answer.status, "headers": headers });
    if !answer.body.is_empty() {
        response["headers"]["Content-Type"] = json!("application/json");
        response["body"] = serde_json::from_slice(&answer.body).unwrap_or_default();
    }
    response
}
