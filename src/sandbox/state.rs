//! Everything the sandbox knows, as one plain state machine: accounts with their
//! records, versions, tombstones, idempotency keys and rate windows. No HTTP, no
//! clock: each call is told the time.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use actix_web::web::Bytes;
use serde_json::value::RawValue;
use xxhash_rust::xxh3::xxh3_128;

use super::collection::{Collection, Edit, Edited, Record, Stamper};
use super::dialect::{FeedEntry, Speech};
use super::hostile::{Hostile, Kind, Mishap};
use super::index::Index;
use super::limits::{Kept, Keys, Window};
use super::properties::Properties;
use super::refusal::Refusal;
use super::seed::{generate, padded};
use super::settings::{Seed, Settings};
use super::stats::{Stats, Tally, Written};
use super::webhooks::outbox::{Change, Outbox, Snapshot, Verb};
use crate::model::value::Value;

/// Number of the first record of an account.
const FIRST_ID: u64 = 101;

/// The most events that a feed keeps.
const MOST_EVENTS: usize = 100_000;

/// How far apart seeded records were written, in milliseconds. They lie in the past,
/// so that a write after the start is later than all of them.
const SEED_SPACING_MS: i64 = 1_000;

/// All accounts and what was asked of them.
#[derive(Debug)]
pub(super) struct State {
    settings: Arc<Settings>,
    by_token: HashMap<String, usize>,
    accounts: Vec<Account>,
    pub(super) tally: Tally,
    hostility: Hostility,
    /// How many times it was reset.
    epoch: u64,
}

/// What goes wrong on purpose, and the writes that are still to come.
#[derive(Debug, Default)]
struct Hostility {
    hostile: Option<Hostile>,
    num_requests: u64,
    late: Vec<LateWrite>,
}

/// A write whose client was cut off, to be carried out later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LateWrite {
    pub(super) due_ms: i64,
    pub(super) account_no: usize,
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) if_match: Option<String>,
    pub(super) key: Option<String>,
    pub(super) content_type: Option<String>,
    pub(super) body: Bytes,
}

/// One account.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) speech: &'static dyn Speech,
    collections: Vec<Collection>,
    /// What searches find, where that is something else.
    index: Option<Index>,
    stamper: Stamper,
    next_id: u64,
    bump_unchanged: bool,
    pub(super) keys: Keys,
    pub(super) window: Window,
    /// That of searches, where they have one of their own.
    pub(super) search_window: Window,
    /// Requests that are in flight.
    pub(super) in_flight: usize,
    /// Its feed of events, the oldest first, where the dialect has one.
    pub(super) feed: VecDeque<FeedEntry>,
    pub(super) outbox: Outbox,
}

/// A write that was carried out, or answered from an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) id: u64,
    /// `None` when this is the answer to an earlier request.
    pub(super) written: Option<Written>,
    /// Tag and JSON of the record; none after a deletion.
    pub(super) record: Option<(String, Bytes)>,
}

/// The token of an account: `sandbox-token-<account>`.
#[must_use]
pub fn token(account: &str) -> String {
    format!("sandbox-token-{account}")
}

impl State {
    /// Accounts with their seeded records.
    pub(super) fn new(settings: Arc<Settings>, now_ms: i64) -> Result<Self, Refusal> {
        Self::born(settings, now_ms, 0)
    }

    fn born(settings: Arc<Settings>, now_ms: i64, epoch: u64) -> Result<Self, Refusal> {
        let num_accounts = settings.accounts.len();
        let by_token = settings.accounts.iter().enumerate().map(|(i, name)| (token(name), i)).collect();
        let speech = settings.dialect.speech();
        let outbox = |(i, name): (usize, &String)| {
            Outbox::new(speech, (i, name.as_str()), settings.webhooks.get(name), (epoch, now_ms))
        };
        let outboxes = settings.accounts.iter().enumerate().map(outbox);
        let accounts = outboxes.map(|outbox| Account::new(&settings, outbox)).collect();
        let tally = Tally::new(num_accounts, settings.log_size);
        let hostility = Hostility { hostile: settings.hostile.clone(), ..Hostility::default() };
        let mut state = Self { settings: Arc::clone(&settings), by_token, accounts, tally, hostility, epoch };
        for (i, name) in settings.accounts.iter().enumerate() {
            state.accounts[i].seed_all(settings.seeds.iter().filter(|seed| seed.account() == name), now_ms)?;
        }
        Ok(state)
    }

