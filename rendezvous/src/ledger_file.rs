//! The ledger on the disk: one file in the tracker's data folder, written anew with every change and moved into place, so
//! that a crash leaves the old one or the new one. A tracker that has one is private, also when it is not told so.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::TrackerError;
use crate::members::Ledger;

const FILE: &str = "members.json";
/// Longest file that is read: many times what a full ledger takes.
const MAX_FILE_BYTES: u64 = 32 << 20;

/// Where a ledger is kept.
#[derive(Clone, Debug)]
pub(crate) struct LedgerFile {
    dir: PathBuf,
}

impl LedgerFile {
    /// The ledger of a data folder.
    pub(crate) fn in_folder(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// Reads it; `None` when there is none.
    ///
    /// # Errors
    /// When the disk fails, or the file is damaged: it is never replaced by an empty one.
    pub(crate) fn read(&self) -> Result<Option<Ledger>, TrackerError> {
        let path = self.dir.join(FILE);
        let failed = |source| TrackerError::Ledger { path: path.clone(), source };
        let mut text = String::new();
        match File::open(&path) {
            Ok(file) => file.take(MAX_FILE_BYTES).read_to_string(&mut text).map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        serde_json::from_str(&text).map(Some).map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidData, error)))
    }

    /// Writes it, 0600; it is on the disk when this returns.
    ///
    /// # Errors
    /// When the disk fails. What was there before is still there.
    pub(crate) fn write(&self, ledger: &Ledger) -> io::Result<()> {
        let (path, new) = (self.dir.join(FILE), self.dir.join("members.new"));
        let text = serde_json::to_vec_pretty(ledger)?;
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&text)?;
        file.sync_all()?;
        std::fs::rename(&new, &path)?;
        File::open(&self.dir)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_ledger_comes_back_as_it_was_and_nobody_else_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = LedgerFile::in_folder(dir.path());
        assert!(file.read().unwrap().is_none());
        let ledger = Ledger::reachable_at(vec!["/ip4/203.0.113.5/tcp/9470".to_owned()]);
        file.write(&ledger).unwrap();
        assert_eq!(file.read().unwrap(), Some(ledger));
        let mode = dir.path().join(FILE).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_ledger_is_an_error_and_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), "{\"inv").unwrap();
        assert!(matches!(LedgerFile::in_folder(dir.path()).read(), Err(TrackerError::Ledger { .. })));
        assert_eq!(std::fs::read(dir.path().join(FILE)).unwrap(), b"{\"inv");
    }
}
