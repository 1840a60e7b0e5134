//! The token of the page: a file that only the user can read.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::access::hex;

/// Its name in the data folder.
const FILE: &str = "page-token";
/// Hex digits in it.
const DIGITS: usize = 64;

/// The token cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Others can read it.
    #[error("others can read {}; run `chmod 600 {}`, or delete it to have a new one made", path.display(), path.display())]
    TooWide {
        /// The file.
        path: PathBuf,
    },
    /// It does not hold a token.
    #[error("{} holds no token; delete it, and a new one is made", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The disk, or the permissions.
    #[error("{} cannot be read or written: {source}; check the disk and the permissions", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The token of the page; made of `random` bytes when there is none. Blocks.
///
/// # Errors
/// When others can read it, or it cannot be read or made.
pub fn page_token(data_dir: &Path, random: [u8; DIGITS / 2]) -> Result<String, TokenError> {
    let path = data_dir.join(FILE);
    let failed = |source| TokenError::Io { path: path.clone(), source };
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    match made {
        Ok(mut file) => {
            let token = hex(&random);
            file.write_all(token.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
            Ok(token)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => read(&path),
        Err(error) => Err(failed(error)),
    }
}

fn read(path: &Path) -> Result<String, TokenError> {
    let failed = |source| TokenError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    if about.permissions().mode() & 0o077 != 0 || about.uid() != rustix::process::geteuid().as_raw() {
        return Err(TokenError::TooWide { path: path.to_owned() });
    }
    let mut text = String::new();
    file.take(DIGITS as u64 + 2).read_to_string(&mut text).map_err(failed)?;
    let token = text.trim_end();
    if token.len() == DIGITS && token.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(token.to_owned())
    } else {
        Err(TokenError::Damaged { path: path.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_made_once_and_only_for_the_user() {
        let dir = tempfile::tempdir().unwrap();
        let token = page_token(dir.path(), [0xab; 32]).unwrap();
        assert_eq!(token, "ab".repeat(32));
        assert_eq!(page_token(dir.path(), [1; 32]).unwrap(), token, "the one that is there stays");
        let path = dir.path().join(FILE);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(page_token(dir.path(), [1; 32]), Err(TokenError::TooWide { .. })));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "short", &"z".repeat(64), &"a".repeat(65)] {
            let path = dir.path().join(FILE);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            assert!(matches!(page_token(dir.path(), [1; 32]), Err(TokenError::Damaged { .. })), "{text}");
            std::fs::remove_file(path).unwrap();
        }
    }
}
