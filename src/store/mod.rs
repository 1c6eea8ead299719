//! stub
#![allow(unused, missing_docs)]
use crate::model::{cursor::*, hash::Digest, ids::*, marker::Marker, side::Side, work::*};
use std::path::Path;
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct StoreError;
#[derive(Clone, Default)]
pub struct StoreOptions;
#[derive(Clone)]
pub struct Store;
pub struct Snapshot;
pub struct CommitRight;
pub struct Commit;
type R<T> = Result<T, StoreError>;
impl Store {
    pub fn open(p: &Path, o: StoreOptions) -> R<Store> {
        todo!()
    }
    pub fn kernel_id(&self) -> String {
        todo!()
    }
    pub fn snapshot(&self) -> R<Snapshot> {
        todo!()
    }
    pub fn intern_connection(&self, _: &ConnectionId) -> R<ConnNo> {
        todo!()
    }
    pub fn intern_sync(&self, _: &SyncName) -> R<SyncNo> {
        todo!()
    }
    pub fn intern_fields(&self, _: SyncNo, _: &[String]) -> R<Vec<FieldNo>> {
        todo!()
    }
    pub fn start_epoch(&self, _: ConnNo) -> R<CommitRight> {
        todo!()
    }
    pub fn set_paused(&self, _: ConnNo, _: bool) -> R<()> {
        todo!()
    }
    pub async fn purge(&self, _: ConnNo) -> R<()> {
        todo!()
    }
    pub async fn close(&self) {}
}
impl CommitRight {
    pub fn conn(&self) -> ConnNo {
        todo!()
    }
    pub fn epoch(&self) -> Epoch {
        todo!()
    }
    pub fn new_commit(&self) -> Commit {
        todo!()
    }
    pub fn commit(&self, _: Commit) -> std::future::Ready<R<()>> {
        todo!()
    }
}
impl Commit {
    pub fn is_empty(&self) -> bool {
        todo!()
    }
    pub fn put_marker(&mut self, s: SyncNo, p: PairNo, m: &Marker) {}
    pub fn delete_marker(&mut self, s: SyncNo, p: PairNo) {}
    pub fn put_id(&mut self, s: SyncNo, d: Side, i: &RecordId, p: PairNo) {}
    pub fn delete_id(&mut self, s: SyncNo, d: Side, i: &RecordId) {}
    pub fn put_match(&mut self, s: SyncNo, k: Digest, d: Side, p: PairNo) {}
    pub fn delete_match(&mut self, s: SyncNo, k: Digest, d: Side, p: PairNo) {}
    pub fn put_intent(&mut self, s: SyncNo, p: PairNo, i: &Intent) {}
    pub fn delete_intent(&mut self, s: SyncNo, p: PairNo) {}
    pub fn put_pending(&mut self, s: SyncNo, l: Lane, q: u64, p: &Pending) {}
    pub fn delete_pending(&mut self, s: SyncNo, l: Lane, q: u64, d: Side, i: &RecordId) {}
    pub fn put_quarantine(&mut self, s: SyncNo, d: Side, i: &str, q: &Quarantined) {}
    pub fn delete_quarantine(&mut self, s: SyncNo, d: Side, i: &str) {}
    pub fn put_history(&mut self, s: SyncNo, p: PairNo, q: u64, c: &Conflict) {}
    pub fn put_totals(&mut self, s: SyncNo, t: &Totals) {}
    pub fn move_cursor(&mut self, d: CursorDelta) {}
}
impl Snapshot {
    pub fn marker(&self, c: ConnNo, s: SyncNo, p: PairNo) -> R<Option<Marker>> {
        todo!()
    }
    pub fn pair_by_id(&self, c: ConnNo, s: SyncNo, d: Side, i: &RecordId) -> R<Option<PairNo>> {
        todo!()
    }
    pub fn pairs_by_match(&self, c: ConnNo, s: SyncNo, k: Digest, d: Side, n: usize) -> R<Vec<PairNo>> {
        todo!()
    }
    pub fn intents(&self, c: ConnNo) -> R<Vec<(SyncNo, PairNo, Intent)>> {
        todo!()
    }
    pub fn pending_all(&self, c: ConnNo) -> R<Vec<(SyncNo, Lane, u64, Pending)>> {
        todo!()
    }
    pub fn next_pending_seq(&self, c: ConnNo) -> R<u64> {
        todo!()
    }
    pub fn next_pair(&self, c: ConnNo) -> R<PairNo> {
        todo!()
    }
    pub fn cursor(&self, c: ConnNo, s: SyncNo, d: Side, t: StreamNo) -> R<Option<Cursor>> {
        todo!()
    }
    pub fn quarantine(&self, c: ConnNo, n: usize) -> R<Vec<(SyncNo, Side, String, Quarantined)>> {
        todo!()
    }
    pub fn quarantined(&self, c: ConnNo, s: SyncNo, d: Side, i: &str) -> R<Option<Quarantined>> {
        todo!()
    }
    pub fn quarantine_count(&self, c: ConnNo) -> R<u64> {
        todo!()
    }
    pub fn totals(&self, c: ConnNo, s: SyncNo) -> R<Option<Totals>> {
        todo!()
    }
    pub fn paused(&self, c: ConnNo) -> R<bool> {
        todo!()
    }
}
