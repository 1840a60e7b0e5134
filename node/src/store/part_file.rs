//! [`PartFile`]: a download in progress, beside its target under a temporary name.
//!
//! The rules, each with a test below: only the temporary file is ever written; its name becomes the target's only when
//! nothing is there; nothing that a user could own is replaced or removed; after [`sync`](PartFile::sync) has failed once
//! nothing of the file is believed. The order that survives a power cut: `write_piece`, `sync`, then the caller's
//! checkpoint; at the end `finish`, which syncs the file, renames it and syncs the folder.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use potluck_common::content_id::ContentId;
use potluck_common::geometry::{Geometry, PieceIndex};
use potluck_common::share_path::MAX_COMPONENT_BYTES;
use rustix::fs::{
    AtFlags, FileType, FlockOperation, OFlags, RenameFlags, Stat, Timespec, Timestamps, UTIME_OMIT, flock, fstatvfs, futimens, linkat,
    renameat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;

use super::beneath;
use super::download_dir::{DownloadDir, StoreError, TargetPath, store_error};
use super::local_name::cut_to;

/// How the names of temporary files end. They begin with a dot.
pub const PART_SUFFIX: &str = ".potluck-part";

/// Hex digits of the content id in a temporary name: two downloads of one name into one folder don't meet.
const ID_DIGITS: usize = 16;

/// Last number that is tried for a taken name.
const MAX_NUMBER: u32 = 9_999;

/// A download that grows. Its methods take `&self` and may be called from several threads.
///
/// Dropping it leaves the temporary file as it is, to be opened again.
#[derive(Debug)]
pub struct PartFile {
    dir: DownloadDir,
    target: TargetPath,
    folder: OwnedFd,
    name: String,
    file: File,
    geometry: Geometry,
    is_new: bool,
    unsynced: AtomicBool,
    finished: AtomicBool,
}

/// What to do when the target's name is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnConflict {
    /// Take the first free of `NAME (1).EXT`, `NAME (2).EXT`, …
    #[default]
    Number,
    /// Fail with [`StoreError::Exists`].
    Error,
}

impl From<crate::types::OnConflict> for OnConflict {
    fn from(wish: crate::types::OnConflict) -> Self {
        match wish {
            crate::types::OnConflict::Number => Self::Number,
            crate::types::OnConflict::Error => Self::Error,
        }
    }
}

/// A finished download.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Where the file is now.
    pub path: PathBuf,
}

