//! One request of ours on a stream, and the streams that wait for the next.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use futures::task::{AtomicWaker, noop_waker_ref};
use futures::{AsyncRead, AsyncWrite, AsyncWriteExt};
use libp2p::core::upgrade::NegotiationError;
use potluck_common::buffer::BufferPool;
use potluck_common::codec::{Meter, PieceAnswer, read_answer, write_next_request, write_only_request};
use potluck_common::wire::piece::Request;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::protocol::Carries;
use super::{ANSWER_TIME, IDLE_TIME, MAX_IDLE};
use crate::clock::now;
use crate::core::load::Load;
use crate::net::handle::AskError;

/// A request to a peer.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) request: Request,
    /// Follows the answer, and can give it up.
    pub(crate) meter: Meter,
    /// Whoever asks; when it has gone, the answer is given up.
    pub(crate) reply: oneshot::Sender<Result<PieceAnswer, AskError>>,
    /// Who wants to know when it goes to a connection.
    pub(crate) sent: Option<oneshot::Sender<()>>,
}

/// What a connection owes, and who is woken when that is less.
#[derive(Debug)]
pub(super) struct Account {
    load: Mutex<Load>,
    behaviour: Arc<AtomicWaker>,
}

/// What a request makes a connection owe, until this is dropped.
#[derive(Debug)]
pub(crate) struct Debt {
    account: Arc<Account>,
    asked: Instant,
    any_paid: bool,
    rest: u64,
}

/// A request that a connection was chosen for.
#[derive(Debug)]
pub(crate) struct Errand {
    pub(super) call: Call,
    pub(super) debt: Debt,
    /// Whether the peer was seen to keep streams.
    pub(super) keeps: bool,
}

/// What became of a request.
pub(super) enum Asked<S> {
    /// It was answered, or failed, and whoever asked was told. The stream, if it can be used again.
    Settled(Option<S>),
    /// The stream had ended before the request came: it is to be sent by another.
    Unheard(Errand),
}

/// Streams that wait for a request of ours, the one that was used last at the end: its window has grown the most.
pub(super) struct Idle<S>(Vec<(S, Instant)>);

impl Account {
    pub(super) fn new(behaviour: &Arc<AtomicWaker>) -> Self {
        Self { load: Mutex::default(), behaviour: Arc::clone(behaviour) }
    }

    pub(super) fn load(&self) -> MutexGuard<'_, Load> {
        self.load.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Debt {
    pub(super) fn new(account: &Arc<Account>, bytes: u64) -> Self {
        let asked = now();
        account.load().handle_asked(bytes, asked);
        Self { account: Arc::clone(account), asked, any_paid: false, rest: bytes }
    }

    fn pay(&mut self, bytes: u64) {
        let (mut load, now) = (self.account.load(), now());
        let had_room = load.has_room(now);
        if !std::mem::replace(&mut self.any_paid, true) {
            load.handle_begun(now.saturating_duration_since(self.asked));
        }
        load.handle_bytes(bytes, now);
        load.handle_settled(bytes.min(self.rest), now);
        self.rest = self.rest.saturating_sub(bytes);
        if !had_room && load.has_room(now) {
            self.account.behaviour.wake(); // a request may have waited for that
        }
    }
}

impl Drop for Debt {
    fn drop(&mut self) {
        self.account.load().handle_settled(self.rest, now());
        self.account.behaviour.wake(); // another may have waited for this one
    }
}

impl Errand {
    pub(super) fn fail(self, why: AskError) {
        let _ = self.call.reply.send(Err(why)); // whoever asked may have gone
    }
}

/// Sends a request on a stream and reads its answer, as long as somebody waits for it. `is_used` says that the stream has carried
/// requests before.
pub(super) async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    carries: Carries,
    is_used: bool,
    mut errand: Errand,
    buffers: BufferPool,
) -> Asked<S> {
    let Errand { call, debt, .. } = &mut errand;
    let Call { request, meter, reply, .. } = call;
    let mut io = Paying { io: &mut stream, debt, any_came: false };
    let exchange = async {
        match carries {
            Carries::One => {
                write_only_request(&mut io, request).await?;
                io.close().await?;
            }
            Carries::Many => {
                write_next_request(&mut io, request).await?;
                io.flush().await?;
            }
        }
        read_answer(&mut io, &buffers, meter).await
    };
    let answer = tokio::select! {
        answer = timeout(ANSWER_TIME, exchange) => answer,
        () = reply.closed() => return Asked::Settled(None),
    };
    let any_came = io.any_came;
    match answer {
        Ok(Ok(answer)) => {
            let Errand { call, debt, .. } = errand;
            drop(debt);
            let _ = call.reply.send(Ok(answer)); // whoever asked may have gone
            return Asked::Settled((carries == Carries::Many).then_some(stream));
        }
        Ok(Err(error)) if is_used && !any_came && is_end(&error) => return Asked::Unheard(errand),
        Ok(Err(error)) => errand.fail(ask_error(&error)),
        Err(_) => errand.fail(AskError::Lost),
    }
    Asked::Settled(None)
}

/// Whether a stream had ended.
fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected, UnexpectedEof, WriteZero};
    matches!(error.kind(), UnexpectedEof | WriteZero | BrokenPipe | ConnectionReset | NotConnected)
}

fn ask_error(error: &io::Error) -> AskError {
    // A request that is sent along with the proposal of its protocol learns as a failure of the stream that it is not spoken.
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<NegotiationError>());
    match error.kind() {
        _ if matches!(cause, Some(NegotiationError::Failed)) => AskError::Unsupported,
        io::ErrorKind::InvalidData => AskError::Broken(error.to_string()),
        _ => AskError::Lost,
    }
}

impl<S> Default for Idle<S> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<S: AsyncRead + Unpin> Idle<S> {
    /// Keeps a stream, if there are not too many.
    pub(super) fn keep(&mut self, stream: S, now: Instant) {
        if self.0.len() < MAX_IDLE {
            self.0.push((stream, now));
        }
    }

    /// A stream that has not ended.
    pub(super) fn take(&mut self) -> Option<S> {
        while let Some((mut stream, _)) = self.0.pop() {
            if is_silent(&mut stream, &mut Context::from_waker(noop_waker_ref())) {
                return Some(stream);
            }
        }
        None
    }

    /// Drops the streams that ended, or on which something came that nobody asked for; wakes the task when one does.
    pub(super) fn tidy(&mut self, cx: &mut Context<'_>) {
        self.0.retain_mut(|(stream, _)| is_silent(stream, cx));
    }

    /// Drops the streams that have waited for too long.
    pub(super) fn expire(&mut self, now: Instant) {
        self.0.retain(|(_, since)| now.saturating_duration_since(*since) < IDLE_TIME);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn is_silent<S: AsyncRead + Unpin>(stream: &mut S, cx: &mut Context<'_>) -> bool {
    Pin::new(stream).poll_read(cx, &mut [0]).is_pending()
}

/// A stream whose bytes pay for what the connection owes.
struct Paying<'a, S> {
    io: &'a mut S,
    debt: &'a mut Debt,
    any_came: bool,
}

impl<S: AsyncRead + Unpin> AsyncRead for Paying<'_, S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let read = Pin::new(&mut *this.io).poll_read(cx, buffer);
        if let Poll::Ready(Ok(bytes @ 1..)) = read {
            this.any_came = true;
            this.debt.pay(bytes as u64);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paying<'_, S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.get_mut().io).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().io).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().io).poll_close(cx)
    }
}
