//! [`ContentId`] and [`PieceHash`]: what a file and its pieces are known by. The one file that names BLAKE3's tree.
//!
//! A content id is the BLAKE3 hash of the file, the same 64 hex digits that `b3sum FILE` prints. BLAKE3 is a tree over
//! chunks of 1 KiB, and a piece of 1 MiB is a whole subtree of it; so the chaining values of the pieces combine into the
//! content id (BLAKE3 paper, section 2.1; `blake3::hazmat`). One list of piece hashes from an untrusted peer, once it
//! combines, makes every piece verifiable on its own, from any peer.

use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use serde::{Deserialize, Serialize};

use crate::geometry::{Geometry, PieceIndex};

/// The BLAKE3 hash of a whole file: its name in the swarm.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentId([u8; 32]);

/// The BLAKE3 chaining value of one piece; of a file with one piece, its content id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PieceHash([u8; 32]);

/// The text is not a content id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a content id is 64 hex digits, as `b3sum FILE` prints them")]
pub struct NotAContentId;

impl ContentId {
    /// Takes the 32 bytes of a hash.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of the hash.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Hashes a file that is in memory whole.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// Combines the hashes of all pieces of a file, in order, into its content id.
    ///
    /// `None` when the number of hashes is not the number of pieces. Size and list are proven together: a list that
    /// combines to a content id fixes how many pieces there are.
    #[must_use]
    pub fn combine(geometry: Geometry, pieces: &[PieceHash]) -> Option<Self> {
        if pieces.len() as u64 != geometry.piece_count() {
            return None;
        }
        match pieces {
            [] => None,
            [only] => Some(Self(only.0)),
            many => {
                let (left, right) = many.split_at(left_pieces(many.len()));
                let root = merge_subtrees_root(&subtree(left), &subtree(right), Mode::Hash);
                Some(Self(*root.as_bytes()))
            }
        }
    }
}

impl PieceHash {
    /// Takes the 32 bytes of a chaining value.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of the chaining value.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Hashes one piece of a file; `bytes` are the whole piece.
    #[must_use]
    pub fn of(geometry: Geometry, piece: PieceIndex, bytes: &[u8]) -> Self {
        let mut hasher = PieceHasher::new(geometry, piece);
        hasher.update(bytes);
        hasher.finish()
    }
}

/// Hashes one piece as its bytes come in.
#[derive(Debug)]
pub struct PieceHasher {
    hasher: blake3::Hasher,
    is_whole_file: bool,
}

impl PieceHasher {
    /// Starts to hash `piece`.
    #[must_use]
    pub fn new(geometry: Geometry, piece: PieceIndex) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset(geometry.offset(piece));
        Self { hasher, is_whole_file: geometry.piece_count() == 1 }
    }

    /// Takes the next bytes of the piece; at most the length of the piece in all.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// The hash of the bytes that were given.
    #[must_use]
    pub fn finish(self) -> PieceHash {
        if self.is_whole_file { PieceHash(*self.hasher.finalize().as_bytes()) } else { PieceHash(self.hasher.finalize_non_root()) }
    }
}

/// The chaining value over a run of pieces that is one subtree.
fn subtree(pieces: &[PieceHash]) -> [u8; 32] {
    match pieces {
        [] => [0; 32],
        [only] => only.0,
        many => {
            let (left, right) = many.split_at(left_pieces(many.len()));
            merge_subtrees_non_root(&subtree(left), &subtree(right), Mode::Hash)
        }
    }
}

/// How many of `count` ≥ 2 pieces lie in the left subtree: the greatest power of two below `count`.
fn left_pieces(count: usize) -> usize {
    count.next_power_of_two() / 2
}

macro_rules! hash_text_and_wire {
    ($type:ident) => {
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({self})", stringify!($type))
            }
        }

        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() { serializer.collect_str(self) } else { serializer.serialize_bytes(&self.0) }
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    let text = String::deserialize(deserializer)?;
                    parse_hex(&text).map(Self).ok_or_else(|| serde::de::Error::custom(NotAContentId))
                } else {
                    serde_bytes::ByteArray::<32>::deserialize(deserializer).map(|bytes| Self(bytes.into_array()))
                }
            }
        }
    };
}

hash_text_and_wire!(ContentId);
hash_text_and_wire!(PieceHash);

impl std::str::FromStr for ContentId {
    type Err = NotAContentId;
    fn from_str(text: &str) -> Result<Self, NotAContentId> {
        parse_hex(text).map(Self).ok_or(NotAContentId)
    }
}

fn parse_hex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        for digit in pair {
            *byte = (*byte << 4) | char::from(*digit).to_digit(16)? as u8;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::PIECE_BYTES;

    fn pieces_of(bytes: &[u8]) -> (Geometry, Vec<PieceHash>) {
        let geometry = Geometry::new(bytes.len() as u64).unwrap();
        let hashes = geometry
            .pieces()
            .map(|piece| {
                let start = geometry.offset(piece) as usize;
                PieceHash::of(geometry, piece, &bytes[start..start + geometry.length(piece) as usize])
            })
            .collect();
        (geometry, hashes)
    }

    #[test]
    fn piece_hashes_combine_to_the_hash_of_the_file_at_every_edge() {
        let mib = PIECE_BYTES as usize;
        for size in [0, 1, 1023, 1024, 1025, mib - 1, mib, mib + 1, 2 * mib, 2 * mib + 1, 3 * mib, 5 * mib + 7, 8 * mib, 9 * mib - 1] {
            let bytes: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
            let (geometry, pieces) = pieces_of(&bytes);
            assert_eq!(ContentId::combine(geometry, &pieces), Some(ContentId::of(&bytes)), "size {size}");
        }
    }

    #[test]
    fn a_list_that_is_too_long_too_short_or_reordered_does_not_combine() {
        let bytes = vec![7; 3 * PIECE_BYTES as usize + 5];
        let (geometry, pieces) = pieces_of(&bytes);
        let id = ContentId::of(&bytes);
        assert_eq!(ContentId::combine(geometry, &pieces[..3]), None);
        let longer = [pieces.clone(), vec![pieces[0]]].concat();
        assert_eq!(ContentId::combine(geometry, &longer), None);
        let mut swapped = pieces.clone();
        swapped.swap(0, 3);
        assert_ne!(ContentId::combine(geometry, &swapped), Some(id));
    }

    #[test]
    fn a_content_id_is_what_b3sum_prints() {
        // The BLAKE3 reference test vector for the empty input.
        let empty = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        assert_eq!(ContentId::of(b"").to_string(), empty);
        assert_eq!(empty.parse(), Ok(ContentId::of(b"")));
        assert!(empty[1..].parse::<ContentId>().is_err());
        assert!("zz".repeat(32).parse::<ContentId>().is_err());
    }
}
