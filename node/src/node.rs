//! The facade: everything that a face of the node — prompt, control socket, page — can ask for.
//!
//! [`Node::start`] opens the data folder, starts the tasks and gives back a handle; [`Node::execute`] (in `commands.rs`)
//! carries a command out. Nothing above this file knows a task, a swarm or a database.

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use potluck_common::buffer::BufferPool;
use potluck_common::identity::{self, IdentityError};
use potluck_common::limits::Tally;
use potluck_common::namespace::Namespace;
use potluck_common::peer::PeerKey;
use potluck_common::transport::key_of;
use potluck_common::web::access::Access;
use potluck_common::wire::index::Address;
use potluck_common::wire::{MAX_ADDRESSES, Text};
use tokio::sync::{broadcast, mpsc, watch};

use crate::asking::Asking;
use crate::browse::{self, Browse};
use crate::clock::now;
use crate::commands::Lines;
use crate::config::Config;
use crate::contacts::Contacts;
use crate::core::admission::Admission;
use crate::dialling::DialBudget;
use crate::disk_threads::DiskThreads;
use crate::downloads::{self, Downloads};
use crate::error::{CommandError, Failure};
use crate::indexer::Indexer;
use crate::membership::{self, Party};
use crate::net::{self, Guard, Identity, Inbound, Net, NetError, NetEvent};
use crate::shares::Shares;
use crate::sharing::{open_shares, take_in};
use crate::store::{HardLinks, MembershipRecord, ShareRecord, State, StateError};
use crate::trackers::{self, Trackers};
use crate::types::{Event, Item, JoinLine};
use crate::uploads::{self, Larder, PieceRequest, Uploads};

/// Events that a face may be behind before it misses some.
const EVENT_QUEUE: usize = 1024;
/// The same for the tasks inside.
const NET_EVENT_QUEUE: usize = 1024;
/// Idle buffers of 1 MiB that are kept between transfers: what a download and an upload at full speed have in use.
const IDLE_BUFFERS: usize = 16;
/// How long a newly dialled peer may take to say what it is.
const IDENTIFY_PATIENCE: Duration = Duration::from_secs(3);
/// How long the first address of ours may take to appear.
const LISTEN_PATIENCE: Duration = Duration::from_secs(5);
/// How long stopping may take in all.
const STOP_PATIENCE: Duration = Duration::from_secs(4);
/// The file of the identity key in the data folder.
const IDENTITY_FILE: &str = "identity";

/// A running node. Cloning shares it.
#[derive(Clone)]
pub struct Node(Arc<Inner>);

struct Inner {
    config: Config,
    key: Keypair,
    asking: Asking,
    shares: Arc<Shares>,
    indexer: Indexer,
    trackers: Trackers,
    downloads: Downloads,
    uploads: Arc<Uploads>,
    tally: Tally,
    state: Arc<State>,
    identified: watch::Receiver<u64>,
    events: broadcast::Sender<Event>,
    /// The page, once it is open.
    page: OnceLock<Page>,
    /// The trackers of the private swarm that it is in.
    member_at: Vec<PeerKey>,
    again: watch::Sender<Again>,
}

/// Whether the node is to be started once more, to be in the swarm that it has joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    No,
    /// When who asked for it has the answer.
    WhenAnswered,
    Now,
}

/// What is known here of the page: where it is, and who may use it.
struct Page {
    address: String,
    access: Arc<Mutex<Access>>,
}

/// What a data folder holds.
struct OpenedFolder {
    key: Keypair,
    state: State,
    shares: Vec<ShareRecord>,
    memberships: Vec<MembershipRecord>,
}

