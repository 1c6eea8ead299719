//! The suite passes for connectors that keep the contract and names what others break.

use std::cell::RefCell;

use async_trait::async_trait;

use super::*;
use crate::connectors::memory::{Behaviour, Cursors, Faults, IdStyle, MemoryApp, Normalise, Order, Paging};
use crate::connectors::{ConnectorFactory, ConnectorScope};
use crate::model::budget::{Limits, Window};
use crate::model::cursor::{Cursor, PageToken};
use crate::model::ids::RecordId;
use crate::model::record::{DeletionCause, Page};
use crate::model::write::{Capabilities, ConnectorError, Delete, NextStep, Stored, Update, UpdateStyle};

const CONTACTS: &str = "contacts";

fn sample(n: u32) -> Value {
    Value::from_json(&format!(
        r#"{{"email":"p{n}@example.com","name":"Person {n}","age":{n},"big":12345678901234567890{n}.50,
            "note":null,"blank":"","address":{{"city":"Town {n}","tags":["a","b"]}}}}"#
    ))
    .unwrap()
}

fn on_paused_time<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(future)
}

fn with_find() -> Capabilities {
    Capabilities { find: vec![Path::key("email"), "address.city".parse().unwrap()], ..Capabilities::default() }
}

fn time(granularity_ms: u64, inclusive: bool) -> Cursors {
    Cursors::Time { granularity_ms, inclusive, lookback_ms: 0 }
}

/// Runs the suite against an app, through a connector put around the app's own.
fn run_around(
    behaviour: Behaviour,
    capabilities: Option<Capabilities>,
    around: impl FnOnce(Box<dyn Connector>) -> Box<dyn Connector>,
) -> Report {
    on_paused_time(async {
        let app = MemoryApp::new(7);
        app.set_behaviour(behaviour);
        if let Some(capabilities) = capabilities {
            app.set_capabilities(CONTACTS, capabilities);
        }
        for n in 9_000..9_005 {
            app.create(CONTACTS, sample(n));
        }
        let connector = around(app.factory().make(&ConnectorScope { scope: None }).unwrap());
        let calls = Calls::new(&Limits::default());
        let report = run(&*connector, &calls, &CONTACTS.into(), &sample).await.unwrap();
        if report.failed().is_empty() {
            assert_eq!(app.all(CONTACTS).len(), 5, "the suite cleans up after itself");
        }
        report
    })
}

fn run_memory(behaviour: Behaviour, capabilities: Option<Capabilities>) -> Report {
    run_around(behaviour, capabilities, |connector| connector)
}

#[test]
fn memory_keeps_the_contract_in_every_setting() {
    let own = MemoryApp::new(1).capabilities(CONTACTS);
    let created_by = |create| Some(Capabilities { create, ..own.clone() });
    let settings: Vec<(&str, Behaviour, Option<Capabilities>)> = vec![
        ("default", Behaviour::default(), None),
        ("small pages", Behaviour { page_size: 2, ..Behaviour::default() }, None),
        ("by id", Behaviour { page_size: 3, order: Order::Id, ..Behaviour::default() }, None),
        ("shuffled", Behaviour { page_size: 3, order: Order::Shuffled, ..Behaviour::default() }, None),
        ("offset", Behaviour { page_size: 3, paging: Paging::Offset, ..Behaviour::default() }, None),
        ("time", Behaviour { page_size: 2, cursors: time(1, true), ..Behaviour::default() }, None),
        ("coarse time", Behaviour { page_size: 2, cursors: time(60_000, true), ..Behaviour::default() }, None),
        (
            "shuffled time",
            Behaviour { order: Order::Shuffled, cursors: time(1_000, true), ..Behaviour::default() },
            None,
        ),
        ("odd ids", Behaviour { page_size: 2, ids: IdStyle::Odd, ..Behaviour::default() }, None),
        (
            "odd ids by id",
            Behaviour { page_size: 2, ids: IdStyle::Odd, order: Order::Id, ..Behaviour::default() },
            None,
        ),
        ("no bodies", Behaviour { returns_body: false, ..Behaviour::default() }, None),
        ("latency", Behaviour { latency_ms: (1, 900), ..Behaviour::default() }, None),
        ("no tombstones", Behaviour { tombstones: false, ..Behaviour::default() }, None),
        ("no names", Behaviour { duplicate_names_id: false, ..Behaviour::default() }, None),
        (
            "nulls dropped",
            Behaviour {
                normalise: Normalise { drop_nulls: true, trim: true, ..Normalise::default() },
                ..Behaviour::default()
            },
            None,
        ),
        ("rate limit", Behaviour { rate_limit: Some(Window::new(3, 1_000)), ..Behaviour::default() }, None),
        ("no versions", Behaviour { versions: false, modified: false, ..Behaviour::default() }, Some(with_find())),
        ("least", Behaviour::default(), Some(Capabilities::default())),
        ("no read by id", Behaviour::default(), Some(Capabilities { read_ids: 0, ..own.clone() })),
        ("read-only", Behaviour::default(), Some(Capabilities { writable: false, ..own.clone() })),
        ("whole", Behaviour::default(), Some(Capabilities { update: UpdateStyle::Whole, batch: 4, ..own.clone() })),
        ("client id", Behaviour::default(), created_by(CreateRecovery::ClientId)),
        ("key", Behaviour::default(), created_by(CreateRecovery::IdempotencyKey { life_ms: 1_000 })),
        ("find", Behaviour::default(), created_by(CreateRecovery::Find { settle_ms: 1 })),
    ];
    for (name, behaviour, capabilities) in settings {
        let report = run_memory(behaviour, capabilities);
        assert!(report.failed().is_empty(), "{name}\n{report}");
        assert!(report.passed().len() >= 4, "{name}\n{report}");
    }
}

