//! Danger: some combination of edits, deletions, policies and orders of arrival for which
//! the planner decides wrongly, though each row of its tables looks right.
//!
//! The pure core alone (decide, merge, mapping, finish), in the manner of Dropbox's
//! CanopyCheck: each case is one random set of a few records from which three correlated
//! worlds are made: what the two sides last agreed on, the app, and the remote. Then
//! plans are made and carried out until there is nothing left to do. What must have come
//! of it is worked out a second time in `expected`, from the rules as a person would tell
//! them. The same case is run with the app read first, the remote read first, and record
//! by record in any order; all of them must come to the same.
//!
//! `SYNCLINE_SEED=17` runs one case, `SYNCLINE_CASES=1000000` more of them. A case that
//! fails is made smaller and printed as text.

mod bench;
mod expected;
mod positions;
mod report;
mod runner;
mod scenario;
mod shrink;

#[test]
fn every_case_settles_as_its_rules_say_whatever_arrives_first() {
    runner::run();
}
