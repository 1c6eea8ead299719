//! A refusal that stands for a record that is gone.
//!
//! Some apps do not tell a stranger what exists: they answer 403 for a record that is
//! gone, as for one that the account may not touch, and a connector file then declares 403
//! as `missing`. Taken at its word, a right that was withdrawn would look as if every
//! record had been deleted. So such an answer is believed after a second look only.

use crate::connectors::Calls;
use crate::model::ids::RecordId;
use crate::model::record::Entry;
use crate::model::value::Value;
use crate::model::write::{ConnectorError, NextStep, Outcome, Write};

use super::HttpConnector;
use super::call::not_sent;
use super::entry::entry_id;
use super::page::Run;
use super::read::{fail, records, retry};
use super::spec::{ObjectSpec, ReadSpec};

/// Whether a status says by itself that the account may not do this.
pub(super) fn is_refusal(status: u16) -> bool {
    matches!(status, 401 | 403)
}

impl HttpConnector {
    /// Whether the account may still read the object at all: its list has to answer.
    ///
    /// # Errors
    /// What the list says instead.
    pub(super) async fn may_list(&self, calls: &Calls, object: &ObjectSpec) -> Result<(), ConnectorError> {
        let Some(parent) = &object.parent else { return self.may_list_for(calls, object, None).await };
        // For any of its parents will do; without one there is nothing that it could be.
        let parents = self.object(parent)?;
        let page = Box::pin(self.list(calls, parents, None, None)).await?;
        match page.entries.iter().find_map(entry_id) {
            Some(id) => self.may_list_for(calls, object, Some(&Value::string(id.as_str()))).await,
            None => Ok(()),
        }
    }

    async fn may_list_for(
        &self,
        calls: &Calls,
        object: &ObjectSpec,
        parent: Option<&Value>,
    ) -> Result<(), ConnectorError> {
        let list = object.list.as_ref().ok_or_else(|| fail(format!("'{}' cannot be listed", object.name)))?;
        let ask = self.ask_page(list, parent, None, &Run::default())?;
        let reply = self.ask(calls, &list.endpoint, ask).await?;
        self.check_read(&reply, calls, None)?;
        if list.export.is_some() {
            // The answer is a job, and no list yet.
            return Ok(());
        }
        let json = reply.json().map_err(retry)?;
        records(&reply, json, list.records.as_ref()).map(|_| ())
    }

    /// Looks again at records that a refused write has said to be missing.
    pub(super) async fn confirm_missing(
        &self,
        calls: &Calls,
        object: &ObjectSpec,
        writes: &[Write],
        outcomes: Vec<Outcome>,
    ) -> Vec<Outcome> {
        let Some(read) = &object.read else { return outcomes };
        let mut confirmed = Vec::with_capacity(outcomes.len());
        for (write, outcome) in writes.iter().zip(outcomes) {
            confirmed.push(match (write, outcome) {
                (Write::Update(update), Outcome::Missing)
                    if object.update.as_ref().is_some_and(|spec| holds_refusal(&spec.missing)) =>
                {
                    self.confirmed(calls, object, read, &update.id, Outcome::Missing).await
                }
                (Write::Delete(delete), Outcome::Missing) => {
                    self.confirmed(calls, object, read, &delete.id, Outcome::Deleted).await
                }
                (_, outcome) => outcome,
            });
        }
        confirmed
    }

    async fn confirmed(
        &self,
        calls: &Calls,
        object: &ObjectSpec,
        read: &ReadSpec,
        id: &RecordId,
        if_gone: Outcome,
    ) -> Outcome {
        match self.read_one(calls, object, read, id).await {
            Ok(Entry::Deleted { .. }) => if_gone,
            Ok(Entry::Live(_) | Entry::Bad(_)) => {
                let message = format!("a write to '{id}' was refused, and the record is there: it may not be written");
                not_sent(NextStep::Reauthorise, message)
            }
            Err(error) => Outcome::NotSent(error),
        }
    }
}

/// Whether a list of statuses for what is gone holds one that may mean something else.
pub(super) fn holds_refusal(missing: &[u16]) -> bool {
    missing.iter().any(|status| is_refusal(*status))
}
