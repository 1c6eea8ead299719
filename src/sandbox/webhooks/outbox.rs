//! What an account has to tell: each write becomes a delivery, whose fate is drawn
//! here. No HTTP, no clock; the courier takes what is to be sent and says what came of it.

use std::sync::Arc;

use actix_web::web::Bytes;
use serde::Serialize;

use super::super::collection::Record;
use super::super::dialect::Speech;
use super::super::properties::Properties;
use super::{Fate, Start, Webhook};

/// The most deliveries of an account that may be open: waiting, being sent, or waiting
/// to be tried again. What is beyond is dropped and counted.
pub(in super::super) const MOST_OPEN: u64 = 10_000;

/// What came of an account's webhooks, since the start, the last reset or the last time
/// the counts were cleared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct WebhookCounts {
    /// Writes to tell of. A write that changes nothing is none.
    pub events: u64,
    /// Requests made: first tries, second copies and retries.
    pub sent: u64,
    /// Those among them that were retries.
    pub retried: u64,
    /// Deliveries answered with 2xx; each of two copies counts.
    pub acknowledged: u64,
    /// Deliveries given up after the last retry.
    pub failed: u64,
    /// Deliveries given up without a try: too many were open, the webhook was turned off
    /// meanwhile, or the sandbox had stopped.
    pub dropped: u64,
    /// Deliveries not sent on purpose.
    pub lost: u64,
    /// Deliveries sent twice on purpose.
    pub duplicated: u64,
    /// Deliveries held back on purpose until a later one was sent.
    pub reordered: u64,
    /// Deliveries sent late on purpose.
    pub late: u64,
    /// Deliveries sent before their write was answered.
    pub early: u64,
    /// Deliveries that show an older state of the record.
    pub old: u64,
    /// Deliveries not yet acknowledged or given up.
    pub open: u64,
}

/// What a write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Verb {
    Created,
    Updated,
    Deleted,
}

/// A record as it was at one time.
#[derive(Debug, Clone)]
pub(in super::super) struct Snapshot {
    /// None of a tombstone.
    pub(in super::super) etag: Option<String>,
    pub(in super::super) updated_ms: i64,
    pub(in super::super) created_ms: i64,
    pub(in super::super) json: Bytes,
    /// The fields, where the dialect tells of them; none of a tombstone.
    pub(in super::super) fields: Option<Properties>,
}

/// What a webhook is to say.
pub(in super::super) struct Told<'a> {
    pub(in super::super) account: &'a str,
    pub(in super::super) change: &'a Change<'a>,
    /// The record as it is shown, which may be an older state.
    pub(in super::super) shown: &'a Snapshot,
    pub(in super::super) thin: bool,
    pub(in super::super) webhook: &'a Webhook,
    /// Number of the delivery, since the webhook was set.
    pub(in super::super) number: u64,
}

/// One write.
#[derive(Debug)]
pub(in super::super) struct Change<'a> {
    pub(in super::super) verb: Verb,
    pub(in super::super) object: &'a str,
    pub(in super::super) id: u64,
    pub(in super::super) now: Snapshot,
    pub(in super::super) before: Option<Snapshot>,
}

/// A delivery to be sent.
#[derive(Debug, Clone)]
pub(in super::super) struct Post {
    pub(in super::super) account_no: usize,
    pub(super) speech: &'static dyn Speech,
    /// Which outbox it came from: after a reset there is another.
    epoch: u64,
    /// The same for all copies and tries.
    pub(in super::super) id: String,
    pub(in super::super) body: Bytes,
    pub(super) fate: Fate,
}

/// What came of a delivery.
#[derive(Debug)]
pub(super) enum Ended {
    Acknowledged,
    Failed,
    Dropped,
}

