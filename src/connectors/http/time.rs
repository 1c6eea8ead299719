//! Times as apps write them.

use chrono::format::{Item, StrftimeItems};
use chrono::{DateTime, Duration, LocalResult, NaiveDate, NaiveDateTime, NaiveTime, SecondsFormat, TimeZone, Utc};
use chrono_tz::Tz;
use serde_json::value::RawValue;

use super::raw::text_of;
use super::spec::Unit;

/// How far a server's clock may be from ours to be believed.
pub(super) const MAX_CLOCK_DIFFERENCE_HOURS: i64 = 24;

/// How an object's times that are texts are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spelling {
    /// The zone of times that tell none.
    pub zone: Tz,
    /// The form of a time, as `strftime` has it; `None` for ISO 8601.
    pub pattern: Option<String>,
}

impl Default for Spelling {
    fn default() -> Self {
        Self { zone: Tz::UTC, pattern: None }
    }
}

impl Spelling {
    /// How fine a pattern is, in microseconds; `None` for one that does not tell the day and,
    /// where it tells a time, the hour.
    pub fn granularity(pattern: &str) -> Option<i64> {
        if StrftimeItems::new(pattern).any(|item| matches!(item, Item::Error)) {
            return None;
        }
        let probe = NaiveDate::from_ymd_opt(2001, 2, 3)?.and_hms_milli_opt(16, 5, 6, 789)?.and_utc();
        let read = parse_pattern(&probe.format(pattern).to_string(), pattern, Tz::UTC)?;
        let usual = [1_000, 1_000_000, 60_000_000, 3_600_000_000, 86_400_000_000];
        let micros = probe.timestamp_micros();
        usual.into_iter().find(|unit| micros - micros.rem_euclid(*unit) == read.timestamp_micros())
    }
}

/// A JSON value as a time: a text, or a number of units since 1970, as a number or as text.
pub(super) fn parse_raw(raw: &RawValue, unit: Unit, spelling: &Spelling) -> Option<DateTime<Utc>> {
    parse_text(&text_of(raw)?, unit, spelling)
}

/// A text as a time.
pub(super) fn parse_text(text: &str, unit: Unit, spelling: &Spelling) -> Option<DateTime<Utc>> {
    let text = unquoted(text);
    let declared = spelling.pattern.as_ref().and_then(|pattern| parse_pattern(text, pattern, spelling.zone));
    declared
        .or_else(|| parse_number(text, unit))
        .or_else(|| parse_iso(text, spelling.zone))
        .or_else(|| parse_date_header(text))
}

fn parse_pattern(text: &str, pattern: &str, zone: Tz) -> Option<DateTime<Utc>> {
    if let Ok(time) = DateTime::parse_from_str(text, pattern) {
        return Some(time.to_utc());
    }
    let local = NaiveDateTime::parse_from_str(text, pattern)
        .or_else(|_| NaiveDate::parse_from_str(text, pattern).map(|date| date.and_time(NaiveTime::MIN)));
    of_local(local.ok()?, zone)
}

/// A local time as an instant. Of the two that it may be when clocks are put back, the earlier
/// one: a position never passes what it has not shown. One that is skipped when they are put
/// forward is that moment.
fn of_local(local: NaiveDateTime, zone: Tz) -> Option<DateTime<Utc>> {
    match zone.from_local_datetime(&local) {
        LocalResult::Single(time) | LocalResult::Ambiguous(time, _) => Some(time.to_utc()),
        LocalResult::None => {
            let before = zone.from_local_datetime(&(local - Duration::hours(3))).earliest()?;
            Some(before.to_utc() + Duration::hours(3))
        }
    }
}

/// From which local time on everything is that comes at or after an instant: an earlier one than
/// its own where clocks are about to be put back.
fn local_from(from: DateTime<Utc>, zone: Tz) -> NaiveDateTime {
    let local = |at: DateTime<Utc>| at.with_timezone(&zone).naive_local();
    // Clocks change at whole quarters of an hour, by at most three hours.
    let quarter = from.timestamp().div_euclid(QUARTER_S);
    let later = (1..=12).filter_map(|n| DateTime::from_timestamp((quarter + n) * QUARTER_S, 0));
    later.map(local).fold(local(from), NaiveDateTime::min)
}

/// A quarter of an hour, in seconds.
const QUARTER_S: i64 = 900;

