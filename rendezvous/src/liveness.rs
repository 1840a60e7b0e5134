//! Which connected peers are really there. Pure: the time is an argument.
//!
//! A connection whose other end lost its power or its NAT mapping stays open for minutes. Pings tell sooner: a peer that
//! has answered none for [`SILENCE`] is silent, and the first answer after that brings it back. It is not disconnected
//! for it: a full upload line delays answers for seconds.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use potluck_common::peer::PeerKey;

/// How long a peer may be silent. With a tick it stays below the ten seconds in which a dead peer must be out of all
/// answers; less the ping interval it is how late an answer may come: five seconds.
pub const SILENCE: Duration = Duration::from_secs(8);

/// When each connected peer was last heard. One item a connected peer, so that the number of connections bounds it.
#[derive(Debug, Default)]
pub struct Liveness {
    peers: HashMap<PeerKey, Heard>,
}

#[derive(Debug)]
struct Heard {
    at: Instant,
    silent: bool,
}

impl Liveness {
    /// A peer has connected.
    pub fn handle_connected(&mut self, peer: PeerKey, now: Instant) {
        self.peers.entry(peer).or_insert(Heard { at: now, silent: false });
    }

    /// A peer has answered a ping. `true` when it was silent before.
    #[must_use]
    pub fn handle_pong(&mut self, peer: &PeerKey, now: Instant) -> bool {
        self.peers.get_mut(peer).is_some_and(|heard| {
            heard.at = now;
            std::mem::take(&mut heard.silent)
        })
    }

    /// A peer does not speak the ping protocol: all that is known of it is its connection.
    pub fn handle_no_ping(&mut self, peer: &PeerKey) {
        self.peers.remove(peer);
    }

    /// A peer's last connection was closed.
    pub fn handle_lost(&mut self, peer: &PeerKey) {
        self.peers.remove(peer);
    }

    /// Time has passed. Returns the peers that have just become silent.
    #[must_use]
    pub fn handle_tick(&mut self, now: Instant) -> Vec<PeerKey> {
        let fell_silent = |(peer, heard): (&PeerKey, &mut Heard)| {
            let new = !heard.silent && now.saturating_duration_since(heard.at) >= SILENCE;
            heard.silent |= new;
            new.then_some(*peer)
        };
        self.peers.iter_mut().filter_map(fell_silent).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(500);

    fn peer() -> PeerKey {
        PeerKey::from_bytes(&[&[0x12, 32], [7; 32].as_slice()].concat()).unwrap()
    }

    /// Ticks until `end`; when the peer fell silent.
    fn ticks(liveness: &mut Liveness, from: Instant, end: Duration) -> Vec<Duration> {
        let times = (0..).map(|n| TICK * n).take_while(|at| *at <= end);
        times.filter(|at| !liveness.handle_tick(from + *at).is_empty()).collect()
    }

    #[test]
    fn a_peer_that_answers_no_ping_is_silent_after_eight_seconds_and_told_once() {
        let now = crate::clock::some_time();
        let mut liveness = Liveness::default();
        liveness.handle_connected(peer(), now);
        assert_eq!(ticks(&mut liveness, now, SILENCE * 3), [SILENCE]);
    }

    #[test]
    fn a_late_answer_brings_a_silent_peer_back() {
        let now = crate::clock::some_time();
        let mut liveness = Liveness::default();
        liveness.handle_connected(peer(), now);
        assert!(!liveness.handle_pong(&peer(), now));
        assert_eq!(ticks(&mut liveness, now, SILENCE), [SILENCE]);
        assert!(liveness.handle_pong(&peer(), now + SILENCE));
        assert!(liveness.handle_tick(now + SILENCE + TICK).is_empty());
    }

    #[test]
    fn a_peer_without_the_ping_protocol_is_never_called_silent() {
        let now = crate::clock::some_time();
        let mut liveness = Liveness::default();
        liveness.handle_connected(peer(), now);
        liveness.handle_no_ping(&peer());
        assert!(ticks(&mut liveness, now, SILENCE * 2).is_empty());
    }
}
