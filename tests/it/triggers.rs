//! Danger: what somebody was told is accepted is lost, or what nobody may say is believed.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use actix_web::{App, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use syncline::Kernel;
use syncline::actors::spec::Webhook;
use syncline::connectors::http::HttpConnectorFile;
use syncline::connectors::memory::{Behaviour, Operation};
use syncline::model::budget::{Limits, Window};
use syncline::model::hint::Hint;
use syncline::model::side::Side;
use syncline::model::value::Value;
use syncline::model::work::Lane;
use syncline::store::Appended;
use syncline::triggers::event::{Accepted, Event, EventError, Fire, Whose};

use crate::harness::{OBJECT, Setup, World, edit, record, story};

const PATH: &str = "hook-0123456789abcdef";
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const OLD_SECRET: &[u8] = b"fedcba9876543210fedcba9876543210";
const URI: &str = "/webhooks/hook-0123456789abcdef";
const NOW_S: i64 = 1_700_000_000;

/// A connector file whose objects are never called: its `[webhook]` is what is wanted.
fn webhook(rest: &str) -> Webhook {
    let text = format!(
        "name = \"crm\"\n[webhook]\n{rest}\n[object.contacts]\nid = \"id\"\n[object.contacts.list]\nget = \"/c\"\nrecords = \"r\"\n"
    );
    let file = HttpConnectorFile::parse("crm.toml", &text).unwrap();
    Webhook {
        path: PATH.into(),
        base_url: "https://sync.example.com".to_owned(),
        secrets: vec![format!("whsec_{}", STANDARD.encode(SECRET)).into()],
        account: None,
        spec: file.webhook().unwrap().clone(),
    }
}

const SIGNED: &str = "signature = \"standard-webhooks\"\ntype = \"type\"\nobjects = { \"contact.*\" = \"contacts\" }\nid = \"data.id\"\naccount = \"account\"";

fn signed() -> Setup {
    Setup { webhook: Some(webhook(SIGNED)), ..Setup::default() }
}

