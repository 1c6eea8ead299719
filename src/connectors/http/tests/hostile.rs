//! Answers that are wrong, broken or malicious. None may pass for an empty list, and
//! none may take us to another place.

use super::*;

fn items() -> String {
    listing("records = \"items\"\npage = { kind = \"next_url\", next = \"next\" }")
}

async fn list_error(answer: impl FnMut(&HttpRequest) -> Answer + 'static) -> ConnectorError {
    Bench::new(&items(), answer).pages(None).await.unwrap_err()
}

#[actix_web::test]
async fn a_page_that_is_no_page_is_an_error_that_names_the_place() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_items = format!(r#"{{"items":{}}}"#, r#"{"a":"#.repeat(100_000));
    for (body, want) in [
        ("<html><body>Please log in</body></html>", "answered 200, but not JSON"),
        ("", "answered 200, but not JSON"),
        (r#"{"error":"unavailable"}"#, "there is nothing at 'items': {\"error\":\"unavailable\"}"),
        (r#"{"items":{"id":1}}"#, "'items' is an object, not a list of records"),
        (r#"{"items":null}"#, "'items' is null, not a list of records"),
        (r#"{"items":[{"id":1},{"id""#, "but not JSON (EOF"),
        (r#"{"items":[],"items":[{"id":1}]}"#, "the key 'items' stands twice"),
        (r#"[{"id":1}]"#, "there is nothing at 'items'"),
        ("null", "there is nothing at 'items'"),
        (&deep, "there is nothing at 'items'"),
        (&deep_items, "not JSON"),
    ] {
        let owned = body.to_owned();
        let error = list_error(move |_| ok(&owned)).await;
        assert_eq!(error.next, NextStep::Retry, "{want}");
        assert!(error.message.starts_with("GET /v1/things answered 200"), "{}", error.message);
        assert!(error.message.contains(want), "{}", error.message);
        assert!(error.message.len() < 700, "{}", error.message.len());
    }
}

/// Held back as a bad record it would wait for a person, though nothing is wrong with it.
#[actix_web::test]
async fn an_error_in_place_of_a_record_is_no_bad_record() {
    for (body, is_error) in [
        (r#"{"error":"busy"}"#, true),
        (r#"{"errors":[{"code":1}]}"#, true),
        (r#"{"error":null}"#, false),
        (r#"{"name":"no id"}"#, false),
        (r#"{"id":"7","error":"one of its fields"}"#, false),
    ] {
        let bench = Bench::new(&items(), move |_| ok(body));
        let read = bench.read(Read::Ids(vec!["7".into()])).await;
        assert_eq!(read.as_ref().is_err_and(|error| error.next == NextStep::Retry), is_error, "{body}: {read:?}");
    }
}

#[actix_web::test]
async fn statuses_of_reading() {
    use NextStep::{Fail, Reauthorise, Retry, Wait};
    for (code, header, want) in [
        (500, None, Retry),
        (502, None, Retry),
        (503, None, Retry),
        (408, None, Retry),
        (401, None, Reauthorise),
        (403, None, Reauthorise),
        (404, None, Fail),
        (400, None, Fail),
        (302, Some(("Location", "https://evil.example/x?token=1")), Fail),
        (429, Some(("Retry-After", "7")), Wait { millis: 7_000 }),
        (429, None, Wait { millis: 5_000 }),
        (429, Some(("Retry-After", "999999999")), Wait { millis: 86_400_000 }),
        (429, Some(("Retry-After", "-1")), Wait { millis: 0 }),
        (429, Some(("Retry-After", "Mon, 23 Nov 2026 12:00:09 GMT")), Wait { millis: 9_000 }),
        (503, Some(("Retry-After", "3")), Wait { millis: 3_000 }),
        (409, Some(("Retry-After", "3")), Wait { millis: 3_000 }),
    ] {
        let bench = Bench::new(&items(), move |_| {
            let answer = HttpResponse::new(code, "no\u{1b}[31m\nforged");
            Ok(match header {
                Some((name, text)) => answer.with_header(name, text),
                None => answer,
            })
        });
        let error = bench.pages(None).await.unwrap_err();
        assert_eq!(error.next, want, "{code} {header:?}");
        assert!(!error.message.contains(['\u{1b}', '\n']) && !error.message.contains("token"), "{}", error.message);
        let pauses = matches!(want, Wait { millis } if millis > 0);
        assert_eq!(bench.calls.paused_for().is_some(), pauses, "{code}: the whole budget pauses");
    }
}

#[actix_web::test]
async fn no_answer_is_tried_again_unless_it_was_refused() {
    for (error, want) in [
        (TransportError::NotSent("refused".into()), NextStep::Retry),
        (TransportError::Unknown("timed out".into()), NextStep::Retry),
        (TransportError::Refused("a loopback address".into()), NextStep::Fail),
    ] {
        let answer = error.clone();
        let error = list_error(move |_| Err(answer.clone())).await;
        assert_eq!(error.next, want);
        assert!(error.message.starts_with("GET /v1/things: "), "{}", error.message);
    }
}

#[actix_web::test]
async fn a_next_link_must_stay_on_the_origin() {
    for (next, follows) in [
        ("https://api.example.com/v2/things?page=2", true),
        ("/other?page=2", true),
        ("https://API.example.com:443/v1/things?page=2", true),
        ("https://evil.example/v1/things?page=2", false),
        ("https://api.example.com:8443/v1/things?page=2", false),
        ("http://api.example.com/v1/things?page=2", false),
        ("//evil.example/v1/things", false),
        ("https://api.example.com@evil.example/", false),
        ("https://api.example.com.evil.example/", false),
        ("file:///etc/passwd", false),
        ("https://[", false),
    ] {
        let mut first = true;
        let bench = Bench::new(&items(), move |_| {
            let body = if first { format!(r#"{{"items":[],"next":"{next}"}}"#) } else { r#"{"items":[]}"#.to_owned() };
            first = false;
            ok(&body)
        });
        let pages = bench.pages(None).await;
        assert_eq!(pages.is_ok(), follows, "{next}");
        if let Err(error) = pages {
            assert_eq!(error.next, NextStep::Fail);
            assert_eq!(bench.asked().len(), 1, "{next}");
        }
    }
    let error = list_error(|_| ok(r#"{"items":[],"next":"https://evil.example/x?secret=1"}"#)).await;
    assert!(error.message.contains("https://evil.example") && error.message.contains("https://api.example.com"));
    assert!(!error.message.contains("secret"), "{}", error.message);
}

#[actix_web::test]
async fn a_token_from_elsewhere_leads_nowhere() {
    let bench = Bench::new(&items(), |_| ok(r#"{"items":[]}"#));
    for token in ["", "null", "{}", r#"{"at":{"Url":"https://evil.example/"}}"#] {
        let read = Read::All { page: Some(PageToken::new(token)) };
        assert_eq!(bench.read(read).await.unwrap_err().next, NextStep::Fail, "{token}");
    }
    let page =
        Bench::new(&items(), |_| ok(r#"{"items":[],"next":"/v1/things?2"}"#)).read(Read::All { page: None }).await;
    let token = page.unwrap().next.unwrap().as_str().replace("api.example.com", "evil.example");
    let error = bench.read(Read::All { page: Some(PageToken::new(token)) }).await.unwrap_err();
    assert!(error.message.contains("evil.example"), "{}", error.message);
    assert_eq!(bench.asked().len(), 0);
}

#[actix_web::test]
async fn pages_that_never_end_are_an_error() {
    let error = list_error(|_| ok(r#"{"items":[{"id":1}],"next":"/v1/things?again"}"#)).await;
    assert_eq!(error.next, NextStep::Fail);
    assert!(error.message.contains("the pages repeat"), "{}", error.message);
    let mut n = 0;
    let error = list_error(move |_| {
        n += 1;
        ok(&format!(r#"{{"items":[],"next":"/v1/things?page={n}"}}"#))
    })
    .await;
    assert!(error.message.contains("more than 1000 empty pages"), "{}", error.message);
    let file = listing("page = { kind = \"page\", end = \"empty\", max_pages = 20 }");
    let mut n = 0;
    let bench = Bench::new(&file, move |_| {
        n += 1;
        ok(&format!(r#"[{{"id":{n}}}]"#))
    });
    assert!(bench.pages(None).await.unwrap_err().message.contains("no end after 20 pages"));
    assert_eq!(bench.asked().len(), 20);
}

#[actix_web::test]
async fn a_page_of_too_many_records_is_refused() {
    let page = |n: usize| format!(r#"{{"items":[{}]}}"#, vec![r#"{"id":1}"#; n].join(","));
    let (most, more) = (page(10_000), page(10_001));
    assert!(Bench::new(&items(), move |_| ok(&most)).pages(None).await.is_ok());
    let error = list_error(move |_| ok(&more)).await;
    assert!(error.message.contains("a page of 10001 records"), "{}", error.message);
}

#[actix_web::test]
async fn one_bad_record_harms_only_itself() {
    let long = "x".repeat(1_025);
    let bad = [
        (r#"{"name":"no id"}"#.to_owned(), "it has no id at 'id'"),
        (r#"{"id":null}"#.to_owned(), "its id is null"),
        (r#"{"id":{}}"#.to_owned(), "its id is an object"),
        (r#"{"id":[1]}"#.to_owned(), "its id is a list"),
        (r#"{"id":true}"#.to_owned(), "its id is a boolean"),
        (r#"{"id":""}"#.to_owned(), "its id is empty"),
        (r#"{"id":"a\r\nX-Evil: 1"}"#.to_owned(), "holds a control character"),
        (r#"{"id":"a\u0000"}"#.to_owned(), "holds a control character"),
        (r#"{"id":"\ud800"}"#.to_owned(), "its id is a text"),
        (format!(r#"{{"id":"{long}"}}"#), "longer than 1024 bytes"),
        (r#"{"id":1,"id":2}"#.to_owned(), "the key 'id' stands twice"),
        (r#"{"id":1,"a":1,"a":2}"#.to_owned(), "the key 'a' stands twice"),
        ("5".to_owned(), "not an object but a number"),
        ("null".to_owned(), "not an object but null"),
        (r#""x""#.to_owned(), "not an object but a text"),
        (r#"[{"id":1}]"#.to_owned(), "not an object but a list"),
    ];
    let list: Vec<&str> = bad.iter().map(|(text, _)| text.as_str()).collect();
    let body = format!(r#"{{"items":[{{"id":"first"}},{},{{"id":"last"}}]}}"#, list.join(","));
    let page = Bench::new(&items(), move |_| ok(&body)).read(Read::All { page: None }).await.unwrap();
    assert_eq!(page.entries.len(), bad.len() + 2);
    assert_eq!(live(&page.entries[0]).id.as_str(), "first");
    assert_eq!(live(page.entries.last().unwrap()).id.as_str(), "last");
    for (i, (text, want)) in bad.iter().enumerate() {
        let Entry::Bad(found) = &page.entries[i + 1] else { panic!("{text}: {:?}", page.entries[i + 1]) };
        assert!(found.reason.contains(want), "{text}: {}", found.reason);
        assert!(found.place.starts_with(&format!("items[{}]", i + 1)), "{}", found.place);
    }
}

#[actix_web::test]
async fn ids_and_values_keep_their_exact_text() {
    let records = [
        ("9223372036854775809", "9223372036854775809"),
        ("12345678901234567890123456789", "12345678901234567890123456789"),
        ("1e400", "1e400"),
        ("-0", "-0"),
        (r#""007""#, "007"),
        (r#""../../x""#, "../../x"),
        (r#""\u202ertl é""#, "\u{202e}rtl é"),
    ];
    let list: Vec<String> =
        records.iter().map(|(json, _)| format!(r#"{{"id":{json},"big":9007199254740993.10}}"#)).collect();
    let body = format!(r#"{{"items":[{}]}}"#, list.join(","));
    let page = Bench::new(&items(), move |_| ok(&body)).read(Read::All { page: None }).await.unwrap();
    for ((_, id), (entry, text)) in records.iter().zip(page.entries.iter().zip(&list)) {
        assert_eq!(live(entry).id.as_str(), *id);
        assert_eq!(live(entry).body.as_str(), text);
    }
}

#[actix_web::test]
async fn bytes_that_are_no_text_harm_their_record_only() {
    let mut body = br#"{"items":[{"id":1,"name":"fine"},{"id":2,"name":""#.to_vec();
    body.extend_from_slice(&[0xff, 0xfe]);
    body.extend_from_slice(br#""},{"id":3}]}"#);
    let bench = Bench::new(&items(), move |_| Ok(HttpResponse::new(200, body.clone())));
    let page = bench.read(Read::All { page: None }).await.unwrap();
    assert_eq!(names(&page.entries), ["1", "!items[1]", "3"]);
}

#[actix_web::test]
async fn a_deep_record_is_kept_for_the_mapping_to_refuse() {
    let deep = format!("{}1{}", r#"{"a":"#.repeat(100_000), "}".repeat(100_000));
    let body = format!(r#"{{"items":[{{"id":1,"deep":{deep}}},{{"id":2}}]}}"#);
    let page = Bench::new(&items(), move |_| ok(&body)).read(Read::All { page: None }).await.unwrap();
    assert_eq!(names(&page.entries), ["1", "2"]);
    assert!(live(&page.entries[0]).body.decode().is_err());
}

#[actix_web::test]
async fn an_id_stays_one_segment_of_the_path() {
    for (id, want) in [
        ("a b", Some("/things/a%20b")),
        ("../../x", Some("/things/..%2F..%2Fx")),
        ("?admin=1", Some("/things/%3Fadmin%3D1")),
        ("%2f", Some("/things/%252f")),
        ("a#b", Some("/things/a%23b")),
        ("a\\b", Some("/things/a%5Cb")),
        ("...", Some("/things/...")),
        ("é", Some("/things/%C3%A9")),
        (";x=1", Some("/things/%3Bx%3D1")),
        (".", None),
        ("..", None),
        ("", None),
        ("a\nb", None),
    ] {
        let bench = Bench::new(&listing(""), |_| status(404, ""));
        let page = bench.read(Read::Ids(vec![id.into()])).await.unwrap();
        match want {
            Some(path) => assert_eq!(bench.asked(), [path]),
            None => {
                assert!(matches!(&page.entries[..], [Entry::Bad(_)]), "{id}: {page:?}");
                assert!(bench.asked().is_empty(), "{id}");
            }
        }
    }
}

#[actix_web::test]
async fn secrets_show_nowhere() {
    let file = format!("auth = {{ kind = \"query\", name = \"api_key\" }}\n{}", items());
    let mut settings = HttpSettings::new(BASE);
    settings.credentials = Credentials::Token("s3cret-token".into());
    let bench = Bench::with_settings(&file, settings, |request| {
        assert_eq!(request.secret_query.len(), 1);
        match param(request, "page") {
            None => ok(r#"{"items":[],"next":"/v1/things?api%5Fkey=s3cret-token&page=2&x=1"}"#),
            Some(_) => status(500, "invalid token s3cret-token"),
        }
    });
    let first = bench.read(Read::All { page: None }).await.unwrap();
    let token = first.next.unwrap();
    assert!(!token.as_str().contains("s3cret"), "{token:?}");
    let error = bench.read(Read::All { page: Some(token) }).await.unwrap_err();
    assert!(error.message.contains("invalid token ***"), "{}", error.message);
    assert_eq!(bench.asked()[1], "/things?page=2&x=1");
    assert!(!format!("{:?}", bench.sent()).contains("s3cret"));
}
