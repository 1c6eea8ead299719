//! Choosing the settings of a sandbox, and starting its server.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::middleware::{Compress, Condition};
use actix_web::{App, HttpServer, web};

use super::dialect::Dialect;
use super::hostile::Hostile;
use super::settings::{Check, Clock, ObjectSettings, RateLimit, RetryAfter, Seed, Settings, Stamps};
use super::webhooks::Webhook;
use super::{Sandbox, SandboxError, SandboxHandle, Shared, api, seed};

/// How long an idle connection stays open: longer than clients pool theirs, so that no
/// request meets a connection that is just being closed.
const KEEP_ALIVE: Duration = Duration::from_secs(120);

/// What a sandbox will be; see [`Sandbox::builder`].
#[must_use = "nothing runs before start"]
#[derive(Clone)]
pub struct SandboxBuilder {
    pub(super) port: u16,
    pub(super) settings: Settings,
    pub(super) clock: Clock,
}

impl Sandbox {
    /// A sandbox with [`Settings::default`] on a free port of this machine.
    pub fn builder() -> SandboxBuilder {
        let clock = || chrono::Utc::now().timestamp_millis();
        SandboxBuilder { port: 0, settings: Settings::default(), clock: Arc::new(clock) }
    }
}

impl SandboxBuilder {
    /// Which kind of app it is, with the objects, limits and lags that its documents speak of.
    /// Settings that are chosen later stand.
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        self.settings = dialect.settings(self.settings);
        self
    }

    /// How long a link to changes can be followed.
    pub fn token_life_ms(mut self, ms: i64) -> Self {
        self.settings.token_life_ms = ms;
        self
    }

    /// The names of the objects there are.
    #[must_use]
    pub fn object_names(&self) -> Vec<String> {
        self.settings.objects.iter().map(|object| object.name.clone()).collect()
    }

    /// How long after a write a search finds it.
    pub fn index_lag_ms(mut self, ms: i64) -> Self {
        self.settings.index_lag_ms = ms;
        self
    }

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

    /// What goes wrong on purpose; [`Hostile::swarm`] draws it from a seed.
    pub fn hostile(mut self, hostile: Hostile) -> Self {
        self.settings.hostile = Some(hostile);
        self
    }

    /// Where an account tells of its writes.
    pub fn webhook(mut self, account: &str, webhook: Webhook) -> Self {
        self.settings.webhooks.insert(account.to_owned(), webhook);
        self
    }

    /// What the demo shows: the contacts of [`seed::CONTACTS`] in every account, and
    /// texts normalised as real apps do.
    pub fn demo(mut self) -> Self {
        if self.settings.dialect == Dialect::Crm {
            self = self.normalise(true);
        }
        let object = self.settings.objects.first().map_or_else(String::new, |object| object.name.clone());
        for account in self.settings.accounts.clone() {
            self = self.seed_lines(&account, &object, seed::CONTACTS);
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

    /// A sandbox without a socket, to be mounted in an application of one's own process:
    /// what it tells of writes is kept until it is asked for. For tests in simulated time.
    ///
    /// # Errors
    /// When the settings do not fit together.
    pub fn unbound(self) -> Result<SandboxHandle, SandboxError> {
        let shared = Arc::new(Shared::new(self.settings, self.clock)?);
        shared.courier.keep();
        Ok(SandboxHandle::new("http://127.0.0.1".to_owned(), shared, None))
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
        Ok((SandboxHandle::new(base_url, shared, Some(server.handle())), server))
    }
}

impl std::fmt::Debug for SandboxBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { port, settings, clock: _ } = self;
        f.debug_struct("SandboxBuilder").field("port", port).field("settings", settings).finish_non_exhaustive()
    }
}

impl Settings {
    /// Whether they fit together.
    pub(super) fn check(&self) -> Result<(), SandboxError> {
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
        for (account, webhook) in &self.webhooks {
            if !self.accounts.contains(account) {
                return fail(format!("there is a webhook of '{account}', which is not an account"));
            }
            if let Some(problem) = webhook.problem() {
                return fail(problem);
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
