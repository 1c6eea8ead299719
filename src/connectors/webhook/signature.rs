//! Whether a webhook came from who it says: a declared scheme, checked over the bytes as
//! they came, before anything of them is parsed; of a token that stands in the body nothing
//! else is looked at before.
//!
//! Each scheme that a vendor documents is data ([`Scheme::preset`]): which header, which
//! encoding, which string is signed. Comparing takes the same time whatever is compared,
//! and every live secret is tried, so that a rotation needs no downtime and tells nobody
//! which secret is in use.

mod preset;
#[cfg(test)]
mod tests;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac as Mac, KeyInit, Mac as _};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Sha256, Sha512};

use crate::model::hash::Digest;
use crate::model::path::Path;
use crate::model::value::Value;

/// The most signatures of one delivery that are looked at; a sender that rotates its
/// secret sends two or three.
pub const MOST_SIGNATURES: usize = 8;

/// The most live secrets of one connection.
pub const MOST_SECRETS: usize = 3;

/// How old or how far ahead a delivery may be unless declared, in seconds: what the
/// Standard Webhooks libraries, Stripe, HubSpot and Slack use.
pub const DEFAULT_TOLERANCE_S: u64 = 300;

/// How a webhook is shown to come from its sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scheme {
    /// A keyed hash over parts of the delivery.
    Hmac(Hmac),
    /// The secret itself stands in a header.
    Token {
        /// Its name.
        header: String,
        /// What stands before the secret, as `Bearer `.
        prefix: String,
    },
    /// The secret itself stands in the body, at its top or in each of its events: what Microsoft
    /// Graph calls `clientState`
    /// (<https://learn.microsoft.com/en-us/graph/change-notifications-delivery-webhooks>).
    BodyToken {
        /// Where.
        path: Path,
        /// Where the list of events stands; `None` where the body is one event, or a list.
        events: Option<Path>,
    },
    /// HTTP basic authentication; the secret is `user:password`.
    Basic,
    /// Nothing but the URL, which nobody else knows.
    Unsigned,
}

/// A keyed hash over parts of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hmac {
    /// Over which hash function.
    pub algorithm: Algorithm,
    /// How a signature is written.
    pub encoding: Encoding,
    /// How the secret is written.
    pub secret: SecretForm,
    /// The header with the signature, or several.
    pub header: String,
    /// How they stand in it.
    pub form: Form,
    /// What is signed, one after the other.
    pub signed: Vec<Part>,
    /// When the delivery was sent.
    pub stamp: Option<Stamp>,
    /// The header that identifies the delivery over all its attempts, if it is signed.
    pub id: Option<String>,
}

/// A hash function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

/// How bytes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Hexadecimal, in either case.
    Hex,
    /// Base64 with the standard alphabet and padding; nothing else is taken.
    Base64,
}

/// How a secret is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretForm {
    /// The key is the text itself.
    Text,
    /// The key is base64, after `whsec_` where that is there.
    Whsec,
}

/// How signatures stand in a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// One, after this text.
    One {
        /// Empty where nothing stands before it.
        prefix: String,
    },
    /// A list of entries with a name each, as `t=1,v1=abc`; only those of one name are
    /// taken, so that nobody can talk the receiver into an older version.
    List {
        /// Between two entries.
        separator: char,
        /// Between an entry's name and its value.
        between: char,
        /// The name of a signature.
        name: String,
    },
}

/// A part of what is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// This text.
    Text(String),
    /// The body as it came.
    Body,
    /// The time, as it stands.
    Stamp,
    /// The delivery's id, as it stands.
    Id,
    /// The request's method.
    Method,
    /// The public URL with its query, decoded as HubSpot does.
    DecodedUrl,
}

/// Where the time of a delivery stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// In which place.
    pub place: StampPlace,
    /// Milliseconds instead of seconds since 1970.
    pub millis: bool,
    /// How old or how far ahead it may be, in seconds.
    pub tolerance_s: u64,
}

/// Where a time stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StampPlace {
    /// In a header of its own.
    Header(String),
    /// In an entry of the signature's header.
    Entry(String),
}

/// A delivery as it came, before anything of it is believed.
#[derive(Clone, Copy)]
pub struct Delivery<'a> {
    /// The request's method.
    pub method: &'a str,
    /// The URL under which the receiver is known outside, with the request's query. From
    /// configuration: what a request says of its host is not to be trusted.
    pub url: &'a str,
    /// Its headers, names in any case.
    pub headers: &'a [(String, String)],
    /// Its body, byte by byte.
    pub body: &'a [u8],
}

