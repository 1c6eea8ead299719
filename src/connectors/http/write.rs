//! Writing records one by one.

use futures_util::{StreamExt, stream};

use crate::connectors::Calls;
use crate::model::write::{ConnectorError, NextStep, Outcome, Write};

use super::HttpConnector;
use super::body::encode;
use super::call::{Prepared, Reply};
use super::outcome::{Answer, outcome, unanswered};
use super::spec::ObjectSpec;

impl HttpConnector {
    /// Carries out writes, in batches where declared; outcomes in the same order.
    pub(super) async fn write_all(&self, calls: &Calls, object: &ObjectSpec, writes: &[Write]) -> Vec<Outcome> {
        let outcomes = match &object.batch {
            Some(batch) if writes.len() > 1 => {
                let outcomes = self.write_batched(calls, object, batch, writes).await;
                outcomes.iter().for_each(|outcome| self.pause_for(calls, outcome));
                outcomes
            }
            Some(_) | None => self.write_singly(calls, object, writes).await,
        };
        self.confirm_missing(calls, object, writes, outcomes).await
    }

    /// One request for each write, as many at once as the budget allows.
    pub(super) async fn write_singly(&self, calls: &Calls, object: &ObjectSpec, writes: &[Write]) -> Vec<Outcome> {
        let requests = writes.iter().map(|write| async move {
            let outcome = self.write_one(calls, object, write).await;
            // At once: the others of these writes must wait too.
            self.pause_for(calls, &outcome);
            outcome
        });
        stream::iter(requests).buffered(calls.concurrency().max(1)).collect().await
    }

    async fn write_one(&self, calls: &Calls, object: &ObjectSpec, write: &Write) -> Outcome {
        let composed = match self.compose(object, write) {
            Ok(composed) => composed,
            Err(outcome) => return outcome,
        };
        let mut request = Prepared::new(composed.method, composed.url, &self.file.headers, &composed.headers);
        request.body = match composed.body.map(|body| encode(&request.headers, &body)).transpose() {
            Ok(body) => body,
            // Such a record can never be written, so it is held back.
            Err(reason) => return Outcome::Rejected { reason, path: None },
        };
        request.charge = composed.charge;
        match self.send(calls, request).await {
            Ok(reply) => {
                let parsed = reply.json();
                let answer = Answer {
                    status: reply.status,
                    judged: reply.judge(&self.file, self.now()),
                    body: parsed.as_ref().ok().copied(),
                    garbled: parsed.is_err() && !reply.body.trim().is_empty(),
                    lossy: reply.lossy,
                    version_header: version_header(object, &reply),
                    sentence: &|| self.caller.sentence(&reply),
                };
                outcome(object, write, &composed.sent, &answer)
            }
            Err(error) => unanswered(error),
        }
    }

    fn pause_for(&self, calls: &Calls, outcome: &Outcome) {
        if let Outcome::NotSent(error) = outcome {
            self.pause(calls, error, None);
        }
    }

    /// Pauses all calls of the budget where the side asked for it, or those of a class that it
    /// counts apart.
    pub(super) fn pause(&self, calls: &Calls, error: &ConnectorError, class: Option<&str>) {
        if let NextStep::Wait { millis } = error.next {
            calls.pause_class(class, std::time::Duration::from_millis(millis));
        }
    }
}

fn version_header<'r>(object: &ObjectSpec, reply: &'r Reply) -> Option<&'r str> {
    object.version_header.as_ref().and_then(|name| reply.header(name))
}
