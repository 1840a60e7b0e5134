//! [`Journal`]: what this node offers, and what changed since a tracker last heard of it.
//!
//! Each change gets the next revision. A path has one line in the journal, its last: an entry, or that it was removed.
//! So the changes since a revision are the lines above it, in order; a tracker that applies them holds, for each path,
//! what the journal holds, however many changes lie between. Every batch says the revision that it is to and the
//! revision after it, and the next batch begins where it ends: batches that get lost are asked for again from where the
//! tracker says it stands, and lines that changed meanwhile simply stand further down.
//!
//! Removals are remembered up to a bound. A tracker that stands before one that is forgotten is told everything anew,
//! from 0; on that way it passes old revisions once more, which are no reason to begin again: [`Base`] tells the two apart.

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

/// Where a tracker stands, as this node knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    revision: u64,
    /// Set on the way from 0: which removals were forgotten when it began.
    from_zero: Option<u64>,
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
    from_zero: Option<u64>,
}

impl Base {
    /// The tracker said that it holds this revision of our epoch.
    #[must_use]
    pub fn told(revision: u64) -> Self {
        Self { revision, from_zero: None }
    }
}

impl Batch {
    /// Where the tracker stands after it answered to this batch that it holds `revision`.
    #[must_use]
    pub fn after(&self, revision: u64) -> Base {
        let from_zero = self.from_zero.filter(|_| revision == self.revision);
        Base { revision, from_zero }
    }
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

    /// The changes since where a tracker stands, as many as fit in `max_changes` and, on the wire, about `max_bytes`; at
    /// least one if there is any.
    ///
    /// A revision that is not ours, or so old that removals since are forgotten, is answered from 0.
    #[must_use]
    pub fn changes_since(&self, base: Base, max_changes: usize, max_bytes: usize) -> Batch {
        let is_sound = base.revision >= self.forgotten || base.from_zero == Some(self.forgotten);
        let start = if base.revision <= self.revision && is_sound { base.revision } else { 0 };
        let from_zero = if start == 0 { Some(self.forgotten) } else { base.from_zero };
        let mut batch = Batch { base: start, revision: self.revision, changes: Vec::new(), more: false, from_zero };
        let mut bytes = 0;
        let mut last = start;
        for (revision, path) in self.by_revision.range((Excluded(start), Unbounded)) {
            let Some(line) = self.lines.get(path) else { continue };
            if start == 0 && line.entry.is_none() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use potluck_common::content_id::ContentId;
    use proptest::prelude::*;

    fn entry(path: &str, size: u64) -> Entry {
        Entry { path: SharePath::parse(path).unwrap(), size, mtime: 0, content_id: None }
    }

    /// What a tracker holds of us, and the way in which it takes changes.
    #[derive(Default)]
    struct Tracker {
        revision: u64,
        entries: BTreeMap<SharePath, Entry>,
    }

    impl Tracker {
        fn publish(&mut self, batch: &Batch) -> u64 {
            if batch.base == 0 {
                self.entries.clear();
            } else if batch.base != self.revision {
                return self.revision;
            }
            for change in &batch.changes {
                match change {
                    Change::Put(entry) => _ = self.entries.insert(entry.path.clone(), entry.clone()),
                    Change::Remove(path) => _ = self.entries.remove(path),
                }
            }
            self.revision = batch.revision;
            self.revision
        }

        fn holds_what(&self, journal: &Journal) -> bool {
            self.revision == journal.revision() && self.entries.values().eq(journal.entries_after(None))
        }
    }

    #[test]
    fn a_share_is_replaced_without_touching_its_namesakes() {
        let mut journal = Journal::new(1);
        for path in ["music/a", "music/b", "music 2/a", "music.old/a", "musicals/a", "films/a"] {
            assert!(journal.put(entry(path, 10)));
        }
        assert!(!journal.put(entry("films/a", 10)), "nothing changed");
        assert_eq!(journal.replace_share("music", [entry("music/b", 10), entry("music/c", 5), entry("films/z", 1)]), 2);
        let paths: Vec<_> = journal.entries_after(None).map(|entry| entry.path.as_str()).collect();
        assert_eq!(paths, ["films/a", "music 2/a", "music.old/a", "music/b", "music/c", "musicals/a"]);
        assert_eq!((journal.files(), journal.bytes()), (6, 55));
        assert_eq!(journal.replace_share("music", []), 2);
        assert_eq!(journal.files(), 4);
    }

    #[test]
    fn who_is_in_step_is_told_nothing() {
        let mut journal = Journal::new(1);
        journal.put(entry("a/a", 1));
        let batch = journal.changes_since(Base::told(1), 10, 1000);
        assert_eq!((batch.base, batch.revision, batch.changes, batch.more), (1, 1, vec![], false));
    }

    #[test]
    fn a_batch_fits_in_a_message_and_holds_at_least_one_change() {
        let mut journal = Journal::new(1);
        for number in 0..2000 {
            let path = format!("share/{}{number}", "x".repeat(200));
            journal.put(Entry {
                content_id: Some(ContentId::from_bytes([255; 32])),
                mtime: i64::MAX,
                size: u64::MAX >> 20,
                ..entry(&path, 0)
            });
        }
        let batch = journal.changes_since(Base::told(0), 2048, 100_000);
        assert!(batch.more && batch.changes.len() > 300);
        assert!(serde_cbor::to_vec(&batch.changes).unwrap().len() <= 100_000);
        assert_eq!(journal.changes_since(Base::told(0), 2048, 0).changes.len(), 1);
    }

    #[test]
    fn a_million_entries_are_published_in_chained_batches() {
        let mut journal = Journal::new(1);
        journal.replace_share("s", (0..1_000_000).map(|number| entry(&format!("s/{number}"), 1)));
        let mut tracker = Tracker::default();
        let (mut batches, mut base) = (0, Base::told(0));
        while tracker.revision != journal.revision() {
            let batch = journal.changes_since(base, 2048, 200_000);
            base = batch.after(tracker.publish(&batch));
            batches += 1;
        }
        assert!(tracker.holds_what(&journal) && batches < 1000, "{batches}");
    }

    /// One step of a history: an edit, or a batch that is published, lost on its way there, or lost on its way back.
    #[derive(Clone, Debug)]
    enum Step {
        Put(u8, u64),
        Remove(u8),
        Replace(Vec<u8>),
        Publish { max: usize, arrives: bool, is_answered: bool },
        TrackerForgets,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0u8..20, 0u64..3).prop_map(|(path, size)| Step::Put(path, size)),
            3 => (0u8..20).prop_map(Step::Remove),
            1 => prop::collection::vec(0u8..20, 0..8).prop_map(Step::Replace),
            5 => (1usize..6, prop::bool::weighted(0.8), prop::bool::weighted(0.8))
                .prop_map(|(max, arrives, is_answered)| Step::Publish { max, arrives, is_answered }),
            1 => Just(Step::TrackerForgets),
        ]
    }

