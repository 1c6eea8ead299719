//! Which of the usual shapes a REST API has, and the connector file that says so.

use std::fmt::Write as _;

use crate::connectors::memory::behaviour::Cursors;
use crate::model::ids::ObjectName;
use crate::model::path::Path;
use crate::model::value::Value;
use crate::model::write::{Capabilities, CreateRecovery, UpdateStyle};

/// The shape of a REST API. Drawn from a seed ([`Dialect::draw`]) it is a sound one: what
/// its connector file declares suffices to miss nothing. Other shapes may be put
/// together by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialect {
    /// How requests are authorised.
    pub auth: ApiAuth,
    /// The app's own fields of a record stand under `meta` instead of beside the others
    /// with an underscore.
    pub meta_apart: bool,
    /// Lists and single records stand under a key of the answer, instead of being it.
    pub enveloped: bool,
    /// How a list is divided.
    pub pages: ApiPages,
    /// How many records are asked for on a page; at least 2 with [`ApiPages::Offset`].
    pub page_size: usize,
    /// What tells the last page where pages are counted.
    pub end: ApiEnd,
    /// In which order lists come. Pages that are counted do not stand still in
    /// [`ApiOrder::Changed`].
    pub order: ApiOrder,
    /// How changes are asked for.
    pub changes: ApiChanges,
    /// `>=` or `>`.
    pub inclusive: bool,
    /// Whether answers carry the server's clock.
    pub dated: bool,
    /// How lists tell what was deleted.
    pub deletions: ApiDeletions,
    /// So many records are read by id in one request.
    pub read_many: Option<usize>,
    /// Values to search for are sent as JSON.
    pub find_json: bool,
    /// How an unknown create is recovered.
    pub create: CreateRecovery,
    /// With [`CreateRecovery::ClientId`]: the id stands in the path of a PUT instead of in
    /// the record of a POST.
    pub create_by_put: bool,
    /// How updates are taken.
    pub updates: ApiUpdates,
    /// Whether `If-Match` is honoured. Never without it if a record that is missing
    /// would be made.
    pub conditional: bool,
    /// Versions are told by an `ETag` of answers too.
    pub etag: bool,
    /// Answers to writes hold the whole record, not only its id.
    pub answers_record: bool,
    /// A null in a PATCH takes the key away, instead of standing there.
    pub null_removes: bool,
    /// The status for a record that is not there: 404 or 410.
    pub missing: u16,
    /// How several writes go in one request.
    pub batch: ApiBatch,
    /// A batch is refused as a whole for one record in it.
    pub batch_all_or_nothing: bool,
}

/// How requests are authorised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiAuth {
    /// A bearer token.
    Bearer,
    /// A key in a header of its own.
    Header,
    /// A key in the query.
    Query,
}

/// How a list is divided into pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiPages {
    /// By page numbers. A record may slip through unseen when another one goes and one
    /// comes between two pages; therefore never drawn.
    Numbers,
    /// By the number of records to skip.
    Offset,
    /// By a token of the answer.
    Token,
    /// By a `Link` header.
    LinkHeader,
    /// By a URL in the answer.
    NextUrl,
}

/// What tells the last page where pages are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiEnd {
    /// How many records there are.
    Total,
    /// Whether there are more.
    More,
    /// It is not full.
    Short,
    /// It is empty.
    Empty,
}

/// In which order lists come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiOrder {
    /// As the records last changed.
    Changed,
    /// By id.
    Id,
}

/// How changes are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiChanges {
    /// They are not.
    None,
    /// By the modified time.
    Time {
        /// How times are written.
        unit: ApiTime,
        /// Times are rounded down to this many milliseconds.
        granularity_ms: u64,
        /// How far back the connector looks; a multiple of the granularity.
        lookback_ms: u64,
    },
    /// By the number of the change. With `header` a header of the first page tells the
    /// position of the whole list.
    Sequence {
        /// Whether it does.
        header: bool,
    },
    /// By a token that comes with the last page, or with `header` in a header of the
    /// first.
    Token {
        /// Whether it does.
        header: bool,
    },
    /// By a URL that comes with the last page.
    Url,
}

