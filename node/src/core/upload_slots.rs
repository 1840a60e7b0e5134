//! [`UploadSlots`]: who is served now, and who waits.
//!
//! Invariants, in words:
//!
//! * A request is in exactly one state: queued, served, gone.
//! * No more than `max_serves` pieces are served at a time, or four times as many smaller answers; no more than `max_queued_per_peer` of a peer and
//!   `max_queued` of all wait; what comes beyond is refused as busy.
//! * Peers are served by bytes, not by requests (deficit round robin: Shreedhar and Varghese, 1995): while two peers
//!   wait, neither gets more than a piece ahead of the other, whatever they ask for and however often.
//! * With a limit, the bytes that were let go never pass `limit × time + burst`.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use potluck_common::geometry::PIECE_BYTES;
use potluck_common::peer::PeerKey;
use potluck_common::wire::Refusal;

/// What a peer may send in each round: one piece, so that any request fits into one round.
const QUANTUM: u64 = PIECE_BYTES as u64;
/// As many times more answers that are smaller than a piece are served at a time: as many as a piece has parts.
const SMALLER: usize = 4;
/// Least bytes that a request counts for: a small answer costs a turn as well.
const LEAST_COST: u64 = 4096;
/// Seconds of the limit that may be sent at once after an idle time, so that small requests see no pause.
const BURST_SECONDS: f64 = 0.25;

/// A request of a peer, as its owner numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServeId(pub u64);

/// What the slots keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Most pieces that are served at a time: each holds a body in memory. Smaller answers count by their bytes.
    pub max_serves: usize,
    /// Most requests of one peer that wait: twice what a window asks for.
    pub max_queued_per_peer: usize,
    /// Most requests that wait.
    pub max_queued: usize,
    /// Bytes per second that are let go; `None` for no limit.
    pub limit_up: Option<u64>,
}

/// What to do with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// Serve it now; say [`UploadSlots::finished`] when it is over.
    Serve,
    /// It waits for [`UploadSlots::poll_serve`]; so many requests are before it.
    Queued {
        /// Requests before it, if all peers take turns.
        ahead: u32,
    },
    /// Refuse it.
    Refuse(Refusal),
}

/// Who is served now, and who waits.
///
/// What happened: [`ask`](Self::ask), [`finished`](Self::finished), [`peer_gone`](Self::peer_gone). The user's wish:
/// [`set_limit`](Self::set_limit). What to do: [`poll_serve`](Self::poll_serve) until it gives none, again at
/// [`poll_timeout`](Self::poll_timeout).
#[derive(Debug)]
pub struct UploadSlots {
    config: Config,
    /// Peers with waiting requests.
    queues: BTreeMap<PeerKey, Queue>,
    /// The order of their turns. Each is here once.
    turns: VecDeque<PeerKey>,
    queued: usize,
    /// What is served, and its cost.
    serving: BTreeMap<ServeId, u64>,
    serving_bytes: u64,
    bucket: Option<Bucket>,
}

/// The waiting requests of one peer.
#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<(ServeId, u64)>,
    /// Bytes that it may still send in this round.
    deficit: u64,
    /// Whether its turn has begun: it has had this round's bytes.
    has_turn: bool,
}

/// A token bucket that may be overdrawn by one request and waits until that is paid back.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Bytes per second, at least 1.
    rate: u64,
    /// Bytes that may be let go; below zero, what was let go too early.
    tokens: f64,
    filled_at: Option<Instant>,
}

impl Default for Config {
    /// 24 serves at a time (what one downloader on a long path has in flight), 64 waiting of a peer, 4,096 of all, no limit.
    fn default() -> Self {
        Self { max_serves: 24, max_queued_per_peer: 64, max_queued: 4096, limit_up: None }
    }
}

