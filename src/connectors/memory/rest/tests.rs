//! The HTTP connector over an app behind any sound API keeps the contract, and what goes
//! wrong comes out as the connector's words for it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::connectors::memory::{Faults, On, Scripted};
use crate::connectors::{Calls, Connector, ConnectorFactory, ConnectorScope, Read, contract};
use crate::model::budget::Limits;
use crate::model::cursor::Cursor;
use crate::model::ids::{RecordId, Version};
use crate::model::path::Path;
use crate::model::record::{DeletionCause, Entry, Page};
use crate::model::value::Value;
use crate::model::write::{
    Change, ConnectorError, Create, CreateRecovery, Delete, NextStep, Outcome, Update, UpdateStyle, Write,
};

const OBJECT: &str = "contacts";

fn on_paused_time<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(future)
}

fn value(text: &str) -> Value {
    Value::from_json(text).unwrap()
}

fn sample(n: u32) -> Value {
    value(&format!(
        r#"{{"email":"p{n}@example.com","name":"Person {n}","age":{n},"big":1234567890123456789{n}.50,
            "address":{{"city":"Town {n}","tags":["a","b"]}}}}"#
    ))
}

/// A dialect to say faults in: sorted, with tokens and `If-Match`.
fn plain() -> Dialect {
    Dialect {
        auth: ApiAuth::Bearer,
        meta_apart: false,
        enveloped: true,
        pages: ApiPages::Token,
        page_size: 2,
        end: ApiEnd::Total,
        order: ApiOrder::Changed,
        changes: ApiChanges::Time { unit: ApiTime::Iso, granularity_ms: 1, lookback_ms: 60_000 },
        inclusive: true,
        dated: true,
        deletions: ApiDeletions::Tombstone,
        read_many: None,
        find_json: true,
        create: CreateRecovery::ExternalId,
        create_by_put: false,
        updates: ApiUpdates::Patch,
        conditional: true,
        etag: true,
        answers_record: true,
        null_removes: true,
        missing: 404,
        batch: ApiBatch::None,
        batch_all_or_nothing: false,
    }
}

struct Rig {
    rest: RestApp,
    connector: Box<dyn Connector>,
    calls: Calls,
}

impl Rig {
    fn new(dialect: Dialect) -> Self {
        let app = MemoryApp::new(5);
        let mut capabilities = app.capabilities(OBJECT);
        capabilities.find = vec![Path::key("email"), Path::key("age")];
        app.set_capabilities(OBJECT, capabilities);
        let rest = app.rest_as(OBJECT, dialect, 5);
        let connector = rest.factory().make(&ConnectorScope { scope: None }).unwrap();
        Self { rest, connector, calls: Calls::new(&Limits::default()) }
    }

    fn app(&self) -> &MemoryApp {
        self.rest.app()
    }

    fn fill(&self, count: u32) -> Vec<RecordId> {
        (0..count).map(|n| self.app().create(OBJECT, sample(n))).collect()
    }

    async fn read(&self, read: Read) -> Result<Page, ConnectorError> {
        self.connector.read(&self.calls, &OBJECT.into(), read).await
    }

    async fn list_all(&self, since: Option<&Cursor>) -> Result<(Vec<Entry>, Option<Cursor>), ConnectorError> {
        let (mut entries, mut cursor, mut token) = (Vec::new(), None, None);
        loop {
            let page = match since {
                None => self.read(Read::All { page: token }).await?,
                Some(since) => self.read(Read::Changes { since: since.clone(), page: token }).await?,
            };
            entries.extend(page.entries);
            cursor = page.cursor.or(cursor);
            token = page.next;
            if token.is_none() {
                return Ok((entries, cursor));
            }
        }
    }

    async fn write(&self, writes: Vec<Write>) -> Vec<Outcome> {
        self.connector.write(&self.calls, &OBJECT.into(), writes).await
    }

    async fn write_one(&self, write: Write) -> Outcome {
        self.write(vec![write]).await.pop().unwrap()
    }

