//! [`Journal`]: what this node offers, and what changed since a tracker last heard of it.
//!
//! Each change gets the next revision. A path has one line in the journal, its last: an entry, or that it was removed.
//! So the changes since a revision are the lines above it, in order; a tracker that applies them holds, for each path,
//! what the journal holds, however many changes lie between. Every batch says the revision that it is to and the
//! revision after it, and the next batch begins where it ends: batches that get lost are asked for again from where the
//! tracker says it stands, and lines that changed meanwhile simply stand further down.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use potluck_common::share_path::SharePath;
use potluck_common::wire::index::{Change, Entry};

/// Most removals that are remembered, about 100 bytes each. A tracker that has not heard of us for longer than that
/// is told everything anew.
const MAX_REMOVALS: usize = 100_000;
/// Bytes of a change beside its path: keys, numbers, a content id (CBOR, measured: 65, rounded up).
const CHANGE_OVERHEAD_BYTES: usize = 80;

/// What this node offers, and since when.
///
/// `put`, `remove` and `replace_share` take what is on the disk; `changes_since` gives what to publish. A journal of a
/// million entries takes a few hundred megabytes at most, for their paths, and a change takes a few steps in ordered maps.
#[derive(Debug)]
pub struct Journal {
    epoch: u64,
    revision: u64,
    /// Each path's last line.
    lines: BTreeMap<SharePath, Line>,
    /// The paths by the revisions of their lines.
    by_revision: BTreeMap<u64, SharePath>,
    removals: usize,
    /// Removals up to this revision are forgotten: only from 0 can older trackers be told.
    forgotten: u64,
    files: u64,
    bytes: u64,
    max_removals: usize,
}

/// The last change of a path.
#[derive(Debug)]
struct Line {
    revision: u64,
    /// `None`: it was removed.
    entry: Option<Entry>,
}

/// Changes to publish in one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The revision that the changes are to. 0: what was offered before is to be dropped.
    pub base: u64,
    /// The revision after the changes.
    pub revision: u64,
    /// The changes.
    pub changes: Vec<Change>,
    /// Whether more follow after them.
    pub more: bool,
}

impl Journal {
    /// A journal without entries. `epoch` is drawn at random; revisions of another epoch do not compare.
    #[must_use]
    pub fn new(epoch: u64) -> Self {
        Self {
            epoch,
            revision: 0,
            lines: BTreeMap::new(),
            by_revision: BTreeMap::new(),
            removals: 0,
            forgotten: 0,
            files: 0,
            bytes: 0,
            max_removals: MAX_REMOVALS,
        }
    }

    /// The epoch of its revisions.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The revision of its last change; 0 before the first.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// How many files are offered.
    #[must_use]
    pub fn files(&self) -> u64 {
        self.files
    }

    /// Their bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What is offered at a path.
    #[must_use]
    pub fn get(&self, path: &SharePath) -> Option<&Entry> {
        self.lines.get(path)?.entry.as_ref()
    }

