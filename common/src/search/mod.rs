//! The file index and its search. Pure: no I/O, no clock, no libp2p; a second core, where one is idle, only makes it faster.
//!
//! A tracker keeps one [`Index`] a namespace over the files of all its peers, a node one over its own shares. An index
//! knows peers by a small number, [`PeerNo`], that its owner gives out and may give out again after
//! [`Index::forget_peer`]. A peer that is offline keeps its entries, and nothing of them is told: switching it on and off
//! costs one step, whatever it shares.
//!
//! From the outside in:
//!
//! | file | one line |
//! |---|---|
//! | [`answer`] | a request of the wire, answered from an index |
//! | [`query`] | the language: words, phrases, exclusions, filters |
//! | `fold`, [`media`] | texts without case and accents; what `type:` means |
//! | `engine` | the index: put, remove, forget, list, sources |
//! | `find`, `order`, `filter`, `collect` | a search: blocks that may hold hits, the best first, documents that are hits, the page of the best |
//! | `rank`, `typo` | what is better; what was probably meant |
//! | [`Matcher`] | whether a single file fits a query, without an index |
//! | `relation`, `peers`, `files` | who has what, without any text |
//! | `texts`, `segment`, `names`, `postings` | what it is called, and how that is found |
//! | [`Chunks`], [`RowTable`], `lists` | tables that grow without a pause; the first two also for who keeps tables of its own |
//! | [`Scan`] | the same by looking at every entry: what the engine is tested against |

pub mod answer;
mod chunks;
mod collect;
mod engine;
#[cfg(test)]
mod equality;
mod files;
mod filter;
mod find;
mod fold;
mod lists;
mod matcher;
pub mod media;
mod names;
mod order;
mod peers;
mod postings;
pub mod query;
mod rank;
mod relation;
mod scan;
mod segment;
mod table;
mod texts;
mod typo;

pub use chunks::Chunks;
pub use engine::Engine;
pub use engine::Engine as Index;
pub use fold::fold;
pub use matcher::Matcher;
pub use query::Query;
pub use scan::Scan;
pub use table::{MAX_ROWS, Table as RowTable};
pub use texts::{Done, Job};
pub use typo::is_correctable;

use crate::content_id::ContentId;
use crate::share_path::SharePath;
use crate::wire::index::Kind;

/// A peer's number within one index, given out by the index's owner. Small: tables are as long as the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerNo(pub u32);

/// What a search found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The hits of this page, best first.
    pub hits: Vec<FoundHit>,
    /// How many there are in all.
    pub total: u64,
    /// Whether there are more than `total`: the work budget cut the search short.
    pub more: bool,
    /// What was searched for instead, when the words as typed found little.
    pub corrected: Option<String>,
    /// The cursor of the next page; `None` at the end.
    pub next: Option<String>,
}

/// One content, one file without content id, or one folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundHit {
    /// Which content; `None` for a folder, and for a file that is not hashed yet.
    pub content_id: Option<ContentId>,
    /// The best matching path.
    pub path: SharePath,
    /// File or folder.
    pub kind: Kind,
    /// Bytes; of a folder, of the matching peer's files below it.
    pub size: u64,
    /// Seconds since 1970-01-01 UTC; of a folder 0.
    pub mtime: i64,
    /// How many online peers have it; 4,096 are as many as are counted.
    pub sources: u32,
    /// Some of them, and where: at most [`MAX_HOLDERS`](crate::wire::index::MAX_HOLDERS).
    pub holders: Vec<(PeerNo, SharePath)>,
}

/// Who has a content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcesOf {
    /// Bytes, as the sources say.
    pub size: u64,
    /// Where one of them has it.
    pub path: SharePath,
    /// The online peers that have it.
    pub peers: Vec<PeerNo>,
}

/// How much a peer, or a whole index, offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Files.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
}
