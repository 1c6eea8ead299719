//! The event trigger: your backend says that a record of your app has changed.
//!
//! An event names records; what they hold is read from your app when their turn comes, so
//! nothing that was half written or has changed again since is sent.

use actix::prelude::*;

use crate::model::hash::Digest;
use crate::model::hint::Hint;
use crate::model::ids::{ConnectionId, ObjectName, RecordId, Scope};
use crate::model::side::Side;
use crate::model::work::Lane;
use crate::store::{Appended, Once, StoreError};

use super::counts::Counts;
use super::intake::{COME_BACK_S, Intake};
use super::known::Known;
use super::webhook::GetCounts;

/// How long an idempotency key is remembered, in milliseconds: as long as Stripe does
/// (<https://docs.stripe.com/api/idempotent_requests>).
const REMEMBER_KEY_MS: i64 = 86_400_000;

/// The most records of one call.
pub const MOST_RECORDS: usize = 1_000;

/// Whose record has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// This connection's customer's.
    Connection(ConnectionId),
    /// That of the customer with this scope.
    Scope(Scope),
}

/// Some of your app's records have changed, been made or been deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Whose.
    pub whose: Whose,
    /// The object, by its name in your app.
    pub object: ObjectName,
    /// Which; where there is none, your app's list of changes is read.
    pub ids: Vec<RecordId>,
    /// The text of the record, where it is one and your app sends it along, in the form in
    /// which its connector reads it. It stands for a read where it is certainly newer than
    /// what is known.
    pub record: Option<String>,
}

impl Event {
    /// These records of an object; all that has changed where there are none.
    #[must_use]
    pub fn new(whose: Whose, object: impl Into<ObjectName>, ids: impl IntoIterator<Item = RecordId>) -> Self {
        Self { whose, object: object.into(), ids: ids.into_iter().collect(), record: None }
    }
}

/// Anybody to the event trigger: this has happened. Accepted means durable.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Accepted, EventError>")]
pub struct Fire {
    /// What one connection is told of is taken as a whole or not at all. Where the events
    /// are about several and the call fails, some of these may have been told: calling
    /// again, best under the same key, costs them a read at most.
    pub events: Vec<Event>,
    /// The same call, made again under the same key, is taken once.
    pub key: Option<String>,
    /// How long the records are to rest first, in milliseconds, so that a value that is
    /// being typed is not sent; each further event starts the time anew, up to ten times
    /// as long.
    pub settle_ms: u64,
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// It is durable.
    Now,
    /// It was accepted before under its key.
    Before,
}

/// Why a call was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// There is no such connection.
    #[error("there is no connection '{0}'")]
    NoConnection(ConnectionId),
    /// No connection has this scope.
    #[error("no connection has the scope '{0}'")]
    NoScope(Scope),
    /// No sync of the connection is about that object.
    #[error("connection '{connection}' syncs no object '{object}' of your app; it syncs: {known}")]
    NoObject {
        /// The connection.
        connection: ConnectionId,
        /// What was named.
        object: ObjectName,
        /// What there is.
        known: String,
    },
    /// There are too many records in one call.
    #[error("one call names at most {MOST_RECORDS} records")]
    TooMany,
    /// There is no room now.
    #[error("too much is waiting already; try again in {0} s")]
    Full(u32),
    /// The state file could not be written.
    #[error("it could not be stored, try again: {0}")]
    Store(String),
    /// The kernel is shutting down.
    #[error("the kernel is shutting down")]
    Stopped,
}

impl EventError {
    /// A word for counts.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            EventError::NoConnection(_) => "unknown connection",
            EventError::NoScope(_) => "unknown scope",
            EventError::NoObject { .. } => "unknown object",
            EventError::TooMany => "too many records",
            EventError::Full(_) => "full inbox",
            EventError::Store(_) => "not stored",
            EventError::Stopped => "shutting down",
        }
    }
}

/// The actor. Keeps counts alone: everything accepted is in the store.
pub struct EventTrigger {
    intake: Intake,
    counts: Counts,
}

impl EventTrigger {
    /// A trigger over an intake.
    #[must_use]
    pub fn new(intake: Intake) -> Self {
        Self { intake, counts: Counts::default() }
    }

