//! A libp2p program that speaks our protocols and can also say what no honest program says. Its transport is libp2p's
//! own, not ours: whoever talks to it shows that the wire is compatible.

use std::io;
use std::time::Duration;

use futures::{AsyncRead, AsyncWrite, AsyncWriteExt};
use libp2p::identity::Keypair;
use libp2p::request_response::{self as rr, Codec, ProtocolSupport};
use libp2p::swarm::NetworkBehaviour;
use libp2p::{StreamProtocol, Swarm, SwarmBuilder, identify, noise, ping, rendezvous, tcp, yamux};
use potluck_common::buffer::BufferPool;
use potluck_common::codec::{CborCodec, PieceCodec};
use potluck_common::transport::{AdmitBehaviour, admit_behaviour};
use potluck_common::wire::{IDENTIFY_PROTOCOL, INDEX_PROTOCOL, PIECE_PROTOCOL, index};

use crate::failure::Result;

/// How long an exchange may take: longer than any limit of ours, so that who is slow is cut off by us.
const EXCHANGE_LIMIT: Duration = Duration::from_secs(300);

/// What the program speaks.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    /// Says who we are, also that we share files.
    pub(crate) identify: identify::Behaviour,
    /// Answers that we are alive.
    pub(crate) ping: ping::Behaviour,
    /// Registers at trackers, as any libp2p program does.
    pub(crate) rendezvous: rendezvous::client::Behaviour,
    /// The file index.
    pub(crate) index: rr::Behaviour<RawCodec<CborCodec<index::Request, index::Answer>>>,
    /// Joining a private tracker.
    pub(crate) admit: AdmitBehaviour,
    /// Bytes of files.
    pub(crate) piece: rr::Behaviour<RawCodec<PieceCodec>>,
}

/// A swarm on libp2p's own TCP, Noise and yamux, listening nowhere, of a program that calls itself so, and that registers with the record of
/// `record_of`.
pub(crate) fn swarm(identity: &Keypair, agent: &str, record_of: &Keypair) -> Result<Swarm<Behaviour>> {
    let config = || rr::Config::default().with_request_timeout(EXCHANGE_LIMIT);
    let speaks = |name| [(StreamProtocol::new(name), ProtocolSupport::Full)];
    let behaviour = |key: &Keypair| Behaviour {
        identify: identify::Behaviour::new(
            identify::Config::new(IDENTIFY_PROTOCOL.to_owned(), key.public()).with_agent_version(agent.to_owned()),
        ),
        ping: ping::Behaviour::default(),
        rendezvous: rendezvous::client::Behaviour::new(record_of.clone()),
        index: rr::Behaviour::with_codec(RawCodec(CborCodec::default()), speaks(INDEX_PROTOCOL), config()),
        admit: admit_behaviour(false),
        piece: rr::Behaviour::with_codec(RawCodec(PieceCodec::new(BufferPool::new(4))), speaks(PIECE_PROTOCOL), config()),
    };
    Ok(SwarmBuilder::with_existing_identity(identity.clone())
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)?
        .with_behaviour(behaviour)?
        .with_swarm_config(|config| config.with_idle_connection_timeout(EXCHANGE_LIMIT))
        .build())
}

/// Time between two bytes of a message that drips: far below any rate that is of use.
const DRIP_INTERVAL: Duration = Duration::from_secs(2);
/// Bytes of one write of an endless message.
const BLOCK: usize = 64 << 10;

/// Something to send.
#[derive(Clone, Debug)]
pub(crate) enum Said<T> {
    /// A message, as the protocol wants it.
    Plain(T),
    /// These bytes, and then the end of the stream.
    Bytes(Vec<u8>),
    /// These bytes, and then zeros until the other side closes.
    Endless(Vec<u8>),
    /// These bytes, one at a time, so slowly that it never comes to an end.
    Drip(Vec<u8>),
}

/// A codec whose messages may also be raw bytes.
#[derive(Clone, Debug)]
pub(crate) struct RawCodec<C>(pub(crate) C);

impl<C> Codec for RawCodec<C>
where
    C: Codec<Protocol = StreamProtocol> + Send,
{
    type Protocol = StreamProtocol;
    type Request = Said<C::Request>;
    type Response = Said<C::Response>;

    async fn read_request<T: AsyncRead + Unpin + Send>(&mut self, protocol: &StreamProtocol, io: &mut T) -> io::Result<Self::Request> {
        self.0.read_request(protocol, io).await.map(Said::Plain)
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(&mut self, protocol: &StreamProtocol, io: &mut T) -> io::Result<Self::Response> {
        self.0.read_response(protocol, io).await.map(Said::Plain)
    }

    async fn write_request<T: AsyncWrite + Unpin + Send>(
        &mut self,
        protocol: &StreamProtocol,
        io: &mut T,
        request: Self::Request,
    ) -> io::Result<()> {
        match request {
            Said::Plain(request) => self.0.write_request(protocol, io, request).await,
            Said::Bytes(bytes) => io.write_all(&bytes).await,
            Said::Endless(first) => write_without_end(io, &first).await,
            Said::Drip(bytes) => drip(io, &bytes).await,
        }
    }

    async fn write_response<T: AsyncWrite + Unpin + Send>(
        &mut self,
        protocol: &StreamProtocol,
        io: &mut T,
        answer: Self::Response,
    ) -> io::Result<()> {
        match answer {
            Said::Plain(answer) => self.0.write_response(protocol, io, answer).await,
            Said::Bytes(bytes) => io.write_all(&bytes).await,
            Said::Endless(first) => write_without_end(io, &first).await,
            Said::Drip(bytes) => drip(io, &bytes).await,
        }
    }
}

async fn drip<T: AsyncWrite + Unpin>(io: &mut T, bytes: &[u8]) -> io::Result<()> {
    for byte in bytes {
        io.write_all(std::slice::from_ref(byte)).await?;
        io.flush().await?;
        tokio::time::sleep(DRIP_INTERVAL).await;
    }
    Ok(())
}

async fn write_without_end<T: AsyncWrite + Unpin>(io: &mut T, first: &[u8]) -> io::Result<()> {
    io.write_all(first).await?;
    loop {
        io.write_all(&[0; BLOCK]).await?;
    }
}
