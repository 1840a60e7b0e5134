//! What goes in and out of the node: one set of shapes for `--json`, the control socket and every other face.
//!
//! Sizes are bytes, rates bytes per second, times RFC 3339; the unknown is `null`. Extend these, do not change them:
//! scripts depend on them.

mod event;
mod settings;
mod shares;
mod transfers;
mod verify;

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use event::Event;
pub use settings::{CheckLine, CheckState, Origin, PathLine, SettingLine};
pub use shares::ShareLine;
pub use transfers::{DownloadAction, DownloadLine, DownloadPriority, LimitsLine, LinkLine, PieceMap, SourceLine, TransferLine, UploadLine};
pub use verify::VerifyLine;

/// What a user can ask of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "verb", rename_all = "snake_case")]
pub enum Command {
    /// Register with every tracker that is known, now.
    Register,
    /// Leave every tracker, and stay away until told to register.
    Deregister,
    /// All peers; or the files of one.
    Query {
        /// A PeerId, its last letters, or a nickname.
        peer: Option<String>,
    },
    /// What lies directly in a folder of a peer.
    Browse {
        /// A PeerId, its last letters, or a nickname; `me`: our own shares.
        peer: String,
        /// The folder; `None`: the peer's shares.
        path: Option<String>,
        /// Where an earlier answer ended.
        after: Option<String>,
        /// Most lines.
        limit: u32,
    },
    /// Files by name, at all trackers and dialled peers.
    Search {
        /// In the query language.
        text: String,
        /// Most hits.
        limit: u32,
    },
    /// Files by name, as they are published, at all trackers; goes on until nobody listens.
    Watch {
        /// In the query language.
        text: String,
    },
    /// Fetch files and folders.
    Download(DownloadWish),
    /// Become a member of a private swarm.
    Join {
        /// The line that was given to us.
        invitation: String,
    },
    /// Check finished downloads, and repair those that are damaged.
    Verify {
        /// A content id, a link, or an absolute path of a file or folder; `None`: all of them.
        what: Option<String>,
        /// Whether to repair what is damaged.
        repair: bool,
    },
    /// Connect to a peer or a tracker by multiaddr.
    Dial {
        /// Where.
        address: String,
    },
    /// Share one more folder, now and after restarts.
    ShareAdd {
        /// The name of the share; `None`: the folder's own.
        name: Option<String>,
        /// The folder; absolute.
        dir: PathBuf,
        /// Who it is for, each a PeerId or a namespace; empty: everybody.
        #[serde(default, rename = "for")]
        guests: Vec<String>,
    },
    /// Share a folder no longer. Its files stay where they are.
    ShareRemove {
        /// The name of the share, or its folder.
        name: String,
    },
    /// The shares.
    ShareList,
    /// List a share again now, or all of them.
    ShareRescan {
        /// The name of the share, or its folder; `None`: all.
        name: Option<String>,
    },
    /// The downloads.
    Downloads,
    /// Do something to downloads that were begun.
    Control {
        /// What.
        action: DownloadAction,
        /// Which: numbers, content ids, names, folders, or `all`.
        which: Vec<String>,
    },
    /// A link to a file of our own shares.
    Link {
        /// The file on this machine; absolute.
        path: PathBuf,
    },
    /// What is sent to whom.
    Uploads,
    /// The limits; changes those that are named.
    Limits {
        /// Most bytes per second to send; 0 for no limit; `None`: as it is.
        up: Option<u64>,
    },
    /// How the node is.
    Status,
    /// What the node runs with, and where each value comes from; read again first, if so wanted.
    Settings {
        /// Whether to take over what was changed in the configuration file.
        reload: bool,
    },
    /// What keeps the node from others, if anything does.
    Doctor,
    /// A way into the page of the node, for once.
    Page,
    /// Who the node is.
    Id,
}

/// What to fetch, and where to put it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DownloadWish {
    /// Content ids, `potluck:` links, or `PEER:share/path` of files and folders.
    pub refs: Vec<String>,
    /// The folder to put them in; absolute; `None`: the node's download folder.
    pub into: Option<PathBuf>,
    /// What to do when another file has the name.
    pub on_conflict: OnConflict,
    /// Give up when nothing has come from any source for so many seconds; `None`: the verb waits as long as its caller does.
    pub timeout_seconds: Option<u64>,
    /// Whether the bytes go to whoever asks, in order, and into no folder.
    #[serde(default)]
    pub to_stdout: bool,
}