    fn count(&self) -> usize {
        self.app().all(OBJECT).len()
    }
}

fn create(n: u32) -> Write {
    Write::Create(Create { record: sample(n), idempotency_key: format!("key-{n}"), external_id: format!("ext-{n}") })
}

fn update(id: &RecordId, expected: Option<&str>, name: &str) -> Write {
    let changes = vec![Change { path: Path::key("name"), value: Some(Value::string(name)) }];
    Write::Update(Update { id: id.clone(), expected: expected.map(Version::from), current: None, changes })
}

fn ids(entries: &[Entry]) -> Vec<&str> {
    let id = |entry| match entry {
        &Entry::Live(crate::model::record::Record { ref id, .. }) | &Entry::Deleted { ref id, .. } => id.as_str(),
        Entry::Bad(bad) => bad.id.as_ref().map_or("?", |id| id.as_str()),
    };
    entries.iter().map(id).collect()
}

/// Runs the contract suite; the names of the checks that could not be made.
fn check(dialect: Dialect) -> Vec<&'static str> {
    on_paused_time(async {
        let rig = Rig::new(dialect.clone());
        rig.fill(7);
        let report = contract::check(&*rig.connector, &rig.calls, &OBJECT.into(), sample).await;
        let report = report.unwrap_or_else(|report| panic!("{dialect:#?}\n{}\n{report}", rig.rest.file_text()));
        let passed = report.passed();
        report.checks.iter().map(|checked| checked.name).filter(|name| !passed.contains(name)).collect()
    })
}

const TWICE: &str = "a create sent twice makes one record";
const BATCH: &str = "a batch answers in order";

#[test]
fn every_sound_dialect_keeps_the_contract() {
    for seed in 0..200 {
        let dialect = Dialect::draw(seed);
        let mut skips = Vec::new();
        if matches!(dialect.create, CreateRecovery::Find { .. }) {
            skips.push(TWICE);
        }
        if dialect.batch == ApiBatch::None {
            skips.push(BATCH);
        }
        assert_eq!(check(dialect), skips, "seed {seed}");
    }
}

#[test]
fn so_do_the_shapes_that_are_not_drawn() {
    let by_order = |pages, end| Dialect { pages, end, order: ApiOrder::Id, ..plain() };
    for end in [ApiEnd::Total, ApiEnd::More, ApiEnd::Short, ApiEnd::Empty] {
        for enveloped in [true, false] {
            check(Dialect { enveloped, ..by_order(ApiPages::Numbers, end) });
        }
    }
    for dialect in [
        Dialect { changes: ApiChanges::None, deletions: ApiDeletions::Hidden, ..plain() },
        Dialect { changes: ApiChanges::None, deletions: ApiDeletions::Flag, ..plain() },
        Dialect { conditional: false, create: CreateRecovery::Park, ..plain() },
        Dialect { conditional: false, updates: ApiUpdates::Put, batch: ApiBatch::Records(3), ..plain() },
    ] {
        check(dialect);
    }
}

#[test]
fn all_shapes_are_drawn() {
    let drawn: Vec<Dialect> = (0..500).map(Dialect::draw).collect();
    let count = |shape: &dyn Fn(&Dialect) -> String| drawn.iter().map(shape).collect::<BTreeSet<_>>().len();
    for (what, shape, want) in [
        ("pages", &(|d: &Dialect| format!("{:?}", d.pages)) as &dyn Fn(&Dialect) -> String, 4),
        ("changes", &|d| format!("{:?}{:?}", d.changes, d.order).split("lookback").next().unwrap().to_owned(), 16),
        ("creates", &|d| format!("{:?}{}", d.create, d.create_by_put), 8),
        ("updates", &|d| format!("{:?}", d.updates), 4),
        ("batches", &|d| format!("{:?}", d.batch), 7),
    ] {
        assert!(count(shape) >= want, "{what}: {}", count(shape));
    }
    assert!(drawn.iter().all(Dialect::tells_deletions));
    let bearing = drawn.iter().filter(|dialect| dialect.bears_short_lists()).count();
    assert!((100..400).contains(&bearing), "{bearing}");
}

