//! Opening files below a directory handle: the one place that decides what may be followed.
//!
//! A path that is checked and then opened by name can be changed in between. So nothing is checked by name: every open
//! starts at a handle and refuses every symbolic link, on the way and at the end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, openat};

/// For every open: no link at the end, not inherited by children, never becomes our terminal, never waits for the other
/// end of a FIFO or for a device.
const ALWAYS: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC).union(OFlags::NOCTTY).union(OFlags::NONBLOCK);

/// Opens a folder that the user named. The one open that follows links: where they lead is the user's choice.
pub(super) fn open_root(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Opens `within`, components parted by `/`, below `root`; `root` itself when it is empty.
///
/// The caller has refused `.`, `..` and empty components; the kernel refuses to leave `root` all the same.
pub(super) fn open(root: BorrowedFd<'_>, within: &str, flags: OFlags) -> io::Result<OwnedFd> {
    let within = if within.is_empty() { "." } else { within };
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{ResolveFlags, openat2};
        let resolve = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);
        match openat2(root, within, flags | ALWAYS, Mode::empty(), resolve) {
            // Linux before 5.6, or a container whose filter does not know the call.
            Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => {}
            result => return Ok(result?),
        }
    }
    open_step_by_step(root, within, flags)
}

/// The same without `openat2`: one handle a component, so that nothing that is renamed or replaced on the way matters.
fn open_step_by_step(root: BorrowedFd<'_>, within: &str, flags: OFlags) -> io::Result<OwnedFd> {
    let Some((folders, name)) = within.rsplit_once('/') else {
        return open_child(root, within, flags);
    };
    let mut at: Option<OwnedFd> = None;
    for folder in folders.split('/') {
        at = Some(open_child(at.as_ref().map_or(root, AsFd::as_fd), folder, OFlags::RDONLY | OFlags::DIRECTORY)?);
    }
    open_child(at.as_ref().map_or(root, AsFd::as_fd), name, flags)
}

/// Opens one entry of the directory `at`.
fn open_child(at: BorrowedFd<'_>, name: &str, flags: OFlags) -> io::Result<OwnedFd> {
    Ok(openat(at, name, flags | ALWAYS, Mode::empty())?)
}

/// Opens the folder `name` of the directory `at`.
pub(super) fn open_folder(at: BorrowedFd<'_>, name: impl rustix::path::Arg) -> rustix::io::Result<OwnedFd> {
    openat(at, name, OFlags::RDONLY | OFlags::DIRECTORY | ALWAYS, Mode::empty())
}

/// Opens or creates the file `name` of the directory `at` for reading and writing. `create` may hold `CREATE` and `EXCL`.
pub(super) fn open_for_writing(at: BorrowedFd<'_>, name: &str, create: OFlags) -> rustix::io::Result<OwnedFd> {
    // The umask takes away what the user wants taken away; execute bits are never asked for.
    openat(at, name, OFlags::RDWR | create | ALWAYS, Mode::from_raw_mode(0o666))
}

/// What an open file is, by its handle.
pub(super) fn stat_file(file: impl AsFd) -> io::Result<(Stat, FileType)> {
    let stat = fstat(file)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    Ok((stat, kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::test_tree::TestTree;

    /// G026: both ways of opening give the same verdict.
    #[test]
    fn no_link_is_followed_by_either_way_of_opening() {
        let tree = TestTree::new();
        tree.write("root/folder/file", b"inside");
        tree.write("outside/secret", b"secret");
        tree.symlink("root/up", "../outside");
        tree.symlink("root/folder/link", "file");
        tree.symlink("root/absolute", "/etc/passwd");
        let root = open_root(&tree.path("root")).unwrap();
        for way in [open, open_step_by_step] {
            assert!(way(root.as_fd(), "folder/file", OFlags::RDONLY).is_ok());
            for name in ["up/secret", "up", "folder/link", "absolute", "folder/file/x", "missing"] {
                assert!(way(root.as_fd(), name, OFlags::RDONLY).is_err(), "{name}");
            }
        }
        assert!(open(root.as_fd(), "../outside/secret", OFlags::RDONLY).is_err(), "the kernel refuses to leave the root");
    }
}
