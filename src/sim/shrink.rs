//! Makes a failing case smaller: what can be taken away while it still fails in the
//! same way has nothing to do with it.

use std::time::{Duration, Instant};

use super::oracle::Oracle;
use super::run::Case;
use super::script::Event;
use super::swarm::{SideSwarm, Swarm};
use super::telling::{Telling, TriggerSwarm};
use crate::connectors::memory::{Behaviour, Faults, Normalise, Order, Paging};
use crate::model::side::Side;

/// For how long a case is made smaller.
const LONGEST: Duration = Duration::from_secs(60);

/// The smallest case that was found within so many runs.
#[must_use]
pub fn shrink(case: &Case, oracle: Oracle, most_runs: usize) -> Case {
    let mut shrinking = Shrinking { best: case.clone(), oracle, runs_left: most_runs, until: Instant::now() + LONGEST };
    shrinking.drop_events();
    shrinking.drop_conditions();
    shrinking.drop_events();
    shrinking.best
}

struct Shrinking {
    best: Case,
    oracle: Oracle,
    runs_left: usize,
    /// A person is waiting.
    until: Instant,
}

impl Shrinking {
    /// Keeps a smaller case if it fails in the same way.
    fn try_case(&mut self, case: Case) -> bool {
        if self.runs_left == 0 || Instant::now() > self.until {
            return false;
        }
        self.runs_left -= 1;
        let fails = case.run(false).verdict.is_err_and(|violation| violation.oracle == self.oracle);
        if fails {
            self.best = case;
        }
        fails
    }

    /// Takes away halves of the script, then quarters, down to single events.
    fn drop_events(&mut self) {
        let mut size = self.best.script.len().div_ceil(2);
        while size > 0 && self.runs_left > 0 {
            let mut from = 0;
            while from < self.best.script.len() {
                let mut case = self.best.clone();
                let to = (from + size).min(case.script.len());
                case.script.drain(from..to);
                if !self.try_case(case) {
                    from += size;
                }
            }
            size /= 2;
        }
    }

    /// Takes away faults and oddities one by one.
    fn drop_conditions(&mut self) {
        for simplify in SIMPLER_WORLDS {
            let mut case = self.best.clone();
            simplify(&mut case.swarm);
            self.try_case(case);
        }
        for side in Side::BOTH {
            for simplify in SIMPLER_SIDES {
                let mut case = self.best.clone();
                simplify(&mut case.swarm.sides[side]);
                self.try_case(case);
            }
            for quieter in FEWER_FAULTS {
                let mut case = self.best.clone();
                quieter(&mut case.swarm.sides[side].faults);
                for event in &mut case.script {
                    if let Event::Weather { side: other, faults } = event
                        && *other == side
                    {
                        quieter(faults);
                    }
                }
                self.try_case(case);
            }
        }
    }
}

/// Changes how somebody tells of changes, on whichever side.
fn tell(swarm: &mut Swarm, simplify: fn(&mut Telling)) {
    if let Some(triggers) = &mut swarm.triggers {
        triggers.webhooks.iter_mut().chain(&mut triggers.events).for_each(simplify);
    }
}

fn triggers(swarm: &mut Swarm, simplify: fn(&mut TriggerSwarm)) {
    swarm.triggers.iter_mut().for_each(simplify);
}

const SIMPLER_WORLDS: [fn(&mut Swarm); 19] = [
    |swarm| swarm.triggers = None,
    |swarm| triggers(swarm, |triggers| triggers.webhooks = None),
    |swarm| triggers(swarm, |triggers| triggers.events = None),
    |swarm| triggers(swarm, |triggers| triggers.shared_path = false),
    |swarm| tell(swarm, |telling| telling.lost = 0),
    |swarm| tell(swarm, |telling| telling.repeated = 0),
    |swarm| tell(swarm, |telling| telling.whole = 0),
    |swarm| tell(swarm, |telling| telling.bogus = 0),
    |swarm| tell(swarm, |telling| telling.old = 0),
    |swarm| tell(swarm, |telling| telling.delay_ms = 0),
    |swarm| tell(swarm, |telling| telling.own_writes = false),
    |swarm| tell(swarm, |telling| telling.before_answer_ms = 0),
    |swarm| tell(swarm, |telling| telling.tries = 0),
    |swarm| tell(swarm, |telling| (telling.settle_ms, telling.keyed) = (0, false)),
    |swarm| swarm.accounts = 1,
    |swarm| swarm.schedule_ms = None,
    |swarm| swarm.clock_skew_ms = 0,
    |swarm| swarm.seeded.app = 0,
    |swarm| swarm.seeded.remote = 0,
];

const SIMPLER_SIDES: [fn(&mut SideSwarm); 8] = [
    |side| side.behaviour = Behaviour { page_size: side.behaviour.page_size, ..Behaviour::default() },
    |side| side.behaviour.normalise = Normalise::default(),
    |side| side.behaviour.latency_ms = (0, 0),
    |side| (side.behaviour.order, side.behaviour.paging) = (Order::Changed, Paging::Keyset),
    |side| side.behaviour.index_lag_ms = 0,
    |side| side.behaviour.page_size = 100,
    |side| side.limits.windows.clear(),
    |side| side.capabilities.batch = 1,
];

const FEWER_FAULTS: [fn(&mut Faults); 18] = [
    |faults| *faults = Faults::default(),
    |faults| faults.not_sent = 0,
    |faults| faults.timeout_before = 0,
    |faults| faults.timeout_after = 0,
    |faults| faults.late_commit = 0,
    |faults| faults.partial_commit = 0,
    |faults| faults.server_error = 0,
    |faults| faults.rate_limited = 0,
    |faults| faults.unauthorised = 0,
    |faults| faults.panic_in_read = 0,
    |faults| faults.panic_in_write = 0,
    |faults| faults.truncated = 0,
    |faults| faults.drift = 0,
    |faults| faults.empty_page = 0,
    |faults| faults.token_expired = 0,
    |faults| faults.cursor_expired = 0,
    |faults| faults.bad_record = 0,
    |faults| faults.stale = 0,
];
