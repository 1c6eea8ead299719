//! A whole kernel between its apps, on a disk that may fail, in simulated time.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::edge::{Account, Edge, Gate, SYNC, account_name};
use super::ledger::{Edit, Ledger};
use super::oracle::{Oracle, Verdict, Violation, holds};
use super::script::{Event, Style};
use super::swarm::{Api, Swarm, TEXTS};
use super::tellers::{self, Tellers};
use crate::actors::env::Env;
use crate::actors::spec::{ConnectionSpec, SyncSpec};
use crate::connectors::memory::rest::RestFaults;
use crate::connectors::memory::{Faults, MemoryApp, Normalise};
use crate::connectors::{Calls, ConnectorFactory};
use crate::kernel::Kernel;
use crate::model::document::DocumentError;
use crate::model::ids::{ConnNo, ConnectionId, ObjectName, RecordId};
use crate::model::marker::LinkState;
use crate::model::path::Path;
use crate::model::schedule::Schedule;
use crate::model::side::{PerSide, Side};
use crate::model::value::Value;
use crate::model::work::IntentOperation;
use crate::model::write::Change;
use crate::store::faulty::{FaultyDisk, Honesty, Life};
use crate::store::{Store, StoreOptions};

/// When every world begins, in milliseconds since 1970.
pub(super) const FIRST_MOMENT_MS: i64 = 1_700_000_000_000;

/// How often a process may die while it starts before the world gives up.
const MOST_STARTS: usize = 50;

/// How long after a pause was asked for a process may die without having noted it: a
/// unit of work may be under way.
const PAUSE_UNKNOWN_MS: u64 = 1_000;

/// How many hints may wait in an inbox.
const MOST_HINTS: usize = 10_000;

/// A record as a person sees it: its id and its fields, flat.
pub(super) type Seen = (RecordId, BTreeMap<String, Value>);

