//! The database's file: its lock, how it is opened, what its errors mean, and moving a damaged one aside.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError};
use rustix::fs::{FlockOperation, flock};

/// Version of the tables in `state.rs`. A newer one is refused, not guessed at.
pub(super) const SCHEMA: u32 = 1;
/// Name of the lock file: held by the one process that runs on the data folder.
pub(super) const LOCK: &str = "lock";
/// Memory for database pages (512 KiB): the upper levels of the tree of a million files and room for a batch. With 8 MiB a million files
/// are hashed in as much processor time, and an idle node holds 6 MiB more for ever.
const CACHE_BYTES: usize = 512 << 10;
/// Most broken databases that are kept aside.
const MAX_BROKEN: u32 = 1_000;

/// The database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another node runs on the data folder.
    #[error("another node runs on {}; stop it, or take another --data-dir", dir.display())]
    InUse {
        /// The data folder.
        dir: PathBuf,
    },
    /// The database is damaged.
    #[error(
        "{} is damaged ({reason}); move it away and start again: then add shares and downloads again, no file and no identity is lost",
        path.display()
    )]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// A later version of the program wrote it.
    #[error("{} was written by a newer version of potluck (format {found}, this one knows {SCHEMA}); run that version", path.display())]
    Newer {
        /// The database.
        path: PathBuf,
        /// The version that was found.
        found: u32,
    },
    /// The disk is full.
    #[error("no room is left for {}; free some space and start again", path.display())]
    NoSpace {
        /// The database.
        path: PathBuf,
    },
    /// The disk failed, or the permissions forbid it.
    #[error("{} cannot be read or written: {reason}; check the disk and the permissions", path.display())]
    Disk {
        /// The database or its folder.
        path: PathBuf,
        /// What the system or the database said.
        reason: String,
    },
}

/// Names the database in the errors of what is done with it.
pub(super) struct Fallible<'a> {
    pub(super) path: &'a Path,
}

impl Fallible<'_> {
    pub(super) fn run<T>(&self, result: Result<T, impl Into<redb::Error>>) -> Result<T, StateError> {
        result.map_err(|error| self.sort(error.into()))
    }

    fn sort(&self, error: redb::Error) -> StateError {
        let path = self.path.to_owned();
        match error {
            redb::Error::DatabaseAlreadyOpen => StateError::InUse { dir: path.parent().unwrap_or(&path).to_owned() },
            redb::Error::Io(error) if error.kind() != io::ErrorKind::InvalidData => disk_error(&path, error),
            redb::Error::Corrupted(_)
            | redb::Error::Io(_)
            | redb::Error::UpgradeRequired(_)
            | redb::Error::RepairAborted
            | redb::Error::TableTypeMismatch { .. }
            | redb::Error::TypeDefinitionChanged { .. }
            | redb::Error::TableDoesNotExist(_)
            | redb::Error::TableIsMultimap(_)
            | redb::Error::TableIsNotMultimap(_) => StateError::Corrupt { path, reason: error.to_string() },
            error => StateError::Disk { path, reason: error.to_string() },
        }
    }
}

/// Makes the data folder if need be and takes its lock.
pub(super) fn lock_folder(dir: &Path) -> Result<OwnedFd, StateError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| disk_error(dir, error))?;
    let path = dir.join(LOCK);
    let file =
        File::options().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(|error| disk_error(&path, error))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file.into()),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StateError::InUse { dir: dir.to_owned() }),
        Err(error) => Err(disk_error(&path, error.into())),
    }
}

/// Opens the database, or makes an empty one where no file may be yet.
pub(super) fn open_database(path: &Path, create: bool) -> Result<Database, DatabaseError> {
    let file = File::options().read(true).write(true).create_new(create).mode(0o600).open(path)?;
    let backend = FileBackend::new(file)?;
    Builder::new().set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true).create_with_backend(backend)
}

/// Moves what is at `path` to the first free `PATH.broken-N`.
pub(super) fn move_aside(path: &Path) -> io::Result<Option<PathBuf>> {
    if !path.exists() {
        return Ok(None);
    }
    for number in 1..=MAX_BROKEN {
        let aside = PathBuf::from(format!("{}.broken-{number}", path.display()));
        if !aside.exists() {
            std::fs::rename(path, &aside)?;
            return Ok(Some(aside));
        }
    }
    Err(io::Error::other("there are too many broken databases already; delete some"))
}

pub(super) fn disk_error(path: &Path, error: io::Error) -> StateError {
    let path = path.to_owned();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StateError::NoSpace { path },
        _ => StateError::Disk { path, reason: error.to_string() },
    }
}
