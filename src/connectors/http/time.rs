//! Times as apps write them.

use chrono::{DateTime, NaiveDate, NaiveDateTime, SecondsFormat, Utc};
use serde_json::value::RawValue;

use super::raw::text_of;
use super::spec::Unit;

/// How far a server's clock may be from ours to be believed.
pub(super) const MAX_CLOCK_DIFFERENCE_HOURS: i64 = 24;

/// A JSON value as a time: ISO 8601 text (without a zone it counts as UTC), or a number
/// of units since 1970, as a number or as text.
pub(super) fn parse_raw(raw: &RawValue, unit: Unit) -> Option<DateTime<Utc>> {
    parse_text(&text_of(raw)?, unit)
}

/// A text as a time.
pub(super) fn parse_text(text: &str, unit: Unit) -> Option<DateTime<Utc>> {
    let text = unquoted(text);
    parse_number(text, unit).or_else(|| parse_iso(text)).or_else(|| parse_date_header(text))
}

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

fn parse_iso(text: &str) -> Option<DateTime<Utc>> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.to_utc());
    }
    if let Ok(time) = DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%z") {
        return Some(time.to_utc());
    }
    for format in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"] {
        if let Ok(time) = NaiveDateTime::parse_from_str(text, format) {
            return Some(time.and_utc());
        }
    }
    NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0).map(|time| time.and_utc())
}

/// A time in the form of a `Date` header.
pub(super) fn parse_date_header(text: &str) -> Option<DateTime<Utc>> {
    httpdate::parse_http_date(text).ok().map(DateTime::from)
}

/// The server's own clock, if it can be believed.
pub(super) fn believable(server: DateTime<Utc>, ours: DateTime<Utc>) -> bool {
    server.signed_duration_since(ours).num_hours().abs() < MAX_CLOCK_DIFFERENCE_HOURS
}

/// A time in microseconds as an app wants it in a parameter.
pub(super) fn format(micros: i64, unit: Unit) -> Option<String> {
    Some(match unit {
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
            assert_eq!(parse_raw(raw, unit), want, "{json}");
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
            assert_eq!(format(micros, unit).as_deref(), Some(want));
        }
    }
}
