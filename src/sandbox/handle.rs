//! A running sandbox, as those in the same process use it: they read and write records
//! past the API, which is neither counted nor limited.

use std::sync::Arc;

use actix_web::dev::ServerHandle;
use serde_json::value::RawValue;

use super::collection::{Edit, Record};
use super::hostile::Hostile;
use super::refusal::Refusal;
use super::state::{Account, Done, raw_of};
use super::stats::{Logged, Stats};
use super::webhooks::{KeptWebhook, Webhook, WebhookCounts};
use super::{SandboxError, Shared, seed};
use crate::model::value::Value;

/// A running sandbox. Dropping it stops the server.
#[derive(Debug)]
pub struct SandboxHandle {
    base_url: String,
    shared: Arc<Shared>,
    server: Option<ServerHandle>,
}

/// A record of the sandbox, for those in the same process.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SandboxRecord {
    /// Its id.
    pub id: String,
    /// Its properties.
    pub properties: Value,
    /// When it was last written, in milliseconds since 1970.
    pub updated_at_ms: i64,
    /// Its entity tag, quotes included.
    pub etag: String,
}

impl SandboxHandle {
    pub(super) fn new(base_url: String, shared: Arc<Shared>, server: Option<ServerHandle>) -> Self {
        Self { base_url, shared, server }
    }

    /// `http://127.0.0.1:<port>`, without the `/v1`.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// The address at which a connection's `base_url` ends: `http://127.0.0.1:<port>/v1`.
    #[must_use]
    pub fn api_url(&self) -> String {
        format!("{}{}", self.base_url, self.shared.settings.dialect.base_path())
    }

    /// Stops listening, drops open connections and breaks off webhooks. May be called
    /// again.
    pub async fn stop(&self) {
        if let Some(server) = &self.server {
            server.stop(false).await;
        }
        if let Some(ended) = self.shared.courier.close() {
            // It ends by being dropped.
            drop(ended.await);
        }
    }

    /// Adds the API to an application of the same process, for
    /// [`unbound`](super::SandboxBuilder::unbound) sandboxes.
    pub fn configure(&self) -> impl FnOnce(&mut actix_web::web::ServiceConfig) + use<> {
        super::api::configure(actix_web::web::Data::from(Arc::clone(&self.shared)))
    }

    /// Takes the webhooks that an [`unbound`](super::SandboxBuilder::unbound) sandbox has kept,
    /// signed as of now. They count as acknowledged.
    #[must_use]
    pub fn take_kept(&self) -> Vec<KeptWebhook> {
        let posts = self.shared.courier.take_kept();
        let (mut state, now_ms) = self.shared.lock();
        posts.into_iter().filter_map(|post| state.account(post.account_no).outbox.hand_over(&post, now_ms)).collect()
    }