/// A delivery that came from its sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// What tells a repetition of it, for as long as one could be genuine. `None` where
    /// nothing does: without a time or an id that is signed, a delivery that looks the
    /// same may tell of another change, and taking it once more costs a read.
    pub repetition: Option<Repetition>,
}

/// What tells that a delivery is one that came before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repetition {
    /// The same for each attempt at this delivery.
    pub key: Digest,
    /// How long to remember it, in milliseconds.
    pub remember_ms: u64,
}

/// Why a delivery is refused. For logs and counts: the sender is told nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no signature, or none of the version that is taken.
    #[error("it carries no signature of the declared scheme")]
    Unsigned,
    /// A header that the scheme needs is missing, or there twice.
    #[error("a header that the scheme needs is missing or ambiguous")]
    Headers,
    /// Its time is no number of the declared unit.
    #[error("its time cannot be read")]
    Stamp,
    /// It was sent too long ago: late, or a replay.
    #[error("it is older than the tolerance")]
    TooOld,
    /// It comes from the future: some clock is wrong, or it is forged.
    #[error("it is dated ahead of the tolerance")]
    TooNew,
    /// No live secret gives any of its signatures.
    #[error("no live secret gives its signature")]
    Mismatch,
}

impl Refused {
    /// A word for logs and counts.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Refused::Unsigned => "no signature",
            Refused::Headers => "missing or doubled header",
            Refused::Stamp => "unreadable time",
            Refused::TooOld => "too old",
            Refused::TooNew => "dated ahead",
            Refused::Mismatch => "wrong signature",
        }
    }
}

impl Scheme {
    /// Checks a delivery against the live secrets; what is beyond [`MOST_SECRETS`] is not
    /// tried.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn check(&self, secrets: &[SecretString], delivery: &Delivery<'_>, now_ms: i64) -> Result<Accepted, Refused> {
        let secrets = &secrets[..secrets.len().min(MOST_SECRETS)];
        match self {
            Scheme::Hmac(hmac) => hmac.check(secrets, delivery, now_ms),
            Scheme::Token { header, prefix } => {
                let value = delivery.header(header)?.ok_or(Refused::Unsigned)?;
                let token = value.strip_prefix(prefix.as_str()).ok_or(Refused::Unsigned)?;
                undated(is_one_of(token.as_bytes(), secrets))
            }
            Scheme::BodyToken { path, events } => body_token(path, events.as_ref(), delivery.body, secrets),
            Scheme::Basic => {
                let value = delivery.header("authorization")?.ok_or(Refused::Unsigned)?;
                let (kind, encoded) = value.split_once(' ').ok_or(Refused::Unsigned)?;
                if !kind.eq_ignore_ascii_case("basic") {
                    return Err(Refused::Unsigned);
                }
                let pair = STANDARD.decode(encoded.trim()).map_err(|_| Refused::Unsigned)?;
                undated(is_one_of(&pair, secrets))
            }
            Scheme::Unsigned => undated(true),
        }
    }

    /// Why a secret cannot be one of this scheme; `None` where it can.
    #[must_use]
    pub fn secret_problem(&self, secret: &SecretString) -> Option<String> {
        let text = secret.expose_secret();
        match self {
            Scheme::Unsigned => None,
            _ if text.is_empty() => Some("is empty".to_owned()),
            Scheme::Hmac(Hmac { secret: SecretForm::Whsec, .. }) => {
                key(SecretForm::Whsec, secret).is_none().then(|| "is not base64 after 'whsec_'".to_owned())
            }
            Scheme::Basic if !text.contains(':') => Some("is not 'user:password'".to_owned()),
            Scheme::Hmac(_) | Scheme::Token { .. } | Scheme::BodyToken { .. } | Scheme::Basic => None,
        }
    }
}

