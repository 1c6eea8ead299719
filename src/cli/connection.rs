//! `connection` and `reload`: connections as data, by the running kernel or in the state file.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::exit::{Exit, Failure};
use super::output::{Output, clip, counted, note, row};
use super::target;
use crate::control::ControlClient;
use crate::model::ids::ConnectionId;
use crate::registry::{Listed, Put, Registry, Reload};
use crate::store::Store;

/// Arguments of `connection`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Tell which connections there are, and why one does not run.
    List {
        /// The configuration file.
        file: PathBuf,
    },
    /// Write the document of a connection; secrets that stand in it are left out.
    Show {
        /// The configuration file.
        file: PathBuf,
        /// The connection.
        connection: String,
    },
    /// Add connections: durable, and in effect at once where a kernel runs.
    Add(Documents),
    /// Change connections that were added; they keep their state.
    Change(Documents),
    /// Remove a connection that was added.
    Remove {
        /// The configuration file.
        file: PathBuf,
        /// The connection.
        connection: String,
        /// Forget all its state, too: what is linked, where it had read to, what waits.
        #[arg(long)]
        purge: bool,
    },
}

/// A document of connections.
#[derive(Debug, clap::Args)]
struct Documents {
    /// The configuration file.
    file: PathBuf,
    /// The document: the keys of one [[connection]], or any number of [[connection]]. `-` reads
    /// it from the standard input.
    document: PathBuf,
}

/// Arguments of `reload`.
#[derive(Debug, clap::Args)]
pub(super) struct ReloadArgs {
    /// The configuration file.
    file: PathBuf,
}

pub(super) async fn execute(args: Args, out: &Output) -> Result<Exit, Failure> {
    match args.command {
        Command::List { file } => list(&file, out).await,
        Command::Show { file, connection } => show(&file, connection, out).await,
        Command::Add(documents) => put(documents, false, out).await,
        Command::Change(documents) => put(documents, true, out).await,
        Command::Remove { file, connection, purge } => remove(&file, connection, purge, out).await,
    }
}

fn running(file: &Path) -> Result<Option<ControlClient>, Failure> {
    Ok(target::running(&target::state_file(file)?))
}

async fn list(file: &Path, out: &Output) -> Result<Exit, Failure> {
    let all: Vec<Listed> = match running(file)? {
        Some(client) => client.connections().await?,
        None => target::registry_of(file).await?.list(),
    };
    out.value(&all);
    let mut table = out.table(["connection", "from", "connector", "scope", ""]);
    for Listed { id, origin, connector, scope, problem } in &all {
        let scope = scope.as_ref().map_or_else(String::new, ToString::to_string);
        let mut cells = row([id.to_string(), origin.to_string(), connector.clone().unwrap_or_default(), scope]);
        let said = problem.as_deref().map_or_else(|| "fits".to_owned(), |problem| clip(problem, 300));
        cells.add_cell(out.verdict(problem.is_none(), &said));
        table.add_row(cells);
    }
    out.print_table(&table);
    let broken = all.iter().filter(|one| one.problem.is_some()).count() as u64;
    out.say(match broken {
        0 => counted(all.len() as u64, "connection"),
        _ => format!("{}, {broken} of which cannot run", counted(all.len() as u64, "connection")),
    });
    Ok(if broken == 0 { Exit::Done } else { Exit::Differs })
}

async fn show(file: &Path, connection: String, out: &Output) -> Result<Exit, Failure> {
    let id = ConnectionId::from(connection);
    let document = match running(file)? {
        Some(client) => client.connection_document(id.clone()).await?,
        None => target::registry_of(file).await?.document(&id)?,
    };
    out.value(&serde_json::json!({ "connection": id, "document": document }));
    out.say(document.trim_end());
    Ok(Exit::Done)
}

async fn put(documents: Documents, change: bool, out: &Output) -> Result<Exit, Failure> {
    let Documents { file, document } = documents;
    let (name, text) = read(&document)?;
    let put = match running(&file)? {
        Some(client) => client.put_connections(change, name, text).await?,
        None => put_by_ourselves(&file, change, &name, &text).await?,
    };
    let Put { connections, unchanged, warnings } = &put;
    for warning in warnings {
        note(&format!("warning: {warning}"));
    }
    out.value(&put);
    let word = if change { "changed" } else { "added" };
    match &connections[..] {
        [] => {}
        [one] => out.say(format!("connection '{one}' is {word}")),
        more => out.say(format!("{} are {word}", counted(more.len() as u64, "connection"))),
    }
    if !unchanged.is_empty() {
        out.say(format!("{} as before", counted(unchanged.len() as u64, "connection")));
    }
    Ok(Exit::Done)
}

