//! Peers on a virtual clock: each sends what it is asked for, one answer after the other, at its rate.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use potluck_common::content_id::{ContentId, PieceHash};
use potluck_common::geometry::{Geometry, PIECE_BYTES, PieceIndex};
use potluck_common::wire::Refusal;
use potluck_common::wire::piece::MAX_HASHES;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::super::*;
use crate::core::download::Class;
use crate::core::testing::{beginning, peer};

/// What is sent between two looks at the clock.
const QUANTUM: u64 = 64 << 10;

/// How a peer behaves.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Honest,
    /// Accepts and sends nothing.
    Silent,
    /// Sends nothing after so many answers.
    SilentAfter(u32),
    /// Sends wrong bytes and wrong hashes.
    Liar,
    /// Is gone after so many answers; and back after so many seconds.
    DiesAfter(u32, u64),
    /// Refuses every so many requests as busy.
    Busy(u32),
    /// Says that it has what it has not.
    Empty,
}

/// A peer that is to be played.
#[derive(Clone, Debug)]
pub(super) struct PeerPlan {
    pub(super) rate: f64,
    pub(super) delay: Duration,
    pub(super) kind: Kind,
    /// The pieces that it has of each file; `None`: all of all.
    pub(super) has: Option<u8>,
}

/// How it went.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) seconds: f64,
    /// Bytes that came in beyond those of the files.
    pub(super) wasted: u64,
    pub(super) asks: usize,
}

struct SimPeer {
    plan: PeerPlan,
    is_online: bool,
    answers: u32,
    queue: VecDeque<(AskId, u64)>,
    is_sending: bool,
}

struct SimFile {
    content_id: ContentId,
    geometry: Geometry,
    hashes: Arc<[PieceHash]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Arrives(AskId, u32),
    Sends(u32),
    ComesBack(u32),
    Timer,
}

pub(super) struct Simulator {
    scheduler: Scheduler,
    start: Instant,
    now: Instant,
    peers: Vec<SimPeer>,
    files: Vec<SimFile>,
    heap: BinaryHeap<Reverse<(Instant, u64, Happening)>>,
    happenings: u64,
    out: BTreeMap<AskId, (u32, Ask, u64)>,
    received: u64,
    complete: BTreeSet<FileNo>,
    asks: usize,
    is_checked: bool,
}

/// A content id and the piece hashes that combine to it.
pub(super) fn file_of(size: u64, seed: u64) -> (ContentId, Arc<[PieceHash]>) {
    let geometry = Geometry::new(size).unwrap();
    let mut random = StdRng::seed_from_u64(seed ^ size);
    let hashes: Vec<PieceHash> = geometry.pieces().map(|_| PieceHash::from_bytes(random.random())).collect();
    (ContentId::combine(geometry, &hashes).unwrap(), hashes.into())
}

impl Simulator {
    /// Plays until all files are complete.
    pub(super) fn run(seed: u64, plans: &[PeerPlan], sizes: &[u64]) -> Outcome {
        Self::new(seed, plans, sizes, false).play()
    }

    /// A swarm drawn from a seed, in which the first peer is honest and has everything.
    pub(super) fn random(seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        let mut plans = vec![];
        for number in 0..random.random_range(1..6) {
            let kind = match random.random_range(0..9) {
                _ if number == 0 => Kind::Honest,
                0 => Kind::Silent,
                1 => Kind::SilentAfter(random.random_range(0..10)),
                2 => Kind::Liar,
                3 => Kind::DiesAfter(random.random_range(0..10), random.random_range(1..60)),
                4 => Kind::Busy(random.random_range(1..5)),
                5 => Kind::Empty,
                _ => Kind::Honest,
            };
            let rate = 10f64.powf(random.random_range(4.5..8.0));
            let delay = Duration::from_millis(random.random_range(0..300));
            let has = (number > 0 && random.random_bool(0.3)).then(|| random.random());
            plans.push(PeerPlan { rate, delay, kind, has });
        }
        let sizes: Vec<u64> = (0..random.random_range(1..12))
            .map(|_| if random.random_bool(0.6) { random.random_range(0..2 << 20) } else { random.random_range(0..30 << 20) })
            .collect();
        let outcome = Self::new(seed, &plans, &sizes, seed < 200).play();
        let slowest = sizes.iter().sum::<u64>() as f64 / plans[0].rate;
        assert!(outcome.seconds < slowest * 3.0 + 60.0, "seed {seed}: {outcome:?}, alone {slowest:.1} s, {plans:?}");
    }

