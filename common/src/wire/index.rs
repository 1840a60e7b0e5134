//! `/potluck/index/1`: who offers what. Request and answer, one CBOR message each way, at most
//! [`MAX_INDEX_MESSAGE_BYTES`](super::MAX_INDEX_MESSAGE_BYTES).
//!
//! A tracker serves it over all its registered peers, and every node over its own shares: searching or browsing a peer
//! that was dialled directly is the same message to another PeerId. `Publish`, `Withdraw` and `Peers` are a tracker's.

use serde::{Deserialize, Serialize};

use super::{Bounded, MAX_ADDRESS_BYTES, MAX_ADDRESSES, MAX_CURSOR_BYTES, MAX_NICKNAME_BYTES, MAX_SEARCH_BYTES, Refusal, Text};
use crate::content_id::ContentId;
use crate::namespace::Namespace;
use crate::peer::PeerKey;
use crate::share_path::SharePath;

/// Most changes in one `Publish`: paths of 1,024 bytes would fill the message long before.
pub const MAX_CHANGES: usize = 2048;
/// Most entries, hits or peers in a page.
pub const MAX_PAGE: usize = 1000;
/// Most peers named with one hit; their number is always told, the rest comes from `Sources`.
pub const MAX_HOLDERS: usize = 16;
/// Most content ids in one `Sources`.
pub const MAX_SOURCE_IDS: usize = 256;
/// Most sources told of one content id: more than a download uses at once.
pub const MAX_SOURCES: usize = 64;

/// A multiaddr as text.
pub type Address = Text<MAX_ADDRESS_BYTES>;
/// What a peer calls itself: shown beside its PeerId, never instead.
pub type Nickname = Text<MAX_NICKNAME_BYTES>;
/// Where a listing goes on; opaque to who asks.
pub type Cursor = Text<MAX_CURSOR_BYTES>;

/// What a node asks of a tracker, or of another node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Offer files, or renew the lease of what is offered.
    Publish(Publish),
    /// Leave a namespace at once.
    Withdraw(Withdraw),
    /// The peers of a namespace.
    Peers(Peers),
    /// The files of one peer.
    List(List),
    /// Files by name.
    Search(Search),
    /// Who has these contents.
    Sources(Sources),
    /// Files by name, as they are published.
    Watch(Watch),
}

/// What is answered to the request of the same name, or why it is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// To `Publish`.
    Published(Published),
    /// To `Withdraw`: nothing of the peer is told any more.
    Withdrawn {},
    /// To `Peers`.
    Peers(PeersPage),
    /// To `List`.
    List(ListPage),
    /// To `Search`.
    Search(SearchPage),
    /// To `Sources`.
    Sources(SourcesFound),
    /// To `Watch`.
    Watched(Watched),
    /// To any.
    Refused {
        /// Why.
        why: Refusal,
    },
}

/// Changes of what a node offers, from revision `base` to `revision`.
///
/// The first message on a connection has no changes and `base` = `revision`: it asks whether the tracker is in step.
/// Changes that come in several messages are chained by their revisions. `base` 0 starts anew: what was offered before
/// is dropped with the first message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    /// Where it is offered.
    #[serde(rename = "ns")]
    pub namespace: Namespace,
    /// What the peer calls itself.
    #[serde(rename = "nick")]
    pub nickname: Nickname,
    /// Where the peer listens.
    #[serde(rename = "addrs")]
    pub addresses: Bounded<Address, MAX_ADDRESSES>,
    /// Drawn at random when the node starts its revisions anew: revisions of another epoch do not compare.
    pub epoch: u64,
    /// The revision that the changes are to.
    pub base: u64,
    /// The revision after the changes.
    #[serde(rename = "rev")]
    pub revision: u64,
    /// The changes.
    #[serde(rename = "ch", default)]
    pub changes: Bounded<Change, MAX_CHANGES>,
}

/// One change of what a node offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A file is there, new or changed.
    Put(Entry),
    /// A file is gone.
    #[serde(rename = "del")]
    Remove(SharePath),
}

/// One file of a share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Where in the peer's shares.
    #[serde(rename = "p")]
    pub path: SharePath,
    /// Bytes.
    #[serde(rename = "s")]
    pub size: u64,
    /// Time of the last change, in seconds since 1970-01-01 UTC.
    #[serde(rename = "m")]
    pub mtime: i64,
    /// Which content; `None` while it is not hashed yet.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub content_id: Option<ContentId>,
}

/// What the tracker holds of the peer after a `Publish`: on its disk, so that a crash or a power cut loses nothing of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The revision that the tracker holds, of the epoch that was named; 0 for none. When it is not the one that was
    /// published, the changes were not taken: publish again from here.
    #[serde(rename = "rev")]
    pub revision: u64,
    /// Seconds until the lease lapses, unless the peer publishes again.
    #[serde(rename = "ttl")]
    pub lease_seconds: u32,
}

/// Leaves a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdraw {
    /// Which.
    #[serde(rename = "ns")]
    pub namespace: Namespace,
    /// The peer means to come back: nothing is told of it from now on, but what it offers may be kept until its lease ends, so that
    /// it need not publish everything anew.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub park: bool,
}

/// Asks for the peers of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peers {
    /// Which.
    #[serde(rename = "ns")]
    pub namespace: Namespace,
    /// Only this one.
    #[serde(rename = "id", default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<PeerKey>,
    /// Go on after this page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Cursor>,
    /// Most peers wanted.
    #[serde(rename = "n")]
    pub limit: u32,
}

/// A page of peers, in a stable order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeersPage {
    /// The peers that are online.
    pub peers: Bounded<PeerInfo, MAX_PAGE>,
    /// Where to go on; `None` at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Cursor>,
}

