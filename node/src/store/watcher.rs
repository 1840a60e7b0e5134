//! [`Watcher`]: tells in which folders something changes, as far as the system tells us.
//!
//! What it tells is a hint: which share to look at sooner than the next sweep would. Nothing is lost when the system tells
//! nothing, as on network file systems, or has no room for more watches.

use std::io;
use std::path::Path;

use notify::event::{AccessKind, AccessMode};
use notify::{Config, ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use rustix::io::Errno;

/// Where Linux keeps how many folders a user may watch.
const LIMIT: &str = "/proc/sys/fs/inotify/max_user_watches";
/// Room above what is needed now, for folders that come: a quarter.
const ROOM: u64 = 4;

/// A share cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The system has no room for more watches.
    #[error(
        "the system watches no more folders than it does; changes are found by looking every {sweep} or so. To have them at once, let it \
         watch more: sudo sysctl fs.inotify.max_user_watches={needed}"
    )]
    TooMany {
        /// How often it is looked instead.
        sweep: String,
        /// What the setting should be.
        needed: u64,
    },
    /// Anything else: a file system that cannot be watched.
    #[error("changes cannot be watched here ({reason}); they are found by looking every {sweep} or so")]
    Other {
        /// How often it is looked instead.
        sweep: String,
        /// What the system said.
        reason: String,
    },
}

/// Watches folders and what is below them. Dropping it ends that.
#[derive(Debug)]
pub struct Watcher {
    inner: RecommendedWatcher,
}

impl Watcher {
    /// A watcher that watches nothing yet. `on` is called from a thread of its own with a path at or below which something
    /// changed, and must not wait; `None`: so much changed that it could not be told where.
    ///
    /// # Errors
    /// When the system has none to give.
    pub fn new(mut on: impl FnMut(Option<&Path>) + Send + 'static) -> io::Result<Self> {
        let handler = move |event: notify::Result<Event>| match event {
            Ok(event) if event.need_rescan() => on(None),
            Ok(event) if changes_something(event.kind) => event.paths.iter().for_each(|path| on(Some(path.as_path()))),
            Ok(_) => {}
            Err(_) => on(None),
        };
        let config = Config::default().with_follow_symlinks(false);
        let inner = RecommendedWatcher::new(handler, config).map_err(io::Error::other)?;
        Ok(Self { inner })
    }

    /// Watches a folder and what is below it; `folders`: how many that are. May take milliseconds a thousand folders.
    /// `sweep` is told to the user: how often it is looked otherwise.
    ///
    /// # Errors
    /// When that is not possible; then it is not watched at all.
    pub fn watch(&mut self, dir: &Path, folders: u64, sweep: &str) -> Result<(), WatchError> {
        self.inner.watch(dir, RecursiveMode::Recursive).map_err(|error| {
            self.unwatch(dir); // some of it may be watched by now
            let sweep = sweep.to_owned();
            match is_full(&error.kind) {
                true => WatchError::TooMany { sweep, needed: needed(limit().unwrap_or(0), folders) },
                false => WatchError::Other { sweep, reason: error.to_string() },
            }
        })
    }

    /// Watches a folder no longer.
    pub fn unwatch(&mut self, dir: &Path) {
        let _ = self.inner.unwatch(dir); // it may not be watched
    }
}

/// Our own hashing opens and closes files: that is no change.
fn changes_something(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    }
}

fn is_full(kind: &ErrorKind) -> bool {
    match kind {
        ErrorKind::MaxFilesWatch => true,
        ErrorKind::Io(error) => matches!(Errno::from_io_error(error), Some(Errno::NOSPC | Errno::MFILE)),
        _ => false,
    }
}

/// How many folders a user may watch; `None` where the system does not say.
pub(super) fn limit() -> Option<u64> {
    std::fs::read_to_string(LIMIT).ok().and_then(|text| text.trim().parse().ok())
}

/// A limit that leaves others what they have, and has room for so many folders and some more.
fn needed(limit: u64, folders: u64) -> u64 {
    let more = folders + folders / ROOM;
    (limit + more).next_multiple_of(1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::test_tree::TestTree;
    use std::sync::mpsc::sync_channel;
    use std::time::Duration;

    #[test]
    fn a_change_far_below_is_told_and_reading_is_none() {
        let tree = TestTree::new();
        let file = tree.write("a/b/file", b"x");
        let (sender, changes) = sync_channel(100);
        let mut watcher = Watcher::new(move |path| drop(sender.try_send(path.map(Path::to_owned)))).unwrap();
        watcher.watch(tree.root(), 3, "minute").unwrap();
        std::fs::read(&file).unwrap();
        std::fs::write(tree.path("a/b/other"), b"y").unwrap();
        let told = changes.recv_timeout(Duration::from_secs(20)).unwrap();
        assert!(told.is_some_and(|path| path.ends_with("other")), "reading is no change");
        watcher.unwatch(tree.root());
        assert!(watcher.watch(&tree.path("missing"), 1, "minute").is_err());
    }

    #[test]
    fn the_setting_that_helps_has_room_for_all_folders() {
        assert_eq!(needed(8192, 100_000), 133_192_u64.next_multiple_of(1024));
        assert!(WatchError::TooMany { sweep: "minute".into(), needed: 9216 }.to_string().contains("max_user_watches=9216"));
    }
}
