//! Lists that a side makes as a job: asked for, waited for, downloaded piece by piece. What is
//! to be remembered between pages travels in the page token, the job's id with it, so that a
//! restart goes on with the same job; one that is no longer known is begun anew.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use url::Url;

use crate::connectors::Calls;
use crate::model::cursor::Cursor;
use crate::model::path::Path;
use crate::model::record::{Entry, Page};
use crate::model::write::ConnectorError;

use super::HttpConnector;
use super::call::{Exchange, Meaning, PathIds, Prepared, Reply};
use super::csv;
use super::download::{Format, PIECE_BYTES, Piece, Span, content_range, lines, some_of};
use super::entry::{Parsed, broken, parse_in};
use super::job::{JobSpec, JobState};
use super::page::{Run, Turn};
use super::raw::{at, text_of};
use super::read::{Found, fail, retry};
use super::spec::{Endpoint, ListSpec, ObjectSpec};
use super::transport::{Method, Part};

/// How often a list is begun anew because its job failed, or was forgotten.
const MAX_ANEW: u32 = 3;

/// A list that is made as a job.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ExportSpec {
    pub job: JobSpec,
    pub file: FilePlace,
    pub format: Format,
    /// Parameters of the download.
    pub query: Vec<(String, String)>,
    /// The file comes in several answers: the header that tells what the next one is asked for by,
    /// and the parameter that takes it.
    pub next: Option<(String, String)>,
}

/// Where the file is that a job has made.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum FilePlace {
    /// At a URL that the job tells: of the app itself, or of this origin, which is asked without
    /// credentials.
    Url { path: Path, origin: Option<Url> },
    /// At an endpoint, by the job's id.
    Endpoint(Endpoint),
}

/// How an export stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Export {
    /// By what the job is asked for.
    handle: String,
    begun_ms: i64,
    asked: u32,
    /// The job is done.
    ready: bool,
    /// The URL of its file, where it tells one.
    file: Option<String>,
    /// Which of several answers the file is read in now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answer: Option<String>,
    /// Where the next piece of the file, or of that answer, begins.
    at: u64,
    /// The length of the file, once known.
    total: Option<u64>,
}

impl HttpConnector {
    /// One page of a list that is made as a job. While the job runs, and when it has just been
    /// begun, that is a page without records.
    pub(super) async fn export(
        &self,
        calls: &Calls,
        object: &ObjectSpec,
        list: &ListSpec,
        spec: &ExportSpec,
        since: Option<&Cursor>,
        run: Run,
    ) -> Result<Page, ConnectorError> {
        match run.export.clone() {
            None => self.begin_export(calls, object, list, spec, since, run).await,
            Some(export) if export.ready => self.read_export(calls, object, list, spec, since, run, export).await,
            Some(export) => self.ask_export(calls, list, spec, run, export).await,
        }
    }

    async fn begin_export(
        &self,
        calls: &Calls,
        object: &ObjectSpec,
        list: &ListSpec,
        spec: &ExportSpec,
        since: Option<&Cursor>,
        mut run: Run,
    ) -> Result<Page, ConnectorError> {
        let ask = self.ask_page(list, None, since, &run)?;
        let reply = self.ask(calls, &list.endpoint, ask).await?;
        self.check_read(&reply, calls, expired(list, since))?;
        let json = reply.json().map_err(retry)?;
        if let Some(cursor) = list.cursor.as_ref().filter(|_| !run.deletions) {
            // Before the side looked at its records, so that what changes meanwhile comes again.
            self.track(cursor, object, &mut run, &reply, json, &[]);
        }
        run.step(&list.page).map_err(fail)?;
        let place = &reply.place;
        let handle = spec.job.handle(json).map_err(|reason| retry(format!("{place}: {reason}")))?;
        let begun_ms = self.now().timestamp_millis();
        let mut export =
            Export { handle, begun_ms, asked: 0, ready: false, file: None, answer: None, at: 0, total: None };
        match spec.job.state(json) {
            JobState::Running => {}
            JobState::Done => set_file(spec, &mut export, &reply, json)?,
            JobState::Failed => return self.begun_anew(run, self.caller.sentence(&reply)),
        }
        Ok(waited_for(spec, run, export))
    }

