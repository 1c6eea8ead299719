//! Danger: a record that is put together from two of its states, or from half of its properties.

use super::*;
use crate::model::write::{Create, Update};
use std::collections::HashMap;
use std::rc::Rc;

const FILE: &str = r#"
name = "test"
[object.things]
id = "id"
version = "rev"
modified = "at"
properties = { values = ["a", "b", "c", "d"], join = ",", max_length = 100 }
[object.things.list]
get = "/things"
records = "results"
query = { fields = "{properties}" }
page = { kind = "cursor", next = "next", param = "after" }
[object.things.read]
get = "/things/{id}"
query = { fields = "{properties}" }
[object.things.create]
post = "/things"
[object.things.update]
patch = "/things/{id}"
"#;

/// Forty-eight bytes: two of them and a comma (three bytes) fit into a hundred.
fn long(name: &str) -> String {
    name.repeat(48)
}

/// The file with names so long that two go into one request.
fn split() -> String {
    ["a", "b", "c", "d"]
        .iter()
        .fold(FILE.to_owned(), |file, name| file.replace(&format!("\"{name}\""), &format!("\"{}\"", long(name))))
}

/// An app that shows of its records what is asked for, and knows how often it was asked.
#[derive(Default)]
struct App {
    /// Each record's version, and what every property of it holds.
    records: HashMap<String, u32>,
    num_reads: usize,
}

type Shared = Rc<RefCell<App>>;

fn shown(id: &str, rev: u32, fields: &str) -> String {
    let fields: Vec<String> = fields.split(',').map(|name| format!("\"{name}\":{rev}.0")).collect();
    format!("{{\"id\":\"{id}\",\"rev\":{rev},\"at\":{rev},\"p\":{{{}}}}}", fields.join(","))
}

/// Answers lists, reads by id and reads of several; `after_read` is told how many reads by id
/// there were, after each.
fn app(
    records: &[(&str, u32)],
    after_read: impl Fn(&mut App, &str) + 'static,
) -> (Shared, impl FnMut(&HttpRequest) -> Answer) {
    let shared: Shared = Rc::default();
    shared.borrow_mut().records = records.iter().map(|(id, rev)| ((*id).to_owned(), *rev)).collect();
    let app = Rc::clone(&shared);
    let answer = move |request: &HttpRequest| {
        let fields = param(request, "fields").unwrap_or_default();
        let path = request.url.strip_prefix(BASE).unwrap().split('?').next().unwrap().to_owned();
        let mut app = app.borrow_mut();
        let one = |app: &App, id: &str| app.records.get(id).map(|rev| shown(id, *rev, &fields));
        match path.strip_prefix("/things/") {
            None => {
                let mut ids: Vec<String> = match param(request, "ids") {
                    Some(ids) => ids.split(',').map(str::to_owned).collect(),
                    None => app.records.keys().cloned().collect(),
                };
                ids.sort();
                let all: Vec<String> = ids.iter().filter_map(|id| one(&app, id)).collect();
                app.num_reads += 1;
                after_read(&mut app, "");
                ok(&format!("{{\"results\":[{}]}}", all.join(",")))
            }
            Some(id) => {
                let answer = one(&app, id).map_or_else(|| status(404, "{}"), |record| ok(&record));
                app.num_reads += 1;
                after_read(&mut app, id);
                answer
            }
        }
    };
    (shared, answer)
}

fn whole(id: &str, rev: u32) -> String {
    let fields = ["a", "b", "c", "d"].map(long).join(",");
    shown(id, rev, &fields)
}

fn texts(entries: &[Entry]) -> Vec<String> {
    let text = |entry: &Entry| match entry {
        Entry::Live(record) => record.body.as_str().to_owned(),
        Entry::Deleted { id, .. } => format!("-{id}"),
        Entry::Bad(bad) => format!("!{}: {}", bad.place, bad.reason),
    };
    entries.iter().map(text).collect()
}

async fn ids(bench: &Bench, ids: &[&str]) -> Vec<String> {
    let ids = ids.iter().map(|id| (*id).into()).collect();
    texts(&bench.read(Read::Ids(ids)).await.unwrap().entries)
}

