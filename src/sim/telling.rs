//! Who tells the kernel of changes in a world, and how badly: drawn from a stream of its
//! own, so that a world in which nobody tells is what it was without this.

use fastrand::Rng;

use super::script::Event;
use super::swarm::Swarm;
use crate::connectors::memory::Faults;
use crate::model::direction::Direction;
use crate::model::side::Side;

/// Who tells of changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriggerSwarm {
    /// The connected app, by webhooks.
    pub webhooks: Option<Telling>,
    /// Your backend, by events.
    pub events: Option<Telling>,
    /// How webhooks are signed.
    pub scheme: Signed,
    /// The webhooks of all accounts come in by one path, and name their account.
    pub shared_path: bool,
    /// Nothing but hints moves changes: there is no schedule, nobody asks for a run after
    /// the first, and reads hide nothing.
    pub alone: bool,
    /// Sometimes more is told of at once than there is room for.
    pub floods: bool,
    /// Draws what is not written down here.
    pub seed: u64,
}

/// How webhooks are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signed {
    /// With an id and a time: what comes again is known, and refused when it is old.
    Standard,
    /// Over the body alone: whatever comes is news.
    Github,
}

impl Signed {
    /// Its name in a connector file.
    pub(super) fn preset(self) -> &'static str {
        match self {
            Signed::Standard => "standard-webhooks",
            Signed::Github => "github",
        }
    }
}

/// How somebody tells of changes. Rates are per mille of the changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telling {
    /// Not told at all.
    pub lost: u16,
    /// Told more than once, in one call made again byte by byte.
    pub repeated: u16,
    /// Told without the record's name.
    pub whole: u16,
    /// And with it of a record that there is not.
    pub bogus: u16,
    /// And with it, once more, of something told before.
    pub old: u16,
    /// Each copy comes after a delay of its own, up to so many milliseconds.
    pub delay_ms: u64,
    /// What the kernel writes is told, too.
    pub own_writes: bool,
    /// And so long before the write is answered, in milliseconds.
    pub before_answer_ms: u64,
    /// How often it is tried again where no answer came, or one that asks for it.
    pub tries: u32,
    /// How long records are to rest first, in milliseconds; for events alone.
    pub settle_ms: u64,
    /// Calls carry an idempotency key; for events alone.
    pub keyed: bool,
}

fn one_of<T: Clone>(rng: &mut Rng, choices: &[T]) -> T {
    choices[rng.usize(0..choices.len())].clone()
}

impl TriggerSwarm {
    /// Who tells in the world of a seed; nobody in every second one.
    pub(super) fn draw(seed: u64, swarm: &Swarm) -> Option<Self> {
        let mut rng = Rng::with_seed(seed ^ 0x5452_4947_4745_0004);
        let rng = &mut rng;
        if rng.bool() {
            return None;
        }
        let alone = swarm.direction == Direction::TwoWay && rng.u8(0..3) == 0;
        let who = rng.u8(0..4);
        let is_right = swarm.clock_skew_ms == 0;
        Some(Self {
            webhooks: (alone || who != 0).then(|| Telling::draw(rng)),
            events: (alone || who < 3).then(|| Telling::draw(rng)),
            // Where our clock is wrong, all that carries a time is refused.
            scheme: if is_right && rng.bool() { Signed::Standard } else { Signed::Github },
            shared_path: rng.bool(),
            alone,
            floods: rng.u8(0..6) == 0,
            seed: rng.u64(..),
        })
    }

    /// How the changes of a side are told, if they are.
    pub(super) fn of(&self, side: Side) -> Option<&Telling> {
        match side {
            Side::App => self.events.as_ref(),
            Side::Remote => self.webhooks.as_ref(),
        }
    }

    /// What is different about a world in which nothing but hints moves changes.
    pub(super) fn leave_alone(&self, swarm: &mut Swarm) {
        if self.alone {
            swarm.schedule_ms = None;
            for side in Side::BOTH {
                swarm.sides[side].faults = Self::hiding_nothing(swarm.sides[side].faults.clone());
                if let Some(api) = &mut swarm.sides[side].api {
                    api.faults.next_missing = 0;
                }
            }
        }
    }

    /// Adds to a script what belongs to telling.
    pub(super) fn add_to(&self, seed: u64, swarm: &Swarm, script: Vec<Event>) -> Vec<Event> {
        let mut rng = Rng::with_seed(seed ^ 0x5452_4947_4745_0005);
        let rng = &mut rng;
        let kills = [0, 2, 10][rng.usize(0..3)];
        let mut told = Vec::with_capacity(script.len() + 16);
        if self.alone {
            told.extend((0..swarm.accounts).map(|account| Event::Sync { account, patience_ms: 200_000, full: false }));
        }
        for event in script {
            if rng.u32(0..200) < kills {
                let after = [0, rng.u64(0..8), rng.u64(0..40)][rng.usize(0..3)];
                told.push(Event::KillWhenTaken { after });
            }
            if self.floods && rng.u32(0..200) == 0 {
                let side = if rng.bool() { Side::App } else { Side::Remote };
                let (calls, records) = [(1, 300), (4, 500), (13, 900)][rng.usize(0..3)];
                told.push(Event::Flood { account: rng.usize(0..swarm.accounts), side, calls, records });
            }
            told.push(match event {
                Event::Sync { patience_ms, .. } if self.alone => Event::Sleep { ms: patience_ms },
                Event::Weather { side, faults } if self.alone => {
                    Event::Weather { side, faults: Self::hiding_nothing(faults) }
                }
                other => other,
            });
        }
        told
    }

    /// The same faults, but for those that hide what is there from a read, and for writes
    /// carried out after nobody waits for them any more: the word of those may be lost.
    fn hiding_nothing(faults: Faults) -> Faults {
        Faults { stale: 0, truncated: 0, empty_page: 0, late_commit: 0, ..faults }
    }
}

impl Telling {
    fn draw(rng: &mut Rng) -> Self {
        let own_writes = rng.bool();
        Self {
            lost: one_of(rng, &[0, 0, 100, 500]),
            repeated: one_of(rng, &[0, 100, 500]),
            whole: one_of(rng, &[0, 0, 50, 1_000]),
            bogus: one_of(rng, &[0, 20, 100]),
            old: one_of(rng, &[0, 50, 200]),
            delay_ms: one_of(rng, &[0, 100, 5_000, 60_000]),
            own_writes,
            before_answer_ms: if own_writes { one_of(rng, &[0, 0, 50, 500]) } else { 0 },
            tries: one_of(rng, &[0, 8, 8]),
            settle_ms: one_of(rng, &[0, 0, 3_000]),
            keyed: rng.bool(),
        }
    }
}
