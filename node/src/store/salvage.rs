//! [`salvage`]: takes out of a file that is there what is right of it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use potluck_common::content_id::PieceHash;
use potluck_common::geometry::Geometry;

use super::download_dir::StoreError;
use super::part_file::PartFile;
use super::share_dir::{ServeError, ShareDir, SharedFile};
use crate::core::piece_set::PieceSet;

/// Copies every piece of a file that has its hash into a temporary file, and tells which these are. A file that is not
/// there, is shorter, or cannot be read has none. Blocks; needs memory for one piece.
///
/// # Errors
/// When the temporary file cannot be written.
pub fn salvage(from: &Path, part: &PartFile, hashes: &[PieceHash], cancel: &AtomicBool) -> Result<PieceSet, StoreError> {
    let geometry = part.geometry();
    let mut right = PieceSet::empty(geometry);
    let Ok(file) = open(from) else { return Ok(right) };
    let mut buffer = vec![0; usize::try_from(geometry.size().min(u64::from(potluck_common::geometry::PIECE_BYTES))).unwrap_or(0)];
    for (piece, expected) in geometry.pieces().zip(hashes) {
        if cancel.load(Ordering::Relaxed) {
            break;
        }
        let Some(bytes) = buffer.get_mut(..geometry.length(piece) as usize) else { break };
        let is_right = file.read_unchecked(geometry.offset(piece), bytes).is_ok() && PieceHash::of(geometry, piece, bytes) == *expected;
        if is_right {
            part.write_piece(piece, bytes)?;
            right.insert(piece);
        }
    }
    Ok(right)
}

/// Opens a file by its path, as carefully as one of a share.
///
/// # Errors
/// When it is not there or no regular file.
pub(super) fn open(path: &Path) -> Result<SharedFile, ServeError> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Err(ServeError::NotFound);
    };
    ShareDir::open("downloads", folder).map_err(|_| ServeError::NotFound)?.open_file(name)
}

/// The hash of every piece of a file that has the right content as a whole; for a file of one piece that is the content id.
#[must_use]
pub fn hashes_of(
    content_id: potluck_common::content_id::ContentId,
    geometry: Geometry,
    known: Option<Vec<PieceHash>>,
) -> Option<Vec<PieceHash>> {
    if geometry.piece_count() == 1 {
        return Some(vec![PieceHash::from_bytes(*content_id.as_bytes())]);
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::test_tree::{TestTree, noise};
    use crate::store::{DownloadDir, Extent, TargetPath};
    use potluck_common::content_id::ContentId;
    use potluck_common::share_path::SharePath;

    #[test]
    fn right_pieces_are_taken_and_wrong_ones_are_left() {
        let tree = TestTree::new();
        let content = noise((3 << 20) + 5);
        let geometry = Geometry::new(content.len() as u64).unwrap();
        let bytes = |piece| {
            let start = geometry.offset(piece) as usize;
            &content[start..start + geometry.length(piece) as usize]
        };
        let hashes: Vec<PieceHash> = geometry.pieces().map(|piece| PieceHash::of(geometry, piece, bytes(piece))).collect();
        let mut damaged = content.clone();
        damaged[(1 << 20) + 7] ^= 1; // a flipped bit in the second piece
        damaged.truncate((3 << 20) + 4); // and one byte of the last is missing
        tree.write("old", &damaged);

        let target = TargetPath::new(&SharePath::parse("new").unwrap()).unwrap();
        let part = PartFile::open_or_create(
            &DownloadDir::open(&tree.path("")).unwrap(),
            &target,
            geometry,
            ContentId::of(&content),
            Extent::Whole,
        )
        .unwrap();
        let right = salvage(&tree.path("old"), &part, &hashes, &AtomicBool::new(false)).unwrap();
        assert_eq!(right.iter().map(|piece| piece.number()).collect::<Vec<_>>(), vec![0, 2]);
        let mut back = vec![0; 1 << 20];
        for piece in right.iter() {
            part.read_piece(piece, &mut back).unwrap();
            assert_eq!(back, bytes(piece));
        }
        assert!(salvage(&tree.path("missing"), &part, &hashes, &AtomicBool::new(false)).unwrap().is_empty());
    }
}
