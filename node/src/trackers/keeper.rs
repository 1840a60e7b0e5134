//! The task that keeps the registration at one tracker.

use std::sync::Arc;
use std::time::Duration;

use libp2p::PeerId;
use potluck_common::transport::is_loopback;
use potluck_common::wire::index::{Address, Answer, MAX_CHANGES, Publish, Request};
use potluck_common::wire::{Bounded, MAX_ADDRESSES, MAX_INDEX_MESSAGE_BYTES, Refusal};
use tokio::time::sleep_until;

use super::{DeskState, Inner, NOT_A_MEMBER, Trackers, Wanted, leave};
use crate::clock::now;
use crate::core::journal::{Base, Batch};
use crate::core::registration::{Action, Event as Told, Part, Registration};
use crate::net::{AskError, DialError, NetEvent};
use crate::types::Event;

/// Bytes of changes in one message, less what surrounds them: addresses and names.
const CHANGES_BYTES: usize = MAX_INDEX_MESSAGE_BYTES - (32 << 10);
/// How long our peer record is asked to be kept by the rendezvous protocol, in seconds.
const RECORD_TTL_SECONDS: u64 = 120;
/// The longest that a tracker's task sleeps: it looks then whether it missed something.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// The task that keeps the registration at one tracker.
pub(super) struct Keeper {
    trackers: Trackers,
    /// Its place among the desks.
    number: usize,
    registration: Registration,
    /// Who it is, as the user said or as was found out.
    peer: Option<PeerId>,
    /// The last changes that were sent, without the changes: where the tracker stands after them.
    sent: Option<Batch>,
    /// Whether somebody else answers there: the user was told once.
    is_banned: bool,
}

impl Keeper {
    pub(super) fn new(trackers: Trackers, number: usize, peer: Option<PeerId>) -> Self {
        let registration = Registration::new(rand::random());
        Self { trackers, number, registration, peer, sent: None, is_banned: false }
    }

    pub(super) async fn run(mut self) {
        let inner = Arc::clone(&self.trackers.0);
        let mut wanted = inner.wanted.subscribe();
        let mut revisions = inner.shares.revisions();
        let mut net_events = inner.net_events.subscribe();
        if *wanted.borrow_and_update() == Wanted::Connected {
            self.registration.deregister();
        }
        loop {
            while let Some(action) = self.registration.poll_action(now()) {
                self.act(action).await;
                self.tell();
            }
            self.tell();
            let wake = self.registration.poll_timeout().unwrap_or_else(|| now() + LONGEST_SLEEP);
            tokio::select! {
                () = sleep_until(wake.into()) => {}
                Ok(()) = wanted.changed() => self.on_wanted(*wanted.borrow_and_update()),
                Ok(()) = revisions.changed() => {
                    revisions.mark_unchanged();
                    let revision = inner.offered_revision();
                    self.registration.handle_changed(revision, now());
                }
                event = net_events.recv() => self.on_net(event.ok()).await,
            }
        }
    }

    fn on_wanted(&mut self, wanted: Wanted) {
        match wanted {
            Wanted::Registered(_) => self.registration.register(),
            Wanted::Connected => self.registration.deregister(),
        }
    }

    /// Takes what the network tells; `None` when this task was too slow and missed some of it.
    async fn on_net(&mut self, event: Option<NetEvent>) {
        match event {
            Some(NetEvent::Disconnected(peer)) if Some(peer) == self.peer => self.registration.handle_disconnected(now()),
            Some(NetEvent::Connected(peer, _)) if Some(peer) == self.peer => self.registration.handle_connected(),
            Some(NetEvent::Registered(peer)) if Some(peer) == self.peer => {
                self.registration.handle_registered(Duration::from_secs(RECORD_TTL_SECONDS), now());
            }
            Some(NetEvent::RegisterFailed(peer, why)) if Some(peer) == self.peer => {
                tracing::debug!(tracker = %peer, %why, "the peer record was refused");
                self.registration.handle_refused(Part::Rendezvous, Refusal::Unavailable, now());
            }
            Some(_) => {}
            None => {
                let is_connected = match self.peer {
                    Some(peer) => self.trackers.0.asking.net.connections().await.contains(&peer),
                    None => false,
                };
                if self.registration.is_connected() && !is_connected {
                    self.registration.handle_disconnected(now());
                }
            }
        }
    }

