//! The kernel: connections kept in agreement inside a running actix system.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::{Mutex, oneshot};

use crate::actors::connection::Connection;
use crate::actors::env::Env;
use crate::actors::message::{ConnectionStatus, MarkError, MarkRecord, RunReport, RunSync, SetPaused, Wake};
use crate::actors::notifier::{Notifier, Subscription};
use crate::actors::spec::{ConnectionSpec, Webhook};
use crate::actors::supervisor::{
    AbortAll, Add, DrainAll, GetAllStatus, Hooks, Remove, Routes, StartTriggers, Supervisor,
};
use crate::connectors::action::{Action, ActionAnswer};
use crate::model::ids::{ConnectionId, ObjectName, RecordId, Scope, SyncName};
use crate::model::side::{PerSide, Side};
use crate::model::work::Lane;
use crate::reconcile::before_write::BeforeWrite;
use crate::store::{CommitRight, Store, StoreError, StoreOptions};
use crate::triggers::counts::Counts;
use crate::triggers::event::{Accepted, EventError, EventTrigger, Fire};
use crate::triggers::intake::{Intake, route};
use crate::triggers::kept::Kept;
use crate::triggers::known::{Known, KnownConnections};
use crate::triggers::schedule;
#[cfg(feature = "simulate")]
use crate::triggers::webhook::{Answer, Deliver};
use crate::triggers::webhook::{Entrances, GetCounts, WebhookTrigger};
use crate::web::actions::{Actions, act};
use crate::web::events::Events;
use crate::web::manual::Manual;
use crate::web::webhooks::Webhooks;

/// A running kernel. Cheap to clone; usable from any thread.
///
/// ```no_run
/// # async fn run(connection: syncline::ConnectionSpec) -> Result<(), syncline::KernelError> {
/// let kernel = syncline::Kernel::builder().state("acme.redb").connection(connection).start().await?;
/// let report = kernel.sync_now(&"acme".into(), None).await?;
/// println!("{} writes", report.totals.writes());
/// kernel.shutdown().await;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Kernel {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    supervisors: Vec<Addr<Supervisor>>,
    arbiters: Vec<ArbiterHandle>,
    routes: Routes,
    known: KnownConnections,
    /// Held while connections are added: what is claimed is not known before it has started.
    adding: Mutex<()>,
    entrances: Entrances,
    webhooks: Arc<Kept<WebhookTrigger>>,
    events: Arc<Kept<EventTrigger>>,
    notifier: Notifier,
}

/// Why the kernel could not do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// The state file could not be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A connection was not accepted.
    #[error("connection '{id}': {reason}")]
    Connection {
        /// Which.
        id: ConnectionId,
        /// Why.
        reason: String,
    },
    /// A request was not accepted.
    #[error(transparent)]
    Mark(#[from] MarkError),
}

/// Builds a [`Kernel`].
#[must_use]
pub struct KernelBuilder {
    state: PathBuf,
    store: Option<Store>,
    options: StoreOptions,
    env: Env,
    arbiters: usize,
    schedules: bool,
    late_after: Option<Duration>,
    connections: Vec<ConnectionSpec>,
    hooks: BTreeMap<SyncName, Arc<dyn BeforeWrite>>,
}

impl KernelBuilder {
    /// Where the state is kept; `syncline.redb` by default.
    pub fn state(mut self, path: impl AsRef<Path>) -> Self {
        path.as_ref().clone_into(&mut self.state);
        self
    }

    /// An open store, instead of a path.
    pub fn store(mut self, store: Store) -> Self {
        self.store = Some(store);
        self
    }

    /// Cache size and committer of the store.
    pub fn store_options(mut self, options: StoreOptions) -> Self {
        self.options = options;
        self
    }

    /// Time and chance; the machine's by default.
    pub fn env(mut self, env: Env) -> Self {
        self.env = env;
        self
    }

    /// How many threads of its own the kernel spreads connections over; 0, the
    /// default, runs them on the thread that starts it.
    pub fn arbiters(mut self, arbiters: usize) -> Self {
        self.arbiters = arbiters;
        self
    }

    /// Whether syncs run by the clock (default), or only when asked.
    pub fn schedules(mut self, schedules: bool) -> Self {
        self.schedules = schedules;
        self
    }

