//! Published vectors where a vendor has any, else vectors computed from its text with
//! another implementation; and whatever is not one of them is refused.

use super::*;

const NOW_MS: i64 = 1_700_000_000_000;

/// A delivery that its preset must take.
struct Vector {
    preset: &'static str,
    secret: &'static str,
    method: &'static str,
    url: &'static str,
    headers: Vec<(&'static str, String)>,
    body: &'static [u8],
    now_ms: i64,
}

impl Vector {
    fn check_with(&self, secrets: &[&str]) -> Result<Accepted, Refused> {
        let secrets: Vec<SecretString> = secrets.iter().map(|secret| SecretString::from(*secret)).collect();
        let headers: Vec<(String, String)> =
            self.headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let delivery = Delivery { method: self.method, url: self.url, headers: &headers, body: self.body };
        Scheme::preset(self.preset).unwrap().check(&secrets, &delivery, self.now_ms)
    }

    fn check(&self) -> Result<Accepted, Refused> {
        self.check_with(&[self.secret])
    }

    fn set(&mut self, name: &str, value: impl Into<String>) {
        let (_, old) = self.headers.iter_mut().find(|(other, _)| *other == name).unwrap();
        *old = value.into();
    }

    fn get(&self, name: &str) -> String {
        self.headers.iter().find(|(other, _)| *other == name).unwrap().1.clone()
    }
}

/// That of the Standard Webhooks libraries.
fn standard() -> Vector {
    Vector {
        preset: "standard-webhooks",
        secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        method: "POST",
        url: "https://hooks.example.com/w",
        headers: vec![
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned()),
            ("webhook-timestamp", "1614265330".to_owned()),
            ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=".to_owned()),
        ],
        body: br#"{"test": 2432232314}"#,
        now_ms: 1_614_265_330_000,
    }
}

/// That of GitHub's page on validating deliveries.
fn github() -> Vector {
    let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    Vector {
        preset: "github",
        secret: "It's a Secret to Everybody",
        headers: vec![("X-Hub-Signature-256", signature.to_owned())],
        body: b"Hello, World!",
        ..standard()
    }
}

fn stripe() -> Vector {
    let signature = "t=1492774577,v1=799c4ba7bb339f3c8601adfd112f0e477c930a268be1243d341abb8286501c2f,v0=00";
    Vector {
        preset: "stripe",
        secret: "whsec_test_secret",
        headers: vec![("Stripe-Signature", signature.to_owned())],
        body: br#"{"id":"evt_1"}"#,
        now_ms: 1_492_774_577_000,
        ..standard()
    }
}

/// The signed string is that of the decoded URL: `…?x=a:b/c`.
fn hubspot() -> Vector {
    Vector {
        preset: "hubspot-v3",
        secret: "client-secret-of-the-app",
        url: "https://hooks.example.com/syncline/webhooks/abc?x=a%3Ab%2fc",
        headers: vec![
            ("X-HubSpot-Signature-v3", "7oGmJPmqtGxN1/bpD7oRO04MaWNtOUrykXbh2wFU3MY=".to_owned()),
            ("X-HubSpot-Request-Timestamp", "1700000000000".to_owned()),
        ],
        body: br#"[{"eventId":1,"objectId":123,"portalId":62515}]"#,
        now_ms: NOW_MS,
        ..standard()
    }
}

fn all() -> Vec<Vector> {
    vec![standard(), github(), stripe(), hubspot()]
}

#[test]
fn presets_take_their_vectors() {
    for vector in all() {
        assert!(vector.check().is_ok(), "{}: {:?}", vector.preset, vector.check());
    }
    for preset in Scheme::PRESETS {
        assert!(Scheme::preset(preset).is_some(), "{preset}");
    }
    assert_eq!(Scheme::preset("Stripe"), None);
}

#[test]
fn without_a_signature_nothing_is_taken() {
    for mut vector in all() {
        let name = vector.headers.iter().find(|(name, _)| name.to_lowercase().contains("signature")).unwrap().0;
        vector.set(name, "");
        assert_eq!(vector.check(), Err(Refused::Unsigned), "{}", vector.preset);
        vector.headers.retain(|(other, _)| *other != name);
        assert_eq!(vector.check(), Err(Refused::Unsigned), "{}", vector.preset);
    }
}

