//! The transport over the network: one client per arbiter and kind of settings.

use std::cell::RefCell;
use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Certificate, Client, redirect};
use secrecy::ExposeSecret;
use url::Url;

use super::guard::{ForbiddenAddress, GuardedResolver, url_problem};
use super::settings::Timeouts;
use super::text::clip;
use super::transport::{HttpRequest, HttpResponse, MAX_RESPONSE_BYTES, Method, Part, Transport, TransportError};

/// What makes one client different from another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ClientKey {
    /// Private addresses may be called.
    pub allow_private: bool,
    /// Roots trusted instead of the machine's, as PEM.
    pub pinned_ca: Option<String>,
    /// The connection uses TLS; without it no certificates of the machine are needed.
    pub tls: bool,
    /// When to give up.
    pub timeouts: Timeouts,
}

thread_local! {
    // A pooled connection is driven by the arbiter that opened it, so a client shared
    // over arbiters stalls when one of them is busy; a client per connection would
    // cost about 110 KB each.
    static CLIENTS: RefCell<HashMap<ClientKey, Client>> = RefCell::default();
}

/// Sends requests with this thread's client.
#[derive(Debug)]
pub(super) struct NetTransport {
    client: Client,
    allow_private: bool,
}

impl NetTransport {
    /// Takes this thread's client of that kind, making it if it is the first.
    ///
    /// # Errors
    /// When the pinned certificate cannot be read, or the machine has no certificates.
    pub fn on_this_thread(key: &ClientKey) -> Result<Self, String> {
        let known = CLIENTS.with_borrow(|clients| clients.get(key).cloned());
        let client = match known {
            Some(client) => client,
            None => {
                let client = build(key, GuardedResolver::new(key.allow_private))?;
                CLIENTS.with_borrow_mut(|clients| clients.insert(key.clone(), client.clone()));
                client
            }
        };
        Ok(Self { client, allow_private: key.allow_private })
    }

    /// A transport with its own client and resolver.
    #[cfg(test)]
    pub fn with_resolver(key: &ClientKey, resolver: GuardedResolver) -> Result<Self, String> {
        Ok(Self { client: build(key, resolver)?, allow_private: key.allow_private })
    }

    #[cfg(test)]
    pub fn clients_on_this_thread() -> usize {
        CLIENTS.with_borrow(HashMap::len)
    }
}

