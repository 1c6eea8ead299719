//! What the store promises, through its own front door.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::committer::{Task, run_group};
use super::keys::Range;
use super::tables::Table;
use super::*;
use crate::model::cursor::{Cursor, CursorDelta, StreamNo};
use crate::model::hash::{Digest, RawHash};
use crate::model::ids::{ObjectName, PairNo, RecordId, Scope, Version};
use crate::model::marker::{BaseValue, LinkState, Marker, Previous};
use crate::model::record::{Body, DeletionCause};
use crate::model::side::{PerSide, Side};
use crate::model::value::Value;
use crate::model::work::{
    Conflict, Intent, IntentOperation, IntentState, Lane, Pending, PendingReason, QuarantineKind, Quarantined, Totals,
};
use crate::model::write::{Change, Create};

fn memory() -> Store {
    Store::in_memory(StoreOptions::inline().with_kernel_id("k1")).unwrap()
}

/// The answer of something that is done at the call.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("an inline store answers at the call"),
    }
}

/// The answer of something that a thread does.
fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn begin(store: &Store, name: &str) -> (CommitRight, SyncNo) {
    let conn = store.intern_connection(&name.into()).unwrap();
    let sync = store.intern_sync(&"contacts".into()).unwrap();
    (store.start_epoch(conn).unwrap(), sync)
}

fn id(text: &str) -> RecordId {
    text.into()
}

fn marker(text: &str) -> Marker {
    let mut marker = Marker::new(Digest::of(b"mapping"));
    marker.sides.app.id = Some(id(text));
    marker
}

fn pending(text: &str) -> Pending {
    Pending { side: Side::App, id: id(text), reason: PendingReason::Requested, due_ms: 5, since_ms: 4, attempts: 0 }
}

fn intent(source: &str) -> Intent {
    Intent {
        number: 1,
        target: Side::Remote,
        operation: IntentOperation::Create {
            create: Create {
                record: Value::from_json(r#"{"email":"a@x"}"#).unwrap(),
                idempotency_key: "i".into(),
                external_id: "k1:1:1".into(),
            },
            source: id(source),
            match_key: Some(Digest::of(b"a@x")),
        },
        epoch: Epoch(1),
        opened_ms: 7,
        state: IntentState::Open,
    }
}

fn delta(sync: SyncNo, from: Option<&str>, to: Option<&str>) -> CursorDelta {
    CursorDelta {
        sync,
        side: Side::Remote,
        stream: StreamNo::CHANGES,
        from: from.map(Cursor::new),
        to: to.map(Cursor::new),
    }
}

fn text(store: &Store) -> String {
    let mut out = String::new();
    store.dump(&mut out).unwrap();
    out
}

fn rows(store: &Store, table: Table) -> usize {
    let mut count = 0;
    store
        .snapshot()
        .unwrap()
        .tables
        .scan(table, &Range::ALL, |_, _| {
            count += 1;
            Ok(true)
        })
        .unwrap();
    count
}

/// One row of everything.
fn populate(store: &Store) {
    let (right, sync) = begin(store, "acme");
    let fields = store.intern_fields(sync, &["email".into(), "name".into()]).unwrap();
    let mut linked = marker("7");
    linked.state = LinkState::Linked;
    linked.sides.remote.id = Some(id("r/7"));
    linked.sides.remote.version = Some(Version::from("\"e1\""));
    linked.sides.remote.raw_hash = Some(RawHash(0xABCD));
    linked.sides.remote.previous = vec![Previous { digest: Digest::of(b"before"), version: Some("\"e0\"".into()) }];
    linked.sides.remote.written_at_ms = Some(1_000);
    linked.sides.app.match_key = Some(Digest::of(b"a@x"));
    linked.set_bases(PerSide {
        app: vec![(fields[0], BaseValue::of(Some(&Value::string("A@x")))), (fields[1], BaseValue::Absent)],
        remote: vec![
            (fields[0], BaseValue::of(Some(&Value::string("a@x")))),
            (fields[1], BaseValue::of(Some(&Value::string("n".repeat(200))))),
        ],
    });
    let mut tomb = marker("8");
    tomb.state = LinkState::Tomb { side: Side::App, both: true, at_ms: 9, cause: DeletionCause::NotFound };
    tomb.out_of_scope = Some(Side::Remote);
    let mut commit = right.new_commit();
    commit.put_marker(sync, PairNo(1), &linked);
    commit.put_marker(sync, PairNo(2), &tomb);
    commit.put_marker(sync, PairNo(9), &marker("9"));
    commit.delete_marker(sync, PairNo(9));
    commit.put_id(sync, Side::App, &id("7"), PairNo(1));
    commit.put_id(sync, Side::Remote, &id("r/7"), PairNo(1));
    commit.put_match(sync, Digest::of(b"a@x"), Side::App, PairNo(1));
    commit.put_intent(sync, PairNo(3), &intent("10"));
    let delete =
        Intent { operation: IntentOperation::Delete { id: id("r/8") }, state: IntentState::Unknown, ..intent("") };
    commit.put_intent(sync, PairNo(2), &delete);
    commit.put_pending(sync, Lane::Manual, 4, &pending("7"));
    commit.move_cursor(delta(sync, None, Some("2026-01-01T00:00:00Z")));
    let quarantined = Quarantined {
        kind: QuarantineKind::Invalid,
        reason: "too\nlong".into(),
        path: Some("email".into()),
        raw_hash: Some(RawHash(1)),
        since_ms: 3,
    };
    commit.put_quarantine(sync, Side::Remote, "#ab12", &quarantined);
    let conflict =
        Conflict { at_ms: 6, field: "name".into(), winner: Side::App, lost: Some("\"Ann\"".into()), kept: None };
    commit.put_history(sync, PairNo(1), 1, &conflict);
    commit.put_totals(sync, &Totals { read: 12, created: PerSide { app: 1, remote: 2 }, ..Totals::default() });
    now(right.commit(commit)).unwrap();
    let (scope, object) = (Scope::from("acct 42"), ObjectName::from("contacts"));
    let body = |text: &str| Body::from_json(text.to_owned());
    let ops = vec![
        RecordOp::Create { id: id("7"), body: body("{\"email\": \"a@x\",\n\"n\": 1.50}") },
        RecordOp::Create { id: id("8"), body: body("{}") },
        RecordOp::Delete { id: id("8"), expected: None },
    ];
    now(store.records_right().write(&scope, &object, ops, 11)).unwrap();
    store.keep_documents(&[("acme".into(), Some("scope = \"acct 42\"".into()))]).unwrap();
    let gone = store.intern_connection(&"gone".into()).unwrap();
    now(store.purge(gone)).unwrap();
    let resting = store.intern_connection(&"two words".into()).unwrap();
    store.set_paused(resting, true).unwrap();
}

/// The dump of [`populate`], and beside it the file it came from. A new format adds a
/// pair of its own (`SYNCLINE_WRITE_FIXTURES=1 cargo test the_dump_is_stable_text`);
/// those of released formats are never written again.
const EXPECTED: &str = include_str!("../../fixtures/store/format-1.txt");

#[test]
fn the_dump_is_stable_text() {
    let store = memory();
    populate(&store);
    let found = text(&store);
    if std::env::var_os("SYNCLINE_WRITE_FIXTURES").is_some() {
        std::fs::write("fixtures/store/format-1.txt", &found).unwrap();
        let file = Path::new("fixtures/store/format-1.redb");
        let _ = std::fs::remove_file(file);
        store.copy_to(file).unwrap();
        let mut db = Database::open(file).unwrap();
        db.compact().unwrap();
        return;
    }
    assert_eq!(found, EXPECTED, "found:\n{found}");
}

#[test]
fn a_file_of_each_released_format_opens() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.redb");
    std::fs::copy("fixtures/store/format-1.redb", &path).unwrap();
    let store = Store::open(&path, StoreOptions::inline()).unwrap();
    assert_eq!(text(&store), EXPECTED);
    assert_eq!(store.kernel_id(), "k1");
    // And it is alive.
    let (right, sync) = begin(&store, "acme");
    assert_eq!(right.epoch(), Epoch(2));
    let mut commit = right.new_commit();
    commit.move_cursor(delta(sync, Some("2026-01-01T00:00:00Z"), Some("later")));
    now(right.commit(commit)).unwrap();
}

