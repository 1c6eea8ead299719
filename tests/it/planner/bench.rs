//! What carries plans out without actors, store or network: two sides in memory, the
//! markers with their two indexes, and a queue. It does what a unit of work does, one
//! record at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::DateTime;
use fastrand::Rng;
use syncline::model::hash::{Digest, RawHash};
use syncline::model::ids::{PairNo, RecordId, SyncNo, Version};
use syncline::model::marker::{BaseValue, LinkState, Marker, SideState};
use syncline::model::path::Path;
use syncline::model::record::{Body, DeletionCause, Entry, Record};
use syncline::model::side::{PerSide, Side};
use syncline::model::value::Value;
use syncline::model::work::{PendingReason, QuarantineKind};
use syncline::model::write::{Capabilities, Change, Outcome, Stored, UpdateStyle};
use syncline::reconcile::case::{Candidate, Case, Due, Observation, Partner, Stage, Step};
use syncline::reconcile::finish::{self, Finished};
use syncline::reconcile::mapping::{FieldRead, Mapping};
use syncline::reconcile::now::Now;
use syncline::reconcile::plan::{Creation, Deletion, Effect, Plan, SideUpdate, plan};
use syncline::reconcile::sync::BoundSync;

use super::scenario::{Edit, Row, Scenario, SideRule};

/// How often the planner may be asked in one round of a case with one thing. Far more
/// than it takes; a loop takes all of them.
const MAX_STEPS: usize = 200;

/// How often a case may ask for something before it is put off, as in a unit of work.
const MAX_ASKS: usize = 8;

/// How many times a record may be tried before it would be held back as a dead letter.
const MAX_ATTEMPTS: u32 = 10;

/// In which order news of the records arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// A run reads this side first.
    First(Side),
    /// Each record is named alone, in any order.
    Shuffled,
}

impl Arrival {
    pub const ALL: [Arrival; 3] = [Arrival::First(Side::App), Arrival::First(Side::Remote), Arrival::Shuffled];
}

/// A value that lost, by the thing it belonged to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LostValue {
    pub thing: usize,
    pub field: String,
    pub winner: Side,
    /// As JSON; `None` when it was absent.
    pub value: Option<String>,
}

/// A record as a side holds it.
#[derive(Debug, Clone)]
pub struct SimRecord {
    pub id: RecordId,
    pub thing: usize,
    pub live: bool,
    pub row: Row,
    /// The value of a key that is not mapped.
    own: u32,
    version: u64,
    modified: i64,
    body: Body,
}

/// One side.
#[derive(Debug)]
pub struct SimSide {
    side: Side,
    rule: SideRule,
    names: Vec<&'static str>,
    /// Up to which change the list was read; later reads list what came after.
    cursor: u64,
    pub records: Vec<SimRecord>,
    clock: u64,
}

/// One record to look at.
#[derive(Debug)]
struct News {
    side: Side,
    id: RecordId,
    stage: Stage,
    by_id: bool,
    force: bool,
    attempts: u32,
    due_ms: i64,
}

/// Everything that a sync works on.
pub struct Bench<'s> {
    scenario: &'s Scenario,
    pub sync: BoundSync,
    pub sides: PerSide<SimSide>,
    pub markers: BTreeMap<PairNo, Marker>,
    ids: BTreeMap<(Side, RecordId), PairNo>,
    keys: BTreeSet<(Digest, Side, PairNo)>,
    pub held_back: BTreeMap<(Side, RecordId), (Option<RawHash>, QuarantineKind, String)>,
    pub lost: BTreeSet<LostValue>,
    queue: Vec<News>,
    /// What waits for the next run.
    awaiting: Vec<News>,
    next_pair: u64,
    now_ms: i64,
    steps: usize,
    /// Writes of this round, by side and thing.
    writes: BTreeMap<(Side, usize), u32>,
}

type Checked = Result<(), String>;

