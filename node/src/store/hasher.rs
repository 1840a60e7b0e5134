//! [`hash_file`]: the content id and the piece hashes of a file, on all cores, in bounded memory.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use potluck_common::content_id::{ContentId, PieceHash, PieceHasher};
use potluck_common::geometry::{Geometry, PieceIndex};

use super::share_dir::{ServeError, SharedFile};
use crate::core::stamp::Stamp;

/// Bytes read at once (256 KiB): stays in a core's own cache from the read to the hash.
const BLOCK_BYTES: usize = 256 << 10;

/// Most threads for one file. Eight cores hash more than 20 GB/s: no disk delivers that.
const MAX_THREADS: usize = 8;

/// Pieces that are worth a further thread (4 MiB: about a millisecond of hashing).
const PIECES_PER_THREAD: u64 = 4;

/// What a file's bytes are known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hashed {
    /// Its name in the swarm.
    pub content_id: ContentId,
    /// The hash of each piece, in order; at least one.
    pub pieces: Vec<PieceHash>,
    /// What the file looked like from the first byte to the last.
    pub stamp: Stamp,
}

/// Work that the threads of one file share.
struct Job<'a> {
    file: &'a SharedFile,
    geometry: Geometry,
    next: AtomicU64,
    done_bytes: AtomicU64,
    stop: AtomicBool,
    cancel: &'a AtomicBool,
}

/// Hashes the file as it was when it was opened: a file that grows meanwhile is refused, not followed.
///
/// Tells `on_bytes` from time to time how many more bytes are done; sets nothing aside but 256 KiB a thread and 32 bytes
/// a piece. `cancel` set to `true` stops it within a piece.
///
/// # Errors
/// [`ServeError::Changed`] when the file changed while it was read, [`ServeError::Cancelled`] when `cancel` was set, and
/// what else keeps the file from being read.
pub fn hash_file(file: &SharedFile, cancel: &AtomicBool, on_bytes: &mut dyn FnMut(u64)) -> Result<Hashed, ServeError> {
    let stamp = file.stamp();
    let geometry = Geometry::new(stamp.size).map_err(|_| ServeError::TooLarge)?;
    let job = Job { file, geometry, next: AtomicU64::new(0), done_bytes: AtomicU64::new(0), stop: AtomicBool::new(false), cancel };
    let helpers = helper_threads(geometry);
    if helpers > 0 {
        file.will_be_read_in_order();
    }
    let mut told = 0;
    let mut tell = || {
        let done = job.done_bytes.load(Ordering::Relaxed);
        on_bytes(done - told);
        told = done;
    };
    let runs = thread::scope(|scope| {
        let handles: Vec<_> = (0..helpers).map_while(|_| thread::Builder::new().spawn_scoped(scope, || job.run(&mut || {})).ok()).collect();
        let mut runs = vec![job.run(&mut tell)];
        runs.extend(handles.into_iter().map(|handle| handle.join().unwrap_or(Err(ServeError::Cancelled))));
        runs
    });
    tell();
    let pieces = in_order(geometry, runs)?;
    file.check()?;
    let content_id = ContentId::combine(geometry, &pieces).ok_or(ServeError::Cancelled)?;
    Ok(Hashed { content_id, pieces, stamp })
}

/// How many threads beside the caller's own are worth starting.
fn helper_threads(geometry: Geometry) -> usize {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get).min(MAX_THREADS);
    let useful = usize::try_from(geometry.piece_count() / PIECES_PER_THREAD).unwrap_or(usize::MAX);
    cores.min(useful).saturating_sub(1)
}

/// Puts together what the threads found; the first error of any if there is one.
fn in_order(geometry: Geometry, runs: Vec<Result<Vec<(PieceIndex, PieceHash)>, ServeError>>) -> Result<Vec<PieceHash>, ServeError> {
    let mut all = Vec::with_capacity(usize::try_from(geometry.piece_count()).unwrap_or(0));
    for run in runs {
        all.append(&mut run?);
    }
    all.sort_unstable_by_key(|(piece, _)| *piece);
    Ok(all.into_iter().map(|(_, hash)| hash).collect())
}

