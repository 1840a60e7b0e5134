//! What happens to the scheduler: sources come and go, peers connect, answer, refuse, fail and lie.

use std::time::{Duration, Instant};

use potluck_common::content_id::PieceHash;
use potluck_common::geometry::PieceIndex;
use potluck_common::peer::PeerKey;
use potluck_common::wire::Refusal;
use rand::Rng;

use super::{AskId, Event, FileNo, Flight, Misdeed, Scheduler, Verdict};
use crate::core::download::{Class, Download, Job, Stage};
use crate::core::lanes::Lanes;
use crate::core::peer_book::{PeerNo, Standing, backoff};
use crate::core::piece_set::PieceSet;
use crate::core::pieces::Has;

/// How long a peer is left alone after its first failure.
const FIRST_REST: Duration = Duration::from_secs(1);
/// And after many: a peer that comes back after days is found within this.
const LONGEST_REST: Duration = Duration::from_secs(300);
/// How soon a busy peer is asked again: its slots are held for seconds.
const FIRST_BUSY: Duration = Duration::from_millis(500);
/// And how late, so that a place in its queue is not missed by much.
const LONGEST_BUSY: Duration = Duration::from_secs(15);
/// A file that is worth several connections before anything of it has come: more than is asked for at once.
const LARGE: u64 = 16 << 20;
/// How soon a peer is asked again whose disk could not be read, or who has enough of us.
const FIRST_UNAVAILABLE: Duration = Duration::from_secs(10);

impl Scheduler {
    /// A peer has the whole file.
    pub fn handle_source(&mut self, file: FileNo, peer: PeerKey, now: Instant) {
        self.take_source(file, peer, Has::All, now);
    }

    /// A peer has some of the file: these pieces, one bit each as on the wire, perhaps none yet. It will be asked again
    /// what it has.
    pub fn handle_partial_source(&mut self, file: FileNo, peer: PeerKey, have: &[u8], now: Instant) {
        let has = match self.downloads.get(&file).map(|download| &download.stage) {
            Some(Stage::Many(pieces)) if !have.is_empty() => Has::Some(Box::new(PieceSet::from_bytes(pieces.geometry(), have))),
            Some(Stage::Single(_)) if have.first().is_some_and(|byte| byte & 1 == 1) => Has::All,
            Some(Stage::Many(_) | Stage::Listing(_)) => Has::Unknown,
            Some(Stage::Single(_) | Stage::Complete { .. }) | None => return,
        };
        self.take_source(file, peer, has, now);
    }

    /// A peer no longer has the file.
    pub fn handle_source_lost(&mut self, file: FileNo, peer: PeerKey) {
        if let Some(peer) = self.peers.number(&peer) {
            self.lose_source(file, peer);
        }
    }

    /// There is a connection to a peer now.
    pub fn handle_connected(&mut self, peer: PeerKey) {
        let Some(number) = self.peers.meet(peer) else { return };
        let Some(peer) = self.peers.get_mut(number) else { return };
        if !peer.is_connected {
            peer.is_connected = true;
            peer.window.handle_connected();
            peer.lanes = Lanes::default();
        }
        match peer.standing {
            Standing::Resting { .. } => self.set_standing(number, Standing::Fine),
            Standing::Fine | Standing::Queued { .. } | Standing::Banned { .. } => self.settle(number),
        }
    }

    /// There are so many connections to a peer now, one at least.
    pub fn handle_connections(&mut self, peer: PeerKey, count: u32, now: Instant) {
        let Some(number) = self.peers.number(&peer) else { return };
        let Some(peer) = self.peers.get_mut(number) else { return };
        peer.lanes.handle_count(count.max(1), now);
        peer.window.set_lanes(peer.lanes.in_use());
        self.settle(number);
    }

    /// It took so long to connect to a peer, which is some round trips: what is known of the path until one is measured.
    pub fn handle_dialled(&mut self, peer: PeerKey, took: Duration, now: Instant) {
        let Some(number) = self.peers.number(&peer) else { return };
        if let Some(peer) = self.peers.get_mut(number) {
            peer.window.handle_dialled(took);
        }
        self.begin_lanes_early(number, now);
    }

    /// A message to a connected peer and back took so long.
    pub fn handle_round_trip(&mut self, peer: PeerKey, took: Duration, now: Instant) {
        let Some(number) = self.peers.number(&peer) else { return };
        if let Some(peer) = self.peers.get_mut(number) {
            peer.window.handle_round_trip(took);
        }
        self.begin_lanes_early(number, now);
    }

