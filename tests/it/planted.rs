//! Danger: a search for bugs that finds none because it is blind.
//!
//! The worlds of `convergence` and of the simulator are run with each planted bug. Those
//! that they can show are listed with a world that does; for the others
//! `src/planted.rs` says what a world would have to do.

use std::panic::{AssertUnwindSafe, catch_unwind};

use std::sync::Mutex;

use syncline::planted::{Bug, plant};
use syncline::sim::{Case, EVENTS};

use crate::{convergence, first_contact};

/// Bugs which the worlds of `convergence` show, each with the first that does.
const SHOWN: &[(Bug, u64)] = &[
    (Bug::NoHighWater, 15),
    (Bug::CursorBeforeRecords, 15),
    (Bug::CursorPastDrift, 5),
    (Bug::ExpiredTokenKept, 4),
    (Bug::NotYetVisibleIsDeleted, 113),
    (Bug::SkippedAlthoughPending, 0),
    (Bug::VersionKeptAfterFailure, 26),
    (Bug::ReadBackOfAnyVersion, 94),
    (Bug::AdoptedAsRead, 89),
    (Bug::UpdateUnconditional, 10),
    (Bug::VersionOfOtherSide, 0),
    (Bug::OwnerIgnoredOnUpdate, 19),
    (Bug::LoserNotRecorded, 0),
    (Bug::HistoryOfNoPair, 4),
    (Bug::IntentNotDurable, 13),
    (Bug::UnknownClosed, 13),
    (Bug::CreateRetriedBlind, 0),
    (Bug::LateCommitNotAwaited, 13),
    (Bug::OpenWriteIgnored, 13),
    (Bug::FirstSideCreates, 0),
    (Bug::PendingLostAtRestart, 23),
    (Bug::WakeSwallowed, 3),
];

/// Bugs which simulated worlds show in which nobody tells of changes, each with the first
/// seed that does.
const CAUGHT: &[(Bug, u64)] = &[
    (Bug::NoLookback, 71),
    (Bug::NoHighWater, 10),
    (Bug::CursorGoesBack, 59),
    (Bug::CursorBeforeRecords, 15),
    (Bug::CursorPastDrift, 6),
    (Bug::AbsentIsDeleted, 7),
    (Bug::NotYetVisibleIsDeleted, 3),
    (Bug::TombDropped, 19),
    (Bug::DeletedUnread, 5),
    (Bug::SkippedAlthoughPending, 0),
    (Bug::VersionKeptAfterFailure, 1),
    (Bug::OneBaseForBoth, 9),
    (Bug::SentTakenForStored, 9),
    (Bug::ReadBackOfAnyVersion, 98),
    (Bug::AdoptedAsRead, 0),
    (Bug::UpdateUnconditional, 1),
    (Bug::DeleteUnconditional, 11),
    (Bug::UnmappedDropped, 0),
    (Bug::EmptyWrite, 0),
    (Bug::OwnerIgnoredOnCreate, 0),
    (Bug::OwnerIgnoredOnUpdate, 0),
    (Bug::VersionOfOtherSide, 15),
    (Bug::LoserNotRecorded, 0),
    (Bug::IntentNotDurable, 0),
    (Bug::UnknownClosed, 12),
    (Bug::CreateRetriedBlind, 4),
    (Bug::LateCommitNotAwaited, 7),
    (Bug::OpenWriteIgnored, 4),
    (Bug::FirstSideCreates, 8),
    (Bug::PartnerNotSearched, 27),
    (Bug::PartnerNotAwaited, 29),
    (Bug::PendingLostAtRestart, 1),
    (Bug::MarkSwallowed, 6),
    (Bug::LeaseNotTaken, 0),
    (Bug::RetryAfterIgnored, 0),
    (Bug::BudgetStartsFull, 21),
    (Bug::CommitErrorSwallowed, 5),
    (Bug::HistoryOfNoPair, 0),
    (Bug::PendingRemovedEarly, 473),
    (Bug::AnswerTakenForBase, 644),
];

/// Bugs of triggers, each with the first seed whose world shows it; in about every second
/// one somebody tells of changes.
const CAUGHT_TOLD: &[(Bug, u64)] = &[
    (Bug::HintSwallowed, 50),
    (Bug::InboxNotReadAtStart, 6),
    (Bug::AcceptedEarly, 93),
    (Bug::ObjectHintForgotten, 12),
    (Bug::ObjectHintSwallowed, 857),
];

/// Bugs that drawn worlds show too rarely to be replayed: each with a story that does.
const TOLD: &[(Bug, fn())] = &[(Bug::HalfNotKept, first_contact::a_record_that_is_held_back_is_found_by_its_partner)];

