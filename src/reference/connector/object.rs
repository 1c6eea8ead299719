//! The keys of `[object.NAME]`, and of how single records are read.

use super::list::{CHANGES, DELETIONS, ITEM, LIST, PAGE};
use super::write::{BATCH, CREATE, DELETE, IF_MATCH, UPDATE};
use super::{READING, REQUEST};
use crate::reference::key::{
    Group, Holds, Key, PATHS, SCALAR, duration, endpoint, header, key, path, statuses, table, text, whole, word,
};

/// A section that may also be said not to be there.
macro_rules! part {
    ($name:literal, $group:ident) => {
        key($name, Holds::Either(&[Holds::Boolean, Holds::Table(&$group)]), $group.about)
            .example($group.example)
            .wrong("true")
    };
}

pub(in crate::reference) static OBJECT: Group = Group {
    heading: "[object.NAME]",
    about: "one record type. A sync that writes to it needs `create` and `update`; without `delete`, deletions are not \
            carried there",
    example: r#"{ id = "id", version = "etag", modified = "updated_at", list = { get = "/contacts", cursor = { kind = "time", param = "updated_since", order = "asc" } },
        read = { get = "/contacts/{id}" },
        find = { get = "/contacts", params = { email = "email", external_ref = "external_ref" } } }"#,
    keys: &[&[
        endpoint(
            "path",
            "the path of all records, `{object}` in it standing for the object's name: `list` and `find` are then a GET of \
             it, `create` a POST, `read`, `update` and `delete` a GET, a PATCH and a DELETE of the path with `/{id}`, each \
             unless it says otherwise or is `false`; `{path}` stands for it in the paths of the object",
        )
        .example("\"/contacts\"")
        .wrong("\"/contacts/{id}\""),
        text("like", "the object that says what this one leaves out, key by key in each section")
            .around("people = { path = \"/people\" }")
            .example("\"people\"")
            .wrong("\"nobody\""),
        key(
            "id",
            PATHS,
            "where the id stands in a record; a list of paths makes one id of several values, which are `{id.path}` in a \
             request, one by one",
        )
        .default("\"id\"")
        .example("\"key\""),
        text("id_in", "where the value at `id` is an address: how that ends, around `{id}`; what stands there is the id, without \
             its percent-encoding")
            .example("\"/{id}.vcf\"")
            .wrong("\"/x\""),
        text("id_separator", "what stands between the values of an id of several paths; a record whose id could not be taken \
             apart again is held back")
            .with("id = [\"account\", \"number\"]")
            .example("\"/\"")
            .wrong("\"\""),
        key(
            "id_type",
            Holds::Either(&[Holds::Words(&["text", "number"]), Holds::List(&Holds::Words(&["text", "number"]))]),
            "how an id is written in a body: a word, or one for each path of `id`",
        )
        .default("\"text\"")
        .example("\"number\""),
        path("version", "where the revision stands").example("\"etag\""),
        header("version_header", "the header that tells the revision").example("\"ETag\""),
        key(
            "modified",
            PATHS,
            "where the time of the last change stands; of a list of paths the first that is not null",
        )
        .example("[\"updated_at\", \"created_at\"]"),
        word("modified_unit", &["s", "ms", "us"], "of a time that is a number")
            .otherwise("the cursor's, else `ms`")
            .example("\"s\""),
        text("zone", "the time zone of times that tell none, by its name in the IANA database")
            .default("\"UTC\"")
            .example("\"Europe/Berlin\"")
            .wrong("\"CET/Berlin\""),
        text(
            "time_format",
            "how times are written that are texts, as `strftime` has it: read so, and asked for so; local to `zone` unless \
             it tells an offset",
        )
        .otherwise("ISO 8601")
        .example("\"%d.%m.%Y %H:%M:%S\"")
        .wrong("\"%H:%M\""),
        key("read_only", PATHS, "paths the side sets by itself; left out when a whole record is written")
            .example("[\"created_at\", \"archived\"]"),
        key("json", PATHS, "paths whose texts hold JSON: read as the values in them, and written back as texts")
            .example("[\"custom_fields\", \"meta.payload\"]"),
        key(
            "empty_is_null",
            Holds::Either(&[Holds::Boolean, Holds::Path, Holds::List(&Holds::Path)]),
            "where an empty text is read as null: at these paths, or `true` for all",
        )
        .default("false")
        .example("[\"phone\", \"address.city\"]"),
        key("absent_is_null", PATHS, "paths that are read as null where they are left out").example("\"phone\""),
        key(
            "properties",
            Holds::Either(&[Holds::List(&Holds::Text), Holds::Table(&PROPERTIES)]),
            "what `{properties}` stands for in queries and bodies: the names of what the app shall tell of a record",
        )
        .with("read = { get = \"/contacts/{id}\", query = { properties = \"{properties}\" } }")
        .example("[\"email\", \"first_name\"]"),
        path("record", "where one record stands in an answer").otherwise("the top").example("\"data\""),
        duration("read_lag", "how long after a write a read may still show the state before")
            .default("\"0s\"")
            .example("\"2s\""),
        IF_MATCH.example("true").with("version = \"etag\""),
        text(
            "parent",
            "the object for each of whose records the lists are read; its id is `{parent}` in them, and their cursor, which \
             must be a time, is the side's clock",
        )
        .with("modified = \"at\"\nlist = { get = \"/accounts/{parent}/contacts\" }")
        .around("accounts = { path = \"/accounts\", modified = \"at\" }")
        .example("\"accounts\"")
        .wrong("\"account\""),
        key("also", Holds::Named("leads", &Holds::Table(&ALSO)), ALSO.about)
            .example("{ leads = { list = { get = \"/leads\" } } }"),
        table("list", &LIST).otherwise("a GET of `path`, the answer being the list"),
        part!("changes", CHANGES).otherwise("changes are asked for as the list is"),
        part!("deletions", DELETIONS),
        part!("read", READ),
        part!("read_many", READ_MANY),
        part!("find", FIND),
        part!("create", CREATE),
        part!("update", UPDATE),
        part!("delete", DELETE),
        part!("batch", BATCH),
    ]],
    one_of: &[],
    brought: false,
    declared_in: ("OBJECT", file!()),
};

