//! Lists in pages, records by id, searches.

use super::*;
use crate::model::record::DeletionCause;

/// Answers a list of `n` records `{"id":"i"}` in pages of `size`, told by `page`.
fn slice(n: usize, from: usize, size: usize) -> String {
    let records: Vec<String> =
        (from..n.min(from + size)).map(|i| format!(r#"{{"id":"{i}","at":"2026-11-01T00:00:00Z"}}"#)).collect();
    records.join(",")
}

fn all_ids(n: usize) -> Vec<String> {
    (0..n).map(|i| i.to_string()).collect()
}

fn number(request: &HttpRequest, name: &str) -> usize {
    param(request, name).map_or(0, |text| text.parse().unwrap())
}

#[actix_web::test]
async fn one_answer() {
    let bench = Bench::new(&listing(""), |_| ok(&format!("[{}]", slice(3, 0, 9))));
    assert_eq!(ids_of(&bench.pages(None).await.unwrap()), all_ids(3));
    assert_eq!(bench.asked(), ["/things"]);
}

#[actix_web::test]
async fn page_numbers() {
    let file = listing(
        r#"records = "items"
page = { kind = "page", param = "p", size = 4, size_param = "per_page", total = "meta.count" }"#,
    );
    let bench = Bench::new(&file, |request| {
        let from = (number(request, "p") - 1) * 4;
        ok(&format!(r#"{{"items":[{}],"meta":{{"count":10}}}}"#, slice(10, from, 4)))
    });
    let pages = bench.pages(None).await.unwrap();
    assert_eq!(ids_of(&pages), all_ids(10));
    assert_eq!(pages[0].total, Some(10));
    assert!(pages.iter().all(|page| !page.drifted));
    assert_eq!(bench.asked()[2], "/things?per_page=4&p=3");
}

#[actix_web::test]
async fn offsets_overlap_by_one() {
    let file = listing(r#"page = { kind = "offset", param = "skip", size = 4, end = "short" }"#);
    let bench = Bench::new(&file, |request| ok(&format!("[{}]", slice(10, number(request, "skip"), 4))));
    let pages = bench.pages(None).await.unwrap();
    assert_eq!(ids_of(&pages), all_ids(10));
    assert!(pages.iter().all(|page| !page.drifted));
    let skips: Vec<usize> = bench.sent().iter().map(|request| number(request, "skip")).collect();
    assert_eq!(skips, [0, 3, 6, 9]);
}

#[actix_web::test]
async fn an_offset_list_that_shifts_is_told() {
    let file = listing(r#"page = { kind = "offset", param = "skip", size = 4, end = "short" }"#);
    // A record before the window is deleted after the second page.
    let mut answers = 0;
    let bench = Bench::new(&file, move |request| {
        answers += 1;
        let shift = usize::from(answers > 2);
        ok(&format!("[{}]", slice(10, number(request, "skip") + shift, 4)))
    });
    let pages = bench.pages(None).await.unwrap();
    assert_eq!(pages.iter().map(|page| page.drifted).collect::<Vec<_>>()[..3], [false, false, true]);
    assert!(!ids_of(&pages).is_empty());
}

#[actix_web::test]
async fn tokens() {
    let file = listing(
        r#"records = "results"
query = { sort = "at" }
page = { kind = "cursor", next = "paging.next.after", param = "after", size = 3 }"#,
    );
    let bench = Bench::new(&file, |request| {
        let from = number(request, "after");
        let next = if from + 3 < 8 { format!(r#"{{"after":{}}}"#, from + 3) } else { "null".into() };
        ok(&format!(r#"{{"results":[{}],"paging":{{"next":{next}}}}}"#, slice(8, from, 3)))
    });
    assert_eq!(ids_of(&bench.pages(None).await.unwrap()), all_ids(8));
    assert_eq!(
        bench.asked(),
        ["/things?sort=at&limit=3", "/things?sort=at&limit=3&after=3", "/things?sort=at&limit=3&after=6"]
    );
}

#[actix_web::test]
async fn next_links_in_headers_and_bodies() {
    let next = |from: usize, n: usize| (from + 3 < n).then(|| format!("{BASE}/things?from={}", from + 3));
    let header = listing(r#"page = { kind = "link_header" }"#);
    let bench = Bench::new(&header, move |request| {
        let from = number(request, "from");
        let link = next(from, 8).map_or(r#"<https://x/>; rel="prev""#.into(), |url| format!("<{url}>; rel=\"next\""));
        Ok(HttpResponse::new(200, format!("[{}]", slice(8, from, 3))).with_header("link", &link))
    });
    assert_eq!(ids_of(&bench.pages(None).await.unwrap()), all_ids(8));
    let body = listing(
        r#"records = "items"
page = { kind = "next_url", next = "next" }"#,
    );
    let bench = Bench::new(&body, move |request| {
        let from = number(request, "from");
        // A relative link is taken against the page it stands on.
        let next = if from + 3 < 8 { format!(r#""?from={}""#, from + 3) } else { "null".into() };
        ok(&format!(r#"{{"items":[{}],"next":{next}}}"#, slice(8, from, 3)))
    });
    assert_eq!(ids_of(&bench.pages(None).await.unwrap()), all_ids(8));
    assert_eq!(bench.asked(), ["/things", "/things?from=3", "/things?from=6"]);
}

#[actix_web::test]
async fn an_empty_page_in_the_middle_is_not_the_end() {
    let file = listing(
        r#"records = "items"
page = { kind = "cursor", next = "next", param = "c" }"#,
    );
    let bench = Bench::new(&file, |request| match param(request, "c").as_deref() {
        None => ok(r#"{"items":[{"id":1}],"next":"a"}"#),
        Some("a") => ok(r#"{"items":[],"next":"b"}"#),
        Some(_) => ok(r#"{"items":[{"id":2}]}"#),
    });
    assert_eq!(ids_of(&bench.pages(None).await.unwrap()), ["1", "2"]);
}

#[actix_web::test]
async fn deletions_are_told_by_evidence_only() {
    let file = listing(r#"deleted = { tombstone = "deleted" }"#);
    let list = r#"[{"id":1,"deleted":true},{"id":2,"deleted":false},{"id":3}]"#;
    let bench = Bench::new(&file, move |_| ok(list));
    let page = bench.read(Read::All { page: None }).await.unwrap();
    assert_eq!(names(&page.entries), ["-1", "2", "3"]);
    assert!(matches!(page.entries[0], Entry::Deleted { cause: DeletionCause::Tombstone, .. }));
    for (deleted, record, is_deleted) in [
        (r#"{ flag = "archived" }"#, r#""archived":true"#, true),
        (r#"{ flag = "archived" }"#, r#""archived":"no""#, true),
        (r#"{ flag = "archived" }"#, r#""archived":null"#, false),
        (r#"{ flag = "archived" }"#, r#""archived":"""#, false),
        (r#"{ flag = "archived" }"#, r#""archived":0"#, false),
        (r#"{ flag = "state", value = "trash" }"#, r#""state":"trash""#, true),
        (r#"{ flag = "state", value = "trash" }"#, r#""state":"live""#, false),
        (r#"{ flag = "meta.gone_at" }"#, r#""meta":{"gone_at":"2026-01-01"}"#, true),
    ] {
        let answer = format!(r#"[{{"id":1,{record}}}]"#);
        let bench = Bench::new(&listing(&format!("deleted = {deleted}")), move |_| ok(&answer));
        let page = bench.read(Read::All { page: None }).await.unwrap();
        assert_eq!(names(&page.entries), [if is_deleted { "-1" } else { "1" }], "{deleted} {record}");
    }
}

#[actix_web::test]
async fn reading_by_id() {
    let bench = Bench::new(&listing(""), |request| match request.url.rsplit('/').next().unwrap() {
        "1" => ok(r#"{"id":1,"name":"a"}"#),
        "2" => status(404, ""),
        "3" => status(410, ""),
        _ => ok(r#"{"id":99}"#),
    });
    let ids = ["1", "2", "3", "4"].map(RecordId::from).to_vec();
    let page = bench.read(Read::Ids(ids)).await.unwrap();
    assert_eq!(names(&page.entries), ["1", "-2", "-3", "!GET /v1/things/4"]);
    assert_eq!(bench.calls.made(), 4, "each request takes a permit");
    let Entry::Bad(bad) = &page.entries[3] else { panic!() };
    assert_eq!((bad.id.as_ref(), bad.reason.as_str()), (Some(&RecordId::from("4")), "asked for '4', got '99'"));
    for (code, next) in [(500, NextStep::Retry), (401, NextStep::Reauthorise), (400, NextStep::Fail)] {
        let bench = Bench::new(&listing(""), move |_| status(code, ""));
        assert_eq!(bench.read(Read::Ids(vec!["1".into()])).await.unwrap_err().next, next, "{code}");
    }
}

#[actix_web::test]
async fn declared_statuses_mean_gone() {
    let file = listing("").replace("get = \"/things/{id}\"", "get = \"/things/{id}\"\nmissing = [400]");
    let bench = Bench::new(&file, |_| status(400, ""));
    assert_eq!(names(&bench.read(Read::Ids(vec!["1".into()])).await.unwrap().entries), ["-1"]);
    let bench = Bench::new(&file, |_| status(404, ""));
    assert_eq!(bench.read(Read::Ids(vec!["1".into()])).await.unwrap_err().next, NextStep::Fail);
}

#[actix_web::test]
async fn a_refusal_that_is_declared_to_mean_gone_is_not_taken_at_its_word() {
    let file = listing("page = { kind = \"offset\", size = 100, end = \"short\" }")
        .replace("get = \"/things/{id}\"", "get = \"/things/{id}\"\nmissing = [403]");
    let read = || Read::Ids(vec!["1".into()]);
    let asked = ["/things/1", "/things?limit=100&offset=0", "/things/1"];
    // The list answers: the account may read, so this record is gone.
    let bench = Bench::new(&file, |request| if request.url.contains('?') { ok("[]") } else { status(403, "") });
    assert_eq!(names(&bench.read(read()).await.unwrap().entries), ["-1"]);
    assert_eq!(bench.asked(), asked);
    // Nothing may be read any more: nothing is said of the record.
    for (code, body, next) in
        [(403, "", NextStep::Reauthorise), (500, "", NextStep::Retry), (200, "<", NextStep::Retry)]
    {
        let list = move || status(code, body);
        let bench = Bench::new(&file, move |request| if request.url.contains('?') { list() } else { status(403, "") });
        assert_eq!(bench.read(read()).await.unwrap_err().next, next, "{code}");
        assert_eq!(bench.asked(), asked[..2]);
    }
    // The right came back between the two.
    let mut answers = [status(403, ""), ok("[]"), ok(r#"{"id":1}"#)].into_iter();
    let bench = Bench::new(&file, move |_| answers.next().unwrap());
    assert_eq!(names(&bench.read(read()).await.unwrap().entries), ["1"]);
}

#[actix_web::test]
async fn several_by_id_are_looked_at_again_when_absent() {
    let file = listing("records = \"items\"").replace(
        "[object.things.read]",
        "[object.things.read_many]\nget = \"/things\"\nparam = \"ids\"\nsize = 2\n[object.things.read]",
    );
    let bench = Bench::new(&file, |request| match param(request, "ids").as_deref() {
        Some("1,2") => ok(r#"{"items":[{"id":2}]}"#),
        Some("3") => ok(r#"{"items":[{"id":3}]}"#),
        Some(other) => panic!("{other}"),
        None => status(404, ""),
    });
    let page = bench.read(Read::Ids(["1", "2", "3"].map(RecordId::from).to_vec())).await.unwrap();
    assert_eq!(names(&page.entries), ["-1", "2", "3"]);
    assert_eq!(bench.asked(), ["/things?ids=1%2C2", "/things?ids=3", "/things/1"]);
}

#[actix_web::test]
async fn finding_by_fields() {
    let file = listing("records = \"items\"").replace(
        "[object.things.read]",
        r#"[object.things.find]
get = "/search"
params.email = "mail"
params."a.b" = { property = "ab", value = "={value}" }
[object.things.read]"#,
    );
    let bench = Bench::new(&file, |_| ok(r#"{"items":[{"id":1},{"id":2}]}"#));
    let fields = vec![
        (Path::key("email"), Value::string("a b&c@é")),
        ("a.b".parse().unwrap(), Value::Number(crate::model::value::Number::parse("1.50").unwrap())),
    ];
    let page = bench.read(Read::Find(fields)).await.unwrap();
    assert_eq!(names(&page.entries), ["1", "2"]);
    assert_eq!(bench.asked(), ["/search?mail=a%20b%26c%40%C3%A9&property=ab&value=%3D1.50"]);
    for fields in [vec![(Path::key("x"), Value::Null)], vec![(Path::key("email"), Value::Null)]] {
        assert_eq!(bench.read(Read::Find(fields)).await.unwrap_err().next, NextStep::Fail);
    }
}

#[actix_web::test]
async fn a_search_goes_on_over_empty_pages() {
    let file = listing("records = \"items\"\npage = { kind = \"cursor\", next = \"next\", param = \"c\" }").replace(
        "[object.things.read]",
        "[object.things.find]\nget = \"/search\"\nencode = \"json\"\nparams.email = \"mail\"\n[object.things.read]",
    );
    let bench = Bench::new(&file, |request| match param(request, "c") {
        None => ok(r#"{"items":[],"next":"a"}"#),
        Some(_) => ok(r#"{"items":[{"id":1}],"next":"b"}"#),
    });
    let page = bench.read(Read::Find(vec![(Path::key("email"), Value::string("12"))])).await.unwrap();
    assert_eq!(names(&page.entries), ["1"]);
    assert_eq!(page.next, None);
    assert_eq!(bench.asked()[1], "/search?mail=%2212%22&c=a");
}

#[actix_web::test]
async fn versions_come_from_the_record_or_the_header() {
    let with_path = listing("")
        .replace("modified = \"at\"", "modified = \"at\"\nversion = \"meta.etag\"\nversion_header = \"ETag\"");
    let answer =
        |body: &'static str| move |_: &HttpRequest| Ok(HttpResponse::new(200, body).with_header("etag", "\"h\""));
    for (body, want) in [
        (r#"{"id":1,"meta":{"etag":7}}"#, "7"),
        (r#"{"id":1,"meta":{"etag":"\"x\""}}"#, "\"x\""),
        (r#"{"id":1}"#, "\"h\""),
    ] {
        let bench = Bench::new(&with_path, answer(body));
        let page = bench.read(Read::Ids(vec!["1".into()])).await.unwrap();
        assert_eq!(live(&page.entries[0]).version.as_ref().unwrap().as_str(), want);
    }
}

#[actix_web::test]
async fn a_fresh_record_without_a_time_takes_the_next_one() {
    let file = listing("").replace("modified = \"at\"", "modified = [\"updated\", \"created\"]");
    let bench = Bench::new(&file, |_| {
        ok(
            r#"[{"id":1,"updated":null,"created":"2026-11-01T00:00:00Z"},{"id":2,"updated":"2026-11-02T00:00:00Z"},{"id":3}]"#,
        )
    });
    let page = bench.read(Read::All { page: None }).await.unwrap();
    let days: Vec<Option<String>> =
        page.entries.iter().map(|entry| live(entry).modified.map(|time| time.format("%d").to_string())).collect();
    assert_eq!(days, [Some("01".into()), Some("02".into()), None]);
}
