//! [`DownloadDir`]: the folder below which downloads are written, and nowhere else.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use potluck_common::content_id::ContentId;
use potluck_common::share_path::{SharePath, SharePathError};
use rustix::fs::{Mode, OFlags, fstatvfs, mkdirat};
use rustix::io::Errno;

use super::beneath;
use super::hasher::hash_file;
use super::local_name::LocalName;
use super::part_file::PART_SUFFIX;
use super::share_dir::SharedFile;

/// The download folder, by an open handle. Cloning shares the handle.
#[derive(Clone, Debug)]
pub struct DownloadDir {
    path: PathBuf,
    handle: Arc<OwnedFd>,
}

/// Where a file goes below the download folder: folders and a name that are safe on every system.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TargetPath {
    folders: Vec<LocalName>,
    name: LocalName,
}

/// A download cannot go on on this disk. Paths are local ones, for the user's eyes.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk or the user's quota is full. What was written before stays.
    #[error("no room is left for {}; free some space, the download goes on where it stopped", path.display())]
    NoSpace {
        /// The file or folder in question.
        path: PathBuf,
    },
    /// The file system, or a limit of this process, takes no file of that size.
    #[error("{} is larger than this disk takes; choose another download folder", path.display())]
    FileTooBig {
        /// The file in question.
        path: PathBuf,
    },
    /// The disk is mounted read-only.
    #[error("{} is on a read-only disk; choose another download folder", path.display())]
    ReadOnly {
        /// The file or folder in question.
        path: PathBuf,
    },
    /// The permissions forbid it.
    #[error("{} may not be written; check its permissions or choose another download folder", path.display())]
    Denied {
        /// The file or folder in question.
        path: PathBuf,
    },
    /// Something is at the target already.
    #[error("{} already exists; nothing was overwritten: move it away, or take a numbered name", path.display())]
    Exists {
        /// The target.
        path: PathBuf,
    },
    /// A file, link or device is where a folder or a temporary file of ours has to be.
    #[error("{} is in the way: it is not what this download needs there; move it away", path.display())]
    InTheWay {
        /// What is in the way.
        path: PathBuf,
    },
    /// Another program, or another download, is writing the same temporary file.
    #[error("{} is being downloaded already; wait for it", path.display())]
    Busy {
        /// The temporary file.
        path: PathBuf,
    },
    /// The temporary file or its folder was moved, replaced or deleted.
    #[error("{} was moved or deleted while it was downloaded; start the download again", path.display())]
    Moved {
        /// The temporary file.
        path: PathBuf,
    },
    /// The disk failed to keep what was written: nothing of the file may be believed until it was read and verified.
    #[error("the disk did not keep what was written to {}; the file is verified again when the download resumes", path.display())]
    Unsynced {
        /// The temporary file.
        path: PathBuf,
    },
    /// Anything else that a disk may do.
    #[error("{} cannot be read or written: {source}", path.display())]
    Io {
        /// The file or folder in question.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl DownloadDir {
    /// Opens the download folder, and makes it when it is not there. Symbolic links in `path` are followed: the user chose it.
    ///
    /// # Errors
    /// When it cannot be made or opened.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let handle = std::fs::create_dir_all(&path).and_then(|()| beneath::open_root(&path)).map_err(|error| store_error(&path, error))?;
        Ok(Self { path, handle: Arc::new(handle) })
    }

    /// The folder on this disk.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that the user may still write on this disk; `None` where the file system does not tell.
    ///
    /// # Errors
    /// When the disk cannot be asked.
    pub fn free_bytes(&self) -> Result<Option<u64>, StoreError> {
        let stat = fstatvfs(self.handle.as_fd()).map_err(|error| store_error(&self.path, error.into()))?;
        Ok((stat.f_blocks > 0).then(|| stat.f_bavail.saturating_mul(stat.f_frsize)))
    }

    /// The target's path on this disk.
    #[must_use]
    pub fn path_of(&self, target: &TargetPath) -> PathBuf {
        self.folder_path(target).join(target.name.as_str())
    }

    /// Whether anything has the target's name.
    #[must_use]
    pub fn is_taken(&self, target: &TargetPath) -> bool {
        let stat = |folder: OwnedFd| rustix::fs::statat(&folder, target.name.as_str(), rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
        self.find_folder(target).is_ok_and(|folder| stat(folder).is_ok())
    }

    pub(super) fn folder_path(&self, target: &TargetPath) -> PathBuf {
        target.folders.iter().fold(self.path.clone(), |path, folder| path.join(folder.as_str()))
    }

    /// Opens the target's folder if it is there.
    pub(super) fn find_folder(&self, target: &TargetPath) -> io::Result<OwnedFd> {
        let names: Vec<_> = target.folders.iter().map(LocalName::as_str).collect();
        beneath::open(self.handle.as_fd(), &names.join("/"), OFlags::RDONLY | OFlags::DIRECTORY)
    }

    /// Opens the target's folder, making what is missing on the way, each below the handle of the one before.
    pub(super) fn make_folder(&self, target: &TargetPath) -> Result<OwnedFd, StoreError> {
        let mut path = self.path.clone();
        let mut at = beneath::open_folder(self.handle.as_fd(), ".").map_err(|error| store_error(&path, error.into()))?;
        for folder in &target.folders {
            path.push(folder.as_str());
            match mkdirat(&at, folder.as_str(), Mode::from_raw_mode(0o777)) {
                // The new name must outlive a power cut as long as the files below it.
                Ok(()) => File::from(at.try_clone().map_err(|error| store_error(&path, error))?)
                    .sync_all()
                    .map_err(|error| store_error(&path, error))?,
                Err(Errno::EXIST) => {}
                Err(error) => return Err(store_error(&path, error.into())),
            }
            at = match beneath::open_folder(at.as_fd(), folder.as_str()) {
                Ok(next) => next,
                Err(Errno::NOTDIR | Errno::LOOP) => return Err(StoreError::InTheWay { path }),
                Err(error) => return Err(store_error(&path, error.into())),
            };
        }
        Ok(at)
    }
}

