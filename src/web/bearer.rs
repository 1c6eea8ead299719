//! A bearer token that requests must bring.

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap};

use crate::web::ApiError;

/// The hash of a token, or none where nobody is asked.
#[derive(Clone)]
pub(super) struct Bearer(Option<blake3::Hash>);

impl Bearer {
    /// Asks nobody.
    pub fn nobody() -> Self {
        Self(None)
    }

    /// Asks for this token.
    pub fn of(token: &str) -> Self {
        Self(Some(blake3::hash(token.as_bytes())))
    }

    /// Refuses a request that does not bring it.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let Some(token) = &self.0 else { return Ok(()) };
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let given = match given.split_once(' ') {
            Some((scheme, given)) if scheme.eq_ignore_ascii_case("bearer") => given.trim(),
            Some(_) | None => "",
        };
        // Comparing two hashes of this type takes the same time wherever they differ.
        if blake3::hash(given.as_bytes()) == *token {
            return Ok(());
        }
        let message = "send the token as 'Authorization: Bearer …'";
        Err(ApiError::new(StatusCode::UNAUTHORIZED, "unauthorised", message))
    }
}

impl std::fmt::Debug for Bearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Bearer(asked)" } else { "Bearer(nobody)" })
    }
}