#[test]
fn what_is_written_is_read_back() {
    let store = memory();
    populate(&store);
    let snapshot = store.snapshot().unwrap();
    let conn = snapshot.find_connection(&"acme".into()).unwrap().unwrap();
    let sync = snapshot.find_sync(&"contacts".into()).unwrap().unwrap();
    let linked = snapshot.marker(conn, sync, PairNo(1)).unwrap().unwrap();
    assert_eq!(linked.sides.remote.raw_hash, Some(RawHash(0xABCD)));
    assert_eq!(snapshot.marker(conn, sync, PairNo(9)).unwrap(), None);
    let pairs: Vec<PairNo> =
        snapshot.markers(conn, sync, PairNo(0), 10).unwrap().into_iter().map(|(pair, _)| pair).collect();
    assert_eq!(pairs, [PairNo(1), PairNo(2)]);
    assert_eq!(snapshot.markers(conn, sync, PairNo(2), 10).unwrap().len(), 1);
    assert_eq!(snapshot.markers(conn, sync, PairNo(0), 0).unwrap(), []);
    assert_eq!(snapshot.count_markers(conn, sync).unwrap(), 2);
    assert_eq!(snapshot.count_all_markers().unwrap(), 2);
    assert_eq!(snapshot.pair_by_id(conn, sync, Side::Remote, &id("r/7")).unwrap(), Some(PairNo(1)));
    assert_eq!(snapshot.pair_by_id(conn, sync, Side::App, &id("r/7")).unwrap(), None);
    let by_match = |side| snapshot.pairs_by_match(conn, sync, Digest::of(b"a@x"), side, 5).unwrap();
    assert_eq!((by_match(Side::App), by_match(Side::Remote)), (vec![PairNo(1)], vec![]));
    assert_eq!(snapshot.intent(conn, sync, PairNo(3)).unwrap(), Some(intent("10")));
    let open: Vec<PairNo> = snapshot.intents(conn).unwrap().into_iter().map(|(_, pair, _)| pair).collect();
    assert_eq!(open, [PairNo(2), PairNo(3)]);
    let row = PendingRow { lane: Lane::Manual, seq: 4, sync, pending: pending("7") };
    assert_eq!(snapshot.pending_all(conn).unwrap(), std::slice::from_ref(&row));
    assert_eq!(snapshot.pending_from(conn, Lane::Manual, 4, 1).unwrap(), [row]);
    assert_eq!(snapshot.pending_from(conn, Lane::Manual, 5, 1).unwrap(), []);
    assert_eq!(snapshot.pending_from(conn, Lane::Event, 0, 1).unwrap(), []);
    assert_eq!(snapshot.pending(conn, Lane::Manual, 4).unwrap(), Some((sync, pending("7"))));
    assert_eq!(snapshot.pending_by_id(conn, sync, Side::App, &id("7")).unwrap(), Some((Lane::Manual, 4)));
    let counts = snapshot.pending_counts(conn).unwrap();
    assert_eq!(counts.map(|(_, count)| count), [0, 0, 1, 0, 0, 0]);
    assert_eq!(snapshot.next_pending_seq(conn).unwrap(), 5);
    let cursor = snapshot.cursor(conn, sync, Side::Remote, StreamNo::CHANGES).unwrap();
    assert_eq!(cursor, Some(Cursor::new("2026-01-01T00:00:00Z")));
    let held = snapshot.quarantine(conn, 9).unwrap();
    assert_eq!((held.len(), held[0].1, held[0].2.as_str()), (1, Side::Remote, "#ab12"));
    assert_eq!(snapshot.quarantined(conn, sync, Side::Remote, "#ab12").unwrap().as_ref(), Some(&held[0].3));
    assert_eq!(snapshot.quarantine_count(conn).unwrap(), 1);
    assert_eq!(snapshot.history(conn, sync, PairNo(1)).unwrap()[0].1.field, "name");
    assert_eq!(snapshot.totals(conn, sync).unwrap().read, 12);
    assert_eq!(snapshot.totals(conn, SyncNo(99)).unwrap(), Totals::default());
    let connection = snapshot.connection(conn).unwrap().unwrap();
    assert_eq!((connection.epoch, connection.config.as_deref()), (Epoch(1), Some("scope = \"acct 42\"")));
    let resting = snapshot.find_connection(&"two words".into()).unwrap().unwrap();
    assert_eq!((snapshot.paused(conn).unwrap(), snapshot.paused(resting).unwrap()), (false, true));
    let names: Vec<String> = snapshot.connections().unwrap().into_iter().map(|(_, id)| id.to_string()).collect();
    assert_eq!(names, ["acme", "two words"]);
    assert_eq!(snapshot.sync_name(sync).unwrap(), Some("contacts".into()));
    assert_eq!(snapshot.field_name(sync, FieldNo(2)).unwrap().as_deref(), Some("name"));
}

