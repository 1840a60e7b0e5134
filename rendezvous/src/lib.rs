//! The tracker of a potluck swarm: a libp2p rendezvous server with a file index.
//!
//! Nodes register here, say which files they offer, and ask who offers what. Files themselves never pass through: nodes
//! fetch them from each other. Goals, in this order: never tell of a peer that is gone; answer fast; stay small and up
//! whatever the peers send; be whole again soon after a restart.
//!
//! # Code map
//!
//! | file | what it is |
//! |---|---|
//! | `main.rs`, `cli.rs`, `verbs.rs`, `output.rs` | arguments → [`Config`] → [`run`] → exit code; the only ones that print |
//! | `config.rs`, `data_dir.rs` | what a tracker is told; its folder with lock and identity |
//! | `behaviour.rs` | the protocols, composed |
//! | `event_loop.rs` | routes events of swarm, time and shutdown; decides nothing |
//! | `on_connection.rs`, `on_rendezvous.rs`, `on_index.rs`, `on_admit.rs` | one kind of event each: calls the pure modules, sends answers |
//! | `index/` | who offers what, behind one interface: in this process, or in PostgreSQL for several trackers |
//! | `catalog.rs` | pure: who offers what in which namespace until when, as this process knows it |
//! | `liveness.rs` | pure: which connected peers are really there |
//! | `quota.rs`, `limits.rs` | pure: how much a peer may have in the index; every limit by its name |
//! | `watches.rs` | pure: saved searches, and what was published lately |
//! | `store/` | what was published, on the disk, and its thread |
//! | `members.rs`, `lobby.rs` | pure: invitations, members, revocation; strangers and their wrong invitations |
//! | `membership.rs`, `ledger_file.rs` | what has to be kept true around them: doors, signatures; the file |
//! | `rooms.rs`, `sift.rs` | libp2p's rendezvous server, one for each circle of members; what it is not asked |
//! | `origin.rs`, `reach.rs` | which addresses of a peer are told to others; pure: those that the tracker tries first |
//! | `admin.rs`, `lines.rs`, `control.rs` | what whoever runs a private tracker asks, what is printed; the socket by which it comes |
//! | `page/`, `on_page.rs`, `figures.rs` | the page, metrics and health; what it is told; pure: what the tracker has done |
//! | `numbers.rs` | pure: the small numbers by which an index knows peers |
//! | `clock.rs` | the one clock; everything else is handed the time |
//!
//! # Anatomy of a registration
//!
//! 1. A node connects; `behaviour.rs` counts the connection against its limits, then pings it for as long as it lasts.
//! 2. It asks `Publish` without changes: am I still in step? `on_index.rs` hands it to `index/`, and that to
//!    [`Catalog::publish`], or to a transaction of the database.
//! 3. `catalog.rs` compares epoch and revision. In step: the parked entries are online again, for one message. Out of
//!    step: the answer names the revision that is held, and the node publishes from there, or anew from 0.
//! 4. Changes go to the namespace's index (`potluck_common::search`), within the limits of `quota.rs`, and to the thread of
//!    `store/`. The answer goes out when the disk has them: what is acknowledged is there again after a power cut.
//! 5. The node renews at half its lease. `Withdraw`, or UNREGISTER by rendezvous, ends it at once; a node that means to come back is parked instead.
//! 6. A lost connection leaves two seconds of grace, a silent one is noticed by `liveness.rs`; then nothing of the peer
//!    is told. Its entries stay parked until the lease lapses ([`Catalog::handle_tick`]), and on the disk as long.
//! 7. After a restart all that was saved is parked, with a new lease: whoever comes back is in step with one message.
//!
//! With a database, steps 3 to 7 are those of `index/shared/`: any of the trackers that share it may take a message, and
//! presence is a row for each tracker that a peer is connected to.
//!
//! A libp2p program that is no node registers by rendezvous alone. `on_rendezvous.rs` lists it among the peers, without
//! name and files, while it is connected and its own TTL lasts.
//!
//! # Anatomy of a search
//!
//! 1. `Search` arrives on a stream of a connection; the codec in `potluck_common` decodes it within its limit.
//! 2. `on_index.rs` charges it to the peer's account ([`Conduct`](potluck_common::conduct::Conduct)) and asks [`Catalog::answer`].
//! 3. The namespace's index finds and ranks, over the files of peers that are online.
//! 4. `potluck_common::search::answer` puts names to the numbers of peers and cuts the page to fit a message.
//!
//! # Anatomy of joining a private tracker
//!
//! 1. A stranger connects. `rooms.rs` gives its connection no rendezvous handler, and the gate before the index offers
//!    no protocol on it; `lobby.rs` counts five seconds.
//! 2. It redeems an invitation (`Join`). `on_admit.rs` asks `lobby.rs` whether it may try, then `members.rs`.
//! 3. `membership.rs` opens the door, signs a certificate and has the ledger saved; only when that is on the disk the
//!    answer goes out. The next connection is a member's from the start; on this one rendezvous is not offered.
//! 4. `members revoke` comes over the control socket: the door is closed, registrations and connections end, and every
//!    connected member is sent a signed deny list.
//!
//! Reading an index takes a shared reference and returns a value, so that step 3 can move to another thread when indexes
//! become large.
//!
//! # What is deliberately absent
//!
//! * Trust in rendezvous events about presence: libp2p's server ignores lost connections and reports the expiry of
//!   registrations that were renewed. Its DISCOVER therefore tells of a dead peer until its TTL ends; `Peers` does not.
//! * Relaying, hole punching, a DHT.

