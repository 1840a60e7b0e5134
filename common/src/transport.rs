//! The one swarm that both programs build: TCP + Noise + yamux for bulk, QUIC beside it for reach.

use std::io;
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::num::NonZeroUsize;
use std::time::Duration;

use futures::future::Either;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{Boxed, Transport};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::request_response::{self as rr, ProtocolSupport};
use libp2p::swarm::NetworkBehaviour;
use libp2p::{Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder, multiaddr::Protocol, noise, quic, tcp};

use crate::codec::CborCodec;
use crate::handshakes::{Breakable, Handshakes};
use crate::muxer::MuxerConfig;
use crate::peer::PeerKey;
use crate::wire::{ADMIT_PROTOCOL, INDEX_PROTOCOL, MAX_ADMIT_MESSAGE_BYTES, admit, index};

/// How long a connection without any stream is kept. libp2p's 10 s would drop a tracker between renewals.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// Events of one connection that may wait for the swarm. The default of 7 makes connections wait for each other.
const CONNECTION_EVENTS: usize = 32;
/// Messages to one connection that may wait for it.
const HANDLER_EVENTS: NonZeroUsize = NonZeroUsize::new(64).unwrap();
/// The whole exchange of an index request: both queues and the page.
const INDEX_TIMEOUT: Duration = Duration::from_secs(20);
/// The whole exchange of admission, which a stranger must not draw out.
const ADMIT_TIMEOUT: Duration = Duration::from_secs(5);
/// Requests of admission in flight on one connection, either way: one, and a deny list or two.
const ADMIT_STREAMS: usize = 4;
/// Index requests in flight on one connection, either way.
pub const INDEX_STREAMS: usize = 16;

/// The index protocol's behaviour.
pub type IndexBehaviour = rr::Behaviour<CborCodec<index::Request, index::Answer>>;
/// The admit protocol's behaviour.
pub type AdmitBehaviour = rr::Behaviour<CborCodec<admit::Request, admit::Answer, MAX_ADMIT_MESSAGE_BYTES>>;

/// The swarm could not be made: the system refuses sockets or keys.
#[derive(Debug, thiserror::Error)]
#[error("the network cannot be used: {0}")]
pub struct TransportError(String);

/// Builds a swarm around a behaviour, which may end the handshakes that it is given. Listens nowhere yet.
///
/// # Errors
/// When the system refuses what a socket or a handshake needs.
pub fn build_swarm<B: NetworkBehaviour>(
    key: Keypair,
    behaviour: impl FnOnce(&Keypair, &Handshakes) -> B,
) -> Result<Swarm<B>, TransportError> {
    let handshakes = Handshakes::default();
    let failed = |error: &dyn std::fmt::Display| TransportError(error.to_string());
    let swarm = SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_other_transport(|key| Ok(Breakable::new(tcp_and_quic(key)?, handshakes.clone())))
        .map_err(|error| failed(&error))?
        .with_dns()
        .map_err(|error| failed(&error))?
        .with_behaviour(|key| behaviour(key, &handshakes))
        .map_err(|error| failed(&error))?
        .with_swarm_config(|config| {
            config
                .with_idle_connection_timeout(IDLE_TIMEOUT)
                .with_per_connection_event_buffer_size(CONNECTION_EVENTS)
                .with_notify_handler_buffer_size(HANDLER_EVENTS)
                .with_substream_upgrade_protocol_override(Version::V1Lazy) // one round trip less a request
        })
        .build();
    Ok(swarm)
}

/// What the two have in common once their handshakes are through.
fn tcp_and_quic(key: &Keypair) -> Result<Boxed<(PeerId, StreamMuxerBox)>, noise::Error> {
    let tcp = tcp::tokio::Transport::new(tcp::Config::new().nodelay(true));
    let tcp = tcp.upgrade(Version::V1Lazy).authenticate(noise::Config::new(key)?).multiplex(MuxerConfig);
    let quic = quic::tokio::Transport::new(quic::Config::new(key));
    let both = tcp.or_transport(quic).map(|either, _| match either {
        Either::Left((peer, muxer)) => (peer, StreamMuxerBox::new(muxer)),
        Either::Right((peer, muxer)) => (peer, StreamMuxerBox::new(muxer)),
    });
    Ok(both.boxed())
}

