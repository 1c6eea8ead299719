//! The supervisor: starts each connection's actor from the store, and starts it again,
//! after a backoff and with a new epoch, when it dies.
//!
//! actix's own `Supervisor` restarts only on `stop`, at once and with the same struct;
//! a panic kills its actor for good. So death is told by a dropped sender, watched by a
//! task of its own, and a restart is a fresh struct loaded from the store.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::oneshot;

use crate::actors::batch::backoff_ms;
use crate::actors::connection::Connection;
use crate::actors::core::Core;
use crate::actors::env::Env;
use crate::actors::message::{Abort, ConnectionStatus, Drain, GetStatus, MarkError, Ran};
use crate::actors::notifier::Notifier;
use crate::actors::reader::ReadSide;
use crate::actors::spec::{ConnectionSpec, SyncSpec};
use crate::connectors::{Calls, ConnectorScope};
use crate::model::ids::{ConnectionId, SyncName};
use crate::model::notice::Notice;
use crate::model::schedule::When;
use crate::model::side::{PerSide, Side};
use crate::model::work::Lane;
use crate::reconcile::before_write::{BeforeWrite, Hook};
use crate::reconcile::mapping::Mapping;
use crate::reconcile::reference;
use crate::reconcile::sync::BoundSync;
use crate::store::{CommitRight, Store};

/// Starts what wakes a connection by itself, and says whom to tell when a run is over.
/// Given by the shell, so that actors need not know the triggers.
pub type StartTriggers = Arc<dyn Fn(Started<'_>) -> Option<Recipient<Ran>> + Send + Sync>;

/// A connection that has just started.
pub struct Started<'s> {
    /// What it was made from.
    pub spec: &'s ConnectionSpec,
    /// Where it is reached while it lives.
    pub connection: actix::WeakAddr<Connection>,
    /// Chance of its own.
    pub rng: fastrand::Rng,
    /// When the last runs began that are remembered, in milliseconds since 1970.
    pub last_runs: &'s BTreeMap<SyncName, i64>,
}

/// What the host program wants to be asked before the writes of a sync, by the sync's name.
pub type Hooks = Arc<BTreeMap<SyncName, Arc<dyn BeforeWrite>>>;

/// How connections are found from any thread.
pub type Routes = Arc<dashmap::DashMap<ConnectionId, Addr<Connection>>>;

/// After this long without dying, a connection's restarts count from one again.
const CALM_MS: i64 = 600_000;

/// Owns the connections of one arbiter.
pub struct Supervisor {
    store: Store,
    env: Env,
    notifier: Notifier,
    routes: Routes,
    triggers: StartTriggers,
    hooks: Hooks,
    mappings: RefCell<Mappings>,
    connections: BTreeMap<ConnectionId, Supervised>,
    /// Counts all starts, so that a late notice about a removed connection never fits
    /// one of the same name that was added since.
    starts: u64,
    draining: bool,
}

struct Supervised {
    spec: ConnectionSpec,
    calls: PerSide<Calls>,
    generation: u64,
    deaths: u32,
    started_ms: i64,
    error: Option<String>,
}

impl Supervisor {
    /// A supervisor without connections.
    #[must_use]
    pub fn new(
        store: Store,
        env: Env,
        notifier: Notifier,
        routes: Routes,
        triggers: StartTriggers,
        hooks: Hooks,
    ) -> Self {
        let (mappings, connections) = (RefCell::default(), BTreeMap::new());
        Self { store, env, notifier, routes, triggers, hooks, mappings, connections, starts: 0, draining: false }
    }

    /// Starts a connection: in the epoch that has begun for it, or in the next.
    fn start(&mut self, id: &ConnectionId, begun: Option<CommitRight>, ctx: &mut Context<Self>) {
        let Some(supervised) = self.connections.get_mut(id) else { return };
        self.starts += 1;
        supervised.generation = self.starts;
        supervised.started_ms = self.env.now_ms();
        let generation = supervised.generation;
        let (gone, told) = oneshot::channel();
        let (spec, calls) = (supervised.spec.clone(), supervised.calls.clone());
        let around = Around {
            store: &self.store,
            env: &self.env,
            notifier: &self.notifier,
            triggers: &self.triggers,
            hooks: &self.hooks,
            mappings: &self.mappings,
        };
        // Making connectors runs foreign code, which may panic.
        let started = catch_unwind(AssertUnwindSafe(|| spawn(spec, calls, begun, &around, gone)))
            .unwrap_or_else(|_| Err("starting it crashed".to_owned()));
        match started {
            Ok(address) => {
                supervised.error = None;
                self.routes.insert(id.clone(), address);
            }
            Err(error) => {
                tracing::error!(connection.id = %id, "could not start: {error}");
                supervised.error = Some(error);
            }
        }
        // A task of its own: thousands of futures inside one actor would all be polled
        // at its every wake. Weak, so that it does not keep the supervisor alive.
        let (supervisor, id) = (ctx.address().downgrade(), id.clone());
        actix::spawn(async move {
            let _ = told.await;
            if let Some(supervisor) = supervisor.upgrade() {
                supervisor.do_send(Gone { id, generation });
            }
        });
    }
}

