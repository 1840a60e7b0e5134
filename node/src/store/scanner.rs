//! [`scan`]: what is in a share.

use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use potluck_common::escape::Escaped;
use potluck_common::geometry::MAX_FILE_BYTES;
use potluck_common::share_path::{MAX_DEPTH, SharePath, SharePathError};
use rustix::fs::{AtFlags, Dir, DirEntry, FileType, statat};

use super::beneath;
use super::rules::{LeftOut, Rules};
use super::share_dir::{RootId, ShareDir, ShareError};
use crate::core::stamp::Stamp;

/// What a scan comes across.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScanEvent {
    /// A regular file that can be shared.
    Found {
        /// Its path, beginning with the share's name.
        path: SharePath,
        /// What to look its hashes up by, and to tell later whether it changed.
        stamp: Stamp,
    },
    /// Something that is not shared.
    Skipped {
        /// Where, beginning with the share's name, made safe to show.
        what: String,
        /// The same as a share path when it is one.
        path: Option<SharePath>,
        /// Why.
        why: SkipReason,
    },
}

/// Why something in a share is not shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SkipReason {
    /// Never followed, wherever it points.
    #[error("a symbolic link")]
    Symlink,
    /// A FIFO, socket or device.
    #[error("not a regular file")]
    Special,
    /// The name is not UTF-8.
    #[error("its name is not UTF-8")]
    NotUtf8,
    /// The name cannot be in a share path: it holds a control character, say.
    #[error("its name holds characters that other systems cannot take")]
    NotPortable,
    /// Over the limits of share paths in depth or length.
    #[error("its path is too deep or too long")]
    TooDeep,
    /// Over [`MAX_FILE_BYTES`].
    #[error("larger than 1 TiB")]
    TooLarge,
    /// The system did not let us look. What is below is unknown, not deleted.
    #[error("unreadable")]
    Unreadable,
    /// A folder that contains itself through a mount.
    #[error("mounted inside itself")]
    Loop,
    /// Hidden, a key, temporary, or left behind by a system: see `rules.rs`.
    #[error("hidden or temporary; a line !NAME in .potluckignore shares it")]
    LeftOut,
    /// A rule of the user says so.
    #[error("left out by .potluckignore")]
    ByRule,
    /// It has another name, and whoever runs the node does not share such files.
    #[error("it has other names (hard links), and --reject-hardlinks is set")]
    HardLink,
    /// Files that a kernel makes up as they are read: `/proc`, `/sys` and the like.
    #[error("not files on a disk")]
    Pseudo,
}

/// What becomes of files that have more than one name. The others may lie outside of the share; who made them, nobody can tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HardLinks {
    /// They are files like others.
    #[default]
    Shared,
    /// They are skipped, under all names that the share has of them.
    Rejected,
}

/// How a scan ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanSummary {
    /// Files found.
    pub files: u64,
    /// Their sizes together.
    pub bytes: u64,
    /// Folders listed, the share itself among them.
    pub folders: u64,
    /// Entries skipped, the unreadable ones among them.
    pub skipped: u64,
    /// Entries that could not be read. While it is not 0, a file that was not found is not known to be deleted: it may lie
    /// below a [`SkipReason::Unreadable`] folder.
    pub unreadable: u64,
    /// Whether the caller broke the scan off.
    pub stopped: bool,
}

/// Walks a share and tells `on` of everything in it, in no order; `on` may break the scan off.
///
/// One `stat` a file, one open handle a level. A file that comes or goes meanwhile may be missed or told.
///
/// # Errors
/// [`ShareError::Offline`] when the share's folder went away before or during the scan: what was told before that holds,
/// but nothing that was not told is deleted. [`ShareError::Unreadable`] when the folder itself cannot be listed.
pub fn scan(share: &ShareDir, hard_links: HardLinks, on: &mut dyn FnMut(ScanEvent) -> ControlFlow<()>) -> Result<ScanSummary, ShareError> {
    share.check(None)?;
    let unreadable = |source| ShareError::Unreadable { path: share.path().to_owned(), source };
    let root = beneath::open_folder(share.handle(), ".").map_err(|error| unreadable(error.into()))?;
    let mut walk = Walk {
        on,
        hard_links,
        summary: ScanSummary::default(),
        path: share.name().to_owned(),
        above: Vec::new(),
        rules: Rules::default(),
        root_error: None,
    };
    if walk.folder(root).is_break() && walk.root_error.is_none() {
        walk.summary.stopped = true;
    }
    if let Some(error) = walk.root_error {
        return Err(unreadable(error));
    }
    share.check(None)?;
    Ok(walk.summary)
}

