//! A connector file tried out on the app itself: what it declares is compared with what the app
//! does, and where they differ, the line that would be right is proposed.
//!
//! Without consent nothing is written. With it one record is made, changed and deleted again.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use futures_util::future::LocalBoxFuture;
use serde::Serialize;

use super::Read;
use super::action::Through;
use crate::model::cursor::Cursor;
use crate::model::ids::{RecordId, Version};
use crate::model::path::Path;
use crate::model::record::{Entry, Page, Record};
use crate::model::value::Value;
use crate::model::write::{
    Capabilities, Change, ConnectorError, Create, CreateRecovery, Delete, Outcome, Stored, Update, UpdateStyle, Write,
};

/// What a connector file says about the times by which changes are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeclaredTimes {
    /// Only what is later than the position is listed, not what is as late (`op = ">"`).
    pub exclusive: bool,
    /// The resolution, in microseconds (`granularity`).
    pub granularity: i64,
    /// How far behind the position a read starts, in microseconds (`lookback`).
    pub lookback: i64,
}

/// How something turned out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As declared, or as it should be.
    Fine,
    /// Worth knowing.
    Learned,
    /// Not as declared: syncs would go wrong.
    Wrong,
}

/// One thing that was found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// What was tried: `list`, `read`, `changes`, `create`, …
    pub tried: &'static str,
    /// How it turned out.
    pub verdict: Verdict,
    /// In a sentence.
    pub said: String,
    /// The line for the connector file that would be right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub propose: Option<String>,
}

/// Waits so long.
pub type Wait<'w> = &'w dyn Fn(Duration) -> LocalBoxFuture<'static, ()>;

/// How often, and how long after one another, something is looked for that may show later.
const LOOKS: u32 = 10;

/// See [`LOOKS`].
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// How many pages are read for the position at the end of a list.
const MOST_PAGES: usize = 100;

/// How many listed records are looked at.
const MOST_LISTED: usize = 500;

/// Tries an object out. `record` is what is made, changed and deleted again, as JSON in that
/// side's form; without it nothing is written. `key` names the create, as for an action.
pub async fn try_out(
    through: &dyn Through,
    times: Option<DeclaredTimes>,
    record: Option<Value>,
    key: &str,
    wait: Wait<'_>,
) -> Vec<Finding> {
    let can = match through.capabilities() {
        Ok(can) => can,
        Err(error) => {
            return vec![Finding { tried: "object", verdict: Verdict::Wrong, said: error.to_string(), propose: None }];
        }
    };
    let mut trial = Trial { through, can, times, wait, findings: Vec::new() };
    trial.read().await;
    if let Some(record) = record {
        if trial.can.writable {
            trial.write(record, key).await;
        } else {
            trial.note("create", Verdict::Learned, "the file declares no writes");
        }
    }
    trial.findings
}

struct Trial<'t> {
    through: &'t dyn Through,
    can: Capabilities,
    times: Option<DeclaredTimes>,
    wait: Wait<'t>,
    findings: Vec<Finding>,
}

