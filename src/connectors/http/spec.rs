//! What a connector file declares, as plain data. Made only by parsing a file, so that
//! everything in it has been checked.

use crate::model::budget::Charge;
use crate::model::ids::ObjectName;
use crate::model::path::Path;
use crate::model::value::Value;
use crate::model::write::CreateRecovery;

use super::export::ExportSpec;
use super::forms::{Forms, Nulls};
use super::id::IdSpec;
use super::job::JobSpec;
use super::page::Run;
use super::properties::Parts;
use super::session::SessionSpec;
use super::template::{Name, text_holds, tree_holds};
use super::time::Spelling;
use super::transport::Method;

/// Where the credentials go.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum AuthKind {
    None,
    Bearer,
    Basic,
    Header {
        name: String,
        prefix: String,
    },
    Query {
        name: String,
    },
    /// A token that is fetched.
    Fetched(Box<SessionSpec>),
}

/// What statuses mean for the whole app, beyond what they usually mean.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Statuses {
    pub limited: Vec<u16>,
    pub unauthorised: Vec<u16>,
    pub missing: Vec<u16>,
    pub changed: Vec<u16>,
    pub duplicate: Vec<u16>,
    pub invalid: Vec<u16>,
    pub retry: Vec<u16>,
}

/// One kind of record.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ObjectSpec {
    pub name: String,
    pub id: IdSpec,
    pub version: Option<Path>,
    pub version_header: Option<String>,
    /// The first that is not null counts.
    pub modified: Vec<Path>,
    pub modified_unit: Unit,
    /// How its times are written that are texts.
    pub spelling: Spelling,
    pub read_only: Vec<Path>,
    /// How its values stand in its records, where that is not as they are.
    pub forms: Option<Forms>,
    /// Where a single record stands in an answer; `None` for the top.
    pub record: Option<Path>,
    pub deleted: Option<DeletedSpec>,
    pub read_after_write_lag_ms: u64,
    /// How records are read whose properties do not fit into one request.
    pub parts: Option<Parts>,
    /// Its lists are read for each record of this object.
    pub parent: Option<ObjectName>,
    /// Further lists that feed it.
    pub also: Vec<Also>,
    pub list: Option<ListSpec>,
    /// How changes are listed, where that is another request than the list of everything.
    pub changes: Option<ListSpec>,
    /// A list of deletions of its own, read after the changes.
    pub deletions: Option<ListSpec>,
    pub read: Option<ReadSpec>,
    pub read_many: Option<ReadManySpec>,
    pub find: Option<FindSpec>,
    pub create: Option<CreateSpec>,
    pub update: Option<UpdateSpec>,
    pub delete: Option<DeleteSpec>,
    pub batch: Option<BatchSpec>,
}

/// A further list that feeds an object.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Also {
    pub name: String,
    pub list: ListSpec,
    pub changes: Option<ListSpec>,
    pub deletions: Option<ListSpec>,
}

/// One of the lists that feed an object, and how its changes and deletions are listed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Feed<'o> {
    pub list: Option<&'o ListSpec>,
    pub changes: Option<&'o ListSpec>,
    pub deletions: Option<&'o ListSpec>,
}

impl ObjectSpec {
    /// The object's own list.
    pub fn feed(&self) -> Feed<'_> {
        Feed { list: self.list.as_ref(), changes: self.changes.as_ref(), deletions: self.deletions.as_ref() }
    }
}

impl Also {
    pub fn feed(&self) -> Feed<'_> {
        Feed { list: Some(&self.list), changes: self.changes.as_ref(), deletions: self.deletions.as_ref() }
    }
}

impl<'o> Feed<'o> {
    /// Which list a read takes now.
    pub fn listing(&self, of_changes: bool, run: &Run) -> Option<&'o ListSpec> {
        match (of_changes, run.deletions) {
            (true, true) => self.deletions,
            (true, false) => self.changes.or(self.list),
            (false, _) => self.list,
        }
    }
}

/// One endpoint: what to send where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub method: Method,
    pub path: PathTemplate,
    pub query: Vec<(String, String)>,
    pub headers: Vec<(String, String)>,
    /// What a call of it counts as.
    pub charge: Charge,
}

/// The path of an endpoint, with places for ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PathTemplate(pub Vec<Piece>);