    /// Back to the seeded records, with nothing counted.
    pub(super) fn reset(&mut self, now_ms: i64) -> Result<(), Refusal> {
        *self = Self::born(Arc::clone(&self.settings), now_ms, self.epoch + 1)?;
        Ok(())
    }

    /// What was asked so far.
    pub(super) fn stats(&self) -> Stats {
        let outboxes = self.settings.accounts.iter().zip(self.accounts.iter().map(|account| &account.outbox));
        let counts = outboxes.map(|(name, outbox)| (name, outbox, outbox.counts()));
        let told = counts.filter(|(_, outbox, counts)| outbox.webhook().is_some() || counts.events > 0);
        Stats {
            webhooks: told.map(|(name, _, counts)| (name.clone(), counts)).collect(),
            ..self.tally.stats(&self.settings.accounts)
        }
    }

    /// Forgets what was asked so far.
    pub(super) fn clear_stats(&mut self) {
        self.tally.clear();
        self.accounts.iter_mut().for_each(|account| account.outbox.clear_counts());
    }

    pub(super) fn num_accounts(&self) -> usize {
        self.accounts.len()
    }

    pub(super) fn account_name(&self, number: usize) -> &str {
        &self.settings.accounts[number]
    }

    pub(super) fn account_of_token(&self, token: &str) -> Option<usize> {
        self.by_token.get(token).copied()
    }

    pub(super) fn account_named(&self, name: &str) -> Option<usize> {
        self.settings.accounts.iter().position(|other| other == name)
    }

    pub(super) fn account(&mut self, number: usize) -> &mut Account {
        &mut self.accounts[number]
    }

    pub(super) fn hostile(&self) -> Option<&Hostile> {
        self.hostility.hostile.as_ref()
    }

    /// Lets other things go wrong from now on, or nothing. What has gone wrong takes its
    /// course: late writes still come, hidden ones stay hidden for their time.
    pub(super) fn set_hostile(&mut self, hostile: Option<Hostile>) {
        self.hostility.hostile = hostile;
        self.hostility.num_requests = 0;
    }

    /// Draws what befalls the next request. A calm client is only spared what it would
    /// notice itself: its writes may be hidden from others.
    pub(super) fn mishap(&mut self, kind: Kind, calm: bool) -> Option<Mishap> {
        let hostile = self.hostility.hostile.as_ref()?;
        let number = self.hostility.num_requests;
        self.hostility.num_requests += 1;
        let drawn = hostile.mishap(number, kind);
        let mishap = drawn.filter(|mishap| !calm || matches!(mishap, Mishap::Stale { .. }))?;
        self.tally.mishap(mishap.name());
        Some(mishap)
    }

    /// Whether one item of a batch is refused on purpose as one too many, and until when.
    pub(super) fn is_item_limited(&mut self, now_ms: i64) -> Option<i64> {
        let hostile = self.hostility.hostile.as_ref()?;
        let only = Hostile {
            seed: hostile.seed,
            limited: hostile.limited,
            limited_ms: hostile.limited_ms,
            ..Hostile::default()
        };
        let number = self.hostility.num_requests;
        self.hostility.num_requests += 1;
        match only.mishap(number, Kind::Write)? {
            Mishap::Limited { for_ms, .. } => {
                self.tally.mishap("limited");
                Some(now_ms.saturating_add(i64::try_from(for_ms).unwrap_or(i64::MAX)))
            }
            _ => None,
        }
    }

    pub(super) fn put_off(&mut self, write: LateWrite) {
        self.hostility.late.push(write);
    }

    pub(super) fn num_late(&self) -> usize {
        self.hostility.late.len()
    }

