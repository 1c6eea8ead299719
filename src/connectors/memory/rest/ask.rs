//! What a request asks for, read by the dialect it is written in.

use percent_encoding::percent_decode_str;
use url::Url;

use super::dialect::{API, ApiChanges, ApiPages, ApiTime, ApiUpdates, Dialect, OBJECT, Own};
use crate::connectors::http::{HttpRequest, Method};
use crate::connectors::memory::faults::{CallKind, CallShape, On, Part};
use crate::connectors::memory::log::Operation;
use crate::connectors::memory::world::FIRST_MOMENT_MS;
use crate::model::cursor::Cursor;
use crate::model::ids::{ObjectName, RecordId, Version};
use crate::model::path::Path;
use crate::model::record::Body;
use crate::model::value::Value;
use crate::model::write::{Change, Create, CreateRecovery, Delete, Update, Write};

/// A request, or one within a batch.
#[derive(Debug, Clone)]
pub(super) struct Incoming {
    method: Method,
    /// Decoded, without the path of the API.
    path: Vec<String>,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    body: Option<Value>,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub(super) enum Asked {
    List(ListAsk),
    /// One record by its own address.
    One(RecordId),
    /// Several in one request.
    Many(Vec<RecordId>),
    /// Records by the values at these paths, as texts.
    Find(Vec<(String, String)>),
    /// One write to its own address.
    Write(WriteAsk),
    /// Several writes and the form in which their results are listed.
    Batch(Vec<WriteAsk>, Results),
    /// There is no such address, or what was sent cannot be understood.
    Nonsense(String),
}

/// One write.
#[derive(Debug, Clone)]
pub(super) struct WriteAsk {
    pub write: Write,
    /// Makes the record if it is missing.
    pub upsert: bool,
}

/// How the results of a batch are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Results {
    Answers,
    Records,
}

/// A page of a list.
#[derive(Debug, Clone, Default)]
pub(super) struct ListAsk {
    /// As it was sent.
    pub since: Option<String>,
    pub limit: usize,
    /// Counted from 1.
    pub page: u32,
    pub skip: usize,
    pub resume: Option<Resume>,
    /// The page token as it was sent.
    pub token: Option<String>,
}

/// Where a list goes on, as it stands in a page token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resume {
    /// Numbers the list, so that no token of one is a token of another.
    pub list: u64,
    pub page: u32,
    /// The last change that was shown when the list began.
    pub begin: u64,
    /// Where the page before ended.
    pub after: (i64, u64),
    pub since: Option<String>,
    pub after_id: String,
}

impl Resume {
    pub fn to_token(&self) -> String {
        let Self { list, page, begin, after: (modified_ms, change), since, after_id } = self;
        let since = since.as_deref().unwrap_or_default();
        format!("{list};{page};{begin};{modified_ms};{change};{since};{after_id}")
    }

    fn of_token(token: &str) -> Option<Self> {
        let mut parts = token.splitn(7, ';');
        Some(Self {
            list: parts.next()?.parse().ok()?,
            page: parts.next()?.parse().ok()?,
            begin: parts.next()?.parse().ok()?,
            after: (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?),
            since: parts.next().map(str::to_owned).filter(|since| !since.is_empty()),
            after_id: parts.next()?.to_owned(),
        })
    }
}

impl Incoming {
    pub fn of(request: &HttpRequest) -> Option<Self> {
        let url = Url::parse(&request.url).ok()?;
        let body = match &request.body {
            Some(text) => Some(Value::from_json(text).ok()?),
            None => None,
        };
        Self::new(request.method, &url, request.headers.clone(), body)
    }

    fn new(method: Method, url: &Url, headers: Vec<(String, String)>, body: Option<Value>) -> Option<Self> {
        let rest = url.path().strip_prefix(API)?.strip_prefix('/')?;
        let decoded = |segment: &str| percent_decode_str(segment).decode_utf8().ok().map(|text| text.into_owned());
        let path = rest.split('/').map(decoded).collect::<Option<Vec<String>>>()?;
        let query = url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        Some(Self { method, path, query, headers, body })
    }