/// What every connection of a supervisor is started with.
struct Around<'s> {
    store: &'s Store,
    env: &'s Env,
    notifier: &'s Notifier,
    triggers: &'s StartTriggers,
    hooks: &'s Hooks,
    mappings: &'s RefCell<Mappings>,
}

/// The numbered mappings of this arbiter: connections with the same sync share one.
#[derive(Default)]
struct Mappings {
    /// By the sync's address, which is another's once it is gone.
    known: HashMap<usize, (Weak<SyncSpec>, Arc<Mapping>)>,
    /// Those of syncs that are gone are looked for when there are so many.
    swept_at: usize,
}

impl Mappings {
    fn get(&self, declared: &Arc<SyncSpec>) -> Option<Arc<Mapping>> {
        let (spec, mapping) = self.known.get(&Arc::as_ptr(declared).addr())?;
        spec.upgrade().filter(|spec| Arc::ptr_eq(spec, declared)).map(|_| Arc::clone(mapping))
    }

    fn keep(&mut self, declared: &Arc<SyncSpec>, mapping: &Arc<Mapping>) {
        if self.known.len() >= self.swept_at.max(64) {
            self.known.retain(|_, (spec, _)| spec.strong_count() > 0);
            self.swept_at = self.known.len() * 2;
        }
        self.known.insert(Arc::as_ptr(declared).addr(), (Arc::downgrade(declared), Arc::clone(mapping)));
    }
}

/// Builds a connection's family from the store and its specification.
fn spawn(
    spec: ConnectionSpec,
    calls: PerSide<Calls>,
    begun: Option<CommitRight>,
    around: &Around<'_>,
    gone: oneshot::Sender<()>,
) -> Result<Addr<Connection>, String> {
    let Around { store, env, notifier, triggers, hooks, mappings } = around;
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let scope = ConnectorScope { scope: spec.scope.clone() };
    let make = |side: Side| {
        let connector = spec.connectors[side].make(&scope).map_err(|error| format!("the {side} side: {error}"))?;
        Ok::<_, String>(ReadSide { connector: Rc::from(connector), calls: calls[side].clone() })
    };
    let sides = PerSide { app: make(Side::App)?, remote: make(Side::Remote)? };
    let mut syncs = Vec::with_capacity(spec.syncs.len());
    for declared in &spec.syncs {
        let mapping = numbered(declared, store, mappings)?;
        let hook = hooks.get(&declared.name).map(|call| Hook { connection: spec.id.clone(), call: Arc::clone(call) });
        syncs.push(bound(declared, mapping, hook, store, &sides)?);
    }
    bind_references(&mut syncs)?;
    let syncs = syncs.into_iter().map(Arc::new).collect();
    let begin = || store.start_epoch(store.intern_connection(&spec.id)?);
    let right = begun.map_or_else(begin, Ok).map_err(|error| text(&error))?;
    let conn = right.conn();
    let paused = store.snapshot().and_then(|snapshot| snapshot.paused(conn)).map_err(|error| text(&error))?;
    let core = Core::load(spec.id.clone(), syncs, (*store).clone(), right, (*env).clone(), (*notifier).clone(), sides)
        .map_err(|error| text(&error))?;
    let clocked = spec.syncs.iter().filter(|sync| {
        let schedule = sync.schedule.as_ref();
        schedule.is_some_and(|schedule| matches!(schedule.when, When::Cron(_)))
    });
    let clocked = clocked.map(|sync| sync.name.clone()).collect();
    let connection = Connection::load(core, paused, clocked, gone).map_err(|error| text(&error))?;
    let rng = env.rng(u64::from(conn.0) + (1 << 40));
    let triggers = Arc::clone(*triggers);
    Ok(Connection::create(move |ctx| {
        let last_runs = connection.last_runs();
        let address = ctx.address().downgrade();
        match triggers(Started { spec: &spec, connection: address, rng, last_runs: &last_runs }) {
            Some(ran) => connection.telling(ran),
            None => connection,
        }
    }))
}

