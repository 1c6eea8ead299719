//! When a sync runs by itself: every so often, or by a cron pattern in a time zone.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use chrono::DateTime;
use chrono_tz::Tz;
use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};

use super::document::parse_duration_ms;
use super::zone::parse_zone;

/// Runs by the clock. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// When.
    pub when: When,
    /// Up to this much later, in milliseconds, so that many connections do not call at once:
    /// at random each time where the schedule counts from run to run, by the connection's
    /// name where it follows a clock, so that a customer's runs keep their distance.
    pub jitter_ms: u64,
}

/// When a sync is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// From the end of one run to the start of the next, in milliseconds.
    Every(u64),
    /// Where a pattern matches the clock.
    Cron(Arc<Cron>),
}

/// A cron pattern in a time zone.
#[derive(Clone, PartialEq, Eq)]
pub struct Cron {
    pattern: croner::Cron,
    zone: Tz,
}

/// The shortest interval, in milliseconds.
const LEAST_EVERY_MS: u64 = 10;

/// How far runs by cron are spread where nothing else is said, in milliseconds. Many
/// customers' "at six" is the same moment, and their apps often one app.
const CRON_JITTER_MS: u64 = 30_000;

/// What a schedule looks like.
const WANTED: &str = "a schedule looks like 'every 5m' (ms, s, m, h or d; at least 10ms), \
    or 'cron 30 6 * * MON-FRI in Europe/Zurich' (minute, hour, day, month, weekday; UTC where no zone is named)";

impl Schedule {
    /// Every so often, with a tenth of it as jitter.
    #[must_use]
    pub fn every_ms(every_ms: u64) -> Self {
        Self { when: When::Every(every_ms), jitter_ms: every_ms / 10 }
    }

    /// Parses `every 5m`, or `cron 30 6 * * MON-FRI in Europe/Zurich`.
    ///
    /// # Errors
    /// With what a schedule looks like, or what is wrong with the pattern or the zone.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some(every) = text.strip_prefix("every ") {
            return match parse_duration_ms(every.trim()) {
                Some(ms) if ms >= LEAST_EVERY_MS => Ok(Self::every_ms(ms)),
                Some(_) | None => Err(WANTED.to_owned()),
            };
        }
        let pattern = text.strip_prefix("cron ").ok_or(WANTED)?;
        let (pattern, zone) = match pattern.split_once(" in ") {
            Some((pattern, zone)) => (pattern, known_zone(zone.trim())?),
            None => (pattern, Tz::UTC),
        };
        Ok(Self { when: When::Cron(Arc::new(Cron::parse(pattern.trim(), zone)?)), jitter_ms: CRON_JITTER_MS })
    }

    /// With another jitter, in milliseconds.
    #[must_use]
    pub fn with_jitter_ms(self, jitter_ms: u64) -> Self {
        Self { jitter_ms, ..self }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.when {
            When::Every(every_ms) => write!(f, "every {every_ms}ms"),
            When::Cron(cron) => write!(f, "{cron:?}"),
        }
    }
}

fn known_zone(name: &str) -> Result<Tz, String> {
    parse_zone(name).map_err(|near| match near {
        Some(near) => format!("there is no time zone '{name}'; did you mean '{near}'?"),
        None => format!("there is no time zone '{name}'; it looks like 'Europe/Zurich' or 'UTC'"),
    })
}

impl Cron {
    /// Parses five fields, minute first. Names (`MON`, `JAN`), lists, ranges, steps, `L`, `W`
    /// and `#` are known, `@daily` and its like, too. Days and weekdays are both alternatives,
    /// as in Vixie's cron.
    ///
    /// # Errors
    /// With what is wrong with it.
    pub fn parse(pattern: &str, zone: Tz) -> Result<Self, String> {
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        // A library that reads what people write: should it crash, that is a bad pattern.
        let parsed = catch_unwind(|| parser.parse(pattern)).map_err(|_| "the pattern cannot be read".to_owned())?;
        let pattern = parsed.map_err(|error| format!("{error}; {WANTED}"))?;
        let cron = Self { pattern, zone };
        match cron.next_ms(0) {
            Some(_) => Ok(cron),
            None => Err("the pattern never matches: no month has such a day".to_owned()),
        }
    }

    /// The first match after a time, in milliseconds since 1970; `None` where there is none
    /// in the next years.
    ///
    /// Where the clock is put forward, a fixed time that is left out is due right after the
    /// gap; where it is put back, a fixed time that comes twice is due at the first. Patterns
    /// with `*` or steps in minute or hour follow the clock through both.
    #[must_use]
    pub fn next_ms(&self, after_ms: i64) -> Option<i64> {
        self.search(after_ms, |pattern, from| pattern.find_next_occurrence(from, false))
    }

