//! The API as a client sees it, endpoint by endpoint, against the mounted application
//! (no socket) and a clock set by hand.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::sync::atomic::{AtomicI64, Ordering};

use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::{App, web};
use serde_json::{Value as Json, json};

use super::*;
use crate::model::value::Value;

/// 2026-03-01T12:00:00Z
const START_MS: i64 = 1_772_366_400_000;

struct World {
    shared: Arc<Shared>,
    now_ms: Arc<AtomicI64>,
}

struct Got {
    /// 0 where the answer broke off.
    status: u16,
    headers: BTreeMap<String, String>,
    text: String,
}

impl Got {
    fn json(&self) -> Json {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl World {
    fn new(builder: SandboxBuilder) -> Self {
        let now_ms = Arc::new(AtomicI64::new(START_MS));
        let reader = Arc::clone(&now_ms);
        let builder = builder.clock(Arc::new(move || reader.load(Ordering::Relaxed)));
        let shared = Arc::new(Shared::new(builder.settings, builder.clock).unwrap());
        Self { shared, now_ms }
    }

    fn pass_ms(&self, ms: i64) {
        self.now_ms.fetch_add(ms, Ordering::Relaxed);
    }

    async fn send(&self, request: TestRequest) -> Got {
        let data = web::Data::from(Arc::clone(&self.shared));
        let app = init_service(App::new().configure(api::configure(data))).await;
        let answer = call_service(&app, request.to_request()).await;
        let status = answer.status().as_u16();
        let text_of = |value: &actix_web::http::header::HeaderValue| value.to_str().unwrap().to_owned();
        let headers = answer.headers().iter().map(|(name, value)| (name.to_string(), text_of(value))).collect();
        match actix_web::body::to_bytes(answer.into_body()).await {
            Ok(body) => Got { status, headers, text: String::from_utf8(body.to_vec()).unwrap() },
            Err(_) => Got { status: 0, headers, text: String::new() },
        }
    }

    async fn hostile(&self, rates: Json) {
        let set = self.call("POST", "/_sandbox/hostile", rates).await;
        assert_eq!(set.status, 200, "{}", set.text);
    }

    async fn calm(&self, path: &str) -> Got {
        self.call_with("GET", path, Json::Null, &[("Sandbox-Calm", "true")]).await
    }

    async fn call(&self, method: &str, path: &str, body: Json) -> Got {
        self.call_with(method, path, body, &[]).await
    }

    async fn call_with(&self, method: &str, path: &str, body: Json, headers: &[(&str, &str)]) -> Got {
        let mut request = TestRequest::with_uri(path)
            .method(method.parse().unwrap())
            .insert_header(("Authorization", "Bearer sandbox-token-acme"));
        for (name, value) in headers {
            request = request.insert_header((*name, *value));
        }
        if !body.is_null() {
            request = request.set_payload(body.to_string());
        }
        self.send(request).await
    }

    async fn get(&self, path: &str) -> Got {
        self.call("GET", path, Json::Null).await
    }

    async fn create(&self, properties: Json) -> String {
        let made = self.call("POST", "/v1/contacts", json!({ "properties": properties })).await;
        assert_eq!(made.status, 201, "{}", made.text);
        made.json()["id"].as_str().unwrap().to_owned()
    }
}

fn ids(page: &Json) -> Vec<String> {
    page["results"].as_array().unwrap().iter().map(|entry| entry["id"].as_str().unwrap().to_owned()).collect()
}

#[actix_web::test]
async fn a_record_lives_and_dies() {
    let world = World::new(Sandbox::builder());
    let made = world.call("POST", "/v1/contacts", json!({"properties":{"email":"a@b.de","n":1}})).await;
    assert_eq!((made.status, made.header("location")), (201, "/v1/contacts/101"));
    let start = "\"2026-03-01T12:00:00.000Z\"";
    let expected = format!(
        r#"{{"id":"101","properties":{{"email":"a@b.de","n":1}},"created_at":{start},"updated_at":{start},"etag":"\"1-{START_MS:x}\"","archived":false}}"#
    );
    assert_eq!(made.text, expected);
    let got = world.get("/v1/contacts/101").await;
    assert_eq!((got.status, &got.text, got.header("etag")), (200, &made.text, made.header("etag")));

    let patched = world.call("PATCH", "/v1/contacts/101", json!({"properties":{"n":null,"city":"Łódź"}})).await;
    assert_eq!((patched.status, &patched.json()["properties"]), (200, &json!({"email":"a@b.de","city":"Łódź"})));
    assert_eq!(patched.json()["updated_at"], "2026-03-01T12:00:00.001Z", "later, though the clock stood still");
    assert_ne!(patched.header("etag"), made.header("etag"));

    let put = world.call("PUT", "/v1/contacts/101", json!({"properties":{"n":null}})).await;
    assert_eq!((put.status, &put.json()["properties"]), (200, &json!({"n":null})));

    let gone = world.call("DELETE", "/v1/contacts/101", Json::Null).await;
    assert_eq!((gone.status, gone.text.as_str()), (204, ""));
    for (method, body) in [("GET", Json::Null), ("PATCH", json!({"properties":{}})), ("DELETE", Json::Null)] {
        let got = world.call(method, "/v1/contacts/101", body).await;
        assert_eq!((got.status, got.code().as_str()), (404, "not_found"), "{method}");
    }
    assert_eq!(world.create(json!({})).await, "102", "an id never comes again");
}

#[actix_web::test]
async fn an_update_that_changes_nothing_keeps_the_version_unless_switched() {
    for (bump, same) in [(false, true), (true, false)] {
        let world = World::new(Sandbox::builder().bump_unchanged(bump));
        let id = world.create(json!({"n": 1, "t": "x"})).await;
        let before = world.get(&format!("/v1/contacts/{id}")).await;
        for (method, body) in [("PATCH", json!({"properties":{"n":1}})), ("PUT", json!({"properties":{"t":"x","n":1}}))]
        {
            let after = world.call(method, &format!("/v1/contacts/{id}"), body).await;
            assert_eq!((after.status, after.text == before.text), (200, same), "{method} {bump}");
        }
        let writes = world.shared.lock().0.tally.stats(&world.shared.settings.accounts).writes;
        assert_eq!((writes.unchanged, writes.updated), (2, 0));
    }
}

#[actix_web::test]
async fn a_write_with_another_version_is_refused() {
    let world = World::new(Sandbox::builder());
    let id = world.create(json!({"n": 1})).await;
    let path = format!("/v1/contacts/{id}");
    let first = world.get(&path).await.header("etag").to_owned();
    let body = |n: u32| json!({ "properties": { "n": n } });
    let ok = world.call_with("PATCH", &path, body(2), &[("If-Match", &first)]).await;
    assert_eq!(ok.status, 200);
    for method in ["PATCH", "PUT", "DELETE"] {
        let late = world.call_with(method, &path, body(3), &[("If-Match", &first)]).await;
        assert_eq!((late.status, late.code().as_str()), (412, "precondition_failed"), "{method}");
    }
    assert_eq!(world.get(&path).await.json()["properties"]["n"], 2, "nothing was written");
    let second = ok.header("etag").to_owned();
    let several = format!("\"x\", {second}");
    for tag in [several.as_str(), "*"] {
        assert_eq!(world.call_with("PATCH", &path, body(2), &[("If-Match", tag)]).await.status, 200, "{tag}");
    }
    let unquoted = second.trim_matches('"');
    assert_eq!(world.call_with("DELETE", &path, Json::Null, &[("If-Match", unquoted)]).await.status, 204);
    assert_eq!(world.call_with("DELETE", &path, Json::Null, &[("If-Match", "*")]).await.status, 404);
}

#[actix_web::test]
async fn the_same_key_gives_the_same_answer_for_a_day() {
    let world = World::new(Sandbox::builder());
    let body = json!({"properties":{"n":1}});
    let key = [("Idempotency-Key", "k-1")];
    let first = world.call_with("POST", "/v1/contacts", body.clone(), &key).await;
    world.call("DELETE", "/v1/contacts/101", Json::Null).await;
    let again = world.call_with("POST", "/v1/contacts", body.clone(), &key).await;
    assert_eq!((again.status, &again.text, again.header("etag")), (201, &first.text, first.header("etag")));
    assert_eq!((again.header("idempotent-replayed"), first.header("idempotent-replayed")), ("true", ""));
    assert_eq!(again.header("location"), "/v1/contacts/101");

    let other = json!({"properties":{"n":2}});
    for (path, body) in [("/v1/contacts", &other), ("/v1/companies", &body)] {
        let reused = world.call_with("POST", path, body.clone(), &key).await;
        assert_eq!((reused.status, reused.code().as_str()), (409, "idempotency_key_reused"), "{path}");
    }
    let inputs = json!({"inputs":[{"idempotency_key":"k-1","properties":{"n":1}}]});
    let batch = world.call("POST", "/v1/contacts/batch/create", inputs).await;
    assert_eq!(batch.json()["results"][0]["record"]["id"], "101", "the key of an input is the same key");
    let stats = world.get("/_sandbox/stats").await.json();
    assert_eq!((&stats["writes"]["created"], &stats["replayed"]), (&json!(1), &json!(2)));

    world.pass_ms(KEY_LIFE_MS);
    let late = world.call_with("POST", "/v1/contacts", body, &key).await;
    assert_eq!((late.status, &late.json()["id"]), (201, &json!("102")));
}

#[actix_web::test]
async fn a_refused_create_does_not_use_up_its_key() {
    let world = World::new(Sandbox::builder().validate_email());
    let key = [("Idempotency-Key", "k")];
    let bad = world.call_with("POST", "/v1/contacts", json!({"properties":{"email":"nobody"}}), &key).await;
    assert_eq!((bad.status, bad.code().as_str()), (422, "invalid_property"));
    assert_eq!(bad.json()["error"]["property"], "email");
    let good = world.call_with("POST", "/v1/contacts", json!({"properties":{"email":"a@b.de"}}), &key).await;
    assert_eq!(good.status, 201);
}

#[actix_web::test]
async fn a_batch_answers_for_each_input_in_order() {
    let world = World::new(Sandbox::builder().validate_email());
    let inputs =
        json!({"inputs":[{"properties":{"n":1}},{"properties":{"email":7}},{"id":"9"},5,{"properties":{"n":2}}]});
    let made = world.call("POST", "/v1/contacts/batch/create", inputs).await;
    let results = made.json()["results"].clone();
    let statuses: Vec<u64> = results.as_array().unwrap().iter().map(|item| item["status"].as_u64().unwrap()).collect();
    assert_eq!((made.status, statuses), (207, vec![201, 422, 400, 400, 201]));
    assert_eq!(results[1]["error"]["property"], "email");
    assert_eq!(results[2]["id"], "9");
    assert_eq!(results[4]["record"]["id"], "102");

    let etag = results[0]["record"]["etag"].clone();
    let inputs = json!({"inputs":[
        {"id":"101","etag":etag,"properties":{"n":10}},
        {"id":"101","etag":etag,"properties":{"n":11}},
        {"id":"999","properties":{}},
        {"properties":{}},
    ]});
    let updated = world.call("POST", "/v1/contacts/batch/update", inputs).await;
    let results = updated.json()["results"].clone();
    let statuses: Vec<u64> = results.as_array().unwrap().iter().map(|item| item["status"].as_u64().unwrap()).collect();
    assert_eq!((updated.status, statuses), (207, vec![200, 412, 404, 400]));
    assert_eq!(results[0]["record"]["properties"]["n"], 10);
    assert_eq!((&results[1]["id"], &results[1]["error"]["code"]), (&json!("101"), &json!("precondition_failed")));

    let inputs = json!({"inputs":[{"id":"101"},{"id":"102"}]});
    let deleted = world.call("POST", "/v1/contacts/batch/delete", inputs.clone()).await;
    let expected = json!({"results":[{"status":204,"id":"101"},{"status":204,"id":"102"}]});
    assert_eq!((deleted.status, deleted.json()), (200, expected));
    assert_eq!(world.call("POST", "/v1/contacts/batch/delete", inputs).await.status, 207);

    let writes = world.get("/_sandbox/stats").await.json()["writes"].clone();
    assert_eq!(writes, json!({"total":13,"created":2,"updated":1,"unchanged":0,"deleted":2,"refused":8}));
}

#[actix_web::test]
async fn a_batch_has_a_size_and_may_have_a_key() {
    let world = World::new(Sandbox::builder());
    for (num, status) in [(0, 400), (100, 200), (101, 400)] {
        let inputs = vec![json!({"properties":{}}); num];
        let got = world.call("POST", "/v1/contacts/batch/create", json!({ "inputs": inputs })).await;
        assert_eq!(got.status, status, "{num}");
    }
    let body = json!({"inputs":[{"properties":{}},{}]});
    let key = [("Idempotency-Key", "batch")];
    let first = world.call_with("POST", "/v1/contacts/batch/create", body.clone(), &key).await;
    let again = world.call_with("POST", "/v1/contacts/batch/create", body.clone(), &key).await;
    assert_eq!((first.status, again.status, &first.text), (207, 207, &again.text));
    let elsewhere = world.call_with("POST", "/v1/companies/batch/create", body, &key).await;
    assert_eq!(elsewhere.status, 409);
}

#[actix_web::test]
async fn deleted_records_are_told_to_those_who_ask_since() {
    let world = World::new(Sandbox::builder());
    for n in 0..3 {
        world.create(json!({ "n": n })).await;
        world.pass_ms(1_000);
    }
    world.call("DELETE", "/v1/contacts/102", Json::Null).await;
    let since = |ms: i64| format!("/v1/contacts?updated_since={}", START_MS + ms);
    let page = world.get(&since(1_000)).await.json();
    assert_eq!((ids(&page), &page["total"]), (vec!["103".to_owned(), "102".to_owned()], &json!(2)));
    let tombstone = json!({
        "id": "102", "created_at": "2026-03-01T12:00:01.000Z", "updated_at": "2026-03-01T12:00:03.000Z",
        "archived_at": "2026-03-01T12:00:03.000Z", "archived": true,
    });
    assert_eq!(page["results"][1], tombstone);
    assert!(page.get("paging").is_none(), "the last page has no next");
    for (path, expected) in [
        ("/v1/contacts".to_owned(), vec!["101", "103"]),
        ("/v1/contacts?include_archived=true".to_owned(), vec!["101", "102", "103"]),
        (since(1_001), vec!["103", "102"]),
        (since(2_000), vec!["103", "102"]),
        (since(2_001), vec!["102"]),
        (since(3_001), vec![]),
        (format!("{}&include_archived=false", since(0)), vec!["101", "103"]),
        ("/v1/contacts?updated_since=2026-03-01T12:00:02.000Z".to_owned(), vec!["103", "102"]),
    ] {
        assert_eq!(ids(&world.get(&path).await.json()), expected, "{path}");
    }
}

/// Reads a whole listing while every step edits a record, makes one and deletes one.
async fn read_while_others_write(world: &World, first: &str, link: bool) -> Vec<String> {
    let mut seen = Vec::new();
    let mut path = first.to_owned();
    for step in 0..20 {
        let got = world.get(&path).await;
        assert_eq!(got.status, 200, "{}", got.text);
        let page = got.json();
        seen.extend(ids(&page));
        world.pass_ms(1);
        if step < 3 {
            let edited = format!("/v1/contacts/{}", 101 + step * 7);
            world.call("PATCH", &edited, json!({"properties":{"step": step}})).await;
            world.create(json!({})).await;
            world.call("DELETE", &format!("/v1/contacts/{}", 103 + step * 6), Json::Null).await;
        }
        let next = &page["paging"]["next"];
        match (next["after"].as_str(), next["link"].as_str()) {
            (Some(after), Some(target)) => {
                assert_eq!(got.header("link"), format!("<{target}>; rel=\"next\""));
                let separator = if first.contains('?') { '&' } else { '?' };
                path = if link { target.to_owned() } else { format!("{first}{separator}after={after}") };
            }
            (None, None) => return seen,
            other => panic!("{other:?}"),
        }
    }
    panic!("the listing does not end");
}

#[actix_web::test]
async fn paging_neither_hides_nor_repeats_while_others_write() {
    for link in [false, true] {
        let world = World::new(Sandbox::builder().seed("acme", "contacts", 25, 1));
        let seen = read_while_others_write(&world, "/v1/contacts?limit=4", link).await;
        // 103 was read before its deletion, 109 and 115 went before they were reached.
        let expected: Vec<String> =
            (101..=128).filter(|id| ![109, 115].contains(id)).map(|id| id.to_string()).collect();
        assert_eq!(seen, expected);

        let world = World::new(Sandbox::builder().seed("acme", "contacts", 25, 1));
        let seen = read_while_others_write(&world, "/v1/contacts?limit=4&updated_since=0", link).await;
        // Only what was written behind the reader's back comes a second time, at the end.
        let mut times: BTreeMap<&str, usize> = BTreeMap::new();
        for id in &seen {
            *times.entry(id).or_default() += 1;
        }
        let every: Vec<String> = (101..=128).map(|id| id.to_string()).collect();
        assert_eq!(times.keys().copied().collect::<Vec<_>>(), every);
        let twice: Vec<&str> = times.iter().filter(|(_, n)| **n > 1).map(|(id, _)| *id).collect();
        assert_eq!(twice, ["101", "103", "108"], "the edits of 101 and 108 and the deletion of 103");
    }
}

#[actix_web::test]
async fn pages_by_number_count_and_end() {
    let world = World::new(Sandbox::builder().seed("acme", "contacts", 5, 1));
    let page = world.get("/v1/contacts?limit=2&page=2").await;
    assert_eq!(ids(&page.json()), ["103", "104"]);
    let next = json!({"page":2,"pages":3,"next":{"page":3,"link":"/v1/contacts?limit=2&page=3"}});
    assert_eq!((&page.json()["paging"], &page.json()["total"]), (&next, &json!(5)));
    assert_eq!(page.header("link"), "</v1/contacts?limit=2&page=3>; rel=\"next\"");
    for (number, len) in [(3, 1), (4, 0), (usize::MAX, 0)] {
        let page = world.get(&format!("/v1/contacts?limit=2&page={number}")).await.json();
        assert_eq!((ids(&page).len(), page["paging"].get("next")), (len, None), "{number}");
    }
}

#[actix_web::test]
async fn searching_by_property() {
    let world = World::new(Sandbox::builder().page_size(2));
    for (email, n) in [("a@b.de", 1), ("a@b.de", 2), ("x@b.de", 1), ("a@b.de", 1)] {
        world.create(json!({ "email": email, "n": n })).await;
    }
    for (query, expected, total) in [
        ("property=email&value=a%40b.de", vec!["101", "102"], 3),
        ("property=email&value=a@b.de&limit=1", vec!["101"], 3),
        ("property=email&value=a@b.de&property=n&value=2", vec!["102"], 1),
        ("property=email&value=A@b.de", vec![], 0),
    ] {
        let found = world.get(&format!("/v1/contacts/search?{query}")).await.json();
        assert_eq!((ids(&found), &found["total"]), (expected.into_iter().map(str::to_owned).collect(), &json!(total)));
    }
    assert_eq!(world.get("/v1/contacts/search").await.status, 400);
}

#[actix_web::test]
async fn accounts_are_apart() {
    let world = World::new(Sandbox::builder().accounts(["acme", "globex"]));
    world.create(json!({"n":1})).await;
    for (token, status) in [
        ("Bearer sandbox-token-acme", 200),
        ("bearer sandbox-token-acme", 200),
        ("Bearer sandbox-token-globex", 404),
        ("Bearer sandbox-token-umbra", 401),
        ("Basic sandbox-token-acme", 401),
        ("sandbox-token-acme", 401),
        ("", 401),
    ] {
        let request = TestRequest::get().uri("/v1/contacts/101").insert_header(("Authorization", token));
        assert_eq!(world.send(request).await.status, status, "{token}");
    }
    let none = world.send(TestRequest::get().uri("/v1/contacts")).await;
    assert_eq!((none.status, none.code().as_str(), none.header("www-authenticate")), (401, "unauthorized", "Bearer"));
    let me = world.get("/v1/account").await.json();
    assert_eq!(me, json!({"account":"acme","objects":["contacts","companies"]}));
}

#[actix_web::test]
async fn never_more_requests_than_allowed() {
    let world = World::new(Sandbox::builder().rate_limit(2, 1_500).accounts(["acme", "globex"]));
    let first = world.get("/v1/account").await;
    let headers =
        |got: &Got| ["limit", "remaining", "reset"].map(|name| got.header(&format!("x-ratelimit-{name}")).to_owned());
    assert_eq!(headers(&first), ["2", "1", "1772366402"]);
    world.pass_ms(700);
    assert_eq!(world.get("/v1/nothing").await.status, 404, "a refused request counts too");
    let third = world.call("POST", "/v1/contacts", json!({"properties":{}})).await;
    assert_eq!((third.status, third.code().as_str(), third.header("retry-after")), (429, "rate_limited", "1"));
    assert_eq!(headers(&third), ["2", "0", "1772366402"]);
    let other = TestRequest::get().uri("/v1/account").insert_header(("Authorization", "Bearer sandbox-token-globex"));
    assert_eq!(world.send(other).await.status, 200, "each account has its own window");
    world.pass_ms(800);
    assert_eq!(world.get("/v1/account").await.status, 200);
    assert_eq!(world.get("/v1/account").await.status, 429, "the second request is still in the window");

    let stats = world.get("/_sandbox/stats?log=2").await.json();
    assert_eq!((&stats["requests"], &stats["throttled"], &stats["writes"]["total"]), (&json!(6), &json!(2), &json!(0)));
    let last = json!({"at_ms":START_MS + 1_500,"method":"GET","path":"/v1/account","status":429,"account":"acme"});
    assert_eq!((stats["log"].as_array().unwrap().len(), &stats["log"][1]), (2, &last));
    let counted = json!({"account":"acme","method":"POST","status":429,"requests":1});
    assert!(stats["counts"].as_array().unwrap().contains(&counted), "{}", stats["counts"]);
}

#[actix_web::test]
async fn when_to_come_back_is_told_in_three_ways() {
    for (style, expected) in
        [(RetryAfter::Seconds, "10"), (RetryAfter::HttpDate, "Sun, 01 Mar 2026 12:00:10 GMT"), (RetryAfter::Absent, "")]
    {
        let world = World::new(Sandbox::builder().rate_limit(1, 9_001).retry_after(style));
        world.get("/v1/account").await;
        let refused = world.get("/v1/account").await;
        assert_eq!((refused.status, refused.header("retry-after")), (429, expected), "{style:?}");
    }
}

#[actix_web::test]
async fn what_does_not_exist_is_said_in_json() {
    let world = World::new(Sandbox::builder());
    for (method, path, status, code) in [
        ("GET", "/", 404, "unknown_route"),
        ("GET", "/v1", 404, "unknown_route"),
        ("GET", "/v2/contacts", 404, "unknown_route"),
        ("GET", "/_sandbox/nothing", 404, "unknown_route"),
        ("GET", "/v1/contacts/1/2", 404, "unknown_route"),
        ("GET", "/v1/contacts/batch/create/x", 404, "unknown_route"),
        ("POST", "/v1/contacts/batch/merge", 404, "unknown_route"),
        ("GET", "/v1/", 404, "unknown_object"),
        ("GET", "/v1/deals", 404, "unknown_object"),
        ("POST", "/v1/deals/batch/create", 404, "unknown_object"),
        ("GET", "/v1/contacts/", 404, "not_found"),
        ("GET", "/v1/contacts/0101", 404, "not_found"),
        ("GET", "/v1/contacts/%C3%A9%00", 404, "not_found"),
        ("GET", "/v1/contacts/99999999999999999999999", 404, "not_found"),
        ("DELETE", "/v1/contacts", 405, "method_not_allowed"),
        ("POST", "/v1/contacts/101", 405, "method_not_allowed"),
        ("OPTIONS", "/v1/contacts/101", 405, "method_not_allowed"),
        ("GET", "/v1/contacts/batch/create", 405, "method_not_allowed"),
        ("POST", "/_sandbox/stats", 405, "method_not_allowed"),
        ("GET", "/_sandbox/reset", 405, "method_not_allowed"),
        ("GET", "/v1/contacts?limit=x", 400, "invalid_parameter"),
        ("GET", "/v1/contacts?after=i1&updated_since=1", 400, "invalid_parameter"),
        ("GET", "/v1/account?x=1", 400, "invalid_parameter"),
        ("GET", "/_sandbox/dump?account=none", 400, "invalid_parameter"),
    ] {
        let got = world.call(method, path, Json::Null).await;
        assert_eq!((got.status, got.code().as_str()), (status, code), "{method} {path}");
        assert_eq!(got.header("content-type"), "application/json", "{method} {path}");
    }
}

#[actix_web::test]
async fn bad_bodies_are_refused_and_write_nothing() {
    let world = World::new(Sandbox::builder());
    let deep = format!("{{\"properties\":{{\"a\":{}1{}}}}}", "[".repeat(300), "]".repeat(300));
    for body in [
        "",
        "[]",
        "{",
        "{}",
        "null",
        "<html>",
        r#"{"properties":null}"#,
        r#"{"properties":[]}"#,
        r#"{"properties":{"a":1,"a":2}}"#,
        r#"{"properties":{"a":"\ud800"}}"#,
        r#"{"properties":{},"propertys":{}}"#,
        r#"{"properties":{}} x"#,
        &deep,
    ] {
        for path in ["/v1/contacts", "/v1/contacts/batch/create"] {
            let request = TestRequest::post().uri(path).set_payload(body.to_owned());
            let got = world.send(request.insert_header(("Authorization", "Bearer sandbox-token-acme"))).await;
            assert_eq!((got.status, got.code().as_str()), (400, "bad_request"), "{path} {body}");
        }
    }
    let huge = TestRequest::post().uri("/v1/contacts").set_payload(vec![b' '; 17 * 1024 * 1024]);
    let got = world.send(huge.insert_header(("Authorization", "Bearer sandbox-token-acme"))).await;
    assert_eq!((got.status, got.code().as_str()), (413, "too_large"));
    assert_eq!(world.get("/v1/contacts").await.json()["total"], 0);
}

#[actix_web::test]
async fn a_reset_brings_the_seeded_records_back() {
    let world = World::new(Sandbox::builder().seed("acme", "contacts", 3, 1).seed("acme", "companies", 2, 1));
    let dump = world.get("/_sandbox/dump?account=acme").await;
    let objects = &dump.json()["objects"];
    let lens = ["contacts", "companies"].map(|object| objects[object].as_array().unwrap().len());
    assert_eq!((&dump.json()["account"], lens), (&json!("acme"), [3, 2]));
    assert_eq!(objects["companies"][1]["updated_at"], "2026-03-01T11:59:59.000Z", "seeds lie in the past");
    world.create(json!({})).await;
    world.call("POST", "/_sandbox/reset?what=stats", Json::Null).await;
    assert_eq!(world.get("/_sandbox/stats").await.json()["requests"], 0);
    assert_ne!(world.get("/_sandbox/dump?account=acme").await.text, dump.text);
    assert_eq!(world.call("POST", "/_sandbox/reset", Json::Null).await.status, 200);
    assert_eq!(world.get("/_sandbox/dump?account=acme").await.text, dump.text);
}

#[actix_web::test]
async fn what_goes_wrong_is_carried_out_as_far_as_it_says() {
    let body = json!({"properties":{"n":1}});
    for (rate, statuses, num_made) in [
        ("dropped", &[0][..], 0),
        ("answer_lost", &[0], 1),
        ("late", &[0], 0),
        ("error_before", &[500, 502, 503], 0),
        ("error_after", &[500, 502, 503], 1),
        ("cut", &[0], 1),
        ("limited", &[429], 0),
        ("stale", &[201], 1),
        ("repeated", &[201], 1),
    ] {
        let world = World::new(Sandbox::builder());
        world.hostile(json!({ rate: 1000 })).await;
        let got = world.call("POST", "/v1/contacts", body.clone()).await;
        assert!(statuses.contains(&got.status), "{rate}: {}", got.status);
        assert_eq!(world.calm("/v1/contacts").await.json()["total"], num_made, "{rate}");
        let stats = world.get("/_sandbox/stats").await.json();
        let befallen = if rate == "repeated" { json!({}) } else { json!({ rate: 1 }) };
        assert_eq!(stats["mishaps"], befallen, "a create is no page");
    }
}

#[actix_web::test]
async fn a_truncated_answer_is_whole_http_around_half_a_record() {
    let world = World::new(Sandbox::builder());
    let id = world.create(json!({"n": 1})).await;
    world.hostile(json!({"truncated": 1000})).await;
    let got = world.get(&format!("/v1/contacts/{id}")).await;
    assert_eq!(got.status, 200);
    assert!(serde_json::from_str::<Json>(&got.text).is_err(), "{}", got.text);
}

#[actix_web::test]
async fn a_late_write_comes_at_its_time_and_its_key_holds() {
    let world = World::new(Sandbox::builder());
    world.hostile(json!({"late": 1000, "late_ms": 1})).await;
    let (body, key) = (json!({"properties":{"n":1}}), [("Idempotency-Key", "k")]);
    assert_eq!(world.call_with("POST", "/v1/contacts", body.clone(), &key).await.status, 0);
    let off = world.call("DELETE", "/_sandbox/hostile", Json::Null).await.json();
    assert_eq!(off, json!({"hostile": null, "late": 1, "hidden": 0}), "what has gone wrong takes its course");
    assert_eq!(world.get("/v1/contacts").await.json()["total"], 0);
    let again = world.call_with("POST", "/v1/contacts", body, &key).await;
    assert_eq!(again.status, 201);
    world.pass_ms(1);
    assert_eq!(world.get("/v1/contacts").await.json()["total"], 1, "the late one met its key");
    let seen = world.get("/_sandbox/hostile").await.json();
    assert_eq!(seen["late"], 0);
}

#[actix_web::test]
async fn a_late_write_with_another_version_by_then_is_refused() {
    let world = World::new(Sandbox::builder());
    let id = world.create(json!({"n": 1})).await;
    let path = format!("/v1/contacts/{id}");
    let etag = world.get(&path).await.header("etag").to_owned();
    world.hostile(json!({"late": 1000, "late_ms": 1})).await;
    let patch = |n: u32| json!({ "properties": { "n": n } });
    assert_eq!(world.call_with("PATCH", &path, patch(2), &[("If-Match", &etag)]).await.status, 0);
    world.call_with("PATCH", &path, patch(3), &[("Sandbox-Calm", "true")]).await;
    world.pass_ms(1);
    assert_eq!(world.get(&path).await.json()["properties"]["n"], 3);
}

#[actix_web::test]
async fn a_stale_write_is_seen_later_except_by_the_calm() {
    let world = World::new(Sandbox::builder());
    let id = world.create(json!({"n": 1})).await;
    let path = format!("/v1/contacts/{id}");
    world.hostile(json!({"stale": 1000, "stale_ms": 1})).await;
    let patched = world.call("PATCH", &path, json!({"properties":{"n":2}})).await;
    assert_eq!(patched.json()["properties"]["n"], 2, "its own client sees it");
    world.call("POST", "/v1/contacts", json!({"properties":{"n":3}})).await;
    let seen = |got: Got| {
        got.json()["results"].as_array().unwrap().iter().map(|r| r["properties"]["n"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(world.get(&path).await.json()["properties"]["n"], 1);
    assert_eq!(seen(world.get("/v1/contacts").await), [1]);
    assert_eq!(world.get("/v1/contacts/search?property=n&value=3").await.json()["total"], 0);
    assert_eq!(world.get("/v1/contacts/102").await.status, 404);
    assert_eq!(seen(world.calm("/v1/contacts").await), [2, 3]);
    assert_eq!(world.get("/_sandbox/hostile").await.json()["hidden"], 2);
    world.pass_ms(1);
    assert_eq!(seen(world.get("/v1/contacts").await), [2, 3]);
    world.call_with("PATCH", &path, json!({"properties":{"n":4}}), &[("Sandbox-Calm", "true")]).await;
    assert_eq!(world.get(&path).await.json()["properties"]["n"], 2, "what the calm wrote is hidden from others");
}

#[actix_web::test]
async fn a_page_begins_one_entry_early_or_late() {
    for (rate, second) in [("repeated", ["102", "103"]), ("skipped", ["104", "105"])] {
        let world = World::new(Sandbox::builder().seed("acme", "contacts", 5, 1));
        world.hostile(json!({ rate: 1000 })).await;
        let first = world.get("/v1/contacts?limit=2").await.json();
        assert_eq!(ids(&first), ["101", "102"]);
        let after = first["paging"]["next"]["after"].as_str().unwrap();
        assert_eq!(ids(&world.get(&format!("/v1/contacts?limit=2&after={after}")).await.json()), second, "{rate}");
    }
}

#[actix_web::test]
async fn a_limit_out_of_the_blue_is_told_in_three_ways() {
    let world = World::new(Sandbox::builder());
    world.hostile(json!({"limited": 1000, "limited_ms": 1})).await;
    let mut told = std::collections::BTreeSet::new();
    for _ in 0..50 {
        let got = world.get("/v1/contacts").await;
        assert_eq!((got.status, got.code().as_str()), (429, "rate_limited"));
        told.insert(got.header("retry-after").to_owned());
    }
    assert_eq!(told.into_iter().collect::<Vec<_>>(), ["", "1", "Sun, 01 Mar 2026 12:00:01 GMT"]);
}

#[actix_web::test]
async fn a_slow_answer_comes() {
    tokio::time::pause();
    let world = World::new(Sandbox::builder());
    world.hostile(json!({"slow": 1000, "slow_ms": 60_000})).await;
    let start = tokio::time::Instant::now();
    assert_eq!(world.get("/v1/contacts").await.status, 200);
    let waited = start.elapsed().as_millis();
    assert!((1..=60_001).contains(&waited), "{waited}");
}

#[actix_web::test]
async fn hostile_mode_is_switched_from_this_machine() {
    let world = World::new(Sandbox::builder().hostile(Hostile { error_before: 1_000, ..Hostile::default() }));
    assert!(world.get("/v1/account").await.status >= 500);
    let drawn = world.call("POST", "/_sandbox/hostile?seed=7", Json::Null).await.json();
    assert_eq!(drawn["hostile"], json!(Hostile::swarm(7)));
    for (method, path, body, status) in [
        ("POST", "/_sandbox/hostile?seed=x", Json::Null, 400),
        ("POST", "/_sandbox/hostile", json!({"anser_lost": 1}), 400),
        ("POST", "/_sandbox/hostile", Json::Null, 400),
        ("PUT", "/_sandbox/hostile", Json::Null, 405),
        ("DELETE", "/_sandbox/hostile", Json::Null, 200),
    ] {
        assert_eq!(world.call(method, path, body).await.status, status, "{method} {path}");
    }
    assert_eq!(world.get("/v1/account").await.status, 200);
    let foreign = TestRequest::delete().uri("/_sandbox/hostile").peer_addr("10.0.0.7:9".parse().unwrap());
    assert_eq!(world.send(foreign).await.status, 403);
    world.call("POST", "/_sandbox/reset", Json::Null).await;
    assert!(world.get("/v1/account").await.status >= 500, "a reset brings back what was from the start");
}

#[actix_web::test]
async fn only_this_machine_looks_inside() {
    let world = World::new(Sandbox::builder());
    for (peer, status) in [("127.0.0.1:9", 200), ("[::1]:9", 200), ("10.0.0.7:9", 403)] {
        let request = TestRequest::get().uri("/_sandbox/stats").peer_addr(peer.parse().unwrap());
        assert_eq!(world.send(request).await.status, status, "{peer}");
    }
}

#[actix_web::test]
async fn the_demo_stores_normalised_texts() {
    let world = World::new(Sandbox::builder().demo());
    let total = world.get("/v1/contacts?limit=1").await.json()["total"].as_u64().unwrap();
    assert!((35..=45).contains(&total), "{total}");
    let path = "/v1/contacts/search?property=email&value=walter.eriksen%40polarfisk.example";
    assert_eq!(world.get(path).await.json()["total"], 1, "the address is stored in lower case");
    let id = world.create(json!({"email":" X@Y.Z ","full_name":" Padded "})).await;
    let stored = world.get(&format!("/v1/contacts/{id}")).await.json()["properties"].clone();
    assert_eq!(stored, json!({"email":"x@y.z","full_name":"Padded"}));
}

#[test]
fn the_two_sides_of_the_demo_overlap_and_differ() {
    let rows = |lines: &str| -> BTreeMap<String, Json> {
        let row = |line| serde_json::from_str::<Json>(line).unwrap();
        let keyed = |row: Json| (row["email"].as_str().unwrap().to_lowercase(), row);
        lines.lines().map(row).map(keyed).collect()
    };
    let (remote, app) = (rows(seed::CONTACTS), rows(seed::APP_CONTACTS));
    assert_eq!((remote.len(), app.len()), (seed::CONTACTS.lines().count(), seed::APP_CONTACTS.lines().count()));
    let both: Vec<_> = app.iter().filter_map(|(email, row)| Some((row, remote.get(email)?))).collect();
    assert_eq!((remote.len(), app.len(), both.len()), (40, 35, 25));
    let same =
        |a: &Json, r: &Json| a["phone"] == r["phone"] && a["name"] == r["full_name"] && a["title"] == r["job_title"];
    let num_differing = both.iter().filter(|(app, remote)| !same(app, remote)).count();
    assert!((5..25).contains(&num_differing), "{num_differing}");
    for row in remote.values() {
        assert!(["F", "P", "E"].contains(&row["plan"].as_str().unwrap()), "{row}");
    }
    for row in app.values() {
        assert!(["free", "pro", "enterprise"].contains(&row["tier"].as_str().unwrap()), "{row}");
        assert!(row["id"].as_str().unwrap().starts_with("c-"), "{row}");
    }
}

#[test]
fn settings_that_do_not_fit_are_refused() {
    let seeded = Sandbox::builder().seed("nobody", "contacts", 1, 1);
    for (builder, part) in [
        (Sandbox::builder().accounts(["a b"]), "'a b' cannot name an account"),
        (Sandbox::builder().accounts(["a", "a"]), "two accounts named 'a'"),
        (Sandbox::builder().objects([ObjectSettings::new("account")]), "'account' cannot name an object"),
        (Sandbox::builder().page_size(0), "page_size"),
        (Sandbox::builder().rate_limit(0, 1), "rate limit"),
        (seeded, "'nobody', which is not an account"),
        (Sandbox::builder().seed("acme", "deals", 1, 1), "no object 'deals'"),
        (Sandbox::builder().seed_lines("acme", "contacts", "{}\n\nx"), "line 3"),
    ] {
        let error = Shared::new(builder.settings, builder.clock).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

/// One request over a real socket.
fn over_the_wire(base_url: &str, request: &str) -> String {
    let mut socket = std::net::TcpStream::connect(base_url.trim_start_matches("http://")).unwrap();
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A connection may be dropped on purpose; what came until then is what counts.
    drop(socket.read_to_end(&mut answer));
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_dropped_connection_says_nothing_and_a_cut_one_half() {
    let sandbox = Sandbox::builder().seed("acme", "contacts", 5, 1).spawn_thread().unwrap();
    let switch = |rates: &str| {
        let head = format!("POST /_sandbox/hostile HTTP/1.1\r\nHost: x\r\nContent-Length: {}", rates.len());
        over_the_wire(sandbox.base_url(), &format!("{head}\r\nConnection: close\r\n\r\n{rates}"))
    };
    for rate in ["dropped", "answer_lost"] {
        assert!(switch(&format!(r#"{{"{rate}":1000}}"#)).starts_with("HTTP/1.1 200 OK\r\n"));
        assert_eq!(over_the_wire(sandbox.base_url(), LIST), "", "{rate}");
    }
    switch(r#"{"cut":1000,"seed":3}"#);
    let answer = over_the_wire(sandbox.base_url(), LIST);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let announced = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(announced.unwrap_or(0) > body.len() && !body.is_empty(), "{answer}");
}

const LIST: &str =
    "GET /v1/contacts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sandbox-token-acme\r\nConnection: close\r\n\r\n";

#[actix_web::test]
async fn it_runs_on_a_thread_of_its_own_and_stops() {
    let sandbox = Sandbox::builder().spawn_thread().unwrap();
    let record = Value::from_json(r#"{"email":"a@b.de","n":1}"#).unwrap();
    let made = sandbox.upsert("acme", "contacts", "email", &record).unwrap();
    let answer = over_the_wire(sandbox.base_url(), LIST);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains(r#""email":"a@b.de""#), "{answer}");
    assert_eq!((sandbox.stats().requests, sandbox.stats().writes.total), (1, 0));
    assert_eq!(sandbox.log(5)[0].path, "/v1/contacts");

    let replaced = sandbox.upsert("acme", "contacts", "email", &Value::from_json(r#"{"email":"a@b.de"}"#).unwrap());
    let replaced = replaced.unwrap();
    assert_eq!((&replaced.id, replaced.properties.to_json().as_str()), (&made.id, r#"{"email":"a@b.de"}"#));
    let patched = sandbox.patch("acme", "contacts", &made.id, &Value::from_json(r#"{"n":2}"#).unwrap()).unwrap();
    assert_ne!(patched.etag, replaced.etag);
    assert_eq!(sandbox.records("acme", "contacts").unwrap(), std::slice::from_ref(&patched));
    assert_eq!(sandbox.record("acme", "contacts", &made.id).unwrap(), patched);
    sandbox.delete("acme", "contacts", &made.id).unwrap();
    assert!(matches!(
        sandbox.delete("acme", "contacts", &made.id),
        Err(SandboxError::Refused { status: 404, message: _ })
    ));
    assert!(matches!(sandbox.records("none", "contacts"), Err(SandboxError::UnknownAccount { account: _ })));

    sandbox.stop().await;
    let address = sandbox.base_url().trim_start_matches("http://").to_owned();
    assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens after the stop");
    sandbox.stop().await;
}

#[actix_web::test]
async fn it_runs_within_a_system_and_a_taken_port_is_an_error() {
    let sandbox = Sandbox::builder().gzip(true).start().unwrap();
    let base_url = sandbox.base_url().to_owned();
    let asked = std::thread::spawn(move || over_the_wire(&base_url, LIST));
    while !asked.is_finished() {
        tokio::task::yield_now().await;
    }
    assert!(asked.join().unwrap().starts_with("HTTP/1.1 200 OK\r\n"));
    let port: u16 = sandbox.base_url().rsplit(':').next().unwrap().parse().unwrap();
    let error = Sandbox::builder().port(port).spawn_thread().unwrap_err();
    assert!(error.to_string().starts_with(&format!("failed to listen on 127.0.0.1:{port}: ")), "{error}");
    sandbox.stop().await;
}
