//! HubSpot's rules, each as its documents tell it.

use serde_json::json;

use super::super::Dialect;
use super::super::testing::{Face, Got, START_MS};
use super::*;
use crate::connectors::webhook::signature::{Delivery, Scheme};
use crate::sandbox::{Webhook, webhook_secret};

const CONTACTS: &str = "/crm/v3/objects/contacts";

fn face() -> Face {
    Face::new(Dialect::Hubspot)
}

async fn make(face: &Face, email: &str, first: &str) -> Got {
    let made = json!({ "properties": { "email": email, "firstname": first } });
    face.json("POST", CONTACTS, &made).await
}

fn codes(got: &Got) -> (u16, String) {
    (got.status, got.json["category"].as_str().unwrap_or_default().to_owned())
}

async fn search(face: &Face, body: &Json) -> Got {
    face.json("POST", &format!("{CONTACTS}/search"), body).await
}

#[actix_web::test]
async fn properties_are_texts_and_addresses_are_lowercase_and_unique() {
    let face = face();
    let made = face.json("POST", CONTACTS, &json!({ "properties": { "email": " Ada@X.io ", "zip": 1234 } })).await;
    assert_eq!((made.status, &made.json["id"]), (201, &json!("101")));
    assert_eq!(
        (&made.json["properties"]["email"], &made.json["properties"]["zip"]),
        (&json!("ada@x.io"), &json!("1234"))
    );
    let again = make(&face, "ADA@x.io", "Ada").await;
    assert_eq!(codes(&again), (409, "CONFLICT".to_owned()));
    assert_eq!(again.json["message"], "Contact already exists. Existing ID: 101");
    let other = make(&face, "bo@x.io", "Bo").await;
    let path = format!("{CONTACTS}/{}", other.json["id"].as_str().unwrap());
    let taken = face.json("PATCH", &path, &json!({ "properties": { "email": "ada@x.io" } })).await;
    assert_eq!(codes(&taken), (409, "CONFLICT".to_owned()));
    // An empty text takes the value away, and what was not asked for is not shown.
    let cleared = face.json("PATCH", &path, &json!({ "properties": { "firstname": "" } })).await;
    assert_eq!((cleared.status, &cleared.json["properties"]["firstname"]), (200, &Json::Null));
    let shown = face.get(&format!("{path}?properties=firstname,phone")).await;
    assert_eq!(shown.json["properties"].as_object().unwrap().len(), 5, "{}", shown.json);
}

#[actix_web::test]
async fn what_is_wrong_is_told_in_the_words_of_the_api() {
    let face = face();
    for (properties, code) in [
        (json!({ "nickname": "x" }), "PROPERTY_DOESNT_EXIST"),
        (json!({ "hs_object_id": "7" }), "READ_ONLY_VALUE"),
        (json!({ "email": "nobody" }), "INVALID_EMAIL"),
        (json!({ "city": ["a"] }), "INVALID_STRING"),
    ] {
        let got = face.json("POST", CONTACTS, &json!({ "properties": properties })).await;
        assert_eq!(codes(&got), (400, "VALIDATION_ERROR".to_owned()));
        assert!(got.json["message"].as_str().unwrap().contains(code), "{}", got.json);
        assert_eq!(got.json["status"], "error");
        assert!(got.json["correlationId"].as_str().is_some_and(|id| id.len() == 36));
    }
    assert_eq!(codes(&face.get(&format!("{CONTACTS}/999")).await), (404, "OBJECT_NOT_FOUND".to_owned()));
    let stranger = face.send("GET", CONTACTS, &[("Authorization", "Bearer nobody")], "").await;
    assert_eq!(codes(&stranger), (401, "INVALID_AUTHENTICATION".to_owned()));
    assert_eq!(codes(&face.get(&format!("{CONTACTS}?limit=101")).await), (400, "VALIDATION_ERROR".to_owned()));
}

