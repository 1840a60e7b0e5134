//! Which addresses are dialled that somebody else told: a tracker that lies must not make nodes connect to machines that
//! have nothing to do with it, be it to flood them or to reach what only the node's own network can.
//!
//! Nothing here decides about addresses that the user typed.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use potluck_common::nearness::{Nearness, is_nobody, nearness_of};

/// Ports below this belong to other services of a machine; a node never listens there unless it is told to.
const FIRST_UNPRIVILEGED_PORT: u16 = 1024;
/// Attempts at one IP address on the Internet where nobody of us was ever met, and how long after each the next may be: three in any hour,
/// the second so soon that a peer is found that has just been started again.
const STRANGE_PAUSES: [Duration; 3] = [Duration::from_secs(30), Duration::from_secs(300), Duration::from_secs(3600)];
/// Attempts at a place that are free, on the own network or machine, or where somebody of us was met; and how soon after each further one
/// the next may be. Who comes back near us is found soon, and who never was there is not flooded.
const FREE_ATTEMPTS: usize = 5;
const MET_PAUSE: Duration = Duration::from_secs(300);
const NEAR_PAUSE: Duration = Duration::from_secs(10);
/// How long ago an attempt is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(3600);
/// Addresses with one IP address that are dialled in one attempt: one by TCP, one by QUIC.
const PER_ATTEMPT: usize = 2;
/// Places that are remembered; when there are more, those that were dialled or met longest ago are forgotten.
const MAX_PLACES: usize = 1024;
/// Dials of strangers on the Internet at once.
pub(crate) const STRANGERS_AT_ONCE: usize = 8;
/// How long one that failed counts as going on, from its beginning: with [`STRANGERS_AT_ONCE`], five in a second.
pub(crate) const STRANGER_COUNTS: Duration = Duration::from_millis(1600);

/// How near whoever is at an address is; a name may mean anybody.
pub(crate) fn nearness(address: &Multiaddr) -> Nearness {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => nearness_of(ip.into()),
        Some(Protocol::Ip6(ip)) => nearness_of(ip.into()),
        _ => Nearness::World,
    }
}

/// Whether an address may be dialled that was told from so far away. `own` are the addresses of this machine.
///
/// Who is on this machine may tell any address; who is on a private network, private and public ones; who is far away,
/// public ones, and such as are on a network that this machine is on itself.
pub(crate) fn may_dial(address: &Multiaddr, teller: Nearness, own: &[IpAddr]) -> bool {
    let Some((ip, port)) = place(address) else { return false };
    if is_nobody(ip) {
        return false;
    }
    let is_near_enough = match nearness_of(ip) {
        Nearness::Machine => teller == Nearness::Machine,
        Nearness::Network => teller <= Nearness::Network || own.iter().any(|own| is_same_network(*own, ip)),
        Nearness::World => true,
    };
    is_near_enough && (teller == Nearness::Machine || port >= FIRST_UNPRIVILEGED_PORT)
}

/// The host and port of an address of the only form that nodes have: an IP address, and TCP or QUIC, and perhaps a PeerId.
fn place(address: &Multiaddr) -> Option<(IpAddr, u16)> {
    let mut parts = address.iter();
    let ip: IpAddr = match parts.next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => ip.to_ipv4_mapped().map_or(ip.into(), IpAddr::V4),
        _ => return None,
    };
    let port = match parts.next()? {
        Protocol::Tcp(port) => port,
        Protocol::Udp(port) if parts.next() == Some(Protocol::QuicV1) => port,
        _ => return None,
    };
    let is_over = match parts.next() {
        None => true,
        Some(Protocol::P2p(_)) => parts.next().is_none(),
        Some(_) => false,
    };
    is_over.then_some((ip, port))
}

/// Whether two private addresses are of one network: by the first three bytes of IPv4, the first half of IPv6.
fn is_same_network(one: IpAddr, other: IpAddr) -> bool {
    let half = |ip: Ipv6Addr| u128::from(ip) >> 64;
    match (one.to_canonical(), other.to_canonical()) {
        (IpAddr::V4(one), IpAddr::V4(other)) => u32::from(one) >> 8 == u32::from(other) >> 8,
        (IpAddr::V6(one), IpAddr::V6(other)) => half(one) == half(other),
        _ => false,
    }
}

