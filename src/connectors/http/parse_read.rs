//! The reading half of an object in a connector file.

use std::ops::Range;

use crate::model::document::{Located, Table, parse_duration_ms};
use crate::model::path::Path;
use crate::model::value::Value;

use super::fields::{
    endpoint, header_name, needs_id, number, pairs, path, required_path, set_content_type, statuses, sub, word,
};
use super::id::IdSpec;
use super::page::DEFAULT_MAX_PAGES;
use super::parse_job::export;
use super::spec::{
    CursorKind, CursorSpec, DeletedSpec, End, Endpoint, EntryDeleted, FindSpec, ListSpec, OrderedSpec, PageKind,
    PageSpec, ReadManySpec, ReadSpec, SearchBy, SearchForm, Unit, request_holds,
};
use super::template::{Name, text_holds};
use super::time::Spelling;
use super::transport::Method;

/// Statuses that mean that a record is gone, where the file does not say.
pub(super) const MISSING: [u16; 2] = [404, 410];

/// Most records asked for in one page.
const MAX_PAGE_SIZE: u64 = 10_000;

/// `[object.x.list]`; `asks` says that changes are asked for by this request, too.
pub(super) fn list(table: Table<'_>, has_modified: bool, asks: bool) -> Option<ListSpec> {
    let (endpoint, body) = reading_endpoint(&table);
    let records = path(&table, "records");
    let request = Asking { endpoint: &endpoint, body: body.as_ref() };
    let page = match table.item("page") {
        None => Some(one_page()),
        Some(_) => sub(&table, "page", "page").and_then(|table| page(table, &request)),
    };
    let cursor =
        sub(&table, "cursor", "cursor").and_then(|table| cursor(table, has_modified, asks.then_some(&request)));
    let (item, thin) = entries(&table);
    let export = export(&table);
    check_max_results(&table, page.as_ref(), cursor.as_ref());
    if let (Some(_), Some(cursor)) = (page.as_ref().and_then(|page| page.max_results), &cursor) {
        // Also where changes are asked for by another request, this one must be able to go on.
        check_asks(&table, cursor, &request);
    }
    table.finish();
    Some(ListSpec { endpoint, body, records, item, thin, page: page?, cursor, deleted: None, export })
}

/// Where the record stands in an entry, and whether it has to be read by its id.
fn entries(table: &Table<'_>) -> (Option<Path>, bool) {
    (path(table, "item"), table.boolean("thin").is_some_and(|thin| thin.value))
}

/// An endpoint that reads: a GET, or a POST with a body that says what is wanted.
fn reading_endpoint(table: &Table<'_>) -> (Endpoint, Option<Value>) {
    let mut endpoint = endpoint(table, &["get", "post"]);
    let item = table.item("body");
    let body = item.and_then(|item| {
        let value =
            item.value().map_err(|wanted| table.problems().add(item.span(), format!("'body' must be {wanted}")));
        value.ok()
    });
    match (endpoint.method, item) {
        (Method::Get, Some(item)) => {
            let help = "write post = \"/path\" instead of get, or the parameters as query = { … }";
            table.problems().add_with_help(item.span(), format!("a GET in {} sends no 'body'", table.name()), help);
        }
        (Method::Post, _) => {
            set_content_type(table, &mut endpoint);
            let methods = [("PROPFIND", Method::Propfind), ("REPORT", Method::Report)];
            endpoint.method = word(table, "method", &methods).unwrap_or(Method::Post);
        }
        (Method::Get | Method::Put | Method::Patch | Method::Delete | Method::Propfind | Method::Report, _) => {}
    }
    (endpoint, body)
}

/// A reading request, as far as its parts look for names in it.
pub(super) struct Asking<'a> {
    endpoint: &'a Endpoint,
    body: Option<&'a Value>,
}

impl Asking<'_> {
    fn holds(&self, name: Name) -> bool {
        request_holds(self.endpoint, self.body, name)
    }
}

/// A list that is one answer, or one file.
fn one_page() -> PageSpec {
    PageSpec {
        kind: PageKind::One,
        size: None,
        total: None,
        more: None,
        end: None,
        max_pages: DEFAULT_MAX_PAGES,
        max_results: None,
        alone: false,
    }
}

