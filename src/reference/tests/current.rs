//! Danger: a reference that tells of what was, and not of what is.

use std::fs;
use std::path::Path;

use crate::reference::FileKind;

/// Writes the files that are made from the declared keys.
pub(super) const COMMAND: &str = "SYNCLINE_WRITE=1 cargo test --lib reference";

#[test]
fn the_reference_and_the_schemas_are_those_of_the_declared_keys() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let schema = |kind: FileKind| format!("{}\n", serde_json::to_string_pretty(&kind.schema()).unwrap());
    let mut stale = Vec::new();
    for (name, text) in [
        ("docs/config-reference.md", FileKind::Config.reference()),
        ("docs/connector-reference.md", FileKind::Connector.reference()),
        ("schemas/config.json", schema(FileKind::Config)),
        ("schemas/connector.json", schema(FileKind::Connector)),
    ] {
        let path = root.join(name);
        if std::env::var_os("SYNCLINE_WRITE").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &text).unwrap();
        }
        if fs::read_to_string(&path).ok().as_deref() != Some(text.as_str()) {
            stale.push(name);
        }
    }
    assert!(stale.is_empty(), "{} are not what src/reference declares: run `{COMMAND}`", stale.join(", "));
}
