//! Recovery of writes whose outcome is unknown, before any other write to their record.
//!
//! A create is recovered by what its side offers, best first: the id we chose, the
//! idempotency key, an external id, or waiting until it must be visible and searching
//! by match key. Where nothing can be looked up, a person decides.

use std::rc::Rc;
use std::sync::Arc;

use crate::actors::batch::{self, Report, Stop, put_marker};
use crate::actors::core::{Core, LeaseKey, Leases};
use crate::actors::queue::PendingRow;
use crate::connectors::Read;
use crate::model::ids::{PairNo, RecordId};
use crate::model::marker::{BaseValue, LinkState, Marker};
use crate::model::path::Path;
use crate::model::record::{Body, DeletionCause, Entry, Record};
use crate::model::side::{PerSide, Side};
use crate::model::value::Value;
use crate::model::work::{
    Intent, IntentOperation, IntentState, Lane, Pending, PendingReason, QuarantineKind, Quarantined,
};
use crate::model::write::{ConnectorError, Create, CreateRecovery, DEFAULT_CREATE_SETTLE_MS, NextStep, Outcome, Write};
use crate::planted::{self, Bug};
use crate::reconcile::mapping::FieldRead;
use crate::reconcile::plan::bury;
use crate::reconcile::reference::LinkKey;
use crate::reconcile::sync::BoundSync;
use crate::store::Commit;

/// How long before an idempotency key expires it is no longer relied upon, in
/// milliseconds: a request may be under way for its whole timeout and then some.
const KEY_MARGIN_MS: u64 = 300_000;

/// For how long a create whose answer is unknown may still be carried out, in
/// milliseconds.
const MAY_COME_LATE_MS: u64 = DEFAULT_CREATE_SETTLE_MS;

/// How soon a write is recovered that can be looked up at once, in milliseconds.
const SOON_MS: u64 = 1_000;

/// How long until an open write may be recovered, in milliseconds.
#[must_use]
pub fn left_ms(core: &Core, sync: &BoundSync, pair: PairNo, intent: &Intent) -> u64 {
    let settle_ms = match (&intent.operation, sync.capabilities[intent.target].create) {
        (IntentOperation::Create { .. }, _) if intent.state == IntentState::GivenUp => MAY_COME_LATE_MS,
        (IntentOperation::Create { .. }, CreateRecovery::Find { settle_ms })
            if !planted::is(Bug::LateCommitNotAwaited) =>
        {
            settle_ms
        }
        // From then on it is only looked for.
        (IntentOperation::Create { .. }, CreateRecovery::IdempotencyKey { life_ms })
            if !key_is_known(core, sync, pair, intent, life_ms) =>
        {
            DEFAULT_CREATE_SETTLE_MS
        }
        (
            IntentOperation::Delete { .. } | IntentOperation::Create { .. },
            CreateRecovery::ClientId
            | CreateRecovery::IdempotencyKey { .. }
            | CreateRecovery::ExternalId
            | CreateRecovery::Find { .. }
            | CreateRecovery::Park,
        ) => return SOON_MS.saturating_sub(core.age_ms(sync.no, pair, intent)),
    };
    settle_ms.saturating_sub(core.waited_ms(sync.no, pair, intent))
}

/// Whether the side still knows an open write's idempotency key, beyond doubt.
fn key_is_known(core: &Core, sync: &BoundSync, pair: PairNo, intent: &Intent, life_ms: u64) -> bool {
    core.age_ms(sync.no, pair, intent) < life_ms.saturating_sub(KEY_MARGIN_MS)
}

