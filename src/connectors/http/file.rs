//! The connector file: one TOML text that describes one kind of app.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::connectors::trial::DeclaredTimes;
use crate::connectors::webhook::declared::webhook;
use crate::connectors::webhook::payload::WebhookSpec;
use crate::model::budget::Limits;
use crate::model::document::{DocumentError, Located, Part, Problems, Table, nearest, parse};
use crate::model::ids::ObjectName;
use crate::model::path::Path;
use crate::model::write::CreateRecovery;

use super::compose::{TRACE, holds};
use super::fields::{check_id_parts, header_name, headers, path, paths, statuses, sub, word, word_of};
use super::forms::{EmptyIsNull, Forms};
use super::id::{IdSpec, Within};
use super::parse_auth::auth_of;
use super::parse_limits::{DeclaredLimits, check_classes, limits};
use super::parse_read::{as_changes, changes, deleted, deletions, find, list, read, read_many};
use super::parse_rules::rule;
use super::parse_write::{batch, create, delete, if_match, update};
use super::properties;
use super::refused::holds_refusal;
use super::resource::{section, with_names};
use super::rules::{Rule, Wait, WaitPlace};
use super::spec::{
    Also, AuthKind, BatchEndpoint, BatchKind, BatchSpec, CursorKind, CursorSpec, EntryDeleted, ListSpec, ObjectSpec,
    OrderedSpec, Statuses, Unit, request_holds,
};
use super::telling::Telling;
use super::template::Name;
use super::text::clip;
use super::time::Spelling;
use super::together::Together;
use super::transport::find_header;
use super::xml::XmlSpec;

/// A connector file that was read and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpConnectorFile {
    name: String,
    pub(super) auth: Option<AuthKind>,
    pub(super) headers: Vec<(String, String)>,
    limits: Limits,
    /// How long to pause after a refusal for too many calls that does not say.
    pub(super) limited_pause_ms: u64,
    /// The least pause after any refusal for too many calls.
    pub(super) lockout_ms: u64,
    /// Where a refusal for too many calls says how long to wait, beside `Retry-After`.
    pub(super) wait: Option<Wait>,
    /// The limits of all connections together, where there are such.
    pub(super) together: Option<Together>,
    /// What answers tell of limits, if they do.
    pub(super) telling: Option<Arc<Telling>>,
    pub(super) statuses: Statuses,
    /// How answers in XML are read, where the app gives such.
    pub(super) xml: Option<Arc<XmlSpec>>,
    pub(super) rules: Vec<Rule>,
    objects: BTreeMap<ObjectName, ObjectSpec>,
    webhook: Option<Arc<WebhookSpec>>,
}

impl HttpConnectorFile {
    /// Reads and checks the text of a connector file; `file_name` is used in messages.
    ///
    /// # Errors
    /// With all problems at once, each with its line.
    pub fn parse(file_name: &str, text: &str) -> Result<Self, DocumentError> {
        let problems = Problems::new();
        let document = parse(text, &problems);
        let file = file(Table::top(&document, &problems));
        match file {
            Some(file) if problems.is_empty() => Ok(file),
            Some(_) | None => Err(DocumentError::new(file_name, text, problems.into_sorted())),
        }
    }

    /// What the connector is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The objects it declares.
    pub fn objects(&self) -> impl Iterator<Item = &ObjectName> {
        self.objects.keys()
    }

    /// The limits of the app, for connections that declare none of their own.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Goes on with the budget that all connections share, of an earlier reading of the file.
    /// Without effect where other limits are declared.
    pub fn go_on_with(&self, earlier: &HttpConnectorFile) {
        if let (Some(now), Some(before)) = (&self.together, &earlier.together) {
            now.go_on_with(before);
        }
    }

    /// How the app's webhooks are known and read; `None` where it declares none.
    #[must_use]
    pub fn webhook(&self) -> Option<&Arc<WebhookSpec>> {
        self.webhook.as_ref()
    }