    async fn ask_export(
        &self,
        calls: &Calls,
        list: &ListSpec,
        spec: &ExportSpec,
        mut run: Run,
        mut export: Export,
    ) -> Result<Page, ConnectorError> {
        let taken_ms = self.now().timestamp_millis().saturating_sub(export.begun_ms);
        if u64::try_from(taken_ms).unwrap_or(0) > spec.job.most_ms {
            let within_s = spec.job.most_ms / 1_000;
            return self.begun_anew(run, format!("the export '{}' took longer than {within_s} s", export.handle));
        }
        run.step(&list.page).map_err(fail)?;
        let request = self.job_request(&spec.job, &export.handle).map_err(fail)?;
        let reply = self.send_read(calls, request).await?;
        if is_forgotten(reply.judge(&self.file, self.now()).meaning) {
            return self.begun_anew(run, self.caller.sentence(&reply));
        }
        self.check_read(&reply, calls, None)?;
        let json = reply.json().map_err(retry)?;
        export.asked = export.asked.saturating_add(1);
        match spec.job.state(json) {
            JobState::Running => {}
            JobState::Done => set_file(spec, &mut export, &reply, json)?,
            JobState::Failed => return self.begun_anew(run, self.caller.sentence(&reply)),
        }
        Ok(waited_for(spec, run, export))
    }

    #[expect(clippy::too_many_arguments, reason = "a list, where it stands, and its file")]
    async fn read_export(
        &self,
        calls: &Calls,
        object: &ObjectSpec,
        list: &ListSpec,
        spec: &ExportSpec,
        since: Option<&Cursor>,
        mut run: Run,
        mut export: Export,
    ) -> Result<Page, ConnectorError> {
        let exchange = self.exchange_read(calls, self.file_request(spec, &export)?).await?;
        let Exchange { answer, .. } = &exchange;
        let past_the_end = answer.status == 416 && export.total == Some(export.at);
        if !past_the_end && !matches!(answer.status, 200 | 206) {
            let reply = self.caller.reply(exchange);
            let meaning = reply.judge(&self.file, self.now()).meaning;
            if is_forgotten(meaning) || matches!(meaning, Meaning::Unauthorised | Meaning::Invalid) {
                return self.file_is_gone(spec, run, export, &reply);
            }
            self.check_read(&reply, calls, None)?;
            return Err(retry(self.caller.sentence(&reply)));
        }
        if answer.header("content-encoding").is_some_and(|kind| !kind.eq_ignore_ascii_case("identity")) {
            return Err(fail(format!("{}: the file is compressed, which was not asked for", exchange.place)));
        }
        let range = answer.header("content-range").and_then(content_range).filter(|_| answer.status != 200);
        let (text, rows);
        let mut piece = match spec.format {
            _ if past_the_end => Piece { records: Vec::new(), broken: Vec::new(), next: export.at, is_last: true },
            Format::Lines => {
                let (bytes, ends, total) = match cut(&answer.body, range, export.at) {
                    Ok(cut) => cut,
                    Err(reason) => return Err(retry(format!("{}: {reason}", exchange.place))),
                };
                if export.total.is_some() && total.is_some() && export.total != total {
                    let message = format!("{}: the file has changed while it was read", exchange.place);
                    return self.begun_anew(run, message);
                }
                export.total = total.or(export.total);
                lines(bytes, export.at, ends).map_err(|reason| fail(format!("{}: {reason}", exchange.place)))?
            }
            Format::Csv => {
                let text = std::str::from_utf8(&answer.body)
                    .map_err(|_| retry(format!("{}: the file is no UTF-8", exchange.place)))?;
                // An entry around the record has its paths elsewhere.
                let needed: Vec<&Path> = object.id.paths().filter(|_| list.item.is_none()).collect();
                rows = csv::rows(text, &needed, export.at)
                    .map_err(|reason| retry(format!("{}: {reason}", exchange.place)))?;
                rows.piece()
            }
            Format::Json => {
                text = String::from_utf8_lossy(&answer.body);
                let some = some_of(&text, list.records.as_ref(), export.at);
                some.map_err(|reason| retry(format!("{}: {reason}", exchange.place)))?
            }
        };
        run.step(&list.page).map_err(fail)?;
        let mut answer_ends = false;
        if let Some((header, _)) = spec.next.as_ref().filter(|_| piece.is_last) {
            let told = answer.header(header).map(str::trim).filter(|told| !told.is_empty() && *told != "null");
            if told.is_some() && told == export.answer.as_deref() {
                return Err(fail(format!("{}: the answers repeat: the same continuation came twice", exchange.place)));
            }
            if let Some(told) = told {
                export.answer = Some(told.to_owned());
                (piece.is_last, answer_ends) = (false, true);
            }
        }
        let at_start = export.at == 0;
        if let Some((line, text)) = piece.broken.first().filter(|_| at_start && piece.records.is_empty()) {
            // A page of HTML, say, and no list at all.
            let said = self.caller.redact(text);
            return Err(retry(format!("{}: line {line} of the file is not JSON: {said}", exchange.place)));
        }
        let place = |number: usize| format!("record {number} from {} of the export", export.at);
        let mut parsed: Vec<Parsed<'_>> = Vec::with_capacity(piece.records.len());
        for (i, raw) in piece.records.iter().enumerate() {
            parsed.push(parse_in(object, list, raw, &place(i), false));
        }
        if let Some(cursor) = list.cursor.as_ref().filter(|_| !run.deletions) {
            let json: &RawValue = serde_json::from_str("null").map_err(|error| fail(error.to_string()))?;
            self.track(cursor, object, &mut run, &exchange.head(), json, &parsed);
        }
        let broken: Vec<Entry> = piece
            .broken
            .iter()
            .map(|(line, text)| {
                broken(text, &format!("line {line} from {} of the export", export.at), "it is not JSON")
            })
            .collect();
        let turn = Turn { goes_on: !piece.is_last, drifted: false, overlaps: false };
        export.at = if answer_ends { 0 } else { piece.next };
        run.export = turn.goes_on.then_some(export);
        let mut page = self.finish_page(calls, object, list, since, run, Found { parsed, turn, total: None }).await?;
        page.entries.extend(broken);
        Ok(page)
    }

