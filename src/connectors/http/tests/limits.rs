//! Limits of classes, limits and costs that answers tell, lists of which there is one at a time.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

use super::*;

/// A file with these limits, a search of its own class, and lists of two objects.
fn file(limits: &str) -> String {
    format!(
        r#"
name = "test"
{limits}
[object.things]
id = "id"
modified = "at"
[object.things.list]
get = "/things"
records = "items"
page = {{ kind = "cursor", next = "next", param = "after" }}
class = "lists"
[object.things.read]
get = "/things/{{id}}"
[object.things.find]
get = "/search"
params = {{ email = "q" }}
page = {{ kind = "none" }}
class = "search"
cost = 5
"#
    )
}

const NONE: &str = "[limits.class.lists]\nconcurrency = 4\n[limits.class.search]\nconcurrency = 4\n";

async fn find(bench: &Bench) {
    bench.read(Read::Find(vec![(Path::key("email"), Value::string("a"))])).await.unwrap();
}

async fn read(bench: &Bench) {
    bench.read(Read::Ids(vec!["1".into()])).await.unwrap();
}

/// How long something takes, in milliseconds.
async fn takes<F: Future>(future: F) -> u64 {
    let started = Instant::now();
    future.await;
    u64::try_from(started.elapsed().as_millis()).unwrap()
}

fn answer(request: &HttpRequest) -> Answer {
    if request.url.contains("/things/") { ok(r#"{"id":"1"}"#) } else { ok(r#"{"items":[{"id":"1"}]}"#) }
}

#[tokio::test(start_paused = true)]
async fn a_class_has_limits_of_its_own() {
    let limits = "[limits.class.lists]\nconcurrency = 4\n[limits.class.search]\nrequests = 1\nper = \"10s\"\n";
    let bench = Bench::new(&file(limits), answer);
    assert_eq!(takes(find(&bench)).await, 0);
    let searching = takes(find(&bench));
    let reading = async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        takes(async {
            for _ in 0..50 {
                read(&bench).await
            }
        })
        .await
    };
    let (searching, reading) = tokio::join!(searching, reading);
    assert_eq!((searching, reading), (10_000, 0), "who waits for its class holds up nobody else");
}

#[tokio::test(start_paused = true)]
async fn many_of_a_class_wait_in_turn_and_none_is_forgotten() {
    let limits = "[limits]\nconcurrency = 3\n[limits.class.lists]\nconcurrency = 2\n\
                  [limits.class.search]\nconcurrency = 1\nrequests = 20\nper = \"1s\"\n";
    let calls = Calls::new(HttpConnectorFile::parse("t.toml", &file(limits)).unwrap().limits());
    let (most, now) = (Cell::new(0), Cell::new(0));
    let done = Cell::new(0);
    let one = |class: Option<&'static str>, lane| {
        let (most, now, done) = (&most, &now, &done);
        let calls = calls.in_lane(lane);
        async move {
            let charge = crate::model::budget::Charge { class: class.map(Into::into), points: 1 };
            let permit = calls.permit_for(&charge).await;
            if class == Some("search") {
                now.set(now.get() + 1);
                most.set(most.get().max(now.get()));
            }
            tokio::time::sleep(Duration::from_millis(7)).await;
            if class == Some("search") {
                now.set(now.get() - 1);
            }
            drop(permit);
            done.set(done.get() + 1);
        }
    };
    use crate::model::work::Lane;
    let mut all: Vec<std::pin::Pin<Box<dyn Future<Output = ()>>>> = Vec::new();
    for i in 0..60 {
        let class = [None, Some("search"), Some("lists")][i % 3];
        let lane = [Lane::Manual, Lane::Backfill][i % 2];
        if i % 7 == 0 {
            // One that gives up while it waits.
            let timeout = Duration::from_millis(3 + i as u64);
            let waiting = tokio::time::timeout(timeout, one(class, lane));
            all.push(Box::pin(async move { drop(waiting.await) }));
        } else {
            all.push(Box::pin(one(class, lane)));
        }
    }
    let all = futures_util::future::join_all(all);
    tokio::time::timeout(Duration::from_secs(60), all).await.expect("nobody waits for ever");
    assert_eq!(most.get(), 1, "searches at once");
    assert!(done.get() >= 51, "{}", done.get());
}

