//! [`Log`]: the files in the order in which they changed last, 8 bytes each.

use super::files::FileNo;

/// Lines of a run: small enough to be copied at once, large enough for few runs.
const RUN: usize = 1024;
/// Lines that are not worth being copied.
const FEW: usize = 16;

/// Which file has which revision, ascending.
#[derive(Debug, Default)]
pub(super) struct Log {
    runs: Vec<Run>,
    live: usize,
}

/// Lines that follow each other. A line whose file has changed since is dead, and goes when half of its run is.
#[derive(Debug)]
struct Run {
    first: u64,
    /// Revisions above the first, and the files.
    lines: Vec<(u32, u32)>,
    live: usize,
}

impl Log {
    /// The next line: `revision` is above all others.
    pub(super) fn push(&mut self, revision: u64, FileNo(file): FileNo) {
        self.live += 1;
        if let Some(run) = self.runs.last_mut().filter(|run| run.lines.len() < RUN)
            && let Ok(above) = u32::try_from(revision - run.first)
        {
            run.lines.push((above, file));
            run.live += 1;
            return;
        }
        if let Some(full) = self.runs.last_mut() {
            full.lines.shrink_to_fit();
        }
        self.runs.push(Run { first: revision, lines: vec![(0, file)], live: 1 });
    }

    /// The line of a revision is dead. `is_live` tells of any other whether it is not.
    pub(super) fn drop_line(&mut self, revision: u64, is_live: impl Fn(FileNo, u64) -> bool) {
        let Some(at) = self.runs.partition_point(|run| run.first <= revision).checked_sub(1) else { return };
        let Some(run) = self.runs.get_mut(at) else { return };
        self.live -= 1;
        run.live -= 1;
        if run.live == 0 {
            self.runs.remove(at);
        } else if run.live * 2 < run.lines.len() && run.lines.len() >= FEW {
            let first = run.first;
            run.lines.retain(|(above, file)| is_live(FileNo(*file), first + u64::from(*above)));
            run.lines.shrink_to_fit();
            self.join(at);
        }
    }

    /// Joins a run that has become short with a short one before it.
    fn join(&mut self, at: usize) {
        let Some((before, rest)) = self.runs.split_at_mut_checked(at) else { return };
        let (Some(before), Some(run)) = (before.last_mut(), rest.first()) else { return };
        let apart = run.first - before.first;
        let reach = run.lines.last().map_or(0, |(above, _)| u64::from(*above)) + apart;
        if before.lines.len() + run.lines.len() > RUN / 2 || reach > u64::from(u32::MAX) {
            return;
        }
        before.lines.extend(run.lines.iter().map(|(above, file)| (above + apart as u32, *file)));
        before.live += run.live;
        self.runs.remove(at);
    }

    /// The lines above a revision, dead ones among them.
    pub(super) fn after(&self, revision: u64) -> impl Iterator<Item = (u64, FileNo)> + use<'_> {
        let from = self.runs.partition_point(|run| run.first <= revision).saturating_sub(1);
        let runs = self.runs.get(from..).unwrap_or_default().iter();
        let lines = runs.flat_map(|run| run.lines.iter().map(|(above, file)| (run.first + u64::from(*above), FileNo(*file))));
        lines.skip_while(move |(known, _)| *known <= revision)
    }

    /// How many lines are not dead.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.live
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Files change again and again: each has one line, its last.
        #[test]
        fn the_log_holds_the_last_change_of_each_file(changes in prop::collection::vec((0u32..900, 1u64..3), 0..4000), far in 0usize..4000) {
            let mut log = Log::default();
            let mut last = std::collections::HashMap::new();
            let mut revision = 0;
            for (at, (file, step)) in changes.into_iter().enumerate() {
                revision += if at == far { 1 << 40 } else { step };
                let before = last.insert(file, revision);
                log.push(revision, FileNo(file));
                if let Some(before) = before {
                    log.drop_line(before, |file, revision| last.get(&file.0) == Some(&revision));
                }
            }
            prop_assert_eq!(log.len(), last.len());
            let mut expected: Vec<(u64, u32)> = last.iter().map(|(file, revision)| (*revision, *file)).collect();
            expected.sort_unstable();
            for from in [0, revision / 2, revision] {
                let live = log.after(from).filter(|(revision, file)| last.get(&file.0) == Some(revision)).map(|(revision, file)| (revision, file.0));
                prop_assert!(live.eq(expected.iter().copied().filter(|(revision, _)| *revision > from)));
            }
            let lines: usize = log.runs.iter().map(|run| run.lines.len()).sum();
            prop_assert!(lines <= 2 * last.len() + FEW * log.runs.len() && log.runs.len() <= 8 + last.len() / 100, "{} lines of {} in {}", lines, last.len(), log.runs.len());
        }
    }
}
