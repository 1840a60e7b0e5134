//! How a download begins, or is taken up again.

use std::path::PathBuf;
use std::sync::Arc;

use potluck_common::content_id::PieceHash;
use potluck_common::geometry::Geometry;
use potluck_common::transport::{key_of, peer_of};
use potluck_common::wire::piece::MAX_FILES;

use super::engine::Engine;
use super::fetch::{Outcome, There};
use super::file::{File, Phase, Shelf};
use super::job::{Follow, Job};
use super::twin::mend;
use super::{Partial, Purpose, Wish, lock};
use crate::clock::{now, unix_seconds};
use crate::core::piece_set::PieceSet;
use crate::core::scheduler::{FileNo, Want};
use crate::error::Failure;
use crate::store::{DownloadDir, DownloadRecord, Phase as RecordPhase, SourceHint, State, StoreError, already_there};
use crate::types::OnConflict;

/// Files that are wanted from the same moment on: what can be asked for at once goes into few requests, instead of the first files into one each.
const CHECKED_TOGETHER: usize = 4 * MAX_FILES;

/// A download that the database remembers, with what is left of it on the disk.
pub(super) struct Restored {
    record: DownloadRecord,
    shelf: Shelf,
    geometry: Option<Geometry>,
    verified: Option<PieceSet>,
    hashes: Option<Arc<[PieceHash]>>,
}

impl Engine {
    /// Reads what the database remembers, and takes it up if the node is one that stays.
    pub(super) async fn remember(&mut self) {
        self.offer_remembered();
        let state = Arc::clone(&self.setup.state);
        let (download_dir, stream_dir) = (self.setup.download_dir.clone(), self.setup.stream_dir.clone());
        let read = tokio::task::spawn_blocking(move || {
            crate::store::clear_parts(&stream_dir);
            let records = state.downloads().unwrap_or_else(|error| {
                tracing::warn!(%error, "the downloads of the last run cannot be read");
                Vec::new()
            });
            let wanted = records.into_iter().filter(|record| matches!(record.phase, RecordPhase::Wanted | RecordPhase::Paused));
            wanted.map(|record| restore(&state, record, &download_dir)).collect::<Vec<_>>()
        });
        let restored = read.await.unwrap_or_default();
        self.next_id = restored.iter().map(|one| one.record.id + 1).max().unwrap_or(1);
        if self.setup.resume {
            let mut again: Vec<(FileNo, Wish)> = Vec::new();
            for one in restored {
                // A crash right after a download that was asked for again leaves two records of one file.
                let mut same = self.by_content.get(&one.record.content_id).into_iter().flatten();
                if same.any(|no| self.files.get(no).is_some_and(|file| file.shelf.is_same(&one.shelf))) {
                    self.forgotten.push(one.record.id);
                } else {
                    again.push(self.take_up(one));
                }
            }
            self.check(again);
        } else {
            for one in restored {
                self.remembered.entry(one.record.content_id).or_default().push(one);
            }
        }
    }

    /// Goes on with a download of an earlier run, once its target was looked at: a crash may have come between the
    /// renaming of the file and the end of the record.
    fn take_up(&mut self, restored: Restored) -> (FileNo, Wish) {
        let Restored { record, shelf, geometry, verified, hashes } = restored;
        let no = self.new_file_no();
        let shelf = shelf.numbered(no);
        let mtime = Some(record.mtime).filter(|mtime| *mtime != 0);
        let wish = Wish {
            content_id: record.content_id,
            size: record.size,
            target: record.target,
            folder: shelf.folder.clone(),
            mtime,
            on_conflict: shelf.on_conflict,
            sources: record.sources.iter().filter_map(|hint| peer_of(&hint.peer)).collect(),
            purpose: shelf.purpose,
        };
        let mut file = File::new(record.id, shelf, mtime, record.size);
        if record.phase == RecordPhase::Paused {
            file.phase = Phase::Paused;
        }
        file.priority = record.priority;
        self.insert(no, file);
        let size = geometry.map(Geometry::size).or(record.size);
        let want = Want { content_id: record.content_id, size, hashes, verified, priority: record.priority, in_order: false };
        self.scheduler.add(no, want);
        self.scheduler.pause(no);
        self.publish(no);
        for hint in record.sources {
            let Some(peer) = peer_of(&hint.peer) else { continue };
            if let Some(address) = hint.address.and_then(|address| address.parse().ok()) {
                self.setup.asking.contacts.learn(peer, &[address]);
            }
            self.scheduler.handle_source(no, hint.peer, now());
        }
        self.wanting.insert(no);
        (no, wish)
    }

    pub(super) fn new_file_no(&mut self) -> FileNo {
        self.next_file += 1;
        FileNo(self.next_file)
    }

