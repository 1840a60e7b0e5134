//! Connections and pings: who is there.

use libp2p::{PeerId, ping};
use potluck_common::transport::key_of;

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
            if let Some(membership) = &mut self.membership {
                membership.lobby.handle_gone(&key);
            }
        }
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
