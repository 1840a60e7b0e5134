//! The piece protocol on one connection.
//!
//! A request of ours goes by a stream that waits, or else a new one is opened for it; there are never more streams than requests
//! were in flight at once. Everything that grows with what a peer does has a bound: its streams ([`MAX_SERVED`]), each of
//! which has one request at most.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use libp2p::Stream;
use libp2p::swarm::handler::{
    ConnectionEvent, ConnectionHandlerEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound, ProtocolsChange,
    StreamUpgradeError,
};
use libp2p::swarm::{ConnectionHandler, SubstreamProtocol};
use potluck_common::buffer::BufferPool;
use potluck_common::codec::Malformed;
use potluck_common::wire::piece::Request;
use tokio::time::{Sleep, sleep};

use super::asking::{Asked, Errand, Idle, ask};
use super::protocol::{Accept, Carries, Propose};
use super::serving::{PieceReply, Served, answer, read};
use super::{IDLE_TIME, MAX_ASKED, MAX_SERVED};
use crate::clock::now;
use crate::net::handle::AskError;

/// What the handler tells the behaviour.
#[derive(Debug)]
pub(crate) enum Told {
    /// The peer asks.
    Asked { request: Result<Request, Malformed>, reply: PieceReply },
    /// The peer keeps streams.
    Keeps,
}

/// One connection.
pub(crate) struct Handler {
    buffers: BufferPool,
    /// Whether the peer keeps streams.
    keeps: bool,
    told: VecDeque<Told>,
    /// Requests that wait for a stream.
    waiting: VecDeque<Errand>,
    /// Streams that are being opened.
    opening: usize,
    idle: Idle<Stream>,
    /// When streams that wait are next looked through.
    tidy_at: Option<Pin<Box<Sleep>>>,
    asking: FuturesUnordered<BoxFuture<'static, Asked<Stream>>>,
    serving: FuturesUnordered<BoxFuture<'static, Served<Stream>>>,
}

type Opening = ConnectionHandlerEvent<Propose, (), Told>;

impl Handler {
    pub(super) fn new(buffers: BufferPool) -> Self {
        Self {
            buffers,
            keeps: false,
            told: VecDeque::new(),
            waiting: VecDeque::new(),
            opening: 0,
            idle: Idle::default(),
            tidy_at: None,
            asking: FuturesUnordered::new(),
            serving: FuturesUnordered::new(),
        }
    }

    fn ask(&mut self, stream: Stream, carries: Carries, is_used: bool, errand: Errand) {
        self.asking.push(ask(stream, carries, is_used, errand, self.buffers.clone()).boxed());
    }

    /// Drives the requests of ours, and takes back the streams of those that are over.
    fn poll_asking(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(asked)) = self.asking.poll_next_unpin(cx) {
            match asked {
                Asked::Settled(Some(stream)) => self.idle.keep(stream, now()),
                Asked::Settled(None) => {}
                Asked::Unheard(errand) => self.waiting.push_front(errand),
            }
        }
    }

    fn poll_serving(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(served)) = self.serving.poll_next_unpin(cx) {
            match served {
                Served::Asked { stream, carries, request } => {
                    let (reply, owed) = PieceReply::new();
                    self.serving.push(answer(stream, carries, owed).boxed());
                    self.told.push_back(Told::Asked { request, reply });
                }
                Served::Sent { stream } => self.serving.push(read(stream, Carries::Many).boxed()),
                Served::Over => {}
            }
        }
    }

    /// Sends what waits by streams that wait. Whether a stream must be opened for the rest.
    fn send_waiting(&mut self) -> bool {
        while let Some(errand) = self.waiting.pop_front() {
            if errand.call.reply.is_closed() {
                continue;
            }
            let Some(stream) = self.idle.take() else {
                self.waiting.push_front(errand);
                break;
            };
            self.ask(stream, Carries::Many, true, errand);
        }
        self.waiting.len() > self.opening
    }

    fn poll_idle(&mut self, cx: &mut Context<'_>) {
        self.idle.tidy(cx);
        if self.idle.is_empty() {
            self.tidy_at = None;
            return;
        }
        while self.tidy_at.get_or_insert_with(|| Box::pin(sleep(IDLE_TIME / 2))).as_mut().poll(cx).is_ready() {
            self.tidy_at = None;
            self.idle.expire(now());
        }
    }

    /// A stream was opened.
    fn on_opened(&mut self, stream: Stream, carries: Carries) {
        self.opening = self.opening.saturating_sub(1);
        match self.waiting.pop_front() {
            Some(errand) => self.ask(stream, carries, false, errand),
            None if carries == Carries::Many => self.idle.keep(stream, now()),
            None => {}
        }
    }

    /// A stream could not be opened: a request less has one to come.
    fn on_not_opened(&mut self, why: AskError) {
        self.opening = self.opening.saturating_sub(1);
        if let Some(errand) = self.waiting.pop_front() {
            errand.fail(why);
        }
    }

    fn on_stream(&mut self, stream: Stream, carries: Carries) {
        if self.serving.len() < MAX_SERVED {
            self.serving.push(read(stream, carries).boxed());
        } else {
            tracing::debug!("a peer has too many streams open; one is reset");
        }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Errand;
    type ToBehaviour = Told;
    type InboundProtocol = Accept;
    type OutboundProtocol = Propose;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Accept> {
        SubstreamProtocol::new(Accept, ())
    }

    fn on_behaviour_event(&mut self, errand: Errand) {
        self.keeps |= errand.keeps;
        if self.waiting.len() + self.asking.len() < MAX_ASKED {
            self.waiting.push_back(errand);
        } else {
            tracing::debug!("more requests at once than a connection takes; one is not sent");
            errand.fail(AskError::Lost);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Opening> {
        self.poll_asking(cx);
        self.poll_serving(cx);
        if let Some(told) = self.told.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(told));
        }
        if self.send_waiting() {
            self.opening += 1;
            let carries = if self.keeps { Carries::Many } else { Carries::One };
            let protocol = SubstreamProtocol::new(Propose(carries), ());
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        self.poll_asking(cx); // those that were just sent
        self.poll_idle(cx);
        Poll::Pending
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Accept, Propose>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: (stream, carries), .. }) => {
                self.on_stream(stream, carries);
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol: (stream, carries), .. }) => {
                self.on_opened(stream, carries);
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, .. }) => self.on_not_opened(match error {
                StreamUpgradeError::NegotiationFailed => AskError::Unsupported,
                _ => AskError::Lost,
            }),
            ConnectionEvent::RemoteProtocolsChange(ProtocolsChange::Added(added)) if !self.keeps && Carries::any_many(added.clone()) => {
                self.keeps = true;
                self.told.push_back(Told::Keeps);
            }
            _ => {}
        }
    }
}