impl Trial<'_> {
    fn note(&mut self, tried: &'static str, verdict: Verdict, said: impl Into<String>) {
        self.findings.push(Finding { tried, verdict, said: said.into(), propose: None });
    }

    fn propose(&mut self, tried: &'static str, said: impl Into<String>, line: impl Into<String>) {
        let (said, propose) = (said.into(), Some(line.into()));
        self.findings.push(Finding { tried, verdict: Verdict::Wrong, said, propose });
    }

    fn failed(&mut self, tried: &'static str, error: &ConnectorError) {
        self.note(tried, Verdict::Wrong, error.to_string());
    }

    // ---- reading ----

    async fn read(&mut self) {
        let Some(records) = self.list().await else { return };
        self.stamps(&records);
        let Some(first) = records.first() else { return };
        if self.can.read_ids > 0 {
            self.read_one(first).await;
        }
    }

    /// A page of a list, and then the time that the side takes to make the next one.
    async fn page(&self, read: Read) -> Result<Page, ConnectorError> {
        let page = self.through.read(read).await?;
        if let Some(again_ms) = page.again_after_ms {
            (self.wait)(Duration::from_millis(again_ms)).await;
        }
        Ok(page)
    }

    /// The list, as far as some pages go.
    async fn list(&mut self) -> Option<Vec<Record>> {
        let mut page = match self.page(Read::All { page: None }).await {
            Ok(page) => page,
            Err(error) => {
                self.failed("list", &error);
                return None;
            }
        };
        let (mut records, mut num_pages, mut num_deleted) = (Vec::new(), 1, 0);
        loop {
            let next = page.next.take();
            for entry in page.entries {
                match entry {
                    Entry::Live(record) => records.push(record),
                    Entry::Deleted { .. } => num_deleted += 1,
                    Entry::Bad(bad) => {
                        let said = format!("a record cannot be understood, at {}: {}", bad.place, bad.reason);
                        self.note("list", Verdict::Wrong, said);
                    }
                }
            }
            let Some(token) = next.filter(|_| records.len() < MOST_LISTED) else { break };
            match self.page(Read::All { page: Some(token) }).await {
                Ok(next) => page = next,
                Err(error) => {
                    self.failed("list", &error);
                    break;
                }
            }
            num_pages += 1;
        }
        let deleted = if num_deleted > 0 { format!(", {num_deleted} deleted") } else { String::new() };
        let said = format!("{} records in {num_pages} pages{deleted}", records.len());
        self.note("list", Verdict::Fine, said);
        let mut ids: Vec<&str> = records.iter().map(|record| record.id.as_str()).collect();
        ids.sort_unstable();
        if ids.windows(2).any(|two| two[0] == two[1]) {
            self.note("list", Verdict::Wrong, "a record stands in it twice: does `id` point to the record's own id?");
        }
        Some(records)
    }

    /// Whether the times of records are as fine as declared.
    fn stamps(&mut self, records: &[Record]) {
        let Some(times) = self.times else { return };
        let stamps: Vec<i64> = records.iter().filter_map(|record| Some(record.modified?.timestamp_micros())).collect();
        if stamps.len() < records.len() {
            let without = records.len() - stamps.len();
            let said = format!("{without} of {} records tell no time of their last change", records.len());
            self.note("changes", Verdict::Wrong, said);
        }
        // Of a few, all may be round by chance.
        if stamps.len() < 20 {
            return;
        }
        let seen = granularity(&stamps);
        if seen > times.granularity {
            let said = format!("times of change are multiples of {}, and are declared finer", spelled(seen));
            self.propose("changes", said, format!("granularity = \"{}\"", spelled(seen)));
        }
    }

    async fn read_one(&mut self, listed: &Record) {
        let page = match self.through.read(Read::Ids(vec![listed.id.clone()])).await {
            Ok(page) => page,
            Err(error) => return self.failed("read", &error),
        };
        let Some(Entry::Live(record)) = page.entries.into_iter().next() else {
            let said = format!("record {} is listed, and reading it by its id does not find it", listed.id);
            return self.note("read", Verdict::Wrong, said);
        };
        let (Ok(listed), Ok(read)) = (listed.body.decode(), record.body.decode()) else { return };
        let mut more = missing_in(&listed, &read);
        // Annotations of an answer, not data of a record: OData JSON Format 4.01, section 4.6.
        more.retain(|path| !path.contains("@odata."));
        if more.is_empty() {
            self.note("read", Verdict::Fine, "a record read by its id says what the list says");
        } else {
            let said = format!("the list leaves out what a record read by its id says: {}", more.join(", "));
            self.propose("read", said, "thin = true");
        }
    }

    // ---- writing ----

    async fn write(&mut self, record: Value, key: &str) {
        let before = self.position().await;
        let create = Create { record: record.clone(), idempotency_key: key.to_owned(), external_id: key.to_owned() };
        let stored = match self.through.write(Write::Create(create)).await {
            Outcome::Written(stored) => stored,
            other => return self.note("create", Verdict::Wrong, refusal(&other)),
        };
        let id = stored.id.clone();
        self.note("create", Verdict::Fine, format!("record {id} was made"));
        if let Some(made) = self.read_back(&record, stored).await {
            self.found_by_its_fields(&made).await;
            self.shown_among_changes(&made, before).await;
            self.updated(made, &record).await;
        }
        self.deleted(&id).await;
    }

    /// Where the list of changes stands now; `None` where that need not or cannot be known: a
    /// time can be made of the record's own.
    async fn position(&mut self) -> Option<Cursor> {
        if !self.can.changes || self.times.is_some() {
            return None;
        }
        let mut token = None;
        for _ in 0..MOST_PAGES {
            let page = match self.page(Read::All { page: token }).await {
                Ok(page) => page,
                Err(error) => {
                    self.failed("changes", &error);
                    return None;
                }
            };
            match page {
                Page { next: Some(next), .. } => token = Some(next),
                Page { cursor, next: None, .. } => return cursor,
            }
        }
        let said =
            format!("not tried: the list has more than {MOST_PAGES} pages, and its position is known at its end");
        self.note("changes", Verdict::Learned, said);
        None
    }

    /// What stands there after the create, compared with what was sent.
    async fn read_back(&mut self, sent: &Value, stored: Stored) -> Option<Record> {
        if self.can.read_ids == 0 {
            let Stored { id, version, modified, body } = stored;
            return body.map(|body| Record { id, version, modified, body });
        }
        let id = stored.id;
        let (record, looks) = self.look_for(|page| live(page, &id), || Read::Ids(vec![id.clone()])).await;
        let Some(record) = record else {
            let said = format!("record {id} was made and is not found by its id within {LOOKS} s");
            self.note("create", Verdict::Wrong, said);
            return None;
        };
        if looks > 1 && self.can.read_after_write_lag_ms == 0 {
            let said = format!("a record that was just made is found by its id only {looks} s later");
            self.propose("create", said, format!("read_after_write_lag = \"{}s\"", looks.saturating_mul(2)));
        }
        if let Ok(now) = record.body.decode() {
            for (path, sent, now) in changed_by_the_side(sent, &now) {
                let said = format!("'{path}' was sent as {sent} and stands there as {now}");
                self.note("create", Verdict::Learned, said);
            }
            let computed = missing_in(sent, &now);
            if !computed.is_empty() {
                self.note("create", Verdict::Learned, format!("the side adds {}", computed.join(", ")));
            }
        }
        Some(record)
    }

    async fn found_by_its_fields(&mut self, made: &Record) {
        let Ok(body) = made.body.decode() else { return };
        for path in self.can.find.clone() {
            let Some(value) = body.get(&path).filter(|value| !value.is_blank()).cloned() else { continue };
            let id = made.id.clone();
            let wanted = vec![(path.clone(), value)];
            let (found, looks) = self.look_for(|page| live(page, &id), || Read::Find(wanted.clone())).await;
            match (found, looks) {
                (Some(_), 1) => self.note("find", Verdict::Fine, format!("found by '{path}'")),
                (Some(_), looks) if self.settle_covers(looks) => {
                    let said = format!("found by '{path}' {looks} s after it was made, within the declared settle");
                    self.note("find", Verdict::Fine, said);
                }
                (Some(_), _) => {
                    let said = format!("found by '{path}' only {looks} s after it was made");
                    let line = format!("settle = \"{}s\"", looks.saturating_mul(2));
                    self.propose("find", said, line);
                }
                (None, _) => {
                    self.note("find", Verdict::Wrong, format!("not found by '{path}' within {LOOKS} s"));
                }
            }
        }
    }

    /// Whether a create whose outcome is unknown is looked for late enough, as declared.
    fn settle_covers(&self, looks: u32) -> bool {
        match self.can.create {
            CreateRecovery::Find { settle_ms } => settle_ms >= u64::from(looks) * 2_000,
            CreateRecovery::ClientId
            | CreateRecovery::IdempotencyKey { .. }
            | CreateRecovery::ExternalId
            | CreateRecovery::Park => false,
        }
    }

    /// Whether the new record is among the changes since before it, and whether what is as late
    /// as the position is listed.
    async fn shown_among_changes(&mut self, made: &Record, before: Option<Cursor>) {
        let earlier = |times: DeclaredTimes| {
            let micros = made.modified?.timestamp_micros().checked_sub(times.granularity)?;
            position(micros.checked_add(times.lookback)?)
        };
        let Some(before) = before.or_else(|| self.times.and_then(earlier)) else { return };
        let id = made.id.clone();
        let since = |cursor: Cursor| move || Read::Changes { since: cursor.clone(), page: None };
        let (found, looks) = self.look_in_changes(&id, &before).await;
        match (found, looks) {
            (false, _) => {
                let said = format!("a record that was made is not among the changes within {LOOKS} s");
                return self.note("changes", Verdict::Wrong, said);
            }
            (true, 1) => self.note("changes", Verdict::Fine, "a record that was made is among the changes"),
            (true, looks) if self.times.is_some_and(|times| times.lookback >= i64::from(looks) * 2_000_000) => {
                let said = format!("a record that was made is among the changes {looks} s later, within the lookback");
                self.note("changes", Verdict::Fine, said);
            }
            (true, looks) => {
                let said = format!("a record that was made is among the changes only {looks} s later");
                self.propose("changes", said, format!("settle = \"{}s\"", looks.saturating_mul(2)));
            }
        }
        let (Some(times), Some(modified)) = (self.times, made.modified) else { return };
        // As the file declares it, this asks for exactly the record's own time.
        let step = if times.exclusive { times.granularity } else { 0 };
        let at = |micros: i64| micros.checked_add(times.lookback).and_then(position);
        let own = modified.timestamp_micros();
        let Some(exactly) = at(own.saturating_add(step)) else { return };
        let Ok(page) = self.through.read(since(exactly)()).await else { return };
        let is_listed = live(page, &id).is_some();
        match (times.exclusive, is_listed) {
            (false, true) => self.note("changes", Verdict::Fine, "what is as late as the position is listed"),
            (true, false) => self.note("changes", Verdict::Fine, "what is as late as the position is not listed"),
            (false, false) => {
                let said = "what is as late as the position is not listed: changes of one moment would be lost";
                self.propose("changes", said, "op = \">\"");
            }
            (true, true) => {
                let said = "what is as late as the position is listed, and is declared not to be: each read brings it \
                            again";
                self.findings.push(Finding {
                    tried: "changes",
                    verdict: Verdict::Learned,
                    said: said.to_owned(),
                    propose: Some("op = \">=\"".to_owned()),
                });
            }
        }
    }

    async fn look_in_changes(&mut self, id: &RecordId, since: &Cursor) -> (bool, u32) {
        for look in 1..=LOOKS {
            let mut token = None;
            loop {
                let read = Read::Changes { since: since.clone(), page: token };
                let Ok(page) = self.page(read).await else { break };
                token = page.next.clone();
                if live(page, id).is_some() {
                    return (true, look);
                }
                if token.is_none() {
                    break;
                }
            }
            (self.wait)(BETWEEN_LOOKS).await;
        }
        (false, LOOKS)
    }

    async fn updated(&mut self, made: Record, sent: &Value) {
        let Ok(body) = made.body.decode() else { return };
        let Some((path, value)) = first_text(sent, &body) else {
            return self.note("update", Verdict::Learned, "not tried: the record has no text to change");
        };
        // What changes nothing.
        let Some(same) = self.update(&made, &path, Value::string(value.as_str())).await else { return };
        let bumped = match (made.modified, same.modified, &made.version, &same.version) {
            (Some(before), Some(after), _, _) if before != after => Some("its time of change"),
            (_, _, Some(before), Some(after)) if before != after => Some("its version"),
            (_, _, _, _) => None,
        };
        match bumped {
            Some(what) => {
                let said = format!("an update that changes nothing changes {what}: it will be listed once more");
                self.note("update", Verdict::Learned, said);
            }
            None => self.note("update", Verdict::Fine, "an update that changes nothing leaves no trace"),
        }
        // What changes something.
        let other = format!("{value} (tried)");
        let Some(changed) = self.update(&same, &path, Value::string(other.as_str())).await else { return };
        let Ok(now) = changed.body.decode() else { return };
        match now.get(&path).and_then(Value::as_str) {
            Some(now) if now == other => self.note("update", Verdict::Fine, format!("'{path}' was changed")),
            now => {
                let said = format!("'{path}' was to become '{other}' and is {now:?}");
                self.note("update", Verdict::Wrong, said);
            }
        }
        let lost = missing_in(&now, &body);
        if !lost.is_empty() {
            let said = format!("an update of one field took others away: {}", lost.join(", "));
            self.propose("update", said, "whole = true");
        }
        // Of interest only where changes are listed by it.
        if self.times.is_some() && changed.modified.is_some() && changed.modified == same.modified {
            let said = "an update that changes a field leaves the time of change as it was: it would not be listed";
            self.note("update", Verdict::Wrong, said);
        }
        self.refuses_the_outdated(&made, &changed, &path).await;
    }

    /// Whether a write on a version that is no longer the record's is refused.
    async fn refuses_the_outdated(&mut self, old: &Record, now: &Record, path: &Path) {
        let (true, Some(version)) = (self.can.conditional, old.version.clone()) else { return };
        if now.version.as_ref() == Some(&version) {
            let said = "the version stays the same when a record changes: it guards nothing";
            return self.note("update", Verdict::Wrong, said);
        }
        let update = self.change(now, path, Value::string("outdated"), Some(version));
        match self.through.write(Write::Update(update)).await {
            Outcome::Changed => self.note("update", Verdict::Fine, "an update of an outdated version is refused"),
            Outcome::Written(_) => {
                let said = "an update of an outdated version is taken: what others wrote meanwhile would be lost";
                self.propose("update", said, "# no if_match: the side does not look at it");
            }
            other => self.note("update", Verdict::Wrong, refusal(&other)),
        }
    }

    fn change(&self, record: &Record, path: &Path, value: Value, expected: Option<Version>) -> Update {
        let whole = (self.can.update == UpdateStyle::Whole).then(|| record.body.clone());
        let changes = vec![Change { path: path.clone(), value: Some(value) }];
        Update { id: record.id.clone(), expected, current: whole, changes }
    }

    /// Writes one field, and reads the record back.
    async fn update(&mut self, record: &Record, path: &Path, value: Value) -> Option<Record> {
        let expected = record.version.clone().filter(|_| self.can.conditional);
        let update = self.change(record, path, value, expected);
        match self.through.write(Write::Update(update)).await {
            Outcome::Written(Stored { id, version, modified, body }) => {
                if let Some(body) = body.clone().filter(|_| self.can.read_ids == 0) {
                    return Some(Record { id, version, modified, body });
                }
            }
            other => {
                self.note("update", Verdict::Wrong, refusal(&other));
                return None;
            }
        }
        match self.through.read(Read::Ids(vec![record.id.clone()])).await {
            Ok(page) => live(page, &record.id),
            Err(error) => {
                self.failed("read", &error);
                None
            }
        }
    }

    async fn deleted(&mut self, id: &RecordId) {
        let delete = || Write::Delete(Delete { id: id.clone(), expected: None });
        match self.through.write(delete()).await {
            Outcome::Deleted => self.note("delete", Verdict::Fine, format!("record {id} was deleted")),
            other => {
                let said = format!("record {id} stays there: {}", refusal(&other));
                return self.note("delete", Verdict::Wrong, said);
            }
        }
        if self.can.read_ids > 0
            && let Ok(page) = self.through.read(Read::Ids(vec![id.clone()])).await
            && live(page, id).is_some()
        {
            let said = "a deleted record is still found by its id: declare how it shows that it is deleted";
            self.propose("delete", said, "deleted = { path = \"…\" }");
        }
        match self.through.write(delete()).await {
            Outcome::Deleted | Outcome::Missing => {}
            other => {
                let said = format!("deleting it once more is refused: {}", refusal(&other));
                self.note("delete", Verdict::Wrong, said);
            }
        }
    }

    /// Reads until something shows, and tells at which look it did.
    async fn look_for(&self, found: impl Fn(Page) -> Option<Record>, read: impl Fn() -> Read) -> (Option<Record>, u32) {
        for look in 1..=LOOKS {
            if let Ok(page) = self.through.read(read()).await
                && let Some(record) = found(page)
            {
                return (Some(record), look);
            }
            (self.wait)(BETWEEN_LOOKS).await;
        }
        (None, LOOKS)
    }
}

