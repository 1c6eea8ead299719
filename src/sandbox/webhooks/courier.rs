//! Sends webhooks, from a thread of its own with a runtime of its own: whoever writes
//! does not wait for it, and time that is paused elsewhere runs here.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, UNIX_EPOCH};

use reqwest::{Client, StatusCode, header, redirect};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Notify, Semaphore, oneshot};
use url::Url;

use super::super::settings::Clock;
use super::super::state::State;
use super::outbox::{Ended, Outbox, Post};
use super::{Start, Webhook};

/// How many deliveries of an account are in flight at a time.
const MOST_IN_FLIGHT: usize = 32;

/// How long an answer is waited for; the specification asks for 15 to 30 seconds.
const PATIENCE: Duration = Duration::from_secs(15);

/// The longest wait that a `Retry-After` is granted.
const MOST_PATIENT: Duration = Duration::from_secs(60 * 60);

/// How much of an answer's body is read, so that its connection can be used again.
const MOST_ANSWER_BYTES: usize = 64 * 1024;

/// Where deliveries are handed in.
#[derive(Default)]
pub(in super::super) struct Courier(Mutex<Line>);

/// How far its thread is.
#[derive(Default)]
enum Line {
    /// Not started: nothing was to be sent yet.
    #[default]
    Idle,
    Open {
        jobs: UnboundedSender<Job>,
        /// Ends with the thread.
        ended: oneshot::Receiver<()>,
    },
    Closed,
    /// Nothing is sent; whoever wants it takes it.
    Kept(Vec<Post>),
}

/// One delivery, and who waits for it.
struct Job {
    post: Post,
    /// Dropped when it was tried once.
    tried: Option<oneshot::Sender<()>>,
}

impl Courier {
    /// Hands deliveries in; those that cannot be are given back. Who holds a write's
    /// answer back until they were tried waits for the receivers.
    pub(in super::super) fn send(
        &self,
        posts: Vec<Post>,
        state: &Arc<Mutex<State>>,
        clock: &Clock,
    ) -> (Vec<oneshot::Receiver<()>>, Vec<Post>) {
        let (mut early, mut back) = (Vec::new(), Vec::new());
        if posts.is_empty() {
            return (early, back);
        }
        let mut line = self.line();
        if let Line::Idle = *line {
            *line = Line::open(Arc::downgrade(state), Arc::clone(clock));
        }
        if let Line::Kept(kept) = &mut *line {
            kept.extend(posts);
            return (early, back);
        }
        for post in posts {
            let (tried, waits) = match post.fate.start {
                Start::Early => {
                    let (tried, waits) = oneshot::channel();
                    (Some(tried), Some(waits))
                }
                Start::AtOnce | Start::Late(_) | Start::Overtaken(_) => (None, None),
            };
            // No bound of its own: the outbox lets no more than `MOST_OPEN` be open.
            let sent = match &*line {
                Line::Open { jobs, .. } => jobs.send(Job { post, tried }).map_err(|job| job.0.post),
                Line::Idle | Line::Closed | Line::Kept(_) => Err(post),
            };
            match sent {
                Ok(()) => early.extend(waits),
                Err(post) => back.push(post),
            }
        }
        (early, back)
    }

    /// Ends the thread. What is under way is broken off.
    pub(in super::super) fn close(&self) -> Option<oneshot::Receiver<()>> {
        match std::mem::replace(&mut *self.line(), Line::Closed) {
            Line::Open { jobs: _, ended } => Some(ended),
            Line::Idle | Line::Closed | Line::Kept(_) => None,
        }
    }

    /// Sends nothing from now on, and keeps it instead.
    pub(in super::super) fn keep(&self) {
        *self.line() = Line::Kept(Vec::new());
    }

