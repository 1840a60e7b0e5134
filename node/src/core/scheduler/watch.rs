//! What the scheduler does by itself as time goes by: it moves what lies too long, asks twice for the last pieces, and
//! looks for more sources.

use std::time::{Duration, Instant};

use rand::Rng;

use super::{Ask, AskId, Event, FileNo, Flight, MARKS, PIECE, Scheduler};
use crate::core::download::{Class, Download, Job, Stage};
use crate::core::peer_book::{PeerNo, Standing, backoff};

/// How often it is looked at what came in.
pub(super) const TICK: Duration = Duration::from_secs(2);
/// Fewer bytes than these over [`MARKS`] ticks (4 KiB/s over 8 s) are a stall: another source takes over within ten
/// seconds of the last byte that counted.
const LEAST_BYTES: u64 = 4096 * TICK.as_secs() * MARKS as u64;
/// Ticks after which an ask without a single byte is given up even when there is no other source: 30 s.
const TICKS_WITHOUT_ANYTHING: usize = 15;
/// How long a peer is left alone that let everything lie.
const STALL_REST: Duration = Duration::from_secs(2);
/// How often it is looked at who lacks sources.
const CENSUS: Duration = Duration::from_millis(500);
/// How soon trackers are asked again for a file without sources, and how rarely after a long time.
const FIRST_SEARCH: Duration = Duration::from_secs(2);
const LONGEST_SEARCH: Duration = Duration::from_secs(300);
/// How soon trackers are asked for more sources of a large file that has some: others may have begun with us. And how
/// rarely, when it takes long. They have told a tracker by then.
const FIRST_MORE_SOURCES: Duration = Duration::from_millis(250);
const MORE_SOURCES: Duration = Duration::from_secs(30);
/// How often it is looked at who could be faster with the last pieces.
pub(super) const ENDGAME_EVERY: Duration = Duration::from_millis(50);
/// A piece is asked for twice when the other peer would have it in this part of the time that is left.
const WORTHWHILE: f64 = 0.5;
/// A peer that nothing is known of is tried beside one that has sent nothing for this long.
const HEDGE_AFTER: Duration = Duration::from_secs(1);
/// Asks that are looked at in one round of the endgame, the slowest first.
const ENDGAME_ASKS: usize = 32;

impl Scheduler {
    /// Asks for pieces before number `pieces` only, of a file that is wanted in order: whoever reads it is so far behind.
    /// Before the first call there is no such limit.
    pub fn set_horizon(&mut self, file: FileNo, pieces: u32) {
        if let Some(download) = self.downloads.get_mut(&file) {
            download.horizon = pieces;
            self.sort_in(file);
        }
    }

