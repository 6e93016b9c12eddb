//! How often a source may ask: token buckets, in a table that never grows.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use hkdf::hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// So many may come at once, and then so many a second.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    pub(super) burst: u32,
    pub(super) per_second: u32,
}

/// What is left of a [`Rate`]: thousandths of a token.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    left: u32,
    since: Instant,
}

impl Bucket {
    pub(super) fn full(rate: Rate, now: Instant) -> Self {
        Self { left: rate.burst * 1000, since: now }
    }

    /// Takes a token, if there is one.
    pub(super) fn take(&mut self, rate: Rate, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.since);
        // A token takes a millisecond or more, so that whole milliseconds are counted and none is lost.
        let milliseconds = passed.as_millis().min(3_600_000) as u64;
        let refilled = u64::from(self.left) + milliseconds * u64::from(rate.per_second);
        self.left = refilled.min(u64::from(rate.burst) * 1000) as u32;
        self.since += Duration::from_millis(milliseconds);
        if passed.as_millis() > 3_600_000 {
            self.since = now;
        }
        let granted = self.left >= 1000;
        if granted {
            self.left -= 1000;
        }
        granted
    }
}

/// What a source is known by: an IPv4 address, or the 64 bits of an IPv6 address that belong to one network (RFC 4291
/// section 2.5.4), as who has one address there has all of them.
pub(crate) type Source = [u8; 9];

pub(crate) fn source(address: SocketAddr) -> Source {
    let mut source = [0; 9];
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => {
            source[0] = 4;
            source[1..5].copy_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            source[0] = 6;
            source[1..].copy_from_slice(&ip.octets()[..8]);
        }
    }
    source
}

#[derive(Debug, Clone, Copy)]
struct Row {
    source: Source,
    last: Instant,
    buckets: [Bucket; 2],
}

/// Rows in the table.
pub(super) const ROWS: usize = 1024;
/// Rows that one source can be in.
const WAYS: usize = 4;

/// Two buckets for each source. Of the four rows that a source can be in, the one unused for longest makes room for it; which
/// four is known only to who has the key.
pub(super) struct Table {
    key: Zeroizing<[u8; 32]>,
    rates: [Rate; 2],
    rows: Box<[Option<Row>; ROWS]>,
}

impl Table {
    pub(super) fn new(key: Zeroizing<[u8; 32]>, rates: [Rate; 2]) -> Self {
        Self { key, rates, rows: Box::new([None; ROWS]) }
    }

    /// Takes a token from one of the source's buckets, if there is one.
    pub(super) fn take(&mut self, source: Source, which: usize, now: Instant) -> bool {
        let start = self.place(source);
        let rows = &mut self.rows[start..start + WAYS];
        let found = rows.iter().position(|row| row.is_some_and(|row| row.source == source));
        let at = found.unwrap_or_else(|| {
            // An empty row is older than any other.
            (0..WAYS).min_by_key(|&n| rows[n].map(|row| row.last)).unwrap_or(0)
        });
        if found.is_none() {
            rows[at] = Some(Row { source, last: now, buckets: self.rates.map(|rate| Bucket::full(rate, now)) });
        }
        rows[at].as_mut().is_some_and(|row| {
            row.last = now;
            row.buckets[which].take(self.rates[which], now)
        })
    }

    fn place(&self, source: Source) -> usize {
        let hash = mac(&self.key, &[&source]).finalize().into_bytes();
        usize::from(u16::from_be_bytes([hash[0], hash[1]])) % (ROWS / WAYS) * WAYS
    }
}

/// HMAC-SHA-256 (RFC 2104) of the parts, one after another.
pub(super) fn mac(key: &[u8; 32], parts: &[&[u8]]) -> Hmac<Sha256> {
    // A key shorter than the hash's block is filled with zeros.
    let mut block = Zeroizing::new([0; 64]);
    block[..32].copy_from_slice(key);
    let mut mac = Hmac::<Sha256>::new((&*block).into());
    for part in parts {
        mac.update(part);
    }
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { burst: 3, per_second: 2 };

    #[test]
    fn a_bucket_grants_a_burst_and_then_its_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::full(RATE, start);
        let mut granted = 0;
        for step in 0..10_000_u64 {
            granted += u32::from(bucket.take(RATE, start + Duration::from_millis(step)));
        }
        assert_eq!(granted, 3 + 19);
        // Idle for days: full, not more.
        let later = start + Duration::from_secs(400_000);
        assert_eq!((0..10).filter(|_| bucket.take(RATE, later)).count(), 3);
        // Time that goes back grants nothing.
        assert!(!bucket.take(RATE, start));
    }

    #[test]
    fn sources_do_not_disturb_each_other_until_the_table_is_full() {
        let start = Instant::now();
        let mut table = Table::new(Zeroizing::new([1; 32]), [RATE; 2]);
        let address = |n: u32| source(SocketAddr::from((n.to_be_bytes(), 9)));
        for n in 0..100 {
            assert_eq!((0..9).filter(|_| table.take(address(n), 0, start)).count(), 3, "{n}");
            assert_eq!((0..9).filter(|_| table.take(address(n), 1, start)).count(), 3, "{n}");
        }
        // A flood of others pushes them out; the newest of them is remembered.
        for n in 1000..100_000 {
            table.take(address(n), 0, start + Duration::from_millis(1));
        }
        assert_eq!((0..9).filter(|_| table.take(address(99_999), 0, start + Duration::from_millis(1))).count(), 2);
        assert!(table.take(address(5), 0, start + Duration::from_millis(2)));
    }

    #[test]
    fn a_network_is_one_source() {
        let at = |text: &str| source(text.parse().unwrap());
        assert_eq!(at("[2001:db8:1:2::3]:1"), at("[2001:db8:1:2:ffff::4]:2"));
        assert_ne!(at("[2001:db8:1:2::3]:1"), at("[2001:db8:1:3::3]:1"));
        assert_eq!(at("1.2.3.4:5"), at("1.2.3.4:6"));
        assert_eq!(at("1.2.3.4:5"), at("[::ffff:1.2.3.4]:5"));
        assert_ne!(at("1.2.3.4:5"), at("1.2.3.5:5"));
    }
}
