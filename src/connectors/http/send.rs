//! Sending a request with the credentials of the connection: those that it was given, or a token
//! that is fetched with them, which is fetched anew when the side refuses it.

use crate::connectors::Calls;
use crate::model::write::{ConnectorError, NextStep};

use super::HttpConnector;
use super::call::{Exchange, Meaning, Prepared, Reply, unanswered_read};
use super::settings::Auth;
use super::transport::TransportError;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum SendError {
    Transport(TransportError),
    /// The request was not sent, because there is no token to send it with.
    NoSession(ConnectorError),
}

impl HttpConnector {
    /// Sends a request within the budget.
    ///
    /// # Errors
    /// When there is no answer.
    pub(super) async fn send(&self, calls: &Calls, request: Prepared) -> Result<Reply, SendError> {
        self.exchange(calls, request).await.map(|exchange| self.caller.reply(exchange))
    }

    /// Sends a request that reads.
    ///
    /// # Errors
    /// When there is no answer.
    pub(super) async fn send_read(&self, calls: &Calls, request: Prepared) -> Result<Reply, ConnectorError> {
        self.send(calls, request).await.map_err(|error| self.heard(calls, unanswered_read(error)))
    }

    /// Sends a request that reads what may be no text.
    ///
    /// # Errors
    /// When there is no answer.
    pub(super) async fn exchange_read(&self, calls: &Calls, request: Prepared) -> Result<Exchange, ConnectorError> {
        self.exchange(calls, request).await.map_err(|error| self.heard(calls, unanswered_read(error)))
    }

    /// Pauses where a token could not be fetched because of a limit.
    fn heard(&self, calls: &Calls, error: ConnectorError) -> ConnectorError {
        self.pause(calls, &error, None);
        error
    }

    async fn exchange(&self, calls: &Calls, request: Prepared) -> Result<Exchange, SendError> {
        if request.is_foreign {
            return self.caller.exchange(calls, request, &Auth::None).await.map_err(SendError::Transport);
        }
        let Some(sessions) = &self.caller.sessions else {
            return self.caller.exchange(calls, request, &self.caller.auth).await.map_err(SendError::Transport);
        };
        let session = sessions.get(&self.caller, calls).await.map_err(SendError::NoSession)?;
        let first = self.caller.exchange(calls, request.clone(), &session.auth).await.map_err(SendError::Transport)?;
        if !self.refuses_token(&first) {
            return Ok(first);
        }
        // Refused, and so not carried out. Another call may have fetched a new token already.
        let renewed = sessions.renewed(&self.caller, calls, session.number).await.map_err(SendError::NoSession)?;
        let second = self.caller.exchange(calls, request, &renewed.auth).await.map_err(SendError::Transport)?;
        if !self.refuses_token(&second) {
            return Ok(second);
        }
        let said = self.caller.sentence(&self.caller.reply(second));
        let message = format!("a token that was just fetched is refused as well, so the right was withdrawn: {said}");
        Err(SendError::NoSession(ConnectorError::new(NextStep::Reauthorise, message)))
    }

    /// Whether an answer says that the token is not, or no longer, taken. A 403 speaks of
    /// rights, which another token would not have either.
    fn refuses_token(&self, exchange: &Exchange) -> bool {
        let status = exchange.answer.status;
        if status == 401 {
            return true;
        }
        let may_say_it = (status != 403 && self.file.statuses.unauthorised.contains(&status))
            || self.file.rules.iter().any(|rule| rule.class == super::rules::Class::Unauthorised);
        if !may_say_it {
            return false;
        }
        let reply = self.caller.reply(exchange.clone());
        let judged = reply.judge(&self.file, self.now());
        judged.meaning == Meaning::Unauthorised && (judged.rule.is_some() || status != 403)
    }
}
