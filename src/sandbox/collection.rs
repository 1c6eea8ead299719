//! The records of one object in one account: by id, by time, with tombstones.
//!
//! Each record keeps its answer as ready JSON bytes, so that a page is put together
//! by copying.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use actix_web::web::Bytes;
use chrono::{DateTime, SecondsFormat};

use super::properties::Properties;
use super::refusal::Refusal;
use super::settings::{ObjectSettings, Stamps};

/// All records of one object in one account.
#[derive(Debug, Clone)]
pub(super) struct Collection {
    settings: ObjectSettings,
    slots: BTreeMap<u64, Slot>,
    by_time: BTreeSet<(i64, u64)>,
    num_live: usize,
    /// What readers do not see yet, by id.
    veils: BTreeMap<u64, Veil>,
    /// Writes are veiled until then.
    hiding_until_ms: Option<i64>,
}

/// A record's state before a write that readers do not see yet, as behind a replica
/// that lags.
#[derive(Debug, Clone)]
struct Veil {
    until_ms: i64,
    before: Option<Slot>,
}

#[derive(Debug, Clone)]
/// What stands in the place of a record.
pub(super) enum Slot {
    Live(Record),
    Gone {
        updated_ms: i64,
        json: Bytes,
        /// The record as it was last.
        last: Box<Record>,
    },
}

/// One record that exists.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) id: u64,
    version: u32,
    pub(super) created_ms: i64,
    pub(super) updated_ms: i64,
    pub(super) properties: Properties,
    pub(super) json: Bytes,
}

/// What a write does to the properties of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edit {
    /// Sets the given ones, null takes one away, the rest stays.
    Merge,
    /// The given ones are all there are.
    Replace,
}

/// Whether a write changed the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edited {
    Changed,
    Unchanged,
}

/// Gives out the `updated_at` of an account; never goes back.
#[derive(Debug)]
pub(super) struct Stamper {
    stamps: Stamps,
    last_ms: i64,
}

/// Which part of a collection to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listing {
    pub(super) order: Order,
    /// Only entries changed at or after this.
    pub(super) since_ms: Option<i64>,
    pub(super) include_archived: bool,
    pub(super) start: Start,
    pub(super) limit: usize,
    pub(super) shift: Shift,
}

/// How far off its place a page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Shift {
    #[default]
    None,
    /// With the last entry of the page before.
    Back,
    /// Behind what would be its first entry.
    Forward,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Id,
    Updated,
}

/// Where a page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    Beginning,
    After(Position),
    /// Pages counted from 1.
    Page(usize),
}

/// The last entry of a page. A listing goes on behind it, whatever was written since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Position {
    Id(u64),
    Updated(i64, u64),
}

/// One page: the entries joined by commas.
#[derive(Debug, Default)]
pub(super) struct ListPage {
    pub(super) entries: Vec<u8>,
    /// Last entry of this page, when there are more behind it.
    pub(super) next: Option<Position>,
    /// Entries of the whole listing; not counted again on later pages of a listing
    /// by `since_ms`.
    pub(super) total: Option<usize>,
}

impl Stamper {
    pub(super) fn new(stamps: Stamps) -> Self {
        Self { stamps, last_ms: i64::MIN }
    }

    pub(super) fn next(&mut self, now_ms: i64) -> i64 {
        self.last_ms = match self.stamps {
            Stamps::Unique => now_ms.max(self.last_ms.saturating_add(1)),
            Stamps::Rounded { ms } => (now_ms - now_ms.rem_euclid(ms.max(1))).max(self.last_ms),
        };
        self.last_ms
    }
}

impl Record {
    /// The entity tag, in its quotes. It holds the time, so that it does not come
    /// again after a reset.
    pub(super) fn etag(&self) -> String {
        format!("\"{}-{:x}\"", self.version, self.updated_ms)
    }

