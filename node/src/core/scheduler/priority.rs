//! Which files come first, when the user changes it.

use std::cmp::Reverse;

use super::{FileNo, Priority, Scheduler};
use crate::core::peer_book::{PeerNo, Rank};

impl Scheduler {
    /// Gives a file another place among the others. Requests that are out stay out: what they bring is not asked for again.
    pub fn prioritise(&mut self, file: FileNo, priority: Priority) {
        let Some(download) = self.downloads.get_mut(&file) else { return };
        let old = download.rank;
        download.rank = Rank { priority: Reverse(priority), ..old };
        let sources: Vec<PeerNo> = download.sources.iter().map(|source| source.peer).collect();
        for peer in sources {
            if let Some(peer) = self.peers.get_mut(peer) {
                peer.small.remove(&(old, file)); // the lists are in the order of ranks
                peer.large.remove(&(old, file));
            }
        }
        self.sort_in(file);
    }
}
