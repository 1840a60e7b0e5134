//! A download that is read as it comes: in order, verified, no further ahead of its reader than a horizon.
//!
//! Its pieces lie in a file of the node's own, out of which those that were read are cut again: the disk holds no more than
//! the horizon, the memory a piece. A reader that stops reading stops the asking; one that goes ends the download.

use std::sync::Arc;

use potluck_common::geometry::Geometry;
use potluck_common::transport::key_of;
use tokio::sync::{mpsc, watch};

use super::engine::Engine;
use super::file::{File, Phase, Shelf};
use super::job::{Follow, Job};
use super::{Command, Purpose, Wish};
use crate::clock::now;
use crate::core::scheduler::{FileNo, Priority, Want};
use crate::error::{CommandError, Failure};

/// Pieces that are asked for ahead of the reader: what fills a gigabit over 250 ms.
const HORIZON: u32 = 32;
/// Pieces after which the reader says how far it is.
const CONSUMED_EVERY: u32 = 4;

/// The engine's end of a stream.
pub(super) struct Flow {
    /// How the file is cut, and how many pieces from the first on have come.
    ready: watch::Sender<Option<(Geometry, u32)>>,
}

/// The reader's end of a stream.
pub(crate) struct Stream {
    file: FileNo,
    shelf: Arc<Shelf>,
    ready: watch::Receiver<Option<(Geometry, u32)>>,
    commands: mpsc::WeakSender<Command>,
    next: u32,
    told: u32,
}

impl Stream {
    /// The next piece, in order; `None` after the last. Dropping the future may lose a piece: drop the stream as well.
    ///
    /// # Errors
    /// When the download ended before its end, or the disk fails.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, CommandError> {
        let gone = || CommandError::new(Failure::Interrupted, "the download ended before its end; ask for it again");
        let has_come = |ready: &Option<(Geometry, u32)>, next: u32| {
            ready.is_some_and(|(geometry, count)| next < count || u64::from(next) >= geometry.piece_count())
        };
        let next = self.next;
        let ready = *self.ready.wait_for(|ready| has_come(ready, next)).await.map_err(|_| gone())?;
        let Some(geometry) = ready.map(|(geometry, _)| geometry) else { return Err(gone()) };
        let piece = geometry.piece(u64::from(self.next));
        let bytes = match piece {
            Some(piece) => {
                let shelf = Arc::clone(&self.shelf);
                let read = tokio::task::spawn_blocking(move || {
                    let mut bytes = vec![0; geometry.length(piece) as usize];
                    let part = shelf.part(geometry)?;
                    part.read_piece(piece, &mut bytes)?;
                    part.cut_out(piece);
                    Ok::<_, crate::store::StoreError>(bytes)
                });
                let read = read.await.map_err(|_| gone())?;
                self.next += 1;
                Some(read.map_err(|error| CommandError::new(Failure::LocalFile, error.to_string()))?)
            }
            None => None,
        };
        if bytes.is_none() || self.next - self.told >= CONSUMED_EVERY {
            self.told = self.next;
            if let Some(commands) = self.commands.upgrade() {
                let _ = commands.send(Command::Consumed { file: self.file, pieces: self.next }).await; // it is stopping
            }
        }
        Ok(bytes)
    }
}

impl Engine {
    /// Begins a download that is read as it comes.
    pub(super) fn stream(&mut self, wish: &Wish) -> (Follow, Stream) {
        let no = self.new_file_no();
        let (ready, watched) = watch::channel(None);
        let mut file = File::new(self.next_id, Shelf::new(no, wish), wish.mtime, wish.size);
        self.next_id += 1;
        self.next_job += 1;
        (file.phase, file.flow) = (Phase::Fetching, Some(Flow { ready }));
        file.priority = Priority::High; // somebody waits for it
        let priority = file.priority;
        file.jobs.push(self.next_job);
        let stream = Stream { file: no, shelf: Arc::clone(&file.shelf), ready: watched, commands: self.commands.clone(), next: 0, told: 0 };
        self.insert(no, file);
        let want = Want { content_id: wish.content_id, size: wish.size, hashes: None, verified: None, priority, in_order: true };
        self.scheduler.add(no, want);
        self.scheduler.set_horizon(no, HORIZON);
        for source in wish.sources.iter().filter_map(key_of) {
            self.scheduler.handle_source(no, source, now());
        }
        self.wanting.insert(no);
        let job = Job::new(vec![no], now());
        let follow = job.follow();
        self.jobs.insert(self.next_job, job);
        (follow, stream)
    }

