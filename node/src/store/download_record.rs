//! [`DownloadRecord`]: what outlives a restart of a download.

use potluck_common::content_id::ContentId;
use potluck_common::peer::PeerKey;
use potluck_common::share_path::SharePath;
use serde::{Deserialize, Serialize};

use crate::core::scheduler::Priority;

/// Most source hints that are kept for a download: enough to start again without a tracker.
pub(super) const MAX_SOURCE_HINTS: usize = 64;

/// A download as the database keeps it. Piece hashes and the bitmap of verified pieces are stored beside it, because
/// they change at other times: see [`State::put_pieces`](super::State::put_pieces) and
/// [`State::checkpoint`](super::State::checkpoint).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DownloadRecord {
    /// Number of the download on this node.
    pub id: u64,
    /// Which file.
    pub content_id: ContentId,
    /// What the user sees.
    pub name: String,
    /// The download folder, if it is not the node's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// Where it goes below the download folder.
    pub target: SharePath,
    /// Bytes in the file; `None` until a source has proven it.
    pub size: Option<u64>,
    /// How far it is.
    pub phase: Phase,
    /// What it comes before and after.
    #[serde(default, skip_serializing_if = "is_normal")]
    pub priority: Priority,
    /// When the user asked for it, in seconds since 1970.
    pub created: i64,
    /// The time of change that the file gets, in seconds since 1970.
    pub mtime: i64,
    /// Whether it takes the place of what is at the target: a repair.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replaces: bool,
    /// Who had it when it was last looked for; at most 64 are stored.
    pub sources: Vec<SourceHint>,
    /// Pieces that were verified and synced, one bit each, the first in the lowest bit of the first byte. Not part of the
    /// record's own value: filled in when read, ignored when put.
    #[serde(skip)]
    pub verified: Vec<u8>,
}

fn is_normal(priority: &Priority) -> bool {
    *priority == Priority::Normal
}

/// How far a download is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Wanted: waits for a source or is under way.
    Wanted,
    /// The user paused it.
    Paused,
    /// The file is at its target.
    Done {
        /// Where, on this disk.
        path: String,
    },
    /// It cannot go on until the user does something.
    Failed {
        /// What happened and what to do, as a sentence.
        reason: String,
    },
}

/// What the user decides about a download that is not done, and may change at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Whether nothing of it is fetched until further notice.
    pub is_paused: bool,
    /// What it comes before and after.
    pub priority: Priority,
}

impl Choice {
    /// The phase of a download that waits for nothing but this.
    #[must_use]
    pub fn phase(self) -> Phase {
        if self.is_paused { Phase::Paused } else { Phase::Wanted }
    }
}

/// A peer that had the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceHint {
    /// Who.
    pub peer: PeerKey,
    /// Where it was reached, as a multiaddr; `None` when only a tracker knows.
    pub address: Option<String>,
}
