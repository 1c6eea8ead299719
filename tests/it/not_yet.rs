//! Promises that are not kept yet, as tests that are expected to fail. What builds the
//! feature takes the `should_panic` away.

use syncline::connectors::http::HttpConnectorFile;
use syncline::model::side::Side;

use crate::harness::{OBJECT, Setup, World, record, story};

#[test]
#[should_panic(expected = "mass_change_brake")]
fn a_side_that_loses_most_of_its_records_stops_the_run() {
    story(|| async {
        let world = World::new(Setup::default()).await;
        for i in 0..50 {
            world.apps.app.create(OBJECT, record(Side::App, &[("email", &format!("{i}@x.io")), ("name", "n")]));
        }
        world.sync_well().await;
        for (_, records) in world.by_email(Side::Remote) {
            world.apps.remote.delete(OBJECT, records[0].0.clone());
        }
        world.sync_well().await;
        let left = world.by_email(Side::App).len();
        assert_eq!(left, 50, "mass_change_brake: somebody is asked before most of a side is deleted");
    });
}

#[test]
#[should_panic(expected = "token_single_flight")]
fn tokens_are_refreshed() {
    let file = "name = \"crm\"\nauth = { kind = \"oauth2\", token_url = \"https://crm.example/token\" }\n";
    let problems = HttpConnectorFile::parse("crm.toml", file).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(!problems.contains("oauth2"), "token_single_flight: {problems}");
}
