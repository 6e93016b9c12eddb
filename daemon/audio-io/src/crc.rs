//! The checksums of FLAC (RFC 9639) and Ogg (RFC 3533).

const fn table(bits: u32, polynomial: u32) -> [u32; 256] {
    let (mut table, mut n) = ([0; 256], 0);
    while n < 256 {
        let (mut crc, mut bit) = ((n as u32) << (bits - 8), 0);
        while bit < 8 {
            crc = if crc >> (bits - 1) & 1 == 1 { crc << 1 ^ polynomial } else { crc << 1 };
            bit += 1;
        }
        table[n] = if bits == 32 { crc } else { crc & ((1 << bits) - 1) };
        n += 1;
    }
    table
}

static EIGHT: [u32; 256] = table(8, 0x07);
static SIXTEEN: [u32; 256] = table(16, 0x8005);
static OGG: [u32; 256] = table(32, 0x04C1_1DB7);

pub(crate) fn crc8(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |crc, &byte| EIGHT[usize::from(crc ^ byte)] as u8)
}

/// The checksum after one more byte.
pub(crate) fn crc16(crc: u16, byte: u8) -> u16 {
    crc << 8 ^ SIXTEEN[usize::from((crc >> 8) as u8 ^ byte)] as u16
}

/// Of a page whose own checksum is taken as 0.
pub(crate) fn ogg(page: &[u8]) -> u32 {
    page.iter().enumerate().fold(0, |crc, (at, &byte)| {
        let byte = if (22..26).contains(&at) { 0 } else { byte };
        crc << 8 ^ OGG[usize::from((crc >> 24) as u8 ^ byte)]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check values of the catalogue of CRCs (CRC-8/SMBUS, CRC-16/UMTS).
    #[test]
    fn checksums_are_those_of_the_catalogue() {
        assert_eq!(crc8(b"123456789"), 0xF4);
        assert_eq!(b"123456789".iter().fold(0, |crc, &byte| crc16(crc, byte)), 0xFEE8);
    }
}
