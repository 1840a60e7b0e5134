//! The configuration file of a data folder, as text: what it means is read by `cli`.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Its name in the data folder.
const FILE: &str = "config.toml";
/// Where a new version is written before it takes the place of the old one.
const NEW_FILE: &str = "config.toml.new";
/// Longest file in bytes: a thousand shares with long names.
const MAX_BYTES: u64 = 256 << 10;

/// Where the file of a data folder is, or would be.
#[must_use]
pub fn config_path(data_dir: &Path) -> PathBuf {
    data_dir.join(FILE)
}

/// What stands in it; `None` when there is none. Blocks.
///
/// # Errors
/// When it cannot be read, is no text, or is too long.
pub fn read_config(data_dir: &Path) -> io::Result<Option<String>> {
    let file = match File::open(config_path(data_dir)) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    let read = file.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if read as u64 > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {MAX_BYTES} bytes")));
    }
    Ok(Some(text))
}

/// Puts a new version in its place: whoever reads meanwhile finds the old one or the new one, whole. Blocks.
///
/// # Errors
/// When the disk or the permissions do not allow it; then the old version stays.
pub fn write_config(data_dir: &Path, text: &str) -> io::Result<()> {
    let new = data_dir.join(NEW_FILE);
    // it may name trackers and folders, which are nobody else's business
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, config_path(data_dir))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::test_tree::TestTree;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_written_is_read_and_only_the_user_can_read_it() {
        let tree = TestTree::new();
        assert_eq!(read_config(tree.root()).unwrap(), None);
        assert_eq!(read_config(&tree.path("missing")).unwrap(), None);
        for text in ["nickname = \"ada\"\n", ""] {
            write_config(tree.root(), text).unwrap();
            assert_eq!(read_config(tree.root()).unwrap().as_deref(), Some(text));
        }
        assert_eq!(config_path(tree.root()).metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!tree.path(NEW_FILE).exists());
    }

    #[test]
    fn what_is_no_text_or_too_long_is_an_error() {
        let tree = TestTree::new();
        tree.write(FILE, b"\xff\xfe");
        assert!(read_config(tree.root()).is_err());
        std::fs::remove_file(tree.path(FILE)).unwrap();
        tree.write(FILE, &vec![b'#'; MAX_BYTES as usize + 1]);
        assert_eq!(read_config(tree.root()).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
