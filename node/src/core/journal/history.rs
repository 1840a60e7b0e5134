//! [`History`]: which revisions were given out, over all runs of a node.
//!
//! A node that was killed does not know which revisions it gave out last, so no run may go on where another may have been:
//! each has numbers of its own, [`RUN`] apart. A tracker that holds one of another run that this one does not know of is told
//! everything anew.

/// Revisions of a run, far more than there are microseconds in a week.
const RUN: u64 = 1 << 40;
/// Runs that are remembered. A tracker that has not heard of us in so many runs with changes is told everything anew.
const MAX_RUNS: usize = 64;

/// The revisions that this journal knows of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct History {
    /// First and last revision of earlier runs, ascending.
    past: Vec<(u64, u64)>,
    /// The first of this run, or of the last one that gave out any.
    first: u64,
    /// Where the revisions of this run begin.
    run: u64,
}

impl History {
    /// From now on, revisions are of the run of this number, which is above all before it.
    pub(super) fn begin_run(&mut self, number: u64) {
        self.run = number.saturating_mul(RUN);
    }

    /// The revision after `last`.
    pub(super) fn next(&mut self, last: u64) -> u64 {
        if last < self.run {
            self.past.push((self.first, last));
            self.first = self.run;
            let surplus = self.past.len().saturating_sub(MAX_RUNS);
            self.past.drain(..surplus);
        }
        last.max(self.run) + 1
    }

    /// Whether a revision was given out, where `last` was the last.
    pub(super) fn includes(&self, revision: u64, last: u64) -> bool {
        let is_recent = revision >= self.first && revision <= last;
        is_recent || self.past.iter().any(|(first, last)| (*first..=*last).contains(&revision))
    }

    /// First and last revision of each run that is known.
    pub(super) fn runs(&self, last: u64) -> Vec<(u64, u64)> {
        self.past.iter().copied().chain([(self.first, last)]).collect()
    }

    /// The history of these runs; the last of them, whose last revision comes with it.
    pub(super) fn of(runs: &[(u64, u64)]) -> Option<(Self, u64)> {
        let ((first, last), past) = runs.split_last()?;
        Some((Self { past: past.to_vec(), first: *first, run: 0 }, *last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_of_a_run_that_nobody_knows_of_are_not_ours() {
        let mut history = History::default();
        let mut last = 0;
        for _ in 0..5 {
            last = history.next(last);
        }
        let (known, saved) = (history.runs(last), last);
        assert!(history.includes(0, last) && history.includes(5, last) && !history.includes(6, last));
        // one run goes on and is killed, the next knows nothing of it
        let after = |number: u64| {
            let (mut history, last) = History::of(&known).unwrap();
            assert_eq!(last, saved);
            history.begin_run(number);
            assert!(history.includes(5, last));
            let next = history.next(last);
            (history, next)
        };
        let (_, lost) = after(1);
        let (mut history, mut last) = after(2);
        assert!(!history.includes(lost, last) && history.includes(5, last) && !history.includes(6, last));
        for _ in 0..10 {
            last = history.next(last);
        }
        assert!(!history.includes(lost, last) && history.includes(last - 3, last));
        let (again, restored) = History::of(&history.runs(last)).unwrap();
        assert!(restored == last && again.includes(5, last) && !again.includes(lost, last) && again.includes(last, last));
    }

    #[test]
    fn only_so_many_runs_are_remembered() {
        let mut history = History::default();
        let mut last = 0;
        for run in 1..1000 {
            history.begin_run(run);
            last = history.next(last);
        }
        assert_eq!(history.runs(last).len(), MAX_RUNS + 1);
        assert!(history.includes(last, last) && !history.includes(RUN + 1, last));
    }
}
