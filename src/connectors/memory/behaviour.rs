//! How the app behaves when nothing goes wrong, as data.

use crate::model::budget::Window;
use crate::model::path::Path;
use crate::model::value::{Number, Value};

/// How the app behaves when nothing goes wrong. The default is a well-behaved app:
/// pages of 100 in change order, exact cursors, tombstones, versions, whole bodies in
/// answers, no latency.
#[derive(Debug, Clone, PartialEq)]
pub struct Behaviour {
    /// Records on one page of a list; at least 1 is taken.
    pub page_size: usize,
    /// In which order a list comes.
    pub order: Order,
    /// How a list goes on after a page.
    pub paging: Paging,
    /// What its cursors are made of.
    pub cursors: Cursors,
    /// With [`Paging::Offset`] or an order other than [`Order::Changed`]: whether the
    /// connector notices that records shifted between two pages and says so
    /// ([`Page::drifted`](crate::model::record::Page::drifted)).
    pub notices_drift: bool,
    /// Whether `Changes` also yields what was deleted.
    pub tombstones: bool,
    /// Whether records carry a version.
    pub versions: bool,
    /// Whether records carry a modified time.
    pub modified: bool,
    /// Whether the answer to a write holds the whole record.
    pub returns_body: bool,
    /// Whether a create refused as a duplicate names the record it collides with.
    pub duplicate_names_id: bool,
    /// What ids it gives to new records.
    pub ids: IdStyle,
    /// What it does to every record before it stores it.
    pub normalise: Normalise,
    /// Least and most milliseconds that a call takes, drawn for each; half of it
    /// passes before the call takes effect.
    pub latency_ms: (u64, u64),
    /// How long a new or changed record stays unknown to `Find`, in milliseconds.
    pub index_lag_ms: u64,
    /// The app's own limit: a call beyond it is answered with 429.
    pub rate_limit: Option<Window>,
    /// Whether that 429 says when to come back.
    pub limit_says_when: bool,
    /// How far the app's clock is ahead of the test's, in milliseconds; behind where it
    /// is negative. Stamps and time cursors follow the app's clock, latency does not.
    pub clock_skew_ms: i64,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            page_size: 100,
            order: Order::Changed,
            paging: Paging::Keyset,
            cursors: Cursors::Sequence,
            notices_drift: true,
            tombstones: true,
            versions: true,
            modified: true,
            returns_body: true,
            duplicate_names_id: true,
            ids: IdStyle::Numbers,
            normalise: Normalise::default(),
            latency_ms: (0, 0),
            index_lag_ms: 0,
            rate_limit: None,
            limit_says_when: true,
            clock_skew_ms: 0,
        }
    }
}

/// In which order a list comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The record whose change lies longest back first. The only order with a cursor
    /// on every page.
    Changed,
    /// By id.
    Id,
    /// Another order for every read. The cursor comes with the last page and is the
    /// position at which the read began, so what a truncated list leaves out is missed
    /// until it changes again.
    Shuffled,
}

/// How a list goes on after a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paging {
    /// After the last record of the page before. Nothing shifts.
    Keyset,
    /// After so many records. A record that moves or goes between two pages makes
    /// another one slip through.
    Offset,
}

/// What a cursor is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cursors {
    /// The number of a change. Exact; stays behind changes that are not visible yet.
    Sequence,
    /// A modified time, as most apps offer.
    Time {
        /// Modified times are rounded down to this many milliseconds; at least 1.
        granularity_ms: u64,
        /// `>=` or `>`. With `>` a record that shares its stamp with the newest one
        /// seen is lost: an app to test the tests with.
        inclusive: bool,
        /// How far behind its cursor a read begins, in milliseconds; must reach back
        /// as far as a change can stay invisible.
        lookback_ms: u64,
    },
}

/// What ids the app gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdStyle {
    /// `1`, `2`, …
    Numbers,
    /// Slashes, dots, spaces, percent signs, letters beyond ASCII, numbers beyond 2^53.
    Odd,
}

