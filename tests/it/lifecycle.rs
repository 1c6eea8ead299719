//! Danger: work that is lost when something dies, or that holds up somebody else's.

use std::time::Duration;

use syncline::Schedule;
use syncline::connectors::memory::{Behaviour, Fault, Faults, On, Operation, Scripted};
use syncline::model::side::Side;
use syncline::model::value::Value;
use syncline::model::write::CreateRecovery;
use syncline::triggers::event::{Accepted, Event, Fire, Whose};

use crate::harness::{OBJECT, Setup, World, edit, record, story};

#[test]
fn a_panic_in_a_connector_loses_nothing() {
    for on in [On::List, On::Ids, On::Create, On::Update] {
        story(|| async {
            let world = World::new(Setup::default()).await;
            let id = world.apps.app.create(OBJECT, record(Side::App, &[("email", "a@x.io"), ("name", "a")]));
            world.sync_well().await;
            world.apps.remote.script(Scripted::new(on, Fault::Panic));
            world.apps.app.create(OBJECT, record(Side::App, &[("email", "b@x.io"), ("name", "b")]));
            edit(&world.apps, Side::App, id.as_str(), "name", Some("changed"));
            for _ in 0..12 {
                world.sync().await;
                tokio::time::sleep(Duration::from_secs(60)).await;
            }
            let remotes = world.by_email(Side::Remote);
            assert_eq!(remotes["a@x.io"][0].1["name"], Value::string("changed"), "{on:?}");
            assert_eq!(remotes.get("b@x.io").map(Vec::len), Some(1), "{on:?} {:?}", world.quarantine());
        });
    }
}

#[test]
fn one_poison_record_does_not_stop_its_neighbours() {
    story(|| async {
        let world = World::new(Setup::default()).await;
        let poison = world.apps.app.create(OBJECT, record(Side::App, &[("email", "poison@x.io"), ("name", "n")]));
        world.sync_well().await;
        let remote = world.by_email(Side::Remote)["poison@x.io"][0].0.clone();
        world.apps.remote.script(Scripted::new(On::Update, Fault::Panic).id(remote).times(u32::MAX));
        edit(&world.apps, Side::App, poison.as_str(), "name", Some("boom"));
        for i in 0..20 {
            world.apps.app.create(OBJECT, record(Side::App, &[("email", &format!("n{i}@x.io")), ("name", "n")]));
            world.sync().await;
            tokio::time::sleep(Duration::from_secs(120)).await;
        }
        assert_eq!(world.by_email(Side::Remote).len(), 21);
        let held = world.quarantine();
        assert_eq!(held.len(), 1, "the poison record is put aside in the end: {held:?}");
    });
}