impl<'s> Bench<'s> {
    /// The state when the two sides last agreed.
    pub fn new(scenario: &'s Scenario, mapping: &Arc<Mapping>) -> Self {
        let sync = BoundSync {
            before_write: None,
            schemas: Default::default(),
            no: SyncNo(1),
            name: "things".into(),
            objects: PerSide { app: "things".into(), remote: "things".into() },
            direction: scenario.direction,
            mapping: Arc::clone(mapping),
            initial: scenario.initial,
            tie: scenario.tie,
            references: Vec::new(),
            capabilities: PerSide::from_fn(|side| capabilities(mapping, side, scenario.sides[side])),
        };
        let sides = PerSide::from_fn(|side| SimSide::new(side, scenario));
        let mut bench = Self {
            scenario,
            sync,
            sides,
            markers: BTreeMap::new(),
            ids: BTreeMap::new(),
            keys: BTreeSet::new(),
            held_back: BTreeMap::new(),
            lost: BTreeSet::new(),
            queue: Vec::new(),
            awaiting: Vec::new(),
            next_pair: 1,
            now_ms: 1_700_000_000_000,
            steps: 0,
            writes: BTreeMap::new(),
        };
        for (thing, drawn) in scenario.things.iter().enumerate() {
            if let Some(agreed) = &drawn.agreed {
                bench.agree(thing, agreed);
            }
        }
        for side in Side::BOTH {
            bench.sides[side].cursor = bench.sides[side].clock;
        }
        bench
    }

    fn agree(&mut self, thing: usize, rows: &PerSide<Row>) {
        let mut marker = Marker::new(self.sync.mapping.hash);
        marker.state = LinkState::Linked;
        let mut bases = PerSide::default();
        for side in Side::BOTH {
            let row = self.stored_row(side, &rows[side]);
            let record = self.sides[side].insert(thing, row, 0).clone();
            let read = self.sync.mapping.read(side, &record.body).expect("a record of this world is one object");
            bases[side] = self
                .sync
                .mapping
                .fields
                .iter()
                .zip(read.iter())
                .map(|(field, read)| match read {
                    FieldRead::Value(value) => (field.no, BaseValue::of(value.as_ref())),
                    FieldRead::Fault(fault) => unreachable!("agreed records are sound: {fault}"),
                })
                .collect();
            marker.sides[side] = SideState {
                id: Some(record.id.clone()),
                version: self.sides[side].version(&record),
                raw_hash: Some(record.body.raw_hash()),
                match_key: self.sync.mapping.match_key(&read),
                ..SideState::default()
            };
        }
        marker.set_bases(bases);
        let pair = self.take_pair();
        self.put_marker(pair, None, &marker);
    }

    fn stored_row(&self, side: Side, row: &Row) -> Row {
        let fields = self.scenario.fields.iter().zip(row);
        fields.map(|(field, value)| field.stored(side, value.clone())).collect()
    }

    /// What people do in one round.
    pub fn perturb(&mut self, round: usize) {
        let scenario = self.scenario;
        for (thing, drawn) in scenario.things.iter().enumerate() {
            let Some(turns) = drawn.rounds.get(round) else { continue };
            let left_alone = self.left_alone(thing);
            for side in Side::BOTH.into_iter().filter(|side| Some(*side) != left_alone) {
                let turn = &turns[side];
                for edit in &turn.edits {
                    self.edit(side, thing, edit, turn.modified);
                }
            }
        }
        self.now_ms += 1_000;
        self.steps = 0;
        self.writes.clear();
        self.lost.clear();
    }

    /// The side of a thing that nobody touches in this round. The one exception to the
    /// rule that the order of arrival does not matter: a record that waits for a partner
    /// may be paired as it was last read, so that what happened to it since counts as done
    /// after the pairing, where its news arrives after the partner's, and as done before
    /// it, where they arrive the other way round.
    fn left_alone(&self, thing: usize) -> Option<Side> {
        let known = Side::BOTH.into_iter().find(|&side| self.sides[side].latest(thing).is_some())?;
        let paired = self.marker_of(thing).is_some_and(|marker| !matches!(marker.state, LinkState::Half));
        (!paired).then_some(known)
    }