#[actix_web::test]
async fn the_list_stands_once_and_is_sent_where_it_is_named() {
    let (_, answer) = app(&[("1", 1)], |_, _| {});
    let many = "[object.things.read_many]\npost = \"/many\"\nbody = { want = \"{properties}\", text = \"of {properties}\", ids = \"{ids}\" }\nrecords = \"\"\n";
    let bench = Bench::new(&format!("{FILE}{many}"), answer);
    assert_eq!(ids_of(&bench.pages(None).await.unwrap()), ["1"]);
    assert_eq!(ids(&bench, &["1"]).await.len(), 1);
    assert_eq!(bench.asked(), ["/things?fields=a%2Cb%2Cc%2Cd", "/things/1?fields=a%2Cb%2Cc%2Cd"]);
    let bench = Bench::new(&format!("{FILE}{many}"), |_| ok(r#"[{"id":"1"},{"id":"2"}]"#));
    ids(&bench, &["1", "2"]).await;
    let want = r#"{"want":["a","b","c","d"],"text":"of a,b,c,d","ids":["1","2"]}"#;
    assert_eq!(bench.sent()[0].body.as_deref(), Some(want));
}

#[actix_web::test]
async fn what_one_url_cannot_hold_is_asked_for_in_several() {
    let (shared, answer) = app(&[("1", 1), ("2", 7)], |_, _| {});
    let bench = Bench::new(&split(), answer);
    let pages = bench.pages(None).await.unwrap();
    assert_eq!(texts(&pages[0].entries), [whole("1", 1), whole("2", 7)]);
    // A page, and two requests for each record.
    assert_eq!(shared.borrow().num_reads, 5);
    assert!(bench.sent().iter().all(|request| param(request, "fields").unwrap().len() < 100));
}

#[actix_web::test]
async fn a_record_that_changes_between_its_parts_is_read_again() {
    // It is changed after the first part was read, once.
    let (shared, answer) = app(&[("1", 1)], |app, _| {
        if app.num_reads == 1 {
            app.records.insert("1".into(), 2);
        }
    });
    let bench = Bench::new(&split(), answer);
    assert_eq!(ids(&bench, &["1"]).await, [whole("1", 2)]);
    assert_eq!(shared.borrow().num_reads, 4);

    // It never rests: held back with the reason, and the other record is not harmed.
    let (_, answer) = app(&[("1", 1), ("2", 1)], |app, id| {
        if id == "1" {
            *app.records.get_mut("1").unwrap() += 1;
        }
    });
    let bench = Bench::new(&split(), answer);
    let read = ids(&bench, &["1", "2"]).await;
    assert!(read[0].starts_with("!the properties: it changed each of the 4 times"), "{read:?}");
    assert_eq!(read[1], whole("2", 1));
}

#[actix_web::test]
async fn a_record_that_goes_between_its_parts_is_gone() {
    let (_, answer) = app(&[("1", 1), ("2", 1)], |app, _| {
        if app.num_reads == 2 {
            app.records.remove("1");
        }
    });
    // The list shows it, its first part too; its second is missing, and then the first.
    let bench = Bench::new(&split(), answer);
    assert_eq!(texts(&bench.pages(None).await.unwrap()[0].entries), ["-1".to_owned(), whole("2", 1)]);
}

#[actix_web::test]
async fn parts_of_several_records_are_read_together() {
    let many = "[object.things.read_many]\nget = \"/things\"\nparam = \"ids\"\nquery = { fields = \"{properties}\" }\n";
    let (shared, answer) = app(&[("1", 1), ("2", 7), ("3", 1)], |app, _| {
        // After the page, and after the first part of all.
        if app.num_reads == 2 {
            app.records.insert("2".into(), 8);
            app.records.remove("3");
        }
    });
    let bench = Bench::new(&format!("{}{many}", split()), answer);
    assert_eq!(texts(&bench.pages(None).await.unwrap()[0].entries), [whole("1", 1), whole("2", 8), "-3".to_owned()]);
    // The page, two parts of all, the one that was missing by its id, and two parts of the torn one.
    assert_eq!(shared.borrow().num_reads, 6, "{:#?}", bench.asked());
}

#[actix_web::test]
async fn a_body_holds_them_all_so_nothing_is_put_together() {
    let many = "[object.things.read_many]\npost = \"/many\"\nbody = { want = \"{properties}\", ids = \"{ids}\" }\nrecords = \"\"\n";
    let bench = Bench::new(&format!("{}{many}", split()), |request| match request.method {
        Method::Post => ok(&format!("[{},{}]", whole("2", 1), whole("1", 1))),
        _ => ok(r#"{"results":[{"id":"1"},{"id":"2"}]}"#),
    });
    assert_eq!(texts(&bench.pages(None).await.unwrap()[0].entries), [whole("1", 1), whole("2", 1)]);
    assert_eq!(bench.sent().len(), 2);
}

#[actix_web::test]
async fn where_times_are_coarse_two_readings_have_to_agree() {
    let file = split().replace("version = \"rev\"\n", "modified_unit = \"s\"\n");
    // Two changes within one second: the time tells nothing.
    let hidden = |request: &HttpRequest, answer: Answer| {
        let _ = request;
        answer.map(|response| {
            HttpResponse::new(200, String::from_utf8(response.body).unwrap().replace("\"at\":2", "\"at\":1"))
        })
    };
    let (shared, mut answer) = app(&[("1", 1)], |app, _| {
        if app.num_reads == 1 {
            app.records.insert("1".into(), 2);
        }
    });
    let bench = Bench::new(&file, move |request| hidden(request, answer(request)));
    assert_eq!(ids(&bench, &["1"]).await, [whole("1", 2).replace("\"at\":2", "\"at\":1")]);
    assert_eq!(shared.borrow().num_reads, 6, "one torn reading, and two that agree");
    // Milliseconds tell two changes apart, so one reading is enough.
    let (shared, answer) = app(&[("1", 1)], |_, _| {});
    let bench = Bench::new(&split().replace("version = \"rev\"\n", ""), answer);
    assert_eq!(ids(&bench, &["1"]).await, [whole("1", 1)]);
    assert_eq!(shared.borrow().num_reads, 2);
}

#[actix_web::test]
async fn no_answer_to_a_write_is_the_whole_record() {
    let record = value(r#"{"x":1}"#);
    let write = Write::Create(Create { record, idempotency_key: "k".into(), external_id: "e".into() });
    for (file, has_body) in [(FILE.to_owned(), true), (split(), false)] {
        let bench = Bench::new(&file, |_| ok(r#"{"id":"1","rev":1,"x":1}"#));
        let outcomes = bench.write(vec![write.clone()]).await;
        assert!(matches!(&outcomes[0], Outcome::Written(stored) if stored.body.is_some() == has_body), "{outcomes:?}");
    }
    let update = Update { id: "1".into(), expected: None, current: None, changes: Vec::new() };
    let bench = Bench::new(&split(), |_| ok(r#"{"id":"1","rev":1}"#));
    let outcomes = bench.write(vec![Write::Update(update)]).await;
    assert!(matches!(&outcomes[0], Outcome::Written(stored) if stored.body.is_none()), "{outcomes:?}");
    // Nor does a webhook bring one.
    assert!(bench.connector.told(&"things".into(), r#"{"id":"1"}"#).is_none());
}

#[test]
fn lists_that_cannot_work_are_told() {
    let query = "query = { fields = \"{properties}\" }\n";
    let file = split();
    let read = file.rfind(query).unwrap();
    let unread = format!("{}{}", &file[..read], &file[read + query.len()..]);
    for (file, want) in [
        (FILE.replace("\"a\", ", "\"b\", "), "the property 'b' stands twice"),
        (FILE.replace("\"a\", ", "\"a,x\", "), "the property 'a,x' holds ','"),
        (FILE.replace("\"a\", ", "\"{cursor}\", "), "is no name of a property"),
        (FILE.replace("\"a\", ", &format!("\"{}\", ", "x".repeat(101))), "alone is longer than max_length"),
        (FILE.replace(query, ""), "these properties are asked for nowhere"),
        (
            FILE.replace("properties = { values = [\"a\", \"b\", \"c\", \"d\"], join = \",\", max_length = 100 }", ""),
            "'{properties}' stands for nothing",
        ),
        (unread, "the properties do not fit into one request, and are not read by id"),
        (split().replace("version = \"rev\"\nmodified = \"at\"\n", ""), "nothing tells whether a record changed"),
        (
            split().replace("patch = \"/things/{id}\"", &format!("patch = \"/things/{{id}}\"\n{query}")),
            "do not fit into the request of a write",
        ),
        (
            FILE.replace("\"a\", ", &(0..21).map(|i| format!("\"{i:0>90}\", ")).collect::<String>()),
            "22 requests would be needed",
        ),
    ] {
        let lines = HttpConnectorFile::parse("crm.toml", &file).map(|_| ()).unwrap_err().lines;
        assert!(lines.iter().any(|line| line.contains(want)), "{want}: {lines:#?}");
    }
}
