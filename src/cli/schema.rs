//! `schema`: the JSON Schema of a file kind, for editors.

use super::exit::{Exit, Failure};
use super::output::Output;
use crate::reference::FileKind;

const HELP: &str = "\
Editors complete, explain and check TOML files by it, such as VS Code with Even Better TOML:
  syncline schema config    > schemas/config.json
  syncline schema connector > schemas/connector.json

Then the first line of a file says which one is meant:
  #:schema schemas/config.json

or .taplo.toml says it for all:
  [[rule]]
  include = [\"connectors/*.toml\"]
  [rule.schema]
  path = \"schemas/connector.json\"";

/// Arguments of `schema`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    /// The kind of file.
    kind: Kind,
}

/// A kind of file, as it is typed.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Kind {
    /// The configuration file.
    Config,
    /// A connector file.
    Connector,
}

#[expect(clippy::unnecessary_wraps, reason = "as all commands")]
pub(super) fn execute(args: &Args, out: &Output) -> Result<Exit, Failure> {
    let kind = match args.kind {
        Kind::Config => FileKind::Config,
        Kind::Connector => FileKind::Connector,
    };
    out.raw(&format!("{:#}", kind.schema()));
    Ok(Exit::Done)
}