#[test]
fn names_keep_their_numbers() {
    let store = memory();
    let a = store.intern_connection(&"a".into()).unwrap();
    let b = store.intern_connection(&"b".into()).unwrap();
    assert_ne!(a, b);
    let flushes = store.flushes();
    assert_eq!(store.intern_connection(&"a".into()).unwrap(), a);
    assert_eq!(store.flushes(), flushes, "a known name costs no flush");
    let sync = store.intern_sync(&"s".into()).unwrap();
    let other = store.intern_sync(&"t".into()).unwrap();
    let fields = |sync, names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        store.intern_fields(sync, &names).unwrap()
    };
    assert_eq!(fields(sync, &["x", "y"]), [FieldNo(1), FieldNo(2)]);
    assert_eq!(fields(sync, &["z", "y", "x", "z"]), [FieldNo(3), FieldNo(2), FieldNo(1), FieldNo(3)]);
    assert_eq!(fields(other, &["y"]), [FieldNo(1)]);
    assert_eq!(fields(other, &[]), []);
}

#[test]
fn a_replaced_actor_cannot_write() {
    let store = memory();
    let (old, sync) = begin(&store, "acme");
    let mut late = old.new_commit();
    late.put_marker(sync, PairNo(1), &marker("1"));
    let new = store.start_epoch(old.conn()).unwrap();
    let before = text(&store);
    let error = now(old.commit(late)).unwrap_err();
    assert!(matches!(error, StoreError::StaleEpoch { epoch: Epoch(1), stored: Epoch(2), .. }), "{error}");
    assert_eq!(text(&store), before);
    let mut commit = new.new_commit();
    commit.put_marker(sync, PairNo(1), &marker("1"));
    now(new.commit(commit)).unwrap();
    assert_eq!(rows(&store, Table::Marker), 1);
}

#[test]
fn a_right_writes_its_own_connection_only() {
    let store = memory();
    let (a, sync) = begin(&store, "a");
    let (b, _) = begin(&store, "b");
    let mut commit = b.new_commit();
    commit.put_marker(sync, PairNo(1), &marker("1"));
    let error = now(a.commit(commit)).unwrap_err();
    assert!(matches!(error, StoreError::Misuse(_)), "{error}");
    assert_eq!(rows(&store, Table::Marker), 0);
}

#[test]
fn a_delta_that_does_not_fit_leaves_nothing_of_its_commit() {
    let store = memory();
    let (right, sync) = begin(&store, "acme");
    for (from, to, taken) in [
        (Some("1"), Some("2"), false),
        (None, Some("1"), true),
        (None, Some("1"), false),
        (Some("0"), Some("1"), false),
        (Some("1"), Some("2"), true),
        (Some("2"), None, true),
        (Some("2"), Some("3"), false),
        (None, Some("4"), true),
    ] {
        let before = text(&store);
        let flushes = store.flushes();
        let mut commit = right.new_commit();
        commit.put_marker(sync, PairNo(1), &marker("new"));
        commit.put_pending(sync, Lane::Event, 1, &pending("p"));
        commit.move_cursor(delta(sync, from, to));
        let result = now(right.commit(commit));
        assert_eq!(result.is_ok(), taken, "{from:?} to {to:?}: {result:?}");
        if !taken {
            assert!(matches!(result, Err(StoreError::CursorMoved { side: Side::Remote, .. })));
            assert_eq!(text(&store), before);
            assert_eq!(store.flushes(), flushes, "a refusal costs no flush");
        }
    }
    // Two moves in one commit follow each other.
    let mut commit = right.new_commit();
    commit.move_cursor(delta(sync, Some("4"), Some("5")));
    commit.move_cursor(delta(sync, Some("5"), Some("6")));
    now(right.commit(commit)).unwrap();
    let cursor = store.snapshot().unwrap().cursor(right.conn(), sync, Side::Remote, StreamNo::CHANGES).unwrap();
    assert_eq!(cursor, Some(Cursor::new("6")));
}

