//! Fills the table of shares from the disk: lists at once, hashes in the background.
//!
//! One thread lists, so that names can be searched in seconds; a few threads hash what the cache does not know, newest
//! and requested files first. What is to be hashed stands in the table: the queue holds the next few thousand files only. What the disk says has changed is listed again soon (`indexer/following.rs`), and a sweep repeats the
//! listing for what it did not say.

mod following;
mod queue;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use potluck_common::share_path::SharePath;
use tokio::sync::broadcast;

use self::following::Following;
use self::queue::{Queue, Turn};
use crate::clock::{now, today};
use crate::core::audience::Reader;
use crate::core::journal::Seen;
use crate::shares::{FoundFile, ShareState, Shares, Table};
use crate::store::{HardLinks, Hashed, ScanEvent, ScanSummary, ServeError, ShareDir, ShareError, Stamp, State, hash_file, scan};
use crate::types::Event;

/// Files that are looked up in the cache and put into the table together.
const BATCH: usize = 1024;
/// Hashes that are remembered in one transaction, and the longest that one waits for company.
const HASH_BATCH: usize = 512;
const HASH_PATIENCE: Duration = Duration::from_millis(500);
/// Most hashing threads. Disks deliver to few; one large file is hashed by several cores as it is.
const MAX_HASHERS: usize = 4;
/// Files that the queue takes out of the table at once, some 2 MB: often enough not to hold up who asks the table.
const QUEUED: usize = 16_384;
/// Shortest time between two sweeps, and how much longer than a sweep the rest between two of them is: where the disk tells of
/// changes, a sweep is for what it did not say.
const MIN_SWEEP_INTERVAL: Duration = Duration::from_secs(30);
const SWEEP_REST: u32 = 50;
const WATCHED_SWEEP_REST: u32 = 300;
/// After the shares were written down: the shortest rest, how much longer than writing took it is, and the longest. A million files
/// are 100 MB: in a share that changes all the time, a third of a megabyte a second is written at most.
const MIN_WRITE_REST: Duration = Duration::from_secs(10);
const WRITE_REST: u32 = 1000;
const MAX_WRITE_REST: Duration = Duration::from_secs(300);
/// Orders that may wait for the listing thread.
const ORDER_QUEUE: usize = 64;
/// Tells the indexer what to do. Dropping the last clone stops it.
#[derive(Clone)]
pub(crate) struct Indexer {
    orders: SyncSender<Order>,
    queue: Arc<Queue>,
}

enum Order {
    /// List a share now.
    List(String),
    /// The disk told of changes: see [`Following`].
    Look,
    /// End.
    Stop,
}

/// Everything that the threads need.
#[derive(Clone)]
struct Work {
    shares: Arc<Shares>,
    state: Arc<State>,
    queue: Arc<Queue>,
    hashed: SyncSender<(SharePath, Hashed)>,
    events: broadcast::Sender<Event>,
    /// Where the shares are written down.
    data_dir: PathBuf,
    hard_links: HardLinks,
}

impl Indexer {
    /// Starts the threads. They end when [`stop`](Self::stop) is called.
    pub(crate) fn start(
        shares: Arc<Shares>,
        state: Arc<State>,
        events: broadcast::Sender<Event>,
        data_dir: PathBuf,
        hard_links: HardLinks,
    ) -> Self {
        let (orders, order_queue) = sync_channel(ORDER_QUEUE);
        let (hashed, hashed_queue) = sync_channel(HASH_BATCH);
        let queue = Arc::new(Queue::default());
        let work = Work { shares, state, queue: Arc::clone(&queue), hashed, events, data_dir, hard_links };
        let hashers = std::thread::available_parallelism().map_or(2, usize::from).min(MAX_HASHERS);
        for _ in 0..hashers {
            let work = work.clone();
            std::thread::spawn(move || work.hash_forever());
        }
        let remembering = (Arc::clone(&work.shares), Arc::clone(&work.state), work.events.clone(), Arc::clone(&queue));
        std::thread::spawn(move || remember_forever(&remembering.0, &remembering.1, &remembering.2, &remembering.3, &hashed_queue));
        let filling = (Arc::clone(&work.shares), Arc::clone(&queue));
        std::thread::spawn(move || filling.0.fill_indexes(&|| filling.1.is_stopped()));
        let following = Following::new(orders.clone(), work.events.clone());
        std::thread::spawn(move || work.list_forever(&order_queue, following));
        Self { orders, queue }
    }

