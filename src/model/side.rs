//! The two sides of a sync, and a pair of things with one for each.

use std::fmt;
use std::ops::{Index, IndexMut};

use serde::{Deserialize, Serialize};

/// One of the two sides that a sync keeps in agreement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Your app.
    App,
    /// The connected app.
    Remote,
}

impl Side {
    /// Both sides, app first.
    pub const BOTH: [Side; 2] = [Side::App, Side::Remote];

    /// The opposite side.
    #[must_use]
    pub fn other(self) -> Side {
        match self {
            Side::App => Side::Remote,
            Side::Remote => Side::App,
        }
    }

    /// The word used in configuration, logs and tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Side::App => "app",
            Side::Remote => "remote",
        }
    }

    /// The byte used in keys: app 0, remote 1.
    #[must_use]
    pub fn byte(self) -> u8 {
        match self {
            Side::App => 0,
            Side::Remote => 1,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One `T` for each side, chosen by indexing with a [`Side`], so that the two are
/// never crossed by position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct PerSide<T> {
    /// The app side's.
    pub app: T,
    /// The remote side's.
    pub remote: T,
}

impl<T> PerSide<T> {
    /// Builds both by asking for each side.
    pub fn from_fn(mut make: impl FnMut(Side) -> T) -> Self {
        Self { app: make(Side::App), remote: make(Side::Remote) }
    }

    /// Borrows both.
    pub fn as_ref(&self) -> PerSide<&T> {
        PerSide { app: &self.app, remote: &self.remote }
    }
}

impl<T> Index<Side> for PerSide<T> {
    type Output = T;
    fn index(&self, side: Side) -> &T {
        match side {
            Side::App => &self.app,
            Side::Remote => &self.remote,
        }
    }
}

impl<T> IndexMut<Side> for PerSide<T> {
    fn index_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::App => &mut self.app,
            Side::Remote => &mut self.remote,
        }
    }
}
