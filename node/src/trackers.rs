//! The node's trackers: finds them, keeps the registration at each, publishes what changes.
//!
//! One task a tracker drives one core/registration.rs; a task of its own looks for trackers where the user named none:
//! at the usual port of this machine, and among the peers of the LAN.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use potluck_common::transport::{is_loopback, split_peer};
use potluck_common::wire::index::{Address, Answer, MAX_CHANGES, Nickname, Publish, Request, Withdraw};
use potluck_common::wire::{Bounded, MAX_INDEX_MESSAGE_BYTES, Refusal};
use tokio::sync::{broadcast, watch};
use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout};

use crate::asking::Asking;
use crate::clock::now;
use crate::config::TRACKER_PORT;
use crate::core::journal::{Base, Batch};
use crate::core::registration::{Action, Event as Told, Part, Registration};
use crate::error::{CommandError, Failure};
use crate::net::{DialError, NetEvent};
use crate::shares::Shares;
use crate::types::{Event, TrackerLine};

/// Bytes of changes in one message, less what surrounds them: addresses and names.
const CHANGES_BYTES: usize = MAX_INDEX_MESSAGE_BYTES - (32 << 10);
/// How long our peer record is asked to be kept by the rendezvous protocol, in seconds.
const RECORD_TTL_SECONDS: u64 = 120;
/// How often a tracker on this machine is looked for while there is none.
const FIND_INTERVAL: Duration = Duration::from_secs(2);
/// How long a verb waits until it is known which trackers can be reached.
const SETTLE_PATIENCE: Duration = Duration::from_secs(6);
/// The same where no tracker was named: the LAN answers within this or not at all.
const FIND_PATIENCE: Duration = Duration::from_secs(3);
/// How long `register` and `deregister` wait for the trackers' answers.
const ANSWER_PATIENCE: Duration = Duration::from_secs(6);
/// Most peers of the LAN that are dialled to see whether they are trackers.
const MAX_LAN_DIALS: usize = 64;
/// Most trackers of a node.
const MAX_TRACKERS: usize = 16;
/// The longest that a tracker's task sleeps: it looks then whether it missed something.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// What the trackers' tasks work with.
pub(crate) struct Setup {
    pub(crate) asking: Asking,
    pub(crate) shares: Arc<Shares>,
    pub(crate) events: broadcast::Sender<Event>,
    pub(crate) net_events: broadcast::Sender<NetEvent>,
    pub(crate) addresses: watch::Receiver<Vec<Address>>,
    pub(crate) nickname: Nickname,
    /// The trackers that the user named.
    pub(crate) trackers: Vec<Multiaddr>,
    /// Whether to look for trackers.
    pub(crate) find: bool,
    /// Whether the node registers by itself; a short-lived one only asks.
    pub(crate) stays: bool,
}

/// All trackers of the node. Cloning shares them.
#[derive(Clone)]
pub(crate) struct Trackers(Arc<Inner>);

struct Inner {
    asking: Asking,
    shares: Arc<Shares>,
    events: broadcast::Sender<Event>,
    net_events: broadcast::Sender<NetEvent>,
    addresses: watch::Receiver<Vec<Address>>,
    nickname: Nickname,
    find: bool,
    /// Whether the user wants to be registered; each task follows it.
    wanted: watch::Sender<Wanted>,
    desks: Mutex<Vec<Desk>>,
    /// Moves when a desk changes.
    moved: watch::Sender<u64>,
}

/// What the user wants of all trackers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// Be registered; the number moves when it is asked for once more.
    Registered(u64),
    /// Be connected only.
    Connected,
}

/// What is known of one tracker.
#[derive(Clone, Debug)]
struct Desk {
    address: Multiaddr,
    peer: Option<PeerId>,
    state: DeskState,
    error: Option<String>,
    /// Whether the first attempt to connect is over.
    settled: bool,
    /// Whether the tracker was told that we leave.
    has_left: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DeskState {
    Connecting,
    Connected,
    Registered,
    Waiting,
}

impl Trackers {
    /// Starts the tasks.
    pub(crate) fn start(setup: Setup) -> Self {
        let Setup { asking, shares, events, net_events, addresses, nickname, trackers, find, stays } = setup;
        let wanted = watch::Sender::new(if stays { Wanted::Registered(0) } else { Wanted::Connected });
        let desks = Mutex::default();
        let this = Self(Arc::new(Inner {
            asking,
            shares,
            events,
            net_events,
            addresses,
            nickname,
            find,
            wanted,
            desks,
            moved: watch::Sender::new(0),
        }));
        for address in trackers.into_iter().take(MAX_TRACKERS) {
            this.add(address);
        }
        if find {
            tokio::spawn(Finder { trackers: this.clone(), tried: HashSet::new() }.run());
        }
        this
    }

