//! The danger: a power cut in the middle of a flush. A disk that loses or tears
//! whatever was not flushed, and dies at a drawn operation, must leave the last
//! acknowledged commit whole and no commit half.
//!
//! `SYNCLINE_SEED` and `SYNCLINE_CASES` choose other cases.

use std::collections::BTreeSet;

use super::faulty::{FaultyDisk, Honesty, Life};
use super::*;
use crate::model::cursor::{Cursor, CursorDelta, StreamNo};
use crate::model::hash::Digest;
use crate::model::ids::{ObjectName, PairNo, Scope, Version};
use crate::model::marker::Marker;
use crate::model::record::Body;
use crate::model::side::Side;
use crate::model::work::{Lane, Pending, PendingReason};

const SYNC: SyncNo = SyncNo(1);
const PAIRS: u64 = 8;

fn options() -> StoreOptions {
    StoreOptions::inline().with_cache_bytes(256 * 1024)
}

fn now<T>(future: impl Future<Output = T>) -> T {
    use std::task::{Context, Poll, Waker};
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("an inline store answers at the call"),
    }
}

fn cursor(n: u64) -> Option<Cursor> {
    (n > 0).then(|| Cursor::new(n.to_string()))
}

/// Commit number `n`: every row of it says `n`.
fn numbered(right: &CommitRight, from: u64, n: u64) -> Commit {
    let mut commit = right.new_commit();
    for pair in 1..=PAIRS {
        let mut marker = Marker::new(Digest::of(b""));
        marker.sides.remote.version = Some(Version::new(format!("{n}:{}", "x".repeat((n % 700) as usize))));
        commit.put_marker(SYNC, PairNo(pair), &marker);
    }
    let pending = Pending {
        side: Side::App,
        id: "a".into(),
        reason: PendingReason::Retry,
        due_ms: 0,
        since_ms: 0,
        attempts: u32::try_from(n).unwrap(),
    };
    commit.put_pending(SYNC, Lane::Event, n, &pending);
    let (from, to) = (cursor(from), cursor(n));
    commit.move_cursor(CursorDelta { sync: SYNC, side: Side::Remote, stream: StreamNo::CHANGES, from, to });
    commit
}

/// The number that every row on disk agrees on, or what is wrong.
fn standing(store: &Store, conn: ConnNo) -> Result<u64, String> {
    let say = |error: StoreError| error.to_string();
    store.dump(&mut String::new()).map_err(say)?;
    let snapshot = store.snapshot().map_err(say)?;
    let at = snapshot.cursor(conn, SYNC, Side::Remote, StreamNo::CHANGES).map_err(say)?;
    let at: u64 = at.map_or(0, |cursor| cursor.as_str().parse().unwrap());
    let expected = if at == 0 { 0 } else { PAIRS };
    let markers = snapshot.markers(conn, SYNC, PairNo(0), usize::MAX).map_err(say)?;
    if markers.len() as u64 != expected {
        return Err(format!("cursor {at} with {} markers", markers.len()));
    }
    for (pair, marker) in markers {
        let version = marker.sides.remote.version.ok_or("a marker without its version")?;
        if version.as_str().split(':').next() != Some(at.to_string().as_str()) {
            return Err(format!("cursor {at} with pair {pair} at {version}"));
        }
    }
    let pending = snapshot.pending_all(conn).map_err(say)?;
    let pending: Vec<(u64, u64)> = pending.iter().map(|row| (row.seq, row.pending.attempts.into())).collect();
    if pending != if at == 0 { vec![] } else { vec![(at, at)] } {
        return Err(format!("cursor {at} with pending {pending:?}"));
    }
    Ok(at)
}

fn record_ops(n: u64) -> Vec<RecordOp> {
    let body = Body::from_json(format!("{{\"n\":{n}}}"));
    ["a", "b"].map(|id| RecordOp::Put { id: id.into(), expected: None, body: body.clone() }).into()
}

/// The number that all records agree on, or what is wrong.
fn records_standing(store: &Store) -> Result<u64, String> {
    let (scope, object) = (Scope::from("s"), ObjectName::from("o"));
    let snapshot = store.snapshot().map_err(|error| error.to_string())?;
    let records = snapshot.records(&scope, &object, None, 9).map_err(|error| error.to_string())?;
    let changes = snapshot.record_changes(&scope, &object, 0, 9).map_err(|error| error.to_string())?;
    let bodies: BTreeSet<&str> = records.iter().map(|record| record.body.as_str()).collect();
    match (records.len(), changes.len(), bodies.len()) {
        (0, 0, 0) => Ok(0),
        (2, 2, 1) => {
            let body = records[0].body.as_str();
            Ok(body.trim_start_matches("{\"n\":").trim_end_matches('}').parse().unwrap())
        }
        other => Err(format!("records {other:?}")),
    }
}

#[derive(Debug, Default)]
struct Tally {
    crashes: u64,
    acknowledged: u64,
    unopenable: u64,
    lost: u64,
    torn: Vec<String>,
}

