//! What is told of downloads and uploads.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a user does to downloads that were begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DownloadAction {
    /// Fetch nothing of them until they are resumed, also after a restart.
    Pause,
    /// Go on with what was paused.
    Resume,
    /// Give them up: what was fetched of unfinished ones is deleted, finished files stay, and all leave the list.
    Cancel,
    /// Try failed ones again, and look at once for sources of those that wait.
    Retry,
    /// Fetch them before all others, also after a restart.
    High,
    /// Fetch them in the order in which they were asked for.
    Normal,
    /// Fetch them when there is nothing else to fetch, also after a restart.
    Low,
}

/// A download moves or ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum TransferLine {
    /// At most four a second.
    Progress {
        /// Which content; `None` for a folder.
        content_id: Option<String>,
        /// What is fetched, for people.
        name: String,
        /// Bytes that are there and verified.
        bytes: u64,
        /// Bytes in all.
        total: u64,
        /// Bytes per second, over the last seconds.
        rate: u64,
        /// Peers that send.
        sources: u32,
        /// Files that are finished.
        files_done: u64,
        /// Files in all.
        files: u64,
    },
    /// A file is in its place.
    Done {
        /// Where.
        path: String,
        /// Which content.
        content_id: String,
        /// Bytes in the file.
        bytes: u64,
        /// Bytes that were fetched for it by this run.
        fetched: u64,
        /// Peers that they came from.
        sources: u32,
        /// Whether the file had been there before.
        already_there: bool,
        /// Where that is now what was in its place; only of a repair.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kept: Option<String>,
    },
    /// A file cannot be had.
    Failed {
        /// What.
        name: String,
        /// Which content.
        content_id: Option<String>,
        /// Why, in a sentence.
        error: String,
        /// The exit code that this alone would have.
        code: u8,
    },
}

/// A download.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DownloadLine {
    /// A number that names it on this node.
    pub id: u64,
    /// Which content.
    pub content_id: String,
    /// The name that the file will have.
    pub name: String,
    /// The folder that it was asked for with; `None` for a file that was asked for alone.
    pub folder: Option<String>,
    /// Where it will be.
    pub path: String,
    /// Bytes that are there and verified.
    pub bytes: u64,
    /// Bytes in all; `None` while no source has told.
    pub total: Option<u64>,
    /// `high`, `normal` or `low`: what is fetched first.
    #[serde(default)]
    pub priority: DownloadPriority,
    /// `fetching`, `waiting` for a source, `paused`, `finishing`, `done`, `failed`; `cancelled` when it has just left the list.
    pub state: String,
    /// Bytes per second.
    pub rate: u64,
    /// Who sends.
    pub sources: Vec<SourceLine>,
    /// What went wrong last.
    pub error: Option<String>,
}

/// Which downloads are fetched first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DownloadPriority {
    /// When there is nothing else to fetch.
    Low,
    /// In the order in which they were asked for.
    #[default]
    Normal,
    /// Before all others.
    High,
}

/// A source of a download.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SourceLine {
    /// Its PeerId.
    pub peer_id: String,
    /// What it calls itself; empty while nobody said.
    pub nickname: String,
    /// `sending`, `queued` at the peer, `idle`, or `resting` after it failed.
    pub state: String,
    /// How many requests the peer said are before ours.
    pub queue: Option<u32>,
    /// Bytes per second.
    pub rate: u64,
    /// Verified bytes that came from it.
    pub bytes: u64,
}

/// Which pieces of a download are there, joined to cells where there are many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PieceMap {
    /// Bytes in a piece; the last may have fewer.
    pub piece_bytes: u64,
    /// Pieces in the file.
    pub pieces: u64,
    /// What part of each cell is there, in percent.
    pub verified: Vec<u8>,
    /// The cells in which something was asked for, by number.
    pub in_flight: Vec<u64>,
}

/// What is sent to a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UploadLine {
    /// Its PeerId.
    pub peer_id: String,
    /// What it calls itself; empty while nobody said.
    pub nickname: String,
    /// Which content; `None` for many small files together.
    pub content_id: Option<String>,
    /// Where the file is in the shares; `None` for many small files, and for one that is shared no longer.
    pub path: Option<String>,
    /// Bytes that were sent.
    pub bytes: u64,
    /// Bytes per second.
    pub rate: u64,
    /// Requests that are served now.
    pub active: u32,
}

/// The limits of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LimitsLine {
    /// Most bytes per second that it sends; `None`: no limit.
    pub up: Option<u64>,
    /// Requests of peers that wait for their turn.
    #[serde(default)]
    pub queued: u64,
}

/// A link to a file of our own shares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LinkLine {
    /// Where the file is in the shares.
    pub path: String,
    /// Its content id.
    pub content_id: String,
    /// What others paste into `download`.
    pub link: String,
}
