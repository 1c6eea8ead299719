//! An action on a connection: one call through its reader or writer, within its budget. It
//! takes no lease and leaves no marker: to the syncs it is an edit like anybody's.

use std::rc::Rc;

use actix::prelude::*;
use async_trait::async_trait;

use super::connection::Connection;
use super::core::Core;
use super::message::Act;
use crate::connectors::Read;
use crate::connectors::action::{ActionAnswer, Through, carry_out};
use crate::model::ids::ObjectName;
use crate::model::record::Page;
use crate::model::side::Side;
use crate::model::work::Lane;
use crate::model::write::{Capabilities, ConnectorError, Outcome, Write};

/// A connection's children, for one object of one side.
struct Children {
    core: Rc<Core>,
    side: Side,
    object: ObjectName,
}

#[async_trait(?Send)]
impl Through for Children {
    fn capabilities(&self) -> Result<Capabilities, ConnectorError> {
        self.core.connector(self.side).capabilities(&self.object)
    }

    async fn read(&self, read: Read) -> Result<Page, ConnectorError> {
        self.core.fetch_of(self.side, self.object.clone(), read, Lane::Manual).await
    }

    async fn write(&self, write: Write) -> Outcome {
        let outcomes = self.core.carry_of(self.side, self.object.clone(), vec![write], Lane::Manual).await;
        let lost = || Outcome::Unknown("the writer gave no outcome".to_owned());
        outcomes.into_iter().next().unwrap_or_else(lost)
    }
}

impl Handler<Act> for Connection {
    type Result = ResponseFuture<ActionAnswer>;

    fn handle(&mut self, message: Act, _: &mut Context<Self>) -> Self::Result {
        let Act { side, object, action, key } = message;
        let children = Children { core: self.core(), side, object };
        Box::pin(async move { carry_out(&children, action, &key).await })
    }
}
