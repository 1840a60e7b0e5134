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
//!
//! A journal is large where shares are large. So it is also the one place that knows what was found on the disk: who else
//! wants a path, a stamp or the files of a content asks here. `files.rs` keeps them, `log.rs` their order, `history.rs` which
//! revisions were given out, and `written.rs` hands all that to the next run.

mod files;
mod history;
mod log;
mod written;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use potluck_common::content_id::ContentId;
use potluck_common::share_path::SharePath;
use potluck_common::wire::index::{Change, Entry};

pub use self::files::FileNo;
use self::files::Files;
use self::history::History;
use self::log::Log;
pub use self::written::{Line, Numbering, ShareTotals, Standing};
use super::stamp::Stamp;

/// Most removals that are remembered, about 130 bytes each. A tracker that has not heard of us for longer than that
/// is told everything anew.
const MAX_REMOVALS: usize = 100_000;
/// Bytes of a change beside its path: keys, numbers, a content id (CBOR, measured: 65, rounded up).
const CHANGE_OVERHEAD_BYTES: usize = 80;

/// What this node offers, and since when.
///
/// `put` and `remove` take what is on the disk; `changes_since` gives what to publish. A journal of a million entries takes
/// some 140 MB, and a change takes a look into two tables.
#[derive(Debug)]
pub struct Journal {
    epoch: u64,
    revision: u64,
    /// Which revisions were given out.
    history: History,
    /// Each path's last line.
    lines: Files,
    /// The lines by their revisions.
    log: Log,
    removals: usize,
    /// Removals up to this revision are forgotten: only from 0 can older trackers be told.
    forgotten: u64,
    /// The number of the listing that is under way, or was last.
    listing: u32,
    files: u64,
    bytes: u64,
    max_removals: usize,
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

/// What a listing finds of a file in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It is as it was, and hashed.
    Known,
    /// It is as it was, and not hashed yet.
    Unhashed,
    /// It is new, or changed.
    News,
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
            history: History::default(),
            lines: Files::default(),
            log: Log::default(),
            removals: 0,
            forgotten: 0,
            listing: 0,
            files: 0,
            bytes: 0,
            max_removals: MAX_REMOVALS,
        }
    }

    /// Gives back the room for more lines, when none are expected for a while.
    pub fn trim(&mut self) {
        self.lines.trim();
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
    pub fn get(&self, path: &SharePath) -> Option<Entry> {
        self.entry(self.find(path)?)
    }

    /// What is offered, in no order.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + use<'_> {
        self.lines.numbers().filter_map(|file| self.entry(file))
    }

    /// What the file at a path looked like when it was put.
    #[must_use]
    pub fn stamp(&self, path: &SharePath) -> Option<Stamp> {
        Some(self.lines.stamp(self.find(path)?))
    }

    /// The content of the file at a path, if there is a file: `Some(None)` while it is not hashed.
    #[must_use]
    pub fn content(&self, path: &SharePath) -> Option<Option<ContentId>> {
        Some(self.lines.content(self.find(path)?))
    }

    /// Where a content is offered, and what the files looked like.
    pub fn places(&self, id: &ContentId) -> impl Iterator<Item = (SharePath, Stamp)> + use<'_> {
        let files = self.lines.of_content(id).into_iter();
        files.filter_map(|file| Some((self.lines.path(file)?, self.lines.stamp(file))))
    }

    /// A file is there, new or changed. Returns whether that is news.
    pub fn put(&mut self, path: &SharePath, stamp: Stamp, content_id: Option<ContentId>) -> bool {
        let known = self.lines.find(path.as_str());
        let is_as_it_was =
            |file: &FileNo| !self.lines.is_removed(*file) && self.lines.stamp(*file) == stamp && self.lines.content(*file) == content_id;
        if known.as_ref().is_some_and(is_as_it_was) {
            return false;
        }
        let revision = self.history.next(self.revision);
        self.set(path, Some((stamp, content_id)), revision);
        true
    }

    /// A file is gone. Returns whether that is news.
    pub fn remove(&mut self, path: &SharePath) -> bool {
        if self.find(path).is_none() {
            return false;
        }
        let revision = self.history.next(self.revision);
        self.set(path, None, revision);
        true
    }

    /// A listing begins: what it does not [see](Self::see) is [`unseen`](Self::unseen) at its end.
    pub fn begin_listing(&mut self) {
        self.listing = self.listing.wrapping_add(1);
    }

    /// The listing has come across a file. One that is [`Seen::News`] is to be put, and then seen once more.
    pub fn see(&mut self, path: &SharePath, stamp: &Stamp) -> Seen {
        let Some(file) = self.find(path).filter(|file| self.lines.stamp(*file) == *stamp) else { return Seen::News };
        self.lines.set_listing(file, self.listing);
        self.lines.set_queued(file, false);
        if self.lines.content(file).is_some() { Seen::Known } else { Seen::Unhashed }
    }

    /// The files of a share that the listing has not come across.
    #[must_use]
    pub fn unseen(&self, share: &str) -> Vec<FileNo> {
        self.of_share(share).filter(|file| self.lines.listing(*file) != self.listing).collect()
    }

    /// The files of a share.
    pub fn of_share(&self, share: &str) -> impl Iterator<Item = FileNo> + use<'_> {
        let share = share.to_owned();
        self.lines.numbers().filter(move |file| !self.lines.is_removed(*file) && self.lines.share_of(*file) == share)
    }

    /// The path of a file, as long as it is not removed.
    #[must_use]
    pub fn path_of(&self, file: FileNo) -> Option<SharePath> {
        self.lines.is_used(file).then(|| self.lines.path(file)).flatten()
    }

    /// Takes the youngest files that are not hashed, at most so many, with their times in nanoseconds. Each is given out once
    /// until a listing sees it again.
    pub fn take_unhashed(&mut self, most: usize) -> Vec<(i64, SharePath)> {
        let mut youngest = BinaryHeap::with_capacity(most + 1);
        for file in self.lines.numbers() {
            if self.lines.is_removed(file) || self.lines.is_queued(file) || self.lines.content(file).is_some() {
                continue;
            }
            youngest.push(Reverse((self.lines.stamp(file).mtime_ns, file)));
            if youngest.len() > most {
                youngest.pop();
            }
        }
        youngest.iter().for_each(|Reverse((_, file))| self.lines.set_queued(*file, true));
        youngest.into_iter().filter_map(|Reverse((mtime, file))| Some((mtime, self.lines.path(file)?))).collect()
    }

    /// The changes since where a tracker stands, as many as fit in `max_changes` and, on the wire, about `max_bytes`; at
    /// least one if there is any.
    ///
    /// A revision that is not ours, or so old that removals since are forgotten, is answered from 0.
    #[must_use]
    pub fn changes_since(&self, base: Base, max_changes: usize, max_bytes: usize) -> Batch {
        let is_sound = base.revision >= self.forgotten || base.from_zero == Some(self.forgotten);
        let is_ours = self.history.includes(base.revision, self.revision);
        let start = if is_ours && is_sound { base.revision } else { 0 };
        let from_zero = if start == 0 { Some(self.forgotten) } else { base.from_zero };
        let mut batch = Batch { base: start, revision: self.revision, changes: Vec::new(), more: false, from_zero };
        let mut bytes = 0;
        let mut last = start;
        for (revision, file) in self.log.after(start) {
            let is_removed = self.lines.is_removed(file);
            if self.lines.revision(file) != revision || (start == 0 && is_removed) {
                continue; // it changed again since; or who starts anew has nothing to remove
            }
            bytes += self.lines.path_bytes(file) + CHANGE_OVERHEAD_BYTES;
            if !batch.changes.is_empty() && (batch.changes.len() >= max_changes || bytes > max_bytes) {
                batch.revision = last;
                batch.more = true;
                break;
            }
            let change = if is_removed { self.lines.path(file).map(Change::Remove) } else { self.entry(file).map(Change::Put) };
            batch.changes.extend(change);
            last = revision;
        }
        batch
    }

    /// The file at a path, unless it was removed.
    fn find(&self, path: &SharePath) -> Option<FileNo> {
        self.lines.find(path.as_str()).filter(|file| !self.lines.is_removed(*file))
    }

    fn entry(&self, file: FileNo) -> Option<Entry> {
        if self.lines.is_removed(file) {
            return None;
        }
        let stamp = self.lines.stamp(file);
        Some(Entry { path: self.lines.path(file)?, size: stamp.size, mtime: stamp.mtime(), content_id: self.lines.content(file) })
    }

    /// Gives a path the next line, in place of the one that it had: a file, or that there is none. After 67 million files
    /// nothing happens.
    fn set(&mut self, path: &SharePath, found: Option<(Stamp, Option<ContentId>)>, revision: u64) {
        let known = self.lines.find(path.as_str());
        let Some(file) = known.or_else(|| self.lines.add(path)) else { return };
        self.count(file, false);
        self.removals -= usize::from(known.is_some() && self.lines.is_removed(file));
        self.lines.set_removed(file, found.is_none());
        self.lines.set_content(file, found.and_then(|(_, content_id)| content_id));
        match found {
            Some((stamp, _)) => self.lines.set_stamp(file, stamp),
            None => self.removals += 1,
        }
        self.count(file, true);
        let before = self.lines.revision(file);
        self.revision = revision;
        self.lines.set_revision(file, revision);
        self.log.push(revision, file);
        if before != 0 {
            self.drop_line(before);
        }
        if self.removals > self.max_removals {
            self.forget_removals();
        }
    }

    fn drop_line(&mut self, revision: u64) {
        let Self { log, lines, .. } = self;
        log.drop_line(revision, |file, revision| lines.is_used(file) && lines.revision(file) == revision);
    }

    fn count(&mut self, file: FileNo, up: bool) {
        if self.lines.is_removed(file) {
            return;
        }
        let step = |number: u64, by: u64| if up { number.saturating_add(by) } else { number.saturating_sub(by) };
        self.files = step(self.files, 1);
        self.bytes = step(self.bytes, self.lines.stamp(file).size);
    }

    /// Drops the older half of the removals: all at once, because each time costs a walk over the lines.
    fn forget_removals(&mut self) {
        let surplus = self.removals - self.max_removals / 2;
        let is_removal = |(revision, file): &(u64, FileNo)| self.lines.revision(*file) == *revision && self.lines.is_removed(*file);
        let dropped: Vec<(u64, FileNo)> = self.log.after(0).filter(is_removal).take(surplus).collect();
        for (revision, file) in dropped {
            self.lines.set_revision(file, 0);
            self.drop_line(revision);
            self.lines.forget(file);
            self.removals -= 1;
            self.forgotten = revision;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use potluck_common::content_id::ContentId;
    use proptest::prelude::*;

    fn path(text: &str) -> SharePath {
        SharePath::parse(text).unwrap()
    }

    fn stamp(size: u64) -> Stamp {
        Stamp { dev: 1, ino: 1, size, mtime_ns: 0 }
    }

    fn put(journal: &mut Journal, text: &str, size: u64) -> bool {
        journal.put(&path(text), stamp(size), None)
    }

    fn paths(journal: &Journal) -> Vec<String> {
        let mut paths: Vec<String> = journal.entries().map(|entry| entry.path.to_string()).collect();
        paths.sort();
        paths
    }

    /// What a listing of a share does that finds these files.
    fn list(journal: &mut Journal, share: &str, files: &[(&str, u64)]) -> u64 {
        let before = journal.revision();
        journal.begin_listing();
        for (text, size) in files {
            if journal.see(&path(text), &stamp(*size)) == Seen::News {
                put(journal, text, *size);
                journal.see(&path(text), &stamp(*size));
            }
        }
        for gone in journal.unseen(share) {
            let gone = journal.path_of(gone).unwrap();
            journal.remove(&gone);
        }
        journal.revision() - before
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
            let held: BTreeMap<SharePath, Entry> = journal.entries().map(|entry| (entry.path.clone(), entry)).collect();
            self.revision == journal.revision() && self.entries == held
        }
    }

    #[test]
    fn a_listing_replaces_a_share_without_touching_its_namesakes() {
        let mut journal = Journal::new(1);
        for path in ["music/a", "music/b", "music 2/a", "music.old/a", "musicals/a", "films/a"] {
            assert!(put(&mut journal, path, 10));
        }
        assert!(!put(&mut journal, "films/a", 10), "nothing changed");
        assert_eq!(list(&mut journal, "music", &[("music/b", 10), ("music/c", 5)]), 2);
        assert_eq!(paths(&journal), ["films/a", "music 2/a", "music.old/a", "music/b", "music/c", "musicals/a"]);
        assert_eq!((journal.files(), journal.bytes()), (6, 55));
        assert_eq!(list(&mut journal, "music", &[]), 2);
        assert_eq!(journal.files(), 4);
    }

    #[test]
    fn the_youngest_are_hashed_first_and_each_is_given_out_once() {
        let mut journal = Journal::new(1);
        for age in 0..10 {
            journal.put(&path(&format!("s/{age}")), Stamp { mtime_ns: -age, ..stamp(1) }, (age == 3).then(|| ContentId::of(b"x")));
        }
        let take = |journal: &mut Journal| {
            let mut taken: Vec<String> = journal.take_unhashed(4).into_iter().map(|(_, path)| path.to_string()).collect();
            taken.sort();
            taken
        };
        assert_eq!(take(&mut journal), ["s/0", "s/1", "s/2", "s/4"]);
        journal.put(&path("s/0"), Stamp { mtime_ns: 0, ..stamp(1) }, Some(ContentId::of(b"0")));
        assert_eq!(take(&mut journal), ["s/5", "s/6", "s/7", "s/8"]);
        assert_eq!(take(&mut journal), ["s/9"]);
        assert_eq!(journal.see(&path("s/2"), &Stamp { mtime_ns: -2, ..stamp(1) }), Seen::Unhashed);
        assert_eq!(take(&mut journal), ["s/2"], "a listing finds it as unhashed as before");
        assert_eq!(journal.places(&ContentId::of(b"0")).map(|(path, _)| path.to_string()).collect::<Vec<_>>(), ["s/0"]);
    }

    #[test]
    fn who_is_in_step_is_told_nothing() {
        let mut journal = Journal::new(1);
        put(&mut journal, "a/a", 1);
        let batch = journal.changes_since(Base::told(1), 10, 1000);
        assert_eq!((batch.base, batch.revision, batch.changes, batch.more), (1, 1, vec![], false));
    }

    #[test]
    fn a_batch_fits_in_a_message_and_holds_at_least_one_change() {
        let mut journal = Journal::new(1);
        for number in 0..2000 {
            let path = format!("share/{}{number}", "x".repeat(200));
            let stamp = Stamp { mtime_ns: i64::MAX, ..stamp(u64::MAX >> 20) };
            journal.put(&super::tests::path(&path), stamp, Some(ContentId::from_bytes([255; 32])));
        }
        let batch = journal.changes_since(Base::told(0), 2048, 100_000);
        assert!(batch.more && batch.changes.len() > 300);
        assert!(serde_cbor::to_vec(&batch.changes).unwrap().len() <= 100_000);
        assert_eq!(journal.changes_since(Base::told(0), 2048, 0).changes.len(), 1);
    }

    #[test]
    fn a_million_entries_are_published_in_chained_batches() {
        let mut journal = Journal::new(1);
        for number in 0..1_000_000 {
            put(&mut journal, &format!("s/{number}"), 1);
        }
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
                    Step::Put(number, size) => _ = put(&mut journal, &format!("s/{number}"), size),
                    Step::Remove(number) => _ = journal.remove(&path(&format!("s/{number}"))),
                    Step::Replace(numbers) => {
                        let files: Vec<String> = numbers.into_iter().map(|number| format!("s/{number}")).collect();
                        list(&mut journal, "s", &files.iter().map(|file| (file.as_str(), 9)).collect::<Vec<_>>());
                    }
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
                prop_assert_eq!(journal.log.len(), journal.lines.numbers().count());
            }
            for _ in 0..200 {
                let batch = journal.changes_since(known, 3, usize::MAX);
                known = batch.after(tracker.publish(&batch));
            }
            prop_assert!(tracker.holds_what(&journal));
        }
    }
}
