//! [`Download`]: one file on its way, and which of its parts a source could be asked for.

mod choosing;

use std::sync::Arc;
use std::time::{Duration, Instant};

use potluck_common::content_id::{ContentId, PieceHash};
use potluck_common::geometry::{Geometry, PIECE_BYTES, PieceIndex};
use potluck_common::wire::piece::{MAX_HASHES, MAX_HAVE};

use super::hash_list::{Listing, MAX_LISTS, Taken};
use super::peer_book::{PeerNo, Rank};
use super::piece_set::PieceSet;
use super::pieces::{Has, Pieces};
use super::scheduler::{AskId, FileNo, Verdict, Want};
use choosing::{Aim, Choice};

/// Most sources of one file: more than an index tells of, and more than can be kept busy.
const MAX_SOURCES: usize = 64;
/// How soon a partial source is asked again what it has: what it got meanwhile waits for that long.
const HAVE_AGAIN: Duration = Duration::from_millis(300);
/// Partial sources that are asked so often. Of more, each is asked as many times more rarely as there are more of them.
const ASKED_OFTEN: usize = 4;
/// How rarely, when it got nothing new for long.
const HAVE_AGAIN_AT_LAST: Duration = Duration::from_secs(30);
/// One file on its way.
#[derive(Debug)]
pub(super) struct Download {
    pub(super) content_id: ContentId,
    pub(super) rank: Rank,
    pub(super) in_order: bool,
    /// The piece that whoever reads the file as it comes is at.
    pub(super) reading: u32,
    /// Of a file that is wanted in order: pieces from here on are not asked for yet.
    pub(super) horizon: u32,
    /// Of any other: which piece comes next.
    choice: Choice,
    pub(super) is_paused: bool,
    pub(super) stage: Stage,
    pub(super) sources: Vec<Source>,
    /// When to ask for more sources, and how often that was done since the last success.
    pub(super) search_at: Option<Instant>,
    pub(super) searches: u32,
    /// How often more sources were looked for while there were some.
    pub(super) more_searches: u32,
}

/// What is known of the file's pieces.
#[derive(Debug)]
pub(super) enum Stage {
    /// Their hashes must be fetched first.
    Listing(Listing),
    /// There is one, and its hash is the content id.
    Single(Single),
    /// Their hashes are proven.
    Many(Box<Pieces>),
    /// All are verified.
    Complete { size: u64 },
}

/// A file of one piece that is not verified.
#[derive(Debug)]
pub(super) struct Single {
    pub(super) size: u32,
    /// Whether a proven list said so, and not just somebody.
    pub(super) size_is_proven: bool,
    /// The asks that it is in flight with; none: it is missing.
    pub(super) asks: Vec<AskId>,
}

/// A peer that has the file or some of it.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) peer: PeerNo,
    pub(super) has: Has,
    aim: Aim,
    /// Of a partial source: when to ask again what it has.
    refresh: Option<Refresh>,
}

/// Asking a partial source what it has.
#[derive(Clone, Copy, Debug)]
struct Refresh {
    ask: Option<AskId>,
    /// First piece of the next page.
    from: u32,
    due: Option<Instant>,
    wait: Duration,
    /// Whether this round told of anything new.
    any_new: bool,
}

/// What one request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Job {
    Hashes { file: FileNo, from: u32 },
    Have { file: FileNo, from: u32 },
    Piece { file: FileNo, piece: PieceIndex },
    Files(Vec<FileNo>),
}

/// Where a download stands in the peers' lists of what they could be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Small,
    Large,
    Idle,
}

impl Job {
    pub(super) fn files(&self) -> &[FileNo] {
        match self {
            Job::Hashes { file, .. } | Job::Have { file, .. } | Job::Piece { file, .. } => std::slice::from_ref(file),
            Job::Files(files) => files,
        }
    }
}

impl Refresh {
    fn new(from: u32, due: Option<Instant>) -> Self {
        Self { ask: None, from, due, wait: HAVE_AGAIN, any_new: false }
    }
}

