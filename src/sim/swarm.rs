//! What a world is like, drawn from a seed: which faults there are and how often, how
//! each side behaves and what it can do, what the sync is declared to be.
//!
//! Each seed has a few things on and most things off, because faults hide each other
//! when all are on at once (swarm testing, Groce et al., ISSTA 2012).

use fastrand::Rng;

use super::telling::TriggerSwarm;
use crate::connectors::memory::rest::{ApiChanges, Dialect, RestFaults};
use crate::connectors::memory::{Behaviour, Cursors, Faults, IdStyle, Normalise, Order, Paging};
use crate::model::budget::{Limits, Window};
use crate::model::direction::Direction;
use crate::model::path::Path;
use crate::model::side::{PerSide, Side};
use crate::model::value::Value;
use crate::model::write::{Capabilities, CreateRecovery, UpdateStyle};
use crate::reconcile::merge::Initial;

/// How long a change may stay unseen in any world, in milliseconds; connectors are
/// declared accordingly.
pub(super) const MOST_STALE_MS: u64 = 10_000;

/// What a world is like.
#[derive(Debug, Clone)]
pub struct Swarm {
    /// How many connections share the app.
    pub accounts: usize,
    /// Which way changes go.
    pub direction: Direction,
    /// The field rules.
    pub rules: Rules,
    /// Who wins where nothing else decides.
    pub tie: Side,
    /// Who wins at first contact.
    pub initial: Option<Initial>,
    /// What each side is like.
    pub sides: PerSide<SideSwarm>,
    /// Syncs run by the clock this often, in milliseconds.
    pub schedule_ms: Option<u64>,
    /// How far our own clock is off, in milliseconds.
    pub clock_skew_ms: i64,
    /// Records are made on both sides at once. Only where no read hides anything: what
    /// a side does not show when it is looked at cannot be paired.
    pub twins: bool,
    /// Commits say which pages are free.
    pub quick_repair: bool,
    /// How many records each side has before the first contact.
    pub seeded: PerSide<u8>,
    /// Who tells of changes by webhooks and events, if anybody does.
    pub triggers: Option<TriggerSwarm>,
}

/// What one side is like.
#[derive(Debug, Clone)]
pub struct SideSwarm {
    /// How it behaves when nothing goes wrong.
    pub behaviour: Behaviour,
    /// What it can do, and is declared to.
    pub capabilities: Capabilities,
    /// What goes wrong at the start.
    pub faults: Faults,
    /// How much it may be called.
    pub limits: Limits,
    /// It is reached by the HTTP connector, through an API of this shape.
    pub api: Option<Api>,
}

/// A REST API in front of a side.
#[derive(Debug, Clone)]
pub struct Api {
    /// Its shape.
    pub dialect: Dialect,
    /// Draws what goes wrong on the way.
    pub seed: u64,
    /// How often what goes wrong on the way.
    pub faults: RestFaults,
}

/// The field rules of a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    /// Paired by e-mail; some fields owned, some shared.
    Owned,
    /// Paired by e-mail; all fields shared, the newest wins one of them.
    Shared,
    /// Not paired at all: every record is new to the other side.
    Unpaired,
}

impl Rules {
    /// As they would stand in a configuration file. `grown` is another edition of the
    /// same rules: one field more, one less.
    #[must_use]
    pub fn text(self, direction: Direction, grown: bool) -> String {
        let match_by = match self {
            Rules::Owned | Rules::Shared => "match = [\"email\"]\n",
            Rules::Unpaired => "",
        };
        let fields = match (direction, self) {
            // The source of a one-way sync decides every field.
            (Direction::Out | Direction::In, _) => {
                r#"
                name  = "properties.name"
                plan  = "properties.plan"
                phone = "properties.phone"
                "#
            }
            (Direction::TwoWay, Rules::Owned | Rules::Unpaired) => {
                r#"
                name  = "properties.name"
                plan  = { remote = "properties.plan", owner = "app" }
                phone = { remote = "properties.phone", owner = "remote" }
                "#
            }
            (Direction::TwoWay, Rules::Shared) => {
                r#"
                name  = { remote = "properties.name", conflict = "newest_wins" }
                plan  = "properties.plan"
                phone = { remote = "properties.phone", conflict = "remote_wins" }
                "#
            }
        };
        let last = if grown { "extra = \"properties.extra\"" } else { "note = \"properties.note\"" };
        format!(
            "{match_by}[fields]\nemail = {{ remote = \"properties.email\", transform = \"lowercase\" }}\n\
             grade = {{ remote = \"properties.grade\", values = {{ one = \"1\", two = \"2\" }} }}\n{fields}\n{last}\n"
        )
    }

    /// The side that decides a field, where one does.
    #[must_use]
    pub fn owner(self, field: &str) -> Option<Side> {
        match (self, field) {
            (Rules::Owned | Rules::Unpaired, "plan") => Some(Side::App),
            (Rules::Owned | Rules::Unpaired, "phone") => Some(Side::Remote),
            (Rules::Owned | Rules::Unpaired | Rules::Shared, _) => None,
        }
    }
}

