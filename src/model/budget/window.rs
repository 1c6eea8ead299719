//! One window of a budget: a token bucket, and the cap of a day that ends at a midnight.

use chrono::{DateTime, Days, Duration, NaiveTime, TimeZone, Utc};
use chrono_tz::Tz;

use super::{Counts, Window};
use crate::planted::{self, Bug};

/// The longest day that a change of clocks makes, in milliseconds.
const LONGEST_DAY_MS: u64 = 25 * 60 * 60 * 1_000;

/// A hair of slack, so that rounding never asks for a wait of zero.
const HAIR: f64 = 1e-9;

/// A bucket of a tenth of its window's requests, or of the dearest call if that is more. It
/// refills so slowly that burst and refill together never pass the limit in *any* window of
/// that length, wherever it starts.
///
/// Where the side counts from one midnight to the next, what is not used is kept until then,
/// and from each midnight on the burst is there again.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    pub counts: Counts,
    most: f64,
    burst: f64,
    per_ms: f64,
    tokens: f64,
    at_ms: u64,
    day: Option<Day>,
}

/// Where a day stands that ends at a midnight.
#[derive(Debug, Clone, Copy)]
struct Day {
    zone: Tz,
    /// The number of the last day that was begun; it never goes back, so that a clock that is
    /// put back begins no day twice.
    number: Option<i32>,
    /// When it ends, on the budget's own clock.
    ends_ms: u64,
    /// What was taken in it.
    used: f64,
}

impl Bucket {
    pub fn new(window: Window, dearest: u32, now_ms: u64) -> Self {
        let most = f64::from(window.requests.max(1));
        let dearest = if window.counts == Counts::Points { f64::from(dearest) } else { 1.0 };
        let burst = (most / 10.0).floor().max(1.0).max(dearest.min(most));
        let day = window.resets.map(|zone| Day { zone, number: None, ends_ms: u64::MAX, used: 0.0 });
        let length_ms = if day.is_some() { LONGEST_DAY_MS } else { window.per_ms };
        let tokens = if planted::is(Bug::BudgetStartsFull) { burst } else { 1.0 };
        Self { counts: window.counts, most, burst, per_ms: rate(most, burst, length_ms), tokens, at_ms: now_ms, day }
    }

    /// Whether a day of it ends by the calendar.
    pub fn has_calendar(&self) -> bool {
        self.day.is_some()
    }

    /// Whatever may be called now was called before.
    pub fn empty(&mut self) {
        self.tokens = 0.0;
    }

    /// What a call takes from it: never more than it can ever hold.
    fn amount(&self, points: u32) -> f64 {
        match self.counts {
            Counts::Requests => 1.0,
            Counts::Points => f64::from(points).min(self.burst),
        }
    }

    /// When a call of that cost may be made.
    pub fn ready_at(&mut self, now_ms: u64, points: u32) -> u64 {
        self.refill(now_ms);
        let amount = self.amount(points);
        if let Some(day) = self.day.filter(|day| day.used + amount > self.most + HAIR) {
            return day.ends_ms.max(now_ms + 1);
        }
        let missing = amount - self.tokens;
        if missing <= HAIR {
            return now_ms;
        }
        let refilled_ms = now_ms.saturating_add(((missing / self.per_ms).ceil() as u64).max(1));
        let turned_ms = self.day.map_or(u64::MAX, |day| day.ends_ms);
        refilled_ms.min(turned_ms.max(now_ms + 1))
    }

    pub fn take(&mut self, points: u32) {
        let amount = self.amount(points);
        self.tokens -= amount;
        self.day.iter_mut().for_each(|day| day.used += amount);
    }

    /// A call that was granted for `expected` points has cost another number of them. What it
    /// cost too much is owed, up to the length of a whole window.
    pub fn correct(&mut self, expected: u32, actual: u32) {
        if self.counts == Counts::Points {
            let owed = f64::from(actual).min(self.most) - self.amount(expected);
            self.tokens = (self.tokens - owed).clamp(-self.most, self.holds());
            self.day.iter_mut().for_each(|day| day.used += owed);
        }
    }

    /// What it holds at most.
    fn holds(&self) -> f64 {
        if self.day.is_some() { self.most } else { self.burst }
    }

    fn refill(&mut self, now_ms: u64) {
        let elapsed = now_ms.saturating_sub(self.at_ms) as f64;
        self.tokens = (self.tokens + elapsed * self.per_ms).min(self.holds());
        self.at_ms = self.at_ms.max(now_ms);
    }

    /// Tells the wall clock; begins a new day where it has come.
    pub fn tell_wall(&mut self, now_ms: u64, wall: DateTime<Utc>) {
        let Some(mut day) = self.day else { return };
        let today = wall.with_timezone(&day.zone).date_naive();
        let number = chrono::Datelike::num_days_from_ce(&today);
        let (begins, ends) = (midnight(day.zone, today), today.checked_add_days(Days::new(1)));
        let ends = ends.map_or(wall, |tomorrow| midnight(day.zone, tomorrow));
        let left_ms = u64::try_from(ends.signed_duration_since(wall).num_milliseconds()).unwrap_or(0);
        let length_ms = u64::try_from(ends.signed_duration_since(begins).num_milliseconds()).unwrap_or(LONGEST_DAY_MS);
        let ends_ms = now_ms.saturating_add(left_ms.max(1));
        self.refill(now_ms);
        // The first day is not begun here: what was called in it before is not known.
        if day.number.is_some_and(|known| known < number) {
            self.tokens = self.burst;
            day.used = 0.0;
            self.per_ms = rate(self.most, self.burst, length_ms);
        }
        let number = Some(day.number.map_or(number, |known| known.max(number)));
        self.day = Some(Day { number, ends_ms, ..day });
    }
}

/// `burst - 1` at once, then refill: together at most `most` in a window of that length.
fn rate(most: f64, burst: f64, length_ms: u64) -> f64 {
    (most - burst + 1.0) / length_ms.max(1) as f64
}

/// When a day begins in a zone. Where clocks are put forward over midnight, a little later.
fn midnight(zone: Tz, date: chrono::NaiveDate) -> DateTime<Utc> {
    let local = date.and_time(NaiveTime::MIN);
    let hours = (0..4).filter_map(|hour| zone.from_local_datetime(&(local + Duration::hours(hour))).earliest());
    hours.map(|time| time.to_utc()).next().unwrap_or_else(|| local.and_utc())
}
