//! What must hold, one oracle for each invariant of `actors.md`.

use std::fmt;

/// One invariant, as something that can be seen to fail.
///
/// Where each is judged and which test runs it stands in the table of `actors.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Oracle {
    /// Every outside edit stands, was replaced, is recorded as a loser, or is held back.
    NoLostChange,
    /// No write on a side with conditional writes meets a record nobody had read.
    NoBlindOverwrite,
    /// No record stands twice because of us.
    NoDuplicateCreate,
    /// A settled world costs no write.
    NoEchoLoop,
    /// Both sides hold the same records with the same mapped values, and what is not
    /// mapped is as its own side left it.
    Convergence,
    /// A field is never written on the side that owns it, nor a source by a one-way sync.
    FieldOwnership,
    /// Whatever a cursor has passed is applied, pending or held back.
    CursorBehindWork,
    /// A cursor goes back only after the side has said that it is no longer valid, or
    /// a person has asked for everything.
    CursorMonotonic,
    /// Each side's base is what that side stores, once all is settled.
    MarkerTruth,
    /// Markers, index rows, intents and pending rows agree after every crash, and the
    /// state can be opened.
    AtomicState,
    /// What was gone on both sides stays gone.
    NoResurrection,
    /// Nothing is deleted whose partner stands.
    AbsenceIsNoDelete,
    /// A run that would delete much of a side stops and asks first.
    MassChangeBrake,
    /// No window of a limit holds more calls than it allows, and a pause that a side
    /// asked for is kept, over restarts too.
    RateLimit,
    /// After a mark is accepted a read of its record starts.
    MarksAreServed,
    /// What a trigger has accepted is not lost, over kills too: a read of what it names
    /// starts after that, and its inbox is empty at rest.
    AcceptedIsDurable,
    /// A change of which accepted hints have told stands on both sides although no run
    /// was asked for otherwise.
    HintsAreEnough,
    /// Never two writes to one record at once.
    SerialWrites,
    /// An epoch that was replaced cannot commit.
    OneOwner,
    /// No connection sees what belongs to another.
    Isolation,
    /// Without faults all work ends within a bounded time, whatever is poisoned.
    Liveness,
    /// A restart without outside change writes nothing and leaves the cursors.
    IdempotentRestart,
    /// The same seed gives the same trace.
    Determinism,
    /// Calls in flight and pending rows stay within their bounds.
    BoundedResources,
    /// Never two token refreshes of one connection at once.
    TokenSingleFlight,
    /// Another mapping reinterprets no base and writes nothing by itself.
    MappingChange,
    /// No create or delete is sent whose intent is not durable.
    FailClosed,
    /// The winner of a conflict does not depend on the order of arrival.
    ConflictIsAFunction,
    /// No panic but those that were asked for.
    NoPanic,
}

impl Oracle {
    /// All of them, in the order of their invariants.
    pub const ALL: [Oracle; 29] = [
        Oracle::NoLostChange,
        Oracle::NoBlindOverwrite,
        Oracle::NoDuplicateCreate,
        Oracle::NoEchoLoop,
        Oracle::Convergence,
        Oracle::FieldOwnership,
        Oracle::CursorBehindWork,
        Oracle::CursorMonotonic,
        Oracle::MarkerTruth,
        Oracle::AtomicState,
        Oracle::NoResurrection,
        Oracle::AbsenceIsNoDelete,
        Oracle::MassChangeBrake,
        Oracle::RateLimit,
        Oracle::MarksAreServed,
        Oracle::AcceptedIsDurable,
        Oracle::HintsAreEnough,
        Oracle::SerialWrites,
        Oracle::OneOwner,
        Oracle::Isolation,
        Oracle::Liveness,
        Oracle::IdempotentRestart,
        Oracle::Determinism,
        Oracle::BoundedResources,
        Oracle::TokenSingleFlight,
        Oracle::MappingChange,
        Oracle::FailClosed,
        Oracle::ConflictIsAFunction,
        Oracle::NoPanic,
    ];

