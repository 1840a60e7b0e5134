//! [`Stranger`]: a libp2p program on libp2p's own transport that throws bytes at a tracker or a node, and that uses the
//! rendezvous protocol as any other libp2p program would.

use std::time::Duration;

use futures::StreamExt;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::request_response::{Event, Message};
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, PeerId, Swarm, rendezvous};
use potluck_common::codec::PieceAnswer;
use potluck_common::invitation::Invitation;
use potluck_common::transport::split_peer;
use potluck_common::wire::{Text, admit, index};
use tokio::runtime::Runtime;

use crate::clock::PATIENCE;
use crate::failure::{Failure, Result};
use crate::raw::{Behaviour, BehaviourEvent, Said, swarm};

/// How long an endless request goes on when the other side has stopped to read it.
const STUCK: Duration = Duration::from_secs(5);
const NOT_WITHIN: &str = "not within";

/// A program that is connected to one other, and only runs while one of its methods does.
pub struct Stranger {
    runtime: Runtime,
    swarm: Swarm<Behaviour>,
    other: PeerId,
}

/// How a protocol of ours is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// `/potluck/index/1`.
    Index,
    /// `/potluck/piece/1`.
    Piece,
}

/// What came back.
#[derive(Debug)]
pub enum Reply {
    /// An answer of the index protocol.
    Index(index::Answer),
    /// An answer of the piece protocol.
    Piece(PieceAnswer),
    /// No answer: the stream was reset, or the connection closed.
    Closed(String),
}

impl Stranger {
    /// Connects to an address that ends in a PeerId.
    ///
    /// # Errors
    /// When nobody answers there, or somebody else.
    pub fn connect(address: &str) -> Result<Self> {
        Self::connect_as(&Keypair::generate_ed25519(), address)
    }

    /// The same with this identity.
    ///
    /// # Errors
    /// When nobody answers there, or somebody else.
    pub fn connect_as(identity: &Keypair, address: &str) -> Result<Self> {
        Self::connect_with(identity, identity, address)
    }

    /// The same, but what it registers by rendezvous is a record that somebody else has signed.
    ///
    /// # Errors
    /// When nobody answers there, or somebody else.
    pub fn connect_with_record_of(somebody_else: &Keypair, address: &str) -> Result<Self> {
        Self::connect_with(&Keypair::generate_ed25519(), somebody_else, address)
    }

    /// Joins a private tracker by an invitation, and connects anew as the member that it is then.
    ///
    /// # Errors
    /// When the invitation is none, or the tracker does not take it.
    pub fn join(invitation: &str, address: &str) -> Result<Self> {
        let identity = Keypair::generate_ed25519();
        let mut stranger = Self::connect_as(&identity, address)?;
        let invitation: Invitation = invitation.parse()?;
        let join = admit::Join { secret: invitation.secret, nickname: Text::truncated("a stranger") };
        let other = stranger.other;
        stranger.swarm.behaviour_mut().admit.send_request(&other, Ok(admit::Request::Join(join)));
        stranger.until("a welcome", PATIENCE, |event| match event {
            SwarmEvent::Behaviour(BehaviourEvent::Admit(Event::Message { message: Message::Response { response, .. }, .. })) => {
                let is_welcome = matches!(response, admit::Answer::Welcome(_));
                Some(if is_welcome { Ok(()) } else { Err(Failure::new(format!("not admitted: {response:?}"))) })
            }
            SwarmEvent::Behaviour(BehaviourEvent::Admit(Event::OutboundFailure { error, .. })) => Some(Err(error.into())),
            _ => None,
        })??;
        drop(stranger);
        Self::connect_as(&identity, address)
    }

    fn connect_with(identity: &Keypair, record_of: &Keypair, address: &str) -> Result<Self> {
        let address: Multiaddr = address.parse()?;
        let (_, other) = split_peer(address.clone());
        let other = other.ok_or_else(|| Failure::new("the address names no peer"))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let swarm = {
            let _inside = runtime.enter(); // libp2p spawns the tasks of a connection where it is dialled
            let mut swarm = swarm(identity, "", record_of)?;
            swarm.dial(address)?;
            swarm
        };
        let mut this = Self { runtime, swarm, other };
        this.until("a connection", PATIENCE, |event| match event {
            SwarmEvent::ConnectionEstablished { .. } => Some(Ok(())),
            SwarmEvent::OutgoingConnectionError { error, .. } => Some(Err(Failure::new(error.to_string()))),
            _ => None,
        })??;
        Ok(this)
    }

