//! [`Names`]: paths, front-coded in blocks of [`BLOCK`].
//!
//! A peer publishes its paths in order, so that a path mostly begins as the one before it. A name is therefore stored as the
//! number of bytes that it shares with the name before it, the number of bytes that follow, and those; the first of a block
//! shares none, so that a block is read from its start alone. Of the corpus' 55 bytes a path 20 are left, and a quarter of
//! a byte for the place of the block. A name costs half a block to read: about 0.1 µs.
//!
//! What is stored is the path as published; it is folded as it is read. For the ASCII that most names are, folding what
//! differs from the name before is as cheap as copying it.

use super::fold::fold_into;

/// Names in a block. More would share better and read slower.
pub(super) const BLOCK: usize = 16;

/// Front-coded names, known by their place.
#[derive(Debug, Default)]
pub(super) struct Names {
    bytes: Vec<u8>,
    /// Where each block starts in `bytes`.
    starts: Vec<u32>,
}

/// What reads names, block after block.
#[derive(Debug, Default)]
pub(super) struct Reader {
    path: Vec<u8>,
    folded: Vec<u8>,
    /// Where a name is folded that is not ASCII.
    wide: String,
    /// Whether the name that was read last is ASCII: then `folded` is as long as `path`, byte for byte.
    is_ascii: bool,
}

/// A name as it is searched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name<'a> {
    /// As published.
    pub(super) path: &'a [u8],
    /// Folded.
    pub(super) folded: &'a [u8],
    /// How many bytes of the folded name are those of the name that was read before it from the same block, at least.
    pub(super) same: usize,
}

impl Names {
    /// Codes names; a block begins at every sixteenth.
    pub(super) fn code<'a>(names: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut coded = Self::default();
        let mut before: &[u8] = &[];
        for (place, name) in names.enumerate() {
            if place % BLOCK == 0 {
                coded.starts.push(coded.bytes.len() as u32);
                before = &[];
            }
            let shared = shared_bytes(before, name);
            put_varint(&mut coded.bytes, shared as u32);
            put_varint(&mut coded.bytes, (name.len() - shared) as u32);
            coded.bytes.extend_from_slice(&name[shared..]);
            before = name;
        }
        coded.bytes.shrink_to_fit();
        coded.starts.shrink_to_fit();
        coded
    }

    /// Joins names whose blocks are all full, one after another.
    pub(super) fn join<'a>(parts: impl Iterator<Item = &'a Self> + Clone) -> Self {
        let mut joined = Self {
            bytes: Vec::with_capacity(parts.clone().map(|part| part.bytes.len()).sum()),
            starts: Vec::with_capacity(parts.clone().map(|part| part.starts.len()).sum()),
        };
        for part in parts {
            let base = joined.bytes.len() as u32;
            joined.starts.extend(part.starts.iter().map(|start| base + start));
            joined.bytes.extend_from_slice(&part.bytes);
        }
        joined
    }

    /// Reads one path.
    pub(super) fn read(&self, place: usize, path: &mut Vec<u8>) {
        path.clear();
        let mut rest = self.block(place / BLOCK);
        for _ in 0..=place % BLOCK {
            let Some((shared, suffix, after)) = next_name(rest) else { return };
            path.truncate(shared);
            path.extend_from_slice(suffix);
            rest = after;
        }
    }

    /// Reads all names of a block, in order.
    pub(super) fn read_block(&self, block: usize, reader: &mut Reader, mut visit: impl FnMut(usize, Name<'_>)) {
        let mut rest = self.block(block);
        reader.restart();
        for place in 0..BLOCK {
            let Some((shared, suffix, after)) = next_name(rest) else { return };
            visit(place, reader.take(shared, suffix));
            rest = after;
        }
    }

    /// Looks at the memory of a block: what comes after a first look is fast.
    pub(super) fn touch(&self, block: usize) -> u32 {
        // A line of the cache is 64 bytes, and brings its neighbour along.
        self.block(block).iter().step_by(128).fold(0, |sum, byte| sum ^ u32::from(*byte))
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.bytes.capacity() + self.starts.capacity() * 4
    }

    fn block(&self, block: usize) -> &[u8] {
        let end = self.starts.get(block + 1).map_or(self.bytes.len(), |end| *end as usize);
        self.starts.get(block).and_then(|start| self.bytes.get(*start as usize..end)).unwrap_or_default()
    }
}

impl Reader {
    fn restart(&mut self) {
        self.path.clear();
        self.folded.clear();
        self.is_ascii = true;
    }

    fn take(&mut self, shared: usize, suffix: &[u8]) -> Name<'_> {
        self.path.truncate(shared);
        self.path.extend_from_slice(suffix);
        let mut same = 0;
        if self.is_ascii && suffix.is_ascii() {
            same = shared;
            self.folded.truncate(shared);
            self.folded.extend(suffix.iter().map(u8::to_ascii_lowercase));
        } else {
            self.is_ascii = self.path.is_ascii();
            self.wide.clear();
            for chunk in self.path.utf8_chunks() {
                fold_into(chunk.valid(), &mut self.wide);
            }
            self.folded.clear();
            self.folded.extend_from_slice(self.wide.as_bytes());
        }
        Name { path: &self.path, folded: &self.folded, same }
    }
}

/// How many bytes two texts begin with in common.
pub(super) fn shared_bytes(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Cuts one name off: what it shares, what it adds, and the names after it.
fn next_name(bytes: &[u8]) -> Option<(usize, &[u8], &[u8])> {
    let (shared, bytes) = varint(bytes)?;
    let (len, bytes) = varint(bytes)?;
    let (suffix, rest) = bytes.split_at_checked(len as usize)?;
    Some((shared as usize, suffix, rest))
}

/// Writes a number in as few bytes of seven bits as it needs.
pub(super) fn put_varint(bytes: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Reads a number, with what follows it.
#[inline]
pub(super) fn varint(bytes: &[u8]) -> Option<(u32, &[u8])> {
    match bytes {
        [number @ 0..=0x7f, rest @ ..] => Some((u32::from(*number), rest)),
        _ => long_varint(bytes),
    }
}

fn long_varint(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let mut number = 0;
    for (place, byte) in bytes.iter().enumerate().take(5) {
        number |= u32::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some((number, &bytes[place + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::fold::fold;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn names_come_back_as_they_were_alone_and_in_blocks(mut all in prop::collection::vec("[aAb/éが]{0,6}", 0..60), sorted in any::<bool>()) {
            if sorted {
                all.sort();
            }
            let names = Names::code(all.iter().map(|name| name.as_bytes()));
            let mut path = Vec::new();
            let mut reader = Reader::default();
            for (place, name) in all.iter().enumerate() {
                names.read(place, &mut path);
                prop_assert_eq!(&path, name.as_bytes());
            }
            for block in 0..all.len().div_ceil(BLOCK) {
                let mut seen = 0;
                names.read_block(block, &mut reader, |place, name| {
                    let known = &all[block * BLOCK + place];
                    assert_eq!((name.path, name.folded), (known.as_bytes(), fold(known).as_bytes()));
                    seen += 1;
                });
                prop_assert_eq!(seen, BLOCK.min(all.len() - block * BLOCK));
            }
        }

        #[test]
        fn numbers_come_back(number in any::<u32>()) {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, number);
            prop_assert_eq!(varint(&bytes), Some((number, &[][..])));
        }
    }
}
