//! What a connection adds to a connector file: where the app is, and the credentials.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::guard::url_problem;
use super::jwt::key_problem;
use super::net::ClientKey;
use super::session::Login;
use super::spec::AuthKind;
use super::text::clip;
use super::transport::HttpRequest;

/// The credentials of a connection. Where they go is declared by the connector file.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Credentials {
    /// None.
    #[default]
    None,
    /// A key or token, sent where the connector file says; as a bearer token where it
    /// says nothing.
    Token(SecretString),
    /// User and password for HTTP basic authentication.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: SecretString,
    },
    /// Id and secret of an OAuth 2.0 client, with which tokens are fetched.
    Client {
        /// The id.
        id: String,
        /// The secret.
        secret: SecretString,
        /// Where tokens are fetched, in place of the connector file's address.
        url: Option<String>,
    },
    /// A private key that signs assertions, with which tokens are fetched (RFC 7523).
    Jwt {
        /// Who asks: the id of a client, or the address of a service account (`iss`).
        issuer: String,
        /// For which user (`sub`).
        subject: Option<String>,
        /// The key, in PEM.
        key: SecretString,
        /// Which of the client's keys it is (`kid`).
        key_id: Option<String>,
        /// Where tokens are fetched, in place of the connector file's address.
        url: Option<String>,
    },
}

/// When a request is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Timeouts {
    /// For the connection, TLS included.
    pub connect: Duration,
    /// For the whole request, until the last byte of the answer.
    pub total: Duration,
    /// Between two pieces of the answer.
    pub read: Duration,
}

impl Default for Timeouts {
    /// 10 s to connect, 30 s in all, 30 s between two pieces.
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), total: Duration::from_secs(30), read: Duration::from_secs(30) }
    }
}

/// One connection's settings for the HTTP connector.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HttpSettings {
    /// Where the app's API begins: `https://api.example.com/v1`. Endpoints of the
    /// connector file are appended to it.
    pub base_url: String,
    /// The credentials.
    pub credentials: Credentials,
    /// Private addresses and plain http may be called: self-hosted apps, tests.
    pub allow_private: bool,
    /// Certificate authorities in PEM that are trusted for this connection *instead of*
    /// the machine's.
    pub pinned_ca: Option<String>,
    /// When a request is given up.
    pub timeouts: Timeouts,
}

/// One thing wrong with a connection's settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {message}")]
pub struct SettingsProblem {
    /// The field of [`HttpSettings`] it is about.
    pub setting: &'static str,
    /// What is wrong and what to do about it.
    pub message: String,
}

impl HttpSettings {
    /// Settings with the default timeouts, for public addresses, without credentials.
    pub fn new(base_url: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            credentials: Credentials::None,
            allow_private: false,
            pinned_ca: None,
            timeouts: Timeouts::default(),
        }
    }

    /// The base URL, checked.
    pub(super) fn base(&self) -> Result<Url, SettingsProblem> {
        let problem = |message: String| SettingsProblem { setting: "base_url", message };
        let url = Url::parse(&self.base_url)
            .map_err(|error| problem(format!("'{}' is not a URL: {error}", clip(&self.base_url))))?;
        if let Some(reason) = url_problem(&url, self.allow_private) {
            return Err(problem(reason));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(problem("a base URL has no '?' and no '#'".to_owned()));
        }
        Ok(url)
    }

    /// Which client serves these settings.
    pub(super) fn client_key(&self) -> ClientKey {
        ClientKey {
            allow_private: self.allow_private,
            pinned_ca: self.pinned_ca.clone(),
            tls: !self.base_url.trim_start().get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http:")),
            timeouts: self.timeouts,
        }
    }
}

/// Credentials that fit what the connector file declares.
#[derive(Debug, Clone)]
pub(super) enum Auth {
    None,
    Header { name: String, value: SecretString },
    Query { name: String, value: SecretString },
}