/// A walk in progress: where it is, and what it counted.
struct Walk<'a> {
    on: &'a mut dyn FnMut(ScanEvent) -> ControlFlow<()>,
    hard_links: HardLinks,
    summary: ScanSummary,
    /// The folder that is being listed, beginning with the share's name.
    path: String,
    /// The folder that is being listed and those above it, to notice one that is mounted inside itself.
    above: Vec<RootId>,
    /// What is left out here.
    rules: Rules,
    /// Why the share's own folder could not be listed to its end.
    root_error: Option<io::Error>,
}

impl Walk<'_> {
    /// Lists one folder and those below it.
    fn folder(&mut self, folder: OwnedFd) -> ControlFlow<()> {
        let id = match beneath::stat_file(&folder) {
            Ok((stat, _)) => RootId { dev: Stamp::of(&stat).dev, ino: Stamp::of(&stat).ino },
            Err(error) => return self.unreadable(error),
        };
        if self.above.contains(&id) {
            return self.skip(SkipReason::Loop);
        }
        let enters_another_device = self.above.last().is_none_or(|parent| parent.dev != id.dev);
        if enters_another_device && is_pseudo(folder.as_fd()) {
            return self.skip(SkipReason::Pseudo);
        }
        let has_rules = self.rules.enter(folder.as_fd(), self.path.len() + 1);
        let mut entries = match Dir::new(folder) {
            Ok(entries) => entries,
            Err(error) => {
                if has_rules {
                    self.rules.leave();
                }
                return self.unreadable(error.into());
            }
        };
        self.summary.folders += 1;
        self.above.push(id);
        let flow = self.entries(&mut entries);
        self.above.pop();
        if has_rules {
            self.rules.leave();
        }
        flow
    }

    fn entries(&mut self, entries: &mut Dir) -> ControlFlow<()> {
        while let Some(entry) = entries.read() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => return self.unreadable(error.into()),
            };
            let parent = self.path.len();
            let flow = match entries.fd() {
                Ok(folder) => self.entry(folder, &entry),
                Err(error) => return self.unreadable(error.into()),
            };
            self.path.truncate(parent);
            flow?;
        }
        ControlFlow::Continue(())
    }

    /// Looks at one entry of the folder `parent`; leaves its name at the end of the path.
    fn entry(&mut self, parent: BorrowedFd<'_>, entry: &DirEntry) -> ControlFlow<()> {
        let raw = entry.file_name();
        if matches!(raw.to_bytes(), b"." | b"..") {
            return ControlFlow::Continue(());
        }
        self.path.push('/');
        let Ok(name) = raw.to_str() else {
            self.path.push_str(&raw.to_string_lossy());
            return self.skip(SkipReason::NotUtf8);
        };
        self.path.push_str(name);
        let known = match entry.file_type() {
            FileType::Unknown => None, // some file systems tell it only to `stat`
            kind => Some(kind),
        };
        match self.rules.verdict(&self.path, known == Some(FileType::Directory)) {
            Some(LeftOut::Ours) => return ControlFlow::Continue(()),
            Some(LeftOut::ByDefault) => return self.skip(SkipReason::LeftOut),
            Some(LeftOut::ByRule) => return self.skip(SkipReason::ByRule),
            None => {}
        }
        match known {
            Some(FileType::Directory) => self.child(parent, entry),
            Some(FileType::Symlink) => self.skip(SkipReason::Symlink),
            Some(FileType::RegularFile) | None => self.file(parent, entry),
            Some(_) => self.skip(SkipReason::Special),
        }
    }

    fn child(&mut self, parent: BorrowedFd<'_>, entry: &DirEntry) -> ControlFlow<()> {
        if let Err(why) = SharePath::parse(&self.path) {
            return self.skip(reason(why));
        }
        // The files of a folder at the limit are too deep: don't go and look.
        if self.above.len() + 1 >= MAX_DEPTH {
            return self.skip(SkipReason::TooDeep);
        }
        match beneath::open_folder(parent, entry.file_name()) {
            Ok(folder) => self.folder(folder),
            // It went away, or was replaced by something else, since it was listed.
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => ControlFlow::Continue(()),
            Err(error) => self.unreadable(error.into()),
        }
    }

    fn file(&mut self, parent: BorrowedFd<'_>, entry: &DirEntry) -> ControlFlow<()> {
        let stat = match statat(parent, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(rustix::io::Errno::NOENT) => return ControlFlow::Continue(()),
            Err(error) => return self.unreadable(error.into()),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return self.child(parent, entry),
            FileType::Symlink => return self.skip(SkipReason::Symlink),
            _ => return self.skip(SkipReason::Special),
        }
        let path = match SharePath::parse(&self.path) {
            Ok(path) => path,
            Err(why) => return self.skip(reason(why)),
        };
        let stamp = Stamp::of(&stat);
        if stamp.size > MAX_FILE_BYTES {
            return self.skip(SkipReason::TooLarge);
        }
        if stat.st_nlink > 1 && self.hard_links == HardLinks::Rejected {
            return self.skip(SkipReason::HardLink);
        }
        self.summary.files += 1;
        self.summary.bytes += stamp.size;
        (self.on)(ScanEvent::Found { path, stamp })
    }

    fn skip(&mut self, why: SkipReason) -> ControlFlow<()> {
        self.summary.skipped += 1;
        let what = Escaped(&self.path).to_string();
        (self.on)(ScanEvent::Skipped { what, path: SharePath::parse(&self.path).ok(), why })
    }

    fn unreadable(&mut self, error: io::Error) -> ControlFlow<()> {
        if !self.path.contains('/') {
            self.root_error = Some(error);
            return ControlFlow::Break(());
        }
        self.summary.unreadable += 1;
        self.skip(SkipReason::Unreadable)
    }
}