/// A piece of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    Id,
    /// The record for which the list is.
    Parent,
    /// One part of a composed id, by its path.
    IdPart(String),
    ExternalId,
}

impl PathTemplate {
    /// Whether the client chooses the id by the path.
    pub fn holds_external_id(&self) -> bool {
        self.0.contains(&Piece::ExternalId)
    }

    /// Whether some record is named by the path.
    pub fn holds_id(&self) -> bool {
        self.0.contains(&Piece::Id)
    }

    /// Whether the record stands in the path for which the list is.
    pub fn holds_parent(&self) -> bool {
        self.0.contains(&Piece::Parent)
    }

    /// Whether one part of an id stands in the path.
    pub fn holds_part(&self, name: &str) -> bool {
        self.0.iter().any(|piece| matches!(piece, Piece::IdPart(part) if part == name))
    }
}

/// Listing an object.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ListSpec {
    pub endpoint: Endpoint,
    /// What is sent with it, with [names](super::template) in it.
    pub body: Option<Value>,
    /// Where the list stands; `None` when the answer is the list.
    pub records: Option<Path>,
    /// Where the record stands in one entry of the list; `None` when the entry is the record.
    pub item: Option<Path>,
    /// An entry only names its record, which is read by its id.
    pub thin: bool,
    pub page: PageSpec,
    pub cursor: Option<CursorSpec>,
    /// How an entry says that its record is deleted, where that is said differently than by
    /// the object's records.
    pub deleted: Option<EntryDeleted>,
    /// The list is made as a job.
    pub export: Option<ExportSpec>,
}

/// Whether the query or the body of a request holds a name.
pub(super) fn request_holds(endpoint: &Endpoint, body: Option<&Value>, name: Name) -> bool {
    endpoint.query.iter().any(|(_, text)| text_holds(text, name)) || body.is_some_and(|body| tree_holds(body, name))
}

/// How an entry of a list of changes says that its record is deleted.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum EntryDeleted {
    /// By a field of its own.
    Field(DeletedSpec),
    /// By being in this list.
    Always,
}

/// How a list is divided into pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PageSpec {
    pub kind: PageKind,
    /// The parameter that asks for a size, unless query or body hold it, and the size.
    pub size: Option<(Option<String>, u64)>,
    pub total: Option<Path>,
    pub more: Option<Path>,
    pub end: Option<End>,
    pub max_pages: u64,
    /// Most records that the side gives in one list, whatever there are: the list is then begun
    /// anew from the newest position seen.
    pub max_results: Option<u64>,
    /// What continues the list stands alone: no other parameter is sent with it.
    pub alone: bool,
}

/// What continues a list. A `param` is `None` where query or body hold it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PageKind {
    /// The whole list is one answer.
    One,
    /// A page number, counted from `first`.
    Page { param: Option<String>, first: u64 },
    /// The number of records to skip.
    Offset { param: Option<String> },
    /// A token from the answer, sent back in a parameter.
    Cursor { param: Option<String>, next: Path },
    /// A field of the last record, sent back in a parameter.
    Keyset { param: Option<String>, field: Path },
    /// A URL in a header: `Link: <…>; rel="next"`, or the whole value of another one.
    LinkHeader { header: String },
    /// A URL in the body.
    NextUrl { next: Path },
}

impl PageKind {
    /// The same, for a request that holds in itself what continues it.
    pub fn without_param(self) -> Self {
        match self {
            PageKind::Page { first, .. } => PageKind::Page { param: None, first },
            PageKind::Offset { .. } => PageKind::Offset { param: None },
            PageKind::Cursor { next, .. } => PageKind::Cursor { param: None, next },
            PageKind::Keyset { field, .. } => PageKind::Keyset { param: None, field },
            PageKind::One | PageKind::LinkHeader { .. } | PageKind::NextUrl { .. } => self,
        }
    }

    /// The parameter that takes what continues the list, where there is one.
    pub fn param(&self) -> Option<&str> {
        match self {
            PageKind::Page { param, .. }
            | PageKind::Offset { param }
            | PageKind::Cursor { param, .. }
            | PageKind::Keyset { param, .. } => param.as_deref(),
            PageKind::One | PageKind::LinkHeader { .. } | PageKind::NextUrl { .. } => None,
        }
    }