impl Job<'_> {
    /// Hashes one piece after the other until none is left; the threads together read the file from front to back.
    fn run(&self, after_piece: &mut dyn FnMut()) -> Result<Vec<(PieceIndex, PieceHash)>, ServeError> {
        let mut block = vec![0; BLOCK_BYTES.min(usize::try_from(self.geometry.size()).unwrap_or(BLOCK_BYTES))];
        let mut hashes = Vec::new();
        while let Some(piece) = self.geometry.piece(self.next.fetch_add(1, Ordering::Relaxed)) {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let hash = self.hash_piece(piece, &mut block).inspect_err(|_| self.stop.store(true, Ordering::Relaxed))?;
            hashes.push((piece, hash));
            after_piece();
        }
        Ok(hashes)
    }

    fn hash_piece(&self, piece: PieceIndex, block: &mut [u8]) -> Result<PieceHash, ServeError> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(ServeError::Cancelled);
        }
        let mut hasher = PieceHasher::new(self.geometry, piece);
        let mut at = self.geometry.offset(piece);
        let mut left = self.geometry.length(piece) as usize;
        while left > 0 {
            let length = left.min(block.len());
            let (bytes, _) = block.split_at_mut(length);
            self.file.read_unchecked(at, bytes)?;
            hasher.update(bytes);
            at += length as u64;
            left -= length;
        }
        self.file.check()?; // stop early when the work is in vain
        self.done_bytes.fetch_add(u64::from(self.geometry.length(piece)), Ordering::Relaxed);
        Ok(hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ShareDir;
    use crate::store::test_tree::{TestTree, noise};
    use potluck_common::geometry::PIECE_BYTES;
    use std::fs::File;
    use std::io::Write;

    const PIECE: usize = PIECE_BYTES as usize;

    fn hash(share: &ShareDir, name: &str) -> Result<Hashed, ServeError> {
        hash_file(&share.open_file(name)?, &AtomicBool::new(false), &mut |_| {})
    }

    /// G031.
    #[test]
    fn files_of_every_edge_size_get_the_hashes_of_their_bytes() {
        let tree = TestTree::new();
        let share = ShareDir::open("share", tree.root()).unwrap();
        for size in [0, 1, 1023, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 9 * PIECE + 7, 17 * PIECE] {
            let bytes = noise(size);
            tree.write("file", &bytes);
            let mut told = 0;
            let file = share.open_file("file").unwrap();
            let hashed = hash_file(&file, &AtomicBool::new(false), &mut |more| told += more).unwrap();
            assert_eq!(hashed.content_id, ContentId::of(&bytes), "size {size}");
            assert_eq!((hashed.stamp, told), (file.stamp(), size as u64));
            let geometry = Geometry::new(size as u64).unwrap();
            let pieces = geometry.pieces().map(|piece| {
                let start = geometry.offset(piece) as usize;
                PieceHash::of(geometry, piece, &bytes[start..start + geometry.length(piece) as usize])
            });
            assert!(pieces.eq(hashed.pieces), "size {size}");
        }
    }

    #[test]
    fn a_sparse_file_is_hashed_as_the_zeros_it_reads_as() {
        let tree = TestTree::new();
        let size = 20 * PIECE + 3;
        File::create(tree.path("sparse")).unwrap().set_len(size as u64).unwrap();
        let share = ShareDir::open("share", tree.root()).unwrap();
        assert_eq!(hash(&share, "sparse").unwrap().content_id, ContentId::of(&vec![0; size]));
    }

    #[test]
    fn a_file_beyond_the_largest_is_refused_before_it_is_read() {
        let tree = TestTree::new();
        if File::create(tree.path("vast")).unwrap().set_len(8 << 40).is_err() {
            println!("skipped: this file system has no file of 8 TiB");
            return;
        }
        let share = ShareDir::open("share", tree.root()).unwrap();
        assert!(matches!(hash(&share, "vast"), Err(ServeError::TooLarge)));
    }

    /// G030, G031: a hundred files that change at another moment of the hashing each.
    #[test]
    fn a_file_that_changes_while_it_is_hashed_is_refused() {
        let tree = TestTree::new();
        let share = ShareDir::open("share", tree.root()).unwrap();
        let path = tree.write("file", &noise(12 * PIECE));
        for round in 0..100u64 {
            let file = share.open_file("file").unwrap();
            let mut writer = File::options().append(true).open(&path).unwrap();
            let mut changed = false;
            let result = hash_file(&file, &AtomicBool::new(false), &mut |_| {
                if !changed {
                    match round % 3 {
                        0 => writer.write_all(b"more").unwrap(),
                        1 => writer.set_len(12 * u64::from(PIECE_BYTES) - round).unwrap(),
                        _ => filetime_now(&writer),
                    }
                    changed = true;
                }
            });
            assert!(matches!(result, Err(ServeError::Changed)), "round {round}: {result:?}");
        }
    }

    /// A change that keeps size and content, as a rewrite in place does.
    fn filetime_now(file: &File) {
        let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
        rustix::fs::futimens(file, &rustix::fs::Timestamps { last_access: now, last_modification: now }).unwrap();
    }

    #[test]
    fn a_truncated_file_is_refused() {
        let tree = TestTree::new();
        let path = tree.write("file", &noise(5 * PIECE));
        let share = ShareDir::open("share", tree.root()).unwrap();
        let file = share.open_file("file").unwrap();
        File::options().write(true).open(path).unwrap().set_len(10).unwrap();
        assert!(matches!(hash_file(&file, &AtomicBool::new(false), &mut |_| {}), Err(ServeError::Changed)));
    }

    #[test]
    fn hashing_stops_when_it_is_told_to() {
        let tree = TestTree::new();
        tree.write("file", &noise(40 * PIECE));
        let share = ShareDir::open("share", tree.root()).unwrap();
        let cancel = AtomicBool::new(false);
        let mut told = 0;
        let result = hash_file(&share.open_file("file").unwrap(), &cancel, &mut |more| {
            told += more;
            cancel.store(true, Ordering::Relaxed);
        });
        assert!(matches!(result, Err(ServeError::Cancelled)));
        assert!(told < 40 * u64::from(PIECE_BYTES));
    }
}
