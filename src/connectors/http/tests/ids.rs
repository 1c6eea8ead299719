//! Ids that are made of several values, and requests that take them apart.

use super::*;
use crate::model::record::Body;
use crate::model::write::{Change, Create, Delete, Update};

const FILE: &str = r#"
name = "test"
[object.things]
id = ["account", "meta.no"]
id_separator = ":"
id_type = ["text", "number"]
modified = "at"
[object.things.list]
get = "/things"
[object.things.read]
get = "/accounts/{id.account}/things/{id.meta.no}"
query = { both = "{id}", of = "account {id.account}" }
[object.things.read_many]
post = "/things/search"
body = { any = [{ account = "{id.account}", number = "{id.meta.no}" }], ids = "{ids}" }
[object.things.find]
get = "/things"
params = { email = "email" }
[object.things.create]
post = "/things"
duplicate = [409]
duplicate_id = "there"
[object.things.update]
patch = "/things"
query = { account = "{id.account}" }
body = { number = "{id.meta.no}", whole = "{id}", set = "{record}" }
[object.things.delete]
post = "/things/delete"
body = { which = ["{id.account}", "{id.meta.no}"] }
[object.things.batch]
kind = "records"
[object.things.batch.update]
post = "/batch"
"#;

const RECORD: &str = r#"{"account":"a b","meta":{"no":17},"email":"x"}"#;

fn update(id: &str) -> Write {
    let changes = vec![
        Change { path: Path::key("email"), value: Some(Value::string("y")) },
        Change { path: Path::key("account"), value: Some(Value::string("never written")) },
    ];
    Write::Update(Update { id: id.into(), expected: None, current: Some(Body::from_json(RECORD)), changes })
}

fn delete(id: &str) -> Write {
    Write::Delete(Delete { id: id.into(), expected: None })
}

fn create() -> Write {
    Write::Create(Create { record: value(RECORD), idempotency_key: "k".into(), external_id: "e".into() })
}

#[actix_web::test]
async fn records_are_named_by_several_values() {
    let bench = Bench::new(FILE, |_| {
        ok(r#"[{"account":"a b","meta":{"no":17}},{"account":"a:b","meta":{"no":1}},{"account":"a"},
               {"account":"","meta":{"no":1}},{"account":"é/%","meta":{"no":"x"}}]"#)
    });
    let pages = bench.pages(None).await.unwrap();
    assert_eq!(ids_of(&pages), ["a b:17", "![1].account", "![2].meta.no", "![3].account", "é/%:x"]);
    let Entry::Bad(bad) = &pages[0].entries[1] else { panic!() };
    assert_eq!(bad.reason, "the part 'a:b' of its id cannot be told apart from the separator ':'");
}