    fn refresh_json(&mut self) {
        let mut out = Vec::with_capacity(self.json.len().max(256) + 32);
        out.extend_from_slice(format!("{{\"id\":\"{}\",\"properties\":", self.id).as_bytes());
        self.properties.write_json(&mut out);
        let (created, updated) = (iso(self.created_ms), iso(self.updated_ms));
        let rest = format!(
            ",\"created_at\":\"{created}\",\"updated_at\":\"{updated}\",\"etag\":\"\\\"{}-{:x}\\\"\",\"archived\":false}}",
            self.version, self.updated_ms
        );
        out.extend_from_slice(rest.as_bytes());
        self.json = out.into();
    }
}

impl Slot {
    fn json(&self) -> &Bytes {
        match self {
            Slot::Live(record) => &record.json,
            Slot::Gone { json, .. } => json,
        }
    }

    fn updated_ms(&self) -> i64 {
        match self {
            Slot::Live(record) => record.updated_ms,
            Slot::Gone { updated_ms, .. } => *updated_ms,
        }
    }

    fn live(&self) -> Option<&Record> {
        match self {
            Slot::Live(record) => Some(record),
            Slot::Gone { .. } => None,
        }
    }
}

impl Collection {
    pub(super) fn new(settings: ObjectSettings) -> Self {
        Self {
            settings,
            slots: BTreeMap::new(),
            by_time: BTreeSet::new(),
            num_live: 0,
            veils: BTreeMap::new(),
            hiding_until_ms: None,
        }
    }

    /// Hides the writes to come from readers until then.
    pub(super) fn hide_writes(&mut self, now_ms: i64, until_ms: i64) {
        self.veils.retain(|_, veil| veil.until_ms > now_ms);
        self.hiding_until_ms = Some(until_ms);
    }

    /// Shows the writes to come at once.
    pub(super) fn show_writes(&mut self) {
        self.hiding_until_ms = None;
    }

    /// How many records readers do not see as they are.
    pub(super) fn num_hidden(&self, now_ms: i64) -> usize {
        self.veils.values().filter(|veil| veil.until_ms > now_ms).count()
    }

