//! How a sandbox behaves, as plain data: everything a test or the command line can
//! choose is one field here, so that a later fault is one more field.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::dialect::Dialect;
use super::hostile::Hostile;
use super::webhooks::Webhook;

/// Milliseconds since 1970, asked once for each request.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Everything that can be chosen about a sandbox.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Settings {
    /// Which kind of app it is.
    pub dialect: Dialect,
    /// Names of the accounts; each has its own records, token and rate limit.
    pub accounts: Vec<String>,
    /// The objects every account has.
    pub objects: Vec<ObjectSettings>,
    /// Requests allowed per account; `None` for no limit.
    pub rate_limit: Option<RateLimit>,
    /// Requests of an account that may be in flight at a time; `None` for any.
    pub most_at_once: Option<usize>,
    /// What an answer 429 says about when to come back.
    pub retry_after: RetryAfter,
    /// How long after a write a search finds it, in milliseconds, for dialects whose search
    /// has an index of its own.
    pub index_lag_ms: i64,
    /// How long a link to changes can be followed, in milliseconds, for dialects that have such.
    pub token_life_ms: i64,
    /// Records in a page where the request does not say, and at most.
    pub page_size: usize,
    /// Records in one batch request at most.
    pub batch_size: usize,
    /// How `updated_at` is given out.
    pub stamps: Stamps,
    /// Whether a write that changes nothing still gives a new version and time.
    pub bump_unchanged: bool,
    /// Whether answers are compressed for clients that accept it.
    pub gzip: bool,
    /// How many requests the log keeps.
    pub log_size: usize,
    /// Records that are there from the start, and again after a reset.
    pub seeds: Vec<Seed>,
    /// What goes wrong from the start, and again after a reset; `None` for nothing.
    pub hostile: Option<Hostile>,
    /// Where accounts tell of writes from the start, and again after a reset, by name.
    pub webhooks: BTreeMap<String, Webhook>,
}

impl Default for Settings {
    /// One account `acme` with `contacts` and `companies`, empty, nothing limited.
    fn default() -> Self {
        Self {
            dialect: Dialect::Crm,
            accounts: vec!["acme".to_owned()],
            objects: vec![ObjectSettings::new("contacts"), ObjectSettings::new("companies")],
            rate_limit: None,
            most_at_once: None,
            index_lag_ms: 0,
            token_life_ms: 7 * 24 * 60 * 60 * 1_000,
            retry_after: RetryAfter::Seconds,
            page_size: 100,
            batch_size: 100,
            stamps: Stamps::Unique,
            bump_unchanged: false,
            gzip: false,
            log_size: 10_000,
            seeds: Vec::new(),
            hostile: None,
            webhooks: BTreeMap::new(),
        }
    }
}

/// One object (record type) of the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ObjectSettings {
    /// Its name in the URL.
    pub name: String,
    /// Whether texts lose the blanks around them when stored, as many apps do.
    pub trim: bool,
    /// Properties whose texts are stored in lower case.
    pub lowercase: Vec<String>,
    /// What is checked before a record is stored: property, check.
    pub checks: Vec<(String, Check)>,
}

impl ObjectSettings {
    /// An object that stores what it gets.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Trims texts and lower-cases `email` when storing, or leaves them alone.
    #[must_use]
    pub fn normalise(mut self, on: bool) -> Self {
        self.trim = on;
        self.lowercase.clear();
        if on {
            self.lowercase.push("email".to_owned());
        }
        self
    }

    /// Refuses records whose property does not pass; null and absent always pass.
    #[must_use]
    pub fn check(mut self, property: impl Into<String>, check: Check) -> Self {
        self.checks.push((property.into(), check));
        self
    }
}

/// What a property must be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Check {
    /// A text.
    Text,
    /// A number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A list.
    List,
    /// A text that looks like an e-mail address.
    Email,
    /// One of these texts.
    OneOf(Vec<String>),
    /// A text of at most so many characters.
    MaxLength(usize),
}

/// How many requests an account may make in any window of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests in the window; at least 1.
    pub requests: usize,
    /// Length of the sliding window in milliseconds; at least 1.
    pub per_ms: i64,
}

/// How an answer 429 says when to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAfter {
    /// `Retry-After: 7`
    Seconds,
    /// `Retry-After: Wed, 21 Oct 2026 07:28:00 GMT`
    HttpDate,
    /// Not at all, as some apps do.
    Absent,
}

/// How `updated_at` is given out within one account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stamps {
    /// Each write gets a later millisecond than the one before. A burst of more than
    /// 1,000 writes a second runs ahead of the clock.
    Unique,
    /// The clock rounded down to this many milliseconds, so that writes share a
    /// stamp; `ms: 1` is what a busy real app does.
    Rounded {
        /// Granularity in milliseconds; at least 1.
        ms: i64,
    },
}

/// Records that are there from the start.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Seed {
    /// Made by [`generate`](super::seed::generate).
    Generated {
        /// Whose records.
        account: String,
        /// Which object.
        object: String,
        /// Number of the first record; it is in its e-mail address.
        start: u64,
        /// How many.
        num: u64,
        /// The same seed and number give the same record.
        seed: u64,
        /// Pads each record's properties with a text `bio` to about this many bytes.
        bytes: usize,
    },
    /// One JSON object of properties per line.
    Lines {
        /// Whose records.
        account: String,
        /// Which object.
        object: String,
        /// The lines; blank ones are skipped.
        lines: String,
    },
}
