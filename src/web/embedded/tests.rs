//! Requests and answers.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Mutex;

use actix_web::body::to_bytes;
use actix_web::dev::ServiceResponse;
use actix_web::{App, test as http};

use super::*;
use crate::store::StoreOptions;

/// What the kernel was told.
type Told = Arc<Mutex<Vec<String>>>;

type Answering = Pin<Box<dyn Future<Output = ServiceResponse>>>;

struct Rig {
    call: Box<dyn Fn(http::TestRequest) -> Answering>,
    told: Told,
}

/// What an answer said.
#[derive(Debug)]
struct Said {
    status: u16,
    etag: Option<String>,
    location: Option<String>,
    body: String,
}

impl Said {
    fn json(&self) -> Value {
        Value::from_json(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    fn at(&self, path: &str) -> String {
        let found = self.json().get(&path.parse().unwrap()).cloned();
        found.map_or_else(|| "absent".to_owned(), |value| value.as_str().map_or(value.to_json(), str::to_owned))
    }
}

fn api() -> (EmbeddedApi, Told) {
    let told = Told::default();
    let telling = Arc::clone(&told);
    let on_change: OnChange = Arc::new(move |scope, object| telling.lock().unwrap().push(format!("{scope}/{object}")));
    let clock: Clock = Arc::new(|| 1_700_000_000_123);
    (EmbeddedApi::new(test_store(), on_change).with_clock(clock), told)
}

async fn rig((api, told): (EmbeddedApi, Told)) -> Rig {
    let app = App::new().service(web::scope("/records").configure(api.configure()));
    let service = Rc::new(http::init_service(app).await);
    let call = move |request: http::TestRequest| -> Answering {
        let service = Rc::clone(&service);
        Box::pin(async move { http::call_service(&*service, request.to_request()).await })
    };
    Rig { call: Box::new(call), told }
}

impl Rig {
    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Said {
        let mut request = http::TestRequest::default()
            .method(method.parse().unwrap())
            .uri(&format!("/records{path}"))
            .set_payload(body.to_owned());
        if !body.is_empty() {
            request = request.insert_header(("content-type", "application/json"));
        }
        for (name, value) in headers {
            request = request.insert_header((*name, *value));
        }
        let response = (self.call)(request).await;
        let text = |name| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let (status, etag, location) = (response.status().as_u16(), text(header::ETAG), text(header::LOCATION));
        let bytes = to_bytes(response.into_body()).await.map_err(|_| "no body").unwrap();
        Said { status, etag, location, body: String::from_utf8(bytes.to_vec()).unwrap() }
    }

    async fn get(&self, path: &str) -> Said {
        self.ask("GET", path, &[], "").await
    }

    async fn put(&self, path: &str, body: &str) -> Said {
        self.ask("PUT", path, &[], body).await
    }
}

#[actix_web::test]
async fn a_record_lives_through_its_life() {
    let rig = rig(api()).await;
    let made = rig.put("/acct/contacts/a", r#"{"name": "Ada",  "n":10.00}"#).await;
    assert_eq!(made.status, 201);
    assert_eq!(made.etag, Some(format!("\"{}\"", made.at("version"))));
    assert_eq!(made.at("modified"), "2023-11-14T22:13:20.123Z");
    let read = rig.get("/acct/contacts/a").await;
    assert_eq!((read.status, read.at("id"), read.at("record.n")), (200, "a".into(), "10.00".into()));
    let replaced = rig.put("/acct/contacts/a", r#"{"name":"Ada L","tags":[1]}"#).await;
    assert_eq!((replaced.status, replaced.at("record.n")), (200, "absent".into()));
    let merged = rig.ask("PATCH", "/acct/contacts/a", &[], r#"{"tags":null,"city":{"name":"London"}}"#).await;
    assert_eq!((merged.status, merged.at("record")), (200, r#"{"name":"Ada L","city":{"name":"London"}}"#.into()));
    let gone = rig.ask("DELETE", "/acct/contacts/a", &[], "").await;
    assert_eq!((gone.status, gone.body.as_str()), (204, ""));
    for (method, body) in [("GET", ""), ("PATCH", "{}"), ("DELETE", "")] {
        let said = rig.ask(method, "/acct/contacts/a", &[], body).await;
        assert_eq!((said.status, said.at("error.code")), (404, "not_found".into()), "{method}");
    }
    assert_eq!(
        *rig.told.lock().unwrap(),
        vec!["acct/contacts"; 4],
        "the kernel was told of each change, and of no other"
    );
}

#[actix_web::test]
async fn posting_gives_an_id_and_its_place() {
    let rig = rig(api()).await;
    let first = rig.ask("POST", "/acct/contacts", &[], r#"{"n":1}"#).await;
    let second = rig.ask("POST", "/acct/contacts", &[], r#"{"n":1}"#).await;
    assert_eq!((first.status, second.status), (201, 201));
    assert_ne!(first.at("id"), second.at("id"));
    let location = first.location.clone().unwrap();
    assert_eq!(location, format!("/records/acct/contacts/{}", first.at("id")));
    assert_eq!(rig.get(location.strip_prefix("/records").unwrap()).await.at("record.n"), "1");
}

#[test]
fn server_ids_sort_by_time_and_differ() {
    let (early, late) = (server_id(1_000, u128::MAX), server_id(1_001, 0));
    assert!(early < late, "{early} {late}");
    assert_eq!(early.len(), 26);
    assert_ne!(server_id(1_000, 1), server_id(1_000, 2));
    assert_eq!(server_id(-5, 0).len(), 26);
}

#[actix_web::test]
async fn preconditions_hold() {
    let rig = rig(api()).await;
    let path = "/acct/contacts/a";
    let refused = |said: &Said| (said.status, said.at("error.code"));
    let absent = ("if-match", "*");
    for (method, body) in [("PUT", "{}"), ("PATCH", "{}"), ("DELETE", "")] {
        let said = rig.ask(method, path, &[absent], body).await;
        assert_eq!(refused(&said), (412, "other_version".into()), "{method} of what is not there");
    }
    assert_eq!(rig.ask("PUT", path, &[("if-none-match", "*")], r#"{"n":1}"#).await.status, 201);
    let again = rig.ask("PUT", path, &[("if-none-match", "*")], r#"{"n":2}"#).await;
    assert_eq!(refused(&again), (412, "exists".into()));
    let old = rig.get(path).await.etag.unwrap();
    assert_eq!(rig.ask("PUT", path, &[("if-match", &old)], r#"{"n":3}"#).await.status, 200);
    for (method, body) in [("PUT", r#"{"n":4}"#), ("PATCH", r#"{"n":4}"#), ("DELETE", "")] {
        let said = rig.ask(method, path, &[("if-match", &old)], body).await;
        assert_eq!(refused(&said), (412, "other_version".into()), "{method} with an old version");
        let said = rig.ask(method, path, &[("if-match", "\"never\"")], body).await;
        assert_eq!(refused(&said), (412, "other_version".into()), "{method} with no version of ours");
        let said = rig.ask(method, path, &[("if-match", "nonsense")], body).await;
        assert_eq!(refused(&said), (400, "bad_condition".into()), "{method}");
    }
    assert_eq!(rig.get(path).await.at("record"), r#"{"n":3}"#);
    let now = rig.get(path).await.etag.unwrap();
    assert_eq!(rig.ask("PATCH", path, &[("if-match", &now)], r#"{"n":5}"#).await.status, 200);
    assert_eq!(rig.ask("DELETE", path, &[("if-match", "*")], "").await.status, 204);
}

#[actix_web::test]
async fn lists_go_page_by_page_within_scope_and_object() {
    let rig = rig(api()).await;
    for n in 0..5 {
        rig.put(&format!("/acct/contacts/{n}%2F%20."), &format!(r#"{{"n":{n}}}"#)).await;
    }
    rig.put("/acct/tickets/t", "{}").await;
    rig.put("/other/contacts/o", "{}").await;
    let (mut seen, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let said = rig.get(&format!("/acct/contacts?limit=2{cursor}")).await;
        assert_eq!(said.status, 200, "{said:?}");
        let Some(Value::Array(records)) = said.json().get(&"records".parse().unwrap()).cloned() else { panic!() };
        seen.extend(records.iter().map(|record| record.get(&"id".parse().unwrap()).unwrap().clone()));
        pages += 1;
        match said.json().get(&"next".parse().unwrap()).and_then(Value::as_str) {
            Some(next) => {
                let next: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
                cursor = format!("&cursor={next}");
            }
            None => break,
        }
    }
    let want: Vec<Value> = (0..5).map(|n| Value::string(format!("{n}/ ."))).collect();
    assert_eq!((seen, pages), (want, 3));
    assert_eq!(rig.get("/nobody/contacts").await.body, r#"{"records":[],"next":null}"#);
    let said = rig.get("/acct/contacts?page=2").await;
    assert_eq!((said.status, said.at("error.code")), (400, "bad_query".into()));
}

#[actix_web::test]
async fn changes_come_in_order_with_deletions() {
    let rig = rig(api()).await;
    for id in ["a", "b", "c"] {
        rig.put(&format!("/acct/contacts/{id}"), r#"{"n":1}"#).await;
    }
    let first = rig.get("/acct/contacts/changes?limit=2").await;
    assert_eq!(first.at("more"), "true");
    let rest = rig.get(&format!("/acct/contacts/changes?since={}", first.at("cursor"))).await;
    assert_eq!(rest.at("more"), "false");
    assert!(rest.body.contains(r#""id":"c""#) && !rest.body.contains(r#""id":"a""#), "{}", rest.body);
    rig.ask("DELETE", "/acct/contacts/b", &[], "").await;
    rig.ask("PATCH", "/acct/contacts/a", &[], r#"{"n":2}"#).await;
    rig.put("/other/contacts/x", "{}").await;
    let news = rig.get(&format!("/acct/contacts/changes?since={}", rest.at("cursor"))).await;
    let Some(Value::Array(changes)) = news.json().get(&"changes".parse().unwrap()).cloned() else { panic!() };
    let text: Vec<String> = changes.iter().map(Value::to_json).collect();
    assert_eq!(text.len(), 2, "{text:?}");
    assert!(text[0].contains(r#""id":"b""#) && text[0].contains(r#""deleted":true"#), "{text:?}");
    assert!(text[1].contains(r#""record":{"n":2}"#), "{text:?}");
    let none = rig.get(&format!("/acct/contacts/changes?since={}", news.at("cursor"))).await;
    assert_eq!((none.at("changes"), none.at("cursor")), ("[]".into(), news.at("cursor")));
    let ahead = rig.get("/acct/contacts/changes?since=9999999").await;
    assert_eq!((ahead.status, ahead.at("error.code")), (410, "unknown_cursor".into()));
}

#[actix_web::test]
async fn odd_ids_are_one_segment_each() {
    let rig = rig(api()).await;
    for id in [
        "a%2Fb",
        "a%20b",
        "..%2F..%2Fetc",
        "100%25",
        "%2525",
        "x.y",
        "90071992547409931",
        "%E6%BC%A2",
        "%63hanges",
        "a+b",
    ] {
        let path = format!("/acct/contacts/{id}");
        assert_eq!(rig.put(&path, &format!(r#"{{"is":"{id}"}}"#)).await.status, 201, "{id}");
        let read = rig.get(&path).await;
        let decoded = percent_encoding::percent_decode_str(id).decode_utf8().unwrap().into_owned();
        assert_eq!((read.at("record.is"), read.at("id")), (id.to_owned(), decoded));
    }
    assert!(rig.get("/acct/contacts/changes").await.body.starts_with(r#"{"changes":"#));
    assert_eq!(rig.put("/acct/contacts/changes", "{}").await.status, 405);
    assert_eq!(rig.get("/acct/contacts/a/b").await.status, 404, "a bare slash is another path");
}

#[actix_web::test]
async fn bad_requests_are_refused_with_a_reason_and_change_nothing() {
    let rig = rig(api()).await;
    let long = format!("/acct/contacts/{}", "x".repeat(1_025));
    let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(MAX_BODY_BYTES));
    let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    for (method, path, body, status, code) in [
        ("PUT", "/acct/contacts/a", r#"{"a":1,"a":2}"#, 400, "bad_json"),
        ("PUT", "/acct/contacts/a", "[1]", 400, "bad_json"),
        ("PUT", "/acct/contacts/a", "{", 400, "bad_json"),
        ("PATCH", "/acct/contacts/a", "null", 400, "bad_json"),
        ("POST", "/acct/contacts", &deep, 400, "bad_json"),
        ("POST", "/acct/contacts", &large, 413, "too_large"),
        ("POST", "/acct/contacts", "", 415, "not_json"),
        ("PUT", "/acct/contacts/a", "", 415, "not_json"),
        ("PUT", &long, "{}", 400, "bad_id"),
        ("PUT", "/acct/contacts/%ff", "{}", 400, "bad_path"),
        ("PUT", "/acct/con%00tacts/a", "{}", 400, "bad_name"),
        ("PUT", "/acct/contacts", "{}", 405, "wrong_method"),
        ("POST", "/acct/contacts/a", "{}", 405, "wrong_method"),
    ] {
        let said = rig.ask(method, path, &[], body).await;
        assert_eq!((said.status, said.at("error.code").as_str()), (status, code), "{method} {path:.40} {body:.40}");
        assert!(!said.at("error.message").is_empty());
    }
    let plain = rig.ask("POST", "/acct/contacts", &[("content-type", "text/plain")], "{}").await;
    assert_eq!(plain.status, 415, "what a web page may send without asking is refused");
    assert_eq!(rig.get("/acct/contacts").await.body, r#"{"records":[],"next":null}"#);
    assert!(rig.told.lock().unwrap().is_empty());
}

#[actix_web::test]
async fn a_patch_cannot_grow_a_record_past_the_limit() {
    let rig = rig(api()).await;
    let half = "x".repeat(MAX_BODY_BYTES / 2);
    assert_eq!(rig.put("/acct/contacts/a", &format!(r#"{{"a":"{half}"}}"#)).await.status, 201);
    let said = rig.ask("PATCH", "/acct/contacts/a", &[], &format!(r#"{{"b":"{half}"}}"#)).await;
    assert_eq!((said.status, said.at("error.code")), (413, "too_large".into()));
}

#[actix_web::test]
async fn a_token_is_asked_for_everywhere() {
    let (api, told) = api();
    let rig = rig((api.with_token("s3cret"), told)).await;
    for (method, path, body) in [
        ("GET", "/acct/contacts", ""),
        ("GET", "/acct/contacts/changes", ""),
        ("GET", "/acct/contacts/a", ""),
        ("POST", "/acct/contacts", "{}"),
        ("PUT", "/acct/contacts/a", "{}"),
        ("PATCH", "/acct/contacts/a", "{}"),
        ("DELETE", "/acct/contacts/a", ""),
    ] {
        for authorization in [None, Some("Bearer wrong"), Some("Bearer"), Some("Basic s3cret"), Some("s3cret")] {
            let headers: Vec<(&str, &str)> = authorization.map(|value| ("authorization", value)).into_iter().collect();
            let said = rig.ask(method, path, &headers, body).await;
            assert_eq!(
                (said.status, said.at("error.code")),
                (401, "unauthorised".into()),
                "{method} {authorization:?}"
            );
            assert!(!said.body.contains("s3cret"));
        }
    }
    let said = rig.ask("PUT", "/acct/contacts/a", &[("authorization", "bearer s3cret")], "{}").await;
    assert_eq!(said.status, 201);
    assert_eq!(rig.told.lock().unwrap().len(), 1);
}

#[actix_web::test]
async fn a_write_whose_caller_leaves_is_still_told() {
    let (api, told) = api();
    let target = Target { scope: "acct".into(), object: "contacts".into() };
    let write = {
        let api = api.clone();
        to_the_end(async move {
            actix_web::rt::task::yield_now().await;
            api.put(&target, &"a".into(), &Condition::None, &Value::Object(Vec::new())).await
        })
    };
    let mut write = Box::pin(write);
    // The caller looks once and goes.
    let looked = std::future::poll_fn(|context| std::task::Poll::Ready(write.as_mut().poll(context).is_pending()));
    assert!(looked.await);
    drop(write);
    for _ in 0..20 {
        actix_web::rt::task::yield_now().await;
    }
    assert_eq!(told.lock().unwrap().len(), 1);
}

#[test]
fn debug_shows_no_token() {
    let (api, _) = api();
    assert!(!format!("{:?}", api.with_token("s3cret")).contains("s3cret"));
}

fn test_store() -> Store {
    Store::in_memory(StoreOptions::inline()).unwrap()
}
