//! The task that looks for trackers where the user named none.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use potluck_common::transport::split_peer;
use tokio::sync::broadcast;
use tokio::time::{MissedTickBehavior, interval};

use super::Trackers;
use crate::config::TRACKER_PORT;
use crate::net::NetEvent;

/// How often a tracker on this machine is looked for while there is none.
const FIND_INTERVAL: Duration = Duration::from_secs(2);
/// Most peers of the LAN that are dialled to see whether they are trackers.
const MAX_LAN_DIALS: usize = 64;

/// The task that looks for trackers where the user named none.
pub(super) struct Finder {
    trackers: Trackers,
    /// Peers of the LAN that were dialled.
    tried: HashSet<PeerId>,
}

impl Finder {
    pub(super) fn new(trackers: Trackers) -> Self {
        Self { trackers, tried: HashSet::new() }
    }

    pub(super) async fn run(mut self) {
        let mut net_events = self.trackers.0.net_events.subscribe();
        let mut tick = interval(FIND_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => self.try_this_machine().await,
                event = net_events.recv() => match event {
                    Ok(NetEvent::Found(peer, address)) => self.try_peer(peer, address),
                    Ok(NetEvent::Identified(peer, identity)) if identity.is_tracker && self.tried.contains(&peer) => self.take(peer),
                    Err(broadcast::error::RecvError::Closed) => return,
                    Ok(_) | Err(_) => {}
                },
            }
        }
    }

    /// A tracker at the usual port of this machine needs no name.
    async fn try_this_machine(&mut self) {
        if !self.trackers.desks().is_empty() {
            return;
        }
        let address = Multiaddr::from(Ipv4Addr::LOCALHOST).with(Protocol::Tcp(TRACKER_PORT));
        if let Ok(peer) = self.trackers.0.asking.net.connect(None, vec![address.clone()]).await {
            self.trackers.0.asking.contacts.learn(peer, &[address]);
            self.tried.insert(peer);
            let is_tracker = self.trackers.0.asking.contacts.get(&peer).is_some_and(|contact| contact.is_tracker());
            if is_tracker {
                self.take(peer);
            }
        }
    }

    /// Peers of the LAN are dialled once: they say then what they are, and are asked without a tracker.
    fn try_peer(&mut self, peer: PeerId, address: Multiaddr) {
        let asking = self.trackers.0.asking.clone();
        if peer == asking.net.me() || self.tried.len() >= MAX_LAN_DIALS || !self.tried.insert(peer) {
            return;
        }
        let (place, _) = split_peer(address);
        tokio::spawn(async move {
            if asking.net.connect(Some(peer), vec![place]).await.is_ok() {
                asking.contacts.ask_directly(peer);
            }
        });
    }

    fn take(&self, peer: PeerId) {
        let address =
            self.trackers.0.asking.contacts.get(&peer).and_then(|contact| contact.addresses.first().cloned().or(contact.connected));
        if let Some(address) = address {
            self.trackers.add(split_peer(address).0.with(Protocol::P2p(peer)));
        }
    }
}
