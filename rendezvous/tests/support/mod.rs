//! A tracker in this process, and clients that are not our node.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // clippy knows `#[test]` functions, not their helpers

use std::io;
use std::time::Duration;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, StreamExt};
use libp2p::multiaddr::Protocol;
use libp2p::request_response::{self as rr, Codec, OutboundRequestId, ProtocolSupport};
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder, identify, identity, noise, ping, rendezvous, tcp, yamux};
use potluck_common::handshakes::Handshakes;
use potluck_common::namespace::Namespace;
use potluck_common::peer::PeerKey;
use potluck_common::transport::{IndexBehaviour, build_swarm, index_behaviour, key_of};
use potluck_common::wire::INDEX_PROTOCOL;
use potluck_common::wire::index::{Answer, PeerInfo, Peers, Request};
use potluck_rendezvous::{Config, Event, TrackerError, run};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// How long anything may take that should be quick.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// A running tracker.
pub(crate) struct Tracker {
    pub(crate) address: Multiaddr,
    pub(crate) config: Config,
    stop: Option<oneshot::Sender<()>>,
    ended: JoinHandle<Result<(), TrackerError>>,
    folder: tempfile::TempDir,
}

impl Tracker {
    /// Starts one on any free port.
    pub(crate) async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap()).await
    }

    /// Starts one on a folder that another may have used.
    pub(crate) async fn start_in(folder: tempfile::TempDir) -> Self {
        let mut config = Config::new(folder.path());
        config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
        config.mdns = false;
        let (stop, stopped) = oneshot::channel();
        let (events, mut happened) = mpsc::channel(16);
        let running = run(config.clone(), async { drop(stopped.await) }, move |event| drop(events.try_send(event)));
        let ended = tokio::spawn(running);
        let Some(Event::Listening(address)) = happened.recv().await else { panic!("no address: {:?}", ended.await) };
        Self { address, config, stop: Some(stop), ended, folder }
    }

    /// Stops it, waits until it has, and returns its folder.
    pub(crate) async fn stop(mut self) -> tempfile::TempDir {
        drop(self.stop.take());
        tokio::time::timeout(SOON, self.ended).await.expect("it stops").unwrap().unwrap();
        self.folder
    }
}

/// A program that speaks the index protocol.
pub(crate) struct IndexClient {
    pub(crate) swarm: Swarm<IndexClientBehaviour>,
    pub(crate) identity: identity::Keypair,
    tracker: PeerId,
}

#[derive(NetworkBehaviour)]
pub(crate) struct IndexClientBehaviour {
    pub(crate) index: IndexBehaviour,
    ping: ping::Behaviour,
}

impl IndexClient {
    /// Connects to a tracker, by a way that may differ from its own address.
    pub(crate) async fn connect(address: &Multiaddr) -> Self {
        Self::connect_as(identity::Keypair::generate_ed25519(), address).await
    }

    /// Connects with an identity that was used before.
    pub(crate) async fn connect_as(identity: identity::Keypair, address: &Multiaddr) -> Self {
        let behaviour =
            |_: &identity::Keypair, _: &Handshakes| IndexClientBehaviour { index: index_behaviour(), ping: ping::Behaviour::default() };
        let mut swarm = build_swarm(identity.clone(), behaviour).unwrap();
        let tracker = connect(&mut swarm, address).await;
        Self { swarm, identity, tracker }
    }

