//! Names of rooms.

use std::{fmt, str::FromStr};

use thiserror::Error;

/// Names the room at a relay in which two peers meet. One of them draws it at random and gives it to the other; both
/// keep it to themselves (the [module](super) says what it is worth).
///
/// As text: 29 letters and digits in groups of five, in Crockford's base 32 (no `i`, `l`, `o` or `u`), the last of which
/// check the others: it can be read out on a telephone. Reading it, case and hyphens do not matter, `o` is `0`, and `i` and
/// `l` are `1`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket([u8; 16]);

/// Text that is no ticket.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TicketError {
    /// It has other signs than letters, digits and hyphens, or a `u`.
    #[error("a ticket has no {0:?} in it: copy it again")]
    Sign(char),
    /// Too much or too little of it.
    #[error("a ticket has {CHARACTERS} letters and digits, this one has {0}: copy it again")]
    Length(usize),
    /// The check does not fit.
    #[error("something in this ticket is mistyped: copy it again")]
    Check,
}

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// 16 bytes and two of check, five bits each.
const CHARACTERS: usize = 29;
const GROUP: usize = 5;

impl Ticket {
    /// Of 16 bytes, which should come from a generator fit for keys.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// As on the wire.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    fn check(&self) -> [u8; 2] {
        let [.., third, fourth] = crc32c::crc32c(&self.0).to_be_bytes();
        [third, fourth]
    }

    /// The ticket, its check, and a zero bit, from the most significant bit of 145 on: above, and the last 17 bits.
    fn numbers(&self) -> (u128, u32) {
        (u128::from_be_bytes(self.0), u32::from(u16::from_be_bytes(self.check())) << 1)
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (upper, lower) = self.numbers();
        for n in 0..CHARACTERS {
            if n > 0 && n % GROUP == 0 {
                f.write_str("-")?;
            }
            // Bits from `5 n` on, of the 128 above and the 17 below.
            let from = 5 * n;
            let digit = if from + 5 <= 128 {
                (upper >> (123 - from)) as usize
            } else if from < 128 {
                (upper << (from + 5 - 128)) as usize | (lower >> (17 - (from + 5 - 128))) as usize
            } else {
                (lower >> (140 - from)) as usize
            };
            write!(f, "{}", char::from(ALPHABET[digit % 32]))?;
        }
        Ok(())
    }
}

impl FromStr for Ticket {
    type Err = TicketError;

    fn from_str(text: &str) -> Result<Self, TicketError> {
        let (mut upper, mut lower, mut count) = (0_u128, 0_u32, 0);
        for sign in text.trim().chars().filter(|sign| *sign != '-') {
            let plain = match sign.to_ascii_lowercase() {
                'o' => '0',
                'i' | 'l' => '1',
                sign => sign,
            };
            let digit =
                ALPHABET.iter().position(|letter| char::from(*letter) == plain).ok_or(TicketError::Sign(sign))?;
            for bit in (0..5).map(|bit| 5 * count + bit) {
                let value = digit >> (4 - bit % 5) & 1;
                match bit {
                    0..128 => upper |= (value as u128) << (127 - bit),
                    128..145 => lower |= (value as u32) << (144 - bit),
                    _ => {}
                }
            }
            count += 1;
        }
        if count != CHARACTERS {
            return Err(TicketError::Length(count));
        }
        let ticket = Self(upper.to_be_bytes());
        if ticket.numbers() == (upper, lower) { Ok(ticket) } else { Err(TicketError::Check) }
    }
}

/// Does not tell: logs are read by others.
impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticket(..)")
    }
}

#[cfg(test)]
#[path = "ticket_tests.rs"]
mod tests;
