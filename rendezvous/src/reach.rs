//! Public addresses that a peer names and is not seen at, such as its IPv6 address when it came by IPv4. They are told to
//! others once the tracker has reached the peer there itself, and tried so seldom that nobody is harmed who is not the peer.
//! Pure: the time is an argument.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use potluck_common::peer::PeerKey;

/// Tries of one IP address within [`WINDOW`], whoever names it.
const MAX_TRIES: u32 = 3;
/// The time after which it may be tried again.
const WINDOW: Duration = Duration::from_secs(3600);
/// Tries that wait for their turn. Who finds no room names its addresses again with its next message.
const MAX_WAITING: usize = 256;
/// IP addresses whose tries are remembered; while there are so many in one [`WINDOW`], no other is tried.
const MAX_REMEMBERED: usize = 4096;
/// IP addresses of one peer: both families, and one to spare.
const MAX_PROVEN: usize = 4;

/// Where peers were reached, and where they are to be tried. `A` is an address in full.
#[derive(Debug)]
pub struct Reach<A> {
    proven: HashMap<PeerKey, HashSet<IpAddr>>,
    waiting: VecDeque<(PeerKey, IpAddr, A)>,
    tries: HashMap<IpAddr, Tries>,
}

#[derive(Clone, Copy, Debug)]
struct Tries {
    count: u32,
    since: Instant,
}

impl<A> Default for Reach<A> {
    fn default() -> Self {
        Self { proven: HashMap::new(), waiting: VecDeque::new(), tries: HashMap::new() }
    }
}

impl<A> Reach<A> {
    /// Whether a peer was reached at an IP address since it connected.
    #[must_use]
    pub fn is_proven(&self, peer: &PeerKey, ip: IpAddr) -> bool {
        self.proven.get(peer).is_some_and(|ips| ips.contains(&ip))
    }

    /// A peer says that it is at an address. It is tried when its turn comes, unless it was tried too often.
    pub fn handle_claim(&mut self, peer: PeerKey, ip: IpAddr, address: A, now: Instant) {
        self.tries.retain(|_, tries| now.saturating_duration_since(tries.since) < WINDOW);
        let is_known = self.waiting.iter().any(|(known, at, _)| (known, at) == (&peer, &ip));
        let has_room = self.tries.contains_key(&ip) || self.tries.len() < MAX_REMEMBERED;
        if is_known || !has_room || self.waiting.len() >= MAX_WAITING {
            return;
        }
        let tries = self.tries.entry(ip).or_insert(Tries { count: 0, since: now });
        if tries.count < MAX_TRIES {
            tries.count += 1;
            self.waiting.push_back((peer, ip, address));
        }
    }

    /// The next to be tried: one for each call, so that who calls decides how often.
    pub fn poll_try(&mut self) -> Option<(PeerKey, A)> {
        self.waiting.pop_front().map(|(peer, _, address)| (peer, address))
    }

    /// A peer was reached: it has proven who it is.
    pub fn handle_reached(&mut self, peer: PeerKey, ip: IpAddr) {
        let ips = self.proven.entry(peer).or_default();
        if ips.len() < MAX_PROVEN {
            ips.insert(ip);
        }
    }

    /// A peer's last connection was closed.
    pub fn handle_lost(&mut self, peer: &PeerKey) {
        self.proven.remove(peer);
        self.waiting.retain(|(waiting, ..)| waiting != peer);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[allow(clippy::disallowed_methods)] // an Instant has no other beginning; only differences to it matter
    fn beginning() -> Instant {
        Instant::now()
    }

    fn peer(number: u8) -> PeerKey {
        PeerKey::from_ed25519(&[number; 32])
    }

    const PLACE: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));

    #[test]
    fn a_peer_is_at_a_place_from_when_it_is_reached_there_until_it_leaves() {
        let (mut reach, now) = (Reach::default(), beginning());
        reach.handle_claim(peer(1), PLACE, "there", now);
        assert!(!reach.is_proven(&peer(1), PLACE));
        assert_eq!(reach.poll_try(), Some((peer(1), "there")));
        assert_eq!(reach.poll_try(), None);
        reach.handle_reached(peer(1), PLACE);
        assert!(reach.is_proven(&peer(1), PLACE) && !reach.is_proven(&peer(2), PLACE));
        reach.handle_lost(&peer(1));
        assert!(!reach.is_proven(&peer(1), PLACE));
    }

    /// G043, by way of the tracker: however many name a victim, it hears of three in an hour.
    #[test]
    fn a_victim_that_many_name_is_tried_three_times_an_hour() {
        let (mut reach, now) = (Reach::default(), beginning());
        let tries = |reach: &mut Reach<&str>, now| {
            (0..200).for_each(|number| reach.handle_claim(peer(number), PLACE, "there", now));
            std::iter::from_fn(|| reach.poll_try()).count()
        };
        assert_eq!(tries(&mut reach, now), 3);
        assert_eq!(tries(&mut reach, now + WINDOW - Duration::from_secs(1)), 0);
        assert_eq!(tries(&mut reach, now + WINDOW), 3);
    }

    #[test]
    fn ten_thousand_places_fill_no_memory() {
        let (mut reach, now) = (Reach::default(), beginning());
        for number in 0..10_000_u32 {
            let ip = IpAddr::V4(Ipv4Addr::from(0x0800_0000 + number));
            reach.handle_claim(peer(1), ip, number, now);
            reach.handle_reached(peer(1), ip);
            if number % 2 == 0 {
                reach.poll_try();
            }
        }
        assert!(reach.tries.len() <= MAX_REMEMBERED && reach.waiting.len() <= MAX_WAITING);
        assert_eq!(reach.proven.get(&peer(1)).map(HashSet::len), Some(MAX_PROVEN));
    }
}
