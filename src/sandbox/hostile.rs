//! What the sandbox does wrong on purpose: rates as plain data, and a pure function
//! that draws what befalls one request. The HTTP in front of the state carries it out.

use serde::{Deserialize, Serialize};

use super::settings::RetryAfter;

/// How often what goes wrong, drawn for each request from the seed. Rates are per
/// mille of the requests which that mishap can befall; a request meets one at most.
///
/// Every mishap is one that real apps have, and none breaks what the API promises: an
/// idempotency key, an `If-Match` and a tombstone hold throughout. Only
/// [`skipped`](Self::skipped) takes something away for good.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hostile {
    /// The same seed, rates and order of requests give the same mishaps.
    pub seed: u64,
    /// The connection is dropped and nothing was done.
    pub dropped: u16,
    /// It was carried out, then the connection is dropped without an answer.
    pub answer_lost: u16,
    /// The connection is dropped, and a write is carried out later nevertheless.
    pub late: u16,
    /// The latest a late write comes, in milliseconds.
    pub late_ms: u64,
    /// 500, 502 or 503, and nothing was done.
    pub error_before: u16,
    /// 500, 502 or 503, though it was carried out.
    pub error_after: u16,
    /// It was carried out, and the connection is dropped in the middle of the answer.
    pub cut: u16,
    /// It was carried out, and the answer is whole HTTP around JSON that ends early.
    pub truncated: u16,
    /// 429 with `Retry-After` in seconds, as a date or not at all. Nothing was done.
    pub limited: u16,
    /// The longest wait that such an answer asks for, in milliseconds.
    pub limited_ms: u64,
    /// The answer comes late.
    pub slow: u16,
    /// By so many milliseconds at most.
    pub slow_ms: u64,
    /// A write is carried out, but lists, reads and searches show the state before.
    pub stale: u16,
    /// For so many milliseconds at most.
    pub stale_ms: u64,
    /// A page that goes on behind another begins with the last entry of that one.
    pub repeated: u16,
    /// A page that goes on behind another begins one entry late, which hides it: what
    /// only a complete read finds again. Never drawn by [`Hostile::swarm`].
    pub skipped: u16,
}

/// What befalls one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mishap {
    Dropped,
    AnswerLost,
    Late { after_ms: u64 },
    ErrorBefore { status: u16 },
    ErrorAfter { status: u16 },
    Cut { kept: Kept },
    Truncated { kept: Kept },
    Limited { for_ms: u64, told: RetryAfter },
    Slow { by_ms: u64 },
    Stale { for_ms: u64 },
    Repeated,
    Skipped,
}

/// How much is left of a body, per mille; never all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kept(u16);

/// What kind of request it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A page of records.
    List,
    /// A record, a search, the account.
    Read,
    /// Anything that changes records.
    Write,
}

impl Hostile {
    /// Some mishaps at some rates, drawn from a seed: each is off, rare or frequent.
    /// Only what a client must survive without losing or doubling anything, if it
    /// reads five seconds back behind its cursor.
    #[must_use]
    pub fn swarm(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut rate = || [0, 20, 50, 150][rng.usize(0..4)];
        Self {
            seed,
            dropped: rate(),
            answer_lost: rate(),
            late: rate(),
            late_ms: 3_000,
            error_before: rate(),
            error_after: rate(),
            cut: rate(),
            truncated: rate(),
            limited: rate() / 2,
            limited_ms: 2_000,
            slow: rate(),
            slow_ms: 500,
            stale: rate(),
            stale_ms: 3_000,
            repeated: rate(),
            skipped: 0,
        }
    }

    /// Draws what befalls the request with this number.
    pub(super) fn mishap(&self, number: u64, kind: Kind) -> Option<Mishap> {
        // An odd factor, so that neighbouring numbers give seeds far apart.
        let mut rng = fastrand::Rng::with_seed(self.seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let candidates = [
            (self.dropped, Mishap::Dropped),
            (self.answer_lost, Mishap::AnswerLost),
            (self.late, Mishap::Late { after_ms: up_to(self.late_ms, &mut rng) }),
            (self.error_before, Mishap::ErrorBefore { status: failure(&mut rng) }),
            (self.error_after, Mishap::ErrorAfter { status: failure(&mut rng) }),
            (self.cut, Mishap::Cut { kept: Kept(rng.u16(0..1_000)) }),
            (self.truncated, Mishap::Truncated { kept: Kept(rng.u16(0..1_000)) }),
            (self.limited, Mishap::Limited { for_ms: up_to(self.limited_ms, &mut rng), told: told(&mut rng) }),
            (self.slow, Mishap::Slow { by_ms: up_to(self.slow_ms, &mut rng) }),
            (self.stale, Mishap::Stale { for_ms: up_to(self.stale_ms, &mut rng) }),
            (self.repeated, Mishap::Repeated),
            (self.skipped, Mishap::Skipped),
        ];
        let mut happens = |rate: u16| rng.u16(0..1_000) < rate;
        candidates.into_iter().find(|(rate, mishap)| mishap.befalls(kind) && happens(*rate)).map(|(_, mishap)| mishap)
    }
}

impl Mishap {
    /// Whether it makes a difference to this kind of request.
    fn befalls(self, kind: Kind) -> bool {
        match self {
            Self::Dropped
            | Self::AnswerLost
            | Self::ErrorBefore { .. }
            | Self::ErrorAfter { .. }
            | Self::Cut { .. }
            | Self::Truncated { .. }
            | Self::Limited { .. }
            | Self::Slow { .. } => true,
            Self::Late { .. } | Self::Stale { .. } => kind == Kind::Write,
            Self::Repeated | Self::Skipped => kind == Kind::List,
        }
    }

