//! The task that owns the swarm: routes events and commands, decides nothing.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use futures::StreamExt;
use libp2p::core::upgrade::NegotiationError;
use libp2p::request_response::{self as rr, OutboundFailure, OutboundRequestId};
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{self, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, identify, mdns, ping, rendezvous};
use potluck_common::codec::Malformed;
use potluck_common::conduct::{Conduct, Deed, Verdict};
use potluck_common::gate::Doorkeeper;
use potluck_common::host_limits::stop_of;
use potluck_common::limits::Tally;
use potluck_common::nearness::{Nearness, nearness_of};
use potluck_common::transport::{ip_of, key_of};
use potluck_common::wire::{ADMIT_PROTOCOL, INDEX_PROTOCOL, RENDEZVOUS_PROTOCOL, Refusal, admit, index};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};

use super::behaviour::{Behaviour, BehaviourEvent};
use super::handle::{AskError, Command, DialError, Identity, Inbound, IndexReply, NetEvent};
use super::pending::{Asks, Dials, Turns};
use super::piece::{Call, Event};
use crate::clock::now;
use crate::core::admission::Admission;

/// Most addresses and the longest agent text taken from identify, which a peer fills as it likes.
const MAX_IDENTIFY_ADDRESSES: usize = 16;
const MAX_AGENT_BYTES: usize = 128;
/// Most addresses at which trackers say that they see us: a few trackers, by both families.
const MAX_SEEN_AT: usize = 16;
/// How late an expired certificate may be noticed.
const TICK: Duration = Duration::from_secs(1);

/// The swarm, and who waits for it.
pub(super) struct EventLoop {
    pub(super) swarm: Swarm<Behaviour>,
    pub(super) commands: mpsc::Receiver<Command>,
    /// Few and must not be lost. Who receives them never waits for the network, so waiting for it here ends.
    pub(super) events: mpsc::Sender<NetEvent>,
    /// Many and may be refused.
    pub(super) inbound: mpsc::Sender<Inbound>,
    pub(super) waiting: Waiting,
    /// Who is spoken to by the protocols behind the gates.
    pub(super) doorkeeper: Doorkeeper,
    /// Who is let in; `None`: everybody.
    pub(super) admission: Option<Admission>,
    /// How those behave who ask us.
    pub(super) conduct: Conduct,
    pub(super) tally: Tally,
    /// Where trackers see us.
    pub(super) seen_at: HashSet<IpAddr>,
}

/// An index request, and where its answer goes.
type IndexAsk = (index::Request, oneshot::Sender<Result<index::Answer, AskError>>);

#[derive(Default)]
pub(super) struct Waiting {
    index: Asks<OutboundRequestId, index::Answer>,
    /// Those that are not sent yet.
    index_turns: Turns<IndexAsk>,
    /// Of those whom we want to be admitted by; our hellos wait for nobody.
    pub(super) admit: Asks<OutboundRequestId, admit::Answer>,
    pub(super) dials: Dials,
    /// Peers that are connected and not admitted yet, and where they are.
    pub(super) arriving: HashMap<PeerId, Multiaddr>,
}