/// How many worlds are tried for a bug when the listed one, after some change of the
/// kernel, no longer shows it.
const MORE_SEEDS: u64 = 300;

/// What is wrong in a world with a bug planted; `None` where everything holds.
fn wrong(bug: Option<Bug>, seed: u64) -> Option<String> {
    let _planted = plant(bug);
    let panic = catch_unwind(AssertUnwindSafe(|| convergence::world(seed))).err()?;
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default();
    Some(text.split('\n').next().unwrap_or_default().chars().take(160).collect())
}

#[test]
fn what_the_worlds_of_convergence_can_show_they_show() {
    for &(bug, seed) in SHOWN {
        assert_eq!(wrong(None, seed), None, "without a bug seed {seed} is well");
        let found = std::iter::once(seed).chain(0..MORE_SEEDS).any(|seed| wrong(Some(bug), seed).is_some());
        assert!(found, "{} ({}) is planted, and no world shows it", bug.name(), bug.invariant());
    }
}

/// What an oracle of the simulator says of a world with a bug planted, in which nobody
/// tells of changes.
fn caught(bug: Option<Bug>, seed: u64) -> Option<String> {
    let _planted = plant(bug);
    Case::draw_untold(seed, EVENTS).run(false).verdict.err().map(|violation| violation.to_string())
}

/// The same of a world in which somebody may.
fn caught_told(bug: Option<Bug>, seed: u64) -> Option<String> {
    let _planted = plant(bug);
    Case::draw(seed, EVENTS).run(false).verdict.err().map(|violation| violation.to_string())
}

#[test]
fn what_the_simulator_has_caught_it_catches() {
    type Search = fn(Option<Bug>, u64) -> Option<String>;
    let untold = CAUGHT.iter().map(|shown| (shown, caught as Search));
    let told = CAUGHT_TOLD.iter().map(|shown| (shown, caught_told as Search));
    for (&(bug, seed), shows) in untold.chain(told) {
        assert_eq!(shows(None, seed), None, "without a bug seed {seed} is well");
        let found = std::iter::once(seed).chain(0..MORE_SEEDS).any(|seed| shows(Some(bug), seed).is_some());
        assert!(found, "{} ({}) is planted, and no simulated world shows it", bug.name(), bug.invariant());
    }
}

#[test]
fn what_a_story_shows_it_shows() {
    for (bug, story) in TOLD {
        story();
        let _planted = plant(Some(*bug));
        assert!(
            catch_unwind(story).is_err(),
            "{} ({}) is planted, and its story goes well",
            bug.name(),
            bug.invariant()
        );
    }
}

/// Prints for each bug the first world that shows it. `SYNCLINE_BUG=tomb-dropped
/// SYNCLINE_SEEDS=1000` narrows and widens the search.
fn search(shows: fn(Option<Bug>, u64) -> Option<String>) {
    let only = std::env::var("SYNCLINE_BUG").ok();
    let seeds = std::env::var("SYNCLINE_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(MORE_SEEDS);
    let bugs = Mutex::new(Bug::ALL.iter().filter(|bug| only.as_ref().is_none_or(|name| name == bug.name())));
    let work = || {
        while let Some(bug) = bugs.lock().map_or(None, |mut bugs| bugs.next()) {
            let found = (0..seeds).find_map(|seed| Some((seed, shows(Some(*bug), seed)?)));
            let (seed, text) = found.map_or((String::new(), format!("not in {seeds} worlds")), |(seed, text)| {
                (seed.to_string(), text.chars().take(900).collect())
            });
            println!("| {bug:?} | {} | {seed} | {text} |", bug.invariant());
        }
    };
    std::thread::scope(|scope| (0..2).for_each(|_| drop(scope.spawn(work))));
}

#[test]
#[ignore = "a search that takes many minutes; prints a table"]
fn which_bugs_the_simulator_catches() {
    search(caught);
}

#[test]
#[ignore = "a search that takes many minutes; prints a table"]
fn which_bugs_the_simulator_catches_where_somebody_tells() {
    search(caught_told);
}

#[test]
#[ignore = "a search that takes many minutes; prints a table"]
fn which_bugs_the_worlds_of_convergence_show() {
    search(wrong);
}

#[test]
fn names_are_words_of_their_own() {
    let mut names: Vec<&str> = Bug::ALL.iter().map(|bug| bug.name()).collect();
    assert!(names.len() >= 26);
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Bug::ALL.len());
    for bug in Bug::ALL {
        let mut spelt = String::new();
        for c in format!("{bug:?}").chars() {
            spelt.extend(c.is_uppercase().then_some('-'));
            spelt.extend(c.to_lowercase());
        }
        assert_eq!(bug.name(), spelt.trim_start_matches('-'));
    }
}
