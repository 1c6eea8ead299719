//! The keys of `[object.NAME.list]`: pages, cursors, deletions.

use super::job::LIST_JOB;
use super::{READING, REQUEST};
use crate::reference::key::{
    Group, Holds, Key, SCALAR, When, boolean, duration, header, key, path, statuses, table, text, whole, word,
};

pub(super) static LIST: Group = Group {
    heading: "[object.NAME.list]",
    about: "all records, or those that changed",
    example: r#"{ get = "/contacts", cursor = { kind = "time", param = "updated_since", order = "asc" } }"#,
    keys: &[
        &[
            path("records", "where the list stands").otherwise("the answer is the list").example("\"results\""),
            table("page", &PAGE).otherwise("the list is one answer"),
            table("cursor", &CURSOR).otherwise("every run reads everything"),
            table("deleted", &DELETED),
            table("job", &LIST_JOB).without(&["page"]),
        ],
        ITEM,
        READING,
        REQUEST,
    ],
    one_of: &["get", "post"],
    brought: true,
    declared_in: ("LIST", file!()),
};

/// What an entry of a list is.
pub(super) const ITEM: &[Key] = &[
    path("item", "where the record stands in one entry of the list")
        .otherwise("the entry is the record")
        .example("\"data.object\""),
    boolean("thin", "an entry only names its record, which is read by its id").default("false"),
];

pub(super) static CHANGES: Group = Group {
    heading: "[object.NAME.changes]",
    about: "how changes are listed, where that is another request than the list: a search, or a list of events. It asks by \
            `{cursor}` in query or body, or by the cursor's `param`",
    example: r#"{ get = "/contacts/changes" }"#,
    keys: &[
        &[
            path("records", "where the list stands; `\"\"` for the top").otherwise("the list's").example("\"results\""),
            table("page", &PAGE).otherwise("the list's"),
            table("cursor", &CURSOR).otherwise("the list's"),
            table("deleted", &DELETED),
            table("job", &LIST_JOB).without(&["page"]),
        ],
        ITEM,
        READING,
        REQUEST,
    ],
    one_of: &["get", "post"],
    brought: false,
    declared_in: ("CHANGES", file!()),
};

pub(super) static DELETIONS: Group = Group {
    heading: "[object.NAME.deletions]",
    about: "a list of deletions and nothing else, read when the changes have been",
    example: r#"{ get = "/contacts/deleted", param = "since" }"#,
    keys: &[
        &[
            path("records", "where the list stands; `\"\"` for the top").otherwise("that of the changes").example("\"results\""),
            table("page", &PAGE).otherwise("that of the changes"),
            text("param", "the query parameter that takes the position; without it and without `{cursor}` all of it is read each time")
                .example("\"since\""),
        ],
        ITEM,
        READING,
        REQUEST,
    ],
    one_of: &["get", "post"],
    brought: false,
    declared_in: ("DELETIONS", file!()),
};

pub(super) static PAGE: Group = Group {
    heading: "page",
    about: "how a list is divided. Page numbers and offsets need one of `total`, `more` and `end`: an empty page is not \
            taken for the end unless the file says so",
    example: r#"{ kind = "cursor", next = "paging.next.after", param = "after", size = 100 }"#,
    keys: &[&[
        word(
            "kind",
            &["none", "page", "offset", "cursor", "keyset", "link_header", "next_url"],
            "what the next page is asked for with: `page`: its number; `offset`: the number of records to skip; `cursor`: a \
             token from the answer; `keyset`: a field of the last record; `link_header`: `Link: <…>; rel=\"next\"`; `next_url`: a URL in the body",
        )
        .required()
        .with("size = 100\ntotal = \"total\"\nend = \"empty\"")
        .example("\"cursor\""),
        text("param", "the query parameter")
            .only(When::Is("kind", &["page", "offset", "cursor", "keyset"]))
            .otherwise("the `kind`; of `keyset`: `after`")
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
        path("field", "the field of the last record after which the next page begins")
            .only(When::Is("kind", &["keyset"]))
            .needed(When::Is("kind", &["keyset"]))
            .with("end = \"empty\"")
            .example("\"id\""),
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
        whole(
            "max_results",
            2,
            100_000_000,
            "the most records that the side gives in one list, whatever there are. The list, which must be in order of its \
             cursor, is then begun anew from the last position",
        )
        .with("size = 100")
        .example("10_000"),
        boolean("alone", "what continues the list is sent without any other parameter").default("false"),
    ]],
    one_of: &[],
    brought: false,
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
        text(
            "param",
            "the query parameter; needed unless query or body hold `{cursor}`. For `opaque` it may be missing if the cursor \
             is a URL",
        )
            .example("\"updated_since\""),
        text("format", "the parameter's text around `{cursor}`")
            .otherwise("the position, a number where its unit is one")
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
        duration("retention", "how long the side remembers changes: an older time is not asked for, and everything is read again")
            .only(When::Is("kind", &["time"]))
            .example("\"30d\""),
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
    brought: false,
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
    brought: false,
    declared_in: ("DELETED", file!()),
};