#[test]
fn the_app_takes_what_the_file_declares() {
    on_paused_time(async {
        for seed in 0..50 {
            let rig = Rig::new(Dialect::draw(seed));
            let declared = rig.connector.capabilities(&OBJECT.into()).unwrap();
            let taken = rig.app().capabilities(OBJECT);
            assert_eq!(
                (declared.changes, declared.conditional, declared.update, declared.batch, declared.create),
                (taken.changes, taken.conditional, taken.update, taken.batch, taken.create),
                "seed {seed}"
            );
            assert!(declared.find.contains(&Path::key("email")), "seed {seed}");
        }
    });
}

#[test]
fn each_fault_of_the_app_comes_out_of_a_write_as_the_connectors_word_for_it() {
    let unknown = |outcome: &Outcome| matches!(outcome, Outcome::Unknown(_));
    let waits = |outcome: &Outcome| matches!(outcome, Outcome::NotSent(e) if matches!(e.next, NextStep::Wait { .. }));
    type Says = fn(&Outcome) -> bool;
    let faults: Vec<(Fault, Says, usize, usize)> = vec![
        (Fault::NotSent, |o| matches!(o, Outcome::NotSent(e) if e.next == NextStep::Retry), 0, 0),
        (Fault::TimeoutBefore, unknown, 0, 0),
        (Fault::TimeoutAfter, unknown, 1, 1),
        (Fault::ServerError, unknown, 0, 0),
        (Fault::PartialCommit, unknown, 0, 0),
        (Fault::LateCommit { after_ms: 300_000 }, unknown, 0, 1),
        (Fault::RateLimited { retry_after_ms: 700 }, waits, 0, 0),
        (Fault::RateLimitedSilently, waits, 0, 0),
        (Fault::Unauthorised, |o| matches!(o, Outcome::NotSent(e) if e.next == NextStep::Reauthorise), 0, 0),
        (Fault::Rejected { reason: "no".into() }, |o| matches!(o, Outcome::Rejected { .. }), 0, 0),
        (Fault::Slow { by_ms: 20_000 }, |o| matches!(o, Outcome::Written(_)), 1, 1),
        (Fault::Slow { by_ms: 40_000 }, unknown, 1, 1),
    ];
    // The number of the call picks the form of an answer.
    for (calls_before, (fault, says, at_once, later)) in (0..4).flat_map(|n| faults.iter().map(move |f| (n, f))) {
        on_paused_time(async {
            let rig = Rig::new(plain());
            for _ in 0..calls_before {
                rig.list_all(None).await.unwrap();
            }
            rig.app().script(Scripted::new(On::Create, fault.clone()));
            let outcome = rig.write_one(create(1)).await;
            assert!(says(&outcome), "{fault:?}: {outcome:?}");
            assert_eq!(rig.count(), *at_once, "{fault:?} at once");
            tokio::time::advance(Duration::from_secs(300)).await;
            assert_eq!(rig.count(), *later, "{fault:?} later");
            assert_eq!(rig.app().impatient_calls(), 0);
        });
    }
}

#[test]
fn each_fault_of_the_app_comes_out_of_a_read_as_the_connectors_word_for_it() {
    for (calls_before, (fault, want)) in (0..6).flat_map(|n| {
        [
            (Fault::NotSent, NextStep::Retry),
            (Fault::TimeoutBefore, NextStep::Retry),
            (Fault::TimeoutAfter, NextStep::Retry),
            (Fault::ServerError, NextStep::Retry),
            (Fault::RateLimitedSilently, NextStep::Wait { millis: 5_000 }),
            (Fault::RateLimited { retry_after_ms: 3_000 }, NextStep::Wait { millis: 3_000 }),
            (Fault::Unauthorised, NextStep::Reauthorise),
            (Fault::CursorExpired, NextStep::Resync),
        ]
        .map(move |case| (n, case))
    }) {
        on_paused_time(async {
            let rig = Rig::new(plain());
            let (_, cursor) = {
                rig.fill(3);
                rig.list_all(None).await.unwrap()
            };
            for _ in 0..calls_before {
                rig.read(Read::Ids(vec!["1".into()])).await.unwrap();
            }
            rig.app().script(Scripted::new(On::List, fault.clone()));
            let next = rig.list_all(cursor.as_ref()).await.unwrap_err().next;
            assert_eq!(next, want, "{fault:?}");
            rig.list_all(cursor.as_ref()).await.unwrap();
            assert_eq!(rig.app().impatient_calls(), 0, "{fault:?}");
        });
    }
}

