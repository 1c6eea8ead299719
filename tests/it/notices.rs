//! Danger: a host that learns too late, or never, that something waits for a person.

use std::time::Duration;

use actix_web::App;
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use syncline::connectors::memory::{Fault, Faults, On, Scripted};
use syncline::model::notice::Notice;
use syncline::model::side::Side;
use syncline::model::work::QuarantineKind;
use syncline::{Schedule, Subscription};

use crate::harness::{OBJECT, Setup, World, edit, record, story};

/// What has been told up to now.
async fn told(subscription: &mut Subscription) -> Vec<Notice> {
    let mut all = Vec::new();
    while let Ok(Some(next)) = tokio::time::timeout(Duration::from_millis(1), subscription.next()).await {
        let notification = next.unwrap();
        assert_eq!(notification.connection.as_str(), "acme");
        all.push(notification.notice);
    }
    all
}

fn caught_up() -> Notice {
    Notice::CaughtUp { sync: "contacts".into() }
}

#[test]
fn a_first_read_ends_with_a_word_and_later_runs_are_quiet() {
    story(|| async {
        let world = World::new(Setup::default()).await;
        let mut subscription = world.kernel().subscribe();
        world.apps.app.create(OBJECT, record(Side::App, &[("email", "a@x.io"), ("name", "a")]));
        world.sync_well().await;
        world.sync_well().await;
        assert_eq!(told(&mut subscription).await, [caught_up()]);
        world.kernel().shutdown().await;
        assert!(subscription.next().await.is_none(), "the stream ends with the kernel");
    });
}

#[test]
fn credentials_that_are_refused_are_told_at_once_and_their_end_too() {
    story(|| async {
        let world = World::new(Setup::default()).await;
        world.sync_well().await;
        let mut subscription = world.kernel().subscribe();
        world.apps.remote.script(Scripted::new(On::List, Fault::Unauthorised));
        world.sync().await;
        let notices = told(&mut subscription).await;
        assert!(matches!(notices.as_slice(), [Notice::NeedsAuthorisation { .. }]), "{notices:?}");
        world.kernel().resume(&"acme".into()).await.unwrap();
        world.sync_well().await;
        assert_eq!(told(&mut subscription).await, [caught_up()]);
    });
}

#[test]
fn a_record_held_back_is_told_once_and_a_conflict_with_its_records() {
    story(|| async {
        let world = World::new(Setup { mapping: REQUIRED, ..Setup::default() }).await;
        let id = world.apps.app.create(OBJECT, record(Side::App, &[("email", "a@x.io"), ("name", "a")]));
        world.sync_well().await;
        let mut subscription = world.kernel().subscribe();
        let bad = world.apps.app.create(OBJECT, record(Side::App, &[("email", "b@x.io")]));
        world.sync().await;
        world.sync().await;
        let notices = told(&mut subscription).await;
        let [Notice::Quarantined { sync, side, id: held, kind, reason }] = notices.as_slice() else {
            panic!("{notices:?}");
        };
        assert_eq!(
            (sync.as_str(), *side, held.as_str(), *kind),
            ("contacts", Side::App, bad.as_str(), QuarantineKind::Invalid)
        );
        assert!(reason.contains("name"), "{reason}");

        let remote = world.by_email(Side::Remote)["a@x.io"][0].0.clone();
        edit(&world.apps, Side::App, id.as_str(), "name", Some("ours"));
        edit(&world.apps, Side::Remote, remote.as_str(), "name", Some("theirs"));
        world.sync().await;
        let notices = told(&mut subscription).await;
        let [Notice::Conflict { ids, field, winner, .. }] = notices.as_slice() else { panic!("{notices:?}") };
        assert_eq!((field.as_str(), *winner), ("name", Side::App));
        assert_eq!((ids.app.as_ref(), ids.remote.as_ref()), (Some(&id), Some(&remote)));
    });
}

const REQUIRED: &str = r#"
match = ["email"]
[fields]
email = "properties.email"
name  = { remote = "properties.name", required = true }
"#;

#[test]
fn work_that_waits_for_too_long_is_told_once_and_so_is_its_end() {
    story(|| async {
        let schedule = Some(Schedule::every_ms(60_000));
        let world = World::new(Setup { schedule, ..Setup::default() }).await;
        tokio::time::sleep(Duration::from_secs(120)).await;
        let mut subscription = world.kernel().subscribe();
        let down = Faults { server_error: 1_000, ..Faults::default() };
        world.apps.remote.set_faults(down);
        tokio::time::sleep(Duration::from_secs(840)).await;
        assert_eq!(told(&mut subscription).await, []);
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        let notices = told(&mut subscription).await;
        let [Notice::Late { waiting_ms }] = notices.as_slice() else { panic!("{notices:?}") };
        assert!((900_000..1_200_000).contains(waiting_ms), "{waiting_ms}");
        assert!(world.kernel().status().await[0].late_ms.is_some_and(|late_ms| late_ms > 4_000_000));
        world.apps.remote.set_faults(Faults::default());
        tokio::time::sleep(Duration::from_secs(900)).await;
        assert_eq!(told(&mut subscription).await, [caught_up()]);
        assert_eq!(world.kernel().status().await[0].late_ms, None);
    });
}

