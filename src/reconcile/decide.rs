//! What to do with one pair, from what is known of it: one table, no data.
//!
//! `plan` finds out how each side stands and carries the answer out.

use crate::model::direction::Direction;
use crate::model::side::Side;
use crate::planted::{self, Bug};

/// How one side of a known pair stands against its own base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Nobody has looked.
    NotRead,
    /// It is gone, on positive evidence.
    Absent,
    /// As its base says.
    Same,
    /// Different from its own base.
    Changed,
}

/// What the marker says about a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// There is no marker.
    Unknown,
    /// One side is known and has no partner yet.
    Half,
    /// Both are known.
    Linked,
    /// The record of this side was deleted, and perhaps the other's too.
    Tomb {
        /// Whose deletion it was.
        side: Side,
        /// Whether the other record is gone too.
        both: bool,
    },
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Nothing but keeping the books.
    Nothing,
    /// Look at this side, then ask again.
    ReadFirst(Side),
    /// A live record without a partner: pair it, make its partner, or hold it.
    Contact(Side),
    /// Both live: merge field by field.
    Merge,
    /// The record was deleted on the other side: delete it on this one.
    Delete(Side),
    /// The record was edited on the other side after it was deleted on this one: the
    /// edit wins and it is made again here.
    Recreate(Side),
    /// Remember that this side's record is gone; nothing is written.
    Bury {
        /// Whose record is gone.
        side: Side,
        /// Whether the other's is gone too.
        both: bool,
    },
    /// Both live again after a deletion: link them anew, as at first contact.
    Relink,
    /// A half marker's record is gone: forget it.
    Forget,
}

/// Decides about one pair.
///
/// `trusted` says that a side nobody has read may be taken to be as it was, because
/// the write will be refused if it is not (a conditional write on a known version).
/// A deletion is never decided on trust in a two-way sync, because an edit there wins.
#[must_use]
pub fn decide(link: Link, app: Seen, remote: Seen, direction: Direction, trusted: bool) -> Decision {
    match link {
        Link::Unknown => match (live(app), live(remote)) {
            (true, true | false) => Decision::Contact(Side::App),
            (false, true) => Decision::Contact(Side::Remote),
            (false, false) => Decision::Nothing,
        },
        Link::Half => match (app, remote) {
            (Seen::Same | Seen::Changed, _) => Decision::Contact(Side::App),
            (_, Seen::Same | Seen::Changed) => Decision::Contact(Side::Remote),
            (Seen::Absent, Seen::NotRead | Seen::Absent) | (Seen::NotRead, Seen::Absent) => Decision::Forget,
            (Seen::NotRead, Seen::NotRead) => Decision::Nothing,
        },
        Link::Linked => linked(app, remote, direction, trusted),
        Link::Tomb { side, both } => {
            let (gone, other) = match side {
                Side::App => (app, remote),
                Side::Remote => (remote, app),
            };
            if both { both_buried(side, gone, other, direction) } else { one_buried(side, gone, other, direction) }
        }
    }
}

/// Whether a record is there.
#[must_use]
pub fn live(seen: Seen) -> bool {
    match seen {
        Seen::Same | Seen::Changed => true,
        Seen::NotRead | Seen::Absent => false,
    }
}

fn linked(app: Seen, remote: Seen, direction: Direction, trusted: bool) -> Decision {
    match (app, remote) {
        (Seen::NotRead, Seen::NotRead | Seen::Same) | (Seen::Same, Seen::NotRead | Seen::Same) => Decision::Nothing,
        (Seen::Changed, Seen::NotRead) if trusted => Decision::Merge,
        (Seen::NotRead, Seen::Changed) if trusted => Decision::Merge,
        (Seen::Changed, Seen::NotRead) => Decision::ReadFirst(Side::Remote),
        (Seen::NotRead, Seen::Changed) => Decision::ReadFirst(Side::App),
        (Seen::Changed, Seen::Same | Seen::Changed) | (Seen::Same, Seen::Changed) => Decision::Merge,
        (Seen::Absent, Seen::Absent) => Decision::Bury { side: Side::App, both: true },
        (Seen::Absent, other) => deleted(Side::App, other, direction),
        (other, Seen::Absent) => deleted(Side::Remote, other, direction),
    }
}

