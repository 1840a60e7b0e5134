//! One file that is being fetched: where it goes, and how far it is.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use potluck_common::content_id::ContentId;
use potluck_common::geometry::Geometry;
use potluck_common::peer::PeerKey;
use potluck_common::share_path::SharePath;

use super::{Wish, lock};
use crate::core::scheduler::FileNo;
use crate::store::{DownloadDir, PartFile, StoreError, TargetPath};
use crate::types::OnConflict;

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
    /// Bytes of verified pieces that came in this run, by who sent them.
    pub(super) came_from: HashMap<PeerKey, u64>,
    /// Bytes that are written and not safe from a power cut, and since when.
    pub(super) unsaved: u64,
    pub(super) unsaved_since: Option<Instant>,
    /// Whether a checkpoint is being written.
    pub(super) is_saving: bool,
}

/// How far a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It is looked whether the file is there already.
    Checking,
    /// Pieces are wanted.
    Fetching,
    /// All pieces are there; the file is put in its place.
    Finishing,
    /// In its place.
    Done(PathBuf),
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
    part: Mutex<Option<Arc<PartFile>>>,
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
            came_from: HashMap::new(),
            unsaved: 0,
            unsaved_since: None,
            is_saving: false,
        }
    }

    /// Whether nothing of it is wanted any more.
    pub(super) fn is_settled(&self) -> bool {
        matches!(self.phase, Phase::Finishing | Phase::Done(_))
    }
}

impl Shelf {
    pub(super) fn new(file: FileNo, folder: PathBuf, target: SharePath, content_id: ContentId, on_conflict: OnConflict) -> Self {
        Self { file, folder, target, content_id, on_conflict, part: Mutex::new(None) }
    }

    /// Whether this is the place that a wish names.
    pub(super) fn is_for(&self, wish: &Wish) -> bool {
        self.content_id == wish.content_id && self.target == wish.target && self.folder == wish.folder
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
        if let Some(open) = part.as_ref() {
            return Ok(Arc::clone(open));
        }
        let dir = DownloadDir::open(&self.folder)?;
        let opened = Arc::new(PartFile::open_or_create(&dir, &self.target_path()?, geometry, self.content_id)?);
        *part = Some(Arc::clone(&opened));
        Ok(opened)
    }

    /// The temporary file, if it is open.
    pub(super) fn open_part(&self) -> Option<Arc<PartFile>> {
        lock(&self.part).clone()
    }

    /// Lets go of the temporary file.
    pub(super) fn close(&self) {
        *lock(&self.part) = None;
    }

    /// The place of the file below its folder.
    ///
    /// # Errors
    /// None that a share path can cause.
    pub(super) fn target_path(&self) -> Result<TargetPath, StoreError> {
        TargetPath::new(&self.target).map_err(|_| StoreError::InTheWay { path: self.folder.clone() })
    }
}
