//! [`Registration`]: one peer in one namespace. Pure.

use std::time::Instant;

use potluck_common::search::{Index, PeerNo};
use potluck_common::wire::index::{Address, Change, Nickname};
use potluck_common::wire::{Bounded, MAX_ADDRESSES};

use super::Held;
use super::shelves::{ShelfNo, Shelves};
use crate::quota::Limits;

/// One peer in one namespace.
#[derive(Debug)]
pub(super) struct Registration {
    pub(super) no: PeerNo,
    pub(super) nickname: Nickname,
    pub(super) addresses: Bounded<Address, MAX_ADDRESSES>,
    pub(super) offer: Offer,
    pub(super) presence: Presence,
    /// The truth about the lease; rendezvous events are not.
    pub(super) expires_at: Instant,
}

/// What it offers.
#[derive(Debug)]
pub(super) enum Offer {
    /// Registered by rendezvous: no files, no name.
    Nothing,
    /// Published. Revision 0: what it offers is found, but must be published anew.
    Files { epoch: u64, revision: u64, path_bytes: u64, shelf: Option<ShelfNo> },
}

/// Whether it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Online,
    Silent,
    Grace { until: Instant },
    Parked,
}

/// A limit is reached.
#[derive(Debug)]
pub(super) struct OverQuota;

impl Registration {
    pub(super) fn set_presence(&mut self, index: &mut Index, presence: Presence) {
        if self.presence.is_told() != presence.is_told() {
            index.set_online(self.no, presence.is_told());
        }
        self.presence = presence;
    }

    pub(super) fn set_revision(&mut self, to: u64) {
        if let Offer::Files { revision, .. } = &mut self.offer {
            *revision = to;
        }
    }

    /// Drops what was offered; from here on, revisions are of this epoch, and files stand on this shelf; on none while there
    /// are none.
    pub(super) fn start_anew(&mut self, index: &mut Index, held: &mut Held, shelves: &mut Shelves, epoch: u64, shelf: Option<ShelfNo>) {
        self.drop_files(index, held, shelves);
        self.offer = Offer::Files { epoch, revision: 0, path_bytes: 0, shelf };
    }

    pub(super) fn drop_files(&mut self, index: &mut Index, held: &mut Held, shelves: &mut Shelves) {
        if let Offer::Files { path_bytes, shelf, .. } = self.offer {
            held.files = held.files.saturating_sub(index.totals(self.no).files);
            held.path_bytes = held.path_bytes.saturating_sub(path_bytes);
            shelf.into_iter().for_each(|shelf| shelves.give_up(shelf));
        }
        index.forget_peer(self.no);
        self.offer = Offer::Nothing;
    }

    /// Where its files stand on the disk; `None` when it offers none.
    pub(super) fn shelf(&self) -> Option<ShelfNo> {
        match self.offer {
            Offer::Nothing => None,
            Offer::Files { shelf, .. } => shelf,
        }
    }

    /// Takes one change, or leaves everything as it is when that would be over a limit.
    pub(super) fn take(&mut self, index: &mut Index, held: &mut Held, limits: &Limits, change: &Change) -> Result<(), OverQuota> {
        let Offer::Files { path_bytes, .. } = &mut self.offer else { return Err(OverQuota) };
        let before = index.totals(self.no).files;
        let path = match change {
            Change::Put(entry) => {
                index.put(self.no, entry);
                &entry.path
            }
            Change::Remove(path) => {
                index.remove(self.no, path);
                path
            }
        };
        let length = path.as_str().len() as u64;
        let after = index.totals(self.no).files;
        if after > before {
            let within_own = after <= limits.files_per_peer && *path_bytes + length <= limits.path_bytes_per_peer;
            if !within_own || held.files >= limits.files || held.path_bytes + length > limits.path_bytes {
                index.remove(self.no, path);
                return Err(OverQuota);
            }
            *path_bytes += length;
            *held = Held { files: held.files + 1, path_bytes: held.path_bytes + length };
        } else if after < before {
            *path_bytes = path_bytes.saturating_sub(length);
            *held = Held { files: held.files.saturating_sub(1), path_bytes: held.path_bytes.saturating_sub(length) };
        }
        Ok(())
    }
}

impl Presence {
    /// Whether anything is told of a peer that is so.
    pub(super) fn is_told(self) -> bool {
        matches!(self, Presence::Online | Presence::Grace { .. })
    }
}