    /// Whether the meaning of an answer may depend on its body.
    pub(super) fn looks_into_bodies(&self) -> bool {
        let waits = |wait: &Wait| matches!(wait.place, WaitPlace::Path(_));
        self.wait.as_ref().is_some_and(waits)
            || self.rules.iter().any(|rule| rule.path.is_some() || rule.wait.as_ref().is_some_and(waits))
    }

    /// What it says about the times by which changes of an object are read; `None` where they
    /// are not read by times that its records tell.
    #[must_use]
    pub fn declared_times(&self, object: &ObjectName) -> Option<DeclaredTimes> {
        let object = self.object(object)?;
        let list = object.changes.as_ref().or(object.list.as_ref())?;
        match &list.cursor.as_ref()?.kind {
            // The time of an event is none of its record, and a clock's neither.
            CursorKind::Ordered(ordered)
                if object.parent.is_some() || list.item.is_some() && ordered.field.is_some() =>
            {
                None
            }
            CursorKind::Ordered(OrderedSpec { is_time: true, exclusive, granularity, lookback, .. }) => {
                Some(DeclaredTimes { exclusive: *exclusive, granularity: *granularity, lookback: *lookback })
            }
            CursorKind::Ordered(_) | CursorKind::Opaque { .. } => None,
        }
    }

    /// What it declares about one object.
    pub(super) fn object(&self, name: &ObjectName) -> Option<&ObjectSpec> {
        self.objects.get(name)
    }
}

fn file(top: Table<'_>) -> Option<HttpConnectorFile> {
    let name = top.required_text("name").map(|name| name.value);
    let auth = auth_of(&top);
    let mut headers = headers(&top, "headers");
    let xml = top.table("xml").map(XmlSpec::parse).map(Arc::new);
    if xml.is_some() && find_header(&headers, "accept").is_none() {
        headers.push(("Accept".to_owned(), "application/xml, text/xml".to_owned()));
    }
    let limits = top.table("limits").map_or_else(DeclaredLimits::default, limits);
    let (statuses, rules) = top.table("errors").map(errors).unwrap_or_default();
    let objects = top.required_table("object").map(|table| objects(&table)).unwrap_or_default();
    let DeclaredLimits { mut limits, pause_ms, lockout_ms, wait, telling, together } = limits;
    let dearest = check_classes(&top, &limits);
    limits.dearest = dearest;
    let names: Vec<&ObjectName> = objects.keys().collect();
    let webhook = top.table("webhook").and_then(|table| webhook(table, &names)).map(Arc::new);
    top.finish();
    Some(HttpConnectorFile {
        name: name?,
        auth,
        headers,
        limits,
        limited_pause_ms: pause_ms,
        lockout_ms,
        wait,
        together: together.map(|together| Together::new(Limits { dearest, ..together })),
        telling: (!telling.is_empty()).then(|| Arc::new(telling)),
        statuses,
        xml,
        rules,
        objects,
        webhook,
    })
}

