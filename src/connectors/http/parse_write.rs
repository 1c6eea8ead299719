//! The writing half of an object in a connector file.

use crate::model::document::Table;
use crate::model::path::Path;
use crate::model::value::Value;
use crate::model::write::{CreateRecovery, DEFAULT_CREATE_SETTLE_MS};

use super::compose::{TRACE, holds};
use super::fields::{body, endpoint, header_name, needs_id, number, path, set_content_type, statuses, sub, word};
use super::forms::Nulls;
use super::id::IdSpec;
use super::parse_job::job;
use super::parse_read::MISSING;
use super::spec::{
    Absent, BatchEndpoint, BatchKind, BatchSpec, CreateSpec, DeleteSpec, Endpoint, FindSpec, UpdateSpec,
};
use super::transport::Method;

/// `[object.x.create]`
pub(super) fn create(table: Table<'_>, find: Option<&FindSpec>, has_read: bool) -> Option<CreateSpec> {
    let endpoint = write_endpoint(&table, &["post", "put", "patch"]);
    let recovery = recovery(&table, &endpoint, find, has_read);
    if endpoint.method == Method::Patch && !endpoint.path.holds_external_id() {
        let help = "put {external_id} into the path: a PATCH makes a record only where the client names it";
        table.problems().add_with_help(table.span(), format!("{} names no record to patch", table.name()), help);
    }
    let duplicate_text = table.text("duplicate_text");
    if let (Some(text), None) = (&duplicate_text, table.item("duplicate")) {
        let help = "add duplicate = [400]: the statuses that mean that it exists where the answer holds this text";
        table.problems().add_with_help(text.span.clone(), "'duplicate_text' needs 'duplicate'", help);
    }
    let spec = CreateSpec {
        endpoint,
        body: body(&table, "body"),
        recovery: recovery.recovery,
        external_id_field: recovery.field,
        idempotency_header: recovery.header,
        nulls: nulls(&table, true),
        answers_record: answers_record(&table),
        duplicate: statuses(&table, "duplicate").unwrap_or_default(),
        duplicate_text: duplicate_text.map(|text| text.value),
        duplicate_id: path(&table, "duplicate_id"),
    };
    table.finish();
    Some(spec)
}

/// An endpoint that takes a body: JSON, of the content type that the table names.
fn write_endpoint(table: &Table<'_>, methods: &[&str]) -> Endpoint {
    let mut endpoint = endpoint(table, methods);
    set_content_type(table, &mut endpoint);
    endpoint
}