#[test]
fn nothing_is_skipped_for_an_app_that_can_do_everything() {
    let capabilities = Capabilities { batch: 100, ..MemoryApp::new(1).capabilities(CONTACTS) };
    let report = run_memory(Behaviour::default(), Some(Capabilities { find: with_find().find, ..capabilities }));
    assert_eq!(report.passed().len(), report.checks.len(), "{report}");
}

#[test]
fn a_side_that_stutters_still_passes() {
    on_paused_time(async {
        let app = MemoryApp::new(3);
        app.set_faults(Faults { not_sent: 100, rate_limited: 50, retry_after_ms: 2_000, ..Faults::default() });
        let connector = app.factory().make(&ConnectorScope { scope: None }).unwrap();
        let calls = Calls::new(&Limits::default());
        check(&*connector, &calls, &CONTACTS.into(), sample).await.unwrap();
        assert_eq!(app.impatient_calls(), 0);
    });
}

#[test]
fn a_stale_replica_passes_when_the_lag_is_declared_and_not_otherwise() {
    for (lag_ms, passes) in [(5_000, true), (0, false)] {
        on_paused_time(async {
            let app = MemoryApp::new(3);
            app.set_faults(Faults { stale: 1_000, stale_ms: 5_000, ..Faults::default() });
            let own = app.capabilities(CONTACTS);
            app.set_capabilities(CONTACTS, Capabilities { read_after_write_lag_ms: lag_ms, ..own });
            let connector = app.factory().make(&ConnectorScope { scope: None }).unwrap();
            let calls = Calls::new(&Limits::default());
            let result = check(&*connector, &calls, &CONTACTS.into(), sample).await;
            assert_eq!(result.is_ok(), passes, "{result:?}");
        });
    }
}

// ---- connectors that break the contract ----

/// One way to break it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    DropsUnnamedKeys,
    DropsAField,
    RoundsNumbers,
    KeepsOldOnNull,
    KeepsOldOnRemove,
    SwapsOutcomes,
    OneOutcomeTooFew,
    RepeatsARecord,
    LosesTheLastPage,
    RepeatsForEver,
    CursorTooFar,
    NoCursor,
    MissingIsAnError,
    MissingIsSilent,
    CreatesAgain,
    IgnoresVersion,
    UpdatesMissingByCreating,
    SecondDeleteFails,
    FindsTooMuch,
    FindsNothing,
    OtherVersionById,
    WrongVersionFromWrite,
}

struct Buggy {
    inner: Box<dyn Connector>,
    bug: Bug,
}

fn drop_fraction(value: &mut Value) {
    if let Some(Value::Number(number)) = value.get(&Path::key("big")) {
        let whole = number.as_str().split('.').next().unwrap_or_default().to_owned();
        value.set(
            &Path::key("big"),
            Value::Number(crate::model::value::Number::parse(&format!("{}0", &whole[..18])).unwrap()),
        );
    }
}

