//! [`examine`]: what the disk and the system say about a node that does not run, or does not do what it should. Changes nothing.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The file of the identity key in the data folder.
const IDENTITY: &str = "identity";
/// Where Linux tells how many watchers a user may have, each for the shares of one program.
const WATCHERS: &str = "/proc/sys/fs/inotify/max_user_instances";
/// Folders that are counted at most: beyond, watches are short on any system.
const MAX_FOLDERS: u64 = 2_000_000;

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// Permission bits of the data folder and whether it is the user's; an error if it cannot be looked at.
    pub data_dir: Option<Result<Owned, io::ErrorKind>>,
    /// The same of the identity key; `None` before the first start.
    pub identity: Option<Result<Owned, io::ErrorKind>>,
    /// Free bytes where a folder is, or will be made: the folder, and what is free.
    pub free: Vec<(PathBuf, Option<u64>)>,
    /// The latest time at which something in the data folder was written.
    pub written: Option<SystemTime>,
    /// Folders in the shares.
    pub folders: u64,
    /// Folders that a user may have watched; `None` where that is not limited so.
    pub watches: Option<u64>,
    /// Programs of a user that may watch.
    pub watchers: Option<u64>,
}

/// A file or folder, and who can do what to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owned {
    /// Permission bits.
    pub mode: u32,
    /// Whether it belongs to the user of this process.
    pub is_ours: bool,
}

/// Looks at the folders of a node. Blocks, with many shared folders for seconds.
#[must_use]
pub fn examine(data_dir: &Path, download_dir: &Path, shares: &[PathBuf]) -> Findings {
    Findings {
        data_dir: owned(data_dir),
        identity: owned(&data_dir.join(IDENTITY)),
        free: [data_dir, download_dir].map(|dir| (dir.to_owned(), free_bytes(dir))).into(),
        written: last_written(data_dir),
        folders: count_folders(shares),
        watches: super::watcher::limit(),
        watchers: fs::read_to_string(WATCHERS).ok().and_then(|text| text.trim().parse().ok()),
    }
}

fn owned(path: &Path) -> Option<Result<Owned, io::ErrorKind>> {
    match fs::metadata(path) {
        Ok(about) => {
            let is_ours = about.uid() == rustix::process::geteuid().as_raw();
            Some(Ok(Owned { mode: about.permissions().mode() & 0o777, is_ours }))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(Err(error.kind())),
    }
}

/// Bytes that a user may still write at a folder, or where it would be made.
fn free_bytes(dir: &Path) -> Option<u64> {
    let there = dir.ancestors().find(|dir| dir.exists())?;
    let about = rustix::fs::statvfs(there).ok()?;
    Some(about.f_bavail.saturating_mul(about.f_frsize))
}

fn last_written(dir: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(dir).ok()?;
    entries.filter_map(|entry| entry.ok()?.metadata().ok()?.modified().ok()).max()
}

/// Folders at and below some, symbolic links not followed; those that cannot be read count as one.
fn count_folders(roots: &[PathBuf]) -> u64 {
    let mut count = 0;
    let mut open: Vec<PathBuf> = roots.to_vec();
    while let Some(dir) = open.pop() {
        count += 1;
        if count == MAX_FOLDERS {
            break;
        }
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        let below = entries.filter_map(Result::ok).filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let names: Vec<OsString> = below.map(|entry| entry.file_name()).collect();
        open.extend(names.into_iter().map(|name| dir.join(name)));
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::test_tree::TestTree;

    #[test]
    fn what_is_there_is_found_and_nothing_is_made() {
        let tree = TestTree::new();
        tree.write("share/a/b/file", b"x");
        tree.write("data/identity", b"key");
        fs::set_permissions(tree.path("data/identity"), fs::Permissions::from_mode(0o640)).unwrap();
        let found = examine(&tree.path("data"), &tree.path("not/there"), &[tree.path("share"), tree.path("missing")]);
        assert_eq!(found.identity, Some(Ok(Owned { mode: 0o640, is_ours: true })));
        assert_eq!(found.folders, 4);
        assert!(found.written.is_some() && found.free.iter().all(|(_, free)| free.is_some_and(|free| free > 0)), "{found:?}");
        assert!(!tree.path("not").exists());
        assert_eq!(examine(&tree.path("missing"), &tree.path("x"), &[]).data_dir, None);
    }
}