    /// Begins what a user asked for together. A file that is under way already is not begun twice.
    pub(super) fn wish(&mut self, wishes: Vec<Wish>) -> Follow {
        self.next_job += 1;
        let number = self.next_job;
        let mut numbers = Vec::with_capacity(wishes.len());
        let (mut new, mut resumed) = (Vec::new(), Vec::new());
        for wish in wishes {
            let no = match (self.find(&wish), self.recall(&wish)) {
                (Some(no), _) => no,
                (None, Some(restored)) => {
                    let (no, _) = self.take_up(restored);
                    new.push((no, wish.clone()));
                    no
                }
                (None, None) => {
                    let no = self.begin(&wish);
                    new.push((no, wish.clone()));
                    no
                }
            };
            if let Some(file) = self.files.get_mut(&no) {
                file.jobs.push(number);
            }
            if self.resume(no).is_some() {
                resumed.push(no); // asked for anew: no longer paused
            }
            for source in wish.sources.iter().filter_map(key_of) {
                self.scheduler.handle_source(no, source, now());
            }
            self.wanting.insert(no);
            numbers.push(no);
        }
        let job = Job::new(numbers, now());
        let follow = job.follow();
        self.jobs.insert(number, job);
        self.keep_choices(&resumed);
        self.check(new);
        follow
    }

    /// The file of this wish that is under way.
    fn find(&self, wish: &Wish) -> Option<FileNo> {
        let known = self.by_content.get(&wish.content_id)?;
        let is_under_way = |file: &File| file.shelf.is_for(wish) && !matches!(file.phase, Phase::Done(_));
        known.iter().find(|no| self.files.get(no).is_some_and(is_under_way)).copied()
    }

    /// The download of this wish that an earlier run began.
    fn recall(&mut self, wish: &Wish) -> Option<Restored> {
        let same = self.remembered.get_mut(&wish.content_id)?;
        let place = same.iter().position(|restored| restored.shelf.is_for(wish))?;
        Some(same.swap_remove(place))
    }

    /// Makes a place for a file; it is not asked for before its target was looked at.
    fn begin(&mut self, wish: &Wish) -> FileNo {
        let no = self.new_file_no();
        let file = File::new(self.next_id, Shelf::new(no, wish), wish.mtime, wish.size);
        let priority = file.priority;
        self.insert(no, file);
        self.next_id += 1;
        let want = Want { content_id: wish.content_id, size: wish.size, hashes: None, verified: None, priority, in_order: false };
        self.scheduler.add(no, want);
        self.scheduler.pause(no);
        no
    }

    /// Looks on the disk whether files are there already, and remembers those that are not.
    fn check(&mut self, new: Vec<(FileNo, Wish)>) {
        if new.is_empty() {
            return;
        }
        for (no, _) in &new {
            self.files.get_mut(no).into_iter().for_each(|file| file.noted = file.choice());
        }
        let records: Vec<DownloadRecord> =
            new.iter().filter_map(|(no, wish)| self.files.get(no).map(|file| self.record(file, wish))).collect();
        let shelves: Vec<_> = new.iter().map(|(no, _)| self.files.get(no).map(|file| Arc::clone(&file.shelf))).collect();
        let (state, cancel, outcomes) = (Arc::clone(&self.setup.state), Arc::clone(&self.cancel), self.outcome_sender.clone());
        tokio::task::spawn_blocking(move || {
            let find = |(wish, shelf): (&Wish, &Option<Arc<Shelf>>)| match shelf {
                Some(shelf) if wish.purpose == Purpose::Repair => mend(&state, shelf, wish.size, &cancel),
                _ => look(wish, &cancel),
            };
            let there: Vec<_> = new.iter().map(|(_, wish)| wish).zip(&shelves).map(find).collect();
            let is_wanted = |there: &Result<There, StoreError>| matches!(there, Ok(There::Nothing | There::Pieces { .. }));
            let wanted: Vec<DownloadRecord> =
                records.into_iter().zip(&there).filter(|(_, there)| is_wanted(there)).map(|(record, _)| record).collect();
            if let Err(error) = state.put_downloads(&wanted) {
                tracing::warn!(%error, "the downloads are not remembered; after a restart they must be asked for again");
            }
            let mut checked = new.into_iter().map(|(file, _)| file).zip(there);
            loop {
                let files: Vec<_> = checked.by_ref().take(CHECKED_TOGETHER).collect();
                if files.is_empty() || outcomes.blocking_send(Outcome::Checked { files }).is_err() {
                    return;
                }
            }
        });
    }

    fn record(&self, file: &File, wish: &Wish) -> DownloadRecord {
        let hint = |peer| {
            let contact = self.setup.asking.contacts.get(peer)?;
            Some(SourceHint { peer: key_of(peer)?, address: contact.addresses.first().map(ToString::to_string) })
        };
        DownloadRecord {
            id: file.id,
            content_id: wish.content_id,
            name: wish.target.name().to_owned(),
            folder: Some(wish.folder.display().to_string()),
            target: wish.target.clone(),
            size: file.size.or(wish.size),
            phase: file.choice().phase(),
            priority: file.priority,
            created: unix_seconds(),
            mtime: wish.mtime.unwrap_or(0),
            replaces: wish.purpose == Purpose::Repair,
            sources: wish.sources.iter().filter_map(hint).collect(),
            verified: Vec::new(),
        }
    }

