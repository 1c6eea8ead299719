//! Danger: a cursor that passes a record.
//!
//! A list that answers like a side with a position for each change: coarse stamps, many
//! equal ones, changes that appear later than their stamp says, changes between two
//! pages. It is read from its own cursors, and every last change must have been seen.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Duration, Utc};
use fastrand::Rng;
use futures_util::FutureExt;
use syncline::connectors::http::{
    HttpConnectorFile, HttpFactory, HttpRequest, HttpResponse, HttpSettings, Transport, TransportError,
};
use syncline::connectors::{Calls, Connector, ConnectorFactory, ConnectorScope, Read};
use syncline::model::budget::Limits;
use syncline::model::cursor::{Cursor, advance_time};
use syncline::model::record::{Entry, Page};

use crate::harness::{seeds, share};

/// How many lists are read through the whole connector.
const LISTS: u64 = 2_000;

/// How many times the move of a time cursor is computed.
const MOVES: u64 = 100_000;

const SECOND: i64 = 1_000_000;

#[test]
fn a_time_cursor_stays_between_where_it_was_and_the_settle_line() {
    for seed in 0..share(MOVES) {
        let mut rng = Rng::with_seed(seed);
        let mut time = || rng.bool().then(|| DateTime::from_timestamp_micros(rng.i64(0..20))).flatten();
        let (stored, seen) = (time(), time());
        let now = DateTime::from_timestamp_micros(rng.i64(0..20)).unwrap();
        let settle = Duration::microseconds(rng.i64(0..10));
        let moved = advance_time(stored, seen, now, settle);
        assert!(moved >= stored, "seed {seed}: {moved:?} is before {stored:?}");
        assert!(moved <= stored.max(Some(now - settle)), "seed {seed}: {moved:?} has not settled");
        assert!(moved <= stored.max(seen), "seed {seed}: {moved:?} is past what was seen");
        assert_eq!(advance_time(moved, seen, now, settle), moved, "seed {seed}: the same read moves it again");
    }
}

#[test]
fn no_change_is_passed_by_a_cursor() {
    for seed in seeds(LISTS) {
        if let Err(reason) = follow(seed) {
            panic!("seed {seed}: {reason}");
        }
    }
}

/// How a list counts and orders its changes.
#[derive(Debug, Clone, Copy)]
struct Shape {
    is_time: bool,
    exclusive: bool,
    sorted: bool,
    /// Tells its own time.
    date: bool,
    page_size: usize,
    granularity: i64,
    /// By how much a change may appear later than its stamp.
    lateness: i64,
    lookback: i64,
    settle: i64,
}

/// A change: when it becomes visible, and as which version of which record.
#[derive(Debug, Clone, Copy)]
struct Change {
    record: usize,
    version: u64,
    stamp: i64,
    visible: i64,
}

/// The side's list.
struct List {
    shape: Shape,
    now: i64,
    /// How long a page takes.
    page_takes: i64,
    changes: Vec<Change>,
}

struct Lists(Rc<RefCell<List>>);

#[async_trait(?Send)]
impl Transport for Lists {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        Ok(self.0.borrow_mut().answer(&request.url))
    }
}

impl Shape {
    fn draw(rng: &mut Rng) -> Self {
        let is_time = rng.bool();
        let lateness = if is_time && rng.bool() { rng.i64(0..8) * SECOND } else { 0 };
        let settle = if rng.bool() { rng.i64(0..=lateness / SECOND) * SECOND } else { 0 };
        Self {
            is_time,
            exclusive: rng.bool(),
            sorted: rng.bool(),
            date: is_time && rng.u8(0..4) > 0,
            page_size: rng.usize(1..4),
            granularity: if is_time && rng.bool() { SECOND } else { 1 },
            lateness,
            lookback: lateness - settle,
            settle,
        }
    }

    fn document(&self) -> String {
        let Shape { is_time, exclusive, sorted, page_size, granularity, lookback, settle, .. } = self;
        let op = if *exclusive { ">" } else { ">=" };
        let order = if *sorted { "asc" } else { "unsorted" };
        let seconds = |micros: &i64| format!("\"{}s\"", micros / SECOND);
        let cursor = if *is_time {
            let (lookback, settle) = (seconds(lookback), seconds(settle));
            let granularity = if *granularity == SECOND { ", granularity = \"1s\"" } else { "" };
            format!("kind = \"time\", unit = \"us\", lookback = {lookback}, settle = {settle}{granularity}")
        } else {
            "kind = \"integer\", field = \"at\"".to_owned()
        };
        format!(
            r#"
name = "test"
[object.things]
id = "id"
{modified}
[object.things.list]
get = "/things"
records = "items"
page = {{ kind = "cursor", next = "next", param = "c", size = {page_size} }}
cursor = {{ param = "since", op = "{op}", order = "{order}", {cursor} }}
[object.things.read]
get = "/things/{{id}}"
"#,
            modified = if *is_time { "modified = \"at\"" } else { "" }
        )
    }
}

impl List {
    fn draw(rng: &mut Rng) -> Self {
        let shape = Shape::draw(rng);
        let mut changes = Vec::new();
        for version in 0..rng.u64(3..30) {
            let at = rng.i64(0..60) * SECOND / rng.i64(1..3);
            let late = if shape.lateness > 0 { rng.i64(0..shape.lateness) } else { 0 };
            let stamp = at - at.rem_euclid(shape.granularity);
            changes.push(Change { record: rng.usize(0..8), version, stamp, visible: at + late });
        }
        changes.sort_by_key(|change| change.visible);
        // What became visible last is what a record is.
        changes.iter_mut().enumerate().for_each(|(order, change)| change.version = order as u64);
        Self { shape, now: rng.i64(0..30) * SECOND, page_takes: rng.i64(0..3) * SECOND / 2, changes }
    }

