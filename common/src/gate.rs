//! Protocols that are not spoken to a stranger: [`Gate`] holds a behaviour back from every peer that the [`Doorkeeper`]
//! has not admitted.
//!
//! On a connection with such a peer the behaviour's handler offers no protocol, so that an inbound stream of it is refused
//! while it is negotiated, and it is not driven, so that nothing is asked either: what is to be sent waits until the peer
//! is admitted or gone. Admission opens the connections that are there, and at once: the very next stream of the peer is
//! served. An open house admits everybody from the start and costs one relaxed load a stream.

use std::collections::{HashMap, HashSet};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use either::Either;
use futures::future::Either as Output;
use libp2p::PeerId;
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::DeniedUpgrade;
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::handler::{ConnectionEvent, ConnectionHandlerEvent, FullyNegotiatedInbound, ListenUpgradeError, SendWrapper};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionId, FromSwarm, NetworkBehaviour, SubstreamProtocol, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm,
};

/// Latches of peers that are gone are swept out when there are so many, and then twice as many as are left.
const FIRST_SWEEP: usize = 64;

/// Who is admitted. Cloning shares it between the gates of a swarm and whoever decides.
#[derive(Clone, Debug)]
pub struct Doorkeeper(Arc<Mutex<Doors>>);

#[derive(Debug)]
struct Doors {
    is_open_house: bool,
    admitted: HashSet<PeerId>,
    /// Of the peers that are connected, one each.
    latches: HashMap<PeerId, Weak<Latch>>,
    sweep_at: usize,
}

/// Whether one peer is admitted, and which connections wait for it.
#[derive(Debug)]
struct Latch {
    is_open: AtomicBool,
    /// One for each handler of the peer's connections at most.
    waiting: Mutex<Vec<Waker>>,
}

/// A behaviour that is held back from peers that are not admitted.
pub struct Gate<B> {
    inner: B,
    doorkeeper: Doorkeeper,
}

/// The handler of one connection behind a gate.
pub struct GatedHandler<H> {
    inner: H,
    latch: Arc<Latch>,
}

impl Doorkeeper {
    /// Admits everybody.
    #[must_use]
    pub fn open_house() -> Self {
        Self::new(true)
    }

    /// Admits nobody until told to.
    #[must_use]
    pub fn guarded() -> Self {
        Self::new(false)
    }

    fn new(is_open_house: bool) -> Self {
        let doors = Doors { is_open_house, admitted: HashSet::new(), latches: HashMap::new(), sweep_at: FIRST_SWEEP };
        Self(Arc::new(Mutex::new(doors)))
    }

    /// Whether only some are admitted.
    #[must_use]
    pub fn is_guarded(&self) -> bool {
        !self.doors().is_open_house
    }

    /// Whether a peer is admitted.
    #[must_use]
    pub fn is_admitted(&self, peer: &PeerId) -> bool {
        let doors = self.doors();
        doors.is_open_house || doors.admitted.contains(peer)
    }

    /// Admits a peer, on its connections of now and later.
    pub fn admit(&self, peer: PeerId) {
        let mut doors = self.doors();
        doors.admitted.insert(peer);
        if let Some(latch) = doors.latches.get(&peer).and_then(Weak::upgrade) {
            latch.set(true);
        }
    }

    /// Admits a peer no longer. New streams are refused from now on; those that are open end with the connection, which
    /// is for the caller to close.
    pub fn dismiss(&self, peer: &PeerId) {
        let mut doors = self.doors();
        doors.admitted.remove(peer);
        let is_open = doors.is_open_house;
        if let Some(latch) = doors.latches.get(peer).and_then(Weak::upgrade) {
            latch.set(is_open);
        }
    }

    fn doors(&self) -> MutexGuard<'_, Doors> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The latch of a peer that has just connected.
    fn latch(&self, peer: PeerId) -> Arc<Latch> {
        let mut doors = self.doors();
        if let Some(latch) = doors.latches.get(&peer).and_then(Weak::upgrade) {
            return latch;
        }
        if doors.latches.len() >= doors.sweep_at {
            doors.latches.retain(|_, latch| latch.strong_count() > 0);
            doors.sweep_at = FIRST_SWEEP.max(doors.latches.len() * 2);
        }
        let is_open = doors.is_open_house || doors.admitted.contains(&peer);
        let latch = Arc::new(Latch { is_open: AtomicBool::new(is_open), waiting: Mutex::default() });
        doors.latches.insert(peer, Arc::downgrade(&latch));
        latch
    }
}

