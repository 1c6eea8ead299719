//! Records kept in the state file, for teams whose app has no API yet.
//!
//! [`Embedded`] is the way in for a program in the same process; the REST API in
//! `web::embedded` and the [`Connector`] that a kernel syncs through are built on it.
//! Every record belongs to one scope; a connector is made for one scope and cannot
//! reach another. An object needs no declaration: it exists once it holds a record.
//!
//! A cursor is the number of a change of the object, so a read is exact and there
//! is nothing to look back for.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::{Calls, Connector, ConnectorFactory, ConnectorScope, Read};
use crate::model::cursor::{Cursor, PageToken};
use crate::model::ids::{ObjectName, RecordId, Scope, Version};
use crate::model::path::Path;
use crate::model::record::{Body, DeletionCause, Entry, Page, Record};
use crate::model::value::Value;
use crate::model::write::{
    Capabilities, Change, ConnectorError, Create, CreateRecovery, Delete, NextStep, Outcome, Stored, Update,
    UpdateStyle, Write,
};
use crate::store::{RecordChange, RecordOp, RecordResult, RecordState, Snapshot, Store, StoreError, StoredRecord};

/// Tells the wall clock in milliseconds since 1970, for the modified times of records.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The machine's clock.
#[must_use]
pub fn system_clock() -> Clock {
    Arc::new(|| Utc::now().timestamp_millis())
}

/// Records on one page, and of one read from disk while searching.
const PAGE_SIZE: usize = 500;

/// Once the records of a page have so many bytes the page ends, so that a page of long
/// records does not fill the memory.
const MOST_PAGE_BYTES: usize = 4 * 1024 * 1024;

/// Rows taken from disk at once; bounds what a page may be too long by.
const ROWS_AT_ONCE: usize = 32;

/// The most ids of one read.
const MOST_IDS: usize = 1_000;

/// The most writes of one call.
const MOST_WRITES: usize = 100;

/// What a cursor begins with, so that one of another connector is not taken for ours.
const CURSOR_PREFIX: &str = "change:";

/// The records of one scope. Cheap to clone.
#[derive(Clone)]
pub struct Embedded {
    store: Store,
    scope: Scope,
    clock: Clock,
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").field("scope", &self.scope).finish_non_exhaustive()
    }
}

/// One write to one embedded record.
#[derive(Debug, Clone, PartialEq)]
pub enum RecordWrite {
    /// Make a record; a [`Outcome::Duplicate`] when it exists.
    Create {
        /// Its id.
        id: RecordId,
        /// One JSON object, kept verbatim.
        record: Body,
    },
    /// Make or replace a record.
    Put {
        /// Its id.
        id: RecordId,
        /// Refused with [`Outcome::Changed`] unless it exists and has this version.
        expected: Option<Version>,
        /// One JSON object, kept verbatim.
        record: Body,
    },
    /// Change some fields of a record; [`Outcome::Missing`] without one.
    Patch {
        /// Its id.
        id: RecordId,
        /// Refused with [`Outcome::Changed`] when it has another version.
        expected: Option<Version>,
        /// What changes; the other fields stay.
        changes: Vec<Change>,
    },
    /// Delete a record; also [`Outcome::Deleted`] without one.
    Delete {
        /// Its id.
        id: RecordId,
        /// Refused with [`Outcome::Changed`] when it has another version.
        expected: Option<Version>,
    },
}

/// A stretch of the list of changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// What was changed, each record once, in order.
    pub entries: Vec<Entry>,
    /// The number of the last change accounted for, to go on from.
    pub cursor: u64,
    /// Whether there is more now.
    pub more: bool,
}

impl Embedded {
    /// The records of a scope.
    #[must_use]
    pub fn new(store: Store, scope: Scope) -> Self {
        Self { store, scope, clock: system_clock() }
    }

    /// Takes the time from another clock.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// One record, `None` without one.
    ///
    /// # Errors
    /// When the state file cannot be read.
    pub fn get(&self, object: &ObjectName, id: &RecordId) -> Result<Option<Record>, ConnectorError> {
        let found = self.snapshot()?.record(&self.scope, object, id).map_err(store_error)?;
        Ok(found.map(record))
    }

