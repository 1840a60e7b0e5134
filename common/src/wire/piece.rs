//! `/potluck/piece/1`: bytes of files, and what verifies them.
//!
//! A request is one CBOR message of at most [`MAX_PIECE_REQUEST_BYTES`](super::MAX_PIECE_REQUEST_BYTES). An answer is
//! the length of its header (four bytes, big endian), the header (CBOR), and a body of raw bytes whose length the header
//! tells: at most [`MAX_BODY_BYTES`], and never more than was asked for.
//!
//! `/potluck/pieces/1` is the same with a stream that is kept: before each request stands its length (two bytes, big endian), and
//! the next follows on the same stream when the answer has come. A new stream has a window of 256 KiB, which takes some round
//! trips to grow to what a long path needs.

use serde::{Deserialize, Serialize};

use super::{Bounded, MAX_BODY_BYTES, Refusal};
use crate::content_id::ContentId;

/// Most piece hashes in one answer: as many as a body holds (32 KiB hashes of 32 bytes: a file of 32 GiB).
pub const MAX_HASHES: u32 = (MAX_BODY_BYTES / 32) as u32;
/// Most small files in one answer.
pub const MAX_FILES: usize = 256;
/// Most pieces that one `Have` answer tells of (64 Ki, a bitmap of 8 KiB).
pub const MAX_HAVE: u32 = 8 * 8192;

/// What a downloading node asks of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// The size of a file and hashes of its pieces, from piece number `from` on.
    Hashes {
        /// Which file.
        #[serde(rename = "c")]
        content_id: ContentId,
        /// First piece wanted, counted from 0.
        from: u32,
    },
    /// The bytes of one piece.
    Piece {
        /// Which file.
        #[serde(rename = "c")]
        content_id: ContentId,
        /// Which piece, counted from 0.
        #[serde(rename = "i")]
        piece: u32,
    },
    /// Some of the bytes of one piece, for several connections to bring it together. Only on `/potluck/pieces/1`.
    Part {
        /// Which file.
        #[serde(rename = "c")]
        content_id: ContentId,
        /// Which piece, counted from 0.
        #[serde(rename = "i")]
        piece: u32,
        /// First byte wanted, counted from 0 in the piece.
        #[serde(rename = "o")]
        offset: u32,
        /// Bytes wanted; as many come as the piece has from there on, maybe none.
        #[serde(rename = "n")]
        length: u32,
    },
    /// Small files whole, in this order, as many as fit in one body.
    Files {
        /// Which files.
        #[serde(rename = "c")]
        content_ids: Bounded<ContentId, MAX_FILES>,
    },
    /// Which pieces the source has, from piece number `from` on.
    Have {
        /// Which file.
        #[serde(rename = "c")]
        content_id: ContentId,
        /// First piece wanted, counted from 0.
        from: u32,
    },
}

/// The header of an answer. The body follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Header {
    /// To `Hashes`: the body holds `count` hashes of 32 bytes.
    Hashes {
        /// Bytes in the file.
        #[serde(rename = "s")]
        size: u64,
        /// Hashes in the body.
        #[serde(rename = "n")]
        count: u32,
    },
    /// To `Piece` and `Part`: the body is the piece, or some of it.
    Piece {
        /// Bytes in the body.
        #[serde(rename = "n")]
        length: u32,
    },
    /// To `Files`: the body holds the files one after the other.
    Files {
        /// For each file that was asked for, from the first on, its bytes or why it is not there. Files that did not fit
        /// are missing at the end: ask again.
        files: Bounded<FileAnswer, MAX_FILES>,
    },
    /// To `Have`: no body.
    Have {
        /// Bytes in the file.
        #[serde(rename = "s")]
        size: u64,
        /// One bit a piece from `from` on, the first piece in the lowest bit of the first byte; `None`: all.
        #[serde(rename = "b", default, with = "serde_bytes", skip_serializing_if = "Option::is_none")]
        bitmap: Option<Vec<u8>>,
    },
    /// No answer; no body.
    Refused {
        /// Why.
        why: Refusal,
        /// Place in the queue for an upload slot, counted from 1, when the source is busy.
        #[serde(rename = "q", default, skip_serializing_if = "Option::is_none")]
        queue: Option<u32>,
    },
}

/// One file of a `Files` answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileAnswer {
    /// Its bytes are in the body.
    #[serde(rename = "n")]
    Length(u32),
    /// They are not.
    #[serde(rename = "no")]
    Refused(Refusal),
}

impl Header {
    /// Bytes of the body that follows; `None` when the header promises more than any answer may hold.
    #[must_use]
    pub fn body_length(&self) -> Option<usize> {
        let length = match self {
            Header::Hashes { count, .. } => u64::from(*count) * 32,
            Header::Piece { length } => u64::from(*length),
            Header::Files { files } => files
                .iter()
                .map(|file| match file {
                    FileAnswer::Length(length) => u64::from(*length),
                    FileAnswer::Refused(_) => 0,
                })
                .sum(),
            Header::Have { .. } | Header::Refused { .. } => 0,
        };
        usize::try_from(length).ok().filter(|length| *length <= MAX_BODY_BYTES)
    }
}
