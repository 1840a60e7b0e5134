//! A temporary folder for tests, with short words for what they plant in it.

use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, mkfifoat, mknodat};

pub(super) struct TestTree(tempfile::TempDir);

impl TestTree {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn root(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(super) fn folder(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub(super) fn symlink(&self, name: &str, target: &str) {
        std::os::unix::fs::symlink(target, self.path(name)).unwrap();
    }

    pub(super) fn fifo(&self, name: &str) {
        mkfifoat(CWD, self.path(name), Mode::from_raw_mode(0o666)).unwrap();
    }

    pub(super) fn socket(&self, name: &str) {
        mknodat(CWD, self.path(name), FileType::Socket, Mode::from_raw_mode(0o666), 0).unwrap();
    }

    /// `/dev/zero` under another name; `false` where only root may make one and we are not.
    pub(super) fn endless_device(&self, name: &str) -> bool {
        let zero = rustix::fs::makedev(1, 5);
        mknodat(CWD, self.path(name), FileType::CharacterDevice, Mode::from_raw_mode(0o666), zero).is_ok()
    }

    pub(super) fn names(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(folder)).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// Bytes that repeat at no boundary of interest.
pub(super) fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

/// A mount that ends with the test.
pub(super) struct Mount(PathBuf);

impl Mount {
    /// `None` where we may not mount.
    fn new(arguments: &[&str], at: &Path) -> Option<Self> {
        let done = std::process::Command::new("mount").args(arguments).arg(at).output();
        done.is_ok_and(|done| done.status.success()).then(|| Self(at.to_owned()))
    }

    pub(super) fn bind(what: &Path, at: &Path) -> Option<Self> {
        Self::new(&["--bind", what.to_str().unwrap()], at)
    }

    /// A disk in memory with room for that many bytes.
    pub(super) fn small_disk(bytes: u64, at: &Path) -> Option<Self> {
        Self::new(&["-t", "tmpfs", "-o", &format!("size={bytes}"), "potluck-test"], at)
    }

    pub(super) fn make_read_only(&self) {
        let done = std::process::Command::new("mount").args(["-o", "remount,ro"]).arg(&self.0).status();
        assert!(done.unwrap().success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: whatever the test still holds open goes with it.
        let done = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(done.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}
