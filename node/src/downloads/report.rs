//! How downloads are shown.

use std::time::Instant;

use potluck_common::peer::PeerKey;
use potluck_common::transport::peer_of;

use super::engine::Engine;
use super::file::{File, Phase};
use super::job::Measured;
use super::{Purpose, Totals, lock};
use crate::clock::now;
use crate::core::scheduler::{FileNo, Priority, SourceInfo};
use crate::types::{DownloadLine, DownloadPriority, SourceLine};

/// Downloads that are done and still listed.
const MAX_DONE_LISTED: usize = 1000;

impl Engine {
    /// Measures how far every job is, and all together.
    pub(super) fn measure(&mut self, now: Instant) {
        let mut rate = 0;
        for (no, file) in &mut self.files {
            file.measure(self.scheduler.progress(*no).unwrap_or_default().verified, now);
        }
        for job in self.jobs.values_mut() {
            let (mut measured, mut senders) = (Measured::default(), std::collections::HashSet::new());
            for no in &job.files {
                let Some(file) = self.files.get(no) else { continue };
                let progress = self.scheduler.progress(*no).unwrap_or_default();
                measured.verified += progress.verified;
                measured.total += progress.total.or(file.size).unwrap_or(0);
                measured.is_held_here |= matches!(file.phase, Phase::Paused | Phase::Checking | Phase::Finishing);
                if senders.len() < 64 && !file.is_settled() {
                    for source in self.scheduler.sources(*no) {
                        measured.heard = measured.heard.max(source.heard);
                        measured.is_held_here |= source.is_being_kept;
                        senders.extend((source.in_flight > 0).then_some(source.peer));
                    }
                }
            }
            measured.sources = senders.len() as u32;
            job.measure(measured, now);
            rate += job.view.borrow().rate;
        }
        drop(self.forget_records()); // the work goes on by itself; only the end of the node waits for it
        *lock(&self.board.totals) = Totals { open: self.files.len() as u64, rate, bytes: self.bytes };
    }

    /// The downloads that are under way, then those that failed, then those that are done.
    pub(super) fn lines(&self) -> Vec<DownloadLine> {
        let open = self.files.iter().map(|(no, file)| self.line(*no, file));
        open.chain(self.failed.iter().map(|failed| failed.line.clone())).chain(self.done.iter().cloned()).collect()
    }

    pub(super) fn line(&self, no: FileNo, file: &File) -> DownloadLine {
        let progress = self.scheduler.progress(no).unwrap_or_default();
        let sources: Vec<SourceLine> = self
            .scheduler
            .sources(no)
            .map(|source| SourceLine {
                rate: if source.in_flight > 0 { source.rate.unwrap_or(0.0) as u64 } else { 0 },
                queue: source.queue,
                ..self.source_line(&source.peer, source_state(&source), file)
            })
            .collect();
        let (state, error) = match &file.phase {
            Phase::Checking | Phase::Finishing => ("finishing", None),
            Phase::Paused => ("paused", None),
            Phase::Fetching if progress.sources == 0 => ("waiting", None),
            Phase::Fetching => ("fetching", None),
            Phase::Done(_) => ("done", None),
            Phase::Twin => ("waiting", None),
            Phase::Waiting { error, .. } => ("waiting", Some(error.clone())),
        };
        DownloadLine {
            id: file.id,
            content_id: file.shelf.content_id.to_string(),
            name: file.shelf.target.name().to_owned(),
            folder: folder_of(file),
            path: file.shelf.folder.join(file.shelf.target.as_str()).display().to_string(),
            bytes: progress.verified,
            total: progress.total.or(file.size),
            priority: match file.priority {
                Priority::High => DownloadPriority::High,
                Priority::Low => DownloadPriority::Low,
                Priority::Normal => DownloadPriority::Normal,
            },
            state: state.to_owned(),
            rate: file.rate(now()),
            sources,
            error,
        }
    }

    fn source_line(&self, peer: &PeerKey, state: &str, file: &File) -> SourceLine {
        let nickname = peer_of(peer).and_then(|peer| self.setup.asking.contacts.get(&peer)).map(|contact| contact.nickname);
        SourceLine {
            peer_id: peer.to_string(),
            nickname: nickname.unwrap_or_default(),
            state: state.to_owned(),
            queue: None,
            rate: 0,
            bytes: file.came_from.get(peer).copied().unwrap_or(0),
        }
    }

    /// Keeps a finished download in the list, as long as there is room.
    pub(super) fn list_done(&mut self, file: &File) {
        let Phase::Done(path) = &file.phase else { return };
        if file.shelf.purpose == Purpose::Stream {
            return;
        }
        if self.done.len() == MAX_DONE_LISTED {
            self.done.remove(0);
        }
        let bytes = file.size.unwrap_or(0);
        self.done.push(DownloadLine {
            id: file.id,
            content_id: file.shelf.content_id.to_string(),
            name: file.shelf.target.name().to_owned(),
            folder: folder_of(file),
            path: path.display().to_string(),
            bytes,
            total: Some(bytes),
            priority: DownloadPriority::Normal,
            state: "done".to_owned(),
            rate: 0,
            sources: file.came_from.keys().map(|peer| self.source_line(peer, "idle", file)).collect(),
            error: None,
        });
    }
}

fn source_state(source: &SourceInfo) -> &'static str {
    match source {
        SourceInfo { in_flight: 1.., .. } => "sending",
        SourceInfo { queue: Some(_), .. } => "queued",
        SourceInfo { is_usable: false, .. } => "resting",
        _ => "idle",
    }
}

/// The folder that a file was asked for with.
fn folder_of(file: &File) -> Option<String> {
    let target = &file.shelf.target;
    target.components().next().filter(|first| *first != target.as_str()).map(ToOwned::to_owned)
}
