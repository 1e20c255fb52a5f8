//! Network neighbourhoods: replicas of a task prefer hosts that no one household or data centre holds together.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The neighbourhood of a caller: the /24 of an IPv4 address, the /48 of an IPv6 address, what one customer usually
/// gets. Addresses that do not tell where somebody is (loopback, private, link-local, shared by a carrier) give none.
pub fn of(address: IpAddr) -> Option<[u8; 8]> {
    match address.to_canonical() {
        IpAddr::V4(address) => v4(address),
        IpAddr::V6(address) => v6(address),
    }
}

fn v4(address: Ipv4Addr) -> Option<[u8; 8]> {
    let [a, b, c, _] = address.octets();
    let carrier = a == 100 && b & 0xc0 == 64;
    let local = address.is_loopback() || address.is_private() || address.is_link_local();
    let telling = !(local || carrier || address.is_unspecified());
    telling.then_some([4, a, b, c, 0, 0, 0, 0])
}

fn v6(address: Ipv6Addr) -> Option<[u8; 8]> {
    let [a, b, c, d, e, f, ..] = address.octets();
    let local = address.is_unique_local() || address.is_unicast_link_local();
    let telling = !(local || address.is_loopback() || address.is_unspecified());
    telling.then_some([6, a, b, c, d, e, f, 0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<[u8; 8]> {
        of(text.parse().unwrap())
    }

    #[test]
    fn one_customer_is_one_neighbourhood_and_two_are_two() {
        assert_eq!(parsed("203.0.113.7"), parsed("203.0.113.250"));
        assert_eq!(parsed("203.0.113.7"), parsed("::ffff:203.0.113.9"), "mapped addresses too");
        assert_ne!(parsed("203.0.113.7"), parsed("203.0.114.7"));
        assert_eq!(parsed("2001:db8:1:2::3"), parsed("2001:db8:1:ff::4"));
        assert_ne!(parsed("2001:db8:1::3"), parsed("2001:db8:2::3"));
    }

    #[test]
    fn addresses_that_tell_nothing_are_no_neighbourhood() {
        for address in [
            "127.0.0.1",
            "::1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.1.1",
            "100.64.0.1",
            "100.127.255.255",
            "0.0.0.0",
            "::",
            "fd00::1",
            "fe80::1",
            "::ffff:10.0.0.1",
        ] {
            assert_eq!(parsed(address), None, "{address}");
        }
        assert!(parsed("100.63.0.1").is_some() && parsed("100.128.0.1").is_some());
    }
}
