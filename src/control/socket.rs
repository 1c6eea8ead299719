//! The socket itself: where it is, and how it comes to be without a moment in which
//! others could connect.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// The longest path that fits into a socket's address on every system, in bytes.
pub(super) const MAX_SOCKET_PATH_BYTES: usize = 103;

/// Where the socket of a state file is: `acme.redb.sock` for `acme.redb`.
#[must_use]
pub fn socket_path(state: &Path) -> PathBuf {
    let mut name = OsString::from(state.as_os_str());
    name.push(".sock");
    PathBuf::from(name)
}

/// Listens at a path. The socket is made in a folder that only its owner can enter,
/// given its mode there, and only then moved to its place, over a stale one.
///
/// # Errors
/// When somebody answers there already, the path is too long, or the folder may not be
/// written.
#[cfg(unix)]
pub(super) fn listen(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::{UnixListener, UnixStream};

    use crate::temporary::TemporaryFolder;

    if path.as_os_str().len() > MAX_SOCKET_PATH_BYTES {
        let reason =
            format!("the path is longer than {MAX_SOCKET_PATH_BYTES} bytes; give the state file a shorter one");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    if UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another kernel answers there; stop it first"));
    }
    // Beside its final place, because a socket cannot be moved to another disk.
    let beside = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = TemporaryFolder::create_in(beside, "control")?;
    let made = folder.path().join("s");
    let (listener, placed) = if made.as_os_str().len() <= MAX_SOCKET_PATH_BYTES {
        (UnixListener::bind(&made)?, made)
    } else {
        // No room for the detour: made in its place, closed to others right after.
        if path.exists() {
            std::fs::remove_file(path)?;
        }
        (UnixListener::bind(path)?, path.to_owned())
    };
    std::fs::set_permissions(&placed, std::fs::Permissions::from_mode(0o600))?;
    if placed != path {
        std::fs::rename(&placed, path)?;
    }
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_stands_beside_the_state_file() {
        for (state, socket) in [("acme.redb", "acme.redb.sock"), ("/var/lib/a b", "/var/lib/a b.sock")] {
            assert_eq!(socket_path(Path::new(state)), Path::new(socket));
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
        use std::os::unix::fs::PermissionsExt;
        let folder = crate::temporary::TemporaryFolder::create_in(&std::env::temp_dir(), "s").unwrap();
        let path = folder.path().join("x.sock");
        let first = listen(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let refused = listen(&path).unwrap_err();
        assert!(refused.to_string().contains("another kernel answers"), "{refused}");
        drop(first);
        assert!(path.exists(), "a stale socket is left behind");
        drop(listen(&path).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "the detour leaves nothing behind");
        let long = folder.path().join("x".repeat(MAX_SOCKET_PATH_BYTES));
        assert!(listen(&long).unwrap_err().to_string().contains("shorter"));
    }
}