#[test]
fn one_flush_serves_a_group_and_a_refusal_in_it_harms_nobody_else() {
    let store = memory();
    let (stale, sync) = begin(&store, "a");
    let fresh = store.start_epoch(stale.conn()).unwrap();
    let (b, _) = begin(&store, "b");
    let with = |right: &CommitRight, pair: u64, from: Option<&str>, to: &str| {
        let mut commit = right.new_commit();
        commit.put_marker(sync, PairNo(pair), &marker("x"));
        commit.move_cursor(delta(sync, from, Some(to)));
        commit
    };
    let commits = vec![
        with(&fresh, 1, None, "1"),
        with(&stale, 2, Some("1"), "2"),
        with(&fresh, 3, Some("1"), "2"),
        with(&fresh, 4, Some("1"), "3"),
        with(&b, 5, None, "1"),
    ];
    let flushes = store.flushes();
    let (mut jobs, mut answers): (Vec<Box<dyn committer::Job>>, Vec<_>) = Default::default();
    for commit in commits {
        let (task, answer) = Task::new(commit);
        jobs.push(Box::new(task));
        answers.push(answer);
    }
    run_group(&store.inner.engine, jobs);
    let answers: Vec<_> = answers.into_iter().map(|mut answer| answer.try_recv().unwrap()).collect();
    assert!(matches!(
        answers[..],
        [Ok(()), Err(StoreError::StaleEpoch { .. }), Ok(()), Err(StoreError::CursorMoved { .. }), Ok(())]
    ));
    assert_eq!(store.flushes(), flushes + 1);
    let snapshot = store.snapshot().unwrap();
    let pairs = |conn| -> Vec<u64> {
        snapshot.markers(conn, sync, PairNo(0), 10).unwrap().into_iter().map(|(pair, _)| pair.0).collect()
    };
    assert_eq!((pairs(fresh.conn()), pairs(b.conn())), (vec![1, 3], vec![5]));
}

#[test]
fn a_crash_inside_a_group_is_told_to_all_and_stops_the_store() {
    #[derive(Debug)]
    struct Panics;
    impl Work for Panics {
        type Answer = ();
        fn num_bytes(&self) -> usize {
            0
        }
        fn resolve(&self, _: &mut WriteTables<'_>) -> Result<(commit::Effects, ()), StoreError> {
            panic!("a page is not what it seemed")
        }
    }
    let store = Store::in_memory(StoreOptions { committer: CommitterKind::Thread, ..StoreOptions::inline() }).unwrap();
    let (right, sync) = begin(&store, "a");
    let before = text(&store);
    let mut commit = right.new_commit();
    commit.put_marker(sync, PairNo(1), &marker("x"));
    let (good, mut good_answer) = Task::new(commit.clone());
    let (bad, mut bad_answer) = Task::new(Panics);
    run_group(&store.inner.engine, vec![Box::new(good), Box::new(bad)]);
    for error in [good_answer.try_recv().unwrap().unwrap_err(), bad_answer.try_recv().unwrap().unwrap_err()] {
        assert!(error.to_string().contains("a page is not what it seemed"), "{error}");
    }
    assert_eq!(text(&store), before);
    assert!(matches!(wait(right.commit(commit)), Err(StoreError::Poisoned { .. })));
    assert!(matches!(store.start_epoch(right.conn()), Err(StoreError::Poisoned { .. })));
    wait(store.close());
}