    /// What is held back is looked at again when its own text changes, and not when its
    /// partner goes, or comes back as it was.
    fn waits_for_a_person(&self, thing: usize, edit: &Edit) -> bool {
        let paired = self.marker_of(thing).is_some_and(|marker| !matches!(marker.state, LinkState::Half));
        let waits = match edit {
            Edit::Restore => true,
            Edit::Delete => !paired,
            Edit::Create(_) | Edit::Set(..) | Edit::Touch => false,
        };
        waits && self.held_back(thing).is_some()
    }

    fn edit(&mut self, side: Side, thing: usize, edit: &Edit, modified: i64) {
        let scenario = self.scenario;
        if let Edit::Create(row) = edit {
            // Without a match key a record of the other side would be another thing.
            let alone = scenario.matched || self.sides[side.other()].latest(thing).is_none();
            if alone && self.sides[side].latest(thing).is_none() {
                let row = self.stored_row(side, row);
                self.sides[side].insert(thing, row, modified);
            }
            return;
        }
        let Some(at) = self.sides[side].latest(thing) else { return };
        if self.waits_for_a_person(thing, edit) {
            return;
        }
        let record = &mut self.sides[side].records[at];
        match (edit, record.live) {
            (Edit::Set(field, value), true) => record.row[*field] = scenario.fields[*field].stored(side, value.clone()),
            (Edit::Touch, true) => record.own += 1,
            (Edit::Delete, true) => record.live = false,
            (Edit::Restore, false) => record.live = true,
            (Edit::Create(_) | Edit::Set(..) | Edit::Touch | Edit::Delete | Edit::Restore, _) => return,
        }
        record.modified = modified;
        self.sides[side].changed(at);
    }
}

