//! What answers tell of limits: how many calls or points are left, and what a call has cost.
//! Declared by `[[limits.told]]` and `limits.cost`.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;

use crate::connectors::{Calls, Permit};
use crate::model::budget::{Charge, Counts, Tell};
use crate::model::path::Path;

use super::fields::MAX_POINTS;
use super::raw::{at, text_of};
use super::rules::{Told, Wait, WaitPlace};
use super::time;
use super::transport::HttpResponse;

/// Everything that is told.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Telling {
    pub left: Vec<LeftSpec>,
    /// Where an answer says what the call has cost.
    pub cost: Option<WaitPlace>,
}

/// Where an answer says how much is left of a limit.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LeftSpec {
    pub place: WaitPlace,
    /// Both the number used and the limit stand there: `39/40`.
    pub is_share: bool,
    pub counts: Counts,
    /// Where it says when the side counts anew.
    pub reset: Option<Wait>,
    /// How many come back in a second meanwhile.
    pub restores: Option<Restores>,
    /// How long it is believed where nothing says when the side counts anew.
    pub holds_ms: u64,
}

/// How many calls or points come back in a second.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Restores {
    Rate(u32),
    Path(Path),
}

/// A time to wait for which a pause is asked for, so that it is shown and outlives a restart;
/// what is shorter the budget waits for by itself.
const PAUSE_FROM_MS: u64 = 60_000;

impl Telling {
    /// Whether anything is told at all.
    pub fn is_empty(&self) -> bool {
        self.left.is_empty() && self.cost.is_none()
    }

    fn looks_into_bodies(&self) -> bool {
        let in_body = |place: &WaitPlace| matches!(place, WaitPlace::Path(_));
        let told = |left: &LeftSpec| {
            in_body(&left.place)
                || left.reset.as_ref().is_some_and(|wait| in_body(&wait.place))
                || matches!(left.restores, Some(Restores::Path(_)))
        };
        self.cost.as_ref().is_some_and(in_body) || self.left.iter().any(told)
    }

    /// Tells the budget what an answer says. What cannot be understood says nothing. `of_all` is
    /// the call within the budget of all connections, which knows what calls cost, too.
    pub fn hear(
        &self,
        permit: &Permit,
        of_all: Option<&Permit>,
        calls: &Calls,
        charge: &Charge,
        answer: &HttpResponse,
        ours: DateTime<Utc>,
    ) {
        let body = if self.looks_into_bodies() { serde_json::from_slice::<&RawValue>(&answer.body).ok() } else { None };
        let header = |name: &str| answer.header(name).map(str::to_owned);
        let told = Told {
            status: answer.status,
            header: &header,
            body,
            text: "",
            server_now: time::server_clock(answer.header("date"), ours),
        };
        if let Some(cost) = self.cost.as_ref().and_then(|place| whole(&text_at(place, &told)?)) {
            let cost = u32::try_from(cost.min(MAX_POINTS)).unwrap_or(u32::MAX);
            [Some(permit), of_all].into_iter().flatten().for_each(|permit| permit.correct(cost));
        }
        for spec in &self.left {
            let Some(tell) = spec.tell(&told) else { continue };
            permit.tell(spec.counts, tell);
            if tell.left == 0 && tell.restores_per_ms <= 0.0 && tell.holds_ms >= PAUSE_FROM_MS && spec.reset.is_some() {
                calls.pause_class(charge.class.as_deref(), Duration::from_millis(tell.holds_ms));
            }
        }
    }
}

impl LeftSpec {
    /// What an answer tells, if it does.
    fn tell(&self, told: &Told<'_>) -> Option<Tell> {
        let text = text_at(&self.place, told)?;
        let left = if self.is_share { share_left(&text)? } else { whole(&text)? };
        let restores = match self.restores.as_ref() {
            Some(Restores::Rate(rate)) => f64::from(*rate),
            Some(Restores::Path(path)) => {
                let found = at(told.body?, Some(path)).ok().flatten().and_then(text_of);
                found.and_then(|text| text.parse::<f64>().ok()).filter(|rate| rate.is_finite()).unwrap_or(0.0)
            }
            None => 0.0,
        };
        let holds_ms = self.reset.as_ref().and_then(|reset| reset.millis(told)).unwrap_or(self.holds_ms);
        Some(Tell { left, holds_ms, restores_per_ms: restores.max(0.0) / 1_000.0 })
    }
}

fn text_at(place: &WaitPlace, told: &Told<'_>) -> Option<String> {
    match place {
        WaitPlace::Header(name) => (told.header)(name),
        WaitPlace::Path(path) => text_of(at(told.body?, Some(path)).ok()??),
    }
}

/// A number of calls or points: rounded down, less than nothing as nothing.
fn whole(text: &str) -> Option<u64> {
    let number = text.trim().parse::<f64>().ok().filter(|number| !number.is_nan())?;
    // A negative or infinite number saturates.
    Some(number.floor() as u64)
}

/// What is left of `39/40`, also within a longer text such as `api-usage=18/5000`.
fn share_left(text: &str) -> Option<u64> {
    let (before, after) = text.split_once('/')?;
    let is_other = |c: char| !c.is_ascii_digit();
    let used = before.trim_end().rsplit(is_other).next()?;
    let most = after.trim_start().split(is_other).next()?;
    Some(most.parse::<u64>().ok()?.saturating_sub(used.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_headers() {
        for (text, want) in [
            ("7", Some(7)),
            (" 7.9 ", Some(7)),
            ("-3", Some(0)),
            ("1e300", Some(u64::MAX)),
            ("NaN", None),
            ("many", None),
            ("", None),
        ] {
            assert_eq!(whole(text), want, "{text}");
        }
        for (text, want) in [
            ("39/40", Some(1)),
            ("41/40", Some(0)),
            ("api-usage=18/5000", Some(4982)),
            ("api-usage=25/5000; per-app-api-usage=17/250(appName=a)", Some(4975)),
            ("39 / 40", Some(1)),
            ("/40", None),
            ("39", None),
            ("a/b", None),
            ("99999999999999999999/40", None),
        ] {
            assert_eq!(share_left(text), want, "{text}");
        }
    }
}