/// Looks for the secret in a body: at its top, else every event must hold one, so that none
/// comes in beside those that are genuine. The body is parsed for it, and nothing else is
/// taken from it before.
fn body_token(path: &Path, events: Option<&Path>, body: &[u8], secrets: &[SecretString]) -> Result<Accepted, Refused> {
    let text = std::str::from_utf8(body).map_err(|_| Refused::Unsigned)?;
    let value = Value::from_json(text).map_err(|_| Refused::Unsigned)?;
    let token = |value: &Value| value.get(path).and_then(Value::as_str).map(str::to_owned);
    if let Some(token) = token(&value) {
        return undated(is_one_of(token.as_bytes(), secrets));
    }
    let list = events.map_or(Some(&value), |path| value.get(path));
    let Some(Value::Array(events)) = list else { return Err(Refused::Unsigned) };
    let tokens: Option<Vec<String>> = events.iter().map(token).collect();
    match tokens {
        Some(tokens) if !tokens.is_empty() => {
            undated(tokens.iter().fold(true, |all, token| all & is_one_of(token.as_bytes(), secrets)))
        }
        Some(_) | None => Err(Refused::Unsigned),
    }
}

/// A delivery that shows neither its time nor its id.
fn undated(is_genuine: bool) -> Result<Accepted, Refused> {
    if is_genuine { Ok(Accepted { repetition: None }) } else { Err(Refused::Mismatch) }
}

/// Whether some bytes are one of the secrets, in the same time whatever they are.
fn is_one_of(bytes: &[u8], secrets: &[SecretString]) -> bool {
    // Hashes of one length, which this type compares in constant time.
    let given = blake3::hash(bytes);
    secrets.iter().fold(false, |found, secret| found | (blake3::hash(secret.expose_secret().as_bytes()) == given))
}

fn key(form: SecretForm, secret: &SecretString) -> Option<Vec<u8>> {
    let text = secret.expose_secret();
    match form {
        SecretForm::Text => Some(text.as_bytes().to_vec()),
        SecretForm::Whsec => STANDARD.decode(text.strip_prefix("whsec_").unwrap_or(text)).ok(),
    }
}

impl Delivery<'_> {
    /// The value of a header; one that is there twice could be read in two ways.
    fn header(&self, name: &str) -> Result<Option<&str>, Refused> {
        let mut values = self.headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        match (values.next(), values.next()) {
            (Some(_), Some(_)) => Err(Refused::Headers),
            (first, _) => Ok(first.map(|(_, value)| value.trim())),
        }
    }
}

impl Hmac {
    fn check(&self, secrets: &[SecretString], delivery: &Delivery<'_>, now_ms: i64) -> Result<Accepted, Refused> {
        let header = delivery.header(&self.header)?.ok_or(Refused::Unsigned)?;
        let signatures = self.signatures(header);
        if signatures.is_empty() {
            return Err(Refused::Unsigned);
        }
        let id = self.id.as_ref().map(|name| delivery.header(name)?.ok_or(Refused::Headers)).transpose()?;
        let stamp = self.stamp.as_ref().map(|stamp| stamp.text(delivery, &self.form, header)).transpose()?;
        if let (Some(rules), Some(text)) = (&self.stamp, stamp) {
            rules.check(text, now_ms)?;
        }
        let signed = self.signed(delivery, stamp.unwrap_or_default(), id.unwrap_or_default());
        let mut is_genuine = false;
        for secret in secrets {
            let Some(key) = key(self.secret, secret) else { continue };
            for signature in &signatures {
                is_genuine |= self.algorithm.verify(&key, &signed, signature);
            }
        }
        if !is_genuine {
            return Err(Refused::Mismatch);
        }
        let Some(rules) = &self.stamp else { return undated(true) };
        let key = match (id, stamp) {
            (Some(id), _) => Digest::of(id.as_bytes()),
            // The same body at another time may tell of another change.
            (None, stamp) => {
                let mut bytes = stamp.unwrap_or_default().as_bytes().to_vec();
                bytes.push(b'.');
                bytes.extend_from_slice(delivery.body);
                Digest::of(&bytes)
            }
        };
        // An attempt may be dated ahead by the tolerance, and come late by it.
        let remember_ms = rules.tolerance_s.saturating_mul(2_000);
        Ok(Accepted { repetition: Some(Repetition { key, remember_ms }) })
    }

    /// The signatures of a header that can be one of this scheme, decoded.
    fn signatures(&self, header: &str) -> Vec<Vec<u8>> {
        let texts: Vec<&str> = match &self.form {
            Form::One { prefix } => header.strip_prefix(prefix.as_str()).into_iter().collect(),
            Form::List { name, .. } => {
                entries(&self.form, header).filter(|(key, _)| key == name).map(|e| e.1).collect()
            }
        };
        let decoded = texts.into_iter().take(MOST_SIGNATURES).filter_map(|text| self.encoding.decode(text));
        decoded.filter(|signature| !signature.is_empty()).collect()
    }