impl EventLoop {
    /// Runs until every handle is dropped.
    pub(super) async fn run(mut self) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_event(event).await,
                command = self.commands.recv() => match command {
                    Some(command) => self.on_command(command),
                    None => return,
                },
                _ = tick.tick(), if self.admission.is_some() => self.on_tick(),
            }
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::AskIndex { peer, request, reply } => self.ask_index(peer, *request, reply),
            Command::AskPiece { peer, request, meter, reply } => {
                self.ask_piece(peer, Call { request, meter, reply, sent: None });
            }
            Command::AskAdmit { peer, request, reply } => self.ask_admit(peer, request, reply),
            Command::AnswerIndex(reply, answer) => {
                let _ = self.swarm.behaviour_mut().index.send_response(reply.0, *answer);
            }
            Command::Connect { peer, addresses, reply } => self.connect(peer, addresses, reply),
            Command::Widen { peer, addresses, more } => self.widen(peer, &addresses, more),
            Command::Disconnect(peer) => {
                let _ = self.swarm.disconnect_peer_id(peer);
            }
            Command::Register { tracker, namespace, ttl_seconds } => self.register(tracker, namespace.as_str(), ttl_seconds),
            Command::Unregister { tracker, namespace } => {
                if let Ok(namespace) = rendezvous::Namespace::new(namespace.as_str().to_owned()) {
                    self.swarm.behaviour_mut().rendezvous.unregister(namespace, tracker);
                }
            }
            Command::Addresses(reply) => {
                let _ = reply.send(self.swarm.listeners().cloned().collect());
            }
            Command::Connections(reply) => {
                let _ = reply.send(self.swarm.connected_peers().filter(|peer| self.doorkeeper.is_admitted(peer)).copied().collect());
            }
        }
    }

    /// Whether a peer is connected, and spoken to.
    fn is_admitted(&self, peer: &PeerId) -> bool {
        self.swarm.is_connected(peer) && self.doorkeeper.is_admitted(peer)
    }

    fn ask_index(&mut self, peer: PeerId, request: index::Request, reply: oneshot::Sender<Result<index::Answer, AskError>>) {
        match self.waiting.index_turns.begin(peer, (request, reply)) {
            Ok(turn) => self.send_index(peer, turn),
            Err((_, reply)) => drop(reply.send(Err(AskError::Busy))),
        }
    }

    /// Sends an index request whose turn it is; those that nobody waits for, or nobody can be sent, make room for the next.
    fn send_index(&mut self, peer: PeerId, mut turn: Option<IndexAsk>) {
        while let Some((request, reply)) = turn {
            if !reply.is_closed() && self.is_admitted(&peer) {
                let id = self.swarm.behaviour_mut().index.send_request(&peer, Ok(request));
                self.waiting.index.wait(id, reply);
                return;
            }
            let _ = reply.send(Err(AskError::NotConnected));
            turn = self.waiting.index_turns.end(&peer);
        }
    }

    /// Hands an answer over, and sends the next request that waits for its turn.
    fn settle_index(&mut self, peer: PeerId, id: &OutboundRequestId, answer: Result<index::Answer, AskError>) {
        self.waiting.index.settle(id, answer);
        let next = self.waiting.index_turns.end(&peer);
        self.send_index(peer, next);
    }

    fn ask_piece(&mut self, peer: PeerId, call: Call) {
        if self.is_admitted(&peer) {
            self.swarm.behaviour_mut().piece.ask(peer, call);
        } else {
            let _ = call.reply.send(Err(AskError::NotConnected));
        }
    }

    fn connect(&mut self, peer: Option<PeerId>, addresses: Vec<Multiaddr>, reply: oneshot::Sender<Result<PeerId, DialError>>) {
        let reply = match peer {
            Some(peer) if self.is_admitted(&peer) => {
                let _ = reply.send(Ok(peer));
                return;
            }
            Some(peer) => match self.waiting.dials.join(peer, reply) {
                Some(reply) => reply,
                None => return,
            },
            None => reply,
        };
        // A port of its own for each connection: one that was used a moment ago may still be closing.
        let options = match (peer, addresses.first()) {
            (Some(peer), _) => DialOpts::peer_id(peer)
                .condition(PeerCondition::Always)
                .addresses(addresses) // and no others: what a peer says of itself is not dialled unasked
                .allocate_new_port()
                .build(),
            (None, Some(address)) => DialOpts::unknown_peer_id().address(address.clone()).allocate_new_port().build(),
            (None, None) => {
                let _ = reply.send(Err(DialError::NoAnswer("no address is known".into())));
                return;
            }
        };
        let id = options.connection_id();
        self.waiting.dials.begin(id, peer, reply, now());
        if let Err(error) = self.swarm.dial(options) {
            self.waiting.dials.settle(id, &Err(dial_error(&error)));
        }
    }

    fn widen(&mut self, peer: PeerId, addresses: &[Multiaddr], more: u32) {
        if !self.swarm.is_connected(&peer) {
            return;
        }
        for _ in 0..more {
            let options =
                DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(addresses.to_vec()).allocate_new_port().build();
            if let Err(error) = self.swarm.dial(options) {
                tracing::debug!(%peer, %error, "no further connection is dialled");
            }
        }
    }

    fn register(&mut self, tracker: PeerId, namespace: &str, ttl_seconds: u64) {
        let Ok(namespace) = rendezvous::Namespace::new(namespace.to_owned()) else { return };
        if let Err(error) = self.swarm.behaviour_mut().rendezvous.register(namespace, tracker, Some(ttl_seconds)) {
            tracing::debug!(%tracker, %error, "no peer record was sent");
        }
    }

    async fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour(event).await,
            SwarmEvent::NewListenAddr { address, .. } => {
                self.confirm_addresses();
                self.tell(NetEvent::Listening(address)).await;
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                self.swarm.remove_external_address(&address);
                self.tell(NetEvent::NotListening(address)).await;
            }
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, num_established, endpoint, .. } => {
                let dialled = self.waiting.dials.reached(connection_id, peer_id, now());
                let (address, is_first) = (endpoint.get_remote_address().clone(), num_established.get() == 1);
                self.on_connected(peer_id, address, endpoint.is_dialer(), is_first).await;
                if !self.is_admitted(&peer_id) {
                    return;
                }
                match dialled {
                    Some(took) if is_first => self.tell(NetEvent::Dialled(peer_id, took)).await,
                    _ if !is_first => self.tell(NetEvent::Connections(peer_id, num_established.get())).await,
                    _ => {}
                }
            }
            SwarmEvent::ConnectionClosed { peer_id, num_established: 0, .. } => self.on_disconnected(peer_id).await,
            SwarmEvent::ConnectionClosed { peer_id, num_established, .. } if self.is_admitted(&peer_id) => {
                self.tell(NetEvent::Connections(peer_id, num_established)).await;
            }
            SwarmEvent::IncomingConnectionError { error, .. } => stop_of(&error).into_iter().for_each(|stop| self.tally.count(stop)),
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                self.waiting.dials.settle(connection_id, &Err(dial_error(&error)));
            }
            _ => {}
        }
    }

    /// Rendezvous registers only addresses that are known to be external. On a LAN nobody confirms one, so that those count at once; a
    /// public one counts when a tracker sees us there: with others in it, it does not keep our record.
    fn confirm_addresses(&mut self) {
        let is_beside_us = self.seen_at.iter().any(IpAddr::is_loopback); // a tracker on this machine knows which are ours
        let is_outside = |ip: IpAddr| nearness_of(ip) < Nearness::World || is_beside_us || self.seen_at.contains(&ip.to_canonical());
        let confirmed: Vec<Multiaddr> = self.swarm.listeners().filter(|address| ip_of(address).is_some_and(is_outside)).cloned().collect();
        confirmed.into_iter().for_each(|address| self.swarm.add_external_address(address));
    }

    async fn on_behaviour(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Index(event) => self.on_index(event),
            BehaviourEvent::Piece(event) => self.on_piece(event),
            BehaviourEvent::Admit(event) => self.on_admit(event).await,
            BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. }) => self.on_identified(peer_id, info).await,
            BehaviourEvent::Ping(ping::Event { connection, result: Err(error), .. }) if !matches!(error, ping::Failure::Unsupported) => {
                self.swarm.close_connection(connection);
            }
            BehaviourEvent::Ping(ping::Event { peer, result: Ok(took), .. }) => self.tell(NetEvent::RoundTrip(peer, took)).await,
            BehaviourEvent::Mdns(mdns::Event::Discovered(found)) => {
                for (peer, address) in found {
                    self.tell(NetEvent::Found(peer, address)).await;
                }
            }
            BehaviourEvent::Rendezvous(rendezvous::client::Event::Registered { rendezvous_node, .. }) => {
                self.tell(NetEvent::Registered(rendezvous_node)).await;
            }
            BehaviourEvent::Rendezvous(rendezvous::client::Event::RegisterFailed { rendezvous_node, error, .. }) => {
                self.tell(NetEvent::RegisterFailed(rendezvous_node, format!("{error:?}"))).await;
            }
            _ => {}
        }
    }

    fn on_index(&mut self, event: rr::Event<Result<index::Request, Malformed>, index::Answer>) {
        match event {
            rr::Event::Message { peer, message: rr::Message::Request { request, channel, .. }, .. } => {
                let may_ask = self.may_ask(&peer, deed(&request, Deed::Request));
                match self.inbound.try_reserve() {
                    Ok(place) if may_ask => place.send(Inbound::Index { peer, request, reply: IndexReply(channel) }),
                    _ => {
                        let busy = index::Answer::Refused { why: Refusal::Busy };
                        let _ = self.swarm.behaviour_mut().index.send_response(channel, busy);
                    }
                }
            }
            rr::Event::Message { peer, message: rr::Message::Response { request_id, response }, .. } => {
                self.settle_index(peer, &request_id, Ok(response));
            }
            rr::Event::OutboundFailure { peer, request_id, error, .. } => self.settle_index(peer, &request_id, Err(ask_error(error))),
            rr::Event::InboundFailure { .. } | rr::Event::ResponseSent { .. } => {}
        }
    }

    fn on_piece(&mut self, Event { peer, request, reply }: Event) {
        let may_ask = self.may_ask(&peer, deed(&request, Deed::Piece));
        match self.inbound.try_reserve() {
            Ok(place) if may_ask => place.send(Inbound::Piece { peer, request, reply }),
            _ => reply.refuse(Refusal::Busy),
        }
    }

    /// Whether a peer does not ask too often. Who goes on asking when told to wait, or sends nonsense without end, is cut off for
    /// a while.
    fn may_ask(&mut self, peer: &PeerId, deed: Deed) -> bool {
        let Some(key) = key_of(peer) else { return false };
        let verdict = self.conduct.handle(key, deed, now());
        if verdict == Verdict::Disconnect {
            tracing::info!(%peer, reason = ?deed, "event=banned");
            self.swarm.behaviour_mut().host_limits.ban(*peer);
            let _ = self.swarm.disconnect_peer_id(*peer);
        }
        verdict == Verdict::Serve
    }

    async fn on_identified(&mut self, peer: PeerId, info: identify::Info) {
        let mut agent = info.agent_version;
        agent.truncate((0..=MAX_AGENT_BYTES).rev().find(|at| agent.is_char_boundary(*at)).unwrap_or(0));
        let speaks = |name: &str| info.protocols.iter().any(|protocol| protocol.as_ref() == name);
        let identity = Identity {
            agent,
            is_tracker: speaks(RENDEZVOUS_PROTOCOL),
            is_closed: speaks(ADMIT_PROTOCOL) && !speaks(INDEX_PROTOCOL),
            addresses: info.listen_addrs.into_iter().take(MAX_IDENTIFY_ADDRESSES).collect(),
        };
        if let Some(ip) = ip_of(&info.observed_addr).filter(|_| identity.is_tracker && self.seen_at.len() < MAX_SEEN_AT) {
            self.seen_at.insert(ip.to_canonical());
            self.confirm_addresses();
        }
        self.tell(NetEvent::Identified(peer, Box::new(identity))).await;
    }

    pub(super) async fn tell(&mut self, event: NetEvent) {
        let _ = self.events.send(event).await;
    }
}

