//! [`ShelfNo`]: where the files of a registration stand on the disk. Pure.

/// The number of a shelf: all that one peer offers in one namespace since it last started anew. Never given out twice, so
/// that what is left of an old one is never taken for a part of a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShelfNo(pub u64);

/// Gives out shelves, and remembers those that are to be cleared.
#[derive(Debug, Default)]
pub(super) struct Shelves {
    next: u64,
    /// At most one for each registration that ended since they were last asked for.
    gone: Vec<ShelfNo>,
}

impl Shelves {
    /// A new one.
    pub(super) fn take(&mut self) -> ShelfNo {
        let shelf = ShelfNo(self.next);
        self.next += 1;
        shelf
    }

    /// One that is there already.
    pub(super) fn is_taken(&mut self, shelf: ShelfNo) {
        self.next = self.next.max(shelf.0 + 1);
    }

    /// Nothing on it is wanted any more.
    pub(super) fn give_up(&mut self, shelf: ShelfNo) {
        self.gone.push(shelf);
    }

    /// Those that were given up since the last call.
    pub(super) fn take_gone(&mut self) -> Vec<ShelfNo> {
        std::mem::take(&mut self.gone)
    }
}
