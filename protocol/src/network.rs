//! What limits count together: an address, and the networks that it is in.

use std::net::{IpAddr, SocketAddr};

/// An address or a network, by the length of its prefix: of IPv4 32 bits (one address) or 24, of IPv6 64, 56 or 48. Who has
/// one IPv6 address has all of its 64 bits (RFC 4291 section 2.5.4), and one site is given 56 or 48 (RFC 6177 section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Network {
    /// Says the family too, as each length belongs to one.
    length: u8,
    prefix: [u8; 8],
}

impl Network {
    /// The smallest network that an address is in: a single source.
    pub(crate) fn source(address: SocketAddr) -> Self {
        let ip = address.ip().to_canonical();
        let (length, mut prefix) = (if ip.is_ipv4() { 32 } else { 64 }, [0; 8]);
        match ip {
            IpAddr::V4(ip) => prefix[..4].copy_from_slice(&ip.octets()),
            IpAddr::V6(ip) => prefix.copy_from_slice(&ip.octets()[..8]),
        }
        Self { length, prefix }
    }

    /// The networks that an address is in, the smallest first. An IPv4 address in IPv6's form is itself (RFC 4291 section
    /// 2.5.5.2).
    pub(crate) fn all_of(address: SocketAddr) -> impl Iterator<Item = Self> + Clone {
        let Self { length, mut prefix } = Self::source(address);
        let lengths: &[u8] = if length == 32 { &[32, 24] } else { &[64, 56, 48] };
        // The lengths are whole bytes, and go down.
        lengths.iter().map(move |&length| {
            if let Some(host) = prefix.get_mut(usize::from(length) / 8..) {
                host.fill(0);
            }
            Self { length, prefix }
        })
    }

    /// How many times a single source's limit all of this network have together.
    pub(crate) fn share(self) -> u32 {
        match self.length {
            32 | 64 => 1,
            56 => 2,
            _ => 4,
        }
    }

    /// As bytes, which no other network has.
    pub(crate) fn to_bytes(self) -> [u8; 9] {
        let mut bytes = [self.length; 9];
        bytes[1..].copy_from_slice(&self.prefix);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<Network> {
        Network::all_of(text.parse().unwrap()).collect()
    }

    /// How many of the networks two addresses share, from the largest on.
    fn shared(one: &str, other: &str) -> usize {
        let (one, other) = (of(one), of(other));
        one.iter().rev().zip(other.iter().rev()).take_while(|(a, b)| a == b).count()
    }

    #[test]
    fn neighbours_share_networks_and_others_do_not() {
        for (one, other, expected) in [
            ("1.2.3.4:5", "1.2.3.4:6", 2),
            ("1.2.3.4:5", "[::ffff:1.2.3.4]:5", 2),
            ("1.2.3.4:5", "1.2.3.5:5", 1),
            ("1.2.3.4:5", "1.2.4.4:5", 0),
            ("[2001:db8:1:2::3]:1", "[2001:db8:1:2:ffff::4]:2", 3),
            ("[2001:db8:1:2::3]:1", "[2001:db8:1:3::3]:1", 2),
            ("[2001:db8:1:2::3]:1", "[2001:db8:1:102::3]:1", 1),
            ("[2001:db8:1:2::3]:1", "[2001:db8:2:2::3]:1", 0),
            ("1.2.3.4:5", "[102:304::]:5", 0),
        ] {
            assert_eq!(shared(one, other), expected, "{one} and {other}");
        }
        assert_eq!(of("1.2.3.4:5").iter().map(|network| network.share()).collect::<Vec<_>>(), [1, 4]);
        assert_eq!(of("[2001:db8::]:5").iter().map(|network| network.share()).collect::<Vec<_>>(), [1, 2, 4]);
    }
}