/// The index protocol as asked for and served by a node.
#[must_use]
pub fn index_behaviour() -> IndexBehaviour {
    let protocol = (StreamProtocol::new(INDEX_PROTOCOL), ProtocolSupport::Full);
    let config = rr::Config::default().with_request_timeout(INDEX_TIMEOUT).with_max_concurrent_streams(INDEX_STREAMS);
    rr::Behaviour::with_codec(CborCodec::default(), [protocol], config)
}

/// The admit protocol. Only who is in a private swarm serves it; whoever wants to join one asks.
#[must_use]
pub fn admit_behaviour(is_served: bool) -> AdmitBehaviour {
    let support = if is_served { ProtocolSupport::Full } else { ProtocolSupport::Outbound };
    let config = rr::Config::default().with_request_timeout(ADMIT_TIMEOUT).with_max_concurrent_streams(ADMIT_STREAMS);
    rr::Behaviour::with_codec(CborCodec::default(), [(StreamProtocol::new(ADMIT_PROTOCOL), support)], config)
}

/// The PeerId as plain bytes, for the modules that know no libp2p.
#[must_use]
pub fn key_of(peer: &PeerId) -> Option<PeerKey> {
    PeerKey::from_bytes(&peer.to_bytes()).ok()
}

/// The PeerId of plain bytes.
#[must_use]
pub fn peer_of(key: &PeerKey) -> Option<PeerId> {
    PeerId::from_bytes(key.as_bytes()).ok()
}

/// Splits a multiaddr into where and who: the PeerId that it ends in, if any.
#[must_use]
pub fn split_peer(mut address: Multiaddr) -> (Multiaddr, Option<PeerId>) {
    match address.pop() {
        Some(Protocol::P2p(peer)) => (address, Some(peer)),
        Some(other) => (address.with(other), None),
        None => (address, None),
    }
}

/// Whether another program listens on the port that an address names.
///
/// To be asked before listening: libp2p shares its ports (`SO_REUSEPORT`), so that two programs would each get some of
/// the connections, and neither an error.
#[must_use]
pub fn is_taken(address: &Multiaddr) -> bool {
    let mut parts = address.iter();
    let ip: IpAddr = match parts.next() {
        Some(Protocol::Ip4(ip)) => ip.into(),
        Some(Protocol::Ip6(ip)) => ip.into(),
        _ => return false,
    };
    let tried = match parts.next() {
        Some(Protocol::Tcp(port)) => TcpListener::bind((ip, port)).map(drop),
        Some(Protocol::Udp(port)) => UdpSocket::bind((ip, port)).map(drop),
        _ => return false,
    };
    tried.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

/// The IP address that a multiaddr begins with, if it begins with one.
#[must_use]
pub fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => Some(ip.into()),
        Some(Protocol::Ip6(ip)) => Some(ip.into()),
        _ => None,
    }
}

/// Whether this machine has an IP address: then a socket can be bound to it.
#[must_use]
pub fn is_own_ip(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

/// Whether an address is on this machine only.
#[must_use]
pub fn is_loopback(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.is_loopback(),
        Some(Protocol::Ip6(ip)) => ip.is_loopback(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_the_addresses_that_it_has() {
        assert!(is_own_ip("127.0.0.1".parse().unwrap()));
        assert!(!is_own_ip("198.51.100.7".parse().unwrap())); // of nobody: RFC 5737
    }

    #[test]
    fn a_port_is_taken_while_another_listens_on_it() {
        let (tcp, udp) = (TcpListener::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let by_tcp: Multiaddr = format!("/ip4/127.0.0.1/tcp/{}", tcp.local_addr().unwrap().port()).parse().unwrap();
        let by_quic: Multiaddr = format!("/ip4/127.0.0.1/udp/{}/quic-v1", udp.local_addr().unwrap().port()).parse().unwrap();
        assert!(is_taken(&by_tcp) && is_taken(&by_quic));
        drop((tcp, udp));
        assert!(!is_taken(&by_tcp) && !is_taken(&by_quic));
        assert!(!is_taken(&"/ip4/127.0.0.1/tcp/0".parse().unwrap()));
    }
}