    /// Its PeerId.
    #[must_use]
    pub fn peer_id(&self) -> String {
        self.swarm.local_peer_id().to_string()
    }

    /// Sends these bytes as a request, and waits for what comes back.
    ///
    /// # Errors
    /// When neither an answer nor an end comes.
    pub fn say(&mut self, door: Door, bytes: &[u8]) -> Result<Reply> {
        self.send(door, &Said::Bytes(bytes.to_vec()), PATIENCE)
    }

    /// Sends these bytes as the beginning of a request that never ends. The other side may close the stream, or answer and
    /// no longer read: then we are stuck with a full window, which is told as [`Reply::Closed`] after some seconds.
    ///
    /// # Errors
    /// When the bytes cannot be sent at all.
    pub fn say_without_end(&mut self, door: Door, bytes: &[u8]) -> Result<Reply> {
        match self.send(door, &Said::Endless(bytes.to_vec()), STUCK) {
            Err(failure) if failure.message().starts_with(NOT_WITHIN) => Ok(Reply::Closed("it reads no more".to_owned())),
            other => other,
        }
    }

    /// Sends these bytes as a request so many times at once, and reads what comes back until `enough` replies are there. Then
    /// it reads nothing more, as long as no other method runs: what was not read stays with the other side. Returns how many
    /// replies were answers and no ends of streams.
    ///
    /// # Errors
    /// When so many replies do not come.
    pub fn flood(&mut self, door: Door, bytes: &[u8], times: usize, enough: usize) -> Result<usize> {
        let (other, behaviour) = (self.other, self.swarm.behaviour_mut());
        for _ in 0..times {
            match door {
                Door::Index => drop(behaviour.index.send_request(&other, Said::Bytes(bytes.to_vec()))),
                Door::Piece => drop(behaviour.piece.send_request(&other, Said::Bytes(bytes.to_vec()))),
            }
        }
        let (mut answers, mut replies) = (0, 0);
        self.until("replies to a flood", PATIENCE, |event| {
            match event {
                SwarmEvent::Behaviour(BehaviourEvent::Index(Event::Message { message: Message::Response { .. }, .. }))
                | SwarmEvent::Behaviour(BehaviourEvent::Piece(Event::Message { message: Message::Response { .. }, .. })) => {
                    (answers, replies) = (answers + 1, replies + 1);
                }
                SwarmEvent::Behaviour(BehaviourEvent::Index(Event::OutboundFailure { .. }))
                | SwarmEvent::Behaviour(BehaviourEvent::Piece(Event::OutboundFailure { .. })) => replies += 1,
                _ => {}
            }
            (replies >= enough).then_some(answers)
        })
    }

    fn send(&mut self, door: Door, said: &Said<()>, limit: Duration) -> Result<Reply> {
        let (other, behaviour) = (self.other, self.swarm.behaviour_mut());
        match door {
            Door::Index => behaviour.index.send_request(&other, retype(said)),
            Door::Piece => behaviour.piece.send_request(&other, retype(said)),
        };
        self.until("a reply", limit, |event| match event {
            SwarmEvent::Behaviour(BehaviourEvent::Index(event)) => match event {
                Event::Message { message: Message::Response { response: Said::Plain(answer), .. }, .. } => Some(Reply::Index(answer)),
                Event::OutboundFailure { error, .. } => Some(Reply::Closed(error.to_string())),
                _ => None,
            },
            SwarmEvent::Behaviour(BehaviourEvent::Piece(event)) => match event {
                Event::Message { message: Message::Response { response: Said::Plain(answer), .. }, .. } => Some(Reply::Piece(answer)),
                Event::OutboundFailure { error, .. } => Some(Reply::Closed(error.to_string())),
                _ => None,
            },
            _ => None,
        })
    }

    /// Registers in a namespace with an address of its own, as a stock libp2p rendezvous client does.
    ///
    /// # Errors
    /// When the tracker refuses.
    pub fn register(&mut self, namespace: &str) -> Result {
        self.register_at(namespace, &["/ip4/127.0.0.1/tcp/4001"])
    }

