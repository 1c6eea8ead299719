//! Danger: a first import that makes duplicates, or pairs the wrong records.

use syncline::model::direction::Direction;
use syncline::model::side::Side;
use syncline::model::value::Value;
use syncline::model::work::QuarantineKind;
use syncline::reconcile::merge::Initial;

use crate::harness::{OBJECT, Setup, World, edit, record, story};

#[test]
fn two_overlapping_sides_are_paired_and_completed() {
    story(|| async {
        let world = World::new(Setup::default()).await;
        let (app, remote) = (&world.apps.app, &world.apps.remote);
        app.create(OBJECT, record(Side::App, &[("email", "both@x.io"), ("name", "App Name"), ("plan", "pro")]));
        app.create(OBJECT, record(Side::App, &[("email", "app@x.io"), ("name", "Only App")]));
        remote.create(OBJECT, record(Side::Remote, &[("email", "BOTH@x.io"), ("name", "Remote Name"), ("phone", "1")]));
        remote.create(OBJECT, record(Side::Remote, &[("email", "remote@x.io"), ("name", "Only Remote")]));
        let report = world.sync_well().await;
        assert_eq!(report.totals.matched, 1);
        assert_eq!((report.totals.created.app, report.totals.created.remote), (1, 1));
        let (apps, remotes) = (world.by_email(Side::App), world.by_email(Side::Remote));
        assert_eq!(apps.len(), 3);
        assert_eq!(apps.keys().collect::<Vec<_>>(), remotes.keys().collect::<Vec<_>>());
        let both = &apps["both@x.io"][0].1;
        assert_eq!(both["name"], Value::string("App Name"));
        assert_eq!(both["phone"], Value::string("1"));
        assert_eq!(remotes["both@x.io"][0].1["name"], Value::string("App Name"));
        assert_eq!(remotes["both@x.io"][0].1["plan"], Value::string("pro"));
        assert!(
            world.history().iter().any(|lost| lost.lost.as_deref() == Some("\"Remote Name\"")),
            "the loser is kept"
        );
        world.clear_logs();
        let again = world.sync_well().await;
        assert_eq!(again.totals.writes(), 0);
        assert_eq!((world.writes().app, world.writes().remote), (0, 0));
    });
}

#[test]
fn the_initial_policy_decides_what_differs() {
    for (initial, want) in [(Initial::Side(Side::App), "a"), (Initial::Side(Side::Remote), "r")] {
        story(|| async {
            let world = World::new(Setup { initial: Some(initial), ..Setup::default() }).await;
            world.apps.app.create(OBJECT, record(Side::App, &[("email", "e@x.io"), ("name", "a")]));
            world.apps.remote.create(OBJECT, record(Side::Remote, &[("email", "e@x.io"), ("name", "r")]));
            world.sync_well().await;
            for side in Side::BOTH {
                assert_eq!(world.by_email(side)["e@x.io"][0].1["name"], Value::string(want));
            }
        });
    }
}

#[test]
fn asking_holds_the_pair_and_writes_nothing() {
    story(|| async {
        let world = World::new(Setup { initial: Some(Initial::Ask), ..Setup::default() }).await;
        world.apps.app.create(OBJECT, record(Side::App, &[("email", "e@x.io"), ("name", "a")]));
        world.apps.remote.create(OBJECT, record(Side::Remote, &[("email", "e@x.io"), ("name", "r")]));
        let report = world.sync_well().await;
        assert_eq!(report.totals.writes(), 0);
        assert!(world.quarantine().iter().all(|(_, _, held)| held.kind == QuarantineKind::Undecided));
        assert!(!world.quarantine().is_empty());
    });
}

