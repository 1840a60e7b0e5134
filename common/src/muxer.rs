//! yamux with frames that fill one Noise frame.
//!
//! libp2p's own muxer cuts streams into frames of 16 KiB, each of which becomes one Noise frame and one `write` call. One
//! yamux frame a full Noise frame costs 20 to 25 % less CPU per byte. The crate below and the bytes on the wire are the
//! same, so any libp2p program can be at the other end; only the configuration, which `libp2p-yamux` does not expose,
//! is ours.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures::future::{Ready, ready};
use futures::{AsyncRead, AsyncWrite};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo};
use yamux::{Connection, ConnectionError, Mode};

/// Bytes of a stream in one yamux frame: Noise's 65,535 less its 1,024 of reserve and tags in libp2p's framing, less the
/// 27 that a maximal frame leaves to yamux's header of 12 and its neighbour.
const FRAME_BYTES: usize = 64_484;
/// Most streams open in one connection; what one peer can cost in streams.
const MAX_STREAMS: usize = 256;
/// Most bytes that all streams of a connection may have in flight to us (256 MiB): yamux grows windows with bandwidth ×
/// delay only within this less 256 KiB a stream.
const MAX_RECEIVE_WINDOW: usize = 256 << 20;
/// Inbound streams that wait for the swarm to take them. yamux lets a peer have 256 unacknowledged.
const MAX_WAITING_STREAMS: usize = 256;

/// The upgrade that turns an encrypted connection into a multiplexed one: `/yamux/1.0.0`.
#[derive(Clone, Copy, Debug, Default)]
pub struct MuxerConfig;

impl MuxerConfig {
    fn connect<C: AsyncRead + AsyncWrite + Unpin>(io: C, mode: Mode) -> Muxer<C> {
        let mut config = yamux::Config::default();
        config.set_max_num_streams(MAX_STREAMS);
        config.set_max_connection_receive_window(Some(MAX_RECEIVE_WINDOW));
        config.set_split_send_size(FRAME_BYTES);
        Muxer { connection: Connection::new(io, config, mode), waiting: VecDeque::new(), taker: None }
    }
}

impl UpgradeInfo for MuxerConfig {
    type Info = &'static str;
    type InfoIter = std::iter::Once<&'static str>;
    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once("/yamux/1.0.0")
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> InboundConnectionUpgrade<C> for MuxerConfig {
    type Output = Muxer<C>;
    type Error = Infallible;
    type Future = Ready<Result<Muxer<C>, Infallible>>;
    fn upgrade_inbound(self, io: C, _: &'static str) -> Self::Future {
        ready(Ok(Self::connect(io, Mode::Server)))
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> OutboundConnectionUpgrade<C> for MuxerConfig {
    type Output = Muxer<C>;
    type Error = Infallible;
    type Future = Ready<Result<Muxer<C>, Infallible>>;
    fn upgrade_outbound(self, io: C, _: &'static str) -> Self::Future {
        ready(Ok(Self::connect(io, Mode::Client)))
    }
}

/// A multiplexed connection.
#[derive(Debug)]
pub struct Muxer<C> {
    connection: Connection<C>,
    /// Streams that the remote opened while the swarm was not looking: driving the connection yields them.
    waiting: VecDeque<yamux::Stream>,
    /// Who asked for an inbound stream when there was none.
    taker: Option<Waker>,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Muxer<C> {
    /// Drives the connection until the remote opens a stream.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<yamux::Stream, ConnectionError>> {
        self.connection.poll_next_inbound(cx).map(|next| next.unwrap_or(Err(ConnectionError::Closed)))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> StreamMuxer for Muxer<C> {
    type Substream = yamux::Stream;
    type Error = ConnectionError;

    fn poll_inbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<yamux::Stream, ConnectionError>> {
        let this = self.get_mut();
        if let Some(stream) = this.waiting.pop_front() {
            return Poll::Ready(Ok(stream));
        }
        let next = this.poll_next(cx);
        if next.is_pending() {
            this.taker = Some(cx.waker().clone());
        }
        next
    }

    fn poll_outbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<yamux::Stream, ConnectionError>> {
        self.get_mut().connection.poll_new_outbound(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        self.get_mut().connection.poll_close(cx)
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, ConnectionError>> {
        let this = self.get_mut();
        while let Poll::Ready(stream) = this.poll_next(cx) {
            let stream = stream?;
            if this.waiting.len() == MAX_WAITING_STREAMS {
                tracing::debug!("a peer opens streams faster than they are taken; one is reset");
                continue;
            }
            this.waiting.push_back(stream);
            if let Some(taker) = this.taker.take() {
                taker.wake();
            }
        }
        Poll::Pending
    }
}
