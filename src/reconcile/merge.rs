//! The three-way merge of one field: each side against its own base.

use std::cmp::Ordering;

use crate::model::direction::Direction;
use crate::model::marker::BaseValue;
use crate::model::side::{PerSide, Side};
use crate::model::value::Value;
use crate::planted::{self, Bug};

/// How one field is to be merged.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// The sync's direction.
    pub direction: Direction,
    /// The side that decides the field; `None` where it is shared.
    pub owner: Option<Side>,
    /// Who wins a true conflict of a shared field.
    pub conflict: Winner,
    /// Who wins where the two differ without ever having agreed.
    pub initial: Initial,
    /// Who wins where nothing else decides.
    pub tie: Side,
}

/// Who wins a conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Winner {
    /// This side.
    Side(Side),
    /// The side that was modified last; the tie-breaker where that is not known.
    Newest,
}

/// Who wins where two paired records differ and have no base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Initial {
    /// This side; a blank is filled from the other.
    Side(Side),
    /// The side that was modified last; a blank is filled.
    Newest,
    /// Nobody: the pair is held for a person.
    Ask,
    /// They stay as they are, and that is taken as their base. For a field that a
    /// changed mapping added to a pair linked long ago.
    Leave,
}

/// One side's value of a field, in the app's form.
#[derive(Debug, Clone, Copy)]
pub enum Held<'a> {
    /// As read; `None` when the key is absent.
    Read(Option<&'a Value>),
    /// Not read, and taken to be as its base says.
    AsBase,
}

/// What to do with one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing changed.
    Keep,
    /// Nothing is written, and each side's present value becomes its base.
    Adopt,
    /// Copy the winner's value to the other side. `lost` says that the other side's
    /// value was somebody's edit, or stood there before the two ever agreed.
    Copy {
        /// The side whose value is kept.
        winner: Side,
        /// Why the other side's value goes.
        cause: Cause,
    },
    /// The side that may not write this field edited it in a one-way sync; it is left
    /// alone.
    LeaveEdit,
    /// A person must decide.
    Undecided,
}

/// Why a value is overwritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It had not changed since the two agreed.
    Change,
    /// Both had changed: the loser's value is recorded.
    Conflict,
    /// It was edited on the side that does not own it: put back, and recorded.
    PutBack,
    /// They never agreed: the loser's value is recorded unless it is blank.
    Initial,
}

/// Merges one field.
///
/// `bases` holds each side's own base, `None` where the field never agreed. `same`
/// says whether the two present values mean the same under the field's lens.
/// `newer` orders the app's modification against the remote's, where both are known.
#[must_use]
pub fn merge(
    rule: Rule,
    bases: PerSide<Option<&BaseValue>>,
    held: PerSide<Held<'_>>,
    same: bool,
    newer: Option<Ordering>,
) -> Verdict {
    let (Some(app_base), Some(remote_base)) = (bases.app, bases.remote) else {
        return first_meeting(rule, held, same, newer);
    };
    match (changed(held.app, app_base), changed(held.remote, remote_base)) {
        (false, false) => Verdict::Keep,
        (true, true) | (true, false) | (false, true) if same => Verdict::Adopt,
        (true, false) => one_changed(rule, Side::App),
        (false, true) => one_changed(rule, Side::Remote),
        (true, true) => both_changed(rule, newer),
    }
}

fn changed(held: Held<'_>, base: &BaseValue) -> bool {
    match held {
        Held::Read(value) => !base.same(value),
        Held::AsBase => false,
    }
}

fn one_changed(rule: Rule, side: Side) -> Verdict {
    let other = side.other();
    if rule.owner == Some(other) && !planted::is(Bug::OwnerIgnoredOnUpdate) {
        return match rule.direction {
            Direction::TwoWay => Verdict::Copy { winner: other, cause: Cause::PutBack },
            Direction::Out | Direction::In => Verdict::LeaveEdit,
        };
    }
    let may_write = rule.direction.writes(other) || planted::is(Bug::OneWayWritesBack);
    if may_write { Verdict::Copy { winner: side, cause: Cause::Change } } else { Verdict::LeaveEdit }
}

fn both_changed(rule: Rule, newer: Option<Ordering>) -> Verdict {
    let winner = match (rule.direction.target(), rule.owner, rule.conflict) {
        (Some(target), _, _) => target.other(),
        (None, Some(owner), _) => owner,
        (None, None, Winner::Side(side)) => side,
        (None, None, Winner::Newest) => newest(newer, rule.tie),
    };
    Verdict::Copy { winner, cause: Cause::Conflict }
}

fn newest(newer: Option<Ordering>, tie: Side) -> Side {
    match newer {
        Some(Ordering::Greater) => Side::App,
        Some(Ordering::Less) => Side::Remote,
        Some(Ordering::Equal) | None => tie,
    }
}

/// The two stand side by side for the first time.
fn first_meeting(rule: Rule, held: PerSide<Held<'_>>, same: bool, newer: Option<Ordering>) -> Verdict {
    if same || rule.initial == Initial::Leave {
        return Verdict::Adopt;
    }
    let winner = match (rule.direction.target(), rule.owner) {
        (Some(target), _) => target.other(),
        (None, Some(owner)) => owner,
        (None, None) => match (is_blank(held.app), is_blank(held.remote), rule.initial) {
            // A shared blank is filled whatever the policy; nobody loses by it.
            (true, false, _) => Side::Remote,
            (false, true, _) => Side::App,
            (_, _, Initial::Side(side)) => side,
            (_, _, Initial::Newest) => newest(newer, rule.tie),
            (_, _, Initial::Ask | Initial::Leave) => return Verdict::Undecided,
        },
    };
    Verdict::Copy { winner, cause: Cause::Initial }
}