/// `max_results` begins the list anew at the newest position, so there must be one, in order.
fn check_max_results(table: &Table<'_>, page: Option<&PageSpec>, cursor: Option<&CursorSpec>) {
    let Some(max) = page.and_then(|page| page.max_results) else { return };
    let ordered = matches!(cursor.map(|cursor| &cursor.kind), Some(CursorKind::Ordered(spec)) if spec.ascending);
    if !ordered {
        let message = format!("'max_results' = {max} needs a list in order of a cursor");
        let help = "sort the list by the cursor's field and declare order = \"asc\" of the cursor: \
                    the rest is then asked for from the last position";
        table.problems().add_with_help(table.span(), message, help);
    }
}

/// `[object.x.changes]`: as the list, unless it says otherwise.
pub(super) fn changes(table: Table<'_>, list: Option<&ListSpec>, has_modified: bool) -> Option<ListSpec> {
    let (endpoint, body) = reading_endpoint(&table);
    let records = records_or(&table, list);
    let request = Asking { endpoint: &endpoint, body: body.as_ref() };
    let page = page_or(&table, list, &request);
    let cursor = match table.item("cursor") {
        Some(_) => sub(&table, "cursor", "cursor").and_then(|table| cursor(table, has_modified, Some(&request))),
        None => {
            let mut cursor = list.and_then(|list| list.cursor.clone());
            match &mut cursor {
                Some(cursor) => {
                    cursor.is_url = cursor.param.is_none() && !request.holds(Name::Cursor);
                    check_asks(&table, cursor, &request);
                }
                None if list.is_some() => {
                    let help = "declare it here, or cursor = { … } of the list";
                    table.problems().add_with_help(table.span(), format!("{} has no cursor", table.name()), help);
                }
                None => {}
            }
            cursor
        }
    };
    let (item, thin) = entries(&table);
    let export = export(&table);
    // A file has no pages.
    let page = if export.is_some() { Some(one_page()) } else { page };
    let deleted = deleted(&table).map(EntryDeleted::Field);
    check_max_results(&table, page.as_ref(), cursor.as_ref());
    table.finish();
    Some(ListSpec { endpoint, body, records, item, thin, page: page?, cursor, deleted, export })
}

/// The cursor of a list that declares none, beside changes that do: the same where its records
/// tell the position, else the side's clock at its beginning.
pub(super) fn as_changes(
    object: &Table<'_>,
    changes: Range<usize>,
    spec: &CursorSpec,
    has_modified: bool,
) -> Option<CursorSpec> {
    match &spec.kind {
        CursorKind::Ordered(ordered) if has_modified && ordered.field.is_none() => {
            let ordered = OrderedSpec { ascending: false, ..ordered.clone() };
            Some(CursorSpec { kind: CursorKind::Ordered(ordered), ..spec.clone() })
        }
        CursorKind::Ordered(ordered) if ordered.is_time => {
            let ordered = OrderedSpec { from_clock: true, ascending: false, ..ordered.clone() };
            Some(CursorSpec { kind: CursorKind::Ordered(ordered), ..spec.clone() })
        }
        CursorKind::Ordered(_) | CursorKind::Opaque { .. } => {
            let help = "declare cursor = { … } of the list, with the field or header that tells it";
            let message = "nothing in the list tells the position from which changes are asked for";
            object.problems().add_with_help(changes, message, help);
            None
        }
    }
}

/// `[object.x.deletions]`: a list of deletions of its own.
pub(super) fn deletions(table: Table<'_>, changes: Option<&ListSpec>) -> Option<ListSpec> {
    let (endpoint, body) = reading_endpoint(&table);
    let records = records_or(&table, changes);
    let request = Asking { endpoint: &endpoint, body: body.as_ref() };
    let page = page_or(&table, changes, &request);
    let mut cursor = changes.and_then(|changes| changes.cursor.clone());
    let param = table.text("param");
    match &mut cursor {
        Some(cursor) if matches!(cursor.kind, CursorKind::Ordered(_)) => {
            cursor.param = param.map(|param| param.value);
            cursor.query = Vec::new();
        }
        Some(_) | None => {
            let message = format!("{} needs a cursor of kind 'time' or 'integer' to be asked by", table.name());
            table.problems().add_with_help(table.span(), message, "declare cursor = { … } of the list");
        }
    }
    let (item, _) = entries(&table);
    table.finish();
    let deleted = Some(EntryDeleted::Always);
    Some(ListSpec { endpoint, body, records, item, thin: false, page: page?, cursor, deleted, export: None })
}

