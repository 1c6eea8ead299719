//! The seam between the connector and the network: plain requests and answers.

use async_trait::async_trait;
use secrecy::SecretString;

/// The longest answer accepted, in bytes after decompression.
pub const MAX_RESPONSE_BYTES: usize = 32 * 1024 * 1024;

/// A request method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `GET`
    Get,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `PATCH`
    Patch,
    /// `DELETE`
    Delete,
    /// `PROPFIND`, of WebDAV (RFC 4918)
    Propfind,
    /// `REPORT`, of WebDAV (RFC 3253)
    Report,
}

impl Method {
    /// The methods that are keys of a connector file.
    pub(super) const ALL: [(&'static str, Method); 5] = [
        ("get", Method::Get),
        ("post", Method::Post),
        ("put", Method::Put),
        ("patch", Method::Patch),
        ("delete", Method::Delete),
    ];

    /// As it stands in a request.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Patch => "PATCH",
            Method::Delete => "DELETE",
            Method::Propfind => "PROPFIND",
            Method::Report => "REPORT",
        }
    }
}

/// One request. Secrets stand apart, so that printing a request shows none.
#[derive(Debug, Clone)]
pub struct HttpRequest {
    /// Its method.
    pub method: Method,
    /// Absolute URL, encoded, without secrets.
    pub url: String,
    /// Headers without secrets.
    pub headers: Vec<(String, String)>,
    /// Headers that carry the credentials.
    pub secret_headers: Vec<(String, SecretString)>,
    /// Query parameters that carry the credentials, to be added to the URL.
    pub secret_query: Vec<(String, SecretString)>,
    /// The body, JSON text.
    pub body: Option<String>,
    /// A body that carries credentials, in place of the other.
    pub secret_body: Option<SecretString>,
    /// Only a part of the answer's body is wanted.
    pub part: Option<Part>,
}

/// A part of an answer's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The first byte that is wanted.
    pub from: u64,
    /// How many bytes at most.
    pub most: u64,
}

impl HttpRequest {
    /// The value of a header that is no secret, by its name in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        find_header(&self.headers, name)
    }
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpResponse {
    /// Its status.
    pub status: u16,
    /// Its headers, names in any case.
    pub headers: Vec<(String, String)>,
    /// Its whole body, decompressed, at most [`MAX_RESPONSE_BYTES`].
    pub body: Vec<u8>,
}

impl HttpResponse {
    /// An answer without headers.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The first value of a header, by its name in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        find_header(&self.headers, name)
    }
}

/// The first value of a header, by its name in any case.
pub(super) fn find_header<'h>(headers: &'h [(String, String)], name: &str) -> Option<&'h str> {
    headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// Why there is no answer. The difference decides whether a write may be repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The request certainly did not reach the side (no connection, name not found,
    /// TLS refused); it may be repeated.
    #[error("{0}")]
    NotSent(String),
    /// The request must not be made at all (a private address, a bad URL); a person
    /// must mend something.
    #[error("{0}")]
    Refused(String),
    /// Nobody knows whether the side took the request (timeout, broken connection, an
    /// answer that is too long).
    #[error("{0}")]
    Unknown(String),
}

/// Carries requests. Must neither retry nor follow redirects.
#[async_trait(?Send)]
pub trait Transport {
    /// Sends one request and reads the whole answer. Where a part of it is wanted, a `Range`
    /// header asks for that, and where the side sends all of it all the same, the part is taken
    /// out and `Content-Range` says so, or the whole is given with its status.
    ///
    /// # Errors
    /// When there is no whole answer; an error status is an answer.
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError>;
}
