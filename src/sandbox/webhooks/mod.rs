//! Webhooks: an account tells one URL of each write, in the dialect's form and signed as its
//! vendor does it, and deliveries go wrong on purpose where that is switched on.
//!
//! [`Webhook`] is what can be chosen, as plain data. `outbox` is what an account has to
//! tell, without HTTP or a clock; `courier` sends it; `route` is `/_sandbox/webhooks`.

pub(super) mod courier;
pub(super) mod outbox;
pub(super) mod route;
mod sign;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize, Serializer};
use url::Url;

pub use self::outbox::{KeptWebhook, WebhookCounts};
pub use self::sign::{WebhookSecret, webhook_secret};

/// Rates are of so many.
const MILLE: u16 = 1_000;

/// The most retries that can be asked for: the waits double, and 2^20 of the shortest
/// is a quarter of an hour.
const MOST_RETRIES: u32 = 20;

/// Where an account's webhooks go, and what goes wrong with them. Rates are per mille
/// of the deliveries, each drawn by itself from the seed and the delivery's number.
///
/// A delivery that is lost meets nothing else, and one that is early is neither late
/// nor reordered.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Webhook {
    /// `http://` or `https://`; `{account}` in it stands for the account's name. Its
    /// last part is taken for a secret and is never shown.
    #[serde(serialize_with = "serialize_url")]
    pub url: String,
    /// Signs the deliveries; `None` for [`webhook_secret`] of the account. Never shown.
    #[serde(skip_serializing)]
    pub secret: Option<WebhookSecret>,
    /// The payload names the record without showing it.
    pub thin: bool,
    /// How often a delivery is tried again that was not answered with 2xx.
    pub retries: u32,
    /// The wait before the first retry, in milliseconds; it doubles with each, and a
    /// `Retry-After` that comes with 429 or 503 makes it longer.
    pub retry_ms: u64,
    /// The same seed, rates and order of writes give the same mishaps.
    pub seed: u64,
    /// It is never sent.
    pub loss: u16,
    /// It is sent twice, under the same id.
    pub duplication: u16,
    /// It is sent behind a later one, or after `delay_ms` where none comes.
    pub reordering: u16,
    /// It is sent late.
    pub delay: u16,
    /// By so many milliseconds at most.
    pub delay_ms: u64,
    /// The write is answered only when the delivery was, or was tried once.
    pub early: u16,
    /// It shows the record as it was before the write.
    pub old: u16,
}

impl Default for Webhook {
    /// To nowhere, with the whole record, four retries within some two seconds, and
    /// nothing going wrong.
    fn default() -> Self {
        Self {
            url: String::new(),
            secret: None,
            thin: false,
            retries: 4,
            retry_ms: 100,
            seed: 0,
            loss: 0,
            duplication: 0,
            reordering: 0,
            delay: 0,
            delay_ms: 1_000,
            early: 0,
            old: 0,
        }
    }
}

/// What becomes of one delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Fate {
    pub(super) lost: bool,
    pub(super) twice: bool,
    pub(super) old: bool,
    pub(super) start: Start,
}

/// When a delivery is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Start {
    #[default]
    AtOnce,
    /// Before the write is answered.
    Early,
    /// So many milliseconds later.
    Late(u64),
    /// When a later one was sent, at the latest after so many milliseconds.
    Overtaken(u64),
}

impl Webhook {
    /// Whole payloads to a URL, signed with [`webhook_secret`], nothing going wrong.
    pub fn to(url: impl Into<String>) -> Self {
        Self { url: url.into(), ..Self::default() }
    }

    /// Why it cannot be used, if so.
    pub(super) fn problem(&self) -> Option<String> {
        match Url::parse(&self.url) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {}
            Ok(_) | Err(_) => return Some("a webhook's 'url' must begin with http:// or https://".to_owned()),
        }
        let rates = [
            ("loss", self.loss),
            ("duplication", self.duplication),
            ("reordering", self.reordering),
            ("delay", self.delay),
            ("early", self.early),
            ("old", self.old),
        ];
        if let Some((name, _)) = rates.into_iter().find(|(_, rate)| *rate > MILLE) {
            return Some(format!("a webhook's '{name}' is per mille, {MILLE} at most"));
        }
        (self.retries > MOST_RETRIES).then(|| format!("a webhook has {MOST_RETRIES} 'retries' at most"))
    }

    /// Draws what becomes of the delivery with this number.
    pub(super) fn fate(&self, number: u64) -> Fate {
        // An odd factor, so that neighbouring numbers give seeds far apart.
        let mut rng = fastrand::Rng::with_seed(self.seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        // Everything is drawn, so that another rate leaves the other draws alone.
        let mut happens = |rate: u16| rng.u16(0..MILLE) < rate;
        let (lost, twice, old) = (happens(self.loss), happens(self.duplication), happens(self.old));
        let (early, held, late) = (happens(self.early), happens(self.reordering), happens(self.delay));
        let after_ms = rng.u64(1..=self.delay_ms.max(1));
        let start = match (early, held, late) {
            (true, _, _) => Start::Early,
            (false, true, _) => Start::Overtaken(self.delay_ms),
            (false, false, true) => Start::Late(after_ms),
            (false, false, false) => Start::AtOnce,
        };
        if lost { Fate { lost, ..Fate::default() } } else { Fate { lost, twice, old, start } }
    }

    /// The same for one account: with its name in the URL, and a secret.
    fn of_account(&self, account: &str) -> Self {
        let secret = self.secret.clone().unwrap_or_else(|| WebhookSecret::of_account(account));
        Self { url: self.url.replace("{account}", account), secret: Some(secret), ..self.clone() }
    }

    /// The URL without what makes it a secret: password, last part of the path, query.
    #[must_use]
    pub fn shown_url(&self) -> String {
        let Ok(url) = Url::parse(&self.url) else { return "…".to_owned() };
        let host = url.host_str().unwrap_or_default();
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let folder = url.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{}://{host}{port}{folder}/…", url.scheme())
    }
}

fn serialize_url<S: Serializer>(url: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&Webhook::to(url).shown_url())
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Webhook ")?;
        f.write_str(&serde_json::to_string(self).map_err(|_| std::fmt::Error)?)
    }
}
