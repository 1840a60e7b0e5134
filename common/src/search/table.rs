//! [`Table`]: from a hash to the numbers of rows that are kept elsewhere.
//!
//! Open addressing with linear probing over slots of four bytes: 26 bits of a row's number and 6 of its hash, so that 63 of
//! 64 slots that do not fit are passed without a look at the row. Cut into [`SHARDS`] by the hash, each of which grows by a
//! third on its own: with ten million rows a shard holds some 10,000, and the put that makes it grow waits for those only
//! (under a millisecond) instead of for all. Filled to between 60 and 80 %: 5.7 bytes a row.

/// Parts that grow on their own.
const SHARDS: usize = 1024;
/// Bits of a row's number.
const ROW_BITS: u32 = 26;
/// One more than the greatest number of a row: 67 million, which is 6 GB of rows.
pub const MAX_ROWS: u32 = (1 << ROW_BITS) - 1;
/// A slot without a row.
const EMPTY: u32 = u32::MAX;

/// Rows by hash. What a row is, and when two are equal, is the caller's.
#[derive(Debug)]
pub struct Table {
    shards: Vec<Shard>,
}

#[derive(Debug, Default)]
struct Shard {
    slots: Vec<u32>,
    used: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Shard::default()).collect() }
    }
}

impl Table {
    /// Makes room for so many rows in all: those that come then need not be moved as it grows.
    pub fn reserve(&mut self, rows: usize, hash_of: impl Fn(u32) -> u64) {
        let each = rows / SHARDS * 4 / 3;
        self.shards.iter_mut().filter(|shard| shard.slots.len() < each).for_each(|shard| shard.resize(each, &hash_of));
    }

    /// The first row with this hash that `is_it`.
    pub fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let shard = &self.shards[shard_of(hash)];
        let mut at = shard.home(hash)?;
        loop {
            let slot = *shard.slots.get(at)?;
            if slot == EMPTY {
                return None;
            }
            if slot >> ROW_BITS == tag(hash) && is_it(slot & MAX_ROWS) {
                return Some(slot & MAX_ROWS);
            }
            at = (at + 1) % shard.slots.len();
        }
    }

    /// Adds a row, whether there is an equal one or not. `hash_of` tells the hash of any row that is in.
    pub fn insert(&mut self, hash: u64, row: u32, hash_of: impl Fn(u32) -> u64) {
        let shard = &mut self.shards[shard_of(hash)];
        if (shard.used + 1) * 5 > shard.slots.len() * 4 {
            shard.grow(hash_of);
        }
        shard.place(hash, row);
        shard.used += 1;
    }

    /// Takes a row out, if it is in.
    pub fn remove(&mut self, hash: u64, row: u32, hash_of: impl Fn(u32) -> u64) {
        let shard = &mut self.shards[shard_of(hash)];
        let Some(mut hole) = shard.home(hash) else { return };
        while shard.slots[hole] & MAX_ROWS != row || shard.slots[hole] == EMPTY {
            if shard.slots[hole] == EMPTY {
                return;
            }
            hole = (hole + 1) % shard.slots.len();
        }
        // Move up what would not be found past the hole.
        let len = shard.slots.len();
        let mut at = hole;
        loop {
            at = (at + 1) % len;
            let slot = shard.slots[at];
            if slot == EMPTY {
                break;
            }
            let home = shard.home(hash_of(slot & MAX_ROWS)).unwrap_or(at);
            if (at + len - home) % len >= (at + len - hole) % len {
                shard.slots[hole] = slot;
                hole = at;
            }
        }
        shard.slots[hole] = EMPTY;
        shard.used -= 1;
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.slots.capacity() * 4 + size_of::<Shard>()).sum()
    }
}

impl Shard {
    /// Where a hash's row is looked for first.
    fn home(&self, hash: u64) -> Option<usize> {
        (!self.slots.is_empty()).then(|| (((hash & 0xffff_ffff) * self.slots.len() as u64) >> 32) as usize)
    }

    fn place(&mut self, hash: u64, row: u32) {
        let Some(mut at) = self.home(hash) else { return };
        while self.slots[at] != EMPTY {
            at = (at + 1) % self.slots.len();
        }
        self.slots[at] = tag(hash) << ROW_BITS | row;
    }

    fn grow(&mut self, hash_of: impl Fn(u32) -> u64) {
        self.resize(self.slots.len() + self.slots.len() / 3 + 4, hash_of);
    }

    fn resize(&mut self, len: usize, hash_of: impl Fn(u32) -> u64) {
        let old = std::mem::replace(&mut self.slots, vec![EMPTY; len]);
        for slot in old.into_iter().filter(|slot| *slot != EMPTY) {
            let row = slot & MAX_ROWS;
            self.place(hash_of(row), row);
        }
    }
}

fn shard_of(hash: u64) -> usize {
    (hash >> 54) as usize % SHARDS
}

fn tag(hash: u64) -> u32 {
    // 6 bits; never all ones with a row of all ones, which rows do not reach.
    (hash >> 48) as u32 & 0x3f
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    /// Few hashes, so that rows crowd.
    fn hash(row: u32) -> u64 {
        u64::from(row % 7) << 29
    }

    proptest! {
        #[test]
        fn a_table_holds_what_a_set_holds(steps in prop::collection::vec((any::<bool>(), 0u32..40), 0..200)) {
            let mut table = Table::default();
            let mut set = HashSet::new();
            for (add, row) in steps {
                if add {
                    if set.insert(row) {
                        table.insert(hash(row), row, hash);
                    }
                } else {
                    set.remove(&row);
                    table.remove(hash(row), row, hash);
                }
                if row == 7 {
                    table.reserve(set.len() * SHARDS, hash);
                }
                for row in 0..40 {
                    prop_assert_eq!(table.find(hash(row), |found| found == row).is_some(), set.contains(&row));
                }
            }
        }
    }
}
