//! The reader: the connection's child that reads from either side.

use std::rc::Rc;

use actix::prelude::*;
use tokio::sync::watch;

use crate::actors::message::Fetch;
use crate::connectors::retry::{self, RetryPolicy};
use crate::connectors::{Calls, Connector};
use crate::model::record::Page;
use crate::model::side::PerSide;
use crate::model::write::{ConnectorError, NextStep};

/// Owns nothing: it is handed the connectors and the budgets. Reads are safe to
/// repeat, so it repeats them a few times before it reports a failure.
pub struct Reader {
    sides: PerSide<ReadSide>,
    parent: Parent,
    rng: fastrand::Rng,
}

/// The connection whose calls these are, while it lives. A call that waits for the budget
/// must not leave once nobody knows of it any more: the next life of the connection may
/// have decided that it never did. One that has left is heard to its end, as its answer
/// may ask for a pause.
#[derive(Clone)]
pub struct Parent(watch::Receiver<()>);

impl Parent {
    /// The connection lives as long as what is returned with it is kept.
    #[must_use]
    pub fn new() -> (watch::Sender<()>, Self) {
        let (alive, parent) = watch::channel(());
        (alive, Self(parent))
    }

    /// What some calls of a budget come to, unless the connection dies first.
    pub async fn outlived_by<T>(mut self, calls: &Calls, work: impl Future<Output = T>) -> Option<T> {
        let in_vain = async {
            // Nothing is ever sent: it changes when the sender is dropped.
            let _ = self.0.changed().await;
            calls.idle().await;
        };
        tokio::select! {
            biased;
            () = in_vain => None,
            answer = work => Some(answer),
        }
    }
}

/// What reading one side takes.
#[derive(Clone)]
pub struct ReadSide {
    /// Talks to it.
    pub connector: Rc<dyn Connector>,
    /// Its budget.
    pub calls: Calls,
}

impl Reader {
    /// A reader of both sides.
    #[must_use]
    pub fn new(sides: PerSide<ReadSide>, parent: Parent, rng: fastrand::Rng) -> Self {
        Self { sides, parent, rng }
    }
}

impl Actor for Reader {
    type Context = Context<Self>;
}

impl Handler<Fetch> for Reader {
    // A task of its own: a connector that panics fails this one read, not the reader.
    type Result = ResponseFuture<Result<Page, ConnectorError>>;

    fn handle(&mut self, message: Fetch, _: &mut Context<Self>) -> Self::Result {
        let Fetch { side, object, read, lane } = message;
        let ReadSide { connector, calls } = self.sides[side].clone();
        let (mut rng, parent) = (self.rng.fork(), self.parent.clone());
        Box::pin(async move {
            let calls = calls.in_lane(lane);
            let attempt = || connector.read(&calls, &object, read.clone());
            let policy = RetryPolicy::default();
            let page = retry::retrying(&policy, || rng.f64(), attempt);
            let nobody = || Err(ConnectorError::new(NextStep::Retry, "nobody waits for it any more"));
            parent.outlived_by(&calls, page).await.unwrap_or_else(nobody)
        })
    }
}
