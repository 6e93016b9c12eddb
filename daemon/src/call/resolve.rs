//! What an address that people write stands for.

use std::{
    io,
    net::{Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs},
};

/// The addresses that a text stands for, in the order in which the system would try them, each once: `HOST:PORT`, `[IPV6]:PORT` or, if
/// there is a `port` for those that name none, `HOST` and an IPv6 address as it is. An IPv6 address may have a zone, `fe80::1%eth0`. Asks
/// the system's resolver: slow.
///
/// # Errors
/// If the text is no address, or no machine has that name.
pub fn resolve(text: &str, port: Option<u16>) -> io::Result<Vec<SocketAddr>> {
    let (host, written) = split(text)?;
    let port = written.or(port).ok_or_else(|| wrong("it names no port"))?;
    if let Some((address, zone)) = host.split_once('%')
        && let Ok(address) = address.parse::<Ipv6Addr>()
    {
        return Ok(vec![SocketAddrV6::new(address, port, 0, interface(zone)?).into()]);
    }
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in (host, port).to_socket_addrs()? {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() { Err(wrong("it has no address")) } else { Ok(addresses) }
}

fn wrong(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// Host and port, as they are written.
fn split(text: &str) -> io::Result<(&str, Option<u16>)> {
    let number = |port: &str| port.parse().map_err(|_| wrong(&format!("{port:?} is no port: 1 to 65535 are")));
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, behind) = rest.split_once(']').ok_or_else(|| wrong("the bracket is not closed"))?;
        match behind.strip_prefix(':') {
            Some(port) => (host, Some(number(port)?)),
            None if behind.is_empty() => (host, None),
            None => return Err(wrong("after the bracket comes a colon and the port")),
        }
    } else {
        match text.rsplit_once(':') {
            // More than one colon: an IPv6 address without brackets, and without a port.
            Some((host, port)) if !host.contains(':') => (host, Some(number(port)?)),
            _ => (text, None),
        }
    };
    if host.is_empty() { Err(wrong("it names no machine")) } else { Ok((host, port)) }
}

/// The number of a network interface, by its name or as it is.
fn interface(zone: &str) -> io::Result<u32> {
    let number = zone.parse().ok().or_else(|| index(zone)).filter(|&number| number != 0);
    number.ok_or_else(|| wrong(&format!("this machine has no network interface {zone:?}")))
}

#[cfg(unix)]
fn index(name: &str) -> Option<u32> {
    let name = std::ffi::CString::new(name).ok()?;
    // SAFETY: the call reads the text, which ends with a zero and lives, and keeps nothing of it; 0 is none.
    Some(unsafe { libc::if_nametoindex(name.as_ptr()) })
}

#[cfg(not(unix))]
fn index(_: &str) -> Option<u32> {
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(text: &str) -> SocketAddr {
        let all = resolve(text, Some(7275)).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(all.len(), 1, "{text}: {all:?}");
        all[0]
    }

    #[test]
    fn addresses_are_read_with_and_without_a_port() {
        for (text, expected) in [
            ("127.0.0.1:99", "127.0.0.1:99"),
            ("127.0.0.1", "127.0.0.1:7275"),
            ("::1", "[::1]:7275"),
            ("[::1]", "[::1]:7275"),
            ("[::1]:5", "[::1]:5"),
            ("fe80::1:2", "[fe80::1:2]:7275"),
            ("[fe80::1%7]:5", "[fe80::1%7]:5"),
        ] {
            assert_eq!(one(text).to_string(), expected, "{text}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn zones_are_interfaces_by_name_or_number() {
        let SocketAddr::V6(by_name) = one("[fe80::1%lo]:7275") else { panic!("it is IPv6") };
        assert!(by_name.scope_id() > 0);
        assert_eq!(one("fe80::1%lo"), SocketAddr::V6(by_name));
        assert_eq!(one(&by_name.to_string()), SocketAddr::V6(by_name), "what is printed is understood");
        let error = resolve("[fe80::1%no-such-card]:7275", None).unwrap_err().to_string();
        assert!(error.contains("no-such-card"), "{error}");
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, word) in [
            ("", "no machine"),
            (":7275", "no machine"),
            ("[]:7275", "no machine"),
            ("[::1", "bracket"),
            ("[::1]7275", "colon"),
            ("host:port", "no port"),
            ("host:70000", "no port"),
            ("host:", "no port"),
        ] {
            let error = resolve(text, Some(1)).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
        assert!(resolve("127.0.0.1", None).unwrap_err().to_string().contains("names no port"));
        let error = resolve("no-such-host.invalid", Some(1)).unwrap_err().to_string();
        assert!(!error.contains("socket address"), "{error}");
    }

    proptest! {
        #[test]
        fn every_address_is_read_as_it_is_printed(v6: u128, v4: u32, port in 1_u16.., scope in 0..3_u32) {
            let v6 = SocketAddrV6::new(v6.into(), port, 0, scope);
            prop_assert_eq!(one(&v6.to_string()), SocketAddr::V6(v6));
            let v4 = SocketAddr::new(std::net::Ipv4Addr::from(v4).into(), port);
            prop_assert_eq!(one(&v4.to_string()), v4);
        }

        #[test]
        fn any_text_is_split_or_refused(text in "[\\[\\]:%.0-9a-f]{0,20}") {
            if let Ok((host, _)) = split(&text) {
                prop_assert!(!host.is_empty() && text.contains(host));
            }
        }
    }
}
