//! How much of a side's budget webhooks may use to have single records read.
//!
//! Whoever may send genuine webhooks could name any number of records, and each would cost a
//! call. Half of the budget stays for the work that finds every change; what is hinted beyond
//! that is found by it, in one read of the list of changes.

use std::collections::VecDeque;

use crate::model::budget::Window;

/// A side's windows, with what hinted reads have used of them.
#[derive(Debug, Clone, Default)]
pub struct HintShare {
    windows: Vec<Used>,
}

#[derive(Debug, Clone)]
struct Used {
    /// Records that may be read one by one in any window of this length.
    most: u64,
    per_ms: u64,
    /// When, and how many.
    taken: VecDeque<(i64, u64)>,
    sum: u64,
}

impl HintShare {
    /// Half of each window, for a side that reads so many records in one call.
    #[must_use]
    pub fn new(windows: &[Window], read_ids: usize) -> Self {
        let most = |window: &Window| u64::from(window.requests / 2).saturating_mul(read_ids as u64);
        let used = |window: &Window| Used { most: most(window), per_ms: window.per_ms, taken: VecDeque::new(), sum: 0 };
        Self { windows: windows.iter().map(used).collect() }
    }

    /// Whether one more record may be read by itself; it then counts.
    pub fn take(&mut self, now_ms: i64) -> bool {
        for used in &mut self.windows {
            let since_ms = now_ms.saturating_sub_unsigned(used.per_ms);
            while let Some((at_ms, records)) = used.taken.front()
                && *at_ms <= since_ms
            {
                used.sum -= records;
                used.taken.pop_front();
            }
        }
        if self.windows.iter().any(|used| used.sum >= used.most) {
            return false;
        }
        for used in &mut self.windows {
            used.sum += 1;
            match used.taken.back_mut() {
                Some((at_ms, records)) if *at_ms == now_ms => *records += 1,
                Some(_) | None => used.taken.push_back((now_ms, 1)),
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_every_window_is_never_passed() {
        let windows = [Window::new(10, 1_000), Window::new(16, 10_000)];
        let mut share = HintShare::new(&windows, 1);
        let taken: Vec<i64> = (0..30_000).filter(|now_ms| share.take(*now_ms)).collect();
        for (most, per_ms) in [(5, 1_000), (8, 10_000)] {
            let busiest =
                taken.iter().map(|from| taken.iter().filter(|at| (*from..from + per_ms).contains(at)).count());
            assert_eq!(busiest.max(), Some(most), "{per_ms}");
        }
        assert_eq!(taken.len(), 24, "as much as there is");
    }

    #[test]
    fn a_call_for_many_records_counts_once_and_no_window_is_no_limit() {
        let mut share = HintShare::new(&[Window::new(4, 1_000)], 50);
        assert_eq!((0..500).filter(|_| share.take(5)).count(), 100);
        let mut share = HintShare::new(&[], 1);
        assert_eq!((0..500).filter(|_| share.take(5)).count(), 500);
        let mut share = HintShare::new(&[Window::new(1, 1_000)], 1);
        assert!(!share.take(5), "there is no half of one call");
    }
}