#[test]
fn a_record_has_one_pending_row_whatever_is_marked_and_done() {
    let store = memory();
    let (right, sync) = begin(&store, "acme");
    let conn = right.conn();
    let commit = |build: &dyn Fn(&mut Commit)| {
        let mut commit = right.new_commit();
        build(&mut commit);
        now(right.commit(commit))
    };
    let places = || -> Vec<(Lane, u64, String)> {
        let snapshot = store.snapshot().unwrap();
        let rows = snapshot.pending_all(conn).unwrap();
        // The index and the rows say the same.
        assert_eq!(rows.len(), rows_of_index(&store));
        for row in &rows {
            let indexed = snapshot.pending_by_id(conn, row.sync, row.pending.side, &row.pending.id).unwrap();
            assert_eq!(indexed, Some((row.lane, row.seq)));
        }
        rows.into_iter().map(|row| (row.lane, row.seq, row.pending.id.to_string())).collect()
    };
    fn rows_of_index(store: &Store) -> usize {
        rows(store, Table::PendingById)
    }
    commit(&|c| c.put_pending(sync, Lane::Backfill, 1, &pending("a"))).unwrap();
    commit(&|c| c.put_pending(sync, Lane::Backfill, 2, &pending("b"))).unwrap();
    // A more urgent mark takes the earlier one's place, and its end leaves no trace.
    commit(&|c| c.put_pending(sync, Lane::Event, 3, &pending("a"))).unwrap();
    assert_eq!(places(), [(Lane::Event, 3, "a".into()), (Lane::Backfill, 2, "b".into())]);
    // Somebody who worked on the old row finishes it: the newer mark stays.
    commit(&|c| c.delete_pending(sync, Lane::Backfill, 1, Side::App, &id("a"))).unwrap();
    assert_eq!(places().len(), 2);
    // Put, then delete of the old place, in one commit.
    commit(&|c| {
        c.put_pending(sync, Lane::Manual, 4, &pending("b"));
        c.delete_pending(sync, Lane::Backfill, 2, Side::App, &id("b"));
    })
    .unwrap();
    assert_eq!(places(), [(Lane::Event, 3, "a".into()), (Lane::Manual, 4, "b".into())]);
    // Delete, then put, too.
    commit(&|c| {
        c.delete_pending(sync, Lane::Manual, 4, Side::App, &id("b"));
        c.put_pending(sync, Lane::Audit, 5, &pending("b"));
    })
    .unwrap();
    assert_eq!(places(), [(Lane::Event, 3, "a".into()), (Lane::Audit, 5, "b".into())]);
    // A row in place is changed in place.
    commit(&|c| c.put_pending(sync, Lane::Audit, 5, &Pending { attempts: 3, ..pending("b") })).unwrap();
    assert_eq!(store.snapshot().unwrap().pending(conn, Lane::Audit, 5).unwrap().unwrap().1.attempts, 3);
    // A taken place is never overwritten, nor emptied by another record's end.
    let before = text(&store);
    for result in [
        commit(&|c| c.put_pending(sync, Lane::Audit, 5, &pending("c"))),
        commit(&|c| c.delete_pending(sync, Lane::Audit, 5, Side::App, &id("c"))),
    ] {
        assert!(matches!(result, Err(StoreError::Misuse(_))), "{result:?}");
    }
    assert_eq!(text(&store), before);
    // The same id on the other side, or in another sync, is another record.
    commit(&|c| c.put_pending(sync, Lane::Event, 6, &Pending { side: Side::Remote, ..pending("a") })).unwrap();
    assert_eq!(places().len(), 3);
    commit(&|c| c.delete_pending(sync, Lane::Event, 3, Side::App, &id("a"))).unwrap();
    commit(&|c| c.delete_pending(sync, Lane::Event, 6, Side::Remote, &id("a"))).unwrap();
    commit(&|c| c.delete_pending(sync, Lane::Audit, 5, Side::App, &id("b"))).unwrap();
    assert_eq!(places(), []);
}

#[test]
fn pair_numbers_are_never_given_out_twice() {
    let store = memory();
    let (right, sync) = begin(&store, "acme");
    let other = store.intern_sync(&"tickets".into()).unwrap();
    let third = store.intern_sync(&"deals".into()).unwrap();
    let next = || store.snapshot().unwrap().next_pair(right.conn()).unwrap().0;
    let commit = |build: &dyn Fn(&mut Commit)| {
        let mut commit = right.new_commit();
        build(&mut commit);
        now(right.commit(commit)).unwrap();
    };
    assert_eq!(next(), 1);
    commit(&|c| c.put_marker(other, PairNo(7), &marker("a")));
    commit(&|c| c.put_marker(third, PairNo(2), &marker("b")));
    commit(&|c| c.put_marker(sync, PairNo(3), &marker("c")));
    assert_eq!(next(), 8);
    commit(&|c| c.put_intent(sync, PairNo(9), &intent("d")));
    assert_eq!(next(), 10);
    // A create that became a pair.
    commit(&|c| {
        c.delete_intent(sync, PairNo(9));
        c.put_marker(sync, PairNo(9), &marker("d"));
    });
    assert_eq!((next(), rows(&store, Table::PairFloor)), (10, 0));
    // Gone altogether: other systems may still hold names built on the number.
    commit(&|c| c.delete_marker(sync, PairNo(9)));
    assert_eq!(next(), 10);
    commit(&|c| c.delete_marker(sync, PairNo(3)));
    assert_eq!(next(), 10);
    // Another connection counts for itself.
    let (neighbour, _) = begin(&store, "other");
    assert_eq!(store.snapshot().unwrap().next_pair(neighbour.conn()).unwrap(), PairNo(1));
}

#[test]
fn a_purge_takes_one_connection_and_no_neighbour() {
    let store = memory();
    let names: Vec<CommitRight> = ["before", "acme", "after"].map(|name| begin(&store, name).0).into();
    let sync = store.intern_sync(&"contacts".into()).unwrap();
    for right in &names {
        let mut commit = right.new_commit();
        for n in 0..50 {
            let text = format!("id{n}");
            commit.put_marker(sync, PairNo(n), &marker(&text));
            commit.put_id(sync, Side::App, &id(&text), PairNo(n));
            commit.put_match(sync, Digest::of(text.as_bytes()), Side::App, PairNo(n));
            commit.put_pending(sync, Lane::Audit, n, &pending(&text));
        }
        commit.put_intent(sync, PairNo(50), &intent("x"));
        commit.delete_marker(sync, PairNo(60));
        commit.put_totals(sync, &Totals::default());
        commit.move_cursor(delta(sync, None, Some("c")));
        now(right.commit(commit)).unwrap();
    }
    let lines_of = |name: &str| -> Vec<String> {
        let dump = text(&store);
        let own = |line: &&str| line.split(' ').nth(1) == Some(name);
        dump.lines().filter(own).map(str::to_owned).collect()
    };
    let (before, after) = (lines_of("before"), lines_of("after"));
    assert_eq!(before.len(), 50 * 5 + 5);
    let old = names[1].conn();
    now(store.purge(old)).unwrap();
    assert_eq!((lines_of("before"), lines_of("after")), (before, after));
    assert_eq!(lines_of("acme"), Vec::<String>::new());
    assert_eq!(lines_of("acme(purged)"), ["connection acme(purged) \"acme\" epoch=2 purged"]);
    // A zombie cannot write, nor begin anew.
    let mut late = names[1].new_commit();
    late.put_marker(sync, PairNo(1), &marker("zombie"));
    assert!(matches!(now(names[1].commit(late)), Err(StoreError::StaleEpoch { .. })));
    assert!(matches!(store.start_epoch(old), Err(StoreError::NoConnection(_))));
    assert!(matches!(store.set_paused(old, true), Err(StoreError::NoConnection(_))));
    // The same name comes back as somebody else.
    let again = store.intern_connection(&"acme".into()).unwrap();
    assert!(!names.iter().any(|right| right.conn() == again));
    now(store.purge(old)).unwrap();
    assert_eq!(store.intern_connection(&"acme".into()).unwrap(), again, "a second purge frees nothing");
    assert!(matches!(now(store.purge(ConnNo(999))), Err(StoreError::NoConnection(_))));
}

