//! The index protocol: each request is checked, charged to its peer's account, and answered from the catalog.

use std::net::IpAddr;
use std::time::Instant;

use libp2p::request_response::{Event as Exchange, Message, ResponseChannel};
use libp2p::{Multiaddr, PeerId};
use potluck_common::codec::Malformed;
use potluck_common::conduct::{Deed, Verdict};
use potluck_common::limits::Stop;
use potluck_common::namespace::Namespace;
use potluck_common::peer::PeerKey;
use potluck_common::transport::{ip_of, key_of, peer_of, split_peer};
use potluck_common::wire::index::{Address, Answer, Publish, Request, Watch};
use potluck_common::wire::{Bounded, MAX_ADDRESSES, Refusal};

use crate::Event;
use crate::event_loop::EventLoop;
use crate::origin::{is_its_own, may_be_tried};

impl<F: FnMut(Event)> EventLoop<F> {
    pub(crate) fn on_index(&mut self, event: Exchange<Result<Request, Malformed>, Answer>) {
        match event {
            Exchange::Message { peer, connection_id, message: Message::Request { request, channel, .. } } => {
                let seen_at = self.origins.get(&connection_id).copied();
                self.on_request(&peer, seen_at, request, channel);
            }
            Exchange::InboundFailure { peer, error, .. } => tracing::debug!(%peer, %error, "an answer did not arrive"),
            // A tracker asks nobody.
            Exchange::Message { .. } | Exchange::OutboundFailure { .. } | Exchange::ResponseSent { .. } => {}
        }
    }

    fn on_request(
        &mut self,
        peer: &PeerId,
        seen_at: Option<IpAddr>,
        request: Result<Request, Malformed>,
        channel: ResponseChannel<Answer>,
    ) {
        let Some(key) = key_of(peer) else { return self.respond(channel, refuse(Refusal::Unsupported)) };
        let answer = match request {
            Err(malformed) => self.on_malformed(peer, key, &malformed),
            // A namespace that is not there and one that is not for this peer look the same.
            Ok(request) if !self.may(&key, namespace_of(&request), is_offer(&request)) => refuse(Refusal::NotPermitted),
            Ok(_) if self.index.is_restoring() => refuse(Refusal::Unavailable),
            Ok(Request::Publish(publish)) => return self.on_publish(key, seen_at, publish, channel),
            Ok(Request::Watch(watch)) => return self.on_watch(key, &watch, channel),
            Ok(Request::Withdraw(withdraw)) => {
                let at_once = self.index.withdraw(&key, &withdraw, channel);
                return self.respond_at_once(at_once);
            }
            Ok(request) => return self.on_read(key, request, channel),
        };
        self.respond(channel, answer);
    }

    pub(crate) fn respond(&mut self, channel: ResponseChannel<Answer>, answer: Answer) {
        if matches!(answer, Answer::Refused { why: Refusal::OverQuota }) {
            self.tally.count(Stop::Quota);
        }
        self.figures.refused += u64::from(matches!(answer, Answer::Refused { .. }));
        if self.swarm.behaviour_mut().index.send_response(channel, answer).is_err() {
            tracing::debug!("asked and left");
        }
    }

    fn respond_at_once(&mut self, at_once: Option<(ResponseChannel<Answer>, Answer)>) {
        if let Some((channel, answer)) = at_once {
            self.respond(channel, answer);
        }
    }

    fn on_publish(&mut self, peer: PeerKey, seen_at: Option<IpAddr>, mut publish: Publish, channel: ResponseChannel<Answer>) {
        let now = self.now();
        publish.addresses = self.own_addresses(&peer, seen_at, publish.addresses);
        self.note_nickname(&peer, &publish.nickname);
        let at_once = self.index.publish(peer, publish, channel, &mut self.watches, now);
        self.respond_at_once(at_once);
    }

    /// Of the addresses that a peer names, those that are not another's, by PeerId or by where the peer is seen or was reached. Where it
    /// may be too, it is looked for.
    fn own_addresses(
        &mut self,
        peer: &PeerKey,
        seen_at: Option<IpAddr>,
        addresses: Bounded<Address, MAX_ADDRESSES>,
    ) -> Bounded<Address, MAX_ADDRESSES> {
        let is_named =
            |address: &Multiaddr| split_peer(address.clone()).1.is_none_or(|named| key_of(&named).is_some_and(|named| named == *peer));
        let mut is_told = |text: &Address| {
            let Some(address) = text.parse::<Multiaddr>().ok().filter(is_named) else { return false };
            let is_seen = seen_at.is_some_and(|ip| is_its_own(&address, ip));
            if is_seen || !may_be_tried(&address) {
                return is_seen;
            }
            let is_proven = ip_of(&address).is_some_and(|ip| self.reach.is_proven(peer, ip.to_canonical()));
            if !is_proven {
                self.on_claim(*peer, split_peer(address).0);
            }
            is_proven
        };
        Bounded::truncated(addresses.into_iter().filter(|text| is_told(text)))
    }

    fn on_watch(&mut self, peer: PeerKey, watch: &Watch, channel: ResponseChannel<Answer>) {
        let now = self.now();
        if !self.may_ask(peer, now) {
            return self.respond(channel, refuse(Refusal::Busy));
        }
        if let Some((channel, answer)) = self.watches.handle_ask(peer, watch, channel, now) {
            self.respond(channel, answer);
        }
    }

    fn on_read(&mut self, peer: PeerKey, request: Request, channel: ResponseChannel<Answer>) {
        let now = self.now();
        let may_ask = self.may_ask(peer, now);
        self.figures.searches += u64::from(may_ask && matches!(request, Request::Search(_)));
        let at_once = if may_ask { self.index.read(request, channel) } else { Some((channel, refuse(Refusal::Busy))) };
        self.respond_at_once(at_once);
    }

    /// Charges a question to its peer. Who is told to wait and does not is cut off.
    fn may_ask(&mut self, peer: PeerKey, now: Instant) -> bool {
        let verdict = self.conduct.handle(peer, Deed::Request, now);
        if verdict == Verdict::Disconnect {
            self.cut_off_for("asks without end", &peer);
        }
        verdict == Verdict::Serve
    }

    /// Ends the connections of a peer that behaves badly, and keeps it out for a while.
    pub(crate) fn cut_off_for(&mut self, what: &str, peer: &PeerKey) {
        let Some(id) = peer_of(peer) else { return };
        tracing::info!(%peer, reason = what, "event=banned");
        self.swarm.behaviour_mut().host_limits.ban(id);
        let _already_gone = self.swarm.disconnect_peer_id(id);
    }

    fn on_malformed(&mut self, peer: &PeerId, key: PeerKey, malformed: &Malformed) -> Answer {
        let now = self.now();
        tracing::debug!(%peer, %malformed);
        if self.conduct.handle(key, Deed::Malformed, now) == Verdict::Disconnect {
            self.cut_off_for("sends what makes no sense", &key);
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
