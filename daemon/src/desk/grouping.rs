//! When the frames of a microphone are due to be coded.

use crate::call::RUN_FRAMES;

/// What is to be done with the frames that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// More are waited for.
    Later,
    /// They are coded; their packet is not full.
    Run,
    /// They are coded and sent.
    Packet,
}

/// Follows how frames become packets, so as to code those of one in as few runs as possible, when the last of them is there:
/// none is sent before anyway.
///
/// In silence nothing is sent but now and then what it sounds like, and frames are coded as many at a time; but its first frame
/// sends what waits, and tells of it, at once.
#[derive(Debug)]
pub(super) struct Grouping {
    /// Silent frames that are sent with the speech after them.
    look_back: usize,
    /// Frames that are not coded.
    waiting: usize,
    /// Frames in the packet at hand.
    packed: usize,
    /// Silent frames in a row.
    silent: usize,
}

impl Grouping {
    /// At the start of a call, where so many silent frames are sent with the speech after them.
    pub(super) fn new(look_back: usize) -> Self {
        Self { look_back, waiting: 0, packed: 0, silent: 0 }
    }

    /// The next frame is there. `frames`: how many a packet holds.
    pub(super) fn next(&mut self, silent: bool, frames: usize) -> Due {
        let frames = frames.max(1);
        self.waiting += 1;
        let ends = if silent {
            let interrupts = self.silent == 0 || self.packed > 0;
            self.silent = self.silent.saturating_add(1);
            interrupts || self.waiting >= frames.min(RUN_FRAMES)
        } else {
            // The last silent frames before speech are sent with it.
            self.packed += self.silent.min(self.look_back) + 1;
            self.silent = 0;
            self.packed >= frames
        };
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
    pub(super) fn end(&mut self) {
        (self.waiting, self.packed) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `s` is speech, `.` silence; the answer has `-` for later, `r` for a run and `P` for a packet.
    fn dues(heard: &str, frames: usize) -> String {
        let mut grouping = Grouping::new(2);
        heard
            .chars()
            .map(|frame| match grouping.next(frame == '.', frames) {
                Due::Later => '-',
                Due::Run => 'r',
                Due::Packet => 'P',
            })
            .collect()
    }

    #[test]
    fn a_packets_frames_are_coded_when_it_is_full() {
        assert_eq!(dues("sssssss", 0), "PPPPPPP");
        assert_eq!(dues("sssssss", 1), "PPPPPPP");
        assert_eq!(dues("sssssss", 3), "--P--P-");
        assert_eq!(dues("sssssssssssss", 12), "-----r-----P-");
        assert_eq!(dues("sssssssss", 8), "-----r-P-");
    }

    #[test]
    fn silence_sends_what_waits_and_is_told_of_at_once() {
        assert_eq!(dues("ss......", 3), "--P--P--");
        assert_eq!(dues("sss......", 3), "--PP--P--");
        assert_eq!(dues(".........", 12), "P-----P--");
        assert_eq!(dues("....", 1), "PPPP");
    }

    #[test]
    fn speech_takes_the_last_silent_frames_with_it() {
        // Two frames before it, itself: a packet of three.
        assert_eq!(dues("sss...ssss", 3), "--PP--P--P");
        assert_eq!(dues("sss..ssss", 3), "--PP-P--P");
        assert_eq!(dues("sss.ssss", 3), "--PP-P--");
        assert_eq!(dues("......ssssss", 6), "P-----r--P--");
    }

    #[test]
    fn a_packet_that_ended_out_of_turn_is_not_waited_for() {
        let mut grouping = Grouping::new(2);
        assert_eq!([grouping.next(false, 3), grouping.next(false, 3)], [Due::Later; 2]);
        grouping.end();
        assert_eq!([(); 3].map(|()| grouping.next(false, 3)), [Due::Later, Due::Later, Due::Packet]);
    }
}
