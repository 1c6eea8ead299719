//! The keys of `job`: of a batch that is worked on later, and of a list that is made as a file.

use crate::reference::key::{
    Group, Holds, Key, SCALAR, When, duration, endpoint, header, key, path, table, text, word,
};

/// How a job is followed.
const FOLLOWED: &[Key] = &[
    path("url", "where the answer tells the URL at which the job is asked for").without(&["id"]).example("\"job.url\""),
    endpoint("get", "the path at which the job is asked for, with `{id}`")
        .with("id = \"job.id\"")
        .example("\"/jobs/{id}\""),
    endpoint("post", "the path to POST to, with a `body` that asks for the job")
        .with("id = \"job.id\"\nbody = { query = \"{ job(id: \\\"{id}\\\") { status } }\" }")
        .example("\"/graphql\""),
    key("body", Holds::Any, "what asks for the job, with `{id}`")
        .only(When::Beside("post"))
        .with("id = \"job.id\"")
        .example("{ id = \"{id}\" }"),
    text("content_type", "the type of that body")
        .only(When::Beside("post"))
        .with("id = \"job.id\"\nbody = { id = \"{id}\" }")
        .default("\"application/json\"")
        .example("\"application/x-www-form-urlencoded\""),
    path("id", "where the answer tells the job's id; with `get` or `post`")
        .needed(When::Beside("get"))
        .with("get = \"/jobs/{id}\"")
        .without(&["url"])
        .example("\"job.id\""),
    path("status", "where an answer tells how the job stands").required().example("\"job.status\""),
    key("done", Holds::List(&Holds::Text), "the states of a job that was carried out")
        .required()
        .example("[\"completed\"]"),
    key(
        "failed",
        Holds::List(&Holds::Text),
        "the states of a job that was not, or not to its end; with any other it goes on",
    )
    .example("[\"failed\", \"cancelled\"]"),
    duration("every", "how long to wait before the first question; then half as long again each time, at most 30 s")
        .default("\"1s\"")
        .example("\"2s\""),
];

pub(super) static BATCH_JOB: Group = Group {
    heading: "batch.job",
    about: "the app answers with a job and carries it out later: `results` and the like stand in the answer that tells its \
            end. A job whose end cannot be known leaves its writes unknown",
    example: r#"{ url = "job.url", status = "job.status", done = ["completed"] }"#,
    keys: &[
        FOLLOWED,
        &[duration("within", "how long a job may take").default("\"5m\"").example("\"10m\"").wrong("\"2h\"")],
    ],
    one_of: &["url", "get", "post"],
    brought: false,
    declared_in: ("BATCH_JOB", file!()),
};

const DOWNLOADED: &str = "get = \"/jobs/{id}\"\nid = \"job.id\"\ndownload = \"/jobs/{id}/result\"";

static NEXT: Group = Group {
    heading: "job.next",
    about: "the file comes in several answers",
    example: r#"{ header = "Sforce-Locator", param = "locator" }"#,
    keys: &[&[
        header(
            "header",
            "the header that tells what the next one is asked for by; empty, `null` or absent in the last",
        )
        .required()
        .example("\"Sforce-Locator\""),
        text("param", "the query parameter that takes it").required().example("\"locator\""),
    ]],
    one_of: &[],
    brought: false,
    declared_in: ("NEXT", file!()),
};

pub(super) static LIST_JOB: Group = Group {
    heading: "list.job",
    about: "the list is made as a file by a job: the request begins it, and it is downloaded piece by piece when it has ended",
    example: r#"{ get = "/jobs/{id}", id = "job.id", status = "job.status", done = ["completed"], file = "job.file" }"#,
    keys: &[
        FOLLOWED,
        &[
            duration("within", "how long a job may take").default("\"1h\"").example("\"2h\""),
            path("file", "where the job tells the URL of its file, once it is done").without(&["download"]).example("\"job.file\""),
            endpoint("download", "the path of its file, with the job's `{id}`")
                .only(When::Beside("get"))
                .without(&["file"])
                .example("\"/jobs/{id}/result\""),
            text("origin", "where the file may be, beside the app itself; asked without credentials")
                .only(When::Beside("file"))
                .with("file = \"job.file\"")
                .example("\"https://storage.googleapis.com\"")
                .wrong("\"http://storage.googleapis.com\""),
            word(
                "format",
                &["lines", "json", "csv"],
                "`lines`: a JSON text on each line; `json`: one JSON text of at most 32 MiB, with `records`; `csv`: of at most \
                 32 MiB, with the paths in its first line",
            )
            .default("\"lines\"")
            .example("\"json\""),
            key("query", Holds::Named("maxRecords", &SCALAR), "parameters of the download")
                .only(When::Beside("download"))
                .with(DOWNLOADED)
                .without(&["file"])
                .example("{ maxRecords = 5000 }"),
            table("next", &NEXT).only(When::Beside("download")).with(DOWNLOADED).without(&["file"]),
        ],
    ],
    one_of: &["url", "get", "post"],
    brought: false,
    declared_in: ("LIST_JOB", file!()),
};
