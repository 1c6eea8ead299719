//! Dialects: the kinds of apps that the sandbox imitates, one a file. All of them stand on
//! the same records, limits, mishaps and webhooks; a dialect says how these are asked for,
//! shown, refused and told.
//!
//! What a dialect does it has from its vendor's documents, each named where it is used. Only
//! what a sync of records meets is imitated, and that as strictly as the vendor does it.

#![expect(clippy::result_large_err, reason = "the answers here are errors and successes alike, one a request")]

mod crm;
mod graph;
mod hubspot;
mod stripe;
#[cfg(test)]
mod testing;

use std::fmt::Debug;

use serde_json::{Map, Value as Json};
use url::form_urlencoded;
use xxhash_rust::xxh3::xxh3_128;

use super::answer::Answer;
use super::asked::Asked;
use super::collection::Shift;
use super::hostile::Kind;
use super::limits::Admitted;
use super::properties::Properties;
use super::refusal::Refusal;
use super::settings::{ObjectSettings, RateLimit, RetryAfter, Settings};
use super::state::{Account, Done, State};
use super::stats::Written;
use super::webhooks::outbox::{Change, Post, Told};
use super::webhooks::{Webhook, WebhookSecret};
use crate::model::value::Value;

/// A kind of app that the sandbox can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Dialect {
    /// A CRM of our own, as typical apps are.
    #[default]
    Crm,
    /// Stripe's customers.
    Stripe,
    /// HubSpot's contacts and companies.
    Hubspot,
    /// The Outlook contacts of Microsoft Graph.
    Graph,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Crm, Self::Stripe, Self::Hubspot, Self::Graph];

    /// Its name, as the command line has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Crm => "crm",
            Self::Stripe => "stripe",
            Self::Hubspot => "hubspot",
            Self::Graph => "graph",
        }
    }

    /// The connector file in `fixtures/connectors` that goes with it.
    #[must_use]
    pub fn connector(self) -> &'static str {
        match self {
            Self::Crm => "sandbox.toml",
            Self::Stripe => "stripe.toml",
            Self::Hubspot => "hubspot.toml",
            Self::Graph => "graph.toml",
        }
    }

    /// The path at which a connection's `base_url` ends.
    #[must_use]
    pub fn base_path(self) -> &'static str {
        match self {
            Self::Crm => "/v1",
            Self::Stripe | Self::Hubspot => "",
            Self::Graph => "/v1.0",
        }
    }

    /// Its object that a first sync is about.
    #[must_use]
    pub fn object(self) -> &'static str {
        match self {
            Self::Crm | Self::Hubspot | Self::Graph => "contacts",
            Self::Stripe => "customers",
        }
    }

    /// Fields of a contact to sync first, by your names and by the app's; contacts are matched by
    /// the first.
    #[must_use]
    pub fn fields(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Crm => &[("email", "properties.email"), ("name", "properties.full_name")],
            Self::Stripe => &[("email", "email"), ("name", "name")],
            Self::Hubspot => &[("email", "properties.email"), ("first_name", "properties.firstname")],
            Self::Graph => &[("email", "emailAddresses[first].address"), ("name", "displayName")],
        }
    }

    /// A request to try, by its path.
    #[must_use]
    pub fn example(self) -> &'static str {
        match self {
            Self::Crm => "/contacts?limit=2",
            Self::Stripe => "/v1/customers?limit=2",
            Self::Hubspot => "/crm/v3/objects/contacts?limit=2",
            Self::Graph => "/me/contacts?$top=2",
        }
    }

    /// The settings that the vendor's documents speak of.
    pub(super) fn settings(self, settings: Settings) -> Settings {
        let settings = Settings { dialect: self, ..settings };
        match self {
            Self::Crm => settings,
            Self::Stripe => Settings {
                // https://docs.stripe.com/rate-limits: a sandbox.
                rate_limit: Some(RateLimit { requests: 25, per_ms: 1_000 }),
                retry_after: RetryAfter::Absent,
                objects: vec![ObjectSettings::new("customers")],
                ..settings
            },
            Self::Hubspot => Settings {
                // https://developers.hubspot.com/docs/api/usage-details: an OAuth app.
                rate_limit: Some(RateLimit { requests: 110, per_ms: 10_000 }),
                index_lag_ms: 5_000,
                objects: vec![
                    ObjectSettings { lowercase: vec!["email".to_owned()], ..ObjectSettings::new("contacts") },
                    ObjectSettings::new("companies"),
                ],
                ..settings
            },
            Self::Graph => Settings {
                // https://learn.microsoft.com/en-us/graph/throttling-limits: Outlook, for each mailbox.
                rate_limit: Some(RateLimit { requests: 10_000, per_ms: 600_000 }),
                most_at_once: Some(4),
                objects: vec![ObjectSettings::new("contacts")],
                ..settings
            },
        }
    }

    pub(super) fn speech(self) -> &'static dyn Speech {
        match self {
            Self::Crm => &crm::Crm,
            Self::Stripe => &stripe::Stripe,
            Self::Hubspot => &hubspot::Hubspot,
            Self::Graph => &graph::Graph,
        }
    }
}

