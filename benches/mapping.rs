//! What the mapping of one record costs beyond parsing it: read from one side, checked, and
//! respelled for the other. Times are of this machine; the ratios within one run are what to
//! compare.

use std::hint::black_box;
use std::time::Instant;

use serde::de::IgnoredAny;
use syncline::model::direction::Direction;
use syncline::model::record::Body;
use syncline::model::side::Side;
use syncline::{SyncSpec, reconcile::mapping::Mapping};

const RECORDS: usize = 200;
const ROUNDS: usize = 2_000;

/// Ten fields; `last` is how the tenth is declared.
fn mapping(last: &str) -> Mapping {
    let plain: String = (0..9).map(|n| format!("f{n} = 'properties.p{n}'\n")).collect();
    let rules = format!("match = ['f0']\n[fields]\n{plain}f9 = {last}\n");
    SyncSpec::parse("bench", "contacts", "contacts", Direction::TwoWay, &rules).expect("the rules are sound").mapping
}

fn records() -> Vec<Body> {
    let record = |n: usize| {
        let fields: Vec<String> = (0..10).map(|p| format!("\"p{p}\":\"value {p} of {n}\"")).collect();
        let other =
            "\"id\":\"7\",\"created_at\":\"2026-11-23T09:09:57.445Z\",\"archived\":false,\"tags\":[\"a\",\"b\"]";
        Body::from_json(format!("{{{other},\"properties\":{{{}}}}}", fields.join(",")))
    };
    (0..RECORDS).map(record).collect()
}

/// Nanoseconds for one record; the best of some rounds, so that whatever else runs counts least.
fn measure(records: &[Body], mut work: impl FnMut(&Body)) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        records.iter().for_each(&mut work);
        best = best.min(begun.elapsed().as_secs_f64() * 1e9 / records.len() as f64);
    }
    best
}

fn mapped(mapping: &Mapping, body: &Body) {
    let fields = mapping.read(Side::Remote, body).expect("it is a record");
    for index in 0..10 {
        let syncline::reconcile::mapping::FieldRead::Value(value) = fields.get(index) else { panic!("a fault") };
        mapping.check(index, value.as_ref()).expect("it obeys the rules");
        black_box(mapping.to_side(Side::Remote, index, value.as_ref()).expect("it can be respelled"));
    }
}

fn main() {
    let records = records();
    let parsed = measure(&records, |body| drop(black_box(serde_json::from_str::<IgnoredAny>(body.as_str()))));
    println!("{:<44} {parsed:>7.0} ns a record", "parsing alone");
    for (name, last) in [
        ("ten plain fields", "'properties.p9'"),
        ("nine, and one with `lowercase`", "{ remote = 'properties.p9', transform = 'lowercase' }"),
        (
            "nine, and one with an expression",
            "{ remote = 'properties.p9', to_remote = 'value ~ \"!\"', to_app = 'value[:-1]', type = 'text' }",
        ),
    ] {
        let mapping = mapping(last);
        let whole = measure(&records, |body| mapped(&mapping, body));
        let beyond = whole - parsed;
        println!("{name:<44} {whole:>7.0} ns a record, {beyond:>6.0} beyond parsing, {:.1} times it", whole / parsed);
    }
}