/// `[object]`: those that stand for themselves, then those that are like one of them.
fn objects(all: &Table<'_>) -> BTreeMap<ObjectName, ObjectSpec> {
    let mut objects = BTreeMap::new();
    let mut like: Vec<(String, Table<'_>, Located<String>)> = Vec::new();
    for (name, item) in all.all() {
        let full_name = format!("object.{}", name.value);
        let table = match item.table(&full_name) {
            Ok(table) => table,
            Err(wanted) => {
                all.problems().add(item.span(), format!("'{full_name}' must be {wanted}"));
                continue;
            }
        };
        match table.text("like") {
            Some(other) => like.push((name.value, table, other)),
            None => {
                let spec = object(&name.value, with_names(table, &name.value));
                objects.insert(ObjectName::new(name.value), spec);
            }
        }
    }
    let examples: Vec<ObjectName> = objects.keys().cloned().collect();
    for (name, table, other) in like {
        let found = examples.iter().any(|example| example.as_str() == other.value);
        let example = all.item(&other.value).and_then(|item| item.table(&other.value).ok()).filter(|_| found);
        let Some(example) = example else {
            let message = format!("'{}' is no object that 'like' can name", other.value);
            let known = examples.iter().map(ObjectName::as_str);
            let help = match nearest(&other.value, known.clone()) {
                Some(near) => format!("did you mean '{near}'?"),
                None => format!("one that is not like another itself: {}", known.collect::<Vec<_>>().join(", ")),
            };
            all.problems().add_with_help(other.span, message, help);
            table.finish_undecided();
            continue;
        };
        // What is wrong with the example has been told once.
        if all.problems().is_empty() {
            let spec = object(&name, with_names(table.before(&example), &name));
            objects.insert(ObjectName::new(name), spec);
        }
    }
    check_parents(all, &objects);
    objects
}

fn errors(table: Table<'_>) -> (Statuses, Vec<Rule>) {
    let list = |key| statuses(&table, key).unwrap_or_default();
    let statuses = Statuses {
        limited: list("limited"),
        unauthorised: list("unauthorised"),
        missing: list("missing"),
        changed: list("changed"),
        duplicate: list("duplicate"),
        invalid: list("invalid"),
        retry: list("retry"),
    };
    let rules = table.tables("rules").into_iter().filter_map(rule).collect();
    table.finish();
    (statuses, rules)
}

fn object(name: &str, table: Table<'_>) -> ObjectSpec {
    let section = |key: &str| section(&table, key, name);
    let id = id(&table);
    check_names(&table, &id);
    let version = path(&table, "version");
    let version_header = header_name(&table, "version_header");
    let has_version = version.is_some() || version_header.is_some();
    let guard = if_match(&table, has_version);
    let list_table = section("list");
    if list_table.is_none() {
        let message = format!("[object.{name}.list] is missing: how are all records listed?");
        table.problems().add_with_help(
            table.span(),
            message,
            "add path = \"/contacts\", or list = { get = \"/contacts\" }",
        );
    }
    let deleted = list_table.as_ref().and_then(deleted);
    let modified = paths(&table, "modified");
    let changes_table = section("changes");
    let mut list = list_table.and_then(|table| list(table, !modified.is_empty(), changes_table.is_none()));
    let has_own_cursor = list.as_ref().is_some_and(|list| list.cursor.is_some());
    let changes_span = table.item("changes").map_or(table.span(), |item| item.span());
    let changes = changes_table.and_then(|table| changes(table, list.as_ref(), !modified.is_empty()));
    if let (Some(list), Some(cursor), false) =
        (&mut list, changes.as_ref().and_then(|changes| changes.cursor.as_ref()), has_own_cursor)
    {
        list.cursor = as_changes(&table, changes_span, cursor, !modified.is_empty());
    }
    let deletions = section("deletions").and_then(|table| deletions(table, changes.as_ref().or(list.as_ref())));
    let find = match section("find") {
        Some(table) => find(table, list.as_ref()),
        None => None,
    };
    let read = section("read").and_then(|table| read(table, &id));
    let update = section("update").and_then(|table| update(table, has_version, guard.as_deref(), &id));
    let delete = section("delete").and_then(|table| delete(table, has_version, guard.as_deref(), &id));
    for (key, missing) in
        [("update", update.as_ref().map(|spec| &spec.missing)), ("delete", delete.as_ref().map(|spec| &spec.missing))]
    {
        if read.is_none() && missing.is_some_and(|missing| holds_refusal(missing)) {
            let message = format!("'missing' of [object.{name}.{key}] holds a refusal, but there is no [read]");
            let help = "401 and 403 may also mean that the account may not write: a read by id has to confirm them";
            table.problems().add_with_help(table.span(), message, help);
        }
    }
    let mut also = also(&table, name, !modified.is_empty());
    let parent = table.text("parent");
    let spelling = spelling(&table);
    let forms = forms(&table);
    check_positions(&table, forms.as_ref(), &modified, [list.as_ref(), changes.as_ref()]);
    let (mut list, mut changes, mut deletions) = (list, changes, deletions);
    for one in [&mut list, &mut changes, &mut deletions].into_iter().flatten() {
        spell(one, &spelling);
    }
    for one in &mut also {
        [Some(&mut one.list), one.changes.as_mut(), one.deletions.as_mut()]
            .into_iter()
            .flatten()
            .for_each(|list| spell(list, &spelling));
    }
    by_parent(&table, parent.as_ref(), !also.is_empty(), [list.as_mut(), changes.as_mut(), deletions.as_mut()]);
    let mut spec = ObjectSpec {
        name: name.to_owned(),
        id,
        version,
        version_header,
        modified,
        modified_unit: modified_unit(&table, list.as_ref()),
        spelling,
        read_only: paths(&table, "read_only"),
        forms,
        record: path(&table, "record"),
        deleted,
        read_after_write_lag_ms: table.duration_ms("read_lag").map_or(0, |lag| lag.value),
        read_many: section("read_many").and_then(|table| read_many(table, list.as_ref(), read.is_some())),
        create: section("create").and_then(|table| create(table, find.as_ref(), read.is_some())),
        update,
        delete,
        batch: section("batch").and_then(|table| batch(table, name)),
        parts: None,
        parent: parent.map(|parent| ObjectName::new(parent.value)),
        also,
        changes,
        deletions,
        list,
        read,
        find,
    };
    properties::apply(&table, &mut spec, &WITH_NAMES);
    check_composed(&table, &spec);
    table.finish();
    spec
}

/// `[object.x.also]`: further lists that feed the object.
fn also(object: &Table<'_>, name: &str, has_modified: bool) -> Vec<Also> {
    let Some(all) = sub(object, "also", &format!("object.{name}.also")) else { return Vec::new() };
    let mut found = Vec::new();
    for (key, item) in all.all() {
        let full_name = format!("object.{name}.also.{}", key.value);
        let table = match item.table(&full_name) {
            Ok(table) => table.given_as(object),
            Err(wanted) => {
                all.problems().add(item.span(), format!("'{full_name}' must be {wanted}"));
                continue;
            }
        };
        let within = |key: &str| match table.part(key, &format!("{full_name}.{key}")) {
            Part::There(table) => Some(table),
            Part::Unsaid | Part::Off => None,
        };
        let list_table = sub(&table, "list", &format!("{full_name}.list"));
        if list_table.is_none() {
            let message = format!("[{full_name}.list] is missing: how are its records listed?");
            table.problems().add_with_help(table.span(), message, "add list = { get = \"/leads\" }");
        }
        let deleted = list_table.as_ref().and_then(deleted).map(EntryDeleted::Field);
        let changes_table = within("changes");
        let list = list_table.and_then(|table| list(table, has_modified, changes_table.is_none()));
        let mut list = list.map(|list| ListSpec { deleted, ..list });
        let has_own_cursor = list.as_ref().is_some_and(|list| list.cursor.is_some());
        let span = table.item("changes").map_or(table.span(), |item| item.span());
        let changes = changes_table.and_then(|table| changes(table, list.as_ref(), has_modified));
        if let (Some(list), Some(cursor), false) =
            (&mut list, changes.as_ref().and_then(|changes| changes.cursor.as_ref()), has_own_cursor)
        {
            list.cursor = as_changes(&table, span, cursor, has_modified);
        }
        let deletions = within("deletions").and_then(|table| deletions(table, changes.as_ref().or(list.as_ref())));
        table.finish();
        if key.value.is_empty() {
            all.problems().add(key.span, format!("a list of [object.{name}.also] has no name"));
        }
        found.extend(list.map(|list| Also { name: key.value, list, changes, deletions }));
    }
    found
}

/// What is to be said of lists that are read for each record of another object: they name it, and
/// their position is the time at which the first of them was read.
fn by_parent(object: &Table<'_>, parent: Option<&Located<String>>, has_also: bool, lists: [Option<&mut ListSpec>; 3]) {
    let problem = |key: &str, message: String, help: &str| {
        let span = object.item(key).map_or(object.span(), |item| item.span());
        object.problems().add_with_help(span, message, help);
    };
    if parent.is_some() && has_also {
        problem("also", "'also' stands beside 'parent'".to_owned(), "make the further lists an object of their own");
    }
    for (key, list) in ["list", "changes", "deletions"].into_iter().zip(lists) {
        let Some(list) = list else { continue };
        let names_it =
            list.endpoint.path.holds_parent() || request_holds(&list.endpoint, list.body.as_ref(), Name::Parent);
        match (parent, names_it) {
            (None, false) => continue,
            (None, true) => {
                problem(
                    key,
                    format!("'{key}' holds {{parent}}, but no 'parent' is declared"),
                    "add parent = \"accounts\"",
                );
            }
            (Some(parent), false) => {
                let message = format!("'{key}' is read for each of '{}', but does not name it", clip(&parent.value));
                problem(key, message, "put {parent} where its id belongs: get = \"/accounts/{parent}/contacts\"");
            }
            (Some(_), true) if list.export.is_some() => {
                problem(key, "'export' cannot stand beside 'parent'".to_owned(), "list each parent's records by pages");
            }
            (Some(_), true) if list.page.max_results.is_some() => {
                problem(key, "'max_results' cannot stand beside 'parent'".to_owned(), "take it away");
            }
            (Some(_), true) => match list.cursor.as_mut().map(|cursor| &mut cursor.kind) {
                Some(CursorKind::Ordered(ordered)) if ordered.is_time => {
                    (ordered.from_clock, ordered.ascending) = (true, false);
                }
                Some(CursorKind::Ordered(_) | CursorKind::Opaque { .. }) => {
                    let message = format!("the cursor of '{key}' must be a time where there is a 'parent'");
                    problem(key, message, "without one everything is read each time");
                }
                None => {}
            },
        }
    }
}

/// Whether each object that another is read by is there, tells which of its records are new, and is
/// not read by that one itself.
fn check_parents(all: &Table<'_>, objects: &BTreeMap<ObjectName, ObjectSpec>) {
    for (name, spec) in objects {
        let Some(parent) = &spec.parent else { continue };
        let place = all.item(name.as_str()).and_then(|item| item.table(name.as_str()).ok());
        let span = place.as_ref().and_then(|table| table.item("parent")).map_or(all.span(), |item| item.span());
        let problem = |message: String, help: String| all.problems().add_with_help(span.clone(), message, help);
        let Some(of) = objects.get(parent) else {
            let known = objects.keys().map(ObjectName::as_str);
            let help = match nearest(parent.as_str(), known.clone()) {
                Some(near) => format!("did you mean '{near}'?"),
                None => format!("there is: {}", known.collect::<Vec<_>>().join(", ")),
            };
            problem(format!("'parent' names no object of this file: '{}'", clip(parent.as_str())), help);
            continue;
        };
        let mut above = Some(parent);
        let mut num_above = 0;
        while let Some(next) = above.filter(|_| num_above <= objects.len()) {
            (above, num_above) = (objects.get(next).and_then(|spec| spec.parent.as_ref()), num_above + 1);
        }
        if num_above > objects.len() {
            problem(format!("the parents of '{name}' lead in a circle"), "one of them is read by itself".to_owned());
        } else if of.modified.is_empty() && spec.list.as_ref().is_some_and(|list| list.cursor.is_some()) {
            let message = format!("'{parent}' does not tell which of its records are new");
            problem(message, format!("declare modified of [object.{parent}], or no cursor here"));
        }
    }
}

/// What names a record: one path, or several with what stands between their values.
fn id(table: &Table<'_>) -> IdSpec {
    let has_id = table.item("id").is_some();
    let paths = paths(table, "id");
    let separator = table.text("id_separator");
    let problem = |key: &str, message: &str, help: &str| {
        let span = table.item(key).map_or(table.span(), |item| item.span());
        table.problems().add_with_help(span, message, help);
    };
    let numbers = id_types(table, paths.len());
    let id_in = table.text("id_in");
    let within = id_in.as_ref().and_then(|text| Within::parse(&text.value));
    match &id_in {
        Some(_) if paths.len() > 1 => {
            problem("id_in", "'id_in' is for an 'id' of one path", "name the path of the address");
        }
        Some(_) if within.is_none() => {
            problem("id_in", "'id_in' must hold {id} once", "for example id_in = \"/{id}.vcf\"");
        }
        Some(_) | None => {}
    }
    match (&paths[..], &separator) {
        ([], _) if has_id && table.item("id").is_some_and(|item| item.list().is_ok_and(|items| items.is_empty())) => {
            problem("id", "'id' names nothing", "name the path of the id, or the paths that make one");
        }
        ([] | [_], Some(_)) => {
            problem("id_separator", "'id_separator' needs an 'id' of several paths", "id = [\"account\", \"number\"]");
        }
        ([] | [_], None) => {}
        (_, None) => {
            let help = "for example id_separator = \"/\": what no part of the id holds";
            problem("id", "an id of several paths needs 'id_separator'", help);
        }
        (_, Some(separator)) => {
            if separator.value.is_empty() || separator.value.chars().any(char::is_control) {
                problem("id_separator", "'id_separator' must be some visible text", "for example \"/\"");
            }
        }
    }
    match (&paths[..], separator) {
        ([_, _, ..], Some(separator)) => IdSpec::composed(paths.into_iter().zip(numbers).collect(), separator.value),
        // Without a word about it, it stands where most apps have it.
        _ => IdSpec::single(
            paths.into_iter().next().unwrap_or_else(|| Path::key("id")),
            numbers.first().copied().unwrap_or(false),
        )
        .within(within),
    }
}

/// How the parts of an id are written in a body: one word for all, or a list of them.
fn id_types(table: &Table<'_>, num_parts: usize) -> Vec<bool> {
    let words = [("text", false), ("number", true)];
    if table.item("id_type").is_none_or(|item| item.list().is_err()) {
        let is_number = word(table, "id_type", &words).unwrap_or(false);
        return vec![is_number; num_parts.max(1)];
    }
    let texts = table.texts("id_type").unwrap_or_default();
    let numbers: Vec<bool> =
        texts.iter().map(|text| word_of(table, "id_type", text, &words).unwrap_or(false)).collect();
    if numbers.len() != num_parts {
        let span = table.item("id_type").map_or(table.span(), |item| item.span());
        let message = format!("'id_type' has {} words, but 'id' {num_parts} paths", numbers.len());
        table.problems().add_with_help(span, message, "for example id_type = [\"text\", \"number\"]");
        return vec![false; num_parts.max(1)];
    }
    numbers
}

/// The tables of an object in which an id may be taken apart.
const WITH_NAMES: [&str; 11] =
    ["also", "list", "changes", "deletions", "read", "read_many", "find", "create", "update", "delete", "batch"];

fn check_names(table: &Table<'_>, id: &IdSpec) {
    let items = WITH_NAMES.into_iter().filter_map(|key| table.item(key));
    items.for_each(|item| check_id_parts(table.problems(), item, id));
}

/// What cannot be said of an id that is made of several values.
fn check_composed(table: &Table<'_>, spec: &ObjectSpec) {
    if !spec.id.is_composed() {
        return;
    }
    let problem = |key: &str, message: &str, help: &str| {
        let span = table.item(key).map_or(table.span(), |item| item.span());
        table.problems().add_with_help(span, message, help);
    };
    if spec.create.as_ref().is_some_and(|create| create.recovery == CreateRecovery::ClientId) {
        let help = "declare another recovery: a client chooses one value, not several";
        problem("create", "an id of several values is not chosen by recovery = \"client_id\"", help);
    }
    let by_id = |endpoint: &BatchEndpoint| endpoint.by.is_some() && !holds(&endpoint.item, TRACE);
    if let Some(BatchSpec { kind: BatchKind::Records { create, update, delete }, .. }) = &spec.batch
        && [create, update, delete].into_iter().flatten().any(|endpoint| by_id(endpoint))
    {
        let help = "add \"{trace}\" to the item, and name as 'by' where a result gives it back";
        problem("batch", "a result cannot name an id of several values", help);
    }
}

/// How the object's values stand in its records.
fn forms(table: &Table<'_>) -> Option<Forms> {
    let empty = match table.item("empty_is_null").and_then(|item| item.boolean().ok()) {
        Some(anywhere) if anywhere.value => EmptyIsNull::Anywhere,
        Some(_) => EmptyIsNull::At(Vec::new()),
        None => EmptyIsNull::At(paths(table, "empty_is_null")),
    };
    Forms::new(paths(table, "json"), empty, &paths(table, "absent_is_null"))
}

/// Positions are told by entries as they come, before any text in them is looked into.
fn check_positions(table: &Table<'_>, forms: Option<&Forms>, modified: &[Path], lists: [Option<&ListSpec>; 2]) {
    let Some(forms) = forms else { return };
    let field = |list: &'_ ListSpec| match &list.cursor.as_ref()?.kind {
        CursorKind::Ordered(ordered) => ordered.field.clone(),
        CursorKind::Opaque { .. } => None,
    };
    let fields = lists.into_iter().flatten().filter_map(field);
    if let Some(path) = modified.iter().cloned().chain(fields).find(|path| forms.is_within_json(path)) {
        let span = table.item("json").map_or(table.span(), |item| item.span());
        let help = "name a time that stands beside the text";
        table.problems().add_with_help(span, format!("'{path}' tells positions and lies within a text"), help);
    }
}

