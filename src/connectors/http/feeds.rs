//! What feeds an object: one list; several, each with a position of its own; or one for each
//! record of another object. Which of them a read is at, travels in its page token.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::connectors::Calls;
use crate::model::cursor::{Cursor, PageToken};
use crate::model::ids::ObjectName;
use crate::model::record::{BadRecord, Entry, Page};
use crate::model::value::Value;
use crate::model::write::{ConnectorError, NextStep};

use super::HttpConnector;
use super::cursor;
use super::page::Run;
use super::read::fail;
use super::spec::{Feed, ObjectSpec};

/// How the positions of several lists begin: what follows is a JSON object of them, by name.
const SEVERAL: &str = "s:";

/// The name of the list that is the object's own, among several.
const OWN: &str = "";

/// Where a read of several lists is.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Round {
    /// The list, by its place.
    at: usize,
    /// What continues it.
    run: Option<String>,
    /// The positions reached, by the names of the lists.
    reached: BTreeMap<String, String>,
}

/// Where a read of the lists of all parents is.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Family {
    /// Parents that were listed and whose lists are still to be read.
    parents: VecDeque<Parent>,
    /// What continues the list of parents.
    next: Option<String>,
    /// All parents were listed.
    all: bool,
    /// What continues the first parent's list.
    run: Option<String>,
    /// The position from the first list of this read: what changed since is read the next time.
    reached: Option<String>,
}

/// A record for which there is a list of its own.
#[derive(Debug, Serialize, Deserialize)]
struct Parent {
    id: String,
    /// It may not have been there at the last read: its list is read whole.
    is_new: bool,
}

fn from_token<T: Default + DeserializeOwned>(token: Option<&PageToken>) -> Result<T, ConnectorError> {
    let Some(token) = token else { return Ok(T::default()) };
    serde_json::from_str(token.as_str()).map_err(|_| fail("the page token was not made by this connector"))
}

fn to_token(at: &impl Serialize) -> PageToken {
    PageToken::new(serde_json::to_string(at).expect("numbers and texts always serialise"))
}

/// The positions of several lists in one; a list that is not named is read whole.
fn positions(since: &Cursor) -> Result<BTreeMap<String, String>, ConnectorError> {
    let named = since.as_str().strip_prefix(SEVERAL).and_then(|text| serde_json::from_str(text).ok());
    named.ok_or_else(|| {
        ConnectorError::new(NextStep::Resync, "the stored cursor is of one list, and the object is fed by several")
    })
}

impl HttpConnector {
    /// One page of all that feeds an object.
    pub(super) async fn list(
        &self,
        calls: &Calls,
        object: &ObjectSpec,
        since: Option<Cursor>,
        page: Option<PageToken>,
    ) -> Result<Page, ConnectorError> {
        match (&object.parent, &object.also[..]) {
            (Some(parent), _) => self.list_of_each(calls, object, parent, since, page).await,
            (None, []) => self.list_of(calls, object, object.feed(), None, since, page).await,
            (None, _) => self.list_of_all(calls, object, since, page).await,
        }
    }