/// What a request is to its peer's account.
fn deed<T>(request: &Result<T, Malformed>, otherwise: Deed) -> Deed {
    if request.is_ok() { otherwise } else { Deed::Malformed }
}

pub(super) fn ask_error(error: OutboundFailure) -> AskError {
    match error {
        OutboundFailure::UnsupportedProtocols => AskError::Unsupported,
        OutboundFailure::Io(error) if is_not_spoken(&error) => AskError::Unsupported,
        OutboundFailure::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => AskError::Broken(error.to_string()),
        OutboundFailure::DialFailure | OutboundFailure::Timeout | OutboundFailure::ConnectionClosed | OutboundFailure::Io(_) => {
            AskError::Lost
        }
    }
}

/// Whether the other side does not speak the protocol: a request that is sent along with the proposal of its protocol learns
/// it as a failure of the stream.
fn is_not_spoken(error: &std::io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<NegotiationError>());
    matches!(cause, Some(NegotiationError::Failed))
}

/// Says in a few words why nobody could be reached, without the stack of causes that libp2p prints.
fn dial_error(error: &swarm::DialError) -> DialError {
    match error {
        swarm::DialError::WrongPeerId { obtained, .. } => DialError::WrongPeer { obtained: *obtained },
        swarm::DialError::LocalPeerId { .. } => DialError::Myself,
        swarm::DialError::NoAddresses => DialError::NoAnswer("no address is known".into()),
        swarm::DialError::Transport(errors) => {
            let mut causes: HashMap<String, ()> = HashMap::new();
            for (_, error) in errors {
                causes.insert(root_cause(error), ());
            }
            let mut causes: Vec<String> = causes.into_keys().collect();
            causes.sort();
            DialError::NoAnswer(causes.join("; "))
        }
        other => DialError::NoAnswer(other.to_string()),
    }
}

fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
