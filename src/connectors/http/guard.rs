//! Which addresses a connection may call. A connector file and a base URL come from
//! people whom the operator need not trust, so by default nothing inside the
//! operator's own network can be reached through them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// Says what a base or next URL breaks, if anything: another scheme than `https`
/// (or `http` for private connections), a password, a private literal address.
pub(super) fn url_problem(url: &Url, allow_private: bool) -> Option<String> {
    if !matches!(url.scheme(), "http" | "https") {
        return Some(format!("the scheme '{}' is not http or https", url.scheme()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Some("a user or password must not stand in the URL".to_owned());
    }
    if allow_private {
        return None;
    }
    if url.scheme() == "http" {
        return Some("http without TLS is only allowed with allow_private = true".to_owned());
    }
    host_problem(url.host()?)
}

/// Whether a host is private by its spelling alone; a name is checked again when it
/// is resolved.
fn host_problem(host: Host<&str>) -> Option<String> {
    let reason = match host {
        Host::Ipv4(ip) => forbidden(IpAddr::V4(ip)),
        Host::Ipv6(ip) => forbidden(IpAddr::V6(ip)),
        Host::Domain(name) => {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            (name == "localhost" || name.ends_with(".localhost")).then_some("loopback")
        }
    }?;
    Some(format!("'{host}' is a {reason} address; set allow_private = true if this is meant"))
}

/// Why an address is not a public one, `None` for a public address.
pub(super) fn forbidden(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(ip) => forbidden_v4(ip),
        IpAddr::V6(ip) => forbidden_v6(ip),
    }
}

fn forbidden_v4(ip: Ipv4Addr) -> Option<&'static str> {
    let [a, b, c, _] = ip.octets();
    match (a, b, c) {
        (0, ..) => Some("unspecified"),
        (127, ..) => Some("loopback"),
        (10, ..) | (192, 168, _) => Some("private"),
        (172, 16..=31, _) => Some("private"),
        (169, 254, _) => Some("link-local"),
        (100, 64..=127, _) => Some("carrier-grade NAT"),
        (192, 0, 0 | 2) | (192, 88, 99) | (198, 51, 100) | (203, 0, 113) => Some("reserved"),
        (198, 18 | 19, _) => Some("benchmarking"),
        (224..=239, ..) => Some("multicast"),
        (240..=255, ..) => Some("reserved"),
        _ => None,
    }
}

fn forbidden_v6(ip: Ipv6Addr) -> Option<&'static str> {
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("unspecified"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("loopback"),
        [0, 0, 0, 0, 0, 0xffff, ..] => Some("IPv4-mapped"),
        [0, 0, 0, 0, 0, 0, ..] => Some("IPv4-compatible"),
        [0x64, 0xff9b, ..] => Some("NAT64"),
        [0x100, 0, 0, 0, ..] => Some("discard"),
        [0x2001, 0, ..] => Some("Teredo"),
        [0x2001, 0xdb8, ..] => Some("documentation"),
        [0x2002, ..] => Some("6to4"),
        [0xfc00..=0xfdff, ..] => Some("unique local"),
        [0xfe80..=0xfeff, ..] => Some("link-local"),
        [0xff00..=0xffff, ..] => Some("multicast"),
        _ => None,
    }
}

/// Resolves a name on this machine; blocking.
type Lookup = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// A resolver whose answer is checked before it is used: the address that was checked
/// is the address that is connected to, so a name cannot change its mind in between.
#[derive(Clone)]
pub(super) struct GuardedResolver {
    allow_private: bool,
    lookup: Arc<Lookup>,
}

/// A name led to an address that must not be called.
#[derive(Debug, thiserror::Error)]
#[error("'{name}' resolves to {ip}, a {reason} address; set allow_private = true if this is meant")]
pub(super) struct ForbiddenAddress {
    name: String,
    ip: IpAddr,
    reason: &'static str,
}

