//! Dates and times respelled between two forms, through a zone where one of them does
//! not say which instant it means.

use std::fmt::Write as _;
use std::ops::RangeInclusive;

use chrono::format::{Item, Numeric, Parsed, StrftimeItems};
use chrono::{DateTime, Datelike, Days, LocalResult, NaiveDate, NaiveDateTime, NaiveTime, Offset, SecondsFormat};
use chrono::{TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

use super::decimal;
use super::lens::Shape;
use super::{shown, shown_value};
use crate::model::side::{PerSide, Side};
use crate::model::value::{Number, Value};

/// Years with four digits: what every form can spell and no arithmetic can leave.
const YEARS: RangeInclusive<i32> = 1..=9999;

/// How a side spells a date or a time.
#[derive(Debug, Clone)]
pub(super) enum Form {
    /// RFC 3339: `2024-05-01T10:00:00Z`; without an offset it is local to the zone.
    Iso,
    /// `2024-05-01`.
    Date,
    /// Seconds since 1970, a number.
    Seconds,
    /// Milliseconds since 1970, a number.
    Millis,
    /// Declared with `%`.
    Pattern(Pattern),
}

/// A declared spelling, such as `%d/%m/%Y`.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    text: String,
    items: Vec<Item<'static>>,
    has_time: bool,
    has_offset: bool,
}

/// Respells between the app's form and the remote's.
#[derive(Debug, Clone)]
pub(super) struct DateLens {
    pub(super) forms: PerSide<Form>,
    /// The zone of dates, and of times that tell no offset.
    pub(super) zone: Tz,
}

/// What a text or number says, no more and no less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Date(NaiveDate),
    Local(NaiveDateTime),
    Instant(DateTime<Utc>),
}

impl Form {
    /// Reads a declared form.
    ///
    /// # Errors
    /// With what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "iso" => Ok(Form::Iso),
            "date" => Ok(Form::Date),
            "s" => Ok(Form::Seconds),
            "ms" => Ok(Form::Millis),
            text if text.contains('%') => Pattern::parse(text).map(Form::Pattern),
            text => Err(format!("'{}' is not a date form", shown(text))),
        }
    }

    fn as_str(&self) -> &str {
        match self {
            Form::Iso => "iso",
            Form::Date => "date",
            Form::Seconds => "s",
            Form::Millis => "ms",
            Form::Pattern(pattern) => &pattern.text,
        }
    }

    pub(super) fn shape(&self) -> Shape {
        match self {
            Form::Iso | Form::Date | Form::Pattern(_) => Shape::Text,
            Form::Seconds | Form::Millis => Shape::Number,
        }
    }

    fn read(&self, value: &Value) -> Result<Moment, String> {
        let moment = match (self, value) {
            (Form::Iso, Value::String(text)) => read_iso(text),
            (Form::Date, Value::String(text)) => read_date(text).map(Moment::Date),
            (Form::Seconds, Value::Number(number)) => {
                decimal::to_i64(number).and_then(|s| DateTime::from_timestamp(s, 0)).map(Moment::Instant)
            }
            (Form::Millis, Value::Number(number)) => {
                decimal::to_i64(number).and_then(DateTime::from_timestamp_millis).map(Moment::Instant)
            }
            (Form::Pattern(pattern), Value::String(text)) => pattern.read(text),
            (Form::Iso | Form::Date | Form::Seconds | Form::Millis | Form::Pattern(_), _) => None,
        };
        moment
            .filter(Moment::has_four_digit_year)
            .ok_or_else(|| format!("{} is not a date in the form '{}'", shown_value(value), self.as_str()))
    }

    fn write(&self, moment: Moment, zone: Tz) -> Result<Value, String> {
        let unspeakable = || format!("the date cannot be written in the form '{}'", self.as_str());
        // Near the first and last year a zone can move a date out of what can be spelled.
        let instant = || moment.instant(zone).filter(|at| YEARS.contains(&at.year())).ok_or_else(unspeakable);
        match self {
            Form::Iso => Ok(Value::String(instant()?.to_rfc3339_opts(SecondsFormat::AutoSi, true))),
            Form::Date => match moment.date(zone) {
                date if YEARS.contains(&date.year()) => Ok(Value::String(date.format("%Y-%m-%d").to_string())),
                _ => Err(unspeakable()),
            },
            Form::Seconds => Ok(Value::Number(Number::from(instant()?.timestamp()))),
            Form::Millis => Ok(Value::Number(Number::from(instant()?.timestamp_millis()))),
            Form::Pattern(pattern) => pattern.write(moment, zone).map(Value::String).ok_or_else(unspeakable),
        }
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, String> {
        let items = StrftimeItems::new(text)
            .parse_to_owned()
            .map_err(|_| format!("'{}' is not a date pattern: it has an unknown '%' letter", shown(text)))?;
        // Any moment with a time and a date tells what the pattern can say.
        let probe = DateTime::from_timestamp(981_173_106, 0).unwrap_or_default();
        let naive = probe.naive_utc();
        let counts_seconds = items.iter().any(|item| matches!(item, Item::Numeric(Numeric::Timestamp, _)));
        let has_offset = counts_seconds || written(naive.format_with_items(items.iter())).is_none();
        let refuse = |reason: &str| format!("'{}' is not a usable date pattern: {reason}", shown(text));
        let written = written(probe.with_timezone(&Tz::UTC).format_with_items(items.iter()))
            .ok_or_else(|| refuse("it holds a letter that can be read but not written"))?;
        let parsed = parse_all(&written, &items).ok_or_else(|| refuse("what it writes cannot be read back"))?;
        if !counts_seconds && parsed.to_naive_date().is_err() {
            return Err(refuse("it needs a year, a month and a day"));
        }
        let has_time = counts_seconds || parsed.to_naive_time().is_ok();
        Ok(Self { text: text.to_owned(), items, has_time, has_offset })
    }

    fn read(&self, text: &str) -> Option<Moment> {
        let parsed = parse_all(text, &self.items)?;
        if parsed.timestamp().is_some() || parsed.offset().is_some() {
            // A pattern may hold a timestamp without an offset; that means UTC.
            let zoned = parsed.to_datetime().map(|at| at.to_utc());
            let instant = zoned.or_else(|_| parsed.to_naive_datetime_with_offset(0).map(|at| at.and_utc()));
            return instant.ok().map(Moment::Instant);
        }
        let date = parsed.to_naive_date().ok()?;
        if self.has_time {
            Some(Moment::Local(date.and_time(parsed.to_naive_time().ok()?)))
        } else {
            Some(Moment::Date(date))
        }
    }

    fn write(&self, moment: Moment, zone: Tz) -> Option<String> {
        match moment {
            // Without an offset a local time is its own spelling, whatever the zone does.
            Moment::Date(date) if !self.has_offset => {
                written(date.and_time(NaiveTime::MIN).format_with_items(self.items.iter()))
            }
            Moment::Local(local) if !self.has_offset => written(local.format_with_items(self.items.iter())),
            Moment::Date(_) | Moment::Local(_) | Moment::Instant(_) => {
                let local = moment.instant(zone)?.with_timezone(&zone);
                YEARS.contains(&local.year()).then(|| written(local.format_with_items(self.items.iter())))?
            }
        }
    }
}

