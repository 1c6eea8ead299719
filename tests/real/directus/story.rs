//! Five hundred contacts, edited on both sides, kept equal by webhooks and events.

use std::time::Instant;

use syncline::model::side::PerSide;

use super::model::{Model, RemoteEdit};
use super::world::{SECRET, World};
use crate::records::{Edit, Side as _};

/// Contacts that only Directus holds, that both hold, that only your app holds.
const ONLY_REMOTE: u32 = 350;
const BOTH: u32 = 150;
const ONLY_APP: u32 = 50;

/// Directus takes a hundred contacts in one request, by default.
const BULK: usize = 100;

/// The rate at which the limited Directus takes requests, a second.
const RATE: u32 = 50;

#[actix::test]
#[ignore = "installs Directus"]
async fn directus_and_the_app_are_kept_equal_by_webhooks_and_events() {
    tell(None).await;
}

#[actix::test]
#[ignore = "installs Directus"]
async fn directus_and_the_app_are_kept_equal_though_directus_limits_calls() {
    tell(Some(RATE)).await;
}

async fn tell(rate: Option<u32>) {
    let seed =
        std::env::var("SYNCLINE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed} (SYNCLINE_SEED repeats its edits)");
    let mut rng = fastrand::Rng::with_seed(seed);
    let start = Instant::now();
    let world = World::start(rate).await;
    println!("{:.1?} until directus answers", start.elapsed());

    let (mut model, lists) = Model::lists(&mut rng, ONLY_REMOTE, BOTH, ONLY_APP);
    for contacts in lists.remote.chunks(BULK) {
        world.contacts.create(contacts.to_vec()).await;
    }
    world.app.make(lists.app.into_iter().map(Edit::Create).collect()).await;
    let step = Instant::now();
    let totals = world.sync().await;
    model.assert_held(&world.now().await);
    assert_eq!(totals.matched, u64::from(BOTH));
    assert_eq!(totals.created, PerSide { app: u64::from(ONLY_REMOTE), remote: u64::from(ONLY_APP) });
    println!("{:.1?} for the backfill of {} contacts, {:?} calls", step.elapsed(), model.len(), world.tally().await.0);
    assert_eq!(world.sync().await.writes(), 0);

    // From here on nothing is read but what webhooks and events say.
    let flow = world.listen().await;
    let step = Instant::now();
    for _ in 0..6 {
        let round = model.round(&mut rng, &world.now().await);
        world.edit(round).await;
    }
    println!("{:.1?} of edits on both sides", step.elapsed());
    let step = Instant::now();
    world.wait(&model).await;
    println!("{:.1?} more until both sides are equal, {:?}", step.elapsed(), world.webhooks().await);

    let step = Instant::now();
    let flood = model.flood(&mut rng, &world.contacts.all().await, 100, 4);
    let before = world.webhooks().await.accepted;
    world.edit_remote(flood).await;
    world.wait(&model).await;
    println!(
        "{:.1?} for a flood of 400 edits, {:?} webhooks",
        step.elapsed(),
        world.webhooks().await.accepted - before
    );

    // What Directus tells with a wrong header is not taken, and it does not tell it again. A webhook that is still on
    // its way would be a reason to read the list, and with it what was told wrongly.
    world.wait_for_silence().await;
    flow.send_token("not the secret").await;
    let refused = world.webhooks().await.refused.values().sum::<u64>();
    assert_eq!(refused, 0);
    let before = world.app.all().await;
    let mut edits = model.flood(&mut rng, &world.contacts.all().await, 20, 2);
    edits.push(RemoteEdit::Create((0..10).map(|_| model.make(&mut rng)).collect()));
    world.edit_remote(edits).await;
    world.wait_for_refused(50).await;
    assert!(world.app.all().await == before, "nothing of it was believed");
    flow.send_token(SECRET).await;
    // The list of changes holds it all the same.
    let totals = world.sync().await;
    let written = (totals.created, totals.updated.remote);
    assert_eq!(
        written,
        (PerSide { app: 10, remote: 0 }, 0),
        "{:?} {:#?}",
        world.webhooks().await,
        world.kernel.status().await
    );
    model.assert_held(&world.now().await);

    // A right that is withdrawn looks, record by record, like a record that is gone.
    world.policy.forbid().await;
    let (app, remote) = (world.app.all().await, world.contacts.all().await);
    let round = model.round(&mut rng, &PerSide { app: app.clone(), remote });
    world.edit_remote(round.remote).await;
    world.wait_for_suspension().await;
    assert!(world.app.all().await == app, "nothing was taken for deleted");
    world.policy.permit().await;
    world.resume().await;
    world.edit_app(round.app).await;
    world.wait(&model).await;

    // The kernel's own writes came back as webhooks, and nothing follows from them.
    let times = world.contacts.times().await;
    for _ in 0..2 {
        let again = world.sync().await;
        assert_eq!(again.writes(), 0, "{again:?}");
    }
    assert!(world.contacts.times().await == times, "nothing was written in directus");
    model.assert_held(&world.now().await);
    let (calls, totals) = world.tally().await;
    println!("{:.1?} in all, {calls:?} calls, {totals:?}, {:?}", start.elapsed(), world.webhooks().await);
    world.stop().await;
}