    /// What was asked so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.lock().0.stats()
    }

    /// The last `num` requests, oldest first.
    #[must_use]
    pub fn log(&self, num: usize) -> Vec<Logged> {
        self.shared.lock().0.tally.log(&self.shared.settings.accounts, num)
    }

    /// Forgets what was asked so far, keeping the records.
    pub fn clear_stats(&self) {
        self.shared.lock().0.clear_stats();
    }

    /// Adds generated records, written now.
    ///
    /// # Errors
    /// When there is no such account or object.
    pub fn seed(&self, account: &str, object: &str, num: u64, seed: u64) -> Result<(), SandboxError> {
        self.shared.with(account, |state, now_ms| {
            for record in seed::generate(object, 0, num, seed) {
                state.create(object, &raw_of(&record)?, None, now_ms)?;
            }
            Ok(())
        })
    }

    /// Replaces the record that has the same value of `match_property`, or makes one.
    ///
    /// # Errors
    /// When there is no such account or object, or the API would refuse the record.
    pub fn upsert(
        &self,
        account: &str,
        object: &str,
        match_property: &str,
        properties: &Value,
    ) -> Result<SandboxRecord, SandboxError> {
        self.write(account, object, properties, |state, raw, now_ms| state.upsert(object, match_property, raw, now_ms))
    }

    /// Makes a record.
    ///
    /// # Errors
    /// As [`SandboxHandle::upsert`].
    pub fn create(&self, account: &str, object: &str, properties: &Value) -> Result<SandboxRecord, SandboxError> {
        self.write(account, object, properties, |state, raw, now_ms| state.create(object, raw, None, now_ms))
    }

    /// Merges properties into a record; null takes one away.
    ///
    /// # Errors
    /// As [`SandboxHandle::upsert`], and when there is no such record.
    pub fn patch(
        &self,
        account: &str,
        object: &str,
        id: &str,
        properties: &Value,
    ) -> Result<SandboxRecord, SandboxError> {
        self.write(account, object, properties, |state, raw, now_ms| {
            state.edit(object, id, None, (Edit::Merge, raw), now_ms)
        })
    }

    /// Deletes a record, leaving a tombstone.
    ///
    /// # Errors
    /// When there is no such account, object or record.
    pub fn delete(&self, account: &str, object: &str, id: &str) -> Result<(), SandboxError> {
        self.shared.with(account, |state, now_ms| state.delete(object, id, None, now_ms).map(drop))
    }

    /// One record.
    ///
    /// # Errors
    /// When there is no such account, object or record.
    pub fn record(&self, account: &str, object: &str, id: &str) -> Result<SandboxRecord, SandboxError> {
        self.shared.with(account, |state, _| state.get(object, id).map(|record| state.shown(record)))
    }

    /// What goes wrong on purpose from now on; `None` for nothing. Late writes still come.
    pub fn set_hostile(&self, hostile: Option<Hostile>) {
        self.shared.lock().0.set_hostile(hostile);
    }

    /// Where an account tells of its writes from now on; `None` for nowhere.
    ///
    /// # Errors
    /// When there is no such account or the URL is none.
    pub fn set_webhook(&self, account: &str, webhook: Option<&Webhook>) -> Result<(), SandboxError> {
        if let Some(reason) = webhook.and_then(Webhook::problem) {
            return Err(SandboxError::Settings { reason });
        }
        self.shared.with(account, |state, _| {
            state.outbox.set(webhook);
            Ok(())
        })
    }

    /// What came of an account's webhooks.
    ///
    /// # Errors
    /// When there is no such account.
    pub fn webhook_counts(&self, account: &str) -> Result<WebhookCounts, SandboxError> {
        self.shared.with(account, |state, _| Ok(state.outbox.counts()))
    }

    /// Every record, by id; deleted ones are left out.
    ///
    /// # Errors
    /// When there is no such account or object.
    pub fn records(&self, account: &str, object: &str) -> Result<Vec<SandboxRecord>, SandboxError> {
        self.shared
            .with(account, |state, _| Ok(state.collection(object)?.live().map(|record| state.shown(record)).collect()))
    }

    fn write(
        &self,
        account: &str,
        object: &str,
        properties: &Value,
        run: impl FnOnce(&mut Account, &RawValue, i64) -> Result<Done, Refusal>,
    ) -> Result<SandboxRecord, SandboxError> {
        self.shared.with(account, |state, now_ms| {
            let done = run(state, &raw_of(properties)?, now_ms)?;
            let record = state.collection(object)?.find(Some(done.id), "")?;
            Ok(state.shown(record))
        })
    }
}

impl Drop for SandboxHandle {
    fn drop(&mut self) {
        // The order to stop is sent by the call itself; only waiting for it is async.
        drop(self.server.as_ref().map(|server| server.stop(false)));
        drop(self.shared.courier.close());
    }
}

impl Account {
    fn shown(&self, record: &Record) -> SandboxRecord {
        SandboxRecord {
            id: self.speech.id_text(record.id),
            properties: record.properties.to_value(),
            updated_at_ms: record.updated_ms,
            etag: record.etag(),
        }
    }
}
