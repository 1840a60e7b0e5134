//! [`Shared`]: the index in PostgreSQL, where several trackers share it.
//!
//! All of them read and write the same tables (`schema_1.sql`). A registration is a row that any tracker renews; presence is a row
//! for each tracker that a peer is connected to, and a peer is told of while it has one. A tracker says every second that
//! it lives; one that has not for six is dropped by the others, with all its presence. So a peer that is connected to
//! several trackers stays in all answers when one of them dies, and one that was connected to the dead one only is out within
//! ten seconds, its registration waiting for it at any of the others.
//!
//! Finding and ranking are not done twice: a search fetches the rows that its words are in, by their trigrams, and puts them
//! into a small index of the engine that a tracker without a database has, which answers. Rows are fetched up to a budget;
//! where that cuts a search, the answer says so.
//!
//! | file | what it is |
//! |---|---|
//! | `schema.rs`, `schema_1.sql` | the tables, and how they came about |
//! | `desk.rs` | the pool of connections; leaving, registering by rendezvous |
//! | `tls.rs` | whether they are encrypted, and whose certificate is believed |
//! | `writing.rs` | `Publish`, as one transaction |
//! | `reading.rs`, `finding.rs`, `loaded.rs` | requests that read; the SQL of a search; fetched rows as an index |
//! | `clerk.rs` | a task with a connection of its own: signs of life, presence, what has lapsed |
//! | `attendance.rs`, `changes.rs` | pure: who is here; what a page of changes comes to |

mod attendance;
mod changes;
mod clerk;
mod desk;
mod finding;
mod loaded;
mod reading;
mod schema;
mod tls;
mod writing;

use std::sync::Arc;
use std::time::{Duration, Instant};

use potluck_common::namespace::Namespace;
use potluck_common::peer::PeerKey;
use potluck_common::wire::index::{Address, Answer, Publish, Request};
use potluck_common::wire::{Bounded, MAX_ADDRESSES, Refusal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{AtOnce, Told, refuse};
use crate::quota::Limits;
use attendance::Attendance;
use clerk::{Clerk, News};
use desk::Desk;
use writing::Outcome;

/// Requests that read and wait for the database or are being answered: some seconds of work.
const MAX_READS: usize = 256;
/// Requests that write, likewise: one of each of a thousand peers.
const MAX_WRITES: usize = 1024;
/// Changes in them: 64 full pages, some 20 MB.
const MAX_CHANGES: u32 = 128 << 10;
/// Answers that the event loop has not taken yet.
const MAX_TOLD: usize = 64;

/// Why a database cannot keep the index.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The text is no address of a database.
    #[error("{0} is not the address of a PostgreSQL database; name it as --index postgres://USER:PASSWORD@HOST/DATABASE")]
    Address(String),
    /// It does not answer, or refuses.
    #[error("the database of the index cannot be used: {0}; check that PostgreSQL 15 or later runs there, and name, password and rights")]
    Refused(String),
    /// Connections to it cannot be encrypted as its address asks.
    #[error("the database of the index is not asked: {0}")]
    Tls(String),
    /// Its certificate is not believed.
    #[error(
        "the certificate of the database's server does not hold: {0}; name the file with who signed it as sslrootcert=FILE, and the host as \
         it is in the certificate"
    )]
    Certificate(String),
    /// Its texts are not UTF-8.
    #[error("the database of the index is in {0}; create one with ENCODING 'UTF8' and LC_CTYPE 'C.UTF-8'")]
    Encoding(String),
    /// A newer tracker has made the tables.
    #[error("the tables of the index are of version {0}, which is newer than this program; use the newer program")]
    Newer(i64),
}

impl From<tokio_postgres::Error> for DatabaseError {
    fn from(error: tokio_postgres::Error) -> Self {
        match desk::in_tls(&error) {
            Some(error) => Self::Certificate(error.to_string()),
            None => Self::Refused(desk::sentence(&error)),
        }
    }
}

/// The index that several trackers share, seen from the event loop of one of them: no method waits.
pub(crate) struct Shared<W> {
    desk: Arc<Desk>,
    /// Who is connected here.
    pub(super) attendance: Attendance,
    clerk: Clerk,
    done: mpsc::Receiver<Done<W>>,
    tell: mpsc::Sender<Done<W>>,
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
    changes: Arc<Semaphore>,
    /// How often changes were taken.
    pub(super) taken: u64,
    /// The last times that it was told.
    now: Instant,
    unix_now: i64,
}

/// A request that the database is done with.
enum Done<W> {
    Answered(W, Answer),
    Published { peer: PeerKey, publish: Box<Publish>, outcome: Outcome, waiter: W },
}