#[actix_web::test]
async fn a_list_goes_on_behind_an_id_and_archived_ones_have_one_of_their_own() {
    let face = face();
    for n in 0..5 {
        make(&face, &format!("p{n}@x.io"), "P").await;
    }
    assert_eq!(face.send("DELETE", &format!("{CONTACTS}/102"), &[], "").await.status, 204);
    assert_eq!(face.send("DELETE", &format!("{CONTACTS}/102"), &[], "").await.status, 204, "gone already");
    assert_eq!(face.send("DELETE", &format!("{CONTACTS}/999"), &[], "").await.status, 404);
    let first = face.get(&format!("{CONTACTS}?limit=2")).await;
    let ids =
        |got: &Got| got.json["results"].as_array().unwrap().iter().map(|one| one["id"].to_string()).collect::<Vec<_>>();
    assert_eq!(
        (ids(&first), &first.json["paging"]["next"]["after"]),
        (vec!["\"101\"".into(), "\"103\"".into()], &json!("103"))
    );
    let rest = face.get(&format!("{CONTACTS}?limit=2&after=103")).await;
    assert_eq!((ids(&rest), &rest.json["paging"]), (vec!["\"104\"".into(), "\"105\"".into()], &Json::Null));
    let gone = face.get(&format!("{CONTACTS}?archived=true")).await;
    assert_eq!((ids(&gone), &gone.json["results"][0]["archived"]), (vec!["\"102\"".into()], &json!(true)));
    assert_eq!(face.get(&format!("{CONTACTS}/102")).await.status, 404);
    assert_eq!(face.get(&format!("{CONTACTS}/102?archived=true")).await.status, 200);
    assert_eq!(face.get(&format!("{CONTACTS}/p3@x.io?idProperty=email")).await.json["id"], "104");
}

#[actix_web::test]
async fn a_search_finds_a_write_only_when_its_index_has_caught_up() {
    let face = Face::with(Dialect::Hubspot, |builder| builder.index_lag_ms(3_000));
    make(&face, "ada@x.io", "Ada").await;
    let by_email = json!({ "filterGroups": [{ "filters": [{ "propertyName": "email", "operator": "EQ", "value": "ADA@x.io" }] }] });
    assert_eq!(search(&face, &by_email).await.json["total"], 0);
    assert_eq!(face.get(CONTACTS).await.json["results"].as_array().unwrap().len(), 1, "a list has no index");
    face.pass_ms(3_000);
    assert_eq!(search(&face, &by_email).await.json["total"], 1);
    face.json("PATCH", &format!("{CONTACTS}/101"), &json!({ "properties": { "firstname": "Eva" } })).await;
    let since = |ms: i64| json!({ "filterGroups": [{ "filters": [{ "propertyName": "lastmodifieddate", "operator": "GTE", "value": ms }] }] });
    assert_eq!(search(&face, &since(START_MS + 3_000)).await.json["total"], 0);
    face.pass_ms(3_000);
    let found = search(&face, &since(START_MS + 3_000)).await;
    assert_eq!(
        (&found.json["total"], &found.json["results"][0]["properties"]["firstname"]),
        (&json!(1), &json!("Eva"))
    );
    assert_eq!(search(&face, &since(START_MS + 3_001)).await.json["total"], 0);
}

#[actix_web::test]
async fn a_search_has_an_end_and_a_limit_of_its_own() {
    let face = Face::with(Dialect::Hubspot, |builder| builder.index_lag_ms(0));
    for n in 0..3 {
        make(&face, &format!("p{n}@x.io"), &format!("P{n}")).await;
    }
    let down = json!({ "sorts": [{ "propertyName": "lastmodifieddate", "direction": "DESCENDING" }], "limit": 2 });
    let got = search(&face, &down).await;
    assert_eq!((&got.json["results"][0]["id"], &got.json["paging"]["next"]["after"]), (&json!("103"), &json!("2")));
    for (wrong, why) in [
        (json!({ "after": 9_900, "limit": 200 }), "10,000"),
        (json!({ "limit": 201 }), "limit"),
        (json!({ "sorts": ["a", "b"] }), "one sort"),
        (
            json!({ "filterGroups": [{ "filters": [{ "propertyName": "email", "operator": "LIKE", "value": "a" }] }] }),
            "operator",
        ),
    ] {
        face.pass_ms(1_000);
        let got = search(&face, &wrong).await;
        assert_eq!(codes(&got), (400, "VALIDATION_ERROR".to_owned()), "{wrong}");
        assert!(got.json["message"].as_str().unwrap().contains(why), "{}", got.json);
    }
    face.pass_ms(1_000);
    for _ in 0..5 {
        assert_eq!(search(&face, &json!({})).await.status, 200);
    }
    let got = search(&face, &json!({})).await;
    assert_eq!(
        (got.status, &got.json["errorType"], &got.json["policyName"]),
        (429, &json!("RATE_LIMIT"), &json!("SECONDLY"))
    );
}