impl Moment {
    fn has_four_digit_year(&self) -> bool {
        YEARS.contains(&match self {
            Moment::Date(date) => date.year(),
            Moment::Local(local) => local.year(),
            Moment::Instant(instant) => instant.year(),
        })
    }

    fn instant(self, zone: Tz) -> Option<DateTime<Utc>> {
        match self {
            Moment::Date(date) => resolve(date.and_time(NaiveTime::MIN), zone),
            Moment::Local(local) => resolve(local, zone),
            Moment::Instant(instant) => Some(instant),
        }
    }

    fn date(self, zone: Tz) -> NaiveDate {
        match self {
            Moment::Date(date) => date,
            Moment::Local(local) => local.date(),
            Moment::Instant(instant) => instant.with_timezone(&zone).date_naive(),
        }
    }
}

impl DateLens {
    /// Respells a value for a side.
    ///
    /// # Errors
    /// With what is wrong with the value.
    pub(super) fn apply(&self, to: Side, value: &Value) -> Result<Value, String> {
        self.forms[to].write(self.forms[to.other()].read(value)?, self.zone)
    }

    /// A text that names the lens and nothing else.
    pub(super) fn identity(&self) -> String {
        let part = |text: &str| Value::string(text).to_json();
        format!("date:{}{}{}", part(self.forms.app.as_str()), part(self.forms.remote.as_str()), part(self.zone.name()))
    }

