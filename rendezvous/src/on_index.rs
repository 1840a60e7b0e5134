//! The index protocol: each request is checked, charged to its peer's account, and answered from the catalog.

use libp2p::request_response::{Event as Exchange, Message};
use libp2p::{Multiaddr, PeerId};
use potluck_common::codec::Malformed;
use potluck_common::peer::PeerKey;
use potluck_common::transport::{key_of, split_peer};
use potluck_common::wire::index::{Address, Answer, Publish, Published as Held, Request, Withdraw};
use potluck_common::wire::{Bounded, MAX_ADDRESSES, Refusal};

use crate::Event;
use crate::catalog::Published;
use crate::event_loop::EventLoop;
use crate::quota::Verdict;

impl<F: FnMut(Event)> EventLoop<F> {
    pub(crate) fn on_index(&mut self, event: Exchange<Result<Request, Malformed>, Answer>) {
        match event {
            Exchange::Message { peer, message: Message::Request { request, channel, .. }, .. } => {
                let answer = self.answer(&peer, request);
                if self.swarm.behaviour_mut().index.send_response(channel, answer).is_err() {
                    tracing::debug!(%peer, "asked and left");
                }
            }
            Exchange::InboundFailure { peer, error, .. } => tracing::debug!(%peer, %error, "an answer did not arrive"),
            // A tracker asks nobody.
            Exchange::Message { .. } | Exchange::OutboundFailure { .. } | Exchange::ResponseSent { .. } => {}
        }
    }

    fn answer(&mut self, peer: &PeerId, request: Result<Request, Malformed>) -> Answer {
        let Some(key) = key_of(peer) else { return refuse(Refusal::Unsupported) };
        match request {
            Ok(Request::Publish(publish)) => self.on_publish(key, publish),
            Ok(Request::Withdraw(withdraw)) => self.on_withdraw(&key, &withdraw),
            Ok(request) => self.on_read(key, &request),
            Err(malformed) => self.on_malformed(peer, key, &malformed),
        }
    }

    fn on_publish(&mut self, peer: PeerKey, mut publish: Publish) -> Answer {
        let now = self.now();
        publish.addresses = own_addresses(&peer, publish.addresses);
        let revision = publish.revision;
        let revision = match self.catalog.publish(peer, publish, now) {
            Published::Taken => revision,
            Published::OutOfStep(held) => held,
            Published::OverQuota => return refuse(Refusal::OverQuota),
            Published::Nonsense => return refuse(Refusal::Unsupported),
        };
        let lease_seconds = u32::try_from(self.catalog.lease().as_secs()).unwrap_or(u32::MAX);
        Answer::Published(Held { revision, lease_seconds })
    }

    fn on_withdraw(&mut self, peer: &PeerKey, withdraw: &Withdraw) -> Answer {
        self.catalog.withdraw(&withdraw.namespace, peer);
        Answer::Withdrawn {}
    }

    fn on_read(&mut self, peer: PeerKey, request: &Request) -> Answer {
        let now = self.now();
        match self.conduct.handle_read(peer, now) {
            Verdict::Serve => self.catalog.answer(request),
            Verdict::Busy | Verdict::Disconnect => refuse(Refusal::Busy),
        }
    }

    fn on_malformed(&mut self, peer: &PeerId, key: PeerKey, malformed: &Malformed) -> Answer {
        let now = self.now();
        tracing::debug!(%peer, %malformed);
        if self.conduct.handle_malformed(key, now) == Verdict::Disconnect {
            tracing::info!(%peer, "sends too much that makes no sense: disconnected");
            let _already_gone = self.swarm.disconnect_peer_id(*peer);
        }
        refuse(Refusal::Unsupported)
    }
}

fn refuse(why: Refusal) -> Answer {
    Answer::Refused { why }
}

/// Of the addresses that a peer names, those that are multiaddrs and not another's.
fn own_addresses(peer: &PeerKey, addresses: Bounded<Address, MAX_ADDRESSES>) -> Bounded<Address, MAX_ADDRESSES> {
    let is_own = |address: &Address| {
        let Ok(address) = address.parse::<Multiaddr>() else { return false };
        split_peer(address).1.is_none_or(|named| key_of(&named).is_some_and(|named| named == *peer))
    };
    Bounded::truncated(addresses.into_iter().filter(is_own))
}
