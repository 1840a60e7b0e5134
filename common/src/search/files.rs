//! [`Files`]: the documents of one peer, in the order of their paths.
//!
//! Four bytes a file: paths are asked for where they are compared. Kept in runs of at most [`RUN`], so that a file that comes
//! between others moves 4 KiB at most; a peer that publishes in order appends, with one comparison. Finding one among a million
//! takes 20 comparisons, some 4 µs.

use std::cmp::Ordering;

use super::relation::DocNo;

/// Most files in a run.
const RUN: usize = 1024;

/// Documents in the order of their paths.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// None is empty.
    runs: Vec<Vec<DocNo>>,
    len: usize,
}

/// Where a file is, or belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    run: usize,
    at: usize,
}

impl Files {
    #[cfg(test)]
    fn len(&self) -> usize {
        self.len
    }

    /// Where a path is, or where it belongs. `compare` tells how a document's path stands to it.
    pub(super) fn find(&self, mut compare: impl FnMut(DocNo) -> Ordering) -> Result<Place, Place> {
        let Some((last_run, run)) = self.runs.iter().enumerate().next_back() else { return Err(Place { run: 0, at: 0 }) };
        // In order: behind the last one.
        if run.last().is_some_and(|last| compare(*last) == Ordering::Less) {
            return Err(Place { run: last_run, at: run.len() });
        }
        let run = self.runs.partition_point(|run| run.last().is_some_and(|last| compare(*last) == Ordering::Less));
        let Some(docs) = self.runs.get(run) else { return Err(Place { run: last_run, at: 0 }) };
        match docs.binary_search_by(|doc| compare(*doc)) {
            Ok(at) => Ok(Place { run, at }),
            Err(at) => Err(Place { run, at }),
        }
    }

    pub(super) fn get(&self, place: Place) -> Option<DocNo> {
        self.runs.get(place.run)?.get(place.at).copied()
    }

    /// The documents from one place up to another.
    pub(super) fn between(&self, from: Place, to: Place) -> impl Iterator<Item = DocNo> {
        let runs = self.runs.iter().enumerate().take(to.run + 1).skip(from.run);
        runs.flat_map(move |(number, run)| {
            let start = if number == from.run { from.at } else { 0 };
            let end = if number == to.run { to.at } else { run.len() };
            run.get(start..end).unwrap_or_default().iter().copied()
        })
    }

    pub(super) fn replace(&mut self, place: Place, doc: DocNo) {
        if let Some(known) = self.runs.get_mut(place.run).and_then(|run| run.get_mut(place.at)) {
            *known = doc;
        }
    }

    /// Puts a document where [`find`](Self::find) said that it belongs.
    pub(super) fn insert(&mut self, place: Place, doc: DocNo) {
        self.len += 1;
        let Some(run) = self.runs.get_mut(place.run) else {
            // Most peers have one run.
            self.runs.reserve_exact(1);
            self.runs.push(vec![doc]);
            return;
        };
        if run.len() < RUN {
            if run.len() == run.capacity() {
                // By a quarter: doubling would leave a third of all these vectors unused.
                run.reserve_exact(4 + run.len() / 4);
            }
            run.insert(place.at, doc);
        } else if place.at == RUN {
            self.runs.insert(place.run + 1, vec![doc]);
        } else {
            let mut tail = run.split_off(RUN / 2);
            match place.at.checked_sub(RUN / 2) {
                Some(at) => tail.insert(at, doc),
                None => run.insert(place.at, doc),
            }
            self.runs.insert(place.run + 1, tail);
        }
    }

    pub(super) fn remove(&mut self, place: Place) -> Option<DocNo> {
        let run = self.runs.get_mut(place.run).filter(|run| place.at < run.len())?;
        let doc = run.remove(place.at);
        if run.is_empty() {
            self.runs.remove(place.run);
        }
        self.len -= 1;
        Some(doc)
    }

    /// Takes any one out: the last.
    pub(super) fn pop(&mut self) -> Option<DocNo> {
        let run = self.runs.last_mut()?;
        let doc = run.pop();
        if run.is_empty() {
            self.runs.pop();
        }
        self.len -= usize::from(doc.is_some());
        doc
    }

    /// The documents from a place on.
    pub(super) fn from(&self, place: Place) -> impl Iterator<Item = DocNo> {
        let first = self.runs.get(place.run).and_then(|run| run.get(place.at..)).unwrap_or_default();
        first.iter().chain(self.runs.iter().skip(place.run + 1).flatten()).copied()
    }

    /// All documents.
    pub(super) fn iter(&self) -> impl Iterator<Item = DocNo> {
        self.runs.iter().flatten().copied()
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.runs.capacity() * size_of::<Vec<DocNo>>() + self.runs.iter().map(|run| run.capacity() * 4).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        /// A document's number plays its path.
        #[test]
        fn files_are_a_sorted_set(steps in prop::collection::vec((0u8..4, 0u32..5000), 0..6000)) {
            let mut files = Files::default();
            let mut model = BTreeSet::new();
            for (step, doc) in steps {
                match (step, files.find(|known| known.cmp(&doc))) {
                    (0, Ok(place)) => {
                        prop_assert_eq!(files.remove(place), Some(doc));
                        model.remove(&doc);
                    }
                    (_, Ok(_)) => prop_assert!(model.contains(&doc)),
                    (0, Err(_)) => prop_assert!(!model.contains(&doc)),
                    (_, Err(place)) => {
                        files.insert(place, doc);
                        model.insert(doc);
                    }
                }
                prop_assert_eq!(files.len(), model.len());
            }
            prop_assert!(files.iter().eq(model.iter().copied()));
            let (Ok(place) | Err(place)) = files.find(|known| known.cmp(&2500));
            prop_assert!(files.from(place).eq(model.range(2500..).copied()));
        }
    }
}
