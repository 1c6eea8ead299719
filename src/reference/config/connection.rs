//! The keys of `[[connection]]` and `[app]`: how a side is reached.

use crate::reference::config::fields::FIELD;
use crate::reference::connector::limits::WINDOW;
use crate::reference::key::{Group, Holds, Key, boolean, key, table, text, whole};

pub(in crate::reference) static CONNECTION: Group = Group {
    heading: "[[connection]]",
    about: "one customer's account at a connected app",
    example: r#"{ id = "acme", connector = "connectors/crm.toml", base_url = "https://api.example.com/v1",
                  auth = { bearer = "${CRM_TOKEN}" } }"#,
    keys: &[
        &[
            text("id", "its name, unique in the file").required().example("\"acme\"").wrong("\" acme\""),
            text(
                "scope",
                "which records on your side are this customer's; needed with more than one connection, and where \
                 `[app]` has `{scope}` in its `base_url`",
            )
            .otherwise("`default`")
            .example("\"acct_42\"")
            .wrong("\"..\""),
            boolean("paused", "it is added paused").default("false"),
            key("syncs", Holds::List(&Holds::Text), "only these of the syncs that apply to it, by `name`")
                .otherwise("all that apply")
                .example("[\"contacts\"]")
                .wrong("[\"contact\"]"),
            key(
                "fields",
                Holds::Named(
                    "contacts",
                    &Holds::Named("name", &Holds::Either(&[Holds::Path, Holds::Table(&FIELD)])),
                ),
                "fields of its own, for each sync by `name`: more of them, or other keys for those of the sync, as far as \
                 the sync's `overrides` lets it",
            )
            .otherwise("those of the syncs")
            .around(
                r#"sync = [{ name = "contacts", app = "contacts", remote = "contacts", direction = "two_way",
                     match = ["email"], fields = { email = "properties.email" }, overrides = "replace" }]"#,
            )
            .example(r#"{ contacts = { name = "properties.custom_17" } }"#),
            table("webhook", &WEBHOOK),
        ],
        SIDE,
    ],
    one_of: &[],
    brought: false,
    declared_in: ("CONNECTION", file!()),
};

pub(in crate::reference) static APP: Group = Group {
    heading: "[app]",
    about: "your app has an API of its own: how to reach it. Without it your side is the embedded store",
    example: r#"{ connector = "connectors/crm.toml", base_url = "https://app.example.com",
                  auth = { bearer = "${APP_KEY}" } }"#,
    keys: &[SIDE],
    one_of: &[],
    brought: false,
    declared_in: ("APP", file!()),
};

/// The keys of both.
static SIDE: &[Key] = &[
    text("connector", "the connector file, relative to this file").required().example("\"connectors/crm.toml\"").wrong("\"connectors/none.toml\""),
    text(
        "base_url",
        "where the API begins; the connector file's paths are appended. `https`, without user, `?` and `#`. In `[app]`, \
         `{scope}` may stand as a whole segment of the path",
    )
    .required()
    .example("\"https://api.example.com/v1\"").wrong("\"http://api.example.com\""),
    table("auth", &AUTH).otherwise("none"),
    key("limits", Holds::List(&Holds::Table(&WINDOW)), "how often the API may be called; all hold at once")
        .otherwise("the connector file's")
        .example("[{ requests = 100, per = \"10s\" }, { requests = 250_000, per = \"1d\" }]"),
    whole("concurrency", 1, 1_000, "calls in flight at once").otherwise("the connector file's, else 4").example("8"),
    boolean("allow_private", "plain `http` and private addresses (loopback, `10.…`, …) may be called").default("false"),
    text("ca", "a PEM file of certificate authorities, trusted *instead of* the machine's")
        .otherwise("the machine's")
        .example("\"ca.pem\"").wrong("\"none.pem\""),
];