    /// The records as they are now, each with its position.
    fn records(&self) -> BTreeMap<usize, Change> {
        let visible = self.changes.iter().filter(|change| change.visible <= self.now);
        visible.map(|change| (change.record, *change)).collect()
    }

    fn answer(&mut self, url: &str) -> HttpResponse {
        let url = url::Url::parse(url).unwrap();
        let param = |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        let since: i64 = param("since").map_or(i64::MIN, |text| text.parse().unwrap());
        let mut found: Vec<(i64, usize, u64)> = self
            .records()
            .into_values()
            .filter(|change| if self.shape.exclusive { change.stamp > since } else { change.stamp >= since })
            .map(|change| (if self.shape.sorted { change.stamp } else { 0 }, change.record, change.version))
            .collect();
        found.sort_unstable();
        // A page goes on behind the last record of the one before, not behind a number of
        // records, so that a change between two pages shifts nothing.
        if let Some((stamp, record)) = param("c").as_deref().and_then(|text| text.split_once('-')) {
            let after: (i64, usize) = (stamp.parse().unwrap(), record.parse().unwrap());
            found.retain(|(stamp, record, _)| (*stamp, *record) > after);
        }
        let next = (found.len() > self.shape.page_size).then(|| found[self.shape.page_size - 1]);
        found.truncate(self.shape.page_size);
        let records = self.records();
        let items: Vec<String> = found
            .iter()
            .map(|(_, record, version)| format!(r#"{{"id":"r{record}","at":{},"v":{version}}}"#, records[record].stamp))
            .collect();
        let next = next.map_or("null".to_owned(), |(stamp, record, _)| format!("\"{stamp}-{record}\""));
        let answer = HttpResponse::new(200, format!(r#"{{"items":[{}],"next":{next}}}"#, items.join(",")));
        let date = DateTime::from_timestamp(self.now / SECOND, 0).unwrap().format("%a, %d %b %Y %H:%M:%S GMT");
        self.now += self.page_takes;
        if self.shape.date { answer.with_header("Date", &date.to_string()) } else { answer }
    }
}

fn epoch() -> DateTime<Utc> {
    DateTime::from_timestamp(30, 0).unwrap()
}

/// Reads a list from its cursors until all its changes are over.
fn follow(seed: u64) -> Result<(), String> {
    let mut rng = Rng::with_seed(seed);
    let list = Rc::new(RefCell::new(List::draw(&mut rng)));
    let shape = list.borrow().shape;
    let file = HttpConnectorFile::parse("test.toml", &shape.document()).map_err(|error| error.to_string())?;
    let connector = connector(file, &list);
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    let mut cursor: Option<Cursor> = None;
    while list.borrow().now < 80 * SECOND {
        let moved = read(connector.as_ref(), cursor.as_ref(), &mut seen)?;
        if let (Some(before), Some(after)) = (&cursor, &moved)
            && position(after) < position(before)
        {
            return Err(format!("the cursor goes back from {before:?} to {after:?}: {shape:?}"));
        }
        cursor = moved.or(cursor);
        list.borrow_mut().now += rng.i64(1..10) * SECOND;
    }
    let list = list.borrow();
    for (record, change) in list.records() {
        if seen.get(&format!("r{record}")) != Some(&change.version) {
            return Err(format!("{change:?} was passed: {shape:?}, {} a page, {:?}", list.page_takes, list.changes));
        }
    }
    Ok(())
}

fn connector(file: HttpConnectorFile, list: &Rc<RefCell<List>>) -> Box<dyn Connector> {
    thread_local! {
        static LIST: RefCell<Option<Rc<RefCell<List>>>> = const { RefCell::new(None) };
    }
    // A factory goes to other threads, and this list does not.
    LIST.set(Some(Rc::clone(list)));
    let transport = || Rc::new(Lists(LIST.with_borrow(|list| Rc::clone(list.as_ref().unwrap())))) as Rc<dyn Transport>;
    let factory = HttpFactory::new(Arc::new(file), HttpSettings::new("https://api.example.com"));
    factory.with_transport(transport).with_clock(epoch).make(&ConnectorScope { scope: None }).unwrap()
}

/// One whole read; returns the last cursor it gave.
fn read(
    connector: &dyn Connector,
    since: Option<&Cursor>,
    seen: &mut BTreeMap<String, u64>,
) -> Result<Option<Cursor>, String> {
    let calls = Calls::new(&Limits::default());
    let (mut page, mut moved) = (None, None);
    loop {
        let what = match since {
            None => Read::All { page },
            Some(since) => Read::Changes { since: since.clone(), page },
        };
        let answer = connector.read(&calls, &"things".into(), what).now_or_never().ok_or("a read waits")?;
        let Page { entries, next, cursor, .. } = answer.map_err(|error| error.to_string())?;
        for entry in entries {
            let Entry::Live(record) = entry else { return Err("a record could not be read".to_owned()) };
            let body = record.body.decode().map_err(|error| error.to_string())?;
            let version = body.get(&"v".parse().unwrap()).map(ToString::to_string).unwrap_or_default();
            seen.insert(record.id.to_string(), version.parse().unwrap());
        }
        moved = cursor.or(moved);
        page = next;
        if page.is_none() {
            return Ok(moved);
        }
    }
}

/// A cursor's position; the texts of times are all of one length.
fn position(cursor: &Cursor) -> (usize, &str) {
    (cursor.as_str().len(), cursor.as_str())
}
