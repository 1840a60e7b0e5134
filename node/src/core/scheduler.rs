//! [`Scheduler`]: who is asked for what, over all downloads of the node.
//!
//! Invariants, in words:
//!
//! * A piece is in exactly one state: missing, in flight with the asks for it (at most two), verified.
//! * An ask is out to exactly one peer, and what it is for is in flight, until something is handled that ends it.
//! * A peer is never asked for what it is not known to have, nor while it is banned, resting or queued, nor for more
//!   than its window; all answers together have at most `max_in_flight_bytes`.
//! * No piece of a file is asked for before the hashes of its pieces are proven.
//! * The only pieces that are asked for twice are those of files of which nothing is missing any more (the endgame).
//!
//! How it finds work fast: each peer keeps the files it could be asked for in two ordered sets (files of one piece,
//! larger files), and the peers that have room and work stand in a queue of turns. A file that has nothing for a peer
//! is taken out of that peer's set when this is found out, and put back when something of it is missing again; so
//! asking costs a few steps in ordered sets, whatever the number of files and pieces.

mod answers;
mod ask;
mod priority;
mod turns;
mod watch;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use potluck_common::content_id::PieceHash;
use potluck_common::geometry::{Geometry, PIECE_BYTES, PieceIndex};
use potluck_common::wire::piece::MAX_FILES;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::download::{Download, Job, Stage, expected_bytes};
use super::load::LONG_DELAY;
use super::peer_book::{PeerBook, PeerNo, Rank};
use super::piece_set::PieceSet;
use super::pieces::Has;

pub use super::pieces::PieceState;
pub use ask::{Ask, AskId, Config, Event, FileNo, Misdeed, Priority, Progress, SourceInfo, Verdict, Want, What};

/// One piece, in the arithmetic of bytes in flight.
const PIECE: u64 = PIECE_BYTES as u64;
/// A peer this many times slower than the fastest, or not measured yet, shares half of the bytes in flight with others
/// like it; the other half is kept for the fast ones.
const SLOWER: f64 = 8.0;
/// Bytes of small files that a far peer is asked for at once: its connections begin slowly, and until the first of these requests is answered no
/// more can be asked for.
const FAR_BATCH: u64 = PIECE / 2;
/// Ticks of [`watch::TICK`] over which the least rate is judged.
const MARKS: usize = 4;

/// Decides which peer is asked for what, over all downloads of the node.
///
/// * The user's wishes: [`add`](Self::add), [`remove`](Self::remove), [`pause`](Self::pause), [`resume`](Self::resume).
/// * What happened: the `handle_…` methods. What happened to an ask that was cancelled or is over is ignored; that a
///   piece is verified is believed from anybody, for it is a fact about bytes on the disk.
/// * What to do next: [`poll_cancel`](Self::poll_cancel) (let go of these requests first), [`poll_request`](Self::poll_request)
///   until it gives none, [`poll_event`](Self::poll_event) until it gives none; then wait for something to happen, or
///   until [`poll_timeout`](Self::poll_timeout).
///
/// Every ask ends in one of: `handle_verified` for all it was for, `handle_hashes`, `handle_have`, `handle_finished`,
/// `handle_refused`, `handle_failed`, `handle_bad`, or `poll_cancel`. All memory is bounded by the wants that were
/// added, 64 sources each, and the bounds of [`Config`].
#[derive(Debug)]
pub struct Scheduler {
    config: Config,
    random: StdRng,
    downloads: BTreeMap<FileNo, Download>,
    peers: PeerBook,
    flights: BTreeMap<AskId, Flight>,
    in_flight_bytes: u64,
    /// The part of `in_flight_bytes` at peers that are not among the fast ones.
    slow_bytes: u64,
    /// Asks out to peers that were not connected.
    dials: usize,
    /// Bytes per second of the fastest peer in use, as of the last tick.
    best_rate: f64,
    /// Peers with room and work, in the order of their turns.
    turns: BTreeSet<(u64, PeerNo)>,
    /// Peers that may be asked again at a time.
    resting: BTreeSet<(Instant, PeerNo)>,
    /// Files of which there is something to ask a peer for at a time: at most some entries for each of their sources, for as long as a
    /// partial source is at most left alone.
    due: BTreeSet<(Instant, FileNo, PeerNo)>,
    cancels: VecDeque<AskId>,
    events: VecDeque<Event>,
    next_ask: u64,
    next_rank: u64,
    next_turn: u64,
    tick_at: Option<Instant>,
    census_at: Option<Instant>,
    endgame_at: Option<Instant>,
}