    /// A request within a batch.
    fn of_item(item: &Value) -> Option<Self> {
        let text = |key: &str| item.get(&Path::key(key)).and_then(Value::as_str);
        let method = [Method::Get, Method::Post, Method::Put, Method::Patch, Method::Delete];
        let method = method.into_iter().find(|method| Some(method.as_str()) == text("method"))?;
        let url = Url::parse("https://batch.invalid").ok()?.join(text("path")?).ok()?;
        let headers = match item.get(&Path::key("headers")) {
            Some(Value::Object(headers)) => headers.clone(),
            Some(_) | None => Vec::new(),
        };
        let headers = headers.into_iter().filter_map(|(name, value)| Some((name, value.as_str()?.to_owned())));
        Self::new(method, &url, headers.collect(), item.get(&Path::key("body")).cloned())
    }

    pub fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// What it asks for.
    pub fn asked(&self, dialect: &Dialect) -> Asked {
        let object = OBJECT.trim_start_matches('/');
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        let (first, rest) = path.split_first().map_or(("", &[][..]), |(first, rest)| (*first, rest));
        let operation = first.strip_prefix(object);
        match (self.method, operation, rest) {
            (Method::Get, Some(""), []) => self.list(dialect),
            (Method::Get, Some("-many"), []) => Asked::Many(self.ids()),
            (Method::Get, Some("-search"), []) => Asked::Find(self.searched()),
            (Method::Get, Some(""), [id]) => Asked::One(RecordId::from(*id)),
            (Method::Post, Some("-batch"), [operation]) => self.records(dialect, operation),
            (Method::Post, None, []) if first == "batch" => self.requests(dialect),
            (_, Some(""), _) => match self.write(dialect, rest) {
                Some(write) => Asked::Write(write),
                None => Asked::Nonsense("this cannot be done here".to_owned()),
            },
            (_, _, _) => Asked::Nonsense(format!("there is nothing at /{}", path.join("/"))),
        }
    }

    fn list(&self, dialect: &Dialect) -> Asked {
        let number = |name: &str| self.param(name).and_then(|text| text.parse::<usize>().ok());
        let limit = number("limit").unwrap_or(dialect.page_size).max(1);
        let mut ask = ListAsk { since: self.param("since").map(str::to_owned), limit, page: 1, ..ListAsk::default() };
        match dialect.pages {
            ApiPages::Numbers => {
                let page = number("page").unwrap_or(1).max(1);
                ask.skip = (page - 1) * limit;
                ask.page = u32::try_from(page).unwrap_or(u32::MAX);
            }
            ApiPages::Offset => {
                ask.skip = number("offset").unwrap_or(0);
                // Pages overlap by one record.
                let page = ask.skip / (limit - 1).max(1) + 1;
                ask.page = u32::try_from(page).unwrap_or(u32::MAX);
            }
            ApiPages::Token | ApiPages::LinkHeader | ApiPages::NextUrl => {
                if let Some(token) = self.param("after") {
                    let Some(resume) = Resume::of_token(token) else {
                        return Asked::Nonsense("the page token is not one of ours".to_owned());
                    };
                    ask.page = resume.page;
                    ask.since.clone_from(&resume.since);
                    ask.resume = Some(resume);
                    ask.token = Some(token.to_owned());
                }
            }
        }
        Asked::List(ask)
    }

    fn ids(&self) -> Vec<RecordId> {
        self.param("ids").unwrap_or_default().split('|').map(RecordId::from).collect()
    }

    /// Each path to search by, followed by its value.
    fn searched(&self) -> Vec<(String, String)> {
        let value = |at: usize| self.query.get(at + 1).filter(|(name, _)| name == "value").map(|(_, value)| value);
        let by = self.query.iter().enumerate().filter(|(_, (name, _))| name == "by");
        by.filter_map(|(at, (_, path))| Some((path.clone(), value(at)?.clone()))).collect()
    }

    fn write(&self, dialect: &Dialect, rest: &[&str]) -> Option<WriteAsk> {
        let changes = matches!(
            (self.method, dialect.updates),
            (Method::Patch, ApiUpdates::Patch)
                | (Method::Post, ApiUpdates::Post)
                | (Method::Put, ApiUpdates::Put | ApiUpdates::Upsert)
        );
        match (self.method, rest) {
            (Method::Post, []) => self.create(dialect, None),
            (Method::Put, [id]) if self.header("If-None-Match") == Some("*") => self.create(dialect, Some(id)),
            (Method::Delete, [id]) => {
                let delete = Delete { id: RecordId::from(*id), expected: self.expected() };
                Some(WriteAsk { write: Write::Delete(delete), upsert: false })
            }
            (_, [id]) if changes => {
                let update = update(dialect, RecordId::from(*id), self.expected(), self.body.clone()?);
                let upsert = dialect.updates == ApiUpdates::Upsert && self.header("If-Match").is_none();
                Some(WriteAsk { write: Write::Update(update), upsert })
            }
            (_, _) => None,
        }
    }

