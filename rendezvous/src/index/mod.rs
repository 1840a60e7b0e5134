//! The index of a tracker behind one interface: what the event loop asks of it, whoever keeps it.
//!
//! | who | where entries are | for |
//! |---|---|---|
//! | [`Embedded`] | in this process, saved in a file beside the identity | one tracker, with no server to install |
//! | [`Shared`] | in PostgreSQL | several trackers at once that stand for one swarm |
//!
//! No method waits. What can be answered at once is returned, what has to wait for a disk or a database comes with
//! [`Index::told`], with the waiter that was handed in: in a tracker, the channel of the answer. Both keepers answer alike; the
//! scenario `both_indexes` holds one against the other.

mod embedded;
mod joiner;
mod readers;
mod shared;

use std::time::{Duration, Instant};

use potluck_common::namespace::Namespace;
use potluck_common::peer::PeerKey;
use potluck_common::wire::index::{Address, Answer, Publish, Published, Request, Withdraw};
use potluck_common::wire::{Bounded, MAX_ADDRESSES, Refusal};

use crate::admin::{NamespaceLine, PeersPage};
use crate::watches::Watches;
use crate::{Event, TrackerError};

pub(crate) use embedded::Embedded;
pub use shared::DatabaseError;
pub(crate) use shared::Shared;

/// The index. `W` is whoever waits for an answer.
pub(crate) enum Index<W> {
    Embedded(Embedded<W>),
    Shared(Shared<W>),
}

/// What the index has to tell. `W` is whoever waits for an answer.
#[derive(Debug)]
pub(crate) enum Told<W> {
    /// These have waited long enough.
    Answers(Vec<(W, Answer)>),
    /// One has, and what it published is news to those who watch.
    Published(W, Answer, Box<(PeerKey, Publish)>),
    /// How far a start is.
    Progress(Event),
    /// Nothing that anybody waits for.
    Nothing,
}

/// An answer that is there at once, with who waits for it; `None` when it comes later.
pub(crate) type AtOnce<W> = Option<(W, Answer)>;