    /// Up to `limit` records by id, and the id to go on after where there are more.
    ///
    /// # Errors
    /// When the state file cannot be read.
    pub fn list(
        &self,
        object: &ObjectName,
        after: Option<&RecordId>,
        limit: usize,
    ) -> Result<(Vec<Record>, Option<RecordId>), ConnectorError> {
        self.list_in(&self.snapshot()?, object, after, limit)
    }

    fn list_in(
        &self,
        snapshot: &Snapshot,
        object: &ObjectName,
        after: Option<&RecordId>,
        limit: usize,
    ) -> Result<(Vec<Record>, Option<RecordId>), ConnectorError> {
        let (rows, more) = page_of(limit, |last, count| {
            let after = last.map(|row: &StoredRecord| &row.id).or(after);
            snapshot.records(&self.scope, object, after, count)
        })?;
        let records: Vec<Record> = rows.into_iter().map(record).collect();
        let next = if more { records.last().map(|record| record.id.clone()) } else { None };
        Ok((records, next))
    }

    /// Up to `limit` changes after the change `since`; deletions too. `None` when
    /// `since` lies ahead of all changes, as after a restored backup.
    ///
    /// # Errors
    /// When the state file cannot be read.
    pub fn changes(&self, object: &ObjectName, since: u64, limit: usize) -> Result<Option<Changes>, ConnectorError> {
        let snapshot = self.snapshot()?;
        let last = snapshot.last_record_seq(&self.scope, object).map_err(store_error)?;
        if since > last {
            return Ok(None);
        }
        let (rows, more) = page_of(limit, |last, count| {
            snapshot.record_changes(&self.scope, object, last.map_or(since, |row: &RecordChange| row.seq), count)
        })?;
        let cursor = rows.last().map_or(since, |row| row.seq);
        Ok(Some(Changes { entries: rows.into_iter().map(entry).collect(), cursor, more }))
    }

    /// Carries out writes in one durable transaction, each by itself: one that is
    /// refused does not undo its neighbours.
    ///
    /// # Errors
    /// When the state file cannot be written; nothing is changed then.
    pub async fn write(&self, object: &ObjectName, writes: Vec<RecordWrite>) -> Result<Vec<Outcome>, ConnectorError> {
        // A version that no embedded record ever had is refused before the store is asked.
        let asked: Vec<Option<RecordOp>> = writes.iter().map(operation).collect();
        let ops: Vec<RecordOp> = asked.iter().flatten().cloned().collect();
        let mut results = Vec::new();
        if !ops.is_empty() {
            let right = self.store.records_right();
            results = right.write(&self.scope, object, ops, (self.clock)()).await.map_err(store_error)?;
        }
        let mut results = results.into_iter();
        let unanswered = || Outcome::Unknown("the store did not answer for this write".to_owned());
        let answers = writes.iter().zip(asked).map(|(write, op)| match op {
            None => Outcome::Changed,
            Some(_) => results.next().map_or_else(unanswered, |result| outcome(write, result)),
        });
        Ok(answers.collect())
    }

    /// Carries out one write.
    ///
    /// # Errors
    /// When the state file cannot be written; nothing is changed then.
    pub async fn write_one(&self, object: &ObjectName, write: RecordWrite) -> Result<Outcome, ConnectorError> {
        let outcome = self.write(object, vec![write]).await?.pop();
        Ok(outcome.unwrap_or_else(|| Outcome::Unknown("the store did not answer".to_owned())))
    }

    fn snapshot(&self) -> Result<Snapshot, ConnectorError> {
        self.store.snapshot().map_err(store_error)
    }
}

/// Up to `limit` rows and whether there are more, fetched a few at a time after the
/// last one and cut short once they have [`MOST_PAGE_BYTES`].
fn page_of<Row: HasBody>(
    limit: usize,
    fetch: impl Fn(Option<&Row>, usize) -> Result<Vec<Row>, StoreError>,
) -> Result<(Vec<Row>, bool), ConnectorError> {
    // A page of none could not be gone on from.
    let limit = limit.max(1);
    let (mut rows, mut bytes) = (Vec::new(), 0);
    loop {
        // One row more than may still be taken tells whether there are more.
        let wanted = (limit - rows.len()).min(ROWS_AT_ONCE);
        let fetched = fetch(rows.last(), wanted + 1).map_err(store_error)?;
        let more = fetched.len() > wanted;
        for row in fetched.into_iter().take(wanted) {
            bytes += row.num_body_bytes();
            rows.push(row);
        }
        if !more || rows.len() >= limit || bytes >= MOST_PAGE_BYTES {
            return Ok((rows, more));
        }
    }
}

