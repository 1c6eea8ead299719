//! The keys of `[auth]`: where credentials go, and how tokens are fetched with them.

use crate::reference::key::{Group, Holds, Key, SCALAR, When, duration, endpoint, header, key, path, text, word};

/// A key of one kind.
const fn of(kind: &'static [&'static str], key: Key) -> Key {
    key.only(When::Is("kind", kind))
}

/// The kinds of OAuth 2.0.
const GRANTS: &[&str] = &["client_credentials", "jwt_bearer"];

/// The kinds by which a token is fetched.
const FETCHED: &[&str] = &["client_credentials", "jwt_bearer", "session"];

pub(super) static AUTH: Group = Group {
    heading: "[auth]",
    about: "where the credentials of a connection go, or how a token is fetched with them",
    example: r#"{ kind = "bearer" }"#,
    keys: &[&[
        word(
            "kind",
            &["none", "bearer", "basic", "header", "query", "client_credentials", "jwt_bearer", "session"],
            "`bearer`: a token in `Authorization`; `basic`: user and password; `header`, `query`: a key in a header or \
             parameter; `client_credentials`: a token that is fetched with id and secret of a client (OAuth 2.0); \
             `jwt_bearer`: one that is fetched with an assertion that a private key signs (RFC 7523); `session`: a token that is got by logging in with user and password",
        )
        .required()
        .with("post = \"/login\"\nbody = { user = \"{user}\", password = \"{password}\" }")
        .example("\"bearer\""),
        text("name", "of the header, of the parameter, or of the cookie")
            .only(When::Is("kind", &["header", "query", "session"]))
            .needed(When::Is("kind", &["header", "query"]))
            .example("\"X-Key\""),
        text("prefix", "what stands before the key or token in the header")
            .only(When::Is("kind", &["header", "session"]))
            .example("\"Key \""),
        of(GRANTS, text("url", "where tokens are fetched: a path of the API, or a whole URL"))
            .needed(When::Is("kind", GRANTS))
            .example("\"/oauth/token\"")
            .wrong("\"oauth/token\""),
        of(GRANTS, text("scope", "what the token is to be good for")).example("\"contacts.read\""),
        of(&["client_credentials"], word("client", &["basic", "body"], "where id and secret of the client stand"))
            .default("\"basic\"")
            .example("\"body\""),
        of(&["jwt_bearer"], text("audience", "for whom the assertion is (`aud`)"))
            .otherwise("the address of tokens")
            .example("\"https://login.salesforce.com\""),
        of(&["jwt_bearer"], word("algorithm", &["RS256", "ES256"], "how the assertion is signed"))
            .default("\"RS256\"")
            .example("\"ES256\""),
        of(
            &["jwt_bearer"],
            key("claims", Holds::Named("scope", &Holds::Text), "further claims of the assertion; `scope` for Google"),
        )
        .example("{ scope = \"https://www.googleapis.com/auth/contacts\" }"),
        of(
            GRANTS,
            key("params", Holds::Named("audience", &SCALAR), "further parameters of the request for a token"),
        )
        .example("{ audience = \"https://api.example.com\" }"),
        of(&["session"], endpoint("post", "the path to log in at"))
            .needed(When::Is("kind", &["session"]))
            .example("\"/login\""),
        of(&["session"], key("body", Holds::Any, "what logs in; `\"{user}\"` and `\"{password}\"` stand for these"))
            .needed(When::Is("kind", &["session"]))
            .example("{ user = \"{user}\", password = \"{password}\" }")
            .wrong("{ user = \"{user}\" }"),
        of(&["session"], text("content_type", "the type of that body: JSON, or `application/x-www-form-urlencoded`"))
            .default("\"application/json\"")
            .example("\"application/x-www-form-urlencoded\""),
        of(FETCHED, path("token", "where the token stands in the answer"))
            .otherwise("`access_token`, but `token` for `session`")
            .example("\"data.token\""),
        of(&["session"], header("token_header", "the header of the answer that holds the token"))
            .without(&["token"])
            .example("\"X-Token\""),
        of(&["session"], word("sent", &["header", "cookie"], "how the token is sent"))
            .with("name = \"X-Token\"")
            .otherwise("as a bearer token")
            .example("\"cookie\""),
        of(
            FETCHED,
            duration("life", "how long a token lives, where the answer has no `expires_in`"),
        )
        .otherwise("until it is refused")
        .example("\"30m\""),
    ]],
    one_of: &[],
    brought: false,
    declared_in: ("AUTH", file!()),
};
