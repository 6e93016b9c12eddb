//! How often a source may ask: token buckets, in a table that never grows.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use hkdf::hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::network::Network;

/// So many may come at once, and then so many a minute.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    pub(crate) burst: u32,
    pub(crate) per_minute: u32,
}

impl Rate {
    fn times(self, share: u32) -> Self {
        Self { burst: self.burst * share, per_minute: self.per_minute * share }
    }
}

/// A token is so many parts: a minute has as many milliseconds, so that whole milliseconds are counted and none is lost.
const TOKEN: u32 = 60_000;

/// What is left of a [`Rate`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    left: u32,
    since: Instant,
}

impl Bucket {
    pub(super) fn full(rate: Rate, now: Instant) -> Self {
        Self { left: rate.burst * TOKEN, since: now }
    }

    /// Takes a token, if there is one.
    pub(super) fn take(&mut self, rate: Rate, now: Instant) -> bool {
        self.take_above(0, rate, now)
    }

    /// Takes a token, if so many are left after it.
    pub(super) fn take_above(&mut self, stay: u32, rate: Rate, now: Instant) -> bool {
        let granted = self.left(rate, now) > stay;
        if granted {
            self.left -= TOKEN;
        }
        granted
    }

    /// How many tokens there are.
    pub(super) fn left(&mut self, rate: Rate, now: Instant) -> u32 {
        let passed = now.saturating_duration_since(self.since);
        let milliseconds = passed.as_millis().min(3_600_000) as u64;
        let refilled = u64::from(self.left) + milliseconds * u64::from(rate.per_minute);
        self.left = refilled.min(u64::from(rate.burst) * u64::from(TOKEN)) as u32;
        self.since += Duration::from_millis(milliseconds);
        if passed.as_millis() > 3_600_000 {
            self.since = now;
        }
        self.left / TOKEN
    }
}

/// What a source is known by: the smallest of its networks.
pub(crate) type Source = Network;

pub(crate) fn source(address: SocketAddr) -> Source {
    Network::source(address)
}

#[derive(Debug, Clone, Copy)]
struct Row<const BUCKETS: usize> {
    network: Network,
    last: Instant,
    buckets: [Bucket; BUCKETS],
}

/// Rows in the table.
pub(super) const ROWS: usize = 2048;
/// Rows that one network can be in.
const WAYS: usize = 4;

/// Buckets for each source, and for the networks that it is in, which have as many times more as their
/// [share](Network::share) says. Of the four rows that a network can be in, the one unused for longest makes room for it;
/// which four is known only to who has the key.
pub(crate) struct Table<const BUCKETS: usize> {
    key: Zeroizing<[u8; 32]>,
    rates: [Rate; BUCKETS],
    rows: Box<[Option<Row<BUCKETS>>; ROWS]>,
}

impl<const BUCKETS: usize> std::fmt::Debug for Table<BUCKETS> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("rates", &self.rates).finish_non_exhaustive()
    }
}

impl<const BUCKETS: usize> Table<BUCKETS> {
    pub(crate) fn new(key: Zeroizing<[u8; 32]>, rates: [Rate; BUCKETS]) -> Self {
        Self { key, rates, rows: Box::new([None; ROWS]) }
    }

    /// Takes a token from one of the buckets of an address, and of each network that it is in, if all have one.
    pub(crate) fn take(&mut self, address: SocketAddr, which: usize, now: Instant) -> bool {
        // The smallest first: who has used up its own takes nothing from its neighbours.
        Network::all_of(address).all(|network| self.take_of(network, which, now))
    }

    fn take_of(&mut self, network: Network, which: usize, now: Instant) -> bool {
        let rates = self.rates.map(|rate| rate.times(network.share()));
        let start = self.place(network);
        let rows = &mut self.rows[start..start + WAYS];
        let found = rows.iter().position(|row| row.is_some_and(|row| row.network == network));
        let at = found.unwrap_or_else(|| {
            // An empty row is older than any other.
            (0..WAYS).min_by_key(|&n| rows[n].map(|row| row.last)).unwrap_or(0)
        });
        if found.is_none() {
            rows[at] = Some(Row { network, last: now, buckets: rates.map(|rate| Bucket::full(rate, now)) });
        }
        rows[at].as_mut().is_some_and(|row| {
            row.last = now;
            row.buckets[which].take(rates[which], now)
        })
    }

    fn place(&self, network: Network) -> usize {
        let hash = mac(&self.key, &[&network.to_bytes()]).finalize().into_bytes();
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

    const RATE: Rate = Rate { burst: 3, per_minute: 120 };

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
    fn some_may_be_kept_for_others() {
        let start = Instant::now();
        let mut bucket = Bucket::full(RATE, start);
        assert_eq!((0..9).filter(|_| bucket.take_above(2, RATE, start)).count(), 1);
        assert_eq!((0..9).filter(|_| bucket.take(RATE, start)).count(), 2);
    }

    #[test]
    fn sources_do_not_disturb_each_other_until_the_table_is_full() {
        let start = Instant::now();
        let mut table = Table::new(Zeroizing::new([1; 32]), [RATE; 2]);
        let address = |n: u32| SocketAddr::from(((n << 8).to_be_bytes(), 9));
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

    /// However many addresses somebody has: of the networks that they are in, each has a limit of its own.
    #[test]
    fn addresses_of_a_network_are_counted_together() {
        let start = Instant::now();
        let count = |address: fn(u16) -> SocketAddr| {
            let mut table = Table::new(Zeroizing::new([1; 32]), [RATE]);
            (0..256).filter(|&n| table.take(address(n), 0, start)).count()
        };
        assert_eq!(count(|n| ([192, 0, 2, n as u8], 9).into()), 12);
        assert_eq!(count(|n| ([0x2001, 0xdb8, 1, 2, n, 0, 0, 1], 9).into()), 3);
        assert_eq!(count(|n| ([0x2001, 0xdb8, 1, n, 0, 0, 0, 1], 9).into()), 6);
        assert_eq!(count(|n| ([0x2001, 0xdb8, 1, n << 8, 0, 0, 0, 1], 9).into()), 12);
        assert_eq!(count(|n| ([0x2001, 0xdb8, n, 0, 0, 0, 0, 1], 9).into()), 256);
    }
}
