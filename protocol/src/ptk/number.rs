//! Numbers of as many bytes as they need: seven bits a byte, most significant first; the highest bit is set in all but the last.

/// The most bytes of a number that says a length.
pub(super) const LENGTH_BYTES: usize = 3;

/// What bytes that begin with a length say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    /// So long, which so many bytes say.
    Of(usize, usize),
    /// They break off before.
    Unfinished,
    /// None that a writer makes.
    Impossible,
}

pub(super) fn append_number(number: u64, out: &mut Vec<u8>) {
    let groups = (u64::BITS - number.leading_zeros()).div_ceil(7).max(1);
    for group in (0..groups).rev() {
        let more = if group > 0 { 0x80 } else { 0 };
        out.push(more | (number >> (7 * group) & 0x7F) as u8);
    }
}

/// The number that bytes begin with, and what follows it. `None` if it breaks off, or no writer makes one like it.
pub(super) fn split_number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0_u64;
    for (at, &byte) in bytes.iter().enumerate() {
        // Beyond 64 bits; or longer than it need be.
        if number >> 57 != 0 || (at == 0 && byte == 0x80) {
            return None;
        }
        number = number << 7 | u64::from(byte & 0x7F);
        if byte < 0x80 {
            return Some((number, &bytes[at + 1..]));
        }
    }
    None
}

/// The same of a number that must fit.
pub(super) fn split_small<T: TryFrom<u64>>(bytes: &[u8]) -> Option<(T, &[u8])> {
    let (number, rest) = split_number(bytes)?;
    Some((T::try_from(number).ok()?, rest))
}

/// The length that bytes begin with, up to 2097151.
pub(super) fn length(bytes: &[u8]) -> Length {
    let bytes = &bytes[..bytes.len().min(LENGTH_BYTES)];
    match split_small(bytes) {
        Some((length, rest)) => Length::Of(length, bytes.len() - rest.len()),
        None if bytes.len() < LENGTH_BYTES && bytes.first() != Some(&0x80) => Length::Unfinished,
        None => Length::Impossible,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_survive_and_have_one_form(number: u64, shift in 0..64_u32, bytes: Vec<u8>) {
            let number = number >> shift;
            let mut made = Vec::new();
            append_number(number, &mut made);
            prop_assert_eq!(split_number(&made), Some((number, &[][..])));
            prop_assert_eq!(split_number(&made[..made.len() - 1]), None);
            if let Some((number, rest)) = split_number(&bytes) {
                made.clear();
                append_number(number, &mut made);
                prop_assert_eq!(&made[..], &bytes[..bytes.len() - rest.len()]);
            }
        }

        #[test]
        fn a_length_is_a_number_that_is_short(number in 0..1_usize << 22, cut in 0..4_usize) {
            let mut made = Vec::new();
            append_number(number as u64, &mut made);
            let whole = if number < 1 << 21 { Length::Of(number, made.len()) } else { Length::Impossible };
            prop_assert_eq!(length(&made), whole);
            if cut < made.len().min(LENGTH_BYTES) {
                prop_assert_eq!(length(&made[..cut]), Length::Unfinished);
            }
        }
    }

    #[test]
    fn what_no_writer_makes_is_none() {
        for bytes in
            [&[0x80; 20][..], &[0xFF; 11], &[0x80, 0x01], &[0x82, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00]]
        {
            assert_eq!(split_number(bytes), None);
        }
        assert_eq!(length(&[0x80]), Length::Impossible);
        assert_eq!(split_small::<u8>(&[0x82, 0x00]), None);
    }
}
