//! The limits of a connector file: `[limits]`, its classes, what answers tell of them.

use crate::model::budget::{ClassLimits, Counts, Limits, Window};
use crate::model::document::{Item, Located, Table, nearest};
use crate::model::zone::parse_zone;

use super::fields::{MAX_POINTS, number, path, sub, word};
use super::parse_rules::{place, wait};
use super::rules::{Wait, WaitPlace};
use super::telling::{LeftSpec, Restores, Telling};

/// How long to pause after a 429 that does not say how long.
const DEFAULT_PAUSE_MS: u64 = 5_000;

/// How long it is believed what is left, where nothing says when the side counts anew.
const DEFAULT_HOLDS_MS: u64 = 60_000;

/// How long a list of an exclusive class may stand still at most, in milliseconds.
const MAX_EXCLUSIVE_MS: u64 = 24 * 60 * 60 * 1_000;

/// A day, in milliseconds.
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// Everything that `[limits]` declares.
pub(super) struct DeclaredLimits {
    pub limits: Limits,
    pub pause_ms: u64,
    pub lockout_ms: u64,
    pub wait: Option<Wait>,
    pub telling: Telling,
    pub together: Option<Limits>,
}

impl Default for DeclaredLimits {
    fn default() -> Self {
        let (limits, telling) = (Limits::default(), Telling::default());
        Self { limits, pause_ms: DEFAULT_PAUSE_MS, lockout_ms: 0, wait: None, telling, together: None }
    }
}

/// `[limits]`
pub(super) fn limits(table: Table<'_>) -> DeclaredLimits {
    let concurrency = concurrency(&table).unwrap_or(Limits::default().concurrency);
    let mut classes = Vec::new();
    if let Some(table) = table.table("class") {
        for (name, item) in table.all() {
            let full_name = format!("limits.class.{}", name.value);
            match item.table(&full_name) {
                Ok(table) => classes.push(class(&name.value, table)),
                Err(wanted) => table.problems().add(item.span(), format!("'{full_name}' must be {wanted}")),
            }
        }
    }
    let declared = DeclaredLimits {
        limits: Limits { windows: windows(&table), concurrency, classes, dearest: 1 },
        pause_ms: table.duration_ms("pause").map_or(DEFAULT_PAUSE_MS, |pause| pause.value),
        lockout_ms: table.duration_ms("lockout").map_or(0, |lockout| lockout.value),
        wait: wait(&table, "wait"),
        telling: telling(&table),
        together: sub(&table, "together", "limits.together").map(together),
    };
    table.finish();
    declared
}

/// `[limits.together]`
fn together(table: Table<'_>) -> Limits {
    // However many connections there are, each has a limit of its own.
    let concurrency = concurrency(&table).unwrap_or(usize::MAX);
    let limits = Limits { windows: windows(&table), concurrency, ..Limits::default() };
    if limits.windows.is_empty() && table.item("concurrency").is_none() {
        let help = "for example requests = 10_000, per = \"1m\"";
        table.problems().add_with_help(table.span(), "[limits.together] limits nothing", help);
    }
    table.finish();
    limits
}

/// `[limits.class.NAME]`
fn class(name: &str, table: Table<'_>) -> ClassLimits {
    let exclusive = table.duration_ms("exclusive");
    if let Some(Located { span, .. }) =
        exclusive.as_ref().filter(|exclusive| !(1..=MAX_EXCLUSIVE_MS).contains(&exclusive.value))
    {
        let message = "'exclusive' must be from 1ms to 1d: how long a list may stand still until it has ended";
        table.problems().add(span.clone(), message);
    }
    let class = ClassLimits {
        name: name.into(),
        windows: windows(&table),
        concurrency: concurrency(&table),
        apart: table.boolean("apart").is_some_and(|apart| apart.value),
        exclusive_ms: exclusive.map(|exclusive| exclusive.value),
    };
    if class.windows.is_empty() && class.concurrency.is_none() && class.exclusive_ms.is_none() && !class.apart {
        let help = "for example requests = 5, per = \"1s\"";
        table.problems().add_with_help(table.span(), format!("the class '{name}' limits nothing"), help);
    }
    table.finish();
    class
}

