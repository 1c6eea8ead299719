//! The sandbox: a CRM to try things on. A real HTTP server with the API of a typical
//! connected app, everything in memory, used by the demo, by tests and benchmarks, and
//! by anyone who writes a first connector file.
//!
//! `state` and what it is made of hold what the sandbox knows, without HTTP or a
//! clock; `api` is the HTTP in front of it; [`Settings`] is what can be chosen, as
//! plain data.
//!
//! # The API
//!
//! Every request under `/v1` carries `Authorization: Bearer sandbox-token-<account>`.
//!
//! | Request | Answer |
//! |---|---|
//! | `GET /v1/account` | whose token it is |
//! | `GET /v1/{object}` | a page of records |
//! | `GET /v1/{object}/search?property=email&value=x` | records with exactly this value; several pairs must all hold |
//! | `GET /v1/{object}/{id}` | one record, 404 when missing or deleted |
//! | `POST /v1/{object}` | 201; an `Idempotency-Key` gives the same answer for 24 hours |
//! | `PATCH /v1/{object}/{id}` | merges properties, null takes a key away; `If-Match` |
//! | `PUT /v1/{object}/{id}` | replaces all properties; `If-Match` |
//! | `DELETE /v1/{object}/{id}` | 204; `If-Match` |
//! | `POST /v1/{object}/batch/create`, `update`, `delete` | 200, or 207 when an input was refused |
//! | `GET /_sandbox/stats?log=20` | what was asked, with the last requests; this machine only, no token |
//! | `GET /_sandbox/dump?account=acme` | all records, by id |
//! | `POST /_sandbox/reset?what=all` | back to the seeded records; `what=stats` clears the counts only |
//!
//! A page goes on behind the last entry of the one before (`after` is taken from
//! `paging.next.after`), so records that come and go meanwhile neither hide nor repeat
//! others; `page=2` instead counts pages and drifts, as such APIs do. The same place is
//! given as `paging.next.link` and as a `Link` header. With `updated_since` (inclusive)
//! the order is that of `updated_at`, and deleted records are in the list as
//! `{"id":"101","archived":true,…}`; `sort` and `include_archived` say otherwise.

mod api;
mod collection;
mod limits;
mod properties;
mod query;
mod refusal;
pub mod seed;
mod settings;
mod state;
mod stats;
#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use actix_web::middleware::{Compress, Condition};
use actix_web::{App, HttpServer, web};

pub use self::limits::KEY_LIFE_MS;
pub use self::settings::{Check, Clock, ObjectSettings, RateLimit, RetryAfter, Seed, Settings, Stamps};
pub use self::state::token;
pub use self::stats::{Count, Logged, Stats, Writes};

use self::collection::{Edit, Record};
use self::refusal::Refusal;
use self::state::{Account, Done, State, raw_of};
use crate::model::value::Value;

/// How long an idle connection stays open: longer than clients pool theirs, so that no
/// request meets a connection that is just being closed.
const KEEP_ALIVE: Duration = Duration::from_secs(120);

/// Where sandboxes are made.
#[derive(Debug)]
pub struct Sandbox;

/// What a sandbox will be; see [`Sandbox::builder`].
#[must_use = "nothing runs before start"]
#[derive(Clone)]
pub struct SandboxBuilder {
    port: u16,
    settings: Settings,
    clock: Clock,
}

/// A running sandbox. Dropping it stops the server.
#[derive(Debug)]
pub struct SandboxHandle {
    base_url: String,
    shared: Arc<Shared>,
    server: ServerHandle,
}

/// A record of the sandbox, for those in the same process.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SandboxRecord {
    /// Its id.
    pub id: String,
    /// Its properties.
    pub properties: Value,
    /// When it was last written, in milliseconds since 1970.
    pub updated_at_ms: i64,
    /// Its entity tag, quotes included.
    pub etag: String,
}

/// Why a sandbox did not start, or did not do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// The port cannot be had.
    #[error("failed to listen on 127.0.0.1:{port}: {source}; choose another port, or 0 for a free one")]
    Listen {
        /// The port asked for.
        port: u16,
        /// What the system says.
        source: std::io::Error,
    },
    /// The server's thread cannot be started.
    #[error("failed to start the sandbox's thread: {source}")]
    Thread {
        /// What the system says.
        source: std::io::Error,
    },
    /// The settings do not fit together.
    #[error("sandbox settings: {reason}")]
    Settings {
        /// What to change.
        reason: String,
    },
    /// There is no such account.
    #[error("the sandbox has no account '{account}'")]
    UnknownAccount {
        /// The name asked for.
        account: String,
    },
    /// The API would have refused it.
    #[error("the sandbox refuses it with {status}: {message}")]
    Refused {
        /// Status that the API would have answered.
        status: u16,
        /// Why.
        message: String,
    },
}