    pub(super) fn num_hidden(&self, now_ms: i64) -> usize {
        let collections = self.accounts.iter().flat_map(|account| &account.collections);
        collections.map(|collection| collection.num_hidden(now_ms)).sum()
    }

    /// Takes the late writes whose time has come, the earliest first.
    pub(super) fn take_due(&mut self, now_ms: i64) -> Vec<LateWrite> {
        let mut due: Vec<_> = self.hostility.late.extract_if(.., |write| write.due_ms <= now_ms).collect();
        due.sort_by_key(|write| write.due_ms);
        due
    }
}

impl Account {
    fn new(settings: &Settings, outbox: Outbox) -> Self {
        let empty = || settings.objects.iter().cloned().map(Collection::new).collect();
        Self {
            speech: settings.dialect.speech(),
            collections: empty(),
            index: (settings.index_lag_ms > 0).then(|| Index::new(settings.index_lag_ms, empty())),
            stamper: Stamper::new(settings.stamps),
            next_id: FIRST_ID,
            bump_unchanged: settings.bump_unchanged,
            keys: Keys::default(),
            window: Window::default(),
            search_window: Window::default(),
            in_flight: 0,
            feed: VecDeque::new(),
            outbox,
        }
    }

    pub(super) fn collections(&self) -> &[Collection] {
        &self.collections
    }

    pub(super) fn collection(&self, object: &str) -> Result<&Collection, Refusal> {
        let found = self.collections.iter().find(|collection| collection.settings().name == object);
        found.ok_or_else(|| Refusal::UnknownObject { object: object.to_owned() })
    }

    /// A record by the id in a URL or an input.
    pub(super) fn get(&self, object: &str, id: &str) -> Result<&Record, Refusal> {
        self.collection(object)?.find(self.speech.id_of(id), id)
    }

    /// The records of an object as a search finds them now.
    pub(super) fn indexed(&mut self, object: &str, now_ms: i64) -> Result<&Collection, Refusal> {
        let position = self.position(object)?;
        Ok(match &mut self.index {
            Some(index) => index.seen(position, now_ms),
            None => &self.collections[position],
        })
    }

    fn position(&self, object: &str) -> Result<usize, Refusal> {
        let found = self.collections.iter().position(|collection| collection.settings().name == object);
        found.ok_or_else(|| Refusal::UnknownObject { object: object.to_owned() })
    }

    /// Tells everybody of a write that is done.
    fn tell(&mut self, change: Change<'_>, now_ms: i64) {
        if let (Ok(position), Some(index)) = (self.position(change.object), &mut self.index) {
            index.note(position, change.id, self.collections[position].slot(change.id), now_ms);
        }
        if let Some(entry) = self.speech.feed_entry(&change) {
            self.feed.push_back(entry);
            if self.feed.len() > MOST_EVENTS {
                self.feed.pop_front();
            }
        }
        self.outbox.tell(change);
    }

    /// Hides the writes to come from readers until then.
    pub(super) fn hide_writes(&mut self, now_ms: i64, until_ms: i64) {
        self.collections.iter_mut().for_each(|collection| collection.hide_writes(now_ms, until_ms));
    }

    /// Shows the writes to come at once.
    pub(super) fn show_writes(&mut self) {
        self.collections.iter_mut().for_each(Collection::show_writes);
    }

    /// Makes a record; with a key that was used before, answers as then.
    pub(super) fn create(
        &mut self,
        object: &str,
        properties: &RawValue,
        key: Option<&str>,
        now_ms: i64,
    ) -> Result<Done, Refusal> {
        let fingerprint = || xxh3_128(format!("{object}\0create\0{}", properties.get()).as_bytes());
        let keyed = key.map(|key| (key, fingerprint()));
        if let Some((key, fingerprint)) = keyed
            && let Some(kept) = self.keys.find(key, fingerprint, now_ms)?
        {
            return Ok(kept.again());
        }
        let properties = Properties::parse(properties, self.collection(object)?.settings())?;
        let stamp_ms = self.stamper.next(now_ms);
        let done = self.create_at(object, properties, stamp_ms)?;
        let now = self.collection(object)?.get(done.id).map(|made| Snapshot::of(made, self.speech.tells_fields()));
        if let Some(now) = now {
            self.tell(Change { verb: Verb::Created, object, id: done.id, now, before: None }, now_ms);
        }
        if let (Some((key, fingerprint)), Some((etag, json))) = (keyed, &done.record) {
            let record = Some((done.id, etag.clone()));
            self.keys.keep(key, Kept { fingerprint, status: 201, record, body: json.clone() }, now_ms);
        }
        Ok(done)
    }

