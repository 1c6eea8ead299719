//! Runs cases on all cores, and makes the first that fails smaller.

use std::cell::RefCell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use syncline::model::marker::{BaseValue, LinkState};
use syncline::model::side::Side;
use syncline::model::value::{Number, Value};
use syncline::reconcile::mapping::Mapping;

use crate::harness::{number, share};

use super::bench::{Arrival, Bench};
use super::expected::{Bond, Expected, Expecting};
use super::scenario::Scenario;
use super::{report, shrink};

/// How many cases belong to the test.
const CASES: u64 = 100_000;

/// How many seeds a thread takes at a time.
const SEEDS_AT_ONCE: u64 = 256;

pub fn run() {
    if let Some(seed) = number("SYNCLINE_SEED") {
        let scenario = Scenario::draw(seed);
        println!("{}", report::text(&scenario));
        if let Err(reason) = check(&scenario) {
            fail(seed, reason);
        }
        return;
    }
    let cases = number("SYNCLINE_CASES").unwrap_or_else(|| share(CASES));
    let (next, stop, failed) = (AtomicU64::new(0), AtomicBool::new(false), Mutex::new(None));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let first = next.fetch_add(SEEDS_AT_ONCE, Ordering::Relaxed);
                    for seed in first..(first + SEEDS_AT_ONCE).min(cases) {
                        if let Err(reason) = check(&Scenario::draw(seed)) {
                            stop.store(true, Ordering::Relaxed);
                            *failed.lock().unwrap() = Some((seed, reason));
                            return;
                        }
                    }
                    if first >= cases {
                        return;
                    }
                }
            });
        }
    });
    if let Some((seed, reason)) = failed.into_inner().unwrap() {
        fail(seed, reason);
    }
}

fn fail(seed: u64, reason: String) {
    let (smaller, reason) = shrink::shrink(Scenario::draw(seed), reason, check);
    let text = report::text(&smaller);
    panic!("seed {seed}, made smaller: {reason}\n{text}");
}

/// Runs one case in every order.
pub fn check(scenario: &Scenario) -> Result<(), String> {
    Arrival::ALL.into_iter().try_for_each(|arrival| {
        let run = catch_unwind(AssertUnwindSafe(|| run_in_order(scenario, arrival)));
        match run {
            Ok(Ok(())) => Ok(()),
            Ok(Err(reason)) => Err(format!("{arrival:?}: {reason}")),
            Err(_) => Err(format!("{arrival:?}: a panic")),
        }
    })
}

fn run_in_order(scenario: &Scenario, arrival: Arrival) -> Result<(), String> {
    let mapping = mapping(scenario);
    let mut bench = Bench::new(scenario, &mapping);
    let things = scenario.things.iter().enumerate();
    let mut bonds: Vec<Bond> =
        things.map(|(thing, drawn)| Bond::of(&bench, &mapping, thing, drawn.agreed.is_some())).collect();
    for round in 0..scenario.num_rounds {
        bench.perturb(round);
        let expected: Vec<Expected> = (0..bonds.len())
            .map(|thing| Expecting::new(&bench, scenario, &mapping, thing).outcome(&bonds[thing]))
            .collect();
        let owns = owns(&bench);
        let settled = bench.settle(arrival).and_then(|()| compare(&bench, &mapping, &expected));
        let told = |reason: String| format!("round {round}: {reason}\n{}", report::outcome(&bench, &expected));
        settled.map_err(told)?;
        if let Some((side, thing)) = owns.iter().find_map(|(side, id, own)| {
            let record = bench.sides[*side].records.iter().find(|record| record.id == *id)?;
            (record.own() != *own).then_some((*side, record.thing))
        }) {
            return Err(told(format!("a key of thing {thing} that is not mapped was changed on the {side} side")));
        }
        let again = bench.look_again().and_then(|()| compare_held_back(&bench, &expected));
        again.map_err(|reason| {
            format!("round {round}, looked at again: {reason}\n{}", report::outcome(&bench, &expected))
        })?;
        bonds = expected.into_iter().map(|expected| expected.bond).collect();
    }
    Ok(())
}

fn owns(bench: &Bench<'_>) -> Vec<(Side, syncline::model::ids::RecordId, u32)> {
    let records = Side::BOTH.into_iter().flat_map(|side| bench.sides[side].records.iter().map(move |r| (side, r)));
    records.map(|(side, record)| (side, record.id.clone(), record.own())).collect()
}