impl Bench<'_> {
    /// Syncs until no side lists a change and nothing is waiting.
    pub fn settle(&mut self, arrival: Arrival) -> Checked {
        if arrival == Arrival::Shuffled {
            self.read_one_by_one()?;
        }
        let first = match arrival {
            Arrival::First(side) => side,
            Arrival::Shuffled => Side::App,
        };
        while Side::BOTH.into_iter().any(|side| !self.sides[side].changed_since(self.sides[side].cursor).is_empty()) {
            self.read_both(first)?;
        }
        self.check_writes()
    }

    /// The echo of one write may be put right once, and no more.
    fn check_writes(&self) -> Checked {
        match self.writes.iter().find(|(_, count)| **count > 2) {
            Some(((side, thing), count)) => Err(format!("thing {thing} was written {count} times on the {side} side")),
            None => Ok(()),
        }
    }

    /// Reads every record again, first from a list and then by id and trusting nothing.
    /// Nothing may be written.
    pub fn look_again(&mut self) -> Checked {
        self.writes.clear();
        self.now_ms += 3_600_000;
        for by_id in [false, true] {
            for side in Side::BOTH {
                for id in self.sides[side].ids() {
                    let news = News::listed(side, id, Stage::Again, self.now_ms);
                    self.look(News { force: by_id, by_id, ..news })?;
                }
            }
            self.drain()?;
        }
        match self.writes.keys().next() {
            Some((side, thing)) => Err(format!("a settled thing {thing} is written again on the {side} side")),
            None => Ok(()),
        }
    }

    fn read_one_by_one(&mut self) -> Checked {
        let mut all: Vec<(Side, RecordId)> =
            Side::BOTH.iter().flat_map(|&side| self.sides[side].ids().into_iter().map(move |id| (side, id))).collect();
        Rng::with_seed(self.scenario.shuffle).shuffle(&mut all);
        for (side, id) in all {
            self.look(News { force: true, by_id: true, ..News::listed(side, id, Stage::Prove, self.now_ms) })?;
        }
        self.drain()?;
        self.end_run()
    }

    /// What waited for a run is looked at after it.
    fn end_run(&mut self) -> Checked {
        self.queue.append(&mut self.awaiting);
        self.drain()
    }

    /// The steps of a run, with either side first.
    fn read_both(&mut self, first: Side) -> Checked {
        let hold = if self.scenario.matched { Stage::Hold } else { Stage::Create };
        let since = PerSide::from_fn(|side| self.sides[side].cursor);
        for (side, stage) in [(first, hold), (first.other(), Stage::Create), (first, Stage::Again)] {
            if stage != Stage::Again {
                self.sides[side].cursor = self.sides[side].clock;
            }
            for id in self.sides[side].changed_since(since[side]) {
                self.look(News::listed(side, id, stage, self.now_ms))?;
            }
            self.drain()?;
        }
        self.end_run()
    }

    fn drain(&mut self) -> Checked {
        while let Some(next) = (0..self.queue.len()).min_by_key(|at| self.queue[*at].due_ms) {
            let news = self.queue.remove(next);
            self.now_ms = self.now_ms.max(news.due_ms);
            self.look(news)?;
        }
        Ok(())
    }

    /// One record from its news to its marker.
    fn look(&mut self, news: News) -> Checked {
        let News { side, id, stage, by_id, force, attempts, .. } = news;
        let Some(entry) = self.sides[side].entry(&id, by_id) else { return Ok(()) };
        let mut case = Case::new(side, id, Some(Observation { entry, by_id, fields: None }), stage);
        case.force = force;
        case.waited = by_id;
        case.attempts = attempts;
        case.pair = self.ids.get(&(side, case.id.clone())).copied();
        case.marker = case.pair.and_then(|pair| self.markers.get(&pair).cloned());
        case.held_back = self.held_back.get(&(side, case.id.clone())).map(|(hash, kind, _)| (*hash, *kind));
        let partner = case.id_on(side.other()).map(|id| (side.other(), id.clone()));
        case.partner_held_back = partner.is_some_and(|partner| self.held_back.contains_key(&partner));
        for _ in 0..MAX_ASKS {
            self.steps += 1;
            if self.steps > MAX_STEPS * self.scenario.things.len().max(1) {
                return Err(format!("not settled after {MAX_STEPS} steps for each thing"));
            }
            match plan(&self.sync, &mut case, Now { ms: self.now_ms, up_ms: u64::MAX }) {
                Step::Read(side, id) => {
                    let entry = self.sides[side].entry(&id, true).ok_or_else(|| format!("{side} {id} never was"))?;
                    case.seen[side] = Some(Observation::by_id(entry));
                }
                Step::Partner(key) => case.partner = self.look_up(&case, key),
                Step::Find(side, wanted) => case.partner = self.find(&mut case, side, &wanted),
                Step::Links(keys) => return Err(format!("asks for links, but no field names records: {keys:?}")),
                Step::Plan(plan) => return self.carry_out(*plan),
            }
        }
        Err(format!("{} {} asks without end", case.origin, case.id))
    }

    fn look_up(&self, case: &Case, key: Digest) -> Partner {
        let with_key = |side: Side| {
            let pairs = self.keys.iter().filter(move |(other, at, _)| *other == key && *at == side);
            pairs.map(|(_, _, pair)| *pair).filter(|pair| Some(*pair) != case.pair).collect::<Vec<_>>()
        };
        let others = with_key(case.origin.other());
        let others: Vec<Candidate> =
            others.into_iter().filter_map(|pair| self.candidate(pair, case.origin.other())).collect();
        let siblings = with_key(case.origin).into_iter();
        let siblings = siblings.filter(|pair| !others.iter().any(|other| other.pair == Some(*pair)));
        let siblings =
            siblings.filter_map(|pair| self.candidate(pair, case.origin)).map(|sibling| sibling.id).collect();
        Partner::Known { others, siblings, searched: false }
    }

    fn candidate(&self, pair: PairNo, side: Side) -> Option<Candidate> {
        let marker = self.markers.get(&pair)?;
        let id = marker.sides[side].id.clone()?;
        let own = self.ids.get(&(side, id.clone())) == Some(&pair);
        own.then(|| Candidate {
            id,
            pair: Some(pair),
            marker: Some(marker.clone()),
            open_write: false,
            observation: None,
        })
    }

    fn find(&self, case: &mut Case, side: Side, wanted: &[(Path, Value)]) -> Partner {
        let fields = &self.sync.mapping.fields;
        let value_at = |record: &SimRecord, path: &Path| {
            let index = fields.iter().position(|field| field.paths[side] == *path)?;
            record.row[index].clone()
        };
        let found = self.sides[side].records.iter().filter(|record| {
            record.live && wanted.iter().all(|(path, value)| value_at(record, path).is_some_and(|own| own.same(value)))
        });
        let others = found.map(|record| {
            let pair = self.ids.get(&(side, record.id.clone())).copied();
            let observation = self.sides[side].entry(&record.id, true).map(Observation::by_id);
            match pair.and_then(|pair| self.candidate(pair, side)) {
                Some(known) => Candidate { observation, ..known },
                None => Candidate { id: record.id.clone(), pair: None, marker: None, open_write: false, observation },
            }
        });
        let others = others.collect();
        let siblings = match std::mem::replace(&mut case.partner, Partner::NotAsked) {
            Partner::Known { siblings, .. } => siblings,
            Partner::NotAsked => Vec::new(),
        };
        Partner::Known { others, siblings, searched: true }
    }

    fn carry_out(&mut self, mut plan: Plan) -> Checked {
        let mut outcomes: PerSide<Option<Outcome>> = PerSide::default();
        let origin = (plan.origin, plan.id.clone());
        let finished = match &plan.effect {
            Effect::Keep(marker) | Effect::OutOfScope(marker) => kept(marker.as_deref()),
            Effect::Half(marker) => kept(Some(marker)),
            Effect::Forget => {
                if let (Some(pair), Some(old)) = (plan.pair, &plan.old) {
                    self.drop_marker(pair, &old.clone());
                }
                Finished::default()
            }
            Effect::Hold(hold, marker) => {
                let failed = u32::from(hold.reason == PendingReason::Retry);
                let after_ms = match hold.due {
                    Due::Now => Some(0),
                    Due::AfterMs(after_ms) => Some(after_ms),
                    Due::AfterRun => None,
                    Due::WithOpenCreate => return Err("nothing is open here".to_owned()),
                    Due::WhenLinked => return Err("no field names records here".to_owned()),
                };
                match after_ms {
                    Some(after_ms) => {
                        self.again(plan.origin, &plan.id, hold.reason, plan.attempts + failed, after_ms)?;
                    }
                    None => {
                        let news = News::listed(plan.origin, plan.id.clone(), Stage::Create, self.now_ms);
                        self.awaiting.push(News { by_id: true, attempts: plan.attempts, ..news });
                    }
                }
                kept(marker.as_deref())
            }
            Effect::Quarantine(fault, marker) => Finished { fault: Some(fault.clone()), ..kept(marker.as_deref()) },
            Effect::Update(updates) => {
                for side in Side::BOTH {
                    if let Some(update) = &updates.writes[side] {
                        let outcome = self.update(side, update)?;
                        if matches!(outcome, Outcome::Written(_)) {
                            self.keep_lost(&plan, side)?;
                        }
                        outcomes[side] = Some(outcome);
                    }
                }
                finish::updated(&self.sync, (origin.0, &origin.1), plan.old.as_ref(), updates, outcomes, self.now_ms)
            }
            Effect::Create(creation) => {
                // The promise: the source's half is kept before anything is sent.
                let pair = plan.pair.unwrap_or(PairNo(self.next_pair));
                if plan.pair.is_none() {
                    self.take_pair();
                }
                let restored = plan.old.as_ref().is_some_and(|old| !matches!(old.state, LinkState::Half));
                let source = creation.marker.sides[creation.target.other()].id.clone().unwrap_or(plan.id.clone());
                self.put_marker(pair, plan.old.as_ref(), &creation.marker.clone());
                plan.pair = Some(pair);
                plan.old = Some(creation.marker.clone());
                let outcome = self.create(creation, &source, restored)?;
                finish::created(&self.sync, (origin.0, &origin.1), creation, &outcome, self.now_ms)
            }
            Effect::Delete(deletion) => {
                let outcome = self.delete(deletion)?;
                finish::deleted((origin.0, &origin.1), deletion, &outcome)
            }
        };
        for (side, id) in std::mem::take(&mut plan.nudged) {
            self.again(side, &id, PendingReason::Requested, 1, 0)?;
        }
        self.keep(plan, finished)
    }

    fn keep(&mut self, mut plan: Plan, finished: Finished) -> Checked {
        let done = finished.again.is_empty();
        if finished.marker.is_none()
            && let Some(half) = plan.half.take()
        {
            let pair = self.take_pair();
            self.put_marker(pair, None, &half);
        }
        if let Some(marker) = &finished.marker {
            let pair = plan.pair.unwrap_or_else(|| self.take_pair());
            if let Some((absorbed, old)) = plan.absorbed.take() {
                self.drop_marker(absorbed, &old);
            }
            self.put_marker(pair, plan.old.as_ref(), marker);
        }
        for again in &finished.again {
            let attempts = plan.attempts + u32::from(again.failed);
            self.again(again.side, &again.id, again.reason, attempts, 0)?;
        }
        let name = (plan.origin, plan.id.clone());
        match finished.fault {
            Some(fault) => drop(self.held_back.insert(name, (plan.raw_hash, fault.kind, fault.reason))),
            None if plan.released && done => drop(self.held_back.remove(&name)),
            None => {}
        }
        Ok(())
    }

    fn again(&mut self, side: Side, id: &RecordId, reason: PendingReason, attempts: u32, after_ms: u64) -> Checked {
        if attempts >= MAX_ATTEMPTS {
            return Err(format!("{side} {id} becomes a dead letter"));
        }
        let force = !matches!(reason, PendingReason::StaleRead | PendingReason::AwaitPartner);
        let due_ms = self.now_ms + i64::try_from(after_ms).expect("a pause of hours at most");
        self.queue.push(News { force, by_id: true, attempts, ..News::listed(side, id.clone(), Stage::Prove, due_ms) });
        Ok(())
    }

    /// Keeps what was overwritten on a side. What a refused write would have overwritten
    /// was not lost; the kernel keeps it all the same, because it cannot know before.
    fn keep_lost(&mut self, plan: &Plan, side: Side) -> Checked {
        for lost in plan.lost.iter().filter(|lost| lost.winner != side) {
            let thing = self.sides[plan.origin].find(&plan.id).map(|record| record.thing);
            let thing = thing.ok_or_else(|| format!("{} {} never was", plan.origin, plan.id))?;
            let value = lost.lost.as_ref().map(Value::to_json);
            self.lost.insert(LostValue { thing, field: lost.field.clone(), winner: lost.winner, value });
        }
        Ok(())
    }

    fn update(&mut self, side: Side, update: &SideUpdate) -> Result<Outcome, String> {
        let mut changes = Vec::with_capacity(update.changes.len());
        for Change { path, value } in &update.changes {
            let fields = &self.sync.mapping.fields;
            let index = fields.iter().position(|field| field.paths[side] == *path);
            let index = index.ok_or_else(|| format!("{path} is not mapped and is written on the {side} side"))?;
            if !self.sync.mapping.can_write(index, side) {
                return Err(format!("{path} must not be written on the {side} side"));
            }
            changes.push((index, self.scenario.fields[index].stored(side, value.clone())));
        }
        let sim = &mut self.sides[side];
        let Some(at) = sim.records.iter().position(|record| record.id == update.id) else {
            return Err(format!("{side} {} is updated and never was", update.id));
        };
        if !sim.records[at].live {
            return Ok(Outcome::Missing);
        }
        if sim.rule.conditional && update.expected.is_some() && update.expected != sim.version(&sim.records[at]) {
            return Ok(Outcome::Changed);
        }
        if sim.rule.whole && update.current.as_ref() != Some(&sim.records[at].body) {
            return Err(format!("{side} {} is replaced by something else than was read", update.id));
        }
        for (index, value) in changes {
            sim.records[at].row[index] = value;
        }
        sim.changed(at);
        *self.writes.entry((side, sim.records[at].thing)).or_default() += 1;
        Ok(Outcome::Written(sim.stored(at)))
    }

    fn create(&mut self, creation: &Creation, source: &RecordId, restored: bool) -> Result<Outcome, String> {
        let side = creation.target;
        if !self.sync.direction.writes(side) {
            return Err(format!("a record is created on the {side} side, against the direction"));
        }
        let Some(thing) = self.sides[side.other()].find(source).map(|record| record.thing) else {
            return Err(format!("a record is created on the {side} side out of nothing"));
        };
        let mut row = Row::new();
        for (index, field) in self.sync.mapping.fields.iter().enumerate() {
            let value = creation.record.get(&field.paths[side]).cloned();
            if value.is_some() && !restored && !self.sync.mapping.can_write(index, side) {
                return Err(format!("'{}' must not be written on the {side} side", field.name));
            }
            row.push(self.scenario.fields[index].stored(side, value));
        }
        let sim = &mut self.sides[side];
        if sim.records.iter().any(|record| record.thing == thing && record.live) {
            return Err(format!("thing {thing} is there twice on the {side} side"));
        }
        sim.insert(thing, row, 9);
        *self.writes.entry((side, thing)).or_default() += 1;
        Ok(Outcome::Written(sim.stored(sim.records.len() - 1)))
    }

    fn delete(&mut self, deletion: &Deletion) -> Result<Outcome, String> {
        let side = deletion.target;
        if !self.sync.direction.writes(side) {
            return Err(format!("a record is deleted on the {side} side, against the direction"));
        }
        let sim = &mut self.sides[side];
        let at = sim.records.iter().position(|record| record.id == deletion.id && record.live);
        let Some(at) = at else { return Ok(Outcome::Missing) };
        if sim.rule.conditional && deletion.expected.is_some() && deletion.expected != sim.version(&sim.records[at]) {
            return Ok(Outcome::Changed);
        }
        sim.records[at].live = false;
        sim.changed(at);
        *self.writes.entry((side, sim.records[at].thing)).or_default() += 1;
        Ok(Outcome::Deleted)
    }

    fn take_pair(&mut self) -> PairNo {
        self.next_pair += 1;
        PairNo(self.next_pair - 1)
    }

    fn put_marker(&mut self, pair: PairNo, old: Option<&Marker>, new: &Marker) {
        if let Some(old) = old {
            self.drop_marker(pair, old);
        }
        for side in Side::BOTH {
            if let Some(id) = &new.sides[side].id {
                self.ids.insert((side, id.clone()), pair);
            }
            if let Some(key) = new.sides[side].match_key {
                self.keys.insert((key, side, pair));
            }
        }
        self.markers.insert(pair, new.clone());
    }

    fn drop_marker(&mut self, pair: PairNo, old: &Marker) {
        for side in Side::BOTH {
            if let Some(id) = &old.sides[side].id {
                self.ids.remove(&(side, id.clone()));
            }
            if let Some(key) = old.sides[side].match_key {
                self.keys.remove(&(key, side, pair));
            }
        }
        self.markers.remove(&pair);
    }

    /// The pair that a thing's latest records belong to.
    pub fn marker_of(&self, thing: usize) -> Option<&Marker> {
        let of = |side: Side| {
            let record = &self.sides[side].records[self.sides[side].latest(thing)?];
            self.markers.get(self.ids.get(&(side, record.id.clone()))?)
        };
        of(Side::App).or_else(|| of(Side::Remote))
    }

    /// Why one of a thing's latest records is held back, if one is.
    pub fn held_back(&self, thing: usize) -> Option<&str> {
        Side::BOTH.into_iter().find_map(|side| {
            let record = &self.sides[side].records[self.sides[side].latest(thing)?];
            self.held_back.get(&(side, record.id.clone())).map(|(_, _, reason)| reason.as_str())
        })
    }
}

