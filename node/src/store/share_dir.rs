//! [`ShareDir`] and [`SharedFile`]: a share, and a file of it, reached through a handle that cannot be left.
//!
//! Policy for links: a symbolic link is never followed, wherever it points. A hard link is a file like any other: whoever
//! could make it in the share could also have put a copy there.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use potluck_common::share_path::{MAX_COMPONENT_BYTES, MAX_DEPTH, SharePath, SharePathError, check_component};
use rustix::fs::{Dir, FileType, OFlags, Stat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::beneath;
use super::local_name::cut_to;
use crate::core::stamp::Stamp;

/// The coarsest file times in use (FAT: 2 s): a file younger than this may change again without a new mtime.
const COARSEST_MTIME: Duration = Duration::from_secs(2);

/// A folder that is shared under a name.
#[derive(Debug)]
pub struct ShareDir {
    name: String,
    path: PathBuf,
    handle: OwnedFd,
    root: RootId,
}

/// Which folder a share's root is, to tell it from an empty mount point of the same path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootId {
    /// Device number. May change when a disk is plugged in again.
    pub dev: u64,
    /// Inode number on that device.
    pub ino: u64,
}

/// An open regular file, and what it looked like when it was opened.
#[derive(Debug)]
pub struct SharedFile {
    file: File,
    stamp: Stamp,
}

/// A share as a whole cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    /// The name cannot be the first component of a share path.
    #[error("\"{name}\" cannot name a share: {why}; choose another with NAME=DIR", name = name.escape_debug())]
    BadName {
        /// The name that was asked for.
        name: String,
        /// What is wrong with it.
        why: SharePathError,
    },
    /// Nothing is at that path.
    #[error("there is no folder {}; create it, or share another", path.display())]
    NotFound {
        /// The path that was asked for.
        path: PathBuf,
    },
    /// Something else than a folder is at that path.
    #[error("{} is not a folder; share the folder that holds it", path.display())]
    NotAFolder {
        /// The path that was asked for.
        path: PathBuf,
    },
    /// The folder cannot be read.
    #[error("the folder {} cannot be read ({source}); check its permissions", path.display())]
    Unreadable {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There were files and all are gone at once, folders and all: an unmounted disk, most likely.
    #[error("nothing is left in {}: is its disk away? Its files are offered again when they are back", path.display())]
    Emptied {
        /// The folder.
        path: PathBuf,
    },
    /// The folder was there and is gone or replaced: a disk was unplugged, say. Its files are not deleted, only away.
    #[error("the folder {} is away; its files are offered again when it is back", path.display())]
    Offline {
        /// The folder.
        path: PathBuf,
    },
}

/// One file cannot be read or served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// No such file, or a symbolic link on the way to it, or a name that cannot be in a share.
    #[error("there is no such file in the share")]
    NotFound,
    /// A folder, FIFO, socket or device.
    #[error("this is not a regular file")]
    NotAFile,
    /// The permissions forbid it.
    #[error("the file may not be read; check its permissions")]
    Denied,
    /// The file is not what it was when it was opened. What was read of it must not be used.
    #[error("the file changed while it was read; scan the share again")]
    Changed,
    /// Over [`MAX_FILE_BYTES`](potluck_common::geometry::MAX_FILE_BYTES).
    #[error("the file is larger than 1 TiB, the most that can be shared")]
    TooLarge,
    /// The caller wanted to stop.
    #[error("reading was stopped")]
    Cancelled,
    /// The disk failed.
    #[error("the file cannot be read: {0}")]
    Io(#[source] io::Error),
}

impl ShareDir {
    /// Opens `dir` as the share `name`. A symbolic link at `dir` itself is followed: the user chose it.
    ///
    /// # Errors
    /// When the name cannot stand in a share path, or `dir` is not a folder that can be read.
    pub fn open(name: &str, dir: &Path) -> Result<Self, ShareError> {
        check_share_name(name).map_err(|why| ShareError::BadName { name: name.to_owned(), why })?;
        let path = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
        let handle = beneath::open_root(&path).map_err(|error| open_error(&path, error))?;
        let (stat, _) = beneath::stat_file(&handle).map_err(|error| open_error(&path, error))?;
        let Stamp { dev, ino, .. } = Stamp::of(&stat);
        Ok(Self { name: name.to_owned(), path, handle, root: RootId { dev, ino } })
    }

