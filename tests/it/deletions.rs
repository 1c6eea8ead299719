//! Danger: a deletion that no list shows, because a complete read begins after it.

use std::time::Duration;

use syncline::connectors::memory::{Behaviour, Fault, On, Operation, Scripted};
use syncline::model::side::Side;

use crate::harness::{OBJECT, Setup, World, record, story};

/// Records on both sides, all linked.
async fn linked(world: &World, num: usize) {
    for i in 0..num {
        world.apps.app.create(OBJECT, record(Side::App, &[("email", &format!("{i}@x.io")), ("name", "n")]));
    }
    world.sync_well().await;
    assert_eq!(world.by_email(Side::Remote).len(), num);
}

fn delete(world: &World, side: Side, email: &str) {
    let id = world.by_email(side)[email][0].0.clone();
    assert!(world.apps[side].delete(OBJECT, id));
}

#[test]
fn a_resync_does_not_pass_a_deletion_that_was_not_read_yet() {
    for side in Side::BOTH {
        story(|| async {
            let world = World::new(Setup::default()).await;
            linked(&world, 3).await;
            delete(&world, side, "1@x.io");
            world.kernel().resync(&"acme".into(), None).await.unwrap();
            world.sync_well().await;
            for both in Side::BOTH {
                let left: Vec<String> = world.by_email(both).into_keys().collect();
                assert_eq!(left, ["0@x.io", "2@x.io"], "deleted on the {side} side, seen on the {both} side");
            }
        });
    }
}

#[test]
fn a_first_read_that_begins_again_does_not_pass_what_was_deleted_meanwhile() {
    for side in Side::BOTH {
        story(|| async {
            let mut world = World::new(Setup::default()).await;
            for i in 0..40 {
                let fields = [("email", format!("{i}@x.io")), ("name", "n".to_owned())];
                let fields = fields.each_ref().map(|(key, value)| (*key, value.as_str()));
                world.apps.app.create(OBJECT, record(Side::App, &fields));
                world.apps.remote.create(OBJECT, record(Side::Remote, &fields));
            }
            world.apps.remote.set_behaviour(Behaviour { page_size: 5, ..Behaviour::default() });
            // Some pairs are linked by the time the third page fails for as long as it is tried.
            world.apps.remote.script(Scripted::new(On::Page(3), Fault::ServerError).times(u32::MAX));
            let _ = tokio::time::timeout(Duration::from_secs(20), world.sync()).await;
            world.kill().await;
            delete(&world, side, "0@x.io");
            world.apps.remote.faults_off();
            for _ in 0..3 {
                world.sync().await;
                tokio::time::sleep(Duration::from_secs(60)).await;
            }
            for both in Side::BOTH {
                let left = world.by_email(both);
                assert_eq!((left.len(), left.contains_key("0@x.io")), (39, false), "{side} {both}");
            }
        });
    }
}

#[test]
fn what_a_complete_read_has_met_is_not_read_again() {
    story(|| async {
        let world = World::new(Setup::default()).await;
        linked(&world, 20).await;
        world.clear_logs();
        world.kernel().resync(&"acme".into(), None).await.unwrap();
        for side in Side::BOTH {
            let read_by_id =
                |entry: &syncline::connectors::memory::LogEntry| matches!(entry.operation, Operation::ReadIds(_));
            assert!(!world.apps[side].log().iter().any(read_by_id), "{side}");
        }
    });
}
