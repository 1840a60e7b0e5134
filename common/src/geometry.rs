//! [`Geometry`] and [`PieceIndex`]: where the pieces of a file lie. Every off-by-one lives and is tested here.

use std::num::NonZeroU32;

/// Bytes in a piece (1 MiB): the unit of request and of verification.
///
/// A whole subtree of BLAKE3 (1,024 chunks), small enough to be checked before it is written and large enough that a
/// request costs little beside its body.
pub const PIECE_BYTES: u32 = 1 << 20;

/// Largest file in bytes (1 TiB): its list of piece hashes is 32 MiB, the most that a download keeps in memory for it.
pub const MAX_FILE_BYTES: u64 = 1 << 40;

/// How a file of one size is cut into pieces. A file of zero bytes has one piece of zero bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Geometry {
    size: u64,
    pieces: NonZeroU32,
}

/// The number of a piece, counted from 0; known to lie within the file whose [`Geometry`] made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PieceIndex(u32);

/// The size is over [`MAX_FILE_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a file can be at most 1 TiB long")]
pub struct TooLarge;

impl Geometry {
    /// The geometry of a file of `size` bytes.
    ///
    /// # Errors
    /// When the size is over [`MAX_FILE_BYTES`].
    pub fn new(size: u64) -> Result<Self, TooLarge> {
        if size > MAX_FILE_BYTES {
            return Err(TooLarge);
        }
        let pieces = size.div_ceil(u64::from(PIECE_BYTES)).max(1);
        let pieces = u32::try_from(pieces).ok().and_then(NonZeroU32::new).ok_or(TooLarge)?;
        Ok(Self { size, pieces })
    }

    /// Bytes in the file.
    #[must_use]
    pub const fn size(self) -> u64 {
        self.size
    }

    /// Number of pieces, at least 1.
    #[must_use]
    pub const fn piece_count(self) -> u64 {
        self.pieces.get() as u64
    }

    /// The piece with that number, if the file has it.
    #[must_use]
    pub fn piece(self, number: u64) -> Option<PieceIndex> {
        (number < self.piece_count()).then_some(PieceIndex(number as u32))
    }

    /// All pieces in order.
    pub fn pieces(self) -> impl DoubleEndedIterator<Item = PieceIndex> + Clone {
        (0..self.pieces.get()).map(PieceIndex)
    }

    /// Byte at which the piece begins.
    #[must_use]
    pub const fn offset(self, piece: PieceIndex) -> u64 {
        piece.0 as u64 * PIECE_BYTES as u64
    }

    /// Bytes in the piece: [`PIECE_BYTES`], the last one what is left.
    #[must_use]
    pub fn length(self, piece: PieceIndex) -> u32 {
        (self.size.saturating_sub(self.offset(piece))).min(u64::from(PIECE_BYTES)) as u32
    }
}

impl PieceIndex {
    /// The number, counted from 0.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_edges_are_cut_where_they_should_be() {
        let piece = u64::from(PIECE_BYTES);
        for (size, count, last) in
            [(0, 1, 0), (1, 1, 1), (piece - 1, 1, piece - 1), (piece, 1, piece), (piece + 1, 2, 1), (MAX_FILE_BYTES, 1 << 20, piece)]
        {
            let geometry = Geometry::new(size).unwrap();
            assert_eq!(geometry.piece_count(), count, "size {size}");
            let end = geometry.pieces().next_back().unwrap();
            assert_eq!(u64::from(geometry.length(end)), last, "size {size}");
            assert_eq!(geometry.piece(count), None);
        }
        assert_eq!(Geometry::new(MAX_FILE_BYTES + 1), Err(TooLarge));
        assert_eq!(Geometry::new(u64::MAX), Err(TooLarge));
    }

    proptest! {
        #[test]
        fn pieces_cover_the_file_without_gap_or_overlap(size in 0u64..200 << 20) {
            let geometry = Geometry::new(size).unwrap();
            let mut at = 0;
            for piece in geometry.pieces() {
                prop_assert_eq!(geometry.offset(piece), at);
                prop_assert_eq!(geometry.piece(u64::from(piece.number())), Some(piece));
                at += u64::from(geometry.length(piece));
            }
            prop_assert_eq!(at, size);
        }
    }
}