    /// The same with these addresses and no others.
    ///
    /// # Errors
    /// When the tracker refuses.
    pub fn register_at(&mut self, namespace: &str, addresses: &[&str]) -> Result {
        let before: Vec<Multiaddr> = self.swarm.external_addresses().cloned().collect();
        before.iter().for_each(|address| self.swarm.remove_external_address(address));
        for address in addresses {
            self.swarm.add_external_address(address.parse::<Multiaddr>()?.with(Protocol::P2p(*self.swarm.local_peer_id())));
        }
        let namespace = rendezvous::Namespace::new(namespace.to_owned())?;
        let other = self.other;
        self.swarm.behaviour_mut().rendezvous.register(namespace, other, None)?;
        self.until("a registration", PATIENCE, |event| match event {
            SwarmEvent::Behaviour(BehaviourEvent::Rendezvous(rendezvous::client::Event::Registered { .. })) => Some(Ok(())),
            SwarmEvent::Behaviour(BehaviourEvent::Rendezvous(rendezvous::client::Event::RegisterFailed { error, .. })) => {
                Some(Err(Failure::new(format!("the registration was refused: {error:?}"))))
            }
            _ => None,
        })?
    }

    /// Leaves a namespace. The protocol has no answer to that.
    ///
    /// # Errors
    /// When the namespace is none.
    pub fn unregister(&mut self, namespace: &str) -> Result {
        let namespace = rendezvous::Namespace::new(namespace.to_owned())?;
        let other = self.other;
        self.swarm.behaviour_mut().rendezvous.unregister(namespace, other);
        Ok(())
    }

    /// The PeerIds that are registered in a namespace.
    ///
    /// # Errors
    /// When the tracker refuses.
    pub fn discover(&mut self, namespace: &str) -> Result<Vec<String>> {
        self.discover_in(Some(rendezvous::Namespace::new(namespace.to_owned())?))
    }

    /// The PeerIds that are registered in any namespace.
    ///
    /// # Errors
    /// When the tracker refuses.
    pub fn discover_all(&mut self) -> Result<Vec<String>> {
        self.discover_in(None)
    }

    fn discover_in(&mut self, namespace: Option<rendezvous::Namespace>) -> Result<Vec<String>> {
        let other = self.other;
        self.swarm.behaviour_mut().rendezvous.discover(namespace, None, None, other);
        self.until("a discovery", PATIENCE, |event| match event {
            SwarmEvent::Behaviour(BehaviourEvent::Rendezvous(rendezvous::client::Event::Discovered { registrations, .. })) => {
                Some(Ok(registrations.iter().map(|found| found.record.peer_id().to_string()).collect()))
            }
            SwarmEvent::Behaviour(BehaviourEvent::Rendezvous(rendezvous::client::Event::DiscoverFailed { error, .. })) => {
                Some(Err(Failure::new(format!("the discovery was refused: {error:?}"))))
            }
            _ => None,
        })?
    }

    /// Asks a tracker so many times for all registrations in a namespace, each time with the cookie that the last answer brought: each answer
    /// costs the tracker another cookie. Returns how many were answered.
    ///
    /// # Errors
    /// When the tracker does not answer at all.
    pub fn replay_cookies(&mut self, namespace: &str, times: usize) -> Result<usize> {
        let namespace = rendezvous::Namespace::new(namespace.to_owned())?;
        let other = self.other;
        let (mut cookie, mut answered) = (None, 0);
        for _ in 0..times {
            self.swarm.behaviour_mut().rendezvous.discover(Some(namespace.clone()), cookie.clone(), None, other);
            let answer = self.until("a discovery", PATIENCE, |event| match event {
                SwarmEvent::Behaviour(BehaviourEvent::Rendezvous(rendezvous::client::Event::Discovered { cookie, .. })) => {
                    Some(Some(cookie))
                }
                SwarmEvent::Behaviour(BehaviourEvent::Rendezvous(rendezvous::client::Event::DiscoverFailed { .. })) => Some(None),
                _ => None,
            })?;
            answered += usize::from(answer.is_some());
            cookie = answer.or(cookie);
        }
        Ok(answered)
    }

    /// Runs until an event is what was waited for.
    fn until<T>(&mut self, what: &str, limit: Duration, mut pick: impl FnMut(SwarmEvent<BehaviourEvent>) -> Option<T>) -> Result<T> {
        let Self { runtime, swarm, .. } = self;
        runtime.block_on(async {
            let picked = async {
                loop {
                    if let Some(found) = pick(swarm.select_next_some().await) {
                        return found;
                    }
                }
            };
            let found = tokio::time::timeout(limit, picked).await;
            found.map_err(|_| Failure::new(format!("{NOT_WITHIN} {limit:?}: {what}")))
        })
    }
}

/// Raw bytes are of every type.
fn retype<T>(said: &Said<()>) -> Said<T> {
    match said {
        Said::Endless(bytes) => Said::Endless(bytes.clone()),
        Said::Drip(bytes) => Said::Drip(bytes.clone()),
        Said::Bytes(bytes) => Said::Bytes(bytes.clone()),
        Said::Plain(()) => Said::Bytes(Vec::new()),
    }
}
