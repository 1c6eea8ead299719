//! For tests: which keys the readers of a document ask for, in which of its tables. The
//! declared keys are compared with them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use toml::de::{DeTable, DeValue};

/// A key that was asked for: the way from the top to its table, and its name. Entries of
/// lists count from 0.
pub(crate) type Asked = BTreeSet<(Vec<String>, String)>;

#[derive(Default)]
struct Recorder {
    /// The way to each table of the document being read, by its address.
    ways: BTreeMap<usize, Vec<String>>,
    asked: Asked,
}

thread_local! {
    static RECORDER: RefCell<Option<Recorder>> = const { RefCell::new(None) };
}

/// The keys that are asked for while something is read, and what came of it.
pub(crate) fn recorded<T>(read: impl FnOnce() -> T) -> (T, Asked) {
    RECORDER.set(Some(Recorder::default()));
    let done = read();
    let recorder = RECORDER.take().expect("nothing else takes it");
    (done, recorder.asked)
}

/// A document is being read. Only the first counts: a configuration reads connector files
/// while it is read itself.
pub(super) fn top(entries: &DeTable<'_>) {
    RECORDER.with_borrow_mut(|recorder| {
        if let Some(recorder) = recorder
            && recorder.ways.is_empty()
        {
            walk(entries, &mut Vec::new(), &mut recorder.ways);
        }
    });
}

/// A key is asked for.
pub(super) fn key(entries: &DeTable<'_>, key: &str) {
    RECORDER.with_borrow_mut(|recorder| {
        if let Some(recorder) = recorder
            && let Some(way) = recorder.ways.get(&address(entries))
        {
            recorder.asked.insert((way.clone(), key.to_owned()));
        }
    });
}

fn address(entries: &DeTable<'_>) -> usize {
    std::ptr::from_ref(entries).addr()
}

fn walk(entries: &DeTable<'_>, way: &mut Vec<String>, ways: &mut BTreeMap<usize, Vec<String>>) {
    ways.insert(address(entries), way.clone());
    for (key, value) in entries {
        way.push(key.get_ref().to_string());
        walk_value(value.get_ref(), way, ways);
        way.pop();
    }
}

fn walk_value(value: &DeValue<'_>, way: &mut Vec<String>, ways: &mut BTreeMap<usize, Vec<String>>) {
    match value {
        DeValue::Table(entries) => walk(entries, way, ways),
        DeValue::Array(items) => {
            for (position, item) in items.iter().enumerate() {
                way.push(position.to_string());
                walk_value(item.get_ref(), way, ways);
                way.pop();
            }
        }
        DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {}
    }
}
