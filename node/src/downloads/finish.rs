//! How a download is saved on the way, and how it ends.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use potluck_common::content_id::PieceHash;

use super::engine::Engine;
use super::fetch::Outcome;
use super::file::{File, Phase};
use crate::clock::{now, unix_seconds};
use crate::core::scheduler::FileNo;
use crate::error::Failure;
use crate::store::{Finished, StoreError};
use crate::types::TransferLine;

/// A checkpoint is due after so many bytes or so much time, whichever is first: what a crash costs at most.
const CHECKPOINT_BYTES: u64 = 64 << 20;
const CHECKPOINT_AGE: Duration = Duration::from_secs(5);
/// How long a full or read-only disk is left alone.
const DISK_REST: Duration = Duration::from_secs(15);

impl File {
    /// Whether what has come should be made safe now.
    pub(super) fn is_save_due(&self, now: Instant) -> bool {
        let is_old = self.unsaved_since.is_some_and(|since| now.saturating_duration_since(since) >= CHECKPOINT_AGE);
        self.phase == Phase::Fetching
            && self.flow.is_none()
            && !self.is_saving
            && self.unsaved > 0
            && (self.unsaved >= CHECKPOINT_BYTES || is_old)
    }
}

impl Engine {
    /// Remembers the size and the piece hashes of a file, so that a restart need not fetch them again.
    pub(super) fn keep_hashes(&self, no: FileNo) {
        let (Some(file), Some(geometry)) = (self.files.get(&no), self.scheduler.geometry(no)) else { return };
        let Some(hashes) = self.scheduler.hashes(no).map(Arc::clone) else { return };
        let (state, id, content_id) = (Arc::clone(&self.setup.state), file.id, file.shelf.content_id);
        tokio::task::spawn_blocking(move || {
            let hashes: &[PieceHash] = &hashes;
            let kept = state.put_pieces(content_id, hashes).and_then(|()| state.set_download_size(id, geometry.size()));
            if let Err(error) = kept {
                tracing::warn!(%error, "piece hashes are not remembered; they are fetched again after a restart");
            }
        });
    }

    /// Opens the temporary file before the first piece comes: others who fetch the same file should know of us by then.
    pub(super) fn open_early(&self, no: FileNo) {
        let (Some(file), Some(geometry)) = (self.files.get(&no), self.scheduler.geometry(no)) else { return };
        let (shelf, disk, outcomes) = (Arc::clone(&file.shelf), self.setup.disk.clone(), self.outcome_sender.clone());
        tokio::spawn(async move {
            // If it cannot be opened, whoever writes the first piece tells.
            if disk.run(move || shelf.part(geometry).is_ok()).await == Some(true) {
                let _ = outcomes.send(Outcome::Opened { file: no }).await; // the node is stopping
            }
        });
    }

    pub(super) fn save_if_due(&mut self, no: FileNo) {
        if self.files.get(&no).is_some_and(|file| file.is_save_due(now())) {
            self.save(no);
        }
    }

    /// Makes what has come safe from a power cut: first the bytes, then the record of them.
    pub(super) fn save(&mut self, no: FileNo) {
        let Some(verified) = self.scheduler.verified(no).map(crate::core::piece_set::PieceSet::to_bytes) else { return };
        let Some(file) = self.files.get_mut(&no).filter(|file| file.flow.is_none()) else { return };
        let Some(part) = file.shelf.open_part() else { return };
        (file.is_saving, file.unsaved, file.unsaved_since) = (true, 0, None);
        let (state, id, outcomes) = (Arc::clone(&self.setup.state), file.id, self.outcome_sender.clone());
        tokio::task::spawn_blocking(move || {
            let synced = part.sync().map_err(|error| error.to_string());
            let result = synced.and_then(|()| state.checkpoint(id, &verified).map_err(|error| error.to_string()));
            let _ = outcomes.blocking_send(Outcome::Saved { file: no, result });
        });
    }

    pub(super) fn on_saved(&mut self, no: FileNo, result: Result<(), String>) {
        if let Some(file) = self.files.get_mut(&no) {
            file.is_saving = false;
        }
        if let Err(error) = result {
            tracing::warn!(%error, "a checkpoint was not written; after a crash more is fetched again");
        }
    }

