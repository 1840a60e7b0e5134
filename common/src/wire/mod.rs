//! The protocols' names and every limit on bytes from the network, each with its unit and reason.
//!
//! All messages are CBOR maps with short text keys. Unknown keys are ignored, so that a later version may add some; an
//! unknown variant is answered with a typed refusal ([`Refusal::Unsupported`]); a collection has a most, enforced while
//! decoding. `docs/PROTOCOL.md` describes them for other implementations.

pub mod admit;
pub mod index;
pub mod piece;

mod bounded;

pub use bounded::{Bounded, Bytes, Text};

use serde::{Deserialize, Serialize};

/// The file index: publish, browse, search.
pub const INDEX_PROTOCOL: &str = "/potluck/index/1";
/// Bytes of files, and what verifies them.
pub const PIECE_PROTOCOL: &str = "/potluck/piece/1";
/// The same, with request after request on one stream.
pub const PIECES_PROTOCOL: &str = "/potluck/pieces/1";
/// Membership of a private swarm: the only one of ours that is spoken to a stranger there.
pub const ADMIT_PROTOCOL: &str = "/potluck/admit/1";
/// What identify says of a program of this project.
pub const IDENTIFY_PROTOCOL: &str = "/potluck/1";
/// libp2p's rendezvous protocol; a peer that lists it in identify is a tracker.
pub const RENDEZVOUS_PROTOCOL: &str = "/rendezvous/1.0.0";

/// Longest index message in bytes, either way (256 KiB): a page of about a thousand entries; small enough to decode
/// while a connection waits.
pub const MAX_INDEX_MESSAGE_BYTES: usize = 256 << 10;
/// Longest message of the admit protocol in bytes, either way (56 KiB): a deny list and what surrounds it.
pub const MAX_ADMIT_MESSAGE_BYTES: usize = 56 << 10;
/// Longest request of the piece protocol in bytes (16 KiB): 256 content ids with their framing.
pub const MAX_PIECE_REQUEST_BYTES: usize = 16 << 10;
/// Longest header of an answer of the piece protocol in bytes (16 KiB): 256 lengths or a bitmap of 64 Ki pieces.
pub const MAX_PIECE_HEADER_BYTES: usize = 16 << 10;
/// Longest body of an answer of the piece protocol in bytes (1 MiB): one piece.
pub const MAX_BODY_BYTES: usize = crate::geometry::PIECE_BYTES as usize;

/// Longest nickname in bytes.
pub const MAX_NICKNAME_BYTES: usize = 64;
/// Most addresses kept of one peer.
pub const MAX_ADDRESSES: usize = 16;
/// Longest multiaddr in bytes of text.
pub const MAX_ADDRESS_BYTES: usize = 256;
/// Longest cursor in bytes: a path and a number.
pub const MAX_CURSOR_BYTES: usize = crate::share_path::MAX_PATH_BYTES + 64;
/// Longest search text in bytes.
pub const MAX_SEARCH_BYTES: usize = 512;

/// Why a request was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The other side does not know this request: it speaks an older version, or the message was malformed.
    #[error("the other side does not understand this request")]
    Unsupported,
    /// No such file, folder or peer; also what an outsider is told about everything.
    #[error("not found")]
    NotFound,
    /// The file is not what it was when it was published; it is being hashed again.
    #[error("the file has changed")]
    Changed,
    /// Too much asked at once: try again later.
    #[error("busy")]
    Busy,
    /// A quota of this peer is used up.
    #[error("over quota")]
    OverQuota,
    /// Not a member.
    #[error("not permitted")]
    NotPermitted,
    /// A disk could not be read or written, or the index is starting: try again later.
    #[error("unavailable")]
    Unavailable,
}
