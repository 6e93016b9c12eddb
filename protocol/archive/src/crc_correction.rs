//! What a block was before a few of its bytes were changed: its checksum tells.
//!
//! CRC32C is linear: the difference of two checksums is that of the bytes' difference. So for each place there is just one change of four
//! bytes in a row that explains the difference that is found, and one of fewer is a rare thing. Whether it is the right one shows when
//! the codes are decoded.

/// The checksum's bytes, at the end of a block.
const CHECKSUM: usize = 4;

/// The most changes that are looked at: a block has one by chance once in a thousand times.
const MOST: usize = 256;

const POLYNOMIAL: u32 = 0x82F6_3B78;

/// Bytes to be changed: where, and by what (exclusive or).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    at: usize,
    by: [u8; 3],
}

impl Change {
    /// How many bits differ.
    pub(crate) fn bits(&self) -> u32 {
        self.by.iter().map(|byte| byte.count_ones()).sum()
    }

    pub(crate) fn apply(&self, block: &[u8]) -> Vec<u8> {
        let mut block = block.to_vec();
        block[self.at..].iter_mut().zip(self.by).for_each(|(byte, by)| *byte ^= by);
        block
    }
}

/// The changes of one byte after which this block's checksum fits, those of the fewest bits first.
pub(crate) fn changes(block: &[u8]) -> Vec<Change> {
    let Some((content, sum)) = block.split_last_chunk::<CHECKSUM>() else { return Vec::new() };
    let table: [u32; 256] = std::array::from_fn(|n| {
        (0..8).fold(n as u32, |crc, _| if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 })
    });
    // Which entry has these highest eight bits: all differ.
    let mut back = [0_u8; 256];
    (0..=255_u8).for_each(|n| back[(table[usize::from(n)] >> 24) as usize] = n);
    let mut differs = crc32c::crc32c(content) ^ u32::from_be_bytes(*sum);
    let mut found = Vec::new();
    let checksum = differs.to_be_bytes();
    // The checksum itself may have been changed.
    if let Some(first) = checksum.iter().position(|&byte| byte != 0)
        && checksum[first..].iter().skip(1).all(|&byte| byte == 0)
    {
        let mut by = [0; 3];
        by.iter_mut().zip(&checksum[first..]).for_each(|(by, &byte)| *by = byte);
        found.push(Change { at: content.len() + first, by });
    }
    // One byte further to the front at a time: what the four bytes from there on would have to be changed by.
    for at in (0..content.len()).rev() {
        let n = back[(differs >> 24) as usize];
        differs = (differs ^ table[usize::from(n)]) << 8 | u32::from(n);
        let [a, b, c, d] = differs.to_le_bytes();
        // One byte only: of more, there is one by chance in a block, and codes do not always show that it is wrong.
        if a != 0 && [b, c, d] == [0; 3] {
            found.push(Change { at, by: [a, 0, 0] });
        }
    }
    found.sort_by_key(Change::bits);
    found.truncate(MOST);
    found
}

/// How many of these bytes lie before a stretch that was written over: eight that are all the same are none of a coder.
pub(crate) fn before_blank(payload: &[u8]) -> Option<usize> {
    payload.windows(8).position(|eight| eight.iter().all(|&byte| byte == eight[0]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_change_of_one_byte_is_found(
            mut block in prop::collection::vec(any::<u8>(), 1..3000), at: prop::sample::Index, by: [u8; 3], count in 1_usize..2,
        ) {
            let sum = crc32c::crc32c(&block).to_be_bytes();
            block.extend(sum);
            let mut bad = block.clone();
            let at = at.index(block.len());
            bad[at..].iter_mut().zip(&by[..count]).for_each(|(byte, by)| *byte ^= by);
            let changes = changes(&bad);
            // Across the checksum's beginning it is two changes.
            if bad != block && (at + count <= block.len() - 4 || at >= block.len() - 4) {
                prop_assert!(changes.iter().any(|change| change.apply(&bad) == block));
            }
            for change in &changes {
                let mended = change.apply(&bad);
                let (content, sum) = mended.split_last_chunk::<4>().expect("a checksum");
                prop_assert_eq!(crc32c::crc32c(content).to_be_bytes(), *sum);
            }
        }
    }
}