    fn new(seed: u64, plans: &[PeerPlan], sizes: &[u64], is_checked: bool) -> Self {
        let start = beginning();
        let peers = plans.iter().map(|plan| {
            SimPeer { plan: plan.clone(), is_online: true, answers: 0, queue: VecDeque::new(), is_sending: false } //
        });
        let files = sizes.iter().zip(0..).map(|(size, number)| {
            let (content_id, hashes) = file_of(*size, seed + number);
            SimFile { content_id, geometry: Geometry::new(*size).unwrap(), hashes }
        });
        let mut simulator = Self {
            scheduler: Scheduler::new(Config::default(), seed),
            start,
            now: start,
            peers: peers.collect(),
            files: files.collect(),
            heap: BinaryHeap::new(),
            happenings: 0,
            out: BTreeMap::new(),
            received: 0,
            complete: BTreeSet::new(),
            asks: 0,
            is_checked,
        };
        simulator.begin(seed);
        simulator
    }

    fn begin(&mut self, seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        for (number, file) in self.files.iter().enumerate() {
            let number = FileNo(number as u32);
            let size = (!self.is_checked || random.random_bool(0.8)).then(|| file.geometry.size());
            let want =
                Want { content_id: file.content_id, size, hashes: None, verified: None, priority: Priority::Normal, in_order: false };
            self.scheduler.add(number, want);
        }
        for (number, sim) in self.peers.iter().enumerate() {
            if random.random_bool(0.5) {
                self.scheduler.handle_connected(peer(number as u32));
            }
            for file in 0..self.files.len() {
                match sim.plan.has {
                    None => self.scheduler.handle_source(FileNo(file as u32), peer(number as u32), self.now),
                    Some(_) => self.scheduler.handle_partial_source(FileNo(file as u32), peer(number as u32), &[], self.now),
                }
            }
        }
    }

    fn play(mut self) -> Outcome {
        loop {
            self.follow();
            if self.complete.len() == self.files.len() {
                break;
            }
            let at = self.scheduler.poll_timeout();
            match self.heap.peek() {
                Some(Reverse((next, ..))) if at.is_none_or(|at| at >= *next) => {}
                _ => self.plan(at.expect("it waits for something").max(self.now), Happening::Timer),
            }
            let Some(Reverse((at, _, happening))) = self.heap.pop() else { unreachable!() };
            self.now = at;
            assert!(self.now < self.start + Duration::from_secs(48 * 3600), "it never ends: {:?}", self.scheduler);
            self.happen(happening);
        }
        let total: u64 = self.files.iter().map(|file| file.geometry.size()).sum();
        let seconds = (self.now - self.start).as_secs_f64();
        assert_eq!((self.scheduler.in_flight(), self.scheduler.in_flight_bytes()), (0, 0));
        Outcome { seconds, wasted: self.received.saturating_sub(total), asks: self.asks }
    }

    fn plan(&mut self, at: Instant, happening: Happening) {
        self.happenings += 1;
        self.heap.push(Reverse((at, self.happenings, happening)));
    }

    /// Does what the scheduler wants.
    fn follow(&mut self) {
        self.let_go();
        while let Some(ask) = self.scheduler.poll_request(self.now) {
            self.asks += 1;
            let number = (0..self.peers.len() as u32).find(|number| peer(*number) == ask.peer).unwrap();
            self.check_ask(number, &ask);
            let delay = self.peers[number as usize].plan.delay;
            self.plan(self.now + delay, Happening::Arrives(ask.id, number));
            self.out.insert(ask.id, (number, ask, 0));
            self.let_go();
        }
        assert!(self.scheduler.in_flight_bytes() <= Config::default().max_in_flight_bytes);
        if self.is_checked {
            check(&self.scheduler);
        }
        while let Some(event) = self.scheduler.poll_event() {
            match event {
                Event::FileComplete(file) => assert!(self.complete.insert(file)),
                Event::PeerBanned { peer: banned, .. } => {
                    let liar = self.peers.iter().enumerate().find(|(number, _)| peer(*number as u32) == banned).unwrap();
                    assert_eq!(liar.1.plan.kind, Kind::Liar);
                }
                Event::HashesKnown(_) | Event::SourcesWanted(_) | Event::SourceLost { .. } | Event::ConnectionsWanted { .. } => {}
            }
        }
    }