    /// The last match at or before a time.
    #[must_use]
    pub fn last_ms(&self, at_ms: i64) -> Option<i64> {
        self.search(at_ms, |pattern, from| pattern.find_previous_occurrence(from, true))
    }

    fn search(
        &self,
        from_ms: i64,
        search: impl Fn(&croner::Cron, &DateTime<Tz>) -> Result<DateTime<Tz>, CronError>,
    ) -> Option<i64> {
        let from = DateTime::from_timestamp_millis(from_ms)?.with_timezone(&self.zone);
        // The actor that keeps all schedules asks: a crash here must not cost the others theirs.
        let found = catch_unwind(AssertUnwindSafe(|| search(&self.pattern, &from))).ok()?;
        found.ok().map(|found| found.timestamp_millis())
    }
}

impl fmt::Debug for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cron {} in {}", self.pattern.as_str(), self.zone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis()
    }

    fn cron(text: &str) -> Arc<Cron> {
        match Schedule::parse(text).unwrap().when {
            When::Cron(cron) => cron,
            When::Every(_) => panic!("{text} is no cron"),
        }
    }

    /// The next matches after a time, in the zone of the pattern.
    fn next(text: &str, after: &str, num: usize) -> Vec<String> {
        let cron = cron(text);
        let mut after_ms = at(after);
        let mut found = Vec::new();
        for _ in 0..num {
            after_ms = cron.next_ms(after_ms).unwrap();
            let shown = DateTime::from_timestamp_millis(after_ms).unwrap().with_timezone(&cron.zone);
            found.push(shown.format("%m-%d %H:%M%:z").to_string());
        }
        found
    }

    #[test]
    fn intervals_parse() {
        assert_eq!(Schedule::parse("every 5m"), Ok(Schedule { when: When::Every(300_000), jitter_ms: 30_000 }));
        for text in ["5m", "every", "every 5", "every 0s", "each 5m", "every -5m", "", "cron"] {
            assert_eq!(Schedule::parse(text), Err(WANTED.to_owned()), "{text}");
        }
    }

    #[test]
    fn wrong_patterns_are_told_with_their_reason() {
        for (text, reason) in [
            ("cron 61 * * * *", "Component error"),
            ("cron * * * *", "fields"),
            ("cron * * * * * *", "5 fields"),
            ("cron 0 0 30 2 *", "never matches"),
            ("cron 0 6 * * * in Europe/Zürich", "did you mean 'Europe/Zurich'?"),
            ("cron 0 6 * * * in Mars", "no time zone 'Mars'"),
            ("cron every day", "a schedule looks like"),
        ] {
            let error = Schedule::parse(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn a_pattern_matches_in_its_zone() {
        let days = next("cron 30 6 * * MON-FRI in Europe/Zurich", "2026-01-02T12:00:00Z", 2);
        assert_eq!(days, ["01-05 06:30+01:00", "01-06 06:30+01:00"]);
        assert_eq!(next("cron @daily", "2026-01-02T12:00:00Z", 1), ["01-03 00:00+00:00"]);
        assert_eq!(cron("cron 0 6 * * *").last_ms(at("2026-01-02T06:00:00Z")), Some(at("2026-01-02T06:00:00Z")));
        assert_eq!(cron("cron 0 6 * * *").last_ms(at("2026-01-02T05:59:59Z")), Some(at("2026-01-01T06:00:00Z")));
    }

    #[test]
    fn a_time_that_the_clock_leaves_out_is_due_after_the_gap() {
        // 2026-03-29 02:00 to 03:00 does not exist in Zurich.
        let fixed = next("cron 30 2 * * * in Europe/Zurich", "2026-03-28T12:00:00Z", 2);
        assert_eq!(fixed, ["03-29 03:00+02:00", "03-30 02:30+02:00"]);
        let stepped = next("cron */30 * * * * in Europe/Zurich", "2026-03-29T00:30:00Z", 2);
        assert_eq!(stepped, ["03-29 03:00+02:00", "03-29 03:30+02:00"]);
    }

    #[test]
    fn a_time_that_comes_twice_is_due_once() {
        // 2026-10-25 02:00 to 03:00 comes twice in Zurich.
        let fixed = next("cron 30 2 * * * in Europe/Zurich", "2026-10-24T12:00:00Z", 2);
        assert_eq!(fixed, ["10-25 02:30+02:00", "10-26 02:30+01:00"]);
        let stepped = next("cron */30 * * * * in Europe/Zurich", "2026-10-24T23:59:00Z", 4);
        let all = ["10-25 02:00+02:00", "10-25 02:30+02:00", "10-25 02:00+01:00", "10-25 02:30+01:00"];
        assert_eq!(stepped, all);
    }
}
