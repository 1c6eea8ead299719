//! `check`: everything that can be known to be wrong before anything runs, at once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::exit::{Exit, Failure};
use super::output::{Output, clip, counted, row};
use super::target;
use crate::config::{AppSide, Config, ConfiguredConnection};
use crate::connectors::{Calls, ConnectorFactory, ConnectorScope};
use crate::model::ids::{ConnectionId, ObjectName};
use crate::model::side::Side;
use crate::registry::Registry;

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration file.
    file: PathBuf,
    /// Only read the files, call nobody.
    #[arg(long)]
    offline: bool,
}

/// Whether one side of a connection answers for one object.
#[derive(Debug, Serialize)]
struct Reached {
    connection: ConnectionId,
    side: Side,
    object: ObjectName,
    /// What is wrong.
    problem: Option<String>,
}

pub(super) async fn execute(args: Args, out: &Output) -> Result<Exit, Failure> {
    let registry = registry(&args.file).await?;
    let config = registry.config();
    let state = state_problem(config).await;
    let calls = if args.offline { Vec::new() } else { reach(&registry).await };
    let num_unreachable = calls.iter().filter(|reached| reached.problem.is_some()).count();
    out.value(&serde_json::json!({
        "connections": registry.connections().count(),
        "broken": registry.broken().map(|(id, problem)| (id.as_str(), problem)).collect::<BTreeMap<_, _>>(),
        "warnings": config.warnings(),
        "state": state,
        "sides": calls,
    }));
    let (connections, syncs) = (registry.connections().count() as u64, config.sync_names().count() as u64);
    out.say(format!(
        "{} is well-formed: {}, {}",
        args.file.display(),
        counted(connections, "connection"),
        counted(syncs, "sync")
    ));
    let mut table = out.table(["connection", "side", "object", ""]);
    for Reached { connection, side, object, problem } in &calls {
        let said = problem.as_deref().map_or_else(|| "answers".to_owned(), |problem| clip(problem, 300));
        let mut cells = row([connection.to_string(), side.to_string(), object.to_string()]);
        cells.add_cell(out.verdict(problem.is_none(), &said));
        table.add_row(cells);
    }
    out.print_table(&table);
    for (id, problem) in registry.broken() {
        out.say(out.red(&format!("connection '{id}', which was added, cannot run: {problem}")));
    }
    if let Some(problem) = &state {
        out.say(out.red(problem));
    }
    Ok(match (num_unreachable, state) {
        (0, None) if registry.broken().next().is_some() => Exit::Differs,
        (0, None) => Exit::Done,
        (0, Some(_)) => Exit::State,
        (_, _) => Exit::Refused,
    })
}

/// Those that were added are known where the state file can be opened: not while a kernel runs.
async fn registry(file: &Path) -> Result<Registry, Failure> {
    let config = Arc::new(target::load(file)?);
    let store = match config.state.exists() && target::running(&config.state).is_none() {
        true => target::open_existing(&config.state).ok(),
        false => None,
    };
    let registry = Registry::load(config, store.as_ref(), &target::environment());
    if let Some(store) = store {
        store.close().await;
    }
    Ok(registry?)
}

/// What keeps the state file from being used. One that a running kernel uses is well.
async fn state_problem(config: &Config) -> Option<String> {
    if target::running(&config.state).is_some() {
        return None;
    }
    if !config.state.exists() {
        let folder = target::folder_of(&config.state);
        return (!folder.is_dir())
            .then(|| format!("the folder of the state file, {}, does not exist", folder.display()));
    }
    match target::open_existing(&config.state) {
        Ok(store) => {
            store.close().await;
            None
        }
        Err(failure) => Some(failure.message),
    }
}

/// Asks every side for every object, all connections beside one another.
async fn reach(registry: &Registry) -> Vec<Reached> {
    let all = registry.connections().map(|connection| reach_connection(connection));
    futures_util::future::join_all(all).await.into_iter().flatten().collect()
}

async fn reach_connection(connection: &ConfiguredConnection) -> Vec<Reached> {
    let mut reached = Vec::new();
    for side in Side::BOTH {
        let factory = match (side, &connection.app) {
            (Side::Remote, _) => connection.remote.factory(),
            (Side::App, AppSide::Http(app)) => app.factory(),
            // Its records are in the state file, which is looked at by itself.
            (Side::App, AppSide::Embedded) => continue,
        };
        let mut objects: Vec<&ObjectName> = connection.syncs.iter().map(|sync| &sync.objects[side]).collect();
        objects.sort();
        objects.dedup();
        for object in objects {
            let problem = ping(&factory, connection, side, object).await.err();
            reached.push(Reached { connection: connection.id.clone(), side, object: object.clone(), problem });
        }
    }
    reached
}

async fn ping(
    factory: &Arc<dyn ConnectorFactory>,
    connection: &ConfiguredConnection,
    side: Side,
    object: &ObjectName,
) -> Result<(), String> {
    let scope = ConnectorScope { scope: connection.scope.clone() };
    let connector = factory.make(&scope).map_err(|error| error.to_string())?;
    let calls = Calls::new(&connection.limits[side]);
    connector.ping(&calls, object).await.map_err(|error| error.to_string())
}
