//! [`Pieces`]: the state of each piece of one file of several pieces.
//!
//! A piece is in exactly one state: missing, in flight (with the asks for it, at most two), verified. The methods here
//! are the only way from one to another.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use potluck_common::content_id::PieceHash;
use potluck_common::geometry::{Geometry, PieceIndex};

use super::lots::Lots;
use super::piece_set::PieceSet;
use super::scheduler::AskId;

/// Missing pieces that are compared when the rarest is looked for, in order from where the last one was found.
const NEIGHBOURS: usize = 16;
/// Places elsewhere in the file that are looked at as well: rare pieces lie in runs.
const PLACES: usize = 4;

/// Missing pieces of our lots that are looked at to find one that nobody else has.
const LOOKED_AT: usize = 256;

/// What is known of one piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PieceState {
    /// Nobody was asked for it.
    Missing,
    /// Who was asked for it: one source, near the end perhaps two.
    InFlight(Vec<AskId>),
    /// Its hash was right.
    Verified,
}

/// The pieces of one file.
#[derive(Debug)]
pub(super) struct Pieces {
    hashes: Arc<[PieceHash]>,
    missing: PieceSet,
    in_flight: BTreeMap<PieceIndex, Vec<AskId>>,
    verified: PieceSet,
    /// No piece below this number is missing: where to begin to look.
    first_missing: u32,
    /// How many partial sources have each piece; `None` while there is no partial source.
    rarity: Option<Box<[u8]>>,
}

/// What a source has of a file.
#[derive(Clone, Debug)]
pub(super) enum Has {
    /// Every piece.
    All,
    /// Some pieces.
    Some(Box<PieceSet>),
    /// Some pieces, nobody said which.
    Unknown,
}

impl Has {
    pub(super) fn contains(&self, piece: PieceIndex) -> bool {
        match self {
            Has::All => true,
            Has::Some(set) => set.contains(piece),
            Has::Unknown => false,
        }
    }

    /// How many pieces are known to be there, of a source that has not all.
    pub(super) fn count(&self) -> u64 {
        match self {
            Has::Some(set) => u64::from(set.count()),
            Has::All | Has::Unknown => 0,
        }
    }
}

impl Pieces {
    pub(super) fn new(hashes: Arc<[PieceHash]>, verified: PieceSet) -> Self {
        Self { hashes, missing: verified.complement(), in_flight: BTreeMap::new(), verified, first_missing: 0, rarity: None }
    }

    pub(super) fn geometry(&self) -> Geometry {
        self.verified.geometry()
    }

    pub(super) fn hashes(&self) -> &Arc<[PieceHash]> {
        &self.hashes
    }

    pub(super) fn verified(&self) -> &PieceSet {
        &self.verified
    }

    pub(super) fn missing(&self) -> &PieceSet {
        &self.missing
    }