    /// Lists a share soon. An order that finds the queue full is dropped: the next sweep lists every share.
    pub(crate) fn list(&self, share: &str) {
        let _ = self.orders.try_send(Order::List(share.to_owned()));
    }

    /// Somebody wants this file, which is not hashed: hash it first.
    pub(crate) fn hurry(&self, path: &SharePath) {
        self.queue.hurry(path);
    }

    /// Stops all threads within a piece of hashing.
    pub(crate) fn stop(&self) {
        self.queue.stop();
        let _ = self.orders.try_send(Order::Stop);
    }
}

impl Work {
    /// Lists what is ordered, and sweeps between.
    fn list_forever(&self, orders: &Receiver<Order>, mut following: Following) {
        let mut sweep_at = now() + MIN_SWEEP_INTERVAL;
        let mut write_at = now() + MIN_WRITE_REST;
        let mut told_listed = self.shares.has_files() && self.tell_if_listed();
        loop {
            let mut wake_at = following.poll_timeout().map_or(sweep_at, |at| at.min(sweep_at));
            if !self.shares.is_written_down() {
                wake_at = wake_at.min(write_at.max(now() + MIN_WRITE_REST));
            }
            match orders.recv_timeout(wake_at.saturating_duration_since(now())) {
                Ok(Order::List(share)) => self.list(&share, &mut following),
                Ok(Order::Look) => following.look(&self.shares.lock().share_paths(), now()),
                Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) if now() >= sweep_at => sweep_at = now() + self.sweep(&mut following),
                Err(RecvTimeoutError::Timeout) => {}
            }
            while let Some(share) = following.poll(now()) {
                self.list(&share, &mut following);
            }
            if !told_listed {
                told_listed = self.tell_if_listed();
            }
            let is_due = now() >= if self.queue.is_idle() { write_at } else { write_at + MAX_WRITE_REST };
            if is_due && !self.shares.is_written_down() {
                write_at = now() + self.write_down();
            }
        }
    }

    /// Tells that every share is listed, if that is so.
    fn tell_if_listed(&self) -> bool {
        let (is_listed, _) = self.shares.lock().progress();
        if is_listed {
            let (files, bytes, _) = self.shares.totals(&Reader::Me);
            let _ = self.events.send(Event::Listed { files, bytes });
            tell_if_indexed(&self.shares, &self.queue, &self.events);
        }
        is_listed
    }

    /// Writes the shares down; tells how long to rest.
    fn write_down(&self) -> Duration {
        let start = now();
        if let Err(error) = self.shares.write_down(&self.data_dir) {
            tracing::warn!(%error, "what the shares hold cannot be written down; after a restart they are listed anew");
        }
        (now() - start).saturating_mul(WRITE_REST).clamp(MIN_WRITE_REST, MAX_WRITE_REST)
    }

    /// Lists every share again; tells how long to rest.
    fn sweep(&self, following: &mut Following) -> Duration {
        let start = now();
        self.queue.wake();
        let paths = self.shares.lock().share_paths();
        for (name, _) in paths {
            self.list(&name, following);
        }
        let rest = if following.is_all_watched() { WATCHED_SWEEP_REST } else { SWEEP_REST };
        (now() - start).saturating_mul(rest).max(MIN_SWEEP_INTERVAL)
    }

    /// The folder of a share; one that was away and is back is opened.
    fn open(&self, name: &str) -> Option<Arc<ShareDir>> {
        let (dir, paths) = {
            let table = self.shares.lock();
            (table.share_dir(name), table.share_paths())
        };
        if dir.is_some() {
            return dir;
        }
        let (_, path) = paths.into_iter().find(|(known, _)| known == name)?;
        let dir = ShareDir::open(name, &path).ok().filter(|dir| !dir.is_empty()).map(Arc::new)?;
        self.shares.change(|table| table.open_share(name, Some(Arc::clone(&dir))));
        Some(dir)
    }

    fn list(&self, name: &str, following: &mut Following) {
        let Some(dir) = self.open(name) else { return following.forget(name) };
        let start = now();
        let mut listing = Listing { work: self, batch: Vec::with_capacity(BATCH), skipped: Vec::new(), unreadable: Vec::new() };
        self.shares.lock().begin_listing(name);
        self.queue.set_listing(true);
        let outcome = scan(&dir, self.hard_links, &mut |event| listing.take(event));
        listing.flush();
        self.queue.set_listing(false);
        match outcome {
            Ok(summary) if summary.stopped => {}
            Ok(summary) if self.is_emptied(name, &dir, &summary) => {
                self.take_offline(name, &ShareError::Emptied { path: dir.path().to_owned() });
            }
            Ok(summary) => {
                listing.finish(name, &summary);
                following.handle_listed(name, dir.path(), summary.folders, now() - start, now());
            }
            Err(error) => {
                following.forget(name);
                self.take_offline(name, &error);
            }
        }
    }

    /// Whether all is gone at once: a disk that is away leaves an empty folder, and nobody deletes all there is one by one.
    fn is_emptied(&self, name: &str, dir: &ShareDir, summary: &ScanSummary) -> bool {
        summary.files == 0 && summary.unreadable == 0 && dir.is_empty() && self.shares.lock().has_files(name)
    }

    /// The folder went away: nothing of it is told until it is back, and nothing is taken for deleted.
    fn take_offline(&self, name: &str, error: &ShareError) {
        self.shares.change(|table| {
            table.forget_files(name);
            table.open_share(name, None);
        });
        let _ = self.events.send(Event::Warning { message: format!("share {name}: {error}") });
    }

    fn hash_forever(&self) {
        while let Some(turn) = self.queue.next() {
            let path = match turn {
                Turn::Hash(path) => path,
                Turn::Fill => {
                    self.queue.fill(self.shares.lock().take_unhashed(QUEUED), QUEUED);
                    tell_if_indexed(&self.shares, &self.queue, &self.events);
                    continue;
                }
            };
            match self.hash(&path) {
                Ok(Some(hashed)) => {
                    if self.hashed.send((path, hashed)).is_err() {
                        return;
                    }
                }
                Ok(None) => self.queue.done(&path),
                Err(ServeError::Changed) => self.queue.rest(path),
                Err(error) => {
                    tracing::debug!(%path, %error, "not hashed");
                    self.queue.done(&path);
                }
            }
        }
    }

    /// Hashes a file, unless it is gone or another by now.
    fn hash(&self, path: &SharePath) -> Result<Option<Hashed>, ServeError> {
        let Some(dir) = self.shares.lock().share_dir(path.share()) else { return Ok(None) };
        let file = match dir.open_file(path.within_share()) {
            Ok(file) => file,
            Err(ServeError::NotFound) => return Ok(None),
            Err(error) => return Err(error),
        };
        hash_file(&file, self.queue.stopped(), &mut |_| {}).map(Some)
    }
}