fn read(document: &Path) -> Result<(String, String), Failure> {
    if document == Path::new("-") {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .map_err(|error| Failure::usage(format!("failed to read the standard input: {error}")))?;
        return Ok(("standard input".to_owned(), text));
    }
    let name = document.display().to_string();
    let text = std::fs::read_to_string(document)
        .map_err(|error| Failure::usage(format!("failed to read the document {name}: {error}")))?;
    Ok((name, text))
}

async fn put_by_ourselves(file: &Path, change: bool, name: &str, text: &str) -> Result<Put, Failure> {
    let (registry, store) = open(file)?;
    let env = target::environment();
    let read = if change { registry.changing(name, text, &env) } else { registry.adding(name, text, &env) };
    let kept = read.and_then(|read| {
        registry.check_claims(&read.connections)?;
        let (same, other): (Vec<_>, Vec<_>) =
            read.connections.into_iter().partition(|connection| registry.says(connection));
        let documents: Vec<_> =
            other.iter().map(|connection| (connection.id.clone(), Some(connection.document().to_owned()))).collect();
        store.keep_documents(&documents)?;
        for id in registry.resumed(&other) {
            store.set_paused(store.intern_connection(id)?, false)?;
        }
        let ids = |connections: Vec<crate::config::ConfiguredConnection>| {
            connections.into_iter().map(|connection| connection.id).collect()
        };
        Ok(Put { connections: ids(other), unchanged: ids(same), warnings: read.warnings })
    });
    store.close().await;
    Ok(kept?)
}

fn open(file: &Path) -> Result<(Registry, Store), Failure> {
    let config = Arc::new(target::load(file)?);
    let store = target::open(&config.state)?;
    let registry = Registry::load(config, Some(&store), &target::environment())?;
    Ok((registry, store))
}

async fn remove(file: &Path, connection: String, purge: bool, out: &Output) -> Result<Exit, Failure> {
    let id = ConnectionId::from(connection);
    match running(file)? {
        Some(client) => client.remove_connection(id.clone(), purge).await?,
        None => {
            let (registry, store) = open(file)?;
            let removed = match registry.removing(&id) {
                Ok(()) => store.keep_documents(&[(id.clone(), None)]).map_err(Failure::from),
                Err(error) => Err(error.into()),
            };
            let removed = match removed {
                Ok(()) if purge => store.purge_named(&id).await.map_err(Failure::from),
                other => other,
            };
            store.close().await;
            removed?;
        }
    }
    out.value(&serde_json::json!({ "connection": id, "purged": purge }));
    let state = if purge { "and its state is forgotten" } else { "its state is kept" };
    out.say(format!("connection '{id}' is removed; {state}"));
    Ok(Exit::Done)
}

/// Has the running kernel read its configuration again.
pub(super) async fn reload(args: ReloadArgs, out: &Output) -> Result<Exit, Failure> {
    let Some(client) = running(&args.file)? else {
        return Err(Failure::refused("no kernel runs over this state file; the next one reads the configuration"));
    };
    let reload = client.reload().await?;
    for warning in &reload.warnings {
        note(&format!("warning: {warning}"));
    }
    out.value(&reload);
    for line in lines(&reload) {
        out.say(line);
    }
    Ok(if reload.failed.is_empty() { Exit::Done } else { Exit::Differs })
}

/// What is another, a line each.
pub(super) fn lines(reload: &Reload) -> Vec<String> {
    let Reload { added, removed, changed, paused, unchanged, after_restart, failed, warnings: _ } = reload;
    let mut lines = Vec::new();
    lines.extend(added.iter().map(|id| format!("+ {id}")));
    lines.extend(removed.iter().map(|id| format!("- {id}  (its state is kept)")));
    lines.extend(changed.iter().map(|(id, keys)| format!("~ {id}  {}", keys.join(", "))));
    lines.extend(paused.iter().map(|(id, paused)| format!("~ {id}  {}", if *paused { "paused" } else { "resumed" })));
    lines.extend(failed.iter().map(|(id, reason)| format!("! {id}  does not run: {reason}")));
    lines.push(format!("{} unchanged", counted(*unchanged as u64, "connection")));
    if !after_restart.is_empty() {
        lines.push(format!("takes effect after a restart: {}", after_restart.join(", ")));
    }
    lines
}