/// What the server and the handle share.
struct Shared {
    settings: Arc<Settings>,
    clock: Clock,
    // A std lock: held for one request, never over an await.
    state: Mutex<State>,
}

impl Sandbox {
    /// A sandbox with [`Settings::default`] on a free port of this machine.
    pub fn builder() -> SandboxBuilder {
        let clock = || chrono::Utc::now().timestamp_millis();
        SandboxBuilder { port: 0, settings: Settings::default(), clock: Arc::new(clock) }
    }
}

impl SandboxBuilder {
    /// The port to listen on; 0 for a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// All settings at once.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// The accounts there are, instead of `acme`.
    pub fn accounts<I: IntoIterator<Item: Into<String>>>(mut self, names: I) -> Self {
        self.settings.accounts = names.into_iter().map(Into::into).collect();
        self
    }

    /// The objects there are, instead of `contacts` and `companies`.
    pub fn objects(mut self, objects: impl IntoIterator<Item = ObjectSettings>) -> Self {
        self.settings.objects = objects.into_iter().collect();
        self
    }

    /// At most so many requests of an account in any `per_ms` milliseconds.
    pub fn rate_limit(mut self, requests: usize, per_ms: i64) -> Self {
        self.settings.rate_limit = Some(RateLimit { requests, per_ms });
        self
    }

    /// What an answer 429 says about when to come back.
    pub fn retry_after(mut self, retry_after: RetryAfter) -> Self {
        self.settings.retry_after = retry_after;
        self
    }

    /// Records in a page, by default and at most.
    pub fn page_size(mut self, records: usize) -> Self {
        self.settings.page_size = records;
        self
    }

    /// Records in a batch at most.
    pub fn batch_size(mut self, records: usize) -> Self {
        self.settings.batch_size = records;
        self
    }

    /// How `updated_at` is given out.
    pub fn stamps(mut self, stamps: Stamps) -> Self {
        self.settings.stamps = stamps;
        self
    }

    /// Whether a write that changes nothing still gives a new version and time.
    pub fn bump_unchanged(mut self, on: bool) -> Self {
        self.settings.bump_unchanged = on;
        self
    }

    /// Whether answers are compressed for clients that accept it.
    pub fn gzip(mut self, on: bool) -> Self {
        self.settings.gzip = on;
        self
    }

    /// Whether all objects trim texts and lower-case `email` when storing.
    pub fn normalise(mut self, on: bool) -> Self {
        self.settings.objects = self.settings.objects.into_iter().map(|object| object.normalise(on)).collect();
        self
    }

    /// Refuses contacts whose `email` does not look like one.
    pub fn validate_email(mut self) -> Self {
        for object in self.settings.objects.iter_mut().filter(|object| object.name == "contacts") {
            object.checks.push(("email".to_owned(), Check::Email));
        }
        self
    }

    /// Generated records from the start: `num` of them, the same for the same seed.
    pub fn seed(self, account: &str, object: &str, num: u64, seed: u64) -> Self {
        let (account, object) = (account.to_owned(), object.to_owned());
        self.with_seed(Seed::Generated { account, object, start: 0, num, seed, bytes: 0 })
    }

    /// Records from the start, one JSON object of properties a line.
    pub fn seed_lines(self, account: &str, object: &str, lines: &str) -> Self {
        let (account, object, lines) = (account.to_owned(), object.to_owned(), lines.to_owned());
        self.with_seed(Seed::Lines { account, object, lines })
    }

    /// Records from the start.
    pub fn with_seed(mut self, seed: Seed) -> Self {
        self.settings.seeds.push(seed);
        self
    }

    /// What the demo shows: the contacts of [`seed::CONTACTS`] in every account, and
    /// texts normalised as real apps do.
    pub fn demo(mut self) -> Self {
        self = self.normalise(true);
        for account in self.settings.accounts.clone() {
            self = self.seed_lines(&account, "contacts", seed::CONTACTS);
        }
        self
    }

    /// Another clock than the system's.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Starts the server, with one worker thread. Call it inside a running actix
    /// system; the server lives as long as that system.
    ///
    /// # Errors
    /// When the port is taken or the settings do not fit together.
    pub fn start(self) -> Result<SandboxHandle, SandboxError> {
        let (handle, server) = self.bind()?;
        actix_web::rt::spawn(server);
        Ok(handle)
    }