    pub(super) fn on_checked(&mut self, no: FileNo, there: Result<There, StoreError>) {
        if self.files.get(&no).is_some_and(|file| file.choice() != file.noted) {
            self.keep_choices(&[no]); // it is newer than the record that was put meanwhile
        }
        match there {
            Ok(There::Nothing) => match self.files.get(&no).map(|file| file.phase.clone()) {
                Some(Phase::Checking) if self.becomes_twin(no) => {}
                Some(Phase::Checking | Phase::Finishing) => self.fetch_now(no),
                _ => {}
            },
            Ok(There::Pieces { hashes, verified }) => {
                self.take_pieces(no, hashes, verified);
                if self.files.get(&no).is_some_and(|file| file.phase != Phase::Paused) {
                    self.fetch_now(no);
                }
            }
            Ok(There::Whole(path)) => {
                self.scheduler.remove(no);
                self.settle_done(no, path, true);
            }
            Err(error) => {
                self.scheduler.remove(no);
                self.settle_failed(no, Failure::LocalFile, &error.to_string());
            }
        }
    }

    /// Goes on from pieces that were found.
    fn take_pieces(&mut self, no: FileNo, hashes: Arc<[PieceHash]>, verified: PieceSet) {
        let Some(file) = self.files.get_mut(&no) else { return };
        let size = verified.geometry().size();
        file.size = Some(size);
        let (content_id, priority) = (file.shelf.content_id, file.priority);
        let sources: Vec<_> = self.scheduler.sources(no).map(|source| source.peer).collect();
        let (hashes, verified) = (Some(hashes), Some(verified));
        self.scheduler.add(no, Want { content_id, size: Some(size), hashes, verified, priority, in_order: false });
        sources.into_iter().for_each(|peer| self.scheduler.handle_source(no, peer, now()));
        self.scheduler.pause(no); // until somebody says that it is wanted now
        if lock(&self.board.partial).contains_key(&content_id) {
            self.publish(no); // others should have these pieces as well
        }
    }

    /// Lets others fetch what is there of a file.
    pub(super) fn publish(&self, no: FileNo) {
        let Some(file) = self.files.get(&no) else { return };
        let (Some(part), Some(verified)) = (file.shelf.open_part(), self.scheduler.verified(no)) else { return };
        lock(&self.board.partial).insert(file.shelf.content_id, Partial { part, verified: verified.clone() });
        self.offer_partial(no);
    }
}

/// Where a file lies already, if it does. Blocks; reads the file if its size is right.
///
/// # Errors
/// When the folder cannot be used, or another file has the name and that is an error.
fn look(wish: &Wish, cancel: &std::sync::atomic::AtomicBool) -> Result<There, StoreError> {
    let dir = DownloadDir::open(&wish.folder)?;
    let target = Shelf::new(FileNo(0), wish).target_path()?;
    let path = dir.path_of(&target);
    if wish.size.is_some_and(|size| already_there(&dir, &target, wish.content_id, size, cancel)) {
        return Ok(There::Whole(path));
    }
    if wish.on_conflict == OnConflict::Error && dir.is_taken(&target) {
        return Err(StoreError::Exists { path });
    }
    Ok(There::Nothing)
}

/// What is left of a download of an earlier run. Blocks.
fn restore(state: &State, record: DownloadRecord, download_dir: &std::path::Path) -> Restored {
    let folder = record.folder.as_ref().map_or_else(|| download_dir.to_owned(), PathBuf::from);
    let wish = Wish {
        content_id: record.content_id,
        size: record.size,
        target: record.target.clone(),
        folder,
        mtime: None,
        on_conflict: OnConflict::Number,
        sources: Vec::new(),
        purpose: if record.replaces { Purpose::Repair } else { Purpose::Keep },
    };
    let shelf = Shelf::new(FileNo(0), &wish);
    let geometry = record.size.and_then(|size| Geometry::new(size).ok());
    let hashes = geometry.and_then(|geometry| state.pieces(record.content_id, geometry).ok().flatten()).map(Arc::from);
    let verified = geometry.filter(|_| hashes.is_some() && record.verified.iter().any(|byte| *byte != 0)).and_then(|geometry| {
        // A temporary file that is gone has to be fetched anew; one that cannot be opened now may be there later.
        let part = shelf.part(geometry).ok()?;
        if part.is_new() {
            // It was opened, so it was made. When the file lies in its place, nobody would ever take it away again.
            shelf.close();
            let _ = part.discard(); // what stays is taken up if the file is fetched
            return None;
        }
        Some(PieceSet::from_bytes(geometry, &record.verified))
    });
    Restored { record, shelf, geometry, verified, hashes }
}