#[actix_web::test]
async fn requests_take_an_id_apart() {
    let bench = Bench::new(FILE, |request| match request.method {
        Method::Get => ok(RECORD),
        _ => ok(r#"[{"account":"c","meta":{"no":2}},{"account":"a b","meta":{"no":17}}]"#),
    });
    let page = bench.read(Read::Ids(vec!["a b:17".into()])).await.unwrap();
    assert_eq!(names(&page.entries), ["a b:17"]);
    let page = bench.read(Read::Ids(vec!["a b:17".into(), "c:2".into()])).await.unwrap();
    assert_eq!(names(&page.entries), ["a b:17", "c:2"]);
    let asked = bench.asked();
    assert_eq!(asked, ["/accounts/a%20b/things/17?both=a%20b%3A17&of=account%20a%20b", "/things/search"]);
    let want = r#"{"any":[{"account":"a b","number":17},{"account":"c","number":2}],"ids":["a b:17","c:2"]}"#;
    assert_eq!(bench.sent()[1].body.as_deref(), Some(want));
}

#[actix_web::test]
async fn ids_that_cannot_be_taken_apart_are_refused() {
    let bench = Bench::new(FILE, |_| ok("[]"));
    for id in ["a", "a:1:2", ":1", "a:"] {
        let page = bench.read(Read::Ids(vec![id.into()])).await.unwrap();
        let Entry::Bad(bad) = &page.entries[0] else { panic!("{id}: {page:?}") };
        assert!(bad.place == "the id" && bad.reason.contains("is not 2 parts (account+meta.no) around ':'"), "{bad:?}");
        for write in [update(id), delete(id)] {
            let outcomes = bench.write(vec![write]).await;
            let told = matches!(&outcomes[0], Outcome::Rejected { reason, .. } if reason.contains("is not 2 parts"));
            assert!(told, "{id}: {outcomes:?}");
        }
    }
    // A part that no path can hold.
    let page = bench.read(Read::Ids(vec!["..:1".into()])).await.unwrap();
    assert!(matches!(&page.entries[0], Entry::Bad(bad) if bad.reason.contains("cannot stand in a path")), "{page:?}");
    assert!(bench.sent().is_empty(), "{:?}", bench.asked());
}

#[actix_web::test]
async fn writes_name_the_parts() {
    let bench = Bench::new(FILE, |_| ok(RECORD));
    let outcomes = bench.write(vec![update("a b:17")]).await;
    assert_eq!(word(&outcomes[0]), "written a b:17");
    assert_eq!(word(&bench.write(vec![delete("a b:17")]).await[0]), "deleted");
    // What a record is made by is sent.
    assert_eq!(word(&bench.write(vec![create()]).await[0]), "written a b:17");
    assert_eq!(bench.asked(), ["/things?account=a%20b", "/things/delete", "/things"]);
    let bodies: Vec<String> = bench.sent().into_iter().filter_map(|request| request.body).collect();
    let want = [r#"{"number":17,"whole":"a b:17","set":{"email":"y"}}"#, r#"{"which":["a b",17]}"#, RECORD];
    assert_eq!(bodies, want);

    // An entry of a batch names its record by itself.
    let bench = Bench::new(FILE, |_| ok(r#"[{"account":"a","meta":{"no":1}},{"account":"b","meta":{"no":2}}]"#));
    let outcomes = bench.write(vec![update("a:1"), update("b:2")]).await;
    assert_eq!(outcomes.iter().map(word).collect::<Vec<_>>(), ["written a:1", "written b:2"]);
    let want = r#"[{"email":"y","account":"a","meta":{"no":1}},{"email":"y","account":"b","meta":{"no":2}}]"#;
    assert_eq!(bench.sent()[0].body.as_deref(), Some(want));
}

#[actix_web::test]
async fn a_duplicate_is_named_by_its_record_or_by_a_whole_id() {
    for (body, want) in [
        (r#"{"there":"a:1"}"#, "duplicate a:1"),
        (r#"{"there":"1"}"#, "duplicate ?"),
        (r#"{"account":"a","meta":{"no":1}}"#, "duplicate ?"),
    ] {
        let bench = Bench::new(FILE, move |_| status(409, body));
        assert_eq!(word(&bench.write(vec![create()]).await[0]), want, "{body}");
    }
    let by_record = FILE.replace("duplicate_id = \"there\"\n", "");
    let bench = Bench::new(&by_record, |_| status(409, r#"{"account":"a","meta":{"no":1}}"#));
    assert_eq!(word(&bench.write(vec![create()]).await[0]), "duplicate a:1");
}

#[test]
fn ids_that_cannot_work_are_told() {
    for (from, to, want) in [
        ("id_separator = \":\"\n", "", "an id of several paths needs 'id_separator'"),
        ("id_separator = \":\"", "id_separator = \"\"", "'id_separator' must be some visible text"),
        ("id = [\"account\", \"meta.no\"]", "id = \"account\"", "'id_separator' needs an 'id' of several paths"),
        ("id = [\"account\", \"meta.no\"]", "id = []", "'id' names nothing"),
        ("id_type = [\"text\", \"number\"]", "id_type = [\"text\"]", "'id_type' has 1 words, but 'id' 2 paths"),
        (
            "id_type = [\"text\", \"number\"]",
            "id_type = [\"text\", \"numbr\"]",
            "'numbr' is no id_type (did you mean 'number'?)",
        ),
        ("things/{id.meta.no}", "things/{id.no}", "'{id.no}' is no part of the id (known: {id.account}, {id.meta.no})"),
        ("number = \"{id.meta.no}\"", "number = \"{id.nr}\"", "'{id.nr}' is no part of the id"),
        ("number = \"{id.meta.no}\", whole = \"{id}\", ", "", "the path of [object.things.update] names no record"),
        (
            "post = \"/things\"\n",
            "post = \"/things\"\nrecovery = { kind = \"client_id\", field = \"x\" }\n",
            "an id of several values is not chosen",
        ),
        ("post = \"/batch\"", "post = \"/batch\"\nby = \"id\"", "a result cannot name an id of several values"),
    ] {
        assert!(FILE.contains(from), "{from}");
        let lines = HttpConnectorFile::parse("crm.toml", &FILE.replace(from, to)).map(|_| ()).unwrap_err().lines;
        assert!(lines.iter().any(|line| line.contains(want)), "{to}: {lines:#?}");
    }
    let single = listing("").replace("/things/{id}", "/things/{id.x}");
    let lines = HttpConnectorFile::parse("crm.toml", &single).map(|_| ()).unwrap_err().lines;
    let want = "'{id.x}' is no part of the id (the id is one value: {id})";
    assert!(lines.iter().any(|line| line.contains(want)), "{lines:#?}");
}