/// One side of a linked pair was deleted. `other` is not absent.
fn deleted(side: Side, other: Seen, direction: Direction) -> Decision {
    let other_side = side.other();
    if !direction.writes(other_side) {
        // The target of a one-way sync was deleted. Its source is made again there
        // once it changes; until then the deletion is respected.
        return match other {
            Seen::Changed => Decision::Recreate(side),
            Seen::NotRead | Seen::Same | Seen::Absent => Decision::Bury { side, both: false },
        };
    }
    if !direction.writes(side) {
        // The source of a one-way sync was deleted; the target's edits do not count.
        return Decision::Delete(other_side);
    }
    match other {
        Seen::NotRead if planted::is(Bug::DeletedUnread) => Decision::Delete(other_side),
        Seen::NotRead => Decision::ReadFirst(other_side),
        Seen::Same | Seen::Absent => Decision::Delete(other_side),
        Seen::Changed => Decision::Recreate(side),
    }
}

/// Both were buried. Only a read by id, which `plan` asks for, may bring one back.
fn both_buried(side: Side, gone: Seen, other: Seen, direction: Direction) -> Decision {
    match (live(gone), live(other)) {
        (false, false) => Decision::Nothing,
        (true, true) => Decision::Relink,
        (true, false) => revived(side, other, direction),
        (false, true) => revived(side.other(), gone, direction),
    }
}

/// This side's buried record is back; the other one is not known to be.
fn revived(side: Side, other: Seen, direction: Direction) -> Decision {
    if !direction.writes(side.other()) {
        return Decision::Nothing;
    }
    match other {
        Seen::NotRead => Decision::ReadFirst(side.other()),
        Seen::Absent => Decision::Recreate(side.other()),
        Seen::Same | Seen::Changed => Decision::Relink,
    }
}

