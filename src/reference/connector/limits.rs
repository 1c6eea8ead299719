//! The keys of `[limits]`: windows, classes, what answers tell.

use super::rules::WAIT;
use crate::reference::key::{Group, Holds, Key, When, boolean, duration, header, key, path, table, text, whole, word};

const PER: Key = duration("per", "in how much time").example("\"10s\"");

const RESETS: Key = text(
    "resets",
    "the side counts days, from one midnight to the next in this time zone: what is not used is left until then",
)
.otherwise("a window may begin at any time")
.example("\"America/New_York\"")
.wrong("\"America/Bosten\"");

const REQUESTS: Key = whole("requests", 1, 4_294_967_295, "how many requests").example("100");

const POINTS: Key = whole("points", 1, 4_294_967_295, "how many points, where a call costs its `cost`").example("1000");

/// A window beside other keys: it need not be there.
static OWN_WINDOW: &[Key] = &[
    REQUESTS.only(When::Beside("per")),
    POINTS.only(When::Beside("per")).without(&["requests"]),
    PER.needed(When::Beside("requests")).with("requests = 100"),
    RESETS.with("requests = 100\nper = \"1d\""),
    key("windows", Holds::List(&Holds::Table(&WINDOW)), "further limits; all hold at once")
        .example("[{ requests = 10_000, per = \"1d\" }]"),
];

/// A window alone.
pub(in crate::reference) static WINDOW: Group = Group {
    heading: "limits.windows",
    about: "so many requests in so much time",
    example: r#"{ requests = 10_000, per = "1d" }"#,
    keys: &[&[REQUESTS, POINTS, PER.required(), RESETS.with("per = \"1d\"")]],
    one_of: &["requests", "points"],
    brought: false,
    declared_in: ("WINDOW", file!()),
};

pub(super) static LIMITS: Group = Group {
    heading: "[limits]",
    about: "how often the app may be called. A connection may declare windows of its own in place of these",
    example: r#"{ requests = 100, per = "10s" }"#,
    keys: &[
        OWN_WINDOW,
        &[
            whole("concurrency", 1, 1_000, "calls in flight at once").default("4").example("8"),
            duration("pause", "how long to pause after a 429 that does not say").default("\"5s\"").example("\"30s\""),
            duration("lockout", "the least pause after any 429, whatever it says: whoever comes back earlier is locked out anew")
                .default("\"0s\"")
                .example("\"30s\""),
            table("wait", &WAIT).otherwise("`Retry-After`"),
            key("class", Holds::Named("search", &Holds::Table(&CLASS)), CLASS.about)
                .example("{ search = { requests = 5, per = \"1s\" } }"),
            table("together", &TOGETHER),
            key("told", Holds::List(&Holds::Table(&TOLD)), TOLD.about)
                .example("[{ header = \"X-RateLimit-Remaining\", reset = { header = \"X-RateLimit-Reset\", unit = \"epoch\" } }]"),
            table("cost", &COST).otherwise("the endpoint's `cost`"),
        ],
    ],
    one_of: &[],
    brought: false,
    declared_in: ("LIMITS", file!()),
};

static CLASS: Group = Group {
    heading: "[limits.class.NAME]",
    about: "limits of their own for the calls of endpoints that name this class",
    example: r#"{ requests = 5, per = "1s" }"#,
    keys: &[
        OWN_WINDOW,
        &[
            whole("concurrency", 1, 1_000, "calls of the class in flight at once")
                .otherwise("that of `[limits]`")
                .example("1"),
            boolean("apart", "the app counts these calls apart: they do not count in the windows of `[limits]`")
                .default("false"),
            duration(
                "exclusive",
                "one list of this class at a time, such as a scroll; one that has not gone on for this long has ended",
            )
            .example("\"1m\""),
        ],
    ],
    one_of: &[],
    brought: false,
    declared_in: ("CLASS", file!()),
};

static TOGETHER: Group = Group {
    heading: "[limits.together]",
    about: "limits of all connections of this connector together: where the app counts the calls of one client, whichever \
            customers they are for. They hold beside each connection's own",
    example: r#"{ requests = 10_000, per = "1m" }"#,
    keys: &[OWN_WINDOW, &[whole("concurrency", 1, 1_000, "calls of all connections in flight at once").example("50")]],
    one_of: &[],
    brought: false,
    declared_in: ("TOGETHER", file!()),
};

static TOLD: Group = Group {
    heading: "[[limits.told]]",
    about: "where answers tell how much is left, because others call with the same account. It lowers what is declared and \
            never raises it. An answer to a call of a class that is counted `apart` tells of that class",
    example: r#"{ header = "X-RateLimit-Remaining" }"#,
    keys: &[&[
        header("header", "the header that tells it").example("\"X-RateLimit-Remaining\""),
        path("path", "where it stands in the body").example("\"extensions.cost.throttleStatus.currentlyAvailable\""),
        word("form", &["left", "used/limit"], "`left`: a number; `used/limit`: two, such as `39/40`")
            .default("\"left\"")
            .example("\"used/limit\""),
        word("counts", &["requests", "points"], "what is left").default("\"requests\"").example("\"points\""),
        table("reset", &WAIT).otherwise("`holds` says it"),
        key(
            "restores",
            Holds::Either(&[Holds::Whole(1, 1_000_000), Holds::Path]),
            "how many come back in a second, or where the body tells that",
        )
        .example("\"extensions.cost.throttleStatus.restoreRate\""),
        duration("holds", "how long it is believed where nothing says when the app counts anew")
            .default("\"1m\"")
            .example("\"10s\"")
            .wrong("\"2d\""),
    ]],
    one_of: &["header", "path"],
    brought: false,
    declared_in: ("TOLD", file!()),
};

static COST: Group = Group {
    heading: "limits.cost",
    about: "where an answer tells how many points the call has cost",
    example: r#"{ path = "extensions.cost.actualQueryCost" }"#,
    keys: &[&[
        header("header", "the header that tells it").example("\"X-Request-Cost\""),
        path("path", "where it stands in the body").example("\"extensions.cost.actualQueryCost\""),
    ]],
    one_of: &["header", "path"],
    brought: false,
    declared_in: ("COST", file!()),
};
