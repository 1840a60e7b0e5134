//! libp2p's rendezvous protocol. Its server answers by itself; here its registrations are listed beside those of nodes.

use std::time::Duration;

use libp2p::rendezvous::server::Event as Served;
use libp2p::{Multiaddr, PeerId, rendezvous};
use potluck_common::conduct::{Deed, Verdict};
use potluck_common::namespace::Namespace;
use potluck_common::transport::key_of;
use potluck_common::wire::index::Address;
use potluck_common::wire::{Bounded, MAX_ADDRESS_BYTES, MAX_ADDRESSES};

use crate::Event;
use crate::event_loop::EventLoop;

impl<F: FnMut(Event)> EventLoop<F> {
    pub(crate) fn on_rendezvous(&mut self, event: Served) {
        match event {
            Served::PeerRegistered { peer, registration } => self.on_registered(&peer, &registration),
            Served::PeerNotRegistered { peer, error, .. } => {
                tracing::debug!(%peer, ?error, "not registered");
                self.charge_registration(&peer);
            }
            Served::PeerUnregistered { peer, namespace } => self.on_unregistered(&peer, &namespace),
            // Also told of registrations that were renewed: our own lease decides.
            Served::RegistrationExpired(_) => {}
            Served::DiscoverServed { enquirer, .. } | Served::DiscoverNotServed { enquirer, .. } => self.charge_discovery(&enquirer),
        }
    }

    fn on_registered(&mut self, peer: &PeerId, registration: &rendezvous::Registration) {
        self.charge_registration(peer);
        let now = self.now();
        let Some((namespace, key)) = namespace_of(&registration.namespace).zip(key_of(peer)) else { return };
        if !self.may(&key, &namespace, false) {
            return; // it is only told to peers of the same room, under a name that means nothing to them
        }
        tracing::debug!(%peer, %namespace, ttl = registration.ttl, "registered by rendezvous");
        let addresses = as_text(registration.record.addresses());
        self.index.handle_rendezvous(key, &namespace, addresses, Duration::from_secs(registration.ttl), now);
    }

    fn on_unregistered(&mut self, peer: &PeerId, namespace: &rendezvous::Namespace) {
        if let Some((namespace, key)) = namespace_of(namespace).zip(key_of(peer)) {
            tracing::debug!(%peer, %namespace, "unregistered by rendezvous");
            self.index.handle_unregistered(&key, &namespace);
        }
    }

    fn charge_discovery(&mut self, peer: &PeerId) {
        let now = self.now();
        let Some(key) = key_of(peer) else { return };
        if self.conduct.handle(key, Deed::Discovery, now) == Verdict::Disconnect {
            self.cut_off_for("discovers without end", &key);
        }
    }

    fn charge_registration(&mut self, peer: &PeerId) {
        let now = self.now();
        let Some(key) = key_of(peer) else { return };
        if self.conduct.handle(key, Deed::Registration, now) == Verdict::Disconnect {
            self.cut_off_for("registers without end", &key);
        }
    }
}

/// A namespace of libp2p as one of ours; `None` for an empty one, or one with control characters.
fn namespace_of(namespace: &rendezvous::Namespace) -> Option<Namespace> {
    Namespace::new(namespace.to_string()).ok()
}

/// The addresses that can be told in full.
fn as_text(addresses: &[Multiaddr]) -> Bounded<Address, MAX_ADDRESSES> {
    let texts = addresses.iter().map(ToString::to_string).filter(|text| text.len() <= MAX_ADDRESS_BYTES);
    Bounded::truncated(texts.map(|text| Address::truncated(&text)))
}
