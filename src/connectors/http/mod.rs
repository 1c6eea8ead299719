//! The declarative HTTP connector: one TOML file describes an app's API, no code.
//!
//! [`HttpConnectorFile`] reads and checks the file, [`HttpSettings`] add what belongs to
//! one connection (where the app is, the credentials), and [`HttpFactory`] makes the
//! connector on the arbiter that uses it. The connector keeps nothing between calls: what
//! a read must remember travels in its page token. It never retries; errors and outcomes
//! say what to do next. All requests go through a [`Transport`], so tests and
//! simulations need no network.
//!
//! Answers are treated as hostile: bounded in size, never followed to another origin,
//! and a page that is not what the file declares is an error, never an empty list.
//!
//! # The language
//!
//! Paths (`"paging.next.after"`) lead into an answer or a record. An endpoint is a method
//! with a path (`get = "/contacts/{id}"`, in which `{path}` and `{object}` stand for the
//! object's own), and may have `query = { … }`, `headers = { … }`, `class` and `cost`. Unless
//! said otherwise a key may be left out.
//!
//! | Key | Meaning |
//! |---|---|
//! | `name` | what the connector is called; required |
//! | `auth` | `none`, `bearer`, `basic`, or a table of a `kind`: these, `header` (with `name`, `prefix`), `query` (with `name`), `client_credentials` (`url`, `scope`, `client`, `params`, `token`, `life`), `jwt_bearer` (`url`, `audience`, `scope`, `algorithm`, `claims`, `params`, `token`, `life`), `session` (`post`, `body`, `token` or `token_header`, `sent`, `name`, `prefix`, `life`) |
//! | `[headers]` | sent with every request |
//! | `[limits]` | `requests` or `points` in `per` (`resets`), further `windows = [{…}]`, `concurrency`, `pause` after a 429 that names no time, `lockout`, `wait`; `class.NAME` with windows of its own, `apart`, `exclusive`; `together`: of all connections; `told`, `cost`: what answers tell |
//! | `[xml]` | answers in XML: `lists`, `texts`, `objects` (paths from the root element on), `prefixes` of namespaces |
//! | `[errors]` | statuses that mean something unusual: `limited`, `unauthorised`, `missing`, `changed`, `duplicate`, `invalid`, `retry`; `[[errors.rules]]`: `class`, `status`, `header`, `path`, `is`, `pattern`, `wait`, `pause`, `field` |
//! | `[object.x]` | `path` (of all records: list, read, create, update and delete follow from it, each may be `false`), `like` (another object, which says what this one leaves out), `if_match`, `id` (one path, or several with `id_separator`), `id_type = "number"`, `json`, `empty_is_null`, `absent_is_null`, `properties` (`values`, `join`, `max_length`), `version`, `version_header`, `modified` (one path or several: the first that is not null), `modified_unit`, `zone`, `time_format`, `read_only`, `record` (where a single record stands in an answer), `read_lag` |
//! | `[object.x.list]` | required without `path`; an endpoint (a POST with `body`), `records` (where the list stands), `item` (where the record stands in an entry), `thin` (an entry only names its record), `page`, `cursor`, `deleted`, `job` (`url`, or `get` or `post` (`body`) with `id`; `status`, `done`, `failed`, `every`, `within`; `file` with `origin`, or `download`; `format`, `query`, `next`) |
//! | `[object.x.changes]` | changes listed by another request: as `list`, from which it has what it does not say |
//! | `[object.x.deletions]` | a list of deletions: an endpoint, `records`, `item`, `page`, `param` |
//! | `page` | `kind` and what continues: `none`; `page` (`param`, `first`); `offset` (`param`); `cursor` (`param`, `next`); `keyset` (`param`, `field`); `link_header` (`header`); `next_url` (`next`). With it `size`, `size_param`, `total`, `more`, `end = "empty"` or `"short"`, `max_pages`, `max_results`, `alone` |
//! | `cursor` | `kind`: `time` or `integer` (`param`, `field`, `unit`, `op`, `order`, `granularity`, `lookback`, `settle`, `header`), `opaque` (`next` or `header`; without `param` it is a URL). With it `format`, `query`, `retention`, `expired` |
//! | `deleted` | `{ flag = "path" }` or `{ tombstone = "path" }`, with a `value` unless any will do |
//! | `[object.x.read]` | an endpoint (a POST with `body`) with `{id}`, `missing` (404 and 410; a 401 or 403 is believed after a second look) |
//! | `[object.x.read_many]` | an endpoint, `param`, `join`, `size`, `records` |
//! | `[object.x.find]` | an endpoint, `params = { path = "parameter" }` (or a table of parameters around `{value}`), `encode = "json"` or `"odata"`, `records`, `page` |
//! | `[object.x.create]` | an endpoint (`{external_id}` where the client chooses the id), `body`, `null`, `recovery`, `duplicate`, `duplicate_text`, `duplicate_id`, `answer` |
//! | `recovery` | `find` (`settle`), `idempotency_key` (`header`, `life`), `external_id` (`field`), `client_id` (`field`), `park`. Without it `find` where `[find]` is declared, else `park` |
//! | `[object.x.update]` | an endpoint with `{id}`: PUT sends the whole record, PATCH and POST what changes (or `whole`); `body`, `if_match`, `makes_missing`, `absent` and `null` (each `null`, `omit` or `empty`), `keep_id`, `content_type`, `answer`, `missing`, `changed` |
//! | `[object.x.delete]` | an endpoint with `{id}`, `body`, `if_match`, `missing`, `changed` |
//! | `[webhook]` | `signature` (required; below), `events` (where a list of them stands), `object` for all events, or `type` with `objects = { "contact.*" = "contacts" }`, `id` (one path or several: the first that holds anything), `account`, `handshake = { query = "param" }` or `{ body = "path" }` |
//! | `signature` | `standard-webhooks`, `stripe`, `github`, `hubspot-v3`, `shopify`, `slack`, `basic`, `none`; `{ token = "header", prefix }`; `{ token_at = "path" }`; or `hmac` (`sha256`, `sha512`) with `header`, `encoding` (`hex`, `base64`), `prefix` or `list = { separator, between, name }`, `secret` (`text`, `whsec`), `timestamp` (a header) or `timestamp_entry` (of the list) with `timestamp_unit` and `tolerance`, `id` (a header), `signed`: a list of texts, `"{body}"`, `"{timestamp}"`, `"{id}"`, `"{method}"`, `"{url}"` |
//! | `[object.x.batch]` | `kind = "requests"`: an endpoint, `requests`, `responses`, `address`, `relative`, `by`; `kind = "records"`: `create`, `update`, `delete`, each an endpoint with `records`, `item`, `results`, `status`, `error`, `record`, `by`, `errors`, `errors_by` (also once for all of them), `place`, `whole`, `job`. With it `size` |
//!
//! In the query and body of what reads, `{cursor}`, `{page}`, `{size}`, `{param}`, `{value}`,
//! `{id}` and `{ids}` stand for what is asked; what stands for nothing is left out.
//!
//! A `body` of what writes is a path (an envelope around the record) or a tree; in a tree and in `item`
//! the texts `"{record}"`, `"{record.path}"`, `"{id}"`, `"{id.path}"`, `"{version}"`, `"{external_id}"`
//! and `"{idempotency_key}"` stand for those values, with their types.

