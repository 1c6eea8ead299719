//! Danger: a host program's last word on a write that loses the record, comes back as an edit, or
//! lets a panic out.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use syncline::Kernel;
use syncline::before_write::{BeforeWrite, Proposed, Verdict, WriteKind};
use syncline::model::side::Side;
use syncline::model::value::Value;
use syncline::model::work::QuarantineKind;

use crate::harness::{OBJECT, Setup, World, edit, record, story};

type Answer = Result<Verdict, Box<dyn std::error::Error + Send + Sync>>;

/// A world whose kernel asks the hook.
async fn asked(setup: Setup, hook: impl BeforeWrite + 'static) -> World {
    let mut world = World::new(setup).await;
    world.abort().await;
    let builder = Kernel::builder().store(world.store.clone()).env(world.env.clone());
    let kernel = builder.connection(world.spec()).before_write("contacts", hook).start().await.unwrap();
    world.run_on(kernel);
    world
}

fn contact(fields: &[(&str, &str)]) -> Value {
    record(Side::App, fields)
}

fn only_remote(world: &World) -> String {
    world.apps.remote.all(OBJECT).into_keys().next().unwrap().to_string()
}

#[test]
fn what_it_changes_is_written_and_no_edit() {
    story(|| async {
        let hook = |write: &mut Proposed<'_>| -> Answer {
            if write.side() == Side::Remote
                && let Some(name) = write.get("name").and_then(Value::as_str).map(str::to_uppercase)
            {
                write.set("name", Some(Value::string(name)))?;
                write.set("note", Some(Value::string("by hook")))?;
            }
            Ok(Verdict::Write)
        };
        let world = asked(Setup::default(), hook).await;
        let app = world.apps.app.create(OBJECT, contact(&[("email", "e@x"), ("name", "ada")])).to_string();
        world.sync_well().await;
        let remote = only_remote(&world);
        let there = world.fields(Side::Remote, &remote);
        assert_eq!((&there["name"], &there["note"]), (&Value::string("ADA"), &Value::string("by hook")));
        for _ in 0..3 {
            assert_eq!(world.sync_well().await.totals.writes(), 0);
        }
        assert_eq!(world.fields(Side::App, &app)["name"], Value::string("ada"));
        edit(&world.apps, Side::App, &app, "name", Some("bob"));
        world.sync_well().await;
        assert_eq!(world.fields(Side::Remote, &remote)["name"], Value::string("BOB"));
        assert_eq!(world.sync_well().await.totals.writes(), 0);
        // Somebody's edit there is one, and comes back as it is.
        edit(&world.apps, Side::Remote, &remote, "name", Some("Carl"));
        world.sync_well().await;
        assert_eq!(world.fields(Side::App, &app)["name"], Value::string("Carl"));
        assert_eq!(world.sync_well().await.totals.writes(), 0);
    });
}

#[test]
fn what_it_sees_is_the_write() {
    story(|| async {
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = Arc::clone(&seen);
        let hook = move |write: &mut Proposed<'_>| -> Answer {
            let fields: Vec<String> = write
                .written()
                .map(|(name, value)| format!("{name}={}", value.map_or("-".to_owned(), Value::to_json)))
                .collect();
            let ids = (write.id().is_some(), write.source().is_some());
            let line = format!(
                "{} {} {} {:?} {ids:?} {}",
                write.connection(),
                write.sync(),
                write.side(),
                write.kind(),
                fields.join(" ")
            );
            log.lock().unwrap().push(line);
            Ok(Verdict::Write)
        };
        let world = asked(Setup::default(), hook).await;
        let app = world.apps.app.create(OBJECT, contact(&[("email", "E@x"), ("name", "ada")])).to_string();
        world.sync_well().await;
        edit(&world.apps, Side::App, &app, "name", None);
        world.sync_well().await;
        edit(&world.apps, Side::Remote, &only_remote(&world), "note", Some("n"));
        world.sync_well().await;
        world.apps.app.delete(OBJECT, app.as_str());
        world.sync_well().await;
        assert!(world.apps.remote.all(OBJECT).is_empty());
        let mut seen = seen.lock().unwrap().clone();
        seen.dedup();
        assert_eq!(
            seen,
            [
                r#"acme contacts remote Create (false, true) email="E@x" name="ada""#,
                r#"acme contacts remote Update (true, true) name=-"#,
                r#"acme contacts app Update (true, true) note="n""#,
                "acme contacts remote Delete (true, true) ",
            ]
        );
    });
}

