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
/// Dials of one place that may fail in a row.
pub(crate) const MAX_FAILURES: u32 = 5;
/// How soon one more may, of a place on the Internet.
const FAILURE_EVERY: Duration = Duration::from_secs(300);
/// The same of a place on the own network or machine: who comes back there is found soon, and who never was there is not flooded.
const FAILURE_NEAR_EVERY: Duration = Duration::from_secs(10);
/// Places whose failures are remembered; when there are more, those that failed longest ago are forgotten.
const MAX_PLACES: usize = 1024;

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

/// How often places did not answer as they should: those are not dialled again and again, whoever tells them. A place that answers once is as good as new.
#[derive(Debug, Default)]
pub(crate) struct DialBudget {
    places: HashMap<(IpAddr, u16), Spent>,
}

#[derive(Clone, Copy, Debug)]
struct Spent {
    failures: u32,
    since: Instant,
}

impl DialBudget {
    /// Of these addresses, those that may be dialled now.
    pub(crate) fn affordable(&self, addresses: Vec<Multiaddr>, now: Instant) -> Vec<Multiaddr> {
        let is_spent = |place: (IpAddr, u16)| self.places.get(&place).is_some_and(|spent| spent.failures_at(place.0, now) >= MAX_FAILURES);
        addresses.into_iter().filter(|address| !place(address).is_some_and(is_spent)).collect()
    }

    /// Dials of all of these have ended.
    pub(crate) fn handle_dialled(&mut self, addresses: &[Multiaddr], reached: bool, now: Instant) {
        for place in addresses.iter().filter_map(place) {
            if reached {
                self.places.remove(&place);
                continue;
            }
            if self.places.len() >= MAX_PLACES && !self.places.contains_key(&place) {
                self.forget_one(now);
            }
            let spent = self.places.entry(place).or_insert(Spent { failures: 0, since: now });
            *spent = Spent { failures: spent.failures_at(place.0, now).saturating_add(1), since: now };
        }
    }

    fn forget_one(&mut self, now: Instant) {
        self.places.retain(|(ip, _), spent| spent.failures_at(*ip, now) > 0);
        if self.places.len() >= MAX_PLACES
            && let Some(oldest) = self.places.iter().min_by_key(|(_, spent)| spent.since).map(|(place, _)| *place)
        {
            self.places.remove(&oldest);
        }
    }
}

impl Spent {
    fn failures_at(&self, ip: IpAddr, now: Instant) -> u32 {
        let every = if nearness_of(ip) == Nearness::World { FAILURE_EVERY } else { FAILURE_NEAR_EVERY };
        let back = now.saturating_duration_since(self.since).as_secs() / every.as_secs();
        self.failures.saturating_sub(u32::try_from(back).unwrap_or(u32::MAX))
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

    /// G043: at the limit it is dialled, one more and it is not.
    #[test]
    fn a_victim_that_many_are_said_to_be_at_is_left_alone() {
        let start = beginning();
        let victim = vec![address("/ip4/198.51.100.7/tcp/9471")];
        let mut budget = DialBudget::default();
        for failure in 0..MAX_FAILURES {
            assert_eq!(budget.affordable(victim.clone(), start).len(), 1, "dial {failure}");
            budget.handle_dialled(&victim, false, start);
        }
        assert!(budget.affordable(victim.clone(), start).is_empty());
        assert_eq!(budget.affordable(vec![address("/ip4/198.51.100.8/tcp/9471")], start).len(), 1);
        assert_eq!(budget.affordable(victim.clone(), start + FAILURE_EVERY).len(), 1, "one more after a while");
        budget.handle_dialled(&victim, false, start + FAILURE_EVERY);
        assert!(budget.affordable(victim.clone(), start + FAILURE_EVERY).is_empty());
        budget.handle_dialled(&victim, true, start + FAILURE_EVERY);
        assert_eq!(budget.affordable(victim, start + FAILURE_EVERY).len(), 1, "it answered");
    }

    #[test]
    fn a_node_of_the_own_network_that_was_down_for_long_is_found_soon() {
        let near = vec![address("/ip4/192.168.7.9/tcp/9471")];
        let (mut budget, now) = (DialBudget::default(), beginning());
        (0..MAX_FAILURES).for_each(|_| budget.handle_dialled(&near, false, now));
        assert!(budget.affordable(near.clone(), now).is_empty(), "also a near one is not flooded");
        assert_eq!(budget.affordable(near, now + FAILURE_NEAR_EVERY).len(), 1);
    }

    #[test]
    fn ten_thousand_places_fill_no_memory() {
        let start = beginning();
        let mut budget = DialBudget::default();
        for number in 0..10_000_u32 {
            let ip = Ipv4Addr::from(0x0800_0000 + number);
            let at = start + Duration::from_millis(u64::from(number));
            budget.handle_dialled(&[address(&format!("/ip4/{ip}/tcp/9471"))], false, at);
        }
        assert_eq!(budget.places.len(), MAX_PLACES);
    }
}