fn build(key: &ClientKey, resolver: GuardedResolver) -> Result<Client, String> {
    install_crypto();
    let mut builder = Client::builder()
        .user_agent(concat!("syncline/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .referer(false)
        .retry(reqwest::retry::never())
        .no_proxy()
        .gzip(true)
        .https_only(!key.allow_private)
        .connect_timeout(key.timeouts.connect)
        .timeout(key.timeouts.total)
        .read_timeout(key.timeouts.read)
        .pool_max_idle_per_host(16)
        // Shorter than the usual 5 s after which servers hang up: a create sent into a
        // connection that is just being closed has an unknown outcome.
        .pool_idle_timeout(Duration::from_secs(4))
        .dns_resolver(resolver);
    if let Some(pem) = &key.pinned_ca {
        let roots = Certificate::from_pem_bundle(pem.as_bytes())
            .map_err(|error| format!("the pinned certificate cannot be read: {}", chain(&error)))?;
        if roots.is_empty() {
            return Err("the pinned certificate cannot be read: there is none in the text".to_owned());
        }
        builder = builder.tls_certs_only(roots);
    } else if !key.tls {
        // Loading the machine's certificates costs time, and fails where there are none.
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(|error| format!("failed to make the HTTP client: {}", chain(&error)))
}

/// Installs the crypto provider unless the host program has its own.
fn install_crypto() {
    #[cfg(feature = "tls-ring")]
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Another thread may have been quicker; then its provider serves as well.
        drop(rustls::crypto::ring::default_provider().install_default());
    }
}

#[async_trait(?Send)]
impl Transport for NetTransport {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let part = request.part;
        let request = self.prepare(request)?;
        let mut response = self.client.execute(request).await.map_err(transport_error)?;
        let status = response.status().as_u16();
        let headers: Vec<(String, String)> = response
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        if let (Some(part), 200) = (part, status) {
            return take_part(part, response, headers).await;
        }
        let mut body = Vec::new();
        // Chunk by chunk, so that a compression bomb stops at the cap.
        while let Some(chunk) = response.chunk().await.map_err(read_error)? {
            if body.len() + chunk.len() > MAX_RESPONSE_BYTES {
                let mib = MAX_RESPONSE_BYTES / (1024 * 1024);
                return Err(TransportError::Unknown(format!("the answer is longer than {mib} MiB")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(HttpResponse { status, headers, body })
    }
}

/// Takes a part out of an answer that holds the whole, never holding more than the part.
async fn take_part(
    part: Part,
    mut response: reqwest::Response,
    mut headers: Vec<(String, String)>,
) -> Result<HttpResponse, TransportError> {
    let (mut body, mut at, mut more) = (Vec::new(), 0_u64, false);
    while let Some(chunk) = response.chunk().await.map_err(read_error)? {
        let skipped = part.from.saturating_sub(at).min(chunk.len() as u64);
        at += chunk.len() as u64;
        let rest = &chunk[usize::try_from(skipped).unwrap_or(chunk.len())..];
        let room = usize::try_from(part.most).unwrap_or(usize::MAX).min(MAX_RESPONSE_BYTES) - body.len();
        body.extend_from_slice(&rest[..rest.len().min(room)]);
        if rest.len() > room {
            more = true;
            break;
        }
    }
    let total = if more { "*".to_owned() } else { at.to_string() };
    if !more && part.from > at {
        return Ok(HttpResponse { status: 416, headers, body: Vec::new() });
    }
    let last = (part.from + body.len() as u64).saturating_sub(1);
    headers.retain(|(name, _)| !name.eq_ignore_ascii_case("content-range"));
    headers.push(("Content-Range".to_owned(), format!("bytes {}-{last}/{total}", part.from)));
    Ok(HttpResponse { status: 206, headers, body })
}

impl NetTransport {
    fn prepare(&self, request: HttpRequest) -> Result<reqwest::Request, TransportError> {
        let refused = |reason: String| TransportError::Refused(reason);
        let mut url = Url::parse(&request.url).map_err(|error| refused(format!("not a URL: {error}")))?;
        if let Some(problem) = url_problem(&url, self.allow_private) {
            return Err(refused(problem));
        }
        for (name, value) in &request.secret_query {
            url.query_pairs_mut().append_pair(name, value.expose_secret());
        }
        let mut built = reqwest::Request::new(method(request.method), url);
        for (name, value) in &request.headers {
            let (name, value) = header(name, value).map_err(refused)?;
            built.headers_mut().insert(name, value);
        }
        for (name, value) in &request.secret_headers {
            let (name, mut value) = header(name, value.expose_secret()).map_err(refused)?;
            value.set_sensitive(true);
            built.headers_mut().insert(name, value);
        }
        if let Some(Part { from, most }) = request.part {
            let (name, value) =
                header("Range", &format!("bytes={from}-{}", from.saturating_add(most.max(1) - 1))).map_err(refused)?;
            built.headers_mut().insert(name, value);
        }
        let secret = request.secret_body.map(|body| body.expose_secret().to_owned());
        *built.body_mut() = secret.or(request.body).map(Into::into);
        Ok(built)
    }
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let problem = || format!("the header '{}' holds what no header may hold", clip(name));
    Ok((name.parse().map_err(|_| problem())?, value.parse().map_err(|_| problem())?))
}

fn method(method: Method) -> reqwest::Method {
    match method {
        Method::Get => reqwest::Method::GET,
        Method::Post => reqwest::Method::POST,
        Method::Put => reqwest::Method::PUT,
        Method::Patch => reqwest::Method::PATCH,
        Method::Delete => reqwest::Method::DELETE,
        Method::Propfind | Method::Report => {
            reqwest::Method::from_bytes(method.as_str().as_bytes()).expect("letters are a method")
        }
    }
}

fn transport_error(error: reqwest::Error) -> TransportError {
    // The URL may carry a secret query.
    let error = error.without_url();
    let message = chain(&error);
    if error.is_builder() || caused_by_guard(&error) {
        TransportError::Refused(message)
    } else if error.is_connect() {
        // Name lookup, TCP connect and TLS handshake: nothing of the request was sent.
        TransportError::NotSent(message)
    } else {
        TransportError::Unknown(message)
    }
}

fn read_error(error: reqwest::Error) -> TransportError {
    TransportError::Unknown(format!("the answer broke off: {}", chain(&error.without_url())))
}

fn caused_by_guard(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<ForbiddenAddress>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// An error with its causes in one line; a cause that only repeats is left out.
fn chain(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !message.contains(&text) {
            message.push_str(": ");
            message.push_str(&text);
        }
        cause = error.source();
    }
    clip(&message)
}
