//! [`PieceSet`]: some of the pieces of one file, one bit each.

use potluck_common::geometry::{Geometry, PieceIndex};

/// Some of the pieces of one file.
///
/// A file of 1 TiB takes 128 KiB. Finding the next piece looks at 64 pieces at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PieceSet {
    geometry: Geometry,
    words: Box<[u64]>,
    count: u32,
}

impl PieceSet {
    /// No piece of a file.
    #[must_use]
    pub fn empty(geometry: Geometry) -> Self {
        let words = geometry.piece_count().div_ceil(64) as usize;
        Self { geometry, words: vec![0; words].into(), count: 0 }
    }

    /// All pieces of a file.
    #[must_use]
    pub fn full(geometry: Geometry) -> Self {
        Self::empty(geometry).complement()
    }

    /// The pieces whose bits are set, the first piece in the lowest bit of the first byte, as on the wire and on disk.
    ///
    /// Bytes that are missing count as zero; bits beyond the last piece are ignored.
    #[must_use]
    pub fn from_bytes(geometry: Geometry, bytes: &[u8]) -> Self {
        let mut set = Self::empty(geometry);
        set.replace_from(0, bytes);
        set
    }

    /// The bits, in the form that [`PieceSet::from_bytes`] takes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let length = self.geometry.piece_count().div_ceil(8) as usize;
        self.words.iter().flat_map(|word| word.to_le_bytes()).take(length).collect()
    }

    /// The file's geometry.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// How many pieces are in the set.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether no piece is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether every piece of the file is in the set.
    #[must_use]
    pub fn is_full(&self) -> bool {
        u64::from(self.count) == self.geometry.piece_count()
    }

    /// Bytes in the pieces of the set.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let whole = u64::from(self.count) * u64::from(potluck_common::geometry::PIECE_BYTES);
        match self.geometry.pieces().next_back() {
            Some(last) if self.contains(last) => {
                whole - u64::from(potluck_common::geometry::PIECE_BYTES) + u64::from(self.geometry.length(last))
            }
            _ => whole,
        }
    }

    /// Whether `piece` is in the set.
    #[must_use]
    pub fn contains(&self, piece: PieceIndex) -> bool {
        let (word, bit) = place(piece.number());
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    /// Puts `piece` in. Returns whether it was not there before.
    pub fn insert(&mut self, piece: PieceIndex) -> bool {
        let (word, bit) = place(piece.number());
        let Some(word) = self.words.get_mut(word) else { return false };
        let is_new = *word & bit == 0;
        *word |= bit;
        self.count += u32::from(is_new);
        is_new
    }

    /// Takes `piece` out. Returns whether it was there before.
    pub fn remove(&mut self, piece: PieceIndex) -> bool {
        let (word, bit) = place(piece.number());
        let Some(word) = self.words.get_mut(word) else { return false };
        let was_there = *word & bit != 0;
        *word &= !bit;
        self.count -= u32::from(was_there);
        was_there
    }

    /// Replaces what is known from piece number `from` on by the bits of `bytes`, as many as there are.
    pub fn replace_from(&mut self, from: u32, bytes: &[u8]) {
        let numbers = u64::from(from)..self.geometry.piece_count().min(u64::from(from) + bytes.len() as u64 * 8);
        for (position, number) in numbers.enumerate() {
            let Some(piece) = self.geometry.piece(number) else { return };
            let byte = bytes.get(position / 8).copied().unwrap_or_default();
            if byte >> (position % 8) & 1 == 1 {
                self.insert(piece);
            } else {
                self.remove(piece);
            }
        }
    }

    /// The pieces that are not in the set.
    #[must_use]
    pub fn complement(&self) -> Self {
        let mut words: Box<[u64]> = self.words.iter().map(|word| !word).collect();
        let last_bits = self.geometry.piece_count() % 64;
        if let Some(last) = words.last_mut().filter(|_| last_bits > 0) {
            *last &= (1 << last_bits) - 1;
        }
        let count = self.geometry.piece_count() as u32 - self.count;
        Self { geometry: self.geometry, words, count }
    }

    /// The first piece of the set with number `start` or more.
    #[must_use]
    pub fn next_from(&self, start: u32) -> Option<PieceIndex> {
        self.scan(start, |_| u64::MAX)
    }

    /// The first piece with number `start` or more that is in both sets.
    #[must_use]
    pub fn next_common(&self, other: &Self, start: u32) -> Option<PieceIndex> {
        self.scan(start, |word| other.words.get(word).copied().unwrap_or_default())
    }

    /// The pieces of the set in order.
    pub fn iter(&self) -> impl Iterator<Item = PieceIndex> + '_ {
        std::iter::successors(self.next_from(0), |piece| self.next_from(piece.number() + 1))
    }

    fn scan(&self, start: u32, mask: impl Fn(usize) -> u64) -> Option<PieceIndex> {
        let (first, bit) = place(start);
        let begun = self.words.get(first)? & mask(first) & !(bit - 1);
        let (at, bits) = if begun != 0 {
            (first, begun)
        } else {
            let rest = self.words.get(first + 1..)?.iter().zip(first + 1..);
            rest.map(|(word, at)| (at, word & mask(at))).find(|(_, bits)| *bits != 0)?
        };
        let found = at as u64 * 64 + u64::from(bits.trailing_zeros());
        self.geometry.piece(found)
    }
}

