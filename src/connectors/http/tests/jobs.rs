//! Jobs: batches that are carried out later, lists that come as files; batches that are refused
//! as a whole; lists that are begun anew.

use std::cell::Cell;
use std::collections::BTreeSet;

use super::*;
use crate::model::write::{Change, Create, Update};

const WRITES: &str = r#"
name = "test"
[object.things]
id = "id"
[object.things.list]
get = "/things"
[object.things.create]
post = "/things"
[object.things.update]
patch = "/things/{id}"
[object.things.batch]
kind = "records"
size = 100
"#;

const JOB: &str = r#"
[object.things.batch.create]
post = "/things/create_many"
records = "things"
results = "job.results"
place = "index"
error = "error"
job = { url = "job.url", status = "job.status", done = ["completed"], failed = ["failed", "killed"], every = "2s", within = "1m" }
[object.things.batch.update]
post = "/things/update_many"
records = "things"
results = "job.results"
by = "id"
error = "error"
job = { get = "/jobs/{id}", id = "job.id", status = "job.status", done = ["completed"], failed = ["failed"] }
"#;

fn create(name: &str) -> Write {
    let record = value(&format!(r#"{{"name":"{name}"}}"#));
    Write::Create(Create { record, idempotency_key: "k".into(), external_id: name.into() })
}

fn update(id: &str) -> Write {
    let changes = vec![Change { path: Path::key("name"), value: Some(Value::string("n")) }];
    Write::Update(Update { id: id.into(), expected: None, current: None, changes })
}

fn words(outcomes: &[Outcome]) -> Vec<String> {
    outcomes.iter().map(word).collect()
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_followed_until_its_job_has_ended() {
    let asked = Cell::new(0);
    let bench = Bench::new(&format!("{WRITES}{JOB}"), move |request| {
        if request.url.ends_with("create_many") {
            return ok(r#"{"job":{"status":"queued","url":"https://api.example.com/v1/jobs/7.json"}}"#);
        }
        asked.set(asked.get() + 1);
        match asked.get() {
            1 => Ok(HttpResponse::new(429, "{}").with_header("Retry-After", "3")),
            2 => status(503, "later"),
            3 => Err(TransportError::Unknown("broken off".into())),
            4 => ok(r#"{"job":{"status":"working","results":null}}"#),
            _ => ok(
                r#"{"job":{"status":"completed","results":[{"index":1,"error":"NameTaken"},{"index":0,"id":"71"},{"index":3,"id":"73"}]}}"#,
            ),
        }
    });
    let started = tokio::time::Instant::now();
    let outcomes = bench.write(["a", "b", "c", "d"].map(create).to_vec()).await;
    assert_eq!(words(&outcomes), ["written 71", "rejected", "unknown", "written 73"]);
    assert_eq!(bench.asked()[1..], vec!["/jobs/7.json"; 5][..]);
    assert!(started.elapsed().as_secs() >= 2 + 3 + 4, "{:?}", started.elapsed());
    assert!(bench.sent()[1..].iter().all(|request| request.method == Method::Get));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_known_of_a_job_is_unknown() {
    for (answer, want) in [
        (status(404, "{}"), ["unknown", "unknown"]),
        (status(401, "{}"), ["unknown", "unknown"]),
        (ok("<html>"), ["unknown", "unknown"]),
        (ok(r#"{"job":{"status":"working"}}"#), ["unknown", "unknown"]),
        (ok(r#"{"job":{"status":"failed"}}"#), ["unknown", "unknown"]),
        // What has failed half way says what it has done.
        (ok(r#"{"job":{"status":"failed","results":[{"id":"1"}]}}"#), ["written 1", "unknown"]),
        (
            ok(r#"{"job":{"status":"completed","results":[{"id":"2"},{"id":"2"},{"id":"1","error":"no"}]}}"#),
            ["rejected", "unknown"],
        ),
        (Err(TransportError::Unknown("broken off".into())), ["unknown", "unknown"]),
    ] {
        let place = format!("{answer:?}");
        let bench = Bench::new(&format!("{WRITES}{JOB}"), move |request| {
            if request.url.ends_with("update_many") {
                ok(r#"{"job":{"id":9,"status":"queued"}}"#)
            } else {
                answer.clone()
            }
        });
        assert_eq!(words(&bench.write(vec![update("1"), update("2")]).await), want, "{place}");
        let asked = bench.asked();
        assert!((2..60).contains(&asked.len()) && asked[1..].iter().all(|url| url == "/jobs/9"), "{place}: {asked:?}");
    }
    // A job that is nowhere, or elsewhere.
    for begun in [r#"{"job":{"status":"queued"}}"#, r#"{"job":{"status":"queued","url":"https://evil.example.com/1"}}"#]
    {
        let bench = Bench::new(&format!("{WRITES}{JOB}"), move |_| ok(begun));
        assert_eq!(words(&bench.write(vec![create("a"), create("b")]).await), ["unknown", "unknown"]);
        assert_eq!(bench.asked().len(), 1, "{begun}");
    }
    // One that was refused before it began.
    let bench = Bench::new(&format!("{WRITES}{JOB}"), |_| status(429, "{}"));
    assert_eq!(words(&bench.write(vec![create("a"), create("b")]).await), ["wait 5000", "wait 5000"]);
}

const LISTED: &str = "[object.things.batch.create]\npost = \"/many\"\nrecords = \"things\"\nresults = \"things\"\n";

/// A side that refuses a whole batch where a bad record stands in it.
fn picky(bad: &'static [&'static str]) -> impl Fn(&HttpRequest) -> Answer {
    move |request| {
        let body = request.body.clone().unwrap_or_default();
        if bad.iter().any(|bad| body.contains(&format!("\"{bad}\""))) {
            return status(409, "one of them is there already");
        }
        if !request.url.ends_with("/many") {
            return ok(&body.replacen('{', "{\"id\":\"single\",", 1));
        }
        let things = value(&body).get(&Path::key("things")).cloned().unwrap();
        let Value::Array(things) = things else { panic!("a list") };
        let things: Vec<String> =
            things.iter().map(|thing| thing.to_json().replacen('{', "{\"id\":\"x\",", 1)).collect();
        ok(&format!("{{\"things\":[{}]}}", things.join(",")))
    }
}

#[actix_web::test]
async fn a_batch_that_is_refused_as_a_whole_is_halved_until_the_bad_record_is_found() {
    let names: Vec<String> = (0..100).map(|i| format!("n{i}")).collect();
    let writes = || names.iter().map(|name| create(name)).collect::<Vec<Write>>();
    for bad in [&["n0"][..], &["n57"], &["n99"], &["n3", "n4"], &["n10", "n90", "n91"], &[]] {
        let bench = Bench::new(&format!("{WRITES}{LISTED}"), picky(bad));
        let outcomes = words(&bench.write(writes()).await);
        let rejected: BTreeSet<&str> = names
            .iter()
            .zip(&outcomes)
            .filter(|(_, word)| *word == "rejected")
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(rejected, bad.iter().copied().collect(), "{bad:?}");
        assert_eq!(outcomes.iter().filter(|word| *word == "written x").count(), 100 - bad.len(), "{bad:?}");
        let most = 1 + bad.len() * 15;
        assert!(bench.asked().len() <= most, "{bad:?}: {} requests", bench.asked().len());
    }
    // Each record is bad, and none has an endpoint of its own.
    let without = WRITES.replace("post = \"/things\"", "post = \"/nowhere\"");
    let bench = Bench::new(&format!("{without}{LISTED}"), |request| {
        if request.url.ends_with("/many") { status(422, "bad") } else { status(405, "") }
    });
    let outcomes = words(&bench.write(writes()[..7].to_vec()).await);
    assert_eq!(outcomes, vec!["rejected"; 7]);
}

#[actix_web::test]
async fn requests_within_a_request_are_halved_as_well() {
    let batch = "[object.things.batch]\nkind = \"requests\"\npost = \"/batch\"\n";
    let file = WRITES.replace("[object.things.batch]\nkind = \"records\"\nsize = 100\n", batch);
    let bench = Bench::new(&file, |request| {
        let body = request.body.clone().unwrap_or_default();
        let answered = r#"{"status":204}"#;
        match (request.url.ends_with("/batch"), body.contains("/things/3\"")) {
            (true, true) => status(400, "one of them"),
            (true, false) => {
                let number = body.matches("\"method\"").count();
                ok(&format!("{{\"responses\":[{}]}}", vec![answered; number].join(",")))
            }
            (false, _) => status(422, r#"{"error":"no"}"#),
        }
    });
    let writes = (0..8).map(|i| update(&i.to_string())).collect();
    let outcomes = words(&bench.write(writes).await);
    let want: Vec<String> =
        (0..8).map(|i| if i == 3 { "rejected".to_owned() } else { format!("written {i}") }).collect();
    assert_eq!(outcomes, want);
    assert_eq!(bench.asked().iter().filter(|url| *url == "/batch").count(), 7);
}

/// A list that is made as a file.
fn export(job: &str) -> String {
    format!(
        r#"
name = "test"
[object.things]
id = "id"
modified = "at"
[object.things.list]
post = "/exports"
body = {{ since = "{{cursor}}" }}
cursor = {{ kind = "time", order = "asc", lookback = "0s" }}
job = {{ status = "status", done = ["done"], failed = ["failed"], every = "1s", within = "10m", {job} }}
[object.things.read]
get = "/things/{{id}}"
"#
    )
}

const BY_ID: &str = "get = \"/exports/{id}\", id = \"id\", download = \"/exports/{id}/file\"";
const BY_URL: &str = "url = \"self\", file = \"file\", origin = \"https://files.example.net\"";

fn line(i: usize) -> String {
    format!("{{\"id\":\"{i}\",\"at\":\"2026-11-23T10:00:{:02}Z\",\"text\":\"{}\"}}\n", i / 1_000, "ü".repeat(i % 50))
}

/// The part of a file that was asked for.
fn ranged(file: &str, request: &HttpRequest) -> Answer {
    let Some(part) = request.part else { return ok(file) };
    let from = usize::try_from(part.from).unwrap();
    if from >= file.len() {
        let range = format!("bytes */{}", file.len());
        return Ok(HttpResponse::new(416, "").with_header("Content-Range", &range));
    }
    let to = file.len().min(from + usize::try_from(part.most).unwrap());
    let range = format!("bytes {from}-{}/{}", to - 1, file.len());
    Ok(HttpResponse::new(206, file.as_bytes()[from..to].to_vec()).with_header("Content-Range", &range))
}

#[tokio::test(start_paused = true)]
async fn a_list_is_made_as_a_file_and_read_piece_by_piece() {
    let file: String = (0..12_000).map(line).collect();
    let whole = file.clone();
    let asked = Cell::new(0);
    let mut bench = Bench::new(&export(BY_ID), move |request| match request.url.strip_prefix(BASE).unwrap() {
        "/exports" => ok(r#"{"id":"e7","status":"created"}"#),
        "/exports/e7" => {
            asked.set(asked.get() + 1);
            ok(if asked.get() < 4 { r#"{"id":"e7","status":"running"}"# } else { r#"{"id":"e7","status":"done"}"# })
        }
        "/exports/e7/file" => ranged(&whole, request),
        other => panic!("{other}"),
    });
    let (mut pages, mut page, mut ids) = (0, None, Vec::new());
    let mut cursor = None;
    loop {
        let one = bench.read(Read::All { page }).await.unwrap();
        ids.extend(names(&one.entries));
        assert!(one.entries.len() <= 5_000);
        // The job is asked in its time, without anybody being kept waiting.
        assert_eq!(one.again_after_ms.is_some(), pages < 4, "{pages}: {one:?}");
        cursor = one.cursor.or(cursor);
        pages += 1;
        page = one.next;
        if page.is_none() {
            break;
        }
        if pages % 2 == 0 {
            // A restart: only the token is left.
            let token = page.take();
            let fresh = Bench::new(&export(BY_ID), |_| panic!("not used"));
            bench = Bench {
                fake: Rc::clone(&bench.fake),
                connector: HttpConnector { caller: bench.connector.caller, ..fresh.connector },
                calls: fresh.calls,
            };
            page = token;
        }
    }
    assert_eq!(ids, (0..12_000).map(|i| i.to_string()).collect::<Vec<_>>());
    assert_eq!(pages, 1 + 4 + 3, "begun, asked, three pieces");
    assert_eq!(bench.asked().iter().filter(|url| *url == "/exports").count(), 1, "one job only");
    assert!(cursor.unwrap().as_str().contains("10:00:11"));
    assert!(bench.sent().iter().all(|request| request.url.ends_with("file") == request.part.is_some()));
}

#[tokio::test(start_paused = true)]
async fn a_file_elsewhere_is_asked_for_without_credentials_and_nowhere_else() {
    let settings = || {
        let mut settings = HttpSettings::new(BASE);
        settings.credentials = Credentials::Token("s3cret-token".into());
        settings
    };
    let bench = |url: &'static str| {
        Bench::with_settings(&export(BY_URL), settings(), move |request| {
            if request.url.contains("files.example.net") {
                return ok("{\"id\":\"1\"}\n{\"id\":\"2\"}");
            }
            ok(&format!("{{\"self\":\"{BASE}/e/1\",\"status\":\"done\",\"file\":\"{url}\"}}"))
        })
    };
    let found = bench("https://files.example.net/x?sig=1");
    assert_eq!(ids_of(&found.pages(None).await.unwrap()), ["1", "2"]);
    let sent = found.sent();
    assert_eq!(sent.last().unwrap().url, "https://files.example.net/x?sig=1");
    assert!(sent.last().unwrap().secret_headers.is_empty() && !sent[0].secret_headers.is_empty());
    for elsewhere in [
        "https://evil.example.net/x",
        "http://files.example.net/x",
        "https://files.example.net:444/x",
        "file:///etc/passwd",
    ] {
        let found = bench(elsewhere);
        assert_eq!(next_word(found.pages(None).await.unwrap_err().next), "fail", "{elsewhere}");
        assert_eq!(found.asked().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_export_that_is_forgotten_or_fails_is_begun_anew_and_not_for_ever() {
    // The first job is forgotten after its first piece, the second one fails, the third is good.
    let file: String = (0..6_000).map(line).collect();
    let (job, pieces) = (Cell::new(0), Cell::new(0));
    let bench = Bench::new(&export(BY_ID), move |request| match request.url.strip_prefix(BASE).unwrap() {
        "/exports" => {
            job.set(job.get() + 1);
            ok(&format!("{{\"id\":\"e{}\",\"status\":\"created\"}}", job.get()))
        }
        "/exports/e1" if pieces.get() == 0 => ok(r#"{"status":"done"}"#),
        "/exports/e1" => status(404, "{}"),
        "/exports/e2" => ok(r#"{"status":"failed"}"#),
        "/exports/e3" => ok(r#"{"status":"done"}"#),
        "/exports/e1/file" if pieces.get() > 0 => status(410, "gone"),
        _ => {
            pieces.set(pieces.get() + 1);
            ranged(&file, request)
        }
    });
    let ids = ids_of(&bench.pages(None).await.unwrap());
    assert_eq!(ids.len(), 5_000 + 6_000, "what came of the first stays");
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 6_000);
    let begun = |bench: &Bench| bench.asked().iter().filter(|url| *url == "/exports").count();
    assert_eq!(begun(&bench), 3);
    for (state, want) in [("failed", "in vain"), ("running", "took longer than 600 s")] {
        let mut bench = Bench::new(&export(BY_ID), move |_| ok(&format!("{{\"id\":\"e\",\"status\":\"{state}\"}}")));
        let started = tokio::time::Instant::now();
        bench.connector.caller.now = Arc::new(move || clock() + chrono::Duration::from_std(started.elapsed()).unwrap());
        let error = bench.pages(None).await.unwrap_err();
        assert!(error.message.contains(want) && next_word(error.next) == "fail", "{error}");
        assert_eq!(begun(&bench), 4, "{state}");
    }
}

#[tokio::test(start_paused = true)]
async fn files_that_are_none_are_errors_and_never_empty_lists() {
    let bench = |job: &str, answer: Answer| {
        Bench::new(&export(job), move |request| {
            if request.url.ends_with("file") { answer.clone() } else { ok(r#"{"id":"e","status":"done"}"#) }
        })
    };
    let json = format!("{BY_ID}, format = \"json\"");
    let range = |range: &str, body: &str| Ok(HttpResponse::new(206, body).with_header("Content-Range", range));
    for (job, answer, want) in [
        (BY_ID, ok("<html>sorry</html>"), "retry"),
        (BY_ID, range("bytes 9-20/40", "{\"id\":\"1\"}\n"), "retry"),
        (BY_ID, range("bytes 0-10/5", "{\"id\":\"1\"}\n"), "retry"),
        (BY_ID, range("bytes 0-0/40", ""), "retry"),
        (BY_ID, range("bytes 0-10/40", "{\"id\":\"1\"} no end"), "fail"),
        (BY_ID, Ok(HttpResponse::new(200, "x").with_header("Content-Encoding", "gzip")), "fail"),
        (BY_ID, status(500, ""), "retry"),
        (BY_ID, status(429, ""), "wait 5000"),
        (BY_ID, status(302, ""), "fail"),
        (&json, ok("{\"id\":\"1\"}"), "retry"),
        (&json, ok("[{\"id\":\"1\""), "retry"),
    ] {
        let place = format!("{answer:?}");
        assert_eq!(next_word(bench(job, answer).pages(None).await.unwrap_err().next), want, "{place}");
    }
    let found = bench(BY_ID, ok("{\"id\":\"1\"}\nnonsense\n{\"no\":1}\n{\"id\":\"2\"}"));
    let ids = ids_of(&found.pages(None).await.unwrap());
    assert_eq!(ids[0], "1");
    assert_eq!(ids.iter().filter(|id| id.starts_with('!')).count(), 2, "broken lines are told: {ids:?}");
    assert_eq!(ids_of(&bench(&json, ok("[{\"id\":\"1\"},{\"id\":\"2\"}]")).pages(None).await.unwrap()), ["1", "2"]);
    assert!(ids_of(&bench(BY_ID, ok("")).pages(None).await.unwrap()).is_empty(), "an empty file is an empty list");
}

#[tokio::test(start_paused = true)]
async fn changes_are_asked_for_by_a_job_as_well() {
    let bench = Bench::new(&export(BY_ID), |request| {
        if request.url.ends_with("file") {
            ok("{\"id\":\"1\",\"at\":\"2026-11-23T11:00:00Z\"}")
        } else {
            ok(r#"{"id":"e","status":"done"}"#)
        }
    });
    let pages = bench.pages(Some("t:2026-11-23T10:00:00.000000Z")).await.unwrap();
    assert_eq!(ids_of(&pages), ["1"]);
    assert_eq!(bench.sent()[0].body.as_deref(), Some(r#"{"since":"2026-11-23T10:00:00.000Z"}"#));
    assert!(pages.last().unwrap().cursor.as_ref().unwrap().as_str().contains("11:00:00"));
    let resync = Bench::new(&export(BY_ID), |_| status(410, "{}"));
    assert_eq!(next_word(resync.pages(Some("t:2026-11-23T10:00:00.000000Z")).await.unwrap_err().next), "resync");
}

const RESET: &str = "[[errors.rules]]\nclass = \"reset_page\"\npath = \"error.type\"\nis = \"ITERATOR_GONE\"\n";

/// A list whose continuation is forgotten once: what came stays, and all of it comes.
#[actix_web::test]
async fn pages_are_begun_anew_where_their_continuation_is_forgotten() {
    let gone = r#"{"error":{"type":"ITERATOR_GONE"}}"#;
    for (order, since_again) in [("unsorted", false), ("asc", true)] {
        let list = format!(
            "records = \"items\"\npage = {{ kind = \"cursor\", next = \"next\", param = \"after\" }}\n\
             cursor = {{ kind = \"time\", param = \"since\", lookback = \"0s\", order = \"{order}\" }}"
        );
        let file = format!("{}{RESET}", listing(&list));
        let forgotten = Cell::new(false);
        let bench = Bench::new(&file, move |request| match param(request, "after").as_deref() {
            None => ok(r#"{"items":[{"id":"1","at":"2026-11-23T10:00:01Z"}],"next":"a"}"#),
            Some("a") if !forgotten.get() => {
                forgotten.set(true);
                status(422, gone)
            }
            Some("a") => ok(r#"{"items":[{"id":"2","at":"2026-11-23T10:00:02Z"}],"next":null}"#),
            Some(other) => panic!("{other}"),
        });
        let pages = bench.pages(None).await.unwrap();
        assert_eq!(ids_of(&pages), ["1", "1", "2"], "{order}");
        let asked = bench.asked();
        assert_eq!(asked[2].contains("since="), since_again, "{order}: {asked:?}");
    }
    let list = "records = \"items\"\npage = { kind = \"cursor\", next = \"next\", param = \"after\" }";
    let never = Bench::new(&format!("{}{RESET}", listing(list)), move |request| match param(request, "after") {
        None => ok(r#"{"items":[{"id":"1"}],"next":"a"}"#),
        Some(_) => status(422, gone),
    });
    let error = never.pages(None).await.unwrap_err();
    assert!(error.message.contains("begun anew 10 times"), "{error}");
    assert_eq!(next_word(error.next), "fail");
    // Where nothing was continued there is nothing to begin anew.
    let first = Bench::new(&format!("{}{RESET}", listing(list)), move |_| status(422, gone));
    assert_eq!(next_word(first.pages(None).await.unwrap_err().next), "retry");
}

/// One record that cannot be read must not hold up the others.
#[actix_web::test]
async fn a_record_that_the_side_cannot_show_is_held_back() {
    let rule = "[[errors.rules]]\nclass = \"invalid\"\npath = \"code\"\nis = \"CORRUPT\"\n";
    let many = "[object.things.read_many]\nget = \"/many\"\nparam = \"ids\"\nrecords = \"items\"\n";
    let bench = Bench::new(&format!("{}{rule}{many}", listing("")), |request| {
        if request.url.ends_with("/things/1") { ok(r#"{"id":"1"}"#) } else { status(400, r#"{"code":"CORRUPT"}"#) }
    });
    let page = bench.read(Read::Ids(vec!["1".into(), "2".into()])).await.unwrap();
    assert_eq!(names(&page.entries)[0], "1");
    assert!(matches!(&page.entries[1], Entry::Bad(bad) if bad.id.as_ref().is_some_and(|id| id.as_str() == "2")));
    // By its status alone the request may be what is wrong.
    let plain = Bench::new(&listing(""), |_| status(400, "{}"));
    assert_eq!(next_word(plain.read(Read::Ids(vec!["2".into()])).await.unwrap_err().next), "fail");
}

#[test]
fn jobs_that_cannot_be_meant_are_told() {
    for (job, want) in [
        ("", "'job' needs one of 'url', 'get' and 'post'"),
        ("url = \"a\", get = \"/x/{id}\", id = \"b\", file = \"f\"", "'job' needs one of 'url', 'get' and 'post'"),
        ("post = \"/x\", id = \"b\", file = \"f\"", "'post' of [job] names no job"),
        ("get = \"/x/{id}\", id = \"b\", body = { a = 1 }, file = \"f\"", "'body' needs 'post'"),
        ("get = \"/x/{id}\", file = \"f\"", "'id' is missing"),
        ("get = \"/x\", id = \"b\", file = \"f\"", "names no job"),
        ("url = \"a\"", "'job' needs either 'file' or 'download'"),
        ("url = \"a\", download = \"/x/{id}\"", "'download' needs 'get'"),
        ("url = \"a\", file = \"f\", id = \"b\"", "'id' needs 'get' or 'post'"),
        ("url = \"a\", file = \"f\", origin = \"https://x.example/y\"", "'origin' must be https and a host"),
        ("url = \"a\", file = \"f\", format = \"xml\"", "'xml' is no format"),
    ] {
        let lines =
            HttpConnectorFile::parse("crm.toml", &export(job).replace(", }", " }")).map(|_| ()).unwrap_err().lines;
        assert!(lines.iter().any(|line| line.contains(want)), "{job}: {lines:#?}");
    }
    let file = format!("{WRITES}{}", JOB.replace("within = \"1m\"", "within = \"2h\""));
    let lines = HttpConnectorFile::parse("crm.toml", &file).map(|_| ()).unwrap_err().lines;
    assert!(lines.iter().any(|line| line.contains("'within' must be at most 1h")), "{lines:#?}");
}

/// As Salesforce answers a query of its Bulk API: rows with a locator of the next ones.
#[tokio::test(start_paused = true)]
async fn rows_come_in_several_answers() {
    let job = format!(
        "{BY_ID}, format = \"csv\", query = {{ maxRecords = 2 }}, next = {{ header = \"Sforce-Locator\", param = \"locator\" }}"
    );
    let answers = |request: &HttpRequest| {
        if !request.url.contains("/file") {
            return ok(r#"{"id":"e","status":"done"}"#);
        }
        assert_eq!(param(request, "maxRecords").as_deref(), Some("2"));
        let (rows, next) = match param(request, "locator").as_deref() {
            None => ("1,2026-11-23T10:00:01Z\n2,2026-11-23T10:00:02Z\n", "MTAw"),
            Some("MTAw") => ("3,2026-11-23T10:00:03Z\n", "null"),
            Some(other) => panic!("{other}"),
        };
        Ok(HttpResponse::new(200, format!("\"id\",\"at\"\n{rows}")).with_header("Sforce-Locator", next))
    };
    let bench = Bench::new(&export(&job), answers);
    let pages = bench.pages(None).await.unwrap();
    assert_eq!(ids_of(&pages), ["1", "2", "3"]);
    assert!(pages.last().unwrap().cursor.as_ref().unwrap().as_str().contains("10:00:03"));
    let circle = Bench::new(&export(&job), move |request| {
        let answer =
            answers(&HttpRequest { url: request.url.replace("locator=x", "locator=MTAw"), ..request.clone() })?;
        Ok(HttpResponse { headers: vec![("Sforce-Locator".into(), "x".into())], ..answer })
    });
    assert!(circle.pages(None).await.unwrap_err().message.contains("the answers repeat"));
    for body in ["<html>", "id\n1,2", "", "name\n1\n"] {
        let broken = Bench::new(&export(&job), move |request| {
            if request.url.contains("/file") { ok(body) } else { ok(r#"{"id":"e","status":"done"}"#) }
        });
        assert_eq!(next_word(broken.pages(None).await.unwrap_err().next), "retry", "{body:?}");
    }
}

/// As Shopify makes a bulk operation: begun and asked for by GraphQL, its file elsewhere.
#[tokio::test(start_paused = true)]
async fn a_job_may_be_asked_for_by_a_query() {
    let job = "post = \"/graphql.json\", body = { query = \"query { node(id: \\\"{id}\\\") { status url } }\" }, \
               id = \"data.run.bulkOperation.id\", file = \"data.node.url\", origin = \"https://files.example.net\"";
    let file = export(job)
        .replace("status = \"status\"", "status = \"data.node.status\"")
        .replace("\"/exports\"", "\"/graphql.json\"");
    let bench = Bench::new(&file, |request| {
        if request.url.contains("files.example.net") {
            return ok("{\"id\":\"gid://1\"}\n{\"id\":\"gid://2\"}\n");
        }
        assert!(request.url.ends_with("/graphql.json") && request.method == Method::Post);
        let body = request.body.clone().unwrap();
        if body.contains("node(id: \\\"gid://shopify/BulkOperation/7\\\")") {
            ok(r#"{"data":{"node":{"status":"done","url":"https://files.example.net/r.jsonl?sig=a"}}}"#)
        } else {
            ok(r#"{"data":{"run":{"bulkOperation":{"id":"gid://shopify/BulkOperation/7","status":"CREATED"}}}}"#)
        }
    });
    assert_eq!(ids_of(&bench.pages(None).await.unwrap()), ["gid://1", "gid://2"]);
    assert_eq!(bench.asked().len(), 3);
}