thread_local! {
    /// Rules that were parsed before: there are few, and their laws are tried each time.
    static PARSED: RefCell<BTreeMap<(&'static str, String), SyncSpec>> = const { RefCell::new(BTreeMap::new()) };
    /// Looks at the clock until an actor panics; below 0 for never.
    static PANIC_AFTER: Cell<i64> = const { Cell::new(-1) };
}

/// What a panic that was asked for says.
pub(super) const ASKED_FOR: &str = "the simulator asked for this panic";

/// Where a cursor stood.
struct KnownCursor {
    at: i64,
    /// How many reads of everything there were by then.
    full_reads: u64,
    /// And by when it stood where it had stood before: one may have begun right after it
    /// moved.
    full_reads_before: u64,
}

/// A whole kernel and everything around it.
pub(super) struct World {
    pub swarm: Swarm,
    pub accounts: Vec<Account>,
    pub ledgers: Vec<Ledger>,
    pub edge: Arc<Edge>,
    /// Who tells of changes.
    pub tellers: Option<Arc<Tellers>>,
    pub store: Store,
    pub kernel: Kernel,
    disk: FaultyDisk,
    life: Arc<Life>,
    clock_skew_ms: Arc<AtomicI64>,
    /// Something happened in this life that a kept pause cannot outlive.
    pauses_are_unknown: bool,
    env: Env,
    /// The next life ends after so many operations.
    next_life: Option<u64>,
    /// The grown edition of the rules is in force.
    pub grown: bool,
    /// Something panics here: what it was waiting for is not heard.
    pub panics: bool,
    /// How often the process was started.
    pub starts: u64,
    epochs: BTreeMap<usize, u64>,
    cursors: BTreeMap<(usize, Side), KnownCursor>,
}

impl World {
    /// A world with its first records, whose kernel has started.
    pub async fn new(swarm: &Swarm, seed: u64, for_a_person: bool) -> Result<Self, Violation> {
        PANIC_AFTER.set(-1);
        let accounts = make_accounts(swarm, seed);
        let ledgers = accounts.iter().map(|account| seed_records(swarm, account)).collect();
        for account in &accounts {
            for side in Side::BOTH {
                account.apps[side].set_behaviour(swarm.sides[side].behaviour.clone());
                account.apps[side].set_faults(swarm.sides[side].faults.clone());
            }
        }
        let edge = Edge::new(accounts.clone(), for_a_person);
        let clock_skew_ms = Arc::new(AtomicI64::new(swarm.clock_skew_ms));
        let env = environment(&clock_skew_ms, seed);
        let disk = FaultyDisk::new(Honesty::Honest, seed);
        let life = Life::new();
        let told = swarm.triggers.clone();
        let tellers = told.map(|triggers| Tellers::new(triggers, accounts.clone(), Arc::clone(&edge)));
        let around = Around { swarm, accounts: &accounts, edge: &edge, tellers: tellers.as_ref(), env: &env };
        let (store, kernel) = around.begin(&disk, &life, false).await?;
        disk.settle();
        let world = Self {
            swarm: swarm.clone(),
            accounts,
            ledgers,
            edge,
            tellers,
            store,
            kernel,
            disk,
            life,
            clock_skew_ms,
            pauses_are_unknown: false,
            env,
            next_life: None,
            grown: false,
            panics: Side::BOTH.into_iter().any(|side| panics(&swarm.sides[side].faults)),
            starts: 1,
            epochs: BTreeMap::new(),
            cursors: BTreeMap::new(),
        };
        world.edge.reborn(Some(world.store.clone()));
        world.begin_telling();
        Ok(world)
    }

    // ---- lives ----

    /// Whether the process has died, by itself or because it was killed.
    pub fn is_dead(&self) -> bool {
        self.life.is_over()
    }

    /// Kills the process at once.
    pub fn kill(&self) {
        self.life.end();
    }

    /// Starts the process again over what is on the disk, after looking at that.
    pub async fn restart(&mut self) -> Verdict {
        // A supervisor that dies stays dead until the next start.
        PANIC_AFTER.set(-1);
        self.life.end();
        self.tellers.iter().for_each(|tellers| tellers.talk_to(None));
        self.kernel.abort().await;
        for _ in 0..MOST_STARTS {
            // Nobody can tell how long a pause still lasts that was asked of an actor which
            // had died, that a bad disk did not keep, or that began before the clock was set.
            let within_ms = if std::mem::take(&mut self.pauses_are_unknown) { u64::MAX } else { PAUSE_UNKNOWN_MS };
            for account in &self.accounts {
                Side::BOTH.into_iter().for_each(|side| account.apps[side].forgive_pause(within_ms));
            }
            self.disk.revive();
            self.life = Life::new();
            if let Some(after) = self.next_life.take() {
                self.life.ends_after(after);
            }
            self.starts += 1;
            self.edge.note(format_args!("-- start {}", self.starts));
            self.edge.reborn(None);
            let around = Around {
                swarm: &self.swarm,
                accounts: &self.accounts,
                edge: &self.edge,
                tellers: self.tellers.as_ref(),
                env: &self.env,
            };
            match around.begin(&self.disk, &self.life, self.grown).await {
                Ok((store, kernel)) => {
                    self.store = store;
                    self.kernel = kernel;
                }
                Err(_) if self.is_dead() => continue,
                Err(violation) => return Err(violation),
            }
            if self.is_dead() {
                self.kernel.abort().await;
                continue;
            }
            self.edge.reborn(Some(self.store.clone()));
            self.begin_telling();
            return Ok(());
        }
        Err(Violation::new(Oracle::Liveness, "the process does not come up"))
    }

    /// Those who tell of changes talk to the process that has started.
    fn begin_telling(&self) {
        if let Some(tellers) = &self.tellers {
            tellers.talk_to(Some((self.kernel.clone(), Arc::clone(&self.life))));
            tellers.look();
        }
    }

    /// From now on nothing goes wrong any more.
    pub fn calm(&mut self) {
        PANIC_AFTER.set(-1);
        self.next_life = None;
        self.tellers.iter().for_each(|tellers| tellers.calm());
        for account in &self.accounts {
            for side in Side::BOTH {
                account.apps[side].faults_off();
            }
            if let Some(api) = &account.api {
                api.set_faults(RestFaults::default());
            }
        }
    }

    /// Where each cursor stands; none has gone back without a reason.
    pub fn look_at_cursors(&mut self) -> Verdict {
        let Ok(snapshot) = self.store.snapshot() else { return Ok(()) };
        let Ok(Some(sync)) = snapshot.find_sync(&SYNC.into()) else { return Ok(()) };
        for account in 0..self.accounts.len() {
            let Ok(Some(conn)) = snapshot.find_connection(&connection(account)) else { continue };
            for side in Side::BOTH {
                let stored = snapshot.cursor(conn, sync, side, crate::model::cursor::StreamNo::CHANGES);
                let Ok(Some(cursor)) = stored else { continue };
                let at = cursor.as_str().rsplit(':').next().and_then(|digits| digits.parse::<i64>().ok()).unwrap_or(0);
                let key = (account, side);
                let full_reads = self.edge.full_reads(account, side);
                let before = self.cursors.get(&key);
                if let Some(KnownCursor { at: stood, full_reads_before, .. }) = before {
                    holds(Oracle::CursorMonotonic, at >= *stood || *full_reads_before != full_reads, || {
                        format!("account {account}: the {side} cursor went from {stood} to {at}")
                    })?;
                    if at == *stood {
                        continue;
                    }
                }
                let full_reads_before = before.map_or(0, |before| before.full_reads);
                self.cursors.insert(key, KnownCursor { at, full_reads, full_reads_before });
            }
        }
        Ok(())
    }

    /// No inbox holds more than it may.
    pub fn look_at_inboxes(&self) -> Verdict {
        for (account, waiting) in self.inboxes() {
            holds(Oracle::BoundedResources, waiting <= MOST_HINTS, || {
                format!("account {account}: more than {MOST_HINTS} hints wait in its inbox")
            })?;
        }
        Ok(())
    }

    /// How many hints wait in each inbox; counted up to one more than there may be.
    pub fn inboxes(&self) -> Vec<(usize, usize)> {
        let Some(snapshot) = self.tellers.as_ref().and_then(|_| self.store.snapshot().ok()) else { return Vec::new() };
        let waiting = |account: usize| {
            let conn = snapshot.find_connection(&connection(account)).ok()??;
            Some((account, snapshot.inbox(conn, MOST_HINTS + 1).ok()?.len()))
        };
        (0..self.accounts.len()).filter_map(waiting).collect()
    }

    /// Each start of a connection has a greater epoch than the one before.
    pub fn look_at_epochs(&mut self) -> Verdict {
        let Ok(snapshot) = self.store.snapshot() else { return Ok(()) };
        for account in 0..self.accounts.len() {
            let Ok(Some(conn)) = snapshot.find_connection(&connection(account)) else { continue };
            let Ok(epoch) = snapshot.epoch(conn) else { continue };
            let before = self.epochs.insert(account, epoch.0).unwrap_or(0);
            holds(Oracle::OneOwner, epoch.0 > before, || {
                format!("account {account}: epoch {} after epoch {before}", epoch.0)
            })?;
        }
        Ok(())
    }

    // ---- what is there ----

    /// An account's records on one side, flat, as they truly are.
    pub fn records(&self, account: usize, side: Side) -> Vec<Seen> {
        let known = &self.accounts[account];
        let all = known.apps[side].all(known.objects[side].clone());
        all.into_iter().map(|(id, value)| (id, flat(side, &value))).collect()
    }

    /// An account's records on one side by e-mail.
    pub fn by_email(&self, account: usize, side: Side) -> BTreeMap<String, Vec<Seen>> {
        let mut all: BTreeMap<String, Vec<Seen>> = BTreeMap::new();
        for (id, fields) in self.records(account, side) {
            all.entry(email_of(&fields)).or_default().push((id, fields));
        }
        all
    }

    /// The e-mails of creates whose outcome the kernel awaits, on sides that do not store
    /// what they are sent.
    fn promised_in_another_form(&self, account: usize) -> Vec<String> {
        let Ok(snapshot) = self.store.snapshot() else { return Vec::new() };
        let conn = snapshot.find_connection(&connection(account)).ok().flatten();
        let intents = conn.and_then(|conn| snapshot.intents(conn).ok()).unwrap_or_default();
        let creates = intents.into_iter().filter_map(|(_, _, intent)| match intent.operation {
            IntentOperation::Create { create, .. } => Some((intent.target, create.record)),
            IntentOperation::Delete { .. } => None,
        });
        let changes_form = |side: Side| self.swarm.sides[side].behaviour.normalise != Normalise::default();
        creates.filter(|(side, _)| changes_form(*side)).map(|(side, record)| email_of(&flat(side, &record))).collect()
    }

    /// The e-mails of creates that will be carried out later.
    fn creates_under_way(&self, account: usize) -> Vec<String> {
        let known = &self.accounts[account];
        let on = |side: Side| {
            let coming = known.apps[side].creates_under_way(known.objects[side].clone());
            coming.into_iter().map(move |value| email_of(&flat(side, &value)))
        };
        Side::BOTH.into_iter().flat_map(on).collect()
    }

    fn pick(&self, account: usize, side: Side, pick: u16) -> Option<Seen> {
        let known = &self.accounts[account];
        let (id, value) = known.apps[side].nth(known.objects[side].clone(), usize::from(pick))?;
        Some((id, flat(side, &value)))
    }

    /// Notes which names are gone on both sides. One whose create is not through is not
    /// gone where it may land in another form: nobody can tell that from an edit.
    pub fn look_for_the_gone(&mut self) {
        for account in 0..self.accounts.len() {
            let there = Side::BOTH.into_iter().flat_map(|side| self.by_email(account, side).into_keys());
            let there: BTreeSet<String> = there.chain(self.promised_in_another_form(account)).collect();
            let ledger = &mut self.ledgers[account];
            let gone = ledger.names.iter().filter(|name| !there.contains(*name));
            ledger.gone = gone.cloned().collect();
        }
    }

    // ---- what people do ----

    /// Carries out one event. Returns early when the process dies.
    pub async fn carry_out(&mut self, event: &Event) -> Verdict {
        self.edge.note(format_args!("-- {event:?}"));
        match event {
            Event::Create { account, side, name, twin } => self.create_one(*account, *side, *name, *twin).await,
            Event::Edit { account, side, pick, field, style, records } => {
                for n in 0..*records {
                    self.edit(*account, *side, pick.wrapping_add(u16::from(n)), *field, *style);
                }
            }
            Event::Delete { account, side, pick, again } => self.delete(*account, *side, *pick, *again).await,
            Event::Sync { account, patience_ms, full } => self.sync(*account, *patience_ms, *full).await,
            Event::Mark { account, side, pick, after_ms, bogus } => {
                self.mark(*account, *side, *pick, after_ms, *bogus);
            }
            Event::Sleep { ms } => self.sleep(*ms).await,
            Event::Kill { after, again } => {
                self.next_life = *again;
                if *after == 0 { self.kill() } else { self.life.ends_after(*after) }
            }
            Event::Weather { side, faults } => self.set_faults(*side, faults),
            Event::DiskTrouble { room, for_ms } => return self.disk_trouble(*room, *for_ms).await,
            Event::Panic { after } => {
                PANIC_AFTER.set(i64::from(*after));
                self.pauses_are_unknown = true;
                self.panics = true;
            }
            Event::Refuse { account, side, for_ms } => self.refuse(*account, *side, *for_ms).await,
            Event::Pause { account, for_ms } => self.pause(*account, *for_ms).await,
            Event::ClockStep { side, by_ms } => self.step_clock(*side, *by_ms),
            Event::KillWhenTaken { after } => {
                self.tellers.iter().for_each(|tellers| tellers.kill_when_taken(*after));
            }
            Event::Flood { account, side, calls, records } => {
                self.tellers.iter().for_each(|tellers| tellers.flood(*account, *side, *calls, *records));
            }
        }
        self.tellers.iter().for_each(|tellers| tellers.look());
        Ok(())
    }

    async fn create_one(&mut self, account: usize, side: Side, name: u8, twin: bool) {
        let email = email(account, name);
        let taken = Side::BOTH.into_iter().any(|side| self.by_email(account, side).contains_key(&email));
        // Where an unknown create can only be looked up by its match key, one that comes
        // late cannot be told from one that a person made meanwhile.
        let awaited = self.creates_under_way(account).contains(&email);
        if taken || awaited {
            return;
        }
        // One entered anew beside what a run under way has read of the old one, or where
        // nothing pairs two records what it may still bring back, is that window, too. So is
        // one that a first read finds, cut short, where the other side still shows the old one.
        let used = self.ledgers[account].names.contains(&email);
        if used && !(self.has_read_all().await && self.is_idle().await) {
            return;
        }
        // While a run is between its two reads, a record made on both sides at once is
        // the window that no kernel can close.
        let twin = twin && self.is_idle().await;
        if self.is_dead() {
            return;
        }
        self.create(account, side, name);
        if twin {
            self.create(account, side.other(), name);
        }
    }

    fn create(&mut self, account: usize, side: Side, name: u8) -> RecordId {
        create(&self.swarm, &self.accounts[account], &mut self.ledgers[account], side, name)
    }

    fn edit(&mut self, account: usize, side: Side, pick: u16, field: u8, style: Style) {
        let Some((id, fields)) = self.pick(account, side, pick) else { return };
        let email = email_of(&fields);
        let ledger = &mut self.ledgers[account];
        let order = ledger.next();
        let field = TEXTS[usize::from(field) % TEXTS.len()];
        let (name, value) = match style {
            Style::Plain | Style::Padded | Style::Long => {
                let text = text_value(order, side, account, style);
                ledger.edited(Edit { order, email, field, value: Some(text.clone()) });
                (field, Some(Value::string(text)))
            }
            Style::Absent | Style::Null => {
                ledger.edited(Edit { order, email, field, value: None });
                (field, (style == Style::Null).then_some(Value::Null))
            }
            Style::Enumerated => ("grade", Some(grade(side, order))),
            Style::Unmapped => {
                let text = format!("own-{order}#{account}");
                ledger.unmapped.insert((side, id.clone()), text.clone());
                ("unmapped", Some(Value::string(text)))
            }
        };
        let known = &self.accounts[account];
        let change = Change { path: path(side, name), value };
        known.apps[side].patch(known.objects[side].clone(), id, vec![change]);
    }

    /// Gives one field of a record a value of its own.
    pub fn set_text(&mut self, account: usize, side: Side, id: &RecordId, field: &'static str) {
        let known = &self.accounts[account];
        let object = known.objects[side].clone();
        let Some(value) = known.apps[side].get(object.clone(), id.clone()) else { return };
        let email = email_of(&flat(side, &value));
        let ledger = &mut self.ledgers[account];
        let order = ledger.next();
        let text = text_value(order, side, account, Style::Plain);
        ledger.edited(Edit { order, email, field, value: Some(text.clone()) });
        let change = Change { path: path(side, field), value: Some(Value::string(text)) };
        known.apps[side].patch(object, id.clone(), vec![change]);
    }

    async fn delete(&mut self, account: usize, side: Side, pick: u16, again: bool) {
        // As with twins: while a run is between its two reads, only what is linked already,
        // with a partner that still stands, may be entered anew.
        let is_idle = again && self.is_idle().await;
        let Some((id, fields)) = self.pick(account, side, pick).filter(|_| !self.is_dead()) else { return };
        let again = again && (is_idle || self.is_linked(account, side, &id));
        let email = email_of(&fields);
        let known = &self.accounts[account];
        known.apps[side].delete(known.objects[side].clone(), id.clone());
        let ledger = &mut self.ledgers[account];
        ledger.deleted(&email);
        ledger.unmapped.remove(&(side, id));
        if again && let Some(name) = name_of(&email) {
            self.create(account, side, name);
        }
    }

    /// Whether the store knows a record's partner, and that is there.
    fn is_linked(&self, account: usize, side: Side, id: &RecordId) -> bool {
        let marker = || {
            let snapshot = self.store.snapshot().ok()?;
            let conn = snapshot.find_connection(&connection(account)).ok()??;
            let sync = snapshot.find_sync(&SYNC.into()).ok()??;
            let pair = snapshot.pair_by_id(conn, sync, side, id).ok()??;
            snapshot.marker(conn, sync, pair).ok()?
        };
        let other = side.other();
        let partner = marker().filter(|marker| marker.state == LinkState::Linked).and_then(|marker| {
            let PerSide { app, remote } = marker.sides;
            if other == Side::App { app.id } else { remote.id }
        });
        let known = &self.accounts[account];
        partner.is_some_and(|partner| known.apps[other].get(known.objects[other].clone(), partner).is_some())
    }

    async fn sync(&mut self, account: usize, patience_ms: u64, full: bool) {
        let (kernel, tellers) = (self.kernel.clone(), self.tellers.clone());
        let moment = tellers.as_ref().map_or(0, |_| self.edge.moment());
        let run = actix::spawn(async move {
            let id = connection(account);
            let report = if full { kernel.resync(&id, None).await } else { kernel.sync_now(&id, None).await };
            if report.is_ok_and(|report| report.error.is_none())
                && let Some(tellers) = tellers
            {
                tellers.all_was_read(account, moment);
            }
        });
        let patience = Duration::from_millis(patience_ms);
        tokio::select! {
            biased;
            () = self.life.ended() => {}
            _ = tokio::time::timeout(patience, run) => {}
        }
    }

    fn mark(&self, account: usize, side: Side, pick: u16, after_ms: &[u64], bogus: bool) {
        let id = if bogus {
            RecordId::from(format!("bogus{pick}").as_str())
        } else {
            let Some((id, _)) = self.pick(account, side, pick) else { return };
            id
        };
        for after_ms in after_ms.iter().copied() {
            let (kernel, edge, life, id) =
                (self.kernel.clone(), Arc::clone(&self.edge), Arc::clone(&self.life), id.clone());
            actix::spawn(async move {
                tokio::time::sleep(Duration::from_millis(after_ms)).await;
                let accepted = kernel.sync_record(&connection(account), SYNC.into(), side, id.clone()).await;
                if accepted.is_ok() && !life.is_over() {
                    edge.note(format_args!("a{account} {side}: mark of {id} accepted"));
                    edge.marked(account, side, &id);
                }
            });
        }
    }

    /// Lets time pass, unless the process dies.
    pub async fn sleep(&self, ms: u64) {
        tokio::select! {
            biased;
            () = self.life.ended() => {}
            () = tokio::time::sleep(Duration::from_millis(ms)) => {}
        }
    }

    fn set_faults(&mut self, side: Side, faults: &Faults) {
        self.panics |= panics(faults);
        for account in &self.accounts {
            account.apps[side].set_faults(faults.clone());
        }
    }

    async fn disk_trouble(&mut self, room: Option<u64>, for_ms: u64) -> Verdict {
        match room {
            Some(_) => self.disk.set_room(room),
            None => self.disk.set_failing(true),
        }
        self.sleep(for_ms).await;
        self.pauses_are_unknown = true;
        // A person mends the disk and starts the process again.
        self.kill();
        Ok(())
    }

    async fn refuse(&mut self, account: usize, side: Side, for_ms: u64) {
        let app = self.accounts[account].apps[side].clone();
        let before = app.faults();
        app.set_faults(Faults { unauthorised: 1_000, ..before.clone() });
        self.sleep(for_ms).await;
        app.set_faults(before);
        let _ = self.kernel.resume(&connection(account)).await;
    }

    async fn pause(&mut self, account: usize, for_ms: u64) {
        let id = connection(account);
        let _ = self.kernel.pause(&id).await;
        self.sleep(for_ms).await;
        if !self.is_dead() {
            let _ = self.kernel.resume(&id).await;
        }
    }

    fn step_clock(&mut self, side: Option<Side>, by_ms: i64) {
        match side {
            None => {
                self.clock_skew_ms.fetch_add(by_ms, Ordering::Relaxed);
                self.pauses_are_unknown = true;
            }
            Some(side) => {
                let accounts = if side == Side::App { &self.accounts[..1] } else { &self.accounts[..] };
                for account in accounts {
                    let app = &account.apps[side];
                    app.set_clock_skew_ms(app.behaviour().clock_skew_ms + by_ms);
                }
            }
        }
    }

    /// Whether nothing is due and no run is under way.
    pub async fn is_idle(&self) -> bool {
        // Somebody may tell of a change while the kernel is asked.
        let begun = self.edge.calls_begun();
        let all = self.kernel.status().await;
        let runs = all.iter().flat_map(|connection| &connection.syncs).any(|sync| sync.progress.is_some());
        !runs && self.is_caught_up().await && self.edge.calls_begun() == begun
    }

    /// Whether every sync is past its first read.
    async fn has_read_all(&self) -> bool {
        let all = self.kernel.status().await;
        let mut syncs = all.iter().flat_map(|connection| &connection.syncs);
        all.len() == self.accounts.len() && syncs.all(|sync| matches!(sync.state.as_str(), "idle" | "running"))
    }

    /// Whether nothing is due. Under a tight schedule there always is a run under way.
    pub async fn is_caught_up(&self) -> bool {
        let all = self.kernel.status().await;
        // One that is dying says nothing.
        let all_answer = all.len() == self.accounts.len();
        all_answer
            && all.iter().all(|connection| {
                connection.pending.is_empty() && connection.open_writes == 0 && connection.state == "ready"
            })
    }
}

fn panics(faults: &Faults) -> bool {
    faults.panic_in_read > 0 || faults.panic_in_write > 0
}

/// What is around a process, whichever life it is in.
struct Around<'a> {
    swarm: &'a Swarm,
    accounts: &'a [Account],
    edge: &'a Arc<Edge>,
    tellers: Option<&'a Arc<Tellers>>,
    env: &'a Env,
}

