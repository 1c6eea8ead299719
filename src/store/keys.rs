//! Keys: bytes that sort as the rows are read.
//!
//! Numbers are big-endian, the connection comes first (so that a connection is one
//! range of every table), and a text stands last, verbatim. A text that does not stand
//! last is escaped and closed, so that no key is a prefix of another's text:
//! `0x00` becomes `0x00 0xFF`, the end is `0x00 0x00`, and the order stays the texts'.

use std::ops::Bound;

use crate::model::cursor::StreamNo;
use crate::model::hash::Digest;
use crate::model::ids::{ConnNo, FieldNo, ObjectName, PairNo, RecordId, Scope, SyncNo};
use crate::model::side::Side;
use crate::model::work::Lane;

/// A key, or the beginning of one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Key(Vec<u8>);

impl Key {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn sync(self, sync: SyncNo) -> Self {
        self.bytes(&sync.0.to_be_bytes())
    }

    fn pair(self, pair: PairNo) -> Self {
        self.bytes(&pair.0.to_be_bytes())
    }

    fn side(self, side: Side) -> Self {
        self.bytes(&[side.byte()])
    }

    fn closed_text(mut self, text: &str) -> Self {
        for &byte in text.as_bytes() {
            self.0.push(byte);
            if byte == 0 {
                self.0.push(0xFF);
            }
        }
        self.bytes(&[0, 0])
    }

    /// The smallest key above every key that begins with this one; `None` above all.
    fn successor(&self) -> Option<Key> {
        let end = self.0.iter().rposition(|&byte| byte != 0xFF)?;
        let mut bytes = self.0[..=end].to_vec();
        bytes[end] += 1;
        Some(Key(bytes))
    }

    /// The range of all keys that begin with this one.
    pub(crate) fn prefixed(&self) -> Range {
        Range { from: Bound::Included(self.clone()), to: self.successor().map_or(Bound::Unbounded, Bound::Excluded) }
    }
}

/// A range of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) from: Bound<Key>,
    pub(crate) to: Bound<Key>,
}

impl Range {
    pub(crate) const ALL: Range = Range { from: Bound::Unbounded, to: Bound::Unbounded };

    /// Narrowed to begin at a key, which must lie within.
    pub(crate) fn starting_at(self, key: Key) -> Self {
        Self { from: Bound::Included(key), ..self }
    }

    /// Narrowed to begin right after a key, which must lie within.
    pub(crate) fn starting_after(self, key: Key) -> Self {
        Self { from: Bound::Excluded(key), ..self }
    }

    /// Narrowed to end right before a key, which must lie within.
    pub(crate) fn ending_before(self, key: Key) -> Self {
        Self { to: Bound::Excluded(key), ..self }
    }

    /// The bounds as the database takes them.
    pub(crate) fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (self.from.as_ref().map(Key::as_bytes), self.to.as_ref().map(Key::as_bytes))
    }
}

pub(crate) fn conn(conn: ConnNo) -> Key {
    Key(conn.0.to_be_bytes().to_vec())
}

pub(crate) fn conn_sync(no: ConnNo, sync: SyncNo) -> Key {
    conn(no).sync(sync)
}

/// `marker`, `open_write`; also the prefix of a pair's `history`.
pub(crate) fn pair(no: ConnNo, sync: SyncNo, pair: PairNo) -> Key {
    conn_sync(no, sync).pair(pair)
}

/// `by_id`, `pending_by_id`, `quarantine`.
pub(crate) fn side_id(no: ConnNo, sync: SyncNo, side: Side, id: &str) -> Key {
    conn_sync(no, sync).side(side).bytes(id.as_bytes())
}

/// Prefix of the `by_match` rows of one match key on one side.
pub(crate) fn matches(no: ConnNo, sync: SyncNo, hash: Digest, side: Side) -> Key {
    conn_sync(no, sync).bytes(&hash.0).side(side)
}

/// `by_match`.
pub(crate) fn match_row(no: ConnNo, sync: SyncNo, hash: Digest, side: Side, pair: PairNo) -> Key {
    matches(no, sync, hash, side).pair(pair)
}

/// Prefix of a lane's `pending` rows.
pub(crate) fn lane(no: ConnNo, lane: Lane) -> Key {
    conn(no).bytes(&[lane.byte()])
}

/// `pending`.
pub(crate) fn pending(no: ConnNo, lane_of: Lane, seq: u64) -> Key {
    lane(no, lane_of).bytes(&seq.to_be_bytes())
}