    /// Does what is due at [`poll_timeout`](Self::poll_timeout). Calling it earlier or more often does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, peer)) = self.resting.first().copied() {
            if at > now {
                break;
            }
            self.set_standing(peer, Standing::Fine);
        }
        self.list_due(now);
        if self.tick_at.is_some_and(|at| at <= now) {
            self.tick_at = (!self.flights.is_empty()).then_some(now + TICK);
            self.tick(now);
        }
        if self.census_at.is_none_or(|at| at <= now) {
            self.census(now);
        }
    }

    /// The min-rate rule: moves asks that got too few bytes, if anybody else could answer them.
    fn tick(&mut self, now: Instant) {
        let rates = self.flights.values().filter_map(|flight| self.peers.get(flight.peer)?.window.rate());
        self.best_rate = rates.fold(0.0, f64::max);
        let mut stalled = Vec::new();
        for (ask, flight) in &mut self.flights {
            let [oldest, ..] = flight.marks;
            let is_stalled = flight.ticks >= MARKS && flight.received - oldest < LEAST_BYTES.min(flight.expected.max(1));
            flight.marks.rotate_left(1);
            if let Some(latest) = flight.marks.last_mut() {
                *latest = flight.received;
            }
            flight.ticks += 1;
            // What has come in whole waits for our own disk.
            if is_stalled && flight.received < flight.expected {
                stalled.push(*ask);
            }
        }
        for ask in stalled {
            self.handle_stall(ask, now);
        }
    }

    fn handle_stall(&mut self, ask: AskId, now: Instant) {
        let Some(flight) = self.flights.get(&ask) else { return };
        let is_dead = flight.received == 0 && flight.ticks >= TICKS_WITHOUT_ANYTHING;
        let peer_no = flight.peer;
        if !is_dead && !self.has_other_source(flight) {
            return;
        }
        self.abandon(ask, now);
        let Some(peer) = self.peers.get_mut(peer_no) else { return };
        peer.window.handle_stall();
        let gives_something = peer.asks.iter().filter_map(|ask| self.flights.get(ask)).any(|other| other.received > other.marks[0]);
        if !gives_something {
            self.rest(peer_no, STALL_REST, now);
        }
        self.settle(peer_no);
    }

    /// Whether somebody else could be asked for what an ask is for.
    fn has_other_source(&self, flight: &Flight) -> bool {
        flight.job.files().iter().any(|file| {
            let Some(download) = self.downloads.get(file) else { return false };
            download.sources.iter().any(|source| {
                let has_it = match &flight.job {
                    Job::Piece { piece, .. } => source.has.contains(*piece),
                    Job::Have { .. } => false,
                    Job::Hashes { .. } | Job::Files(_) => true,
                };
                source.peer != flight.peer && has_it && self.peers.get(source.peer).is_some_and(|peer| peer.is_usable())
            })
        })
    }

    /// The hashes of a file are known: others that have begun with us may be known soon.
    pub(super) fn look_soon(&mut self, file: FileNo, now: Instant) {
        let at = now + FIRST_MORE_SOURCES;
        if let Some(download) = self.downloads.get_mut(&file) {
            download.search_at = Some(at);
            self.census_at = Some(self.census_at.map_or(at, |census| census.min(at)));
        }
    }

    /// Looks for downloads that lack sources, and for partial sources that should be asked again what they have.
    fn census(&mut self, now: Instant) {
        let mut refresh = Vec::new();
        let mut is_needed = false;
        for (file, download) in self.downloads.iter_mut().filter(|(_, download)| !download.is_complete() && !download.is_paused) {
            is_needed = true;
            let entry = (download.rank, *file);
            let can_ask = |peer: PeerNo| {
                let lists = |peer: &crate::core::peer_book::Peer| peer.small.contains(&entry) || peer.large.contains(&entry);
                self.peers.get(peer).is_some_and(|peer| peer.is_usable() && lists(peer))
            };
            let due = download.sources.iter().filter(|source| download.have_is_due(source, now)).map(|source| (source.peer, entry));
            refresh.extend(due);
            let is_starving = !download.any_in_flight() && !download.sources.iter().any(|source| can_ask(source.peer));
            if download.search_is_due(is_starving, now, || self.random.random()) {
                self.events.push_back(Event::SourcesWanted(*file));
            }
        }
        for (peer, entry) in refresh {
            self.list(peer, entry, Class::Large);
        }
        self.census_at = is_needed.then_some(now + CENSUS);
    }

    /// Asks a second peer for what a slow one still has to send, once nothing else of the file is missing.
    pub(super) fn poll_endgame(&mut self, now: Instant) -> Option<Ask> {
        if self.endgame_at.is_none_or(|at| at > now) {
            return None;
        }
        if self.in_flight_bytes + PIECE <= self.config.max_in_flight_bytes
            && let Some((peer, job)) = self.find_second(now)
        {
            return self.send(peer, job, now);
        }
        self.endgame_at = (!self.flights.is_empty()).then_some(now + ENDGAME_EVERY);
        None
    }

    /// The peer and the job of the most worthwhile second ask.
    fn find_second(&mut self, now: Instant) -> Option<(PeerNo, Job)> {
        let mut slowest: Vec<(f64, AskId)> = self.flights.iter().map(|(ask, flight)| (self.seconds_left(flight, now), *ask)).collect();
        slowest.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        for (left, ask) in slowest.into_iter().take(ENDGAME_ASKS) {
            let found = self.flights.get(&ask).and_then(|flight| self.faster_peer(flight, left, now));
            if let Some(peer) = found
                && let Some(job) = self.double(ask, peer)
            {
                return Some((peer, job));
            }
        }
        None
    }

    /// How long an ask will still take, as far as it can be told: as long again as it has taken when nothing is known.
    fn seconds_left(&self, flight: &Flight, now: Instant) -> f64 {
        let age = now.saturating_duration_since(flight.asked).as_secs_f64();
        let left = flight.expected.saturating_sub(flight.received) as f64;
        if flight.received > 0 {
            return left * age / flight.received as f64;
        }
        let others = self.peers.get(flight.peer).map(|peer| (peer.window.rate(), peer.asks.len()));
        let promised = others.and_then(|(rate, asks)| Some(left * asks as f64 / rate?.max(1.0)));
        promised.unwrap_or(age).max(age)
    }

    /// The source with room that would be done much sooner with what an ask is for; it may be the same one by another of
    /// several connections, of which some are much slower than others where packets are lost.
    fn faster_peer(&self, flight: &Flight, left: f64, now: Instant) -> Option<PeerNo> {
        let download = self.downloads.get(flight.job.files().first()?)?;
        if !may_be_doubled(&flight.job, download) {
            return None;
        }
        let is_small = matches!(flight.job, Job::Files(_));
        let has_nothing = flight.received == 0 && now.saturating_duration_since(flight.asked) >= HEDGE_AFTER;
        let candidates = download.sources.iter().filter_map(|source| {
            let is_same = source.peer == flight.peer;
            let peer = self.peers.get(source.peer).filter(|peer| peer.has_room() && (!is_same || peer.lanes.in_use() > 1))?;
            if is_small && peer.has_work() {
                return None; // for a file of one piece there is no end of it: what nobody was asked for comes first
            }
            let has_it = !matches!(&flight.job, Job::Piece { piece, .. } if !source.has.contains(*piece));
            let seconds = match is_same {
                true => peer.window.seconds_by_one_lane(flight.expected),
                false => peer.window.seconds_for(flight.expected, peer.asks.len()),
            };
            let is_worthwhile = seconds.map_or(has_nothing && !is_same, |seconds| seconds < left * WORTHWHILE);
            (has_it && is_worthwhile && self.has_budget(source.peer)).then_some((seconds.unwrap_or(f64::MAX), source.peer))
        });
        candidates.min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))).map(|(_, peer)| peer)
    }

    /// Makes a second job of what an ask is for, as far as the peer has it and nobody else was asked for it.
    fn double(&mut self, ask: AskId, peer: PeerNo) -> Option<Job> {
        let second = AskId(self.next_ask);
        let job = self.flights.get(&ask)?.job.clone();
        match job {
            Job::Hashes { file, .. } => self.downloads.get_mut(&file)?.ask_list_twice(file, peer, second),
            Job::Piece { file, piece } => {
                let Stage::Many(pieces) = &mut self.downloads.get_mut(&file)?.stage else { return None };
                pieces.start(piece, second);
                Some(Job::Piece { file, piece })
            }
            Job::Files(files) => {
                let doubled: Vec<FileNo> = files.into_iter().filter(|file| self.double_single(*file, peer, second)).collect();
                (!doubled.is_empty()).then_some(Job::Files(doubled))
            }
            Job::Have { .. } => None,
        }
    }

    fn double_single(&mut self, file: FileNo, peer: PeerNo, second: AskId) -> bool {
        let Some(download) = self.downloads.get_mut(&file) else { return false };
        let has_it = download.source(peer).is_some();
        match &mut download.stage {
            Stage::Single(single) if has_it && single.asks.len() == 1 => {
                single.asks.push(second);
                true
            }
            _ => false,
        }
    }
}