    fn desks(&self) -> MutexGuard<'_, Vec<Desk>> {
        self.0.desks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps one more tracker, unless it is known.
    fn add(&self, address: Multiaddr) {
        let (place, peer) = split_peer(address);
        let mut desks = self.desks();
        let is_known = desks.iter().any(|desk| (peer.is_some() && desk.peer == peer) || desk.address == place);
        if is_known || desks.len() == MAX_TRACKERS {
            return;
        }
        let number = desks.len();
        desks.push(Desk { address: place, peer, state: DeskState::Connecting, error: None, settled: false, has_left: false });
        drop(desks);
        let registration = Registration::new(rand::random());
        tokio::spawn(Keeper { trackers: self.clone(), number, registration, peer, sent: None, is_banned: false }.run());
    }

    fn edit(&self, number: usize, change: impl FnOnce(&mut Desk)) {
        if let Some(desk) = self.desks().get_mut(number) {
            change(desk);
        }
        self.0.moved.send_modify(|count| *count += 1);
    }

    /// Where the node listens, as texts.
    pub(crate) fn addresses(&self) -> watch::Receiver<Vec<Address>> {
        self.0.addresses.clone()
    }

    /// Waits until every tracker was tried once, for a while.
    pub(crate) async fn settled(&self) {
        let patience = if self.0.find { FIND_PATIENCE } else { SETTLE_PATIENCE };
        let is_settled = |desks: &[Desk]| desks.iter().all(|desk| desk.settled) && !(self.0.find && desks.is_empty());
        self.wait(patience, is_settled).await;
    }

    /// Waits until something holds of all trackers; tells whether it came to hold.
    async fn wait(&self, patience: Duration, holds: impl Fn(&[Desk]) -> bool) -> bool {
        let mut moved = self.0.moved.subscribe();
        let wait = async {
            while !holds(&self.desks()) {
                if moved.changed().await.is_err() {
                    return;
                }
            }
        };
        timeout(patience, wait).await.is_ok()
    }

    /// Why nobody can be asked.
    pub(crate) fn nobody(&self) -> CommandError {
        let desks = self.desks();
        let message = match desks.as_slice() {
            [] => "no tracker was found on this machine or the LAN; start one with `potluck-tracker`, name one with --tracker, or dial a peer with `potluck dial`".to_owned(),
            some => {
                let all: Vec<String> = some.iter().map(|desk| format!("{} ({})", desk.address, desk.error.as_deref().unwrap_or("no answer yet"))).collect();
                format!("no tracker can be reached: {}; check the address and that it runs", all.join(", "))
            }
        };
        CommandError::new(Failure::Unreachable, message)
    }

    /// The trackers as they are shown.
    pub(crate) fn lines(&self) -> Vec<TrackerLine> {
        let namespace = self.0.asking.namespace.to_string();
        self.desks().iter().map(|desk| desk.line(&namespace, *self.0.wanted.borrow())).collect()
    }

    /// Registers with every tracker now, and waits for their answers.
    pub(crate) async fn register(&self) -> Result<Vec<TrackerLine>, CommandError> {
        self.0.wanted.send_modify(|wanted| {
            *wanted = match wanted {
                Wanted::Registered(times) => Wanted::Registered(*times + 1),
                Wanted::Connected => Wanted::Registered(1),
            }
        });
        self.settled().await;
        self.wait(ANSWER_PATIENCE, |desks| desks.iter().all(|desk| desk.state == DeskState::Registered)).await;
        let lines = self.lines();
        if lines.iter().any(|line| line.registered) { Ok(lines) } else { Err(self.nobody()) }
    }

    /// Leaves every tracker now, and stays away.
    pub(crate) async fn deregister(&self) -> Result<Vec<TrackerLine>, CommandError> {
        self.settled().await;
        for desk in self.desks().iter_mut() {
            desk.has_left = false;
        }
        self.0.wanted.send_modify(|wanted| *wanted = Wanted::Connected);
        // A node that never registered may have been registered by an earlier run under the same identity.
        let connected: Vec<PeerId> =
            self.desks().iter().filter(|desk| desk.state == DeskState::Connected).filter_map(|desk| desk.peer).collect();
        for tracker in connected {
            leave(&self.0.asking, tracker).await;
        }
        self.wait(ANSWER_PATIENCE, |desks| desks.iter().all(|desk| desk.state != DeskState::Registered)).await;
        let lines = self.lines();
        if self.desks().iter().any(|desk| desk.state == DeskState::Connected) { Ok(lines) } else { Err(self.nobody()) }
    }

    /// Leaves every tracker, because the node ends.
    pub(crate) async fn stop(&self) {
        let registered: Vec<PeerId> =
            self.desks().iter().filter(|desk| desk.state == DeskState::Registered).filter_map(|desk| desk.peer).collect();
        futures::future::join_all(registered.into_iter().map(|tracker| leave(&self.0.asking, tracker))).await;
    }
}

/// Tells a tracker that we leave.
async fn leave(asking: &Asking, tracker: PeerId) {
    asking.net.unregister(tracker, asking.namespace.clone()).await;
    let request = Request::Withdraw(Withdraw { namespace: asking.namespace.clone() });
    if let Err(error) = asking.net.ask_index(tracker, request).await {
        tracing::debug!(%tracker, %error, "the tracker was not told that we leave");
    }
}

impl Desk {
    fn line(&self, namespace: &str, wanted: Wanted) -> TrackerLine {
        let state = match (self.state, wanted) {
            (DeskState::Registered, _) => "registered",
            (DeskState::Connected, Wanted::Connected) => "left",
            (DeskState::Connected | DeskState::Connecting, _) => "connecting",
            (DeskState::Waiting, _) => "waiting",
        };
        TrackerLine {
            tracker: self.full_address().to_string(),
            namespace: namespace.to_owned(),
            registered: self.state == DeskState::Registered,
            state: state.to_owned(),
            error: self.error.clone(),
        }
    }

