//! The keys of jobs: of a batch that is worked on later, of a list that is made as a file.

use url::Url;

use crate::model::document::Table;
use crate::model::value::Value;

use super::download::Format;
use super::export::{ExportSpec, FilePlace};
use super::fields::{endpoint_at, header_name, pairs, path, required_path, set_content_type, sub, word};
use super::job::{JobSpec, Poll};
use super::spec::Endpoint;
use super::template::{Name, tree_holds};
use super::transport::Method;

/// How long a batch may take, where the file does not say.
const BATCH_WITHIN_MS: u64 = 5 * 60 * 1_000;

/// How long an export may take, where the file does not say.
const EXPORT_WITHIN_MS: u64 = 60 * 60 * 1_000;

/// The longest that a writer is kept waiting.
const MAX_BATCH_WITHIN_MS: u64 = 60 * 60 * 1_000;

/// `job` of a batch.
pub(super) fn job(batch: &Table<'_>) -> Option<JobSpec> {
    let table = sub(batch, "job", "job")?;
    let spec = keys(&table, BATCH_WITHIN_MS);
    if spec.as_ref().is_some_and(|spec| spec.most_ms > MAX_BATCH_WITHIN_MS) {
        let span = table.item("within").map_or(table.span(), |item| item.span());
        table.problems().add(span, "'within' must be at most 1h: the records wait for it");
    }
    table.finish();
    spec
}

/// `job` of a list.
pub(super) fn export(list: &Table<'_>) -> Option<ExportSpec> {
    let table = sub(list, "job", "job")?;
    if let Some(page) = list.item("page") {
        let help = "take 'page' away: the job's records come in a file";
        list.problems().add_with_help(page.span(), "a list that is made as a job has no 'page'", help);
    }
    let job = keys(&table, EXPORT_WITHIN_MS);
    let file = path(&table, "file");
    let download = table.item("download").is_some().then(|| path_of(&table, "download"));
    let origin = origin(&table);
    if let (Some(item), None) = (table.item("origin"), table.item("file")) {
        table.problems().add_with_help(item.span(), "'origin' needs 'file'", "take it away");
    }
    let file = match (file, download) {
        (Some(path), None) => Some(FilePlace::Url { path, origin }),
        (None, Some(endpoint)) => {
            if let (Some(item), None) = (table.item("download"), table.item("get")) {
                let help = "add get = \"/jobs/{id}\" and id = \"job.id\"";
                table.problems().add_with_help(item.span(), "'download' needs 'get': it names the job by its id", help);
            }
            Some(FilePlace::Endpoint(endpoint))
        }
        (Some(_), Some(_)) | (None, None) => {
            if !(table.item("file").is_some() && table.item("download").is_none()) {
                let help = "file = \"url\": where the job tells the file's URL; download = \"/jobs/{id}/result\": its endpoint";
                table.problems().add_with_help(table.span(), "'job' needs either 'file' or 'download'", help);
            }
            None
        }
    };
    let format = word(&table, "format", &[("lines", Format::Lines), ("json", Format::Json), ("csv", Format::Csv)])
        .unwrap_or(Format::Lines);
    let query = pairs(&table, "query");
    let next = sub(&table, "next", "next").map(|next| {
        let header = next.required_text("header").and_then(|_| header_name(&next, "header"));
        let param = next.required_text("param").map(|param| param.value);
        next.finish();
        header.zip(param)
    });
    let is_endpoint = matches!(file, Some(FilePlace::Endpoint(_)));
    for key in ["query", "next"] {
        if let Some(item) = table.item(key).filter(|_| !is_endpoint) {
            let help = "a URL that the job tells is asked for as it stands";
            table.problems().add_with_help(item.span(), format!("'{key}' needs 'download'"), help);
        }
    }
    table.finish();
    Some(ExportSpec { job: job?, file: file?, format, query, next: next.flatten() })
}

