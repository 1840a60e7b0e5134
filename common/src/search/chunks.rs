//! [`Chunks`]: a vector that never moves what it holds.
//!
//! A `Vec` of ten million rows copies them all when it doubles: 100 ms in which nobody is answered. This one adds a piece
//! of [`CHUNK`] rows instead; what is moved is the list of pieces, 24 bytes for each. A row costs one more pointer to reach.

/// Rows in a piece: small enough for a piece to be had at once, big enough for few pieces.
const CHUNK: usize = 1 << 14;

/// A growing table of rows that are known by their numbers.
#[derive(Debug)]
pub struct Chunks<T> {
    pieces: Vec<Vec<T>>,
    len: usize,
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self { pieces: Vec::new(), len: 0 }
    }
}

impl<T> Chunks<T> {
    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a row, whose number is the length before.
    pub fn push(&mut self, row: T) {
        match self.pieces.last_mut() {
            Some(piece) if piece.len() < CHUNK => {
                if piece.len() == piece.capacity() {
                    piece.reserve_exact(piece.len().max(4).min(CHUNK - piece.len()));
                }
                piece.push(row);
            }
            // The first piece grows as a vector does: a node that shares ten files holds ten rows.
            Some(_) => {
                let mut piece = Vec::with_capacity(CHUNK);
                piece.push(row);
                self.pieces.push(piece);
            }
            None => self.pieces.push(vec![row]),
        }
        self.len += 1;
    }

    /// Gives back the room for more rows, for who expects none for a while: the next one makes new room.
    pub fn trim(&mut self) {
        self.pieces.iter_mut().for_each(Vec::shrink_to_fit);
        self.pieces.shrink_to_fit();
    }

    /// All rows, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.pieces.iter().flatten()
    }

    /// A run of rows that lies within one piece: its start and length are multiples of a power of two that divides both.
    pub(super) fn run(&self, start: usize, len: usize) -> &[T] {
        self.pieces.get(start / CHUNK).and_then(|piece| piece.get(start % CHUNK..start % CHUNK + len)).unwrap_or_default()
    }

    /// The same, to change.
    pub(super) fn run_mut(&mut self, start: usize, len: usize) -> &mut [T] {
        self.pieces.get_mut(start / CHUNK).and_then(|piece| piece.get_mut(start % CHUNK..start % CHUNK + len)).unwrap_or_default()
    }
}

impl<T> std::ops::Index<u32> for Chunks<T> {
    type Output = T;

    fn index(&self, row: u32) -> &T {
        &self.pieces[row as usize / CHUNK][row as usize % CHUNK]
    }
}

impl<T> std::ops::IndexMut<u32> for Chunks<T> {
    fn index_mut(&mut self, row: u32) -> &mut T {
        &mut self.pieces[row as usize / CHUNK][row as usize % CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_by_number_across_pieces() {
        let mut rows = Chunks::default();
        (0..40_000u32).for_each(|row| rows.push(row));
        assert_eq!((rows.len(), rows[16_383], rows[16_384], rows[39_999]), (40_000, 16_383, 16_384, 39_999));
        rows[20_000] = 7;
        assert_eq!(rows.run(20_000, 2), [7, 20_001]);
        rows.run_mut(16_384, 4).fill(1);
        assert_eq!(rows[16_387], 1);
    }

    #[test]
    fn a_table_that_was_trimmed_has_no_room_to_spare_and_grows_on() {
        let mut rows = Chunks::default();
        for row in 0..40_000u32 {
            rows.push(row);
            if row % 1000 == 5 {
                rows.trim();
                assert!(rows.pieces.iter().all(|piece| piece.capacity() == piece.len()));
            }
        }
        assert!(rows.iter().copied().eq(0..40_000) && rows.pieces.iter().all(|piece| piece.capacity() <= CHUNK));
    }
}