    proptest! {
        #[test]
        fn whatever_gets_lost_the_tracker_ends_with_what_the_journal_holds(
            steps in prop::collection::vec(step(), 0..120), max_removals in 0usize..12,
        ) {
            let mut journal = Journal { max_removals, ..Journal::new(1) };
            let mut tracker = Tracker::default();
            let mut known = Base::told(0); // what the node believes that the tracker holds
            for step in steps {
                match step {
                    Step::Put(path, size) => _ = journal.put(entry(&format!("s/{path}"), size)),
                    Step::Remove(path) => _ = journal.remove(&SharePath::parse(&format!("s/{path}")).unwrap()),
                    Step::Replace(paths) => _ = journal.replace_share("s", paths.into_iter().map(|path| entry(&format!("s/{path}"), 9))),
                    Step::TrackerForgets => tracker = Tracker::default(),
                    Step::Publish { max, arrives, is_answered } => {
                        let batch = journal.changes_since(known, max, usize::MAX);
                        prop_assert!(batch.revision <= journal.revision() && batch.changes.len() <= max);
                        if arrives {
                            let held = tracker.publish(&batch);
                            if is_answered {
                                known = batch.after(held);
                            }
                        }
                    }
                }
                prop_assert!(journal.removals <= max_removals.max(1));
                prop_assert_eq!(journal.by_revision.len(), journal.lines.len());
            }
            for _ in 0..200 {
                let batch = journal.changes_since(known, 3, usize::MAX);
                known = batch.after(tracker.publish(&batch));
            }
            prop_assert!(tracker.holds_what(&journal));
        }
    }
}
