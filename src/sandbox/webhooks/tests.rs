//! Webhooks as their receiver sees them, over real sockets; every wait is for something
//! that happens.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use reqwest::{Client, Method};
use secrecy::SecretString;
use serde_json::{Value as Json, json};
use tokio::sync::Semaphore;

use super::outbox::{Change, MOST_OPEN, Outbox, Snapshot, Verb};
use super::*;
use crate::connectors::webhook::signature::{Delivery, Scheme};
use crate::model::value::Value;
use crate::sandbox::{Dialect, Hostile, Sandbox, SandboxBuilder, SandboxHandle, token};

/// A secret that no output may show.
const SECRET: &str = "whsec_dGhpcyBpcyBub3QgdG8gYmUgc2hvd24gZXZlcg==";
const HIDDEN_PATH: &str = "hidden-0123456789";

/// 2026-03-01T12:00:00Z
const NOW_MS: i64 = 1_772_366_400_000;

/// One request that came in.
#[derive(Clone)]
struct Came {
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    at: Instant,
}

impl Came {
    fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        &self.headers.iter().find(|(other, _)| other == name).unwrap().1
    }

    fn about(&self) -> String {
        let json = self.json();
        format!("{} {}", json["type"].as_str().unwrap(), json["data"]["id"].as_str().unwrap())
    }
}

/// What the receiver does, and what it saw.
struct Inner {
    came: Mutex<Vec<Came>>,
    /// Statuses with `Retry-After`, in order; then 200.
    answers: Mutex<VecDeque<(u16, Option<&'static str>)>>,
    /// Nobody is answered without one.
    gate: Semaphore,
}

struct Receiver {
    inner: Arc<Inner>,
    url: String,
    server: ServerHandle,
}

impl Receiver {
    fn start() -> Self {
        let gate = Semaphore::new(Semaphore::MAX_PERMITS);
        let inner = Arc::new(Inner { came: Mutex::default(), answers: Mutex::default(), gate });
        let data = web::Data::from(Arc::clone(&inner));
        let app = move || App::new().app_data(data.clone()).default_service(web::to(receive));
        let server = HttpServer::new(app).workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/webhooks/{HIDDEN_PATH}", server.addrs()[0]);
        let server = server.run();
        let handle = server.handle();
        actix_web::rt::spawn(server);
        Self { inner, url, server: handle }
    }

