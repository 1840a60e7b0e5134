//! [`Embedded`]: the catalog in this process, and the thread that saves what it takes.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures::future::OptionFuture;
use potluck_common::namespace::Namespace;
use potluck_common::peer::PeerKey;
use potluck_common::search::Done;
use potluck_common::wire::Refusal;
use potluck_common::wire::index::{Answer, Publish, Request, Withdraw};
use tokio::task::JoinHandle;

use super::{AtOnce, Told, published, refuse};
use crate::catalog::{Catalog, IndexJob, Published, ShelfNo};
use crate::quota::Limits;
use crate::store::{Group, Keeper, Save, Told as Kept};
use crate::watches::Watches;
use crate::{Event, TrackerError};

/// The index of a tracker that stands alone.
pub(crate) struct Embedded<W> {
    pub(super) catalog: Catalog,
    /// Writes what the catalog takes.
    keeper: Keeper<Waiting<W>>,
    /// What is saved is being read: until then nothing is known, and nothing is answered.
    is_restoring: bool,
    /// Segments that are being joined on another thread.
    job: Option<JoinHandle<IndexJob<Done>>>,
    /// How often changes were taken.
    pub(super) taken: u64,
    /// The last time that it was told.
    now: Instant,
}

/// A peer that waits for what it published to be saved.
#[derive(Debug)]
struct Waiting<W> {
    peer: PeerKey,
    namespace: Namespace,
    shelf: ShelfNo,
    revision: u64,
    waiter: W,
}

impl<W: Send + 'static> Embedded<W> {
    /// Starts on a database, which is read meanwhile.
    ///
    /// # Errors
    /// When the system has no thread.
    pub(crate) fn start(path: PathBuf, limits: Limits, lease: Duration, now: Instant) -> std::io::Result<Self> {
        let keeper = Keeper::start(path, Catalog::new(limits, lease), now)?;
        Ok(Self { catalog: Catalog::new(limits, lease), keeper, is_restoring: true, job: None, taken: 0, now })
    }

    pub(super) fn is_restoring(&self) -> bool {
        self.is_restoring
    }

    pub(super) fn publish(&mut self, peer: PeerKey, publish: Publish, waiter: W, watches: &mut Watches<W>, now: Instant) -> AtOnce<W> {
        if publish.revision != publish.base {
            if self.keeper.is_failing() {
                self.catalog.keep(&publish.namespace, &peer, now);
                return Some((waiter, refuse(Refusal::Unavailable)));
            }
            if !self.keeper.has_room(publish.changes.len()) {
                return Some((waiter, refuse(Refusal::Busy)));
            }
        }
        let answer = match self.catalog.publish(peer, &publish, now) {
            Published::Taken(shelf) => {
                self.taken += 1;
                watches.handle_published(peer, &publish, now);
                return self.save(shelf, peer, publish, waiter);
            }
            Published::InStep => published(publish.revision, self.catalog.lease()),
            Published::OutOfStep(held) => published(held, self.catalog.lease()),
            Published::OverQuota => refuse(Refusal::OverQuota),
            Published::Nonsense => refuse(Refusal::Unsupported),
        };
        Some((waiter, answer))
    }

    /// What was taken is answered when it is saved.
    fn save(&mut self, shelf: ShelfNo, peer: PeerKey, publish: Publish, waiter: W) -> AtOnce<W> {
        let waiting = Waiting { peer, namespace: publish.namespace.clone(), shelf, revision: publish.revision, waiter };
        let unsaved = self.keeper.save(Save { shelf, peer, publish }, waiting).err()?;
        Some(self.give_up(unsaved))
    }

    pub(super) fn withdraw(&mut self, peer: &PeerKey, withdraw: &Withdraw) -> Answer {
        if withdraw.park {
            self.catalog.park(&withdraw.namespace, peer);
        } else {
            self.catalog.withdraw(&withdraw.namespace, peer);
        }
        Answer::Withdrawn {}
    }

    pub(super) fn read(&self, request: &Request) -> Answer {
        self.catalog.answer(request)
    }

    pub(super) fn handle_tick(&mut self, now: Instant, unix_now: i64) {
        self.now = now;
        self.catalog.handle_tick(now);
        self.catalog.set_calendar(unix_now);
        self.catalog.tidy();
        let gone = self.catalog.take_gone();
        if !gone.is_empty() {
            tracing::debug!(registrations = gone.len(), "forgotten, also on the disk");
        }
        self.keeper.drop_shelves(gone);
        self.start_job();
    }

    pub(super) async fn told(&mut self) -> Result<Told<W>, TrackerError> {
        tokio::select! {
            kept = self.keeper.told() => self.on_kept(kept),
            Some(done) = OptionFuture::from(self.job.as_mut()) => {
                self.on_job(done.ok());
                Ok(Told::Nothing)
            }
        }
    }

    pub(super) async fn close(self) {
        self.keeper.close().await;
    }

    fn on_kept(&mut self, kept: Option<Kept<Waiting<W>>>) -> Result<Told<W>, TrackerError> {
        match kept {
            Some(Kept::Restoring { files, of }) => Ok(Told::Progress(Event::Restoring { files, of })),
            Some(Kept::Restored(catalog)) => Ok(self.on_restored(*catalog)),
            Some(Kept::Done(group)) => Ok(Told::Answers(self.on_group(group))),
            Some(Kept::Works) => {
                tracing::warn!("the index can be saved again");
                Ok(Told::Nothing)
            }
            Some(Kept::Unusable(error)) => Err(TrackerError::Store(error)),
            None => Err(TrackerError::StoreEnded),
        }
    }

    fn on_restored(&mut self, catalog: Catalog) -> Told<W> {
        let meanwhile = std::mem::replace(&mut self.catalog, catalog);
        self.catalog.handle_restored(meanwhile, self.now);
        self.is_restoring = false;
        match self.catalog.held().files {
            0 => Told::Nothing,
            files => Told::Progress(Event::Restored { files }),
        }
    }

    /// The store is done with some of what it was given.
    fn on_group(&mut self, group: Group<Waiting<W>>) -> Vec<(W, Answer)> {
        if let Some(failure) = group.failure {
            tracing::error!("the index cannot be saved: {failure}. Changes are refused until it can; all else goes on");
        }
        let lease = self.catalog.lease();
        let mut answers: Vec<_> = group.saved.into_iter().map(|waiting| (waiting.waiter, published(waiting.revision, lease))).collect();
        answers.extend(group.unsaved.into_iter().map(|waiting| self.give_up(waiting)));
        answers
    }

    fn give_up(&mut self, unsaved: Waiting<W>) -> (W, Answer) {
        self.catalog.handle_unsaved(&unsaved.namespace, &unsaved.peer, unsaved.shelf);
        (unsaved.waiter, refuse(Refusal::Unavailable))
    }

    /// Joins segments on another thread, one job at a time.
    fn start_job(&mut self) {
        if self.job.is_none() {
            self.job = self.catalog.next_job().map(|job| tokio::task::spawn_blocking(|| job.run()));
        }
    }

    fn on_job(&mut self, done: Option<IndexJob<Done>>) {
        self.job = None;
        if let Some(done) = done {
            self.catalog.finish_job(done);
        }
        self.start_job();
    }
}