/// Whoever must be looked at by a person is held back, and nobody else.
fn compare_held_back(bench: &Bench<'_>, expected: &[Expected]) -> Result<(), String> {
    expected.iter().enumerate().try_for_each(|(thing, expected)| match (bench.held_back(thing), expected.held) {
        (Some(reason), false) => Err(format!("thing {thing} is held back: {reason}")),
        (None, true) => Err(format!("thing {thing} is not held back")),
        (Some(_), true) | (None, false) => Ok(()),
    })
}

fn compare(bench: &Bench<'_>, mapping: &Mapping, expected: &[Expected]) -> Result<(), String> {
    for (thing, expected) in expected.iter().enumerate() {
        for side in Side::BOTH {
            let live = bench.sides[side].live(thing).map(|record| &record.row);
            let same = match (live, &expected.rows[side]) {
                (None, None) => true,
                (Some(row), Some(wanted)) => {
                    row.iter().zip(wanted).all(|(value, wanted)| same(value.as_ref(), wanted.as_ref()))
                }
                (None, Some(_)) | (Some(_), None) => false,
            };
            if !same {
                return Err(format!("thing {thing} is not as expected on the {side} side"));
            }
        }
        if !expected.held {
            compare_bond(bench, mapping, thing, expected)?;
        }
    }
    let lost = expected.iter().flat_map(|expected| &expected.lost).cloned().collect();
    if bench.lost != lost {
        return Err(format!("the values that lost are {:?}, and should be {lost:?}", bench.lost));
    }
    Ok(())
}

/// What the marker remembers of a pair must be what each side was last known to hold.
fn compare_bond(bench: &Bench<'_>, mapping: &Mapping, thing: usize, expected: &Expected) -> Result<(), String> {
    let bond = &expected.bond;
    let state = bench.marker_of(thing).map(|marker| (marker, &marker.state));
    match (bond, state) {
        (Bond::None, None | Some((_, LinkState::Half))) => Ok(()),
        (Bond::Gone { side, both, .. }, Some((_, LinkState::Tomb { side: gone, both: all, .. })))
            if both == all && (*both || side == gone) =>
        {
            Ok(())
        }
        // One that came back against the direction is left alone; whether the other side's
        // was known to be gone by then makes no difference.
        (Bond::Gone { side, .. }, Some((_, LinkState::Tomb { .. }))) if expected.rows[*side].is_some() => Ok(()),
        (Bond::Pair(bases), Some((marker, LinkState::Linked))) => {
            for side in Side::BOTH {
                for (field, base) in mapping.fields.iter().zip(&bases[side]) {
                    let wanted = BaseValue::of(base.as_ref());
                    if !marker.base(side, field.no).is_some_and(|kept| kept.agrees(&wanted)) {
                        let kept = marker.base(side, field.no);
                        return Err(format!(
                            "the {side} base of '{}' of thing {thing} is {kept:?}, not {wanted:?}",
                            field.name
                        ));
                    }
                }
            }
            Ok(())
        }
        (Bond::None | Bond::Gone { .. } | Bond::Pair(_), state) => {
            Err(format!("thing {thing} is {:?}, and should be {bond:?}", state.map(|(_, state)| state)))
        }
    }
}

/// Whether two stored values mean the same. A number's text may be spelled in two ways,
/// of which neither is an edit of the other.
fn same(a: Option<&Value>, b: Option<&Value>) -> bool {
    let number = |value: &Value| value.as_str().and_then(|text| Number::parse(text).ok());
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => {
            let spelled = number(a).zip(number(b));
            a.same(b) || spelled.is_some_and(|(a, b)| a.canonical() == b.canonical())
        }
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// The compiled mapping of a case; cases share a few hundred.
fn mapping(scenario: &Scenario) -> Arc<Mapping> {
    thread_local! {
        static MAPPINGS: RefCell<HashMap<String, Arc<Mapping>>> = RefCell::default();
    }
    let text = format!("# {}\n{}", scenario.direction, scenario.document());
    MAPPINGS.with_borrow_mut(|mappings| {
        let compiled = mappings.entry(text);
        let mapping = compiled.or_insert_with_key(|text| Arc::new(crate::harness::mapping(text, scenario.direction)));
        Arc::clone(mapping)
    })
}
