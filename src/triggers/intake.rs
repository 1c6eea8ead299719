//! How triggers hand over what they have accepted: durably first, then a wake-up.

use std::sync::atomic::Ordering;

use actix::Addr;

use super::known::{Known, KnownConnections};
use crate::actors::connection::Connection;
use crate::actors::env::Env;
use crate::actors::message::{InboxFilled, MarkError};
use crate::actors::supervisor::Routes;
use crate::model::hint::Hint;
use crate::model::ids::{ConnectionId, Scope};
use crate::planted::{self, Bug};
use crate::store::{Appended, InboxRight, Once, StoreError};

/// After how many deliveries of one connection that are remembered the old ones are
/// forgotten; at the first after a start, too.
const FORGET_EVERY: u64 = 5_000;

/// How long those are asked to wait who are told to come back, in seconds.
pub const COME_BACK_S: u32 = 2;

/// The actor of a connection, from any thread.
///
/// # Errors
/// When there is no such connection, or its actor is being restarted.
pub fn route(routes: &Routes, known: &KnownConnections, id: &ConnectionId) -> Result<Addr<Connection>, MarkError> {
    match routes.get(id) {
        Some(address) => Ok(address.clone()),
        None if known.contains(id) => Err(MarkError::Restarting),
        None => Err(MarkError::NoConnection(id.clone())),
    }
}

/// The one way from a trigger to a connection. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Intake {
    inbox: InboxRight,
    routes: Routes,
    known: KnownConnections,
    env: Env,
}

impl Intake {
    /// Appends to the inboxes of these connections and wakes their actors.
    #[must_use]
    pub fn new(inbox: InboxRight, routes: Routes, known: KnownConnections, env: Env) -> Self {
        Self { inbox, routes, known, env }
    }

    /// A connection, if there is one of that name.
    #[must_use]
    pub fn find(&self, id: &ConnectionId) -> Option<Known> {
        self.known.get(id)
    }

    /// The connections of a scope, by name.
    #[must_use]
    pub fn of_scope(&self, scope: &Scope) -> Vec<ConnectionId> {
        self.known.of_scope(scope)
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.env.now_ms()
    }

    /// Makes hints durable and wakes the connection. Needs no actor: one that is down
    /// finds them when it comes back.
    ///
    /// # Errors
    /// [`StoreError::NoConnection`] where there is none of that name, or what the disk
    /// says; then nothing was accepted.
    pub async fn accept(
        &self,
        id: &ConnectionId,
        known: &Known,
        hints: Vec<Hint>,
        once: Option<Once>,
    ) -> Result<Appended, StoreError> {
        if planted::is(Bug::AcceptedEarly) {
            let (intake, id, conn, now_ms) = (self.clone(), id.clone(), known.conn, self.now_ms());
            actix::spawn(async move {
                tokio::task::yield_now().await;
                let appended = intake.inbox.append(conn, hints, once, now_ms).await;
                if let (Ok(Appended::Accepted), Some(connection)) = (appended, intake.routes.get(&id)) {
                    connection.do_send(InboxFilled);
                }
            });
            return Ok(Appended::Accepted);
        }
        let appended = self.inbox.append(known.conn, hints, once, self.now_ms()).await?;
        if appended == Appended::Accepted
            && let Some(connection) = self.routes.get(id)
        {
            connection.do_send(InboxFilled);
        }
        if appended == Appended::Accepted && once.is_some() {
            self.forget_now_and_then(known);
        }
        Ok(appended)
    }

    /// Forgets the names of deliveries that can no longer be repeated, beside the work.
    fn forget_now_and_then(&self, known: &Known) {
        if !known.remembered.fetch_add(1, Ordering::Relaxed).is_multiple_of(FORGET_EVERY) {
            return;
        }
        let forgotten = self.inbox.forget(known.conn, self.now_ms());
        actix::spawn(async move {
            if let Err(error) = forgotten.await {
                tracing::warn!("old deliveries could not be forgotten: {error}");
            }
        });
    }
}