fn kept(marker: Option<&Marker>) -> Finished {
    Finished { marker: marker.cloned(), ..Finished::default() }
}

fn capabilities(mapping: &Mapping, side: Side, rule: SideRule) -> Capabilities {
    let mut capabilities = Capabilities::default();
    capabilities.conditional = rule.conditional && rule.versions;
    capabilities.local = rule.local;
    capabilities.update = if rule.whole { UpdateStyle::Whole } else { UpdateStyle::Fields };
    capabilities.read_after_write_lag_ms = rule.lag_ms;
    if rule.find {
        capabilities.find =
            mapping.match_fields.iter().map(|index| mapping.fields[*index].paths[side].clone()).collect();
    }
    capabilities
}

impl News {
    fn listed(side: Side, id: RecordId, stage: Stage, due_ms: i64) -> Self {
        Self { side, id, stage, by_id: false, force: false, attempts: 0, due_ms }
    }
}

impl SimSide {
    fn new(side: Side, scenario: &Scenario) -> Self {
        let names = scenario.fields.iter().map(|field| field.name).collect();
        Self { side, rule: scenario.sides[side], names, cursor: 0, records: Vec::new(), clock: 0 }
    }

    fn insert(&mut self, thing: usize, row: Row, modified: i64) -> &SimRecord {
        let id = RecordId::new(format!("{}{}", &self.side.as_str()[..1], self.records.len()));
        let body = Body::from_json("");
        self.records.push(SimRecord { id, thing, live: true, row, own: 0, version: 0, modified, body });
        let at = self.records.len() - 1;
        self.changed(at);
        &self.records[at]
    }