/// How an unknown create is recovered, and what of it goes into each request.
struct Recovery {
    recovery: CreateRecovery,
    field: Option<Path>,
    header: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum RecoveryWord {
    ClientId,
    IdempotencyKey,
    ExternalId,
    Find,
    Park,
}

const RECOVERIES: [(&str, RecoveryWord); 5] = [
    ("client_id", RecoveryWord::ClientId),
    ("idempotency_key", RecoveryWord::IdempotencyKey),
    ("external_id", RecoveryWord::ExternalId),
    ("find", RecoveryWord::Find),
    ("park", RecoveryWord::Park),
];

/// `recovery = "find"`, or `recovery = { kind = "find", settle = "60s" }`.
fn recovery(create: &Table<'_>, endpoint: &Endpoint, find: Option<&FindSpec>, has_read: bool) -> Recovery {
    let park = Recovery { recovery: CreateRecovery::Park, field: None, header: None };
    let Some(item) = create.item("recovery") else {
        let settle_ms = DEFAULT_CREATE_SETTLE_MS;
        return if find.is_some() { Recovery { recovery: CreateRecovery::Find { settle_ms }, ..park } } else { park };
    };
    let table = if item.text().is_ok() { None } else { sub(create, "recovery", "recovery") };
    let kind = match &table {
        None => word(create, "recovery", &RECOVERIES),
        Some(table) => word(table, "kind", &RECOVERIES),
    };
    let field = table.as_ref().and_then(|table| path(table, "field"));
    let header = table.as_ref().and_then(|table| header_name(table, "header"));
    let life = table.as_ref().and_then(|table| table.duration_ms("life"));
    let settle = table.as_ref().and_then(|table| table.duration_ms("settle"));
    let problem = |message: &str, help: &str| create.problems().add_with_help(item.span(), message, help);
    let recovery = match kind {
        Some(RecoveryWord::ClientId) => {
            let in_path = endpoint.path.holds_external_id();
            if field.is_none() && !in_path {
                problem(
                    "nothing tells the side which id the client chose",
                    "put {external_id} into the path, or name the field: recovery = { kind = \"client_id\", field = \"id\" }",
                );
            }
            if !has_read {
                problem("an unknown create is recovered by reading its id", "declare [read]");
            }
            CreateRecovery::ClientId
        }
        Some(RecoveryWord::IdempotencyKey) => {
            if header.is_none() || life.is_none() {
                problem(
                    "an idempotency key needs its header and how long the side remembers it",
                    "recovery = { kind = \"idempotency_key\", header = \"Idempotency-Key\", life = \"24h\" }",
                );
            }
            CreateRecovery::IdempotencyKey { life_ms: life.map_or(0, |life| life.value) }
        }
        Some(RecoveryWord::ExternalId) => {
            let findable = field
                .as_ref()
                .is_some_and(|field| find.is_some_and(|find| find.params.iter().any(|(path, _)| path == field)));
            if !findable {
                problem(
                    "an unknown create is recovered by finding its external id",
                    "name its field here, and the same field in params of [find]",
                );
            }
            CreateRecovery::ExternalId
        }
        Some(RecoveryWord::Find) => {
            if find.is_none() {
                problem("an unknown create is recovered by finding it", "declare [find], or recovery = \"park\"");
            }
            CreateRecovery::Find { settle_ms: settle.map_or(DEFAULT_CREATE_SETTLE_MS, |settle| settle.value) }
        }
        Some(RecoveryWord::Park) | None => CreateRecovery::Park,
    };
    if let Some(table) = table {
        if kind.is_none() && table.item("kind").is_none() {
            problem("'kind' is missing in 'recovery'", "one of: client_id, idempotency_key, external_id, find, park");
        }
        table.finish();
    }
    Recovery { recovery, field, header }
}

/// `[object.x.update]`; `guard` is the object's own `if_match`.
pub(super) fn update(table: Table<'_>, has_version: bool, guard: Option<&str>, id: &IdSpec) -> Option<UpdateSpec> {
    let endpoint = write_endpoint(&table, &["put", "patch", "post"]);
    let body = body(&table, "body");
    let keep_id = table.boolean("keep_id").is_some_and(|keep| keep.value);
    if !(keep_id && holds(&body, "{record}")) {
        needs_id(&table, &endpoint, Some(&body), id);
    }
    let is_put = endpoint.method == Method::Put;
    let whole = table.boolean("whole").map_or(is_put, |whole| whole.value);
    let absent = word(&table, "absent", &[("null", Absent::Null), ("omit", Absent::Omit), ("empty", Absent::Empty)]);
    let spec = UpdateSpec {
        endpoint,
        body,
        whole,
        keep_id,
        // Only a whole record can say by leaving a key out that it is gone.
        absent: absent.unwrap_or(if whole { Absent::Omit } else { Absent::Null }),
        nulls: nulls(&table, whole),
        answers_record: answers_record(&table),
        if_match: guarded(&table, has_version, guard),
        makes_missing: makes_missing(&table, guard.is_some()),
        missing: statuses(&table, "missing").unwrap_or_else(|| MISSING.to_vec()),
        changed: statuses(&table, "changed").unwrap_or_else(|| vec![412]),
    };
    table.finish();
    Some(spec)
}

/// `null = "omit"`: how a null is written. Where only changes are sent, leaving it out would never
/// tell the side of it.
fn nulls(table: &Table<'_>, whole: bool) -> Nulls {
    let nulls = word(table, "null", &[("null", Nulls::Null), ("omit", Nulls::Omit), ("empty", Nulls::Empty)]);
    if nulls == Some(Nulls::Omit) && !whole {
        let span = table.item("null").map_or(table.span(), |item| item.span());
        let help = "write whole = true, or null = \"empty\"";
        table.problems().add_with_help(span, "a value that becomes null would never be written", help);
    }
    nulls.unwrap_or(Nulls::Null)
}

/// `answer = "id"`: the answer names the record but does not hold all of it, so it is
/// read back.
fn answers_record(table: &Table<'_>) -> bool {
    word(table, "answer", &[("record", true), ("id", false)]).unwrap_or(true)
}

/// `makes_missing = true`: the side makes a record that is missing. It must not be able
/// to bring back a deleted one, so it has to understand `If-Match`.
fn makes_missing(update: &Table<'_>, is_guarded: bool) -> bool {
    let Some(makes) = update.boolean("makes_missing") else { return false };
    if makes.value && !is_guarded && update.item("if_match").is_none() {
        let help = "declare if_match: with 'If-Match: *' a record that is missing is not made";
        update.problems().add_with_help(makes.span, "'makes_missing' needs 'if_match'", help);
    }
    makes.value
}

/// `[object.x.delete]`; `guard` is the object's own `if_match`.
pub(super) fn delete(table: Table<'_>, has_version: bool, guard: Option<&str>, id: &IdSpec) -> Option<DeleteSpec> {
    let mut endpoint = endpoint(&table, &["delete", "post"]);
    let body = table.item("body").map(|_| body(&table, "body"));
    if body.is_some() {
        set_content_type(&table, &mut endpoint);
    }
    needs_id(&table, &endpoint, body.as_ref(), id);
    let spec = DeleteSpec {
        endpoint,
        body,
        if_match: guarded(&table, has_version, guard),
        missing: statuses(&table, "missing").unwrap_or_else(|| MISSING.to_vec()),
        changed: statuses(&table, "changed").unwrap_or_else(|| vec![412]),
    };
    table.finish();
    Some(spec)
}

/// `if_match` of one operation, or the object's where it says nothing.
fn guarded(table: &Table<'_>, has_version: bool, guard: Option<&str>) -> Option<String> {
    match table.item("if_match") {
        Some(_) => if_match(table, has_version),
        None => guard.map(str::to_owned),
    }
}

/// `if_match = true`, or a text around `{version}` where the version is no ETag by
/// itself.
pub(super) fn if_match(table: &Table<'_>, has_version: bool) -> Option<String> {
    let item = table.item("if_match")?;
    let template = match (item.boolean(), item.text()) {
        (Ok(value), _) => value.value.then(|| "{version}".to_owned()),
        (Err(_), Ok(text)) if text.value.contains("{version}") && !text.value.chars().any(char::is_control) => {
            Some(text.value)
        }
        (Err(_), Ok(_) | Err(_)) => {
            let message = "'if_match' must be true or a text that holds {version}";
            table.problems().add(item.span(), message);
            None
        }
    };
    if template.is_some() && !has_version {
        let message = "'if_match' needs a version";
        table.problems().add_with_help(item.span(), message, "declare version or version_header of the object");
    }
    template
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum BatchWord {
    Requests,
    Records,
}

/// `[object.x.batch]`
pub(super) fn batch(table: Table<'_>, object: &str) -> Option<BatchSpec> {
    let kind = match table.item("kind") {
        Some(_) => word(&table, "kind", &[("requests", BatchWord::Requests), ("records", BatchWord::Records)]),
        // Only a list of whole requests has one endpoint for all of them.
        None if table.item("post").is_some() => Some(BatchWord::Requests),
        None => Some(BatchWord::Records),
    };
    let size = number(&table, "size", 1, 10_000).and_then(|size| usize::try_from(size).ok()).unwrap_or(100);
    let Some(kind) = kind else {
        table.finish_undecided();
        return None;
    };
    let kind = match kind {
        BatchWord::Requests => {
            let endpoint = write_endpoint(&table, &["post"]);
            let requests = path_or(&table, "requests");
            let responses = path_or(&table, "responses");
            let key = |key: &str| table.text(key).map(|text| text.value);
            BatchKind::Requests {
                endpoint,
                requests,
                responses,
                address: key("address").unwrap_or_else(|| "path".to_owned()),
                relative: table.boolean("relative").is_some_and(|relative| relative.value),
                by: one_key(&table, "by"),
            }
        }
        BatchWord::Records => {
            let shared = Results::of(&table);
            let part = |key: &str, item: Value| {
                let table = sub(&table, key, &format!("object.{object}.batch.{key}"));
                table.map(|table| batch_endpoint(table, item, &shared, key == "create"))
            };
            let record = || Value::string("{record}");
            let id_only = Value::Object(vec![("id".to_owned(), Value::string("{id}"))]);
            BatchKind::Records {
                create: part("create", record()),
                update: part("update", record()),
                delete: part("delete", id_only),
            }
        }
    };
    table.finish();
    Some(BatchSpec { size, kind })
}

/// A path of a single key.
fn one_key(table: &Table<'_>, key: &str) -> Option<String> {
    let path = path(table, key)?;
    if let [only] = path.segments() {
        return Some(only.clone());
    }
    let span = table.item(key).map_or(table.span(), |item| item.span());
    table.problems().add_with_help(span, format!("'{key}' names one key of a request"), "for example by = \"id\"");
    None
}

/// The path under a key, which by default is the key itself.
fn path_or(table: &Table<'_>, key: &str) -> Path {
    path(table, key).unwrap_or_else(|| Path::key(key))
}

/// How a batch and its results are written: said once for all operations, or by one.
#[derive(Clone, Default)]
struct Results {
    item: Option<Value>,
    records: Option<Path>,
    results: Option<Path>,
    status: Option<Path>,
    error: Option<Path>,
    record: Option<Path>,
    by: Option<Path>,
    errors: Option<Path>,
    errors_by: Option<Path>,
}

impl Results {
    fn of(table: &Table<'_>) -> Self {
        Self {
            item: table.item("item").map(|_| body(table, "item")),
            records: path(table, "records"),
            results: path(table, "results"),
            status: path(table, "status"),
            error: path(table, "error"),
            record: path(table, "record"),
            by: path(table, "by"),
            errors: path(table, "errors"),
            errors_by: path(table, "errors_by"),
        }
    }

    /// These, with others for what they leave out.
    fn or(self, shared: &Self) -> Self {
        let shared = shared.clone();
        Self {
            item: self.item.or(shared.item),
            records: self.records.or(shared.records),
            results: self.results.or(shared.results),
            status: self.status.or(shared.status),
            error: self.error.or(shared.error),
            record: self.record.or(shared.record),
            by: self.by.or(shared.by),
            errors: self.errors.or(shared.errors),
            errors_by: self.errors_by.or(shared.errors_by),
        }
    }

    /// What is left for an operation whose success tells nothing of each record.
    fn untold(&self) -> Self {
        Self { item: self.item.clone(), records: self.records.clone(), ..Self::default() }
    }
}

fn batch_endpoint(table: Table<'_>, default_item: Value, shared: &Results, creates: bool) -> Box<BatchEndpoint> {
    let endpoint = write_endpoint(&table, &["post", "put", "patch", "delete"]);
    let whole = table.boolean("whole").is_some_and(|whole| whole.value);
    let shared = if whole { shared.untold() } else { shared.clone() };
    let Results { item, records, results, status, error, record, by, errors, errors_by } =
        Results::of(&table).or(&shared);
    let item = item.unwrap_or(default_item);
    let (place, job) = (path(&table, "place"), job(&table));
    let spec = BatchEndpoint {
        endpoint,
        records,
        item,
        results,
        status,
        error,
        record,
        by,
        errors,
        errors_by,
        place,
        whole,
        job,
    };
    check_results(&table, &spec, creates);
    table.finish();
    Box::new(spec)
}

/// Whether the results of a batch can be told apart.
fn check_results(table: &Table<'_>, spec: &BatchEndpoint, creates: bool) {
    let problem = |key: &str, message: &str, help: &str| {
        let span = table.item(key).map_or(table.span(), |item| item.span());
        table.problems().add_with_help(span, message, help);
    };
    if spec.errors.is_some() && spec.by.is_none() {
        let help = "add by = \"path\": where a result names its entry, by \"{trace}\" of the item or the record's id";
        problem("errors", "'errors' needs 'by': with failures in a list of their own, places tell nothing", help);
    }
    if spec.errors_by.is_some() && spec.errors.is_none() {
        problem("errors_by", "'errors_by' needs 'errors'", "name the list of failures: errors = \"errors\"");
    }
    if creates && spec.by.is_some() && !holds(&spec.item, TRACE) {
        let help = "add \"{trace}\" to the item where the side takes a mark of its own and gives it back";
        problem("by", "a record that is created has no id yet to be known by", help);
    }
    if spec.place.is_some() && spec.by.is_some() {
        problem("place", "'place' beside 'by': a result names its entry in one way", "keep one of them");
    }
    if creates && spec.whole {
        let help = "name the list of results: results = \"results\"";
        problem("whole", "a create must tell the ids of what it made", help);
    }
}
