//! The identity key of a program on its disk: an Ed25519 key whose public half is the PeerId.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use libp2p::identity::Keypair;

/// Bytes of a protobuf-encoded Ed25519 key pair are 68; a longer file is something else.
const MAX_KEY_BYTES: u64 = 1024;

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file is readable by others: the key may be known.
    #[error("{path} can be read by others (mode {mode:o}); run `chmod 600 {path}` if nobody copied it, or move it away for a new identity")]
    TooWide {
        /// Where.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds no key.
    #[error("{0} holds no key; restore it from a backup, or move it away for a new identity")]
    Broken(PathBuf),
    /// The file could not be read or made.
    #[error("cannot read or make {path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Reads the key at `path`, or makes one there with mode 0600 if there is none.
///
/// # Errors
/// When the file is readable by others, holds no key, or the disk fails. An existing file is never changed.
pub fn load_or_create(path: &Path) -> Result<Keypair, IdentityError> {
    let io = |source| IdentityError::Io { path: path.to_owned(), source };
    match File::open(path) {
        Ok(file) => load(path, file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(path).map_err(io),
        Err(error) => Err(io(error)),
    }
}

fn load(path: &Path, file: File) -> Result<Keypair, IdentityError> {
    let io = |source| IdentityError::Io { path: path.to_owned(), source };
    let mode = file.metadata().map_err(io)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(IdentityError::TooWide { path: path.to_owned(), mode });
    }
    let mut bytes = Vec::new();
    file.take(MAX_KEY_BYTES).read_to_end(&mut bytes).map_err(io)?;
    Keypair::from_protobuf_encoding(&bytes).map_err(|_| IdentityError::Broken(path.to_owned()))
}

/// Writes a new key beside its place and moves it there, so that a crash leaves either no key or a whole one.
fn create(path: &Path) -> io::Result<Keypair> {
    let key = Keypair::generate_ed25519();
    let bytes = key.to_protobuf_encoding().map_err(io::Error::other)?;
    let new = path.with_extension("new");
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    std::fs::hard_link(&new, path)?; // fails if a key has come there meanwhile
    std::fs::remove_file(&new)?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// G070.
    #[test]
    fn a_key_is_made_once_private_and_refused_when_others_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity");
        let first = load_or_create(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(load_or_create(&path).unwrap().public(), first.public());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(load_or_create(&path), Err(IdentityError::TooWide { .. })));
    }

    #[test]
    fn a_broken_key_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity");
        std::fs::write(&path, b"nonsense").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(load_or_create(&path), Err(IdentityError::Broken(_))));
        assert_eq!(std::fs::read(&path).unwrap(), b"nonsense");
    }
}
