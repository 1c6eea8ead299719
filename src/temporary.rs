//! Shell: a folder that only its owner can enter and that is gone when it is dropped.

use std::io;
use std::path::{Path, PathBuf};

/// A folder of its own, removed with all it holds when dropped.
#[derive(Debug)]
pub struct TemporaryFolder {
    path: PathBuf,
}

impl TemporaryFolder {
    /// Makes one inside `parent`, named after its purpose.
    ///
    /// # Errors
    /// When the parent is no folder or may not be written.
    pub fn create_in(parent: &Path, purpose: &str) -> io::Result<Self> {
        // Not a secret: the folder is refused when somebody else made it first.
        let path = parent.join(format!(".syncline-{purpose}-{}-{:08x}", std::process::id(), fastrand::u32(..)));
        create_private(&path)?;
        Ok(Self { path })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(unix)]
fn create_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().mode(0o700).create(path)
}

#[cfg(not(unix))]
fn create_private(path: &Path) -> io::Result<()> {
    std::fs::create_dir(path)
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!("failed to remove the temporary folder {}: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_private_and_goes_with_all_it_holds() {
        let folder = TemporaryFolder::create_in(&std::env::temp_dir(), "test").unwrap();
        let path = folder.path().to_owned();
        std::fs::write(path.join("file"), "x").unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        }
        drop(folder);
        assert!(!path.exists());
    }
}