    /// What asks for the next piece of a file.
    fn file_request(&self, spec: &ExportSpec, export: &Export) -> Result<Prepared, ConnectorError> {
        let mut request = match &spec.file {
            FilePlace::Endpoint(endpoint) => {
                let ids = PathIds { id: Some(&export.handle), ..PathIds::default() };
                let mut query = spec.query.clone();
                let param = spec.next.as_ref().zip(export.answer.as_ref());
                query.extend(param.map(|((_, param), answer)| (param.clone(), answer.clone())));
                let url = self.caller.url(&endpoint.path, ids, &query).map_err(fail)?;
                Prepared::to(endpoint, url, &self.file.headers)
            }
            FilePlace::Url { origin, .. } => {
                let link = export.file.as_deref().ok_or_else(|| fail("the page token names no file"))?;
                let foreign = origin.as_ref().and_then(|origin| foreign_url(origin, link));
                match foreign {
                    Some(url) => Prepared { is_foreign: true, ..Prepared::new(Method::Get, url, &[], &[]) },
                    None => {
                        let url = self.caller.next_url(&self.caller.base, link).map_err(fail)?;
                        Prepared::new(Method::Get, url, &self.file.headers, &[])
                    }
                }
            }
        };
        request.set_header("Accept", "*/*");
        request.set_header("Accept-Encoding", "identity");
        if spec.format == Format::Lines {
            request.part = Some(Part { from: export.at, most: PIECE_BYTES });
        }
        Ok(request)
    }

