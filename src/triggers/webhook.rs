//! The webhook trigger: takes what connected apps tell by themselves.
//!
//! A delivery is known by its path, checked over its bytes as they came, read for what it
//! is about, and answered only once that is durable. It selects neither whose data is
//! touched nor what is written: the path and its secrets say which connection, and the
//! record is read again from the app.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::prelude::*;
use dashmap::DashMap;
use secrecy::{ExposeSecret, SecretString};

use crate::actors::spec::Webhook;
use crate::connectors::webhook::payload::{Handshake, Payload, Told, WebhookSpec};
use crate::connectors::webhook::signature::{Delivery, Scheme};
use crate::model::hint::Hint;
use crate::model::ids::{ConnectionId, ObjectName};
use crate::model::side::Side;
use crate::model::work::Lane;
use crate::store::{Appended, Once, StoreError};

use super::counts::Counts;
use super::intake::{COME_BACK_S, Intake};
use super::known::Known;

/// The most deliveries that are being stored at a time; the rest are asked to come back.
const MOST_IN_FLIGHT: usize = 4_096;

/// The longest handshake that is answered, in bytes.
const MOST_CHALLENGE_BYTES: usize = 1_024;

/// Where webhooks come in: by the hash of a path, so that looking one up tells nothing
/// about the others.
#[derive(Clone, Default)]
pub struct Entrances(Arc<DashMap<[u8; 32], Entrance>>);

/// One path.
#[derive(Clone)]
struct Entrance {
    spec: Arc<WebhookSpec>,
    secrets: Vec<SecretString>,
    url: String,
    /// The connections behind it, by the account that an event names.
    bound: BTreeMap<Option<String>, ConnectionId>,
}

impl std::fmt::Debug for Entrances {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A path is a secret, and so is the URL with it.
        f.debug_struct("Entrances").field("open", &self.0.len()).finish()
    }
}

impl Entrances {
    /// Opens a connection's path.
    ///
    /// # Errors
    /// When another connection has that path and the two cannot be told apart.
    pub fn open(&self, id: &ConnectionId, webhook: &Webhook) -> Result<(), String> {
        let mut entrance = self.0.entry(key(webhook.path.expose_secret())).or_insert_with(|| Entrance {
            spec: Arc::clone(&webhook.spec),
            secrets: webhook.secrets.clone(),
            url: webhook.url(),
            bound: BTreeMap::new(),
        });
        if let Some((account, other)) = entrance.bound.iter().next()
            && (account.is_none() || webhook.account.is_none() || entrance.bound.contains_key(&webhook.account))
        {
            return Err(format!("connection '{other}' has that webhook path; give each its own account or path"));
        }
        if entrance.secrets.len() != webhook.secrets.len()
            || entrance.secrets.iter().zip(&webhook.secrets).any(|(a, b)| a.expose_secret() != b.expose_secret())
        {
            return Err("the connections of one webhook path must have the same secrets".to_owned());
        }
        entrance.bound.insert(webhook.account.clone(), id.clone());
        Ok(())
    }

    /// Closes it again.
    pub fn close(&self, id: &ConnectionId) {
        for mut entrance in self.0.iter_mut() {
            entrance.bound.retain(|_, other| other != id);
        }
        self.0.retain(|_, entrance| !entrance.bound.is_empty());
    }
}

fn key(path: &str) -> [u8; 32] {
    blake3::hash(path.as_bytes()).into()
}

/// The web to the webhook trigger: this came in.
#[derive(Clone, Message)]
#[rtype(result = "Answer")]
pub struct Deliver {
    /// The request's method.
    pub method: String,
    /// What stood in the path behind the scope.
    pub path: String,
    /// The query as it came, without `?`.
    pub query: String,
    /// All headers whose value is text.
    pub headers: Vec<(String, String)>,
    /// The body as it came.
    pub body: Arc<[u8]>,
}

