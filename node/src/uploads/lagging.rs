//! [`Lagging`]: readers that take long.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use libp2p::PeerId;

/// Answers that are under way beyond that time, with a body each. When there are more, whoever has most of them is disconnected.
const MAX_LAGGING: usize = 64;

/// Answers that take long, by who reads them.
#[derive(Default)]
pub(super) struct Lagging(Mutex<HashMap<PeerId, usize>>);

impl Lagging {
    /// One more for a peer. Returns who has most when there are too many.
    pub(super) fn begin(&self, peer: PeerId) -> Option<PeerId> {
        let mut lagging = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *lagging.entry(peer).or_default() += 1;
        let is_too_much = lagging.values().sum::<usize>() > MAX_LAGGING;
        lagging.iter().max_by_key(|(_, count)| **count).filter(|_| is_too_much).map(|(peer, _)| *peer)
    }

    /// One less.
    pub(super) fn end(&self, peer: &PeerId) {
        let mut lagging = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = lagging.get_mut(peer) {
            *count -= 1;
            if *count == 0 {
                lagging.remove(peer);
            }
        }
    }
}