/// The mapping of a declared sync, with the numbers of its fields.
fn numbered(declared: &Arc<SyncSpec>, store: &Store, mappings: &RefCell<Mappings>) -> Result<Arc<Mapping>, String> {
    if let Some(known) = mappings.borrow().get(declared) {
        return Ok(known);
    }
    let no = store.intern_sync(&declared.name).map_err(|error| error.to_string())?;
    let mut mapping = declared.mapping.clone();
    let numbers = store.intern_fields(no, &mapping.field_identities()).map_err(|error| error.to_string())?;
    mapping.number_fields(&numbers);
    let mapping = Arc::new(mapping);
    mappings.borrow_mut().keep(declared, &mapping);
    Ok(mapping)
}

/// Asks each side of a declared sync what it can do.
fn bound(
    declared: &SyncSpec,
    mapping: Arc<Mapping>,
    before_write: Option<Hook>,
    store: &Store,
    sides: &PerSide<ReadSide>,
) -> Result<BoundSync, String> {
    let no = store.intern_sync(&declared.name).map_err(|error| error.to_string())?;
    let capabilities = |side: Side| {
        let object = &declared.objects[side];
        sides[side]
            .connector
            .capabilities(object)
            .map_err(|error| format!("sync '{}', {side} object '{object}': {error}", declared.name))
    };
    Ok(BoundSync {
        no,
        name: declared.name.clone(),
        objects: declared.objects.clone(),
        direction: declared.direction,
        mapping,
        initial: declared.initial,
        tie: declared.tie,
        references: Vec::new(),
        capabilities: PerSide { app: capabilities(Side::App)?, remote: capabilities(Side::Remote)? },
        before_write,
        schemas: declared.schemas.clone(),
    })
}

/// Lets the syncs of a connection follow each other's links.
fn bind_references(syncs: &mut [BoundSync]) -> Result<(), String> {
    let named: Vec<_> = syncs.iter().map(|sync| (&sync.name, sync.no, &*sync.mapping)).collect();
    let bound = reference::bind(&named).map_err(|wrong| {
        let told = wrong.iter().map(|unbound| format!("sync '{}': {}", syncs[unbound.sync].name, unbound.reason));
        told.collect::<Vec<_>>().join("; ")
    })?;
    for (sync, references) in syncs.iter_mut().zip(bound) {
        sync.references = references;
    }
    Ok(())
}

impl Actor for Supervisor {
    type Context = Context<Self>;
}

/// Kernel to supervisor: look after this connection, whose epoch has begun.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), String>")]
pub struct Add(pub ConnectionSpec, pub CommitRight);

impl Handler<Add> for Supervisor {
    type Result = Result<(), String>;

    fn handle(&mut self, Add(spec, begun): Add, ctx: &mut Context<Self>) -> Self::Result {
        if self.draining {
            return Err("the kernel is shutting down".to_owned());
        }
        if self.connections.contains_key(&spec.id) {
            return Err(format!("connection '{}' is there already", spec.id));
        }
        let id = spec.id.clone();
        let app = spec.shared_app_calls.clone().unwrap_or_else(|| Calls::new(&spec.limits.app));
        let calls = PerSide { app, remote: Calls::new(&spec.limits.remote) };
        let supervised = Supervised { spec, calls, generation: 0, deaths: 0, started_ms: 0, error: None };
        self.connections.insert(id.clone(), supervised);
        self.start(&id, Some(begun), ctx);
        Ok(())
    }
}

/// Kernel to supervisor: let go of this connection once it has drained.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), MarkError>")]
pub struct Remove(pub ConnectionId);

impl Handler<Remove> for Supervisor {
    type Result = ResponseFuture<Result<(), MarkError>>;

    fn handle(&mut self, Remove(id): Remove, _: &mut Context<Self>) -> Self::Result {
        let Some(_) = self.connections.remove(&id) else {
            return Box::pin(async move { Err(MarkError::NoConnection(id)) });
        };
        let address = self.routes.remove(&id).map(|(_, address)| address);
        Box::pin(async move {
            if let Some(address) = address {
                // Closed means that it is gone already.
                let _ = address.send(Drain).await;
            }
            Ok(())
        })
    }
}

/// A watcher to the supervisor: this connection's actor is gone.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Gone {
    id: ConnectionId,
    generation: u64,
}

impl Handler<Gone> for Supervisor {
    type Result = ();

