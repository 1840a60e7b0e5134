//! Which connection a request goes by, and what peers ask.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use libp2p::PeerId;
use libp2p::core::transport::PortUse;
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::behaviour::{ConnectionClosed, ConnectionEstablished};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use potluck_common::buffer::BufferPool;
use potluck_common::codec::Malformed;
use potluck_common::geometry::PIECE_BYTES;
use potluck_common::wire::piece::{MAX_HAVE, Request};

use super::asking::{Call, Debt, Errand};
use super::handler::{Handler, Told};
use super::serving::PieceReply;
use crate::clock::now;
use crate::core::load::{Load, freest};
use crate::net::handle::AskError;

/// A peer asks.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) peer: PeerId,
    /// What, as far as it could be decoded.
    pub(crate) request: Result<Request, Malformed>,
    pub(crate) reply: PieceReply,
}

/// The piece protocol with all peers.
pub(crate) struct Behaviour {
    buffers: BufferPool,
    peers: HashMap<PeerId, Peer>,
    /// Requests on their way to their connections, as many as there are in flight at most, and requests of peers.
    due: VecDeque<ToSwarm<Event, Errand>>,
}

/// A peer that is connected.
#[derive(Default)]
struct Peer {
    /// Whether it keeps streams: a new connection need not learn it again.
    keeps: bool,
    lanes: Vec<Lane>,
}

/// One of its connections.
struct Lane {
    id: ConnectionId,
    load: Arc<Mutex<Load>>,
}

impl Behaviour {
    /// The protocol, with bodies read into buffers of this pool.
    pub(crate) fn new(buffers: BufferPool) -> Self {
        Self { buffers, peers: HashMap::new(), due: VecDeque::new() }
    }

    /// Asks a peer by the connection that will be through with it first. If the connection closes, the reply is dropped.
    pub(crate) fn ask(&mut self, peer: PeerId, call: Call) {
        let bytes = most_bytes(&call.request);
        let chosen = self.peers.get(&peer).and_then(|known| Some((known.keeps, known.choose(bytes)?)));
        let Some((keeps, Lane { id, load })) = chosen else {
            let _ = call.reply.send(Err(AskError::NotConnected)); // whoever asked may have gone
            return;
        };
        let errand = Errand { call, debt: Debt::new(load, bytes), keeps };
        self.due.push_back(ToSwarm::NotifyHandler { peer_id: peer, handler: NotifyHandler::One(*id), event: errand });
    }
}

impl Peer {
    fn choose(&self, bytes: u64) -> Option<&Lane> {
        if let [only] = self.lanes.as_slice() {
            return Some(only);
        }
        let loads: Vec<MutexGuard<'_, Load>> =
            self.lanes.iter().map(|lane| lane.load.lock().unwrap_or_else(PoisonError::into_inner)).collect();
        freest(loads.iter().map(|load| &**load), bytes, now()).and_then(|at| self.lanes.get(at))
    }
}

/// Bytes that an answer may have.
fn most_bytes(request: &Request) -> u64 {
    match request {
        Request::Piece { .. } | Request::Hashes { .. } | Request::Files { .. } => u64::from(PIECE_BYTES),
        Request::Have { .. } => u64::from(MAX_HAVE / 8),
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::new(self.buffers.clone()))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::new(self.buffers.clone()))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished { peer_id, connection_id, .. }) => {
                self.peers.entry(peer_id).or_default().lanes.push(Lane { id: connection_id, load: Arc::default() });
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, remaining_established, .. }) => {
                if remaining_established == 0 {
                    self.peers.remove(&peer_id);
                } else if let Some(peer) = self.peers.get_mut(&peer_id) {
                    peer.lanes.retain(|lane| lane.id != connection_id);
                }
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, _: ConnectionId, told: THandlerOutEvent<Self>) {
        match told {
            Told::Asked { request, reply } => self.due.push_back(ToSwarm::GenerateEvent(Event { peer, request, reply })),
            Told::Keeps => {
                if let Some(known) = self.peers.get_mut(&peer) {
                    known.keeps = true;
                }
            }
        }
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Event, THandlerInEvent<Self>>> {
        self.due.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}
