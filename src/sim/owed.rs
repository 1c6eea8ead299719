//! Reads that somebody was promised: whoever was told that a hint is accepted is owed one
//! that starts after that.

use std::collections::{BTreeMap, BTreeSet};

use crate::connectors::Read;
use crate::model::ids::RecordId;
use crate::model::record::{Entry, Page};
use crate::model::side::Side;

/// What is owed, and a count that tells what came after what, as much happens within one
/// moment of simulated time.
#[derive(Debug, Default)]
pub(super) struct Owed {
    count: u64,
    /// By what it is about (no record: some of the object) the moment after which a read
    /// must start.
    reads: BTreeMap<About, u64>,
    /// What will be owed where it turns out that a message was taken, by its number: the
    /// answer to its first attempt may be lost, and what comes again is taken once.
    perhaps: BTreeMap<u64, (u64, BTreeSet<About>)>,
}

/// A record of an account's side, or some of its object.
type About = (usize, Side, Option<RecordId>);

/// What a read may serve.
#[derive(Debug, Clone, Copy)]
pub(super) struct Started {
    at: u64,
    /// It shows what has changed from its beginning.
    is_list: bool,
}

impl Owed {
    /// The present moment; greater than all before.
    pub fn moment(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    /// From this moment on somebody is owed a read.
    pub fn owe(&mut self, account: usize, side: Side, id: Option<RecordId>, since: u64) {
        let owed = self.reads.entry((account, side, id)).or_default();
        *owed = since.max(*owed);
    }

    /// From this moment on somebody is owed a read of these, if it turns out that a message
    /// was taken.
    pub fn owe_perhaps(&mut self, message: u64, about: impl Iterator<Item = About>, since: u64) {
        self.perhaps.entry(message).or_insert_with(|| (since, about.collect()));
    }

    /// It turned out so. Said once more it means nothing.
    pub fn was_taken(&mut self, message: u64) {
        if let Some((since, about)) = self.perhaps.get_mut(&message) {
            let since = *since;
            for (account, side, id) in std::mem::take(about) {
                self.owe(account, side, id, since);
            }
        }
    }

    /// A read starts.
    pub fn starts(&mut self, read: &Read) -> Started {
        let is_list = matches!(read, Read::All { page: None } | Read::Changes { page: None, .. });
        Started { at: self.moment(), is_list }
    }

    /// A read was answered: whoever was owed it before it began has it.
    pub fn answered(&mut self, account: usize, side: Side, started: Started, page: &Page) {
        if self.reads.is_empty() && self.perhaps.is_empty() {
            return;
        }
        if started.is_list {
            let is_served = |(no, of, _): &About, since: u64| (*no, *of) == (account, side) && since < started.at;
            self.reads.retain(|about, since| !is_served(about, *since));
            for (since, perhaps) in self.perhaps.values_mut() {
                perhaps.retain(|about| !is_served(about, *since));
            }
            return;
        }
        for entry in &page.entries {
            let id = match entry {
                Entry::Live(record) => Some(record.id.clone()),
                Entry::Deleted { id, .. } => Some(id.clone()),
                Entry::Bad(bad) => bad.id.clone(),
            };
            let Some(id) = id else { continue };
            let about = (account, side, Some(id));
            if self.reads.get(&about).is_some_and(|since| *since < started.at) {
                self.reads.remove(&about);
            }
            for (_, perhaps) in self.perhaps.values_mut().filter(|(since, _)| *since < started.at) {
                perhaps.remove(&about);
            }
        }
    }

    /// What was never read.
    pub fn left(&self) -> impl Iterator<Item = (usize, Side, Option<&RecordId>)> {
        self.reads.keys().map(|(account, side, id)| (*account, *side, id.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::record::DeletionCause;

    fn page(id: &str) -> Page {
        let entry = Entry::Deleted { id: id.into(), version: None, cause: DeletionCause::NotFound };
        Page { entries: vec![entry], ..Page::default() }
    }

    #[test]
    fn only_a_read_that_starts_afterwards_is_what_was_owed() {
        let mut owed = Owed::default();
        let by_id = Read::Ids(vec!["7".into()]);
        let before = owed.starts(&by_id);
        let since = owed.moment();
        owed.owe(0, Side::App, Some("7".into()), since);
        owed.answered(0, Side::App, before, &page("7"));
        assert_eq!(owed.left().count(), 1, "it had started before");
        let after = owed.starts(&by_id);
        owed.answered(1, Side::App, after, &page("7"));
        owed.answered(0, Side::Remote, after, &page("7"));
        owed.answered(0, Side::App, after, &page("8"));
        assert_eq!(owed.left().count(), 1, "of something else");
        owed.answered(0, Side::App, after, &page("7"));
        assert_eq!(owed.left().count(), 0);
    }

    #[test]
    fn what_is_taken_twice_is_owed_once() {
        let mut owed = Owed::default();
        let about = || std::iter::once((0, Side::App, Some("7".into())));
        let since = owed.moment();
        owed.owe_perhaps(1, about(), since);
        owed.owe_perhaps(1, about(), since + 10);
        assert_eq!(owed.left().count(), 0, "perhaps it was not taken");
        owed.was_taken(1);
        assert_eq!(owed.left().count(), 1);
        let read = owed.starts(&Read::Ids(vec!["7".into()]));
        owed.answered(0, Side::App, read, &page("7"));
        owed.was_taken(1);
        assert_eq!(owed.left().count(), 0);
        // It had been taken, and was read, before that was heard.
        let since = owed.moment();
        owed.owe_perhaps(2, about(), since);
        let read = owed.starts(&Read::Ids(vec!["7".into()]));
        owed.answered(0, Side::App, read, &page("7"));
        owed.was_taken(2);
        assert_eq!(owed.left().count(), 0);
    }

    #[test]
    fn a_list_serves_all_that_waited_when_it_began() {
        let mut owed = Owed::default();
        let since = owed.moment();
        owed.owe(0, Side::App, None, since);
        owed.owe(0, Side::App, Some("7".into()), since);
        let list = owed.starts(&Read::All { page: None });
        let later = owed.moment();
        owed.owe(0, Side::App, Some("8".into()), later);
        owed.answered(0, Side::App, list, &Page::default());
        assert_eq!(owed.left().collect::<Vec<_>>(), [(0, Side::App, Some(&"8".into()))]);
    }
}