impl Latch {
    fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    fn set(&self, is_open: bool) {
        self.is_open.store(is_open, Ordering::Release);
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Whether it is open; if it is not, the task is woken when that changes.
    fn poll(&self, cx: &Context<'_>) -> bool {
        if self.is_open() {
            return true;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        self.is_open() // it may have been opened before the waker was there
    }
}

impl<B> Gate<B> {
    /// Holds a behaviour back from peers that are not admitted.
    pub fn new(inner: B, doorkeeper: Doorkeeper) -> Self {
        Self { inner, doorkeeper }
    }
}

impl<B> Deref for Gate<B> {
    type Target = B;
    fn deref(&self) -> &B {
        &self.inner
    }
}

impl<B> DerefMut for Gate<B> {
    fn deref_mut(&mut self) -> &mut B {
        &mut self.inner
    }
}

impl<B: NetworkBehaviour> NetworkBehaviour for Gate<B> {
    type ConnectionHandler = GatedHandler<THandler<B>>;
    type ToSwarm = B::ToSwarm;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.inner.handle_pending_inbound_connection(connection, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let inner = self.inner.handle_established_inbound_connection(connection, peer, local, remote)?;
        Ok(GatedHandler { inner, latch: self.doorkeeper.latch(peer) })
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.inner.handle_pending_outbound_connection(connection, peer, addresses, role)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let inner = self.inner.handle_established_outbound_connection(connection, peer, address, role, port)?;
        Ok(GatedHandler { inner, latch: self.doorkeeper.latch(peer) })
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, event: THandlerOutEvent<Self>) {
        self.inner.on_connection_handler_event(peer, connection, event);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.inner.poll(cx)
    }
}

impl<H: ConnectionHandler> ConnectionHandler for GatedHandler<H> {
    type FromBehaviour = H::FromBehaviour;
    type ToBehaviour = H::ToBehaviour;
    type InboundProtocol = Either<SendWrapper<H::InboundProtocol>, SendWrapper<DeniedUpgrade>>;
    type OutboundProtocol = H::OutboundProtocol;
    type InboundOpenInfo = Option<H::InboundOpenInfo>;
    type OutboundOpenInfo = H::OutboundOpenInfo;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol, Self::InboundOpenInfo> {
        if self.latch.is_open() {
            self.inner.listen_protocol().map_upgrade(|upgrade| Either::Left(SendWrapper(upgrade))).map_info(Some)
        } else {
            SubstreamProtocol::new(Either::Right(SendWrapper(DeniedUpgrade)), None)
        }
    }

    fn connection_keep_alive(&self) -> bool {
        self.inner.connection_keep_alive()
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Self::OutboundOpenInfo, Self::ToBehaviour>> {
        if self.latch.poll(cx) { self.inner.poll(cx) } else { Poll::Pending }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Option<Self::ToBehaviour>> {
        self.inner.poll_close(cx)
    }

    fn on_behaviour_event(&mut self, event: Self::FromBehaviour) {
        self.inner.on_behaviour_event(event);
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol, Self::InboundOpenInfo, Self::OutboundOpenInfo>,
    ) {
        let event = match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: Output::Left(protocol), info: Some(info) }) => {
                ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, info })
            }
            ConnectionEvent::ListenUpgradeError(ListenUpgradeError { info: Some(info), error: Either::Left(error) }) => {
                ConnectionEvent::ListenUpgradeError(ListenUpgradeError { info, error })
            }
            // A stream that was refused while the gate was closed is none of the behaviour's business.
            ConnectionEvent::FullyNegotiatedInbound(_) | ConnectionEvent::ListenUpgradeError(_) => return,
            ConnectionEvent::FullyNegotiatedOutbound(stream) => ConnectionEvent::FullyNegotiatedOutbound(stream),
            ConnectionEvent::DialUpgradeError(error) => ConnectionEvent::DialUpgradeError(error),
            ConnectionEvent::AddressChange(change) => ConnectionEvent::AddressChange(change),
            ConnectionEvent::LocalProtocolsChange(change) => ConnectionEvent::LocalProtocolsChange(change),
            ConnectionEvent::RemoteProtocolsChange(change) => ConnectionEvent::RemoteProtocolsChange(change),
            _ => return, // none that this version of libp2p has
        };
        self.inner.on_connection_event(event);
    }
}