    /// Who this is.
    pub(crate) fn key(&self) -> PeerKey {
        key_of(self.swarm.local_peer_id()).unwrap()
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn ask(&mut self, request: Request) -> Answer {
        let id = self.swarm.behaviour_mut().index.send_request(&self.tracker, Ok(request));
        loop {
            if let SwarmEvent::Behaviour(IndexClientBehaviourEvent::Index(event)) = next(&mut self.swarm).await
                && let Some(answer) = answer_to(id, event)
            {
                return answer;
            }
        }
    }

    /// The peers of the default namespace.
    pub(crate) async fn peers(&mut self) -> Vec<PeerInfo> {
        let ask = Peers { namespace: Namespace::default(), peer: None, after: None, limit: 100 };
        match self.ask(Request::Peers(ask)).await {
            Answer::Peers(page) => page.peers.into_vec(),
            other => panic!("{other:?}"),
        }
    }

    /// Waits until a peer is, or is not, among the peers. The connection is kept in use meanwhile.
    pub(crate) async fn wait_for(&mut self, peer: PeerKey, there: bool, within: Duration) {
        let poll = async {
            while self.peers().await.iter().any(|info| info.peer == peer) != there {
                let pause = tokio::time::sleep(Duration::from_millis(50));
                tokio::pin!(pause);
                loop {
                    tokio::select! {
                        () = &mut pause => break,
                        _ = self.swarm.next() => {}
                    }
                }
            }
        };
        tokio::time::timeout(within, poll).await.unwrap_or_else(|_| panic!("still not {there} after {within:?}"));
    }
}

/// A program that speaks libp2p's rendezvous protocol and nothing of ours, with libp2p's own muxer and settings.
pub(crate) struct ForeignClient {
    pub(crate) swarm: Swarm<ForeignBehaviour>,
    pub(crate) tracker: PeerId,
}

#[derive(NetworkBehaviour)]
pub(crate) struct ForeignBehaviour {
    pub(crate) rendezvous: rendezvous::client::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
}

impl ForeignClient {
    /// Connects to a tracker.
    pub(crate) async fn connect(tracker: &Tracker) -> Self {
        let mut swarm = SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_behaviour(|key| ForeignBehaviour {
                rendezvous: rendezvous::client::Behaviour::new(key.clone()),
                identify: identify::Behaviour::new(identify::Config::new("foreign/1".to_owned(), key.public())),
                ping: ping::Behaviour::default(),
            })
            .unwrap()
            .build();
        swarm.add_external_address("/ip4/10.0.0.7/tcp/4001".parse().unwrap());
        let tracker = connect(&mut swarm, &tracker.address).await;
        Self { swarm, tracker }
    }

    /// Who this is.
    pub(crate) fn key(&self) -> PeerKey {
        key_of(self.swarm.local_peer_id()).unwrap()
    }

    /// The next event of the rendezvous protocol.
    pub(crate) async fn next(&mut self) -> rendezvous::client::Event {
        loop {
            if let SwarmEvent::Behaviour(ForeignBehaviourEvent::Rendezvous(event)) = next(&mut self.swarm).await {
                return event;
            }
        }
    }

    /// The peers that DISCOVER names in a namespace.
    pub(crate) async fn discover(&mut self, namespace: &rendezvous::Namespace) -> Vec<PeerId> {
        let tracker = self.tracker;
        self.swarm.behaviour_mut().rendezvous.discover(Some(namespace.clone()), None, Some(100), tracker);
        loop {
            match self.next().await {
                rendezvous::client::Event::Discovered { registrations, .. } => {
                    return registrations.iter().map(|registration| registration.record.peer_id()).collect();
                }
                rendezvous::client::Event::DiscoverFailed { error, .. } => panic!("{error:?}"),
                _ => {}
            }
        }
    }
}

/// A program that sends any bytes over the index protocol.
pub(crate) struct RawClient {
    pub(crate) swarm: Swarm<rr::Behaviour<RawCodec>>,
    tracker: PeerId,
}

impl RawClient {
    /// Connects to a tracker.
    pub(crate) async fn connect(tracker: &Tracker) -> Self {
        let protocol = (StreamProtocol::new(INDEX_PROTOCOL), ProtocolSupport::Outbound);
        let behaviour = |_: &identity::Keypair, _: &Handshakes| rr::Behaviour::with_codec(RawCodec, [protocol], rr::Config::default());
        let mut swarm = build_swarm(identity::Keypair::generate_ed25519(), behaviour).unwrap();
        let tracker = connect(&mut swarm, &tracker.address).await;
        Self { swarm, tracker }
    }

