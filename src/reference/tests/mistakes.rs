//! Mistakes, made with every declared key.

use std::ops::Range;

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::example::{Document, Place, document, holding, places, table_of, value};
use crate::model::document::nearest;
use crate::reference::FileKind;
use crate::reference::key::{Holds, Key, Need, When};

/// A document with one mistake.
pub(super) struct Mistake {
    pub kind: FileKind,
    pub what: String,
    pub text: String,
    /// Where it has to be told, in bytes; `None` for anywhere.
    pub span: Option<Range<usize>>,
    /// All of these have to be told there.
    pub told: Vec<String>,
    /// And one of these.
    pub told_one_of: Vec<String>,
    /// The key that has to be named.
    pub named: Option<&'static str>,
    /// The words that are chosen from.
    pub choices: Option<Vec<String>>,
    /// Whether a schema can know.
    pub in_schema: bool,
    /// What to do where it is told otherwise.
    pub hint: String,
}

/// The places of a key and of its value.
fn find(text: &str, way: &[String], key: &str) -> (Range<usize>, Range<usize>) {
    let document = DeTable::parse(text).unwrap();
    let mut table: &DeTable<'_> = document.get_ref();
    let mut steps = way.iter();
    while let Some(step) = steps.next() {
        let mut value: &Spanned<DeValue<'_>> = &table[step.as_str()];
        while let DeValue::Array(items) = value.get_ref() {
            steps.next();
            value = &items[0];
        }
        table = value.get_ref().as_table().unwrap();
    }
    let (name, value) = table.get_key_value(key).unwrap();
    (name.span(), value.span())
}

fn mistake(kind: FileKind, what: String, document: &Document) -> Mistake {
    Mistake {
        kind,
        what,
        text: document.text(),
        span: None,
        told: Vec::new(),
        told_one_of: Vec::new(),
        named: None,
        choices: None,
        hint: String::new(),
        in_schema: true,
    }
}

/// The name with one letter dropped or two swapped, so that it is next to this one among
/// the known ones.
fn misspelled(name: &str, known: &[&str]) -> Vec<String> {
    let chars: Vec<char> = name.chars().collect();
    let dropped = (0..chars.len()).rev().map(|at| {
        let mut chars = chars.clone();
        chars.remove(at);
        chars.into_iter().collect::<String>()
    });
    let swapped = (1..chars.len()).rev().map(|at| {
        let mut chars = chars.clone();
        chars.swap(at - 1, at);
        chars.into_iter().collect::<String>()
    });
    let fits = |word: &String| {
        !word.is_empty() && !known.contains(&word.as_str()) && nearest(word, known.iter().copied()) == Some(name)
    };
    dropped.filter(fits).take(1).chain(swapped.filter(fits).take(1)).collect()
}

fn misspelled_keys(kind: FileKind, place: &Place) -> Vec<Mistake> {
    let name = place.key.name;
    let known: Vec<&str> = place.group.keys().map(|key| key.name).collect();
    let words = misspelled(name, &known);
    assert!(!words.is_empty(), "{name} can be misspelled");
    let made = words.into_iter().map(|word| {
        let mut document = document(kind, place);
        let value = document.table_mut().remove(name).unwrap();
        document.table_mut().insert(word.clone(), value);
        let (span, _) = find(&document.text(), &document.table, &word);
        Mistake {
            span: Some(span),
            told: vec![format!("unknown key '{word}'"), format!("did you mean '{name}'?")],
            ..mistake(kind, format!("{} misspelled as {word}", place.name()), &document)
        }
    });
    made.collect()
}

/// What kinds of TOML values are taken.
fn takes(holds: &Holds, value: &Value) -> bool {
    match (holds, value) {
        (Holds::Any, _)
        | (Holds::Whole(..) | Holds::Number, Value::Integer(_))
        | (Holds::Number, Value::Float(_))
        | (Holds::Boolean, Value::Boolean(_))
        | (Holds::List(_), Value::Array(_))
        | (Holds::Table(_) | Holds::Named(..), Value::Table(_)) => true,
        (
            Holds::Text
            | Holds::Path
            | Holds::Endpoint
            | Holds::Header
            | Holds::Character
            | Holds::Duration
            | Holds::Words(_),
            Value::String(_),
        ) => true,
        (Holds::Either(kinds), value) => kinds.iter().any(|kind| takes(kind, value)),
        _ => false,
    }
}

