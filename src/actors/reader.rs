//! The reader: the connection's child that reads from either side.

use std::rc::Rc;

use actix::prelude::*;

use crate::actors::message::Fetch;
use crate::connectors::retry::{self, RetryPolicy};
use crate::connectors::{Calls, Connector};
use crate::model::record::Page;
use crate::model::side::PerSide;
use crate::model::write::ConnectorError;

/// Owns nothing: it is handed the connectors and the budgets. Reads are safe to
/// repeat, so it repeats them a few times before it reports a failure.
pub struct Reader {
    sides: PerSide<ReadSide>,
    rng: fastrand::Rng,
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
    pub fn new(sides: PerSide<ReadSide>, rng: fastrand::Rng) -> Self {
        Self { sides, rng }
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
        let mut rng = self.rng.fork();
        Box::pin(async move {
            let calls = calls.in_lane(lane);
            let attempt = || connector.read(&calls, &object, read.clone());
            retry::retrying(&RetryPolicy::default(), || rng.f64(), attempt).await
        })
    }
}
