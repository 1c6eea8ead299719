//! The hint: what a trigger says may have changed. It names what is to be read, and is
//! hardly ever believed further than that.

use serde::{Deserialize, Serialize};

use super::ids::{ObjectName, RecordId};
use super::side::Side;
use super::work::Lane;

/// Something that may have changed on one side: a record, or some of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hint {
    /// The lane in which it is to be looked at; says what kind of trigger it came from.
    pub lane: Lane,
    /// The side on which it changed.
    pub side: Side,
    /// The object, by its name on that side.
    pub object: ObjectName,
    /// The record; `None` where only the object is known, whose list of changes is then
    /// read.
    pub id: Option<RecordId>,
    /// The record's text as it was told, for the rare case that it may stand for a read.
    pub told: Option<String>,
    /// When it was accepted, in milliseconds since 1970.
    pub at_ms: i64,
    /// Not to be looked at before this time, in milliseconds since 1970, so that what is
    /// half typed is not sent.
    pub due_ms: i64,
}