    /// After how long work that waits is told of as late; 15 minutes by default.
    pub fn late_after(mut self, late_after: Duration) -> Self {
        self.late_after = Some(late_after);
        self
    }

    /// A connection to start with.
    pub fn connection(mut self, connection: ConnectionSpec) -> Self {
        self.connections.push(connection);
        self
    }

    /// Asks `hook` before each write of a sync, by the sync's name, for all its connections. It
    /// sees the write as it was decided, before anything of it is durable or sent, and lets it
    /// be, changes values, holds the record back, or puts it off.
    ///
    /// What it changes is what is sent, and what the written side is known to hold: the other side
    /// keeps its own value, and the difference is no edit. It is called on the connection's thread
    /// and must answer at once. It may be called again for the same write (the unit of work was put
    /// off, the program was killed), so its answer should follow from what it is given. A panic or
    /// an error in it holds the record back, which a change of the record releases. Actions
    /// ([`Kernel::act`]) are not asked about: they are the host program's own writes.
    ///
    /// ```
    /// use syncline::before_write::{Proposed, Verdict, WriteKind};
    /// use syncline::connectors::memory::MemoryApp;
    /// use syncline::model::direction::Direction;
    /// use syncline::model::side::Side;
    /// use syncline::model::value::Value;
    /// use syncline::store::{Store, StoreOptions};
    /// use syncline::{ConnectionSpec, Kernel, SyncSpec};
    ///
    /// # actix::System::new().block_on(async {
    /// let (app, crm) = (MemoryApp::new(1), MemoryApp::new(2));
    /// let rules = "match = ['email']\n[fields]\nemail = 'email'\nname = 'name'\nphone = 'phone'";
    /// let sync = SyncSpec::parse("contacts", "contacts", "contacts", Direction::TwoWay, rules)?;
    /// let kernel = Kernel::builder()
    ///     .store(Store::in_memory(StoreOptions::inline())?)
    ///     .connection(ConnectionSpec::new("acme", app.factory(), crm.factory()).sync(sync))
    ///     .before_write("contacts", |write: &mut Proposed<'_>| {
    ///         if write.side() == Side::App {
    ///             return Ok(Verdict::Write);
    ///         }
    ///         if write.kind() == WriteKind::Delete {
    ///             return Ok(Verdict::HoldBack("nothing is deleted in the CRM".to_owned()));
    ///         }
    ///         // The CRM calls abroad; the app's own numbers stay as they are.
    ///         if let Some(local) = write.get("phone").and_then(Value::as_str).and_then(|it| it.strip_prefix('0')) {
    ///             let abroad = Value::string(format!("+41{local}"));
    ///             write.set("phone", Some(abroad))?;
    ///         }
    ///         Ok(Verdict::Write)
    ///     })
    ///     .start()
    ///     .await?;
    /// let id = app.create("contacts", Value::from_json(r#"{"email":"ada@x.io","phone":"0441234567"}"#)?);
    /// kernel.sync_now(&"acme".into(), None).await?;
    /// let (_, there) = crm.nth("contacts", 0).ok_or("it was made")?;
    /// assert_eq!(there.get(&"phone".parse()?), Some(&Value::string("+41441234567")));
    /// // The difference is known, and not carried back.
    /// let report = kernel.sync_now(&"acme".into(), None).await?;
    /// assert_eq!(report.totals.writes(), 0);
    /// let here = app.get("contacts", id).ok_or("it is there")?;
    /// assert_eq!(here.get(&"phone".parse()?), Some(&Value::string("0441234567")));
    /// kernel.shutdown().await;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn before_write(mut self, sync: impl Into<SyncName>, hook: impl BeforeWrite + 'static) -> Self {
        self.hooks.insert(sync.into(), Arc::new(hook));
        self
    }

    /// Starts it. Needs a running actix system.
    ///
    /// # Errors
    /// When the state file cannot be used, or a connection is not accepted.
    pub async fn start(self) -> Result<Kernel, KernelError> {
        let store = match self.store {
            Some(store) => store,
            None => Store::open(&self.state, self.options)?,
        };
        let routes = Routes::default();
        let notifier = self.late_after.map_or_else(Notifier::default, Notifier::new);
        let mut supervisors = Vec::new();
        let mut arbiters = Vec::new();
        let hooks: Hooks = Arc::new(self.hooks);
        let new = |store: &Store, routes: &Routes| {
            let triggers = if self.schedules { schedule::starter(&self.env) } else { no_triggers() };
            let (routes, hooks) = (Arc::clone(routes), Arc::clone(&hooks));
            Supervisor::new(store.clone(), self.env.clone(), notifier.clone(), routes, triggers, hooks)
        };
        if self.arbiters == 0 {
            supervisors.push(new(&store, &routes).start());
        }
        for _ in 0..self.arbiters {
            let arbiter = Arbiter::new().handle();
            let supervisor = new(&store, &routes);
            supervisors.push(Supervisor::start_in_arbiter(&arbiter, move |_| supervisor));
            arbiters.push(arbiter);
        }
        let (known, entrances) = (KnownConnections::default(), Entrances::default());
        let intake = Intake::new(store.inbox_right(), Arc::clone(&routes), known.clone(), self.env.clone());
        let home = arbiters.first().cloned();
        let webhooks = {
            let (intake, entrances) = (intake.clone(), entrances.clone());
            Kept::new(home.clone(), move || WebhookTrigger::new(intake.clone(), entrances.clone()))
        };
        let events = Kept::new(home, move || EventTrigger::new(intake.clone()));
        let (webhooks, events) = (Arc::new(webhooks), Arc::new(events));
        let inner = Inner {
            store,
            supervisors,
            arbiters,
            routes,
            known,
            adding: Mutex::default(),
            entrances,
            webhooks,
            events,
            notifier,
        };
        let kernel = Kernel { inner: Arc::new(inner) };
        kernel.add_all(self.connections).await.into_iter().collect::<Result<(), KernelError>>()?;
        Ok(kernel)
    }
}

