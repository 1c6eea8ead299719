//! Danger: what nobody has thought of.
//!
//! Whole kernels in simulated worlds, where everything goes wrong that `actors.md` names.
//! `SYNCLINE_SEED=7 cargo test simulated_worlds` runs one of them, and
//! `syncline simulate` as many as wanted.

use std::sync::atomic::AtomicBool;

use syncline::sim::{Case, EVENTS, Oracle, Plan, explain, run_many};

use crate::harness::seeds;

/// How many worlds belong to a thorough run.
const SEEDS: u64 = 2_000;

/// Worlds that have found a bug, each with what was wrong. A change of what is drawn
/// gives a seed another world; the stories of the other files stay. In these nobody tells
/// of changes, as when they were found.
const FOUND: &[(u64, &str)] = &[
    (54, "a record held back because of its match key was not looked at when its rival gave that key up"),
    (61, "a mark and a first read decided about one match key at once: each created what the other had found"),
    (67, "a create that came late met the values of a later attempt as its base, and undid an edit"),
    (137, "what a conflict had lost was kept under a pair that was given up, where nobody could find it"),
    (198, "live work that waited for a record took every call that the work which held it needed"),
    (304, "an unknown create was not waited for when its source had gone, and came back as news"),
    (392, "a deletion told by a list older than our own create of that id was believed"),
    (695, "a pair put off because one side was read too early was passed over as unchanged"),
    (774, "a create that only a person could clear up was looked at four times a second"),
    (780, "a delete that met an edit of something that is not mapped was forgotten"),
    (931, "a record was made again before its other side had been read since the deletion"),
    (1_274, "a record adopted with somebody's edit in it kept that version, and a write on trust passed over the edit"),
    (1_289, "a create was sent again where a person had entered the same record anew"),
    (1_709, "a time cursor of a slow read went past what its first page had shown too old"),
    (2_149, "the half marker of a record that a create had made was written again after it was given up"),
    (
        2_699,
        "a record whose match key another unit was deciding about could not be found, and had a partner made beside it",
    ),
    (12_444, "a record entered anew in the place of a deleted one stayed held back after the two were linked"),
    (20_867, "what a run had left waited for ever where one run followed the other without a pause"),
    (22_797, "a clock put forward made a read that was behind our own create look like a deletion"),
    (30_237, "a clock put back made an unknown create look as if its key had expired"),
    (31_913, "that a partner was deleted was forgotten when its record's edit was taken back meanwhile"),
    (34_089, "what an unknown create had stored in lower case was taken for an edit, and came back"),
    (42_023, "the waiting calls of a connection that had died used up the next one's budget"),
    (54_260, "a mark of a record that waited for a run took its place, and what that knew was forgotten"),
    (54_329, "a stale read gave a buried record its match key back"),
    (66_518, "a read that was behind two of our own writes was taken for an edit"),
];

#[test]
fn simulated_worlds_hold() {
    let seeds = seeds(SEEDS);
    let first = seeds.start;
    let plan = Plan { first, seeds: seeds.end - first, events: EVENTS, threads: 2 };
    let summary = run_many(&plan, &AtomicBool::new(false), |_| {});
    println!(
        "{} seeds from {first}, {} events, {} starts, {} seeds run twice: {:.1} seeds and {:.0} events a second on each thread",
        summary.seeds,
        summary.events,
        summary.starts,
        summary.twice,
        summary.seeds_per_second(),
        summary.events_per_second(),
    );
    if let Some((seed, violation)) = summary.failures.first() {
        let all: Vec<u64> = summary.failures.iter().map(|(seed, _)| *seed).collect();
        panic!("seeds {all:?} fail, the first with {violation}\n\n{}", explain(*seed, EVENTS));
    }
}

/// Short worlds that have found a bug.
const FOUND_SHORT: &[(u64, &str)] = &[
    (232_193, "aborting a connection whose timer had just been cancelled never returned"),
    (240_876, "a read behind our own write was taken for an edit, as one of the values before it is long"),
    (254_628, "a page read before its record was deleted made it again, as the pair had got another in its place"),
    (315_627, "a record deleted before the unit that had made it was through stood as if nothing had happened"),
    (469_502, "an adopted create was taken to have sent what its target owns, so its deletion looked like an edit"),
    (525_637, "a complete read passed over a record that another unit of work had in hand"),
    (544_309, "the same, as what a record was made with came back"),
    (
        593_913,
        "a record was made again by the run in which it was missed, beside one entered anew that was not read yet",
    ),
];

