//! One request of an account, taken apart.

use std::borrow::Cow;

use actix_web::web::Bytes;

use super::collection::{Collection, Shift};
use super::query::Params;
use super::settings::Settings;
use super::state::LateWrite;

/// One request of an account, taken apart.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) settings: &'a Settings,
    pub(super) account_no: usize,
    pub(super) method: &'static str,
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    pub(super) if_match: Option<&'a str>,
    pub(super) key: Option<&'a str>,
    pub(super) content_type: Option<&'a str>,
    pub(super) prefer: Option<&'a str>,
    pub(super) host: Option<&'a str>,
    pub(super) body: &'a [u8],
    pub(super) now_ms: i64,
    /// Nothing goes wrong with it on purpose.
    pub(super) calm: bool,
    pub(super) shift: Shift,
}

impl LateWrite {
    pub(super) fn of(asked: &Asked<'_>, after_ms: u64) -> Self {
        Self {
            due_ms: later(asked.now_ms, after_ms),
            account_no: asked.account_no,
            method: asked.method,
            path: asked.path.to_owned(),
            query: asked.query.to_owned(),
            if_match: asked.if_match.map(str::to_owned),
            key: asked.key.map(str::to_owned),
            content_type: asked.content_type.map(str::to_owned),
            body: Bytes::copy_from_slice(asked.body),
        }
    }

    pub(super) fn asked<'a>(&'a self, settings: &'a Settings) -> Asked<'a> {
        let Self { due_ms, account_no, method, path, query, if_match, key, content_type, body } = self;
        Asked {
            settings,
            account_no: *account_no,
            method,
            path,
            query,
            if_match: if_match.as_deref(),
            key: key.as_deref(),
            content_type: content_type.as_deref(),
            prefer: None,
            host: None,
            body,
            now_ms: *due_ms,
            calm: false,
            shift: Shift::None,
        }
    }
}

impl Asked<'_> {
    pub(super) fn params(&self) -> Params<'_> {
        Params::parse(self.query)
    }

    /// The records as this client sees them.
    pub(super) fn seen<'c>(&self, collection: &'c Collection) -> Cow<'c, Collection> {
        if self.calm { Cow::Borrowed(collection) } else { collection.seen(self.now_ms) }
    }
}

/// So many milliseconds after a time.
pub(super) fn later(now_ms: i64, by_ms: u64) -> i64 {
    now_ms.saturating_add(i64::try_from(by_ms).unwrap_or(i64::MAX))
}