/// A listing of one share under way.
struct Listing<'a> {
    work: &'a Work,
    batch: Vec<FoundFile>,
    skipped: Vec<String>,
    /// Folders that could not be read: what was known below them stays.
    unreadable: Vec<SharePath>,
}

impl Listing<'_> {
    fn take(&mut self, event: ScanEvent) -> ControlFlow<()> {
        match event {
            ScanEvent::Found { path, stamp } => {
                self.batch.push(FoundFile { path, stamp, content_id: None });
                if self.batch.len() >= BATCH {
                    self.flush();
                }
            }
            ScanEvent::Skipped { what, path, why } => {
                if self.skipped.len() < 64 {
                    self.skipped.push(format!("{what}: {why}"));
                }
                if why == crate::store::SkipReason::Unreadable {
                    self.unreadable.extend(path);
                }
            }
        }
        if self.work.queue.is_stopped() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Looks up what the cache knows of those of a batch that are news, and puts them into the table.
    fn flush(&mut self) {
        let shares = &self.work.shares;
        {
            let mut table = shares.lock();
            self.batch.retain(|file| table.see(&file.path, &file.stamp) != Seen::Known);
        }
        if self.batch.is_empty() {
            return;
        }
        let stamps: Vec<Stamp> = self.batch.iter().map(|file| file.stamp).collect();
        let known = self.work.state.content_ids(&stamps).unwrap_or_else(|error| {
            tracing::warn!(%error, "the hash cache cannot be read; files are hashed again");
            vec![None; stamps.len()]
        });
        for (file, content_id) in self.batch.iter_mut().zip(known) {
            file.content_id = content_id;
        }
        let put = |table: &mut Table, file: &FoundFile| {
            table.put(file);
            table.see(&file.path, &file.stamp) == Seen::Unhashed
        };
        let is_lacking = shares.change(|table| self.batch.iter().filter(|file| put(table, file)).count() > 0);
        if is_lacking {
            self.work.queue.add();
        }
        self.batch.clear();
    }

    /// Forgets what is gone, except below folders that could not be looked into.
    fn finish(self, name: &str, summary: &ScanSummary) {
        let Self { work, skipped, unreadable, .. } = self;
        work.shares.change(|table| {
            table.forget_unseen(name, |path| unreadable.iter().any(|folder| path.is_within(folder)));
            table.set_skipped(name, skipped, summary.skipped);
            table.set_state(name, ShareState::Hashing);
        });
        tell_if_indexed(&work.shares, &work.queue, &work.events);
        work.shares.settle();
    }
}

