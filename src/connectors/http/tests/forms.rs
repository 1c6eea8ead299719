//! Values that stand in records in another form than their own: JSON in texts, empty texts and
//! absent keys for null.

use super::*;
use crate::model::record::Body;
use crate::model::write::{Change, Create, Update};

const FILE: &str = r#"
name = "test"
[object.things]
id = "id"
modified = "at"
json = ["custom", "meta.payload", "custom.raw"]
empty_is_null = ["phone", "custom.note"]
absent_is_null = ["phone", "address.city", "custom.note"]
[object.things.list]
get = "/things"
[object.things.read]
get = "/things/{id}"
[object.things.create]
post = "/things"
[object.things.update]
patch = "/things/{id}"
"#;

fn bodies(page: &Page) -> Vec<String> {
    page.entries.iter().map(|entry| live(entry).body.as_str().to_owned()).collect()
}

/// The one record of a list, as it is read by a file.
async fn read(file: &str, record: &'static str) -> Result<String, (String, String)> {
    let bench = Bench::new(file, move |_| ok(&format!("[{record}]")));
    let mut pages = bench.pages(None).await.unwrap();
    match pages.remove(0).entries.remove(0) {
        Entry::Live(record) => Ok(record.body.as_str().to_owned()),
        Entry::Bad(bad) => {
            Err((format!("{}#{}", bad.place, bad.id.map_or("?".into(), |id| id.to_string())), bad.reason))
        }
        Entry::Deleted { .. } => panic!("deleted"),
    }
}

