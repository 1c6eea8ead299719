//! Why the API says no: one enum, turned into status, code and message in one place.

use serde_json::json;

use super::settings::Check;

/// How much of a foreign text a message shows.
const MAX_SHOWN_CHARS: usize = 200;

/// A request, or one input of a batch, that is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    BadRequest { reason: String },
    BadParameter { name: String, reason: String },
    Unauthorised,
    NotLoopback,
    UnknownRoute { path: String },
    UnknownObject { object: String },
    NotFound { object: String, id: String },
    MethodNotAllowed { allowed: &'static str },
    KeyReused,
    EtagMismatch { id: u64, current: String },
    TooLarge { limit: usize },
    InvalidProperty { property: String, reason: String },
    RateLimited { retry_at_ms: i64 },
    TooManyAtOnce,
}

impl Refusal {
    pub(super) fn bad_request(reason: impl Into<String>) -> Self {
        Self::BadRequest { reason: reason.into() }
    }

    pub(super) fn bad_parameter(name: &str, reason: impl Into<String>) -> Self {
        Self::BadParameter { name: name.to_owned(), reason: reason.into() }
    }

    pub(super) fn invalid_property(property: &str, check: &Check) -> Self {
        let reason = match check {
            Check::Text => "must be a text".to_owned(),
            Check::Number => "must be a number".to_owned(),
            Check::Boolean => "must be true or false".to_owned(),
            Check::List => "must be a list".to_owned(),
            Check::Email => "must be an e-mail address".to_owned(),
            Check::OneOf(texts) => format!("must be one of {}", texts.join(", ")),
            Check::MaxLength(length) => format!("must be a text of at most {length} characters"),
        };
        Self::InvalidProperty { property: property.to_owned(), reason }
    }

    pub(super) fn status(&self) -> u16 {
        match self {
            Self::BadRequest { .. } | Self::BadParameter { .. } => 400,
            Self::Unauthorised => 401,
            Self::NotLoopback => 403,
            Self::UnknownRoute { .. } | Self::UnknownObject { .. } | Self::NotFound { .. } => 404,
            Self::MethodNotAllowed { .. } => 405,
            Self::KeyReused => 409,
            Self::EtagMismatch { .. } => 412,
            Self::TooLarge { .. } => 413,
            Self::InvalidProperty { .. } => 422,
            Self::RateLimited { .. } | Self::TooManyAtOnce => 429,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::BadRequest { .. } => "bad_request",
            Self::BadParameter { .. } => "invalid_parameter",
            Self::Unauthorised => "unauthorized",
            Self::NotLoopback => "forbidden",
            Self::UnknownRoute { .. } => "unknown_route",
            Self::UnknownObject { .. } => "unknown_object",
            Self::NotFound { .. } => "not_found",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::KeyReused => "idempotency_key_reused",
            Self::EtagMismatch { .. } => "precondition_failed",
            Self::TooLarge { .. } => "too_large",
            Self::InvalidProperty { .. } => "invalid_property",
            Self::RateLimited { .. } => "rate_limited",
            Self::TooManyAtOnce => "too_many_at_once",
        }
    }

    pub(super) fn message(&self) -> String {
        match self {
            Self::BadRequest { reason } => shown(reason),
            Self::BadParameter { name, reason } => format!("parameter '{}' {}", shown(name), shown(reason)),
            Self::Unauthorised => "send 'Authorization: Bearer <token>' with the token of an account".to_owned(),
            Self::NotLoopback => "only this machine may ask for this".to_owned(),
            Self::UnknownRoute { path } => format!("there is nothing at '{}'", shown(path)),
            Self::UnknownObject { object } => format!("there is no object '{}'", shown(object)),
            Self::NotFound { object, id } => format!("{object} has no record '{}'", shown(id)),
            Self::MethodNotAllowed { allowed } => format!("only {allowed} can be used here"),
            Self::KeyReused => "this idempotency key was used with another request".to_owned(),
            Self::EtagMismatch { id, current } => format!("record '{id}' is at version {current} by now"),
            Self::TooLarge { limit } => format!("a request may have {limit} bytes at most"),
            Self::InvalidProperty { property, reason } => {
                format!("property '{}' {}", shown(property), shown(reason))
            }
            Self::RateLimited { .. } => "too many requests; wait as Retry-After says".to_owned(),
            Self::TooManyAtOnce => "too many requests at a time".to_owned(),
        }
    }

    /// The value of the key `error` in an answer.
    pub(super) fn error_json(&self) -> serde_json::Value {
        let (code, message) = (self.code(), self.message());
        match self {
            Self::InvalidProperty { property, .. } => {
                json!({ "code": code, "message": message, "property": shown(property) })
            }
            Self::BadRequest { .. }
            | Self::BadParameter { .. }
            | Self::Unauthorised
            | Self::NotLoopback
            | Self::UnknownRoute { .. }
            | Self::UnknownObject { .. }
            | Self::NotFound { .. }
            | Self::MethodNotAllowed { .. }
            | Self::KeyReused
            | Self::EtagMismatch { .. }
            | Self::TooLarge { .. }
            | Self::RateLimited { .. }
            | Self::TooManyAtOnce => json!({ "code": code, "message": message }),
        }
    }
}

/// Foreign text for a message: clipped, control characters escaped.
fn shown(text: &str) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().take(MAX_SHOWN_CHARS).map(escaped).collect()
}
