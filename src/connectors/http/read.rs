//! Reading: lists page by page, records by id, records by a field's value.

use std::cell::Cell;
use std::collections::HashSet;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use serde_json::value::RawValue;
use url::Url;

use crate::connectors::Calls;
use crate::model::cursor::{Cursor, PageToken};
use crate::model::hash::RawHash;
use crate::model::ids::{RecordId, Version};
use crate::model::path::Path;
use crate::model::record::{BadRecord, DeletionCause, Entry, Page};
use crate::model::value::Value;
use crate::model::write::{ConnectorError, CreateRecovery, NextStep};

use super::HttpConnector;
use super::ask::{Ask, Searched};
use super::call::{Judged, Meaning, PathIds, Reply};
use super::cursor::{self, Place};
use super::entry::{Parsed, entry_id, parse, parse_in};
use super::export::expired;
use super::page::{Run, Seen, Turn, mark};
use super::raw::{at, is_truthy, kind, tells_error, text_of};
use super::refused::is_refusal;
use super::spec::{
    CursorKind, CursorSpec, Feed, ListSpec, ObjectSpec, PageKind, ReadManySpec, ReadSpec, request_holds,
};
use super::template::{Name, Values, fill_query, fill_tree};

/// How often the pages of one read may be begun anew.
const MAX_ANEW: u32 = 10;

/// What a page shows.
pub(super) struct Found<'r> {
    pub parsed: Vec<Parsed<'r>>,
    pub turn: Turn,
    /// How many records the side says there are.
    pub total: Option<u64>,
}

/// Most records in one page.
const MAX_PAGE_RECORDS: usize = 10_000;

/// How many ids one read takes where each costs a request of its own.
pub(super) const READ_IDS: usize = 20;

impl HttpConnector {
    /// One page of a list: of everything, or of what changed and what was deleted since. `parent`
    /// is the record for which the list is, where it is for one.
    pub(super) async fn list_of(
        &self,
        calls: &Calls,
        object: &ObjectSpec,
        feed: Feed<'_>,
        parent: Option<&Value>,
        since: Option<Cursor>,
        page: Option<PageToken>,
    ) -> Result<Page, ConnectorError> {
        let mut run = page.as_ref().map_or(Ok(Run::default()), Run::from_token)?;
        let list = feed.listing(since.is_some(), &run);
        let list = list.ok_or_else(|| fail(format!("'{}' cannot be listed", object.name)))?;
        run.has_deletions = feed.deletions.is_some();
        if since.is_some() && list.cursor.is_none() {
            return Err(ConnectorError::new(NextStep::Resync, "the connector file declares no cursor for this list"));
        }
        let class = list.endpoint.charge.class.as_deref();
        if calls.is_exclusive(class) {
            let holder = *run.holder.get_or_insert_with(|| fastrand::u64(..));
            calls.hold(class, holder).map_err(|left| waits_for_another(object, left))?;
        }
        if let Some(export) = &list.export {
            return self.export(calls, object, list, export, since.as_ref(), run).await;
        }
        let ask = self.ask_page(list, parent, since.as_ref(), &run)?;
        let url = ask.url.clone();
        let reply = self.ask(calls, &list.endpoint, ask).await?;
        if run.at.is_some() && reply.judge(&self.file, self.now()).meaning == Meaning::BeginAnew {
            return self.pages_begun_anew(list, run, &reply);
        }
        let checked = self.check_read(&reply, calls, expired(list, since.as_ref()));
        let is_gone = || reply.judge(&self.file, self.now()).meaning == Meaning::Missing;
        checked.map_err(|error| match parent {
            Some(_) if is_gone() => ConnectorError::new(NextStep::TreatAsDeleted, error.message),
            Some(_) | None => error,
        })?;
        let json = reply.json().map_err(retry)?;
        let records = records(&reply, json, list.records.as_ref())?;
        let place = list.records.as_ref().map(Path::to_string).unwrap_or_default();
        let parsed = parse_all(object, list, &records, &place, reply.lossy);
        if let Some(cursor) = list.cursor.as_ref().filter(|_| !run.deletions) {
            self.track(cursor, object, &mut run, &reply, json, &parsed);
        }
        let seen = self.seen(list, &url, &reply, json, &parsed)?;
        let turn = run.advance(&list.page, &seen).map_err(|message| fail(format!("{}: {message}", reply.place)))?;
        if turn.goes_on && run.is_at_cap(&list.page) {
            begin_anew(object, feed, list, since.as_ref(), &mut run)?;
        }
        let total = seen.total.filter(|_| !list.thin);
        self.finish_page(calls, object, list, since.as_ref(), run, Found { parsed, turn, total }).await
    }

