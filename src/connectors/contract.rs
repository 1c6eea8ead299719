//! The contract every connector keeps, as a suite of named checks.
//!
//! For whoever writes a connector: run [`check`] against it and an app whose records
//! may be made, changed and deleted freely. It tells what the kernel relies on and the
//! connector does not do. What a connector says it cannot do is skipped, not failed.
//!
//! ```
//! # use syncline::connectors::{Calls, Connector, ConnectorFactory, ConnectorScope, contract};
//! # use syncline::connectors::memory::MemoryApp;
//! # use syncline::model::{budget::Limits, ids::ObjectName, value::Value};
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
//! # runtime.block_on(async {
//! # let connector = MemoryApp::new(1).factory().make(&ConnectorScope { scope: None }).unwrap();
//! let calls = Calls::new(&Limits::default());
//! let sample = |n: u32| {
//!     Value::from_json(&format!(r#"{{"email":"p{n}@example.com","name":"Person {n}"}}"#)).unwrap()
//! };
//! let report = contract::check(&*connector, &calls, &ObjectName::from("contacts"), sample).await.unwrap();
//! println!("{report}");
//! # });
//! ```

mod steps;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;

use super::{Calls, Connector, Read};
use crate::model::ids::{ObjectName, RecordId};
use crate::model::path::Path;
use crate::model::record::{Entry, Record};
use crate::model::value::Value;
use crate::model::write::{Change, Create, CreateRecovery, Outcome, Write};

use steps::{
    Broken, Kept, Suite, body_same, clip, entry_id, fail, live_id, must, outcome_text, same_content, shown,
    shown_value, skip, text, value_at,
};

/// What came of the suite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The checks in the order in which they ran.
    pub checks: Vec<Checked>,
}

/// One check and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// What is checked.
    pub name: &'static str,
    /// What came of it.
    pub verdict: Verdict,
}

/// What came of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The connector keeps it.
    Passed,
    /// It could not be checked, and why.
    Skipped(String),
    /// The connector does not keep it.
    Failed(String),
}

impl Report {
    /// The names of the checks that passed.
    #[must_use]
    pub fn passed(&self) -> Vec<&'static str> {
        self.checks.iter().filter(|checked| checked.verdict == Verdict::Passed).map(|checked| checked.name).collect()
    }

    /// The names of the checks that failed.
    #[must_use]
    pub fn failed(&self) -> Vec<&'static str> {
        let failed = |checked: &&Checked| matches!(checked.verdict, Verdict::Failed(_));
        self.checks.iter().filter(failed).map(|checked| checked.name).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Checked { name, verdict } in &self.checks {
            match verdict {
                Verdict::Passed => writeln!(f, "passed   {name}")?,
                Verdict::Skipped(reason) => writeln!(f, "skipped  {name}: {reason}")?,
                Verdict::Failed(reason) => writeln!(f, "FAILED   {name}: {reason}")?,
            }
        }
        Ok(())
    }
}

/// Runs every check and fails with the report when one of them failed.
///
/// `sample(n)` makes the `n`th record, an object that the side takes and stores
/// unchanged (a side that trims or lower-cases gets trimmed, lower-case samples), with
/// several top-level keys, no two samples equal in any of them that must be unique.
/// Other records may exist. What the suite makes it deletes again at the end.
///
/// Where reads lag behind writes
/// ([`read_after_write_lag_ms`](crate::model::write::Capabilities::read_after_write_lag_ms)) it waits that long after each write.
///
/// # Errors
/// When a check failed, with the whole report; or when nothing could be checked at all.
pub async fn check(
    connector: &dyn Connector,
    calls: &Calls,
    object: &ObjectName,
    sample: impl Fn(u32) -> Value,
) -> Result<Report, String> {
    let report = run(connector, calls, object, &sample).await?;
    if report.failed().is_empty() { Ok(report) } else { Err(report.to_string()) }
}