    /// A share name made of the folder's own: what no share path may hold is replaced by `_`.
    #[must_use]
    pub fn default_name(dir: &Path) -> String {
        let whole = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
        let base = whole.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let name: String = base.chars().map(|c| if c == '/' || c == '\\' || c.is_control() { '_' } else { c }).collect();
        let name = cut_to(&name, MAX_COMPONENT_BYTES);
        if check_share_name(name).is_ok() {
            return name.to_owned();
        }
        // The root folder has no name; `C:` has one that reads as a drive.
        if name.is_empty() { "share".to_owned() } else { format!("share-{}", name.replace(':', "_")) }
    }

    /// The share's name, first component of the paths of its files.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder on this disk. Never told to anybody else.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which folder it is, to be remembered for [`check`](Self::check).
    #[must_use]
    pub fn root(&self) -> RootId {
        self.root
    }

    /// Checks that the share's path still leads to the folder that was opened, and, when `known` tells which folder it was
    /// in an earlier run, that this one is not the empty mount point of a disk that is away.
    ///
    /// # Errors
    /// [`ShareError::Offline`]: the files are away, not deleted.
    pub fn check(&self, known: Option<RootId>) -> Result<(), ShareError> {
        let offline = || ShareError::Offline { path: self.path.clone() };
        let now = std::fs::metadata(&self.path).map_err(|_| offline())?;
        if (RootId { dev: now.dev(), ino: now.ino() }) != self.root {
            return Err(offline());
        }
        if known.is_some_and(|known| known != self.root) {
            let mut entries = std::fs::read_dir(&self.path).map_err(|_| offline())?;
            if entries.next().is_none() {
                return Err(offline());
            }
        }
        Ok(())
    }

    /// Whether nothing is in the share's folder at all: as in a mount point whose disk is away.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Ok(folder) = beneath::open_folder(self.handle(), ".") else { return false };
        let Ok(mut entries) = Dir::new(folder) else { return false };
        !entries.any(|entry| entry.is_ok_and(|entry| !matches!(entry.file_name().to_bytes(), b"." | b"..")))
    }

    /// Opens a regular file of the share. `within` is the path after the share's name, components parted by `/`.
    ///
    /// Never waits for a device or a FIFO, never follows a symbolic link.
    ///
    /// # Errors
    /// When there is no such regular file or it may not be read.
    pub fn open_file(&self, within: &str) -> Result<SharedFile, ServeError> {
        check_within(within)?;
        let file = beneath::open(self.handle.as_fd(), within, OFlags::RDONLY).map_err(serve_error)?;
        SharedFile::from_handle(file)
    }

    /// The handle to walk below.
    pub(super) fn handle(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

impl SharedFile {
    /// Takes an open file; refuses what is not a regular one.
    pub(super) fn from_handle(file: OwnedFd) -> Result<Self, ServeError> {
        let (stat, kind) = beneath::stat_file(&file).map_err(serve_error)?;
        if kind != FileType::RegularFile {
            return Err(ServeError::NotAFile);
        }
        Ok(Self { file: file.into(), stamp: Stamp::of(&stat) })
    }

    /// What the file looked like when it was opened.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Fills `buffer` with the bytes from `offset` on. Callable from several threads.
    ///
    /// # Errors
    /// [`ServeError::Changed`] when the file is not what it was when opened, or ends before the buffer is full; the
    /// content of `buffer` is then unspecified.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ServeError> {
        self.read_unchecked(offset, buffer)?;
        self.check()
    }

    /// [`read_at`](Self::read_at) for callers that [`check`](Self::check) after several reads.
    pub(super) fn read_unchecked(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ServeError> {
        self.file.read_exact_at(buffer, offset).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => ServeError::Changed,
            _ => serve_error(error),
        })
    }

    /// Checks that the file is what it was when it was opened.
    ///
    /// # Errors
    /// [`ServeError::Changed`] when it is not.
    pub fn check(&self) -> Result<(), ServeError> {
        let (now, _) = beneath::stat_file(&self.file).map_err(serve_error)?;
        if Stamp::of(&now) == self.stamp { Ok(()) } else { Err(ServeError::Changed) }
    }

    /// Tells the system that the file will be read from front to back.
    pub(super) fn will_be_read_in_order(&self) {
        // Only advice: a file system that does not take it reads ahead as it always does.
        #[cfg(target_os = "linux")]
        let _ = rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::Sequential);
    }
}

