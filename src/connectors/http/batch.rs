//! Writing several records in one request: a list of whole requests, or a list of
//! records for one operation. Results belong to writes by their place in the list.

use std::collections::HashMap;

use serde_json::value::RawValue;

use crate::connectors::Calls;
use crate::model::path::Path;
use crate::model::value::{Value, raw_entries};
use crate::model::write::{NextStep, Outcome, Stored, Write};

use super::HttpConnector;
use super::body::encode;
use super::call::{Meaning, Prepared, Reply, judge, not_sent};
use super::compose::{Composed, Names, TRACE, create_record, fill, holds, holds_id, update_record};
use super::job::JobState;
use super::outcome::{Answer, outcome, unanswered};
use super::raw::{at, is_null, is_truthy, text_of};
use super::rules::Told;
use super::spec::{BatchEndpoint, BatchKind, BatchSpec, Endpoint, ObjectSpec};
use super::text::clip;
use super::transport::find_header;

/// One write of a batch: its place in the call, and what is sent for it.
struct Part<'w> {
    index: usize,
    write: &'w Write,
    /// One entry of the list that is sent.
    item: Value,
    sent: Value,
}

impl Part<'_> {
    /// The mark by which a result tells that it belongs to this part.
    fn trace(&self) -> String {
        self.index.to_string()
    }
}

/// Outcomes as they come in, by the place of their writes.
struct Outcomes(Vec<Option<Outcome>>);

impl Outcomes {
    fn set(&mut self, index: usize, outcome: Outcome) {
        self.0[index] = Some(outcome);
    }

    fn set_all(&mut self, parts: &[Part<'_>], outcome: &Outcome) {
        for part in parts {
            self.set(part.index, outcome.clone());
        }
    }
}

/// The batches that are still to be sent, in the order of their writes.
struct Batches<'p, 'w>(Vec<&'p [Part<'w>]>);

impl<'p, 'w> Batches<'p, 'w> {
    fn of(parts: &'p [Part<'w>], size: usize) -> Self {
        Self(parts.chunks(size).rev().collect())
    }

    fn next(&mut self) -> Option<&'p [Part<'w>]> {
        self.0.pop()
    }

    /// A batch is to be sent again in halves.
    fn halve(&mut self, parts: &'p [Part<'w>]) {
        let (first, second) = parts.split_at(parts.len().div_ceil(2));
        self.0.extend([second, first]);
    }
}

/// What came of a whole batch before its results are looked at.
enum Whole {
    /// It has results.
    Answered(Reply),
    /// It was refused as a whole because of some record in it; nothing was carried out.
    RefusedForOne(String),
    /// One outcome for all of it.
    Same(Outcome),
}

impl HttpConnector {
    /// Carries out writes in batches as far as batches take them, the others singly.
    pub(super) async fn write_batched(
        &self,
        calls: &Calls,
        object: &ObjectSpec,
        batch: &BatchSpec,
        writes: &[Write],
    ) -> Vec<Outcome> {
        let mut outcomes = Outcomes(writes.iter().map(|_| None).collect());
        match &batch.kind {
            BatchKind::Requests { endpoint, requests, responses, address, relative, by } => {
                let shape = RequestShape {
                    address,
                    base: if *relative { self.caller.base.path().trim_end_matches('/') } else { "" },
                    by: by.as_deref(),
                };
                let parts = self.request_parts(object, writes, &shape, &mut outcomes);
                let mut batches = Batches::of(&parts, batch.size);
                while let Some(parts) = batches.next() {
                    let body = listed(Some(requests), parts);
                    match self.send_batch(calls, endpoint, body).await {
                        Whole::Answered(reply) => {
                            let by = by.as_deref();
                            self.results(object, parts, &reply, Some(responses), by, &mut outcomes, |item| {
                                request_result(object, item)
                            });
                        }
                        Whole::Same(outcome) => outcomes.set_all(parts, &outcome),
                        Whole::RefusedForOne(reason) => {
                            self.refused(calls, object, parts, reason, &mut batches, &mut outcomes).await;
                        }
                    }
                }
            }
            BatchKind::Records { create, update, delete } => {
                for endpoint in [create, update, delete].into_iter().flatten() {
                    let same = |write: &Write| match write {
                        Write::Create(_) => create.as_ref() == Some(endpoint),
                        Write::Update(_) => update.as_ref() == Some(endpoint),
                        Write::Delete(_) => delete.as_ref() == Some(endpoint),
                    };
                    let parts = record_parts(object, endpoint, writes, &mut outcomes, same);
                    let mut batches = Batches::of(&parts, batch.size);
                    while let Some(parts) = batches.next() {
                        if let Some(reason) = self.write_records(calls, object, endpoint, parts, &mut outcomes).await {
                            self.refused(calls, object, parts, reason, &mut batches, &mut outcomes).await;
                        }
                    }
                }
            }
        }
        // What no batch took.
        let left: Vec<usize> = (0..writes.len()).filter(|index| outcomes.0[*index].is_none()).collect();
        let singles: Vec<Write> = left.iter().map(|index| writes[*index].clone()).collect();
        for (index, outcome) in left.into_iter().zip(self.write_singly(calls, object, &singles).await) {
            outcomes.set(index, outcome);
        }
        let lost = || Outcome::Unknown("the batch gave no result for this record".to_owned());
        outcomes.0.into_iter().map(|outcome| outcome.unwrap_or_else(lost)).collect()
    }

