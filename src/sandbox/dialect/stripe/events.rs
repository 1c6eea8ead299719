//! The feed of events (<https://docs.stripe.com/api/events>): newest first, of the last 30
//! days, each with its object as it was then.

use std::collections::VecDeque;

use serde_json::{Map, Value as Json, json};

use super::super::super::answer::Answer;
use super::super::super::asked::Asked;
use super::super::super::properties::Properties;
use super::super::super::state::State;
use super::super::super::webhooks::outbox::{Change, Verb};
use super::super::{FeedEntry, fields_of};
use super::{error, listed, page, paging, show};

/// How long an event can be asked for, in milliseconds.
pub(super) const REMEMBERED_MS: i64 = 30 * 24 * 60 * 60 * 1_000;

/// Types that one request may name.
const MOST_TYPES: usize = 20;

/// The event of a write. Its id follows from the write, so that a webhook and the feed name it
/// alike.
pub(super) fn of(change: &Change<'_>) -> Option<FeedEntry> {
    let fields = |fields: &Option<Properties>| fields.as_ref().map(fields_of);
    let before = change.before.as_ref().and_then(|before| fields(&before.fields));
    let (verb, now) = match change.verb {
        Verb::Created => ("created", fields(&change.now.fields)?),
        Verb::Updated => ("updated", fields(&change.now.fields)?),
        Verb::Deleted => ("deleted", before.clone()?),
    };
    let kind = format!("customer.{verb}");
    let (at_ms, id) = (change.now.updated_ms, change.id);
    let id = format!("evt_{at_ms:013}{id:07}");
    let mut data = json!({ "object": show(change.id, change.now.created_ms, &now) });
    if change.verb == Verb::Updated {
        let before = before.unwrap_or_default();
        let changed = now.keys().chain(before.keys()).filter(|key| now.get(*key) != before.get(*key));
        let previous: Map<String, Json> =
            changed.map(|key| (key.clone(), before.get(key).cloned().unwrap_or(Json::Null))).collect();
        data["previous_attributes"] = Json::Object(previous);
    }
    let json = json!({
        "id": id, "object": "event", "api_version": "2025-09-30.clover", "created": at_ms.div_euclid(1_000), "data": data,
        "livemode": false, "pending_webhooks": 0, "request": { "id": null, "idempotency_key": null }, "type": kind,
    });
    Some(FeedEntry { at_ms, id, kind, json })
}

/// Forgets what is too old to be asked for.
fn forget(feed: &mut VecDeque<FeedEntry>, now_ms: i64) {
    while feed.front().is_some_and(|event| event.at_ms.saturating_add(REMEMBERED_MS) <= now_ms) {
        feed.pop_front();
    }
}

pub(super) fn list(state: &mut State, asked: &Asked<'_>) -> Result<Answer, Answer> {
    let params = asked.params();
    let paging = paging(&params, &["type", "types"])?;
    let types: Vec<String> = params.names().filter(|name| name.starts_with("types[")).map(str::to_owned).collect();
    let types: Vec<&str> = types.iter().flat_map(|name| params.all(name)).chain(params.all("type")).collect();
    if types.len() > MOST_TYPES {
        return Err(error(400, "invalid_request_error", None, Some("types"), "You may pass up to 20 event types."));
    }
    let feed = &mut state.account(asked.account_no).feed;
    forget(feed, asked.now_ms);
    let fits = |event: &&FeedEntry| {
        let at_s = event.at_ms.div_euclid(1_000);
        let is_type = |wanted: &&str| match wanted.strip_suffix('*') {
            Some(beginning) => event.kind.starts_with(beginning),
            None => event.kind == *wanted,
        };
        (paging.created.0..=paging.created.1).contains(&at_s) && (types.is_empty() || types.iter().any(is_type))
    };
    let all: Vec<&FeedEntry> = feed.iter().rev().filter(fits).collect();
    let at = |id: &str| all.iter().position(|event| event.id == id);
    let before = paging.before.is_some();
    let place = |id: &str| at(id).map(|at| if before { at } else { at + 1 });
    let (data, has_more) = page(&all, &paging, asked, place)?;
    Ok(listed("/v1/events", data.iter().map(|event| event.json.clone()).collect(), has_more))
}

pub(super) fn read(state: &mut State, asked: &Asked<'_>, id: &str) -> Answer {
    let feed = &mut state.account(asked.account_no).feed;
    forget(feed, asked.now_ms);
    match feed.iter().find(|event| event.id == id) {
        Some(event) => Answer::json(&event.json),
        None => {
            let message = format!("No such event: '{id}'");
            error(404, "invalid_request_error", Some("resource_missing"), Some("id"), &message)
        }
    }
}