/// A webhook that was kept instead of being sent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeptWebhook {
    /// The headers that show where it comes from.
    pub headers: Vec<(&'static str, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

/// What one account has to tell.
#[derive(Debug)]
pub(in super::super) struct Outbox {
    speech: &'static dyn Speech,
    account: String,
    account_no: usize,
    epoch: u64,
    /// Begins the ids, so that those of an earlier sandbox do not come again.
    born_ms: i64,
    num_posts: u64,
    webhook: Option<Arc<Webhook>>,
    /// Number of the next delivery, since the webhook was set.
    number: u64,
    counts: WebhookCounts,
    last_failure: Option<String>,
    posts: Vec<Post>,
}

impl Snapshot {
    pub(in super::super) fn of(record: &Record, with_fields: bool) -> Self {
        Self {
            etag: Some(record.etag()),
            updated_ms: record.updated_ms,
            created_ms: record.created_ms,
            json: record.json.clone(),
            fields: with_fields.then(|| record.properties.clone()),
        }
    }
}

impl Outbox {
    pub(in super::super) fn new(
        speech: &'static dyn Speech,
        (account_no, account): (usize, &str),
        webhook: Option<&Webhook>,
        (epoch, born_ms): (u64, i64),
    ) -> Self {
        Self {
            speech,
            account: account.to_owned(),
            account_no,
            epoch,
            born_ms,
            num_posts: 0,
            webhook: webhook.map(|webhook| Arc::new(webhook.of_account(account))),
            number: 0,
            counts: WebhookCounts::default(),
            last_failure: None,
            posts: Vec::new(),
        }
    }

    /// Tells another URL from now on, or none. Deliveries that are open go there, too.
    pub(in super::super) fn set(&mut self, webhook: Option<&Webhook>) {
        self.webhook = webhook.map(|webhook| Arc::new(webhook.of_account(&self.account)));
        self.number = 0;
    }

    pub(in super::super) fn webhook(&self) -> Option<&Webhook> {
        self.webhook.as_deref()
    }

    pub(in super::super) fn counts(&self) -> WebhookCounts {
        self.counts
    }

    pub(super) fn last_failure(&self) -> Option<&str> {
        self.last_failure.as_deref()
    }

    pub(in super::super) fn clear_counts(&mut self) {
        self.counts = WebhookCounts { open: self.counts.open, ..WebhookCounts::default() };
        self.last_failure = None;
    }

    /// Draws what becomes of the delivery about a write.
    pub(in super::super) fn tell(&mut self, change: Change<'_>) {
        let Some(webhook) = &self.webhook else { return };
        let number = self.number;
        let fate = webhook.fate(number);
        self.number += 1;
        self.counts.events += 1;
        if fate.lost {
            self.counts.lost += 1;
            return;
        }
        let copies = 1 + u64::from(fate.twice);
        if self.counts.open + copies > MOST_OPEN {
            self.counts.dropped += copies;
            return;
        }
        let shown = change.before.as_ref().filter(|_| fate.old).unwrap_or(&change.now);
        let (account, thin) = (self.account.as_str(), webhook.thin);
        let body = self.speech.body(&Told { account, change: &change, shown, thin, webhook, number });
        self.counts.open += copies;
        self.counts.duplicated += u64::from(fate.twice);
        self.counts.old += u64::from(fate.old && change.before.is_some());
        match fate.start {
            Start::AtOnce => {}
            Start::Early => self.counts.early += 1,
            Start::Late(_) => self.counts.late += 1,
            Start::Overtaken(_) => self.counts.reordered += 1,
        }
        let (born_ms, epoch, account_no) = (self.born_ms, self.epoch, self.account_no);
        let id = format!("msg_{born_ms:x}_{epoch}_{account_no}_{}", self.num_posts);
        self.num_posts += 1;
        let post = Post { account_no, speech: self.speech, epoch, id, body: body.into(), fate };
        self.posts.extend(fate.twice.then(|| post.clone()));
        self.posts.push(post);
    }

    /// Takes what is to be sent.
    pub(in super::super) fn take(&mut self) -> Vec<Post> {
        std::mem::take(&mut self.posts)
    }

    /// Where a delivery is to be sent now; `None` when it is no longer wanted.
    pub(super) fn try_to_send(&mut self, post: &Post, is_retry: bool) -> Option<Arc<Webhook>> {
        if post.epoch != self.epoch {
            return None;
        }
        let Some(webhook) = &self.webhook else {
            self.end(post, Ended::Dropped);
            return None;
        };
        self.counts.sent += 1;
        self.counts.retried += u64::from(is_retry);
        Some(Arc::clone(webhook))
    }

    /// Gives a delivery to whoever asks for it, as if it had been sent and taken.
    pub(in super::super) fn hand_over(&mut self, post: &Post, now_ms: i64) -> Option<KeptWebhook> {
        let webhook = self.try_to_send(post, false)?;
        self.end(post, Ended::Acknowledged);
        let headers = webhook.secret.iter().flat_map(|secret| post.speech.signed(&webhook, secret, post, now_ms));
        Some(KeptWebhook { headers: headers.collect(), body: post.body.to_vec() })
    }

    /// Keeps why a try failed, for people to look at.
    pub(super) fn note_failure(&mut self, post: &Post, why: String) {
        if post.epoch == self.epoch {
            self.last_failure = Some(why);
        }
    }

    /// There is nobody who sends it.
    pub(in super::super) fn drop_unsent(&mut self, post: &Post) {
        self.end(post, Ended::Dropped);
    }

    /// What came of a delivery.
    pub(super) fn end(&mut self, post: &Post, ended: Ended) {
        if post.epoch != self.epoch {
            return;
        }
        self.counts.open = self.counts.open.saturating_sub(1);
        match ended {
            Ended::Acknowledged => self.counts.acknowledged += 1,
            Ended::Failed => self.counts.failed += 1,
            Ended::Dropped => self.counts.dropped += 1,
        }
    }
}