#[test]
fn a_purge_that_was_cut_off_is_finished_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.redb");
    let store = Store::open(&path, StoreOptions::inline()).unwrap();
    let (right, sync) = begin(&store, "acme");
    let mut commit = right.new_commit();
    commit.put_marker(sync, PairNo(1), &marker("1"));
    now(right.commit(commit)).unwrap();
    now(submit(&store.inner, BeginPurge(right.conn()))).unwrap();
    assert_eq!(rows(&store, Table::Marker), 1);
    now(store.close());
    let store = Store::open(&path, StoreOptions::inline()).unwrap();
    assert_eq!(rows(&store, Table::Marker), 0);
}

fn body(text: &str) -> Body {
    Body::from_json(text.to_owned())
}

fn create(text: &str, json: &str) -> RecordOp {
    RecordOp::Create { id: id(text), body: body(json) }
}

fn put(text: &str, expected: Option<u64>, json: &str) -> RecordOp {
    RecordOp::Put { id: id(text), expected, body: body(json) }
}

fn patch(text: &str, expected: Option<u64>, changes: &[(&str, Option<&str>)]) -> RecordOp {
    let changes = changes.iter().map(|(path, value)| Change {
        path: path.parse().unwrap(),
        value: value.map(|json| Value::from_json(json).unwrap()),
    });
    RecordOp::Patch { id: id(text), expected, changes: changes.collect() }
}

fn delete(text: &str, expected: Option<u64>) -> RecordOp {
    RecordOp::Delete { id: id(text), expected }
}

/// A result in short: what it is, and its version.
fn short(result: &RecordResult) -> String {
    match result {
        RecordResult::Stored(record) => format!("stored v{} {}", record.version, record.body.as_str()),
        RecordResult::Deleted { version } => format!("deleted v{version}"),
        RecordResult::Changed { version } => format!("changed v{version}"),
        RecordResult::Missing => "missing".into(),
        RecordResult::Exists(record) => format!("exists v{}", record.version),
        RecordResult::Invalid(reason) => format!("invalid: {reason}"),
    }
}