    /// Whether records keep their page while others change, so that a page once read
    /// is done with.
    pub fn is_stable(&self) -> bool {
        match self {
            PageKind::One
            | PageKind::Cursor { .. }
            | PageKind::Keyset { .. }
            | PageKind::LinkHeader { .. }
            | PageKind::NextUrl { .. } => true,
            PageKind::Page { .. } | PageKind::Offset { .. } => false,
        }
    }
}

/// A page that ends the list, whatever else the answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// One without records.
    Empty,
    /// One with fewer records than asked for.
    Short,
}

/// How changes since a position are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CursorSpec {
    pub kind: CursorKind,
    /// The parameter that takes it; `None` where query or body hold it.
    pub param: Option<String>,
    /// The position is a URL by itself.
    pub is_url: bool,
    /// The text of a position where it is sent; `{cursor}` stands for the position itself.
    pub format: String,
    /// The file gives that text.
    pub has_format: bool,
    /// Parameters sent only when changes are asked for.
    pub query: Vec<(String, String)>,
    /// A header of the first answer that tells the position of the whole list.
    pub header: Option<String>,
    /// Statuses that mean that the position is no longer known.
    pub expired: Vec<u16>,
    /// How long the side remembers changes, in milliseconds; older positions are not asked for.
    pub retention_ms: Option<u64>,
}

impl CursorSpec {
    /// Whether a position is sent as a number where the request tells numbers from texts.
    pub fn is_number(&self) -> bool {
        let is_number = matches!(&self.kind, CursorKind::Ordered(spec) if !spec.is_time || spec.unit != Unit::Iso);
        is_number && !self.has_format
    }
}

/// What a position is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CursorKind {
    /// A time, or a number that only grows.
    Ordered(OrderedSpec),
    /// A text of the side's own, found at this path of the last page.
    Opaque { next: Option<Path> },
}

/// Positions that can be compared. Positions, lookback, settle and granularity of a time
/// are microseconds; of a number they are that number's own unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OrderedSpec {
    pub is_time: bool,
    /// Where it stands in a record; `None` for the record's modified time.
    pub field: Option<Path>,
    pub unit: Unit,
    /// How a time is written that is a text.
    pub spelling: Spelling,
    /// The side's comparison leaves the position itself out (`>`).
    pub exclusive: bool,
    pub granularity: i64,
    pub lookback: i64,
    pub settle: i64,
    /// The list is in ascending order of the position.
    pub ascending: bool,
    /// The records of this list do not tell the position: it is the server's clock at the
    /// list's first page.
    pub from_clock: bool,
}

/// How a time is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// ISO 8601 text in UTC.
    Iso,
    /// Seconds since 1970.
    Seconds,
    /// Milliseconds since 1970.
    Millis,
    /// Microseconds since 1970.
    Micros,
}

impl Unit {
    /// Length in microseconds; ISO text counts as its finest usual digit, 1 ms.
    pub fn micros(self) -> i64 {
        match self {
            Unit::Seconds => 1_000_000,
            Unit::Iso | Unit::Millis => 1_000,
            Unit::Micros => 1,
        }
    }
}

/// How a record of a list says that it is deleted.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct DeletedSpec {
    pub path: Path,
    /// `None`: anything but absent, null, false, zero and empty.
    pub value: Option<Value>,
    /// The entry is only a tombstone; else it is a whole record with a flag.
    pub tombstone: bool,
}

/// Reading one record by id.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ReadSpec {
    pub endpoint: Endpoint,
    /// What is sent with it, with [names](super::template) in it.
    pub body: Option<Value>,
    pub missing: Vec<u16>,
}

/// Reading several records by id in one request.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ReadManySpec {
    pub endpoint: Endpoint,
    /// What is sent with it, with [names](super::template) in it.
    pub body: Option<Value>,
    /// The parameter that takes the ids; `None` where query or body hold them.
    pub param: Option<String>,
    pub join: String,
    pub size: usize,
    pub records: Option<Path>,
}

/// Finding records by equality.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FindSpec {
    pub list: ListSpec,
    /// How each path is searched.
    pub params: Vec<(Path, SearchBy)>,
    /// How values are written.
    pub encode: SearchForm,
}

