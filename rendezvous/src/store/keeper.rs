//! [`Keeper`]: the thread that writes. It alone waits for the disk.
//!
//! What comes while a transaction is written makes up the next one: a tracker with little to do answers after one write of
//! the disk, a busy one writes for hundreds of peers at once.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::restore::restore;
use super::table::{Step, Table};
use super::{Save, StoreError};
use crate::catalog::{Catalog, ShelfNo};

/// Orders that wait to be written or are written just now: one of each of a thousand peers.
const MAX_ORDERS: usize = 1024;
/// Changes in them: 64 full pages, some 20 MB.
const MAX_CHANGES: usize = 128 << 10;
/// Changes from which on a transaction takes no more: its answers wait for all of it, a third of a second.
const GROUP_CHANGES: usize = 32 << 10;
/// What the thread has told and the event loop has not heard yet.
const MAX_TOLD: usize = 4;
/// How long a disk that failed is left alone.
const RETRY: Duration = Duration::from_secs(5);
/// Files between two words on how far restoring is: about a second's worth.
const TELL_EVERY: u64 = 250_000;

/// What the thread tells. `W` is whoever waits for something to be saved.
#[derive(Debug)]
pub(crate) enum Told<W> {
    /// So many files of all are restored.
    Restoring {
        /// So many.
        files: u64,
        /// Of so many.
        of: u64,
    },
    /// All that was saved.
    Restored(Box<Catalog>),
    /// The database cannot be used: the thread has ended.
    Unusable(StoreError),
    /// What became of some of the orders.
    Done(Group<W>),
    /// The disk works again.
    Works,
}

/// Orders that were one transaction.
#[derive(Debug)]
pub(crate) struct Group<W> {
    /// Is on the disk.
    pub(crate) saved: Vec<W>,
    /// Is not: the disk failed, or what it follows on is not there.
    pub(crate) unsaved: Vec<W>,
    /// Why the disk failed, if it did.
    pub(crate) failure: Option<StoreError>,
    orders: usize,
    changes: usize,
}

enum Order<W> {
    Save(Save, W),
    Drop(ShelfNo),
}

/// The store's thread, seen from the event loop: no method waits. Dropping it ends the thread after what it has been given.
#[derive(Debug)]
pub(crate) struct Keeper<W> {
    orders: SyncSender<Order<W>>,
    told: mpsc::Receiver<Told<W>>,
    /// Orders that are not done.
    waiting: usize,
    /// Changes in them.
    waiting_changes: usize,
    is_failing: bool,
    /// Shelves that there was no room for among the orders. At most as many as registrations ended meanwhile.
    to_drop: VecDeque<ShelfNo>,
    thread: JoinHandle<()>,
}

impl<W: Send + 'static> Keeper<W> {
    /// Starts the thread on a database. The first that it tells is what was saved, put into `catalog`, whose registrations
    /// get leases that begin `now`.
    ///
    /// # Errors
    /// When the system has no thread.
    pub(crate) fn start(path: PathBuf, catalog: Catalog, now: Instant) -> std::io::Result<Self> {
        let (orders, to_do) = sync_channel(MAX_ORDERS);
        let (tell, told) = mpsc::channel(MAX_TOLD);
        let thread = std::thread::Builder::new().name("store".to_owned()).spawn(move || match open(&path, catalog, now, &tell) {
            Ok((table, catalog)) => {
                let _loop_has_ended = tell.blocking_send(Told::Restored(Box::new(catalog)));
                Worker { path, table: Some(table), to_drop: Vec::new(), to_do, tell }.run();
            }
            Err(error) => drop(tell.blocking_send(Told::Unusable(error))),
        })?;
        Ok(Self { orders, told, waiting: 0, waiting_changes: 0, is_failing: false, to_drop: VecDeque::new(), thread })
    }

    /// What the thread has to tell. `None` when it has ended, which it does only if it panicked or said why.
    pub(crate) async fn told(&mut self) -> Option<Told<W>> {
        let told = self.told.recv().await?;
        match &told {
            Told::Done(group) => {
                self.waiting -= group.orders;
                self.waiting_changes -= group.changes;
                self.is_failing |= group.failure.is_some();
            }
            Told::Works => self.is_failing = false,
            Told::Restoring { .. } | Told::Restored(_) | Told::Unusable(_) => {}
        }
        self.hand_on_drops();
        Some(told)
    }

    /// Whether the disk fails: nothing can be saved for some time.
    pub(crate) fn is_failing(&self) -> bool {
        self.is_failing
    }

    /// Whether so many changes can be taken now.
    pub(crate) fn has_room(&self, changes: usize) -> bool {
        self.waiting < MAX_ORDERS && self.waiting_changes + changes <= MAX_CHANGES
    }

    /// Saves changes. `waiter` comes back with [`Told::Done`], or at once when the thread has ended.
    ///
    /// # Errors
    /// When the thread has ended, or there was no room.
    pub(crate) fn save(&mut self, save: Save, waiter: W) -> Result<(), W> {
        let changes = save.publish.changes.len();
        match self.orders.try_send(Order::Save(save, waiter)) {
            Ok(()) => {
                self.waiting += 1;
                self.waiting_changes += changes;
                Ok(())
            }
            Err(TrySendError::Full(order) | TrySendError::Disconnected(order)) => order.into_waiter().map_or(Ok(()), Err),
        }
    }

    /// Drops what is on shelves, sooner or later.
    pub(crate) fn drop_shelves(&mut self, shelves: Vec<ShelfNo>) {
        self.to_drop.extend(shelves);
        self.hand_on_drops();
    }

    fn hand_on_drops(&mut self) {
        while self.waiting < MAX_ORDERS
            && let Some(shelf) = self.to_drop.front()
            && self.orders.try_send(Order::Drop(*shelf)).is_ok()
        {
            self.to_drop.pop_front();
            self.waiting += 1;
        }
    }

    /// Ends the thread once it has written what it was given and closed the database, so that the next start has nothing to
    /// check.
    pub(crate) async fn close(self) {
        let Self { orders, told, thread, .. } = self;
        drop((orders, told));
        let _panicked = tokio::task::spawn_blocking(move || thread.join()).await;
    }
}

