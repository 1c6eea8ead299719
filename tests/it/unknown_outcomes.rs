//! Danger: a write whose answer is lost becomes a second record, or none.

use std::time::Duration;

use syncline::connectors::memory::{Fault, On, Scripted};
use syncline::model::side::Side;
use syncline::model::work::QuarantineKind;
use syncline::model::write::{Capabilities, CreateRecovery};
use syncline::triggers::event::{Event, Fire, Whose};

use crate::harness::{OBJECT, Setup, World, edit, record, story};

fn remote_recovers_by(world: &World, create: CreateRecovery) {
    let mut capabilities: Capabilities = world.apps.remote.capabilities(OBJECT);
    capabilities.create = create;
    capabilities.find = vec!["properties.email".parse().unwrap()];
    world.apps.remote.set_capabilities(OBJECT, capabilities);
}

const ALL: [CreateRecovery; 4] = [
    CreateRecovery::ClientId,
    CreateRecovery::IdempotencyKey { life_ms: 86_400_000 },
    CreateRecovery::ExternalId,
    CreateRecovery::Find { settle_ms: 400_000 },
];

#[test]
fn a_create_whose_answer_is_lost_makes_one_record() {
    for create in ALL {
        for fault in
            [Fault::TimeoutAfter, Fault::TimeoutBefore, Fault::ServerError, Fault::LateCommit { after_ms: 200_000 }]
        {
            story(|| async {
                let mut world = World::new(Setup::default()).await;
                remote_recovers_by(&world, create);
                world.kill().await;
                world.apps.app.create(OBJECT, record(Side::App, &[("email", "e@x.io"), ("name", "n")]));
                world.apps.remote.script(Scripted::new(On::Create, fault.clone()));
                for _ in 0..10 {
                    world.sync().await;
                    tokio::time::sleep(Duration::from_secs(60)).await;
                }
                let remotes = world.by_email(Side::Remote);
                assert_eq!(
                    remotes.get("e@x.io").map(Vec::len),
                    Some(1),
                    "{create:?} {fault:?} {:?}",
                    world.quarantine()
                );
                assert_eq!(world.by_email(Side::App)["e@x.io"].len(), 1, "{create:?} {fault:?}");
                assert!(world.apps.remote.duplicates().is_empty());
                world.clear_logs();
                assert_eq!(world.sync().await.totals.writes(), 0, "{create:?} {fault:?}");
            });
        }
    }
}

#[test]
fn a_kill_right_after_the_create_makes_one_record() {
    for create in ALL {
        story(|| async {
            let mut world = World::new(Setup::default()).await;
            remote_recovers_by(&world, create);
            world.kill().await;
            world.apps.app.create(OBJECT, record(Side::App, &[("email", "e@x.io"), ("name", "n")]));
            world.apps.remote.script(Scripted::new(On::Create, Fault::TimeoutAfter));
            let _ = tokio::time::timeout(Duration::from_millis(1), world.sync()).await;
            world.kill().await;
            for _ in 0..10 {
                world.sync().await;
                tokio::time::sleep(Duration::from_secs(60)).await;
            }
            assert_eq!(world.by_email(Side::Remote)["e@x.io"].len(), 1, "{create:?}");
            assert_eq!(world.by_email(Side::App)["e@x.io"].len(), 1, "{create:?}");
        });
    }
}

#[test]
fn a_create_that_somebody_deleted_before_it_was_recovered_holds_up_nothing() {
    story(|| async {
        let mut world = World::new(Setup::default()).await;
        remote_recovers_by(&world, CreateRecovery::IdempotencyKey { life_ms: 86_400_000 });
        world.kill().await;
        world.apps.app.create(OBJECT, record(Side::App, &[("email", "e@x.io"), ("name", "n")]));
        world.apps.remote.script(Scripted::new(On::Create, Fault::TimeoutAfter));
        let _ = tokio::time::timeout(Duration::from_millis(500), world.sync()).await;
        let made = world.by_email(Side::Remote)["e@x.io"][0].0.clone();
        assert!(world.apps.remote.delete(OBJECT, made));
        tokio::time::sleep(Duration::from_secs(5)).await;
        let status = world.kernel().status().await;
        assert_eq!((status[0].open_writes, status[0].state.as_str()), (0, "ready"), "it was said to be made");
        tokio::time::sleep(Duration::from_secs(120)).await;
        world.sync_well().await;
        assert!(world.by_email(Side::App).is_empty(), "the deletion crosses");
        assert!(world.by_email(Side::Remote).is_empty(), "it is not made again");
    });
}

