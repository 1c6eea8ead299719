//! Signing as Standard Webhooks do.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::Sha256;

const PREFIX: &str = "whsec_";

/// How many bytes a key has by the specification.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// What deliveries are signed with: base64 behind `whsec_`. Dialects whose secrets are plain
/// texts take it as it stands.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct WebhookSecret(SecretString);

/// The secret that signs an account's webhooks where none is given: as well known as
/// its [`token`](super::super::token).
#[must_use]
pub fn webhook_secret(account: &str) -> String {
    format!("{PREFIX}{}", STANDARD.encode(default_key(account)))
}

fn default_key(account: &str) -> String {
    format!("sandbox-webhook-secret-{account}")
}

impl WebhookSecret {
    /// Reads one; `whsec_` may be left out.
    ///
    /// # Errors
    /// When it is not base64 of 24 to 64 bytes. The message does not repeat it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wanted = || {
            let (least, most) = (KEY_BYTES.start(), KEY_BYTES.end());
            format!("a webhook's secret is base64 of {least} to {most} bytes behind '{PREFIX}'")
        };
        let key = STANDARD.decode(text.strip_prefix(PREFIX).unwrap_or(text)).map_err(|_| wanted())?;
        if KEY_BYTES.contains(&key.len()) { Ok(Self(text.into())) } else { Err(wanted()) }
    }

    pub(super) fn of_account(account: &str) -> Self {
        Self(webhook_secret(account).into())
    }

    /// The text itself, for those who send or sign with it as it stands.
    pub(in super::super) fn text(&self) -> &str {
        self.0.expose_secret()
    }

    /// The value of the header `webhook-signature`.
    pub(in super::super) fn standard(&self, id: &str, at_s: i64, body: &[u8]) -> Option<String> {
        let text = self.text();
        let key = STANDARD.decode(text.strip_prefix(PREFIX).unwrap_or(text)).ok()?;
        let mac = keyed(&key, &[format!("{id}.{at_s}.").as_bytes(), body])?;
        Some(format!("v1,{}", STANDARD.encode(mac)))
    }

    /// A keyed hash with the text itself as the key.
    pub(in super::super) fn hash(&self, parts: &[&[u8]]) -> Vec<u8> {
        keyed(self.text().as_bytes(), parts).unwrap_or_default()
    }
}

/// HMAC-SHA256 over the parts, one after the other.
fn keyed(key: &[u8], parts: &[&[u8]]) -> Option<Vec<u8>> {
    // A key of any length is taken, so that this does not fail.
    let mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    let mac = parts.iter().fold(mac, |mac, part| mac.chain_update(part));
    Some(mac.finalize().into_bytes().to_vec())
}

impl TryFrom<String> for WebhookSecret {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl PartialEq for WebhookSecret {
    fn eq(&self, other: &Self) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }
}

impl Eq for WebhookSecret {}

impl std::fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WebhookSecret(…)")
    }
}
