//! The marker: everything durable about one pair.

use serde::{Deserialize, Serialize};

use super::hash::{Digest, RawHash};
use super::ids::{FieldNo, RecordId, Version};
use super::record::DeletionCause;
use super::side::{PerSide, Side};
use super::value::Value;
use crate::planted::{self, Bug};

/// Everything durable about one pair of records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// Whether both, one or none of the records exist.
    pub state: LinkState,
    /// What is known of each side.
    pub sides: PerSide<SideState>,
    /// The mapping the bases were taken under.
    pub mapping_hash: Digest,
    /// The side whose record left the sync's filter, if one did. Such a pair is left
    /// alone, and never deleted, until it comes back.
    pub out_of_scope: Option<Side>,
}

/// Whether both, one or none of a pair's records exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LinkState {
    /// One side only is known; it waits for its partner to be found or made.
    Half,
    /// Both ids are known and a base was agreed.
    Linked,
    /// One side was deleted; kept so that a stale page cannot bring it back.
    Tomb {
        /// Where the deletion came from.
        side: Side,
        /// Whether the other side's record is gone too. In a one-way sync a record
        /// deleted on the target leaves the source's alive.
        both: bool,
        /// When it was seen, in milliseconds since 1970.
        at_ms: i64,
        /// On what evidence.
        cause: DeletionCause,
    },
}

/// What is known of one side of a pair.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SideState {
    /// The record's id there; `None` in a half marker's missing half.
    pub id: Option<RecordId>,
    /// Its revision when it was last read or written.
    pub version: Option<Version>,
    /// Hash of its text when it was last accounted for. Allows a skip only while
    /// nothing is pending for it and the mapping is the same.
    pub raw_hash: Option<RawHash>,
    /// The states before our last writes, the newest first, by which a stale replica's
    /// answer is told from somebody's edit back. Only such as a replica may still show;
    /// at most [`MOST_PREVIOUS`].
    pub previous: Vec<Previous>,
    /// When we last wrote it, in milliseconds since 1970.
    pub written_at_ms: Option<i64>,
    /// Hash of its match key, kept so that its index row can be found again.
    pub match_key: Option<Digest>,
    /// The values which this side was known to store when the pair last agreed, in
    /// the app's form, by field. For the remote side only where it differs from the
    /// app's: read it through [`Marker::base`].
    pub base: Vec<(FieldNo, BaseValue)>,
}

/// How many states before our own writes are kept: more writes of one record within the
/// lag of its side's reads are rare, and then the oldest may look like an edit.
pub const MOST_PREVIOUS: usize = 4;

/// A side's state before a write of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Previous {
    /// Digest of all its mapped fields.
    pub digest: Digest,
    /// Its revision, where told.
    pub version: Option<Version>,
}

/// The longest canonical value kept whole in a base, in bytes; a longer one is kept
/// as its digest. Most fields of a CRM record are shorter, so most merges need no
/// second read.
pub const MAX_INLINE_BYTES: usize = 128;

/// A field's value in a base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum BaseValue {
    /// The key was absent.
    Absent,
    /// The value itself.
    Inline(Value),
    /// The digest of a value too long to keep.
    Digest(Digest),
}

impl BaseValue {
    /// Keeps a value, or its digest when it is long.
    #[must_use]
    pub fn of(value: Option<&Value>) -> Self {
        let Some(value) = value else { return BaseValue::Absent };
        let mut bytes = Vec::with_capacity(64);
        value.write_canonical(&mut bytes);
        if bytes.len() <= MAX_INLINE_BYTES {
            BaseValue::Inline(value.clone())
        } else {
            BaseValue::Digest(Digest::of(&bytes))
        }
    }

    /// Adds it to what is hashed of a whole state: the same from a value as from what is
    /// kept of it.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            BaseValue::Absent => out.push(b'-'),
            BaseValue::Inline(value) => value.write_canonical(out),
            BaseValue::Digest(digest) => out.extend_from_slice(&digest.0),
        }
    }

    /// Whether a value means the same as the one kept.
    #[must_use]
    pub fn same(&self, value: Option<&Value>) -> bool {
        match (self, value) {
            (BaseValue::Absent, None) => true,
            (BaseValue::Inline(base), Some(value)) => base.same(value),
            (BaseValue::Digest(base), Some(value)) => *base == value.digest(),
            (BaseValue::Absent | BaseValue::Inline(_) | BaseValue::Digest(_), _) => false,
        }
    }

    /// Whether two kept values mean the same.
    #[must_use]
    pub fn agrees(&self, other: &BaseValue) -> bool {
        match (self, other) {
            (BaseValue::Absent, BaseValue::Absent) => true,
            (BaseValue::Inline(a), BaseValue::Inline(b)) => a.same(b),
            (BaseValue::Digest(a), BaseValue::Digest(b)) => a == b,
            (BaseValue::Absent | BaseValue::Inline(_) | BaseValue::Digest(_), _) => false,
        }
    }
}