    /// The version that a write insists on; any version will do for `*`.
    fn expected(&self) -> Option<Version> {
        let text = self.header("If-Match")?;
        (text != "*").then(|| Version::from(text.trim_start_matches("W/").trim_matches('"')))
    }

    fn create(&self, dialect: &Dialect, id: Option<&str>) -> Option<WriteAsk> {
        let body = self.body.clone()?;
        let at = |path: &Path| body.get(path).and_then(Value::as_str).map(str::to_owned);
        let trace = match dialect.create {
            CreateRecovery::ClientId => id.map(str::to_owned).or_else(|| at(&dialect.own(Own::Id))),
            CreateRecovery::ExternalId => at(&dialect.own(Own::ExternalId)),
            CreateRecovery::IdempotencyKey { .. } | CreateRecovery::Find { .. } | CreateRecovery::Park => {
                at(&Path::key("trace"))
            }
        };
        let record = match dialect.create {
            CreateRecovery::ClientId | CreateRecovery::ExternalId => body,
            CreateRecovery::IdempotencyKey { .. } | CreateRecovery::Find { .. } | CreateRecovery::Park => {
                body.get(&Path::key("record"))?.clone()
            }
        };
        let key = self.header("Idempotency-Key").unwrap_or_default().to_owned();
        Some(create(dialect, record, trace.unwrap_or_default(), key))
    }

    fn requests(&self, dialect: &Dialect) -> Asked {
        let items = self.body.as_ref().and_then(|body| body.get(&Path::key("requests")));
        let Some(Value::Array(items)) = items else { return Asked::Nonsense("no list of requests".to_owned()) };
        let writes = items.iter().map(|item| match Incoming::of_item(item)?.asked(dialect) {
            Asked::Write(write) => Some(write),
            Asked::List(_)
            | Asked::One(_)
            | Asked::Many(_)
            | Asked::Find(_)
            | Asked::Batch(..)
            | Asked::Nonsense(_) => None,
        });
        match writes.collect::<Option<Vec<WriteAsk>>>() {
            Some(writes) => Asked::Batch(writes, Results::Answers),
            None => Asked::Nonsense("a request of the batch cannot be understood".to_owned()),
        }
    }

    fn records(&self, dialect: &Dialect, operation: &str) -> Asked {
        let items = self.body.as_ref().and_then(|body| body.get(&Path::key("inputs")));
        let Some(Value::Array(items)) = items else { return Asked::Nonsense("no list of records".to_owned()) };
        let writes = items.iter().map(|item| {
            let text = |key: &str| item.get(&Path::key(key)).and_then(Value::as_str).map(str::to_owned);
            let record = item.get(&Path::key("record")).cloned();
            let expected = text("rev").map(Version::from);
            match operation {
                "create" => {
                    Some(create(dialect, record?, text("trace").unwrap_or_default(), text("key").unwrap_or_default()))
                }
                "update" => {
                    let update = update(dialect, RecordId::from(text("id")?), expected, record?);
                    Some(WriteAsk { write: Write::Update(update), upsert: false })
                }
                "delete" => {
                    let delete = Delete { id: RecordId::from(text("id")?), expected };
                    Some(WriteAsk { write: Write::Delete(delete), upsert: false })
                }
                _ => None,
            }
        });
        match writes.collect::<Option<Vec<WriteAsk>>>() {
            Some(writes) => Asked::Batch(writes, Results::Records),
            None => Asked::Nonsense("a record of the batch cannot be understood".to_owned()),
        }
    }
}

fn create(dialect: &Dialect, record: Value, external_id: String, idempotency_key: String) -> WriteAsk {
    let record = without_own(dialect, record);
    WriteAsk { write: Write::Create(Create { record, idempotency_key, external_id }), upsert: false }
}

fn update(dialect: &Dialect, id: RecordId, expected: Option<Version>, body: Value) -> Update {
    let body = without_own(dialect, body);
    match dialect.updates {
        ApiUpdates::Put | ApiUpdates::Upsert => {
            Update { id, expected, current: Some(Body::from_value(&body)), changes: Vec::new() }
        }
        ApiUpdates::Patch | ApiUpdates::Post => {
            let mut changes = Vec::new();
            flatten(dialect, &mut Vec::new(), body, &mut changes);
            Update { id, expected, current: None, changes }
        }
    }
}

