//! Which addresses of a peer are told to others: those at which nobody else can be. Else whoever registers could have a
//! swarm knock at the door of somebody who has nothing to do with it.

use std::net::IpAddr;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use potluck_common::nearness::{Nearness, is_nobody, nearness_of};
use potluck_common::transport::{ip_of, is_own_ip};

/// Ports below this belong to other services of a machine.
const FIRST_UNPRIVILEGED_PORT: u16 = 1024;

/// Whether a peer that is connected from `seen_at` may be told to be at an address.
///
/// A public one has to be where its connection comes from; of a peer on this machine it may be any of this machine. A private one
/// means a machine of whoever reads it, who dials it only if it is on its own network. Names, and ways through a relay, can
/// mean anybody.
pub(crate) fn is_its_own(address: &Multiaddr, seen_at: IpAddr) -> bool {
    let Some(ip) = ip_of(address).map(|ip| ip.to_canonical()) else { return false };
    let seen_at = seen_at.to_canonical();
    let is_direct = !address.iter().any(|part| part == Protocol::P2pCircuit);
    let is_there = match nearness_of(ip) {
        Nearness::Machine => seen_at.is_loopback(),
        Nearness::Network => true,
        Nearness::World => ip == seen_at || (seen_at.is_loopback() && is_own_ip(ip)),
    };
    is_direct && !is_nobody(ip) && is_there
}

/// Whether the tracker itself may look for a peer at an address: on the Internet, by TCP or QUIC, at no port of other services.
pub(crate) fn may_be_tried(address: &Multiaddr) -> bool {
    let is_public = ip_of(address).is_some_and(|ip| nearness_of(ip) == Nearness::World && !is_nobody(ip));
    let mut parts = address.iter().skip(1);
    let port = match parts.next() {
        Some(Protocol::Tcp(port)) => port,
        Some(Protocol::Udp(port)) if parts.next() == Some(Protocol::QuicV1) => port,
        _ => return false,
    };
    let is_over = match parts.next() {
        None => true,
        Some(Protocol::P2p(_)) => parts.next().is_none(),
        Some(_) => false,
    };
    is_public && is_over && port >= FIRST_UNPRIVILEGED_PORT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may_tell(seen_at: &str, address: &str) -> bool {
        is_its_own(&address.parse().unwrap(), seen_at.parse().unwrap())
    }

    #[test]
    fn a_public_address_is_told_where_its_peer_is_seen_and_nowhere_else() {
        let far = "198.51.100.7";
        assert!(may_tell(far, "/ip4/198.51.100.7/tcp/9471"));
        assert!(may_tell("::ffff:198.51.100.7", "/ip4/198.51.100.7/udp/9471/quic-v1"));
        assert!(may_tell("2001:db8::7", "/ip6/2001:db8::7/tcp/9471"));
        for victim in ["/ip4/198.51.100.8/tcp/9471", "/ip6/2001:db8::8/tcp/9471", "/ip4/8.8.8.8/udp/53/quic-v1"] {
            for seen_at in [far, "2001:db8::7", "192.168.1.7", "127.0.0.1"] {
                assert!(!may_tell(seen_at, victim), "{victim} by {seen_at}");
            }
        }
    }

    #[test]
    fn a_private_address_is_left_to_whoever_reads_it() {
        for seen_at in ["198.51.100.7", "192.168.1.7", "127.0.0.1"] {
            assert!(may_tell(seen_at, "/ip4/192.168.1.7/tcp/9471"), "{seen_at}");
        }
        assert!(may_tell("127.0.0.1", "/ip4/127.0.0.1/tcp/9471") && may_tell("::1", "/ip4/127.0.0.1/tcp/9471"));
        assert!(!may_tell("192.168.1.7", "/ip4/127.0.0.1/tcp/9471") && !may_tell("198.51.100.7", "/ip6/::1/tcp/9471"));
    }

    #[test]
    fn the_tracker_looks_for_nobody_on_its_own_network_or_at_other_services() {
        let may = |address: &str| may_be_tried(&address.parse().unwrap());
        assert!(may("/ip4/198.51.100.7/tcp/1024") && may("/ip6/2001:db8::7/udp/9471/quic-v1"));
        for address in [
            "/ip4/198.51.100.7/tcp/1023",
            "/ip4/198.51.100.7/udp/9471",
            "/ip4/198.51.100.7/udp/53/quic-v1",
            "/ip4/198.51.100.7/tcp/9471/ws",
            "/ip4/192.168.1.7/tcp/9471",
            "/ip6/::1/tcp/9471",
            "/ip4/169.254.169.254/tcp/8080",
            "/ip4/224.0.0.251/tcp/9471",
            "/dns4/example.org/tcp/9471",
        ] {
            assert!(!may(address), "{address}");
        }
    }

    #[test]
    fn names_relays_and_addresses_of_nobody_are_not_told() {
        let relay = "12D3KooWGatU8DSBTk6JnDHj3gJ8R3nbKDYBQeFGvoLY5VRvDhHX";
        for address in [
            "/dns4/example.org/tcp/9471",
            "/dns/localhost/tcp/9471",
            "/unix/tmp%2Fsocket",
            "/ip4/0.0.0.0/tcp/9471",
            "/ip4/224.0.0.251/udp/9471/quic-v1",
            "/ip4/255.255.255.255/tcp/9471",
            &format!("/ip4/198.51.100.7/tcp/9471/p2p/{relay}/p2p-circuit"),
        ] {
            for seen_at in ["127.0.0.1", "198.51.100.7"] {
                assert!(!may_tell(seen_at, address), "{address} by {seen_at}");
            }
        }
    }
}