    /// Values of both forms that are hard to carry: around 1970, leap days, fractions,
    /// and every half hour around the zone's changes of the clock.
    pub(super) fn samples(&self) -> PerSide<Vec<Value>> {
        let texts = [
            "1950-02-28T23:59:59Z",
            "1969-12-31T23:59:59.5Z",
            "1970-01-01T00:00:00Z",
            "2000-02-29T12:34:56.789Z",
            "2024-12-31T23:30:00-05:00",
            "2038-01-19T03:14:08Z",
            "2099-06-15T00:00:00+12:45",
        ];
        let mut moments: Vec<Moment> = texts.iter().filter_map(|text| read_iso(text)).collect();
        moments.extend(self.moments_around_changes());
        PerSide::from_fn(|side| {
            moments.iter().filter_map(|moment| self.forms[side].write(*moment, self.zone).ok()).collect()
        })
    }

    fn moments_around_changes(&self) -> Vec<Moment> {
        let Some(start) = NaiveDate::from_ymd_opt(2024, 1, 1) else { return Vec::new() };
        let offset = |at: &NaiveDateTime| self.zone.offset_from_utc_datetime(at).fix();
        let mut moments = Vec::new();
        for day in (0..366).filter_map(|n| start.checked_add_days(Days::new(n))) {
            let midnight = day.and_time(NaiveTime::MIN);
            if offset(&midnight) == offset(&(midnight + TimeDelta::days(1))) {
                continue;
            }
            for half_hours in -48..=96 {
                let at = midnight + TimeDelta::minutes(30 * half_hours);
                moments.extend([Moment::Instant(at.and_utc()), Moment::Local(at)]);
            }
        }
        moments
    }
}

/// The instant of a local time: the earlier of two when the clock is set back, and as
/// far after the change as the time lies in the gap when it is set forward.
fn resolve(local: NaiveDateTime, zone: Tz) -> Option<DateTime<Utc>> {
    match zone.from_local_datetime(&local) {
        LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => Some(at.to_utc()),
        // The offset before the gap, which is never longer than a day (Samoa, 2011).
        LocalResult::None => (1..=30).find_map(|hours| {
            let before = zone.from_local_datetime(&local.checked_sub_signed(TimeDelta::hours(hours))?).latest()?;
            Some(local.checked_sub_offset(before.offset().fix())?.and_utc())
        }),
    }
}

fn read_iso(text: &str) -> Option<Moment> {
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Some(Moment::Instant(at.to_utc()));
    }
    if let Ok(at) = DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%z") {
        return Some(Moment::Instant(at.to_utc()));
    }
    let local = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"];
    let local = local.iter().find_map(|pattern| NaiveDateTime::parse_from_str(text, pattern).ok());
    local.map(Moment::Local).or_else(|| read_date(text).map(Moment::Date))
}

/// Reads `2024-05-01`.
pub(super) fn read_date(text: &str) -> Option<NaiveDate> {
    // The length keeps out the short and signed years which the parser would take.
    NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().filter(|_| text.len() == 10)
}

/// Whether a text is an RFC 3339 date and time.
pub(super) fn is_datetime(text: &str) -> bool {
    DateTime::parse_from_rfc3339(text).is_ok()
}