/// How times are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiTime {
    /// ISO 8601 text.
    Iso,
    /// Seconds since 1970.
    Seconds,
    /// Milliseconds since 1970.
    Millis,
}

/// How lists tell what was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiDeletions {
    /// They do not.
    Hidden,
    /// An entry that is nothing else, in lists of changes.
    Tombstone,
    /// A flag, in every list.
    Flag,
}

/// How updates are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiUpdates {
    /// A PATCH of what changes.
    Patch,
    /// A POST of what changes.
    Post,
    /// A PUT of the whole record.
    Put,
    /// A PUT of the whole record, which makes it where it is missing.
    Upsert,
}

/// How several writes go in one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiBatch {
    /// They do not.
    None,
    /// As a list of so many requests.
    Requests(usize),
    /// As a list of so many records, for each operation.
    Records(usize),
}

/// Where the app's own fields stand in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Own {
    Id,
    Version,
    Modified,
    Change,
    ExternalId,
    Gone,
}

/// The path of the API, and of the object within it.
pub(super) const API: &str = "/api/v1";
pub(super) const OBJECT: &str = "/things";

impl Dialect {
    /// A sound shape, drawn from a seed.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed ^ 0x6469_616c_6563_7400);
        let pages = pick(&mut rng, &[ApiPages::Offset, ApiPages::Token, ApiPages::LinkHeader, ApiPages::NextUrl]);
        let counted = pages == ApiPages::Offset;
        let order = if counted { ApiOrder::Id } else { pick(&mut rng, &[ApiOrder::Changed, ApiOrder::Id]) };
        let changes = draw_changes(&mut rng, counted, order);
        let updates = pick(&mut rng, &[ApiUpdates::Patch, ApiUpdates::Post, ApiUpdates::Put, ApiUpdates::Upsert]);
        let create = pick(
            &mut rng,
            &[
                CreateRecovery::ClientId,
                CreateRecovery::IdempotencyKey { life_ms: 86_400_000 },
                CreateRecovery::ExternalId,
                CreateRecovery::Find { settle_ms: 400_000 },
            ],
        );
        let batch_size = rng.usize(2..5);
        Self {
            auth: pick(&mut rng, &[ApiAuth::Bearer, ApiAuth::Header, ApiAuth::Query]),
            meta_apart: rng.bool(),
            enveloped: rng.bool(),
            pages,
            page_size: rng.usize(2..6),
            end: pick(&mut rng, &[ApiEnd::Total, ApiEnd::More, ApiEnd::Short, ApiEnd::Empty]),
            order,
            changes,
            inclusive: rng.bool(),
            dated: rng.u8(0..4) > 0,
            deletions: pick(&mut rng, &[ApiDeletions::Tombstone, ApiDeletions::Flag]),
            read_many: rng.bool().then(|| rng.usize(2..6)),
            find_json: rng.bool(),
            create,
            create_by_put: rng.bool(),
            updates,
            conditional: true,
            etag: rng.bool(),
            answers_record: rng.u8(0..4) > 0,
            null_removes: rng.bool(),
            missing: pick(&mut rng, &[404, 404, 410]),
            batch: pick(&mut rng, &[ApiBatch::None, ApiBatch::Requests(batch_size), ApiBatch::Records(batch_size)]),
            batch_all_or_nothing: rng.bool(),
        }
    }

    /// Whether a list that ends early, as if it were complete, only delays what it leaves
    /// out. Else that is missed until it changes again.
    #[must_use]
    pub fn bears_short_lists(&self) -> bool {
        match (self.order, self.changes) {
            (_, ApiChanges::None) => true,
            (ApiOrder::Id, _) => false,
            (ApiOrder::Changed, ApiChanges::Sequence { header } | ApiChanges::Token { header }) => !header,
            (ApiOrder::Changed, ApiChanges::Time { .. } | ApiChanges::Url) => true,
        }
    }

    /// Whether lists tell what was deleted.
    #[must_use]
    pub fn tells_deletions(&self) -> bool {
        match self.deletions {
            ApiDeletions::Hidden => false,
            ApiDeletions::Tombstone => self.changes != ApiChanges::None,
            ApiDeletions::Flag => true,
        }
    }

    /// Whether a list of everything tells what was deleted, too. Else a deletion is missed
    /// that comes before the first position is known, or while one is lost.
    #[must_use]
    pub fn tells_deletions_in_full_lists(&self) -> bool {
        self.deletions == ApiDeletions::Flag
    }

    /// What the app's cursors are made of, for how it stamps its records.
    #[must_use]
    pub fn cursors(&self) -> Cursors {
        match self.changes {
            ApiChanges::Time { unit: _, granularity_ms, lookback_ms } => {
                Cursors::Time { granularity_ms, inclusive: self.inclusive, lookback_ms }
            }
            ApiChanges::None | ApiChanges::Sequence { .. } | ApiChanges::Token { .. } | ApiChanges::Url => {
                Cursors::Sequence
            }
        }
    }

    /// What the app takes, as the connector file declares it.
    #[must_use]
    pub fn capabilities(&self, of_app: Capabilities) -> Capabilities {
        let whole = matches!(self.updates, ApiUpdates::Put | ApiUpdates::Upsert);
        Capabilities {
            changes: self.changes != ApiChanges::None,
            deletions: self.deletions != ApiDeletions::Hidden,
            conditional: self.conditional,
            update: if whole { UpdateStyle::Whole } else { UpdateStyle::Fields },
            batch: match self.batch {
                ApiBatch::None => 1,
                ApiBatch::Requests(size) | ApiBatch::Records(size) => size,
            },
            create: self.create,
            ..of_app
        }
    }

    /// The keys that lead to one of the app's own fields.
    pub(super) fn own(&self, own: Own) -> Path {
        let name = match own {
            Own::Id => "id",
            Own::Version => "rev",
            Own::Modified => "at",
            Own::Change => "seq",
            Own::ExternalId => "ext",
            Own::Gone => "gone",
        };
        let text = if self.meta_apart { format!("meta.{name}") } else { format!("_{name}") };
        text.parse().expect("these are paths")
    }

    /// Where the list stands in an answer.
    pub(super) fn records_key(&self) -> Option<&'static str> {
        // What else a page has to say needs a place beside the list.
        let says_more = match (self.pages, self.end) {
            (ApiPages::Token | ApiPages::NextUrl, _) => true,
            (ApiPages::Numbers | ApiPages::Offset, ApiEnd::Total | ApiEnd::More) => true,
            (ApiPages::Numbers | ApiPages::Offset, ApiEnd::Short | ApiEnd::Empty) => false,
            (ApiPages::LinkHeader, _) => false,
        };
        let says_position = matches!(self.changes, ApiChanges::Token { header: false } | ApiChanges::Url);
        (self.enveloped || says_more || says_position).then_some("items")
    }

    /// Where a single record stands in an answer.
    pub(super) fn record_key(&self) -> Option<&'static str> {
        self.enveloped.then_some("item")
    }

    /// The connector file that declares all this.
    pub(super) fn file(&self, object: &ObjectName, find: &[Path], lag_ms: u64) -> String {
        let mut text = String::new();
        self.write_file(&mut text, object, find, lag_ms).expect("writing to a text cannot fail");
        text
    }

    fn write_file(&self, out: &mut String, object: &ObjectName, find: &[Path], lag_ms: u64) -> std::fmt::Result {
        let at = format!("object.{}", quoted(object.as_str()));
        writeln!(out, "name = \"rest\"\n\n[auth]\n{}\n\n[errors]\nretry = [419]\n", self.auth_keys())?;
        writeln!(out, "[{at}]")?;
        writeln!(out, "id = \"{}\"\nversion = \"{}\"", self.own(Own::Id), self.own(Own::Version))?;
        writeln!(out, "modified = \"{}\"", self.own(Own::Modified))?;
        if let Some(unit) = self.modified_unit() {
            writeln!(out, "modified_unit = \"{unit}\"")?;
        }
        writeln!(out, "read_only = [{}]", self.read_only())?;
        if self.etag {
            writeln!(out, "version_header = \"ETag\"")?;
        }
        if let Some(key) = self.record_key() {
            writeln!(out, "record = \"{key}\"")?;
        }
        if lag_ms > 0 {
            writeln!(out, "read_lag = \"{lag_ms}ms\"")?;
        }
        self.write_list(out, &at)?;
        writeln!(out, "\n[{at}.read]\nget = \"{OBJECT}/{{id}}\"")?;
        if let Some(size) = self.read_many {
            writeln!(out, "\n[{at}.read_many]\nget = \"{OBJECT}-many\"\nparam = \"ids\"\njoin = \"|\"\nsize = {size}")?;
        }
        self.write_find(out, &at, find)?;
        self.write_create(out, &at)?;
        self.write_update(out, &at)?;
        writeln!(out, "\n[{at}.delete]\ndelete = \"{OBJECT}/{{id}}\"\n{}", self.if_match())?;
        self.write_batch(out, &at)
    }

    fn auth_keys(&self) -> &'static str {
        match self.auth {
            ApiAuth::Bearer => "kind = \"bearer\"",
            ApiAuth::Header => "kind = \"header\"\nname = \"X-Api-Key\"\nprefix = \"Key \"",
            ApiAuth::Query => "kind = \"query\"\nname = \"api_key\"",
        }
    }

    /// What the app sets by itself beside id, version and time.
    fn read_only(&self) -> String {
        let external_id = (self.create != CreateRecovery::ExternalId).then_some(Own::ExternalId);
        let own: Vec<String> = [Own::Change, Own::Gone]
            .into_iter()
            .chain(external_id)
            .map(|own| format!("\"{}\"", self.own(own)))
            .collect();
        own.join(", ")
    }

    pub(super) fn time(&self) -> ApiTime {
        match self.changes {
            ApiChanges::Time { unit, .. } => unit,
            ApiChanges::None | ApiChanges::Sequence { .. } | ApiChanges::Token { .. } | ApiChanges::Url => ApiTime::Iso,
        }
    }

    fn modified_unit(&self) -> Option<&'static str> {
        unit_word(self.time())
    }

    fn write_list(&self, out: &mut String, at: &str) -> std::fmt::Result {
        writeln!(out, "\n[{at}.list]\nget = \"{OBJECT}\"")?;
        if let Some(key) = self.records_key() {
            writeln!(out, "records = \"{key}\"")?;
        }
        writeln!(out, "page = {{ {}, size = {} }}", self.page_keys(), self.page_size)?;
        if let Some(cursor) = self.cursor_keys() {
            writeln!(out, "cursor = {{ {cursor} }}")?;
        }
        let gone = self.own(Own::Gone);
        match self.deletions {
            ApiDeletions::Hidden => Ok(()),
            ApiDeletions::Tombstone => writeln!(out, "deleted = {{ tombstone = \"{gone}\" }}"),
            ApiDeletions::Flag => writeln!(out, "deleted = {{ flag = \"{gone}\", value = true }}"),
        }
    }

    fn page_keys(&self) -> String {
        match self.pages {
            ApiPages::Numbers => format!("kind = \"page\", {}", self.end_keys()),
            ApiPages::Offset => format!("kind = \"offset\", {}", self.end_keys()),
            ApiPages::Token => "kind = \"cursor\", param = \"after\", next = \"next\"".to_owned(),
            ApiPages::LinkHeader => "kind = \"link_header\"".to_owned(),
            ApiPages::NextUrl => "kind = \"next_url\", next = \"next\"".to_owned(),
        }
    }

    fn end_keys(&self) -> &'static str {
        match self.end {
            ApiEnd::Total => "total = \"total\"",
            ApiEnd::More => "more = \"more\"",
            ApiEnd::Short => "end = \"short\"",
            ApiEnd::Empty => "end = \"empty\"",
        }
    }

    fn cursor_keys(&self) -> Option<String> {
        let op = if self.inclusive { ">=" } else { ">" };
        let order = match self.order {
            ApiOrder::Changed => "asc",
            ApiOrder::Id => "unsorted",
        };
        Some(match self.changes {
            ApiChanges::None => return None,
            ApiChanges::Time { unit, granularity_ms, lookback_ms } => {
                let unit = unit_word(unit).unwrap_or("iso");
                format!(
                    "kind = \"time\", param = \"since\", unit = \"{unit}\", op = \"{op}\", order = \"{order}\", \
                     granularity = \"{granularity_ms}ms\", lookback = \"{lookback_ms}ms\""
                )
            }
            ApiChanges::Sequence { header } => {
                let header = if header { ", header = \"X-Position\"" } else { "" };
                let field = self.own(Own::Change);
                format!(
                    "kind = \"integer\", param = \"since\", field = \"{field}\", op = \"{op}\", order = \"{order}\"{header}"
                )
            }
            ApiChanges::Token { header: true } => {
                "kind = \"opaque\", param = \"since\", header = \"X-Position\"".to_owned()
            }
            ApiChanges::Token { header: false } => {
                "kind = \"opaque\", param = \"since\", next = \"position\"".to_owned()
            }
            ApiChanges::Url => "kind = \"opaque\", next = \"position\"".to_owned(),
        })
    }

    fn write_find(&self, out: &mut String, at: &str, find: &[Path]) -> std::fmt::Result {
        let external_id = (self.create == CreateRecovery::ExternalId).then(|| self.own(Own::ExternalId));
        if find.is_empty() && external_id.is_none() {
            return Ok(());
        }
        writeln!(out, "\n[{at}.find]\nget = \"{OBJECT}-search\"\npage = {{ kind = \"none\" }}")?;
        if self.find_json {
            writeln!(out, "encode = \"json\"")?;
        }
        for path in find.iter().chain(&external_id) {
            let path = quoted(&path.to_string());
            writeln!(out, "params.{path} = {{ by = {path}, value = \"{{value}}\" }}")?;
        }
        Ok(())
    }

    fn write_create(&self, out: &mut String, at: &str) -> std::fmt::Result {
        writeln!(out, "\n[{at}.create]")?;
        // What names the pair goes along in any case, so that the app knows what a record
        // was made for also where it lets nobody search by it.
        const TRACED: &str = "body = { record = \"{record}\", trace = \"{external_id}\" }";
        match self.create {
            CreateRecovery::ClientId if self.create_by_put => {
                writeln!(out, "put = \"{OBJECT}/{{external_id}}\"\nheaders = {{ \"If-None-Match\" = \"*\" }}")?;
                writeln!(out, "duplicate = [412]\nrecovery = \"client_id\"")?;
            }
            CreateRecovery::ClientId => {
                let id = self.own(Own::Id);
                writeln!(out, "post = \"{OBJECT}\"\nrecovery = {{ kind = \"client_id\", field = \"{id}\" }}")?;
            }
            CreateRecovery::IdempotencyKey { life_ms } => {
                writeln!(out, "post = \"{OBJECT}\"\n{TRACED}")?;
                let header = "header = \"Idempotency-Key\"";
                writeln!(out, "recovery = {{ kind = \"idempotency_key\", {header}, life = \"{life_ms}ms\" }}")?;
            }
            CreateRecovery::ExternalId => {
                let field = self.own(Own::ExternalId);
                writeln!(out, "post = \"{OBJECT}\"\nrecovery = {{ kind = \"external_id\", field = \"{field}\" }}")?;
            }
            CreateRecovery::Find { settle_ms } => {
                writeln!(out, "post = \"{OBJECT}\"\n{TRACED}")?;
                writeln!(out, "recovery = {{ kind = \"find\", settle = \"{settle_ms}ms\" }}")?;
            }
            CreateRecovery::Park => writeln!(out, "post = \"{OBJECT}\"\n{TRACED}\nrecovery = \"park\"")?,
        }
        if !(self.create == CreateRecovery::ClientId && self.create_by_put) {
            writeln!(out, "duplicate = [409]")?;
        }
        writeln!(out, "duplicate_id = \"error.id\"\n{}", self.answer())
    }

    fn write_update(&self, out: &mut String, at: &str) -> std::fmt::Result {
        let method = match self.updates {
            ApiUpdates::Patch => "patch",
            ApiUpdates::Post => "post",
            ApiUpdates::Put | ApiUpdates::Upsert => "put",
        };
        writeln!(out, "\n[{at}.update]\n{method} = \"{OBJECT}/{{id}}\"\n{}\n{}", self.if_match(), self.answer())?;
        match self.updates {
            ApiUpdates::Upsert => writeln!(out, "makes_missing = true"),
            ApiUpdates::Patch | ApiUpdates::Post | ApiUpdates::Put => Ok(()),
        }
    }

    fn if_match(&self) -> &'static str {
        if self.conditional { "if_match = '\"{version}\"'" } else { "" }
    }

    fn answer(&self) -> &'static str {
        if self.answers_record { "answer = \"record\"" } else { "answer = \"id\"" }
    }

    fn write_batch(&self, out: &mut String, at: &str) -> std::fmt::Result {
        let size = match self.batch {
            ApiBatch::None => return Ok(()),
            ApiBatch::Requests(size) => {
                return writeln!(out, "\n[{at}.batch]\nkind = \"requests\"\npost = \"/batch\"\nsize = {size}");
            }
            ApiBatch::Records(size) => size,
        };
        writeln!(out, "\n[{at}.batch]\nkind = \"records\"\nsize = {size}")?;
        const RESULTS: &str =
            "records = \"inputs\"\nresults = \"results\"\nstatus = \"status\"\nerror = \"error\"\nrecord = \"result\"";
        for (operation, item) in [
            ("create", "{ record = \"{record}\", trace = \"{external_id}\", key = \"{idempotency_key}\" }"),
            ("update", "{ id = \"{id}\", rev = \"{version}\", record = \"{record}\" }"),
            ("delete", "{ id = \"{id}\", rev = \"{version}\" }"),
        ] {
            writeln!(
                out,
                "\n[{at}.batch.{operation}]\npost = \"{OBJECT}-batch/{operation}\"\nitem = {item}\n{RESULTS}"
            )?;
        }
        Ok(())
    }
}

