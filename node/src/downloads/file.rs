//! One file that is being fetched: where it goes, and how far it is.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use potluck_common::content_id::ContentId;
use potluck_common::geometry::Geometry;
use potluck_common::peer::PeerKey;
use potluck_common::share_path::SharePath;

use super::stream::Flow;
use super::{Purpose, Wish, lock};
use crate::core::scheduler::{FileNo, Priority};
use crate::store::{Choice, DownloadDir, Extent, Finished, PartFile, StoreError, TargetPath};
use crate::types::OnConflict;

/// The time over which a rate is told: some pieces of a slow transfer.
const RATE_SPAN: Duration = Duration::from_secs(4);

/// A file under way.
pub(super) struct File {
    /// The number of its record in the database.
    pub(super) id: u64,
    /// Where its bytes are written; shared with the requests that write them.
    pub(super) shelf: Arc<Shelf>,
    /// Seconds since 1970; `None`: the time at which it is finished.
    pub(super) mtime: Option<i64>,
    /// Its size in bytes, as far as anybody said.
    pub(super) size: Option<u64>,
    /// The jobs that want it, by number.
    pub(super) jobs: Vec<u64>,
    pub(super) phase: Phase,
    /// What it comes before and after; the scheduler has the same while it knows the file.
    pub(super) priority: Priority,
    /// What its record says of the user's choice that is put while the disk is looked at.
    pub(super) noted: Choice,
    /// Bytes of verified pieces that came in this run, by who sent them.
    pub(super) came_from: HashMap<PeerKey, u64>,
    /// Verified bytes over the last seconds, the latest last: what a rate is told from.
    pub(super) recent: VecDeque<(Instant, u64)>,
    /// Bytes that are written and not safe from a power cut, and since when.
    pub(super) unsaved: u64,
    pub(super) unsaved_since: Option<Instant>,
    /// Whether a checkpoint is being written.
    pub(super) is_saving: bool,
    /// Of a stream: how its reader is told what has come.
    pub(super) flow: Option<Flow>,
    /// Where the damaged file is that this one took the place of.
    pub(super) kept: Option<PathBuf>,
}

/// How far a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It is looked whether the file is there already.
    Checking,
    /// Another download of the same content is under way: it is copied from there.
    Twin,
    /// Pieces are wanted.
    Fetching,
    /// All pieces are there; the file is put in its place.
    Finishing,
    /// In its place.
    Done(PathBuf),
    /// The user wants it later.
    Paused,
    /// The disk does not take it; tried again then.
    Waiting { until: Instant, error: String },
}

/// Where the bytes of one file are written. The temporary file is made when the first piece has come, so that a file
/// nobody has leaves nothing behind.
pub(super) struct Shelf {
    pub(super) file: FileNo,
    pub(super) folder: PathBuf,
    pub(super) target: SharePath,
    pub(super) content_id: ContentId,
    pub(super) on_conflict: OnConflict,
    pub(super) purpose: Purpose,
    part: Mutex<Part>,
    /// Of a file of one piece: where it was put. Two sources may bring it at the same time.
    whole: Mutex<Option<Finished>>,
}

/// The temporary file.
enum Part {
    /// Not open; it may be on the disk.
    Closed,
    Open(Arc<PartFile>),
    /// The download was given up, or is in its place: what still arrives is not written.
    Abandoned,
}

impl File {
    pub(super) fn new(id: u64, shelf: Shelf, mtime: Option<i64>, size: Option<u64>) -> Self {
        Self {
            id,
            shelf: Arc::new(shelf),
            mtime,
            size,
            jobs: Vec::new(),
            phase: Phase::Checking,
            priority: Priority::Normal,
            noted: Choice { is_paused: false, priority: Priority::Normal },
            came_from: HashMap::new(),
            recent: VecDeque::new(),
            unsaved: 0,
            unsaved_since: None,
            is_saving: false,
            flow: None,
            kept: None,
        }
    }

    /// What the user chose for it.
    pub(super) fn choice(&self) -> Choice {
        Choice { is_paused: self.phase == Phase::Paused, priority: self.priority }
    }

    /// Takes how many bytes are verified now. A file that rests is forgotten after a while.
    pub(super) fn measure(&mut self, verified: u64, now: Instant) {
        if self.recent.back().is_none_or(|(_, bytes)| *bytes != verified) {
            self.recent.push_back((now, verified));
        }
        while self.recent.len() > 1 && self.recent.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > RATE_SPAN) {
            self.recent.pop_front();
        }
    }

    /// Bytes per second over the last seconds; 0 when nothing has come for a while.
    pub(super) fn rate(&self, now: Instant) -> u64 {
        let (Some((start, before)), Some((last, after))) = (self.recent.front(), self.recent.back()) else { return 0 };
        let seconds = now.saturating_duration_since(*start).as_secs_f64();
        let is_fresh = now.saturating_duration_since(*last) <= RATE_SPAN;
        if is_fresh && seconds > 0.0 { (after.saturating_sub(*before) as f64 / seconds) as u64 } else { 0 }
    }

    /// Whether nothing of it is wanted any more.
    pub(super) fn is_settled(&self) -> bool {
        matches!(self.phase, Phase::Finishing | Phase::Done(_))
    }
}

impl Shelf {
    pub(super) fn new(file: FileNo, wish: &Wish) -> Self {
        let Wish { folder, target, content_id, on_conflict, purpose, .. } = wish.clone();
        Self { file, folder, target, content_id, on_conflict, purpose, part: Mutex::new(Part::Closed), whole: Mutex::default() }
    }

