//! What the app answers to what is asked, in the dialect.

use serde_json::value::RawValue;

use super::ask::{Asked, ListAsk, Results, Resume, Since, WriteAsk, since};
use super::dialect::{
    API, ApiChanges, ApiDeletions, ApiEnd, ApiOrder, ApiPages, ApiTime, ApiUpdates, Dialect, OBJECT, Own,
};
use crate::connectors::http::TransportError;
use crate::connectors::memory::call::Arrival;
use crate::connectors::memory::connector::{Fate, carry_out, fate, write_operation};
use crate::connectors::memory::faults::Fault;
use crate::connectors::memory::log::Cause;
use crate::connectors::memory::world::{Applied, By, FIRST_MOMENT_MS, Live, State, World};
use crate::model::ids::{ObjectName, RecordId, Version};
use crate::model::path::Path;
use crate::model::value::Value;
use crate::model::write::{CreateRecovery, Outcome, Write};

/// An answer before it is sent.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

/// No answer, or one.
pub(super) type Served = Result<Answer, TransportError>;

/// The app while it serves one call.
pub(super) struct Server<'a> {
    pub world: &'a mut World,
    pub name: &'a ObjectName,
    pub dialect: &'a Dialect,
    pub arrival: &'a Arrival,
}

impl Answer {
    fn new(status: u16, body: impl Into<String>) -> Self {
        Self { status, headers: vec![("Content-Type".to_owned(), "application/json".to_owned())], body: body.into() }
    }

    /// An answer that says what is wrong.
    pub fn error(status: u16, message: &str) -> Self {
        Self::new(status, error_text(message, None))
    }

    fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

fn error_text(message: &str, id: Option<&RecordId>) -> String {
    let id = id.map(|id| format!(",\"id\":{}", text(id.as_str()))).unwrap_or_default();
    format!("{{\"error\":{{\"message\":{}{id}}}}}", text(message))
}

/// A text in JSON.
fn text(text: &str) -> String {
    Value::string(text).to_json()
}

impl Server<'_> {
    /// Serves a call.
    pub fn serve(&mut self, asked: &Asked) -> Served {
        if let Some(operation) = asked.operation() {
            self.world.log.push(self.arrival.log_entry(self.name, operation));
        }
        if let Some(failure) = self.failure(asked) {
            for ask in asked.writes() {
                self.log_undone(&ask.write);
            }
            return failure;
        }
        match asked {
            Asked::List(ask) => self.list(ask),
            Asked::One(id) => Ok(self.one(id)),
            Asked::Many(ids) => Ok(self.many(ids)),
            Asked::Find(wanted) => Ok(self.find(wanted)),
            Asked::Write(_) | Asked::Batch(..) => self.write(asked),
            Asked::Nonsense(reason) => Ok(Answer::error(400, reason)),
        }
    }

    /// How a call fails as a whole before anything is done, if it does.
    fn failure(&mut self, asked: &Asked) -> Option<Served> {
        let is_write = !asked.writes().is_empty();
        let call = self.arrival.call;
        let unknown = || Some(Err(TransportError::Unknown("no answer in time".to_owned())));
        match self.arrival.fault.as_ref()? {
            Fault::NotSent => Some(Err(TransportError::NotSent("no connection".to_owned()))),
            Fault::TimeoutBefore => unknown(),
            Fault::TimeoutAfter if !is_write => unknown(),
            Fault::ServerError => {
                let status = [500, 502, 503, 504][usize::try_from(call % 4).unwrap_or(0)];
                let page = Answer { headers: Vec::new(), ..Answer::new(status, "<html>Bad gateway</html>") };
                Some(Ok(if call.is_multiple_of(2) { page } else { Answer::error(status, "try again later") }))
            }
            Fault::RateLimited { retry_after_ms } => Some(Ok(self.limited(*retry_after_ms))),
            Fault::RateLimitedSilently => Some(Ok(self.limited_silently())),
            Fault::Unauthorised => Some(Ok(Answer::error(
                if call.is_multiple_of(2) { 403 } else { 401 },
                "these credentials are not taken",
            ))),
            Fault::CursorExpired => Some(Ok(Answer::error(410, "the position is no longer known"))),
            Fault::TokenExpired => {
                if let Asked::List(ListAsk { token: Some(token), .. }) = asked {
                    self.world.expired_tokens.insert(token.clone());
                }
                Some(Ok(token_expired()))
            }
            // These befall a part of the answer, writes only, or have happened before.
            Fault::TimeoutAfter
            | Fault::LateCommit { .. }
            | Fault::PartialCommit
            | Fault::Rejected { .. }
            | Fault::Stale { .. }
            | Fault::Slow { .. }
            | Fault::Truncated { .. }
            | Fault::Drift
            | Fault::EmptyPage
            | Fault::BadRecord
            | Fault::Panic => None,
        }
    }