    fn create_at(&mut self, object: &str, properties: Properties, stamp_ms: i64) -> Result<Done, Refusal> {
        let id = self.next_id;
        let (collection, ..) = self.parts(object)?;
        let done = Done::with(collection.create(id, properties, stamp_ms), Written::Created);
        self.next_id += 1;
        Ok(done)
    }

    /// Merges or replaces the properties of a record.
    pub(super) fn edit(
        &mut self,
        object: &str,
        id: &str,
        expected: Option<&str>,
        (edit, properties): (Edit, &RawValue),
        now_ms: i64,
    ) -> Result<Done, Refusal> {
        let (speech, with_fields) = (self.speech, self.speech.tells_fields());
        let (collection, stamper, bump_unchanged) = self.parts(object)?;
        let properties = Properties::parse(properties, collection.settings())?;
        let id = speech.id_of(id).ok_or_else(|| collection.settings().not_found(id))?;
        let before = collection.get(id).map(|record| Snapshot::of(record, with_fields));
        let (record, edited) =
            collection.edit(id, expected, (edit, properties), || stamper.next(now_ms), bump_unchanged)?;
        let written = match edited {
            Edited::Changed => Written::Updated,
            Edited::Unchanged => Written::Unchanged,
        };
        let (now, done) = (Snapshot::of(record, with_fields), Done::with(record, written));
        // One that changed nothing at all is nothing to tell.
        if before.as_ref().is_some_and(|before| before.etag != now.etag) {
            self.tell(Change { verb: Verb::Updated, object, id, now, before }, now_ms);
        }
        Ok(done)
    }

    /// Deletes a record, leaving a tombstone.
    pub(super) fn delete(
        &mut self,
        object: &str,
        id: &str,
        expected: Option<&str>,
        now_ms: i64,
    ) -> Result<Done, Refusal> {
        let (speech, with_fields) = (self.speech, self.speech.tells_fields());
        let (collection, stamper, _) = self.parts(object)?;
        let id = speech.id_of(id).ok_or_else(|| collection.settings().not_found(id))?;
        let before = collection.get(id).map(|record| Snapshot::of(record, with_fields));
        let (updated_ms, json) = collection.delete(id, expected, || stamper.next(now_ms))?;
        let created_ms = before.as_ref().map_or(updated_ms, |before| before.created_ms);
        let now = Snapshot { etag: None, updated_ms, created_ms, json, fields: None };
        self.tell(Change { verb: Verb::Deleted, object, id, now, before }, now_ms);
        Ok(Done { id, written: Some(Written::Deleted), record: None })
    }

    /// Replaces the properties of the record with the same value of one property, or
    /// makes one.
    pub(super) fn upsert(
        &mut self,
        object: &str,
        match_property: &str,
        properties: &RawValue,
        now_ms: i64,
    ) -> Result<Done, Refusal> {
        let collection = self.collection(object)?;
        let wanted = Properties::parse(properties, collection.settings())?;
        let Some(value) = wanted.get(match_property) else {
            return Err(Refusal::bad_request(format!("the record has no property '{match_property}' to match by")));
        };
        let found = collection.live().find(|record| record.properties.has(match_property, value)).map(|found| found.id);
        match found {
            Some(id) => self.edit(object, &self.speech.id_text(id), None, (Edit::Replace, properties), now_ms),
            None => self.create(object, properties, None, now_ms),
        }
    }

