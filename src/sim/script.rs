//! What happens in a world, drawn from a seed and kept as data, so that events can be
//! taken away one by one while the world still fails.

use fastrand::Rng;

use super::swarm::{Swarm, TEXTS};
use crate::connectors::memory::Faults;
use crate::model::side::Side;

/// One thing that happens from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Somebody makes a record, unless there is one of this name.
    Create {
        /// Whose.
        account: usize,
        /// Where.
        side: Side,
        /// Which name.
        name: u8,
        /// On both sides at once.
        twin: bool,
    },
    /// Somebody changes fields of a record that there is.
    Edit {
        /// Whose.
        account: usize,
        /// Where.
        side: Side,
        /// Chooses the record.
        pick: u16,
        /// Chooses the field.
        field: u8,
        /// How the value is written.
        style: Style,
        /// How many records get it in the same moment.
        records: u8,
    },
    /// Somebody deletes a record.
    Delete {
        /// Whose.
        account: usize,
        /// Where.
        side: Side,
        /// Chooses the record.
        pick: u16,
        /// And makes one of the same name at once.
        again: bool,
    },
    /// Somebody asks for a sync, and waits for it for a while.
    Sync {
        /// Whose.
        account: usize,
        /// How long he waits, in milliseconds.
        patience_ms: u64,
        /// Everything is to be read.
        full: bool,
    },
    /// Somebody says that a record changed: copies of the message, each after its own
    /// delay.
    Mark {
        /// Whose.
        account: usize,
        /// Where.
        side: Side,
        /// Chooses the record.
        pick: u16,
        /// When each copy comes, in milliseconds from now.
        after_ms: Vec<u64>,
        /// There is no such record.
        bogus: bool,
    },
    /// Time passes.
    Sleep {
        /// Milliseconds.
        ms: u64,
    },
    /// The process is killed after so many more operations on the world outside.
    Kill {
        /// Operations.
        after: u64,
        /// And while it recovers, again after so many.
        again: Option<u64>,
    },
    /// Other faults from now on.
    Weather {
        /// Where.
        side: Side,
        /// What goes wrong from now on.
        faults: Faults,
    },
    /// The disk is full, or fails; mended when the process is next started, which a
    /// person does after a while.
    DiskTrouble {
        /// Room that is left, in bytes; `None` for a disk that fails.
        room: Option<u64>,
        /// How long until the person comes, in milliseconds.
        for_ms: u64,
    },
    /// Some actor panics when it next looks at the clock for the nth time.
    Panic {
        /// Looks.
        after: u32,
    },
    /// The credentials are refused until a person renews them.
    Refuse {
        /// Whose.
        account: usize,
        /// Where.
        side: Side,
        /// How long until the person comes, in milliseconds.
        for_ms: u64,
    },
    /// A person pauses a connection and lets it go on later.
    Pause {
        /// Whose.
        account: usize,
        /// How long, in milliseconds.
        for_ms: u64,
    },
    /// A clock is set.
    ClockStep {
        /// The side's clock, or our own.
        side: Option<Side>,
        /// By so much, in milliseconds.
        by_ms: i64,
    },
    /// The process is killed so many operations after it next takes what it is told.
    KillWhenTaken {
        /// Operations.
        after: u64,
    },
    /// Much is told at once.
    Flood {
        /// Whose.
        account: usize,
        /// Of which side.
        side: Side,
        /// In how many calls.
        calls: usize,
        /// Of so many records each, most of which there are not.
        records: usize,
    },
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// As it is.
    Plain,
    /// With white space around it.
    Padded,
    /// Taken away.
    Absent,
    /// Null.
    Null,
    /// Longer than a base keeps whole.
    Long,
    /// One of the few values of the enumerated field.
    Enumerated,
    /// A field that is not mapped.
    Unmapped,
}

/// How many names there are: few, so that records meet.
const NAMES: u8 = 24;

/// The script of a seed.
#[must_use]
pub fn draw(seed: u64, swarm: &Swarm, events: usize) -> Vec<Event> {
    let mut rng = Rng::with_seed(seed ^ 0x5343_5249_5054_0002);
    let rng = &mut rng;
    // How often the process is killed, the disk fails, and so on: each world has some.
    let kills = [0, 2, 8][rng.usize(0..3)];
    let disk = [0, 0, 0, 2][rng.usize(0..4)];
    let panics = [0, 0, 4][rng.usize(0..3)];
    let people = [0, 0, 4][rng.usize(0..3)];
    let marks = [0, 30, 60][rng.usize(0..3)];
    let clocks = [0, 0, 0, 4][rng.usize(0..4)];
    let weights = Weights { kills, disk, panics, people, marks, clocks };
    let script = (0..events).map(|_| weights.event(rng, swarm)).collect();
    match &swarm.triggers {
        Some(triggers) => triggers.add_to(seed, swarm, script),
        None => script,
    }
}