    /// The hints of each connection; an error before anything is stored.
    fn sort(&self, fire: &Fire) -> Result<Vec<(ConnectionId, Known, Vec<Hint>)>, EventError> {
        if fire.events.iter().map(|event| event.ids.len().max(1)).sum::<usize>() > MOST_RECORDS {
            return Err(EventError::TooMany);
        }
        let at_ms = self.intake.now_ms();
        let due_ms = at_ms.saturating_add(i64::try_from(fire.settle_ms).unwrap_or(i64::MAX));
        let mut sorted: Vec<(ConnectionId, Known, Vec<Hint>)> = Vec::new();
        for event in &fire.events {
            let connections = match &event.whose {
                Whose::Connection(id) => vec![id.clone()],
                Whose::Scope(scope) => self.intake.of_scope(scope),
            };
            if let (Whose::Scope(scope), true) = (&event.whose, connections.is_empty()) {
                return Err(EventError::NoScope(scope.clone()));
            }
            for id in connections {
                let known = self.intake.find(&id).ok_or_else(|| EventError::NoConnection(id.clone()))?;
                if !known.objects.app.contains(&event.object) {
                    let names: Vec<&str> = known.objects.app.iter().map(ObjectName::as_str).collect();
                    let (object, known) = (event.object.clone(), names.join(", "));
                    return Err(EventError::NoObject { connection: id, object, known });
                }
                let hint = |id: Option<&RecordId>| Hint {
                    lane: Lane::Event,
                    side: Side::App,
                    object: event.object.clone(),
                    id: id.cloned(),
                    told: event.record.clone().filter(|_| event.ids.len() == 1),
                    at_ms,
                    due_ms,
                };
                let hints = match event.ids.is_empty() {
                    true => vec![hint(None)],
                    false => event.ids.iter().map(|id| hint(Some(id))).collect(),
                };
                match sorted.iter_mut().find(|(other, _, _)| *other == id) {
                    Some((_, _, list)) => list.extend(hints),
                    None => sorted.push((id, known, hints)),
                }
            }
        }
        Ok(sorted)
    }
}

async fn store(
    intake: Intake,
    sorted: Vec<(ConnectionId, Known, Vec<Hint>)>,
    once: Option<Once>,
) -> Result<Accepted, EventError> {
    let mut accepted = Accepted::Before;
    for (id, known, hints) in sorted {
        match intake.accept(&id, &known, hints, once).await {
            Ok(Appended::Accepted) => accepted = Accepted::Now,
            Ok(Appended::Repeated) => {}
            Ok(Appended::Full) => return Err(EventError::Full(COME_BACK_S)),
            Err(StoreError::NoConnection(_)) => return Err(EventError::NoConnection(id)),
            Err(error) => return Err(EventError::Store(error.to_string())),
        }
    }
    Ok(accepted)
}

impl Actor for EventTrigger {
    type Context = Context<Self>;
}

impl Handler<Fire> for EventTrigger {
    type Result = ResponseActFuture<Self, Result<Accepted, EventError>>;

    fn handle(&mut self, fire: Fire, _: &mut Context<Self>) -> Self::Result {
        let until_ms = self.intake.now_ms().saturating_add(REMEMBER_KEY_MS);
        let once = fire.key.as_ref().map(|key| Once { key: Digest::of(format!("event\0{key}").as_bytes()), until_ms });
        let sorted = match self.sort(&fire) {
            Ok(sorted) => sorted,
            Err(error) => {
                self.counts.refuse(error.as_str());
                return Box::pin(fut::ready(Err(error)));
            }
        };
        let stored = store(self.intake.clone(), sorted, once);
        Box::pin(stored.into_actor(self).map(|stored, act: &mut Self, _| {
            match &stored {
                Ok(Accepted::Now) => act.counts.accepted += 1,
                Ok(Accepted::Before) => act.counts.repeated += 1,
                Err(error) => act.counts.refuse(error.as_str()),
            }
            stored
        }))
    }
}

impl Handler<GetCounts> for EventTrigger {
    type Result = MessageResult<GetCounts>;

    fn handle(&mut self, _: GetCounts, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.counts.clone())
    }
}