#[test]
fn faults_of_pages() {
    on_paused_time(async {
        let rig = Rig::new(plain());
        rig.fill(5);
        rig.app().script(Scripted::new(On::List, Fault::TokenExpired));
        assert_eq!(rig.list_all(None).await.unwrap_err().next, NextStep::Retry);
        rig.app().script(Scripted::new(On::List, Fault::EmptyPage).times(2));
        assert_eq!(ids(&rig.list_all(None).await.unwrap().0), ["1", "2", "3", "4", "5"]);
        rig.app().script(Scripted::new(On::Page(2), Fault::BadRecord));
        let (entries, _) = rig.list_all(None).await.unwrap();
        assert_eq!(entries.iter().filter(|entry| matches!(entry, Entry::Bad(_))).count(), 1);
        assert_eq!(entries.len(), 5);
        tokio::time::advance(Duration::from_secs(1)).await;
        rig.app().script(Scripted::new(On::Page(2), Fault::Truncated { keep: 1 }));
        let (entries, cursor) = rig.list_all(None).await.unwrap();
        assert_eq!(ids(&entries), ["1", "2", "3"]);
        assert_eq!(rig.list_all(cursor.as_ref()).await.unwrap().0.len(), 5, "the cursor is where it came to");
    });
}

#[test]
fn records_that_are_gone_or_cannot_be_read_are_told_as_such() {
    for dialect in [plain(), Dialect { meta_apart: true, enveloped: false, missing: 410, ..plain() }] {
        on_paused_time(async {
            let rig = Rig::new(dialect);
            let made = rig.fill(4);
            let (_, cursor) = rig.list_all(None).await.unwrap();
            rig.app().merge(OBJECT, made[0].clone(), made[1].clone());
            rig.app().set_unreadable(OBJECT, made[2].clone(), true);
            rig.app().put_raw(OBJECT, made[3].clone(), "{\"broken\":");
            let page = rig.read(Read::Ids(made.clone())).await.unwrap();
            assert!(matches!(&page.entries[0], Entry::Deleted { cause: DeletionCause::NotFound, .. }), "{page:?}");
            assert!(matches!(&page.entries[1], Entry::Live(_)), "{page:?}");
            assert!(page.entries[2..].iter().all(|entry| matches!(entry, Entry::Bad(_))), "{page:?}");
            let (entries, _) = rig.list_all(cursor.as_ref()).await.unwrap();
            let gone = |entry: &&Entry| matches!(entry, Entry::Deleted { cause: DeletionCause::Tombstone, .. });
            assert_eq!(entries.iter().filter(gone).count(), 1, "{entries:?}");
        });
    }
}

#[test]
fn a_put_never_brings_back_what_is_gone() {
    on_paused_time(async {
        let rig = Rig::new(Dialect { updates: ApiUpdates::Upsert, ..plain() });
        let made = rig.fill(1);
        rig.app().delete(OBJECT, made[0].clone());
        assert_eq!(rig.app().capabilities(OBJECT).update, UpdateStyle::Whole);
        for (expected, want) in [(None, Outcome::Missing), (Some("v1"), Outcome::Changed)] {
            let Write::Update(update) = update(&made[0], expected, "x") else { unreachable!("made by update") };
            let current = Some(crate::model::record::Body::from_json("{}"));
            assert_eq!(rig.write_one(Write::Update(Update { current, ..update })).await, want);
        }
        assert_eq!(rig.count(), 0);
    });
}