fn live(page: Page, id: &RecordId) -> Option<Record> {
    page.entries.into_iter().find_map(|entry| match entry {
        Entry::Live(record) if record.id == *id => Some(record),
        Entry::Live(_) | Entry::Deleted { .. } | Entry::Bad(_) => None,
    })
}

fn position(micros: i64) -> Option<Cursor> {
    let time: DateTime<Utc> = DateTime::from_timestamp_micros(micros)?;
    Some(Cursor::new(format!("t:{}", time.to_rfc3339_opts(SecondsFormat::Micros, true))))
}

fn refusal(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Written(_) => "it was written".to_owned(),
        Outcome::Deleted => "it was deleted".to_owned(),
        Outcome::Changed => "the side says that somebody else has changed it meanwhile".to_owned(),
        Outcome::Missing => "the side says that there is no such record".to_owned(),
        Outcome::Duplicate(_) => "the side has a record like it already: choose other values".to_owned(),
        Outcome::Rejected { reason, path: Some(path) } => format!("refused ('{path}'): {reason}"),
        Outcome::Rejected { reason, path: None } => format!("refused: {reason}"),
        Outcome::NotSent(error) => error.to_string(),
        Outcome::Unknown(reason) => format!("nobody knows whether it was done: {reason}"),
    }
}

