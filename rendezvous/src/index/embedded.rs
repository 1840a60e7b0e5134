//! [`Embedded`]: the catalog in this process, the threads that search it, and the one that saves what it takes.

use std::path::PathBuf;
use std::sync::{RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use potluck_common::namespace::Namespace;
use potluck_common::peer::PeerKey;
use potluck_common::wire::Refusal;
use potluck_common::wire::index::{Answer, Publish, Request, Withdraw};
use tokio::time::{Interval, MissedTickBehavior};

use super::joiner::Joiner;
use super::readers::{CatalogLock, Readers};
use super::{AtOnce, Told, published, refuse};
use crate::catalog::{Catalog, Published, ShelfNo};
use crate::quota::Limits;
use crate::store::{Group, Keeper, Save, Told as Kept};
use crate::watches::Watches;
use crate::{Event, TrackerError};

/// Between two steps of tidying, as long as there is something to do: a tenth of the time of a core, which keeps up with a hundred peers a
/// second that come and go.
const TIDYING: Duration = Duration::from_millis(10);

/// The index of a tracker that stands alone.
pub(crate) struct Embedded<W> {
    catalog: CatalogLock,
    readers: Readers<W>,
    /// Writes what the catalog takes.
    keeper: Keeper<Waiting<W>>,
    /// What is saved is being read: until then nothing is known, and nothing is answered.
    is_restoring: bool,
    /// Joins segments.
    joiner: Joiner,
    /// Whether the last step of tidying left something to do: then the next comes soon.
    is_untidy: bool,
    tidying: Interval,
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
    /// When the system has no threads.
    pub(crate) fn start(path: PathBuf, limits: Limits, lease: Duration, now: Instant) -> std::io::Result<Self> {
        let keeper = Keeper::start(path, Catalog::new(limits, lease), now)?;
        let catalog = CatalogLock::new(Catalog::new(limits, lease));
        let mut tidying = tokio::time::interval(TIDYING);
        tidying.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            readers: Readers::start(&catalog)?,
            catalog,
            keeper,
            is_restoring: true,
            joiner: Joiner::start()?,
            is_untidy: false,
            tidying,
            taken: 0,
            now,
        })
    }

    pub(super) fn is_restoring(&self) -> bool {
        self.is_restoring
    }

    /// The catalog, to be read.
    pub(super) fn catalog(&self) -> RwLockReadGuard<'_, Catalog> {
        self.catalog.read()
    }

    /// The catalog, to be changed: when the searches that run are done.
    pub(super) fn catalog_mut(&mut self) -> RwLockWriteGuard<'_, Catalog> {
        self.catalog.write()
    }

    pub(super) fn publish(&mut self, peer: PeerKey, publish: Publish, waiter: W, watches: &mut Watches<W>, now: Instant) -> AtOnce<W> {
        if publish.revision != publish.base {
            if self.keeper.is_failing() {
                self.catalog_mut().keep(&publish.namespace, &peer, now);
                return Some((waiter, refuse(Refusal::Unavailable)));
            }
            if !self.keeper.has_room(publish.changes.len()) {
                return Some((waiter, refuse(Refusal::Busy)));
            }
        }
        let outcome = self.catalog_mut().publish(peer, &publish, now);
        let answer = match outcome {
            Published::Taken(shelf) => {
                self.taken += 1;
                watches.handle_published(peer, &publish, now);
                return self.save(shelf, peer, publish, waiter);
            }
            Published::InStep => published(publish.revision, self.catalog().lease()),
            Published::OutOfStep(held) => published(held, self.catalog().lease()),
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
            self.catalog_mut().park(&withdraw.namespace, peer);
        } else {
            self.catalog_mut().withdraw(&withdraw.namespace, peer);
        }
        Answer::Withdrawn {}
    }

    pub(super) fn read(&mut self, request: Request, waiter: W) -> AtOnce<W> {
        match request {
            Request::Search(_) => Some((self.readers.ask(request, waiter).err()?, refuse(Refusal::Busy))),
            // Answered faster than handed on.
            _ => Some((waiter, self.catalog().answer(&request))),
        }
    }

    pub(super) fn handle_tick(&mut self, now: Instant, unix_now: i64) {
        self.now = now;
        let mut catalog = self.catalog.write();
        catalog.handle_tick(now);
        catalog.set_calendar(unix_now);
        self.is_untidy |= catalog.tidy();
        let gone = catalog.take_gone();
        drop(catalog);
        if !gone.is_empty() {
            tracing::debug!(registrations = gone.len(), "forgotten, also on the disk");
        }
        self.keeper.drop_shelves(gone);
        self.start_job();
    }

    pub(super) async fn told(&mut self) -> Result<Told<W>, TrackerError> {
        tokio::select! {
            kept = self.keeper.told() => self.on_kept(kept),
            answers = self.readers.answers() => Ok(Told::Answers(answers)),
            done = self.joiner.done() => {
                if let Some(done) = done {
                    self.catalog.write().finish_job(done);
                }
                self.start_job();
                Ok(Told::Nothing)
            }
            _ = self.tidying.tick(), if self.is_untidy => {
                self.is_untidy = self.catalog.write().tidy();
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
        let mut here = self.catalog.write();
        let meanwhile = std::mem::replace(&mut *here, catalog);
        here.handle_restored(meanwhile, self.now);
        self.is_restoring = false;
        match here.held().files {
            0 => Told::Nothing,
            files => Told::Progress(Event::Restored { files }),
        }
    }

    /// The store is done with some of what it was given.
    fn on_group(&mut self, group: Group<Waiting<W>>) -> Vec<(W, Answer)> {
        if let Some(failure) = group.failure {
            tracing::error!("the index cannot be saved: {failure}. Changes are refused until it can; all else goes on");
        }
        let lease = self.catalog().lease();
        let mut answers: Vec<_> = group.saved.into_iter().map(|waiting| (waiting.waiter, published(waiting.revision, lease))).collect();
        answers.extend(group.unsaved.into_iter().map(|waiting| self.give_up(waiting)));
        answers
    }

    fn give_up(&mut self, unsaved: Waiting<W>) -> (W, Answer) {
        self.catalog_mut().handle_unsaved(&unsaved.namespace, &unsaved.peer, unsaved.shelf);
        (unsaved.waiter, refuse(Refusal::Unavailable))
    }

    fn start_job(&mut self) {
        self.joiner.start_job(|| self.catalog.write().next_job());
    }
}