impl Marker {
    /// A marker that knows nothing yet.
    #[must_use]
    pub fn new(mapping_hash: Digest) -> Self {
        Self { state: LinkState::Half, sides: PerSide::default(), mapping_hash, out_of_scope: None }
    }

    /// The base of one field on one side; `None` where that field never agreed.
    #[must_use]
    pub fn base(&self, side: Side, field: FieldNo) -> Option<&BaseValue> {
        let own = find(&self.sides[side].base, field);
        match side {
            Side::App => own,
            // The remote base is kept only where it differs, so the app's stands in.
            Side::Remote => own.or_else(|| find(&self.sides.app.base, field)),
        }
    }

    /// What stands on the sides is not all that the bases say: neither a text nor a version may be
    /// taken for accounted for.
    pub fn vouch_for_neither_side(&mut self) {
        for side in Side::BOTH {
            self.sides[side].version = None;
            self.sides[side].raw_hash = None;
        }
    }

    /// Replaces both bases, keeping the remote's only where it differs. Each side
    /// lists the same fields.
    pub fn set_bases(&mut self, bases: PerSide<Vec<(FieldNo, BaseValue)>>) {
        let PerSide { app, remote } = bases;
        self.sides.remote.base = remote
            .into_iter()
            .filter(|_| !planted::is(Bug::OneBaseForBoth))
            .filter(|(field, value)| !find(&app, *field).is_some_and(|other| other.agrees(value)))
            .collect();
        self.sides.app.base = app;
    }

    /// The record of a side, as long as it is not known to be gone.
    #[must_use]
    pub fn standing(&self, side: Side) -> Option<&RecordId> {
        let stands = match &self.state {
            LinkState::Half | LinkState::Linked => true,
            LinkState::Tomb { side: gone, both, .. } => !both && *gone != side,
        };
        self.sides[side].id.as_ref().filter(|_| stands)
    }

    /// The side of a half marker that is known.
    #[must_use]
    pub fn known_half(&self) -> Option<Side> {
        match (&self.state, &self.sides.app.id, &self.sides.remote.id) {
            (LinkState::Half, Some(_), None) => Some(Side::App),
            (LinkState::Half, None, Some(_)) => Some(Side::Remote),
            (LinkState::Half | LinkState::Linked | LinkState::Tomb { .. }, _, _) => None,
        }
    }
}

fn find(base: &[(FieldNo, BaseValue)], field: FieldNo) -> Option<&BaseValue> {
    base.iter().find(|(other, _)| *other == field).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remote_base_is_kept_only_where_it_differs() {
        let mut marker = Marker::new(Digest::of(b""));
        let text = |text: &str| BaseValue::of(Some(&Value::string(text)));
        marker.set_bases(PerSide {
            app: vec![(FieldNo(1), text("a")), (FieldNo(2), text(" b ")), (FieldNo(3), BaseValue::Absent)],
            remote: vec![(FieldNo(1), text("a")), (FieldNo(2), text("b")), (FieldNo(3), BaseValue::Absent)],
        });
        assert_eq!(marker.sides.remote.base, vec![(FieldNo(2), text("b"))]);
        assert_eq!(marker.base(Side::Remote, FieldNo(1)), Some(&text("a")));
        assert_eq!(marker.base(Side::Remote, FieldNo(2)), Some(&text("b")));
        assert_eq!(marker.base(Side::App, FieldNo(2)), Some(&text(" b ")));
        assert_eq!(marker.base(Side::App, FieldNo(9)), None);
    }

    #[test]
    fn long_values_are_kept_as_digests_and_still_compare() {
        let long = Value::string("x".repeat(500));
        let base = BaseValue::of(Some(&long));
        assert!(matches!(base, BaseValue::Digest(_)));
        assert!(base.same(Some(&long)));
        assert!(!base.same(Some(&Value::string("y".repeat(500)))));
        assert!(!base.same(None));
    }
}
