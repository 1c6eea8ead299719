//! What answers mean that do not say it by their status alone: a limit told by a 403, an
//! error inside a success, a token of changes that has expired. Rules are looked at in their
//! order, the first that fits counts, and what no rule fits means what its status means.

use chrono::{DateTime, Utc};
use regex::Regex;
use serde_json::value::RawValue;

use crate::model::path::Path;

use super::call::{MAX_PAUSE_MS, Meaning, retry_after_ms};
use super::raw::{at, is_truthy, text_of};
use super::time;

/// One rule of a connector file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rule {
    pub class: Class,
    /// Any of these; none means any status at all.
    pub statuses: Vec<u16>,
    /// A header, which must be there.
    pub header: Option<String>,
    /// A path into the body, where something must stand that is not null, false or empty.
    pub path: Option<Path>,
    /// What header or path must say, if it is not to be anything.
    pub is: Vec<String>,
    /// What the body must match.
    pub pattern: Option<Pattern>,
    /// Where a limit says how long it lasts.
    pub wait: Option<Wait>,
    /// How long a limit lasts that does not say it, in milliseconds.
    pub pause_ms: Option<u64>,
    /// Where the name of the field stands that is wrong.
    pub field: Option<Path>,
}

/// What an answer comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Limited,
    Unauthorised,
    Missing,
    Changed,
    Duplicate,
    Invalid,
    Retry,
    Expired,
    ResetPage,
    Fail,
}

impl Class {
    /// All classes with their words.
    pub const ALL: [(&'static str, Class); 10] = [
        ("limited", Class::Limited),
        ("unauthorised", Class::Unauthorised),
        ("missing", Class::Missing),
        ("changed", Class::Changed),
        ("duplicate", Class::Duplicate),
        ("invalid", Class::Invalid),
        ("retry", Class::Retry),
        ("expired", Class::Expired),
        ("reset_page", Class::ResetPage),
        ("fail", Class::Fail),
    ];
}

/// A regular expression; two are the same if they are written alike.
#[derive(Debug, Clone)]
pub(super) struct Pattern(pub Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

/// Where an answer says how long to wait, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wait {
    pub place: WaitPlace,
    pub unit: WaitUnit,
}

/// Where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum WaitPlace {
    Header(String),
    Path(Path),
}

/// What it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WaitUnit {
    /// Seconds from now, or the date of an HTTP header.
    Seconds,
    /// Milliseconds from now.
    Millis,
    /// The time to come back, in seconds since 1970.
    Epoch,
    /// The time to come back, in milliseconds since 1970.
    EpochMillis,
    /// The time to come back, as ISO 8601 text.
    Iso,
}

impl WaitUnit {
    /// All units with their words.
    pub const ALL: [(&'static str, WaitUnit); 5] = [
        ("s", WaitUnit::Seconds),
        ("ms", WaitUnit::Millis),
        ("epoch", WaitUnit::Epoch),
        ("epoch_ms", WaitUnit::EpochMillis),
        ("iso", WaitUnit::Iso),
    ];

    /// The length of a pause in milliseconds, from nothing to a day.
    fn millis(self, text: &str, server_now: DateTime<Utc>) -> Option<u64> {
        let until = |time: DateTime<Utc>| {
            let millis = time.signed_duration_since(server_now).num_milliseconds();
            u64::try_from(millis).unwrap_or(0).min(MAX_PAUSE_MS)
        };
        match self {
            WaitUnit::Seconds => retry_after_ms(text, server_now),
            // A negative number saturates.
            WaitUnit::Millis => text.trim().parse::<f64>().ok().filter(|ms| !ms.is_nan()).map(|ms| ms.ceil() as u64),
            WaitUnit::Epoch => {
                time::parse_text(text, super::spec::Unit::Seconds, &time::Spelling::default()).map(until)
            }
            WaitUnit::EpochMillis | WaitUnit::Iso => {
                time::parse_text(text, super::spec::Unit::Millis, &time::Spelling::default()).map(until)
            }
        }
        .map(|millis| millis.min(MAX_PAUSE_MS))
    }
}

impl Wait {
    /// How long an answer asks to wait, in milliseconds.
    pub fn millis(&self, told: &Told<'_>) -> Option<u64> {
        let text = match &self.place {
            WaitPlace::Header(name) => (told.header)(name)?,
            WaitPlace::Path(path) => text_of(at(told.body?, Some(path)).ok()??)?,
        };
        self.unit.millis(&text, told.server_now)
    }
}

/// An answer, or one of a batch, as rules see it.
pub(super) struct Told<'a> {
    pub status: u16,
    pub header: &'a dyn Fn(&str) -> Option<String>,
    /// The body where it is JSON.
    pub body: Option<&'a RawValue>,
    /// The body as text.
    pub text: &'a str,
    pub server_now: DateTime<Utc>,
}