/// Of what is known of a connected peer, the addresses at which more connections to it may be opened: those of the same kind with the IP
/// address that it is connected at. What else it says of itself may be somebody else's, who would be dialled as often.
pub(crate) fn more_of_the_same(connected: &Multiaddr, known: &[Multiaddr]) -> Vec<Multiaddr> {
    let ip = |address: &Multiaddr| place(address).map(|(ip, _)| ip);
    let kind = |address: &Multiaddr| address.protocol_stack().filter(|name| *name != "p2p").collect::<Vec<_>>();
    let (at, is) = (ip(connected), kind(connected));
    let is_same = |address: &&Multiaddr| *address != connected && at.is_some() && ip(address) == at && kind(address) == is;
    std::iter::once(connected).chain(known.iter().filter(is_same)).cloned().collect()
}

/// How often places were dialled where nobody of us answered: those are not dialled again and again, whoever tells them. Far away a place is
/// an IP address, with all its ports.
#[derive(Debug, Default)]
pub(crate) struct DialBudget {
    places: HashMap<(IpAddr, Option<u16>), Spent>,
}

#[derive(Clone, Copy, Debug)]
struct Spent {
    /// Since somebody was met there.
    attempts: usize,
    /// The last of them, or when somebody was met.
    last: Instant,
    /// Whether somebody of us was met there.
    is_met: bool,
}

impl DialBudget {
    /// Of these addresses of one peer, those that may be dialled now: that they are is counted.
    pub(crate) fn spend(&mut self, addresses: Vec<Multiaddr>, now: Instant) -> Vec<Multiaddr> {
        let mut attempted: HashMap<(IpAddr, Option<u16>), usize> = HashMap::new();
        let may_dial = |address: &Multiaddr| {
            let Some((ip, port)) = place(address) else { return true };
            let place = (ip, (nearness_of(ip) != Nearness::World).then_some(port));
            if let Some(dials) = attempted.get_mut(&place) {
                *dials += 1;
                return *dials <= PER_ATTEMPT;
            }
            let may = self.spend_one(place, now);
            attempted.insert(place, if may { 1 } else { PER_ATTEMPT });
            may
        };
        addresses.into_iter().filter(may_dial).collect()
    }

    fn spend_one(&mut self, place: (IpAddr, Option<u16>), now: Instant) -> bool {
        if self.places.get(&place).is_some_and(|spent| !spent.is_over(place.1.is_some(), now)) {
            return false;
        }
        let spent = self.remember(place, now);
        if now.saturating_duration_since(spent.last) >= FORGOTTEN {
            spent.attempts = 0;
        }
        (spent.attempts, spent.last) = (spent.attempts.saturating_add(1), now);
        true
    }

    /// Somebody who has proven to be one of us is at this address.
    pub(crate) fn handle_met(&mut self, address: &Multiaddr, now: Instant) {
        if let Some((ip, port)) = place(address) {
            let place = (ip, (nearness_of(ip) != Nearness::World).then_some(port));
            *self.remember(place, now) = Spent { attempts: 0, last: now, is_met: true };
        }
    }

    fn remember(&mut self, place: (IpAddr, Option<u16>), now: Instant) -> &mut Spent {
        if self.places.len() >= MAX_PLACES
            && !self.places.contains_key(&place)
            && let Some(oldest) = self.places.iter().min_by_key(|(_, spent)| spent.last).map(|(place, _)| *place)
        {
            self.places.remove(&oldest);
        }
        self.places.entry(place).or_insert(Spent { attempts: 0, last: now, is_met: false })
    }
}