    /// Writes one list of records. Answers with the reason where all of it was refused because
    /// of some record in it.
    async fn write_records(
        &self,
        calls: &Calls,
        object: &ObjectSpec,
        endpoint: &BatchEndpoint,
        parts: &[Part<'_>],
        outcomes: &mut Outcomes,
    ) -> Option<String> {
        let body = listed(endpoint.records.as_ref(), parts);
        let mut whole = self.send_batch(calls, &endpoint.endpoint, body).await;
        let mut ended = JobState::Done;
        if let (Whole::Answered(_), Some(job)) = (&whole, &endpoint.job) {
            let Whole::Answered(begun) = whole else { return None };
            (whole, ended) = match self.follow_job(calls, job, begun).await {
                Ok((reply, state)) => (Whole::Answered(reply), state),
                Err(reason) => (Whole::Same(Outcome::Unknown(reason)), JobState::Failed),
            };
        }
        match whole {
            Whole::Answered(reply) if is_delete(parts) && endpoint.job.is_none() && reply.body.trim().is_empty() => {
                // A batch delete that says nothing but success has deleted all.
                outcomes.set_all(parts, &Outcome::Deleted);
            }
            // Of a job that has failed nobody knows how far it has come.
            Whole::Answered(reply) if endpoint.whole && ended != JobState::Done => {
                outcomes.set_all(parts, &Outcome::Unknown(self.caller.sentence(&reply)));
            }
            Whole::Answered(_) if endpoint.whole => {
                for part in parts {
                    outcomes.set(part.index, carried_out(part.write));
                }
            }
            Whole::Answered(reply) if endpoint.by.is_some() || endpoint.place.is_some() => {
                self.results_by(object, endpoint, parts, &reply, outcomes);
            }
            Whole::Answered(reply) => {
                let results = endpoint.results.as_ref();
                self.results(object, parts, &reply, results, None, outcomes, |item| {
                    record_result(endpoint, &reply, item)
                });
            }
            Whole::Same(outcome) => outcomes.set_all(parts, &outcome),
            Whole::RefusedForOne(reason) => return Some(reason),
        }
        None
    }

    /// Each write as a whole request; what cannot be composed has its outcome already.
    fn request_parts<'w>(
        &self,
        object: &ObjectSpec,
        writes: &'w [Write],
        shape: &RequestShape<'_>,
        outcomes: &mut Outcomes,
    ) -> Vec<Part<'w>> {
        let mut parts = Vec::with_capacity(writes.len());
        for (index, write) in writes.iter().enumerate() {
            match self.compose(object, write) {
                Ok(composed) => {
                    let item = request_item(&composed, shape, index);
                    parts.push(Part { index, write, item, sent: composed.sent });
                }
                Err(outcome) => outcomes.set(index, outcome),
            }
        }
        parts
    }

    async fn send_batch(&self, calls: &Calls, endpoint: &Endpoint, body: Value) -> Whole {
        let url = match self.caller.url(&endpoint.path, super::call::PathIds::default(), &endpoint.query) {
            Ok(url) => url,
            Err(reason) => return Whole::Same(not_sent(NextStep::Fail, reason)),
        };
        let mut request = Prepared::to(endpoint, url, &self.file.headers);
        request.body = match encode(&request.headers, &body) {
            Ok(body) => Some(body),
            // One record of it cannot be said; which one, the single requests tell.
            Err(reason) => return Whole::RefusedForOne(reason),
        };
        let reply = match self.send(calls, request).await {
            Ok(reply) => reply,
            Err(error) => return Whole::Same(unanswered(error)),
        };
        let sentence = || self.caller.sentence(&reply);
        match reply.judge(&self.file, self.now()).meaning {
            Meaning::Success => Whole::Answered(reply),
            Meaning::Limited { millis } => Whole::Same(not_sent(NextStep::Wait { millis }, sentence())),
            Meaning::Unauthorised => Whole::Same(not_sent(NextStep::Reauthorise, sentence())),
            Meaning::NotNow | Meaning::Expired | Meaning::BeginAnew => {
                Whole::Same(not_sent(NextStep::Retry, sentence()))
            }
            Meaning::Broken => Whole::Same(Outcome::Unknown(sentence())),
            // A missing endpoint says nothing of the records.
            Meaning::Missing | Meaning::Wrong => Whole::Same(not_sent(NextStep::Fail, sentence())),
            Meaning::Invalid | Meaning::Duplicate | Meaning::Changed => Whole::RefusedForOne(sentence()),
        }
    }

    /// A batch that was refused as a whole because of some record in it: it is halved until that
    /// record is found, so that the others are written and each refusal has its record.
    async fn refused<'p, 'w>(
        &self,
        calls: &Calls,
        object: &ObjectSpec,
        parts: &'p [Part<'w>],
        reason: String,
        batches: &mut Batches<'p, 'w>,
        outcomes: &mut Outcomes,
    ) {
        let [only] = parts else {
            tracing::warn!(
                object = object.name,
                reason,
                "a batch of {} was refused as a whole; it is halved",
                parts.len()
            );
            batches.halve(parts);
            return;
        };
        // Its own endpoint may say more exactly what is wrong, or take it.
        let singly = self.write_singly(calls, object, std::slice::from_ref(only.write)).await;
        let outcome = singly.into_iter().next().filter(|outcome| {
            // One that has no endpoint of its own is what was refused.
            !matches!(outcome, Outcome::NotSent(error) if error.next == NextStep::Fail)
        });
        outcomes.set(only.index, outcome.unwrap_or(Outcome::Rejected { reason, path: None }));
    }

    /// Reads the results of a batch, one for each part in the same order, or each with its
    /// part's mark under the key `by`.
    #[expect(clippy::too_many_arguments, reason = "what a batch was and what came of it")]
    fn results<'r>(
        &self,
        object: &ObjectSpec,
        parts: &[Part<'_>],
        reply: &'r Reply,
        path: Option<&Path>,
        by: Option<&str>,
        outcomes: &mut Outcomes,
        read: impl Fn(&'r RawValue) -> Option<ItemResult<'r>>,
    ) {
        let items = result_list(reply, path).map(|items| match by {
            Some(key) => in_order_of(parts, items, key),
            None => items,
        });
        let items = match items {
            Ok(items) if items.len() == parts.len() => items,
            other => {
                let reason = match other {
                    Ok(items) => format!("{} results for {} records", items.len(), parts.len()),
                    Err(reason) => reason,
                };
                for part in parts {
                    outcomes.set(part.index, Outcome::Unknown(format!("{}: {reason}", reply.place)));
                }
                return;
            }
        };
        for (part, raw) in parts.iter().zip(items) {
            let outcome = match read(raw) {
                Some(item) => self.item_outcome(object, part, reply, raw, &item),
                None => Outcome::Unknown(format!("{}: a result without a status", reply.place)),
            };
            outcomes.set(part.index, outcome);
        }
    }

    /// Reads the results of a batch, each of which names its part. A part that is named by none
    /// of them, or by two, has an unknown outcome.
    fn results_by(
        &self,
        object: &ObjectSpec,
        endpoint: &BatchEndpoint,
        parts: &[Part<'_>],
        reply: &Reply,
        outcomes: &mut Outcomes,
    ) {
        let found = named_results(endpoint, reply);
        for (place, part) in parts.iter().enumerate() {
            let key = if endpoint.place.is_some() {
                place.to_string()
            } else if holds(&endpoint.item, TRACE) {
                part.trace()
            } else {
                id_text(part.write).to_owned()
            };
            let outcome = match &found {
                Ok(found) => {
                    let mut ours = found.iter().filter(|result| result.key == key);
                    match (ours.next(), ours.next()) {
                        (Some(only), None) => match only.result(endpoint, reply) {
                            Some(item) => self.item_outcome(object, part, reply, only.raw, &item),
                            None => Outcome::Unknown(format!("{}: a result without a status", reply.place)),
                        },
                        (None, _) => Outcome::Unknown(format!("{}: no result names this record", reply.place)),
                        (Some(_), Some(_)) => Outcome::Unknown(format!("{}: two results for one record", reply.place)),
                    }
                }
                Err(reason) => Outcome::Unknown(format!("{}: {reason}", reply.place)),
            };
            outcomes.set(part.index, outcome);
        }
    }

    fn item_outcome(
        &self,
        object: &ObjectSpec,
        part: &Part<'_>,
        reply: &Reply,
        raw: &RawValue,
        item: &ItemResult<'_>,
    ) -> Outcome {
        let sentence = || {
            format!(
                "{} answered {} for a record of the batch: {}",
                reply.place,
                item.status,
                self.caller.redact(raw.get())
            )
        };
        let header = |name: &str| find_header(&item.headers, name).map(str::to_owned);
        let told = Told {
            status: item.status,
            header: &header,
            body: Some(raw),
            text: raw.get(),
            server_now: reply.clock(self.now()),
        };
        let answer = Answer {
            status: item.status,
            judged: judge(&self.file, &told),
            body: item.body,
            garbled: false,
            lossy: reply.lossy,
            version_header: object.version_header.as_ref().and_then(|name| find_header(&item.headers, name)),
            sentence: &sentence,
        };
        outcome(object, part.write, &part.sent, &answer)
    }
}

/// A result that names the part it belongs to.
struct NamedResult<'r> {
    key: String,
    raw: &'r RawValue,
    failed: bool,
}