impl Around<'_> {
    /// Opens the store and starts the kernel over it.
    async fn begin(&self, disk: &FaultyDisk, life: &Arc<Life>, grown: bool) -> Result<(Store, Kernel), Violation> {
        let options = StoreOptions { quick_repair: self.swarm.quick_repair, ..StoreOptions::inline() };
        let options = options.with_kernel_id("0123456789abcdef").with_cache_bytes(512 * 1024);
        let unusable =
            |error: &dyn std::fmt::Display| Violation::new(Oracle::AtomicState, format!("at a start: {error}"));
        let store = Store::on_backend(disk.backend(life), options).map_err(|error| unusable(&error))?;
        super::state::look_at_state(&store, self.swarm, self.accounts)?;
        let mut builder = Kernel::builder().store(store.clone()).env(self.env.clone());
        // Several connections call one app: within one budget.
        let shared = (self.accounts.len() > 1).then(|| Calls::new(&self.swarm.sides.app.limits));
        for account in self.accounts {
            let spec = self.specification(account, life, grown)?;
            builder = builder.connection(ConnectionSpec { shared_app_calls: shared.clone(), ..spec });
        }
        let kernel = builder.start().await.map_err(|error| unusable(&error))?;
        Ok((store, kernel))
    }

    fn specification(&self, account: &Account, life: &Arc<Life>, grown: bool) -> Result<ConnectionSpec, Violation> {
        let gate = |side: Side| -> Arc<dyn ConnectorFactory> {
            let inner: Arc<dyn ConnectorFactory> = match side {
                Side::App => Arc::new(account.apps.app.factory_by_scope()),
                Side::Remote => match &account.api {
                    Some(api) => Arc::new(api.factory()),
                    None => Arc::new(account.apps.remote.factory()),
                },
            };
            let (edge, life) = (Arc::clone(self.edge), Arc::clone(life));
            Arc::new(Gate { edge, life, account: account.no, side, inner, tellers: self.tellers.cloned() })
        };
        let swarm = self.swarm;
        Ok(ConnectionSpec {
            id: connection(account.no),
            scope: Some(scope(account.no).as_str().into()),
            connectors: PerSide::from_fn(gate),
            limits: PerSide::from_fn(|side| swarm.sides[side].limits.clone()),
            shared_app_calls: None,
            syncs: vec![Arc::new(sync_spec(swarm, grown)?)],
            webhook: swarm.triggers.as_ref().and_then(|triggers| tellers::webhook(triggers, account.no)),
            paused: false,
        })
    }
}