    async fn act(&mut self, action: Action) {
        match action {
            Action::Connect => self.connect().await,
            Action::Publish => self.publish().await,
            Action::Register => self.register().await,
            Action::Leave => {
                if let Some(tracker) = self.peer {
                    leave(&self.trackers.0.asking, tracker).await;
                }
            }
        }
    }

    async fn connect(&mut self) {
        let inner = Arc::clone(&self.trackers.0);
        let address = self.trackers.desks().get(self.number).map(|desk| desk.address.clone());
        let Some(address) = address else { return };
        let mut addresses = vec![address.clone()];
        let known = self.peer.and_then(|peer| inner.asking.contacts.get(&peer)).map(|contact| contact.addresses);
        addresses.extend(known.unwrap_or_default().into_iter().filter(|known| *known != address));
        match inner.asking.net.connect(self.peer, addresses).await {
            Ok(peer) => {
                self.peer = Some(peer);
                inner.asking.contacts.meet(peer, &address);
                inner.asking.contacts.expect_tracker(peer);
                self.trackers.edit(self.number, |desk| {
                    (desk.peer, desk.error, desk.settled, desk.is_refused) = (Some(peer), None, true, false);
                });
                self.registration.handle_connected();
                self.registration.handle_changed(inner.offered_revision(), now());
            }
            Err(error) => {
                let sentence = match &error {
                    DialError::WrongPeer { obtained } => {
                        format!(
                            "another tracker answers there ({obtained}); nothing was told to it; check the address with whoever runs the tracker"
                        )
                    }
                    DialError::NotAdmitted => NOT_A_MEMBER.to_owned(),
                    other => other.to_string(),
                };
                let is_refused = error == DialError::NotAdmitted;
                let is_wrong = matches!(error, DialError::WrongPeer { .. });
                let is_news = if is_wrong { !std::mem::replace(&mut self.is_banned, true) } else { self.is_first_trouble() };
                if is_news {
                    self.tell_lost(&sentence);
                }
                self.trackers.edit(self.number, |desk| (desk.error, desk.settled, desk.is_refused) = (Some(sentence), true, is_refused));
                self.registration.handle_disconnected(now());
            }
        }
    }

    /// Our peer record is sent; libp2p's events tell what comes of it. A node that listens nowhere has none.
    async fn register(&mut self) {
        let inner = &self.trackers.0;
        let Some(tracker) = self.peer else { return };
        if inner.addresses.borrow().is_empty() {
            self.registration.handle_registered(Duration::from_secs(RECORD_TTL_SECONDS), now());
            return;
        }
        inner.asking.net.register(tracker, inner.asking.namespace.clone(), RECORD_TTL_SECONDS).await;
    }

    async fn publish(&mut self) {
        let inner = Arc::clone(&self.trackers.0);
        let Some(tracker) = self.peer else { return };
        let publish = self.next_publish(&inner);
        match inner.asking.net.ask_index(tracker, Request::Publish(publish)).await {
            Ok(Answer::Published(held)) => {
                let lease = Duration::from_secs(u64::from(held.lease_seconds));
                self.registration.handle_published(held.revision, lease, now());
            }
            Ok(Answer::Refused { why }) => self.registration.handle_refused(Part::Index, why, now()),
            Ok(_) => self.registration.handle_refused(Part::Index, Refusal::Unsupported, now()),
            Err(AskError::Unsupported | AskError::Lost) if inner.asking.is_closed(&tracker) => {
                self.registration.handle_refused(Part::Index, Refusal::NotPermitted, now());
            }
            Err(error) => {
                tracing::debug!(%tracker, %error, "not published");
                self.registration.handle_failed(Part::Index, now());
            }
        }
    }

