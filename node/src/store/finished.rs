//! [`FinishedRecord`]: a download that is in its place: what `verify` checks, and what is offered to others.

use std::path::{Path, PathBuf};

use potluck_common::content_id::ContentId;
use redb::{ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};
use serde::{Deserialize, Serialize};

use super::database::StateError;
use super::state::State;
use crate::core::stamp::Stamp;

/// By path.
pub(super) const FINISHED: TableDefinition<&str, &[u8]> = TableDefinition::new("finished");

/// Most finished downloads that are remembered: 40 MB of database. What comes beyond is neither offered nor checked.
const MAX_FINISHED: u64 = 200_000;

/// A file that was downloaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinishedRecord {
    /// Where it is, as long as the user leaves it there.
    pub path: PathBuf,
    /// What it held when it was finished.
    pub content_id: ContentId,
    /// Its bytes.
    pub size: u64,
    /// What the file looked like then; `None` when it could not be looked at.
    pub stamp: Option<Stamp>,
}

impl FinishedRecord {
    /// Whether the file is still there and looks as it did. Blocks.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        self.stamp.is_some() && self.look() == self.stamp
    }

    /// What the file looks like now; `None` when no regular file is there. Blocks.
    #[must_use]
    pub fn look(&self) -> Option<Stamp> {
        look_at(&self.path)
    }
}

/// What the file at a path looks like now; `None` when no regular file is there. Blocks.
#[must_use]
pub fn look_at(path: &Path) -> Option<Stamp> {
    Some(super::salvage::open(path).ok()?.stamp())
}

impl State {
    /// Remembers finished downloads, in place of those that had the same paths, as long as there is room.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn put_finished(&self, files: &[FinishedRecord]) -> Result<(), StateError> {
        if files.is_empty() {
            return Ok(());
        }
        let encoded: Vec<(String, Vec<u8>)> =
            files.iter().map(|file| Ok((key(&file.path), self.encode(file)?))).collect::<Result<_, StateError>>()?;
        self.write(|transaction| {
            let mut table = transaction.open_table(FINISHED)?;
            for (path, bytes) in &encoded {
                if table.len()? < MAX_FINISHED || table.get(path.as_str())?.is_some() {
                    table.insert(path.as_str(), bytes.as_slice())?;
                }
            }
            Ok(())
        })
    }

    /// The finished downloads, by path.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn finished(&self) -> Result<Vec<FinishedRecord>, StateError> {
        let values = self.run(|| {
            let table = self.database().begin_read()?.open_table(FINISHED)?;
            table.iter()?.map(|entry| Ok(entry?.1.value().to_vec())).collect::<Result<Vec<_>, redb::Error>>()
        })?;
        values.iter().map(|bytes| self.decode(bytes)).collect()
    }

    /// Forgets finished downloads.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn remove_finished(&self, paths: &[PathBuf]) -> Result<(), StateError> {
        if paths.is_empty() {
            return Ok(());
        }
        self.write(|transaction| {
            let mut table = transaction.open_table(FINISHED)?;
            paths.iter().try_for_each(|path| table.remove(key(path).as_str()).map(drop))?;
            Ok(())
        })
    }
}

/// A path as the database orders it. One that is no UTF-8 shares its place with those that look like it.
fn key(path: &std::path::Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_is_finished_is_remembered_by_its_path_until_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a file");
        fs::write(&path, "content").unwrap();
        let mut record = FinishedRecord { path: path.clone(), content_id: ContentId::of(b"content"), size: 7, stamp: None };
        assert!(!record.is_untouched());
        record.stamp = record.look();
        assert!(record.is_untouched());

        let state = State::open(&dir.path().join("data")).unwrap();
        state.put_finished(&[record.clone(), record.clone()]).unwrap();
        assert_eq!(state.finished().unwrap(), vec![record.clone()]);
        fs::write(&path, "something longer").unwrap();
        assert!(!record.is_untouched());
        state.remove_finished(&[path]).unwrap();
        assert_eq!(state.finished().unwrap(), Vec::new());
    }
}
