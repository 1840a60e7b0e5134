//! The nouns of the scheduler: what is wanted, what is asked, what happened.

use std::sync::Arc;
use std::time::{Duration, Instant};

use potluck_common::content_id::{ContentId, PieceHash};
use potluck_common::geometry::PieceIndex;
use potluck_common::peer::PeerKey;
use potluck_common::wire::Refusal;
use serde::{Deserialize, Serialize};

use crate::core::piece_set::PieceSet;

/// A file that is being downloaded, as its owner numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileNo(pub u32);

/// A request to a peer. Numbers are not used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AskId(pub u64);

/// Which files come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// When there is nothing else to do.
    Low,
    /// In the order in which they were wanted.
    #[default]
    Normal,
    /// Before all others.
    High,
}

/// A file that somebody wants.
#[derive(Clone, Debug)]
pub struct Want {
    /// Which content.
    pub content_id: ContentId,
    /// Its bytes, if somebody said so; proven only when the piece hashes are known.
    pub size: Option<u64>,
    /// Its piece hashes, if they were fetched before; they are proven once more.
    pub hashes: Option<Arc<[PieceHash]>>,
    /// Pieces that are on the disk already; `None` for none.
    pub verified: Option<PieceSet>,
    /// Which files come first.
    pub priority: Priority,
    /// Whether the pieces are wanted in order, because somebody reads the file as it comes.
    pub in_order: bool,
}

/// A request that is to be sent to a peer now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Names it in everything that happens to it.
    pub id: AskId,
    /// Whom to ask; perhaps not connected yet.
    pub peer: PeerKey,
    /// What for.
    pub what: What,
}

/// What a peer is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Size and piece hashes of a file, from piece number `from` on.
    Hashes {
        /// The file.
        file: FileNo,
        /// Its content.
        content_id: ContentId,
        /// First piece wanted.
        from: u32,
    },
    /// One piece of a file.
    Piece {
        /// The file.
        file: FileNo,
        /// Its content.
        content_id: ContentId,
        /// The piece.
        piece: PieceIndex,
    },
    /// Files of one piece, whole: at most [`MAX_FILES`](potluck_common::wire::piece::MAX_FILES).
    Files(Vec<(FileNo, ContentId)>),
    /// Which pieces the peer has, from piece number `from` on.
    Have {
        /// The file.
        file: FileNo,
        /// Its content.
        content_id: ContentId,
        /// First piece wanted.
        from: u32,
    },
}

/// What came of a page of hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// The page was taken; more pages are needed, and will be asked for.
    More,
    /// The list is complete and combines to the content id: size and hashes are proven.
    Proven,
    /// The peer lied, and is banned; the list is asked for elsewhere.
    Lie,
    /// Nobody waits for it any more.
    Late,
}

/// What the owner should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Size and piece hashes of a file are proven: [`Scheduler::hashes`](super::Scheduler::hashes) has them, and a
    /// restart needs them.
    HashesKnown(FileNo),
    /// Every piece of a file is verified. The file is asked for no more; its number can be given to `remove`.
    FileComplete(FileNo),
    /// A file has no source that can be asked, or could use more: ask the trackers again, then tell of what they
    /// answer. Comes again, at growing intervals up to five minutes, as long as it holds.
    SourcesWanted(FileNo),
    /// A peer does not have a file after all, and is no longer one of its sources.
    SourceLost {
        /// The file.
        file: FileNo,
        /// Who.
        peer: PeerKey,
        /// What it said.
        why: Refusal,
    },
    /// A peer sent what it must have known to be wrong, and is asked for nothing until then.
    PeerBanned {
        /// Who.
        peer: PeerKey,
        /// For which file.
        file: FileNo,
        /// What it did.
        why: Misdeed,
        /// When it may be asked again.
        until: Instant,
    },
    /// More connections to a connected peer would probably pay.
    ConnectionsWanted {
        /// To whom.
        peer: PeerKey,
        /// How many more.
        more: u32,
    },
}

/// What a peer is banned for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misdeed {
    /// The bytes of a piece have another hash.
    #[error("sent bytes with the wrong hash")]
    WrongBytes,
    /// The piece hashes do not combine to the content id.
    #[error("sent piece hashes that do not belong to the file")]
    WrongHashes,
    /// The answer was not one to what was asked.
    #[error("sent an answer that makes no sense")]
    Nonsense,
}

/// How far a file is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes in verified pieces.
    pub verified: u64,
    /// Bytes in the file; `None` when nobody said yet.
    pub total: Option<u64>,
    /// Sources that could be asked.
    pub sources: usize,
    /// Pieces that are neither verified nor in flight; 0 when the piece hashes are not known.
    pub missing_pieces: u64,
}

/// One source of a file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SourceInfo {
    /// Who.
    pub peer: PeerKey,
    /// Bytes per second, over all files, when it was last kept busy; `None` before the first measurement.
    pub rate: Option<f64>,
    /// Requests out to it, over all files.
    pub in_flight: usize,
    /// Its place in the other side's queue, when it was busy the last time it was asked.
    pub queue: Option<u32>,
    /// When bytes of any file, or the hashes of one, came from it last; what it says that it has does not count.
    pub heard: Option<Instant>,
    /// Whether an answer of it has come in whole and is being verified and written here.
    pub is_being_kept: bool,
    /// Whether it may be asked: it neither lied nor failed lately.
    pub is_usable: bool,
    /// Whether it has every piece.
    pub is_complete: bool,
}

/// What the scheduler keeps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Most requests in flight at one peer.
    pub max_window: u32,
    /// Most bytes that all answers in flight may have: the memory that bodies take. At least one piece.
    pub max_in_flight_bytes: u64,
    /// Most peers that are asked at a time without being connected: each is a dial.
    pub max_dials: usize,
    /// For how long a peer that lied is asked for nothing.
    pub ban: Duration,
    /// This node, as those who fetch the same files know it; `None` for one that does not share the work with them.
    pub me: Option<PeerKey>,
}

impl Default for Config {
    /// 32 requests a peer; 24 MiB of bodies; 8 dials; a day; nobody.
    fn default() -> Self {
        Self { max_window: 32, max_in_flight_bytes: 24 << 20, max_dials: 8, ban: Duration::from_secs(24 * 3600), me: None }
    }
}