fn concurrency(table: &Table<'_>) -> Option<usize> {
    number(table, "concurrency", 1, 1_000).and_then(|number| usize::try_from(number).ok())
}

/// The window of a table, and further ones under `windows`.
fn windows(table: &Table<'_>) -> Vec<Window> {
    let mut windows: Vec<Window> = window(table).into_iter().collect();
    for more in table.tables("windows") {
        windows.extend(window(&more));
        more.finish();
    }
    windows
}

/// `requests` or `points` in `per`, all or nothing.
fn window(table: &Table<'_>) -> Option<Window> {
    let parts = parts(table);
    let has = |key: &str| table.item(key).is_some();
    let amount = if has("points") { "points" } else { "requests" };
    match (has("requests") || has("points"), has("per")) {
        (true, true) => parts,
        (false, false) => None,
        (true, false) => {
            let message = format!("'{amount}' and 'per' belong together");
            table.problems().add_with_help(table.span(), message, EXAMPLE);
            None
        }
        (false, true) => {
            table.problems().add_with_help(table.span(), "'per' needs 'requests' or 'points' beside it", EXAMPLE);
            None
        }
    }
}

const EXAMPLE: &str = "for example requests = 100, per = \"10s\"";

/// A window that has to be there: one entry of a connection's `limits`.
pub(crate) fn required_window(table: Table<'_>) -> Option<Window> {
    let parts = parts(&table);
    let missing = |key: &str| {
        let help = "for example { requests = 100, per = \"10s\" }";
        table.problems().add_with_help(table.span(), format!("{key} is missing in {}", table.name()), help);
    };
    if table.item("requests").is_none() && table.item("points").is_none() {
        missing("'requests' (or 'points')");
    }
    if table.item("per").is_none() {
        missing("'per'");
    }
    table.finish();
    parts
}

/// What a table says of a window; `None` where anything is wrong with it or missing.
fn parts(table: &Table<'_>) -> Option<Window> {
    let amount = |key| number(table, key, 1, u64::from(u32::MAX)).and_then(|number| u32::try_from(number).ok());
    let (requests, points) = (amount("requests"), amount("points"));
    let per = table.duration_ms("per");
    let resets = resets(table, per.as_ref());
    if let Some(per) = per.as_ref().filter(|per| per.value == 0) {
        table.problems().add(per.span.clone(), "'per' must be longer than nothing");
    }
    if let (Some(item), Some(_)) = (table.item("points"), table.item("requests")) {
        table.problems().add_with_help(item.span(), "a window counts either 'requests' or 'points'", EXAMPLE);
    }
    let (amount, counts) = match (requests, points) {
        (Some(requests), _) => (requests, Counts::Requests),
        (None, points) => (points?, Counts::Points),
    };
    let per = per.filter(|per| per.value > 0)?;
    Some(Window { counts, resets, ..Window::new(amount, per.value) })
}

/// `resets = "America/New_York"`: days that end at midnight there.
fn resets(table: &Table<'_>, per: Option<&Located<u64>>) -> Option<chrono_tz::Tz> {
    let zone = table.text("resets")?;
    if per.is_none_or(|per| per.value != DAY_MS) {
        let help = "write per = \"1d\", or take 'resets' away: a window then may begin at any time";
        table.problems().add_with_help(zone.span.clone(), "'resets' is for days: it needs per = \"1d\"", help);
    }
    match parse_zone(&zone.value) {
        Ok(zone) => Some(zone),
        Err(near) => {
            let message = format!("'resets' is not the name of a time zone: '{}'", super::text::clip(&zone.value));
            let help =
                near.map_or("for example America/New_York or UTC".to_owned(), |near| format!("did you mean '{near}'?"));
            table.problems().add_with_help(zone.span, message, help);
            None
        }
    }
}

fn telling(limits: &Table<'_>) -> Telling {
    let cost = sub(limits, "cost", "cost").and_then(|table| {
        let place = place(&table, "cost = { path = \"extensions.cost.actualQueryCost\" }");
        table.finish();
        place
    });
    Telling { left: limits.tables("told").into_iter().filter_map(left).collect(), cost }
}

