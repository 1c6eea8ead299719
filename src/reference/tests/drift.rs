//! Danger: a key that is read and not declared, or declared and not read.

use std::collections::BTreeSet;

use toml::Value;

use super::example::{Place, document, holding, places, read, value};
use crate::model::document::asked;
use crate::reference::FileKind;
use crate::reference::key::{Default, Group, Holds, Key};

/// The documents that, together, reach all of a reader: one for each key, and one for each
/// word of those that hold words.
pub(super) fn documents(kind: FileKind) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for place in places(kind) {
        all.push((place.name(), document(kind, &place).text()));
        for word in words(place.key) {
            let held = holding(kind, &place, Value::String((*word).to_owned()));
            all.push((format!("{} = {word:?}", place.name()), held.text()));
        }
    }
    all
}

fn words(key: &Key) -> &'static [&'static str] {
    match key.holds {
        Holds::Words(words) => words,
        Holds::Either(kinds) => kinds
            .iter()
            .find_map(|kind| if let Holds::Words(words) = kind { Some(*words) } else { None })
            .unwrap_or_default(),
        _ => &[],
    }
}

/// The groups that describe the table at a way; none where its names are free.
fn groups_at(group: &'static Group, way: &[String]) -> Vec<&'static Group> {
    match way.split_first() {
        None => vec![group],
        Some((step, rest)) => group.key(step).map(|key| groups_in(&key.holds, rest)).unwrap_or_default(),
    }
}

fn groups_in(holds: &Holds, way: &[String]) -> Vec<&'static Group> {
    match (holds, way.split_first()) {
        (Holds::Table(group), _) => groups_at(group, way),
        (Holds::List(of) | Holds::Named(_, of), Some((_, rest))) => groups_in(of, rest),
        (Holds::Either(kinds), _) => kinds.iter().flat_map(|kind| groups_in(kind, way)).collect(),
        _ => Vec::new(),
    }
}

fn num_groups(holds: &Holds) -> usize {
    match holds {
        Holds::Table(_) => 1,
        Holds::List(of) | Holds::Named(_, of) => num_groups(of),
        Holds::Either(kinds) => kinds.iter().map(num_groups).sum(),
        _ => 0,
    }
}

fn id(group: &Group, key: &str) -> (usize, String) {
    (std::ptr::from_ref(group).addr(), key.to_owned())
}

/// What is wrong with the declared keys of a file, as sentences.
fn drift(kind: FileKind) -> BTreeSet<String> {
    let (mut told, mut asked_for) = (BTreeSet::new(), BTreeSet::new());
    for (_, text) in documents(kind) {
        let (_, asked) = asked::recorded(|| read(kind, &text));
        for (way, key) in asked {
            let groups = groups_at(kind.top(), &way);
            if groups.is_empty() || groups.iter().any(|group| group.key(&key).is_some()) {
                asked_for.extend(groups.iter().map(|group| id(group, &key)));
                continue;
            }
            let (list, file) = groups[0].declared_in;
            told.insert(format!(
                "'{key}' is read in {} and not declared. Add an entry to {list} in {file}, such as\n    \
                 text(\"{key}\", \"what it means\").example(\"\\\"value\\\"\"),\nand see key.rs beside it for the other kinds.",
                groups[0].heading
            ));
        }
    }
    for Place { group, key, .. } in places(kind) {
        if !asked_for.contains(&id(group, key.name)) {
            let (list, file) = group.declared_in;
            told.insert(format!(
                "'{}' is declared for {} ({list} in {file}), and nothing reads it. Read it, take the entry away, or say \
                 with only(…) or with(…) beside what it is read.",
                key.name, group.heading
            ));
        }
    }
    told
}

#[track_caller]
fn assert_none(told: BTreeSet<String>) {
    let told: Vec<String> = told.into_iter().collect();
    assert!(
        told.is_empty(),
        "\n\n{}\n\nThen write the documents anew: {}\n",
        told.join("\n\n"),
        super::current::COMMAND
    );
}

#[test]
fn the_configuration_reads_what_is_declared_and_nothing_else() {
    assert_none(drift(FileKind::Config));
}

#[test]
fn a_connector_file_reads_what_is_declared_and_nothing_else() {
    assert_none(drift(FileKind::Connector));
}

#[test]
fn every_example_is_good() {
    let mut wrong = Vec::new();
    for kind in FileKind::ALL {
        for (name, text) in documents(kind) {
            // A text in place of a table cannot say all that such a recovery needs.
            let needs_more = ["idempotency_key", "external_id", "client_id"];
            if needs_more.iter().any(|word| name.ends_with(&format!("create.recovery = {word:?}"))) {
                continue;
            }
            if let Err(lines) = read(kind, &text) {
                wrong.push(format!("{name}: {lines:#?}\n{text}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} examples\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_default_is_what_stands_for_the_key() {
    let mut compared = 0;
    for kind in FileKind::ALL {
        for place in places(kind) {
            // The kernel's own default, which a configuration leaves to it.
            let Default::Value(default) = place.key.default else { continue };
            if place.name() == "late_after" {
                assert_eq!(default, "\"15m\"");
                continue;
            }
            let mut document = holding(kind, &place, value(default));
            let said = read(kind, &document.text());
            document.table_mut().remove(place.key.name);
            let unsaid = read(kind, &document.text());
            assert_eq!(said, unsaid, "{} = {default}, said and unsaid", place.name());
            assert!(said.is_ok(), "{}: {said:?}", place.name());
            compared += 1;
        }
    }
    assert!(compared > 40, "{compared} defaults were compared");
}

#[test]
fn every_key_has_an_example_and_a_sentence() {
    for kind in FileKind::ALL {
        for place in places(kind) {
            assert!(!place.key.example.is_empty(), "{}: add .example(…)", place.name());
            assert!(!place.key.about.is_empty() && !place.key.about.ends_with('.'), "{}", place.name());
            assert!(num_groups(&place.key.holds) <= 1, "{}: the tests reach one table of a key only", place.name());
            let names: Vec<&str> = place.group.keys().map(|key| key.name).collect();
            assert_eq!(
                names.iter().filter(|name| **name == place.key.name).count(),
                1,
                "{} is declared twice",
                place.name()
            );
        }
    }
}