    /// The collection as readers see it now.
    pub(super) fn seen(&self, now_ms: i64) -> Cow<'_, Self> {
        if self.num_hidden(now_ms) == 0 {
            return Cow::Borrowed(self);
        }
        let mut seen = self.clone();
        for (id, veil) in self.veils.iter().filter(|(_, veil)| veil.until_ms > now_ms) {
            seen.place(*id, veil.before.clone());
        }
        Cow::Owned(seen)
    }

    /// Keeps what readers go on seeing of a record that is about to be written. A
    /// record that is veiled already keeps what it shows.
    fn veil(&mut self, id: u64) {
        if let Some(until_ms) = self.hiding_until_ms {
            let before = self.slots.get(&id).cloned();
            let veil = self.veils.entry(id).or_insert(Veil { until_ms, before });
            veil.until_ms = veil.until_ms.max(until_ms);
        }
    }

    /// Puts another slot, or none, in a record's place.
    pub(super) fn place(&mut self, id: u64, slot: Option<Slot>) {
        if let Some(old) = self.slots.remove(&id) {
            self.by_time.remove(&(old.updated_ms(), id));
            self.num_live -= usize::from(old.live().is_some());
        }
        if let Some(slot) = slot {
            self.by_time.insert((slot.updated_ms(), id));
            self.num_live += usize::from(slot.live().is_some());
            self.slots.insert(id, slot);
        }
    }

    pub(super) fn settings(&self) -> &ObjectSettings {
        &self.settings
    }

    pub(super) fn get(&self, id: u64) -> Option<&Record> {
        self.slots.get(&id).and_then(Slot::live)
    }

    /// Every record that exists, by id.
    pub(super) fn live(&self) -> impl Iterator<Item = &Record> {
        self.slots.values().filter_map(Slot::live)
    }

    /// What stands in a record's place.
    pub(super) fn slot(&self, id: u64) -> Option<Slot> {
        self.slots.get(&id).cloned()
    }

    /// Every record there is or was, by id, with the time at which it was deleted.
    pub(super) fn all(&self) -> impl Iterator<Item = (&Record, Option<i64>)> {
        self.slots.values().map(|slot| match slot {
            Slot::Live(record) => (record, None),
            Slot::Gone { updated_ms, json: _, last } => (&**last, Some(*updated_ms)),
        })
    }

    pub(super) fn create(&mut self, id: u64, properties: Properties, stamp_ms: i64) -> &Record {
        let mut record =
            Record { id, version: 1, created_ms: stamp_ms, updated_ms: stamp_ms, properties, json: Bytes::new() };
        record.refresh_json();
        self.veil(id);
        self.place(id, Some(Slot::Live(record)));
        self.get(id).expect("inserted alive just above")
    }

    /// Changes one record, unless its version is another than expected.
    pub(super) fn edit(
        &mut self,
        id: u64,
        expected: Option<&str>,
        (edit, properties): (Edit, Properties),
        stamp: impl FnOnce() -> i64,
        bump_unchanged: bool,
    ) -> Result<(&Record, Edited), Refusal> {
        // Also before a write that is refused: the veil then shows what is there anyway.
        self.veil(id);
        let not_found = || self.settings.not_found(&id.to_string());
        let Some(Slot::Live(record)) = self.slots.get_mut(&id) else { return Err(not_found()) };
        require_etag(record, expected)?;
        let edited = match edit {
            Edit::Merge => record.properties.changed_by(&properties),
            Edit::Replace => !record.properties.same(&properties),
        };
        if !edited && !bump_unchanged {
            return Ok((record, Edited::Unchanged));
        }
        match edit {
            Edit::Merge => record.properties.merge(properties),
            Edit::Replace => record.properties = properties,
        }
        self.by_time.remove(&(record.updated_ms, id));
        record.updated_ms = stamp();
        record.version += 1;
        record.refresh_json();
        self.by_time.insert((record.updated_ms, id));
        Ok((record, if edited { Edited::Changed } else { Edited::Unchanged }))
    }

    /// Puts a tombstone in a record's place; tells when, and what it looks like.
    pub(super) fn delete(
        &mut self,
        id: u64,
        expected: Option<&str>,
        stamp: impl FnOnce() -> i64,
    ) -> Result<(i64, Bytes), Refusal> {
        let record = self.get(id).ok_or_else(|| self.settings.not_found(&id.to_string()))?;
        require_etag(record, expected)?;
        let (created, updated_ms) = (iso(record.created_ms), stamp());
        let at = iso(updated_ms);
        let json = format!(
            "{{\"id\":\"{id}\",\"created_at\":\"{created}\",\"updated_at\":\"{at}\",\"archived_at\":\"{at}\",\"archived\":true}}"
        );
        let json = Bytes::from(json);
        let last = Box::new(Record { json: Bytes::new(), ..record.clone() });
        self.veil(id);
        self.place(id, Some(Slot::Gone { updated_ms, json: json.clone(), last }));
        Ok((updated_ms, json))
    }

    /// One page of a listing.
    pub(super) fn list(&self, listing: &Listing) -> ListPage {
        let mut page = ListPage { total: self.total(listing), ..ListPage::default() };
        let mut entries = self.shifted(listing);
        let mut last = None;
        for (position, slot) in entries.by_ref().take(listing.limit) {
            if last.is_some() {
                page.entries.push(b',');
            }
            page.entries.extend_from_slice(slot.json());
            last = Some(position);
        }
        page.next = last.filter(|_| entries.next().is_some());
        page
    }

    /// The entries from where the page begins; only one that goes on behind another can
    /// begin elsewhere than it should.
    fn shifted<'a>(&'a self, listing: &'a Listing) -> Box<dyn Iterator<Item = (Position, &'a Slot)> + 'a> {
        let entries = self.entries(listing);
        match (listing.shift, listing.start) {
            (Shift::None, _) | (_, Start::Beginning | Start::Page(0 | 1)) => entries,
            (Shift::Forward, Start::After(_) | Start::Page(_)) => Box::new(entries.skip(1)),
            (Shift::Back, Start::After(_) | Start::Page(_)) => {
                let first = self.entries(listing).next().map(|(position, _)| position);
                let whole = Listing { start: Start::Beginning, ..listing.clone() };
                let before = self.entries(&whole).take_while(|(position, _)| Some(*position) != first).last();
                let before = before.and_then(|(position, _)| Some((position, self.slots.get(&position.id())?)));
                Box::new(before.into_iter().chain(entries))
            }
        }
    }

    fn entries<'a>(&'a self, listing: &'a Listing) -> Box<dyn Iterator<Item = (Position, &'a Slot)> + 'a> {
        let num_skipped = match listing.start {
            Start::Beginning | Start::After(_) => 0,
            Start::Page(page) => page.saturating_sub(1).saturating_mul(listing.limit),
        };
        match listing.order {
            Order::Id => {
                let from = match listing.start {
                    Start::After(Position::Id(id)) => Bound::Excluded(id),
                    Start::Beginning | Start::Page(_) | Start::After(Position::Updated(..)) => Bound::Unbounded,
                };
                let entries = self.slots.range((from, Bound::Unbounded));
                let entries = entries.map(|(id, slot)| (Position::Id(*id), slot));
                Box::new(entries.filter(|(_, slot)| listing.takes(slot)).skip(num_skipped))
            }
            Order::Updated => {
                let since = (listing.since_ms.unwrap_or(i64::MIN), 0);
                let from = match listing.start {
                    Start::After(Position::Updated(at, id)) if since <= (at, id) => Bound::Excluded((at, id)),
                    Start::After(_) | Start::Beginning | Start::Page(_) => Bound::Included(since),
                };
                let entries = self.by_time.range((from, Bound::Unbounded));
                let entries = entries.filter_map(|(at, id)| Some((Position::Updated(*at, *id), self.slots.get(id)?)));
                Box::new(entries.filter(|(_, slot)| listing.takes(slot)).skip(num_skipped))
            }
        }
    }

    fn total(&self, listing: &Listing) -> Option<usize> {
        match (listing.since_ms, listing.start) {
            (None, _) if listing.include_archived => Some(self.slots.len()),
            (None, _) => Some(self.num_live),
            // Counting costs a walk over the whole range, too much for every page.
            (Some(_), Start::After(_)) => None,
            (Some(_), Start::Beginning | Start::Page(_)) => {
                let whole = Listing { start: Start::Beginning, ..listing.clone() };
                Some(self.entries(&whole).count())
            }
        }
    }
}