impl UploadSlots {
    /// Slots that are all free.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let bucket = config.limit_up.map(Bucket::new);
        Self { config, queues: BTreeMap::new(), turns: VecDeque::new(), queued: 0, serving: BTreeMap::new(), serving_bytes: 0, bucket }
    }

    /// Requests that are served now.
    #[must_use]
    pub fn serving(&self) -> usize {
        self.serving.len()
    }

    /// Requests that wait.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// Requests before the one that `peer` would send next.
    #[must_use]
    pub fn ahead_of(&self, peer: &PeerKey) -> u32 {
        let own = self.queues.get(peer).map_or(0, |queue| queue.waiting.len());
        // Of each other peer, as many as of this one come first: they take turns.
        let others = self.queues.iter().filter(|(other, _)| *other != peer).map(|(_, queue)| queue.waiting.len().min(own + 1));
        u32::try_from(own + others.sum::<usize>()).unwrap_or(u32::MAX)
    }

    /// Changes the limit, in bytes per second.
    pub fn set_limit(&mut self, limit_up: Option<u64>) {
        self.config.limit_up = limit_up;
        self.bucket = limit_up.map(Bucket::new);
    }

    /// A peer asks for so many bytes.
    pub fn ask(&mut self, peer: PeerKey, id: ServeId, bytes: u64, now: Instant) -> Verdict {
        let cost = bytes.max(LEAST_COST);
        if self.queued == 0 && self.has_slot() && self.may_send(now) {
            self.serve(id, cost);
            return Verdict::Serve;
        }
        let own = self.queues.get(&peer).map_or(0, |queue| queue.waiting.len());
        if own >= self.config.max_queued_per_peer || self.queued >= self.config.max_queued {
            return Verdict::Refuse(Refusal::Busy);
        }
        let ahead = self.ahead_of(&peer);
        let queue = self.queues.entry(peer).or_insert_with(|| {
            self.turns.push_back(peer);
            Queue::default()
        });
        queue.waiting.push_back((id, cost));
        self.queued += 1;
        Verdict::Queued { ahead }
    }

    /// A request that was served is over, well or not.
    pub fn finished(&mut self, id: ServeId) {
        self.serving_bytes -= self.serving.remove(&id).unwrap_or(0);
    }

    /// A peer is gone: nothing of it waits any more. What is being served to it is over when `finished` says so.
    pub fn peer_gone(&mut self, peer: &PeerKey) {
        if let Some(queue) = self.queues.remove(peer) {
            self.queued -= queue.waiting.len();
            self.turns.retain(|other| other != peer);
        }
    }

    /// The next request to serve now.
    pub fn poll_serve(&mut self, now: Instant) -> Option<ServeId> {
        if self.queued == 0 || !self.has_slot() || !self.may_send(now) {
            return None;
        }
        // Each peer is looked at once at most before one of them can send: a turn brings as much as a request costs.
        for _ in 0..=self.turns.len() {
            let peer = *self.turns.front()?;
            let queue = self.queues.get_mut(&peer)?;
            if !std::mem::replace(&mut queue.has_turn, true) {
                queue.deficit += QUANTUM;
            }
            match queue.waiting.front().copied() {
                Some((id, cost)) if cost <= queue.deficit => {
                    queue.deficit -= cost;
                    queue.waiting.pop_front();
                    self.queued -= 1;
                    if queue.waiting.is_empty() {
                        self.queues.remove(&peer); // and its deficit: idling saves nothing up
                        self.turns.pop_front();
                    }
                    self.serve(id, cost);
                    return Some(id);
                }
                _ => {
                    queue.has_turn = false;
                    self.turns.rotate_left(1);
                }
            }
        }
        None
    }

    /// When the limit lets the next request go; `None` when none waits for the limit.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let bucket = self.bucket.filter(|_| self.queued > 0 && self.has_slot())?;
        let debt = Duration::from_secs_f64((1.0 - bucket.tokens).max(0.0) / bucket.rate as f64);
        Some(bucket.filled_at? + debt)
    }

    fn has_slot(&self) -> bool {
        let most = self.config.max_serves;
        self.serving_bytes < most as u64 * QUANTUM && self.serving.len() < most * SMALLER
    }

    fn may_send(&mut self, now: Instant) -> bool {
        self.bucket.as_mut().is_none_or(|bucket| bucket.has_tokens(now))
    }

    fn serve(&mut self, id: ServeId, cost: u64) {
        self.serving.insert(id, cost);
        self.serving_bytes += cost;
        if let Some(bucket) = &mut self.bucket {
            bucket.tokens -= cost as f64;
        }
    }
}

