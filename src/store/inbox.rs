//! The inbox: hints that a trigger has accepted, until the connection's actor has made
//! them its own.
//!
//! Its right needs no actor and no epoch, so that a connection that has crashed never
//! makes a sender wait. It only appends; taking out is part of the connection's commits.

use std::sync::Arc;

use super::codec::{bad_row, decode, encode};
use super::commit::Effects;
use super::committer::{Done, Work};
use super::connections::ConnectionRow;
use super::error::StoreError;
use super::keys::{self, Key, Parts};
use super::tables::{Table, WriteTables};
use super::{Inner, submit};
use crate::model::hash::Digest;
use crate::model::hint::Hint;
use crate::model::ids::ConnNo;

/// The most hints that wait in one connection's inbox. Its actor empties it within
/// moments, so this is reached only where that is down for long.
pub const MOST_WAITING: u64 = 10_000;

/// The most deliveries of one connection that are remembered; beyond it those go first
/// that would be forgotten first.
const MOST_REMEMBERED: usize = 20_000;

/// The right to append to inboxes. It reaches no other rows.
#[derive(Debug, Clone)]
pub struct InboxRight {
    inner: Arc<Inner>,
}

/// The same delivery is taken once: its name, and how long that is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Once {
    /// The delivery's name.
    pub key: Digest,
    /// Until when it is remembered, in milliseconds since 1970.
    pub until_ms: i64,
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// Its hints are durable.
    Accepted,
    /// It was accepted before; nothing was added.
    Repeated,
    /// There is no room; nothing was added.
    Full,
}

impl InboxRight {
    pub(super) fn new(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    /// Appends a delivery's hints to a connection's inbox: all of them or none.
    ///
    /// The future fails with [`StoreError::NoConnection`], or what the disk said.
    pub fn append(&self, conn: ConnNo, hints: Vec<Hint>, once: Option<Once>, now_ms: i64) -> Done<Appended> {
        submit(&self.inner, Append { conn, hints, once, now_ms })
    }

    /// Forgets deliveries whose time is over, and the oldest beyond a limit. Answers how
    /// many.
    pub fn forget(&self, conn: ConnNo, now_ms: i64) -> Done<usize> {
        submit(&self.inner, Forget { conn, now_ms })
    }
}

struct Append {
    conn: ConnNo,
    hints: Vec<Hint>,
    once: Option<Once>,
    now_ms: i64,
}

impl Work for Append {
    type Answer = Appended;

    fn num_bytes(&self) -> usize {
        let id_bytes = |hint: &Hint| hint.id.as_ref().map_or(0, |id| id.as_str().len());
        let told_bytes = |hint: &Hint| hint.told.as_ref().map_or(0, String::len);
        let bytes = |hint: &Hint| 64 + hint.object.as_str().len() + id_bytes(hint) + told_bytes(hint);
        self.hints.iter().map(bytes).sum::<usize>() + 64
    }

    fn resolve(&self, tables: &mut WriteTables<'_>) -> Result<(Effects, Appended), StoreError> {
        ConnectionRow::load_live(tables, self.conn)?;
        let mut effects = Effects::default();
        if let Some(once) = self.once {
            let key = keys::delivery(self.conn, once.key);
            let known = tables.get(Table::Dedup, &key)?;
            let until_ms: Option<i64> = known.map(|bytes| decode(Table::Dedup, key.as_bytes(), &bytes)).transpose()?;
            if until_ms.is_some_and(|until_ms| until_ms > self.now_ms) {
                return Ok((effects, Appended::Repeated));
            }
            effects.put(Table::Dedup, key, encode(&once.until_ms));
        }
        let all = keys::conn(self.conn).prefixed();
        let first = tables.keys(Table::Inbox, &all, 1)?.first().map(seq_of).transpose()?;
        let last = tables.last(Table::Inbox, &all)?.map(|(key, _)| seq_of(&key)).transpose()?;
        let next = last.map_or(0, |last| last + 1);
        // Numbers may have gaps, as hints for whole objects stay until they have been read:
        // the rows themselves are counted only where their span could be too long.
        let num_new = self.hints.len() as u64;
        if next - first.unwrap_or(next) + num_new > MOST_WAITING {
            let most = usize::try_from(MOST_WAITING).unwrap_or(usize::MAX);
            if tables.keys(Table::Inbox, &all, most)?.len() as u64 + num_new > MOST_WAITING {
                return Ok((Effects::default(), Appended::Full));
            }
        }
        for (seq, hint) in (next..).zip(&self.hints) {
            effects.put(Table::Inbox, keys::inbox(self.conn, seq), encode(hint));
        }
        Ok((effects, Appended::Accepted))
    }
}

fn seq_of(key: &Key) -> Result<u64, StoreError> {
    let mut parts = Parts::new(key.as_bytes());
    let seq = parts.conn().and_then(|_| parts.u64());
    seq.ok_or_else(|| bad_row(Table::Inbox, key.as_bytes(), "it holds no number"))
}

struct Forget {
    conn: ConnNo,
    now_ms: i64,
}

impl Work for Forget {
    type Answer = usize;

    fn num_bytes(&self) -> usize {
        64
    }

