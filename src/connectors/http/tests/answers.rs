//! What answers mean beyond their status: rules, limits told in many ways, results of batches
//! that name their records, whole batches, forms.

use super::*;
use crate::model::write::{Change, Create, Delete, Update};

const FILE: &str = r#"
name = "test"
limits = { wait = { header = "X-Reset", unit = "epoch" } }
[errors]
limited = [420]
[[errors.rules]]
class = "limited"
status = [403]
path = "code"
is = ["REQUEST_LIMIT_EXCEEDED", "QUOTA"]
pause = "30s"
[[errors.rules]]
class = "expired"
path = "code"
is = "SYNC_TOKEN"
[[errors.rules]]
class = "missing"
pattern = "(?i)no such thing"
[[errors.rules]]
class = "duplicate"
path = "code"
is = "DUPLICATE"
[[errors.rules]]
class = "invalid"
path = "userErrors"
field = "userErrors.field"
[[errors.rules]]
class = "retry"
header = "X-Try-Again"
[object.things]
id = "id"
modified = "at"
[object.things.list]
get = "/things"
cursor = { kind = "time", param = "since" }
[object.things.read]
get = "/things/{id}"
[object.things.create]
post = "/things"
duplicate = [409]
duplicate_id = "existing"
[object.things.update]
patch = "/things/{id}"
absent = "empty"
[object.things.delete]
delete = "/things/{id}"
"#;

const T: &str = "t:2026-11-23T10:00:00.000000Z";