#[tokio::test(start_paused = true)]
async fn what_is_left_is_told_by_headers() {
    let told = "told = [{ header = \"X-Left\", reset = { header = \"X-Reset\", unit = \"epoch\" } }]";
    let bench = Bench::new(&file(&format!("[limits]\n{told}\n{NONE}")), |_| {
        // 20 s from the clock of these tests.
        let reset = clock().timestamp() + 20;
        Ok(HttpResponse::new(200, r#"{"id":"1"}"#)
            .with_header("X-Left", "1")
            .with_header("X-Reset", &reset.to_string()))
    });
    assert_eq!(takes(read(&bench)).await, 0);
    assert_eq!(takes(read(&bench)).await, 0, "one is left, and then another one");
    let nothing = Bench::new(&file(&format!("[limits]\n{told}\n{NONE}")), |_| {
        let reset = clock().timestamp() + 20;
        Ok(HttpResponse::new(200, r#"{"id":"1"}"#)
            .with_header("X-Left", "0")
            .with_header("X-Reset", &reset.to_string()))
    });
    assert_eq!(takes(read(&nothing)).await, 0);
    assert_eq!(takes(read(&nothing)).await, 20_000);
    assert_eq!(nothing.calls.paused_for(), None, "so short a time the budget keeps by itself");
    let hours = Bench::new(&file(&format!("[limits]\n{told}\n{NONE}")), |_| {
        let reset = clock().timestamp() + 3_600;
        Ok(HttpResponse::new(200, r#"{"id":"1"}"#)
            .with_header("X-Left", "0")
            .with_header("X-Reset", &reset.to_string()))
    });
    read(&hours).await;
    assert_eq!(hours.calls.paused_for(), Some(Duration::from_secs(3_600)), "a long one is a pause, which is shown");
}

#[tokio::test(start_paused = true)]
async fn absurd_headers_are_bounded_and_nonsense_says_nothing() {
    let told = "[limits]\ntold = [{ header = \"X-Left\", reset = { header = \"X-Reset\", unit = \"epoch\" }, holds = \"5s\" }]";
    for (left, reset, waits) in [
        ("0", "99999999999", 86_400_000),
        ("0", "soon", 5_000),
        ("0", "-1", 0),
        ("-7", "", 5_000),
        ("many", "99999999999", 0),
        ("99999999999999999999999", "99999999999", 0),
        ("NaN", "1", 0),
    ] {
        let bench = Bench::new(&file(&format!("{told}\n{NONE}")), move |_| {
            Ok(HttpResponse::new(200, r#"{"id":"1"}"#).with_header("X-Left", left).with_header("X-Reset", reset))
        });
        read(&bench).await;
        assert_eq!(takes(read(&bench)).await, waits, "{left:?} {reset:?}");
    }
}

/// `X-Shopify-Shop-Api-Call-Limit: 39/40`, and the points of a query in its answer.
#[tokio::test(start_paused = true)]
async fn what_is_left_is_told_as_a_share_and_in_points() {
    let told = "[limits]\ntold = [{ header = \"X-Share\", form = \"used/limit\", restores = 2, holds = \"20s\" }]";
    let bench = Bench::new(&file(&format!("{told}\n{NONE}")), |_| {
        Ok(HttpResponse::new(200, r#"{"id":"1"}"#).with_header("X-Share", "40/40"))
    });
    read(&bench).await;
    assert_eq!(takes(read(&bench)).await, 500, "two come back in a second");
    let told = "[limits]\npoints = 1000\nper = \"20s\"\ncost = { path = \"cost.actual\" }\n\
                told = [{ path = \"cost.left\", counts = \"points\", restores = \"cost.rate\" }]";
    let bench = Bench::new(&file(&format!("{told}\n{NONE}")), |_| {
        ok(r#"{"items":[{"id":"1"}],"cost":{"actual":12.0,"left":0,"rate":50}}"#)
    });
    tokio::time::sleep(Duration::from_secs(10)).await;
    find(&bench).await;
    assert_eq!(takes(find(&bench)).await, 100, "five points at fifty a second");
}

#[tokio::test(start_paused = true)]
async fn a_pause_lasts_as_long_as_the_lockout_and_of_a_class_apart_only() {
    let limits =
        "[limits]\nlockout = \"30s\"\n[limits.class.lists]\nconcurrency = 4\n[limits.class.search]\napart = true\n";
    let search_only = |request: &HttpRequest| {
        if request.url.contains("search") {
            Ok(HttpResponse::new(429, "{}").with_header("Retry-After", "1"))
        } else {
            answer(request)
        }
    };
    let bench = Bench::new(&file(limits), search_only);
    let error = bench.read(Read::Find(vec![(Path::key("email"), Value::string("a"))])).await.unwrap_err();
    assert_eq!(next_word(error.next), "wait 30000");
    assert_eq!(takes(read(&bench)).await, 0);
    assert_eq!(takes(bench.read(Read::Find(vec![(Path::key("email"), Value::string("a"))]))).await, 30_000);
    let bench = Bench::new(&file(&limits.replace("apart = true", "concurrency = 1")), search_only);
    drop(bench.read(Read::Find(vec![(Path::key("email"), Value::string("a"))])).await);
    assert_eq!(takes(read(&bench)).await, 30_000, "where it counts in the whole, the whole is paused");
}

#[tokio::test(start_paused = true)]
async fn one_list_at_a_time_until_it_ends_or_is_forgotten() {
    let limits = "[limits.class.search]\nconcurrency = 4\n[limits.class.lists]\nexclusive = \"60s\"\n";
    let bench = Bench::new(&file(limits), |request| match param(request, "after").as_deref() {
        None => ok(r#"{"items":[{"id":"1"}],"next":"a"}"#),
        Some("a") => ok(r#"{"items":[{"id":"2"}],"next":"b"}"#),
        Some(_) => ok(r#"{"items":[{"id":"3"}]}"#),
    });
    let all = |page: Option<PageToken>| bench.read(Read::All { page });
    let first = all(None).await.unwrap();
    assert_eq!(next_word(all(None).await.unwrap_err().next), "wait 60000");
    tokio::time::sleep(Duration::from_secs(20)).await;
    let second = all(first.next).await.unwrap();
    assert_eq!(next_word(all(None).await.unwrap_err().next), "wait 60000", "it has gone on");
    assert_eq!(all(second.next).await.unwrap().next, None);
    // It has ended; the next one is not gone on with.
    let abandoned = all(None).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let other = all(None).await.unwrap();
    assert_eq!(next_word(all(abandoned.next).await.unwrap_err().next), "wait 60000");
    assert_eq!(bench.calls.paused_for(), None, "other calls go on");
    // After a restart nobody holds anything, and the list that was under way goes on.
    let restarted = Bench::new(&file(limits), |_| ok(r#"{"items":[{"id":"9"}]}"#));
    assert_eq!(ids_of(&[restarted.read(Read::All { page: other.next }).await.unwrap()]), ["9"]);
}

#[test]
fn limits_that_cannot_be_meant_are_told() {
    for (limits, want) in [
        (NONE.replace("class.search", "class.serch"), "'search' is no class of [limits] (did you mean 'serch'?)"),
        (String::new(), "'search' is no class of [limits] (declare it"),
        (format!("[limits]\nrequests = 1\npoints = 2\nper = \"1s\"\n{NONE}"), "either 'requests' or 'points'"),
        (format!("[limits]\npoints = 2\n{NONE}"), "'points' and 'per' belong together"),
        (format!("[limits]\npoints = 4\nper = \"1s\"\n{NONE}"), "'cost' is more than the 4 points of a whole window"),
        (format!("[limits]\nrequests = 4\nper = \"1h\"\nresets = \"UTC\"\n{NONE}"), "'resets' is for days"),
        (format!("[limits]\nrequests = 4\nper = \"1d\"\nresets = \"UCT2\"\n{NONE}"), "'resets' is not the name"),
        (format!("[limits]\ntold = [{{ holds = \"1s\" }}]\n{NONE}"), "needs either header or path"),
        (format!("[limits]\ntold = [{{ header = \"X\", holds = \"9d\" }}]\n{NONE}"), "'holds' must be from 1ms to 1d"),
        (format!("[limits]\ntold = [{{ header = \"X\", restores = 0 }}]\n{NONE}"), "'restores' must be from 1 to"),
        (NONE.replacen("concurrency = 4", "exclusive = \"0s\"", 1), "'exclusive' must be from 1ms"),
        (NONE.replacen("concurrency = 4", "", 1), "the class 'lists' limits nothing"),
    ] {
        let lines = HttpConnectorFile::parse("crm.toml", &file(&limits)).map(|_| ()).unwrap_err().lines;
        assert!(lines.iter().any(|line| line.contains(want)), "{limits}: {lines:#?}");
    }
}

/// Two connections of one connector, and one of another reading of the same file.
#[tokio::test(start_paused = true)]
async fn all_connections_of_a_connector_have_limits_together() {
    let text = file(&format!("[limits.together]\nrequests = 20\nper = \"10s\"\n{NONE}"));
    let parse = || HttpConnectorFile::parse("t.toml", &text).unwrap();
    let first = parse();
    let again = parse();
    again.go_on_with(&first);
    let bench = |file: &HttpConnectorFile| {
        let mut bench = Bench::new(&text, answer);
        bench.connector.caller.together = file.together.clone();
        bench
    };
    let benches = [bench(&first), bench(&first), bench(&again)];
    let times = RefCell::new(Vec::new());
    let started = Instant::now();
    let reads = benches.iter().map(|bench| async {
        for _ in 0..20 {
            read(bench).await;
            times.borrow_mut().push(u64::try_from(started.elapsed().as_millis()).unwrap());
        }
    });
    futures_util::future::join_all(reads).await;
    let times = times.into_inner();
    assert_eq!(times.len(), 60);
    let in_window = |from: u64| times.iter().filter(|at| (from..from + 10_000).contains(*at)).count();
    let most = times.iter().map(|from| in_window(*from)).max().unwrap();
    assert!((15..=20).contains(&most), "{most} calls in ten seconds");
}