/// What to do when another file has the name of a download. It is never overwritten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnConflict {
    /// Put a number into the name: `live (1).flac`.
    #[default]
    Number,
    /// Fail.
    Error,
}

/// One line of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Item {
    /// A tracker that now has the node registered, or has it no longer.
    Tracker(TrackerLine),
    /// A peer.
    Peer(PeerLine),
    /// A file of a peer.
    Entry(EntryLine),
    /// A folder of a peer.
    Folder(FolderLine),
    /// Where a listing goes on.
    Page(PageNote),
    /// A way into the page of the node.
    PageLink(PageLine),
    /// A hit of a search.
    Hit(HitLine),
    /// Something about a search as a whole.
    SearchNote(SearchNote),
    /// How a watch is.
    Watching(WatchLine),
    /// A hit of a watch.
    News(HitLine),
    /// A download moves or ends.
    Transfer(TransferLine),
    /// A membership.
    Joined(JoinLine),
    /// The next bytes of a file that is read as it comes. No line: faces carry it in ways of their own.
    #[serde(skip)]
    Chunk(Vec<u8>),
    /// What became of a finished download.
    Verified(VerifyLine),
    /// Who answered a dial.
    Dialled(DialLine),
    /// A share.
    Share(ShareLine),
    /// A download.
    Download(DownloadLine),
    /// What is sent to a peer.
    Upload(UploadLine),
    /// A link to a file.
    Link(LinkLine),
    /// The limits.
    Limits(LimitsLine),
    /// How the node is.
    Status(Box<StatusLine>),
    /// Who the node is.
    Id(IdLine),
    /// What the node runs with.
    Setting(SettingLine),
    /// Where the configuration file is.
    ConfigPath(PathLine),
    /// What was looked at, and how it is.
    Check(CheckLine),
}

impl Item {
    /// The object that `--json` prints; `None` for what only people are told.
    #[must_use]
    pub fn to_json(&self) -> Option<String> {
        match self {
            Item::Tracker(line) => serde_json::to_string(line),
            Item::Peer(line) => serde_json::to_string(line),
            Item::Entry(line) => serde_json::to_string(line),
            Item::Watching(line) => serde_json::to_string(line),
            Item::Hit(line) | Item::News(line) => serde_json::to_string(line),
            Item::Folder(line) => serde_json::to_string(line),
            Item::PageLink(line) => serde_json::to_string(line),
            Item::SearchNote(_) | Item::Page(_) | Item::Chunk(_) => return None,
            Item::Verified(line) => serde_json::to_string(line),
            Item::Transfer(line) => serde_json::to_string(line),
            Item::Joined(line) => serde_json::to_string(line),
            Item::Dialled(line) => serde_json::to_string(line),
            Item::Share(line) => serde_json::to_string(line),
            Item::Download(line) => serde_json::to_string(line),
            Item::Upload(line) => serde_json::to_string(line),
            Item::Link(line) => serde_json::to_string(line),
            Item::Limits(line) => serde_json::to_string(line),
            Item::Status(line) => serde_json::to_string(line),
            Item::Id(line) => serde_json::to_string(line),
            Item::Setting(line) => serde_json::to_string(line),
            Item::ConfigPath(line) => serde_json::to_string(line),
            Item::Check(line) => serde_json::to_string(line),
        }
        .ok()
    }
}

/// A membership of a private swarm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JoinLine {
    /// The PeerId of the tracker that admitted the node.
    pub tracker: String,
    /// Where it may share, search and download.
    pub namespaces: Vec<String>,
    /// Where it may only search and download.
    pub read_only: Vec<String>,
    /// Whether the node that runs has to be started again to take part.
    pub restart: bool,
    /// Whether the node that runs takes part by itself from now on.
    #[serde(default)]
    pub takes_part: bool,
}

