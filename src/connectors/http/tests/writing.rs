//! Creates, updates and deletes: what is sent, and what the answers mean.

use super::*;
use crate::model::ids::Version;
use crate::model::record::Body;
use crate::model::write::{Change, Create, Delete, Stored, Update};

const FILE: &str = r#"
name = "test"
[object.things]
id = "id"
version = "rev"
modified = "at"
read_only = ["created"]
record = "data"
[object.things.list]
get = "/things"
[object.things.read]
get = "/things/{id}"
[object.things.find]
get = "/things"
params = { email = "email", ext = "ext" }
[object.things.create]
post = "/things"
body = "data"
[object.things.update]
put = "/things/{id}"
body = "data"
if_match = '"{version}"'
[object.things.delete]
delete = "/things/{id}"
if_match = '"{version}"'
"#;

/// The file with some text replaced, which must be there.
fn file(replace: &[(&str, &str)]) -> String {
    replace.iter().fold(FILE.to_owned(), |file, (from, to)| {
        assert!(file.contains(from), "{from}");
        file.replace(from, to)
    })
}

fn create() -> Write {
    Write::Create(Create {
        record: value(r#"{"id":"mine","rev":1,"created":"x","email":"a@x","meta":{"n":1.50}}"#),
        idempotency_key: "key-1".into(),
        external_id: "ext:1".into(),
    })
}

fn update() -> Write {
    Write::Update(Update {
        id: "7".into(),
        expected: Some(Version::from("12")),
        current: Some(Body::from_json(
            r#"{"id":7,"rev":12,"at":"2026-11-01T00:00:00Z","created":"x","email":"a@x","note":null,"kept":1.50,"gone":1}"#,
        )),
        changes: vec![
            Change { path: Path::key("email"), value: Some(Value::string("b@x")) },
            Change { path: "meta.n".parse().unwrap(), value: Some(value("2")) },
            Change { path: Path::key("gone"), value: None },
            Change { path: Path::key("created"), value: Some(Value::string("never written")) },
        ],
    })
}

fn delete() -> Write {
    Write::Delete(Delete { id: "7".into(), expected: Some(Version::from("12")) })
}

async fn one(file: &str, write: Write, answer: impl FnMut(&HttpRequest) -> Answer + 'static) -> (Outcome, HttpRequest) {
    let bench = Bench::new(file, answer);
    let mut outcomes = bench.write(vec![write]).await;
    assert_eq!(outcomes.len(), 1);
    let mut sent = bench.sent();
    assert_eq!(sent.len(), 1, "{outcomes:?}");
    (outcomes.remove(0), sent.remove(0))
}

#[actix_web::test]
async fn what_is_sent() {
    let (_, sent) = one(&file(&[]), create(), |_| status(500, "")).await;
    assert_eq!((sent.method, sent.url.as_str()), (Method::Post, "https://api.example.com/v1/things"));
    assert_eq!(sent.body.as_deref(), Some(r#"{"data":{"email":"a@x","meta":{"n":1.50}}}"#));
    assert_eq!(sent.header("content-type"), Some("application/json"));

    let (_, sent) = one(&file(&[]), update(), |_| status(500, "")).await;
    assert_eq!((sent.method, sent.url.as_str()), (Method::Put, "https://api.example.com/v1/things/7"));
    assert_eq!(sent.header("if-match"), Some("\"12\""));
    assert_eq!(sent.body.as_deref(), Some(r#"{"data":{"email":"b@x","note":null,"kept":1.50,"meta":{"n":2}}}"#));

    let (_, sent) = one(&file(&[]), delete(), |_| status(500, "")).await;
    assert_eq!((sent.method, sent.url.as_str()), (Method::Delete, "https://api.example.com/v1/things/7"));
    assert_eq!((sent.header("if-match"), sent.body.as_deref()), (Some("\"12\""), None));
}

#[actix_web::test]
async fn what_is_sent_as_declared() {
    let put = "put = \"/things/{id}\"\nbody = \"data\"";
    for (to, body) in [
        ("patch = \"/things/{id}\"", r#"{"email":"b@x","meta":{"n":2},"gone":null}"#),
        ("patch = \"/things/{id}\"\nabsent = \"omit\"", r#"{"email":"b@x","meta":{"n":2}}"#),
        ("patch = \"/things/{id}\"\nkeep_id = true", r#"{"email":"b@x","meta":{"n":2},"gone":null,"id":"7"}"#),
        (
            "put = \"/things/{id}\"\nabsent = \"null\"",
            r#"{"email":"b@x","note":null,"kept":1.50,"gone":null,"meta":{"n":2}}"#,
        ),
        ("put = \"/things/{id}\"\nkeep_id = true", r#"{"id":7,"email":"b@x","note":null,"kept":1.50,"meta":{"n":2}}"#),
        (
            "post = \"/things/{id}\"\nbody = { v = \"{version}\", who = \"{id}\", mail = \"{record.email}\", k = [1, \"x\"] }",
            r#"{"v":"12","who":"7","mail":"b@x","k":[1,"x"]}"#,
        ),
    ] {
        let (_, sent) = one(&file(&[(put, to)]), update(), |_| status(500, "")).await;
        assert_eq!(value(sent.body.as_deref().unwrap()).digest(), value(body).digest(), "{to}: {:?}", sent.body);
    }
    let number = file(&[
        ("id = \"id\"", "id = \"id\"\nid_type = \"number\""),
        (put, "patch = \"/things/{id}\"\nkeep_id = true"),
    ]);
    let (_, sent) = one(&number, update(), |_| status(500, "")).await;
    assert!(sent.body.unwrap().contains(r#""id":7"#));
    let typed = file(&[(put, "patch = \"/things/{id}\"\ncontent_type = \"application/merge-patch+json\"")]);
    let (_, sent) = one(&typed, update(), |_| status(500, "")).await;
    assert_eq!(sent.header("Content-Type"), Some("application/merge-patch+json"));
}

#[actix_web::test]
async fn what_makes_a_create_recoverable_is_sent() {
    let post = "post = \"/things\"";
    for (to, path, body, header) in [
        (
            "post = \"/things\"\nrecovery = { kind = \"idempotency_key\", header = \"Idempotency-Key\", life = \"24h\" }",
            "/things",
            r#"{"data":{"email":"a@x","meta":{"n":1.50}}}"#,
            Some("key-1"),
        ),
        (
            "post = \"/things\"\nrecovery = { kind = \"external_id\", field = \"ext\" }",
            "/things",
            r#"{"data":{"email":"a@x","meta":{"n":1.50},"ext":"ext:1"}}"#,
            None,
        ),
        (
            "post = \"/things\"\nrecovery = { kind = \"client_id\", field = \"id\" }",
            "/things",
            r#"{"data":{"email":"a@x","meta":{"n":1.50},"id":"ext:1"}}"#,
            None,
        ),
        (
            "put = \"/things/{external_id}\"\nrecovery = \"client_id\"",
            "/things/ext%3A1",
            r#"{"data":{"email":"a@x","meta":{"n":1.50}}}"#,
            None,
        ),
    ] {
        let (_, sent) = one(&file(&[(post, to)]), create(), |_| status(500, "")).await;
        assert!(sent.url.ends_with(path), "{}", sent.url);
        assert_eq!(sent.body.as_deref(), Some(body));
        assert_eq!(sent.header("Idempotency-Key"), header);
    }
}

#[actix_web::test]
async fn an_external_id_is_looked_up_where_it_is_kept() {
    let post = "post = \"/things\"";
    let by_field = file(&[(post, "post = \"/things\"\nrecovery = { kind = \"external_id\", field = \"ext\" }")]);
    let bench = Bench::new(&by_field, |_| ok(r#"[{"id":5}]"#));
    let page = bench.read(Read::ExternalId("ext:1".into())).await.unwrap();
    assert_eq!((names(&page.entries), bench.asked()), (vec!["5".to_owned()], vec!["/things?ext=ext%3A1".to_owned()]));
    let by_id = file(&[(post, "put = \"/things/{external_id}\"\nrecovery = \"client_id\"")]);
    let bench = Bench::new(&by_id, |_| status(404, ""));
    let page = bench.read(Read::ExternalId("ext:1".into())).await.unwrap();
    assert_eq!((names(&page.entries), bench.asked()), (vec!["-ext:1".to_owned()], vec!["/things/ext%3A1".to_owned()]));
    let bench = Bench::new(FILE, |_| ok("[]"));
    assert_eq!(bench.read(Read::ExternalId("x".into())).await.unwrap_err().next, NextStep::Fail);
}

#[actix_web::test]
async fn a_whole_record_is_never_made_up() {
    let bench = Bench::new(FILE, |_| ok("{}"));
    let Write::Update(update) = update() else { unreachable!() };
    for current in [None, Some(Body::from_json("{\"a\":1,\"a\":2}")), Some(Body::from_json("<html>"))] {
        let outcomes = bench.write(vec![Write::Update(Update { current, ..update.clone() })]).await;
        assert!(matches!(&outcomes[0], Outcome::NotSent(error) if error.next == NextStep::Quarantine), "{outcomes:?}");
    }
    assert!(bench.sent().is_empty());
}

#[actix_web::test]
async fn ids_that_cannot_be_addressed_are_held_back() {
    let bench = Bench::new(FILE, |_| ok("{}"));
    for id in [".", "..", "", "a\r\nb"] {
        let outcomes = bench.write(vec![Write::Delete(Delete { id: id.into(), expected: None })]).await;
        assert!(matches!(outcomes[0], Outcome::Rejected { .. }), "{id}: {outcomes:?}");
    }
    assert!(bench.sent().is_empty());
}

const STORED: &str = r#"{"data":{"id":7,"rev":13,"email":"b@x","meta":{"n":2}}}"#;

#[actix_web::test]
async fn what_answers_mean() {
    // status, Retry-After, body, and the outcomes of create, update and delete.
    for (code, retry_after, body, want) in [
        (201, None, STORED, ["written 7", "written 7", "deleted"]),
        (200, None, STORED, ["written 7", "written 7", "deleted"]),
        (204, None, "", ["unknown", "written 7", "deleted"]),
        (200, None, "{}", ["unknown", "written 7", "deleted"]),
        (200, None, r#"{"data":{"id":null}}"#, ["unknown", "written 7", "deleted"]),
        (200, None, "<html>log in</html>", ["unknown", "unknown", "unknown"]),
        (400, None, "bad email", ["rejected", "rejected", "rejected"]),
        (422, None, "bad email", ["rejected", "rejected", "rejected"]),
        (401, None, "", ["reauthorise", "reauthorise", "reauthorise"]),
        (403, None, "", ["reauthorise", "reauthorise", "reauthorise"]),
        (404, None, "", ["fail", "missing", "deleted"]),
        (410, None, "", ["fail", "missing", "deleted"]),
        (409, None, "", ["rejected", "rejected", "rejected"]),
        (409, Some("3"), "retry", ["wait 3000", "wait 3000", "wait 3000"]),
        (412, None, STORED, ["duplicate 7", "changed", "changed"]),
        (429, Some("2"), "", ["wait 2000", "wait 2000", "wait 2000"]),
        (429, None, "", ["wait 5000", "wait 5000", "wait 5000"]),
        (503, Some("2"), "", ["wait 2000", "wait 2000", "wait 2000"]),
        (503, None, "", ["unknown", "unknown", "unknown"]),
        (500, None, "", ["unknown", "unknown", "unknown"]),
        (504, None, "", ["unknown", "unknown", "unknown"]),
        (408, None, "", ["retry", "retry", "retry"]),
        (302, None, "", ["fail", "fail", "fail"]),
        (405, None, "", ["fail", "fail", "fail"]),
    ] {
        for (write, want) in [create(), update(), delete()].into_iter().zip(want) {
            let (outcome, _) = one(FILE, write.clone(), move |_| {
                let answer = HttpResponse::new(code, body);
                Ok(match retry_after {
                    Some(seconds) => answer.with_header("Retry-After", seconds),
                    None => answer,
                })
            })
            .await;
            assert_eq!(word(&outcome), want, "{code} {body} {write:?}");
        }
    }
}

#[actix_web::test]
async fn what_no_answer_means() {
    for (error, want) in [
        (TransportError::NotSent("no route".into()), "retry"),
        (TransportError::Refused("loopback".into()), "fail"),
        (TransportError::Unknown("timed out".into()), "unknown"),
    ] {
        for write in [create(), update(), delete()] {
            let answer = error.clone();
            let (outcome, _) = one(FILE, write, move |_| Err(answer.clone())).await;
            assert_eq!(word(&outcome), want);
        }
    }
}

/// How an app says that a value is taken, and that one is missing, with the same status.
const TAKEN: &str = r#"{"errors":[{"message":"x","extensions":{"code":"RECORD_NOT_UNIQUE"}}]}"#;
const EMPTY: &str = r#"{"errors":[{"message":"x","extensions":{"code":"FAILED_VALIDATION"}}]}"#;

#[actix_web::test]
async fn a_refused_write_of_what_may_be_gone_is_looked_at_again() {
    let batch = "[object.things.batch]\nkind = \"requests\"\npost = \"/batch\"\n";
    let missing =
        |section: &str| (format!("[object.things.{section}]"), format!("[object.things.{section}]\nmissing = [403]"));
    let sections = ["read", "update", "delete"].map(missing);
    let pairs: Vec<(&str, &str)> = sections.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect();
    let (singly, batched) = (file(&pairs), file(&pairs) + batch);
    let refused = r#"{"responses":[{"status":403,"body":{}},{"status":403,"body":{}}]}"#;
    for file in [&singly, &batched] {
        for (read, list, want) in [
            (status as fn(u16, &str) -> Answer, 200, ["missing", "deleted"]),
            // It is there: the account may not write.
            (|_, _| ok(STORED), 200, ["reauthorise", "reauthorise"]),
            (status, 403, ["reauthorise", "reauthorise"]),
            (|_, _| status(500, ""), 200, ["retry", "retry"]),
        ] {
            let bench = Bench::new(file, move |request| match (request.method, request.url.ends_with("/things")) {
                (Method::Get, true) => status(list, "[]"),
                (Method::Get, false) => read(403, ""),
                (Method::Post, _) => ok(refused),
                _ => status(403, ""),
            });
            let outcomes = bench.write(vec![update(), delete()]).await;
            assert_eq!(outcomes.iter().map(word).collect::<Vec<_>>(), want);
        }
    }
}

#[actix_web::test]
async fn declared_statuses_come_first() {
    let of = |section: &str, line: &str| {
        let heading = format!("[object.things.{section}]");
        file(&[(heading.as_str(), format!("{heading}\n{line}").as_str())])
    };
    let existing = r#"{"details":{"existing":{"id":"old"}}}"#;
    for (file, write, code, body, want) in [
        (of("create", "duplicate = [409]"), create(), 409, "", "duplicate ?"),
        (of("create", "duplicate = [200]"), create(), 200, STORED, "duplicate 7"),
        (
            of("create", "duplicate = [409]\nduplicate_id = \"details.existing.id\""),
            create(),
            409,
            existing,
            "duplicate old",
        ),
        (of("create", "duplicate = [400]\nduplicate_text = \"NOT_UNIQUE\""), create(), 400, TAKEN, "duplicate ?"),
        (of("create", "duplicate = [400]\nduplicate_text = \"NOT_UNIQUE\""), create(), 400, EMPTY, "rejected"),
        (of("create", "duplicate = [400]\nduplicate_text = \"NOT_UNIQUE\""), create(), 400, "NOT_UNIQUE", "rejected"),
        (of("update", "missing = [409]"), update(), 409, "", "missing"),
        (of("update", "changed = [409]"), update(), 409, "", "changed"),
        (of("delete", "missing = [409]"), delete(), 409, "", "deleted"),
        (of("delete", "changed = [409]"), delete(), 409, "", "changed"),
        (format!("{FILE}[errors]\nlimited = [403]"), update(), 403, "", "wait 5000"),
        (format!("{FILE}[errors]\ninvalid = [403]"), update(), 403, "", "rejected"),
        (format!("{FILE}[errors]\nduplicate = [409]"), create(), 409, "", "duplicate ?"),
        (format!("{FILE}[errors]\nchanged = [409]"), update(), 409, "", "changed"),
        (format!("{FILE}[errors]\nretry = [500]"), create(), 500, "", "retry"),
        (format!("{FILE}[limits]\npause = \"30s\""), create(), 429, "", "wait 30000"),
    ] {
        let (outcome, _) = one(&file, write, move |_| status(code, body)).await;
        assert_eq!(word(&outcome), want, "{file}");
    }
}

#[actix_web::test]
async fn a_put_does_not_bring_back_what_is_gone() {
    let makes = file(&[("[object.things.update]", "[object.things.update]\nmakes_missing = true")]);
    let Write::Update(known) = update() else { unreachable!() };
    let unknown = Write::Update(Update { expected: None, ..known });
    for (write, if_match, want) in [(unknown, "*", "missing"), (update(), "\"12\"", "changed")] {
        let (outcome, sent) = one(&makes, write, |_| status(412, "")).await;
        assert_eq!((sent.header("If-Match"), word(&outcome).as_str()), (Some(if_match), want));
    }
}

/// A proxy's own page, or an error in the form of a success: taken for a success, the
/// record would never be deleted, and an update that never happened never be repeated.
#[actix_web::test]
async fn a_success_that_is_none_is_not_believed() {
    for (body, answer, want) in [
        ("update", "<html>Please log in</html>", "unknown"),
        ("delete", "<html>Please log in</html>", "unknown"),
        ("update", r#"{"data":{"id":7,"#, "unknown"),
        ("delete", r#"{"ok":tr"#, "unknown"),
        ("create", r#"{"error":"no"}"#, "unknown"),
        ("update", r#"{"error":"no"}"#, "unknown"),
        ("delete", r#"{"error":{"code":17}}"#, "unknown"),
        ("update", r#"{"errors":["no"],"data":null}"#, "unknown"),
        ("delete", r#"{"error":null,"errors":[]}"#, "deleted"),
        ("update", r#"{"error":false,"ok":true}"#, "written 7"),
        ("update", r#"{"error":"a warning","data":{"id":7,"rev":13,"email":"b@x"}}"#, "written 7"),
        ("delete", r#"{"error":"a warning","data":{"id":7}}"#, "deleted"),
        ("delete", "", "deleted"),
        ("delete", "{}", "deleted"),
    ] {
        let write = match body {
            "create" => create(),
            "update" => update(),
            _ => delete(),
        };
        let (outcome, _) = one(FILE, write, move |_| ok(answer)).await;
        assert_eq!(word(&outcome), want, "{body} answered {answer}");
    }
}

#[actix_web::test]
async fn a_refusal_says_why() {
    let (outcome, _) = one(FILE, create(), |_| status(422, "{\"message\":\"email is taken\"}\u{7}")).await;
    let Outcome::Rejected { reason, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(reason, r#"POST /v1/things answered 422: {"message":"email is taken"}\u{7}"#);
}

#[actix_web::test]
async fn what_was_stored_is_taken_from_the_answer_if_it_is_all_there() {
    let stored = |outcome: Outcome| match outcome {
        Outcome::Written(stored) => stored,
        other => panic!("{other:?}"),
    };
    let (outcome, _) = one(FILE, update(), |_| {
        ok(r#"{"data":{"id":7,"rev":13,"at":"2026-11-02T00:00:00Z","email":"b@x","kept":1.50,"meta":{"n":2}}}"#)
    })
    .await;
    let Stored { id, version, modified, body } = stored(outcome);
    assert_eq!((id.as_str(), version.unwrap().as_str()), ("7", "13"));
    assert!(modified.is_some());
    assert!(body.unwrap().as_str().starts_with("{\"id\":7"));
    for (body, whole) in [
        (STORED, true),
        (r#"{"data":{"id":7,"rev":13}}"#, false),
        (r#"{"data":{"id":7,"rev":13,"email":"b@x","meta":{}}}"#, false),
    ] {
        let (outcome, _) = one(FILE, create(), move |_| ok(body)).await;
        assert_eq!(stored(outcome).body.is_some(), whole, "{body}");
    }
    let (outcome, _) = one(FILE, update(), |_| ok(r#"{"data":{"id":8,"email":"b@x","kept":1,"meta":{"n":2}}}"#)).await;
    assert_eq!(stored(outcome), Stored { id: "7".into(), version: None, modified: None, body: None });
    let with_header = file(&[("version = \"rev\"", "version_header = \"ETag\"")]);
    let (outcome, _) =
        one(&with_header, update(), |_| Ok(HttpResponse::new(204, "").with_header("ETag", "\"x\""))).await;
    assert_eq!(stored(outcome).version.unwrap().as_str(), "\"x\"");
    let ids_only = file(&[(
        "body = \"data\"\n[object.things.update]",
        "body = \"data\"\nanswer = \"id\"\n[object.things.update]",
    )]);
    let (outcome, _) = one(&ids_only, create(), |_| ok(STORED)).await;
    assert_eq!(stored(outcome).body, None);
}

#[actix_web::test]
async fn single_writes_keep_their_order() {
    let bench = Bench::new(FILE, |request| match request.method {
        Method::Post => status(422, ""),
        Method::Put => ok(STORED),
        _ => status(204, ""),
    });
    let outcomes = bench.write(vec![delete(), create(), update(), create()]).await;
    let words: Vec<String> = outcomes.iter().map(word).collect();
    assert_eq!(words, ["deleted", "rejected", "written 7", "rejected"]);
    assert_eq!(bench.calls.made(), 4);
}

#[actix_web::test]
async fn an_undeclared_write_is_a_failure_not_a_panic() {
    let bench = Bench::new(&listing(""), |_| ok("{}"));
    for outcome in bench.write(vec![create(), update(), delete()]).await {
        assert_eq!(word(&outcome), "fail");
    }
    let outcomes = bench.connector.write(&bench.calls, &"others".into(), vec![create()]).await;
    assert!(matches!(&outcomes[0], Outcome::NotSent(error) if error.message.contains("it has things")), "{outcomes:?}");
    assert!(bench.sent().is_empty());
}

const REQUESTS: &str = "[object.things.batch]\nkind = \"requests\"\npost = \"/batch\"\nsize = 3\n";

#[actix_web::test]
async fn a_batch_of_requests() {
    let bench = Bench::new(&format!("{FILE}{REQUESTS}"), |_| {
        ok(r#"{"responses":[
            {"status":201,"path":"/v1/things","headers":{"ETag":"\"5\""},"body":{"data":{"id":"new","rev":5,"email":"a@x","meta":{"n":1.5}}}},
            {"status":412,"body":{"code":412}},
            {"status":404,"body":{"code":404}}]}"#)
    });
    let outcomes = bench.write(vec![create(), update(), delete()]).await;
    assert_eq!(outcomes.iter().map(word).collect::<Vec<_>>(), ["written new", "changed", "deleted"]);
    let sent = bench.sent();
    assert_eq!(sent.len(), 1);
    assert_eq!(
        sent[0].body.as_deref().unwrap(),
        concat!(
            r#"{"requests":["#,
            r#"{"method":"POST","path":"/v1/things","headers":{"Content-Type":"application/json"},"body":{"data":{"email":"a@x","meta":{"n":1.50}}}},"#,
            r#"{"method":"PUT","path":"/v1/things/7","headers":{"Content-Type":"application/json","If-Match":"\"12\""},"body":{"data":{"email":"b@x","note":null,"kept":1.50,"meta":{"n":2}}}},"#,
            r#"{"method":"DELETE","path":"/v1/things/7","headers":{"If-Match":"\"12\""}}"#,
            r#"]}"#
        )
    );
}

#[actix_web::test]
async fn batches_are_cut_to_size_and_keep_their_order() {
    let bench = Bench::new(&format!("{FILE}{REQUESTS}"), |request| {
        let n = request.body.as_deref().unwrap().matches("\"method\"").count();
        ok(&format!(r#"{{"responses":[{}]}}"#, vec![r#"{"status":204}"#; n].join(",")))
    });
    let mut writes: Vec<Write> = (0..7).map(|_| delete()).collect();
    writes[3] = Write::Delete(Delete { id: "..".into(), expected: None });
    let words: Vec<String> = bench.write(writes).await.iter().map(word).collect();
    assert_eq!(words, ["deleted", "deleted", "deleted", "rejected", "deleted", "deleted", "deleted"]);
    assert_eq!(bench.asked(), ["/batch", "/batch"]);
    assert_eq!(bench.calls.made(), 2);
}

#[actix_web::test]
async fn a_batch_without_results_is_unknown_and_one_refused_was_not_sent() {
    for (code, body, want) in [
        (200, "{}", "unknown"),
        (200, "<html>", "unknown"),
        (200, r#"{"responses":[{"status":201}]}"#, "unknown"),
        (200, r#"{"responses":[{},{}]}"#, "unknown"),
        (200, r#"{"responses":[{"status":"?"},{"status":99999}]}"#, "unknown"),
        (500, "", "unknown"),
        (429, "", "wait 5000"),
        (401, "", "reauthorise"),
        (404, "", "fail"),
        (302, "", "fail"),
    ] {
        let bench = Bench::new(&format!("{FILE}{REQUESTS}"), move |_| status(code, body));
        let outcomes = bench.write(vec![create(), delete()]).await;
        assert_eq!(outcomes.iter().map(word).collect::<Vec<_>>(), [want, want], "{code} {body}");
        assert_eq!(bench.asked(), ["/batch"], "{code}");
    }
}

#[actix_web::test]
async fn one_item_of_a_batch_may_be_limited() {
    let bench = Bench::new(&format!("{FILE}{REQUESTS}"), |_| {
        ok(r#"{"responses":[{"status":204},{"status":429,"headers":{"Retry-After":"3"}}]}"#)
    });
    let outcomes = bench.write(vec![delete(), delete()]).await;
    assert_eq!(outcomes.iter().map(word).collect::<Vec<_>>(), ["deleted", "wait 3000"]);
    assert!(bench.calls.paused_for().is_some());
}

#[actix_web::test]
async fn a_batch_refused_for_one_record_is_halved_and_each_refusal_looked_at() {
    let bench = Bench::new(&format!("{FILE}{REQUESTS}"), |request| match request.method {
        Method::Post if request.url.ends_with("/batch") => status(400, "some record is bad"),
        Method::Post => status(422, "this one"),
        _ => status(204, ""),
    });
    let outcomes = bench.write(vec![delete(), create()]).await;
    assert_eq!(outcomes.iter().map(word).collect::<Vec<_>>(), ["deleted", "rejected"]);
    assert_eq!(bench.asked(), ["/batch", "/batch", "/things/7", "/batch", "/things"]);
}

const RECORDS: &str = r#"
[object.things.batch]
kind = "records"
size = 2
[object.things.batch.create]
post = "/things/batch/create"
records = "inputs"
results = "results"
status = "status"
error = "error"
record = "record"
[object.things.batch.delete]
post = "/things/batch/delete"
item = { id = "{id}", rev = "{version}" }
"#;

#[actix_web::test]
async fn batches_of_records_by_operation() {
    let plain = file(&[("record = \"data\"\n", "")]);
    let bench = Bench::new(&format!("{plain}{RECORDS}"), |request| match request.url.rsplit('/').next().unwrap() {
        "create" => status(
            207,
            r#"{"results":[{"status":201,"record":{"id":"n1","email":"a@x","meta":{"n":1.5}}},{"status":422,"error":{"message":"no"}}]}"#,
        ),
        "delete" => status(204, ""),
        "7" => ok(r#"{"id":7}"#),
        other => panic!("{other}"),
    });
    let outcomes = bench.write(vec![create(), delete(), update(), create()]).await;
    assert_eq!(outcomes.iter().map(word).collect::<Vec<_>>(), ["written n1", "deleted", "written 7", "rejected"]);
    assert_eq!(bench.asked(), ["/things/batch/create", "/things/batch/delete", "/things/7"]);
    let sent = bench.sent();
    assert_eq!(sent[0].body.as_deref().unwrap().matches(r#"{"email":"a@x""#).count(), 2);
    assert_eq!(sent[1].body.as_deref(), Some(r#"[{"id":"7","rev":"12"}]"#));
}

#[actix_web::test]
async fn what_a_batch_would_lose_is_sent_singly() {
    let keyed = file(&[
        ("record = \"data\"\n", ""),
        (
            "post = \"/things\"",
            "post = \"/things\"\nrecovery = { kind = \"idempotency_key\", header = \"Key\", life = \"1h\" }",
        ),
    ]);
    // The batch has no place for the key, and none for the version of an update.
    let batch = RECORDS.replace("rev = \"{version}\"", "x = 1");
    let bench = Bench::new(&format!("{keyed}{batch}"), |_| status(500, ""));
    bench.write(vec![create(), delete(), create()]).await;
    let mut asked = bench.asked();
    asked.sort();
    assert_eq!(asked, ["/things", "/things", "/things/7"]);
}
