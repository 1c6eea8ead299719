//! Cursors: what is asked for, and what may be kept after each page.

use super::*;

fn cursors(pages: &[Page]) -> Vec<Option<String>> {
    pages.iter().map(|page| page.cursor.as_ref().map(|cursor| cursor.as_str().to_owned())).collect()
}

const T: &str = "t:2026-11-23T10:00:00.000000Z";

#[actix_web::test]
async fn changes_are_asked_for_inclusively() {
    for (cursor, since, want) in [
        (r#"{ kind = "time", param = "since", lookback = "0s" }"#, T, "2026-11-23T10:00:00.000Z"),
        (r#"{ kind = "time", param = "since" }"#, T, "2026-11-23T09:55:00.000Z"),
        (r#"{ kind = "time", param = "since", op = ">", lookback = "0s" }"#, T, "2026-11-23T09:59:59.999Z"),
        (
            r#"{ kind = "time", param = "since", op = ">", granularity = "1m", lookback = "0s" }"#,
            T,
            "2026-11-23T09:59:00.000Z",
        ),
        (
            r#"{ kind = "time", param = "since", op = ">", granularity = "1m", lookback = "0s" }"#,
            "t:2026-11-23T10:00:30.000000Z",
            "2026-11-23T09:59:00.000Z",
        ),
        (r#"{ kind = "time", param = "since", unit = "s", lookback = "0s" }"#, T, "1795428000"),
        (r#"{ kind = "time", param = "since", unit = "s", op = ">", lookback = "0s" }"#, T, "1795427999"),
        (r#"{ kind = "time", param = "since", unit = "ms", lookback = "1s" }"#, T, "1795427999000"),
        (r#"{ kind = "time", param = "since", unit = "us", op = ">", lookback = "0s" }"#, T, "1795427999999999"),
        (
            r#"{ kind = "time", param = "since", lookback = "0s", format = '"{cursor}"' }"#,
            T,
            "\"2026-11-23T10:00:00.000Z\"",
        ),
        (r#"{ kind = "integer", param = "since" }"#, "i:17", "17"),
        (r#"{ kind = "integer", param = "since", op = ">" }"#, "i:17", "16"),
        (r#"{ kind = "integer", param = "since", op = ">", lookback = 100 }"#, "i:17", "0"),
        (r#"{ kind = "integer", param = "since", unit = "ms", op = ">", lookback = "5s" }"#, "i:17000", "11999"),
        (r#"{ kind = "opaque", param = "since", next = "sync" }"#, "o:a b\"", "a b\""),
    ] {
        let bench = Bench::new(&listing(&format!("cursor = {cursor}")), |_| ok("[]"));
        bench.pages(Some(since)).await.unwrap();
        assert_eq!(param(&bench.sent()[0], "since").as_deref(), Some(want), "{cursor}");
    }
}

#[actix_web::test]
async fn a_cursor_of_another_kind_means_reading_everything_again() {
    for (cursor, since) in [
        (r#"{ kind = "time", param = "since" }"#, "i:17"),
        (r#"{ kind = "time", param = "since" }"#, "t:yesterday"),
        (r#"{ kind = "integer", param = "since" }"#, T),
        (r#"{ kind = "opaque", param = "since", next = "sync" }"#, T),
    ] {
        let bench = Bench::new(&listing(&format!("cursor = {cursor}")), |_| ok("[]"));
        assert_eq!(bench.pages(Some(since)).await.unwrap_err().next, NextStep::Resync, "{cursor}");
    }
    let bench = Bench::new(&listing(""), |_| ok("[]"));
    assert_eq!(bench.pages(Some(T)).await.unwrap_err().next, NextStep::Resync);
}

#[actix_web::test]
async fn an_expired_position_means_reading_everything_again() {
    for (cursor, code, want) in [
        (r#"{ kind = "time", param = "since" }"#, 410, NextStep::Resync),
        (r#"{ kind = "time", param = "since", expired = [400] }"#, 400, NextStep::Resync),
        (r#"{ kind = "time", param = "since", expired = [400] }"#, 410, NextStep::Fail),
    ] {
        let bench = Bench::new(&listing(&format!("cursor = {cursor}")), move |_| status(code, "no"));
        assert_eq!(bench.pages(Some(T)).await.unwrap_err().next, want, "{cursor}");
        assert_eq!(bench.pages(None).await.unwrap_err().next, NextStep::Fail, "a full read has no position");
    }
}

/// Two pages of records with these times, the server's clock at `date`.
fn two_pages(cursor: &str, date: Option<&'static str>, first: [&'static str; 2], second: [&'static str; 2]) -> Bench {
    let file = listing(&format!(
        "records = \"items\"\npage = {{ kind = \"cursor\", next = \"next\", param = \"c\" }}\ncursor = {cursor}"
    ));
    Bench::new(&file, move |request| {
        let is_first = param(request, "c").is_none();
        let ([a, b], next) = if is_first { (first, "\"x\"") } else { (second, "null") };
        let page = u8::from(is_first);
        let body = format!(r#"{{"items":[{{"id":"a{page}","at":{a}}},{{"id":"b{page}","at":{b}}}],"next":{next}}}"#);
        let answer = HttpResponse::new(200, body);
        Ok(match date {
            Some(date) => answer.with_header("Date", date),
            None => answer,
        })
    })
}

const ASC: &str = r#"{ kind = "time", param = "since", order = "asc" }"#;
const UNSORTED: &str = r#"{ kind = "time", param = "since" }"#;
const A: &str = r#""2026-11-23T10:00:00Z""#;
const B: &str = r#""2026-11-23T10:00:01Z""#;
const C: &str = r#""2026-11-23T10:00:02Z""#;
const D: &str = r#""2026-11-23T10:00:03Z""#;

fn at(time: &str) -> Option<String> {
    Some(format!("t:2026-11-23T{time}.000000Z"))
}

#[actix_web::test]
async fn a_time_cursor_moves_as_far_as_is_certain() {
    const NOON: Option<&str> = Some("Mon, 23 Nov 2026 12:00:00 GMT");
    const IN_BETWEEN: Option<&str> = Some("Mon, 23 Nov 2026 10:00:02 GMT");
    const NEXT_YEAR: Option<&str> = Some("Tue, 23 Nov 2027 12:00:00 GMT");
    let settle = r#"{ kind = "time", param = "since", order = "asc", settle = "1s" }"#;
    for (name, cursor, date, pages, want) in [
        ("ascending: a cursor on each page", ASC, NOON, [[A, B], [C, D]], [at("10:00:01"), at("10:00:03")]),
        ("never past the clock of the first page", ASC, IN_BETWEEN, [[A, B], [C, D]], [at("10:00:01"), at("10:00:02")]),
        ("less what must settle", settle, IN_BETWEEN, [[A, B], [C, D]], [at("10:00:01"), at("10:00:01")]),
        (
            "no clock: the newest less what must settle",
            settle,
            None,
            [[A, B], [C, D]],
            [at("10:00:00"), at("10:00:02")],
        ),
        ("a clock a year off is not used", settle, NEXT_YEAR, [[A, B], [C, D]], [at("10:00:00"), at("10:00:02")]),
        ("unsorted: on the last page only", UNSORTED, NOON, [[D, A], [C, B]], [None, at("10:00:03")]),
        (
            "unsorted without a clock: what the first page showed",
            UNSORTED,
            None,
            [[A, B], [D, C]],
            [None, at("10:00:01")],
        ),
        ("said ascending but is not", ASC, NOON, [[D, A], [C, B]], [None, at("10:00:03")]),
        ("records without a time do not count", ASC, NOON, [["null", "null"], [A, "\"?\""]], [None, at("10:00:00")]),
    ] {
        let bench = two_pages(cursor, date, pages[0], pages[1]);
        assert_eq!(cursors(&bench.pages(None).await.unwrap()), want, "{name}");
    }
}

#[actix_web::test]
async fn a_cursor_never_goes_back() {
    let bench = two_pages(ASC, Some("Mon, 23 Nov 2026 12:00:00 GMT"), [A, B], [C, D]);
    let later = "t:2026-11-23T11:00:00.000000Z";
    assert_eq!(cursors(&bench.pages(Some(later)).await.unwrap()), [Some(later.into()), Some(later.into())]);
    let bench = Bench::new(&listing(&format!("cursor = {ASC}")), |_| ok("[]"));
    assert_eq!(cursors(&bench.pages(Some(T)).await.unwrap()), [Some(T.into())]);
}

/// An empty list may be a broken one. With a cursor at the server's clock, everything
/// that was there all along would be passed for ever.
#[actix_web::test]
async fn a_list_that_shows_nothing_passes_nothing() {
    let time = r#"{ kind = "time", param = "since", settle = "10s", op = ">" }"#;
    for (name, text) in [("Date", "Mon, 23 Nov 2026 11:00:00 GMT"), ("X", "")] {
        let bench = Bench::new(&listing(&format!("cursor = {time}")), move |_| {
            Ok(HttpResponse::new(200, "[]").with_header(name, text))
        });
        let beginning = "t:1970-01-01T00:00:00.000000Z";
        assert_eq!(cursors(&bench.pages(None).await.unwrap()), [Some(beginning.into())], "{name}");
        assert_eq!(cursors(&bench.pages(Some(beginning)).await.unwrap()), [Some(beginning.into())], "{name}");
        assert_eq!(param(&bench.sent()[1], "since").as_deref(), Some("1970-01-01T00:00:00.000Z"), "none before 1970");
        assert_eq!(cursors(&bench.pages(Some(T)).await.unwrap()), [Some(T.into())], "{name}");
    }
    let integer = r#"{ kind = "integer", param = "since" }"#;
    let header = r#"{ kind = "integer", param = "since", header = "ETag" }"#;
    for (cursor, name, text, want) in [
        (integer, "X", "", "i:0"),
        (header, "ETag", "\"1795424389434\"", "i:1795424389434"),
        (header, "ETag", "W/\"17\"", "i:17"),
        (header, "ETag", "\"abc\"", "i:0"),
    ] {
        let bench = Bench::new(&listing(&format!("cursor = {cursor}")), move |_| {
            Ok(HttpResponse::new(200, "[]").with_header(name, text))
        });
        assert_eq!(cursors(&bench.pages(None).await.unwrap()), [Some(want.into())], "{cursor} {text}");
    }
}

#[actix_web::test]
async fn an_integer_cursor_moves_as_far_as_is_certain() {
    let asc = r#"{ kind = "integer", param = "since", order = "asc" }"#;
    let desc = r#"{ kind = "integer", param = "since", order = "desc" }"#;
    let i = |n: i64| Some(format!("i:{n}"));
    for (cursor, pages, want) in [
        (asc, [["1", "2"], ["3", "4"]], [i(2), i(4)]),
        (desc, [["4", "3"], ["2", "1"]], [None, i(4)]),
        // 9 may have been given after the read began, and 8 to a record of the first page.
        (desc, [["4", "3"], ["9", "1"]], [None, i(4)]),
    ] {
        let bench = two_pages(cursor, None, pages[0], pages[1]);
        assert_eq!(cursors(&bench.pages(None).await.unwrap()), want, "{cursor}");
    }
}

#[actix_web::test]
async fn the_positions_header_of_the_first_page_counts() {
    let file = |order: &str| {
        listing(&format!(
            "records = \"items\"\npage = {{ kind = \"link_header\", header = \"Next-Page\" }}\n\
             cursor = {{ kind = \"integer\", param = \"since\", order = \"{order}\", header = \"ETag\" }}"
        ))
    };
    let answer = |request: &HttpRequest| {
        let second = request.url.ends_with("2");
        let body = if second {
            r#"{"items":[{"id":"c","at":7}]}"#
        } else {
            r#"{"items":[{"id":"a","at":3},{"id":"b","at":4}]}"#
        };
        let answer = HttpResponse::new(200, body).with_header("ETag", if second { "\"9\"" } else { "\"5\"" });
        Ok(if second { answer } else { answer.with_header("Next-Page", "https://api.example.com/v1/things?p=2") })
    };
    let i = |n: i64| Some(format!("i:{n}"));
    assert_eq!(cursors(&Bench::new(&file("asc"), answer).pages(None).await.unwrap()), [i(4), i(7)]);
    assert_eq!(cursors(&Bench::new(&file("unsorted"), answer).pages(None).await.unwrap()), [None, i(5)]);
}

#[actix_web::test]
async fn opaque_positions_come_from_the_last_page() {
    let file = listing(
        "records = \"items\"\npage = { kind = \"cursor\", next = \"next\", param = \"c\" }\n\
         cursor = { kind = \"opaque\", param = \"token\", next = \"sync\" }",
    );
    let bench = Bench::new(&file, |request| match param(request, "c") {
        None => ok(r#"{"items":[],"next":"x","sync":"early"}"#),
        Some(_) => ok(r#"{"items":[],"sync":"late"}"#),
    });
    assert_eq!(cursors(&bench.pages(None).await.unwrap()), [None, Some("o:late".into())]);
    bench.pages(Some("o:late")).await.unwrap();
    assert_eq!(bench.asked()[2..], ["/things?token=late", "/things?token=late&c=x"]);
}

#[actix_web::test]
async fn an_opaque_position_may_be_a_url() {
    let file = listing("records = \"items\"\ncursor = { kind = \"opaque\", next = \"delta\" }");
    let bench = Bench::new(&file, |_| ok(r#"{"items":[],"delta":"https://api.example.com/v1/things?delta=5"}"#));
    let pages = bench.pages(None).await.unwrap();
    bench.pages(pages[0].cursor.as_ref().map(Cursor::as_str)).await.unwrap();
    assert_eq!(bench.asked(), ["/things", "/things?delta=5"]);
    let foreign = bench.pages(Some("o:https://evil.example/")).await.unwrap_err();
    assert_eq!(foreign.next, NextStep::Fail);
}

#[actix_web::test]
async fn parameters_of_changes_are_sent_with_changes_only() {
    let file = listing(
        r#"cursor = { kind = "time", param = "filter", format = '{"_gte":"{cursor}"}', query = { deleted = true }, lookback = "0s" }"#,
    );
    let bench = Bench::new(&file, |_| ok("[]"));
    bench.pages(None).await.unwrap();
    bench.pages(Some(T)).await.unwrap();
    assert_eq!(bench.asked()[0], "/things");
    assert_eq!(param(&bench.sent()[1], "deleted").as_deref(), Some("true"));
    assert_eq!(param(&bench.sent()[1], "filter").as_deref(), Some(r#"{"_gte":"2026-11-23T10:00:00.000Z"}"#));
}

#[actix_web::test]
async fn times_in_a_form_and_zone_of_their_own_are_asked_for_as_they_are_written() {
    let cursor = r#"cursor = { kind = "time", param = "since", lookback = "0s", order = "asc" }"#;
    let spelled = "zone = \"Europe/Berlin\"\ntime_format = \"%d.%m.%Y %H:%M\"\nmodified =";
    let file = listing(cursor).replacen("modified =", spelled, 1);
    let bench = Bench::new(&file, |_| ok(r#"[{"id":"1","at":"23.11.2026 11:30"},{"id":"2","at":"23.11.2026 12:15"}]"#));
    let pages = bench.pages(Some(T)).await.unwrap();
    assert_eq!(param(&bench.sent()[0], "since").as_deref(), Some("23.11.2026 11:00"));
    assert_eq!(cursors(&pages), [Some("t:2026-11-23T11:15:00.000000Z".to_owned())]);
    let modified = pages[0].entries.iter().map(|entry| match entry {
        Entry::Live(record) => record.modified.map(|time| time.to_rfc3339()),
        Entry::Deleted { .. } | Entry::Bad(_) => None,
    });
    let modified: Vec<_> = modified.collect();
    assert_eq!(modified, [Some("2026-11-23T10:30:00+00:00".to_owned()), Some("2026-11-23T11:15:00+00:00".to_owned())]);
}

#[actix_web::test]
async fn dates_alone_and_times_with_a_space_are_read_and_asked_for() {
    for (at, object, op, cursor, want) in [
        ("2026-11-21", "time_format = \"%Y-%m-%d\"\n", ">=", "t:2026-11-21T00:00:00.000000Z", "2026-11-20"),
        // Whole days: what came later on that day has the same date.
        ("2026-11-21", "time_format = \"%Y-%m-%d\"\n", ">", "t:2026-11-21T00:00:00.000000Z", "2026-11-19"),
        ("2026-11-21", "", ">=", "t:2026-11-21T00:00:00.000000Z", "2026-11-20T23:55:00.000Z"),
        ("2026-11-21 09:10:11", "", ">=", "t:2026-11-21T09:10:11.000000Z", "2026-11-21T09:05:11.000Z"),
        (
            "2026-11-21 09:10:11",
            "time_format = \"%Y-%m-%d %H:%M:%S\"\nzone = \"America/New_York\"\n",
            ">=",
            "t:2026-11-21T14:10:11.000000Z",
            "2026-11-21 09:05:11",
        ),
    ] {
        let file = listing(&format!("cursor = {{ kind = \"time\", param = \"since\", op = \"{op}\" }}"));
        let file = file.replace("modified =", &format!("{object}modified ="));
        let bench = Bench::new(&file, move |_| {
            ok(&format!(r#"[{{"id":"1","at":"{at}"}}]"#))
                .map(|answer| answer.with_header("Date", "Mon, 23 Nov 2026 12:00:00 GMT"))
        });
        let pages = bench.pages(None).await.unwrap();
        assert_eq!(cursors(&pages), [Some(cursor.to_owned())], "{at} {object}");
        bench.pages(Some(cursor)).await.unwrap();
        assert_eq!(param(&bench.sent()[1], "since").as_deref(), Some(want), "{at} {object}");
    }
}
