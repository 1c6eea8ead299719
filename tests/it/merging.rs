//! Danger: an edit that is lost, echoed, or written where it must not be.

use std::time::Duration;

use syncline::connectors::memory::{Behaviour, Fault, Normalise, On, Scripted};
use syncline::model::direction::Direction;
use syncline::model::side::Side;
use syncline::model::value::Value;
use syncline::model::work::QuarantineKind;

use crate::harness::{OBJECT, Setup, World, edit, record, story};

/// One linked pair; returns its ids.
async fn linked(world: &World) -> (String, String) {
    let id = world
        .apps
        .app
        .create(OBJECT, record(Side::App, &[("email", "e@x.io"), ("name", "n"), ("plan", "p"), ("note", "o")]));
    world.sync_well().await;
    let remote = world.apps.remote.all(OBJECT);
    world.clear_logs();
    (id.to_string(), remote.keys().next().unwrap().to_string())
}

#[test]
fn an_edit_on_each_side_crosses_and_its_echo_is_dropped() {
    story(|| async {
        let world = World::new(Setup::default()).await;
        let (app, remote) = linked(&world).await;
        edit(&world.apps, Side::App, &app, "name", Some("from app"));
        edit(&world.apps, Side::Remote, &remote, "note", Some("from remote"));
        let report = world.sync_well().await;
        for (side, id) in [(Side::App, &app), (Side::Remote, &remote)] {
            let fields = world.fields(side, id);
            assert_eq!((&fields["name"], &fields["note"]), (&Value::string("from app"), &Value::string("from remote")));
        }
        assert_eq!((report.totals.updated.app, report.totals.updated.remote), (1, 1));
        let after = world.sync_well().await;
        assert_eq!(after.totals.writes(), 0);
        assert!(report.totals.echoes + after.totals.echoes >= 1, "{report:?} {after:?}");
    });
}

#[test]
fn a_true_conflict_goes_to_the_tie_and_the_loser_is_kept() {
    for tie in Side::BOTH {
        story(|| async {
            let world = World::new(Setup { tie, ..Setup::default() }).await;
            let (app, remote) = linked(&world).await;
            edit(&world.apps, Side::App, &app, "name", Some("app's"));
            edit(&world.apps, Side::Remote, &remote, "name", Some("remote's"));
            let report = world.sync_well().await;
            let winner = format!("{tie}'s");
            assert_eq!(world.fields(Side::App, &app)["name"], Value::string(&*winner));
            assert_eq!(world.fields(Side::Remote, &remote)["name"], Value::string(&*winner));
            assert_eq!(report.totals.conflicts, 1);
            let lost = format!("\"{}'s\"", tie.other());
            assert!(world.history().iter().any(|conflict| conflict.lost.as_ref() == Some(&lost)));
        });
    }
}

#[test]
fn an_edit_of_somebody_elses_field_is_put_back_in_two_way_syncs() {
    story(|| async {
        let world = World::new(Setup::default()).await;
        let (app, remote) = linked(&world).await;
        edit(&world.apps, Side::Remote, &remote, "plan", Some("free lunch"));
        edit(&world.apps, Side::App, &app, "phone", Some("not mine to set"));
        let report = world.sync_well().await;
        assert_eq!(world.fields(Side::Remote, &remote)["plan"], Value::string("p"));
        assert!(!world.fields(Side::App, &app).contains_key("phone"));
        assert_eq!(report.totals.put_back, 2);
        assert_eq!(world.sync_well().await.totals.writes(), 0);
    });
}

#[test]
fn null_absent_and_empty_stay_three_things() {
    story(|| async {
        let world = World::new(Setup::default()).await;
        let (app, remote) = linked(&world).await;
        edit(&world.apps, Side::App, &app, "note", Some(""));
        world.sync_well().await;
        assert_eq!(world.fields(Side::Remote, &remote)["note"], Value::string(""));
        edit(&world.apps, Side::App, &app, "note", None);
        world.sync_well().await;
        assert!(!world.fields(Side::Remote, &remote).contains_key("note"));
        let null = syncline::model::write::Change { path: "note".parse().unwrap(), value: Some(Value::Null) };
        world.apps.app.patch(OBJECT, app.as_str(), vec![null]);
        world.sync_well().await;
        assert_eq!(world.fields(Side::Remote, &remote)["note"], Value::Null);
    });
}