/// What was found out about an unknown write.
enum Found {
    /// The record was created: this is it. Others that could be it are named.
    Created(Box<Record>, Vec<RecordId>),
    /// The side says that this record was created, and does not show it.
    Made(RecordId),
    /// It was answered now, by sending the same again.
    Answered(Outcome),
    /// Nothing was created.
    NotCreated,
    /// Nothing was created so far, and nobody wants it any more.
    NotYet,
    /// The record is gone.
    Gone,
    /// The record still stands.
    Stands,
    /// Nobody can tell.
    Undecidable(&'static str),
}

/// Recovers one unknown write.
///
/// # Errors
/// When a side cannot be asked, or the state file cannot be used.
pub async fn recover(core: &Rc<Core>, sync: &Arc<BoundSync>, pair: PairNo, mut intent: Intent) -> Result<Report, Stop> {
    let mut leases = core.leases();
    if !leases.take(LeaseKey::Pair(sync.no, pair)) {
        return Ok(Report::default());
    }
    let Some(marker) = core.snapshot()?.marker(core.conn, sync.no, pair)? else {
        return close_without_marker(core, sync, pair).await;
    };
    let mut found = ask(core, sync, pair, &marker, &mut intent).await?;
    let made = match &found {
        Found::Created(record, _) => Some(record.id.clone()),
        Found::Made(id) => Some(id.clone()),
        Found::Answered(_)
        | Found::NotCreated
        | Found::NotYet
        | Found::Gone
        | Found::Stands
        | Found::Undecidable(_) => None,
    };
    if let Some(id) = made {
        found = with_record(core, sync, pair, intent.target, id, found, &mut leases).await?;
    }
    let mut recovery = Recovery {
        core: Rc::clone(core),
        sync: Arc::clone(sync),
        pair,
        intent,
        marker,
        commit: core.right.new_commit(),
        report: Report::default(),
        stays_open: false,
    };
    recovery.conclude(found);
    recovery.commit().await
}

/// Waits for whoever looks at the created record, as at one that it does not know, and then
/// reads what it holds now. To come back later instead would not do: a unit that waits for
/// this create looks at the record again and again, and both could miss each other for ever.
async fn with_record(
    core: &Rc<Core>,
    sync: &Arc<BoundSync>,
    pair: PairNo,
    side: Side,
    id: RecordId,
    found: Found,
    leases: &mut Leases,
) -> Result<Found, Stop> {
    let record = LeaseKey::Record(sync.no, side, id.clone());
    let mut was_free = leases.take(record.clone());
    leases.take_when_free(record).await;
    if let Some(half) = batch::half_of(core, sync.no, side, &id, Some(pair)) {
        let half = LeaseKey::Pair(sync.no, half);
        was_free &= leases.take(half.clone());
        leases.take_when_free(half).await;
    }
    if was_free {
        return Ok(found);
    }
    let others = if let Found::Created(_, others) = found { others } else { Vec::new() };
    Ok(match found_by_id(core, sync, side, &id).await? {
        Found::Created(record, _) => Found::Created(record, others),
        Found::NotCreated => Found::Made(id),
        found => found,
    })
}

async fn close_without_marker(core: &Rc<Core>, sync: &BoundSync, pair: PairNo) -> Result<Report, Stop> {
    let mut commit = core.right.new_commit();
    commit.delete_intent(sync.no, pair);
    core.commit(commit).await?;
    core.intents.borrow_mut().remove(&(sync.no, pair));
    Ok(Report::default())
}

async fn ask(core: &Core, sync: &BoundSync, pair: PairNo, marker: &Marker, intent: &mut Intent) -> Result<Found, Stop> {
    let target = intent.target;
    let (create, source) = match &intent.operation {
        IntentOperation::Delete { id } => {
            let entry = read_one(core, sync, target, id).await?;
            return Ok(match entry {
                Entry::Deleted { .. } => Found::Gone,
                Entry::Live(_) | Entry::Bad(_) => Found::Stands,
            });
        }
        IntentOperation::Create { .. } if planted::is(Bug::CreateRetriedBlind) => return Ok(Found::NotCreated),
        IntentOperation::Create { create, source, .. } => (create.clone(), source.clone()),
    };
    match sync.capabilities[target].create {
        CreateRecovery::ClientId => {
            let id = RecordId::new(create.external_id.as_str());
            match found_by_id(core, sync, target, &id).await? {
                Found::NotCreated => not_yet(core, sync, pair, marker, intent, create, &source).await,
                found => Ok(found),
            }
        }
        CreateRecovery::ExternalId => {
            let read = Read::ExternalId(create.external_id.clone());
            let page = core.fetch(sync, target, read, Lane::Manual).await.map_err(Stop::Connector)?;
            match oldest(live(page.entries)) {
                Found::NotCreated => not_yet(core, sync, pair, marker, intent, create, &source).await,
                found => Ok(found),
            }
        }
        CreateRecovery::IdempotencyKey { life_ms } => {
            if key_is_known(core, sync, pair, intent, life_ms) {
                send_again(core, sync, target, create).await
            } else {
                find_by_match(core, sync, pair, marker, target).await
            }
        }
        CreateRecovery::Find { .. } => find_by_match(core, sync, pair, marker, target).await,
        CreateRecovery::Park => Ok(Found::Undecidable("this side offers nothing to look it up by")),
    }
}

/// A create whose id is unique has made nothing so far and may still be carried out. It
/// is sent again as it was, so that whichever comes first is what was promised; unless
/// its source is gone: then it is only waited for, to be undone if it comes.
async fn not_yet(
    core: &Core,
    sync: &BoundSync,
    pair: PairNo,
    marker: &Marker,
    intent: &mut Intent,
    create: Create,
    source: &RecordId,
) -> Result<Found, Stop> {
    // What was given up has been waited for long enough.
    if intent.state == IntentState::GivenUp || planted::is(Bug::LateCommitNotAwaited) {
        return Ok(Found::NotCreated);
    }
    if let Entry::Deleted { .. } = read_one(core, sync, intent.target.other(), source).await? {
        return Ok(Found::NotYet);
    }
    if has_rival(core, sync, pair, marker, intent).await? {
        return Ok(Found::NotCreated);
    }
    // Before it leaves: this one may come late too.
    intent.opened_ms = core.now().ms;
    let mut commit = core.right.new_commit();
    commit.put_intent(sync.no, pair, intent);
    core.commit(commit).await?;
    core.note_sent((sync.no, pair));
    send_again(core, sync, intent.target, create).await
}

/// Whether the record that a create may have made is there.
async fn found_by_id(core: &Core, sync: &BoundSync, side: Side, id: &RecordId) -> Result<Found, Stop> {
    Ok(match read_one(core, sync, side, id).await? {
        Entry::Live(record) => Found::Created(Box::new(record), Vec::new()),
        Entry::Deleted { .. } => Found::NotCreated,
        Entry::Bad(_) => Found::Undecidable("the record it may have made cannot be read"),
    })
}

async fn read_one(core: &Core, sync: &BoundSync, side: Side, id: &RecordId) -> Result<Entry, Stop> {
    let mut found = batch::fetch_ids(core, sync, side, vec![id.clone()], Lane::Manual).await;
    match found.remove(id) {
        Some(Ok(entry)) => Ok(entry),
        Some(Err(error)) => Err(Stop::Connector(error)),
        None => Err(Stop::Connector(ConnectorError::new(
            NextStep::Retry,
            format!("reading {side} record {id} was answered with another record"),
        ))),
    }
}

/// Whether somebody else's record has taken the place of the one to be created: then
/// the source is paired with that one.
async fn has_rival(
    core: &Core,
    sync: &BoundSync,
    pair: PairNo,
    marker: &Marker,
    intent: &Intent,
) -> Result<bool, Stop> {
    let target = intent.target;
    if let IntentOperation::Create { match_key: Some(key), .. } = &intent.operation {
        let snapshot = core.snapshot()?;
        for other in snapshot.pairs_by_match(core.conn, sync.no, *key, target, batch::MAX_CANDIDATES)? {
            let half = snapshot.marker(core.conn, sync.no, other)?.and_then(|marker| marker.known_half());
            if other != pair && half == Some(target) {
                return Ok(true);
            }
        }
    }
    Ok(matches!(find_by_match(core, sync, pair, marker, target).await?, Found::Created(..)))
}

/// Sends the same create again. Its key or its id makes it the same one, not a second.
async fn send_again(core: &Core, sync: &BoundSync, side: Side, create: Create) -> Result<Found, Stop> {
    let outcomes = core.carry(sync, side, vec![Write::Create(create)], Lane::Manual).await;
    let outcome = outcomes.into_iter().next();
    match outcome.unwrap_or_else(|| Outcome::Unknown("no outcome was reported".to_owned())) {
        Outcome::Written(stored) => match found_by_id(core, sync, side, &stored.id).await? {
            // Not visible yet, or deleted since.
            Found::NotCreated => Ok(Found::Made(stored.id)),
            found => Ok(found),
        },
        // The first one came meanwhile. Where no key says so, its id is looked up next time.
        Outcome::Duplicate(_) if !keyed(sync, side) => {
            Ok(Found::Answered(Outcome::Unknown("it was made meanwhile".to_owned())))
        }
        outcome => Ok(Found::Answered(outcome)),
    }
}

fn keyed(sync: &BoundSync, side: Side) -> bool {
    matches!(sync.capabilities[side].create, CreateRecovery::IdempotencyKey { .. })
}

fn live(entries: Vec<Entry>) -> Vec<Record> {
    let mut records: Vec<Record> = entries
        .into_iter()
        .filter_map(|entry| match entry {
            Entry::Live(record) => Some(record),
            Entry::Deleted { .. } | Entry::Bad(_) => None,
        })
        .collect();
    records.sort_by(|a, b| (a.modified, &a.id).cmp(&(b.modified, &b.id)));
    records
}

fn oldest(mut records: Vec<Record>) -> Found {
    if records.is_empty() {
        return Found::NotCreated;
    }
    let first = records.remove(0);
    Found::Created(Box::new(first), records.into_iter().map(|record| record.id).collect())
}

/// Looks for a record with the source's match values that no pair has yet.
async fn find_by_match(
    core: &Core,
    sync: &BoundSync,
    pair: PairNo,
    marker: &Marker,
    target: Side,
) -> Result<Found, Stop> {
    let Some(wanted) = match_values(sync, marker, target) else {
        return Ok(Found::Undecidable("it has no match key to look it up by"));
    };
    if !wanted.iter().all(|(path, _)| sync.capabilities[target].find.contains(path)) {
        return Ok(Found::Undecidable("its match fields cannot be searched on this side"));
    }
    let page = core.fetch(sync, target, Read::Find(wanted), Lane::Manual).await.map_err(Stop::Connector)?;
    let snapshot = core.snapshot()?;
    let mut free = Vec::new();
    for record in live(page.entries) {
        if sync.mapping.is_of_another_key(target, marker.sides[target.other()].match_key, &record.body) {
            continue;
        }
        let taken = snapshot.pair_by_id(core.conn, sync.no, target, &record.id)?;
        let other = match taken {
            Some(other) if other != pair => snapshot.marker(core.conn, sync.no, other)?,
            Some(_) | None => None,
        };
        if other.is_none_or(|other| other.known_half() == Some(target)) {
            free.push(record);
        }
    }
    Ok(oldest(free))
}

/// The match fields of the source as the target would store them, from the half
/// marker's base.
fn match_values(sync: &BoundSync, marker: &Marker, target: Side) -> Option<Vec<(Path, Value)>> {
    let source = target.other();
    let mut wanted = Vec::new();
    for &index in &sync.mapping.match_fields {
        let field = &sync.mapping.fields[index];
        let Some(BaseValue::Inline(value)) = marker.base(source, field.no) else { return None };
        let value = sync.mapping.to_side(target, index, Some(value)).ok().flatten()?;
        wanted.push((field.paths[target].clone(), value));
    }
    (!wanted.is_empty()).then_some(wanted)
}

struct Recovery {
    core: Rc<Core>,
    sync: Arc<BoundSync>,
    pair: PairNo,
    intent: Intent,
    marker: Marker,
    commit: Commit,
    report: Report,
    stays_open: bool,
}

impl Recovery {
    fn conclude(&mut self, found: Found) {
        let target = self.intent.target;
        match found {
            Found::Created(record, others) => {
                self.link(&record.id, Some(&record));
                for id in others {
                    let reason = format!("possible duplicate of {target} record {}: both match one create", record.id);
                    self.hold_back(target, &id, QuarantineKind::Ambiguous, reason);
                }
            }
            Found::Made(id) => self.link(&id, None),
            Found::Answered(Outcome::Unknown(_) | Outcome::NotSent(_)) => {
                // Still unknown: it stays open, and is asked about again later.
                self.intent.state = IntentState::Unknown;
                self.commit.put_intent(self.sync.no, self.pair, &self.intent);
                self.stays_open = true;
                self.report.trouble = Some(ConnectorError::new(NextStep::Retry, "an unknown create is still unknown"));
            }
            Found::NotYet => {
                self.intent.state = IntentState::GivenUp;
                self.commit.put_intent(self.sync.no, self.pair, &self.intent);
                self.stays_open = true;
            }
            Found::Answered(_) | Found::NotCreated | Found::Stands => self.look_again_at_source(),
            Found::Gone => {
                let tomb = bury(&self.marker, target.other(), true, DeletionCause::Kernel, self.core.now().ms);
                put_marker(&mut self.commit, self.sync.no, self.pair, Some(&self.marker), &tomb);
                self.report.tally.deleted[target] += 1;
                self.release_both(&tomb);
            }
            Found::Undecidable(why) => {
                self.intent.state = IntentState::Parked;
                self.commit.put_intent(self.sync.no, self.pair, &self.intent);
                self.stays_open = true;
                if let Some(id) = self.marker.sides[target.other()].id.clone() {
                    let reason = format!(
                        "whether it was created on the {target} side is unknown, and {why}; \
                         look there, then sync this record by hand"
                    );
                    self.hold_back(target.other(), &id, QuarantineKind::UnknownCreate, reason);
                }
            }
        }
    }