impl Node {
    /// Starts a node: opens its data folder, listens, and goes on with what it was doing.
    ///
    /// # Errors
    /// When the data folder is in use, damaged or not writable, a share is not there, or the network cannot be used.
    pub async fn start(config: Config) -> Result<(Self, broadcast::Receiver<Event>), CommandError> {
        let data_dir = config.data_dir.clone();
        let opened = tokio::task::spawn_blocking(move || open_data_dir(&data_dir)).await;
        let OpenedFolder { key, state, shares: remembered, memberships } =
            opened.map_err(|error| CommandError::new(Failure::Other, error.to_string()))??;
        let state = Arc::new(state);
        let me = key.public().to_peer_id();
        let my_key = key_of(&me).ok_or_else(|| CommandError::new(Failure::Other, "the identity key is of an unknown kind"))?;
        let Party { namespace, trackers, papers, is_read_only } = Party::choose(&config, memberships)?;
        let (shares, folders) = open_table(&config, &state, &remembered, namespace.clone()).await?;

        let buffers = BufferPool::new(IDLE_BUFFERS);
        let guard = Guard { limits: config.limits.clone(), tally: Tally::default() };
        let tally = guard.tally.clone();
        let member_at = papers.iter().flatten().map(|papers| papers.tracker).collect();
        let admission = papers.map(|papers| Admission::new(my_key, namespace.clone(), papers));
        let Net { handle, events: net_events, inbound } =
            net::spawn(key.clone(), &config.listen, config.mdns, buffers.clone(), admission, &guard).map_err(net_error)?;
        let (events, first_events) = broadcast::channel(EVENT_QUEUE);
        let (net_sender, _) = broadcast::channel(NET_EVENT_QUEUE);
        let contacts = Arc::new(Contacts::default());
        let asking = Asking::new(handle.clone(), Arc::clone(&contacts), namespace.clone());

        let hard_links = if config.reject_hardlinks { HardLinks::Rejected } else { HardLinks::Shared };
        let indexer = Indexer::start(Arc::clone(&shares), Arc::clone(&state), events.clone(), config.data_dir.clone(), hard_links);
        let downloads = Downloads::start(downloads::Setup {
            asking: asking.clone(),
            disk: DiskThreads::for_pieces("potluck-writes")?,
            state: Arc::clone(&state),
            net_events: net_sender.subscribe(),
            events: events.clone(),
            download_dir: config.download_dir.clone(),
            resume: !config.one_shot,
            offers: (!config.one_shot).then(|| Arc::clone(&shares)),
            stream_dir: config.stream_dir(),
            tally: tally.clone(),
        });
        let larder = Larder::new(Arc::clone(&shares), Arc::clone(&state), downloads.clone(), indexer.clone(), buffers);
        let reads = DiskThreads::for_pieces("potluck-reads")?;
        let (uploads, piece_requests) =
            uploads::start(handle.clone(), larder, reads, config.limits.slots(config.limit_up), tally.clone(), net_sender.subscribe());

        let (address_sender, addresses) = watch::channel(Vec::new());
        let (identified_sender, identified) = watch::channel(0);
        let browse = Browse::new(
            browse::Setup {
                shares: Arc::clone(&shares),
                indexer: indexer.clone(),
                net: handle.clone(),
                tally: tally.clone(),
                namespace,
                nickname: Text::truncated(&config.nickname),
                me: my_key,
                addresses: addresses.clone(),
            },
            config.limits.searches,
        );
        let trackers = Trackers::start(trackers::Setup {
            asking: asking.clone(),
            shares: Arc::clone(&shares),
            events: events.clone(),
            net_events: net_sender.clone(),
            addresses,
            nickname: Text::truncated(&config.nickname),
            find: trackers.is_empty() && (config.dial.is_empty() || !config.one_shot),
            trackers,
            stays: !config.one_shot,
            is_read_only,
        });
        tokio::spawn(membership::keep(Arc::clone(&state), net_sender.subscribe()));
        let router = Router {
            me,
            contacts,
            budget: Arc::clone(&asking.budget),
            events: events.clone(),
            net_events: net_sender,
            addresses: address_sender,
            identified: identified_sender,
        };
        tokio::spawn(router.run(net_events));
        tokio::spawn(route_inbound(inbound, browse, piece_requests));

        let node = Self(Arc::new(Inner {
            config,
            key,
            asking,
            shares,
            indexer,
            trackers,
            downloads,
            uploads,
            tally,
            state,
            identified,
            events,
            page: OnceLock::new(),
            member_at,
            again: watch::Sender::new(Again::No),
        }));
        if is_read_only && !folders.is_empty() {
            let message = "your membership lets you search and download only: what you share is offered to nobody".to_owned();
            node.tell(Event::Warning { message });
        }
        node.list_shares(&folders);
        node.await_listening().await?;
        node.dial_all().await?;
        Ok((node, first_events))
    }

    /// Ends within five seconds: leaves the trackers, saves how far the downloads are and what the shares hold.
    pub async fn shutdown(&self) {
        let orderly = async {
            self.0.indexer.stop();
            let (shares, data_dir) = (Arc::clone(&self.0.shares), self.0.config.data_dir.clone());
            let written = tokio::task::spawn_blocking(move || shares.write_down(&data_dir));
            self.0.downloads.stop().await;
            self.0.trackers.stop().await;
            if let Ok(Err(error)) = written.await {
                tracing::warn!(%error, "what the shares hold could not be written down; at the next start they are listed anew");
            }
        };
        if tokio::time::timeout(STOP_PATIENCE, orderly).await.is_err() {
            tracing::warn!("not everything could be saved in time; what was checkpointed is safe");
        }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.0.config
    }

    pub(crate) fn asking(&self) -> &Asking {
        &self.0.asking
    }

