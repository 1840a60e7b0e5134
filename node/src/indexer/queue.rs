//! [`Queue`]: which file is hashed next.
//!
//! What is to be hashed stands in the table of shares, which may hold a million such files; the queue holds the next few thousand.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use potluck_common::share_path::SharePath;

use crate::clock::now;

/// A file that changed while it was read is read again after this time, and no sooner: it may be growing.
const CHANGED_REST: Duration = Duration::from_secs(5);

/// What is to be hashed.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<QueueState>,
    more: Condvar,
    stop: AtomicBool,
}

#[derive(Default)]
struct QueueState {
    /// What people asked for, first.
    wanted: Vec<SharePath>,
    /// Some of the rest by age, youngest last.
    rest: BTreeSet<(i64, SharePath)>,
    /// Where the others are.
    others: Others,
    /// What is being hashed now.
    running: HashSet<SharePath>,
    /// Files that change all the time, and when to try again.
    resting: HashMap<SharePath, Instant>,
    /// Whether a share is being listed: names come first, and want the disk and the cores for themselves.
    is_listing: bool,
}

/// What the table may have for the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Others {
    /// Nothing.
    #[default]
    None,
    /// More files to be hashed.
    InTable,
    /// They are being taken out.
    Coming,
}

/// What a hashing thread does next.
pub(super) enum Turn {
    /// Hash a file.
    Hash(SharePath),
    /// Take more files out of the table.
    Fill,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends all waiting, and the hashing that is under way.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.more.notify_all();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Becomes true at the end.
    pub(super) fn stopped(&self) -> &AtomicBool {
        &self.stop
    }

    /// Somebody wants this file, which is not hashed: hash it first.
    pub(super) fn hurry(&self, path: &SharePath) {
        let mut state = self.lock();
        let waiting = state.rest.iter().find(|(_, known)| known == path).cloned();
        if let Some(waiting) = waiting {
            state.rest.remove(&waiting);
        }
        if !state.is_taken(path) {
            state.wanted.push(path.clone());
            self.more.notify_one();
        }
    }

    /// There are files to be hashed in the table.
    pub(super) fn add(&self) {
        self.lock().others = Others::InTable;
        self.more.notify_all();
    }

    /// Takes what came out of the table, which was asked for at most `most`.
    pub(super) fn fill(&self, files: Vec<(i64, SharePath)>, most: usize) {
        let mut state = self.lock();
        if state.others == Others::Coming {
            state.others = if files.len() < most { Others::None } else { Others::InTable };
        }
        for (mtime, path) in files {
            if !state.is_taken(&path) {
                state.rest.insert((mtime, path));
            }
        }
        self.more.notify_all();
    }

    /// Waits for something to do; `None` at the end.
    pub(super) fn next(&self) -> Option<Turn> {
        let mut state = self.lock();
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return None;
            }
            let in_turn = |state: &mut QueueState| state.rest.pop_last().map(|(_, path)| path);
            let next = state.wanted.pop().or_else(|| if state.is_listing { None } else { in_turn(&mut state) });
            if let Some(path) = next {
                state.running.insert(path.clone());
                return Some(Turn::Hash(path));
            }
            if state.others == Others::InTable && !state.is_listing {
                state.others = Others::Coming;
                return Some(Turn::Fill);
            }
            state = self.more.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn set_listing(&self, is_listing: bool) {
        self.lock().is_listing = is_listing;
        self.more.notify_all();
    }

    pub(super) fn done(&self, path: &SharePath) {
        self.lock().running.remove(path);
    }

    pub(super) fn rest(&self, path: SharePath) {
        let mut state = self.lock();
        state.running.remove(&path);
        state.resting.insert(path, now() + CHANGED_REST);
    }

    /// Forgets those whose rest is over; the sweep finds them again.
    pub(super) fn wake(&self) {
        let now = now();
        self.lock().resting.retain(|_, until| *until > now);
    }

    pub(super) fn is_idle(&self) -> bool {
        let state = self.lock();
        state.waits_for_nothing() && state.running.is_empty()
    }

    /// Whether nothing more will come but what `count` finished files still wait to be marked done.
    pub(super) fn is_waiting_only_for(&self, count: usize) -> bool {
        let state = self.lock();
        state.waits_for_nothing() && state.running.len() <= count
    }
}

impl QueueState {
    fn waits_for_nothing(&self) -> bool {
        self.wanted.is_empty() && self.rest.is_empty() && self.others == Others::None
    }

    /// Whether a file is asked for, being hashed, or to be left alone.
    fn is_taken(&self, path: &SharePath) -> bool {
        self.running.contains(path) || self.resting.contains_key(path) || self.wanted.contains(path)
    }
}