/// One of `[[limits.told]]`
fn left(table: Table<'_>) -> Option<LeftSpec> {
    let place = place(&table, "told = [{ header = \"X-RateLimit-Remaining\" }]");
    let spec = LeftSpec {
        place: place.clone().unwrap_or_else(|| WaitPlace::Header(String::new())),
        is_share: word(&table, "form", &[("left", false), ("used/limit", true)]).unwrap_or(false),
        counts: word(&table, "counts", &[("requests", Counts::Requests), ("points", Counts::Points)])
            .unwrap_or_default(),
        reset: wait(&table, "reset"),
        restores: table.item("restores").and_then(|item| restores(&table, item)),
        holds_ms: table.item("holds").and_then(|item| holds(&table, item)).unwrap_or(DEFAULT_HOLDS_MS),
    };
    table.finish();
    place.map(|_| spec)
}

fn restores(table: &Table<'_>, item: Item<'_>) -> Option<Restores> {
    if item.text().is_ok() {
        return path(table, "restores").map(Restores::Path);
    }
    let rate = number(table, "restores", 1, MAX_POINTS)?;
    u32::try_from(rate).ok().map(Restores::Rate)
}

fn holds(table: &Table<'_>, item: Item<'_>) -> Option<u64> {
    let holds = table.duration_ms("holds")?.value;
    if !(1..=DAY_MS).contains(&holds) {
        table.problems().add(item.span(), "'holds' must be from 1ms to 1d");
    }
    Some(holds)
}

/// Tables of an object in which names are free, so that `class` and `cost` mean nothing there.
const FREE: [&str; 8] = ["query", "headers", "body", "item", "params", "value", "default", "objects"];

/// Whether each endpoint names a class that there is, and whether its calls fit into the
/// windows at all; what the dearest of them costs.
pub(super) fn check_classes(top: &Table<'_>, limits: &Limits) -> u32 {
    let mut dearest = 1;
    if let Some(objects) = top.item("object").and_then(|item| item.table("object").ok()) {
        for (_, item) in objects.all() {
            if let Ok(object) = item.table("object") {
                dearest = dearest.max(check_endpoints(&object, limits));
            }
        }
    }
    dearest
}

fn check_endpoints(table: &Table<'_>, limits: &Limits) -> u32 {
    let (mut class, mut cost, mut dearest) = (None, None, 1);
    for (key, item) in table.all() {
        match key.value.as_str() {
            "class" => class = item.text().ok(),
            "cost" => cost = item.integer().ok().and_then(|cost| Some((u32::try_from(cost.value).ok()?, cost.span))),
            name if FREE.contains(&name) => {}
            name => {
                if let Ok(inner) = item.table(name) {
                    dearest = dearest.max(check_endpoints(&inner, limits));
                }
            }
        }
    }
    let declared = class.as_ref().and_then(|class| limits.classes.iter().find(|known| *known.name == *class.value));
    if let (Some(class), None) = (&class, declared) {
        let names = limits.classes.iter().map(|class| &*class.name);
        let help = match (nearest(&class.value, names.clone()), limits.classes.is_empty()) {
            (Some(near), _) => format!("did you mean '{near}'?"),
            (None, true) => format!("declare it: [limits.class.{}] requests = 5, per = \"1s\"", class.value),
            (None, false) => format!("one of: {}", names.collect::<Vec<_>>().join(", ")),
        };
        table.problems().add_with_help(class.span.clone(), format!("'{}' is no class of [limits]", class.value), help);
    }
    let Some((cost, span)) = cost else { return dearest };
    let windows = limits.windows.iter().chain(declared.into_iter().flat_map(|class| &class.windows));
    for window in windows.filter(|window| window.counts == Counts::Points && window.requests < cost) {
        let message = format!("'cost' is more than the {} points of a whole window", window.requests);
        table.problems().add_with_help(span.clone(), message, "such a call could never be made");
    }
    dearest.max(cost)
}