impl Rule {
    /// Whether an answer fits.
    pub fn fits(&self, told: &Told<'_>) -> bool {
        let says = |text: &str| self.is.is_empty() || self.is.iter().any(|is| is == text);
        let header = self.header.as_ref().is_none_or(|name| (told.header)(name).is_some_and(|text| says(text.trim())));
        (self.statuses.is_empty() || self.statuses.contains(&told.status))
            && header
            && self.path.as_ref().is_none_or(|path| self.body_says(path, told.body))
            && self.pattern.as_ref().is_none_or(|pattern| pattern.0.is_match(told.text))
    }

    fn body_says(&self, path: &Path, body: Option<&RawValue>) -> bool {
        let Some(found) = body.and_then(|body| at(body, Some(path)).ok().flatten()) else { return false };
        if self.is.is_empty() {
            return is_truthy(found);
        }
        let text = text_of(found).unwrap_or_else(|| found.get().to_owned());
        self.is.contains(&text)
    }

    /// What it says about the answer; `pause_ms` is how long a limit lasts that nothing tells
    /// the length of.
    pub fn meaning(&self, told: &Told<'_>, pause_ms: u64) -> Meaning {
        match self.class {
            Class::Limited => {
                let wait = self.wait.as_ref().and_then(|wait| wait.millis(told));
                let header = || (told.header)("retry-after").and_then(|text| retry_after_ms(&text, told.server_now));
                Meaning::Limited { millis: wait.or_else(header).or(self.pause_ms).unwrap_or(pause_ms) }
            }
            Class::Unauthorised => Meaning::Unauthorised,
            Class::Missing => Meaning::Missing,
            Class::Changed => Meaning::Changed,
            Class::Duplicate => Meaning::Duplicate,
            Class::Invalid => Meaning::Invalid,
            Class::Retry => Meaning::NotNow,
            Class::Expired => Meaning::Expired,
            Class::ResetPage => Meaning::BeginAnew,
            Class::Fail => Meaning::Wrong,
        }
    }

    /// The field that an answer says is wrong, as the side calls it.
    pub fn field(&self, body: Option<&RawValue>) -> Option<String> {
        let found = at(body?, Some(self.field.as_ref()?)).ok()??;
        text_of(found).map(|text| super::text::clip(&text)).filter(|text| !text.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told<'a>(
        status: u16,
        text: &'a str,
        body: Option<&'a RawValue>,
        header: &'a dyn Fn(&str) -> Option<String>,
    ) -> Told<'a> {
        let server_now = DateTime::parse_from_rfc3339("2026-11-23T08:59:49Z").unwrap().to_utc();
        Told { status, header, body, text, server_now }
    }

    fn rule(class: Class) -> Rule {
        Rule {
            class,
            statuses: Vec::new(),
            header: None,
            path: None,
            is: Vec::new(),
            pattern: None,
            wait: None,
            pause_ms: None,
            field: None,
        }
    }

