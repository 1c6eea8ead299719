//! The arguments of `sandbox` about webhooks.

use secrecy::{ExposeSecret, SecretString};

use crate::cli::exit::Failure;
use crate::sandbox::{Webhook, WebhookSecret};

/// The same switches as `POST /_sandbox/webhooks`.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Webhooks")]
pub(super) struct WebhookArgs {
    /// Tell this URL of each write; `{account}` in it stands for the account's name.
    #[arg(long, value_parser = hidden, value_name = "URL")]
    webhook: Option<SecretString>,
    /// Sign with this secret, `whsec_` and base64, instead of one that is well known.
    #[arg(long, value_parser = hidden, env = "SANDBOX_WEBHOOK_SECRET")]
    #[arg(hide_env_values = true, value_name = "SECRET")]
    webhook_secret: Option<SecretString>,
    /// Name the record without showing it.
    #[arg(long, requires = "webhook")]
    webhook_thin: bool,
    /// How often a delivery that was not answered with 2xx is tried again.
    #[arg(long, requires = "webhook", default_value_t = Webhook::default().retries, value_name = "NUM")]
    webhook_retries: u32,
    /// Lose so many of 1,000 deliveries.
    #[arg(long, requires = "webhook", default_value_t = 0, value_name = "NUM")]
    webhook_loss: u16,
    /// Send so many of 1,000 twice.
    #[arg(long, requires = "webhook", default_value_t = 0, value_name = "NUM")]
    webhook_duplication: u16,
    /// Send so many of 1,000 behind a later one.
    #[arg(long, requires = "webhook", default_value_t = 0, value_name = "NUM")]
    webhook_reordering: u16,
    /// Send so many of 1,000 late.
    #[arg(long, requires = "webhook", default_value_t = 0, value_name = "NUM")]
    webhook_delay: u16,
    /// The longest that one is late or waits for a later one, in milliseconds.
    #[arg(long, requires = "webhook", default_value_t = Webhook::default().delay_ms, value_name = "NUM")]
    webhook_delay_ms: u64,
    /// Send so many of 1,000 before the write is answered.
    #[arg(long, requires = "webhook", default_value_t = 0, value_name = "NUM")]
    webhook_early: u16,
    /// Show in so many of 1,000 the record as it was before.
    #[arg(long, requires = "webhook", default_value_t = 0, value_name = "NUM")]
    webhook_old: u16,
    /// The seed of what goes wrong with webhooks.
    #[arg(long, requires = "webhook", default_value_t = 0, value_name = "NUM")]
    webhook_seed: u64,
}

/// A text that no message and no `Debug` repeats.
fn hidden(text: &str) -> Result<SecretString, std::convert::Infallible> {
    Ok(SecretString::from(text))
}

impl WebhookArgs {
    /// The webhook asked for. What is wrong with its URL is told when the sandbox starts.
    pub(super) fn wanted(&self) -> Result<Option<Webhook>, Failure> {
        let Some(url) = &self.webhook else { return Ok(None) };
        let secret = self.webhook_secret.as_ref().map(|secret| WebhookSecret::parse(secret.expose_secret()));
        Ok(Some(Webhook {
            secret: secret.transpose().map_err(|wanted| Failure::usage(format!("--webhook-secret: {wanted}")))?,
            thin: self.webhook_thin,
            retries: self.webhook_retries,
            seed: self.webhook_seed,
            loss: self.webhook_loss,
            duplication: self.webhook_duplication,
            reordering: self.webhook_reordering,
            delay: self.webhook_delay,
            delay_ms: self.webhook_delay_ms,
            early: self.webhook_early,
            old: self.webhook_old,
            ..Webhook::to(url.expose_secret())
        }))
    }
}
