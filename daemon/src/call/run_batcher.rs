//! When the frames of a microphone are due to be coded.

use super::codec::RUN_FRAMES;

/// What is to be done with the frames that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// More are waited for.
    Later,
    /// They are coded; their packet is not full.
    Run,
    /// They are coded and sent.
    Packet,
}

/// Follows how frames of speech become packets, so as to code those of one in as few runs as possible, when the last of them is
/// there: none is sent before anyway. In silence nothing is coded; its first frame ends what waits.
#[derive(Debug, Default)]
pub struct RunBatcher {
    /// Frames that are not coded.
    waiting: usize,
    /// Frames in the packet at hand.
    packed: usize,
}

impl RunBatcher {
    /// The next frame of speech is there. `frames`: how many a packet holds.
    pub fn next(&mut self, frames: usize) -> Due {
        self.waiting += 1;
        self.packed += 1;
        let ends = self.packed >= frames.max(1);
        if ends {
            self.packed = 0;
        }
        if ends || self.waiting >= RUN_FRAMES {
            self.waiting = 0;
        }
        match (ends, self.waiting) {
            (true, _) => Due::Packet,
            (false, 0) => Due::Run,
            _ => Due::Later,
        }
    }

    /// What waits is coded out of turn, and its packet sent.
    pub fn end(&mut self) {
        (self.waiting, self.packed) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of so many frames: `-` is later, `r` a run and `P` a packet.
    fn dues(count: usize, frames: usize) -> String {
        let mut batcher = RunBatcher::default();
        let due = |_| match batcher.next(frames) {
            Due::Later => '-',
            Due::Run => 'r',
            Due::Packet => 'P',
        };
        (0..count).map(due).collect()
    }

    #[test]
    fn a_packets_frames_are_coded_when_it_is_full() {
        assert_eq!(dues(7, 0), "PPPPPPP");
        assert_eq!(dues(7, 1), "PPPPPPP");
        assert_eq!(dues(7, 3), "--P--P-");
        assert_eq!(dues(13, 12), "-----r-----P-");
        assert_eq!(dues(9, 8), "-----r-P-");
    }

    #[test]
    fn a_packet_that_ended_out_of_turn_is_not_waited_for() {
        let mut batcher = RunBatcher::default();
        assert_eq!([batcher.next(3), batcher.next(3)], [Due::Later; 2]);
        batcher.end();
        assert_eq!([(); 3].map(|()| batcher.next(3)), [Due::Later, Due::Later, Due::Packet]);
    }
}
