//! Time and chance, injected, so that a whole kernel can be replayed.

use std::sync::Arc;

use chrono::{DateTime, Utc};

type WallClock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Where the kernel gets time and chance from. Timers always come from tokio, so they
/// follow paused time; this adds the wall clock and the seed.
#[derive(Clone)]
pub struct Env {
    wall_ms: WallClock,
    seed: u64,
}

impl Env {
    /// The machine's clock and a random seed.
    #[must_use]
    pub fn system() -> Self {
        Self { wall_ms: Arc::new(|| Utc::now().timestamp_millis()), seed: fastrand::u64(..) }
    }

    /// A wall clock of the caller's, in milliseconds since 1970, and a fixed seed.
    #[must_use]
    pub fn with_clock(wall_ms: impl Fn() -> i64 + Send + Sync + 'static, seed: u64) -> Self {
        Self { wall_ms: Arc::new(wall_ms), seed }
    }

    /// A wall clock that starts at a time and moves with tokio's clock (paused or
    /// not), and a fixed seed.
    #[must_use]
    pub fn simulated(start: DateTime<Utc>, seed: u64) -> Self {
        let origin = tokio::time::Instant::now();
        let start_ms = start.timestamp_millis();
        let wall_ms = move || start_ms + i64::try_from(origin.elapsed().as_millis()).unwrap_or(i64::MAX - start_ms);
        Self { wall_ms: Arc::new(wall_ms), seed }
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        (self.wall_ms)()
    }

    /// A random generator of its own for each stream.
    #[must_use]
    pub fn rng(&self, stream: u64) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.seed ^ stream.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }
}

impl std::fmt::Debug for Env {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Env").field("seed", &self.seed).finish_non_exhaustive()
    }
}
