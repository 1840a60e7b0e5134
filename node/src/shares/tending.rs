//! What keeps the tables of the shares small and fast, in steps that hold up nobody who asks them.

use potluck_common::search::{Index, Job};

use super::{Shares, Table};

impl Shares {
    /// Keeps the indexes small and fast while files are put into them: see [`settle`](Self::settle).
    pub(crate) fn tend_index(&self) {
        self.tend_all(Index::next_job);
    }

    /// Makes the tables as small and fast as can be, when no changes are expected for a while: joins the segments of the indexes off the
    /// lock, tidies them in short steps, and gives back the room for more. Takes what time it needs; for threads that may.
    pub(crate) fn settle(&self) {
        self.tend_all(|index| index.next_job().or_else(|| index.settling_job()));
        let mut table = self.lock();
        let Table { journal, index, shares, .. } = &mut *table;
        let shelves = shares.values_mut().filter_map(|share| share.shelf.as_mut()).map(|shelf| (&mut shelf.journal, &mut shelf.index));
        for (journal, index) in shelves.chain([(journal, index)]) {
            journal.trim();
            index.trim();
        }
    }

    fn tend_all(&self, next: fn(&mut Index) -> Option<Job>) {
        let Ok(_only_one) = self.tending.try_lock() else { return };
        self.tend(next, &|table| Some(&mut table.index));
        let limited: Vec<String> =
            self.lock().shares.iter().filter(|(_, share)| share.shelf.is_some()).map(|(name, _)| name.clone()).collect();
        for name in limited {
            self.tend(next, &|table| Some(&mut table.shares.get_mut(&name)?.shelf.as_mut()?.index));
        }
    }

    /// Tends one index, until there is nothing to do or it is no more.
    fn tend(&self, next: fn(&mut Index) -> Option<Job>, of: &dyn Fn(&mut Table) -> Option<&mut Index>) {
        loop {
            let Some(job) = of(&mut self.lock()).map(next) else { return };
            match job {
                Some(job) => {
                    let done = job.run();
                    if let Some(index) = of(&mut self.lock()) {
                        index.finish_job(done);
                    }
                }
                None if of(&mut self.lock()).is_some_and(Index::tidy) => {}
                None => return,
            }
        }
    }
}
