//! The keys of `create`, `update`, `delete` and `batch`.

use super::job::BATCH_JOB;
use super::{CONTENT_TYPE, REQUEST};
use crate::reference::key::{
    Group, Holds, Key, When, boolean, duration, endpoint, header, key, path, statuses, table, text, whole, word,
};

const BODY: Key = key(
    "body",
    Holds::Any,
    "an envelope (`\"data\"` sends `{\"data\": {…}}`) or a tree in which `\"{record}\"`, `\"{id}\"`, `\"{id.path}\"`, `\"{version}\"`, \
     `\"{external_id}\"`, `\"{idempotency_key}\"` and `\"{record.path}\"` stand for the values",
)
.otherwise("the record")
.example("{ data = \"{record}\" }")
.wrong("{ data = \"{who}\" }");

const ANSWER: Key = word(
    "answer",
    &["record", "id"],
    "`id`: the answer names the record but does not hold all of it; it is then read back",
)
.default("\"record\"")
.example("\"id\"");

pub(super) const IF_MATCH: Key = key(
    "if_match",
    Holds::Either(&[Holds::Boolean, Holds::Text]),
    "`true` sends the version as `If-Match`, `'\"{version}\"'` in quotes: an edit made between read and write is never \
     overwritten unseen. Needs a version",
)
.default("false")
.example("true")
.wrong("\"version\"");

const MISSING: Key = statuses("missing", "statuses that mean that it is gone; a 401 or 403 only after a read by id")
    .default("[404, 410]")
    .example("[404, 410, 403]");

const CHANGED: Key =
    statuses("changed", "statuses that mean that it was changed meanwhile").default("[412]").example("[409, 412]");

/// How a null is written.
const NULL: Key = word(
    "null",
    &["null", "omit", "empty"],
    "how a null is written: as it is, by leaving its key out (not where only changes are sent), or as the empty text",
)
.default("\"null\"")
.example("\"empty\"");

pub(super) static CREATE: Group = Group {
    heading: "[object.NAME.create]",
    about: "makes a record",
    example: r#"{ post = "/contacts" }"#,
    keys: &[
        &[
            endpoint("post", "the path to POST to").example("\"/contacts\""),
            endpoint("put", "the path to PUT to, for an id that we choose: `{external_id}`")
                .example("\"/contacts/{external_id}\""),
            endpoint("patch", "the path to PATCH, for an id that we choose: `{external_id}`")
                .example("\"/contacts/{external_id}\""),
            key(
                "recovery",
                Holds::Either(&[Holds::Words(&["find", "park"]), Holds::Table(&RECOVERY)]),
                "how a create without an answer is found again: `find`, `park` or a table",
            )
            .otherwise("`find` where there is a `find`, else `park`")
            .example("{ kind = \"idempotency_key\", header = \"Idempotency-Key\", life = \"24h\" }"),
            statuses("duplicate", "statuses that mean that it exists").example("[409]"),
            text("duplicate_text", "only where the answer holds this text")
                .only(When::Beside("duplicate"))
                .with("duplicate = [400]")
                .example("\"RECORD_NOT_UNIQUE\""),
            path("duplicate_id", "where the answer names the record that exists").example("\"existing.id\""),
            NULL,
            BODY,
            ANSWER,
            CONTENT_TYPE,
        ],
        REQUEST,
    ],
    one_of: &["post", "put", "patch"],
    brought: true,
    declared_in: ("CREATE", file!()),
};

static RECOVERY: Group = Group {
    heading: "recovery",
    about: "how a create without an answer is found again",
    example: r#"{ kind = "find" }"#,
    keys: &[&[
        word(
            "kind",
            &["client_id", "idempotency_key", "external_id", "find", "park"],
            "`client_id`: we choose the id; `idempotency_key`: the app honours a key; `external_id`: a unique field of the \
             app holds our id; `find`: by the match fields; `park`: a person must look",
        )
        .required()
        .with("field = \"external_ref\"")
        .example("\"find\""),
        path("field", "the field of the id that we choose (`client_id`, unless it is in the path), or the unique field (`external_id`)")
            .with("kind = \"external_id\"")
            .needed(When::Is("kind", &["external_id"]))
            .example("\"external_ref\""),
        header("header", "the header that takes the key")
            .with("kind = \"idempotency_key\"\nlife = \"24h\"")
            .needed(When::Is("kind", &["idempotency_key"]))
            .example("\"Idempotency-Key\""),
        duration("life", "how long the app remembers the key")
            .with("kind = \"idempotency_key\"\nheader = \"Idempotency-Key\"")
            .needed(When::Is("kind", &["idempotency_key"]))
            .example("\"24h\""),
        duration("settle", "for `find`: how long after a create a search may still miss it")
            .otherwise("`400s`")
            .example("\"60s\""),
    ]],
    one_of: &[],
    brought: false,
    declared_in: ("RECOVERY", file!()),
};