    fn let_go(&mut self) {
        while let Some(ask) = self.scheduler.poll_cancel() {
            if let Some((number, ..)) = self.out.remove(&ask) {
                self.peers[number as usize].queue.retain(|(other, _)| *other != ask);
            }
        }
    }

    /// The promises of the scheduler about what it asks for.
    fn check_ask(&self, number: u32, ask: &Ask) {
        let sim = &self.peers[number as usize];
        let out = self.out.values().filter(|(other, ..)| *other == number).count();
        assert!(out < 32, "too many requests at one peer");
        let pieces: Vec<(FileNo, PieceIndex)> = match &ask.what {
            What::Piece { file, piece, .. } => vec![(*file, *piece)],
            What::Files(files) => files.iter().map(|(file, _)| (*file, self.files[file.0 as usize].geometry.piece(0).unwrap())).collect(),
            What::Hashes { .. } | What::Have { .. } => vec![],
        };
        for (file, piece) in pieces {
            assert!(!self.complete.contains(&file));
            if let What::Piece { .. } = ask.what {
                assert!(sim.has(piece), "peer {number} does not have {piece:?}");
            }
            let Some(PieceState::InFlight(asks)) = self.scheduler.piece_state(file, piece) else { panic!("{ask:?} is not in flight") };
            assert!(asks.contains(&ask.id) && asks.len() <= 2);
            if asks.len() == 2 {
                assert_eq!(self.scheduler.progress(file).unwrap().missing_pieces, 0, "asked twice before the end");
            }
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Timer => self.scheduler.handle_timeout(self.now),
            Happening::ComesBack(number) => {
                self.peers[number as usize].is_online = true;
                self.scheduler.handle_connected(peer(number));
            }
            Happening::Arrives(ask, number) => self.arrive(ask, number),
            Happening::Sends(number) => self.send(number),
        }
    }

    fn arrive(&mut self, id: AskId, number: u32) {
        let Some((_, ask, _)) = self.out.get(&id) else { return };
        let bytes = self.answer_bytes(number, &ask.what);
        let sim = &mut self.peers[number as usize];
        if !sim.is_online {
            self.out.remove(&id);
            return self.scheduler.handle_failed(id, self.now);
        }
        self.scheduler.handle_connected(peer(number));
        sim.answers += 1;
        match sim.plan.kind {
            Kind::DiesAfter(answers, seconds) if sim.answers % (answers + 1) == answers => return self.die(number, seconds),
            Kind::Silent => return,
            Kind::SilentAfter(answers) if sim.answers > answers => return,
            Kind::Busy(every) if !sim.answers.is_multiple_of(every + 1) => {
                self.out.remove(&id);
                return self.scheduler.handle_refused(id, Refusal::Busy, Some(3), self.now);
            }
            Kind::Empty => {
                self.out.remove(&id);
                return self.scheduler.handle_refused(id, Refusal::NotFound, None, self.now);
            }
            _ => sim.queue.push_back((id, bytes)),
        }
        self.schedule(number);
    }

    fn die(&mut self, number: u32, seconds: u64) {
        let sim = &mut self.peers[number as usize];
        sim.is_online = false;
        sim.queue.clear();
        self.out.retain(|_, (other, ..)| *other != number);
        self.scheduler.handle_disconnected(peer(number), self.now);
        self.plan(self.now + Duration::from_secs(seconds), Happening::ComesBack(number));
    }

    fn schedule(&mut self, number: u32) {
        let sim = &mut self.peers[number as usize];
        let Some((_, left)) = sim.queue.front().filter(|_| !sim.is_sending) else { return };
        sim.is_sending = true;
        let takes = Duration::from_secs_f64((*left).min(QUANTUM) as f64 / sim.plan.rate);
        self.plan(self.now + takes, Happening::Sends(number));
    }

