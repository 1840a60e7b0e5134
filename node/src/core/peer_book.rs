//! [`PeerBook`]: what is known of each peer that downloads use: its window, its standing, what it could be asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use potluck_common::peer::PeerKey;

use super::lanes::Lanes;
use super::scheduler::{AskId, FileNo};
use super::window::Window;

/// Most peers that are known at a time, banned ones included: at some hundred bytes each, under a megabyte.
const MAX_PEERS: usize = 4096;

/// A peer's place in the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PeerNo(u32);

/// When a file's turn comes: the higher priority first, then the one that was wanted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    pub(super) priority: std::cmp::Reverse<super::scheduler::Priority>,
    pub(super) number: u64,
}

/// Whether a peer may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It may.
    Fine,
    /// Its upload slots are taken: not before `until`.
    Queued { until: Instant },
    /// It failed: not before `until`, or until it connects again.
    Resting { until: Instant },
    /// It lied: not before `until`.
    Banned { until: Instant },
}

/// What is known of one peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) key: PeerKey,
    pub(super) is_connected: bool,
    pub(super) standing: Standing,
    /// Failures since the last success: the exponent of the backoff.
    pub(super) failures: u32,
    /// Times in a row that it was busy: the exponent of how long to wait.
    pub(super) times_busy: u32,
    /// Its place in the other side's queue when it was last busy.
    pub(super) queue: Option<u32>,
    /// When bytes of a file, or the hashes of one, came from it last.
    pub(super) heard: Option<Instant>,
    pub(super) window: Window,
    pub(super) lanes: Lanes,
    pub(super) asks: BTreeSet<AskId>,
    /// Bytes that the answers to them may have.
    pub(super) bytes: u64,
    /// Files of one piece that it may be asked for.
    pub(super) small: BTreeSet<(Rank, FileNo)>,
    /// Files that it may be asked for piece by piece, or whose pieces it may be asked about.
    pub(super) large: BTreeSet<(Rank, FileNo)>,
    /// Whether the last ask was for small files: they take turns with large ones of the same priority.
    pub(super) last_was_small: bool,
    /// Its place among the peers that could be asked now.
    pub(super) turn: Option<u64>,
    /// Downloads that name it as a source.
    pub(super) files: u32,
}

/// All peers that downloads use.
#[derive(Debug)]
pub(super) struct PeerBook {
    numbers: BTreeMap<PeerKey, PeerNo>,
    peers: Vec<Option<Peer>>,
    free: Vec<PeerNo>,
    max_window: u32,
}

impl Peer {
    fn new(key: PeerKey, max_window: u32) -> Self {
        Self {
            key,
            is_connected: false,
            standing: Standing::Fine,
            failures: 0,
            times_busy: 0,
            queue: None,
            heard: None,
            window: Window::new(max_window),
            lanes: Lanes::default(),
            asks: BTreeSet::new(),
            bytes: 0,
            small: BTreeSet::new(),
            large: BTreeSet::new(),
            last_was_small: false,
            turn: None,
            files: 0,
        }
    }

    /// Whether one more ask fits. A peer that is not connected gets one: sending it makes the connection.
    pub(super) fn has_room(&self) -> bool {
        let has_room = if self.is_connected { self.window.has_room(self.asks.len(), self.bytes) } else { self.asks.is_empty() };
        self.standing == Standing::Fine && has_room
    }

    /// Whether a download can count on it: it neither lied nor failed when it was last asked.
    pub(super) fn is_usable(&self) -> bool {
        !matches!(self.standing, Standing::Banned { .. } | Standing::Resting { .. })
    }

    /// Whether it may be asked for something.
    pub(super) fn has_work(&self) -> bool {
        !self.small.is_empty() || !self.large.is_empty()
    }