    /// Whether this is the place that a wish names.
    pub(super) fn is_for(&self, wish: &Wish) -> bool {
        (self.content_id, &self.target, &self.folder, self.purpose) == (wish.content_id, &wish.target, &wish.folder, wish.purpose)
    }

    /// Whether this is the same file in the same place.
    pub(super) fn is_same(&self, other: &Shelf) -> bool {
        (self.content_id, &self.target, &self.folder, self.purpose) == (other.content_id, &other.target, &other.folder, other.purpose)
    }

    /// The same place under the number that the scheduler knows the file by.
    pub(super) fn numbered(self, file: FileNo) -> Self {
        Self { file, ..self }
    }

    /// The temporary file, made or opened if it is not open. Blocks.
    ///
    /// # Errors
    /// What the disk does.
    pub(super) fn part(&self, geometry: Geometry) -> Result<Arc<PartFile>, StoreError> {
        let mut part = lock(&self.part);
        match &*part {
            Part::Open(open) => return Ok(Arc::clone(open)),
            Part::Abandoned => return Err(StoreError::Moved { path: self.folder.join(self.target.as_str()) }),
            Part::Closed => {}
        }
        let dir = DownloadDir::open(&self.folder)?;
        let extent = if self.purpose == Purpose::Stream { Extent::Passing } else { Extent::Whole };
        let opened = Arc::new(PartFile::open_or_create(&dir, &self.target_path()?, geometry, self.content_id, extent)?);
        *part = Part::Open(Arc::clone(&opened));
        Ok(opened)
    }

    /// The temporary file, if it is open.
    pub(super) fn open_part(&self) -> Option<Arc<PartFile>> {
        match &*lock(&self.part) {
            Part::Open(open) => Some(Arc::clone(open)),
            Part::Closed | Part::Abandoned => None,
        }
    }

    /// Puts the complete temporary file where it belongs. Blocks.
    ///
    /// # Errors
    /// What the disk does.
    pub(super) fn finish(&self, part: &PartFile, mtime: i64) -> Result<Finished, StoreError> {
        let finished = match self.purpose {
            Purpose::Keep => part.finish(mtime, self.on_conflict.into())?,
            Purpose::Repair => part.finish_in_place(mtime)?,
            Purpose::Stream => return Ok(Finished { path: part.path(), kept: None }), // whoever reads it is not done
        };
        let _ = self.abandon(); // a piece that was asked for twice and comes now would begin another temporary file
        Ok(finished)
    }

    /// Writes a file of one piece and puts it where it belongs, for the first who brings it; tells the others where that is. Blocks.
    ///
    /// # Errors
    /// What the disk does.
    pub(super) fn finish_whole(&self, geometry: Geometry, body: &[u8], mtime: i64) -> Result<Finished, StoreError> {
        let mut whole = lock(&self.whole);
        if let Some(finished) = &*whole {
            return Ok(finished.clone());
        }
        let part = self.part(geometry)?;
        for piece in geometry.pieces() {
            part.write_piece(piece, body)?;
        }
        let finished = self.finish(&part, mtime)?;
        *whole = Some(finished.clone());
        Ok(finished)
    }

    /// Lets go of the temporary file.
    pub(super) fn close(&self) {
        *lock(&self.part) = Part::Closed;
    }

    /// Lets go of the temporary file for good, and tells it if it was open.
    pub(super) fn abandon(&self) -> Option<Arc<PartFile>> {
        match std::mem::replace(&mut *lock(&self.part), Part::Abandoned) {
            Part::Open(open) => Some(open),
            Part::Closed | Part::Abandoned => None,
        }
    }

    /// The place of the file below its folder.
    ///
    /// # Errors
    /// None that a share path can cause.
    pub(super) fn target_path(&self) -> Result<TargetPath, StoreError> {
        TargetPath::new(&self.target).map_err(|_| StoreError::InTheWay { path: self.folder.clone() })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::thread;

    use super::*;

    fn wish(body: &[u8], target: &str, folder: &Path) -> Wish {
        Wish {
            content_id: ContentId::of(body),
            size: None,
            target: SharePath::parse(target).unwrap(),
            folder: folder.to_owned(),
            mtime: None,
            on_conflict: OnConflict::default(),
            sources: Vec::new(),
            purpose: Purpose::Keep,
        }
    }

    #[test]
    fn a_piece_that_comes_after_the_end_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let body = b"all of it";
        let wish = wish(body, "file.bin", folder.path());
        let (shelf, geometry) = (Shelf::new(FileNo(1), &wish), Geometry::new(body.len() as u64).unwrap());
        let part = shelf.part(geometry).unwrap();
        part.write_piece(geometry.piece(0).unwrap(), body).unwrap();
        shelf.finish(&part, 0).unwrap();
        assert!(shelf.part(geometry).is_err(), "there is nothing to write any more");
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["file.bin"]);
    }

    #[test]
    fn a_small_file_that_two_sources_bring_at_once_is_put_in_its_place_once() {
        let folder = tempfile::tempdir().unwrap();
        let body = b"brought twice";
        let wish = wish(body, "a/small.txt", folder.path());
        let (shelf, geometry) = (Shelf::new(FileNo(1), &wish), Geometry::new(body.len() as u64).unwrap());
        let places = thread::scope(|scope| {
            let bring = || scope.spawn(|| shelf.finish_whole(geometry, body, 0).unwrap().path);
            [bring(), bring()].map(|brought| brought.join().unwrap())
        });
        assert_eq!(places[0], places[1]);
        let left: Vec<_> = std::fs::read_dir(folder.path().join("a")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["small.txt"]);
    }
}
