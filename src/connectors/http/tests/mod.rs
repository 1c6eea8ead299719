//! The connector against a transport that answers as told.

mod answers;
mod asking;
mod contract;
mod feeds;
mod files;
mod forms;
mod hostile;
mod ids;
mod jobs;
mod limits;
mod network;
mod positions;
mod properties;
mod reading;
mod sessions;
mod short;
mod writing;
mod xml;

use std::cell::RefCell;
use std::time::Duration;

use super::*;
use crate::model::cursor::{Cursor, PageToken};
use crate::model::ids::RecordId;
use crate::model::path::Path;
use crate::model::record::{Entry, Record};
use crate::model::value::Value;

type Answer = Result<HttpResponse, TransportError>;
type Script = dyn FnMut(&HttpRequest) -> Answer;

/// A transport that asks a function and keeps what was asked.
struct Fake {
    log: RefCell<Vec<HttpRequest>>,
    answer: RefCell<Box<Script>>,
}

#[async_trait(?Send)]
impl Transport for Fake {
    async fn send(&self, request: HttpRequest) -> Answer {
        let answer = (self.answer.borrow_mut())(&request);
        self.log.borrow_mut().push(request);
        answer
    }
}

/// A connector under test, with what it sent.
struct Bench {
    connector: HttpConnector,
    fake: Rc<Fake>,
    calls: Calls,
}

fn clock() -> DateTime<Utc> {
    DateTime::parse_from_rfc3339("2026-11-23T12:00:00Z").unwrap().to_utc()
}

const BASE: &str = "https://api.example.com/v1";

fn ok(body: &str) -> Answer {
    Ok(HttpResponse::new(200, body))
}

fn status(status: u16, body: &str) -> Answer {
    Ok(HttpResponse::new(status, body))
}

impl Bench {
    fn new(file: &str, answer: impl FnMut(&HttpRequest) -> Answer + 'static) -> Self {
        Self::with_settings(file, HttpSettings::new(BASE), answer)
    }

    fn with_settings(file: &str, settings: HttpSettings, answer: impl FnMut(&HttpRequest) -> Answer + 'static) -> Self {
        let file = HttpConnectorFile::parse("test.toml", file).unwrap_or_else(|error| panic!("{error}"));
        let fake = Rc::new(Fake { log: RefCell::default(), answer: RefCell::new(Box::new(answer)) });
        let caller = Caller {
            transport: Rc::clone(&fake) as Rc<dyn Transport>,
            base: settings.base().unwrap(),
            auth: Auth::new(file.auth.as_ref(), &settings.credentials).unwrap(),
            credentials: settings.credentials,
            now: Arc::new(clock),
            sessions: Sessions::of(file.auth.as_ref()),
            together: file.together.clone(),
            xml: file.xml.clone(),
            telling: file.telling.clone(),
        };
        let calls = Calls::new(file.limits());
        let connector = HttpConnector { file: Arc::new(file), caller };
        Self { connector, fake, calls }
    }

    async fn read(&self, read: Read) -> Result<Page, ConnectorError> {
        self.connector.read(&self.calls, &"things".into(), read).await
    }

    async fn write(&self, writes: Vec<Write>) -> Vec<Outcome> {
        self.connector.write(&self.calls, &"things".into(), writes).await
    }

    /// All pages of a read.
    async fn pages(&self, since: Option<&str>) -> Result<Vec<Page>, ConnectorError> {
        let (mut pages, mut page) = (Vec::new(), None);
        loop {
            let read = match since {
                None => Read::All { page },
                Some(since) => Read::Changes { since: Cursor::new(since), page },
            };
            let one = self.read(read).await?;
            page = one.next.clone();
            tokio::time::sleep(Duration::from_millis(one.again_after_ms.unwrap_or(0))).await;
            pages.push(one);
            if page.is_none() {
                return Ok(pages);
            }
        }
    }

    /// Path and query of what was asked, without the base.
    fn asked(&self) -> Vec<String> {
        let short = |url: &str| url.strip_prefix(BASE).unwrap_or(url).to_owned();
        self.fake.log.borrow().iter().map(|request| short(&request.url)).collect()
    }

    fn sent(&self) -> Vec<HttpRequest> {
        self.fake.log.borrow().clone()
    }
}

/// The decoded value of one query parameter.
fn param(request: &HttpRequest, name: &str) -> Option<String> {
    let url = url::Url::parse(&request.url).unwrap();
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// Ids of live records, `-id` for deleted ones, `!place` for bad ones.
fn names(entries: &[Entry]) -> Vec<String> {
    let name = |entry: &Entry| match entry {
        Entry::Live(record) => record.id.to_string(),
        Entry::Deleted { id, .. } => format!("-{id}"),
        Entry::Bad(bad) => format!("!{}", bad.place),
    };
    entries.iter().map(name).collect()
}

fn ids_of(pages: &[Page]) -> Vec<String> {
    pages.iter().flat_map(|page| names(&page.entries)).collect()
}

fn value(json: &str) -> Value {
    Value::from_json(json).unwrap()
}

fn live(entry: &Entry) -> &Record {
    match entry {
        Entry::Live(record) => record,
        Entry::Deleted { .. } | Entry::Bad(_) => panic!("not live: {entry:?}"),
    }
}

/// A file with one object `things`; `list` are the lines of its list.
fn listing(list: &str) -> String {
    format!(
        r#"
name = "test"
[object.things]
id = "id"
modified = "at"
[object.things.list]
get = "/things"
{list}
[object.things.read]
get = "/things/{{id}}"
"#
    )
}

/// The outcome in a word, with what it names.
fn word(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Written(stored) => format!("written {}", stored.id),
        Outcome::Deleted => "deleted".into(),
        Outcome::Changed => "changed".into(),
        Outcome::Missing => "missing".into(),
        Outcome::Duplicate(id) => format!("duplicate {}", id.as_ref().map_or("?", RecordId::as_str)),
        Outcome::Rejected { path: Some(path), .. } => format!("rejected {path}"),
        Outcome::Rejected { path: None, .. } => "rejected".into(),
        Outcome::NotSent(error) => next_word(error.next),
        Outcome::Unknown(_) => "unknown".into(),
    }
}

/// What to do next, in a word.
fn next_word(next: NextStep) -> String {
    match next {
        NextStep::Wait { millis } => format!("wait {millis}"),
        NextStep::Retry
        | NextStep::Reauthorise
        | NextStep::Quarantine
        | NextStep::Fail
        | NextStep::Resync
        | NextStep::TreatAsDeleted => format!("{next:?}").to_lowercase(),
    }
}
