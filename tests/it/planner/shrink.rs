//! Makes a failing case smaller: leaves out one thing, edit, field or peculiarity after
//! another for as long as it still fails.

use syncline::model::side::Side;

use super::scenario::{Scenario, SideRule, Stores, Turn};

/// How many smaller cases are tried.
const MAX_TRIES: usize = 3_000;

/// The smallest case found that still fails, and why it does.
pub fn shrink(
    mut scenario: Scenario,
    mut reason: String,
    check: impl Fn(&Scenario) -> Result<(), String>,
) -> (Scenario, String) {
    let mut tries = 0;
    'again: loop {
        for smaller in smaller(&scenario) {
            tries += 1;
            if tries > MAX_TRIES {
                return (scenario, reason);
            }
            if let Err(told) = check(&smaller) {
                (scenario, reason) = (smaller, told);
                continue 'again;
            }
        }
        return (scenario, reason);
    }
}

/// All cases with one part less, the largest parts first.
fn smaller(scenario: &Scenario) -> Vec<Scenario> {
    let mut all = Vec::new();
    let mut with = |change: &dyn Fn(&mut Scenario)| {
        let mut smaller = scenario.clone();
        change(&mut smaller);
        all.push(smaller);
    };
    for thing in 0..scenario.things.len() {
        with(&|smaller| drop(smaller.things.remove(thing)));
    }
    for round in (0..scenario.num_rounds).rev() {
        with(&|smaller| {
            smaller.num_rounds -= 1;
            smaller.things.iter_mut().for_each(|thing| drop(thing.rounds.remove(round)));
        });
    }
    for thing in 0..scenario.things.len() {
        for round in 0..scenario.num_rounds {
            for side in Side::BOTH {
                for edit in 0..scenario.things[thing].rounds[round][side].edits.len() {
                    with(&|smaller| drop(smaller.things[thing].rounds[round][side].edits.remove(edit)));
                }
            }
        }
    }
    for side in Side::BOTH {
        for plainer in plainer(scenario.sides[side]) {
            with(&|smaller| smaller.sides[side] = plainer);
        }
    }
    for (index, field) in scenario.fields.iter().enumerate() {
        for side in Side::BOTH {
            if field.stores[side] != Stores::AsSent {
                with(&|smaller| smaller.fields[index].stores[side] = Stores::AsSent);
            }
        }
        if field.default {
            with(&|smaller| smaller.fields[index].default = false);
        }
        if field.required {
            with(&|smaller| smaller.fields[index].required = false);
        }
    }
    let first = usize::from(scenario.matched);
    if scenario.fields.len() > 1 {
        all.extend((first..scenario.fields.len()).map(|field| scenario.without_field(field)));
    }
    all
}

/// A side with one peculiarity less.
fn plainer(rule: SideRule) -> Vec<SideRule> {
    let all = [
        SideRule { lag_ms: 0, ..rule },
        SideRule { whole: false, ..rule },
        SideRule { local: false, ..rule },
        SideRule { find: false, ..rule },
        SideRule { conditional: false, ..rule },
        SideRule { modified: false, ..rule },
    ];
    all.into_iter().filter(|plainer| *plainer != rule).collect()
}

impl Turn {
    /// Whether anybody did anything.
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }
}
