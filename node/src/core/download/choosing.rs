//! Which piece a source is asked for next.

use std::time::{Duration, Instant};

use potluck_common::geometry::PieceIndex;
use potluck_common::peer::PeerKey;

use super::{Download, Stage};
use crate::core::lots::Lots;
use crate::core::peer_book::PeerNo;
use crate::core::pieces::{Has, Pieces};

/// How long a complete source is left to those who fetch the same file, once all of ours has come from it: they are about to have the
/// rest, if they are as fast as we are.
const PATIENCE: Duration = Duration::from_millis(500);
/// Asks out to a complete source for what others were to have from it: some of it is on its way to them.
const AT_ONCE: usize = 4;
/// How soon it is looked again whether there are fewer.
const AGAIN: Duration = Duration::from_millis(50);

/// How the pieces of a download are chosen.
#[derive(Debug, Default)]
pub(super) struct Choice {
    /// Where to look for the next piece as long as nobody else fetches the file; drawn when the first is asked for.
    start: Option<u32>,
    /// What is ours of it, while others fetch it as well.
    lots: Option<Lots>,
}

/// How the next piece of one source is chosen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Aim {
    /// Where to look for its next piece once there are partial sources: drawn at random for each of these, so that nodes that began
    /// together fetch different pieces and can give them to each other.
    pub(super) cursor: Option<u32>,
    turn: Turn,
    /// When there may be something to ask for that there was not the last time, if only time must pass.
    pub(super) due: Option<Instant>,
}

/// What a complete source is asked for, while others fetch the file as well.
#[derive(Clone, Copy, Debug, Default)]
enum Turn {
    /// What is ours.
    #[default]
    Ours,
    /// Nothing until then, while the others get what is theirs.
    Theirs { until: Instant },
    /// Whatever is missing.
    Anyones,
}

impl Download {
    /// Whether others fetch the file as well, as far as it is known.
    pub(in crate::core) fn is_shared(&self) -> bool {
        self.sources.iter().any(|source| source.refresh.is_some())
    }

    /// Those who fetch the file as well and said what they have.
    pub(in crate::core) fn partial_sources(&self) -> impl Iterator<Item = PeerNo> + '_ {
        self.sources.iter().filter(|source| matches!(source.has, Has::Some(_))).map(|source| source.peer)
    }

    /// Shares the work out with those who fetch the file as well.
    pub(in crate::core) fn deal(&mut self, me: &PeerKey, fellows: Vec<PeerKey>) {
        let Stage::Many(pieces) = &self.stage else { return };
        self.choice.lots.get_or_insert_with(|| Lots::new(pieces.geometry())).deal(me, fellows);
    }

    /// The missing piece to ask a source for now, if there is one.
    pub(super) fn choose_piece(&mut self, peer: PeerNo, asks: usize, now: Instant, random: impl FnMut(u32) -> u32) -> Option<PieceIndex> {
        let is_shared = self.is_shared();
        let Stage::Many(pieces) = &mut self.stage else { return None };
        let source = self.sources.iter_mut().find(|source| source.peer == peer)?;
        if self.in_order {
            return pieces.pick_in_order(&source.has, self.reading).filter(|piece| piece.number() < self.horizon);
        }
        if !is_shared {
            return self.choice.next_in_order(pieces, &source.has, random);
        }
        match &self.choice.lots {
            Some(lots) if matches!(source.has, Has::All) => source.aim.next_of_lots(pieces, lots, asks, now, random),
            _ => source.aim.next_rarest(pieces, &source.has, random),
        }
    }
}

impl Choice {
    /// In order, because disks read and write so; but from a place that chance chose, so that nodes that began together have something
    /// to give to each other by the time they meet.
    fn next_in_order(&mut self, pieces: &mut Pieces, has: &Has, mut random: impl FnMut(u32) -> u32) -> Option<PieceIndex> {
        let start = *self.start.get_or_insert_with(|| random(pieces.geometry().piece_count() as u32));
        let piece = pieces.pick_in_order(has, start)?;
        self.start = Some(piece.number() + 1);
        Some(piece)
    }
}

impl Aim {
    /// Ours first, and the rest when the others have had the time to get it. `asks` are out to the source.
    fn next_of_lots(
        &mut self,
        pieces: &mut Pieces,
        lots: &Lots,
        asks: usize,
        now: Instant,
        random: impl FnMut(u32) -> u32,
    ) -> Option<PieceIndex> {
        if let Some(piece) = pieces.pick_ours(lots, self.cursor.unwrap_or_default()) {
            self.cursor = Some(piece.number() + 1);
            return Some(piece);
        }
        self.turn = match self.turn {
            Turn::Theirs { until } if asks == 0 && until <= now => Turn::Anyones,
            Turn::Theirs { until } if asks == 0 => Turn::Theirs { until },
            Turn::Ours | Turn::Theirs { .. } => Turn::Theirs { until: now + PATIENCE },
            Turn::Anyones => Turn::Anyones,
        };
        self.due = match self.turn {
            Turn::Theirs { until } => Some(until),
            Turn::Anyones if asks >= AT_ONCE => Some(now + AGAIN),
            Turn::Ours | Turn::Anyones => return self.next_rarest(pieces, &Has::All, random),
        };
        None
    }

    fn next_rarest(&mut self, pieces: &mut Pieces, has: &Has, mut random: impl FnMut(u32) -> u32) -> Option<PieceIndex> {
        let cursor = *self.cursor.get_or_insert_with(|| random(pieces.geometry().piece_count() as u32));
        let piece = pieces.pick_rarest(has, cursor, random)?;
        self.cursor = Some(piece.number() + 1);
        Some(piece)
    }
}