    fn answers(&self, answers: impl IntoIterator<Item = (u16, Option<&'static str>)>) {
        self.inner.answers.lock().unwrap().extend(answers);
    }

    fn came(&self) -> Vec<Came> {
        self.inner.came.lock().unwrap().clone()
    }

    async fn comes(&self, num: usize) -> Vec<Came> {
        until(|| self.came().len() >= num).await;
        self.came()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        drop(self.server.stop(false));
    }
}

async fn receive(inner: web::Data<Inner>, request: HttpRequest, body: web::Bytes) -> HttpResponse {
    let text = |value: &actix_web::http::header::HeaderValue| value.to_str().unwrap().to_owned();
    let headers = request.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    inner.came.lock().unwrap().push(Came { headers, body: body.to_vec(), at: Instant::now() });
    drop(inner.gate.acquire().await);
    let (status, retry_after) = inner.answers.lock().unwrap().pop_front().unwrap_or((200, None));
    let mut answer = HttpResponse::build(status.try_into().unwrap());
    if let Some(retry_after) = retry_after {
        answer.insert_header(("Retry-After", retry_after));
    }
    answer.finish()
}

/// Waits until something holds; far longer than it takes before that is a failure.
async fn until(holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "what is waited for does not come");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn builder() -> SandboxBuilder {
    Sandbox::builder().clock(Arc::new(|| NOW_MS))
}

/// A sandbox whose account tells this receiver.
fn sandbox(receiver: &Receiver, with: Webhook) -> SandboxHandle {
    builder().webhook("acme", Webhook { url: receiver.url.clone(), ..with }).spawn_thread().unwrap()
}

fn properties(text: &str) -> Value {
    Value::from_json(text).unwrap()
}

fn counts(sandbox: &SandboxHandle) -> WebhookCounts {
    sandbox.webhook_counts("acme").unwrap()
}

/// Waits until everything is delivered or given up.
async fn settled(sandbox: &SandboxHandle) -> WebhookCounts {
    until(|| counts(sandbox).open == 0).await;
    counts(sandbox)
}

async fn call(sandbox: &SandboxHandle, method: &str, path: &str, body: Json) -> (u16, Json) {
    let request =
        Client::new().request(Method::from_bytes(method.as_bytes()).unwrap(), sandbox.base_url().to_owned() + path);
    let request = request.bearer_auth(token("acme")).body(body.to_string());
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
}

/// A seed with which the first deliveries start like this.
fn seed_with(webhook: &Webhook, fits: impl Fn(&Webhook) -> bool) -> Webhook {
    let seeded = (0..10_000).map(|seed| Webhook { seed, ..webhook.clone() });
    seeded.into_iter().find(fits).unwrap()
}

#[test]
fn the_published_vector_is_signed_alike() {
    let secret = WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let signature = secret.standard("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
    assert_eq!(signature.unwrap(), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

#[test]
fn secrets_are_base64_of_the_specified_length() {
    assert_eq!(WebhookSecret::parse(&webhook_secret("a")), Ok(WebhookSecret::of_account("a")));
    for text in ["", "whsec_", "whsec_AAAA", "whsec_not base64 at all, and not to be shown", &"A".repeat(88)] {
        let error = WebhookSecret::parse(text).unwrap_err();
        assert!(error.contains("24 to 64") && !error.contains("not to be shown"), "{error}");
    }
}

#[actix_web::test]
async fn every_write_is_told_once_signed_and_with_its_record() {
    let receiver = Receiver::start();
    let with = Webhook { secret: Some(WebhookSecret::parse(SECRET).unwrap()), ..Webhook::default() };
    let sandbox = sandbox(&receiver, with);
    let (_, made) = call(&sandbox, "POST", "/v1/contacts", json!({ "properties": { "n": 1 } })).await;
    call(&sandbox, "PATCH", "/v1/contacts/101", json!({ "properties": { "n": 2 } })).await;
    call(&sandbox, "PATCH", "/v1/contacts/101", json!({ "properties": { "n": 2 } })).await;
    call(&sandbox, "PATCH", "/v1/contacts/999", json!({ "properties": { "n": 2 } })).await;
    let (_, put) = call(&sandbox, "PUT", "/v1/contacts/101", json!({ "properties": { "n": 3 } })).await;
    let two = json!({ "inputs": [{ "properties": { "n": 4 } }, { "properties": 5 }, { "properties": { "n": 6 } }] });
    assert_eq!(call(&sandbox, "POST", "/v1/companies/batch/create", two).await.0, 207);
    let one = json!({ "inputs": [{ "id": "102", "properties": { "n": 7 } }] });
    call(&sandbox, "POST", "/v1/companies/batch/update", one).await;
    call(&sandbox, "POST", "/v1/companies/batch/delete", json!({ "inputs": [{ "id": "103" }] })).await;
    assert_eq!(call(&sandbox, "DELETE", "/v1/contacts/101", Json::Null).await.0, 204);
    let own = sandbox.upsert("acme", "contacts", "email", &properties(r#"{"email":"a@x.io"}"#)).unwrap();
    sandbox.patch("acme", "contacts", &own.id, &properties(r#"{"n":8}"#)).unwrap();
    sandbox.delete("acme", "contacts", &own.id).unwrap();

    let counts = settled(&sandbox).await;
    assert_eq!((counts.events, counts.sent, counts.acknowledged), (11, 11, 11), "{counts:?}");
    let came = receiver.came();
    let mut about: Vec<String> = came.iter().map(Came::about).collect();
    about.sort();
    let wanted = [
        "companies.created 102",
        "companies.created 103",
        "companies.deleted 103",
        "companies.updated 102",
        "contacts.created 101",
        "contacts.created 104",
        "contacts.deleted 101",
        "contacts.deleted 104",
        "contacts.updated 101",
        "contacts.updated 101",
        "contacts.updated 104",
    ];
    assert_eq!(about, wanted);
    let ids: BTreeSet<&str> = came.iter().map(|came| came.header("webhook-id")).collect();
    assert_eq!(ids.len(), came.len());
    for came in &came {
        assert_genuine(came, &receiver.url);
        let data = &came.json()["data"];
        assert_eq!((&data["account"], &data["record"]["id"]), (&json!("acme"), &data["id"]));
        assert_eq!((&data["version"], &data["updated_at"]), (&data["record"]["etag"], &data["record"]["updated_at"]));
    }
    let by = |about: &str| came.iter().filter(|came| came.about() == about).map(Came::json).collect::<Vec<_>>();
    assert_eq!(by("contacts.created 101")[0]["data"]["record"], made);
    assert!(by("contacts.updated 101").iter().any(|json| json["data"]["record"] == put));
    let deleted = &by("contacts.deleted 101")[0];
    assert_eq!((&deleted["data"]["version"], &deleted["data"]["record"]["archived"]), (&Json::Null, &json!(true)));
    assert_eq!(deleted["timestamp"], deleted["data"]["record"]["archived_at"]);
    sandbox.stop().await;
}

/// By the verifier of the receivers of this crate.
fn assert_genuine(came: &Came, url: &str) {
    let delivery = Delivery { method: "POST", url, headers: &came.headers, body: &came.body };
    let scheme = Scheme::preset("standard-webhooks").unwrap();
    scheme.check(&[SecretString::from(SECRET)], &delivery, NOW_MS).unwrap();
    assert!(scheme.check(&[SecretString::from(webhook_secret("acme"))], &delivery, NOW_MS).is_err());
}

#[actix_web::test]
async fn a_thin_payload_names_the_record_alone() {
    let receiver = Receiver::start();
    let sandbox = sandbox(&receiver, Webhook { thin: true, ..Webhook::default() });
    let made = sandbox.create("acme", "contacts", &properties(r#"{"n":1}"#)).unwrap();
    let json = receiver.comes(1).await[0].json();
    let data = json!({
        "account": "acme", "object": "contacts", "id": "101", "version": made.etag,
        "updated_at": "2026-03-01T12:00:00.000Z",
    });
    assert_eq!(json, json!({ "type": "contacts.created", "timestamp": "2026-03-01T12:00:00.000Z", "data": data }));
}

#[actix_web::test]
async fn what_is_lost_never_comes_and_what_is_doubled_comes_twice() {
    let receiver = Receiver::start();
    let sandbox = sandbox(&receiver, Webhook { loss: 1_000, duplication: 1_000, ..Webhook::default() });
    sandbox.create("acme", "contacts", &properties(r#"{"n":1}"#)).unwrap();
    assert_eq!((counts(&sandbox).lost, counts(&sandbox).open), (1, 0));
    let twice = Webhook { duplication: 1_000, ..Webhook::to(&receiver.url) };
    sandbox.set_webhook("acme", Some(&twice)).unwrap();
    sandbox.patch("acme", "contacts", "101", &properties(r#"{"n":2}"#)).unwrap();
    let counts = settled(&sandbox).await;
    assert_eq!((counts.events, counts.sent, counts.acknowledged, counts.duplicated), (2, 2, 2, 1), "{counts:?}");
    let came = receiver.came();
    assert_eq!(came[0].header("webhook-id"), came[1].header("webhook-id"));
    assert_eq!((came.len(), &came[0].body), (2, &came[1].body));
}

#[actix_web::test]
async fn what_is_reordered_comes_behind_a_later_one_or_after_its_time() {
    let receiver = Receiver::start();
    // Far longer than the test takes: only the later one can set the first free.
    let rates = Webhook { reordering: 500, delay_ms: 3_600_000, ..Webhook::default() };
    let first_is_held = |webhook: &Webhook| {
        let [first, second] = [0, 1].map(|number| webhook.fate(number).start);
        first == Start::Overtaken(3_600_000) && second == Start::AtOnce
    };
    let sandbox = sandbox(&receiver, seed_with(&rates, first_is_held));
    for n in 1..=2 {
        sandbox.create("acme", "contacts", &properties(&format!(r#"{{"n":{n}}}"#))).unwrap();
    }
    let about: Vec<String> = receiver.comes(2).await.iter().map(Came::about).collect();
    assert_eq!(about, ["contacts.created 102", "contacts.created 101"]);
    assert_eq!(settled(&sandbox).await.reordered, 1);

    let alone = Webhook { reordering: 1_000, delay_ms: 5, ..Webhook::to(&receiver.url) };
    sandbox.set_webhook("acme", Some(&alone)).unwrap();
    sandbox.delete("acme", "contacts", "101").unwrap();
    assert_eq!(receiver.comes(3).await[2].about(), "contacts.deleted 101");
}

#[actix_web::test]
async fn what_is_late_comes_after_the_time_that_was_drawn() {
    let receiver = Receiver::start();
    let rates = Webhook { delay: 1_000, delay_ms: 200, ..Webhook::default() };
    let Start::Late(after_ms) = rates.fate(0).start else { panic!("{:?}", rates.fate(0)) };
    let sandbox = sandbox(&receiver, rates);
    let before = Instant::now();
    sandbox.create("acme", "contacts", &properties(r#"{"n":1}"#)).unwrap();
    let came = receiver.comes(1).await;
    assert!(came[0].at.duration_since(before) >= Duration::from_millis(after_ms));
    assert_eq!(settled(&sandbox).await.late, 1);
}

#[actix_web::test]
async fn an_early_webhook_is_delivered_before_its_write_is_answered() {
    let receiver = Receiver::start();
    let sandbox = Arc::new(sandbox(&receiver, Webhook { early: 1_000, ..Webhook::default() }));
    let permits = receiver.inner.gate.forget_permits(usize::MAX);
    let writer = Arc::clone(&sandbox);
    let write = actix_web::rt::spawn(async move {
        call(&writer, "POST", "/v1/contacts", json!({ "properties": { "n": 1 } })).await.0
    });
    receiver.comes(1).await;
    // It reads, too, while it waits; so the answer had every chance to come.
    assert_eq!(call(&sandbox, "GET", "/v1/contacts/101", Json::Null).await.0, 200);
    assert!(!write.is_finished());
    receiver.inner.gate.add_permits(permits);
    assert_eq!(write.await.unwrap(), 201);
    assert_eq!(settled(&sandbox).await.early, 1);

    // One that fails holds the answer back for one try only.
    receiver.answers([(503, Some("3600"))]);
    assert_eq!(call(&sandbox, "DELETE", "/v1/contacts/101", Json::Null).await.0, 204);
    assert_eq!(counts(&sandbox).open, 1);
}

#[actix_web::test]
async fn an_old_payload_shows_the_record_as_it_was_before() {
    let receiver = Receiver::start();
    let sandbox = sandbox(&receiver, Webhook { old: 1_000, ..Webhook::default() });
    let made = sandbox.create("acme", "contacts", &properties(r#"{"n":1}"#)).unwrap();
    settled(&sandbox).await;
    let edited = sandbox.patch("acme", "contacts", "101", &properties(r#"{"n":2}"#)).unwrap();
    settled(&sandbox).await;
    sandbox.delete("acme", "contacts", "101").unwrap();
    let counts = settled(&sandbox).await;
    assert_eq!((counts.events, counts.old), (3, 2), "there is nothing before a create");
    let told: Vec<Json> = receiver.came().iter().map(Came::json).collect();
    let shown: Vec<(&Json, &Json)> =
        told.iter().map(|json| (&json["data"]["version"], &json["data"]["record"]["properties"]["n"])).collect();
    let (first, second) = (json!(made.etag), json!(edited.etag));
    assert_eq!(shown, [(&first, &json!(1)), (&first, &json!(1)), (&second, &json!(2))]);
    assert_eq!((&told[1]["type"], &told[2]["type"]), (&json!("contacts.updated"), &json!("contacts.deleted")));
}

#[actix_web::test]
async fn a_delivery_is_tried_again_for_a_while_and_as_late_as_it_is_asked() {
    let receiver = Receiver::start();
    let sandbox = sandbox(&receiver, Webhook { retries: 2, retry_ms: 1, ..Webhook::default() });
    receiver.answers([(500, None), (503, Some("1"))]);
    sandbox.create("acme", "contacts", &properties(r#"{"n":1}"#)).unwrap();
    let came = receiver.comes(3).await;
    let ids: BTreeSet<&str> = came.iter().map(|came| came.header("webhook-id")).collect();
    assert_eq!((ids.len(), &came[0].body), (1, &came[2].body));
    assert!(came[2].at.duration_since(came[1].at) >= Duration::from_secs(1), "Retry-After is honoured");
    let all = settled(&sandbox).await;
    assert_eq!((all.sent, all.retried, all.acknowledged, all.failed), (3, 2, 1, 0), "{all:?}");

    receiver.answers([(404, None), (302, None), (500, Some("1000"))]);
    sandbox.patch("acme", "contacts", "101", &properties(r#"{"n":2}"#)).unwrap();
    let all = settled(&sandbox).await;
    assert_eq!((all.sent, all.acknowledged, all.failed), (6, 1, 1), "{all:?}");
    let (_, told) = call(&sandbox, "GET", "/_sandbox/webhooks", Json::Null).await;
    assert_eq!(told["accounts"]["acme"]["last_failure"], "answered 500");

    // Nobody listens there.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nowhere = Webhook { retries: 1, retry_ms: 1, ..Webhook::to(format!("http://{free}/webhooks/{HIDDEN_PATH}")) };
    sandbox.set_webhook("acme", Some(&nowhere)).unwrap();
    sandbox.delete("acme", "contacts", "101").unwrap();
    let all = settled(&sandbox).await;
    assert_eq!((all.sent, all.failed), (8, 2), "{all:?}");
    let (_, told) = call(&sandbox, "GET", "/_sandbox/webhooks", Json::Null).await;
    let why = told["accounts"]["acme"]["last_failure"].as_str().unwrap();
    assert!(why.starts_with("no answer") && !why.contains(HIDDEN_PATH), "{why}");
}

#[actix_web::test]
async fn webhooks_are_switched_from_this_machine_and_show_no_secret() {
    let receiver = Receiver::start();
    let sandbox = builder().accounts(["acme", "globex"]).spawn_thread().unwrap();
    let mut shown = vec![format!("{sandbox:?}")];
    let whole = json!({ "url": receiver.url, "secret": SECRET, "loss": 1000 });
    let (status, told) = call(&sandbox, "POST", "/_sandbox/webhooks?account=acme", whole).await;
    assert_eq!((status, &told["accounts"]["acme"]["webhook"]["loss"]), (200, &json!(1000)), "{told}");
    shown.push(told.to_string());
    sandbox.create("acme", "contacts", &properties(r#"{"n":1}"#)).unwrap();
    sandbox.create("globex", "contacts", &properties(r#"{"n":1}"#)).unwrap();
    // URL and secret stay.
    shown.push(call(&sandbox, "POST", "/_sandbox/webhooks?account=acme", json!({ "thin": true })).await.1.to_string());
    sandbox.patch("acme", "contacts", "101", &properties(r#"{"n":2}"#)).unwrap();
    settled(&sandbox).await;
    assert_genuine(&receiver.comes(1).await[0], &receiver.url);

    let (_, told) = call(&sandbox, "GET", "/_sandbox/webhooks", Json::Null).await;
    let (acme, globex) = (&told["accounts"]["acme"], &told["accounts"]["globex"]);
    assert_eq!((&acme["webhook"]["thin"], &globex["webhook"]), (&json!(true), &Json::Null));
    let counted = [&acme["counts"]["events"], &acme["counts"]["lost"], &globex["counts"]["events"]];
    assert_eq!(counted, [&json!(2), &json!(1), &json!(0)]);
    shown.push(told.to_string());
    let (_, stats) = call(&sandbox, "GET", "/_sandbox/stats", Json::Null).await;
    assert_eq!((&stats["webhooks"]["acme"], &stats["webhooks"]["globex"]), (&acme["counts"], &Json::Null));
    shown.push(stats.to_string());
    assert_eq!(json!(sandbox.stats().webhooks), stats["webhooks"]);

    let (_, told) = call(&sandbox, "DELETE", "/_sandbox/webhooks?account=acme", Json::Null).await;
    assert_eq!(
        told["accounts"],
        json!({ "acme": { "webhook": null, "counts": acme["counts"], "last_failure": null } })
    );
    sandbox.delete("acme", "contacts", "101").unwrap();
    assert_eq!(counts(&sandbox).events, 2);
    for (query, body) in [
        ("account=initech", json!({ "url": receiver.url })),
        ("account=acme", json!({ "loss": 1 })),
        ("account=acme", json!({ "url": "ftp://127.0.0.1/x" })),
        ("account=acme", json!({ "url": receiver.url, "old": 1001 })),
        ("account=acme", json!({ "url": receiver.url, "retries": 21 })),
        ("account=acme", json!({ "url": receiver.url, "secret": "whsec_c2hvcnQ=" })),
        ("account=acme", json!({ "url": receiver.url, "sekret": SECRET })),
        ("account=acme", json!({ "url": receiver.url, "thin": SECRET })),
        ("name=acme", json!({ "url": receiver.url })),
    ] {
        let (status, told) = call(&sandbox, "POST", &format!("/_sandbox/webhooks?{query}"), body.clone()).await;
        assert_eq!(status, 400, "{query} {body}: {told}");
        shown.push(told.to_string());
    }
    assert_eq!(call(&sandbox, "PATCH", "/_sandbox/webhooks", Json::Null).await.0, 405);

    let secret = Some(WebhookSecret::parse(SECRET).unwrap());
    let builder = builder().webhook("acme", Webhook { secret: secret.clone(), ..Webhook::to(&receiver.url) });
    shown.extend([format!("{builder:?}"), format!("{secret:?}"), format!("{:?}", builder.spawn_thread())]);
    for text in shown {
        assert!(!text.contains(HIDDEN_PATH) && !text.contains(&SECRET[6..]) && !text.contains("dGhpc"), "{text}");
    }
}

#[test]
fn settings_with_a_webhook_that_cannot_be_are_refused() {
    let whole = || Webhook::to("http://127.0.0.1:1/webhooks/x");
    for (builder, part) in [
        (builder().webhook("globex", whole()), "not an account"),
        (builder().webhook("acme", Webhook::to("127.0.0.1:1")), "http://"),
        (builder().webhook("acme", Webhook { early: 1_001, ..whole() }), "'early'"),
    ] {
        let error = builder.spawn_thread().unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[actix_web::test]
async fn a_reset_brings_the_first_webhook_back_and_ids_do_not_come_again() {
    let receiver = Receiver::start();
    let sandbox = sandbox(&receiver, Webhook::default());
    sandbox.create("acme", "contacts", &properties(r#"{"n":1}"#)).unwrap();
    settled(&sandbox).await;
    sandbox.set_webhook("acme", None).unwrap();
    assert_eq!(call(&sandbox, "POST", "/_sandbox/reset", Json::Null).await.0, 200);
    assert_eq!(counts(&sandbox), WebhookCounts::default());
    sandbox.create("acme", "contacts", &properties(r#"{"n":1}"#)).unwrap();
    settled(&sandbox).await;
    let came = receiver.came();
    assert_ne!(came[0].header("webhook-id"), came[1].header("webhook-id"));
    sandbox.clear_stats();
    assert_eq!(counts(&sandbox), WebhookCounts::default());
}

#[actix_web::test]
async fn a_late_write_is_told_of_though_nobody_looks() {
    let receiver = Receiver::start();
    let hostile = Hostile { late: 1_000, late_ms: 20, ..Hostile::default() };
    let webhook = Webhook::to(&receiver.url);
    let sandbox = Sandbox::builder().webhook("acme", webhook).hostile(hostile).spawn_thread().unwrap();
    let request = Client::new().post(sandbox.api_url() + "/contacts").bearer_auth(token("acme"));
    request.body(json!({ "properties": { "n": 1 } }).to_string()).send().await.unwrap_err();
    assert_eq!(receiver.comes(1).await[0].about(), "contacts.created 101");
}

#[actix_web::test]
async fn it_stops_while_deliveries_are_under_way() {
    let receiver = Receiver::start();
    let sandbox = sandbox(&receiver, Webhook::default());
    receiver.inner.gate.forget_permits(usize::MAX);
    for n in 0..100 {
        sandbox.create("acme", "contacts", &properties(&format!(r#"{{"n":{n}}}"#))).unwrap();
    }
    receiver.comes(1).await;
    sandbox.stop().await;
    assert!(counts(&sandbox).open > 0, "they were broken off");
    sandbox.delete("acme", "contacts", "101").unwrap();
    assert_eq!(counts(&sandbox).dropped, 1);
    sandbox.stop().await;
}

#[test]
fn a_fate_depends_on_seed_rates_and_number_alone() {
    let rates = Webhook { loss: 100, duplication: 250, reordering: 200, delay: 300, early: 100, ..Webhook::default() };
    let rates = Webhook { old: 500, seed: 7, ..rates };
    let drawn = |webhook: &Webhook| (0..4_000).map(|number| webhook.fate(number)).collect::<Vec<_>>();
    let fates = drawn(&rates);
    assert_eq!(fates, drawn(&rates.clone()));
    assert_ne!(fates, drawn(&Webhook { seed: 8, ..rates.clone() }));
    let num = |fits: fn(&Fate) -> bool| fates.iter().filter(|fate| fits(fate)).count();
    for (found, expected) in [
        (num(|fate| fate.lost), 400),
        (num(|fate| fate.twice), 900),
        (num(|fate| fate.old), 1_800),
        (num(|fate| fate.start == Start::Early), 360),
        (num(|fate| fate.start == Start::Overtaken(1_000)), 648),
        (num(|fate| matches!(fate.start, Start::Late(1..=1_000))), 778),
    ] {
        assert!(found.abs_diff(expected) < expected / 4, "{found} of {expected}");
    }
    // Turning one switch leaves what the others do alone.
    let without_loss = drawn(&Webhook { loss: 0, ..rates });
    assert!(fates.iter().zip(&without_loss).all(|(with, without)| with.lost || with == without));
    assert!(drawn(&Webhook::default()).iter().all(|fate| *fate == Fate::default()));
}

#[test]
fn what_is_open_is_bounded_and_what_is_dropped_is_counted() {
    let webhook = Webhook { duplication: 1_000, ..Webhook::to("http://127.0.0.1:1/x") };
    let mut outbox = Outbox::new(Dialect::Crm.speech(), (0, "acme"), Some(&webhook), (0, 0));
    let json = web::Bytes::from_static(b"{}");
    let now = Snapshot { etag: None, updated_ms: 0, created_ms: 0, json, fields: None };
    for id in 0..MOST_OPEN {
        outbox.tell(Change { verb: Verb::Deleted, object: "contacts", id, now: now.clone(), before: None });
    }
    let counts = outbox.counts();
    assert_eq!((counts.open, counts.dropped, counts.events), (MOST_OPEN, MOST_OPEN, MOST_OPEN));
    assert_eq!(outbox.take().len() as u64, MOST_OPEN);
    assert!(outbox.take().is_empty());
}

#[test]
fn a_shown_url_ends_where_secrets_may_begin() {
    for (url, shown) in [
        ("http://127.0.0.1:8100/webhooks/secret", "http://127.0.0.1:8100/webhooks/…"),
        ("https://user:secret@example.com/a/b/secret?key=secret#secret", "https://example.com/a/b/…"),
        ("http://[::1]:9", "http://[::1]:9/…"),
        ("secret", "…"),
    ] {
        assert_eq!(Webhook::to(url).shown_url(), shown);
    }
}