impl Download {
    pub(super) fn new(want: Want, rank: Rank) -> Self {
        let Want { content_id, size, hashes, verified, in_order, .. } = want;
        let stage = Self::first_stage(content_id, size, hashes, verified);
        Self {
            content_id,
            rank,
            in_order,
            reading: 0,
            horizon: u32::MAX,
            choice: Choice::default(),
            is_paused: false,
            stage,
            sources: Vec::new(),
            search_at: None,
            searches: 0,
            more_searches: 0,
        }
    }

    fn first_stage(content_id: ContentId, size: Option<u64>, hashes: Option<Arc<[PieceHash]>>, verified: Option<PieceSet>) -> Stage {
        if content_id == ContentId::of(b"") {
            return Stage::Complete { size: 0 };
        }
        let geometry = size.and_then(|size| Geometry::new(size).ok());
        let is_proven = |geometry, hashes: &[PieceHash]| ContentId::combine(geometry, hashes) == Some(content_id);
        match (geometry, hashes) {
            (Some(geometry), Some(hashes)) if is_proven(geometry, &hashes) => Self::stage_with(geometry, hashes, verified),
            (Some(geometry), _) if geometry.piece_count() == 1 => match verified {
                Some(verified) if verified.is_full() && verified.geometry() == geometry => Stage::Complete { size: geometry.size() },
                _ => Stage::Single(Single { size: geometry.size() as u32, size_is_proven: false, asks: Vec::new() }),
            },
            _ => Stage::Listing(Listing::new(size, verified)),
        }
    }

    /// The stage after a list is proven.
    fn stage_with(geometry: Geometry, hashes: Arc<[PieceHash]>, verified: Option<PieceSet>) -> Stage {
        let verified = verified.filter(|set| set.geometry() == geometry).unwrap_or_else(|| PieceSet::empty(geometry));
        if verified.is_full() {
            Stage::Complete { size: geometry.size() }
        } else if geometry.piece_count() == 1 {
            Stage::Single(Single { size: geometry.size() as u32, size_is_proven: true, asks: Vec::new() })
        } else {
            Stage::Many(Box::new(Pieces::new(hashes, verified)))
        }
    }