    /// Links the record that the create made; `None` where it cannot be seen. What was
    /// sent is the base of both sides, so that an edit made there since is a change. A
    /// value that the side only spells in its own way comes back once, and that is all.
    fn link(&mut self, id: &RecordId, record: Option<&Record>) {
        let (target, source) = (self.intent.target, self.intent.target.other());
        let Ok(fields) = record.map(|record| self.sync.mapping.read(target, &record.body)).transpose() else {
            self.look_again_at_source();
            return;
        };
        let sent = match &self.intent.operation {
            IntentOperation::Create { create, .. } => {
                self.sync.mapping.read(target, &Body::from_value(&create.record)).ok()
            }
            IntentOperation::Delete { .. } => None,
        };
        let old = self.marker.clone();
        let mut marker = old.clone();
        let mut bases = PerSide::<Vec<_>>::default();
        let mut is_as_sent = record.is_some();
        for (index, field) in self.sync.mapping.fields.iter().enumerate() {
            let known = old.base(source, field.no).cloned().unwrap_or(BaseValue::Absent);
            let stored = match fields.as_ref().map(|fields| fields.get(index)) {
                Some(FieldRead::Value(value)) => value.as_ref(),
                Some(FieldRead::Fault(_)) | None => None,
            };
            let sent = match sent.as_ref().map(|fields| fields.get(index)) {
                Some(FieldRead::Value(value)) => BaseValue::of(value.as_ref()),
                Some(FieldRead::Fault(_)) | None => known.clone(),
            };
            is_as_sent &= sent.same(stored);
            let kept = if planted::is(Bug::AdoptedAsRead) { BaseValue::of(stored) } else { sent };
            bases[target].push((field.no, kept));
            bases[source].push((field.no, known));
        }
        self.give_up_half_of(target, id);
        marker.state = LinkState::Linked;
        marker.set_bases(bases);
        let state = &mut marker.sides[target];
        state.id = Some(id.clone());
        // The version of another content than the base may not stand for it: a write on
        // trust would pass over that edit.
        let accounted = record.filter(|_| is_as_sent);
        state.version = accounted.and_then(|record| record.version.clone());
        state.raw_hash = accounted.map(|record| record.body.raw_hash());
        state.match_key = match &fields {
            Some(fields) => self.sync.mapping.match_key(fields),
            None => old.sides[source].match_key,
        };
        // One that cannot be seen may have been made just now.
        let made_ms = if record.is_some() { self.intent.opened_ms } else { self.core.now().ms };
        state.written_at_ms = Some(made_ms);
        put_marker(&mut self.commit, self.sync.no, self.pair, Some(&old), &marker);
        if self.core.is_referred_to(self.sync.no) {
            for side in Side::BOTH {
                let id = marker.sides[side].id.clone();
                self.report.linked.extend(id.map(|id| LinkKey { sync: self.sync.no, side, id }));
            }
        }
        self.report.tally.created[target] += 1;
        self.release_both(&marker);
        if accounted.is_none() {
            self.look_again(target, id);
        }
        // The source may have changed since the create was decided.
        self.look_again_at_source();
    }

