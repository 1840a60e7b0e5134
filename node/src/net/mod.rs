//! The network shell: the only part of the node that names libp2p's swarm.
//!
//! [`spawn`] starts the task that owns the swarm. Everybody else holds a [`NetHandle`], and learns what happens from
//! [`NetEvent`]s and what peers ask from [`Inbound`].

mod admit;
mod behaviour;
mod event_loop;
mod handle;
mod pending;
mod piece;

pub use handle::{AskError, DialError, Identity, Inbound, IndexReply, NetEvent, NetHandle};
pub use piece::PieceReply;

use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use libp2p::identity::Keypair;
use libp2p::{Multiaddr, Swarm, multiaddr::Protocol};
use potluck_common::buffer::BufferPool;
use potluck_common::conduct::Conduct;
use potluck_common::gate::Doorkeeper;
use potluck_common::limits::Tally;
use potluck_common::transport::{build_swarm, is_taken};
use tokio::sync::mpsc;

use crate::config::{Listen, NODE_PORT};
use crate::core::admission::Admission;
use crate::limits::NodeLimits;
use behaviour::Behaviour;
use event_loop::EventLoop;

/// Events that may wait for their reader.
const EVENT_QUEUE: usize = 256;
/// Requests of peers that may wait to be served; those beyond are told that we are busy.
const INBOUND_QUEUE: usize = 512;

/// The network cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The system refuses.
    #[error("{0}")]
    Transport(#[from] potluck_common::transport::TransportError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {why}; choose another with --listen, for instance /ip4/0.0.0.0/tcp/0 for any free port")]
    Listen {
        /// Which.
        address: Multiaddr,
        /// Why.
        why: String,
    },
}

/// A running network.
pub struct Net {
    /// What can be asked of it. It stops when all clones of the handle are dropped.
    pub handle: NetHandle,
    /// What happens. Whoever reads this must never wait for the network.
    pub events: mpsc::Receiver<NetEvent>,
    /// What peers ask.
    pub inbound: mpsc::Receiver<Inbound>,
}

/// What bounds what peers may cost, and counts whom it stopped.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    /// The limits.
    pub limits: NodeLimits,
    /// How often each stopped somebody.
    pub tally: Tally,
}

/// Starts the network: builds the swarm, listens, and runs it in a task of its own. With an `admission` the swarm is
/// private: nobody is spoken to, or told of, before it is admitted.
///
/// # Errors
/// When the system refuses sockets, or an address that was named cannot be listened on.
pub fn spawn(
    key: Keypair,
    listen: &Listen,
    mdns: bool,
    buffers: BufferPool,
    admission: Option<Admission>,
    guard: &Guard,
) -> Result<Net, NetError> {
    let doorkeeper = if admission.is_some() { Doorkeeper::guarded() } else { Doorkeeper::open_house() };
    let for_gates = doorkeeper.clone();
    let mut swarm = build_swarm(key, |key, handshakes| Behaviour::new(key, mdns, buffers, &for_gates, guard, handshakes))?;
    start_listening(&mut swarm, listen)?;
    let (commands, command_queue) = mpsc::channel(handle::COMMAND_QUEUE);
    let (events, event_queue) = mpsc::channel(EVENT_QUEUE);
    let (inbound, inbound_queue) = mpsc::channel(INBOUND_QUEUE);
    let handle = NetHandle::new(commands, *swarm.local_peer_id());
    let waiting = event_loop::Waiting::default();
    let (tally, seen_at) = (guard.tally.clone(), HashSet::new());
    let conduct = Conduct::new(guard.limits.rates(), tally.clone());
    let event_loop = EventLoop { swarm, commands: command_queue, events, inbound, waiting, doorkeeper, admission, conduct, tally, seen_at };
    tokio::spawn(event_loop.run());
    Ok(Net { handle, events: event_queue, inbound: inbound_queue })
}

fn start_listening(swarm: &mut Swarm<Behaviour>, listen: &Listen) -> Result<(), NetError> {
    match listen {
        Listen::Nowhere => Ok(()),
        Listen::At(addresses) => addresses.iter().try_for_each(|address| listen_on(swarm, address)),
        Listen::Default => {
            // Another node of this machine has the usual port: any free one does.
            listen_everywhere(swarm, NODE_PORT).or_else(|_| listen_everywhere(swarm, 0))
        }
    }
}

/// Listens on all interfaces at a port, TCP and QUIC. IPv6 where the system has it.
fn listen_everywhere(swarm: &mut Swarm<Behaviour>, port: u16) -> Result<(), NetError> {
    let (v4, v6) = (Multiaddr::from(Ipv4Addr::UNSPECIFIED), Multiaddr::from(Ipv6Addr::UNSPECIFIED));
    let tcp = |ip: &Multiaddr| ip.clone().with(Protocol::Tcp(port));
    let quic = |ip: &Multiaddr| ip.clone().with(Protocol::Udp(port)).with(Protocol::QuicV1);
    // All are looked at before the first is listened on: to the system, IPv6 takes IPv4's port as well.
    let optional = [quic(&v4), tcp(&v6), quic(&v6)].map(|address| (is_taken(&address), address));
    listen_on(swarm, &tcp(&v4))?;
    for (_, address) in optional.iter().filter(|(is_taken, _)| !is_taken) {
        if let Err(error) = swarm.listen_on(address.clone()) {
            tracing::debug!(%address, %error, "not listening there");
        }
    }
    Ok(())
}

fn listen_on(swarm: &mut Swarm<Behaviour>, address: &Multiaddr) -> Result<(), NetError> {
    let failed = |error: &dyn std::fmt::Display| NetError::Listen { address: address.clone(), why: error.to_string() };
    if is_taken(address) {
        return Err(failed(&"another program listens there")); // libp2p would share the port, and each get half of the calls
    }
    swarm.listen_on(address.clone()).map(drop).map_err(|error| failed(&error))
}
