//! What the shares held, written down from time to time and at the end, so that the next start tells it at once and looks at
//! the disk afterwards.
//!
//! It is written as a tracker is told: the lines of a journal by their revisions, some thousand at a time, until there is none
//! that is newer. Meanwhile the shares change, and a file that does comes once more.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::PoisonError;

use potluck_common::namespace::Namespace;
use potluck_common::search::Index;
use potluck_common::wire::index::Entry;

use super::{ME, Share, ShareState, Shares, Shelf, Table};
use crate::core::audience::Readers;
use crate::core::journal::{FileNo, Journal, Line, Numbering};
use crate::store::{Ending, KnownFilesReader, KnownFilesWriter, KnownShare, Record};

/// Lines that are written, and files that are put into an index, in one look at the table: some milliseconds.
const AT_ONCE: u16 = 1024;

impl Shares {
    /// A table of no shares, whose revisions go on where those of the last run ended.
    pub(crate) fn numbered(numbering: Numbering, namespace: Namespace) -> Self {
        let shares = Self::new(numbering.epoch, namespace);
        shares.lock().journal = Journal::numbered(numbering);
        shares
    }

    /// Takes over what an earlier run wrote down, as far as it is of the shares that are there now. Whatever is wrong with it is
    /// found out later, when they are listed. Blocks, about a second for a million files.
    pub(crate) fn take_over(&self, data_dir: &Path, numbering: Numbering) {
        let mut table = self.lock();
        match table.take_over(data_dir, numbering) {
            Ok(None) => {}
            Ok(Some(changes)) => {
                table.is_filling = true;
                *self.written.lock().unwrap_or_else(PoisonError::into_inner) = changes;
                tracing::debug!(files = table.journal.files(), "what the shares held is known");
            }
            Err(error) => {
                tracing::info!(%error, "what the shares held when the node last ran cannot be read; they are listed anew");
                table.journal = Journal::numbered(numbering);
                table.shares.values_mut().filter(|share| share.shelf.is_some()).for_each(|share| share.shelf = Some(Shelf::new()));
            }
        }
        table.count_all();
    }

    /// Writes down what the shares hold, unless that is done. Blocks.
    ///
    /// # Errors
    /// When it cannot be written. What was written before stays.
    pub(crate) fn write_down(&self, data_dir: &Path) -> io::Result<()> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = self.lock().changes();
        if *written == changes {
            return Ok(());
        }
        let (epoch, forgotten, limited) = {
            let table = self.lock();
            let limited = table.shares.iter().filter(|(_, share)| share.shelf.is_some()).map(|(name, _)| name.clone());
            (table.journal.epoch(), table.journal.standing().forgotten, limited.collect::<Vec<String>>())
        };
        let mut writer = KnownFilesWriter::create(data_dir, epoch)?;
        let ending = loop_over(&mut writer, |at| {
            let table = self.lock();
            let lines = table.journal.lines_after(at, usize::from(AT_ONCE));
            let ending = lines.is_empty().then(|| table.ending());
            (lines, ending)
        })?;
        for share in limited {
            writer.section(&share)?;
            loop_over(&mut writer, |at| {
                let table = self.lock();
                let shelf = table.shares.get(&share).and_then(|share| share.shelf.as_ref());
                let lines = shelf.map(|shelf| shelf.journal.lines_after(at, usize::from(AT_ONCE))).unwrap_or_default();
                let ending = lines.is_empty().then_some(());
                (lines, ending)
            })?;
        }
        if ending.standing.forgotten != forgotten {
            return Ok(()); // a removal was forgotten that may not have been written: next time
        }
        writer.finish(&ending)?;
        *written = changes;
        Ok(())
    }

    /// Whether something changed since it was written down.
    pub(crate) fn is_written_down(&self) -> bool {
        let changes = self.lock().changes();
        *self.written.lock().unwrap_or_else(PoisonError::into_inner) == changes
    }

    /// Puts what was taken over into the indexes: until then, others who ask this node are told that its answers are not
    /// complete. Takes seconds for a million files, and breaks off when `stop` says so.
    pub(crate) fn fill_indexes(&self, stop: &dyn Fn() -> bool) {
        let limited: Vec<Option<String>> = self.lock().shares.keys().cloned().map(Some).collect();
        for share in limited.into_iter().chain([None]) {
            let mut next = Some(FileNo::FIRST);
            while let Some(from) = next.filter(|_| !stop()) {
                let mut table = self.lock();
                let Some((journal, index)) = table.shelf_of(share.as_deref()) else { break };
                let (entries, more) = journal.entries_from(from, u32::from(AT_ONCE));
                entries.into_iter().for_each(|entry| index.put(ME, &Entry { content_id: None, ..entry }));
                next = more;
                drop(table);
                self.tend_index();
            }
        }
        self.lock().is_filling = false;
        self.settle();
    }
}