    pub(crate) fn shares(&self) -> &Shares {
        &self.0.shares
    }

    pub(crate) fn indexer(&self) -> &Indexer {
        &self.0.indexer
    }

    pub(crate) fn trackers(&self) -> &Trackers {
        &self.0.trackers
    }

    pub(crate) fn downloads(&self) -> &Downloads {
        &self.0.downloads
    }

    pub(crate) fn state(&self) -> &Arc<State> {
        &self.0.state
    }

    pub(crate) fn uploads(&self) -> &Uploads {
        &self.0.uploads
    }

    /// How often each limit stopped somebody, by name.
    pub(crate) fn refusals(&self) -> Vec<(&'static str, u64)> {
        self.0.tally.counts()
    }

    /// The node's own PeerId.
    pub(crate) fn peer_id(&self) -> String {
        self.0.asking.net.me().to_string()
    }

    /// What happens from now on.
    pub(crate) fn events(&self) -> broadcast::Receiver<Event> {
        self.0.events.subscribe()
    }

    pub(crate) fn tell(&self, event: Event) {
        let _ = self.0.events.send(event); // nobody may listen
    }

    /// The page is open. Only the first one counts.
    pub(crate) fn page_opened(&self, address: String, access: Arc<Mutex<Access>>) {
        self.tell(Event::Page { address: address.clone() });
        let _ = self.0.page.set(Page { address, access });
    }

    pub(crate) fn page_address(&self) -> Option<String> {
        self.0.page.get().map(|page| page.address.clone())
    }

    /// A key to the page that works once.
    pub(crate) fn new_page_key(&self) -> Option<String> {
        let page = self.0.page.get()?;
        let mut access = page.access.lock().unwrap_or_else(PoisonError::into_inner);
        Some(access.new_key(rand::random(), now()))
    }

    /// Becomes a member of a private swarm. A node that stays is started once more to take part in it, unless it was told of other
    /// trackers; one that takes part already stays as it is.
    pub(crate) async fn join(&self, invitation: &str, out: &Lines) -> Result<(), CommandError> {
        let record = membership::redeem(self.0.key.clone(), invitation, &self.0.config.nickname).await?;
        self.0.state.put_membership(&record).map_err(|error| state_error(&error))?;
        let records = self.0.state.memberships().map_err(|error| state_error(&error))?;
        let party = Party::choose(&self.0.config, records).ok().and_then(|party| party.papers);
        let takes_part = !self.0.config.one_shot && party.is_some_and(|all| all.iter().any(|papers| papers.tracker == record.tracker));
        if takes_part && !self.0.member_at.contains(&record.tracker) {
            self.0.again.send_replace(Again::WhenAnswered);
        }
        let namespaces = |read_only| record.grants.iter().filter(move |grant| grant.read_only == read_only);
        let line = JoinLine {
            tracker: record.tracker.to_string(),
            namespaces: namespaces(false).map(|grant| grant.namespace.to_string()).collect(),
            read_only: namespaces(true).map(|grant| grant.namespace.to_string()).collect(),
            restart: !self.0.config.one_shot && !takes_part,
            takes_part,
        };
        out.send(Item::Joined(line)).await;
        Ok(())
    }

    /// Somebody has the answer to a command.
    pub(crate) fn handle_answered(&self) {
        self.0.again.send_if_modified(|again| {
            let is_due = *again == Again::WhenAnswered;
            if is_due {
                *again = Again::Now;
            }
            is_due
        });
    }

    /// Returns when the node is to be stopped and started once more.
    pub(crate) async fn until_started_again(&self) {
        let mut again = self.0.again.subscribe();
        if again.wait_for(|again| *again == Again::Now).await.is_err() {
            std::future::pending::<()>().await; // it is gone, and nobody waits
        }
    }

    /// Waits until a peer has said what it is, for a while.
    pub(crate) async fn identified(&self, peer: PeerId) -> Option<Identity> {
        let mut moved = self.0.identified.clone();
        let known = || self.0.asking.contacts.get(&peer).and_then(|contact| contact.identity);
        let wait = async {
            loop {
                if let Some(identity) = known() {
                    return Some(identity);
                }
                moved.changed().await.ok()?;
            }
        };
        tokio::time::timeout(IDENTIFY_PATIENCE, wait).await.ok().flatten()
    }

    /// Waits until the node can be reached somewhere, if it is to listen.
    async fn await_listening(&self) -> Result<(), CommandError> {
        if self.0.config.listen == crate::config::Listen::Nowhere {
            return Ok(());
        }
        let mut addresses = self.0.trackers.addresses();
        let first = tokio::time::timeout(LISTEN_PATIENCE, addresses.wait_for(|addresses| !addresses.is_empty())).await;
        match first {
            Ok(Ok(_)) => Ok(()),
            _ => Err(CommandError::new(Failure::Unreachable, "no address to listen on came up; check --listen and the network interfaces")),
        }
    }

