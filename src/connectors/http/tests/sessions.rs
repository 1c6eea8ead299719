//! Tokens that are fetched: one at a time, again when they end or are refused, never shown.

use std::cell::Cell;
use std::time::Duration;

use secrecy::ExposeSecret;

use super::*;

const CLIENT: &str =
    "[auth]\nkind = \"client_credentials\"\nurl = \"/oauth/token\"\nscope = \"a b\"\nparams = { audience = \"x\" }\n";

fn client() -> HttpSettings {
    let mut settings = HttpSettings::new(BASE);
    let (id, secret) = ("sync:line".to_owned(), "s3cret-of-client".into());
    settings.credentials = Credentials::Client { id, secret, url: None };
    settings
}

fn user() -> HttpSettings {
    let mut settings = HttpSettings::new(BASE);
    settings.credentials = Credentials::Basic { user: "ada".into(), password: "s3cret-of-user".into() };
    settings
}

fn signer() -> HttpSettings {
    let mut settings = HttpSettings::new(BASE);
    settings.credentials = Credentials::Jwt {
        issuer: "sync@example.com".into(),
        subject: Some("ada".into()),
        key: include_str!("tls/rfc7515.pem").into(),
        key_id: None,
        url: None,
    };
    settings
}

/// The credentials of a request, as they were sent.
fn sent_with(request: &HttpRequest) -> String {
    let headers = request.secret_headers.iter().map(|(name, value)| format!("{name}: {}", value.expose_secret()));
    headers.collect::<Vec<_>>().join(", ")
}

async fn read(bench: &Bench) -> Result<Page, ConnectorError> {
    bench.read(Read::Ids(vec!["1".into()])).await
}

fn tokens_fetched(bench: &Bench) -> usize {
    bench.asked().iter().filter(|url| *url == "/oauth/token" || *url == "/login").count()
}

