//! A journal, written down and taken over by the next run of the node.

use std::collections::HashMap;

use potluck_common::content_id::ContentId;
use potluck_common::share_path::SharePath;
use potluck_common::wire::index::Entry;
use serde::{Deserialize, Serialize};

use super::Journal;
use super::files::FileNo;
use super::history::History;
use crate::core::stamp::Stamp;

/// By which numbers the revisions of a run are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbering {
    /// Drawn at random when a node has none: revisions of another epoch do not compare.
    pub epoch: u64,
    /// How many runs there were before. No two runs of an epoch have the same number, however they end.
    pub run: u64,
}

/// A line of a journal: a file, or one that was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Where.
    pub path: SharePath,
    /// When it changed last.
    pub revision: u64,
    /// What it looked like.
    pub stamp: Stamp,
    /// Which content; `None` while it is not hashed.
    pub content_id: Option<ContentId>,
    /// Whether it is gone.
    pub is_removed: bool,
}

/// Where a journal stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// First and last revision of each run that is known, ascending.
    pub runs: Vec<(u64, u64)>,
    /// Removals up to this revision are forgotten.
    pub forgotten: u64,
}

/// Files, bytes in them, and bytes of those that are hashed.
pub type ShareTotals = (u64, u64, u64);

impl Journal {
    /// A journal without entries, in the run of this number.
    #[must_use]
    pub fn numbered(numbering: Numbering) -> Self {
        let mut journal = Self::new(numbering.epoch);
        journal.history.begin_run(numbering.run);
        journal
    }