/// The only sync of a world.
pub(super) fn sync_spec(swarm: &Swarm, grown: bool) -> Result<SyncSpec, Violation> {
    let text = swarm.rules.text(swarm.direction, grown);
    let parsed = PARSED.with_borrow_mut(|known| match known.get(&(swarm.direction.as_str(), text.clone())) {
        Some(spec) => Ok(spec.clone()),
        None => {
            let spec = SyncSpec::parse(SYNC, OBJECT, OBJECT, swarm.direction, &text)?;
            known.insert((swarm.direction.as_str(), text.clone()), spec.clone());
            Ok::<_, DocumentError>(spec)
        }
    });
    let spec = parsed.map_err(|error| Violation::new(Oracle::NoPanic, error.to_string()))?;
    let schedule = swarm.schedule_ms.map(Schedule::every_ms);
    Ok(SyncSpec { initial: swarm.initial, tie: swarm.tie, schedule, ..spec })
}

/// What both sides call the only object.
pub(super) const OBJECT: &str = "contacts";

/// Which of your app's records are an account's.
pub(super) fn scope(no: usize) -> String {
    format!("scope{no}")
}

/// The name of an account's connection.
pub(super) fn connection(no: usize) -> ConnectionId {
    account_name(no).as_str().into()
}

/// The number of an account's connection.
pub(super) fn conn_no(store: &Store, account: usize) -> Option<ConnNo> {
    store.snapshot().ok()?.find_connection(&connection(account)).ok()?
}

