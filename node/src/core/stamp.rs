//! [`Stamp`]: by what a file is known without reading it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// The coarsest file times in use (FAT: 2 s): a file younger than this may change again without a new mtime.
const COARSEST_MTIME: Duration = Duration::from_secs(2);
const NANOS: i64 = 1_000_000_000;

/// What tells one state of a file from another without reading it. A rename keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stamp {
    /// Device number.
    pub dev: u64,
    /// Inode number on that device. No file has 0.
    pub ino: u64,
    /// Bytes in the file.
    pub size: u64,
    /// Time of the last change in nanoseconds since 1970, cut to what an `i64` holds.
    pub mtime_ns: i64,
}

impl Stamp {
    /// The stamp of what is on no disk yet, or only in part: of its size, and with a time in seconds since 1970.
    #[must_use]
    pub fn of_no_file(size: u64, mtime: i64) -> Self {
        Self { dev: 0, ino: 0, size, mtime_ns: mtime.saturating_mul(NANOS) }
    }

    /// Whether it is the stamp of a file on a disk.
    #[must_use]
    pub fn is_of_file(&self) -> bool {
        self.ino != 0
    }

    /// Time of the last change in seconds since 1970.
    #[must_use]
    pub fn mtime(&self) -> i64 {
        self.mtime_ns.div_euclid(NANOS)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_changed_a_moment_ago_is_not_settled() {
        let at = |seconds: i64| Stamp { dev: 0, ino: 0, size: 0, mtime_ns: seconds * NANOS };
        let now = UNIX_EPOCH + Duration::from_secs(1_000);
        assert!(at(900).is_settled(now) && at(-5).is_settled(now) && at(2_000).is_settled(now));
        assert!(!at(1_000).is_settled(now) && !at(998).is_settled(now));
    }

    #[test]
    fn what_is_on_no_disk_has_a_time_all_the_same() {
        assert_eq!(Stamp::of_no_file(3, -4).mtime(), -4);
        assert!(!Stamp::of_no_file(3, 4).is_of_file());
    }
}