#[test]
fn an_ambiguous_match_is_refused_with_both_rows_named() {
    story(|| async {
        let world = World::new(Setup::default()).await;
        let first = world.apps.app.create(OBJECT, record(Side::App, &[("email", "e@x.io"), ("name", "one")]));
        let second = world.apps.app.create(OBJECT, record(Side::App, &[("email", "E@x.io"), ("name", "two")]));
        world.apps.remote.create(OBJECT, record(Side::Remote, &[("email", "e@x.io"), ("name", "r")]));
        world.sync_well().await;
        world.sync_well().await;
        assert_eq!((world.writes().app, world.writes().remote), (0, 0), "never a duplicate");
        let held = world.quarantine();
        let reasons: Vec<&str> = held.iter().map(|(_, _, held)| held.reason.as_str()).collect();
        assert!(held.iter().all(|(_, _, held)| held.kind == QuarantineKind::Ambiguous), "{held:?}");
        let named = reasons.iter().any(|reason| reason.contains(first.as_str()) && reason.contains(second.as_str()));
        assert!(named, "{reasons:?}");
    });
}

#[test]
fn one_way_syncs_create_only_on_their_target() {
    for (direction, target) in [(Direction::Out, Side::Remote), (Direction::In, Side::App)] {
        story(|| async {
            let mapping = "match = [\"email\"]\n[fields]\nemail = \"properties.email\"\nname = \"properties.name\"\n";
            let world = World::new(Setup { direction, mapping, ..Setup::default() }).await;
            world.apps.app.create(OBJECT, record(Side::App, &[("email", "a@x.io"), ("name", "a")]));
            world.apps.remote.create(OBJECT, record(Side::Remote, &[("email", "r@x.io"), ("name", "r")]));
            world.apps.app.create(OBJECT, record(Side::App, &[("email", "b@x.io"), ("name", "ba")]));
            world.apps.remote.create(OBJECT, record(Side::Remote, &[("email", "b@x.io"), ("name", "br")]));
            let report = world.sync_well().await;
            assert_eq!((report.totals.created[target], report.totals.updated[target]), (1, 1));
            assert_eq!(world.writes()[target.other()], 0);
            assert_eq!(world.sync_well().await.totals.writes(), 0);
        });
    }
}

#[test]
fn records_without_a_match_key_are_created_once() {
    story(|| async {
        let world = World::new(Setup::default()).await;
        world.apps.app.create(OBJECT, record(Side::App, &[("name", "nameless mail")]));
        world.apps.remote.create(OBJECT, record(Side::Remote, &[("email", ""), ("name", "blank mail")]));
        let report = world.sync_well().await;
        assert_eq!((report.totals.created.app, report.totals.created.remote), (1, 1));
        assert_eq!(world.sync_well().await.totals.writes(), 0);
        assert_eq!((world.apps.app.all(OBJECT).len(), world.apps.remote.all(OBJECT).len()), (2, 2));
    });
}

#[test]
pub fn a_record_that_is_held_back_is_found_by_its_partner() {
    story(|| async {
        let mapping = "match = [\"email\"]\n[fields]\nemail = \"properties.email\"\nname = { remote = \"properties.name\", max_length = 10 }\n";
        let world = World::new(Setup { mapping, ..Setup::default() }).await;
        let held = record(Side::App, &[("email", "e@x.io"), ("name", "much too long a name")]);
        let held = world.apps.app.create(OBJECT, held);
        assert_eq!(world.sync_well().await.totals.quarantined, 1);
        world.apps.remote.create(OBJECT, record(Side::Remote, &[("email", "e@x.io"), ("name", "r")]));
        world.sync_well().await;
        assert_eq!(world.by_email(Side::App)["e@x.io"].len(), 1, "{:?}", world.quarantine());
        edit(&world.apps, Side::App, held.as_str(), "name", Some("short"));
        world.sync_well().await;
        world.sync_well().await;
        for side in Side::BOTH {
            assert_eq!(world.by_email(side)["e@x.io"].len(), 1, "{side}");
            assert_eq!(world.by_email(side)["e@x.io"][0].1["name"], Value::string("short"), "{side}");
        }
        assert!(world.quarantine().is_empty());
    });
}
