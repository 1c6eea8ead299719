//! The real transport against servers on this machine.

use std::sync::Mutex;

use actix_web::http::header;
use actix_web::{App, HttpRequest as Asked, HttpResponse as Answered, HttpServer, middleware, web};

use super::*;
use crate::connectors::http::guard::GuardedResolver;
use crate::connectors::http::net::ClientKey;
use crate::connectors::{ConnectorFactory, ConnectorScope};

fn key() -> ClientKey {
    ClientKey { allow_private: true, pinned_ca: None, tls: false, timeouts: Timeouts::default() }
}

fn get(url: String) -> HttpRequest {
    HttpRequest {
        method: Method::Get,
        url,
        headers: Vec::new(),
        secret_headers: vec![("authorization".into(), "Bearer s3cret-token".into())],
        secret_query: vec![("api_key".into(), "s3cret key".into())],
        body: None,
        secret_body: None,
        part: None,
    }
}

type Log = web::Data<Mutex<Vec<String>>>;

/// A server that notes each path with query and credentials.
async fn serve() -> (String, Log) {
    let log: Log = web::Data::new(Mutex::new(Vec::new()));
    let shared = log.clone();
    let app = move || {
        let packed = web::scope("/packed")
            .wrap(middleware::Compress::default())
            .route("/bomb", web::get().to(bomb))
            .route("/fine", web::get().to(compressed));
        App::new().app_data(shared.clone()).service(packed).default_service(web::to(answer))
    };
    let server = HttpServer::new(app).workers(1).disable_signals().bind(("127.0.0.1", 0)).unwrap();
    let base = format!("http://{}", server.addrs()[0]);
    actix_web::rt::spawn(server.run());
    (base, log)
}

async fn answer(request: Asked, log: Log) -> Answered {
    let auth = request.headers().get("authorization").map_or("", |value| value.to_str().unwrap());
    log.lock().unwrap().push(format!("{} {auth}", request.uri()));
    match request.path() {
        // Knows no ranges, and is longer than any answer that is taken whole.
        "/whole" => Answered::Ok().body("012345678\n".repeat(4 * 1024 * 1024)),
        "/ranges" => {
            let range = request.headers().get(header::RANGE).unwrap().to_str().unwrap().to_owned();
            Answered::PartialContent().insert_header((header::CONTENT_RANGE, "bytes 20-29/40")).body(range)
        }
        "/redirect" => Answered::Found().insert_header((header::LOCATION, "/stolen")).finish(),
        _ => Answered::Ok().json(["fine"]),
    }
}

/// The length of a file that cannot be taken whole, in bytes.
const LONG: u64 = 40 * 1024 * 1024;

/// 40 MiB of blanks, which the middleware compresses for clients that ask for it.
async fn bomb() -> Answered {
    Answered::Ok().content_type("application/json").body(" ".repeat(40 * 1024 * 1024))
}

/// Notes whether the client asked for compression, by failing if it did not.
async fn compressed(request: Asked) -> Answered {
    let accepts = request.headers().get(header::ACCEPT_ENCODING).map_or("", |value| value.to_str().unwrap());
    assert!(accepts.contains("gzip"), "{accepts}");
    Answered::Ok().content_type("application/json").body(" ".repeat(10_000))
}

/// A server that reads one request, answers with this text and closes.
fn serve_raw(answer: &'static str) -> String {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let base = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        assert!(stream.read(&mut [0; 4_096]).unwrap() > 0);
        stream.write_all(answer.as_bytes()).unwrap();
    });
    base
}