    pub(super) fn in_flight(&self) -> impl Iterator<Item = PieceIndex> + '_ {
        self.in_flight.keys().copied()
    }

    pub(super) fn any_in_flight(&self) -> bool {
        !self.in_flight.is_empty()
    }

    pub(super) fn state(&self, piece: PieceIndex) -> PieceState {
        match self.in_flight.get(&piece) {
            Some(asks) => PieceState::InFlight(asks.clone()),
            None if self.verified.contains(piece) => PieceState::Verified,
            None => PieceState::Missing,
        }
    }

    /// The asks that a piece is in flight with.
    pub(super) fn asks(&self, piece: PieceIndex) -> &[AskId] {
        self.in_flight.get(&piece).map(Vec::as_slice).unwrap_or_default()
    }

    /// In flight → missing, all of them. Returns the asks that were out for them.
    pub(super) fn recall_all(&mut self) -> Vec<AskId> {
        let in_flight = std::mem::take(&mut self.in_flight);
        for piece in in_flight.keys() {
            self.missing.insert(*piece);
            self.first_missing = self.first_missing.min(piece.number());
        }
        in_flight.into_values().flatten().collect()
    }

    /// The number of the first missing piece.
    pub(super) fn first_missing(&mut self) -> Option<u32> {
        self.first_missing = self.missing.next_from(self.first_missing)?.number();
        Some(self.first_missing)
    }

    /// Missing or in flight → in flight.
    pub(super) fn start(&mut self, piece: PieceIndex, ask: AskId) {
        if self.verified.contains(piece) {
            return;
        }
        self.missing.remove(piece);
        self.in_flight.entry(piece).or_default().push(ask);
    }

    /// In flight → missing, unless another ask is out for it. Returns whether it is missing now.
    pub(super) fn give_back(&mut self, piece: PieceIndex, ask: AskId) -> bool {
        let Some(asks) = self.in_flight.get_mut(&piece) else { return false };
        asks.retain(|other| *other != ask);
        if !asks.is_empty() {
            return false;
        }
        self.in_flight.remove(&piece);
        self.missing.insert(piece);
        self.first_missing = self.first_missing.min(piece.number());
        true
    }

    /// Any state → verified. Returns the asks that were out for it, if it was not verified before.
    pub(super) fn verify(&mut self, piece: PieceIndex) -> Option<Vec<AskId>> {
        if !self.verified.insert(piece) {
            return None;
        }
        self.missing.remove(piece);
        Some(self.in_flight.remove(&piece).unwrap_or_default())
    }

    /// Counts what a partial source has, `up` when it has come, down when it has gone.
    pub(super) fn count_partial(&mut self, has: &Has, up: bool) {
        let Has::Some(set) = has else { return };
        let pieces = self.geometry().piece_count() as usize;
        let rarity = self.rarity.get_or_insert_with(|| vec![0; pieces].into());
        for piece in set.iter() {
            if let Some(count) = rarity.get_mut(piece.number() as usize) {
                *count = if up { count.saturating_add(1) } else { count.saturating_sub(1) };
            }
        }
    }

    /// The missing piece to ask a source for: the first, or from `cursor` on round the end of the file.
    pub(super) fn pick_in_order(&mut self, has: &Has, cursor: u32) -> Option<PieceIndex> {
        let first = self.first_missing()?;
        self.next_missing(has, cursor.max(first)).or_else(|| self.next_missing(has, first))
    }

    /// The rarest among some missing pieces that the source has: those from `cursor` on, and some at places that
    /// `random` gives. Looking at all would cost a scan of the file for each ask.
    pub(super) fn pick_rarest(&mut self, has: &Has, cursor: u32, mut random: impl FnMut(u32) -> u32) -> Option<PieceIndex> {
        let first = self.pick_in_order(has, cursor)?;
        let pieces = self.geometry().piece_count() as u32;
        let places: Vec<u32> = (0..PLACES).map(|_| random(pieces)).collect();
        let neighbours = std::iter::successors(Some(first), |piece| self.next_missing(has, piece.number() + 1)).take(NEIGHBOURS);
        let elsewhere = places.into_iter().filter_map(|place| self.next_missing(has, place));
        neighbours.chain(elsewhere).min_by_key(|piece| self.rarity_of(*piece)) // the first of the rarest
    }

    /// The next missing piece of our lots, from `cursor` on, that no partial source has: those can be had from there.
    pub(super) fn pick_ours(&self, lots: &Lots, cursor: u32) -> Option<PieceIndex> {
        let missing = |range: Range<u32>| {
            let first = self.missing.next_from(range.start);
            std::iter::successors(first, |piece| self.missing.next_from(piece.number() + 1))
                .take_while(move |piece| piece.number() < range.end)
        };
        let cut = |range: Range<u32>| range.start.max(cursor.min(range.end))..range.end;
        let ahead = lots.ours_from(cursor).take(1).map(cut);
        let all = ahead.chain(lots.ours_from(cursor)).flat_map(missing);
        all.take(LOOKED_AT).find(|piece| self.rarity_of(*piece) == 0)
    }

    fn rarity_of(&self, piece: PieceIndex) -> u8 {
        self.rarity.as_ref().and_then(|rarity| rarity.get(piece.number() as usize)).copied().unwrap_or_default()
    }

    fn next_missing(&self, has: &Has, from: u32) -> Option<PieceIndex> {
        match has {
            Has::All => self.missing.next_from(from),
            Has::Some(set) => self.missing.next_common(set, from),
            Has::Unknown => None,
        }
    }
}
