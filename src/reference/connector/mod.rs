//! The keys of the connector file: the top, `[auth]`, `[limits]` and `[errors]`.

pub(super) mod auth;
pub(super) mod job;
pub(super) mod limits;
pub(super) mod list;
pub(super) mod object;
pub(super) mod rules;
pub(super) mod webhook;
pub(super) mod write;

use self::auth::AUTH;
use self::limits::LIMITS;
use self::object::OBJECT;
use self::rules::RULE;
use self::webhook::WEBHOOK;
use super::key::{Group, Holds, Key, PATHS, SCALAR, When, endpoint, key, statuses, table, text, whole, word};

pub(in crate::reference) static TOP: Group = Group {
    heading: "The top",
    about: "Describes one kind of app: how its records are listed, read, found and written.",
    example: r#"{
        name = "crm",
        limits = { class = { search = { requests = 5, per = "1s" } } },
        object.contacts = { id = "id", version = "etag", modified = "updated_at", 
            list = { get = "/contacts", cursor = { kind = "time", param = "updated_since", order = "asc" } },
            read = { get = "/contacts/{id}" },
            find = { get = "/contacts", params = { email = "email", external_ref = "external_ref" } } },
    }"#,
    keys: &[&[
        text("name", "what syncs call it").required().example("\"crm\""),
        key(
            "auth",
            Holds::Either(&[Holds::Words(&["none", "bearer", "basic"]), Holds::Table(&AUTH)]),
            "where the credentials of a connection go: a word, or a table",
        )
        .otherwise("a bearer token, or user and password, as they are given")
        .example("\"bearer\""),
        HEADERS,
        table("limits", &LIMITS),
        table("errors", &ERRORS),
        table("xml", &XML),
        key(
            "object",
            Holds::Named("contacts", &Holds::Table(&OBJECT)),
            "the record types, one or more, each by its name",
        )
        .required()
        .example("{ contacts = { id = \"id\", list = { get = \"/contacts\" } } }"),
        table("webhook", &WEBHOOK),
    ]],
    one_of: &[],
    brought: false,
    declared_in: ("TOP", file!()),
};

/// Sent with every request of the app, or of one endpoint.
pub(super) const HEADERS: Key = key("headers", Holds::Named("X-Api-Version", &SCALAR), "headers to send")
    .example("{ X-Api-Version = \"2\" }")
    .wrong("{ \"a b\" = \"2\" }");

/// What every endpoint may have beside its method and path.
pub(super) const REQUEST: &[Key] = &[
    key("query", Holds::Named("sort", &SCALAR), "parameters to send").example("{ sort = \"updated_at\" }"),
    HEADERS,
    text("class", "the class of `[limits]` that its calls belong to").example("\"search\"").wrong("\"serch\""),
    whole("cost", 1, 1_000_000, "how many points a call of it costs").default("1").example("10"),
];

/// An endpoint that reads: a GET, or a POST whose body says what is wanted.
pub(super) const READING: &[Key] = &[
    endpoint("get", "the path to GET").example("\"/contacts\""),
    endpoint("post", "the path to POST to, where a body says what is wanted").example("\"/contacts/search\""),
    key("body", Holds::Any, "what is wanted, with the names of a request, such as `{cursor}` and `{page}`")
        .only(When::Beside("post"))
        .example("{ after = \"{page}\", limit = \"{size}\" }"),
    text("content_type", "the type of the body: JSON, `application/x-www-form-urlencoded`, or one of XML")
        .only(When::Beside("post"))
        .default("\"application/json\"")
        .example("\"application/x-www-form-urlencoded\""),
    word("method", &["PROPFIND", "REPORT"], "what is sent in place of POST, of WebDAV")
        .only(When::Beside("post"))
        .example("\"REPORT\""),
];

/// The type of a body.
pub(super) const CONTENT_TYPE: Key = text(
    "content_type",
    "the type of the body: JSON, `application/x-www-form-urlencoded`, one of XML, or of one text that the body is",
)
.default("\"application/json\"")
.example("\"application/vnd.api+json\"");

static XML: Group = Group {
    heading: "[xml]",
    about: "the app answers in XML. Paths begin with the name of the root element. An element is its text, or an object of \
            its attributes (`@name`), its children and its own text (`#text`); children of one name are a list; an empty one \
            is null; names are without their prefix",
    example: "{}",
    keys: &[&[
        key("lists", PATHS, "elements that are a list, also where there is one or none")
            .example("[\"Envelope.Body.Contacts.Contact\"]"),
        key("texts", PATHS, "elements that are read as their text alone, whatever attributes they have")
            .example("[\"contact.phone\"]"),
        key("objects", PATHS, "elements that are read as objects, also where they hold text alone or nothing")
            .example("[\"contact.price\"]"),
        key("prefixes", Holds::Named("DAV:", &Holds::Text), "the prefix of names of a namespace, by its URI")
            .otherwise("names stand without a prefix")
            .example("{ \"DAV:\" = \"d\" }")
            .wrong("{ \"DAV:\" = \"\" }"),
    ]],
    brought: false,
    one_of: &[],
    declared_in: ("XML", file!()),
};

static ERRORS: Group = Group {
    heading: "[errors]",
    about: "statuses that mean something else than usual",
    example: "{ limited = [420] }",
    keys: &[&[
        statuses("limited", "too many calls: a pause").example("[420]"),
        statuses("unauthorised", "the credentials are refused: the connection is suspended").example("[419]"),
        statuses("missing", "there is no such record").example("[423]"),
        statuses("changed", "the record was changed meanwhile").example("[428]"),
        statuses("duplicate", "there is such a record already").example("[409]"),
        statuses("invalid", "the record is refused and held back").example("[406]"),
        statuses("retry", "tried again").example("[425]"),
        key("rules", Holds::List(&Holds::Table(&RULE)), RULE.about).example(
            "[{ class = \"limited\", status = [403], path = \"error.code\", is = \"REQUEST_LIMIT_EXCEEDED\" }]",
        ),
    ]],
    one_of: &[],
    brought: false,
    declared_in: ("ERRORS", file!()),
};