/// What the sender is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is durable, or was before: 200.
    Taken,
    /// A handshake: 200 with this text.
    Challenge(String),
    /// It is not known, or not genuine: 401, the same for either.
    Unauthorised,
    /// It is genuine, and cannot be read: 400.
    Bad,
    /// Not now: 503 with `Retry-After` in seconds.
    ComeBack(u32),
}

/// Anybody to a trigger: what have you taken and refused.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Counts")]
pub struct GetCounts;

/// The actor. Keeps counts alone: everything accepted is in the store.
pub struct WebhookTrigger {
    intake: Intake,
    entrances: Entrances,
    counts: Counts,
    in_flight: usize,
}

impl WebhookTrigger {
    /// A trigger for these paths.
    #[must_use]
    pub fn new(intake: Intake, entrances: Entrances) -> Self {
        Self { intake, entrances, counts: Counts::default(), in_flight: 0 }
    }

    fn refused(&mut self, reason: &str, answer: Answer) -> Answer {
        tracing::debug!(reason, "a webhook was refused");
        self.counts.refuse(reason);
        answer
    }

    /// What a delivery comes to before anything is stored.
    fn look_at(&self, delivery: &Deliver) -> Looked {
        let found = self.entrances.0.get(&key(&delivery.path)).map(|entrance| entrance.clone());
        let Some(entrance) = found else {
            // As much work as for one that is known and not genuine.
            std::hint::black_box(decoy(delivery, self.intake.now_ms()));
            return Looked::Refused("unknown path", Answer::Unauthorised);
        };
        if let Some(Handshake::Query { param }) = &entrance.spec.handshake
            && let Some((_, value)) =
                url::form_urlencoded::parse(delivery.query.as_bytes()).find(|(name, _)| name == param)
        {
            return challenge(value.into_owned());
        }
        let url = match delivery.query.as_str() {
            "" => entrance.url.clone(),
            query => format!("{}?{query}", entrance.url),
        };
        let shown = Delivery { method: &delivery.method, url: &url, headers: &delivery.headers, body: &delivery.body };
        let now_ms = self.intake.now_ms();
        let genuine = match entrance.spec.scheme.check(&entrance.secrets, &shown, now_ms) {
            Ok(genuine) => genuine,
            Err(refused) => return Looked::Refused(refused.as_str(), Answer::Unauthorised),
        };
        let payload = match entrance.spec.read(&delivery.body) {
            Ok(Payload { challenge: Some(text), .. }) => return challenge(text),
            Ok(payload) => payload,
            Err(bad) => {
                tracing::warn!("a genuine webhook cannot be read: {bad}");
                return Looked::Refused("unreadable body", Answer::Bad);
            }
        };
        let once = genuine.repetition.map(|repetition| {
            let remember_ms = i64::try_from(repetition.remember_ms).unwrap_or(i64::MAX);
            Once { key: repetition.key, until_ms: now_ms.saturating_add(remember_ms) }
        });
        self.sort(&entrance, payload, once, now_ms)
    }

    /// Gives each event to the connection whose account it names.
    fn sort(&self, entrance: &Entrance, payload: Payload, once: Option<Once>, now_ms: i64) -> Looked {
        let mut others = payload.others as u64;
        let mut hints: BTreeMap<ConnectionId, (Known, Vec<Hint>)> = BTreeMap::new();
        let mut strangers = 0_u64;
        let num_told = payload.told.len() as u64;
        for told in payload.told {
            let Some((id, known)) = self.connection_of(entrance, &told) else {
                strangers += 1;
                continue;
            };
            let objects: Vec<ObjectName> = match &told.object {
                Some(object) => known.objects.remote.get(object).cloned().into_iter().collect(),
                None => known.objects.remote.iter().cloned().collect(),
            };
            if objects.is_empty() {
                others += 1;
                continue;
            }
            let (_, list) = hints.entry(id).or_insert_with(|| (known, Vec::new()));
            list.extend(objects.into_iter().map(|object| Hint {
                lane: Lane::Webhook,
                side: Side::Remote,
                object,
                id: told.id.clone(),
                told: told.record.clone(),
                at_ms: now_ms,
                due_ms: now_ms,
            }));
        }
        if strangers > 0 && strangers == num_told {
            // An account that is nobody's here is told no more than a wrong signature.
            return Looked::Refused("unknown account", Answer::Unauthorised);
        }
        Looked::Hints { hints, once, others: others + strangers }
    }

