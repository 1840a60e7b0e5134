//! Connections and pings: who is there.

use libp2p::swarm::ConnectionId;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{Multiaddr, PeerId, ping};
use potluck_common::peer::PeerKey;
use potluck_common::transport::{ip_of, key_of, peer_of};

use crate::Event;
use crate::clock::unix_seconds;
use crate::event_loop::EventLoop;

impl<F: FnMut(Event)> EventLoop<F> {
    pub(crate) fn on_connected(&mut self, peer: &PeerId, connections: u32) {
        let now = self.now();
        let Some(key) = key_of(peer) else { return };
        if connections == 1 {
            tracing::debug!(%peer, "connected");
            self.figures.note(unix_seconds(), "connected", peer);
            if let Some(membership) = self.membership.as_mut().filter(|membership| !membership.is_member(&key)) {
                membership.lobby.handle_stranger(key, now);
            }
            self.liveness.handle_connected(key, now);
            self.index.handle_connected(&key);
        }
    }

    pub(crate) fn on_closed(&mut self, peer: &PeerId, connections_left: u32) {
        let now = self.now();
        let Some(key) = key_of(peer) else { return };
        if connections_left == 0 {
            tracing::debug!(%peer, "disconnected");
            self.figures.note(unix_seconds(), "left", peer);
            self.liveness.handle_lost(&key);
            self.conduct.handle_lost(&key);
            self.index.handle_lost(&key, now);
            self.watches.handle_lost(&key);
            self.reach.handle_lost(&key);
            if let Some(membership) = &mut self.membership {
                membership.lobby.handle_gone(&key);
            }
        }
    }

    /// A peer says that it is at a public address where it is not seen: it will be tried.
    pub(crate) fn on_claim(&mut self, peer: PeerKey, address: Multiaddr) {
        let now = self.now();
        if let Some(ip) = ip_of(&address) {
            self.reach.handle_claim(peer, ip.to_canonical(), address, now);
        }
    }

    /// The next address that a peer named is tried; whoever is there has to prove that it is the peer.
    pub(crate) fn try_to_reach(&mut self) {
        let Some((peer, address)) = self.reach.poll_try() else { return };
        let Some(peer) = peer_of(&peer) else { return };
        let options = DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(vec![address]).allocate_new_port().build();
        if let Err(error) = self.swarm.dial(options) {
            tracing::debug!(%peer, %error, "not tried");
        }
    }

    /// A peer was reached where it said that it is. The connection was only made to see that.
    pub(crate) fn on_reached(&mut self, peer: &PeerId, connection: ConnectionId) {
        if let Some((key, ip)) = key_of(peer).zip(self.origins.get(&connection)) {
            self.reach.handle_reached(key, ip.to_canonical());
        }
        self.swarm.close_connection(connection);
    }

    pub(crate) fn on_ping(&mut self, event: ping::Event) {
        let now = self.now();
        let Some(key) = key_of(&event.peer) else { return };
        match event.result {
            Ok(_) => {
                if self.liveness.handle_pong(&key, now) {
                    tracing::info!(peer = %key, "heard again");
                    self.index.handle_heard(&key);
                }
            }
            Err(ping::Failure::Unsupported) => self.liveness.handle_no_ping(&key),
            Err(error) => {
                tracing::debug!(peer = %key, %error, "a dead connection is closed");
                self.swarm.close_connection(event.connection);
            }
        }
    }
}