/// One was buried and the other lives on.
fn one_buried(side: Side, gone: Seen, other: Seen, direction: Direction) -> Decision {
    match (gone, other) {
        (Seen::Same | Seen::Changed, Seen::NotRead) => Decision::ReadFirst(side.other()),
        (Seen::Same | Seen::Changed, Seen::Same | Seen::Changed) => Decision::Relink,
        (Seen::Same | Seen::Changed, Seen::Absent) => revived(side, Seen::Absent, direction),
        // It may have come back since it was buried, and would then be there twice.
        (Seen::NotRead, Seen::Changed) if direction.writes(side) => Decision::ReadFirst(side),
        (Seen::Absent, Seen::Changed) if direction.writes(side) => Decision::Recreate(side),
        (Seen::NotRead | Seen::Absent, Seen::Absent) => Decision::Bury { side, both: true },
        (Seen::NotRead | Seen::Absent, Seen::NotRead | Seen::Same | Seen::Changed) => Decision::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Decision::{Bury, Contact, Delete, Forget, Merge, Nothing, ReadFirst, Recreate, Relink};
    use Direction::{In, Out, TwoWay};
    use Seen::{Absent, Changed, NotRead, Same};
    use Side::{App, Remote};

    #[test]
    fn linked_pairs_row_by_row() {
        // app, remote, two-way, out, in
        let rows = [
            (NotRead, NotRead, Nothing, Nothing, Nothing),
            (NotRead, Absent, ReadFirst(App), Bury { side: Remote, both: false }, Delete(App)),
            (NotRead, Same, Nothing, Nothing, Nothing),
            (NotRead, Changed, ReadFirst(App), ReadFirst(App), ReadFirst(App)),
            (Absent, NotRead, ReadFirst(Remote), Delete(Remote), Bury { side: App, both: false }),
            (
                Absent,
                Absent,
                Bury { side: App, both: true },
                Bury { side: App, both: true },
                Bury { side: App, both: true },
            ),
            (Absent, Same, Delete(Remote), Delete(Remote), Bury { side: App, both: false }),
            (Absent, Changed, Recreate(App), Delete(Remote), Recreate(App)),
            (Same, NotRead, Nothing, Nothing, Nothing),
            (Same, Absent, Delete(App), Bury { side: Remote, both: false }, Delete(App)),
            (Same, Same, Nothing, Nothing, Nothing),
            (Same, Changed, Merge, Merge, Merge),
            (Changed, NotRead, ReadFirst(Remote), ReadFirst(Remote), ReadFirst(Remote)),
            (Changed, Absent, Recreate(Remote), Recreate(Remote), Delete(App)),
            (Changed, Same, Merge, Merge, Merge),
            (Changed, Changed, Merge, Merge, Merge),
        ];
        for (app, remote, two_way, out, into) in rows {
            for (direction, want) in [(TwoWay, two_way), (Out, out), (In, into)] {
                assert_eq!(
                    decide(Link::Linked, app, remote, direction, false),
                    want,
                    "{app:?} {remote:?} {direction:?}"
                );
            }
        }
    }

    #[test]
    fn trust_spares_the_read_before_an_edit_but_never_before_a_delete() {
        assert_eq!(decide(Link::Linked, Changed, NotRead, TwoWay, true), Merge);
        assert_eq!(decide(Link::Linked, NotRead, Changed, TwoWay, true), Merge);
        assert_eq!(decide(Link::Linked, Absent, NotRead, TwoWay, true), ReadFirst(Remote));
        assert_eq!(decide(Link::Linked, NotRead, Absent, TwoWay, true), ReadFirst(App));
    }

    #[test]
    fn unknown_and_half_pairs_row_by_row() {
        for direction in [TwoWay, Out, In] {
            for (app, remote, unknown, half) in [
                (NotRead, NotRead, Nothing, Nothing),
                (NotRead, Absent, Nothing, Forget),
                (NotRead, Changed, Contact(Remote), Contact(Remote)),
                (Absent, NotRead, Nothing, Forget),
                (Absent, Absent, Nothing, Forget),
                (Absent, Changed, Contact(Remote), Contact(Remote)),
                (Same, NotRead, Contact(App), Contact(App)),
                (Changed, NotRead, Contact(App), Contact(App)),
                (Changed, Changed, Contact(App), Contact(App)),
            ] {
                assert_eq!(decide(Link::Unknown, app, remote, direction, false), unknown, "{app:?} {remote:?}");
                assert_eq!(decide(Link::Half, app, remote, direction, false), half, "{app:?} {remote:?}");
            }
        }
    }

    #[test]
    fn tombs_row_by_row() {
        let both = Link::Tomb { side: App, both: true };
        let one = Link::Tomb { side: Remote, both: false };
        for (link, app, remote, direction, want) in [
            (both, NotRead, NotRead, TwoWay, Nothing),
            (both, Absent, NotRead, TwoWay, Nothing),
            (both, Absent, Absent, TwoWay, Nothing),
            (both, Changed, NotRead, TwoWay, ReadFirst(Remote)),
            (both, Changed, Absent, TwoWay, Recreate(Remote)),
            (both, Same, Same, TwoWay, Relink),
            (both, NotRead, Same, TwoWay, ReadFirst(App)),
            (both, Absent, Same, TwoWay, Recreate(App)),
            (both, Absent, Same, Out, Nothing),
            (both, Changed, Absent, Out, Recreate(Remote)),
            (one, Same, NotRead, Out, Nothing),
            (one, Changed, NotRead, Out, ReadFirst(Remote)),
            (one, Changed, Absent, Out, Recreate(Remote)),
            (one, Absent, NotRead, Out, Bury { side: Remote, both: true }),
            (one, Absent, Absent, Out, Bury { side: Remote, both: true }),
            (one, NotRead, Same, Out, ReadFirst(App)),
            (one, Same, Changed, Out, Relink),
            (one, Absent, Changed, Out, Nothing),
            (one, Absent, Changed, TwoWay, Recreate(App)),
        ] {
            assert_eq!(decide(link, app, remote, direction, false), want, "{link:?} {app:?} {remote:?} {direction:?}");
        }
    }
}