fn make_accounts(swarm: &Swarm, seed: u64) -> Vec<Account> {
    let app = MemoryApp::new(seed.wrapping_mul(2));
    let make = |no: usize| {
        let remote = MemoryApp::new(seed.wrapping_mul(2) + 1 + no as u64);
        let apps = PerSide { app: app.clone(), remote };
        let objects = PerSide {
            app: ObjectName::from(format!("{}/{OBJECT}", scope(no)).as_str()),
            remote: ObjectName::from(OBJECT),
        };
        for side in Side::BOTH {
            apps[side].set_clock_skew_ms(swarm.sides[side].behaviour.clock_skew_ms);
            apps[side].set_capabilities(objects[side].clone(), swarm.sides[side].capabilities.clone());
        }
        let api = swarm.sides.remote.api.as_ref().map(|Api { dialect, seed, faults }| {
            let api = apps.remote.rest_as(objects.remote.clone(), dialect.clone(), *seed);
            api.set_faults(faults.clone());
            api
        });
        Account { no, apps, api, objects, direction: swarm.direction, rules: swarm.rules }
    };
    (0..swarm.accounts).map(make).collect()
}

/// What both sides have before they meet: some records in common, some not, some fields
/// different.
fn seed_records(swarm: &Swarm, account: &Account) -> Ledger {
    let mut ledger = Ledger::default();
    for side in Side::BOTH {
        let overlap = if side == Side::Remote && swarm.twins { 4 } else { 0 };
        let from = if side == Side::App { 0 } else { swarm.seeded.app.saturating_sub(overlap) };
        for name in from..from + swarm.seeded[side] {
            create(swarm, account, &mut ledger, side, name);
        }
    }
    ledger
}

