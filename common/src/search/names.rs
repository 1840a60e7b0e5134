//! [`Names`]: paths, front-coded in blocks of [`BLOCK`].
//!
//! A peer publishes its paths in order, so that a path mostly begins as the one before it. A name is therefore stored as the
//! number of bytes that it shares with the name before it, the number of bytes that follow, and those; the first of a block
//! shares none, so that a block is read from its start alone. Of the corpus' 55 bytes a path 20 are left, and a quarter of
//! a byte for the place of the block. A name costs half a block to read: about 0.1 µs.
//!
//! What is stored is the path as published; it is folded as it is read. A block is read, folded and searched at once, its names one
//! behind the other: most of what it costs to look for a word in fifty bytes is to begin.

use memchr::memmem::Finder;

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

/// The names of one block, one behind the other: what is looked for is found in all of them at once.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// As published.
    paths: Vec<u8>,
    folded: Vec<u8>,
    /// Where each name ends, in both.
    ends: Vec<[u32; 2]>,
    /// Where a name is folded that is not ASCII.
    wide: String,
}

/// A name as it is searched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name<'a> {
    /// As published.
    pub(super) path: &'a [u8],
    /// Folded.
    pub(super) folded: &'a [u8],
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

    /// Reads all names of a block.
    pub(super) fn read_block(&self, block: usize, reader: &mut Reader) {
        reader.read(self.block(block));
    }

    /// Looks at the memory of a block: what comes after a first look is fast.
    pub(super) fn touch(&self, block: usize) -> u32 {
        // A line of the cache.
        self.block(block).iter().step_by(64).fold(0, |sum, byte| sum ^ u32::from(*byte))
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
    fn read(&mut self, coded: &[u8]) {
        self.paths.clear();
        self.ends.clear();
        let (mut rest, mut before) = (coded, 0);
        while let Some((shared, suffix, after)) = next_name(rest).filter(|_| self.ends.len() < BLOCK) {
            let start = self.paths.len();
            self.paths.extend_from_within(before..start.min(before + shared));
            self.paths.extend_from_slice(suffix);
            let end = self.paths.len() as u32;
            self.ends.push([end, end]);
            (before, rest) = (start, after);
        }
        self.folded.clear();
        if coded.is_ascii() || self.paths.is_ascii() {
            // What most blocks are: folding them whole is as fast as copying them.
            self.folded.extend_from_slice(&self.paths);
            self.folded.make_ascii_lowercase();
        } else {
            self.fold_one_by_one();
        }
    }

    fn fold_one_by_one(&mut self) {
        let mut start = 0;
        for [end, folded_end] in &mut self.ends {
            let path = self.paths.get(start..*end as usize).unwrap_or_default();
            start = *end as usize;
            if path.is_ascii() {
                self.folded.extend(path.iter().map(u8::to_ascii_lowercase));
            } else {
                self.wide.clear();
                path.utf8_chunks().for_each(|chunk| fold_into(chunk.valid(), &mut self.wide));
                self.folded.extend_from_slice(self.wide.as_bytes());
            }
            *folded_end = self.folded.len() as u32;
        }
    }

    /// How many names there are.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// All names: a bit for each, from the lowest.
    pub(super) fn all(&self) -> u16 {
        ((1_u32 << self.ends.len()) - 1) as u16
    }

    /// A name by its place in the block.
    pub(super) fn name(&self, place: usize) -> Name<'_> {
        let [path_start, folded_start] = place.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or_default();
        let [path_end, folded_end] = self.ends.get(place).copied().unwrap_or_default();
        Name {
            path: self.paths.get(path_start as usize..path_end as usize).unwrap_or_default(),
            folded: self.folded.get(folded_start as usize..folded_end as usize).unwrap_or_default(),
        }
    }

    /// The names, in order.
    pub(super) fn names(&self) -> impl Iterator<Item = Name<'_>> {
        (0..self.len()).map(|place| self.name(place))
    }

    /// In which names a text stands: a bit for each, from the lowest.
    pub(super) fn holding(&self, text: &Finder<'_>) -> u16 {
        let (mut holding, mut from, mut place) = (0, 0, 0);
        while let Some(at) = self.folded.get(from..).and_then(|rest| text.find(rest)).map(|at| from + at) {
            let end = loop {
                match self.ends.get(place) {
                    Some([_, end]) if *end as usize <= at => place += 1,
                    Some([_, end]) => break *end as usize,
                    None => return holding,
                }
            };
            // What begins in one name and ends in the next stands in neither.
            if at + text.needle().len() <= end {
                holding |= 1 << place;
                from = end;
            } else {
                from = at + 1;
            }
        }
        holding
    }
}

/// How many bytes two texts begin with in common.
pub(super) fn shared_bytes(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Cuts one name off: what it shares, what it adds, and what follows.
#[inline]
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
                names.read_block(block, &mut reader);
                let known = &all[block * BLOCK..all.len().min((block + 1) * BLOCK)];
                prop_assert_eq!(reader.len(), known.len());
                for (name, known) in reader.names().zip(known) {
                    prop_assert_eq!((name.path, name.folded.to_vec()), (known.as_bytes(), fold(known).into_bytes()));
                }
            }
        }

        #[test]
        fn a_text_is_found_in_the_names_that_hold_it_and_not_between_two(
            all in prop::collection::vec("[aAb/é]{0,6}", 1..=BLOCK),
            text in "[abe/]{1,3}",
        ) {
            let mut reader = Reader::default();
            Names::code(all.iter().map(|name| name.as_bytes())).read_block(0, &mut reader);
            let known = all.iter().enumerate().filter(|(_, name)| fold(name).contains(&text)).fold(0, |bits, (place, _)| bits | 1 << place);
            prop_assert_eq!(reader.holding(&Finder::new(&text)), known);
        }

        #[test]
        fn numbers_come_back(number in any::<u32>()) {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, number);
            prop_assert_eq!(varint(&bytes), Some((number, &[][..])));
        }
    }
}