/// A header's value without the quotes and the mark of an ETag.
pub(super) fn unquoted(text: &str) -> &str {
    let text = text.trim();
    let text = text.strip_prefix("W/").unwrap_or(text);
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

fn parse_number(text: &str, unit: Unit) -> Option<DateTime<Utc>> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let scale = unit.micros();
    let micros = whole.parse::<i64>().ok()?.checked_mul(scale)?;
    // Only as much of the fraction as a microsecond holds.
    let digits = (scale.ilog10() as usize).min(fraction.len());
    let part = fraction[..digits].parse::<i64>().unwrap_or(0) * scale / 10_i64.pow(u32::try_from(digits).ok()?);
    let sign = if text.starts_with('-') { -1 } else { 1 };
    DateTime::from_timestamp_micros(micros.checked_add(sign * part)?)
}

fn parse_iso(text: &str, zone: Tz) -> Option<DateTime<Utc>> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.to_utc());
    }
    if let Ok(time) = DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%z") {
        return Some(time.to_utc());
    }
    for format in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"] {
        if let Ok(time) = NaiveDateTime::parse_from_str(text, format) {
            return of_local(time, zone);
        }
    }
    of_local(NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_time(NaiveTime::MIN), zone)
}

/// A time in the form of a `Date` header.
pub(super) fn parse_date_header(text: &str) -> Option<DateTime<Utc>> {
    httpdate::parse_http_date(text).ok().map(DateTime::from)
}

/// The server's own clock, if it can be believed.
pub(super) fn believable(server: DateTime<Utc>, ours: DateTime<Utc>) -> bool {
    server.signed_duration_since(ours).num_hours().abs() < MAX_CLOCK_DIFFERENCE_HOURS
}

/// The server's clock as a `Date` header tells it, if that can be believed; ours otherwise.
pub(super) fn server_clock(header: Option<&str>, ours: DateTime<Utc>) -> DateTime<Utc> {
    header.and_then(parse_date_header).filter(|server| believable(*server, ours)).unwrap_or(ours)
}

