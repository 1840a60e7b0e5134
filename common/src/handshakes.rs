//! Handshakes of incoming connections, each of which can be ended: libp2p itself waits for ten seconds for whoever is silent, and what it
//! waits for takes the room of others.
//!
//! [`Breakable`] wraps a transport and notes each handshake from the first byte to the last; [`Handshakes::end`] ends one. Which one is for
//! [`host_limits`](crate::host_limits) to say.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use futures::future::{AbortHandle, Abortable};
use libp2p::core::Multiaddr;
use libp2p::core::transport::{DialOpts, ListenerId, Transport, TransportError, TransportEvent};

/// Where a connection begins and ends: our address, then theirs.
pub type Ends = (Multiaddr, Multiaddr);

/// The handshakes that are under way. Cloning shares them. As many as a transport hands out and nobody has dropped.
#[derive(Clone, Debug, Default)]
pub struct Handshakes(Arc<Mutex<UnderWay>>);

#[derive(Debug, Default)]
struct UnderWay {
    /// Between the same two ends there may be several by QUIC; the oldest is the first.
    by_ends: HashMap<Ends, Vec<(u64, AbortHandle)>>,
    next: u64,
}

/// A transport whose incoming handshakes can be ended.
#[derive(Debug)]
pub struct Breakable<T> {
    transport: T,
    handshakes: Handshakes,
}

/// One handshake of an incoming connection. Dropping it ends it.
#[derive(Debug)]
pub struct Handshake<F> {
    future: Abortable<F>,
    handshakes: Handshakes,
    ends: Ends,
    number: u64,
}

impl Handshakes {
    /// Ends the oldest handshake between these ends; its connection fails as if the other side had gone away. Without one, nothing happens.
    pub fn end(&self, ends: &Ends) {
        let under_way = self.lock();
        if let Some((_, handle)) = under_way.by_ends.get(ends).and_then(|handles| handles.first()) {
            handle.abort(); // and dropping it takes it out
        }
    }

    fn begin<F>(&self, ends: Ends, future: F) -> Handshake<F> {
        let (handle, registration) = AbortHandle::new_pair();
        let mut under_way = self.lock();
        let number = under_way.next;
        under_way.next += 1;
        under_way.by_ends.entry(ends.clone()).or_default().push((number, handle));
        Handshake { future: Abortable::new(future, registration), handshakes: self.clone(), ends, number }
    }

    fn lock(&self) -> MutexGuard<'_, UnderWay> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Breakable<T> {
    /// Notes the handshakes of a transport in `handshakes`.
    #[must_use]
    pub fn new(transport: T, handshakes: Handshakes) -> Self {
        Self { transport, handshakes }
    }
}

impl<F: Future<Output = io::Result<O>> + Unpin, O> Future for Handshake<F> {
    type Output = io::Result<O>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let done = ready!(Pin::new(&mut self.future).poll(cx));
        Poll::Ready(done.unwrap_or_else(|_| Err(io::ErrorKind::ConnectionAborted.into())))
    }
}

impl<F> Drop for Handshake<F> {
    fn drop(&mut self) {
        let mut under_way = self.handshakes.lock();
        if let Some(handles) = under_way.by_ends.get_mut(&self.ends) {
            handles.retain(|(number, _)| *number != self.number);
            if handles.is_empty() {
                under_way.by_ends.remove(&self.ends);
            }
        }
    }
}

impl<T> Transport for Breakable<T>
where
    T: Transport<Error = io::Error> + Unpin,
    T::ListenerUpgrade: Unpin,
{
    type Output = T::Output;
    type Error = io::Error;
    type ListenerUpgrade = Handshake<T::ListenerUpgrade>;
    type Dial = T::Dial;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.transport.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.transport.remove_listener(id)
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        self.transport.dial(address, options)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        let event = ready!(Pin::new(&mut self.transport).poll(cx));
        let ends = match &event {
            TransportEvent::Incoming { local_addr, send_back_addr, .. } => (local_addr.clone(), send_back_addr.clone()),
            _ => (Multiaddr::empty(), Multiaddr::empty()), // no handshake begins
        };
        Poll::Ready(event.map_upgrade(|future| self.handshakes.begin(ends, future)))
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Pending, pending, ready};

    use futures::FutureExt;

    use super::*;

    fn ends(port: u16) -> Ends {
        ("/ip4/127.0.0.1/tcp/9470".parse().unwrap(), format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap())
    }

    fn silent(handshakes: &Handshakes, port: u16) -> Handshake<Pending<io::Result<()>>> {
        handshakes.begin(ends(port), pending())
    }

    #[test]
    fn a_silent_handshake_ends_when_it_is_told_to_and_others_go_on() {
        let handshakes = Handshakes::default();
        let (mut first, mut second) = (silent(&handshakes, 1), silent(&handshakes, 2));
        assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
        handshakes.end(&ends(1));
        let ended = (&mut first).now_or_never().unwrap().unwrap_err();
        assert_eq!(ended.kind(), io::ErrorKind::ConnectionAborted);
        assert!((&mut second).now_or_never().is_none());
    }

    #[test]
    fn of_several_between_the_same_ends_the_oldest_ends() {
        let handshakes = Handshakes::default();
        let (mut first, mut second) = (silent(&handshakes, 1), silent(&handshakes, 1));
        handshakes.end(&ends(1));
        assert!((&mut first).now_or_never().is_some() && (&mut second).now_or_never().is_none());
        drop(first);
        handshakes.end(&ends(1));
        assert!((&mut second).now_or_never().is_some());
    }

    #[test]
    fn what_is_over_leaves_nothing_behind() {
        let handshakes = Handshakes::default();
        let done = handshakes.begin(ends(1), ready(Ok::<_, io::Error>(7)));
        let gone = silent(&handshakes, 2);
        assert_eq!(done.now_or_never().unwrap().unwrap(), 7);
        drop(gone);
        handshakes.end(&ends(1));
        assert!(handshakes.lock().by_ends.is_empty());
    }
}
