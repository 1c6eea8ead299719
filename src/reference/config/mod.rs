//! The keys of the configuration file: the top, `[embedded]` and `[receive]`.

pub(super) mod connection;
pub(super) mod fields;
pub(super) mod sync;

use self::connection::{APP, CONNECTION};
use self::sync::SYNC;
use super::key::{Group, Holds, Key, duration, key, table, text, whole};

pub(in crate::reference) static TOP: Group = Group {
    heading: "The top",
    about: "What is kept in agreement, and where it is remembered.",
    example: r#"{
        receive = { listen = "127.0.0.1:8100" },
        connection = [{ id = "acme", connector = "connectors/crm.toml", base_url = "https://api.example.com/v1",
                        auth = { bearer = "${CRM_TOKEN}" } }],
        sync = [{ name = "contacts", app = "contacts", remote = "contacts", direction = "two_way", match = ["email"],
                  fields = { email = "properties.email" } }],
    }"#,
    keys: &[&[
        text(
            "state",
            "the state file: everything Syncline remembers. Created if it is not there; relative to this file",
        )
        .default("\"syncline.redb\"")
        .example("\"acme.redb\"")
        .wrong("\"\""),
        duration(
            "late_after",
            "after how long work that waits is told of as late, in the log, by `status` and to `Kernel::subscribe`",
        )
        .default("\"15m\"")
        .example("\"10m\""),
        table("embedded", &EMBEDDED),
        table("app", &APP).without(&["embedded"]),
        table("receive", &RECEIVE),
        key(
            "connectors",
            Holds::List(&Holds::Text),
            "connector files for connections that are added while it runs (`syncline connection add`); those of the \
             file's own connections need not be named",
        )
        .example("[\"connectors/crm.toml\"]")
        .wrong("[\"connectors/crn.toml\"]"),
        key("connection", Holds::List(&Holds::Table(&CONNECTION)), CONNECTION.about)
            .otherwise("only those that are added, of `connectors`")
            .example(
                r#"[{ id = "acme", connector = "connectors/crm.toml", base_url = "https://api.example.com/v1",
                  auth = { bearer = "${CRM_TOKEN}" } }]"#,
            ),
        key("sync", Holds::List(&Holds::Table(&SYNC)), SYNC.about).required().example(
            r#"[{ name = "contacts", app = "contacts", remote = "contacts", direction = "two_way", match = ["email"],
                  fields = { email = "properties.email" } }]"#,
        ),
    ]],
    one_of: &[],
    brought: false,
    declared_in: ("TOP", file!()),
};

/// Asked for by both servers.
const LISTEN: Key =
    text("listen", "address and port: plain HTTP; what others reach stands behind a proxy that speaks TLS")
        .required()
        .example("\"127.0.0.1:8080\"")
        .wrong("\"localhost\"");

static EMBEDDED: Group = Group {
    heading: "[embedded]",
    about: "serves the embedded app store as a REST API: your side, while your app has no API of its own",
    example: r#"{ listen = "127.0.0.1:8080" }"#,
    keys: &[&[
        LISTEN,
        text("token", "asked for as `Authorization: Bearer …`; needed unless the address is loopback")
            .example("\"${APP_TOKEN}\""),
    ]],
    one_of: &[],
    brought: false,
    declared_in: ("EMBEDDED", file!()),
};

static RECEIVE: Group = Group {
    heading: "[receive]",
    about: "where webhooks and events come in: webhooks at `url/webhooks/` and the connection's `path`, events at \
            `url/events`, requests for a sync at `url/sync`",
    example: r#"{ listen = "127.0.0.1:8100" }"#,
    keys: &[&[
        LISTEN,
        text("url", "where others reach it. Some apps sign the URL they call, so it has to be the one they know")
            .otherwise("`http://` and `listen`")
            .example("\"https://sync.example.com\"")
            .wrong("\"sync.example.com\""),
        text(
            "token",
            "asked for as `Authorization: Bearer …` by `POST /events` and `POST /sync`. Without it these are served only \
             where `listen` is a loopback address",
        )
        .example("\"${EVENT_TOKEN}\""),
        whole(
            "connections",
            1,
            100_000,
            "the most connections at a time; beyond it they wait unanswered until others have ended",
        )
        .default("2000")
        .example("500"),
    ]],
    one_of: &[],
    brought: false,
    declared_in: ("RECEIVE", file!()),
};