fn keys(table: &Table<'_>, within_ms: u64) -> Option<JobSpec> {
    let url = path(table, "url");
    let get = table.item("get").is_some().then(|| path_of(table, "get"));
    let post = table.item("post").is_some().then(|| asked_by_post(table));
    let id = path(table, "id");
    let problem = |key: &str, message: &str, help: &str| {
        let span = table.item(key).map_or(table.span(), |item| item.span());
        table.problems().add_with_help(span, message, help);
    };
    if let (Some(item), None) = (table.item("body"), table.item("post")) {
        table.problems().add_with_help(item.span(), "'body' needs 'post'", "write post = \"/path\" instead of get");
    }
    let found = ["url", "get", "post"].into_iter().filter(|key| table.item(key).is_some()).count();
    let poll = match (url, get.map(|endpoint| (endpoint, None)).or(post)) {
        _ if found != 1 => {
            let help = "url = \"job.url\": where the answer tells the job's URL; get = \"/jobs/{id}\", or post with body, with id = \"job.id\"";
            problem("get", "'job' needs one of 'url', 'get' and 'post'", help);
            None
        }
        (Some(path), _) => {
            if table.item("id").is_some() {
                problem("id", "'id' needs 'get' or 'post'", "take it away: the job is asked for at its URL");
            }
            Some(Poll::Url(path))
        }
        (None, Some((endpoint, body))) => {
            if table.item("id").is_none() {
                problem("get", "'id' is missing: where the answer names the job", "id = \"job.id\"");
            }
            id.map(|id| Poll::Id { endpoint, body, id })
        }
        (None, None) => None,
    };
    let status = required_path(table, "status");
    let words = |key: &str| {
        let texts = table.texts(key).unwrap_or_default();
        texts.into_iter().map(|text| text.value).collect::<Vec<String>>()
    };
    if table.item("done").is_none() {
        problem(
            "done",
            "'done' is missing in 'job': the states of a job that was carried out",
            "done = [\"completed\"]",
        );
    }
    let (every, within) = (table.duration_ms("every"), table.duration_ms("within"));
    let (done, failed) = (words("done"), words("failed"));
    Some(JobSpec {
        poll: poll?,
        status: status?,
        done,
        failed,
        every_ms: every.map_or(1_000, |every| every.value),
        most_ms: within.map_or(within_ms, |within| within.value),
    })
}

/// An endpoint under a key of its own, with the job's `{id}` in its path.
fn path_of(table: &Table<'_>, key: &str) -> Endpoint {
    let found = endpoint_at(table, key, Method::Get);
    if !found.path.holds_id() {
        let message = format!("'{key}' of {} names no job", table.name());
        table.problems().add_with_help(table.span(), message, "put {id} where the job's id belongs");
    }
    found
}

/// `post` with the `body` that asks for the job.
fn asked_by_post(table: &Table<'_>) -> (Endpoint, Option<Value>) {
    let mut endpoint = endpoint_at(table, "post", Method::Post);
    set_content_type(table, &mut endpoint);
    let body = table.item("body").and_then(|item| {
        let noted = |wanted| table.problems().add(item.span(), format!("'body' must be {wanted}"));
        item.value().map_err(noted).ok()
    });
    let in_body = body.as_ref().is_some_and(|body| tree_holds(body, Name::Id));
    if !endpoint.path.holds_id() && !in_body {
        let message = format!("'post' of {} names no job", table.name());
        table.problems().add_with_help(table.span(), message, "put {id} where the job's id belongs, in path or body");
    }
    (endpoint, body)
}

/// The origin that a file may be at, beside that of the app.
fn origin(table: &Table<'_>) -> Option<Url> {
    let text = table.text("origin")?;
    let problem = |message: String| {
        let help = "for example origin = \"https://storage.googleapis.com\"";
        table.problems().add_with_help(text.span.clone(), message, help);
        None
    };
    match Url::parse(&text.value) {
        Ok(url)
            if url.scheme() == "https" && url.path() == "/" && url.query().is_none() && url.username().is_empty() =>
        {
            Some(url)
        }
        Ok(_) | Err(_) => problem("'origin' must be https and a host, and no more".to_owned()),
    }
}