#[test]
fn writes_to_records_check_what_they_were_decided_on() {
    let store = memory();
    let right = store.records_right();
    let (scope, object) = (Scope::from("s"), ObjectName::from("contacts"));
    for (op, want) in [
        (put("a", Some(1), "{}"), "missing"),
        (patch("a", None, &[]), "missing"),
        (delete("a", None), "missing"),
        (create("a", r#"{"n": 1.0, "t": "x"}"#), r#"stored v1 {"n": 1.0, "t": "x"}"#),
        (create("a", "{}"), "exists v1"),
        // Nothing differs in meaning: nothing moves, the text stays.
        (put("a", Some(1), r#"{"t":"x","n":1}"#), r#"stored v1 {"n": 1.0, "t": "x"}"#),
        (patch("a", Some(1), &[("n", Some("1")), ("gone", None)]), r#"stored v1 {"n": 1.0, "t": "x"}"#),
        (put("a", Some(9), r#"{"n":2}"#), "changed v1"),
        (patch("a", Some(9), &[("n", Some("2"))]), "changed v1"),
        (delete("a", Some(9)), "changed v1"),
        (patch("a", Some(1), &[("n", Some("2")), ("t", None)]), r#"stored v2 {"n":2}"#),
        (put("a", Some(2), r#"{"n":3}"#), r#"stored v3 {"n":3}"#),
        (put("b", None, "{}"), "stored v4 {}"),
        (delete("a", Some(3)), "deleted v5"),
        (delete("a", None), "missing"),
        // One that returns goes on in the sequence.
        (create("a", "{}"), "stored v6 {}"),
        (put("c", None, "[1]"), "invalid: a record must be a JSON object, this is a list"),
        (put("", None, "{}"), "invalid: a record id must not be empty"),
        (put(&"x".repeat(1025), None, "{}"), "invalid: a record id has at most 1024 bytes, this one 1025"),
        (put("c", None, r#"{"a":1,"a":2}"#), "invalid: the key 'a' stands twice at the top"),
    ] {
        let named = format!("{op:?}");
        let results = now(right.write(&scope, &object, vec![op], 100)).unwrap();
        assert_eq!(short(&results[0]), want, "{named}");
    }
    let snapshot = store.snapshot().unwrap();
    assert_eq!(snapshot.last_record_seq(&scope, &object).unwrap(), 6);
    assert_eq!(snapshot.last_record_seq(&scope, &"other".into()).unwrap(), 0);
    assert_eq!(snapshot.record(&scope, &object, &id("b")).unwrap().unwrap().modified_ms, 100);
}

#[test]
fn writes_of_one_call_see_each_other_and_share_a_flush() {
    let store = memory();
    let right = store.records_right();
    let (scope, object) = (Scope::from("s"), ObjectName::from("contacts"));
    let ops = vec![
        create("a", "{}"),
        create("a", "{}"),
        patch("a", Some(1), &[("n", Some("1"))]),
        delete("a", Some(2)),
        create("a", "{}"),
        delete("zzz", None),
        put("b", None, "{}"),
    ];
    let flushes = store.flushes();
    let results = now(right.write(&scope, &object, ops, 0)).unwrap();
    assert_eq!(store.flushes(), flushes + 1);
    let short: Vec<String> = results.iter().map(short).collect();
    let want =
        ["stored v1 {}", "exists v1", "stored v2 {\"n\":1}", "deleted v3", "stored v4 {}", "missing", "stored v5 {}"];
    assert_eq!(short, want);
    let changes = store.snapshot().unwrap().record_changes(&scope, &object, 0, 10).unwrap();
    assert_eq!(changes.iter().map(|change| change.seq).collect::<Vec<_>>(), [4, 5]);
    let nothing = now(right.write(&scope, &object, vec![put("b", None, "{}")], 0)).unwrap();
    assert_eq!(store.flushes(), flushes + 1, "{nothing:?} costs no flush");
}

#[test]
fn the_change_feed_holds_each_record_once_in_order() {
    let store = memory();
    let right = store.records_right();
    let (scope, object) = (Scope::from("s"), ObjectName::from("contacts"));
    let (near, far) = (Scope::from("s\0"), ObjectName::from("contact"));
    for (scope, object) in [(&near, &object), (&scope, &far)] {
        now(right.write(scope, object, vec![create("neighbour", "{}")], 0)).unwrap();
    }
    let ops =
        vec![create("a", "{}"), create("b", "{}"), create("c", "{}"), delete("b", None), put("a", None, "{\"n\":1}")];
    now(right.write(&scope, &object, ops, 0)).unwrap();
    let feed = |since, limit| -> Vec<String> {
        let changes = store.snapshot().unwrap().record_changes(&scope, &object, since, limit).unwrap();
        changes
            .into_iter()
            .map(|RecordChange { seq, id, state }| match state {
                RecordState::Live(record) => {
                    assert_eq!((record.version, &record.id), (seq, &id));
                    format!("{seq} {id} {}", record.body.as_str())
                }
                RecordState::Deleted => format!("{seq} {id} deleted"),
            })
            .collect()
    };
    assert_eq!(feed(0, 10), ["3 c {}", "4 b deleted", "5 a {\"n\":1}"]);
    assert_eq!(feed(3, 1), ["4 b deleted"]);
    assert_eq!(feed(5, 10), Vec::<String>::new());
    assert_eq!(feed(u64::MAX, 10), Vec::<String>::new());
    assert_eq!(feed(0, 0), Vec::<String>::new());
    let list = |after: Option<&str>, limit| -> Vec<String> {
        let after = after.map(id);
        let records = store.snapshot().unwrap().records(&scope, &object, after.as_ref(), limit).unwrap();
        records.into_iter().map(|record| record.id.to_string()).collect()
    };
    assert_eq!(list(None, 10), ["a", "c"]);
    assert_eq!(list(None, 1), ["a"]);
    assert_eq!(list(Some("a"), 10), ["c"]);
    assert_eq!(list(Some("b"), 10), ["c"]);
    assert_eq!(list(Some("c"), 10), Vec::<String>::new());
    assert_eq!(list(None, 0), Vec::<String>::new());
}

#[test]
fn a_copy_is_whole_and_on_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("copy.redb");
    let store = memory();
    populate(&store);
    // More rows than one step takes, so that the seam between steps is crossed.
    let (right, sync) = begin(&store, "big");
    let mut commit = right.new_commit();
    for n in 0..25_000 {
        commit.put_match(sync, Digest([7; 16]), Side::App, PairNo(n));
    }
    now(right.commit(commit)).unwrap();
    let before = text(&store);
    store.copy_to(&path).unwrap();
    let error = store.copy_to(&path).unwrap_err();
    assert!(matches!(error, StoreError::Disk { .. }), "an existing file is not touched: {error}");
    let copy = Store::open(&path, StoreOptions::inline()).unwrap();
    let in_memory = store.copy_in_memory(StoreOptions::inline()).unwrap();
    for copy in [&copy, &in_memory] {
        assert_eq!(text(copy), before);
        assert_eq!(copy.kernel_id(), "k1");
        now(copy.purge(right.conn())).unwrap();
    }
    assert_eq!(text(&store), before);
}

#[test]
fn closing_finishes_what_is_queued_and_frees_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.redb");
    let store = Store::open(&path, StoreOptions::default()).unwrap();
    assert_eq!(store.path(), Some(path.as_path()));
    let (right, sync) = begin(&store, "acme");
    let queued: Vec<CommitDone> = (1..=20)
        .map(|n| {
            let mut commit = right.new_commit();
            commit.put_marker(sync, PairNo(n), &marker("x"));
            right.commit(commit)
        })
        .collect();
    let snapshot = store.snapshot().unwrap();
    wait(async {
        store.close().await;
        store.close().await;
        for done in queued {
            done.await.unwrap();
        }
    });
    assert!(matches!(store.snapshot(), Err(StoreError::Closed)));
    assert!(matches!(store.start_epoch(right.conn()), Err(StoreError::Closed)));
    assert!(matches!(wait(right.commit(right.new_commit())), Err(StoreError::Closed)));
    assert!(matches!(wait(store.purge(right.conn())), Err(StoreError::Closed)));
    // The old handles and a read that was under way do not keep the file.
    let again = Store::open(&path, StoreOptions::default()).unwrap();
    assert_eq!(rows(&again, Table::Marker), 20);
    drop(snapshot);
    drop(again);
    // Nor does a handle that was only dropped.
    let again = Store::open(&path, StoreOptions::default()).unwrap();
    assert_eq!(rows(&again, Table::Marker), 20);
}

#[test]
fn many_commits_at_once_are_all_kept_with_fewer_flushes_or_as_many() {
    let store = Store::in_memory(StoreOptions::default()).unwrap();
    let sync = store.intern_sync(&"contacts".into()).unwrap();
    let rights: Vec<CommitRight> = (0..8).map(|n| begin(&store, &format!("c{n}")).0).collect();
    let flushes = store.flushes();
    let mut queued = Vec::new();
    for n in 1..=25_u64 {
        for right in &rights {
            let mut commit = right.new_commit();
            commit.put_marker(sync, PairNo(n), &marker("x"));
            let from = (n > 1).then(|| (n - 1).to_string());
            commit.move_cursor(delta(sync, from.as_deref(), Some(&n.to_string())));
            queued.push(right.commit(commit));
        }
    }
    wait(async {
        for done in queued {
            done.await.unwrap();
        }
    });
    assert_eq!(rows(&store, Table::Marker), 200);
    assert!(store.flushes() - flushes <= 200);
}

#[test]
fn a_second_kernel_is_refused_with_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.redb");
    let store = Store::open(&path, StoreOptions::inline()).unwrap();
    let error = Store::open(&path, StoreOptions::inline()).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error:?}");
    assert!(error.to_string().contains(&format!("another kernel has {} open", path.display())), "{error}");
    drop(store);
    Store::open(&path, StoreOptions::inline()).unwrap();
}

#[test]
fn a_newer_file_is_refused_naming_both_formats() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.redb");
    let store = Store::open(&path, StoreOptions::inline()).unwrap();
    store.inner.engine.write(|tables| upgrade::write_format_for_test(tables, 4, 3)).unwrap();
    drop(store);
    let error = Store::open(&path, StoreOptions::inline()).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, StoreError::Newer { format: 4, oldest_reader: 3, known: 1, .. }), "{text}");
    assert!(text.contains("state.redb has state format 4") && text.contains("up to 1"), "{text}");
}

#[test]
fn what_is_no_state_file_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let good = std::fs::read("fixtures/store/format-1.redb").unwrap();
    let foreign = folder.path().join("foreign.redb");
    {
        let db = Database::create(&foreign).unwrap();
        let txn = db.begin_write().unwrap();
        txn.open_table(redb::TableDefinition::<u8, u8>::new("theirs")).unwrap();
        txn.commit().unwrap();
    }
    for path in [
        file("empty", b""),
        file("text", b"state = \"acme.redb\"\n"),
        file("zeros", &[0; 8192]),
        file("short", &good[..good.len() / 2]),
        file("header", &good[..64]),
        foreign,
    ] {
        let before = std::fs::read(&path).unwrap();
        let error = Store::open(&path, StoreOptions::inline()).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{path:?}: {error:?}");
        assert!(text.contains(&path.display().to_string()) && text.contains("put back a copy"), "{text}");
        // Its length and most of its bytes; the database may note that it was opened.
        assert_eq!(std::fs::read(&path).unwrap().len(), before.len(), "{path:?}");
    }
    let error = Store::open(&folder.path().join("no/such/folder.redb"), StoreOptions::inline()).unwrap_err();
    assert!(error.to_string().contains("the folder must exist"), "{error}");
}

/// Damage anywhere is an error or goes unnoticed; it is never a panic.
#[test]
fn a_damaged_file_never_panics() {
    let seed: u64 = std::env::var("SYNCLINE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(41);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let good = std::fs::read("fixtures/store/format-1.redb").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.redb");
    let mut refused = 0;
    let cases = std::env::var("SYNCLINE_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(80);
    for _ in 0..cases {
        let mut bytes = good.clone();
        for _ in 0..rng.usize(1..40) {
            let at = rng.usize(..bytes.len());
            bytes[at] = rng.u8(..);
        }
        std::fs::write(&path, &bytes).unwrap();
        let outcome = Store::open(&path, StoreOptions::inline()).and_then(|store| {
            store.dump(&mut String::new())?;
            let conn = store.intern_connection(&"acme".into())?;
            store.snapshot()?.next_pair(conn)?;
            now(store.purge(conn))
        });
        refused += usize::from(outcome.is_err());
    }
    assert!(refused > 0, "no damage was noticed at all");
}

#[cfg(unix)]
#[test]
fn a_new_file_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.redb");
    let store = Store::open(&path, StoreOptions::inline()).unwrap();
    store.copy_to(&folder.path().join("copy.redb")).unwrap();
    for name in ["state.redb", "copy.redb"] {
        let mode = std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn kernel_ids_differ_and_stay() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.redb");
    let first = Store::open(&path, StoreOptions::inline()).unwrap().kernel_id();
    assert_eq!(Store::open(&path, StoreOptions::inline().with_kernel_id("x")).unwrap().kernel_id(), first);
    assert_ne!(Store::in_memory(StoreOptions::inline()).unwrap().kernel_id(), first);
    assert_eq!(first.len(), 16);
}

#[test]
fn handles_rights_and_answers_cross_threads() {
    fn crosses<T: Send + 'static>() {}
    fn shared<T: Send + Sync + Clone + 'static>() {}
    shared::<Store>();
    shared::<RecordsRight>();
    crosses::<CommitRight>();
    crosses::<CommitDone>();
    crosses::<RecordsDone>();
    crosses::<Snapshot>();
    crosses::<Arc<StoreError>>();
    shared::<StoreError>();
}