    /// Much will be wanted of a peer that is connected already, and of nobody else.
    pub fn expect_much(&mut self, peer: PeerKey, now: Instant) {
        if let Some(number) = self.peers.number(&peer).filter(|number| self.peers.get(*number).is_some_and(|peer| peer.is_connected)) {
            self.begin_lanes(number, now);
        }
    }

    /// Asks for the further connections to a far peer while the hashes of a large file are on their way from it.
    fn begin_lanes_early(&mut self, number: PeerNo, now: Instant) {
        let Some(peer) = self.peers.get(number) else { return };
        let jobs = peer.asks.iter().filter_map(|ask| self.flights.get(ask)).map(|flight| &flight.job);
        let is_of_large = jobs.filter(|job| matches!(job, Job::Hashes { .. })).flat_map(Job::files).any(|file| {
            let download = self.downloads.get(file).filter(|download| download.sources.len() == 1);
            download.and_then(Download::size).is_some_and(|size| size >= LARGE)
        });
        if is_of_large {
            self.begin_lanes(number, now);
        }
    }

    /// Asks for further connections to a peer that is asked for much, if its path is long. Whether there are some, or will be.
    pub(super) fn begin_lanes(&mut self, number: PeerNo, now: Instant) -> bool {
        let Some(peer) = self.peers.get_mut(number) else { return false };
        let more = peer.lanes.begin(peer.window.supposed_delay(), now);
        self.events.extend(more.map(|more| Event::ConnectionsWanted { peer: peer.key, more }));
        peer.lanes.has_begun()
    }

    /// The last connection to a peer is gone, and with it every request that was out to it: what they were for is open
    /// to other sources at once.
    pub fn handle_disconnected(&mut self, peer: PeerKey, now: Instant) {
        let Some(number) = self.peers.number(&peer) else { return };
        let Some(peer) = self.peers.get_mut(number) else { return };
        peer.is_connected = false;
        if !peer.asks.is_empty() {
            self.rest(number, FIRST_REST, now);
            self.drop_asks(number, now);
        }
        self.settle(number);
        self.peers.forget_if_unused(number);
    }

    /// A page of piece hashes came, with the size of the file.
    pub fn handle_hashes(&mut self, ask: AskId, size: u64, page: &[PieceHash], now: Instant) -> Verdict {
        let Some(Job::Hashes { file, .. }) = self.flights.get(&ask).map(|flight| flight.job.clone()) else { return Verdict::Late };
        let Some(flight) = self.end(ask) else { return Verdict::Late };
        let Some(download) = self.downloads.get_mut(&file) else { return Verdict::Late };
        let (verdict, in_vain) = download.take_hashes(ask, size, page, now);
        let is_complete = download.is_complete();
        match verdict {
            Verdict::Lie => self.ban(flight.peer, file, Misdeed::WrongHashes, now),
            Verdict::More | Verdict::Proven | Verdict::Late => self.succeed(&flight, 32 * page.len() as u64, now),
        }
        for ask in in_vain {
            self.abandon(ask, now);
        }
        if verdict == Verdict::Proven {
            self.events.push_back(Event::HashesKnown(file));
            self.look_soon(file, now);
            if is_complete {
                self.complete(file);
            }
        }
        self.sort_in(file);
        verdict
    }

    /// A partial source told what it has: bits from the piece on that it was asked for, `None` for all pieces.
    pub fn handle_have(&mut self, ask: AskId, bits: Option<&[u8]>, now: Instant) {
        let Some(Job::Have { file, .. }) = self.flights.get(&ask).map(|flight| flight.job.clone()) else { return };
        let Some(flight) = self.end(ask) else { return };
        self.succeed(&flight, bits.map_or(0, <[u8]>::len) as u64, now);
        let Some(download) = self.downloads.get_mut(&file) else { return };
        download.take_have(flight.peer, ask, bits, now);
        let (class, entry) = (download.class(), (download.rank, file));
        self.list(flight.peer, entry, class);
        self.note_due(file, flight.peer);
    }

