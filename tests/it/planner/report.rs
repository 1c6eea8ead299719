//! A case as text.

use std::fmt::Write as _;

use syncline::model::side::Side;
use syncline::model::value::Value;

use super::bench::Bench;
use super::expected::Expected;
use super::scenario::{Edit, Row, Scenario};

/// The whole case.
pub fn text(scenario: &Scenario) -> String {
    let mut out = String::new();
    let Scenario { direction, tie, initial, sides, .. } = scenario;
    let _ = writeln!(out, "direction {direction}, tie {tie}, initial {initial:?}");
    for side in Side::BOTH {
        let _ = writeln!(out, "{side:6} {:?}", sides[side]);
    }
    out.push_str(&scenario.document());
    for field in &scenario.fields {
        let _ = writeln!(
            out,
            "# {} is stored by the app {:?}, by the remote {:?}",
            field.name, field.stores.app, field.stores.remote
        );
    }
    for (number, thing) in scenario.things.iter().enumerate() {
        let _ = writeln!(out, "thing {number}");
        if let Some(agreed) = &thing.agreed {
            for side in Side::BOTH {
                let _ = writeln!(out, "  agreed   {side:6} {}", row(Some(&agreed[side])));
            }
        }
        for (round, turns) in thing.rounds.iter().enumerate() {
            for side in Side::BOTH.into_iter().filter(|side| !turns[*side].is_empty()) {
                let edits: Vec<String> = turns[side].edits.iter().map(|edit| told(scenario, edit)).collect();
                let _ =
                    writeln!(out, "  round {round}  {side:6} {} (modified {})", edits.join(", "), turns[side].modified);
            }
        }
    }
    out
}

/// What came of a case beside what should have.
pub fn outcome(bench: &Bench<'_>, expected: &[Expected]) -> String {
    let mut out = String::from("            side    is                              should be\n");
    for (thing, expected) in expected.iter().enumerate() {
        for side in Side::BOTH {
            let is = row(bench.sides[side].live(thing).map(|record| &record.row));
            let _ = writeln!(out, "  thing {thing:<3} {side:6}  {is:30}  {}", row(expected.rows[side].as_ref()));
        }
    }
    out
}

fn told(scenario: &Scenario, edit: &Edit) -> String {
    match edit {
        Edit::Create(values) => format!("create {}", row(Some(values))),
        Edit::Set(field, given) => format!("{} := {}", scenario.fields[*field].name, value(given.as_ref())),
        Edit::Touch => "touch".to_owned(),
        Edit::Delete => "delete".to_owned(),
        Edit::Restore => "restore".to_owned(),
    }
}

fn row(row: Option<&Row>) -> String {
    match row {
        None => "gone".to_owned(),
        Some(values) => values.iter().map(|given| value(given.as_ref())).collect::<Vec<_>>().join(" | "),
    }
}

fn value(value: Option<&Value>) -> String {
    value.map_or("-".to_owned(), Value::to_json)
}