mod ask;
mod batch;
mod body;
mod call;
mod compose;
mod csv;
mod cursor;
mod declared;
mod download;
mod entry;
mod export;
mod feeds;
pub(in crate::connectors) mod fields;
mod file;
mod forms;
mod guard;
mod id;
mod job;
mod jwt;
mod net;
mod outcome;
mod page;
mod parse_auth;
mod parse_job;
mod parse_limits;
mod parse_read;
mod parse_rules;
mod parse_write;
mod parts;
mod properties;
mod raw;
mod read;
mod refused;
mod resource;
mod rules;
mod send;
mod session;
mod settings;
mod spec;
mod summary;
mod telling;
mod template;
#[cfg(test)]
mod tests;
mod text;
mod time;
mod together;
mod transport;
mod write;
mod xml;

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

pub use file::HttpConnectorFile;
pub(crate) use parse_limits::required_window;
pub use settings::{Credentials, HttpSettings, SettingsProblem, Timeouts};
pub use summary::ObjectSummary;
pub use transport::{HttpRequest, HttpResponse, MAX_RESPONSE_BYTES, Method, Part, Transport, TransportError};

use crate::connectors::{Calls, Connector, ConnectorFactory, ConnectorScope, Read};
use crate::model::ids::ObjectName;
use crate::model::record::{Entry, Page};
use crate::model::write::{Capabilities, ConnectorError, CreateRecovery, NextStep, Outcome, UpdateStyle, Write};