#[test]
fn one_wrong_bit_anywhere_is_refused() {
    for mut vector in all() {
        assert_eq!(vector.check_with(&["whsec_AAAA"]), Err(Refused::Mismatch), "{}", vector.preset);
        assert_eq!(vector.check_with(&[]), Err(Refused::Mismatch), "{}", vector.preset);
        // As a proxy leaves it that parses a body and writes it again.
        let mut body = vector.body.to_vec();
        body.push(b' ');
        vector.body = body.leak();
        assert_eq!(vector.check(), Err(Refused::Mismatch), "{}", vector.preset);
    }
    for (preset, name, from, to) in [
        ("standard-webhooks", "webhook-signature", "g0h", "g1h"),
        ("standard-webhooks", "webhook-id", "msg_p5", "msg_p6"),
        ("standard-webhooks", "webhook-timestamp", "330", "331"),
        ("github", "X-Hub-Signature-256", "=757", "=756"),
        ("stripe", "Stripe-Signature", "t=1492774577", "t=1492774578"),
        ("hubspot-v3", "X-HubSpot-Request-Timestamp", "1700000000000", "1700000000001"),
    ] {
        let mut vector = all().into_iter().find(|vector| vector.preset == preset).unwrap();
        vector.set(name, vector.get(name).replacen(from, to, 1));
        assert_eq!(vector.check(), Err(Refused::Mismatch), "{preset} {name}");
    }
    for (method, url) in [("PUT", hubspot().url), ("POST", "https://hooks.example.com/syncline/webhooks/abd?x=a:b/c")] {
        assert_eq!(Vector { method, url, ..hubspot() }.check(), Err(Refused::Mismatch));
    }
}

#[test]
fn another_encoding_than_the_declared_one_is_refused() {
    let mut upper = github();
    let signature = upper.get("X-Hub-Signature-256");
    upper.set("X-Hub-Signature-256", format!("sha256={}", signature["sha256=".len()..].to_uppercase()));
    assert!(upper.check().is_ok(), "hexadecimal has no case");
    for wrong in
        ["sha256=dXEH6g6yUJ/CESIczphLijdXC211hsIsRvQ3nIsEPhc=", "sha256=757", "sha256=zz", "sha1=757107", "757107"]
    {
        let mut vector = github();
        vector.set("X-Hub-Signature-256", wrong);
        assert_eq!(vector.check(), Err(Refused::Unsigned), "{wrong}");
    }
    let mut url_safe = standard();
    url_safe.set("webhook-signature", "v1,g0hM9SsE-OTPJTGt_tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    assert_eq!(url_safe.check(), Err(Refused::Unsigned));
    url_safe.set("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE");
    assert_eq!(url_safe.check(), Err(Refused::Unsigned), "without padding");
}

#[test]
fn only_so_many_signatures_and_only_of_the_declared_version_are_looked_at() {
    let good = standard().get("webhook-signature");
    let wrong = "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let with = |before: usize| {
        let mut vector = standard();
        vector.set("webhook-signature", format!("{}{good}", format!("{wrong} ").repeat(before)));
        vector.check()
    };
    assert!(with(MOST_SIGNATURES - 1).is_ok());
    assert_eq!(with(200), Err(Refused::Mismatch));
    for (mut vector, name, old) in [
        (standard(), "webhook-signature", "v1a,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=".to_owned()),
        (stripe(), "Stripe-Signature", stripe().get("Stripe-Signature").replace("v1=", "v0=")),
        (github(), "X-Hub-Signature-256", "sha1=2fd4e1c67a2d28fced849ee1bb76e7391b93eb12".to_owned()),
    ] {
        vector.set(name, old);
        assert_eq!(vector.check(), Err(Refused::Unsigned), "{}", vector.preset);
    }
    // HubSpot sends its older versions too.
    let mut older = hubspot();
    older.headers[0].0 = "X-HubSpot-Signature";
    assert_eq!(older.check(), Err(Refused::Unsigned));
}

