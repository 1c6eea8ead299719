//! An object that several lists feed, or one for each record of another object.

use super::*;

const SEVERAL: &str = r#"
name = "test"
[object.things]
id = "id"
modified = "at"
list = { get = "/things", cursor = { kind = "time", param = "since", lookback = "0s", order = "asc" } }
read = { get = "/things/{id}" }
[object.things.also.old]
list = { get = "/old", records = "items", page = { kind = "cursor", next = "next", param = "c" }, deleted = { flag = "gone" }, cursor = { kind = "integer", param = "after", field = "n", order = "asc" } }
[object.things.also.rest]
list = { get = "/rest" }
"#;

fn several() -> Bench {
    Bench::new(SEVERAL, |request| {
        let path = request.url.strip_prefix(BASE).unwrap_or_default().to_owned();
        match (path.split('?').next(), param(request, "c")) {
            (Some("/things"), _) => ok(r#"[{"id":"a","at":"2026-11-23T10:00:00Z"}]"#),
            (Some("/old"), None) => ok(r#"{"items":[{"id":"b","n":5}],"next":"x"}"#),
            (Some("/old"), Some(_)) => ok(r#"{"items":[{"id":"c","n":6,"gone":true}]}"#),
            _ => ok(r#"[{"id":"d"}]"#),
        }
    })
}

#[actix_web::test]
async fn several_lists_feed_an_object_and_each_has_its_position() {
    let bench = several();
    let pages = bench.pages(None).await.unwrap();
    assert_eq!(ids_of(&pages), ["a", "b", "-c", "d"]);
    assert_eq!(bench.asked(), ["/things", "/old", "/old?c=x", "/rest"]);
    let (last, before) = pages.split_last().unwrap();
    assert!(before.iter().all(|page| page.cursor.is_none()), "no position before all was read");
    let cursor = last.cursor.as_ref().unwrap().as_str().to_owned();
    assert_eq!(cursor, r#"s:{"":"t:2026-11-23T10:00:00.000000Z","old":"i:6"}"#);
    // Each is asked from its own position; one without a cursor is read whole.
    let bench = several();
    bench.pages(Some(&cursor)).await.unwrap();
    let want = ["/things?since=2026-11-23T10%3A00%3A00.000Z", "/old?after=6", "/old?after=6&c=x", "/rest"];
    assert_eq!(bench.asked(), want);
}

#[actix_web::test]
async fn a_list_that_is_new_to_the_file_is_read_whole_and_one_that_is_gone_is_forgotten() {
    let bench = several();
    let since = r#"s:{"":"t:2026-11-23T10:00:00.000000Z","gone":"i:1"}"#;
    let pages = bench.pages(Some(since)).await.unwrap();
    assert_eq!(bench.asked()[1], "/old");
    let cursor = pages.last().unwrap().cursor.as_ref().unwrap().as_str();
    assert_eq!(cursor, r#"s:{"":"t:2026-11-23T10:00:00.000000Z","old":"i:6"}"#);
    // A position from before there were several says nothing about the others.
    let error = bench.pages(Some("t:2026-11-23T10:00:00.000000Z")).await.unwrap_err();
    assert_eq!(error.next, NextStep::Resync);
}

#[actix_web::test]
async fn a_page_token_of_somebody_else_is_refused() {
    let bench = several();
    for token in ["x", r#"{"at":9,"run":null,"reached":{}}"#] {
        let error = bench.read(Read::All { page: Some(PageToken::new(token)) }).await.unwrap_err();
        assert_eq!(error.next, NextStep::Fail, "{token}");
    }
}

const CHILDREN: &str = r#"
name = "test"
[object.accounts]
id = "id"
modified = "at"
list = { get = "/accounts", records = "items", page = { kind = "cursor", next = "next", param = "c" } }
[object.things]
id = "id"
modified = "at"
parent = "accounts"
list = { get = "/accounts/{parent}/things", records = "items", page = { kind = "cursor", next = "next", param = "c" }, cursor = { kind = "time", param = "since", lookback = "1m" } }
read = { get = "/things/{id}" }
"#;

/// Accounts `a/1` (old), `b` (two pages of things), `gone` (deleted since it was listed), `new`.
fn children() -> Bench {
    Bench::new(CHILDREN, |request| {
        let path = request.url.strip_prefix(BASE).unwrap_or_default().to_owned();
        let body = match (path.split('?').next().unwrap_or_default(), param(request, "c").is_some()) {
            ("/accounts", false) => {
                r#"{"items":[{"id":"a/1","at":"2026-01-01T00:00:00Z"},{"id":"b","at":"2026-01-01T00:00:00Z"}],"next":"p"}"#
            }
            ("/accounts", true) => {
                r#"{"items":[{"at":"?"},{"id":"gone","at":"2026-01-01T00:00:00Z"},{"id":"new","at":"2026-11-23T11:30:00Z"}]}"#
            }
            ("/accounts/a%2F1/things", _) => r#"{"items":[{"id":"1","at":"2026-11-23T10:00:00Z"}]}"#,
            ("/accounts/b/things", false) => r#"{"items":[{"id":"2"}],"next":"q"}"#,
            ("/accounts/b/things", true) => r#"{"items":[{"id":"3"}]}"#,
            ("/accounts/new/things", _) => r#"{"items":[{"id":"4"}]}"#,
            _ => return status(404, "{}"),
        };
        Ok(HttpResponse::new(200, body).with_header("Date", "Mon, 23 Nov 2026 11:59:00 GMT"))
    })
}

#[actix_web::test]
async fn the_lists_of_all_parents_are_one() {
    let bench = children();
    let pages = bench.pages(None).await.unwrap();
    assert_eq!(ids_of(&pages), ["1", "2", "3", "!'accounts', items[0].id", "4"]);
    let want = [
        "/accounts",
        "/accounts/a%2F1/things",
        "/accounts/b/things",
        "/accounts/b/things?c=q",
        "/accounts?c=p",
        "/accounts/gone/things",
        "/accounts/new/things",
    ];
    assert_eq!(bench.asked(), want);
    let (last, before) = pages.split_last().unwrap();
    assert!(before.iter().all(|page| page.cursor.is_none()));
    assert_eq!(
        last.cursor.as_ref().unwrap().as_str(),
        "t:2026-11-23T11:59:00.000000Z",
        "the clock, not a record's time"
    );
}

#[actix_web::test]
async fn changes_are_asked_for_of_each_parent_and_everything_of_a_new_one() {
    let bench = children();
    bench.pages(Some("t:2026-11-23T11:30:30.000000Z")).await.unwrap();
    let asked: Vec<String> = bench.asked().into_iter().filter(|url| url.contains("things")).collect();
    let since = "since=2026-11-23T11%3A29%3A30.000Z";
    let want = [
        format!("/accounts/a%2F1/things?{since}"),
        format!("/accounts/b/things?{since}"),
        format!("/accounts/b/things?{since}&c=q"),
        format!("/accounts/gone/things?{since}"),
        // It changed less than the lookback before the position, so it may be new.
        "/accounts/new/things".to_owned(),
    ];
    assert_eq!(asked, want);
}

#[actix_web::test]
async fn without_any_parent_the_position_stays_or_is_the_beginning() {
    let none = || Bench::new(CHILDREN, |_| ok(r#"{"items":[]}"#));
    for (since, want) in [
        (None, "t:1970-01-01T00:00:00.000000Z"),
        (Some("t:2026-11-23T11:30:30.000000Z"), "t:2026-11-23T11:30:30.000000Z"),
    ] {
        let pages = none().pages(since).await.unwrap();
        assert_eq!(pages.last().unwrap().cursor.as_ref().unwrap().as_str(), want);
    }
}

#[actix_web::test]
async fn a_failure_in_the_middle_is_told_and_gone_on_from() {
    let bench = Bench::new(CHILDREN, {
        let mut num = 0;
        move |request| {
            num += 1;
            match (request.url.strip_prefix(BASE).unwrap_or_default(), num) {
                ("/accounts", _) => ok(r#"{"items":[{"id":"a"},{"id":"b"}]}"#),
                (_, 3) => status(503, ""),
                _ => ok(r#"{"items":[{"id":"1"}]}"#),
            }
        }
    });
    let first = bench.read(Read::All { page: None }).await.unwrap();
    let second = bench.read(Read::All { page: first.next }).await.unwrap();
    let again = || Read::All { page: second.next.clone() };
    assert_eq!(bench.read(again()).await.unwrap_err().next, NextStep::Retry);
    let last = bench.read(again()).await.unwrap();
    assert_eq!((bench.asked().last().map(String::as_str), last.next), (Some("/accounts/b/things"), None));
}

#[test]
fn what_does_not_fit_is_told_with_what_to_do() {
    let with = |from: &str, to: &str| {
        assert!(CHILDREN.contains(from), "{from}");
        CHILDREN.replacen(from, to, 1)
    };
    for (text, told) in [
        (with("parent = \"accounts\"", "parent = \"acounts\""), "did you mean 'accounts'?"),
        (with("parent = \"accounts\"\n", ""), "holds {parent}, but no 'parent' is declared"),
        (with("/accounts/{parent}/things", "/things"), "does not name it"),
        (
            with("kind = \"time\", param = \"since\", lookback = \"1m\"", "kind = \"integer\", param = \"since\""),
            "must be a time",
        ),
        (with("parent = \"accounts\"", "parent = \"things\""), "lead in a circle"),
        (
            with("id = \"id\"\nmodified = \"at\"\nlist", "id = \"id\"\nlist"),
            "does not tell which of its records are new",
        ),
        (with("read = {", "also = { x = { list = { get = \"/x\" } } }\nread = {"), "'also' stands beside 'parent'"),
        (SEVERAL.replace("list = { get = \"/rest\" }", ""), "[object.things.also.rest.list] is missing"),
        (SEVERAL.replace("list = { get = \"/rest\" }", "list = { gte = \"/rest\" }"), "did you mean 'get'?"),
    ] {
        let error = HttpConnectorFile::parse("test.toml", &text).unwrap_err().to_string();
        assert!(error.contains(told), "{told}: {error}");
    }
}
