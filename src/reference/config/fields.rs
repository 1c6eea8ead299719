//! The keys of one field of `[sync.fields]`: the mapping language.

use crate::reference::key::{Group, Holds, Key, PATHS, SCALAR, When, boolean, key, table, text, whole, word};

pub(in crate::reference) static FIELD: Group = Group {
    heading: "An entry of `[sync.fields]`",
    about: "one field of the mapping",
    example: r#"{ remote = "properties.name" }"#,
    keys: &[PLACES, FORMS, RULES],
    one_of: &[],
    brought: false,
    declared_in: ("FIELD", file!()),
};

/// Where the field stands and who decides it.
static PLACES: &[Key] = &[
    key(
        "app",
        PATHS,
        "the path in your app, an entry of a list (`phones[type=work].number`, `mails[first].address`, \
         `mails[only].address`), or several paths that are one value",
    )
    .otherwise("the name")
    .example("\"profile.name\"")
    .wrong("\"phones[last].number\""),
    key("remote", PATHS, "the same in the remote").example("\"properties.name\"").wrong("[\"properties.name\"]"),
    word("owner", &["app", "remote", "shared"], "the side that decides")
        .otherwise("`shared` in two-way syncs, else the source")
        .example("\"shared\""),
    word("conflict", &["app_wins", "remote_wins", "newest_wins"], "for shared fields of two-way syncs: who wins")
        .otherwise("the sync's `tie`")
        .example("\"newest_wins\""),
    boolean("required", "the field must be there and not null, else the record is held back").default("false"),
    key("default", Holds::Any, "the value to write where the source has nothing").example("\"unknown\""),
    key("constant", Holds::Any, "the value itself, for a field that exists on one side only; needs an owner")
        .with("owner = \"app\"")
        .example("\"crm\""),
    key(
        "references",
        Holds::Either(&[Holds::Text, Holds::Table(&REFERENCES)]),
        "the field names records of this sync, each by its id on the same side; it is carried over through their links",
    )
    .example("\"contacts\"")
    .wrong("\"contact\""),
];

/// A field that names other records.
static REFERENCES: Group = Group {
    heading: "references",
    about: "the sync whose records the field names, each by its id on the same side, with more about it",
    example: r#"{ sync = "contacts" }"#,
    keys: &[&[
        text("sync", "the name of the sync").required().example("\"contacts\"").wrong("\"contact\""),
        word("app", &["text", "number"], "how your app writes an id").default("\"text\"").example("\"number\""),
        word("remote", &["text", "number"], "how the remote writes an id").default("\"text\"").example("\"number\""),
        word(
            "until_linked",
            &["wait", "leave_out"],
            "what becomes of a new record that names one which is not linked yet: it is made when that one is, or made \
             without the field, which follows",
        )
        .default("\"wait\"")
        .example("\"leave_out\""),
    ]],
    one_of: &[],
    brought: false,
    declared_in: ("REFERENCES", file!()),
};

const WORDS: &[&str] = &["lowercase", "uppercase", "trim", "number_to_text", "text_to_number"];

