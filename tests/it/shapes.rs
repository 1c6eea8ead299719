//! Danger: a value that shares its place with others (one of several paths, an entry of a list,
//! part of an object) takes them with it when it is written.

use std::sync::Arc;

use syncline::connectors::http::{HttpConnectorFile, HttpFactory, HttpSettings};
use syncline::connectors::memory::{Behaviour, Normalise};
use syncline::connectors::{ConnectorFactory, ConnectorScope};
use syncline::model::direction::Direction;
use syncline::model::ids::RecordId;
use syncline::model::side::Side;
use syncline::model::value::Value;
use syncline::model::write::Change;

use crate::harness::{OBJECT, Setup, World, mapping, story};

const SHAPES: &str = r#"
match = ["email"]
[fields]
email = "properties.email"
name = { remote = ["properties.first", "properties.last"], split = " " }
tags = { remote = "properties.tags", join = ";", type = "list" }
phone = "properties.phones[type=work].number"
ext = "properties.phones[type=work].ext"
home = "properties.phones[type=home].number"
address = "properties.address"
"#;

const BY_ADDRESS: &str = r#"
match = ["email"]
[fields]
email = { remote = "emailAddresses[first].address", transform = "lowercase" }
name = "displayName"
"#;

fn json(text: &str) -> Value {
    Value::from_json(text).unwrap()
}

fn set(world: &World, side: Side, id: &RecordId, path: &str, value: Option<&str>) {
    let change = Change { path: path.parse().unwrap(), value: value.map(json) };
    assert!(world.apps[side].patch(OBJECT, id.clone(), vec![change]));
}

fn get(world: &World, side: Side, id: &RecordId, path: &str) -> String {
    let record = world.apps[side].get(OBJECT, id.clone()).unwrap();
    record.get(&path.parse().unwrap()).map_or("-".to_owned(), Value::to_json)
}

/// One record of the app and what became of it at the remote.
async fn pair(world: &World, record: &str) -> (RecordId, RecordId) {
    let app = world.apps.app.create(OBJECT, json(record));
    world.sync_well().await;
    let remote = world.apps.remote.all(OBJECT).into_keys().next().unwrap();
    (app, remote)
}

async fn at_rest(world: &World) {
    world.sync_well().await;
    assert_eq!(world.sync_well().await.totals.writes(), 0);
    assert!(world.quarantine().is_empty(), "{:?}", world.quarantine());
}

