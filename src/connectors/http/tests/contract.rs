//! The contract suite over the sandbox CRM, by its shipped connector file and the real
//! transport.

use super::*;
use crate::connectors::contract;
use crate::connectors::{ConnectorFactory, ConnectorScope};
use crate::sandbox::{Sandbox, token};

/// Without nulls: a PATCH of the sandbox takes them for keys to take away.
fn sample(n: u32) -> Value {
    value(&format!(
        r#"{{"properties":{{"email":"p{n}@example.com","name":"Person {n}","age":{n},"big":1234567890123456789{n}.50,
            "address":{{"city":"Town {n}","tags":["a","b"]}}}}}}"#
    ))
}

async fn check(file: &str, skipped: &[&str]) {
    let sandbox = Sandbox::builder().page_size(3).seed("acme", "contacts", 10, 1).gzip(true).start().unwrap();
    let file = HttpConnectorFile::parse("sandbox.toml", file).unwrap_or_else(|error| panic!("{error}"));
    let mut settings = HttpSettings::new(sandbox.api_url());
    settings.credentials = Credentials::Token(token("acme").into());
    settings.allow_private = true;
    let factory = HttpFactory::new(Arc::new(file), settings);
    let connector = factory.make(&ConnectorScope { scope: None }).unwrap();
    let calls = Calls::new(&crate::model::budget::Limits::default());
    let report = contract::check(&*connector, &calls, &"contacts".into(), sample).await;
    let report = report.unwrap_or_else(|report| panic!("{report}"));
    let passed = report.passed();
    let others: Vec<&str> =
        report.checks.iter().map(|checked| checked.name).filter(|name| !passed.contains(name)).collect();
    assert_eq!(others, skipped, "{report}");
    sandbox.stop().await;
}

const FILE: &str = include_str!("../../../../fixtures/connectors/sandbox.toml");

/// Nothing but `properties` is written there, so no other key can be lost.
const ONE_KEY: &str = "an update keeps the keys it does not name";

#[actix_web::test]
async fn the_sandbox_by_its_connector_file() {
    check(FILE, &[ONE_KEY]).await;
}

#[actix_web::test]
async fn the_sandbox_with_other_kinds_of_pages_and_single_writes() {
    let tokens = "page = { kind = \"cursor\", param = \"after\", next = \"paging.next.after\", size = 100 }";
    assert!(FILE.contains(tokens));
    let singly = FILE.split("[object.contacts.batch]").next().unwrap();
    let skipped = [ONE_KEY, "a batch answers in order"];
    for page in [
        "page = { kind = \"link_header\", size = 3 }",
        "page = { kind = \"next_url\", next = \"paging.next.link\" }",
        "page = { kind = \"page\", size = 3, total = \"total\" }",
        "page = { kind = \"page\", size = 3, end = \"short\" }",
    ] {
        check(&singly.replace(tokens, page), &skipped).await;
    }
    let whole = singly.replace("[object.contacts.list]", "update.put = \"{path}/{id}\"\n[object.contacts.list]");
    assert_ne!(whole, singly);
    check(&whole, &skipped).await;
}
