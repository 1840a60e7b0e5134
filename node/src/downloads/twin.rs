//! What is here is not fetched: a content that is wanted under several names comes once and is copied, and of a damaged file
//! only the wrong pieces come.
//!
//! A copy is made as a download is: piece by piece into a temporary file, each verified, and then renamed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use potluck_common::geometry::Geometry;

use super::engine::Engine;
use super::fetch::{Outcome, There};
use super::file::{File, Phase, Shelf};
use crate::clock::unix_seconds;
use crate::core::scheduler::FileNo;
use crate::store::{Finished, State, StoreError, hashes_of, salvage};

impl Engine {
    /// Whether a file waits for another of the same content; if one is under way, it does from now on.
    pub(super) fn becomes_twin(&mut self, no: FileNo) -> bool {
        let Some(content_id) = self.files.get(&no).map(|file| file.shelf.content_id) else { return false };
        let others = self.by_content.get(&content_id).into_iter().flatten();
        let is_first = |other: &&FileNo| {
            let is_under_way = |phase: &Phase| matches!(phase, Phase::Fetching | Phase::Finishing | Phase::Waiting { .. });
            **other != no && self.files.get(other).is_some_and(|file| is_under_way(&file.phase) && file.flow.is_none())
        };
        let has_first = others.filter(is_first).count() > 0;
        if has_first && let Some(file) = self.files.get_mut(&no) {
            file.phase = Phase::Twin;
        }
        has_first
    }

    /// A file is in its place: copies it to where it is wanted as well.
    pub(super) fn copy_to_twins(&mut self, done: &File) {
        let Phase::Done(path) = &done.phase else { return };
        if done.flow.is_some() {
            return; // what was read as it came is nowhere
        }
        let Some(geometry) = done.size.and_then(|size| Geometry::new(size).ok()) else { return self.wake_twins(done) };
        let twins = self.twins_of(done);
        let copies: Vec<(FileNo, Arc<Shelf>, i64)> = twins
            .into_iter()
            .filter_map(|no| {
                let file = self.files.get_mut(&no)?;
                (file.phase, file.size) = (Phase::Finishing, Some(geometry.size()));
                Some((no, Arc::clone(&file.shelf), file.mtime.unwrap_or_else(unix_seconds)))
            })
            .collect();
        if copies.is_empty() {
            return;
        }
        let (state, cancel, outcomes) = (Arc::clone(&self.setup.state), Arc::clone(&self.cancel), self.outcome_sender.clone());
        let path = path.clone();
        tokio::task::spawn_blocking(move || {
            for (file, shelf, mtime) in copies {
                let outcome = match copy(&state, &path, &shelf, geometry, mtime, &cancel) {
                    Ok(Some(finished)) => Outcome::Finished { file, result: Ok(finished) },
                    Ok(None) => Outcome::Checked { files: vec![(file, Ok(There::Nothing))] },
                    Err(error) => Outcome::Finished { file, result: Err(error) },
                };
                if outcomes.blocking_send(outcome).is_err() {
                    return;
                }
            }
        });
    }

    /// A file will not be in its place: whoever waited for it fetches for himself.
    pub(super) fn wake_twins(&mut self, lost: &File) {
        if lost.flow.is_none()
            && let Some(first) = self.twins_of(lost).first().copied()
        {
            self.fetch_now(first); // the others wait for this one
        }
    }

    /// Goes on with a file of which it is known what is there.
    pub(super) fn fetch_now(&mut self, no: FileNo) {
        if let Some(file) = self.files.get_mut(&no) {
            file.phase = Phase::Fetching;
            self.scheduler.resume(no);
        }
    }

    fn twins_of(&self, file: &File) -> Vec<FileNo> {
        let same = self.by_content.get(&file.shelf.content_id).into_iter().flatten().copied();
        same.filter(|no| self.files.get(no).is_some_and(|other| other.phase == Phase::Twin)).collect()
    }
}

/// Copies a whole file; `None` when it is not what it was. Blocks.
fn copy(
    state: &State,
    from: &Path,
    shelf: &Shelf,
    geometry: Geometry,
    mtime: i64,
    cancel: &AtomicBool,
) -> Result<Option<Finished>, StoreError> {
    let known = state.pieces(shelf.content_id, geometry).ok().flatten();
    let Some(hashes) = hashes_of(shelf.content_id, geometry, known) else { return Ok(None) };
    let part = shelf.part(geometry)?;
    if !salvage(from, &part, &hashes, cancel)?.is_full() {
        return Ok(None);
    }
    shelf.finish(&part, mtime).map(Some)
}

/// Takes the right pieces of the file that is to be repaired. Blocks.
///
/// # Errors
/// When the temporary file cannot be written.
pub(super) fn mend(state: &State, shelf: &Shelf, size: Option<u64>, cancel: &AtomicBool) -> Result<There, StoreError> {
    let Some(geometry) = size.and_then(|size| Geometry::new(size).ok()) else { return Ok(There::Nothing) };
    let known = state.pieces(shelf.content_id, geometry).ok().flatten();
    let Some(hashes) = hashes_of(shelf.content_id, geometry, known) else { return Ok(There::Nothing) };
    let (dir, target) = (crate::store::DownloadDir::open(&shelf.folder)?, shelf.target_path()?);
    let part = shelf.part(geometry)?;
    let verified = salvage(&dir.path_of(&target), &part, &hashes, cancel)?;
    Ok(There::Pieces { hashes: hashes.into(), verified })
}