/// What pages are measured by.
trait HasBody {
    fn num_body_bytes(&self) -> usize;
}

impl HasBody for StoredRecord {
    fn num_body_bytes(&self) -> usize {
        self.body.as_str().len()
    }
}

impl HasBody for RecordChange {
    fn num_body_bytes(&self) -> usize {
        match &self.state {
            RecordState::Live(record) => record.num_body_bytes(),
            RecordState::Deleted => 0,
        }
    }
}

/// A write as the store takes it, `None` when it expects a version that is none of
/// the store's.
fn operation(write: &RecordWrite) -> Option<RecordOp> {
    let number = |expected: &Option<Version>| match expected {
        None => Some(None),
        Some(version) => version.as_str().parse::<u64>().ok().map(Some),
    };
    Some(match write.clone() {
        RecordWrite::Create { id, record } => RecordOp::Create { id, body: record },
        RecordWrite::Put { id, expected, record } => RecordOp::Put { id, expected: number(&expected)?, body: record },
        RecordWrite::Patch { id, expected, changes } => RecordOp::Patch { id, expected: number(&expected)?, changes },
        RecordWrite::Delete { id, expected } => RecordOp::Delete { id, expected: number(&expected)? },
    })
}

fn outcome(write: &RecordWrite, result: RecordResult) -> Outcome {
    match result {
        RecordResult::Stored(row) => {
            let Record { id, version, modified, body } = record(row);
            Outcome::Written(Stored { id, version, modified, body: Some(body) })
        }
        RecordResult::Deleted { version: _ } => Outcome::Deleted,
        RecordResult::Changed { version: _ } => Outcome::Changed,
        RecordResult::Exists(row) => Outcome::Duplicate(Some(row.id)),
        RecordResult::Invalid(reason) => Outcome::Rejected { reason, path: None },
        RecordResult::Missing => match write {
            RecordWrite::Delete { .. } => Outcome::Deleted,
            // Only a put that expects a version misses a record.
            RecordWrite::Put { .. } => Outcome::Changed,
            RecordWrite::Create { .. } | RecordWrite::Patch { .. } => Outcome::Missing,
        },
    }
}

fn version(number: u64) -> Version {
    Version::from(number.to_string())
}

fn record(row: StoredRecord) -> Record {
    let StoredRecord { id, version: number, modified_ms, body } = row;
    Record { id, version: Some(version(number)), modified: DateTime::from_timestamp_millis(modified_ms), body }
}

fn entry(change: RecordChange) -> Entry {
    let RecordChange { seq, id, state } = change;
    match state {
        RecordState::Live(row) => Entry::Live(record(row)),
        RecordState::Deleted => Entry::Deleted { id, version: Some(version(seq)), cause: DeletionCause::Tombstone },
    }
}

fn store_error(error: StoreError) -> ConnectorError {
    let next = match &error {
        StoreError::Closed | StoreError::Disk { .. } => NextStep::Retry,
        StoreError::InUse { .. }
        | StoreError::Newer { .. }
        | StoreError::Corrupt { .. }
        | StoreError::StaleEpoch { .. }
        | StoreError::CursorMoved { .. }
        | StoreError::Misuse(_)
        | StoreError::NoConnection(_)
        | StoreError::Full { .. }
        | StoreError::Poisoned { .. } => NextStep::Fail,
    };
    ConnectorError::new(next, format!("embedded records: {error}"))
}

/// Makes connectors to the records of one scope each.
#[derive(Clone)]
pub struct EmbeddedFactory {
    store: Store,
    clock: Clock,
}

impl fmt::Debug for EmbeddedFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedFactory").finish_non_exhaustive()
    }
}

impl EmbeddedFactory {
    /// Connectors to the records of a store.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store, clock: system_clock() }
    }

    /// Takes the time from another clock.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }
}

