//! Graph's rules, each as its documents tell it.

use serde_json::json;

use super::super::Dialect;
use super::super::testing::{Face, Got, START_MS};
use super::*;
use crate::connectors::webhook::signature::{Delivery, Scheme};
use crate::sandbox::{Hostile, Webhook, webhook_secret};

const ALL: &str = "/v1.0/me/contacts";

fn face() -> Face {
    Face::new(Dialect::Graph)
}

async fn make(face: &Face, name: &str) -> Got {
    face.json("POST", ALL, &json!({ "displayName": name })).await
}

fn path(got: &Got) -> String {
    format!("{ALL}/{}", got.json["id"].as_str().unwrap().replace('=', "%3D"))
}

fn told(got: &Got) -> (u16, String) {
    (got.status, got.json["error"]["code"].as_str().unwrap_or_default().to_owned())
}

/// The path and query of a link.
fn link(got: &Got, name: &str) -> Option<String> {
    got.json[name].as_str().map(str::to_owned)
}

fn names(got: &Got) -> Vec<String> {
    let name = |one: &Json| match &one["@removed"] {
        Json::Null => one["displayName"].as_str().unwrap().to_owned(),
        _ => format!("-{}", Graph.id_of(one["id"].as_str().unwrap()).unwrap()),
    };
    got.json["value"].as_array().unwrap().iter().map(name).collect()
}

#[actix_web::test]
async fn what_is_not_set_is_null_or_empty_and_null_takes_away() {
    let face = face();
    let made =
        face.json("POST", ALL, &json!({ "givenName": "Ada", "surname": "Byron", "businessPhones": ["+1"] })).await;
    assert_eq!(
        (made.status, &made.json["displayName"], &made.json["jobTitle"]),
        (201, &json!("Ada Byron"), &Json::Null)
    );
    assert_eq!((&made.json["homePhones"], &made.json["homeAddress"]), (&json!([]), &json!({})));
    assert_eq!(made.json["createdDateTime"], "2026-03-01T12:00:00Z");
    let set = json!({ "jobTitle": "Countess", "surname": null, "businessPhones": [] });
    let changed = face.json("PATCH", &path(&made), &set).await;
    assert_eq!(
        (changed.status, &changed.json["jobTitle"], &changed.json["surname"]),
        (200, &json!("Countess"), &Json::Null)
    );
    assert_eq!(changed.json["businessPhones"], json!([]));
    assert_ne!(changed.json["@odata.etag"], made.json["@odata.etag"]);
}

#[actix_web::test]
async fn what_is_wrong_is_told_by_its_code() {
    let face = face();
    let address = |n: u32| json!({ "address": format!("a{n}@x.io"), "name": "A" });
    let many: Vec<Json> = (0..4).map(address).collect();
    for (body, code) in [
        (json!({ "nickname": "x" }), "RequestBodyRead"),
        (json!({ "displayName": 7 }), "RequestBodyRead"),
        (json!([1]), "RequestBodyRead"),
        (json!({ "emailAddresses": many }), "ErrorInvalidRequest"),
    ] {
        assert_eq!(told(&face.json("POST", ALL, &body).await), (400, code.to_owned()), "{body}");
    }
    assert_eq!(told(&face.get(&format!("{ALL}/nobody")).await), (404, "ErrorItemNotFound".to_owned()));
    assert_eq!(told(&face.get("/v1.0/me/messages").await), (404, "ResourceNotFound".to_owned()));
    let stranger = face.send("GET", ALL, &[("Authorization", "Bearer nobody")], "").await;
    assert_eq!(told(&stranger), (401, "InvalidAuthenticationToken".to_owned()));
    assert!(stranger.json["error"]["innerError"]["request-id"].is_string());
}