    /// As the counts call it: the name of its rate.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Dropped => "dropped",
            Self::AnswerLost => "answer_lost",
            Self::Late { .. } => "late",
            Self::ErrorBefore { .. } => "error_before",
            Self::ErrorAfter { .. } => "error_after",
            Self::Cut { .. } => "cut",
            Self::Truncated { .. } => "truncated",
            Self::Limited { .. } => "limited",
            Self::Slow { .. } => "slow",
            Self::Stale { .. } => "stale",
            Self::Repeated => "repeated",
            Self::Skipped => "skipped",
        }
    }
}

impl Kept {
    /// The length that is left of a body; shorter than it, unless it is empty.
    pub(super) fn of(self, num_bytes: usize) -> usize {
        num_bytes.saturating_mul(usize::from(self.0)) / 1_000
    }
}

fn up_to(most: u64, rng: &mut fastrand::Rng) -> u64 {
    rng.u64(1..=most.max(1))
}

fn failure(rng: &mut fastrand::Rng) -> u16 {
    [500, 502, 503][rng.usize(0..3)]
}

fn told(rng: &mut fastrand::Rng) -> RetryAfter {
    [RetryAfter::Seconds, RetryAfter::HttpDate, RetryAfter::Absent][rng.usize(0..3)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mishap_depends_on_seed_rates_number_and_kind_alone() {
        let hostile = Hostile::swarm(7);
        let drawn = |hostile: &Hostile| (0..2_000).map(|n| hostile.mishap(n, Kind::Write)).collect::<Vec<_>>();
        assert_eq!(drawn(&hostile), drawn(&hostile.clone()));
        assert_ne!(drawn(&hostile), drawn(&Hostile { seed: 8, ..hostile }));
    }

    #[test]
    fn rates_are_rates() {
        let hostile = Hostile { answer_lost: 250, repeated: 1_000, ..Hostile::default() };
        let drawn: Vec<_> = (0..4_000).filter_map(|n| hostile.mishap(n, Kind::Write)).collect();
        assert!((900..1_100).contains(&drawn.len()), "{}", drawn.len());
        assert!(drawn.iter().all(|mishap| *mishap == Mishap::AnswerLost), "a write has no page");
        assert!((0..100).all(|n| hostile.mishap(n, Kind::List).is_some()));
        assert!((0..100).all(|n| Hostile::default().mishap(n, Kind::List).is_none()));
    }

    #[test]
    fn some_preset_has_each_mishap_and_none_hides_records() {
        let rates = |hostile: Hostile| {
            let Hostile { seed: _, late_ms: _, limited_ms: _, slow_ms: _, stale_ms: _, .. } = hostile;
            [hostile.dropped, hostile.answer_lost, hostile.late, hostile.error_before, hostile.error_after, hostile.cut]
                .into_iter()
                .chain([hostile.truncated, hostile.limited, hostile.slow, hostile.stale, hostile.repeated])
                .collect::<Vec<_>>()
        };
        let all: Vec<_> = (0..50).map(Hostile::swarm).collect();
        assert!(all.iter().all(|hostile| hostile.skipped == 0));
        for i in 0..11 {
            let values: Vec<u16> = all.iter().map(|hostile| rates(hostile.clone())[i]).collect();
            assert!(values.contains(&0) && values.iter().any(|rate| *rate > 0), "rate {i}");
        }
    }

    #[test]
    fn something_is_always_missing_from_a_body_that_breaks_off() {
        for (kept, num_bytes, left) in [(0, 100, 0), (500, 100, 50), (999, 100, 99), (999, 1, 0), (999, 0, 0)] {
            assert_eq!(Kept(kept).of(num_bytes), left);
        }
    }
}