/// The coarsest of the usual resolutions that all these times are multiples of, in microseconds.
fn granularity(stamps: &[i64]) -> i64 {
    let usual = [86_400_000_000, 60_000_000, 1_000_000, 1_000, 1];
    usual.into_iter().find(|unit| stamps.iter().all(|stamp| stamp % unit == 0)).unwrap_or(1)
}

fn spelled(micros: i64) -> &'static str {
    match micros {
        86_400_000_000 => "1d",
        60_000_000 => "1m",
        1_000_000 => "1s",
        _ => "1ms",
    }
}

/// All values of a record that hold no further ones, by their paths.
fn leaves(value: &Value) -> Vec<(Path, &Value)> {
    fn walk<'v>(keys: &mut Vec<String>, value: &'v Value, found: &mut Vec<(Path, &'v Value)>) {
        match value {
            Value::Object(entries) if !entries.is_empty() => {
                for (key, value) in entries {
                    keys.push(key.clone());
                    walk(keys, value, found);
                    keys.pop();
                }
            }
            value => found.extend(Path::of_keys(keys.clone()).map(|path| (path, value))),
        }
    }
    let mut found = Vec::new();
    walk(&mut Vec::new(), value, &mut found);
    found
}

/// Paths at which the second record says something, and the first nothing.
fn missing_in(first: &Value, second: &Value) -> Vec<String> {
    let some = leaves(second).into_iter().filter(|(_, value)| !value.is_blank());
    some.filter(|(path, _)| first.get(path).is_none()).map(|(path, _)| format!("'{path}'")).collect()
}

/// Where a side keeps something else than it was sent.
fn changed_by_the_side(sent: &Value, now: &Value) -> Vec<(String, String, String)> {
    let shown = |value: Option<&Value>| value.map_or("nothing".to_owned(), Value::to_json);
    let differing = leaves(sent).into_iter().filter(|(path, value)| !now.get(path).is_some_and(|now| now.same(value)));
    differing.map(|(path, value)| (path.to_string(), value.to_json(), shown(now.get(&path)))).collect()
}

/// A text of those that were sent, to be changed: one that any text may take the place of.
fn first_text(sent: &Value, stored: &Value) -> Option<(Path, String)> {
    let is_plain = |text: &str| !text.is_empty() && !text.contains(['@', ':', '/']) && text.parse::<f64>().is_err();
    leaves(sent).into_iter().find_map(|(path, value)| {
        value.as_str().filter(|text| is_plain(text))?;
        let text = stored.get(&path)?.as_str()?.to_owned();
        Some((path, text))
    })
}

#[cfg(test)]
mod tests;