fn create() -> Write {
    let record = value(r#"{"email":"a@x","age":7}"#);
    Write::Create(Create { record, idempotency_key: "key-1".into(), external_id: "ext-1".into() })
}

fn update(id: &str) -> Write {
    let changes = vec![
        Change { path: Path::key("email"), value: Some(Value::string("b@x")) },
        Change { path: "address.city".parse().unwrap(), value: None },
    ];
    Write::Update(Update { id: id.into(), expected: None, current: None, changes })
}

fn delete(id: &str) -> Write {
    Write::Delete(Delete { id: id.into(), expected: None })
}

#[actix_web::test]
async fn rules_say_what_an_answer_means() {
    for (code, body, read, changes, written) in [
        (403, r#"{"code":"QUOTA"}"#, "wait 30000", "wait 30000", "wait 30000"),
        (403, r#"{"code":"other"}"#, "reauthorise", "reauthorise", "reauthorise"),
        (200, r#"{"code":"DUPLICATE","existing":"9"}"#, "fail", "fail", "duplicate 9"),
        (409, r#"{"existing":"9"}"#, "fail", "fail", "duplicate 9"),
        (400, r#"{"code":"SYNC_TOKEN"}"#, "retry", "resync", "retry"),
        (410, "{}", "fail", "resync", "fail"),
        (200, r#"{"userErrors":{"field":"email","message":"taken"}}"#, "fail", "fail", "rejected email"),
        (200, r#"{"userErrors":{"field":["email"]}}"#, "fail", "fail", "rejected"),
        (200, r#"{"id":"1","userErrors":[]}"#, "retry", "retry", "written 1"),
        (420, "slow down", "wait 5000", "wait 5000", "wait 5000"),
        (500, "There is NO SUCH THING", "fail", "fail", "fail"),
    ] {
        // One for each call: a limit pauses the next.
        let bench = || Bench::new(FILE, move |_| status(code, body));
        let place = format!("{code} {body}");
        assert_eq!(next_word(bench().pages(None).await.unwrap_err().next), read, "{place}");
        assert_eq!(next_word(bench().pages(Some(T)).await.unwrap_err().next), changes, "{place}");
        assert_eq!(word(&bench().write(vec![create()]).await[0]), written, "{place}");
    }
    let bench = Bench::new(FILE, |_| status(500, "there is no such thing"));
    let words: Vec<String> = bench.write(vec![update("1"), delete("2")]).await.iter().map(word).collect();
    assert_eq!(words, ["missing", "deleted"]);
    let page = bench.read(Read::Ids(vec!["1".into()])).await.unwrap();
    assert_eq!(names(&page.entries), ["-1"], "a record that a rule calls missing is gone");
}

#[actix_web::test]
async fn headers_tell_of_limits() {
    let limited = |name: &'static str, text: &'static str, code: u16| {
        Bench::new(FILE, move |_| Ok(HttpResponse::new(code, "{}").with_header(name, text)))
    };
    for (name, text, code, want) in [
        ("X-Reset", "1795435210", 429, "wait 10000"),
        ("X-Reset", "nonsense", 429, "wait 5000"),
        ("Retry-After", "2", 429, "wait 2000"),
        ("X-Try-Again", "yes", 418, "retry"),
    ] {
        let error = limited(name, text, code).pages(None).await.unwrap_err();
        assert_eq!(next_word(error.next), want, "{name}: {text}");
    }
}

/// Many apps tell with every answer when their window ends.
#[actix_web::test]
async fn a_header_of_every_answer_makes_no_limit_of_it() {
    for (code, want) in [(409, "duplicate 9"), (503, "unknown"), (422, "rejected"), (429, "wait 10000")] {
        let bench = Bench::new(FILE, move |_| {
            Ok(HttpResponse::new(code, r#"{"existing":"9"}"#).with_header("X-Reset", "1795435210"))
        });
        assert_eq!(word(&bench.write(vec![create()]).await[0]), want, "{code}");
        let bench = Bench::new(&FILE.replace("duplicate = [409]", ""), move |_| {
            Ok(HttpResponse::new(409, "{}").with_header("X-Reset", "1795435210"))
        });
        assert_eq!(word(&bench.write(vec![create()]).await[0]), "rejected");
    }
}

#[actix_web::test]
async fn a_form_carries_a_write_and_empties_what_is_taken_away() {
    let file = FILE
        .replace("post = \"/things\"", "post = \"/things\"\ncontent_type = \"application/x-www-form-urlencoded\"")
        .replace("absent = \"empty\"", "absent = \"empty\"\ncontent_type = \"application/x-www-form-urlencoded\"");
    let bench = Bench::new(&file, |_| ok(r#"{"id":"1","email":"b@x","age":7,"address":{"city":null}}"#));
    bench.write(vec![create()]).await;
    bench.write(vec![update("1")]).await;
    let sent = bench.sent();
    assert_eq!(sent[0].body.as_deref(), Some("email=a%40x&age=7"));
    assert_eq!(sent[1].body.as_deref(), Some("email=b%40x&address%5Bcity%5D="));
    assert_eq!(sent[0].header("content-type"), Some("application/x-www-form-urlencoded"));
}

const BATCH: &str = r#"
[object.things.batch]
kind = "records"
[object.things.batch.create]
post = "/batch/create"
records = "inputs"
item = { trace = "{trace}", properties = "{record}" }
results = "results"
by = "trace"
errors = "errors"
errors_by = "context.trace"
[object.things.batch.update]
post = "/batch/update"
records = "inputs"
item = { id = "{id}", properties = "{record}" }
results = "results"
by = "id"
errors = "errors"
status = "status"
[object.things.batch.delete]
post = "/batch/archive"
records = "inputs"
whole = true
"#;

#[actix_web::test]
async fn results_are_known_by_what_they_name() {
    let bench = Bench::new(&format!("{FILE}{BATCH}"), |_| {
        status(
            207,
            r#"{"results":[{"id":"n2","trace":"2","email":"a@x","age":7},{"id":"n0","trace":"0"},{"id":"x"}],
                "errors":[{"message":"no","context":{"trace":["1"]}},{"context":{"trace":["9"]}}]}"#,
        )
    });
    let words: Vec<String> = bench.write((0..4).map(|_| create()).collect()).await.iter().map(word).collect();
    assert_eq!(words, ["written n0", "rejected", "written n2", "unknown"]);
    let body = value(bench.sent()[0].body.as_deref().unwrap());
    let traces = body.get(&Path::key("inputs")).unwrap();
    assert!(traces.to_json().starts_with(r#"[{"trace":"0","properties":{"email":"a@x","age":7}},{"trace":"1""#));

    let bench = Bench::new(&format!("{FILE}{BATCH}"), |_| {
        ok(
            r#"{"results":[{"id":"b"},{"id":"d"},{"id":"d"}],"errors":[{"id":"c","status":404},{"id":"a","status":500}]}"#,
        )
    });
    let writes = ["a", "b", "c", "d", "e"].map(update).to_vec();
    let words: Vec<String> = bench.write(writes).await.iter().map(word).collect();
    assert_eq!(words, ["unknown", "written b", "missing", "unknown", "unknown"]);
}

#[actix_web::test]
async fn a_batch_without_a_list_of_results_may_have_failures_only() {
    for (body, want) in [
        (r#"{"errors":[{"context":{"trace":"0"}},{"context":{"trace":"1"}}]}"#, ["rejected", "rejected"]),
        (r#"{"results":[]}"#, ["unknown", "unknown"]),
        ("{}", ["unknown", "unknown"]),
        ("<html>", ["unknown", "unknown"]),
    ] {
        let bench = Bench::new(&format!("{FILE}{BATCH}"), move |_| ok(body));
        let words: Vec<String> = bench.write(vec![create(), create()]).await.iter().map(word).collect();
        assert_eq!(words, want, "{body}");
    }
}

#[actix_web::test]
async fn a_whole_batch_is_believed_as_a_whole() {
    for (code, want) in [(204, "deleted"), (200, "deleted"), (500, "unknown"), (429, "wait 5000")] {
        let bench = Bench::new(&format!("{FILE}{BATCH}"), move |_| status(code, ""));
        let words: Vec<String> = bench.write(vec![delete("1"), delete("2")]).await.iter().map(word).collect();
        assert_eq!(words, [want, want], "{code}");
        assert_eq!(bench.asked(), ["/batch/archive"]);
    }
}

#[actix_web::test]
async fn requests_within_a_request_may_be_answered_in_any_order() {
    let batch = "[object.things.batch]\nkind = \"requests\"\npost = \"/$batch\"\nsize = 20\naddress = \"url\"\n\
                 relative = true\nby = \"id\"\n";
    let bench = Bench::new(&format!("{FILE}{batch}"), |_| {
        ok(r#"{"responses":[{"id":"1","status":404,"body":{}},{"id":"0","status":204}]}"#)
    });
    let words: Vec<String> = bench.write(vec![delete("a"), update("b")]).await.iter().map(word).collect();
    assert_eq!(words, ["deleted", "missing"]);
    let body = bench.sent()[0].body.clone().unwrap();
    assert!(body.starts_with(r#"{"requests":[{"id":"0","method":"DELETE","url":"/things/a""#), "{body}");
    let bench = Bench::new(&format!("{FILE}{batch}"), |_| ok(r#"{"responses":[{"id":"1","status":204}]}"#));
    let words: Vec<String> = bench.write(vec![delete("a"), delete("b")]).await.iter().map(word).collect();
    assert_eq!(words, ["unknown", "unknown"]);
}

#[test]
fn rules_that_cannot_be_meant_are_told() {
    for (rule, want) in [
        ("status = [403]", "'class' is missing in a rule"),
        ("class = \"limitd\"\nstatus = [403]", "did you mean 'limited'?"),
        ("class = \"retry\"", "this rule fits every answer"),
        ("class = \"invalid\"\nstatus = [200]", "a success cannot mean something else by its status alone"),
        ("class = \"retry\"\nis = \"x\"\nstatus = [500]", "'is' needs one of header and path"),
        ("class = \"retry\"\nstatus = [500]\npause = \"1s\"", "'pause' is for class = \"limited\""),
        ("class = \"retry\"\nstatus = [500]\nfield = \"x\"", "'field' is for class = \"invalid\""),
        ("class = \"retry\"\npattern = \"(\"", "'pattern' is no regular expression: unclosed group"),
        ("class = \"limited\"\nstatus = [403]\nwait = { unit = \"s\" }", "'wait' needs either header or path"),
        ("class = \"limited\"\nstatus = [403]\nwait = { header = \"X\", unit = \"sec\" }", "'sec' is no unit"),
        ("class = \"retry\"\nstatuss = [500]\nstatus = [1]", "unknown key 'statuss'"),
    ] {
        let file =
            format!("name = \"x\"\n[[errors.rules]]\n{rule}\n[object.x]\nid = \"id\"\nlist = {{ get = \"/x\" }}\n");
        let lines = HttpConnectorFile::parse("crm.toml", &file).map(|_| ()).unwrap_err().lines;
        assert!(lines.iter().any(|line| line.contains(want)), "{rule}: {lines:#?}");
        assert!(lines.iter().all(|line| line.starts_with("crm.toml:")), "{lines:#?}");
    }
    for (batch, want) in [
        ("errors = \"e\"", "with failures in a list of their own"),
        ("by = \"id\"", "a record that is created has no id yet"),
        ("errors_by = \"id\"", "'errors_by' needs 'errors'"),
        ("whole = true", "a create must tell the ids"),
    ] {
        let create = format!(
            "[object.things.batch]\nkind = \"records\"\n[object.things.batch.create]\npost = \"/b\"\n{batch}\n"
        );
        let lines = HttpConnectorFile::parse("crm.toml", &format!("{FILE}{create}")).map(|_| ()).unwrap_err().lines;
        assert!(lines.iter().any(|line| line.contains(want)), "{batch}: {lines:#?}");
    }
}
