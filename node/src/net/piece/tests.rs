//! Two swarms in memory, one or both of them with libp2p's own request-response instead of ours.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{AsyncRead, AsyncWrite, StreamExt};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerBox, StreamMuxerEvent};
use libp2p::core::transport::{MemoryTransport, Transport};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::request_response::{self as rr, ProtocolSupport};
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{self, NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, StreamProtocol, Swarm, identify, noise};
use potluck_common::buffer::BufferPool;
use potluck_common::codec::{Meter, PieceAnswer, PieceCall, PieceCodec, read_next_request, write_answer, write_next_request};
use potluck_common::content_id::ContentId;
use potluck_common::muxer::MuxerConfig;
use potluck_common::wire::piece::{Header, Request};
use potluck_common::wire::{PIECE_PROTOCOL, PIECES_PROTOCOL};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::{Behaviour, Call, Event, MAX_SERVED, PieceReply};
use crate::net::handle::AskError;

/// How long anything may take here.
const LIMIT: Duration = Duration::from_secs(20);

#[derive(NetworkBehaviour)]
struct Talk<B: NetworkBehaviour> {
    identify: identify::Behaviour,
    piece: B,
}

/// Streams that were opened by the other side, of each connection of a swarm.
type Opened = Arc<Mutex<Vec<Arc<Mutex<usize>>>>>;

/// A muxer that counts.
struct Counting {
    inner: StreamMuxerBox,
    opened: Arc<Mutex<usize>>,
}

impl StreamMuxer for Counting {
    type Substream = <StreamMuxerBox as StreamMuxer>::Substream;
    type Error = <StreamMuxerBox as StreamMuxer>::Error;

    fn poll_inbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Self::Substream, Self::Error>> {
        let this = self.get_mut();
        let stream = Pin::new(&mut this.inner).poll_inbound(cx);
        *this.opened.lock().unwrap() += usize::from(matches!(stream, Poll::Ready(Ok(_))));
        stream
    }

    fn poll_outbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Self::Substream, Self::Error>> {
        Pin::new(&mut self.get_mut().inner).poll_outbound(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Pin::new(&mut self.get_mut().inner).poll_close(cx)
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, Self::Error>> {
        Pin::new(&mut self.get_mut().inner).poll(cx)
    }
}

fn swarm<B: NetworkBehaviour>(piece: B) -> (Swarm<Talk<B>>, Opened) {
    let (key, opened) = (Keypair::generate_ed25519(), Opened::default());
    let all = Arc::clone(&opened);
    let transport = MemoryTransport::default()
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(&key).unwrap())
        .multiplex(MuxerConfig)
        .map(move |(peer, muxer), _| {
            let opened = Arc::<Mutex<usize>>::default();
            all.lock().unwrap().push(Arc::clone(&opened));
            (peer, StreamMuxerBox::new(Counting { inner: StreamMuxerBox::new(muxer), opened }))
        })
        .boxed();
    let behaviour = Talk { identify: identify::Behaviour::new(identify::Config::new("/test".into(), key.public())), piece };
    let config =
        swarm::Config::with_tokio_executor().with_idle_connection_timeout(LIMIT).with_substream_upgrade_protocol_override(Version::V1Lazy);
    (Swarm::new(transport, behaviour, key.public().to_peer_id(), config), opened)
}

fn ours() -> (Swarm<Talk<Behaviour>>, Opened) {
    swarm(Behaviour::new(BufferPool::new(4)))
}

fn stock<C: rr::Codec<Protocol = StreamProtocol> + Clone + Send + 'static>(
    codec: C,
    protocol: &'static str,
) -> Swarm<Talk<rr::Behaviour<C>>> {
    let protocols = [(StreamProtocol::new(protocol), ProtocolSupport::Full)];
    let config = rr::Config::default().with_max_concurrent_streams(2 * MAX_SERVED);
    swarm(rr::Behaviour::with_codec(codec, protocols, config)).0
}

/// Listens, and tells where.
async fn listen<B: NetworkBehaviour>(swarm: &mut Swarm<Talk<B>>) -> Multiaddr {
    swarm.listen_on("/memory/0".parse().unwrap()).unwrap();
    loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            return address;
        }
    }
}