fn updated(id: &str) -> String {
    format!(r#"{{"type":"contact.updated","data":{{"id":"{id}"}}}}"#)
}

fn mac(secret: &[u8], text: &str) -> Vec<u8> {
    Hmac::<Sha256>::new_from_slice(secret).unwrap().chain_update(text).finalize().into_bytes().to_vec()
}

fn signature(secret: &[u8], id: &str, at_s: &str, body: &str) -> String {
    format!("v1,{}", STANDARD.encode(mac(secret, &format!("{id}.{at_s}.{body}"))))
}

/// A delivery as Standard Webhooks signs it.
fn delivery(id: &str, at_s: i64, body: &str) -> TestRequest {
    let at_s = at_s.to_string();
    let signature = signature(SECRET, id, &at_s, body);
    headed(id, &at_s, &signature, body)
}

fn headed(id: &str, at_s: &str, signature: &str, body: &str) -> TestRequest {
    TestRequest::post()
        .uri(URI)
        .insert_header(("webhook-id", id))
        .insert_header(("webhook-timestamp", at_s))
        .insert_header(("webhook-signature", signature))
        .set_payload(body.to_owned())
}

/// Sends requests one after the other to the world's receiver; their statuses.
async fn post(world: &World, requests: impl IntoIterator<Item = TestRequest>) -> Vec<u16> {
    post_to(world.kernel(), requests).await
}

async fn post_to(kernel: &Kernel, requests: impl IntoIterator<Item = TestRequest>) -> Vec<u16> {
    let app = App::new().configure(kernel.webhooks().configure());
    let app = init_service(app.configure(kernel.events().with_token("t0ken").configure())).await;
    let mut statuses = Vec::new();
    for request in requests {
        statuses.push(call_service(&app, request.to_request()).await.status().as_u16());
    }
    statuses
}

async fn rest(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

fn hints(world: &World) -> usize {
    let conn = world.store.intern_connection(&"acme".into()).unwrap();
    world.store.snapshot().unwrap().inbox(conn, usize::MAX).unwrap().len()
}

fn event(ids: &[&str]) -> Fire {
    let event = Event::new(Whose::Connection("acme".into()), OBJECT, ids.iter().map(|id| (*id).into()));
    Fire { events: vec![event], key: None, settle_ms: 0 }
}

/// A linked pair: its ids on both sides.
async fn linked(world: &World, email: &str) -> (String, String) {
    let app = world.apps.app.create(OBJECT, record(Side::App, &[("email", email), ("name", "before")]));
    world.sync_well().await;
    (app.to_string(), world.by_email(Side::Remote)[email][0].0.to_string())
}

#[test]
fn a_webhook_has_its_record_read_and_nothing_else_of_it_is_believed() {
    story(|| async {
        let world = World::new(signed()).await;
        let (app, remote) = linked(&world, "a@x.io").await;
        edit(&world.apps, Side::Remote, &remote, "phone", Some("555"));
        let body =
            format!(r#"{{"type":"contact.updated","data":{{"id":"{remote}","phone":"666","email":"evil@x.io"}}}}"#);
        assert_eq!(post(&world, [delivery("m1", NOW_S, &body)]).await, [200]);
        rest(5).await;
        let fields = world.fields(Side::App, &app);
        assert_eq!((&fields["phone"], &fields["email"]), (&Value::string("555"), &Value::string("a@x.io")));
        assert_eq!(hints(&world), 0);
        world.clear_logs();
        world.sync_well().await;
        assert_eq!((world.writes().app, world.writes().remote), (0, 0), "and it has settled");
    });
}

/// How often the connected app was asked for records by id.
fn reads_by_id(world: &World) -> usize {
    let log = world.apps.remote.log();
    log.iter().filter(|call| matches!(call.operation, Operation::ReadIds(_))).count()
}

/// A delivery that brings the record as it is, under a version.
fn whole(world: &World, id: &str, version: &str, nth: &str) -> TestRequest {
    let record = world.apps.remote.get(OBJECT, id).unwrap().to_json();
    let data = format!(r#"{{"id":"{id}","version":"{version}","record":{record}}}"#);
    delivery(nth, NOW_S, &format!(r#"{{"type":"contact.updated","data":{data}}}"#))
}

/// The version under which the connected app has a record.
async fn version_of(world: &World, id: &str) -> String {
    let conn = world.store.intern_connection(&"acme".into()).unwrap();
    let sync = world.store.intern_sync(&"contacts".into()).unwrap();
    let snapshot = world.store.snapshot().unwrap();
    let pair = snapshot.pair_by_id(conn, sync, Side::Remote, &id.into()).unwrap().unwrap();
    let marker = snapshot.marker(conn, sync, pair).unwrap().unwrap();
    marker.sides[Side::Remote].version.as_ref().unwrap().to_string()
}

#[test]
fn a_signed_record_stands_for_a_read_only_where_it_is_certainly_newer() {
    story(|| async {
        let setup = Setup { webhook: Some(webhook(&format!("{SIGNED}\nrecord = \"data\""))), ..Setup::default() };
        let world = World::new(setup).await;
        let (app, remote) = linked(&world, "a@x.io").await;
        let known = version_of(&world, &remote).await;
        let later = |by: u64| format!("v{}", known.trim_start_matches('v').parse::<u64>().unwrap() + by);
        let phone = |text: &str| edit(&world.apps, Side::Remote, &remote, "phone", Some(text));
        let shown = || world.fields(Side::App, &app)["phone"].clone();

        phone("555");
        world.clear_logs();
        assert_eq!(post(&world, [whole(&world, &remote, &later(1), "m1")]).await, [200]);
        rest(5).await;
        assert_eq!((shown(), reads_by_id(&world)), (Value::string("555"), 0), "newer: taken as it is");

        phone("666");
        let stale = whole(&world, &remote, &later(1), "m2");
        phone("777");
        assert_eq!(post(&world, [stale]).await, [200]);
        rest(5).await;
        assert_eq!((shown(), reads_by_id(&world)), (Value::string("777"), 1), "not newer: read");

        for (version, nth) in [("\\\"tag\\\"", "m3"), ("w/99999", "m4")] {
            phone(nth);
            assert_eq!(post(&world, [whole(&world, &remote, version, nth)]).await, [200]);
            rest(5).await;
            assert_eq!(shown(), Value::string(nth));
        }
        assert_eq!(reads_by_id(&world), 3, "a version that has no order: read");

        phone("old");
        let first = whole(&world, &remote, &later(50), "m5");
        phone("new");
        let second = whole(&world, &remote, &later(60), "m6");
        // In one go, so that both wait for the same turn.
        world.kernel().pause(&"acme".into()).await.unwrap();
        assert_eq!(post(&world, [second, first]).await, [200, 200]);
        rest(1).await;
        world.kernel().resume(&"acme".into()).await.unwrap();
        rest(5).await;
        assert_eq!((shown(), reads_by_id(&world)), (Value::string("new"), 4), "two at once: read");

        let gone = whole(&world, &remote, &later(90), "m7");
        world.apps.remote.delete(OBJECT, remote.as_str());
        world.sync_well().await;
        assert_eq!(post(&world, [gone]).await, [200]);
        rest(5).await;
        assert!(world.by_email(Side::App).is_empty() && world.by_email(Side::Remote).is_empty(), "nothing comes back");
    });
}

#[test]
fn a_told_record_is_no_ground_for_a_write_that_could_overwrite_something() {
    story(|| async {
        let setup = Setup { webhook: Some(webhook(&format!("{SIGNED}\nrecord = \"data\""))), ..Setup::default() };
        let mut world = World::new(setup).await;
        let mut can = world.apps.remote.capabilities(OBJECT);
        can.conditional = false;
        world.apps.remote.set_capabilities(OBJECT, can);
        world.kill().await;
        let (app, remote) = linked(&world, "a@x.io").await;
        edit(&world.apps, Side::Remote, &remote, "phone", Some("555"));
        world.clear_logs();
        assert_eq!(post(&world, [whole(&world, &remote, "v99999", "m1")]).await, [200]);
        rest(5).await;
        assert_eq!((&world.fields(Side::App, &app)["phone"], reads_by_id(&world)), (&Value::string("555"), 1));
    });
}

#[test]
fn an_event_has_its_record_read_and_sent() {
    story(|| async {
        let world = World::new(Setup::default()).await;
        let (app, remote) = linked(&world, "a@x.io").await;
        edit(&world.apps, Side::App, &app, "name", Some("after"));
        assert_eq!(world.kernel().fire(event(&[&app])).await, Ok(Accepted::Now));
        rest(5).await;
        assert_eq!(world.fields(Side::Remote, &remote)["name"], Value::string("after"));
        let new = world.apps.app.create(OBJECT, record(Side::App, &[("email", "b@x.io")]));
        assert_eq!(world.kernel().fire(event(&[new.as_str()])).await, Ok(Accepted::Now));
        rest(5).await;
        assert_eq!(world.by_email(Side::Remote)["b@x.io"].len(), 1, "one that is new");
        world.apps.app.delete(OBJECT, new);
        let from = world.apps.app.create(OBJECT, record(Side::App, &[("email", "c@x.io")]));
        // Without an id the list of changes is read, deletions included.
        assert_eq!(world.kernel().fire(event(&[])).await, Ok(Accepted::Now));
        rest(5).await;
        let remotes = world.by_email(Side::Remote);
        assert!(remotes.contains_key("c@x.io") && !remotes.contains_key("b@x.io"), "{from} {remotes:?}");
        assert_eq!(hints(&world), 0, "what was read is taken out");
    });
}

#[test]
fn deliveries_that_are_not_genuine_are_refused_and_leave_nothing() {
    story(|| async {
        let world = World::new(signed()).await;
        let body = updated("7");
        let now = NOW_S.to_string();
        let good = signature(SECRET, "m", &now, &body);
        let raw = mac(SECRET, &format!("m.{now}.{body}"));
        let hex: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
        let url_safe = format!("v1,{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&raw));
        let mut flipped = raw.clone();
        flipped[31] ^= 1;
        let many = format!("{} {good}", vec!["v1,AAAA"; 200].join(" "));
        let at = |at_s: &str| headed("m", at_s, &signature(SECRET, "m", at_s, &body), &body);
        let refused: Vec<(&str, TestRequest)> = vec![
            ("no signature", TestRequest::post().uri(URI).set_payload(body.clone())),
            ("one bit", headed("m", &now, &format!("v1,{}", STANDARD.encode(&flipped)), &body)),
            ("hex", headed("m", &now, &format!("v1,{hex}"), &body)),
            ("url-safe base64", headed("m", &now, &url_safe, &body)),
            ("two hundred", headed("m", &now, &many, &body)),
            ("another version", headed("m", &now, &good.replace("v1,", "v0,"), &body)),
            ("another id", headed("n", &now, &good, &body)),
            ("another time", headed("m", &(NOW_S + 1).to_string(), &good, &body)),
            ("another body", headed("m", &now, &good, &updated("8"))),
            ("a body written anew", headed("m", &now, &good, &body.replace(':', ": "))),
            ("ten minutes old", at(&(NOW_S - 600).to_string())),
            ("ten minutes ahead", at(&(NOW_S + 600).to_string())),
            ("negative", at("-5")),
            ("beyond any number", at("99999999999999999999")),
            ("with an exponent", at("1e9")),
            ("milliseconds", at(&format!("{now}000"))),
            ("another path", delivery("m", NOW_S, &body).uri("/webhooks/hook-0123456789abcdeX")),
            ("another secret", headed("m", &now, &signature(OLD_SECRET, "m", &now, &body), &body)),
        ];
        let (names, requests): (Vec<&str>, Vec<TestRequest>) = refused.into_iter().unzip();
        let statuses = post(&world, requests).await;
        for (name, status) in names.iter().zip(&statuses) {
            assert_eq!(*status, 401, "{name}");
        }
        assert_eq!(hints(&world), 0);
        let (counts, _) = world.kernel().received().await;
        assert_eq!((counts.accepted, counts.refused.values().sum::<u64>()), (0, names.len() as u64), "{counts:?}");
        assert_eq!(counts.refused["wrong signature"], 8, "{counts:?}");
    });
}

#[test]
fn a_stranger_and_a_forger_are_told_the_same() {
    story(|| async {
        let world = World::new(signed()).await;
        let app = init_service(App::new().configure(world.kernel().webhooks().configure())).await;
        let body = updated("7");
        let mut answers = Vec::new();
        for request in [
            delivery("m", NOW_S, &body).uri("/webhooks/hook-0123456789abcdeX"),
            headed("m", &NOW_S.to_string(), "v1,AAAA", &body),
        ] {
            let response = call_service(&app, request.to_request()).await;
            let headers = format!("{:?}", response.headers());
            answers.push((response.status(), headers, read_body(response).await));
        }
        assert_eq!(answers[0], answers[1]);
        assert_eq!(answers[0].0, StatusCode::UNAUTHORIZED);
    });
}

#[test]
fn an_old_secret_is_good_until_it_is_taken_away() {
    story(|| async {
        let both = |secrets: &[&[u8]]| {
            let secrets = secrets.iter().map(|secret| format!("whsec_{}", STANDARD.encode(secret)).into()).collect();
            Setup { webhook: Some(Webhook { secrets, ..webhook(SIGNED) }), ..Setup::default() }
        };
        let by_old = |id| {
            let at = NOW_S.to_string();
            headed(id, &at, &signature(OLD_SECRET, id, &at, &updated("7")), &updated("7"))
        };
        let mut world = World::new(both(&[SECRET, OLD_SECRET])).await;
        assert_eq!(post(&world, [by_old("m1"), delivery("m2", NOW_S, &updated("7"))]).await, [200, 200]);
        world.setup = both(&[SECRET]);
        world.kill().await;
        assert_eq!(post(&world, [by_old("m3"), delivery("m4", NOW_S, &updated("7"))]).await, [401, 200]);
    });
}

#[test]
fn a_replay_is_answered_and_starts_nothing() {
    story(|| async {
        let world = World::new(signed()).await;
        let (_, remote) = linked(&world, "a@x.io").await;
        world.clear_logs();
        assert_eq!(post(&world, [delivery("m1", NOW_S, &updated(&remote))]).await, [200]);
        rest(5).await;
        let calls = world.apps.remote.calls();
        assert!(calls > 0);
        assert_eq!(post(&world, [delivery("m1", NOW_S, &updated(&remote))]).await, [200]);
        rest(5).await;
        assert_eq!(world.apps.remote.calls(), calls);
        // After the tolerance the same delivery is no longer genuine.
        rest(600).await;
        assert_eq!(post(&world, [delivery("m1", NOW_S, &updated(&remote))]).await, [401]);
        let (counts, _) = world.kernel().received().await;
        assert_eq!((counts.accepted, counts.repeated), (1, 1));
    });
}

#[test]
fn the_same_body_once_more_is_news_where_no_time_is_signed() {
    story(|| async {
        let token = SIGNED.replace("\"standard-webhooks\"", "{ token = \"X-Token\" }");
        let open = Webhook { secrets: vec!["t0ken".into()], ..webhook(&token) };
        let world = World::new(Setup { webhook: Some(open), ..Setup::default() }).await;
        let (app, remote) = linked(&world, "a@x.io").await;
        for value in ["1", "2", "3"] {
            edit(&world.apps, Side::Remote, &remote, "phone", Some(value));
            let told = TestRequest::post().uri(URI).insert_header(("x-token", "t0ken")).set_payload(updated(&remote));
            assert_eq!(post(&world, [told]).await, [200]);
            rest(5).await;
            assert_eq!(world.fields(Side::App, &app)["phone"], Value::string(value));
        }
    });
}

#[test]
fn genuine_bodies_that_cannot_be_read_are_refused_as_a_whole() {
    story(|| async {
        let world = World::new(signed()).await;
        let deep = format!(r#"{{"type":"contact.x","data":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        for body in [r#"{"type":"contact.x","data":{"id":1,"id":2}}"#, "<html>", "", r#"{"type":"contact"#, &deep] {
            assert_eq!(post(&world, [delivery("m", NOW_S, body)]).await, [400], "{:.40}", body);
        }
        assert_eq!(hints(&world), 0);
        let other = r#"{"type":"deal.updated","data":{"id":"1"}}"#;
        assert_eq!(post(&world, [delivery("m", NOW_S, other)]).await, [200], "about nothing that is synced");
        let (counts, _) = world.kernel().received().await;
        assert_eq!((counts.others, counts.refused["unreadable body"]), (1, 5));
    });
}

#[test]
fn bodies_beyond_size_or_time_are_cut_off() {
    story(|| async {
        let world = World::new(signed()).await;
        let large = "x".repeat(1024 * 1024 + 1);
        let packed = delivery("m", NOW_S, &updated("7")).insert_header(("content-encoding", "gzip"));
        assert_eq!(post(&world, [delivery("m", NOW_S, &large), packed]).await, [413, 415]);
        // A body that comes byte by byte: time is over long before it is.
        let app = init_service(App::new().configure(world.kernel().webhooks().configure())).await;
        let drip = futures_util::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, actix_web::error::PayloadError>(web::Bytes::from_static(b"x")), ()))
        });
        let payload = actix_web::dev::Payload::Stream { payload: drip.boxed_local() };
        let (request, _) = delivery("m", NOW_S, "").to_request().replace_payload(payload);
        let before = tokio::time::Instant::now();
        assert_eq!(call_service(&app, request).await.status().as_u16(), 408);
        assert_eq!(before.elapsed().as_secs(), 10);
    });
}

#[test]
fn what_was_accepted_survives_whatever_dies_after_it() {
    story(|| async {
        let mut world = World::new(signed()).await;
        let (app, remote) = linked(&world, "a@x.io").await;
        for round in 0..20 {
            let value = round.to_string();
            edit(&world.apps, Side::Remote, &remote, "phone", Some(&value));
            let id = format!("m{round}");
            assert_eq!(post(&world, [delivery(&id, NOW_S, &updated(&remote))]).await, [200]);
            edit(&world.apps, Side::App, &app, "name", Some(&value));
            assert_eq!(world.kernel().fire(event(&[&app])).await, Ok(Accepted::Now));
            world.kill().await;
            rest(5).await;
            assert_eq!(world.fields(Side::App, &app)["phone"], Value::string(value.as_str()), "round {round}");
            assert_eq!(world.fields(Side::Remote, &remote)["name"], Value::string(value.as_str()), "round {round}");
        }
        assert_eq!(hints(&world), 0);
    });
}

#[test]
fn a_hint_for_an_object_stays_until_a_run_that_began_after_it_has_ended() {
    story(|| async {
        let mut world = World::new(Setup::default()).await;
        let (app, remote) = linked(&world, "a@x.io").await;
        world.apps.remote.set_behaviour(Behaviour { latency_ms: (500, 500), ..Behaviour::default() });
        edit(&world.apps, Side::App, &app, "name", Some("first"));
        assert_eq!(world.kernel().fire(event(&[])).await, Ok(Accepted::Now));
        // Its run is under way when another comes.
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert_eq!(world.kernel().fire(event(&[])).await, Ok(Accepted::Now));
        assert_eq!(hints(&world), 2);
        world.kill().await;
        assert!(hints(&world) > 0, "a kill does not end a run");
        rest(30).await;
        assert_eq!(hints(&world), 0);
        assert_eq!(world.fields(Side::Remote, &remote)["name"], Value::string("first"));
    });
}

#[test]
fn a_flood_that_is_read_as_a_whole_is_so_after_a_kill_too() {
    story(|| async {
        let mut world = World::new(Setup::default()).await;
        let (app, remote) = linked(&world, "a@x.io").await;
        world.apps.app.set_behaviour(Behaviour { latency_ms: (20, 20), ..Behaviour::default() });
        edit(&world.apps, Side::App, &app, "name", Some("after"));
        let nobody: Vec<String> = (0..600).map(|n| format!("nobody{n}")).collect();
        let ids: Vec<&str> = nobody.iter().map(String::as_str).chain([app.as_str()]).collect();
        assert_eq!(world.kernel().fire(event(&ids)).await, Ok(Accepted::Now));
        // Some of those that are read one by one have been; the run for the others waits.
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(hints(&world) > 0, "the run has not ended");
        world.kill().await;
        rest(60).await;
        assert_eq!(world.fields(Side::Remote, &remote)["name"], Value::string("after"));
        assert_eq!(hints(&world), 0);
    });
}

#[test]
fn a_record_that_waits_for_a_run_gets_one_after_a_kill_too() {
    story(|| async {
        let mut world = World::new(Setup::default()).await;
        linked(&world, "a@x.io").await;
        // Nobody can ask the connected app whether it has the new record: a run shows it.
        world.apps.remote.set_behaviour(Behaviour { latency_ms: (500, 500), ..Behaviour::default() });
        let new = world.apps.app.create(OBJECT, record(Side::App, &[("email", "b@x.io")]));
        assert_eq!(world.kernel().fire(event(&[new.as_str()])).await, Ok(Accepted::Now));
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(!world.by_email(Side::Remote).contains_key("b@x.io"), "the run is under way");
        world.kill().await;
        rest(60).await;
        assert_eq!(world.by_email(Side::Remote)["b@x.io"].len(), 1);
    });
}

#[test]
fn while_a_connection_is_paused_or_down_its_hints_are_taken() {
    story(|| async {
        let mut world = World::new(signed()).await;
        let (app, remote) = linked(&world, "a@x.io").await;
        world.kernel().pause(&"acme".into()).await.unwrap();
        edit(&world.apps, Side::Remote, &remote, "phone", Some("1"));
        assert_eq!(post(&world, [delivery("m1", NOW_S, &updated(&remote))]).await, [200]);
        rest(60).await;
        assert!(!world.fields(Side::App, &app).contains_key("phone"), "it rests");
        world.kernel().resume(&"acme".into()).await.unwrap();
        rest(5).await;
        assert_eq!(world.fields(Side::App, &app)["phone"], Value::string("1"));
        // Without an actor the inbox fills up to its bound, and not beyond.
        let dead = world.kernel().clone();
        world.abort().await;
        let conn = world.store.intern_connection(&"acme".into()).unwrap();
        let hint = |id: u64| Hint {
            lane: Lane::Webhook,
            side: Side::Remote,
            object: OBJECT.into(),
            id: Some(id.to_string().as_str().into()),
            told: None,
            at_ms: 0,
            due_ms: 0,
        };
        let right = world.store.inbox_right();
        assert_eq!(right.append(conn, (0..10_000).map(hint).collect(), None, 0).await.unwrap(), Appended::Accepted);
        assert_eq!(post_to(&dead, [delivery("m2", NOW_S, &updated("7"))]).await, [503]);
        assert_eq!(dead.fire(event(&["7"])).await, Err(EventError::Full(2)));
        drop(dead);
        world.apps.remote.clear_log();
        world.start().await;
        rest(60).await;
        assert_eq!(hints(&world), 0);
        let calls = world.apps.remote.calls();
        assert!(calls < 500, "names of nothing are not asked for one by one: {calls} calls");
    });
}

#[test]
fn what_cannot_be_stored_is_asked_to_come_back() {
    story(|| async {
        let mut world = World::new(signed()).await;
        linked(&world, "a@x.io").await;
        world.store.close().await;
        assert_eq!(post(&world, [delivery("m1", NOW_S, &updated("7"))]).await, [503]);
        let fired = world.kernel().fire(event(&["7"])).await;
        assert!(matches!(fired, Err(EventError::Store(_))), "{fired:?}");
        world.abort().await;
    });
}

#[test]
fn a_flood_costs_a_bounded_number_of_reads() {
    story(|| async {
        let world = World::new(signed()).await;
        let (app, remote) = linked(&world, "a@x.io").await;
        world.apps.remote.set_behaviour(Behaviour { latency_ms: (20, 20), ..Behaviour::default() });
        world.clear_logs();
        edit(&world.apps, Side::Remote, &remote, "phone", Some("1"));
        let flood = (0..2_000).map(|n| delivery(&format!("m{n}"), NOW_S, &updated(&remote)));
        assert!(post(&world, flood).await.iter().all(|status| *status == 200));
        rest(10).await;
        assert_eq!(world.fields(Side::App, &app)["phone"], Value::string("1"));
        let calls = world.apps.remote.calls();
        assert!(calls < 20, "{calls} calls for 2,000 webhooks about one record");
        world.clear_logs();
        let bogus = (0..2_000).map(|n| delivery(&format!("b{n}"), NOW_S, &updated(&format!("nobody{n}"))));
        assert!(post(&world, bogus).await.iter().all(|status| *status == 200));
        rest(60).await;
        let calls = world.apps.remote.calls();
        assert!(calls < 500, "{calls} calls for 2,000 records that there are not");
        assert_eq!(hints(&world), 0);
        assert_eq!(world.quarantine().len(), 0);
    });
}

#[test]
fn deletions_that_no_list_shows_are_followed_one_by_one_in_a_flood_too() {
    story(|| async {
        let limits = Limits { windows: vec![Window::new(40, 10_000)], ..Limits::default() };
        let mut world = World::new(Setup { limits, ..signed() }).await;
        world.apps.remote.set_behaviour(Behaviour { tombstones: false, ..Behaviour::default() });
        let mut can = world.apps.remote.capabilities(OBJECT);
        (can.deletions, can.read_ids) = (false, 10);
        world.apps.remote.set_capabilities(OBJECT, can);
        world.kill().await;
        let emails: Vec<String> = (0..600).map(|n| format!("c{n}@x.io")).collect();
        for email in &emails {
            world.apps.app.create(OBJECT, record(Side::App, &[("email", email), ("name", "before")]));
        }
        world.sync_well().await;
        let ids: Vec<String> = world.by_email(Side::Remote).values().map(|records| records[0].0.to_string()).collect();
        assert_eq!(ids.len(), emails.len());
        for id in &ids {
            assert!(world.apps.remote.delete(OBJECT, id.as_str()));
        }
        let told = ids.iter().enumerate().map(|(n, id)| delivery(&format!("d{n}"), NOW_S, &updated(id)));
        assert!(post(&world, told).await.iter().all(|status| *status == 200));
        world.kill().await;
        rest(120).await;
        assert_eq!((hints(&world), world.by_email(Side::App).len()), (0, 0));
    });
}

#[test]
fn webhooks_leave_half_of_the_budget_to_everybody_else() {
    story(|| async {
        let limits = Limits { windows: vec![Window::new(40, 10_000)], ..Limits::default() };
        let mut world = World::new(Setup { limits, ..signed() }).await;
        let mut can = world.apps.remote.capabilities(OBJECT);
        can.read_ids = 1;
        world.apps.remote.set_capabilities(OBJECT, can);
        world.kill().await;
        let (app, remote) = linked(&world, "a@x.io").await;
        rest(10).await;
        world.clear_logs();
        for second in 0..60 {
            let bogus = (0..50).map(|n| {
                let id = format!("nobody{second}-{n}");
                delivery(&format!("b{second}-{n}"), NOW_S + second, &updated(&id))
            });
            assert!(post(&world, bogus).await.iter().all(|status| *status == 200));
            rest(1).await;
        }
        let by_id = reads_by_id(&world);
        assert!((20..=7 * 20).contains(&by_id), "{by_id} reads by id in a minute of 240 calls");
        edit(&world.apps, Side::App, &app, "name", Some("urgent"));
        world.kernel().fire(event(&[&app])).await.unwrap();
        rest(15).await;
        assert_eq!(world.fields(Side::Remote, &remote)["name"], Value::string("urgent"));
        rest(60).await;
        assert_eq!((hints(&world), world.quarantine().len()), (0, 0));
    });
}

#[test]
fn webhooks_of_our_own_writes_take_no_calls_from_the_unit_that_writes() {
    story(|| async {
        let limits = Limits { windows: vec![Window::new(40, 10_000)], ..Limits::default() };
        let mut world = World::new(Setup { limits, ..signed() }).await;
        let mut can = world.apps.remote.capabilities(OBJECT);
        can.read_ids = 1;
        world.apps.remote.set_capabilities(OBJECT, can);
        world.kill().await;
        let people = (0..60).map(|n| record(Side::App, &[("email", &format!("{n}@x.io")), ("name", "before")]));
        let ids: Vec<_> = people.map(|person| world.apps.app.create(OBJECT, person)).collect();
        world.sync_well().await;
        rest(60).await;
        world.clear_logs();
        for id in &ids {
            edit(&world.apps, Side::App, id.as_str(), "name", Some("after"));
        }
        let started = tokio::time::Instant::now();
        let telling = async {
            let mut told = 0;
            for second in 0.. {
                rest(1).await;
                let log = world.apps.remote.log();
                let written = log.iter().filter_map(|call| match &call.operation {
                    Operation::Update { id, .. } => Some(id.to_string()),
                    _ => None,
                });
                let written: Vec<String> = written.skip(told).collect();
                told += written.len();
                let own = written.iter().enumerate();
                let own = own.map(|(n, id)| delivery(&format!("w{second}-{n}"), NOW_S + second, &updated(id)));
                assert!(post(&world, own).await.iter().all(|status| *status == 200));
            }
        };
        let acme = "acme".into();
        tokio::select! {
            report = world.kernel().resync(&acme, None) => assert_eq!(report.unwrap().error, None),
            () = telling => {}
        }
        // Sixty writes, each looked at once for its webhook, and some pages: at four calls a
        // second, after forty at once.
        assert!(reads_by_id(&world) <= 60, "{} reads by id", reads_by_id(&world));
        assert!(started.elapsed().as_secs() <= 30, "it took {} s", started.elapsed().as_secs());
        assert_eq!(world.writes().remote, 60);
    });
}

#[test]
fn webhooks_of_several_accounts_share_a_path_and_reach_their_own() {
    story(|| async {
        let shared = Webhook { account: Some("62".to_owned()), ..webhook(SIGNED) };
        let world = World::new(Setup { webhook: Some(shared), ..Setup::default() }).await;
        let (app, remote) = linked(&world, "a@x.io").await;
        edit(&world.apps, Side::Remote, &remote, "phone", Some("1"));
        let about =
            |account: &str| format!(r#"{{"type":"contact.updated","account":{account},"data":{{"id":"{remote}"}}}}"#);
        let stranger = about("63");
        assert_eq!(post(&world, [delivery("m1", NOW_S, &stranger)]).await, [401]);
        assert_eq!(hints(&world), 0);
        assert_eq!(post(&world, [delivery("m2", NOW_S, &about("62"))]).await, [200]);
        rest(5).await;
        assert_eq!(world.fields(Side::App, &app)["phone"], Value::string("1"));
    });
}

#[test]
fn handshakes_are_answered_by_those_who_are_known() {
    story(|| async {
        let asks =
            "signature = \"none\"\nobject = \"contacts\"\nid = \"id\"\nhandshake = { query = \"validationToken\" }";
        let open = Webhook { secrets: Vec::new(), ..webhook(asks) };
        let world = World::new(Setup { webhook: Some(open), ..Setup::default() }).await;
        let app = init_service(App::new().configure(world.kernel().webhooks().configure())).await;
        let ask = |uri: &str| TestRequest::post().uri(uri).to_request();
        let response = call_service(&app, ask(&format!("{URI}?validationToken=a%20b%2Bc"))).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers().get("content-type").unwrap(), "text/plain; charset=utf-8");
        assert_eq!(read_body(response).await, "a b+c");
        let stranger = call_service(&app, ask("/webhooks/hook-0123456789abcdeX?validationToken=a")).await;
        assert_eq!(stranger.status(), StatusCode::UNAUTHORIZED);
        let strange = call_service(&app, ask(&format!("{URI}?validationToken=a%0d%0ab"))).await;
        assert_eq!(strange.status(), StatusCode::BAD_REQUEST);
    });
}

#[test]
fn events_under_one_key_are_taken_once_and_those_that_name_nothing_are_told_so() {
    story(|| async {
        let world = World::new(Setup::default()).await;
        let keyed = || Fire { key: Some("k1".to_owned()), ..event(&["7"]) };
        assert_eq!(world.kernel().fire(keyed()).await, Ok(Accepted::Now));
        assert_eq!(world.kernel().fire(keyed()).await, Ok(Accepted::Before));
        let whose = |whose, object: &str| {
            let event = Event::new(whose, object, []);
            world.kernel().fire(Fire { events: vec![event], key: None, settle_ms: 0 })
        };
        let acme = || Whose::Connection("acme".into());
        let unknown = whose(acme(), "contact").await.unwrap_err();
        assert!(unknown.to_string().contains("no object 'contact'") && unknown.to_string().contains("contacts"));
        let unknown = whose(Whose::Connection("acm".into()), OBJECT).await;
        assert_eq!(unknown, Err(EventError::NoConnection("acm".into())));
        assert_eq!(whose(Whose::Scope("nobody".into()), OBJECT).await, Err(EventError::NoScope("nobody".into())));
        let too_many: Vec<String> = (0..1_001).map(|n| n.to_string()).collect();
        let too_many: Vec<&str> = too_many.iter().map(String::as_str).collect();
        assert_eq!(world.kernel().fire(event(&too_many)).await, Err(EventError::TooMany));
    });
}

#[test]
fn keys_are_forgotten_when_their_time_is_over() {
    story(|| async {
        let mut world = World::new(Setup::default()).await;
        let keyed = |key: &str| Fire { key: Some(key.to_owned()), ..event(&["7"]) };
        let remembered = |world: &World| {
            let mut text = String::new();
            world.store.dump(&mut text).unwrap();
            text.lines().filter(|line| line.starts_with("dedup ")).count()
        };
        assert_eq!(world.kernel().fire(keyed("k1")).await, Ok(Accepted::Now));
        assert_eq!(world.kernel().fire(keyed("k2")).await, Ok(Accepted::Now));
        rest(25 * 3_600).await;
        assert_eq!(remembered(&world), 2);
        world.kill().await;
        assert_eq!(world.kernel().fire(keyed("k3")).await, Ok(Accepted::Now));
        rest(1).await;
        assert_eq!(remembered(&world), 1);
    });
}

#[test]
fn the_event_route_wants_its_token_and_answers_in_its_own_words() {
    story(|| async {
        let world = World::new(Setup::default()).await;
        let body = r#"{"connection":"acme","object":"contacts","id":7}"#;
        let to = |token: &str, body: &str| {
            let request =
                TestRequest::post().uri("/events").insert_header(("authorization", format!("Bearer {token}")));
            request.set_payload(body.to_owned())
        };
        let anonymous = TestRequest::post().uri("/events").set_payload(body);
        let nowhere = body.replace("acme", "acm");
        let requests = [to("t0ken", body), to("t0keN", body), anonymous, to("t0ken", "{"), to("t0ken", &nowhere)];
        assert_eq!(post(&world, requests).await, [202, 401, 401, 400, 404]);
    });
}

#[test]
fn a_value_that_is_being_typed_is_not_sent_half() {
    story(|| async {
        let world = World::new(Setup::default()).await;
        let (app, remote) = linked(&world, "a@x.io").await;
        world.clear_logs();
        for n in 1..=5 {
            edit(&world.apps, Side::App, &app, "name", Some(&"abcdef"[..n]));
            let settling = Fire { settle_ms: 3_000, ..event(&[&app]) };
            assert_eq!(world.kernel().fire(settling).await, Ok(Accepted::Now));
            rest(2).await;
        }
        assert_eq!(world.writes().remote, 0, "while it is typed");
        rest(2).await;
        assert_eq!(world.fields(Side::Remote, &remote)["name"], Value::string("abcde"));
        assert_eq!(world.writes().remote, 1);
        // Typing that never ends does not hold it up for ever.
        for n in 0..30 {
            edit(&world.apps, Side::App, &app, "name", Some(&format!("v{n}")));
            world.kernel().fire(Fire { settle_ms: 3_000, ..event(&[&app]) }).await.unwrap();
            rest(2).await;
        }
        assert!(world.writes().remote >= 2, "ten times the delay is the most");
    });
}
