//! Identifiers. Numbers name things inside one state file and are never reused;
//! texts name things in the outside world and are kept verbatim.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number!(
    /// A connection's number in the state file; first in every key.
    ConnNo(u32)
);
number!(
    /// A sync's number in the state file.
    SyncNo(u16)
);
number!(
    /// A mapped field's number within its sync. A field whose paths or transform
    /// change gets a new number, so an old base is never read with a new meaning.
    FieldNo(u16)
);
number!(
    /// A pair's number, sequential within its connection. It exists before either
    /// record id does and survives relinking.
    PairNo(u64)
);
number!(
    /// How many times a connection's actor has started. Every commit carries it and
    /// the store refuses an older one, so a replaced actor cannot write.
    Epoch(u64)
);

macro_rules! text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps the text verbatim.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }
            /// The text, verbatim.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self::new(text)
            }
        }
    };
}

text!(
    /// A record's name on one side, exactly as that side spells it (a JSON number
    /// keeps its digits). Connectors speak plain ids; the kernel always holds them
    /// under a side, in a [`PerSide`](super::side::PerSide) or beside a
    /// [`Side`](super::side::Side).
    RecordId
);
text!(
    /// A record's revision on one side: an ETag, a modified time, a counter. Only
    /// compared for equality.
    Version
);
text!(
    /// The name of an object (a record type) on one side: `contacts`.
    ObjectName
);
text!(
    /// What the user calls a connection: `acme`.
    ConnectionId
);
text!(
    /// What the user calls a sync: `contacts`.
    SyncName
);
text!(
    /// Which of your app's records belong to one customer: `acct_42`.
    Scope
);

/// The longest record id accepted, in bytes. Ids are parts of redb keys and of URLs;
/// the longest seen in the field (base64 Graph ids) stay under 512.
pub const MAX_RECORD_ID_BYTES: usize = 1_024;

/// One enumeration of one side: the epoch it ran in and its number within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RunId {
    /// The epoch of the connection's actor.
    pub epoch: Epoch,
    /// Counted from 1 within the epoch.
    pub n: u64,
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.n)
    }
}