    /// A 429 that says when to come back, in seconds or as a date.
    fn limited(&self, retry_after_ms: u64) -> Answer {
        let answer = Answer::error(429, "too many calls");
        if self.arrival.call.is_multiple_of(2) {
            return answer.header("Retry-After", retry_after_ms.div_ceil(1_000).to_string());
        }
        let now_ms = self.world.unix_ms();
        // Rounded up, as the date has no part of a second.
        let until_ms = now_ms.saturating_add_unsigned(retry_after_ms).saturating_add(999);
        answer.header("Date", http_date(now_ms)).header("Retry-After", http_date(until_ms))
    }

    fn limited_silently(&self) -> Answer {
        let answer = Answer::error(429, "too many calls");
        match self.arrival.call % 3 {
            0 => answer,
            1 => answer.header("Retry-After", "soon"),
            _ => answer.header("Retry-After", ""),
        }
    }

    /// Notes a call that somebody before the app has answered.
    pub fn not_reached(&mut self, asked: &Asked) -> Answer {
        if let Some(operation) = asked.operation() {
            self.world.log.push(self.arrival.log_entry(self.name, operation));
        }
        asked.writes().iter().for_each(|ask| self.log_undone(&ask.write));
        Answer::new(200, "")
    }

    fn log_undone(&mut self, write: &Write) {
        self.world.log.push(self.arrival.log_entry(self.name, write_operation(write, None)));
    }

    // ---- records as they are shown ----

    /// The app's own fields of a record, as the inside of a JSON object.
    fn own_fields(&self, id: &RecordId, state: &State) -> String {
        let key = |own: Own| {
            let path = self.dialect.own(own);
            text(path.segments().last().map_or("", String::as_str))
        };
        let mut fields = vec![format!("{}:{}", key(Own::Id), text(id.as_str()))];
        if let Some(version) = self.world.version(state) {
            fields.push(format!("{}:{}", key(Own::Version), text(version.as_str())));
        }
        fields.push(format!("{}:{}", key(Own::Modified), self.time(state.modified_ms)));
        fields.push(format!("{}:{}", key(Own::Change), state.change));
        let created_for = state.live.as_ref().and_then(|live| live.created_for.as_ref());
        if let (Some(external_id), CreateRecovery::ExternalId) = (created_for, self.dialect.create) {
            fields.push(format!("{}:{}", key(Own::ExternalId), text(external_id)));
        }
        if state.live.is_none() {
            fields.push(format!("{}:true", key(Own::Gone)));
        }
        let fields = fields.join(",");
        if self.dialect.meta_apart { format!("\"meta\":{{{fields}}}") } else { fields }
    }

