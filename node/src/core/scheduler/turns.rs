//! Which files stand in the lists of which peers, and which peers have a turn.

use std::time::Instant;

use potluck_common::peer::PeerKey;

use super::{FileNo, Scheduler};
use crate::core::download::Class;
use crate::core::peer_book::{PeerNo, Rank, Standing};

impl Scheduler {
    /// Puts a file into the lists of its sources where it belongs by its stage, and out of those where it does not.
    pub(super) fn sort_in(&mut self, file: FileNo) {
        let Some(download) = self.downloads.get(&file) else { return };
        let (class, entry) = (download.class(), (download.rank, file));
        let sources: Vec<PeerNo> = download.sources.iter().map(|source| source.peer).collect();
        for peer in sources {
            self.list(peer, entry, class);
        }
    }

    /// Puts one file into the list of one peer.
    pub(super) fn list(&mut self, peer_no: PeerNo, entry: (Rank, FileNo), class: Class) {
        if let Some(peer) = self.peers.get_mut(peer_no) {
            peer.small.remove(&entry);
            peer.large.remove(&entry);
            match class {
                Class::Small => _ = peer.small.insert(entry),
                Class::Large => _ = peer.large.insert(entry),
                Class::Idle => {}
            }
        }
        self.settle(peer_no);
    }

    /// Gives a peer a turn, or takes it away, as it has room and work or not.
    pub(super) fn settle(&mut self, peer_no: PeerNo) {
        let Some(peer) = self.peers.get_mut(peer_no) else { return };
        match (peer.has_room() && peer.has_work(), peer.turn) {
            (true, None) => {
                self.next_turn += 1;
                peer.turn = Some(self.next_turn);
                self.turns.insert((self.next_turn, peer_no));
            }
            (false, Some(_)) => self.leave_turns(peer_no),
            (true, Some(_)) | (false, None) => {}
        }
    }

    pub(super) fn leave_turns(&mut self, peer_no: PeerNo) {
        if let Some(turn) = self.peers.get_mut(peer_no).and_then(|peer| peer.turn.take()) {
            self.turns.remove(&(turn, peer_no));
        }
    }

    /// Sets when a peer may be asked again.
    pub(super) fn set_standing(&mut self, peer_no: PeerNo, standing: Standing) {
        let Some(peer) = self.peers.get_mut(peer_no) else { return };
        let until = |standing| match standing {
            Standing::Fine => None,
            Standing::Queued { until } | Standing::Resting { until } | Standing::Banned { until } => Some(until),
        };
        if let Some(before) = until(peer.standing) {
            self.resting.remove(&(before, peer_no));
        }
        peer.standing = standing;
        if let Some(until) = until(standing) {
            self.resting.insert((until, peer_no));
        }
        self.settle(peer_no);
    }

    /// Remembers when there will be something to ask a peer for of a file.
    pub(super) fn note_due(&mut self, file: FileNo, peer: PeerNo) {
        if let Some(at) = self.downloads.get(&file).and_then(|download| download.due_at(peer)) {
            self.due.insert((at, file, peer));
        }
    }

    /// Puts into the lists of peers what there is to ask them for now.
    pub(super) fn list_due(&mut self, now: Instant) {
        while let Some((_, file, peer)) = self.due.first().copied().filter(|(at, ..)| *at <= now) {
            self.due.pop_first();
            let found = self.downloads.get(&file).filter(|download| download.source(peer).is_some());
            if let Some((entry, class)) = found.map(|download| ((download.rank, file), download.class())) {
                self.list(peer, entry, class);
            }
        }
    }

    /// Shares a file out with the peers that fetch it as well, as far as they can be asked for what they have.
    pub(super) fn deal(&mut self, file: FileNo) {
        let Some(me) = self.config.me else { return };
        let Some(download) = self.downloads.get_mut(&file).filter(|download| download.is_shared()) else { return };
        let fellows = download.partial_sources().filter_map(|peer| self.peers.get(peer));
        let fellows: Vec<PeerKey> = fellows.filter(|peer| peer.is_connected && peer.is_usable()).map(|peer| peer.key).collect();
        download.deal(&me, fellows);
    }
}