    pub(super) fn class(&self) -> Class {
        match &self.stage {
            _ if self.is_paused => Class::Idle,
            Stage::Complete { .. } => Class::Idle,
            Stage::Single(single) if !single.asks.is_empty() => Class::Idle,
            Stage::Single(_) => Class::Small,
            Stage::Listing(_) | Stage::Many(_) => Class::Large,
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        matches!(self.stage, Stage::Complete { .. })
    }

    pub(super) fn geometry(&self) -> Option<Geometry> {
        match &self.stage {
            Stage::Listing(_) => None,
            Stage::Single(single) => Geometry::new(u64::from(single.size)).ok(),
            Stage::Many(pieces) => Some(pieces.geometry()),
            Stage::Complete { size } => Geometry::new(*size).ok(),
        }
    }

    pub(super) fn source(&self, peer: PeerNo) -> Option<&Source> {
        self.sources.iter().find(|source| source.peer == peer)
    }

    fn source_mut(&mut self, peer: PeerNo) -> Option<&mut Source> {
        self.sources.iter_mut().find(|source| source.peer == peer)
    }

    /// Adds a source, or replaces what is known of what it has. Of one that is known to grow, nothing is known better by who only says
    /// that it is one: it is asked itself. Returns whether it was not there before; `None` when there are too many.
    pub(super) fn add_source(&mut self, peer: PeerNo, has: Has, now: Instant) -> Option<bool> {
        let is_new = self.source(peer).is_none();
        if let Some(refresh) = self.source_mut(peer).and_then(|source| source.refresh.as_mut()).filter(|_| matches!(has, Has::All)) {
            refresh.due = refresh.due.map(|due| due.min(now));
            return Some(false);
        }
        if is_new && self.sources.len() >= MAX_SOURCES {
            return None;
        }
        self.drop_source(peer);
        let is_partial = !matches!(has, Has::All);
        let knows_nothing = matches!(&has, Has::Unknown);
        if let Stage::Many(pieces) = &mut self.stage {
            pieces.count_partial(&has, true);
        }
        if is_partial && self.sources.iter().all(|source| source.refresh.is_none()) {
            self.sources.iter_mut().for_each(|source| source.aim = Aim::default()); // from now on it matters who asks for what
        }
        let due = if knows_nothing { now } else { now + HAVE_AGAIN };
        let refresh = is_partial.then(|| Refresh::new(0, Some(due)));
        self.sources.push(Source { peer, has, aim: Aim::default(), refresh });
        Some(is_new)
    }

    /// Takes a source out. Returns whether it was there.
    pub(super) fn drop_source(&mut self, peer: PeerNo) -> bool {
        let Some(at) = self.sources.iter().position(|source| source.peer == peer) else { return false };
        let source = self.sources.remove(at);
        if let Stage::Many(pieces) = &mut self.stage {
            pieces.count_partial(&source.has, false);
        }
        true
    }

    /// The next thing to ask a source for, of a download whose class is [`Class::Large`]. It counts as asked. With the number of the ask
    /// goes how many are out to the source.
    pub(super) fn next_job(
        &mut self,
        file: FileNo,
        peer: PeerNo,
        (ask, asks): (AskId, usize),
        now: Instant,
        random: impl FnMut(u32) -> u32,
    ) -> Option<Job> {
        match &mut self.stage {
            Stage::Listing(listing) => listing.next_page(peer, ask, 1).map(|from| Job::Hashes { file, from }),
            Stage::Many(_) => {
                let source = self.source_mut(peer)?;
                if let Some(from) = source.next_have(ask, now) {
                    return Some(Job::Have { file, from });
                }
                let piece = self.choose_piece(peer, asks, now, random)?;
                let Stage::Many(pieces) = &mut self.stage else { return None };
                pieces.start(piece, ask);
                Some(Job::Piece { file, piece })
            }
            Stage::Single(_) | Stage::Complete { .. } => None,
        }
    }

    /// Asks one more peer for the hashes, beside one that lets us wait.
    pub(super) fn ask_list_twice(&mut self, file: FileNo, peer: PeerNo, ask: AskId) -> Option<Job> {
        let Stage::Listing(listing) = &mut self.stage else { return None };
        listing.next_page(peer, ask, MAX_LISTS).map(|from| Job::Hashes { file, from })
    }

    /// Takes a page of hashes. Says what came of it, and which other asks for the hashes are in vain now.
    pub(super) fn take_hashes(&mut self, ask: AskId, size: u64, page: &[PieceHash], now: Instant) -> (Verdict, Vec<AskId>) {
        let Stage::Listing(listing) = &mut self.stage else { return (Verdict::Late, Vec::new()) };
        match listing.take(ask, self.content_id, size, page) {
            Taken::Verdict(verdict) => (verdict, Vec::new()),
            Taken::Proven { geometry, hashes } => {
                let in_vain = listing.asks().collect();
                self.stage = Self::stage_with(geometry, hashes, listing.verified.take());
                self.forget_what_partial_sources_have(now);
                (Verdict::Proven, in_vain)
            }
        }
    }

    /// The bits that partial sources told of belong to a geometry that is known only now: ask again.
    fn forget_what_partial_sources_have(&mut self, now: Instant) {
        for source in self.sources.iter_mut().filter(|source| source.refresh.is_some()) {
            source.has = Has::Unknown;
            source.refresh = Some(Refresh::new(0, Some(now)));
        }
    }

    /// Takes what a partial source has: the bits from where it was asked on, `None` for all. Returns whether anything is new.
    pub(super) fn take_have(&mut self, peer: PeerNo, ask: AskId, bits: Option<&[u8]>, now: Instant) -> bool {
        let partial = self.sources.iter().filter(|source| source.refresh.is_some()).count();
        let Stage::Many(pieces) = &mut self.stage else { return false };
        let Some(source) = self.sources.iter_mut().find(|source| source.peer == peer) else { return false };
        let Some(mut refresh) = source.refresh.filter(|refresh| refresh.ask == Some(ask)) else { return false };
        pieces.count_partial(&source.has, false);
        let before = source.has.count();
        let (geometry, partial) = (pieces.geometry(), partial.div_ceil(ASKED_OFTEN));
        match bits {
            None => (source.has, source.refresh) = (Has::All, None),
            Some(bits) => {
                let mut set = match std::mem::replace(&mut source.has, Has::Unknown) {
                    Has::Some(set) => set,
                    Has::All | Has::Unknown => Box::new(PieceSet::empty(geometry)),
                };
                set.replace_from(refresh.from, bits.get(..MAX_HAVE as usize / 8).unwrap_or(bits));
                refresh.any_new |= set.count() as u64 > before;
                source.has = Has::Some(set);
                source.refresh = Some(refresh.after_page(geometry, HAVE_AGAIN * partial as u32, now));
            }
        }
        pieces.count_partial(&source.has, true);
        matches!(source.has, Has::All) || source.has.count() > before
    }

    /// When there will be something to ask a source for that there is not now, as far as only time must pass: what it has, or what is
    /// left to others for a while.
    pub(super) fn due_at(&self, peer: PeerNo) -> Option<Instant> {
        let source = self.source(peer)?;
        let have = source.refresh.filter(|refresh| refresh.ask.is_none()).and_then(|refresh| refresh.due);
        have.or(source.aim.due).filter(|_| matches!(self.stage, Stage::Many(_)))
    }

    /// Whether a source should be asked again what it has.
    pub(super) fn have_is_due(&self, source: &Source, now: Instant) -> bool {
        let is_due = |refresh: Refresh| refresh.ask.is_none() && refresh.due.is_some_and(|due| due <= now);
        matches!(self.stage, Stage::Many(_)) && source.refresh.is_some_and(is_due)
    }

    /// What a request that came to nothing was for is open again. Returns whether there is something to ask for now.
    pub(super) fn give_back(&mut self, peer: PeerNo, ask: AskId, job: &Job, now: Instant) -> bool {
        match (&mut self.stage, job) {
            (Stage::Listing(listing), Job::Hashes { .. }) => {
                listing.give_back(ask);
                true
            }
            (Stage::Many(pieces), Job::Piece { piece, .. }) => pieces.give_back(*piece, ask),
            (Stage::Single(single), Job::Files(_)) => {
                single.asks.retain(|other| *other != ask);
                single.asks.is_empty()
            }
            (_, Job::Have { .. }) => {
                if let Some(refresh) = self.source_mut(peer).and_then(|source| source.refresh.as_mut()) {
                    *refresh = Refresh::new(0, Some(now + HAVE_AGAIN_AT_LAST));
                }
                false
            }
            _ => false,
        }
    }

    /// A piece was verified. Returns the asks that were out for it, `None` if it was verified before or is none.
    pub(super) fn verify(&mut self, piece: PieceIndex) -> Option<Vec<AskId>> {
        let (size, asks) = match &mut self.stage {
            Stage::Single(single) if piece.number() == 0 => (u64::from(single.size), std::mem::take(&mut single.asks)),
            Stage::Many(pieces) => {
                let asks = pieces.verify(piece)?;
                if !pieces.verified().is_full() {
                    return Some(asks);
                }
                (pieces.geometry().size(), asks)
            }
            Stage::Single(_) | Stage::Listing(_) | Stage::Complete { .. } => return None,
        };
        self.stage = Stage::Complete { size };
        Some(asks)
    }

    /// Whether the file is said to be of one piece, and only said to.
    pub(super) fn is_of_doubtful_size(&self) -> bool {
        matches!(&self.stage, Stage::Single(single) if !single.size_is_proven)
    }

    /// The file is not of one piece, as somebody had said: its hashes must be fetched. Nothing of it is in flight.
    pub(super) fn doubt_size(&mut self) {
        self.stage = Stage::Listing(Listing::default());
    }

    /// A source does not have a piece. One that was thought to have the whole file is a partial one, which grows: it is
    /// asked what it has. Returns whether it is a source.
    pub(super) fn source_has_not(&mut self, peer: PeerNo, piece: PieceIndex, now: Instant) -> bool {
        let Stage::Many(pieces) = &mut self.stage else { return false };
        let Some(source) = self.sources.iter_mut().find(|source| source.peer == peer) else { return false };
        pieces.count_partial(&source.has, false);
        match &mut source.has {
            Has::Some(set) => drop(set.remove(piece)),
            Has::All => (source.has, source.refresh) = (Has::Unknown, Some(Refresh::new(0, Some(now)))),
            Has::Unknown => {}
        }
        pieces.count_partial(&source.has, true);
        true
    }

    /// Takes everything back that is in flight. Returns the asks that were out for it.
    pub(super) fn recall_all(&mut self) -> Vec<AskId> {
        let refreshes = self.sources.iter_mut().filter_map(|source| source.refresh.as_mut()?.ask.take());
        let mut asks: Vec<AskId> = refreshes.collect();
        match &mut self.stage {
            Stage::Listing(listing) => asks.extend(listing.recall_all()),
            Stage::Single(single) => asks.append(&mut single.asks),
            Stage::Many(pieces) => asks.extend(pieces.recall_all()),
            Stage::Complete { .. } => {}
        }
        asks
    }

    /// The asks that are out for any of it.
    #[cfg(test)]
    pub(super) fn asks(&self) -> Vec<AskId> {
        let mut asks: Vec<AskId> = self.sources.iter().filter_map(|source| source.refresh?.ask).collect();
        match &self.stage {
            Stage::Listing(listing) => asks.extend(listing.asks()),
            Stage::Single(single) => asks.extend(&single.asks),
            Stage::Many(pieces) => asks.extend(pieces.geometry().pieces().flat_map(|piece| pieces.asks(piece).to_vec())),
            Stage::Complete { .. } => {}
        }
        asks
    }

    /// Whether bytes of the file, or its hashes, are on their way.
    pub(super) fn any_in_flight(&self) -> bool {
        match &self.stage {
            Stage::Listing(listing) => listing.asks().next().is_some(),
            Stage::Single(single) => !single.asks.is_empty(),
            Stage::Many(pieces) => pieces.any_in_flight(),
            Stage::Complete { .. } => false,
        }
    }

    /// Bytes in the file, as far as somebody said.
    pub(super) fn size(&self) -> Option<u64> {
        match &self.stage {
            Stage::Listing(listing) => listing.size,
            _ => self.geometry().map(Geometry::size),
        }
    }
}

impl Source {
    fn next_have(&mut self, ask: AskId, now: Instant) -> Option<u32> {
        let refresh = self.refresh.as_mut()?;
        if refresh.ask.is_some() || refresh.due.is_none_or(|due| due > now) {
            return None;
        }
        refresh.ask = Some(ask);
        Some(refresh.from)
    }
}

impl Refresh {
    /// After a page: the next page at once, or the next round later.
    fn after_page(self, geometry: Geometry, again: Duration, now: Instant) -> Self {
        let from = self.from.saturating_add(MAX_HAVE);
        if u64::from(from) < geometry.piece_count() {
            return Self { ask: None, from, due: Some(now), ..self };
        }
        let wait = if self.any_new { again } else { (self.wait * 2).clamp(again, HAVE_AGAIN_AT_LAST) };
        Self { wait, ..Self::new(0, Some(now + wait)) }
    }
}

/// Most bytes that an answer to `job` has.
pub(super) fn expected_bytes(job: &Job, download: &Download) -> u64 {
    match job {
        Job::Piece { piece, .. } => download.geometry().map_or(u64::from(PIECE_BYTES), |geometry| u64::from(geometry.length(*piece))),
        Job::Hashes { from, .. } => {
            let pieces = download.size().and_then(|size| Geometry::new(size).ok()).map_or(u64::from(MAX_HASHES), Geometry::piece_count);
            pieces.saturating_sub(u64::from(*from)).clamp(1, u64::from(MAX_HASHES)) * 32
        }
        Job::Have { .. } => u64::from(MAX_HAVE / 8),
        Job::Files(_) => download.size().unwrap_or(u64::from(PIECE_BYTES)),
    }
}
