//! Shell: logs, for the person on call. They go to stderr, so that what a command
//! prints can be piped.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging. `RUST_LOG` decides what is shown, `default_filter` without it.
/// `json` writes one JSON object a line.
///
/// Does nothing when the process has a subscriber already.
pub fn init(default_filter: &str, json: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default_filter));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = if json {
        logs.json().flatten_event(true).try_init()
    } else {
        logs.with_ansi(colours_wanted(std::io::stderr().is_terminal())).with_target(false).try_init()
    };
    // Somebody else's subscriber serves as well.
    drop(started);
}

/// Whether to write colours: to a terminal, unless `NO_COLOR` is set to something.
#[must_use]
pub fn colours_wanted(is_terminal: bool) -> bool {
    is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