#[actix_web::test]
async fn texts_that_hold_json_are_read_as_values() {
    for (record, want) in [
        (
            r#"{"id":7,"custom":"{\"n\": 12345678901234567890.10, \"e\":1E3,\n \"note\":\"\"}","phone":"1","address":{"city":"Bonn"}}"#,
            r#"{"id":7,"custom":{"n":12345678901234567890.10,"e":1E3,"note":null},"phone":"1","address":{"city":"Bonn"}}"#,
        ),
        // A text of JSON within a text of JSON, and one that is a list.
        (
            r#"{"id":7,"custom":"{\"raw\":\"[1,2]\"}","phone":"","address":{"city":""},"meta":{"payload":"[]","x":"[]"}}"#,
            r#"{"id":7,"custom":{"raw":[1,2],"note":null},"phone":null,"address":{"city":""},"meta":{"payload":[],"x":"[]"}}"#,
        ),
        // Nothing is null, and nothing within it is made up.
        (
            r#"{"custom":"  ","id":7,"address":null,"meta":{"payload":null}}"#,
            r#"{"custom":null,"id":7,"address":{"city":null},"meta":{"payload":null},"phone":null}"#,
        ),
        (r#"{"id":7,"address":5}"#, r#"{"id":7,"address":5,"phone":null}"#),
        (
            r#"{"id":7,"custom":"\"5\"","address":{"city":1}}"#,
            r#"{"id":7,"custom":"5","address":{"city":1},"phone":null}"#,
        ),
    ] {
        assert_eq!(read(FILE, record).await.as_deref(), Ok(want), "{record}");
    }
}

#[actix_web::test]
async fn a_text_that_is_no_json_makes_the_record_bad() {
    for (record, place, reason) in [
        (r#"{"id":7,"custom":"{\"n\":1"}"#, "[0].custom#7", "the text is no good JSON: not valid JSON: EOF"),
        (r#"{"id":7,"custom":"{} x"}"#, "[0].custom#7", "the text is no good JSON: not valid JSON: trailing"),
        (
            r#"{"id":7,"custom":"{\"a\":{\"b\":1,\"b\":2}}"}"#,
            "[0].custom#7",
            "the text is no good JSON: the key 'b' stands twice at a",
        ),
        (r#"{"id":7,"custom":{"n":1}}"#, "[0].custom#7", "an object where a text with JSON in it is declared"),
        (r#"{"id":7,"custom":"{\"raw\":\"<x>\"}"}"#, "[0].custom.raw#7", "the text is no good JSON"),
        (r#"{"id":7,"meta":{"payload":"1","payload":"2"}}"#, "[0].meta#7", "the key 'payload' stands twice"),
        (r#"{"custom":"<x>"}"#, "[0].custom#?", "the text is no good JSON"),
        (r#""x""#, "[0]#?", "not an object but a text"),
    ] {
        let (at, why) = read(FILE, record).await.unwrap_err();
        assert!(at == place && why.starts_with(reason), "{record}: {at}: {why}");
    }
    let deep = format!(r#"{{"id":7,"custom":"{}{}"}}"#, "[".repeat(20_000), "]".repeat(20_000));
    let (at, why) = read(FILE, Box::leak(deep.into_boxed_str())).await.unwrap_err();
    assert!(at == "[0].custom#7" && why.contains("128"), "{at}: {why}");
    // The others of the page are not harmed.
    let bench = Bench::new(FILE, |_| ok(r#"[{"id":1,"custom":"{"},{"id":2,"custom":"{}"}]"#));
    assert_eq!(ids_of(&bench.pages(None).await.unwrap()), ["![0].custom", "2"]);
}

#[actix_web::test]
async fn empty_texts_are_null_wherever_they_stand() {
    let file = listing("").replace("modified = \"at\"", "modified = \"at\"\nempty_is_null = true");
    let record = r#"{"id":"1","a":"","b":{"c":"","d":["",{"e":""}]},"f":" ","g":0}"#;
    let want = r#"{"id":"1","a":null,"b":{"c":null,"d":["",{"e":""}]},"f":" ","g":0}"#;
    assert_eq!(read(&file, record).await.as_deref(), Ok(want));
    // Without any of it the text is kept to the byte.
    let record = r#"{ "id" : "1", "a":"" , "x":1.0 }"#;
    assert_eq!(read(&listing(""), record).await.as_deref(), Ok(record));
}

fn update(changes: &[(&str, Option<&str>)], current: Option<&str>) -> Write {
    let change =
        |(path, value_of): &(&str, Option<&str>)| Change { path: path.parse().unwrap(), value: value_of.map(value) };
    Write::Update(Update {
        id: "7".into(),
        expected: None,
        current: current.map(Body::from_json),
        changes: changes.iter().map(change).collect(),
    })
}

async fn sent(file: &str, write: Write) -> String {
    let bench = Bench::new(file, |_| status(500, ""));
    bench.write(vec![write]).await;
    bench.sent().remove(0).body.unwrap()
}

#[actix_web::test]
async fn values_are_written_back_as_texts() {
    let record = value(r#"{"name":"x","custom":{"n":1.50,"raw":{"a":[1]}},"meta":{"payload":null}}"#);
    let create = Write::Create(Create { record, idempotency_key: "k".into(), external_id: "e".into() });
    let want = r#"{"name":"x","custom":"{\"n\":1.50,\"raw\":\"{\\\"a\\\":[1]}\"}","meta":{"payload":null}}"#;
    assert_eq!(sent(FILE, create).await, want);

    // What is not changed of a text goes with what is; a key is taken away within it.
    let current = r#"{"id":7,"name":"x","custom":{"n":1.50,"old":1,"raw":{"a":[1]}}}"#;
    let changes = [("name", Some("\"y\"")), ("custom.m", Some("2")), ("custom.old", None), ("custom.raw.b", Some("3"))];
    let want = r#"{"custom":"{\"n\":1.50,\"raw\":\"{\\\"a\\\":[1],\\\"b\\\":3}\",\"m\":2}","name":"y"}"#;
    assert_eq!(sent(FILE, update(&changes, Some(current))).await, want);
    let want = r#"{"meta":{"payload":"{\"a\":1}"}}"#;
    assert_eq!(sent(FILE, update(&[("meta.payload.a", Some("1"))], Some(current))).await, want);
    // The whole text at once needs nothing else.
    assert_eq!(sent(FILE, update(&[("custom", Some("{\"a\":1}"))], None)).await, r#"{"custom":"{\"a\":1}"}"#);
    assert_eq!(sent(FILE, update(&[("custom", None)], None)).await, r#"{"custom":null}"#);

    let bench = Bench::new(FILE, |_| ok("{}"));
    let outcomes = bench.write(vec![update(&[("custom.m", Some("2"))], None)]).await;
    assert!(matches!(&outcomes[0], Outcome::NotSent(error) if error.next == NextStep::Quarantine), "{outcomes:?}");
    let capabilities = bench.connector.capabilities(&"things".into()).unwrap();
    assert_eq!(capabilities.update, UpdateStyle::Whole, "the kernel must give the current record");
}

#[actix_web::test]
async fn what_is_read_and_written_back_is_the_same() {
    let put = FILE.replace("patch =", "put =").replace("absent_is_null", "# absent_is_null");
    let text = r#"{"id":"7","custom":"{\"n\":1.50}","meta":{"payload":"[{\"x\":\"y\"}]"}}"#;
    let bench = Bench::new(&put, move |_| ok(text));
    let page = bench.read(Read::Ids(vec!["7".into()])).await.unwrap();
    let read = bodies(&page).remove(0);
    assert_eq!(read, r#"{"id":"7","custom":{"n":1.50},"meta":{"payload":[{"x":"y"}]}}"#);
    let sent = sent(&put, update(&[("name", Some("\"z\""))], Some(&read))).await;
    assert_eq!(sent, r#"{"custom":"{\"n\":1.50}","meta":{"payload":"[{\"x\":\"y\"}]"},"name":"z"}"#);
}

#[actix_web::test]
async fn nulls_are_written_as_the_app_takes_them() {
    let changes = [
        ("a", Some("null")),
        ("b.c", Some("null")),
        ("d", Some("[null]")),
        ("e", None),
        ("custom", Some("{\"n\":null}")),
    ];
    for (how, want) in [
        ("patch = \"/things/{id}\"", r#"{"a":null,"b":{"c":null},"d":[null],"e":null,"custom":"{\"n\":null}"}"#),
        (
            "patch = \"/things/{id}\"\nnull = \"empty\"",
            r#"{"a":"","b":{"c":""},"d":[null],"e":"","custom":"{\"n\":null}"}"#,
        ),
        ("put = \"/things/{id}\"\nnull = \"omit\"", r#"{"x":1,"b":{},"d":[null],"custom":"{\"n\":null}"}"#),
    ] {
        let file = FILE.replace("patch = \"/things/{id}\"", how);
        assert_eq!(sent(&file, update(&changes, Some(r#"{"id":7,"x":1,"e":2}"#))).await, want, "{how}");
    }
    let file = FILE.replace("post = \"/things\"", "post = \"/things\"\nnull = \"omit\"");
    let record = value(r#"{"a":null,"b":{"c":null,"d":""}}"#);
    let create = Write::Create(Create { record, idempotency_key: "k".into(), external_id: "e".into() });
    assert_eq!(sent(&file, create).await, r#"{"b":{"d":""}}"#);
}

#[test]
fn forms_that_cannot_be_meant_are_told() {
    for (from, to, want) in [
        ("modified = \"at\"", "modified = \"custom.at\"", "'custom.at' tells positions and lies within a text"),
        (
            "get = \"/things\"",
            "get = \"/things\"\ncursor = { kind = \"integer\", param = \"p\", field = \"meta.payload.n\" }",
            "'meta.payload.n' tells positions",
        ),
        (
            "patch = \"/things/{id}\"",
            "patch = \"/things/{id}\"\nnull = \"omit\"",
            "a value that becomes null would never be written",
        ),
        ("json = [", "json = [3, ", "must be a text"),
        ("json = [", "json = [\"a..b\", ", "is not a path"),
    ] {
        let lines = HttpConnectorFile::parse("crm.toml", &FILE.replace(from, to)).map(|_| ()).unwrap_err().lines;
        assert!(lines.iter().any(|line| line.contains(want)), "{to}: {lines:#?}");
    }
}