#[test]
fn a_create_that_was_there_before_is_a_duplicate_with_or_without_its_id() {
    for (create_recovery, create_by_put, names_id) in [
        (CreateRecovery::ExternalId, false, true),
        (CreateRecovery::ExternalId, false, false),
        (CreateRecovery::ClientId, true, true),
        (CreateRecovery::ClientId, false, true),
    ] {
        on_paused_time(async {
            let rig = Rig::new(Dialect { create: create_recovery, create_by_put, ..plain() });
            let mut behaviour = rig.app().behaviour();
            behaviour.duplicate_names_id = names_id;
            rig.app().set_behaviour(behaviour);
            let Outcome::Written(first) = rig.write_one(create(1)).await else { panic!("not written") };
            let again = rig.write_one(create(1)).await;
            assert_eq!(again, Outcome::Duplicate(names_id.then_some(first.id)), "{create_recovery:?}");
            assert_eq!(rig.app().duplicates(), Vec::<String>::new());
        });
    }
}

#[test]
fn one_refused_record_spoils_no_batch() {
    for batch in [ApiBatch::Requests(3), ApiBatch::Records(3)] {
        for batch_all_or_nothing in [false, true] {
            on_paused_time(async {
                let rig = Rig::new(Dialect { batch, batch_all_or_nothing, ..plain() });
                rig.app().script(Scripted::new(On::Write, Fault::Rejected { reason: "no".into() }).nth(1));
                let outcomes = rig.write(vec![create(1), create(2), create(3)]).await;
                let refused = outcomes.iter().filter(|o| matches!(o, Outcome::Rejected { .. })).count();
                // Refused as a whole, they are sent again one by one, and then all are taken.
                let want = usize::from(!batch_all_or_nothing);
                assert_eq!((refused, rig.count()), (want, 3 - want), "{outcomes:?}");
                assert_eq!(outcomes.len(), 3);
            });
        }
    }
}

/// None of these may pass for a success that did not happen, nor for an empty list.
#[test]
fn what_goes_wrong_on_the_way_is_never_taken_for_what_was_asked() {
    let faults = |change: fn(&mut RestFaults)| {
        let mut faults = RestFaults::default();
        change(&mut faults);
        faults
    };
    let all = [
        faults(|f| f.cut_body = 1_000),
        faults(|f| f.truncated_json = 1_000),
        faults(|f| f.html_page = 1_000),
        faults(|f| f.error_in_success = 1_000),
        faults(|f| f.server_error_after = 1_000),
    ];
    for (calls_before, faults) in (0..2).flat_map(|n| all.iter().map(move |faults| (n, faults))) {
        on_paused_time(async {
            let rig = Rig::new(plain());
            let made = rig.fill(3);
            for _ in 0..calls_before {
                rig.read(Read::Ids(vec![made[0].clone()])).await.unwrap();
            }
            rig.rest.set_faults(faults.clone());
            assert_eq!(rig.list_all(None).await.unwrap_err().next, NextStep::Retry, "{faults:?}");
            let found = rig.read(Read::ExternalId("ext-1".into())).await;
            assert_eq!(found.unwrap_err().next, NextStep::Retry, "{faults:?}");
            let delete = Write::Delete(Delete { id: made[1].clone(), expected: None });
            for write in
                [create(1), create(2), update(&made[0], None, "x"), update(&made[0], None, "y"), delete.clone(), delete]
            {
                let before = rig.app().writes();
                let outcome = rig.write_one(write.clone()).await;
                let gone =
                    matches!(&write, Write::Delete(delete) if rig.app().get(OBJECT, delete.id.clone()).is_none());
                let done = rig.app().writes() > before || gone;
                assert!(said_rightly(&outcome, done), "{faults:?} {write:?} done: {done}, said: {outcome:?}");
            }
        });
    }
}