pub(super) static UPDATE: Group = Group {
    heading: "[object.NAME.update]",
    about: "changes a record",
    example: r#"{ patch = "/contacts/{id}" }"#,
    keys: &[
        &[
            endpoint("patch", "the path to PATCH, with `{id}`")
                .example("\"/contacts/{id}\"")
                .wrong("\"/contacts/{nid}\""),
            endpoint("put", "the path to PUT to, with `{id}`").example("\"/contacts/{id}\""),
            endpoint("post", "the path to POST to, with `{id}`").example("\"/contacts/{id}\""),
            boolean("whole", "the whole record is sent").otherwise("`true` for `put`"),
            boolean("keep_id", "the id stays in the record that is sent").default("false"),
            word("absent", &["null", "omit", "empty"], "how a key is taken away")
                .otherwise("`omit` where the whole record is sent, else `null`")
                .example("\"omit\""),
            NULL.with("whole = true"),
            boolean(
                "makes_missing",
                "the side makes a record that is missing; needs `if_match`, here or of the object",
            )
            .default("false")
            .with("if_match = true"),
            IF_MATCH,
            MISSING,
            CHANGED,
            BODY,
            ANSWER,
            CONTENT_TYPE,
        ],
        REQUEST,
    ],
    one_of: &["patch", "put", "post"],
    brought: true,
    declared_in: ("UPDATE", file!()),
};

pub(super) static DELETE: Group = Group {
    heading: "[object.NAME.delete]",
    about: "deletes a record",
    example: r#"{ delete = "/contacts/{id}" }"#,
    keys: &[
        &[
            endpoint("delete", "the path to DELETE, with `{id}`").example("\"/contacts/{id}\""),
            endpoint("post", "the path to POST to, with `{id}`").example("\"/contacts/{id}/archive\""),
            key(
                "body",
                Holds::Any,
                "what is sent with it, a tree in which `\"{id}\"` and `\"{version}\"` stand for the values",
            )
            .example("{ contact = \"{id}\" }")
            .wrong("{ contact = \"{who}\" }"),
            CONTENT_TYPE.only(When::Beside("body")).with("body = { contact = \"{id}\" }"),
            IF_MATCH,
            MISSING,
            CHANGED,
        ],
        REQUEST,
    ],
    one_of: &["delete", "post"],
    brought: true,
    declared_in: ("DELETE", file!()),
};

/// A key of batches that are lists of whole requests.
const fn of_requests(key: Key) -> Key {
    key.only(When::Is("kind", &["requests"]))
}

/// A key of batches that are lists of records.
const fn of_records(key: Key) -> Key {
    key.only(When::Is("kind", &["records"]))
}

pub(super) static BATCH: Group = Group {
    heading: "[object.NAME.batch]",
    about: "many writes in one request",
    example: r#"{ kind = "requests", post = "/batch" }"#,
    keys: &[&[
        word(
            "kind",
            &["requests", "records"],
            "`requests`: a list of whole requests, answered by a list of whole answers; `records`: endpoints that take a \
             list of records",
        )
        .otherwise("`requests` where there is `post`, else `records`")
        .example("\"requests\""),
        whole("size", 1, 10_000, "how many writes in one request").default("100").example("50"),
        of_requests(endpoint("post", "the path to POST to"))
            .needed(When::Is("kind", &["requests"]))
            .example("\"/batch\""),
        of_requests(path("requests", "where the requests stand in the body")).default("\"requests\"").example("\"calls\""),
        of_requests(path("responses", "where the answers stand")).default("\"responses\"").example("\"answers\""),
        of_requests(text("address", "the key of a request's address")).default("\"path\"").example("\"url\""),
        of_requests(boolean("relative", "addresses are without the path of the base URL")).default("false"),
        path(
            "by",
            "of `requests` the key that names one in itself and in its answer, where answers come in any order; of \
             `records` as in an operation",
        )
        .example("\"id\""),
        of_requests(CONTENT_TYPE),
        of_requests(REQUEST[0]),
        of_requests(REQUEST[1]),
        of_requests(REQUEST[2]),
        of_requests(REQUEST[3]),
        of_records(path("records", "where the list stands in the body, as the next keys for all operations"))
            .example("\"inputs\""),
        of_records(key(
            "item",
            Holds::Any,
            "one entry of the list: a tree as in `body`, in which a key whose name stands for nothing is left out",
        ))
        .example("{ id = \"{id}\", properties = \"{record.properties}\" }")
        .wrong("{ id = \"{who}\" }"),
        of_records(path("results", "where the results stand")).example("\"results\""),
        of_records(path("status", "where the status stands in a result")).example("\"status\""),
        of_records(path("error", "where the error stands in a result")).example("\"error\""),
        of_records(path("record", "where the record stands in a result")).example("\"record\""),
        of_records(path("errors", "the list of failures, where they have one of their own")).example("\"errors\""),
        of_records(path("errors_by", "where a failure names its entry")).example("\"context.mark\""),
        of_records(table("create", &BATCH_CREATE)),
        of_records(table("update", &BATCH_UPDATE)),
        of_records(table("delete", &BATCH_DELETE)),
    ]],
    one_of: &[],
    brought: false,
    declared_in: ("BATCH", file!()),
};

