//! The contract that every connector keeps, checked against Kinto.

use syncline::connectors::{Calls, ConnectorScope, contract};
use syncline::model::ids::ObjectName;
use syncline::model::value::Value;

use crate::harness::config;
use crate::kinto::Kinto;

/// What Kinto cannot be asked, each with the reason; everything else must pass.
const SKIPPED: [&str; 1] = [
    // Kinto chooses the id here and knows no idempotency key; an unknown create is found
    // again by its match key.
    "a create sent twice makes one record",
];

#[actix::test]
async fn kinto_keeps_the_contract() {
    let kinto = Kinto::start();
    // Makes the bucket and the collection; a connector never does.
    kinto.collection("contacts").await;
    let config = config("contacts.toml", &kinto);
    let connection = config.connections.first().expect("the file has one connection");
    let connector = connection.remote.factory().make(&ConnectorScope { scope: None }).expect("a connector");
    let calls = Calls::new(&connection.limits.remote);
    let report = contract::check(&*connector, &calls, &ObjectName::from("contacts"), sample).await;
    let report = report.unwrap_or_else(|report| panic!("{report}"));
    println!("{report}");
    let skipped: Vec<&str> = report
        .checks
        .iter()
        .filter(|checked| matches!(checked.verdict, contract::Verdict::Skipped(_)))
        .map(|checked| checked.name)
        .collect();
    assert_eq!(skipped, SKIPPED, "{report}");
}

fn sample(number: u32) -> Value {
    let text = format!(
        r#"{{"email":"p{number}@example.com","name":"Pérsón {number}","tags":["a","b"],"address":{{"city":"Kraków"}},"points":{number}}}"#
    );
    Value::from_json(&text).expect("it is JSON")
}