impl PartFile {
    /// Opens the temporary file of a download, or makes it, with all folders on the way to it.
    ///
    /// [`is_new`](Self::is_new) then tells whether anything of an earlier run is in it. The target itself is not looked at.
    ///
    /// # Errors
    /// [`StoreError::NoSpace`] when the disk has less room than the file still needs; [`StoreError::InTheWay`] when
    /// something that is not a temporary file of ours is in its place or a folder on the way is a link or a file;
    /// [`StoreError::Busy`] while somebody else has it open; and what else a disk may do.
    pub fn open_or_create(dir: &DownloadDir, target: &TargetPath, geometry: Geometry, content_id: ContentId) -> Result<Self, StoreError> {
        let folder = dir.make_folder(target)?;
        let name = part_name(target.name().as_str(), content_id);
        let path = dir.folder_path(target).join(&name);
        let (file, is_new) = open_part(&folder, &name).map_err(|error| match error {
            Errno::LOOP | Errno::ISDIR | Errno::NXIO | Errno::NODEV => StoreError::InTheWay { path: path.clone() },
            error => store_error(&path, error.into()),
        })?;
        let (stat, kind) = beneath::stat_file(&file).map_err(|error| store_error(&path, error))?;
        // A second name means that somebody planted a file of theirs, to have it overwritten.
        if kind != FileType::RegularFile || stat.st_nlink != 1 {
            return Err(StoreError::InTheWay { path });
        }
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Err(StoreError::Busy { path }),
            Ok(()) | Err(_) => {} // network file systems without locks: the node's own lock has to do
        }
        let part = Self {
            dir: dir.clone(),
            target: target.clone(),
            folder,
            name,
            file: file.into(),
            geometry,
            is_new,
            unsynced: AtomicBool::new(false),
            finished: AtomicBool::new(false),
        };
        part.check_room(&stat)?;
        part.file.set_len(geometry.size()).map_err(|error| part.error(error))?;
        Ok(part)
    }

    /// Whether the file was made just now: no piece of an earlier run is in it.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Where the pieces of the file lie.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// The temporary file's path.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.dir.folder_path(&self.target).join(&self.name)
    }

    /// Writes a verified piece. It is safe from a power cut after the next [`sync`](Self::sync).
    ///
    /// # Errors
    /// [`StoreError::NoSpace`] and what else a disk may do; also when `bytes` are not as long as the piece, or the
    /// download is finished.
    pub fn write_piece(&self, piece: PieceIndex, bytes: &[u8]) -> Result<(), StoreError> {
        self.check_length(piece, bytes.len())?;
        if self.finished.load(Ordering::Acquire) {
            return Err(self.error(io::Error::new(io::ErrorKind::InvalidInput, "the download is finished")));
        }
        self.file.write_all_at(bytes, self.geometry.offset(piece)).map_err(|error| self.error(error))
    }

    /// Reads a piece back: to serve it, or to verify it after an unclean stop.
    ///
    /// # Errors
    /// When it cannot be read, or `buffer` is not as long as the piece.
    pub fn read_piece(&self, piece: PieceIndex, buffer: &mut [u8]) -> Result<(), StoreError> {
        self.check_length(piece, buffer.len())?;
        self.file.read_exact_at(buffer, self.geometry.offset(piece)).map_err(|error| self.error(error))
    }

    /// Waits until everything written so far is on the disk (`fdatasync`).
    ///
    /// # Errors
    /// [`StoreError::Unsynced`], now and for ever after: the kernel tells of a lost write once, and forgets it.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.sync_with(File::sync_data)
    }

    /// Makes the temporary file the target: syncs it, sets its time of change (seconds since 1970), renames it without
    /// replacing anything, syncs the folder. Ends the writing; on an error the temporary file stays.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the name is taken and `on_conflict` says so, or all numbers are;
    /// [`StoreError::Moved`] when the temporary file or its folder is not where it was; [`StoreError::Unsynced`]; and
    /// what else a disk may do.
    pub fn finish(&self, mtime: i64, on_conflict: OnConflict) -> Result<Finished, StoreError> {
        self.finished.store(true, Ordering::Release);
        let result = self.settle(mtime, on_conflict);
        if result.is_err() {
            self.finished.store(false, Ordering::Release);
        }
        result
    }

    /// Deletes the temporary file; the folders stay.
    ///
    /// # Errors
    /// [`StoreError::Moved`] when something else is in its place, which is left alone.
    pub fn discard(&self) -> Result<(), StoreError> {
        self.check_is_ours()?;
        unlinkat(&self.folder, &self.name, AtFlags::empty()).map_err(|error| self.error(error.into()))
    }

    fn settle(&self, mtime: i64, on_conflict: OnConflict) -> Result<Finished, StoreError> {
        let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        let times = Timestamps { last_access: omit, last_modification: Timespec { tv_sec: mtime, tv_nsec: 0 } };
        // A file system that cannot store the time (FAT before 1980) still stores the file.
        let _ = futimens(&self.file, &times);
        self.sync_with(File::sync_all)?;
        self.check_is_ours()?;
        let folder_path = self.dir.folder_path(&self.target);
        let wanted = self.target.name();
        let last = if on_conflict == OnConflict::Number { MAX_NUMBER } else { 0 };
        for number in 0..=last {
            let name = if number == 0 { wanted.clone() } else { wanted.numbered(number) };
            match rename_to_free_name(&self.folder, &self.name, name.as_str()) {
                Ok(()) => {
                    self.sync_folder()?;
                    return Ok(Finished { path: folder_path.join(name.as_str()) });
                }
                Err(Errno::EXIST) => {}
                Err(Errno::NOENT) => return Err(StoreError::Moved { path: self.path() }),
                Err(error) => return Err(self.error(error.into())),
            }
        }
        Err(StoreError::Exists { path: folder_path.join(wanted.as_str()) })
    }

    fn sync_with(&self, sync: fn(&File) -> io::Result<()>) -> Result<(), StoreError> {
        if self.unsynced.load(Ordering::Acquire) || sync(&self.file).is_err() {
            self.unsynced.store(true, Ordering::Release);
            return Err(StoreError::Unsynced { path: self.path() });
        }
        Ok(())
    }

    fn sync_folder(&self) -> Result<(), StoreError> {
        rustix::fs::fsync(&self.folder).map_err(|error| self.error(error.into()))
    }

    /// Checks that the temporary name still leads to the file that is open here.
    fn check_is_ours(&self) -> Result<(), StoreError> {
        let moved = || StoreError::Moved { path: self.path() };
        let same = |a: &Stat, b: &Stat| (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino);
        let stat = |file: &dyn AsFd| beneath::stat_file(file.as_fd()).map(|(stat, _)| stat).map_err(|_| moved());
        let folder_now = self.dir.find_folder(&self.target).map_err(|_| moved())?;
        let named = statat(&self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW).map_err(|_| moved())?;
        let in_place = same(&named, &stat(&self.file)?) && same(&stat(&folder_now)?, &stat(&self.folder)?);
        if in_place { Ok(()) } else { Err(moved()) }
    }

    /// Checks that the disk has room for what is not yet allocated of the file.
    #[allow(clippy::unnecessary_cast, clippy::cast_sign_loss, reason = "the field's type differs between systems")]
    fn check_room(&self, stat: &Stat) -> Result<(), StoreError> {
        let allocated = (stat.st_blocks as u64).saturating_mul(512);
        let needed = self.geometry.size().saturating_sub(allocated);
        let disk = fstatvfs(&self.folder).map_err(|error| self.error(error.into()))?;
        let tells = disk.f_blocks > 0;
        if tells && disk.f_bavail.saturating_mul(disk.f_frsize) < needed {
            return Err(StoreError::NoSpace { path: self.path() });
        }
        Ok(())
    }

    fn check_length(&self, piece: PieceIndex, length: usize) -> Result<(), StoreError> {
        if length as u64 == u64::from(self.geometry.length(piece)) {
            return Ok(());
        }
        Err(self.error(io::Error::new(io::ErrorKind::InvalidInput, "the bytes are not as long as the piece")))
    }

    fn error(&self, error: io::Error) -> StoreError {
        store_error(&self.path(), error)
    }
}

