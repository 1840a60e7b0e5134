//! libp2p's rendezvous server, one for each circle of members: its DISCOVER tells of every namespace and every peer that it
//! knows, so peers that must not know of each other must not share one.
//!
//! Which namespaces there are is told to nobody: a DISCOVER has to name one, on any tracker. Nor is a record kept that names
//! an address at which somebody else may be; since a record is signed, it is taken as a whole or not at all.
//!
//! Members of the same namespaces share a room; a stranger is in none, and the protocol is not offered to it. On an open
//! tracker everybody is in one. Who is in which room is decided when a connection is made: who joins meanwhile connects
//! anew.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use either::Either;
use libp2p::PeerId;
use libp2p::core::transport::PortUse;
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::rendezvous::{ErrorCode, server};
use libp2p::swarm::dummy;
use libp2p::swarm::{
    ConnectionClosed, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use potluck_common::namespace::Namespace;
use potluck_common::transport::ip_of;

use crate::origin::is_its_own;
use crate::sift::{Asked, Sieve};

/// The namespaces that the members of a room have; of the one room of an open tracker, none.
pub(crate) type Circle = BTreeSet<Namespace>;

/// Tells which room a peer is in. Cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct Seating(Option<Arc<Mutex<HashMap<PeerId, Circle>>>>);

/// One rendezvous server a room.
pub(crate) struct Rooms {
    make: Box<dyn Fn() -> server::Behaviour + Send>,
    seating: Seating,
    rooms: HashMap<Circle, server::Behaviour>,
    /// The seat of each connection whose peer is in a room.
    connections: HashMap<ConnectionId, Seat>,
    /// Told of requests that were refused before a server saw them; taken at the next turn.
    refused: VecDeque<server::Event>,
}

/// Where a connection belongs.
struct Seat {
    circle: Circle,
    /// Where it comes from.
    seen_at: Option<IpAddr>,
    /// Its own, as each room numbers its requests by itself, and so that it goes with the connection.
    sieve: Sieve,
}

impl Seating {
    /// One room for everybody.
    pub(crate) fn open() -> Self {
        Self(None)
    }

    /// No room for anybody, until [`seat`](Self::seat) says so.
    pub(crate) fn by_circle() -> Self {
        Self(Some(Arc::default()))
    }

    /// From its next connection on, a peer is in the room of this circle; an empty one is no room.
    pub(crate) fn seat(&self, peer: PeerId, circle: Circle) {
        let Some(seats) = &self.0 else { return };
        let mut seats = seats.lock().unwrap_or_else(PoisonError::into_inner);
        if circle.is_empty() { drop(seats.remove(&peer)) } else { drop(seats.insert(peer, circle)) }
    }

    fn circle_of(&self, peer: &PeerId) -> Option<Circle> {
        match &self.0 {
            None => Some(Circle::new()),
            Some(seats) => seats.lock().unwrap_or_else(PoisonError::into_inner).get(peer).cloned(),
        }
    }
}

impl Rooms {
    pub(crate) fn new(seating: Seating, make: impl Fn() -> server::Behaviour + Send + 'static) -> Self {
        Self { make: Box::new(make), seating, rooms: HashMap::new(), connections: HashMap::new(), refused: VecDeque::new() }
    }

    /// The room for a new connection; `None` for a stranger.
    fn enter(&mut self, connection: ConnectionId, peer: &PeerId, remote: &Multiaddr) -> Option<&mut server::Behaviour> {
        let circle = self.seating.circle_of(peer)?;
        self.connections.insert(connection, Seat { circle: circle.clone(), seen_at: ip_of(remote), sieve: Sieve::default() });
        Some(self.rooms.entry(circle).or_insert_with(&self.make))
    }

    fn room(&mut self, connection: ConnectionId) -> Option<&mut server::Behaviour> {
        self.rooms.get_mut(&self.connections.get(&connection)?.circle)
    }
}

/// Why a request is refused before a server sees it, and what is told of that; `None`: it is not.
fn refusal(peer: PeerId, asked: &Asked, seen_at: Option<IpAddr>) -> Option<(ErrorCode, server::Event)> {
    match asked {
        Asked::DiscoverAll => {
            let error = ErrorCode::InvalidNamespace;
            Some((error, server::Event::DiscoverNotServed { enquirer: peer, error }))
        }
        Asked::Register(namespace, addresses) => {
            let is_its_own = |address| seen_at.is_some_and(|ip| is_its_own(address, ip));
            let error = ErrorCode::NotAuthorized;
            let told = server::Event::PeerNotRegistered { peer, namespace: namespace.clone(), error };
            (!addresses.iter().all(is_its_own)).then_some((error, told))
        }
        Asked::Else => None,
    }
}

impl NetworkBehaviour for Rooms {
    type ConnectionHandler = Either<THandler<server::Behaviour>, dummy::ConnectionHandler>;
    type ToSwarm = server::Event;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        match self.enter(connection, &peer, remote) {
            Some(room) => room.handle_established_inbound_connection(connection, peer, local, remote).map(Either::Left),
            None => Ok(Either::Right(dummy::ConnectionHandler)),
        }
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        match self.enter(connection, &peer, address) {
            Some(room) => room.handle_established_outbound_connection(connection, peer, address, role, port).map(Either::Left),
            None => Ok(Either::Right(dummy::ConnectionHandler)),
        }
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(established) => {
                if let Some(room) = self.room(established.connection_id) {
                    room.on_swarm_event(event);
                }
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. }) => {
                if let Some(room) = self.room(connection_id) {
                    room.on_swarm_event(event);
                }
                self.connections.remove(&connection_id);
            }
            FromSwarm::AddressChange(change) => {
                if let Some(room) = self.room(change.connection_id) {
                    room.on_swarm_event(event);
                }
            }
            other => self.rooms.values_mut().for_each(|room| room.on_swarm_event(other)),
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, event: THandlerOutEvent<Self>) {
        let Either::Left(event) = event; // a handler that does nothing has no events
        let Self { connections, refused, rooms, .. } = self;
        let Some(Seat { circle, seen_at, sieve }) = connections.get_mut(&connection) else { return };
        let served = sieve.sift(event, |asked| {
            let (error, told) = refusal(peer, asked, *seen_at)?;
            refused.push_back(told);
            Some(error)
        });
        if let (Some(event), Some(room)) = (served, rooms.get_mut(circle)) {
            room.on_connection_handler_event(peer, connection, event);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some(event) = self.refused.pop_front() {
            return Poll::Ready(ToSwarm::GenerateEvent(event));
        }
        for room in self.rooms.values_mut() {
            if let Poll::Ready(event) = room.poll(cx) {
                return Poll::Ready(event.map_in(Either::Left));
            }
        }
        Poll::Pending
    }
}
