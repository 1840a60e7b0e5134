//! [`Peers`]: the peers of an index, what each offers, and which of them count.
//!
//! The index's owner names peers by [`PeerNo`]s that it gives out again. Inside, a peer is a *slot*: forgetting one takes its
//! number from the slot at once, and the files of the slot are taken from their documents later, some with every call, so that
//! a peer with a million files stops nobody. Whether a slot is online is one byte: all of a peer's entries at once.

use std::collections::VecDeque;

use super::files::Files;
use super::{PeerNo, Totals};

/// No slot.
const NONE: u32 = u32::MAX;

/// Peers by slot.
#[derive(Debug, Default)]
pub(super) struct Peers {
    /// The slot of each peer number.
    slots: Vec<u32>,
    peers: Vec<Peer>,
    /// By slot; apart from the rest, as searches look at little else.
    online: Vec<bool>,
    /// The number of each slot; of a forgotten one, the number that it had.
    numbers: Vec<PeerNo>,
    free: Vec<u32>,
    /// Slots without a number that still have files.
    forgotten: VecDeque<u32>,
}

/// What a peer offers.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) totals: Totals,
    pub(super) files: Files,
}

impl Peers {
    /// The slot of a peer.
    pub(super) fn slot(&self, number: PeerNo) -> Option<u32> {
        self.slots.get(number.0 as usize).copied().filter(|slot| *slot != NONE)
    }

    /// The slot of a peer, which is made if there is none, offline.
    pub(super) fn slot_or_new(&mut self, number: PeerNo) -> u32 {
        if let Some(slot) = self.slot(number) {
            return slot;
        }
        let at = number.0 as usize;
        if self.slots.len() <= at {
            self.slots.resize(at + 1, NONE);
        }
        let peer = Peer { totals: Totals::default(), files: Files::default() };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.peers[slot as usize] = peer;
                self.numbers[slot as usize] = number;
                slot
            }
            None => {
                self.peers.push(peer);
                self.online.push(false);
                self.numbers.push(number);
                self.peers.len() as u32 - 1
            }
        };
        self.slots[at] = slot;
        slot
    }

    /// Takes a peer's number from its slot.
    pub(super) fn forget(&mut self, number: PeerNo) {
        let Some(slot) = self.slot(number) else { return };
        self.slots[number.0 as usize] = NONE;
        self.online[slot as usize] = false;
        self.forgotten.push_back(slot);
    }

    /// A slot that is to be emptied, with one of its files; it is given out again when there is none left.
    pub(super) fn next_forgotten(&mut self) -> Option<(u32, u32)> {
        loop {
            let slot = *self.forgotten.front()?;
            if let Some(doc) = self.peers[slot as usize].files.pop() {
                return Some((slot, doc));
            }
            self.forgotten.pop_front();
            self.free.push(slot);
        }
    }

    pub(super) fn get(&self, slot: u32) -> &Peer {
        &self.peers[slot as usize]
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> &mut Peer {
        &mut self.peers[slot as usize]
    }

    /// The number of a slot; of a forgotten one, the number that it had.
    pub(super) fn number(&self, slot: u32) -> PeerNo {
        self.numbers[slot as usize]
    }

    pub(super) fn is_online(&self, slot: u32) -> bool {
        self.online[slot as usize]
    }

    pub(super) fn set_online(&mut self, slot: u32, online: bool) {
        self.online[slot as usize] = online;
    }

    /// How many slots there are or were.
    pub(super) fn len(&self) -> usize {
        self.peers.len()
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        let files: usize = self.peers.iter().map(|peer| peer.files.heap_bytes()).sum();
        files + self.peers.capacity() * size_of::<Peer>() + (self.slots.capacity() + self.numbers.capacity()) * 4 + self.online.capacity()
    }
}