/// `inbox`.
pub(crate) fn inbox(no: ConnNo, seq: u64) -> Key {
    conn(no).bytes(&seq.to_be_bytes())
}

/// `dedup`.
pub(crate) fn delivery(no: ConnNo, key: Digest) -> Key {
    conn(no).bytes(&key.0)
}

/// `cursor`.
pub(crate) fn cursor(no: ConnNo, sync: SyncNo, side: Side, stream: StreamNo) -> Key {
    conn_sync(no, sync).side(side).bytes(&[stream.0])
}

/// `history`.
pub(crate) fn history(no: ConnNo, sync: SyncNo, pair_no: PairNo, seq: u64) -> Key {
    pair(no, sync, pair_no).bytes(&seq.to_be_bytes())
}

/// Prefix of one object's rows in `record`, `record_gone` and `change`.
pub(crate) fn object(scope: &Scope, object: &ObjectName) -> Key {
    Key::default().closed_text(scope.as_str()).closed_text(object.as_str())
}

/// `record`, `record_gone`.
pub(crate) fn record(scope: &Scope, object_name: &ObjectName, id: &RecordId) -> Key {
    object(scope, object_name).bytes(id.as_str().as_bytes())
}

/// `change`.
pub(crate) fn change(scope: &Scope, object_name: &ObjectName, seq: u64) -> Key {
    object(scope, object_name).bytes(&seq.to_be_bytes())
}

/// The kinds of names that are interned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NameKind {
    Connection,
    Sync,
    /// The fields of one sync.
    Field(SyncNo),
}

impl NameKind {
    fn key(self) -> Key {
        match self {
            NameKind::Connection => Key(vec![0]),
            NameKind::Sync => Key(vec![1]),
            NameKind::Field(sync) => Key(vec![2]).sync(sync),
        }
    }
}

/// `name`: a name's number.
pub(crate) fn name(kind: NameKind, text: &str) -> Key {
    kind.key().bytes(text.as_bytes())
}

/// `name_of`: a number's name. Also counts: the last row of a kind holds its greatest
/// number.
pub(crate) fn name_of(kind: NameKind, number: u32) -> Key {
    kind.key().bytes(&number.to_be_bytes())
}

/// Prefix of the `name_of` rows of one kind.
pub(crate) fn names_of(kind: NameKind) -> Key {
    kind.key()
}

/// Takes a key apart from the left. Every step is `None` once the key is too short or
/// holds a byte that stands for nothing.
pub(crate) struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    pub(crate) fn new(key: &'a [u8]) -> Self {
        Self(key)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn conn(&mut self) -> Option<ConnNo> {
        self.u32().map(ConnNo)
    }

    pub(crate) fn sync(&mut self) -> Option<SyncNo> {
        self.array().map(u16::from_be_bytes).map(SyncNo)
    }

    pub(crate) fn pair(&mut self) -> Option<PairNo> {
        self.u64().map(PairNo)
    }

    pub(crate) fn side(&mut self) -> Option<Side> {
        let byte = self.byte()?;
        Side::BOTH.into_iter().find(|side| side.byte() == byte)
    }

    pub(crate) fn lane(&mut self) -> Option<Lane> {
        let byte = self.byte()?;
        Lane::ALL.into_iter().find(|lane| lane.byte() == byte)
    }

    pub(crate) fn digest(&mut self) -> Option<Digest> {
        self.array().map(Digest)
    }

    pub(crate) fn stream(&mut self) -> Option<StreamNo> {
        self.byte().map(StreamNo)
    }

    /// A text that was closed.
    pub(crate) fn closed_text(&mut self) -> Option<String> {
        let mut text = Vec::new();
        loop {
            match self.byte()? {
                0 => match self.byte()? {
                    0 => return String::from_utf8(text).ok(),
                    0xFF => text.push(0),
                    _ => return None,
                },
                byte => text.push(byte),
            }
        }
    }

    /// Everything that is left, as text.
    pub(crate) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(std::mem::take(&mut self.0)).ok()
    }

    /// Refuses a key with something left over.
    pub(crate) fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// A number of a kind as a field number.
pub(crate) fn field_no(number: u32) -> Option<FieldNo> {
    u16::try_from(number).ok().map(FieldNo)
}

#[cfg(test)]
mod tests {
    use super::*;

    const C: ConnNo = ConnNo(7);
    const S: SyncNo = SyncNo(300);

    fn ascending(keys: &[Key]) {
        for pair in keys.windows(2) {
            assert!(pair[0] < pair[1], "{pair:?}");
        }
    }

