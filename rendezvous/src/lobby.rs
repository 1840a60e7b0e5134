//! Strangers at a private tracker: how long one may stay, and how often one may be wrong. Pure: the time is an argument.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use potluck_common::host_limits::subscriber;
use potluck_common::peer::PeerKey;

/// How long a stranger may stay to redeem an invitation.
pub const STAY: Duration = Duration::from_secs(5);
/// Wrong invitations in an hour from one address or of one peer, unless told otherwise: a few typing errors, never a search.
pub const MAX_FAILURES: u32 = 10;
/// The hour.
const WINDOW: Duration = Duration::from_secs(3600);
/// Addresses and peers whose failures are remembered; when there are more, those that failed longest ago are forgotten.
/// A peer that has that many addresses still guesses a secret of 128 bits.
const MAX_REMEMBERED: usize = 4096;

/// Who is here without being a member, and who was wrong.
#[derive(Debug)]
pub struct Lobby {
    most_failures: u32,
    strangers: HashMap<PeerKey, Instant>,
    failures: HashMap<Origin, Failures>,
}

/// Where a wrong invitation came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Origin {
    /// An IPv4 address, or the first half of an IPv6 one: its owner has all of the second.
    Address(IpAddr),
    Peer(PeerKey),
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    since: Instant,
}

impl Default for Lobby {
    fn default() -> Self {
        Self::new(MAX_FAILURES)
    }
}

impl Lobby {
    /// A lobby that bears so many wrong invitations in an hour from one address or of one peer.
    #[must_use]
    pub fn new(most_failures: u32) -> Self {
        Self { most_failures, strangers: HashMap::new(), failures: HashMap::new() }
    }

    /// A stranger has connected.
    pub fn handle_stranger(&mut self, peer: PeerKey, now: Instant) {
        self.strangers.entry(peer).or_insert(now);
    }

    /// A stranger is gone, or is a member now.
    pub fn handle_gone(&mut self, peer: &PeerKey) {
        self.strangers.remove(peer);
    }

    /// Time has passed. Returns the strangers that have stayed too long.
    #[must_use]
    pub fn handle_tick(&mut self, now: Instant) -> Vec<PeerKey> {
        let overstayed = |(peer, since): (&PeerKey, &Instant)| (now.saturating_duration_since(*since) >= STAY).then_some(*peer);
        let due: Vec<PeerKey> = self.strangers.iter().filter_map(overstayed).collect();
        for peer in &due {
            self.strangers.remove(peer);
        }
        due
    }

    /// Whether a peer at an address may try an invitation.
    #[must_use]
    pub fn may_try(&self, peer: PeerKey, address: Option<IpAddr>, now: Instant) -> bool {
        let is_blocked =
            |failures: &Failures| failures.count >= self.most_failures && now.saturating_duration_since(failures.since) < WINDOW;
        !origins(peer, address).any(|origin| self.failures.get(&origin).is_some_and(is_blocked))
    }

    /// A peer at an address has tried an invitation that admits nobody.
    pub fn handle_failure(&mut self, peer: PeerKey, address: Option<IpAddr>, now: Instant) {
        for origin in origins(peer, address) {
            if self.failures.len() >= MAX_REMEMBERED && !self.failures.contains_key(&origin) {
                self.forget_oldest(now);
            }
            let failures = self.failures.entry(origin).or_insert(Failures { count: 0, since: now });
            if now.saturating_duration_since(failures.since) >= WINDOW {
                *failures = Failures { count: 0, since: now };
            }
            failures.count = failures.count.saturating_add(1);
        }
    }

    fn forget_oldest(&mut self, now: Instant) {
        self.failures.retain(|_, failures| now.saturating_duration_since(failures.since) < WINDOW);
        if self.failures.len() >= MAX_REMEMBERED
            && let Some(oldest) = self.failures.iter().min_by_key(|(_, failures)| failures.since).map(|(origin, _)| *origin)
        {
            self.failures.remove(&oldest);
        }
    }
}

fn origins(peer: PeerKey, address: Option<IpAddr>) -> impl Iterator<Item = Origin> {
    [Some(Origin::Peer(peer)), address.map(|address| Origin::Address(subscriber(address)))].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u16) -> PeerKey {
        let mut key = [0; 32];
        key[..2].copy_from_slice(&number.to_be_bytes());
        PeerKey::from_ed25519(&key)
    }

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn a_stranger_is_shown_out_after_a_while_and_who_joined_is_not() {
        let now = crate::clock::some_time();
        let mut lobby = Lobby::default();
        lobby.handle_stranger(peer(1), now);
        lobby.handle_stranger(peer(2), now);
        lobby.handle_gone(&peer(2));
        lobby.handle_stranger(peer(1), now + STAY / 2);
        assert!(lobby.handle_tick(now + STAY - Duration::from_millis(1)).is_empty());
        assert_eq!(lobby.handle_tick(now + STAY), [peer(1)]);
        assert!(lobby.handle_tick(now + STAY).is_empty());
    }

    #[test]
    fn ten_wrong_invitations_block_the_address_and_the_peer_for_an_hour() {
        let now = crate::clock::some_time();
        let mut lobby = Lobby::default();
        for number in 0..MAX_FAILURES as u16 {
            assert!(lobby.may_try(peer(number), ip("203.0.113.5"), now), "try {number}");
            lobby.handle_failure(peer(number), ip("203.0.113.5"), now);
        }
        assert!(!lobby.may_try(peer(999), ip("203.0.113.5"), now), "another identity does not help");
        assert!(lobby.may_try(peer(999), ip("203.0.113.6"), now));
        assert!(lobby.may_try(peer(999), ip("203.0.113.5"), now + WINDOW));

        for number in 0..MAX_FAILURES {
            lobby.handle_failure(peer(7), ip(&format!("198.51.100.{number}")), now);
        }
        assert!(!lobby.may_try(peer(7), ip("192.0.2.1"), now), "another address does not help");
    }

    #[test]
    fn a_whole_ipv6_network_is_one_address() {
        let now = crate::clock::some_time();
        let mut lobby = Lobby::default();
        for number in 0..MAX_FAILURES as u16 {
            lobby.handle_failure(peer(number), ip(&format!("2001:db8::{number:x}")), now);
        }
        assert!(!lobby.may_try(peer(999), ip("2001:db8::ffff:1"), now));
        assert!(lobby.may_try(peer(999), ip("2001:db8:0:1::1"), now));
        assert_eq!(subscriber("::ffff:203.0.113.5".parse().unwrap()), "203.0.113.5".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn a_flood_of_addresses_fills_no_memory() {
        let now = crate::clock::some_time();
        let mut lobby = Lobby::default();
        for number in 0..3 * MAX_REMEMBERED as u32 {
            let address = std::net::Ipv4Addr::from(number);
            lobby.handle_failure(peer(number as u16), Some(address.into()), now + Duration::from_millis(u64::from(number)));
        }
        assert_eq!(lobby.failures.len(), MAX_REMEMBERED);
    }
}