/// Makes a record as a person does.
fn create(swarm: &Swarm, account: &Account, ledger: &mut Ledger, side: Side, name: u8) -> RecordId {
    let email = email(account.no, name);
    ledger.created(&email);
    // A search compares texts as they are: what it must find is written as it asks.
    let searched = !swarm.sides[side].capabilities.find.is_empty();
    let shown = if name.is_multiple_of(3) && !searched { email.to_uppercase() } else { email.clone() };
    let mut fields = vec![("email".to_owned(), Value::string(shown))];
    for field in TEXTS {
        let order = ledger.next();
        let value = text_value(order, side, account.no, Style::Plain);
        ledger.edited(Edit { order, email: email.clone(), field, value: Some(value.clone()) });
        fields.push((field.to_owned(), Value::string(value)));
    }
    fields.push(("grade".to_owned(), grade(side, u64::from(name))));
    account.apps[side].create(account.objects[side].clone(), record(side, fields))
}

/// Our own time and chance. Looking at the clock may cause a panic that was asked for.
fn environment(clock_skew_ms: &Arc<AtomicI64>, seed: u64) -> Env {
    let (skew, origin) = (Arc::clone(clock_skew_ms), Instant::now());
    let wall_ms = move || {
        let left = PANIC_AFTER.get();
        if left >= 0 {
            PANIC_AFTER.set(left - 1);
            assert!(left > 0, "{ASKED_FOR}");
        }
        let elapsed = i64::try_from(origin.elapsed().as_millis()).unwrap_or(0);
        FIRST_MOMENT_MS + elapsed + skew.load(Ordering::Relaxed)
    };
    Env::with_clock(wall_ms, seed)
}

