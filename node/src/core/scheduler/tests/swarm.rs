//! A swarm on a clock that is only a number: one node has a file, others fetch it at the same time, from it and from each
//! other. Each has a scheduler of its own, and sends by one line that all who ask it share.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use potluck_common::content_id::{ContentId, PieceHash};
use potluck_common::geometry::{Geometry, PieceIndex};
use potluck_common::wire::Refusal;

use super::super::*;
use super::file_of;
use crate::core::piece_set::PieceSet;
use crate::core::testing::{beginning, peer};

/// What passes between two looks at the clock.
const STEP: Duration = Duration::from_millis(5);
/// What a line sends to one before it is the next one's turn.
const FRAME: u64 = 16 << 10;
/// How often a node looks what came in.
const TICK_STEPS: u64 = 50;
/// How long until a tracker tells of a node that has begun.
const PUBLISHED_AFTER: Duration = Duration::from_millis(300);

/// How it went.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Until the last one had it.
    pub(super) seconds: f64,
    /// What the first node sent, in sizes of the file.
    pub(super) seed_sent: f64,
}

/// A node. The first has the file, the others fetch it.
struct Node {
    scheduler: Option<Scheduler>,
    has: PieceSet,
    /// What it owes to each other, by who asked.
    queues: BTreeMap<u32, VecDeque<Owed>>,
    turns: VecDeque<u32>,
    sent: u64,
    credit: u64,
    known_from: Option<Instant>,
}

struct Owed {
    ask: AskId,
    piece: Option<PieceIndex>,
    left: u64,
    came: u64,
}

/// What arrives after the way through the line.
enum Arrival {
    Request { from: u32, to: u32, ask: Ask },
    Answer { to: u32, ask: AskId, answer: Answer },
    Sources { to: u32, file: FileNo },
}

enum Answer {
    Piece(PieceIndex),
    Have(Option<Vec<u8>>),
    NotFound,
}

pub(super) struct Swarm {
    start: Instant,
    now: Instant,
    nodes: Vec<Node>,
    arrivals: BTreeMap<(Instant, u64), Arrival>,
    arrived: u64,
    rate: f64,
    delay: Duration,
}

const FILE: FileNo = FileNo(0);

impl Swarm {
    /// Plays until all have it: `fetching` nodes that all send `rate` bytes a second.
    pub(super) fn run(seed: u64, fetching: u32, size: u64, rate: f64, delay: Duration) -> Outcome {
        let geometry = Geometry::new(size).unwrap();
        let (content_id, hashes) = file_of(size, 7);
        let nodes = (0..=fetching).map(|number| Node::new(number, seed, geometry, content_id, &hashes, delay)).collect();
        let now = beginning();
        let mut swarm = Self { start: now, now, nodes, arrivals: BTreeMap::new(), arrived: 0, rate, delay };
        swarm.play();
        let sent = swarm.nodes[0].sent as f64 / size as f64;
        Outcome { seconds: (swarm.now - swarm.start).as_secs_f64(), seed_sent: sent }
    }

    fn play(&mut self) {
        for step in 0.. {
            self.now += STEP;
            assert!(self.now < self.start + Duration::from_secs(600), "it never ends");
            self.deliver();
            (0..self.nodes.len() as u32).for_each(|number| self.send(number));
            if step % TICK_STEPS == 0 {
                self.tick();
            }
            (1..self.nodes.len() as u32).for_each(|number| self.follow(number));
            if self.nodes.iter().all(|node| node.has.is_full()) {
                return;
            }
        }
    }

    fn later(&mut self, after: Duration, arrival: Arrival) {
        self.arrived += 1;
        self.arrivals.insert((self.now + after, self.arrived), arrival);
    }

    /// Does what a node's scheduler wants.
    fn follow(&mut self, number: u32) {
        let (now, delay) = (self.now, self.delay);
        let scheduler = self.nodes[number as usize].scheduler.as_mut().unwrap();
        scheduler.handle_timeout(now);
        let cancels: Vec<AskId> = std::iter::from_fn(|| scheduler.poll_cancel()).collect();
        let asks: Vec<Ask> = std::iter::from_fn(|| scheduler.poll_request(now)).collect();
        let events: Vec<Event> = std::iter::from_fn(|| scheduler.poll_event()).collect();
        for node in &mut self.nodes {
            node.queues.get_mut(&number).into_iter().for_each(|queue| queue.retain(|owed| !cancels.contains(&owed.ask)));
        }
        for ask in asks {
            let to = (0..self.nodes.len() as u32).find(|number| peer(*number) == ask.peer).unwrap();
            self.later(delay / 2, Arrival::Request { from: number, to, ask });
        }
        for event in events {
            if let Event::SourcesWanted(file) = event {
                self.later(delay, Arrival::Sources { to: number, file });
            }
        }
    }

