//! [`Lists`]: many short lists, without a vector for each.
//!
//! Nearly every content has one name and nearly every name one peer; those stand in their rows. The few that have more get
//! a list here, known by a number of 31 bits. A list of up to 32 items lies in a row of a table of its size class (2, 4, 8, 16, 32)
//! and moves to the next class when it is full; a longer one is a vector of its own.
//! Order does not last: the last item fills the hole that a removal leaves.

use super::chunks::Chunks;

/// Room in the size classes: powers of two, so that a row never straddles two pieces of the table.
const CLASSES: [usize; 5] = [2, 4, 8, 16, 32];
/// Bits of a place within a class.
const PLACE_BITS: u32 = 28;

/// An item of a list: rows mark unused places with one that no list holds.
pub(super) trait Item: Copy + PartialEq {
    /// Stands for no item.
    const NONE: Self;
}

impl Item for u32 {
    const NONE: Self = u32::MAX;
}

/// The number of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ListNo(pub(super) u32);

/// Lists of items.
#[derive(Debug)]
pub(super) struct Lists<T> {
    classes: [Class<T>; CLASSES.len()],
    long: Vec<Vec<T>>,
    free_long: Vec<u32>,
}

#[derive(Debug)]
struct Class<T> {
    items: Chunks<T>,
    free: Vec<u32>,
}

impl<T> Default for Lists<T> {
    fn default() -> Self {
        let classes = std::array::from_fn(|_| Class { items: Chunks::default(), free: Vec::new() });
        Self { classes, long: Vec::new(), free_long: Vec::new() }
    }
}

impl<T: Item> Lists<T> {
    /// A new list of two.
    pub(super) fn pair(&mut self, first: T, second: T) -> ListNo {
        self.place_in(0, &[first, second])
    }

    pub(super) fn items(&self, list: ListNo) -> &[T] {
        let (class, place) = split(list);
        let Some((room, rows)) = CLASSES.get(class).zip(self.classes.get(class)) else {
            return self.long.get(place).map(Vec::as_slice).unwrap_or_default();
        };
        let row = rows.items.run(place * room, *room);
        &row[..row.iter().position(|item| *item == T::NONE).unwrap_or(row.len())]
    }

    pub(super) fn items_mut(&mut self, list: ListNo) -> &mut [T] {
        let (class, place) = split(list);
        let Some((room, rows)) = CLASSES.get(class).zip(self.classes.get_mut(class)) else {
            return self.long.get_mut(place).map(Vec::as_mut_slice).unwrap_or_default();
        };
        let row = rows.items.run_mut(place * room, *room);
        let used = row.iter().position(|item| *item == T::NONE).unwrap_or(row.len());
        &mut row[..used]
    }

    /// Adds an item. The list may have another number from then on.
    pub(super) fn push(&mut self, list: ListNo, item: T) -> ListNo {
        let (class, place) = split(list);
        let Some((room, rows)) = CLASSES.get(class).zip(self.classes.get_mut(class)) else {
            if let Some(items) = self.long.get_mut(place) {
                items.push(item);
            }
            return list;
        };
        let row = rows.items.run_mut(place * room, *room);
        if let Some(unused) = row.iter_mut().find(|item| **item == T::NONE) {
            *unused = item;
            return list;
        }
        let mut items = row.to_vec();
        items.push(item);
        self.free(list);
        self.place_in(class + 1, &items)
    }

    /// Takes the item at a place out; the last one takes its place.
    pub(super) fn swap_remove(&mut self, list: ListNo, at: usize) {
        let (class, place) = split(list);
        if let (true, Some(items)) = (class >= CLASSES.len(), self.long.get_mut(place)) {
            items.swap_remove(at);
            return;
        }
        let items = self.items_mut(list);
        if let Some(last) = items.len().checked_sub(1) {
            items.swap(at, last);
            items[last] = T::NONE;
        }
    }

    /// Gives the list's room back.
    pub(super) fn free(&mut self, list: ListNo) {
        let (class, place) = split(list);
        match (CLASSES.get(class), self.classes.get_mut(class)) {
            (Some(room), Some(rows)) => {
                rows.items.run_mut(place * room, *room).fill(T::NONE);
                rows.free.push(place as u32);
            }
            _ => {
                if let Some(items) = self.long.get_mut(place) {
                    *items = Vec::new();
                    self.free_long.push(place as u32);
                }
            }
        }
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        let rows: usize = self.classes.iter().map(|class| class.items.len() * size_of::<T>() + class.free.capacity() * 4).sum();
        rows + self.long.iter().map(|items| items.capacity() * size_of::<T>() + 24).sum::<usize>()
    }

    fn place_in(&mut self, class: usize, items: &[T]) -> ListNo {
        let Some((room, rows)) = CLASSES.get(class).zip(self.classes.get_mut(class)) else {
            let place = self.free_long.pop().unwrap_or(self.long.len() as u32);
            match self.long.get_mut(place as usize) {
                Some(free) => *free = items.to_vec(),
                None => self.long.push(items.to_vec()),
            }
            return ListNo((CLASSES.len() as u32) << PLACE_BITS | place);
        };
        let place = rows.free.pop().unwrap_or_else(|| {
            let place = (rows.items.len() / room) as u32;
            (0..*room).for_each(|_| rows.items.push(T::NONE));
            place
        });
        rows.items.run_mut(place as usize * room, *room)[..items.len()].copy_from_slice(items);
        ListNo((class as u32) << PLACE_BITS | place)
    }
}

fn split(list: ListNo) -> (usize, usize) {
    ((list.0 >> PLACE_BITS) as usize, (list.0 & ((1 << PLACE_BITS) - 1)) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn lists_hold_what_vectors_hold(steps in prop::collection::vec((0usize..3, any::<bool>(), 0u32..100), 0..300)) {
            let mut lists = Lists::default();
            let mut all: Vec<(ListNo, Vec<u32>)> = (0..3).map(|_| (lists.pair(1, 2), vec![1, 2])).collect();
            for (which, add, item) in steps {
                let (list, items) = &mut all[which];
                if add {
                    *list = lists.push(*list, item);
                    items.push(item);
                } else if items.len() > 1 {
                    let at = item as usize % items.len();
                    lists.swap_remove(*list, at);
                    items.swap_remove(at);
                } else {
                    lists.free(*list);
                    (*list, *items) = (lists.pair(8, 9), vec![8, 9]);
                }
                for (list, items) in &all {
                    prop_assert_eq!(lists.items(*list), items.as_slice());
                }
            }
        }
    }
}