    /// A listing may have seen the new record first and kept it as a half marker.
    fn give_up_half_of(&mut self, side: Side, id: &RecordId) {
        if let Err(error) = batch::give_up_half(&self.core, self.sync.no, side, id, self.pair, &mut self.commit) {
            tracing::warn!(connection.id = %self.core.id, record.id = %id, "whether it has a half marker is unknown: {error}");
        }
    }

    fn look_again_at_source(&mut self) {
        if let Some(id) = self.marker.sides[self.intent.target.other()].id.clone() {
            self.look_again(self.intent.target.other(), &id);
        }
    }

    fn look_again(&mut self, side: Side, id: &RecordId) {
        let now_ms = self.core.env.now_ms();
        // A row that waited for this keeps its count, so that a create which is refused
        // each time is not tried for ever.
        let waited = self.core.pending_row(self.sync.no, side, id);
        let pending = Pending {
            side,
            id: id.clone(),
            reason: PendingReason::OpenCreate.in_place_of(waited.as_ref().map(|row| row.reason)),
            due_ms: now_ms,
            since_ms: waited.as_ref().map_or(now_ms, |row| row.since_ms),
            attempts: waited.map_or(0, |row| row.attempts),
        };
        let row = PendingRow::new(Lane::Schedule, self.core.take_seq(), self.sync.no, pending);
        self.commit.put_pending(row.sync, row.lane, row.seq, &row.pending);
        self.report.added.push(row);
    }

