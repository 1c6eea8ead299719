//! The time of a decision, as far as a clock that somebody may set can be relied on.

/// No clock is put right by more than this while the process is down, in milliseconds.
const GREATEST_CLOCK_STEP_MS: u64 = 3_600_000;

/// The time of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since 1970. Moves evenly while the process lives, however its clock
    /// is set meanwhile.
    pub ms: i64,
    /// How long the process has lived, in milliseconds.
    pub up_ms: u64,
}

impl Now {
    /// How long ago something was, beyond doubt, in milliseconds. What the clock says of
    /// an earlier life of the process counts only where it cannot have been put forward
    /// by as much.
    #[must_use]
    pub fn since(self, then_ms: i64) -> u64 {
        match u64::try_from(self.ms.saturating_sub(then_ms)) {
            Ok(elapsed_ms) if elapsed_ms > GREATEST_CLOCK_STEP_MS => elapsed_ms,
            Ok(elapsed_ms) => elapsed_ms.min(self.up_ms),
            Err(_) => self.up_ms,
        }
    }

    /// How long ago something was by the clock, in milliseconds: longer than in truth
    /// where that was put forward between two lives.
    #[must_use]
    pub fn since_by_clock(self, then_ms: i64) -> u64 {
        // If the clock was put back, this life is all that is known.
        u64::try_from(self.ms.saturating_sub(then_ms)).unwrap_or(self.up_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_life_counts_only_where_no_clock_is_put_right_by_as_much() {
        let now = Now { ms: 10_000_000, up_ms: 5_000 };
        for (then_ms, want) in [
            (9_997_000, 3_000),
            (10_000_000, 0),
            // Ten minutes before, says a clock that may have been set since.
            (9_400_000, 5_000),
            (10_600_000, 5_000),
            (6_000_000, 4_000_000),
        ] {
            assert_eq!(now.since(then_ms), want, "{then_ms}");
            assert!(now.since(then_ms) <= now.since_by_clock(then_ms), "{then_ms}");
        }
    }
}
