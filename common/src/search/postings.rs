//! [`Postings`]: from a key to the blocks that hold it.
//!
//! The lists of one segment lie one after another in the order of their keys. A list is its length and either the
//! gaps between its blocks, one byte each below 128, or a bitmap with one bit a block where that is shorter: from one block in
//! eight on. Blocks are put together in [`Bits`], 8 KiB for the greatest segment, so that the lists of a query meet in the
//! first-level cache: a list is read at about 1 ns a block, a bitmap at 64 blocks a nanosecond.

use super::names::{put_varint, varint};

/// A set of blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bits(pub(super) Vec<u64>);

impl Bits {
    /// No block, of `blocks`.
    pub(super) fn none(blocks: usize) -> Self {
        Self(vec![0; blocks.div_ceil(64)])
    }

    /// All of `blocks`, which fill whole words.
    pub(super) fn all(blocks: usize) -> Self {
        Self(vec![u64::MAX; blocks.div_ceil(64)])
    }

    pub(super) fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub(super) fn and(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word &= other);
    }

    pub(super) fn or(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word |= other);
    }

    pub(super) fn set(&mut self, block: usize) {
        if let Some(word) = self.0.get_mut(block / 64) {
            *word |= 1 << (block % 64);
        }
    }

    pub(super) fn has(&self, block: usize) -> bool {
        self.0.get(block / 64).is_some_and(|word| word >> (block % 64) & 1 == 1)
    }

    /// The blocks in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().flat_map(|(at, word)| ones(*word).map(move |bit| at * 64 + bit))
    }
}

/// The places of the ones in a word.
pub(super) fn ones(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = (word != 0).then_some(word.trailing_zeros() as usize);
        word &= word.wrapping_sub(1);
        bit
    })
}

/// Keys between two signposts: those between fill four lines of the cache.
const STRIDE: usize = 64;

/// The lists of a segment.
#[derive(Debug, Default)]
pub(super) struct Postings {
    /// How many blocks the segment has.
    blocks: usize,
    keys: Vec<u32>,
    /// Every [`STRIDE`]th of the keys: few enough to stay in the cache while the words of a query are looked up.
    signposts: Vec<u32>,
    /// Where the list of each key starts in `bytes`.
    starts: Vec<u32>,
    bytes: Vec<u8>,
}

/// One list.
#[derive(Clone, Copy, Debug)]
pub(super) struct List<'a> {
    /// How many blocks.
    pub(super) len: usize,
    is_bitmap: bool,
    bytes: &'a [u8],
}

impl Postings {
    /// Lists over `blocks` blocks.
    pub(super) fn new(blocks: usize) -> Self {
        Self { blocks, ..Self::default() }
    }

    /// Adds the list of a key. Keys come in ascending order, and blocks in ascending order.
    pub(super) fn push(&mut self, key: u32, list: &[u32]) {
        if self.keys.len().is_multiple_of(STRIDE) {
            self.signposts.push(key);
        }
        self.keys.push(key);
        self.starts.push(self.bytes.len() as u32);
        let start = self.bytes.len();
        put_varint(&mut self.bytes, (list.len() as u32) << 1);
        let mut next = 0;
        for block in list {
            put_varint(&mut self.bytes, block - next);
            next = block + 1;
        }
        if self.bytes.len() - start > self.blocks.div_ceil(8) + 4 {
            self.bytes.truncate(start);
            put_varint(&mut self.bytes, (list.len() as u32) << 1 | 1);
            let mut bits = Bits::none(self.blocks);
            list.iter().for_each(|block| bits.set(*block as usize));
            bits.0.iter().for_each(|word| self.bytes.extend_from_slice(&word.to_le_bytes()));
        }
    }

    /// Gives back the room that is not needed.
    pub(super) fn finish(&mut self) {
        self.keys.shrink_to_fit();
        self.signposts.shrink_to_fit();
        self.starts.shrink_to_fit();
        self.bytes.shrink_to_fit();
    }

    /// Joins lists of segments that are put one behind the other.
    pub(super) fn join(parts: &[&Self]) -> Self {
        let mut joined = Self::new(parts.iter().map(|part| part.blocks).sum());
        let mut order: Vec<(u32, u32)> = Vec::with_capacity(parts.iter().map(|part| part.keys.len()).sum());
        for (number, part) in parts.iter().enumerate() {
            order.extend(part.keys.iter().map(|key| (*key, number as u32)));
        }
        order.sort_unstable();
        let bases: Vec<u32> = parts.iter().scan(0, |base, part| Some(std::mem::replace(base, *base + part.blocks as u32))).collect();
        let mut places = vec![0; parts.len()];
        let mut blocks = Vec::new();
        for same_key in order.chunk_by(|a, b| a.0 == b.0) {
            blocks.clear();
            for (_, number) in same_key {
                let number = *number as usize;
                parts[number].at(places[number]).for_each(|block| blocks.push(bases[number] + block));
                places[number] += 1;
            }
            joined.push(same_key[0].0, &blocks);
        }
        joined.finish();
        joined
    }

