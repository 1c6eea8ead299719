//! Danger: a document that names what is no longer there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// `file::test` for every test of the repository; a file called `tests.rs` or `mod.rs`
/// goes by its folder.
fn tests() -> BTreeSet<String> {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    sources(&root().join("tests"), &mut files);
    let mut names = BTreeSet::new();
    for file in files {
        let stem = file.file_stem().unwrap().to_string_lossy().into_owned();
        let name = match stem.as_str() {
            "tests" | "mod" => file.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned(),
            _ => stem,
        };
        let text = fs::read_to_string(&file).unwrap();
        for (at, _) in text.match_indices("fn ").filter(|(at, _)| *at > 0) {
            let function = text[at + 3..].split('(').next().unwrap();
            names.insert(format!("{name}::{function}"));
        }
    }
    names
}

/// What stands in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

#[test]
fn every_test_that_actors_md_names_exists() {
    let text = fs::read_to_string(root().join("actors.md")).unwrap();
    let tests = tests();
    // A test is named by a sentence, so it has several underscores.
    let named: Vec<&str> = quoted(&text)
        .filter(|name| name.split_once("::").is_some_and(|(_, test)| test.matches('_').count() >= 2))
        .chain(["lifecycle::every_transition"])
        .collect();
    assert!(named.len() > 25, "the names were found");
    let missing: Vec<&str> = named.into_iter().filter(|name| !tests.contains(*name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_link_within_the_documents_leads_somewhere() {
    let mut broken = Vec::new();
    for document in [
        "README.md",
        "actors.md",
        "CONTRIBUTING.md",
        "docs/configuration.md",
        "docs/connectors.md",
        "docs/config-reference.md",
        "docs/connector-reference.md",
        "docs/tutorial.md",
    ] {
        let path = root().join(document);
        let text = fs::read_to_string(&path).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            if link.starts_with("http") {
                continue;
            }
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            let Ok(target) = fs::read_to_string(&target) else {
                broken.push(format!("{document}: {link}"));
                continue;
            };
            if !heading.is_empty() && !target.lines().any(|line| line.starts_with('#') && anchor(line) == heading) {
                broken.push(format!("{document}: {link}"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:?}");
}

/// A heading's name in a link, as the usual renderers make it.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// A fenced block of a document, by its first line.
fn block(document: &str, first_line: &str) -> String {
    let text = fs::read_to_string(root().join(document)).unwrap();
    let found = text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    found.map(str::to_owned).find(|block| block.starts_with(first_line)).unwrap()
}

#[test]
fn the_configuration_of_the_readme_is_well_formed() {
    let files = |path: &Path| match path.to_str() {
        Some("connectors/crm.toml") => Ok(block("README.md", "# connectors/crm.toml")),
        Some(_) | None => Err(std::io::ErrorKind::NotFound.into()),
    };
    let env = |name: &str| (name == "CRM_TOKEN").then(|| "secret".to_owned());
    let text = block("README.md", "# syncline.toml");
    let config = syncline::config::Config::parse("syncline.toml", &text, Path::new(""), &env, &files);
    let config = config.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((config.connections.len(), config.connections[0].syncs.len()), (1, 1));
    assert!(config.warnings().is_empty(), "{:?}", config.warnings());
}

#[test]
fn the_webhook_of_the_readme_is_well_formed() {
    let files = |path: &Path| match path.to_str() {
        Some("connectors/crm.toml") => {
            let added = block("README.md", "# also in connectors/crm.toml");
            Ok(format!("{}{added}", block("README.md", "# connectors/crm.toml")))
        }
        Some(_) | None => Err(std::io::ErrorKind::NotFound.into()),
    };
    let env = |name: &str| match name {
        "CRM_TOKEN" | "EVENT_TOKEN" => Some("secret".to_owned()),
        "ACME_HOOK" => Some("0123456789abcdef".to_owned()),
        "ACME_HOOK_SECRET" => Some("whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=".to_owned()),
        _ => None,
    };
    let added = block("README.md", "# also in syncline.toml");
    let (receive, webhook) = added.split_once("[[connection]]").unwrap();
    let webhook = webhook.lines().find(|line| line.starts_with("webhook")).unwrap();
    let text = block("README.md", "# syncline.toml").replace("[[connection]]", &format!("[[connection]]\n{webhook}"));
    let text = format!("{text}\n{receive}");
    let config = syncline::config::Config::parse("syncline.toml", &text, Path::new(""), &env, &files);
    let config = config.unwrap_or_else(|error| panic!("{error}"));
    let webhook = config.connections[0].webhook.as_ref().unwrap();
    assert_eq!(webhook.url(), "https://sync.example.com/webhooks/0123456789abcdef");
}