impl Buggy {
    fn spoil_write(&self, write: Write) -> Write {
        match (self.bug, write) {
            (Bug::DropsAField, Write::Create(mut create)) => {
                create.record.remove(&"address.city".parse().unwrap());
                Write::Create(create)
            }
            (Bug::RoundsNumbers, Write::Create(mut create)) => {
                drop_fraction(&mut create.record);
                Write::Create(create)
            }
            (Bug::CreatesAgain, Write::Create(mut create)) => {
                create.external_id = format!("{}{}", create.external_id, fastrand::u64(..));
                Write::Create(create)
            }
            (Bug::DropsUnnamedKeys, Write::Update(mut update)) => {
                for key in ["email", "name", "age", "big", "note", "blank", "address"] {
                    let path = Path::key(key);
                    if !update.changes.iter().any(|change| change.path == path) {
                        update.changes.push(Change { path, value: None });
                    }
                }
                Write::Update(update)
            }
            (Bug::KeepsOldOnNull, Write::Update(mut update)) => {
                update.changes.retain(|change| change.value != Some(Value::Null));
                Write::Update(update)
            }
            (Bug::KeepsOldOnRemove, Write::Update(mut update)) => {
                update.changes.retain(|change| change.value.is_some());
                Write::Update(update)
            }
            (Bug::IgnoresVersion, Write::Update(update)) => Write::Update(Update { expected: None, ..update }),
            (Bug::IgnoresVersion, Write::Delete(delete)) => Write::Delete(Delete { expected: None, ..delete }),
            (_, write) => write,
        }
    }

    fn spoil_page(&self, first: bool, mut page: Page) -> Page {
        match self.bug {
            Bug::RepeatsARecord if first => page.entries.extend(page.entries.first().cloned()),
            Bug::LosesTheLastPage if page.next.is_none() && !first => page.entries.clear(),
            Bug::RepeatsForEver => page.next = Some(PageToken::new("again")),
            Bug::CursorTooFar if page.cursor.is_some() => page.cursor = Some(Cursor::new("change:100000")),
            Bug::NoCursor => page.cursor = None,
            _ => {}
        }
        page
    }
}

#[async_trait(?Send)]
impl Connector for Buggy {
    fn capabilities(&self, object: &ObjectName) -> Result<Capabilities, ConnectorError> {
        self.inner.capabilities(object)
    }