impl<W: Send + 'static> Index<W> {
    /// Takes what a peer offers, or renews its lease.
    pub(crate) fn publish(&mut self, peer: PeerKey, publish: Publish, waiter: W, watches: &mut Watches<W>, now: Instant) -> AtOnce<W> {
        match self {
            Self::Embedded(index) => index.publish(peer, publish, waiter, watches, now),
            Self::Shared(index) => index.publish(peer, publish, waiter),
        }
    }

    /// A peer leaves a namespace: nothing of it is told any more, nor kept, unless it means to come back. A shared index keeps
    /// nothing even then.
    pub(crate) fn withdraw(&mut self, peer: &PeerKey, withdraw: &Withdraw, waiter: W) -> AtOnce<W> {
        match self {
            Self::Embedded(index) => Some((waiter, index.withdraw(peer, withdraw))),
            Self::Shared(index) => index.withdraw(peer, &withdraw.namespace, waiter),
        }
    }

    /// Answers a request that reads.
    pub(crate) fn read(&mut self, request: Request, waiter: W) -> AtOnce<W> {
        match self {
            Self::Embedded(index) => index.read(request, waiter),
            Self::Shared(index) => index.read(request, waiter),
        }
    }

    /// Whether requests are refused because what was saved is still being read.
    pub(crate) fn is_restoring(&self) -> bool {
        matches!(self, Self::Embedded(index) if index.is_restoring())
    }

    /// Whether requests are carried out: what was saved is there again, or the database answers.
    pub(crate) fn is_ready(&self) -> bool {
        match self {
            Self::Embedded(index) => !index.is_restoring(),
            Self::Shared(index) => index.is_answering(),
        }
    }

    /// Whether other trackers may share it.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self, Self::Shared(_))
    }

    /// The namespaces by name, with what is told in each, as far as this tracker knows it: nothing is asked of a database.
    pub(crate) fn namespaces(&self) -> Vec<NamespaceLine> {
        match self {
            Self::Embedded(index) => index.catalog().namespaces(),
            Self::Shared(index) => index.attendance.namespaces(),
        }
    }

    /// Some of the registrations that this tracker knows, in the order of namespaces and PeerIds, and how many there are.
    pub(crate) fn registered(&self, offset: u64, limit: u32) -> PeersPage {
        match self {
            Self::Embedded(index) => index.catalog().registered(offset, limit),
            Self::Shared(index) => index.attendance.registered(offset, limit),
        }
    }

    /// How often changes to what peers offer were taken here since the start.
    pub(crate) fn taken(&self) -> u64 {
        match self {
            Self::Embedded(index) => index.taken,
            Self::Shared(index) => index.taken,
        }
    }

    /// A peer has registered by rendezvous, for `ttl`. Changes nothing for a peer that publishes.
    pub(crate) fn handle_rendezvous(
        &mut self,
        peer: PeerKey,
        namespace: &Namespace,
        addresses: Bounded<Address, MAX_ADDRESSES>,
        ttl: Duration,
        now: Instant,
    ) {
        match self {
            Self::Embedded(index) => index.catalog_mut().handle_rendezvous(namespace, peer, addresses, ttl, now),
            Self::Shared(index) => index.handle_rendezvous(peer, namespace, addresses, ttl, now),
        }
    }

    /// A peer has unregistered by rendezvous.
    pub(crate) fn handle_unregistered(&mut self, peer: &PeerKey, namespace: &Namespace) {
        match self {
            Self::Embedded(index) => index.catalog_mut().handle_unregistered(namespace, peer),
            Self::Shared(index) => index.handle_unregistered(peer, Some(namespace)),
        }
    }

    /// A peer has to leave all its namespaces.
    pub(crate) fn withdraw_all(&mut self, peer: &PeerKey) {
        match self {
            Self::Embedded(index) => index.catalog_mut().withdraw_all(peer),
            Self::Shared(index) => index.handle_unregistered(peer, None),
        }
    }

    /// A peer has connected.
    pub(crate) fn handle_connected(&mut self, peer: &PeerKey) {
        match self {
            Self::Embedded(index) => index.catalog_mut().handle_connected(peer),
            Self::Shared(index) => index.attendance.handle_connected(peer),
        }
    }

    /// A peer's last connection was closed.
    pub(crate) fn handle_lost(&mut self, peer: &PeerKey, now: Instant) {
        match self {
            Self::Embedded(index) => index.catalog_mut().handle_lost(peer, now),
            Self::Shared(index) => index.attendance.handle_lost(peer, now),
        }
    }

    /// A connected peer does not answer pings.
    pub(crate) fn handle_silent(&mut self, peer: &PeerKey) {
        match self {
            Self::Embedded(index) => index.catalog_mut().handle_silent(peer),
            Self::Shared(index) => index.attendance.handle_silent(peer),
        }
    }

    /// A silent peer answers pings again.
    pub(crate) fn handle_heard(&mut self, peer: &PeerKey) {
        match self {
            Self::Embedded(index) => index.catalog_mut().handle_heard(peer),
            Self::Shared(index) => index.attendance.handle_heard(peer),
        }
    }

    /// Time has passed; `unix_now` is the calendar in seconds since 1970-01-01 UTC.
    pub(crate) fn handle_tick(&mut self, now: Instant, unix_now: i64) {
        match self {
            Self::Embedded(index) => index.handle_tick(now, unix_now),
            Self::Shared(index) => index.handle_tick(now, unix_now),
        }
    }

    /// What it has to tell. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When the index cannot go on.
    pub(crate) async fn told(&mut self) -> Result<Told<W>, TrackerError> {
        match self {
            Self::Embedded(index) => index.told().await,
            Self::Shared(index) => Ok(index.told().await),
        }
    }

    /// Lets go of what is open, so that the next start has nothing to check.
    pub(crate) async fn close(self) {
        match self {
            Self::Embedded(index) => index.close().await,
            Self::Shared(index) => index.close().await,
        }
    }
}

/// The answer to a `Publish` after which `revision` is held.
fn published(revision: u64, lease: Duration) -> Answer {
    let lease_seconds = u32::try_from(lease.as_secs()).unwrap_or(u32::MAX);
    Answer::Published(Published { revision, lease_seconds })
}

fn refuse(why: Refusal) -> Answer {
    Answer::Refused { why }
}