/// What the app does to every record before it stores it, also to edits from outside.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Normalise {
    /// Takes white space off both ends of every text, at any depth.
    pub trim: bool,
    /// Turns the text at these paths into lower case.
    pub lowercase: Vec<Path>,
    /// Drops every top-level key but these.
    pub keep_only: Option<Vec<String>>,
    /// Drops every top-level key whose value is null.
    pub drop_nulls: bool,
    /// Sets these where they are absent.
    pub defaults: Vec<(Path, Value)>,
    /// Keeps only the digits of the texts at these paths, and a leading plus.
    pub phone: Vec<Path>,
    /// Rounds the numbers at these paths to so many decimals.
    pub decimals: Vec<(Path, usize)>,
    /// Drops the text at these paths unless it is one of these.
    pub known_values: Vec<(Path, Vec<String>)>,
    /// Writes through connectors leave these as they are; edits from outside, which
    /// stand for the app itself, may change them.
    pub read_only: Vec<Path>,
    /// Sets these by itself, whatever it is given.
    pub computed: Vec<(Path, Computed)>,
}

/// What the app makes a field of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Computed {
    /// The texts at these paths with spaces between; absent without any.
    Joined(Vec<Path>),
    /// The number of the record's last change: another one after every write.
    Revision,
}

impl Normalise {
    /// What the app makes of what it is given.
    pub(super) fn apply(&self, mut value: Value) -> Value {
        let Normalise {
            trim,
            lowercase,
            keep_only,
            drop_nulls,
            defaults,
            phone,
            decimals,
            known_values,
            // These need more than the value.
            read_only: _,
            computed: _,
        } = self;
        if *trim {
            trim_texts(&mut value);
        }
        for path in lowercase {
            replace_text(&mut value, path, |text| Some(text.to_lowercase()));
        }
        for path in phone {
            replace_text(&mut value, path, |text| Some(phone_digits(text)));
        }
        for (path, known) in known_values {
            replace_text(&mut value, path, |text| known.iter().any(|one| one == text).then(|| text.to_owned()));
        }
        for (path, decimals) in decimals {
            round(&mut value, path, *decimals);
        }
        if let Value::Object(entries) = &mut value {
            entries.retain(|(key, entry)| {
                keep_only.as_ref().is_none_or(|keys| keys.contains(key)) && !(*drop_nulls && *entry == Value::Null)
            });
        }
        for (path, default) in defaults {
            if value.get(path).is_none() {
                value.set(path, default.clone());
            }
        }
        value
    }

    /// What a write through a connector would leave in the fields it cannot write.
    pub(super) fn keep_read_only(&self, mut value: Value, stored: Option<&Value>) -> Value {
        for path in &self.read_only {
            match stored.and_then(|stored| stored.get(path)) {
                Some(kept) => value.set(path, kept.clone()),
                None => value.remove(path),
            }
        }
        value
    }

    /// Sets what the app computes, as of a change.
    pub(super) fn compute(&self, mut value: Value, change: u64) -> Value {
        for (path, computed) in &self.computed {
            match computed.of(&value, change) {
                Some(new) => value.set(path, new),
                None => value.remove(path),
            }
        }
        value
    }
}

impl Computed {
    fn of(&self, value: &Value, change: u64) -> Option<Value> {
        match self {
            Computed::Joined(paths) => {
                let texts: Vec<&str> = paths.iter().filter_map(|path| value.get(path)?.as_str()).collect();
                (!texts.is_empty()).then(|| Value::string(texts.join(" ")))
            }
            Computed::Revision => Some(Value::Number(i64::try_from(change).unwrap_or(i64::MAX).into())),
        }
    }
}

/// Replaces the text at a path, or takes it away.
fn replace_text(value: &mut Value, path: &Path, new: impl FnOnce(&str) -> Option<String>) {
    let Some(Value::String(text)) = value.get(path) else { return };
    match new(text) {
        Some(text) => value.set(path, Value::String(text)),
        None => value.remove(path),
    }
}

fn phone_digits(text: &str) -> String {
    let plus = if text.trim_start().starts_with('+') { "+" } else { "" };
    let digits = text.chars().filter(char::is_ascii_digit);
    plus.chars().chain(digits).collect()
}

fn round(value: &mut Value, path: &Path, decimals: usize) {
    let Some(Value::Number(number)) = value.get(path) else { return };
    let rounded = number.as_str().parse::<f64>().ok().map(|number| format!("{number:.decimals$}"));
    if let Some(Ok(rounded)) = rounded.map(|text| Number::parse(&text)) {
        value.set(path, Value::Number(rounded));
    }
}

