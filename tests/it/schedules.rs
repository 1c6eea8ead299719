//! Danger: a clock that is not followed, or followed fifty times after a weekend off.

use std::time::Duration;

use syncline::Schedule;
use syncline::connectors::memory::Operation;
use syncline::model::side::Side;

use crate::harness::{OBJECT, Setup, World, record, story};

const HOUR: Duration = Duration::from_secs(3_600);

/// A sync that runs every morning at half past six; the story begins the evening before, at
/// 22:13:20.
async fn every_morning() -> World {
    let schedule = Some(Schedule::parse("cron 30 6 * * *").unwrap());
    let world = World::new(Setup { schedule, ..Setup::default() }).await;
    create(&world, "first");
    tokio::time::sleep(Duration::from_secs(10)).await;
    world
}

fn create(world: &World, name: &str) {
    world.apps.app.create(OBJECT, record(Side::App, &[("email", &format!("{name}@x.io")), ("name", name)]));
}

fn arrived(world: &World) -> usize {
    world.by_email(Side::Remote).len()
}

/// How often your app was asked for everything or for what has changed.
fn lists(world: &World) -> usize {
    let log = world.apps.app.log();
    log.iter()
        .filter(|call| matches!(call.operation, Operation::ReadAll { .. } | Operation::ReadChanges { .. }))
        .count()
}

#[test]
fn a_pattern_is_followed_after_a_first_read_at_once() {
    story(|| async {
        let world = every_morning().await;
        assert_eq!(arrived(&world), 1, "the first read does not wait for the morning");
        create(&world, "second");
        tokio::time::sleep(8 * HOUR).await;
        assert_eq!(arrived(&world), 1, "06:13, not yet");
        tokio::time::sleep(HOUR / 2).await;
        assert_eq!(arrived(&world), 2, "06:43");
    });
}

#[test]
fn downtime_is_caught_up_with_once() {
    story(|| async {
        let mut world = every_morning().await;
        world.abort().await;
        create(&world, "second");
        tokio::time::sleep(75 * HOUR).await;
        world.clear_logs();
        world.start().await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(arrived(&world), 2, "three mornings were missed");
        let once = lists(&world);
        tokio::time::sleep(HOUR).await;
        assert_eq!((once > 0, lists(&world)), (true, once), "caught up with once");
        create(&world, "third");
        world.kill().await;
        tokio::time::sleep(HOUR).await;
        assert_eq!(arrived(&world), 2, "a start that missed no morning does not run");
    });
}

#[test]
fn a_pause_over_days_is_followed_by_one_run() {
    story(|| async {
        let world = every_morning().await;
        world.kernel().pause(&"acme".into()).await.unwrap();
        create(&world, "second");
        world.clear_logs();
        tokio::time::sleep(75 * HOUR).await;
        assert_eq!((arrived(&world), lists(&world)), (1, 0));
        world.kernel().resume(&"acme".into()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(arrived(&world), 2);
        let once = lists(&world);
        tokio::time::sleep(HOUR).await;
        assert_eq!(lists(&world), once);
    });
}