impl GuardedResolver {
    /// Resolves through the operating system.
    pub fn new(allow_private: bool) -> Self {
        Self::with_lookup(allow_private, |name| Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect()))
    }

    /// Resolves through a given function.
    pub fn with_lookup(
        allow_private: bool,
        lookup: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static,
    ) -> Self {
        Self { allow_private, lookup: Arc::new(lookup) }
    }

    fn check(&self, name: &str, ips: &[IpAddr]) -> Result<(), ForbiddenAddress> {
        if self.allow_private {
            return Ok(());
        }
        // One private address among public ones is refused as a whole: which one gets
        // connected to is not ours to choose.
        match ips.iter().find_map(|ip| forbidden(*ip).map(|reason| (*ip, reason))) {
            Some((ip, reason)) => Err(ForbiddenAddress { name: name.to_owned(), ip, reason }),
            None => Ok(()),
        }
    }
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            let name = name.as_str().to_owned();
            let lookup = Arc::clone(&resolver.lookup);
            let looked_up = name.clone();
            let ips = tokio::task::spawn_blocking(move || lookup(&looked_up)).await??;
            resolver.check(&name, &ips)?;
            Ok(Box::new(ips.into_iter().map(|ip| SocketAddr::new(ip, 0))) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn private_base_urls_are_refused_whatever_their_spelling() {
        for (url, refused) in [
            ("https://api.example.com/v1", false),
            ("https://93.184.216.34/", false),
            ("https://[2606:2800:220:1::1]/", false),
            ("http://api.example.com/v1", true),
            ("https://169.254.169.254/latest/meta-data", true),
            ("https://[::ffff:a9fe:a9fe]/", true),
            ("https://0x7f.1/", true),
            ("https://2130706433/", true),
            ("https://0177.0.0.1/", true),
            ("https://localhost./", true),
            ("https://LOCALHOST/", true),
            ("https://a.localhost/", true),
            ("https://10.0.0.1/", true),
            ("https://172.31.0.1/", true),
            ("https://172.32.0.1/", false),
            ("https://192.168.1.1/", true),
            ("https://100.64.0.1/", true),
            ("https://0.0.0.0/", true),
            ("https://224.0.0.1/", true),
            ("https://255.255.255.255/", true),
            ("https://[::1]/", true),
            ("https://[::]/", true),
            ("https://[fd00::1]/", true),
            ("https://[fe80::1]/", true),
            ("https://[ff02::1]/", true),
            ("https://[64:ff9b::7f00:1]/", true),
            ("https://[64:ff9b:1::7f00:1]/", true),
            ("https://[2002:7f00:1::]/", true),
            ("https://[::127.0.0.1]/", true),
            ("file:///etc/passwd", true),
            ("gopher://example.com/", true),
            ("https://user:pass@example.com/", true),
        ] {
            let parsed = Url::parse(url).unwrap();
            assert_eq!(url_problem(&parsed, false).is_some(), refused, "{url}: {:?}", url_problem(&parsed, false));
        }
    }

    #[test]
    fn allow_private_lifts_the_address_check_and_nothing_else() {
        for (url, refused) in [
            ("http://127.0.0.1:8080/v1", false),
            ("https://[::1]/", false),
            ("file:///etc/passwd", true),
            ("http://user@127.0.0.1/", true),
        ] {
            assert_eq!(url_problem(&Url::parse(url).unwrap(), true).is_some(), refused, "{url}");
        }
    }

    #[actix_web::test]
    async fn a_name_that_changes_its_mind_is_caught_at_the_second_look() {
        let looks = AtomicUsize::new(0);
        let resolver = GuardedResolver::with_lookup(false, move |_| {
            Ok(match looks.fetch_add(1, Ordering::SeqCst) {
                0 => vec!["93.184.216.34".parse().unwrap()],
                _ => vec!["93.184.216.34".parse().unwrap(), "127.0.0.1".parse().unwrap()],
            })
        });
        let name = || "rebind.example".parse::<Name>().unwrap();
        assert_eq!(resolver.resolve(name()).await.ok().unwrap().count(), 1);
        let error = resolver.resolve(name()).await.err().unwrap();
        assert!(error.to_string().contains("127.0.0.1, a loopback address"), "{error}");
    }
}
