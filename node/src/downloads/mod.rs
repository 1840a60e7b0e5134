//! Downloads: the task that glues the scheduler to the network and the disk.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | the handle: wish for files, follow them, list them |
//! | `engine.rs` | the task: owns the scheduler, routes what happens |
//! | `begin.rs` | how a download begins, or is taken up after a restart |
//! | `fetch.rs` | one request: ask, verify, write |
//! | `control.rs` | what a user does to downloads that were begun |
//! | `look.rs` | one download from near: which pieces are there, where its bytes can be read |
//! | `file.rs` | one file: where it goes, how far it is |
//! | `finish.rs` | checkpoints, the end, and what a disk does not take |
//! | `report.rs` | how downloads are shown |
//! | `keep.rs` | what is kept of a download that is done: its record, and the offer to others |
//! | `twin.rs` | equal contents under several names, and files that are repaired: what is here is not fetched |
//! | `stream.rs` | a download that is read as it comes and not kept |
//! | `job.rs` | what a user asked for together, and how it goes |
//! | `verb.rs` | the verb: references to wishes, wishes to lines |
//! | `verify.rs` | the verb `verify` |

mod begin;
mod control;
mod engine;
mod fetch;
mod file;
mod finish;
mod job;
mod keep;
mod look;
mod report;
mod stream;
mod twin;
mod verb;
mod verify;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use libp2p::PeerId;
use potluck_common::content_id::ContentId;
use potluck_common::geometry::PieceIndex;
use potluck_common::limits::Tally;
use potluck_common::share_path::SharePath;
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::asking::Asking;
use crate::core::piece_set::PieceSet;
use crate::core::scheduler::FileNo;
use crate::disk_threads::DiskThreads;
use crate::net::NetEvent;
use crate::shares::Shares;
use crate::store::{PartFile, State};
use crate::types::{DownloadAction, DownloadLine, Event, OnConflict};

use job::Follow;
pub(crate) use look::{Content, Look};
use stream::Stream;

/// Wishes and questions that may wait for the engine.
const COMMAND_QUEUE: usize = 64;
/// Bytes of answers that may be in flight at once: the memory that a download takes beside its tables.
const MAX_IN_FLIGHT_BYTES: u64 = 24 << 20;

/// One file that somebody wants.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) content_id: ContentId,
    /// Bytes, if somebody said so.
    pub(crate) size: Option<u64>,
    /// Where it goes below `folder`.
    pub(crate) target: SharePath,
    /// The download folder; absolute.
    pub(crate) folder: PathBuf,
    /// Seconds since 1970; `None`: the time at which it is finished.
    pub(crate) mtime: Option<i64>,
    pub(crate) on_conflict: OnConflict,
    /// Who is known to have it.
    pub(crate) sources: Vec<PeerId>,
    pub(crate) purpose: Purpose,
}

/// What a file is fetched for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To be in its place, where nothing is yet.
    #[default]
    Keep,
    /// To take the place of a damaged one, which is kept beside it.
    Repair,
    /// To be read once, in order.
    Stream,
}

/// All downloads of the node. Cloning shares them.
#[derive(Clone)]
pub(crate) struct Downloads {
    commands: mpsc::Sender<Command>,
    board: Arc<Board>,
}

/// What others read while the engine works.
#[derive(Default)]
struct Board {
    partial: Mutex<HashMap<ContentId, Partial>>,
    totals: Mutex<Totals>,
}

/// A file that is not complete, of which some pieces can be served.
#[derive(Clone)]
pub(crate) struct Partial {
    pub(crate) part: Arc<PartFile>,
    pub(crate) verified: PieceSet,
}

/// All downloads in three numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    /// Downloads that are not done.
    pub(crate) open: u64,
    /// Bytes per second.
    pub(crate) rate: u64,
    /// Verified bytes since the node started.
    pub(crate) bytes: u64,
}

/// What the engine is asked.
enum Command {
    Wish {
        wishes: Vec<Wish>,
        reply: oneshot::Sender<Follow>,
    },
    Stream {
        wish: Wish,
        reply: oneshot::Sender<(Follow, Stream)>,
    },
    Expect(PeerId),
    /// Whoever reads a stream has taken the pieces before this one.
    Consumed {
        file: FileNo,
        pieces: u32,
    },
    List(oneshot::Sender<Vec<DownloadLine>>),
    Control {
        action: DownloadAction,
        which: Vec<String>,
        reply: oneshot::Sender<Vec<DownloadLine>>,
    },
    Look {
        id: u64,
        reply: oneshot::Sender<Option<Look>>,
    },
    ReadFrom {
        id: u64,
        piece: PieceIndex,
    },
    /// Tell when all that is done is written down.
    Settle(oneshot::Sender<()>),
    Stop(oneshot::Sender<()>),
}

