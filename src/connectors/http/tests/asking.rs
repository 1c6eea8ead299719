//! Requests beyond a plain list: bodies that search, changes and deletions listed apart, lists
//! of events, the last record's key, lists with a most.

use super::*;

const T: &str = "t:2026-11-23T10:00:00.000000Z";

/// Path and query, and the body, of each request.
fn sent(bench: &Bench) -> Vec<(String, Option<Value>)> {
    let bodies = bench.sent().into_iter().map(|request| request.body.map(|body| value(&body)));
    bench.asked().into_iter().zip(bodies).collect()
}

/// A search in a body, as HubSpot and Intercom have it.
const SEARCHED: &str = r#"
name = "test"
[object.things]
id = "id"
modified = "at"
[object.things.list]
get = "/things"
query = { archived = "false" }
records = "results"
page = { kind = "cursor", param = "after", next = "paging.after", size = 100 }
cursor = { kind = "time", unit = "ms", lookback = "0s", order = "asc" }
[object.things.changes]
post = "/things/search"
body = { filters = [{ name = "at", op = "GTE", value = "{cursor}" }], limit = "{size}", after = "{page}" }
[object.things.read]
get = "/things/{id}"
[object.things.read_many]
post = "/things/batch/read"
body = { inputs = [{ id = "{id}" }], properties = ["at"] }
[object.things.find]
post = "/things/search"
body = { filters = [{ name = "{param}", op = "EQ", value = "{value}" }], limit = "{size}", after = "{page}" }
params = { "properties.email" = "email", "properties.age" = "age" }
"#;

