//! First contact: two lists that grew apart become one, without a duplicate and without
//! a loss.

use serde_json::Value;
use syncline::model::side::PerSide;

use crate::contacts::{FIELDS, in_app, in_remote, in_remote_too};
use crate::fields::{View, Views, app_view, assert_same, at, by_key, put, remote_view};
use crate::harness::Pair;
use crate::records::{Edit, Object, Records, Side};

/// Contacts that both hold, that only your app holds, that only the connected app holds.
const BOTH: u32 = 1_000;
const ONLY_APP: u32 = 1_000;
const ONLY_REMOTE: u32 = 500;
const ALL: usize = (BOTH + ONLY_APP + ONLY_REMOTE) as usize;

/// The position of the match key in the mapping.
const EMAIL: usize = 0;

#[actix::test]
async fn two_lists_that_grew_apart_become_one() {
    let seed = 20_260_523;
    println!("seed {seed}");
    let (in_app, in_remote) = two_lists(&mut fastrand::Rng::with_seed(seed));
    let pair = Pair::start("contacts").await;
    pair.app.make(in_app.into_iter().map(Edit::Create).collect()).await;
    pair.remote.make(in_remote.into_iter().map(Edit::Create).collect()).await;
    let before = PerSide { app: pair.app.all().await, remote: pair.remote.all().await };
    assert_eq!((before.app.len(), before.remote.len()), (2_000, 1_500));
    let stood = PerSide { app: pair.app.position().await, remote: pair.remote.position().await };

    let start = std::time::Instant::now();
    let totals = pair.sync().await;
    println!("{:.1?} with {:?} calls", start.elapsed(), pair.calls().await);

    let after = PerSide { app: pair.app.all().await, remote: pair.remote.all().await };
    let (app, remote) = (app_views(&after.app), remote_views(&after.remote));
    assert_eq!((app.len(), remote.len()), (ALL, ALL));
    assert_same("both sides agree", &app, &remote);
    let wanted = wanted(&app_views(&before.app), &remote_views(&before.remote));
    assert_same("both sides are as the policy says", &app, &wanted);
    assert_eq!(totals.matched, u64::from(BOTH));
    assert_eq!(totals.created, PerSide { app: u64::from(ONLY_REMOTE), remote: u64::from(ONLY_APP) });
    assert_eq!(totals.deleted, PerSide::default());
    assert_eq!(totals.updated.app, differing(&app_views(&before.app), &wanted));
    assert_eq!(totals.updated.remote, differing(&remote_views(&before.remote), &wanted));
    // The sides themselves saw as many records written.
    let seen = PerSide {
        app: pair.app.written_since(&stood.app).await as u64,
        remote: pair.remote.written_since(&stood.remote).await as u64,
    };
    assert_eq!(seen.app, totals.created.app + totals.updated.app);
    assert_eq!(seen.remote, totals.created.remote + totals.updated.remote);
    assert_same_past_the_mapping(&before.app, &after.app, |field| field.app);
    assert_same_past_the_mapping(&before.remote, &after.remote, |field| field.remote);

    let (app_stands, remote_stands) = (pair.app.position().await, pair.remote.position().await);
    let again = pair.sync().await;
    assert_eq!(again.writes(), 0, "{again:?}");
    println!("{totals:?}");
    assert_eq!((pair.app.position().await, pair.remote.position().await), (app_stands, remote_stands));
    pair.stop().await;
}

/// What each side holds at first, in an order of its own.
fn two_lists(rng: &mut fastrand::Rng) -> (Vec<Object>, Vec<Object>) {
    let mut app: Vec<Object> = (0..BOTH + ONLY_APP).map(|number| in_app(number, rng)).collect();
    let mut remote: Vec<Object> = (0..BOTH).map(|number| in_remote_too(number, &app[number as usize], rng)).collect();
    remote.extend((0..ONLY_REMOTE).map(|number| in_remote(BOTH + ONLY_APP + number, rng)));
    rng.shuffle(&mut app);
    rng.shuffle(&mut remote);
    (app, remote)
}

fn app_views(records: &Records) -> Views {
    by_key(records, |object| app_view(&FIELDS, object), EMAIL)
}

/// The connected app's contacts as your app would spell them: with the address in lower
/// case.
fn remote_views(records: &Records) -> Views {
    let spelt = |object: &Object| {
        let mut view = remote_view(&FIELDS, object);
        let email = view[EMAIL].as_ref().and_then(Value::as_str).expect("contacts have an address");
        view[EMAIL] = Some(Value::String(email.to_lowercase()));
        view
    };
    by_key(records, spelt, EMAIL)
}

/// Both lists in one by the policy of `contacts.toml`: where a pair differs at first, the
/// connected app's value is taken; its blanks are filled from your app.
fn wanted(app: &Views, remote: &Views) -> Views {
    let mut all = app.clone();
    for (email, from_remote) in remote {
        let view = match app.get(email) {
            None => from_remote.clone(),
            Some(from_app) => from_app.iter().zip(from_remote).map(|(app, remote)| first_wins(remote, app)).collect(),
        };
        all.insert(email.clone(), view);
    }
    all
}

/// The winner's value, its blanks filled from the loser.
pub fn first_wins(winner: &Option<Value>, loser: &Option<Value>) -> Option<Value> {
    let blank = |value: &Option<Value>| match value {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Bool(_) | Value::Number(_) | Value::Object(_)) => false,
    };
    if blank(winner) && !blank(loser) { loser.clone() } else { winner.clone() }
}

/// How many of these records are not yet as wanted.
fn differing(views: &Views, wanted: &Views) -> u64 {
    let differs = |(email, view): &(&String, &View)| wanted.get(*email) != Some(*view);
    views.iter().filter(differs).count() as u64
}

/// No record that was there lost or gained anything that is not mapped.
fn assert_same_past_the_mapping(
    before: &Records,
    after: &Records,
    path: impl Fn(&crate::fields::Field) -> &'static str,
) {
    let unmapped = |object: &Object| {
        let mut rest = object.clone();
        for field in &FIELDS {
            if at(&rest, path(field)).is_some() {
                put(&mut rest, path(field), None);
            }
        }
        // Emptied by taking the mapped keys out.
        rest.retain(|_, value| value.as_object().is_none_or(|below| !below.is_empty()));
        rest
    };
    for (id, object) in before {
        let now = after.get(id).unwrap_or_else(|| panic!("{id} is gone"));
        assert_eq!(unmapped(object), unmapped(now), "{id}");
    }
}