/// What a connection to be started wants of the kernel.
struct Wanted {
    id: ConnectionId,
    scope: Option<Scope>,
    objects: PerSide<BTreeSet<ObjectName>>,
    /// What is wrong with its webhook.
    problem: Option<String>,
}

impl Wanted {
    fn of(spec: &ConnectionSpec) -> Self {
        Self {
            id: spec.id.clone(),
            scope: spec.scope.clone(),
            objects: PerSide::from_fn(|side| spec.syncs.iter().map(|sync| sync.objects[side].clone()).collect()),
            problem: spec.webhook.as_ref().and_then(Webhook::problem),
        }
    }

    fn refuse(&self, reason: impl Into<String>) -> KernelError {
        KernelError::Connection { id: self.id.clone(), reason: reason.into() }
    }
}

fn no_triggers() -> StartTriggers {
    Arc::new(|_| None)
}

impl Kernel {
    /// A kernel to be configured.
    pub fn builder() -> KernelBuilder {
        KernelBuilder {
            state: PathBuf::from("syncline.redb"),
            store: None,
            options: StoreOptions::default(),
            env: Env::system(),
            arbiters: 0,
            schedules: true,
            late_after: None,
            connections: Vec::new(),
            hooks: BTreeMap::new(),
        }
    }

    /// The state file.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Adds a connection while running.
    ///
    /// # Errors
    /// When there is one of that name, or it shares records of your app with another.
    pub async fn add(&self, spec: ConnectionSpec) -> Result<(), KernelError> {
        self.add_all(vec![spec]).await.into_iter().collect()
    }

    /// Adds connections while running; the disk is waited for once, not for each. Tells what
    /// came of each, in their order: one that is refused does not keep the others.
    pub async fn add_all(&self, specs: Vec<ConnectionSpec>) -> Vec<Result<(), KernelError>> {
        let _one_at_a_time = self.inner.adding.lock().await;
        let (mut accepted, mut ids) = (Vec::new(), HashSet::new());
        let mut answers: Vec<Result<(), KernelError>> = Vec::with_capacity(specs.len());
        for spec in specs {
            let wanted = Wanted::of(&spec);
            let claimed = if self.inner.known.contains(&wanted.id) || !ids.insert(wanted.id.clone()) {
                Err(wanted.refuse("it is there already"))
            } else {
                self.claim(&wanted)
            };
            if claimed.is_ok() {
                accepted.push((answers.len(), spec, wanted));
            }
            answers.push(claimed);
        }
        let names: Vec<_> = accepted.iter().map(|(_, spec, wanted)| (wanted.id.clone(), spec.paused)).collect();
        let rights = match self.begin(&names) {
            Ok(rights) => rights,
            Err(error) => {
                let (reason, mut error) = (error.to_string(), Some(error));
                for (at, _, wanted) in accepted {
                    self.inner.known.release(&wanted.id, wanted.scope.as_ref());
                    answers[at] = Err(error.take().map_or_else(|| wanted.refuse(&*reason), KernelError::Store));
                }
                return answers;
            }
        };
        for ((at, spec, wanted), right) in accepted.into_iter().zip(rights) {
            answers[at] = self.start(spec, &wanted, right).await;
            if answers[at].is_err() {
                self.inner.known.release(&wanted.id, wanted.scope.as_ref());
            }
        }
        answers
    }