fn reason(why: SharePathError) -> SkipReason {
    match why {
        SharePathError::TooLong => SkipReason::TooDeep,
        SharePathError::EmptyComponent | SharePathError::Traversal | SharePathError::ForbiddenCharacter => SkipReason::NotPortable,
    }
}

/// Whether the folder is on a file system whose files have no content but what the kernel makes up when they are read.
#[cfg(target_os = "linux")]
#[allow(clippy::unnecessary_cast, clippy::cast_possible_wrap, reason = "the field's type differs between architectures")]
fn is_pseudo(folder: BorrowedFd<'_>) -> bool {
    /// procfs, sysfs, cgroup, cgroup2, debugfs, tracefs, securityfs, devpts, selinuxfs, bpf, efivarfs (`statfs(2)`).
    const MAGICS: [i64; 11] = [
        0x9fa0,
        0x6265_6572,
        0x0027_e0eb,
        0x6367_7270,
        0x6462_6720,
        0x7472_6163,
        0x7363_6673,
        0x1cd1,
        0xf97c_ff8c,
        0xcafe_4a11,
        0xde5e_81e4,
    ];
    rustix::fs::fstatfs(folder).is_ok_and(|stat| MAGICS.contains(&(stat.f_type as u32 as i64)))
}

#[cfg(not(target_os = "linux"))]
fn is_pseudo(_folder: BorrowedFd<'_>) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::test_tree::{Mount, TestTree};
    use std::collections::{BTreeMap, BTreeSet};
    use std::ffi::OsStr;
    use std::fs::File;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::PermissionsExt;

    struct Seen {
        files: BTreeSet<String>,
        skipped: BTreeMap<String, SkipReason>,
        summary: ScanSummary,
    }

    fn scan_all(share: &ShareDir) -> Seen {
        let (mut files, mut skipped) = (BTreeSet::new(), BTreeMap::new());
        let summary = scan(share, HardLinks::Shared, &mut |event| {
            match event {
                ScanEvent::Found { path, .. } => assert!(files.insert(String::from(path)), "told twice"),
                ScanEvent::Skipped { what, why, .. } => assert!(skipped.insert(what, why).is_none(), "told twice"),
            }
            ControlFlow::Continue(())
        });
        Seen { files, skipped, summary: summary.unwrap() }
    }

    #[test]
    fn every_file_is_found_with_its_size_and_time() {
        let tree = TestTree::new();
        tree.write("a", b"123");
        tree.write("b/c/d.txt", b"12345");
        tree.folder("empty");
        tree.write(".x.0123456789abcdef.potluck-part", b"a download in progress");
        let file = File::options().write(true).open(tree.path("a")).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::new(1_000, 999_999_999)).unwrap();
        let share = ShareDir::open("s", tree.root()).unwrap();
        let mut found = Vec::new();
        let summary = scan(&share, HardLinks::Shared, &mut |event| {
            found.push(event);
            ControlFlow::Continue(())
        });
        found.sort_by_key(|event| matches!(event, ScanEvent::Found { stamp, .. } if stamp.size == 5));
        let stamp = share.open_file("a").unwrap().stamp();
        assert_eq!(found[0], ScanEvent::Found { path: "s/a".parse().unwrap(), stamp });
        assert_eq!((stamp.size, stamp.mtime()), (3, 1_000));
        assert!(matches!(&found[1], ScanEvent::Found { path, .. } if path.as_str() == "s/b/c/d.txt"));
        assert_eq!(found.len(), 2);
        assert_eq!(summary.unwrap(), ScanSummary { files: 2, bytes: 8, folders: 4, ..ScanSummary::default() });
    }

    #[test]
    fn what_is_hidden_or_temporary_is_shared_only_where_the_user_asks_for_it() {
        let tree = TestTree::new();
        for name in [".secret", "id_rsa", "film.mkv.part", ".git/config", "music/.hidden", "music/song", "drafts/1", "a.log"] {
            tree.write(name, b"x");
        }
        let share = ShareDir::open("s", tree.root()).unwrap();
        let seen = scan_all(&share);
        assert_eq!(seen.files, ["s/a.log", "s/drafts/1", "s/music/song"].map(String::from).into());
        assert!(seen.skipped.values().all(|why| *why == SkipReason::LeftOut));
        assert_eq!(seen.skipped.len(), 5, "a folder is told once: {:?}", seen.skipped);
        tree.write(".potluckignore", b"*.log\ndrafts/\n!.secret\n");
        tree.write("music/.potluckignore", b"!.hidden\n");
        let seen = scan_all(&share);
        assert_eq!(seen.files, ["s/.secret", "s/music/.hidden", "s/music/song"].map(String::from).into());
        assert_eq!(seen.skipped["s/a.log"], SkipReason::ByRule);
        assert_eq!(seen.skipped["s/drafts"], SkipReason::ByRule);
    }

    /// G026, G028, G031.
    /// G029.
    #[test]
    fn a_file_with_two_names_is_shared_unless_such_files_are_rejected() {
        let tree = TestTree::new();
        tree.write("one", b"x");
        tree.write("two", b"x");
        std::fs::hard_link(tree.path("two"), tree.path("other")).unwrap();
        let share = ShareDir::open("s", tree.root()).unwrap();
        assert!(scan_all(&share).files.iter().eq(["s/one", "s/other", "s/two"]));
        let (mut found, mut skipped) = (Vec::new(), Vec::new());
        let summary = scan(&share, HardLinks::Rejected, &mut |event| {
            match event {
                ScanEvent::Found { path, .. } => found.push(path.to_string()),
                ScanEvent::Skipped { what, why, .. } => skipped.push((what, why)),
            }
            ControlFlow::Continue(())
        });
        skipped.sort_by(|one, other| one.0.cmp(&other.0));
        assert_eq!(found, ["s/one"]);
        assert_eq!(skipped, ["s/other", "s/two"].map(|what| (what.to_owned(), SkipReason::HardLink)));
        assert_eq!(summary.unwrap().skipped, 2);
    }

    #[test]
    fn odd_things_are_skipped_and_told() {
        let tree = TestTree::new();
        tree.write("good", b"x");
        tree.write("outside-is-not-followed/x", b"x");
        tree.symlink("link", "good");
        tree.symlink("up", "..");
        tree.symlink("dangling", "nowhere");
        tree.fifo("fifo");
        tree.socket("socket");
        tree.write("line\nbreak", b"");
        tree.write("back\\slash", b"");
        std::fs::write(tree.root().join(OsStr::from_bytes(b"caf\xe9")), b"").unwrap();
        File::create(tree.path("vast")).unwrap().set_len(MAX_FILE_BYTES + 1).unwrap();
        let device = tree.endless_device("zero");
        let seen = scan_all(&ShareDir::open("s", tree.root()).unwrap());
        assert!(seen.files.iter().eq(["s/good", "s/outside-is-not-followed/x"]));
        let mut expected = BTreeMap::from([
            ("s/link".into(), SkipReason::Symlink),
            ("s/up".into(), SkipReason::Symlink),
            ("s/dangling".into(), SkipReason::Symlink),
            ("s/fifo".into(), SkipReason::Special),
            ("s/socket".into(), SkipReason::Special),
            ("s/line\\u{a}break".into(), SkipReason::NotPortable),
            ("s/back\\slash".into(), SkipReason::NotPortable),
            ("s/caf\u{fffd}".into(), SkipReason::NotUtf8),
            ("s/vast".into(), SkipReason::TooLarge),
        ]);
        if device {
            expected.insert("s/zero".to_owned(), SkipReason::Special);
        }
        assert_eq!(seen.summary.skipped, expected.len() as u64);
        assert_eq!(seen.skipped, expected);
    }

    /// G024: a tree far deeper than any share path.
    #[test]
    fn a_tree_that_is_too_deep_is_cut_off_and_told() {
        let tree = TestTree::new();
        let mut at = beneath::open_root(tree.root()).unwrap();
        for _ in 0..200 {
            rustix::fs::mkdirat(&at, "d", rustix::fs::Mode::RWXU).unwrap();
            beneath::open_for_writing(at.as_fd(), "f", rustix::fs::OFlags::CREATE).unwrap();
            at = beneath::open_folder(at.as_fd(), "d").unwrap();
        }
        let seen = scan_all(&ShareDir::open("s", tree.root()).unwrap());
        let deepest = seen.files.iter().map(|path| path.split('/').count()).max();
        assert_eq!(deepest, Some(MAX_DEPTH));
        assert_eq!(seen.files.len(), MAX_DEPTH - 1);
        assert!(seen.skipped.values().all(|why| *why == SkipReason::TooDeep));
    }

    /// G033.
    #[test]
    fn a_share_that_is_away_is_offline_and_not_empty() {
        let tree = TestTree::new();
        tree.write("share/file", b"x");
        let share = ShareDir::open("s", &tree.path("share")).unwrap();
        std::fs::rename(tree.path("share"), tree.path("elsewhere")).unwrap();
        let nothing = &mut |_| panic!("nothing is told of a share that is away");
        assert!(matches!(scan(&share, HardLinks::Shared, nothing), Err(ShareError::Offline { .. })));
        std::fs::rename(tree.path("elsewhere"), tree.path("share")).unwrap();
        let mut leave = |_| {
            std::fs::rename(tree.path("share"), tree.path("elsewhere")).unwrap();
            ControlFlow::Continue(())
        };
        assert!(matches!(scan(&share, HardLinks::Shared, &mut leave), Err(ShareError::Offline { .. })), "it went away during the scan");
    }

    /// G033.
    #[test]
    fn an_unreadable_folder_is_told_and_counted() {
        let tree = TestTree::new();
        tree.write("shut/file", b"x");
        tree.write("open/file", b"x");
        std::fs::set_permissions(tree.path("shut"), std::fs::Permissions::from_mode(0o000)).unwrap();
        if std::fs::read_dir(tree.path("shut")).is_ok() {
            println!("skipped: root reads everything");
            return;
        }
        let seen = scan_all(&ShareDir::open("s", tree.root()).unwrap());
        assert_eq!(seen.skipped, BTreeMap::from([("s/shut".into(), SkipReason::Unreadable)]));
        assert_eq!((seen.summary.files, seen.summary.unreadable), (1, 1));
        std::fs::set_permissions(tree.path("shut"), std::fs::Permissions::from_mode(0o700)).unwrap();
    }

    #[test]
    fn the_caller_can_break_a_scan_off() {
        let tree = TestTree::new();
        (0..10).for_each(|number| drop(tree.write(&format!("{number}"), b"")));
        let mut left = 3;
        let summary = scan(&ShareDir::open("s", tree.root()).unwrap(), HardLinks::Shared, &mut |_| {
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!(summary.unwrap(), ScanSummary { files: 3, folders: 1, stopped: true, ..ScanSummary::default() });
    }

    /// G028: `/proc` never ends by itself: its files are made up as they are read.
    #[test]
    fn a_pseudo_file_system_is_skipped_as_a_whole() {
        let seen = scan_all(&ShareDir::open("s", std::path::Path::new("/proc")).unwrap());
        assert_eq!(seen.skipped, BTreeMap::from([("s".into(), SkipReason::Pseudo)]));
        assert!(seen.files.is_empty());
    }

    #[test]
    fn a_folder_mounted_inside_itself_is_not_walked_for_ever() {
        let tree = TestTree::new();
        tree.write("share/file", b"x");
        tree.folder("share/inner");
        let Some(_mount) = Mount::bind(&tree.path("share"), &tree.path("share/inner")) else {
            println!("skipped: only root may mount");
            return;
        };
        let seen = scan_all(&ShareDir::open("s", &tree.path("share")).unwrap());
        assert!(seen.files.iter().eq(["s/file"]));
        assert_eq!(seen.skipped, BTreeMap::from([("s/inner".into(), SkipReason::Loop)]));
    }
}