/// How a message names what is wanted.
fn wanted(holds: &Holds) -> Vec<String> {
    let words: &[&str] = match holds {
        Holds::Text | Holds::Path | Holds::Endpoint | Holds::Header | Holds::Character | Holds::Words(_) => &["a text"],
        Holds::Duration => &["a text", "a duration"],
        Holds::Whole(..) => &["a whole number", "HTTP statuses"],
        Holds::Number => &["a number"],
        Holds::Boolean => &["true", "one value"],
        Holds::Any => &[],
        Holds::List(of) if matches!(**of, Holds::Table(_)) => &["a list", "a table"],
        Holds::List(_) => &["a list", "HTTP statuses"],
        Holds::Table(_) | Holds::Named(..) => &["a table"],
        Holds::Either(kinds) => return kinds.iter().flat_map(wanted).collect(),
    };
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn some_values() -> [Value; 6] {
    [
        Value::Integer(7),
        Value::Float(1.5),
        Value::String("x y".to_owned()),
        Value::Boolean(true),
        Value::Array(vec![Value::Array(Vec::new())]),
        Value::Table(Table::from_iter([("q".to_owned(), Value::Array(Vec::new()))])),
    ]
}

fn wrong_kinds(kind: FileKind, place: &Place) -> Vec<Mistake> {
    let mut made = Vec::new();
    for value in some_values().into_iter().filter(|value| !takes(&place.key.holds, value)) {
        let what = format!("{} = {value}", place.name());
        made.push(Mistake {
            told: vec![place.key.name.to_owned()],
            told_one_of: wanted(&place.key.holds),
            ..at_value(kind, place, what, value)
        });
    }
    let kinds = inner(&place.key.holds);
    if kinds.iter().any(|kind| matches!(kind, Holds::Any | Holds::Number)) {
        let what = format!("{} = nan", place.name());
        let told_one_of =
            vec!["a number JSON can say".to_owned(), "a number, not float".to_owned(), "or a boolean".to_owned()];
        let mistake = at_value(kind, place, what, Value::Float(f64::NAN));
        made.push(Mistake { told_one_of, in_schema: false, ..mistake });
    }
    for holds in kinds {
        let (of, wrap): (&Holds, fn(Value) -> Value) = match holds {
            Holds::List(of) => (of, |value| Value::Array(vec![value])),
            Holds::Named(_, of) => (of, |value| Value::Table(Table::from_iter([("contacts".to_owned(), value)]))),
            _ => continue,
        };
        for value in some_values().into_iter().filter(|value| !takes(of, value)).map(wrap) {
            if takes_whole(&place.key.holds, &value) {
                continue;
            }
            let what = format!("{} = {value}", place.name());
            let mut mistake = Mistake { told_one_of: wanted(of), ..at_value(kind, place, what, value) };
            if let Holds::Named(..) = holds {
                let way: Vec<String> = way(place).into_iter().chain([place.key.name.to_owned()]).collect();
                mistake.span = Some(find(&mistake.text, &way, "contacts").1);
            }
            made.push(mistake);
        }
    }
    made
}

/// Whether another kind that may stand there takes all of the value.
fn takes_whole(holds: &Holds, value: &Value) -> bool {
    match holds {
        Holds::Either(kinds) => kinds.iter().any(|kind| takes_whole(kind, value)),
        Holds::List(of) => value.as_array().is_some_and(|items| items.iter().all(|item| takes_whole(of, item))),
        Holds::Named(_, of) => {
            value.as_table().is_some_and(|table| table.iter().all(|(_, item)| takes_whole(of, item)))
        }
        other => takes(other, value),
    }
}

/// The kinds one by one, where there are several.
fn inner(holds: &'static Holds) -> Vec<&'static Holds> {
    match holds {
        Holds::Either(kinds) => kinds.iter().collect(),
        one => vec![one],
    }
}

/// The way to the table that holds a key.
fn way(place: &Place) -> Vec<String> {
    let step = |(_, key): &(_, &'static Key)| {
        let (_, steps) = table_of(&key.holds).unwrap();
        std::iter::once(key.name.to_owned()).chain(steps).collect::<Vec<_>>()
    };
    place.above.iter().flat_map(step).collect()
}

fn at_value(kind: FileKind, place: &Place, what: String, value: Value) -> Mistake {
    let document = holding(kind, place, value);
    let (_, span) = find(&document.text(), &document.table, place.key.name);
    Mistake { span: Some(span), ..mistake(kind, what, &document) }
}

fn missing(kind: FileKind, place: &Place) -> Vec<Mistake> {
    let name = place.key.name;
    let without = |mut document: Document, why: &str| {
        document.table_mut().remove(name);
        let named = Some(name);
        Mistake { named, ..mistake(kind, format!("{} is missing{why}", place.name()), &document) }
    };
    match place.key.need {
        Need::No if place.group.one_of.contains(&name) => {
            // Whether the object has a path is not for the schema to know.
            let in_schema = !place.group.brought;
            vec![Mistake { in_schema, ..without(document(kind, place), "") }]
        }
        Need::No => Vec::new(),
        Need::Always => vec![without(document(kind, place), "")],
        Need::When(When::Beside(other)) => vec![without(document(kind, place), &format!(" beside {other}"))],
        Need::When(When::Is(other, words)) => {
            let sibling = Place { key: place.group.key(other).unwrap(), ..place.clone() };
            let with = |word: &&'static str| {
                let document = holding(kind, &sibling, Value::String((*word).to_owned()));
                without(document, &format!(" with {other} = {word}"))
            };
            words.iter().map(with).collect()
        }
    }
}

/// Values of the right kind that are out of range, and what is told of them.
fn out_of_range(holds: &'static Holds) -> Vec<(Value, &'static str, bool)> {
    let text = |text: &str| Value::String(text.to_owned());
    match holds {
        Holds::Duration => vec![(text("5 fortnights"), "500ms", true), (text("-5s"), "500ms", true)],
        Holds::Path => vec![(text("a..b"), "is not a path", false)],
        Holds::Endpoint => vec![(text("contacts"), "begins with '/'", true)],
        Holds::Header => vec![(text("a b"), "header", true)],
        Holds::Character => vec![(text("ab"), "one character", true)],
        Holds::Whole(200, 599) => {
            vec![(Value::Integer(99), "HTTP statuses", true), (Value::Integer(600), "HTTP statuses", true)]
        }
        Holds::Whole(least, most) => {
            let below = (Value::Integer(least - 1), if *least == 0 { "" } else { "from" }, true);
            let above = most.checked_add(1).map(|above| (Value::Integer(above), "from", true));
            std::iter::once(below).chain(above).collect()
        }
        Holds::List(of) => {
            out_of_range(of).into_iter().map(|(value, told, known)| (Value::Array(vec![value]), told, known)).collect()
        }
        _ => Vec::new(),
    }
}

fn values_out_of_range(kind: FileKind, place: &Place) -> Vec<Mistake> {
    let mut made = Vec::new();
    let kinds = inner(&place.key.holds);
    // A length is a duration or a number, by the unit of its cursor.
    for (value, told, in_schema) in kinds.iter().flat_map(|holds| out_of_range(holds)) {
        let is_length = kinds.len() > 1 && matches!(kinds[0], Holds::Duration);
        let what = format!("{} = {value}", place.name());
        let told = if is_length { "is not a length" } else { told };
        made.push(Mistake { told: vec![told.to_owned()], in_schema, ..at_value(kind, place, what, value) });
    }
    made
}

/// The value that is declared to be refused.
fn declared_wrong(kind: FileKind, place: &Place) -> Vec<Mistake> {
    if place.key.wrong.is_empty() {
        return Vec::new();
    }
    let what = format!("{} = {}", place.name(), place.key.wrong);
    let mistake = at_value(kind, place, what, value(place.key.wrong));
    // Either the key is named, or the value is shown.
    let shown = place.key.wrong.split('"').nth(1).filter(|shown| !shown.is_empty());
    let told_one_of = [Some(format!("'{}'", place.key.name)), shown.map(str::to_owned)].into_iter().flatten().collect();
    vec![Mistake { told_one_of, in_schema: false, ..mistake }]
}

/// The words that a key takes as a text; a table in its place may take more.
fn choices(key: &Key) -> Option<&'static [&'static str]> {
    match key.holds {
        Holds::Words(words) => Some(words),
        Holds::Either(kinds) => {
            kinds.iter().find_map(|kind| if let Holds::Words(words) = kind { Some(*words) } else { None })
        }
        _ => None,
    }
}