    /// So many bytes of the answer have come in by now.
    pub fn handle_progress(&mut self, ask: AskId, bytes_so_far: u64, now: Instant) {
        let Some(flight) = self.flights.get_mut(&ask) else { return };
        let received = bytes_so_far.min(flight.expected);
        let new = received.saturating_sub(flight.received);
        let is_first = flight.received == 0 && new > 0;
        flight.received = flight.received.max(received);
        let Some(peer) = self.peers.get_mut(flight.peer) else { return };
        if new > 0 && flight.is_for_bytes() {
            peer.heard = Some(now);
        }
        if is_first && !flight.is_dial {
            peer.window.handle_round_trip(now.saturating_duration_since(flight.asked));
        }
        let (number, in_flight) = (flight.peer, peer.bytes);
        self.count_bytes(number, new, in_flight, now);
        self.settle(number); // its window may have changed
    }

    /// A piece is verified and kept. Ends the ask when it was for nothing else.
    pub fn handle_verified(&mut self, ask: AskId, file: FileNo, piece: PieceIndex, now: Instant) {
        let Some(download) = self.downloads.get_mut(&file) else { return };
        let Some(asks) = download.verify(piece) else { return };
        download.searches = 0;
        if download.is_complete() {
            self.complete(file);
        }
        for other in asks {
            let Some(flight) = self.flights.get_mut(&other) else { continue };
            let is_empty = flight.job.drop_file(file);
            flight.is_fruitful |= other == ask;
            if !is_empty {
                continue;
            }
            if other == ask {
                if let Some(flight) = self.end(ask) {
                    let bytes = flight.expected;
                    self.succeed(&flight, bytes, now);
                }
            } else {
                self.abandon(other, now);
            }
        }
    }

    /// The answer is over. What it was for and did not hold is asked for again: at once when it held something, and
    /// later when it held nothing.
    pub fn handle_finished(&mut self, ask: AskId, now: Instant) {
        let Some(flight) = self.end(ask) else { return };
        if flight.received == 0 && !flight.is_fruitful {
            self.rest(flight.peer, FIRST_REST, now);
        } else {
            self.succeed(&flight, flight.received, now);
        }
        self.give_back(ask, &flight, now);
    }

    /// The bytes that came for a file have the wrong hash, or make no sense: the peer is banned.
    pub fn handle_bad(&mut self, ask: AskId, file: FileNo, why: Misdeed, now: Instant) {
        let Some(flight) = self.end(ask) else { return };
        self.ban(flight.peer, file, why, now);
        self.give_back(ask, &flight, now);
    }

    /// One file of several was refused; the answer goes on.
    pub fn handle_file_refused(&mut self, ask: AskId, file: FileNo, why: Refusal, now: Instant) {
        let Some(flight) = self.flights.get_mut(&ask) else { return };
        if !matches!(&flight.job, Job::Files(files) if files.contains(&file)) {
            return;
        }
        let peer = flight.peer;
        let is_empty = flight.job.drop_file(file);
        flight.is_fruitful = true;
        if let Some(download) = self.downloads.get_mut(&file) {
            download.give_back(peer, ask, &Job::Files(vec![file]), now);
        }
        self.refuse_file(peer, file, why);
        self.sort_in(file);
        if is_empty && let Some(flight) = self.end(ask) {
            self.succeed(&flight, flight.received, now);
        }
    }

    /// The whole request was refused, perhaps with a place in the other side's queue.
    pub fn handle_refused(&mut self, ask: AskId, why: Refusal, queue: Option<u32>, now: Instant) {
        let Some(flight) = self.end(ask) else { return };
        match why {
            Refusal::Busy => self.handle_busy(flight.peer, queue, now),
            Refusal::Unavailable | Refusal::OverQuota => self.rest(flight.peer, FIRST_UNAVAILABLE, now),
            Refusal::NotFound | Refusal::Changed | Refusal::NotPermitted | Refusal::Unsupported => {
                self.refuse_job(&flight, why, now);
            }
        }
        self.give_back(ask, &flight, now);
    }

    /// There will be no answer: the connection broke, could not be made, or took too long.
    pub fn handle_failed(&mut self, ask: AskId, now: Instant) {
        let Some(flight) = self.end(ask) else { return };
        self.rest(flight.peer, FIRST_REST, now);
        self.give_back(ask, &flight, now);
    }

    // Sources.

    fn take_source(&mut self, file: FileNo, peer: PeerKey, has: Has, now: Instant) {
        let Some(download) = self.downloads.get_mut(&file).filter(|download| !download.is_complete()) else { return };
        let Some(number) = self.peers.meet(peer) else { return };
        let is_new = download.add_source(number, has, now);
        let (class, entry) = (download.class(), (download.rank, file));
        match is_new {
            None => return self.peers.forget_if_unused(number),
            Some(is_new) => {
                if let Some(peer) = self.peers.get_mut(number) {
                    peer.files += u32::from(is_new);
                }
            }
        }
        self.list(number, entry, class);
    }