#[tokio::test(start_paused = true)]
async fn a_token_is_fetched_once_and_anew_before_it_ends() {
    let number = Cell::new(0);
    let bench = Bench::with_settings(&format!("{}{CLIENT}", listing("")), client(), move |request| {
        if request.url.ends_with("/oauth/token") {
            number.set(number.get() + 1);
            return ok(&format!("{{\"access_token\":\"token-{}\",\"expires_in\":3600}}", number.get()));
        }
        ok(r#"{"id":"1"}"#)
    });
    for _ in 0..3 {
        read(&bench).await.unwrap();
    }
    let sent = bench.sent();
    assert_eq!(bench.asked(), ["/oauth/token", "/things/1", "/things/1", "/things/1"]);
    let body = sent[0].secret_body.as_ref().unwrap().expose_secret();
    assert_eq!(body, "grant_type=client_credentials&scope=a%20b&audience=x");
    // sync%3Aline:s3cret-of-client
    assert_eq!(sent_with(&sent[0]), "authorization: Basic c3luYyUzQWxpbmU6czNjcmV0LW9mLWNsaWVudA==");
    assert_eq!(sent_with(&sent[1]), "authorization: Bearer token-1");
    assert!(!format!("{sent:?}").contains("s3cret") && !format!("{sent:?}").contains("token-1"), "nothing is shown");
    tokio::time::sleep(Duration::from_secs(3_540)).await;
    read(&bench).await.unwrap();
    assert_eq!(sent_with(bench.sent().last().unwrap()), "authorization: Bearer token-2");
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_renewed_once_by_one_and_the_write_is_sent_again() {
    let (good, fetched) = (Rc::new(Cell::new(1)), Cell::new(0));
    let valid = Rc::clone(&good);
    let file = format!(
        "{}{CLIENT}[object.things.update]\npatch = \"/things/{{id}}\"\n[object.things.delete]\ndelete = \"/things/{{id}}\"\n",
        listing("")
    );
    let bench = Bench::with_settings(&file, client(), move |request| {
        if request.url.ends_with("/oauth/token") {
            fetched.set(fetched.get() + 1);
            return ok(&format!("{{\"access_token\":\"token-{}\"}}", fetched.get()));
        }
        let token = sent_with(request);
        let number: i32 = token.rsplit('-').next().unwrap().parse().unwrap();
        if number < valid.get() { status(401, r#"{"error":"expired"}"#) } else { ok(r#"{"id":"1"}"#) }
    });
    read(&bench).await.unwrap();
    good.set(2);
    // Several at once meet the refusal, and one token serves them all.
    let writes: Vec<Write> = (0..4)
        .map(|i| Write::Delete(crate::model::write::Delete { id: i.to_string().into(), expected: None }))
        .collect();
    let outcomes = bench.write(writes).await;
    assert_eq!(outcomes.iter().map(word).collect::<Vec<_>>(), ["deleted"; 4]);
    assert_eq!(tokens_fetched(&bench), 2);
    // One that is refused as soon as it was fetched is no race: the right is gone.
    good.set(1_000);
    let error = read(&bench).await.unwrap_err();
    assert_eq!(next_word(error.next), "reauthorise");
    assert!(error.message.contains("just fetched") && !error.message.contains("token-"), "{error}");
    assert_eq!(tokens_fetched(&bench), 3);
}

#[tokio::test(start_paused = true)]
async fn what_the_side_says_where_tokens_are_fetched() {
    for (answer, want, told) in [
        (status(401, r#"{"error":"invalid_client"}"#), "reauthorise", "invalid_client"),
        (status(400, r#"{"error":"unauthorized_client"}"#), "reauthorise", "wrong or were revoked"),
        (status(400, r#"{"error":"temporarily_unavailable"}"#), "retry", ""),
        (status(500, ""), "retry", ""),
        (Ok(HttpResponse::new(429, "").with_header("Retry-After", "7")), "wait 7000", ""),
        (status(429, ""), "wait 5000", ""),
        (status(404, ""), "fail", "404"),
        (status(302, ""), "fail", "302"),
        (ok("<html>"), "retry", "without a token"),
        (ok(r#"{"refresh_token":"s3cret-token"}"#), "reauthorise", "without a token"),
        (ok(r#"{"access_token":"a\nb"}"#), "fail", "none that can be sent"),
        (Err(TransportError::NotSent("no connection".into())), "retry", "no connection"),
        (Err(TransportError::Refused("a private address".into())), "fail", ""),
        (status(401, r#"{"error":"bad secret s3cret-of-client"}"#), "reauthorise", "***"),
    ] {
        let place = format!("{answer:?}");
        let file = format!("{}{CLIENT}[object.things.delete]\ndelete = \"/things/{{id}}\"\n", listing(""));
        let bench = Bench::with_settings(&file, client(), move |_| answer.clone());
        let error = read(&bench).await.unwrap_err();
        assert_eq!(next_word(error.next), want, "{place}");
        assert!(error.message.contains(told) && !error.message.contains("s3cret"), "{error}");
        assert_eq!(bench.asked(), ["/oauth/token"], "nothing is sent without a token");
        let fresh = Bench { calls: Calls::new(&crate::model::budget::Limits::default()), ..bench };
        let delete = Write::Delete(crate::model::write::Delete { id: "1".into(), expected: None });
        assert_eq!(fresh.write(vec![delete]).await.iter().map(word).collect::<Vec<_>>(), [want], "{place}");
    }
}

/// Many that wait for a token that is refused do not each ask for one.
#[tokio::test(start_paused = true)]
async fn a_failure_is_shared_by_those_who_waited_for_it() {
    let slow = Rc::new(Slow::default());
    let mut bench = Bench::with_settings(&format!("{}{CLIENT}", listing("")), client(), |_| panic!("not used"));
    bench.connector.caller.transport = Rc::clone(&slow) as Rc<dyn Transport>;
    let reads: Vec<_> = (0..4).map(|_| read(&bench)).collect();
    let errors = futures_util::future::join_all(reads).await;
    assert!(errors.iter().all(|error| next_word(error.as_ref().unwrap_err().next) == "reauthorise"));
    assert_eq!(slow.0.get(), 1);
    assert!(read(&bench).await.is_err());
    assert_eq!(slow.0.get(), 2, "the next one asks again");
}

/// A transport that refuses after a while.
#[derive(Default)]
struct Slow(Cell<u32>);

#[async_trait(?Send)]
impl Transport for Slow {
    async fn send(&self, _: HttpRequest) -> Answer {
        self.0.set(self.0.get() + 1);
        tokio::time::sleep(Duration::from_secs(1)).await;
        status(401, r#"{"error":"invalid_client"}"#)
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_is_begun_with_user_and_password_and_sent_as_declared() {
    let logged_in = || {
        Ok(HttpResponse::new(200, r#"{"data":{"token":"tok-1"}}"#)
            .with_header("X-Token", " tok-2 ")
            .with_header("Set-Cookie", "lang=en; Path=/")
            .with_header("Set-Cookie", "sid=tok-3; HttpOnly; Path=/"))
    };
    for (keys, want) in [
        ("token = \"data.token\"", "authorization: Bearer tok-1"),
        ("token_header = \"x-token\"\nsent = \"header\"\nname = \"X-Session\"\nprefix = \"S \"", "X-Session: S tok-2"),
        ("token_header = \"Set-Cookie\"\nsent = \"cookie\"\nname = \"sid\"", "cookie: sid=tok-3"),
        ("token = \"data.token\"\nsent = \"cookie\"\nname = \"sid\"", "cookie: sid=tok-1"),
    ] {
        let auth = format!(
            "[auth]\nkind = \"session\"\npost = \"/login\"\nbody = {{ login = {{ name = \"{{user}}\", pass = \"{{password}}\" }}, keep = true }}\nlife = \"10m\"\n{keys}\n"
        );
        let bench = Bench::with_settings(&format!("{}{auth}", listing("")), user(), move |request| {
            if request.url.ends_with("/login") { logged_in() } else { ok(r#"{"id":"1"}"#) }
        });
        read(&bench).await.unwrap();
        let sent = bench.sent();
        let body = sent[0].secret_body.as_ref().unwrap().expose_secret();
        assert_eq!(body, r#"{"login":{"name":"ada","pass":"s3cret-of-user"},"keep":true}"#);
        assert!(sent[0].body.is_none() && sent[0].secret_headers.is_empty());
        assert_eq!(sent_with(&sent[1]), want);
        tokio::time::sleep(Duration::from_secs(600)).await;
        read(&bench).await.unwrap();
        assert_eq!(tokens_fetched(&bench), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_are_fetched_where_the_connection_says() {
    let mut settings = client();
    let url = Some("https://login.example.com/tenant/token".to_owned());
    settings.credentials = Credentials::Client { id: "c".into(), secret: "s3cret-of-client".into(), url };
    let body = CLIENT.replace("scope = \"a b\"", "client = \"body\"").replace("params = { audience = \"x\" }", "");
    let bench = Bench::with_settings(&format!("{}{body}", listing("")), settings, |request| {
        if request.url.contains("login.example.com") { ok(r#"{"access_token":"t"}"#) } else { ok(r#"{"id":"1"}"#) }
    });
    read(&bench).await.unwrap();
    let sent = bench.sent();
    assert_eq!(sent[0].url, "https://login.example.com/tenant/token");
    assert!(sent[0].secret_headers.is_empty());
    let form = sent[0].secret_body.as_ref().unwrap().expose_secret();
    assert_eq!(form, "grant_type=client_credentials&client_id=c&client_secret=s3cret-of-client");
}

/// A 403 speaks of rights: another token would not have them either.
#[tokio::test(start_paused = true)]
async fn a_missing_right_fetches_no_token() {
    let bench = Bench::with_settings(&format!("{}{CLIENT}", listing("")), client(), |request| {
        if request.url.ends_with("/token") { ok(r#"{"access_token":"t"}"#) } else { status(403, "{}") }
    });
    assert_eq!(next_word(read(&bench).await.unwrap_err().next), "reauthorise");
    assert_eq!(tokens_fetched(&bench), 1);
    // Where a rule says that a 403 is about the token, it is.
    let rule = "[[errors.rules]]\nclass = \"unauthorised\"\npath = \"code\"\nis = \"SESSION\"\n";
    let once = Cell::new(false);
    let bench = Bench::with_settings(&format!("{}{rule}{CLIENT}", listing("")), client(), move |request| {
        if request.url.ends_with("/token") {
            ok(r#"{"access_token":"t"}"#)
        } else if once.replace(true) {
            ok(r#"{"id":"1"}"#)
        } else {
            status(403, r#"{"code":"SESSION"}"#)
        }
    });
    read(&bench).await.unwrap();
    assert_eq!(tokens_fetched(&bench), 2);
}

#[test]
fn connectors_of_one_connection_share_its_token_and_credentials_must_fit() {
    let file = Arc::new(HttpConnectorFile::parse("t.toml", &format!("{}{CLIENT}", listing(""))).unwrap());
    let factory = HttpFactory::new(Arc::clone(&file), client());
    let sessions = |factory: &HttpFactory| factory.connector().unwrap().caller.sessions.unwrap();
    assert!(Arc::ptr_eq(&sessions(&factory), &sessions(&factory.clone())));
    let other = HttpFactory::new(Arc::clone(&file), client());
    assert!(!Arc::ptr_eq(&sessions(&factory), &sessions(&other)), "another connection has another token");
    assert!(!format!("{factory:?} {:?}", sessions(&factory)).contains("s3cret"));
    assert_eq!(HttpFactory::new(file, user()).problems().len(), 1);
    let session = "[auth]\nkind = \"session\"\npost = \"/login\"\nbody = { p = \"{password}\" }\ntoken = \"t\"\n";
    let file = Arc::new(HttpConnectorFile::parse("t.toml", &format!("{}{session}", listing(""))).unwrap());
    assert_eq!(HttpFactory::new(Arc::clone(&file), client()).problems().len(), 1);
    assert!(HttpFactory::new(file, user()).problems().is_empty());
}

#[cfg(feature = "tls-ring")]
#[tokio::test(start_paused = true)]
async fn a_token_is_fetched_with_an_assertion_which_is_not_shown() {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    let auth = "[auth]\nkind = \"jwt_bearer\"\nurl = \"/oauth/token\"\naudience = \"https://login\"\n\
                claims = { scope = \"contacts\" }\nlife = \"1h\"\n";
    let is_refused = Rc::new(Cell::new(false));
    let refuses = Rc::clone(&is_refused);
    let bench = Bench::with_settings(&format!("{}{auth}", listing("")), signer(), move |request| {
        if !request.url.ends_with("/oauth/token") {
            return ok(r#"{"id":"1"}"#);
        }
        let body = request.secret_body.as_ref().unwrap().expose_secret();
        let assertion = body.rsplit_once('=').unwrap().1;
        if refuses.get() {
            return status(
                400,
                &format!("{{\"error\":\"invalid_grant\",\"error_description\":\"{assertion} is old\"}}"),
            );
        }
        ok(r#"{"access_token":"token-1"}"#)
    });
    read(&bench).await.unwrap();
    let sent = bench.sent();
    let body = sent[0].secret_body.as_ref().unwrap().expose_secret();
    let assertion = body.strip_prefix("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=");
    let claims = URL_SAFE_NO_PAD.decode(assertion.unwrap().split('.').nth(1).unwrap()).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(
        ["iss", "sub", "aud", "scope"].map(|claim| claims[claim].as_str().unwrap()),
        ["sync@example.com", "ada", "https://login", "contacts"]
    );
    assert_eq!(claims["exp"].as_i64().unwrap(), clock().timestamp() + 180);
    assert!(sent[0].secret_headers.is_empty(), "nothing but the assertion names us");
    assert_eq!(sent_with(&sent[1]), "authorization: Bearer token-1");
    // An hour later another is fetched, which is refused with what was sent.
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    is_refused.set(true);
    let error = read(&bench).await.unwrap_err();
    assert_eq!(next_word(error.next), "reauthorise");
    assert!(error.message.contains("invalid_grant") && error.message.contains("***"), "{error}");
    assert!(!error.message.contains("eyJ"), "no part of an assertion: {error}");
}

#[cfg(feature = "tls-ring")]
#[test]
fn a_key_that_cannot_sign_is_told_before_anything_is_asked() {
    let auth = "[auth]\nkind = \"jwt_bearer\"\nurl = \"/oauth/token\"\n";
    let file = Arc::new(HttpConnectorFile::parse("t.toml", &format!("{}{auth}", listing(""))).unwrap());
    assert!(HttpFactory::new(Arc::clone(&file), signer()).problems().is_empty());
    assert!(!format!("{:?}", signer()).contains("PRIVATE KEY"));
    let mut settings = signer();
    if let Credentials::Jwt { key, .. } = &mut settings.credentials {
        *key = "s3cret, but no key".into();
    }
    let [problem] = &HttpFactory::new(Arc::clone(&file), settings).problems()[..] else { panic!("one problem") };
    assert!(problem.message.contains("no private key in PEM") && !problem.message.contains("s3cret"), "{problem}");
    let [problem] = &HttpFactory::new(file, client()).problems()[..] else { panic!("one problem") };
    assert!(problem.message.contains("give issuer and private key"), "{problem}");
}

#[test]
fn ways_to_fetch_a_token_that_cannot_be_meant_are_told() {
    let client = "kind = \"client_credentials\"\n";
    let session = "kind = \"session\"\npost = \"/login\"\nbody = { p = \"{password}\" }\n";
    let jwt = "kind = \"jwt_bearer\"\n";
    for (auth, want) in [
        (jwt.to_owned(), "'url' is missing"),
        (format!("{jwt}url = \"/x\"\nalgorithm = \"HS256\""), "'HS256' is no algorithm"),
        (format!("{jwt}url = \"/x\"\nclaims = {{ exp = 1 }}"), "'exp' is none of the further claims"),
        (format!("{jwt}url = \"/x\"\nclient = \"body\""), "unknown key 'client'"),
        (client.to_owned(), "'url' is missing"),
        (format!("{client}url = \"oauth\""), "'url' is neither a path nor a URL"),
        (format!("{client}url = \"ftp://x/y\""), "'url' cannot be used"),
        (format!("{client}url = \"/x\"\nclient = \"header\""), "'header' is no client"),
        ("kind = \"session\"\nbody = { p = \"{password}\" }\ntoken = \"t\"".to_owned(), "'post' is missing"),
        ("kind = \"session\"\npost = \"/l\"\ntoken = \"t\"".to_owned(), "'body' is missing"),
        ("kind = \"session\"\npost = \"/l\"\ntoken = \"t\"\nbody = { a = 1 }".to_owned(), "holds no \"{password}\""),
        (format!("{session}token = \"a\"\ntoken_header = \"b\""), "stands in one of them"),
        (format!("{session}token = \"a\"\nsent = \"cookie\""), "'name' is missing"),
        (format!("{session}token = \"a\"\nname = \"b\""), "'name' needs sent"),
        (format!("{session}token = \"a\"\nprefix = \"b\""), "'prefix' is for sent"),
        ("kind = \"bearer\"\ntoken = \"a\"".to_owned(), "unknown key 'token'"),
    ] {
        let file = format!("{}[auth]\n{auth}\n", listing(""));
        let lines = HttpConnectorFile::parse("crm.toml", &file).map(|_| ()).unwrap_err().lines;
        assert!(lines.iter().any(|line| line.contains(want)), "{auth}: {lines:#?}");
    }
}