    /// Begins epochs of connections that are to be started.
    fn begin(&self, connections: &[(ConnectionId, bool)]) -> Result<Vec<CommitRight>, StoreError> {
        if connections.is_empty() { Ok(Vec::new()) } else { self.inner.store.start_epochs(connections) }
    }

    /// Puts another specification in a connection's place, once its work in flight has ended.
    /// It keeps its state, and whatever comes in for it meanwhile waits for it. Returns when
    /// the new one runs.
    ///
    /// # Errors
    /// When there is no connection of that name, or the new one shares records of your app with
    /// another; then the old one runs on. Or when it cannot start; then none does.
    pub async fn replace(&self, spec: ConnectionSpec) -> Result<(), KernelError> {
        let wanted = Wanted::of(&spec);
        let Some(old) = self.inner.known.get(&wanted.id) else {
            return Err(MarkError::NoConnection(wanted.id).into());
        };
        self.claim(&wanted)?;
        let removed = self.supervisor_of(&wanted.id).send(Remove(wanted.id.clone())).await;
        removed.map_err(|_| MarkError::Restarting)??;
        self.inner.entrances.close(&wanted.id);
        let started = match self.begin(&[(wanted.id.clone(), spec.paused)]).map(|mut rights| rights.pop()) {
            Ok(Some(right)) => self.start(spec, &wanted, right).await,
            Ok(None) => Err(wanted.refuse("it did not begin")),
            Err(error) => Err(error.into()),
        };
        if started.is_err() {
            self.inner.known.remove(&wanted.id);
            self.inner.known.release(&wanted.id, wanted.scope.as_ref());
        } else if old.scope != wanted.scope {
            self.inner.known.release(&wanted.id, old.scope.as_ref());
        }
        started
    }

    /// Two connections must not share your app's records: without a scope of its own,
    /// one customer's records would reach another's app.
    fn claim(&self, wanted: &Wanted) -> Result<(), KernelError> {
        if let Some(problem) = &wanted.problem {
            return Err(wanted.refuse(format!("its webhook cannot be used: {problem}")));
        }
        let claimed = self.inner.known.claim(&wanted.id, wanted.scope.as_ref(), &wanted.objects.app);
        claimed.map_err(|other| match &wanted.scope {
            Some(scope) => wanted.refuse(format!("its scope '{scope}' is also that of connection '{other}'")),
            None => wanted.refuse(format!("neither it nor connection '{other}' has a scope; give each its own")),
        })
    }

    /// Starts a connection that has its claim.
    async fn start(&self, spec: ConnectionSpec, wanted: &Wanted, right: CommitRight) -> Result<(), KernelError> {
        let (webhook, conn) = (spec.webhook.clone(), right.conn());
        let added = self.supervisor_of(&wanted.id).send(Add(spec, right)).await;
        added.map_err(|_| wanted.refuse("the supervisor is gone"))?.map_err(|reason| wanted.refuse(reason))?;
        self.inner.known.insert(wanted.id.clone(), Known::new(conn, wanted.scope.clone(), wanted.objects.clone()));
        if let Some(webhook) = webhook
            && let Err(reason) = self.inner.entrances.open(&wanted.id, &webhook)
        {
            self.remove(&wanted.id, false).await?;
            return Err(wanted.refuse(reason));
        }
        Ok(())
    }

