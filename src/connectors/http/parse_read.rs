//! The reading half of an object in a connector file.

use crate::model::document::{Located, Table, parse_duration_ms};
use crate::model::path::Path;

use super::fields::{endpoint, header_name, needs_id, number, pairs, path, required_path, statuses, sub, word};
use super::page::DEFAULT_MAX_PAGES;
use super::spec::{
    CursorKind, CursorSpec, DeletedSpec, End, FindSpec, ListSpec, OrderedSpec, PageKind, PageSpec, ReadManySpec,
    ReadSpec, Unit,
};

/// Statuses that mean that a record is gone, where the file does not say.
pub(super) const MISSING: [u16; 2] = [404, 410];

/// Most records asked for in one page.
const MAX_PAGE_SIZE: u64 = 10_000;

/// `[object.x.list]`
pub(super) fn list(table: Table<'_>, has_modified: bool) -> Option<ListSpec> {
    let endpoint = endpoint(&table, &["get"]);
    let records = path(&table, "records");
    let page = match table.item("page") {
        None => Some(one_page()),
        Some(_) => sub(&table, "page", "page").and_then(page),
    };
    let cursor = sub(&table, "cursor", "cursor").and_then(|table| cursor(table, has_modified));
    table.finish();
    Some(ListSpec { endpoint, records, page: page?, cursor })
}

fn one_page() -> PageSpec {
    PageSpec { kind: PageKind::One, size: None, total: None, more: None, end: None, max_pages: 1 }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum PageWord {
    One,
    Page,
    Offset,
    Cursor,
    LinkHeader,
    NextUrl,
}

fn page(table: Table<'_>) -> Option<PageSpec> {
    let words = [
        ("none", PageWord::One),
        ("page", PageWord::Page),
        ("offset", PageWord::Offset),
        ("cursor", PageWord::Cursor),
        ("link_header", PageWord::LinkHeader),
        ("next_url", PageWord::NextUrl),
    ];
    if table.item("kind").is_none() {
        table.problems().add(table.span(), "'kind' is missing in 'page'");
    }
    let found = word(&table, "kind", &words);
    let param = |default: &str| table.text("param").map_or(default.to_owned(), |param| param.value);
    let kind = found.and_then(|found| {
        Some(match found {
            PageWord::One => PageKind::One,
            PageWord::Page => {
                PageKind::Page { param: param("page"), first: number(&table, "first", 0, 1).unwrap_or(1) }
            }
            PageWord::Offset => PageKind::Offset { param: param("offset") },
            PageWord::Cursor => PageKind::Cursor { param: param("cursor"), next: required_path(&table, "next")? },
            PageWord::LinkHeader => {
                PageKind::LinkHeader { header: header_name(&table, "header").unwrap_or_else(|| "Link".to_owned()) }
            }
            PageWord::NextUrl => PageKind::NextUrl { next: required_path(&table, "next")? },
        })
    });
    let size_param = table.text("size_param").map_or("limit".to_owned(), |param| param.value);
    let size = number(&table, "size", 1, MAX_PAGE_SIZE);
    let spec = PageSpec {
        kind: kind.clone().unwrap_or(PageKind::One),
        size: size.map(|size| (size_param, size)),
        total: path(&table, "total"),
        more: path(&table, "more"),
        end: word(&table, "end", &[("empty", End::Empty), ("short", End::Short)]),
        max_pages: number(&table, "max_pages", 1, 10_000_000).unwrap_or(DEFAULT_MAX_PAGES),
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

fn cursor(table: Table<'_>, has_modified: bool) -> Option<CursorSpec> {
    let words = [("time", CursorWord::Time), ("integer", CursorWord::Integer), ("opaque", CursorWord::Opaque)];
    if table.item("kind").is_none() {
        table.problems().add(table.span(), "'kind' is missing in 'cursor'");
    }
    let found = word(&table, "kind", &words);
    let header = header_name(&table, "header");
    let param = match found {
        Some(CursorWord::Opaque) => table.text("param"),
        Some(CursorWord::Time | CursorWord::Integer) | None => table.required_text("param"),
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
    table.finish();
    Some(CursorSpec {
        kind: kind?,
        param: param.map(|param| param.value),
        format: format.map_or_else(|| "{cursor}".to_owned(), |format| format.value),
        query,
        header,
        expired,
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
        exclusive,
        granularity: length("granularity").unwrap_or(finest).max(finest),
        lookback: length("lookback").unwrap_or(if is_time { DEFAULT_LOOKBACK_MICROS } else { 0 }),
        settle: length("settle").unwrap_or(0),
        ascending,
    })
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
pub(super) fn read(table: Table<'_>) -> Option<ReadSpec> {
    let endpoint = endpoint(&table, &["get"]);
    needs_id(&table, &endpoint);
    let missing = statuses(&table, "missing").unwrap_or_else(|| MISSING.to_vec());
    table.finish();
    Some(ReadSpec { endpoint, missing })
}

/// `[object.x.read_many]`
pub(super) fn read_many(table: Table<'_>, list: Option<&ListSpec>, has_read: bool) -> Option<ReadManySpec> {
    if !has_read {
        let message = "read_many needs [read] beside it";
        let help = "a record that is absent from an answer is looked at again by id: absence proves nothing";
        table.problems().add_with_help(table.span(), message, help);
    }
    let endpoint = endpoint(&table, &["get"]);
    let param = table.required_text("param");
    let join = table.text("join").map_or(",".to_owned(), |join| join.value);
    let size = number(&table, "size", 1, 1_000).and_then(|size| usize::try_from(size).ok()).unwrap_or(50);
    let records = records_or(&table, list);
    table.finish();
    Some(ReadManySpec { endpoint, param: param?.value, join, size, records })
}

/// `[object.x.find]`: listed like the list, unless it says otherwise.
pub(super) fn find(table: Table<'_>, list: Option<&ListSpec>) -> Option<FindSpec> {
    let endpoint = endpoint(&table, &["get"]);
    let records = records_or(&table, list);
    let as_json = word(&table, "encode", &[("text", false), ("json", true)]).unwrap_or(false);
    let page = match table.item("page") {
        Some(_) => sub(&table, "page", "page").and_then(page),
        None => Some(list.map_or_else(one_page, |list| list.page.clone())),
    };
    let params = search_params(&table);
    table.finish();
    let list = ListSpec { endpoint, records, page: page?, cursor: None };
    Some(FindSpec { list, params, as_json })
}

/// `params = { email = "mail" }` searches the path by one parameter; a table in place of
/// the parameter's name holds several, in which `{value}` stands for the value.
fn search_params(find: &Table<'_>) -> Vec<(Path, Vec<(String, String)>)> {
    let problems = find.problems();
    let Some(table) = sub(find, "params", "params") else {
        let help = "params = { path = \"query parameter\" }";
        problems.add_with_help(find.span(), format!("'params' is missing in {}", find.name()), help);
        return Vec::new();
    };
    let mut params = Vec::new();
    for (name, item) in table.all() {
        let query = match item.text() {
            Ok(text) => vec![(text.value, "{value}".to_owned())],
            Err(_) => pairs(&table, &name.value),
        };
        if !query.iter().any(|(_, value)| value.contains("{value}")) {
            problems.add(item.span(), format!("no parameter for '{}' holds {{value}}", name.value));
        }
        match name.value.parse() {
            Ok(path) => params.push((path, query)),
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
