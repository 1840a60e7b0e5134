//! The manual of the network: what can be asked of it, from any task.

use std::time::Duration;

use libp2p::request_response::ResponseChannel;
use libp2p::{Multiaddr, PeerId};
use potluck_common::codec::{Malformed, Meter, PieceAnswer};
use potluck_common::namespace::Namespace;
use potluck_common::wire::{admit, index, piece};
use tokio::sync::{mpsc, oneshot};

use super::piece::PieceReply;
use crate::core::admission::Renewal;

/// Commands that may wait for the event loop: a window of requests for each of a few dozen tasks.
pub(crate) const COMMAND_QUEUE: usize = 512;

/// Where a request goes and its answer comes back. Cloning shares the network.
#[derive(Clone, Debug)]
pub struct NetHandle {
    commands: mpsc::Sender<Command>,
    me: PeerId,
}

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// There is no connection to the peer.
    #[error("not connected")]
    NotConnected,
    /// The connection closed, or the peer was silent for too long.
    #[error("the connection was lost")]
    Lost,
    /// The peer does not speak the protocol.
    #[error("the peer does not speak this protocol")]
    Unsupported,
    /// The answer broke the protocol's rules.
    #[error("the peer broke the protocol: {0}")]
    Broken(String),
    /// Too many requests to this peer wait for their turn.
    #[error("too many requests to this peer wait")]
    Busy,
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
}

/// Why a dial failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// Somebody else answered.
    #[error("another peer answered there: {obtained}")]
    WrongPeer {
        /// Who.
        obtained: PeerId,
    },
    /// The address is our own.
    #[error("that is this node itself")]
    Myself,
    /// It is in a private swarm that we are not a member of, or no member of ours.
    #[error("it does not belong to the same private swarm as this node")]
    NotAdmitted,
    /// Nobody answered.
    #[error("nobody answered: {0}")]
    NoAnswer(String),
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
}

/// Where the answer to an index request goes. Dropping it ends the request without an answer.
#[derive(Debug)]
pub struct IndexReply(pub(super) ResponseChannel<index::Answer>);

/// What a peer asks of us.
#[derive(Debug)]
pub enum Inbound {
    /// Of the index protocol.
    Index {
        /// Who asks.
        peer: PeerId,
        /// What, as far as it could be decoded.
        request: Result<index::Request, Malformed>,
        /// Where the answer goes.
        reply: IndexReply,
    },
    /// Of the piece protocol.
    Piece {
        /// Who asks.
        peer: PeerId,
        /// What, as far as it could be decoded.
        request: Result<piece::Request, Malformed>,
        /// Where the answer goes.
        reply: PieceReply,
    },
}

/// What happens on the network.
#[derive(Clone, Debug)]
pub enum NetEvent {
    /// We can be reached at an address.
    Listening(Multiaddr),
    /// An address is no longer ours.
    NotListening(Multiaddr),
    /// The first connection to a peer is there, from or at that address.
    Connected(PeerId, Multiaddr),
    /// The last connection to a peer is gone.
    Disconnected(PeerId),
    /// A peer has said what it is.
    Identified(PeerId, Box<Identity>),
    /// There are so many connections to a peer, which has one at least.
    Connections(PeerId, u32),
    /// The first connection to a peer is one that we began so long ago. Comes after [`NetEvent::Connected`].
    Dialled(PeerId, Duration),
    /// A message to a peer and back took so long.
    RoundTrip(PeerId, Duration),
    /// A peer is on the LAN.
    Found(PeerId, Multiaddr),
    /// A tracker has our peer record.
    Registered(PeerId),
    /// A tracker renewed our membership, or told whose is void.
    Renewed(Box<Renewal>),
    /// A tracker refuses our peer record.
    RegisterFailed(PeerId, String),
}

/// What a peer says it is. Nothing of it is proven but the PeerId.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its program and version.
    pub agent: String,
    /// Whether it speaks the rendezvous protocol as a server.
    pub is_tracker: bool,
    /// Whether it is in a private swarm, and does not have us as a member: it offers us nothing but admission.
    pub is_closed: bool,
    /// Where it says it listens.
    pub addresses: Vec<Multiaddr>,
}

/// What the handle sends to the event loop.
#[derive(Debug)]
pub(super) enum Command {
    AskIndex { peer: PeerId, request: Box<index::Request>, reply: oneshot::Sender<Result<index::Answer, AskError>> },
    AskPiece { peer: PeerId, request: piece::Request, meter: Meter, reply: oneshot::Sender<Result<PieceAnswer, AskError>> },
    AskAdmit { peer: PeerId, request: admit::Request, reply: oneshot::Sender<Result<admit::Answer, AskError>> },
    AnswerIndex(IndexReply, Box<index::Answer>),
    Connect { peer: Option<PeerId>, addresses: Vec<Multiaddr>, reply: oneshot::Sender<Result<PeerId, DialError>> },
    Widen { peer: PeerId, addresses: Vec<Multiaddr>, more: u32 },
    Disconnect(PeerId),
    Register { tracker: PeerId, namespace: Namespace, ttl_seconds: u64 },
    Unregister { tracker: PeerId, namespace: Namespace },
    Addresses(oneshot::Sender<Vec<Multiaddr>>),
    Connections(oneshot::Sender<Vec<PeerId>>),
}

