//! One that never settles on a protocol: it asks which there are, again and again, where the two sides of a connection or of a stream agree
//! on one (multistream-select).

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use futures::future::select;
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::core::Endpoint;
use libp2p::core::muxing::StreamMuxer as _;
use libp2p::core::transport::{DialOpts, PortUse, Transport};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::{Multiaddr, noise, tcp, yamux};

use crate::failure::{Failure, Result};

/// What both sides begin with, and the question; each behind its length.
const HEADER: &[u8] = b"\x13/multistream/1.0.0\n";
const LIST: &[u8] = b"\x03ls\n";
/// Questions of one write.
const AT_ONCE: usize = 1_000;
/// How long who is asked may bear it.
const LIMIT: Duration = Duration::from_secs(60);
const DIALER: DialOpts = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };

/// Asks so many times before the connection is encrypted. Returns how many bytes came until the other side closed it.
///
/// # Errors
/// When nobody is there, or the other side does not close it within a minute.
pub async fn ask_in_the_clear(address: &Multiaddr, times: usize) -> Result<u64> {
    let mut transport = tcp::tokio::Transport::default();
    let stream = transport.dial(address.clone(), DIALER)?.await?;
    let answered = Cell::new(0);
    within(LIMIT, ask(stream, times, &answered)).await?;
    Ok(answered.get())
}

/// Asks so many times on a stream of a connection that is encrypted. Returns how many bytes came until the other side closed the stream or the
/// connection.
///
/// # Errors
/// When nobody is there, or the other side does not close it within a minute.
pub async fn ask_on_a_stream(address: &Multiaddr, times: usize) -> Result<u64> {
    let noise = noise::Config::new(&Keypair::generate_ed25519())?;
    let transport = tcp::tokio::Transport::default().upgrade(Version::V1).authenticate(noise).multiplex(yamux::Config::default());
    let (_, mut connection) = transport.boxed().dial(address.clone(), DIALER)?.await?;
    let stream = poll_fn(|context| Pin::new(&mut connection).poll_outbound(context)).await?;
    let until_it_is_closed = poll_fn(|context| {
        while let Poll::Ready(event) = Pin::new(&mut connection).poll(context) {
            if event.is_err() {
                return Poll::Ready(());
            }
        }
        while let Poll::Ready(Ok(_closed_again)) = Pin::new(&mut connection).poll_inbound(context) {}
        Poll::Pending
    });
    let answered = Cell::new(0);
    within(LIMIT, select(Box::pin(ask(stream, times, &answered)), until_it_is_closed)).await?;
    Ok(answered.get())
}

async fn within<T>(limit: Duration, end: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(limit, end).await.map_err(|_| Failure::new("who never settles on a protocol is borne"))
}

/// Asks so many times, and reads the answers until there are no more.
async fn ask(stream: impl AsyncRead + AsyncWrite, times: usize, answered: &Cell<u64>) {
    let (mut answers, mut questions) = stream.split();
    let asking = async {
        questions.write_all(HEADER).await?;
        for _ in 0..times.div_ceil(AT_ONCE) {
            questions.write_all(&LIST.repeat(AT_ONCE)).await?;
        }
        questions.flush().await
    };
    let reading = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(read @ 1..) = answers.read(&mut buffer).await {
            answered.update(|bytes| bytes + read as u64);
        }
    };
    let _cut_off = futures::join!(asking, reading);
}