    /// Several lists, one after the other.
    async fn list_of_all(
        &self,
        calls: &Calls,
        object: &ObjectSpec,
        since: Option<Cursor>,
        page: Option<PageToken>,
    ) -> Result<Page, ConnectorError> {
        let mut round: Round = from_token(page.as_ref())?;
        let before = since.as_ref().map(positions).transpose()?.unwrap_or_default();
        let own = (OWN, object.feed());
        let feeds: Vec<(&str, Feed<'_>)> =
            std::iter::once(own).chain(object.also.iter().map(|also| (also.name.as_str(), also.feed()))).collect();
        let Some((name, feed)) = feeds.get(round.at).copied() else {
            return Err(fail("the page token names a list that the connector file does not have"));
        };
        let since = before.get(name).map(|position| Cursor::new(position.as_str()));
        let token = round.run.take().map(PageToken::new);
        let mut page = self.list_of(calls, object, feed, None, since, token).await?;
        if let Some(cursor) = page.cursor.take() {
            round.reached.insert(name.to_owned(), cursor.as_str().to_owned());
        }
        // Of how many there are each list tells only its own.
        page.total = None;
        match page.next.take() {
            Some(next) => round.run = Some(next.as_str().to_owned()),
            None => round.at += 1,
        }
        if round.at < feeds.len() {
            page.next = Some(to_token(&round));
            return Ok(page);
        }
        let named = |name: &String| feeds.iter().any(|(known, _)| known == name);
        let mut reached = before;
        reached.retain(|name, _| named(name));
        reached.extend(round.reached);
        page.cursor = (!reached.is_empty()).then(|| {
            let text = serde_json::to_string(&reached).expect("texts always serialise");
            Cursor::new(format!("{SEVERAL}{text}"))
        });
        Ok(page)
    }

    /// The lists of all records of another object, one after the other.
    async fn list_of_each(
        &self,
        calls: &Calls,
        object: &ObjectSpec,
        parent: &ObjectName,
        since: Option<Cursor>,
        page: Option<PageToken>,
    ) -> Result<Page, ConnectorError> {
        let mut family: Family = from_token(page.as_ref())?;
        let mut page = match family.parents.front() {
            None => self.next_parents(calls, object, parent, since.as_ref(), &mut family).await?,
            Some(first) => {
                let id = Value::string(first.id.as_str());
                let since = since.clone().filter(|_| !first.is_new);
                let token = family.run.take().map(PageToken::new);
                let page = match self.list_of(calls, object, object.feed(), Some(&id), since, token).await {
                    Ok(page) => page,
                    // It is gone since it was listed, and its records with it, each of which is
                    // looked at by its id before it counts as deleted.
                    Err(error) if error.next == NextStep::TreatAsDeleted => Page::last(Vec::new()),
                    Err(error) => return Err(error),
                };
                family.run = page.next.as_ref().map(|next| next.as_str().to_owned());
                if family.run.is_none() {
                    family.parents.pop_front();
                }
                page
            }
        };
        if let Some(cursor) = page.cursor.take() {
            family.reached.get_or_insert_with(|| cursor.as_str().to_owned());
        }
        page.total = None;
        let is_over = family.all && family.parents.is_empty();
        page.next = (!is_over).then(|| to_token(&family));
        if is_over {
            let declared =
                object.feed().listing(since.is_some(), &Run::default()).and_then(|list| list.cursor.as_ref());
            // Without any parent nothing was read that would tell one.
            let nothing = || since.or_else(|| declared.and_then(cursor::beginning));
            page.cursor = family.reached.map(Cursor::new).or_else(nothing);
        }
        Ok(page)
    }

    /// Some more of the records whose lists are to be read.
    async fn next_parents(
        &self,
        calls: &Calls,
        object: &ObjectSpec,
        parent: &ObjectName,
        since: Option<&Cursor>,
        family: &mut Family,
    ) -> Result<Page, ConnectorError> {
        let spec = self.object(parent)?;
        let token = family.next.take().map(PageToken::new);
        let listed = Box::pin(self.list(calls, spec, None, token)).await?;
        let declared = object.feed().listing(since.is_some(), &Run::default()).and_then(|list| list.cursor.as_ref());
        let asked_from = since.zip(declared).and_then(|(since, spec)| cursor::asked_from(spec, since));
        let mut bad = Vec::new();
        for entry in listed.entries {
            match entry {
                Entry::Live(record) => {
                    let is_new = asked_from.is_some_and(|from| record.modified.is_none_or(|at| at >= from));
                    family.parents.push_back(Parent { id: record.id.as_str().to_owned(), is_new });
                }
                Entry::Deleted { .. } => {}
                // Held back with its reason: its own records are not read.
                Entry::Bad(record) => {
                    let place = format!("'{parent}', {}", record.place);
                    bad.push(Entry::Bad(BadRecord { id: None, place, ..record }));
                }
            }
        }
        family.next = listed.next.map(|next| next.as_str().to_owned());
        family.all = family.next.is_none();
        let mut page = Page::last(bad);
        page.drifted = listed.drifted;
        Ok(page)
    }
}