/// The mapped text fields whose every value is told apart.
pub(super) const TEXTS: [&str; 4] = ["name", "note", "plan", "phone"];

fn one_of<T: Clone>(rng: &mut Rng, choices: &[T]) -> T {
    choices[rng.usize(0..choices.len())].clone()
}

/// With a chance of one in so many.
fn once_in(rng: &mut Rng, many: u32) -> bool {
    rng.u32(0..many) == 0
}

impl Swarm {
    /// The world of a seed: in every second one somebody tells of changes.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut world = Self::draw_untold(seed);
        world.triggers = TriggerSwarm::draw(seed, &world);
        if let Some(triggers) = world.triggers.clone() {
            triggers.leave_alone(&mut world);
        }
        world
    }

    /// The same world in which nobody tells of changes: in one of four the connected app
    /// is behind a REST API.
    #[must_use]
    pub fn draw_untold(seed: u64) -> Self {
        let world = Self::draw_in_memory(seed);
        let mut rng = Rng::with_seed(seed ^ 0x5245_5354_4150_0003);
        if once_in(&mut rng, 4) { world.behind_api(&mut rng) } else { world }
    }

    fn behind_api(mut self, rng: &mut Rng) -> Self {
        let side = &mut self.sides.remote;
        let seed = rng.u64(..);
        let dialect = draw_dialect(seed, self.rules);
        if matches!(dialect.create, CreateRecovery::Find { .. }) {
            side.capabilities.find = vec![email_path(Side::Remote)];
            side.behaviour.normalise = Normalise::default();
        }
        side.capabilities = dialect.capabilities(std::mem::take(&mut side.capabilities));
        side.behaviour.cursors = dialect.cursors();
        let mut faults = RestFaults::swarm(seed);
        if dialect.bears_short_lists() {
            faults.next_missing = if self.twins { 0 } else { one_of(rng, &[0, 0, 50]) };
        } else {
            side.faults.truncated = 0;
        }
        side.api = Some(Api { dialect, seed, faults });
        self
    }

    /// The same world with both apps at hand.
    #[must_use]
    pub fn draw_in_memory(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed ^ 0x5157_4152_4D00_0001);
        let rng = &mut rng;
        let twins = rng.bool();
        let rules = one_of(rng, &[Rules::Owned, Rules::Owned, Rules::Shared, Rules::Unpaired]);
        let direction = match rng.u8(0..10) {
            0 => Direction::Out,
            1 => Direction::In,
            _ => Direction::TwoWay,
        };
        Self {
            accounts: if once_in(rng, 8) { 2 } else { 1 },
            direction,
            rules,
            tie: one_of(rng, &Side::BOTH),
            initial: one_of(
                rng,
                &[None, Some(Initial::Side(Side::App)), Some(Initial::Side(Side::Remote)), Some(Initial::Newest)],
            ),
            schedule_ms: one_of(rng, &[None, None, Some(5_000), Some(60_000)]),
            clock_skew_ms: one_of(rng, &[0, 0, 0, 600_000, -600_000]),
            twins: twins && rules != Rules::Unpaired,
            quick_repair: once_in(rng, 4),
            seeded: PerSide { app: rng.u8(0..10), remote: rng.u8(0..10) },
            triggers: None,
            sides: PerSide {
                app: SideSwarm::draw(rng, Side::App, rules, twins),
                remote: SideSwarm::draw(rng, Side::Remote, rules, twins),
            },
        }
    }
}

impl SideSwarm {
    fn draw(rng: &mut Rng, side: Side, rules: Rules, twins: bool) -> Self {
        let faults = if once_in(rng, 4) { Faults::default() } else { draw_faults(rng, twins) };
        let mut behaviour = draw_behaviour(rng, &faults, twins);
        let windows = match rng.u8(0..6) {
            0 => vec![Window::new(rng.u32(10..60), 10_000)],
            _ => Vec::new(),
        };
        let capabilities = draw_capabilities(rng, side, rules);
        if matches!(capabilities.create, CreateRecovery::Find { .. }) {
            // What an unknown create left there in another form cannot be told from an edit.
            behaviour.normalise = Normalise::default();
        }
        let limits = Limits { windows, concurrency: rng.usize(1..5), ..Limits::default() };
        Self { capabilities, limits, behaviour, faults, api: None }
    }
}

/// Some faults. Lists that leave out what is there, and reads that are behind, are left
/// out where twins are made.
fn draw_faults(rng: &mut Rng, twins: bool) -> Faults {
    let faults = Faults::swarm(rng.u64(..));
    let faults = Faults {
        panic_in_read: if once_in(rng, 6) { 10 } else { 0 },
        panic_in_write: if once_in(rng, 6) { 10 } else { 0 },
        late_commit_ms: one_of(rng, &[2_000, 30_000, 300_000]),
        stale_ms: MOST_STALE_MS,
        ..faults
    };
    if twins { Faults { stale: 0, truncated: 0, empty_page: 0, ..faults } } else { faults }
}