    /// What held the records of a pair back was settled when its write was decided.
    fn release_both(&mut self, marker: &Marker) {
        let (conn, sync) = (self.core.conn, self.sync.no);
        for side in Side::BOTH {
            let Some(id) = &marker.sides[side].id else { continue };
            let held = self.core.snapshot().and_then(|snapshot| snapshot.quarantined(conn, sync, side, id.as_str()));
            match held {
                Ok(Some(_)) => {
                    self.commit.delete_quarantine(sync, side, id.as_str());
                    self.report.held_back -= 1;
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(connection.id = %self.core.id, record.id = %id, "whether it is held back is unknown: {error}");
                }
            }
        }
    }

    fn hold_back(&mut self, side: Side, id: &RecordId, kind: QuarantineKind, reason: String) {
        let since_ms = self.core.env.now_ms();
        tracing::warn!(connection.id = %self.core.id, sync = %self.sync.name, %side, record.id = %id, "record held back: {reason}");
        let held = Quarantined { kind, reason, path: None, raw_hash: None, since_ms };
        self.commit.put_quarantine(self.sync.no, side, id.as_str(), &held);
        self.report.tally.quarantined += 1;
        self.report.held_back += 1;
    }

    async fn commit(mut self) -> Result<Report, Stop> {
        if !self.stays_open {
            self.commit.delete_intent(self.sync.no, self.pair);
        }
        self.core.commit(self.commit).await?;
        let key = (self.sync.no, self.pair);
        if self.stays_open {
            self.core.intents.borrow_mut().insert(key, self.intent);
        } else {
            self.core.intents.borrow_mut().remove(&key);
        }
        let held_back = self.core.held_back.get().saturating_add_signed(self.report.held_back);
        self.core.held_back.set(held_back);
        if let Some(totals) = self.core.totals.borrow_mut().get_mut(&self.sync.no) {
            totals.add(&self.report.tally);
        }
        Ok(self.report)
    }
}