#[actix_web::test]
async fn an_outdated_tag_is_refused() {
    let face = face();
    let made = make(&face, "Ada").await;
    let old = made.json["@odata.etag"].as_str().unwrap().to_owned();
    let tagged = |tag: &str| [("If-Match".to_owned(), tag.to_owned())];
    let send = async |method: &str, tag: &str, body: &str| {
        let tag = tagged(tag);
        face.send(method, &path(&made), &[(tag[0].0.as_str(), tag[0].1.as_str())], body).await
    };
    let new = send("PATCH", &old, r#"{"jobTitle":"a"}"#).await;
    assert_eq!(new.status, 200);
    assert_eq!(told(&send("PATCH", &old, r#"{"jobTitle":"b"}"#).await), (412, "ErrorIrresolvableConflict".to_owned()));
    assert_eq!(send("DELETE", &old, "").await.status, 412);
    assert_eq!(send("DELETE", new.json["@odata.etag"].as_str().unwrap(), "").await.status, 204);
    assert_eq!(send("DELETE", "*", "").await.status, 404);
}

#[actix_web::test]
async fn lists_are_filtered_and_paged() {
    let face = face();
    for name in ["Ada", "O'Brien", "Bo"] {
        make(&face, name).await;
    }
    let cyd = json!({ "displayName": "Cyd", "emailAddresses": [{ "address": "Cyd@x.io", "name": "Cyd" }] });
    face.json("POST", ALL, &cyd).await;
    let found = async |filter: &str| names(&face.get(&format!("{ALL}?$filter={filter}")).await);
    assert_eq!(found("displayName%20eq%20'O''Brien'").await, ["O'Brien"]);
    assert_eq!(found("emailAddresses/any(a:a/address%20eq%20'cyd@x.io')").await, ["Cyd"]);
    assert_eq!(
        told(&face.get(&format!("{ALL}?$filter=age%20gt%207")).await),
        (400, "ErrorInvalidUrlQueryFilter".to_owned())
    );
    let first = face.get(&format!("{ALL}?$top=3")).await;
    assert_eq!(names(&first), ["Ada", "O'Brien", "Bo"]);
    let rest = face.get(&link(&first, "@odata.nextLink").unwrap()).await;
    assert_eq!((names(&rest), link(&rest, "@odata.nextLink")), (vec!["Cyd".to_owned()], None));
}

#[actix_web::test]
async fn a_round_has_empty_pages_and_contacts_that_come_twice_and_ends_in_a_delta_link() {
    let face = face();
    for n in 0..6 {
        make(&face, &n.to_string()).await;
        face.pass_ms(1);
    }
    let page = async |path: &str| face.send("GET", path, &[("Prefer", "odata.maxpagesize=2")], "").await;
    let mut pages = vec![page(&format!("{ALL}/delta")).await];
    while let Some(next) = link(pages.last().unwrap(), "@odata.nextLink") {
        pages.push(page(&next).await);
    }
    let shown: Vec<Vec<String>> = pages.iter().map(names).collect();
    let want: [&[&str]; 4] = [&["0", "1"], &[], &["1", "2"], &["3", "4"]];
    assert_eq!(
        shown[..4],
        want.map(|page| page.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()),
        "{shown:?}"
    );
    assert_eq!(shown.concat().last().unwrap(), "5");
    // A change shows in the next round, a deletion by its id alone; one from before the first
    // round would not.
    let next = link(pages.last().unwrap(), "@odata.deltaLink").unwrap();
    assert_eq!(names(&page(&next).await), Vec::<String>::new());
    face.pass_ms(1);
    let id = |n: u64| format!("{ALL}/{}", Graph.id_text(n).replace('=', "%3D"));
    face.json("PATCH", &id(103), &json!({ "displayName": "2b" })).await;
    face.send("DELETE", &id(104), &[], "").await;
    let round = page(&next).await;
    assert_eq!(names(&round), ["2b", "-104"]);
    assert_eq!(round.json["value"][1]["@removed"]["reason"], "deleted");
    let anew = page(&format!("{ALL}/delta")).await;
    assert!(!names(&anew).contains(&"-104".to_owned()));
}

#[actix_web::test]
async fn a_link_that_is_too_old_asks_for_everything_anew() {
    let face = face();
    let first = face.get(&format!("{ALL}/delta")).await;
    let next = link(&first, "@odata.deltaLink").unwrap();
    face.pass_ms(7 * 24 * 60 * 60 * 1_000 + 1);
    assert_eq!(told(&face.get(&next).await), (410, "syncStateNotFound".to_owned()));
    assert_eq!(told(&face.get(&format!("{ALL}/delta?$deltatoken=x")).await), (400, "BadRequest".to_owned()));
}

#[actix_web::test]
async fn a_batch_answers_each_request_by_its_id() {
    let face = face();
    let made = make(&face, "Ada").await;
    let id = made.json["id"].as_str().unwrap();
    let body = json!({ "requests": [
        { "id": "1", "method": "PATCH", "url": format!("/me/contacts/{id}"), "body": { "jobTitle": "a" },
          "headers": { "Content-Type": "application/json", "If-Match": "W/\"old\"" } },
        { "id": "2", "method": "POST", "url": "/me/contacts", "body": { "displayName": "Bo" },
          "headers": { "Content-Type": "application/json" } },
        { "id": "3", "method": "GET", "url": "/me/contacts/nobody" },
    ] });
    let got = face.json("POST", "/v1.0/$batch", &body).await;
    let mut statuses: Vec<(String, u64)> = got.json["responses"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["id"].as_str().unwrap().to_owned(), one["status"].as_u64().unwrap()))
        .collect();
    assert_ne!(statuses[0].0, "1", "in no order to rely on");
    statuses.sort();
    assert_eq!(statuses, [("1".to_owned(), 412), ("2".to_owned(), 201), ("3".to_owned(), 404)]);
    let many: Vec<Json> =
        (0..21).map(|n| json!({ "id": n.to_string(), "method": "GET", "url": "/me/contacts" })).collect();
    assert_eq!(face.json("POST", "/v1.0/$batch", &json!({ "requests": many })).await.status, 400);
}

#[actix_web::test]
async fn an_item_of_a_batch_may_be_too_many_while_the_others_are_done() {
    let face = Face::with(Dialect::Graph, |builder| builder.rate_limit(3, 60_000));
    let requests: Vec<Json> = (0..4)
        .map(|n| json!({ "id": n.to_string(), "method": "POST", "url": "/me/contacts", "body": { "displayName": n.to_string() } }))
        .collect();
    let got = face.json("POST", "/v1.0/$batch", &json!({ "requests": requests })).await;
    assert_eq!(got.status, 200);
    let limited: Vec<&Json> =
        got.json["responses"].as_array().unwrap().iter().filter(|one| one["status"] == 429).collect();
    assert_eq!((limited.len(), &limited[0]["headers"]["Retry-After"]), (2, &json!("60")));
    let face = Face::with(Dialect::Graph, |builder| {
        builder.hostile(Hostile { limited: 500, limited_ms: 2_000, seed: 7, ..Hostile::default() })
    });
    let mut seen = Vec::new();
    for _ in 0..8 {
        let got = face.json("POST", "/v1.0/$batch", &json!({ "requests": requests })).await;
        seen.extend(got.json["responses"].as_array().cloned().unwrap_or_default());
    }
    let limited = seen.iter().filter(|one| one["status"] == 429).count();
    assert!(limited > 0 && limited < seen.len(), "{limited} of {}", seen.len());
}

#[actix_web::test]
async fn notifications_hold_the_secret_of_the_subscription() {
    let face = face();
    face.sandbox.set_webhook("acme", Some(&Webhook::to("https://app.example.com/hook"))).unwrap();
    let made = make(&face, "Ada").await;
    let kept = face.sandbox.take_kept();
    let body: Json = serde_json::from_slice(&kept[0].body).unwrap();
    let one = &body["value"][0];
    assert_eq!((&one["changeType"], &one["resourceData"]["id"]), (&json!("created"), &made.json["id"]));
    let scheme = Scheme::BodyToken { path: "clientState".parse().unwrap(), events: Some("value".parse().unwrap()) };
    let delivery = Delivery { method: "POST", url: "", headers: &[], body: &kept[0].body };
    assert!(scheme.check(&[webhook_secret("acme").into()], &delivery, START_MS).is_ok());
    assert!(scheme.check(&["another".into()], &delivery, START_MS).is_err());
}