    fn send(&mut self, number: u32) {
        let sim = &mut self.peers[number as usize];
        sim.is_sending = false;
        if let Some((id, left)) = sim.queue.front_mut() {
            let id = *id;
            let sent = (*left).min(QUANTUM);
            *left -= sent;
            let is_over = *left == 0;
            self.received += sent;
            let Some((_, ask, so_far)) = self.out.get_mut(&id) else { panic!("{id:?} was let go") };
            *so_far += sent;
            let (ask, so_far) = (ask.clone(), *so_far);
            if !matches!(ask.what, What::Piece { .. } | What::Files(_)) {
                self.received -= sent;
            }
            self.scheduler.handle_progress(id, so_far, self.now);
            if is_over {
                self.peers[number as usize].queue.pop_front();
                self.out.remove(&id);
                self.finish(number, ask);
            }
        }
        self.schedule(number);
    }

    /// Tells the scheduler what came.
    fn finish(&mut self, number: u32, ask: Ask) {
        let is_lie = self.peers[number as usize].plan.kind == Kind::Liar;
        match ask.what {
            What::Hashes { file, from, .. } => {
                let sim = &self.files[file.0 as usize];
                let page: Vec<PieceHash> = sim.hashes[from as usize..].iter().take(MAX_HASHES as usize).copied().collect();
                let lie = vec![PieceHash::from_bytes([7; 32]); page.len()];
                let _ = self.scheduler.handle_hashes(ask.id, sim.geometry.size(), if is_lie { &lie } else { &page }, self.now);
            }
            What::Have { from, .. } => {
                assert_eq!(from, 0);
                let bits = self.peers[number as usize].plan.has.map(|pattern| vec![pattern; 8]);
                self.scheduler.handle_have(ask.id, bits.as_deref(), self.now);
            }
            What::Piece { file, .. } if is_lie => self.scheduler.handle_bad(ask.id, file, Misdeed::WrongBytes, self.now),
            What::Piece { file, piece, .. } => self.scheduler.handle_verified(ask.id, file, piece, self.now),
            What::Files(files) => {
                for (file, _) in files {
                    let first = self.files[file.0 as usize].geometry.piece(0).unwrap();
                    if is_lie {
                        return self.scheduler.handle_bad(ask.id, file, Misdeed::WrongBytes, self.now);
                    }
                    self.scheduler.handle_verified(ask.id, file, first, self.now);
                }
            }
        }
    }

    fn answer_bytes(&self, _: u32, what: &What) -> u64 {
        match what {
            What::Hashes { file, .. } => 32 * self.files[file.0 as usize].geometry.piece_count(),
            What::Have { .. } => 8,
            What::Piece { file, piece, .. } => u64::from(self.files[file.0 as usize].geometry.length(*piece)),
            What::Files(files) => files.iter().map(|(file, _)| self.files[file.0 as usize].geometry.size()).sum::<u64>().max(1),
        }
    }
}

impl SimPeer {
    fn has(&self, piece: PieceIndex) -> bool {
        self.plan.has.is_none_or(|pattern| pattern >> (piece.number() % 8) & 1 == 1)
    }
}

/// The invariants of the scheduler's books.
pub(super) fn check(scheduler: &Scheduler) {
    let expected: u64 = scheduler.flights.values().map(|flight| flight.expected).sum();
    assert_eq!(scheduler.in_flight_bytes, expected);
    let slow: u64 = scheduler.flights.values().filter(|flight| flight.is_slow).map(|flight| flight.expected).sum();
    assert_eq!(scheduler.slow_bytes, slow);
    assert_eq!(scheduler.dials, scheduler.flights.values().filter(|flight| flight.is_dial).count());
    assert!(scheduler.in_flight_bytes <= scheduler.config.max_in_flight_bytes);
    for (id, flight) in &scheduler.flights {
        assert!(scheduler.peers.get(flight.peer).is_some_and(|peer| peer.asks.contains(id)));
        let is_have = matches!(flight.job, Job::Have { .. }); // its source may be gone, or be another since
        for file in flight.job.files().iter().filter(|_| !is_have) {
            assert!(scheduler.downloads[file].asks().contains(id), "{id:?} {flight:?} is not known to its file");
        }
    }
    for (file, download) in &scheduler.downloads {
        for ask in download.asks() {
            assert!(scheduler.flights.get(&ask).is_some_and(|flight| flight.job.files().contains(file)), "{ask:?} is not out");
        }
        for source in &download.sources {
            let peer = scheduler.peers.get(source.peer).unwrap();
            let entry = (download.rank, *file);
            let class = download.class();
            assert_eq!(peer.small.contains(&entry), class == Class::Small, "{file:?} {class:?}");
            assert!(!peer.large.contains(&entry) || class == Class::Large);
        }
        let Stage::Many(pieces) = &download.stage else { continue };
        for piece in pieces.geometry().pieces().take(100) {
            let states = [pieces.missing().contains(piece), !pieces.asks(piece).is_empty(), pieces.verified().contains(piece)];
            assert_eq!(states.iter().filter(|state| **state).count(), 1, "{piece:?} is in {states:?}");
            assert!(pieces.asks(piece).len() <= 2);
        }
    }
    for (_, peer) in &scheduler.turns {
        let peer = scheduler.peers.get(*peer).unwrap();
        assert!(peer.has_room() && peer.has_work());
    }
}