#[test]
fn what_it_holds_back_is_counted_and_kept() {
    story(|| async {
        let hook = |write: &mut Proposed<'_>| -> Answer {
            match write.get("name").and_then(Value::as_str) {
                Some("bad") => Ok(Verdict::HoldBack("not that one".to_owned())),
                Some("error") => Err("the rules are gone".into()),
                Some("panic") => panic!("at the worst time"),
                _ => Ok(Verdict::Write),
            }
        };
        let world = asked(Setup::default(), hook).await;
        for (name, told) in [
            ("bad", "before_write: not that one"),
            ("error", "before_write: it failed: the rules are gone"),
            ("panic", "before_write: it panicked: at the worst time"),
        ] {
            let app = world.apps.app.create(OBJECT, contact(&[("email", name), ("name", name)])).to_string();
            world.sync_well().await;
            let held = world.quarantine();
            assert_eq!(held.len(), 1, "{held:?}");
            assert_eq!((held[0].2.kind, held[0].2.reason.as_str()), (QuarantineKind::Refused, told));
            assert!(world.apps.remote.all(OBJECT).is_empty(), "nothing was written");
            edit(&world.apps, Side::App, &app, "name", Some("fine"));
            world.sync_well().await;
            assert!(world.quarantine().is_empty());
            let remote = only_remote(&world);
            // An update and a deletion likewise.
            edit(&world.apps, Side::App, &app, "name", Some(name));
            world.sync_well().await;
            assert_eq!(world.fields(Side::Remote, &remote)["name"], Value::string("fine"));
            assert_eq!(world.quarantine().len(), 1);
            edit(&world.apps, Side::App, &app, "name", Some("well"));
            world.sync_well().await;
            assert_eq!(world.fields(Side::Remote, &remote)["name"], Value::string("well"));
            world.apps.app.delete(OBJECT, app.as_str());
            world.sync_well().await;
            assert!(world.apps.remote.all(OBJECT).is_empty() && world.quarantine().is_empty());
        }
    });
}

#[test]
fn what_it_puts_off_is_written_later() {
    story(|| async {
        let asked_so_often = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked_so_often);
        let hook = move |_: &mut Proposed<'_>| -> Answer {
            // More often than a failing record is tried.
            let enough = count.fetch_add(1, Ordering::Relaxed) >= 25;
            Ok(if enough { Verdict::Write } else { Verdict::Later(3_600_000) })
        };
        let world = asked(Setup::default(), hook).await;
        world.apps.app.create(OBJECT, contact(&[("email", "e@x"), ("name", "ada")]));
        // Who asks for a run does not wait for it.
        world.sync_well().await;
        assert!(world.apps.remote.all(OBJECT).is_empty());
        tokio::time::sleep(std::time::Duration::from_secs(20 * 3_600)).await;
        assert!(world.apps.remote.all(OBJECT).is_empty() && world.quarantine().is_empty());
        tokio::time::sleep(std::time::Duration::from_secs(10 * 3_600)).await;
        assert_eq!(world.apps.remote.all(OBJECT).len(), 1);
        assert!(world.quarantine().is_empty());
    });
}

#[test]
fn it_keeps_to_the_rules_of_the_fields() {
    story(|| async {
        let told: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = Arc::clone(&told);
        let hook = move |write: &mut Proposed<'_>| -> Answer {
            if write.kind() == WriteKind::Create {
                let mut log = log.lock().unwrap();
                for (field, value) in
                    [("nmae", "x"), ("phone", "1"), ("email", "x@y"), ("name", "far too long a name for this field")]
                {
                    log.push(write.set(field, Some(Value::string(value))).unwrap_err());
                }
            }
            Ok(Verdict::Write)
        };
        let mapping = "match = ['email']\n[fields]\nemail = 'properties.email'\n\
                       name = { remote = 'properties.name', max_length = 10 }\n\
                       phone = { remote = 'properties.phone', owner = 'remote' }\n";
        let world = asked(Setup { mapping, ..Setup::default() }, hook).await;
        world.apps.app.create(OBJECT, contact(&[("email", "e@x"), ("name", "ada")]));
        world.sync_well().await;
        assert_eq!(world.fields(Side::Remote, &only_remote(&world))["name"], Value::string("ada"));
        let told = told.lock().unwrap();
        for (told, want) in told.iter().zip([
            "the sync has no field 'nmae'",
            "the field 'phone' is not written to the remote",
            "records are matched by 'email', which both sides must hold alike",
            "it has 34 characters, more than 10",
        ]) {
            assert!(told.contains(want), "{told}");
        }
    });
}