    fn parts(&mut self, object: &str) -> Result<(&mut Collection, &mut Stamper, bool), Refusal> {
        let found = self.collections.iter_mut().find(|collection| collection.settings().name == object);
        let collection = found.ok_or_else(|| Refusal::UnknownObject { object: object.to_owned() })?;
        Ok((collection, &mut self.stamper, self.bump_unchanged))
    }

    fn seed_all<'a>(&mut self, seeds: impl Iterator<Item = &'a Seed>, now_ms: i64) -> Result<(), Refusal> {
        let mut records = Vec::new();
        for seed in seeds {
            records.extend(seed.records()?.into_iter().map(|record| (seed.object(), record)));
        }
        let span_ms = i64::try_from(records.len()).unwrap_or(i64::MAX).saturating_mul(SEED_SPACING_MS);
        let mut at_ms = now_ms.saturating_sub(span_ms).max(0);
        for (object, record) in records {
            let record = self.seeded(record)?;
            let properties = Properties::parse(&record, self.collection(object)?.settings())?;
            let stamp_ms = self.stamper.next(at_ms);
            let id = self.create_at(object, properties, stamp_ms)?.id;
            if let (position, Some(index)) = (self.position(object)?, &mut self.index) {
                index.note(position, id, self.collections[position].slot(id), i64::MIN);
            }
            at_ms = at_ms.saturating_add(SEED_SPACING_MS);
        }
        Ok(())
    }
}

impl Account {
    /// A seeded record in the dialect's form.
    fn seeded(&self, record: Box<RawValue>) -> Result<Box<RawValue>, Refusal> {
        let value = Value::from_raw(&record).map_err(|error| Refusal::bad_request(error.to_string()))?;
        let seeded = self.speech.seeded(value.clone());
        if seeded.same(&value) { Ok(record) } else { raw_of(&seeded) }
    }
}

impl Done {
    fn with(record: &Record, written: Written) -> Self {
        Self { id: record.id, written: Some(written), record: Some((record.etag(), record.json.clone())) }
    }
}

impl Kept {
    fn again(&self) -> Done {
        let (id, etag) = self.record.clone().unwrap_or_default();
        Done { id, written: None, record: Some((etag, self.body.clone())) }
    }
}

impl Seed {
    pub(super) fn account(&self) -> &str {
        match self {
            Seed::Generated { account, .. } | Seed::Lines { account, .. } => account,
        }
    }

    pub(super) fn object(&self) -> &str {
        match self {
            Seed::Generated { object, .. } | Seed::Lines { object, .. } => object,
        }
    }

    pub(super) fn records(&self) -> Result<Vec<Box<RawValue>>, Refusal> {
        match self {
            Seed::Generated { account: _, object, start, num, seed, bytes } => {
                generate(object, *start, *num, *seed).map(|record| raw_of(&padded(record, *bytes))).collect()
            }
            Seed::Lines { account: _, object: _, lines } => {
                let lines = lines.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
                let parse = |(i, line): (usize, &str)| {
                    RawValue::from_string(line.trim().to_owned())
                        .map_err(|error| Refusal::bad_request(format!("line {}: {error}", i + 1)))
                };
                lines.map(parse).collect()
            }
        }
    }
}

/// The raw JSON of a record's fields.
pub(super) fn raw_json(fields: &serde_json::Map<String, serde_json::Value>) -> Result<Box<RawValue>, Refusal> {
    serde_json::value::to_raw_value(fields).map_err(|error| Refusal::bad_request(error.to_string()))
}

/// The raw JSON of a value.
pub(super) fn raw_of(value: &Value) -> Result<Box<RawValue>, Refusal> {
    RawValue::from_string(value.to_json()).map_err(|error| Refusal::bad_request(error.to_string()))
}

impl Collection {
    /// A record by the id in a URL or an input, as it was understood and as it stood.
    pub(super) fn find(&self, id: Option<u64>, text: &str) -> Result<&Record, Refusal> {
        let record = id.and_then(|id| self.get(id));
        record.ok_or_else(|| self.settings().not_found(text))
    }
}