    /// The page that comes of what was found: its records, its position, where it goes on.
    pub(super) async fn finish_page(
        &self,
        calls: &Calls,
        object: &ObjectSpec,
        list: &ListSpec,
        since: Option<&Cursor>,
        mut run: Run,
        found: Found<'_>,
    ) -> Result<Page, ConnectorError> {
        let Found { parsed, turn, total } = found;
        if let Some(holder) = run.holder.filter(|_| !turn.goes_on) {
            calls.release(list.endpoint.charge.class.as_deref(), holder);
            run.holder = None;
        }
        // Deletions are still to come, and the position must not pass them.
        let with_deletions = since.is_some() && run.has_deletions;
        let to_deletions = with_deletions && !run.deletions && !turn.goes_on;
        let cursor = list.cursor.as_ref().filter(|_| !with_deletions || (run.deletions && !turn.goes_on));
        let place = Place { last: !turn.goes_on, stable: list.page.kind.is_stable() };
        let cursor = cursor.and_then(|spec| run.track.cursor(spec, since, place));
        if to_deletions {
            run.begin_deletions();
        }
        let overlap = usize::from(turn.overlaps);
        let entries = parsed.into_iter().skip(overlap).map(|parsed| parsed.entry).collect();
        let entries = if list.thin { self.read_thin(calls, object, entries).await? } else { entries };
        let mut result = Page::last(entries);
        result.next = (turn.goes_on || to_deletions).then(|| run.to_token());
        result.cursor = cursor;
        result.drifted = turn.drifted;
        result.total = total;
        Ok(result)
    }

    /// Begins a list anew whose continuation the side does not know any more, from the position
    /// reached where the list is in order. What came of its pages so far stays.
    fn pages_begun_anew(&self, list: &ListSpec, mut run: Run, reply: &Reply) -> Result<Page, ConnectorError> {
        let said = self.caller.sentence(reply);
        if run.anew >= MAX_ANEW {
            return Err(fail(format!(
                "the pages were begun anew {MAX_ANEW} times and do not come to their end: {said}"
            )));
        }
        tracing::warn!(said, "the pages of a list are begun anew");
        let reached = list.cursor.as_ref().and_then(|spec| match &spec.kind {
            CursorKind::Ordered(ordered) => run.track.reached_in_order(ordered),
            CursorKind::Opaque { .. } => None,
        });
        // A list of deletions has no position of its own.
        let reached = reached.map(|reached| reached.as_str().to_owned()).filter(|_| !run.deletions);
        run.begin_anew(reached.or(run.from.clone()));
        run.anew += 1;
        let mut page = Page::last(Vec::new());
        page.next = Some(run.to_token());
        Ok(page)
    }

    /// The records that entries name, each read once by its id. One that is said to be deleted
    /// is read, too: the entries of a list of events stand in no order that could be relied on.
    async fn read_thin(
        &self,
        calls: &Calls,
        object: &ObjectSpec,
        entries: Vec<Entry>,
    ) -> Result<Vec<Entry>, ConnectorError> {
        let mut known = HashSet::new();
        let ids: Vec<RecordId> = entries.iter().filter_map(entry_id).filter(|id| known.insert(*id)).cloned().collect();
        let nameless = |entry: &Entry| entry_id(entry).is_none();
        let mut read = if ids.is_empty() { Vec::new() } else { self.read_ids(calls, object, &ids).await?.entries };
        // What has no id cannot be read; it is told as it came.
        read.extend(entries.into_iter().filter(nameless));
        Ok(read)
    }