/// A request that is out.
#[derive(Debug)]
struct Flight {
    peer: PeerNo,
    job: Job,
    asked: Instant,
    expected: u64,
    received: u64,
    is_dial: bool,
    is_slow: bool,
    /// Whether some of it was verified or refused already.
    is_fruitful: bool,
    /// What was received at the last ticks, the latest last.
    marks: [u64; MARKS],
    ticks: usize,
}

impl Flight {
    /// Whether all of the answer is here, and only our own disk has to be waited for.
    fn is_whole(&self) -> bool {
        self.received > 0 && self.received >= self.expected
    }

    /// Whether its answer brings a download on: what a source says that it has does not.
    fn is_for_bytes(&self) -> bool {
        !matches!(self.job, Job::Have { .. })
    }
}

impl Scheduler {
    /// A scheduler without downloads. The same seed and the same calls give the same answers.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        let config = Config { max_in_flight_bytes: config.max_in_flight_bytes.max(PIECE), ..config };
        Self {
            config,
            random: StdRng::seed_from_u64(seed),
            downloads: BTreeMap::new(),
            peers: PeerBook::new(config.max_window.max(1)),
            flights: BTreeMap::new(),
            in_flight_bytes: 0,
            slow_bytes: 0,
            dials: 0,
            best_rate: 0.0,
            turns: BTreeSet::new(),
            resting: BTreeSet::new(),
            due: BTreeSet::new(),
            cancels: VecDeque::new(),
            events: VecDeque::new(),
            next_ask: 0,
            next_rank: 0,
            next_turn: 0,
            tick_at: None,
            census_at: None,
            endgame_at: None,
        }
    }

    // Getters.

    /// How far a file is; `None` for a file that is not wanted.
    #[must_use]
    pub fn progress(&self, file: FileNo) -> Option<Progress> {
        let download = self.downloads.get(&file)?;
        let is_usable = |source: &&super::download::Source| self.peers.get(source.peer).is_some_and(|peer| peer.is_usable());
        let total = download.size();
        let (verified, missing_pieces) = match &download.stage {
            Stage::Listing(_) => (0, 0),
            Stage::Single(single) => (0, u64::from(single.asks.is_empty())),
            Stage::Many(pieces) => (pieces.verified().bytes(), u64::from(pieces.missing().count())),
            Stage::Complete { size } => (*size, 0),
        };
        Some(Progress { verified, total, sources: download.sources.iter().filter(is_usable).count(), missing_pieces })
    }

    /// The sources of a file, in no particular order; none of a file that is complete.
    pub fn sources(&self, file: FileNo) -> impl Iterator<Item = SourceInfo> + '_ {
        self.downloads.get(&file).into_iter().flat_map(|download| &download.sources).filter_map(|source| {
            let peer = self.peers.get(source.peer)?;
            Some(SourceInfo {
                peer: peer.key,
                rate: peer.window.rate(),
                in_flight: peer.asks.len(),
                queue: peer.queue,
                heard: peer.heard,
                is_being_kept: peer.asks.iter().filter_map(|ask| self.flights.get(ask)).any(Flight::is_whole),
                is_usable: peer.is_usable(),
                is_complete: matches!(source.has, Has::All),
            })
        })
    }

    /// The state of a piece; `None` while the piece hashes are not known, and of a file that is not wanted.
    #[must_use]
    pub fn piece_state(&self, file: FileNo, piece: PieceIndex) -> Option<PieceState> {
        match &self.downloads.get(&file)?.stage {
            Stage::Listing(_) => None,
            Stage::Single(single) if single.asks.is_empty() => Some(PieceState::Missing),
            Stage::Single(single) => Some(PieceState::InFlight(single.asks.clone())),
            Stage::Many(pieces) => Some(pieces.state(piece)),
            Stage::Complete { .. } => Some(PieceState::Verified),
        }
    }

    /// How a file is cut; `None` while its size is not known. Proven by the time that a piece is asked for, but for files
    /// of one piece, whose bytes prove it.
    #[must_use]
    pub fn geometry(&self, file: FileNo) -> Option<Geometry> {
        self.downloads.get(&file)?.geometry()
    }

    /// The proven piece hashes of a file of several pieces that is not complete.
    #[must_use]
    pub fn hashes(&self, file: FileNo) -> Option<&Arc<[PieceHash]>> {
        match &self.downloads.get(&file)?.stage {
            Stage::Many(pieces) => Some(pieces.hashes()),
            _ => None,
        }
    }

    /// The verified pieces of a file of several pieces that is not complete: what this node can serve of it.
    #[must_use]
    pub fn verified(&self, file: FileNo) -> Option<&PieceSet> {
        match &self.downloads.get(&file)?.stage {
            Stage::Many(pieces) => Some(pieces.verified()),
            _ => None,
        }
    }

    /// Bytes that the answers in flight may have.
    #[must_use]
    pub fn in_flight_bytes(&self) -> u64 {
        self.in_flight_bytes
    }

    /// Requests in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// The pieces of a file that somebody was asked for.
    pub fn in_flight_pieces(&self, file: FileNo) -> impl Iterator<Item = PieceIndex> + '_ {
        let pieces = self.downloads.get(&file).and_then(|download| match &download.stage {
            Stage::Many(pieces) => Some(pieces.in_flight()),
            _ => None,
        });
        pieces.into_iter().flatten()
    }

    // What the user wants.

    /// Wants a file. One that is wanted already under this number is replaced.
    pub fn add(&mut self, file: FileNo, want: Want) {
        self.remove(file);
        self.next_rank += 1;
        let rank = Rank { priority: std::cmp::Reverse(want.priority), number: self.next_rank };
        let download = Download::new(want, rank);
        let event = if download.is_complete() { Event::FileComplete(file) } else { Event::SourcesWanted(file) };
        self.events.push_back(event);
        self.downloads.insert(file, download);
    }

    /// No longer wants a file; requests for it are cancelled.
    pub fn remove(&mut self, file: FileNo) {
        self.cancel_all(file);
        self.drop_sources(file);
        self.downloads.remove(&file);
    }

    /// Asks for nothing of a file until it is resumed; requests for it are cancelled.
    pub fn pause(&mut self, file: FileNo) {
        if let Some(download) = self.downloads.get_mut(&file) {
            download.is_paused = true;
            self.cancel_all(file);
            self.sort_in(file);
        }
    }

    /// Goes on with a file that was paused.
    pub fn resume(&mut self, file: FileNo) {
        if let Some(download) = self.downloads.get_mut(&file) {
            download.is_paused = false;
            self.sort_in(file);
        }
    }

    /// Somebody reads a file while it comes: its pieces are asked for in order, from this one on, then round the end.
    pub fn read_from(&mut self, file: FileNo, piece: PieceIndex) {
        if let Some(download) = self.downloads.get_mut(&file) {
            (download.in_order, download.reading) = (true, piece.number());
            self.sort_in(file);
        }
    }

    // What to do next.

    /// The next request to send. Call it until it gives none: then every window is full, or nothing is left to ask for.
    pub fn poll_request(&mut self, now: Instant) -> Option<Ask> {
        self.handle_timeout(now);
        if let Some(ask) = self.poll_endgame(now) {
            return Some(ask);
        }
        if self.in_flight_bytes + PIECE > self.config.max_in_flight_bytes {
            return None;
        }
        let mut after = None;
        while let Some((turn, peer)) = self.next_turn_after(after) {
            after = Some((turn, peer));
            if !self.has_budget(peer) {
                continue;
            }
            let ask = self.ask_for_next(peer, now);
            self.leave_turns(peer);
            self.settle(peer);
            if ask.is_some() {
                return ask;
            }
        }
        None
    }

    /// The next request that is not needed any more: another peer was faster, or it was given up. What happens to it
    /// from now on is ignored.
    pub fn poll_cancel(&mut self) -> Option<AskId> {
        self.cancels.pop_front()
    }

    /// The next thing that the owner should know.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due; `None` while nothing depends on time.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let rested = self.resting.first().map(|(at, _)| *at);
        let due = self.due.first().map(|(at, ..)| *at);
        [self.tick_at, self.census_at, self.endgame_at, rested, due].into_iter().flatten().min()
    }

    // Asking.

    fn next_turn_after(&self, after: Option<(u64, PeerNo)>) -> Option<(u64, PeerNo)> {
        use std::ops::Bound::{Excluded, Unbounded};
        match after {
            None => self.turns.first().copied(),
            Some(after) => self.turns.range((Excluded(after), Unbounded)).next().copied(),
        }
    }

    /// Whether the bytes in flight and the dials leave room for one more piece from this peer.
    fn has_budget(&self, peer: PeerNo) -> bool {
        let Some(is_connected) = self.peers.get(peer).map(|peer| peer.is_connected) else { return false };
        let half = (self.config.max_in_flight_bytes / 2).max(PIECE);
        (is_connected || self.dials < self.config.max_dials) && (!self.is_slow(peer) || self.slow_bytes + PIECE <= half)
    }

    fn is_slow(&self, peer: PeerNo) -> bool {
        let rate = self.peers.get(peer).and_then(|peer| peer.window.rate());
        rate.is_none_or(|rate| rate * SLOWER < self.best_rate)
    }

    /// Asks a peer for the first thing that there is for it.
    fn ask_for_next(&mut self, peer: PeerNo, now: Instant) -> Option<Ask> {
        while let Some(is_small) = self.peers.get(peer)?.next_is_small() {
            let job = if is_small { self.next_batch(peer) } else { self.next_large(peer, now) };
            if let Some(job) = job {
                self.peers.get_mut(peer)?.last_was_small = is_small;
                return self.send(peer, job, now);
            }
        }
        None
    }

    /// Takes the first files of one piece out of a peer's list, as many as one answer holds.
    fn next_batch(&mut self, peer: PeerNo) -> Option<Job> {
        let ask = AskId(self.next_ask);
        let mut files = Vec::new();
        let is_far = self.peers.get(peer)?.window.supposed_delay() >= LONG_DELAY;
        let mut room = if is_far { FAR_BATCH } else { PIECE };
        for (_, file) in self.peers.get(peer)?.small.iter().take(MAX_FILES) {
            let Some(Stage::Single(single)) = self.downloads.get_mut(file).map(|download| &mut download.stage) else { break };
            let size = u64::from(single.size);
            if size > room && !files.is_empty() {
                break;
            }
            room = room.saturating_sub(size);
            single.asks.push(ask);
            files.push(*file);
        }
        if files.is_empty() {
            self.peers.get_mut(peer)?.small.pop_first(); // is no file of one piece: does not belong here
        }
        for file in &files {
            self.sort_in(*file); // it is in flight now: out of everybody's list
        }
        (!files.is_empty()).then_some(Job::Files(files))
    }

    /// The next part of the first larger file in a peer's list; takes the file out of the list when there is none.
    fn next_large(&mut self, peer: PeerNo, now: Instant) -> Option<Job> {
        let ask = AskId(self.next_ask);
        let (rank, file) = *self.peers.get(peer)?.large.first()?;
        self.deal(file);
        let random = &mut self.random;
        let asks = self.peers.get(peer)?.asks.len();
        let job = self.downloads.get_mut(&file).and_then(|download| {
            download.next_job(file, peer, (ask, asks), now, |below| random.random_range(0..below.max(1))) //
        });
        if job.is_none() {
            self.peers.get_mut(peer)?.large.remove(&(rank, file));
            self.note_due(file, peer);
        }
        job
    }

    /// Counts a job as out to a peer, under the number that it was told.
    fn send(&mut self, peer_no: PeerNo, job: Job, now: Instant) -> Option<Ask> {
        let id = AskId(self.next_ask);
        let expected = job.files().iter().filter_map(|file| self.downloads.get(file)).map(|download| expected_bytes(&job, download)).sum();
        let what = self.describe(&job)?;
        let is_slow = self.is_slow(peer_no);
        let peer = self.peers.get_mut(peer_no)?;
        peer.asks.insert(id);
        peer.bytes += expected;
        peer.window.handle_asked(peer.asks.len(), peer.bytes, now);
        let is_only = |file: &FileNo| self.downloads.get(file).is_some_and(|download| download.sources.len() == 1);
        let is_bulk = match &job {
            Job::Piece { file, .. } => is_only(file),
            Job::Files(files) => files.iter().all(is_only),
            Job::Hashes { .. } | Job::Have { .. } => false,
        };
        let is_of_files = matches!(&job, Job::Files(_));
        let is_full = is_bulk && !peer.window.has_room(peer.asks.len(), peer.bytes);
        let is_dial = !peer.is_connected;
        self.next_ask += 1;
        self.in_flight_bytes += expected;
        self.slow_bytes += if is_slow { expected } else { 0 };
        self.dials += usize::from(is_dial);
        let ask = Ask { id, peer: peer.key, what };
        self.flights.insert(
            id,
            Flight {
                peer: peer_no,
                job,
                asked: now,
                expected,
                received: 0,
                is_dial,
                is_slow,
                is_fruitful: false,
                marks: [0; MARKS],
                ticks: 0,
            }, //
        );
        if is_full && self.begin_lanes(peer_no, now) && is_of_files {
            self.peers.get_mut(peer_no)?.window.begin_files();
        }
        self.settle(peer_no);
        self.tick_at.get_or_insert(now + watch::TICK);
        self.endgame_at.get_or_insert(now + watch::ENDGAME_EVERY);
        Some(ask)
    }

    fn describe(&self, job: &Job) -> Option<What> {
        let content_id = |file: &FileNo| self.downloads.get(file).map(|download| download.content_id);
        Some(match job {
            Job::Hashes { file, from } => What::Hashes { file: *file, content_id: content_id(file)?, from: *from },
            Job::Have { file, from } => What::Have { file: *file, content_id: content_id(file)?, from: *from },
            Job::Piece { file, piece } => What::Piece { file: *file, content_id: content_id(file)?, piece: *piece },
            Job::Files(files) => What::Files(files.iter().filter_map(|file| Some((*file, content_id(file)?))).collect()),
        })
    }
}

#[cfg(test)]
mod tests;
