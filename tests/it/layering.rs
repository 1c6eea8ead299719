//! Imports point inwards. A new arrow needs a message, an argument, or a type moved
//! inwards, not a line in this table.

use std::fs;
use std::path::{Path, PathBuf};

/// Which layers each layer may import.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("reconcile", &["model"]),
    ("store", &["model"]),
    ("connectors", &["model", "store"]),
    ("actors", &["model", "reconcile", "store", "connectors"]),
    ("triggers", &["model", "actors", "connectors", "store"]),
    ("web", &["model", "actors", "connectors", "store", "triggers"]),
    ("sandbox", &["model"]),
];

/// May be imported by every layer, and imports none.
const EVERYWHERE: &[&str] = &["planted"];

/// Shell modules: may import everything, and nobody imports them.
const SHELL: &[&str] = &[
    "cli",
    "config",
    "control",
    "kernel",
    "plan",
    "reference",
    "registry",
    "sim",
    "telemetry",
    "temporary",
    "demo",
    "lib",
    "main",
];

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn layer_of(path: &Path) -> String {
    let first = path.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// Names that follow `crate::` in a source text, comments left out.
fn imported(text: &str) -> Vec<String> {
    let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut names = Vec::new();
    for piece in code.split("crate::").skip(1) {
        let group = piece.strip_prefix('{').map(|rest| rest.split('}').next().unwrap_or(rest));
        match group {
            Some(group) => {
                names.extend(group.split(',').map(|name| name.trim().split("::").next().unwrap().to_owned()))
            }
            None => names.push(piece.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap().to_owned()),
        }
    }
    names
}

#[test]
fn imports_point_inwards() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Vec::new();
    files(&src, &mut all);
    assert!(all.len() > 30, "the sources were found");
    let mut wrong = Vec::new();
    for file in all {
        let relative = file.strip_prefix(&src).unwrap();
        let layer = layer_of(relative);
        // A layer's own tests may use the test doubles and peers of the others.
        if relative.components().any(|part| part.as_os_str() == "tests") || relative.ends_with("tests.rs") {
            continue;
        }
        if SHELL.contains(&layer.as_str()) {
            continue;
        }
        if EVERYWHERE.contains(&layer.as_str()) {
            let found = imported(&fs::read_to_string(&file).unwrap());
            wrong.extend(found.into_iter().map(|name| format!("{} imports {name}", relative.display())));
            continue;
        }
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == layer) else {
            wrong.push(format!("{}: layer '{layer}' is not in the table", relative.display()));
            continue;
        };
        for name in imported(&fs::read_to_string(&file).unwrap()) {
            let known = MAY_IMPORT.iter().any(|(other, _)| *other == name) || SHELL.contains(&name.as_str());
            if known && name != layer && !allowed.contains(&name.as_str()) {
                wrong.push(format!("{} imports {name}", relative.display()));
            }
        }
        // Of the connectors only the embedded one keeps records in the store.
        let text = fs::read_to_string(&file).unwrap();
        if layer == "connectors" && text.contains("crate::store") && !relative.to_string_lossy().contains("embedded") {
            wrong.push(format!("{} imports store", relative.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
