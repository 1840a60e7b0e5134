//! How many connections may come from one address and from one network: identities are free, addresses are not.
//!
//! Connections are counted from the first byte of their handshake to their end, so that the same number bounds the
//! handshakes of one address. Handshakes that are not finished are rationed by network besides, and more sternly the fewer are left.
//! When seven of eight are taken, the oldest is ended for whoever comes from a network that has none: who speaks is through in some
//! trips, and who is silent grows old. To be in the way of others, it takes addresses in more than two hundred networks that come
//! again so fast that all of these are replaced within those trips.
//! What the own machine does is not limited unless told so.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use libp2p::PeerId;
use libp2p::connection_limits::Exceeded;
use libp2p::core::transport::PortUse;
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::behaviour::ConnectionEstablished;
use libp2p::swarm::{
    ConnectionClosed, ConnectionDenied, ConnectionId, FromSwarm, ListenError, ListenFailure, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm, dummy,
};

use crate::handshakes::{Ends, Handshakes};
use crate::limits::{NetLimits, Stop, Tally};
use crate::rate::{Allowance, Rate};
use crate::transport::ip_of;

/// Addresses whose connections are timed, and peers that are banned: beyond, all are forgotten and counted anew. Who has that many
/// addresses is not held up by what one of them may do.
const MAX_REMEMBERED: usize = 16_384;

/// Most connections by where they come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostLimits {
    /// From one address.
    pub per_address: u64,
    /// From one network.
    pub per_network: u64,
    /// New ones from one address.
    pub connects: Rate,
    /// Handshakes at once, from wherever.
    pub pending: u64,
    /// How long a peer that was cut off stays out.
    pub ban: Duration,
    /// Whether connections from this machine count too.
    pub loopback_too: bool,
}

impl HostLimits {
    /// The limits as they are set.
    #[must_use]
    pub fn new(limits: &NetLimits, loopback_too: bool) -> Self {
        Self {
            per_address: limits.connections_per_address,
            per_network: limits.connections_per_network,
            connects: limits.connect_rate(),
            pending: limits.pending,
            ban: Duration::from_secs(limits.ban_seconds),
            loopback_too,
        }
    }
}

/// A connection is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotLetIn {
    /// There are as many from there as there may be.
    #[error("too many connections from {0}")]
    TooMany(IpAddr),
    /// Too many from there have not finished their handshakes.
    #[error("too many handshakes at once from the network {0}")]
    TooManyAtOnce(IpAddr),
    /// They come too fast.
    #[error("new connections from {0} come too fast")]
    TooFast(IpAddr),
    /// The peer was cut off a moment ago.
    #[error("{0} is banned")]
    Banned(PeerId),
}

/// Refuses connections over the limits.
#[derive(Debug)]
pub struct Behaviour {
    limits: HostLimits,
    tally: Tally,
    clock: fn() -> Instant,
    handshakes: Handshakes,
    /// Where each counted connection comes from.
    connections: HashMap<ConnectionId, IpAddr>,
    addresses: HashMap<IpAddr, u64>,
    networks: HashMap<IpAddr, u64>,
    /// Those that have not finished their handshakes. Numbers of connections grow: the first is the oldest.
    pending: BTreeMap<ConnectionId, Pending>,
    /// How many these are, by network.
    pending_networks: HashMap<IpAddr, u64>,
    /// New connections by address.
    connects: HashMap<IpAddr, Allowance>,
    /// Peers that were cut off, and until when they stay out.
    banned: HashMap<PeerId, Instant>,
}

/// A connection that has not finished its handshake.
#[derive(Debug)]
struct Pending {
    network: IpAddr,
    ends: Ends,
}

impl Behaviour {
    /// Counts by these limits, and what is refused in `tally`. `clock` tells the time. Of the `handshakes` of the transport below, it ends
    /// those that are in the way of others.
    #[must_use]
    pub fn new(limits: HostLimits, tally: Tally, clock: fn() -> Instant, handshakes: Handshakes) -> Self {
        Self {
            limits,
            tally,
            clock,
            handshakes,
            connections: HashMap::new(),
            addresses: HashMap::new(),
            networks: HashMap::new(),
            pending: BTreeMap::new(),
            pending_networks: HashMap::new(),
            connects: HashMap::new(),
            banned: HashMap::new(),
        }
    }

