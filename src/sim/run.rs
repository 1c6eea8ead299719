//! One seed from its first moment to its verdict, and many of them.

use std::cell::RefCell;
use std::panic::AssertUnwindSafe;
use std::sync::Once;

use futures_util::FutureExt;

use super::oracle::{Oracle, Verdict, Violation, holds};
use super::script::{self, Event};
use super::settle::settle;
use super::swarm::Swarm;
use super::world::{ASKED_FOR, World};

/// A world to run: what it is like, and what happens in it.
#[derive(Debug, Clone)]
pub struct Case {
    /// Draws everything that is not written down here.
    pub seed: u64,
    /// What the world is like.
    pub swarm: Swarm,
    /// What happens.
    pub script: Vec<Event>,
}

/// What became of a case.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What an oracle said first.
    pub verdict: Verdict,
    /// Hash over everything that happened, in order and in time.
    pub trace: u64,
    /// How many events passed between the kernel and the world.
    pub events: u64,
    /// How often the process was started.
    pub starts: u64,
    /// The last lines of what happened, if they were asked for.
    pub lines: Vec<String>,
    /// The state file at the end, as text, if it was asked for.
    pub state: String,
}

impl Case {
    /// The case of a seed, with so many outside events.
    #[must_use]
    pub fn draw(seed: u64, events: usize) -> Self {
        let swarm = Swarm::draw(seed);
        let script = script::draw(seed, &swarm, events);
        Self { seed, swarm, script }
    }

    /// The same, but nobody tells of changes: the world that a seed stood for before
    /// there were triggers.
    #[must_use]
    pub fn draw_untold(seed: u64, events: usize) -> Self {
        let swarm = Swarm::draw_untold(seed);
        let script = script::draw(seed, &swarm, events);
        Self { seed, swarm, script }
    }

    /// Runs it on this thread, in simulated time. `for_a_person`: keep the last lines.
    ///
    /// # Panics
    /// When no runtime can be made.
    #[must_use]
    pub fn run(&self, for_a_person: bool) -> Outcome {
        listen_for_panics();
        PANICS.with_borrow_mut(|panics| *panics = Some(Vec::new()));
        let runtime = || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder.enable_time().start_paused(true).build().expect("a runtime needs nothing but memory")
        };
        let outcome = actix::System::with_tokio_rt(runtime).block_on(live(self, for_a_person));
        let panics = PANICS.with_borrow_mut(Option::take).unwrap_or_default();
        let unasked = panics.iter().find(|panic| !panic.contains(ASKED_FOR) && !panic.contains("told to panic"));
        let no_panic = holds(Oracle::NoPanic, unasked.is_none(), || unasked.cloned().unwrap_or_default());
        Outcome { verdict: no_panic.and(outcome.verdict.clone()), ..outcome }
    }
}

async fn live(case: &Case, for_a_person: bool) -> Outcome {
    let mut world = match World::new(&case.swarm, case.seed, for_a_person).await {
        Ok(world) => world,
        Err(violation) => {
            return Outcome {
                verdict: Err(violation),
                trace: 0,
                events: 0,
                starts: 0,
                lines: Vec::new(),
                state: String::new(),
            };
        }
    };
    let lived = AssertUnwindSafe(tell(&mut world, &case.script)).catch_unwind().await;
    let verdict = lived.unwrap_or_else(|_| Err(Violation::new(Oracle::NoPanic, "the world itself panicked")));
    let (trace, events, lines) = world.edge.trace();
    let mut state = String::new();
    if for_a_person && let Err(error) = world.store.dump(&mut state) {
        state = error.to_string();
    }
    world.tellers.iter().for_each(|tellers| tellers.talk_to(None));
    world.kernel.abort().await;
    Outcome { verdict, trace, events, starts: world.starts, lines, state }
}

async fn tell(world: &mut World, script: &[Event]) -> Verdict {
    for (n, event) in script.iter().enumerate() {
        world.carry_out(event).await?;
        if world.is_dead() {
            world.restart().await?;
            world.look_at_epochs()?;
        }
        world.edge.verdict()?;
        world.look_at_cursors()?;
        world.look_at_inboxes()?;
        if n % 16 == 0 {
            world.look_for_the_gone();
        }
    }
    settle(world).await
}

thread_local! {
    /// What has panicked on this thread while a case runs; `None` while none does.
    static PANICS: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Panics of a simulated kernel are evidence, not noise on the terminal.
fn listen_for_panics() {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let noted = PANICS.with_borrow_mut(|panics| match panics {
                Some(panics) => {
                    panics.push(panic.to_string());
                    true
                }
                None => false,
            });
            if !noted {
                before(panic);
            }
        }));
    });
}