impl Stamp {
    #[allow(clippy::unnecessary_cast, clippy::cast_possible_wrap, reason = "the fields' types differ between systems")]
    pub(super) fn of(stat: &Stat) -> Self {
        let mtime_ns = (stat.st_mtime as i64).saturating_mul(1_000_000_000).saturating_add(stat.st_mtime_nsec as i64);
        Self { dev: stat.st_dev as u64, ino: stat.st_ino as u64, size: u64::try_from(stat.st_size).unwrap_or(0), mtime_ns }
    }

    /// Whether the file has rested long enough before `now` for any further change to get another mtime. Hashes of a
    /// file that has not are right, but must not be remembered under this stamp.
    #[must_use]
    pub fn is_settled(&self, now: SystemTime) -> bool {
        let Ok(mtime_ns) = u64::try_from(self.mtime_ns) else {
            return true; // before 1970
        };
        let mtime = UNIX_EPOCH + Duration::from_nanos(mtime_ns);
        // A time in the future was set by hand: a change would set another.
        now.duration_since(mtime).map_or(true, |age| age > COARSEST_MTIME)
    }
}

/// Whether `name` can be the first component of a share path.
fn check_share_name(name: &str) -> Result<(), SharePathError> {
    check_component(name)?;
    SharePath::parse(name).map(|_| ())
}

fn check_within(within: &str) -> Result<(), ServeError> {
    let mut depth = 0;
    for component in within.split('/') {
        depth += 1;
        check_component(component).map_err(|_| ServeError::NotFound)?;
    }
    if depth < MAX_DEPTH { Ok(()) } else { Err(ServeError::NotFound) }
}

fn open_error(path: &Path, source: io::Error) -> ShareError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound => ShareError::NotFound { path },
        io::ErrorKind::NotADirectory => ShareError::NotAFolder { path },
        _ => ShareError::Unreadable { path, source },
    }
}