    /// Takes a peer from the sources of a file. Requests that are out go on: what comes of them is verified anyway.
    fn lose_source(&mut self, file: FileNo, peer_no: PeerNo) {
        let Some(download) = self.downloads.get_mut(&file) else { return };
        if !download.drop_source(peer_no) {
            return;
        }
        let entry = (download.rank, file);
        if let Some(peer) = self.peers.get_mut(peer_no) {
            peer.files = peer.files.saturating_sub(1);
        }
        self.list(peer_no, entry, Class::Idle);
        self.peers.forget_if_unused(peer_no);
    }

    pub(super) fn drop_sources(&mut self, file: FileNo) {
        let Some(download) = self.downloads.get(&file) else { return };
        let sources: Vec<PeerNo> = download.sources.iter().map(|source| source.peer).collect();
        for peer in sources {
            self.lose_source(file, peer);
        }
    }

    fn complete(&mut self, file: FileNo) {
        self.cancel_all(file); // what partial sources have does not matter any more
        self.drop_sources(file);
        self.events.push_back(Event::FileComplete(file));
    }

    // Refusals.

    /// A busy peer keeps what it has of ours and takes no more; when it has nothing, it is asked again later.
    fn handle_busy(&mut self, peer_no: PeerNo, queue: Option<u32>, now: Instant) {
        let jitter = self.random.random();
        let Some(peer) = self.peers.get_mut(peer_no) else { return };
        peer.queue = queue;
        peer.window.handle_refused(peer.asks.len());
        if peer.asks.is_empty() && peer.standing == Standing::Fine {
            peer.times_busy = peer.times_busy.saturating_add(1);
            let until = now + backoff(peer.times_busy, FIRST_BUSY, LONGEST_BUSY, jitter);
            self.set_standing(peer_no, Standing::Queued { until });
        }
        self.settle(peer_no);
    }

    fn refuse_job(&mut self, flight: &Flight, why: Refusal, now: Instant) {
        match &flight.job {
            Job::Piece { file, piece } => {
                let download = self.downloads.get_mut(file).filter(|_| why == Refusal::NotFound);
                let is_partial = download.is_some_and(|download| download.source_has_not(flight.peer, *piece, now));
                if !is_partial {
                    self.refuse_file(flight.peer, *file, why);
                }
            }
            Job::Hashes { file, .. } | Job::Have { file, .. } => self.refuse_file(flight.peer, *file, why),
            Job::Files(files) => files.iter().for_each(|file| self.refuse_file(flight.peer, *file, why)),
        }
    }

    fn refuse_file(&mut self, peer_no: PeerNo, file: FileNo, why: Refusal) {
        let Some(peer) = self.peers.get(peer_no).map(|peer| peer.key) else { return };
        let is_doubtful = self.downloads.get(&file).is_some_and(Download::is_of_doubtful_size);
        if why == Refusal::Unsupported && is_doubtful {
            self.cancel_all(file); // it is not of one piece, as somebody had said: its hashes are asked for next
            self.downloads.get_mut(&file).into_iter().for_each(Download::doubt_size);
            return self.sort_in(file);
        }
        self.lose_source(file, peer_no);
        self.events.push_back(Event::SourceLost { file, peer, why });
    }

    // The end of an ask.

    /// Takes an ask out of the books of bytes and peers. What it was for stays in flight.
    pub(super) fn end(&mut self, ask: AskId) -> Option<Flight> {
        let flight = self.flights.remove(&ask)?;
        self.in_flight_bytes -= flight.expected;
        self.slow_bytes -= if flight.is_slow { flight.expected } else { 0 };
        self.dials -= usize::from(flight.is_dial);
        if let Some(peer) = self.peers.get_mut(flight.peer) {
            peer.asks.remove(&ask);
            peer.bytes -= flight.expected;
        }
        self.settle(flight.peer);
        Some(flight)
    }