/// Whether an outcome may be said of a write that was carried out, or was not.
fn said_rightly(outcome: &Outcome, done: bool) -> bool {
    match outcome {
        Outcome::Unknown(_) => true,
        Outcome::Written(_) | Outcome::Deleted => done,
        Outcome::NotSent(_) | Outcome::Rejected { .. } | Outcome::Changed => !done,
        Outcome::Missing | Outcome::Duplicate(_) => false,
    }
}

#[test]
fn harmless_oddities_are_harmless() {
    on_paused_time(async {
        let rig = Rig::new(plain());
        rig.fill(3);
        rig.rest.set_faults(RestFaults { wrong_content_type: 1_000, ..RestFaults::default() });
        assert_eq!(rig.list_all(None).await.unwrap().0.len(), 3);
        assert!(matches!(rig.write_one(create(9)).await, Outcome::Written(_)));
        tokio::time::advance(Duration::from_secs(1)).await;
        rig.rest.set_faults(RestFaults { next_missing: 1_000, ..RestFaults::default() });
        let (entries, cursor) = rig.list_all(None).await.unwrap();
        assert_eq!(entries.len(), 2, "it looks like the end");
        rig.rest.set_faults(RestFaults::default());
        assert_eq!(rig.list_all(cursor.as_ref()).await.unwrap().0.len(), 4);
    });
}

#[test]
fn an_absurd_pause_is_a_day_at_most() {
    on_paused_time(async {
        let rig = Rig::new(plain());
        rig.rest.set_faults(RestFaults { absurd_retry_after: 1_000, ..RestFaults::default() });
        rig.app().script(Scripted::new(On::List, Fault::RateLimitedSilently));
        assert_eq!(rig.list_all(None).await.unwrap_err().next, NextStep::Wait { millis: 86_400_000 });
    });
}

/// What a list has not shown when nothing came of it must not be passed.
#[test]
fn a_first_list_that_comes_empty_loses_nothing() {
    for seed in 0..200 {
        let dialect = Dialect::draw(seed);
        if !dialect.bears_short_lists() {
            continue;
        }
        on_paused_time(async {
            let rig = Rig::new(dialect.clone());
            let made = rig.fill(3);
            tokio::time::advance(Duration::from_secs(86_400)).await;
            rig.app().script(Scripted::new(On::Page(1), Fault::Truncated { keep: 0 }));
            let (entries, cursor) = rig.list_all(None).await.unwrap();
            assert!(entries.is_empty());
            let (entries, _) = rig.list_all(cursor.as_ref()).await.unwrap();
            assert_eq!(entries.len(), made.len(), "seed {seed}: {cursor:?} {dialect:?}");
        });
    }
}

#[test]
fn other_credentials_are_not_taken() {
    on_paused_time(async {
        for auth in [ApiAuth::Bearer, ApiAuth::Header, ApiAuth::Query] {
            let rig = Rig::new(Dialect { auth, ..plain() });
            rig.list_all(None).await.unwrap();
            let request = HttpRequest {
                method: crate::connectors::http::Method::Get,
                url: format!("{BASE}{}/things", dialect::API),
                headers: Vec::new(),
                secret_headers: Vec::new(),
                secret_query: Vec::new(),
                body: None,
                secret_body: None,
                part: None,
            };
            assert_eq!(rig.rest.transport().send(request).await.unwrap().status, 401);
            rig.app().expire_credentials_in(0);
            assert_eq!(rig.list_all(None).await.unwrap_err().next, NextStep::Reauthorise);
            rig.app().renew_credentials();
            rig.list_all(None).await.unwrap();
        }
    });
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed: u64| {
        on_paused_time(async {
            let rig = Rig::new(Dialect::draw(seed));
            rig.app().set_faults(Faults::swarm(seed));
            rig.rest.set_faults(RestFaults::swarm(seed));
            for n in 0..30 {
                rig.app().create(OBJECT, sample(1_000 + n));
                rig.write_one(create(n)).await;
                let _ = rig.list_all(None).await;
                tokio::time::advance(Duration::from_millis(100)).await;
            }
            format!("{:?}{:?}", rig.app().log(), rig.app().history_from(0))
        })
    };
    for seed in 0..10 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}