    /// Tells the reader of a stream what has come.
    pub(super) fn flow(&mut self, no: FileNo) {
        let (Some(geometry), verified) = (self.scheduler.geometry(no), self.scheduler.verified(no)) else { return };
        let Some(file) = self.files.get_mut(&no) else { return };
        let is_complete =
            verified.is_none() && matches!(self.scheduler.progress(no), Some(progress) if progress.total == Some(progress.verified));
        file.size = Some(geometry.size());
        let Some(flow) = &file.flow else { return };
        flow.ready.send_if_modified(|ready| {
            let before = ready.map_or(0, |(_, count)| count);
            let all = geometry.piece_count() as u32;
            let has = |number: &u32| {
                let piece = geometry.piece(u64::from(*number));
                is_complete || verified.is_some_and(|set| piece.is_some_and(|piece| set.contains(piece)))
            };
            let count = (before..all).find(|number| !has(number)).unwrap_or(all);
            *ready = Some((geometry, count));
            count > before || all == 0
        });
    }

    /// The reader of a stream has taken so many pieces.
    pub(super) fn on_consumed(&mut self, no: FileNo, pieces: u32) {
        let Some(file) = self.files.get(&no) else { return };
        let all = file.size.and_then(|size| Geometry::new(size).ok()).map(Geometry::piece_count);
        if all.is_some_and(|all| u64::from(pieces) >= all) {
            let path = file.shelf.folder.clone();
            self.scheduler.remove(no);
            discard(&Arc::clone(&file.shelf));
            self.settle_done(no, path, false);
        } else {
            self.scheduler.set_horizon(no, pieces.saturating_add(HORIZON));
        }
    }

    /// Ends the streams whose readers have gone.
    pub(super) fn drop_unread(&mut self) {
        let is_unread = |file: &File| file.flow.as_ref().is_some_and(|flow| flow.ready.is_closed());
        let unread: Vec<FileNo> = self.files.iter().filter(|(_, file)| is_unread(file)).map(|(no, _)| *no).collect();
        for no in unread {
            self.scheduler.remove(no);
            if let Some(file) = self.files.get(&no) {
                discard(&file.shelf);
            }
            self.settle_failed(no, Failure::Interrupted, "nobody reads it any more");
        }
    }
}

/// Deletes the file of a stream, which is the node's own.
fn discard(shelf: &Arc<Shelf>) {
    let shelf = Arc::clone(shelf);
    debug_assert_eq!(shelf.purpose, Purpose::Stream);
    tokio::task::spawn_blocking(move || delete(&shelf));
}

/// Deletes the file, and has no piece that comes later make it anew. Blocks.
fn delete(shelf: &Shelf) {
    if let Some(part) = shelf.abandon()
        && let Err(error) = part.discard()
    {
        tracing::debug!(%error, "the file of a stream is not deleted"); // the next start does it
    }
}

#[cfg(test)]
mod tests {
    use potluck_common::content_id::ContentId;
    use potluck_common::share_path::SharePath;

    use super::*;
    use crate::types::OnConflict;

    #[test]
    fn a_piece_that_comes_after_the_reader_has_gone_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let body = b"nobody reads it";
        let wish = Wish {
            content_id: ContentId::of(body),
            size: None,
            target: SharePath::parse("stream-1").unwrap(),
            folder: folder.path().to_owned(),
            mtime: None,
            on_conflict: OnConflict::default(),
            sources: Vec::new(),
            purpose: Purpose::Stream,
        };
        let (shelf, geometry) = (Shelf::new(FileNo(1), &wish), Geometry::new(body.len() as u64).unwrap());
        let left = || std::fs::read_dir(folder.path()).unwrap().count();
        shelf.part(geometry).unwrap().write_piece(geometry.piece(0).unwrap(), body).unwrap();
        assert_eq!(left(), 1);
        delete(&shelf);
        assert!(shelf.part(geometry).is_err(), "there is nothing to write any more");
        assert_eq!(left(), 0);
    }
}