fn is_blank(held: Held<'_>) -> bool {
    match held {
        Held::Read(value) => value.is_none_or(Value::is_blank),
        Held::AsBase => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARED: Rule = Rule {
        direction: Direction::TwoWay,
        owner: None,
        conflict: Winner::Side(Side::App),
        initial: Initial::Side(Side::App),
        tie: Side::App,
    };

    fn text(text: &str) -> Option<Value> {
        match text {
            "-" => None,
            "null" => Some(Value::Null),
            text => Some(Value::string(text)),
        }
    }

    /// Runs a case written as texts; `-` is an absent key, `?` no base.
    fn run(rule: Rule, app_base: &str, remote_base: &str, app: &str, remote: &str, newer: Option<Ordering>) -> Verdict {
        let base = |word: &str| (word != "?").then(|| BaseValue::of(text(word).as_ref()));
        let bases = PerSide { app: base(app_base), remote: base(remote_base) };
        let (app, remote) = (text(app), text(remote));
        let held = PerSide { app: Held::Read(app.as_ref()), remote: Held::Read(remote.as_ref()) };
        merge(rule, PerSide { app: bases.app.as_ref(), remote: bases.remote.as_ref() }, held, app == remote, newer)
    }

    fn copy(winner: Side, cause: Cause) -> Verdict {
        Verdict::Copy { winner, cause }
    }

    #[test]
    fn shared_fields_merge_against_each_sides_own_base() {
        use Side::{App, Remote};
        for (app_base, remote_base, app, remote, want) in [
            ("a", "a", "a", "a", Verdict::Keep),
            (" a ", "a", " a ", "a", Verdict::Keep),
            ("a", "a", "b", "a", copy(App, Cause::Change)),
            ("a", "a", "a", "b", copy(Remote, Cause::Change)),
            ("a", "a", "-", "a", copy(App, Cause::Change)),
            ("a", "a", "null", "a", copy(App, Cause::Change)),
            ("null", "null", "-", "null", copy(App, Cause::Change)),
            ("a", "a", "b", "b", Verdict::Adopt),
            ("a", "a", "b", "c", copy(App, Cause::Conflict)),
            ("?", "?", "a", "a", Verdict::Adopt),
            ("?", "?", "a", "b", copy(App, Cause::Initial)),
            ("?", "?", "-", "b", copy(Remote, Cause::Initial)),
            ("?", "?", "a", "null", copy(App, Cause::Initial)),
        ] {
            assert_eq!(
                run(SHARED, app_base, remote_base, app, remote, None),
                want,
                "{app_base} {remote_base} {app} {remote}"
            );
        }
    }

    #[test]
    fn the_owner_decides_and_edits_of_others_are_put_back_or_left() {
        let owned = |owner, direction| Rule { owner: Some(owner), direction, ..SHARED };
        let app = owned(Side::App, Direction::TwoWay);
        assert_eq!(run(app, "a", "a", "a", "b", None), copy(Side::App, Cause::PutBack));
        assert_eq!(run(app, "a", "a", "b", "c", None), copy(Side::App, Cause::Conflict));
        assert_eq!(run(app, "?", "?", "-", "b", None), copy(Side::App, Cause::Initial));
        let remote = owned(Side::Remote, Direction::TwoWay);
        assert_eq!(run(remote, "a", "a", "b", "a", None), copy(Side::Remote, Cause::PutBack));
        assert_eq!(run(owned(Side::App, Direction::Out), "a", "a", "a", "b", None), Verdict::LeaveEdit);
    }

    #[test]
    fn one_way_syncs_write_one_side_only() {
        for (direction, target) in [(Direction::Out, Side::Remote), (Direction::In, Side::App)] {
            let rule = Rule { direction, ..SHARED };
            for (base, app, remote) in
                [("a", "b", "a"), ("a", "a", "b"), ("a", "b", "c"), ("?", "b", "c"), ("?", "-", "c")]
            {
                match run(rule, base, base, app, remote, Some(Ordering::Greater)) {
                    Verdict::Copy { winner, .. } => {
                        assert_eq!(winner, target.other(), "{direction:?} {base} {app} {remote}")
                    }
                    verdict => assert_eq!(verdict, Verdict::LeaveEdit, "{direction:?} {base} {app} {remote}"),
                }
            }
        }
    }

    #[test]
    fn policies_decide_true_conflicts() {
        let newest = Rule { conflict: Winner::Newest, tie: Side::Remote, ..SHARED };
        for (newer, winner) in [
            (Some(Ordering::Greater), Side::App),
            (Some(Ordering::Less), Side::Remote),
            (Some(Ordering::Equal), Side::Remote),
            (None, Side::Remote),
        ] {
            assert_eq!(run(newest, "a", "a", "b", "c", newer), copy(winner, Cause::Conflict));
        }
        let ask = Rule { initial: Initial::Ask, ..SHARED };
        assert_eq!(run(ask, "?", "?", "b", "c", None), Verdict::Undecided);
        assert_eq!(run(ask, "?", "?", "b", "-", None), copy(Side::App, Cause::Initial));
        let leave = Rule { initial: Initial::Leave, ..SHARED };
        assert_eq!(run(leave, "?", "?", "b", "c", None), Verdict::Adopt);
    }
}