    fn deliver(&mut self) {
        while let Some(entry) = self.arrivals.first_entry().filter(|entry| entry.key().0 <= self.now) {
            match entry.remove() {
                Arrival::Request { from, to, ask } => self.take_request(from, to, &ask),
                Arrival::Answer { to, ask, answer } => self.take_answer(to, ask, answer),
                Arrival::Sources { to, file } => self.tell_sources(to, file),
            }
        }
    }

    fn tell_sources(&mut self, to: u32, file: FileNo) {
        let now = self.now;
        let known: Vec<u32> = (0..self.nodes.len() as u32)
            .filter(|one| *one != to && self.nodes[*one as usize].known_from.is_some_and(|at| at <= now))
            .collect();
        let scheduler = self.nodes[to as usize].scheduler.as_mut().unwrap();
        for one in known {
            scheduler.handle_connected(peer(one));
            scheduler.handle_round_trip(peer(one), self.delay, now);
            scheduler.handle_source(file, peer(one), now);
        }
    }

    fn take_request(&mut self, from: u32, to: u32, ask: &Ask) {
        let node = &mut self.nodes[to as usize];
        let (piece, left) = match ask.what {
            What::Piece { piece, .. } if node.has.contains(piece) => (Some(piece), u64::from(node.has.geometry().length(piece))),
            What::Have { .. } => (None, 1),
            _ => return self.later(self.delay / 2, Arrival::Answer { to: from, ask: ask.id, answer: Answer::NotFound }),
        };
        if !node.turns.contains(&from) {
            node.turns.push_back(from);
        }
        node.queues.entry(from).or_default().push_back(Owed { ask: ask.id, piece, left, came: 0 });
    }

    /// Sends what a line sends in a step: to all who wait in turn, and to each of them all that it waits for in turn.
    fn send(&mut self, number: u32) {
        let node = &mut self.nodes[number as usize];
        node.credit += (self.rate * STEP.as_secs_f64()) as u64;
        let mut sent = Vec::new();
        while node.credit >= FRAME {
            let Some(to) = node.turns.pop_front() else {
                node.credit = 0;
                break;
            };
            let Some(queue) = node.queues.get_mut(&to) else { continue };
            let Some(mut owed) = queue.pop_front() else { continue };
            let frame = owed.left.min(FRAME);
            owed.left -= frame;
            owed.came += frame;
            node.credit -= frame;
            node.sent += frame;
            if owed.left > 0 {
                queue.push_back(owed);
            } else {
                let answer = match owed.piece {
                    Some(piece) => Answer::Piece(piece),
                    None => Answer::Have((number > 0).then(|| node.has.to_bytes())),
                };
                sent.push(Arrival::Answer { to, ask: owed.ask, answer });
            }
            node.turns.push_back(to);
        }
        sent.into_iter().for_each(|arrival| self.later(self.delay / 2, arrival));
    }

    /// Every node sees what came in of what it waits for.
    fn tick(&mut self) {
        let mut came = Vec::new();
        for node in &self.nodes {
            came.extend(node.queues.iter().flat_map(|(to, queue)| queue.iter().map(|owed| (*to, owed.ask, owed.came))));
        }
        for (to, ask, bytes) in came {
            self.nodes[to as usize].scheduler.as_mut().unwrap().handle_progress(ask, bytes, self.now);
        }
    }

    fn take_answer(&mut self, to: u32, ask: AskId, answer: Answer) {
        let now = self.now;
        let node = &mut self.nodes[to as usize];
        let scheduler = node.scheduler.as_mut().unwrap();
        match answer {
            Answer::NotFound => scheduler.handle_refused(ask, Refusal::NotFound, None, now),
            Answer::Have(bits) => scheduler.handle_have(ask, bits.as_deref(), now),
            Answer::Piece(piece) => {
                scheduler.handle_verified(ask, FILE, piece, now);
                node.has.insert(piece);
            }
        }
    }
}

impl Node {
    fn new(number: u32, seed: u64, geometry: Geometry, content_id: ContentId, hashes: &Arc<[PieceHash]>, delay: Duration) -> Self {
        let now = beginning();
        let none = PieceSet::empty(geometry);
        let scheduler = (number > 0).then(|| {
            let mut scheduler = Scheduler::new(Config { me: Some(peer(number)), ..Config::default() }, seed * 100 + u64::from(number));
            let size = Some(geometry.size());
            let hashes = Some(Arc::clone(hashes));
            scheduler.add(FILE, Want { content_id, size, hashes, verified: None, priority: Priority::Normal, in_order: false });
            scheduler.handle_connected(peer(0));
            scheduler.handle_round_trip(peer(0), delay, now);
            scheduler.handle_source(FILE, peer(0), now);
            scheduler
        });
        let is_seed = scheduler.is_none();
        Self {
            scheduler,
            has: if is_seed { PieceSet::full(geometry) } else { none },
            queues: BTreeMap::new(),
            turns: VecDeque::new(),
            sent: 0,
            credit: 0,
            known_from: Some(now + if is_seed { Duration::ZERO } else { PUBLISHED_AFTER }),
        }
    }
}