use call::Caller;
use forms::Forms;
use net::NetTransport;
use session::Sessions;
use settings::Auth;
use spec::ObjectSpec;

/// Makes a transport on the arbiter that asks.
type MakeTransport = dyn Fn() -> Rc<dyn Transport> + Send + Sync;

/// A wall clock.
type Clock = dyn Fn() -> DateTime<Utc> + Send + Sync;

/// Makes HTTP connectors for one connection.
#[derive(Clone)]
pub struct HttpFactory {
    file: Arc<HttpConnectorFile>,
    settings: HttpSettings,
    transport: Option<Arc<MakeTransport>>,
    now: Arc<Clock>,
    /// Tokens that are fetched, shared by all connectors of the connection.
    sessions: Option<Arc<Sessions>>,
}

impl HttpFactory {
    /// A factory that calls over the network. Whether the settings fit the file is told
    /// by [`HttpFactory::problems`] and again when a connector is made.
    #[must_use]
    pub fn new(file: Arc<HttpConnectorFile>, settings: HttpSettings) -> Self {
        let sessions = Sessions::of(file.auth.as_ref());
        Self { file, settings, transport: None, now: Arc::new(Utc::now), sessions }
    }

    /// The connector file.
    #[must_use]
    pub fn file(&self) -> &HttpConnectorFile {
        &self.file
    }

    /// Calls through another transport instead; `make` is asked on each arbiter.
    #[must_use]
    pub fn with_transport(mut self, make: impl Fn() -> Rc<dyn Transport> + Send + Sync + 'static) -> Self {
        self.transport = Some(Arc::new(make));
        self
    }

    /// Takes the time from another clock.
    #[must_use]
    pub fn with_clock(mut self, now: impl Fn() -> DateTime<Utc> + Send + Sync + 'static) -> Self {
        self.now = Arc::new(now);
        self
    }

    /// Everything wrong with the settings, seen beside the connector file.
    #[must_use]
    pub fn problems(&self) -> Vec<SettingsProblem> {
        let auth = Auth::new(self.file.auth.as_ref(), &self.settings.credentials);
        self.settings.base().err().into_iter().chain(auth.err()).collect()
    }

    fn connector(&self) -> Result<HttpConnector, ConnectorError> {
        let fail = |message: String| ConnectorError::new(NextStep::Fail, message);
        let transport = match &self.transport {
            Some(make) => make(),
            None => Rc::new(NetTransport::on_this_thread(&self.settings.client_key()).map_err(fail)?),
        };
        let caller = Caller {
            transport,
            base: self.settings.base().map_err(|problem| fail(problem.to_string()))?,
            auth: Auth::new(self.file.auth.as_ref(), &self.settings.credentials)
                .map_err(|problem| fail(problem.to_string()))?,
            credentials: self.settings.credentials.clone(),
            now: Arc::clone(&self.now),
            sessions: self.sessions.clone(),
            together: self.file.together.clone(),
            xml: self.file.xml.clone(),
            telling: self.file.telling.clone(),
        };
        Ok(HttpConnector { file: Arc::clone(&self.file), caller })
    }
}

