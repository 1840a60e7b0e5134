//! How much a peer may cost the tracker. Pure: the time is an argument.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use potluck_common::peer::PeerKey;

/// Most that the catalog holds. What is over it is refused; nothing that is held is dropped for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Namespaces in all. An empty one is forgotten, so that these are groups in use.
    pub namespaces: usize,
    /// Peers in one namespace.
    pub peers_per_namespace: usize,
    /// Namespaces in which one peer is registered.
    pub namespaces_per_peer: usize,
    /// Files that one peer offers in one namespace.
    pub files_per_peer: u64,
    /// Bytes of the paths of those files.
    pub path_bytes_per_peer: u64,
    /// Files in all.
    pub files: u64,
    /// Bytes of all paths.
    pub path_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            namespaces: 1024,
            peers_per_namespace: 10_000, // as many as can be connected
            namespaces_per_peer: 8,
            files_per_peer: 2_000_000,      // the tree of a large file server
            path_bytes_per_peer: 256 << 20, // 128 bytes a file at the limit above
            files: 20_000_000,              // with 100 bytes a path and as much again around it: 4 GiB
            path_bytes: 2 << 30,
        }
    }
}

/// Times that something may happen at once, and how soon one more may.
#[derive(Clone, Copy, Debug)]
struct Rate {
    burst: u32,
    every: Duration,
}

/// Reading requests: a browser that pages through a large folder asks for some ten pages a second.
const READS: Rate = Rate { burst: 200, every: Duration::from_millis(20) };
/// Requests that could not be decoded: a newer node may try a few that this tracker does not know.
const MALFORMED: Rate = Rate { burst: 16, every: Duration::from_secs(10) };
/// Rendezvous registrations: libp2p's server keeps each until its TTL ends (two hours at most), also when it was
/// superseded, so that a peer that registers in a loop would fill the memory.
const REGISTRATIONS: Rate = Rate { burst: 16, every: Duration::from_secs(10) };

/// What to do with a peer's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// Answer it.
    Serve,
    /// Tell the peer to ask later.
    Busy,
    /// Close the peer's connections.
    Disconnect,
}

/// How the connected peers behave. One account a connected peer, so that the number of connections bounds it.
#[derive(Debug, Default)]
pub struct Conduct {
    peers: HashMap<PeerKey, Account>,
}

#[derive(Debug)]
struct Account {
    reads: Bucket,
    malformed: Bucket,
    registrations: Bucket,
}

/// Tokens that come back with time; a full bucket holds a burst.
#[derive(Debug)]
struct Bucket {
    rate: Rate,
    left: u32,
    since: Instant,
}

impl Conduct {
    /// A peer has read from the index.
    pub fn handle_read(&mut self, peer: PeerKey, now: Instant) -> Verdict {
        if self.account(peer, now).reads.take(now) { Verdict::Serve } else { Verdict::Busy }
    }

    /// A peer has sent what cannot be decoded.
    pub fn handle_malformed(&mut self, peer: PeerKey, now: Instant) -> Verdict {
        if self.account(peer, now).malformed.take(now) { Verdict::Serve } else { Verdict::Disconnect }
    }

    /// A peer has registered by rendezvous, or tried to.
    pub fn handle_registration(&mut self, peer: PeerKey, now: Instant) -> Verdict {
        if self.account(peer, now).registrations.take(now) { Verdict::Serve } else { Verdict::Disconnect }
    }

    /// A peer's last connection was closed.
    pub fn handle_lost(&mut self, peer: &PeerKey) {
        self.peers.remove(peer);
    }

    fn account(&mut self, peer: PeerKey, now: Instant) -> &mut Account {
        self.peers.entry(peer).or_insert_with(|| Account {
            reads: Bucket::full(READS, now),
            malformed: Bucket::full(MALFORMED, now),
            registrations: Bucket::full(REGISTRATIONS, now),
        })
    }
}

impl Bucket {
    fn full(rate: Rate, now: Instant) -> Self {
        Self { rate, left: rate.burst, since: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.since);
        let back = u32::try_from(passed.as_nanos() / self.rate.every.as_nanos().max(1)).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(back);
        self.since += self.rate.every.saturating_mul(back);
        if self.left >= self.rate.burst {
            self.left = self.rate.burst;
            self.since = now;
        }
        let taken = self.left > 0;
        self.left = self.left.saturating_sub(1);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> PeerKey {
        PeerKey::from_bytes(&[&[0x12, 32], [7; 32].as_slice()].concat()).unwrap()
    }

    #[test]
    fn a_peer_that_reads_too_fast_is_told_to_wait_and_served_again_later() {
        let now = crate::clock::some_time();
        let mut conduct = Conduct::default();
        assert!((0..READS.burst).all(|_| conduct.handle_read(peer(), now) == Verdict::Serve));
        assert_eq!(conduct.handle_read(peer(), now), Verdict::Busy);
        assert_eq!(conduct.handle_read(peer(), now + READS.every), Verdict::Serve);
        assert_eq!(conduct.handle_read(peer(), now + READS.every), Verdict::Busy);
    }

    #[test]
    fn a_peer_that_sends_nonsense_is_borne_for_a_while_and_then_cut_off() {
        let now = crate::clock::some_time();
        let mut conduct = Conduct::default();
        assert!((0..MALFORMED.burst).all(|_| conduct.handle_malformed(peer(), now) == Verdict::Serve));
        assert_eq!(conduct.handle_malformed(peer(), now), Verdict::Disconnect);
    }

    #[test]
    fn an_occasional_unknown_request_never_adds_up() {
        let mut now = crate::clock::some_time();
        let mut conduct = Conduct::default();
        for _ in 0..1000 {
            now += MALFORMED.every;
            assert_eq!(conduct.handle_malformed(peer(), now), Verdict::Serve);
        }
    }

    #[test]
    fn a_day_of_silence_fills_a_bucket_and_no_more() {
        let now = crate::clock::some_time();
        let mut conduct = Conduct::default();
        let _ = conduct.handle_registration(peer(), now);
        let later = now + Duration::from_secs(86_400);
        assert!((0..REGISTRATIONS.burst).all(|_| conduct.handle_registration(peer(), later) == Verdict::Serve));
        assert_eq!(conduct.handle_registration(peer(), later), Verdict::Disconnect);
    }
}