fn email(account: usize, name: u8) -> String {
    format!("u{name}@a{account}.io")
}

fn name_of(email: &str) -> Option<u8> {
    email.strip_prefix('u')?.split('@').next()?.parse().ok()
}

/// The e-mail by which a person knows a record.
pub(super) fn email_of(fields: &BTreeMap<String, Value>) -> String {
    fields.get("email").and_then(Value::as_str).unwrap_or_default().trim().to_lowercase()
}

fn text_value(order: u64, side: Side, account: usize, style: Style) -> String {
    match style {
        Style::Padded => format!("  V{order}-{side}#{account} "),
        Style::Long => format!("V{order}-{side}-{}#{account}", "long".repeat(40)),
        Style::Plain | Style::Absent | Style::Null | Style::Enumerated | Style::Unmapped => {
            format!("V{order}-{side}#{account}")
        }
    }
}

fn grade(side: Side, order: u64) -> Value {
    let names = match side {
        Side::App => ["one", "two"],
        Side::Remote => ["1", "2"],
    };
    Value::string(names[usize::from(order.is_multiple_of(2))])
}

fn path(side: Side, name: &str) -> Path {
    match (side, name) {
        (Side::Remote, "unmapped") | (Side::App, _) => Path::key(name),
        (Side::Remote, name) => format!("properties.{name}").parse().unwrap_or_else(|_| Path::key(name)),
    }
}

fn record(side: Side, fields: Vec<(String, Value)>) -> Value {
    match side {
        Side::App => Value::Object(fields),
        Side::Remote => Value::Object(vec![("properties".to_owned(), Value::Object(fields))]),
    }
}

/// A record's mapped fields and what else lies at its top, under the app's names.
pub(super) fn flat(side: Side, value: &Value) -> BTreeMap<String, Value> {
    let mut fields = BTreeMap::new();
    let mut take = |value: &Value| {
        if let Value::Object(entries) = value {
            fields.extend(entries.iter().filter(|(key, _)| key != "properties").cloned());
        }
    };
    take(value);
    if side == Side::Remote
        && let Some(inner) = value.get(&Path::key("properties"))
    {
        take(inner);
    }
    fields
}