#[test]
fn a_name_and_a_list_are_taken_apart_and_put_together() {
    story(|| async {
        let world = World::new(Setup { mapping: SHAPES, ..Setup::default() }).await;
        let (app, remote) = pair(&world, r#"{"email":"e@x","name":"Ada Maria Lovelace","tags":["a","b"]}"#).await;
        assert_eq!(get(&world, Side::Remote, &remote, "properties.first"), r#""Ada""#);
        assert_eq!(get(&world, Side::Remote, &remote, "properties.last"), r#""Maria Lovelace""#);
        assert_eq!(get(&world, Side::Remote, &remote, "properties.tags"), r#""a;b""#);
        // Somebody there knows better which is which; the app's text stays the same.
        set(&world, Side::Remote, &remote, "properties.first", Some(r#""Ada Maria""#));
        set(&world, Side::Remote, &remote, "properties.last", Some(r#""Lovelace""#));
        at_rest(&world).await;
        assert_eq!(get(&world, Side::App, &app, "name"), r#""Ada Maria Lovelace""#);
        // And what they know is kept when the app changes the rest.
        set(&world, Side::App, &app, "name", Some(r#""Ada Maria Byron""#));
        at_rest(&world).await;
        assert_eq!(get(&world, Side::Remote, &remote, "properties.first"), r#""Ada Maria""#);
        assert_eq!(get(&world, Side::Remote, &remote, "properties.last"), r#""Byron""#);
        set(&world, Side::Remote, &remote, "properties.tags", Some(r#""b;c""#));
        set(&world, Side::Remote, &remote, "properties.last", None);
        at_rest(&world).await;
        assert_eq!(get(&world, Side::App, &app, "name"), r#""Ada Maria""#);
        assert_eq!(get(&world, Side::App, &app, "tags"), r#"["b","c"]"#);
        // All of its paths are one field: one conflict, one winner.
        set(&world, Side::App, &app, "name", Some(r#""Bob Ross""#));
        set(&world, Side::Remote, &remote, "properties.last", Some(r#""Noether""#));
        let report = world.sync_well().await;
        assert_eq!(report.totals.conflicts, 1);
        at_rest(&world).await;
        assert_eq!(get(&world, Side::Remote, &remote, "properties.first"), r#""Bob""#);
        assert_eq!(get(&world, Side::Remote, &remote, "properties.last"), r#""Ross""#);
        assert!(world.history().iter().any(|conflict| conflict.lost.as_deref() == Some("\"Ada Maria Noether\"")));
    });
}

#[test]
fn an_entry_of_a_list_is_written_and_the_others_stay() {
    story(|| async {
        let world = World::new(Setup { mapping: SHAPES, ..Setup::default() }).await;
        let (app, remote) = pair(&world, r#"{"email":"e@x","phone":"1","ext":"7"}"#).await;
        let phones = |world: &World| get(world, Side::Remote, &remote, "properties.phones");
        assert_eq!(phones(&world), r#"[{"type":"work","number":"1","ext":"7"}]"#);
        let theirs =
            r#"[{"type":"fax","number":"0"},{"type":"work","number":"2","ext":"7","seen":1.50},{"type":"fax"}]"#;
        set(&world, Side::Remote, &remote, "properties.phones", Some(theirs));
        at_rest(&world).await;
        assert_eq!(get(&world, Side::App, &app, "phone"), r#""2""#);
        set(&world, Side::App, &app, "phone", Some(r#""3""#));
        set(&world, Side::App, &app, "home", Some(r#""4""#));
        at_rest(&world).await;
        assert_eq!(
            phones(&world),
            r#"[{"type":"fax","number":"0"},{"type":"work","number":"3","ext":"7","seen":1.50},{"type":"fax"},{"type":"home","number":"4"}]"#
        );
        // The number alone goes; with the last value that is mapped there goes the entry.
        set(&world, Side::App, &app, "phone", Some("null"));
        at_rest(&world).await;
        assert!(phones(&world).contains(r#"{"type":"work","ext":"7","seen":1.50}"#), "{}", phones(&world));
        set(&world, Side::App, &app, "ext", None);
        at_rest(&world).await;
        assert_eq!(phones(&world), r#"[{"type":"fax","number":"0"},{"type":"fax"},{"type":"home","number":"4"}]"#);
        assert_eq!(get(&world, Side::App, &app, "phone"), "null");
        // Another order, and a stranger in front, change nothing.
        set(&world, Side::Remote, &remote, "properties.phones", Some(r#"[{"type":"home","number":"4"},{"type":"x"}]"#));
        world.clear_logs();
        at_rest(&world).await;
        assert_eq!(world.writes().app, 0);
    });
}

#[test]
fn a_value_is_held_back_where_another_would_take_its_place() {
    story(|| async {
        let world = World::new(Setup { mapping: SHAPES, ..Setup::default() }).await;
        let (app, remote) = pair(&world, r#"{"email":"e@x","phone":"1"}"#).await;
        let two = r#"[{"type":"work","number":"1"},{"type":"work","number":"2"}]"#;
        set(&world, Side::Remote, &remote, "properties.phones", Some(two));
        at_rest(&world).await;
        set(&world, Side::App, &app, "phone", None);
        world.sync_well().await;
        let held = world.quarantine();
        assert_eq!(held.len(), 1, "{held:?}");
        assert!(held[0].2.reason.contains("without this one another would take its place"), "{held:?}");
        assert_eq!(get(&world, Side::Remote, &remote, "properties.phones"), two);
        // Nothing that is mapped has changed there, so it is the record's own next edit that is tried.
        set(&world, Side::Remote, &remote, "properties.phones", Some(r#"[{"type":"work","number":"1"}]"#));
        set(&world, Side::App, &app, "name", Some(r#""Ada Lovelace""#));
        at_rest(&world).await;
        assert_eq!(get(&world, Side::Remote, &remote, "properties.phones"), "[]");
        assert_eq!(get(&world, Side::Remote, &remote, "properties.last"), r#""Lovelace""#);
    });
}

#[test]
fn a_change_beside_the_value_that_is_written_is_not_lost() {
    story(|| async {
        let world = World::new(Setup { mapping: SHAPES, ..Setup::default() }).await;
        let (app, remote) = pair(&world, r#"{"email":"e@x","phone":"1","name":"Ada Lovelace"}"#).await;
        for round in 0..3 {
            set(&world, Side::App, &app, "phone", Some(&format!("\"{round}0\"")));
            let phones = format!(r#"[{{"type":"work","number":"x{round}"}},{{"type":"pager","number":"{round}"}}]"#);
            set(&world, Side::Remote, &remote, "properties.phones", Some(&phones));
            at_rest(&world).await;
            let want = format!(r#"[{{"type":"work","number":"{round}0"}},{{"type":"pager","number":"{round}"}}]"#);
            assert_eq!(get(&world, Side::Remote, &remote, "properties.phones"), want);
        }
    });
}

#[test]
fn an_app_that_rewrites_its_lists_settles() {
    story(|| async {
        let world = World::new(Setup { mapping: SHAPES, ..Setup::default() }).await;
        let normalise = Normalise { trim: true, ..Normalise::default() };
        world.apps.remote.set_behaviour(Behaviour { normalise, ..Behaviour::default() });
        let (app, remote) =
            pair(&world, r#"{"email":"e@x","phone":" 1 ","name":" Ada Lovelace ","tags":["a "]}"#).await;
        at_rest(&world).await;
        set(&world, Side::App, &app, "ext", Some(r#"" 9""#));
        at_rest(&world).await;
        assert!(get(&world, Side::Remote, &remote, "properties.phones").contains("9"));
        assert_eq!(get(&world, Side::App, &app, "phone"), r#"" 1 ""#);
    });
}

#[test]
fn a_nested_object_is_one_value() {
    story(|| async {
        let world = World::new(Setup { mapping: SHAPES, ..Setup::default() }).await;
        let (app, remote) = pair(&world, r#"{"email":"e@x","address":{"city":"Bern","geo":{"lat":46.9480}}}"#).await;
        assert_eq!(
            get(&world, Side::Remote, &remote, "properties.address"),
            r#"{"city":"Bern","geo":{"lat":46.9480}}"#
        );
        set(&world, Side::Remote, &remote, "properties.address.geo.lat", Some("47.0"));
        at_rest(&world).await;
        assert_eq!(get(&world, Side::App, &app, "address"), r#"{"city":"Bern","geo":{"lat":47.0}}"#);
        set(&world, Side::App, &app, "address", Some(r#"{"geo":{"lat":47.00},"city":"Bern"}"#));
        world.clear_logs();
        at_rest(&world).await;
        assert_eq!(world.writes().remote, 0, "the same object, spelled otherwise");
    });
}

#[test]
fn a_connector_searches_by_an_entry_under_the_name_it_has_in_the_mapping() {
    let text = "name = 'graph'\n[object.contacts]\nid = 'id'\n\
                list = { get = '/me/contacts', records = 'value' }\n\
                [object.contacts.find]\nget = '/me/contacts'\nencode = 'odata'\n\
                params.'emailAddresses[first].address' = { '$filter' = 'emailAddresses/any(a:a/address eq {value})' }\n";
    let file = HttpConnectorFile::parse("graph.toml", text).unwrap_or_else(|error| panic!("{error}"));
    let factory = HttpFactory::new(Arc::new(file), HttpSettings::new("https://graph.example.com"));
    let connector = factory.make(&ConnectorScope { scope: None }).unwrap();
    let path = mapping(BY_ADDRESS, Direction::TwoWay).fields[0].paths.remote.clone();
    assert_eq!(connector.capabilities(&OBJECT.into()).unwrap().find, [path]);
}

#[test]
fn records_are_matched_by_their_first_address() {
    story(|| async {
        let world = World::new(Setup { mapping: BY_ADDRESS, ..Setup::default() }).await;
        let theirs = world.apps.remote.create(
            OBJECT,
            json(
                r#"{"displayName":"Ada","emailAddresses":[{"address":"Ada@x.io","name":"A"},{"address":"bob@x.io"}]}"#,
            ),
        );
        let ada = world.apps.app.create(OBJECT, json(r#"{"email":"ada@x.io","name":"Ada"}"#));
        let bob = world.apps.app.create(OBJECT, json(r#"{"email":"bob@x.io","name":"Bob"}"#));
        at_rest(&world).await;
        let all = world.apps.remote.all(OBJECT);
        assert_eq!(all.len(), 2, "Ada is paired, Bob is made: his address is only the second of hers");
        let made = all.iter().find(|(id, _)| **id != theirs).unwrap().1;
        assert_eq!(made.to_json(), r#"{"displayName":"Bob","emailAddresses":[{"address":"bob@x.io"}]}"#);
        set(&world, Side::App, &ada, "email", Some(r#""new@x.io""#));
        at_rest(&world).await;
        assert_eq!(
            get(&world, Side::Remote, &theirs, "emailAddresses"),
            r#"[{"address":"new@x.io","name":"A"},{"address":"bob@x.io"}]"#
        );
        assert_eq!(get(&world, Side::App, &bob, "email"), r#""bob@x.io""#);
    });
}