impl ConnectorFactory for EmbeddedFactory {
    fn make(&self, connection: &ConnectorScope) -> Result<Box<dyn Connector>, ConnectorError> {
        let Some(scope) = &connection.scope else {
            let message = "embedded records are kept by scope: give the connection a scope";
            return Err(ConnectorError::new(NextStep::Fail, message));
        };
        let records = Embedded::new(self.store.clone(), scope.clone()).with_clock(Arc::clone(&self.clock));
        Ok(Box::new(EmbeddedConnector { records }))
    }
}

struct EmbeddedConnector {
    records: Embedded,
}

#[async_trait(?Send)]
impl Connector for EmbeddedConnector {
    fn capabilities(&self, _object: &ObjectName) -> Result<Capabilities, ConnectorError> {
        Ok(Capabilities {
            local: true,
            changes: true,
            deletions: true,
            read_ids: MOST_IDS,
            // Nothing is indexed; the kernel pairs by its own index of match keys.
            find: Vec::new(),
            conditional: true,
            update: UpdateStyle::Fields,
            batch: MOST_WRITES,
            writable: true,
            create: CreateRecovery::ClientId,
            read_after_write_lag_ms: 0,
        })
    }

    async fn read(&self, calls: &Calls, object: &ObjectName, read: Read) -> Result<Page, ConnectorError> {
        let _permit = calls.permit().await;
        match read {
            Read::All { page } => self.read_all(object, page.as_ref()),
            Read::Changes { since, page } => self.read_changes(object, &since, page.as_ref()),
            Read::Ids(ids) => self.read_ids(object, &ids),
            Read::Find(wanted) => self.find(object, &wanted),
            Read::ExternalId(external_id) => {
                let found = self.records.get(object, &RecordId::from(external_id))?;
                Ok(Page::last(found.into_iter().map(Entry::Live).collect()))
            }
        }
    }

    async fn write(&self, calls: &Calls, object: &ObjectName, writes: Vec<Write>) -> Vec<Outcome> {
        let count = writes.len();
        if count == 0 {
            return Vec::new();
        }
        let _permit = calls.permit().await;
        match self.records.write(object, writes.into_iter().map(record_write).collect()).await {
            Ok(outcomes) => outcomes,
            // One transaction: either all of it is on disk or nothing. Which of the two is
            // told only by reading, so that a failed flush is not taken for a refusal.
            Err(error) => vec![Outcome::Unknown(error.message); count],
        }
    }
}

impl EmbeddedConnector {
    /// By id, since that is how records lie on disk. The cursor is where the order of
    /// changes ended when the read began: it travels in the page token.
    fn read_all(&self, object: &ObjectName, page: Option<&PageToken>) -> Result<Page, ConnectorError> {
        let snapshot = self.records.snapshot()?;
        let (begun_at, after) = match page {
            None => (snapshot.last_record_seq(&self.records.scope, object).map_err(store_error)?, None),
            Some(token) => all_token(token)?,
        };
        let (records, next) = self.records.list_in(&snapshot, object, after.as_ref(), PAGE_SIZE)?;
        Ok(Page {
            entries: records.into_iter().map(Entry::Live).collect(),
            cursor: next.is_none().then(|| cursor(begun_at)),
            next: next.map(|after| PageToken::new(format!("{begun_at}.{after}"))),
            ..Page::default()
        })
    }

    fn read_changes(
        &self,
        object: &ObjectName,
        since: &Cursor,
        page: Option<&PageToken>,
    ) -> Result<Page, ConnectorError> {
        let from = match page {
            Some(token) => token.as_str().parse().map_err(|_| not_ours("page token", NextStep::Fail))?,
            None => since
                .as_str()
                .strip_prefix(CURSOR_PREFIX)
                .and_then(|digits| digits.parse().ok())
                .ok_or_else(|| not_ours("cursor", NextStep::Resync))?,
        };
        let Some(changes) = self.records.changes(object, from, PAGE_SIZE)? else {
            let message = "the cursor lies ahead of all changes: the state file was restored from a backup";
            return Err(ConnectorError::new(NextStep::Resync, message));
        };
        Ok(Page {
            entries: changes.entries,
            next: changes.more.then(|| PageToken::new(changes.cursor.to_string())),
            cursor: Some(cursor(changes.cursor)),
            ..Page::default()
        })
    }