impl NetHandle {
    pub(super) fn new(commands: mpsc::Sender<Command>, me: PeerId) -> Self {
        Self { commands, me }
    }

    /// Our own PeerId.
    #[must_use]
    pub fn me(&self) -> PeerId {
        self.me
    }

    /// Asks a connected peer or tracker, and waits for the answer, at most 20 s from when it is its turn: a party is asked eight
    /// things at once, others wait in line. Dropping the future forgets the answer.
    ///
    /// # Errors
    /// When there is no connection, it is lost, or the peer breaks the protocol.
    pub async fn ask_index(&self, peer: PeerId, request: index::Request) -> Result<index::Answer, AskError> {
        self.ask(|reply| Command::AskIndex { peer, request: Box::new(request), reply }).await
    }

    /// Asks a connected peer for pieces, and waits for the whole answer, at most 120 s. The meter follows it, and can give
    /// it up, as dropping the future does: nothing more of it is sent then.
    ///
    /// # Errors
    /// When there is no connection, it is lost, or the peer breaks the protocol.
    pub async fn ask_piece(&self, peer: PeerId, request: piece::Request, meter: Meter) -> Result<PieceAnswer, AskError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::AskPiece { peer, request, meter, reply }).await.map_err(|_| AskError::Stopping)?;
        answer.await.unwrap_or(Err(AskError::Lost)) // with its connection
    }

    /// Asks a connected tracker for membership, and waits for the answer, at most 5 s. Dropping the future forgets the
    /// answer.
    ///
    /// # Errors
    /// When there is no connection, it is lost, or the tracker is open to everybody.
    pub async fn ask_admit(&self, peer: PeerId, request: admit::Request) -> Result<admit::Answer, AskError> {
        self.ask(|reply| Command::AskAdmit { peer, request, reply }).await
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<Result<T, AskError>>) -> Command) -> Result<T, AskError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| AskError::Stopping)?;
        answer.await.unwrap_or(Err(AskError::Stopping))
    }

    /// Answers a request of the index protocol.
    pub async fn answer_index(&self, reply: IndexReply, answer: index::Answer) {
        self.send(Command::AnswerIndex(reply, Box::new(answer))).await;
    }

    /// Connects to a peer at the first of these addresses that answers; at once if it is connected already. Without a
    /// PeerId whoever answers is taken. Dropping the future does not end the attempt.
    ///
    /// # Errors
    /// When nobody answers, or somebody else.
    pub async fn connect(&self, peer: Option<PeerId>, addresses: Vec<Multiaddr>) -> Result<PeerId, DialError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Connect { peer, addresses, reply }).await.map_err(|_| DialError::Stopping)?;
        answer.await.unwrap_or(Err(DialError::Stopping))
    }

    /// Opens so many more connections to a connected peer, each at the first of these addresses that answers; requests are
    /// spread over them. Does not wait for them.
    pub async fn widen(&self, peer: PeerId, addresses: Vec<Multiaddr>, more: u32) {
        self.send(Command::Widen { peer, addresses, more }).await;
    }

    /// Closes all connections to a peer.
    pub async fn disconnect(&self, peer: PeerId) {
        self.send(Command::Disconnect(peer)).await;
    }

    /// Sends our peer record to a connected tracker. The outcome comes as an event.
    pub async fn register(&self, tracker: PeerId, namespace: Namespace, ttl_seconds: u64) {
        self.send(Command::Register { tracker, namespace, ttl_seconds }).await;
    }

    /// Takes our peer record back.
    pub async fn unregister(&self, tracker: PeerId, namespace: Namespace) {
        self.send(Command::Unregister { tracker, namespace }).await;
    }

    /// Where we can be reached; none while the node is stopping.
    pub async fn addresses(&self) -> Vec<Multiaddr> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Addresses(reply)).await;
        answer.await.unwrap_or_default()
    }

    /// Whom we are connected to; nobody while the node is stopping.
    pub async fn connections(&self) -> Vec<PeerId> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Connections(reply)).await;
        answer.await.unwrap_or_default()
    }

    /// Sends what needs no answer; a loop that has stopped needs it no more.
    async fn send(&self, command: Command) {
        let _ = self.commands.send(command).await;
    }
}
