//! The index protocol: each request is checked, charged to its peer's account, and answered from the catalog.

use libp2p::request_response::{Event as Exchange, Message, ResponseChannel};
use libp2p::{Multiaddr, PeerId};
use potluck_common::codec::Malformed;
use potluck_common::namespace::Namespace;
use potluck_common::peer::PeerKey;
use potluck_common::transport::{key_of, split_peer};
use potluck_common::wire::index::{Address, Answer, Publish, Published as Held, Request, Watch, Withdraw};
use potluck_common::wire::{Bounded, MAX_ADDRESSES, Refusal};

use crate::Event;
use crate::catalog::{Published, ShelfNo};
use crate::event_loop::EventLoop;
use crate::quota::Verdict;
use crate::store::{Group, Save};

/// A peer that waits for what it published to be saved.
#[derive(Debug)]
pub(crate) struct Waiter {
    peer: PeerKey,
    namespace: Namespace,
    shelf: ShelfNo,
    revision: u64,
    channel: ResponseChannel<Answer>,
}

impl<F: FnMut(Event)> EventLoop<F> {
    pub(crate) fn on_index(&mut self, event: Exchange<Result<Request, Malformed>, Answer>) {
        match event {
            Exchange::Message { peer, message: Message::Request { request, channel, .. }, .. } => self.on_request(&peer, request, channel),
            Exchange::InboundFailure { peer, error, .. } => tracing::debug!(%peer, %error, "an answer did not arrive"),
            // A tracker asks nobody.
            Exchange::Message { .. } | Exchange::OutboundFailure { .. } | Exchange::ResponseSent { .. } => {}
        }
    }

    fn on_request(&mut self, peer: &PeerId, request: Result<Request, Malformed>, channel: ResponseChannel<Answer>) {
        let Some(key) = key_of(peer) else { return self.respond(channel, refuse(Refusal::Unsupported)) };
        let answer = match request {
            Err(malformed) => self.on_malformed(peer, key, &malformed),
            // A namespace that is not there and one that is not for this peer look the same.
            Ok(request) if !self.may(&key, namespace_of(&request), is_offer(&request)) => refuse(Refusal::NotPermitted),
            Ok(_) if self.is_restoring => refuse(Refusal::Unavailable),
            Ok(Request::Publish(publish)) => return self.on_publish(key, publish, channel),
            Ok(Request::Watch(watch)) => return self.on_watch(key, &watch, channel),
            Ok(Request::Withdraw(withdraw)) => self.on_withdraw(&key, &withdraw),
            Ok(request) => self.on_read(key, &request),
        };
        self.respond(channel, answer);
    }

    pub(crate) fn respond(&mut self, channel: ResponseChannel<Answer>, answer: Answer) {
        if self.swarm.behaviour_mut().index.send_response(channel, answer).is_err() {
            tracing::debug!("asked and left");
        }
    }

    fn on_publish(&mut self, peer: PeerKey, mut publish: Publish, channel: ResponseChannel<Answer>) {
        let now = self.now();
        publish.addresses = own_addresses(&peer, publish.addresses);
        self.note_nickname(&peer, &publish.nickname);
        if publish.revision != publish.base {
            if self.keeper.is_failing() {
                self.catalog.keep(&publish.namespace, &peer, now);
                return self.respond(channel, refuse(Refusal::Unavailable));
            }
            if !self.keeper.has_room(publish.changes.len()) {
                return self.respond(channel, refuse(Refusal::Busy));
            }
        }
        let revision = publish.revision;
        let answer = match self.catalog.publish(peer, &publish, now) {
            Published::Taken(shelf) => {
                self.watches.handle_published(peer, &publish, now);
                return self.save(shelf, peer, publish, channel);
            }
            Published::InStep => self.published(revision),
            Published::OutOfStep(held) => self.published(held),
            Published::OverQuota => refuse(Refusal::OverQuota),
            Published::Nonsense => refuse(Refusal::Unsupported),
        };
        self.respond(channel, answer);
    }

    /// What was taken is answered when it is saved.
    fn save(&mut self, shelf: ShelfNo, peer: PeerKey, publish: Publish, channel: ResponseChannel<Answer>) {
        let waiter = Waiter { peer, namespace: publish.namespace.clone(), shelf, revision: publish.revision, channel };
        if let Err(waiter) = self.keeper.save(Save { shelf, peer, publish }, waiter) {
            self.on_unsaved(waiter);
        }
    }

    /// The store is done with some of what it was given.
    pub(crate) fn on_group(&mut self, group: Group<Waiter>) {
        if let Some(failure) = group.failure {
            tracing::error!("the index cannot be saved: {failure}. Changes are refused until it can; all else goes on");
        }
        for waiter in group.saved {
            let answer = self.published(waiter.revision);
            self.respond(waiter.channel, answer);
        }
        group.unsaved.into_iter().for_each(|waiter| self.on_unsaved(waiter));
    }

    fn on_unsaved(&mut self, waiter: Waiter) {
        self.catalog.handle_unsaved(&waiter.namespace, &waiter.peer, waiter.shelf);
        self.respond(waiter.channel, refuse(Refusal::Unavailable));
    }

    fn published(&self, revision: u64) -> Answer {
        let lease_seconds = u32::try_from(self.catalog.lease().as_secs()).unwrap_or(u32::MAX);
        Answer::Published(Held { revision, lease_seconds })
    }

    fn on_watch(&mut self, peer: PeerKey, watch: &Watch, channel: ResponseChannel<Answer>) {
        let now = self.now();
        if self.conduct.handle_read(peer, now) != Verdict::Serve {
            return self.respond(channel, refuse(Refusal::Busy));
        }
        if let Some((channel, answer)) = self.watches.handle_ask(peer, watch, channel, now) {
            self.respond(channel, answer);
        }
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

fn namespace_of(request: &Request) -> &Namespace {
    match request {
        Request::Publish(ask) => &ask.namespace,
        Request::Withdraw(ask) => &ask.namespace,
        Request::Peers(ask) => &ask.namespace,
        Request::List(ask) => &ask.namespace,
        Request::Search(ask) => &ask.namespace,
        Request::Sources(ask) => &ask.namespace,
        Request::Watch(ask) => &ask.namespace,
    }
}

/// Whether files are offered. To be there without any takes no right to write.
fn is_offer(request: &Request) -> bool {
    matches!(request, Request::Publish(publish) if !publish.changes.is_empty())
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