impl Bucket {
    fn new(rate: u64) -> Self {
        Self { rate: rate.max(1), tokens: 0.0, filled_at: None }
    }

    /// Whether a request may go: whenever there is at least a byte, so that one larger than the burst goes as well and is
    /// paid back before the next.
    fn has_tokens(&mut self, now: Instant) -> bool {
        let rate = self.rate as f64;
        let elapsed = self.filled_at.map_or(BURST_SECONDS, |at| now.saturating_duration_since(at).as_secs_f64());
        self.tokens = (self.tokens + rate * elapsed).min(rate * BURST_SECONDS).max(self.tokens);
        self.filled_at = Some(now);
        self.tokens >= 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::{beginning, peer};
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    /// Peers that keep a number of requests of one size waiting, served one after the other at 100 MiB/s.
    fn play(config: Config, peers: &[(usize, u64)], duration: Duration) -> Vec<u64> {
        let start = beginning();
        let mut slots = UploadSlots::new(config);
        let mut owners: Vec<(usize, u64)> = Vec::new();
        let mut waiting = vec![0; peers.len()];
        let mut sent = vec![0; peers.len()];
        let mut now = start;
        while now < start + duration {
            let mut served = None;
            for (number, (most, bytes)) in peers.iter().enumerate() {
                while waiting[number] < *most {
                    let id = ServeId(owners.len() as u64);
                    owners.push((number, *bytes));
                    waiting[number] += 1;
                    match slots.ask(peer(number as u32), id, *bytes, now) {
                        Verdict::Serve => served = Some(id),
                        Verdict::Queued { .. } => {}
                        Verdict::Refuse(why) => panic!("{why}"),
                    }
                }
            }
            let Some(id) = served.or_else(|| slots.poll_serve(now)) else {
                now = slots.poll_timeout().expect("something waits").max(now + Duration::from_nanos(1));
                continue;
            };
            let (number, bytes) = owners[id.0 as usize];
            waiting[number] -= 1;
            sent[number] += bytes;
            now += Duration::from_secs_f64(bytes as f64 / (100 * MIB) as f64);
            slots.finished(id);
        }
        sent
    }

    #[test]
    fn a_greedy_peer_gets_as_many_bytes_as_a_modest_one() {
        let sent = play(Config { max_serves: 1, ..Config::default() }, &[(60, MIB), (2, MIB)], Duration::from_secs(10));
        let ratio = sent[0] as f64 / sent[1] as f64;
        assert!((0.9..1.1).contains(&ratio), "{sent:?}");
    }

    #[test]
    fn many_small_requests_get_as_many_bytes_as_few_large_ones() {
        let sent = play(Config { max_serves: 1, ..Config::default() }, &[(60, 64 << 10), (4, MIB)], Duration::from_secs(10));
        let ratio = sent[0] as f64 / sent[1] as f64;
        assert!((0.9..1.1).contains(&ratio), "{sent:?}");
    }

    #[test]
    fn the_limit_holds_whatever_the_requests_are() {
        for (limit, bytes) in [(10 * MIB, MIB), (10 * MIB, 8192), (MIB, MIB), (100_000, MIB), (3 * MIB, 100_000)] {
            let seconds = 100.0;
            let sent =
                play(Config { max_serves: 1, limit_up: Some(limit), ..Config::default() }, &[(8, bytes)], Duration::from_secs_f64(seconds));
            let reached = (sent[0] as f64 - bytes as f64) / seconds; // the last one is on its way
            assert!((0.90..=1.05).contains(&(reached / limit as f64)), "limit {limit}, requests of {bytes}: {reached}");
        }
    }

    /// G053.
    #[test]
    fn what_comes_beyond_the_bounds_is_refused_as_busy() {
        let now = beginning();
        let mut slots = UploadSlots::new(Config { max_serves: 1, max_queued_per_peer: 2, max_queued: 3, limit_up: None });
        let ask = |slots: &mut UploadSlots, number, id| slots.ask(peer(number), ServeId(id), MIB, now);
        assert_eq!(ask(&mut slots, 0, 0), Verdict::Serve);
        assert_eq!(ask(&mut slots, 0, 1), Verdict::Queued { ahead: 0 });
        assert_eq!(ask(&mut slots, 0, 2), Verdict::Queued { ahead: 1 });
        assert_eq!(ask(&mut slots, 0, 3), Verdict::Refuse(Refusal::Busy));
        assert_eq!(ask(&mut slots, 1, 4), Verdict::Queued { ahead: 1 }, "it takes turns with the first peer");
        assert_eq!(ask(&mut slots, 2, 5), Verdict::Refuse(Refusal::Busy));
        assert_eq!(slots.poll_serve(now), None, "the slot is taken");
        slots.finished(ServeId(0));
        slots.peer_gone(&peer(0));
        assert_eq!(slots.poll_serve(now), Some(ServeId(4)));
        assert_eq!((slots.queued(), slots.serving()), (0, 1));
    }

    #[test]
    fn small_answers_count_for_less() {
        let now = beginning();
        let serve = |bytes: u64| {
            let mut slots = UploadSlots::new(Config { max_serves: 2, ..Config::default() });
            (0..20).filter(|id| slots.ask(peer(0), ServeId(*id), bytes, now) == Verdict::Serve).count()
        };
        assert_eq!([MIB, MIB / 2, MIB / 4, 1].map(serve), [2, 4, 8, 8]);
    }

    proptest! {
        #[test]
        fn every_request_is_served_or_refused_or_its_peer_is_gone(
            steps in prop::collection::vec((0u8..4, 0u32..4, 0u64..2 * MIB), 0..200), limit in prop::option::of(1000u64..10 * MIB),
        ) {
            let mut now = beginning();
            let config = Config { max_serves: 3, max_queued_per_peer: 4, max_queued: 10, limit_up: limit };
            let mut slots = UploadSlots::new(config);
            let (mut waiting, mut serving) = (BTreeMap::new(), Vec::new());
            for (next, (step, number, bytes)) in steps.into_iter().enumerate() {
                let id = ServeId(next as u64);
                now += Duration::from_millis(bytes % 300);
                match step {
                    0 | 1 => match slots.ask(peer(number), id, bytes.min(MIB), now) {
                        Verdict::Serve => serving.push(id),
                        Verdict::Queued { .. } => _ = waiting.insert(id, number),
                        Verdict::Refuse(_) => {}
                    },
                    2 => {
                        slots.peer_gone(&peer(number));
                        waiting.retain(|_, owner| *owner != number);
                    }
                    _ => if let Some(id) = serving.pop() { slots.finished(id) },
                }
                while let Some(id) = slots.poll_serve(now) {
                    prop_assert!(waiting.remove(&id).is_some());
                    serving.push(id);
                }
                prop_assert_eq!(slots.queued(), waiting.len());
                prop_assert_eq!(slots.serving(), serving.len());
                prop_assert!(serving.len() <= 3 * SMALLER && slots.serving_bytes < 4 * MIB && waiting.len() <= 10);
            }
            for id in serving { slots.finished(id) }
            for _ in 0..1000 {
                now += Duration::from_secs(3600);
                while let Some(id) = slots.poll_serve(now) {
                    waiting.remove(&id);
                    slots.finished(id);
                }
            }
            prop_assert!(waiting.is_empty());
            prop_assert_eq!(slots.serving_bytes, 0);
        }
    }
}
