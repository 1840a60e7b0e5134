//! One download from near: which pieces are there, and where its bytes can be read.

use std::path::PathBuf;

use potluck_common::content_id::ContentId;
use potluck_common::geometry::{Geometry, PIECE_BYTES, PieceIndex};

use super::engine::Engine;
use super::file::Phase;
use crate::core::scheduler::FileNo;
use crate::types::{DownloadLine, PieceMap};

/// Most cells of a piece map: more than a person tells apart in a line on a screen.
const MAX_CELLS: u64 = 400;

/// One download from near.
pub(crate) struct Look {
    pub(crate) line: DownloadLine,
    /// `None` while it is not known how the file is cut.
    pub(crate) pieces: Option<PieceMap>,
    pub(crate) content: Content,
}

/// Where the bytes of a download can be read.
pub(crate) enum Content {
    /// Nowhere yet.
    Nothing,
    /// Piece by piece, as they are verified.
    Growing { content_id: ContentId, geometry: Geometry },
    /// At its place.
    Whole(PathBuf),
}

impl Engine {
    pub(super) fn look_into(&self, id: u64) -> Option<Look> {
        if let Some((no, file)) = self.files.iter().find(|(_, file)| file.id == id) {
            let geometry = self.scheduler.geometry(*no);
            let content = match (&file.phase, geometry) {
                (Phase::Done(path), _) => Content::Whole(path.clone()),
                (_, Some(geometry)) => Content::Growing { content_id: file.shelf.content_id, geometry },
                (_, None) => Content::Nothing,
            };
            return Some(Look { line: self.line(*no, file), pieces: geometry.map(|geometry| self.piece_map(*no, geometry)), content });
        }
        if let Some(line) = self.done.iter().find(|line| line.id == id) {
            let pieces = Geometry::new(line.bytes).ok().map(|geometry| map(geometry, |_| true, &[]));
            return Some(Look { line: line.clone(), pieces, content: Content::Whole(PathBuf::from(&line.path)) });
        }
        let failed = self.failed.iter().find(|failed| failed.line.id == id)?;
        Some(Look { line: failed.line.clone(), pieces: None, content: Content::Nothing })
    }

    fn piece_map(&self, no: FileNo, geometry: Geometry) -> PieceMap {
        let in_flight: Vec<PieceIndex> = self.scheduler.in_flight_pieces(no).collect();
        match self.scheduler.verified(no) {
            Some(verified) => map(geometry, |piece| verified.contains(piece), &in_flight),
            None => {
                let is_there = self.scheduler.progress(no).is_some_and(|progress| progress.verified > 0);
                map(geometry, |_| is_there, &in_flight)
            }
        }
    }

    pub(super) fn read_from(&mut self, id: u64, piece: PieceIndex) {
        let Some((no, _)) = self.files.iter().find(|(_, file)| file.id == id) else { return };
        self.scheduler.read_from(*no, piece);
    }
}

/// Joins pieces to cells: what part of each is there, and where something is on its way.
fn map(geometry: Geometry, is_verified: impl Fn(PieceIndex) -> bool, in_flight: &[PieceIndex]) -> PieceMap {
    let pieces = geometry.piece_count();
    let cells = pieces.min(MAX_CELLS);
    let start = |cell: u64| cell * pieces / cells.max(1);
    let percent = |cell: u64| {
        let range = start(cell)..start(cell + 1);
        let there = range.clone().filter_map(|number| geometry.piece(number)).filter(|piece| is_verified(*piece)).count() as u64;
        let all = range.end - range.start;
        // All is all: 99.6 % is not told as whole.
        (there * 100).checked_div(all).unwrap_or(0) as u8
    };
    let flying = |cell: u64| in_flight.iter().any(|piece| (start(cell)..start(cell + 1)).contains(&u64::from(piece.number())));
    PieceMap {
        piece_bytes: u64::from(PIECE_BYTES),
        pieces,
        verified: (0..cells).map(percent).collect(),
        in_flight: (0..cells).filter(|cell| flying(*cell)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_of_few_pieces_has_a_cell_for_each_and_one_of_many_joins_them() {
        let small = Geometry::new(3 * u64::from(PIECE_BYTES)).unwrap();
        let second = small.piece(1).unwrap();
        let told = map(small, |piece| piece.number() == 0, &[second]);
        assert_eq!((told.pieces, told.verified, told.in_flight), (3, vec![100, 0, 0], vec![1]));
        let large = Geometry::new(4000 * u64::from(PIECE_BYTES)).unwrap();
        let told = map(large, |piece| piece.number() < 15, &[large.piece(3999).unwrap()]);
        assert_eq!((told.verified.len(), &told.verified[..3], told.in_flight), (400, &[100, 50, 0][..], vec![399]));
    }
}