    /// A peer gave what it was asked for: `bytes` in all.
    fn succeed(&mut self, flight: &Flight, bytes: u64, now: Instant) {
        let Some(peer) = self.peers.get_mut(flight.peer) else { return };
        if flight.received == 0 && !flight.is_dial {
            peer.window.handle_round_trip(now.saturating_duration_since(flight.asked));
        }
        peer.window.handle_answered();
        if bytes > flight.received && flight.is_for_bytes() {
            peer.heard = Some(now);
        }
        (peer.failures, peer.times_busy, peer.queue) = (0, 0, None);
        let in_flight = peer.bytes + flight.expected;
        self.count_bytes(flight.peer, bytes.saturating_sub(flight.received), in_flight, now);
        self.settle(flight.peer);
    }

    /// Counts bytes of a peer for its rate, while asks for `in_flight` bytes are out; a new rate may call for more connections.
    fn count_bytes(&mut self, peer: PeerNo, bytes: u64, in_flight: u64, now: Instant) {
        let Some(peer) = self.peers.get_mut(peer) else { return };
        if !peer.window.handle_bytes(bytes, in_flight, now) {
            return;
        }
        let (rate, delay) = (peer.window.rate().unwrap_or_default(), peer.window.delay());
        if let Some(more) = peer.lanes.add(rate, delay, now) {
            self.events.push_back(Event::ConnectionsWanted { peer: peer.key, more });
        }
        peer.window.set_lanes(peer.lanes.in_use());
    }

    /// What an ask was for is missing again, unless another ask is out for it, and others may take it over.
    pub(super) fn give_back(&mut self, ask: AskId, flight: &Flight, now: Instant) {
        for file in flight.job.files() {
            let is_open = self.downloads.get_mut(file).is_some_and(|download| download.give_back(flight.peer, ask, &flight.job, now));
            if is_open {
                self.sort_in(*file);
            }
        }
    }

    /// Lets go of an ask: its owner is told, and what it was for is open again.
    pub(super) fn abandon(&mut self, ask: AskId, now: Instant) {
        if let Some(flight) = self.end(ask) {
            self.cancels.push_back(ask);
            self.give_back(ask, &flight, now);
        }
    }

    /// Ends all asks of one file, whose download is about to be removed or paused.
    pub(super) fn cancel_all(&mut self, file: FileNo) {
        let Some(download) = self.downloads.get_mut(&file) else { return };
        for ask in download.recall_all() {
            let is_empty = self.flights.get_mut(&ask).is_some_and(|flight| flight.job.drop_file(file));
            if is_empty && self.end(ask).is_some() {
                self.cancels.push_back(ask);
            }
        }
    }

    /// Ends all asks of a peer that will not answer them.
    fn drop_asks(&mut self, peer_no: PeerNo, now: Instant) {
        let asks: Vec<AskId> = self.peers.get(peer_no).map(|peer| peer.asks.iter().copied().collect()).unwrap_or_default();
        for ask in asks {
            if let Some(flight) = self.end(ask) {
                self.give_back(ask, &flight, now);
            }
        }
    }

    /// A peer failed: it is left alone for longer and longer. What fails while it rests is the same failure.
    pub(super) fn rest(&mut self, peer_no: PeerNo, first: Duration, now: Instant) {
        let jitter = self.random.random();
        let Some(peer) = self.peers.get_mut(peer_no) else { return };
        if matches!(peer.standing, Standing::Resting { .. } | Standing::Banned { .. }) {
            return;
        }
        peer.failures = peer.failures.saturating_add(1);
        let until = now + backoff(peer.failures, first, LONGEST_REST, jitter);
        self.set_standing(peer_no, Standing::Resting { until });
    }

    fn ban(&mut self, peer_no: PeerNo, file: FileNo, why: Misdeed, now: Instant) {
        let Some(peer) = self.peers.get(peer_no).map(|peer| peer.key) else { return };
        let until = now + self.config.ban;
        self.set_standing(peer_no, Standing::Banned { until });
        self.events.push_back(Event::PeerBanned { peer, file, why, until });
        let asks: Vec<AskId> = self.peers.get(peer_no).map(|peer| peer.asks.iter().copied().collect()).unwrap_or_default();
        for ask in asks {
            self.abandon(ask, now);
        }
    }
}

impl Job {
    /// Takes one file out. Returns whether nothing is left.
    fn drop_file(&mut self, file: FileNo) -> bool {
        match self {
            Job::Files(files) => {
                files.retain(|other| *other != file);
                files.is_empty()
            }
            Job::Hashes { .. } | Job::Have { .. } | Job::Piece { .. } => true,
        }
    }
}
