//! The schemes of vendors, as they document them.

use super::{Algorithm, DEFAULT_TOLERANCE_S, Encoding, Form, Hmac, Part, Scheme, SecretForm, Stamp, StampPlace};

impl Scheme {
    /// The names of all presets.
    pub const PRESETS: [&str; 6] = ["standard-webhooks", "stripe", "github", "hubspot-v3", "shopify", "slack"];

    /// The scheme that a vendor documents, by its name.
    #[must_use]
    pub fn preset(name: &str) -> Option<Self> {
        let hmac = match name {
            "standard-webhooks" => standard_webhooks(),
            "stripe" => stripe(),
            "github" => github(),
            "hubspot-v3" => hubspot_v3(),
            "shopify" => shopify(),
            "slack" => slack(),
            _ => return None,
        };
        Some(Scheme::Hmac(hmac))
    }
}

fn stamp(place: StampPlace) -> Option<Stamp> {
    Some(Stamp { place, millis: false, tolerance_s: DEFAULT_TOLERANCE_S })
}

/// A hash over the body alone, in hex after a prefix.
fn over_body(header: &str, prefix: &str) -> Hmac {
    Hmac {
        algorithm: Algorithm::Sha256,
        encoding: Encoding::Hex,
        secret: SecretForm::Text,
        header: header.to_owned(),
        form: Form::One { prefix: prefix.to_owned() },
        signed: vec![Part::Body],
        stamp: None,
        id: None,
    }
}

/// <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>
fn standard_webhooks() -> Hmac {
    let dot = || Part::Text(".".to_owned());
    Hmac {
        encoding: Encoding::Base64,
        secret: SecretForm::Whsec,
        form: Form::List { separator: ' ', between: ',', name: "v1".to_owned() },
        signed: vec![Part::Id, dot(), Part::Stamp, dot(), Part::Body],
        stamp: stamp(StampPlace::Header("webhook-timestamp".to_owned())),
        id: Some("webhook-id".to_owned()),
        ..over_body("webhook-signature", "")
    }
}

/// <https://docs.stripe.com/webhooks#verify-manually>
fn stripe() -> Hmac {
    Hmac {
        form: Form::List { separator: ',', between: '=', name: "v1".to_owned() },
        signed: vec![Part::Stamp, Part::Text(".".to_owned()), Part::Body],
        stamp: stamp(StampPlace::Entry("t".to_owned())),
        ..over_body("Stripe-Signature", "")
    }
}

/// <https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries>
fn github() -> Hmac {
    over_body("X-Hub-Signature-256", "sha256=")
}

/// <https://developers.hubspot.com/docs/apps/developer-platform/build-apps/authentication/request-validation>
fn hubspot_v3() -> Hmac {
    Hmac {
        encoding: Encoding::Base64,
        signed: vec![Part::Method, Part::DecodedUrl, Part::Body, Part::Stamp],
        stamp: Some(Stamp {
            place: StampPlace::Header("X-HubSpot-Request-Timestamp".to_owned()),
            millis: true,
            tolerance_s: DEFAULT_TOLERANCE_S,
        }),
        ..over_body("X-HubSpot-Signature-v3", "")
    }
}

/// <https://shopify.dev/docs/apps/build/webhooks/subscribe/https>
fn shopify() -> Hmac {
    Hmac { encoding: Encoding::Base64, ..over_body("X-Shopify-Hmac-Sha256", "") }
}

/// <https://docs.slack.dev/authentication/verifying-requests-from-slack>
fn slack() -> Hmac {
    let text = |text: &str| Part::Text(text.to_owned());
    Hmac {
        signed: vec![text("v0:"), Part::Stamp, text(":"), Part::Body],
        stamp: stamp(StampPlace::Header("X-Slack-Request-Timestamp".to_owned())),
        ..over_body("X-Slack-Signature", "v0=")
    }
}