fn unknown_words(kind: FileKind, place: &Place) -> Vec<Mistake> {
    let Some(words) = choices(place.key) else { return Vec::new() };
    let text = |text: &str| Value::String(text.to_owned());
    let strange = "quite-another-word";
    // Where a table may stand in place of the text, its words are told too.
    let of_table = table_of(&place.key.holds).and_then(|(group, _)| choices(group.key("kind")?));
    let mut told: Vec<String> =
        words.iter().chain(of_table.unwrap_or_default()).map(|word| (*word).to_owned()).collect();
    told.sort_unstable();
    told.dedup();
    let (list, file) = place.group.declared_in;
    let name = place.key.name;
    let mut made = vec![Mistake {
        choices: Some(told),
        hint: format!("A word that '{name}' takes is declared with it in {list} in {file}, no more and no less."),
        ..at_value(kind, place, format!("{} = {strange:?}", place.name()), text(strange))
    }];
    for word in words {
        for wrong in misspelled(word, words) {
            let what = format!("{} = {wrong:?}", place.name());
            let told = vec![format!("did you mean '{word}'?")];
            made.push(Mistake { told, ..at_value(kind, place, what, text(&wrong)) });
        }
    }
    made
}

/// A key where it does not go: with another word, or beside a key that excludes it.
fn out_of_place(kind: FileKind, place: &Place) -> Vec<Mistake> {
    let name = place.key.name;
    let mut made = Vec::new();
    let mut add = |mut document: Document, what: String| {
        document.table_mut().insert(name.to_owned(), value(place.key.example));
        made.push(Mistake { named: Some(name), ..mistake(kind, what, &document) });
    };
    match place.key.only {
        Some(When::Is(other, words)) => {
            let sibling = Place { key: place.group.key(other).unwrap(), ..place.clone() };
            let all = choices(sibling.key).unwrap();
            for word in all.iter().filter(|word| !words.contains(word)) {
                let document = holding(kind, &sibling, Value::String((*word).to_owned()));
                add(document, format!("{} with {other} = {word}", place.name()));
            }
        }
        Some(When::Beside(other)) if place.group.one_of.contains(&other) => {
            for instead in place.group.one_of.iter().filter(|instead| **instead != other) {
                let sibling = Place { key: place.group.key(instead).unwrap(), ..place.clone() };
                add(document(kind, &sibling), format!("{} with {instead} instead of {other}", place.name()));
            }
        }
        Some(When::Beside(other)) => {
            let mut without = document(kind, place);
            without.table_mut().remove(other);
            add(without, format!("{} without {other}", place.name()));
        }
        None => {}
    }
    let one_of: &[&str] = if place.group.one_of.contains(&name) { place.group.one_of } else { &[] };
    for other in place.key.without.iter().chain(one_of).filter(|other| **other != name) {
        let sibling = Place { key: place.group.key(other).unwrap(), ..place.clone() };
        add(document(kind, &sibling), format!("{} beside {other}", place.name()));
    }
    made
}

/// Every mistake with every key.
pub(super) fn all(kind: FileKind) -> Vec<Mistake> {
    let makers =
        [misspelled_keys, wrong_kinds, missing, values_out_of_range, declared_wrong, unknown_words, out_of_place];
    places(kind).iter().flat_map(|place| makers.iter().flat_map(|make| make(kind, place))).collect()
}
