//! The small numbers by which an index knows its peers. Pure.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use potluck_common::peer::PeerKey;
use potluck_common::search::PeerNo;

/// Gives out the smallest free number, so that tables stay as long as there are peers.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    holders: Vec<Option<PeerKey>>,
    free: BinaryHeap<Reverse<u32>>,
}

impl Numbers {
    /// Gives a peer a number.
    pub(crate) fn give(&mut self, peer: PeerKey) -> PeerNo {
        let no = self.free.pop().map_or(self.holders.len(), |Reverse(no)| no as usize);
        match self.holders.get_mut(no) {
            Some(holder) => *holder = Some(peer),
            None => self.holders.push(Some(peer)),
        }
        PeerNo(no as u32)
    }

    /// Takes a number back; it may be given out again.
    pub(crate) fn take_back(&mut self, no: PeerNo) {
        if self.holders.get_mut(no.0 as usize).and_then(Option::take).is_some() {
            self.free.push(Reverse(no.0));
        }
    }

    /// Who has a number.
    pub(crate) fn holder(&self, no: PeerNo) -> Option<PeerKey> {
        self.holders.get(no.0 as usize).copied().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_number_that_was_taken_back_is_given_out_first() {
        let peer = |n| PeerKey::from_bytes(&[&[0x12, 32], [n; 32].as_slice()].concat()).unwrap();
        let mut numbers = Numbers::default();
        assert_eq!((0..3).map(|n| numbers.give(peer(n)).0).collect::<Vec<_>>(), [0, 1, 2]);
        numbers.take_back(PeerNo(1));
        numbers.take_back(PeerNo(0));
        numbers.take_back(PeerNo(0));
        assert_eq!(numbers.holder(PeerNo(0)), None);
        assert_eq!((numbers.give(peer(7)), numbers.give(peer(8)), numbers.give(peer(9))), (PeerNo(0), PeerNo(1), PeerNo(3)));
        assert_eq!(numbers.holder(PeerNo(1)), Some(peer(8)));
    }
}
