//! The sandbox: an app to try things on. A real HTTP server with the API of a typical
//! connected app, everything in memory, used by the demo, by tests and benchmarks, and
//! by anyone who writes a first connector file.
//!
//! `state` and what it is made of hold what the sandbox knows, without HTTP or a
//! clock; `api` is the HTTP in front of it, which every request passes; `dialect` holds the
//! kinds of apps it can be, each with its own requests and answers; [`Settings`] is what can
//! be chosen, as plain data. What follows is the [`Dialect::Crm`], a CRM of our own; the
//! others do as their vendors' documents say.
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
//! | `GET /_sandbox/hostile` | what goes wrong on purpose, how many late writes are still to come, how many records are hidden |
//! | `POST /_sandbox/hostile?seed=7` | draws what goes wrong; with a body like `{"answer_lost":50}` just that |
//! | `DELETE /_sandbox/hostile` | nothing goes wrong any more |
//! | `GET /_sandbox/webhooks?account=acme` | where the account's webhooks go and what came of them; all accounts without a name, here and below |
//! | `POST /_sandbox/webhooks?account=acme` | sends them to `{"url":"http://…"}`, see below; a URL or secret left out stays |
//! | `DELETE /_sandbox/webhooks?account=acme` | sends none any more |
//!
//! A page goes on behind the last entry of the one before (`after` is taken from
//! `paging.next.after`), so records that come and go meanwhile neither hide nor repeat
//! others; `page=2` instead counts pages and drifts, as such APIs do. The same place is
//! given as `paging.next.link` and as a `Link` header. With `updated_since` (inclusive)
//! the order is that of `updated_at`, and deleted records are in the list as
//! `{"id":"101","archived":true,…}`; `sort` and `include_archived` say otherwise.
//!
//! # Hostile mode
//!
//! [`Hostile`] has a rate for each thing that goes wrong with real apps: answers that
//! are lost, cut off or broken, with the write carried out or not or later, errors,
//! 429 in its three forms, slow answers, reads that lag behind writes, pages that
//! shift. What befalls a request is drawn from the seed and the request's number. Only
//! requests under `/v1` are befallen, and none that says `Sandbox-Calm: true`: it sees
//! everything as it is. A 429 drawn this way is given before anything is done.
//!
//! # Webhooks
//!
//! An account with a [`Webhook`] tells its URL of each write, however it came about, as
//! [Standard Webhooks](https://www.standardwebhooks.com) say: the headers `webhook-id`,
//! `webhook-timestamp` and `webhook-signature`, and this body, `record` left out where
//! payloads are thin:
//!
//! ```json
//! {"type":"contacts.updated","timestamp":"2026-03-01T12:00:00.000Z","data":{"account":"acme",
//!  "object":"contacts","id":"101","version":"\"2-19ca…\"","updated_at":"2026-03-01T12:00:00.000Z",
//!  "record":{"id":"101","properties":{},"etag":"\"2-19ca…\"","archived":false}}}
//! ```
//!
//! A deleted record has no version, and its tombstone for a record. An update that
//! changes nothing is not told of. Deliveries are not in order; one that is not answered
//! with 2xx is tried again a few times. They are lost, doubled, late, overtaken, ahead of
//! the write's answer or about an older state at the rates that the webhook has.

mod answer;
mod api;
mod asked;
mod builder;
mod collection;
mod dialect;
mod handle;
mod hostile;
mod index;
mod inspect;
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
mod webhooks;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

pub use self::builder::SandboxBuilder;
pub use self::dialect::Dialect;
pub use self::handle::{SandboxHandle, SandboxRecord};
pub use self::hostile::Hostile;
pub use self::limits::KEY_LIFE_MS;
pub use self::settings::{Check, Clock, ObjectSettings, RateLimit, RetryAfter, Seed, Settings, Stamps};
pub use self::state::token;
pub use self::stats::{Count, Logged, Stats, Writes};
pub use self::webhooks::{KeptWebhook, Webhook, WebhookCounts, WebhookSecret, webhook_secret};

use self::refusal::Refusal;
use self::state::{Account, State};
use self::webhooks::courier::Courier;
use self::webhooks::outbox::Post;

/// Where sandboxes are made.
#[derive(Debug)]
pub struct Sandbox;

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
    state: Arc<Mutex<State>>,
    courier: Courier,
}

impl Shared {
    fn new(settings: Settings, clock: Clock) -> Result<Self, SandboxError> {
        settings.check()?;
        let settings = Arc::new(settings);
        let state = State::new(Arc::clone(&settings), clock())?;
        Ok(Self { settings, clock, state: Arc::new(Mutex::new(state)), courier: Courier::default() })
    }

    /// The state as it is now, and what time that is.
    fn lock(&self) -> (MutexGuard<'_, State>, i64) {
        let now_ms = (self.clock)();
        // A write is whole or not begun at every point that can panic.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for account_no in api::carry_out_due(&mut state, &self.settings, now_ms) {
            // Nobody is left whose answer could wait for them.
            drop(self.send_webhooks(&mut state, account_no));
        }
        (state, now_ms)
    }

    /// Sends what an account has to tell. Who is answered after that waits for what comes
    /// back.
    fn send_webhooks(&self, state: &mut State, account_no: usize) -> Vec<oneshot::Receiver<()>> {
        let posts: Vec<Post> = state.account(account_no).outbox.take();
        let (early, back) = self.courier.send(posts, &self.state, &self.clock);
        back.iter().for_each(|post| state.account(account_no).outbox.drop_unsent(post));
        early
    }

    /// Runs something on one account, at one time.
    fn with<T>(
        &self,
        account: &str,
        run: impl FnOnce(&mut Account, i64) -> Result<T, Refusal>,
    ) -> Result<T, SandboxError> {
        let (mut state, now_ms) = self.lock();
        let number = state.account_named(account);
        let number = number.ok_or_else(|| SandboxError::UnknownAccount { account: account.to_owned() })?;
        let result = run(state.account(number), now_ms);
        drop(self.send_webhooks(&mut state, number));
        Ok(result?)
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl From<Refusal> for SandboxError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused { status: refusal.status(), message: refusal.message() }
    }
}
