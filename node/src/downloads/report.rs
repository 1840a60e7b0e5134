//! How downloads are shown.

use std::time::Instant;

use super::engine::Engine;
use super::file::{File, Phase};
use super::{Totals, lock};
use crate::core::scheduler::FileNo;
use crate::types::{DownloadLine, SourceLine};

/// Downloads that are done and still listed.
const MAX_DONE_LISTED: usize = 1000;

impl Engine {
    /// Measures how far every job is, and all together.
    pub(super) fn measure(&mut self, now: Instant) {
        let mut rate = 0;
        for job in self.jobs.values_mut() {
            let (mut verified, mut total, mut senders) = (0, 0, std::collections::HashSet::new());
            for no in &job.files {
                let Some(file) = self.files.get(no) else { continue };
                let progress = self.scheduler.progress(*no).unwrap_or_default();
                verified += progress.verified;
                total += progress.total.or(file.size).unwrap_or(0);
                if senders.len() < 64 && !file.is_settled() {
                    senders.extend(self.scheduler.sources(*no).filter(|source| source.in_flight > 0).map(|source| source.peer));
                }
            }
            job.measure(verified, total, senders.len() as u32, now);
            rate += job.view.borrow().rate;
        }
        drop(self.forget_records()); // the work goes on by itself; only the end of the node waits for it
        *lock(&self.board.totals) = Totals { open: self.files.len() as u64, rate, bytes: self.bytes };
    }

    /// The downloads that are under way, then those that are done.
    pub(super) fn lines(&self) -> Vec<DownloadLine> {
        let open = self.files.iter().map(|(no, file)| self.line(*no, file));
        open.chain(self.done.iter().cloned()).collect()
    }

    fn line(&self, no: FileNo, file: &File) -> DownloadLine {
        let progress = self.scheduler.progress(no).unwrap_or_default();
        let sources: Vec<SourceLine> = self
            .scheduler
            .sources(no)
            .map(|source| SourceLine {
                peer_id: source.peer.to_string(),
                rate: if source.in_flight > 0 { source.rate.unwrap_or(0.0) as u64 } else { 0 },
                bytes: file.came_from.get(&source.peer).copied().unwrap_or(0),
            })
            .collect();
        let (state, error) = match &file.phase {
            Phase::Checking | Phase::Finishing => ("finishing", None),
            Phase::Fetching if progress.sources == 0 => ("waiting", None),
            Phase::Fetching => ("fetching", None),
            Phase::Done(_) => ("done", None),
            Phase::Waiting { error, .. } => ("waiting", Some(error.clone())),
        };
        DownloadLine {
            id: file.id,
            content_id: file.shelf.content_id.to_string(),
            name: file.shelf.target.name().to_owned(),
            path: file.shelf.folder.join(file.shelf.target.as_str()).display().to_string(),
            bytes: progress.verified,
            total: progress.total.or(file.size),
            state: state.to_owned(),
            rate: sources.iter().map(|source| source.rate).sum(),
            sources,
            error,
        }
    }

    /// Keeps a finished download in the list, as long as there is room.
    pub(super) fn list_done(&mut self, file: &File) {
        let Phase::Done(path) = &file.phase else { return };
        if self.done.len() == MAX_DONE_LISTED {
            self.done.remove(0);
        }
        let bytes = file.size.unwrap_or(0);
        self.done.push(DownloadLine {
            id: file.id,
            content_id: file.shelf.content_id.to_string(),
            name: file.shelf.target.name().to_owned(),
            path: path.display().to_string(),
            bytes,
            total: Some(bytes),
            state: "done".to_owned(),
            rate: 0,
            sources: file.came_from.iter().map(|(peer, bytes)| SourceLine { peer_id: peer.to_string(), rate: 0, bytes: *bytes }).collect(),
            error: None,
        });
    }
}