fn parse_all(text: &str, items: &[Item<'static>]) -> Option<Parsed> {
    let mut parsed = Parsed::new();
    chrono::format::parse(&mut parsed, text, items.iter()).ok()?;
    Some(parsed)
}

/// Formatting fails, instead of panicking as `to_string` would, on an item that has
/// nothing to show.
fn written(formatted: impl std::fmt::Display) -> Option<String> {
    let mut text = String::new();
    write!(text, "{formatted}").ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lens(app: &str, remote: &str, zone: &str) -> DateLens {
        DateLens {
            forms: PerSide { app: Form::parse(app).unwrap(), remote: Form::parse(remote).unwrap() },
            zone: zone.parse().unwrap(),
        }
    }

    #[test]
    fn each_form_is_respelled_and_read_back() {
        for (app, remote, zone, app_value, remote_value) in [
            ("iso", "ms", "UTC", r#""2024-05-01T10:00:00.250Z""#, "1714557600250"),
            ("iso", "s", "UTC", r#""1969-12-31T23:59:59Z""#, "-1"),
            ("s", "ms", "UTC", "1714557600", "1714557600000"),
            ("date", "%d/%m/%Y", "UTC", r#""2024-05-01""#, r#""01/05/2024""#),
            ("date", "ms", "Europe/Berlin", r#""2024-05-01""#, "1714514400000"),
            ("iso", "%d.%m.%Y %H:%M", "Europe/Berlin", r#""2024-07-01T10:00:00Z""#, r#""01.07.2024 12:00""#),
            ("iso", "%Y-%m-%dT%H:%M:%S%z", "UTC", r#""2024-07-01T10:00:00Z""#, r#""2024-07-01T10:00:00+0000""#),
            ("iso", "%s", "Asia/Tokyo", r#""2024-05-01T10:00:00Z""#, r#""1714557600""#),
            // Two local forms carry a time that the zone skips.
            ("%d.%m.%Y %H:%M", "%Y%m%d%H%M", "Europe/Berlin", r#""31.03.2024 02:30""#, r#""202403310230""#),
        ] {
            let (lens, value) = (lens(app, remote, zone), |text| Value::from_json(text).unwrap());
            assert_eq!(lens.apply(Side::Remote, &value(app_value)).unwrap().to_json(), remote_value, "{app} {remote}");
            assert_eq!(lens.apply(Side::App, &value(remote_value)).unwrap().to_json(), app_value, "{app} {remote}");
        }
    }

    #[test]
    fn iso_is_read_in_its_usual_spellings() {
        let lens = lens("ms", "iso", "America/New_York");
        for (text, ms) in [
            ("2024-01-01T00:00:00Z", "1704067200000"),
            ("2024-01-01t01:00:00+01:00", "1704067200000"),
            ("2024-01-01T01:00:00+0100", "1704067200000"),
            ("2023-12-31T19:00:00", "1704067200000"),
            ("2023-12-31 19:00:00.000", "1704067200000"),
            ("2024-01-01", "1704085200000"),
        ] {
            assert_eq!(lens.apply(Side::App, &Value::string(text)).unwrap().to_json(), ms, "{text}");
        }
    }

    #[test]
    fn the_clock_set_back_means_the_earlier_time_and_set_forward_the_later() {
        for (zone, local, instant) in [
            ("Europe/Berlin", "2024-10-27 02:30:00", "2024-10-27T00:30:00Z"),
            ("Europe/Berlin", "2024-03-31 02:30:00", "2024-03-31T01:30:00Z"),
            ("Australia/Lord_Howe", "2024-10-06 02:10:00", "2024-10-05T15:40:00Z"),
            ("Pacific/Apia", "2011-12-30 12:00:00", "2011-12-30T22:00:00Z"),
        ] {
            let lens = lens("iso", "%Y-%m-%d %H:%M:%S", zone);
            assert_eq!(lens.apply(Side::App, &Value::string(local)).unwrap(), Value::string(instant), "{zone}");
        }
        // Midnight itself is skipped.
        let lens = lens("iso", "date", "America/Sao_Paulo");
        let iso = lens.apply(Side::App, &Value::string("2018-11-04")).unwrap();
        assert_eq!(iso, Value::string("2018-11-04T03:00:00Z"));
        assert_eq!(lens.apply(Side::Remote, &iso).unwrap(), Value::string("2018-11-04"));
    }

    #[test]
    fn what_is_no_date_is_refused_with_the_form() {
        for (form, value) in [
            ("iso", "\"yesterday\""),
            ("iso", "5"),
            ("iso", "\"+12345-01-01T00:00:00Z\""),
            ("iso", "\"0000-01-01T00:00:00Z\""),
            ("date", "\"2024-02-30\""),
            ("date", "\"2024-5-1\""),
            ("date", "\"2024-05-01T00:00:00Z\""),
            ("s", "1.5"),
            ("s", "\"1714557600\""),
            ("s", "1e30"),
            ("ms", "-9223372036854775808"),
            ("ms", "{}"),
            ("%d/%m/%Y", "\"32/01/2024\""),
            ("%d/%m/%Y", "\"01/01/2024 x\""),
            ("%d/%m/%Y", "\"01/01/20240\""),
            ("%s", "\"99999999999999999999\""),
        ] {
            let other = if form == "iso" { "ms" } else { "iso" };
            let error = lens(form, other, "UTC").apply(Side::Remote, &Value::from_json(value).unwrap()).unwrap_err();
            assert!(error.ends_with(&format!("is not a date in the form '{form}'")), "{form} {value}: {error}");
        }
    }

    #[test]
    fn patterns_that_cannot_carry_a_date_are_refused() {
        for (pattern, reason) in [
            ("%Q", "unknown '%' letter"),
            ("%", "unknown '%' letter"),
            ("%H:%M", "needs a year, a month and a day"),
            ("%d/%m", "needs a year, a month and a day"),
            ("%Y-%m-%d%#z", "can be read but not written"),
            ("dd/mm/yyyy", "is not a date form"),
        ] {
            let error = Form::parse(pattern).unwrap_err();
            assert!(error.contains(reason), "{pattern}: {error}");
        }
    }
}