/// Runs a swarm of ours as a server, and hands the requests out.
async fn serve() -> (PeerId, Multiaddr, mpsc::Receiver<Event>, Opened) {
    let (mut swarm, opened) = ours();
    let address = listen(&mut swarm).await;
    let (sender, requests) = mpsc::channel(1000);
    let peer = *swarm.local_peer_id();
    tokio::spawn(async move {
        loop {
            if let SwarmEvent::Behaviour(TalkEvent::Piece(event)) = swarm.select_next_some().await {
                sender.send(event).await.unwrap();
            }
        }
    });
    (peer, address, requests, opened)
}

/// Runs a stock server that answers each request, and closes its stream.
async fn serve_stock<C>(codec: C, protocol: &'static str) -> (PeerId, Multiaddr)
where
    C: rr::Codec<Protocol = StreamProtocol, Request = PieceCall, Response = PieceAnswer> + Clone + Send + 'static,
{
    let mut swarm = stock(codec, protocol);
    let address = listen(&mut swarm).await;
    let peer = *swarm.local_peer_id();
    tokio::spawn(async move {
        loop {
            let SwarmEvent::Behaviour(TalkEvent::Piece(event)) = swarm.select_next_some().await else { continue };
            let rr::Event::Message { message: rr::Message::Request { request, channel, .. }, .. } = event else { continue };
            let answer = echo(&request.request.unwrap());
            swarm.behaviour_mut().piece.send_response(channel, answer).unwrap();
        }
    });
    (peer, address)
}

/// Dials, and waits until the other side has said what it speaks.
async fn connect<B: NetworkBehaviour>(swarm: &mut Swarm<Talk<B>>, peer: PeerId, address: &Multiaddr) {
    let options = DialOpts::peer_id(peer).addresses(vec![address.clone()]).condition(PeerCondition::Always).build();
    swarm.dial(options).unwrap();
    loop {
        let event = timeout(LIMIT, swarm.select_next_some()).await.unwrap();
        if matches!(event, SwarmEvent::Behaviour(TalkEvent::Identify(identify::Event::Received { .. }))) {
            return;
        }
    }
}

/// Waits for something while a swarm runs.
async fn drive<B: NetworkBehaviour, F: Future>(swarm: &mut Swarm<Talk<B>>, future: F) -> F::Output {
    let mut future = std::pin::pin!(timeout(LIMIT, future));
    loop {
        tokio::select! {
            output = &mut future => return output.expect("something takes too long"),
            _ = swarm.select_next_some() => {}
        }
    }
}

fn request(number: u32) -> Request {
    Request::Have { content_id: ContentId::of(b"x"), from: number }
}

/// An answer by which its request can be told.
fn echo(request: &Request) -> PieceAnswer {
    let Request::Have { from, .. } = request else { unreachable!("only such requests are sent here") };
    Header::Have { size: u64::from(*from), bitmap: None }.into()
}

type Answer = oneshot::Receiver<Result<PieceAnswer, AskError>>;

fn ask(swarm: &mut Swarm<Talk<Behaviour>>, peer: PeerId, number: u32, meter: &Meter) -> Answer {
    let (reply, answer) = oneshot::channel();
    swarm.behaviour_mut().piece.ask(peer, Call { request: request(number), meter: meter.clone(), reply, sent: None });
    answer
}

/// The number of the request that an answer is for.
fn number(answer: &PieceAnswer) -> u64 {
    let Header::Have { size, .. } = answer.header else { unreachable!("only such answers are sent here") };
    size
}

fn answer(event: Event) -> impl Future<Output = bool> {
    event.reply.send(echo(&event.request.unwrap()))
}

/// Answers all requests at once.
fn answer_all(mut requests: mpsc::Receiver<Event>) {
    tokio::spawn(async move {
        while let Some(event) = requests.recv().await {
            tokio::spawn(answer(event));
        }
    });
}

fn opened(opened: &Opened) -> Vec<usize> {
    opened.lock().unwrap().iter().map(|one| *one.lock().unwrap()).collect()
}

#[tokio::test]
async fn request_after_request_goes_by_the_same_stream() {
    let ((mut client, _), (peer, address, requests, streams)) = (ours(), serve().await);
    answer_all(requests);
    connect(&mut client, peer, &address).await;
    let answer = ask(&mut client, peer, 0, &Meter::default());
    assert_eq!(number(&drive(&mut client, answer).await.unwrap().unwrap()), 0);
    let before = opened(&streams);
    for asked in 1..50 {
        let answer = ask(&mut client, peer, asked, &Meter::default());
        assert_eq!(number(&drive(&mut client, answer).await.unwrap().unwrap()), u64::from(asked));
    }
    assert_eq!(opened(&streams), before);
}

#[tokio::test]
async fn requests_at_once_are_shared_by_the_connections() {
    let ((mut client, _), (peer, address, mut requests, streams)) = (ours(), serve().await);
    connect(&mut client, peer, &address).await;
    connect(&mut client, peer, &address).await;
    let before = opened(&streams);
    let answers: Vec<Answer> = (0..8).map(|asked| ask(&mut client, peer, asked, &Meter::default())).collect();
    let mut asked = Vec::new();
    while asked.len() < 8 {
        asked.push(drive(&mut client, requests.recv()).await.unwrap());
    }
    let since: Vec<usize> = opened(&streams).iter().zip(before).map(|(now, before)| now - before).collect();
    assert_eq!(since, [4, 4]);
    asked.into_iter().for_each(|event| drop(tokio::spawn(answer(event))));
    for (asked, answer) in answers.into_iter().enumerate() {
        assert_eq!(number(&drive(&mut client, answer).await.unwrap().unwrap()), asked as u64);
    }
}

#[tokio::test]
async fn a_stock_client_is_served() {
    let (peer, address, requests, _) = serve().await;
    answer_all(requests);
    let mut client = stock(PieceCodec::new(BufferPool::new(1)), PIECE_PROTOCOL);
    connect(&mut client, peer, &address).await;
    let mut wanted: Vec<u64> = (0..20).collect();
    for asked in 0..20 {
        let call = PieceCall { request: Ok(request(asked)), meter: Meter::default() };
        client.behaviour_mut().piece.send_request(&peer, call);
    }
    while !wanted.is_empty() {
        let event = timeout(LIMIT, client.select_next_some()).await.unwrap();
        if let SwarmEvent::Behaviour(TalkEvent::Piece(rr::Event::Message { message: rr::Message::Response { response, .. }, .. })) = event {
            wanted.retain(|wanted| *wanted != number(&response));
        }
    }
}

#[tokio::test]
async fn a_stock_server_is_asked() {
    let ((mut client, _), (peer, address)) = (ours(), serve_stock(PieceCodec::new(BufferPool::new(1)), PIECE_PROTOCOL).await);
    connect(&mut client, peer, &address).await;
    let answers: Vec<Answer> = (0..20).map(|asked| ask(&mut client, peer, asked, &Meter::default())).collect();
    for (asked, answer) in answers.into_iter().enumerate() {
        assert_eq!(number(&drive(&mut client, answer).await.unwrap().unwrap()), asked as u64);
    }
}

/// Frames requests as streams do that carry several, and is used by a server that closes each after one.
#[derive(Clone)]
struct Closing;

impl rr::Codec for Closing {
    type Protocol = StreamProtocol;
    type Request = PieceCall;
    type Response = PieceAnswer;

    async fn read_request<T: AsyncRead + Unpin + Send>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<PieceCall> {
        Ok(PieceCall { request: read_next_request(io).await?.unwrap(), meter: Meter::default() })
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(&mut self, _: &StreamProtocol, _: &mut T) -> io::Result<PieceAnswer> {
        unreachable!("a server asks nothing")
    }

    async fn write_request<T: AsyncWrite + Unpin + Send>(&mut self, _: &StreamProtocol, io: &mut T, call: PieceCall) -> io::Result<()> {
        write_next_request(io, &call.request.unwrap()).await
    }

    async fn write_response<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        answer: PieceAnswer,
    ) -> io::Result<()> {
        write_answer(io, &answer).await
    }
}

#[tokio::test]
async fn no_request_is_lost_by_a_server_that_closes_a_stream_that_was_to_be_kept() {
    let ((mut client, _), (peer, address)) = (ours(), serve_stock(Closing, PIECES_PROTOCOL).await);
    connect(&mut client, peer, &address).await;
    for round in 0..50 {
        let answers: Vec<Answer> = (0..3).map(|asked| ask(&mut client, peer, 3 * round + asked, &Meter::default())).collect();
        for (asked, answer) in answers.into_iter().enumerate() {
            let answer = drive(&mut client, answer).await.unwrap().unwrap();
            assert_eq!(number(&answer), u64::from(3 * round) + asked as u64);
        }
    }
}

#[tokio::test]
async fn an_answer_that_nobody_wants_any_more_is_not_taken_for_the_next() {
    let ((mut client, _), (peer, address, mut requests, _)) = (ours(), serve().await);
    connect(&mut client, peer, &address).await;
    for round in 0..10 {
        let (meter, unwanted, given_up) = (Meter::default(), 3 * round, 3 * round + 1);
        drop(ask(&mut client, peer, unwanted, &Meter::default()));
        let given_up = ask(&mut client, peer, given_up, &meter);
        meter.give_up();
        let wanted = ask(&mut client, peer, 3 * round + 2, &Meter::default());
        let wanted = drive(&mut client, async {
            let mut wanted = wanted;
            loop {
                tokio::select! {
                    answer = &mut wanted => return answer,
                    event = requests.recv() => drop(tokio::spawn(answer(event.unwrap()))),
                }
            }
        });
        assert_eq!(number(&wanted.await.unwrap().unwrap()), u64::from(3 * round + 2));
        let serve = async {
            while let Some(event) = requests.recv().await {
                tokio::spawn(answer(event));
            }
        };
        let given_up = drive(&mut client, async {
            tokio::select! { answer = given_up => answer, () = serve => unreachable!() }
        });
        assert!(given_up.await.unwrap().is_err());
    }
}

#[tokio::test]
async fn what_a_closed_connection_owed_is_lost() {
    let ((mut client, _), (peer, address, mut requests, _)) = (ours(), serve().await);
    connect(&mut client, peer, &address).await;
    let answer = ask(&mut client, peer, 0, &Meter::default());
    let _owed = drive(&mut client, requests.recv()).await.unwrap();
    client.disconnect_peer_id(peer).unwrap();
    assert!(drive(&mut client, answer).await.is_err());
    while client.is_connected(&peer) {
        timeout(LIMIT, client.select_next_some()).await.unwrap();
    }
    let refused = ask(&mut client, peer, 0, &Meter::default());
    assert_eq!(drive(&mut client, refused).await.unwrap().unwrap_err(), AskError::NotConnected);
}

#[tokio::test]
async fn a_peer_gets_as_many_streams_as_it_may_have_and_no_more() {
    let (peer, address, mut requests, _) = serve().await;
    let mut client = stock(PieceCodec::new(BufferPool::new(1)), PIECE_PROTOCOL);
    connect(&mut client, peer, &address).await;
    let mut owed: Vec<PieceReply> = Vec::new();
    for asked in 0..=MAX_SERVED as u32 {
        let call = PieceCall { request: Ok(request(asked)), meter: Meter::default() };
        client.behaviour_mut().piece.send_request(&peer, call);
        if owed.len() < MAX_SERVED {
            owed.push(drive(&mut client, requests.recv()).await.unwrap().reply);
        }
    }
    loop {
        let event = timeout(LIMIT, client.select_next_some()).await.unwrap();
        if matches!(event, SwarmEvent::Behaviour(TalkEvent::Piece(rr::Event::OutboundFailure { .. }))) {
            break;
        }
    }
    assert!(requests.try_recv().is_err());
    drop(owed.pop());
    let call = PieceCall { request: Ok(request(7)), meter: Meter::default() };
    client.behaviour_mut().piece.send_request(&peer, call);
    let event = drive(&mut client, requests.recv()).await.unwrap();
    assert_eq!(event.request.unwrap(), request(7));
}
