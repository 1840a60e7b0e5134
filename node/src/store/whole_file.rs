//! A finished download, opened again to be looked at.

use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::share_dir::{ServeError, SharedFile, serve_error};

/// Opens a file that a download put in its place. Never waits for a device, never follows a symbolic link that somebody
/// put there since.
///
/// # Errors
/// When there is no such regular file any more, or it may not be read.
pub fn open_whole(path: &Path) -> Result<SharedFile, ServeError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = openat(CWD, path, flags, Mode::empty()).map_err(|error| serve_error(error.into()))?;
    SharedFile::from_handle(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::test_tree::TestTree;

    #[test]
    fn only_a_regular_file_is_opened() {
        let tree = TestTree::new();
        let path = tree.write("file", b"0123456789");
        let mut bytes = [0; 3];
        open_whole(&path).unwrap().read_at(2, &mut bytes).unwrap();
        assert_eq!(&bytes, b"234");
        tree.symlink("link", "file");
        tree.fifo("fifo");
        for name in ["link", "fifo", "missing", "."] {
            assert!(open_whole(&tree.path(name)).is_err(), "{name}");
        }
    }
}
