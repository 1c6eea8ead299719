//! The keys of `[object.NAME.list]`: pages, cursors, deletions.

use super::{GET, REQUEST};
use crate::reference::key::{Group, Holds, Key, SCALAR, When, header, key, path, statuses, table, text, whole, word};

pub(super) static LIST: Group = Group {
    heading: "[object.NAME.list]",
    about: "all records, or those that changed",
    example: r#"{ get = "/contacts" }"#,
    keys: &[
        &[
            GET,
            path("records", "where the list stands").otherwise("the answer is the list").example("\"results\""),
            table("page", &PAGE).otherwise("the list is one answer"),
            table("cursor", &CURSOR).otherwise("every run reads everything"),
            table("deleted", &DELETED),
        ],
        REQUEST,
    ],
    one_of: &[],
    declared_in: ("LIST", file!()),
};

pub(super) static PAGE: Group = Group {
    heading: "page",
    about: "how a list is divided. Page numbers and offsets need one of `total`, `more` and `end`: an empty page is not \
            taken for the end unless the file says so",
    example: r#"{ kind = "cursor", next = "paging.next.after", param = "after", size = 100 }"#,
    keys: &[&[
        word(
            "kind",
            &["none", "page", "offset", "cursor", "link_header", "next_url"],
            "what the next page is asked for with: `page`: its number; `offset`: the number of records to skip; `cursor`: a \
             token from the answer; `link_header`: `Link: <…>; rel=\"next\"`; `next_url`: a URL in the body",
        )
        .required()
        .with("size = 100\ntotal = \"total\"")
        .example("\"cursor\""),
        text("param", "the query parameter")
            .only(When::Is("kind", &["page", "offset", "cursor"]))
            .otherwise("the `kind`")
            .example("\"after\""),
        whole("first", 0, 1, "the number of the first page")
            .only(When::Is("kind", &["page"]))
            .with("end = \"empty\"")
            .default("1")
            .example("0"),
        path("next", "where the token or the URL of the next page stands")
            .only(When::Is("kind", &["cursor", "next_url"]))
            .needed(When::Is("kind", &["cursor", "next_url"]))
            .example("\"paging.next.after\""),
        header("header", "the header that holds the link")
            .only(When::Is("kind", &["link_header"]))
            .default("\"Link\"")
            .example("\"Next-Page\""),
        whole("size", 1, 10_000, "how many records are asked for").example("100"),
        text("size_param", "the query parameter of the size").default("\"limit\"").example("\"per_page\""),
        path("total", "where the number of all records stands").example("\"meta.total\""),
        path("more", "where a boolean tells whether there are more").example("\"has_more\""),
        word("end", &["empty", "short"], "the page that ends the list").example("\"empty\""),
        whole("max_pages", 1, 10_000_000, "the most pages a list may have").default("100000").example("1000"),
    ]],
    one_of: &[],
    declared_in: ("PAGE", file!()),
};

/// A duration, or a whole number where positions are plain numbers.
const LENGTH: Holds = Holds::Either(&[Holds::Duration, Holds::Whole(0, i64::MAX)]);

/// A key of cursors that are in an order.
const fn ordered(key: Key) -> Key {
    key.only(When::Is("kind", &["time", "integer"]))
}

static CURSOR: Group = Group {
    heading: "cursor",
    about: "how changes since a position are asked for",
    example: r#"{ kind = "time", param = "updated_since" }"#,
    keys: &[&[
        word(
            "kind",
            &["time", "integer", "opaque"],
            "what a position is: a time, a whole number, or a text that the app tells",
        )
        .required()
        .with("header = \"X-Position\"")
        .example("\"time\""),
        text("param", "the query parameter; for `opaque` it may be missing if the cursor is a URL")
            .needed(When::Is("kind", &["time", "integer"]))
            .example("\"updated_since\""),
        text("format", "the parameter's text around `{cursor}`")
            .default("\"{cursor}\"")
            .example("\"updated>{cursor}\"")
            .wrong("\"updated\""),
        key("query", Holds::Named("deleted", &SCALAR), "parameters sent only when changes are asked for")
            .example("{ deleted = true }"),
        header("header", "a header of the first answer that tells the position of the whole list").example("\"ETag\""),
        statuses(
            "expired",
            "statuses that mean that the position is no longer known: everything is read again, links are kept",
        )
        .default("[410]")
        .example("[400, 410]"),
        ordered(path("field", "where the position stands in a record"))
            .otherwise("the object's `modified`")
            .example("\"seq\""),
        ordered(word(
            "unit",
            &["iso", "s", "ms", "us"],
            "how a time is written; of an integer: what it counts, `iso` excepted",
        ))
        .otherwise("`iso`; of an integer: ones")
        .example("\"ms\""),
        ordered(word("op", &[">=", ">"], "the side's comparison; the kernel asks inclusively in any case"))
            .default("\">=\"")
            .example("\">\""),
        ordered(key("granularity", LENGTH, "the side's resolution")).otherwise("the unit's").example("\"1s\""),
        ordered(key(
            "lookback",
            LENGTH,
            "how far behind the cursor a read starts: transactions commit after their records got their time",
        ))
        .otherwise("`5m` for `time`, else 0")
        .example("\"5s\""),
        ordered(key("settle", LENGTH, "how far behind the side's clock the cursor stays"))
            .otherwise("0")
            .example("\"10s\""),
        ordered(word(
            "order",
            &["asc", "desc", "unsorted"],
            "`asc`: the list is in order of the cursor, which may then advance page by page",
        ))
        .default("\"unsorted\"")
        .example("\"asc\""),
        path("next", "where the next position stands in the last page")
            .only(When::Is("kind", &["opaque"]))
            .example("\"next_sync\""),
    ]],
    one_of: &[],
    declared_in: ("CURSOR", file!()),
};

static DELETED: Group = Group {
    heading: "deleted",
    about: "how a list shows that a record was deleted",
    example: r#"{ tombstone = "deleted" }"#,
    keys: &[&[
        path("flag", "a field of a whole record").example("\"archived\""),
        path("tombstone", "a field of an entry that is nothing else").example("\"deleted\""),
        key("value", Holds::Any, "the value it must have")
            .otherwise("anything but absent, null, false, zero and empty")
            .example("\"yes\""),
    ]],
    one_of: &["flag", "tombstone"],
    declared_in: ("DELETED", file!()),
};