    /// The changes since what the tracker holds; nothing but a question when that is not known.
    fn next_publish(&mut self, inner: &Inner) -> Publish {
        let revision = inner.offered_revision();
        let table = inner.shares.lock();
        let (base, revision, changes) = match self.registration.tracker_revision() {
            Some(held) if held != revision => {
                let stands = self.sent.take().map_or(Base::told(held), |batch| batch.after(held));
                let mut batch = table.journal.changes_since(stands, MAX_CHANGES, CHANGES_BYTES);
                let changes = std::mem::take(&mut batch.changes);
                let sent = self.sent.insert(batch);
                (sent.base, sent.revision, changes)
            }
            _ => {
                self.sent = None;
                (revision, revision, Vec::new())
            }
        };
        Publish {
            namespace: inner.asking.namespace.clone(),
            nickname: inner.nickname.clone(),
            addresses: self.told_addresses(inner),
            epoch: table.journal.epoch(),
            base,
            revision,
            changes: Bounded::truncated(changes),
        }
    }

    /// Our addresses as this tracker's other nodes could use them: loopback only for a tracker on this machine.
    fn told_addresses(&self, inner: &Inner) -> Bounded<Address, MAX_ADDRESSES> {
        let is_local = self.trackers.desks().get(self.number).is_some_and(|desk| is_loopback(&desk.address));
        let addresses = inner.addresses.borrow();
        let told = addresses.iter().filter(|text| is_local || !text.as_str().parse().is_ok_and(|address| is_loopback(&address)));
        Bounded::truncated(told.cloned())
    }

    /// Shows how the registration is.
    fn tell(&mut self) {
        while let Some(event) = self.registration.poll_event() {
            let inner = &self.trackers.0;
            match event {
                Told::Registered => {
                    let tracker = self.trackers.desks().get(self.number).map(|desk| desk.full_address().to_string()).unwrap_or_default();
                    let _ = inner.events.send(Event::Registered { tracker, namespace: inner.asking.namespace.to_string() });
                    self.trackers.edit(self.number, |desk| desk.error = None);
                }
                Told::InStep => {}
                Told::Lost => {
                    if !matches!(*inner.wanted.borrow(), Wanted::Connected) {
                        self.tell_lost("the tracker is gone; the node keeps trying, and transfers go on");
                    }
                }
                Told::Refused(why) => {
                    let sentence = match why {
                        Refusal::NotPermitted => NOT_A_MEMBER.to_owned(),
                        why => format!("the tracker refuses us: {why}"),
                    };
                    self.tell_lost(&sentence);
                    self.trackers.edit(self.number, |desk| desk.error = Some(sentence));
                }
            }
        }
        let state = match (self.registration.is_connected(), self.registration.tracker_revision()) {
            (true, Some(_)) => DeskState::Registered,
            (true, None) => DeskState::Connected,
            (false, _) if self.registration.poll_timeout().is_some() => DeskState::Waiting,
            (false, _) => DeskState::Connecting,
        };
        let is_news = self.trackers.desks().get(self.number).is_some_and(|desk| desk.state != state);
        if is_news {
            self.trackers.edit(self.number, |desk| desk.state = state);
        }
    }

    /// Whether all was well with the tracker so far: what goes on being wrong is told once.
    fn is_first_trouble(&self) -> bool {
        self.trackers.desks().get(self.number).is_some_and(|desk| desk.error.is_none())
    }

    fn tell_lost(&self, error: &str) {
        let tracker = self.trackers.desks().get(self.number).map(|desk| desk.full_address().to_string()).unwrap_or_default();
        let _ = self.trackers.0.events.send(Event::TrackerLost { tracker, error: error.to_owned() });
    }
}
