//! Folders with content from a seed, and hashes that our own code did not make.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

use crate::failure::{Failure, Result};

/// Bytes that are made at once.
const BLOCK: usize = 1 << 20;

/// The content that belongs to a seed.
#[must_use]
pub fn content(seed: u64, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

/// Writes a file of `size` bytes of the content that belongs to `seed`, with the folders above it, and returns its
/// BLAKE3 hash.
///
/// # Errors
/// When the disk fails.
pub fn file(path: &Path, seed: u64, size: u64) -> Result<String> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = BufWriter::with_capacity(BLOCK, File::create(path)?);
    let (mut random, mut hasher) = (StdRng::seed_from_u64(seed), blake3::Hasher::new());
    let (mut block, mut left) = (vec![0; BLOCK], size);
    while left > 0 {
        let part = &mut block[..left.min(BLOCK as u64) as usize];
        random.fill_bytes(part);
        hasher.update(part);
        file.write_all(part)?;
        left -= part.len() as u64;
    }
    file.flush()?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// Fills `dir` with `count` files of `sizes` bytes, in folders three deep, and returns the bytes in all.
///
/// # Errors
/// When the disk fails.
pub fn folder(dir: &Path, seed: u64, count: u32, sizes: std::ops::RangeInclusive<u64>) -> Result<u64> {
    let mut random = StdRng::seed_from_u64(seed);
    let (least, span) = (*sizes.start(), sizes.end() - sizes.start() + 1);
    let mut total = 0;
    for number in 0..count {
        let size = least + random.next_u64() % span;
        let path = dir.join(format!("part {}/{}/file {number}.bin", number % 7, number % 31));
        file(&path, seed.wrapping_mul(1_000_003) + u64::from(number), size)?;
        total += size;
    }
    Ok(total)
}

/// The BLAKE3 hash of a file by the reference implementation's plain interface, as `b3sum` uses it.
///
/// # Errors
/// When the file cannot be read.
pub fn b3sum(path: &Path) -> Result<String> {
    let read = || -> std::io::Result<_> { Ok(blake3::Hasher::new().update_reader(File::open(path)?)?.finalize().to_hex().to_string()) };
    read().map_err(|error| Failure::new(format!("cannot hash {}: {error}", path.display())))
}

/// The SHA-256 hash of a file by the program `sha256sum`; `None` on a machine without it.
///
/// # Errors
/// When the program fails.
pub fn sha256sum(path: &Path) -> Result<Option<String>> {
    match Command::new("sha256sum").arg("--").arg(path).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
        Ok(output) if output.status.success() => {
            let line = String::from_utf8_lossy(&output.stdout).into_owned();
            Ok(line.split_whitespace().next().map(|hash| hash.trim_start_matches('\\').to_owned()))
        }
        Ok(output) => Err(Failure::new(String::from_utf8_lossy(&output.stderr).into_owned())),
    }
}

/// Whether two files have the same bytes, by two hash functions where both are there.
///
/// # Errors
/// When they cannot be read, or differ.
pub fn same_bytes(one: &Path, other: &Path) -> Result {
    if b3sum(one)? != b3sum(other)? || sha256sum(one)? != sha256sum(other)? {
        return Err(Failure::new(format!("{} and {} differ", one.display(), other.display())));
    }
    Ok(())
}

/// What is known of a file: enough to say whether it was touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Bytes.
    pub size: u64,
    /// Seconds since 1970-01-01 UTC.
    pub mtime: i64,
    /// Its BLAKE3 hash; of what is no regular file, what it is instead.
    pub content: String,
}

/// Everything below a folder but the folders, by relative path. Symbolic links are not followed.
///
/// # Errors
/// When something cannot be read.
pub fn look(dir: &Path) -> Result<BTreeMap<PathBuf, Seen>> {
    let mut all = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let about = fs::symlink_metadata(&path)?;
            if about.is_dir() {
                folders.push(path);
                continue;
            }
            let content = if about.is_file() { b3sum(&path)? } else { format!("{:?}", about.file_type()) };
            all.insert(path.strip_prefix(dir)?.to_owned(), Seen { size: about.len(), mtime: about.mtime(), content });
        }
    }
    Ok(all)
}

/// How many files and bytes lie below a folder; what cannot be read is left out.
#[must_use]
pub fn measure(dir: &Path) -> (u64, u64) {
    let (mut files, mut bytes) = (0, 0);
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(about) if about.is_dir() => folders.push(entry.path()),
                Ok(about) if about.is_file() => {
                    files += 1;
                    bytes += about.len();
                }
                _ => {}
            }
        }
    }
    (files, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_content_of_its_seed_and_the_hash_of_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let hash = file(&path, 7, (1 << 20) + 3).unwrap();
        assert_eq!(fs::read(&path).unwrap(), content(7, (1 << 20) + 3));
        assert_eq!(b3sum(&path).unwrap(), hash);
        assert_ne!(content(7, 100), content(8, 100));
        same_bytes(&path, &path).unwrap();
    }

    #[test]
    fn a_look_tells_when_a_file_was_touched() {
        let dir = tempfile::tempdir().unwrap();
        folder(dir.path(), 1, 40, 0..=2000).unwrap();
        let before = look(dir.path()).unwrap();
        assert_eq!(before.len(), 40);
        assert_eq!(measure(dir.path()).0, 40);
        assert_eq!(look(dir.path()).unwrap(), before);
        fs::write(dir.path().join(before.keys().next().unwrap()), "other").unwrap();
        assert_ne!(look(dir.path()).unwrap(), before);
    }
}