/// `.NAME.CONTENTIDPREFIX.potluck-part`, the name cut so that the whole has at most 255 bytes.
fn part_name(target: &str, content_id: ContentId) -> String {
    let id = content_id.to_string();
    let id = cut_to(&id, ID_DIGITS);
    let kept = cut_to(target, MAX_COMPONENT_BYTES - ID_DIGITS - PART_SUFFIX.len() - 2);
    format!(".{kept}.{id}{PART_SUFFIX}")
}

/// Opens the temporary file and tells whether it is new.
fn open_part(folder: &OwnedFd, name: &str) -> Result<(OwnedFd, bool), Errno> {
    match beneath::open_for_writing(folder.as_fd(), name, OFlags::CREATE | OFlags::EXCL) {
        Ok(file) => Ok((file, true)),
        Err(Errno::EXIST) => beneath::open_for_writing(folder.as_fd(), name, OFlags::empty()).map(|file| (file, false)),
        Err(error) => Err(error),
    }
}

/// Renames within a folder; `EXIST` when anything has the new name.
fn rename_to_free_name(folder: &OwnedFd, from: &str, to: &str) -> Result<(), Errno> {
    match renameat_with(folder, from, folder, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => rename_by_link(folder, from, to),
        result => result,
    }
}

/// The same where the file system knows no such flag: a link never replaces.
fn rename_by_link(folder: &OwnedFd, from: &str, to: &str) -> Result<(), Errno> {
    match linkat(folder, from, folder, to, AtFlags::empty()) {
        Ok(()) => unlinkat(folder, from, AtFlags::empty()),
        Err(Errno::PERM | Errno::NOTSUP | Errno::NOSYS) => rename_over_placeholder(folder, from, to),
        Err(error) => Err(error),
    }
}

/// The same where there are no links either: what is replaced is an empty file that was made here a moment ago.
fn rename_over_placeholder(folder: &OwnedFd, from: &str, to: &str) -> Result<(), Errno> {
    beneath::open_for_writing(folder.as_fd(), to, OFlags::CREATE | OFlags::EXCL)?;
    renameat(folder, from, folder, to).inspect_err(|_| {
        let _ = unlinkat(folder, to, AtFlags::empty()); // ours, and empty
    })
}