    /// Where the journal stands, to be written after its last line.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing { runs: self.history.runs(self.revision), forgotten: self.forgotten }
    }

    /// The lines above a revision in the order of their revisions, at most so many. A line that changes after it was told
    /// comes once more.
    #[must_use]
    pub fn lines_after(&self, revision: u64, most: usize) -> Vec<Line> {
        let live = self.log.after(revision).filter(|(revision, file)| self.lines.revision(*file) == *revision);
        live.filter_map(|(_, file)| self.line(file)).take(most).collect()
    }

    fn line(&self, file: FileNo) -> Option<Line> {
        Some(Line {
            path: self.lines.path(file)?,
            revision: self.lines.revision(file),
            stamp: self.lines.stamp(file),
            content_id: self.lines.content(file),
            is_removed: self.lines.is_removed(file),
        })
    }

    /// About so many lines are to be taken over.
    pub fn reserve(&mut self, lines: usize) {
        self.lines.reserve(lines);
    }

    /// Takes a line over that was written down. Lines come in the order of their revisions; one that does not is passed over.
    pub fn take_over(&mut self, line: &Line) {
        if line.revision > self.revision {
            self.set(&line.path, (!line.is_removed).then_some((line.stamp, line.content_id)), line.revision);
        }
    }

    /// All lines are taken over, and this is where they stood. From here on, revisions are of the run of this number.
    pub fn stand(&mut self, standing: &Standing, numbering: Numbering) {
        if let Some((history, last)) = History::of(&standing.runs).filter(|(_, last)| *last >= self.revision) {
            (self.history, self.revision, self.forgotten) = (history, last, self.forgotten.max(standing.forgotten));
        } else {
            (self.history, self.forgotten) = (History::default(), self.revision);
        }
        self.history.begin_run(numbering.run);
    }

    /// What is offered from a file on, in the order of their numbers: so many rows are looked at. With where it goes on.
    #[must_use]
    pub fn entries_from(&self, FileNo(from): FileNo, rows: u32) -> (Vec<Entry>, Option<FileNo>) {
        let to = from.saturating_add(rows).min(self.lines.len());
        let used = (from..to).map(FileNo).filter(|file| self.lines.is_used(*file));
        (used.filter_map(|file| self.entry(file)).collect(), (to < self.lines.len()).then_some(FileNo(to)))
    }

    /// The files of all shares but those that are named so.
    pub fn not_in_shares(&self, is_named: impl Fn(&str) -> bool) -> Vec<FileNo> {
        let there = self.lines.numbers().filter(|file| !self.lines.is_removed(*file));
        there.filter(|file| !is_named(self.lines.share_of(*file))).collect()
    }

    /// How much is in each share.
    #[must_use]
    pub fn totals(&self) -> HashMap<&str, ShareTotals> {
        let mut totals: HashMap<&str, ShareTotals> = HashMap::new();
        for file in self.lines.numbers().filter(|file| !self.lines.is_removed(*file)) {
            let size = self.lines.stamp(file).size;
            let (files, bytes, hashed) = totals.entry(self.lines.share_of(file)).or_default();
            *files += 1;
            *bytes = bytes.saturating_add(size);
            *hashed = hashed.saturating_add(self.lines.content(file).map_or(0, |_| size));
        }
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Base, Batch};
    use super::*;
    use potluck_common::wire::index::Change;
    use std::collections::BTreeMap;

    fn path(text: &str) -> SharePath {
        SharePath::parse(text).unwrap()
    }

    fn put(journal: &mut Journal, number: u32, size: u64) {
        let id = number.is_multiple_of(2).then(|| ContentId::of(&number.to_be_bytes()));
        journal.put(&path(&format!("share {}/{number}", number % 3)), Stamp { dev: 1, ino: 5, size, mtime_ns: 0 }, id);
    }

    /// What is written while `between` changes the journal, taken over by the run of a number.
    fn next_run(journal: &mut Journal, run: u64, mut between: impl FnMut(&mut Journal)) -> Journal {
        let mut next = Journal::numbered(Numbering { epoch: journal.epoch(), run });
        let mut at = 0;
        loop {
            let lines = journal.lines_after(at, 3);
            let Some(last) = lines.last() else { break };
            at = last.revision;
            lines.iter().for_each(|line| next.take_over(line));
            between(journal);
        }
        next.stand(&journal.standing(), Numbering { epoch: journal.epoch(), run });
        next
    }

    fn held(journal: &Journal) -> BTreeMap<SharePath, Entry> {
        journal.entries().map(|entry| (entry.path.clone(), entry)).collect()
    }

    fn publish(tracker: &mut BTreeMap<SharePath, Entry>, batch: &Batch) {
        if batch.base == 0 {
            tracker.clear();
        }
        for change in &batch.changes {
            match change {
                Change::Put(entry) => drop(tracker.insert(entry.path.clone(), entry.clone())),
                Change::Remove(path) => drop(tracker.remove(path)),
            }
        }
    }

    #[test]
    fn a_journal_that_changes_while_it_is_written_is_taken_over_as_it_is_at_the_end() {
        let mut journal = Journal::numbered(Numbering { epoch: 1, run: 0 });
        (0..20).for_each(|number| put(&mut journal, number, 1));
        let mut step = 0;
        let next = next_run(&mut journal, 1, |journal| {
            step += 1;
            if step < 30 {
                put(journal, step % 20, 2);
                journal.remove(&path(&format!("share {}/{}", (step + 7) % 20 % 3, (step + 7) % 20)));
            }
        });
        assert_eq!(held(&next), held(&journal));
        assert_eq!((next.files(), next.bytes(), next.revision()), (journal.files(), journal.bytes(), journal.revision()));
        let counted: u64 = next.totals().values().map(|(files, ..)| files).sum();
        assert_eq!(counted, next.files());
        let (mut from, mut entries) = (Some(FileNo::FIRST), 0);
        while let Some(at) = from {
            let (some, more) = next.entries_from(at, 4);
            entries += some.len() as u64;
            from = more;
        }
        assert_eq!(entries, next.files());
        assert_eq!(next.not_in_shares(|share| share != "share 0").len() as u64, next.totals()["share 0"].0);
    }

    #[test]
    fn a_tracker_that_was_in_step_is_told_only_what_is_new() {
        let mut journal = Journal::numbered(Numbering { epoch: 1, run: 0 });
        (0..20).for_each(|number| put(&mut journal, number, 1));
        let in_step = journal.revision();
        let mut next = next_run(&mut journal, 1, |_| {});
        let nothing = next.changes_since(Base::told(in_step), 100, 10_000);
        assert_eq!((nothing.base, nothing.revision, nothing.changes.len()), (in_step, in_step, 0));
        put(&mut next, 3, 9);
        next.remove(&path("share 1/4"));
        let batch = next.changes_since(Base::told(in_step), 100, 10_000);
        assert_eq!((batch.base, batch.changes.len()), (in_step, 2));
    }

    #[test]
    fn a_tracker_that_heard_of_a_run_that_was_killed_is_told_everything_anew() {
        let mut journal = Journal::numbered(Numbering { epoch: 1, run: 0 });
        (0..20).for_each(|number| put(&mut journal, number, 1));
        let mut killed = next_run(&mut journal, 1, |_| {});
        put(&mut killed, 3, 7);
        let mut tracker = held(&killed);
        let mut next = next_run(&mut journal, 2, |_| {});
        assert_eq!(next.changes_since(Base::told(killed.revision()), 100, 10_000).base, 0);
        (5..12).for_each(|number| put(&mut next, number, 8));
        let batch = next.changes_since(Base::told(killed.revision()), 100, 10_000);
        assert_eq!(batch.base, 0);
        publish(&mut tracker, &batch);
        assert_eq!(tracker, held(&next));
    }
}