#[test]
fn a_time_beyond_the_tolerance_is_refused_in_both_directions() {
    for vector in [standard(), stripe(), hubspot()] {
        for (by_s, want) in [(-301, Some(Refused::TooNew)), (-300, None), (300, None), (301, Some(Refused::TooOld))] {
            let moved = Vector { now_ms: vector.now_ms + by_s * 1_000, headers: vector.headers.clone(), ..vector };
            assert_eq!(moved.check().err(), want, "{} {by_s}", moved.preset);
        }
    }
    for (text, want) in [
        ("1614264730", Refused::TooOld),
        ("1614265930", Refused::TooNew),
        ("1614265330000", Refused::TooNew),
        ("-1614265330", Refused::Stamp),
        ("+1614265330", Refused::Stamp),
        ("1e9", Refused::Stamp),
        ("1614265330.0", Refused::Stamp),
        ("", Refused::Stamp),
        ("18446744073709551616", Refused::Stamp),
        ("9223372036854775807", Refused::Stamp),
    ] {
        let mut vector = standard();
        vector.set("webhook-timestamp", text);
        assert_eq!(vector.check(), Err(want), "{text}");
    }
}

#[test]
fn a_header_that_is_missing_or_there_twice_is_refused() {
    for name in ["webhook-id", "webhook-timestamp"] {
        let mut vector = standard();
        vector.headers.retain(|(other, _)| *other != name);
        assert_eq!(vector.check(), Err(Refused::Headers), "{name}");
    }
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        let mut vector = standard();
        let twice = (name, vector.get(name));
        vector.headers.push(twice);
        assert_eq!(vector.check(), Err(Refused::Headers), "{name}");
    }
    let mut two_times = stripe();
    two_times.set("Stripe-Signature", format!("t=1,{}", stripe().get("Stripe-Signature")));
    assert_eq!(two_times.check(), Err(Refused::Headers));
}

#[test]
fn each_live_secret_is_taken_and_a_retired_one_is_not() {
    for vector in all() {
        assert!(vector.check_with(&["whsec_AAAA", vector.secret]).is_ok(), "{}", vector.preset);
        assert!(vector.check_with(&["whsec_AAAA", "whsec_BBBB", vector.secret]).is_ok(), "{}", vector.preset);
        assert_eq!(vector.check_with(&["whsec_AAAA"]), Err(Refused::Mismatch), "{}", vector.preset);
    }
}

#[test]
fn attempts_at_one_delivery_are_told_as_one() {
    let (first, mut again) = (standard().check().unwrap(), standard());
    assert_eq!(first, again.check().unwrap());
    assert_eq!(first.repetition.map(|repetition| repetition.remember_ms), Some(600_000));
    again.body = b"{}";
    assert_eq!(again.check(), Err(Refused::Mismatch), "the id is worth nothing without its signature");
    // Where neither is signed, one with the same body may tell of another change.
    assert_eq!(github().check().unwrap(), Accepted { repetition: None });
}

#[test]
fn tokens_passwords_and_secret_urls() {
    let token = Scheme::Token { header: "X-Token".to_owned(), prefix: "Bearer ".to_owned() };
    let headers = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    let check = |scheme: &Scheme, secrets: &[&str], headers: &[(String, String)]| {
        let secrets: Vec<SecretString> = secrets.iter().map(|secret| SecretString::from(*secret)).collect();
        let delivery = Delivery { method: "POST", url: "https://x/y", headers, body: b"{}" };
        scheme.check(&secrets, &delivery, NOW_MS).map(|_| ())
    };
    assert_eq!(check(&token, &["a", "sesame"], &headers("x-token", "Bearer sesame")), Ok(()));
    assert_eq!(check(&token, &["sesame"], &headers("x-token", "Bearer sesam")), Err(Refused::Mismatch));
    assert_eq!(check(&token, &["sesame"], &headers("x-token", "sesame")), Err(Refused::Unsigned));
    assert_eq!(check(&token, &["sesame"], &[]), Err(Refused::Unsigned));
    // `user:pass` and `user:past`.
    assert_eq!(check(&Scheme::Basic, &["user:pass"], &headers("Authorization", "Basic dXNlcjpwYXNz")), Ok(()));
    let wrong = headers("Authorization", "Basic dXNlcjpwYXN0");
    assert_eq!(check(&Scheme::Basic, &["user:pass"], &wrong), Err(Refused::Mismatch));
    for garbage in ["Basic", "Basic %%%", "Bearer dXNlcjpwYXNz", ""] {
        assert_eq!(check(&Scheme::Basic, &["user:pass"], &headers("Authorization", garbage)), Err(Refused::Unsigned));
    }
    assert_eq!(check(&Scheme::Unsigned, &[], &[]), Ok(()));
}

