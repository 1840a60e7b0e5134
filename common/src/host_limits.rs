//! How many connections may come from one address and from one network: identities are free, addresses are not.
//!
//! Connections are counted from the first byte of their handshake to their end, so that the same number bounds the
//! handshakes of one address. What the own machine does is not limited unless told so.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::task::{Context, Poll};

use libp2p::PeerId;
use libp2p::core::transport::PortUse;
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::{
    ConnectionClosed, ConnectionDenied, ConnectionId, FromSwarm, ListenFailure, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm, dummy,
};

use crate::transport::ip_of;

/// Connections that may come from one address, IPv6 by its first 64 bits: the nodes of a household or an office behind
/// one router, each with TCP and QUIC.
pub const MAX_PER_ADDRESS: u32 = 64;
/// Connections that may come from one network: the first 24 bits of IPv4, 48 of IPv6.
pub const MAX_PER_NETWORK: u32 = 256;

/// Most connections by where they come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostLimits {
    /// From one address.
    pub per_address: u32,
    /// From one network.
    pub per_network: u32,
    /// Whether connections from this machine count too.
    pub loopback_too: bool,
}

impl Default for HostLimits {
    fn default() -> Self {
        Self { per_address: MAX_PER_ADDRESS, per_network: MAX_PER_NETWORK, loopback_too: false }
    }
}

/// There are as many connections from there as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many connections from {0}")]
pub struct TooMany(IpAddr);

/// Refuses connections over the limits.
#[derive(Debug)]
pub struct Behaviour {
    limits: HostLimits,
    /// Where each counted connection comes from.
    connections: HashMap<ConnectionId, IpAddr>,
    addresses: HashMap<IpAddr, u32>,
    networks: HashMap<IpAddr, u32>,
}

impl Behaviour {
    /// Counts by these limits.
    #[must_use]
    pub fn new(limits: HostLimits) -> Self {
        Self { limits, connections: HashMap::new(), addresses: HashMap::new(), networks: HashMap::new() }
    }

    fn handle_come(&mut self, connection: ConnectionId, ip: IpAddr) -> Result<(), TooMany> {
        if ip.to_canonical().is_loopback() && !self.limits.loopback_too {
            return Ok(());
        }
        let (address, network) = (subscriber(ip), network(ip));
        let count = |counts: &HashMap<IpAddr, u32>, key| counts.get(&key).copied().unwrap_or(0);
        if count(&self.addresses, address) >= self.limits.per_address {
            return Err(TooMany(address));
        }
        if count(&self.networks, network) >= self.limits.per_network {
            return Err(TooMany(network));
        }
        if self.connections.insert(connection, ip).is_none() {
            *self.addresses.entry(address).or_default() += 1;
            *self.networks.entry(network).or_default() += 1;
        }
        Ok(())
    }

    fn handle_gone(&mut self, connection: ConnectionId) {
        if let Some(ip) = self.connections.remove(&connection) {
            leave(&mut self.addresses, subscriber(ip));
            leave(&mut self.networks, network(ip));
        }
    }
}

fn leave(counts: &mut HashMap<IpAddr, u32>, key: IpAddr) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}

/// The part of an address that its owner cannot choose: all of IPv4, the first half of IPv6.
#[must_use]
pub fn subscriber(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) >> 64 << 64).into(),
    }
}

fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => Ipv4Addr::from(u32::from(ip) >> 8 << 8).into(),
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) >> 80 << 80).into(),
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = std::convert::Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        let Some(ip) = ip_of(remote) else { return Ok(()) };
        self.handle_come(connection, ip).map_err(|error| {
            tracing::debug!("event=too_many_connections ip={ip}");
            ConnectionDenied::new(error)
        })
    }

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. })
            | FromSwarm::ListenFailure(ListenFailure { connection_id, .. }) => self.handle_gone(connection_id),
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn come(behaviour: &mut Behaviour, number: usize, ip: &str) -> Result<(), TooMany> {
        behaviour.handle_come(ConnectionId::new_unchecked(number), ip.parse().unwrap())
    }

    /// G015, G053: at the limit it is let in, one more and it is not, others are, and who leaves makes room.
    #[test]
    fn one_address_has_so_many_connections_and_no_more() {
        let mut behaviour = Behaviour::new(HostLimits::default());
        for number in 0..MAX_PER_ADDRESS as usize {
            assert_eq!(come(&mut behaviour, number, "203.0.113.5"), Ok(()), "connection {number}");
        }
        assert!(come(&mut behaviour, 1000, "203.0.113.5").is_err());
        assert!(come(&mut behaviour, 1000, "::ffff:203.0.113.5").is_err(), "the same in IPv6's clothes");
        assert_eq!(come(&mut behaviour, 1001, "203.0.113.6"), Ok(()));
        behaviour.handle_gone(ConnectionId::new_unchecked(7));
        behaviour.handle_gone(ConnectionId::new_unchecked(7));
        assert_eq!(come(&mut behaviour, 1002, "203.0.113.5"), Ok(()));
        assert!(come(&mut behaviour, 1003, "203.0.113.5").is_err());
    }

    #[test]
    fn one_network_has_so_many_connections_whatever_their_addresses() {
        let mut behaviour = Behaviour::new(HostLimits::default());
        for number in 0..MAX_PER_NETWORK as usize {
            assert_eq!(come(&mut behaviour, number, &format!("203.0.113.{}", number % 256)), Ok(()), "connection {number}");
        }
        assert!(come(&mut behaviour, 1000, "203.0.113.99").is_err());
        assert_eq!(come(&mut behaviour, 1001, "203.0.114.99"), Ok(()));
        for number in 0..MAX_PER_NETWORK as usize {
            assert_eq!(come(&mut behaviour, 2000 + number, &format!("2001:db8:7:{number:x}::1")), Ok(()), "connection {number}");
        }
        assert!(come(&mut behaviour, 3000, "2001:db8:7:ffff::1").is_err());
        assert_eq!(come(&mut behaviour, 3001, "2001:db8:8::1"), Ok(()));
    }

    #[test]
    fn what_has_gone_leaves_nothing_behind() {
        let mut behaviour = Behaviour::new(HostLimits::default());
        for number in 0..50 {
            come(&mut behaviour, number, &format!("2001:db8::{number}:1")).unwrap();
        }
        (0..50).for_each(|number| behaviour.handle_gone(ConnectionId::new_unchecked(number)));
        assert!(behaviour.connections.is_empty() && behaviour.addresses.is_empty() && behaviour.networks.is_empty());
    }

    #[test]
    fn the_own_machine_is_limited_only_if_told_so() {
        let mut free = Behaviour::new(HostLimits { per_address: 1, ..HostLimits::default() });
        assert!((0..100).all(|number| come(&mut free, number, "127.0.0.1").is_ok()));
        let mut strict = Behaviour::new(HostLimits { per_address: 1, loopback_too: true, ..HostLimits::default() });
        assert_eq!(come(&mut strict, 0, "127.0.0.1"), Ok(()));
        assert!(come(&mut strict, 1, "127.0.0.1").is_err());
    }
}