static AUTH: Group = Group {
    heading: "auth",
    about: "the credentials, of the kind that the connector file says; `${NAME}` stands for an environment variable",
    example: r#"{ bearer = "${CRM_TOKEN}" }"#,
    keys: &[&[
        text("bearer", "a bearer token").example("\"${CRM_TOKEN}\""),
        text("key", "a key, for connector files whose `auth` is of kind `header` or `query`")
            .around("connector = \"connectors/key.toml\"")
            .example("\"${API_KEY}\""),
        table("basic", &BASIC),
        table("client", &CLIENT).around("connector = \"connectors/client.toml\""),
        table("jwt", &JWT).around("connector = \"connectors/jwt.toml\""),
    ]],
    one_of: &["bearer", "key", "basic", "client", "jwt"],
    brought: false,
    declared_in: ("AUTH", file!()),
};

static CLIENT: Group = Group {
    heading: "auth.client",
    about: "id and secret of an OAuth 2.0 client, for connector files whose `auth` is of kind `client_credentials`",
    example: r#"{ id = "syncline", secret = "${CLIENT_SECRET}" }"#,
    keys: &[&[
        text("id", "the client's id").required().example("\"syncline\""),
        text("secret", "its secret").required().example("\"${CLIENT_SECRET}\""),
        text("url", "where its tokens are fetched, `https`")
            .otherwise("as the connector file says")
            .example("\"https://login.example.com/tenant/token\"")
            .wrong("\"http://login.example.com/token\""),
    ]],
    one_of: &[],
    brought: false,
    declared_in: ("CLIENT", file!()),
};

static JWT: Group = Group {
    heading: "auth.jwt",
    about: "a private key that signs assertions, for connector files whose `auth` is of kind `jwt_bearer`",
    example: r#"{ issuer = "sync@project.iam.gserviceaccount.com", key = "${file:key.pem}" }"#,
    keys: &[&[
        text("issuer", "who asks (`iss`): the id of a client, or the address of a service account")
            .required()
            .example("\"sync@project.iam.gserviceaccount.com\""),
        text("key", "the private key, in PEM").required().example("\"${file:key.pem}\""),
        text("subject", "for which user (`sub`)").example("\"ada@example.com\""),
        text("key_id", "which of the keys it is (`kid`)").example("\"k1\""),
        text("url", "where its tokens are fetched, `https`")
            .otherwise("as the connector file says")
            .example("\"https://test.salesforce.com/services/oauth2/token\"")
            .wrong("\"http://login.example.com/token\""),
    ]],
    one_of: &[],
    brought: false,
    declared_in: ("JWT", file!()),
};

static BASIC: Group = Group {
    heading: "auth.basic",
    about: "user and password",
    example: r#"{ user = "sync", password = "${PASSWORD}" }"#,
    keys: &[&[
        text("user", "the user").required().example("\"sync\""),
        text("password", "the password").required().example("\"${PASSWORD}\""),
    ]],
    one_of: &[],
    brought: false,
    declared_in: ("BASIC", file!()),
};

static WEBHOOK: Group = Group {
    heading: "webhook",
    about: "takes the app's webhooks; needs `[receive]`, and `[webhook]` in the connector file",
    example: r#"{ path = "${HOOK}", secret = "${HOOK_SECRET}" }"#,
    keys: &[&[
        text(
            "path",
            "what stands in the URL: at least 16 letters, digits, `-`, `.`, `_`, `~` that nobody can guess (`openssl rand \
             -hex 16`)",
        )
        .required()
        .example("\"${HOOK}\""),
        text("secret", "what the app signs with").without(&["secrets"]).example("\"${HOOK_SECRET}\""),
        key("secrets", Holds::List(&Holds::Text), "several secrets while one takes the place of another, at most three")
            .without(&["secret"])
            .example("[\"${NEW_SECRET}\", \"${OLD_SECRET}\"]"),
        text("account", "the account that an event names, where several connections share a path and its secrets")
            .around("connector = \"connectors/accounts.toml\"")
            .example("\"62515\""),
    ]],
    one_of: &[],
    brought: false,
    declared_in: ("WEBHOOK", file!()),
};
