//! `/_sandbox/webhooks`: tells, sets or ends the webhooks of one account, or of all.

use serde_json::{Value as Json, json};

use super::super::query::Params;
use super::super::refusal::Refusal;
use super::super::state::State;
use super::Webhook;

pub(in super::super) fn answer(
    state: &mut State,
    method: &str,
    params: &Params<'_>,
    body: &[u8],
) -> Result<Json, Refusal> {
    params.only(&["account"])?;
    let numbers = match params.one("account")? {
        None => 0..state.num_accounts(),
        Some(name) => {
            let number = state.account_named(name);
            let number = number.ok_or_else(|| Refusal::bad_parameter("account", "is not an account"))?;
            number..number + 1
        }
    };
    match method {
        "GET" => {}
        "POST" => {
            let wanted = wanted(body)?;
            let all: Vec<Webhook> = numbers.clone().map(|number| completed(state, number, &wanted)).collect();
            if let Some(problem) = all.iter().find_map(Webhook::problem) {
                return Err(Refusal::bad_request(problem));
            }
            for (number, webhook) in numbers.clone().zip(all) {
                state.account(number).outbox.set(Some(&webhook));
            }
        }
        "DELETE" => numbers.clone().for_each(|number| state.account(number).outbox.set(None)),
        _ => return Err(Refusal::MethodNotAllowed { allowed: "GET, POST, DELETE" }),
    }
    let mut accounts = serde_json::Map::new();
    for number in numbers {
        let name = state.account_name(number).to_owned();
        let outbox = &state.account(number).outbox;
        let told =
            json!({ "webhook": outbox.webhook(), "counts": outbox.counts(), "last_failure": outbox.last_failure() });
        accounts.insert(name, told);
    }
    Ok(json!({ "accounts": accounts }))
}

fn wanted(body: &[u8]) -> Result<Webhook, Refusal> {
    serde_json::from_slice(body).map_err(|error| {
        let told = error.to_string();
        // A text in the wrong place may be a secret: it is not repeated.
        let told = if told.contains("string \"") { "a text stands where none may".to_owned() } else { told };
        Refusal::bad_request(format!("expected a webhook like {{\"url\":\"http://…\"}}: {told}"))
    })
}

/// With the URL and the secret that the account has, where none are given.
fn completed(state: &mut State, number: usize, wanted: &Webhook) -> Webhook {
    let mut webhook = wanted.clone();
    if let Some(present) = state.account(number).outbox.webhook() {
        if webhook.url.is_empty() {
            webhook.url.clone_from(&present.url);
        }
        webhook.secret = webhook.secret.or_else(|| present.secret.clone());
    }
    webhook
}