    /// Takes a change of a record into its version and its text.
    fn changed(&mut self, at: usize) {
        self.clock += 1;
        let record = &mut self.records[at];
        record.version = self.clock;
        let mut text = String::with_capacity(64);
        text.push_str(match self.side {
            Side::App => "{",
            Side::Remote => "{\"p\":{",
        });
        let mut first = true;
        for (name, value) in self.names.iter().zip(&record.row) {
            let Some(value) = value else { continue };
            if !std::mem::take(&mut first) {
                text.push(',');
            }
            text.push('"');
            text.push_str(name);
            text.push_str("\":");
            text.push_str(&value.to_json());
        }
        match self.side {
            Side::App if first => {}
            Side::App => text.push(','),
            Side::Remote => text.push_str("},"),
        }
        text.push_str("\"own\":");
        text.push_str(&record.own.to_string());
        text.push('}');
        record.body = Body::from_json(text);
    }

    fn version(&self, record: &SimRecord) -> Option<Version> {
        self.rule.versions.then(|| Version::new(record.version.to_string()))
    }

    fn modified(&self, record: &SimRecord) -> Option<DateTime<chrono::Utc>> {
        self.rule.modified.then(|| DateTime::from_timestamp(1_700_000_000 + record.modified, 0)).flatten()
    }