impl Listing {
    fn takes(&self, slot: &Slot) -> bool {
        (self.include_archived || slot.live().is_some())
            && self.since_ms.is_none_or(|since_ms| slot.updated_ms() >= since_ms)
    }
}

impl ObjectSettings {
    pub(super) fn not_found(&self, id: &str) -> Refusal {
        Refusal::NotFound { object: self.name.clone(), id: id.to_owned() }
    }
}

impl Position {
    fn id(self) -> u64 {
        match self {
            Position::Id(id) | Position::Updated(_, id) => id,
        }
    }

    /// As the opaque text that clients hand back.
    pub(super) fn to_token(self) -> String {
        match self {
            Position::Id(id) => format!("i{id:x}"),
            Position::Updated(at, id) => format!("u{at:x}-{id:x}"),
        }
    }

    /// Reads a token that was made for this order.
    pub(super) fn from_token(token: &str, order: Order) -> Option<Self> {
        match order {
            Order::Id => Some(Position::Id(u64::from_str_radix(token.strip_prefix('i')?, 16).ok()?)),
            Order::Updated => {
                let (at, id) = token.strip_prefix('u')?.split_once('-')?;
                Some(Position::Updated(i64::from_str_radix(at, 16).ok()?, u64::from_str_radix(id, 16).ok()?))
            }
        }
    }
}

