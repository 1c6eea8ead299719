//! Danger: the example that hosts copy loses changes, or shows one customer's contacts to
//! another. Its app, over real HTTP on this machine; waits for what must come, never for a
//! while.

// The example's own `main`, and what only that uses.
#[allow(dead_code)]
#[path = "../../examples/actix_app.rs"]
mod app;

use reqwest::{Method, StatusCode};
use serde_json::json;
use syncline::connectors::{Calls, Connector, Read, contract};
use syncline::model::budget::Limits;
use syncline::model::cursor::Cursor;
use syncline::model::ids::ObjectName;
use syncline::model::record::Entry;
use syncline::model::value::Value;
use syncline::model::write::{Delete, NextStep, Outcome, Write};

use app::connector::OBJECT;
use app::handlers::key;
use app::storage::{Contact, Database};
use app::tour::{self, Browser, arrives};
use app::{CUSTOMERS, EVENT_TOKEN, Running};

fn database(folder: &tempfile::TempDir) -> Database {
    Database::open(&folder.path().join("app.sqlite")).unwrap()
}

fn named(name: &str) -> Contact {
    Contact { email: Some(format!("{name}@x.io")), name: Some(name.to_owned()), phone: None }
}

fn calls() -> Calls {
    Calls::new(&Limits::default())
}

#[actix_web::test]
async fn its_storage_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let database = database(&folder);
    database.contacts_of("globex").transact(|table| table.put("g", &named("gus"))).unwrap();
    let sample =
        |n: u32| Value::from_json(&format!(r#"{{"email":"p{n}@x.io","name":"Person {n}","phone":"+{n}"}}"#)).unwrap();
    let acme = database.contacts_of("acme");
    let report = contract::check(&acme, &calls(), &ObjectName::from(OBJECT), sample).await.unwrap();
    let skipped = report.checks.len() - report.passed().len();
    assert_eq!(skipped, 1, "only find is skipped: {report}");
    assert_eq!(acme.transact(|table| table.list()).unwrap(), []);
    assert_eq!(database.contacts_of("globex").transact(|table| table.list()).unwrap().len(), 1);
}

#[actix_web::test]
async fn a_long_list_comes_in_pages_and_misses_nothing_that_moves_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let acme = database(&folder).contacts_of("acme");
    let count = 1_100;
    acme.transact(|table| (0..count).try_for_each(|n| table.put(&format!("{n:05}"), &named("old")))).unwrap();
    let (mut live, mut token, mut pages) = (std::collections::BTreeMap::new(), None, 0);
    loop {
        let page = acme.read(&calls(), &OBJECT.into(), Read::All { page: token }).await.unwrap();
        assert!(page.cursor.is_some(), "in the order of changes every page has a cursor");
        for entry in page.entries {
            let Entry::Live(record) = entry else { panic!("{entry:?}") };
            live.insert(record.id, record.body);
        }
        (token, pages) = (page.next, pages + 1);
        // Behind the read's back: one that it has passed, and one that it has not.
        let edit = |id: &str| acme.transact(|table| table.put(id, &named("new"))).unwrap();
        if pages == 1 {
            edit("00000");
            edit("01099");
        }
        if token.is_none() {
            break;
        }
    }
    assert_eq!((pages, live.len()), (3, count));
    for id in ["00000", "01099"] {
        assert!(live[&id.into()].as_str().contains("new"), "{id}");
    }
}

#[actix_web::test]
async fn whatever_writes_the_table_gives_a_new_number_and_none_comes_twice() {
    let folder = tempfile::tempdir().unwrap();
    let acme = database(&folder).contacts_of("acme");
    // A hand at a SQL prompt: no code of the app's is asked.
    let prompt = rusqlite::Connection::open(folder.path().join("app.sqlite")).unwrap();
    let mut last = 0;
    for sql in [
        "INSERT INTO contacts (customer, id, name) VALUES ('acme', '1', 'Ada')",
        "UPDATE contacts SET name = 'Ada L.' WHERE id = '1'",
        "INSERT OR REPLACE INTO contacts (customer, id, name) VALUES ('acme', '1', 'Ada K.')",
        "DELETE FROM contacts WHERE id = '1'",
        "INSERT OR IGNORE INTO contacts (customer, id, name) VALUES ('acme', '1', 'Ada')",
        "UPDATE OR IGNORE contacts SET name = NULL WHERE id = '1'",
        "DELETE FROM contacts",
    ] {
        prompt.execute_batch(sql).unwrap();
        let changed = acme.transact(|table| table.changed_after(last, 10)).unwrap();
        assert_eq!(changed.len(), 1, "{sql}");
        assert!(changed[0].version > last, "{sql}");
        assert_eq!(changed[0].contact.is_none(), sql.starts_with("DELETE"), "{sql}");
        last = changed[0].version;
    }
    let read = |since: &str| Read::Changes { since: Cursor::new(since), page: None };
    for since in [(last + 1).to_string().as_str(), "", "change:1"] {
        let refused = acme.read(&calls(), &OBJECT.into(), read(since)).await.unwrap_err();
        assert_eq!(refused.next, NextStep::Resync, "'{since}', as after a restored backup");
    }
}