/// Several lives of one disk: each ends in a power cut, after each it is looked at.
fn run_case(honesty: Honesty, seed: u64, tally: &mut Tally) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let disk = FaultyDisk::new(honesty, seed ^ 0x5EED);
    let store = Store::on_backend(disk.backend(&Life::new()), options()).unwrap();
    let conn = store.intern_connection(&"acme".into()).unwrap();
    drop(store);
    disk.settle();
    let (scope, object) = (Scope::from("s"), ObjectName::from("o"));
    let (mut acknowledged, mut acknowledged_records, mut last_epoch) = (0, 0, Epoch(0));
    for _ in 0..3 {
        let life = Life::new();
        life.ends_after(rng.u64(1..250));
        let (mut tried, mut tried_records) = (acknowledged, acknowledged_records);
        // It may die while it opens, too.
        if let Ok(store) = Store::on_backend(disk.backend(&life), options())
            && let Ok(right) = store.start_epoch(conn)
        {
            last_epoch = right.epoch();
            loop {
                tried = acknowledged + 1;
                if now(right.commit(numbered(&right, acknowledged, tried))).is_err() {
                    break;
                }
                acknowledged = tried;
                tally.acknowledged += 1;
                tried_records = acknowledged;
                if now(store.records_right().write(&scope, &object, record_ops(tried_records), 0)).is_err() {
                    break;
                }
                acknowledged_records = tried_records;
                tally.acknowledged += 1;
            }
            // After the power is gone nothing is acknowledged.
            assert!(now(right.commit(numbered(&right, acknowledged, tried))).is_err(), "seed {seed}");
        }
        tally.crashes += 1;
        disk.revive();
        let store = match Store::on_backend(disk.backend(&Life::new()), options()) {
            Ok(store) => store,
            Err(error) => {
                tally.unopenable += 1;
                assert!(honesty == Honesty::Lying, "seed {seed}: {error}");
                return;
            }
        };
        match (standing(&store, conn), records_standing(&store)) {
            (Ok(at), Ok(records)) => {
                let whole = (acknowledged..=tried).contains(&at);
                let records_whole = records == acknowledged_records || records == tried_records;
                let epoch = store.snapshot().unwrap().epoch(conn).unwrap();
                if !whole || !records_whole || epoch < last_epoch {
                    tally.lost += 1;
                    if honesty == Honesty::Lying {
                        return;
                    }
                    panic!("seed {seed}: at {at}/{records}, acknowledged {acknowledged}/{acknowledged_records}");
                }
                (acknowledged, acknowledged_records) = (at, records);
            }
            (at, records) => {
                tally.torn.push(format!("seed {seed}: {at:?} {records:?}"));
                return;
            }
        }
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn a_power_cut_loses_no_acknowledged_commit_and_halves_none() {
    let (seed, cases) = (setting("SYNCLINE_SEED", 1), setting("SYNCLINE_CASES", 300));
    println!("seed {seed}, {cases} cases");
    let mut tally = Tally::default();
    for case in 0..cases {
        run_case(Honesty::Honest, seed.wrapping_add(case), &mut tally);
    }
    println!("{tally:?}");
    assert_eq!((tally.unopenable, tally.lost), (0, 0));
    assert_eq!(tally.torn, Vec::<String>::new());
    assert!(tally.crashes == 3 * cases && tally.acknowledged > cases, "the cases do too little: {tally:?}");
}

/// The control: a disk that lies about its flushes must be caught losing something, or
/// the test above sees nothing.
#[test]
fn a_disk_that_lies_is_seen_to_lose() {
    let seed = setting("SYNCLINE_SEED", 1);
    println!("seed {seed}");
    let mut tally = Tally::default();
    for case in 0..40 {
        run_case(Honesty::Lying, seed.wrapping_add(case), &mut tally);
    }
    let seen = tally.unopenable + tally.lost + tally.torn.len() as u64;
    assert!(seen > 10, "{tally:?}");
}

#[test]
fn a_full_disk_acknowledges_nothing_and_keeps_what_was() {
    for room in [0, 4096, 64 * 1024, 300 * 1024] {
        let disk = FaultyDisk::new(Honesty::Honest, room);
        let store = Store::on_backend(disk.backend(&Life::new()), options()).unwrap();
        let conn = store.intern_connection(&"acme".into()).unwrap();
        let right = store.start_epoch(conn).unwrap();
        disk.set_room(Some(room));
        let mut acknowledged = 0;
        let error = loop {
            let n = acknowledged + 1;
            let mut commit = numbered(&right, acknowledged, n);
            for pair in 0..40 {
                commit.put_id(SYNC, Side::App, &format!("{n}.{pair}").as_str().into(), PairNo(pair));
            }
            match now(right.commit(commit)) {
                Ok(()) => acknowledged = n,
                Err(error) => break error,
            }
            assert!(n < 100_000, "the disk is never full");
        };
        assert!(error.to_string().contains("make room on the disk"), "{error}");
        let mut again = right.new_commit();
        again.put_marker(SYNC, PairNo(99), &Marker::new(Digest::of(b"")));
        assert!(now(right.commit(again)).is_err(), "the database trusts nothing after a failed write");
        drop((store, right));
        disk.set_room(None);
        let store = Store::on_backend(disk.backend(&Life::new()), options()).unwrap();
        assert_eq!(standing(&store, conn), Ok(acknowledged));
    }
}