impl<'r> NamedResult<'r> {
    fn result(&self, endpoint: &BatchEndpoint, reply: &Reply) -> Option<ItemResult<'r>> {
        if !self.failed {
            return record_result(endpoint, reply, self.raw);
        }
        let told = endpoint.status.as_ref().and_then(|path| at(self.raw, Some(path)).ok().flatten());
        // A failure without a status is about the record, which was not taken.
        let status = told.and_then(text_of).and_then(|text| text.parse().ok()).unwrap_or(422);
        Some(ItemResult { status, headers: Vec::new(), body: Some(self.raw) })
    }
}

/// The results of a batch, and the failures where they have a list of their own.
fn named_results<'r>(endpoint: &BatchEndpoint, reply: &'r Reply) -> Result<Vec<NamedResult<'r>>, String> {
    let named_by = endpoint.place.as_ref().or(endpoint.by.as_ref());
    let mut found = Vec::new();
    let mut add = |list: Vec<&'r RawValue>, by: Option<&Path>, failed: bool| {
        let key = |raw: &'r RawValue| at(raw, by).ok().flatten().and_then(one_text);
        found.extend(list.into_iter().filter_map(|raw| key(raw).map(|key| NamedResult { key, raw, failed })));
    };
    let failures = match &endpoint.errors {
        Some(path) => at(reply.json()?, Some(path))?.filter(|raw| raw.get().starts_with('[')),
        None => None,
    };
    let results = result_list(reply, endpoint.results.as_ref());
    match (results, failures) {
        (Ok(results), _) => add(results, named_by, false),
        // Where all have failed there may be no list of results.
        (Err(_), Some(_)) => {}
        (Err(reason), None) => return Err(reason),
    }
    if let Some(failures) = failures {
        let failures = serde_json::from_str(failures.get()).map_err(|error| error.to_string())?;
        add(failures, endpoint.errors_by.as_ref().or(named_by), true);
    }
    Ok(found)
}