/// How the object's times are written that are texts.
fn spelling(table: &Table<'_>) -> Spelling {
    let mut spelling = Spelling::default();
    if let Some(zone) = table.text("zone") {
        match zone.value.parse() {
            Ok(zone) => spelling.zone = zone,
            Err(_) => {
                let message = format!("'zone' is not the name of a time zone: '{}'", clip(&zone.value));
                table.problems().add_with_help(
                    zone.span,
                    message,
                    "for example Europe/Berlin, America/New_York or UTC",
                );
            }
        }
    }
    if let Some(pattern) = table.text("time_format") {
        if Spelling::granularity(&pattern.value).is_some() {
            spelling.pattern = Some(pattern.value);
        } else {
            let message = "'time_format' does not tell a day, or a day and a time of it";
            table.problems().add_with_help(pattern.span, message, "for example %d.%m.%Y %H:%M:%S, or %Y-%m-%d");
        }
    }
    spelling
}

/// The positions of a list are times of the object, and no finer than they are written.
fn spell(list: &mut ListSpec, spelling: &Spelling) {
    if let Some(CursorSpec { kind: CursorKind::Ordered(ordered), .. }) = &mut list.cursor
        && ordered.is_time
    {
        ordered.spelling = spelling.clone();
        let finest = spelling.pattern.as_deref().and_then(Spelling::granularity).unwrap_or(1);
        if ordered.unit == Unit::Iso {
            ordered.granularity = ordered.granularity.max(finest);
        }
    }
}

/// How a modified time that is a number counts: as declared, else as the cursor, else
/// in milliseconds.
fn modified_unit(table: &Table<'_>, list: Option<&super::spec::ListSpec>) -> Unit {
    let declared = word(table, "modified_unit", &[("s", Unit::Seconds), ("ms", Unit::Millis), ("us", Unit::Micros)]);
    declared.or_else(|| super::cursor::unit_of(list?.cursor.as_ref()?)).unwrap_or(Unit::Millis)
}