#[test]
fn a_sync_can_be_asked_for_over_http_with_the_token_alone() {
    story(|| async {
        let world = World::new(Setup::default()).await;
        let id = world.apps.app.create(OBJECT, record(Side::App, &[("email", "a@x.io"), ("name", "a")]));
        let app = init_service(App::new().configure(world.kernel().manual().with_token("t0ken").configure())).await;
        let ask = |token: &str, body: &str| {
            let request = TestRequest::post().uri("/sync").set_payload(body.to_owned());
            request.insert_header(("Authorization", format!("Bearer {token}"))).to_request()
        };
        let all = r#"{"connection":"acme"}"#;
        for (token, body, status, says) in [
            ("t0kem", all, 401, "unauthorised"),
            ("t0ken", r#"{"connection":"acne"}"#, 404, "no connection 'acne'"),
            ("t0ken", r#"{"connection":"acme","sync":"x"}"#, 409, "no sync 'x'"),
            ("t0ken", r#"{"connection":"acme","full":"yes"}"#, 400, "a boolean"),
            ("t0ken", r#"{"connection":"acme","ful":true}"#, 400, "unknown field `ful`"),
            ("t0ken", r#"{"connection":"acme","id":"7"}"#, 400, "named by 'sync', 'side' and 'id'"),
            ("t0ken", "{", 400, "bad_request"),
            ("t0ken", r#"{"connection":"acme","sync":"x","side":"app","id":"7"}"#, 404, "no sync 'x'"),
            ("t0ken", all, 200, r#""created":{"app":0,"remote":1}"#),
        ] {
            let response = call_service(&app, ask(token, body)).await;
            assert_eq!(response.status().as_u16(), status, "{body}");
            let text = String::from_utf8(read_body(response).await.to_vec()).unwrap();
            assert!(text.contains(says), "{body}: {text}");
        }
        edit(&world.apps, Side::App, id.as_str(), "name", Some("changed"));
        let one = format!(r#"{{"connection":"acme","sync":"contacts","side":"app","id":"{id}"}}"#);
        assert_eq!(call_service(&app, ask("t0ken", &one)).await.status().as_u16(), 202);
        tokio::time::sleep(Duration::from_secs(5)).await;
        let arrived = &world.by_email(Side::Remote)["a@x.io"][0].1;
        assert!(format!("{arrived:?}").contains("changed"), "{arrived:?}");
        let full = call_service(&app, ask("t0ken", r#"{"connection":"acme","full":true}"#)).await;
        assert_eq!(full.status().as_u16(), 200);
    });
}

#[test]
fn actions_are_carried_out_over_http_with_the_token_alone() {
    story(|| async {
        let world = World::new(Setup::default()).await;
        let id = world.apps.remote.create(OBJECT, record(Side::Remote, &[("email", "a@x.io"), ("name", "a")]));
        world.sync().await;
        let app = init_service(App::new().configure(world.kernel().actions().with_token("t0ken").configure())).await;
        let ask = |token: &str, body: &str| {
            let request = TestRequest::post().uri("/actions").set_payload(body.to_owned());
            request.insert_header(("Authorization", format!("Bearer {token}"))).to_request()
        };
        let on = |rest: &str| format!(r#"{{"connection":"acme","object":"{OBJECT}",{rest}}}"#);
        for (token, body, status, says) in [
            ("t0kem", on(r#""verb":"list""#), 401, "unauthorised"),
            ("t0ken", on(r#""verb":"list""#).replace("acme", "acne"), 404, "no connection 'acne'"),
            ("t0ken", on(r#""verb":"lst""#), 400, "unknown variant"),
            ("t0ken", on(r#""verb":"read""#), 400, "'id' is missing"),
            ("t0ken", on(r#""verb":"list","x":1"#), 400, "unknown field"),
            ("t0ken", on(&format!(r#""verb":"read","id":"{id}""#)), 200, "a@x.io"),
            ("t0ken", on(r#""verb":"read","id":"nobody""#), 200, r#""outcome":"missing""#),
            ("t0ken", on(r#""verb":"list","side":"app""#), 200, "a@x.io"),
            (
                "t0ken",
                on(&format!(r#""verb":"update","id":"{id}","record":{{"properties":{{"name":"by hand"}}}}"#)),
                200,
                r#""outcome":"written""#,
            ),
        ] {
            let response = call_service(&app, ask(token, &body)).await;
            assert_eq!(response.status().as_u16(), status, "{body}");
            let text = String::from_utf8(read_body(response).await.to_vec()).unwrap();
            assert!(text.contains(says), "{body}: {text}");
        }
        // To the sync it is somebody's edit.
        world.sync().await;
        let arrived = &world.by_email(Side::App)["a@x.io"][0].1;
        assert!(format!("{arrived:?}").contains("by hand"), "{arrived:?}");
    });
}