    fn signed(&self, delivery: &Delivery<'_>, stamp: &str, id: &str) -> Vec<u8> {
        let mut signed = Vec::with_capacity(delivery.body.len() + 128);
        for part in &self.signed {
            match part {
                Part::Text(text) => signed.extend_from_slice(text.as_bytes()),
                Part::Body => signed.extend_from_slice(delivery.body),
                Part::Stamp => signed.extend_from_slice(stamp.as_bytes()),
                Part::Id => signed.extend_from_slice(id.as_bytes()),
                Part::Method => signed.extend_from_slice(delivery.method.as_bytes()),
                Part::DecodedUrl => signed.extend_from_slice(decoded(delivery.url).as_bytes()),
            }
        }
        signed
    }
}

/// The entries of a header that is a list.
fn entries<'h>(form: &Form, header: &'h str) -> impl Iterator<Item = (&'h str, &'h str)> {
    let (separator, between) = match form {
        Form::List { separator, between, .. } => (*separator, *between),
        Form::One { .. } => (',', '='),
    };
    header.split(separator).filter_map(move |entry| entry.trim().split_once(between))
}

impl Stamp {
    fn text<'d>(&self, delivery: &'d Delivery<'_>, form: &Form, header: &'d str) -> Result<&'d str, Refused> {
        match &self.place {
            StampPlace::Header(name) => delivery.header(name)?.ok_or(Refused::Headers),
            StampPlace::Entry(name) => {
                let mut found = entries(form, header).filter(|(key, _)| key == name);
                match (found.next(), found.next()) {
                    (Some((_, text)), None) => Ok(text),
                    (None, _) | (Some(_), Some(_)) => Err(Refused::Headers),
                }
            }
        }
    }

    fn check(&self, text: &str, now_ms: i64) -> Result<(), Refused> {
        // No sign, no point, no exponent: digits, as each of these schemes says.
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Refused::Stamp);
        }
        let number: i64 = text.parse().map_err(|_| Refused::Stamp)?;
        let sent_ms = if self.millis { number } else { number.checked_mul(1_000).ok_or(Refused::Stamp)? };
        let tolerance_ms = i64::try_from(self.tolerance_s.saturating_mul(1_000)).unwrap_or(i64::MAX);
        if sent_ms < now_ms.saturating_sub(tolerance_ms) {
            return Err(Refused::TooOld);
        }
        if sent_ms > now_ms.saturating_add(tolerance_ms) {
            return Err(Refused::TooNew);
        }
        Ok(())
    }
}

impl Algorithm {
    /// In the same time whatever the signature is.
    fn verify(self, key: &[u8], signed: &[u8], signature: &[u8]) -> bool {
        // A key of any length is taken, so that making it does not fail.
        match self {
            Algorithm::Sha256 => Mac::<Sha256>::new_from_slice(key)
                .is_ok_and(|mac| mac.chain_update(signed).verify_slice(signature).is_ok()),
            Algorithm::Sha512 => Mac::<Sha512>::new_from_slice(key)
                .is_ok_and(|mac| mac.chain_update(signed).verify_slice(signature).is_ok()),
        }
    }
}

impl Encoding {
    fn decode(self, text: &str) -> Option<Vec<u8>> {
        match self {
            Encoding::Base64 => STANDARD.decode(text).ok(),
            Encoding::Hex => {
                let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                let pairs = text.as_bytes().chunks(2);
                pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect()
            }
        }
    }
}

/// A URL with those characters decoded that HubSpot decodes before it signs, and no
/// others (<https://developers.hubspot.com/docs/apps/developer-platform/build-apps/authentication/request-validation>).
fn decoded(url: &str) -> String {
    const DECODED: [(&str, char); 12] = [
        ("3A", ':'),
        ("2F", '/'),
        ("3F", '?'),
        ("40", '@'),
        ("21", '!'),
        ("24", '$'),
        ("27", '\''),
        ("28", '('),
        ("29", ')'),
        ("2A", '*'),
        ("2C", ','),
        ("3B", ';'),
    ];
    let mut pieces = url.split('%');
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let known = DECODED.iter().find(|(code, _)| piece.get(..2).is_some_and(|two| two.eq_ignore_ascii_case(code)));
        match known {
            Some((_, character)) => {
                out.push(*character);
                out.push_str(&piece[2..]);
            }
            None => {
                out.push('%');
                out.push_str(piece);
            }
        }
    }
    out
}