fn draw_changes(rng: &mut fastrand::Rng, counted: bool, order: ApiOrder) -> ApiChanges {
    let (unit, finest_ms) = pick(rng, &[(ApiTime::Iso, 1), (ApiTime::Millis, 1), (ApiTime::Seconds, 1_000)]);
    let granularity_ms = pick(rng, &[finest_ms, 1_000, 60_000]);
    let lookback_ms = pick(rng, &[60_000, 300_000, 1_200_000]);
    let time = ApiChanges::Time { unit, granularity_ms, lookback_ms };
    match (counted, order) {
        // Nothing but the first page's header tells where such a list began.
        (true, _) => pick(rng, &[time, ApiChanges::Sequence { header: true }, ApiChanges::Token { header: true }]),
        (false, ApiOrder::Id) => pick(
            rng,
            &[
                time,
                ApiChanges::Sequence { header: true },
                ApiChanges::Token { header: true },
                ApiChanges::Token { header: false },
                ApiChanges::Url,
            ],
        ),
        (false, ApiOrder::Changed) => pick(
            rng,
            &[
                time,
                time,
                ApiChanges::Sequence { header: false },
                ApiChanges::Sequence { header: true },
                ApiChanges::Token { header: false },
                ApiChanges::Url,
            ],
        ),
    }
}

fn pick<T: Copy>(rng: &mut fastrand::Rng, of: &[T]) -> T {
    of[rng.usize(0..of.len())]
}

fn unit_word(unit: ApiTime) -> Option<&'static str> {
    match unit {
        ApiTime::Iso => None,
        ApiTime::Seconds => Some("s"),
        ApiTime::Millis => Some("ms"),
    }
}

/// A text as a TOML key or value.
fn quoted(text: &str) -> String {
    Value::string(text).to_json()
}