    /// Notes what a page shows of positions.
    pub(super) fn track(
        &self,
        spec: &CursorSpec,
        object: &ObjectSpec,
        run: &mut Run,
        reply: &Reply,
        json: &RawValue,
        parsed: &[Parsed<'_>],
    ) {
        let first = run.is_first();
        let header = spec.header.as_ref().and_then(|name| reply.header(name));
        if first {
            run.track.begin(spec, reply.header("date"), header, self.now());
        }
        match &spec.kind {
            CursorKind::Ordered(ordered) => {
                let field = |raw: &RawValue| {
                    let paths = ordered.field.as_ref().map_or(&object.modified[..], std::slice::from_ref);
                    // The first that says something; null until the first edit is usual.
                    paths.iter().find_map(|path| cursor::position(ordered, at(raw, Some(path)).ok()??))
                };
                if ordered.from_clock {
                    return;
                }
                run.track.observe(ordered, first, parsed.iter().filter_map(|parsed| field(parsed.raw)));
            }
            CursorKind::Opaque { next } => {
                let next = next.as_ref().and_then(|path| text_of(at(json, Some(path)).ok()??));
                run.track.observe_opaque(next.filter(|text| !text.is_empty()));
            }
        }
    }

    /// What an answer says about paging.
    fn seen(
        &self,
        list: &ListSpec,
        url: &Url,
        reply: &Reply,
        json: &RawValue,
        parsed: &[Parsed<'_>],
    ) -> Result<Seen, ConnectorError> {
        let look = |path: Option<&Path>| match path {
            Some(path) => at(json, Some(path)).map_err(|reason| retry(format!("{}: {reason}", reply.place))),
            None => Ok(None),
        };
        let text = |path: &Path| Ok::<_, ConnectorError>(look(Some(path))?.and_then(text_of));
        let next = match &list.page.kind {
            PageKind::One | PageKind::Page { .. } | PageKind::Offset { .. } => None,
            PageKind::Cursor { next, .. } => text(next)?,
            PageKind::LinkHeader { header } => next_in_headers(&reply.headers, header),
            PageKind::NextUrl { next } => text(next)?,
            PageKind::Keyset { field, .. } => {
                let last = parsed.last().map(|last| at(last.raw, Some(field))).transpose();
                last.map_err(|reason| retry(format!("{}: {reason}", reply.place)))?.flatten().and_then(text_of)
            }
        };
        let is_url = matches!(list.page.kind, PageKind::LinkHeader { .. } | PageKind::NextUrl { .. });
        let next = match next.filter(|next| !next.is_empty()) {
            Some(next) if is_url => Some(self.caller.next_url(url, &next).map_err(fail)?.into()),
            next => next,
        };
        Ok(Seen {
            marks: parsed.iter().map(|parsed| mark_of(list, parsed)).collect(),
            next,
            more: look(list.page.more.as_ref())?.map(is_truthy),
            total: look(list.page.total.as_ref())?.and_then(text_of).and_then(|text| text.parse().ok()),
        })
    }

    /// Records by id, in the order of the ids.
    pub(super) async fn read_ids(
        &self,
        calls: &Calls,
        object: &ObjectSpec,
        ids: &[RecordId],
    ) -> Result<Page, ConnectorError> {
        let read = object.read.as_ref().ok_or_else(|| fail(format!("'{}' cannot be read by id", object.name)))?;
        if let Some(parts) = &object.parts {
            return self.read_by_parts(calls, object, parts, ids).await;
        }
        let mut found = match &object.read_many {
            Some(many) if ids.len() > 1 => self.read_many(calls, object, many, ids).await?,
            Some(_) | None => Vec::new(),
        };
        let entries = ids.iter().map(|id| found.iter().position(|entry| entry_id(entry) == Some(id)));
        let entries: Vec<Option<usize>> = entries.collect();
        // What an answer leaves out is looked at by its id: absence proves nothing.
        let absent = ids.iter().zip(&entries).filter(|(_, at)| at.is_none()).map(|(id, _)| id.clone());
        let absent: Vec<RecordId> = absent.collect();
        let mut singles = self.read_singly(calls, object, read, &absent).await?.into_iter();
        let mut take = |at: usize| std::mem::replace(&mut found[at], taken());
        let entries = entries.into_iter().filter_map(|at| at.map(&mut take).or_else(|| singles.next()));
        Ok(Page::last(entries.collect()))
    }

    /// Records by id, one request each; entries in the order of the ids.
    pub(super) async fn read_singly(
        &self,
        calls: &Calls,
        object: &ObjectSpec,
        read: &ReadSpec,
        ids: &[RecordId],
    ) -> Result<Vec<Entry>, ConnectorError> {
        // After a failure no more requests leave, and those under way are waited for: what
        // their answers ask for, such as a pause, must be heard.
        let failed = Cell::new(false);
        let reads = ids.iter().map(|id| async {
            if failed.get() {
                return None;
            }
            let entry = self.read_one(calls, object, read, id).await;
            failed.set(failed.get() || entry.is_err());
            Some(entry)
        });
        let singles: Vec<Option<Result<Entry, ConnectorError>>> =
            stream::iter(reads).buffered(calls.concurrency().max(1)).collect().await;
        singles.into_iter().flatten().collect()
    }

    pub(super) async fn read_many(
        &self,
        calls: &Calls,
        object: &ObjectSpec,
        many: &ReadManySpec,
        ids: &[RecordId],
    ) -> Result<Vec<Entry>, ConnectorError> {
        let mut found = Vec::new();
        for ids in ids.chunks(many.size) {
            let joined: Vec<&str> = ids.iter().map(RecordId::as_str).collect();
            let ids: Vec<Value> = ids.iter().map(|id| object.id.value(id.as_str())).collect();
            let values = Values { ids: &ids, join: &many.join, id_spec: Some(&object.id), ..Values::default() };
            let mut query = fill_query(&many.endpoint.query, &values);
            query.extend(many.param.clone().map(|param| (param, joined.join(&many.join))));
            let url = self.caller.url(&many.endpoint.path, PathIds::default(), &query).map_err(fail)?;
            let body = many.body.as_ref().and_then(|body| fill_tree(body, &values));
            let reply = self.ask(calls, &many.endpoint, Ask { url, body }).await?;
            if self.says_invalid(&reply) {
                // Because of one of them: each is read by itself.
                continue;
            }
            self.check_read(&reply, calls, None)?;
            let json = reply.json().map_err(retry)?;
            let records = records(&reply, json, many.records.as_ref())?;
            let parsed = records.iter().map(|raw| parse(object, raw, "", reply.lossy).entry);
            found.extend(parsed);
        }
        Ok(found)
    }

    pub(super) async fn read_one(
        &self,
        calls: &Calls,
        object: &ObjectSpec,
        read: &ReadSpec,
        id: &RecordId,
    ) -> Result<Entry, ConnectorError> {
        let ask = match self.ask_one(object, read, id) {
            Ok(ask) => ask,
            Err(reason) => return Ok(bad(id, "the id", reason)),
        };
        let mut reply = self.ask(calls, &read.endpoint, ask.clone()).await?;
        if self.says_missing(read, &reply) && is_refusal(reply.status) {
            self.may_list(calls, object).await?;
            // Once more: the right to read may have come back in between.
            reply = self.ask(calls, &read.endpoint, ask).await?;
        }
        if self.says_missing(read, &reply) {
            return Ok(Entry::Deleted { id: id.clone(), version: None, cause: DeletionCause::NotFound });
        }
        if self.says_invalid(&reply) {
            return Ok(bad(id, &reply.place, self.caller.sentence(&reply)));
        }
        self.check_read(&reply, calls, None)?;
        let json = reply.json().map_err(retry)?;
        let record = single(object, json).map_err(|reason| retry(format!("{}: {reason}", reply.place)))?;
        let mut entry = parse(object, record, &reply.place, reply.lossy).entry;
        if matches!(entry, Entry::Bad(_)) && tells_error(json) {
            return Err(retry(self.caller.sentence(&reply)));
        }
        if let Entry::Live(record) = &mut entry {
            add_header_version(object, &reply, &mut record.version);
        }
        match entry_id(&entry) {
            Some(other) if other != id => Ok(bad(id, &reply.place, format!("asked for '{id}', got '{other}'"))),
            Some(_) => Ok(entry),
            None => Ok(with_id(entry, id)),
        }
    }

    /// What asks for one record.
    fn ask_one(&self, object: &ObjectSpec, read: &ReadSpec, id: &RecordId) -> Result<Ask, String> {
        object.id.check(id.as_str())?;
        let whole = object.id.value(id.as_str());
        let values = Values { ids: std::slice::from_ref(&whole), id_spec: Some(&object.id), ..Values::default() };
        let ids = PathIds { id: Some(id.as_str()), spec: Some(&object.id), ..PathIds::default() };
        let url = self.caller.url(&read.endpoint.path, ids, &fill_query(&read.endpoint.query, &values))?;
        Ok(Ask { url, body: read.body.as_ref().and_then(|body| fill_tree(body, &values)) })
    }

    /// Whether an answer to a read by id says that the record is gone.
    fn says_missing(&self, read: &ReadSpec, reply: &Reply) -> bool {
        let Judged { meaning, rule } = reply.judge(&self.file, self.now());
        if rule.is_some() { meaning == Meaning::Missing } else { read.missing.contains(&reply.status) }
    }

    /// Whether the file says that an answer is about a record that is not as it should be. What
    /// a status usually means is not enough: the request may be what is wrong.
    fn says_invalid(&self, reply: &Reply) -> bool {
        let Judged { meaning, rule } = reply.judge(&self.file, self.now());
        meaning == Meaning::Invalid && (rule.is_some() || self.file.statuses.invalid.contains(&reply.status))
    }

    /// Records by the values of fields: the first page that holds any.
    pub(super) async fn find(
        &self,
        calls: &Calls,
        object: &ObjectSpec,
        fields: &[(Path, Value)],
    ) -> Result<Page, ConnectorError> {
        let find = object.find.as_ref().ok_or_else(|| fail(format!("'{}' cannot be searched", object.name)))?;
        let searched = Searched::new(find, fields).map_err(fail)?;
        let mut run = Run::default();
        loop {
            let ask = self.ask_found(&find.list, &searched, &run)?;
            let url = ask.url.clone();
            let reply = self.ask(calls, &find.list.endpoint, ask).await?;
            self.check_read(&reply, calls, None)?;
            let json = reply.json().map_err(retry)?;
            let records = records(&reply, json, find.list.records.as_ref())?;
            let parsed = parse_all(object, &find.list, &records, "found", reply.lossy);
            let seen = self.seen(&find.list, &url, &reply, json, &parsed)?;
            let turn =
                run.advance(&find.list.page, &seen).map_err(|message| fail(format!("{}: {message}", reply.place)))?;
            // One page with matches is enough: more than one match is ambiguous anyway.
            if !turn.goes_on || !parsed.is_empty() {
                let entries = parsed.into_iter().map(|parsed| parsed.entry).collect();
                let entries = if find.list.thin { self.read_thin(calls, object, entries).await? } else { entries };
                return Ok(Page::last(entries));
            }
        }
    }

    /// The record that carries an external id.
    pub(super) async fn read_external_id(
        &self,
        calls: &Calls,
        object: &ObjectSpec,
        external_id: &str,
    ) -> Result<Page, ConnectorError> {
        let create = object.create.as_ref();
        match create.map(|create| (create.recovery, &create.external_id_field)) {
            Some((CreateRecovery::ClientId, _)) => self.read_ids(calls, object, &[RecordId::new(external_id)]).await,
            Some((CreateRecovery::ExternalId, Some(field))) => {
                self.find(calls, object, &[(field.clone(), Value::string(external_id))]).await
            }
            Some(_) | None => Err(fail(format!("'{}' stores no external id", object.name))),
        }
    }

    /// Whether an answer to a reading call is a success.
    ///
    /// # Errors
    /// What it is instead. `expired` are the statuses that mean that a position is no longer
    /// known, where the call asked by one.
    pub(super) fn check_read(
        &self,
        reply: &Reply,
        calls: &Calls,
        expired: Option<&[u16]>,
    ) -> Result<(), ConnectorError> {
        let Judged { meaning, rule } = reply.judge(&self.file, self.now());
        let by_status = rule.is_none() && expired.is_some_and(|statuses| statuses.contains(&reply.status));
        if by_status || meaning == Meaning::Expired && expired.is_some() {
            return Err(ConnectorError::new(NextStep::Resync, self.caller.sentence(reply)));
        }
        if meaning == Meaning::Success {
            return Ok(());
        }
        let error = self.caller.read_error(meaning, reply);
        self.pause(calls, &error, reply.class.as_deref());
        Err(error)
    }
}

/// Another list is under way, of a class of which the side allows one at a time.
fn waits_for_another(object: &ObjectSpec, left: Duration) -> ConnectorError {
    let millis = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1);
    let message =
        format!("another list of the class of '{}' is under way, and the side allows one at a time", object.name);
    ConnectorError::new(NextStep::Wait { millis }, message)
}

pub(super) fn fail(message: impl Into<String>) -> ConnectorError {
    ConnectorError::new(NextStep::Fail, message)
}

pub(super) fn retry(message: impl Into<String>) -> ConnectorError {
    ConnectorError::new(NextStep::Retry, message)
}

/// A place holder for an entry that was moved out; never seen outside.
fn taken() -> Entry {
    bad(&RecordId::from(""), "", String::new())
}

fn bad(id: &RecordId, place: &str, reason: String) -> Entry {
    let raw_hash = RawHash::of(reason.as_bytes());
    Entry::Bad(BadRecord { id: Some(id.clone()), place: place.to_owned(), reason, raw_hash })
}

/// A bad record whose id is known from the question.
fn with_id(entry: Entry, id: &RecordId) -> Entry {
    match entry {
        Entry::Bad(bad) => Entry::Bad(BadRecord { id: Some(id.clone()), ..bad }),
        Entry::Live(_) | Entry::Deleted { .. } => entry,
    }
}

/// The list of records of an answer.
pub(super) fn records<'r>(
    reply: &Reply,
    json: &'r RawValue,
    path: Option<&Path>,
) -> Result<Vec<&'r RawValue>, ConnectorError> {
    let Reply { place, status, .. } = reply;
    let named = || path.map_or_else(|| "the top".to_owned(), |path| format!("'{path}'"));
    let what = |reason: String| {
        let said = super::text::clip(&reply.body);
        retry(format!("{place} answered {status}, but {reason}: {said}"))
    };
    let found = at(json, path).map_err(&what)?;
    let list = found.ok_or_else(|| what(format!("there is nothing at {}", named())))?;
    if !list.get().starts_with('[') {
        return Err(what(format!("{} is {}, not a list of records", named(), kind(list))));
    }
    let records: Vec<&RawValue> = serde_json::from_str(list.get()).map_err(|error| what(error.to_string()))?;
    if records.len() > MAX_PAGE_RECORDS {
        return Err(fail(format!(
            "{place}: a page of {} records; at most {MAX_PAGE_RECORDS} are taken",
            records.len()
        )));
    }
    Ok(records)
}

