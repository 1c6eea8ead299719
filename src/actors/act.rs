//! An action on a connection: one call through its reader or writer, within its budget. It
//! takes no lease and leaves no marker: to the syncs it is an edit like anybody's.

use std::rc::Rc;

use actix::prelude::*;
use async_trait::async_trait;
use serde_json::value::RawValue;

use super::connection::Connection;
use super::core::Core;
use super::message::Act;
use crate::connectors::Read;
use crate::connectors::action::{Action, ActionAnswer, Through, carry_out, refused};
use crate::model::ids::{ObjectName, RecordId};
use crate::model::record::{Body, Entry, Page};
use crate::model::side::{PerSide, Side};
use crate::model::work::Lane;
use crate::model::write::{Capabilities, ConnectorError, Outcome, Write};
use crate::reconcile::by_hand::ByHand;
use crate::reconcile::mapping::Mapping;
use crate::reconcile::reference::{LinkKey, LinksByHand};

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
        let Act { side, object, action, mapped, key } = message;
        let core = self.core();
        let sync = mapped.map(|name| {
            let found = core.syncs.iter().find(|sync| sync.name == name);
            found.cloned().ok_or_else(|| format!("there is no sync '{name}' of this connection"))
        });
        let children = Children { core: Rc::clone(&core), side, object };
        Box::pin(async move {
            match sync {
                None => carry_out(&children, action, &key).await,
                Some(Ok(sync)) => {
                    let look_up = |key: &LinkKey| {
                        let linked = core.snapshot().and_then(|snapshot| core.linked(&snapshot, key));
                        linked.map_err(|error| error.to_string())
                    };
                    let links = LinksByHand { references: &sync.references, look_up: &look_up };
                    let by = By { mapping: &sync.mapping, objects: &sync.objects, side, links };
                    carry_out_mapped(&children, action, &key, &by, &children.object).await
                }
                Some(Err(reason)) => refused(reason),
            }
        })
    }
}

/// The mapping by which an action's records are in the app's form.
pub struct By<'m> {
    /// The mapping.
    pub mapping: &'m Mapping,
    /// The objects that it is between.
    pub objects: &'m PerSide<ObjectName>,
    /// The side that is acted on.
    pub side: Side,
    /// What its records are linked with that name others.
    pub links: LinksByHand<'m>,
}

/// A record as it stands there, to be changed in part.
async fn present(through: &dyn Through, id: &RecordId) -> Result<Option<Body>, String> {
    let page = through.read(Read::Ids(vec![id.clone()])).await.map_err(|error| error.to_string())?;
    match page.entries.into_iter().next() {
        Some(Entry::Live(record)) => Ok(Some(record.body)),
        Some(Entry::Bad(bad)) => Err(format!("the record cannot be read: {}", bad.reason)),
        // The update itself will say that it is not there.
        Some(Entry::Deleted { .. }) | None => Ok(None),
    }
}

/// Carries an action out whose records are in the app's form; so are those of the answer.
pub async fn carry_out_mapped(
    through: &dyn Through,
    action: Action,
    key: &str,
    by: &By<'_>,
    object: &ObjectName,
) -> ActionAnswer {
    let meant = &by.objects[by.side];
    if meant != object {
        return refused(format!("the sync is for '{meant}' of the {} side, not for '{object}'", by.side));
    }
    let action = match action {
        Action::Create(record) => by.mapping.spelled(by.side, &record, ByHand::New, &by.links).map(Action::Create),
        Action::Update(id, record) => {
            // An entry of a list is changed by writing the list, so what is in it has to be known.
            let needed = by.mapping.needs_reading(by.side, &record);
            let current = if needed { present(through, &id).await } else { Ok(None) };
            let spelled = |current: Option<Body>| {
                by.mapping.spelled(by.side, &record, ByHand::Change(current.as_ref()), &by.links)
            };
            current.and_then(spelled).map(|record| Action::Update(id, record))
        }
        Action::Find(criteria) => by.mapping.spelled_criteria(by.side, criteria, &by.links).map(Action::Find),
        other => Ok(other),
    };
    let mut answer = match action {
        Ok(action) => carry_out(through, action, key).await,
        Err(reason) => return refused(reason),
    };
    for told in &mut answer.records {
        let Some(record) = told.record.take() else { continue };
        let mapped = by.mapping.in_app_form(by.side, &Body::from_json(record.get()), &by.links);
        match mapped.and_then(|mapped| RawValue::from_string(mapped.to_json()).map_err(|error| error.to_string())) {
            Ok(mapped) => told.record = Some(mapped),
            Err(problem) => told.problem = Some(problem),
        }
    }
    answer
}