static ALSO: Group = Group {
    heading: "also.NAME",
    about: "further lists that feed the object, each with a position of its own; a list that is added later is read whole",
    example: r#"{ list = { get = "/leads", cursor = { kind = "time", param = "updated_since", order = "asc" } } }"#,
    keys: &[&[
        table("list", &LIST).required(),
        part!("changes", CHANGES).otherwise("changes are asked for as the list is"),
        part!("deletions", DELETIONS),
    ]],
    one_of: &[],
    brought: false,
    declared_in: ("ALSO", file!()),
};

static PROPERTIES: Group = Group {
    heading: "properties",
    about: "a list of names that a URL may be too short for. A list whose query cannot hold it asks for the first part, \
            and each record is read by its id, in as many requests as needed: that takes a `version` or `modified`, by which \
            parts of different states are known",
    example: r#"{ values = ["email", "first_name"] }"#,
    keys: &[&[
        key("values", Holds::List(&Holds::Text), "the names").required().example("[\"email\", \"first_name\"]"),
        text("join", "what stands between two names within a text").default("\",\"").example("\"|\""),
        whole("max_length", 100, 100_000, "the longest list that a URL takes, in bytes as it is sent")
            .default("6000")
            .example("4000"),
    ]],
    one_of: &[],
    brought: false,
    declared_in: ("PROPERTIES", file!()),
};

/// How one record is asked for.
const READING_ONE: &[Key] = &[
    endpoint("get", "the path to GET, with `{id}` there or in the query").example("\"/contacts/{id}\""),
    endpoint("post", "the path to POST to, with `{id}` there, in the query or in the body")
        .example("\"/contacts/{id}\""),
    READING[2],
    READING[3],
    READING[4],
];

static READ: Group = Group {
    heading: "[object.NAME.read]",
    about: "one record by its id",
    example: r#"{ get = "/contacts/{id}" }"#,
    keys: &[
        &[statuses("missing", "statuses that mean that it is gone; a 401 or 403 is believed after a second look only")
            .default("[404, 410]")
            .example("[404, 410, 403]")],
        READING_ONE,
        REQUEST,
    ],
    one_of: &["get", "post"],
    brought: true,
    declared_in: ("READ", file!()),
};

static READ_MANY: Group = Group {
    heading: "[object.NAME.read_many]",
    about: "several records by their ids. Needs `read`: one that is missing in the answer is read by itself, because \
            absence proves nothing",
    example: r#"{ get = "/contacts", param = "ids" }"#,
    keys: &[
        &[
            text("param", "the query parameter that takes the ids; needed unless query or body hold `{ids}` or `{id}`")
                .example("\"ids\""),
            text("join", "what stands between two ids").default("\",\"").example("\"|\""),
            whole("size", 1, 1_000, "how many at a time").default("50").example("100"),
            path("records", "where the list stands").otherwise("the list's").example("\"results\""),
        ],
        READING,
        REQUEST,
    ],
    one_of: &["get", "post"],
    brought: false,
    declared_in: ("READ_MANY", file!()),
};

static FIND: Group = Group {
    heading: "[object.NAME.find]",
    about: "records by a value: pairs single records, and finds a create whose answer got lost",
    example: r#"{ get = "/contacts", params = { email = "email", external_ref = "external_ref" } }"#,
    keys: &[
        &[
            key(
                "params",
                Holds::Named("email", &Holds::Either(&[Holds::Text, Holds::Named("value", &SCALAR)])),
                "which query parameter searches which path; or several parameters, with `{value}` in one of them. Where the \
                 request holds `{value}`: the side's name of each path",
            )
            .otherwise("those of the object that this one is `like`; else needed")
            .example("{ email = \"email\", external_ref = { property = \"external_ref\", value = \"{value}\" } }"),
            word("encode", &["text", "json", "odata"], "`json`: texts stand in quotes in the parameter; `odata`: in single quotes")
                .default("\"text\"")
                .example("\"json\""),
            path("records", "where the list stands; `\"\"` for the top").otherwise("the list's").example("\"results\""),
            table("page", &PAGE).otherwise("the list's"),
        ],
        ITEM,
        READING,
        REQUEST,
    ],
    one_of: &["get", "post"],
    brought: true,
    declared_in: ("FIND", file!()),
};