/// How a value that is searched for is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SearchForm {
    /// As it is.
    Text,
    /// As JSON: texts in double quotes.
    Json,
    /// As in OData: texts in single quotes, with those within doubled.
    Odata,
}

/// How a path is searched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SearchBy {
    /// By parameters, in which `{value}` stands for the value.
    Params(Vec<(String, String)>),
    /// By the side's name of the field: `{param}` in query or body.
    Name(String),
}

/// Creating a record.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CreateSpec {
    pub endpoint: Endpoint,
    pub body: Value,
    pub recovery: CreateRecovery,
    /// Where the external id is written in the record.
    pub external_id_field: Option<Path>,
    pub nulls: Nulls,
    pub idempotency_header: Option<String>,
    /// The answer holds the whole record as stored.
    pub answers_record: bool,
    pub duplicate: Vec<u16>,
    /// What such an answer must hold to mean that.
    pub duplicate_text: Option<String>,
    /// Where the answer to a duplicate names the existing record.
    pub duplicate_id: Option<Path>,
}

/// What becomes of a key that is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Absent {
    /// It is written as null.
    Null,
    /// It is left out.
    Omit,
    /// It is written as the empty text.
    Empty,
}

/// Updating a record.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct UpdateSpec {
    pub endpoint: Endpoint,
    pub body: Value,
    /// The whole record is sent.
    pub whole: bool,
    /// The id stays in the record that is sent.
    pub keep_id: bool,
    pub absent: Absent,
    pub nulls: Nulls,
    /// The answer holds the whole record as stored.
    pub answers_record: bool,
    /// The `If-Match` text; `{version}` stands for the version.
    pub if_match: Option<String>,
    /// The side makes a record that is missing, unless `If-Match: *` forbids it.
    pub makes_missing: bool,
    pub missing: Vec<u16>,
    pub changed: Vec<u16>,
}

/// Deleting a record.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct DeleteSpec {
    pub endpoint: Endpoint,
    pub body: Option<Value>,
    pub if_match: Option<String>,
    pub missing: Vec<u16>,
    pub changed: Vec<u16>,
}

/// Writing several records in one request.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct BatchSpec {
    pub size: usize,
    pub kind: BatchKind,
}

/// The two shapes of batches.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum BatchKind {
    /// A list of whole requests, any mixture, answered by a list of whole answers.
    Requests {
        endpoint: Endpoint,
        /// Where the list of requests stands in the body.
        requests: Path,
        /// Where the list of answers stands.
        responses: Path,
        /// The key of a request that holds its address.
        address: String,
        /// That address is without the path of the base URL.
        relative: bool,
        /// The key that names a request in itself and in its answer. Without it answers stand
        /// in the requests' order.
        by: Option<String>,
    },
    /// An endpoint for each operation that takes a list of records.
    Records {
        create: Option<Box<BatchEndpoint>>,
        update: Option<Box<BatchEndpoint>>,
        delete: Option<Box<BatchEndpoint>>,
    },
}

/// One endpoint that takes a list of records.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct BatchEndpoint {
    pub endpoint: Endpoint,
    /// Where the list stands in the body; `None` when the body is the list.
    pub records: Option<Path>,
    /// What one entry of the list looks like.
    pub item: Value,
    /// Where the list of results stands; `None` when the answer is the list.
    pub results: Option<Path>,
    /// Where one result tells its status; without it the answer's status counts.
    pub status: Option<Path>,
    /// A result with something here has failed.
    pub error: Option<Path>,
    /// Where a result says which entry of the request it belongs to: by the entry's
    /// `{trace}`, or by the record's id. Without it results stand in the entries' order.
    pub by: Option<Path>,
    /// Where a list of failures stands beside the results, which then hold successes only.
    pub errors: Option<Path>,
    /// Where a failure says which entry it belongs to; as results do unless given.
    pub errors_by: Option<Path>,
    /// Where the record stands in one result.
    pub record: Option<Path>,
    /// Where a result says the place of its entry in the list, from 0.
    pub place: Option<Path>,
    /// A success says that all entries were carried out, and nothing of each.
    pub whole: bool,
    /// The side answers with a job; its results come when that has ended.
    pub job: Option<JobSpec>,
}