    /// Takes what was kept.
    pub(in super::super) fn take_kept(&self) -> Vec<Post> {
        match &mut *self.line() {
            Line::Kept(kept) => std::mem::take(kept),
            Line::Idle | Line::Open { .. } | Line::Closed => Vec::new(),
        }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    /// Starts the thread; without one there is nobody who delivers.
    fn open(state: Weak<Mutex<State>>, clock: Clock) -> Self {
        let (jobs, incoming) = unbounded_channel();
        let (alive, ended) = oneshot::channel::<()>();
        let run = move || {
            // Dropped when the thread ends, by whatever way.
            let _alive = alive;
            if let Ok(runtime) = actix_web::rt::Runtime::new() {
                runtime.block_on(work(incoming, state, clock));
            }
        };
        match std::thread::Builder::new().name("sandbox-webhooks".to_owned()).spawn(run) {
            Ok(_) => Line::Open { jobs, ended },
            Err(_) => Line::Closed,
        }
    }
}

/// Takes deliveries until nobody hands any in.
async fn work(mut jobs: UnboundedReceiver<Job>, state: Weak<Mutex<State>>, clock: Clock) {
    let desk = Rc::new(Desk {
        state,
        clock,
        lanes: RefCell::default(),
        greeted: RefCell::default(),
        clients: RefCell::default(),
    });
    while let Some(job) = jobs.recv().await {
        actix_web::rt::spawn(deliver(Rc::clone(&desk), job));
    }
}

/// What the deliveries of the thread share.
struct Desk {
    // The state goes when the sandbox does; what is sent then is nobody's.
    state: Weak<Mutex<State>>,
    clock: Clock,
    lanes: RefCell<HashMap<usize, Rc<Lane>>>,
    /// URLs of accounts that have answered a handshake.
    greeted: RefCell<HashSet<(usize, String)>>,
    clients: RefCell<HashMap<bool, Client>>,
}

/// The deliveries of one account.
struct Lane {
    room: Semaphore,
    /// One was sent that does not wait to be overtaken itself.
    passed: Notify,
}

/// Why a try failed, and how long the receiver asked to be left alone.
struct Failure {
    why: String,
    wait: Duration,
}

async fn deliver(desk: Rc<Desk>, Job { post, mut tried }: Job) {
    let lane = desk.lane(post.account_no);
    match post.fate.start {
        Start::AtOnce | Start::Early => {}
        Start::Late(after_ms) => sleep(Duration::from_millis(after_ms)).await,
        Start::Overtaken(most_ms) => {
            // Nobody passed within the time, or somebody did: it is sent either way.
            drop(tokio::time::timeout(Duration::from_millis(most_ms), lane.passed.notified()).await);
        }
    }
    let mut num_retries = 0;
    loop {
        let Ok(room) = lane.room.acquire().await else { return };
        let begun = desk.with(&post, |outbox| outbox.try_to_send(&post, num_retries > 0));
        let Some(webhook) = begun.flatten() else { return };
        let result = desk.attempt(&webhook, &post).await;
        drop(room);
        drop(tried.take());
        if !matches!(post.fate.start, Start::Overtaken(_)) {
            lane.passed.notify_waiters();
        }
        let Failure { why, wait } = match result {
            Ok(()) => {
                desk.with(&post, |outbox| outbox.end(&post, Ended::Acknowledged));
                return;
            }
            Err(failure) => failure,
        };
        desk.with(&post, |outbox| outbox.note_failure(&post, why));
        if num_retries >= webhook.retries {
            desk.with(&post, |outbox| outbox.end(&post, Ended::Failed));
            return;
        }
        let backoff = webhook.retry_ms.saturating_mul(1 << num_retries.min(super::MOST_RETRIES));
        sleep(Duration::from_millis(backoff).clamp(wait, MOST_PATIENT)).await;
        num_retries += 1;
    }
}

async fn sleep(duration: Duration) {
    actix_web::rt::time::sleep(duration).await;
}

impl Desk {
    fn lane(&self, account_no: usize) -> Rc<Lane> {
        let lane = || Rc::new(Lane { room: Semaphore::new(MOST_IN_FLIGHT), passed: Notify::new() });
        Rc::clone(self.lanes.borrow_mut().entry(account_no).or_insert_with(lane))
    }

    fn with<T>(&self, post: &Post, run: impl FnOnce(&mut Outbox) -> T) -> Option<T> {
        let state = self.state.upgrade()?;
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        Some(run(&mut state.account(post.account_no).outbox))
    }

    /// Asks a URL whether anybody is there, where the dialect does so: the token that it sends
    /// has to come back.
    async fn greet(&self, webhook: &Webhook, post: &Post) -> Result<(), Failure> {
        let Some(parameter) = post.speech.handshake() else { return Ok(()) };
        let greeted = (post.account_no, webhook.url.clone());
        if self.greeted.borrow().contains(&greeted) {
            return Ok(());
        }
        let failed = |error: reqwest::Error| Failure::because(no_answer(&error.without_url()));
        let token = format!("Validation: {}", post.id);
        let mut url = Url::parse(&webhook.url).map_err(|_| Failure::because("the URL is none".to_owned()))?;
        url.query_pairs_mut().append_pair(parameter, &token);
        let client = self.client(webhook.url.starts_with("https:"))?;
        let mut answer = client.post(url).send().await.map_err(failed)?;
        let status = answer.status();
        let mut body = Vec::new();
        while body.len() <= token.len()
            && let Ok(Some(chunk)) = answer.chunk().await
        {
            body.extend_from_slice(&chunk);
        }
        if !status.is_success() || body != token.as_bytes() {
            return Err(Failure::because(format!(
                "did not give the token of the handshake back, but {}",
                status.as_u16()
            )));
        }
        self.greeted.borrow_mut().insert(greeted);
        Ok(())
    }