    /// The invariant it judges, as numbered in `actors.md`.
    #[must_use]
    pub fn invariant(self) -> &'static str {
        match self {
            Oracle::NoLostChange => "I1",
            Oracle::NoBlindOverwrite => "I2",
            Oracle::NoDuplicateCreate => "I3",
            Oracle::NoEchoLoop => "I4",
            Oracle::Convergence => "I5",
            Oracle::FieldOwnership => "I6",
            Oracle::CursorBehindWork => "I7",
            Oracle::CursorMonotonic => "I8",
            Oracle::MarkerTruth => "I9",
            Oracle::AtomicState => "I10",
            Oracle::NoResurrection => "I11",
            Oracle::AbsenceIsNoDelete => "I12",
            Oracle::MassChangeBrake => "I13",
            Oracle::RateLimit => "I14",
            Oracle::MarksAreServed | Oracle::AcceptedIsDurable | Oracle::HintsAreEnough => "I15",
            Oracle::SerialWrites => "I16",
            Oracle::OneOwner => "I17",
            Oracle::Isolation => "I18",
            Oracle::Liveness | Oracle::NoPanic => "I19",
            Oracle::IdempotentRestart => "I20",
            Oracle::Determinism => "I21",
            Oracle::BoundedResources => "I22",
            Oracle::TokenSingleFlight => "I23",
            Oracle::MappingChange => "I24",
            Oracle::FailClosed => "I25",
            Oracle::ConflictIsAFunction => "I26",
        }
    }

    /// Its name in tests, documents and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Oracle::NoLostChange => "no_lost_change",
            Oracle::NoBlindOverwrite => "no_blind_overwrite",
            Oracle::NoDuplicateCreate => "no_duplicate_create",
            Oracle::NoEchoLoop => "no_echo_loop",
            Oracle::Convergence => "convergence",
            Oracle::FieldOwnership => "field_ownership",
            Oracle::CursorBehindWork => "cursor_behind_work",
            Oracle::CursorMonotonic => "cursor_monotonic",
            Oracle::MarkerTruth => "marker_truth",
            Oracle::AtomicState => "atomic_state",
            Oracle::NoResurrection => "no_resurrection",
            Oracle::AbsenceIsNoDelete => "absence_is_no_delete",
            Oracle::MassChangeBrake => "mass_change_brake",
            Oracle::RateLimit => "rate_limit",
            Oracle::MarksAreServed => "marks_are_served",
            Oracle::AcceptedIsDurable => "accepted_is_durable",
            Oracle::HintsAreEnough => "hints_are_enough",
            Oracle::SerialWrites => "serial_writes",
            Oracle::OneOwner => "one_owner",
            Oracle::Isolation => "isolation",
            Oracle::Liveness => "liveness",
            Oracle::IdempotentRestart => "idempotent_restart",
            Oracle::Determinism => "determinism",
            Oracle::BoundedResources => "bounded_resources",
            Oracle::TokenSingleFlight => "token_single_flight",
            Oracle::MappingChange => "mapping_change",
            Oracle::FailClosed => "fail_closed",
            Oracle::ConflictIsAFunction => "conflict_is_a_function",
            Oracle::NoPanic => "no_panic",
        }
    }
}

impl fmt::Display for Oracle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.invariant(), self.name())
    }
}

/// An oracle that has spoken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub oracle: Oracle,
    /// What it saw.
    pub seen: String,
}

impl Violation {
    /// What an oracle saw.
    pub fn new(oracle: Oracle, seen: impl Into<String>) -> Self {
        Self { oracle, seen: seen.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.oracle, self.seen)
    }
}

/// What an oracle says of what it looked at.
pub type Verdict = Result<(), Violation>;

/// Speaks unless something holds.
pub(super) fn holds(oracle: Oracle, held: bool, seen: impl FnOnce() -> String) -> Verdict {
    if held { Ok(()) } else { Err(Violation::new(oracle, seen())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_invariant_has_its_oracle() {
        for n in 1..=26 {
            let wanted = format!("I{n}");
            assert!(Oracle::ALL.iter().any(|oracle| oracle.invariant() == wanted), "{wanted} has no oracle");
        }
        let mut names: Vec<_> = Oracle::ALL.iter().map(|oracle| oracle.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Oracle::ALL.len());
    }
}
