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
pub(super) const MAX_NUMBER: u32 = 9_999;

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
    /// Where that is now what had its name before; `None` when nothing had.
    pub kept: Option<PathBuf>,
}

/// What of a file lies on the disk while it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it, in the end.
    Whole,
    /// Some pieces, each until somebody has read it: a file that is larger than the disk passes through.
    Passing,
}

impl PartFile {
    /// Opens the temporary file of a download, or makes it, with all folders on the way to it. `extent`: what the disk must have room for.
    ///
    /// [`is_new`](Self::is_new) then tells whether anything of an earlier run is in it. The target itself is not looked at.
    ///
    /// # Errors
    /// [`StoreError::NoSpace`] when the disk has less room than the file still needs; [`StoreError::InTheWay`] when
    /// something that is not a temporary file of ours is in its place or a folder on the way is a link or a file;
    /// [`StoreError::Busy`] while somebody else has it open; and what else a disk may do.
    pub fn open_or_create(
        dir: &DownloadDir,
        target: &TargetPath,
        geometry: Geometry,
        content_id: ContentId,
        extent: Extent,
    ) -> Result<Self, StoreError> {
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
        // Any other answer comes from a network file system without locks: there the lock of the data folder has to do.
        if flock(&file, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
            return Err(StoreError::Busy { path });
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
        if extent == Extent::Whole {
            part.check_room(&stat)?;
        }
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

    /// Reads as much of a piece as the buffer holds, from byte `offset` of it on.
    ///
    /// # Errors
    /// When it cannot be read, or the piece has less.
    pub fn read_part(&self, piece: PieceIndex, offset: u32, buffer: &mut [u8]) -> Result<(), StoreError> {
        if offset as usize + buffer.len() > self.geometry.length(piece) as usize {
            return Err(self.error(io::Error::new(io::ErrorKind::InvalidInput, "the piece is shorter")));
        }
        self.file.read_exact_at(buffer, self.geometry.offset(piece) + u64::from(offset)).map_err(|error| self.error(error))
    }

    /// Gives back the disk space of a piece that is not needed any more; its bytes are zeros from then on. Only advice: a file
    /// system that cannot do so keeps them.
    pub fn cut_out(&self, piece: PieceIndex) {
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::{FallocateFlags, fallocate};
            let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            let _ = fallocate(&self.file, hole, self.geometry.offset(piece), u64::from(self.geometry.length(piece)));
        }
        #[cfg(not(target_os = "linux"))]
        let _ = piece;
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
        self.end_with(|| self.settle(mtime, on_conflict))
    }

    /// Ends the writing, unless that fails.
    pub(super) fn end_with<T>(&self, end: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.finished.store(true, Ordering::Release);
        let result = end();
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
        self.make_ready(mtime)?;
        let folder_path = self.dir.folder_path(&self.target);
        let wanted = self.target.name();
        let last = if on_conflict == OnConflict::Number { MAX_NUMBER } else { 0 };
        for number in 0..=last {
            let name = if number == 0 { wanted.clone() } else { wanted.numbered(number) };
            match rename_to_free_name(&self.folder, &self.name, name.as_str()) {
                Ok(()) => {
                    self.sync_folder()?;
                    return Ok(Finished { path: folder_path.join(name.as_str()), kept: None });
                }
                Err(Errno::EXIST) => {}
                Err(Errno::NOENT) => return Err(StoreError::Moved { path: self.path() }),
                Err(error) => return Err(self.error(error.into())),
            }
        }
        Err(StoreError::Exists { path: folder_path.join(wanted.as_str()) })
    }

    /// What comes before the renaming: the time of change, the sync, and the check that nothing was moved.
    pub(super) fn make_ready(&self, mtime: i64) -> Result<(), StoreError> {
        let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        let times = Timestamps { last_access: omit, last_modification: Timespec { tv_sec: mtime, tv_nsec: 0 } };
        // A file system that cannot store the time (FAT before 1980) still stores the file.
        let _ = futimens(&self.file, &times);
        self.sync_with(File::sync_all)?;
        self.check_is_ours()
    }

    /// Its folder's handle, its own name there, and where it is to go.
    pub(super) fn place(&self) -> (&OwnedFd, &str, &TargetPath) {
        (&self.folder, &self.name, &self.target)
    }

    pub(super) fn target_folder(&self) -> PathBuf {
        self.dir.folder_path(&self.target)
    }

    fn sync_with(&self, sync: fn(&File) -> io::Result<()>) -> Result<(), StoreError> {
        if self.unsynced.load(Ordering::Acquire) || sync(&self.file).is_err() {
            self.unsynced.store(true, Ordering::Release);
            return Err(StoreError::Unsynced { path: self.path() });
        }
        Ok(())
    }

    pub(super) fn sync_folder(&self) -> Result<(), StoreError> {
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

    pub(super) fn error(&self, error: io::Error) -> StoreError {
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
pub(super) fn rename_to_free_name(folder: &OwnedFd, from: &str, to: &str) -> Result<(), Errno> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::already_there;
    use crate::store::test_tree::{Mount, TestTree, noise};
    use potluck_common::share_path::SharePath;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::path::Path;
    use std::thread;

    /// A file to download, and where to.
    struct Plan {
        bytes: Vec<u8>,
        content_id: ContentId,
        geometry: Geometry,
        target: TargetPath,
    }

    fn plan(size: usize, target: &str) -> Plan {
        let bytes = noise(size);
        let target = TargetPath::new(&SharePath::parse(target).unwrap()).unwrap();
        Plan { content_id: ContentId::of(&bytes), geometry: Geometry::new(size as u64).unwrap(), bytes, target }
    }

    impl Plan {
        fn open(&self, dir: &Path) -> Result<PartFile, StoreError> {
            PartFile::open_or_create(&DownloadDir::open(dir)?, &self.target, self.geometry, self.content_id, Extent::Whole)
        }

        fn piece(&self, piece: PieceIndex) -> &[u8] {
            let start = self.geometry.offset(piece) as usize;
            &self.bytes[start..start + self.geometry.length(piece) as usize]
        }

        fn fill(&self, part: &PartFile) {
            self.geometry.pieces().for_each(|piece| part.write_piece(piece, self.piece(piece)).unwrap());
        }
    }

    const MIB: usize = 1 << 20;

    #[test]
    fn a_download_ends_as_a_plain_file_with_its_bytes_and_time() {
        for size in [0, 1, MIB - 1, MIB, MIB + 1, 5 * MIB + 3] {
            let tree = TestTree::new();
            let plan = plan(size, "music/album/song.flac");
            let part = plan.open(&tree.path("downloads")).unwrap();
            assert!(part.is_new());
            let pieces: Vec<_> = plan.geometry.pieces().collect();
            thread::scope(|scope| {
                for half in pieces.chunks(pieces.len().div_ceil(2)) {
                    scope.spawn(|| half.iter().rev().for_each(|piece| part.write_piece(*piece, plan.piece(*piece)).unwrap()));
                }
            });
            part.sync().unwrap();
            let finished = part.finish(1_234_567, OnConflict::Error).unwrap();
            assert_eq!(finished.path, tree.path("downloads/music/album/song.flac"));
            assert_eq!(std::fs::read(&finished.path).unwrap(), plan.bytes);
            let metadata = finished.path.metadata().unwrap();
            assert_eq!(metadata.mtime(), 1_234_567);
            assert_eq!(metadata.permissions().mode() & 0o111, 0, "no execute bit");
            assert_eq!(tree.names("downloads/music/album"), ["song.flac"]);
            assert!(part.write_piece(pieces[0], plan.piece(pieces[0])).is_err(), "a finished file is not written any more");
        }
    }

    #[test]
    fn an_interrupted_download_goes_on_with_what_it_has() {
        let tree = TestTree::new();
        let plan = plan(3 * MIB, "song.flac");
        let pieces: Vec<_> = plan.geometry.pieces().collect();
        let part = plan.open(tree.root()).unwrap();
        part.write_piece(pieces[1], plan.piece(pieces[1])).unwrap();
        assert!(matches!(plan.open(tree.root()), Err(StoreError::Busy { .. })), "not twice at once");
        drop(part);
        let part = plan.open(tree.root()).unwrap();
        assert!(!part.is_new());
        let mut piece = vec![0; MIB];
        part.read_piece(pieces[1], &mut piece).unwrap();
        assert_eq!(piece, plan.piece(pieces[1]));
        assert!(part.read_piece(pieces[1], &mut piece[1..]).is_err(), "a piece is read whole");
        assert!(part.write_piece(pieces[1], &piece[1..]).is_err(), "a piece is written whole");
        part.discard().unwrap();
        assert!(tree.names("").is_empty());
    }

    /// G027: whatever has the target's name stays what it is.
    #[test]
    fn nothing_that_has_the_name_is_touched() {
        for planted in ["file", "symlink", "dangling", "hardlink", "fifo", "folder"] {
            let tree = TestTree::new();
            tree.write("victim", b"precious");
            tree.folder("downloads");
            match planted {
                "file" => drop(tree.write("downloads/a.txt", b"mine")),
                "symlink" => tree.symlink("downloads/a.txt", "../victim"),
                "dangling" => tree.symlink("downloads/a.txt", "../created-outside"),
                "hardlink" => std::fs::hard_link(tree.path("victim"), tree.path("downloads/a.txt")).unwrap(),
                "fifo" => tree.fifo("downloads/a.txt"),
                _ => drop(tree.write("downloads/a.txt/inner", b"mine")),
            }
            let before = tree.path("downloads/a.txt").symlink_metadata().unwrap();
            let plan = plan(10, "a.txt");
            let part = plan.open(&tree.path("downloads")).unwrap();
            plan.fill(&part);
            assert!(matches!(part.finish(0, OnConflict::Error), Err(StoreError::Exists { .. })), "{planted}");
            assert_eq!(tree.names("downloads").len(), 2, "the parts are kept");
            let finished = part.finish(0, OnConflict::Number).unwrap();
            assert_eq!(finished.path, tree.path("downloads/a (1).txt"));
            assert_eq!(tree.names("downloads"), ["a (1).txt", "a.txt"]);
            let after = tree.path("downloads/a.txt").symlink_metadata().unwrap();
            assert_eq!((before.ino(), before.len(), before.mtime_nsec()), (after.ino(), after.len(), after.mtime_nsec()), "{planted}");
            assert_eq!(std::fs::read(tree.path("victim")).unwrap(), b"precious");
            assert_eq!(tree.names(""), ["downloads", "victim"]);
        }
    }

    /// G027: the temporary name is as exposed as the target's.
    #[test]
    fn what_was_planted_at_the_temporary_name_is_neither_used_nor_touched() {
        for planted in ["symlink", "dangling", "hardlink", "fifo", "socket", "folder"] {
            let tree = TestTree::new();
            tree.write("victim", b"precious");
            let plan = plan(10, "a.txt");
            let name = format!("downloads/{}", part_name("a.txt", plan.content_id));
            tree.folder("downloads");
            match planted {
                "symlink" => tree.symlink(&name, "../victim"),
                "dangling" => tree.symlink(&name, "../created-outside"),
                "hardlink" => std::fs::hard_link(tree.path("victim"), tree.path(&name)).unwrap(),
                "fifo" => tree.fifo(&name),
                "socket" => tree.socket(&name),
                _ => drop(tree.folder(&name)),
            }
            assert!(matches!(plan.open(&tree.path("downloads")), Err(StoreError::InTheWay { .. })), "{planted}");
            assert_eq!(std::fs::read(tree.path("victim")).unwrap(), b"precious");
            assert_eq!(tree.names(""), ["downloads", "victim"]);
        }
    }

    /// G027: links and files where folders should be, before and during the download.
    #[test]
    fn a_folder_that_is_or_becomes_a_link_is_not_followed() {
        let tree = TestTree::new();
        tree.folder("outside/album");
        tree.folder("downloads");
        tree.symlink("downloads/music", "../outside");
        let plan = plan(10, "music/album/a.txt");
        assert!(matches!(plan.open(&tree.path("downloads")), Err(StoreError::InTheWay { .. })));
        std::fs::remove_file(tree.path("downloads/music")).unwrap();
        tree.write("downloads/music", b"a file");
        assert!(matches!(plan.open(&tree.path("downloads")), Err(StoreError::InTheWay { .. })));
        std::fs::remove_file(tree.path("downloads/music")).unwrap();

        let part = plan.open(&tree.path("downloads")).unwrap();
        std::fs::rename(tree.path("downloads/music"), tree.path("downloads/moved")).unwrap();
        tree.symlink("downloads/music", "../outside");
        plan.fill(&part);
        assert!(matches!(part.finish(0, OnConflict::Number), Err(StoreError::Moved { .. })));
        assert!(tree.names("outside/album").is_empty());
        assert_eq!(tree.names("downloads/moved/album").len(), 1, "the parts are kept");
    }

    #[test]
    fn a_temporary_file_that_was_replaced_is_left_alone() {
        let tree = TestTree::new();
        let plan = plan(10, "a.txt");
        let part = plan.open(tree.root()).unwrap();
        std::fs::remove_file(part.path()).unwrap();
        assert!(matches!(part.finish(0, OnConflict::Number), Err(StoreError::Moved { .. })));
        std::fs::write(part.path(), b"somebody's").unwrap();
        assert!(matches!(part.finish(0, OnConflict::Number), Err(StoreError::Moved { .. })));
        assert!(matches!(part.discard(), Err(StoreError::Moved { .. })));
        assert_eq!(std::fs::read(part.path()).unwrap(), b"somebody's");
    }

    /// G021, G023, G024: whatever a share path may be called, the file lies below the download folder.
    #[test]
    fn every_share_path_ends_below_the_download_folder() {
        let tree = TestTree::new();
        let longest = "x".repeat(MAX_COMPONENT_BYTES);
        let deep = ["d"; potluck_common::share_path::MAX_DEPTH].join("/");
        let questions = "?".repeat(MAX_COMPONENT_BYTES);
        let corpus = [
            "CON",
            "a:b/nul.txt",
            "~",
            "-rf",
            "....",
            "foo... bar",
            "..hidden/x",
            "%2e%2e/x",
            "\u{202e}gpj.exe",
            "ends./ends ",
            &longest,
            &questions,
            &deep,
        ];
        for path in corpus {
            let plan = plan(1, path);
            let part = plan.open(&tree.path("downloads")).unwrap();
            plan.fill(&part);
            let finished = part.finish(0, OnConflict::Error).unwrap();
            assert!(finished.path.canonicalize().unwrap().starts_with(tree.path("downloads").canonicalize().unwrap()), "{path:?}");
        }
        assert_eq!(tree.names(""), ["downloads"]);
    }

    /// G025: names that are one after folding are two downloads all the same.
    #[test]
    fn two_downloads_of_one_name_get_two_files() {
        let tree = TestTree::new();
        for (size, expected) in [(1, "a.txt"), (2, "a (1).txt"), (3, "a (2).txt")] {
            let plan = plan(size, "a.txt");
            let part = plan.open(tree.root()).unwrap();
            plan.fill(&part);
            assert_eq!(part.finish(0, OnConflict::Number).unwrap().path, tree.path(expected));
        }
    }

    #[test]
    fn the_ways_around_a_missing_system_call_replace_nothing_either() {
        let tree = TestTree::new();
        let folder = beneath::open_root(tree.root()).unwrap();
        for rename in [rename_to_free_name, rename_by_link, rename_over_placeholder] {
            tree.write("part", b"new");
            tree.write("taken", b"old");
            assert_eq!(rename(&folder, "part", "taken"), Err(Errno::EXIST));
            rename(&folder, "part", "free").unwrap();
            assert_eq!(std::fs::read(tree.path("free")).unwrap(), b"new");
            assert_eq!(std::fs::read(tree.path("taken")).unwrap(), b"old");
            assert_eq!(tree.names(""), ["free", "taken"]);
            std::fs::remove_file(tree.path("free")).unwrap();
            assert_eq!(rename(&folder, "missing", "free"), Err(Errno::NOENT));
            assert_eq!(tree.names(""), ["taken"]);
        }
    }

    #[test]
    fn a_file_that_is_there_already_is_known_by_its_bytes() {
        let tree = TestTree::new();
        let plan = plan(2 * MIB + 5, "folder/a.bin");
        let dir = DownloadDir::open(tree.root()).unwrap();
        let size = plan.geometry.size();
        let is_there = || already_there(&dir, &plan.target, plan.content_id, size, &AtomicBool::new(false));
        assert!(!is_there());
        tree.write("folder/a.bin", &plan.bytes);
        assert!(is_there());
        assert!(!already_there(&dir, &plan.target, plan.content_id, size, &AtomicBool::new(true)), "cancelled");
        tree.write("folder/a.bin", &vec![0; plan.bytes.len()]);
        assert!(!is_there());
        tree.write("other", &plan.bytes);
        std::fs::remove_file(tree.path("folder/a.bin")).unwrap();
        tree.symlink("folder/a.bin", "../other");
        assert!(!is_there(), "a link is not the file");
    }

    #[test]
    fn a_disk_that_lost_a_write_is_never_believed_again() {
        let tree = TestTree::new();
        let plan = plan(10, "a.txt");
        let part = plan.open(tree.root()).unwrap();
        plan.fill(&part);
        assert!(matches!(part.sync_with(|_| Err(io::Error::from(Errno::IO))), Err(StoreError::Unsynced { .. })));
        assert!(matches!(part.sync(), Err(StoreError::Unsynced { .. })), "the kernel would say that all is well");
        assert!(matches!(part.finish(0, OnConflict::Number), Err(StoreError::Unsynced { .. })));
        assert_eq!(tree.names("").len(), 1);
    }

    /// G039.
    #[test]
    fn a_full_disk_stops_a_download_and_room_lets_it_go_on() {
        let tree = TestTree::new();
        let disk = tree.folder("disk");
        let Some(mount) = Mount::small_disk(4 << 20, &disk) else {
            println!("skipped: only root may mount a small disk");
            return;
        };
        assert!(matches!(plan(5 * MIB, "a.bin").open(&disk), Err(StoreError::NoSpace { .. })), "found out before it starts");
        let large = plan(5 * MIB, "c.bin");
        let passes = |piece: PieceIndex, part: &PartFile| part.write_piece(piece, large.piece(piece)).map(|()| part.cut_out(piece));
        let dir = DownloadDir::open(&disk).unwrap();
        let passing = PartFile::open_or_create(&dir, &large.target, large.geometry, large.content_id, Extent::Passing).unwrap();
        assert!(large.geometry.pieces().all(|piece| passes(piece, &passing).is_ok()), "what is read as it comes needs no room");
        drop((passing, dir)); // they keep the disk busy
        let plan = plan(3 * MIB, "b.bin");
        let part = plan.open(&disk).unwrap();
        tree.write("disk/filler", &noise(3 * MIB));
        let pieces: Vec<_> = plan.geometry.pieces().collect();
        let results: Vec<_> = pieces.iter().map(|piece| part.write_piece(*piece, plan.piece(*piece))).collect();
        assert!(results.iter().any(|result| matches!(result, Err(StoreError::NoSpace { .. }))));
        assert!(results.iter().all(|result| matches!(result, Ok(()) | Err(StoreError::NoSpace { .. }))));
        std::fs::remove_file(tree.path("disk/filler")).unwrap();
        plan.fill(&part);
        let finished = part.finish(0, OnConflict::Error).unwrap();
        assert_eq!(std::fs::read(finished.path).unwrap(), plan.bytes);
        drop(part);
        mount.make_read_only();
        assert!(matches!(plan.open(&disk), Err(StoreError::ReadOnly { .. })));
    }

    /// G039: a limit on file sizes, in a child whose shell sets it and ignores the signal.
    #[test]
    fn a_file_beyond_the_limit_of_the_process_is_an_error_with_a_sentence() {
        const CHILD: &str = "POTLUCK_TEST_FILE_LIMIT";
        if let Some(dir) = std::env::var_os(CHILD) {
            let result = plan(3 * MIB, "a.bin").open(Path::new(&dir));
            assert!(matches!(result, Err(StoreError::FileTooBig { .. })), "{result:?}");
            return;
        }
        let tree = TestTree::new();
        let script = r#"trap '' XFSZ; ulimit -f 2048; exec "$0" --exact "$1""#;
        let name = "store::part_file::tests::a_file_beyond_the_limit_of_the_process_is_an_error_with_a_sentence";
        let mut child = std::process::Command::new("sh");
        child.args(["-c", script]).arg(std::env::current_exe().unwrap()).arg(name);
        let output = child.env(CHILD, tree.root()).output().unwrap();
        assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{output:?}");
    }

    #[test]
    fn a_folder_without_permission_is_an_error_with_a_sentence() {
        let tree = TestTree::new();
        let folder = tree.folder("downloads");
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o500)).unwrap();
        if rustix::process::geteuid().is_root() {
            println!("skipped: root may write everywhere");
            return;
        }
        assert!(matches!(plan(1, "a").open(&folder), Err(StoreError::Denied { .. })));
    }
}