/// A peer as a tracker knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerInfo {
    /// Who.
    #[serde(rename = "id")]
    pub peer: PeerKey,
    /// What it calls itself.
    #[serde(rename = "nick")]
    pub nickname: Nickname,
    /// Where it listens.
    #[serde(rename = "addrs")]
    pub addresses: Bounded<Address, MAX_ADDRESSES>,
    /// How many files it offers.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Asks for the files of one peer, in the order of their paths.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// Where.
    #[serde(rename = "ns")]
    pub namespace: Namespace,
    /// Whose; a node is asked for its own.
    #[serde(rename = "id")]
    pub peer: PeerKey,
    /// Only what is or lies below this path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub under: Option<SharePath>,
    /// Go on after this page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Cursor>,
    /// Most entries wanted.
    #[serde(rename = "n")]
    pub limit: u32,
}

/// A page of a peer's files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListPage {
    /// The files.
    pub entries: Bounded<Entry, MAX_PAGE>,
    /// Where to go on; `None` at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Cursor>,
}

/// Asks for files by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Search {
    /// Where.
    #[serde(rename = "ns")]
    pub namespace: Namespace,
    /// What, in the query language of `common::search::query`.
    #[serde(rename = "q")]
    pub text: Text<MAX_SEARCH_BYTES>,
    /// Go on after this page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Cursor>,
    /// Most hits wanted.
    #[serde(rename = "n")]
    pub limit: u32,
}

/// A page of hits, best first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchPage {
    /// The hits.
    pub hits: Bounded<Hit, MAX_PAGE>,
    /// How many there are in all.
    pub total: u64,
    /// Whether there are more than `total`: the search was cut short.
    #[serde(default, skip_serializing_if = "is_false")]
    pub more: bool,
    /// What was searched for instead, when the words as typed found little.
    #[serde(rename = "fix", default, skip_serializing_if = "Option::is_none")]
    pub corrected: Option<Text<MAX_SEARCH_BYTES>>,
    /// Where to go on; `None` at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Cursor>,
}

/// One content, or one folder, that a search found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hit {
    /// Which content; `None` for a folder, and for a file that is not hashed yet.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub content_id: Option<ContentId>,
    /// The best matching path of those that hold it.
    #[serde(rename = "p")]
    pub path: SharePath,
    /// File or folder.
    #[serde(rename = "k")]
    pub kind: Kind,
    /// Bytes; of a folder, of what it holds.
    #[serde(rename = "s")]
    pub size: u64,
    /// Time of the last change of the best match, in seconds since 1970-01-01 UTC.
    #[serde(rename = "m")]
    pub mtime: i64,
    /// How many peers have it.
    #[serde(rename = "n")]
    pub sources: u32,
    /// Some of them.
    #[serde(rename = "at")]
    pub holders: Bounded<Holder, MAX_HOLDERS>,
}

/// What a hit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A file.
    File,
    /// A folder.
    Folder,
}

/// A peer that has a hit, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Who.
    #[serde(rename = "id")]
    pub peer: PeerKey,
    /// What it calls itself.
    #[serde(rename = "nick")]
    pub nickname: Nickname,
    /// Where in its shares.
    #[serde(rename = "p")]
    pub path: SharePath,
}

/// Asks who has these contents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sources {
    /// Where.
    #[serde(rename = "ns")]
    pub namespace: Namespace,
    /// Which contents.
    #[serde(rename = "ids")]
    pub content_ids: Bounded<ContentId, MAX_SOURCE_IDS>,
}

/// Who has the contents: for each that was asked for and found, its sources.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourcesFound {
    /// One item a content.
    pub found: Bounded<ContentSources, MAX_SOURCE_IDS>,
    /// The peers that the items name by their place in this list, counted from 0.
    pub peers: Bounded<SourcePeer, 1024>,
}

/// The sources of one content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentSources {
    /// Which content.
    #[serde(rename = "c")]
    pub content_id: ContentId,
    /// Bytes, as the sources say.
    #[serde(rename = "s")]
    pub size: u64,
    /// Where one of the sources has it: a proposal for a name.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub path: Option<SharePath>,
    /// Places in the list of peers.
    #[serde(rename = "at")]
    pub peers: Bounded<u16, MAX_SOURCES>,
}

/// A source and where to reach it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourcePeer {
    /// Who.
    #[serde(rename = "id")]
    pub peer: PeerKey,
    /// What it calls itself.
    #[serde(rename = "nick")]
    pub nickname: Nickname,
    /// Where it listens.
    #[serde(rename = "addrs")]
    pub addresses: Bounded<Address, MAX_ADDRESSES>,
}

/// Asks for files by name as they are published: a saved search.
///
/// Without `after` it is answered at once, with no hits: from there on nothing is missed by who asks again and again from
/// where the last answer ended. The tracker keeps such a request until there is a hit, or ten seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// Where.
    #[serde(rename = "ns")]
    pub namespace: Namespace,
    /// What, in the query language of `common::search::query`.
    #[serde(rename = "q")]
    pub text: Text<MAX_SEARCH_BYTES>,
    /// Go on after the last answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Cursor>,
}

/// What was published since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// The files, in the order in which they were published, each at the one peer that did.
    pub hits: Bounded<Hit, MAX_PAGE>,
    /// Whether some were missed: more was published than is remembered.
    #[serde(default, skip_serializing_if = "is_false")]
    pub more: bool,
    /// Where to go on.
    pub next: Cursor,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_false(value: &bool) -> bool {
    !value
}