/// A text or a number, also as the only entry of a list.
fn one_text(raw: &RawValue) -> Option<String> {
    if !raw.get().starts_with('[') {
        return text_of(raw);
    }
    let [only] = serde_json::from_str::<[&RawValue; 1]>(raw.get()).ok()?;
    text_of(only)
}

/// The id of the record that a write is to.
fn id_text(write: &Write) -> &str {
    match write {
        Write::Create(create) => &create.external_id,
        Write::Update(update) => update.id.as_str(),
        Write::Delete(delete) => delete.id.as_str(),
    }
}

/// What a write came to that is known to be carried out, and no more.
fn carried_out(write: &Write) -> Outcome {
    match write {
        Write::Create(_) => Outcome::Unknown("the answer to a create names no record".to_owned()),
        Write::Update(update) => {
            Outcome::Written(Stored { id: update.id.clone(), version: None, modified: None, body: None })
        }
        Write::Delete(_) => Outcome::Deleted,
    }
}

/// One result of a batch.
struct ItemResult<'r> {
    status: u16,
    headers: Vec<(String, String)>,
    /// Holds the record where a single answer would.
    body: Option<&'r RawValue>,
}

/// A result that is a whole answer: `{status, headers, body}`.
fn request_result<'r>(_: &ObjectSpec, raw: &'r RawValue) -> Option<ItemResult<'r>> {
    let key = |name: &str| at(raw, Some(&Path::key(name))).ok().flatten();
    let status = text_of(key("status")?)?.parse().ok()?;
    let headers = key("headers").and_then(|headers| raw_entries(headers).ok()).unwrap_or_default();
    let headers = headers.into_iter().filter_map(|(name, value)| Some((name.into_owned(), text_of(value)?)));
    Some(ItemResult { status, headers: headers.collect(), body: key("body").filter(|body| !is_null(body)) })
}

