//! [`Following`]: follows the disk, so that a share is listed again when something in it changed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::broadcast;

use super::Order;
use crate::core::rescans::Rescans;
use crate::store::Watcher;
use crate::types::Event;

/// Paths of changes that wait to be looked at; beyond, every share is looked at.
const MAX_CHANGES: usize = 1024;
/// How often everything is listed all the same, in words for the user.
const SWEEP: &str = "half a minute";

/// Which shares are watched, and which of them are to be listed again.
pub(super) struct Following {
    watcher: Option<Watcher>,
    changes: Arc<Mutex<Changes>>,
    rescans: Rescans,
    watched: BTreeMap<String, PathBuf>,
    /// Shares that cannot be watched, so that this is said once.
    unwatched: BTreeSet<String>,
    events: broadcast::Sender<Event>,
}

/// What the disk told since it was looked at last.
#[derive(Default)]
struct Changes {
    paths: BTreeSet<PathBuf>,
    /// Whether more changed than could be told.
    everywhere: bool,
}

impl Following {
    /// Follows nothing yet. When something changes, `orders` is told to look.
    pub(super) fn new(orders: SyncSender<Order>, events: broadcast::Sender<Event>) -> Self {
        let changes: Arc<Mutex<Changes>> = Arc::default();
        let told = Arc::clone(&changes);
        let watcher = Watcher::new(move |path| {
            let mut changes = told.lock().unwrap_or_else(PoisonError::into_inner);
            let is_first = changes.paths.is_empty() && !changes.everywhere;
            match path {
                // a folder stands for what is in it: a thousand new files are one change
                Some(path) if changes.paths.len() < MAX_CHANGES => {
                    changes.paths.insert(path.parent().unwrap_or(path).to_owned());
                }
                _ => changes.everywhere = true,
            }
            if is_first {
                let _ = orders.try_send(Order::Look); // a full queue is emptied by who looks anyway, or by the sweep
            }
        });
        let watcher = watcher.inspect_err(|error| tracing::warn!(%error, "changes are found by the sweep only")).ok();
        Self { watcher, changes, rescans: Rescans::default(), watched: BTreeMap::new(), unwatched: BTreeSet::new(), events }
    }

    /// Looks in which shares something changed.
    pub(super) fn look(&mut self, shares: &[(String, PathBuf)], now: Instant) {
        let changes = std::mem::take(&mut *self.changes.lock().unwrap_or_else(PoisonError::into_inner));
        for (share, folder) in shares {
            // a change of the folder above tells that the share itself was moved or deleted
            let is_there = |path: &PathBuf| path.starts_with(folder) || folder.parent() == Some(path.as_path());
            if changes.everywhere || changes.paths.iter().any(is_there) {
                self.rescans.handle_change(share.clone(), now);
            }
        }
    }

    /// The next share to list again.
    pub(super) fn poll(&mut self, now: Instant) -> Option<String> {
        self.rescans.poll(now)
    }

    /// When there may be one.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.rescans.poll_timeout()
    }

    /// A share was listed; from now on it is watched, if that is possible.
    pub(super) fn handle_listed(&mut self, share: &str, folder: &Path, folders: u64, took: Duration, now: Instant) {
        self.rescans.handle_listed(share, took, now);
        let Some(watcher) = self.watcher.as_mut().filter(|_| !self.watched.contains_key(share)) else { return };
        match watcher.watch(folder, folders, SWEEP) {
            Ok(()) => {
                self.watched.insert(share.to_owned(), folder.to_owned());
                self.unwatched.remove(share);
                self.rescans.handle_change(share.to_owned(), now); // what changed between the two is found by one more look
            }
            Err(error) if self.unwatched.insert(share.to_owned()) => {
                let _ = self.events.send(Event::Warning { message: format!("share {share}: {error}") });
            }
            Err(_) => {}
        }
    }

    /// Whether the disk tells of changes in every share that was listed.
    pub(super) fn is_all_watched(&self) -> bool {
        self.watcher.is_some() && self.unwatched.is_empty()
    }

    /// A share is away or no more.
    pub(super) fn forget(&mut self, share: &str) {
        self.rescans.forget(share);
        self.unwatched.remove(share);
        if let (Some(folder), Some(watcher)) = (self.watched.remove(share), self.watcher.as_mut()) {
            watcher.unwatch(&folder);
        }
    }
}