/// How a kind of app is spoken to.
pub(super) trait Speech: Debug + Sync {
    /// How the paths of the API begin.
    fn root(&self) -> &'static str;

    /// What kind of request it is.
    fn kind(&self, method: &str, path: &str) -> Kind;

    /// Carries a request out.
    fn route(&self, state: &mut State, asked: &Asked<'_>) -> Result<Answer, Refusal>;

    /// How a refusal is told.
    fn refused(&self, refusal: &Refusal, settings: &Settings, now_ms: i64) -> Answer;

    /// How it is told that something is broken.
    fn failed(&self, status: u16) -> Answer;

    /// How a request is refused on purpose, as one too many.
    fn limited(&self, kind: Kind, retry_at_ms: i64, told: RetryAfter, now_ms: i64) -> Answer;

    /// The headers that tell what is left of a limit.
    fn limit_headers(&self, admitted: &Admitted) -> Vec<(&'static str, String)>;

    /// A record's id, as it is shown.
    fn id_text(&self, id: u64) -> String {
        id.to_string()
    }

    /// The record that an id names; only the spelling that is shown names one.
    fn id_of(&self, text: &str) -> Option<u64> {
        text.parse().ok().filter(|id: &u64| self.id_text(*id) == text)
    }

    /// A record of the demo or of the generator, in the form that is stored.
    fn seeded(&self, record: Value) -> Value {
        record
    }

    /// Whether what is told of a write needs all of the record's fields, before and after.
    fn tells_fields(&self) -> bool {
        true
    }

    /// The parameter by which a URL is asked whether anybody is there, before anything is sent to
    /// it: its value has to come back as plain text.
    fn handshake(&self) -> Option<&'static str> {
        None
    }

    /// The entry of a write in a feed of events, where there is one.
    fn feed_entry(&self, _: &Change<'_>) -> Option<FeedEntry> {
        None
    }

    /// The body of a webhook.
    fn body(&self, told: &Told<'_>) -> Vec<u8>;

    /// The headers of a webhook that show where it comes from.
    fn signed(
        &self,
        webhook: &Webhook,
        secret: &WebhookSecret,
        post: &Post,
        now_ms: i64,
    ) -> Vec<(&'static str, String)>;
}

/// One event of an account's feed.
#[derive(Debug, Clone)]
pub(super) struct FeedEntry {
    at_ms: i64,
    id: String,
    kind: String,
    json: Json,
}

/// Runs one write and counts what came of it.
fn counted(
    state: &mut State,
    account_no: usize,
    write: impl FnOnce(&mut Account) -> Result<Done, Refusal>,
) -> Result<Done, Refusal> {
    let result = write(state.account(account_no));
    match result.as_ref().map(|done| done.written) {
        Ok(Some(written)) => state.tally.write(account_no, written),
        Ok(None) => state.tally.replay(),
        Err(_) => state.tally.write(account_no, Written::Refused),
    }
    result
}

/// Counts a write that was refused before it came to the records.
fn refused(state: &mut State, account_no: usize, answer: Answer) -> Answer {
    state.tally.write(account_no, Written::Refused);
    answer
}

/// The fields of a record as JSON.
fn fields_of(properties: &Properties) -> Map<String, Json> {
    let mut text = Vec::new();
    properties.write_json(&mut text);
    serde_json::from_slice(&text).unwrap_or_default()
}

/// A part of a list from a place on, shifted as a mishap wants.
fn part<T>(all: &[T], start: usize, shift: Shift, limit: usize) -> &[T] {
    let start = match shift {
        _ if start == 0 => 0,
        Shift::None => start,
        Shift::Back => start - 1,
        Shift::Forward => start + 1,
    };
    let start = start.min(all.len());
    &all[start..start.saturating_add(limit).min(all.len())]
}

/// A part of a path without its escapes.
fn decoded(segment: &str) -> String {
    let pair = format!("x={}", segment.replace('+', "%2B"));
    form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}

/// An id of a request, different for each, in the form of a UUID.
fn request_id(asked_ms: i64, about: &str) -> String {
    let hash = format!("{:032x}", xxh3_128(format!("{asked_ms}{about}").as_bytes()));
    format!("{}-{}-4{}-8{}-{}", &hash[..8], &hash[8..12], &hash[13..16], &hash[17..20], &hash[20..])
}

/// The text of a seeded record under a key.
fn seed_text(record: &Value, key: &str) -> Option<String> {
    let Value::Object(entries) = record else { return None };
    let value = entries.iter().find(|(other, _)| other == key).map(|(_, value)| value)?;
    value.as_str().filter(|text| !text.trim().is_empty()).map(|text| text.trim().to_owned())
}