#[actix_web::test]
async fn a_connection_sees_and_changes_its_own_customers_contacts_alone() {
    let folder = tempfile::tempdir().unwrap();
    let database = database(&folder);
    let (acme, globex) = (database.contacts_of("acme"), database.contacts_of("globex"));
    acme.transact(|table| table.put("1", &named("ada"))).unwrap();
    let object = ObjectName::from(OBJECT);
    for read in [Read::All { page: None }, Read::Changes { since: Cursor::new("0"), page: None }] {
        assert_eq!(globex.read(&calls(), &object, read).await.unwrap().entries, []);
    }
    let page = globex.read(&calls(), &object, Read::Ids(vec!["1".into()])).await.unwrap();
    assert_eq!(page.entries, [Entry::not_found("1".into())]);
    let delete = Write::Delete(Delete { id: "1".into(), expected: None });
    assert_eq!(globex.write(&calls(), &object, vec![delete]).await, [Outcome::Deleted], "for them there is none");
    assert_eq!(acme.transact(|table| table.list()).unwrap().len(), 1);
}

#[actix_web::test]
async fn edits_of_two_customers_cross_both_ways_by_events_alone() {
    let app = Running::start(false).await.unwrap();
    let browser = Browser::new(&app.url).unwrap();
    for customer in CUSTOMERS {
        // Gone before the first sync: a complete read names it, too.
        let contacts = app.database.contacts_of(customer);
        contacts.transact(|table| table.put("gone", &named("gus")).and_then(|()| table.delete("gone"))).unwrap();
        let first = app.kernel.sync_now(&customer.into(), None).await.unwrap();
        assert_eq!((first.totals.matched, first.error), (1, None), "{customer}");
    }
    // By event: made, edited and deleted in the app, by both customers at once.
    for customer in CUSTOMERS {
        let eve = json!({ "email": format!("eve@{customer}.example"), "name": "Eve" });
        let eve = browser.ok(customer, Method::POST, "/contacts", Some(eve)).await.unwrap();
        let eve = format!("/contacts/{}", eve["id"].as_str().unwrap());
        browser.ok(customer, Method::PATCH, &eve, Some(json!({ "phone": "+1" }))).await.unwrap();
        browser.ok(customer, Method::DELETE, &format!("/contacts/{customer}-1"), None).await.unwrap();
    }
    for customer in CUSTOMERS {
        let wanted = |all: &[Contact]| {
            let eve = all.iter().find(|one| one.name.as_deref() == Some("Eve"));
            all.len() == 3 && eve.is_some_and(|eve| eve.phone.as_deref() == Some("+1"))
        };
        assert!(arrives(&app, customer, wanted).await.unwrap(), "{customer}");
        let ours = tour::in_app(&app.database, customer).unwrap();
        let of_customer =
            |one: &Contact| one.email.as_ref().is_some_and(|email| email.ends_with(&format!("{customer}.example")));
        assert!(ours.iter().all(of_customer), "{ours:?}");
    }
    // The other way: the sandbox is asked for what has changed.
    for customer in CUSTOMERS {
        let bo = tour::find(&app.crm, customer, &format!("bo@{customer}.example")).unwrap();
        let chen = tour::find(&app.crm, customer, &format!("chen@{customer}.example")).unwrap();
        let renamed = Value::from_json(r#"{"full_name":"Bo Ek"}"#).unwrap();
        app.crm.patch(customer, "contacts", &bo.id, &renamed).unwrap();
        app.crm.delete(customer, "contacts", &chen.id).unwrap();
        app.kernel.sync_now(&customer.into(), None).await.unwrap();
        let wanted = |all: &[Contact]| all.len() == 2 && all.iter().any(|one| one.name.as_deref() == Some("Bo Ek"));
        assert!(arrives(&app, customer, wanted).await.unwrap(), "{customer}");
        let settled = app.kernel.sync_now(&customer.into(), None).await.unwrap();
        assert_eq!(settled.totals.writes(), 0, "both agree, so nothing is written");
    }
    app.stop().await;
}

#[actix_web::test]
async fn its_routes_answer_those_who_may_ask_and_nobody_else() {
    let app = Running::start(false).await.unwrap();
    let browser = Browser::new(&app.url).unwrap();
    let (acme, globex) = (key("acme"), key("globex"));
    let phone = || Some(json!({ "phone": "+1" }));
    let event = || Some(json!({ "scope": "acme", "object": OBJECT, "id": "acme-1" }));
    let hook = "/sync/webhooks/0123456789abcdef0123";
    for (key, method, path, body, want) in [
        (acme.as_str(), Method::GET, "/contacts/acme-1", None, 200),
        (&globex, Method::GET, "/contacts/acme-1", None, 404),
        (&globex, Method::PATCH, "/contacts/acme-1", phone(), 404),
        (&globex, Method::DELETE, "/contacts/acme-1", None, 404),
        ("guessed", Method::GET, "/contacts", None, 401),
        ("guessed", Method::DELETE, "/contacts/acme-1", None, 401),
        (&acme, Method::PATCH, "/contacts/acme-1", Some(json!({ "phone": 5 })), 422),
        (&acme, Method::PATCH, "/contacts/acme-1", Some(json!({ "phon": "5" })), 422),
        (EVENT_TOKEN, Method::POST, "/sync/events", event(), 202),
        (&acme, Method::POST, "/sync/events", event(), 401),
        // No connection has one yet, so nobody is known there; it is mounted, though.
        ("", Method::POST, hook, event(), 401),
    ] {
        let (status, _) = browser.send(key, method.clone(), path, body).await.unwrap();
        assert_eq!(status, StatusCode::from_u16(want).unwrap(), "{method} {path} with '{key}'");
    }
    let all = browser.ok("globex", Method::GET, "/contacts", None).await.unwrap();
    assert!(!all.to_string().contains("acme"), "{all}");
    app.stop().await;
}

#[actix_web::test]
async fn the_tour_finds_both_sides_in_agreement() {
    let app = Running::start(true).await.unwrap();
    assert!(tour::take(&app).await.unwrap());
    app.stop().await;
}
