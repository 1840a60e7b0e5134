//! What a user asked for together, and how it goes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::lock;
use crate::core::scheduler::FileNo;
use crate::error::Failure;
use crate::types::TransferLine;

/// The time over which a rate is told.
const RATE_SPAN: Duration = Duration::from_secs(3);

/// How a job goes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct JobView {
    pub(crate) bytes: u64,
    pub(crate) total: u64,
    /// Bytes per second.
    pub(crate) rate: u64,
    /// Peers that send.
    pub(crate) sources: u32,
    pub(crate) files_done: u64,
    pub(crate) files: u64,
    /// Since when not a byte has come from any source, whatever was asked of it, and nothing was done here either.
    pub(crate) stalled_since: Option<Instant>,
    /// Whether a peer sent wrong bytes for it.
    pub(crate) was_lied_to: bool,
    /// Whether the disk does not take it for now.
    pub(crate) is_blocked: bool,
    /// Lines in the list of outcomes.
    pub(crate) outcomes: usize,
    /// Whether every file is done or failed.
    pub(crate) settled: bool,
}

/// Follows a job: how it goes, and what became of each file. Dropping it changes nothing.
pub(crate) struct Follow {
    pub(crate) view: watch::Receiver<JobView>,
    outcomes: Arc<Mutex<Vec<TransferLine>>>,
    trouble: Arc<Mutex<Option<String>>>,
}

impl Follow {
    /// What the disk said last.
    pub(crate) fn trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }

    /// The outcomes from number `from` on.
    pub(crate) fn outcomes(&self, from: usize) -> Vec<TransferLine> {
        lock(&self.outcomes).get(from..).unwrap_or_default().to_vec()
    }
}

/// What a job's unfinished files have come to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Measured {
    /// Verified bytes of them.
    pub(super) verified: u64,
    /// Their bytes in all.
    pub(super) total: u64,
    /// Peers that were asked and have not answered in full.
    pub(super) sources: u32,
    /// When bytes came from one of their sources last, for these files or others that come before them.
    pub(super) heard: Option<Instant>,
    /// Whether the next step is not a source's: the user paused one, or the disk is at work.
    pub(super) is_held_here: bool,
}

/// Files that were wished for together. As many outcomes as files, and no more, are kept.
pub(super) struct Job {
    pub(super) files: Vec<FileNo>,
    pub(super) view: watch::Sender<JobView>,
    outcomes: Arc<Mutex<Vec<TransferLine>>>,
    /// What the disk said last.
    trouble: Arc<Mutex<Option<String>>>,
    /// Bytes of files that are finished.
    finished_bytes: u64,
    /// Bytes at the last measurement.
    last_bytes: u64,
    recent: VecDeque<(Instant, u64)>,
}

impl Job {
    pub(super) fn new(files: Vec<FileNo>, now: Instant) -> Self {
        let view = JobView { files: files.len() as u64, stalled_since: Some(now), ..JobView::default() };
        Self {
            files,
            view: watch::Sender::new(view),
            outcomes: Arc::default(),
            trouble: Arc::default(),
            finished_bytes: 0,
            last_bytes: 0,
            recent: VecDeque::new(),
        }
    }

    pub(super) fn follow(&self) -> Follow {
        Follow { view: self.view.subscribe(), outcomes: Arc::clone(&self.outcomes), trouble: Arc::clone(&self.trouble) }
    }

    /// One file is in its place.
    pub(super) fn done(&mut self, line: TransferLine, bytes: u64) {
        self.finished_bytes += bytes;
        self.settle(line, true);
    }

    /// One file cannot be had.
    pub(super) fn failed(&mut self, name: String, content_id: String, failure: Failure, error: String) {
        self.settle(TransferLine::Failed { name, content_id: Some(content_id), error, code: failure.exit_code() }, false);
    }

    fn settle(&mut self, line: TransferLine, done: bool) {
        let mut outcomes = lock(&self.outcomes);
        outcomes.push(line);
        let count = outcomes.len();
        drop(outcomes);
        self.view.send_modify(|view| {
            view.files_done += u64::from(done);
            view.outcomes = count;
            view.settled = count as u64 >= view.files;
            view.bytes = view.bytes.max(self.finished_bytes);
        });
    }

    /// The disk does not take a file for now; it is tried again.
    pub(super) fn blocked(&self, error: &str) {
        *lock(&self.trouble) = Some(error.to_owned());
        self.view.send_modify(|view| view.is_blocked = true);
    }

    /// Whether nothing more will happen to it.
    pub(super) fn is_over(&self) -> bool {
        self.view.borrow().settled
    }

    pub(super) fn lied_to(&self) {
        self.view.send_modify(|view| view.was_lied_to = true);
    }

    /// Takes how far the unfinished files are.
    pub(super) fn measure(&mut self, measured: Measured, now: Instant) {
        let bytes = self.finished_bytes + measured.verified;
        self.recent.push_back((now, bytes));
        while self.recent.len() > 2 && self.recent.front().is_some_and(|(at, _)| now - *at > RATE_SPAN) {
            self.recent.pop_front();
        }
        let rate = self.recent.front().map_or(0, |(at, was)| {
            let seconds = (now - *at).as_secs_f64();
            if seconds > 0.0 { (bytes.saturating_sub(*was) as f64 / seconds) as u64 } else { 0 }
        });
        let is_stalled = bytes == self.last_bytes && !measured.is_held_here;
        self.last_bytes = bytes;
        self.view.send_modify(|view| {
            view.bytes = bytes;
            view.total = self.finished_bytes + measured.total;
            view.rate = rate;
            view.sources = measured.sources;
            view.stalled_since = is_stalled.then(|| {
                let since = view.stalled_since.unwrap_or(now);
                measured.heard.map_or(since, |heard| heard.max(since))
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::beginning;

    fn stalled_since(job: &Job) -> Option<Instant> {
        job.view.borrow().stalled_since
    }

    /// G007: a source that takes requests and sends nothing is no reason to wait on.
    #[test]
    fn a_source_that_is_asked_and_sends_nothing_does_not_hide_a_stall() {
        let start = beginning();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut job = Job::new(vec![FileNo(1)], start);
        let asked = Measured { total: 100, sources: 1, ..Measured::default() };
        (1..20).for_each(|second| job.measure(asked, after(second)));
        assert_eq!(stalled_since(&job), Some(start));
    }

    #[test]
    fn whatever_moves_a_job_ends_its_stall() {
        let start = beginning();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut job = Job::new(vec![FileNo(1)], start);
        let asked = Measured { total: 100, sources: 1, ..Measured::default() };
        job.measure(Measured { heard: Some(after(3)), ..asked }, after(4)); // a part of a piece, or a file that comes first
        assert_eq!(stalled_since(&job), Some(after(3)));
        job.measure(Measured { verified: 10, heard: Some(after(3)), ..asked }, after(5));
        assert_eq!(stalled_since(&job), None);
        job.measure(Measured { verified: 10, heard: Some(after(3)), ..asked }, after(6));
        assert_eq!(stalled_since(&job), Some(after(6)));
        job.measure(Measured { verified: 10, is_held_here: true, ..asked }, after(9));
        assert_eq!(stalled_since(&job), None);
        job.measure(Measured { verified: 10, sources: 0, ..asked }, after(10));
        assert_eq!(stalled_since(&job), Some(after(10)));
    }
}