/// Refuses when the condition of a write (`If-Match`) does not hold: `*`, or one of
/// several tags, with or without quotes.
fn require_etag(record: &Record, expected: Option<&str>) -> Result<(), Refusal> {
    let Some(expected) = expected else { return Ok(()) };
    let current = record.etag();
    let holds = |tag: &str| tag == "*" || tag == current || tag == current.trim_matches('"');
    if expected.split(',').map(str::trim).any(holds) {
        Ok(())
    } else {
        Err(Refusal::EtagMismatch { id: record.id, current })
    }
}

/// `2026-03-01T12:00:00.000Z`
pub(super) fn iso(ms: i64) -> String {
    let time = DateTime::from_timestamp_millis(ms).unwrap_or_default();
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(n: u64) -> Properties {
        let raw = serde_json::value::to_raw_value(&serde_json::json!({ "n": n })).expect("JSON");
        Properties::parse(&raw, &ObjectSettings::default()).expect("valid")
    }

    /// Records 1 to 6, stamped 10, 10, 20, 20, 30, 30; 2 deleted at 40, 3 edited at 40.
    fn six() -> Collection {
        let mut collection = Collection::new(ObjectSettings::new("contacts"));
        for id in 1..=6 {
            collection.create(id, properties(id), (id.cast_signed() + 1) / 2 * 10);
        }
        collection.delete(2, None, || 40).expect("exists");
        collection.edit(3, None, (Edit::Merge, properties(33)), || 40, false).expect("exists");
        collection
    }

    fn ids(page: &ListPage) -> Vec<u64> {
        let entries = format!("[{}]", String::from_utf8_lossy(&page.entries));
        let entries: Vec<serde_json::Value> = serde_json::from_str(&entries).expect("JSON");
        entries.iter().map(|entry| entry["id"].as_str().expect("a text").parse().expect("digits")).collect()
    }

    #[test]
    fn listings() {
        let by_id = Listing {
            order: Order::Id,
            since_ms: None,
            include_archived: false,
            start: Start::Beginning,
            limit: 9,
            shift: Shift::None,
        };
        let by_time = Listing { order: Order::Updated, ..by_id.clone() };
        let since = |ms| Listing { since_ms: Some(ms), include_archived: true, ..by_time.clone() };
        let after = |position, listing: Listing| Listing { start: Start::After(position), ..listing };
        for (listing, expected, total) in [
            (by_id.clone(), vec![1, 3, 4, 5, 6], Some(5)),
            (Listing { include_archived: true, ..by_id.clone() }, vec![1, 2, 3, 4, 5, 6], Some(6)),
            (Listing { start: Start::Page(2), limit: 2, ..by_id.clone() }, vec![4, 5], Some(5)),
            (Listing { start: Start::Page(usize::MAX), limit: 2, ..by_id.clone() }, vec![], Some(5)),
            (after(Position::Id(3), by_id.clone()), vec![4, 5, 6], Some(5)),
            (by_time.clone(), vec![1, 4, 5, 6, 3], Some(5)),
            (since(20), vec![4, 5, 6, 2, 3], Some(5)),
            (since(21), vec![5, 6, 2, 3], Some(4)),
            (Listing { include_archived: false, ..since(21) }, vec![5, 6, 3], Some(3)),
            (after(Position::Updated(30, 5), since(20)), vec![6, 2, 3], None),
            (after(Position::Updated(10, 1), since(30)), vec![5, 6, 2, 3], None),
            (since(41), vec![], Some(0)),
        ] {
            let page = six().list(&listing);
            assert_eq!((ids(&page), page.total), (expected, total), "{listing:?}");
        }
    }

    #[test]
    fn the_last_page_has_no_next() {
        let collection = six();
        let mut listing = Listing {
            order: Order::Id,
            since_ms: None,
            include_archived: false,
            start: Start::Beginning,
            limit: 3,
            shift: Shift::None,
        };
        let page = collection.list(&listing);
        assert_eq!(page.next, Some(Position::Id(4)));
        listing.start = Start::After(Position::Id(4));
        assert_eq!(collection.list(&listing).next, None);
    }

    #[test]
    fn a_page_that_shifts_repeats_or_hides_one_entry() {
        let by_id = Listing {
            order: Order::Id,
            since_ms: None,
            include_archived: false,
            start: Start::Beginning,
            limit: 2,
            shift: Shift::Back,
        };
        let by_time = Listing { order: Order::Updated, ..by_id.clone() };
        let after = |position, listing: &Listing| Listing { start: Start::After(position), ..listing.clone() };
        for (listing, back, forward) in [
            (by_id.clone(), vec![1, 3], vec![1, 3]),
            (after(Position::Id(3), &by_id), vec![3, 4], vec![5, 6]),
            (after(Position::Id(6), &by_id), vec![6], vec![]),
            (after(Position::Updated(30, 5), &by_time), vec![5, 6], vec![3]),
            (Listing { start: Start::Page(2), ..by_id.clone() }, vec![3, 4], vec![5, 6]),
        ] {
            assert_eq!(ids(&six().list(&listing)), back, "{listing:?}");
            assert_eq!(ids(&six().list(&Listing { shift: Shift::Forward, ..listing })), forward);
        }
    }

    #[test]
    fn what_is_hidden_is_seen_as_it_was_until_then() {
        let all = Listing {
            order: Order::Updated,
            since_ms: Some(0),
            include_archived: true,
            start: Start::Beginning,
            limit: 9,
            shift: Shift::None,
        };
        let before = six();
        let mut collection = six();
        collection.hide_writes(40, 60);
        collection.create(7, properties(7), 50);
        collection.edit(4, None, (Edit::Merge, properties(44)), || 51, false).expect("exists");
        collection.delete(5, None, || 52).expect("exists");
        collection.show_writes();
        collection.edit(4, None, (Edit::Merge, properties(45)), || 55, false).expect("exists");
        for (now_ms, seen) in [(59, &before), (60, &collection.clone())] {
            let (now_seen, want) = (collection.seen(now_ms).list(&all), seen.list(&all));
            assert_eq!((&now_seen.entries, now_seen.total), (&want.entries, want.total), "at {now_ms}");
            assert_eq!(collection.seen(now_ms).num_live, seen.num_live);
            assert_eq!(collection.num_hidden(now_ms), if now_ms < 60 { 3 } else { 0 });
        }
        assert_eq!(ids(&collection.list(&all)), [1, 6, 2, 3, 7, 5, 4]);
    }

    #[test]
    fn stamps() {
        let mut unique = Stamper::new(Stamps::Unique);
        assert_eq!([5, 5, 3, 9].map(|now| unique.next(now)), [5, 6, 7, 9]);
        let mut rounded = Stamper::new(Stamps::Rounded { ms: 10 });
        assert_eq!([15, 19, 20, 9].map(|now| rounded.next(now)), [10, 10, 20, 20]);
    }

    #[test]
    fn tokens_belong_to_an_order() {
        for position in [Position::Id(u64::MAX), Position::Updated(1_767_225_600_000, 101)] {
            let order = if matches!(position, Position::Id(_)) { Order::Id } else { Order::Updated };
            let other = if order == Order::Id { Order::Updated } else { Order::Id };
            assert_eq!(Position::from_token(&position.to_token(), order), Some(position));
            assert_eq!(Position::from_token(&position.to_token(), other), None);
        }
        for token in ["", "i", "u1", "ixyz", "u1-", "é"] {
            assert_eq!(Position::from_token(token, Order::Id), None, "{token}");
            assert_eq!(Position::from_token(token, Order::Updated), None, "{token}");
        }
    }
}