    fn connection_of(&self, entrance: &Entrance, told: &Told) -> Option<(ConnectionId, Known)> {
        let id = match entrance.bound.get(&None) {
            Some(only) => only,
            None => entrance.bound.get(&told.account)?,
        };
        Some((id.clone(), self.intake.find(id)?))
    }

    fn count(&mut self, stored: Result<Vec<Appended>, StoreError>) -> Answer {
        let stored = match stored {
            Ok(stored) => stored,
            Err(error) => {
                tracing::error!("a webhook could not be stored, its sender is asked to come back: {error}");
                return self.refused("not stored", Answer::ComeBack(COME_BACK_S));
            }
        };
        if stored.contains(&Appended::Full) {
            return self.refused("full inbox", Answer::ComeBack(COME_BACK_S));
        }
        // One that is about nothing is taken, too.
        if stored.is_empty() || stored.contains(&Appended::Accepted) {
            self.counts.accepted += 1;
        } else {
            self.counts.repeated += 1;
        }
        Answer::Taken
    }
}

/// What a delivery comes to.
enum Looked {
    Refused(&'static str, Answer),
    Challenge(String),
    Hints { hints: BTreeMap<ConnectionId, (Known, Vec<Hint>)>, once: Option<Once>, others: u64 },
}

/// Checks a signature that cannot be right.
fn decoy(delivery: &Deliver, now_ms: i64) -> bool {
    let headers = [("x-hub-signature-256".to_owned(), format!("sha256={}", "0".repeat(64)))];
    let stranger = Delivery { method: &delivery.method, url: "", headers: &headers, body: &delivery.body };
    let scheme = Scheme::preset("github").unwrap_or(Scheme::Unsigned);
    scheme.check(&["decoy".into()], &stranger, now_ms).is_ok()
}

fn challenge(text: String) -> Looked {
    if text.len() > MOST_CHALLENGE_BYTES || text.chars().any(char::is_control) {
        return Looked::Refused("strange handshake", Answer::Bad);
    }
    Looked::Challenge(text)
}

impl Actor for WebhookTrigger {
    type Context = Context<Self>;
}

impl Handler<Deliver> for WebhookTrigger {
    type Result = ResponseActFuture<Self, Answer>;

    fn handle(&mut self, delivery: Deliver, _: &mut Context<Self>) -> Self::Result {
        if self.in_flight >= MOST_IN_FLIGHT {
            let answer = self.refused("too many at once", Answer::ComeBack(COME_BACK_S));
            return Box::pin(fut::ready(answer));
        }
        let (hints, once) = match self.look_at(&delivery) {
            Looked::Refused(reason, answer) => return Box::pin(fut::ready(self.refused(reason, answer))),
            Looked::Challenge(text) => return Box::pin(fut::ready(Answer::Challenge(text))),
            Looked::Hints { hints, once, others } => {
                self.counts.others += others;
                (hints, once)
            }
        };
        self.in_flight += 1;
        let intake = self.intake.clone();
        let stored = async move {
            let mut stored = Vec::new();
            for (id, (known, hints)) in hints {
                stored.push(intake.accept(&id, &known, hints, once).await?);
            }
            Ok(stored)
        };
        Box::pin(stored.into_actor(self).map(|stored, act: &mut Self, _| {
            act.in_flight -= 1;
            act.count(stored)
        }))
    }
}

impl Handler<GetCounts> for WebhookTrigger {
    type Result = MessageResult<GetCounts>;

    fn handle(&mut self, _: GetCounts, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.counts.clone())
    }
}