    /// Removes a connection once its work in flight has ended. `purge` also forgets
    /// all its state.
    ///
    /// # Errors
    /// When there is no such connection, or its state cannot be purged.
    pub async fn remove(&self, id: &ConnectionId, purge: bool) -> Result<(), KernelError> {
        let removed = self.supervisor_of(id).send(Remove(id.clone())).await;
        removed.map_err(|_| MarkError::Restarting)??;
        self.inner.entrances.close(id);
        self.inner.known.remove(id);
        if purge {
            self.inner.store.purge_named(id).await?;
        }
        Ok(())
    }

    /// Pauses a connection; it stays so over restarts.
    ///
    /// # Errors
    /// When there is no such connection, or it cannot be stored.
    pub async fn pause(&self, id: &ConnectionId) -> Result<(), MarkError> {
        self.connection(id)?.send(SetPaused(true)).await.map_err(|_| MarkError::Restarting)?
    }

    /// Resumes a paused or suspended connection.
    ///
    /// # Errors
    /// When there is no such connection, or it cannot be stored.
    pub async fn resume(&self, id: &ConnectionId) -> Result<(), MarkError> {
        self.connection(id)?.send(SetPaused(false)).await.map_err(|_| MarkError::Restarting)?
    }

    /// Runs a sync, or all of a connection's, now; returns when it and what it left
    /// pending is over.
    ///
    /// # Errors
    /// When there is no such connection, or it is being restarted.
    pub async fn sync_now(&self, id: &ConnectionId, sync: Option<SyncName>) -> Result<RunReport, MarkError> {
        self.run(id, sync, false).await
    }

    /// Reads everything again, keeping links.
    ///
    /// # Errors
    /// When there is no such connection, or it is being restarted.
    pub async fn resync(&self, id: &ConnectionId, sync: Option<SyncName>) -> Result<RunReport, MarkError> {
        self.run(id, sync, true).await
    }

    async fn run(&self, id: &ConnectionId, sync: Option<SyncName>, full: bool) -> Result<RunReport, MarkError> {
        let (done, report) = oneshot::channel();
        let message = RunSync { sync, lane: Lane::Manual, full, done: Some(done) };
        self.connection(id)?.send(message).await.map_err(|_| MarkError::Restarting)?;
        report.await.map_err(|_| MarkError::Restarting)
    }

    /// Looks at one record. Returns when the request is durable; its effect follows.
    ///
    /// # Errors
    /// When there is no such connection or sync, or it cannot be stored.
    pub async fn sync_record(
        &self,
        id: &ConnectionId,
        sync: SyncName,
        side: Side,
        record: RecordId,
    ) -> Result<(), MarkError> {
        let mark = MarkRecord { sync, side, id: record, lane: Lane::Manual };
        self.connection(id)?.send(mark).await.map_err(|_| MarkError::Restarting)?
    }

    /// Carries an action out: one call to a side of a connection, within its budget, in that
    /// side's form. What it writes is not marked as ours: to a sync it is an edit like
    /// anybody's. It is never repeated by itself.
    ///
    /// # Errors
    /// When there is no such connection, or it is being restarted and nothing was done.
    pub async fn act(
        &self,
        id: &ConnectionId,
        side: Side,
        object: ObjectName,
        action: Action,
    ) -> Result<ActionAnswer, MarkError> {
        let connection = self.connection(id)?;
        act(&connection, side, object, action, None).await
    }

    /// The same with records in your app's form, by the mapping of a sync: those of the action
    /// and those of the answer.
    ///
    /// # Errors
    /// As [`Kernel::act`]. That there is no such sync, or the action does not fit it, is in the
    /// answer.
    pub async fn act_mapped(
        &self,
        id: &ConnectionId,
        side: Side,
        object: ObjectName,
        action: Action,
        sync: SyncName,
    ) -> Result<ActionAnswer, MarkError> {
        let connection = self.connection(id)?;
        act(&connection, side, object, action, Some(sync)).await
    }

    /// Where a script carries out actions over HTTP, to be mounted as [`Kernel::webhooks`].
    #[must_use]
    pub fn actions(&self) -> Actions {
        Actions::new(self.inner.routes.clone(), self.inner.known.clone())
    }

    /// Tells the connections of a scope that an object of your app has changed. Only a
    /// wake-up: the change is found in your app's change list.
    pub fn app_changed(&self, scope: &Scope, object: &ObjectName) {
        for id in self.inner.known.of_scope(scope) {
            if let Ok(connection) = self.connection(&id) {
                connection.do_send(Wake { side: Side::App, object: object.clone() });
            }
        }
    }