    /// Starts the server on a thread of its own, with its own actix system: for a
    /// caller whose own system has paused time, or who has none.
    ///
    /// # Errors
    /// When the port is taken, the settings do not fit together, or no thread can be
    /// had.
    pub fn spawn_thread(self) -> Result<SandboxHandle, SandboxError> {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let run = move || {
            actix_web::rt::System::new().block_on(async move {
                let (handle, server) = match self.bind() {
                    Ok((handle, server)) => (Ok(handle), Some(server)),
                    Err(error) => (Err(error), None),
                };
                // The caller waits for this message; without a caller the handle that
                // comes back stops the server when dropped.
                drop(sender.send(handle));
                if let Some(server) = server {
                    drop(server.await);
                }
            });
        };
        let thread = std::thread::Builder::new().name("sandbox".to_owned()).spawn(run);
        thread.map_err(|source| SandboxError::Thread { source })?;
        let ended = |_| SandboxError::Thread { source: std::io::Error::other("it ended before it listened") };
        receiver.recv().map_err(ended)?
    }

    fn bind(self) -> Result<(SandboxHandle, Server), SandboxError> {
        let (port, gzip) = (self.port, self.settings.gzip);
        let shared = Arc::new(Shared::new(self.settings, self.clock)?);
        let data = web::Data::from(Arc::clone(&shared));
        let app =
            move || App::new().wrap(Condition::new(gzip, Compress::default())).configure(api::configure(data.clone()));
        let server = HttpServer::new(app)
            .workers(1)
            .keep_alive(KEEP_ALIVE)
            .disable_signals()
            .bind((Ipv4Addr::LOCALHOST, port))
            .map_err(|source| SandboxError::Listen { port, source })?;
        let port = server.addrs().first().map_or(port, std::net::SocketAddr::port);
        let server = server.run();
        let base_url = format!("http://127.0.0.1:{port}");
        Ok((SandboxHandle { base_url, shared, server: server.handle() }, server))
    }
}

impl std::fmt::Debug for SandboxBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { port, settings, clock: _ } = self;
        f.debug_struct("SandboxBuilder").field("port", port).field("settings", settings).finish_non_exhaustive()
    }
}