#[test]
fn an_app_that_normalises_what_it_stores_settles() {
    story(|| async {
        let world = World::new(Setup::default()).await;
        let normalise =
            Normalise { trim: true, lowercase: vec!["properties.name".parse().unwrap()], ..Normalise::default() };
        world.apps.remote.set_behaviour(Behaviour { normalise, ..Behaviour::default() });
        let (app, remote) = linked(&world).await;
        edit(&world.apps, Side::App, &app, "name", Some("  Padded NAME "));
        world.sync_well().await;
        assert_eq!(world.fields(Side::Remote, &remote)["name"], Value::string("padded name"));
        assert_eq!(world.fields(Side::App, &app)["name"], Value::string("  Padded NAME "));
        for _ in 0..3 {
            assert_eq!(world.sync_well().await.totals.writes(), 0);
        }
    });
}

#[test]
fn unmapped_keys_are_never_touched() {
    story(|| async {
        let world = World::new(Setup::default()).await;
        let (app, remote) = linked(&world).await;
        edit(&world.apps, Side::Remote, &remote, "secret_sauce", Some("theirs"));
        edit(&world.apps, Side::App, &app, "internal", Some("ours"));
        edit(&world.apps, Side::App, &app, "name", Some("new"));
        edit(&world.apps, Side::Remote, &remote, "note", Some("new"));
        world.sync_well().await;
        assert_eq!(world.fields(Side::Remote, &remote)["secret_sauce"], Value::string("theirs"));
        assert!(!world.fields(Side::Remote, &remote).contains_key("internal"));
        assert_eq!(world.fields(Side::App, &app)["internal"], Value::string("ours"));
        assert!(!world.fields(Side::App, &app).contains_key("secret_sauce"));
    });
}

#[test]
fn a_delete_crosses_and_stays_and_an_edit_beats_it() {
    story(|| async {
        let world = World::new(Setup::default()).await;
        let (app, remote) = linked(&world).await;
        world.apps.app.delete(OBJECT, app.as_str());
        let report = world.sync_well().await;
        assert_eq!(report.totals.deleted.remote, 1);
        assert!(world.apps.remote.get(OBJECT, remote.as_str()).is_none());
        assert_eq!(world.sync_well().await.totals.writes(), 0);
    });
    story(|| async {
        let world = World::new(Setup::default()).await;
        let (app, remote) = linked(&world).await;
        world.apps.app.delete(OBJECT, app.as_str());
        edit(&world.apps, Side::Remote, &remote, "note", Some("still needed"));
        world.sync_well().await;
        let apps = world.by_email(Side::App);
        assert_eq!(apps["e@x.io"][0].1["note"], Value::string("still needed"));
        assert!(world.apps.remote.get(OBJECT, remote.as_str()).is_some());
        assert_eq!(world.sync_well().await.totals.writes(), 0);
    });
}

#[test]
fn a_key_that_returns_after_deletion_is_a_new_record() {
    story(|| async {
        let world = World::new(Setup::default()).await;
        let (app, _) = linked(&world).await;
        world.apps.app.delete(OBJECT, app.as_str());
        world.sync_well().await;
        world.apps.remote.create(OBJECT, record(Side::Remote, &[("email", "e@x.io"), ("name", "back")]));
        let report = world.sync_well().await;
        assert_eq!(report.totals.created.app, 1);
        assert_eq!(world.by_email(Side::App)["e@x.io"][0].1["name"], Value::string("back"));
    });
    // In one run: gone and back under another id.
    story(|| async {
        let world = World::new(Setup::default()).await;
        let (app, _) = linked(&world).await;
        world.apps.app.delete(OBJECT, app.as_str());
        world.apps.app.create(OBJECT, record(Side::App, &[("email", "e@x.io"), ("name", "again")]));
        world.sync_well().await;
        world.sync_well().await;
        let remotes = world.by_email(Side::Remote);
        assert_eq!(remotes["e@x.io"].len(), 1, "{remotes:?} {:?}", world.quarantine());
        assert_eq!(remotes["e@x.io"][0].1["name"], Value::string("again"));
    });
}

