//! Danger: a record that is not as its schema wants it is written all the same, or lost.

#![cfg(feature = "json-schema")]

use syncline::model::side::Side;
use syncline::model::value::Value;
use syncline::model::work::QuarantineKind;
use syncline::reconcile::schema::{RecordSchema, Schemas};

use crate::harness::{OBJECT, Setup, World, edit, record, story};

fn schema(text: &str) -> Option<RecordSchema> {
    Some(RecordSchema::compile(text).unwrap())
}

async fn checked(schemas: Schemas) -> (World, String) {
    let world = World::new(Setup { schemas, ..Setup::default() }).await;
    let app = world.apps.app.create(OBJECT, record(Side::App, &[("email", "e@x"), ("name", "ada"), ("note", "n")]));
    (world, app.to_string())
}

#[test]
fn what_does_not_fit_is_held_back_with_its_place() {
    story(|| async {
        let both = schema(r#"{ "properties": { "name": { "minLength": 4 } }, "required": ["note"] }"#);
        let (world, app) = checked(Schemas { both, ..Schemas::default() }).await;
        world.sync_well().await;
        assert!(world.apps.remote.all(OBJECT).is_empty());
        let held = world.quarantine();
        assert_eq!(held.len(), 1, "{held:?}");
        let (kind, reason, path) = (held[0].2.kind, held[0].2.reason.as_str(), held[0].2.path.as_deref());
        assert_eq!((kind, path), (QuarantineKind::Invalid, Some("name")));
        assert_eq!(reason, "the record for the remote is not as its schema wants it: length must be >=4, but got 3");
        edit(&world.apps, Side::App, &app, "name", Some("Adaline"));
        world.sync_well().await;
        assert!(world.quarantine().is_empty());
        let remote = world.apps.remote.all(OBJECT).into_keys().next().unwrap().to_string();
        // A change is checked with what stands there: without the note it would not fit.
        edit(&world.apps, Side::App, &app, "name", Some("Grace"));
        edit(&world.apps, Side::App, &app, "note", None);
        world.sync_well().await;
        assert_eq!(world.fields(Side::Remote, &remote)["name"], Value::string("Adaline"));
        assert!(world.quarantine()[0].2.reason.contains("missing properties 'note'"), "{:?}", world.quarantine());
        edit(&world.apps, Side::App, &app, "note", Some("m"));
        world.sync_well().await;
        assert_eq!(world.fields(Side::Remote, &remote)["name"], Value::string("Grace"));
        // The other way it is the same schema.
        edit(&world.apps, Side::Remote, &remote, "name", Some("G"));
        world.sync_well().await;
        assert_eq!(world.fields(Side::App, &app)["name"], Value::string("Grace"));
        assert!(world.quarantine()[0].2.reason.starts_with("the record for the app"), "{:?}", world.quarantine());
        edit(&world.apps, Side::Remote, &remote, "name", Some("Hopper"));
        world.sync_well().await;
        assert_eq!(world.fields(Side::App, &app)["name"], Value::string("Hopper"));
        assert!(world.quarantine().is_empty());
        assert_eq!(world.sync_well().await.totals.writes(), 0);
    });
}

#[test]
fn a_side_has_its_own_form() {
    story(|| async {
        let text = r#"{ "properties": { "properties": { "additionalProperties": false,
                        "properties": { "email": {}, "name": { "pattern": "^[a-z]+$" }, "note": {} } } } }"#;
        let sides = syncline::model::side::PerSide { app: None, remote: schema(text) };
        let (world, app) = checked(Schemas { sides, ..Schemas::default() }).await;
        world.sync_well().await;
        let remote = world.apps.remote.all(OBJECT).into_keys().next().unwrap().to_string();
        // What is not mapped there is nobody's business here.
        edit(&world.apps, Side::Remote, &remote, "other", Some("x"));
        edit(&world.apps, Side::App, &app, "name", Some("bob"));
        world.sync_well().await;
        assert_eq!(world.fields(Side::Remote, &remote)["name"], Value::string("bob"));
        edit(&world.apps, Side::App, &app, "name", Some("Bob"));
        world.sync_well().await;
        assert_eq!(world.fields(Side::Remote, &remote)["name"], Value::string("bob"));
        assert_eq!(world.quarantine()[0].2.path.as_deref(), Some("properties.name"));
        // Into the app anything goes.
        edit(&world.apps, Side::Remote, &remote, "note", Some("N"));
        edit(&world.apps, Side::App, &app, "name", Some("carl"));
        world.sync_well().await;
        assert_eq!(world.fields(Side::App, &app)["note"], Value::string("N"));
        assert_eq!(world.fields(Side::Remote, &remote)["name"], Value::string("carl"));
    });
}