impl Shared {
    fn new(settings: Settings, clock: Clock) -> Result<Self, SandboxError> {
        settings.check()?;
        let settings = Arc::new(settings);
        let state = State::new(Arc::clone(&settings), clock())?;
        Ok(Self { settings, clock, state: Mutex::new(state) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A write is whole or not begun at every point that can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs something on one account, at one time.
    fn with<T>(
        &self,
        account: &str,
        run: impl FnOnce(&mut Account, i64) -> Result<T, Refusal>,
    ) -> Result<T, SandboxError> {
        let now_ms = (self.clock)();
        let mut state = self.lock();
        let number = state.account_named(account);
        let number = number.ok_or_else(|| SandboxError::UnknownAccount { account: account.to_owned() })?;
        Ok(run(state.account(number), now_ms)?)
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Settings {
    fn check(&self) -> Result<(), SandboxError> {
        let fail = |reason: String| Err(SandboxError::Settings { reason });
        let objects: Vec<&String> = self.objects.iter().map(|object| &object.name).collect();
        for (kind, names) in [("account", self.accounts.iter().collect()), ("object", objects)] {
            for (i, name) in names.iter().enumerate() {
                let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
                if name.is_empty() || !name.chars().all(plain) || (kind == "object" && *name == "account") {
                    return fail(format!("'{name}' cannot name an {kind}; use letters, digits, - and _"));
                }
                if names[..i].contains(name) {
                    return fail(format!("there are two {kind}s named '{name}'"));
                }
            }
        }
        for seed in &self.seeds {
            if !self.accounts.iter().any(|name| name == seed.account()) {
                return fail(format!("records are seeded for '{}', which is not an account", seed.account()));
            }
        }
        if self.page_size == 0 || self.batch_size == 0 {
            return fail("page_size and batch_size must be at least 1".to_owned());
        }
        if self.rate_limit.is_some_and(|limit| limit.requests == 0 || limit.per_ms < 1) {
            return fail("a rate limit needs at least 1 request in at least 1 ms".to_owned());
        }
        Ok(())
    }
}

impl SandboxHandle {
    /// `http://127.0.0.1:<port>`, without the `/v1`.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// `http://127.0.0.1:<port>/v1`, where the objects are.
    #[must_use]
    pub fn api_url(&self) -> String {
        format!("{}/v1", self.base_url)
    }

    /// Stops listening and drops open connections. May be called again.
    pub async fn stop(&self) {
        self.server.stop(false).await;
    }

    /// What was asked so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.lock().tally.stats(&self.shared.settings.accounts)
    }

    /// The last `num` requests, oldest first.
    #[must_use]
    pub fn log(&self, num: usize) -> Vec<Logged> {
        self.shared.lock().tally.log(&self.shared.settings.accounts, num)
    }

    /// Forgets what was asked so far, keeping the records.
    pub fn clear_stats(&self) {
        self.shared.lock().tally.clear();
    }

    /// Adds generated records, written now.
    ///
    /// # Errors
    /// When there is no such account or object.
    pub fn seed(&self, account: &str, object: &str, num: u64, seed: u64) -> Result<(), SandboxError> {
        self.shared.with(account, |state, now_ms| {
            for record in seed::generate(object, 0, num, seed) {
                state.create(object, &*raw_of(&record)?, None, now_ms)?;
            }
            Ok(())
        })
    }

    /// Replaces the record that has the same value of `match_property`, or makes one.
    ///
    /// # Errors
    /// When there is no such account or object, or the API would refuse the record.
    pub fn upsert(
        &self,
        account: &str,
        object: &str,
        match_property: &str,
        properties: &Value,
    ) -> Result<SandboxRecord, SandboxError> {
        self.write(account, object, properties, |state, raw, now_ms| state.upsert(object, match_property, raw, now_ms))
    }

    /// Makes a record.
    ///
    /// # Errors
    /// As [`SandboxHandle::upsert`].
    pub fn create(&self, account: &str, object: &str, properties: &Value) -> Result<SandboxRecord, SandboxError> {
        self.write(account, object, properties, |state, raw, now_ms| state.create(object, raw, None, now_ms))
    }

    /// Merges properties into a record; null takes one away.
    ///
    /// # Errors
    /// As [`SandboxHandle::upsert`], and when there is no such record.
    pub fn patch(
        &self,
        account: &str,
        object: &str,
        id: &str,
        properties: &Value,
    ) -> Result<SandboxRecord, SandboxError> {
        self.write(account, object, properties, |state, raw, now_ms| {
            state.edit(object, id, None, (Edit::Merge, raw), now_ms)
        })
    }

    /// Deletes a record, leaving a tombstone.
    ///
    /// # Errors
    /// When there is no such account, object or record.
    pub fn delete(&self, account: &str, object: &str, id: &str) -> Result<(), SandboxError> {
        self.shared.with(account, |state, now_ms| state.delete(object, id, None, now_ms).map(drop))
    }

    /// One record.
    ///
    /// # Errors
    /// When there is no such account, object or record.
    pub fn record(&self, account: &str, object: &str, id: &str) -> Result<SandboxRecord, SandboxError> {
        self.shared.with(account, |state, _| state.get(object, id).map(SandboxRecord::of))
    }

    /// Every record, by id; deleted ones are left out.
    ///
    /// # Errors
    /// When there is no such account or object.
    pub fn records(&self, account: &str, object: &str) -> Result<Vec<SandboxRecord>, SandboxError> {
        self.shared.with(account, |state, _| Ok(state.collection(object)?.live().map(SandboxRecord::of).collect()))
    }

    fn write(
        &self,
        account: &str,
        object: &str,
        properties: &Value,
        run: impl FnOnce(&mut Account, &serde_json::value::RawValue, i64) -> Result<Done, Refusal>,
    ) -> Result<SandboxRecord, SandboxError> {
        self.shared.with(account, |state, now_ms| {
            let done = run(state, &*raw_of(properties)?, now_ms)?;
            state.get(object, &done.id.to_string()).map(SandboxRecord::of)
        })
    }
}

impl Drop for SandboxHandle {
    fn drop(&mut self) {
        // The order to stop is sent by the call itself; only waiting for it is async.
        drop(self.server.stop(false));
    }
}

impl SandboxRecord {
    fn of(record: &Record) -> Self {
        Self {
            id: record.id.to_string(),
            properties: record.properties.to_value(),
            updated_at_ms: record.updated_ms,
            etag: record.etag(),
        }
    }
}

impl From<Refusal> for SandboxError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused { status: refusal.status(), message: refusal.message() }
    }
}