#[test]
fn one_bad_record_is_held_back_and_its_neighbours_go_on() {
    story(|| async {
        let mapping = "match = [\"email\"]\n[fields]\nemail = { remote = \"properties.email\", max_length = 10 }\nname = \"properties.name\"\n";
        let world = World::new(Setup { mapping, ..Setup::default() }).await;
        let bad =
            world.apps.app.create(OBJECT, record(Side::App, &[("email", "much.too.long@example.com"), ("name", "x")]));
        world.apps.app.create(OBJECT, record(Side::App, &[("email", "a@x.io"), ("name", "a")]));
        let report = world.sync_well().await;
        assert_eq!((report.totals.created.remote, report.totals.quarantined), (1, 1));
        let held = world.quarantine();
        assert_eq!((held[0].1.as_str(), held[0].2.kind), (bad.as_str(), QuarantineKind::Invalid));
        assert_eq!(held[0].2.path.as_deref(), Some("email"));
        edit(&world.apps, Side::App, bad.as_str(), "email", Some("ok@x.io"));
        let report = world.sync_well().await;
        assert_eq!(report.totals.created.remote, 1);
        assert!(world.quarantine().is_empty(), "mended, so released");
    });
}

#[test]
fn a_record_that_leaves_the_filter_is_left_alone_and_taken_up_again() {
    story(|| async {
        let mapping = "match = [\"email\"]\nfilter = { plan = \"pro\" }\n[fields]\nemail = \"properties.email\"\nname = \"properties.name\"\nplan = { remote = \"properties.plan\", owner = \"app\" }\n";
        let world = World::new(Setup { mapping, direction: Direction::TwoWay, ..Setup::default() }).await;
        let inside =
            world.apps.app.create(OBJECT, record(Side::App, &[("email", "in@x.io"), ("name", "a"), ("plan", "pro")]));
        world.apps.app.create(OBJECT, record(Side::App, &[("email", "out@x.io"), ("name", "b"), ("plan", "free")]));
        let report = world.sync_well().await;
        assert_eq!((report.totals.created.remote, report.totals.filtered), (1, 1));
        edit(&world.apps, Side::App, inside.as_str(), "plan", Some("free"));
        edit(&world.apps, Side::App, inside.as_str(), "name", Some("changed outside"));
        assert_eq!(world.sync_well().await.totals.writes(), 0, "left alone, not deleted");
        edit(&world.apps, Side::App, inside.as_str(), "plan", Some("pro"));
        world.sync_well().await;
        assert_eq!(world.by_email(Side::Remote)["in@x.io"][0].1["name"], Value::string("changed outside"));
    });
}

#[test]
fn hostile_text_is_data_and_crosses_unchanged() {
    story(|| async {
        let world = World::new(Setup::default()).await;
        let long = "x".repeat(1 << 20);
        let texts = [
            "=cmd()|' /C calc'!A0",
            "<script>alert(1)</script>",
            "'; DROP TABLE contacts; --",
            "*)(uid=*",
            "\u{202e}\0\r\n${HOME}{{ x }}",
            &long,
        ];
        for (i, text) in texts.iter().enumerate() {
            let email = format!("{i}@x.io");
            world.apps.app.create(OBJECT, record(Side::App, &[("email", &email), ("name", text), ("note", text)]));
        }
        world.sync_well().await;
        let remotes = world.by_email(Side::Remote);
        for (i, text) in texts.iter().enumerate() {
            assert_eq!(remotes[&format!("{i}@x.io")][0].1["name"], Value::string(*text), "text {i}");
        }
        assert_eq!(world.sync_well().await.totals.writes(), 0);
    });
}

#[test]
fn a_read_behind_our_own_write_is_no_edit_also_where_a_value_is_long() {
    story(|| async {
        let mut world = World::new(Setup::default()).await;
        let mut capabilities = world.apps.remote.capabilities(OBJECT);
        capabilities.read_after_write_lag_ms = 20_000;
        world.apps.remote.set_capabilities(OBJECT, capabilities);
        world.kill().await;
        let (app, remote) = linked(&world).await;
        edit(&world.apps, Side::App, &app, "note", Some(&"long".repeat(100)));
        world.sync_well().await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        // Written on trust, without a read: what stood there before is known by its base.
        edit(&world.apps, Side::App, &app, "name", Some("edited"));
        world.apps.remote.script(Scripted::new(On::Update, Fault::Stale { for_ms: 10_000 }));
        world.sync_well().await;
        let contacts = "contacts".into();
        world.kernel().sync_record(&"acme".into(), contacts, Side::Remote, remote.as_str().into()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(world.fields(Side::App, &app)["name"], Value::string("edited"));
        assert_eq!(world.fields(Side::Remote, &remote)["name"], Value::string("edited"));
    });
}