/// A time in microseconds as an app wants it in a parameter.
pub(super) fn format(micros: i64, unit: Unit, spelling: &Spelling) -> Option<String> {
    Some(match unit {
        Unit::Iso if spelling.pattern.is_some() => {
            let pattern = spelling.pattern.as_deref().unwrap_or_default();
            let from = DateTime::from_timestamp_micros(micros)?;
            let local = local_from(from, spelling.zone);
            // With an offset in it the text says itself which of two local times it means.
            match spelling.zone.from_local_datetime(&local).earliest() {
                Some(time) => time.format(pattern).to_string(),
                None => local.and_utc().format(pattern).to_string(),
            }
        }
        Unit::Iso => DateTime::from_timestamp_micros(micros)?.to_rfc3339_opts(SecondsFormat::Millis, true),
        Unit::Seconds | Unit::Millis | Unit::Micros => micros.div_euclid(unit.micros()).to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_all_spellings() {
        for (json, unit, want) in [
            (r#""2026-11-23T09:09:57.445Z""#, Unit::Millis, Some("2026-11-23T09:09:57.445Z")),
            (r#""2026-11-23T10:09:57+01:00""#, Unit::Millis, Some("2026-11-23T09:09:57Z")),
            (r#""2026-11-23T09:09:57.000+0000""#, Unit::Millis, Some("2026-11-23T09:09:57Z")),
            (r#""2026-11-23T09:09:57""#, Unit::Millis, Some("2026-11-23T09:09:57Z")),
            (r#""2026-11-23 09:09:57.5""#, Unit::Millis, Some("2026-11-23T09:09:57.500Z")),
            (r#""2026-11-23""#, Unit::Millis, Some("2026-11-23T00:00:00Z")),
            ("1795424389434", Unit::Millis, Some("2026-11-23T08:59:49.434Z")),
            (r#""1795424389434""#, Unit::Millis, Some("2026-11-23T08:59:49.434Z")),
            ("1795424389", Unit::Seconds, Some("2026-11-23T08:59:49Z")),
            ("1795424389.5", Unit::Seconds, Some("2026-11-23T08:59:49.500Z")),
            ("1795424389434123", Unit::Micros, Some("2026-11-23T08:59:49.434123Z")),
            (r#""Mon, 23 Nov 2026 08:59:49 GMT""#, Unit::Millis, Some("2026-11-23T08:59:49Z")),
            (r#""yesterday""#, Unit::Millis, None),
            (r#""2026-13-45""#, Unit::Millis, None),
            ("99999999999999999999", Unit::Millis, None),
            ("1e400", Unit::Millis, None),
            ("null", Unit::Millis, None),
            ("{}", Unit::Millis, None),
        ] {
            let raw: &RawValue = serde_json::from_str(json).unwrap();
            let want = want.map(|text| DateTime::parse_from_rfc3339(text).unwrap().to_utc());
            assert_eq!(parse_raw(raw, unit, &Spelling::default()), want, "{json}");
        }
    }

    fn berlin(pattern: &str) -> Spelling {
        Spelling { zone: chrono_tz::Europe::Berlin, pattern: Some(pattern.to_owned()) }
    }

    #[test]
    fn a_declared_zone_and_form_are_read_and_written() {
        let german = berlin("%d.%m.%Y %H:%M:%S");
        for (text, spelling, want) in [
            ("23.11.2026 10:09:57", &german, Some("2026-11-23T09:09:57Z")),
            ("23.07.2026 10:09:57", &german, Some("2026-07-23T08:09:57Z")),
            // Without a zone in another form than the declared one, too; with one, that counts.
            ("2026-07-23 10:09", &german, Some("2026-07-23T08:09:00Z")),
            ("2026-07-23T10:09:57Z", &german, Some("2026-07-23T10:09:57Z")),
            // Twice on that day: the earlier one. And never: the moment.
            ("25.10.2026 02:30:00", &german, Some("2026-10-25T00:30:00Z")),
            ("29.03.2026 02:30:00", &german, Some("2026-03-29T01:30:00Z")),
            ("20260723", &berlin("%Y%m%d"), Some("2026-07-22T22:00:00Z")),
            ("23/07/2026", &german, None),
        ] {
            let want = want.map(|text| DateTime::parse_from_rfc3339(text).unwrap().to_utc());
            assert_eq!(parse_text(text, Unit::Iso, spelling), want, "{text}");
        }
        let written = |time: &str, spelling: &Spelling| {
            let micros = DateTime::parse_from_rfc3339(time).unwrap().timestamp_micros();
            format(micros, Unit::Iso, spelling).unwrap()
        };
        assert_eq!(written("2026-07-23T08:09:57Z", &german), "23.07.2026 10:09:57");
        assert_eq!(written("2026-11-23T09:09:57Z", &berlin("%Y-%m-%dT%H:%M:%S%z")), "2026-11-23T10:09:57+0100");
        // What comes in the hour that is there twice begins at 02:00 of the clock.
        assert_eq!(written("2026-10-25T00:50:00Z", &german), "25.10.2026 02:00:00");
        assert_eq!(written("2026-10-25T01:10:00Z", &german), "25.10.2026 02:10:00");
    }

    #[test]
    fn nothing_is_missed_when_clocks_are_put_back() {
        let spelling = berlin("%Y-%m-%d %H:%M:%S");
        let start = DateTime::parse_from_rfc3339("2026-10-24T22:00:00Z").unwrap().to_utc();
        let at = |minutes: i64| start + Duration::minutes(minutes);
        for from in 0..360 {
            let asked = format(at(from).timestamp_micros(), Unit::Iso, &spelling).unwrap();
            for later in (from..from + 240).step_by(7) {
                let shown = at(later).with_timezone(&spelling.zone).format("%Y-%m-%d %H:%M:%S").to_string();
                assert!(shown >= asked, "{} is not found from {} on: {shown} < {asked}", at(later), at(from));
            }
        }
    }

    #[test]
    fn a_form_is_as_fine_as_what_it_tells() {
        for (pattern, want) in [
            ("%Y-%m-%d %H:%M:%S%.3f", Some(1_000)),
            ("%d.%m.%Y %H:%M:%S", Some(1_000_000)),
            ("%Y%m%dT%H%M", Some(60_000_000)),
            ("%Y-%m-%d", Some(86_400_000_000)),
            ("%m/%d %H:%M", None),
            ("%H:%M:%S", None),
            ("now", None),
            ("%Q", None),
            ("", None),
        ] {
            assert_eq!(Spelling::granularity(pattern), want, "{pattern}");
        }
    }

    #[test]
    fn a_position_is_rounded_down() {
        for (micros, unit, want) in [
            (1_795_424_389_434_999, Unit::Iso, "2026-11-23T08:59:49.434Z"),
            (1_795_424_389_434_999, Unit::Seconds, "1795424389"),
            (1_795_424_389_434_999, Unit::Millis, "1795424389434"),
            (-1, Unit::Seconds, "-1"),
        ] {
            assert_eq!(format(micros, unit, &Spelling::default()).as_deref(), Some(want));
        }
    }
}
