//! Assertions by which a client shows that it holds a private key: JSON Web Tokens (RFC 7519) for
//! the grant `jwt-bearer` of OAuth 2.0 (RFC 7523), signed as RFC 7518 has it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, json};

/// How an assertion is signed (RFC 7518, section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// RSA with SHA-256, PKCS #1 v1.5.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
}

/// How long an assertion is good for, in seconds. It is sent at once; Salesforce takes none of more
/// than five minutes
/// (<https://help.salesforce.com/s/articleView?id=xcloud.remoteaccess_oauth_jwt_flow.htm>).
const GOOD_FOR_S: i64 = 180;

/// What an assertion says.
pub(super) struct Claims<'c> {
    pub issuer: &'c str,
    pub subject: Option<&'c str>,
    pub audience: &'c str,
    /// Further claims, as texts.
    pub others: &'c [(String, String)],
    /// Now, in seconds since 1970.
    pub now_s: i64,
}

/// The claims that [`assertion`] makes itself.
pub(super) const OWN_CLAIMS: [&str; 6] = ["iss", "sub", "aud", "iat", "exp", "jti"];

/// A signed assertion.
///
/// # Errors
/// When the key cannot sign. The message does not repeat it.
pub(super) fn assertion(
    algorithm: Algorithm,
    key: &str,
    key_id: Option<&str>,
    claims: &Claims<'_>,
) -> Result<String, String> {
    let alg = match algorithm {
        Algorithm::Rs256 => "RS256",
        Algorithm::Es256 => "ES256",
    };
    let mut header = json!({ "alg": alg, "typ": "JWT" });
    if let Some(key_id) = key_id {
        header["kid"] = key_id.into();
    }
    let mut body: Map<_, _> = claims.others.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    body.insert("iss".into(), claims.issuer.into());
    body.insert("aud".into(), claims.audience.into());
    body.insert("iat".into(), claims.now_s.into());
    body.insert("exp".into(), claims.now_s.saturating_add(GOOD_FOR_S).into());
    // Some take each assertion once only.
    body.insert("jti".into(), format!("{:032x}", fastrand::u128(..)).into());
    if let Some(subject) = claims.subject {
        body.insert("sub".into(), subject.into());
    }
    let encoded = |value: String| URL_SAFE_NO_PAD.encode(value);
    let signed = format!("{}.{}", encoded(header.to_string()), encoded(json!(body).to_string()));
    let signature = sign(algorithm, key, signed.as_bytes())?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// A text without the assertion that it repeats, which whoever reads it could use until it ends; nor
/// what is left of one where the text was cut short.
pub(super) fn without(assertion: &str, text: &str) -> String {
    let text = text.replace(assertion, "***");
    let begin = assertion.split_inclusive('.').next().unwrap_or(assertion);
    match text.find(begin) {
        Some(at) => format!("{}***", &text[..at]),
        None => text,
    }
}

/// Why nothing can be signed with a key, if so.
pub(super) fn key_problem(algorithm: Algorithm, key: &str) -> Option<String> {
    sign(algorithm, key, b"").err()
}

#[cfg(feature = "tls-ring")]
fn sign(algorithm: Algorithm, key: &str, message: &[u8]) -> Result<Vec<u8>, String> {
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
    use rustls::pki_types::PrivateKeyDer;
    use rustls::pki_types::pem::PemObject;

    // As it stands in JSON, from where people copy it.
    let pem = if key.contains('\n') { key.to_owned() } else { key.replace("\\n", "\n") };
    let parsed = PrivateKeyDer::from_pem_slice(pem.as_bytes())
        .map_err(|_| "it is no private key in PEM (-----BEGIN PRIVATE KEY-----)".to_owned())?;
    let random = SystemRandom::new();
    match algorithm {
        Algorithm::Rs256 => {
            let pair = match &parsed {
                PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
                other => RsaKeyPair::from_pkcs8(other.secret_der()),
            };
            let pair = pair.map_err(|why| format!("it is no RSA key of 2048 bits or more ({why})"))?;
            let mut signature = vec![0; pair.public().modulus_len()];
            pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                .map_err(|_| "the RSA key could not sign".to_owned())?;
            Ok(signature)
        }
        Algorithm::Es256 => {
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, parsed.secret_der(), &random);
            let help = "openssl pkcs8 -topk8 -nodes turns one into this form";
            let pair = pair.map_err(|why| format!("it is no P-256 key in PKCS #8 ({why}); {help}"))?;
            let signature = pair.sign(&random, message).map_err(|_| "the P-256 key could not sign".to_owned())?;
            Ok(signature.as_ref().to_vec())
        }
    }
}