/// `page`, or that of another list where it is not given.
fn page_or(table: &Table<'_>, list: Option<&ListSpec>, request: &Asking<'_>) -> Option<PageSpec> {
    if table.item("page").is_some() {
        return sub(table, "page", "page").and_then(|table| page(table, request));
    }
    let mut page = list.map_or_else(one_page, |list| list.page.clone());
    let is_linked = matches!(page.kind, PageKind::One | PageKind::LinkHeader { .. } | PageKind::NextUrl { .. });
    if request.holds(Name::Page) {
        page.kind = page.kind.without_param();
    } else if !is_linked && page.kind.param().is_none() {
        let help = "put \"{page}\" where it belongs in query or body, or declare page = { … } here";
        table.problems().add_with_help(table.span(), format!("{} does not ask for a page", table.name()), help);
    }
    if let (Some((param, _)), true) = (&mut page.size, request.holds(Name::Size)) {
        *param = None;
    }
    Some(page)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum PageWord {
    One,
    Page,
    Offset,
    Cursor,
    Keyset,
    LinkHeader,
    NextUrl,
}

fn page(table: Table<'_>, request: &Asking<'_>) -> Option<PageSpec> {
    let words = [
        ("none", PageWord::One),
        ("page", PageWord::Page),
        ("offset", PageWord::Offset),
        ("cursor", PageWord::Cursor),
        ("keyset", PageWord::Keyset),
        ("link_header", PageWord::LinkHeader),
        ("next_url", PageWord::NextUrl),
    ];
    if table.item("kind").is_none() {
        table.problems().add(table.span(), "'kind' is missing in 'page'");
    }
    let found = word(&table, "kind", &words);
    let param = |default: &str| Some(table.text("param").map_or(default.to_owned(), |param| param.value));
    let kind = found.and_then(|found| {
        Some(match found {
            PageWord::One => PageKind::One,
            PageWord::Page => {
                PageKind::Page { param: param("page"), first: number(&table, "first", 0, 1).unwrap_or(1) }
            }
            PageWord::Offset => PageKind::Offset { param: param("offset") },
            PageWord::Cursor => PageKind::Cursor { param: param("cursor"), next: required_path(&table, "next")? },
            PageWord::Keyset => PageKind::Keyset { param: param("after"), field: required_path(&table, "field")? },
            PageWord::LinkHeader => {
                PageKind::LinkHeader { header: header_name(&table, "header").unwrap_or_else(|| "Link".to_owned()) }
            }
            PageWord::NextUrl => PageKind::NextUrl { next: required_path(&table, "next")? },
        })
    });
    let kind = kind.map(|kind| if request.holds(Name::Page) { kind.without_param() } else { kind });
    let size_param = table.text("size_param").map_or("limit".to_owned(), |param| param.value);
    let size = number(&table, "size", 1, MAX_PAGE_SIZE);
    let size_param = (!request.holds(Name::Size)).then_some(size_param);
    let spec = PageSpec {
        kind: kind.clone().unwrap_or(PageKind::One),
        size: size.map(|size| (size_param, size)),
        total: path(&table, "total"),
        more: path(&table, "more"),
        end: word(&table, "end", &[("empty", End::Empty), ("short", End::Short)]),
        max_pages: number(&table, "max_pages", 1, 10_000_000).unwrap_or(DEFAULT_MAX_PAGES),
        max_results: number(&table, "max_results", 2, 100_000_000),
        alone: table.boolean("alone").is_some_and(|alone| alone.value),
    };
    check_page(&table, &spec, size);
    table.finish();
    kind.map(|_| spec)
}

fn check_page(table: &Table<'_>, spec: &PageSpec, size: Option<u64>) {
    let problem = |message: &str, help: &str| table.problems().add_with_help(table.span(), message, help);
    let counted = !spec.kind.is_stable();
    if counted && spec.total.is_none() && spec.more.is_none() && spec.end.is_none() {
        problem(
            "nothing tells where these pages end",
            "add total = \"path\" (how many records), more = \"path\" (a boolean), end = \"empty\" or end = \"short\"",
        );
    }
    if matches!(spec.kind, PageKind::Keyset { .. }) && spec.more.is_none() && spec.end.is_none() {
        problem("nothing tells where these pages end", "add more = \"path\" (a boolean), end = \"empty\" or \"short\"");
    }
    if spec.max_results.is_some() && size.is_none() {
        problem("'max_results' needs the size of a page", "add size = 100");
    }
    if matches!(spec.kind, PageKind::Offset { .. }) && size.is_none_or(|size| size < 2) {
        problem("offset pages need a size of at least 2", "each page overlaps the one before by one record");
    }
    if counted && spec.total.is_some() && size.is_none() {
        problem("a total tells the last page only where the size of a page is known", "add size = 100");
    }
    if spec.end == Some(End::Short) && size.is_none() {
        problem("a short page can only be told where the size is known", "add size = 100");
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum CursorWord {
    Time,
    Integer,
    Opaque,
}

/// `asked` is the request that asks for changes by this cursor, if one does.
fn cursor(table: Table<'_>, has_modified: bool, asked: Option<&Asking<'_>>) -> Option<CursorSpec> {
    let words = [("time", CursorWord::Time), ("integer", CursorWord::Integer), ("opaque", CursorWord::Opaque)];
    if table.item("kind").is_none() {
        table.problems().add(table.span(), "'kind' is missing in 'cursor'");
    }
    let found = word(&table, "kind", &words);
    let header = header_name(&table, "header");
    let param = match (found, asked) {
        (Some(CursorWord::Time | CursorWord::Integer), Some(request)) if !request.holds(Name::Cursor) => {
            table.required_text("param")
        }
        (Some(_) | None, _) => table.text("param"),
    };
    let format = table.text("format");
    if let Some(format) = &format
        && !format.value.contains("{cursor}")
    {
        table.problems().add(format.span.clone(), "'format' must hold {cursor}, which stands for the position");
    }
    let kind = match found {
        Some(CursorWord::Opaque) => {
            let next = path(&table, "next");
            if next.is_none() && header.is_none() {
                table.problems().add(table.span(), "an opaque cursor needs next = \"path\" or header = \"name\"");
            }
            Some(CursorKind::Opaque { next })
        }
        Some(word) => {
            ordered(&table, word == CursorWord::Time, has_modified, header.is_some()).map(CursorKind::Ordered)
        }
        None => None,
    };
    let query = pairs(&table, "query");
    let expired = statuses(&table, "expired").unwrap_or_else(|| vec![410]);
    let retention = table.duration_ms("retention");
    if let (
        Some(retention),
        Some(CursorKind::Ordered(OrderedSpec { is_time: false, .. }) | CursorKind::Opaque { .. }),
    ) = (&retention, &kind)
    {
        let help = "take 'retention' away, and declare the status of such a refusal as 'expired'";
        table.problems().add_with_help(retention.span.clone(), "only the age of a time is known", help);
    }
    table.finish();
    let holds_position = asked.is_some_and(|request| request.holds(Name::Cursor));
    Some(CursorSpec {
        kind: kind?,
        is_url: param.is_none() && !holds_position,
        param: param.map(|param| param.value),
        has_format: format.is_some(),
        format: format.map_or_else(|| "{cursor}".to_owned(), |format| format.value),
        query,
        header,
        expired,
        retention_ms: retention.map(|retention| retention.value),
    })
}

fn ordered(table: &Table<'_>, is_time: bool, has_modified: bool, has_header: bool) -> Option<OrderedSpec> {
    let field = path(table, "field");
    if field.is_none() && !has_modified && !has_header {
        let message = "the cursor has no field to follow";
        table.problems().add_with_help(
            table.span(),
            message,
            "declare modified = \"path\" of the object, or field here",
        );
    }
    let units = [("iso", Unit::Iso), ("s", Unit::Seconds), ("ms", Unit::Millis), ("us", Unit::Micros)];
    let unit = word(table, "unit", if is_time { &units } else { &units[1..] });
    // Without a unit, an integer counts in ones.
    let unit_micros = match (is_time, unit) {
        (true, _) => Some(1),
        (false, Some(unit)) => Some(unit.micros()),
        (false, None) => None,
    };
    let finest = if is_time { unit.unwrap_or(Unit::Iso).micros() } else { 1 };
    let length = |key| length(table, key, unit_micros);
    let exclusive = word(table, "op", &[(">=", false), (">", true)]).unwrap_or(false);
    let ascending = word(table, "order", &[("asc", true), ("desc", false), ("unsorted", false)]).unwrap_or(false);
    Some(OrderedSpec {
        is_time,
        field,
        unit: unit.unwrap_or(Unit::Iso),
        spelling: Spelling::default(),
        exclusive,
        granularity: length("granularity").unwrap_or(finest).max(finest),
        lookback: length("lookback").unwrap_or(if is_time { DEFAULT_LOOKBACK_MICROS } else { 0 }),
        settle: length("settle").unwrap_or(0),
        ascending,
        from_clock: false,
    })
}

/// Whether a request asks by a cursor at all.
fn check_asks(table: &Table<'_>, cursor: &CursorSpec, request: &Asking<'_>) {
    let is_url = matches!(cursor.kind, CursorKind::Opaque { .. });
    if cursor.param.is_none() && !is_url && !request.holds(Name::Cursor) {
        let help = "put \"{cursor}\" where the position belongs in query or body, or name its 'param' in the cursor";
        table.problems().add_with_help(table.span(), format!("{} does not ask by the cursor", table.name()), help);
    }
}

/// How far behind a time cursor a read starts where the file does not say: transactions
/// commit after their records got their time, and search indexes lag.
const DEFAULT_LOOKBACK_MICROS: i64 = 5 * 60 * 1_000_000;

/// A length in positions: a duration, or a plain number where positions are numbers
/// without a unit.
fn length(table: &Table<'_>, key: &str, unit_micros: Option<i64>) -> Option<i64> {
    let item = table.item(key)?;
    let length = match unit_micros {
        Some(unit_micros) => item.text().ok().and_then(|text: Located<String>| {
            let micros = i64::try_from(parse_duration_ms(&text.value)?).ok()?.checked_mul(1_000)?;
            Some(micros / unit_micros)
        }),
        None => item.integer().ok().map(|number| number.value).filter(|number| *number >= 0),
    };
    if length.is_none() {
        let help = match unit_micros {
            Some(_) => "write a duration: 500ms, 5s, 2m",
            None => "write a whole number, or declare the unit of the cursor: s, ms, us",
        };
        table.problems().add_with_help(item.span(), format!("'{key}' is not a length this cursor can have"), help);
    }
    length
}

/// `deleted = { … }` of `[object.x.list]`
pub(super) fn deleted(list: &Table<'_>) -> Option<DeletedSpec> {
    let table = sub(list, "deleted", "deleted")?;
    let flag = path(&table, "flag");
    let tombstone = path(&table, "tombstone");
    let value = table.item("value").and_then(|item| {
        let noted = |wanted| table.problems().add(item.span(), format!("'value' must be {wanted}"));
        item.value().map_err(noted).ok()
    });
    let spec = match (flag, tombstone) {
        (Some(path), None) => Some(DeletedSpec { path, value, tombstone: false }),
        (None, Some(path)) => Some(DeletedSpec { path, value, tombstone: true }),
        (Some(_), Some(_)) | (None, None) => {
            let help = "flag: a field of a whole record; tombstone: a field of an entry that is nothing else";
            table.problems().add_with_help(table.span(), "'deleted' needs either flag or tombstone", help);
            None
        }
    };
    table.finish();
    spec
}

/// `[object.x.read]`
pub(super) fn read(table: Table<'_>, id: &IdSpec) -> Option<ReadSpec> {
    let (endpoint, body) = reading_endpoint(&table);
    needs_id(&table, &endpoint, body.as_ref(), id);
    let missing = statuses(&table, "missing").unwrap_or_else(|| MISSING.to_vec());
    table.finish();
    Some(ReadSpec { endpoint, body, missing })
}

/// `[object.x.read_many]`
pub(super) fn read_many(table: Table<'_>, list: Option<&ListSpec>, has_read: bool) -> Option<ReadManySpec> {
    if !has_read {
        let message = "read_many needs [read] beside it";
        let help = "a record that is absent from an answer is looked at again by id: absence proves nothing";
        table.problems().add_with_help(table.span(), message, help);
    }
    let (endpoint, body) = reading_endpoint(&table);
    let request = Asking { endpoint: &endpoint, body: body.as_ref() };
    let in_request = request.holds(Name::Ids) || request.holds(Name::Id);
    let param = if in_request { table.text("param") } else { table.required_text("param") };
    let join = table.text("join").map_or(",".to_owned(), |join| join.value);
    let size = number(&table, "size", 1, 1_000).and_then(|size| usize::try_from(size).ok()).unwrap_or(50);
    let records = records_or(&table, list);
    table.finish();
    if param.is_none() && !in_request {
        return None;
    }
    Some(ReadManySpec { endpoint, body, param: param.map(|param| param.value), join, size, records })
}

/// `[object.x.find]`: listed like the list, unless it says otherwise.
pub(super) fn find(table: Table<'_>, list: Option<&ListSpec>) -> Option<FindSpec> {
    let (endpoint, body) = reading_endpoint(&table);
    let records = records_or(&table, list);
    let forms = [("text", SearchForm::Text), ("json", SearchForm::Json), ("odata", SearchForm::Odata)];
    let encode = word(&table, "encode", &forms).unwrap_or(SearchForm::Text);
    let request = Asking { endpoint: &endpoint, body: body.as_ref() };
    let page = page_or(&table, list, &request);
    let params = search_params(&table, request.holds(Name::Value));
    let (item, thin) = entries(&table);
    table.finish();
    let list = ListSpec { endpoint, body, records, item, thin, page: page?, cursor: None, deleted: None, export: None };
    Some(FindSpec { list, params, encode })
}

/// `params = { email = "mail" }` searches the path by one parameter, or where the request
/// itself holds `{value}` by that name of the field; a table in place of the name holds several
/// parameters, in which `{value}` stands for the value.
fn search_params(find: &Table<'_>, by_name: bool) -> Vec<(Path, SearchBy)> {
    let problems = find.problems();
    let Some(table) = sub(find, "params", "params") else {
        let help = "params = { path = \"query parameter\" }";
        problems.add_with_help(find.span(), format!("'params' is missing in {}", find.name()), help);
        return Vec::new();
    };
    let mut params = Vec::new();
    for (name, item) in table.all() {
        let by = match item.text() {
            Ok(text) if by_name => SearchBy::Name(text.value),
            Ok(text) => SearchBy::Params(vec![(text.value, "{value}".to_owned())]),
            Err(_) => SearchBy::Params(pairs(&table, &name.value)),
        };
        let holds_value = |query: &[(String, String)]| query.iter().any(|(_, value)| text_holds(value, Name::Value));
        if matches!(&by, SearchBy::Params(query) if !holds_value(query)) {
            problems.add(item.span(), format!("no parameter for '{}' holds {{value}}", name.value));
        }
        match name.value.parse() {
            Ok(path) => params.push((path, by)),
            Err(error) => problems.add(name.span, format!("{error}")),
        }
    }
    params
}

/// `records`, or the list's where it is not given; `records = ""` means the top.
fn records_or(table: &Table<'_>, list: Option<&ListSpec>) -> Option<Path> {
    match table.item("records").map(|item| item.text().is_ok_and(|text| text.value.is_empty())) {
        Some(true) => None,
        Some(false) => path(table, "records"),
        None => list.and_then(|list| list.records.clone()),
    }
}