    #[test]
    fn numbers_sort_by_value_across_byte_borders() {
        ascending(&[
            pair(ConnNo(1), SyncNo(255), PairNo(u64::MAX)),
            pair(ConnNo(1), SyncNo(256), PairNo(0)),
            pair(ConnNo(1), SyncNo(256), PairNo(255)),
            pair(ConnNo(1), SyncNo(256), PairNo(256)),
            pair(ConnNo(256), SyncNo(0), PairNo(0)),
        ]);
        ascending(&Lane::ALL.map(|l| pending(C, l, u64::MAX)));
        ascending(&[pending(C, Lane::Event, u64::MAX), pending(C, Lane::Webhook, 0)]);
        ascending(&[pending(C, Lane::Event, 255), pending(C, Lane::Event, 256)]);
    }

    #[test]
    fn texts_in_the_middle_keep_their_order_and_never_run_into_the_next_part() {
        let texts = ["", "\0", "\0\0", "\0a", "\u{1}", "a", "a\0", "a\0\0", "a\0b", "ab", "b", "ä"];
        let mut seen = std::collections::BTreeSet::new();
        for scope in texts {
            for name in texts {
                for id in texts {
                    let (scope, name, id) = (Scope::from(scope), ObjectName::from(name), RecordId::from(id));
                    let key = record(&scope, &name, &id);
                    assert!(seen.insert(key.clone()), "{scope:?} {name:?} {id:?} collides");
                    let mut parts = Parts::new(key.as_bytes());
                    assert_eq!(parts.closed_text().as_deref(), Some(scope.as_str()));
                    assert_eq!(parts.closed_text().as_deref(), Some(name.as_str()));
                    assert_eq!(parts.text(), Some(id.as_str()));
                }
            }
        }
        ascending(&texts.map(|text| object(&Scope::from(text), &ObjectName::from("o"))));
    }

    #[test]
    fn a_prefix_range_holds_exactly_the_keys_of_its_prefix() {
        let within = |range: &Range, key: &Key| {
            use std::ops::RangeBounds;
            (range.from.as_ref(), range.to.as_ref()).contains(key)
        };
        let contacts = object(&Scope::from("a"), &ObjectName::from("contacts")).prefixed();
        let key = |scope: &str, name: &str, id: &str| record(&scope.into(), &name.into(), &id.into());
        assert!(within(&contacts, &key("a", "contacts", "")));
        assert!(within(&contacts, &key("a", "contacts", "\u{10FFFF}")));
        for other in
            [key("a", "contact", "s"), key("a", "contacts2", ""), key("a", "contacts\0", "x"), key("", "a", "contacts")]
        {
            assert!(!within(&contacts, &other), "{other:?}");
        }
        let last = conn(ConnNo(u32::MAX)).prefixed();
        assert_eq!(last.to, Bound::Unbounded);
        assert!(within(&last, &pair(ConnNo(u32::MAX), SyncNo(u16::MAX), PairNo(u64::MAX))));
        assert!(!within(&last, &pair(ConnNo(u32::MAX - 1), SyncNo(u16::MAX), PairNo(u64::MAX))));
        let carry = conn(ConnNo(0x00FF)).prefixed();
        assert!(within(&carry, &pair(ConnNo(0xFF), SyncNo(u16::MAX), PairNo(u64::MAX))));
        assert!(!within(&carry, &conn(ConnNo(0x100))));
    }

    #[test]
    fn ids_stay_verbatim_at_the_end_of_a_key() {
        for id in ["", "a", "a/b c.d", "\0", "a\0b", "007", "7"] {
            let key = side_id(C, S, Side::Remote, id);
            let mut parts = Parts::new(key.as_bytes());
            assert_eq!(parts.conn(), Some(C));
            assert_eq!(parts.sync(), Some(S));
            assert_eq!(parts.side(), Some(Side::Remote));
            assert_eq!(parts.text(), Some(id));
        }
    }

    #[test]
    fn a_broken_key_is_noticed() {
        assert_eq!(Parts::new(&[0, 0, 0]).conn(), None);
        assert_eq!(Parts::new(&[9]).side(), None);
        assert_eq!(Parts::new(&[9]).lane(), None);
        assert_eq!(Parts::new(&[0xFF]).text(), None);
        assert_eq!(Parts::new(b"a\0b").closed_text(), None);
        assert_eq!(Parts::new(b"a").closed_text(), None);
        assert_eq!(Parts::new(b"a").end(), None);
    }
}
