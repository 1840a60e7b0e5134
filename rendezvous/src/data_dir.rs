//! The tracker's folder: its lock, its identity, where its index is.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use libp2p::identity::Keypair;
use potluck_common::identity;

use crate::TrackerError;

/// An open data folder. The lock is held as long as it lives; the system frees it when the process dies.
#[derive(Debug)]
pub(crate) struct DataDir {
    /// Who the tracker is.
    pub(crate) key: Keypair,
    /// The database of what peers published.
    pub(crate) index: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Opens a data folder, and makes what is not there: the folder with mode 0700, the key with 0600.
    ///
    /// # Errors
    /// When another program uses the folder, the disk fails, or the key is broken or readable by others.
    pub(crate) fn open(path: &Path) -> Result<Self, TrackerError> {
        let failed = |source: io::Error| TrackerError::DataDir { path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path.join("lock")).map_err(failed)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => TrackerError::InUse(path.to_owned()),
            TryLockError::Error(source) => failed(source),
        })?;
        let key = identity::load_or_create(&path.join("identity"))?;
        Ok(Self { key, index: path.join("index.redb"), _lock: lock })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_used_by_one_at_a_time_and_keeps_its_identity() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/folder");
        let first = DataDir::open(&path).unwrap();
        assert!(matches!(DataDir::open(&path), Err(TrackerError::InUse(_))));
        let key = first.key.public();
        drop(first);
        assert_eq!(DataDir::open(&path).unwrap().key.public(), key);
    }

    #[test]
    fn a_file_in_the_place_of_the_folder_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(DataDir::open(file.path()), Err(TrackerError::DataDir { .. })));
    }
}
