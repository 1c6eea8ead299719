//! Which way a sync carries changes.

use std::fmt;

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
    /// All directions, in the order in which they are listed to a user.
    pub const ALL: [Direction; 3] = [Direction::Out, Direction::In, Direction::TwoWay];

    /// The word used in configuration, logs and tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::Out => "out",
            Direction::In => "in",
            Direction::TwoWay => "two_way",
        }
    }

    /// Reads the word; `None` for any other word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|direction| direction.as_str() == word)
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

    /// Whether such a sync ever writes to a side.
    #[must_use]
    pub fn writes(self, side: Side) -> bool {
        match (self, side) {
            (Direction::Out, Side::Remote) | (Direction::In, Side::App) | (Direction::TwoWay, _) => true,
            (Direction::Out, Side::App) | (Direction::In, Side::Remote) => false,
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_read_back_and_says_which_sides_are_written() {
        for (word, app, remote) in [("out", false, true), ("in", true, false), ("two_way", true, true)] {
            let direction = Direction::parse(word).unwrap();
            assert_eq!(direction.as_str(), word);
            assert_eq!(serde_json::to_string(&direction).unwrap(), format!("\"{word}\""));
            assert_eq!((direction.writes(Side::App), direction.writes(Side::Remote)), (app, remote), "{word}");
        }
        assert_eq!(Direction::parse("both"), None);
    }
}
