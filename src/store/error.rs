//! What the store can fail with, in sentences that say what to do.

use std::error::Error;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::model::ids::{ConnNo, Epoch, SyncNo};
use crate::model::side::Side;

/// The longest piece of foreign text put into a message, in bytes.
const MAX_CLIP_BYTES: usize = 300;

/// An underlying failure, shared because one failed flush is told to many waiters.
pub type Cause = Arc<dyn Error + Send + Sync>;

/// What the store can fail with. After any of these nothing of the refused commit is
/// on disk, except where a variant says otherwise.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process, or another store of this one, has the file open.
    #[error("another kernel has {path} open: stop it, or give this one its own state file")]
    InUse {
        /// The file.
        path: String,
    },
    /// The file was written by a newer kernel, in a format that this one cannot read.
    #[error(
        "{path} has state format {format}, readable from format {oldest_reader} on, but this kernel knows formats up \
         to {known}: run the newer kernel, or start from an older copy of the file"
    )]
    Newer {
        /// The file.
        path: String,
        /// The format it was written in.
        format: u32,
        /// The oldest format whose kernels can read it.
        oldest_reader: u32,
        /// The newest format this kernel knows.
        known: u32,
    },
    /// The file, or one row of it, cannot be understood.
    #[error(
        "{place} is damaged or no state file: {reason}; put back a copy of the state file, or move it away to start \
         from an empty one, which pairs the records anew"
    )]
    Corrupt {
        /// The file or the row.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The commit comes from an actor that was replaced.
    #[error("connection {conn} is in epoch {stored}, so a commit of epoch {epoch} is refused")]
    StaleEpoch {
        /// The connection.
        conn: ConnNo,
        /// The epoch of the commit.
        epoch: Epoch,
        /// The epoch on disk.
        stored: Epoch,
    },
    /// A cursor does not stand where the commit says that it stands.
    #[error("the {side} cursor of sync {sync} on connection {conn} has moved since it was read")]
    CursorMoved {
        /// The connection.
        conn: ConnNo,
        /// The sync.
        sync: SyncNo,
        /// The side.
        side: Side,
    },
    /// The commit contradicts itself or the store in a way only a bug can cause.
    #[error("a commit is refused: {0}")]
    Misuse(String),
    /// There is no such connection in the file, or it was purged.
    #[error("there is no connection {0} in the state file")]
    NoConnection(ConnNo),
    /// A kind of number is used up.
    #[error("the state file holds as many {what} as it can number")]
    Full {
        /// What is numbered.
        what: &'static str,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// The database crashed inside; nothing is written any more until the file is
    /// opened anew.
    #[error("the store stopped writing after it crashed ({reason}): restart the kernel")]
    Poisoned {
        /// The panic's message.
        reason: String,
    },
    /// The disk refused. A commit that was being flushed may or may not be on disk
    /// (whole, never half); it counts as not done until the file was read again.
    #[error("failed to {doing}: {cause}{}", hint(cause))]
    Disk {
        /// What was tried.
        doing: &'static str,
        /// What the database or the system said.
        #[source]
        cause: Cause,
    },
}

impl StoreError {
    /// Translates an error of the database.
    pub(crate) fn database(doing: &'static str, error: impl Into<redb::Error>) -> Self {
        match error.into() {
            redb::Error::DatabaseClosed => StoreError::Closed,
            redb::Error::Corrupted(reason) => corrupt("the state file", clip(&reason)),
            redb::Error::Io(error) => StoreError::Disk { doing, cause: Arc::new(error) },
            other => StoreError::Disk { doing, cause: Arc::new(Opaque::of(&other)) },
        }
    }

    /// Translates an error of the file system.
    pub(crate) fn io(doing: &'static str, error: std::io::Error) -> Self {
        StoreError::Disk { doing, cause: Arc::new(error) }
    }
}

/// A damaged place, with the reason.
pub(crate) fn corrupt(place: impl Into<String>, reason: impl Into<String>) -> StoreError {
    StoreError::Corrupt { place: place.into(), reason: reason.into() }
}

/// What to do about a cause that has a well-known remedy.
fn hint(cause: &Cause) -> &'static str {
    let kind = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    match kind {
        Some(std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded) => {
            "; nothing was written: make room on the disk, then restart the kernel"
        }
        Some(std::io::ErrorKind::PermissionDenied) => "; the kernel must own the file and its folder",
        Some(std::io::ErrorKind::NotFound) => "; the folder must exist",
        _ => "",
    }
}

/// A database error as its text, so that no type of the database shows outside.
#[derive(Debug)]
struct Opaque(String);

impl Opaque {
    fn of(error: &redb::Error) -> Self {
        match error {
            redb::Error::PreviousIo => {
                Self("an earlier disk error stopped all writing; mend the disk, then restart the kernel".into())
            }
            other => Self(clip(&other.to_string())),
        }
    }
}

impl std::fmt::Display for Opaque {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Opaque {}

/// Foreign text, shortened and with control characters escaped.
pub(crate) fn clip(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(MAX_CLIP_BYTES));
    for c in text.chars() {
        if out.len() >= MAX_CLIP_BYTES {
            out.push('…');
            break;
        }
        if c.is_control() {
            // Writing to a String cannot fail.
            let _ = write!(out, "{}", c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Runs something that crashes on a damaged file; the panic's text if it did.
pub(crate) fn caught<T>(act: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(act)).map_err(|payload| panic_text(&*payload))
}

fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned());
    clip(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_is_short_and_printable() {
        assert_eq!(clip("a\nb\u{1b}[0m"), "a\\nb\\u{1b}[0m");
        let long = clip(&"ä".repeat(10_000));
        assert!(long.len() <= MAX_CLIP_BYTES + 8, "{}", long.len());
    }

    #[test]
    fn a_full_disk_says_what_to_do() {
        let error = StoreError::io("write the state file", std::io::ErrorKind::StorageFull.into());
        assert!(error.to_string().contains("make room"), "{error}");
        let error = StoreError::database("commit", redb::Error::PreviousIo);
        assert!(error.to_string().contains("restart the kernel"), "{error}");
    }
}