    fn read_ids(&self, object: &ObjectName, ids: &[RecordId]) -> Result<Page, ConnectorError> {
        if ids.len() > MOST_IDS {
            let message = format!("{} ids in one read, {object} takes {MOST_IDS}", ids.len());
            return Err(ConnectorError::new(NextStep::Fail, message));
        }
        let snapshot = self.records.snapshot()?;
        let mut entries = Vec::with_capacity(ids.len());
        for id in ids {
            let found = snapshot.record(&self.records.scope, object, id).map_err(store_error)?;
            let gone = || Entry::Deleted { id: id.clone(), version: None, cause: DeletionCause::NotFound };
            entries.push(found.map(record).map_or_else(gone, Entry::Live));
        }
        Ok(Page::last(entries))
    }

    /// Looks at every record of the object; used where somebody insists, since the
    /// capabilities promise no search.
    fn find(&self, object: &ObjectName, wanted: &[(Path, Value)]) -> Result<Page, ConnectorError> {
        let snapshot = self.records.snapshot()?;
        let (mut entries, mut after) = (Vec::new(), None);
        loop {
            let (records, next) = self.records.list_in(&snapshot, object, after.as_ref(), PAGE_SIZE)?;
            entries.extend(records.into_iter().filter(|record| holds(record, wanted)).map(Entry::Live));
            after = next;
            if after.is_none() {
                return Ok(Page::last(entries));
            }
        }
    }
}

fn holds(record: &Record, wanted: &[(Path, Value)]) -> bool {
    record
        .body
        .decode()
        .is_ok_and(|value| wanted.iter().all(|(path, want)| value.get(path).is_some_and(|found| found.same(want))))
}

fn cursor(change: u64) -> Cursor {
    Cursor::new(format!("{CURSOR_PREFIX}{change}"))
}

fn all_token(token: &PageToken) -> Result<(u64, Option<RecordId>), ConnectorError> {
    let parts = token.as_str().split_once('.');
    let read = parts.and_then(|(begun_at, after)| Some((begun_at.parse().ok()?, Some(RecordId::from(after)))));
    read.ok_or_else(|| not_ours("page token", NextStep::Fail))
}

fn not_ours(what: &str, next: NextStep) -> ConnectorError {
    ConnectorError::new(next, format!("the {what} is not one of the embedded store's"))
}