#[test]
fn a_secret_that_cannot_be_one_is_told_before_it_is_needed() {
    let problem = |preset: &str, secret: &str| Scheme::preset(preset).unwrap().secret_problem(&secret.into());
    assert_eq!(problem("standard-webhooks", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), None);
    assert!(problem("standard-webhooks", "whsec_???").unwrap().contains("base64"));
    assert!(problem("github", "").unwrap().contains("empty"));
    assert_eq!(Scheme::Basic.secret_problem(&"user:password".into()), None);
    assert!(Scheme::Basic.secret_problem(&"password".into()).unwrap().contains("user:password"));
    assert_eq!(Scheme::Unsigned.secret_problem(&"".into()), None);
}

#[test]
fn urls_are_decoded_where_the_vendor_says_and_nowhere_else() {
    for (url, want) in [
        ("https://x/a%3Ab%2fc%3f%40%21%24%27%28%29%2A%2C%3B", "https://x/a:b/c?@!$'()*,;"),
        ("https://x/%20%25%zz%é%", "https://x/%20%25%zz%é%"),
        ("https://x/%253A", "https://x/%253A"),
    ] {
        assert_eq!(decoded(url), want);
    }
}

#[test]
fn no_delivery_makes_it_panic() {
    let mut rng = fastrand::Rng::with_seed(7);
    for _ in 0..20_000 {
        for mut vector in all() {
            for (_, value) in &mut vector.headers {
                let mut text: Vec<char> = value.chars().collect();
                for _ in 0..rng.usize(0..4) {
                    let at = rng.usize(0..=text.len());
                    let odd = ['=', ',', ' ', '%', 'é', '\u{0}', '9', 'v', '漢'][rng.usize(0..9)];
                    if rng.bool() || at == text.len() { text.insert(at, odd) } else { text[at] = odd }
                }
                *value = text.into_iter().collect();
            }
            let _ = vector.check();
        }
    }
}

#[test]
fn a_token_in_the_body_must_be_right_at_the_top_or_in_every_event() {
    let scheme = |events: Option<&str>| Scheme::BodyToken {
        path: "clientState".parse().unwrap(),
        events: events.map(|path| path.parse().unwrap()),
    };
    let secrets = ["new", "old", "older", "too many"].map(SecretString::from);
    let check = |events, body: &str| {
        let delivery = Delivery { method: "POST", url: "", headers: &[], body: body.as_bytes() };
        scheme(events).check(&secrets, &delivery, NOW_MS).map(|_| ())
    };
    for (events, body, want) in [
        (Some("value"), r#"{"value":[{"clientState":"new"},{"clientState":"old","a":1}]}"#, Ok(())),
        (Some("value"), r#"{"value":[{"clientState":"new"},{"clientState":"no"}]}"#, Err(Refused::Mismatch)),
        (Some("value"), r#"{"value":[{"clientState":"new"},{"a":1}]}"#, Err(Refused::Unsigned)),
        (Some("value"), r#"{"value":[{"clientState":"new"},{"clientState":null}]}"#, Err(Refused::Unsigned)),
        (Some("value"), r#"{"value":[{"clientState":"too many"}]}"#, Err(Refused::Mismatch)),
        (Some("value"), r#"{"value":[]}"#, Err(Refused::Unsigned)),
        (Some("value"), r#"{"value":{"clientState":"new"}}"#, Err(Refused::Unsigned)),
        (Some("value"), r#"{"clientState":"older","value":[{"a":1}]}"#, Ok(())),
        (Some("value"), r#"{"clientState":"no","value":[{"clientState":"new"}]}"#, Err(Refused::Mismatch)),
        (None, r#"[{"clientState":"new"}]"#, Ok(())),
        (None, r#"{"clientState":"new"}"#, Ok(())),
        (None, r#"{"clientState":""}"#, Err(Refused::Mismatch)),
        (None, r#"{"clientState":"new","clientState":"new"}"#, Err(Refused::Unsigned)),
        (None, "", Err(Refused::Unsigned)),
        (None, "\u{fffd}", Err(Refused::Unsigned)),
    ] {
        assert_eq!(check(events, body), want, "{body}");
    }
}