    /// Sends bytes and waits for the answer; `None` when the stream or the connection is closed instead.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Option<Answer> {
        let id = self.swarm.behaviour_mut().send_request(&self.tracker, bytes.to_vec());
        loop {
            match next(&mut self.swarm).await {
                SwarmEvent::Behaviour(rr::Event::OutboundFailure { .. }) => return None,
                SwarmEvent::Behaviour(event) => {
                    if let Some(bytes) = answer_to(id, event) {
                        return (!bytes.is_empty()).then(|| potluck_common::codec::decode(&bytes).unwrap());
                    }
                }
                _ => {}
            }
        }
    }
}

/// Bytes as they are, both ways.
#[derive(Clone)]
pub(crate) struct RawCodec;

impl Codec for RawCodec {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T: AsyncRead + Unpin + Send>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        io.read_to_end(&mut bytes).await?;
        Ok(bytes)
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(&mut self, protocol: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>> {
        self.read_request(protocol, io).await
    }

    async fn write_request<T: AsyncWrite + Unpin + Send>(&mut self, _: &StreamProtocol, io: &mut T, bytes: Vec<u8>) -> io::Result<()> {
        io.write_all(&bytes).await
    }

    async fn write_response<T: AsyncWrite + Unpin + Send>(&mut self, _: &StreamProtocol, io: &mut T, bytes: Vec<u8>) -> io::Result<()> {
        io.write_all(&bytes).await
    }
}

/// A line to a tracker that can be cut without a word, as when a NAT forgets a mapping.
pub(crate) struct Line {
    pub(crate) address: Multiaddr,
    cut: tokio::sync::watch::Sender<bool>,
}

impl Line {
    /// A line to a tracker, on any free port.
    pub(crate) async fn to(tracker: &Tracker) -> Self {
        let port = tracker.address.iter().find_map(|part| if let Protocol::Tcp(port) = part { Some(port) } else { None });
        let target = ("127.0.0.1", port.unwrap());
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let (cut, is_cut) = tokio::sync::watch::channel(false);
        tokio::spawn(async move {
            let (near, _) = listener.accept().await.unwrap();
            let far = tokio::net::TcpStream::connect(target).await.unwrap();
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            tokio::join!(carry(near_in, far_out, is_cut.clone()), carry(far_in, near_out, is_cut));
        });
        Self { address: format!("/ip4/127.0.0.1/tcp/{own}").parse().unwrap(), cut }
    }

    /// Carries nothing any more, and closes nothing.
    pub(crate) fn cut(&self) {
        self.cut.send_replace(true);
    }
}

async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut is_cut: tokio::sync::watch::Receiver<bool>,
) {
    tokio::select! {
        _ = tokio::io::copy(&mut from, &mut to) => {}
        _ = is_cut.wait_for(|cut| *cut) => {}
    }
    let _held_open_until_the_line_is_dropped = is_cut.wait_for(|_| false).await;
}

fn answer_to<Q, A>(id: OutboundRequestId, event: rr::Event<Q, A>) -> Option<A> {
    match event {
        rr::Event::Message { message: rr::Message::Response { request_id, response }, .. } if request_id == id => Some(response),
        rr::Event::OutboundFailure { error, .. } => panic!("{error}"),
        _ => None,
    }
}

async fn connect<B: NetworkBehaviour>(swarm: &mut Swarm<B>, address: &Multiaddr) -> PeerId {
    swarm.dial(address.clone()).unwrap();
    loop {
        match next(swarm).await {
            SwarmEvent::ConnectionEstablished { peer_id, .. } => return peer_id,
            SwarmEvent::OutgoingConnectionError { error, .. } => panic!("{error}"),
            _ => {}
        }
    }
}

async fn next<B: NetworkBehaviour>(swarm: &mut Swarm<B>) -> SwarmEvent<B::ToSwarm> {
    tokio::time::timeout(SOON, swarm.select_next_some()).await.expect("something happens")
}
