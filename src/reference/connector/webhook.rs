//! The keys of `[webhook]`.

use crate::reference::key::{Group, Holds, Key, PATHS, When, duration, header, key, path, table, text, word};

pub(super) static WEBHOOK: Group = Group {
    heading: "[webhook]",
    about: "how the app's webhooks are known and read. Without `object`, `type` and `objects` a webhook is a ping: the lists \
            of changes of all objects are read",
    example: r#"{ signature = "standard-webhooks", object = "contacts" }"#,
    keys: &[&[
        key(
            "signature",
            Holds::Either(&[
                Holds::Words(&[
                    "standard-webhooks",
                    "stripe",
                    "github",
                    "hubspot-v3",
                    "shopify",
                    "slack",
                    "basic",
                    "none",
                ]),
                Holds::Table(&SIGNATURE),
            ]),
            "how a delivery is shown to come from the app: as one of these documents it, or a token or keyed hash of its own",
        )
        .required()
        .example("\"standard-webhooks\""),
        text("object", "every event is about this object").without(&["type", "objects"]).example("\"contacts\"").wrong("\"contact\""),
        path("type", "where an event says what it is about")
            .without(&["object"])
            .needed(When::Beside("objects"))
            .with("objects = { \"contact.*\" = \"contacts\" }")
            .example("\"type\""),
        key(
            "objects",
            Holds::Named("contact.*", &Holds::Text),
            "which object each word stands for; `*` at one end stands for anything, the first that fits counts; what fits \
             nothing is counted and let go",
        )
        .without(&["object"])
        .needed(When::Beside("type"))
        .with("type = \"type\"")
        .example("{ \"contact.*\" = \"contacts\" }"),
        key(
            "id",
            PATHS,
            "where an event names its record, or a list of records; of a list of paths the first that holds anything. \
             Without it the object's list of changes is read",
        )
        .example("\"data.id\""),
        path("events", "where the list of events stands").otherwise("the body is one event, or a list of them").example("\"events\""),
        path(
            "record",
            "where an event holds the whole record, in the form in which `list` shows it; only with a keyed hash. It stands \
             for a read where it is certainly newer",
        )
        .example("\"data.record\""),
        path("account", "where an event names the account, for apps that tell all accounts' events to one URL")
            .example("\"account_id\""),
        table("handshake", &HANDSHAKE),
    ]],
    one_of: &[],
    brought: false,
    declared_in: ("WEBHOOK", file!()),
};

static HANDSHAKE: Group = Group {
    heading: "handshake",
    about: "how the app asks whether anybody is there",
    example: r#"{ query = "validationToken" }"#,
    keys: &[&[
        text("query", "the parameter whose value is answered at once").example("\"validationToken\""),
        path("body", "where the body holds what is answered once the signature is right").example("\"challenge\""),
    ]],
    one_of: &["query", "body"],
    brought: false,
    declared_in: ("HANDSHAKE", file!()),
};

/// A key of keyed hashes.
const fn of_hash(key: Key) -> Key {
    key.only(When::Beside("hmac"))
}

static SIGNATURE: Group = Group {
    heading: "webhook.signature",
    about: "a token in a header or in the body, or a keyed hash over what `signed` lists",
    example: r#"{ hmac = "sha256", header = "X-Signature", signed = ["{body}"] }"#,
    keys: &[&[
        header("token", "the header that holds the secret itself")
            .without(&["header", "signed"])
            .example("\"X-Token\""),
        path("token_at", "where the secret itself stands in the body, at its top or in each event")
            .example("\"clientState\""),
        word("hmac", &["sha256", "sha512"], "the hash")
            .with("header = \"X-Signature\"\nsigned = [\"{body}\"]")
            .example("\"sha256\""),
        text("prefix", "what stands before the token or the signature").example("\"sha256=\""),
        of_hash(header("header", "the header that holds the signature"))
            .needed(When::Beside("hmac"))
            .example("\"X-Signature\""),
        of_hash(key(
            "signed",
            Holds::List(&Holds::Text),
            "what is signed: texts, `{body}`, `{timestamp}`, `{id}`, `{method}`, `{url}`",
        ))
        .needed(When::Beside("hmac"))
        .example("[\"{body}\"]")
        .wrong("[\"{who}\"]"),
        of_hash(word("encoding", &["hex", "base64"], "of the signature")).default("\"hex\"").example("\"base64\""),
        of_hash(table("list", &SIGNATURE_LIST)),
        of_hash(word("secret", &["text", "whsec"], "`whsec`: the secret is base64 after `whsec_`"))
            .default("\"text\"")
            .example("\"whsec\""),
        of_hash(header("timestamp", "the header that holds the time; it must be signed"))
            .with("signed = [\"{timestamp}\", \".\", \"{body}\"]")
            .example("\"X-Timestamp\""),
        of_hash(text("timestamp_entry", "the entry of `list` that holds the time; it must be signed"))
            .with("signed = [\"{timestamp}\", \".\", \"{body}\"]\nlist = { name = \"v1\" }")
            .example("\"t\""),
        of_hash(word("timestamp_unit", &["s", "ms"], "of the time")).default("\"s\"").example("\"ms\""),
        of_hash(duration("tolerance", "how old a delivery may be, or how far ahead"))
            .with("timestamp = \"X-Timestamp\"\nsigned = [\"{timestamp}\", \".\", \"{body}\"]")
            .default("\"5m\"")
            .example("\"1m\""),
        of_hash(header("id", "the header that names a delivery over all its attempts; it must be signed"))
            .with("signed = [\"{id}\", \".\", \"{body}\"]")
            .example("\"X-Delivery\""),
    ]],
    one_of: &["token", "token_at", "hmac"],
    brought: false,
    declared_in: ("SIGNATURE", file!()),
};

static SIGNATURE_LIST: Group = Group {
    heading: "webhook.signature.list",
    about: "the signature is an entry of a list in its header",
    example: r#"{ name = "v1" }"#,
    keys: &[&[
        text("name", "of the entry").required().example("\"v1\""),
        key("separator", Holds::Character, "between two entries").default("\",\"").example("\";\""),
        key("between", Holds::Character, "between name and signature").default("\"=\"").example("\":\""),
    ]],
    one_of: &[],
    brought: false,
    declared_in: ("SIGNATURE_LIST", file!()),
};
