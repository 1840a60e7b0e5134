//! Which connection a request goes by, and what peers ask.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, MutexGuard};
use std::task::{Context, Poll};
use std::time::Instant;

use futures::task::AtomicWaker;
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
use tokio::sync::mpsc;

use super::asking::{Account, Call, Debt, Errand};
use super::handler::{Handler, Told};
use super::parts::split;
use super::serving::PieceReply;
use super::{MAX_LATE, MAX_WAITING};
use crate::clock::now;
use crate::core::load::{Load, freest, freest_with_room, idle, is_lossy};
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
    /// Peers with requests that wait for room on a connection.
    waiting: BTreeSet<PeerId>,
    /// Woken when there is room.
    waker: Arc<AtomicWaker>,
    /// Parts that let us wait, to be asked for once more.
    late: mpsc::Receiver<(PeerId, Call)>,
    late_sender: mpsc::Sender<(PeerId, Call)>,
    /// Requests on their way to their connections, as many as there are in flight at most, and requests of peers.
    due: VecDeque<ToSwarm<Event, Errand>>,
}

/// A peer that is connected.
#[derive(Default)]
struct Peer {
    /// Whether it keeps streams: a new connection need not learn it again.
    keeps: bool,
    lanes: Vec<Lane>,
    /// Requests that wait for room: those of a window, a piece of which may be several.
    waiting: VecDeque<Call>,
}

/// One of its connections.
struct Lane {
    id: ConnectionId,
    account: Arc<Account>,
}

impl Behaviour {
    /// The protocol, with bodies read into buffers of this pool.
    pub(crate) fn new(buffers: BufferPool) -> Self {
        let (peers, waiting, due) = (HashMap::new(), BTreeSet::new(), VecDeque::new());
        let (late_sender, late) = mpsc::channel(MAX_LATE);
        Self { buffers, peers, waiting, waker: Arc::default(), late, late_sender, due }
    }

    /// Asks a peer by the connection that will be through with it first. If the connection closes, the reply is dropped.
    pub(crate) fn ask(&mut self, peer: PeerId, call: Call) {
        let Some(known) = self.peers.get_mut(&peer) else {
            let _ = call.reply.send(Err(AskError::NotConnected)); // whoever asked may have gone
            return;
        };
        if !known.is_far() {
            let chosen = known.choose(most_bytes(&call.request), freest);
            self.due.extend(chosen.and_then(|lane| known.send(peer, lane, call)));
            return;
        }
        if known.waiting.len() >= MAX_WAITING {
            let _ = call.reply.send(Err(AskError::Lost)); // no window is so large
            return;
        }
        match call.request {
            Request::Piece { content_id, piece } if known.keeps && known.is_losing() != Some(false) => {
                known.waiting.extend(split(peer, call, (content_id, piece), &self.buffers, &self.late_sender));
            }
            _ => known.waiting.push_back(call),
        }
        self.waiting.insert(peer);
    }

    /// Asks once more for what a connection lets us wait for, if there is nothing else to ask for and another has nothing to do. If not,
    /// the reply is dropped.
    fn ask_again(&mut self, peer: PeerId, call: Call) {
        let Some(known) = self.peers.get(&peer).filter(|known| known.waiting.is_empty() && known.is_losing() == Some(true)) else { return };
        let chosen = known.choose(most_bytes(&call.request), idle);
        self.due.extend(chosen.and_then(|lane| known.send(peer, lane, call)));
    }

    /// Sends what waits, as far as there is room.
    fn send_waiting(&mut self) {
        let (peers, due) = (&mut self.peers, &mut self.due);
        self.waiting.retain(|peer| {
            let Some(known) = peers.get_mut(peer) else { return false };
            while let Some(call) = known.waiting.pop_front() {
                if call.reply.is_closed() {
                    continue;
                }
                let Some(lane) = known.choose(most_bytes(&call.request), freest_with_room) else {
                    known.waiting.push_front(call);
                    return true;
                };
                due.extend(known.send(*peer, lane, call));
            }
            false
        });
    }
}

impl Peer {
    /// Whether the path to it is long.
    fn is_far(&self) -> bool {
        self.lanes.iter().any(|lane| lane.account.load().is_far())
    }

    /// Whether packets are lost on the way, as far as it is known.
    fn is_losing(&self) -> Option<bool> {
        is_lossy(self.lanes.iter().filter_map(|lane| lane.account.load().is_losing()))
    }

    fn choose(&self, bytes: u64, by: impl Fn(&[&Load], u64, Instant) -> Option<usize>) -> Option<usize> {
        let loads: Vec<MutexGuard<'_, Load>> = self.lanes.iter().map(|lane| lane.account.load()).collect();
        by(&loads.iter().map(|load| &**load).collect::<Vec<_>>(), bytes, now())
    }

    /// A request on its way to a connection.
    fn send(&self, peer: PeerId, lane: usize, mut call: Call) -> Option<ToSwarm<Event, Errand>> {
        let Lane { id, account } = self.lanes.get(lane)?;
        let _ = call.sent.take().map(|sent| sent.send(()));
        let errand = Errand { debt: Debt::new(account, most_bytes(&call.request)), call, keeps: self.keeps };
        Some(ToSwarm::NotifyHandler { peer_id: peer, handler: NotifyHandler::One(*id), event: errand })
    }
}

/// Bytes that an answer may have.
fn most_bytes(request: &Request) -> u64 {
    match request {
        Request::Piece { .. } | Request::Hashes { .. } | Request::Files { .. } => u64::from(PIECE_BYTES),
        Request::Part { length, .. } => u64::from(*length),
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
                self.peers.entry(peer_id).or_default().lanes.push(Lane { id: connection_id, account: Arc::new(Account::new(&self.waker)) });
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

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Event, THandlerInEvent<Self>>> {
        while let Poll::Ready(Some((peer, call))) = self.late.poll_recv(cx) {
            self.ask_again(peer, call);
        }
        if !self.waiting.is_empty() {
            self.waker.register(cx.waker());
            self.send_waiting();
        }
        self.due.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}
