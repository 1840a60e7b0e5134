//! How near a machine is, by its address: what is private to a machine or a network means another machine to everybody else.

use std::net::{IpAddr, Ipv4Addr};

/// How near a machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Nearness {
    /// This one.
    Machine,
    /// On a private network.
    Network,
    /// Anywhere.
    World,
}

/// How near whoever has this address is.
#[must_use]
pub fn nearness_of(ip: IpAddr) -> Nearness {
    let (is_machine, is_network) = match ip.to_canonical() {
        IpAddr::V4(ip) => (ip.is_loopback(), ip.is_private() || ip.is_link_local() || is_shared(ip)),
        IpAddr::V6(ip) => (ip.is_loopback(), ip.is_unique_local() || ip.is_unicast_link_local()),
    };
    match (is_machine, is_network) {
        (true, _) => Nearness::Machine,
        (false, true) => Nearness::Network,
        (false, false) => Nearness::World,
    }
}

/// Whether no machine has this address, or many.
#[must_use]
pub fn is_nobody(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_unspecified() || ip.is_multicast() || matches!(ip.octets(), [0 | 240.., ..]),
        IpAddr::V6(ip) => ip.is_unspecified() || ip.is_multicast(),
    }
}

/// 100.64.0.0/10: networks of providers, and of overlays such as Tailscale.
fn is_shared(ip: Ipv4Addr) -> bool {
    matches!(ip.octets(), [100, 64..=127, ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_address_is_as_near_as_it_is() {
        for (text, nearness) in [
            ("127.8.8.8", Nearness::Machine),
            ("::1", Nearness::Machine),
            ("::ffff:127.0.0.1", Nearness::Machine),
            ("10.0.0.1", Nearness::Network),
            ("192.168.1.1", Nearness::Network),
            ("169.254.169.254", Nearness::Network),
            ("100.64.0.1", Nearness::Network),
            ("fd00::1", Nearness::Network),
            ("fe80::1", Nearness::Network),
            ("100.128.0.1", Nearness::World),
            ("8.8.4.4", Nearness::World),
            ("2001:db8::1", Nearness::World),
        ] {
            assert_eq!(nearness_of(text.parse().unwrap()), nearness, "{text}");
            assert!(!is_nobody(text.parse().unwrap()), "{text}");
        }
        for text in ["0.0.0.0", "224.0.0.251", "255.255.255.255", "::", "ff02::1"] {
            assert!(is_nobody(text.parse().unwrap()), "{text}");
        }
    }
}