fn parse_all<'r>(
    object: &ObjectSpec,
    list: &ListSpec,
    records: &[&'r RawValue],
    place: &str,
    lossy: bool,
) -> Vec<Parsed<'r>> {
    let one = |(i, raw): (usize, &&'r RawValue)| parse_in(object, list, raw, &format!("{place}[{i}]"), lossy);
    records.iter().enumerate().map(one).collect()
}

fn mark_of(list: &ListSpec, parsed: &Parsed<'_>) -> u64 {
    match entry_id(&parsed.entry) {
        // A list of events may name one record again and again.
        Some(id) if list.item.is_none() => mark(id.as_str()),
        Some(_) | None => mark(parsed.raw.get()),
    }
}

/// Begins a list anew at the newest position seen, where the side gives only so many records.
fn begin_anew(
    object: &ObjectSpec,
    feed: Feed<'_>,
    list: &ListSpec,
    since: Option<&Cursor>,
    run: &mut Run,
) -> Result<(), ConnectorError> {
    let max = list.page.max_results.unwrap_or_default();
    if run.deletions {
        // They tell no position to go on from. What everything that is there leaves out is gone,
        // and the next time fewer are asked for, if they are asked for since a position at all.
        let asks = list.cursor.as_ref().is_some_and(|cursor| cursor.param.is_some())
            || request_holds(&list.endpoint, list.body.as_ref(), Name::Cursor);
        let next = if asks { NextStep::Resync } else { NextStep::Fail };
        let message = format!("there are more than {max} deletions (max_results) of '{}'", object.name);
        return Err(ConnectorError::new(next, message));
    }
    let reached = list.cursor.as_ref().and_then(|spec| match &spec.kind {
        CursorKind::Ordered(ordered) => run.track.reached_in_order(ordered),
        CursorKind::Opaque { .. } => None,
    });
    let before = run.from.as_deref().or(since.map(Cursor::as_str));
    match reached {
        // Positions of one kind are written alike, so that an equal text is an equal position.
        Some(reached) if before != Some(reached.as_str()) => {
            run.begin_anew(Some(reached.as_str().to_owned()));
            Ok(())
        }
        Some(reached) => {
            let message = format!(
                "more than {max} records (max_results) of '{}' share the position '{}'",
                object.name,
                reached.as_str()
            );
            // The list of everything has no such limit where it is another request.
            let next = if feed.changes.is_some() && since.is_some() { NextStep::Resync } else { NextStep::Fail };
            Err(ConnectorError::new(next, message))
        }
        None => Err(fail(format!(
            "there are more than {max} records (max_results) of '{}', and the list is not in order of its cursor",
            object.name
        ))),
    }
}