#[actix_web::test]
async fn a_body_says_what_is_wanted() {
    let bench = Bench::new(SEARCHED, |request| {
        let is_second =
            request.body.as_ref().is_some_and(|body| body.contains("after")) || request.url.contains("after");
        ok(if is_second {
            r#"{"results":[{"id":"2","at":"2026-11-23T10:00:05Z"}]}"#
        } else {
            r#"{"results":[{"id":"1","at":"2026-11-23T10:00:01Z"}],"paging":{"after":"x 1"}}"#
        })
    });
    assert_eq!(ids_of(&bench.pages(None).await.unwrap()), ["1", "2"]);
    let all = ["/things?archived=false&limit=100", "/things?archived=false&limit=100&after=x%201"];
    assert_eq!(sent(&bench), all.map(|url| (url.to_owned(), None)), "names without a value are left out");

    let pages = bench.pages(Some(T)).await.unwrap();
    assert_eq!(ids_of(&pages), ["1", "2"]);
    assert_eq!(pages[1].cursor.as_ref().unwrap().as_str(), "t:2026-11-23T10:00:05.000000Z");
    let filter = r#"{"filters":[{"name":"at","op":"GTE","value":1795428000000}],"limit":100"#;
    let url = "/things/search".to_owned();
    let bodies = [format!("{filter}}}"), format!(r#"{filter},"after":"x 1"}}"#)];
    assert_eq!(sent(&bench)[2..], bodies.map(|body| (url.clone(), Some(value(&body)))));
    assert!(bench.sent()[2].header("content-type").unwrap().contains("json"));
}

#[actix_web::test]
async fn records_are_found_and_read_by_a_body() {
    let bench = Bench::new(SEARCHED, |_| ok(r#"{"results":[{"id":"1"},{"id":"2"}]}"#));
    let field = |name: &str, json: &str| (format!("properties.{name}").parse().unwrap(), value(json));
    bench.read(Read::Find(vec![field("email", r#""a@x.org""#), field("age", "7")])).await.unwrap();
    let body =
        r#"{"filters":[{"name":"email","op":"EQ","value":"a@x.org"},{"name":"age","op":"EQ","value":7}],"limit":100}"#;
    assert_eq!(sent(&bench), [("/things/search".to_owned(), Some(value(body)))]);
    let page = bench.read(Read::Ids(vec!["1".into(), "2".into()])).await.unwrap();
    assert_eq!(names(&page.entries), ["1", "2"]);
    let body = r#"{"inputs":[{"id":"1"},{"id":"2"}],"properties":["at"]}"#;
    assert_eq!(sent(&bench)[1..], [("/things/batch/read".to_owned(), Some(value(body)))]);
}

/// A list of events beside a list that tells no time of change, as Stripe has it.
const EVENTS: &str = r#"
name = "test"
[object.things]
id = "id"
deleted = { flag = "deleted" }
[object.things.list]
get = "/things"
records = "data"
page = { kind = "keyset", param = "starting_after", field = "id", more = "has_more", size = 2 }
deleted = { flag = "deleted" }
[object.things.changes]
get = "/events"
query = { "types[]" = "thing.*", "created[gte]" = "{cursor}" }
item = "data.object"
thin = true
cursor = { kind = "time", field = "created", unit = "s", lookback = "0s", retention = "30d" }
[object.things.read]
get = "/things/{id}"
"#;

fn events() -> Bench {
    events_at(Some("Mon, 23 Nov 2026 11:59:58 GMT"))
}

/// The clock of the side says this.
fn events_at(date: Option<&'static str>) -> Bench {
    Bench::new(&EVENTS.replacen("deleted = { flag = \"deleted\" }\n", "", 1), move |request| {
        let path = request.url.strip_prefix(BASE).unwrap();
        let body = match path {
            "/things?limit=2" => r#"{"data":[{"id":"a"},{"id":"b"}],"has_more":true}"#,
            "/things?limit=2&starting_after=b" => r#"{"data":[{"id":"c"}],"has_more":false}"#,
            "/things/a" => r#"{"id":"a","deleted":true}"#,
            "/things/c" => r#"{"id":"c","name":"now"}"#,
            path if path.ends_with("starting_after=e2") => {
                r#"{"data":[{"id":"e1","created":1795428001,"type":"thing.created","data":{"object":{"id":"c"}}}],"has_more":false}"#
            }
            path if path.starts_with("/events") => {
                r#"{"data":[{"id":"e3","created":1795428003,"type":"thing.deleted","data":{"object":{"id":"a"}}},
                    {"id":"e2","created":1795428002,"type":"thing.updated","data":{"object":{"id":"a","name":"old"}}}],"has_more":true}"#
            }
            _ => panic!("{path}"),
        };
        let answer = HttpResponse::new(200, body);
        Ok(match date {
            Some(date) => answer.with_header("Date", date),
            None => answer,
        })
    })
}

#[actix_web::test]
async fn a_list_of_events_names_records_that_are_read() {
    let bench = events();
    let pages = bench.pages(None).await.unwrap();
    assert_eq!(ids_of(&pages), ["a", "b", "c"]);
    let cursor = pages.last().unwrap().cursor.clone().unwrap();
    assert_eq!(cursor.as_str(), "t:2026-11-23T11:59:58.000000Z", "the side's clock when the list was begun");

    let pages = bench.pages(Some(T)).await.unwrap();
    assert_eq!(ids_of(&pages), ["-a", "c"]);
    assert_eq!(pages[1].cursor.as_ref().unwrap().as_str(), "t:2026-11-23T10:00:03.000000Z");
    let asked = bench.asked();
    assert_eq!(asked[2], "/events?types%5B%5D=thing.%2A&created%5Bgte%5D=1795428000&limit=2");
    assert_eq!(asked[3], "/things/a", "once, however many events name it");
    assert_eq!(asked[4], format!("{}&starting_after=e2", asked[2]));
}

#[actix_web::test]
async fn a_side_that_tells_no_time_is_asked_from_a_day_ago() {
    for date in [None, Some("Mon, 23 Nov 2020 11:59:58 GMT")] {
        let pages = events_at(date).pages(None).await.unwrap();
        let cursor = pages.last().unwrap().cursor.clone().unwrap();
        assert_eq!(cursor.as_str(), "t:2026-11-22T12:00:00.000000Z", "our clock may be ahead of its own");
    }
}

#[actix_web::test]
async fn events_that_are_forgotten_mean_reading_everything_again() {
    let bench = events();
    let error = bench.pages(Some("t:2026-10-01T00:00:00.000000Z")).await.unwrap_err();
    assert_eq!(error.next, NextStep::Resync);
    assert!(error.message.contains("2026-10-01") && error.message.contains("retention"), "{error}");
    assert_eq!(bench.asked().len(), 0);
}

#[actix_web::test]
async fn deletions_are_listed_after_the_changes_and_before_the_position_moves() {
    let file = listing(
        r#"page = { kind = "cursor", param = "c", next = "next" }
records = "items"
cursor = { kind = "time", param = "since", order = "asc", lookback = "0s" }
[object.things.deletions]
get = "/gone"
param = "deleted_since"
item = "record"
"#,
    );
    let bench = Bench::new(&file, |request| {
        let path = request.url.strip_prefix(BASE).unwrap();
        ok(match (path.starts_with("/gone"), path.contains("c=")) {
            (false, false) => r#"{"items":[{"id":"1","at":"2026-11-23T10:00:01Z"}],"next":"x"}"#,
            (false, true) => r#"{"items":[{"id":"2","at":"2026-11-23T10:00:02Z"}]}"#,
            (true, false) => r#"{"items":[{"record":{"id":"3"}}],"next":"y"}"#,
            (true, true) => r#"{"items":[{"record":{"id":"4"}},{"record":{}}]}"#,
        })
    });
    let pages = bench.pages(Some(T)).await.unwrap();
    assert_eq!(ids_of(&pages), ["1", "2", "-3", "-4", "!items[1].id"]);
    let cursors: Vec<Option<&str>> = pages.iter().map(|page| page.cursor.as_ref().map(Cursor::as_str)).collect();
    assert_eq!(cursors, [None, None, None, Some("t:2026-11-23T10:00:02.000000Z")]);
    let since = "since=2026-11-23T10%3A00%3A00.000Z";
    assert_eq!(bench.asked()[2..], [format!("/gone?deleted_{since}"), format!("/gone?deleted_{since}&c=y")]);
    // Everything is read without them: what a list does not show is known to be gone.
    assert_eq!(ids_of(&bench.pages(None).await.unwrap()), ["1", "2"]);
    assert_eq!(bench.asked().len(), 6);
}

#[actix_web::test]
async fn more_deletions_than_a_list_gives_mean_reading_everything_again() {
    for (param, want) in [("param = \"since\"\n", NextStep::Resync), ("", NextStep::Fail)] {
        let file = listing(&format!(
            "records = \"items\"\ncursor = {{ kind = \"time\", param = \"since\" }}\n[object.things.deletions]\n\
             get = \"/gone\"\n{param}page = {{ kind = \"cursor\", next = \"next\", size = 2, max_results = 3 }}\n"
        ));
        let bench = Bench::new(&file, |_| ok(r#"{"items":[{"id":"1"},{"id":"2"}],"next":"x"}"#));
        let error = bench.pages(Some(T)).await.unwrap_err();
        assert_eq!(error.next, want, "{error}");
        assert!(error.message.contains("more than 3 deletions (max_results)"), "{error}");
    }
}

/// A search that gives at most four records, two at a time, of these times in seconds.
fn capped(times: &'static [i64], more: &str) -> Bench {
    let file = listing(&format!(
        r#"records = "items"
page = {{ kind = "offset", param = "skip", size = 2, end = "short", max_results = 5 }}
cursor = {{ kind = "integer", param = "since", field = "n", order = "asc", lookback = 0 }}
{more}"#
    ));
    Bench::new(&file, move |request| {
        let number = |name| param(request, name).map_or(0, |text| text.parse().unwrap());
        let (since, skip) = (number("since"), usize::try_from(number("skip")).unwrap());
        if skip + 2 > 5 {
            return status(400, "no more than 5 results");
        }
        let found = times.iter().enumerate().filter(|(_, time)| **time >= since).skip(skip).take(2);
        let found: Vec<String> = found.map(|(id, time)| format!(r#"{{"id":"r{id}","n":{time}}}"#)).collect();
        ok(&format!(r#"{{"items":[{}]}}"#, found.join(",")))
    })
}

#[actix_web::test]
async fn a_list_with_a_most_is_begun_anew_at_the_last_position() {
    let times: &[i64] = &[1, 2, 3, 4, 5, 6, 7, 8, 8, 9, 10];
    for since in [None, Some("i:0")] {
        let bench = capped(times, "");
        let pages = bench.pages(since).await.unwrap();
        let mut ids = ids_of(&pages);
        ids.dedup();
        let all: std::collections::BTreeSet<&String> = ids.iter().collect();
        assert_eq!(all.len(), times.len(), "{ids:?}");
        assert_eq!(pages.last().unwrap().cursor.as_ref().unwrap().as_str(), "i:10");
        assert!(pages.iter().all(|page| !page.drifted));
    }
}

#[actix_web::test]
async fn more_records_of_one_position_than_a_list_gives_are_told() {
    let times: &[i64] = &[1, 2, 2, 2, 2, 2, 2, 3];
    let error = capped(times, "").pages(None).await.unwrap_err();
    assert_eq!(error.next, NextStep::Fail);
    assert!(error.message.contains("more than 5 records") && error.message.contains("i:2"), "{error}");
    // Where everything is listed by another request, that one shows them all.
    let error = capped(times, "[object.things.changes]\nget = \"/things\"").pages(Some("i:1")).await.unwrap_err();
    assert_eq!(error.next, NextStep::Resync);
    let unsorted: &[i64] = &[3, 1, 2, 9, 4, 5, 6];
    let error = capped(unsorted, "").pages(None).await.unwrap_err();
    assert_eq!(error.next, NextStep::Fail);
    assert!(error.message.contains("not in order"), "{error}");
}

#[actix_web::test]
async fn what_continues_a_list_may_stand_alone() {
    let file = listing(
        "query = { status = \"any\" }\nrecords = \"items\"\n\
         page = { kind = \"cursor\", param = \"page_info\", next = \"next\", size = 50, alone = true }\n\
         cursor = { kind = \"time\", param = \"since\", lookback = \"0s\" }",
    );
    let bench = Bench::new(&file, |request| {
        ok(if request.url.contains("page_info") { r#"{"items":[]}"# } else { r#"{"items":[],"next":"x"}"# })
    });
    bench.pages(Some(T)).await.unwrap();
    let first = "/things?status=any&limit=50&since=2026-11-23T10%3A00%3A00.000Z";
    assert_eq!(bench.asked(), [first, "/things?limit=50&page_info=x"]);
}

#[test]
fn mistakes_are_told_with_their_place() {
    for (list, want) in [
        ("body = { a = 1 }", "a GET in [object.things.list] sends no 'body'"),
        ("page = { kind = \"keyset\", field = \"id\" }", "nothing tells where these pages end"),
        ("page = { kind = \"keyset\", more = \"more\" }", "'field' is missing"),
        ("page = { kind = \"cursor\", next = \"n\", max_results = 10 }", "'max_results' needs the size of a page"),
        ("page = { kind = \"cursor\", next = \"n\", size = 5, max_results = 10 }", "needs a list in order of a cursor"),
        (
            "page = { kind = \"cursor\", next = \"n\", size = 5, max_results = 10 }\n\
             cursor = { kind = \"time\", order = \"asc\" }\n[object.things.changes]\nget = \"/c\"\n\
             query = { since = \"{cursor}\" }",
            "[object.things.list] does not ask by the cursor",
        ),
        ("cursor = { kind = \"integer\", param = \"s\", retention = \"1d\" }", "only the age of a time is known"),
        ("[object.things.changes]\nget = \"/c\"", "[object.things.changes] has no cursor"),
        ("cursor = { kind = \"time\" }", "'param' is missing"),
        (
            "cursor = { kind = \"time\" }\n[object.things.changes]\nget = \"/c\"",
            "[object.things.changes] does not ask by the cursor",
        ),
        (
            "[object.things.changes]\nget = \"/c\"\ncursor = { kind = \"opaque\", param = \"s\", next = \"n\" }",
            "nothing in the list tells the position",
        ),
        (
            "cursor = { kind = \"opaque\", param = \"s\", next = \"n\" }\n[object.things.deletions]\nget = \"/d\"",
            "needs a cursor of kind 'time' or 'integer'",
        ),
        (
            "[object.things.read_many]\npost = \"/m\"\nbody = { ids = [\"{size}\"] }",
            "'param' is missing in [object.things.read_many]",
        ),
    ] {
        let lines = HttpConnectorFile::parse("crm.toml", &listing(list)).map(|_| ()).unwrap_err().lines;
        assert!(lines.len() <= 3 && lines.iter().any(|line| line.contains(want)), "{list}: {lines:#?}");
        assert!(lines.iter().all(|line| line.starts_with("crm.toml:")), "{lines:#?}");
    }
}

#[actix_web::test]
async fn what_is_searched_for_stays_within_its_quotes() {
    let find = "[object.things.find]\nget = \"/things\"\nencode = \"odata\"\n\
                params.name = { \"$filter\" = \"name eq {value}\" }";
    let bench = Bench::new(&listing(find), |_| ok("[]"));
    for (json, want) in [(r#""O'Brien' or 1 eq 1""#, "name eq 'O''Brien'' or 1 eq 1'"), ("7", "name eq 7")] {
        bench.read(Read::Find(vec![(Path::key("name"), value(json))])).await.unwrap();
        assert_eq!(param(bench.sent().last().unwrap(), "$filter").as_deref(), Some(want));
    }
}
