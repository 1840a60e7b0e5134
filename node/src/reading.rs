//! Reading a download while it comes: what the page plays and saves.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use potluck_common::content_id::ContentId;
use potluck_common::geometry::{Geometry, PIECE_BYTES};
use tokio::time::sleep;

use crate::clock::now;
use crate::downloads::{Content, Downloads};
use crate::error::{CommandError, Failure};
use crate::node::Node;
use crate::store::{SharedFile, open_whole};

/// Most bytes of one read of a whole file: few trips to the disk, little memory.
const MOST: u64 = 256 << 10;
/// How often it is looked whether a piece has come.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How long a reader waits for a download that has just begun: until somebody has told how large the file is.
const BEGINNING: Duration = Duration::from_secs(10);
/// How long a reader waits for a piece; a player asks again.
const PATIENCE: Duration = Duration::from_secs(60);

/// A download that is read from front to back, or from anywhere. Dropping it changes nothing.
pub(crate) struct Reading {
    downloads: Downloads,
    id: u64,
    /// The name that the file has, or will have.
    pub(crate) name: String,
    pub(crate) content_id: String,
    /// Bytes in the file.
    pub(crate) size: u64,
    place: Place,
}

/// Where bytes are read now.
enum Place {
    Growing { content_id: ContentId, geometry: Geometry },
    Whole(Arc<SharedFile>),
}

impl Node {
    /// Opens a download to be read. Waits for one that is just beginning: who asked for a film wants to see it at once.
    ///
    /// # Errors
    /// When there is none of that number, nobody has told how large it is yet, or its file is gone.
    pub(crate) async fn read_download(&self, id: u64) -> Result<Reading, CommandError> {
        let missing = || CommandError::new(Failure::NotFound, format!("there is no download {id}; `potluck downloads` lists them"));
        let deadline = now() + BEGINNING;
        loop {
            let look = self.downloads().look(id).await.ok_or_else(missing)?;
            let (size, place) = match look.content {
                Content::Whole(path) => open(path).await?,
                Content::Growing { content_id, geometry } => (geometry.size(), Place::Growing { content_id, geometry }),
                Content::Nothing if !matches!(look.line.state.as_str(), "paused" | "failed") && now() < deadline => {
                    sleep(LOOK_INTERVAL).await;
                    continue;
                }
                Content::Nothing => {
                    let message = format!("nothing of {} has come yet; try again in a moment", look.line.name);
                    return Err(CommandError::new(Failure::NoSource, message));
                }
            };
            let (name, content_id) = (look.line.name, look.line.content_id);
            return Ok(Reading { downloads: self.downloads().clone(), id, name, content_id, size, place });
        }
    }
}

impl Reading {
    /// Some bytes from `offset` on, `most` at most; none at the end of the file. Waits for the piece that holds them.
    ///
    /// # Errors
    /// When the piece does not come, or the file is not what it was.
    pub(crate) async fn read(&mut self, offset: u64, most: u64) -> Result<Vec<u8>, CommandError> {
        let length = self.size.saturating_sub(offset).min(most);
        if length == 0 {
            return Ok(Vec::new());
        }
        let deadline = now() + PATIENCE;
        let mut is_first = true;
        loop {
            match &self.place {
                Place::Whole(file) => return read_whole(Arc::clone(file), offset, length.min(MOST)).await,
                Place::Growing { content_id, geometry } => {
                    let (content_id, geometry) = (*content_id, *geometry);
                    if let Some(bytes) = self.read_piece(content_id, geometry, offset, length, std::mem::take(&mut is_first)).await? {
                        return Ok(bytes);
                    }
                }
            }
            if now() >= deadline {
                let message = format!("the bytes of {} at {offset} did not come; play it again when there are sources", self.name);
                return Err(CommandError::new(Failure::NoSource, message));
            }
            sleep(LOOK_INTERVAL).await;
        }
    }

    /// The bytes from `offset` on that are in the same piece; `None` while it is not there.
    async fn read_piece(
        &mut self,
        content_id: ContentId,
        geometry: Geometry,
        offset: u64,
        length: u64,
        hurry: bool,
    ) -> Result<Option<Vec<u8>>, CommandError> {
        let Some(piece) = geometry.piece(offset / u64::from(PIECE_BYTES)) else { return Ok(Some(Vec::new())) };
        let partial = self.downloads.partial(&content_id);
        if let Some(partial) = partial.filter(|partial| partial.verified.contains(piece)) {
            let start = (offset - geometry.offset(piece)) as usize;
            let read = tokio::task::spawn_blocking(move || {
                let mut bytes = vec![0; geometry.length(piece) as usize];
                partial.part.read_piece(piece, &mut bytes).map(|()| bytes)
            });
            let mut bytes = read.await.map_err(broken)?.map_err(|error| CommandError::new(Failure::LocalFile, error.to_string()))?;
            bytes.drain(..start.min(bytes.len()));
            bytes.truncate(length as usize);
            return Ok(Some(bytes));
        }
        match self.downloads.look(self.id).await.map(|look| look.content) {
            Some(Content::Whole(path)) => self.place = open(path).await?.1,
            Some(_) if hurry => self.downloads.read_from(self.id, piece).await,
            Some(_) => {}
            None => return Err(CommandError::new(Failure::NotFound, format!("{} was cancelled", self.name))),
        }
        Ok(None)
    }
}

async fn open(path: PathBuf) -> Result<(u64, Place), CommandError> {
    let gone = format!("{} is not there any more; download it again", path.display());
    let file = tokio::task::spawn_blocking(move || open_whole(&path)).await.map_err(broken)?;
    let file = file.map_err(|error| CommandError::new(Failure::LocalFile, format!("{gone} ({error})")))?;
    Ok((file.stamp().size, Place::Whole(Arc::new(file))))
}

async fn read_whole(file: Arc<SharedFile>, offset: u64, length: u64) -> Result<Vec<u8>, CommandError> {
    let read = tokio::task::spawn_blocking(move || {
        let mut bytes = vec![0; length as usize];
        file.read_at(offset, &mut bytes).map(|()| bytes)
    });
    read.await.map_err(broken)?.map_err(|error| CommandError::new(Failure::LocalFile, error.to_string()))
}

/// A bug of ours: what ran on the blocking pool panicked.
fn broken(error: tokio::task::JoinError) -> CommandError {
    CommandError::new(Failure::Other, format!("reading failed: {error}"))
}
