//! The verb `verify`: are downloads what they were, and if not, the wrong pieces come anew.
//!
//! A file is never repaired where it lies: the right pieces are copied beside it, the others fetched and verified, and only
//! a whole file takes its place. What was there is kept as `NAME (damaged).EXT`, because it may be what the user made of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use potluck_common::content_id::ContentId;
use potluck_common::share_path::SharePath;

use super::verb::Resolved;
use super::{Purpose, Wish};
use crate::commands::Lines;
use crate::error::{CommandError, Failure};
use crate::node::Node;
use crate::refs::Ref;
use crate::store::{FinishedRecord, ServeError, ShareDir, State, hash_file};
use crate::types::{Item, OnConflict, TransferLine, VerifyLine};

/// How a finished download is found.
enum Found {
    Intact,
    Missing,
    Damaged,
    Unreadable(String),
}

impl Node {
    /// Checks finished downloads, and repairs those that are damaged.
    pub(crate) async fn verify(&self, what: Option<String>, repair: bool, out: &Lines) -> Result<(), CommandError> {
        let records = self.records(what.as_deref()).await?;
        let (mut damaged, mut first_error, mut good) = (0_usize, None, 0_usize);
        for record in records {
            let (state, cancel) = (Arc::clone(self.state()), Arc::new(AtomicBool::new(false)));
            let _stops_when_dropped = StopFlag(Arc::clone(&cancel));
            let checked = record.clone();
            let found = tokio::task::spawn_blocking(move || check(&state, &checked, &cancel)).await;
            let found = found.unwrap_or_else(|error| Found::Unreadable(error.to_string()));
            let about = || (record.path.display().to_string(), record.content_id.to_string(), record.size);
            let line = match found {
                Found::Intact => {
                    let (path, content_id, bytes) = about();
                    VerifyLine::Intact { path, content_id, bytes }
                }
                Found::Missing => {
                    let (path, content_id, bytes) = about();
                    VerifyLine::Missing { path, content_id, bytes }
                }
                Found::Unreadable(error) => self.failed(&record, error),
                Found::Damaged if !repair => {
                    let (path, content_id, bytes) = about();
                    VerifyLine::Damaged { path, content_id, bytes, error: None }
                }
                Found::Damaged => self.repair(&record, out).await,
            };
            match &line {
                VerifyLine::Intact { .. } | VerifyLine::Repaired { .. } => good += 1,
                VerifyLine::Missing { .. } => {}
                VerifyLine::Damaged { path, error, .. } => {
                    damaged += 1;
                    let why = error.clone().unwrap_or_else(|| "`potluck verify` without --check repairs it".to_owned());
                    first_error.get_or_insert(format!("{path} is damaged: {why}"));
                }
            }
            out.send(Item::Verified(line)).await;
        }
        match first_error {
            None => Ok(()),
            Some(error) if good == 0 => Err(CommandError::new(Failure::Verification, error)),
            Some(error) if repair => Err(CommandError::new(Failure::Partly, format!("{good} are right, {damaged} are not: {error}"))),
            Some(error) => Err(CommandError::new(Failure::Verification, error)),
        }
    }

    /// The finished downloads that are meant.
    async fn records(&self, what: Option<&str>) -> Result<Vec<FinishedRecord>, CommandError> {
        self.downloads().settle().await;
        let state = Arc::clone(self.state());
        let read = tokio::task::spawn_blocking(move || state.finished()).await;
        let all = read.map_err(|error| error.to_string()).and_then(|read| read.map_err(|error| error.to_string()));
        let mut records = all.map_err(|error| CommandError::new(Failure::LocalFile, error))?;
        let Some(what) = what else { return Ok(records) };
        let wanted: Option<ContentId> = match what.parse() {
            Ok(Ref::Content { content_id, .. }) => Some(content_id),
            Ok(Ref::Place { .. }) | Err(_) => None,
        };
        records.retain(|record| wanted.map_or_else(|| record.path.starts_with(Path::new(what)), |id| record.content_id == id));
        if records.is_empty() {
            let message = format!("{what} is no download that this node has finished; without an argument all of them are checked");
            return Err(CommandError::new(Failure::NotFound, message));
        }
        Ok(records)
    }

    fn failed(&self, record: &FinishedRecord, error: String) -> VerifyLine {
        VerifyLine::Damaged {
            path: record.path.display().to_string(),
            content_id: record.content_id.to_string(),
            bytes: record.size,
            error: Some(error),
        }
    }

    /// Fetches what is wrong of a file, and puts it in its place.
    async fn repair(&self, record: &FinishedRecord, out: &Lines) -> VerifyLine {
        let Some((folder, target)) = place_of(&record.path) else {
            return self.failed(record, "its name cannot be that of a download; fetch it again".to_owned());
        };
        if let Err(error) = self.someone_to_ask().await {
            return self.failed(record, error.message);
        }
        let found = self.asking().sources(&[record.content_id]).await.remove(&record.content_id).unwrap_or_default();
        let wish = Wish {
            content_id: record.content_id,
            size: Some(record.size),
            target: target.clone(),
            folder,
            mtime: record.stamp.map(|stamp| stamp.mtime_ns / 1_000_000_000),
            on_conflict: OnConflict::Error,
            sources: found.peers,
            purpose: Purpose::Repair,
        };
        let resolved = Resolved { name: target.name().to_owned(), content_id: Some(record.content_id), wishes: vec![wish] };
        match self.follow_quietly(resolved, out).await {
            Ok(TransferLine::Done { path, content_id, bytes, fetched, kept, .. }) => {
                VerifyLine::Repaired { path, content_id, bytes, fetched, kept }
            }
            Ok(TransferLine::Failed { error, .. }) => self.failed(record, error),
            Ok(TransferLine::Progress { .. }) => self.failed(record, "it was not repaired; try again".to_owned()),
            Err(error) => self.failed(record, error.message),
        }
    }
}

/// Stops the hashing of a verb that nobody follows any more.
struct StopFlag(Arc<AtomicBool>);

impl Drop for StopFlag {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Where a file is, as a download would be told; `None` when a download there would have another name.
fn place_of(path: &Path) -> Option<(PathBuf, SharePath)> {
    let target = SharePath::parse(path.file_name()?.to_str()?).ok()?;
    let kept = crate::store::LocalName::new(target.name()).ok()?;
    (kept.as_str() == target.as_str()).then_some((path.parent()?.to_owned(), target))
}

/// Reads a file and compares it with what it was. Blocks.
fn check(state: &State, record: &FinishedRecord, cancel: &AtomicBool) -> Found {
    let (Some(folder), Some(name)) = (record.path.parent(), record.path.file_name().and_then(|name| name.to_str())) else {
        return Found::Missing;
    };
    let opened = ShareDir::open("downloads", folder).map_err(|_| ServeError::NotFound).and_then(|dir| dir.open_file(name));
    let hashed = match opened {
        Ok(file) => hash_file(&file, cancel, &mut |_| {}),
        Err(ServeError::NotFound) => return Found::Missing,
        Err(error) => Err(error),
    };
    match hashed {
        Ok(hashed) if hashed.content_id == record.content_id => {
            // touched and right: from now on it is known by its new looks
            let looks = FinishedRecord { stamp: Some(hashed.stamp), ..record.clone() };
            if looks != *record
                && let Err(error) = state.put_finished(&[looks])
            {
                tracing::warn!(%error, "a finished download is not remembered as it is now");
            }
            Found::Intact
        }
        Ok(_) => Found::Damaged,
        Err(error) => Found::Unreadable(error.to_string()),
    }
}