impl Spent {
    /// Whether the pause after the last attempt is over.
    fn is_over(&self, is_near: bool, now: Instant) -> bool {
        let pause = match (self.attempts.checked_sub(1), is_near, self.is_met) {
            (None, ..) => Duration::ZERO,
            (Some(before), false, false) => STRANGE_PAUSES[before.min(STRANGE_PAUSES.len() - 1)],
            (Some(before), ..) if before + 1 < FREE_ATTEMPTS => Duration::ZERO,
            (Some(_), true, _) => NEAR_PAUSE,
            (Some(_), false, true) => MET_PAUSE,
        };
        now.saturating_duration_since(self.last) >= pause
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::core::testing::beginning;

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    fn told_by(teller: Nearness, text: &str) -> bool {
        may_dial(&address(text), teller, &["192.168.7.20".parse().unwrap(), "fd00:1:2:3::20".parse().unwrap()])
    }

    /// G045.
    #[test]
    fn a_tracker_far_away_names_no_machine_that_only_we_can_reach() {
        for text in [
            "/ip4/127.0.0.1/tcp/9471",
            "/ip4/127.8.8.8/udp/9471/quic-v1",
            "/ip6/::1/tcp/9471",
            "/ip6/::ffff:127.0.0.1/tcp/9471",
            "/ip4/10.0.0.1/tcp/9471",
            "/ip4/172.16.0.1/tcp/9471",
            "/ip4/192.168.8.1/tcp/9471",
            "/ip4/169.254.169.254/tcp/8080",
            "/ip4/100.100.100.200/tcp/8080",
            "/ip6/fe80::1/tcp/9471",
            "/ip6/fd00:9::1/tcp/9471",
            "/ip6/::ffff:10.0.0.1/tcp/9471",
        ] {
            assert!(!told_by(Nearness::World, text), "{text}");
        }
        for text in
            ["/ip4/8.8.4.4/tcp/9471", "/ip6/2001:db8::1/udp/9471/quic-v1", "/ip4/192.168.7.9/tcp/9471", "/ip6/fd00:1:2:3::9/tcp/9471"]
        {
            assert!(told_by(Nearness::World, text), "{text}");
        }
    }

    #[test]
    fn who_is_near_may_tell_what_is_near() {
        for text in ["/ip4/10.0.0.1/tcp/9471", "/ip6/fd00:9::1/tcp/9471", "/ip4/8.8.4.4/tcp/9471"] {
            assert!(told_by(Nearness::Network, text) && told_by(Nearness::Machine, text), "{text}");
        }
        assert!(!told_by(Nearness::Network, "/ip4/127.0.0.1/tcp/9471"));
        assert!(told_by(Nearness::Machine, "/ip4/127.0.0.1/tcp/80"));
    }

    #[test]
    fn nobody_names_ports_of_other_services_or_other_kinds_of_address() {
        let id = "12D3KooWGatU8DSBTk6JnDHj3gJ8R3nbKDYBQeFGvoLY5VRvDhHX";
        for text in [
            "/ip4/8.8.4.4/tcp/0",
            "/ip4/8.8.4.4/tcp/22",
            "/ip4/8.8.4.4/tcp/1023",
            "/ip4/8.8.4.4/udp/53/quic-v1",
            "/ip4/8.8.4.4/udp/9471",
            "/ip4/8.8.4.4",
            "/dns4/localhost/tcp/9471",
            "/dns/example.org/tcp/9471",
            "/unix/tmp%2Fsocket",
            "/memory/1",
            &format!("/ip4/8.8.4.4/tcp/9471/p2p/{id}/p2p-circuit"),
        ] {
            for teller in [Nearness::Network, Nearness::World] {
                assert!(!told_by(teller, text), "{text}");
            }
        }
        for text in ["/ip4/0.0.0.0/tcp/9471", "/ip4/224.0.0.251/tcp/9471", "/ip4/255.255.255.255/tcp/9471", "/ip6/ff02::1/tcp/9471"] {
            assert!(!told_by(Nearness::Machine, text), "{text}");
        }
        assert!(told_by(Nearness::World, "/ip4/8.8.4.4/tcp/1024"));
        assert!(told_by(Nearness::World, &format!("/ip4/8.8.4.4/tcp/9471/p2p/{id}")));
    }

    /// G043: three attempts in any hour, by whatever port, and one more is not made.
    #[test]
    fn a_victim_that_many_are_said_to_be_at_is_left_alone() {
        let (mut budget, start) = (DialBudget::default(), beginning());
        let mut dialled = Vec::new();
        for second in 0..10 * 3600_u64 {
            let (at, port) = (start + Duration::from_secs(second), 1024 + second);
            let victim =
                ["tcp", "udp"].map(|kind| format!("/ip4/198.51.100.7/{kind}/{port}{}", if kind == "udp" { "/quic-v1" } else { "" }));
            let may = budget.spend(victim.iter().map(|text| address(text)).collect(), at);
            assert!(may.is_empty() || may.len() == 2, "by TCP and QUIC, or not at all");
            dialled.extend((!may.is_empty()).then_some(second));
        }
        assert_eq!(dialled[..5], [0, 30, 330, 3930, 3960]);
        assert!(dialled.windows(4).all(|four| four[3] - four[0] >= 3600), "{dialled:?}");
        assert_eq!(budget.spend(vec![address("/ip4/198.51.100.8/tcp/9471")], start).len(), 1, "others are");
    }

    #[test]
    fn one_peer_does_not_name_many_ports_of_a_victim() {
        let ports = (2000..2016).map(|port| address(&format!("/ip4/198.51.100.7/tcp/{port}"))).collect();
        assert_eq!(DialBudget::default().spend(ports, beginning()).len(), PER_ATTEMPT);
    }

    #[test]
    fn where_somebody_was_met_is_tried_more_often() {
        let (mut budget, start) = (DialBudget::default(), beginning());
        let place = vec![address("/ip4/198.51.100.7/tcp/9471")];
        assert_eq!((budget.spend(place.clone(), start).len(), budget.spend(place.clone(), start).len()), (1, 0));
        budget.handle_met(&place[0], start);
        let attempts = (0..10).filter(|_| !budget.spend(place.clone(), start).is_empty()).count();
        assert_eq!(attempts, FREE_ATTEMPTS);
        assert_eq!(budget.spend(place.clone(), start + MET_PAUSE).len(), 1, "one more after a while");
        assert!(budget.spend(place, start + MET_PAUSE).is_empty());
    }

    #[test]
    fn a_node_of_the_own_network_that_was_down_for_long_is_found_soon() {
        let (near, beside) = (vec![address("/ip4/192.168.7.9/tcp/9471")], vec![address("/ip4/192.168.7.9/tcp/9472")]);
        let (mut budget, now) = (DialBudget::default(), beginning());
        assert_eq!(
            (0..10).filter(|_| !budget.spend(near.clone(), now).is_empty()).count(),
            FREE_ATTEMPTS,
            "a near one is not flooded either"
        );
        assert_eq!(budget.spend(near, now + NEAR_PAUSE).len(), 1);
        assert_eq!(budget.spend(beside, now).len(), 1, "another node on that machine");
    }

    /// G043: who is connected and says to be at a victim's too gets no further connections made there.
    #[test]
    fn more_connections_go_where_the_peer_is() {
        let connected = address("/ip4/198.51.100.7/tcp/50000");
        let own = address("/ip4/198.51.100.7/tcp/9471");
        let by_quic = address("/ip4/198.51.100.7/udp/9471/quic-v1");
        let victim = address("/ip4/198.51.100.8/tcp/9471");
        assert_eq!(more_of_the_same(&connected, &[victim, own.clone(), by_quic, connected.clone()]), [connected, own]);
    }

    #[test]
    fn ten_thousand_places_fill_no_memory() {
        let start = beginning();
        let mut budget = DialBudget::default();
        for number in 0..10_000_u32 {
            let ip = Ipv4Addr::from(0x0800_0000 + number);
            let at = start + Duration::from_millis(u64::from(number));
            budget.spend(vec![address(&format!("/ip4/{ip}/tcp/9471"))], at);
            budget.handle_met(&address(&format!("/ip6/2001:db8::{number:x}/tcp/9471")), at);
        }
        assert_eq!(budget.places.len(), MAX_PLACES);
    }
}
