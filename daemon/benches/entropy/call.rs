//! A call in simulated time: which frames a packet may build upon, by the protocol itself.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use parlo_protocol::ack::FrameAck;
use parlo_protocol::context::{AckReceiver, AckSender};
use parlo_tokens::FrameSet;

/// Sender and receiver, half a round trip apart. Media goes one way; reports ride on media of the other way, which has
/// packets as often. Nothing is lost.
pub(crate) struct Path {
    half: Duration,
    start: Instant,
    sender: AckReceiver,
    receiver: AckSender,
    /// First frame and count of packets on their way, and when they arrive.
    media: VecDeque<(Instant, u64, usize)>,
    reports: VecDeque<(Instant, FrameAck)>,
    /// Bytes of all reports.
    pub(crate) report_bytes: usize,
}

impl Path {
    pub(crate) fn new(round_trip: Duration, report_every: Duration) -> Self {
        Self {
            half: round_trip / 2,
            start: Instant::now(),
            sender: AckReceiver::default(),
            receiver: AckSender::new(report_every),
            media: VecDeque::new(),
            reports: VecDeque::new(),
            report_bytes: 0,
        }
    }

    /// The frames that the packet which is sent at `time` may build upon, both sides agreeing.
    pub(crate) fn send(&mut self, time: Duration, first: u64, count: usize) -> FrameSet {
        let now = self.start + time;
        // The other way has a packet just when this one has; what arrives meanwhile is known by then.
        while let Some((_, first, count)) = arrived(&mut self.media, |packet| packet.0 <= now) {
            self.receiver.decoded(first, count);
        }
        if let Some(report) = self.receiver.ack(now) {
            self.report_bytes += report.bytes();
            self.reports.push_back((now + self.half, report));
        }
        while let Some((_, report)) = arrived(&mut self.reports, |report| report.0 <= now) {
            assert!(self.sender.take(&report), "every report is good where nothing is lost");
        }
        let context = self.sender.context(first);
        self.sender.sent(first, count);
        self.media.push_back((now + self.half, first, count));
        assert_eq!(self.receiver.resolve(first, context.reference()).as_ref(), Some(context.frames()));
        *context.frames()
    }
}

/// The first, if it is there by now.
fn arrived<T>(queue: &mut VecDeque<T>, is: impl Fn(&T) -> bool) -> Option<T> {
    if queue.front().is_some_and(is) { queue.pop_front() } else { None }
}
