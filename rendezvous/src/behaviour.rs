//! What the tracker speaks, composed.

use std::time::Duration;

use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::identity::Keypair;
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{identify, mdns, ping, rendezvous};
use potluck_common::gate::{Doorkeeper, Gate};
use potluck_common::handshakes::Handshakes;
use potluck_common::host_limits::{self, HostLimits};
use potluck_common::limits::Tally;
use potluck_common::transport::{AdmitBehaviour, IndexBehaviour, admit_behaviour, index_behaviour};
use potluck_common::wire::IDENTIFY_PROTOCOL;

use crate::clock;
use crate::config::Config;
use crate::rooms::{Rooms, Seating};

/// How often each connection is pinged; see [`SILENCE`](crate::liveness::SILENCE).
pub const PING_INTERVAL: Duration = Duration::from_secs(3);
/// After two answers that take longer, the connection is closed. The peer was called silent long before.
const PING_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest lease by rendezvous: what a client gets, and therefore asks for, that names none (two hours).
const MAX_TTL: Duration = Duration::from_secs(rendezvous::DEFAULT_TTL);
/// Shortest lease by rendezvous; libp2p's own two hours would keep dead peers as long.
const MIN_TTL: Duration = Duration::from_secs(20);
/// Pages of DISCOVER that are remembered; each may cost 144 KiB with 10,000 registrations.
const MAX_COOKIES: usize = 128;

/// Everything that the tracker speaks.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    /// First, so that a connection over the limit costs nothing else.
    limits: connection_limits::Behaviour,
    /// How many from one address and one network.
    pub(crate) host_limits: host_limits::Behaviour,
    /// Says who we are: a tracker is known by the rendezvous protocol in its list.
    identify: identify::Behaviour,
    /// Finds the peers that are gone without a word.
    ping: ping::Behaviour,
    /// Membership: all that a private tracker speaks to a stranger.
    pub(crate) admit: AdmitBehaviour,
    /// Registration and discovery for any libp2p program; on a private tracker among members that may know of each other.
    rendezvous: Rooms,
    /// Who offers what.
    pub(crate) index: Gate<IndexBehaviour>,
    /// Lets nodes on the same network find us.
    mdns: Toggle<mdns::tokio::Behaviour>,
}

impl Behaviour {
    /// Composes it. Without mDNS when the system refuses it: a tracker is of use without.
    pub(crate) fn new(key: &Keypair, config: &Config, doors: (Doorkeeper, Seating), tally: Tally, handshakes: &Handshakes) -> Self {
        let host_limits = HostLimits::new(&config.limits.net, config.limit_loopback);
        let (doorkeeper, seating) = doors;
        let lease = config.lease;
        let index = config.limits.index;
        let (namespaces, peers) = (whole(index.namespaces_per_peer).saturating_add(1), whole(index.peers_per_namespace));
        let net = &config.limits.net;
        let most = |limit: u64| Some(u32::try_from(limit).unwrap_or(u32::MAX));
        let server = move || {
            rendezvous::server::Behaviour::new(
                rendezvous::server::Config::default()
                    .with_min_ttl(MIN_TTL.min(lease).as_secs())
                    .with_max_ttl(MAX_TTL.as_secs())
                    .with_max_registration_per_peer(namespaces) // at its limit, a peer cannot even renew
                    .with_max_registration_total(peers)
                    .with_max_stored_cookies(MAX_COOKIES),
            )
        };
        Self {
            host_limits: host_limits::Behaviour::new(host_limits, tally, clock::now, handshakes.clone()),
            limits: connection_limits::Behaviour::new(
                ConnectionLimits::default()
                    .with_max_pending_incoming(most(net.pending))
                    .with_max_established_incoming(most(net.connections))
                    .with_max_established_per_peer(most(net.connections_per_peer)),
            ),
            identify: identify::Behaviour::new(
                identify::Config::new(IDENTIFY_PROTOCOL.to_owned(), key.public())
                    .with_agent_version(concat!("potluck-tracker/", env!("CARGO_PKG_VERSION")).to_owned())
                    .with_hide_listen_addrs(true), // who is connected knows one already; the others may be private
            ),
            ping: ping::Behaviour::new(ping::Config::new().with_interval(PING_INTERVAL).with_timeout(PING_TIMEOUT)),
            admit: admit_behaviour(doorkeeper.is_guarded()),
            rendezvous: Rooms::new(seating, server),
            index: Gate::new(index_behaviour(), doorkeeper),
            mdns: Toggle::from(config.mdns.then(|| start_mdns(key)).flatten()),
        }
    }
}

/// A limit as a length.
fn whole(limit: u64) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

fn start_mdns(key: &Keypair) -> Option<mdns::tokio::Behaviour> {
    mdns::tokio::Behaviour::new(mdns::Config::default(), key.public().to_peer_id())
        .inspect_err(|error| tracing::warn!("nodes on this network cannot find the tracker by themselves: mDNS does not work: {error}"))
        .ok()
}
