//! Nouns: the plain data every other layer speaks in.
//!
//! Nothing here does I/O, reads a clock, awaits, or knows an actor. A type in this
//! layer carries a rule where it can (ids that cannot be crossed, a cursor that only
//! moves by a delta with both ends), so that the layers above cannot break it.

pub mod budget;
pub mod cursor;
pub mod direction;
pub mod document;
pub mod hash;
pub mod hint;
pub mod ids;
pub mod marker;
pub mod notice;
pub mod path;
pub mod record;
pub mod schedule;
pub mod side;
pub mod value;
pub mod work;
pub mod write;
pub mod zone;