impl<W: Send + 'static> Shared<W> {
    /// Connects, brings the tables to the present version, and begins to say that this tracker lives.
    ///
    /// # Errors
    /// When the database cannot be used.
    pub(crate) async fn start(url: &str, limits: Limits, lease: Duration, now: Instant) -> Result<Self, DatabaseError> {
        let desk = Arc::new(Desk::open(url, limits, lease).await?);
        let clerk = Clerk::start(Arc::clone(&desk)).await?;
        let (tell, done) = mpsc::channel(MAX_TOLD);
        Ok(Self {
            desk,
            attendance: Attendance::default(),
            clerk,
            done,
            tell,
            reads: Arc::new(Semaphore::new(MAX_READS)),
            writes: Arc::new(Semaphore::new(MAX_WRITES)),
            changes: Arc::new(Semaphore::new(MAX_CHANGES as usize)),
            taken: 0,
            now,
            unix_now: 0,
        })
    }

    pub(super) fn publish(&mut self, peer: PeerKey, publish: Publish, waiter: W) -> AtOnce<W> {
        let count = u32::try_from(publish.changes.len()).unwrap_or(MAX_CHANGES);
        let permits = permit(&self.writes, 1).zip(permit(&self.changes, count));
        let Some(permits) = permits else { return Some((waiter, refuse(Refusal::Busy))) };
        let (desk, tell) = (Arc::clone(&self.desk), self.tell.clone());
        tokio::spawn(async move {
            let outcome = desk.publish(peer, &publish).await;
            let _loop_has_ended = tell.send(Done::Published { peer, publish: Box::new(publish), outcome, waiter }).await;
            drop(permits);
        });
        None
    }

    pub(super) fn withdraw(&mut self, peer: &PeerKey, namespace: &Namespace, waiter: W) -> AtOnce<W> {
        self.attendance.forget(peer, Some(namespace));
        let Some(permit) = permit(&self.writes, 1) else { return Some((waiter, refuse(Refusal::Busy))) };
        let (desk, tell, peer, namespace) = (Arc::clone(&self.desk), self.tell.clone(), *peer, namespace.clone());
        tokio::spawn(async move {
            let answer = match desk.withdraw(&peer, Some(&namespace)).await {
                Ok(()) => Answer::Withdrawn {},
                Err(failure) => refuse(failure.refusal()),
            };
            let _loop_has_ended = tell.send(Done::Answered(waiter, answer)).await;
            drop(permit);
        });
        None
    }

    pub(super) fn read(&mut self, request: Request, waiter: W) -> AtOnce<W> {
        let Some(permit) = permit(&self.reads, 1) else { return Some((waiter, refuse(Refusal::Busy))) };
        let (desk, tell, unix_now) = (Arc::clone(&self.desk), self.tell.clone(), self.unix_now);
        tokio::spawn(async move {
            let answer = desk.read(&request, unix_now).await.unwrap_or_else(|failure| refuse(failure.refusal()));
            let _loop_has_ended = tell.send(Done::Answered(waiter, answer)).await;
            drop(permit);
        });
        None
    }

    pub(super) fn handle_rendezvous(
        &mut self,
        peer: PeerKey,
        namespace: &Namespace,
        addresses: Bounded<Address, MAX_ADDRESSES>,
        ttl: Duration,
        now: Instant,
    ) {
        let Some(permit) = permit(&self.writes, 1) else { return }; // it renews
        self.attendance.handle_rendezvous(namespace, peer, ttl, now);
        let (desk, namespace) = (Arc::clone(&self.desk), namespace.clone());
        tokio::spawn(async move {
            if let Err(failure) = desk.register_guest(&peer, &namespace, &addresses, ttl).await {
                tracing::debug!(%peer, %failure, "a registration by rendezvous was not taken");
            }
            drop(permit);
        });
    }

    /// Nobody waits for an answer: a peer leaves a namespace, or all.
    pub(super) fn handle_unregistered(&mut self, peer: &PeerKey, namespace: Option<&Namespace>) {
        self.attendance.forget(peer, namespace);
        let (desk, peer, namespace) = (Arc::clone(&self.desk), *peer, namespace.cloned());
        let Some(permit) = permit(&self.writes, 1) else { return }; // its lease will end
        tokio::spawn(async move {
            if let Err(failure) = desk.withdraw(&peer, namespace.as_ref()).await {
                tracing::warn!(%peer, %failure, "a registration lasts until its lease ends");
            }
            drop(permit);
        });
    }

    pub(super) fn handle_tick(&mut self, now: Instant, unix_now: i64) {
        (self.now, self.unix_now) = (now, unix_now);
        let marks = self.attendance.handle_tick(now);
        if !marks.is_empty()
            && let Err(untold) = self.clerk.tell(marks)
        {
            self.attendance.handle_untold(untold);
        }
    }

    /// Whether the database answers, as far as was seen in the last seconds.
    pub(super) fn is_answering(&self) -> bool {
        self.desk.is_answering()
    }

    /// What is to be answered, or is news of the clerk.
    pub(super) async fn told(&mut self) -> Told<W> {
        tokio::select! {
            Some(done) = self.done.recv() => self.on_done(done),
            Some(news) = self.clerk.news() => {
                match news {
                    News::Forgotten => self.attendance.tell_all(),
                    News::Untold(marks) => self.attendance.handle_untold(marks),
                }
                Told::Nothing
            }
        }
    }

    /// Takes itself off the list of those that live, unless the database is away.
    pub(super) async fn close(self) {
        self.clerk.close().await;
    }

    fn on_done(&mut self, done: Done<W>) -> Told<W> {
        match done {
            Done::Answered(waiter, answer) => Told::Answers(vec![(waiter, answer)]),
            Done::Published { peer, publish, outcome, waiter } => {
                if outcome.is_registered {
                    self.attendance.handle_published(&publish.namespace, peer, self.now);
                }
                if outcome.is_news {
                    self.taken += 1;
                    Told::Published(waiter, outcome.answer, Box::new((peer, *publish)))
                } else {
                    Told::Answers(vec![(waiter, outcome.answer)])
                }
            }
        }
    }
}

/// Room for so much, held until it is dropped; `None` when there is none.
fn permit(room: &Arc<Semaphore>, count: u32) -> Option<OwnedSemaphorePermit> {
    Arc::clone(room).try_acquire_many_owned(count).ok()
}