fn trim_texts(value: &mut Value) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
        Value::String(text) => *text = text.trim().to_owned(),
        Value::Array(items) => items.iter_mut().for_each(trim_texts),
        Value::Object(entries) => entries.iter_mut().for_each(|(_, entry)| trim_texts(entry)),
    }
}

/// The `n`th id of a style; no two are the same.
pub(super) fn new_id(style: IdStyle, n: u64) -> String {
    match style {
        IdStyle::Numbers => n.to_string(),
        IdStyle::Odd => match n % 7 {
            0 => format!("a/b/{n}"),
            1 => format!("..{n}"),
            2 => format!("{n}.."),
            3 => format!(" with spaces {n} "),
            4 => format!("90071992547409{n:04}"),
            5 => format!("%2F?q={n}&x#y"),
            _ => format!("Zoë-{n}-漢"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalising_does_each_thing_asked_and_is_stable() {
        let normalise = Normalise {
            trim: true,
            lowercase: vec![Path::key("email")],
            keep_only: Some(vec!["email".into(), "tags".into(), "note".into()]),
            drop_nulls: true,
            defaults: vec![(Path::key("plan"), Value::string("free"))],
            ..Normalise::default()
        };
        let given = Value::from_json(r#"{"email":" A@B.c ","tags":[" x "],"note":null,"junk":1}"#).unwrap();
        let stored = normalise.apply(given);
        assert_eq!(stored.to_json(), r#"{"email":"a@b.c","tags":["x"],"plan":"free"}"#);
        let Value::Object(entries) = normalise.apply(stored.clone()) else { panic!("not an object") };
        assert!(entries.iter().any(|(key, value)| key == "email" && value.as_str() == Some("a@b.c")));
    }

    #[test]
    fn phones_decimals_and_unknown_values_are_put_in_the_apps_form() {
        let normalise = Normalise {
            phone: vec![Path::key("phone")],
            decimals: vec![(Path::key("price"), 2)],
            known_values: vec![(Path::key("plan"), vec!["free".into(), "pro".into()])],
            ..Normalise::default()
        };
        for (given, want) in [
            (r#"{"phone":" +49 (0)89/12-3","price":1.005}"#, r#"{"phone":"+49089123","price":1.00}"#),
            (r#"{"phone":null,"price":"x","plan":"pro"}"#, r#"{"phone":null,"price":"x","plan":"pro"}"#),
            (r#"{"plan":"gold","price":10}"#, r#"{"price":10.00}"#),
        ] {
            let stored = normalise.apply(Value::from_json(given).unwrap());
            assert_eq!(stored.to_json(), want);
            assert_eq!(normalise.apply(stored.clone()), stored, "it is stable");
        }
    }

    #[test]
    fn the_app_keeps_what_is_its_own() {
        let normalise = Normalise {
            read_only: vec![Path::key("score")],
            computed: vec![
                (Path::key("full"), Computed::Joined(vec![Path::key("first"), Path::key("last")])),
                (Path::key("rev"), Computed::Revision),
            ],
            ..Normalise::default()
        };
        let value = |text: &str| Value::from_json(text).unwrap();
        let stored = value(r#"{"score":7}"#);
        let given = value(r#"{"first":"A","last":"B","score":1,"full":"x"}"#);
        let kept = normalise.keep_read_only(given.clone(), Some(&stored));
        assert_eq!(kept.get(&Path::key("score")), Some(&value("7")));
        assert_eq!(normalise.keep_read_only(given, None).get(&Path::key("score")), None);
        let computed = normalise.compute(kept, 12);
        assert_eq!(computed.get(&Path::key("full")), Some(&Value::string("A B")));
        assert_eq!(computed.get(&Path::key("rev")), Some(&value("12")));
        assert_eq!(normalise.compute(value(r#"{"full":"x"}"#), 1).get(&Path::key("full")), None);
    }

    #[test]
    fn ids_are_all_different() {
        for style in [IdStyle::Numbers, IdStyle::Odd] {
            let ids: std::collections::BTreeSet<String> = (0..2_000).map(|n| new_id(style, n)).collect();
            assert_eq!(ids.len(), 2_000, "{style:?}");
        }
    }
}