    /// The file is not to be had at the URL it had: it may be at another one by now.
    fn file_is_gone(
        &self,
        spec: &ExportSpec,
        mut run: Run,
        export: Export,
        reply: &Reply,
    ) -> Result<Page, ConnectorError> {
        let said = self.caller.sentence(reply);
        if run.anew >= MAX_ANEW {
            return Err(fail(format!("the file of the export cannot be read: {said}")));
        }
        tracing::warn!(said, "the file of an export is not to be had any more; its job is asked again");
        run.anew += 1;
        Ok(waited_for(spec, run, Export { ready: false, file: None, asked: 0, ..export }))
    }

    /// Begins the list anew with another job. What came of the one before stays.
    fn begun_anew(&self, mut run: Run, why: String) -> Result<Page, ConnectorError> {
        if run.anew >= MAX_ANEW {
            return Err(fail(format!("an export was begun {} times in vain: {why}", MAX_ANEW + 1)));
        }
        tracing::warn!(why, "an export is begun anew");
        run.anew += 1;
        run.export = None;
        Ok(nothing_yet(&run))
    }
}

/// The statuses that mean that a position is no longer known, where there is one.
pub(super) fn expired<'l>(list: &'l ListSpec, since: Option<&Cursor>) -> Option<&'l [u16]> {
    list.cursor.as_ref().filter(|_| since.is_some()).map(|cursor| &cursor.expired[..])
}

/// Whether an answer says that there is no such job or file any more.
fn is_forgotten(meaning: Meaning) -> bool {
    matches!(meaning, Meaning::Missing | Meaning::Expired | Meaning::BeginAnew)
}

/// A page without records, after which the job is asked, or its file read where it is done.
fn waited_for(spec: &ExportSpec, mut run: Run, export: Export) -> Page {
    let again_after_ms = (!export.ready).then(|| spec.job.interval_ms(export.asked));
    run.export = Some(export);
    Page { again_after_ms, ..nothing_yet(&run) }
}

fn nothing_yet(run: &Run) -> Page {
    let mut page = Page::last(Vec::new());
    page.next = Some(run.to_token());
    page
}

/// The job is done: notes where its file is.
fn set_file(spec: &ExportSpec, export: &mut Export, reply: &Reply, json: &RawValue) -> Result<(), ConnectorError> {
    export.ready = true;
    if let FilePlace::Url { path, .. } = &spec.file {
        let found = at(json, Some(path)).ok().flatten().and_then(text_of).filter(|text| !text.is_empty());
        let missing = || format!("{}: the job is done, but there is no file at '{path}'", reply.place);
        export.file = Some(found.ok_or_else(|| retry(missing()))?);
    }
    Ok(())
}

/// A URL of another origin than the app's, if that is the one which the file permits.
fn foreign_url(origin: &Url, link: &str) -> Option<Url> {
    let mut url = Url::parse(link).ok()?;
    url.set_fragment(None);
    (url.origin() == origin.origin()).then_some(url)
}

/// The bytes of a piece from where it is wanted, whether the file ends with it, and how long the
/// file is. A side that knows no ranges sends all of it.
fn cut(body: &[u8], range: Option<Span>, wanted: u64) -> Result<(&[u8], bool, Option<u64>), String> {
    let Some(Span { from, total }) = range else {
        let from = usize::try_from(wanted).unwrap_or(usize::MAX);
        let rest = body.get(from..).ok_or_else(|| format!("the file has {} bytes and no more", body.len()))?;
        let piece = usize::try_from(PIECE_BYTES).map_or(rest, |most| &rest[..rest.len().min(most)]);
        return Ok((piece, piece.len() == rest.len(), Some(body.len() as u64)));
    };
    if from != wanted {
        return Err(format!("asked for the file from byte {wanted}, got it from {from}"));
    }
    let end = from + body.len() as u64;
    let ends = match total {
        Some(total) if end > total => return Err(format!("{end} bytes of a file of {total}")),
        Some(total) => end == total,
        None => (body.len() as u64) < PIECE_BYTES,
    };
    if body.is_empty() && !ends {
        return Err("nothing of the file has come".to_owned());
    }
    Ok((body, ends, total))
}
