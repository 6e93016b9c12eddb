//! A frame acknowledgement (a *report* in `docs/wire.md`): which frames the receiver of media holds, in a few bytes that ride on a packet going the other way.
//! `docs/wire.md` has its layout; [`context`](crate::context) has its use.

use parlo_tokens::{FrameSet, WINDOW};

use crate::packet::{Fields, PacketError};

/// Reports are numbered 1 to 15 and again from 1: media packets have four bits for one, and 0 means none.
pub(crate) const NUMBERS: u64 = 15;

/// How many reports back the report may lie upon which another builds.
pub(crate) const MAX_BACK: u64 = 7;

/// Gaps that a report has room for, in bytes: as many as leave it within [`FrameAck::MAX_BYTES`]. One that builds upon none has
/// room for a byte less.
const GAP_BYTES: usize = 4;

/// Marks, in the first byte, that gaps follow.
const HAS_GAPS: u8 = 0x08;

/// What a report says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameAck {
    /// 1 to 15.
    number: u8,
    /// Number of the newest frame held, lower 16 bits.
    newest: u16,
    base: Base,
    /// As on the wire: the first byte's most significant bit is set if the frame before the newest is missing, and so on
    /// backwards.
    gaps: [u8; GAP_BYTES],
}

/// What a report adds to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Base {
    /// Nothing: it speaks of this many frames, the newest among them, 1 to [`WINDOW`].
    Nothing { reach: u16 },
    /// The report so many numbers before, 1 to [`MAX_BACK`]: it speaks of the frames after that one's newest.
    Earlier { back: u8 },
}

impl FrameAck {
    /// The longest report.
    pub const MAX_BYTES: usize = 8;

    /// A report of the frames in `held`, or of those after the newest of the report `back` numbers before. The former leaves out
    /// the oldest frames if there are more gaps than it has room for.
    /// `None` if there are no such frames, or if the report before lies too far back or leaves more gaps than there is room for.
    pub(crate) fn new(number: u8, held: &FrameSet, base: Option<(u8, u64)>) -> Option<Self> {
        let (newest, oldest) = (held.newest()?, held.iter().next()?);
        let (base, reach) = match base {
            Some((back, before)) => {
                let reach = newest.checked_sub(before).filter(|reach| (1..WINDOW).contains(reach))?;
                (Base::Earlier { back }, reach)
            }
            None => {
                let room = 8 * (GAP_BYTES as u64 - 1);
                let far = (room..newest - oldest).find(|n| !held.contains(newest - 1 - n));
                let reach = far.map_or(newest - oldest + 1, |gap| {
                    1 + (0..gap).rev().find(|n| held.contains(newest - 1 - n)).map_or(0, |n| n + 1)
                });
                (Base::Nothing { reach: reach as u16 }, reach)
            }
        };
        let mut gaps = [0; GAP_BYTES];
        for n in (0..reach - 1).filter(|n| !held.contains(newest - 1 - n)) {
            *gaps.get_mut(n as usize / 8)? |= 0x80 >> (n % 8);
        }
        Some(Self { number, newest: newest as u16, base, gaps })
    }

    /// How many bytes of gaps there is room for.
    fn gap_room(base: Base) -> usize {
        if matches!(base, Base::Nothing { .. }) { GAP_BYTES - 1 } else { GAP_BYTES }
    }

    /// 1 to 15.
    pub fn number(&self) -> u8 {
        self.number
    }

    /// Lower 16 bits of the newest frame's number.
    pub(crate) fn newest(&self) -> u16 {
        self.newest
    }

    /// The number of the report that this one builds upon, if any.
    pub(crate) fn base(&self) -> Option<u8> {
        match self.base {
            Base::Nothing { .. } => None,
            Base::Earlier { back } => Some((self.number + NUMBERS as u8 - 1 - back) % NUMBERS as u8 + 1),
        }
    }

    /// The frames that both sides mean by this report: this is the only place where a report becomes a set. `newest` is the
    /// newest frame's full number, `base` the set of the report that it builds upon, empty if there is none.
    /// `None` if these do not fit the report.
    pub(crate) fn frames(&self, newest: u64, base: FrameSet) -> Option<FrameSet> {
        let reach = match self.base {
            Base::Nothing { reach } => u64::from(reach),
            Base::Earlier { .. } => newest.checked_sub(base.newest()?).filter(|reach| (1..WINDOW).contains(reach))?,
        };
        if self.last_gap().is_some_and(|last| last + 2 > reach) {
            return None;
        }
        let mut frames = base;
        for number in newest.checked_sub(reach - 1)?..=newest {
            if newest == number || !self.is_gap(newest - number - 1) {
                frames.insert(number);
            }
        }
        Some(frames)
    }

    fn is_gap(&self, n: u64) -> bool {
        self.gaps.get(n as usize / 8).is_some_and(|byte| byte << (n % 8) & 0x80 != 0)
    }

    /// The gap that lies farthest back, counted from the frame before the newest.
    fn last_gap(&self) -> Option<u64> {
        let byte = self.gaps.iter().rposition(|&byte| byte != 0)?;
        Some(byte as u64 * 8 + 7 - u64::from(self.gaps[byte].trailing_zeros()))
    }

    /// The bytes up to the last gap.
    fn gap_bytes(&self) -> &[u8] {
        &self.gaps[..self.last_gap().map_or(0, |last| last as usize / 8 + 1)]
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        let gaps = self.gap_bytes().len();
        3 + usize::from(matches!(self.base, Base::Nothing { .. })) + usize::from(gaps > 0) + gaps
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let gaps = self.gap_bytes();
        let flag = if gaps.is_empty() { 0 } else { HAS_GAPS };
        let back = if let Base::Earlier { back } = self.base { back } else { 0 };
        out.push(self.number << 4 | flag | back);
        out.extend_from_slice(&self.newest.to_be_bytes());
        if let Base::Nothing { reach } = self.base {
            out.push((reach - 1) as u8);
        }
        if !gaps.is_empty() {
            out.push((gaps.len() - 1) as u8);
            out.extend_from_slice(gaps);
        }
    }

    pub(crate) fn parse(fields: &mut Fields<'_>) -> Result<Self, PacketError> {
        let wrong = |field, value| Err(PacketError::Field { field, value });
        let byte = fields.u8()?;
        let (number, back) = (byte >> 4, byte & 0x07);
        if number == 0 {
            return wrong("report", 0);
        }
        let newest = fields.u16()?;
        let base = match back {
            0 => Base::Nothing { reach: u16::from(fields.u8()?) + 1 },
            back => Base::Earlier { back },
        };
        let mut ack = Self { number, newest, base, gaps: [0; GAP_BYTES] };
        if byte & HAS_GAPS != 0 {
            let length = fields.u8()?;
            let room = Self::gap_room(base);
            let Some(gaps) = ack.gaps[..room].get_mut(..=usize::from(length)) else {
                return wrong("length", length.into());
            };
            gaps.copy_from_slice(fields.bytes(usize::from(length) + 1)?);
            // One way to write each report: the last byte has a gap, and the farthest frame spoken of is none.
            let bound = if let Base::Nothing { reach } = base { reach.into() } else { WINDOW };
            if ack.gap_bytes().len() != usize::from(length) + 1 || ack.last_gap().is_some_and(|gap| gap + 2 >= bound) {
                return wrong("gaps", length.into());
            }
        }
        Ok(ack)
    }
}
