//! When to try again what is safe to repeat: reads, and writes that certainly were not
//! carried out. Connectors never retry by themselves; their caller does, with this.

use std::future::Future;
use std::time::Duration;

use crate::model::write::{ConnectorError, NextStep};

/// How often and how long to retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries in all, the first included.
    pub tries: u32,
    /// The longest delay before the second try; doubled for each one after.
    pub base: Duration,
    /// No delay is longer than this.
    pub cap: Duration,
    /// A pause asked for by the side is waited for up to this long; a longer one is
    /// handed back, so that the caller can do something else meanwhile.
    pub longest_wait: Duration,
}

impl Default for RetryPolicy {
    /// Four tries within a few seconds: enough for a restart of the other side behind
    /// a load balancer; what lasts longer is the caller's backoff.
    fn default() -> Self {
        Self {
            tries: 4,
            base: Duration::from_millis(500),
            cap: Duration::from_secs(30),
            longest_wait: Duration::from_secs(30),
        }
    }
}

/// The delay after a failed try, `None` when it was the last. `attempt` counts the tries
/// made so far, from 1; `random01` is drawn from 0 up to 1.
///
/// Exponential with full jitter: many clients that failed together spread out over the
/// whole delay instead of coming back together.
#[must_use]
pub fn next_delay(policy: &RetryPolicy, attempt: u32, random01: f64) -> Option<Duration> {
    if attempt >= policy.tries {
        return None;
    }
    let doubled = policy.base.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1)));
    Some(doubled.min(policy.cap).mul_f64(random01.clamp(0.0, 1.0)))
}

/// What to do after a failed try.
fn delay_after(policy: &RetryPolicy, attempt: u32, random01: f64, next: NextStep) -> Option<Duration> {
    match next {
        NextStep::Retry => next_delay(policy, attempt, random01),
        NextStep::Wait { millis } => {
            let pause = Duration::from_millis(millis);
            (attempt < policy.tries && pause <= policy.longest_wait).then_some(pause)
        }
        NextStep::Reauthorise | NextStep::Quarantine | NextStep::Fail | NextStep::Resync | NextStep::TreatAsDeleted => {
            None
        }
    }
}

/// Calls until it succeeds, fails for another reason than one that passes, or the
/// policy's tries are used up.
///
/// # Errors
/// The last error.
pub async fn retrying<T, F, Fut>(
    policy: &RetryPolicy,
    mut random01: impl FnMut() -> f64,
    mut call: F,
) -> Result<T, ConnectorError>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, ConnectorError>>,
{
    let mut attempt = 1;
    loop {
        let error = match call().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        match delay_after(policy, attempt, random01(), error.next) {
            Some(delay) => tokio::time::sleep(delay).await,
            None => return Err(error),
        }
        attempt += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const POLICY: RetryPolicy = RetryPolicy {
        tries: 4,
        base: Duration::from_millis(500),
        cap: Duration::from_millis(1_500),
        longest_wait: Duration::from_secs(30),
    };

    #[test]
    fn delays_double_up_to_the_cap_and_end() {
        for (attempt, random01, want_ms) in [
            (1, 1.0, Some(500)),
            (2, 1.0, Some(1_000)),
            (3, 1.0, Some(1_500)),
            (4, 1.0, None),
            (1, 0.0, Some(0)),
            (2, 0.5, Some(500)),
            (1, 7.0, Some(500)),
            (u32::MAX, 1.0, None),
        ] {
            assert_eq!(next_delay(&POLICY, attempt, random01), want_ms.map(Duration::from_millis), "{attempt}");
        }
        let endless = RetryPolicy { tries: u32::MAX, ..POLICY };
        assert_eq!(next_delay(&endless, 4_000_000, 1.0), Some(POLICY.cap));
    }

    async fn run(steps: &[NextStep]) -> (Result<usize, NextStep>, usize, u64) {
        let calls = Cell::new(0);
        let started = tokio::time::Instant::now();
        let result = retrying(
            &POLICY,
            || 1.0,
            || {
                let step = steps.get(calls.get()).copied();
                calls.set(calls.get() + 1);
                let made = calls.get();
                async move { step.map_or(Ok(made), |step| Err(ConnectorError::new(step, "no"))) }
            },
        )
        .await;
        let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap();
        (result.map_err(|error| error.next), calls.get(), elapsed_ms)
    }

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn only_what_may_pass_is_tried_again() {
        use NextStep::{Fail, Reauthorise, Retry, Wait};
        assert_eq!(run(&[]).await, (Ok(1), 1, 0));
        assert_eq!(run(&[Retry, Retry]).await, (Ok(3), 3, 1_500));
        assert_eq!(run(&[Retry; 9]).await, (Err(Retry), 4, 3_000));
        assert_eq!(run(&[Wait { millis: 7_000 }]).await, (Ok(2), 2, 7_000));
        assert_eq!(run(&[Wait { millis: 31_000 }]).await, (Err(Wait { millis: 31_000 }), 1, 0));
        assert_eq!(run(&[Fail]).await, (Err(Fail), 1, 0));
        assert_eq!(run(&[Retry, Reauthorise]).await, (Err(Reauthorise), 2, 500));
    }
}