/// Whether the file is at its end, and what the job is for was not asked for twice already.
fn may_be_doubled(job: &Job, download: &Download) -> bool {
    match (&download.stage, job) {
        (Stage::Many(pieces), Job::Piece { piece, .. }) => pieces.asks(*piece).len() == 1 && pieces.missing().is_empty(),
        (Stage::Single(single), Job::Files(_)) => single.asks.len() == 1,
        (Stage::Listing(_), Job::Hashes { from: 0, .. }) => true,
        _ => false,
    }
}

impl Download {
    /// Whether a tracker should be asked for sources now; counts it as done.
    fn search_is_due(&mut self, is_starving: bool, now: Instant, jitter: impl FnOnce() -> f64) -> bool {
        let is_large = matches!(self.stage, Stage::Many(_));
        if !is_starving {
            self.searches = 0;
        }
        if !is_starving && !is_large {
            self.search_at = None;
            return false;
        }
        let wait = if is_starving {
            backoff(self.searches + 1, FIRST_SEARCH, LONGEST_SEARCH, jitter())
        } else {
            FIRST_MORE_SOURCES.saturating_mul(1 << self.more_searches.min(6)).min(MORE_SOURCES)
        };
        match self.search_at {
            Some(at) if at <= now => {
                self.search_at = Some(now + wait);
                self.searches = self.searches.saturating_add(1);
                self.more_searches = self.more_searches.saturating_add(u32::from(!is_starving));
                true
            }
            Some(at) => {
                self.search_at = Some(at.min(now + wait)); // it may have just begun to starve
                false
            }
            None => {
                self.search_at = Some(now + wait);
                false
            }
        }
    }
}
