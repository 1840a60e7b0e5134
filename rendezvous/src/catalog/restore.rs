//! A catalog made again of what was saved. Pure.

use std::time::Instant;

use potluck_common::namespace::Namespace;
use potluck_common::peer::PeerKey;
use potluck_common::wire::index::{Change, Entry};

use super::registration::{Offer, Presence};
use super::shelves::ShelfNo;
use super::{Catalog, Place};

/// A registration as it was saved. Name and addresses of the peer are not: it brings them when it comes back, and until
/// then nothing is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Where its files are.
    pub shelf: ShelfNo,
    /// Where it is registered.
    pub namespace: Namespace,
    /// Who it is.
    pub peer: PeerKey,
    /// Of which its revision is.
    pub epoch: u64,
    /// What it has published up to.
    pub revision: u64,
}

impl Catalog {
    /// Takes a registration that was saved: parked, without files yet. Those on the greatest shelf of a peer count.
    pub fn restore(&mut self, saved: &Saved, now: Instant) {
        self.shelves.is_taken(saved.shelf);
        match self.place(&saved.namespace, saved.peer, now) {
            Ok(Place { index, registration, held, shelves }) => {
                registration.start_anew(index, held, shelves, saved.epoch, Some(saved.shelf));
                registration.set_revision(saved.revision);
            }
            Err(_) => self.shelves.give_up(saved.shelf),
        }
    }

    /// Takes files of a registration that was restored. One that no longer fits within the limits is given up.
    pub fn restore_files(&mut self, saved: &Saved, entries: impl IntoIterator<Item = Entry>) {
        let limits = self.limits;
        let Some(group) = self.groups.get_mut(&saved.namespace) else { return };
        let Some(registration) = group.registrations.get_mut(&saved.peer).filter(|known| known.shelf() == Some(saved.shelf)) else {
            return;
        };
        let mut changes = entries.into_iter().map(Change::Put);
        let fits = changes.try_for_each(|change| registration.take(&mut group.index, &mut self.held, &limits, &change));
        if fits.is_err() {
            self.withdraw(&saved.namespace, &saved.peer);
        }
    }

    /// All is restored: leases count from here. Who registered by rendezvous `meanwhile`, at a catalog of nothing, is
    /// taken over.
    pub fn handle_restored(&mut self, meanwhile: Self, now: Instant) {
        let restored = self.groups.values_mut().flat_map(|group| group.registrations.values_mut());
        restored.for_each(|registration| registration.expires_at = now + self.lease);
        for (namespace, group) in meanwhile.groups {
            for (peer, known) in group.registrations {
                if !matches!(known.offer, Offer::Nothing) {
                    continue;
                }
                let ttl = known.expires_at.saturating_duration_since(now);
                self.handle_rendezvous(&namespace, peer, known.addresses, ttl, now);
                if known.presence != Presence::Online {
                    self.handle_lost(&peer, now);
                }
            }
        }
    }
}