/// How the two sides spell it. `values`, `boolean`, `date`, `split`, `join` and the expressions exclude each other.
static FORMS: &[Key] = &[
    key(
        "transform",
        Holds::Either(&[Holds::Words(WORDS), Holds::List(&Holds::Words(WORDS))]),
        "one or a list of transforms; each must be reversible where it is written back",
    )
    .example("\"lowercase\""),
    key("values", Holds::Named("pro", &SCALAR), "which remote value stands for each value of your app")
        .example("{ free = \"F\", pro = \"P\" }"),
    table("values_default", &VALUES_DEFAULT).with("values = { free = \"F\", pro = \"P\" }"),
    table("boolean", &BOOLEAN),
    table("date", &DATE),
    text(
        "split",
        "what stands between the pieces of your app's text; the remote has their list, or each of them at a path of its \
         own",
    )
    .with("remote = [\"properties.first_name\", \"properties.last_name\"]")
    .example("\" \"")
    .wrong("\"\""),
    text(
        "join",
        "what stands between the pieces of the remote's text; your app has their list, or each of them at a path of its \
         own",
    )
    .example("\";\"")
    .wrong("\"\""),
    word("rest", &["first", "last"], "which of several paths takes what is left of a text that has more pieces")
        .default("\"last\"")
        .with("remote = [\"properties.first_name\", \"properties.last_name\"]\nsplit = \" \"")
        .example("\"first\""),
    text(
        "to_remote",
        "an expression that makes the remote's value of your app's, `value`: operators, `if … else`, slices and the \
         filters abs, capitalize, default, first, float, int, join, last, length, lower, replace, reverse, round, split, \
         string, title, trim, upper, as in Jinja",
    )
    .needed(When::Beside("to_app"))
    .with("to_app = \"value[:-1]\"\ntype = \"text\"")
    .example("\"value ~ '!'\"")
    .wrong("\"valu ~ '!'\""),
    text("to_app", "an expression that makes your app's value of the remote's; may stand alone where `direction` is `in`")
        .needed(When::Beside("to_remote"))
        .with("to_remote = \"value ~ '!'\"\ntype = \"text\"")
        .example("\"value[:-1]\"")
        .wrong("\"value | lowr\""),
];

static VALUES_DEFAULT: Group = Group {
    heading: "values_default",
    about: "what stands on a side for a value that is not among `values`",
    example: r#"{ app = "free" }"#,
    keys: &[&[
        key("app", SCALAR, "in your app").example("\"free\""),
        key("remote", SCALAR, "in the remote").example("\"F\""),
    ]],
    one_of: &[],
    brought: false,
    declared_in: ("VALUES_DEFAULT", file!()),
};

static BOOLEAN: Group = Group {
    heading: "boolean",
    about: "how the remote spells true and false",
    example: r#"{ true = "yes", false = "no" }"#,
    keys: &[&[
        key("true", SCALAR, "true").required().example("\"yes\""),
        key("false", SCALAR, "false").required().example("\"no\""),
    ]],
    one_of: &[],
    brought: false,
    declared_in: ("BOOLEAN", file!()),
};

static DATE: Group = Group {
    heading: "date",
    about: "how each side writes a time. A form is `iso`, `date`, `s`, `ms` or a pattern such as `%d/%m/%Y %H:%M:%S%.f`",
    example: r#"{ app = "iso", remote = "ms" }"#,
    keys: &[&[
        text("app", "the form in your app").default("\"iso\"").example("\"iso\""),
        text("remote", "the form in the remote").default("\"iso\"").example("\"ms\"").wrong("\"%Q\""),
        text("zone", "the zone of a form that names none")
            .default("\"UTC\"")
            .example("\"Europe/Berlin\"")
            .wrong("\"Europe/Berln\""),
    ]],
    one_of: &[],
    brought: false,
    declared_in: ("DATE", file!()),
};

/// What the value must be, in the app's form, before it is written to either side.
const RULES: &[Key] = &[
    word(
        "type",
        &["text", "number", "integer", "boolean", "date", "datetime", "list", "object"],
        "the type of the app's value",
    )
    .example("\"text\""),
    whole("min_length", 0, i64::MAX, "characters of a text, entries of a list: at least").example("1"),
    whole("max_length", 0, i64::MAX, "characters of a text, entries of a list: at most").example("200"),
    key("min", Holds::Number, "a number that is not less").example("0"),
    key("max", Holds::Number, "a number that is not more").example("150"),
    text("pattern", "a regular expression that must be found in the text").example("\"^[^@]+@[^@]+$\"").wrong("\"(\""),
    key("one_of", Holds::List(&Holds::Any), "the values allowed").example("[\"free\", \"pro\"]"),
];