/// The word and the bit of a piece.
const fn place(number: u32) -> (usize, u64) {
    (number as usize / 64, 1 << (number % 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use potluck_common::geometry::PIECE_BYTES;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn of_pieces(pieces: u64) -> Geometry {
        Geometry::new(pieces * u64::from(PIECE_BYTES) - 5).unwrap()
    }

    #[test]
    fn the_bytes_of_a_set_count_the_short_last_piece_as_it_is() {
        let geometry = of_pieces(3);
        let mut set = PieceSet::full(geometry);
        assert_eq!(set.bytes(), geometry.size());
        set.remove(geometry.piece(2).unwrap());
        assert_eq!(set.bytes(), 2 * u64::from(PIECE_BYTES));
        assert_eq!(PieceSet::full(Geometry::new(0).unwrap()).bytes(), 0);
    }

    #[test]
    fn a_page_of_bits_replaces_only_what_it_tells_of() {
        let mut set = PieceSet::full(of_pieces(100));
        set.replace_from(16, &[0b1010_1010]);
        assert_eq!(set.count(), 96);
        assert_eq!(set.next_from(16).map(PieceIndex::number), Some(17));
        set.replace_from(96, &[0, 0, 0]);
        assert_eq!(set.next_from(95).map(PieceIndex::number), Some(95));
        assert_eq!(set.next_from(96), None);
        set.replace_from(u32::MAX, &[255]);
    }

    proptest! {
        #[test]
        fn a_piece_set_behaves_like_a_set_of_numbers(
            pieces in 1u64..300, changes in prop::collection::vec((any::<bool>(), 0u64..300), 0..200), start in 0u32..320,
        ) {
            let geometry = of_pieces(pieces);
            let mut set = PieceSet::empty(geometry);
            let mut model = BTreeSet::new();
            for (put, number) in changes {
                let Some(piece) = geometry.piece(number) else { continue };
                if put {
                    prop_assert_eq!(set.insert(piece), model.insert(piece));
                } else {
                    prop_assert_eq!(set.remove(piece), model.remove(&piece));
                }
            }
            prop_assert_eq!(set.count() as usize, model.len());
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(set.next_from(start), model.iter().copied().find(|piece| piece.number() >= start));
            let other = set.complement();
            prop_assert_eq!(u64::from(other.count()) + model.len() as u64, pieces);
            prop_assert_eq!(set.next_common(&other, 0), None);
            prop_assert_eq!(PieceSet::from_bytes(geometry, &set.to_bytes()), set);
        }
    }
}
