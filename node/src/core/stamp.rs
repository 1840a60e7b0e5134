//! [`Stamp`]: by what a file is known without reading it.

use serde::{Deserialize, Serialize};

/// Nanoseconds in a second.
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_no_disk_has_a_time_all_the_same() {
        assert_eq!(Stamp::of_no_file(3, -4).mtime(), -4);
        assert!(!Stamp::of_no_file(3, 4).is_of_file());
    }
}