/// Takes hashes as they come, remembers them in the cache, and tells them.
fn remember_forever(
    shares: &Shares,
    state: &State,
    events: &broadcast::Sender<Event>,
    queue: &Queue,
    hashed: &Receiver<(SharePath, Hashed)>,
) {
    while let Ok(first) = hashed.recv() {
        let mut batch = vec![first];
        let deadline = now() + HASH_PATIENCE;
        while batch.len() < HASH_BATCH && !queue.is_waiting_only_for(batch.len()) {
            match hashed.recv_timeout(deadline.saturating_duration_since(now())) {
                Ok(next) => batch.push(next),
                Err(_) => break,
            }
        }
        remember(shares, state, &batch);
        batch.iter().for_each(|(path, _)| queue.done(path));
        tell_if_indexed(shares, queue, events);
    }
}

fn remember(shares: &Shares, state: &State, batch: &[(SharePath, Hashed)]) {
    // A file that was written a moment ago may be written again within its time stamp: its hash holds, but not for long.
    let today = today();
    let settled: Vec<Hashed> = batch.iter().map(|(_, hashed)| hashed.clone()).filter(|hashed| hashed.stamp.is_settled(today)).collect();
    let fresh: Vec<&Hashed> = batch.iter().map(|(_, hashed)| hashed).filter(|hashed| !hashed.stamp.is_settled(today)).collect();
    let kept =
        state.put_hashes(&settled).and_then(|()| fresh.iter().try_for_each(|hashed| state.put_pieces(hashed.content_id, &hashed.pieces)));
    if let Err(error) = kept {
        tracing::warn!(%error, "hashes are not remembered; they are computed again after a restart");
    }
    shares.change(|table| {
        for (path, hashed) in batch {
            table.put_content(path, hashed.stamp, hashed.content_id);
        }
    });
}

/// Tells once more that everything is hashed, each time that it becomes so.
fn tell_if_indexed(shares: &Shares, queue: &Queue, events: &broadcast::Sender<Event>) {
    if !queue.is_idle() {
        return;
    }
    let newly = shares.change(|table| {
        let (listed, hashed) = table.progress();
        listed && !hashed && table.finish_hashing()
    });
    if newly {
        let (files, bytes, _) = shares.totals(&Reader::Me);
        let _ = events.send(Event::Indexed { files, bytes });
        shares.settle();
    }
}