impl Swarm {
    /// Other faults for a side, such that what it hides comes to light again: a list that
    /// is cut short and has no order hides records until they change.
    pub(super) fn weather(&self, rng: &mut Rng, side: Side) -> Faults {
        let faults = draw_faults(rng, self.twins);
        let behaviour = &self.sides[side].behaviour;
        let bears_truncation = match &self.sides[side].api {
            Some(api) => api.dialect.bears_short_lists(),
            None => behaviour.order == Order::Changed && behaviour.paging == Paging::Keyset,
        };
        if bears_truncation { faults } else { Faults { truncated: 0, ..faults } }
    }
}

fn draw_behaviour(rng: &mut Rng, faults: &Faults, twins: bool) -> Behaviour {
    let granularity_ms = one_of(rng, &[1, 1_000, 60_000]);
    let time = Cursors::Time { granularity_ms, inclusive: true, lookback_ms: granularity_ms + 2 * MOST_STALE_MS };
    let ordered = faults.truncated > 0 || !once_in(rng, 4);
    Behaviour {
        page_size: rng.usize(1..6),
        order: if ordered { Order::Changed } else { one_of(rng, &[Order::Id, Order::Shuffled]) },
        paging: if faults.truncated > 0 || !once_in(rng, 4) { Paging::Keyset } else { Paging::Offset },
        cursors: if once_in(rng, 3) { time } else { Cursors::Sequence },
        modified: !once_in(rng, 6),
        returns_body: rng.bool(),
        duplicate_names_id: rng.bool(),
        clock_skew_ms: one_of(rng, &[0, 0, 0, 600_000, -600_000]),
        ids: one_of(rng, &[IdStyle::Numbers, IdStyle::Odd]),
        normalise: draw_normalise(rng),
        latency_ms: one_of(rng, &[(0, 0), (1, 30), (50, 400)]),
        index_lag_ms: if twins { 0 } else { one_of(rng, &[0, 0, 1_000, 90_000]) },
        ..Behaviour::default()
    }
}

fn draw_normalise(rng: &mut Rng) -> Normalise {
    if !once_in(rng, 4) {
        return Normalise::default();
    }
    let lowercase = if rng.bool() { vec![Path::key("name")] } else { Vec::new() };
    let defaults = if rng.bool() { vec![(Path::key("origin"), Value::string("import"))] } else { Vec::new() };
    Normalise { trim: rng.bool(), lowercase, drop_nulls: rng.bool(), defaults, ..Normalise::default() }
}

/// A shape of an API in which what its reads hide for a while is found.
fn draw_dialect(seed: u64, rules: Rules) -> Dialect {
    let mut dialect = Dialect::draw(seed);
    if let ApiChanges::Time { granularity_ms, lookback_ms, .. } = &mut dialect.changes {
        let least_ms = granularity_ms.saturating_add(2 * MOST_STALE_MS).next_multiple_of(*granularity_ms);
        *lookback_ms = least_ms.max(*lookback_ms);
    }
    if rules == Rules::Unpaired && matches!(dialect.create, CreateRecovery::Find { .. }) {
        // There is nothing to find it by.
        dialect.create = CreateRecovery::ExternalId;
    }
    dialect
}

fn email_path(side: Side) -> Path {
    match side {
        Side::App => Path::key("email"),
        Side::Remote => "properties.email".parse().unwrap_or_else(|_| Path::key("email")),
    }
}

fn draw_capabilities(rng: &mut Rng, side: Side, rules: Rules) -> Capabilities {
    let email = email_path(side);
    let key = CreateRecovery::IdempotencyKey { life_ms: one_of(rng, &[600_000, 86_400_000]) };
    let mut create = one_of(
        rng,
        &[CreateRecovery::ClientId, key, CreateRecovery::ExternalId, CreateRecovery::Find { settle_ms: 400_000 }],
    );
    if rules == Rules::Unpaired && matches!(create, CreateRecovery::Find { .. }) {
        // There is nothing to find it by: it would wait for a person.
        create = CreateRecovery::ExternalId;
    }
    let (local, read_ids) = (side == Side::App && rng.bool(), rng.usize(1..4));
    let find = if once_in(rng, 4) && !matches!(create, CreateRecovery::Find { .. }) { Vec::new() } else { vec![email] };
    if let CreateRecovery::IdempotencyKey { life_ms } = &mut create
        && (find.is_empty() || rules == Rules::Unpaired)
    {
        // Nor here, once the key has expired.
        *life_ms = 86_400_000;
    }
    Capabilities {
        deletions: true,
        local,
        changes: true,
        read_ids,
        find,
        conditional: true,
        update: one_of(rng, &[UpdateStyle::Fields, UpdateStyle::Whole]),
        batch: rng.usize(1..4),
        writable: true,
        create,
        read_after_write_lag_ms: 2 * MOST_STALE_MS,
    }
}

impl Swarm {
    /// Whether a clock may be set without making the declared cursor a lie: a time
    /// cursor cannot be trusted on a side whose clock goes back.
    pub(super) fn clocks_may_step(&self, side: Option<Side>) -> bool {
        side.is_none_or(|side| self.sides[side].behaviour.cursors == Cursors::Sequence)
    }
}