/// What the engine works with.
pub(crate) struct Setup {
    pub(crate) tally: Tally,
    pub(crate) asking: Asking,
    /// Where pieces are hashed and written.
    pub(crate) disk: DiskThreads,
    pub(crate) state: Arc<State>,
    pub(crate) net_events: broadcast::Receiver<NetEvent>,
    pub(crate) events: broadcast::Sender<Event>,
    /// Where downloads go that were asked for without a folder.
    pub(crate) download_dir: PathBuf,
    /// Whether the downloads that the database remembers go on by themselves.
    pub(crate) resume: bool,
    /// Where downloads are offered to others; `None` for a node that does not stay.
    pub(crate) offers: Option<Arc<Shares>>,
    /// A folder of the node's own, for what is not kept.
    pub(crate) stream_dir: PathBuf,
}

impl Downloads {
    /// Starts the engine.
    pub(crate) fn start(setup: Setup) -> Self {
        let (commands, queue) = mpsc::channel(COMMAND_QUEUE);
        let board = Arc::new(Board::default());
        tokio::spawn(engine::Engine::new(setup, Arc::clone(&board), commands.downgrade()).run(queue));
        Self { commands, board }
    }

    /// Wants files, together. They are fetched whether anybody follows or not. `None` while the node is stopping.
    pub(crate) async fn wish(&self, wishes: Vec<Wish>) -> Option<Follow> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Wish { wishes, reply }).await.ok()?;
        answer.await.ok()
    }

    /// Wants a file to read it once, in order; it goes into no folder of the user's. Dropping what comes back ends it. `None`
    /// while the node is stopping.
    pub(crate) async fn stream(&self, wish: Wish) -> Option<(Follow, Stream)> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Stream { wish, reply }).await.ok()?;
        answer.await.ok()
    }

    /// Much will be wished for from a peer soon: connections to it are opened meanwhile, if it is far.
    pub(crate) async fn expect(&self, peer: PeerId) {
        let _ = self.commands.send(Command::Expect(peer)).await; // the node is stopping
    }

    /// The downloads that are not done, and those that were done since the node started.
    pub(crate) async fn lines(&self) -> Vec<DownloadLine> {
        let (reply, answer) = oneshot::channel();
        if self.commands.send(Command::List(reply)).await.is_err() {
            return Vec::new();
        }
        answer.await.unwrap_or_default()
    }

    /// Pauses, resumes, retries or gives up the downloads that are named; tells those to which it was done.
    pub(crate) async fn control(&self, action: DownloadAction, which: Vec<String>) -> Vec<DownloadLine> {
        let (reply, answer) = oneshot::channel();
        if self.commands.send(Command::Control { action, which, reply }).await.is_err() {
            return Vec::new();
        }
        answer.await.unwrap_or_default()
    }

    /// One download from near; `None` when there is none of that number.
    pub(crate) async fn look(&self, id: u64) -> Option<Look> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Look { id, reply }).await.ok()?;
        answer.await.ok()?
    }

    /// Somebody reads a file while it comes: pieces from this one on are asked for first.
    pub(crate) async fn read_from(&self, id: u64, piece: PieceIndex) {
        let _ = self.commands.send(Command::ReadFrom { id, piece }).await;
    }

    /// Returns when the database knows everything that is done by now.
    pub(crate) async fn settle(&self) {
        let (reply, answer) = oneshot::channel();
        if self.commands.send(Command::Settle(reply)).await.is_ok() {
            let _ = answer.await; // it is stopping, and writes everything down
        }
    }

    /// What can be served of a file that is still being fetched.
    pub(crate) fn partial(&self, id: &ContentId) -> Option<Partial> {
        lock(&self.board.partial).get(id).cloned()
    }

    /// All downloads in three numbers.
    pub(crate) fn totals(&self) -> Totals {
        *lock(&self.board.totals)
    }

    /// Saves how far everything is, and stops.
    pub(crate) async fn stop(&self) {
        let (reply, answer) = oneshot::channel();
        if self.commands.send(Command::Stop(reply)).await.is_ok() {
            let _ = answer.await;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