    /// Keeps a peer out for a while. Closing its connections is for the caller.
    pub fn ban(&mut self, peer: PeerId) {
        let now = (self.clock)();
        if self.banned.len() >= MAX_REMEMBERED {
            self.banned.retain(|_, until| *until > now);
        }
        if self.banned.len() >= MAX_REMEMBERED {
            self.banned.clear();
        }
        self.banned.insert(peer, now + self.limits.ban);
    }

    fn handle_peer(&mut self, peer: PeerId) -> Result<(), NotLetIn> {
        match self.banned.get(&peer) {
            Some(until) if *until > (self.clock)() => {
                self.tally.count(Stop::Banned);
                Err(NotLetIn::Banned(peer))
            }
            Some(_) => {
                self.banned.remove(&peer);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn handle_come(&mut self, connection: ConnectionId, ip: IpAddr, ends: Ends) -> Result<(), NotLetIn> {
        if ip.to_canonical().is_loopback() && !self.limits.loopback_too {
            return Ok(());
        }
        let (address, network) = (subscriber(ip), network(ip));
        let count = |counts: &HashMap<IpAddr, u64>, key| counts.get(&key).copied().unwrap_or(0);
        if count(&self.addresses, address) >= self.limits.per_address {
            self.tally.count(Stop::ConnectionsPerAddress);
            return Err(NotLetIn::TooMany(address));
        }
        if count(&self.networks, network) >= self.limits.per_network {
            self.tally.count(Stop::ConnectionsPerNetwork);
            return Err(NotLetIn::TooMany(network));
        }
        if count(&self.pending_networks, network) >= self.handshakes_a_network() {
            self.tally.count(Stop::Pending);
            return Err(NotLetIn::TooManyAtOnce(network));
        }
        if !self.may_connect(address) {
            self.tally.count(Stop::Connects);
            return Err(NotLetIn::TooFast(address));
        }
        if self.pending.len() as u64 >= self.most_pending() {
            self.end_the_oldest();
        }
        if self.connections.insert(connection, ip).is_none() {
            *self.addresses.entry(address).or_default() += 1;
            *self.networks.entry(network).or_default() += 1;
            self.pending.insert(connection, Pending { network, ends });
            *self.pending_networks.entry(network).or_default() += 1;
        }
        Ok(())
    }

    /// How many handshakes at once a network may have now: of the first half of all an eighth of all, of the next quarter a 32nd; what is
    /// left is for networks that have none.
    fn handshakes_a_network(&self) -> u64 {
        let all = self.limits.pending;
        let free = all.saturating_sub(self.pending.len() as u64);
        let share = if free > all / 2 {
            all / 8
        } else if free > all / 4 {
            all / 32
        } else {
            0
        };
        share.max(u64::from(all > 0))
    }

    /// With so many under way, the oldest ends for a new one. An eighth less than may be: one that was told to end is counted by libp2p until
    /// it has.
    fn most_pending(&self) -> u64 {
        self.limits.pending - self.limits.pending / 8
    }

    fn end_the_oldest(&mut self) {
        let Some((connection, oldest)) = self.pending.pop_first() else { return };
        self.tally.count(Stop::Pending);
        tracing::debug!(address = %oldest.ends.1, "event=handshake_ended: others wait");
        leave(&mut self.pending_networks, oldest.network);
        self.handshakes.end(&oldest.ends);
        self.handle_gone(connection);
    }

    fn handle_established(&mut self, connection: ConnectionId) {
        if let Some(pending) = self.pending.remove(&connection) {
            leave(&mut self.pending_networks, pending.network);
        }
    }

    fn may_connect(&mut self, address: IpAddr) -> bool {
        let now = (self.clock)();
        if self.connects.len() >= MAX_REMEMBERED && !self.connects.contains_key(&address) {
            self.connects.clear();
        }
        self.connects.entry(address).or_insert_with(|| Allowance::new(self.limits.connects, now)).take(now)
    }

    fn handle_gone(&mut self, connection: ConnectionId) {
        self.handle_established(connection);
        if let Some(ip) = self.connections.remove(&connection) {
            leave(&mut self.addresses, subscriber(ip));
            leave(&mut self.networks, network(ip));
        }
    }
}

/// Which of libp2p's own limits an incoming connection met, if it met one. Those that this module refuses are counted here already.
#[must_use]
pub fn stop_of(error: &ListenError) -> Option<Stop> {
    let ListenError::Denied { cause } = error else { return None };
    let exceeded = cause.downcast_ref::<Exceeded>()?.to_string(); // which one, only the text says
    Some(match exceeded {
        text if text.contains("pending") => Stop::Pending,
        text if text.contains("per peer") => Stop::ConnectionsPerPeer,
        _ => Stop::Connections,
    })
}

fn leave(counts: &mut HashMap<IpAddr, u64>, key: IpAddr) {
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
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        let Some(ip) = ip_of(remote) else { return Ok(()) };
        self.handle_come(connection, ip, (local.clone(), remote.clone())).map_err(|error| {
            tracing::debug!("event=not_let_in ip={ip} reason={error}");
            ConnectionDenied::new(error)
        })
    }

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.handle_peer(peer).map_err(ConnectionDenied::new)?;
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
            FromSwarm::ConnectionEstablished(ConnectionEstablished { connection_id, .. }) => self.handle_established(connection_id),
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
    use std::cell::Cell;

    use libp2p::connection_limits::{self, ConnectionLimits};

    use super::*;

    thread_local!(static NOW: Cell<Option<Instant>> = const { Cell::new(None) });

    /// A time that passes when a test says so.
    #[allow(clippy::disallowed_methods)] // an Instant has no other beginning; only differences to it matter
    fn time() -> Instant {
        let now = NOW.get().unwrap_or_else(Instant::now);
        NOW.set(Some(now));
        now
    }

    fn pass(seconds: u64) {
        NOW.set(Some(time() + Duration::from_secs(seconds)));
    }

    fn limits() -> HostLimits {
        HostLimits { connects: Rate::per_second(100_000, 1), ..HostLimits::new(&NetLimits::of_tracker(), false) }
    }

    fn behaviour(limits: HostLimits) -> (Behaviour, Tally) {
        let tally = Tally::default();
        (Behaviour::new(limits, tally.clone(), time, Handshakes::default()), tally)
    }

    fn come(behaviour: &mut Behaviour, number: u64, ip: &str) -> Result<(), NotLetIn> {
        let begun = begin(behaviour, number, ip);
        behaviour.handle_established(ConnectionId::new_unchecked(number as usize));
        begun
    }

    fn begin(behaviour: &mut Behaviour, number: u64, ip: &str) -> Result<(), NotLetIn> {
        let ends = (Multiaddr::empty(), Multiaddr::empty()); // what becomes of them is tested with the handshakes
        behaviour.handle_come(ConnectionId::new_unchecked(number as usize), ip.parse().unwrap(), ends)
    }

    fn counted(tally: &Tally, name: &str) -> u64 {
        tally.counts().iter().find(|(known, _)| *known == name).unwrap().1
    }

    /// G015, G053: at the limit it is let in, one more and it is not, others are, and who leaves makes room.
    #[test]
    fn one_address_has_so_many_connections_and_no_more() {
        let (mut behaviour, tally) = behaviour(limits());
        for number in 0..limits().per_address {
            assert_eq!(come(&mut behaviour, number, "203.0.113.5"), Ok(()), "connection {number}");
        }
        assert_eq!(counted(&tally, "connections_per_address"), 0);
        assert!(come(&mut behaviour, 1000, "203.0.113.5").is_err());
        assert!(come(&mut behaviour, 1000, "::ffff:203.0.113.5").is_err(), "the same in IPv6's clothes");
        assert_eq!(counted(&tally, "connections_per_address"), 2);
        assert_eq!(come(&mut behaviour, 1001, "203.0.113.6"), Ok(()));
        behaviour.handle_gone(ConnectionId::new_unchecked(7));
        behaviour.handle_gone(ConnectionId::new_unchecked(7));
        assert_eq!(come(&mut behaviour, 1002, "203.0.113.5"), Ok(()));
        assert!(come(&mut behaviour, 1003, "203.0.113.5").is_err());
    }

    /// G015, G053.
    #[test]
    fn one_network_has_so_many_connections_whatever_their_addresses() {
        let (mut behaviour, tally) = behaviour(limits());
        let most = limits().per_network;
        for number in 0..most {
            assert_eq!(come(&mut behaviour, number, &format!("203.0.113.{}", number % 256)), Ok(()), "connection {number}");
        }
        assert!(come(&mut behaviour, 1000, "203.0.113.99").is_err());
        assert_eq!(counted(&tally, "connections_per_network"), 1);
        assert_eq!(come(&mut behaviour, 1001, "203.0.114.99"), Ok(()));
        for number in 0..most {
            assert_eq!(come(&mut behaviour, 2000 + number, &format!("2001:db8:7:{number:x}::1")), Ok(()), "connection {number}");
        }
        assert!(come(&mut behaviour, 3000, "2001:db8:7:ffff::1").is_err());
        assert_eq!(come(&mut behaviour, 3001, "2001:db8:8::1"), Ok(()));
    }

    /// G053, G057.
    #[test]
    fn silence_leaves_room_for_handshakes_from_elsewhere() {
        let (mut behaviour, tally) = behaviour(limits());
        let all = limits().pending;
        let fill = |behaviour: &mut Behaviour, network: u64| {
            (0..all).filter(|n| begin(behaviour, network * all + n, &format!("203.0.{network}.{n}")).is_ok()).count() as u64
        };
        let taken: Vec<u64> = (0..44).map(|network| fill(&mut behaviour, network)).collect();
        assert_eq!(taken, [vec![all / 8; 4], vec![all / 32; 8], vec![1; 32]].concat());
        assert_eq!(behaviour.pending.len() as u64, behaviour.most_pending());
        assert_eq!(counted(&tally, "pending"), 44 * all - behaviour.most_pending());
        assert!(begin(&mut behaviour, 1_000_001, "203.0.0.7").is_err(), "not for those who have some already");
        assert_eq!(begin(&mut behaviour, 1_000_002, "198.51.100.1"), Ok(()));
        (0..=1_000_002).for_each(|number| behaviour.handle_established(ConnectionId::new_unchecked(number)));
        assert_eq!(fill(&mut behaviour, 100), all / 8, "whoever is through holds up nobody");
    }

    /// G053, G057: one from each of many networks, and one more.
    #[test]
    fn when_handshakes_are_taken_the_oldest_ends_for_who_comes_from_elsewhere() {
        let (mut behaviour, tally) = behaviour(limits());
        let most = behaviour.most_pending();
        let oldest = |behaviour: &Behaviour| behaviour.pending.first_key_value().map(|(connection, _)| *connection);
        for number in 0..most {
            assert_eq!(begin(&mut behaviour, number, &format!("203.0.{number}.1")), Ok(()));
        }
        assert_eq!((counted(&tally, "pending"), oldest(&behaviour)), (0, Some(ConnectionId::new_unchecked(0))));
        assert_eq!(begin(&mut behaviour, most, "198.51.100.1"), Ok(()));
        assert_eq!((counted(&tally, "pending"), oldest(&behaviour)), (1, Some(ConnectionId::new_unchecked(1))));
        assert_eq!(behaviour.pending.len() as u64, most);
        assert!(begin(&mut behaviour, 1000, "203.0.1.2").is_err(), "who is there already does not push others out");
        assert_eq!(begin(&mut behaviour, 1001, "203.0.0.2"), Ok(()), "and who was pushed out may come again");
        behaviour.handle_gone(ConnectionId::new_unchecked(0)); // libp2p tells of the first a little later
        assert_eq!(behaviour.pending.len() as u64, most);
        assert_eq!(behaviour.addresses.len() as u64, most);
    }

    /// G018, G053.
    #[test]
    fn who_connects_and_leaves_without_end_is_let_in_so_often_and_no_more() {
        let (mut behaviour, tally) = behaviour(HostLimits { connects: Rate::per_second(64, 10), ..limits() });
        let flap = |behaviour: &mut Behaviour| {
            let came = come(behaviour, 1, "203.0.113.5");
            behaviour.handle_gone(ConnectionId::new_unchecked(1));
            came
        };
        assert!((0..64).all(|_| flap(&mut behaviour).is_ok()));
        assert_eq!(flap(&mut behaviour), Err(NotLetIn::TooFast("203.0.113.5".parse().unwrap())));
        assert_eq!(counted(&tally, "connects"), 1);
        assert_eq!(come(&mut behaviour, 2, "198.51.100.1"), Ok(()), "others come in");
        pass(1);
        assert_eq!((0..20).filter(|_| flap(&mut behaviour).is_ok()).count(), 10);
    }

    #[test]
    fn a_banned_peer_stays_out_for_a_while() {
        let (mut behaviour, tally) = behaviour(HostLimits { ban: Duration::from_secs(60), ..limits() });
        let (bad, good) = (PeerId::random(), PeerId::random());
        behaviour.ban(bad);
        assert_eq!(behaviour.handle_peer(bad), Err(NotLetIn::Banned(bad)));
        assert_eq!(behaviour.handle_peer(good), Ok(()));
        pass(59);
        assert!(behaviour.handle_peer(bad).is_err());
        pass(1);
        assert_eq!(behaviour.handle_peer(bad), Ok(()));
        assert_eq!(counted(&tally, "banned"), 2);
    }

    #[test]
    fn what_has_gone_leaves_nothing_behind_and_what_stays_is_bounded() {
        let (mut behaviour, _) = behaviour(limits());
        for number in 0..MAX_REMEMBERED as u64 + 10 {
            let _ = come(&mut behaviour, number, &format!("2001:{:x}:{:x}::1", number >> 16, number & 0xffff));
            behaviour.ban(PeerId::random());
        }
        assert!(behaviour.connects.len() <= MAX_REMEMBERED && behaviour.banned.len() <= MAX_REMEMBERED);
        (0..MAX_REMEMBERED as u64 + 10).for_each(|number| behaviour.handle_gone(ConnectionId::new_unchecked(number as usize)));
        assert!(behaviour.connections.is_empty() && behaviour.addresses.is_empty() && behaviour.networks.is_empty());
        assert!(behaviour.pending.is_empty() && behaviour.pending_networks.is_empty());
    }

    #[test]
    fn the_own_machine_is_limited_only_if_told_so() {
        let (mut free, _) = behaviour(HostLimits { per_address: 1, ..limits() });
        assert!((0..100).all(|number| come(&mut free, number, "127.0.0.1").is_ok()));
        let (mut strict, _) = behaviour(HostLimits { per_address: 1, loopback_too: true, ..limits() });
        assert_eq!(come(&mut strict, 0, "127.0.0.1"), Ok(()));
        assert!(come(&mut strict, 1, "127.0.0.1").is_err());
    }

    /// G053: libp2p's own limits, which it tells as text.
    #[test]
    fn the_limits_of_libp2p_are_told_apart() {
        let none = Multiaddr::empty();
        let denied = |limits: ConnectionLimits| {
            let mut behaviour = connection_limits::Behaviour::new(limits);
            let id = ConnectionId::new_unchecked(1);
            let pending = behaviour.handle_pending_inbound_connection(id, &none, &none);
            let cause =
                pending.and_then(|()| behaviour.handle_established_inbound_connection(id, PeerId::random(), &none, &none).map(drop));
            stop_of(&ListenError::Denied { cause: cause.unwrap_err() })
        };
        let limits = ConnectionLimits::default;
        assert_eq!(denied(limits().with_max_pending_incoming(Some(0))), Some(Stop::Pending));
        assert_eq!(denied(limits().with_max_established_incoming(Some(0))), Some(Stop::Connections));
        assert_eq!(denied(limits().with_max_established_per_peer(Some(0))), Some(Stop::ConnectionsPerPeer));
        assert_eq!(stop_of(&ListenError::Aborted), None);
    }
}