/// The single record of an answer.
pub(super) fn single<'r>(object: &ObjectSpec, json: &'r RawValue) -> Result<&'r RawValue, String> {
    let record = at(json, object.record.as_ref())?;
    match (record, &object.record) {
        // A list of one is its record.
        (Some(list), _) if list.get().starts_with('[') => match serde_json::from_str::<Vec<&RawValue>>(list.get()) {
            Ok(records) => match records[..] {
                [only] => Ok(only),
                _ => Err(format!("the answer has {} records", records.len())),
            },
            Err(error) => Err(error.to_string()),
        },
        (Some(record), _) => Ok(record),
        (None, Some(path)) => Err(format!("the answer has no record at '{path}'")),
        (None, None) => Err("the answer has no record".to_owned()),
    }
}

/// Takes the version from the header where the record itself tells none.
fn add_header_version(object: &ObjectSpec, reply: &Reply, version: &mut Option<Version>) {
    if version.is_none() {
        let header = object.version_header.as_ref().and_then(|name| reply.header(name));
        *version = header.map(Version::from);
    }
}

/// The next link of an answer's headers: in the standard `Link` header the one that is
/// `rel="next"`, in any other header its whole value.
fn next_in_headers(headers: &[(String, String)], name: &str) -> Option<String> {
    let mut values = headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    if !name.eq_ignore_ascii_case("link") {
        return values.next().map(|value| value.trim().to_owned());
    }
    values.find_map(|value| next_link(value))
}