/// A registration with one tracker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TrackerLine {
    /// Where the tracker is, with its PeerId once that is known.
    pub tracker: String,
    /// Where the node registers there.
    pub namespace: String,
    /// Whether it is registered now.
    pub registered: bool,
    /// What the state is in a word: `registered`, `connecting`, `waiting`, `left`.
    pub state: String,
    /// Why it is not registered, if a reason is known.
    pub error: Option<String>,
}

/// A peer, as a tracker or the peer itself tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PeerLine {
    /// Its PeerId.
    pub peer_id: String,
    /// What it calls itself.
    pub nickname: String,
    /// Where it listens.
    pub addresses: Vec<String>,
    /// How many files it offers; `None`: not told yet.
    pub files: Option<u64>,
    /// Their bytes.
    pub bytes: Option<u64>,
    /// Whether it is there now.
    pub online: bool,
}

/// A file of a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EntryLine {
    /// `share/folder/file`.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// When it was last changed.
    pub mtime: String,
    /// Its content id; `None` while it is not hashed.
    pub content_id: Option<String>,
}

/// A folder of a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FolderLine {
    /// Its own name.
    pub name: String,
    /// `share/folder`.
    pub path: String,
}

/// Where a listing goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PageNote {
    /// What to go on after; `None`: that was all.
    pub next: Option<String>,
}

/// A way into the page of the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PageLine {
    /// Where the page is.
    pub address: String,
    /// The same with a key that works once, for ten minutes.
    pub link: String,
}

/// A content or a folder that a search found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HitLine {
    /// Its content id; `None` for a folder, and for a file that is not hashed yet.
    pub content_id: Option<String>,
    /// The name that fits best.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// `file` or `folder`.
    pub kind: String,
    /// How many peers have it.
    pub sources: u32,
    /// Some of them, and where.
    pub peers: Vec<HolderLine>,
    /// Whether this node has it already: `shared`, `downloaded` since it started, `downloading`; `None`: no.
    pub have: Option<String>,
}

/// A peer that has a hit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HolderLine {
    /// Its PeerId.
    pub peer_id: String,
    /// What it calls itself.
    pub nickname: String,
    /// Where the file is in its shares.
    pub path: String,
}

/// How a watch is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WatchLine {
    /// `watching`: from now on hits are told. `missed`: some may have been missed, a search finds them.
    pub event: String,
    /// The PeerId of the tracker.
    pub tracker: String,
}

/// Something about a search as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SearchNote {
    /// How many hits there are.
    pub total: u64,
    /// Whether there are more than `total`.
    pub more: bool,
    /// What was searched for instead.
    pub corrected: Option<String>,
    /// Who did not answer, and why.
    pub unanswered: Vec<String>,
}

/// Who answered a dial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DialLine {
    /// Its PeerId.
    pub peer_id: String,
    /// Where it was reached.
    pub address: String,
    /// What program it says it is.
    pub agent: String,
    /// Whether it is a tracker.
    pub tracker: bool,
}

/// How the node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StatusLine {
    /// Its PeerId.
    pub peer_id: String,
    /// What it calls itself.
    pub nickname: String,
    /// Where it shares and searches.
    pub namespace: String,
    /// Where it listens.
    pub addresses: Vec<String>,
    /// Its trackers.
    pub trackers: Vec<TrackerLine>,
    /// Peers that it is connected to.
    pub connected_peers: u64,
    /// Its shares.
    pub shares: u64,
    /// Files in them.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Bytes that are hashed.
    pub hashed_bytes: u64,
    /// Downloads that are not done.
    pub downloads: u64,
    /// Bytes per second that come.
    pub rate_down: u64,
    /// Bytes per second that go.
    pub rate_up: u64,
    /// Bytes that it has sent to peers since it started.
    pub bytes_up: u64,
    /// Verified bytes that it has fetched since it started.
    pub bytes_down: u64,
    /// Where downloads go.
    pub download_dir: String,
    /// Where its page is; `None`: it has none.
    pub page: Option<String>,
    /// Whether it runs; `false` from a verb that found no running node.
    pub running: bool,
}

/// Who the node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IdLine {
    /// Its PeerId.
    pub peer_id: String,
    /// Where it listens, each with the PeerId: what another node dials.
    pub addresses: Vec<String>,
}
