//! The node's trackers: finds them, keeps the registration at each, publishes what changes.
//!
//! One task a tracker drives one core/registration.rs; a task of its own looks for trackers where the user named none:
//! at the usual port of this machine, and among the peers of the LAN.

mod finder;
mod keeper;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use potluck_common::transport::split_peer;
use potluck_common::wire::index::{Address, Nickname, Request, Withdraw};
use tokio::sync::{broadcast, watch};
use tokio::time::timeout;

use self::finder::Finder;
use self::keeper::Keeper;
use crate::asking::Asking;
use crate::error::{CommandError, Failure};
use crate::net::NetEvent;
use crate::shares::Shares;
use crate::types::{Event, TrackerLine};

/// How long a verb waits until it is known which trackers can be reached.
const SETTLE_PATIENCE: Duration = Duration::from_secs(6);
/// The same where no tracker was named: the LAN answers within this or not at all.
const FIND_PATIENCE: Duration = Duration::from_secs(3);
/// How long `register` and `deregister` wait for the trackers' answers.
const ANSWER_PATIENCE: Duration = Duration::from_secs(6);
/// What a user can do about a private tracker.
pub(crate) const NOT_A_MEMBER: &str =
    "the tracker is private and does not have this node as a member; ask whoever runs it for an invitation, then `potluck join` it";
/// Most trackers of a node.
const MAX_TRACKERS: usize = 16;

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
    /// Whether nothing may be offered.
    pub(crate) is_read_only: bool,
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
    is_read_only: bool,
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
    /// Whether the tracker does not have us as a member.
    is_refused: bool,
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
        let Setup { asking, shares, events, net_events, addresses, nickname, trackers, find, stays, is_read_only } = setup;
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
            is_read_only,
            wanted,
            desks,
            moved: watch::Sender::new(0),
        }));
        for address in trackers.into_iter().take(MAX_TRACKERS) {
            this.add(address);
        }
        if find {
            tokio::spawn(Finder::new(this.clone()).run());
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
        if let Some(peer) = peer {
            self.0.asking.contacts.learn(peer, std::slice::from_ref(&place)); // a tracker may have several
        }
        if is_known || desks.len() == MAX_TRACKERS {
            return;
        }
        let number = desks.len();
        desks.push(Desk {
            address: place,
            peer,
            state: DeskState::Connecting,
            error: None,
            settled: false,
            is_refused: false,
            has_left: false,
        });
        drop(desks);
        tokio::spawn(Keeper::new(self.clone(), number, peer).run());
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
        if !desks.is_empty() && desks.iter().all(|desk| desk.is_refused) {
            return CommandError::new(Failure::NotPermitted, NOT_A_MEMBER);
        }
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

    /// Waits until every tracker has what this node wants to publish there, or has had the time for it: right after a
    /// connection, or a change, that is still under way.
    pub(crate) async fn up_to_date(&self) {
        self.settled().await;
        if matches!(*self.0.wanted.borrow(), Wanted::Registered(_)) {
            self.wait(ANSWER_PATIENCE, |desks| desks.iter().all(|desk| desk.state == DeskState::Registered)).await;
        }
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

    /// Leaves every tracker, because the node ends. It may come back soon: what it offers is not told meanwhile, but may be kept.
    pub(crate) async fn stop(&self) {
        let registered: Vec<PeerId> =
            self.desks().iter().filter(|desk| desk.state == DeskState::Registered).filter_map(|desk| desk.peer).collect();
        futures::future::join_all(registered.into_iter().map(|tracker| withdraw(&self.0.asking, tracker, true))).await;
    }
}

impl Inner {
    /// The revision of what the trackers are to hold; 0, which is nothing, where nothing may be offered.
    fn offered_revision(&self) -> u64 {
        if self.is_read_only { 0 } else { self.shares.lock().journal.revision() }
    }
}

/// Tells a tracker that we leave, and that nothing of us is to be kept.
async fn leave(asking: &Asking, tracker: PeerId) {
    withdraw(asking, tracker, false).await;
}

/// Leaves the file index, then libp2p's rendezvous: what is parked by then, the second leaves as it is.
async fn withdraw(asking: &Asking, tracker: PeerId, park: bool) {
    let request = Request::Withdraw(Withdraw { namespace: asking.namespace.clone(), park });
    if let Err(error) = asking.net.ask_index(tracker, request).await {
        tracing::debug!(%tracker, %error, "the tracker was not told that we leave");
    }
    asking.net.unregister(tracker, asking.namespace.clone()).await;
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