/// The target of the link whose relation is `next`.
fn next_link(value: &str) -> Option<String> {
    let mut rest = value;
    while let Some((_, after)) = rest.split_once('<') {
        let (target, after) = after.split_once('>')?;
        // The parameters of this link end where the next one begins.
        let (params, next) = after.find('<').map_or((after, ""), |at| after.split_at(at));
        let is_next = params.split([';', ',']).any(|param| {
            let Some((name, value)) = param.split_once('=') else { return false };
            let mut relations = value.trim().trim_matches('"').split_ascii_whitespace();
            name.trim().eq_ignore_ascii_case("rel") && relations.any(|rel| rel.eq_ignore_ascii_case("next"))
        });
        if is_next {
            return Some(target.trim().to_owned());
        }
        rest = next;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_links_of_headers() {
        for (value, want) in [
            (r#"<https://a/x?page=2>; rel="next""#, Some("https://a/x?page=2")),
            (r#"<https://a/1>; rel="prev", <https://a/3>; rel="next""#, Some("https://a/3")),
            ("<https://a/3>; rel=next", Some("https://a/3")),
            (r#"<https://a/3?q=a,b;c>; title="x"; rel="last next""#, Some("https://a/3?q=a,b;c")),
            (r#"<https://a/1>; rel="prev""#, None),
            ("<https://a/1", None),
            ("", None),
        ] {
            assert_eq!(next_link(value).as_deref(), want, "{value}");
        }
        let headers = vec![("Next-Page".to_owned(), "https://a/2".to_owned())];
        assert_eq!(next_in_headers(&headers, "next-page").as_deref(), Some("https://a/2"));
        assert_eq!(next_in_headers(&headers, "Link"), None);
    }
}