/// A result that is a record, or a status and an error beside it.
fn record_result<'r>(endpoint: &BatchEndpoint, reply: &Reply, raw: &'r RawValue) -> Option<ItemResult<'r>> {
    let look = |path: Option<&Path>| path.and_then(|path| at(raw, Some(path)).ok().flatten());
    let told = look(endpoint.status.as_ref()).and_then(text_of).and_then(|text| text.parse().ok());
    let failed = look(endpoint.error.as_ref()).is_some_and(is_truthy);
    let status = match (told, failed) {
        (Some(status), _) => status,
        // An error without a status is about the record, which was not taken.
        (None, true) => 422,
        // A mixed answer says of each record how it went; one that does not, says nothing.
        (None, false) if reply.status == 207 && endpoint.error.is_none() && endpoint.errors.is_none() => return None,
        (None, false) => 200,
    };
    let body = match &endpoint.record {
        Some(path) => look(Some(path)),
        None => Some(raw),
    };
    Some(ItemResult { status, headers: Vec::new(), body })
}

fn result_list<'r>(reply: &'r Reply, path: Option<&Path>) -> Result<Vec<&'r RawValue>, String> {
    let list = at(reply.json()?, path)?.filter(|raw| raw.get().starts_with('['));
    let list = list.ok_or_else(|| format!("no list of results: {}", clip(&reply.body)))?;
    serde_json::from_str(list.get()).map_err(|error| error.to_string())
}

/// The body of a batch: the list of its parts, under a path or as the whole body.
fn listed(path: Option<&Path>, parts: &[Part<'_>]) -> Value {
    let list = Value::Array(parts.iter().map(|part| part.item.clone()).collect());
    match path {
        None => list,
        Some(path) => {
            let mut body = Value::Object(Vec::new());
            body.set(path, list);
            body
        }
    }
}

/// Answers in the order of the requests that they name by this key. Where one is missing, so
/// are all after it: their number tells that.
fn in_order_of<'r>(parts: &[Part<'_>], items: Vec<&'r RawValue>, key: &str) -> Vec<&'r RawValue> {
    let name = |item: &RawValue| at(item, Some(&Path::key(key))).ok().flatten().and_then(text_of);
    let mut named: HashMap<String, &RawValue> =
        items.into_iter().filter_map(|item| Some((name(item)?, item))).collect();
    parts.iter().map_while(|part| named.remove(&part.trace())).collect()
}