/// Runs every check and tells what came of each, failures too.
///
/// # Errors
/// When nothing could be checked: the object is unknown.
pub async fn run(
    connector: &dyn Connector,
    calls: &Calls,
    object: &ObjectName,
    sample: &dyn Fn(u32) -> Value,
) -> Result<Report, String> {
    let suite = Suite::new(connector, calls, object, sample)?;
    let checks = suite.all().await;
    suite.clean_up().await;
    Ok(Report { checks })
}

macro_rules! checks {
    ($suite:ident, $($name:literal => $check:ident),+ $(,)?) => {
        vec![$(Checked { name: $name, verdict: verdict($suite.$check().await) }),+]
    };
}

fn verdict(kept: Kept) -> Verdict {
    match kept {
        Ok(()) => Verdict::Passed,
        Err(Broken::Skip(reason)) => Verdict::Skipped(reason),
        Err(Broken::Fail(reason)) => Verdict::Failed(reason),
    }
}

impl Suite<'_> {
    async fn all(&self) -> Vec<Checked> {
        checks!(self,
            "the side answers" => ping,
            "a created record reads back as it was sent" => create_reads_back,
            "a list holds every record once" => list_holds_all,
            "two reads in a row agree" => two_reads_agree,
            "a read by id yields what the list holds" => ids_agree_with_list,
            "a missing id is a deleted entry, not an error" => missing_is_deleted,
            "every cursor leads to all that changed after it" => every_cursor_is_safe,
            "a change right after a cursor is not lost" => no_change_lost_after_a_cursor,
            "a deleted record never comes back in changes" => deleted_stays_deleted_in_changes,
            "a create sent twice makes one record" => create_twice_makes_one,
            "an update changes what it says" => update_changes,
            "an update keeps the keys it does not name" => update_keeps_other_keys,
            "an update decided on an old version is refused" => stale_update_is_refused,
            "a delete decided on an old version is refused" => stale_delete_is_refused,
            "an update of a missing record says so" => update_of_missing,
            "null, absent and empty replace the value that was there" => blanks_replace,
            "a delete is one, and again" => delete_twice,
            "a batch answers in order" => batch_in_order,
            "no writes, no outcomes" => empty_batch,
            "find yields what holds the value and nothing else" => find_by_value,
        )
    }

    // ---- checks: reading ----

    async fn ping(&self) -> Kept {
        match self.connector.ping(self.calls, self.object).await {
            Ok(()) => Ok(()),
            Err(error) => fail(error.message),
        }
    }

    async fn list_holds_all(&self) -> Kept {
        let made = self.some_records(5).await?;
        let listing = self.list(None).await?;
        must(!listing.drifted(), || "the list says that it drifted, and nobody changed anything".into())?;
        if let Some(id) = listing.first_repeated() {
            return fail(format!("{} comes twice in one list", shown(&id)));
        }
        let live = listing.live();
        for (id, sample) in &made {
            let Some(record) = live.get(id) else { return fail(format!("{} is missing", shown(id))) };
            self.holds(record, sample)?;
        }
        Ok(())
    }

    async fn two_reads_agree(&self) -> Kept {
        self.some_records(3).await?;
        let (first, second) = (self.list(None).await?.live(), self.list(None).await?.live());
        let differs = first.iter().find(|(id, record)| second.get(*id) != Some(*record));
        match differs.map(|(id, _)| id).or_else(|| second.keys().find(|id| !first.contains_key(*id))) {
            None => Ok(()),
            Some(id) => fail(format!("{} differs between two reads, and nobody changed it", shown(id))),
        }
    }

    async fn ids_agree_with_list(&self) -> Kept {
        self.must_read_ids()?;
        let made: BTreeSet<RecordId> = self.some_records(3).await?.into_iter().map(|(id, _)| id).collect();
        let live = self.list(None).await?.live();
        let ids = live.keys().filter(|id| made.is_empty() || made.contains(*id)).take(3).cloned();
        let ids: Vec<RecordId> = ids.collect();
        if ids.is_empty() {
            return skip("there are no records");
        }
        for chunk in ids.chunks(self.capabilities.read_ids) {
            let entries = self.read_ids(chunk).await?;
            must(entries.len() == chunk.len(), || format!("{} entries for {} ids", entries.len(), chunk.len()))?;
            for id in chunk {
                let Some(Entry::Live(record)) = entries.iter().find(|entry| entry_id(entry) == Some(id)) else {
                    return fail(format!("{} is not among what was read by id", shown(id)));
                };
                let Some(listed) = live.get(id) else { return fail(format!("{} is not in the list", shown(id))) };
                must(same_content(listed, record), || {
                    format!("{} reads '{}' by id but '{}' in the list", shown(id), text(record), text(listed))
                })?;
                // A different version would make every first write look like a conflict.
                must(listed.version == record.version, || {
                    format!("{} has another version by id than in the list", shown(id))
                })?;
            }
        }
        Ok(())
    }

    async fn missing_is_deleted(&self) -> Kept {
        self.must_read_ids()?;
        let gone = self.make_gone().await?;
        self.must_be_gone(&gone).await?;
        if self.capabilities.read_ids < 2 {
            return Ok(());
        }
        let (live, _) = self.create_one().await?;
        let entries = self.read_ids(&[live.clone(), gone.clone()]).await?;
        let is_live = entries.iter().any(|entry| matches!(entry, Entry::Live(record) if record.id == live));
        let is_gone = entries.iter().any(|entry| matches!(entry, Entry::Deleted { id, .. } if *id == gone));
        must(is_live && is_gone && entries.len() == 2, || {
            "reading one record that exists and one that does not must yield one live and one deleted entry".into()
        })
    }

    // ---- checks: cursors ----

    async fn every_cursor_is_safe(&self) -> Kept {
        self.must_list_changes()?;
        self.create_several(6).await?;
        let listing = self.list(None).await?;
        must(listing.cursor().is_some(), || "a complete read gave no cursor to go on from".into())?;
        let (changed, sample) = self.create_one().await?;
        for (page, cursor) in listing.cursors() {
            let changes = self.list(Some(cursor)).await?.live();
            for id in listing.live_after(page) {
                must(changes.contains_key(&id), || {
                    format!("the cursor of page {} passes {}, which only a later page held", page + 1, shown(&id))
                })?;
            }
            let Some(record) = changes.get(&changed) else {
                return fail(format!("{} was made after the cursor of page {} and is lost", shown(&changed), page + 1));
            };
            self.holds(record, &sample)?;
        }
        Ok(())
    }

    /// The trap: records that share a modified time with the newest one seen.
    async fn no_change_lost_after_a_cursor(&self) -> Kept {
        self.must_list_changes()?;
        let Some(mut cursor) = self.list(None).await?.cursor() else {
            return fail("a complete read gave no cursor to go on from");
        };
        for _ in 0..4 {
            let (first, _) = self.create_one().await?;
            let changes = self.list(Some(&cursor)).await?;
            must(changes.live().contains_key(&first), || format!("{} was made and is not listed", shown(&first)))?;
            cursor = changes.cursor().unwrap_or(cursor);
            let (second, _) = self.create_one().await?;
            let seen = self.read_one(&first).await;
            let changes = self.list(Some(&cursor)).await?;
            must(changes.live().contains_key(&second), || {
                format!("{} was made right after {} was listed, and is lost", shown(&second), shown(&first))
            })?;
            cursor = changes.cursor().unwrap_or(cursor);
            // An update within the same moment must not be lost either.
            if let Ok(record) = seen {
                let (key, value) = self.one_change(&record)?;
                self.update_ok(&record, vec![Change { path: key.clone(), value: Some(value.clone()) }]).await?;
                let changes = self.list(Some(&cursor)).await?;
                let listed = changes.live().get(&first).and_then(|record| value_at(record, &key));
                must(listed.is_some_and(|listed| listed.same(&value)), || {
                    format!("an update of {} right after a cursor is lost", shown(&first))
                })?;
                cursor = changes.cursor().unwrap_or(cursor);
            }
        }
        Ok(())
    }

    async fn deleted_stays_deleted_in_changes(&self) -> Kept {
        self.must_list_changes()?;
        let (id, _) = self.create_one().await?;
        let Some(cursor) = self.list(None).await?.cursor() else { return skip("no cursor to read from") };
        self.delete_ok(&id).await?;
        let changes = self.list(Some(&cursor)).await?;
        must(!changes.live().contains_key(&id), || format!("{} was deleted and is listed as live", shown(&id)))?;
        let listing = self.list(None).await?;
        must(!listing.live().contains_key(&id), || format!("{} was deleted and is listed as live", shown(&id)))
    }

    // ---- checks: creating ----

    async fn create_reads_back(&self) -> Kept {
        let create = self.next_create();
        let stored = self.create_ok(&create).await?;
        let record = self.read_one(&stored.id).await?;
        self.holds(&record, &create.record)?;
        if let Some(body) = &stored.body {
            must(body_same(body, &record.body), || {
                format!("the create answered '{}' but '{}' is stored", clip(body.as_str()), text(&record))
            })?;
        }
        must(stored.version.is_none() || stored.version == record.version, || {
            "the create answered another version than a read then shows".into()
        })
    }

    async fn create_twice_makes_one(&self) -> Kept {
        let recovery = self.capabilities.create;
        match recovery {
            CreateRecovery::Find { .. } | CreateRecovery::Park => {
                return skip("the connector says that it cannot tell a create sent twice");
            }
            CreateRecovery::ClientId | CreateRecovery::IdempotencyKey { .. } | CreateRecovery::ExternalId => {}
        }
        let create = self.next_create();
        let first = self.create_ok(&create).await?;
        let again = self.write_one(Write::Create(create.clone())).await?;
        match &again {
            Outcome::Written(stored) if stored.id == first.id => {}
            Outcome::Duplicate(named) if named.as_ref().is_none_or(|id| *id == first.id) => {}
            other => return fail(format!("the second answered {}", outcome_text(other))),
        }
        let twice = |(_, record): &(&RecordId, &Record)| self.holds(record, &create.record).is_ok();
        let live = self.list(None).await?.live();
        let count = live.iter().filter(twice).count();
        must(count == 1, || format!("{count} records hold what was sent"))?;
        match recovery {
            CreateRecovery::ExternalId | CreateRecovery::ClientId => {
                self.must_find_external_id(&create.external_id, Some(&first.id)).await?;
                self.must_find_external_id(&self.next_create().external_id, None).await
            }
            CreateRecovery::IdempotencyKey { .. } | CreateRecovery::Find { .. } | CreateRecovery::Park => Ok(()),
        }
    }

    async fn must_find_external_id(&self, external_id: &str, want: Option<&RecordId>) -> Kept {
        let read = match (self.capabilities.create, self.capabilities.read_ids) {
            (CreateRecovery::ClientId, 0) => return skip("records cannot be read by id"),
            (CreateRecovery::ClientId, _) => Read::Ids(vec![RecordId::from(external_id)]),
            _ => Read::ExternalId(external_id.to_owned()),
        };
        let page = self.read(read).await?;
        let found: Vec<&RecordId> = page.entries.iter().filter_map(live_id).collect();
        must(found == Vec::from_iter(want), || {
            format!("searched for the external id '{external_id}' it yields {} records", found.len())
        })
    }

    // ---- checks: updating ----

    async fn update_changes(&self) -> Kept {
        let record = self.create_and_read().await?;
        let (path, value) = self.one_change(&record)?;
        let change = Change { path: path.clone(), value: Some(value.clone()) };
        let stored = self.update_ok(&record, vec![change]).await?;
        must(stored.id == record.id, || "the update answered another id".into())?;
        let now = self.read_one(&record.id).await?;
        must(value_at(&now, &path).is_some_and(|now| now.same(&value)), || {
            format!("{path} was set to {value} and is {}", shown_value(value_at(&now, &path)))
        })?;
        must(record.version.is_none() || now.version != record.version, || {
            "the version is the same after an update".into()
        })?;
        must(stored.version.is_none() || stored.version == now.version, || {
            "the update answered another version than a read then shows".into()
        })?;
        match &stored.body {
            Some(body) => must(body_same(body, &now.body), || {
                format!("the update answered '{}' but '{}' is stored", clip(body.as_str()), text(&now))
            }),
            None => Ok(()),
        }
    }

    async fn update_keeps_other_keys(&self) -> Kept {
        let record = self.create_and_read().await?;
        let (path, value) = self.one_change(&record)?;
        self.update_ok(&record, vec![Change { path: path.clone(), value: Some(value) }]).await?;
        let now = self.read_one(&record.id).await?;
        let before = self.decode(&record)?;
        let Value::Object(entries) = &before else { return fail("a record is not an object") };
        // Keys that the side sets by itself (its modified time) stand in no sample.
        let sample = self.next_sample();
        let kept = entries.iter().map(|(key, value)| (Path::key(key.as_str()), value));
        let mut kept = kept.filter(|(key, _)| !key.overlaps(&path) && sample.get(key).is_some()).peekable();
        if kept.peek().is_none() {
            return skip("the samples have one key only");
        }
        for (key, value) in kept {
            let now = value_at(&now, &key);
            must(now.as_ref().is_some_and(|now| now.same(value)), || {
                format!("{key} was {value} and is {} after an update of {path}", shown_value(now.clone()))
            })?;
        }
        Ok(())
    }

    async fn stale_update_is_refused(&self) -> Kept {
        let (old, now) = self.two_versions().await?;
        let (path, value) = self.one_change(&now)?;
        let update = self.update_of(&old, vec![Change { path, value: Some(value) }]);
        let outcome = self.write_one(Write::Update(update)).await?;
        must(outcome == Outcome::Changed, || format!("it answered {}", outcome_text(&outcome)))?;
        let after = self.read_one(&old.id).await?;
        must(same_content(&after, &now), || "it said so, but the record has changed".into())
    }

    async fn stale_delete_is_refused(&self) -> Kept {
        let (old, _) = self.two_versions().await?;
        let outcome = self.delete(&old.id, old.version.clone()).await?;
        must(outcome == Outcome::Changed, || format!("it answered {}", outcome_text(&outcome)))?;
        self.read_one(&old.id).await.map(|_| ())
    }

    async fn update_of_missing(&self) -> Kept {
        let (id, _) = self.create_one().await?;
        let mut record = self.read_one(&id).await?;
        let (path, value) = self.one_change(&record)?;
        self.delete_ok(&id).await?;
        record.version = None;
        let update = self.update_of(&record, vec![Change { path, value: Some(value) }]);
        let outcome = self.write_one(Write::Update(update)).await?;
        must(outcome == Outcome::Missing, || format!("it answered {}", outcome_text(&outcome)))?;
        self.must_be_unlisted(&id).await
    }

    async fn blanks_replace(&self) -> Kept {
        let (path, _) = self.one_change(&self.create_and_read().await?)?;
        for blank in [Some(Value::Null), Some(Value::string("")), None] {
            let mut seen = Vec::new();
            // Twice, on two records: the side may turn a blank into another, but always
            // into the same.
            for _ in 0..2 {
                let record = self.create_and_read().await?;
                let old = value_at(&record, &path);
                let changes = vec![Change { path: path.clone(), value: blank.clone() }];
                match self.write_one(Write::Update(self.update_of(&record, changes))).await? {
                    Outcome::Written(_) => {}
                    // A side may insist on a value; it said so.
                    Outcome::Rejected { .. } => continue,
                    other => return fail(format!("an update to a blank answered {}", outcome_text(&other))),
                }
                let now = value_at(&self.read_one(&record.id).await?, &path);
                must(now.is_none() || now != old, || {
                    format!("{path} was set to {} and still is {}", shown_value(blank.clone()), shown_value(old))
                })?;
                seen.push(now);
            }
            must(seen.windows(2).all(|pair| pair[0] == pair[1]), || {
                format!("{path} set to {} is stored now one way, now another", shown_value(blank.clone()))
            })?;
        }
        Ok(())
    }

    // ---- checks: deleting, batches, finding ----

    async fn delete_twice(&self) -> Kept {
        let (id, _) = self.create_one().await?;
        self.delete_ok(&id).await?;
        if self.capabilities.read_ids > 0 {
            self.must_be_gone(&id).await?;
        }
        self.must_be_unlisted(&id).await?;
        let again = self.delete(&id, None).await?;
        must(again == Outcome::Deleted, || format!("the second answered {}", outcome_text(&again)))
    }

    async fn batch_in_order(&self) -> Kept {
        let size = self.capabilities.batch.min(6);
        if size < 2 {
            return skip("the connector writes one by one");
        }
        let creates: Vec<Create> = (0..size).map(|_| self.next_create()).collect();
        let outcomes = self.write(creates.iter().cloned().map(Write::Create).collect()).await?;
        for (create, outcome) in creates.iter().zip(outcomes) {
            let Outcome::Written(stored) = outcome else {
                return fail(format!("a create answered {}", outcome_text(&outcome)));
            };
            self.holds(&self.read_one(&stored.id).await?, &create.record)?;
        }
        let (gone, kept) = (self.create_and_read().await?, self.create_and_read().await?);
        let (path, value) = self.one_change(&gone)?;
        self.delete_ok(&gone.id).await?;
        let change = vec![Change { path: path.clone(), value: Some(value.clone()) }];
        let missing = self.update_of(&Record { version: None, ..gone }, change.clone());
        let update = self.update_of(&kept, change);
        let outcomes = self.write(vec![Write::Update(missing), Write::Update(update)]).await?;
        match outcomes.as_slice() {
            [Outcome::Missing, Outcome::Written(stored)] if stored.id == kept.id => {}
            other => {
                let texts: Vec<String> = other.iter().map(outcome_text).collect();
                return fail(format!("a missing record, then an update, answered {}", texts.join(", then ")));
            }
        }
        let now = value_at(&self.read_one(&kept.id).await?, &path);
        must(now.is_some_and(|now| now.same(&value)), || "one refused write spoiled its neighbour".into())
    }

    async fn empty_batch(&self) -> Kept {
        let outcomes = self.connector.write(self.calls, self.object, Vec::new()).await;
        must(outcomes.is_empty(), || format!("{} outcomes for no write", outcomes.len()))
    }

    async fn find_by_value(&self) -> Kept {
        let (id, sample) = self.create_one().await?;
        let paths: Vec<&Path> = self.capabilities.find.iter().filter(|path| sample.get(path).is_some()).collect();
        if paths.is_empty() {
            return skip("nothing in the samples can be searched");
        }
        for path in paths {
            let value = sample.get(path).cloned().unwrap_or(Value::Null);
            let page = self.read(Read::Find(vec![(path.clone(), value.clone())])).await?;
            must(page.entries.iter().any(|entry| live_id(entry) == Some(&id)), || {
                format!("{} is not found by {path}", shown(&id))
            })?;
            for entry in &page.entries {
                let Entry::Live(record) = entry else { return fail("a find yields only live records") };
                must(value_at(record, path).is_some_and(|found| found.same(&value)), || {
                    format!("{} is found by {path} = {value} but does not hold it", shown(&record.id))
                })?;
            }
            let unused = self.next_sample();
            let nobody = unused.get(path).cloned().unwrap_or(Value::Null);
            let page = self.read(Read::Find(vec![(path.clone(), nobody.clone())])).await?;
            // Samples may share a value here; what is found must then hold it.
            let wrong =
                |entry: &&Entry| !matches!(entry, Entry::Live(r) if value_at(r, path).is_some_and(|v| v.same(&nobody)));
            must(!page.entries.iter().any(|entry| wrong(&entry)), || {
                format!("a search by {path} for {nobody} yields a record that does not hold it")
            })?;
        }
        Ok(())
    }
}