/// An item by whose mark a result is known.
const MARKED: &str = "item = { properties = \"{record.properties}\", mark = \"{trace}\" }";
const MARKED_BY: &str = "by = \"mark\"\nitem = { properties = \"{record.properties}\", mark = \"{trace}\" }";
const MARKED_ERRORS: &str =
    "errors = \"errors\"\nby = \"mark\"\nitem = { properties = \"{record.properties}\", mark = \"{trace}\" }";

/// Whether results are left out.
const WHOLE: Key =
    boolean("whole", "a success says that all was carried out, and nothing of each record; not for creates")
        .default("false");

/// The keys of a batch of records.
static OF_A_BATCH: &[Key] = &[
    endpoint("post", "the path to POST to").example("\"/contacts/batch\""),
    endpoint("put", "the path to PUT to").example("\"/contacts/batch\""),
    endpoint("patch", "the path to PATCH").example("\"/contacts/batch\""),
    endpoint("delete", "the path to DELETE").example("\"/contacts/batch\""),
    path("records", "where the list stands in the body").otherwise("the body is the list").example("\"inputs\""),
    key("item", Holds::Any, "one entry of the list: a tree as in `body`")
        .otherwise("the record; for deletes `{ id = \"{id}\" }`")
        .example("{ id = \"{id}\", properties = \"{record.properties}\" }")
        .wrong("{ id = \"{who}\" }"),
    path("results", "where the results stand, in the order of the records")
        .otherwise("the answer is the list")
        .example("\"results\""),
    path("status", "where the status stands in a result").example("\"status\""),
    path("error", "where the error stands in a result").example("\"error\""),
    path("record", "where the record stands in a result").otherwise("the result is the record").example("\"record\""),
    path("by", "where a result names its entry: by the mark `{trace}` of the item, or by the record's id")
        .otherwise("by its place in the list")
        .with(MARKED)
        .example("\"mark\""),
    path("place", "where a result tells the place of its entry in the list, from 0")
        .without(&["by"])
        .example("\"index\""),
    path("errors", "the list of failures, where they have one of their own")
        .only(When::Beside("by"))
        .with(MARKED_BY)
        .example("\"errors\""),
    path("errors_by", "where a failure names its entry")
        .only(When::Beside("errors"))
        .with(MARKED_ERRORS)
        .example("\"context.mark\""),
    table("job", &BATCH_JOB),
    CONTENT_TYPE,
];

static BATCH_CREATE: Group = Group {
    heading: "batch.create",
    about: "makes several records",
    example: r#"{ post = "/contacts/batch/create" }"#,
    keys: &[OF_A_BATCH, &[WHOLE.example("false")], REQUEST],
    one_of: &["post", "put", "patch", "delete"],
    brought: false,
    declared_in: ("OF_A_BATCH", file!()),
};

static BATCH_UPDATE: Group = Group {
    heading: "batch.update",
    about: "changes several records",
    example: r#"{ post = "/contacts/batch/update" }"#,
    keys: &[OF_A_BATCH, &[WHOLE], REQUEST],
    one_of: &["post", "put", "patch", "delete"],
    brought: false,
    declared_in: ("OF_A_BATCH", file!()),
};

static BATCH_DELETE: Group = Group {
    heading: "batch.delete",
    about: "deletes several records",
    example: r#"{ post = "/contacts/batch/delete" }"#,
    keys: &[OF_A_BATCH, &[WHOLE], REQUEST],
    one_of: &["post", "put", "patch", "delete"],
    brought: false,
    declared_in: ("OF_A_BATCH", file!()),
};
