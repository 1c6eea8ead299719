//! Shell: the command line. One command a file; each takes its arguments, does its work
//! through the library and answers with an exit code or a failure, so that this is
//! the one place that knows about processes.

mod act;
mod check;
mod connection;
mod connector;
mod demo;
mod dump;
mod exit;
mod output;
mod pause;
mod plan;
mod progress;
mod run;
mod sandbox;
mod schema;
#[cfg(feature = "simulate")]
mod simulate;
mod status;
mod sync;
mod target;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use exit::{Exit, Failure};
use output::Output;

/// Keeps records in agreement between your app and a customer's connected app.
#[derive(Debug, Parser)]
#[command(name = "syncline", version, about, max_term_width = 100, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Print JSON instead of tables and sentences.
    #[arg(long, global = true)]
    json: bool,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done, and everything agrees
  1  done, but records differ or are held back (quarantined)
  2  the command, the configuration or a connector file is wrong
  3  a side cannot be reached, or something was refused
  4  the state file is in use by another kernel, missing or unusable

Environment: RUST_LOG chooses what is logged (syncline=debug), NO_COLOR switches colours off.
A running kernel is reached through the socket beside its state file; commands find it by themselves.";

/// What to do.
#[derive(Debug, Subcommand)]
enum Command {
    /// See it work: a sandbox CRM and a small app, synced both ways on this machine.
    Demo(demo::Args),
    /// Keep both sides in agreement until SIGINT or SIGTERM.
    Run(run::Args),
    /// Run syncs, or look at one record, once and now.
    Sync(sync::Args),
    /// Dry run: tell what a sync would do now, and write nothing.
    Plan(plan::Args),
    /// Check the configuration, the connector files, and that both sides answer.
    Check(check::Args),
    /// List, add, change and remove connections, without a restart.
    Connection(connection::Args),
    /// Have the running kernel read its configuration again, and tell what that changed.
    Reload(connection::ReloadArgs),
    /// Help with a connector file.
    Connector(connector::Args),
    /// Tell how each connection is: lag, cursors, pending and quarantined records.
    Status(status::Args),
    /// Write the whole state as stable text.
    Dump(dump::Args),
    /// List the first records of a side.
    List(act::List),
    /// Read one record of a side.
    Read(act::One),
    /// Find records of a side by the values of fields.
    Find(act::Find),
    /// Make a record on a side. To the syncs it is an edit like anybody's.
    Create(act::Create),
    /// Change fields of a record on a side.
    Update(act::Update),
    /// Delete a record on a side.
    Delete(act::One),
    /// Pause a connection; it stays paused over restarts.
    Pause(pause::Args),
    /// Let a paused or suspended connection go on.
    Resume(pause::Args),
    /// Serve the sandbox CRM, to try a configuration or a connector file on.
    Sandbox(sandbox::Args),
    /// Write the JSON Schema of the configuration or of connector files, for editors.
    Schema(schema::Args),
    /// Run whole kernels in simulated time with everything going wrong, and look for what breaks.
    #[cfg(feature = "simulate")]
    Simulate(simulate::Args),
}

/// Runs the program with the arguments of the process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let (filter, log_json) = match &cli.command {
        Command::Run(args) => ("syncline=info", args.log_json),
        Command::Demo(_)
        | Command::Sync(_)
        | Command::Plan(_)
        | Command::Check(_)
        | Command::Connection(_)
        | Command::Reload(_)
        | Command::Connector(_)
        | Command::Status(_)
        | Command::Dump(_)
        | Command::List(_)
        | Command::Read(_)
        | Command::Find(_)
        | Command::Create(_)
        | Command::Update(_)
        | Command::Delete(_)
        | Command::Pause(_)
        | Command::Resume(_)
        | Command::Sandbox(_)
        | Command::Schema(_) => ("syncline=error", false),
        // Whatever a simulated kernel complains about is meant to happen.
        #[cfg(feature = "simulate")]
        Command::Simulate(_) => ("off", false),
    };
    crate::telemetry::init(filter, log_json);
    let out = Output::new(cli.json);
    let done = actix_web::rt::System::new().block_on(async { execute(cli.command, &out).await });
    match done {
        Ok(exit) => exit.into(),
        Err(failure) => {
            out.failure(&failure);
            failure.exit.into()
        }
    }
}

async fn execute(command: Command, out: &Output) -> Result<Exit, Failure> {
    match command {
        // These end in order when they are told to.
        Command::Demo(args) => demo::execute(args, out).await,
        Command::Run(args) => run::execute(args, out).await,
        Command::Sandbox(args) => sandbox::execute(args, out).await,
        #[cfg(feature = "simulate")]
        Command::Simulate(args) => simulate::execute(args, out).await,
        // These leave what they have begun to the next run, and take their temporary
        // files with them.
        Command::Sync(args) => unless_interrupted(sync::execute(args, out)).await,
        Command::Plan(args) => unless_interrupted(plan::execute(args, out)).await,
        Command::Check(args) => unless_interrupted(check::execute(args, out)).await,
        Command::Connection(args) => unless_interrupted(connection::execute(args, out)).await,
        Command::Reload(args) => unless_interrupted(connection::reload(args, out)).await,
        Command::Connector(args) => unless_interrupted(connector::execute(args, out)).await,
        Command::Status(args) => unless_interrupted(status::execute(args, out)).await,
        Command::Dump(args) => unless_interrupted(dump::execute(args, out)).await,
        Command::List(args) => unless_interrupted(act::list(args, out)).await,
        Command::Read(args) => unless_interrupted(act::read(args, out)).await,
        Command::Find(args) => unless_interrupted(act::find(args, out)).await,
        Command::Create(args) => unless_interrupted(act::create(args, out)).await,
        Command::Update(args) => unless_interrupted(act::update(args, out)).await,
        Command::Delete(args) => unless_interrupted(act::delete(args, out)).await,
        Command::Pause(args) => unless_interrupted(pause::execute(args, true, out)).await,
        Command::Resume(args) => unless_interrupted(pause::execute(args, false, out)).await,
        Command::Schema(args) => schema::execute(&args, out),
    }
}

async fn unless_interrupted(work: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    tokio::select! {
        done = work => done,
        _ = run::told_to_end() => Err(Failure::refused("interrupted")),
    }
}

#[cfg(test)]
mod tests;