/// Writes lines as long as there are some; gives what comes with none.
fn loop_over<T>(writer: &mut KnownFilesWriter, mut next: impl FnMut(u64) -> (Vec<Line>, Option<T>)) -> io::Result<T> {
    let mut at = 0;
    loop {
        let (lines, ending) = next(at);
        if let Some(ending) = ending {
            return Ok(ending);
        }
        for line in &lines {
            writer.line(line)?;
            at = line.revision;
        }
    }
}

impl Table {
    /// Moves with every change.
    fn changes(&self) -> u64 {
        let shelves = self.shares.values().filter_map(|share| share.shelf.as_ref());
        shelves.fold(self.journal.revision(), |sum, shelf| sum.wrapping_add(shelf.journal.revision()))
    }

    fn ending(&self) -> Ending {
        let known = |(name, share): (&String, &Share)| {
            Some(KnownShare { name: name.clone(), root: share.dir.as_ref()?.root(), is_listed: share.state.has_names() })
        };
        Ending { standing: self.journal.standing(), shares: self.shares.iter().filter_map(known).collect() }
    }

    /// What [`changes`](Self::changes) stood at that was written down; `None` when there is nothing to take over.
    fn take_over(&mut self, data_dir: &Path, numbering: Numbering) -> io::Result<Option<u64>> {
        let Some(mut reader) = KnownFilesReader::open(data_dir)?.filter(|reader| reader.epoch() == numbering.epoch) else {
            return Ok(None);
        };
        self.journal.reserve(reader.most_lines()?);
        let mut section = None;
        let ending = loop {
            match reader.read()? {
                Record::Section(share) => section = Some(share),
                Record::Line(line) => match &section {
                    None => self.journal.take_over(&line),
                    Some(share) => {
                        let shelf = self.shares.get_mut(share).and_then(|share| share.shelf.as_mut());
                        shelf.into_iter().for_each(|shelf| shelf.journal.take_over(&line));
                    }
                },
                Record::End(ending) => break ending,
            }
        };
        self.journal.stand(&ending.standing, numbering);
        let mut is_as_it_was = BTreeSet::new();
        for (name, share) in &mut self.shares {
            let root = share.dir.as_ref().map(|dir| dir.root());
            match ending.shares.iter().find(|known| known.name == *name && Some(known.root) == root) {
                Some(known) => {
                    is_as_it_was.insert(name.clone());
                    share.state = if known.is_listed { ShareState::Checking } else { ShareState::Listing };
                }
                None => share.shelf = share.shelf.take().map(|_| Shelf::new()),
            }
        }
        let changes = self.changes();
        self.forget_what_is_not_told(&is_as_it_was);
        Ok(Some(changes))
    }

    /// Forgets what the last run told everybody and this one does not: of shares that are away, gone, other folders, or not for
    /// everybody any more, and downloads, which are offered anew where they still are.
    fn forget_what_is_not_told(&mut self, is_as_it_was: &BTreeSet<String>) {
        let Self { journal, shares, .. } = self;
        let is_for_everybody = |name: &str| shares.get(name).is_some_and(|share| share.readers == Readers::Everybody);
        for file in journal.not_in_shares(|name| is_as_it_was.contains(name) && is_for_everybody(name)) {
            if let Some(path) = journal.path_of(file) {
                journal.remove(&path);
            }
        }
    }

    /// The journal and the index of a share that is not for everybody, or of those that are.
    fn shelf_of(&mut self, share: Option<&str>) -> Option<(&mut Journal, &mut Index)> {
        match share {
            Some(share) => self.shares.get_mut(share)?.shelf.as_mut().map(|shelf| (&mut shelf.journal, &mut shelf.index)),
            None => Some((&mut self.journal, &mut self.index)),
        }
    }

    /// Counts what each share has.
    fn count_all(&mut self) {
        let Self { journal, shares, .. } = self;
        let totals = journal.totals();
        for (name, share) in shares {
            let own = share.shelf.as_ref().and_then(|shelf| shelf.journal.totals().get(name.as_str()).copied());
            let totals = own.or_else(|| totals.get(name.as_str()).copied()).unwrap_or_default();
            (share.files, share.bytes, share.hashed_bytes) = totals;
        }
    }
}
