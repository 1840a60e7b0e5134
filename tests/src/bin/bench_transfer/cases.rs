//! The cases: what is moved, from how many to how many, over what, and who else is asked to move it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use potluck_tests::{Result, tree};

use super::ground::Between;
use super::link::Line;
use super::rivals::Rival;

/// The small files: as many, and of sizes that make 151 MB.
const SMALL_FILES: u32 = 5000;
const SMALL_SIZES: std::ops::RangeInclusive<u64> = (4 << 10)..=56_400;
/// The file for lines that are slower than this machine.
const MIDDLE: u64 = 256 << 20;
/// The file for slow ones.
const MODEST: u64 = 64 << 20;
/// The file for a line on which some need minutes for it.
const LITTLE: u64 = 16 << 20;

/// A line around the world or across a continent: 50 ms there and back, as much queue as a router has.
const WAN: Line = Line { delay: Duration::from_millis(25), mbit: 500.0, loss: 0.0, queue: Duration::from_millis(50) };
/// The same on a bad day.
const WAN_LOSS: Line = Line { loss: 1.0, ..WAN };
/// What a home sends.
const UPLINK_MBIT: u32 = 100;

const ALL_HTTP: &[Rival] = &[Rival::CurlAes, Rival::CurlChaCha];

/// Something to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Load {
    Large,
    Middle,
    Modest,
    Little,
    Small,
    One,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) load: Load,
    /// What others move instead, where all of it would take them a quarter of an hour: rates are compared.
    pub(crate) sample: Option<Load>,
    pub(crate) between: Between,
    /// How many have it, and how many fetch it at the same time.
    pub(crate) sources: usize,
    pub(crate) sinks: usize,
    /// Whether the receiver is killed at half way and started again.
    pub(crate) is_cut: bool,
    /// Whether the first source is killed at half way.
    pub(crate) loses_source: bool,
    pub(crate) rivals: &'static [Rival],
}

impl Case {
    const fn plain(name: &'static str, load: Load, between: Between, rivals: &'static [Rival]) -> Self {
        Self { name, load, sample: None, between, sources: 1, sinks: 1, is_cut: false, loses_source: false, rivals }
    }

    /// What we move, or others.
    pub(crate) fn load_of(&self, rival: Option<Rival>) -> Load {
        rival.and(self.sample).unwrap_or(self.load)
    }
}

/// All cases, in the order in which they are run.
pub(crate) const CASES: &[Case] = &[
    Case::plain("large", Load::Large, Between::Nothing, &[Rival::CurlAes, Rival::CurlChaCha, Rival::Rsync, Rival::Scp]),
    Case::plain("small", Load::Small, Between::Nothing, &[Rival::CurlAes, Rival::CurlChaCha, Rival::TarSsh, Rival::Rsync]),
    Case::plain("one", Load::One, Between::Nothing, &[Rival::CurlAes, Rival::Scp]),
    Case::plain("one-wan", Load::One, Between::Line(WAN, "cubic"), &[Rival::CurlAes, Rival::Scp]),
    Case::plain("wan", Load::Middle, Between::Line(WAN, "cubic"), &[Rival::CurlChaCha, Rival::Rsync]),
    Case::plain("wan-large", Load::Large, Between::Line(WAN, "cubic"), &[Rival::CurlChaCha]),
    Case::plain("wan-bbr", Load::Middle, Between::Line(WAN, "bbr"), &[Rival::CurlChaCha]),
    Case::plain("wan-loss-bbr", Load::Middle, Between::Line(WAN_LOSS, "bbr"), ALL_HTTP),
    Case {
        sample: Some(Load::Little),
        ..Case::plain("wan-loss-cubic", Load::Middle, Between::Line(WAN_LOSS, "cubic"), &[Rival::CurlChaCha])
    },
    Case::plain("small-wan", Load::Small, Between::Line(WAN, "cubic"), &[Rival::CurlAes, Rival::TarSsh, Rival::Rsync]),
    Case { sources: 3, ..Case::plain("multi3", Load::Middle, Between::Switch { machines: 4, mbit: UPLINK_MBIT }, &[Rival::Aria2]) },
    Case { sources: 3, ..Case::plain("multi3-large", Load::Large, Between::Switch { machines: 4, mbit: UPLINK_MBIT }, &[Rival::Aria2]) },
    Case {
        sources: 3,
        loses_source: true,
        ..Case::plain("multi3-loss", Load::Middle, Between::Switch { machines: 4, mbit: UPLINK_MBIT }, &[])
    },
    Case::plain("swarm-one", Load::Modest, Between::Switch { machines: 5, mbit: UPLINK_MBIT }, &[Rival::CurlChaCha]),
    Case { sinks: 4, ..Case::plain("swarm", Load::Modest, Between::Switch { machines: 5, mbit: UPLINK_MBIT }, &[]) },
    Case { is_cut: true, ..Case::plain("resume", Load::Large, Between::Nothing, &[Rival::CurlChaCha, Rival::Rsync]) },
];

impl Load {
    /// The name of its folder and of its share.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::Large => "large",
            Self::Middle => "middle",
            Self::Modest => "modest",
            Self::Little => "little",
            Self::Small => "small",
            Self::One => "one",
        }
    }

    /// Its only file; `None` when there are many.
    pub(crate) fn file(self) -> Option<&'static str> {
        (self != Self::Small).then_some("file.bin")
    }

    /// Makes it in a folder, unless it is there.
    pub(crate) fn make(self, files: &Path, large: u64) -> Result<Stock> {
        let folder = files.join(self.folder());
        let size = match self {
            Self::Large => large,
            Self::Middle => MIDDLE,
            Self::Modest => MODEST,
            Self::Little => LITTLE,
            Self::One => 1,
            Self::Small => 0,
        };
        if !folder.exists() {
            match self.file() {
                Some(file) => drop(tree::file(&folder.join(file), size, size)?),
                None => drop(tree::folder(&folder, 2, SMALL_FILES, SMALL_SIZES)?),
            }
        }
        let seen = tree::look(&folder)?;
        let contents: Vec<(PathBuf, String)> = seen.iter().map(|(path, seen)| (path.clone(), seen.content.clone())).collect();
        Ok(Stock { load: self, bytes: seen.values().map(|seen| seen.size).sum(), folder, contents })
    }
}

/// A load as it lies on the disk.
#[derive(Clone, Debug)]
pub(crate) struct Stock {
    pub(crate) load: Load,
    pub(crate) folder: PathBuf,
    pub(crate) bytes: u64,
    /// Every file and its hash.
    pub(crate) contents: Vec<(PathBuf, String)>,
}

impl Stock {
    /// Whether all of it has come, by the reference implementation of the hash.
    pub(crate) fn has_come(&self, into: &Path) -> Result<bool> {
        let into = if self.load.file().is_some() { into.to_owned() } else { into.join(self.load.folder()) };
        let came: Vec<(PathBuf, String)> = tree::look(&into)?.into_iter().map(|(path, seen)| (path, seen.content)).collect();
        Ok(came == self.contents)
    }
}