impl fmt::Debug for HttpFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, settings, transport: _, now: _, sessions: _ } = self;
        f.debug_struct("HttpFactory").field("file", &file.name()).field("settings", settings).finish()
    }
}

impl ConnectorFactory for HttpFactory {
    fn make(&self, _: &ConnectorScope) -> Result<Box<dyn Connector>, ConnectorError> {
        Ok(Box::new(self.connector()?))
    }
}

/// One connection's connector.
struct HttpConnector {
    file: Arc<HttpConnectorFile>,
    caller: Caller,
}

impl HttpConnector {
    fn object(&self, name: &ObjectName) -> Result<&ObjectSpec, ConnectorError> {
        self.file.object(name).ok_or_else(|| {
            let known: Vec<&str> = self.file.objects().map(ObjectName::as_str).collect();
            let message = format!(
                "the connector '{}' declares no object '{name}': it has {}",
                self.file.name(),
                known.join(", ")
            );
            ConnectorError::new(NextStep::Fail, message)
        })
    }

    fn now(&self) -> DateTime<Utc> {
        (self.caller.now)()
    }
}

#[async_trait(?Send)]
impl Connector for HttpConnector {
    fn told(&self, object: &ObjectName, text: &str) -> Option<Entry> {
        let object = self.object(object).ok()?;
        if object.parts.is_some() {
            // No text from elsewhere holds all that is read of a record.
            return None;
        }
        let raw = serde_json::from_str(text).ok()?;
        Some(entry::parse(object, raw, "told", false).entry)
    }

    fn capabilities(&self, object: &ObjectName) -> Result<Capabilities, ConnectorError> {
        self.object(object).map(capabilities)
    }

    async fn read(&self, calls: &Calls, object: &ObjectName, read: Read) -> Result<Page, ConnectorError> {
        let object = self.object(object)?;
        match read {
            Read::All { page } => self.list(calls, object, None, page).await,
            Read::Changes { since, page } => self.list(calls, object, Some(since), page).await,
            Read::Ids(ids) => self.read_ids(calls, object, &ids).await,
            Read::Find(fields) => self.find(calls, object, &fields).await,
            Read::ExternalId(id) => self.read_external_id(calls, object, &id).await,
        }
    }

    async fn write(&self, calls: &Calls, object: &ObjectName, writes: Vec<Write>) -> Vec<Outcome> {
        match self.object(object) {
            Ok(object) => self.write_all(calls, object, &writes).await,
            Err(error) => writes.iter().map(|_| Outcome::NotSent(error.clone())).collect(),
        }
    }
}

fn capabilities(object: &ObjectSpec) -> Capabilities {
    let update = object.update.as_ref();
    Capabilities {
        local: false,
        changes: object.list.as_ref().is_some_and(|list| list.cursor.is_some()),
        deletions: object.deleted.is_some()
            || object.deletions.is_some()
            || object.changes.as_ref().is_some_and(|changes| changes.deleted.is_some()),
        read_ids: match (&object.read, &object.read_many) {
            (None, _) => 0,
            (Some(_), None) => read::READ_IDS,
            (Some(_), Some(many)) => many.size,
        },
        find: object.find.iter().flat_map(|find| &find.params).map(|(path, _)| path.clone()).collect(),
        conditional: update.is_some_and(|update| update.if_match.is_some()),
        // A text that holds JSON is written as a whole, so the rest of it has to be known.
        update: match update {
            Some(update) if update.whole || object.forms.as_ref().is_some_and(Forms::has_json) => UpdateStyle::Whole,
            Some(_) | None => UpdateStyle::Fields,
        },
        batch: object.batch.as_ref().map_or(1, |batch| batch.size),
        writable: object.create.is_some() || update.is_some() || object.delete.is_some(),
        create: object.create.as_ref().map_or(CreateRecovery::Park, |create| create.recovery),
        read_after_write_lag_ms: object.read_after_write_lag_ms,
    }
}
