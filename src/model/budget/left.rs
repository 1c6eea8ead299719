//! What a side says is left of its limit. It lowers a budget, because others may call with the
//! same account; it never raises one above what is declared.

/// What an answer told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tell {
    /// How many calls, or points, are left.
    pub left: u64,
    /// For how long that holds, in milliseconds: until the side counts anew.
    pub holds_ms: u64,
    /// How many come back in a millisecond meanwhile.
    pub restores_per_ms: f64,
}

/// The longest time for which a side is believed that nothing is left, in milliseconds. A
/// header that names a time next year is a mistake.
const MAX_HOLDS_MS: u64 = 24 * 60 * 60 * 1_000;

/// What is believed to be left.
#[derive(Debug, Clone, Copy)]
pub(super) struct Left {
    left: f64,
    at_ms: u64,
    restores_per_ms: f64,
    until_ms: u64,
    /// The last call granted when it was told. An answer to a later call knows better; one to
    /// an earlier call may have been given before this one, in whatever order they came in.
    told_after: u64,
}

impl Left {
    /// When a call that takes so much may be made.
    pub fn ready_at(&mut self, now_ms: u64, amount: u32) -> u64 {
        if now_ms >= self.until_ms {
            return now_ms;
        }
        self.restore(now_ms);
        let missing = f64::from(amount) - self.left;
        if missing <= 1e-9 {
            return now_ms;
        }
        let restored_ms = if self.restores_per_ms > 0.0 {
            now_ms.saturating_add((missing / self.restores_per_ms).ceil() as u64)
        } else {
            u64::MAX
        };
        restored_ms.min(self.until_ms).max(now_ms + 1)
    }

    pub fn take(&mut self, amount: u32) {
        self.left -= f64::from(amount);
    }

    fn restore(&mut self, now_ms: u64) {
        self.left += now_ms.saturating_sub(self.at_ms) as f64 * self.restores_per_ms;
        self.at_ms = self.at_ms.max(now_ms);
    }
}

/// Takes note of what the answer to a call told. `call` is its number, `last` that of the last
/// call granted, and `in_flight` what the calls under way may still take: whether the side has
/// counted them already nobody knows.
pub(super) fn hear(known: &mut Option<Left>, now_ms: u64, tell: Tell, call: u64, last: u64, in_flight: u64) {
    let left = tell.left.saturating_sub(in_flight) as f64;
    let restores_per_ms = if tell.restores_per_ms.is_finite() { tell.restores_per_ms.max(0.0) } else { 0.0 };
    let until_ms = now_ms.saturating_add(tell.holds_ms.min(MAX_HOLDS_MS));
    match known {
        Some(known) if now_ms < known.until_ms && call <= known.told_after => {
            known.restore(now_ms);
            known.left = known.left.min(left);
        }
        Some(_) | None => *known = Some(Left { left, at_ms: now_ms, restores_per_ms, until_ms, told_after: last }),
    }
}