#[actix_web::test]
async fn redirects_are_not_followed_and_bombs_stop_at_the_cap() {
    let (base, log) = serve().await;
    let transport = NetTransport::on_this_thread(&key()).unwrap();
    let fine = transport.send(get(format!("{base}/fine?a=1"))).await.unwrap();
    assert_eq!((fine.status, fine.body.as_slice()), (200, &b"[\"fine\"]"[..]));
    let redirect = transport.send(get(format!("{base}/redirect"))).await.unwrap();
    assert_eq!((redirect.status, redirect.header("Location")), (302, Some("/stolen")));
    let bomb = transport.send(get(format!("{base}/packed/bomb"))).await.unwrap_err();
    assert_eq!(bomb, TransportError::Unknown("the answer is longer than 32 MiB".into()));
    let packed = transport.send(get(format!("{base}/packed/fine"))).await.unwrap();
    assert_eq!(packed.body, " ".repeat(10_000).into_bytes(), "compressed answers arrive unpacked");
    let short = transport
        .send(get(serve_raw(
            "HTTP/1.1 200 OK
Content-Length: 1000

[{\"id\"",
        )))
        .await
        .unwrap_err();
    assert!(matches!(&short, TransportError::Unknown(reason) if reason.contains("broke off")), "{short:?}");
    for error in [bomb.to_string(), short.to_string()] {
        assert!(!error.contains("s3cret"), "{error}");
    }
    let credentials = "api_key=s3cret+key Bearer s3cret-token";
    let want: Vec<String> = ["/fine?a=1&", "/redirect?"].map(|path| format!("{path}{credentials}")).into();
    assert_eq!(*log.lock().unwrap(), want);
}

#[actix_web::test]
async fn what_was_not_sent_is_told_from_what_may_have_been() {
    let transport = NetTransport::on_this_thread(&key()).unwrap();
    // A port that was free a moment ago and is listened to by nobody.
    let port = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let refused = transport.send(get(format!("http://127.0.0.1:{port}/"))).await.unwrap_err();
    assert!(matches!(refused, TransportError::NotSent(_)), "{refused:?}");
    let closed = transport.send(get(serve_raw(""))).await.unwrap_err();
    assert!(matches!(closed, TransportError::Unknown(_)), "{closed:?}");
    for error in [refused, closed] {
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }
}

#[actix_web::test]
async fn private_places_are_refused_before_anything_is_sent() {
    let (base, log) = serve().await;
    let port = base.rsplit(':').next().unwrap().to_owned();
    let key = ClientKey { allow_private: false, pinned_ca: Some(CA.to_owned()), tls: true, ..key() };
    let to_loopback = |_: &str| Ok(vec!["127.0.0.1".parse().unwrap()]);
    let transport = NetTransport::with_resolver(&key, GuardedResolver::with_lookup(false, to_loopback)).unwrap();
    for url in [
        format!("https://rebind.example:{port}/"),
        format!("https://127.0.0.1:{port}/"),
        format!("https://localhost:{port}/"),
        format!("http://rebind.example:{port}/"),
        "https://169.254.169.254/latest/meta-data".to_owned(),
    ] {
        let error = transport.send(get(url.clone())).await.unwrap_err();
        assert!(matches!(&error, TransportError::Refused(_)), "{url}: {error:?}");
    }
    assert!(log.lock().unwrap().is_empty());
}

/// A TLS server for one connection; answers one request and tells whether one came.
#[cfg(feature = "tls-ring")]
fn serve_tls(certificate: &'static str) -> (String, std::thread::JoinHandle<std::io::Result<usize>>) {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
    use std::io::{Read as _, Write as _};

    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    let private = PrivateKeyDer::from_pem_slice(include_bytes!("tls/server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], private)
        .unwrap();
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let base = format!("https://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut tcp, _) = listener.accept()?;
        let mut tls = rustls::ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = rustls::Stream::new(&mut tls, &mut tcp);
        let read = stream.read(&mut [0; 4_096])?;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n[]")?;
        stream.flush()?;
        Ok(read)
    });
    (base, server)
}

#[cfg(feature = "tls-ring")]
#[actix_web::test]
async fn only_a_trusted_certificate_of_that_host_is_accepted() {
    let good = include_str!("tls/good.pem");
    for (certificate, pinned, wanted) in [
        (good, true, None),
        (good, false, Some("certificate")),
        (include_str!("tls/wrong_host.pem"), true, Some("certificate")),
        (include_str!("tls/expired.pem"), true, Some("certificate")),
    ] {
        let (base, server) = serve_tls(certificate);
        // Without the authority that signed it, another one is trusted: the server's own
        // certificate is no authority, so it cannot vouch for itself.
        let trusted = if pinned { include_str!("tls/ca.pem") } else { good };
        let key = ClientKey { pinned_ca: Some(trusted.to_owned()), tls: true, ..key() };
        let transport = NetTransport::on_this_thread(&key).unwrap();
        let answer = transport.send(get(base)).await;
        let request = server.join().unwrap();
        match wanted {
            None => {
                assert_eq!(answer.unwrap().body, b"[]");
                assert!(request.unwrap() > 0);
            }
            Some(word) => {
                let error = answer.unwrap_err();
                assert!(matches!(&error, TransportError::NotSent(reason) if reason.contains(word)), "{error:?}");
                assert!(request.is_err(), "the credentials must not have been sent");
            }
        }
    }
}

#[actix_web::test]
async fn a_server_without_tls_gets_nothing_and_a_broken_authority_is_told() {
    let (base, log) = serve().await;
    let key = ClientKey { pinned_ca: Some(CA.to_owned()), tls: true, ..key() };
    let transport = NetTransport::on_this_thread(&key).unwrap();
    let error = transport.send(get(base.replace("http:", "https:"))).await.unwrap_err();
    assert!(matches!(error, TransportError::NotSent(_)), "{error:?}");
    assert!(log.lock().unwrap().is_empty());
    for pem in ["-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "no certificate at all"] {
        let broken = ClientKey { pinned_ca: Some(pem.into()), ..key.clone() };
        assert!(NetTransport::on_this_thread(&broken).is_err(), "{pem}");
    }
}

#[actix_web::test]
async fn connections_of_one_thread_share_a_client() {
    let file = Arc::new(HttpConnectorFile::parse("test.toml", &listing("")).unwrap());
    let scope = ConnectorScope { scope: None };
    let make = |base: &str| {
        let mut settings = HttpSettings::new(base);
        settings.allow_private = true;
        HttpFactory::new(Arc::clone(&file), settings).make(&scope).map(|_| ()).unwrap();
    };
    make("http://127.0.0.1:1/a");
    let before = NetTransport::clients_on_this_thread();
    make("http://127.0.0.1:2/b");
    make("http://127.0.0.1:3/c");
    assert_eq!(NetTransport::clients_on_this_thread(), before);
}

#[test]
fn settings_that_do_not_fit_are_told_before_any_call() {
    let file = Arc::new(
        HttpConnectorFile::parse("test.toml", &format!("auth = {{ kind = \"bearer\" }}\n{}", listing(""))).unwrap(),
    );
    let factory = HttpFactory::new(file, HttpSettings::new("http://10.0.0.1/"));
    let problems: Vec<String> = factory.problems().iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "base_url: http without TLS is only allowed with allow_private = true",
            "auth: the connector file wants a key or token: give one",
        ]
    );
}

/// The authority that signed the certificates in `tls`.
const CA: &str = include_str!("tls/ca.pem");

/// A part of a file is taken out of it where the side knows no ranges, and is asked for in any
/// case.
#[actix_web::test]
async fn a_part_of_a_file_is_all_that_is_held() {
    let (base, _) = serve().await;
    let transport = NetTransport::on_this_thread(&key()).unwrap();
    let part = async |path: &str, from: u64, most: u64| {
        let mut request = get(format!("{base}{path}"));
        request.part = Some(Part { from, most });
        let answer = transport.send(request).await.unwrap();
        let range = answer.header("content-range").unwrap_or_default().to_owned();
        (answer.status, range, String::from_utf8(answer.body).unwrap())
    };
    let (status, range, body) = part("/whole", 25, 10).await;
    assert_eq!((status, range.as_str(), body.as_str()), (206, "bytes 25-34/*", "5678\n01234"));
    let (status, range, body) = part("/whole", LONG - 10, 100).await;
    assert_eq!((status, body.len()), (206, 10));
    assert_eq!(range, format!("bytes {}-{}/{LONG}", LONG - 10, LONG - 1));
    assert_eq!(part("/whole", LONG + 1, 100).await.0, 416);
    assert_eq!(part("/ranges", 20, 10).await, (206, "bytes 20-29/40".into(), "bytes=20-29".into()));
    let whole = transport.send(get(format!("{base}/whole"))).await;
    assert!(matches!(whole, Err(TransportError::Unknown(message)) if message.contains("longer than 32 MiB")));
}