/// What is sent of the fields that the app keeps itself says nothing.
fn without_own(dialect: &Dialect, mut record: Value) -> Value {
    for own in [Own::Id, Own::Version, Own::Modified, Own::Change, Own::ExternalId, Own::Gone] {
        let path = dialect.own(own);
        record.remove(&path.segments().first().map_or(path.clone(), |first| Path::key(first.as_str())));
    }
    record
}

/// The changes that a merge of this body means: one for each leaf.
fn flatten(dialect: &Dialect, keys: &mut Vec<String>, value: Value, changes: &mut Vec<Change>) {
    match value {
        Value::Object(entries) if !entries.is_empty() || keys.is_empty() => {
            for (key, value) in entries {
                keys.push(key);
                flatten(dialect, keys, value, changes);
                keys.pop();
            }
        }
        value => {
            let value = (value != Value::Null || !dialect.null_removes).then_some(value);
            if let Some(path) = path_of(keys) {
                changes.push(Change { path, value });
            }
        }
    }
}

fn path_of(keys: &[String]) -> Option<Path> {
    let quoted: Vec<String> =
        keys.iter().map(|key| format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""))).collect();
    quoted.join(".").parse().ok()
}

impl Asked {
    /// The call as faults see it.
    pub fn shape<'a>(&self, name: &'a ObjectName) -> CallShape<'a> {
        let ids = |ids: &[RecordId]| ids.iter().map(|id| Part { on: On::Ids, id: Some(id.clone()) }).collect();
        let (kind, parts) = match self {
            Asked::List(ask) => {
                let continued = ask.page > 1;
                (CallKind::List { page: ask.page, changes: ask.since.is_some(), continued }, Vec::new())
            }
            Asked::One(id) => (CallKind::Ids, ids(std::slice::from_ref(id))),
            Asked::Many(many) => (CallKind::Ids, ids(many)),
            Asked::Find(_) | Asked::Nonsense(_) => (CallKind::Find, Vec::new()),
            Asked::Write(write) => (CallKind::Write, vec![Part::of(&write.write)]),
            Asked::Batch(writes, _) => (CallKind::Write, writes.iter().map(|write| Part::of(&write.write)).collect()),
        };
        CallShape { kind, object: name, parts }
    }

    /// A read as it stands in the log; writes are logged one by one.
    pub fn operation(&self) -> Option<Operation> {
        match self {
            Asked::List(ask) => Some(match &ask.since {
                None => Operation::ReadAll { page: ask.page },
                Some(since) => Operation::ReadChanges { since: Cursor::new(since.as_str()), page: ask.page },
            }),
            Asked::One(id) => Some(Operation::ReadIds(vec![id.clone()])),
            Asked::Many(ids) => Some(Operation::ReadIds(ids.clone())),
            Asked::Find(wanted) => {
                let wanted =
                    wanted.iter().filter_map(|(path, text)| Some((path.parse().ok()?, Value::string(text.as_str()))));
                Some(Operation::Find(wanted.collect()))
            }
            Asked::Write(_) | Asked::Batch(..) | Asked::Nonsense(_) => None,
        }
    }

    /// Its writes.
    pub fn writes(&self) -> &[WriteAsk] {
        match self {
            Asked::Write(write) => std::slice::from_ref(write),
            Asked::Batch(writes, _) => writes,
            Asked::List(_) | Asked::One(_) | Asked::Many(_) | Asked::Find(_) | Asked::Nonsense(_) => &[],
        }
    }
}

/// Where changes are asked for from: a stamp in the app's milliseconds, or a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Since {
    Stamp(i64),
    Change(u64),
}

/// A position as it was sent; `None` when it is none.
pub(super) fn since(dialect: &Dialect, text: &str) -> Option<Since> {
    match dialect.changes {
        ApiChanges::None => None,
        ApiChanges::Time { unit, .. } => {
            let unix_ms = match unit {
                ApiTime::Iso => chrono::DateTime::parse_from_rfc3339(text).ok()?.timestamp_millis(),
                ApiTime::Seconds => text.parse::<i64>().ok()?.checked_mul(1_000)?,
                ApiTime::Millis => text.parse::<i64>().ok()?,
            };
            Some(Since::Stamp(unix_ms.saturating_sub(FIRST_MOMENT_MS)))
        }
        ApiChanges::Sequence { .. } => text.parse().ok().map(Since::Change),
        ApiChanges::Token { .. } | ApiChanges::Url => text.strip_prefix('p')?.parse().ok().map(Since::Change),
    }
}
