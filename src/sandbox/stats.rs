//! What the sandbox was asked: counts, and the last requests one by one, for tests to
//! assert on.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use super::webhooks::WebhookCounts;

/// Longest path kept in the log, in bytes.
const MAX_LOGGED_PATH_BYTES: usize = 300;

/// Counts since the start or the last reset. Changes made in process are not counted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Requests answered, whatever the answer.
    pub requests: u64,
    /// Requests refused with 429.
    pub throttled: u64,
    /// Creates answered from an idempotency key.
    pub replayed: u64,
    /// Writes of all accounts.
    pub writes: Writes,
    /// Writes by account.
    pub accounts: BTreeMap<String, Writes>,
    /// Requests that something befell on purpose, by the name of its rate in
    /// [`Hostile`](super::Hostile).
    pub mishaps: BTreeMap<&'static str, u64>,
    /// Requests by account, method and status; those without a valid token have no
    /// account.
    pub counts: Vec<Count>,
    /// What came of the webhooks of the accounts that have any. Changes made in process
    /// count, too.
    pub webhooks: BTreeMap<String, WebhookCounts>,
}

/// Records written through the API; each input of a batch counts. At rest none of
/// these moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Writes {
    /// All of the following.
    pub total: u64,
    /// Records made.
    pub created: u64,
    /// Records that got other properties.
    pub updated: u64,
    /// Updates that changed nothing.
    pub unchanged: u64,
    /// Records deleted.
    pub deleted: u64,
    /// Writes refused: bad input, no such record, another version.
    pub refused: u64,
}

/// How many requests had one account, method and status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Whose token was used.
    pub account: Option<String>,
    /// `GET`, `POST`, …
    pub method: &'static str,
    /// Status of the answer; 0 where none was given.
    pub status: u16,
    /// How many.
    pub requests: u64,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Logged {
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// `GET`, `POST`, …
    pub method: &'static str,
    /// Path and query, clipped.
    pub path: String,
    /// Status of the answer; 0 where none was given.
    pub status: u16,
    /// Whose token was used.
    pub account: Option<String>,
}

/// What came of one write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    Created,
    Updated,
    Unchanged,
    Deleted,
    Refused,
}

/// Counts and log while they grow; account numbers stand for names.
#[derive(Debug)]
pub(super) struct Tally {
    counts: BTreeMap<(Option<usize>, &'static str, u16), u64>,
    mishaps: BTreeMap<&'static str, u64>,
    writes: Vec<Writes>,
    replayed: u64,
    log: VecDeque<LogRow>,
    log_size: usize,
}

#[derive(Debug)]
struct LogRow {
    at_ms: i64,
    method: &'static str,
    path: Box<str>,
    status: u16,
    account: Option<usize>,
}

impl Writes {
    fn add(&mut self, written: Written) {
        self.total += 1;
        match written {
            Written::Created => self.created += 1,
            Written::Updated => self.updated += 1,
            Written::Unchanged => self.unchanged += 1,
            Written::Deleted => self.deleted += 1,
            Written::Refused => self.refused += 1,
        }
    }

    fn plus(self, other: &Writes) -> Writes {
        let Writes { total, created, updated, unchanged, deleted, refused } = *other;
        Writes {
            total: self.total + total,
            created: self.created + created,
            updated: self.updated + updated,
            unchanged: self.unchanged + unchanged,
            deleted: self.deleted + deleted,
            refused: self.refused + refused,
        }
    }
}

impl Tally {
    pub(super) fn new(num_accounts: usize, log_size: usize) -> Self {
        let writes = vec![Writes::default(); num_accounts];
        let (counts, mishaps) = (BTreeMap::new(), BTreeMap::new());
        Self { counts, mishaps, writes, replayed: 0, log: VecDeque::new(), log_size }
    }

    pub(super) fn write(&mut self, account: usize, written: Written) {
        self.writes[account].add(written);
    }

    pub(super) fn mishap(&mut self, name: &'static str) {
        *self.mishaps.entry(name).or_default() += 1;
    }

    pub(super) fn replay(&mut self) {
        self.replayed += 1;
    }

    pub(super) fn request(
        &mut self,
        at_ms: i64,
        account: Option<usize>,
        method: &'static str,
        path: &str,
        status: u16,
    ) {
        *self.counts.entry((account, method, status)).or_default() += 1;
        if self.log_size == 0 {
            return;
        }
        if self.log.len() >= self.log_size {
            self.log.pop_front();
        }
        let path = clipped(path).into();
        self.log.push_back(LogRow { at_ms, method, path, status, account });
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new(self.writes.len(), self.log_size);
    }

    /// The counts, with the names of the accounts.
    pub(super) fn stats(&self, names: &[String]) -> Stats {
        let counts = self.counts.iter().map(|((account, method, status), requests)| Count {
            account: name_of(*account, names),
            method,
            status: *status,
            requests: *requests,
        });
        Stats {
            requests: self.counts.values().sum(),
            throttled: self.counts.iter().filter(|((_, _, status), _)| *status == 429).map(|(_, n)| n).sum(),
            replayed: self.replayed,
            writes: self.writes.iter().fold(Writes::default(), Writes::plus),
            accounts: names.iter().cloned().zip(self.writes.iter().copied()).collect(),
            mishaps: self.mishaps.clone(),
            counts: counts.collect(),
            webhooks: BTreeMap::new(),
        }
    }

    /// The last requests, oldest first.
    pub(super) fn log(&self, names: &[String], num: usize) -> Vec<Logged> {
        let skipped = self.log.len().saturating_sub(num);
        let named = |row: &LogRow| Logged {
            at_ms: row.at_ms,
            method: row.method,
            path: row.path.to_string(),
            status: row.status,
            account: name_of(row.account, names),
        };
        self.log.iter().skip(skipped).map(named).collect()
    }
}

fn name_of(account: Option<usize>, names: &[String]) -> Option<String> {
    account.and_then(|account| names.get(account)).cloned()
}

fn clipped(path: &str) -> &str {
    let mut end = path.len().min(MAX_LOGGED_PATH_BYTES);
    while !path.is_char_boundary(end) {
        end -= 1;
    }
    &path[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_bounded_and_the_counts_are_not() {
        let names = ["a".to_owned(), "b".to_owned()];
        let mut tally = Tally::new(2, 2);
        let long = format!("/{}é", "x".repeat(MAX_LOGGED_PATH_BYTES - 2));
        for (i, (account, status)) in [(Some(0), 200), (Some(1), 429), (None, 401)].into_iter().enumerate() {
            tally.request(i64::try_from(i).expect("small"), account, "GET", &long, status);
        }
        tally.write(0, Written::Created);
        tally.write(1, Written::Refused);
        let log = tally.log(&names, 9);
        assert_eq!(log.iter().map(|row| row.status).collect::<Vec<_>>(), [429, 401]);
        assert_eq!((log[0].path.len(), log[0].account.as_deref(), &log[1].account), (299, Some("b"), &None));
        assert_eq!(tally.log(&names, 1).len(), 1);
        let stats = tally.stats(&names);
        assert_eq!((stats.requests, stats.throttled, stats.counts.len()), (3, 1, 3));
        assert_eq!((stats.writes.total, stats.writes.created, stats.accounts["b"].refused), (2, 1, 1));
        tally.clear();
        assert_eq!(tally.stats(&names).requests, 0);
    }
}
