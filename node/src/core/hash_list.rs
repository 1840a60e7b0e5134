//! [`Listing`]: fetching the piece hashes of a file, page by page.

use std::sync::Arc;

use potluck_common::content_id::{ContentId, PieceHash};
use potluck_common::geometry::Geometry;
use potluck_common::wire::piece::MAX_HASHES;

use super::peer_book::PeerNo;
use super::piece_set::PieceSet;
use super::scheduler::{AskId, Verdict};

/// Most peers that are asked for the piece hashes of a file at a time: a second one when the first lets us wait.
pub(super) const MAX_LISTS: usize = 2;

/// Fetching the piece hashes.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Bytes, as somebody said.
    pub(super) size: Option<u64>,
    /// Pieces that are on the disk already.
    pub(super) verified: Option<PieceSet>,
    /// Each list comes from one peer, so that it is known who lied.
    lists: Vec<List>,
}

/// A list of piece hashes as one peer tells it.
#[derive(Debug)]
struct List {
    peer: PeerNo,
    ask: Option<AskId>,
    geometry: Option<Geometry>,
    hashes: Vec<PieceHash>,
}

/// What came of a page.
pub(super) enum Taken {
    /// Any verdict but that the list is proven.
    Verdict(Verdict),
    /// The list is complete, and combines to the content id.
    Proven { geometry: Geometry, hashes: Arc<[PieceHash]> },
}

impl Listing {
    pub(super) fn new(size: Option<u64>, verified: Option<PieceSet>) -> Self {
        Self { size, verified, lists: Vec::new() }
    }

    /// The asks that are out for pages.
    pub(super) fn asks(&self) -> impl Iterator<Item = AskId> + '_ {
        self.lists.iter().filter_map(|list| list.ask)
    }

    /// A page will not come: the list of which it was one begins anew, with whom is open.
    pub(super) fn give_back(&mut self, ask: AskId) {
        self.lists.retain(|list| list.ask != Some(ask));
    }

    /// Begins anew. Returns the asks that were out for pages.
    pub(super) fn recall_all(&mut self) -> Vec<AskId> {
        std::mem::take(&mut self.lists).into_iter().filter_map(|list| list.ask).collect()
    }

    /// Takes a page that `ask` was out for.
    pub(super) fn take(&mut self, ask: AskId, content_id: ContentId, size: u64, page: &[PieceHash]) -> Taken {
        let Some(at) = self.lists.iter().position(|list| list.ask == Some(ask)) else { return Taken::Verdict(Verdict::Late) };
        let mut list = self.lists.swap_remove(at);
        let Some(geometry) = list.take(size, page) else { return Taken::Verdict(Verdict::Lie) };
        if (list.hashes.len() as u64) < geometry.piece_count() {
            self.lists.push(list);
            return Taken::Verdict(Verdict::More);
        }
        if ContentId::combine(geometry, &list.hashes) != Some(content_id) {
            return Taken::Verdict(Verdict::Lie);
        }
        Taken::Proven { geometry, hashes: list.hashes.into() }
    }

    /// The first piece of the page that `peer` should be asked for, when not more than `most` peers are asked with it.
    pub(super) fn next_page(&mut self, peer: PeerNo, ask: AskId, most: usize) -> Option<u32> {
        if let Some(list) = self.lists.iter_mut().find(|list| list.peer == peer) {
            if list.ask.is_some() {
                return None;
            }
            list.ask = Some(ask);
            return u32::try_from(list.hashes.len()).ok();
        }
        if self.lists.len() >= most {
            return None;
        }
        self.lists.push(List { peer, ask: Some(ask), geometry: None, hashes: Vec::new() });
        Some(0)
    }
}

impl List {
    /// Takes a page; `None` when it makes no sense.
    fn take(&mut self, size: u64, page: &[PieceHash]) -> Option<Geometry> {
        self.ask = None;
        let geometry = Geometry::new(size).ok()?;
        let is_steady = self.geometry.is_none_or(|before| before == geometry);
        let after = self.hashes.len() as u64 + page.len() as u64;
        if !is_steady || page.is_empty() || page.len() > MAX_HASHES as usize || after > geometry.piece_count() {
            return None;
        }
        self.geometry = Some(geometry);
        self.hashes.extend_from_slice(page);
        Some(geometry)
    }
}