mod admin;
mod behaviour;
pub mod catalog;
mod clock;
mod config;
mod control;
mod data_dir;
mod event_loop;
mod figures;
mod index;
mod ledger_file;
pub mod limits;
mod lines;
pub mod liveness;
pub mod lobby;
pub mod members;
mod membership;
mod numbers;
mod on_admit;
mod on_connection;
mod on_index;
mod on_page;
mod on_rendezvous;
mod origin;
mod page;
pub mod quota;
pub mod reach;
mod rooms;
mod sift;
mod store;
pub mod watches;

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};

use libp2p::Multiaddr;
use potluck_common::identity::IdentityError;
use potluck_common::transport::{TransportError, key_of};

pub use admin::{
    AdminAnswer, AdminError, AdminRequest, EventLine, InvitationLine, MemberLine, NamespaceLine, PeerLine, PeersPage, StatusLine,
};
pub use behaviour::PING_INTERVAL;
pub use catalog::Catalog;
pub use config::{CERTIFICATE_LIFE, Config, DEFAULT_LEASE};
pub use index::DatabaseError;
pub use lines::{LinkLine, RunLine};
pub use page::PAGE_PORT;
pub use store::StoreError;

use admin::Office;
use clock::unix_seconds;
use control::{Ask, ControlSocket};
use data_dir::DataDir;
use event_loop::EventLoop;
use ledger_file::LedgerFile;
use members::Ledger;
use page::Page;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// What a running tracker tells whoever started it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It can be reached at this address, which ends in its PeerId.
    Listening(Multiaddr),
    /// Its page can be opened in a browser, here.
    Page(String),
    /// Nobody was ever invited to this private tracker: here is a first invitation.
    Invited(Box<InvitationLine>),
    /// All addresses that it has at its start were told.
    Ready {
        /// Whether it admits members only.
        is_private: bool,
    },
    /// What was saved is being read; until it is, requests to the index are refused as unavailable.
    Restoring {
        /// Files that are read.
        files: u64,
        /// All of them.
        of: u64,
    },
    /// What was saved is there again: so many files, of peers that may come back.
    Restored {
        /// How many.
        files: u64,
    },
}