struct Weights {
    kills: u32,
    disk: u32,
    panics: u32,
    people: u32,
    marks: u32,
    clocks: u32,
}

impl Weights {
    /// One event; the weights of what always happens add up to 200.
    fn event(&self, rng: &mut Rng, swarm: &Swarm) -> Event {
        let account = rng.usize(0..swarm.accounts);
        let side = if rng.bool() { Side::App } else { Side::Remote };
        let extra = [self.kills, self.disk, self.panics, self.people, self.marks, self.clocks];
        let drawn = rng.u32(0..200 + extra.iter().sum::<u32>());
        let mut rest = drawn;
        let mut within = |weight: u32| {
            let hit = rest < weight;
            rest = if hit { u32::MAX } else { rest.saturating_sub(weight) };
            hit
        };
        if within(36) {
            let twin = swarm.twins && rng.u8(0..4) == 0;
            return Event::Create { account, side, name: rng.u8(0..NAMES), twin };
        }
        if within(80) {
            return edit(rng, account, side);
        }
        if within(10) {
            return Event::Delete { account, side, pick: rng.u16(..), again: swarm.twins && rng.u8(0..5) == 0 };
        }
        if within(34) {
            let patience_ms = if rng.bool() { rng.u64(1..200) } else { rng.u64(1..4_000) };
            return Event::Sync { account, patience_ms, full: rng.u8(0..12) == 0 };
        }
        if within(36) {
            let ms = [rng.u64(1..50), rng.u64(1..2_000), rng.u64(1..30_000)][rng.usize(0..3)];
            return Event::Sleep { ms };
        }
        if within(4) {
            return Event::Weather { side, faults: swarm.weather(rng, side) };
        }
        if within(self.kills) {
            let again = (rng.u8(0..3) == 0).then(|| rng.u64(0..40));
            let after = [0, rng.u64(0..20), rng.u64(0..300)][rng.usize(0..3)];
            return Event::Kill { after, again };
        }
        if within(self.disk) {
            let room = rng.bool().then(|| rng.u64(0..64 * 1024));
            return Event::DiskTrouble { room, for_ms: rng.u64(1..20_000) };
        }
        if within(self.panics) {
            return Event::Panic { after: rng.u32(0..60) };
        }
        if within(self.people) {
            let for_ms = rng.u64(1..10_000);
            return if rng.bool() { Event::Refuse { account, side, for_ms } } else { Event::Pause { account, for_ms } };
        }
        if within(self.marks) {
            let copies = [1, 1, 1, 2, 5][rng.usize(0..5)];
            let after_ms = (0..copies).map(|_| [0, rng.u64(0..100), rng.u64(0..60_000)][rng.usize(0..3)]).collect();
            return Event::Mark { account, side, pick: rng.u16(..), after_ms, bogus: rng.u8(0..8) == 0 };
        }
        let side = [None, Some(Side::App), Some(Side::Remote)][rng.usize(0..3)];
        let by_ms = [-600_000, -5_000, 5_000, 600_000][rng.usize(0..4)];
        if swarm.clocks_may_step(side) { Event::ClockStep { side, by_ms } } else { Event::Sleep { ms: 1 } }
    }
}

fn edit(rng: &mut Rng, account: usize, side: Side) -> Event {
    let field = rng.u8(0..u8::try_from(TEXTS.len()).unwrap_or(1));
    // What a side owned and was too long to be kept whole is lost with its record; the
    // other side's value is all there is then, whoever wrote it.
    let may_be_long = field < 2;
    let style = match rng.u8(0..20) {
        0 => Style::Padded,
        1 => Style::Absent,
        2 => Style::Null,
        3 if may_be_long => Style::Long,
        4 => Style::Enumerated,
        5 => Style::Unmapped,
        _ => Style::Plain,
    };
    let records = if rng.u8(0..8) == 0 { rng.u8(2..8) } else { 1 };
    Event::Edit { account, side, pick: rng.u16(..), field, style, records }
}
