//! Edge: other people's systems, behind one trait for both sides.
//!
//! A connector speaks plain record ids and JSON bodies; it knows nothing of pairs,
//! markers or mappings. Every call it makes goes through the [`Calls`] it is lent, so
//! that no caller can forget the budget. `http` is declared by a file, `embedded`
//! keeps records in the state file, `memory` is the test double, and a host program
//! implements [`Connector`] for its own storage.

pub mod action;
mod blocking;
pub mod calls;
pub mod contract;
mod effect;
pub mod embedded;
pub mod http;
pub mod memory;
pub mod retry;
pub mod trial;
pub mod webhook;

use async_trait::async_trait;

pub use blocking::blocking;
pub use calls::{Calls, Permit};
pub use effect::Effect;

use crate::model::cursor::{Cursor, PageToken};
use crate::model::ids::{ObjectName, RecordId, Scope};
use crate::model::path::Path;
use crate::model::record::{Entry, Page};
use crate::model::value::Value;
use crate::model::write::{Capabilities, ConnectorError, Outcome, Write};

/// What to read of an object.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Read {
    /// Every record.
    All {
        /// Continues an earlier page.
        page: Option<PageToken>,
    },
    /// Records changed since a cursor, and what is known to be deleted since.
    Changes {
        /// From here, inclusive.
        since: Cursor,
        /// Continues an earlier page.
        page: Option<PageToken>,
    },
    /// Several records by id, at most [`Capabilities::read_ids`] of them. Each yields
    /// one entry; one that does not exist yields [`Entry::Deleted`].
    ///
    /// [`Entry::Deleted`]: crate::model::record::Entry::Deleted
    Ids(Vec<RecordId>),
    /// Records where all these paths equal these values; an external id is searched
    /// with [`Read::ExternalId`].
    Find(Vec<(Path, Value)>),
    /// The record that carries this external id.
    ExternalId(String),
}

/// One kind of system, as the kernel talks to it. Both sides of a sync implement it.
///
/// Made per arbiter by a [`ConnectorFactory`], so it needs neither `Send` nor `Sync`
/// and may keep an HTTP client that belongs to its thread. A call must stay cheap
/// between awaits (under 5 ms); a host with blocking storage uses
/// [`blocking`].
#[async_trait(?Send)]
pub trait Connector {
    /// What can be done with an object. Asked once for each sync.
    ///
    /// # Errors
    /// When there is no such object.
    fn capabilities(&self, object: &ObjectName) -> Result<Capabilities, ConnectorError>;

    /// Reads one page.
    ///
    /// # Errors
    /// With what to do next. A record that cannot be understood is no error: it is an
    /// [`Entry::Bad`] of the page.
    async fn read(&self, calls: &Calls, object: &ObjectName, read: Read) -> Result<Page, ConnectorError>;

    /// Carries out writes, at most [`Capabilities::batch`] of them, each to another
    /// record; answers with as many outcomes in the same order. Must not retry by
    /// itself a write whose outcome is unknown.
    async fn write(&self, calls: &Calls, object: &ObjectName, writes: Vec<Write>) -> Vec<Outcome>;

    /// A record as a webhook or an event brings it: the text of one entry in the form in
    /// which [`Connector::read`] sees it. `None`, the default, where that cannot be told; the
    /// record is then read.
    fn told(&self, object: &ObjectName, text: &str) -> Option<Entry> {
        let _ = (object, text);
        None
    }

    /// Whether the side answers and the credentials are taken; used by `check`.
    ///
    /// # Errors
    /// With what is wrong.
    async fn ping(&self, calls: &Calls, object: &ObjectName) -> Result<(), ConnectorError> {
        self.read(calls, object, Read::All { page: None }).await.map(|_| ())
    }
}

/// Makes a connector on the arbiter that will use it.
pub trait ConnectorFactory: Send + Sync {
    /// Makes the connector for one connection.
    ///
    /// # Errors
    /// When its settings turn out wrong on this machine (no CA certificates, say).
    fn make(&self, connection: &ConnectorScope) -> Result<Box<dyn Connector>, ConnectorError>;
}

/// For whom a connector is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectorScope {
    /// The customer's records on your side. The connected app's side is scoped by its
    /// credentials and ignores it.
    pub scope: Option<Scope>,
}

impl<F> ConnectorFactory for F
where
    F: Fn(&ConnectorScope) -> Result<Box<dyn Connector>, ConnectorError> + Send + Sync,
{
    fn make(&self, connection: &ConnectorScope) -> Result<Box<dyn Connector>, ConnectorError> {
        self(connection)
    }
}
