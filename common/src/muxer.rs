//! yamux with frames that fill one Noise frame, and small ones that share it.
//!
//! libp2p's own muxer cuts streams into frames of 16 KiB, each of which becomes one Noise frame and one `write` call. One
//! yamux frame a full Noise frame costs 20 to 25 % less CPU per byte. The crate below and the bytes on the wire are the
//! same, so any libp2p program can be at the other end; only the configuration, which `libp2p-yamux` does not expose,
//! is ours.
//!
//! yamux flushes after every frame. What several streams say at the same time, a few bytes each, would be as many packets; a new
//! connection may send ten of them in a round trip, and its greetings alone are as many. `Gathering` therefore puts a flush off until
//! yamux has nothing more to send, or there is enough for some packets.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
/// Bytes that are gathered at most: some packets full, so that what is long goes out frame by frame, each in a Noise frame of its own.
const MOST_GATHERED: usize = 8 << 10;
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
        let (is_put_off, is_due) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let io = Gathering { io, gathered: 0, is_put_off: Arc::clone(&is_put_off), is_due: Arc::clone(&is_due) };
        let connection = Connection::new(io, config, mode);
        Muxer { connection, is_put_off, is_due, has_yielded: false, waiting: VecDeque::new(), taker: None }
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

/// What yamux writes to: puts off a flush of little, and says so.
#[derive(Debug)]
struct Gathering<C> {
    io: C,
    /// Bytes that were written since a flush went through.
    gathered: usize,
    /// Told to whoever drives the connection, who sees to it that what was gathered goes out.
    is_put_off: Arc<AtomicBool>,
    /// Whoever drives the connection says that no flush is to be put off.
    is_due: Arc<AtomicBool>,
}

impl<C: AsyncRead + Unpin> AsyncRead for Gathering<C> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Gathering<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        if let Poll::Ready(Ok(length)) = &written {
            self.gathered = self.gathered.saturating_add(*length);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if (1..MOST_GATHERED).contains(&self.gathered) && !self.is_due.load(Ordering::Relaxed) {
            self.is_put_off.store(true, Ordering::Relaxed);
            return Poll::Ready(Ok(()));
        }
        self.gathered = 0;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_close(cx) // which flushes
    }
}

/// A multiplexed connection.
#[derive(Debug)]
pub struct Muxer<C> {
    connection: Connection<Gathering<C>>,
    /// Whether a flush was put off since the connection was last driven.
    is_put_off: Arc<AtomicBool>,
    /// Whether none may be.
    is_due: Arc<AtomicBool>,
    /// Whether others had a turn to say something since a flush was put off.
    has_yielded: bool,
    /// Streams that the remote opened while the swarm was not looking: driving the connection yields them.
    waiting: VecDeque<yamux::Stream>,
    /// Who asked for an inbound stream when there was none.
    taker: Option<Waker>,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Muxer<C> {
    /// Drives the connection until the remote opens a stream. When nothing is left to do, all other tasks that are ready have one turn, for
    /// what they are about to say belongs in the same packet; then what was gathered goes out.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<yamux::Stream, ConnectionError>> {
        loop {
            let next = self.connection.poll_next_inbound(cx);
            let is_due = self.is_due.swap(false, Ordering::Relaxed);
            if next.is_ready() || !self.is_put_off.swap(false, Ordering::Relaxed) {
                self.has_yielded = false;
                return next.map(|next| next.unwrap_or(Err(ConnectionError::Closed)));
            }
            if !is_due && !std::mem::replace(&mut self.has_yielded, true) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.has_yielded = false;
            self.is_due.store(true, Ordering::Relaxed); // yamux flushes whenever it is driven
        }
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use futures::AsyncWriteExt;
    use futures::executor::block_on;
    use futures::future::{join_all, poll_fn};
    use futures::io::Cursor;
    use libp2p::core::muxing::StreamMuxerExt;

    use super::*;

    /// Counts the flushes that come through with something to send.
    #[derive(Debug, Default)]
    struct Counting {
        sent: Cursor<Vec<u8>>,
        flushed: u64,
        packets: Arc<AtomicUsize>,
    }

    impl AsyncRead for Counting {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<usize>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Counting {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.sent).poll_write(cx, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            let written = self.sent.position();
            if std::mem::replace(&mut self.flushed, written) < written {
                self.packets.fetch_add(1, Ordering::Relaxed);
            }
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.poll_flush(cx)
        }
    }

    #[test]
    fn what_several_streams_say_at_once_is_one_packet_and_nothing_stays_behind() {
        let io = Counting::default();
        let packets = Arc::clone(&io.packets);
        let mut muxer = MuxerConfig::connect(io, Mode::Client);
        let mut streams: Vec<yamux::Stream> = (0..5).map(|_| block_on(poll_fn(|cx| muxer.poll_outbound_unpin(cx))).unwrap()).collect();
        // once for what is said, once more when all others had their turn
        let drive = |muxer: &mut Muxer<Counting>| (0..2).all(|_| block_on(poll_fn(|cx| Poll::Ready(muxer.poll_unpin(cx).is_pending()))));
        assert!(drive(&mut muxer));
        let before = packets.load(Ordering::Relaxed);
        for round in 1..4 {
            block_on(join_all(streams.iter_mut().map(|stream| stream.write_all(b"a few bytes")))).into_iter().for_each(Result::unwrap);
            assert!(drive(&mut muxer));
            assert_eq!(packets.load(Ordering::Relaxed), before + round, "each round is one packet");
        }
    }
}
