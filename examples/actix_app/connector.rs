//! The app's storage as the kernel asks for it: all that a host has to write.

use async_trait::async_trait;
use chrono::DateTime;
use serde_json::json;
use syncline::connectors::{Calls, Connector, Effect, Read, blocking};
use syncline::model::cursor::{Cursor, PageToken};
use syncline::model::ids::{ObjectName, RecordId};
use syncline::model::record::{Body, DeletionCause, Entry, Page, Record};
use syncline::model::write::{Capabilities, ConnectorError, CreateRecovery, NextStep, Outcome, Write};

use super::storage::{Contacts, Row, Table};

/// What the app calls its contacts.
pub const OBJECT: &str = "contacts";

/// Contacts on one page.
const PAGE_SIZE: usize = 500;

#[async_trait(?Send)]
impl Connector for Contacts {
    fn capabilities(&self, object: &ObjectName) -> Result<Capabilities, ConnectorError> {
        if object.as_str() != OBJECT {
            return Err(ConnectorError::new(NextStep::Fail, format!("the app has no object '{object}'")));
        }
        let mut can = Capabilities::default();
        (can.local, can.changes, can.conditional) = (true, true, true);
        // We take the id that the kernel chooses, so a create sent twice makes one contact.
        (can.read_ids, can.batch, can.create) = (PAGE_SIZE, 100, CreateRecovery::ClientId);
        Ok(can)
    }

    async fn read(&self, calls: &Calls, _: &ObjectName, read: Read) -> Result<Page, ConnectorError> {
        let _permit = calls.permit().await;
        let contacts = self.clone();
        let work = move |table: &Table<'_>| match read {
            Read::Ids(ids) => {
                let find = |id: RecordId| Ok(table.get(id.as_str())?.map_or_else(|| Entry::not_found(id), entry));
                Ok(Ok(Page::last(ids.into_iter().map(find).collect::<rusqlite::Result<_>>()?)))
            }
            // Everything is what has changed since the beginning.
            Read::All { page } => changes(table, page.as_ref().map_or("0", PageToken::as_str)),
            Read::Changes { since, page } => changes(table, page.as_ref().map_or(since.as_str(), PageToken::as_str)),
            _ => Ok(Err(ConnectorError::new(NextStep::Fail, "contacts cannot be searched"))),
        };
        let page = blocking(move || contacts.transact(work)).await?;
        page.unwrap_or_else(|error| Err(ConnectorError::new(NextStep::Retry, error.to_string())))
    }

    async fn write(&self, calls: &Calls, _: &ObjectName, writes: Vec<Write>) -> Vec<Outcome> {
        let _permit = calls.permit().await;
        let (contacts, count) = (self.clone(), writes.len());
        let work = move |table: &Table<'_>| writes.into_iter().map(|write| carry_out(table, write)).collect();
        match blocking(move || contacts.transact(work)).await {
            Ok(Ok(outcomes)) => outcomes,
            // Nothing of it was kept, unless it was the commit that failed: the kernel looks.
            Ok(Err(error)) => vec![Outcome::Unknown(error.to_string()); count],
            Err(error) => vec![Outcome::Unknown(error.message); count],
        }
    }
}

/// One page of the changes after a number, which is both our cursor and our page token.
fn changes(table: &Table<'_>, after: &str) -> rusqlite::Result<Result<Page, ConnectorError>> {
    let last = table.last_change()?;
    let Some(after) = after.parse().ok().filter(|after| *after <= last) else {
        // It lies ahead of all changes, as after a restored backup.
        return Ok(Err(ConnectorError::new(NextStep::Resync, "this database never gave that cursor")));
    };
    let rows = table.changed_after(after, PAGE_SIZE)?;
    let reached = rows.last().map_or(after, |row| row.version).to_string();
    let mut page = Page::default();
    page.next = (rows.len() == PAGE_SIZE).then(|| PageToken::new(reached.as_str()));
    page.cursor = Some(Cursor::new(reached));
    page.entries = rows.into_iter().map(entry).collect();
    Ok(Ok(page))
}

fn carry_out(table: &Table<'_>, write: Write) -> rusqlite::Result<Outcome> {
    let id = Effect::target(&write);
    let now = table.get(id.as_str())?.and_then(record);
    match Effect::of(write, now.as_ref()) {
        Effect::Put(wanted) => match serde_json::from_str(&wanted.to_json()) {
            Ok(contact) => table.put(id.as_str(), &contact)?,
            // A number where we have a text, or a field that we do not have.
            Err(error) => return Ok(Outcome::Rejected { reason: error.to_string(), path: None }),
        },
        Effect::Delete => return table.delete(id.as_str()).map(|_| Outcome::Deleted),
        Effect::Nothing(outcome) => return Ok(outcome),
    }
    Ok(table.get(id.as_str())?.and_then(record).map_or(Outcome::Missing, Outcome::written))
}

fn record(row: Row) -> Option<Record> {
    let body = Body::from_json(json!(row.contact?).to_string());
    let (id, version) = (row.id.into(), Some(row.version.to_string().into()));
    Some(Record { id, version, modified: DateTime::from_timestamp_millis(row.modified_ms), body })
}

fn entry(row: Row) -> Entry {
    let gone = Entry::Deleted { id: row.id.as_str().into(), version: None, cause: DeletionCause::Tombstone };
    record(row).map_or(gone, Entry::Live)
}