fn record_write(write: Write) -> RecordWrite {
    match write {
        Write::Create(Create { record, idempotency_key: _, external_id }) => {
            RecordWrite::Create { id: RecordId::from(external_id), record: Body::from_value(&record) }
        }
        Write::Update(Update { id, expected, current: _, changes }) => RecordWrite::Patch { id, expected, changes },
        Write::Delete(Delete { id, expected }) => RecordWrite::Delete { id, expected },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::contract;
    use crate::model::budget::Limits;
    use crate::store::StoreOptions;

    const OBJECT: &str = "contacts";

    fn on_runtime<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(future)
    }

    fn test_store() -> Store {
        Store::in_memory(StoreOptions::inline()).unwrap()
    }

    fn connector(store: &Store, scope: &str) -> Box<dyn Connector> {
        let clock: Clock = Arc::new(|| 1_700_000_000_123);
        let factory = EmbeddedFactory::new(store.clone()).with_clock(clock);
        factory.make(&ConnectorScope { scope: Some(scope.into()) }).unwrap()
    }

    fn calls() -> Calls {
        Calls::new(&Limits::default())
    }

    fn body(text: &str) -> Body {
        Body::from_json(text)
    }

    fn sample(n: u32) -> Value {
        Value::from_json(&format!(
            r#"{{"email":"p{n}@example.com","big":1234567890123456789{n}.50,"note":null,"deep":{{"n":{n}}}}}"#
        ))
        .unwrap()
    }

    fn ids(page: &Page) -> Vec<String> {
        let id = |entry: &Entry| match entry {
            Entry::Live(record) => record.id.to_string(),
            Entry::Deleted { id, .. } => format!("-{id}"),
            Entry::Bad(bad) => panic!("{bad:?}"),
        };
        page.entries.iter().map(id).collect()
    }

    #[test]
    fn the_contract_is_kept() {
        on_runtime(async {
            let store = test_store();
            let connector = connector(&store, "acct_1");
            let report = contract::check(&*connector, &calls(), &OBJECT.into(), sample).await.unwrap();
            let skipped = report.checks.len() - report.passed().len();
            assert_eq!(skipped, 1, "only find is skipped: {report}");
            let records = Embedded::new(store, "acct_1".into());
            assert_eq!(records.list(&OBJECT.into(), None, 10).unwrap(), (Vec::new(), None));
        });
    }

    #[test]
    fn a_connector_needs_a_scope_and_sees_no_other() {
        on_runtime(async {
            let store = test_store();
            let refused = EmbeddedFactory::new(store.clone()).make(&ConnectorScope { scope: None });
            assert_eq!(refused.err().map(|error| error.next), Some(NextStep::Fail));
            let (mine, object) = (Embedded::new(store.clone(), "a".into()), ObjectName::from(OBJECT));
            mine.write_one(&object, RecordWrite::Put { id: "1".into(), expected: None, record: body("{}") })
                .await
                .unwrap();
            let theirs = connector(&store, "b");
            for read in [
                Read::All { page: None },
                Read::Changes { since: Cursor::new("change:0"), page: None },
                Read::Find(Vec::new()),
                Read::ExternalId("1".into()),
            ] {
                let page = theirs.read(&calls(), &object, read.clone()).await.unwrap();
                assert!(page.entries.is_empty(), "{read:?}");
            }
            let page = theirs.read(&calls(), &object, Read::Ids(vec!["1".into()])).await.unwrap();
            assert_eq!(ids(&page), ["-1"]);
            let delete = Write::Delete(Delete { id: "1".into(), expected: None });
            theirs.write(&calls(), &object, vec![delete]).await;
            assert!(mine.get(&object, &"1".into()).unwrap().is_some());
        });
    }

    #[test]
    fn a_long_list_comes_in_pages_and_its_cursor_covers_what_changed_meanwhile() {
        on_runtime(async {
            let (store, object) = (test_store(), ObjectName::from(OBJECT));
            let records = Embedded::new(store.clone(), "a".into());
            let put = |n: usize, text: &str| RecordWrite::Put {
                id: format!("{n:05} /.").into(),
                expected: None,
                record: body(&format!(r#"{{"text":"{text}"}}"#)),
            };
            let count = 2 * PAGE_SIZE + 1;
            records.write(&object, (0..count).map(|n| put(n, "old")).collect()).await.unwrap();
            let connector = connector(&store, "a");
            let (mut seen, mut token, mut cursors) = (Vec::new(), None, Vec::new());
            for _ in 0..3 {
                let page = connector.read(&calls(), &object, Read::All { page: token }).await.unwrap();
                seen.extend(ids(&page));
                cursors.push(page.cursor);
                token = page.next;
                if cursors.len() == 1 {
                    // Behind the read's back: one that it has passed, and one that it has not.
                    records.write(&object, vec![put(0, "new"), put(count - 1, "new")]).await.unwrap();
                }
            }
            assert_eq!((seen.len(), token), (count, None));
            let [None, None, Some(since)] = cursors.as_slice() else { panic!("{cursors:?}") };
            let since = Read::Changes { since: since.clone(), page: None };
            let page = connector.read(&calls(), &object, since).await.unwrap();
            assert_eq!(ids(&page), ["00000 /.".to_owned(), format!("{:05} /.", count - 1)]);

            let (mut seen, mut token) = (0, None);
            loop {
                let since = Cursor::new("change:0");
                let page = connector.read(&calls(), &object, Read::Changes { since, page: token }).await.unwrap();
                assert!(page.cursor.is_some(), "changes give a cursor on every page");
                seen += page.entries.len();
                token = page.next;
                if token.is_none() {
                    break;
                }
            }
            assert_eq!(seen, count, "each record once, as it was changed last");
        });
    }

    #[test]
    fn a_page_of_long_records_ends_early() {
        on_runtime(async {
            let (store, object) = (test_store(), ObjectName::from(OBJECT));
            let records = Embedded::new(store.clone(), "a".into());
            let long = "x".repeat(1024 * 1024);
            let count = 3 * ROWS_AT_ONCE;
            for n in 0..count {
                let record = body(&format!(r#"{{"long":"{long}"}}"#));
                let put = RecordWrite::Put { id: format!("{n:05}").into(), expected: None, record };
                records.write_one(&object, put).await.unwrap();
            }
            let connector = connector(&store, "a");
            for since in [None, Some(Cursor::new("change:0"))] {
                let (mut seen, mut token) = (Vec::new(), None);
                loop {
                    let read = match &since {
                        None => Read::All { page: token },
                        Some(since) => Read::Changes { since: since.clone(), page: token },
                    };
                    let page = connector.read(&calls(), &object, read).await.unwrap();
                    assert!(page.entries.len() <= ROWS_AT_ONCE, "{}", page.entries.len());
                    seen.extend(ids(&page));
                    token = page.next;
                    if token.is_none() {
                        break;
                    }
                }
                let want: Vec<String> = (0..count).map(|n| format!("{n:05}")).collect();
                assert_eq!(seen, want);
            }
        });
    }

    #[test]
    fn cursors_and_tokens_of_another_making_are_refused() {
        on_runtime(async {
            let (store, object) = (test_store(), ObjectName::from(OBJECT));
            let connector = connector(&store, "a");
            for cursor in ["", "5", "ms:5", "change:x", "change:5"] {
                let read = Read::Changes { since: Cursor::new(cursor), page: None };
                let next = connector.read(&calls(), &object, read).await.unwrap_err().next;
                assert_eq!(next, NextStep::Resync, "'{cursor}' (nothing has changed yet)");
            }
            let read = Read::All { page: Some(PageToken::new("x")) };
            assert_eq!(connector.read(&calls(), &object, read).await.unwrap_err().next, NextStep::Fail);
            let read = Read::Ids(vec!["x".into(); MOST_IDS + 1]);
            assert_eq!(connector.read(&calls(), &object, read).await.unwrap_err().next, NextStep::Fail);
        });
    }

    #[test]
    fn writes_in_one_call_stand_by_themselves() {
        on_runtime(async {
            let (store, object) = (test_store(), ObjectName::from(OBJECT));
            let records = Embedded::new(store, "a".into()).with_clock(Arc::new(|| 1_700_000_000_123));
            let put = |id: &str, expected: Option<&str>| RecordWrite::Put {
                id: id.into(),
                expected: expected.map(Version::from),
                record: body(r#"{"a" : 1.0}"#),
            };
            let long = "x".repeat(crate::model::ids::MAX_RECORD_ID_BYTES + 1);
            let writes = vec![
                put("1", None),
                put("", None),
                put(&long, None),
                put("2", Some("not a version")),
                put("3", Some("77")),
                RecordWrite::Create { id: "1".into(), record: body("{}") },
                RecordWrite::Patch { id: "4".into(), expected: None, changes: Vec::new() },
                RecordWrite::Delete { id: "5".into(), expected: None },
            ];
            let outcomes = records.write(&object, writes).await.unwrap();
            let [
                Outcome::Written(stored),
                Outcome::Rejected { .. },
                Outcome::Rejected { .. },
                Outcome::Changed,
                Outcome::Changed,
                Outcome::Duplicate(Some(_)),
                Outcome::Missing,
                Outcome::Deleted,
            ] = outcomes.as_slice()
            else {
                panic!("{outcomes:?}")
            };
            assert_eq!(stored.body.as_ref().unwrap().as_str(), r#"{"a" : 1.0}"#, "kept verbatim");
            assert_eq!(stored.modified.unwrap().timestamp_millis(), 1_700_000_000_123);
            assert_eq!(records.list(&object, None, 10).unwrap().0.len(), 1);
        });
    }

    #[test]
    fn a_find_looks_at_every_record() {
        on_runtime(async {
            let (store, object) = (test_store(), ObjectName::from(OBJECT));
            let records = Embedded::new(store.clone(), "a".into());
            let put = |n: usize| RecordWrite::Put {
                id: n.to_string().into(),
                expected: None,
                record: body(&format!(r#"{{"n":{{"is":{}}}}}"#, n % 400)),
            };
            records.write(&object, (0..PAGE_SIZE + 400).map(put).collect()).await.unwrap();
            let wanted = vec![("n.is".parse().unwrap(), Value::from_json("7.0").unwrap())];
            let page = connector(&store, "a").read(&calls(), &object, Read::Find(wanted)).await.unwrap();
            assert_eq!(ids(&page), ["407", "7", "807"]);
        });
    }
}