    /// What is offered, in the order of paths, after `after`.
    pub fn entries_after<'a>(&'a self, after: Option<&SharePath>) -> impl Iterator<Item = &'a Entry> + use<'a> {
        let from = after.map_or(Unbounded, |after| Excluded(after.clone()));
        self.lines.range((from, Unbounded)).filter_map(|(_, line)| line.entry.as_ref())
    }

    /// A file is there, new or changed. Returns whether that is news.
    pub fn put(&mut self, entry: Entry) -> bool {
        if self.get(&entry.path) == Some(&entry) {
            return false;
        }
        self.write(entry.path.clone(), Some(entry));
        true
    }

    /// A file is gone. Returns whether that is news.
    pub fn remove(&mut self, path: &SharePath) -> bool {
        if self.get(path).is_none() {
            return false;
        }
        self.write(path.clone(), None);
        true
    }

    /// These are all files of a share; its other files are gone. Entries of other shares are passed over. Returns how
    /// many changes that is.
    pub fn replace_share(&mut self, share: &str, entries: impl IntoIterator<Item = Entry>) -> u64 {
        let before = self.revision;
        let mut gone: std::collections::BTreeSet<SharePath> = self.paths_of(share).collect();
        for entry in entries {
            if entry.path.share() == share {
                gone.remove(&entry.path);
                self.put(entry);
            }
        }
        for path in gone {
            self.remove(&path);
        }
        self.revision - before
    }

    /// The changes since a revision that a tracker of our epoch holds, as many as fit in `max_changes` and, on the wire,
    /// about `max_bytes`; at least one if there is any.
    ///
    /// A revision that is not ours, or so old that removals since are forgotten, is answered from 0.
    #[must_use]
    pub fn changes_since(&self, base: u64, max_changes: usize, max_bytes: usize) -> Batch {
        let base = if base > self.revision || base < self.forgotten { 0 } else { base };
        let mut batch = Batch { base, revision: self.revision, changes: Vec::new(), more: false };
        let mut bytes = 0;
        let mut last = base;
        for (revision, path) in self.by_revision.range((Excluded(base), Unbounded)) {
            let Some(line) = self.lines.get(path) else { continue };
            let is_first_of_all = base == 0 && line.entry.is_none();
            if is_first_of_all {
                continue; // who starts anew has nothing to remove
            }
            bytes += path.as_str().len() + CHANGE_OVERHEAD_BYTES;
            if !batch.changes.is_empty() && (batch.changes.len() >= max_changes || bytes > max_bytes) {
                batch.revision = last;
                batch.more = true;
                break;
            }
            batch.changes.push(match &line.entry {
                Some(entry) => Change::Put(entry.clone()),
                None => Change::Remove(path.clone()),
            });
            last = *revision;
        }
        batch
    }

    /// Writes the next line.
    fn write(&mut self, path: SharePath, entry: Option<Entry>) {
        self.revision += 1;
        self.count(entry.as_ref(), true);
        self.removals += usize::from(entry.is_none());
        self.by_revision.insert(self.revision, path.clone());
        let before = self.lines.insert(path, Line { revision: self.revision, entry });
        if let Some(before) = before {
            self.by_revision.remove(&before.revision);
            self.removals -= usize::from(before.entry.is_none());
            self.count(before.entry.as_ref(), false);
        }
        if self.removals > self.max_removals {
            self.forget_removals();
        }
    }

    fn count(&mut self, entry: Option<&Entry>, up: bool) {
        let Some(entry) = entry else { return };
        let step = |number: u64, by: u64| if up { number.saturating_add(by) } else { number.saturating_sub(by) };
        self.files = step(self.files, 1);
        self.bytes = step(self.bytes, entry.size);
    }

    /// Drops the older half of the removals: all at once, because each time costs a walk over the lines.
    fn forget_removals(&mut self) {
        let mut surplus = self.removals - self.max_removals / 2;
        let mut dropped = Vec::with_capacity(surplus);
        for (revision, path) in &self.by_revision {
            if surplus == 0 {
                break;
            }
            if self.lines.get(path).is_some_and(|line| line.entry.is_none()) {
                dropped.push((*revision, path.clone()));
                surplus -= 1;
            }
        }
        for (revision, path) in dropped {
            self.by_revision.remove(&revision);
            self.lines.remove(&path);
            self.removals -= 1;
            self.forgotten = revision;
        }
    }

    fn paths_of<'a>(&'a self, share: &'a str) -> impl Iterator<Item = SharePath> + use<'a> {
        // A share's own name sorts before all that lies below it; what lies between and does not belong is passed over.
        let from = SharePath::parse(share).map_or(Unbounded, std::ops::Bound::Included);
        self.lines
            .range((from, Unbounded))
            .take_while(move |(path, _)| path.as_str().starts_with(share))
            .filter(move |(path, line)| path.share() == share && line.entry.is_some())
            .map(|(path, _)| path.clone())
    }
}