    /// Every piece is verified.
    pub(super) fn complete(&mut self, no: FileNo) {
        self.flow(no);
        let Some(file) = self.files.get_mut(&no).filter(|file| file.flow.is_none()) else { return };
        if let Phase::Done(path) = &file.phase {
            let path = path.clone();
            self.scheduler.remove(no);
            return self.settle_done(no, path, false);
        }
        file.phase = Phase::Finishing;
        let geometry = self.scheduler.geometry(no);
        let (shelf, mtime, outcomes) = (Arc::clone(&file.shelf), file.mtime.unwrap_or_else(unix_seconds), self.outcome_sender.clone());
        tokio::task::spawn_blocking(move || {
            let result = geometry.map(|geometry| shelf.finish(&*shelf.part(geometry)?, mtime));
            if let Some(result) = result {
                let _ = outcomes.blocking_send(Outcome::Finished { file: no, result });
            }
        });
    }

    pub(super) fn on_finished(&mut self, no: FileNo, result: Result<Finished, StoreError>) {
        self.scheduler.remove(no);
        match result {
            Ok(finished) => {
                self.files.get_mut(&no).into_iter().for_each(|file| file.kept.clone_from(&finished.kept));
                self.settle_done(no, finished.path, false);
            }
            Err(error) => self.settle_failed(no, Failure::LocalFile, &error.to_string()),
        }
    }

    /// A file is in its place: tells all who want it, and forgets the record.
    pub(super) fn settle_done(&mut self, no: FileNo, path: PathBuf, already_there: bool) {
        let Some(mut file) = self.take(no) else { return };
        let fetched: u64 = file.came_from.values().sum();
        let bytes = file.size.unwrap_or(fetched);
        let line = TransferLine::Done {
            path: path.display().to_string(),
            content_id: file.shelf.content_id.to_string(),
            bytes,
            fetched,
            sources: file.came_from.len() as u32,
            already_there,
            kept: file.kept.as_ref().map(|path| path.display().to_string()),
        };
        file.phase = Phase::Done(path);
        for job in &file.jobs {
            if let Some(job) = self.jobs.get_mut(job) {
                job.done(line.clone(), bytes);
            }
        }
        self.keep(&file);
        self.copy_to_twins(&file);
        self.forget(&file, already_there);
        self.list_done(&file);
    }

    /// A file cannot be had: tells all who want it, and forgets the record. What is there of it stays on the disk.
    pub(super) fn settle_failed(&mut self, no: FileNo, failure: Failure, error: &str) {
        let Some(file) = self.take(no) else { return };
        self.withdraw(&file);
        self.wake_twins(&file);
        self.keep_failed(no, &file, error);
        for job in &file.jobs {
            if let Some(job) = self.jobs.get_mut(job) {
                job.failed(file.shelf.target.name().to_owned(), file.shelf.content_id.to_string(), failure, error.to_owned());
            }
        }
        self.forget(&file, false);
    }

    fn forget(&mut self, file: &File, was_never_kept: bool) {
        self.jobs.retain(|_, job| !job.is_over());
        if !was_never_kept {
            self.forgotten.push(file.id);
        }
    }

    /// The disk does not take a file. One that may take it later is tried again; others end the download.
    pub(super) fn on_disk_error(&mut self, no: FileNo, error: &StoreError) {
        let Some(file) = self.files.get_mut(&no) else { return };
        if file.is_settled() || matches!(file.phase, Phase::Waiting { .. } | Phase::Paused) {
            return;
        }
        let message = error.to_string();
        if matches!(error, StoreError::NoSpace { .. } | StoreError::ReadOnly { .. }) {
            file.phase = Phase::Waiting { until: now() + DISK_REST, error: message.clone() };
            let jobs = file.jobs.clone();
            self.scheduler.pause(no);
            for job in jobs.iter().filter_map(|job| self.jobs.get(job)) {
                job.blocked(&message);
            }
        } else {
            self.scheduler.remove(no);
            self.settle_failed(no, Failure::LocalFile, &message);
        }
    }

    /// Tries again what a disk did not take.
    pub(super) fn retry_disks(&mut self, now: Instant) {
        for (no, file) in &mut self.files {
            if matches!(&file.phase, Phase::Waiting { until, .. } if *until <= now) {
                file.phase = Phase::Fetching;
                self.scheduler.resume(*no);
            }
        }
    }
}
