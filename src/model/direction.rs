//! Which way a sync carries changes.

use serde::{Deserialize, Serialize};

use super::side::Side;

/// Which way a sync carries changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From your app to the connected app.
    Out,
    /// From the connected app to your app.
    In,
    /// Both ways.
    TwoWay,
}

impl Direction {
    /// Whether the kernel may write this side.
    #[must_use]
    pub fn writes(self, side: Side) -> bool {
        match (self, side) {
            (Direction::TwoWay, Side::App | Side::Remote)
            | (Direction::Out, Side::Remote)
            | (Direction::In, Side::App) => true,
            (Direction::Out, Side::App) | (Direction::In, Side::Remote) => false,
        }
    }

    /// The only side written in a one-way sync.
    #[must_use]
    pub fn target(self) -> Option<Side> {
        match self {
            Direction::Out => Some(Side::Remote),
            Direction::In => Some(Side::App),
            Direction::TwoWay => None,
        }
    }
}
