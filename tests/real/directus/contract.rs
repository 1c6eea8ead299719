//! The contract that every connector keeps, checked against Directus.

use syncline::connectors::{Calls, ConnectorScope, contract};
use syncline::model::ids::ObjectName;
use syncline::model::value::Value;

use super::peer::{ADMIN, Directus, USER};
use super::world::config;

/// What Directus cannot be asked, each with the reason; everything else must pass.
const SKIPPED: [&str; 3] = [
    // It has no conditional writes.
    "an update decided on an old version is refused",
    "a delete decided on an old version is refused",
    // It answers a list of new items in an order of its own.
    "a batch answers in order",
];

#[actix::test]
#[ignore = "installs Directus"]
async fn directus_keeps_the_contract() {
    let directus = Directus::start(None);
    // Makes the collection; a connector never does.
    directus.contacts().await;
    directus.user().await;
    // What is gone is answered otherwise to an administrator than to others.
    for token in [USER, ADMIN] {
        let config = config(&directus, token);
        let connection = config.connections.first().expect("the file has one connection");
        let connector = connection.remote.factory().make(&ConnectorScope { scope: None }).expect("a connector");
        let calls = Calls::new(&connection.limits.remote);
        let report = contract::check(&*connector, &calls, &ObjectName::from("contacts"), sample).await;
        let report = report.unwrap_or_else(|report| panic!("{token}\n{report}"));
        println!("{token}\n{report}");
        let skipped: Vec<&str> = report
            .checks
            .iter()
            .filter(|checked| matches!(checked.verdict, contract::Verdict::Skipped(_)))
            .map(|checked| checked.name)
            .collect();
        assert_eq!(skipped, SKIPPED, "{report}");
    }
}

fn sample(number: u32) -> Value {
    let text = format!(
        r#"{{"email":"p{number}@example.com","name":"Pérsón {number}","tags":["a","b"],"address":{{"city":"Kraków"}},"score":{number}.5}}"#
    );
    Value::from_json(&text).expect("it is JSON")
}
