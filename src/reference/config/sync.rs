//! The keys of `[[sync]]` and of its filter.

use super::fields::FIELD;
use crate::reference::key::{Group, Holds, Key, SCALAR, boolean, duration, key, text, word};

pub(in crate::reference) static SYNC: Group = Group {
    heading: "[[sync]]",
    about: "what is kept in agreement: one object on each side",
    example: r#"{ name = "contacts", app = "contacts", remote = "contacts", direction = "two_way", match = ["email"],
                  fields = { email = "properties.email" } }"#,
    keys: &[&[
        text("name", "unique in the file").required().example("\"contacts\""),
        text("connector", "the `name` inside a connector file; the sync is for every connection of it. Needed with several")
            .otherwise("the only one")
            .example("\"crm\"").wrong("\"crn\""),
        key("connections", Holds::List(&Holds::Text), "only these, by `id`")
            .otherwise("all of the connector")
            .example("[\"acme\"]").wrong("[\"acne\"]"),
        text("app", "the object on your side").wrong("\"\"").required().example("\"contacts\""),
        text("remote", "the object on the other side").wrong("\"contact\"").required().example("\"contacts\""),
        word(
            "direction",
            &["out", "in", "two_way"],
            "`out`: your app to the connected app; `in`: back; `two_way`: both",
        )
        .required()
        .example("\"two_way\""),
        key(
            "match",
            Holds::List(&Holds::Text),
            "fields that tell records apart, to pair those that both sides have already; needed for `two_way`. `[]` says \
             that there are none in common",
        )
        .example("[\"email\"]").wrong("[\"mail\"]"),
        key(
            "filter",
            Holds::Either(&[Holds::Named("email", &SCALAR), Holds::List(&Holds::Table(&CONDITION))]),
            "which records are in the sync: fields and the value each must have, or a list of conditions that must all \
             hold. A record that leaves it is left alone, never deleted",
        )
        .otherwise("all records")
        .example("{ email = \"ada@x.io\" }"),
        key(
            "fields",
            Holds::Named("name", &Holds::Either(&[Holds::Path, Holds::Table(&FIELD)])),
            "the mapping: `name = \"path.in.the.remote\"` or a table. The name is also the path in your app, unless `app` \
             says otherwise",
        )
        .required()
        .example("{ email = { remote = \"properties.email\", required = true, transform = \"lowercase\" } }"),
        key(
            "overrides",
            Holds::Either(&[Holds::Words(&["add", "replace"]), Holds::List(&Holds::Text)]),
            "which fields a connection may declare for itself, in its `fields`: `add`, those that are not here; \
             `replace`, any; or these, by name",
        )
        .otherwise("none")
        .example("\"add\""),
        key(
            "schema",
            Holds::Either(&[Holds::Text, Holds::Table(&SCHEMA)]),
            "a file with a JSON Schema that a record must meet in your app's form before it is written to either side, or \
             one for each side's form; part of the feature `json-schema`",
        )
        .example("\"contact.schema.json\"")
        .wrong("\"none.schema.json\""),
        SCHEDULE,
        duration("jitter", "so much later at most, so that many connections do not call at once; `0s` for none")
            .otherwise("`every`: a tenth of it; `cron`: `30s`")
            .with("schedule = \"every 5m\"")
            .example("\"30s\""),
        word(
            "initial",
            &["app", "remote", "newest", "ask"],
            "who wins where a pair that never agreed differs",
        )
        .otherwise("the owner's value; for shared fields `tie`")
        .example("\"newest\""),
        word("tie", &["app", "remote"], "who wins where nothing else decides").default("\"app\"").example("\"remote\""),
    ]],
    one_of: &[],
    brought: false,
    declared_in: ("SYNC", file!()),
};

const SCHEDULE: Key = text(
    "schedule",
    "`every 5m`: from the end of one run to the start of the next. `cron 30 6 * * MON-FRI in Europe/Zurich`: minute, hour, \
     day, month, weekday; UTC where no zone is named",
)
.otherwise("only when asked")
.example("\"every 5m\"")
.wrong("\"every day\"");

static SCHEMA: Group = Group {
    heading: "schema",
    about: "JSON Schemas that a record must meet before it is written, in each side's form",
    example: r#"{ remote = "contact.schema.json" }"#,
    keys: &[&[
        text("app", "a file: what is written to your app")
            .example("\"contact.schema.json\"")
            .wrong("\"none.schema.json\""),
        text("remote", "a file: what is written to the remote")
            .example("\"contact.schema.json\"")
            .wrong("\"none.schema.json\""),
    ]],
    one_of: &[],
    brought: false,
    declared_in: ("SCHEMA", file!()),
};

static CONDITION: Group = Group {
    heading: "An entry of `filter`",
    about: "what one field must be, in the app's form",
    example: r#"{ field = "email", present = true }"#,
    keys: &[&[
        text("field", "the field's name").required().example("\"email\""),
        key("is", Holds::Any, "this value").example("\"ada@x.io\""),
        key("in", Holds::List(&Holds::Any), "one of these values").example("[\"ada@x.io\", \"bob@x.io\"]"),
        key("not", Holds::Any, "not this value, or none of a list").example("[\"eve@x.io\"]"),
        key("min", Holds::Number, "a number that is not less").example("18"),
        key("max", Holds::Number, "a number that is not more").example("99"),
        boolean("present", "it is there and not null; `false`: it is not"),
    ]],
    one_of: &[],
    brought: false,
    declared_in: ("CONDITION", file!()),
};