#[cfg(not(feature = "tls-ring"))]
fn sign(_: Algorithm, _: &str, _: &[u8]) -> Result<Vec<u8>, String> {
    Err("this build cannot sign: it was made without the feature 'tls-ring'".to_owned())
}

#[cfg(all(test, feature = "tls-ring"))]
mod tests {
    use ring::signature::{ECDSA_P256_SHA256_FIXED, EcdsaKeyPair, KeyPair, UnparsedPublicKey};

    use super::*;

    /// The key of the example in RFC 7515, appendix A.2, which everybody knows.
    const RSA: &str = include_str!("tests/tls/rfc7515.pem");

    #[test]
    fn a_signature_is_the_one_of_the_standard() {
        // The input and the signature of RFC 7515, appendix A.2.1.
        let input = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let want = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
        for key in [RSA.to_owned(), RSA.replace('\n', "\\n")] {
            let signature = sign(Algorithm::Rs256, &key, input.as_bytes()).unwrap();
            assert_eq!(URL_SAFE_NO_PAD.encode(signature), want);
        }
    }

    #[test]
    fn an_assertion_says_who_asks_whom_and_for_how_long() {
        let random = ring::rand::SystemRandom::new();
        let signing = &ring::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(signing, &random).unwrap();
        let public = EcdsaKeyPair::from_pkcs8(signing, document.as_ref(), &random).unwrap();
        let text = base64::engine::general_purpose::STANDARD.encode(document.as_ref());
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n");
        let others = [("scope".to_owned(), "contacts".to_owned())];
        let claims = |subject| Claims {
            issuer: "sync@example.com",
            subject,
            audience: "https://login.example.com",
            others: &others,
            now_s: 1_700_000_000,
        };
        let made = assertion(Algorithm::Es256, &pem, Some("k1"), &claims(Some("ada"))).unwrap();
        let (signed, signature) = made.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let verifier = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public.public_key().as_ref());
        verifier.verify(signed.as_bytes(), &signature).unwrap();
        let parts: Vec<serde_json::Value> = signed
            .split('.')
            .map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap())
            .collect();
        assert_eq!(parts[0], json!({ "alg": "ES256", "typ": "JWT", "kid": "k1" }));
        let mut body = parts[1].clone();
        let jti = body.as_object_mut().unwrap().remove("jti").unwrap();
        assert_eq!(jti.as_str().unwrap().len(), 32);
        let want = json!({
            "iss": "sync@example.com", "sub": "ada", "aud": "https://login.example.com", "scope": "contacts",
            "iat": 1_700_000_000, "exp": 1_700_000_180,
        });
        assert_eq!(body, want);
        assert_ne!(made, assertion(Algorithm::Es256, &pem, Some("k1"), &claims(None)).unwrap());
    }

    #[test]
    fn what_repeats_an_assertion_is_shown_without() {
        for (text, want) in [
            ("the assertion aa.bb.cc is old", "the assertion *** is old"),
            ("the assertion aa.bb", "the assertion ***"),
            ("aa is old", "aa is old"),
        ] {
            assert_eq!(without("aa.bb.cc", text), want);
        }
    }

    #[test]
    fn a_key_that_cannot_sign_is_told_and_not_repeated() {
        for (algorithm, key, want) in [
            (Algorithm::Rs256, "s3cret", "no private key in PEM"),
            (Algorithm::Rs256, "-----BEGIN PRIVATE KEY-----\nczNjcmV0\n-----END PRIVATE KEY-----\n", "no RSA key"),
            (Algorithm::Es256, RSA, "no P-256 key"),
        ] {
            let problem = key_problem(algorithm, key).unwrap();
            assert!(problem.contains(want) && !problem.contains("s3cret"), "{problem}");
        }
        assert_eq!(key_problem(Algorithm::Rs256, RSA), None);
    }
}