/// How a side wants requests within a request.
struct RequestShape<'a> {
    /// The key of the address.
    address: &'a str,
    /// The path that addresses are without.
    base: &'a str,
    /// The key that names a request.
    by: Option<&'a str>,
}

/// A write as a request within a request; the path is absolute, with its query.
fn request_item(composed: &Composed, shape: &RequestShape<'_>, index: usize) -> Value {
    let path = composed.url.path();
    let mut path = path.strip_prefix(shape.base).unwrap_or(path).to_owned();
    if let Some(query) = composed.url.query() {
        path = format!("{path}?{query}");
    }
    let headers = composed.headers.iter().map(|(name, value)| (name.clone(), Value::string(value.as_str())));
    let mut item = vec![
        ("method".to_owned(), Value::string(composed.method.as_str())),
        (shape.address.to_owned(), Value::string(path)),
        ("headers".to_owned(), Value::Object(headers.collect())),
    ];
    item.extend(composed.body.clone().map(|body| ("body".to_owned(), body)));
    if let Some(key) = shape.by {
        item.insert(0, (key.to_owned(), Value::string(index.to_string())));
    }
    Value::Object(item)
}

fn is_delete(parts: &[Part<'_>]) -> bool {
    parts.iter().all(|part| matches!(part.write, Write::Delete(_)))
}

/// The writes that an endpoint takes. Left to be sent singly are those that would lose
/// in a batch what guards them: an idempotency key, an expected version.
fn record_parts<'w>(
    object: &ObjectSpec,
    endpoint: &BatchEndpoint,
    writes: &'w [Write],
    outcomes: &mut Outcomes,
    takes: impl Fn(&Write) -> bool,
) -> Vec<Part<'w>> {
    let mut parts = Vec::new();
    for (index, write) in writes.iter().enumerate() {
        if !takes(write) || !keeps_guards(object, endpoint, write) {
            continue;
        }
        match record_item(object, endpoint, write, &index.to_string()) {
            Ok(Some((item, sent))) => parts.push(Part { index, write, item, sent }),
            Ok(None) => {}
            Err(outcome) => outcomes.set(index, outcome),
        }
    }
    parts
}

fn keeps_guards(object: &ObjectSpec, endpoint: &BatchEndpoint, write: &Write) -> bool {
    let checks = |if_match: Option<&String>| if_match.is_none() || holds(&endpoint.item, "{version}");
    match write {
        Write::Create(_) => {
            let header = object.create.as_ref().and_then(|create| create.idempotency_header.as_ref());
            header.is_none() || holds(&endpoint.item, "{idempotency_key}")
        }
        Write::Update(update) => {
            update.expected.is_none() || checks(object.update.as_ref().and_then(|spec| spec.if_match.as_ref()))
        }
        Write::Delete(delete) => {
            delete.expected.is_none() || checks(object.delete.as_ref().and_then(|spec| spec.if_match.as_ref()))
        }
    }
}

/// One entry of the list, and what of the record it holds; `None` where the file does
/// not declare the operation itself, which tells what a record looks like.
fn record_item(
    object: &ObjectSpec,
    endpoint: &BatchEndpoint,
    write: &Write,
    trace: &str,
) -> Result<Option<(Value, Value)>, Outcome> {
    let trace = Some(trace);
    Ok(match write {
        Write::Create(create) => object.create.as_ref().map(|spec| {
            let sent = create_record(object, spec, create);
            (fill(&endpoint.item, &Names { record: &sent, id: None, version: None, create: Some(create), trace }), sent)
        }),
        Write::Update(update) => match &object.update {
            None => None,
            Some(spec) => {
                let sent = update_record(object, spec, update)?;
                let mut record = sent.clone();
                if !holds_id(&endpoint.item, &object.id) {
                    // The entry itself must name the record.
                    object.id.write(&mut record, update.id.as_str());
                }
                let (id, version) = (Some((&object.id, &update.id)), update.expected.as_ref());
                let names = Names { record: &record, id, version, create: None, trace };
                Some((fill(&endpoint.item, &names), sent))
            }
        },
        Write::Delete(delete) => {
            let id = Some((&object.id, &delete.id));
            let names = Names { record: &Value::Null, id, version: delete.expected.as_ref(), create: None, trace };
            Some((fill(&endpoint.item, &names), Value::Null))
        }
    })
}
