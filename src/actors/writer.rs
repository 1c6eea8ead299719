//! The writer: the connection's child that writes to either side.

use actix::prelude::*;

use crate::actors::message::Carry;
use crate::actors::reader::{Parent, ReadSide};
use crate::model::side::PerSide;
use crate::model::write::Outcome;

/// Owns nothing: it is handed the connectors and the budgets. It never repeats a
/// write: whether that is safe is decided from the outcome, with the marker in hand.
pub struct Writer {
    sides: PerSide<ReadSide>,
    parent: Parent,
}

impl Writer {
    /// A writer to both sides.
    #[must_use]
    pub fn new(sides: PerSide<ReadSide>, parent: Parent) -> Self {
        Self { sides, parent }
    }
}

impl Actor for Writer {
    type Context = Context<Self>;
}

impl Handler<Carry> for Writer {
    // A task of its own: a connector that panics leaves this one call unknown, not
    // those beside it.
    type Result = ResponseFuture<Vec<Outcome>>;

    fn handle(&mut self, message: Carry, _: &mut Context<Self>) -> Self::Result {
        let ReadSide { connector, calls } = self.sides[message.side].clone();
        let parent = self.parent.clone();
        Box::pin(async move {
            let calls = calls.in_lane(message.lane);
            let wanted = message.writes.len();
            let call = connector.write(&calls, &message.object, message.writes);
            let mut outcomes = parent.outlived_by(&calls, call).await.unwrap_or_default();
            // A connector that answers short leaves the rest unknown, not unwritten.
            outcomes.truncate(wanted);
            outcomes.resize_with(wanted, || Outcome::Unknown("the connector gave no outcome for it".to_owned()));
            outcomes
        })
    }
}