pub(super) fn serve_error(error: io::Error) -> ServeError {
    match Errno::from_io_error(&error) {
        Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => ServeError::NotFound,
        Some(Errno::ACCESS | Errno::PERM) => ServeError::Denied,
        Some(Errno::NXIO | Errno::NODEV) => ServeError::NotAFile, // a socket, or a device that nothing drives
        Some(Errno::STALE) => ServeError::Changed,                // replaced on a network file system
        _ => ServeError::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::test_tree::{TestTree, noise};
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    fn read_all(share: &ShareDir, within: &str) -> Result<Vec<u8>, ServeError> {
        let file = share.open_file(within)?;
        let mut bytes = vec![0; file.stamp().size as usize];
        file.read_at(0, &mut bytes)?;
        Ok(bytes)
    }

    #[test]
    fn a_file_is_read_exactly_and_only_while_it_is_what_it_was() {
        let tree = TestTree::new();
        let path = tree.write("folder/file", b"0123456789");
        let share = ShareDir::open("share", tree.root()).unwrap();
        let file = share.open_file("folder/file").unwrap();
        let mut bytes = [0; 4];
        file.read_at(3, &mut bytes).unwrap();
        assert_eq!(&bytes, b"3456");
        assert!(matches!(file.read_at(8, &mut bytes), Err(ServeError::Changed)), "the file ends before the buffer does");
        std::fs::write(path, b"0123456789 and more").unwrap();
        assert!(matches!(file.read_at(0, &mut bytes), Err(ServeError::Changed)));
    }

    /// G021, G026: no name leads out of the share.
    #[test]
    fn no_name_leads_out_of_the_share() {
        let tree = TestTree::new();
        tree.write("secret", b"secret");
        tree.write("share/file", b"inside");
        tree.symlink("share/up", "..");
        tree.symlink("share/link", "../secret");
        tree.symlink("share/absolute", "/etc/passwd");
        tree.symlink("share/inside", "file");
        let share = ShareDir::open("share", &tree.path("share")).unwrap();
        assert_eq!(read_all(&share, "file").unwrap(), b"inside");
        let absolute = tree.path("secret").to_str().unwrap().to_owned();
        let deep = "x/".repeat(5_000) + "x";
        let corpus = [
            "",
            ".",
            "..",
            "../secret",
            "./file",
            "file/",
            "file/.",
            "/file",
            "//file",
            "up/secret",
            "up",
            "link",
            "absolute",
            "inside",
            "up/share/file",
            "share/../../secret",
            "..\\secret",
            "\\secret",
            "C:\\secret",
            "file\0",
            "file\n",
            "%2e%2e/secret",
            "....//secret",
            "\u{2215}etc",
            "..\u{ff0f}secret",
            "/proc/self/root/etc/passwd",
            "\u{1b}[2J",
            &absolute,
            &deep,
        ];
        for name in corpus {
            assert!(matches!(read_all(&share, name), Err(ServeError::NotFound | ServeError::NotAFile)), "{name:?}");
        }
    }

    /// G026: the classic race of a check by name against an open by name.
    #[test]
    fn a_folder_that_flips_to_a_link_never_leads_outside() {
        let tree = TestTree::new();
        tree.write("share/folder/file", b"inside");
        tree.write("outside/file", b"secret");
        tree.symlink("share/other", "../outside");
        let share = ShareDir::open("share", &tree.path("share")).unwrap();
        let (folder, other) = (tree.path("share/folder"), tree.path("share/other"));
        let done = AtomicBool::new(false);
        let (mut served, mut refused) = (0, 0);
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..50_000 {
                    renameat_with(CWD, &folder, CWD, &other, RenameFlags::EXCHANGE).unwrap();
                }
                done.store(true, Ordering::Relaxed);
            });
            while !done.load(Ordering::Relaxed) {
                match read_all(&share, "folder/file") {
                    Ok(bytes) => {
                        assert_eq!(bytes, b"inside");
                        served += 1;
                    }
                    Err(ServeError::NotFound) => refused += 1,
                    Err(error) => panic!("{error}"),
                }
            }
        });
        assert!(served > 0 && refused > 0, "the race was run: {served} served, {refused} refused");
    }

    /// G028.
    #[test]
    fn what_is_not_a_regular_file_is_refused_without_waiting() {
        let tree = TestTree::new();
        tree.fifo("fifo");
        tree.socket("socket");
        tree.folder("folder");
        let share = ShareDir::open("share", tree.root()).unwrap();
        for name in ["fifo", "socket", "folder"] {
            assert!(matches!(share.open_file(name), Err(ServeError::NotAFile)), "{name}");
        }
        if tree.endless_device("zero") {
            assert!(matches!(share.open_file("zero"), Err(ServeError::NotAFile)));
        } else {
            println!("skipped: only root makes device files");
        }
    }

    /// G030.
    #[test]
    fn a_file_that_is_written_while_it_is_served_is_never_served_torn() {
        let tree = TestTree::new();
        // Each round has its own size, so that the test holds on systems with coarse file times too.
        let size = |round: u8| (64 << 10) + usize::from(round);
        let path = tree.write("file", &vec![0; size(0)]);
        let share = ShareDir::open("share", tree.root()).unwrap();
        let done = AtomicBool::new(false);
        let mut served = 0;
        thread::scope(|scope| {
            scope.spawn(|| {
                for round in 1..=200 {
                    std::fs::write(&path, vec![round; size(round)]).unwrap();
                }
                done.store(true, Ordering::Relaxed);
            });
            while !done.load(Ordering::Relaxed) {
                match read_all(&share, "file") {
                    Ok(bytes) => {
                        // Empty, or cut after a page, is what the file was between truncation and the end of a write.
                        assert!(bytes.windows(2).all(|pair| pair[0] == pair[1]), "two rounds in one answer");
                        served += 1;
                    }
                    Err(ServeError::Changed) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
        assert!(served > 0);
        assert_eq!(read_all(&share, "file").unwrap(), vec![200; size(200)]);
    }

    #[test]
    fn a_truncated_replaced_or_deleted_file_is_told_from_what_it_was() {
        let tree = TestTree::new();
        let path = tree.write("file", &noise(100));
        let share = ShareDir::open("share", tree.root()).unwrap();
        let mut bytes = [0; 100];
        let file = share.open_file("file").unwrap();
        File::options().write(true).open(&path).unwrap().set_len(50).unwrap();
        assert!(matches!(file.read_at(0, &mut bytes), Err(ServeError::Changed)));
        let file = share.open_file("file").unwrap();
        let stamp = file.stamp();
        let other = tree.write("other", &noise(50));
        std::fs::rename(other, &path).unwrap();
        assert!(file.read_at(0, &mut bytes[..50]).is_ok(), "the open file is the old one, whole");
        assert_ne!(share.open_file("file").unwrap().stamp(), stamp);
        std::fs::remove_file(path).unwrap();
        assert!(matches!(share.open_file("file"), Err(ServeError::NotFound)));
    }

    /// G033: away is not deleted.
    #[test]
    fn a_share_whose_folder_is_gone_or_replaced_is_offline() {
        let tree = TestTree::new();
        tree.write("share/file", b"x");
        let share = ShareDir::open("share", &tree.path("share")).unwrap();
        assert!(share.check(None).is_ok());
        assert!(share.check(Some(share.root())).is_ok());
        std::fs::rename(tree.path("share"), tree.path("elsewhere")).unwrap();
        assert!(matches!(share.check(None), Err(ShareError::Offline { .. })));
        tree.folder("share");
        assert!(matches!(share.check(None), Err(ShareError::Offline { .. })), "another folder of that path");

        let mount_point = ShareDir::open("share", &tree.path("share")).unwrap();
        assert!(matches!(mount_point.check(Some(share.root())), Err(ShareError::Offline { .. })), "an empty mount point");
        tree.write("share/file", b"x");
        assert!(mount_point.check(Some(share.root())).is_ok(), "a disk with files and another number");
    }

    #[test]
    fn what_cannot_be_shared_is_refused_with_a_reason() {
        let tree = TestTree::new();
        let file = tree.write("file", b"");
        assert!(matches!(ShareDir::open("x", &tree.path("missing")), Err(ShareError::NotFound { .. })));
        assert!(matches!(ShareDir::open("x", &file), Err(ShareError::NotAFolder { .. })));
        for name in ["", "..", "a/b", "C:", "a\nb"] {
            assert!(matches!(ShareDir::open(name, tree.root()), Err(ShareError::BadName { .. })), "{name:?}");
        }
        tree.symlink("link", ".");
        assert!(ShareDir::open("x", &tree.path("link")).is_ok(), "the user's own link to a folder is followed");
    }

    #[test]
    fn every_folder_has_a_default_name_that_can_be_shared() {
        let tree = TestTree::new();
        for (folder, name) in [("Music", "Music"), ("a\\b\n", "a_b_"), ("C:", "share-C_"), ("日本語", "日本語")] {
            assert_eq!(ShareDir::default_name(&tree.folder(folder)), name);
        }
        assert_eq!(ShareDir::default_name(Path::new("/")), "share");
        assert_eq!(ShareDir::default_name(&tree.path("Music/..").join("Music")), "Music");
    }

    #[test]
    fn a_file_that_changed_a_moment_ago_is_not_settled() {
        let at = |seconds: i64| Stamp { dev: 0, ino: 0, size: 0, mtime_ns: seconds * 1_000_000_000 };
        let now = UNIX_EPOCH + Duration::from_secs(1_000);
        assert!(at(900).is_settled(now) && at(-5).is_settled(now) && at(2_000).is_settled(now));
        assert!(!at(1_000).is_settled(now) && !at(998).is_settled(now));
    }
}