impl TargetPath {
    /// The place for a remote file below the download folder. Each component keeps its name where every system can
    /// store it, and gets a [`LocalName`] where not.
    ///
    /// # Errors
    /// None that a [`SharePath`] can cause; the type of its parts' error.
    pub fn new(path: &SharePath) -> Result<Self, SharePathError> {
        let mut folders = path.components().map(LocalName::new).collect::<Result<Vec<_>, _>>()?;
        let name = folders.pop().ok_or(SharePathError::EmptyComponent)?;
        Ok(Self { folders, name })
    }

    /// The file's own name.
    #[must_use]
    pub fn name(&self) -> &LocalName {
        &self.name
    }
}

/// Whether the file with that content id lies at the target already. Reads it whole when its size is right; `false` when
/// it cannot be read or `cancel` is set meanwhile.
#[must_use]
pub fn already_there(dir: &DownloadDir, target: &TargetPath, content_id: ContentId, size: u64, cancel: &AtomicBool) -> bool {
    let Ok(folder) = dir.find_folder(target) else { return false };
    let Ok(file) = beneath::open(folder.as_fd(), target.name.as_str(), OFlags::RDONLY) else { return false };
    let Ok(file) = SharedFile::from_handle(file) else { return false };
    file.stamp().size == size && hash_file(&file, cancel, &mut |_| {}).is_ok_and(|hashed| hashed.content_id == content_id)
}

/// Deletes the temporary files of downloads in a folder of the node's own, which no download writes any more.
pub fn clear_parts(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_part = entry.file_name().to_str().is_some_and(|name| name.ends_with(PART_SUFFIX));
        if is_part && let Err(error) = std::fs::remove_file(entry.path()) {
            tracing::debug!(%error, "a temporary file is not deleted");
        }
    }
}

/// Sorts what a system says into what a user can do about it.
pub(super) fn store_error(path: &Path, source: io::Error) -> StoreError {
    let path = path.to_owned();
    match Errno::from_io_error(&source) {
        Some(Errno::NOSPC | Errno::DQUOT) => StoreError::NoSpace { path },
        Some(Errno::FBIG) => StoreError::FileTooBig { path },
        Some(Errno::ROFS) => StoreError::ReadOnly { path },
        Some(Errno::ACCESS | Errno::PERM) => StoreError::Denied { path },
        Some(Errno::NOTDIR | Errno::LOOP | Errno::EXIST) => StoreError::InTheWay { path },
        _ => StoreError::Io { path, source },
    }
}