    async fn dial_all(&self) -> Result<(), CommandError> {
        for address in &self.0.config.dial {
            let dialled = self.dial_address(&address.to_string()).await;
            match dialled {
                Ok(peer) => drop(self.identified(peer).await),
                Err(error) if self.0.config.one_shot => return Err(error),
                Err(error) => tracing::warn!("{error}"),
            }
        }
        Ok(())
    }
}

/// Opens identity and database. Blocks.
fn open_data_dir(dir: &Path) -> Result<OpenedFolder, CommandError> {
    let state = State::open(dir).map_err(|error| state_error(&error))?;
    let key = identity::load_or_create(&dir.join(IDENTITY_FILE)).map_err(|error| {
        let failure = if matches!(error, IdentityError::TooWide { .. }) { Failure::NotPermitted } else { Failure::LocalFile };
        CommandError::new(failure, error.to_string())
    })?;
    let shares = state.shares().map_err(|error| state_error(&error))?;
    let memberships = state.memberships().map_err(|error| state_error(&error))?;
    Ok(OpenedFolder { key, state, shares, memberships })
}

/// The shares, as far as they are known before the disk is looked at, and their names. A node that does not stay has none.
async fn open_table(
    config: &Config,
    state: &Arc<State>,
    remembered: &[ShareRecord],
    namespace: Namespace,
) -> Result<(Arc<Shares>, Vec<String>), CommandError> {
    if config.one_shot {
        return Ok((Arc::new(Shares::new(rand::random(), namespace)), Vec::new()));
    }
    let folders = open_shares(config, remembered)?;
    let (state, data_dir) = (Arc::clone(state), config.data_dir.clone());
    let open = move || {
        let numbering = state.next_numbering().map_err(|error| state_error(&error))?;
        let shares = Shares::numbered(numbering, namespace);
        let names = take_in(&shares, folders);
        shares.take_over(&data_dir, numbering);
        Ok((Arc::new(shares), names))
    };
    tokio::task::spawn_blocking(open).await.map_err(|error| CommandError::new(Failure::Other, error.to_string()))?
}

pub(crate) fn state_error(error: &StateError) -> CommandError {
    CommandError::new(Failure::LocalFile, error.to_string())
}

fn net_error(error: NetError) -> CommandError {
    CommandError::new(Failure::Unreachable, error.to_string())
}

/// Hands what peers ask to those who serve. Never waits: what they cannot take is told that we are busy when its reply
/// is dropped.
async fn route_inbound(mut inbound: mpsc::Receiver<Inbound>, browse: Browse, pieces: mpsc::Sender<PieceRequest>) {
    while let Some(request) = inbound.recv().await {
        match request {
            Inbound::Index { peer, request, reply } => browse.handle(peer, request, reply),
            Inbound::Piece { peer, request, reply } => {
                let _ = pieces.send(PieceRequest { peer, request, reply }).await;
            }
        }
    }
}

/// Spreads what happens on the network. Never waits for the network.
struct Router {
    me: PeerId,
    contacts: Arc<Contacts>,
    budget: Arc<Mutex<DialBudget>>,
    events: broadcast::Sender<Event>,
    net_events: broadcast::Sender<NetEvent>,
    addresses: watch::Sender<Vec<Address>>,
    identified: watch::Sender<u64>,
}

impl Router {
    async fn run(self, mut events: mpsc::Receiver<NetEvent>) {
        while let Some(event) = events.recv().await {
            self.contacts.handle(&event);
            match &event {
                NetEvent::Listening(address) => {
                    let full = address.clone().with(Protocol::P2p(self.me));
                    let _ = self.events.send(Event::Listening { address: full.to_string() });
                    self.edit_addresses(address, true);
                }
                NetEvent::NotListening(address) => self.edit_addresses(address, false),
                NetEvent::Connected(_, address) => {
                    self.budget.lock().unwrap_or_else(PoisonError::into_inner).handle_met(address, now());
                }
                NetEvent::Identified(..) => self.identified.send_modify(|count| *count += 1),
                _ => {}
            }
            let _ = self.net_events.send(event);
        }
    }

    fn edit_addresses(&self, address: &Multiaddr, is_ours: bool) {
        let text = Address::truncated(&address.to_string());
        self.addresses.send_modify(|addresses| {
            addresses.retain(|known| *known != text);
            if is_ours && addresses.len() < MAX_ADDRESSES {
                addresses.push(text);
            }
        });
    }
}