    fn ids(&self) -> Vec<RecordId> {
        self.records.iter().map(|record| record.id.clone()).collect()
    }

    fn changed_since(&self, cursor: u64) -> Vec<RecordId> {
        let changed = self.records.iter().filter(|record| record.version > cursor);
        changed.map(|record| record.id.clone()).collect()
    }

    fn find(&self, id: &RecordId) -> Option<&SimRecord> {
        self.records.iter().find(|record| record.id == *id)
    }

    /// The newest record of a thing, live or deleted.
    pub fn latest(&self, thing: usize) -> Option<usize> {
        self.records.iter().rposition(|record| record.thing == thing)
    }

    /// The newest record of a thing, where it is live.
    pub fn live(&self, thing: usize) -> Option<&SimRecord> {
        self.latest(thing).map(|at| &self.records[at]).filter(|record| record.live)
    }

    /// When a side says that a thing's record was modified.
    pub fn modified_of(&self, thing: usize) -> Option<DateTime<chrono::Utc>> {
        self.live(thing).and_then(|record| self.modified(record))
    }

    fn entry(&self, id: &RecordId, by_id: bool) -> Option<Entry> {
        let record = self.find(id)?;
        if !record.live {
            let cause = if by_id { DeletionCause::NotFound } else { DeletionCause::Tombstone };
            return Some(Entry::Deleted { id: id.clone(), version: None, cause });
        }
        let (version, modified) = (self.version(record), self.modified(record));
        Some(Entry::Live(Record { id: id.clone(), version, modified, body: record.body.clone() }))
    }

    fn stored(&self, at: usize) -> Stored {
        let record = &self.records[at];
        Stored {
            id: record.id.clone(),
            version: self.version(record),
            modified: self.modified(record),
            body: Some(record.body.clone()),
        }
    }
}

impl SimRecord {
    /// The record's text.
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// The value of the key that is not mapped.
    pub fn own(&self) -> u32 {
        self.own
    }
}
