//! Two memories of an account: the requests of the last window, and the idempotency
//! keys of the last day.

use std::collections::{HashMap, VecDeque};

use actix_web::web::Bytes;

use super::refusal::Refusal;
use super::settings::RateLimit;

/// How long an idempotency key is remembered, in milliseconds: 24 hours.
pub const KEY_LIFE_MS: i64 = 24 * 60 * 60 * 1_000;

/// Longest idempotency key accepted, in bytes.
const MAX_KEY_BYTES: usize = 255;

/// The times of the requests let through within the last window, oldest first.
#[derive(Debug, Default)]
pub(super) struct Window {
    times_ms: VecDeque<i64>,
}

/// What the limit says about a request that was let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Admitted {
    pub(super) limit: usize,
    pub(super) remaining: usize,
    /// When the oldest counted request leaves the window.
    pub(super) reset_ms: i64,
}

impl Window {
    /// Counts one request, or refuses it, which is not counted.
    pub(super) fn admit(&mut self, limit: RateLimit, now_ms: i64) -> Result<Admitted, Refusal> {
        let requests = limit.requests.max(1);
        while self.times_ms.front().is_some_and(|oldest| oldest.saturating_add(limit.per_ms) <= now_ms) {
            self.times_ms.pop_front();
        }
        let reset_ms = self.times_ms.front().map_or(now_ms, |oldest| *oldest).saturating_add(limit.per_ms);
        if self.times_ms.len() >= requests {
            return Err(Refusal::RateLimited { retry_at_ms: reset_ms });
        }
        self.times_ms.push_back(now_ms);
        Ok(Admitted { limit: requests, remaining: requests - self.times_ms.len(), reset_ms })
    }
}

/// The answers given under idempotency keys.
#[derive(Debug, Default)]
pub(super) struct Keys {
    kept: HashMap<String, Kept>,
    by_age: VecDeque<(i64, String)>,
}

/// The answer to the first request with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    /// Tells the same request from another one.
    pub(super) fingerprint: u128,
    pub(super) status: u16,
    /// Id and tag of the record made, where it was one record.
    pub(super) record: Option<(u64, String)>,
    pub(super) body: Bytes,
}

impl Keys {
    /// The answer given before, if the key was used before for the same request.
    pub(super) fn find(&mut self, key: &str, fingerprint: u128, now_ms: i64) -> Result<Option<&Kept>, Refusal> {
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            return Err(Refusal::bad_request(format!("an idempotency key has 1 to {MAX_KEY_BYTES} bytes")));
        }
        self.forget_old(now_ms);
        match self.kept.get(key) {
            Some(kept) if kept.fingerprint != fingerprint => Err(Refusal::KeyReused),
            found => Ok(found),
        }
    }

    /// Remembers an answer; only for a key that [`Keys::find`] did not find.
    pub(super) fn keep(&mut self, key: &str, kept: Kept, now_ms: i64) {
        self.by_age.push_back((now_ms, key.to_owned()));
        self.kept.insert(key.to_owned(), kept);
    }

    fn forget_old(&mut self, now_ms: i64) {
        while let Some((at_ms, key)) = self.by_age.front() {
            if at_ms.saturating_add(KEY_LIFE_MS) > now_ms {
                break;
            }
            self.kept.remove(key);
            self.by_age.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_more_than_the_limit_in_any_window() {
        let limit = RateLimit { requests: 2, per_ms: 100 };
        let mut window = Window::default();
        let answers = [0, 60, 61, 99, 100, 130, 160, 161].map(|now_ms| match window.admit(limit, now_ms) {
            Ok(Admitted { limit, remaining, reset_ms }) => {
                assert_eq!(limit, 2);
                (true, remaining, reset_ms)
            }
            Err(Refusal::RateLimited { retry_at_ms }) => (false, 0, retry_at_ms),
            Err(other) => panic!("{other:?}"),
        });
        let expected = [
            (true, 1, 100),
            (true, 0, 100),
            (false, 0, 100),
            (false, 0, 100),
            (true, 0, 160),
            (false, 0, 160),
            (true, 0, 200),
            (false, 0, 200),
        ];
        assert_eq!(answers, expected);
    }

    #[test]
    fn keys_live_a_day_and_belong_to_one_request() {
        let kept = |fingerprint| Kept { fingerprint, status: 201, record: None, body: Bytes::from_static(b"{}") };
        let mut keys = Keys::default();
        assert_eq!(keys.find("a", 1, 0), Ok(None));
        keys.keep("a", kept(1), 0);
        assert_eq!(keys.find("a", 1, KEY_LIFE_MS - 1), Ok(Some(&kept(1))));
        assert_eq!(keys.find("a", 2, 5), Err(Refusal::KeyReused));
        assert_eq!(keys.find("b", 2, 5), Ok(None));
        assert_eq!(keys.find("a", 2, KEY_LIFE_MS), Ok(None));
        for key in [String::new(), "k".repeat(256)] {
            assert_eq!(keys.find(&key, 1, 0).map_err(|refusal| refusal.status()), Err(400));
        }
    }
}