/// Calls everything in any order, sense or not.
pub(super) fn play_nonsense(seed: u64, steps: Vec<(u8, u32, u32, u64)>) {
    let mut now = beginning();
    let mut scheduler = Scheduler::new(Config { max_in_flight_bytes: 6 << 20, ..Config::default() }, seed);
    let sizes = [0, 1, 1 << 20, (1 << 20) + 1, 5 << 20, 9 << 20];
    let mut asks: Vec<Ask> = Vec::new();
    for (step, file, number, amount) in steps {
        let size = sizes[file as usize];
        let (file, who) = (FileNo(file), peer(number));
        let (content_id, hashes) = file_of(size, 3);
        let ask = asks.get(amount as usize % asks.len().max(1)).map_or(AskId(amount), |ask| ask.id);
        let piece = Geometry::new(size).unwrap().piece(amount % (size / u64::from(PIECE_BYTES) + 1).max(1));
        now += Duration::from_millis(amount);
        match step {
            0 => {
                let known = amount % 2 == 0;
                let hashes = (amount % 3 == 0).then_some(hashes);
                let want = Want {
                    content_id,
                    size: known.then_some(size),
                    hashes,
                    verified: None,
                    priority: Priority::Low,
                    in_order: amount % 5 == 0,
                };
                scheduler.add(file, want);
            }
            1 | 2 => scheduler.handle_source(file, who, now),
            3 => scheduler.handle_partial_source(file, who, &amount.to_le_bytes(), now),
            4 => scheduler.handle_source_lost(file, who),
            5 => scheduler.handle_connected(who),
            6 => scheduler.handle_disconnected(who, now),
            7 => _ = scheduler.handle_hashes(ask, size, &hashes, now),
            8 => scheduler.handle_have(ask, (amount % 4 > 0).then_some(&amount.to_le_bytes()), now),
            9 => scheduler.handle_progress(ask, amount * 1000, now),
            10 => {
                if let Some(piece) = piece {
                    scheduler.handle_verified(ask, file, piece, now);
                }
            }
            11 => scheduler.handle_finished(ask, now),
            12 => scheduler.handle_refused(ask, [Refusal::Busy, Refusal::NotFound, Refusal::Unavailable][amount as usize % 3], None, now),
            13 => scheduler.handle_file_refused(ask, file, [Refusal::Unsupported, Refusal::NotFound][amount as usize % 2], now),
            14 if amount % 7 == 0 => scheduler.handle_bad(ask, file, Misdeed::Nonsense, now),
            14 => scheduler.handle_failed(ask, now),
            _ if amount % 3 == 0 => scheduler.remove(file),
            _ if amount % 3 == 1 => scheduler.pause(file),
            _ => scheduler.resume(file),
        }
        check(&scheduler);
        while let Some(ask) = scheduler.poll_request(now) {
            asks.push(ask);
            check(&scheduler);
        }
        while scheduler.poll_cancel().is_some() || scheduler.poll_event().is_some() {}
        if let Some(at) = scheduler.poll_timeout() {
            scheduler.handle_timeout(at.max(now));
            check(&scheduler);
        }
    }
}