    fn resolve(&self, tables: &mut WriteTables<'_>) -> Result<(Effects, usize), StoreError> {
        let mut effects = Effects::default();
        let mut rows = Vec::new();
        for key in tables.keys(Table::Dedup, &keys::conn(self.conn).prefixed(), usize::MAX)? {
            let Some(bytes) = tables.get(Table::Dedup, &key)? else { continue };
            let until_ms: i64 = decode(Table::Dedup, key.as_bytes(), &bytes)?;
            rows.push((until_ms, key));
        }
        rows.sort_unstable();
        let over = rows.iter().take_while(|(until_ms, _)| *until_ms <= self.now_ms).count();
        let forgotten = over.max(rows.len().saturating_sub(MOST_REMEMBERED));
        for (_, key) in rows.into_iter().take(forgotten) {
            effects.remove(Table::Dedup, key);
        }
        Ok((effects, forgotten))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::side::Side;
    use crate::model::work::Lane;
    use crate::store::{Store, StoreOptions};

    fn hint(id: &str) -> Hint {
        let (lane, side) = (Lane::Webhook, Side::Remote);
        Hint { lane, side, object: "contacts".into(), id: Some(id.into()), told: None, at_ms: 5, due_ms: 5 }
    }

    fn ready<T>(mut done: Done<T>) -> Result<T, StoreError> {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::Pin::new(&mut done).poll(&mut cx) {
            std::task::Poll::Ready(result) => result,
            std::task::Poll::Pending => panic!("an inline commit is ready at once"),
        }
    }

    fn store() -> (Store, ConnNo) {
        let store = Store::in_memory(StoreOptions::inline()).unwrap();
        let conn = store.intern_connection(&"acme".into()).unwrap();
        (store, conn)
    }

    #[test]
    fn hints_stand_in_the_order_of_their_coming_until_a_commit_takes_them() {
        let (store, conn) = store();
        let other = store.intern_connection(&"other".into()).unwrap();
        let inbox = store.inbox_right();
        assert_eq!(ready(inbox.append(conn, vec![hint("a"), hint("b")], None, 5)).unwrap(), Appended::Accepted);
        assert_eq!(ready(inbox.append(other, vec![hint("x")], None, 5)).unwrap(), Appended::Accepted);
        assert_eq!(ready(inbox.append(conn, vec![hint("c")], None, 5)).unwrap(), Appended::Accepted);
        let ids = |store: &Store, conn| -> Vec<(u64, String)> {
            let rows = store.snapshot().unwrap().inbox(conn, 100).unwrap();
            rows.into_iter().map(|(seq, hint)| (seq, hint.id.unwrap().to_string())).collect()
        };
        assert_eq!(ids(&store, conn), [(0, "a".to_owned()), (1, "b".to_owned()), (2, "c".to_owned())]);
        let right = store.start_epoch(conn).unwrap();
        let mut commit = right.new_commit();
        commit.delete_inbox(0);
        commit.delete_inbox(1);
        ready(right.commit(commit)).unwrap();
        assert_eq!(ids(&store, conn), [(2, "c".to_owned())]);
        assert_eq!(ids(&store, other), [(0, "x".to_owned())]);
        let mut text = String::new();
        store.dump(&mut text).unwrap();
        assert!(text.contains(r#"inbox acme 2 webhook remote contacts "c" at 5 due 5"#), "{text}");
    }

    #[test]
    fn a_delivery_is_taken_once_while_it_is_remembered() {
        let (store, conn) = store();
        let inbox = store.inbox_right();
        let once = |name: &str, until_ms| Some(Once { key: Digest::of(name.as_bytes()), until_ms });
        let append = |once, now_ms| ready(inbox.append(conn, vec![hint("a")], once, now_ms)).unwrap();
        assert_eq!(append(once("m1", 100), 10), Appended::Accepted);
        assert_eq!(append(once("m1", 150), 99), Appended::Repeated);
        assert_eq!(append(once("m2", 200), 99), Appended::Accepted);
        assert_eq!(append(once("m1", 300), 100), Appended::Accepted);
        assert_eq!(ready(inbox.forget(conn, 250)).unwrap(), 1);
        assert_eq!(append(once("m1", 300), 250), Appended::Repeated);
        let mut text = String::new();
        store.dump(&mut text).unwrap();
        assert!(text.contains("until 300"), "{text}");
    }

    #[test]
    fn a_full_inbox_takes_all_of_a_delivery_or_nothing() {
        let (store, conn) = store();
        let inbox = store.inbox_right();
        let room = usize::try_from(MOST_WAITING).unwrap() - 1;
        assert_eq!(ready(inbox.append(conn, vec![hint("a"); room], None, 5)).unwrap(), Appended::Accepted);
        let once = Once { key: Digest::of(b"m"), until_ms: 100 };
        let two = vec![hint("b"), hint("c")];
        assert_eq!(ready(inbox.append(conn, two.clone(), Some(once), 5)).unwrap(), Appended::Full);
        let right = store.start_epoch(conn).unwrap();
        let mut commit = right.new_commit();
        commit.delete_inbox(0);
        ready(right.commit(commit)).unwrap();
        // What was refused is not taken for a repetition when it is sent again.
        assert_eq!(ready(inbox.append(conn, two, Some(once), 5)).unwrap(), Appended::Accepted);
        assert_eq!(ready(inbox.append(conn, vec![hint("d")], None, 5)).unwrap(), Appended::Full);
        // One that stays does not take the room of those that have gone.
        let mut commit = right.new_commit();
        (2..MOST_WAITING).for_each(|seq| commit.delete_inbox(seq));
        ready(right.commit(commit)).unwrap();
        assert_eq!(ready(inbox.append(conn, vec![hint("e"); room], None, 5)).unwrap(), Appended::Full);
        assert_eq!(ready(inbox.append(conn, vec![hint("e"); room - 2], None, 5)).unwrap(), Appended::Accepted);
    }

    #[test]
    fn nothing_is_accepted_for_a_connection_that_is_gone() {
        let (store, conn) = store();
        let inbox = store.inbox_right();
        actix::System::new().block_on(store.purge(conn)).unwrap();
        let refused = ready(inbox.append(conn, vec![hint("a")], None, 5)).unwrap_err();
        assert!(matches!(refused, StoreError::NoConnection(no) if no == conn), "{refused}");
    }
}