#[actix_web::test]
async fn a_batch_is_refused_whole_or_told_input_by_input_where_they_have_marks() {
    let face = face();
    make(&face, "ada@x.io", "Ada").await;
    let batch = |what: &str| format!("{CONTACTS}/batch/{what}");
    let input = |email: &str, trace: Option<&str>| match trace {
        Some(trace) => json!({ "properties": { "email": email }, "objectWriteTraceId": trace }),
        None => json!({ "properties": { "email": email } }),
    };
    let taken = json!({ "inputs": [input("bo@x.io", Some("1")), input("ada@x.io", Some("2"))] });
    assert_eq!(codes(&face.json("POST", &batch("create"), &taken).await), (409, "CONFLICT".to_owned()));
    let wrong = json!({ "inputs": [input("bo@x.io", None), input("nobody", None)] });
    assert_eq!(face.json("POST", &batch("create"), &wrong).await.status, 400);
    assert_eq!(face.get(CONTACTS).await.json["results"].as_array().unwrap().len(), 1, "nothing was made");
    let mixed = json!({ "inputs": [input("nobody", Some("a")), input("bo@x.io", Some("b"))] });
    let got = face.json("POST", &batch("create"), &mixed).await;
    assert_eq!((got.status, &got.json["results"][0]["objectWriteTraceId"]), (207, &json!("b")));
    assert_eq!(got.json["errors"][0]["context"]["objectWriteTraceId"], json!(["a"]));
    let update = json!({ "inputs": [{ "id": "102", "properties": { "city": "Oslo" }, "objectWriteTraceId": "a" },
        { "id": "999", "properties": { "city": "Oslo" }, "objectWriteTraceId": "b" }] });
    let got = face.json("POST", &batch("update"), &update).await;
    assert_eq!((got.status, &got.json["errors"][0]["category"]), (207, &json!("OBJECT_NOT_FOUND")));
    let read = json!({ "inputs": [{ "id": "102" }, { "id": "999" }], "properties": ["city"] });
    let got = face.json("POST", &batch("read"), &read).await;
    assert_eq!((got.status, &got.json["results"][0]["properties"]["city"]), (207, &json!("Oslo")));
    assert_eq!(got.json["errors"][0]["context"]["ids"], json!(["999"]));
    let archive = json!({ "inputs": [{ "id": "102" }, { "id": "999" }] });
    assert_eq!(face.json("POST", &batch("archive"), &archive).await.status, 204);
    let many: Vec<Json> = (0..101).map(|n| json!({ "id": n.to_string() })).collect();
    assert_eq!(face.json("POST", &batch("read"), &json!({ "inputs": many })).await.status, 400);
}

#[actix_web::test]
async fn limits_are_told_in_headers_and_refused_by_policy() {
    let face = face();
    let got = face.get(CONTACTS).await;
    assert_eq!(
        (got.headers["x-hubspot-ratelimit-max"].as_str(), got.headers["x-hubspot-ratelimit-remaining"].as_str()),
        ("110", "109")
    );
    for _ in 0..109 {
        face.get(CONTACTS).await;
    }
    let got = face.get(CONTACTS).await;
    assert_eq!((got.status, &got.json["policyName"]), (429, &json!("TEN_SECONDLY_ROLLING")));
    face.pass_ms(10_000);
    assert_eq!(face.get(CONTACTS).await.status, 200);
}

#[actix_web::test]
async fn webhooks_are_lists_of_thin_events_signed_by_version_3() {
    let face = face();
    let url = "https://app.example.com/hook";
    face.sandbox.set_webhook("acme", Some(&Webhook::to(url))).unwrap();
    make(&face, "ada@x.io", "Ada").await;
    face.json("PATCH", &format!("{CONTACTS}/101"), &json!({ "properties": { "firstname": "", "city": "Oslo" } })).await;
    face.send("DELETE", &format!("{CONTACTS}/101"), &[], "").await;
    let kept = face.sandbox.take_kept();
    let events: Vec<Vec<(String, String)>> = kept
        .iter()
        .map(|one| {
            let events: Vec<Json> = serde_json::from_slice(&one.body).unwrap();
            assert!(events.iter().all(|event| event["objectId"] == 101));
            let text = |event: &Json, key: &str| event[key].as_str().unwrap_or_default().to_owned();
            events.iter().map(|event| (text(event, "subscriptionType"), text(event, "propertyName"))).collect()
        })
        .collect();
    let pair = |kind: &str, name: &str| (format!("contact.{kind}"), name.to_owned());
    assert_eq!(
        events,
        [
            vec![pair("creation", ""), pair("propertyChange", "email"), pair("propertyChange", "firstname")],
            vec![pair("propertyChange", "city"), pair("propertyChange", "firstname")],
            vec![pair("deletion", "")],
        ]
    );
    let scheme = Scheme::preset("hubspot-v3").unwrap();
    for one in kept {
        let headers: Vec<(String, String)> =
            one.headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let delivery = Delivery { method: "POST", url, headers: &headers, body: &one.body };
        assert!(scheme.check(&[webhook_secret("acme").into()], &delivery, START_MS).is_ok());
        assert!(scheme.check(&["another".into()], &delivery, START_MS).is_err());
    }
}
