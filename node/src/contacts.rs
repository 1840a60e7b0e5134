//! Whom the node knows: peers and trackers with their addresses, and which of them are asked.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use libp2p::{Multiaddr, PeerId};

use crate::net::{Identity, NetEvent};

/// Most peers that are remembered while they are not connected: a LAN, or the sources of some downloads.
const MAX_CONTACTS: usize = 2048;
/// Most addresses kept of one peer.
const MAX_ADDRESSES: usize = 16;

/// Everybody the node knows. Shared by all tasks; never locked across an await.
#[derive(Debug, Default)]
pub(crate) struct Contacts(Mutex<HashMap<PeerId, Contact>>);

/// What is known of one peer or tracker.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contact {
    /// Where it is connected from or at; `None`: not connected.
    pub(crate) connected: Option<Multiaddr>,
    /// What it says it is.
    pub(crate) identity: Option<Identity>,
    /// Where it can be reached.
    pub(crate) addresses: Vec<Multiaddr>,
    /// Whether the user dialled it, or it was found on the LAN: it is asked directly, without a tracker.
    pub(crate) direct: bool,
    /// What it calls itself.
    pub(crate) nickname: String,
    /// Whether the user named it as a tracker: it is asked before it has said what it is.
    pub(crate) is_named_tracker: bool,
}

impl Contact {
    pub(crate) fn is_tracker(&self) -> bool {
        self.is_named_tracker || self.identity.as_ref().is_some_and(|identity| identity.is_tracker)
    }
}

impl Contacts {
    fn with<T>(&self, change: impl FnOnce(&mut HashMap<PeerId, Contact>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes what the network tells.
    pub(crate) fn handle(&self, event: &NetEvent) {
        match event {
            NetEvent::Connected(peer, address) => self.edit(*peer, |contact| contact.connected = Some(address.clone())),
            NetEvent::Disconnected(peer) => self.edit(*peer, |contact| contact.connected = None),
            NetEvent::Identified(peer, identity) => self.edit(*peer, |contact| contact.identity = Some((**identity).clone())),
            NetEvent::Found(peer, address) => {
                self.learn(*peer, std::slice::from_ref(address));
            }
            _ => {}
        }
    }

    fn edit(&self, peer: PeerId, change: impl FnOnce(&mut Contact)) {
        self.with(|contacts| {
            if contacts.len() >= MAX_CONTACTS && !contacts.contains_key(&peer) {
                contacts.retain(|_, contact| contact.connected.is_some() || contact.direct);
            }
            change(contacts.entry(peer).or_default());
        });
    }

    /// Remembers where a peer can be reached.
    pub(crate) fn learn(&self, peer: PeerId, addresses: &[Multiaddr]) {
        self.edit(peer, |contact| {
            for address in addresses {
                if !contact.addresses.contains(address) {
                    contact.addresses.insert(0, address.clone());
                }
            }
            contact.addresses.truncate(MAX_ADDRESSES);
        });
    }

    /// Remembers what a peer calls itself.
    pub(crate) fn name(&self, peer: PeerId, nickname: &str) {
        self.edit(peer, |contact| nickname.clone_into(&mut contact.nickname));
    }

    /// From now on the peer is asked directly.
    pub(crate) fn ask_directly(&self, peer: PeerId) {
        self.edit(peer, |contact| contact.direct = true);
    }

    /// The user says that this is a tracker.
    pub(crate) fn expect_tracker(&self, peer: PeerId) {
        self.edit(peer, |contact| contact.is_named_tracker = true);
    }

    /// We have just connected to a peer. The network tells so too, but later than who waited for the connection asks.
    pub(crate) fn meet(&self, peer: PeerId, address: &Multiaddr) {
        self.edit(peer, |contact| {
            contact.connected.get_or_insert_with(|| address.clone());
        });
    }

    /// What is known of a peer.
    pub(crate) fn get(&self, peer: &PeerId) -> Option<Contact> {
        self.with(|contacts| contacts.get(peer).cloned())
    }

    /// The peers for whom `wanted` holds.
    pub(crate) fn select(&self, wanted: impl Fn(&Contact) -> bool) -> Vec<PeerId> {
        self.with(|contacts| contacts.iter().filter(|(_, contact)| wanted(contact)).map(|(peer, _)| *peer).collect())
    }

    /// Connected nodes, not trackers, that are asked directly.
    pub(crate) fn direct_peers(&self) -> Vec<PeerId> {
        self.select(|contact| contact.direct && contact.connected.is_some() && !contact.is_tracker())
    }

    /// Connected trackers.
    pub(crate) fn trackers(&self) -> Vec<PeerId> {
        self.select(|contact| contact.connected.is_some() && contact.is_tracker())
    }
}
