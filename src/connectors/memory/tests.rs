//! The switches do what they say.

use std::time::Duration;

use super::*;
use crate::connectors::{Calls, Read};
use crate::model::budget::{Limits, Window};
use crate::model::cursor::{Cursor, PageToken};
use crate::model::ids::Version;
use crate::model::record::{DeletionCause, Entry, Page, Record};
use crate::model::write::{Create, CreateRecovery, Delete, Outcome, Stored, Update, UpdateStyle, Write};

const OBJECT: &str = "contacts";

struct Rig {
    app: MemoryApp,
    connector: Box<dyn Connector>,
    calls: Calls,
}

fn value(text: &str) -> Value {
    Value::from_json(text).unwrap()
}

fn set(path: &str, new: &str) -> Change {
    Change { path: path.parse().unwrap(), value: Some(Value::string(new)) }
}

impl Rig {
    fn new() -> Self {
        let app = MemoryApp::new(11);
        let connector = app.factory().make(&ConnectorScope { scope: None }).unwrap();
        Self { app, connector, calls: Calls::new(&Limits::default()) }
    }

    fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        let mut behaviour = self.app.behaviour();
        change(&mut behaviour);
        self.app.set_behaviour(behaviour);
    }

    fn can(&self, change: impl FnOnce(&mut Capabilities)) {
        let mut capabilities = self.app.capabilities(OBJECT);
        change(&mut capabilities);
        self.app.set_capabilities(OBJECT, capabilities);
    }

    fn fill(&self, count: usize) -> Vec<RecordId> {
        (0..count).map(|n| self.app.create(OBJECT, value(&format!(r#"{{"n":{n}}}"#)))).collect()
    }

    async fn read(&self, read: Read) -> Result<Page, ConnectorError> {
        self.connector.read(&self.calls, &OBJECT.into(), read).await
    }

    async fn list(&self, since: Option<&Cursor>, page: Option<PageToken>) -> Result<Page, ConnectorError> {
        match since {
            None => self.read(Read::All { page }).await,
            Some(since) => self.read(Read::Changes { since: since.clone(), page }).await,
        }
    }

    /// Reads to the end: what came, the last cursor, whether it drifted.
    async fn list_all(&self, since: Option<&Cursor>) -> (Vec<Entry>, Option<Cursor>, bool) {
        let (mut entries, mut cursor, mut drifted, mut token) = (Vec::new(), None, false, None);
        loop {
            let page = self.list(since, token).await.unwrap();
            entries.extend(page.entries);
            cursor = page.cursor.or(cursor);
            drifted |= page.drifted;
            token = page.next;
            if token.is_none() {
                return (entries, cursor, drifted);
            }
        }
    }

    async fn write(&self, write: Write) -> Outcome {
        self.connector.write(&self.calls, &OBJECT.into(), vec![write]).await.pop().unwrap()
    }

    async fn create(&self, n: u32) -> Outcome {
        self.write(create(n)).await
    }

    fn count(&self) -> usize {
        self.app.all(OBJECT).len()
    }
}

fn create(n: u32) -> Write {
    Write::Create(Create {
        record: value(&format!(r#"{{"n":{n}}}"#)),
        idempotency_key: format!("key-{n}"),
        external_id: format!("ext-{n}"),
    })
}

fn update(id: &RecordId, expected: Option<Version>, change: Change) -> Write {
    Write::Update(Update { id: id.clone(), expected, current: None, changes: vec![change] })
}

fn delete(id: &RecordId, expected: Option<Version>) -> Write {
    Write::Delete(Delete { id: id.clone(), expected })
}

fn stored(outcome: Outcome) -> Stored {
    match outcome {
        Outcome::Written(stored) => stored,
        other => panic!("not written: {other:?}"),
    }
}

fn ids(entries: &[Entry]) -> Vec<&str> {
    let id = |entry| match entry {
        &Entry::Live(Record { ref id, .. }) | &Entry::Deleted { ref id, .. } => id.as_str(),
        Entry::Bad(bad) => bad.id.as_ref().unwrap().as_str(),
    };
    entries.iter().map(id).collect()
}

fn next_step(result: Result<Page, ConnectorError>) -> NextStep {
    result.unwrap_err().next
}

fn on_paused_time<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(future)
}

async fn advance(millis: u64) {
    tokio::time::advance(Duration::from_millis(millis)).await;
}

#[test]
fn the_third_write_fails_once() {
    on_paused_time(async {
        let rig = Rig::new();
        rig.app.script(Scripted::new(On::Write, Fault::TimeoutAfter).nth(3));
        for n in 1..=5 {
            let unknown = matches!(rig.create(n).await, Outcome::Unknown(_));
            assert_eq!(unknown, n == 3, "write {n}");
        }
        assert_eq!(rig.count(), 5, "a timeout after the commit leaves the record");
        assert_eq!(rig.app.scripts_left(), 0);
        assert_eq!(rig.app.writes(), 5);
    });
}

#[test]
fn each_fault_of_a_write_does_and_says_what_it_should() {
    let unknown = |outcome: &Outcome| matches!(outcome, Outcome::Unknown(_));
    let not_sent = |outcome: &Outcome| matches!(outcome, Outcome::NotSent(error) if error.next == NextStep::Retry);
    let refused = |outcome: &Outcome| matches!(outcome, Outcome::Rejected { .. });
    type Says = fn(&Outcome) -> bool;
    let faults: Vec<(Fault, Says, usize, usize)> = vec![
        (Fault::NotSent, not_sent, 0, 0),
        (Fault::TimeoutBefore, unknown, 0, 0),
        (Fault::ServerError, unknown, 0, 0),
        (Fault::TimeoutAfter, unknown, 1, 1),
        (Fault::PartialCommit, unknown, 0, 0),
        (Fault::LateCommit { after_ms: 300_000 }, unknown, 0, 1),
        (Fault::Unauthorised, |o| matches!(o, Outcome::NotSent(e) if e.next == NextStep::Reauthorise), 0, 0),
        (Fault::Rejected { reason: "no".into() }, refused, 0, 0),
        (Fault::Slow { by_ms: 60_000 }, |o| matches!(o, Outcome::Written(_)), 1, 1),
    ];
    for (fault, says, at_once, later) in faults {
        on_paused_time(async {
            let rig = Rig::new();
            rig.app.script(Scripted::new(On::Create, fault.clone()));
            let outcome = rig.create(1).await;
            assert!(says(&outcome), "{fault:?}: {outcome:?}");
            assert_eq!(rig.count(), at_once, "{fault:?} at once");
            advance(299_000).await;
            assert_eq!(rig.count(), at_once, "{fault:?} a second before");
            advance(1_000).await;
            assert_eq!(rig.count(), later, "{fault:?} later");
            assert_eq!(rig.app.writes(), later, "{fault:?}: the log says what was done");
            assert_eq!(rig.app.log()[0].fault, Some(fault));
        });
    }
}

#[test]
fn each_fault_of_a_read_says_what_to_do_next() {
    for (fault, want) in [
        (Fault::NotSent, NextStep::Retry),
        (Fault::TimeoutAfter, NextStep::Retry),
        (Fault::ServerError, NextStep::Retry),
        (Fault::RateLimited { retry_after_ms: 700 }, NextStep::Wait { millis: 700 }),
        (Fault::Unauthorised, NextStep::Reauthorise),
        (Fault::CursorExpired, NextStep::Resync),
    ] {
        on_paused_time(async {
            let rig = Rig::new();
            rig.fill(3);
            rig.app.script(Scripted::new(On::Read, fault.clone()));
            let since = Cursor::new("change:0");
            assert_eq!(next_step(rig.list(Some(&since), None).await), want, "{fault:?}");
            assert_eq!(rig.list(Some(&since), None).await.unwrap().entries.len(), 3, "once only");
        });
    }
}

#[test]
fn a_read_fails_on_its_second_page_only() {
    on_paused_time(async {
        let rig = Rig::new();
        rig.behave(|behaviour| behaviour.page_size = 2);
        rig.fill(5);
        rig.app.script(Scripted::new(On::Page(2), Fault::ServerError));
        let first = rig.list(None, None).await.unwrap();
        assert_eq!(next_step(rig.list(None, first.next.clone()).await), NextStep::Retry);
        let second = rig.list(None, first.next).await.unwrap();
        assert_eq!(ids(&second.entries), ["3", "4"]);
    });
}

#[test]
fn an_expired_page_token_stays_expired() {
    on_paused_time(async {
        let rig = Rig::new();
        rig.behave(|behaviour| behaviour.page_size = 2);
        rig.fill(5);
        rig.app.script(Scripted::new(On::List, Fault::TokenExpired));
        let first = rig.list(None, None).await.unwrap();
        for _ in 0..2 {
            assert_eq!(next_step(rig.list(None, first.next.clone()).await), NextStep::Retry);
        }
        assert_eq!(rig.list_all(None).await.0.len(), 5, "a read from the start works");
    });
}

#[test]
fn pages_come_truncated_empty_or_with_a_bad_record() {
    on_paused_time(async {
        let rig = Rig::new();
        rig.behave(|behaviour| behaviour.page_size = 3);
        rig.fill(7);
        rig.app.script(Scripted::new(On::Page(2), Fault::Truncated { keep: 1 }));
        let (entries, cursor, _) = rig.list_all(None).await;
        assert_eq!(ids(&entries), ["1", "2", "3", "4"], "it ends early as if complete");
        let (rest, _, _) = rig.list_all(cursor.as_ref()).await;
        assert_eq!(ids(&rest), ["5", "6", "7"], "in change order the cursor says how far it came");

        rig.app.script(Scripted::new(On::List, Fault::EmptyPage).times(2));
        let page = rig.list(None, None).await.unwrap();
        assert!(page.entries.is_empty() && page.next.is_some());
        assert_eq!(rig.list_all(None).await.0.len(), 7, "an empty page is not the end");

        rig.app.script(Scripted::new(On::List, Fault::BadRecord));
        let (entries, _, _) = rig.list_all(None).await;
        assert_eq!(entries.len(), 7);
        assert_eq!(entries.iter().filter(|entry| matches!(entry, Entry::Bad(_))).count(), 1);

        rig.app.script(Scripted::new(On::Page(1), Fault::Truncated { keep: 0 }));
        let (entries, cursor, _) = rig.list_all(None).await;
        assert!(entries.is_empty());
        assert_eq!(rig.list_all(cursor.as_ref()).await.0.len(), 7, "an empty list moves no cursor past anything");
    });
}

#[test]
fn drift_is_said_on_every_later_page_and_gives_no_cursor() {
    on_paused_time(async {
        let rig = Rig::new();
        rig.behave(|behaviour| behaviour.page_size = 2);
        rig.fill(6);
        rig.app.script(Scripted::new(On::Page(2), Fault::Drift));
        let first = rig.list(None, None).await.unwrap();
        assert!(!first.drifted);
        let second = rig.list(None, first.next).await.unwrap();
        assert_eq!((ids(&second.entries), second.drifted, second.cursor), (vec!["3"], true, None));
        let third = rig.list(None, second.next).await.unwrap();
        assert_eq!((ids(&third.entries), third.drifted, third.cursor), (vec!["5", "6"], true, None));
    });
}

#[test]
fn offset_paging_loses_a_record_when_an_earlier_one_goes() {
    for notices_drift in [true, false] {
        on_paused_time(async {
            let rig = Rig::new();
            rig.behave(|behaviour| {
                behaviour.page_size = 2;
                behaviour.paging = Paging::Offset;
                behaviour.notices_drift = notices_drift;
            });
            let made = rig.fill(5);
            let first = rig.list(None, None).await.unwrap();
            assert_eq!(first.cursor, None, "no cursor before the last page");
            rig.app.delete(OBJECT, made[0].clone());
            let second = rig.list(None, first.next).await.unwrap();
            assert_eq!(ids(&second.entries), ["4", "5"], "the third slipped through");
            assert_eq!(second.drifted, notices_drift);
            assert_eq!(second.cursor.is_none(), notices_drift);
        });
    }
}

#[test]
fn keyset_paging_in_change_order_loses_nothing_while_records_change() {
    on_paused_time(async {
        let rig = Rig::new();
        rig.behave(|behaviour| behaviour.page_size = 2);
        let made = rig.fill(5);
        let first = rig.list(None, None).await.unwrap();
        rig.app.patch(OBJECT, made[0].clone(), vec![set("name", "new")]);
        rig.app.delete(OBJECT, made[3].clone());
        let second = rig.list(None, first.next).await.unwrap();
        assert_eq!(ids(&second.entries), ["3", "5"]);
        let third = rig.list(None, second.next).await.unwrap();
        assert_eq!((ids(&third.entries), third.next), (vec!["1"], None));
        let changes = rig.list(first.cursor.as_ref(), None).await.unwrap();
        assert_eq!(ids(&changes.entries), ["3", "5"], "from the first page's cursor on");
        let (_, cursor, _) = rig.list_all(first.cursor.as_ref()).await;
        assert_eq!(cursor, Some(Cursor::new("change:7")), "the deletion was the last change");
    });
}

#[test]
fn a_stale_replica_shows_the_state_before_and_no_cursor_passes_what_it_hides() {
    on_paused_time(async {
        let rig = Rig::new();
        rig.behave(|behaviour| behaviour.page_size = 1);
        let made = rig.fill(1);
        let (_, cursor, _) = rig.list_all(None).await;
        rig.app.script(Scripted::new(On::Update, Fault::Stale { for_ms: 1_000 }));
        stored(rig.write(update(&made[0], None, set("name", "new"))).await);
        rig.fill(2);
        let name = |entry: &Entry| match entry {
            Entry::Live(record) => record.body.decode().unwrap().get(&Path::key("name")).cloned(),
            other => panic!("{other:?}"),
        };
        let one = rig.read(Read::Ids(vec![made[0].clone()])).await.unwrap();
        assert_eq!(name(&one.entries[0]), None, "a read by id is stale too");
        let (entries, passed, _) = rig.list_all(cursor.as_ref()).await;
        assert_eq!(ids(&entries), ["2", "3"]);
        advance(1_000).await;
        let one = rig.read(Read::Ids(vec![made[0].clone()])).await.unwrap();
        assert_eq!(name(&one.entries[0]), Some(Value::string("new")));
        let (entries, _, _) = rig.list_all(passed.as_ref()).await;
        assert_eq!(ids(&entries), ["1", "2", "3"], "the hidden change comes, and what followed it again");
    });
}

#[test]
fn a_replica_catches_up_in_order() {
    on_paused_time(async {
        let rig = Rig::new();
        let made = rig.fill(1);
        rig.app.script(Scripted::new(On::Update, Fault::Stale { for_ms: 1_000 }));
        stored(rig.write(update(&made[0], None, set("name", "first"))).await);
        rig.app.patch(OBJECT, made[0].clone(), vec![set("name", "second")]);
        for (wait_ms, shown) in [(999, r#"{"n":0}"#), (1, r#"{"n":0,"name":"second"}"#)] {
            advance(wait_ms).await;
            let page = rig.read(Read::Ids(made.clone())).await.unwrap();
            let [Entry::Live(record)] = page.entries.as_slice() else { panic!("{page:?}") };
            assert_eq!(record.body.as_str(), shown, "never the second edit while the first is hidden");
        }
    });
}

#[test]
fn a_read_that_begins_before_a_hidden_change_shows_never_passes_it() {
    on_paused_time(async {
        let rig = Rig::new();
        rig.behave(|behaviour| behaviour.page_size = 1);
        let made = rig.fill(3);
        rig.app.script(Scripted::new(On::Update, Fault::Stale { for_ms: 1_000 }));
        stored(rig.write(update(&made[0], None, set("name", "new"))).await);
        rig.fill(2);
        let since = Cursor::new("change:3");
        let first = rig.list(Some(&since), None).await.unwrap();
        assert_eq!(ids(&first.entries), ["4"]);
        advance(1_000).await;
        let second = rig.list(Some(&since), first.next).await.unwrap();
        assert_eq!(ids(&second.entries), ["5"]);
        let (entries, _, _) = rig.list_all(second.cursor.as_ref()).await;
        assert!(ids(&entries).contains(&"1"), "{:?}", second.cursor);
    });
}

#[test]
fn time_cursors_round_look_back_and_never_go_back() {
    on_paused_time(async {
        let rig = Rig::new();
        rig.behave(|behaviour| {
            behaviour.cursors = Cursors::Time { granularity_ms: 1_000, inclusive: true, lookback_ms: 5_000 };
        });
        advance(10_400).await;
        rig.fill(1);
        advance(4_000).await;
        rig.fill(1);
        let (entries, cursor, _) = rig.list_all(None).await;
        assert_eq!(cursor, Some(Cursor::new("ms:14000")));
        let Entry::Live(record) = &entries[0] else { panic!("{entries:?}") };
        assert_eq!(record.modified.unwrap().timestamp_millis() % 1_000, 0);
        let (entries, again, _) = rig.list_all(cursor.as_ref()).await;
        assert_eq!((ids(&entries), again), (vec!["1", "2"], cursor.clone()), "the lookback reads both again");
        let late = Cursor::new("ms:17000");
        let (entries, kept, _) = rig.list_all(Some(&late)).await;
        assert_eq!((ids(&entries), kept), (vec!["2"], Some(late)));
    });
}

#[test]
fn a_cursor_or_token_of_another_making_is_refused() {
    on_paused_time(async {
        let rig = Rig::new();
        rig.fill(1);
        for cursor in ["", "ms:5", "change:", "change:-1", "x"] {
            assert_eq!(next_step(rig.list(Some(&Cursor::new(cursor)), None).await), NextStep::Resync, "{cursor}");
        }
        assert_eq!(next_step(rig.list(None, Some(PageToken::new("x"))).await), NextStep::Fail);
    });
}

#[test]
fn an_unconditional_write_over_an_unseen_change_is_counted() {
    on_paused_time(async {
        let rig = Rig::new();
        let made = rig.fill(1);
        let id = &made[0];
        rig.list_all(None).await;
        stored(rig.write(update(id, None, set("name", "a"))).await);
        stored(rig.write(update(id, None, set("name", "b"))).await);
        assert_eq!(rig.app.blind_overwrites(), 0, "it had seen each state it overwrote");
        rig.app.patch(OBJECT, id.clone(), vec![set("name", "someone's")]);
        let old = Some(Version::from("v1"));
        assert_eq!(rig.write(update(id, old.clone(), set("name", "c"))).await, Outcome::Changed);
        assert_eq!(rig.write(delete(id, old.clone())).await, Outcome::Changed);
        assert_eq!(rig.app.blind_overwrites(), 0, "refused in time");
        rig.can(|capabilities| capabilities.conditional = false);
        stored(rig.write(update(id, old, set("name", "c"))).await);
        assert_eq!(rig.app.blind_overwrites(), 1, "the version was not checked");
        rig.app.patch(OBJECT, id.clone(), vec![set("name", "someone's")]);
        assert_eq!(rig.write(delete(id, None)).await, Outcome::Deleted);
        assert_eq!(rig.app.blind_overwrites(), 2);
        let found: Vec<_> = rig.app.log().into_iter().filter(|entry| entry.operation.is_write()).collect();
        let Operation::Update { expected, found, .. } = &found[4].operation else { panic!("{found:?}") };
        assert_eq!((expected.as_ref().unwrap().as_str(), found.as_ref().unwrap().as_str()), ("v1", "v4"));
    });
}

#[test]
fn creates_are_recovered_as_the_capability_says() {
    let id = |outcome: &Outcome| match outcome {
        Outcome::Written(stored) => Some(stored.id.clone()),
        Outcome::Duplicate(named) => named.clone(),
        _ => None,
    };
    for (recovery, makes, names) in [
        (CreateRecovery::ClientId, 1, true),
        (CreateRecovery::IdempotencyKey { life_ms: 60_000 }, 1, true),
        (CreateRecovery::ExternalId, 1, true),
        (CreateRecovery::Find { settle_ms: 1 }, 2, false),
        (CreateRecovery::Park, 2, false),
    ] {
        on_paused_time(async {
            let rig = Rig::new();
            rig.can(|capabilities| capabilities.create = recovery);
            let first = rig.create(1).await;
            advance(59_999).await;
            let second = rig.create(1).await;
            assert_eq!(rig.count(), makes, "{recovery:?}");
            assert_eq!(id(&first) == id(&second), names, "{recovery:?}");
            assert_eq!(rig.app.duplicates().len(), makes - 1, "{recovery:?}: the app knows of duplicates");
        });
    }
}

#[test]
fn an_idempotency_key_expires_and_is_refused_with_other_content() {
    on_paused_time(async {
        let rig = Rig::new();
        rig.can(|capabilities| capabilities.create = CreateRecovery::IdempotencyKey { life_ms: 1_000 });
        stored(rig.create(1).await);
        let Write::Create(mut other) = create(2) else { unreachable!("made by create") };
        other.idempotency_key = "key-1".into();
        assert!(matches!(rig.write(Write::Create(other)).await, Outcome::Rejected { .. }));
        advance(1_000).await;
        stored(rig.create(1).await);
        assert_eq!(rig.count(), 2, "past its life the key is new");
    });
}

#[test]
fn a_late_create_with_a_client_id_makes_no_second_record() {
    on_paused_time(async {
        let rig = Rig::new();
        rig.can(|capabilities| capabilities.create = CreateRecovery::ClientId);
        rig.app.script(Scripted::new(On::Create, Fault::LateCommit { after_ms: 500 }));
        assert!(matches!(rig.create(1).await, Outcome::Unknown(_)));
        stored(rig.create(1).await);
        advance(500).await;
        assert_eq!((rig.count(), rig.app.writes()), (1, 1));
    });
}

#[test]
fn an_external_id_is_found_at_once_and_a_field_after_the_index_lag() {
    on_paused_time(async {
        let rig = Rig::new();
        rig.can(|capabilities| capabilities.find = vec![Path::key("n")]);
        rig.behave(|behaviour| behaviour.index_lag_ms = 2_000);
        stored(rig.create(1).await);
        let by_external_id = rig.read(Read::ExternalId("ext-1".into())).await.unwrap();
        assert_eq!(by_external_id.entries.len(), 1);
        let wanted = Read::Find(vec![(Path::key("n"), value("1.0"))]);
        assert!(rig.read(wanted.clone()).await.unwrap().entries.is_empty());
        advance(2_000).await;
        assert_eq!(rig.read(wanted).await.unwrap().entries.len(), 1);
        let unsearchable = Read::Find(vec![(Path::key("name"), value("1"))]);
        assert_eq!(next_step(rig.read(unsearchable).await), NextStep::Fail);
    });
}

#[test]
fn a_pause_asked_for_is_obeyed_by_the_budget() {
    on_paused_time(async {
        let rig = Rig::new();
        rig.app.script(Scripted::new(On::Write, Fault::RateLimited { retry_after_ms: 3_000 }));
        let outcome = rig.create(1).await;
        assert!(matches!(outcome, Outcome::NotSent(error) if error.next == NextStep::Wait { millis: 3_000 }));
        let before = tokio::time::Instant::now();
        stored(rig.create(1).await);
        assert_eq!(before.elapsed(), Duration::from_secs(3));
        assert_eq!(rig.app.impatient_calls(), 0);
        // A caller with a budget of its own that knows of no pause is noticed, once it could know.
        rig.app.script(Scripted::new(On::Write, Fault::RateLimited { retry_after_ms: 3_000 }));
        rig.create(2).await;
        advance(1).await;
        let other = Calls::new(&Limits::default());
        rig.connector.read(&other, &OBJECT.into(), Read::All { page: None }).await.unwrap();
        assert_eq!(rig.app.impatient_calls(), 1);
    });
}

#[test]
fn the_apps_own_limit_answers_429_and_says_when() {
    on_paused_time(async {
        let rig = Rig::new();
        rig.behave(|behaviour| behaviour.rate_limit = Some(Window::new(2, 1_000)));
        rig.list(None, None).await.unwrap();
        advance(300).await;
        rig.list(None, None).await.unwrap();
        assert_eq!(next_step(rig.list(None, None).await), NextStep::Wait { millis: 700 });
        rig.list(None, None).await.unwrap();
        assert_eq!(rig.app.busiest(1_000), 3, "with the one refused");
        assert_eq!(rig.app.calls(), 4);
    });
}

#[test]
fn a_batch_is_one_call_and_may_be_refused_or_lost_in_part() {
    on_paused_time(async {
        let rig = Rig::new();
        let batch = |from: u32| (from..from + 4).map(create).collect::<Vec<_>>();
        let object = ObjectName::from(OBJECT);
        let outcomes = rig.connector.write(&rig.calls, &object, batch(0)).await;
        assert!(matches!(&outcomes[..], [Outcome::NotSent(error), ..] if error.next == NextStep::Fail), "{outcomes:?}");
        assert_eq!((outcomes.len(), rig.count()), (4, 0), "more than it takes is refused whole");

        rig.can(|capabilities| capabilities.batch = 4);
        rig.app.script(Scripted::new(On::Write, Fault::PartialCommit));
        let outcomes = rig.connector.write(&rig.calls, &object, batch(0)).await;
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Unknown(_))), "{outcomes:?}");
        assert_eq!(rig.count(), 2);

        rig.app.script(Scripted::new(On::Update, Fault::Rejected { reason: "no".into() }).id("2"));
        let updates = ["1", "2", "3"].map(|id| update(&id.into(), None, set("name", "x")));
        let outcomes = rig.connector.write(&rig.calls, &object, updates.to_vec()).await;
        assert!(
            matches!(&outcomes[..], [Outcome::Written(_), Outcome::Rejected { .. }, Outcome::Missing]),
            "{outcomes:?}"
        );
        assert_eq!(rig.app.calls(), 2);
    });
}

#[test]
fn records_are_refused_by_validation_and_by_a_unique_field() {
    on_paused_time(async {
        let rig = Rig::new();
        rig.app.set_unique(OBJECT, Some(Path::key("n")));
        rig.app.set_validation(OBJECT, |value| {
            let name = value.get(&Path::key("name"))?.as_str()?;
            (name == "bad").then(|| Rejection { reason: "bad name".into(), path: Some("name".into()) })
        });
        let made = rig.fill(2);
        assert_eq!(rig.create(1).await, Outcome::Duplicate(Some(made[1].clone())));
        rig.behave(|behaviour| behaviour.duplicate_names_id = false);
        assert_eq!(rig.create(1).await, Outcome::Duplicate(None));
        let change = Change { path: Path::key("n"), value: Some(value("1")) };
        let taken = rig.write(update(&made[0], None, change)).await;
        assert!(matches!(taken, Outcome::Rejected { path: Some(path), .. } if path == "n"));
        let bad = rig.write(update(&made[0], None, set("name", "bad"))).await;
        assert_eq!(bad, Outcome::Rejected { reason: "bad name".into(), path: Some("name".into()) });
        assert_eq!(rig.app.get(OBJECT, made[0].clone()), Some(value(r#"{"n":0}"#)));
        rig.can(|capabilities| capabilities.writable = false);
        assert!(matches!(rig.create(9).await, Outcome::Rejected { .. }));
    });
}

#[test]
fn whole_updates_lose_what_their_current_record_lacks() {
    on_paused_time(async {
        let rig = Rig::new();
        rig.can(|capabilities| capabilities.update = UpdateStyle::Whole);
        let made = rig.fill(1);
        rig.app.patch(OBJECT, made[0].clone(), vec![set("color", "red")]);
        let whole = |current: Option<&str>| {
            let current = current.map(Body::from_json);
            let changes = vec![set("name", "x")];
            Write::Update(Update { id: made[0].clone(), expected: None, current, changes })
        };
        assert!(matches!(rig.write(whole(None)).await, Outcome::NotSent(_)));
        stored(rig.write(whole(Some(r#"{"n":0}"#))).await);
        assert_eq!(rig.app.get(OBJECT, made[0].clone()), Some(value(r#"{"n":0,"name":"x"}"#)));
    });
}

#[test]
fn records_normalise_deletions_list_and_returning_ids_live_again() {
    on_paused_time(async {
        let rig = Rig::new();
        rig.behave(|behaviour| {
            behaviour.normalise = Normalise { trim: true, ..Normalise::default() };
            behaviour.returns_body = false;
        });
        rig.app.put(OBJECT, "a/b", value(r#"{"name":" x "}"#));
        let answer = stored(rig.write(update(&"a/b".into(), None, set("name", " y "))).await);
        assert_eq!(answer.body, None);
        assert_eq!(rig.app.get(OBJECT, "a/b"), Some(value(r#"{"name":"y"}"#)));
        let (_, cursor, _) = rig.list_all(None).await;
        assert!(rig.app.delete(OBJECT, "a/b"));
        assert!(!rig.app.delete(OBJECT, "a/b"), "there is nothing to delete any more");
        let (entries, _, _) = rig.list_all(cursor.as_ref()).await;
        assert!(matches!(&entries[..], [Entry::Deleted { cause: DeletionCause::Tombstone, .. }]), "{entries:?}");
        assert!(rig.list_all(None).await.0.is_empty(), "a full list holds no tombstones");
        rig.app.put(OBJECT, "a/b", value("{}"));
        assert!(matches!(&rig.list_all(cursor.as_ref()).await.0[..], [Entry::Live(_)]));
    });
}

#[test]
fn unreadable_and_raw_records() {
    on_paused_time(async {
        let rig = Rig::new();
        let made = rig.fill(2);
        rig.app.set_unreadable(OBJECT, made[0].clone(), true);
        rig.app.put_raw(OBJECT, made[1].clone(), r#"{"a":1,"a":2}"#);
        let (entries, _, _) = rig.list_all(None).await;
        assert!(matches!(&entries[0], Entry::Bad(_)), "{entries:?}");
        let Entry::Live(record) = &entries[1] else { panic!("{entries:?}") };
        assert!(record.body.decode().is_err());
        rig.app.set_unreadable(OBJECT, made[0].clone(), false);
        assert!(matches!(&rig.list_all(None).await.0[0], Entry::Live(_)));
    });
}

#[test]
fn scopes_keep_apart() {
    on_paused_time(async {
        let app = MemoryApp::new(1);
        let factory = app.factory_by_scope();
        assert!(factory.make(&ConnectorScope { scope: None }).is_err());
        let mine = factory.make(&ConnectorScope { scope: Some("acct_1".into()) }).unwrap();
        app.put("acct_1/contacts", "1", value("{}"));
        app.put("acct_2/contacts", "2", value("{}"));
        let calls = Calls::new(&Limits::default());
        let page = mine.read(&calls, &OBJECT.into(), Read::All { page: None }).await.unwrap();
        assert_eq!(ids(&page.entries), ["1"]);
    });
}

#[test]
fn a_panic_harms_the_call_and_nothing_else() {
    on_paused_time(async {
        let rig = std::rc::Rc::new(Rig::new());
        rig.app.script(Scripted::new(On::Create, Fault::Panic));
        let local = tokio::task::LocalSet::new();
        let inner = std::rc::Rc::clone(&rig);
        let call = local.spawn_local(async move { inner.create(1).await });
        assert!(local.run_until(call).await.unwrap_err().is_panic());
        stored(rig.create(1).await);
        assert_eq!(rig.count(), 1);
    });
}

#[test]
fn a_call_dropped_in_flight_may_have_taken_effect() {
    on_paused_time(async {
        let rig = Rig::new();
        rig.behave(|behaviour| behaviour.latency_ms = (100, 100));
        for (wait_ms, made) in [(49, 0), (51, 1)] {
            let call = tokio::time::timeout(Duration::from_millis(wait_ms), rig.create(1));
            assert!(call.await.is_err());
            assert_eq!(rig.count(), made, "after {wait_ms} ms");
        }
    });
}

#[test]
fn a_429_that_says_nothing_pauses_as_long_as_a_connector_must_guess() {
    on_paused_time(async {
        let rig = Rig::new();
        rig.app.script(Scripted::new(On::Read, Fault::RateLimitedSilently));
        assert_eq!(next_step(rig.list(None, None).await), NextStep::Wait { millis: 5_000 });
        let before = tokio::time::Instant::now();
        rig.list(None, None).await.unwrap();
        assert_eq!(before.elapsed(), Duration::from_secs(5));
        rig.behave(|behaviour| {
            behaviour.rate_limit = Some(Window::new(1, 1_000));
            behaviour.limit_says_when = false;
        });
        rig.list(None, None).await.unwrap();
        assert!(
            matches!(rig.create(1).await, Outcome::NotSent(error) if error.next == NextStep::Wait { millis: 5_000 })
        );
        assert_eq!((rig.count(), rig.app.impatient_calls()), (0, 0));
    });
}

#[test]
fn expired_credentials_are_refused_until_they_are_renewed() {
    on_paused_time(async {
        let rig = Rig::new();
        rig.app.expire_credentials_in(1_000);
        stored(rig.create(1).await);
        advance(1_000).await;
        assert_eq!(next_step(rig.list(None, None).await), NextStep::Reauthorise);
        let outcome = rig.create(2).await;
        assert!(matches!(outcome, Outcome::NotSent(error) if error.next == NextStep::Reauthorise));
        rig.app.faults_off();
        assert_eq!(next_step(rig.list(None, None).await), NextStep::Reauthorise, "that is no fault");
        rig.app.renew_credentials();
        assert_eq!(rig.list_all(None).await.0.len(), 1);
    });
}

#[test]
fn the_apps_clock_is_ahead_or_behind_and_may_step_back() {
    let modified = |entry: &Entry| match entry {
        Entry::Live(record) => record.modified.unwrap().timestamp_millis() - 1_704_067_200_000,
        other => panic!("{other:?}"),
    };
    on_paused_time(async {
        let rig = Rig::new();
        rig.behave(|behaviour| {
            behaviour.cursors = Cursors::Time { granularity_ms: 1_000, inclusive: true, lookback_ms: 60_000 };
            behaviour.clock_skew_ms = -600_500;
        });
        rig.fill(1);
        let (entries, cursor, _) = rig.list_all(None).await;
        assert_eq!((modified(&entries[0]), cursor.clone()), (-601_000, Some(Cursor::new("ms:-601000"))));
        rig.app.set_clock_skew_ms(600_000);
        rig.fill(1);
        let (entries, cursor, _) = rig.list_all(cursor.as_ref()).await;
        assert_eq!((ids(&entries), cursor.clone()), (vec!["1", "2"], Some(Cursor::new("ms:600000"))));
        rig.app.set_clock_skew_ms(590_000);
        rig.fill(1);
        let (entries, cursor, _) = rig.list_all(cursor.as_ref()).await;
        assert_eq!(ids(&entries), ["3", "2"], "within the lookback a step back loses nothing");
        rig.app.set_clock_skew_ms(0);
        rig.fill(1);
        assert_eq!(ids(&rig.list_all(cursor.as_ref()).await.0), ["3", "2"], "beyond it the change is not seen");
    });
}

#[test]
fn a_late_transaction_shows_nothing_until_it_commits_with_the_time_of_its_beginning() {
    on_paused_time(async {
        let rig = Rig::new();
        rig.behave(|behaviour| {
            behaviour.cursors = Cursors::Time { granularity_ms: 1_000, inclusive: true, lookback_ms: 5_000 };
        });
        let made = rig.fill(2);
        advance(10_000).await;
        rig.app.patch_late(OBJECT, made[0].clone(), vec![set("name", "late")], 5_000);
        advance(4_000).await;
        stored(rig.write(update(&made[0], None, set("note", "ours"))).await);
        let (_, cursor, _) = rig.list_all(None).await;
        assert_eq!(cursor, Some(Cursor::new("ms:14000")));
        advance(999).await;
        assert_eq!(rig.app.get(OBJECT, made[0].clone()), Some(value(r#"{"n":0,"note":"ours"}"#)));
        advance(1).await;
        let (entries, _, _) = rig.list_all(cursor.as_ref()).await;
        let [Entry::Live(record)] = entries.as_slice() else { panic!("{entries:?}") };
        assert_eq!(record.body.as_str(), r#"{"n":0,"note":"ours","name":"late"}"#, "it commits over what came between");
        assert_eq!(record.modified.unwrap().timestamp_millis(), 1_704_067_210_000);
        let history = rig.app.history(OBJECT, made[0].clone());
        let at: Vec<_> = history.iter().map(|entry| (entry.at_ms, entry.cause.clone())).collect();
        assert_eq!(at, [(0, Cause::Edit), (14_000, Cause::Call(1)), (15_000, Cause::Edit)]);
    });
}

/// Within the lookback no reader of changes misses a late transaction; beyond it some do.
#[test]
fn late_transactions_are_missed_only_beyond_what_a_cursor_can_bear() {
    let missed = |cursors: Cursors, faults: Faults| {
        on_paused_time(async {
            let rig = Rig::new();
            rig.behave(|behaviour| behaviour.cursors = cursors);
            let made = rig.fill(10);
            rig.app.set_faults(faults);
            let (_, mut cursor, _) = rig.list_all(None).await;
            let mut seen = std::collections::BTreeMap::new();
            for n in 0..300 {
                rig.app.patch(OBJECT, made[n % 10].clone(), vec![set("name", &n.to_string())]);
                advance(700).await;
                let (entries, next, _) = rig.list_all(cursor.as_ref()).await;
                cursor = next.or(cursor);
                for entry in entries {
                    let Entry::Live(record) = entry else { panic!("{entry:?}") };
                    seen.insert(record.id, record.body.decode().unwrap());
                }
            }
            advance(1_000_000).await;
            for entry in rig.list_all(cursor.as_ref()).await.0 {
                let Entry::Live(record) = entry else { panic!("{entry:?}") };
                seen.insert(record.id, record.body.decode().unwrap());
            }
            rig.app.all(OBJECT).into_iter().filter(|(id, value)| seen.get(id) != Some(value)).count()
        })
    };
    let bounded = Faults { late_visible: 500, late_visible_ms: 60_000, ..Faults::default() };
    let beyond = Faults { late_beyond_lookback: 500, late_visible_ms: 60_000, ..Faults::default() };
    let time = |lookback_ms| Cursors::Time { granularity_ms: 1_000, inclusive: true, lookback_ms };
    for cursors in [Cursors::Sequence, time(0), time(5_000), time(60_000)] {
        assert_eq!(missed(cursors, bounded.clone()), 0, "{cursors:?}");
    }
    for cursors in [Cursors::Sequence, time(5_000)] {
        assert!(missed(cursors, beyond.clone()) > 0, "{cursors:?}");
    }
    assert_eq!(missed(time(60_000), beyond), 0, "a lookback that reaches back far enough");
}

#[test]
fn many_records_are_edited_with_one_stamp() {
    on_paused_time(async {
        let rig = Rig::new();
        rig.behave(|behaviour| {
            behaviour.page_size = 2;
            behaviour.cursors = Cursors::Time { granularity_ms: 60_000, inclusive: true, lookback_ms: 0 };
        });
        let made = rig.fill(5);
        advance(100_000).await;
        let patches = |ids: &[RecordId]| ids.iter().map(|id| (id.clone(), vec![set("name", "x")])).collect();
        assert_eq!(rig.app.patch_many(OBJECT, patches(&[&made[..], &["none".into()]].concat())), 5);
        let (entries, cursor, _) = rig.list_all(Some(&Cursor::new("ms:60000"))).await;
        assert_eq!((ids(&entries), cursor), (vec!["1", "2", "3", "4", "5"], Some(Cursor::new("ms:60000"))));
    });
}

#[test]
fn merged_records_leave_one_and_the_other_is_gone() {
    on_paused_time(async {
        let rig = Rig::new();
        rig.app.put(OBJECT, "a", value(r#"{"p":{"name":"A","phone":"1"},"tag":"x"}"#));
        rig.app.put(OBJECT, "b", value(r#"{"p":{"name":"B"}}"#));
        let (_, cursor, _) = rig.list_all(None).await;
        assert!(!rig.app.merge(OBJECT, "a", "a") && !rig.app.merge(OBJECT, "a", "c"));
        assert!(rig.app.merge(OBJECT, "a", "b"));
        assert_eq!(rig.app.get(OBJECT, "b"), Some(value(r#"{"p":{"name":"B","phone":"1"},"tag":"x"}"#)));
        let page = rig.read(Read::Ids(vec!["a".into()])).await.unwrap();
        assert!(matches!(&page.entries[..], [Entry::Deleted { cause: DeletionCause::NotFound, .. }]), "{page:?}");
        let (entries, _, _) = rig.list_all(cursor.as_ref()).await;
        assert!(matches!(&entries[..], [Entry::Deleted { .. }, Entry::Live(_)]), "{entries:?}");
        let causes: Vec<_> = rig.app.edits().into_iter().map(|entry| (entry.id, entry.cause)).collect();
        let merge = |id: &str, other: &str| (RecordId::from(id), Cause::Merge { other: other.into() });
        assert_eq!(causes[2..], [merge("a", "b"), merge("b", "a")]);
    });
}

#[test]
fn a_record_is_made_again_with_another_id() {
    on_paused_time(async {
        let rig = Rig::new();
        rig.app.set_unique(OBJECT, Some(Path::key("n")));
        let made = rig.fill(1);
        let again = rig.app.recreate(OBJECT, made[0].clone()).unwrap();
        assert_ne!(again, made[0]);
        assert_eq!(rig.app.all(OBJECT).into_iter().collect::<Vec<_>>(), [(again.clone(), value(r#"{"n":0}"#))]);
        rig.app.delete(OBJECT, again.clone());
        assert!(rig.app.recreate(OBJECT, again).is_some(), "also when it is gone already");
        assert_eq!(rig.app.recreate(OBJECT, "never"), None);
        assert_eq!(rig.count(), 1);
    });
}

#[test]
fn writes_leave_alone_what_the_app_sets_by_itself() {
    on_paused_time(async {
        let rig = Rig::new();
        rig.behave(|behaviour| {
            behaviour.normalise = Normalise {
                read_only: vec![Path::key("score")],
                computed: vec![(Path::key("rev"), Computed::Revision)],
                ..Normalise::default()
            };
        });
        rig.app.put(OBJECT, "a", value(r#"{"n":1,"score":5}"#));
        assert_eq!(rig.app.get(OBJECT, "a"), Some(value(r#"{"n":1,"score":5,"rev":1}"#)), "the app itself may");
        let answer = stored(rig.write(update(&"a".into(), None, set("score", "9"))).await);
        assert_eq!(answer.body.unwrap().as_str(), r#"{"n":1,"score":5,"rev":2}"#);
    });
}

#[test]
fn a_slow_index_is_drawn_for_each_record() {
    on_paused_time(async {
        let rig = Rig::new();
        rig.can(|capabilities| capabilities.find = vec![Path::key("same")]);
        rig.app.set_faults(Faults { slow_index: 500, slow_index_ms: 90_000, ..Faults::default() });
        for _ in 0..40 {
            rig.app.create(OBJECT, value(r#"{"same":1}"#));
        }
        let mut found = Vec::new();
        for wait_ms in [0, 45_000, 45_000] {
            advance(wait_ms).await;
            found.push(rig.read(Read::Find(vec![(Path::key("same"), value("1"))])).await.unwrap().entries.len());
        }
        assert!((10..30).contains(&found[0]) && found[0] < found[1] && found[1] < 40, "{found:?}");
        assert_eq!(found[2], 40);
    });
}

#[test]
fn a_frozen_app_answers_nobody_and_does_nothing() {
    on_paused_time(async {
        let rig = std::rc::Rc::new(Rig::new());
        rig.behave(|behaviour| behaviour.latency_ms = (100, 100));
        let local = tokio::task::LocalSet::new();
        let call = |n: u32| {
            let rig = std::rc::Rc::clone(&rig);
            local.spawn_local(async move { rig.create(n).await })
        };
        let calls = local
            .run_until(async {
                let before_effect = call(1);
                tokio::time::sleep(Duration::from_millis(60)).await;
                let before_answer = before_effect;
                let before_effect = call(2);
                tokio::time::sleep(Duration::from_millis(20)).await;
                rig.app.freeze(true);
                let while_frozen = call(3);
                tokio::time::sleep(Duration::from_secs(1)).await;
                rig.app.freeze(false);
                tokio::time::sleep(Duration::from_secs(1_000)).await;
                [before_answer, before_effect, while_frozen]
            })
            .await;
        assert!(calls.iter().all(|call| !call.is_finished()), "they pend for ever");
        assert_eq!((rig.count(), rig.app.calls_seen()), (1, 2), "the first had taken effect");
        stored(local.run_until(rig.create(4)).await);
    });
}

#[test]
fn a_hook_can_stop_a_call_before_and_after_its_effect() {
    for (moment, made) in [(Moment::BeforeEffect, 1), (Moment::BeforeAnswer, 2)] {
        on_paused_time(async {
            let rig = Rig::new();
            let app = rig.app.clone();
            rig.app.on_call(move |call, now| {
                if (call, now) == (2, moment) {
                    app.freeze(true);
                }
            });
            stored(rig.create(1).await);
            assert!(tokio::time::timeout(Duration::from_secs(60), rig.create(2)).await.is_err(), "{moment:?}");
            assert_eq!(rig.count(), made, "{moment:?}");
            rig.app.freeze(false);
            rig.app.no_hook();
            stored(rig.create(3).await);
            assert_eq!(rig.app.calls_seen(), 3);
        });
    }
}

#[test]
fn log_and_history_are_read_on_from_where_one_was() {
    on_paused_time(async {
        let rig = Rig::new();
        let made = rig.fill(1);
        rig.app.script(Scripted::new(On::Update, Fault::LateCommit { after_ms: 50 }).nth(2));
        stored(rig.write(update(&made[0], None, set("name", "a"))).await);
        let (log, history) = (rig.app.log_len(), rig.app.history_from(0).len());
        rig.write(update(&made[0], None, set("name", "b"))).await;
        assert_eq!(rig.app.log_from(log).len(), 1);
        assert!(rig.app.history_from(history).is_empty());
        advance(50).await;
        rig.app.delete(OBJECT, made[0].clone());
        let new: Vec<_> = rig.app.history_from(history).into_iter().map(|e| (e.version, e.cause, e.value)).collect();
        let late = (Version::from("v3"), Cause::LateCall(2), Some(value(r#"{"n":0,"name":"b"}"#)));
        assert_eq!(new, [late, (Version::from("v4"), Cause::Edit, None)]);
        assert_eq!(rig.app.edits().len(), 2);
        assert!(rig.app.log_from(99).is_empty());
    });
}

/// The same seed and the same calls give the same log, and the drawn faults lose no
/// record to a reader that reads again what failed.
#[test]
fn a_swarm_of_faults_is_the_same_each_time() {
    let run = |seed: u64, harsh: bool| {
        on_paused_time(async {
            let app = MemoryApp::new(seed);
            app.set_faults(if harsh { tame_panics(Faults::harsh(seed)) } else { Faults::swarm(seed) });
            let connector = app.factory().make(&ConnectorScope { scope: None }).unwrap();
            let rig = Rig { app, connector, calls: Calls::new(&Limits::default()) };
            rig.behave(|behaviour| behaviour.page_size = 3);
            for n in 0..40 {
                rig.app.create(OBJECT, value("{}"));
                rig.create(n).await;
                let _ = rig.list(None, None).await;
                advance(100).await;
            }
            advance(1_000_000).await;
            format!("{:?}{:?}", rig.app.log(), rig.app.history_from(0))
        })
    };
    for harsh in [false, true] {
        let logs: Vec<String> = (0..20).map(|seed| run(seed, harsh)).collect();
        for (seed, log) in (0..20).zip(&logs) {
            assert_eq!(run(seed, harsh), *log, "seed {seed}");
        }
        let different: std::collections::BTreeSet<&String> = logs.iter().collect();
        assert_eq!(different.len(), 20);
    }
}

fn tame_panics(faults: Faults) -> Faults {
    Faults { panic_in_read: 0, panic_in_write: 0, ..faults }
}
