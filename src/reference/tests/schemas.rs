//! Danger: a schema that marks a good file as wrong, or says nothing of a bad one.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use toml::Value;

use super::drift::documents;
use super::mistakes;
use super::validator::validate;
use crate::reference::FileKind;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// TOML as a schema sees it: a date is a text.
fn json(value: &Value) -> Json {
    match value {
        Value::String(text) => text.as_str().into(),
        Value::Integer(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::Boolean(value) => (*value).into(),
        Value::Datetime(date) => date.to_string().into(),
        Value::Array(items) => items.iter().map(json).collect(),
        Value::Table(table) => {
            table.iter().map(|(key, value)| (key.clone(), json(value))).collect::<serde_json::Map<_, _>>().into()
        }
    }
}

fn wrong(schema: &Json, text: &str) -> Vec<String> {
    validate(schema, &json(&Value::Table(toml::from_str(text).unwrap())))
}

/// The connector files and configurations of this repository.
fn files() -> Vec<(FileKind, PathBuf)> {
    let folders =
        ["fixtures/connectors", "fixtures/config", "fixtures/config/connectors", "fixtures/demo", "tests/real"];
    let entries = folders.iter().flat_map(|folder| fs::read_dir(root().join(folder)).unwrap());
    let paths =
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|end| end == "toml"));
    paths.filter_map(|path| Some((kind_of(&fs::read_to_string(&path).unwrap())?, path))).collect()
}

/// The kind of a whole file; `None` for a part of one.
fn kind_of(text: &str) -> Option<FileKind> {
    if text.contains("[[connection]]") && text.contains("[[sync]]") {
        return Some(FileKind::Config);
    }
    text.contains("[object.").then_some(FileKind::Connector)
}

/// The TOML blocks of a document that are whole files.
fn blocks(document: &str) -> Vec<(FileKind, String)> {
    let text = fs::read_to_string(root().join(document)).unwrap();
    let blocks = text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.filter_map(|block| Some((kind_of(block)?, block.to_owned()))).collect()
}

#[test]
fn every_file_of_the_repository_is_good() {
    let mut checked = 0;
    for (kind, path) in files() {
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(wrong(&kind.schema(), &text), Vec::<String>::new(), "{}", path.display());
        checked += 1;
    }
    assert!(checked >= 8, "the files were found: {checked}");
}

#[test]
fn every_file_of_the_documents_is_good() {
    let mut checked = 0;
    for document in ["README.md", "docs/tutorial.md"] {
        for (kind, text) in blocks(document) {
            let marked = wrong(&kind.schema(), &text);
            // The tutorial shows how a mistake is told.
            let wanted: &[&str] =
                if text.contains("recods") { &["/object/contacts/list/recods: nothing may stand here"] } else { &[] };
            assert_eq!(marked, wanted, "{document}: {text}");
            checked += 1;
        }
    }
    assert!(checked >= 4, "the files were found: {checked}");
}

#[test]
fn every_example_is_good() {
    for kind in FileKind::ALL {
        let schema = kind.schema();
        for (name, text) in documents(kind) {
            assert_eq!(wrong(&schema, &text), Vec::<String>::new(), "{name}:\n{text}");
        }
    }
}

#[test]
fn every_mistake_is_marked() {
    for kind in FileKind::ALL {
        let schema = kind.schema();
        let all: Vec<_> = mistakes::all(kind).into_iter().filter(|mistake| mistake.in_schema).collect();
        let passed: Vec<&str> = all
            .iter()
            .filter(|mistake| wrong(&schema, &mistake.text).is_empty())
            .map(|mistake| mistake.what.as_str())
            .collect();
        assert!(passed.is_empty(), "{} of {}: {passed:#?}", passed.len(), all.len());
    }
}