#[test]
fn a_killed_kernel_goes_on_where_it_was() {
    story(|| async {
        let mut world = World::new(Setup::default()).await;
        for i in 0..50 {
            world.apps.app.create(OBJECT, record(Side::App, &[("email", &format!("{i}@x.io")), ("name", "n")]));
        }
        world.apps.remote.set_behaviour(Behaviour { latency_ms: (5, 50), page_size: 7, ..Behaviour::default() });
        for _ in 0..10 {
            let _ = tokio::time::timeout(Duration::from_millis(40), world.sync()).await;
            world.kill().await;
        }
        for _ in 0..12 {
            world.sync().await;
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        assert_eq!(world.by_email(Side::Remote).len(), 50);
        assert_eq!(world.apps.remote.all(OBJECT).len(), 50, "none twice");
        assert_eq!(world.apps.app.all(OBJECT).len(), 50);
        let epoch = world.kernel().status().await[0].epoch;
        assert_eq!(epoch, 11, "each start has an epoch of its own");
    });
}

#[test]
fn a_restart_without_outside_change_writes_nothing() {
    story(|| async {
        let mut world = World::new(Setup::default()).await;
        for i in 0..30 {
            world.apps.app.create(OBJECT, record(Side::App, &[("email", &format!("{i}@x.io")), ("name", "n")]));
        }
        world.sync_well().await;
        world.clear_logs();
        for _ in 0..3 {
            world.kill().await;
            assert_eq!(world.sync_well().await.totals.writes(), 0);
        }
        assert_eq!((world.writes().app, world.writes().remote), (0, 0));
    });
}

#[test]
fn a_schedule_runs_by_itself_with_jitter_and_not_when_paused() {
    story(|| async {
        let schedule = Some(Schedule::every_ms(60_000));
        let world = World::new(Setup { schedule, ..Setup::default() }).await;
        world.apps.app.create(OBJECT, record(Side::App, &[("email", "a@x.io"), ("name", "a")]));
        tokio::time::sleep(Duration::from_secs(70)).await;
        assert_eq!(world.by_email(Side::Remote).len(), 1);
        world.kernel().pause(&"acme".into()).await.unwrap();
        world.apps.app.create(OBJECT, record(Side::App, &[("email", "b@x.io"), ("name", "b")]));
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!(world.by_email(Side::Remote).len(), 1, "paused");
        world.kernel().resume(&"acme".into()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(70)).await;
        assert_eq!(world.by_email(Side::Remote).len(), 2);
    });
}

#[test]
fn a_pending_record_overtakes_a_running_backfill_within_one_request() {
    story(|| async {
        let world = World::new(Setup::default()).await;
        let behaviour = Behaviour { latency_ms: (100, 100), page_size: 50, ..Behaviour::default() };
        world.apps.remote.set_behaviour(behaviour);
        let id = world.apps.app.create(OBJECT, record(Side::App, &[("email", "first@x.io"), ("name", "n")]));
        world.sync_well().await;
        for i in 0..200 {
            world.apps.app.create(OBJECT, record(Side::App, &[("email", &format!("{i}@x.io")), ("name", "n")]));
        }
        let kernel = world.kernel().clone();
        let backfill = actix::spawn(async move { kernel.resync(&"acme".into(), None).await });
        tokio::time::sleep(Duration::from_millis(1_050)).await;
        edit(&world.apps, Side::App, id.as_str(), "name", Some("urgent"));
        let before = world.apps.remote.log().len();
        world.kernel().sync_record(&"acme".into(), "contacts".into(), Side::App, id).await.unwrap();
        tokio::time::sleep(Duration::from_millis(350)).await;
        let log = world.apps.remote.log();
        let position =
            |wanted: fn(&Operation) -> bool| log.iter().skip(before).position(|entry| wanted(&entry.operation));
        let read = position(|operation| matches!(operation, Operation::ReadIds(_)));
        let written = position(|operation| matches!(operation, Operation::Update { .. }));
        let (Some(read), Some(written)) = (read, written) else {
            panic!("the urgent edit was not written while the backfill ran: {read:?} {written:?}");
        };
        // Four calls run at once. Each of its own calls waits for those in flight to
        // end, and for no other.
        assert!(read <= 4, "{read} calls went before its read");
        assert!(written <= read + 8, "{written} calls went before its write");
        assert!(log.len() < 190, "the backfill was still running");
        backfill.await.unwrap().unwrap();
        assert_eq!(world.by_email(Side::Remote).len(), 201);
    });
}

#[test]
fn a_limited_side_is_left_alone_for_as_long_as_it_asks() {
    story(|| async {
        let world = World::new(Setup::default()).await;
        for i in 0..20 {
            world.apps.app.create(OBJECT, record(Side::App, &[("email", &format!("{i}@x.io")), ("name", "n")]));
        }
        let faults = Faults { rate_limited: 200, retry_after_ms: 8_000, ..Faults::default() };
        world.apps.remote.set_faults(faults);
        for _ in 0..10 {
            world.sync().await;
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        world.apps.remote.faults_off();
        for _ in 0..3 {
            world.sync().await;
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        assert_eq!(world.by_email(Side::Remote).len(), 20);
        assert_eq!(world.apps.remote.impatient_calls(), 0);
    });
}

#[test]
fn refused_credentials_suspend_the_connection_until_a_person_acts() {
    story(|| async {
        let world = World::new(Setup::default()).await;
        world.apps.remote.script(Scripted::new(On::List, Fault::Unauthorised));
        let report = world.sync().await;
        assert!(report.error.is_some());
        assert_eq!(world.kernel().status().await[0].state, "suspended");
        world.kernel().resume(&"acme".into()).await.unwrap();
        assert_eq!(world.sync().await.error, None);
        assert_eq!(world.kernel().status().await[0].state, "ready");
    });
}

#[test]
fn shutdown_drains_and_a_purge_forgets() {
    story(|| async {
        let world = World::new(Setup::default()).await;
        world.apps.app.create(OBJECT, record(Side::App, &[("email", "a@x.io"), ("name", "a")]));
        world.sync_well().await;
        world.kernel().remove(&"acme".into(), true).await.unwrap();
        assert!(world.kernel().sync_now(&"acme".into(), None).await.is_err());
        let mut text = String::new();
        world.store.dump(&mut text).unwrap();
        assert!(!text.contains("a@x.io"), "{text}");
        world.kernel().shutdown().await;
        assert!(world.kernel().add(spec_again(&world)).await.is_err());
    });
}

#[test]
fn a_connection_is_replaced_with_its_state_and_nothing_that_comes_meanwhile_is_lost() {
    story(|| async {
        let world = World::new(Setup::default()).await;
        world.apps.remote.set_behaviour(Behaviour { latency_ms: (500, 500), ..Behaviour::default() });
        let id = world.apps.app.create(OBJECT, record(Side::App, &[("email", "a@x.io"), ("name", "n")]));
        world.sync_well().await;
        // In the middle of a run, which is ended in order.
        let kernel = world.kernel().clone();
        let run = actix::spawn(async move { kernel.resync(&"acme".into(), None).await });
        tokio::time::sleep(Duration::from_millis(700)).await;
        let (kernel, mut spec) = (world.kernel().clone(), world.spec());
        spec.limits.remote.concurrency = 1;
        let replaced = actix::spawn(async move { kernel.replace(spec).await });
        tokio::time::sleep(Duration::from_millis(1)).await;
        edit(&world.apps, Side::App, id.as_str(), "name", Some("meanwhile"));
        let whose = Whose::Connection("acme".into());
        let event = Event { whose, object: OBJECT.into(), ids: vec![id.clone()], record: None };
        let fire = Fire { events: vec![event], key: None, settle_ms: 0 };
        assert_eq!(world.kernel().fire(fire).await, Ok(Accepted::Now));
        replaced.await.unwrap().unwrap();
        drop(run.await);
        tokio::time::sleep(Duration::from_secs(30)).await;
        let remote = &world.by_email(Side::Remote)["a@x.io"];
        assert_eq!((remote.len(), remote[0].1["name"].as_str()), (1, Some("meanwhile")));
        let status = &world.kernel().status().await[0];
        assert_eq!((status.epoch, status.syncs[0].totals.created.remote), (2, 1), "its state goes on");

        // Whatever does not fit leaves it as it is.
        let mut other = spec_again(&world);
        other.syncs = world.spec().syncs;
        assert!(world.kernel().replace(other).await.is_err(), "there is none of that name");
        let two = world.kernel().add_all(vec![world.spec(), spec_again(&world), spec_again(&world)]).await;
        let told: Vec<String> =
            two.into_iter().map(|one| one.map_or_else(|error| error.to_string(), |()| "ok".into())).collect();
        assert_eq!(told, ["connection 'acme': it is there already", "ok", "connection 'late': it is there already"]);
        world.sync_well().await;
    });
}

#[test]
fn whoever_adds_a_connection_twice_at_once_takes_nothing_from_it() {
    story(|| async {
        let world = World::new(Setup::default()).await;
        let named = |id: &str| syncline::ConnectionSpec {
            scope: Some("s".into()),
            syncs: world.spec().syncs,
            id: id.into(),
            ..world.spec()
        };
        let kernel = world.kernel();
        let (one, two) = futures_util::future::join(kernel.add(named("twin")), kernel.add(named("twin"))).await;
        assert_eq!(
            (one.is_ok(), two.unwrap_err().to_string()),
            (true, "connection 'twin': it is there already".into())
        );
        let other = kernel.add(named("other")).await.unwrap_err().to_string();
        assert_eq!(other, "connection 'other': its scope 's' is also that of connection 'twin'");
    });
}

fn spec_again(world: &World) -> syncline::ConnectionSpec {
    syncline::ConnectionSpec {
        id: "late".into(),
        scope: None,
        connectors: syncline::model::side::PerSide::from_fn(|side| {
            std::sync::Arc::new(world.apps[side].factory()) as _
        }),
        limits: syncline::model::side::PerSide::default(),
        shared_app_calls: None,
        syncs: Vec::new(),
        webhook: None,
        paused: false,
    }
}

#[test]
fn credentials_refused_between_two_pages_leave_the_cursor_where_it_was() {
    story(|| async {
        let world = World::new(Setup::default()).await;
        world.apps.remote.set_behaviour(Behaviour { page_size: 2, ..Behaviour::default() });
        world.sync_well().await;
        let before = world.kernel().status().await[0].syncs[0].cursors.clone();
        for i in 0..10 {
            world.apps.remote.create(OBJECT, record(Side::Remote, &[("email", &format!("{i}@x.io")), ("name", "n")]));
        }
        world.apps.remote.script(Scripted::new(On::Page(3), Fault::Unauthorised));
        let report = world.sync().await;
        assert!(report.error.is_some(), "{report:?}");
        let status = &world.kernel().status().await[0];
        assert_eq!((status.state.as_str(), &status.syncs[0].cursors), ("suspended", &before));
        world.kernel().resume(&"acme".into()).await.unwrap();
        world.sync_well().await;
        assert_eq!(world.by_email(Side::App).len(), 10, "nothing was skipped");
        assert_eq!(world.apps.app.all(OBJECT).len(), 10, "and nothing came twice");
    });
}

#[test]
fn a_page_read_before_a_live_write_does_not_take_it_back() {
    story(|| async {
        let world = World::new(Setup::default()).await;
        for i in 0..60 {
            world.apps.app.create(OBJECT, record(Side::App, &[("email", &format!("{i}@x.io")), ("note", "old")]));
        }
        // Small quick pages, so that a unit takes several of them.
        world.apps.app.set_behaviour(Behaviour { page_size: 2, ..Behaviour::default() });
        world.sync_well().await;
        let remote = world.by_email(Side::Remote)["0@x.io"][0].0.clone();
        let slow = Behaviour { page_size: 2, latency_ms: (50, 50), ..Behaviour::default() };
        let kernel = world.kernel().clone();
        let resync = actix::spawn(async move { kernel.resync(&"acme".into(), None).await });
        world.apps.app.set_behaviour(slow);
        tokio::time::sleep(Duration::from_millis(120)).await;
        // Its page has been read and is not accounted for yet.
        edit(&world.apps, Side::Remote, remote.as_str(), "note", Some("new"));
        world.kernel().sync_record(&"acme".into(), "contacts".into(), Side::Remote, remote.clone()).await.unwrap();
        resync.await.unwrap().unwrap();
        world.sync_well().await;
        assert_eq!(world.by_email(Side::App)["0@x.io"][0].1["note"], Value::string("new"));
        assert_eq!(world.fields(Side::Remote, remote.as_str())["note"], Value::string("new"));
    });
}

#[test]
fn a_connection_that_dies_takes_the_calls_with_it_that_wait_for_the_budget() {
    story(|| async {
        let mut world = World::new(Setup::default()).await;
        let mut capabilities = world.apps.remote.capabilities(OBJECT);
        capabilities.create = CreateRecovery::Find { settle_ms: 60_000 };
        capabilities.find = vec!["properties.email".parse().unwrap()];
        world.apps.remote.set_capabilities(OBJECT, capabilities);
        world.kill().await;
        world.sync_well().await;
        for i in 0..8 {
            world.apps.app.create(OBJECT, record(Side::App, &[("email", &format!("{i}@x.io")), ("name", "n")]));
        }
        // One create is told to wait, and the others wait with it.
        let limited = Fault::RateLimited { retry_after_ms: 300_000 };
        world.apps.remote.script(Scripted::new(On::Create, limited));
        let _ = tokio::time::timeout(Duration::from_secs(5), world.sync()).await;
        assert!(world.by_email(Side::Remote).len() < 8, "some creates wait");
        world.kill().await;
        for _ in 0..10 {
            let _ = tokio::time::timeout(Duration::from_secs(100), world.sync()).await;
            tokio::time::sleep(Duration::from_secs(100)).await;
        }
        let remotes = world.by_email(Side::Remote);
        assert_eq!(remotes.len(), 8);
        assert!(remotes.values().all(|records| records.len() == 1), "{remotes:?}");
    });
}