#[test]
fn where_nothing_can_be_looked_up_a_person_decides() {
    story(|| async {
        let mut world = World::new(Setup::default()).await;
        remote_recovers_by(&world, CreateRecovery::Park);
        world.kill().await;
        let id = world.apps.app.create(OBJECT, record(Side::App, &[("email", "e@x.io"), ("name", "n")]));
        world.apps.remote.script(Scripted::new(On::Create, Fault::TimeoutBefore));
        world.sync().await;
        tokio::time::sleep(Duration::from_secs(30)).await;
        world.sync().await;
        assert!(world.by_email(Side::Remote).is_empty(), "not tried again by itself");
        let held = world.quarantine();
        assert_eq!((held[0].1.as_str(), held[0].2.kind), (id.as_str(), QuarantineKind::UnknownCreate));
        world.kernel().sync_record(&"acme".into(), "contacts".into(), Side::App, id).await.unwrap();
        world.sync().await;
        assert_eq!(world.by_email(Side::Remote)["e@x.io"].len(), 1);
        assert!(world.quarantine().is_empty());
    });
}

#[test]
fn an_update_or_delete_whose_answer_is_lost_is_settled_by_looking() {
    for fault in [Fault::TimeoutAfter, Fault::TimeoutBefore, Fault::ServerError] {
        story(|| async {
            let world = World::new(Setup::default()).await;
            let id = world.apps.app.create(OBJECT, record(Side::App, &[("email", "e@x.io"), ("name", "n")]));
            world.sync_well().await;
            world.apps.remote.script(Scripted::new(On::Update, fault.clone()));
            edit(&world.apps, Side::App, id.as_str(), "name", Some("new"));
            for _ in 0..3 {
                world.sync().await;
                tokio::time::sleep(Duration::from_secs(10)).await;
            }
            let name = world.by_email(Side::Remote)["e@x.io"][0].1["name"].clone();
            assert_eq!(name.as_str(), Some("new"), "{fault:?}");
            world.apps.remote.script(Scripted::new(On::Delete, fault.clone()));
            world.apps.app.delete(OBJECT, id);
            for _ in 0..3 {
                world.sync().await;
                tokio::time::sleep(Duration::from_secs(10)).await;
            }
            assert!(world.by_email(Side::Remote).is_empty(), "{fault:?}");
            assert!(world.by_email(Side::App).is_empty(), "{fault:?}");
        });
    }
}

#[test]
fn an_update_whose_answer_is_lost_is_looked_for_also_where_its_cause_is_taken_back() {
    story(|| async {
        let world = World::new(Setup::default()).await;
        let id = world.apps.app.create(OBJECT, record(Side::App, &[("email", "e@x.io"), ("plan", "old")]));
        world.sync_well().await;
        let plan = |side| world.by_email(side)["e@x.io"][0].1["plan"].clone();
        world.apps.remote.script(Scripted::new(On::Update, Fault::TimeoutAfter));
        edit(&world.apps, Side::App, id.as_str(), "plan", Some("new"));
        let take_back = async {
            while plan(Side::Remote).as_str() != Some("new") {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            edit(&world.apps, Side::App, id.as_str(), "plan", Some("old"));
        };
        // Told by an event, and without a run, which would list what stands there.
        let event = Event::new(Whose::Connection("acme".into()), OBJECT, [id.clone()]);
        world.kernel().fire(Fire { events: vec![event], key: None, settle_ms: 0 }).await.unwrap();
        take_back.await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!((plan(Side::App).as_str(), plan(Side::Remote).as_str()), (Some("old"), Some("old")));
    });
}