    /// The list of a key; `None` when no block holds it.
    pub(super) fn list(&self, key: u32) -> Option<List<'_>> {
        let place = self.place(key);
        (self.keys.get(place) == Some(&key)).then(|| self.at(place))
    }

    /// The lists of all keys from `first` to `last`.
    pub(super) fn range(&self, first: u32, last: u32) -> impl Iterator<Item = List<'_>> {
        let (start, end) = (self.place(first), self.place(last.saturating_add(1)));
        (start..end).map(|place| self.at(place))
    }

    /// The place of the first key that is not less.
    fn place(&self, key: u32) -> usize {
        let before = self.signposts.partition_point(|signpost| *signpost < key).saturating_sub(1) * STRIDE;
        let near = self.keys.get(before..self.keys.len().min(before + STRIDE)).unwrap_or_default();
        before + near.partition_point(|near| *near < key)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        (self.keys.capacity() + self.signposts.capacity() + self.starts.capacity()) * 4 + self.bytes.capacity()
    }

    fn at(&self, place: usize) -> List<'_> {
        let bytes = self.starts.get(place).and_then(|start| self.bytes.get(*start as usize..)).unwrap_or_default();
        let (head, bytes) = varint(bytes).unwrap_or_default();
        let is_bitmap = head & 1 == 1;
        let bytes = if is_bitmap { bytes.get(..self.blocks.div_ceil(64) * 8).unwrap_or_default() } else { bytes };
        List { len: head as usize >> 1, is_bitmap, bytes }
    }
}

impl List<'_> {
    /// The work to read it, in blocks: a bitmap is 64 of them at once.
    pub(super) fn work(&self) -> usize {
        if self.is_bitmap { self.bytes.len() / 8 } else { self.len }
    }

    /// Adds its blocks to a set.
    pub(super) fn add_to(&self, bits: &mut Bits) {
        if self.is_bitmap {
            self.words().zip(&mut bits.0).for_each(|(from, to)| *to |= from);
        } else {
            self.for_each(|block| bits.set(block as usize));
        }
    }

    /// Leaves in a set what is also here.
    pub(super) fn keep_in(&self, bits: &mut Bits) {
        if self.is_bitmap {
            self.words().zip(&mut bits.0).for_each(|(from, to)| *to &= from);
        } else {
            let mut own = Bits(vec![0; bits.0.len()]);
            self.add_to(&mut own);
            bits.and(&own);
        }
    }

    fn words(&self) -> impl Iterator<Item = u64> {
        self.bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word))
    }

    fn for_each(&self, mut visit: impl FnMut(u32)) {
        if self.is_bitmap {
            self.words().enumerate().for_each(|(at, word)| ones(word).for_each(|bit| visit((at * 64 + bit) as u32)));
            return;
        }
        let (mut next, mut bytes) = (0, self.bytes);
        for _ in 0..self.len {
            let gap = match bytes {
                [gap @ 0..=0x7f, rest @ ..] => {
                    bytes = rest;
                    u32::from(*gap)
                }
                _ => {
                    let Some((gap, rest)) = varint(bytes) else { return };
                    bytes = rest;
                    gap
                }
            };
            visit(next + gap);
            next += gap + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::{btree_map, btree_set, vec};
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    type Model = BTreeMap<u32, BTreeSet<u32>>;

    fn postings(blocks: usize, model: &Model) -> Postings {
        let mut postings = Postings::new(blocks);
        model.iter().for_each(|(key, list)| postings.push(*key, &list.iter().copied().collect::<Vec<_>>()));
        postings
    }

    fn blocks_of(postings: &Postings, key: u32) -> BTreeSet<u32> {
        let mut bits = Bits::none(postings.blocks);
        postings.list(key).into_iter().for_each(|list| list.add_to(&mut bits));
        bits.iter().map(|block| block as u32).collect()
    }

    fn model() -> impl Strategy<Value = Model> {
        btree_map(0u32..8, prop_oneof![btree_set(0u32..512, 1..5), btree_set(0u32..512, 100..300)], 0..8)
    }

    proptest! {
        #[test]
        fn lists_come_back_short_and_dense(model in model()) {
            let postings = postings(512, &model);
            for key in 0..8 {
                prop_assert_eq!(blocks_of(&postings, key), model.get(&key).cloned().unwrap_or_default());
            }
            let mut all = Bits::none(512);
            postings.range(2, 5).for_each(|list| list.add_to(&mut all));
            let known: BTreeSet<usize> = model.range(2..=5).flat_map(|(_, list)| list).map(|block| *block as usize).collect();
            prop_assert_eq!(all.iter().collect::<BTreeSet<_>>(), known);
        }

        #[test]
        fn joined_lists_are_the_lists_one_behind_the_other(models in vec(model(), 1..4)) {
            let parts: Vec<Postings> = models.iter().map(|model| postings(512, model)).collect();
            let joined = Postings::join(&parts.iter().collect::<Vec<_>>());
            for key in 0..8 {
                let known: BTreeSet<u32> = models.iter().enumerate()
                    .flat_map(|(part, model)| model.get(&key).into_iter().flatten().map(move |block| part as u32 * 512 + block)).collect();
                prop_assert_eq!(blocks_of(&joined, key), known);
            }
        }

        #[test]
        fn what_is_kept_is_in_both(model in model()) {
            let postings = postings(512, &model);
            for (a, b) in [(0, 1), (2, 3)] {
                let mut bits = Bits::none(512);
                postings.list(a).into_iter().for_each(|list| list.add_to(&mut bits));
                let Some(list) = postings.list(b) else { continue };
                list.keep_in(&mut bits);
                let both: BTreeSet<usize> =
                    model.get(&a).into_iter().flatten().filter(|block| model[&b].contains(block)).map(|block| *block as usize).collect();
                prop_assert_eq!(bits.count(), both.len());
                prop_assert_eq!(bits.iter().collect::<BTreeSet<_>>(), both);
            }
        }
    }
}
