//! The composed behaviour of a node.

use std::time::Duration;

use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::identity::Keypair;
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{identify, mdns, ping, rendezvous};
use potluck_common::buffer::BufferPool;
use potluck_common::gate::{Doorkeeper, Gate};
use potluck_common::handshakes::Handshakes;
use potluck_common::host_limits::{self, HostLimits};
use potluck_common::limits::NetLimits;
use potluck_common::transport::{AdmitBehaviour, IndexBehaviour, admit_behaviour, index_behaviour};
use potluck_common::wire::IDENTIFY_PROTOCOL;

use super::{Guard, piece};
use crate::clock;

/// What a node says it is.
pub(crate) const AGENT: &str = concat!("potluck/", env!("CARGO_PKG_VERSION"));
/// How often a connection is asked whether it is alive, and how long it may take to answer: together less than the ten
/// seconds after which a dead peer is gone.
const PING_INTERVAL: Duration = Duration::from_secs(4);
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the LAN is asked for peers: a tracker that starts later is found within this time.
const MDNS_QUERY_INTERVAL: Duration = Duration::from_secs(20);

/// What a node speaks. Limits come first: a connection that they refuse costs nothing behind them.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    /// How many connections there may be.
    limits: connection_limits::Behaviour,
    /// How many from one address and one network.
    pub(crate) host_limits: host_limits::Behaviour,
    /// What the peers are, and tells them what we are.
    pub(crate) identify: identify::Behaviour,
    /// Finds connections that died without a word.
    ping: ping::Behaviour,
    /// Peers and trackers on the LAN, unless the user does not want it.
    mdns: Toggle<mdns::tokio::Behaviour>,
    /// Registration at trackers, as libp2p defines it.
    pub(crate) rendezvous: rendezvous::client::Behaviour,
    /// Search and browse, both ways; publishing to trackers.
    pub(crate) index: Gate<IndexBehaviour>,
    /// Bytes of files, both ways.
    pub(crate) piece: Gate<piece::Behaviour>,
    /// Membership: all that a node of a private swarm speaks to who is not admitted.
    pub(crate) admit: AdmitBehaviour,
}

impl Behaviour {
    pub(crate) fn new(
        key: &Keypair,
        mdns: bool,
        buffers: BufferPool,
        doorkeeper: &Doorkeeper,
        guard: &Guard,
        handshakes: &Handshakes,
    ) -> Self {
        let host_limits = HostLimits::new(&guard.limits.net, false);
        Self {
            limits: connection_limits::Behaviour::new(connection_limits(&guard.limits.net)),
            host_limits: host_limits::Behaviour::new(host_limits, guard.tally.clone(), clock::now, handshakes.clone()),
            identify: identify::Behaviour::new(
                identify::Config::new(IDENTIFY_PROTOCOL.to_owned(), key.public())
                    .with_agent_version(AGENT.to_owned())
                    .with_cache_size(0) // where a peer says it listens is not dialled unasked
                    .with_hide_listen_addrs(doorkeeper.is_guarded()), // members learn them from the tracker
            ),
            ping: ping::Behaviour::new(ping::Config::new().with_interval(PING_INTERVAL).with_timeout(PING_TIMEOUT)),
            mdns: mdns.then(|| mdns_behaviour(key)).flatten().into(),
            rendezvous: rendezvous::client::Behaviour::new(key.clone()),
            index: Gate::new(index_behaviour(), doorkeeper.clone()),
            piece: Gate::new(piece::Behaviour::new(buffers), doorkeeper.clone()),
            admit: admit_behaviour(doorkeeper.is_guarded()),
        }
    }
}

/// Outgoing connections: as many as the node decides to make; handshakes of them at once.
const MAX_OUTGOING: u32 = 512;
const MAX_PENDING_OUTGOING: u32 = 32;

fn connection_limits(limits: &NetLimits) -> ConnectionLimits {
    let most = |limit: u64| Some(u32::try_from(limit).unwrap_or(u32::MAX));
    ConnectionLimits::default()
        .with_max_pending_incoming(most(limits.pending))
        .with_max_pending_outgoing(Some(MAX_PENDING_OUTGOING))
        .with_max_established_incoming(most(limits.connections))
        .with_max_established_outgoing(Some(MAX_OUTGOING))
        .with_max_established_per_peer(most(limits.connections_per_peer))
}

/// `None` where the system refuses multicast: a node works without.
fn mdns_behaviour(key: &Keypair) -> Option<mdns::tokio::Behaviour> {
    let config = mdns::Config { query_interval: MDNS_QUERY_INTERVAL, ..mdns::Config::default() };
    mdns::tokio::Behaviour::new(config, key.public().to_peer_id())
        .inspect_err(|error| tracing::info!(%error, "peers on the LAN cannot be found"))
        .ok()
}