    /// Whether the next ask is to be for small files; `None` when there is nothing to ask for.
    pub(super) fn next_is_small(&self) -> Option<bool> {
        match (self.small.first(), self.large.first()) {
            (None, None) => None,
            (Some(_), None) => Some(true),
            (None, Some(_)) => Some(false),
            (Some((small, _)), Some((large, _))) => match small.priority.cmp(&large.priority) {
                std::cmp::Ordering::Less => Some(true),
                std::cmp::Ordering::Greater => Some(false),
                std::cmp::Ordering::Equal => Some(!self.last_was_small),
            },
        }
    }
}

impl PeerBook {
    pub(super) fn new(max_window: u32) -> Self {
        Self { numbers: BTreeMap::new(), peers: Vec::new(), free: Vec::new(), max_window }
    }

    pub(super) fn number(&self, key: &PeerKey) -> Option<PeerNo> {
        self.numbers.get(key).copied()
    }

    pub(super) fn get(&self, number: PeerNo) -> Option<&Peer> {
        self.peers.get(number.0 as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, number: PeerNo) -> Option<&mut Peer> {
        self.peers.get_mut(number.0 as usize)?.as_mut()
    }

    /// The peer's number, a new one if it is not in the book; `None` when the book is full.
    pub(super) fn meet(&mut self, key: PeerKey) -> Option<PeerNo> {
        if let Some(number) = self.number(&key) {
            return Some(number);
        }
        if self.numbers.len() >= MAX_PEERS {
            return None;
        }
        let number = self.free.pop().or_else(|| u32::try_from(self.peers.len()).ok().map(PeerNo))?;
        let peer = Some(Peer::new(key, self.max_window));
        match self.peers.get_mut(number.0 as usize) {
            Some(place) => *place = peer,
            None => self.peers.push(peer),
        }
        self.numbers.insert(key, number);
        Some(number)
    }

    /// Takes a peer out that nothing is known of but its name.
    pub(super) fn forget_if_unused(&mut self, number: PeerNo) {
        let Some(place) = self.peers.get_mut(number.0 as usize) else { return };
        let is_unused = place.as_ref().is_some_and(|peer| {
            peer.files == 0 && peer.asks.is_empty() && !peer.is_connected && peer.standing == Standing::Fine && peer.turn.is_none()
        });
        if is_unused {
            if let Some(peer) = place.take() {
                self.numbers.remove(&peer.key);
            }
            self.free.push(number);
        }
    }
}

/// How long to wait after the `failures`-th failure in a row: `first` doubled each time, at most `most`, and between a half
/// and the whole of that as `jitter` (0 to 1) says, so that those who failed together do not come back together.
pub(super) fn backoff(failures: u32, first: Duration, most: Duration, jitter: f64) -> Duration {
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(20));
    doubled.min(most).mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::{beginning, peer};

    #[test]
    fn a_backoff_doubles_up_to_its_most_and_never_overflows() {
        let (first, most) = (Duration::from_secs(1), Duration::from_secs(300));
        assert_eq!(backoff(1, first, most, 1.0), first);
        assert_eq!(backoff(2, first, most, 1.0), first * 2);
        assert_eq!(backoff(2, first, most, 0.0), first);
        assert_eq!(backoff(u32::MAX, first, most, 1.0), most);
    }

    #[test]
    fn a_full_book_takes_no_peer_and_a_forgotten_one_makes_room() {
        let mut book = PeerBook::new(32);
        for number in 0..MAX_PEERS as u32 {
            assert!(book.meet(peer(number)).is_some());
        }
        assert_eq!(book.meet(peer(1_000_000)), None);
        let first = book.number(&peer(0)).unwrap();
        book.get_mut(first).unwrap().standing = Standing::Banned { until: beginning() };
        book.forget_if_unused(first);
        assert_eq!(book.number(&peer(0)), Some(first), "a ban is remembered");
        book.forget_if_unused(book.number(&peer(1)).unwrap());
        assert!(book.meet(peer(1_000_000)).is_some());
    }
}