/// Short worlds in which somebody tells of changes, and that have found a bug.
const FOUND_TOLD: &[(u64, &str)] = &[
    (714_927, "a record to be made again where nothing pairs records was forgotten when the write was refused"),
    (733_501, "a record whose create was found out about later stayed held back"),
    (811_823, "what a create had sent was guessed at, and a value that its side had cleared since came back"),
    (901_632, "a record that waited for a run was not looked at after a restart, as nobody asked for that run again"),
    (901_746, "a flood was kept as the hint of one record, which a restart took for no more than that"),
    (
        1_198_077,
        "a record that was deleted while a unit was linking it was not looked at when a complete read had ended",
    ),
    (1_089_025, "a record was created beside its partner, which had been listed and which nobody had looked at yet"),
    (1_120_078, "a recovery wrote what it had read of a record that another unit was writing"),
    (3_013_058, "a page read before a pair was decided was taken for an edit, as that decision had written nothing"),
    (6_030_178, "a record that had waited for a run and was put off when it ended waited for the next one, for ever"),
    (7_054_432, "what a record had awaited before it got its partner was taken for enough, when that was entered anew"),
    (1_323_792, "records that waited for those of the other side took all calls from them, and waited for ever"),
    (1_324_027, "the same, where their calls were few"),
    (1_706_063, "an update whose answer was lost was not looked for when its cause had been taken back"),
    (1_913_315, "a record that waited for a run waited for a time, too, which a clock that was set back put far off"),
];

/// Smaller worlds that found a bug, with their number of edits and what was wrong.
const FOUND_TOLD_SMALL: &[(u64, usize, &str)] = &[
    (2_123_778, 40, "a half marker that one unit had looked up was linked after another had forgotten it"),
    (4_214_561, 50, "a run and a hint put each other off for ever over a record whose partner is not there yet"),
    (7_312_821, 50, "a record that waited for a partner, got it and lost it was made again beside what took its place"),
];

/// How many edits and so on a short world has.
const FEW_EVENTS: usize = 100;

#[test]
fn worlds_that_found_a_bug_hold() {
    let all = FOUND.iter().map(|found| (found, EVENTS)).chain(FOUND_SHORT.iter().map(|found| (found, FEW_EVENTS)));
    for ((seed, was_wrong), events) in all {
        let verdict = Case::draw_untold(*seed, events).run(false).verdict;
        assert!(verdict.is_ok(), "seed {seed}, where once {was_wrong}: {verdict:?}");
    }
    let told = FOUND_TOLD.iter().map(|(seed, was_wrong)| (*seed, FEW_EVENTS, *was_wrong));
    for (seed, events, was_wrong) in told.chain(FOUND_TOLD_SMALL.iter().copied()) {
        let verdict = Case::draw(seed, events).run(false).verdict;
        assert!(verdict.is_ok(), "seed {seed}, where once {was_wrong}: {verdict:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let some = (0..4).map(|seed| Case::draw_untold(seed, EVENTS));
    // In this one connections that share a budget were told of a pause in any order.
    let shared = Case::draw_untold(279_620, FEW_EVENTS);
    let told = (0..).map(|seed| Case::draw(seed, FEW_EVENTS)).filter(|case| case.swarm.triggers.is_some()).take(6);
    for case in some.chain([shared]).chain(told) {
        let seed = case.seed;
        let (one, other) = (case.run(false), case.run(true));
        assert_eq!((one.trace, one.events), (other.trace, other.events), "seed {seed}");
    }
}

#[test]
fn each_oracle_stands_in_the_table() {
    let document = include_str!("../../actors.md");
    for oracle in Oracle::ALL {
        let (number, name) = (format!("| {} |", oracle.invariant()), format!("| `{}`", oracle.name()));
        let also = format!(", `{}`", oracle.name());
        let row = document.lines().find(|line| line.starts_with(&number));
        let row = row.unwrap_or_else(|| panic!("{} has no row in actors.md", oracle.invariant()));
        assert!(row.contains(&name) || row.contains(&also), "{} is not in its row: {row}", oracle.name());
    }
}