    fn full_address(&self) -> Multiaddr {
        self.peer.map_or_else(|| self.address.clone(), |peer| self.address.clone().with(Protocol::P2p(peer)))
    }
}

/// The task that keeps the registration at one tracker.
struct Keeper {
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
    async fn run(mut self) {
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
                    let revision = *revisions.borrow_and_update();
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
        match inner.asking.net.connect(self.peer, vec![address.clone()]).await {
            Ok(peer) => {
                self.peer = Some(peer);
                inner.asking.contacts.meet(peer, &address);
                inner.asking.contacts.expect_tracker(peer);
                self.trackers.edit(self.number, |desk| (desk.peer, desk.error, desk.settled) = (Some(peer), None, true));
                self.registration.handle_connected();
                self.registration.handle_changed(inner.shares.lock().journal.revision(), now());
            }
            Err(error) => {
                let sentence = match &error {
                    DialError::WrongPeer { obtained } => {
                        format!(
                            "another tracker answers there ({obtained}); nothing was told to it; check the address with whoever runs the tracker"
                        )
                    }
                    other => other.to_string(),
                };
                let is_wrong = matches!(error, DialError::WrongPeer { .. });
                let is_news = if is_wrong { !std::mem::replace(&mut self.is_banned, true) } else { self.is_first_trouble() };
                if is_news {
                    self.tell_lost(&sentence);
                }
                self.trackers.edit(self.number, |desk| (desk.error, desk.settled) = (Some(sentence), true));
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
            Err(error) => {
                tracing::debug!(%tracker, %error, "not published");
                self.registration.handle_failed(Part::Index, now());
            }
        }
    }

    /// The changes since what the tracker holds; nothing but a question when that is not known.
    fn next_publish(&mut self, inner: &Inner) -> Publish {
        let table = inner.shares.lock();
        let revision = table.journal.revision();
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
    fn told_addresses(&self, inner: &Inner) -> Bounded<Address, { potluck_common::wire::MAX_ADDRESSES }> {
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
                    let sentence = format!("the tracker refuses us: {why}");
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

/// The task that looks for trackers where the user named none.
struct Finder {
    trackers: Trackers,
    /// Peers of the LAN that were dialled.
    tried: HashSet<PeerId>,
}

impl Finder {
    async fn run(mut self) {
        let mut net_events = self.trackers.0.net_events.subscribe();
        let mut tick = interval(FIND_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => self.try_this_machine().await,
                event = net_events.recv() => match event {
                    Ok(NetEvent::Found(peer, address)) => self.try_peer(peer, address),
                    Ok(NetEvent::Identified(peer, identity)) if identity.is_tracker && self.tried.contains(&peer) => self.take(peer),
                    Err(broadcast::error::RecvError::Closed) => return,
                    Ok(_) | Err(_) => {}
                },
            }
        }
    }

    /// A tracker at the usual port of this machine needs no name.
    async fn try_this_machine(&mut self) {
        if !self.trackers.desks().is_empty() {
            return;
        }
        let address = Multiaddr::from(std::net::Ipv4Addr::LOCALHOST).with(Protocol::Tcp(TRACKER_PORT));
        if let Ok(peer) = self.trackers.0.asking.net.connect(None, vec![address.clone()]).await {
            self.trackers.0.asking.contacts.learn(peer, &[address]);
            self.tried.insert(peer);
            let is_tracker = self.trackers.0.asking.contacts.get(&peer).is_some_and(|contact| contact.is_tracker());
            if is_tracker {
                self.take(peer);
            }
        }
    }

    /// Peers of the LAN are dialled once: they say then what they are, and are asked without a tracker.
    fn try_peer(&mut self, peer: PeerId, address: Multiaddr) {
        let asking = self.trackers.0.asking.clone();
        if peer == asking.net.me() || self.tried.len() >= MAX_LAN_DIALS || !self.tried.insert(peer) {
            return;
        }
        let (place, _) = split_peer(address);
        tokio::spawn(async move {
            if asking.net.connect(Some(peer), vec![place]).await.is_ok() {
                asking.contacts.ask_directly(peer);
            }
        });
    }

    fn take(&self, peer: PeerId) {
        let address =
            self.trackers.0.asking.contacts.get(&peer).and_then(|contact| contact.addresses.first().cloned().or(contact.connected));
        if let Some(address) = address {
            self.trackers.add(split_peer(address).0.with(Protocol::P2p(peer)));
        }
    }
}
