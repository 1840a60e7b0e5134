//! [`Lots`]: which pieces of a file this node asks a complete source for, while others fetch the same file.
//!
//! Nodes that fetch a file together share the line of whoever has it. What two of them ask it for goes over that line twice, and all of
//! them wait for it; what only one asks for, the others can have from that one. So the pieces are cut into lots, and each lot falls to
//! one of the nodes, by a hash of its number and their names (rendezvous hashing: Thaler and Ravishankar, 1998). Nodes that know of
//! each other deal alike without a message. Where they do not, or where one lies, a piece is sent twice, and no more: what is nobody's
//! turn is asked for in the end.

use std::ops::Range;

use potluck_common::geometry::Geometry;
use potluck_common::peer::PeerKey;

/// Most lots of a file: those of larger files are of several pieces, so that dealing them anew among 64 nodes takes a millisecond.
const MOST_LOTS: u32 = 4096;

/// How the pieces of a file are dealt to those who fetch it.
#[derive(Debug)]
pub(super) struct Lots {
    pieces: u32,
    pieces_a_lot: u32,
    /// With whom the file is shared out, in order.
    fellows: Vec<PeerKey>,
    /// The lots that are ours.
    ours: Vec<u32>,
}

impl Lots {
    /// All pieces are ours.
    pub(super) fn new(geometry: Geometry) -> Self {
        let pieces = u32::try_from(geometry.piece_count()).unwrap_or(u32::MAX);
        let pieces_a_lot = pieces.div_ceil(MOST_LOTS).max(1);
        Self { pieces, pieces_a_lot, fellows: Vec::new(), ours: (0..pieces.div_ceil(pieces_a_lot)).collect() }
    }

    /// Deals the lots to `me` and those who fetch the file as well, unless these are the same as before.
    pub(super) fn deal(&mut self, me: &PeerKey, mut fellows: Vec<PeerKey>) {
        fellows.sort_unstable();
        if fellows == self.fellows {
            return;
        }
        let lots = 0..self.pieces.div_ceil(self.pieces_a_lot);
        self.ours = lots.filter(|lot| fellows.iter().all(|fellow| claim(fellow, *lot) <= claim(me, *lot))).collect();
        self.fellows = fellows;
    }

    /// The pieces of our lots, from the lot of piece `from` on and round the end of the file.
    pub(super) fn ours_from(&self, from: u32) -> impl Iterator<Item = Range<u32>> + '_ {
        let at = self.ours.partition_point(|lot| *lot < from / self.pieces_a_lot);
        let (before, after) = self.ours.split_at(at);
        after.iter().chain(before).map(|lot| {
            let start = lot * self.pieces_a_lot;
            start..start.saturating_add(self.pieces_a_lot).min(self.pieces)
        })
    }
}

/// How strongly a node claims a lot; the strongest gets it. Nodes of all versions must reckon alike, so this is written out: the
/// finalizer of SplitMix64 over the end of the name, which is that of a public key, and the number.
fn claim(node: &PeerKey, lot: u32) -> u64 {
    let name = node.as_bytes().iter().rev().take(8).fold(0, |name: u64, byte| name << 8 | u64::from(*byte));
    let mut mixed = name ^ u64::from(lot).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::peer;

    fn lots_of(pieces: u64) -> Lots {
        Lots::new(Geometry::new(pieces << 20).unwrap())
    }

    fn pieces(lots: &Lots, from: u32) -> Vec<u32> {
        lots.ours_from(from).flatten().collect()
    }

    #[test]
    fn every_piece_falls_to_one_of_those_who_know_each_other_and_each_gets_its_part() {
        for count in [5, 64, 5000] {
            let mut dealt = Vec::new();
            for me in 0..4 {
                let mut lots = lots_of(count);
                lots.deal(&peer(me), (0..4).filter(|other| *other != me).map(peer).collect());
                let ours = pieces(&lots, 0);
                assert!(count < 64 || (count / 8..=count * 3 / 8).contains(&(ours.len() as u64)), "{} of {count}", ours.len());
                dealt.extend(ours);
            }
            dealt.sort_unstable();
            assert_eq!(dealt, (0..count as u32).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_claim_is_what_nodes_of_other_versions_reckon() {
        assert_eq!([claim(&peer(1), 0), claim(&peer(2), 4095)], [0xc9ed_9924_11bb_b661, 0x3356_55e9_3785_b1fb]);
    }

    #[test]
    fn who_is_alone_gets_all_and_begins_where_it_is() {
        let mut lots = lots_of(5);
        assert_eq!(pieces(&lots, 3), [3, 4, 0, 1, 2]);
        lots.deal(&peer(1), vec![peer(2)]);
        let with_another = pieces(&lots, 0);
        assert!(with_another.len() < 5);
        lots.deal(&peer(1), Vec::new());
        assert_eq!(pieces(&lots, 0), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn who_comes_takes_of_all_and_nothing_else_moves() {
        let mut lots = lots_of(1000);
        lots.deal(&peer(1), vec![peer(2), peer(3)]);
        let before = pieces(&lots, 0);
        lots.deal(&peer(1), vec![peer(4), peer(3), peer(2)]);
        let after = pieces(&lots, 0);
        assert!(after.len() < before.len() && after.iter().all(|piece| before.contains(piece)));
    }
}
