//! `/_sandbox/…`: for tests and for looking inside; neither counted nor limited.

use actix_web::HttpRequest;
use serde_json::json;

use super::answer::Answer;
use super::hostile::Hostile;
use super::properties::write_json_text;
use super::query::Params;
use super::refusal::Refusal;
use super::settings::Settings;
use super::state::{Account, State};
use super::webhooks;

/// `/_sandbox/…`: for tests and for looking inside; neither counted nor limited.
pub(super) fn inspect(
    state: &mut State,
    settings: &Settings,
    request: &HttpRequest,
    (method, rest): (&'static str, &str),
    body: &[u8],
    now_ms: i64,
) -> Result<Answer, Refusal> {
    // Behind a real socket the peer is always known; without one it is this process.
    if request.peer_addr().is_some_and(|peer| !peer.ip().is_loopback()) {
        return Err(Refusal::NotLoopback);
    }
    let params = Params::parse(request.query_string());
    match (rest, method) {
        ("stats", "GET") => {
            params.only(&["log"])?;
            let num = params.one("log")?.map_or(Ok(0), str::parse);
            let num = num.map_err(|_| Refusal::bad_parameter("log", "must be a number of requests"))?;
            let mut body = json!(state.stats());
            body["log"] = json!(state.tally.log(&settings.accounts, num));
            Ok(Answer::json(&body))
        }
        ("reset", "POST") => {
            params.only(&["what"])?;
            match params.one("what")? {
                None | Some("all") => state.reset(now_ms)?,
                Some("stats") => state.clear_stats(),
                Some(_) => return Err(Refusal::bad_parameter("what", "must be all or stats")),
            }
            Ok(Answer::json(&json!({ "reset": true })))
        }
        ("dump", "GET") => {
            params.only(&["account"])?;
            let name = params.one("account")?.ok_or_else(|| Refusal::bad_parameter("account", "is missing"))?;
            let number = state.account_named(name);
            let number = number.ok_or_else(|| Refusal::bad_parameter("account", "is not an account"))?;
            Ok(Answer { status: 200, body: dump_body(name, state.account(number)).into(), ..Answer::default() })
        }
        ("hostile", _) => hostility(state, method, &params, body, now_ms),
        ("webhooks", _) => Ok(Answer::json(&webhooks::route::answer(state, method, &params, body)?)),
        ("stats" | "dump", _) => Err(Refusal::MethodNotAllowed { allowed: "GET" }),
        ("reset", _) => Err(Refusal::MethodNotAllowed { allowed: "POST" }),
        _ => Err(Refusal::UnknownRoute { path: request.path().to_owned() }),
    }
}

/// `/_sandbox/hostile`: tells, sets or ends what goes wrong on purpose.
fn hostility(
    state: &mut State,
    method: &str,
    params: &Params<'_>,
    body: &[u8],
    now_ms: i64,
) -> Result<Answer, Refusal> {
    match method {
        "GET" => params.only(&[])?,
        "POST" => state.set_hostile(Some(wanted_hostility(params, body)?)),
        "DELETE" => {
            params.only(&[])?;
            state.set_hostile(None);
        }
        _ => return Err(Refusal::MethodNotAllowed { allowed: "GET, POST, DELETE" }),
    }
    let (late, hidden) = (state.num_late(), state.num_hidden(now_ms));
    Ok(Answer::json(&json!({ "hostile": state.hostile(), "late": late, "hidden": hidden })))
}

/// Drawn from `seed`, or the rates of the body.
fn wanted_hostility(params: &Params<'_>, body: &[u8]) -> Result<Hostile, Refusal> {
    params.only(&["seed"])?;
    match params.one("seed")? {
        Some(seed) => {
            let seed = seed.parse().map_err(|_| Refusal::bad_parameter("seed", "must be a whole number"))?;
            Ok(Hostile::swarm(seed))
        }
        None => serde_json::from_slice(body)
            .map_err(|error| Refusal::bad_request(format!("expected rates like {{\"answer_lost\":50}}: {error}"))),
    }
}

fn dump_body(name: &str, account: &Account) -> Vec<u8> {
    let mut body = b"{\"account\":".to_vec();
    write_json_text(name, &mut body);
    body.extend_from_slice(b",\"objects\":{");
    for (i, collection) in account.collections().iter().enumerate() {
        if i > 0 {
            body.push(b',');
        }
        write_json_text(&collection.settings().name, &mut body);
        body.extend_from_slice(b":[");
        for (i, record) in collection.live().enumerate() {
            if i > 0 {
                body.push(b',');
            }
            body.extend_from_slice(&record.json);
        }
        body.push(b']');
    }
    body.extend_from_slice(b"}}");
    body
}