    /// Sends it once.
    async fn attempt(&self, webhook: &Webhook, post: &Post) -> Result<(), Failure> {
        self.greet(webhook, post).await?;
        let now_ms = (self.clock)();
        let signed = webhook.secret.iter().flat_map(|secret| post.speech.signed(webhook, secret, post, now_ms));
        let client = self.client(webhook.url.starts_with("https:"))?;
        let request =
            client.post(&webhook.url).header(header::CONTENT_TYPE, "application/json").body(post.body.clone());
        let request = signed.fold(request, |request, (name, value)| request.header(name, value));
        // The URL is a secret.
        let failed = |error: reqwest::Error| Failure::because(no_answer(&error.without_url()));
        let mut answer = request.send().await.map_err(failed)?;
        let (status, wait) = (answer.status(), wait_of(answer.headers(), now_ms));
        let mut num_bytes = 0;
        while num_bytes < MOST_ANSWER_BYTES
            && let Ok(Some(chunk)) = answer.chunk().await
        {
            num_bytes += chunk.len();
        }
        if status.is_success() {
            return Ok(());
        }
        let may_ask = matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS);
        let wait = if may_ask { wait } else { Duration::ZERO };
        Err(Failure { why: format!("answered {}", status.as_u16()), wait })
    }

    fn client(&self, tls: bool) -> Result<Client, Failure> {
        if let Some(client) = self.clients.borrow().get(&tls) {
            return Ok(client.clone());
        }
        install_crypto();
        let mut builder = Client::builder()
            .user_agent(concat!("syncline-sandbox/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .timeout(PATIENCE)
            .pool_max_idle_per_host(MOST_IN_FLIGHT)
            // Shorter than the usual 5 s after which servers hang up.
            .pool_idle_timeout(Duration::from_secs(4));
        if !tls {
            // Loading the machine's certificates costs time, and fails where there are none.
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(|error| Failure::because(no_answer(&error)))?;
        self.clients.borrow_mut().insert(tls, client.clone());
        Ok(client)
    }
}

impl Failure {
    fn because(why: String) -> Self {
        Self { why, wait: Duration::ZERO }
    }
}

/// An error with its innermost cause.
fn no_answer(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    format!("no answer: {error}: {cause}")
}

/// What a `Retry-After` asks for, in seconds or as a date.
fn wait_of(headers: &header::HeaderMap, now_ms: i64) -> Duration {
    let Some(text) = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()) else {
        return Duration::ZERO;
    };
    let now = Duration::from_millis(u64::try_from(now_ms).unwrap_or(0));
    let seconds = text.trim().parse().map(Duration::from_secs).ok();
    let until = || httpdate::parse_http_date(text.trim()).ok()?.duration_since(UNIX_EPOCH).ok();
    let wait = seconds.or_else(|| until().map(|until| until.saturating_sub(now)));
    wait.unwrap_or(Duration::ZERO).min(MOST_PATIENT)
}

/// Installs the crypto provider unless the host program has its own: the client is not
/// built without one, even for `http://`.
fn install_crypto() {
    #[cfg(feature = "tls-ring")]
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Another thread may have been quicker; then its provider serves as well.
        drop(rustls::crypto::ring::default_provider().install_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_after_is_seconds_or_a_date_and_never_longer_than_an_hour() {
        for (text, wait_s) in [
            ("7", 7),
            (" 7 ", 7),
            ("99999999", 3_600),
            ("Wed, 21 Oct 2026 07:28:10 GMT", 10),
            ("Wed, 21 Oct 2026 07:27:00 GMT", 0),
            ("-1", 0),
            ("soon", 0),
        ] {
            let headers = [(header::RETRY_AFTER, text.parse().unwrap())].into_iter().collect();
            // 2026-10-21T07:28:00Z
            assert_eq!(wait_of(&headers, 1_792_567_680_000), Duration::from_secs(wait_s), "{text}");
        }
        assert_eq!(wait_of(&header::HeaderMap::new(), 0), Duration::ZERO);
    }
}