    fn time(&self, modified_ms: i64) -> String {
        let unix_ms = FIRST_MOMENT_MS.saturating_add(modified_ms);
        match self.dialect.time() {
            ApiTime::Iso => {
                let time = chrono::DateTime::from_timestamp_millis(unix_ms).unwrap_or_default();
                text(&time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
            }
            ApiTime::Seconds => unix_ms.div_euclid(1_000).to_string(),
            ApiTime::Millis => unix_ms.to_string(),
        }
    }

    /// A record as it stands in an answer.
    fn shown(&mut self, id: &RecordId, state: &State) -> String {
        self.world.note_seen(self.name, id, state.change);
        let own = self.own_fields(id, state);
        if state.live.is_some() && self.world.object(self.name).poisoned.contains(id) {
            return unreadable(&own);
        }
        match &state.live {
            None => format!("{{{own}}}"),
            Some(Live { raw: Some(raw), .. }) => with_own(&own, raw.as_str()),
            Some(Live { value, .. }) => with_own(&own, &value.to_json()),
        }
    }

    /// A single record as the whole answer.
    fn single(&mut self, status: u16, id: &RecordId, state: &State) -> Answer {
        let record = self.shown(id, state);
        let body = self.within(self.dialect.record_key(), record);
        self.with_etag(Answer::new(status, body), self.world.version(state))
    }

    fn within(&self, key: Option<&str>, inner: String) -> String {
        match key {
            Some(key) => format!("{{\"{key}\":{inner}}}"),
            None => inner,
        }
    }

    fn with_etag(&self, answer: Answer, version: Option<Version>) -> Answer {
        match version.filter(|_| self.dialect.etag) {
            // As strong ETags are: in quotes, which are no part of the version.
            Some(version) => answer.header("ETag", format!("\"{version}\"")),
            None => answer,
        }
    }

    // ---- reads by id and by value ----

    fn one(&mut self, id: &RecordId) -> Answer {
        match self.world.shown_one(self.name, id) {
            Some(state) if state.live.is_some() => self.single(200, id, &state),
            Some(_) | None => Answer::error(self.dialect.missing, "there is no such record"),
        }
    }

    fn many(&mut self, ids: &[RecordId]) -> Answer {
        let found = ids.iter().filter_map(|id| Some((id.clone(), self.world.shown_one(self.name, id)?)));
        let found: Vec<(RecordId, State)> = found.filter(|(_, state)| state.live.is_some()).collect();
        self.records(&found)
    }

    /// A list that is nothing but its records.
    fn records(&mut self, rows: &[(RecordId, State)]) -> Answer {
        let records: Vec<String> = rows.iter().map(|(id, state)| self.shown(id, state)).collect();
        Answer::new(200, self.within(self.dialect.records_key(), format!("[{}]", records.join(","))))
    }

    fn find(&mut self, wanted: &[(String, String)]) -> Answer {
        let external_id_path = self.dialect.own(Own::ExternalId).to_string();
        if let [(path, value)] = wanted
            && *path == external_id_path
        {
            return self.find_external_id(value);
        }
        let json = self.dialect.find_json;
        let holds = |value: &Value| {
            let held = |(path, want): &(String, String)| {
                let path: Option<Path> = path.parse().ok();
                path.and_then(|path| value.get(&path).map(|held| is_meant(held, want, json))).unwrap_or(false)
            };
            wanted.iter().all(held)
        };
        let mut rows = self.world.shown(self.name);
        rows.retain(|(_, state)| state.live.as_ref().is_some_and(|live| holds(&live.value)));
        rows.retain(|(id, _)| self.world.is_indexed(self.name, id));
        self.records(&rows)
    }

    fn find_external_id(&mut self, value: &str) -> Answer {
        let value = match (self.dialect.find_json, Value::from_json(value)) {
            (true, Ok(Value::String(text))) => text,
            (true | false, _) => value.to_owned(),
        };
        // Answered by the primary: an external id is not searched in a replica or an index.
        let found = self.world.with_external_id(self.name, &value);
        let state = found.and_then(|id| Some((id.clone(), self.world.real(self.name, &id)?.clone())));
        self.records(&state.into_iter().collect::<Vec<_>>())
    }

    // ---- lists ----

    fn list(&mut self, ask: &ListAsk) -> Served {
        if ask.token.as_ref().is_some_and(|token| self.world.expired_tokens.contains(token)) {
            return Ok(token_expired());
        }
        let since = match &ask.since {
            None => None,
            Some(text) => match since(self.dialect, text) {
                Some(since) => Some(since),
                None => return Ok(Answer::error(410, "the position is not one of ours")),
            },
        };
        let horizon = self.world.last_shown_change(self.name);
        let rows = self.rows(since, horizon);
        let total = rows.len();
        // The list has shifted: a record slips through, which an overlap tells.
        let shifts = matches!(self.arrival.fault, Some(Fault::Drift)) && self.dialect.pages == ApiPages::Offset;
        let skip = ask.skip + usize::from(shifts && ask.skip > 0);
        let (mut rows, mut is_last) = self.cut(ask, skip, rows);
        let mut begins_with_next = false;
        match &self.arrival.fault {
            Some(Fault::Truncated { keep }) => {
                rows.truncate(*keep);
                is_last = true;
            }
            Some(Fault::EmptyPage) if self.is_linked() && !(is_last && rows.is_empty()) => {
                rows.clear();
                is_last = false;
                begins_with_next = true;
            }
            // The others befall the call as a whole, or one record of it, see below.
            Some(_) | None => {}
        }
        let truncated = matches!(self.arrival.fault, Some(Fault::Truncated { .. }));
        let total = if truncated { ask.skip + rows.len() } else { total };
        if ask.resume.is_none() {
            self.world.reads_begun += 1;
        }
        let begin = ask.resume.as_ref().map_or(horizon, |resume| resume.begin);
        let next = (!is_last).then(|| self.resume(ask, begin, if begins_with_next { &[] } else { &rows }));
        let mut records: Vec<String> = rows.iter().map(|(id, state)| self.shown(id, state)).collect();
        if matches!(self.arrival.fault, Some(Fault::BadRecord)) && !records.is_empty() {
            let at = self.world.rng.usize(0..records.len());
            records[at] = unreadable(&self.own_fields(&rows[at].0, &rows[at].1));
        }
        let reached = self.reached(ask, since, begin, &rows);
        Ok(self.list_answer(ask, &records, next, total, is_last.then_some(reached), horizon))
    }

    fn is_linked(&self) -> bool {
        match self.dialect.pages {
            ApiPages::Numbers | ApiPages::Offset => false,
            ApiPages::Token | ApiPages::LinkHeader | ApiPages::NextUrl => true,
        }
    }

    /// Whether positions are numbers of changes.
    fn counts_changes(&self) -> bool {
        match self.dialect.changes {
            ApiChanges::None | ApiChanges::Time { .. } => false,
            ApiChanges::Sequence { .. } | ApiChanges::Token { .. } | ApiChanges::Url => true,
        }
    }

    fn position(&self, state: &State) -> (i64, u64) {
        (if self.counts_changes() { 0 } else { state.modified_ms }, state.change)
    }

    /// All that a list holds, in its order.
    fn rows(&mut self, since: Option<Since>, horizon: u64) -> Vec<(RecordId, State)> {
        let with_gone = match self.dialect.deletions {
            ApiDeletions::Hidden => false,
            ApiDeletions::Tombstone => since.is_some(),
            ApiDeletions::Flag => true,
        };
        let inclusive = self.dialect.inclusive;
        let is_since = |state: &State| match since {
            None => true,
            Some(Since::Stamp(from)) => state.modified_ms > from || (inclusive && state.modified_ms == from),
            // Only a number that stands in records is compared as the dialect says.
            Some(Since::Change(from)) => {
                let inclusive = inclusive && matches!(self.dialect.changes, ApiChanges::Sequence { .. });
                state.change > from || (inclusive && state.change == from)
            }
        };
        let mut rows = self.world.shown(self.name);
        rows.retain(|(_, state)| (state.live.is_some() || with_gone) && is_since(state));
        if self.dialect.order == ApiOrder::Changed {
            if self.counts_changes() {
                // Such a list never runs ahead of what it does not show yet.
                rows.retain(|(_, state)| state.change <= horizon);
            }
            rows.sort_by_key(|(_, state)| self.position(state));
        }
        rows
    }

    /// The rows of a page, and whether it is the last.
    fn cut(&self, ask: &ListAsk, skip: usize, mut rows: Vec<(RecordId, State)>) -> (Vec<(RecordId, State)>, bool) {
        match (&ask.resume, self.dialect.order) {
            (Some(resume), ApiOrder::Changed) => rows.retain(|(_, state)| self.position(state) > resume.after),
            (Some(resume), ApiOrder::Id) => {
                rows.retain(|(id, _)| resume.after_id.is_empty() || id.as_str() > resume.after_id.as_str());
            }
            (None, _) => {
                rows.drain(..skip.min(rows.len()));
            }
        }
        let size = if self.is_linked() { ask.limit.min(self.world.behaviour.page_size.max(1)) } else { ask.limit };
        let is_last = rows.len() <= size;
        rows.truncate(size);
        (rows, is_last)
    }

    fn resume(&self, ask: &ListAsk, begin: u64, rows: &[(RecordId, State)]) -> Resume {
        let before = ask.resume.as_ref();
        let (after, after_id) = match rows.last() {
            Some((id, state)) => (self.position(state), id.as_str().to_owned()),
            None => (
                before.map_or((i64::MIN, 0), |resume| resume.after),
                before.map(|resume| resume.after_id.clone()).unwrap_or_default(),
            ),
        };
        let list = before.map_or(self.world.reads_begun, |resume| resume.list);
        Resume { list, page: ask.page.saturating_add(1), begin, after, since: ask.since.clone(), after_id }
    }

    /// Up to which change a list has led by the end of this page.
    fn reached(&self, ask: &ListAsk, since: Option<Since>, begin: u64, rows: &[(RecordId, State)]) -> u64 {
        let stored = match since {
            Some(Since::Change(from)) => from,
            Some(Since::Stamp(_)) | None => 0,
        };
        let here = match (self.dialect.order, rows.last()) {
            (ApiOrder::Id, _) => begin,
            (ApiOrder::Changed, Some((_, state))) => state.change,
            (ApiOrder::Changed, None) => ask.resume.as_ref().map_or(0, |resume| resume.after.1),
        };
        here.max(stored)
    }

    fn list_answer(
        &self,
        ask: &ListAsk,
        records: &[String],
        next: Option<Resume>,
        total: usize,
        reached: Option<u64>,
        horizon: u64,
    ) -> Answer {
        let list = format!("[{}]", records.join(","));
        let more = next.is_some();
        let token = next.map(|next| next.to_token());
        let url = token.as_ref().map(|token| self.next_url(ask, token));
        let mut fields = Vec::new();
        let mut headers = Vec::new();
        match self.dialect.pages {
            ApiPages::Numbers | ApiPages::Offset => match self.dialect.end {
                ApiEnd::Total => fields.push(format!("\"total\":{total}")),
                ApiEnd::More => fields.push(format!("\"more\":{more}")),
                ApiEnd::Short | ApiEnd::Empty => {}
            },
            ApiPages::Token => fields.extend(token.map(|token| format!("\"next\":{}", text(&token)))),
            ApiPages::NextUrl => fields.extend(url.map(|url| format!("\"next\":{}", text(&url)))),
            ApiPages::LinkHeader => {
                headers.extend(url.map(|url| ("Link".to_owned(), format!("<{url}>; rel=\"next\""))));
            }
        }
        match (self.dialect.changes, reached) {
            (ApiChanges::Sequence { header: true }, _) => headers.push(("X-Position".to_owned(), horizon.to_string())),
            (ApiChanges::Token { header: true }, _) => headers.push(("X-Position".to_owned(), format!("p{horizon}"))),
            (ApiChanges::Token { header: false }, Some(reached)) => fields.push(format!("\"position\":\"p{reached}\"")),
            (ApiChanges::Url, Some(reached)) => {
                fields.push(format!("\"position\":\"{API}{OBJECT}?limit={}&since=p{reached}\"", ask.limit));
            }
            (ApiChanges::Token { header: false } | ApiChanges::Url, None)
            | (ApiChanges::None | ApiChanges::Time { .. } | ApiChanges::Sequence { header: false }, _) => {}
        }
        let body = match self.dialect.records_key() {
            None => list,
            Some(key) => {
                fields.push(format!("\"{key}\":{list}"));
                format!("{{{}}}", fields.join(","))
            }
        };
        let mut answer = Answer::new(200, body);
        answer.headers.extend(headers);
        answer
    }

    fn next_url(&self, ask: &ListAsk, token: &str) -> String {
        let encoded = percent_encoding::utf8_percent_encode(token, percent_encoding::NON_ALPHANUMERIC);
        format!("{API}{OBJECT}?limit={}&after={encoded}", ask.limit)
    }

    // ---- writes ----

    fn write(&mut self, asked: &Asked) -> Served {
        let asks = asked.writes();
        let unknown = |message: &str| Err(TransportError::Unknown(message.to_owned()));
        match fate(self.arrival, asks.len()) {
            Fate::Normal => Ok(self.carried_out(asked, 0, None)),
            Fate::Stale { for_ms } => Ok(self.carried_out(asked, for_ms, None)),
            Fate::Refuse { at: _, reason }
                if self.dialect.batch_all_or_nothing && matches!(asked, Asked::Batch(..)) =>
            {
                asks.iter().for_each(|ask| self.log_undone(&ask.write));
                Ok(Answer::error(422, &format!("one record of the batch is refused: {reason}")))
            }
            Fate::Refuse { at, reason } => Ok(self.carried_out(asked, 0, Some((at, reason)))),
            // What is done, is done without an answer.
            Fate::Lost { done, answer: _ } => {
                self.carry_out(&asks[..done], 0, None);
                asks[done..].iter().for_each(|ask| self.log_undone(&ask.write));
                unknown("the connection broke")
            }
            Fate::Late { after_ms, answer: _ } => {
                for ask in asks {
                    let entry = self.world.log.len();
                    self.log_undone(&ask.write);
                    self.world.put_off(after_ms, self.name, self.arrival.call, ask.write.clone(), entry);
                }
                unknown("no answer in time")
            }
        }
    }

    fn carry_out(&mut self, asks: &[WriteAsk], stale_ms: u64, refused: Option<(usize, String)>) -> Vec<Applied> {
        asks.iter().filter(|ask| ask.upsert).for_each(|ask| self.make_missing(&ask.write));
        let writes: Vec<Write> = asks.iter().map(|ask| ask.write.clone()).collect();
        carry_out(self.world, self.name, &writes, self.arrival, stale_ms, refused)
    }

    /// Makes the record that a PUT without a condition is for, if it is missing.
    fn make_missing(&mut self, write: &Write) {
        let Write::Update(update) = write else { return };
        if !self.world.exists(self.name, &update.id) {
            let live = Live { value: Value::Object(Vec::new()), raw: None, created_for: None };
            let by = By { cause: Cause::Call(self.arrival.call), stale_ms: 0 };
            self.world.store(self.name, &update.id, Some(live), &by);
        }
    }

    fn carried_out(&mut self, asked: &Asked, stale_ms: u64, refused: Option<(usize, String)>) -> Answer {
        let applied = self.carry_out(asked.writes(), stale_ms, refused);
        let mut answers: Vec<Answer> =
            asked.writes().iter().zip(applied).map(|(ask, applied)| self.write_answer(&ask.write, applied)).collect();
        match asked {
            Asked::Batch(_, results) => self.batch_answer(*results, &answers),
            Asked::Write(_) | Asked::List(_) | Asked::One(_) | Asked::Many(_) | Asked::Find(_) | Asked::Nonsense(_) => {
                answers.pop().unwrap_or_else(|| Answer::error(500, "nothing was written"))
            }
        }
    }

    fn write_answer(&mut self, write: &Write, applied: Applied) -> Answer {
        let upsert = self.dialect.updates == ApiUpdates::Upsert;
        let status = match write {
            Write::Create(_) => 201,
            Write::Update(_) | Write::Delete(_) => 200,
        };
        match applied.outcome {
            Outcome::Written(stored) => {
                let whole = self.dialect.answers_record && stored.body.is_some();
                let state =
                    self.world.real(self.name, &stored.id).cloned().filter(|_| stored.version.is_some() || whole);
                match state {
                    Some(state) if whole => self.single(status, &stored.id, &state),
                    Some(state) => self.named(status, &stored.id, Some(&state)),
                    None => self.named(status, &stored.id, None),
                }
            }
            Outcome::Deleted if applied.changed => Answer { headers: Vec::new(), ..Answer::new(204, "") },
            Outcome::Deleted => Answer::error(self.dialect.missing, "there is no such record"),
            Outcome::Changed => Answer::error(412, "it has changed"),
            // It was sent with a condition, which no missing record meets.
            Outcome::Missing if upsert => Answer::error(412, "there is no such record"),
            Outcome::Missing => Answer::error(self.dialect.missing, "there is no such record"),
            Outcome::Duplicate(id) => {
                let by_put = self.dialect.create == CreateRecovery::ClientId && self.dialect.create_by_put;
                Answer::new(if by_put { 412 } else { 409 }, error_text("it is there already", id.as_ref()))
            }
            Outcome::Rejected { reason, path } => {
                let reason = path.map_or(reason.clone(), |path| format!("{path}: {reason}"));
                Answer::error(if self.arrival.call.is_multiple_of(2) { 400 } else { 422 }, &reason)
            }
            Outcome::NotSent(error) => Answer::error(500, &error.message),
            Outcome::Unknown(message) => Answer::error(500, &message),
        }
    }

    /// An answer that names the record without holding it.
    fn named(&mut self, status: u16, id: &RecordId, state: Option<&State>) -> Answer {
        let id_key = self.dialect.own(Own::Id);
        let mut record = Value::Object(Vec::new());
        record.set(&id_key, Value::string(id.as_str()));
        let version = state.and_then(|state| self.world.version(state));
        if let Some(version) = &version {
            record.set(&self.dialect.own(Own::Version), Value::string(version.as_str()));
        }
        let body = self.within(self.dialect.record_key(), record.to_json());
        self.with_etag(Answer::new(status, body), version)
    }

    fn batch_answer(&self, results: Results, answers: &[Answer]) -> Answer {
        let one = |answer: &Answer| match results {
            Results::Answers => {
                let headers: Vec<String> =
                    answer.headers.iter().map(|(name, value)| format!("{}:{}", text(name), text(value))).collect();
                let body = if answer.body.is_empty() { "null" } else { &answer.body };
                format!("{{\"status\":{},\"headers\":{{{}}},\"body\":{body}}}", answer.status, headers.join(","))
            }
            Results::Records => {
                let key = if answer.is_success() { "result" } else { "error" };
                let said = if answer.body.is_empty() { "null".to_owned() } else { answer.body.clone() };
                format!("{{\"status\":{},\"{key}\":{said}}}", answer.status)
            }
        };
        let list: Vec<String> = answers.iter().map(one).collect();
        let key = match results {
            Results::Answers => "responses",
            Results::Records => "results",
        };
        Answer::new(200, format!("{{\"{key}\":[{}]}}", list.join(",")))
    }
}

fn token_expired() -> Answer {
    Answer::error(419, "the page token has expired, the list must begin again")
}

/// A record's text with the app's own fields before its others.
fn with_own(own: &str, record: &str) -> String {
    let inside = record.trim().strip_prefix('{').filter(|_| serde_json::from_str::<&RawValue>(record).is_ok());
    match inside.map(str::trim_start) {
        Some("}") => format!("{{{own}}}"),
        Some(inside) => format!("{{{own},{inside}"),
        // A text that is no object would spoil its neighbours.
        None => unreadable(own),
    }
}

/// A record that no reader understands.
fn unreadable(own: &str) -> String {
    format!("{{{own},\"twice\":1,\"twice\":2}}")
}

/// Whether a value is the one that a search by this text means.
fn is_meant(held: &Value, want: &str, json: bool) -> bool {
    if json {
        return Value::from_json(want).is_ok_and(|want| held.same(&want));
    }
    match held {
        Value::String(text) => text == want,
        Value::Number(_) | Value::Bool(_) => Value::from_json(want).is_ok_and(|want| held.same(&want)),
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

/// A time as it stands in a header.
pub(super) fn http_date(unix_ms: i64) -> String {
    let time = chrono::DateTime::from_timestamp_millis(unix_ms).unwrap_or_default();
    httpdate::fmt_http_date(time.into())
}