/// Makes the catalog of what is in the database.
fn open<W>(path: &Path, mut catalog: Catalog, now: Instant, tell: &mpsc::Sender<Told<W>>) -> Result<(Table, Catalog), StoreError>
where
    W: Send,
{
    let table = Table::open(path)?;
    let of = table.files()?;
    let mut told = 0;
    restore(&table, &mut catalog, now, |files| {
        if files / TELL_EVERY > told {
            told = files / TELL_EVERY;
            let _slow_loop = tell.try_send(Told::Restoring { files, of });
        }
    })?;
    Ok((table, catalog))
}

/// The event loop has ended, and all orders are carried out.
struct Ended;

/// What the thread owns.
struct Worker<W> {
    path: PathBuf,
    /// `None` while the disk fails.
    table: Option<Table>,
    /// Shelves that were given up meanwhile.
    to_drop: Vec<ShelfNo>,
    to_do: Receiver<Order<W>>,
    tell: mpsc::Sender<Told<W>>,
}

impl<W> Worker<W> {
    /// Writes until the event loop is gone.
    fn run(mut self) {
        while let Ok(first) = self.next() {
            let orders = self.gather(first);
            if let Some(group) = self.write(orders)
                && self.tell.blocking_send(Told::Done(group)).is_err()
            {
                // Nobody waits for answers any more; what was given is still written.
                tracing::debug!("the last changes are written");
            }
        }
    }

    /// The next order; `None` when there is none but there is something else to do.
    fn next(&mut self) -> Result<Option<Order<W>>, Ended> {
        let Some(table) = &self.table else {
            return match self.to_do.recv_timeout(RETRY) {
                Ok(order) => Ok(Some(order)),
                Err(RecvTimeoutError::Disconnected) => Err(Ended),
                Err(RecvTimeoutError::Timeout) => {
                    self.try_again();
                    Ok(None)
                }
            };
        };
        if !table.has_to_sweep() && self.to_drop.is_empty() {
            return self.to_do.recv().map(Some).map_err(|_| Ended);
        }
        match self.to_do.try_recv() {
            Ok(order) => Ok(Some(order)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(Ended),
        }
    }

    /// What else waits, up to a transaction's worth.
    fn gather(&self, first: Option<Order<W>>) -> Vec<Order<W>> {
        let mut orders: Vec<_> = first.into_iter().collect();
        let mut changes: usize = orders.iter().map(Order::changes).sum();
        while changes < GROUP_CHANGES
            && orders.len() < MAX_ORDERS
            && let Ok(order) = self.to_do.try_recv()
        {
            changes += order.changes();
            orders.push(order);
        }
        orders
    }

    /// Writes a group. `None` for one of no orders that went well.
    fn write(&mut self, orders: Vec<Order<W>>) -> Option<Group<W>> {
        let Some(table) = &mut self.table else { return self.give_back(orders, None) };
        let kept = self.to_drop.iter().map(|shelf| Step::Drop(*shelf));
        let steps = kept.chain(orders.iter().map(|order| match order {
            Order::Save(save, _) => Step::Save(save),
            Order::Drop(shelf) => Step::Drop(*shelf),
        }));
        match table.commit(steps) {
            Ok(taken) => {
                let taken = taken.into_iter().skip(self.to_drop.len()).collect();
                self.to_drop.clear();
                Group::of(orders, taken, None)
            }
            Err(error) => {
                self.table = None; // after an error the database wants to be opened anew
                self.give_back(orders, Some(error))
            }
        }
    }

    /// Nothing of a group was written.
    fn give_back(&mut self, orders: Vec<Order<W>>, failure: Option<StoreError>) -> Option<Group<W>> {
        self.to_drop.extend(orders.iter().filter_map(|order| match order {
            Order::Save(..) => None,
            Order::Drop(shelf) => Some(*shelf),
        }));
        let nothing = vec![false; orders.len()];
        Group::of(orders, nothing, failure)
    }

    /// Looks whether the disk works again.
    fn try_again(&mut self) {
        let tried = Table::open(&self.path).and_then(|mut table| table.commit([]).map(|_| table));
        match tried {
            Ok(table) => {
                self.table = Some(table);
                let _loop_has_ended = self.tell.blocking_send(Told::Works);
            }
            Err(error) => tracing::debug!(%error, "the disk still fails"),
        }
    }
}

impl<W> Order<W> {
    fn changes(&self) -> usize {
        match self {
            Self::Save(save, _) => save.publish.changes.len(),
            Self::Drop(_) => 0,
        }
    }

    fn into_waiter(self) -> Option<W> {
        match self {
            Self::Save(_, waiter) => Some(waiter),
            Self::Drop(_) => None,
        }
    }
}

impl<W> Group<W> {
    fn of(orders: Vec<Order<W>>, taken: Vec<bool>, failure: Option<StoreError>) -> Option<Self> {
        if orders.is_empty() && failure.is_none() {
            return None;
        }
        let changes = orders.iter().map(Order::changes).sum();
        let mut group = Self { saved: Vec::new(), unsaved: Vec::new(), failure, orders: orders.len(), changes };
        for (order, taken) in orders.into_iter().zip(taken) {
            let Some(waiter) = order.into_waiter() else { continue };
            if taken { group.saved.push(waiter) } else { group.unsaved.push(waiter) }
        }
        Some(group)
    }
}