    fn handle(&mut self, Gone { id, generation }: Gone, ctx: &mut Context<Self>) {
        let now_ms = self.env.now_ms();
        let Some(supervised) = self.connections.get_mut(&id) else { return };
        if supervised.generation != generation || self.draining {
            return;
        }
        self.routes.remove(&id);
        let calm = now_ms.saturating_sub(supervised.started_ms) > CALM_MS;
        supervised.deaths = if calm { 1 } else { supervised.deaths.saturating_add(1) };
        let wait_ms = backoff_ms(supervised.deaths);
        self.notifier.tell(&id, now_ms, Notice::Restarting { deaths: supervised.deaths });
        tracing::error!(connection.id = %id, deaths = supervised.deaths, wait_ms, "connection died; it is loaded again from the store");
        ctx.run_later(Duration::from_millis(wait_ms), move |act, ctx| act.start(&id, None, ctx));
    }
}

/// Kernel to supervisor: drain all, take no more.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct DrainAll;

impl Handler<DrainAll> for Supervisor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: DrainAll, _: &mut Context<Self>) -> Self::Result {
        self.draining = true;
        let addresses: Vec<Addr<Connection>> =
            self.connections.keys().filter_map(|id| self.routes.get(id).map(|address| address.clone())).collect();
        Box::pin(async move {
            let drains = addresses.iter().map(|address| address.send(Drain));
            futures_util::future::join_all(drains).await;
        })
    }
}

/// Kernel to supervisor: end all at once, finish nothing.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct AbortAll;

impl Handler<AbortAll> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: AbortAll, ctx: &mut Context<Self>) {
        self.draining = true;
        for id in self.connections.keys() {
            if let Some((_, address)) = self.routes.remove(id) {
                address.do_send(Abort);
            }
        }
        ctx.stop();
    }
}

/// Kernel to supervisor: how are all your connections.
#[derive(Debug, Message)]
#[rtype(result = "Vec<ConnectionStatus>")]
pub struct GetAllStatus;

impl Handler<GetAllStatus> for Supervisor {
    type Result = ResponseFuture<Vec<ConnectionStatus>>;

    fn handle(&mut self, _: GetAllStatus, _: &mut Context<Self>) -> Self::Result {
        let connections: Vec<(ConnectionStatus, Option<Addr<Connection>>)> = self
            .connections
            .iter()
            .map(|(id, supervised)| {
                let address = self.routes.get(id).map(|address| address.clone());
                (restarting(id, supervised), address)
            })
            .collect();
        Box::pin(async move {
            let asked = connections.into_iter().map(|(fallback, address)| async move {
                match address {
                    Some(address) => address.send(GetStatus).await.unwrap_or(fallback),
                    None => fallback,
                }
            });
            futures_util::future::join_all(asked).await
        })
    }
}

fn restarting(id: &ConnectionId, supervised: &Supervised) -> ConnectionStatus {
    ConnectionStatus {
        id: id.clone(),
        state: "restarting".to_owned(),
        error: supervised.error.clone(),
        epoch: 0,
        syncs: Vec::new(),
        pending: Vec::<(Lane, u64)>::new(),
        open_writes: 0,
        quarantined: 0,
        quarantine: Vec::new(),
        unlinked: 0,
        unlinked_rows: Vec::new(),
        calls: PerSide::from_fn(|side| supervised.calls[side].made()),
        oldest_pending_ms: None,
        late_ms: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::direction::Direction;
    use crate::store::StoreOptions;

    fn sync(remote: &str) -> Arc<SyncSpec> {
        let rules = format!("match = ['id']\n[fields]\nid = 'id'\nx = '{remote}'");
        Arc::new(SyncSpec::parse("contacts", "a", "b", Direction::TwoWay, &rules).unwrap())
    }

    #[test]
    fn connections_with_the_same_sync_share_its_mapping() {
        let store = Store::in_memory(StoreOptions::inline()).unwrap();
        let mappings = RefCell::default();
        let (plain, other) = (sync("x"), sync("custom_17"));
        let first = numbered(&plain, &store, &mappings).unwrap();
        assert!((0..100).all(|_| Arc::ptr_eq(&numbered(&plain, &store, &mappings).unwrap(), &first)));
        let own = numbered(&other, &store, &mappings).unwrap();
        assert_eq!(own.fields[0].no, first.fields[0].no, "a field that means the same has the same number");
        assert_ne!(own.fields[1].no, first.fields[1].no);
        // Those that nobody uses any more are given up.
        for n in 0..1_000 {
            numbered(&sync(&format!("c{n}")), &store, &mappings).unwrap();
        }
        assert!(mappings.borrow().known.len() < 100, "{}", mappings.borrow().known.len());
        assert!(Arc::ptr_eq(&numbered(&plain, &store, &mappings).unwrap(), &first));
    }
}
