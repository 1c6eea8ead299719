//! Signing as Standard Webhooks do.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretSlice};
use serde::Deserialize;
use sha2::Sha256;

const PREFIX: &str = "whsec_";

/// How many bytes a key has by the specification.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// What deliveries are signed with: base64 behind `whsec_`.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct WebhookSecret(SecretSlice<u8>);

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
        if KEY_BYTES.contains(&key.len()) { Ok(Self(key.into())) } else { Err(wanted()) }
    }

    pub(super) fn of_account(account: &str) -> Self {
        Self(default_key(account).into_bytes().into())
    }

    /// The value of the header `webhook-signature`.
    pub(super) fn signature(&self, id: &str, at_s: i64, body: &[u8]) -> Option<String> {
        // A key of any length is taken, so that this does not fail.
        let mac = Hmac::<Sha256>::new_from_slice(self.0.expose_secret()).ok()?;
        let mac = mac.chain_update(format!("{id}.{at_s}.")).chain_update(body);
        Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
    }
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