    /// Says that records of your app have changed, been made or been deleted. Returns once
    /// that is durable; the effect follows.
    ///
    /// # Errors
    /// When something named is not there, there is no room, or it cannot be stored.
    pub async fn fire(&self, fire: Fire) -> Result<Accepted, EventError> {
        self.inner.events.send(fire).await.unwrap_or(Err(EventError::Stopped))
    }

    /// Where connected apps deliver their webhooks, to be mounted in an actix-web app under
    /// any prefix: `App::new().configure(kernel.webhooks().configure())`.
    #[must_use]
    pub fn webhooks(&self) -> Webhooks {
        Webhooks::new(Arc::clone(&self.inner.webhooks))
    }

    /// What the sender of a webhook is told, without the web between.
    #[cfg(feature = "simulate")]
    pub(crate) async fn deliver(&self, delivery: Deliver) -> Answer {
        self.inner.webhooks.send(delivery).await.unwrap_or(Answer::ComeBack(1))
    }

    /// Where your backend fires events over HTTP, to be mounted as [`Kernel::webhooks`].
    #[must_use]
    pub fn events(&self) -> Events {
        Events::new(Arc::clone(&self.inner.events))
    }

    /// Where a person or a script asks for a sync over HTTP, to be mounted as
    /// [`Kernel::webhooks`].
    #[must_use]
    pub fn manual(&self) -> Manual {
        Manual::new(Arc::clone(&self.inner.routes), self.inner.known.clone())
    }

    /// What came in by webhooks and by events since the start.
    pub async fn received(&self) -> (Counts, Counts) {
        let webhooks = self.inner.webhooks.send(GetCounts).await.unwrap_or_default();
        (webhooks, self.inner.events.send(GetCounts).await.unwrap_or_default())
    }

    /// Notifications from now on: what needs a person, what was held back, what is late and
    /// what has caught up. The kernel never waits for a subscriber; one that falls too far
    /// behind is told how many it missed.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        self.inner.notifier.subscribe()
    }

    /// How every connection is, by name.
    pub async fn status(&self) -> Vec<ConnectionStatus> {
        let asked = self.inner.supervisors.iter().map(|supervisor| supervisor.send(GetAllStatus));
        let answers = futures_util::future::join_all(asked).await;
        let mut all: Vec<ConnectionStatus> = answers.into_iter().flatten().flatten().collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }

    /// Whether there is a connection of that name.
    #[must_use]
    pub fn has(&self, id: &ConnectionId) -> bool {
        self.inner.known.contains(id)
    }

    /// Names of all connections.
    #[must_use]
    pub fn connections(&self) -> Vec<ConnectionId> {
        self.inner.known.ids()
    }

    /// Finishes what is in flight, takes nothing new, and closes the state file.
    pub async fn shutdown(&self) {
        let drains = self.inner.supervisors.iter().map(|supervisor| supervisor.send(DrainAll));
        futures_util::future::join_all(drains).await;
        self.inner.notifier.close();
        self.inner.routes.clear();
        self.inner.store.close().await;
        for arbiter in &self.inner.arbiters {
            arbiter.stop();
        }
    }

    /// Stops at once and finishes nothing, as if the process had been killed; the
    /// state file stays open. For testing a host's own recovery.
    pub async fn abort(&self) {
        let aborts = self.inner.supervisors.iter().map(|supervisor| supervisor.send(AbortAll));
        futures_util::future::join_all(aborts).await;
    }

    fn connection(&self, id: &ConnectionId) -> Result<Addr<Connection>, MarkError> {
        route(&self.inner.routes, &self.inner.known, id)
    }

    /// A connection's family lives on one arbiter, chosen by its name.
    fn supervisor_of(&self, id: &ConnectionId) -> &Addr<Supervisor> {
        let hash = xxhash_rust::xxh3::xxh3_64(id.as_str().as_bytes());
        let index = usize::try_from(hash % self.inner.supervisors.len() as u64).unwrap_or(0);
        &self.inner.supervisors[index]
    }
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernel").field("connections", &self.connections()).finish_non_exhaustive()
    }
}
