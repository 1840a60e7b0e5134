//! Connecting to who is to be asked, within the limits that keep a node from being made a weapon.

use std::sync::{Arc, MutexGuard, PoisonError};

use libp2p::PeerId;
use potluck_common::content_id::ContentId;
use potluck_common::nearness::Nearness;

use super::Asking;
use crate::clock::now;
use crate::dialling::{DialBudget, STRANGER_COUNTS, more_of_the_same, nearness};
use crate::net::DialError;

impl Asking {
    /// Begins to connect to a peer that will be asked soon. Whoever asks it finds the connection, or what prevents it.
    pub(crate) fn approach(&self, peer: PeerId) {
        if self.contacts.get(&peer).is_some_and(|contact| contact.connected.is_none() && !contact.addresses.is_empty()) {
            let asking = self.clone();
            tokio::spawn(async move { asking.connect(peer).await });
        }
    }

    /// The same for a peer that was seen to have a content: where it is may have to be asked for.
    pub(crate) fn approach_for(&self, peer: PeerId, id: ContentId) {
        let is_known = self.contacts.get(&peer).is_some_and(|contact| contact.connected.is_some() || !contact.addresses.is_empty());
        if is_known {
            return self.approach(peer);
        }
        let asking = self.clone();
        tokio::spawn(async move {
            asking.sources(&[id]).await;
            asking.approach(peer);
        });
    }

    fn budget(&self) -> MutexGuard<'_, DialBudget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects to a peer at the addresses that are known of it, as far as they are worth another attempt. Dropped, it may connect all the
    /// same.
    ///
    /// # Errors
    /// When nobody answers there, or somebody else.
    pub(crate) async fn connect(&self, peer: PeerId) -> Result<(), DialError> {
        let contact = self.contacts.get(&peer).unwrap_or_default();
        if contact.connected.is_some() && self.net.connect(Some(peer), Vec::new()).await.is_ok() {
            return Ok(());
        }
        let addresses = self.budget().spend(contact.addresses, now());
        let turn = if addresses.iter().any(|address| nearness(address) == Nearness::World) {
            Arc::clone(&self.strangers).acquire_owned().await.ok()
        } else {
            None
        };
        let begun = now();
        let outcome = self.net.connect(Some(peer), addresses).await;
        if let (Some(turn), Err(_)) = (turn, &outcome) {
            let rest = STRANGER_COUNTS.saturating_sub(begun.elapsed());
            tokio::spawn(async move {
                tokio::time::sleep(rest).await;
                drop(turn);
            });
        }
        outcome.map(drop)
    }

    /// Opens more connections to a connected peer, of the same kind as it has. Those that fail are missing, and no more.
    pub(crate) async fn widen(&self, peer: PeerId, more: u32) {
        let Some(contact) = self.contacts.get(&peer) else { return };
        let Some(connected) = contact.connected else { return };
        let addresses = more_of_the_same(&connected, &contact.addresses);
        self.net.widen(peer, addresses, more).await;
    }
}
