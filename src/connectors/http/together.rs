//! Limits of all connections of a connector together: an app's that counts the calls of a client,
//! whichever customer they are for.

use std::sync::{Arc, OnceLock};

use crate::connectors::Calls;
use crate::model::budget::Limits;

/// A budget that lives with its connector file, and so is shared by all its connections. Shared
/// by its clones, too.
#[derive(Debug, Clone)]
pub(super) struct Together {
    limits: Limits,
    /// Made when the first call is.
    calls: Arc<OnceLock<Calls>>,
}

impl Together {
    pub fn new(limits: Limits) -> Self {
        Self { limits, calls: Arc::default() }
    }

    /// The budget.
    pub fn calls(&self) -> &Calls {
        self.calls.get_or_init(|| {
            let calls = Calls::new(&self.limits);
            // Of the process before nothing is known here.
            calls.assume_spent();
            calls
        })
    }

    /// Goes on with the budget of an earlier reading of the same file, so that a reload gives
    /// nobody the same calls twice. Without effect where other limits are declared, or calls were
    /// made with this one.
    pub fn go_on_with(&self, earlier: &Together) {
        if self.limits == earlier.limits {
            let _ = self.calls.set(earlier.calls().clone());
        }
    }
}

/// Two are the same where they limit the same.
impl PartialEq for Together {
    fn eq(&self, other: &Self) -> bool {
        self.limits == other.limits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::budget::Window;

    fn together(requests: u32) -> Together {
        Together::new(Limits { windows: vec![Window::new(requests, 1_000)], ..Limits::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn a_reload_goes_on_with_the_budget_unless_the_limits_are_others() {
        let (first, again, other) = (together(10), together(10), together(20));
        drop(first.calls().permit().await);
        again.go_on_with(&first);
        other.go_on_with(&first);
        assert_eq!((again.calls().made(), other.calls().made()), (1, 0));
        drop(first.clone().calls().permit().await);
        assert_eq!(again.calls().made(), 2, "one budget");
        let late = together(10);
        drop(late.calls().permit().await);
        late.go_on_with(&first);
        assert_eq!(late.calls().made(), 1, "calls were made with it already");
    }
}