impl Auth {
    /// Brings declaration and credentials together.
    pub fn new(kind: Option<&AuthKind>, credentials: &Credentials) -> Result<Self, SettingsProblem> {
        let problem = |message: &str| Err(SettingsProblem { setting: "auth", message: message.to_owned() });
        let auth = match (kind, credentials) {
            (None | Some(AuthKind::None), Credentials::None) => Auth::None,
            (
                Some(AuthKind::None),
                Credentials::Token(_)
                | Credentials::Basic { .. }
                | Credentials::Client { .. }
                | Credentials::Jwt { .. },
            ) => {
                return problem("the connector file declares auth kind 'none', so no credentials may be given");
            }
            (None | Some(AuthKind::Bearer), Credentials::Token(token)) => Auth::Header {
                name: "authorization".to_owned(),
                value: format!("Bearer {}", token.expose_secret()).into(),
            },
            (None | Some(AuthKind::Basic), Credentials::Basic { user, password }) => {
                if user.contains(':') {
                    return problem("a user of basic authentication cannot hold a colon");
                }
                let pair = format!("{user}:{}", password.expose_secret());
                let value = format!("Basic {}", STANDARD.encode(pair)).into();
                Auth::Header { name: "authorization".to_owned(), value }
            }
            (Some(AuthKind::Header { name, prefix }), Credentials::Token(key)) => {
                let value = format!("{prefix}{}", key.expose_secret()).into();
                Auth::Header { name: name.clone(), value }
            }
            (Some(AuthKind::Query { name }), Credentials::Token(key)) => {
                Auth::Query { name: name.clone(), value: key.clone() }
            }
            // Each request is sent with a token that is fetched by these.
            (Some(AuthKind::Fetched(spec)), credentials) => match (&spec.login, credentials) {
                (Login::Client { .. }, Credentials::Client { .. })
                | (Login::Password { .. }, Credentials::Basic { .. }) => Auth::None,
                (Login::Assertion { algorithm, .. }, Credentials::Jwt { key, .. }) => {
                    if let Some(reason) = key_problem(*algorithm, key.expose_secret()) {
                        return problem(&format!("the key: {reason}"));
                    }
                    Auth::None
                }
                (
                    Login::Client { .. },
                    Credentials::None | Credentials::Token(_) | Credentials::Basic { .. } | Credentials::Jwt { .. },
                ) => {
                    return problem("the connector file fetches tokens: give id and secret of a client");
                }
                (
                    Login::Assertion { .. },
                    Credentials::None | Credentials::Token(_) | Credentials::Basic { .. } | Credentials::Client { .. },
                ) => {
                    return problem("the connector file fetches tokens by an assertion: give issuer and private key");
                }
                (
                    Login::Password { .. },
                    Credentials::None | Credentials::Token(_) | Credentials::Client { .. } | Credentials::Jwt { .. },
                ) => {
                    return problem("the connector file logs in: give user and password");
                }
            },
            (None, Credentials::Client { .. } | Credentials::Jwt { .. }) => {
                return problem("the connector file does not say where tokens are fetched");
            }
            (
                Some(AuthKind::Basic),
                Credentials::None | Credentials::Token(_) | Credentials::Client { .. } | Credentials::Jwt { .. },
            ) => {
                return problem("the connector file wants basic authentication: give user and password");
            }
            (
                Some(AuthKind::Bearer | AuthKind::Header { .. } | AuthKind::Query { .. }),
                Credentials::None | Credentials::Basic { .. } | Credentials::Client { .. } | Credentials::Jwt { .. },
            ) => {
                return problem("the connector file wants a key or token: give one");
            }
        };
        match &auth {
            Auth::Header { value, .. } if value.expose_secret().chars().any(|c| c.is_control()) => {
                problem("the credentials hold a line break or another control character")
            }
            Auth::None | Auth::Header { .. } | Auth::Query { .. } => Ok(auth),
        }
    }

    /// Adds the credentials to a request.
    pub fn apply(&self, request: &mut HttpRequest) {
        match self {
            Auth::None => {}
            Auth::Header { name, value } => request.secret_headers.push((name.clone(), value.clone())),
            Auth::Query { name, value } => request.secret_query.push((name.clone(), value.clone())),
        }
    }

    /// The query parameter that holds a secret, to be kept out of next links.
    pub fn secret_query_name(&self) -> Option<&str> {
        match self {
            Auth::Query { name, .. } => Some(name),
            Auth::None | Auth::Header { .. } => None,
        }
    }
}

impl Credentials {
    /// Takes the credentials out of a foreign text that repeats them.
    pub(super) fn redact(&self, text: &str) -> String {
        let secret = match self {
            Credentials::None => return text.to_owned(),
            Credentials::Token(secret)
            | Credentials::Basic { password: secret, .. }
            | Credentials::Client { secret, .. }
            | Credentials::Jwt { key: secret, .. } => secret.expose_secret(),
        };
        // One of a few letters could be part of any word.
        if secret.len() < 6 { text.to_owned() } else { text.replace(secret, "***") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls_that_cannot_be_meant_are_refused() {
        for (base_url, allow_private, ok) in [
            ("https://api.example.com/v1", false, true),
            ("https://api.example.com/v1?x=1", false, false),
            ("https://api.example.com/v1#x", false, false),
            ("https://169.254.169.254/", false, false),
            ("http://127.0.0.1:8888/v1", true, true),
            ("api.example.com", false, false),
            ("", false, false),
        ] {
            let settings = HttpSettings { allow_private, ..HttpSettings::new(base_url) };
            assert_eq!(settings.base().is_ok(), ok, "{base_url}");
        }
    }

    #[test]
    fn credentials_go_where_the_file_says_or_are_refused() {
        let token = || Credentials::Token("s3cret-token".into());
        let basic = || Credentials::Basic { user: "u".into(), password: "p".into() };
        let header = AuthKind::Header { name: "X-Key".into(), prefix: "Token ".into() };
        let query = AuthKind::Query { name: "api_key".into() };
        for (kind, credentials, want) in [
            (None, Credentials::None, Some("")),
            (None, token(), Some("authorization: Bearer s3cret-token")),
            (None, basic(), Some("authorization: Basic dTpw")),
            (Some(AuthKind::Bearer), token(), Some("authorization: Bearer s3cret-token")),
            (Some(header.clone()), token(), Some("X-Key: Token s3cret-token")),
            (Some(query.clone()), token(), Some("?api_key=s3cret-token")),
            (Some(AuthKind::None), token(), None),
            (Some(AuthKind::Bearer), Credentials::None, None),
            (Some(AuthKind::Bearer), basic(), None),
            (Some(AuthKind::Basic), token(), None),
            (Some(header), Credentials::None, None),
            (Some(AuthKind::Bearer), Credentials::Token("a\r\nX: y".into()), None),
        ] {
            let auth = Auth::new(kind.as_ref(), &credentials).ok().map(|auth| match auth {
                Auth::None => String::new(),
                Auth::Header { name, value } => format!("{name}: {}", value.expose_secret()),
                Auth::Query { name, value } => format!("?{name}={}", value.expose_secret()),
            });
            assert_eq!(auth.as_deref(), want, "{kind:?}");
        }
    }

    #[test]
    fn secrets_are_neither_printed_nor_repeated() {
        let mut settings = HttpSettings::new("https://api.example.com");
        settings.credentials = Credentials::Token("s3cret-token".into());
        assert!(!format!("{settings:?}").contains("s3cret"));
        assert_eq!(settings.credentials.redact("invalid token s3cret-token!"), "invalid token ***!");
    }
}