    async fn read(&self, calls: &Calls, object: &ObjectName, read: Read) -> Result<Page, ConnectorError> {
        let read = match (self.bug, read) {
            (Bug::RepeatsForEver, Read::All { .. }) => Read::All { page: None },
            (Bug::FindsTooMuch, Read::Find(_)) => Read::All { page: None },
            (Bug::FindsNothing, Read::Find(_)) => Read::Ids(Vec::new()),
            (_, read) => read,
        };
        let first = matches!(&read, Read::All { page: None } | Read::Changes { page: None, .. });
        let is_list = matches!(&read, Read::All { .. } | Read::Changes { .. });
        let is_ids = matches!(&read, Read::Ids(_));
        let mut page = self.inner.read(calls, object, read).await?;
        if is_list {
            page = self.spoil_page(first, page);
        }
        if is_ids {
            let missing = page.entries.iter().any(|entry| matches!(entry, Entry::Deleted { .. }));
            match self.bug {
                Bug::MissingIsAnError if missing => return Err(ConnectorError::new(NextStep::Fail, "answered 404")),
                Bug::MissingIsSilent => page.entries.retain(|entry| matches!(entry, Entry::Live(_))),
                Bug::OtherVersionById => {
                    for entry in &mut page.entries {
                        if let Entry::Live(record) = entry {
                            record.version = Some("other".into());
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(page)
    }

    async fn write(&self, calls: &Calls, object: &ObjectName, writes: Vec<Write>) -> Vec<Outcome> {
        let writes: Vec<Write> = writes.into_iter().map(|write| self.spoil_write(write)).collect();
        let mut outcomes = self.inner.write(calls, object, writes.clone()).await;
        match self.bug {
            Bug::SwapsOutcomes => outcomes.reverse(),
            Bug::OneOutcomeTooFew if outcomes.len() > 1 => {
                outcomes.pop();
            }
            Bug::WrongVersionFromWrite => {
                for outcome in &mut outcomes {
                    if let Outcome::Written(stored) = outcome {
                        stored.version = Some("other".into());
                    }
                }
            }
            _ => {}
        }
        for (write, outcome) in writes.iter().zip(&mut outcomes) {
            match (self.bug, write, &outcome) {
                (Bug::UpdatesMissingByCreating, Write::Update(update), Outcome::Missing) => {
                    let create =
                        Create { record: sample(999), idempotency_key: "k".into(), external_id: "again".into() };
                    self.inner.write(calls, object, vec![Write::Create(create)]).await;
                    *outcome =
                        Outcome::Written(Stored { id: update.id.clone(), version: None, modified: None, body: None });
                }
                (Bug::SecondDeleteFails, Write::Delete(delete), Outcome::Deleted) => {
                    let again = self.inner.read(calls, object, Read::Ids(vec![delete.id.clone()])).await;
                    let entries = again.map(|page| page.entries).unwrap_or_default();
                    let tombstone =
                        |entry: &Entry| matches!(entry, Entry::Deleted { cause: DeletionCause::NotFound, .. });
                    // The first delete is told by the version that only the second lacks.
                    if entries.iter().all(tombstone) && self.deleted_before(&delete.id) {
                        *outcome = Outcome::Missing;
                    }
                }
                _ => {}
            }
        }
        outcomes
    }
}

thread_local! {
    static DELETED: RefCell<BTreeSet<RecordId>> = RefCell::default();
}

impl Buggy {
    fn deleted_before(&self, id: &RecordId) -> bool {
        DELETED.with_borrow_mut(|deleted| !deleted.insert(id.clone()))
    }
}

#[test]
fn each_bug_fails_a_check_that_names_it() {
    let all = [
        (Bug::DropsUnnamedKeys, "an update keeps the keys it does not name"),
        (Bug::DropsAField, "a created record reads back as it was sent"),
        (Bug::RoundsNumbers, "a created record reads back as it was sent"),
        (Bug::KeepsOldOnNull, "null, absent and empty replace the value that was there"),
        (Bug::KeepsOldOnRemove, "null, absent and empty replace the value that was there"),
        (Bug::SwapsOutcomes, "a batch answers in order"),
        (Bug::OneOutcomeTooFew, "a batch answers in order"),
        (Bug::RepeatsARecord, "a list holds every record once"),
        (Bug::LosesTheLastPage, "a list holds every record once"),
        (Bug::RepeatsForEver, "a list holds every record once"),
        (Bug::CursorTooFar, "every cursor leads to all that changed after it"),
        (Bug::NoCursor, "every cursor leads to all that changed after it"),
        (Bug::MissingIsAnError, "a missing id is a deleted entry, not an error"),
        (Bug::MissingIsSilent, "a missing id is a deleted entry, not an error"),
        (Bug::CreatesAgain, "a create sent twice makes one record"),
        (Bug::IgnoresVersion, "an update decided on an old version is refused"),
        (Bug::IgnoresVersion, "a delete decided on an old version is refused"),
        (Bug::UpdatesMissingByCreating, "an update of a missing record says so"),
        (Bug::SecondDeleteFails, "a delete is one, and again"),
        (Bug::FindsTooMuch, "find yields what holds the value and nothing else"),
        (Bug::FindsNothing, "find yields what holds the value and nothing else"),
        (Bug::OtherVersionById, "a read by id yields what the list holds"),
        (Bug::WrongVersionFromWrite, "an update changes what it says"),
    ];
    for (bug, check) in all {
        let behaviour = Behaviour { page_size: 4, ..Behaviour::default() };
        let capabilities = Capabilities { batch: 4, ..MemoryApp::new(1).capabilities(CONTACTS) };
        let capabilities = Capabilities { find: with_find().find, ..capabilities };
        DELETED.take();
        let report = run_around(behaviour, Some(capabilities), |inner| Box::new(Buggy { inner, bug }));
        assert!(report.failed().contains(&check), "{bug:?}\n{report}");
    }
}

#[test]
fn an_exclusive_time_cursor_loses_equal_stamps_and_is_caught() {
    for granularity_ms in [1, 1_000] {
        let behaviour = Behaviour { cursors: time(granularity_ms, false), ..Behaviour::default() };
        let report = run_memory(behaviour, None);
        let failed = report.failed();
        assert!(failed.contains(&"a change right after a cursor is not lost"), "{report}");
    }
}

#[test]
fn a_lost_field_is_named() {
    let report = run_memory(
        Behaviour {
            normalise: Normalise { keep_only: Some(vec!["email".into(), "name".into()]), ..Normalise::default() },
            ..Behaviour::default()
        },
        None,
    );
    let failed = report.checks.iter().find_map(|checked| match &checked.verdict {
        Verdict::Failed(reason) => Some(reason.clone()),
        Verdict::Passed | Verdict::Skipped(_) => None,
    });
    assert!(failed.unwrap().contains("age is absent"), "{report}");
}