    #[test]
    fn all_that_a_rule_names_must_hold() {
        let text = r#"{"error":{"code":"SLOW_DOWN","fields":"email","n":7,"none":[]}}"#;
        let body: &RawValue = serde_json::from_str(text).unwrap();
        let header = |name: &str| (name == "X-Reason").then(|| " quota ".to_owned());
        let path = |path: &str| Some(path.parse().unwrap());
        let pattern = |text: &str| Some(Pattern(Regex::new(text).unwrap()));
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let base = rule(Class::Limited);
        for (rule, want) in [
            (Rule { statuses: vec![403], ..base.clone() }, true),
            (Rule { statuses: vec![404, 409], ..base.clone() }, false),
            (Rule { path: path("error.code"), ..base.clone() }, true),
            (Rule { path: path("error.code"), is: texts(&["A", "SLOW_DOWN"]), ..base.clone() }, true),
            (Rule { path: path("error.code"), is: texts(&["slow_down"]), ..base.clone() }, false),
            (Rule { path: path("error.n"), is: texts(&["7"]), ..base.clone() }, true),
            (Rule { path: path("error.none"), ..base.clone() }, false),
            (Rule { path: path("errors"), ..base.clone() }, false),
            (Rule { header: Some("X-Reason".into()), ..base.clone() }, true),
            (Rule { header: Some("X-Reason".into()), is: texts(&["quota"]), ..base.clone() }, true),
            (Rule { header: Some("X-Other".into()), ..base.clone() }, false),
            (Rule { pattern: pattern("SLOW|FAST"), statuses: vec![403], ..base.clone() }, true),
            (Rule { pattern: pattern("^SLOW"), ..base.clone() }, false),
        ] {
            assert_eq!(rule.fits(&told(403, text, Some(body), &header)), want, "{rule:?}");
        }
        let named = Rule { field: path("error.fields"), ..rule(Class::Invalid) };
        assert_eq!(named.field(Some(body)).as_deref(), Some("email"));
    }

    #[test]
    fn how_long_a_limit_lasts() {
        let body: &RawValue = serde_json::from_str(r#"{"retry_in":1500}"#).unwrap();
        let header = |name: &str| match name {
            "X-Reset" => Some("1795424399".to_owned()),
            "X-Reset-Ms" => Some("1795424389500".to_owned()),
            "X-Iso" => Some("2026-11-23T09:00:49Z".to_owned()),
            "X-Wrong" => Some("soon".to_owned()),
            "X-Past" => Some("0".to_owned()),
            "retry-after" => Some("3".to_owned()),
            _ => None,
        };
        let header_place = |name: &str| WaitPlace::Header(name.to_owned());
        for (place, unit, want) in [
            (header_place("X-Reset"), WaitUnit::Epoch, 10_000),
            (header_place("X-Reset-Ms"), WaitUnit::EpochMillis, 500),
            (header_place("X-Iso"), WaitUnit::Iso, 60_000),
            (header_place("X-Past"), WaitUnit::Epoch, 0),
            (WaitPlace::Path(Path::key("retry_in")), WaitUnit::Millis, 1_500),
            // What cannot be understood leaves the usual header.
            (header_place("X-Wrong"), WaitUnit::Epoch, 3_000),
            (header_place("X-None"), WaitUnit::Seconds, 3_000),
        ] {
            let rule = Rule { wait: Some(Wait { place, unit }), ..rule(Class::Limited) };
            let meaning = rule.meaning(&told(403, "", Some(body), &header), 5_000);
            assert_eq!(meaning, Meaning::Limited { millis: want }, "{rule:?}");
        }
        let none = |_: &str| None;
        let limited = Rule { pause_ms: Some(30_000), ..rule(Class::Limited) };
        assert_eq!(limited.meaning(&told(403, "", None, &none), 5_000), Meaning::Limited { millis: 30_000 });
        assert_eq!(
            rule(Class::Limited).meaning(&told(403, "", None, &none), 5_000),
            Meaning::Limited { millis: 5_000 }
        );
    }
}