/// Why a tracker did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum TrackerError {
    /// The data folder cannot be used.
    #[error("cannot keep the tracker's data in {path}: {source}; name another folder with --data-dir DIR")]
    DataDir {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The data folder is locked.
    #[error("another program is running on {0}; stop it, or give this tracker a folder of its own with --data-dir DIR")]
    InUse(PathBuf),
    /// What peers published cannot be kept.
    #[error("the tracker's index cannot be used: {0}")]
    Store(#[from] StoreError),
    /// The database that is to keep the index cannot be used.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The thread of the store has ended: a defect.
    #[error("the tracker's store has ended without a word; start it again, nothing is lost")]
    StoreEnded,
    /// The file with the members cannot be used.
    #[error("cannot read or write {path}: {source}; restore it from a backup, or move it away and invite all members anew")]
    Ledger {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its page cannot be opened.
    #[error("the tracker's page cannot be opened: {reason}; choose another place with --page ADDR, or --page off")]
    Page {
        /// Why.
        reason: String,
    },
    /// There is no identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The network cannot be used at all.
    #[error(transparent)]
    Network(#[from] TransportError),
    /// An address belongs to another program.
    #[error("{address} is taken by another program; stop that one, or name another port with --listen MULTIADDR")]
    Taken {
        /// Which.
        address: Multiaddr,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {reason}; name an address of this machine with --listen MULTIADDR")]
    Listen {
        /// Which.
        address: Multiaddr,
        /// Why.
        reason: String,
    },
    /// No address is left to listen on.
    #[error("nobody can reach the tracker: it listens on no address; name one with --listen MULTIADDR")]
    Unreachable,
}

/// Runs a tracker until `shutdown` is ready, then closes its connections, which takes two seconds at most.
///
/// `on_event` is called on the loop: it must not block. Dropping the future stops the tracker at once, as a crash would:
/// what it has acknowledged is on the disk.
///
/// # Errors
/// When the data folder, the network or an address to listen on cannot be used, or the last address is gone.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>, on_event: impl FnMut(Event)) -> Result<(), TrackerError> {
    let data = DataDir::open(&config.data_dir)?;
    let file = LedgerFile::in_folder(&config.data_dir);
    let ledger = file.read()?.or_else(|| config.private.then(Ledger::default)).map(|ledger| (ledger, file));
    let page = Page::open(&config).await?;
    let (asks, admin) = mpsc::channel(control::QUEUE);
    let control = control_socket(&config.data_dir, asks.clone());
    let door = page.as_ref().map(|page| page.door.clone());
    let page = page.map(|page| AbortOnDropHandle::new(tokio::spawn(page.serve(asks))));
    // On the heap, all that is large: it would be in the futures of whoever runs us.
    let mut event_loop = Box::new(Box::pin(EventLoop::start(&config, &data, ledger, admin, door, on_event)).await?);
    let ended = Box::pin(event_loop.run(shutdown)).await;
    drop((control, page));
    event_loop.close().await;
    drop(data); // unlocks the folder after the last use of the identity
    ended
}

/// A tracker whose socket cannot be made works; its invitations are then made while it is stopped.
fn control_socket(data_dir: &Path, asks: mpsc::Sender<Ask>) -> Option<ControlSocket> {
    let opened = ControlSocket::open(data_dir, asks);
    if let Err(error) = &opened {
        tracing::warn!("`invite` and `members` work while the tracker is stopped only: its control socket cannot be made: {error}");
    }
    opened.ok()
}

/// Carries out what whoever runs a private tracker asks: at the tracker that runs on the data folder, or in its ledger
/// while none runs. Blocks for a moment in the latter case.
///
/// # Errors
/// When it cannot be done, as a sentence with an exit code.
pub async fn administer(data_dir: &Path, request: AdminRequest) -> Result<AdminAnswer, AdminError> {
    let asked = control::ask_running(data_dir, &request).await;
    match asked.map_err(|error| AdminError { exit_code: 8, message: format!("the running tracker does not answer: {error}") })? {
        Some(AdminAnswer::Failed(error)) => return Err(error),
        Some(answer) => return Ok(answer),
        None => {}
    }
    if request.is_of_running() {
        return Err(admin::not_running()); // and nothing is made where there is none
    }
    let unusable = |error: TrackerError| AdminError { exit_code: 7, message: error.to_string() };
    let data = DataDir::open(data_dir).map_err(unusable)?;
    let file = LedgerFile::in_folder(data_dir);
    let mut ledger = file.read().map_err(unusable)?.unwrap_or_default();
    let unknown = || AdminError { exit_code: 7, message: "the tracker's key is of an unknown kind".to_owned() };
    let tracker = key_of(&data.key.public().to_peer_id()).ok_or_else(unknown)?;
    let mut office = Office { ledger: &mut ledger, tracker, life: CERTIFICATE_LIFE, unix_now: unix_seconds() };
    match office.execute(request) {
        (AdminAnswer::Failed(error), _) => Err(error),
        (answer, admin::Consequence::Nothing) => Ok(answer),
        (answer, _) => match file.write(&ledger) {
            Ok(()) => Ok(answer),
            Err(source) => Err(unusable(TrackerError::Ledger { path: data_dir.to_owned(), source })),
        },
    }
}
