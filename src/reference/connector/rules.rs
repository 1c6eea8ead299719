//! The keys of `[[errors.rules]]`, by which answers are understood, and of `wait`.

use crate::reference::key::{Group, Holds, When, duration, header, key, path, statuses, table, text, word};

pub(super) static RULE: Group = Group {
    heading: "[[errors.rules]]",
    about: "what an answer means whose status does not tell it. The first rule that fits counts, before everything else; all \
            that it names must hold",
    example: r#"{ class = "limited", status = [403], path = "error.code" }"#,
    keys: &[&[
        word(
            "class",
            &["limited", "unauthorised", "missing", "changed", "duplicate", "invalid", "retry", "expired", "reset_page", "fail"],
            "what the answer is; `expired`: the position is no longer known, everything is read again; `reset_page`: what continues a list is no longer known, it is begun anew; `fail`: a person must \
             mend something",
        )
        .required()
        .example("\"limited\""),
        statuses("status", "any of these; not a success alone").example("[403]"),
        header("header", "a header that must be there").example("\"X-Error\""),
        path("path", "where something must stand").example("\"error.code\""),
        key(
            "is",
            Holds::Either(&[Holds::Text, Holds::List(&Holds::Text)]),
            "just that must stand in `header` or at `path`, of which one is named",
        )
        .with("path = \"error.code\"")
        .example("\"REQUEST_LIMIT_EXCEEDED\""),
        text("pattern", "a regular expression that the body must match").example("\"rate limit\"").wrong("\"(\""),
        table("wait", &WAIT).only(When::Is("class", &["limited"])).otherwise("as `[limits]` says"),
        duration("pause", "how long a limit lasts when nothing says it")
            .only(When::Is("class", &["limited"]))
            .otherwise("as `[limits]` says")
            .example("\"30s\""),
        path("field", "where the name of the field stands that is invalid")
            .only(When::Is("class", &["invalid"]))
            .example("\"error.field\""),
    ]],
    one_of: &[],
    brought: false,
    declared_in: ("RULE", file!()),
};

pub(super) static WAIT: Group = Group {
    heading: "wait",
    about: "where an answer says how long a limit lasts",
    example: r#"{ header = "X-RateLimit-Reset", unit = "epoch" }"#,
    keys: &[&[
        header("header", "the header that says it").example("\"X-RateLimit-Reset\""),
        path("path", "where it stands in the body").example("\"error.retry_after\""),
        word(
            "unit",
            &["s", "ms", "epoch", "epoch_ms", "iso"],
            "a length in `s` or `ms`, or the time at which it ends: in seconds or milliseconds since 1970, or as a text",
        )
        .default("\"s\"")
        .example("\"epoch\""),
    ]],
    one_of: &["header", "path"],
    brought: false,
    declared_in: ("WAIT", file!()),
};
